# vser monitor
#
# What udev says of ports is for the tests in guests. Here are the ports that are
# there, and who opens them.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import signal

import jsonschema

from test_list import EVIL, SCHEMA, UNKNOWN
from toolstest import FAILED, TIMEOUT, USAGE, ToolsTest, make_blob

LINE = {'$defs': SCHEMA['$defs'], '$ref': '#/$defs/monitor'}


class Monitor(ToolsTest):
    def next(self, process):
        line = process.stdout.readline().decode()
        self.assertTrue(line.endswith('\n'), line)
        value = json.loads(line)
        jsonschema.validate(value, LINE)
        return value

    def some(self, *args, **more):
        """Two ports, and a vser that has told of them."""
        self.port('vport0p1', make_blob(**UNKNOWN, serial='A1'))
        self.port('vport0p2', make_blob(**UNKNOWN, serial='A2'))
        self.port('vport0p3')
        for i in 1, 2, 3:
            os.mkfifo(self.dev / f'vport0p{i}')
        return self.start('monitor', *args, **more)

    def end_of(self, process, status=0, err=b''):
        out, said = process.communicate(timeout=TIMEOUT)
        self.assertEqual((process.returncode, out, said), (status, b'', err))

    def test_present(self):
        process = self.some()
        lines = [self.next(process) for _ in range(2)]
        self.assertEqual([(line['event'], line['port'], line['serial'])
                          for line in lines], [('present', 'vport0p1', 'A1'),
                                               ('present', 'vport0p2', 'A2')])
        # All else is as in the list
        listed = json.loads(self.vser('list', '--json'))['ports']
        for line, port in zip(lines, listed):
            del line['event']
            self.assertEqual(line, {key: port[key] for key in line})
        process.send_signal(signal.SIGINT)
        self.end_of(process)

    def test_opened_and_closed(self):
        process = self.some()
        for _ in range(2):
            self.next(process)
        for _ in range(2):
            fd = os.open(self.dev / 'vport0p2', os.O_RDWR)
            line = self.next(process)
            self.assertEqual((line['event'], line['serial']), ('opened', 'A2'))
            os.close(fd)
            self.assertEqual(self.next(process)['event'], 'closed')
        process.terminate()
        self.end_of(process)

    def test_chosen(self):
        process = self.some('fff0:fff0:A2')
        self.assertEqual(self.next(process)['port'], 'vport0p2')
        os.close(os.open(self.dev / 'vport0p1', os.O_RDWR))
        os.close(os.open(self.dev / 'vport0p2', os.O_RDWR))
        self.assertEqual([self.next(process)['port'] for _ in range(2)],
                         ['vport0p2'] * 2)
        process.terminate()
        self.end_of(process)

    def test_nobody_reads(self):
        """At the end of a pipe: at once, or when there is a line to write."""
        process = self.some()
        self.next(process)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=TIMEOUT), 0)
        self.assertEqual(process.stderr.read(), b'')
        process = self.start('monitor')
        process.stdout.close()
        self.assertEqual(process.wait(timeout=TIMEOUT), 0)
        self.assertEqual(process.stderr.read(), b'')

    def test_a_signal_ends_it_while_it_writes(self):
        """Nobody reads from the pipe, and nobody closes it."""
        for i in range(600):
            self.port(f'vport0p{i}', make_blob(name='x' * 126, manufacturer='y' * 126))
        process = self.start('monitor')
        self.next(process)
        process.terminate()
        self.assertEqual(process.wait(timeout=TIMEOUT), 0)

    def test_text_from_the_host(self):
        self.port('vport0p1', make_blob(**UNKNOWN, manufacturer=EVIL, name=EVIL,
                                        serial=EVIL), name=b'x' * 4000 + b'\x1b\n"')
        process = self.start('monitor')
        line = process.stdout.readline().decode()
        self.assertFalse(set(line) & set('\x1b\x9b\u202e\r\x07'))
        value = json.loads(line)
        jsonschema.validate(value, LINE)
        self.assertEqual(value['serial'], EVIL.replace('\ud800', '\ufffd'))

    def test_usage(self):
        self.vser('monitor', 'a', 'b', status=USAGE, stderr='takes one VVVV:PPPP')
        self.vser('monitor', '/dev/vport0p1', status=USAGE, stderr='expected VVVV:PPPP')
        self.vser('monitor', '-x', status=USAGE, stderr='vser monitor: ')

    def test_full_disk(self):
        self.port('vport0p1', make_blob())
        with open('/dev/full', 'wb') as full:
            process = self.start('monitor', stdout=full)
            self.assertEqual(process.wait(timeout=TIMEOUT), FAILED)
            self.assertIn(b'No space left', process.stderr.read())
