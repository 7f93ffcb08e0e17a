# The control queue: what a guest knows of its ports if it has many of them, and after
# all that can happen to the guest
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import pathlib
import tempfile

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


class Hibernation(GuestTest):
    """A guest that hibernates, and goes on where the host is another one: a new QEMU
    with other ports."""

    only_on = {'transport': 'pci'}
    # The driver asks for what is new, and compares what a port is with what it was
    asks = True

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix='guest-swap-')
        cls.addClassCleanup(folder.cleanup)
        swap = pathlib.Path(folder.name) / 'swap'
        with open(swap, 'wb') as f:
            f.truncate(1 << 30)
        cls.options = {**cls.options, 'swap': swap}
        super().setUpClass()

    @classmethod
    def make_ports(cls):
        return [cls.of('stays', 1), cls.of('old', 2), cls.of('goes', 3)]

    @staticmethod
    def of(serial, nr):
        return Port(serial, nr=nr, desc='1209:0001', desc_serial=serial)

    def test_another_host(self):
        guest = self.guest
        for serial in 'stays', 'old', 'goes':
            guest.wait_for(link(serial))
        for serial in 'old', 'goes':
            guest.sh(f'rm -f /run/closed-{serial}\n'
                     f'( cat "{link(serial)}"; touch /run/closed-{serial} ) '
                     '>/dev/null 2>&1 </dev/null &')
        guest.wait_until('[ $(pidof cat | wc -w) = 2 ]')

        guest.hibernate()
        guest.resume([self.of('stays', 1), self.of('new', 2), self.of('more', 4)])

        with self.subTest('the same port'):
            guest.wait_for(link('stays'))
            self.exchange('stays', link('stays'), 5000)
        with self.subTest('a port that is gone'):
            guest.wait_for(link('goes'), removed=True)
            guest.wait_until('[ -e /run/closed-goes ]')
        if not self.asks:
            return
        with self.subTest('another port in the place of one'):
            guest.wait_for(link('new'))
            guest.wait_for(link('old'), removed=True)
            guest.wait_until('[ -e /run/closed-old ]')
            self.exchange('new', link('new'), 5000)
        with self.subTest('one more port'):
            guest.wait_for(link('more'))
            self.exchange('more', link('more'), 5000)


class HibernationStock(Hibernation):
    """The same with Debian's driver, which takes a port for the old one as long as there
    is one of that number, and does not ask for more ports."""

    options = {'driver': 'stock'}
    asks = False
