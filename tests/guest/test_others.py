# Guests for which nothing may change: an older driver, an older machine
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

from guestlib import Port
from guesttest import GuestTest

MODALIAS = 'usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00'


class NoDescriptors(GuestTest):
    """No test of its own: what a guest without descriptors sees."""

    @classmethod
    def make_ports(cls):
        return [
            Port('s1', desc='1209:0001', desc_serial='S1'),
            Port('s2', desc='1209:0001', desc_serial='S2'),
            Port('first', desc='1209:0001'),
            Port('second', desc='1209:0001'),
            Port('third', desc='1209:0001'),
            Port('acm', desc='1209:000a', desc_class='cdc-acm',
                 desc_serial='a/b c\n"$(x)"é'),
            Port('long', desc='1209:0003', desc_serial='é' * 126),
            Port('named', desc='1209:0001', name='org.example.named'),
            Port('plain', name='org.example.plain'),
            Port('bare'),
        ]

    # é has 2 bytes: the rest of a name of 119 bytes has room for 34 of them, and one
    # byte is left.
    NAMES = {
        's1': f'{MODALIAS}#S1',
        's2': f'{MODALIAS}#S2',
        'first': MODALIAS,
        'second': f'{MODALIAS}#1',
        'third': f'{MODALIAS}#2',
        'acm': 'usb:v1209p000Ad0100dc00dsc00dp00ic02isc02ip01in00'
               '#a_b_c____x__é',
        'long': 'usb:v1209p0003d0100dc00dsc00dp00icFFisc00ip00in00#' + 'é' * 34,
        'named': 'org.example.named',
        'plain': 'org.example.plain',
    }

    # With our rules, a name that QEMU derives is enough for a link. é is in no serial
    # number for udev. That two names differ by a number, nobody can tell from the name.
    LINKS = {
        's1': '1209:0001:S1', 's2': '1209:0001:S2', 'first': '1209:0001',
        'second': '1209:0001:1', 'third': '1209:0001:2', 'acm': '1209:000a',
        'long': '1209:0003',
    }

    def feature(self):
        return self.guest.sh('cat /sys/bus/virtio/devices/virtio0/features')[3]

    def check_names(self):
        for id, name in self.NAMES.items():
            with self.subTest(id):
                self.assertEqual(self.attributes(id)['name'].decode(),
                                 name + '\n')
                link = self.LINKS.get(id)
                self.assertEqual(self.links_of(id), {name} | (
                    {f'by-usb-id/{link}'} if link else set()))
        self.assertEqual(self.links_of('bare'), set())
        self.assertEqual(len(self.guest.links()), len(self.NAMES) + len(self.LINKS))

    def check_list(self):
        """vser shows what the names say, and no more."""
        shown = self.guest.sh('lsvser')
        self.assertEqual(shown.splitlines(), [
            f'{self.node(id)}: ID {ids[:9]} (name only)' for id, ids in
            sorted(self.LINKS.items(), key=lambda link: self.number(link[0]))])

    def number(self, id):
        return int(self.node(id).rpartition('p')[2])

    def check_attributes(self):
        for id in [*self.NAMES, 'bare']:
            with self.subTest(id):
                self.assertEqual(set(self.attributes(id)), {'dev', 'uevent'} |
                                 ({'name'} if id in self.NAMES else set()))
                uevent = self.guest.sh('cat /sys/class/virtio-ports/'
                                       f'{self.node(id)}/uevent')
                self.assertEqual([line.split('=')[0] for line in
                                  uevent.splitlines()],
                                 ['MAJOR', 'MINOR', 'DEVNAME'])

    def check_bytes(self):
        for id in 's1', 'second', 'acm', 'long', 'plain':
            with self.subTest(id):
                self.exchange(id, f'/dev/virtio-ports/{self.NAMES[id]}')

    def check_quiet(self):
        """The driver prints no message, even with all messages enabled."""
        guest = self.guest
        guest.sh('echo "module virtio_console +p" >/sys/kernel/debug/dynamic_debug/control')
        port = Port('hot', desc='1209:0001', desc_serial='hot')
        guest.plug(port)
        guest.wait_for(f'/dev/virtio-ports/{MODALIAS}#hot')
        guest.unplug(port)
        guest.wait_for(f'/dev/virtio-ports/{MODALIAS}#hot', removed=True)
        self.assertEqual(guest.sh('dmesg | grep -e virtio_console -e virtio-ports '
                                  '-e "virtio[0-9]:" | grep -v -e "taints kernel" '
                                  '-e "tainting kernel" -e blacklist || :'), '')


class StockDriver(NoDescriptors):
    """Debian's driver, which knows nothing of this."""

    options = {'driver': 'stock'}

    def test_feature_not_taken(self):
        self.assertEqual(self.feature(), '0')

    test_names = NoDescriptors.check_names
    test_list = NoDescriptors.check_list
    test_attributes = NoDescriptors.check_attributes
    test_bytes = NoDescriptors.check_bytes
    test_quiet = NoDescriptors.check_quiet


class OlderMachine(NoDescriptors):
    """The last machine type without the feature."""

    only_on = {'name': 'q35'}
    options = {'machine': 'pc-q35-9.2'}

    def test_feature_not_offered(self):
        self.assertEqual(self.feature(), '0')

    test_names = NoDescriptors.check_names
    test_list = NoDescriptors.check_list
    test_attributes = NoDescriptors.check_attributes
    test_bytes = NoDescriptors.check_bytes
    test_quiet = NoDescriptors.check_quiet


class SwitchedOff(OlderMachine):
    """port-descriptors=off"""

    only_on = {}
    options = {'controller': {'port-descriptors': False}}
