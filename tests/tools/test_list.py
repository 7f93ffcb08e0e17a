# vser list, lsvser
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import shutil
import subprocess

import jsonschema

from toolstest import (FAILED, FIXTURES, NO_PORT, TOP, USAGE, ToolsTest,
                       make_blob)
from usbdesc import INTERFACE, Blob, fields, split


def closed(schema):
    """The same schema, where what it does not name may not be there."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    more = {'additionalProperties': False} if 'properties' in schema else {}
    return {key: closed(value) for key, value in schema.items()} | more


SCHEMA = closed(json.loads(
    (TOP / 'guest/tools/vser-list.schema.json').read_text()))

# USB 2.0, table 9-13
ENDPOINT = ('<BBHB', 'bEndpointAddress bmAttributes wMaxPacketSize bInterval')

# An idVendor and an idProduct that are in no database
UNKNOWN = {'vendor': 0xfff0, 'product': 0xfff0}

# What a terminal must not get from a host: to clear it, C1, to write backwards,
# to end a line
EVIL = 'a\x1b[2Jb\x9bc\u202ed\r\ne\x07"\\f\ud800g\u20ach'
EVIL_SHOWN = ('a\\x1b[2Jb\\xc2\\x9bc\\xe2\\x80\\xaed\\x0d\\x0ae\\x07"\\f'
              '\ufffdg\u20ach')

ENDPOINTS = '''\
      Endpoint Descriptor:
        bLength                 7
        bDescriptorType         5
        bEndpointAddress     0x81  EP 1 IN
        bmAttributes            2
          Transfer Type            Bulk
          Synch Type               None
          Usage Type               Data
        wMaxPacketSize     0x0200  1x 512 bytes
        bInterval               0
      Endpoint Descriptor:
        bLength                 7
        bDescriptorType         5
        bEndpointAddress     0x01  EP 1 OUT
        bmAttributes            2
          Transfer Type            Bulk
          Synch Type               None
          Usage Type               Data
        wMaxPacketSize     0x0200  1x 512 bytes
        bInterval               0
'''

ACM = f'''
vport0p1: ID fff0:fff0 Acme Modem
Device Descriptor:
  bLength                18
  bDescriptorType         1
  bcdUSB               2.00
  bDeviceClass            0
  bDeviceSubClass         0
  bDeviceProtocol         0
  bMaxPacketSize0        64
  idVendor           0xfff0
  idProduct          0xfff0
  bcdDevice           12.34
  iManufacturer           1 Acme
  iProduct                2 Modem
  iSerial                 3 A1
  bNumConfigurations      1
  Configuration Descriptor:
    bLength                 9
    bDescriptorType         2
    wTotalLength       0x0060
    bNumInterfaces          2
    bConfigurationValue     1
    iConfiguration          0
    bmAttributes         0xc0
      Self Powered
    MaxPower                0mA
    Interface Descriptor:
      bLength                 9
      bDescriptorType         4
      bInterfaceNumber        0
      bAlternateSetting       0
      bNumEndpoints           2
      bInterfaceClass         2 Communications
      bInterfaceSubClass      2 Abstract (modem)
      bInterfaceProtocol      1 AT-commands (v.25ter)
      iInterface              5 Talk
      CDC Header:
        bcdCDC               1.10
      CDC Call Management:
        bmCapabilities       0x03
          call management
          use DataInterface
        bDataInterface          1
      CDC ACM:
        bmCapabilities       0x06
          sends break
          line coding and serial state
      CDC Union:
        bMasterInterface        0
        bSlaveInterface         1
      Country Selection:
        iCountryCodeRelDate     4 010203
        wCountryCode       0x4803
      ** UNRECOGNIZED:  05 24 1a aa bb
      ** UNRECOGNIZED:  03 ff 01
    Interface Association:
      bLength                 8
      bDescriptorType        11
      bFirstInterface         0
      bInterfaceCount         2
      bFunctionClass          2 Communications
      bFunctionSubClass       2 Abstract (modem)
      bFunctionProtocol       0 None
      iFunction               0
{ENDPOINTS}    Interface Descriptor:
      bLength                 9
      bDescriptorType         4
      bInterfaceNumber        1
      bAlternateSetting       0
      bNumEndpoints           2
      bInterfaceClass        10 CDC Data
      bInterfaceSubClass      0
      bInterfaceProtocol      0
      iInterface              0
{ENDPOINTS}'''


def acm():
    """A blob with a functional descriptor of each kind, and a string that only
    such a one has."""
    extra = bytes.fromhex('0524001001' '0524010301' '04240206' '0524060001'
                          '0624070403 48' '05241aaabb' '03ff01'
                          '080b000202020000')
    blob = make_blob(**UNKNOWN, device=0x1234, manufacturer='Acme',
                     name='Modem', serial='A1', interface='Talk',
                     interfaces=[(2, 2, 1), (10, 0, 0)], extra=extra)
    # Index 4 is the date's, and Talk's becomes 5
    at = len(blob) - len('Talk') * 2 - 2
    blob = bytearray(blob[:at] + b'\x0e\x03' + '010203'.encode('utf-16-le') +
                     blob[at:])
    blob[18 + 9 + 8] = 5
    return bytes(blob)


def longer(blob):
    """The same blob, each descriptor of chapter 9 one byte longer (USB 2.0, 9.5)."""
    parts = len(Blob(blob).descriptors)
    out, added = b'', 0
    for d in split(blob[:parts]):
        if d[1] in (1, 2, 4, 5, 11):
            d = bytes([d[0] + 1]) + d[1:] + b'\x09'
            added += d[1] != 1
        out += d
    at = out[0] + 2
    total = int.from_bytes(out[at:at + 2], 'little') + added
    return out[:at] + total.to_bytes(2, 'little') + out[at + 2:] + blob[parts:]


def expected_json(blob):
    """What is in a blob, as the schema has it."""
    b = Blob(blob)
    sysfs = {name: value.decode().strip()
             for name, value in b.sysfs().items() if name != 'descriptors'}
    port = {name: sysfs[name] for name in (
        'idVendor', 'idProduct', 'bcdDevice', 'bDeviceClass',
        'bDeviceSubClass', 'bDeviceProtocol')}
    port['bcdUSB'] = '%04x' % b.device['bcdUSB']
    for name, index in (('manufacturer', 'iManufacturer'),
                        ('product', 'iProduct'), ('serial', 'iSerialNumber')):
        port[name] = b.string(b.device[index])
    port['blob'] = blob.hex()
    port['configurations'] = []
    for config in b.configs:
        c = {'bConfigurationValue': config[5], 'bmAttributes':
             '%02x' % config[7], 'bMaxPower': config[8],
             'configuration': b.string(config[6]), 'interfaces': []}
        port['configurations'].append(c)
        for d in split(config):
            if d[1] == 4:
                i = fields(INTERFACE, d)
                c['interfaces'].append({
                    **{key: '%02x' % i[key] for key in (
                        'bInterfaceNumber', 'bInterfaceClass',
                        'bInterfaceSubClass', 'bInterfaceProtocol')},
                    'bAlternateSetting': i['bAlternateSetting'],
                    'interface': b.string(i['iInterface']), 'endpoints': []})
            elif d[1] == 5:
                e = fields(ENDPOINT, d)
                c['interfaces'][-1]['endpoints'].append({
                    'bEndpointAddress': '%02x' % e['bEndpointAddress'],
                    'bmAttributes': '%02x' % e['bmAttributes'],
                    'wMaxPacketSize': e['wMaxPacketSize'],
                    'bInterval': e['bInterval']})
    return port


class List(ToolsTest):
    def json(self, *args, **more):
        out = json.loads(self.vser('list', '--json', *args, **more))
        jsonschema.validate(out, SCHEMA)
        return out['ports']

    def test_one_line_a_port(self):
        self.port('vport0p10', make_blob(**UNKNOWN, name='Late'))
        self.port('vport0p9', make_blob(**UNKNOWN))
        self.port('vport10p1', make_blob(**UNKNOWN, manufacturer='Acme'))
        self.port('vport2p1', make_blob(**UNKNOWN, manufacturer='Acme',
                                        name='Kernel stats', serial='A1'))
        self.port('vport2p2')
        out = ('vport0p9: ID fff0:fff0\n'
               'vport0p10: ID fff0:fff0 Late\n'
               'vport2p1: ID fff0:fff0 Acme Kernel stats\n'
               'vport10p1: ID fff0:fff0 Acme\n')
        self.assertEqual(self.vser('list'), out)
        self.assertEqual(self.vser(argv0='lsvser'), out)
        self.assertEqual(self.vser(argv0='/usr/bin/lsvser'), out)

    def test_names_from_hwdb(self):
        known = dict(line.split('=', 1) for line in subprocess.run(
            ['systemd-hwdb', 'query', 'usb:v1D6Bp0104*'], check=True,
            stdout=subprocess.PIPE, text=True).stdout.splitlines())
        vendor = known['ID_VENDOR_FROM_DATABASE']
        model = known['ID_MODEL_FROM_DATABASE']
        self.port('vport0p1', make_blob(0x1d6b, 0x0104, 'mine', 'my own'))
        self.port('vport0p2', make_blob(0x1d6b, 0x0104))
        self.port('vport0p3', make_blob(0x1d6b, 0x0104, name='my own'))
        self.port('vport0p4', make_blob(0x1d6b, 0xfff0, 'mine'))
        # The port's own strings say more than the database of numbers
        self.assertEqual(self.vser('list'),
                         'vport0p1: ID 1d6b:0104 mine my own\n'
                         f'vport0p2: ID 1d6b:0104 {vendor} {model}\n'
                         f'vport0p3: ID 1d6b:0104 {vendor} my own\n'
                         'vport0p4: ID 1d6b:fff0 mine\n')
        self.assertIn(f'  idProduct          0x0104 {model}\n',
                      self.vser('list', '-v'))
        ports = self.json()
        self.assertEqual([p['vendorFromDatabase'] for p in ports], [vendor] * 4)
        self.assertEqual([p['productFromDatabase'] for p in ports],
                         [model] * 3 + [None])
        self.assertEqual(ports[0]['product'], 'my own')

    def test_no_ports(self):
        self.assertEqual(self.vser('list'), '')
        self.assertEqual(self.json(), [])
        shutil.rmtree(self.sys)
        self.assertEqual(self.vser('list'), '')

    def test_store_without_a_port(self):
        self.entry('vport0p1').write_bytes(make_blob())
        self.assertEqual(self.vser('list'), '')

    def test_store_of_another_port(self):
        """The one that had the number before, or that is to have it."""
        self.port('vport0p1', store=make_blob())
        self.port('vport0p2', store=make_blob(**UNKNOWN))
        self.replace('vport0p1')
        for name in 'vport0p1.0', 'vport0p1', 'vport0p1.':
            (self.store / name).write_bytes(make_blob())
        self.assertEqual(self.vser('list'), 'vport0p2: ID fff0:fff0\n')
        self.vser('udev-id', 'vport0p1', status=NO_PORT)
        self.vser('connect', '1209:', status=NO_PORT, stderr='no port is')

    def test_filters(self):
        self.port('vport0p1', make_blob(0x1209, 1, serial='A 1'))
        self.port('vport0p2', make_blob(0x1209, 2, serial='A1'))
        self.port('vport0p3', make_blob(0xabcd, 1))
        for args, ids in ((['-d', '1209:'], '12'), (['-d', ':1'], '13'),
                          (['-d', '1209:0002'], '2'), (['-d', 'ABCD:1'], '3'),
                          (['-s', 'A 1'], '1'), (['-s', 'A_1'], '1'),
                          (['-s', 'vport0p3'], '3'),
                          (['-d', '1209:', '-s', 'A1'], '2')):
            out = self.vser('list', *args)
            self.assertEqual(''.join(line[7] for line in out.splitlines()),
                             ids, args)
        for args in ['-d', '1209:0003'], ['-s', ''], ['-s', 'a1']:
            self.assertEqual(self.vser('list', *args, status=NO_PORT), '')

    def test_usage(self):
        for bad in ('1209', '12345:1', '1209:1g', '1209:0001:', 'x:y', '',
                    '/dev/vport0p1'):
            self.vser('list', '-d', bad, status=USAGE,
                      stderr=f"vser: -d '{bad}': expected [VVVV]:[PPPP], ")
        self.vser('list', '-t', '-v', status=USAGE, stderr='exclude')
        self.vser('list', 'x', status=USAGE, stderr="'x'")
        self.vser('list', '-x', status=USAGE, stderr='vser list: ')
        self.assertIn('usage: vser list', self.vser('list', '--help'))
        self.assertIn('usage: vser list', self.vser('--help', argv0='lsvser'))

    def test_verbose(self):
        self.port('vport0p1', acm())
        self.assertEqual(self.vser('list', '-v'), ACM)

    def test_longer_descriptors(self):
        """What is behind the known fields changes nothing that is shown."""
        def shown():
            return [line for line in self.vser('list', '-v').splitlines()
                    if 'bLength' not in line and 'wTotalLength' not in line]

        self.port('vport0p1', acm())
        known, ports = shown(), self.json()
        self.port('vport0p1', longer(acm()))
        self.assertIn('bLength                19', self.vser('list', '-v'))
        self.assertEqual(shown(), known)
        self.assertEqual(self.json()[0].pop('blob'), longer(acm()).hex())
        self.assertEqual([{**p, 'blob': None} for p in self.json()],
                         [{**p, 'blob': None} for p in ports])

    def test_tree(self):
        self.port('vport0p1', make_blob(**UNKNOWN, serial='A1'))
        self.port('vport0p2', make_blob(**UNKNOWN, name='Two',
                                        interfaces=[(0x42, 0, 0)]))
        self.port('vport3p1', make_blob(**UNKNOWN))
        (self.sys / 'vport3p1/device').symlink_to('../../virtio7')
        self.assertEqual(self.vser('list', '-t'), '''\
/:  Controller 0
    |__ Port 1: Dev vport0p1, If 0, Class=Vendor Specific Class, Serial=A1
        ID fff0:fff0
    |__ Port 2: Dev vport0p2, If 0, Class=42
        ID fff0:fff0 Two
/:  Controller 3: Dev virtio7
    |__ Port 1: Dev vport3p1, If 0, Class=Vendor Specific Class
        ID fff0:fff0
''')

    def test_json(self):
        blob = make_blob(name='Stats', serial='A1', interface='if')
        self.port('vport2p7', blob, name=b'usb:x#A1')
        self.port('vport2p8', driver=blob, name=b'bad \xff\x1b"')
        self.port('vport2p9', acm())
        one, two, three = self.json()
        self.assertEqual(three, {**three, **expected_json(acm())})
        self.assertEqual(one, {**one, **expected_json(blob),
                               'port': 'vport2p7', 'controller': 2, 'id': 7,
                               'source': 'store', 'name': 'usb:x#A1',
                               'node': f'{self.dev}/vport2p7'})
        self.assertEqual(two, {**two, **expected_json(blob), 'id': 8,
                               'source': 'driver', 'name': 'bad \ufffd\x1b"'})
        self.assertIsNone(three['name'])

    def test_fixtures(self):
        found = sorted(FIXTURES.glob('*.bin'))
        self.assertTrue(found)
        for number, path in enumerate(found):
            self.port(f'vport0p{number}', path.read_bytes())
        verbose = self.vser('list', '-v').split('\n\n')
        self.assertEqual(len(verbose), len(found))
        for path, port, text in zip(found, self.json(), verbose):
            with self.subTest(path.name):
                expected = expected_json(path.read_bytes())
                self.assertEqual(port, {**port, **expected})
                for name, shown in (('manufacturer', 'iManufacturer'),
                                    ('product', 'iProduct'),
                                    ('serial', 'iSerial')):
                    if expected[name]:
                        self.assertRegex(
                            text, rf'(?m)^  {shown} +\d+ {expected[name]}$')
                self.assertEqual(
                    text.count('Interface Descriptor:'),
                    sum(len(c['interfaces'])
                        for c in expected['configurations']))

    def test_text_from_the_host(self):
        self.port('vport0p1', make_blob(**UNKNOWN, manufacturer=EVIL,
                                        name=EVIL, serial=EVIL))
        for args in [], ['-v'], ['-t']:
            out = self.vser('list', *args)
            self.assertIn(EVIL_SHOWN, out)
            self.assertFalse(set(out) & set('\x1b\x9b\u202e\r\x07'), args)
        raw = self.vser('list', '--json')
        self.assertFalse(set(raw) & set('\x1b\x9b\u202e\r\x07'))
        port, = self.json()
        for key in 'manufacturer', 'product', 'serial':
            self.assertEqual(port[key], EVIL.replace('\ud800', '\ufffd'))

    def test_driver_only(self):
        blob = make_blob(manufacturer='Acmé', name='\U0001f600', serial='x' * 126,
                         interface='if')
        self.port('vport0p1', driver=blob)
        port, = self.json()
        self.assertEqual(port, {**port, **expected_json(blob)})

    def test_driver_shows_four_strings(self):
        """The others are empty, and the rest is as it was."""
        self.port('vport0p1', driver=acm())
        port, = self.json()
        expected = expected_json(acm())
        date = '0e03' + '010203'.encode('utf-16-le').hex()
        self.assertIn(date, expected['blob'])
        expected['blob'] = expected['blob'].replace(date, '0203')
        self.assertEqual(port, {**port, **expected})

    def test_driver_without_strings(self):
        self.port('vport0p1', driver=make_blob(**UNKNOWN))
        self.assertEqual(self.vser('list'), 'vport0p1: ID fff0:fff0\n')

    def test_both_sources(self):
        self.port('vport0p1', store=acm(), driver=acm())
        self.port('vport0p2', store=make_blob(serial='old'),
                  driver=make_blob(product=2, serial='new'))
        same, other = self.json()
        self.assertEqual(same, {**same, **expected_json(acm()),
                                'source': 'store'})
        self.assertEqual((other['source'], other['serial']), ('driver', 'new'))

    def test_broken_ones_are_left_out(self):
        good = make_blob(**UNKNOWN)
        self.port('vport0p1', good[:-1])
        self.port('vport0p2', good)
        self.port('vport0p3', good + bytes(65536))
        self.port('vport0p4', b'')
        self.port('vport0p5')
        self.entry('vport0p5').mkdir()
        self.port('vport0p6', driver={'descriptors': good[:20]})
        self.port('vport0p7', driver={**Blob(make_blob(serial='x')).sysfs(),
                                      'serial': b'\xff\n'})
        self.port('vport0p8', driver={'descriptors': b'\x12\x01'})
        process = self.start('list')
        out, err = process.communicate()
        self.assertEqual(out, b'vport0p2: ID fff0:fff0\n')
        self.assertEqual(process.returncode, 0)
        lines = err.decode().splitlines()
        for number, why in ((1, 'no well-formed descriptor: at offset'),
                            (3, 'File too large'),
                            (4, 'no well-formed descriptor: at offset 0'),
                            (5, 'Is a directory'),
                            (6, 'no well-formed descriptor: at offset'),
                            (7, 'invalid UTF-8'),
                            (8, 'no well-formed descriptor: at offset 0')):
            line = lines.pop(0)
            self.assertIn(f'vport0p{number}', line)
            self.assertIn(why, line)
        self.assertEqual(lines, [])

    def test_names_that_are_none(self):
        for name in ('vport0p1x', 'vport0', 'vport-1p1', 'vport00p1', 'hvc0',
                     'vport0p99999999999', 'vport 1p1'):
            self.port(name, make_blob())
        self.assertEqual(self.vser('list'), '')

    def test_full_disk(self):
        self.port('vport0p1', make_blob())
        with open('/dev/full', 'wb') as full:
            process = self.start('list', stdout=full)
            self.assertIn(b'No space left', process.communicate()[1])
            self.assertEqual(process.returncode, FAILED)
