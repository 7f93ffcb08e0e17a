# What the tests in guests have in common, and the main program of those that run them
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import base64
import contextlib
import os
import pathlib
import re
import unittest

import runner
from guestlib import TOP, Guest
from platforms import DEFAULT, PLATFORMS
from usbdesc import Blob

# What a host may write into the strings of a descriptor
HOSTILE_STRINGS = [
    '/', '..', '.', '../../../etc/passwd', '/dev/null', ' ', ' lead', 'trail ',
    'in  ner', 'a b', 'new\nline', 'tab\ttab', '"quote"', "'quote'",
    '$HOME', '$(reboot)', '`reboot`', '%k', '%i', '$env{PATH}', '$attr{name}',
    '\\x2f', '\\', ';reboot', '&', '|', '*', '?', '[a]', '{a,b}', '~',
    '\x01\x1b[31m', '\x7f', '\u0080\u009f', '\u202e', 'é', 'a=b', '#', ',',
    '=', '+="', 'ENV{X}="y"', '-rf', 'S1 symlink', '\U0010fffd',
    'ID_SERIAL=x\nOWNER=y',
]


def usb_id_encode(text, size=126):
    """A manufacturer's or product's string as udev's usb_id has it in ID_VENDOR
    or ID_MODEL: of so many bytes, without white space at its ends; each run of
    it, and each other byte that has no place in the name of a device node,
    become '_'. \\x, udev's own way to escape, stays."""
    text = text.encode()[:size].decode(errors='surrogateescape')
    text = re.sub('[ \t\n\v\f\r]+', '_', text.strip(' \t\n\r'))
    return re.sub(r'(\\x)|[^A-Za-z0-9#+.:=@_\x80-\U0010ffff-]|'
                  r'[\udc80-\udcff\ufdd0-\ufdef]|[\ufffe\uffff]',
                  lambda m: m[1] or '_' * len(m[0].encode(
                      errors='surrogateescape')), text)


def usb_id_serial(text):
    """The same for ID_SERIAL_SHORT; what has other characters than those that
    Windows takes is none."""
    return '' if re.search(r'[^\x20-\x7f]|,', text) else usb_id_encode(text)


def usb_id_links(ids, manufacturer, product, serial):
    """The links that the rules make of that, relative to /dev/virtio-ports."""
    serial = [s for s in [usb_id_serial(serial)] if s]
    return {
        'by-usb-id/' + ':'.join([ids, *serial]),
        'by-id/' + '_'.join([usb_id_encode(manufacturer, 63),
                             usb_id_encode(product, 63), *serial])}


def big_blob(total):
    """A blob of that length, padded with descriptors of the vendor."""
    config = bytearray([9, 2, 0, 0, 1, 1, 0, 0xc0, 0,
                        9, 4, 0, 0, 0, 0xff, 1, 2, 0])
    left = total - 18 - len(config) - 4 - 4
    while left:
        length = min(left, 255)
        if left - length == 1:
            length -= 1
        config += bytes([length, 0x41]) + os.urandom(length - 2)
        left -= length
    config[2:4] = len(config).to_bytes(2, 'little')
    device = bytes([18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, total & 255,
                    total >> 8, 0, 1, 0, 0, 1, 1])
    return device + config + bytes([4, 3, 9, 4, 4, 3, 0x42, 0])


_guests = contextlib.ExitStack()


def end_guests():
    """End every guest that is left. Only an interruption leaves any."""
    _guests.close()


class GuestTest(unittest.TestCase):
    """Tests of one guest, which is booted once for all of them.

    A subclass says what guest in `options`, arguments of Guest, and in
    `make_ports()`, which returns its Port objects. A test may plug and unplug
    ports of its own; those of make_ports() it leaves as they are. One that takes
    more than a minute says `long`. One that means something on some platforms only
    says so in `only_on`, {column of tests/guest/platforms: what it has to be}.
    """

    long = False
    qemu = None
    kernel = '6.1'
    platform = DEFAULT
    only_on = {}
    options = {}

    @classmethod
    def make_ports(cls):
        return []

    @classmethod
    def setUpClass(cls):
        for column, value in cls.only_on.items():
            if getattr(PLATFORMS[cls.platform], column) != value:
                raise unittest.SkipTest(f'only where the {column} is {value}')
        log = TOP / 'build/log' / f'guest-{cls.__name__}.log'
        guest = Guest(cls.qemu, platform=cls.platform, kernel=cls.kernel,
                      ports=cls.make_ports(), log=log, **cls.options)
        stack = contextlib.ExitStack()
        cls.guest = stack.enter_context(guest)
        cls.addClassCleanup(stack.close)
        if cls.kernel == 'kasan':
            cls.addClassCleanup(cls.check_leaks)
            cls.wait_for_ports()
        _guests.callback(stack.close)

    @classmethod
    def wait_for_ports(cls):
        """The driver has the name of each port, and udev has seen the port. A kernel
        with checks is so slow that the first test would come before that."""
        for id, port in cls.guest.ports.items():
            number = cls.guest.qmp('qom-get', path=f'/machine/peripheral/{id}',
                                   property='nr')
            if any(key == 'name' or key.startswith('desc') for key in port.props):
                cls.guest.wait_until(
                    f'[ -e /sys/class/virtio-ports/vport0p{number}/name ]')
        cls.guest.sh('udevadm settle')

    # What a kernel with checks says of a fault
    REPORT = re.compile(r'BUG: |WARNING: |KASAN|UBSAN|kmemleak: \d+ new|INFO: task|'
                        r'possible .* (?:deadlock|recursive|circular)|Oops|'
                        r'ODEBUG: |list_(?:add|del) corruption|'
                        r'general protection|refcount_t')

    @classmethod
    def check_reports(cls):
        """The kernel with checks has found no fault. The console has what `dmesg -c` took
        and what there was no room for. KASAN reports one fault only: after that, no test
        of the class is watched, and none passes."""
        said = cls.guest.console() + cls.guest.sh('dmesg')
        found = cls.REPORT.search(said)
        if found:
            raise AssertionError(said[found.start():][:8000])

    @classmethod
    def check_leaks(cls):
        """No memory has been lost. kmemleak looks at objects that are older than five
        seconds, and reports what two scans have found."""
        scan = cls.guest.sh(
            'read -r now _ </proc/uptime; end=$((${now%.*} + 6))\n'
            'until read -r now _ </proc/uptime; [ ${now%.*} -ge $end ]; do\n'
            '    sleep 0.2\n'
            'done\n'
            'for i in 1 2; do echo scan >/sys/kernel/debug/kmemleak; done\n'
            'cat /sys/kernel/debug/kmemleak')
        if scan:
            raise AssertionError(scan[:8000])
        cls.check_reports()

    def tearDown(self):
        if self.kernel == 'kasan':
            self.check_reports()

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

    def check_nothing_elsewhere(self):
        """Hostile names have made no link to a port where none should be, and
        no directory."""
        self.assertEqual(self.guest.sh(
            'find /dev /run /tmp /etc /root '
            '-type l | while read -r l; do case $(readlink "$l") in *vport*)\n'
            'echo "$l" ;; esac; done | grep -v -e ^/dev/virtio-ports/ '
            '-e ^/dev/char/ -e ^/run/udev/ || :'), '')
        self.assertEqual(self.guest.sh(
            'find /dev/virtio-ports -mindepth 1 -type d | sort'),
            '/dev/virtio-ports/by-id\n/dev/virtio-ports/by-usb-id\n')


def main(program, description, reachable=pathlib.Path.resolve):
    """Run the cases that are in the directory of a program, as its arguments say;
    the exit status. `reachable` gives the path by which a test starts an emulator."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kernel', default=GuestTest.kernel,
                        choices=['6.1', '6.12', 'newest', 'kasan'],
                        help="Debian's kernel of this series (default: 6.1), or 6.1 with "
                        'KASAN and other checks')
    parser.add_argument('--platform', default=DEFAULT, choices=PLATFORMS,
                        help=f'a row of tests/guest/platforms (default: {DEFAULT})')
    parser.add_argument('qemu', metavar='QEMU_BINARY')
    runner.add_arguments(parser)
    args = parser.parse_args()
    emulator = PLATFORMS[args.platform].emulator
    if pathlib.Path(args.qemu).name != emulator:
        parser.error(f'{args.platform} wants {emulator}, not {args.qemu}')
    GuestTest.qemu = str(reachable(pathlib.Path(args.qemu)))
    GuestTest.kernel, GuestTest.platform = args.kernel, args.platform
    return runner.run(pathlib.Path(program).resolve().parent, args,
                      [program, '--kernel', args.kernel, '--platform', args.platform,
                       GuestTest.qemu], end_guests)
