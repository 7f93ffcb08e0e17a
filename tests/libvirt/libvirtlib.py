# Start a libvirtd, and guests in it.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirtd of our own, and its domains as guests.

    with Libvirtd() as libvirtd:
        with Domain(libvirtd, qemu, xml) as guest:
            guest.sh('lsvser')
            libvirtd.virsh('managedsave', guest.name)

It is an unprivileged user's session with directories of its own; nothing of
the machine's libvirt, if there is one, is touched.
"""

import contextlib
import functools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree as ET

from guestlib import TIMEOUT, Guest, GuestError, Lines, Port, Started

QEMU = 'http://libvirt.org/schemas/domain/qemu/1.0'
ET.register_namespace('qemu', QEMU)

# As root, libvirtd would be the system's libvirtd. So libvirtd runs as nobody, with
# the one capability that lets libvirtd and the emulator use root's files. access(2)
# ignores the capability, so files that libvirt checks with access(2) are nobody's.
#
# libvirtd must not have access to /dev/kvm either: our emulator knows no KVM, and
# libvirt would probe again and again, for minutes.
AS_NOBODY = ['--reuid=nobody', '--regid=nogroup', '--clear-groups',
             '--inh-caps=-all,+dac_override', '--ambient-caps=-all,+dac_override',
             '--bounding-set=-all,+dac_override']


# The directory in which a libvirt was built that is not installed
BUILT = os.environ.get('LIBVIRT_BUILT')


def program(name):
    """The path of one of libvirt's programs, or its name if it is installed."""
    directory = {'libvirtd': 'src'}.get(name, 'tools')
    return f'{BUILT}/{directory}/{name}' if BUILT else name


@functools.cache
def version():
    """libvirt's version, as (11, 3)"""
    said = subprocess.run([program('libvirtd'), '--version'], capture_output=True, text=True,
                          check=True).stdout
    return tuple(int(n) for n in re.search(r'([0-9]+)\.([0-9]+)', said).groups())


def give(directory):
    """Give a directory and its files to the user of libvirtd."""
    if os.geteuid() == 0:
        for path in directory, *directory.rglob('*'):
            shutil.chown(path, 'nobody', 'nogroup')


class Libvirtd(Started):
    """A running libvirtd. A context manager: leaving it ends it and every
    emulator that it has started."""

    def _start(self):
        config = self.dir / 'config/libvirt'
        config.mkdir(parents=True)
        (self.dir / 'run').mkdir(mode=0o700)
        # No virtlogd; and the emulator keeps the capability
        (config / 'qemu.conf').write_text('stdio_handler = "file"\n'
                                          'clear_emulator_capabilities = 0\n')
        self.env = {'PATH': (f'{BUILT}/tools:' if BUILT else '') +
                    '/usr/sbin:/usr/bin:/sbin:/bin',
                    'LC_ALL': 'C.UTF-8',
                    'HOME': str(self.dir),
                    'XDG_RUNTIME_DIR': str(self.dir / 'run'),
                    'XDG_CONFIG_HOME': str(self.dir / 'config'),
                    'XDG_CACHE_HOME': str(self.dir / 'cache'),
                    'XDG_DATA_HOME': str(self.dir / 'data'),
                    'LIBVIRT_DEFAULT_URI': self.uri}
        give(self.dir)
        user = AS_NOBODY if os.geteuid() == 0 else []
        if user and BUILT:
            # What was built is where this clone is, perhaps where only root may
            # look: with this bit access(2) respects the capability.
            user = [*user, '--securebits=+no_setuid_fixup']
        with open(self.dir / 'libvirtd.log', 'wb') as log:
            self.process = subprocess.Popen(
                ['setpriv', '--pdeathsig=KILL', *user, program('libvirtd')],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + TIMEOUT
        while not self._listens():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
                raise GuestError('libvirtd ended: ' + self.log())
            if time.monotonic() > end:
                raise GuestError('libvirtd does not listen: ' + self.log())

    def _listens(self):
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self.socket)) == 0

    def _end(self):
        if self.process:
            # It first, or it would see its guests die
            self.process.kill()
            self.process.wait()
        for path in (self.dir / 'run/libvirt/qemu/run').glob('*.pid'):
            end_process(int(path.read_text()))
        shutil.rmtree(self.dir)

    @property
    def socket(self):
        return self.dir / 'run/libvirt/libvirt-sock'

    @property
    def uri(self):
        """For virsh -c, and for another libvirtd to migrate to."""
        return f'qemu+unix:///session?socket={self.socket}'

    def log(self):
        return (self.dir / 'libvirtd.log').read_text(errors='replace')

    def command(self, *words, fails=False, **env):
        """What a program says that talks to this libvirtd; if it is to fail,
        what it says on stderr. GuestError if that is not how it ended."""
        words = [str(word) for word in words]
        done = subprocess.run(words, env={**self.env, **env}, cwd=self.dir,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=2 * TIMEOUT)
        if bool(done.returncode) != fails:
            raise GuestError(f'{" ".join(words)}: exit status '
                             f'{done.returncode}\n{done.stdout}{done.stderr}')
        return (done.stderr if fails else done.stdout).strip()

    def virsh(self, *args, fails=False):
        return self.command('virsh', '-q', *args, fails=fails)

    def xml(self, name, *options):
        """The domain's XML, as an element."""
        return ET.fromstring(self.virsh('dumpxml', name, *options))


def end_process(pid):
    """End a process that is not our child, and wait until it has ended."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            select.select([fd], [], [], TIMEOUT)
        finally:
            os.close(fd)


class Domain(Guest):
    """A domain as a running guest. A context manager: leaving it ends the guest.

    The XML is an example's; what it says of the machine that it is on becomes
    what there is here: the emulator, the kernel, the disk's image (a new one)
    and the directory of the sockets. Each channel that is a socket is in
    `ports`, by its alias, with the test at its other side.

    emulator  a script that libvirt runs instead; it runs QEMU
    """

    def __init__(self, libvirtd, qemu, xml, emulator=None, **options):
        super().__init__(qemu, **options)
        self.libvirtd = libvirtd
        # QEMU itself may be where only root can look.
        self.emulator = emulator or f'#!/bin/sh\nexec {qemu} "$@"\n'
        self.xml = xml
        self.name = ET.fromstring(xml).findtext('name')
        self.side = 0

    @property
    def sockets(self):
        """The directory of the sockets. On one machine, each side of a
        migration needs its own."""
        return self.dir / f's{self.side}'

    def here(self, text):
        """A text of the examples, with the sockets in our directory."""
        return text.replace('/run/acme', str(self.sockets))

    def adapted(self):
        """The domain's XML, made one for this machine."""
        domain = ET.fromstring(self.here(self.xml))
        domain.set('type', 'qemu')
        devices = domain.find('devices')
        emulator = self.dir / 'emulator'
        emulator.write_text(self.emulator)
        emulator.chmod(0o755)
        devices.find('emulator').text = str(emulator)
        system = domain.find('os')
        for element in system.findall('boot'):
            system.remove(element)
        words = self.command()
        for tag, option in (('kernel', '-kernel'), ('initrd', '-initrd'),
                            ('cmdline', '-append')):
            ET.SubElement(system, tag).text = words[words.index(option) + 1]
        for source in devices.iterfind('disk/source'):
            subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2',
                            self.dir / 'disk.qcow2', '16M'], check=True)
            source.set('file', f'{self.dir}/disk.qcow2')
        # The agent's controller comes after the domain's, which is vport0
        devices.extend(ET.fromstring(f"""<devices>
            <serial type='file'><source path='{self.dir}/console.txt'/></serial>
            <channel type='unix'>
              <source mode='bind' path='{self.sockets}/agent'/>
              <target type='virtio' name='test.agent'/>
              <alias name='ua-agent'/>
              <address type='virtio-serial' controller='1' bus='0' port='1'/>
            </channel></devices>"""))
        return ET.tostring(domain, 'unicode')

    def define(self, xml):
        """Have libvirt know the domain by this XML."""
        (self.dir / 'domain.xml').write_text(xml)
        self.libvirtd.virsh('define', self.dir / 'domain.xml')

    def _start(self):
        for side in 's0', 's1':
            (self.dir / side).mkdir()
        xml = self.adapted()
        give(self.dir)
        self.define(xml)
        self.boot()

    def _end(self):
        # There is none if it could not be started.
        with contextlib.suppress(GuestError):
            self.libvirtd.virsh('destroy', self.name)
        super()._end()

    def boot(self):
        """Start the domain, and wait until the guest is up."""
        self.libvirtd.virsh('start', self.name, '--paused')
        self.resume()
        if self._read(self._agent) != b'ready':
            raise GuestError('the guest did not come up:\n' + self.console())

    def resume(self):
        """Be at the other side of all ports, then have a paused guest run: it
        would see its agent's port closed otherwise, and power off."""
        ports = {}
        for channel in self.libvirtd.xml(self.name).iterfind(
                "devices/channel[@type='unix']"):
            port = Port(channel.find('alias').get('name'))
            port.socket = self.connect(channel.find('source').get('path'))
            ports[port.id] = port
        agent = ports.pop('ua-agent')
        self.ports = ports
        self._agent = Lines(agent.socket)
        # What waits in the guest gives up first, and the next test goes on
        agent.socket.settimeout(2 * TIMEOUT)
        self.libvirtd.virsh('resume', self.name)

    def connect(self, path):
        """Connect to a socket: its path, or its name in `sockets`."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(str(self.sockets / path))
        return sock

    def migrate(self, to, xml=None, fails=False):
        """Migrate to another libvirtd, with this XML instead of what the domain
        has; if that is to fail, what is said."""
        xml = xml or self.libvirtd.virsh('dumpxml', '--migratable', self.name)
        here, self.side = self.sockets, 1 - self.side
        file = self.dir / 'migrated.xml'
        file.write_text(xml.replace(f'{here}/', f'{self.sockets}/'))
        try:
            said = self.libvirtd.virsh(
                'migrate', '--p2p', '--suspend', '--persistent',
                # The disk's image is not on a file system that libvirt knows as
                # shared, but it is: this is one machine.
                '--undefinesource', '--unsafe', self.name, to.uri, '--xml', file,
                '--migrateuri', f'unix://{self.dir}/migration', fails=fails)
        finally:
            if fails:
                self.side = 1 - self.side
        if not fails:
            self.libvirtd = to
            self.resume()
        return said

    def errors(self, libvirtd=None):
        """What QEMU said, in this or another libvirtd."""
        log = (libvirtd or self.libvirtd).dir / f'cache/libvirt/qemu/log/{self.name}.log'
        return log.read_text(errors='replace') if log.exists() else ''

    def console(self):
        path = self.dir / 'console.txt'
        return path.read_text(errors='replace') if path.exists() else ''

    def qmp(self, command, **arguments):
        answer = json.loads(self.libvirtd.virsh(
            'qemu-monitor-command', self.name,
            json.dumps({'execute': command, 'arguments': arguments})))
        if 'error' in answer:
            raise GuestError(answer['error']['desc'])
        return answer['return']
