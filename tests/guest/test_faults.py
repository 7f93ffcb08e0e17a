# What goes wrong in a guest: no room, no memory, nothing to write to, no udev
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

from guestlib import Port
from test_tools import ToolsTest

STORE = '/run/virtio-serial-desc'


class Faults(ToolsTest):
    """Debian's driver and the daemon. Each test breaks something, plugs a port, mends
    it, and finds the truth again. tests/tools/test_faults.py kills the daemon at every
    system call."""

    options = {'driver': 'stock', 'devices': [
        {'driver': 'virtserialdesc', 'id': 'records', 'bus': 'vs.0'}]}

    @classmethod
    def make_ports(cls):
        return [Port('a1', desc='1209:0001', desc_serial='A1'),
                Port('a2', desc='1209:0001', desc_serial='A2')]

    def setUp(self):
        self.daemon()
        self.wait_listed(self.truth())

    def link(self, serial):
        return f'/dev/virtio-ports/by-usb-id/1209:0001:{serial}'

    def plug(self, serial):
        port = Port(serial.lower(), desc='1209:0001', desc_serial=serial)
        self.guest.plug(port)
        self.addCleanup(self.unplug, port)
        return port

    def unplug(self, port):
        if port.id in self.guest.ports:
            self.guest.unplug(port)

    def check_truth(self, *serials):
        """vser lists what QEMU has; each of these ports has its link, and no other."""
        self.check_list()
        for serial in serials:
            self.guest.wait_for(self.link(serial))
            self.assertEqual(self.guest.node(self.link(serial)),
                             self.vport(serial.lower()))
        self.assertEqual(self.guest.sh('ls /dev/virtio-ports/by-usb-id').split(),
                         sorted(f'1209:0001:{serial}' for serial in serials))
        self.assertEqual(self.guest.sh(f'ls -A {STORE} | grep "^[.]" || :'), '')

    def restart(self, before=''):
        """The daemon ends, as by the service manager, and starts again."""
        self.guest.sh('kill $(cat /run/daemon.pid) 2>/dev/null\n'
                      f'{before}\n'
                      '/run/d daemon >/run/daemon.log 2>&1 &\n'
                      'echo $! >/run/daemon.pid')

    def mount_store(self, options):
        """A file system of its own for the store."""
        self.guest.sh(f'kill $(cat /run/daemon.pid); rm -rf {STORE}; mkdir {STORE}\n'
                      f'mount -t tmpfs -o {options} store {STORE}')
        self.addCleanup(self.guest.sh, f'umount -l {STORE}')

    def test_no_room(self):
        """The disk is full: one message says so, and the port comes when there is
        room."""
        self.mount_store('size=32k')
        self.restart()
        self.check_truth('A1', 'A2')
        self.guest.sh(f'dd if=/dev/zero of={STORE}/fill bs=1k 2>/dev/null; :')
        self.plug('N1')
        self.guest.wait_until('grep -q "No space left on device" /run/daemon.log')
        self.assertEqual(self.guest.sh(f'ls -A {STORE} | grep -c new || :').strip(), '0')
        said = self.said()
        self.assertIn(f'{STORE}/{self.vport("n1")}: No space left on device', said[0])
        self.guest.sh(f'rm {STORE}/fill')
        self.check_truth('A1', 'A2', 'N1')
        # Not a message for each time
        self.assertLess(len(self.said()), 20)

    def test_no_room_when_it_starts(self):
        self.mount_store('size=16k')
        self.guest.sh(f'dd if=/dev/zero of={STORE}/fill bs=1k 2>/dev/null; :')
        self.restart()
        self.guest.wait_until('grep -q "No space left on device" /run/daemon.log')
        self.guest.sh(f'rm {STORE}/fill')
        self.check_truth('A1', 'A2')

    def test_read_only(self):
        """The store can't be written: a message, and the daemon goes on."""
        self.mount_store('size=1m')
        self.restart()
        self.check_truth('A1', 'A2')
        self.guest.sh(f'mount -o remount,ro {STORE}')
        self.plug('R1')
        self.guest.wait_until('grep -q "Read-only file system" /run/daemon.log')
        self.guest.sh(f'kill -0 $(cat /run/daemon.pid); mount -o remount,rw {STORE}')
        self.check_truth('A1', 'A2', 'R1')
        # A port goes while the store is read-only: the next daemon puts that right
        self.guest.sh(f'mount -o remount,ro {STORE}')
        self.guest.unplug(self.port('r1'))
        self.guest.sh('udevadm settle')
        self.restart(f'mount -o remount,rw {STORE}')
        self.check_truth('A1', 'A2')

    def test_read_only_run(self):
        """Without a store there is no daemon, and one message."""
        self.guest.sh(f'kill $(cat /run/daemon.pid); rm -rf {STORE}\n'
                      'cp /run/d /tmp/d')
        result = self.guest.run(
            'mkdir /tmp/run; unshare -m sh -c "mount -t tmpfs -o ro none /run && '
            '/tmp/d daemon"', check=False)
        self.assertEqual((result.status, result.stderr), (
            1, f'vser: {STORE}: Read-only file system\n'))
        self.restart()
        self.check_truth('A1', 'A2')

    def test_no_memory(self):
        """The daemon's cgroup has no memory: the kernel kills the daemon, as often as it
        starts; once there is memory, everything is true."""
        group = '/sys/fs/cgroup/test'
        self.guest.sh('mountpoint -q /sys/fs/cgroup || '
                      'mount -t cgroup2 cgroup2 /sys/fs/cgroup\n'
                      'echo +memory >/sys/fs/cgroup/cgroup.subtree_control\n'
                      f'mkdir -p {group}')
        self.plug('M1')
        self.check_truth('A1', 'A2', 'M1')
        for limit in '0', '64k', '128k', '256k':
            self.guest.sh('kill $(cat /run/daemon.pid) 2>/dev/null\n'
                          f'echo {limit} >{group}/memory.max\n'
                          f'( echo 0 >{group}/cgroup.procs; exec /run/d daemon ) '
                          '>/run/daemon.log 2>&1 &\n'
                          'echo $! >/run/daemon.pid\n'
                          f'p=$(cat /run/daemon.pid)\n'
                          # Killed, or done with what there is to do
                          'until ! kill -0 $p 2>/dev/null || '
                          'grep -q "State:.*sleeping" /proc/$p/status; do sleep 0.05; done')
            for name, port in self.listed().items():
                if port['source'] == 'store':
                    self.assertEqual(bytes.fromhex(port['blob']), self.truth()[name])
        self.assertRegex(self.guest.sh(f'cat {group}/memory.events'), r'oom_kill [1-9]')
        self.restart()
        self.check_truth('A1', 'A2', 'M1')

    def test_udev_stands_still(self):
        """udev is stopped, and then killed, while ports come and go."""
        self.guest.sh('kill -STOP $(pidof systemd-udevd)')
        gone = self.plug('U1')
        self.wait_stored('u1')
        self.guest.unplug(gone)
        self.plug('U2')
        self.wait_stored('u2')
        self.guest.sh('kill -CONT $(pidof systemd-udevd)')
        self.check_truth('A1', 'A2', 'U2')

        self.guest.sh('udevadm control --exit\n'
                      'rm -f /run/udev/queue')
        self.guest.unplug(self.port('u2'))
        self.plug('U3')
        self.wait_stored('u3')
        self.guest.sh('/usr/lib/systemd/systemd-udevd --daemon\n'
                      'udevadm trigger --subsystem-match=virtio-ports --action=add\n'
                      'udevadm settle')
        self.check_truth('A1', 'A2', 'U3')
        self.assertEqual(self.said(), [])

    def wait_stored(self, id):
        self.guest.wait_until(f'ls {STORE} | grep -q "^{self.vport(id)}[.][1-9]"')
