# vser connect. A pseudo-terminal stands for the port: what is the kernel's, as
# unplugging, is tested in guests.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import array
import contextlib
import fcntl
import os
import pathlib
import pwd
import resource
import select
import shutil
import subprocess
import tempfile
import termios
import threading
import tty

from toolstest import (AMBIGUOUS, AS_NOBODY, FAILED, NO_PORT, TIMEOUT, USAGE, ToolsTest,
                       make_blob)
from waiting import until


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
            missing = length - len(data)
            if not select.select([fd], [], [], TIMEOUT)[0]:
                raise AssertionError(f'in vain: {missing} bytes more')
            more = os.read(fd, missing)
            if not more:
                raise AssertionError(f'it ends {missing} bytes early')
            data += more
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

    def test_quit_drops_nothing(self):
        """What it has taken from the port is written, and the rest is there
        for who opens the port next."""
        host = self.terminal('vport1p5')
        process = self.start('connect', '-q', '1209:')
        os.set_blocking(host, False)
        sent = b''

        def fill():
            nonlocal sent
            data, taken = os.urandom(4096), 0
            with contextlib.suppress(BlockingIOError):
                taken = os.write(host, data)
            sent += data[:taken]
            return self.sleeps(process) and not taken
        until(fill, 'nothing goes on')
        process.stdin.close()
        process.stdin = None
        got, err = self.finish(process)
        self.assertEqual(err, '')
        port = os.open(self.dev / 'vport1p5', os.O_RDONLY | os.O_NOCTTY)
        self.addCleanup(os.close, port)
        left = self.receive(port, len(sent) - len(got))
        self.assertTrue(left)
        self.assertTrue(got + left == sent)

    def test_closed_by_the_caller(self):
        """The port does not become what is closed: nothing goes back."""
        for closed, status, out, says in (
                (0, 0, b'from the host', 'vser: stdin: Bad file descriptor\n'),
                (1, FAILED, b'', 'vser: stdout: Bad file descriptor\n'),
                (2, 0, b'from the host', '')):
            with self.subTest(closed):
                self.check_closed(closed, status, out, says)

    def check_closed(self, closed, status, out, says):
        host = self.terminal(f'vport1p{closed}')
        # What can't be read is complained of on stderr
        stdin = os.open('/', os.O_RDONLY)
        self.addCleanup(os.close, stdin)
        process = self.start('connect', f'1209::vport1p{closed}',
                             stdin=stdin if closed == 2 else subprocess.PIPE,
                             preexec_fn=lambda: os.close(closed))
        os.write(host, b'from the host')
        if out:
            self.assertEqual(self.receive(process.stdout.fileno(), len(out)),
                             out)
        else:
            process.wait(TIMEOUT)
        os.set_blocking(host, False)
        self.assertRaises(BlockingIOError, os.read, host, 100)
        os.close(host)
        self.assertEqual(self.finish(process, status), (b'', says))

    def test_exec_with_stdin_closed(self):
        host = self.terminal('vport1p5')
        process = self.start('connect', '1209:', '--exec', 'head', '-c', '7',
                             preexec_fn=lambda: os.close(0))
        os.write(host, b'and back')
        self.assertEqual(self.finish(process), (b'', ''))
        self.assertEqual(self.receive(host, 7), b'and bac')

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

    def given(self, port, **fields):
        """A port, and the guest's side of it as open as systemd would pass it;
        the host's side."""
        host = self.terminal(port, **fields)
        fd = os.open(self.dev / port, os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, fd)
        number = os.fstat(fd).st_rdev
        (self.sys / port / 'dev').write_text(
            f'{os.major(number)}:{os.minor(number)}\n')
        return host, fd

    def test_fd(self):
        """A port that is open already, which this user could not open"""
        host, fd = self.given('vport1p5', serial='A1')
        (self.dev / 'vport1p5').unlink()
        for text in ['1209:0001:A1'], ['1209:'], []:
            process = self.start('connect', f'--fd={fd}', *text, pass_fds=[fd])
            process.stdin.write(b'there')
            process.stdin.flush()
            self.assertEqual(self.receive(host, 5), b'there')
            os.write(host, b'back')
            self.assertEqual(process.stdout.read(4), b'back')
            process.kill()
            process.wait()

    def test_fd_exec(self):
        host, fd = self.given('vport1p5')
        environment = {**os.environ, 'LISTEN_FDS': '1', 'LISTEN_PID': 'x',
                       'LISTEN_FDNAMES': 'port'}
        script = ('read line; echo "$line $(ls /proc/self/fd | wc -l) '
                  '$(env | grep -c ^LISTEN)"; echo blocks; read line')
        process = self.start('connect', '-f', str(fd), '-e', 'sh', '-c', script,
                             pass_fds=[fd], env=environment)
        os.write(host, b'hello\n')
        self.assertEqual(self.receive(host, 17), b'hello 4 0\nblocks\n')
        os.write(host, b'\n')
        self.finish(process)
        # and as standard input and output, where a unit's may be
        process = self.start('connect', '--fd=0', '1209:', '--exec', 'head', '-n', '1',
                             stdin=fd, stdout=fd)
        os.write(host, b'again\n')
        self.assertEqual(self.receive(host, 6), b'again\n')
        self.finish(process)

    def test_fd_is_another_port(self):
        fd = self.given('vport1p5', serial='A1')[1]
        self.given('vport1p6', serial='A2')
        for text in '1209:0001:A2', '1209:0002', str(self.dev / 'vport1p6'):
            process = self.start('connect', f'--fd={fd}', text, pass_fds=[fd])
            self.assertIn(f"vser: --fd={fd}: vport1p5 is not '{text}'",
                          self.finish(process, NO_PORT)[1])

    def test_fd_is_none(self):
        self.given('vport1p5')
        self.vser('connect', '--fd=100', status=FAILED,
                  stderr='vser: --fd=100: Bad file descriptor')
        with open('/dev/null', 'r+b') as null:
            fd = null.fileno()
            process = self.start('connect', f'--fd={fd}', pass_fds=[fd])
            self.assertIn('not open on a port', self.finish(process, NO_PORT)[1])
        fd = os.open(self.dev / 'vport1p5', os.O_RDONLY | os.O_NOCTTY)
        self.addCleanup(os.close, fd)
        process = self.start('connect', f'--fd={fd}', pass_fds=[fd])
        self.assertIn('not open for reading and writing',
                      self.finish(process, FAILED)[1])

    def test_another_device_by_its_name(self):
        """A node that is not this port's is not taken for it."""
        self.given('vport1p5')
        (self.sys / 'vport1p5/dev').write_text('1:3\n')
        self.vser('connect', '1209:', status=FAILED,
                  stderr='vport1p5: No such device')

    def test_user(self):
        if os.geteuid():
            self.skipTest('only root can run a program as another user')
        host = self.terminal('vport1p5')
        os.chmod(os.readlink(self.dev / 'vport1p5'), 0o600)
        process = self.start(
            'connect', '1209:', '--user', 'nobody', '--exec', 'sh', '-c',
            'id -un; id -Gn; echo $USER $LOGNAME $HOME; '
            f'true <{os.readlink(self.dev / "vport1p5")}')
        home = pwd.getpwnam('nobody').pw_dir
        expected = f'nobody\nnogroup\nnobody nobody {home}\n'.encode()
        self.assertEqual(self.receive(host, len(expected)), expected)
        self.assertIn('Permission denied', self.finish(process, 2)[1])

    def test_no_such_user(self):
        """No number is a user, and nobody becomes root. What can't be is said
        before the port is there."""
        for user, message in (('65534', 'a name, not a number'),
                              ('0', 'a name, not a number'),
                              ('', 'a name, not a number'),
                              ('root', 'who is not root'),
                              ('no-such', 'no such user')):
            message = message.replace('a name', "a user's name")
            self.vser('connect', '--wait', '1209:', '-u', user, '-e', 'true',
                      status=FAILED, stderr=message)

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
        for number, serial in enumerate(('A 1', 'a:b', 'é', 'a,b', 'a/b', None)):
            host = self.terminal(f'vport1p{number}', serial=serial)
            names = {serial, f'vport1p{number}',
                     'A_1' if serial == 'A 1' else None} - {None}
            for name in names:
                process = self.start('connect', '-q', f'1209:0001:{name}')
                process.stdin.write(b'me')
                self.finish(process)
                self.assertEqual(self.receive(host, 2), b'me', name)

    def test_path(self):
        """Of a node, or of a link to one."""
        host = self.terminal('vport1p5')
        self.terminal('vport1p6', serial='A1')
        link = self.dev / 'virtio-ports/by-usb-id/1209:0001'
        for path, says in (
                (link, 'No such file or directory'),
                ('/dev/null', 'not the node of a port that has a descriptor'),
                (self.dev, 'not the node of a port that has a descriptor')):
            self.vser('connect', path, status=NO_PORT,
                      stderr=f'vser: {path}: {says}\n')
        link.parent.mkdir(parents=True)
        link.symlink_to('../../vport1p5')
        for path in (self.dev / 'vport1p5', link, './vport1p5',
                     'virtio-ports/by-usb-id/1209:0001'):
            process = self.start('connect', '-q', path, cwd=self.dev)
            process.stdin.write(b'me')
            self.finish(process)
            self.assertEqual(self.receive(host, 2), b'me', path)
        link.unlink()
        link.symlink_to('../../vport1p7')
        self.vser('connect', link, status=NO_PORT,
                  stderr=f'vser: {link}: No such file or directory\n')

    def sleeps(self, process):
        """Did it do nothing at all between two looks at it?"""
        if process.poll() is not None:
            self.fail(f'it has ended: {process.communicate()}')

        def look():
            status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
            return [line for line in status.splitlines()
                    if 'ctxt' in line or line.startswith('State')]
        before = look()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        return before[0].split()[1] == 'S' and look() == before

    def waiting(self, *args, **more):
        """Start vser, and return when it has looked and waits."""
        process = self.start('connect', *args, **more)
        fds = pathlib.Path(f'/proc/{process.pid}/fd')
        until(lambda: self.sleeps(process) and 'anon_inode:inotify' in
              map(os.readlink, fds.iterdir()), 'vser waits and does nothing')
        return process

    def welcomed(self, process, host):
        """It has come through to the host."""
        os.write(host, b'welcome')
        self.assertEqual(self.receive(process.stdout.fileno(), 7), b'welcome')
        os.close(host)
        self.assertEqual(self.finish(process), (b'', ''))

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
            # A terminal is full, too, as long as the kernel's worker has not moved what
            # it has: so the pipe to the reader has to be full. A pipe holds 16 pages,
            # and not each of them is full.
            fcntl.ioctl(process.stdout, termios.FIONREAD, waits := array.array('i', [0]))
            return self.sleeps(process) and not taken and waits[0] > 32768
        until(fill, 'nothing goes on')
        os.close(host)
        until(lambda: self.sleeps(process), 'vser does nothing')
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

    def test_wait_for_a_link(self):
        """udev makes it when the port's node is as it is to be."""
        directory = self.dev / 'virtio-ports/by-usb-id'
        link = directory / '1209:0001'
        # As far as the directory is there, and behind other links
        other, third = self.tree / 'other', self.tree / 'third'
        other.symlink_to('third/by-usb-id')
        third.symlink_to(directory.parent)
        last = self.tree / 'last'
        last.symlink_to(link)
        for path, there in ((link, self.dev), (link, directory.parent),
                            (link, directory), (other / link.name, self.dev),
                            (other / link.name, directory),
                            (last, self.dev), (last, directory)):
            with self.subTest(path=path, there=there):
                there.mkdir(parents=True, exist_ok=True)
                process = self.waiting('--wait', path)
                host = self.terminal('vport1p5')
                until(lambda: self.sleeps(process), 'vser has looked')
                directory.mkdir(parents=True, exist_ok=True)
                until(lambda: self.sleeps(process), 'vser has looked')
                link.symlink_to('../../vport1p5')
                self.welcomed(process, host)
                (self.dev / 'vport1p5').unlink()
                shutil.rmtree(directory.parent)

    def test_wait_for_a_link_in_circles(self):
        """What can't be resolved is waited for as what is not there."""
        loop = self.tree / 'loop'
        loop.symlink_to('loop')
        process = self.waiting('--wait', loop)
        host = self.terminal('vport1p5')
        (self.tree / 'new').symlink_to(self.dev / 'vport1p5')
        (self.tree / 'new').rename(loop)
        self.welcomed(process, host)

    def test_wait_looks_once(self):
        """A port that has gone when it was seen is waited for, and what is
        wrong with one is said once."""
        self.port('vport1p5')
        self.port('vport1p6', b'bad')
        descriptors = self.sys / 'vport1p5/descriptors'
        # What has been read of it is gone
        os.mkfifo(descriptors)
        fifo = os.open(descriptors, os.O_RDWR)
        reader = os.open(descriptors, os.O_RDONLY)
        os.write(fifo, make_blob())
        os.close(fifo)
        process = self.waiting('--wait', '1209:0001')
        os.close(reader)
        descriptors.unlink()
        (self.store / self.entry('vport1p6')).unlink()
        host = self.terminal('vport1p5')
        os.write(host, b'welcome')
        self.assertEqual(self.receive(process.stdout.fileno(), 7), b'welcome')
        os.close(host)
        err = self.finish(process)[1]
        self.assertEqual(err.count('\n'), 1, err)
        self.assertIn('vport1p6', err)

    def test_wait_for_permission(self):
        """Until udev has given it the node, a user waits, and is told."""
        self.port('vport1p5', make_blob())
        node = self.dev / 'vport1p5'
        os.mkfifo(node, 0o600)
        # The node is another user's, or at least nobody's
        before = AS_NOBODY if os.geteuid() == 0 else ()
        os.chmod(node, 0o600 if before else 0)
        process = self.waiting('--wait', '-q', '1209:0001', before=before)
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

    def test_end_of_options(self):
        host = self.terminal('vport1p5')
        process = self.start('connect', '-q', '--', '1209:')
        process.stdin.write(b'me')
        self.finish(process)
        self.assertEqual(self.receive(host, 2), b'me')
        for args in (['--exec', '--'], ['-e', '--'], ['-e']):
            process = self.start('connect', '1209:', *args, 'echo', '--', 'x')
            self.finish(process)
            self.assertEqual(self.receive(host, 5), b'-- x\n')

    def test_usage(self):
        for args, message in (
                ([], 'no port is given'), (['x'], "'x': expected VVVV:PPPP"),
                (['1209:', '1209:'], 'one port is given already'),
                (['1209:', '--exec'], '--exec: no command'),
                (['1209:', '--exec', '--'], '--exec: no command'),
                (['--'], 'no port is given'),
                (['1209:', '--', 'a', 'b'],
                 "'a': one port is given already, '1209:'"),
                (['--', '1209:', '--exec', 'true'],
                 "'--exec': one port is given already, '1209:'"),
                (['1209:', '-eq', 'true'], '-eq: expected -e and then'),
                (['1209:', '-qeh', 'true'], '-eh: expected -e and then'),
                (['--quit', '1209:', '--exec', 'true'], '--quit is for stdin'),
                (['--user=x', '1209:'], '--user is for the command'),
                (['--fd=x'], "--fd='x'"), (['--fd='], "--fd=''"),
                (['--fd=-1'], "--fd='-1'"), (['--fd=2'], "--fd='2'"),
                (['--fd=0'], 'stdin can'), (['--fd=1'], 'stdout can'),
                (['--wait=x', '1209:'], "--wait='x'"),
                (['--wait=', '1209:'], "--wait=''"),
                (['--wait=-1', '1209:'], "--wait='-1'"),
                (['--wait=nan', '1209:'], "--wait='nan'"),
                (['--bad'], 'vser connect: unrecognized')):
            self.vser('connect', *args, status=USAGE, stderr=message)
        self.assertIn('usage: vser connect', self.vser('connect', '--help'))
