# What the mails of patches/libvirt add to libvirt: tests/libvirt/patches runs these
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import pathlib
import unittest
import xml.etree.ElementTree as ET

from guestlib import GuestError, Port
from libvirtlib import BUILT
from libvirttest import EXAMPLES, LibvirtTest, descriptors, with_carol
from waiting import until

HERE = pathlib.Path(__file__).resolve().parent


class BuiltTest(LibvirtTest):
    """No test of its own: a domain in the libvirt that was built"""

    abstract = True

    @classmethod
    def setUpClass(cls):
        if not BUILT:
            raise unittest.SkipTest('only with tests/libvirt/patches')
        super().setUpClass()

    def file(self, name, text):
        path = self.guest.dir / name
        path.write_text(self.guest.here(text))
        return path

    def attach(self, text, *options):
        self.virsh('attach-device', self.guest.name, *options,
                   self.file('device.xml', text))

    def detach(self, text, *options):
        self.virsh('detach-device', self.guest.name, *options,
                   self.file('device.xml', text))

    def connect(self, alias):
        """Be at the other side of a channel that was plugged."""
        path, = (channel.find('source').get('path') for channel in
                 self.xml().iterfind("devices/channel[@type='unix']")
                 if channel.find('alias').get('name') == alias)
        self.guest.ports[alias] = Port(alias)
        self.guest.ports[alias].socket = self.guest.connect(path)

    def wait_gone(self, alias):
        until(lambda: f"'{alias}'" not in self.virsh('dumpxml', self.guest.name).split(
            '<qemu:override>')[0], 'libvirt has unplugged it')
        self.guest.ports.pop(alias, None)

    def restore(self):
        self.virsh('managedsave', self.guest.name)
        self.virsh('start', '--paused', self.guest.name)
        self.guest.resume()


class BuiltFaults(BuiltTest):
    """Two faults that libvirt has had"""

    example = 'virtserialdesc.xml'
    options = {'driver': 'stock'}

    @classmethod
    def make_xml(cls):
        return with_carol(super().make_xml())

    def test_override(self):
        """It counts when the device is plugged, as when the domain is restored."""
        expected = descriptors(ET.fromstring(super().make_xml()))
        carol = {'desc': '1209:0001', 'desc-serial': 'carol'}
        text = (EXAMPLES / 'carol.xml').read_text()
        self.attach(text)
        self.connect('ua-carol')
        self.check({**expected, 'ua-carol': carol})
        self.restore()
        self.check({**expected, 'ua-carol': carol})
        self.detach(text)
        self.wait_gone('ua-carol')
        self.check(expected)

    def test_two_without_name_and_path(self):
        text = """<channel type='unix'>
            <target type='virtio'/><alias name='ua-{}'/></channel>"""
        for name in 'one', 'two':
            self.attach(text.format(name), '--live', '--config')
        paths = {channel.find('alias').get('name'): channel.find('source').get('path')
                 for channel in self.xml().iterfind("devices/channel[@type='unix']")}
        self.assertNotEqual(paths['ua-one'], paths['ua-two'])
        self.assertEqual(sum(
            channel.find('alias').get('name') in ('ua-one', 'ua-two') for channel in
            self.xml('--inactive').iterfind("devices/channel[alias]")), 2)
        for name in 'one', 'two':
            self.connect(f'ua-{name}')
            self.virsh('detach-device-alias', self.guest.name, f'ua-{name}',
                       '--live', '--config')
            self.wait_gone(f'ua-{name}')


DAVE = """<channel type='unix'>
  <source mode='bind' path='/run/acme/dave'/>
  <target type='virtio'>
    <descriptor>
      <vendor id='0x1209'>Acme</vendor>
      <product id='0x0001'>Kernel stats</product>
      <serial>dave</serial>
    </descriptor>
  </target>
  <alias name='ua-dave'/>
</channel>"""


def described(domain):
    """{alias: {property: value}} of a domain's <descriptor> elements"""
    found = {}
    for channel in domain.iterfind('devices/channel'):
        descriptor = channel.find('target/descriptor')
        if descriptor is None:
            continue
        vendor, product = descriptor.find('vendor'), descriptor.find('product')
        properties = {'desc': f'{vendor.get("id")[2:]}:{product.get("id")[2:]}'
                              f':{product.get("version", "0x0100")[2:]}',
                      'desc-manufacturer': vendor.text, 'desc-product': product.text,
                      'desc-serial': descriptor.findtext('serial'),
                      'desc-interface': descriptor.findtext('interface')}
        found[channel.find('alias').get('name')] = {
            name: value for name, value in properties.items() if value}
    return found


class BuiltDescriptors(BuiltTest):
    """descriptor-domain.xml, and a driver that knows descriptors"""

    count = 2

    @classmethod
    def make_xml(cls):
        return (HERE / 'descriptor-domain.xml').read_text()

    def check_all(self, *more):
        expected = described(self.xml())
        self.assertEqual(sorted(expected), sorted(['ua-alice', 'ua-bob', *more]))
        self.check(expected)

    def test_guest(self):
        self.check_all()
        self.assertEqual(self.guest.links()['com.acme.kernel-stats'], self.node('ua-bob'))

    def test_dumpxml(self):
        inactive = self.virsh('dumpxml', '--inactive', self.guest.name)
        self.virsh('define', '--validate', self.file('inactive.xml', inactive))
        self.assertEqual(self.virsh('dumpxml', '--inactive', self.guest.name), inactive)
        # The running domain's XML has more, such as the state of a channel
        self.virsh('define', '--validate', self.file(
            'active.xml', self.virsh('dumpxml', self.guest.name)))
        self.virsh('define', self.guest.dir / 'inactive.xml')

    def test_capabilities(self):
        capabilities = ET.fromstring(self.virsh(
            'domcapabilities', '--emulatorbin', self.guest.dir / 'emulator',
            '--virttype', 'qemu'))
        self.assertEqual([value.text for value in capabilities.iterfind(
            "devices/channel/enum[@name='descriptor']/value")], ['yes', 'no'])

    def test_restore(self):
        self.restore()
        self.check_all()

    def test_plug(self):
        self.attach(DAVE)
        self.connect('ua-dave')
        self.check_all('ua-dave')
        self.restore()
        self.check_all('ua-dave')
        self.detach(DAVE)
        self.wait_gone('ua-dave')
        self.check_all()

    def test_plug_mistake(self):
        with self.assertRaises(GuestError) as raised:
            self.attach(DAVE.replace("id='0x0001'", "id='0x10001'"))
        self.assertIn("product id 0x10001 of a channel's descriptor", str(raised.exception))
        self.check_all()

    def test_migrate(self):
        for libvirtd in reversed(self.libvirtds):
            self.guest.migrate(libvirtd)
            self.check_all()

    def test_migrate_to_another_identity(self):
        """libvirt itself compares."""
        migratable = self.virsh('dumpxml', '--migratable', self.guest.name)
        for old, new, message in (
                ('<serial>bob</serial>', '<serial>eve</serial>',
                 "Target channel descriptor's serial 'eve' does not match source 'bob'"),
                ("descriptors='on'", "descriptors='off'",
                 "Target controller descriptors 'off' does not match source 'on'")):
            with self.assertRaises(GuestError) as raised:
                self.guest.migrate(self.libvirtds[1], migratable.replace(old, new))
            self.assertIn(message, str(raised.exception))
        self.check_all()


class BuiltDescriptorPort(BuiltTest):
    """The same domain, for Debian's driver: the controller has a descriptor port"""

    options = {'driver': 'stock'}

    @classmethod
    def make_xml(cls):
        return (HERE / 'descriptor-domain.xml').read_text().replace(
            "descriptors='on'/>", "descriptors='off'><descriptorPort/></controller>")

    def test_guest(self):
        self.check(described(self.xml()))
        controller = self.xml().find("devices/controller[@type='virtio-serial']")
        number = controller.find('descriptorPort').get('port')
        self.assertEqual(self.guest.qmp('qom-get', path='virtio-serial0-descriptors',
                                        property='nr'), int(number))

    def test_plug(self):
        self.attach(DAVE)
        self.connect('ua-dave')
        self.check(described(self.xml()))
        self.restore()
        self.check(described(self.xml()))
        self.detach(DAVE)
        self.wait_gone('ua-dave')
        self.check(described(self.xml()))

    def test_plug_controller(self):
        self.attach("<controller type='virtio-serial' index='7'><descriptorPort/>"
                    '</controller>')
        self.assertEqual(self.guest.qmp('qom-get', path='virtio-serial7-descriptors',
                                        property='nr'), 1)
        self.restore()
        self.check(described(self.xml()))
