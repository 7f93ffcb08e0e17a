# The driver of guest/linux and the rules of guest/udev
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import base64
import os
import tempfile

from guestlib import TIMEOUT, TOP, Port
from guesttest import HOSTILE_STRINGS, GuestTest, big_blob, usb_id_links
from usbdesc import CONFIG, DEVICE, INTERFACE, SYSFS, Blob, fields, split

# The files that every port has in sysfs, with descriptors or without
PLAIN = {'dev', 'name', 'uevent'}


class DescribedPorts(GuestTest):
    """A guest with two instances of one product, a port without a descriptor, a
    CDC-ACM port, and a port with every property."""

    @classmethod
    def make_ports(cls):
        return [
            Port('s1', desc='1209:0001', desc_serial='S1',
                 desc_manufacturer='Example', desc_product='Sensor hub'),
            Port('s2', desc='1209:0001', desc_serial='S2',
                 desc_manufacturer='Example', desc_product='Sensor hub'),
            Port('plain', name='org.example.plain'),
            Port('bare'),
            Port('acm', desc='1209:000a:0203', desc_class='cdc-acm',
                 desc_product='Mödem ☎ 𝄞', desc_interface='control'),
            Port('full', desc='ABCD:ef01:9999', desc_class='fe:03:01',
                 desc_manufacturer='M' * 126, desc_product='P',
                 desc_serial='0', desc_interface='I', name='org.example.full'),
            Port('anonymous', desc='0000:ffff:0000', desc_class='00'),
            Port('console', driver='virtconsole', desc='1209:0002',
                 desc_serial='tty'),
        ]

    DESCRIBED = 's1 s2 acm full anonymous console'.split()
    UNDESCRIBED = 'plain bare'.split()

    def test_feature_taken(self):
        features = self.guest.sh('cat /sys/bus/virtio/devices/virtio0/features')
        self.assertEqual(features[3], '1')

    def test_attributes(self):
        for id in self.DESCRIBED:
            with self.subTest(id):
                files = self.attributes(id)
                self.assertEqual(files.keys() & PLAIN, PLAIN)
                self.assertEqual({name: content for name, content in
                                  files.items() if name not in PLAIN},
                                 self.blob(id).sysfs())

    def test_no_descriptor_no_attributes(self):
        self.assertEqual(set(self.attributes('plain')), PLAIN)
        self.assertEqual(set(self.attributes('bare')), PLAIN - {'name'})

    def test_attributes_are_read_only(self):
        modes = self.guest.sh(
            f'cd /sys/class/virtio-ports/{self.node("s1")} && '
            'stat -c %a bInterfaceClass descriptors serial')
        self.assertEqual(modes.split(), ['444'] * 3)

    def test_descriptors_at_an_offset(self):
        expected = self.blob('acm').descriptors
        data = self.guest.run(
            f'dd if=/sys/class/virtio-ports/{self.node("acm")}/descriptors '
            'bs=7 skip=3 count=2 2>/dev/null').stdout
        self.assertEqual(data, expected[21:35])

    def test_uevent_variables(self):
        for id in self.DESCRIBED + self.UNDESCRIBED:
            with self.subTest(id):
                expected = self.blob(id).uevent() if id in self.DESCRIBED else {}
                for script in (f'cat /sys/class/virtio-ports/{self.node(id)}/uevent',
                               f'udevadm info -q property /dev/{self.node(id)}'):
                    shown = dict(line.split('=', 1) for line in
                                 self.guest.sh(script).splitlines())
                    self.assertEqual({k: v for k, v in shown.items() if k in
                                      ('PRODUCT', 'TYPE', 'INTERFACE')}, expected)
                    self.assertNotIn('MODALIAS', shown)

    def test_host_names_no_module(self):
        """A program that loads a module for each modalias, as small initramfs do, does
        not load a USB driver for a port."""
        port = Port('ftdi', desc='0403:6001')
        link = '/dev/virtio-ports/by-usb-id/0403:6001'
        self.guest.plug(port)
        self.guest.wait_for(link)
        self.assertIn('ftdi_sio', self.guest.sh(
            f'modprobe -D {self.blob("ftdi").modalias}'))
        self.guest.sh('find /sys -name modalias -exec cat {} + | sort -u | '
                      'while read -r alias; do modprobe -q "$alias"; done; true')
        self.assertEqual(self.guest.sh('lsmod | grep -e ftdi -e usb || :'), '')
        self.guest.unplug(port)
        self.guest.wait_for(link, removed=True)

    def test_links(self):
        self.assertEqual(self.links_of('s1'), {
            'by-usb-id/1209:0001:S1', 'by-id/Example_Sensor_hub_S1',
            'usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00#S1'})
        self.assertEqual(self.links_of('s2'), {
            'by-usb-id/1209:0001:S2', 'by-id/Example_Sensor_hub_S2',
            'usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00#S2'})
        self.assertEqual(self.links_of('acm'), {
            'by-usb-id/1209:000a', 'by-id/1209_Mödem_☎_𝄞',
            'usb:v1209p000Ad0203dc00dsc00dp00ic02isc02ip01in00'})
        self.assertEqual(self.links_of('full'), {
            'by-usb-id/abcd:ef01:0', f'by-id/{"M" * 63}_P_0',
            'org.example.full'})
        self.assertEqual(self.links_of('anonymous'), {
            'by-usb-id/0000:ffff', 'by-id/0000_ffff',
            'usb:v0000pFFFFd0000dc00dsc00dp00ic00isc00ip00in00'})
        self.assertEqual(self.links_of('plain'), {'org.example.plain'})
        self.assertEqual(self.links_of('bare'), set())

    def test_properties(self):
        shown = dict(line.split('=', 1) for line in self.guest.sh(
            'udevadm info -q property '
            '/dev/virtio-ports/by-usb-id/1209:0001:S2').splitlines())
        named = {
            'VENDOR': 'Example', 'VENDOR_ENC': 'Example', 'VENDOR_ID': '1209',
            'MODEL': 'Sensor_hub', 'MODEL_ENC': r'Sensor\x20hub',
            'MODEL_ID': '0001', 'REVISION': '0100',
            'SERIAL': 'Example_Sensor_hub_S2', 'SERIAL_SHORT': 'S2'}
        self.assertEqual({k: v for k, v in shown.items() if k.startswith(
            ('ID_', 'VIRTIO_'))}, {
                **{f'ID_{k}': v for k, v in named.items()},
                **{f'ID_USB_{k}': v for k, v in named.items()},
                'ID_USB_INTERFACES': ':ff0000:',
                'VIRTIO_PORT_MODALIAS':
                    'usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00',
                'VIRTIO_PORT_SOURCE': 'driver'})

    def test_bytes(self):
        for id, link in (('s1', 'by-usb-id/1209:0001:S1'),
                         ('s2', 'by-id/Example_Sensor_hub_S2'),
                         ('acm', 'by-usb-id/1209:000a'),
                         ('plain', 'org.example.plain')):
            with self.subTest(link):
                self.exchange(id, f'/dev/virtio-ports/{link}')

    def test_hot_plug(self):
        guest = self.guest
        link = '/dev/virtio-ports/by-usb-id/1209:0001:hot'
        before = guest.links()
        # Only properties that the kernel sent: udevadm monitor of systemd 262 adds
        # properties that the device has when the event is shown.
        guest.sh('printf "#!/bin/sh\\nenv\\necho\\n" >/run/show\n'
                 'chmod +x /run/show\n'
                 'uevent /run/show >/run/monitor 2>/dev/null &\n'
                 'echo $! >/run/monitor.pid')
        guest.wait_until('echo change >/sys/class/mem/null/uevent\n'
                         'grep -q "^ACTION=change" /run/monitor')
        for _ in range(3):
            port = Port('hot', desc='1209:0001', desc_serial='hot')
            guest.plug(port)
            guest.wait_for(link)
            node = self.node('hot')
            self.assertEqual(self.attributes('hot')['serial'], b'hot\n')
            self.exchange('hot', link, 5000)
            expected = self.blob('hot').uevent()
            guest.unplug(port)
            guest.wait_for(link, removed=True)
            guest.wait_for(f'/dev/{node}', removed=True)
            self.assertEqual(guest.links(), before)
        guest.wait_until('[ $(grep -c "^ACTION=remove" /run/monitor) = 3 ]')
        guest.sh('kill $(cat /run/monitor.pid)')

        # The events for udev, each time: the port came, it has a descriptor and a
        # name, it went.
        events = [dict(line.split('=', 1) for line in event.splitlines()
                       if '=' in line)
                  for event in guest.sh('cat /run/monitor').split('\n\n')]
        events = [e for e in events if e.get('DEVNAME') == f'/dev/{node}'
                  or e.get('DEVNAME') == node]
        self.assertEqual([e['ACTION'] for e in events],
                         ['add', 'change', 'change', 'remove'] * 3)
        for i, event in enumerate(events):
            self.assertNotIn('MODALIAS', event)
            self.assertEqual({k: event.get(k) for k in expected},
                             expected if i % 4 else dict.fromkeys(expected))

    def test_unplug_while_open(self):
        guest = self.guest
        port = Port('open', desc='1209:0001', desc_serial='open')
        link = '/dev/virtio-ports/by-usb-id/1209:0001:open'
        guest.plug(port)
        guest.wait_for(link)
        guest.sh(f'rm -f /run/closed; (cat {link} >/dev/null 2>&1; touch /run/closed)'
                 ' >/dev/null 2>&1 &')
        guest.wait_until('pidof cat >/dev/null')
        guest.unplug(port)
        guest.wait_for(link, removed=True)
        guest.wait_until('[ -e /run/closed ]')

    def test_same_identity_twice(self):
        """Two ports that cannot be told apart have one link, as long as one of them is
        there."""
        guest = self.guest
        link = '/dev/virtio-ports/by-usb-id/1209:00ff'
        twins = [Port(f'twin{i}', desc='1209:00ff') for i in range(2)]
        for port in twins:
            guest.plug(port)
            guest.wait_for(f'/dev/virtio-ports/usb:v1209p00FFd0100dc00dsc00dp00'
                           f'icFFisc00ip00in00{"" if port.id == "twin0" else "#1"}')
        self.assertIn(guest.node(link), {self.node(port.id) for port in twins})
        guest.unplug(twins[0])
        guest.wait_until(f'[ "$(readlink -f {link})" = /dev/{self.node("twin1")} ]')
        guest.unplug(twins[1])
        guest.wait_for(link, removed=True)

    def test_rebind(self):
        """The driver goes and comes: the device announces all ports again."""
        guest = self.guest
        before = {id: self.attributes(id) for id in self.DESCRIBED}
        links = guest.links()
        guest.sh('cd /sys/bus/virtio/drivers/virtio_console\n'
                 'echo virtio0 >unbind')
        guest.wait_for('/dev/virtio-ports/by-usb-id/1209:0001:S1', removed=True)
        guest.sh('udevadm settle')
        self.assertEqual(guest.links(), {})
        guest.sh('echo virtio0 >/sys/bus/virtio/drivers/virtio_console/bind')
        for link in links:
            guest.wait_for(f'/dev/virtio-ports/{link}')
        self.assertEqual(guest.links(), links)
        for id in self.DESCRIBED:
            after = self.attributes(id)
            for files in before[id], after:     # the major number is new
                files.pop('dev', None)
                files.pop('uevent', None)
            self.assertEqual(after, before[id])
        self.exchange('s1', '/dev/virtio-ports/by-usb-id/1209:0001:S1', 5000)

    def test_nothing_to_complain_about(self):
        said = self.guest.sh('dmesg')
        for word in ('virtio-ports vport', 'BUG', 'WARNING', 'Call Trace',
                     'Invalid', 'sysfs:'):
            self.assertNotIn(word, said)
        self.assertEqual(self.guest.sh('dmesg | grep virtio_console | '
                                       'grep -v -e "taints kernel" '
                                       '-e "tainting kernel" -e blacklist || :'), '')


class Sleep(GuestTest):
    """A guest that was asleep: its driver has reset the device, and does not send
    DEVICE_READY again."""

    @classmethod
    def make_ports(cls):
        return [Port('s1', desc='1209:0001', desc_serial='S1'),
                Port('acm', desc='1209:000a', desc_class='cdc-acm')]

    port_ids = ['s1', 'acm']

    def test_sleep(self):
        """Suspend and resume, as far as devices notice: the device announces each
        descriptor again, for ports that have one already."""
        guest = self.guest
        before = {id: self.attributes(id) for id in self.port_ids}
        guest.sleep('freeze')
        self.assertEqual({id: self.attributes(id) for id in self.port_ids}, before)
        self.exchange('s1', '/dev/virtio-ports/by-usb-id/1209:0001:S1', 5000)

        late = Port('late', desc='1209:0001', desc_serial='late')
        link = '/dev/virtio-ports/by-usb-id/1209:0001:late'
        guest.plug(late)
        guest.wait_for(link)
        self.exchange('late', link, 5000)
        guest.unplug(late)
        guest.wait_for(link, removed=True)


class SleepToRam(GuestTest):
    """A guest that is suspended to RAM while its host plugs and unplugs."""

    only_on = {'transport': 'pci'}      # microvm has no such sleep

    @classmethod
    def make_ports(cls):
        return [Port('s1', desc='1209:0001', desc_serial='S1'),
                Port('acm', desc='1209:000a', desc_class='cdc-acm')]

    port_ids = ['s1', 'acm']

    def test_another_port_when_it_wakes_up(self):
        """Another product has the same port number: this is another port, and a program
        that has the old port open is told."""
        guest = self.guest
        old = Port('old', desc='1209:0001', desc_serial='old', nr=9)
        new = Port('new', desc='1209:0002', desc_serial='new', nr=9)
        link = {port: f'/dev/virtio-ports/by-usb-id/{port.props["desc"]}:{port.id}'
                for port in (old, new)}
        before = {id: self.attributes(id) for id in self.port_ids}
        guest.plug(old)
        guest.wait_for(link[old])
        guest.sh(f'rm -f /run/closed; (cat {link[old]} >/dev/null 2>&1; '
                 'touch /run/closed) >/dev/null 2>&1 &')
        guest.wait_until('pidof cat >/dev/null')
        with guest.asleep():
            guest.unplug(old)
            guest.plug(new)
        guest.wait_for(link[new])
        guest.wait_for(link[old], removed=True)
        guest.wait_until('[ -e /run/closed ]')
        self.exchange('new', link[new], 5000)
        self.assertIn('vport0p9: USB descriptors have changed', guest.sh('dmesg'))
        # The other ports are unchanged
        self.assertEqual({id: self.attributes(id) for id in self.port_ids}, before)
        self.assertNotIn('vport0p1: USB', guest.sh('dmesg'))
        guest.unplug(new)
        guest.wait_for(link[new], removed=True)


class SecondOpinion(GuestTest):
    """The guest's own USB core and usbutils are shown the same descriptors.

    They see a device of vhci_hcd, which answers with the blob.
    """

    @classmethod
    def make_ports(cls):
        return [
            Port('vendor', desc='1209:0001:0a10', desc_serial='S-1',
                 desc_manufacturer='Example', desc_product='Prüfstand №5'),
            Port('acm', desc='1209:000a', desc_class='cdc-acm',
                 desc_interface='control', desc_serial='\U0001d11e'),
            Port('numbers', desc='f00d:0bad:9876', desc_class='ef:02:01'),
        ]

    DEVICE = '/sys/devices/platform/vhci_hcd.0/usb1/1-1'
    # The files in which the USB core shows the fields: the device's or the interface's
    OF_DEVICE = ('idVendor idProduct bcdDevice bDeviceClass bDeviceSubClass '
                 'bDeviceProtocol bNumConfigurations bNumInterfaces '
                 'manufacturer product serial descriptors').split()

    def plug_usb(self, id):
        """Plug the port's blob into the guest as a USB device."""
        blob = self.blob(id)
        answers = {'1-0': blob.data[:18]}
        for i, config in enumerate(blob.configs):
            answers[f'2-{i}'] = config
        for i, string in blob.strings.items():
            answers[f'3-{i}'] = string
        script = 'mkdir -p /run/blob && rm -f /run/blob/* && cd /run/blob\n'
        for name, data in answers.items():
            script += f'echo {base64.b64encode(data).decode()} | base64 -d >{name}\n'
        self.guest.sh(script + 'modprobe vhci_hcd\n'
                      'blob2usb /run/blob >/run/blob2usb 2>&1 &\n'
                      'echo $! >/run/blob2usb.pid')
        self.guest.sh(f'udevadm wait --timeout={TIMEOUT} --settle '
                      f'{self.DEVICE}/1-1:1.0')
        self.addCleanup(self.unplug_usb)
        return blob

    def unplug_usb(self):
        self.guest.sh('kill $(cat /run/blob2usb.pid)\n'
                      f'udevadm wait --timeout={TIMEOUT} --removed {self.DEVICE}')

    def test_sysfs_is_that_of_a_usb_device(self):
        for id in 'vendor', 'acm', 'numbers':
            with self.subTest(id):
                self.plug_usb(id)
                files = {name: content for name, content in
                         self.attributes(id).items() if name not in PLAIN}
                for name in [*SYSFS, 'descriptors', 'manufacturer', 'product',
                             'serial', 'interface']:
                    where = self.DEVICE if name in self.OF_DEVICE else \
                        f'{self.DEVICE}/1-1:1.0'
                    usb = self.guest.run(f'cat {where}/{name}', check=False)
                    self.assertEqual(files.get(name),
                                     None if usb.status else usb.stdout, name)
                self.doCleanups()

    def test_uevent_is_that_of_a_usb_device(self):
        self.plug_usb('acm')
        usb = self.guest.sh(f'cat {self.DEVICE}/1-1:1.0/uevent').splitlines()
        port = self.guest.sh(f'cat /sys/class/virtio-ports/{self.node("acm")}'
                             '/uevent').splitlines()
        for name in 'PRODUCT=', 'TYPE=', 'INTERFACE=':
            self.assertEqual([line for line in port if line.startswith(name)],
                             [line for line in usb if line.startswith(name)])

    def test_usbutils(self):
        """lsusb reads the same values from the same bytes."""
        for id in 'vendor', 'acm', 'numbers':
            with self.subTest(id):
                blob = self.plug_usb(id)
                shown = self.guest.run(
                    'lsusb -v -s $(printf %03d:%03d $(cat '
                    f'{self.DEVICE}/busnum) $(cat {self.DEVICE}/devnum)) 2>/dev/null')
                self.assertEqual(self.lsusb(shown.stdout.decode()),
                                 self.expected(blob))
                self.doCleanups()

    NUMBERS = ('idVendor idProduct bNumConfigurations bDeviceClass '
               'bDeviceSubClass bDeviceProtocol bNumInterfaces '
               'bConfigurationValue bInterfaceNumber bNumEndpoints '
               'bInterfaceClass bInterfaceSubClass bInterfaceProtocol').split()

    def lsusb(self, text):
        """[(field, number)] and [(field, string)], in the order of lsusb -v"""
        values = []
        for line in text.splitlines():
            words = line.split(None, 2)
            if len(words) < 2:
                continue
            if words[0] in self.NUMBERS:
                values.append((words[0], int(words[1], 0)))
            elif words[0] in ('iManufacturer', 'iProduct', 'iSerial', 'iInterface'):
                values.append((words[0], words[2].strip() if len(words) > 2 else None))
            elif words[0] == 'bcdDevice':
                major, minor = words[1].split('.')
                values.append((words[0], int(major, 16) << 8 | int(minor, 16)))
        return sorted(values, key=str)

    def expected(self, blob):
        values = []
        for d in split(blob.descriptors):
            layout = {1: DEVICE, 2: CONFIG, 4: INTERFACE}.get(d[1])
            for name, value in fields(layout, d).items() if layout else ():
                if name in self.NUMBERS or name == 'bcdDevice':
                    values.append((name, value))
                elif name in ('iManufacturer', 'iProduct', 'iSerialNumber',
                              'iInterface'):
                    name = 'iSerial' if name == 'iSerialNumber' else name
                    values.append((name, blob.string(value)))
        return sorted(values, key=str)

    def test_acm_driver_takes_it(self):
        """The descriptors of cdc-acm are those that the guest's ACM driver needs."""
        self.plug_usb('acm')
        self.guest.sh(f'udevadm wait --timeout={TIMEOUT} --settle /dev/ttyACM0')
        for interface in 0, 1:
            self.assertEqual(self.guest.sh(
                f'basename $(readlink {self.DEVICE}/1-1:1.{interface}/driver)'),
                'cdc_acm\n')


class HostileStrings(GuestTest):
    """Strings of the host change nothing but the names of the port's links."""

    @classmethod
    def make_ports(cls):
        return [Port('victim', desc='1209:0001', desc_serial='S1'),
                *(Port(f'h{i}', desc=f'1209:{i + 256:04x}', desc_serial=s,
                       desc_manufacturer=s, desc_product=f'{s}{i}',
                       desc_interface=s)
                  for i, s in enumerate(HOSTILE_STRINGS))]

    options = {'controller': {'max_ports': 100}}

    def test_attributes_are_what_the_host_said(self):
        for i, string in enumerate(HOSTILE_STRINGS):
            with self.subTest(string):
                files = self.attributes(f'h{i}')
                for name in 'manufacturer', 'serial', 'interface':
                    self.assertEqual(files[name], string.encode() + b'\n')
                self.assertEqual(files['product'], f'{string}{i}\n'.encode())

    def test_links(self):
        links = self.guest.links()
        for i, string in enumerate(HOSTILE_STRINGS):
            with self.subTest(string):
                node = self.node(f'h{i}')
                self.assertEqual({link for link, to in links.items() if
                                  to == node and link.startswith('by-')},
                                 usb_id_links(f'1209:{i + 256:04x}', string,
                                              f'{string}{i}', string))

    def test_nothing_elsewhere(self):
        ports = {'victim', *(f'h{i}' for i in range(len(HOSTILE_STRINGS)))}
        # Each port: by-usb-id, by-id, and the derived name
        self.assertEqual(len(self.guest.links()), 3 * len(ports))
        self.assertEqual(self.guest.node(
            '/dev/virtio-ports/by-usb-id/1209:0001:S1'), self.node('victim'))
        self.check_nothing_elsewhere()

    def test_longest_link(self):
        """With the longest strings, and usb_id's limits, a link can still be made."""
        port = Port('long', desc='1209:0fff', desc_serial='s' * 126,
                    desc_manufacturer='é' * 126, desc_product='€' * 126)
        link = f'by-id/{"é" * 31}__{"€" * 21}_{"s" * 126}'
        self.guest.plug(port)
        self.guest.wait_for(f'/dev/virtio-ports/{link}')
        self.assertEqual(usb_id_links('1209:0fff', 'é' * 126, '€' * 126,
                                      's' * 126) - self.links_of('long'), set())
        self.guest.unplug(port)


class BlobsFromFiles(GuestTest):
    """Blobs that properties cannot build: blobs of real devices, and long blobs. The
    longest possible blob needs 17 buffers of the control queue."""

    SIZES = [4080, 4081, 8160, 8161, 20000, 65535]
    fixtures = {}

    @classmethod
    def make_ports(cls):
        folder = tempfile.TemporaryDirectory(prefix='guest-blobs-')
        cls.addClassCleanup(folder.cleanup)
        ports = []
        for size in cls.SIZES:
            path = os.path.join(folder.name, str(size))
            with open(path, 'wb') as f:
                f.write(big_blob(size))
            ports.append(Port(f'b{size}', desc_file=path))
        for path in sorted((TOP / 'tests/unit/fixtures').glob('*.bin')):
            cls.fixtures[path.stem] = path.read_bytes()
            ports.append(Port(path.stem, desc_file=str(path)))
        return ports

    def test_all_sizes(self):
        for size in self.SIZES:
            with self.subTest(size):
                blob = self.blob(f'b{size}')
                self.assertEqual(len(blob.data), size)
                files = self.attributes(f'b{size}')
                self.assertEqual({name: content for name, content in
                                  files.items() if name not in PLAIN},
                                 blob.sysfs())
                self.assertIn(f'by-usb-id/1209:{size:04x}:B',
                              self.links_of(f'b{size}'))

    def test_devices_of_others(self):
        self.assertTrue(self.fixtures)
        for name, data in self.fixtures.items():
            with self.subTest(name):
                files = self.attributes(name)
                self.assertEqual({name: content for name, content in
                                  files.items() if name not in PLAIN},
                                 Blob(data).sysfs())

    def test_bytes(self):
        self.exchange('b65535', '/dev/virtio-ports/by-usb-id/1209:ffff:B')
