# Firmware with a virtio-serial driver of its own: it shows its messages on a console,
# whether or not the ports have descriptors
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import pathlib
import shutil
import socket
import subprocess
import unittest

from guestlib import TIMEOUT, Started, make_image
from guesttest import GuestTest

CONSOLES = {
    'plain': 'virtconsole,chardev=char',
    'described': 'virtconsole,chardev=char,desc=1209:0002,desc-serial=tty',
}
# A port with a descriptor on the same controller, which the firmware does not use
OTHER = 'virtserialport,desc=1209:0001,desc-serial=A1,desc-manufacturer=Acme'


class Firmware(Started):
    """QEMU with a firmware and nothing to boot. What the firmware says on the
    console is read by said()."""

    def __init__(self, words):
        self.words = words
        self.sock = None

    def _start(self):
        path = self.dir / 'console'
        listener = socket.socket(socket.AF_UNIX)
        with contextlib.closing(listener):
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(TIMEOUT)
            with open(self.dir / 'errors', 'wb') as errors:
                self.process = subprocess.Popen(
                    [*self.words, '-nodefaults', '-display', 'none', '-m', '512',
                     '-chardev', f'socket,id=char,path={path}'],
                    stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            self.sock = listener.accept()[0]
        self.sock.settimeout(TIMEOUT)

    def _end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.sock:
            self.sock.close()
        shutil.rmtree(self.dir)

    def said(self, what):
        """Read until the firmware has said this; all that it has said"""
        text = b''
        while what not in text:
            more = self.sock.recv(4096)
            if not more:
                raise EOFError((self.dir / 'errors').read_text() + repr(text))
            text += more
        return text


class MachineFirmware(GuestTest):
    """No test of its own: a firmware on a console of each kind"""

    abstract = True

    @classmethod
    def setUpClass(cls):
        if cls.platform != cls.only_on['name']:
            raise unittest.SkipTest(f'only on {cls.only_on["name"]}')

    def check(self, console, machine, what):
        """Start the firmware, until it has said that on its console."""
        words = [self.qemu, *machine, '-device', 'virtio-serial-pci,id=vs',
                 '-device', CONSOLES[console], '-device', OTHER]
        with Firmware(words) as firmware:
            self.assertIn(what, firmware.said(what))


class MachineSlof(MachineFirmware):
    """SLOF, pseries' firmware, whose console is the only one of the machine"""

    only_on = {'name': 'pseries'}
    machine = ['-machine', 'pseries', '-accel', 'tcg']

    def test_plain(self):
        self.check('plain', self.machine, b'SLOF')

    def test_described(self):
        self.check('described', self.machine, b'SLOF')


class MachineEdk2(MachineFirmware):
    """edk2 of the newest Debian release that has its virtio-serial driver"""

    only_on = {'name': 'q35'}

    def machine(self):
        code = pathlib.Path(make_image('image-edk2')) / 'OVMF_CODE_4M.fd'
        return ['-machine', 'q35', '-accel', 'tcg', '-drive',
                f'if=pflash,format=raw,unit=0,readonly=on,file={code}']

    def test_plain(self):
        self.check('plain', self.machine(), b'BdsDxe: loading')

    def test_described(self):
        self.check('described', self.machine(), b'BdsDxe: loading')
