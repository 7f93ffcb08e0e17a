# The byte pipe, with Linux's own driver and each kind of ring that the driver can use
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import hashlib
import os
import threading

from guestlib import TIMEOUT, Port
from guesttest import GuestTest

SIZE = 4 << 20


class Pipe(GuestTest):
    """Bytes in both directions at the same time, while the machine stops and goes on."""

    abstract = True

    @classmethod
    def make_ports(cls):
        return [Port('pipe', name='pipe')]

    def features(self):
        """The bits that the driver has taken, first to last."""
        return self.guest.sh('cat /sys/bus/virtio/devices/virtio0/features')

    def transfer(self):
        """A stream in each direction arrives as it was sent."""
        port = self.guest.ports['pipe']
        sent = os.urandom(SIZE)
        self.guest.sh(
            f'head -c {SIZE} /dev/urandom >/run/t.data\n'
            'rm -f /run/t.done\n'
            '( exec 3<>/dev/virtio-ports/pipe\n'
            f'  head -c {SIZE} <&3 | sha256sum >/run/t.got &\n'
            '  cat /run/t.data >&3\n'
            '  wait\n'
            '  touch /run/t.done ) >/dev/null 2>&1 </dev/null &')
        sender = threading.Thread(target=port.socket.sendall, args=(sent,))
        sender.start()
        received = port.receive(SIZE // 2)
        self.guest.qmp('stop')
        self.guest.qmp('cont')
        received += port.receive(SIZE - len(received))
        sender.join(TIMEOUT)
        self.guest.wait_until('[ -e /run/t.done ]')
        sums = self.guest.sh('cat /run/t.got; sha256sum </run/t.data').split()
        self.assertEqual(sums[0], hashlib.sha256(sent).hexdigest())
        self.assertEqual(sums[2], hashlib.sha256(received).hexdigest())
        counters = [self.guest.qmp('qom-get', path='/machine/peripheral/pipe',
                                   property=name)
                    for name in ('bytes-to-guest', 'bytes-to-host',
                                 'bytes-copied')]
        self.assertEqual(counters, [SIZE, SIZE, 0])


class PipePackedRing(Pipe):
    options = {'driver': 'stock', 'controller': {'packed': True}}

    def test_transfer(self):
        self.assertEqual(self.features()[34], '1')
        self.transfer()


class PipeNoEventIndex(Pipe):
    options = {'driver': 'stock', 'controller': {'event_idx': False}}

    def test_transfer(self):
        self.assertEqual(self.features()[29], '0')
        self.transfer()


class PipeLegacy(Pipe):
    only_on = {'transport': 'pci'}
    options = {'driver': 'stock', 'controller': {'disable-modern': True,
                                                 'disable-legacy': 'off'}}

    def test_transfer(self):
        self.assertEqual(self.features()[32], '0')
        self.transfer()
