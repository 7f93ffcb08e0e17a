# Channels whose name is their descriptor: no override, and hot-plug
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import xml.etree.ElementTree as ET

from guestlib import GuestError, Port
from libvirttest import EXAMPLES, LibvirtTest
from waiting import until

PREFIX = 'usb:1209:0001:'


class Named(LibvirtTest):
    """named.xml. Each test leaves the two channels that are there, and no other."""

    example = 'named.xml'
    count = 2

    def check_all(self, **more):
        """Is each channel of libvirt's XML there, as its name says? The serial
        numbers."""
        expected, serials = {}, []
        for channel in self.xml().iterfind("devices/channel[@type='unix']"):
            name = channel.find('target').get('name')
            if name.startswith(PREFIX):
                serials.append(name.removeprefix(PREFIX))
                expected[channel.find('alias').get('name')] = {
                    'desc': '1209:0001', 'desc-serial': serials[-1]}
        self.check(expected, **more)
        return serials

    def file(self, serial, name=None):
        """A file like named-channel.xml, for another serial number"""
        text = (EXAMPLES / 'named-channel.xml').read_text()
        text = text.replace('carol', serial).replace(PREFIX + serial,
                                                     name or PREFIX + serial)
        path = self.guest.dir / f'{serial}.xml'
        path.write_text(self.guest.here(text))
        return path

    def plug(self, serial, name=None):
        """Have libvirt plug a channel; its alias"""
        self.virsh('attach-device', self.guest.name, self.file(serial, name))
        return self.connect(serial)

    def connect(self, serial):
        """Be at the other side of a channel that was plugged; its alias"""
        path = str(self.guest.sockets / serial)
        alias, = (channel.find('alias').get('name') for channel in
                  self.xml().iterfind("devices/channel[@type='unix']")
                  if channel.find('source').get('path') == path)
        self.guest.ports[alias] = Port(alias)
        self.guest.ports[alias].socket = self.guest.connect(serial)
        return alias

    def unplug(self, serial, name=None):
        self.virsh('detach-device', self.guest.name, self.file(serial, name))
        path = str(self.guest.sockets / serial)
        until(lambda: path not in self.virsh('dumpxml', self.guest.name),
              'libvirt has unplugged it')

    def test_guest(self):
        self.assertEqual(self.check_all(size=1 << 18), ['alice', 'bob'])
        for serial in 'alice', 'bob':
            self.assertIn('usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00'
                          f'#{serial}', self.guest.links())

    def test_dumpxml(self):
        """The name stays what was given, in the running domain too."""
        for options in [], ['--inactive'], ['--migratable']:
            names = [target.get('name') for target in
                     self.xml(*options).iterfind('devices/channel/target')]
            self.assertIn(PREFIX + 'alice', names)
            self.assertIn(PREFIX + 'bob', names)
        inactive = self.virsh('dumpxml', '--inactive', self.guest.name)
        self.guest.define(inactive)
        self.assertEqual(self.virsh('dumpxml', '--inactive', self.guest.name),
                         inactive)

    def test_state(self):
        """libvirt sees whether the guest has the channel open."""
        def state():
            target, = (target for target in
                       self.xml().iterfind('devices/channel/target')
                       if target.get('name') == PREFIX + 'bob')
            return target.get('state')
        until(lambda: state() == 'disconnected', 'nobody has it open')
        self.guest.sh('( exec 3<>/dev/virtio-ports/by-usb-id/1209:0001:bob\n'
                      '  read -r line <&3 ) >/dev/null 2>&1 </dev/null &')
        until(lambda: state() == 'connected', 'the guest has opened it')
        alias, = (channel.find('alias').get('name') for channel in
                  self.xml().iterfind('devices/channel')
                  if channel.find('target').get('name') == PREFIX + 'bob')
        self.port(alias).socket.sendall(b'close\n')
        until(lambda: state() == 'disconnected', 'the guest has closed it')

    def test_mistake(self):
        """QEMU's message is what virsh says, at the start and when plugging."""
        said = self.virsh('attach-device', self.guest.name,
                          self.file('bad', 'usb:1209:1'), fails=True)
        self.assertIn("name='usb:1209:1': expected usb:VVVV:PPPP", said)
        self.assertEqual(self.check_all(), ['alice', 'bob'])
        domain = self.xml('--inactive')
        domain.find('name').text = 'mistake'
        domain.remove(domain.find('uuid'))
        domain.find('devices').remove(domain.find('devices/disk'))
        domain.find("devices/channel/target").set('name', 'usb:audio')
        file = self.guest.dir / 'mistake.xml'
        file.write_text(ET.tostring(domain, 'unicode'))
        said = self.virsh('create', '--paused', file, fails=True)
        self.assertIn("name='usb:audio': expected usb:VVVV:PPPP", said)

    def test_plug(self):
        self.plug('carol')
        self.assertEqual(self.check_all(), ['alice', 'bob', 'carol'])
        self.unplug('carol')
        self.assertEqual(self.check_all(), ['alice', 'bob'])

    def test_save(self):
        """Plugged, saved, restored, unplugged"""
        self.needs_migration()
        self.plug('carol')
        self.assertEqual(self.check_all(), ['alice', 'bob', 'carol'])
        file = self.guest.dir / 'saved'
        self.virsh('save', self.guest.name, file)
        self.virsh('restore', '--paused', file)
        self.guest.resume()
        self.assertEqual(self.check_all(), ['alice', 'bob', 'carol'])
        self.virsh('managedsave', self.guest.name)
        self.virsh('start', '--paused', self.guest.name)
        self.guest.resume()
        self.assertEqual(self.check_all(), ['alice', 'bob', 'carol'])
        self.unplug('carol')
        self.assertEqual(self.check_all(), ['alice', 'bob'])

    def test_steps(self):
        """The document's own lines"""
        self.run_steps('Plug and unplug a channel', 'frank')
        until(lambda: PREFIX + 'frank' not in
              self.virsh('dumpxml', self.guest.name), 'libvirt has unplugged it')
        inactive = self.virsh('dumpxml', '--inactive', self.guest.name)
        self.run_steps('With virt-xml', 'frank')
        self.assertIn(PREFIX + 'frank',
                      self.virsh('dumpxml', '--inactive', self.guest.name))
        self.connect('frank')
        self.assertEqual(self.check_all(), ['alice', 'bob', 'frank'])
        self.unplug('frank')
        self.guest.define(inactive)
        self.assertEqual(self.check_all(), ['alice', 'bob'])

    def test_plug_two(self):
        self.plug('carol')
        self.plug('dave')
        self.assertEqual(self.check_all(), ['alice', 'bob', 'carol', 'dave'])
        self.unplug('carol')
        self.plug('erin')
        self.assertEqual(self.check_all(), ['alice', 'bob', 'dave', 'erin'])
        self.unplug('dave')
        self.unplug('erin')
        self.assertEqual(self.check_all(), ['alice', 'bob'])

    def test_same_name(self):
        """libvirt lets two channels have one name, and QEMU tells them apart."""
        first = self.plug('carol')
        second = self.plug('dave', PREFIX + 'carol')
        names = [self.guest.qmp('qom-get', path=f'/machine/peripheral/{alias}',
                                property='name') for alias in (first, second)]
        self.assertEqual(names[1], names[0] + '#1')
        self.unplug('dave', PREFIX + 'carol')
        self.unplug('carol')
        self.assertEqual(self.check_all(), ['alice', 'bob'])

    def test_migrate(self):
        self.needs_migration()
        self.plug('carol')
        for libvirtd in reversed(self.libvirtds):
            self.guest.migrate(libvirtd)
            self.assertEqual(self.check_all(), ['alice', 'bob', 'carol'])
        self.unplug('carol')
        self.assertEqual(self.check_all(), ['alice', 'bob'])

    def test_migrate_to_another_identity(self):
        """libvirt itself compares the names."""
        self.needs_migration()
        xml = self.virsh('dumpxml', '--migratable', self.guest.name)
        with self.assertRaises(GuestError) as raised:
            self.guest.migrate(self.libvirtds[1], xml.replace(
                PREFIX + 'alice', PREFIX + 'mallory'))
        self.assertIn('channel', str(raised.exception))
        self.assertEqual(self.check_all(), ['alice', 'bob'])
