# What the tests in guests have in common
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import base64
import contextlib
import unittest

from guestlib import TOP, Guest
from usbdesc import Blob

_guests = contextlib.ExitStack()


def end_guests():
    """End every guest that is left. Only an interruption leaves any."""
    _guests.close()


class GuestTest(unittest.TestCase):
    """Tests of one guest, which is booted once for all of them.

    A subclass says what guest in `options`, arguments of Guest, and in
    `make_ports()`, which returns its Port objects. A test may plug and unplug
    ports of its own; those of make_ports() it leaves as they are.
    """

    qemu = None
    kernel = '6.1'
    options = {}

    @classmethod
    def make_ports(cls):
        return []

    @classmethod
    def setUpClass(cls):
        log = TOP / 'build/log' / f'guest-{cls.__name__}.log'
        guest = Guest(cls.qemu, kernel=cls.kernel, ports=cls.make_ports(),
                      log=log, **cls.options)
        stack = contextlib.ExitStack()
        cls.guest = stack.enter_context(guest)
        cls.addClassCleanup(stack.close)
        _guests.callback(stack.close)

    def __str__(self):
        return f'{type(self).__name__}.{self._testMethodName}'

    def port(self, id):
        return self.guest.ports[id]

    def blob(self, id):
        """The blob that QEMU says a port has, taken apart."""
        return Blob(base64.b64decode(self.guest.qmp(
            'qom-get', path=f'/machine/peripheral/{id}',
            property='desc-blob')))

    def node(self, id):
        """The name that a port's node has in the guest."""
        number = self.guest.qmp('qom-get', path=f'/machine/peripheral/{id}',
                                property='nr')
        return f'vport0p{number}'

    def attributes(self, id):
        """{name: content} of the files that a port has in sysfs."""
        found = self.guest.sh(
            f'cd /sys/class/virtio-ports/{self.node(id)} && for f in *; do\n'
            '[ -f $f ] && echo $f $(base64 -w 0 $f); done')
        return {name: base64.b64decode(content) for name, _, content in
                (line.partition(' ') for line in found.splitlines())}

    def links_of(self, id):
        """The links that udev made for a port, below /dev/virtio-ports."""
        node = self.node(id)
        return {link for link, to in self.guest.links().items() if to == node}

    def exchange(self, id, link, size=1 << 17):
        """Move `size` random bytes each way through the port that `link`
        names in the guest, and check that they are the same over there."""
        self.guest.exchange(self.port(id), link, size)
