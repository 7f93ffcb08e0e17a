# vser in guests: with Debian's driver, with the one of guest/linux, with both
# kinds of controller, and with a host that sends anything
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import base64
import contextlib
import hashlib
import json
import os
import re
import struct
import tempfile

from guestlib import TIMEOUT, Port
from guesttest import HOSTILE_STRINGS, GuestTest, big_blob
from usbdesc import Blob

NO_PORT, AMBIGUOUS, UNPLUGGED = 3, 4, 5

PORTS = {
    'a1': dict(desc='1209:0001', desc_manufacturer='Acme',
               desc_product='Kernel stats', desc_serial='A1'),
    'a2': dict(desc='1209:0001', desc_manufacturer='Acme',
               desc_product='Kernel stats', desc_serial='A 2'),
    'acm': dict(desc='fff0:000a:0203', desc_class='cdc-acm',
                desc_manufacturer='Mé', desc_interface='Line'),
    'plain': dict(name='org.example.plain'),
}


class ToolsTest(GuestTest):
    """No test of its own: the common part of the classes below."""

    # The controller of a port, and the controller's name in the guest
    numbers = {'vs': 0}

    def vport(self, id):
        """The name of a port's node; the port's path in QOM names its controller."""
        path = f'/machine/peripheral/{id}'
        bus = self.guest.qmp('qom-get', path=path, property='parent_bus')
        controller = bus.split('/')[-1].partition('.')[0]
        number = self.guest.qmp('qom-get', path=path, property='nr')
        return f'vport{self.numbers[controller]}p{number}'

    def daemon(self):
        """Run `vser daemon` until the test's end. The program is a copy of vser, so that
        pidof finds only the other vser."""
        self.guest.sh('rm -rf /run/virtio-serial-desc; cp /usr/bin/vser /run/d\n'
                      '/run/d daemon >/run/daemon.log 2>&1 &\n'
                      'echo $! >/run/daemon.pid')
        self.addCleanup(self.guest.sh, 'kill $(cat /run/daemon.pid)')

    def said(self):
        """The daemon's messages."""
        return self.guest.sh('cat /run/daemon.log').splitlines()

    def listed(self):
        """{port: its object in `vser list --json`}"""
        ports = json.loads(self.guest.sh('vser list --json'))['ports']
        return {port['port']: port for port in ports}

    def truth(self):
        """{port: its blob}, from QEMU"""
        blobs = {}
        for id in self.guest.ports:
            blob = base64.b64decode(self.guest.qmp(
                'qom-get', path=f'/machine/peripheral/{id}',
                property='desc-blob'))
            if blob:
                blobs[self.vport(id)] = blob
        return blobs

    def wait_listed(self, names):
        """Wait until these ports are listed, with whole descriptors, and no others."""
        self.guest.wait_until(
            '[ "$(echo $(lsvser | grep -v " (name only)$" | cut -d: -f1 | sort))" = '
            f'"{" ".join(sorted(names))}" ]')

    def check_list(self):
        """Check that vser lists the same as QEMU."""
        truth = self.truth()
        self.wait_listed(truth)
        listed = self.listed()
        self.assertEqual({name: bytes.fromhex(port['blob'])
                          for name, port in listed.items()}, truth)
        return listed

    def start(self, command, input=True):
        """Run a command in the guest; finish() waits for its end."""
        self.guest.sh(
            'rm -f /run/t.*; mkfifo /run/t.in\n'
            f'( {{ {command}\n}} </run/t.in >/run/t.out 2>/run/t.err\n'
            '  echo $? >/run/t.new; mv /run/t.new /run/t.exit ) '
            '>/dev/null 2>&1 </dev/null &\n'
            'sleep 1000 >/run/t.in 2>/dev/null &\n'
            'echo $! >/run/t.holder')
        self.addCleanup(self.guest.run, '[ ! -e /run/t.holder ] || '
                        'kill $(cat /run/t.holder); rm -f /run/t.holder')

    def output(self, what):
        """Wait until the command's output contains this text."""
        self.guest.wait_until(f'grep -q "{what}" /run/t.out /run/t.err')

    def finish(self):
        """The command's exit status, stdout and stderr"""
        self.guest.wait_until('[ -e /run/t.exit ]')
        status, out, err = (self.guest.sh(f'cat /run/t.{name}')
                            for name in ('exit', 'out', 'err'))
        return int(status), out, err


class Connects(ToolsTest):
    """No test of its own: the tests for each driver."""

    abstract = True

    @classmethod
    def make_ports(cls):
        return [Port(id, **props) for id, props in PORTS.items()]

    def connected(self, id='a1', options='', arguments='1209:0001:A1'):
        """Connect to a port, and wait until vser is connected."""
        port = self.port(id)
        self.start(f'vser connect {options} {arguments}')
        port.socket.sendall(b'hello\n')
        self.output('hello')
        self.guest.sh('echo greetings >/run/t.in')
        self.assertEqual(port.receive(10), b'greetings\n')
        return port

    @contextlib.contextmanager
    def plugged(self, id, **props):
        """A port that is there for a while."""
        port = Port(id, **props)
        self.guest.plug(port)
        try:
            yield port
        finally:
            if id in self.guest.ports:
                self.guest.unplug(port)

    def test_list(self):
        listed = self.check_list()
        port = listed[self.vport('a2')]
        self.assertEqual((port['serial'], port['product'], port['node']),
                         ('A 2', 'Kernel stats', f'/dev/{self.vport("a2")}'))
        self.assertEqual(port['source'], self.source)
        self.assertIn(f'{self.vport("acm")}: ID fff0:000a Mé\n',
                      self.guest.sh('lsvser'))

    def test_host_closes(self):
        with self.plugged('extra', desc='1209:0003') as port:
            self.wait_listed(self.truth())
            self.connected('extra', arguments='1209:0003')
            port.socket.close()
            self.assertEqual(self.finish(), (0, 'hello\n', ''))

    def test_unplugged(self):
        with self.plugged('extra', desc='1209:0003') as port:
            self.wait_listed(self.truth())
            name = self.vport('extra')
            self.connected('extra', arguments='1209:0003')
            self.guest.unplug(port)
            self.assertEqual(self.finish(), (UNPLUGGED, 'hello\n',
                                             f'vser: {name}: unplugged\n'))

    def test_unplugged_while_it_waits_for_the_host(self):
        with self.plugged('extra', desc='1209:0003', connect=False) as port:
            self.wait_listed(self.truth())
            name = self.vport('extra')
            self.start('vser connect 1209:0003')
            self.output('waiting for the host')
            self.guest.unplug(port)
            self.assertEqual(self.finish()[0], UNPLUGGED)
            self.assertIn(f'vser: {name}: unplugged\n', self.finish()[2])

    def test_host_opens_late(self):
        with self.plugged('extra', desc='1209:0003', connect=False) as port:
            self.wait_listed(self.truth())
            self.start('vser connect 1209:0003')
            self.output('waiting for the host')
            # vser has nothing to do, and does nothing
            self.guest.wait_until(
                'p=$(pidof vser); a=$(grep ctxt /proc/$p/status); sleep 0.3\n'
                '[ "$a" = "$(grep ctxt /proc/$p/status)" ]')
            port.socket = self.guest.connect('extra')
            port.socket.sendall(b'late')
            self.output('late')
            port.socket.close()
            self.assertEqual(self.finish()[:2], (0, 'late'))

    def test_host_opens_sends_and_closes(self):
        """The guest can notice the end of a connection."""
        with self.plugged('extra', desc='1209:0003', connect=False):
            self.wait_listed(self.truth())
            for i in range(5):
                self.start('vser connect 1209:0003')
                self.output('waiting for the host')
                with contextlib.closing(self.guest.connect('extra')) as socket:
                    socket.sendall(b'burst %d' % i)
                self.assertEqual(self.finish()[:2], (0, f'burst {i}'))
                self.guest.sh('kill $(cat /run/t.holder)')

    def test_busy(self):
        self.connected()
        again = self.guest.run('vser connect 1209:0001:A1', check=False)
        self.assertEqual((again.status, again.stderr), (
            1, f'vser: /dev/{self.vport("a1")}: in use by another program\n'))
        self.guest.sh('kill $(cat /run/t.holder)')
        # There is no half close: the host's bytes are still shown
        self.port('a1').socket.sendall(b'still\n')
        self.output('still')
        self.guest.sh('kill $(pidof vser | tr " " "\\n" | sort -n | tail -n 1)')
        self.finish()

    def test_ambiguous(self):
        result = self.guest.run('vser connect 1209:0001', check=False)
        self.assertEqual(result.status, AMBIGUOUS)
        for id, serial in ('a1', 'A1'), ('a2', 'A 2'):
            self.assertIn(f'{self.vport(id)}: 1209:0001, serial number '
                          f'{serial}\n', result.stderr)

    def test_much_both_ways(self):
        """Through a host that is slow to take and to send."""
        size = 3 << 20
        port = self.port('a1')
        self.guest.sh(
            f'head -c {size} /dev/urandom >/run/t.data; rm -f /run/t.done\n'
            '( vser connect -q 1209:0001:A1 </run/t.data >/dev/null 2>&1\n'
            f'  head -c {size} /run/t.data | sha256sum >/run/t.sum\n'
            '  touch /run/t.done ) >/dev/null 2>&1 </dev/null &')
        data = port.receive(size)
        self.guest.wait_until('[ -e /run/t.done ]')
        self.assertEqual(self.guest.sh('cat /run/t.sum').split()[0],
                         hashlib.sha256(data).hexdigest())
        self.start('vser connect 1209:0001:A1 | head -c '
                   f'{size} | sha256sum')
        port.socket.sendall(data)
        self.output(hashlib.sha256(data).hexdigest())
        self.guest.sh('kill $(pidof vser | tr " " "\\n" | sort -n | tail -n 1)')
        self.finish()

    def test_exec(self):
        port = self.port('a2')
        self.start("vser connect '1209:0001:A 2' --exec sh -c "
                   "'read a; echo $a $VSER_PORT; exit 9'")
        port.socket.sendall(b'ping\n')
        answer = f'ping /dev/{self.vport("a2")}\n'.encode()
        self.assertEqual(port.receive(len(answer)), answer)
        self.assertEqual(self.finish(), (9, '', ''))

    def check_wait(self, port):
        """Connect to a port that is plugged later."""
        self.start(f'vser connect --wait {port}')
        self.guest.wait_until('[ -n "$(pidof vser)" ]')
        with self.plugged('extra', desc='1209:0004', desc_serial='W1') as port:
            port.socket.sendall(b'welcome\n')
            self.output('welcome')
            port.socket.close()
            self.assertEqual(self.finish(), (0, 'welcome\n', ''))

    def test_wait(self):
        self.check_wait('1209:0004:W1')

    def test_wait_for_a_link(self):
        """udev makes the link when it is done with the port."""
        self.check_wait('/dev/virtio-ports/by-usb-id/1209:0004:W1')

    def test_wait_in_vain(self):
        result = self.guest.run('vser connect --wait=0.5 1209:0004',
                                check=False)
        self.assertEqual(result.status, NO_PORT)

    def test_udev_id_for_a_rule(self):
        """The rules and vser say the same of a port."""
        name = self.vport('a2')
        self.guest.wait_for('/dev/virtio-ports/by-usb-id/1209:0001:A_2')
        shown = self.guest.sh(f'udevadm info -q property /dev/{name}')
        path = self.guest.sh(f'readlink -f /sys/class/virtio-ports/{name}')
        for line in self.guest.sh(f'vser udev-id {path}').splitlines():
            self.assertIn(line + '\n', shown)


class StoreTools(Connects):
    """Descriptors come from the daemon's store."""

    abstract = True
    source = 'store'

    def setUp(self):
        self.daemon()
        self.wait_listed(self.truth())


class StockTools(StoreTools):
    """Debian's driver, and QEMU's own port for the descriptors."""

    long = True
    options = {'driver': 'stock', 'devices': [
        {'driver': 'virtserialdesc', 'id': 'records', 'bus': 'vs.0'}]}

    def test_store_follows(self):
        """Ports come, go and change places: at the end the guest knows the truth."""
        with self.plugged('one', desc='1209:0005', desc_serial='1') as one:
            name = self.vport('one')
            self.assertEqual(self.check_list()[name]['serial'], '1')
            self.guest.unplug(one)
            self.check_list()
            number = int(name.partition('p')[2].partition('p')[2])
            for serial in 'XYZ':
                with self.plugged('two', desc='1209:0006', desc_serial=serial,
                                  nr=number):
                    self.wait_listed(self.truth())
                    self.guest.wait_until(f'lsvser -s {serial} | grep {name}')
                    self.check_list()
        self.check_list()
        self.assertEqual(self.said(), [])

    def test_links_follow(self):
        link = '/dev/virtio-ports/by-usb-id/1209:0005:L1'
        with self.plugged('one', desc='1209:0005', desc_serial='L1'):
            self.guest.wait_for(link)
            self.assertEqual(self.guest.node(link), self.vport('one'))
        self.guest.wait_for(link, removed=True)

    def test_storm(self):
        for i in range(20):
            with self.plugged(f'x{i}', desc='1209:0005', desc_serial=f'S{i}'):
                pass
        with self.plugged('last', desc='1209:0005', desc_serial='last'):
            self.check_list()
        self.check_list()
        self.assertEqual(self.said(), [])

    def test_records_port_goes_and_comes(self):
        self.check_list()
        self.guest.qmp('device_del', id='records')
        self.guest.wait_event('DEVICE_DELETED', device='records')
        self.wait_listed([])
        self.assertEqual(self.guest.sh('ls /run/virtio-serial-desc'), '')
        self.guest.qmp('device_add', driver='virtserialdesc', id='records',
                       bus='vs.0')
        self.check_list()
        self.assertEqual(self.said(), [])

    def test_daemon_starts_again(self):
        self.doCleanups()
        with self.plugged('one', desc='1209:0005'):
            self.daemon()
            self.check_list()
        self.check_list()

    def test_more_than_there_is_room_for(self):
        """The device waits for the daemon, and the daemon for the device."""
        with contextlib.ExitStack() as stack:
            for i in range(12):
                file = stack.enter_context(tempfile.NamedTemporaryFile())
                file.write(big_blob(61000 + i))
                file.flush()
                stack.enter_context(self.plugged(f'big{i}', desc_file=file.name))
            self.check_list()
            self.doCleanups()
            self.daemon()
            self.check_list()
        self.assertEqual(self.said(), [])

    def test_the_guest_slept(self):
        self.guest.sleep('freeze')
        with self.plugged('one', desc='1209:0005'):
            self.check_list()
        self.check_list()

    @contextlib.contextmanager
    def as_usb_device(self, name):
        """A port plugged into the guest's USB stack with vser usb; the USB
        device's directory in sysfs."""
        there = 'ls /sys/bus/usb/devices | grep -q "^[1-9]-[1-9]"'
        self.guest.sh('modprobe vhci_hcd; udevadm settle\n'
                      f'vser usb ::{name} >/run/usb.log 2>&1 </dev/null &\n'
                      'echo $! >/run/usb.pid')
        try:
            # Its first interface, and not the hubs', as in 1-0:1.0
            self.guest.wait_until(there.replace(']"', ']:"'))
            yield self.guest.sh('udevadm settle\n'
                                'ls -d /sys/bus/usb/devices/[1-9]-[1-9]').strip()
        finally:
            self.guest.sh('kill $(cat /run/usb.pid)')
            self.guest.wait_until(f'! {there}')

    def test_lsusb_says_the_same(self):
        # Without its database lsusb has no names for classes
        classes = re.compile('(?m)( b.*(?:Class|Protocol) +\\d+) .*$')
        for id in 'a1', 'acm':
            with self.subTest(id), self.as_usb_device(self.vport(id)):
                ours = self.guest.sh(f'vser list -v -s {self.vport(id)}')
                theirs = self.guest.sh(
                    f'lsusb -v -d {PORTS[id]["desc"][:9]} 2>/run/lsusb.err')
                theirs = theirs.split('Device Status')[0]
                ours, theirs = (
                    [line.rstrip() for line in
                     classes.sub(r'\1', text).splitlines()[2:]]
                    for text in (ours, theirs))
                self.assertEqual(ours, theirs)

    def test_usb_id_says_the_same(self):
        """For strings of all kinds, and for interfaces in odd places."""
        strings = [*HOSTILE_STRINGS, 'x' * 126, 'é' * 126, 'x' * 62 + 'é',
                   '\ufffd', 'a  b\u3000c', '\x0bx', 'x\r\n']
        strings += ['x'] * (-len(strings) % 3)
        for three in zip(*[iter(strings)] * 3):
            with self.subTest(three), self.plugged(
                    'usb', desc='1209:00ee', desc_manufacturer=three[0],
                    desc_product=three[1], desc_serial=three[2]):
                self.compare_usb_id('usb')
        for blob in odd_blobs():
            with self.subTest(blob.hex()), tempfile.NamedTemporaryFile() as f:
                f.write(blob)
                f.flush()
                with self.plugged('usb', desc_file=f.name):
                    self.compare_usb_id('usb')

    def compare_usb_id(self, id):
        self.wait_listed(self.truth())
        name = self.vport(id)
        ours = self.guest.sh(f'vser udev-id {name}')
        with self.as_usb_device(name) as device:
            theirs = self.guest.sh(f'udevadm test-builtin usb_id {device} '
                                   '2>/dev/null')
        # For a device that has ID_BUS already it gives the second names only
        theirs = theirs.replace('ID_USB_INTERFACES', 'ID_INTERFACES')
        theirs = re.sub('(?m)^ID_USB_', 'ID_', theirs)
        theirs = theirs.replace('ID_INTERFACES', 'ID_USB_INTERFACES')
        # New versions of udev give each property once more, as ID_USB_...
        ours = {line for line in ours.split('\n') if line.startswith('ID_')}
        again = {line for line in ours if line.startswith('ID_USB_') and
                 not line.startswith('ID_USB_INTERFACES=')}
        self.assertLessEqual({line.replace('ID_USB_', 'ID_', 1)
                              for line in again}, ours)
        self.assertEqual(
            sorted(ours - again),
            [line for line in sorted(theirs.split('\n'))
             if line.startswith('ID_') and line != 'ID_BUS=usb'])


def odd_blobs():
    """Blobs whose list of interfaces usb_id gives in its own way."""
    device = struct.pack('<BBHBBBBHHHBBBB', 18, 1, 0x200, 0, 0, 0, 64, 0x1209,
                         0xee, 0x100, 0, 0, 0, 1)

    def config(interfaces, data):
        return struct.pack('<BBHBBBBB', 9, 2, 9 + len(data), interfaces, 1, 0,
                           0xc0, 0) + data

    def interface(number, kind, endpoints=0):
        return bytes([9, 4, number, 0, endpoints, kind, kind, kind, 0])

    pipe = bytes.fromhex('07058102000200' '07050102000200')
    yield device + config(1, interface(0, 0xff, 2) + pipe)
    # the last interface has no endpoint
    yield device + config(2, interface(0, 0xff, 2) + pipe + interface(1, 0xfe))
    # a descriptor of two bytes
    yield device + config(2, interface(0, 0xff, 2) + b'\x02\x30' + pipe +
                          interface(1, 0xfe) + b'\x03\x30\x00')
    # two interfaces of the same kind
    yield device + config(3, interface(0, 0xff, 2) + pipe + interface(1, 0xfe) +
                          interface(2, 0xff) + b'\x03\x30\x00')


class PatchedTools(Connects):
    """The driver of guest/linux, and no daemon."""

    source = 'driver'


class MixedTools(StoreTools):
    """The driver of guest/linux, with a controller that does not offer the
    feature and says it on a port, and one that does."""

    options = {'controller': {'port-descriptors': False}, 'devices': [
        {'driver': 'virtio-serial', 'id': 'new'},
        {'driver': 'virtserialdesc', 'id': 'records', 'bus': 'vs.0'}]}
    numbers = {'vs': 0, 'new': 2}

    def test_both_sources(self):
        with self.plugged('other', desc='1209:0001', desc_serial='B1',
                          bus='new.0'):
            listed = self.check_list()
            self.assertEqual({name: port['source'] for name, port in
                              listed.items()},
                             {self.vport('other'): 'driver',
                              **{self.vport(id): 'store'
                                 for id in ('a1', 'a2', 'acm')}})
            self.start('vser connect -q 1209:0001:B1')
            self.guest.sh('echo over >/run/t.in; kill $(cat /run/t.holder)')
            self.assertEqual(self.guest.ports['other'].receive(5), b'over\n')
            self.assertEqual(self.finish(), (0, '', ''))


def desc(id, blob, length=None, offset=0):
    return struct.pack('<IHHII', id, 8, 1,
                       len(blob) if length is None else length, offset) + blob


END = desc(0xffffffff, b'')


class HostileRecords(ToolsTest):
    """A host that sends on a port what it likes, and a controller whose ports
    are described as they are. QEMU itself is never hostile: a plain port with
    the name of one that QEMU answers stands in for it."""

    options = {'driver': 'stock', 'devices': [
        {'driver': 'virtio-serial', 'id': 'good'},
        {'driver': 'virtserialport', 'id': 'g1', 'bus': 'good.0',
         'desc': '1209:0001', 'desc-serial': 'G1'},
        {'driver': 'virtserialdesc', 'id': 'records', 'bus': 'good.0'}]}
    numbers = {'vs': 0, 'good': 2}

    @classmethod
    def make_ports(cls):
        return [Port('evil', name='org.qemu.virtio-serial-desc.9'),
                Port('p2'), Port('p3')]

    def setUp(self):
        self.daemon()
        self.wait_listed(['vport2p1'])
        self.evil = self.port('evil').socket
        good = self.listed()['vport2p1']
        self.blob = Blob(bytes.fromhex(good['blob'])).data

    def check(self, *names):
        """The daemon runs, its memory has not grown, and the other ports are right."""
        self.wait_listed(['vport2p1', *names])
        self.assertEqual(self.listed()['vport2p1']['serial'], 'G1')
        status = dict(line.split(':', 1) for line in self.guest.sh(
            'cat /proc/$(cat /run/daemon.pid)/status').splitlines())
        # A static program of 1 MB with a record for each of two controllers: half a
        # megabyte is for buffers of the largest record
        self.assertLess(int(status['VmHWM'].split()[0]), 2048)
        self.assertLess(int(status['VmData'].split()[0]), 2048)

    def test_truth(self):
        self.evil.sendall(desc(2, self.blob) + END)
        self.check('vport0p2')

    def test_garbage(self):
        self.evil.sendall(os.urandom(1 << 16))
        self.guest.wait_until('grep -q malformed /run/daemon.log')
        self.check()

    def test_ports_that_do_not_exist(self):
        self.evil.sendall(b''.join(desc(i, self.blob) for i in range(4, 3000)))
        self.evil.sendall(desc(2, self.blob))
        self.guest.wait_until('grep -q "more than 512" /run/daemon.log')
        self.assertEqual(int(self.guest.sh(
            'ls /run/virtio-serial-desc | wc -l')), 513)
        self.check()

    def test_without_end(self):
        """A megabyte of records, and of long records that are never complete."""
        long = desc(3, bytes(65535))
        for _ in range(16):
            self.evil.sendall(long)
        self.evil.sendall(desc(2, self.blob) + long[:60000])
        self.check('vport0p2')

    def test_cut(self):
        self.evil.sendall(desc(2, self.blob) + desc(3, self.blob)[:30])
        self.check('vport0p2')
        self.evil.sendall(desc(3, self.blob)[30:])
        self.check('vport0p2', 'vport0p3')

    def test_churn(self):
        """Changes without end do not make udev look at the port without end."""
        other = self.blob[:12] + b'\xff' + self.blob[13:]
        self.evil.settimeout(5)
        with contextlib.suppress(TimeoutError):
            for _ in range(50):
                self.evil.sendall((desc(2, self.blob) + desc(2, other)) * 100)
        self.guest.wait_until('grep -q "slowing down" /run/daemon.log')
        self.guest.wait_until('lsvser | grep -q vport2p1')
        self.reconnect()

    def reconnect(self):
        """Drop the bytes that the port still has."""
        self.guest.unplug(self.port('evil'))
        self.guest.plug(Port('evil', name='org.qemu.virtio-serial-desc.9',
                             nr=1))
        self.wait_listed(['vport2p1'])

    def test_reset(self):
        """Closed in the middle of a record, and opened again"""
        self.evil.sendall(desc(2, self.blob) + END + desc(3, self.blob)[:30])
        self.check('vport0p2')
        self.evil.close()
        port = self.port('evil')
        port.socket = self.guest.connect('evil')
        # The daemon recovers, whether it has seen that or not
        end = desc(3, self.blob) + END
        for _ in range(TIMEOUT):
            port.socket.sendall(end)
            if not self.guest.run(
                    'n=200; until lsvser | grep -q vport0p3; do'
                    ' n=$((n - 1)); [ $n -gt 0 ] || exit 1; done',
                    check=False).status:
                break
        self.check('vport0p3')
