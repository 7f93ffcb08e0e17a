# "vser usb": ports as USB devices of the guest, with its own drivers on top
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import hashlib
import os
import re
import threading

from guestlib import Port
from guesttest import GuestTest

MIB = 1 << 20


class UsbDevices(GuestTest):
    """No test of its own: ports of a guest, plugged into its USB stack."""

    @classmethod
    def make_ports(cls):
        return [
            Port('acm', desc='1209:000a', desc_class='cdc-acm',
                 desc_manufacturer='Example', desc_product='Modem',
                 desc_serial='A1', desc_interface='Line'),
            Port('vendor', desc='1209:0001', desc_manufacturer='Acme Inc.',
                 desc_product='Kernel/stats é', desc_serial='S1',
                 desc_interface='Statistics'),
            Port('anonymous', desc='1209:0002'),
        ]

    IDS = {'acm': '1209:000a:A1', 'vendor': '1209:0001:S1',
           'anonymous': '1209:0002'}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.sh('modprobe vhci_hcd')

    def setUp(self):
        self.addCleanup(self.guest.run, '''
            for pid in /run/usb-*.pid; do
                [ ! -e $pid ] || kill $(cat $pid) || :
            done''')

    def start(self, id, what=None):
        """Run `vser usb` in the guest, for a port or with these arguments; finish()
        waits for its end."""
        self.guest.sh(f'''
            rm -f /run/usb-{id}.*
            ( vser usb {what or self.IDS[id]} </dev/null >/run/usb-{id}.log 2>&1 &
              echo $! >/run/usb-{id}.pid
              wait $!
              echo $? >/run/usb-{id}.new
              rm /run/usb-{id}.pid
              mv /run/usb-{id}.new /run/usb-{id}.exit ) >/dev/null 2>&1 &''')

    def finish(self, id):
        """Its exit status and messages."""
        self.guest.wait_until(f'[ -e /run/usb-{id}.exit ]')
        status, _, log = self.guest.sh(
            f'cat /run/usb-{id}.exit /run/usb-{id}.log').partition('\n')
        return int(status), log

    def stop(self, id):
        self.guest.sh(f'kill $(cat /run/usb-{id}.pid)')
        self.assertEqual(self.finish(id), (0, ''))
        self.gone(id)

    def find(self, id, test='[ -n "$found" ]'):
        """A shell command that finds a port's USB device, as $found (its
        directory in sysfs, or nothing), and tests something about it."""
        vendor, product, *serial = self.IDS[id].split(':')
        return ('found=; for d in /sys/bus/usb/devices/*; do '
                f'[ "$(cat $d/idVendor 2>/dev/null)" = {vendor} ] && '
                f'[ "$(cat $d/idProduct)" = {product} ] && found=$d; '
                f'done; {test}')

    def device(self, id):
        """Wait for a port's USB device; its directory in sysfs."""
        self.guest.wait_until(self.find(
            id, '[ -n "$found" ] && [ -n "$(cat $found/bConfigurationValue)" ]'))
        self.guest.sh('udevadm settle')
        return self.guest.sh(self.find(id, 'echo $found')).strip()

    def gone(self, id):
        """Wait until a port's USB device is gone."""
        self.guest.wait_until(self.find(id, '[ -z "$found" ]'))

    def tty(self):
        """Wait for the ACM port's terminal, and set it to change no byte."""
        self.guest.wait_for('/dev/ttyACM0')
        self.guest.sh('stty -F /dev/ttyACM0 raw -echo')
        return '/dev/ttyACM0'

    def sum(self, path):
        return self.guest.sh(f'sha256sum {path}').split()[0]

    def pipe(self, id, words, background=False):
        """Run usbpipe in the guest, for a port."""
        vendor, product, *_ = self.IDS[id].split(':')
        return self.guest.run(f'usbpipe {vendor}:{product} {words}' +
                              (' &' if background else ''))

    def check_bytes(self, id, size, transfer=''):
        """Bytes in each direction through the USB device, with libusb."""
        data = os.urandom(size)
        # More bytes than all buffers on the way hold: a thread sends meanwhile
        sender = threading.Thread(target=self.port(id).socket.sendall,
                                  args=(data,))
        sender.start()
        self.pipe(id, f'read {size} {transfer} >/run/got')
        sender.join()
        self.assertEqual(self.sum('/run/got'), hashlib.sha256(data).hexdigest())

        self.guest.sh(f'head -c {size} /dev/urandom >/run/sent; rm -f /run/end')
        self.pipe(id, f'write {size} {transfer} </run/sent >/run/end 2>&1',
                  background=True)
        back = self.port(id).receive(size)
        self.assertEqual(hashlib.sha256(back).hexdigest(), self.sum('/run/sent'))

    def reconnect(self, id):
        self.port(id).socket = self.guest.connect(id)

    def check_descriptors(self):
        """The guest's USB core has the same descriptors as the port."""
        for id in self.IDS:
            with self.subTest(id):
                self.start(id)
                device = self.device(id)
                blob = self.blob(id)
                self.assertEqual(
                    self.guest.run(f'cat {device}/descriptors').stdout,
                    blob.descriptors)
                shown = {name: self.guest.run(f'cat {device}/{name} || :').stdout
                         for name in ('manufacturer', 'product', 'serial')}
                self.assertEqual({name: text for name, text in shown.items() if text},
                                 {name: text for name, text in
                                  blob.sysfs().items() if name in shown})
                self.assertEqual(self.guest.sh(f'cat {device}/speed'), '480\n')
                self.stop(id)

    def check_terminal(self):
        """The guest's own driver makes a terminal of a cdc-acm port."""
        self.start('acm')
        self.guest.exchange(self.port('acm'), self.tty(), 5 * MIB // 4)
        self.stop('acm')
        self.guest.wait_for('/dev/ttyACM0', removed=True)

    def slow_reader(self, size, words):
        """slowread of the terminal in the guest, until it has `size` bytes."""
        self.guest.sh(f"""
            rm -f /run/got
            slowread {words} </dev/null >/run/got 2>/dev/null &
            echo $! >/run/slow.pid""")
        try:
            self.guest.wait_until(f'[ $(wc -c </run/got) = {size} ]')
        finally:
            self.guest.sh('kill $(cat /run/slow.pid)')

    def check_slow_terminal(self):
        """A program that pauses between its reads of the terminal gets every
        byte: more than what the kernel keeps for a terminal waits."""
        data = os.urandom(2 * MIB)
        self.start('acm')
        self.guest.wait_for('/dev/ttyACM0')
        sender = threading.Thread(target=self.port('acm').socket.sendall,
                                  args=(data,))
        sender.start()
        self.slow_reader(len(data), '/dev/ttyACM0 4096 2000')
        sender.join()
        self.assertEqual(self.sum('/run/got'), hashlib.sha256(data).hexdigest())
        self.stop('acm')

    def check_first_line(self):
        """A line that waits when a program opens the terminal is not sent
        back: the terminal has its mode before the line comes."""
        self.start('acm')
        self.guest.wait_for('/dev/ttyACM0')
        self.port('acm').socket.sendall(b'hello\n')
        self.slow_reader(6, '/dev/ttyACM0 4096 2000 answer')
        self.assertEqual(self.port('acm').receive(6), b'answer')
        self.assertEqual(self.guest.sh('cat /run/got'), 'hello\n')
        self.stop('acm')

    def check_libusb(self):
        """A libusb program opens the device of a vendor's class."""
        self.start('vendor')
        self.device('vendor')
        self.check_bytes('vendor', 5 * MIB // 4)
        self.check_bytes('vendor', 3 * MIB, '1048576 3')
        self.check_bytes('vendor', 100001, '777 16')
        self.stop('vendor')

    def check_cancel(self):
        """A cancelled transfer loses no byte."""
        self.start('vendor')
        self.device('vendor')
        data = os.urandom(100000)
        self.guest.sh('rm -f /run/said')
        self.pipe('vendor', 'cancel 100000 4096 16 >/run/got 2>/run/said',
                  background=True)
        self.guest.wait_until('[ -s /run/said ]')
        self.port('vendor').socket.sendall(data)
        self.guest.wait_until('[ $(wc -c </run/got) = 100000 ]')
        self.assertEqual(self.guest.sh('cat /run/said'), 'cancelled 16\n')
        self.assertEqual(self.sum('/run/got'), hashlib.sha256(data).hexdigest())
        self.stop('vendor')

    def check_lsusb(self):
        for id in self.IDS:
            with self.subTest(id):
                self.start(id)
                self.device(id)
                vendor_product = ':'.join(self.IDS[id].split(':')[:2])
                said = self.guest.run(f'lsusb -v -d {vendor_product}')
                self.assertEqual(said.stderr, '')
                text = said.stdout.decode()
                for string in self.blob(id).sysfs().get('product', b''), \
                        b'bInterfaceClass', b'Self Powered':
                    self.assertIn(string.decode().strip(), text)
                self.assertNotIn('(error)', text)
                self.stop(id)

    def check_properties(self):
        """udev's usb_id says of the device what `vser udev-id` says of the
        port."""
        for id in self.IDS:
            with self.subTest(id):
                self.start(id)
                device = self.device(id)

                def properties(script):
                    pairs = (line.split('=', 1) for line in
                             self.guest.sh(script).splitlines() if '=' in line)
                    return {key: value for key, value in pairs if re.match(
                        'ID_(VENDOR|MODEL|SERIAL|REVISION|USB_INTERFACES)', key)}

                self.assertEqual(
                    properties('vser udev-id $(readlink -f /sys/class/'
                               f'virtio-ports/{self.node(id)} | sed s,^/sys,,)'),
                    properties(f'udevadm info -q property {device}'))
                self.stop(id)

    def check_back_pressure(self):
        """The other side does not read: the guest waits, and vser's memory
        does not grow with what waits."""
        # Many small transfers: the port's ring may have 1024 places
        size = 12 * MIB
        self.start('vendor')
        self.device('vendor')
        self.guest.sh(f'''
            head -c {size} /dev/urandom >/run/sent
            rm -f /run/end
            ( usbpipe 1209:0001 write {size} 4096 256 </run/sent
              echo $? >/run/end ) >/dev/null 2>&1 &''')
        # Nothing moves any more when the number of bytes read stays the same
        self.guest.wait_until('''
            [ ! -e /run/end ] || exit 0
            at() { grep -h ^pos: /proc/$(pidof usbpipe)/fdinfo/0; }
            before=$(at) && sleep 0.5 && [ "$before" = "$(at)" ]''')
        self.assertEqual(self.guest.run('[ -e /run/end ]', check=False).status, 1)
        back = self.port('vendor').receive(size)
        self.assertEqual(hashlib.sha256(back).hexdigest(), self.sum('/run/sent'))
        self.guest.wait_until('[ -e /run/end ]')
        self.assertEqual(self.guest.sh('cat /run/end; rm /run/sent'), '0\n')
        # 1 MiB for transfers, and the program itself
        peak = int(self.guest.sh('grep VmHWM /proc/$(cat /run/usb-vendor.pid)'
                                 '/status').split()[1])
        self.assertLess(peak, 4 * 1024)
        self.stop('vendor')

    def check_closed_and_opened(self):
        """If the other side closes, the device is unplugged; if it opens, plugged in."""
        self.start('acm')
        for _ in range(3):
            self.tty()
            self.port('acm').socket.close()
            self.guest.wait_for('/dev/ttyACM0', removed=True)
            self.gone('acm')
            self.reconnect('acm')
            self.guest.exchange(self.port('acm'), self.tty(), 10000)
        self.stop('acm')

    def check_last_bytes(self):
        """Bytes that the other side sends before it closes are not lost."""
        self.start('vendor')
        self.device('vendor')
        data = os.urandom(200000)
        self.guest.sh('rm -f /run/got')
        self.pipe('vendor', 'read 200000 >/run/got', background=True)
        self.port('vendor').socket.sendall(data)
        self.port('vendor').socket.close()
        self.guest.wait_until('[ $(wc -c </run/got) = 200000 ]')
        self.assertEqual(self.sum('/run/got'), hashlib.sha256(data).hexdigest())
        self.gone('vendor')
        self.reconnect('vendor')
        self.device('vendor')
        self.stop('vendor')

    def wait_for_host(self, id):
        """Start with the other side closed, and see that vser waits: with the port
        open, and without a socket towards vhci_hcd."""
        self.start(id)
        self.guest.wait_until(f'''
            pid=$(cat /run/usb-{id}.pid)
            ls -l /proc/$pid/fd | grep {self.node(id)} &&
            grep "^State:.S" /proc/$pid/status''')
        self.assertNotIn('socket:', self.guest.sh(
            f'ls -l /proc/$(cat /run/usb-{id}.pid)/fd'))

    def check_waits_for_host(self):
        """No device before the other side is open, and not afterwards."""
        self.port('anonymous').socket.close()
        self.wait_for_host('anonymous')
        self.reconnect('anonymous')
        self.device('anonymous')
        self.stop('anonymous')
        self.port('anonymous').socket.close()
        self.wait_for_host('anonymous')
        self.stop('anonymous')
        self.reconnect('anonymous')

    def check_all_at_once(self):
        for id in self.IDS:
            self.start(id)
        for id in self.IDS:
            self.device(id)
        self.check_bytes('vendor', 200000)
        self.check_bytes('anonymous', 200000)
        self.guest.exchange(self.port('acm'), self.tty(), 200000)
        for id in self.IDS:
            self.stop(id)

    def check_same_port(self):
        """Two vser want the same free port of vhci_hcd: one of them takes another."""
        ids = ' '.join(self.IDS.values())
        for _ in range(20):
            self.guest.sh(f'''
                dmesg -c >/dev/null
                for id in {ids}; do
                    ( vser usb $id </dev/null >/run/same-$id.log 2>&1 &
                      echo $! >/run/usb-$id.pid ) >/dev/null 2>&1 &
                done''')
            for id in self.IDS:
                self.device(id)
            log = self.guest.sh(f'''
                for id in {ids}; do
                    kill $(cat /run/usb-$id.pid)
                    rm /run/usb-$id.pid
                    cat /run/same-$id.log
                done''')
            self.assertEqual(log, '')
            for id in self.IDS:
                self.gone(id)
            if self.guest.sh('dmesg | grep -c "already used" || :') != '0\n':
                return
        self.skipTest('in 20 rounds no two have wanted the same port')

    def check_unplug(self):
        """The port goes: so the device goes, and the program ends with success, whether
        the other side was open or not."""
        for connect in True, False:
            with self.subTest(connect):
                port = Port('hot', desc='1209:0003', desc_serial='hot',
                            connect=connect)
                self.guest.plug(port)
                self.IDS = {**self.IDS, 'hot': '1209:0003:hot'}
                self.guest.wait_until('lsvser -d 1209:0003 | grep -q 1209:0003')
                if connect:
                    self.start('hot')
                    self.device('hot')
                else:
                    self.wait_for_host('hot')
                self.guest.unplug(port)
                self.assertEqual(self.finish('hot'), (0, ''))
                self.gone('hot')
                del self.IDS['hot']

    def check_detached(self):
        """A user of the guest detaches the device."""
        self.start('vendor')
        self.device('vendor')
        self.guest.sh('''
            cd /sys/devices/platform/vhci_hcd.0
            while read -r hub port state rest; do
                [ $state != 006 ] || echo $port >detach
            done <status''')
        status, log = self.finish('vendor')
        self.assertEqual(status, 1)
        self.assertEqual(log, f'vser: {self.node("vendor")}: the device was '
                              'detached from vhci_hcd\n')
        self.gone('vendor')

    def check_mistakes(self):
        guest = self.guest

        def fails(words, status, *says):
            done = guest.run(f'vser usb {words}', check=False)
            self.assertEqual(done.status, status, done.stderr)
            self.assertEqual(done.stdout, b'')
            for text in says:
                self.assertIn(text, done.stderr)

        fails('', 2, 'see vser usb --help')
        fails('1209:0001 1209:0002', 2, 'see vser usb --help')
        fails('--host', 2, 'vser usb: unrecognized option')
        fails('1209:9999', 3, '1209:9999')
        fails('1209:', 4, self.node('acm'), self.node('vendor'))
        # In use, by another one of these
        self.start('vendor')
        self.device('vendor')
        fails('1209:0001', 1, f'vser: /dev/{self.node("vendor")}: in use by '
                              'another program\n')
        self.stop('vendor')
        guest.sh('rmmod vhci_hcd')
        try:
            fails('1209:0001', 1, '/sys/devices/platform/vhci_hcd.0/attach',
                  'modprobe vhci_hcd')
        finally:
            guest.sh('modprobe vhci_hcd')


class UsbPatchedDriver(UsbDevices):
    """Descriptors from the driver of guest/linux"""

    test_all_at_once = UsbDevices.check_all_at_once
    test_back_pressure = UsbDevices.check_back_pressure
    test_cancel = UsbDevices.check_cancel
    test_closed_and_opened = UsbDevices.check_closed_and_opened
    test_descriptors = UsbDevices.check_descriptors
    test_detached = UsbDevices.check_detached
    test_first_line = UsbDevices.check_first_line
    test_last_bytes = UsbDevices.check_last_bytes
    test_libusb = UsbDevices.check_libusb
    test_lsusb = UsbDevices.check_lsusb
    test_mistakes = UsbDevices.check_mistakes
    test_properties = UsbDevices.check_properties
    test_same_port = UsbDevices.check_same_port
    test_slow_terminal = UsbDevices.check_slow_terminal
    test_terminal = UsbDevices.check_terminal
    test_unplug = UsbDevices.check_unplug
    test_waits_for_host = UsbDevices.check_waits_for_host


class UsbStockDriver(UsbDevices):
    """Debian's own driver: descriptors from `vser daemon`"""

    options = {'driver': 'stock',
               'devices': [{'driver': 'virtserialdesc', 'id': 'desc',
                            'bus': 'vs.0'}]}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.sh('vser daemon </dev/null >/run/daemon.log 2>&1 &')
        cls.guest.wait_until('[ $(lsvser | grep -v "name only" | grep -c 1209:) = 3 ]')

    test_descriptors = UsbDevices.check_descriptors
    test_libusb = UsbDevices.check_libusb
    test_properties = UsbDevices.check_properties
    test_terminal = UsbDevices.check_terminal
    test_unplug = UsbDevices.check_unplug
