# What a guest needs most, on each machine of tests/guest/platforms: other byte orders,
# page sizes and transports
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import base64

from guestlib import Port
from guesttest import usb_id_links
from test_tools import PORTS, UNPLUGGED, ToolsTest

LINK = '/dev/virtio-ports/by-usb-id/1209:0001:A1'
PLUGGED = '/dev/virtio-ports/by-usb-id/1209:0005:P1'
CONSOLE = dict(driver='virtconsole', desc='1209:0002', desc_serial='tty')


class Machine(ToolsTest):
    """No test of its own: the tests for each driver."""

    abstract = True
    long = True

    @classmethod
    def make_ports(cls):
        # First the console: it takes port 0
        return [Port('console', **CONSOLE),
                *(Port(id, **props) for id, props in PORTS.items())]

    @property
    def numbers(self):
        """Which controller comes first is the machine's choice, and it has another
        number when the driver comes back."""
        agent = self.guest.node('/dev/virtio-ports/test.agent').partition('p1')[0]
        for port in self.guest.sh('ls /sys/class/virtio-ports').split():
            number = port[len('vport'):].partition('p')[0]
            if f'vport{number}' != agent:
                return {'vs': int(number)}

    def node(self, id):
        return self.vport(id)

    def plug(self, nr=6, **props):
        port = Port('extra', nr=nr, **{'desc': '1209:0005', 'desc_serial': 'P1', **props})
        self.guest.plug(port)
        self.addCleanup(lambda: port.id in self.guest.ports and self.guest.unplug(port))
        return port

    def test_names(self):
        """The names in sysfs are those that QEMU says."""
        for id in self.guest.ports:
            with self.subTest(id):
                name = self.guest.qmp('qom-get', path=f'/machine/peripheral/{id}',
                                      property='name')
                self.guest.wait_until(f'[ -e /sys/class/virtio-ports/{self.vport(id)}/name ]')
                self.assertEqual(self.attributes(id)['name'].decode().strip(), name)

    def test_list(self):
        """lsvser has each descriptor, byte for byte."""
        listed = self.check_list()
        port = listed[self.vport('a2')]
        self.assertEqual((port['serial'], port['product'], port['source']),
                         ('A 2', 'Kernel stats', self.source))
        self.assertIn(f'{self.vport("acm")}: ID fff0:000a Mé\n', self.guest.sh('lsvser'))

    def test_links(self):
        self.check_list()
        self.guest.wait_for('/dev/virtio-ports/by-id/Acme_Kernel_stats_A1')
        self.guest.wait_for('/dev/virtio-ports/by-id/Acme_Kernel_stats_A_2')
        for id, serial in ('a1', 'A1'), ('a2', 'A 2'):
            self.assertEqual(
                {link for link in self.links_of(id) if not link.startswith('usb:')},
                usb_id_links('1209:0001', 'Acme', 'Kernel stats', serial))
        self.assertEqual(self.links_of('plain'), {'org.example.plain'})

    def test_bytes(self):
        """Bytes both ways, of which QEMU copies none."""
        def counters():
            return [self.guest.qmp('qom-get', path='/machine/peripheral/a1', property=name)
                    for name in ('bytes-to-guest', 'bytes-to-host', 'bytes-copied')]
        size = 1 << 17
        before = counters()
        self.exchange('a1', LINK, size)
        self.assertEqual(counters(), [before[0] + size, before[1] + size, 0])

    def test_console(self):
        """A terminal in the guest, with a getty or a shell on it"""
        terminals = self.guest.sh(
            f'for t in hvc0 hvc1 hvc2 hvc3; do [ $t != {self.guest.platform.terminal} ] &&\n'
            '    (exec 3<>/dev/$t) 2>/dev/null && echo /dev/$t; done; :').split()
        self.assertNotEqual(terminals, [])
        terminal = terminals[0]
        self.guest.sh(f'echo greetings >{terminal}')
        self.assertEqual(self.port('console').receive(11), b'greetings\r\n')
        self.guest.sh('rm -f /run/line; '
                      f'(head -n 1 <{terminal} >/run/line) >/dev/null 2>&1 &')
        self.port('console').socket.sendall(b'hello\n')
        self.guest.wait_until('grep -qx hello /run/line')

    def test_hot_plug(self):
        port = self.plug()
        self.guest.wait_for(PLUGGED)
        self.check_list()
        self.assertEqual(self.guest.node(PLUGGED), self.vport('extra'))
        self.exchange('extra', PLUGGED, 5000)
        self.guest.unplug(port)
        self.guest.wait_for(PLUGGED, removed=True)
        self.check_list()

    def test_unplug_in_use(self):
        port = self.plug()
        self.guest.wait_for(PLUGGED)
        name = self.vport('extra')
        self.start('vser connect 1209:0005:P1')
        port.socket.sendall(b'hello\n')
        self.output('hello')
        self.guest.unplug(port)
        self.assertEqual(self.finish(), (UNPLUGGED, 'hello\n', f'vser: {name}: unplugged\n'))
        self.check_list()

    def test_quick_plugs(self):
        """Twenty ports on one number, faster than the guest looks: it ends with the
        truth."""
        for i in range(20):
            port = self.plug(desc_serial=f'S{i}')
            self.guest.unplug(port)
        self.plug(desc_serial='last')
        self.guest.wait_for('/dev/virtio-ports/by-usb-id/1209:0005:last')
        listed = self.check_list()
        self.assertEqual(listed[self.vport('extra')]['serial'], 'last')

    def test_rebind(self):
        """The driver goes and comes, and the device announces all ports again."""
        driver = '/sys/bus/virtio/drivers/virtio_console'
        self.check_list()
        device = self.guest.sh(
            f'basename $(readlink -f /sys/class/virtio-ports/{self.vport("a1")}/device)'
        ).strip()
        self.guest.sh(f'echo {device} >{driver}/unbind')
        self.guest.wait_for(LINK, removed=True)
        self.guest.sh(f'echo {device} >{driver}/bind')
        self.guest.wait_for(LINK)
        self.check_list()
        self.exchange('a1', LINK, 5000)

    def test_nothing_to_complain_about(self):
        said = self.guest.sh('dmesg')
        for word in 'virtio-ports vport', 'BUG', 'WARNING', 'Call Trace', 'sysfs:':
            self.assertNotIn(word, said)


class MachineStock(Machine):
    """Debian's driver, and the daemon with its store"""

    source = 'store'
    options = {'driver': 'stock', 'devices': [
        {'driver': 'virtserialdesc', 'id': 'records', 'bus': 'vs.0'}]}

    def setUp(self):
        self.daemon()

    def test_store(self):
        """An entry for each port, with the blob that QEMU has"""
        self.check_list()
        store = self.guest.sh(
            'cd /run/virtio-serial-desc && find . -type f | while read -r f; do\n'
            'echo $(base64 -w 0 $f); done').split()
        self.assertEqual(sorted(base64.b64decode(entry) for entry in store),
                         sorted(self.truth().values()))
        self.assertEqual(self.said(), [])


class MachinePatched(Machine):
    """The driver of guest/linux"""

    source = 'driver'

    def test_attributes(self):
        for id in 'console', 'a1', 'a2', 'acm':
            with self.subTest(id):
                blob = self.blob(id).sysfs()
                files = self.attributes(id)
                self.assertEqual({name: files.get(name) for name in blob}, blob)

    def test_feature(self):
        port = f'/sys/class/virtio-ports/{self.vport("a1")}'
        self.assertEqual(self.guest.sh(f'cat {port}/device/features')[3], '1')
