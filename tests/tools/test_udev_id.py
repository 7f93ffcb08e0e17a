# vser udev-id and udev-acl
#
# What is expected here is by the rules of usb_id in systemd 252; that the rules
# are these the tests in guests show, with the real one.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import struct

from toolstest import FIXTURES, NO_PORT, USAGE, ToolsTest, make_blob
from usbdesc import Blob

# A string; it as ID_MODEL, and as ID_MODEL_ENC
STRINGS = [
    ('plain', 'plain', 'plain'),
    ('#+-.:=@_aZ09', '#+-.:=@_aZ09', '#+-.:=@_aZ09'),
    ('two  words', 'two_words', r'two\x20\x20words'),
    (' \t ends \t ', 'ends', r'\x20\x09\x20ends\x20\x09\x20'),
    ('newline\n', 'newline', 'newline'),
    ('newlines\r\n\n', 'newlines', 'newlines'),
    ('new\nline', 'new_line', r'new\x0aline'),
    ('\x0bvt\x0cff', '_vt_ff', r'\x0bvt\x0cff'),
    ('../../x', '.._.._x', r'..\x2f..\x2fx'),
    ('"$(id)`;\'&|<>*?[]{}!~%,\x7f', '___id' + '_' * 19,
     r'\x22\x24\x28id\x29\x60\x3b\x27\x26\x7c\x3c\x3e\x2a\x3f\x5b'
     r'\x5d\x7b\x7d\x21\x7e\x25\x2c\x7f'),
    ('back\\slash', 'back_slash', r'back\x5cslash'),
    ('\\x2f', '\\x2f', r'\x5cx2f'),
    ('Acmé € \U0001f600', 'Acmé_€_\U0001f600', 'Acmé\\x20€\\x20\U0001f600'),
    ('c1\x9b', 'c1\x9b', 'c1\x9b'),
    ('non\ufffe\ufdd0\U0001ffffchar', 'non' + '_' * 10 + 'char',
     r'non\xef\xbf\xbe\xef\xb7\x90\xf0\x9f\xbf\xbfchar'),
    ('un\ud800paired\udc00', 'unpaired', 'unpaired'),
    ('rep\ufffdlaced', 'rep\ufffdlaced', 'rep\ufffdlaced'),
    ('nul\0and more', 'nul', 'nul'),
    # 63 bytes of the string, and then of characters what is whole
    ('x' * 126, 'x' * 63, 'x' * 126),
    (' ' + 'x' * 125, 'x' * 62, r'\x20' + 'x' * 125),
    ('x' * 62 + ' y', 'x' * 62, 'x' * 62 + r'\x20y'),
    ('x' * 62 + '€', 'x' * 62 + '_', 'x' * 62 + '€'),
    ('x' * 61 + '€', 'x' * 61 + '__', 'x' * 61 + '€'),
    ('x' * 60 + '€', 'x' * 60 + '€', 'x' * 60 + '€'),
    ('€' * 126, '€' * 21, '€' * 85),
    (' ' * 126, '', r'\x20' * 63),
    ('\n', '', ''),
    # None at all
    ('', '0001', '0001'),
    ('\ud800', '0001', '0001'),
    ('\0x', '0001', '0001'),
]

# A serial number, and it as ID_SERIAL_SHORT
SERIALS = [
    ('A1', 'A1'), ('A 1', 'A_1'), ('.', '.'), ('..', '..'), ('../1', '.._1'),
    ('a/b', 'a_b'), ('a:b', 'a:b'), ('\x7fx', '_x'), ('$(id)', '__id_'),
    ('x' * 126, 'x' * 126), ('A1\n', 'A1'),
    ('a,b', None), ('a\tb', None), ('é', None), ('a\nb', None), ('', None),
    (' ', None), ('\ud800', None),
]


class UdevId(ToolsTest):
    def properties(self, *args, **more):
        out = self.vser('udev-id', *args, **more)
        pairs = [line.split('=', 1) for line in out[:-1].split('\n')]
        self.assertEqual(len(dict(pairs)), len(pairs))
        return dict(pairs)

    def of(self, **fields):
        self.port('vport1p5', make_blob(**fields))
        return self.properties('/devices/x/virtio-ports/vport1p5')

    def test_all_properties(self):
        both = {
            'VENDOR': 'Acme__Inc.', 'VENDOR_ENC': r'Acme\x2c\x20Inc.',
            'VENDOR_ID': 'abcd', 'MODEL': 'Kernel_stats',
            'MODEL_ENC': r'Kernel\x20stats', 'MODEL_ID': '0001',
            'REVISION': '12ef', 'SERIAL': 'Acme__Inc._Kernel_stats_A_1',
            'SERIAL_SHORT': 'A_1'}
        self.assertEqual(
            self.of(vendor=0xabcd, device=0x12ef, manufacturer='Acme, Inc.',
                    name='Kernel stats', serial='A 1',
                    interfaces=[(0xff, 0, 0), (2, 2, 1), (255, 0, 0)]),
            {**{f'ID_{key}': value for key, value in both.items()},
             **{f'ID_USB_{key}': value for key, value in both.items()},
             'ID_USB_INTERFACES': ':ff0000:020201:',
             'VIRTIO_PORT_MODALIAS': 'usb:vABCDp0001d12EFdc00dsc00dp00'
                                     'icFFisc00ip00in00',
             'VIRTIO_PORT_SOURCE': 'store'})

    def test_numbers_stand_in_for_strings(self):
        found = self.of()
        self.assertEqual(
            [found.get(key) for key in ('ID_VENDOR', 'ID_VENDOR_ENC',
                                        'ID_MODEL', 'ID_MODEL_ENC', 'ID_SERIAL',
                                        'ID_SERIAL_SHORT')],
            ['1209', '1209', '0001', '0001', '1209_0001', None])

    def test_fixtures(self):
        for path in sorted(FIXTURES.glob('*.bin')):
            blob = Blob(path.read_bytes())
            self.port('vport1p5', blob.data)
            found = self.properties('vport1p5')
            self.assertEqual(found['VIRTIO_PORT_MODALIAS'], blob.modalias)
            self.assertEqual(found['ID_VENDOR_ID'],
                             '%04x' % blob.device['idVendor'])
            vendor = blob.string(blob.device['iManufacturer'])
            self.assertEqual(found['ID_VENDOR'], (
                vendor or found['ID_VENDOR_ID']).replace(' ', '_'))

    def test_strings(self):
        for text, name, encoded in STRINGS:
            with self.subTest(text):
                found = self.of(name=text, manufacturer=text)
                self.assertEqual(found['ID_MODEL'], name)
                self.assertEqual(found['ID_MODEL_ENC'], encoded)
                # Its number is another one
                self.assertEqual(found['ID_VENDOR'],
                                 name.replace('0001', '1209'))
                self.assertEqual(found['ID_SERIAL'],
                                 f'{found["ID_VENDOR"]}_{name}')

    def test_serial_numbers(self):
        for text, short in SERIALS:
            with self.subTest(text):
                found = self.of(serial=text)
                self.assertEqual(found.get('ID_SERIAL_SHORT'), short)
                self.assertEqual(found['ID_SERIAL'], '1209_0001' +
                                 (f'_{short}' if short else ''))

    def test_too_long_for_a_unit(self):
        """A unit's name has at most 255 characters, and systemd escapes."""
        prefix = r'dev-virtio\x2dports-by\x2dusb\x2did-1209:0001:'
        room = 255 - len(prefix + '.device')
        for serial, long in (
                ('', False), ('x' * 126, False), (':._' * 40, False),
                ('-' * (room // 4), False), ('-' * (room // 4 + 1), True),
                ('x' * (room % 4) + '=' * (room // 4), False),
                ('x' * (room % 4 + 1) + '=' * (room // 4), True),
                ('-' * 126, True)):
            with self.subTest(serial):
                self.assertEqual(self.of(serial=serial).get('VIRTIO_PORT_LONG'),
                                 '1' if long else None)

    def test_a_link_has_room(self):
        longest = self.of(manufacturer='€' * 126, name='x' * 126,
                          serial='y' * 126)
        self.assertLessEqual(len(longest['ID_SERIAL'].encode()), 255)
        self.assertLessEqual(
            len('1209:0001:' + longest['ID_SERIAL_SHORT']), 255)

    def test_interfaces_as_usb_id_walks(self):
        two = [(1, 2, 3), (4, 5, 6)]
        # Not past a descriptor of two bytes
        self.assertEqual(self.of(interfaces=two, extra=b'\x02\xff')
                         ['ID_USB_INTERFACES'], ':010203:')
        # and not the last descriptor of all
        blob = bytearray(make_blob(interfaces=[(1, 2, 3)]))
        blob += bytes([9, 4, 1, 0, 0, 4, 5, 6, 0])
        blob[18 + 2] += 9
        blob[18 + 4] = 2
        self.port('vport1p5', bytes(blob))
        self.assertEqual(self.properties('vport1p5')['ID_USB_INTERFACES'],
                         ':010203:')
        many = [(i, 0, 0) for i in range(100)]
        self.assertEqual(
            self.of(interfaces=many)['ID_USB_INTERFACES'],
            ''.join(':%02x0000' % i for i in range(72)) + ':')

    def test_paths(self):
        self.port('vport1p5', make_blob(serial='A1'))
        for path in ('/devices/pci0000:00/0000:00:02.0/virtio1/virtio-ports/'
                     'vport1p5', '/sys/class/virtio-ports/vport1p5',
                     'vport1p5'):
            self.assertEqual(self.properties(path)['ID_SERIAL_SHORT'], 'A1')

    def test_no_descriptor(self):
        self.port('vport1p5')
        self.assertEqual(
            self.vser('udev-id', '/x/vport1p5', status=NO_PORT), '')
        self.assertEqual(
            self.vser('udev-id', '/x/vport1p6', status=NO_PORT), '')
        self.port('vport1p7', make_blob()[:-1])
        self.assertEqual(self.vser('udev-id', '/x/vport1p7', status=NO_PORT,
                                   stderr='no well-formed descriptor'), '')

    def test_usage(self):
        self.vser('udev-id', status=USAGE, stderr='one DEVPATH')
        self.vser('udev-id', 'a', 'b', status=USAGE, stderr='one DEVPATH')
        self.vser('udev-id', '/x/hvc0', status=USAGE, stderr="'/x/hvc0'")
        self.vser('udev-id', '/x/vport1p5/', status=USAGE, stderr='expected')
        self.assertIn('usage: ', self.vser('udev-id', '--help'))


class UdevAcl(ToolsTest):
    LIST = 'system.posix_acl_access'
    # Version 2; user:: rw, user:65534: rw, group::, mask:: rw, other::
    BOBS = struct.pack('<I' + 'HHI' * 5, 2, 1, 6, 2**32 - 1, 2, 6, 65534,
                       4, 0, 2**32 - 1, 16, 6, 2**32 - 1, 32, 0, 2**32 - 1)

    def test_it_goes(self):
        node = self.dev / 'vport1p5'
        node.touch()
        try:
            os.setxattr(node, self.LIST, self.BOBS)
        except OSError as e:
            self.skipTest(f'no access lists in {self.dev}: {e}')
        self.vser('udev-acl', node, '0600')
        self.assertEqual(os.listxattr(node), [])
        # The list's limit is not what root's group may do now
        self.assertEqual(node.stat().st_mode & 0o7777, 0o600)
        # and where there is none, or no node any more
        self.vser('udev-acl', node, '0600')
        node.unlink()
        self.vser('udev-acl', node, '0600')

    def test_usage(self):
        for args in [], ['a'], ['a', '0600', 'c']:
            self.vser('udev-acl', *args, status=USAGE, stderr='takes NODE and MODE')
        for mode in '', '8', '01000', '0600x':
            self.vser('udev-acl', 'a', mode, status=USAGE, stderr='octal mode')
