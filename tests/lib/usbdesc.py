# Descriptors taken apart by the tables of USB 2.0, chapter 9
#
# This is what tests compare the project's code with, so it shares none of it.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import struct

# Tables 9-8, 9-10, 9-12: fields from offset 2
DEVICE = ('<HBBBBHHHBBBB', 'bcdUSB bDeviceClass bDeviceSubClass '
          'bDeviceProtocol bMaxPacketSize0 idVendor idProduct bcdDevice '
          'iManufacturer iProduct iSerialNumber bNumConfigurations')
CONFIG = ('<HBBBBB', 'wTotalLength bNumInterfaces bConfigurationValue '
          'iConfiguration bmAttributes bMaxPower')
INTERFACE = ('<BBBBBBB', 'bInterfaceNumber bAlternateSetting bNumEndpoints '
             'bInterfaceClass bInterfaceSubClass bInterfaceProtocol iInterface')

# Formats of a USB device's and interface's files in Linux's sysfs
SYSFS = {
    'idVendor': '%04x', 'idProduct': '%04x', 'bcdDevice': '%04x',
    'bDeviceClass': '%02x', 'bDeviceSubClass': '%02x',
    'bDeviceProtocol': '%02x', 'bNumConfigurations': '%d',
    'bNumInterfaces': '%2d',
    'bInterfaceNumber': '%02x', 'bAlternateSetting': '%2d',
    'bNumEndpoints': '%02x', 'bInterfaceClass': '%02x',
    'bInterfaceSubClass': '%02x', 'bInterfaceProtocol': '%02x',
}


def fields(layout, descriptor):
    form, names = layout
    return dict(zip(names.split(), struct.unpack_from(form, descriptor, 2)))


def split(data):
    """The descriptors in it, one after the other."""
    while data:
        yield data[:data[0]]
        data = data[data[0]:]


class Blob:
    """A well-formed blob, as the specification has it."""

    def __init__(self, data):
        self.data = data
        self.device = fields(DEVICE, data)
        at = data[0]
        self.configs = []
        used = {data[14], data[15], data[16]}
        for _ in range(self.device['bNumConfigurations']):
            total = fields(CONFIG, data[at:])['wTotalLength']
            config = data[at:at + total]
            self.configs.append(config)
            used |= self._used(config)
            at += total
        self.descriptors = data[:at]

        rest = list(split(data[at:]))
        indices = sorted(used | {0}) if rest else []
        assert len(rest) == len(indices), (rest, indices)
        self.strings = dict(zip(indices, rest))

        self.config = fields(CONFIG, self.configs[0])
        self.interface = next(fields(INTERFACE, d)
                              for d in split(self.configs[0]) if d[1] == 4)

    @staticmethod
    def _used(config):
        used, interface_class = set(), None
        for d in split(config):
            if d[1] == 2:
                used.add(d[6])
            elif d[1] == 4:
                used.add(d[8])
                interface_class = d[5]
            elif d[1] == 11:
                used.add(d[7])
            elif d[1] == 0x24 and interface_class == 2 and d[2] in (7, 15) \
                    and len(d) > 3:
                used.add(d[3])
        return used

    def string(self, index):
        """A string by its index, None if it is not there or empty."""
        if not index or len(self.strings[index]) == 2:
            return None
        return self.strings[index][2:].decode('utf-16-le')

    @property
    def modalias(self):
        values = {**self.device, **self.interface}
        return ('usb:v{idVendor:04X}p{idProduct:04X}d{bcdDevice:04X}'
                'dc{bDeviceClass:02X}dsc{bDeviceSubClass:02X}'
                'dp{bDeviceProtocol:02X}ic{bInterfaceClass:02X}'
                'isc{bInterfaceSubClass:02X}ip{bInterfaceProtocol:02X}'
                'in{bInterfaceNumber:02X}').format(**values)

    def sysfs(self):
        """{name of an attribute: what its file has to hold}"""
        values = {**self.device, **self.config, **self.interface}
        files = {name: (form % values[name] + '\n').encode()
                 for name, form in SYSFS.items()}
        for name, index in (('manufacturer', 'iManufacturer'),
                            ('product', 'iProduct'),
                            ('serial', 'iSerialNumber'),
                            ('interface', 'iInterface')):
            string = self.string(values[index])
            if string:
                files[name] = string.encode() + b'\n'
        files['descriptors'] = self.descriptors
        return files

    def uevent(self):
        """The variables of its uevents"""
        d, i = self.device, self.interface
        return {
            'PRODUCT': '%x/%x/%x' % (d['idVendor'], d['idProduct'],
                                     d['bcdDevice']),
            'TYPE': '%d/%d/%d' % (d['bDeviceClass'], d['bDeviceSubClass'],
                                  d['bDeviceProtocol']),
            'INTERFACE': '%d/%d/%d' % (i['bInterfaceClass'],
                                       i['bInterfaceSubClass'],
                                       i['bInterfaceProtocol']),
        }
