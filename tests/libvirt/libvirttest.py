# What the tests with libvirt have in common
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import json
import re
import unittest

from guestlib import TOP
from guesttest import GuestTest
from libvirtlib import QEMU, Domain, Libvirtd
from usbdesc import Blob

EXAMPLES = TOP / 'docs/libvirt'


def overrides(domain):
    """{alias: {property: value}} of a domain's XML, as an element"""
    return {device.get('alias'): {p.get('name'): p.get('value')
                                  for p in device.iter(f'{{{QEMU}}}property')}
            for device in domain.iter(f'{{{QEMU}}}device')}


def steps_of(heading):
    """What docs/libvirt.md says that a user should run, below a heading"""
    text = (TOP / 'docs/libvirt.md').read_text()
    section = re.search(rf'(?ms)^##+ {re.escape(heading)}$(.*?)(^##|\Z)', text)[1]
    return '\n'.join(re.findall(r'(?ms)^```sh\n(.*?)^```$', section))


def with_carol(xml):
    """An example's XML, with an override for carol.xml, which is not there yet"""
    return xml.replace('<qemu:override>', """<qemu:override>
        <qemu:device alias='ua-carol'>
          <qemu:frontend>
            <qemu:property name='desc' type='string' value='1209:0001'/>
            <qemu:property name='desc-serial' type='string' value='carol'/>
          </qemu:frontend>
        </qemu:device>""")


def descriptors(domain):
    """Those that have a descriptor"""
    return {alias: properties for alias, properties in overrides(domain).items()
            if 'desc' in properties}


class LibvirtTest(GuestTest):
    """Tests of one domain, which is started once for all of them, in the
    first of `cls.libvirtds`. A test leaves it there, and running."""

    example = None          # its file in docs/libvirt
    options = {}            # of Domain
    count = 1               # of libvirtds

    @classmethod
    def make_xml(cls):
        return (EXAMPLES / cls.example).read_text()

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        # The class's, and the module's if the tests are interrupted
        cls.addClassCleanup(stack.close)
        unittest.addModuleCleanup(stack.close)
        cls.libvirtds = [stack.enter_context(Libvirtd())
                         for _ in range(cls.count)]
        cls.guest = stack.enter_context(Domain(
            cls.libvirtds[0], cls.qemu, cls.make_xml(), kernel=cls.kernel,
            log=TOP / f'build/log/libvirt-{cls.__name__}.log', **cls.options))
        cls.booted()

    @classmethod
    def booted(cls):
        """Have the guest do what its units would."""
        if cls.guest.driver == 'stock':
            cls.guest.sh('vser daemon >/run/daemon.log 2>&1 </dev/null &')

    def virsh(self, *args, **more):
        return self.guest.libvirtd.virsh(*args, **more)

    def xml(self, *options):
        return self.guest.libvirtd.xml(self.guest.name, *options)

    def needs_migration(self):
        """Skip the test if this libvirt can't migrate with this QEMU, also not to a file:
        libvirt 11.3 gives `migrate` an argument that QEMU 11.0 has no more."""
        schema = {entry['name']: entry for entry in self.guest.qmp('query-qmp-schema')
                  if entry['meta-type'] in ('command', 'object')}
        taken = [member['name']
                 for member in schema[schema['migrate']['arg-type']]['members']]
        if 'detach' not in taken:
            self.skipTest("this libvirt gives 'migrate' the argument 'detach', which this "
                          'QEMU does not have')

    def listed(self):
        """{port: its object in `vser list --json`}"""
        ports = json.loads(self.guest.sh('vser list --json'))['ports']
        return {port['port']: port for port in ports}

    def check(self, expected, size=1 << 14):
        """Has the guest each port of {alias: {property: value}}, with that
        descriptor and its link, and no others? Do bytes get through?"""
        nodes = {self.node(alias): alias for alias in expected}
        self.guest.wait_until(
            '[ "$(echo $(lsvser | grep -v "name only" | cut -d: -f1 | sort))" = '
            f'"{" ".join(sorted(nodes))}" ]')
        listed = self.listed()
        for node, alias in nodes.items():
            port, wanted = listed[node], expected[alias]
            ids = f'{port["idVendor"]}:{port["idProduct"]}:{port["bcdDevice"]}'
            self.assertTrue(ids.startswith(wanted['desc']), ids)
            for field in 'manufacturer', 'product', 'serial':
                self.assertEqual(port[field], wanted.get(f'desc-{field}'), alias)
            self.assertEqual(port['source'], {'patched': 'driver',
                                              'stock': 'store'}[self.guest.driver])
            blob = Blob(bytes.fromhex(port['blob']))
            self.assertEqual(blob.data, self.blob(alias).data)
            interface = blob.sysfs().get('interface', b'\n').decode()[:-1]
            self.assertEqual(interface, wanted.get('desc-interface', ''))
            link = '/dev/virtio-ports/by-usb-id/' \
                f'{wanted["desc"][:9]}:{wanted["desc-serial"]}'
            self.guest.wait_for(link)
            self.assertEqual(self.guest.node(link), node)
            if self.guest.driver == 'patched':
                files = self.attributes(alias)
                self.assertEqual({name: files[name] for name in blob.sysfs()},
                                 blob.sysfs())
            if alias in self.guest.ports:
                self.exchange(alias, link, size)

    def run_steps(self, heading, port):
        """Run what docs/libvirt.md says that a user should, below a heading,
        for a port of that name instead of carol; what is said by the commands."""
        def ours(text):
            return self.guest.here(text).replace('carol', port)

        steps = steps_of(heading)
        # The test has to connect to the ports first; see Domain.resume().
        steps = steps.replace('virsh start ', 'virsh start --paused ')
        examples = self.guest.dir / 'docs/libvirt'
        examples.mkdir(parents=True, exist_ok=True)
        for file in EXAMPLES.glob('*.xml'):
            (examples / file.name).write_text(ours(file.read_text()))
        return self.guest.libvirtd.command(
            'sh', '-ec', f'cd {self.guest.dir}\n{ours(steps)}')
