# The control queue: what a guest knows of its ports if it has many of them, and after
# all that can happen to the guest
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

from guestlib import Port
from guesttest import GuestTest

MODALIAS = 'usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00'


def link(serial):
    return f'/dev/virtio-ports/{MODALIAS}#{serial}'


class ManyPorts(GuestTest):
    """As many ports as a device can have, and the 32 control buffers that
    Linux posts."""

    COUNT = 510                             # port 0 is for a console
    options = {
        # QEMU 10.0.13 has rings of 1024 entries: Linux makes 4 MiB of buffers for each
        # port.
        'memory': 3072,
        'controller': {'max_ports': COUNT + 1},
        'devices': [{'driver': 'virtserialport', 'bus': 'vs.0', 'nr': nr,
                     'desc': '1209:0001', 'desc-serial': nr}
                    for nr in range(1, COUNT + 1)],
    }

    def names(self):
        """{port's number: its name}, as soon as all ports have names"""
        self.guest.wait_until('[ $(cat /sys/class/virtio-ports/vport0p*/name |'
                              f' wc -l) = {self.COUNT} ]')
        found = self.guest.sh('cd /sys/class/virtio-ports && '
                              'for p in vport0p*; do\n'
                              'echo ${p#vport0p} $(cat $p/name); done')
        return dict(line.split(' ', 1) for line in found.splitlines())

    def check_names(self):
        self.assertEqual(self.names(), {str(nr): f'{MODALIAS}#{nr}'
                                        for nr in range(1, self.COUNT + 1)})

    def test_all(self):
        self.check_names()

    def test_driver_again(self):
        """The driver leaves the device and comes back to it."""
        self.guest.sh('cd /sys/bus/virtio/drivers/virtio_console\n'
                      'dev=$(readlink -f /sys/class/virtio-ports/vport0p1/device)\n'
                      'echo ${dev##*/} >unbind; echo ${dev##*/} >bind')
        # The new ones are vport2pN: a number is not used twice.
        self.guest.wait_until('[ $(cat /sys/class/virtio-ports/vport[!1]p*/name |'
                              f' sort -u | wc -l) = {self.COUNT} ]')


class ManyPortsStock(ManyPorts):
    """The same with Debian's driver."""

    options = {**ManyPorts.options, 'driver': 'stock'}


class Upheaval(GuestTest):
    """A guest that is stopped, suspended, hibernated or started again, while ports
    and their host sides come and go."""

    @classmethod
    def make_ports(cls):
        return [Port('stays', nr=1, desc='1209:0001', desc_serial='stays'),
                Port('goes', nr=2, desc='1209:0001', desc_serial='goes')]

    def check(self, *, there, gone):
        for serial in there:
            self.guest.wait_for(link(serial))
            self.exchange(serial, link(serial), 5000)
        for serial in gone:
            self.guest.wait_for(link(serial), removed=True)

    def replug(self, old, new):
        self.guest.unplug(self.port(old))
        self.guest.plug(Port('unseen', nr=3, desc='1209:0001',
                             desc_serial='unseen'))
        self.guest.unplug(self.port('unseen'))
        self.guest.plug(Port(new, nr=2, desc='1209:0001', desc_serial=new))

    def test_upheaval(self):
        guest = self.guest
        self.check(there=['stays', 'goes'], gone=[])

        with self.subTest('stopped'):
            guest.qmp('stop')
            self.replug('goes', 'second')
            guest.qmp('cont')
            self.check(there=['stays', 'second'], gone=['goes', 'unseen'])

        for state, old, new in (('freeze', 'second', 'third'),
                                ('disk', 'third', 'fourth')):
            with self.subTest(state):
                guest.sleep(state)
                self.replug(old, new)
                self.check(there=['stays', new], gone=[old, 'unseen'])

        with self.subTest('started again'):
            guest.reboot()
            self.check(there=['stays', 'fourth'], gone=['third'])


class UpheavalStock(Upheaval):
    """The same with Debian's driver."""

    options = {'driver': 'stock'}
