# What the tests of the guest's tools have in common
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the guest's tools in directories that stand for a guest's.

They are built a second time with the paths of these (see the meson.build at the
root). FIFOs and pseudo-terminals stand for the ports' nodes.
"""

import contextlib
import os
import pathlib
import shutil
import struct
import subprocess
import unittest

from usbdesc import Blob

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / 'build/tools-test'
FIXTURES = TOP / 'tests/unit/fixtures'
TIMEOUT = 20

# As another user, who may go through every directory: this clone may be where
# nobody else may look.
AS_NOBODY = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups',
             '--inh-caps=-all,+dac_read_search',
             '--ambient-caps=-all,+dac_read_search',
             '--bounding-set=-all,+dac_read_search']

# Codes of util.h
FAILED, USAGE, NO_PORT, AMBIGUOUS, UNPLUGGED = range(1, 6)


def string_descriptor(text):
    """`text` is a str, or UTF-16 as bytes."""
    if isinstance(text, str):
        text = text.encode('utf-16-le', 'surrogatepass')
    return struct.pack('BB', 2 + len(text), 3) + text


def make_blob(vendor=0x1209, product=1, manufacturer=None, name=None,
              serial=None, interface=None, interfaces=((0xff, 0, 0),),
              extra=b'', device=0x0100):
    """A blob. `interfaces` are (class, subclass, protocol); `extra` goes behind
    the first one's interface descriptor."""
    strings = [string_descriptor('\u0409')]

    def index(text):
        if text is None:
            return 0
        strings.append(string_descriptor(text))
        return len(strings) - 1

    head = struct.pack('<BBHBBBBHHHBBBB', 18, 1, 0x200, 0, 0, 0, 64, vendor,
                       product, device, index(manufacturer), index(name),
                       index(serial), 1)
    config = b''
    for number, triple in enumerate(interfaces):
        config += struct.pack('9B', 9, 4, number, 0, 2, *triple,
                              index(interface) if number == 0 else 0)
        config += extra if number == 0 else b''
        config += struct.pack('<BBBBHBBBBBHB', 7, 5, 0x81, 2, 512, 0,
                              7, 5, 0x01, 2, 512, 0)
    config = struct.pack('<BBHBBBBB', 9, 2, 9 + len(config), len(interfaces),
                         1, 0, 0xc0, 0) + config
    return head + config + (b''.join(strings) if len(strings) > 1 else b'')


class ToolsTest(unittest.TestCase):
    """Tests of vser. Each begins with an empty tree."""

    build = BUILD
    tree = BUILD / 'tools-tree'
    sys, dev, store = tree / 'sys', tree / 'dev', tree / 'run'

    def __str__(self):
        return f'{type(self).__name__}.{self._testMethodName}'

    def setUp(self):
        shutil.rmtree(self.tree, ignore_errors=True)
        for directory in self.sys, self.dev, self.store:
            directory.mkdir(parents=True)

    def port(self, port, store=None, driver=None, name=None):
        """A port in sysfs, with a blob in the store, and one from the driver,
        of which `driver` is the blob or the files."""
        directory = self.sys / port
        directory.mkdir(exist_ok=True)
        (directory / 'uevent').touch()
        if name is not None:
            (directory / 'name').write_bytes(name + b'\n')
        if isinstance(driver, bytes):
            driver = Blob(driver).sysfs()
        for file, content in (driver or {}).items():
            (directory / file).write_bytes(content)
        if store is not None:
            # As the daemon does it
            (self.store / '.new').write_bytes(store)
            (self.store / '.new').rename(self.entry(port))

    def entry(self, port):
        """The file in the store for the port that is there, or is to come."""
        directory = self.sys / port
        inode = directory.stat().st_ino if directory.exists() else 0
        return self.store / f'{port}.{inode}'

    def replace(self, port):
        """Have another port with that name."""
        (self.sys / port).rename(self.sys / 'gone')
        self.port(port)
        shutil.rmtree(self.sys / 'gone')

    def start(self, *args, argv0=None, before=(), **more):
        """Start vser with a pipe at each of its three ends; through another
        program, if that is what stands `before` it."""
        vser = self.build / 'vser-in-tree'
        words = [*before, vser] if before else [argv0 or 'vser']
        process = subprocess.Popen(
            [*words, *args], executable=None if before else vser,
            **{'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE,
               'stderr': subprocess.PIPE, **more})
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        for pipe in process.stdin, process.stdout, process.stderr:
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def vser(self, *args, status=0, stderr='', argv0=None):
        """Run vser to its end; what it printed. `stderr` is part of what it
        has to say there, and empty means nothing."""
        process = self.start(*args, argv0=argv0, stdin=subprocess.DEVNULL)
        out, err = (text.decode(errors='surrogateescape')
                    for text in process.communicate(timeout=TIMEOUT))
        self.assertEqual((process.returncode, err and err), (
            status, err if stderr and stderr in err else stderr), out)
        return out

    def run_program(self, name):
        """A test in C, each of its cases in a process of its own."""
        program = [str(BUILD / name), '--tap']
        env = {**os.environ, 'G_TEST_SRCDIR': str(TOP / 'tests/unit')}
        cases = subprocess.run([program[0], '-l'], stdout=subprocess.PIPE,
                               text=True, env=env, check=True).stdout.split()
        self.assertTrue(cases)
        for case in cases:
            with self.subTest(case):
                done = subprocess.run(
                    [*program, '-p', case], env=env, text=True, timeout=TIMEOUT,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                self.assertEqual(done.returncode, 0, done.stdout)
