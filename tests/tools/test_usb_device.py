# vser usb: the device in it by itself (test-usb.c), and how it finds a place to
# plug it in. What it is to the kernel is tested in guests.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import re
import tty

from toolstest import (AMBIGUOUS, FAILED, NO_PORT, USAGE, ToolsTest,
                       make_blob)


class UsbDevice(ToolsTest):
    def test_protocol(self):
        self.run_program('test-usb')


class UsbAttach(ToolsTest):
    """A directory stands for vhci_hcd. Nobody has taken the socket from what
    was written there, so the device is detached as soon as it is attached."""

    DETACHED = 'vser: vport1p5: the device was detached from vhci_hcd\n'

    def setUp(self):
        super().setUp()
        host, guest = os.openpty()
        tty.setraw(guest)
        self.addCleanup(os.close, guest)
        self.addCleanup(os.close, host)
        (self.dev / 'vport1p5').symlink_to(os.ttyname(guest))
        self.port('vport1p5', make_blob())
        self.vhci = self.tree / 'vhci'
        self.vhci.mkdir()
        self.attach = self.vhci / 'attach'
        self.attach.touch()

    def status(self, controller, *ports):
        """What a controller says of its ports: (hub, number, state)"""
        (self.vhci / (f'status.{controller}' if controller else 'status')
         ).write_text(
            'hub port sta spd dev      sockfd local_busid\n' +
            ''.join(f'{hub}  {number:04} {state:03} 000 00000000 000000 0-0\n'
                    for hub, number, state in ports))

    def attached(self, blob=None):
        """Run it; the port and the speed that it has asked for."""
        if blob:
            self.port('vport1p5', blob)
        self.attach.write_text('')
        self.vser('usb', '1209:0001', status=FAILED, stderr=self.DETACHED)
        match = re.fullmatch('([0-9]+) [0-9]+ 1 ([0-9])',
                             self.attach.read_text())
        self.assertTrue(match, self.attach.read_text())
        return int(match[1]), int(match[2])

    def test_first_free_port(self):
        self.status(0, ('hs', 0, 4), ('hs', 1, 4), ('ss', 2, 4))
        self.assertEqual(self.attached(), (0, 3))
        self.status(0, ('hs', 0, 6), ('hs', 1, 5), ('hs', 2, 4))
        self.assertEqual(self.attached(), (2, 3))

    def test_not_superspeed(self):
        self.status(0, ('hs', 0, 6), ('ss', 1, 4), ('hs', 2, 4))
        self.assertEqual(self.attached(), (2, 3))

    def test_further_controllers(self):
        self.status(0, ('hs', 0, 6), ('ss', 8, 4))
        self.status(1, ('hs', 16, 7), ('ss', 24, 4))
        self.status(2, ('hs', 32, 6), ('hs', 33, 4), ('ss', 40, 4))
        self.assertEqual(self.attached(), (33, 3))

    def test_full_speed(self):
        """Bulk endpoints of 64 bytes are a full-speed device's."""
        self.status(0, ('hs', 0, 4))
        blob = make_blob().replace(b'\x81\x02\x00\x02', b'\x81\x02\x40\x00')
        self.assertEqual(self.attached(blob), (0, 2))

    def test_none_free(self):
        self.status(0, ('hs', 0, 6), ('hs', 1, 7), ('ss', 2, 4))
        self.vser('usb', '1209:', status=FAILED, stderr='vser: vport1p5: no '
                  'high-speed port of vhci_hcd is free\n')
        self.assertEqual(self.attach.read_text(), '')

    def test_attach_fails(self):
        self.status(0, ('hs', 0, 4))
        self.attach.unlink()
        self.attach.symlink_to('/dev/full')
        self.vser('usb', '1209:', status=FAILED,
                  stderr='vser: vport1p5: cannot attach to vhci_hcd: '
                         'No space left on device\n')

    def test_no_module(self):
        self.attach.unlink()
        self.vser('usb', '1209:', status=FAILED,
                  stderr=': the module is not loaded (modprobe vhci_hcd)\n')

    def test_no_pipe(self):
        self.status(0, ('hs', 0, 4))
        blob = make_blob().replace(b'\x81\x02', b'\x81\x03')
        self.port('vport1p5', blob)
        self.vser('usb', '1209:', status=FAILED, stderr='no interface with a '
                  'bulk endpoint each way')
        self.assertEqual(self.attach.read_text(), '')

    def test_superspeed(self):
        self.status(0, ('hs', 0, 4), ('ss', 1, 4))
        blob = bytearray(make_blob())
        blob[7] = 9
        self.port('vport1p5', bytes(blob))
        self.vser('usb', '1209:', status=FAILED, stderr='vser: vport1p5: the '
                  "descriptor's bMaxPacketSize0 is 9; expected 8, 16, 32 or 64")
        self.assertEqual(self.attach.read_text(), '')

    def test_path(self):
        """Where another port of the product has a serial number, and this one
        has none, only its link and its node say which."""
        self.status(0, ('hs', 0, 4))
        self.port('vport1p6', make_blob(serial='A1'))
        (self.dev / 'vport1p6').symlink_to('/dev/null')
        self.vser('usb', '1209:0001', status=AMBIGUOUS, stderr='2 ports')
        link = self.dev / 'virtio-ports/by-usb-id/1209:0001'
        self.vser('usb', link, status=NO_PORT,
                  stderr=f'vser: {link}: No such file or directory\n')
        link.parent.mkdir(parents=True)
        link.symlink_to('../../vport1p5')
        for path in self.dev / 'vport1p5', link:
            self.attach.write_text('')
            self.vser('usb', path, status=FAILED, stderr=self.DETACHED)
            self.assertTrue(self.attach.read_text())
        self.vser('usb', '/dev/zero', status=NO_PORT, stderr='vser: /dev/zero: '
                  'not the node of a port that has a descriptor\n')

    def test_usage(self):
        for args in (), ('1209:', '1209:'):
            self.vser('usb', *args, status=USAGE,
                      stderr='vser: vser usb takes one port; see vser usb --help\n')
        self.vser('usb', '--no-such', '1209:', status=USAGE,
                  stderr='vser usb: unrecognized option')
        self.assertIn('usage: vser usb', self.vser('usb', '--help'))
