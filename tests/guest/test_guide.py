# The guides, word by word, in guests that have nothing of ours: the blocks of guest/README.md
# and README.md are run or written to files as they stand there. image-systemd has run the
# commands that compile. And other packages' agents, for which nothing may change.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import re
import shlex

from guestlib import TOP, Port
from test_systemd import LINKS, SystemdTest

BUILDS = 'dpkg-buildpackage '


def blocks(path):
    """{heading: [block, ...]}: the indented blocks of a document, in its order. A block
    of a list is indented further."""
    found, heading, block, before = {}, None, [], ''
    for line in (TOP / path).read_text().splitlines() + ['#']:
        if line.startswith('    ') and (block or before == ''):
            block.append(line)
            continue
        if line == '' and block:
            block.append(line)
            continue
        if block:
            text = '\n'.join(block).rstrip('\n').split('\n')
            margin = min(len(t) - len(t.lstrip()) for t in text if t)
            found.setdefault(heading, []).append(
                '\n'.join(t[margin:] for t in text) + '\n')
            block = []
        if line.startswith('#'):
            heading = line.lstrip('# ')
        before = line
    return found


def commands(block):
    """The lines of a block, without comments"""
    return [line for line in (re.sub(r'\s+#.*', '', line) for line in
                              block.splitlines()) if line]


def devices(block):
    """What follows each -device in a block of QEMU's words: {property: value}, with the
    driver as 'driver'"""
    words = shlex.split(block.replace('\\\n', ' '))
    return [dict(pair.partition('=')[::2] if '=' in pair else ('driver', pair)
                 for pair in words[i + 1].split(','))
            for i, word in enumerate(words) if word == '-device']


GUIDE = blocks('guest/README.md')
INSTALL = GUIDE['Install']
PRODUCT = GUIDE['How your product finds its port']
USE = blocks('README.md')['Use it']


def described(block):
    """The port of a block, as a Port that is to be plugged"""
    device = next(d for d in devices(block) if d['driver'] == 'virtserialport')
    return Port(device['chardev'], **{name.replace('-', '_'): value for name, value in
                                      device.items()
                                      if name == 'name' or name.startswith('desc')})


class Guide(SystemdTest):
    """From a guest that has nothing of ours, to a product whose agent answers."""

    long = True
    CLONE = '/root/virtio-serial-desc'
    options = {'disk': 'guide', 'driver': 'stock',
               'devices': devices(INSTALL[2])[1:]}

    @classmethod
    def make_ports(cls):
        return [Port('bob', desc='1209:0001', desc_serial='bob')]

    def work(self, command):
        """Run a command in the clone."""
        self.guest.sh(f'cd {self.CLONE} && {command}')

    def write(self, path, text, mode=644):
        """A product's file, of which the guide says where it is"""
        self.guest.sh(f"mkdir -p $(dirname '{path}')\n"
                      f"cat >'{path}' <<'END OF FILE'\n{text}END OF FILE\n"
                      f"chmod {mode} '{path}'")

    def look_again(self):
        for command in commands(INSTALL[1]):
            self.work(command)

    def test_guide(self):
        guest = self.guest
        self.assertEqual(guest.sh('ls /usr/bin/*vser 2>/dev/null || :'), '')
        for command in commands(INSTALL[0]):
            if not command.startswith(BUILDS):
                self.work(command)
        # The package is hardened: no table of functions can be written
        self.assertIn('BIND_NOW', guest.sh('readelf -d /usr/bin/vser'))
        guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:bob')
        self.check_use()
        self.check_product()
        self.check_unit_with_open_file()
        self.check_desktop()
        self.check_usb()
        self.check_truth()
        guest.sh('dpkg -r acme-kernel-stats virtio-serial-desc')
        guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:bob', removed=True)

    def check_use(self):
        """README.md: the port of its command line, and what the guest does with it"""
        stats = described(USE[0])
        self.plug(stats)
        lsvser, connect = commands(USE[1])
        self.guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:A1')
        shown = re.search(r'# vport1p2: (.*)', USE[1])[1]
        self.assertIn(f'{self.node("stats")}: {shown}\n',
                      self.guest.sh(lsvser))
        self.guest.sh(f'{connect} --exec echo hello')
        self.assertEqual(self.line(stats), 'hello\n')
        self.unplug(stats)

    def check_product(self):
        hwdb, unit = PRODUCT[1:3]
        text = (TOP / 'guest/README.md').read_text()
        for path in '/usr/lib/udev/hwdb.d/70-acme-kernel-stats.hwdb', \
                'examples/acme-kernel-stats/acme-kernel-stats':
            self.assertIn(path, text)
        self.write('/usr/lib/udev/hwdb.d/70-acme-kernel-stats.hwdb', hwdb)
        self.write('/usr/lib/systemd/system/acme-kernel-stats@.service', unit)
        self.guest.sh(f'cd {self.CLONE}/guest/examples/acme-kernel-stats\n'
                      'install -D -t /usr/lib/acme-kernel-stats acme-kernel-stats')
        self.look_again()

        alice = described(PRODUCT[0])
        self.plug(alice)
        links = re.findall(r'`(?:/dev/virtio-ports/)?(by-[^`]*alice)`', text)
        self.assertEqual(len(links), 2)
        for link in links:
            self.guest.wait_for(f'{LINKS}/{link}')
            self.assertEqual(self.rights(f'{LINKS}/{link}'), 'root root 600')
        self.ask(alice, 'alice')
        self.wait_unit('acme-kernel-stats@alice')
        self.unplug(alice)
        self.wait_unit('acme-kernel-stats@alice', 'inactive')
        for link in links:
            self.guest.wait_for(f'{LINKS}/{link}', removed=True)
        # The package of the example is the same, and its port may be there first
        self.plug(alice)
        self.guest.sh(f'{self.CLONE}/guest/examples/acme-kernel-stats/build-deb /root\n'
                      'dpkg -i /root/acme-kernel-stats_*.deb')
        self.ask(alice, 'alice')
        self.unplug(alice)

    def check_unit_with_open_file(self):
        if int(self.guest.sh('systemctl --version').split()[1]) < 253:
            return
        # Another product than the example
        number = '0001', '000B'
        service = GUIDE['What the unit should have'][0].replace(number[0], number[1].lower())
        self.guest.sh('useradd acme')
        self.write('/usr/lib/acme/agent', '#!/bin/sh\nid -un\ncat || :\n', 755)
        self.write('/usr/lib/udev/hwdb.d/70-acme.hwdb',
                   PRODUCT[1].replace('acme-kernel-stats@', 'acme').replace(*number))
        device = r'dev-virtio\x2dports-by\x2dusb\x2did-1209:0001.device'
        self.assertIn(device, (TOP / 'guest/README.md').read_text())
        device = device.replace(number[0], number[1].lower())
        self.write('/usr/lib/systemd/system/acme.service',
                   f'[Unit]\nBindsTo={device}\nAfter={device}\n[Service]\n{service}')
        self.look_again()
        port = Port('plain', desc=f'1209:{number[1]}')
        self.plug(port)
        self.assertEqual(self.line(port), 'acme\n')
        self.unplug(port)
        self.wait_unit('acme', 'inactive')

    def check_desktop(self):
        self.write('/usr/lib/udev/hwdb.d/70-acme-clipboard.hwdb', GUIDE['A desktop'][0])
        unit = '\n'.join(line for line in PRODUCT[2].splitlines()
                         if not re.match('User=|ExecCondition=|Capability', line)) + '\n'
        for this, that in (('0001', '0006'), ('=!vser', '=vser'), (' --user %I', ''),
                           ('/usr/lib/acme-kernel-stats/acme-kernel-stats', '/usr/bin/id -un')):
            self.assertIn(this, unit)
            unit = unit.replace(this, that)
        self.write('/usr/lib/systemd/user/acme-clipboard@.service', unit)
        self.look_again()
        port = Port('clipboard', desc='1209:0006', desc_serial='C1')
        with self.seat('alice'):
            self.plug(port)
            self.assertEqual(self.line(port), 'alice\n')
            self.unplug(port)

    def check_usb(self):
        self.write('/usr/lib/udev/hwdb.d/70-acme-modem.hwdb',
                   GUIDE['The USB stack instead'][0])
        self.look_again()
        port = Port('modem', desc='1209:000a', desc_class='cdc-acm',
                    desc_manufacturer='Acme', desc_product='Modem', desc_serial='M1')
        self.plug(port)
        for path in re.findall(r'`(/dev/(?:ttyACM|serial)[^`]*)`',
                               (TOP / 'guest/README.md').read_text()):
            self.guest.wait_for(path)
        self.unplug(port)


class GuideMeson(Guide):
    """What the guide says of another distribution than Debian."""

    CLONE = '/root/meson'

    def test_guide(self):
        guest = self.guest
        files = guest.sh('dpkg-deb -c /packages/virtio-serial-desc_*.deb | '
                         "awk '!/^d/ { print substr($6, 2) }' | grep -v /share/doc/").split()
        meson = re.search(r'`(meson setup build && meson install -C build)`',
                          (TOP / 'guest/README.md').read_text())[1]
        for command in meson.split(' && '):
            self.work(command)
        self.look_again()
        guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:bob')
        there = guest.sh('ls -d ' + ' '.join(re.sub(
            '^/usr/(s?bin|share)/', r'/usr/local/\1/', f).replace('.gz', '').replace(
                'zsh/vendor-completions', 'zsh/site-functions')
            for f in files if '/lintian/' not in f) + ' 2>&1 || :')
        self.assertNotIn('No such file', there)


class GuideNewest(Guide):
    kernel = 'newest'


class OtherAgents(SystemdTest):
    """qemu-guest-agent, spice-vdagent and spice-webdavd: each finds its port by name, and
    the port may have a descriptor, without our package and with it."""

    options = {'disk': 'guide', 'driver': 'stock',
               'devices': devices(INSTALL[2])[1:]}
    PORTS = {'org.qemu.guest_agent.0': 'qemu-guest-agent.service',
             'com.redhat.spice.0': 'spice-vdagentd.socket',
             'org.spice-space.webdav.0': 'spice-webdavd.service'}

    def check_agents(self, **desc):
        for name, unit in self.PORTS.items():
            with self.subTest(name, **desc):
                port = Port('other', name=name, **desc)
                self.guest.plug(port)
                try:
                    self.guest.wait_for(f'{LINKS}/{name}')
                    # As when the guest starts: two of the rules want an "add" that has
                    # the name
                    self.guest.sh(f'udevadm trigger --settle -c add {LINKS}/{name}')
                    self.wait_unit(unit)
                    getattr(self, 'check_' + name.split('.')[-2])(port)
                finally:
                    self.guest.unplug(port)
                    self.guest.sh(f'systemctl stop {unit} spice-vdagentd.service '
                                  '2>/dev/null; systemctl reset-failed')

    def check_guest_agent(self, port):
        port.socket.sendall(b'{"execute": "guest-ping", "id": 7}\n')
        self.assertEqual(json.loads(self.line(port)), {'return': {}, 'id': 7})

    def check_spice(self, port):
        """The socket starts the daemon for the agent of a session. The daemon opens the
        port for an X session, which is not here."""
        started = ('systemctl show -p ExecMainStartTimestampMonotonic --value '
                   'spice-vdagentd.service')
        before = self.guest.sh(started).strip()
        self.guest.sh('python3 -c "import socket; '
                      's = socket.socket(socket.AF_UNIX); '
                      's.connect(\'/run/spice-vdagentd/spice-vdagent-sock\')"')
        self.guest.wait_until(f'[ "$({started})" != "{before}" ]')

    def check_webdav(self, port):
        node = f'/dev/{self.node(port.id)}'
        self.guest.wait_until('ls -l /proc/$(systemctl show -p MainPID --value '
                              f'spice-webdavd)/fd | grep -q "{node}$"')

    def test_agents(self):
        self.check_agents()
        self.check_agents(desc='1209:0002', desc_serial='other')
        self.guest.sh('dpkg -i /packages/virtio-serial-desc_*.deb')
        self.check_agents()
        self.check_agents(desc='1209:0002', desc_serial='other')


class OtherAgentsNewest(OtherAgents):
    kernel = 'newest'
