# Ports of which only the name is known: a name that is a descriptor
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os

import jsonschema

from test_list import SCHEMA, UNKNOWN
from toolstest import NO_PORT, ToolsTest, make_blob

IDS = b'usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00'
STRANGE = b'usb:vFFF0pFFF0d0100dc00dsc00dp00icFFisc00ip00in00'
FEED = b'org.qemu.virtio-serial-desc.0'


class NameOnly(ToolsTest):
    def properties(self, port):
        out = self.vser('udev-id', port)
        return dict(line.split('=', 1) for line in out.splitlines())

    def json(self):
        out = json.loads(self.vser('list', '--json'))
        jsonschema.validate(out, SCHEMA)
        return out['ports']

    def test_program(self):
        """test-derived-name.c: which names are descriptors, and what they say"""
        self.run_program('test-derived-name')

    def test_list(self):
        self.port('vport0p1', name=STRANGE + b'#A1')
        self.port('vport0p2', name=b'org.example')
        self.port('vport0p3', name=STRANGE)
        self.assertEqual(self.vser('list'),
                         'vport0p1: ID fff0:fff0 (name only)\n'
                         'vport0p3: ID fff0:fff0 (name only)\n')
        self.assertEqual(self.vser('list', '-d', 'fff0:', '-s', 'A1'),
                         'vport0p1: ID fff0:fff0 (name only)\n')
        self.assertIn('Serial=A1\n        ID fff0:fff0 (name only)\n',
                      self.vser('list', '-t'))
        verbose = self.vser('list', '-v')
        self.assertIn("(name only)\n  ** the port's name says numbers, classes and "
                      'serial number; the rest\n  ** is as QEMU builds it\n'
                      'Device Descriptor:\n', verbose)
        self.assertIn('iSerial                 1 A1\n', verbose)

    def test_json(self):
        self.port('vport0p1', name=STRANGE + b'#A1')
        port, = self.json()
        self.assertEqual(port, {**port, 'source': 'name', 'serial': 'A1',
                                'name': STRANGE.decode() + '#A1',
                                'manufacturer': None, 'product': None,
                                'blob': make_blob(**UNKNOWN, serial='A1').hex()})

    def test_udev_id(self):
        """As of a record without strings, but for the source."""
        self.port('vport0p1', name=IDS + b'#A1')
        self.port('vport0p2', make_blob(serial='A1'), name=IDS + b'#A1')
        mine, other = self.properties('vport0p1'), self.properties('vport0p2')
        self.assertEqual(mine.pop('VIRTIO_PORT_SOURCE'), 'name')
        self.assertEqual(other.pop('VIRTIO_PORT_SOURCE'), 'store')
        self.assertEqual(mine, other)
        self.assertEqual(mine['VIRTIO_PORT_MODALIAS'], IDS.decode())

    def test_short_form(self):
        """A QEMU without descriptors leaves such a name as it is."""
        self.port('vport0p1', name=b'usb:fff0:FFF0:a b#1')
        self.port('vport0p2', make_blob(**UNKNOWN, serial='a b#1'))
        self.assertEqual(self.vser('list'), 'vport0p1: ID fff0:fff0 (name only)\n'
                                            'vport0p2: ID fff0:fff0\n')
        mine, other = self.properties('vport0p1'), self.properties('vport0p2')
        self.assertEqual(mine.pop('VIRTIO_PORT_SOURCE'), 'name')
        self.assertEqual(other.pop('VIRTIO_PORT_SOURCE'), 'store')
        self.assertEqual(mine, other)
        self.assertEqual(mine['ID_SERIAL_SHORT'], 'a_b#1')

    def test_driver_and_store_come_first(self):
        blob = make_blob(**UNKNOWN, name='Mine', serial='B1')
        self.port('vport0p1', blob, name=IDS + b'#A1')
        self.port('vport0p2', driver=blob, name=IDS + b'#A1')
        self.assertEqual(self.vser('list'), 'vport0p1: ID fff0:fff0 Mine\n'
                                            'vport0p2: ID fff0:fff0 Mine\n')
        self.assertEqual([port['source'] for port in self.json()],
                         ['store', 'driver'])

    def test_an_entry_of_another_port(self):
        """The name is this port's, the entry is not."""
        self.port('vport0p1', make_blob(serial='old'), name=IDS + b'#old')
        self.replace('vport0p1')
        self.port('vport0p1', name=IDS + b'#new')
        self.assertEqual(self.properties('vport0p1')['ID_SERIAL_SHORT'], 'new')

    def test_a_malformed_entry(self):
        self.port('vport0p1', make_blob()[:-1], name=STRANGE)
        self.assertEqual(self.vser('list', stderr='no well-formed descriptor'),
                         'vport0p1: ID fff0:fff0 (name only)\n')

    def test_record_comes_later(self):
        """What a rule makes links and units of is the same before and after."""
        self.port('vport0p1', name=IDS + b'#A1')
        before = self.properties('vport0p1')
        self.port('vport0p1', make_blob(manufacturer='Acme', name='Kernel stats',
                                        serial='A1'), name=IDS + b'#A1')
        after = self.properties('vport0p1')
        for key in ('ID_VENDOR_ID', 'ID_MODEL_ID', 'ID_SERIAL_SHORT',
                    'VIRTIO_PORT_MODALIAS'):
            self.assertEqual(before[key], after[key])
        self.assertEqual(after['ID_MODEL'], 'Kernel_stats')

    def test_not_sure(self):
        """A serial number that may not be the port's waits for the record, where
        records are to come; others do not wait."""
        self.port('vport0p1', name=FEED)
        for port, serial in ((2, b'1'), (3, b'a_b'), (4, b'a#7'), (5, b'x' * 69),
                             (6, b'A1')):
            for device in 0, 1:
                self.port(f'vport{device}p{port}', name=STRANGE + b'#' + serial)
        self.port('vport0p7', name=STRANGE)
        names = [line.partition(':')[0] for line in self.vser('list').splitlines()]
        self.assertEqual(names, ['vport0p6', 'vport0p7'] +
                         [f'vport1p{i}' for i in range(2, 7)])
        self.vser('udev-id', 'vport0p2', status=NO_PORT)
        self.assertEqual(self.properties('vport1p2')['ID_SERIAL_SHORT'], '1')
        # The rest is still to come for some of those that are sure
        self.assertEqual([self.properties(port).get('VIRTIO_PORT_WAITS') for port in
                          ('vport0p6', 'vport0p7', 'vport1p2', 'vport1p6')],
                         ['1', '1', None, None])
        self.port('vport0p6', make_blob(**UNKNOWN, serial='A1'))
        self.assertNotIn('VIRTIO_PORT_WAITS', self.properties('vport0p6'))

    def test_hostile_names(self):
        for i, name in enumerate((
                b'', b'usb:', IDS + b'#', IDS + b'#a b', IDS + b'#a\0b', IDS + b'\n',
                IDS + b'#../x', IDS + b'#\xff', IDS.lower(), IDS + b'%23A1',
                IDS + b'#' + b'x' * 71, IDS + b'#A1\nname', b'x' * 4095, b'\n',
                b'usb:1209:0001:', b'usb:1209:0001:\xff', b'usb:1209:0001:A1\0x',
                b'usb:1209:0001:' + b'x' * 127, FEED)):
            self.port(f'vport0p{i}', name=name)
        self.assertEqual(self.vser('list'), '')

    def test_connect(self):
        self.port('vport0p1', name=IDS + b'#A1')
        self.port('vport0p2', name=IDS + b'#A2')
        os.mkfifo(self.dev / 'vport0p1')
        process = self.start('connect', '1209:0001:A1', '--exec', 'sh', '-c',
                             'echo $VSER_PORT >&2')
        _, err = process.communicate(timeout=20)
        self.assertEqual(err.decode(), f'{self.dev}/vport0p1\n')
        self.vser('connect', '1209:0001:A3', status=NO_PORT, stderr='no port is')
