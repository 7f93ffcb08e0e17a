# The packages: the driver that DKMS builds, kernels that come, an initramfs with vser,
# completions of shells, upgrade and purge
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import re
import shlex
import subprocess

from guestlib import TOP, GuestError, Port, make_image
from test_systemd import ACME, LINKS, SystemdTest

# Type a line into a shell on a terminal of its own, and a tab; then what the shell runs.
# For a list of lines, as JSON: the arguments that vser or lsvser got, for each line.
TYPE = r'''
import json, os, pty, re, select, sys
shell, lines = json.loads(sys.argv[1])
setup = {
    'bash': ['bash', '--norc', '-i'],
    'zsh': ['zsh', '-f', '-i'],
    'fish': ['fish'],
}[shell]
start = {
    'bash': '. /usr/share/bash-completion/bash_completion; bind "set bell-style none"\n'
            'vser() { echo "ran<$*>"; }; lsvser() { vser "$@"; }; PS1="rea""dy> "\n',
    'zsh': 'autoload -U compinit; compinit -u -D; unsetopt beep menucomplete\n'
           'vser() { echo "ran<$*>"; }; lsvser() { vser "$@"; }; PS1="rea""dy> "\n',
    'fish': 'set -g fish_greeting; function vser; echo "ran<$argv>"; end; '
            'function lsvser; vser $argv; end; '
            'function fish_prompt; echo "rea""dy> "; end\n',
}[shell]
os.environ.update(HOME='/tmp/typist', TERM='dumb', PS1='$ ')
os.makedirs('/tmp/typist', exist_ok=True)
pid, fd = pty.fork()
if pid == 0:
    os.execvp(setup[0], setup)
seen = ''
def until(pattern):
    global seen
    while not (found := re.search(pattern, seen, re.S)):
        if not select.select([fd], [], [], 100)[0]:
            sys.exit(f'{shell}: no {pattern!r} in {seen!r}')
        seen += os.read(fd, 65536).decode(errors='replace')
    seen = seen[found.end():]
    return found
os.write(fd, start.encode())
until('ready> ')
said = []
for line in lines:
    os.write(fd, line.encode() + b'\t\n')
    said.append(until(r'ran<([^>]*)>')[1].replace('\r', '').replace('\n', ''))
    until('ready> ')
os.close(fd)
print(json.dumps(said))
'''


def troubleshooting():
    """The commands of the page about troubles"""
    return re.findall(r'^ {7}(\S.*)', (TOP / 'guest/troubleshooting.md').read_text(), re.M)


class Packages(SystemdTest):
    """A guest that got all packages, then a new kernel. It starts with an initramfs of
    initramfs-tools."""

    long = True
    options = {'initramfs': 'initramfs-tools',
               'devices': [*SystemdTest.options['devices'],
                           {'driver': 'virtio-usb-pci', 'id': 'vusb'}],
               'controller': {'max_ports': 100}}

    @classmethod
    def make_ports(cls):
        # A product for which no unit is here
        return [Port('a1', **{**ACME, 'desc': '1209:0009'}, desc_serial='A1', nr=1),
                Port('plain', name='org.example.plain', nr=3)]

    def node_in_initramfs(self):
        witness = self.guest.sh('cat /run/initramfs-witness')
        self.assertIn('vport0p1: ID 1209:0009 ', witness)
        self.assertIn('/dev/vport0p1\n', witness)
        return witness

    def test_driver(self):
        """The kernel was upgraded after the driver was installed; the driver that runs was
        built for the new kernel, and has the descriptor."""
        kernel, old, path, signer = self.guest.sh(
            'uname -r; cat /root/old-kernel; modinfo -n virtio_console\n'
            'modinfo -F signer virtio_console').splitlines()
        self.assertNotEqual(kernel, old)
        self.assertEqual(path, f'/lib/modules/{kernel}/updates/dkms/virtio_console.ko')
        self.assertEqual(signer, 'DKMS module signing key')
        self.assertRegex(self.guest.sh('cat /sys/module/virtio_console/version'),
                         '^virtio-serial-desc-')
        # The driver has no file for the strings as descriptors
        attributes, whole = self.attributes('a1'), self.blob('a1').data
        self.assertEqual(attributes['descriptors'], whole[:len(attributes['descriptors'])])
        self.assertEqual(attributes['idProduct'], b'0009\n')
        self.assertEqual(attributes['serial'], b'A1\n')
        self.guest.sh(f'[ -e /lib/modules/{old}/updates/dkms/virtio_console.ko ]')

    def test_usb_driver(self):
        """DKMS has built virtio_usb too, for both kernels; udev has loaded the module, and
        a device of QEMU works."""
        guest = self.guest
        kernel, old, path, signer = guest.sh(
            'uname -r; cat /root/old-kernel; modinfo -n virtio_usb\n'
            'modinfo -F signer virtio_usb').splitlines()
        self.assertEqual(path, f'/lib/modules/{kernel}/updates/dkms/virtio_usb.ko')
        self.assertEqual(signer, 'DKMS module signing key')
        guest.sh(f'[ -e /lib/modules/{old}/updates/dkms/virtio_usb.ko ]')
        self.assertRegex(guest.sh('cat /sys/module/virtio_usb/version'), '^virtio-usb-')
        guest.qmp('device_add', driver='usb-tablet', bus='vusb.0', id='tablet')
        guest.wait_until('grep -q Tablet /sys/class/input/event*/device/name')
        self.assertIn('/virtio', guest.sh(
            'for e in /sys/class/input/event*; do grep -q Tablet $e/device/name && '
            'readlink -f $e; done; :'))
        guest.qmp('device_del', id='tablet')
        guest.wait_event('DEVICE_DELETED', device='tablet')
        guest.wait_until('! grep -q Tablet /sys/class/input/event*/device/name')

    def test_built_in(self):
        """A kernel that can't have the driver comes nevertheless, and is told of."""
        kernel = self.guest.sh('cat /root/builtin-kernel').strip()
        self.assertEqual(self.guest.sh(
            f"dpkg-query -W -f '${{db:Status-Abbrev}}' linux-image-{kernel}"), 'ii ')
        said = self.guest.sh('cat /root/install.log')
        self.assertIn(f'Linux {kernel} has virtio_console built in', said)
        self.assertIn(f'Linux {kernel} has no USB', said)
        self.assertNotIn('Error!', said)
        self.assertEqual(self.guest.sh(
            f'ls -d /lib/modules/{kernel}/updates 2>/dev/null || :'), '')

    def test_initramfs(self):
        """Ports had their links in the initramfs, with the static vser; its daemon knew
        what QEMU says."""
        self.assertIn('/run/virtio-serial-desc/vport0p1.', self.node_in_initramfs())

    def test_dracut(self):
        """An initramfs of dracut has the static vser, the rules, and DKMS's driver."""
        files = self.guest.sh('lsinitrd /boot/dracut.img-$(uname -r)')
        for name in ('usr/bin/vser', 'usr/lib/udev/vser -> ../../bin/vser',
                     'rules.d/60-virtio-serial-desc.rules',
                     'system/vser-daemon.service', '/updates/dkms/virtio_console.ko'):
            self.assertIn(name, files)

    def test_left(self):
        """What was left when all packages were purged from this guest"""
        self.assertEqual((make_image('image-packages') / 'left').read_text(), '')

    def test_autopkgtest(self):
        """The package's own tests, on the machine that they find."""
        done = self.guest.run('cd /source && autopkgtest --no-built-binaries '
                              '--output-dir /tmp/autopkgtest . -- null', check=False)
        self.assertEqual(done.status, 0, done.stderr)
        summary = dict(line.split()[:2] for line in self.guest.sh(
            'cat /tmp/autopkgtest/summary').splitlines())
        self.assertEqual(summary, {'files': 'PASS', 'example': 'PASS', 'ports': 'PASS'})

    def test_troubleshooting(self):
        """Each command of the page does something here. (PackagesGone.test_gone has the
        one for the host.)"""
        commands = [line for line in troubleshooting() if 'socat' not in line]
        self.assertGreater(len(commands), 12)
        for command in commands:
            with self.subTest(command):
                done = self.guest.run(command.replace('vport2p1', 'vport0p1').replace(
                    '1209:0001', '1209:0009'), check=False)
                self.assertEqual(done.status, 0, done.stderr)

    def options_of(self, command):
        """The long options of a command, from its help."""
        return re.findall(r'^ +(?:-\w, +)?(--[a-z-]+)', self.guest.sh(
            f'{command} --help'), re.M)

    def complete(self, shell, lines):
        return dict(zip(lines, json.loads(self.guest.sh(
            f'python3 -c {shlex.quote(TYPE)} '
            f'{shlex.quote(json.dumps([shell, lines]))}'))))

    def check_completion(self, shell):
        expected = {
            'vser connect 1209:0': 'connect 1209:0009:A1',
            'vser usb 12': 'usb 1209:0009:A1',
            'lsvser -d 12': '-d 1209:0009',
            'lsvser -s A': '-s A1',
        }
        commands = re.findall(r'^  ([a-z-]+)  ', self.guest.sh('vser --help'), re.M)
        self.assertIn('connect', commands)
        for command in commands:
            expected[f'vser {command[:-1]}'] = command
        for command in 'lsvser', 'vser list', 'vser connect':
            options = self.options_of(command)
            self.assertGreater(len(options), 2)
            for option in options:
                expected[f'{command} {option[:-1]}'] = \
                    f"{command.partition(' ')[2]} {option}".strip()
        done = self.complete(shell, list(expected))
        # An option with an argument may have its "=", and may lead into the argument
        self.assertEqual({line: said.rstrip('= ') for line, said in done.items()},
                         expected)

    def test_completion_bash(self):
        self.check_completion('bash')

    def test_completion_zsh(self):
        self.check_completion('zsh')

    def test_completion_fish(self):
        self.check_completion('fish')


class PackagesGone(SystemdTest):
    """A guest in which the package of an earlier commit was installed, then upgraded, then
    purged, is as before."""

    long = True
    options = {**SystemdTest.options, 'disk': 'base'}

    @classmethod
    def setUpClass(cls):
        cls.options = {**cls.options, 'packages': make_image('image-packages', 'build')}
        super().setUpClass()

    @classmethod
    def make_ports(cls):
        return [Port('bob', **ACME, desc_serial='bob', nr=1),
                Port('modem', desc='1209:000b', desc_class='cdc-acm', nr=2)]

    # dpkg's own files, logs and caches are no traces
    TRACES = r'''
        find / -xdev '(' -path /var/log -o -path /var/lib/dpkg -o -path /var/cache \
            -o -path /tmp -o -path /root -o -path /packages -o -path /var/tmp ')' \
            -prune -o -printf '%y %M %u %g %p %l\n' | sort
        echo == units
        systemctl list-unit-files --no-legend --no-pager
        systemctl list-units --all --no-legend --plain --no-pager 'vser*' 'acme*' \
            'dev-virtio*by*'
        echo == hwdb
        for key in usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00 \
            usb:v1209p000Bd0100dc02dsc00dp00ic02isc02ip01in00; do
            systemd-hwdb query $key
        done
        echo == ports
        find /dev/virtio-ports /run/virtio-serial-desc -printf '%y %p %l\n' \
            2>/dev/null | sort
        stat -c '%n %U %G %a' /dev/vport0*
        getent passwd; getent group
        ls /etc/udev /run/udev/rules.d 2>/dev/null
        :'''

    def test_gone(self):
        guest = self.guest
        link = f'{LINKS}/by-usb-id/1209:0001:bob'
        before = guest.sh(self.TRACES)
        guest.sh('dpkg -i /packages/previous/virtio-serial-desc_*.deb '
                 '/packages/acme-kernel-stats_*.deb')
        guest.wait_for(link)
        self.ask(self.port('bob'), 'bob')
        version = guest.sh('dpkg-query -W virtio-serial-desc')
        pid = self.unit('acme-kernel-stats@bob', 'MainPID')

        guest.sh('dpkg -i /packages/virtio-serial-desc_*.deb')
        self.assertNotEqual(guest.sh('dpkg-query -W virtio-serial-desc'), version)
        # An upgrade ends nobody's agent
        self.ask(self.port('bob'), 'bob')
        self.assertEqual(self.unit('acme-kernel-stats@bob', 'MainPID'), pid)
        self.check_truth()
        self.assertEqual(
            guest.sh('readlink /proc/$(systemctl show -p MainPID --value vser-daemon)/exe'),
            '/usr/bin/vser\n')

        # How the guide talks to the example
        bob = self.port('bob')
        bob.socket.close()
        # An agent that is still to end would take the words, and answer nobody
        guest.wait_until(f'[ ! -e /proc/{pid} ]')
        [command] = [line for line in troubleshooting() if 'socat' in line]
        self.assertRegex(subprocess.run(
            command.replace('/run/acme/alice', str(guest.dir / 'bob')), shell=True,
            check=True, stdout=subprocess.PIPE, text=True).stdout, r'^[\d.]+ [\d.]+\n\.\n$')

        # An agent that still starts when its package goes
        guest.sh('d=/run/systemd/system/acme-kernel-stats@bob.service.d; mkdir -p $d; '
                 'printf "[Service]\\nExecCondition=/bin/sleep infinity\\n" >$d/slow.conf; '
                 'systemctl daemon-reload; '
                 'systemctl restart --no-block acme-kernel-stats@bob')
        guest.wait_until('[ "$(systemctl show -p ControlPID --value acme-kernel-stats@bob)" '
                         '!= 0 ] && pidof sleep')
        guest.sh('dpkg -P acme-kernel-stats virtio-serial-desc')
        guest.sh('rm -r /run/systemd/system/acme-kernel-stats@bob.service.d; '
                 'systemctl daemon-reload; udevadm settle')
        # systemd hears of what udev took back in its own time
        units = "systemctl list-units --all --no-legend --plain 'acme*' 'dev-virtio*by*'"
        try:
            guest.wait_until(f'[ -z "$({units})" ]')
        except GuestError:
            self.fail(guest.sh(units))
        self.assertEqual(guest.sh(self.TRACES), before)


class PackagesGoneNewest(PackagesGone):
    kernel = 'newest'
