# A host that lies to the driver
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
    r'unable to handle|refcount_t')


@functools.cache
def liar(qemu):
    """An emulator like that one, in which a device lies"""
    done = subprocess.run([TOP / 'tests/guest/liar/build', qemu], check=True,
                          stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


class HostLies(GuestTest):
    """Two of three messages of the controller 'vs' are changed before the driver has
    them: ids, events, values, lengths, offsets, bytes. Ports come and go all the time.
    LIAR_SEED repeats a run, LIAR_ROUNDS makes it longer."""

    long = True
    options = {'controller': {'max_ports': 12}}
    driver = 'patched'
    rounds = int(os.environ.get('LIAR_ROUNDS', 60))
    seed = int(os.environ.get('LIAR_SEED', 0)) or random.randrange(1, 1 << 31)

    @classmethod
    def setUpClass(cls):
        truthful = cls.qemu
        cls.qemu = liar(cls.qemu)
        # QEMU writes here how often it has lied
        cls.count = TOP / f'build/liar/count-{cls.__name__}'
        cls.count.unlink(missing_ok=True)
        os.environ.update(LIAR_BUS='vs', LIAR_SEED=str(cls.seed), LIAR_COUNT=str(cls.count))
        cls.options = {**cls.options, 'driver': cls.driver}
        try:
            super().setUpClass()
        finally:
            cls.qemu = truthful
            for name in 'LIAR_BUS', 'LIAR_SEED', 'LIAR_COUNT':
                del os.environ[name]

    @classmethod
    def make_ports(cls):
        return [Port('first', nr=1, desc='1209:0001', desc_serial='first')]

    def check_sane(self, what):
        said = self.guest.sh('dmesg')
        bad = [line for line in said.splitlines() if UNSOUND.search(line)]
        self.assertEqual(bad, [], f'seed {self.seed}, {what}')

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
        for turn in range(self.rounds):
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
            if chance.random() < 0.1:
                # All ports again, from a driver that knows nothing
                self.guest.sh('cd /sys/bus/virtio/drivers/virtio_console\n'
                              'echo virtio0 >unbind; echo virtio0 >bind')
            self.check_sane(f'turn {turn}')
        self.assertGreater(int(self.count.read_text()), self.rounds)
        # The kernel still does all that it did: here through a controller that is true
        self.guest.sh('udevadm settle; cat /sys/class/virtio-ports/*/name >/dev/null;'
                      'ls -lR /dev/virtio-ports >/dev/null')
        with self.subTest('the driver leaves'):
            self.guest.sh('echo virtio0 >/sys/bus/virtio/drivers/virtio_console/unbind')
            self.check_sane('the driver has left')


class HostLiesToStock(HostLies):
    """The same with Debian's driver, which knows no descriptors: what both get wrong is
    not ours."""

    driver = 'stock'
