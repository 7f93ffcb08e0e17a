# The examples' channels, in what libvirt can do with a domain
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import re
import shlex
import xml.etree.ElementTree as ET

from guestlib import Port
from libvirtlib import QEMU, version
from libvirttest import EXAMPLES, LibvirtTest, descriptors, overrides, with_carol
from waiting import until


class Channels(LibvirtTest):
    """No test of its own: what holds for each example."""

    abstract = True

    def setUp(self):
        self.expected = descriptors(ET.fromstring(self.make_xml()))

    def another(self, name):
        """The XML of a domain like this one, without its disk, which is in use,
        as an element"""
        domain = self.xml('--inactive')
        domain.find('name').text = name
        domain.remove(domain.find('uuid'))
        domain.find('devices').remove(domain.find('devices/disk'))
        return domain

    def create(self, domain, **more):
        """Have a domain be there, paused; what virsh says."""
        file = self.guest.dir / 'another.xml'
        file.write_text(ET.tostring(domain, 'unicode'))
        return self.virsh('create', '--paused', file, **more)

    def test_guest(self):
        self.assertTrue(self.expected)
        self.check(self.expected, size=1 << 18)

    def test_managedsave(self):
        self.virsh('managedsave', self.guest.name)
        self.virsh('start', '--paused', self.guest.name)
        self.guest.resume()
        self.check(self.expected)


class PatchedChannel(Channels):
    """channel.xml, and a driver that knows descriptors"""

    example = 'channel.xml'
    count = 2

    def test_name(self):
        """A name that is given is the port's, and else one is derived."""
        links = self.guest.links()
        self.assertEqual(links['com.acme.kernel-stats'], self.node('ua-bob'))
        self.assertEqual(links['usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00'
                               '#alice'], self.node('ua-alice'))

    def test_state(self):
        """libvirt sees whether the guest has a channel open, as always."""
        def state():
            return self.xml().find("devices/channel/alias[@name='ua-alice']"
                                   '/../target').get('state')
        until(lambda: state() == 'disconnected', 'nobody has it open')
        port = self.port('ua-alice')
        self.guest.sh('( exec 3<>/dev/virtio-ports/by-usb-id/1209:0001:alice\n'
                      '  echo open >&3; read -r line <&3 ) '
                      '>/dev/null 2>&1 </dev/null &')
        self.assertEqual(port.receive(5), b'open\n')
        until(lambda: state() == 'connected', 'the guest has opened it')
        port.socket.sendall(b'close\n')
        until(lambda: state() == 'disconnected', 'the guest has closed it')

    def test_dumpxml(self):
        given = overrides(ET.fromstring(self.make_xml()))
        self.assertEqual(overrides(self.xml()), given)
        inactive = self.virsh('dumpxml', '--inactive', self.guest.name)
        self.assertEqual(overrides(ET.fromstring(inactive)), given)
        self.guest.define(inactive)
        self.assertEqual(self.virsh('dumpxml', '--inactive', self.guest.name),
                         inactive)

    def test_native(self):
        words = shlex.split(self.virsh('domxml-to-native', 'qemu-argv',
                                       '--domain', self.guest.name))
        devices = [json.loads(word) for option, word in zip(words, words[1:])
                   if option == '-device']
        for alias, properties in self.expected.items():
            device, = (d for d in devices if d['id'] == alias)
            self.assertEqual({**device, **properties}, device)

    def test_save(self):
        file = self.guest.dir / 'saved'
        self.virsh('save', self.guest.name, file)
        self.assertEqual(overrides(ET.fromstring(
            self.virsh('save-image-dumpxml', file))), self.expected)
        self.virsh('restore', '--paused', file)
        self.guest.resume()
        self.check(self.expected)

    def test_snapshot(self):
        """One of memory and disk, in the disk's image"""
        self.guest.sh('echo before >/run/when')
        self.virsh('snapshot-create-as', self.guest.name, 'one')
        self.guest.sh('echo after >/run/when')
        self.virsh('snapshot-revert', '--paused', self.guest.name, 'one')
        self.guest.resume()
        self.assertEqual(self.guest.sh('cat /run/when'), 'before\n')
        self.check(self.expected)
        self.virsh('snapshot-delete', self.guest.name, 'one')

    def test_snapshot_in_files(self):
        """libvirt before 9.9 makes one, but does not revert to it: by hand."""
        directory = self.guest.dir
        inactive = self.virsh('dumpxml', '--inactive', self.guest.name)
        self.guest.sh('echo before >/run/when')
        self.virsh('snapshot-create-as', self.guest.name, 'two',
                   '--memspec', f'file={directory}/memory,snapshot=external',
                   '--diskspec', f'vda,file={directory}/overlay.qcow2')
        self.guest.sh('echo after >/run/when')
        if version() >= (9, 9):
            self.virsh('snapshot-revert', '--paused', self.guest.name, 'two')
            self.virsh('snapshot-delete', '--metadata', self.guest.name, 'two')
        else:
            said = self.virsh('snapshot-revert', self.guest.name, 'two', fails=True)
            self.assertIn('not supported', said)
            self.virsh('snapshot-delete', '--metadata', self.guest.name, 'two')
            self.virsh('destroy', self.guest.name)
            self.guest.define(inactive)
            self.virsh('restore', '--paused', directory / 'memory')
        self.guest.resume()
        self.assertEqual(self.guest.sh('cat /run/when'), 'before\n')
        self.check(self.expected)

    def test_migrate(self):
        """To another libvirtd, and back"""
        for libvirtd in reversed(self.libvirtds):
            self.guest.migrate(libvirtd)
            self.assertEqual(overrides(self.xml()), self.expected)
            self.assertEqual(overrides(self.xml('--inactive')), self.expected)
            self.check(self.expected)

    def test_migrate_to_another_identity(self):
        xml = self.virsh('dumpxml', '--migratable', self.guest.name)
        there = self.libvirtds[1]
        self.guest.migrate(there, xml.replace("value='bob'", "value='eve'"),
                           fails=True)
        # virsh says it sometimes; the log of the QEMU that refused always does.
        until(lambda: 'port 2,' in self.guest.errors(there), 'QEMU names it')
        self.check(self.expected)

    def test_mistake(self):
        """QEMU's own message is what virsh says."""
        domain = self.another('mistake')
        domain.find(f".//{{{QEMU}}}property[@name='desc']").set('value', '1209:1')
        said = self.create(domain, fails=True)
        self.assertIn("desc='1209:1': expected VVVV:PPPP", said)

    def test_snapshot_without_disk(self):
        self.create(self.another('diskless'))
        self.addCleanup(self.virsh, 'destroy', 'diskless')
        self.virsh('snapshot-create-as', 'diskless', 'three', fails=True)


class StockVirtserialdesc(Channels):
    """virtserialdesc.xml, and Debian's driver"""

    example = 'virtserialdesc.xml'
    options = {'driver': 'stock'}
    count = 2

    def test_migrate(self):
        for libvirtd in reversed(self.libvirtds):
            self.guest.migrate(libvirtd)
            self.check(self.expected)


class OldMachine(Channels):
    """old-machine.xml, whose controller offers descriptors to the driver only
    because it is told to"""

    example = 'old-machine.xml'

    def test_not_told(self):
        domain = self.another('not-told')
        override = domain.find(f'{{{QEMU}}}override')
        override.remove(override.find("*[@alias='virtio-serial0']"))
        self.create(domain)
        self.addCleanup(self.virsh, 'destroy', 'not-told')
        told, not_told = (json.loads(self.virsh(
            'qemu-monitor-command', name, '{"execute": "qom-get", "arguments": '
            '{"path": "virtio-serial0", "property": "port-descriptors"}}'))
            ['return'] for name in (self.guest.name, 'not-told'))
        self.assertEqual((told, not_told), (True, False))


class Plug(LibvirtTest):
    """Ports that come while the guest runs, as docs/libvirt.md has it. Each test
    leaves none of them."""

    example = 'virtserialdesc.xml'
    options = {'driver': 'stock'}
    count = 2

    @classmethod
    def make_xml(cls):
        return with_carol(super().make_xml())

    def setUp(self):
        self.expected = descriptors(ET.fromstring(super().make_xml()))
        # What a -chardev had as its id, which is how it comes back when it is
        # restored, chardev-add does not take again: each test has another.
        self.id = self._testMethodName
        self.with_port = {**self.expected, self.id: {
            'desc': '1209:0001', 'desc-serial': self.id}}

    def attach(self):
        """Have libvirt plug carol.xml; the number that it gives the port"""
        file = self.guest.dir / 'carol.xml'
        file.write_text(self.guest.here((EXAMPLES / 'carol.xml').read_text()))
        self.virsh('attach-device', self.guest.name, file)
        return self.guest.qmp('qom-get', path='ua-carol', property='nr')

    def detach(self):
        self.virsh('detach-device', self.guest.name, self.guest.dir / 'carol.xml')

    def plug(self):
        self.assertEqual(self.run_steps('Plug a port', self.id), '')
        self.connect()
        self.check(self.with_port)

    def connect(self):
        self.guest.ports[self.id] = Port(self.id)
        self.guest.ports[self.id].socket = self.guest.connect(self.id)

    def unplug(self):
        self.assertEqual(self.run_steps('Unplug it', self.id), '')
        del self.guest.ports[self.id]
        self.check(self.expected)

    def restore_edited(self, edit):
        """Restore the saved domain by the XML that edit() makes of its own."""
        file = self.guest.dir / 'saved.xml'
        file.write_text(edit(self.virsh('managedsave-dumpxml', self.guest.name)))
        self.virsh('managedsave-define', self.guest.name, file)
        self.virsh('start', '--paused', self.guest.name)
        self.guest.resume()
        self.check(self.expected)

    def check_start_refused(self, why):
        """virsh says why with libvirt 9.0; the log of QEMU always does."""
        said = self.virsh('start', '--paused', self.guest.name, fails=True)
        # The log begins anew with each start
        until(lambda: why in said + self.guest.errors(), why)

    def forget(self):
        """Unplug a port that libvirt has in its XML."""
        self.unplug()
        self.virsh('managedsave', self.guest.name)
        self.restore_edited(lambda xml: re.sub(
            '(?s)<qemu:commandline>.*</qemu:commandline>', '', xml))

    def test_attach_device(self):
        """libvirt's own way takes no notice of an override: a port without a
        descriptor; and the two do not fit together later."""
        number = self.attach()
        self.guest.wait_for(f'/dev/vport0p{number}')
        self.assertEqual(self.guest.qmp('qom-get', path='ua-carol',
                                        property='desc-blob'), '')
        self.check(self.expected)

        self.virsh('managedsave', self.guest.name)
        self.check_start_refused(f'port {number},')
        # What is saved is not lost: without the override it goes on.
        self.restore_edited(lambda xml: re.sub(
            "(?s)<qemu:device alias='ua-carol'>.*?</qemu:device>", '', xml))
        self.detach()

    def test_plug(self):
        self.plug()
        self.assertNotIn(self.id, self.virsh('dumpxml', self.guest.name))
        # Ports that libvirt plugs do not get in its way.
        self.assertEqual(self.attach(), 3)
        self.detach()

        self.virsh('managedsave', self.guest.name)
        self.check_start_refused('port 30 is there only at the source')
        # libvirt sees to it that channels stay what they were,
        file = self.guest.dir / 'saved.xml'
        file.write_text(self.virsh('managedsave-dumpxml', self.guest.name).replace(
            '</devices>', (EXAMPLES / 'carol.xml').read_text() + '</devices>'))
        self.virsh('managedsave-define', self.guest.name, file, fails=True)
        # but not to what it does not look into.
        self.run_steps('Restore it', self.id)
        self.guest.resume()
        self.connect()
        self.check(self.with_port)
        self.forget()

    def test_migrate(self):
        self.plug()
        self.guest.migrate(self.libvirtds[1], fails=True)
        self.check(self.with_port)
        self.run_steps('Migrate it', self.id)
        xml = (self.guest.dir / 'desc.xml').read_text()
        for libvirtd in reversed(self.libvirtds):
            self.guest.migrate(libvirtd, xml)
            # From here it is in libvirt's own XML.
            xml = None
            self.connect()
            self.check(self.with_port)
        self.forget()

    def test_restart(self):
        """A port that is added to the inactive XML is there at the next start,
        and what was plugged is not."""
        self.plug()
        inactive = self.xml('--inactive')
        inactive.find('devices').append(ET.fromstring(self.guest.here(
            (EXAMPLES / 'carol.xml').read_text())))
        self.guest.define(ET.tostring(inactive, 'unicode'))
        self.check(self.with_port)
        self.virsh('destroy', self.guest.name)
        self.guest.boot()
        self.booted()
        self.check({**self.expected, 'ua-carol': {
            'desc': '1209:0001', 'desc-serial': 'carol'}})
