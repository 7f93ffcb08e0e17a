# The driver's checks, outside a kernel
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from guestlib import TOP, make_image
from guesttest import GuestTest

# The functions of the driver that driver-check.c uses, in this order
PARTS = [r'#define PORT_DESC_MAX .*\n', r'struct port_desc \{\n(?s:.*?)\n\};\n',
         r'#define PORT_DESC_STRING_SIZE .*\n',
         *(rf'static [^;{{}}]*\b{name}\([^;{{}}]*\)\n\{{\n(?s:.*?)\n\}}\n'
           for name in ('port_desc_at', 'port_desc_check_config',
                        'port_desc_check', 'port_desc_string',
                        'port_desc_decode', 'port_desc_refuse',
                        'port_desc_missed', 'port_desc_announce',
                        'port_desc_done', 'port_desc_same',
                        'port_desc_fragment'))]


class DriverCheck(unittest.TestCase):
    """See driver-check.c."""

    def __str__(self):
        return f'{type(self).__name__}.{self._testMethodName}'

    def test_against_the_codec(self):
        blobs = sorted((TOP / 'tests/unit/fixtures').glob('*.bin'))
        self.assertTrue(blobs)
        driver = (make_image('image', GuestTest.kernel) / 'module/tree/drivers/char/'
                  'virtio_console.c').read_text()
        with tempfile.TemporaryDirectory(prefix='driver-check-') as folder:
            with open(os.path.join(folder, 'driver-functions.h'), 'w') as f:
                for part in PARTS:
                    found = re.search(part, driver)
                    self.assertTrue(found, f'the driver has no {part}')
                    f.write(found[0] + '\n')
            program = pathlib.Path(folder) / 'driver-check'
            glib = subprocess.run(['pkg-config', '--cflags', '--libs', 'glib-2.0'],
                                  stdout=subprocess.PIPE, text=True, check=True)
            sources = [TOP / 'tests/guest/driver-check.c',
                       *[TOP / f'hw/char/virtio-serial-desc-{part}.c'
                         for part in ('build', 'codec', 'name')]]
            self.run_or_fail(['gcc', '-O1', '-g', '-Wall', '-Wno-unused-function',
                              '-fsanitize=address,undefined',
                              '-fno-sanitize-recover=all',
                              f'-I{folder}', f'-I{TOP}/include',
                              f'-I{TOP}/include/standalone',
                              '-D_GNU_SOURCE', '-include', 'glib.h',
                              *sources, '-o', program, *glib.stdout.split()])
            said = self.run_or_fail([program, *blobs])
        self.assertRegex(said, rf'^{len(blobs)} blobs, [1-9]\d+ refusals\n$')

    def run_or_fail(self, command):
        done = subprocess.run(command, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            self.fail(f'{command[0]}: {done.stdout[-4000:]}')
        return done.stdout
