# USB over virtio: the driver virtio_usb in a guest, with QEMU's own USB devices
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import hashlib
import os
import pathlib
import re
import struct
import subprocess
import unittest

from guestlib import Port
from guesttest import GuestTest

MIB = 1 << 20
# Codes of linux/input-event-codes.h
EV_SYN, EV_KEY, EV_REL, EV_ABS = range(4)
KEY_A, KEY_B, BTN_LEFT = 30, 48, 0x110
ABS_X, ABS_Y = 0, 1
# What a driver or the USB core says when something went wrong
TROUBLE = re.compile(r'WARNING|BUG:|Oops|Call Trace|UBSAN|stack segment|'
                     r'general protection|the controller is dead|unknown event|'
                     r'unknown speed|are possible|hung_task|blocked for more')


class UsbHcd(GuestTest):
    """No test of its own: a guest with a virtio-usb controller."""

    abstract = True
    options = {'usb': True, 'devices': [{'driver': 'virtio-usb', 'id': 'vusb'}]}

    @classmethod
    def setUpClass(cls):
        known = subprocess.run([cls.qemu, '-device', 'help'], check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        if '"virtio-usb-device"' not in known:
            raise unittest.SkipTest('this QEMU has no virtio-usb-device')
        super().setUpClass()

    def setUp(self):
        self.plugged = []
        self.guest.sh('dmesg -c >/dev/null; mkdir -p /mnt; modprobe virtio_usb')

    def tearDown(self):
        for id in reversed(self.plugged):
            self.unplug(id)
        self.guest.sh('cd /; umount /mnt 2>/dev/null; modprobe virtio_usb; udevadm settle')
        said = self.guest.sh('dmesg')
        self.assertIsNone(TROUBLE.search(said), said)
        super().tearDown()

    def plug(self, driver, **props):
        """Plug a device in, with its id the driver's name unless given."""
        id = props.setdefault('id', driver)
        props.setdefault('bus', 'vusb.0')
        self.guest.qmp('device_add', driver=driver, **props)
        self.plugged.append(id)
        return id

    def unplug(self, id):
        self.plugged.remove(id)
        self.guest.qmp('device_del', id=id)
        self.guest.wait_event('DEVICE_DELETED', device=id)

    def make_disk(self, name, size=24 * MIB, how=()):
        """Make a disk's file; a file system is in it."""
        path = pathlib.Path(self.guest.dir) / name
        with open(path, 'wb') as f:
            f.truncate(size)
        subprocess.run(['/sbin/mkfs.ext4', '-q', '-F', path, *how], check=True)
        return path

    def add_disk(self, path, **props):
        """Plug a disk in; the node that it has in the guest."""
        node = props.get('id', 'usb-storage') + '-node'
        self.guest.qmp('blockdev-add', **{
            'driver': 'raw', 'node-name': node,
            'file': {'driver': 'file', 'filename': str(path)}})
        self.addCleanup(self.guest.qmp, 'blockdev-del', **{'node-name': node})
        self.addCleanup(self.unplug_all)
        self.plug('usb-storage', drive=node, serial='S1', **props)
        return self.disk()

    def disk(self):
        """Wait until there is one disk; its node. The name of a disk that is gone is free
        again only when the last program has closed it."""
        self.guest.wait_until('set -- /sys/block/sd*; [ $# = 1 ] && [ -b "/dev/${1##*/}" ]')
        return '/dev/' + self.guest.sh('ls /sys/block | grep ^sd').strip()

    def unplug_all(self):
        for id in reversed(self.plugged):
            self.unplug(id)

    def wait_gone(self, node):
        self.guest.wait_for(node, removed=True)

    def tree(self):
        return self.guest.sh('lsusb -t')

    def sum(self, path):
        return self.guest.sh(f'sha256sum {path}').split()[0]

    def input_node(self, name):
        """Wait for an input device, by a word of its name; its node"""
        find = ('for d in /sys/class/input/event*; do '
                f'grep -q "{name}" $d/device/name && '
                'readlink -f $d/device/device | grep -q /usb && '
                '[ -c /dev/input/${d##*/} ] && echo /dev/input/${d##*/}; done; :')
        self.guest.wait_until(f'[ -n "$({find})" ]')
        self.guest.sh('udevadm settle')
        return self.guest.sh(find).splitlines()[0]

    def read_events(self, node, count, send):
        """What evdev says in the guest while `send()` has QEMU send events"""
        self.guest.sh(f'rm -f /run/events; (head -c {24 * count} {node} '
                      '>/run/events) </dev/null >/dev/null 2>&1 &')
        # The node is open, so the guest's driver asks the device
        self.guest.wait_until(f'ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q {node}')
        send()
        self.guest.wait_until(f'[ $(wc -c </run/events) = {24 * count} ]')
        data = self.guest.run('cat /run/events').stdout
        return [struct.unpack('<HHi', data[at + 16:at + 24])
                for at in range(0, len(data), 24)]

    def send_key(self, code, down):
        self.guest.qmp('input-send-event', events=[
            {'type': 'key', 'data': {'down': down, 'key': {
                'type': 'qcode', 'data': code}}}])


class UsbHcdDevices(UsbHcd):
    """Each kind of device, one after the other"""

    def test_tree(self):
        """lsusb shows the controller and what is behind it."""
        self.plug('usb-tablet', port='2')
        self.input_node('Tablet')
        tree = self.tree()
        self.assertRegex(tree, r'(?m)^/: .*Class=root_hub, Driver=virtio_usb/8p, 480M$')
        self.assertRegex(tree, r'(?m)Port 0*2: Dev \d+, If 0, .*Driver=usbhid, 480M$')
        said = self.guest.run('lsusb -v')
        # The newest lsusb misses the hwdb, which this guest does not have
        self.assertIn(said.stderr, ('', 'unable to initialize usb spec'))
        self.assertIn('QEMU USB Tablet', said.stdout.decode())

    def test_file_system(self):
        """What is written to a disk is there when the disk is plugged in again."""
        path = self.make_disk('disk')
        node = self.add_disk(path)
        self.guest.sh(f'set -e; mount -t ext4 {node} /mnt\n'
                      'head -c 12582912 /dev/urandom >/mnt/big\n'
                      'i=0; while [ $i -lt 100 ]; do echo $i >/mnt/f$i; i=$((i+1)); done\n'
                      'sync; cd /mnt; sha256sum big f* >/run/sums; '
                      'cd /; umount /mnt; echo 3 >/proc/sys/vm/drop_caches')
        check = ('mount -t ext4 NODE /mnt && cd /mnt && '
                 'grep -c . /run/sums && sha256sum -c /run/sums >/run/said 2>&1 || '
                 '{ cat /run/said; exit 1; }; cd /; umount /mnt')
        self.assertEqual(self.guest.sh(check.replace('NODE', node)), '101\n')
        self.unplug('usb-storage')
        self.wait_gone(node)
        subprocess.run(['/sbin/e2fsck', '-f', '-n', path], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.plug('usb-storage', drive='usb-storage-node', serial='S1')
        self.assertEqual(self.guest.sh(check.replace('NODE', self.disk())), '101\n')

    def test_raw_disk(self):
        """The guest reads from a disk what the host has in the file, in requests
        of several sizes."""
        path = pathlib.Path(self.guest.dir) / 'raw'
        data = os.urandom(8 * MIB)
        path.write_bytes(data)
        node = self.add_disk(path)
        want = hashlib.sha256(data).hexdigest()
        for size in '512', '4k', '128k', '1M':
            with self.subTest(size):
                said = self.guest.sh(f'dd if={node} bs={size} iflag=direct 2>/dev/null '
                                     '| sha256sum')
                self.assertEqual(said.split()[0], want)

    def test_keyboard(self):
        """Keys that QEMU sends are events of evdev, in order."""
        self.plug('usb-kbd')
        node = self.input_node('Keyboard')

        def send():
            for code in 'a', 'b', 'a':
                self.send_key(code, True)
                self.send_key(code, False)

        # Each is MSC_SCAN, the key, SYN_REPORT
        events = self.read_events(node, 18, send)
        keys = [(code, value) for type, code, value in events if type == EV_KEY]
        self.assertEqual(keys, [(KEY_A, 1), (KEY_A, 0), (KEY_B, 1), (KEY_B, 0),
                                (KEY_A, 1), (KEY_A, 0)])

    def test_tablet(self):
        self.plug('usb-tablet')
        node = self.input_node('Tablet')

        def send():
            self.guest.qmp('input-send-event', events=[
                {'type': 'abs', 'data': {'axis': 'x', 'value': 1000}},
                {'type': 'abs', 'data': {'axis': 'y', 'value': 2000}}])
            self.guest.qmp('input-send-event', events=[
                {'type': 'btn', 'data': {'down': True, 'button': 'left'}}])

        # x, y, SYN; MSC_SCAN, button, SYN
        events = self.read_events(node, 6, send)
        self.assertIn((EV_ABS, ABS_X, 1000), events)
        self.assertIn((EV_ABS, ABS_Y, 2000), events)
        self.assertIn((EV_KEY, BTN_LEFT, 1), events)

    def test_serial(self):
        """Bytes both ways through a serial line"""
        port = SerialLine('line', always_plugged=True)
        self.guest.plug(port)
        self.guest.wait_for('/dev/ttyUSB0')
        self.guest.sh('stty -F /dev/ttyUSB0 raw -echo')
        self.guest.exchange(port, '/dev/ttyUSB0', 100000)
        self.guest.unplug(port)
        self.wait_gone('/dev/ttyUSB0')

    def test_hub(self):
        """Devices behind a hub; they go with it."""
        self.plug('usb-hub', port='3', id='hub')
        self.plug('usb-tablet', port='3.1')
        self.plug('usb-kbd', port='3.4')
        self.input_node('Tablet')
        node = self.input_node('Keyboard')
        self.assertRegex(self.tree(), r'(?s)Driver=hub/8p, 12M.*Driver=usbhid, 12M')
        events = self.read_events(node, 6, lambda: [self.send_key('a', True),
                                                    self.send_key('a', False)])
        self.assertIn((EV_KEY, KEY_A, 1), events)
        # Below the hub, one goes and comes
        self.unplug('usb-kbd')
        self.wait_gone(node)
        self.plug('usb-kbd', port='3.4')
        node = self.input_node('Keyboard')
        self.plugged = ['hub']
        self.unplug('hub')
        self.wait_gone(node)
        self.guest.wait_until('! lsusb -t | grep -q -e hub/8p -e usbhid')

    def test_all_ports(self):
        """A device at each port, all at once"""
        for n in range(1, 9):
            self.plug('usb-tablet', port=str(n), id=f't{n}')
        self.guest.wait_until('[ $(lsusb -t | grep -c Driver=usbhid) = 8 ]')

    def test_hot_plug(self):
        """A device comes and goes, and often is not there long."""
        for n in range(5):
            id = self.plug('usb-kbd', port='4')
            node = self.input_node('Keyboard')
            self.unplug(id)
            self.wait_gone(node)
        for n in range(10):
            self.unplug(self.plug('usb-kbd', port='4'))
        self.plug('usb-kbd', port='4')
        self.input_node('Keyboard')
        # A device that replaces another before the guest has looked
        self.unplug('usb-kbd')
        self.plug('usb-tablet', port='4')
        self.input_node('Tablet')
        self.guest.wait_until('[ $(lsusb -t | grep -c Driver=usbhid) = 1 ]')


class UsbHcdPacked(UsbHcd):
    """Packed rings, for which the device asks for notifications in another way"""

    options = {'usb': True,
               'devices': [{'driver': 'virtio-usb', 'id': 'vusb', 'packed': True}]}
    test_raw_disk = UsbHcdDevices.test_raw_disk
    test_tablet = UsbHcdDevices.test_tablet


class UsbHcdNoEventIndex(UsbHcd):
    """Packed rings, and no index at which the device wants a notification"""

    options = {'usb': True, 'devices': [{'driver': 'virtio-usb', 'id': 'vusb',
                                         'packed': True, 'event_idx': False}]}
    test_raw_disk = UsbHcdDevices.test_raw_disk


class UsbHcdUpheaval(UsbHcd):
    """Things that go away while they are in use"""

    def busy_disk(self):
        """A disk that the guest goes on reading, until there is an error; its node"""
        path = pathlib.Path(self.guest.dir) / 'busy'
        with open(path, 'wb') as f:
            f.truncate(64 * MIB)
        node = self.add_disk(path)
        self.guest.sh(f'''
            rm -f /run/reader
            ( n=0
              while dd if={node} of=/dev/null bs=128k iflag=direct 2>/dev/null; do
                  n=$((n + 1)); echo $n >/run/rounds
              done
              echo $n >/run/reader ) </dev/null >/dev/null 2>&1 &''')
        self.guest.wait_until('[ $(awk "{ print \\$1 }" '
                              f'/sys/block/{pathlib.Path(node).name}/stat) -gt 50 ]')
        return node

    def reader_ends(self):
        self.guest.wait_until('[ -e /run/reader ]')

    def works(self):
        """A disk can be plugged in, and read."""
        path = pathlib.Path(self.guest.dir) / 'after'
        path.write_bytes(b'after' * 1000)
        with open(path, 'r+b') as f:
            f.truncate(MIB)
        self.guest.qmp('blockdev-add', **{
            'driver': 'raw', 'node-name': 'after',
            'file': {'driver': 'file', 'filename': str(path)}})
        self.plug('usb-storage', drive='after', id='after-disk')
        node = self.disk()
        self.assertEqual(self.guest.sh(f'head -c 10 {node}'), 'afterafter')
        self.unplug('after-disk')
        self.guest.qmp('blockdev-del', **{'node-name': 'after'})
        self.wait_gone(node)

    def test_device_del(self):
        """The disk is unplugged under I/O."""
        for _ in range(3):
            node = self.busy_disk()
            self.unplug('usb-storage')
            self.reader_ends()
            self.wait_gone(node)
            self.doCleanups()
        self.works()

    def test_usbreset(self):
        """The guest resets a device that is in use; it goes on."""
        self.busy_disk()
        for _ in range(3):
            said = self.guest.sh('usbreset 46f4:0001')
            self.assertIn('ok', said)
        before = self.guest.sh('cat /run/rounds 2>/dev/null || echo 0')
        self.guest.wait_until(f'[ $(cat /run/rounds 2>/dev/null || echo 0) != {before.strip()} ]')
        self.assertEqual(self.guest.run('[ -e /run/reader ]', check=False).status, 1)
        self.unplug('usb-storage')
        self.reader_ends()

    def test_unload(self):
        """The driver goes and comes, idle and under load."""
        self.guest.sh('rmmod virtio_usb')
        self.assertNotIn('virtio_usb', self.tree())
        self.guest.sh('modprobe virtio_usb')
        for _ in range(3):
            node = self.busy_disk()
            self.plug('usb-tablet')
            self.input_node('Tablet')
            self.guest.sh('rmmod virtio_usb')
            self.reader_ends()
            self.wait_gone(node)
            self.guest.sh('modprobe virtio_usb')
            node = self.disk()
            self.input_node('Tablet')
            self.unplug_all()
            self.wait_gone(node)
            self.doCleanups()
        self.works()

    def test_unbind(self):
        """The driver is taken from the device under load, and given back."""
        self.busy_disk()
        self.guest.sh('cd /sys/bus/virtio/drivers/virtio_usb\n'
                      'd=$(echo virtio*); echo $d >unbind; echo $d >bind')
        self.reader_ends()
        node = self.disk()
        self.unplug_all()
        self.wait_gone(node)
        self.works()

    def test_sleep(self):
        """The guest sleeps; devices are there when it wakes up."""
        for state in 'freeze', 'disk':
            with self.subTest(state):
                self.plug('usb-kbd')
                self.input_node('Keyboard')
                self.guest.sleep(state)
                node = self.input_node('Keyboard')
                events = self.read_events(node, 6, lambda: [
                    self.send_key('a', True), self.send_key('a', False)])
                self.assertIn((EV_KEY, KEY_A, 1), events)
                self.unplug('usb-kbd')
                self.wait_gone(node)
        self.works()

    def test_system_reset(self):
        """The machine is reset under load; the next boot has it all."""
        self.busy_disk()
        self.plug('usb-tablet')
        self.input_node('Tablet')
        self.guest.reboot()
        node = self.disk()
        self.input_node('Tablet')
        self.guest.sh(f'dd if={node} of=/dev/null bs=1M count=8 2>/dev/null')
        self.unplug_all()

    def test_guest_reboot(self):
        """The guest reboots by itself, under load."""
        self.busy_disk()
        self.guest.qmp('set-action', reboot='reset')
        self.guest.run_reboot()
        self.disk()
        self.unplug_all()


class SerialLine(Port):
    """A usb-serial device: not on a virtio-serial controller"""

    def __init__(self, id, **props):
        super().__init__(id, driver='usb-serial', **props)

    def device(self):
        return {**super().device(), 'bus': 'vusb.0'}
