# A host that lies to the drivers
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import functools
import os
import pathlib
import random
import re
import subprocess

from guestlib import TOP, Port
from guesttest import GuestTest, big_blob

# What a kernel says when it is not sound any more
UNSOUND = re.compile(
    r'BUG:|WARNING:|Oops|KASAN|UBSAN|general protection|stack-protector|list_(add|del) corrupt|'
    r'blocked for more than|soft lockup|RCU stall|rcu_\w+ detected|INFO: possible|'
    r'unable to handle|refcount_t|kmemleak: \d+ new|ODEBUG')


@functools.cache
def liar(qemu):
    """An emulator like that one, in which a device lies"""
    done = subprocess.run([TOP / 'tests/guest/liar/build', qemu], check=True,
                          stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


class Liar(GuestTest):
    """No test of its own: a guest to which the device `liar` lies.

    LIAR_SEED repeats a run, LIAR_ROUNDS makes it longer. `lies` has more of the
    variables that liar/liar.c reads."""

    abstract = True
    long = True
    liar = 'vs'
    lies = {}
    seed = int(os.environ.get('LIAR_SEED', 0)) or random.randrange(1, 1 << 31)

    @classmethod
    def setUpClass(cls):
        truthful = cls.qemu
        cls.qemu = liar(cls.qemu)
        # QEMU writes here how often it has lied
        cls.count = TOP / f'build/liar/count-{cls.__name__}'
        cls.count.unlink(missing_ok=True)
        lies = {'LIAR_BUS': cls.liar, 'LIAR_SEED': str(cls.seed),
                'LIAR_COUNT': str(cls.count), **cls.lies}
        if cls.kernel == 'kasan' and 'LIAR_STORM' in lies:
            # As fast as other guests are, it would do nothing but read messages
            lies['LIAR_STORM'] = str(10 * int(lies['LIAR_STORM']))
        os.environ.update(lies)
        try:
            super().setUpClass()
        finally:
            cls.qemu = truthful
            for name in lies:
                del os.environ[name]

    @classmethod
    def wait_for_ports(cls):
        """A liar's ports may never come."""

    @classmethod
    def rounds(cls, number):
        # A round takes a kernel with checks three times as long or more
        if cls.kernel == 'kasan':
            number //= 3
        return int(os.environ.get('LIAR_ROUNDS', number))

    def check_sane(self, what):
        # The console has what `dmesg -c` took and what there was no room for
        said = self.guest.console() + self.guest.sh('dmesg')
        bad = UNSOUND.search(said)
        if bad:
            self.fail(f'seed {self.seed}, {what}:\n{said[bad.start():][:8000]}')

    def check_lies(self, least):
        told = int(self.count.read_text())
        print(f'# {type(self).__name__}: {told} lies, seed {self.seed}', flush=True)
        self.assertGreaterEqual(told, least)


class HostLies(Liar):
    """Two of three messages of the controller 'vs' are changed before the driver has
    them: ids, events, values, lengths, offsets, bytes, buffers. Ports come and go all
    the time."""

    options = {'driver': 'patched', 'controller': {'max_ports': 12}}

    @classmethod
    def make_ports(cls):
        return [Port('first', nr=1, desc='1209:0001', desc_serial='first')]

    def plug(self, chance, nr):
        if chance.random() < 0.3:
            path = pathlib.Path(self.guest.dir) / f'blob{nr}'
            path.write_bytes(big_blob(chance.choice((100, 4000, 4081, 9000, 65535))))
            more = {'desc_file': str(path)}
        else:
            more = {'desc': '1209:0001', 'desc_serial': chance.choice('abc') * 20}
        self.guest.plug(Port(f'p{nr}', nr=nr, **more))

    def test_lies(self):
        chance = random.Random(self.seed)
        there = set()
        for turn in range(self.rounds(60)):
            nr = chance.randint(2, 11)
            if nr in there:
                self.guest.unplug(self.port(f'p{nr}'))
            else:
                self.plug(chance, nr)
            there ^= {nr}
            if chance.random() < 0.3:
                # What a program does with a port that may be none
                self.guest.run('for node in /dev/vport0p*; do\n'
                               '    timeout 1 head -c 1 <$node& timeout 1 sh -c "echo x >$node" &\n'
                               'done >/dev/null 2>&1; wait\n'
                               'cat /sys/class/virtio-ports/*/* >/dev/null 2>&1', check=False)
            if chance.random() < 0.2:
                # All ports again, from a driver that knows nothing
                self.guest.sh('cd /sys/bus/virtio/drivers/virtio_console\n'
                              'echo virtio0 >unbind; echo virtio0 >bind')
            self.check_sane(f'turn {turn}')
        self.check_lies(self.rounds(60))
        # The kernel still does all that it did: here through a controller that is true
        self.guest.sh('udevadm settle; cat /sys/class/virtio-ports/*/name >/dev/null;'
                      'ls -lR /dev/virtio-ports >/dev/null')
        with self.subTest('the driver leaves'):
            self.guest.sh('echo virtio0 >/sys/bus/virtio/drivers/virtio_console/unbind')
            self.check_sane('the driver has left')


class HostLiesToStock(HostLies):
    """The same with Debian's driver, which knows no descriptors: what both get wrong is
    not ours. Messages without a header are left out: Debian's driver writes outside of
    its memory then (0003 of guest/linux)."""

    options = {**HostLies.options, 'driver': 'stock'}
    lies = {'LIAR_WHOLE': '1'}


class HostLiesWithoutEnd(HostLies):
    """Besides, the device makes a message up each 5 ms: ports come and go that there
    are not, faster than a guest can follow."""

    lies = {'LIAR_STORM': '5'}


class HostLiesWithoutEndToStock(HostLiesWithoutEnd):
    options = HostLiesToStock.options
    lies = {**HostLiesWithoutEnd.lies, **HostLiesToStock.lies}


class LiesOfUsb(Liar):
    """No test of its own: a controller virtio-usb that lies"""

    abstract = True
    liar = 'vusb'
    options = {'usb': True, 'devices': [{'driver': 'virtio-usb', 'id': 'vusb'}]}
    # The kernel has our module, or it is no test
    BIND = ('cd /sys/bus/virtio/drivers/virtio_usb\n'
            'for d in virtio*; do [ ! -e $d ] || echo $d >unbind; done\n'
            'for d in ../../devices/virtio*; do\n'
            '    [ $(cat $d/device) != 0x0031 ] || echo ${d##*/} >bind\n'
            'done')

    def unload(self):
        self.guest.sh('rmmod virtio_usb')
        self.check_sane('the driver has left')

    def make_disk(self):
        path = pathlib.Path(self.guest.dir) / 'disk'
        with open(path, 'wb') as f:
            f.truncate(4 << 20)
        self.guest.qmp('blockdev-add', **{
            'driver': 'raw', 'node-name': 'disk',
            'file': {'driver': 'file', 'filename': str(path)}})


class HostLiesOfUsb(LiesOfUsb):
    """One in eight answers, events and results is changed before the driver virtio_usb
    has it: status, state, numbers, lengths, bytes of descriptors and of data, the
    buffer; some never come. Devices come and go."""

    lies = {'LIAR_ONE_IN': '8'}
    devices = {'usb-tablet': {}, 'usb-kbd': {}, 'usb-hub': {},
               'usb-storage': {'drive': 'disk', 'serial': 'S1'},
               'usb-serial': {'chardev': 'line', 'always-plugged': True}}

    def setUp(self):
        self.make_disk()
        self.guest.qmp('chardev-add', id='line', backend={'type': 'null', 'data': {}})

    def test_lies(self):
        chance = random.Random(self.seed)
        there = {}
        for turn in range(self.rounds(40)):
            port = chance.randint(1, 5)
            if port in there:
                self.guest.qmp('device_del', id=there[port])
                self.guest.wait_event('DEVICE_DELETED', device=there.pop(port))
            else:
                driver = list(self.devices)[port - 1]
                there[port] = driver
                self.guest.qmp('device_add', driver=driver, id=driver, bus='vusb.0',
                               port=str(port), **self.devices[driver])
            if chance.random() < 0.5:
                # What programs do with devices that are not what they say
                self.guest.run('for node in /dev/sd? /dev/ttyUSB? /dev/input/event*; do\n'
                               '    [ ! -e $node ] || timeout 1 dd if=$node bs=4k count=20 &\n'
                               '    [ ! -e $node ] || timeout 1 sh -c "echo x >$node" &\n'
                               'done >/dev/null 2>&1\n'
                               'timeout 5 lsusb -v >/dev/null 2>&1; wait', check=False)
            if chance.random() < 0.2 or 'dead' in self.guest.sh('dmesg | tail -n 40'):
                self.guest.sh(self.BIND + '; dmesg -c >/run/said')
            self.check_sane(f'turn {turn}')
        self.check_lies(self.rounds(40))
        self.unload()


class HostLiesOfUsbWithoutEnd(HostLiesOfUsb):
    """Besides, the device makes the state of a port up each 5 ms."""

    lies = {'LIAR_ONE_IN': '20', 'LIAR_STORM': '5'}


class HostIsSilent(LiesOfUsb):
    """No request comes back any more, though the driver cancels it: nobody waits for
    ever, and the driver can leave."""

    lies = {'LIAR_MUTE': '2:30'}

    def test_silence(self):
        self.make_disk()
        self.guest.qmp('device_add', driver='usb-storage', id='disk', bus='vusb.0',
                       drive='disk')
        self.guest.wait_until('dmesg | grep -q "virtio_usb.*the controller is dead"')
        self.assertIn('the device is silent', self.guest.sh('dmesg'))
        # All that was there is gone
        self.guest.wait_until('! lsusb -t | grep -q usb-storage')
        self.unload()
        self.check_lies(1)


class HostIsSilentToCommands(HostIsSilent):
    """The eight ports get power; after that no command is answered."""

    lies = {'LIAR_MUTE': '0:8'}

    def test_silence(self):
        self.guest.qmp('device_add', driver='usb-kbd', id='kbd', bus='vusb.0')
        self.guest.wait_until('dmesg | grep -q "virtio_usb.*the controller is dead"')
        self.unload()
        self.check_lies(1)


class HostIsSilentBeforeSleep(LiesOfUsb):
    """The controller is dead when the guest goes to sleep: there are no queues when it
    wakes up, and the driver can leave."""

    lies = {'LIAR_MUTE': '0:8'}

    def test_sleep(self):
        self.guest.qmp('device_add', driver='usb-kbd', id='kbd', bus='vusb.0')
        self.guest.wait_until('dmesg | grep -q "virtio_usb.*the controller is dead"')
        self.guest.sleep('freeze')
        # Another device may have the memory of the old queues, and nothing else shows it.
        # The kernel with checks has no tracer, and needs none.
        traced = self.guest.kernel != 'kasan'
        if traced:
            self.guest.sh('mount -t tracefs none /sys/kernel/tracing || :\n'
                          'cd /sys/kernel/tracing\n'
                          'echo virtqueue_detach_unused_buf >set_ftrace_filter\n'
                          'echo function >current_tracer')
        self.unload()
        if traced:
            self.assertNotIn('detach_unused_buf <-', self.guest.sh('cat /sys/kernel/tracing/trace'))
        self.check_lies(1)
