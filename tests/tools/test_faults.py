# vser daemon, killed at every system call: strace injects the signal
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import unittest

from test_daemon import BLOBS, END, NAME, desc, gone
from toolstest import TIMEOUT, TOP, ToolsTest
from waiting import until

# A program of its own for each system call: a sanitizer makes its own calls, and does
# not like to be traced
BUILD = TOP / 'build/tools-test-static'

IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE = 2, 0x40, 0x80, 0x200


class Udev:
    """What udev believes of each port, by the events that the daemon causes: udev
    looks at the store each time that the daemon writes a port's `uevent`."""

    def __init__(self, store, sys, ports):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK)
        self.watched = {self.watch(store, IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE): None}
        for port in ports:
            self.watched[self.watch(sys / port / 'uevent', IN_MODIFY)] = port
        self.entry, self.view = {}, dict.fromkeys(ports)
        self.changes = 0

    def watch(self, path, mask):
        return self.libc.inotify_add_watch(self.fd, bytes(path), mask)

    def look(self):
        """Follow what has happened; {port: which entry it has for udev}, and the
        same as it is in the store"""
        with contextlib.suppress(BlockingIOError):
            while True:
                data = os.read(self.fd, 65536)
                while data:
                    watch, mask, _, length = struct.unpack_from('iIII', data)
                    name = data[16:16 + length].rstrip(b'\0').decode()
                    data = data[16 + length:]
                    self.event(self.watched[watch], mask, name)
        return self.view, {port: self.entry.get(port) for port in self.view}

    def event(self, port, mask, name):
        if port:
            self.view[port] = self.entry.get(port)
        elif re.fullmatch(r'vport\d+p\d+\.[1-9]\d*', name):
            self.changes += 1
            self.entry[name.partition('.')[0]] = \
                self.changes if mask & IN_MOVED_TO else None

    def close(self):
        os.close(self.fd)


class KilledDaemon(ToolsTest):
    build = BUILD
    tree = BUILD / 'tools-tree'
    sys, dev, store = tree / 'sys', tree / 'dev', tree / 'run'
    ports = ['vport1p5', 'vport1p6', 'vport1p7']

    BEFORE = {'vport1p5': BLOBS[5], 'vport1p6': BLOBS[6]}
    AFTER = {'vport1p5': BLOBS[8], 'vport1p7': BLOBS[7]}

    @unittest.skipUnless(shutil.which('strace'), 'there is no strace')
    def setUp(self):
        super().setUp()

    def fresh(self):
        """An empty store, and ports of which udev knows nothing."""
        super().setUp()
        self.port('vport1p1', name=NAME)
        for port in self.ports:
            self.port(port)
        self.udev = Udev(self.store, self.sys, self.ports)

    def host(self, records):
        """A new connection of the device with the guest: the guest finds these
        records, and no older ones."""
        feed = self.dev / 'vport1p1'
        feed.unlink(missing_ok=True)
        os.mkfifo(feed)
        fd = os.open(feed, os.O_RDWR)
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 16)
        os.write(fd, records)
        return fd

    def stored(self):
        """The entries in the store of ports that are there; a file that is being
        written has a name that no reader takes."""
        found = {}
        for path in self.store.iterdir():
            if path.name[0] != '.':
                with contextlib.suppress(FileNotFoundError):
                    found[path.name] = path.read_bytes()
        return {name.split('.')[0] if self.entry(name.split('.')[0]).name == name
                else name: blob for name, blob in found.items()}

    def end_traced(self, process):
        """strace ends with the daemon, and not the daemon with strace."""
        for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
            with contextlib.suppress(OSError):
                # "PID (NAME) STATE PARENT ..."
                parent = path.read_text().rpartition(') ')[2].split()[1]
                if int(parent) == process.pid:
                    os.kill(int(path.parent.name), signal.SIGKILL)
        self.end(process)

    def run_once(self, *trace):
        """Start the daemon under strace; a snapshot, then a port changes, one goes and
        one comes. Returns whether the daemon has lived through all of that."""
        feed = self.host(desc(5, BLOBS[5]) + desc(6, BLOBS[6]) + END)
        process = self.start('daemon', before=['strace', '-qq', *trace],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for expected, records in ((self.BEFORE, None),
                                      (self.AFTER, desc(5, BLOBS[8]) + gone(6) +
                                       desc(7, BLOBS[7]))):
                if records:
                    os.write(feed, records)
                until(lambda: process.poll() is not None or
                      (self.stored() == expected and self.told()), 'the store')
            alive = process.poll() is None
        finally:
            self.end_traced(process)
            os.close(feed)
        return alive

    def told(self):
        """Does udev know what is in the store? `.changing` has gone then, too."""
        view, store = self.udev.look()
        return view == store and not (self.store / '.changing').exists()

    def check_again(self, what):
        """Another daemon makes everything true again."""
        whole = {*self.BEFORE.values(), *self.AFTER.values()}
        for name, blob in self.stored().items():
            self.assertIn(blob, whole, f'{name} after {what}')
        feed = self.host(desc(5, BLOBS[8]) + desc(7, BLOBS[7]) + END)
        process = self.start('daemon', stdout=subprocess.DEVNULL)
        try:
            until(lambda: self.stored() == self.AFTER and self.told(),
                  f'the truth after {what}: {sorted(self.stored())}, '
                  f'{self.udev.look()}')
            self.assertIsNone(process.poll())
            names = self.vser('list')
            self.assertEqual(re.findall(r'(?m)^vport1p\d+', names),
                             ['vport1p5', 'vport1p7'])
        finally:
            self.end(process)
            os.close(feed)

    def test_killed_at_every_system_call(self):
        """Nothing is corrupt, and nothing stays wrong."""
        self.fresh()
        log = self.tree / 'strace'
        self.assertTrue(self.run_once('-o', str(log)))
        calls = re.findall(r'(?m)^(\w+)\(', log.read_text())
        # The first call is before the program
        points = [(call, calls[:i + 1].count(call)) for i, call in enumerate(calls)][1:]
        self.assertGreater(len(points), 50)
        killed = 0
        for call, number in points:
            self.udev.close()
            self.fresh()
            what = f'a kill at {call} number {number}'
            alive = self.run_once('-o', '/dev/null', '-e', f'trace={call}', '-e',
                                  f'inject={call}:signal=KILL:when={number}')
            killed += not alive
            self.check_again(what)
        self.udev.close()
        # The last calls may come at another place each time
        self.assertGreater(killed, len(points) * 3 // 4)

    def test_a_full_disk(self):
        """Every write to the store fails: one message, and the ports are tried again."""
        self.fresh()
        self.addCleanup(lambda: self.udev.close())
        feed = self.host(desc(5, BLOBS[5]) + END)
        traced = ['strace', '-qq', '-o', '/dev/null', '-P', str(self.store / '.vport1p5.new'),
                  '-e', 'trace=write', '-e', 'inject=write:error=ENOSPC:when=1..2']
        with open(self.tree / 'log', 'wb') as err:
            process = self.start('daemon', before=traced, stderr=err)
        try:
            until(lambda: b'No space left' in (self.tree / 'log').read_bytes(),
                  'a message')
            self.assertEqual(list(self.store.glob('.vport*')), [])
            # The daemon asks for a new snapshot: a device would send it
            until(lambda: self.ask(feed), 'an entry')
            until(self.told, 'udev knows')
        finally:
            self.end_traced(process)
            os.close(feed)
        self.assertEqual((self.tree / 'log').read_text().count('No space left'), 2)

    def ask(self, feed):
        os.write(feed, desc(5, BLOBS[5]) + END)
        with contextlib.suppress(AssertionError):
            until(lambda: self.stored() == {'vport1p5': BLOBS[5]}, 'an entry', TIMEOUT / 40)
        return self.stored() == {'vport1p5': BLOBS[5]}
