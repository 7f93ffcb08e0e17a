# Which file of guest/tools includes which, against the table in its README.md
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture of includes has no circle and no arrow back up.

A module is a name: its header, its C file or both. Run as a program, this prints
the picture.
"""

import pathlib
import re
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / 'guest/tools'
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
# What the tools take from elsewhere: the codec
CODEC = re.compile(r'hw/virtio/virtio-serial-desc(-\w+)?\.h')


def read_rows(text):
    """The rows of the table, the lowest first: a list of names each"""
    rows = [line.split('|')[2].split()
            for line in text.splitlines() if line.startswith('| ')]
    return rows[:0:-1]


def read_files(directory=TOOLS):
    """Which headers each file includes, by its name with .c or .h"""
    return {path.name: INCLUDE.findall(path.read_text())
            for path in sorted(directory.iterdir()) if path.suffix in ('.c', '.h')}


def faults(rows, files):
    """What is wrong, a line each. Arrows that only go down make no circle."""
    found = []
    height = {name: i for i, row in enumerate(rows) for name in row}
    names = [name for row in rows for name in row]
    found += [f'{name} stands twice in the table'
              for name in sorted(set(names)) if names.count(name) > 1]
    there = {file.rpartition('.')[0] for file in files}
    found += [f'{name} is not in the table' for name in sorted(there - set(names))]
    found += [f'{name} is in the table and not there'
              for name in sorted(set(names) - there)]
    for file, headers in files.items():
        module = file.rpartition('.')[0]
        for header in headers:
            other = header.removesuffix('.h')
            if CODEC.fullmatch(header) or (other == module and file != header):
                continue
            if header not in files:
                found.append(f'{file} includes {header}, no header of the tools')
            elif height.get(other, 0) >= height.get(module, 0):
                found.append(f'{file} includes {header}, which is not below it')
        if file.endswith('.c') and file != 'text.c' and headers[:1] != ['util.h']:
            found.append(f'{file} does not begin with util.h')
    return found


def picture(rows, files):
    """Who includes whom, the highest row first"""
    lines = []
    for row in reversed(rows):
        for module in row:
            below = {header.removesuffix('.h') for file in (f'{module}.h', f'{module}.c')
                     for header in files.get(file, ()) if header in files}
            lines.append(f'{module:12} -> ' + ' '.join(
                name for row in reversed(rows) for name in row
                if name in below - {module, 'util'}))
        lines.append('')
    return '\n'.join(line.rstrip(' ->') for line in lines).rstrip()


class Layers(unittest.TestCase):
    def __str__(self):
        return f'{type(self).__name__}.{self._testMethodName}'

    def setUp(self):
        self.rows = read_rows((TOOLS / 'README.md').read_text())
        self.files = read_files()

    def test_includes(self):
        self.assertGreater(len(self.rows), 3)
        self.assertGreater(len(self.files), 20)
        self.assertEqual(faults(self.rows, self.files), [],
                         '\n' + picture(self.rows, self.files))

    def test_faults_are_found(self):
        rows = [['text'], ['util'], ['a', 'b'], ['c']]
        good = {'text.h': [], 'text.c': ['text.h'], 'util.h': [],
                'util.c': ['util.h', 'text.h'], 'a.h': ['text.h'],
                'a.c': ['util.h', 'a.h', 'hw/virtio/virtio-serial-desc.h'],
                'b.h': [], 'c.c': ['util.h', 'a.h', 'b.h']}
        self.assertEqual(faults(rows, good), [])
        for change, fault in [
                ({'a.c': ['util.h', 'c.h'], 'c.h': []},
                 'a.c includes c.h, which is not below it'),
                ({'a.c': ['util.h', 'b.h']},
                 'a.c includes b.h, which is not below it'),
                ({'a.h': ['a.h']}, 'a.h includes a.h, which is not below it'),
                ({'text.c': ['util.h', 'text.h']},
                 'text.c includes util.h, which is not below it'),
                ({'a.c': ['util.h', 'qemu/osdep.h']},
                 'a.c includes qemu/osdep.h, no header of the tools'),
                ({'a.c': ['a.h', 'util.h']}, 'a.c does not begin with util.h'),
                ({'d.h': []}, 'd is not in the table')]:
            self.assertEqual(faults(rows, good | change), [fault])
        self.assertEqual(faults(rows + [['a', 'e']], good)[:2],
                         ['a stands twice in the table',
                          'e is in the table and not there'])


if __name__ == '__main__':
    print(picture(read_rows((TOOLS / 'README.md').read_text()), read_files()))
