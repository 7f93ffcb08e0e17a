# The library that boots guests, without a guest
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import socket
import unittest

from guestlib import Guest


class GuestLib(unittest.TestCase):

    def __str__(self):
        return f'{type(self).__name__}.{self._testMethodName}'

    def test_event_before_the_greeting(self):
        ours, qemu = socket.socketpair()
        with ours, qemu:
            guest = Guest('qemu-that-does-not-run')
            guest.connect = lambda name: ours
            qemu.sendall(b'{"event": "RESUME"}\n{"QMP": {}}\n{"return": 1}\n')
            guest._qmp = guest.connect_qmp()
            self.assertEqual(guest.qmp('qmp_capabilities'), 1)
