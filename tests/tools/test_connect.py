# vser connect. A pseudo-terminal stands for the port: what is the kernel's, as
# unplugging, is tested in guests.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import os
import pathlib
import resource
import subprocess
import tempfile
import threading
import tty

from toolstest import (AMBIGUOUS, FAILED, NO_PORT, TIMEOUT, USAGE, ToolsTest,
                       make_blob, until)


class Connect(ToolsTest):
    def terminal(self, port, **fields):
        """A port, and its node; the host's side of it."""
        host, guest = os.openpty()
        tty.setraw(guest)
        (self.dev / port).symlink_to(os.ttyname(guest))
        # Without one who has it open, the host would read errors
        self.addCleanup(os.close, guest)
        self.addCleanup(self.hang_up, host)
        self.port(port, make_blob(**fields))
        return host

    @staticmethod
    def hang_up(host):
        try:
            os.close(host)
        except OSError:
            pass        # the test has

    def finish(self, process, status=0):
        """Wait for its end; what else it printed on stdout and stderr."""
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, status, err)
        return out, err.decode()

    @staticmethod
    def receive(fd, length):
        data = b''
        while len(data) < length:
            data += os.read(fd, length - len(data))
        return data

    def test_both_ways(self):
        host = self.terminal('vport1p5', serial='A1')
        process = self.start('connect', '1209:0001:A1')
        process.stdin.write(b'to the host')
        process.stdin.flush()
        self.assertEqual(self.receive(host, 11), b'to the host')
        os.write(host, b'to the guest')
        self.assertEqual(process.stdout.read1(100), b'to the guest')
        os.write(host, b'last words')
        self.assertEqual(process.stdout.read1(100), b'last words')
        os.close(host)
        self.assertEqual(self.finish(process), (b'', ''))

    def test_much_both_ways_at_once(self):
        """More than any buffer holds, to a reader that begins late."""
        host = self.terminal('vport1p5')
        data, back = os.urandom(1 << 20), os.urandom(1 << 20)
        process = self.start('connect', '1209:')
        got = []

        def to_port():
            process.stdin.write(data)
            process.stdin.flush()

        def to_guest():
            for at in range(0, len(back), 4096):
                os.write(host, back[at:at + 4096])

        def from_guest():
            got.append(self.receive(host, len(data)))

        threads = [threading.Thread(target=f, daemon=True)
                   for f in (to_port, to_guest, from_guest)]
        for thread in threads:
            thread.start()
        threads[2].join(TIMEOUT)
        self.assertTrue(got == [data])
        self.assertTrue(self.receive(process.stdout.fileno(), len(back)) ==
                        back)
        threads[1].join(TIMEOUT)
        os.close(host)
        self.assertEqual(self.finish(process), (b'', ''))

    def test_stdin_ends(self):
        host = self.terminal('vport1p5')
        process = self.start('connect', '1209:')
        process.stdin.write(b'question')
        process.stdin.close()
        self.assertEqual(self.receive(host, 8), b'question')
        os.write(host, b'answer')
        self.assertEqual(process.stdout.read1(100), b'answer')
        os.close(host)
        process.stdin = None
        self.assertEqual(self.finish(process), (b'', ''))

    def test_quit(self):
        host = self.terminal('vport1p5')
        for option in '-q', '--quit':
            process = self.start('connect', option, '1209:')
            process.stdin.write(b'x' * 1000)
            self.assertEqual(self.finish(process), (b'', ''))
            self.assertEqual(self.receive(host, 1000), b'x' * 1000)

    def test_stdout_to_a_file(self):
        host = self.terminal('vport1p5')
        with tempfile.TemporaryFile() as file:
            process = self.start('connect', '1209:', stdout=file)
            os.write(host, b'some bytes')
            until(lambda: os.fstat(file.fileno()).st_size == 10, 'the bytes')
            os.close(host)
            self.finish(process)

    def test_stdout_fails(self):
        host = self.terminal('vport1p5')
        with open('/dev/full', 'wb') as full:
            process = self.start('connect', '1209:', stdout=full)
            os.write(host, b'some bytes')
            self.assertIn('stdout: No space left',
                          self.finish(process, FAILED)[1])

    def test_exec(self):
        host = self.terminal('vport1p5', serial='A1')
        process = self.start(
            'connect', '1209:0001:A1', '--exec', 'sh', '-c',
            'read line; echo "$line $VSER_PORT $(ls /proc/self/fd | wc -l)"\n'
            'echo error >&2; readlink /proc/$$/fd/0 /proc/$$/fd/1; exit 7',
            'sh', '-q', '--wait')
        node = os.readlink(self.dev / 'vport1p5')
        expected = (f'hello {self.dev}/vport1p5 4\n{node}\n{node}\n').encode()
        os.write(host, b'hello\n')
        self.assertEqual(self.receive(host, len(expected)), expected)
        self.assertEqual(self.finish(process, 7), (b'', 'error\n'))

    def test_exec_gets_a_blocking_port(self):
        host = self.terminal('vport1p5')
        process = self.start('connect', '1209:', '-e', 'sh', '-c',
                             'grep flags /proc/$$/fdinfo/0')
        flags = int(self.receive(host, 15).split()[1], 8)
        self.assertFalse(flags & os.O_NONBLOCK)
        self.finish(process)

    def test_exec_fails(self):
        self.terminal('vport1p5')
        self.vser('connect', '1209:', '--exec', '/no/such', status=127,
                  stderr='vser: /no/such: No such file')
        self.vser('connect', '1209:', '--exec', '/etc/passwd', status=126,
                  stderr='vser: /etc/passwd: Permission denied')

    def test_no_port(self):
        self.port('vport1p5', make_blob(product=2))
        self.vser('connect', '1209:0001', status=NO_PORT,
                  stderr="vser: no port is '1209:0001'")
        self.vser('connect', '1209:0002', status=FAILED,
                  stderr='vport1p5: No such file or directory')

    def test_two_ports(self):
        for port, serial in (('vport1p5', 'A1'), ('vport1p6', None),
                             ('vport2p1', 'x\x1b')):
            self.terminal(port, serial=serial)
        process = self.start('connect', '1209:0001')
        out, err = self.finish(process, AMBIGUOUS)
        self.assertEqual(out, b'')
        self.assertEqual(err, (
            "vser: '1209:0001' matches 3 ports:\n"
            'vser:   vport1p5: 1209:0001, serial number A1\n'
            'vser:   vport1p6: 1209:0001, no serial number\n'
            'vser:   vport2p1: 1209:0001, serial number x\\x1b\n'
            'vser: add the serial number of one, or its name, as in '
            '1209:0001:vport1p5\n'))

    def test_how_a_port_is_named(self):
        """Its serial number, that as udev has it, or the port's name."""
        for number, serial in enumerate(('A 1', 'a:b', 'é', 'a,b', None)):
            host = self.terminal(f'vport1p{number}', serial=serial)
            names = {serial, f'vport1p{number}',
                     'A_1' if serial == 'A 1' else None} - {None}
            for name in names:
                process = self.start('connect', '-q', f'1209:0001:{name}')
                process.stdin.write(b'me')
                self.finish(process)
                self.assertEqual(self.receive(host, 2), b'me', name)

    @staticmethod
    def sleeps(process):
        """Did it do nothing at all between two looks at it?"""
        def look():
            status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
            return [line for line in status.splitlines()
                    if 'ctxt' in line or line.startswith('State')]
        before = look()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        return 'S' in before[0] and look() == before

    def waiting(self, *args, **more):
        """Start vser, and return when it has looked and waits."""
        process = self.start('connect', *args, **more)
        fds = pathlib.Path(f'/proc/{process.pid}/fd')
        until(lambda: 'anon_inode:inotify' in map(os.readlink, fds.iterdir())
              and self.sleeps(process), 'vser waits and does nothing')
        return process

    def test_nobody_takes_anything(self):
        """Both ways are full, and the host goes: it waits for its reader."""
        host = self.terminal('vport1p5')
        process = self.start('connect', '1209:')
        for fd in host, process.stdin.fileno():
            os.set_blocking(fd, False)

        def fill():
            taken = 0
            for fd in host, process.stdin.fileno():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        taken += os.write(fd, bytes(4096))
            return self.sleeps(process) and not taken
        until(fill, 'nothing goes on')
        os.close(host)
        until(lambda: self.sleeps(process), 'vser does nothing')
        # A pipe holds 16 pages, and not each of them is full
        self.assertGreater(len(self.finish(process)[0]), 32768)

    def test_wait_for_the_store(self):
        process = self.waiting('--wait', '1209:0001:A1')
        host = self.terminal('vport1p5', serial='A1')
        os.write(host, b'welcome')
        self.assertEqual(process.stdout.read1(100), b'welcome')
        os.close(host)
        self.assertEqual(self.finish(process), (b'', ''))

    def test_wait_for_the_node(self):
        self.port('vport1p5', make_blob())
        process = self.waiting('--wait=1000', '1209:0001')
        host = self.terminal('vport1p5')
        os.write(host, b'welcome')
        self.assertEqual(process.stdout.read1(100), b'welcome')
        os.close(host)
        self.assertEqual(self.finish(process), (b'', ''))

    def test_wait_for_permission(self):
        """Until udev has given it the node, a user waits, and is told."""
        self.port('vport1p5', make_blob())
        node = self.dev / 'vport1p5'
        os.mkfifo(node, 0o600)
        process = self.waiting('--wait', '-q', '1209:0001', user='nobody')
        os.chmod(node, 0o666)
        with open(node, 'wb') as host:
            host.write(b'welcome')
        self.assertEqual(process.stdout.read1(100), b'welcome')
        self.assertEqual(self.finish(process), (
            b'', f'vser: {node}: Permission denied; waiting\n'))

    def test_wait_without_news(self):
        """What can't hear of a port must not wait for it."""
        process = self.start('connect', '--wait', '1209:0001',
                             preexec_fn=lambda: resource.setrlimit(
                                 resource.RLIMIT_NOFILE, (4, 4)))
        self.assertIn(f"can't watch {self.dev}: Too many open files",
                      self.finish(process, FAILED)[1])

    def test_wait_in_vain(self):
        for option in '--wait=0', '--wait=0.2', '-w0':
            self.vser('connect', option, '1209:0001', status=NO_PORT,
                      stderr="no port '1209:0001' that can be opened came in "
                             'time')

    def test_wait_is_not_for_ambiguity(self):
        self.terminal('vport1p5')
        self.terminal('vport1p6')
        self.vser('connect', '--wait', '1209:', status=AMBIGUOUS,
                  stderr='matches 2 ports')

    def test_usage(self):
        for args, message in (
                ([], 'no port is given'), (['x'], "'x': expected VVVV:PPPP"),
                (['1209:', '1209:'], 'one port is given already'),
                (['1209:', '--exec'], '--exec: no command'),
                (['--quit', '1209:', '--exec', 'true'], '--quit is for stdin'),
                (['--wait=x', '1209:'], "--wait='x'"),
                (['--wait=', '1209:'], "--wait=''"),
                (['--wait=-1', '1209:'], "--wait='-1'"),
                (['--wait=nan', '1209:'], "--wait='nan'"),
                (['--bad'], 'vser connect: unrecognized')):
            self.vser('connect', *args, status=USAGE, stderr=message)
        self.assertIn('usage: vser connect', self.vser('connect', '--help'))
