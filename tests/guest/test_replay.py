# Record/replay: the replayed guest says what the recorded guest has said
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import pathlib
import shutil
import subprocess
import tempfile
import unittest

from guestlib import TIMEOUT, make_image
from guesttest import GuestTest
from platforms import PLATFORMS

# In replay the guest gets nothing from a socket, with stock QEMU neither. So the guest
# has no agent, and this is its first process.
INIT = '''#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin
/bin/busybox --install -s /usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe virtio_pci
modprobe virtio_console
port=/sys/class/virtio-ports/vport0p1
until [ -s $port/idProduct ]; do :; done
exec 3<>/dev/vport0p1
cat $port/idVendor $port/idProduct >&3
seq 5000 >&3
head -c 1000000 /dev/zero >&3
poweroff -f
'''
SAID = b'1209\n000a\n' + b''.join(b'%d\n' % i for i in range(1, 5001)) + bytes(1000000)


class RecordReplay(unittest.TestCase):

    def __str__(self):
        return f'{type(self).__name__}.{self._testMethodName}'

    def setUp(self):
        if PLATFORMS[GuestTest.platform].transport != 'pci':
            self.skipTest('only where the transport is pci')
        folder = tempfile.TemporaryDirectory(prefix='replay-')
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.image = make_image('image', f'--platform={GuestTest.platform}',
                                GuestTest.kernel)
        init = self.dir / 'init'
        init.write_text(INIT)
        init.chmod(0o755)
        with open(self.dir / 'initrd', 'wb') as whole:
            for part in 'base', 'patched', 'tools':
                with open(self.image / f'{part}.cpio', 'rb') as f:
                    shutil.copyfileobj(f, whole)
            whole.write(subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet'],
                                       cwd=self.dir, input=b'init\n', check=True,
                                       stdout=subprocess.PIPE).stdout)

    def run_guest(self, mode):
        """What the guest says until it powers off."""
        platform = PLATFORMS[GuestTest.platform]
        append = f'console={platform.terminal} panic=-1 quiet {platform.append}'
        if (self.image / 'builtin').exists():
            append += ' initcall_blacklist=virtio_console_init'
        said, console = self.dir / f'said-{mode}', self.dir / f'console-{mode}'
        command = [
            GuestTest.qemu, '-machine', platform.machine, '-accel', 'tcg', '-m', '512',
            '-icount', f'shift=auto,rr={mode},rrfile={self.dir}/recording',
            '-nodefaults', '-display', 'none', '-no-reboot', '-net', 'none',
            '-kernel', self.image / 'vmlinuz', '-initrd', self.dir / 'initrd',
            '-append', append, '-chardev', f'file,id=console,path={console}',
            *platform.options.split(), '-chardev', f'file,id=port,path={said}',
            '-device', 'virtio-serial-pci', '-device',
            'virtserialport,nr=1,chardev=port,desc=1209:000a']
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=TIMEOUT,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            self.fail(f'{mode}: no end; {console.read_text(errors="replace")}')
        self.assertEqual((done.returncode, done.stdout), (0, b''), mode)
        return said.read_bytes()

    def test_to_host(self):
        for mode in 'record', 'replay':
            said = self.run_guest(mode)
            self.assertEqual(len(said), len(SAID), mode)
            self.assertTrue(said == SAID, mode)
