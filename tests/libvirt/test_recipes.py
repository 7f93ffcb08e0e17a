# The recipes for KubeVirt, OpenStack and Proxmox, as far as they can be tried
# without these
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import json
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ET

import yaml

from guestlib import TOP, Guest, Port
from guesttest import GuestTest
from libvirtlib import Libvirtd
from libvirttest import EXAMPLES, LibvirtTest, descriptors, overrides, steps_of

HERE = pathlib.Path(__file__).resolve().parent
HOOK = EXAMPLES / 'kubevirt/onDefineDomain'
PORTS = 'virtio-serial-desc.example.org/ports'


def run_hook(vmi, xml):
    """The hook as KubeVirt's shim runs it"""
    return subprocess.run([HOOK, '--vmi', json.dumps(vmi), '--domain', xml],
                          capture_output=True, text=True)


def vmi():
    return yaml.safe_load((EXAMPLES / 'kubevirt/vmi.yaml').read_text())


def without_whitespace(element):
    """Of an element, what matters"""
    return (element.tag, element.attrib, (element.text or '').strip(),
            [without_whitespace(child) for child in element])


class Files(unittest.TestCase):
    """The examples, as files"""

    def __str__(self):
        return f'{type(self).__name__}.{self._testMethodName}'

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix='virt-files-')
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)

    def validate(self, file, schema=()):
        done = subprocess.run(['virt-xml-validate', file, *schema],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_schema(self):
        """libvirt's own. A fragment is put where it belongs."""
        domain = (EXAMPLES / 'channel.xml').read_text()
        for file in EXAMPLES.glob('*.xml'):
            text = file.read_text()
            if text.startswith('<channel'):
                text = domain.replace('</devices>', text + '</devices>')
            elif 'qemu:commandline' in text:
                text = domain.replace('<qemu:override>', text + '<qemu:override>')
            with self.subTest(file.name):
                (self.dir / file.name).write_text(text)
                self.validate(self.dir / file.name, ['domain'])

    def test_hook_output(self):
        """It validates, and what was there is still there."""
        before = (HERE / 'kubevirt-domain.xml').read_text()
        done = run_hook(vmi(), before)
        self.assertEqual(done.stderr, '')
        (self.dir / 'domain.xml').write_text(done.stdout)
        self.validate(self.dir / 'domain.xml', ['domain'])
        before, after = ET.fromstring(before), ET.fromstring(done.stdout)
        for element in before:
            kept = after.find(element.tag)
            self.assertEqual(
                without_whitespace(kept)[3][:len(element)],
                without_whitespace(element)[3], element.tag)

    def test_hook_name_alone(self):
        """A port that is only named has no override, which could be lost."""
        done = run_hook({'metadata': {'annotations': {PORTS: json.dumps(
            [{'name': 'usb:1209:0001:A1', 'socket': '/run/acme/a1'}])}}},
            (HERE / 'kubevirt-domain.xml').read_text())
        after = ET.fromstring(done.stdout)
        name = "devices/channel/target[@name='usb:1209:0001:A1']"
        alias = after.find(f'{name}/../alias').get('name')
        self.assertNotIn(alias, overrides(after))
        (self.dir / 'domain.xml').write_text(done.stdout)
        self.validate(self.dir / 'domain.xml', ['domain'])

    def test_hook_without_annotation(self):
        before = (HERE / 'kubevirt-domain.xml').read_text()
        done = run_hook({'metadata': {}}, before)
        self.assertEqual(without_whitespace(ET.fromstring(done.stdout)),
                         without_whitespace(ET.fromstring(before)))

    def test_hook_mistakes(self):
        for port in {'desc-serial': 'A'}, {'desc': '1209:0001', 'serial': 'A'}:
            done = run_hook({'metadata': {'annotations': {
                PORTS: json.dumps([port])}}}, '<domain/>')
            self.assertEqual((done.returncode, done.stdout), (1, ''))
            self.assertIn(f'{PORTS}: port 0: expected desc or name,', done.stderr)

    def test_shell(self):
        done = subprocess.run(['shellcheck', EXAMPLES / 'nova-emulator'],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ''))


class Lines(unittest.TestCase):
    """Lines of docs/libvirt.md, with a libvirtd and no guest"""

    def __str__(self):
        return f'{type(self).__name__}.{self._testMethodName}'

    @classmethod
    def setUpClass(cls):
        cls.libvirtd = Libvirtd()
        cls.enterClassContext(cls.libvirtd)
        emulator = cls.libvirtd.dir / 'emulator'
        emulator.write_text(f'#!/bin/sh\nexec {GuestTest.qemu} "$@"\n')
        emulator.chmod(0o755)
        domain = ET.fromstring((EXAMPLES / 'named.xml').read_text())
        domain.set('type', 'qemu')
        domain.find('devices/emulator').text = str(emulator)
        (cls.libvirtd.dir / 'desc.xml').write_text(ET.tostring(domain, 'unicode'))

    def setUp(self):
        self.libvirtd.virsh('define', self.libvirtd.dir / 'desc.xml')
        self.addCleanup(self.libvirtd.virsh, 'undefine', 'desc')

    def run_steps(self, heading):
        self.libvirtd.command('sh', '-ec', steps_of(heading))

    def check_native(self, alias, expected):
        """A port's properties on QEMU's command line"""
        words = shlex.split(self.libvirtd.virsh('domxml-to-native', 'qemu-argv',
                                                '--domain', 'desc'))
        device, = (json.loads(word) for option, word in zip(words, words[1:])
                   if option == '-device' and f'"id":"{alias}"' in word)
        self.assertEqual({**device, **expected}, device)

    def test_virt_install(self):
        """Here in libvirt's test driver: virt-install wants an emulator in its usual
        place."""
        line = steps_of('With virt-install').strip()
        domain = ET.fromstring(self.libvirtd.command(
            'sh', '-ec', f'{line} --print-xml', LIBVIRT_DEFAULT_URI='test:///default'))
        self.assertIsNotNone(domain.find(
            "devices/channel/target[@name='usb:1209:0001:erin']"))

    def test_override(self):
        self.run_steps('The override with virt-xml')
        self.check_native('ua-grace', {'driver': 'virtserialport', 'desc': '1209:0001',
                                       'desc-serial': 'grace'})

    def test_agent(self):
        self.run_steps("The agent's port with virt-xml")
        self.check_native('ua-agent0', {'name': 'org.qemu.guest_agent.0',
                                        'desc': '1209:0003'})

    def test_apparmor(self):
        """AppArmor's parser takes the lines."""
        text = (TOP / 'docs/libvirt.md').read_text()
        lines, = re.findall(r'(?ms)^ *```apparmor\n(.*?)^ *```$', text)
        for line in lines.splitlines():
            for profile, status in ((line, 0), (line.replace(',', ''), 1)):
                done = subprocess.run(
                    ['apparmor_parser', '--skip-kernel-load', '--skip-cache', '--stdout'],
                    input=f'profile guest {{\n{profile}\n}}\n'.encode(),
                    capture_output=True)
                self.assertEqual(done.returncode, status, (profile, done.stderr))


class KubeVirt(LibvirtTest):
    """What the hook makes of a domain, started"""

    options = {'driver': 'stock'}

    @classmethod
    def make_xml(cls):
        return run_hook(vmi(), (HERE / 'kubevirt-domain.xml').read_text()).stdout

    def test_guest(self):
        expected = descriptors(ET.fromstring(self.make_xml()))
        asked = json.loads(vmi()['metadata']['annotations'][PORTS])
        self.assertEqual([port['desc-serial'] for port in asked],
                         [port['desc-serial'] for port in expected.values()])
        self.check(expected)
        self.assertEqual(self.guest.links()['com.acme.kernel-stats'],
                         self.node('ua-desc1'))


class Nova(LibvirtTest):
    """A domain as Nova's, whose emulator is nova-emulator"""

    count = 2

    @classmethod
    def make_xml(cls):
        return (HERE / 'nova-domain.xml').read_text()

    @classmethod
    def setUpClass(cls):
        script = (EXAMPLES / 'nova-emulator').read_text()
        # Each libvirtd is a node, and has a home of its own.
        for line, here in (('emulator=/usr/local/bin/qemu-system-x86_64',
                            f'emulator={cls.qemu}'),
                           ('sockets=/run/acme', 'sockets=$HOME')):
            assert script.count(line) == 1
            script = script.replace(line, here)
        cls.options = {'driver': 'stock', 'emulator': script}
        super().setUpClass()

    def check_port(self):
        uuid = ET.fromstring(self.make_xml()).findtext('uuid')
        port = Port('desc')
        port.socket = self.guest.connect(self.guest.libvirtd.dir / uuid)
        self.guest.ports['desc'] = port
        self.check({'desc': {'desc': '1209:0001', 'desc-manufacturer': 'Acme',
                             'desc-product': 'Kernel stats',
                             'desc-serial': uuid}})

    def test_guest(self):
        self.check_port()

    def test_migrate(self):
        for libvirtd in reversed(self.libvirtds):
            self.guest.migrate(libvirtd)
            self.check_port()


class ProxmoxGuest(Guest):
    """A guest whose command line ends with what proxmox.conf has"""

    def command(self):
        line = (EXAMPLES / 'proxmox.conf').read_text().replace('/run/acme',
                                                               str(self.dir))
        # As Proxmox takes it apart
        words = subprocess.run(
            ['perl', '-MText::ParseWords', '-e',
             '$_ = <STDIN>; s/^args: //; print map { "$_\\0" } shellwords($_)'],
            input=line, capture_output=True, text=True, check=True).stdout
        return super().command() + words.split('\0')[:-1]


class Proxmox(GuestTest):
    """A machine type that is older than descriptors"""

    @classmethod
    def setUpClass(cls):
        guest = ProxmoxGuest(cls.qemu, kernel=cls.kernel,
                             machine='pc-i440fx-9.2',
                             log=TOP / 'build/log/libvirt-Proxmox.log')
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.guest = stack.enter_context(guest)

    def test_guest(self):
        link = '/dev/virtio-ports/by-usb-id/1209:0001:alice'
        self.guest.wait_for(link)
        port, = json.loads(self.guest.sh('vser list --json'))['ports']
        self.assertEqual(
            [port[field] for field in ('port', 'source', 'manufacturer', 'product')],
            [self.guest.node(link), 'driver', 'Acme', 'Kernel stats'])
        alice = Port('alice')
        alice.socket = self.guest.connect('alice')
        self.guest.exchange(alice, link, 1 << 14)
