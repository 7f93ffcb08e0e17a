#!/usr/bin/env python3
#
# Functional test of a virtio-serial port with a USB descriptor: a guest whose
# driver knows nothing of descriptors sees the port by the name that QEMU has
# derived, and bytes go both ways
#
# Copyright (c) 2026 the virtio-serial-desc authors
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import socket

from qemu_test import QemuSystemTest, Asset
from qemu_test import wait_for_console_pattern
from qemu_test import exec_command, exec_command_and_wait_for_pattern


class VirtioSerialDesc(QemuSystemTest):

    ASSET_KERNEL = Asset(
        ('https://archives.fedoraproject.org/pub/archive/fedora/linux/releases'
         '/31/Server/x86_64/os/images/pxeboot/vmlinuz'),
        'd4738d03dbbe083ca610d0821d0a8f1488bebbdccef54ce33e3adb35fda00129')

    ASSET_INITRD = Asset(
        ('https://archives.fedoraproject.org/pub/archive/fedora/linux/releases'
         '/31/Server/x86_64/os/images/pxeboot/initrd.img'),
        '277cd6c7adf77c7e63d73bbb2cded8ef9e2d3a2f100000e92ff1f8396513cd8b')

    ASSET_DISKIMAGE = Asset(
        ('https://archives.fedoraproject.org/pub/archive/fedora/linux/releases'
         '/31/Cloud/x86_64/images/Fedora-Cloud-Base-31-1.9.x86_64.qcow2'),
        'e3c1b309d9203604922d6e255c2c5d098a309c2d46215d8fc026954f3c5c27a0')

    # Vendor 1209, product 0001, the default release and class, serial A1
    DESC = 'desc=1209:0001,desc-product=Stats,desc-serial=A1'
    NAME = 'usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00#A1'

    PROMPT = '# '
    TIMEOUT = 60

    def launch(self, path):
        kernel = self.ASSET_KERNEL.fetch()
        initrd = self.ASSET_INITRD.fetch()
        disk = self.ASSET_DISKIMAGE.fetch()

        self.set_machine('q35')
        self.vm.set_console()
        self.vm.add_args('-m', '1G', '-cpu', 'max',
                         '-kernel', kernel, '-initrd', initrd,
                         '-append', 'root=/dev/vda1 console=ttyS0 '
                         'net.ifnames=0 rd.rescue quiet',
                         '-drive',
                         f'file={disk},if=none,id=drv0,snapshot=on',
                         '-device', 'virtio-blk-pci,drive=drv0',
                         '-device', 'virtio-serial-pci',
                         '-chardev',
                         f'socket,id=host,path={path},server=on,wait=off',
                         '-device',
                         'virtserialport,chardev=host,id=port1,nr=1,'
                         f'{self.DESC}')
        self.vm.launch()

    def load_driver(self):
        """The initial RAM disk may not have the driver, but the disk has"""
        wait_for_console_pattern(self, 'Entering emergency mode.',
                                 failure_message='Kernel panic')
        wait_for_console_pattern(self, self.PROMPT)
        exec_command_and_wait_for_pattern(
            self, 'while ! (dmesg -c | grep vda:) ; do sleep 1 ; done',
            'vda1')
        for command in ('mount /dev/vda1 /sysroot', 'chroot /sysroot',
                        'modprobe virtio-console', 'exit'):
            exec_command_and_wait_for_pattern(self, command, self.PROMPT)
        # The port's node, as soon as it is there
        exec_command_and_wait_for_pattern(
            self, 'while ! [ -c /dev/vport*p1 ] ; do sleep 1 ; done ;'
            ' port=$(echo /dev/vport*p1)', self.PROMPT)

    def test_stock_driver(self):
        path = os.path.join(self.socket_dir().name, 'port')
        self.launch(path)

        host = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with host:
            host.settimeout(self.TIMEOUT)
            host.connect(path)
            self.load_driver()

            self.assertEqual(self.vm.cmd('qom-get',
                                         path='/machine/peripheral/port1',
                                         property='name'), self.NAME)
            exec_command_and_wait_for_pattern(
                self, 'cat /sys/class/virtio-ports/vport*p1/name', self.NAME)

            # Open for both ways: a driver drops what comes before it closes
            exec_command_and_wait_for_pattern(self, 'exec 3<> $port',
                                              self.PROMPT)
            exec_command(self, 'echo to the host >&3')
            data = b''
            while not data.endswith(b'\n'):
                part = host.recv(64)
                self.assertTrue(part, 'QEMU has closed the connection')
                data += part
            self.assertEqual(data, b'to the host\n')

            host.sendall(b'to the guest\n')
            exec_command_and_wait_for_pattern(self, 'head -n 1 <&3',
                                              'to the guest')


if __name__ == '__main__':
    QemuSystemTest.main()
