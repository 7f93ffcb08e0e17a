# Debian with systemd, its own kernel and our package: which programs a port starts, and
# who may open the port
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import base64
import contextlib
import io
import json
import os
import random
import re
import tarfile
import tempfile
import time

from guestlib import TIMEOUT, TOP, Port
from guesttest import GuestTest, usb_id_links, usb_id_serial
from usbdesc import Blob

LINKS = '/dev/virtio-ports'
ACME = {'desc': '1209:0001', 'desc_manufacturer': 'Acme',
        'desc_product': 'Kernel stats'}

# QEMU's says what the ports of 'vs' are, to any driver
TELLER = {'driver': 'virtserialdesc', 'bus': 'vs.0', 'id': 'teller', 'nr': 99}


def unit_escape(text):
    """As systemd escapes text for the name of a unit."""
    escaped = ''.join(
        chr(c) if chr(c) in 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
        '0123456789:_.' else '-' if c == ord('/') else f'\\x{c:02x}'
        for c in text.encode())
    return re.sub(r'^\.', r'\\x2e', escaped)


class SystemdTest(GuestTest):
    """No test of its own: the common part of all guests with systemd."""

    maxDiff = None
    options = {'disk': 'installed', 'driver': 'stock', 'devices': [TELLER],
               'controller': {'max_ports': 100}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.sh('systemctl is-system-running --wait')

    # The controllers, by the number that a node's name has
    CONTROLLERS = {'vs.0': 0}

    def blobs(self):
        """{node: blob} of the ports that have a descriptor, from QEMU."""
        found = {}
        for device in self.guest.qmp('qom-list', path='/machine/peripheral'):
            path = f'/machine/peripheral/{device["name"]}'
            if device['type'] == 'child<virtserialport>':
                bus, blob, number = (
                    self.guest.qmp('qom-get', path=path, property=name)
                    for name in ('parent_bus', 'desc-blob', 'nr'))
                bus = bus.rpartition('/')[2]
                if blob and bus in self.CONTROLLERS:
                    node = f'vport{self.CONTROLLERS[bus]}p{number}'
                    found[node] = base64.b64decode(blob)
        return found

    def expected(self):
        """What the guest must come to: its store, links and units."""
        links, units = {}, set()
        for node, data in self.blobs().items():
            blob = Blob(data)
            ids = f'{blob.device["idVendor"]:04x}:{blob.device["idProduct"]:04x}'
            serial = usb_id_serial((blob.string(blob.device['iSerialNumber'])
                                    or '').partition('\0')[0])
            links['by-usb-id/' + ':'.join([ids, *[s for s in [serial] if s]])] = node
            unit = {'1209:0001': 'acme-kernel-stats@',
                    '1209:0002': 'test-instance@'}.get(ids)
            if unit and not serial.startswith('.'):
                units.add(f'{unit}{unit_escape(serial or node)}.service')
        return {'store': self.expected_store(), 'links': links, 'units': units}

    def expected_store(self):
        return self.blobs()

    def actual(self):
        """The same, from the guest."""
        inodes, store, units = self.guest.sh(
            'stat -L -c "%n.%i" /sys/class/virtio-ports/vport* | '
            'grep -o "vport[^/]*$" | tr "\\n" " "; echo\n'
            'mkdir -p /run/empty; cd /run/virtio-serial-desc 2>/dev/null ||'
            'cd /run/empty\n'
            'tar -c --ignore-failed-read . 2>/dev/null | base64 -w 0; echo\n'
            'systemctl list-units --no-legend --plain --state=active '
            '"acme-kernel-stats@*" "test-instance@*"').split('\n', 2)
        found = {'links': {link: node for link, node in self.links().items()
                           if link.startswith('by-usb-id/')},
                 'store': {}, 'units': {line.split()[0] for line in
                                        units.splitlines()}}
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(store))) as tar:
            for entry in tar:
                if entry.isfile():
                    # By the port's name where it is about the one that is there
                    name = entry.name[2:]
                    if name in inodes.split():
                        name = name.partition('.')[0]
                    found['store'][name] = tar.extractfile(entry).read()
        return found

    def links(self):
        """{link relative to /dev/virtio-ports: node's name}, as guest.links(),
        which is slow for a hundred of them"""
        # One may go just when find has its name; it is not right then, yet.
        found = self.guest.sh('find /dev/virtio-ports -type l ! -name test.agent '
                              '-printf "%P\\t%l\\n" || :')
        return {link: os.path.basename(node) for link, node in
                (line.split('\t') for line in found.splitlines())}

    def links_of(self, id):
        node = self.node(id)
        return {link for link, to in self.links().items() if to == node}

    def check_truth(self):
        """The guest comes to what QEMU has, and then is at rest."""
        expected = self.expected()
        end = time.monotonic() + TIMEOUT
        while (actual := self.actual()) != expected and time.monotonic() < end:
            self.guest.sh('udevadm settle')
        for what in expected:
            self.assertEqual(actual[what], expected[what], what)
        self.guest.sh('udevadm settle')
        self.assertEqual(self.actual(), expected)
        self.assertEqual(self.guest.sh('systemctl list-units --failed --plain '
                                       '--no-legend'), '')

    def properties(self, path):
        """{name: value}: the properties of a device in udev"""
        return dict(line.split('=', 1) for line in self.guest.sh(
            f'udevadm info -q property {path}').splitlines())

    def unit(self, name, *properties):
        """The value of a unit's property in systemd, or a tuple of several values"""
        shown = dict(line.split('=', 1) for line in self.guest.sh(
            f"systemctl show -p {','.join(properties)} '{name}'").splitlines())
        values = tuple(shown[p] for p in properties)
        return values[0] if len(values) == 1 else values

    # Owner, group and mode of a node, and the users in its access list
    RIGHTS = ('sh -c \'echo $(stat -Lc "%U %G %a" $0; getfacl -cp $0 | '
              'sed -n "s/[[:space:]#].*//; /^user:[^:]/p")\'')

    def rights(self, node):
        return self.guest.sh(f'{self.RIGHTS} {node}').strip()

    def wait_rights(self, node, rights):
        self.guest.wait_until(f'[ "$({self.RIGHTS} {node})" = "{rights}" ]')

    @contextlib.contextmanager
    def seat(self, user):
        """That user sits at the guest: the user has the active session of the seat, and
        a systemd of the user's own."""
        unit = f'test-seat-{user}'
        self.guest.sh(
            'loginctl list-seats --no-legend | grep -q seat0\n'
            f'systemd-run -q --unit {unit} -p PAMName=login -p User={user} '
            '-p StandardInput=tty -p StandardOutput=null -p TTYPath=/dev/tty1 '
            '-p UtmpIdentifier=tty1 sleep infinity')
        try:
            self.guest.wait_until(
                f'loginctl show-seat -p ActiveSession seat0 | grep -q "=." && '
                f'systemctl -q is-active user@$(id -u {user}).service')
            yield
        finally:
            self.guest.sh(f'systemctl stop {unit}\n'
                          f'systemctl stop user@$(id -u {user}).service')

    def wait_unit(self, name, state='active'):
        self.guest.wait_until(
            f"[ \"$(systemctl show -p ActiveState --value '{name}')\" = {state} ]")

    def plug(self, port):
        """For the rest of this test."""
        self.guest.plug(port)
        self.addCleanup(self.unplug, port)

    def add(self, id, bus='vs.0', driver='virtserialport', **properties):
        """The same without a socket: what is there is all that counts."""
        self.guest.qmp('device_add', driver=driver, bus=bus, id=id, **properties)
        self.addCleanup(self.remove, id)

    def remove(self, *ids):
        there = {device['name'] for device in
                 self.guest.qmp('qom-list', path='/machine/peripheral')}
        for id in there.intersection(ids):
            self.guest.qmp('device_del', id=id)

    def unplug(self, port):
        if port.id in self.guest.ports:
            self.guest.unplug(port)

    def line(self, port):
        """A line from the guest."""
        data = b''
        while not data.endswith(b'\n'):
            data += port.receive(1)
        return data.decode()

    def ask(self, port, user):
        """The agent behind a port of Acme's is that user's."""
        port.socket.sendall(b'user\n')
        self.assertEqual(self.line(port), f'{user}\n')
        self.assertEqual(self.line(port), '.\n')


class Systemd(SystemdTest):
    """The usual guest: the distribution's driver, and our package."""

    @classmethod
    def make_ports(cls):
        return [Port('alice', **ACME, desc_serial='alice', nr=1),
                Port('bob', **ACME, desc_serial='bob', nr=2),
                Port('plain', name='org.example.plain', nr=3)]

    def test_coldplug(self):
        """Ports that were there when the guest started."""
        self.check_truth()
        self.assertEqual(self.unit('vser-daemon', 'ActiveState', 'NRestarts'),
                         ('active', '0'))
        self.assertEqual(self.links_of('plain'), {'org.example.plain'})

    def test_two_users(self):
        """Each user's agent has its own port, and nobody else's."""
        for user in 'alice', 'bob':
            link = f'{LINKS}/by-usb-id/1209:0001:{user}'
            self.wait_unit(f'acme-kernel-stats@{user}')
            self.ask(self.port(user), user)
            # The user has only the open port.
            self.assertEqual(self.rights(link), 'root root 600')
            pid = self.unit(f'acme-kernel-stats@{user}', 'MainPID')
            self.assertEqual(self.guest.sh(
                f'sed -n "s/^[UG]id:\\t//p" /proc/{pid}/status\n'
                f'id -u {user}; id -g {user}').split(),
                self.guest.sh(f'id -u {user}; id -u {user}; id -u {user}; '
                              f'id -u {user}; id -g {user}; id -g {user}; '
                              f'id -g {user}; id -g {user}; '
                              f'id -u {user}; id -g {user}').split())
        for user, other in (('alice', 'bob'), ('alice', 'alice'), ('bob', 'alice')):
            link = f'{LINKS}/by-usb-id/1209:0001:{other}'
            for command in f'exec 3<>{link}', f'setfacl -m u:{user}:rw {link}':
                tried = self.guest.run(f'su {user} -c "{command}"', check=False)
                self.assertNotEqual(tried.status, 0)
                self.assertIn('ermi', tried.stderr)

    def test_host_goes_and_comes(self):
        """The agent ends with its host, and the next host gets another agent."""
        port = self.port('bob')
        pid = self.unit('acme-kernel-stats@bob', 'MainPID')
        for i in range(6):
            port.socket.close()
            self.guest.wait_until(f'[ "$(systemctl show -p MainPID --value '
                                  f'acme-kernel-stats@bob)" != {pid} ]')
            self.guest._attach(port)
            self.ask(port, 'bob')
            pid = self.unit('acme-kernel-stats@bob', 'MainPID')

    def test_stopped_when_the_port_goes(self):
        """The agent is started when the port comes again, with another number."""
        port = self.port('alice')
        self.guest.unplug(port)
        self.wait_unit('acme-kernel-stats@alice', 'inactive')
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:alice', removed=True)
        self.check_truth()
        again = Port('alice', **ACME, desc_serial='alice', nr=7)
        self.guest.plug(again)
        self.wait_unit('acme-kernel-stats@alice')
        self.ask(again, 'alice')
        self.guest.unplug(again)
        self.guest.plug(port)
        self.ask(port, 'alice')
        self.check_truth()

    def test_comes_while_the_agent_ends(self):
        """The port comes again before its agent is through: the agent is started."""
        port = self.port('alice')
        self.wait_unit('acme-kernel-stats@alice')
        self.guest.sh('d=/run/systemd/system/acme-kernel-stats@alice.service.d; '
                      'mkdir -p $d && printf "[Service]\\nExecStopPost=/bin/sh -c '
                      "'while [ -e /run/hold ]; do sleep 0.1; done'"
                      '\\n" >$d/slow.conf; >/run/hold; systemctl daemon-reload')
        self.addCleanup(self.guest.sh, 'rm -rf /run/hold /run/systemd/system/'
                        'acme-kernel-stats@alice.service.d; systemctl daemon-reload')
        self.guest.unplug(port)
        self.wait_unit('acme-kernel-stats@alice', 'deactivating')
        self.guest.plug(port)
        self.guest.wait_until(f'systemctl is-active {LINKS}/by-usb-id/1209:0001:alice')
        self.assertEqual(self.unit('acme-kernel-stats@alice', 'ActiveState'),
                         'deactivating')
        self.guest.sh('rm /run/hold')
        self.ask(port, 'alice')
        self.wait_unit('acme-kernel-stats@alice')

    def test_no_agent_for_these(self):
        """A host that names a user of the system, or none that the guest has."""
        alice = self.guest.sh('id -u alice').strip()
        users = ['root', '0', 'daemon', 'nobody', '65535', 'mallory', '4242', alice,
                 '../root', '+0', '-1', 'a b', 'root ']
        ports = [Port(f'evil{i}', **ACME, desc_serial=user)
                 for i, user in enumerate(users)]
        for port in ports:
            self.plug(port)
        for port, user in zip(ports, users):
            self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:'
                                f'{usb_id_serial(user)}')
        self.guest.wait_until('[ -z "$(systemctl list-jobs --no-legend '
                              '"acme-kernel-stats@*")" ]')
        for port, user in zip(ports, users):
            with self.subTest(user):
                serial = usb_id_serial(user)
                unit = f'acme-kernel-stats@{unit_escape(serial)}.service'
                started = self.properties(f'/dev/{self.node(port.id)}').get(
                    'SYSTEMD_WANTS')
                self.assertEqual(started, None if serial[0] == '.' else unit)
                self.assertEqual(self.unit(unit, 'ActiveState', 'MainPID',
                                           'ExecMainStartTimestamp'),
                                 ('inactive', '0', ''))
                port.socket.setblocking(False)
                self.assertRaises(BlockingIOError, port.socket.recv, 1)
                self.assertEqual(self.rights(f'/dev/{self.node(port.id)}'),
                                 'root root 600')
        for port in ports:
            self.unplug(port)
        self.check_truth()

    def test_group_and_mode(self):
        """A plain unit for all ports of a product, a group that may use them."""
        port = Port('shared', desc='1209:0003', desc_serial='S1')
        self.plug(port)
        self.wait_unit('test-plain')
        self.assertEqual(self.rights(f'{LINKS}/by-usb-id/1209:0003:S1'),
                         'root dialout 640')
        self.guest.sh('systemctl stop test-plain')

    def test_modem(self):
        """What a class is given, and a product that says otherwise."""
        for product, owner in ('0004', 'root dialout 660'), ('0005', 'root root 600'):
            port = Port(f'modem{product}', desc=f'1209:{product}',
                        desc_class='cdc-acm')
            self.plug(port)
            link = f'{LINKS}/by-usb-id/1209:{product}'
            self.guest.wait_for(link)
            self.assertEqual(self.rights(link), owner)

    def test_names_from_the_database(self):
        shown = self.properties(f'{LINKS}/by-usb-id/1209:0001:bob')
        self.assertEqual(shown['ID_MODEL_FROM_DATABASE'], 'pid.codes Test PID')
        self.assertNotIn('ID_BUS', shown)

    def test_others_lines_in_the_database(self):
        """udev's own files give a USB device with these numbers, a software radio, to
        the user of the seat. This does not count for a port."""
        with self.seat('alice'):
            port = Port('radio', desc='2cf0:5246')
            self.plug(port)
            link = f'{LINKS}/by-usb-id/2cf0:5246'
            self.guest.wait_for(link)
            shown = self.properties(link)
            self.assertEqual(shown['ID_MODEL_FROM_DATABASE'], 'bladeRF')
            self.assertNotIn('ID_SOFTWARE_RADIO', shown)
            self.assertNotIn('uaccess', shown.get('TAGS', ''))
            self.assertEqual(self.rights(link), 'root root 600')
            self.unplug(port)

    def test_user_of_the_seat(self):
        """A product for a desktop: the port is for the user who sits there. The unit is
        a unit of that user's systemd."""
        # With a name of its own: a derived one would be known without the daemon
        port = Port('desk', desc='1209:0006', desc_serial='D1', nr=21,
                    name='org.example.desk')
        node = '/dev/vport0p21'
        with self.seat('alice'):
            self.plug(port)
            self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0006:D1')
            self.assertEqual(self.rights(node), 'root root 660 user:alice:rw-')
            self.assertEqual(self.line(port), 'alice\n')
            port.socket.sendall(b'hello\n')
            self.assertEqual(self.line(port), 'hello\n')
            self.assertNotEqual(self.guest.run(f'su bob -c "exec 3<>{node}"',
                                               check=False).status, 0)
            # The port is no longer that product's: so it is not alice's
            self.guest.sh('systemctl stop vser-daemon\n'
                          'echo change >/sys/class/virtio-ports/vport0p21/uevent')
            self.addCleanup(self.guest.sh, 'systemctl start vser-daemon')
            self.wait_rights(node, 'root root 600')
            self.guest.sh('systemctl start vser-daemon')
            self.wait_rights(node, 'root root 660 user:alice:rw-')
            # It still is when udev looks at the port again, as often as it likes.
            for i in range(2):
                self.guest.sh(f'udevadm trigger --settle {node}')
                self.assertEqual(self.rights(node), 'root root 660 user:alice:rw-')
            self.unplug(port)
        self.check_truth()

    def test_open_file(self):
        """systemd opens the port for the agent, where it can."""
        version = int(self.guest.sh('systemctl --version').split()[1])
        if version < 253:
            self.skipTest(f'systemd {version} has no OpenFile=')
        port = Port('opened', desc='1209:0007')
        self.plug(port)
        self.assertEqual(self.line(port), 'alice\n')
        port.socket.sendall(b'hello\n')
        self.assertEqual(self.line(port), 'hello\n')
        self.assertEqual(self.rights(f'/dev/{self.node("opened")}'), 'root root 600')
        self.unplug(port)
        self.wait_unit('test-open', 'inactive')

    def test_replaced_while_udev_is_busy(self):
        """udev gives the old port's rights to the node, which belongs to another port by
        then. The next event takes the rights back."""
        self.guest.sh('mkdir -p /run/udev/rules.d\n'
                      'cat >/run/udev/rules.d/70-test.rules <<"E"\n'
                      'SUBSYSTEM=="virtio-ports", ENV{ID_SERIAL_SHORT}=="slow", '
                      'PROGRAM="/bin/sh -c \'touch /run/test-busy; '
                      'while [ ! -e /run/test-go ]; do sleep 0.1; done\'"\n'
                      'E\n'
                      'udevadm control --reload')
        self.addCleanup(self.guest.sh, 'rm -f /run/udev/rules.d/70-test.rules '
                        '/run/test-*; udevadm control --reload')
        for product, rights in (('0003', 'root dialout 640'),
                                ('0006', 'root root 660 user:alice:rw-')):
            with self.subTest(product), self.seat('alice'):
                self.guest.sh('rm -f /run/test-busy /run/test-go')
                old = Port('old', desc=f'1209:{product}', desc_serial='slow', nr=31)
                new = Port('new', name='org.example.new', nr=31)
                self.plug(old)
                self.guest.wait_until('[ -e /run/test-busy ]')
                self.guest.unplug(old)
                self.guest.wait_until('[ ! -e /sys/class/virtio-ports/vport0p31 ]')
                self.plug(new)
                self.guest.wait_until(
                    'grep -qx org.example.new /sys/class/virtio-ports/vport0p31/name')
                self.guest.sh('touch /run/test-go; udevadm settle')
                self.guest.wait_for(f'{LINKS}/org.example.new')
                self.assertEqual(self.rights('/dev/vport0p31'), 'root root 600')
                self.unplug(new)
                # and that it would have been given, when nothing comes between
                self.plug(old)
                self.guest.wait_for(f'{LINKS}/by-usb-id/1209:{product}:slow')
                self.assertEqual(self.rights('/dev/vport0p31'), rights)
                self.unplug(old)
        self.guest.sh('systemctl stop test-plain')

    def test_isolate(self):
        """After a change to another target and back, the guest has the ports that were
        plugged before, and a port that is plugged then."""
        modem = Port('modem', desc='1209:000a', desc_class='cdc-acm', desc_serial='M2')
        self.plug(modem)
        self.guest.wait_for('/dev/ttyACM0')
        before = [self.unit(name, 'MainPID') for name in
                  ('vser-daemon', 'acme-kernel-stats@bob', 'vser-usb@1209:000a:M2')]
        self.assertNotIn('0', before)
        # This test's own agent has to stay as well
        self.guest.sh('mkdir -p /run/systemd/system/test-agent.service.d\n'
                      'printf "[Unit]\nIgnoreOnIsolate=yes\n" '
                      '>/run/systemd/system/test-agent.service.d/stay.conf\n'
                      'systemctl daemon-reload\n'
                      'systemctl start multi-user.target\n'
                      'systemctl isolate rescue.target\n'
                      'systemctl isolate multi-user.target')
        self.assertEqual([self.unit(name, 'MainPID') for name in
                          ('vser-daemon', 'acme-kernel-stats@bob',
                           'vser-usb@1209:000a:M2')], before)
        port = Port('afterwards', desc='1209:0002', desc_serial='afterwards')
        self.plug(port)
        self.unplug(modem)
        self.check_truth()

    def test_names_where_our_folders_are(self):
        """A port's name becomes a link, which never takes the place of our links."""
        names = ['by-id', 'by-usb-id', 'by-usb-id/1209:0001:bob', 'by-id/x',
                 './by-usb-id', 'x/../by-usb-id', 'x/by-id', '/by-id', 'by-usb-id/',
                 'by-usb-id/../by-id']
        kept = ['by-id.example', 'org.example.by-usb-id', 'a/b']
        for i, name in enumerate(names + kept):
            self.plug(Port(f'named{i}', name=name))
        # and one that is there only when the folder would be a link
        late = Port('late', desc='1209:0002', desc_serial='late')
        self.plug(late)
        self.check_truth()
        self.assertEqual(self.guest.sh(
            'find /dev/virtio-ports -name "by-*id" ! -type d'), '')
        for i, name in enumerate(kept, len(names)):
            self.assertEqual(self.links_of(f'named{i}'), {name})
        self.assertEqual(self.links()['by-usb-id/1209:0001:bob'], self.node('bob'))
        for i in range(len(names)):
            self.assertEqual({link for link in self.links_of(f'named{i}') if 'by-' in link},
                             set(), names[i])
        for id in [f'named{i}' for i in range(len(names + kept))]:
            self.unplug(self.port(id))
        self.unplug(late)

    def test_rules_of_others(self):
        """Packages that want a port by its name find it, whatever descriptor it
        has: qemu-guest-agent, spice-vdagent and spice-webdavd."""
        units = {'org.qemu.guest_agent.0': 'qemu-guest-agent.service',
                 'com.redhat.spice.0': 'spice-vdagentd.socket',
                 'org.spice-space.webdav.0': 'spice-webdavd.service'}
        self.guest.sh('mkdir -p /run/udev/rules.d\n'
                      'cp /packages/others/udev/rules.d/* /run/udev/rules.d/ &&\n'
                      'udevadm control --reload')
        self.addCleanup(self.guest.sh, 'cd /packages/others/udev/rules.d\n'
                        'for f in *; do rm /run/udev/rules.d/$f; done\n'
                        'udevadm control --reload')
        for desc in {}, {'desc': '1209:0002', 'desc_serial': 'other'}:
            for name, unit in units.items():
                with self.subTest(name, **desc):
                    port = Port('other', name=name, **desc)
                    self.plug(port)
                    self.guest.wait_for(f'{LINKS}/{name}')
                    if desc:
                        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0002:other')
                    # As when the guest starts: the name comes after the first
                    # "add", and two of these rules look at nothing else.
                    self.guest.sh(f'udevadm trigger --settle -c add {LINKS}/{name}')
                    wanted = self.properties(f'{LINKS}/{name}').get('SYSTEMD_WANTS')
                    self.unplug(port)
                    self.assertEqual((wanted or '').split(), [unit] + [
                        'test-instance@other.service'] * bool(desc))

    def test_serial_number_too_long_for_a_unit(self):
        """The port is there, and the journal says what is missing."""
        port = Port('long', desc='1209:0002', desc_serial='-' * 126, nr=41)
        usb = Port('usb', desc='1209:000a', desc_serial='=' * 126, nr=42)
        for p in port, usb:
            self.plug(p)
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0002:{"-" * 126}')
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:000a:{"=" * 126}')
        for node, unit in ('vport0p41', 'test-instance@'), ('vport0p42', 'vser-usb@'):
            self.assertNotIn('SYSTEMD_WANTS', self.properties(f'/dev/{node}'))
            self.guest.wait_until(
                'journalctl -b -t vser -o cat | grep -qxF '
                f'"{node}: the serial number begins with a dot or is too long: '
                f'no {unit}.service is started"')

    def test_no_vhci(self):
        """A kernel without a USB stack: the unit is skipped, and says so."""
        self.guest.sh('rmmod vhci_hcd 2>/dev/null\n'
                      'mkdir -p /run/modprobe.d\n'
                      'echo install vhci_hcd /bin/false >/run/modprobe.d/test.conf')
        self.addCleanup(self.guest.sh, 'rm -f /run/modprobe.d/test.conf')
        port = Port('modem', desc='1209:000a', desc_class='cdc-acm', desc_serial='M3')
        self.plug(port)
        self.guest.wait_until('journalctl -b -u vser-usb@1209:000a:M3 -o cat | '
                              'grep -q "no vhci_hcd: 1209:000a:M3 stays a port"')
        self.wait_unit('vser-usb@1209:000a:M3', 'inactive')
        self.assertEqual(self.guest.sh('systemctl --failed --plain --no-legend'), '')

    def test_daemon_cannot_start(self):
        """It is tried for ever, and says so in the journal a few times a minute."""
        drop_in = '/run/systemd/system/vser-daemon.service.d'
        self.guest.sh(f'mkdir -p {drop_in}\n'
                      f'printf "[Service]\\nRuntimeDirectory=\\n" >{drop_in}/test.conf\n'
                      'systemctl stop vser-daemon; systemctl daemon-reload\n'
                      'rm -rf /run/virtio-serial-desc\n'
                      'systemctl start --no-block vser-daemon')

        def mend():
            self.guest.sh(f'rm -r {drop_in}\nsystemctl daemon-reload\n'
                          'systemctl restart vser-daemon')
        self.addCleanup(mend)
        self.guest.wait_until('[ "$(systemctl show -p NRestarts --value vser-daemon)" '
                              '-ge 3 ]')
        journal = [json.loads(line) for line in self.guest.sh(
            'journalctl -b -u vser-daemon -o json').splitlines()]
        at = [i for i, entry in enumerate(journal)
              if 'Read-only file system' in entry['MESSAGE']]
        self.assertGreaterEqual(len(at), 3)
        for one, next in zip(at, at[1:]):
            self.assertGreater(int(journal[next]['__MONOTONIC_TIMESTAMP']) -
                               int(journal[one]['__MONOTONIC_TIMESTAMP']), 5e6)
            self.assertLess(next - one, 10)

    def test_no_serial_number(self):
        """Then the instance is the kernel's name."""
        port = Port('anonymous', desc='1209:0002', nr=9)
        self.plug(port)
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0002')
        self.assertEqual(self.properties('/dev/vport0p9')['SYSTEMD_WANTS'],
                         'test-instance@vport0p9.service')
        self.unplug(port)
        self.guest.sh('systemctl stop test-instance@vport0p9')

    def test_identity_goes(self):
        """A port that stays and is another product's, and then has no
        descriptor: no link, no unit, and not what its user was given."""
        # With a name of its own: a derived one would say what the port is
        port = Port('once', **ACME, desc_serial='bob2', nr=11,
                    name='org.example.once')
        shared = Port('shared', desc='1209:0003', desc_serial='S1')
        other = Port('x', desc='1209:0002', desc_serial='x', nr=12)
        self.guest.sh('useradd -m bob2')
        self.addCleanup(self.guest.sh, 'userdel bob2')
        self.plug(shared)
        self.plug(port)
        self.ask(port, 'bob2')
        self.addCleanup(self.guest.sh, 'systemctl start vser-daemon')
        # Another product's port, by the same node
        instance = self.guest.sh('stat -L -c %i /sys/class/virtio-ports/vport0p11')
        blob = base64.b64encode(self.blobs()[self.node('shared')]).decode()
        entry = f'/run/virtio-serial-desc/vport0p11.{instance.strip()}'
        change = 'echo change >/sys/class/virtio-ports/vport0p11/uevent\n'
        self.guest.sh('systemctl stop vser-daemon\n'
                      'mkdir -p /run/virtio-serial-desc\n'
                      f'echo {blob} | base64 -d >{entry}\n' + change)
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:bob2', removed=True)
        self.guest.sh('udevadm settle')
        self.assertIn('by-usb-id/1209:0003:S1', self.links_of('once'))
        self.assertEqual(self.rights('/dev/vport0p11'), 'root dialout 640')
        # and none's
        self.guest.sh(f'rm {entry}\n' + change)
        self.guest.sh('udevadm settle')
        self.wait_unit('acme-kernel-stats@bob2', 'inactive')
        self.assertEqual(self.rights('/dev/vport0p11'), 'root root 600')
        self.assertEqual(self.links_of('once'), {'org.example.once'})
        self.guest.sh('systemctl start vser-daemon')
        self.ask(port, 'bob2')
        self.plug(other)
        self.check_truth()

    def test_usb_serial_port(self):
        """A product for the guest's USB stack: its ACM driver takes the port,
        and its own rules find that."""
        port = Port('modem', desc='1209:000a', desc_class='cdc-acm',
                    desc_manufacturer='Acme', desc_product='Modem',
                    desc_serial='M-1')
        unit = r'vser-usb@1209:000a:M\x2d1.service'
        link = '/dev/serial/by-id/usb-Acme_Modem_M-1-if00'
        self.guest.plug(port)
        self.guest.wait_for(link)
        self.assertEqual(self.guest.node(link), 'ttyACM0')
        self.assertEqual(self.unit(unit, 'ActiveState'), 'active')
        self.guest.sh(f'stty -F {link} raw -echo')
        self.guest.exchange(port, link, 1 << 14)

        # Without a host, the USB device is not there
        port.socket.close()
        self.guest.wait_for('/dev/ttyACM0', removed=True)
        self.guest._attach(port)
        self.guest.wait_for(link)

        self.guest.unplug(port)
        self.guest.wait_for(link, removed=True)
        self.wait_unit(unit, 'inactive')
        self.check_truth()

    def test_usb_without_serial_number(self):
        """A port without one beside one that has one: both are plugged."""
        modem = {'desc': '1209:000a', 'desc_class': 'cdc-acm'}
        ports = [Port('numbered', **modem, desc_serial='M1'),
                 Port('anonymous', **modem)]
        units = ['vser-usb@1209:000a:M1.service', 'vser-usb@1209:000a.service']
        for port in ports:
            self.plug(port)
        for number in 0, 1:
            self.guest.wait_for(f'/dev/ttyACM{number}')
        for unit in units:
            self.assertEqual(self.unit(unit, 'ActiveState'), 'active')
        for port in ports:
            self.unplug(port)
        for unit in units:
            self.wait_unit(unit, 'inactive')
        self.check_truth()

    def test_hardened(self):
        """Each unit is at least as narrow as guest/README.md says, by systemd's count."""
        page = (TOP / 'guest/README.md').read_text()
        scores = dict(re.findall(r'(?m)^\| `([\w@-]+\.service)` \| ([\d.]+) \|$', page))
        self.assertEqual(set(scores), {'vser-daemon.service', 'vser-usb@.service',
                                       'acme-kernel-stats@.service'})
        for unit, score in scores.items():
            with self.subTest(unit):
                shown = self.guest.sh('systemd-analyze security --no-pager '
                                      f'{unit.replace("@", "@x")}')
                found = float(re.search(r'exposure level for .*: ([\d.]+)', shown)[1])
                self.assertLessEqual(found, float(score), shown)


class SystemdHostile(SystemdTest):
    """Hostile strings of a host, in a guest with all programs that read them.
    HostileStrings has more strings."""

    long = True
    # What usb_id may treat in another way than we do
    STRINGS = [' lead', 'trail ', 'in  ner', 'new\nline', '"quote"', '$HOME', '%k',
               '\\x2f', '\\', '\x01\x1b[31m', '\u0080\u009f', ',', ' ']
    # What may mean something in a unit's name, or to who starts it
    SERIALS = ['/', '-rf', 'a b', 'a=b', '\\x2d', '$HOME', '"quote"', '[a]', '%i',
               '`reboot`', 'S1.service', '#', 'a@b', '~', 's' * 126]

    def test_hostile_strings(self):
        """Links stay where they are to be, and udev's own usb_id says the same
        of the same descriptors, which the USB stack is shown."""
        ports = [Port(f'h{i}', desc=f'1209:{0x100 + i:04x}', desc_serial=string,
                      desc_manufacturer=string, desc_product=f'{string}{i}')
                 for i, string in enumerate(self.STRINGS)]
        ports.append(Port('long', desc='1209:0200', desc_serial='s' * 126,
                          desc_manufacturer='é' * 126, desc_product='€' * 126))
        ports.append(Port('numbers', desc='f00d:0bad:9876'))
        ports.append(Port('no-utf16', desc_file=self.broken_strings()))
        for port in ports:
            self.plug(port)
        self.check_truth()
        links = self.links()
        for i, string in enumerate(self.STRINGS):
            with self.subTest(string):
                self.assertEqual(
                    {link for link, to in links.items() if
                     to == self.node(f'h{i}') and link.startswith('by-')},
                    usb_id_links(f'1209:{0x100 + i:04x}', string, f'{string}{i}',
                                 string))
        self.check_nothing_elsewhere()

        # As many at a time as vhci_hcd has high-speed ports
        self.guest.sh('modprobe vhci_hcd')
        for at in range(0, len(ports), 8):
            self.check_usb_ids(ports[at:at + 8])

    USB_IDS = [f'ID_{usb}{name}' for usb in ('', 'USB_') for name in (
        'VENDOR', 'VENDOR_ENC', 'VENDOR_ID', 'MODEL', 'MODEL_ENC', 'MODEL_ID',
        'SERIAL', 'SERIAL_SHORT', 'REVISION')] + ['ID_USB_INTERFACES']

    def check_usb_ids(self, ports):
        ids = {port.id: [f'{self.blob(port.id).device[name]:04x}' for name in
                         ('idVendor', 'idProduct')] for port in ports}
        for vendor, product in ids.values():
            self.guest.sh(f'vser usb {vendor}:{product} >/run/usb.{product} 2>&1 &\n'
                          f'echo $! >/run/usb.{product}.pid')
        for port in ports:
            vendor, product = ids[port.id]
            self.guest.wait_until(f'[ -s /run/usb.{product} ] || grep -lx {product} '
                                  '/sys/bus/usb/devices/*/idProduct')
            self.assertEqual(self.guest.sh(f'cat /run/usb.{product}'), '')
            device = os.path.dirname(self.guest.sh(
                f'grep -lx {product} /sys/bus/usb/devices/*/idProduct').strip())
            self.guest.sh(f'udevadm wait --timeout={TIMEOUT} {device}')
            with self.subTest(port.id):
                usb = self.properties(device)
                mine = self.properties(f'/dev/{self.node(port.id)}')
                self.assertEqual({name: mine.get(name) for name in self.USB_IDS},
                                 {name: usb.get(name) for name in self.USB_IDS})
        for vendor, product in ids.values():
            self.guest.sh(f'kill $(cat /run/usb.{product}.pid)')
        for vendor, product in ids.values():
            self.guest.wait_until(f'! grep -lx {product} '
                                  '/sys/bus/usb/devices/*/idProduct')

    def broken_strings(self):
        """A blob with strings that are not UTF-16, and with a NUL in the middle."""
        config = bytes([9, 2, 32, 0, 1, 1, 0, 0xc0, 0, 9, 4, 0, 0, 2, 0xff, 0, 0, 0,
                        7, 5, 0x81, 2, 0, 2, 0, 7, 5, 1, 2, 0, 2, 0])
        strings = [b'\x00\xd8x\x00', b'A\x00\x00\xdc\x00\xdcB\x00',
                   b'A\x00\x00\x00B\x00']
        with tempfile.NamedTemporaryFile(prefix='guest-blob-', delete=False) as f:
            f.write(bytes([18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 0x01, 0x02, 0, 1,
                           1, 2, 3, 1]) + config + bytes([4, 3, 9, 4]))
            for string in strings:
                f.write(bytes([len(string) + 2, 3]) + string)
        self.addCleanup(os.unlink, f.name)
        return f.name

    def test_hostile_units(self):
        """Units with the serial number in their name and environment."""
        serials = {usb_id_serial(string): string for string in self.SERIALS}
        for i, string in enumerate(serials.values()):
            self.add(f'u{i}', desc='1209:0002', **{'desc-serial': string})
        self.check_truth()
        self.assertEqual(len(self.expected()['units']), len(serials))
        seen = self.guest.sh(
            'for pid in $(systemctl show -p MainPID --value "test-instance@*"); do\n'
            'tr "\\0" "\\n" </proc/$pid/environ | grep ^SERIAL=\n'
            'done')
        self.assertEqual(set(seen.splitlines()),
                         {f'SERIAL={serial}' for serial in serials})
        self.check_nothing_elsewhere()


class SystemdStorms(SystemdTest):
    """Ports that come and go faster than the guest looks, and a daemon that
    is not there all the time."""

    @classmethod
    def make_ports(cls):
        return [Port('bob', **ACME, desc_serial='bob', nr=1)]

    def daemon(self, *properties):
        return self.unit('vser-daemon', *properties)

    def stop_daemon(self):
        """It is there and does nothing, for the rest of this test at most."""
        self.guest.sh(f'kill -STOP {self.daemon("MainPID")}')
        self.addCleanup(self.continue_daemon)

    def continue_daemon(self):
        self.guest.sh(f'kill -CONT {self.daemon("MainPID")}')

    def storm(self, count, seed):
        """Plug and unplug @count times, as fast as QEMU can: other descriptors, the same
        few numbers. Some ports are left."""
        chosen = random.Random(seed)
        there = {}
        for i in range(count):
            nr = chosen.randrange(40, 48)
            if nr in there:
                self.guest.qmp('device_del', id=there.pop(nr))
                continue
            there[nr] = f'storm{seed}-{i}'
            # No two ports have the same identity at a time: it would be undefined which
            # port gets the link
            self.add(there[nr], nr=nr, **chosen.choice([
                {'desc': '1209:0002', 'desc-serial': f's{nr}'},
                {'desc': '1209:0002', 'desc-serial': f'-{nr}/{i % 5}'},
                {'desc': f'1209:00{nr}', 'desc-product': 'x' * (i % 126 + 1)},
                {'desc': '1209:0050', 'desc-serial': f'{nr}'},
                {'name': f'org.example.{nr}'}]))
        return there.values()

    def test_storms(self):
        restarts = self.daemon('NRestarts')
        ids = self.storm(200, 1)
        self.assertTrue(ids)
        self.check_truth()
        self.remove(*ids)
        self.check_truth()
        self.assertEqual(self.daemon('ActiveState', 'NRestarts'),
                         ('active', restarts))

    def test_storm_while_the_daemon_is_slow(self):
        self.stop_daemon()
        ids = self.storm(200, 2)
        self.guest.sh('udevadm settle')
        self.continue_daemon()
        self.check_truth()
        self.remove(*ids)
        self.check_truth()

    def test_daemon_killed(self):
        """systemd starts it again, and agents don't notice."""
        self.wait_unit('acme-kernel-stats@bob')
        pid = self.unit('acme-kernel-stats@bob', 'MainPID')
        killed = self.daemon('MainPID')
        self.guest.sh(f'kill -KILL {killed}')
        # Changes that the daemon can't be told of while it is away
        port = Port('meanwhile', desc='1209:0002', desc_serial='meanwhile')
        self.plug(port)
        self.guest.wait_until(f'p=$(systemctl show -p MainPID --value vser-daemon)'
                              f' && [ $p != 0 ] && [ $p != {killed} ]')
        self.check_truth()
        self.assertEqual(self.unit('acme-kernel-stats@bob', 'MainPID'), pid)

    def test_teller_unplugged(self):
        """The virtserialdesc port goes and comes. A port whose name says what the port
        is keeps its agent; another port does not."""
        named = Port('named', desc='1209:0002', desc_serial='named', nr=61,
                     name='org.example.named')
        self.plug(named)
        self.check_truth()
        running = self.unit('acme-kernel-stats@bob', 'MainPID', 'InvocationID')
        self.guest.qmp('device_del', id='teller')
        self.wait_unit('test-instance@named', 'inactive')
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0002:named', removed=True)
        self.guest.wait_for(f'{LINKS}/by-id/Acme_Kernel_stats_bob', removed=True)
        bob = self.node('bob')
        self.assertEqual(self.actual(), {
            'store': {}, 'links': {'by-usb-id/1209:0001:bob': bob},
            'units': {'acme-kernel-stats@bob.service'}})
        self.guest.qmp('device_add', **TELLER)
        self.check_truth()
        self.assertEqual(self.unit('acme-kernel-stats@bob', 'MainPID', 'InvocationID'),
                         running)
        self.ask(self.port('bob'), 'bob')

    def test_never_another_ports_identity(self):
        """A number is used again while the daemon can't say by what: no
        identity, rather than that of the port before."""
        old, new = (Port(id, desc='1209:0002', desc_serial=id, nr=60,
                         name=f'org.example.{id}') for id in ('old', 'new'))
        self.guest.plug(old)
        self.wait_unit('test-instance@old')
        self.stop_daemon()
        self.guest.unplug(old)
        self.plug(new)
        self.guest.wait_for(f'{LINKS}/org.example.new')
        self.guest.sh('udevadm settle')
        self.assertEqual(self.links_of('new'), {'org.example.new'})
        self.assertNotEqual(self.unit('test-instance@old', 'ActiveState'), 'active')
        self.continue_daemon()
        self.check_truth()

    def test_the_name_before_the_record(self):
        """A port whose name says what the port is has its link at once, and is the
        same port with its record: no link goes, and a unit starts once. A name that may
        not say the serial number waits."""
        self.stop_daemon()
        sure = Port('sure', desc='1209:0002', desc_serial='sure', nr=62,
                    desc_manufacturer='Acme')
        maybe = [Port('maybe1', desc='1209:0002', desc_serial='two  words', nr=63),
                 Port('maybe2', desc='1209:0002', desc_serial='sure', nr=64),
                 Port('maybe3', desc='1209:0002', desc_serial='x' * 126, nr=65)]
        for port in sure, *maybe:
            self.plug(port)
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0002:sure')
        self.guest.wait_for(f'{LINKS}/usb:v1209p0002d0100dc00dsc00dp00icFFisc00ip00in00'
                            f'#{"x" * 69}')
        self.guest.sh('udevadm settle')
        self.assertEqual(self.properties('/dev/vport0p62')['VIRTIO_PORT_SOURCE'], 'name')
        self.assertEqual(self.unit('test-instance@sure', 'ActiveState'), 'inactive')
        self.assertEqual({link for link in self.links() if link.startswith('by-') and
                          '1209:0002' in link}, {'by-usb-id/1209:0002:sure'})
        # Two ports with one identity would share a link
        self.unplug(maybe[1])
        self.continue_daemon()
        self.check_truth()
        self.assertEqual(self.properties('/dev/vport0p62')['VIRTIO_PORT_SOURCE'], 'store')
        self.assertIn('by-id/Acme_0002_sure', self.links_of('sure'))
        started = self.guest.sh('journalctl -b -o cat -u "test-instance@*" | '
                                'grep -o "Started .*" | sort | uniq -c')
        self.assertNotIn('two__words', started)
        self.assertNotIn(f'@{"x" * 69}.', started)
        self.assertIn('1 Started test-instance@sure.service', started)


class SystemdNames(SystemdTest):
    """A host that sets names, and does nothing else: no virtserialdesc, no driver that
    knows descriptors, and no descriptor behind some names."""

    options = {'disk': 'installed', 'driver': 'stock',
               'controller': {'max_ports': 100, 'port-descriptors': False}}
    # As QEMU derives it. A user of stock QEMU may write it by hand.
    NAME = 'usb:v1209p{}d0100dc00dsc00dp00icFFisc00ip00in00'

    @classmethod
    def make_ports(cls):
        return [Port('alice', name=cls.NAME.format('0001') + '#alice', nr=1),
                Port('bob', **ACME, desc_serial='bob', nr=2),
                Port('plain', name='org.example.plain', nr=3)]

    def expected_store(self):
        return {}

    def test_coldplug(self):
        """Links, rights and units are those of any port with a descriptor."""
        for user in 'alice', 'bob':
            link = f'{LINKS}/by-usb-id/1209:0001:{user}'
            self.guest.wait_for(link)
            self.wait_unit(f'acme-kernel-stats@{user}')
            self.ask(self.port(user), user)
            self.assertEqual(self.links_of(user), {
                f'by-usb-id/1209:0001:{user}',
                self.NAME.format('0001') + f'#{user}'})
            shown = self.properties(link)
            self.assertEqual([shown.get(key) for key in (
                'VIRTIO_PORT_SOURCE', 'ID_VENDOR_ID', 'ID_MODEL_ID', 'ID_VENDOR',
                'ID_SERIAL_SHORT')], ['name', '1209', '0001', '1209', user])
        self.assertEqual(self.links_of('plain'), {'org.example.plain'})
        self.assertEqual(self.unit('vser-daemon', 'ActiveState'), 'inactive')

    def test_list(self):
        self.assertEqual(self.guest.sh('lsvser -d 1209:0001'), ''.join(
            f'vport0p{i}: ID 1209:0001 Generic pid.codes Test PID (name only)\n'
            for i in (1, 2)))
        listed = json.loads(self.guest.sh('lsvser --json'))['ports']
        self.assertEqual({(port['source'], port['serial'], port['product'])
                          for port in listed},
                         {('name', 'alice', None), ('name', 'bob', None)})

    def test_come_and_go(self):
        """By their names, with and without a descriptor behind the name."""
        ports = [Port('hand', name=self.NAME.format('0002') + '#hand', nr=11),
                 Port('desc', desc='1209:0002', desc_serial='desc', nr=12),
                 Port('short', name='usb:1209:0002:short', nr=13)]
        for i in range(2):
            for port in ports:
                self.plug(port)
                self.wait_unit(f'test-instance@{port.id}')
                self.guest.exchange(port, f'{LINKS}/by-usb-id/1209:0002:{port.id}',
                                    1 << 12)
            for port in ports:
                self.unplug(port)
                self.wait_unit(f'test-instance@{port.id}', 'inactive')
                self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0002:{port.id}',
                                    removed=True)

    def test_connect(self):
        port = Port('hand', name=self.NAME.format('00FF') + '#h', nr=13)
        self.guest.sh('(vser connect --wait 1209:00ff:h --exec sh -c "echo hello; cat" '
                      '>/run/connect 2>&1 </dev/null &)')
        self.plug(port)
        self.assertEqual(self.line(port), 'hello\n')
        port.socket.sendall(b'back\n')
        self.assertEqual(self.line(port), 'back\n')
        self.assertEqual(self.guest.sh('cat /run/connect'), '')

    def test_rights_and_usb(self):
        """A group, and the guest's USB stack, as of the port's class."""
        shared = Port('shared', name=self.NAME.format('0003') + '#S1', nr=14)
        modem = Port('modem', nr=15, name=self.NAME.format('000A').replace(
            'icFFisc00ip00', 'ic02isc02ip01') + '#M1')
        for port in shared, modem:
            self.plug(port)
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0003:S1')
        self.assertEqual(self.rights(f'{LINKS}/by-usb-id/1209:0003:S1'),
                         'root dialout 640')
        self.guest.wait_for('/dev/ttyACM0')
        self.assertEqual(self.unit('vser-usb@1209:000a:M1', 'ActiveState'), 'active')
        self.guest.sh('stty -F /dev/ttyACM0 raw -echo')
        self.guest.exchange(modem, '/dev/ttyACM0', 1 << 12)
        for port in shared, modem:
            self.unplug(port)
        self.wait_unit('vser-usb@1209:000a:M1', 'inactive')
        self.guest.sh('systemctl stop test-plain')

    def test_hostile_names(self):
        """Only a name that QEMU derives is one."""
        name = self.NAME.format('0002')
        names = [name.lower(), 'usb:v1209p0002', name + '#', name + '#a b',
                 name + '#../../x', name + '#$(reboot)', name + '%23x', name + '\n',
                 name + '#\x1b[31m', name + '#' + 'x' * 70, name + '#a\nb', 'usb:v']
        for i, text in enumerate(names):
            self.add(f'h{i}', nr=20 + i, name=text)
        self.guest.wait_until(
            f'[ $(cat /sys/class/virtio-ports/vport0p{20 + len(names) - 1}/name) = usb:v ]')
        self.guest.sh('udevadm settle')
        self.assertEqual(self.guest.sh('lsvser -d 1209:0002 || :'), '')
        self.assertFalse({link for link in self.links() if '1209:0002' in link})
        self.assertEqual(self.guest.sh('systemctl list-units --plain --no-legend '
                                       '"test-instance@*"'), '')

    def test_virtserialdesc_comes_later(self):
        """It adds what the name has not. Links stay, and nothing starts again."""
        self.wait_unit('acme-kernel-stats@bob')
        units = ['acme-kernel-stats@alice', 'acme-kernel-stats@bob']
        before = [self.unit(unit, 'MainPID', 'InvocationID') for unit in units]
        links = self.links()
        self.add(**TELLER)
        self.guest.wait_for(f'{LINKS}/by-id/Acme_Kernel_stats_bob')
        self.guest.sh('udevadm settle')
        self.assertEqual({link: node for link, node in self.links().items()
                          if link in links}, links)
        self.assertEqual(self.guest.sh('lsvser -s bob'),
                         'vport0p2: ID 1209:0001 Acme Kernel stats\n')
        # and goes again
        self.remove('teller')
        self.guest.wait_for(f'{LINKS}/by-id/Acme_Kernel_stats_bob', removed=True)
        self.guest.sh('udevadm settle')
        self.assertEqual(self.links(), links)
        self.assertEqual([self.unit(unit, 'MainPID', 'InvocationID') for unit in units],
                         before)
        for user in 'alice', 'bob':
            self.ask(self.port(user), user)


class SystemdPrograms(SystemdTest):
    """Programs that find a port by its descriptor."""

    @classmethod
    def make_ports(cls):
        return [Port('a1', **ACME, desc_serial='A1', nr=1),
                Port('a2', **ACME, desc_serial='A2', nr=2)]

    def check_program(self, command):
        """A program of guest/programs.md: from the image, which has it from the page"""
        port = self.port('a1')
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:A1')
        self.guest.sh('systemctl stop "acme-kernel-stats@*"')
        self.guest.sh(f'({command} >/run/program.out 2>/run/program.err; '
                      'echo $? >/run/program.new; mv /run/program.new /run/program.exit) '
                      '>/dev/null 2>&1 </dev/null &')
        self.addCleanup(self.guest.sh, 'rm -f /run/program.*')
        self.assertEqual(self.line(port), 'hello\n')
        port.socket.sendall(b'world\n')
        self.guest.wait_until('[ -e /run/program.exit ]')
        self.assertEqual(self.guest.sh('cat /run/program.exit /run/program.out '
                                       '/run/program.err'), '0\nworld\n')

    def test_c(self):
        self.check_program('/packages/programs/find-port')

    def test_python(self):
        self.check_program('python3 /packages/programs/find-port.py')


class SystemdMonitor(SystemdTest):
    """vser monitor, with udev's events."""

    @classmethod
    def make_ports(cls):
        return [Port('m1', desc='1209:0042', desc_serial='M1', nr=1,
                     name='org.example.m1'),
                Port('plain', name='org.example.plain', nr=3)]

    def start(self, arguments=''):
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0042:M1')
        self.guest.sh(f'(vser monitor {arguments} >/run/lines 2>/run/errors; '
                      'echo $? >/run/exit.new; mv /run/exit.new /run/exit) '
                      '>/dev/null 2>&1 </dev/null &')
        self.addCleanup(self.guest.sh, 'rm -f /run/lines /run/errors /run/exit')
        self.seen = 0
        self.guest.wait_until('[ -s /run/lines ]')

    def next(self, event, **members):
        """The next line is of this event."""
        self.seen += 1
        self.guest.wait_until(f'[ $(wc -l </run/lines) -ge {self.seen} ]')
        line = json.loads(self.guest.sh(f'sed -n {self.seen}p /run/lines'))
        self.assertEqual(line, {**line, 'event': event, **members})
        return line

    def stop(self, signal='INT'):
        # No other vser than the daemon's and the agents' runs a monitor
        self.guest.sh('for p in $(pidof vser); do '
                      '! tr "\\0" " " </proc/$p/cmdline | grep -q "^vser monitor" || '
                      f'kill -{signal} $p; done')
        self.guest.wait_until('[ -e /run/exit ]')
        self.assertEqual(self.guest.sh('cat /run/exit /run/errors'), '0\n')
        self.assertEqual(int(self.guest.sh('wc -l </run/lines')), self.seen)

    def test_a_port_comes_and_goes(self):
        self.start()
        self.next('present', port='vport0p1', serial='M1', source='store')
        port = Port('hot', desc='1209:0042', desc_serial='hot', nr=9)
        self.guest.plug(port)
        line = self.next('added', port='vport0p9', serial='hot', product=None)
        # Its name and its record come in either order, and a line tells of each
        while line['source'] != 'store' or line['name'] is None:
            line = self.next('changed', port='vport0p9', serial='hot')
        # The node has its links and rights by now
        link = f'{LINKS}/by-usb-id/1209:0042:hot'
        self.guest.sh(f'exec 3<>{link}')
        self.next('opened', port='vport0p9')
        self.next('closed', port='vport0p9')
        self.guest.unplug(port)
        self.next('removed', port='vport0p9', serial='hot', name=(
            'usb:v1209p0042d0100dc00dsc00dp00icFFisc00ip00in00#hot'))
        self.stop()

    def test_identity_goes_and_comes(self):
        """A port that loses its descriptor is gone, and one that gets it has come."""
        self.start('1209:0042')
        self.next('present', port='vport0p1')
        self.guest.qmp('device_del', id='teller')
        self.next('removed', port='vport0p1', serial='M1')
        self.guest.qmp('device_add', **TELLER)
        self.next('added', port='vport0p1', serial='M1', source='store')
        self.stop('TERM')

    def test_nobody_reads(self):
        """With no line to write, it ends with its reader."""
        self.guest.sh('vser monitor | head -n 1 >/run/first')
        self.assertIn('"present"', self.guest.sh('cat /run/first'))


class SystemdInstall(SystemdTest):
    """One command installs everything in a guest, even with ports plugged already, and
    another command removes everything."""

    long = True
    options = {**SystemdTest.options, 'disk': 'base'}

    @classmethod
    def make_ports(cls):
        return [Port('bob', **ACME, desc_serial='bob', nr=1)]

    # What the guide says of files that come and go without a package
    LOOK_AGAIN = ('systemd-hwdb --usr update && udevadm control --reload && '
                  'udevadm trigger --settle --subsystem-match=virtio-ports')

    def test_install(self):
        guest = self.guest
        name = 'usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00#bob'
        self.assertEqual(self.links_of('bob'), {name})
        guest.sh('dpkg -i /packages/virtio-serial-desc_*.deb')
        guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:bob')
        # The product's package has no script: ours sees its hwdb file.
        guest.sh('dpkg -i /packages/acme-kernel-stats_*.deb')
        self.ask(self.port('bob'), 'bob')
        self.check_truth()

        # The product goes and comes
        guest.sh('dpkg -r acme-kernel-stats')
        self.wait_unit('acme-kernel-stats@bob', 'inactive')
        guest.wait_until('! udevadm info -q property '
                         f'{LINKS}/by-usb-id/1209:0001:bob | grep VIRTIO_PORT_UNIT')
        # Also if root has made a hwdb of root's own
        guest.sh('systemd-hwdb update\n'
                 'dpkg -i /packages/acme-kernel-stats_*.deb')
        self.ask(self.port('bob'), 'bob')
        guest.sh('rm /etc/udev/hwdb.bin')

        # Rights go with the file that gives them
        shared = Port('shared', desc='1209:0003', desc_serial='S1')
        desk = Port('desk', desc='1209:0006', desc_serial='D1')
        self.enterContext(self.seat('alice'))
        for port, rights in (shared, 'root dialout 640'), \
                (desk, 'root root 660 user:alice:rw-'):
            self.plug(port)
            self.wait_rights(f'/dev/{self.node(port.id)}', rights)
        guest.sh('mv /usr/lib/udev/hwdb.d/70-test.hwdb /root/\n'
                 f'{self.LOOK_AGAIN}')
        for port in shared, desk:
            self.wait_rights(f'/dev/{self.node(port.id)}', 'root root 600')
        # Rights do not come back by themselves
        guest.sh('udevadm trigger --settle --subsystem-match=virtio-ports')
        self.assertEqual(self.rights(f'/dev/{self.node("desk")}'), 'root root 600')
        guest.sh('mv /root/70-test.hwdb /usr/lib/udev/hwdb.d/\n'
                 f'{self.LOOK_AGAIN}')
        self.wait_rights(f'/dev/{self.node("desk")}',
                         'root root 660 user:alice:rw-')

        # Its unit is still there when all that it depends on goes
        modem = Port('modem', desc='1209:000a', desc_class='cdc-acm')
        self.plug(modem)
        guest.wait_for('/dev/ttyACM0')
        guest.sh('dpkg --force-depends -r virtio-serial-desc')
        self.assertEqual(guest.sh('ls /dev/virtio-ports/by-usb-id '
                                  '/run/virtio-serial-desc 2>/dev/null || :'), '')
        self.assertEqual(self.links_of('bob'), {name})
        # udev has forgotten everything, too
        guest.sh('udevadm trigger --settle --subsystem-match=virtio-ports')
        for port in 'bob', 'modem', 'shared', 'desk':
            self.assertEqual(self.rights(f'/dev/{self.node(port)}'), 'root root 600')
        guest.wait_for('/dev/ttyACM0', removed=True)
        self.wait_unit('acme-kernel-stats@bob', 'inactive')
        self.assertEqual(guest.sh('systemctl list-units --plain --no-legend '
                                  '"vser-*.service" "acme-*.service"'), '')
        self.assertEqual(guest.sh('ls /usr/bin/vser /lib/udev/vser '
                                  '/lib/udev/*/*virtio-serial-desc* '
                                  '2>/dev/null || :'), '')
        self.assertEqual(self.unit('vser-daemon', 'ActiveState'), 'inactive')

        # Without a running udev, installation and removal come to their end, too.
        guest.sh('systemctl stop "systemd-udevd*.socket" systemd-udevd.service\n'
                 'dpkg -i /packages/virtio-serial-desc_*.deb\n'
                 'dpkg --force-depends -r virtio-serial-desc\n'
                 'systemctl start systemd-udevd.service')


class SystemdNewest(Systemd):
    """The newest systemd and kernel that there are. An index can tell of newer
    ones than the archive has: image-systemd finds what it has."""

    kernel = 'newest'


class SystemdHostileNewest(SystemdHostile):
    kernel = 'newest'


class SystemdStormsNewest(SystemdStorms):
    kernel = 'newest'


class SystemdInstallNewest(SystemdInstall):
    kernel = 'newest'


class SystemdNamesNewest(SystemdNames):
    kernel = 'newest'


class SystemdMonitorNewest(SystemdMonitor):
    kernel = 'newest'


class SystemdBoth(SystemdTest):
    """The driver of guest/linux, and two controllers: one that gives it the
    descriptors, and one that has none for it but a virtserialdesc."""

    options = {
        'disk': 'installed', 'driver': 'patched',
        'devices': [{'driver': 'virtio-serial', 'id': 'old',
                     'port-descriptors': False},
                    {**TELLER, 'bus': 'old.0', 'nr': 29},
                    {'driver': 'virtserialport', 'bus': 'old.0', 'nr': 1,
                     'id': 'bob', **{k.replace('_', '-'): v for k, v in
                                     ACME.items()}, 'desc-serial': 'bob'}],
        'controller': {'max_ports': 31},
    }
    CONTROLLERS = {'vs.0': 0, 'old.0': 2}

    @classmethod
    def make_ports(cls):
        return [Port('alice', **ACME, desc_serial='alice', nr=1)]

    def expected_store(self):
        return {node: blob for node, blob in self.blobs().items()
                if node.startswith('vport2p')}

    def test_coldplug(self):
        self.check_truth()
        self.assertEqual(self.expected()['links'], {
            'by-usb-id/1209:0001:alice': 'vport0p1',
            'by-usb-id/1209:0001:bob': 'vport2p1'})
        self.ask(self.port('alice'), 'alice')

    def test_same_properties(self):
        """The guest says the same of a descriptor, whatever its source."""
        mine = {name: value for name, value in self.properties(
            '/dev/vport0p1').items() if name.startswith(('ID_', 'VIRTIO_'))}
        other = {name: value.replace('bob', 'alice') for name, value in
                 self.properties('/dev/vport2p1').items()
                 if name.startswith(('ID_', 'VIRTIO_'))}
        self.assertEqual((mine.pop('VIRTIO_PORT_SOURCE'),
                          other.pop('VIRTIO_PORT_SOURCE')), ('driver', 'store'))
        self.assertEqual(mine, other)

    def test_controller_that_comes_later(self):
        """systemd lets the daemon open the ports of controllers that were there when it
        was started. It is started again for another one."""
        self.guest.sh('echo virtio2 >/sys/bus/virtio/drivers/virtio_console/unbind\n'
                      'udevadm settle\n'
                      'systemctl restart vser-daemon')
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:bob', removed=True)
        before = self.unit('vser-daemon', 'InvocationID')
        self.guest.sh('echo virtio2 >/sys/bus/virtio/drivers/virtio_console/bind')
        self.guest.wait_for(f'{LINKS}/by-id/Acme_Kernel_stats_bob')
        self.check_truth()
        self.assertNotEqual(self.unit('vser-daemon', 'InvocationID'), before)
        self.assertIn('the controller came after this daemon', self.guest.sh(
            'journalctl -b -u vser-daemon -o cat'))

    def test_list(self):
        """vser treats all ports alike."""
        listed = json.loads(self.guest.sh('lsvser --json'))['ports']
        self.assertEqual({port['serial'] for port in listed}, {'alice', 'bob'})

    def test_hot_plug(self):
        """On both, by turns, with the same identity."""
        for i in range(3):
            for bus in 'vs.0', 'old.0':
                self.add('hot', bus=bus, nr=5, desc='1209:0002',
                         **{'desc-serial': 'hot'})
                self.check_truth()
                self.remove('hot')
        self.check_truth()
