# vser daemon. FIFOs stand for the ports on which the host sends records; what
# only the kernel can do, as plugging a port, is tested in guests.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import fcntl
import os
import pathlib
import signal
import socket
import struct
import threading

from toolstest import FAILED, TIMEOUT, USAGE, ToolsTest, make_blob
from waiting import until

END = struct.pack('<IHHII', 0xffffffff, 8, 1, 0, 0)
NAME = b'org.qemu.virtio-serial-desc.0'


def desc(id, blob, event=8, value=1, length=None, offset=0):
    return struct.pack('<IHHII', id, event, value,
                       len(blob) if length is None else length, offset) + blob


def gone(id):
    return struct.pack('<IHH', id, 2, 1)


BLOBS = [make_blob(serial=f'A{i}') for i in range(10)]

# Records of which no reader can tell where they end, or what they say
MALFORMED = {
    'event': desc(5, BLOBS[5], event=7),
    'value': desc(5, BLOBS[5], value=0),
    'offset': desc(5, BLOBS[5], offset=1),
    'length': desc(5, b'', length=65536),
    'most length': desc(5, b'', length=0xffffffff),
    'id': desc(0x80000000, BLOBS[5]),
    'gone id': gone(0xffffffff),
    'end': desc(0xffffffff, BLOBS[5]),
    'text': b'GET / HTTP/1.0\r\n\r\n',
    'ones': b'\xff' * 100,
}


class Ledger(ToolsTest):
    def test_program(self):
        """test-ledger.c: events against states, without a daemon"""
        self.run_program('test-ledger')


class Daemon(ToolsTest):
    def setUp(self):
        super().setUp()
        self.ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ready.bind(str(self.tree / 'notify'))
        self.ready.settimeout(TIMEOUT)
        self.addCleanup(self.ready.close)

    def records_port(self, port='vport1p1', name=NAME):
        self.port(port, name=name)
        os.mkfifo(self.dev / port)

    def daemon(self, *args):
        self.log = self.tree / 'log'
        with open(self.log, 'wb') as log:
            self.process = self.start(
                'daemon', *args, stdout=log, stderr=log,
                env={**os.environ, 'NOTIFY_SOCKET': str(self.tree / 'notify')})
        return self.process

    def host(self, data=b'', port='vport1p1'):
        """The host's side of a port, when the daemon has it open; it sends
        `data`."""
        fd = os.open(self.dev / port, os.O_WRONLY)
        host = os.fdopen(fd, 'wb', buffering=0)
        self.addCleanup(host.close)
        host.write(data)
        return host

    def wait_ready(self):
        self.assertEqual(self.ready.recv(100), b'READY=1')

    def stored(self):
        """What is in the store, by the names of ports where it is about those
        that are there; half-written files too: there are none"""
        found = {}
        for path in self.store.iterdir():
            with contextlib.suppress(FileNotFoundError):    # renamed meanwhile
                found[path.name] = path.read_bytes()
        return {name.split('.')[0] if name[0] != '.' and
                self.entry(name.split('.')[0]).name == name else name: blob
                for name, blob in found.items()}

    def wait_stored(self, expected):
        until(lambda: self.stored() == expected,
              f'{sorted(expected)} in the store')

    def said(self):
        return self.log.read_text().splitlines()

    def changes(self, port):
        """How often udev was told, since the last call"""
        path = self.sys / port / 'uevent'
        text = path.read_text()
        path.write_text('')
        return text

    def wait_change(self, port):
        """Udev is told."""
        until(lambda: (self.sys / port / 'uevent').read_text(), 'a change')
        self.assertEqual(self.changes(port), 'change')

    def test_snapshot(self):
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host(desc(5, BLOBS[5]) + desc(500, BLOBS[6]))
        expected = {'vport1p5': BLOBS[5], 'vport1p500': BLOBS[6]}
        self.wait_stored(expected)
        self.wait_change('vport1p5')
        self.assertEqual(self.entry('vport1p5').stat().st_mode, 0o100644)
        self.ready.setblocking(False)
        self.assertRaises(BlockingIOError, self.ready.recv, 100)
        self.ready.settimeout(TIMEOUT)
        host.write(END)
        self.wait_ready()
        self.wait_stored(expected)
        self.assertEqual(self.said(), [])

    def test_changes(self):
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host(desc(5, BLOBS[5]) + END)
        self.wait_ready()
        self.wait_change('vport1p5')
        # It is the same, and udev has nothing to do
        host.write(desc(5, BLOBS[5]) + desc(6, BLOBS[6]))
        self.wait_stored({'vport1p5': BLOBS[5], 'vport1p6': BLOBS[6]})
        self.assertEqual(self.changes('vport1p5'), '')
        host.write(desc(5, BLOBS[7]))
        self.wait_stored({'vport1p5': BLOBS[7], 'vport1p6': BLOBS[6]})
        self.wait_change('vport1p5')
        host.write(gone(5) + gone(8))
        self.wait_stored({'vport1p6': BLOBS[6]})
        self.wait_change('vport1p5')
        self.assertEqual(self.said(), [])

    def test_gone_before_the_kernel_knows(self):
        """What comes after it is not about the port that is still there."""
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host(desc(5, BLOBS[5]) + END)
        self.wait_stored({'vport1p5': BLOBS[5]})
        self.wait_change('vport1p5')
        host.write(gone(5) + desc(5, BLOBS[6]) + desc(6, BLOBS[6]))
        until(lambda: 'vport1p6' in self.stored() and self.sleeps(),
              'all is read')
        pending = {'vport1p5.0': BLOBS[6], 'vport1p6': BLOBS[6]}
        self.assertEqual(self.stored(), pending)
        self.wait_change('vport1p5')
        # Nor if it is said again, as in a new snapshot
        host.write(desc(5, BLOBS[6]) + desc(7, BLOBS[7]))
        self.wait_stored({**pending, 'vport1p7': BLOBS[7]})
        until(self.sleeps, 'all is read')
        self.wait_stored({**pending, 'vport1p7': BLOBS[7]})
        self.assertEqual(self.changes('vport1p5'), '')
        self.replace('vport1p5')
        host.write(desc(5, BLOBS[6]))
        self.wait_asked_again()
        host.write(desc(5, BLOBS[6]) + desc(6, BLOBS[6]) + desc(7, BLOBS[7]) + END)
        self.wait_stored({'vport1p5': BLOBS[6], 'vport1p6': BLOBS[6],
                          'vport1p7': BLOBS[7]})
        self.wait_change('vport1p5')
        # What is gone may be gone again
        host.write(gone(5) + desc(5, BLOBS[8]) + gone(7))
        self.wait_stored({'vport1p5.0': BLOBS[8], 'vport1p6': BLOBS[6]})
        self.assertEqual(self.said(), [])

    def test_another_port_with_the_same_descriptor(self):
        """Of which the kernel's events were lost."""
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host(desc(5, BLOBS[5]) + END)
        self.wait_change('vport1p5')
        self.replace('vport1p5')
        host.write(desc(5, BLOBS[5]))
        self.wait_asked_again()
        host.write(desc(5, BLOBS[5]) + END)
        self.wait_stored({'vport1p5': BLOBS[5]})
        self.wait_change('vport1p5')
        # And one with another
        self.replace('vport1p5')
        host.write(desc(5, BLOBS[6]))
        self.wait_asked_again()
        host.write(desc(5, BLOBS[6]) + END)
        self.wait_stored({'vport1p5': BLOBS[6]})
        self.wait_change('vport1p5')

    def wait_asked_again(self):
        """The daemon has read everything, and has opened the port again."""
        until(self.sleeps, 'all is read')

    def behind(self, host, *pieces):
        """The daemon finds all of that when it goes on, and reads it piece by
        piece, as from a port."""
        self.process.send_signal(signal.SIGSTOP)
        fcntl.fcntl(host, fcntl.F_SETPIPE_SZ, 1 << 20)
        fcntl.fcntl(host, fcntl.F_SETFL, os.O_DIRECT)
        for piece in pieces:
            host.write(piece)
        self.process.send_signal(signal.SIGCONT)

    def test_gone_again_before_it_was_read(self):
        """No port gets what is about one that came and went before."""
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host(END)
        self.wait_ready()
        self.behind(host, desc(5, BLOBS[5]), gone(5), desc(5, BLOBS[6]))
        self.wait_stored({'vport1p5': BLOBS[6]})
        self.wait_change('vport1p5')

    def test_port_that_came_later(self):
        """The host may not have said yet what that port is: it is asked for."""
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host(END)
        self.wait_ready()
        # It was not there when the port was opened
        self.replace('vport1p5')
        host.write(desc(5, BLOBS[5]))
        self.wait_stored({'vport1p5.0': BLOBS[5]})
        self.wait_asked_again()
        host.write(desc(6, BLOBS[6]))
        self.wait_stored({'vport1p5.0': BLOBS[5], 'vport1p6': BLOBS[6]})
        until(self.sleeps, 'all is read')
        self.wait_stored({'vport1p5.0': BLOBS[5], 'vport1p6': BLOBS[6]})
        host.write(desc(5, BLOBS[5]) + END)
        self.wait_stored({'vport1p5': BLOBS[5], 'vport1p6': BLOBS[6]})
        self.assertEqual(self.said(), [])

    def test_port_that_came_after_the_host_had_closed(self):
        """As when the driver hears of the host's opening after the snapshot."""
        self.records_port()
        self.daemon()
        host = self.host(END)
        self.wait_ready()
        host.close()
        until(self.sleeps, 'the daemon sleeps')
        host = self.host()
        self.port('vport1p5')
        host.write(desc(5, BLOBS[5]))
        self.wait_stored({'vport1p5.0': BLOBS[5]})
        self.wait_asked_again()
        host.write(desc(5, BLOBS[5]) + END)
        self.wait_stored({'vport1p5': BLOBS[5]})

    def test_a_snapshot_of_any_length(self):
        """More than fits into what the device has room for at once."""
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host()
        self.behind(host, *[gone(9)] * 100, desc(5, BLOBS[5]) + END)
        self.wait_stored({'vport1p5': BLOBS[5]})
        self.wait_ready()
        until(self.sleeps, 'all is read')
        host.write(desc(6, BLOBS[6]))       # it is still open
        self.wait_stored({'vport1p5': BLOBS[5], 'vport1p6': BLOBS[6]})

    def test_every_cut(self):
        """A record may come in pieces that end anywhere."""
        self.records_port()
        self.daemon()
        host = self.host()
        data = desc(1, BLOBS[1]) + gone(1) + desc(2, BLOBS[2]) + END
        for byte in data:
            host.write(bytes([byte]))
        self.wait_ready()
        self.assertEqual(self.stored(), {'vport1p2': BLOBS[2]})

    def test_what_an_earlier_daemon_left(self):
        self.records_port()
        for port in 'vport1p5', 'vport1p6', 'vport1p7', 'vport7p1':
            self.port(port, store=BLOBS[0])
        # Of ports that are to come, that went, and that went before others
        for port in 'vport1p7', 'vport1p8', 'vport1p9':
            (self.store / f'{port}.0').write_bytes(BLOBS[0])
        (self.store / 'vport1p9.12345').write_bytes(BLOBS[0])
        self.replace('vport1p7')
        (self.store / '.vport1p5.new').write_bytes(b'cut')
        (self.store / 'other').write_bytes(b'not ours')
        strange = f"{self.entry('vport1p5').name}x"
        (self.store / strange).write_bytes(b'nor this')
        self.daemon()
        # No port speaks for controller 7
        others = {'.vport1p5.new': b'cut', 'other': b'not ours',
                  strange: b'nor this'}
        self.wait_stored({'vport1p5': BLOBS[0], 'vport1p6': BLOBS[0], **others})
        self.assertEqual(self.changes('vport7p1'), 'change')
        self.assertEqual(self.changes('vport1p7'), '')
        host = self.host(desc(5, BLOBS[0]))
        host.write(END)
        self.wait_ready()
        self.assertEqual(self.stored(), {'vport1p5': BLOBS[0], **others})
        self.assertEqual(self.changes('vport1p5'), '')
        self.assertEqual(self.changes('vport1p6'), 'change')

    def test_second_snapshot(self):
        """The device was reset while the guest slept: no end of file came."""
        self.records_port()
        self.daemon()
        host = self.host(desc(5, BLOBS[5]) + desc(6, BLOBS[6]) + END)
        self.wait_ready()
        host.write(desc(6, BLOBS[6]) + END)
        self.wait_stored({'vport1p6': BLOBS[6]})

    def test_second_snapshot_after_one_had_gone(self):
        """The driver has not heard of that, and never will."""
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host(desc(5, BLOBS[5]) + END)
        self.wait_stored({'vport1p5': BLOBS[5]})
        host.write(gone(5) + desc(5, BLOBS[6]))
        self.wait_stored({'vport1p5.0': BLOBS[6]})
        host.write(desc(5, BLOBS[6]) + END)
        self.wait_stored({'vport1p5': BLOBS[6]})

    def test_host_closes(self):
        self.records_port()
        self.daemon()
        host = self.host(desc(5, BLOBS[5]) + desc(6, BLOBS[6]) + END +
                         desc(7, BLOBS[7])[:30])
        self.wait_ready()
        host.close()
        before = {'vport1p5': BLOBS[5], 'vport1p6': BLOBS[6]}
        self.assertEqual(self.stored(), before)
        until(self.sleeps, 'the daemon sleeps')
        # It begins anew, and not where it was cut
        host = self.host(desc(8, BLOBS[8]))
        self.wait_stored({**before, 'vport1p8': BLOBS[8]})
        host.write(desc(5, BLOBS[5]) + END)
        self.wait_stored({'vport1p5': BLOBS[5], 'vport1p8': BLOBS[8]})
        self.assertEqual(self.said(), [])

    def sleeps(self):
        """Did it do nothing at all between two looks?"""
        def look():
            proc = pathlib.Path('/proc') / str(self.process.pid)
            return [line for line in (proc / 'status').read_text().splitlines()
                    if 'ctxt' in line or line.startswith('State')]
        before = look()
        try:
            self.process.wait(0.2)
        except Exception:
            pass
        return 'S' in before[0] and look() == before

    def test_a_closed_host_costs_nothing(self):
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host()
        self.process.send_signal(signal.SIGSTOP)
        host.write(desc(5, BLOBS[5]) + END)
        host.close()
        self.process.send_signal(signal.SIGCONT)
        self.wait_ready()
        self.wait_stored({'vport1p5': BLOBS[5]})
        until(self.sleeps, 'the daemon sleeps')

    def test_malformed(self):
        self.records_port()
        known = {'vport1p1': BLOBS[1], 'vport1p2': BLOBS[2]}
        for why, data in MALFORMED.items():
            with self.subTest(why):
                self.daemon()
                host = self.host(desc(1, BLOBS[1]) + desc(2, BLOBS[2]) + END)
                self.wait_ready()
                host.write(data + desc(3, BLOBS[3]))
                until(self.said, 'a message')
                self.assertRegex(
                    self.said()[0],
                    '^vser: vport1p1: malformed record: .*opening it again$')
                # What was known stays until there is something better
                self.assertEqual(self.stored(), known)
                host.close()
                host = self.host(desc(2, BLOBS[2]) + desc(4, BLOBS[4]) + END)
                self.wait_stored({'vport1p2': BLOBS[2], 'vport1p4': BLOBS[4]})
                self.assertEqual(len(self.said()), 1)
                self.end(self.process)
                host.close()

    def test_bad_blob(self):
        """It costs the port its entry, and no other port anything."""
        self.records_port()
        self.port('vport1p5')
        self.daemon()
        host = self.host(desc(5, BLOBS[5]) + desc(6, BLOBS[6]) + END)
        self.wait_ready()
        self.changes('vport1p5')
        host.write(desc(5, BLOBS[5][:-1]) + desc(7, b'') +
                   desc(8, b'x' * 65535) + desc(9, BLOBS[9]))
        self.wait_stored({'vport1p6': BLOBS[6], 'vport1p9': BLOBS[9]})
        self.assertEqual(self.changes('vport1p5'), 'change')
        said = self.said()
        self.assertEqual(len(said), 3)
        for line, port in zip(said, ('vport1p5', 'vport1p7', 'vport1p8')):
            self.assertTrue(line.startswith(
                'vser: vport1p1: no well-formed descriptor for ' + port +
                ': at offset '), line)

    def test_complaints_end(self):
        self.records_port()
        self.daemon()
        self.host(desc(5, b'') * 1000 + END)
        self.wait_ready()
        said = self.said()
        self.assertEqual(len(said), 17)
        self.assertEqual(said[-1], 'vser: vport1p1: no more is said until it '
                                   'is opened again')

    def test_too_many_ports(self):
        self.records_port()
        self.daemon()
        # Ports have numbers up to 510; a host may use others
        self.host(b''.join(desc(i << 20, BLOBS[1]) for i in range(600)) + END)
        self.wait_ready()
        self.assertEqual(len(self.stored()), 512)
        self.assertIn('more than 512 ports', self.said()[0])

    def test_flood(self):
        """What changes without end is read slowly, and others are not."""
        self.records_port()
        self.records_port('vport2p1')
        self.daemon()
        other = self.host(port='vport2p1')
        host = self.host()
        flood = (desc(5, BLOBS[5]) + desc(5, BLOBS[6])) * 200

        def write():
            with contextlib.suppress(OSError, ValueError):    # at the end
                while True:
                    host.write(flood)
        threading.Thread(target=write, daemon=True).start()
        until(self.said, 'the daemon slows down')
        other.write(desc(1, BLOBS[1]))
        until(lambda: 'vport2p1' in self.stored(), 'the other controller')
        until(self.sleeps, 'the daemon pauses')
        self.assertIn('vport1p1: too many changes; slowing down',
                      self.said()[0])

    def test_two_controllers(self):
        self.records_port('vport1p1')
        self.records_port('vport2p9', name=b'org.qemu.virtio-serial-desc.77')
        self.records_port('vport3p1', name=b'org.qemu.virtio-serial')
        self.daemon()
        self.host(desc(5, BLOBS[5]) + END)
        host = self.host(desc(5, BLOBS[6]), port='vport2p9')
        expected = {'vport1p5': BLOBS[5], 'vport2p5': BLOBS[6]}
        self.wait_stored(expected)
        host.write(END)
        self.wait_ready()
        self.assertEqual(self.stored(), expected)

    def test_one_port_a_controller(self):
        """A second one has nothing to say: the first has said it."""
        self.records_port('vport1p1')
        self.records_port('vport1p2')
        self.daemon()
        self.host(desc(5, BLOBS[5]) + END)
        self.wait_ready()
        with self.assertRaises(OSError):
            os.open(self.dev / 'vport1p2', os.O_WRONLY | os.O_NONBLOCK)

    def test_chosen_ports(self):
        self.records_port('vport1p1')
        self.records_port('vport2p1', name=b'anything')
        self.port('vport7p1', store=BLOBS[7])
        self.daemon('/dev/vport2p1')
        self.host(desc(5, BLOBS[5]) + END, port='vport2p1')
        self.wait_ready()
        # Of another controller's entries it knows nothing
        self.assertEqual(self.stored(), {'vport2p5': BLOBS[5],
                                         'vport7p1': BLOBS[7]})
        with self.assertRaises(OSError):
            os.open(self.dev / 'vport1p1', os.O_WRONLY | os.O_NONBLOCK)

    def test_ready_without_ports(self):
        self.daemon()
        self.wait_ready()

    def test_ready_where_the_host_says_nothing(self):
        """After five seconds, as the service manager is not to wait for it."""
        self.records_port()
        self.daemon()
        self.wait_ready()

    def test_a_port_that_cannot_be_opened(self):
        self.port('vport1p1', name=NAME)
        (self.dev / 'vport1p1').symlink_to('vport1p1')
        self.records_port('vport2p1')
        self.daemon()
        self.host(desc(5, BLOBS[5]) + END, port='vport2p1')
        self.wait_stored({'vport2p5': BLOBS[5]})
        self.assertIn('Too many levels of symbolic links; trying again',
                      self.said()[0])
        (self.dev / 'vport1p1').unlink()
        os.mkfifo(self.dev / 'vport1p1')
        self.host(desc(5, BLOBS[6]) + END)
        self.wait_stored({'vport1p5': BLOBS[6], 'vport2p5': BLOBS[5]})
        self.assertEqual(len(self.said()), 1)

    def test_store_that_cannot_be_written(self):
        self.records_port()
        # Where the entry and where its new file would be
        (self.store / '.vport1p5.new').mkdir()
        (self.store / 'vport1p6.0').mkdir()
        self.daemon()
        self.host(desc(5, BLOBS[5]) + desc(6, BLOBS[6]) + desc(7, BLOBS[7]) +
                  END)
        self.wait_ready()
        self.assertEqual(self.entry('vport1p7').read_bytes(), BLOBS[7])
        self.assertFalse(self.entry('vport1p5').exists())
        self.assertFalse((self.store / '.vport1p6.new').exists())
        self.assertIn('vport1p5: Is a directory', self.log.read_text())
        # It is tried again
        (self.store / '.vport1p5.new').rmdir()
        (self.store / 'vport1p6.0').rmdir()
        self.host(desc(5, BLOBS[5]) + desc(6, BLOBS[6]) + desc(7, BLOBS[7]) + END)
        self.wait_stored({'vport1p5': BLOBS[5], 'vport1p6': BLOBS[6],
                          'vport1p7': BLOBS[7]})

    def test_no_store(self):
        self.store.rmdir()
        self.records_port()
        self.daemon()
        self.host(desc(5, BLOBS[5]) + END)
        self.wait_ready()
        self.assertEqual(self.store.stat().st_mode, 0o040755)
        self.end(self.process)
        self.entry('vport1p5').unlink()
        self.store.rmdir()
        self.tree.joinpath('run').symlink_to('/dev/null/x')
        self.assertEqual(self.daemon().wait(TIMEOUT), FAILED)
        self.assertIn('Not a directory', self.said()[0])

    def test_usage(self):
        self.vser('daemon', 'tty0', status=USAGE, stderr="'tty0': expected a "
                  "port's name")
        self.vser('daemon', '-x', status=USAGE, stderr='vser daemon: invalid')
        self.assertIn('usage: vser daemon', self.vser('daemon', '--help'))
