# vser as a whole: its main program, its manual, its build
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import pathlib
import re
import subprocess

import jsonschema

from toolstest import BUILD, TOP, USAGE, ToolsTest

TOOLS = TOP / 'guest/tools'
COMMANDS = 'list', 'connect', 'monitor', 'usb', 'daemon', 'udev-id', \
    'udev-acl'


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.stdout


class Program(ToolsTest):
    def test_help_and_version(self):
        help = self.vser('--help')
        for command in COMMANDS:
            self.assertIn(f'\n  {command} ', help)
            self.assertTrue(self.vser(command, '--help').startswith(
                f'usage: vser {command}'))
        # The package's version is the program's
        version = re.match(r'\S+ \((.*)\)', (TOP / 'debian/changelog').read_text())
        self.assertEqual(self.vser('--version'), f'vser {version[1]}\n')
        self.assertEqual(self.vser('--version', argv0='lsvser'),
                         self.vser('--version'))

    def test_usage(self):
        self.vser(status=USAGE, stderr='usage: vser COMMAND')
        self.vser('bad\x1b', status=USAGE,
                  stderr=r"vser: no command 'bad\x1b'; see vser --help")

    def test_manual(self):
        page = TOOLS / 'vser.1'
        self.assertEqual(output('mandoc', '-Tlint', '-Wwarning', page), '')
        done = subprocess.run(
            ['man', '-Tutf8', '--warnings', '-l', page],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertEqual((TOOLS / 'lsvser.1').read_text(), '.so man1/vser.1\n')

    def test_manual_has_all_options(self):
        text = output('mandoc', '-Tascii', TOOLS / 'vser.1')
        text = re.sub('.\b', '', text)
        for command in COMMANDS:
            for option in re.findall(r'(?m)^ +(?:(-\w), +)?(--\w+|-\w)',
                                     self.vser(command, '--help')):
                for word in filter(None, option):
                    self.assertTrue(word in text,
                                    f"vser.1 lacks {word} of 'vser {command}'")

    def test_schema(self):
        schema = json.loads((TOOLS / 'vser-list.schema.json').read_text())
        jsonschema.validators.validator_for(schema).check_schema(schema)

    def test_static(self):
        vser = BUILD.with_name('tools-test-static') / 'vser'
        self.assertNotIn('INTERP', output('readelf', '-l', vser))
        self.assertIn('no dynamic section', output('readelf', '-d', vser))
        self.assertEqual(output(vser, '--version'), self.vser('--version'))

    def test_paths(self):
        """The program that is installed has a guest's paths, and takes none
        from its environment."""
        strings = (BUILD / 'vser').read_bytes()
        for path in b'/sys/class/virtio-ports', b'/run/virtio-serial-desc':
            self.assertIn(path, strings)
        self.assertNotIn(b'tools-tree', strings)
        sources = ''.join(path.read_text() for path in
                          pathlib.Path(TOOLS).glob('*.c'))
        self.assertEqual(re.findall(r'getenv\("(\w+)"', sources),
                         ['NOTIFY_SOCKET'])

    def test_fuzz(self):
        for target in ('fuzz-records', 'fuzz-derived', 'fuzz-events', 'fuzz-show',
                       'fuzz-text', 'fuzz-usb-ip'):
            done = subprocess.run(
                ['meson', 'test', '-C', BUILD, '--no-rebuild', '--print-errorlogs',
                 target], stdout=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 0, done.stdout)
            # A run that meson counts as skipped has not passed
            self.assertRegex(done.stdout, r'(?m)^Ok: *1 *$')
