# Boot a guest, and talk to it, to its QEMU and to the other side of its ports.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Real guests for tests.

    with Guest(qemu, ports=[Port('p1', desc='1209:0001')]) as g:
        g.run('cat /sys/class/virtio-ports/vport*/idVendor')
        g.ports['p1'].socket.sendall(b'hello')

Nothing here sleeps: what waits, waits for a file, an answer or an event, and
TIMEOUT is only when it gives up. It is long because guests are emulated, on
machines that have other things to do.
"""

import base64
import collections
import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from platforms import DEFAULT, PLATFORMS

TOP = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 120

Result = collections.namedtuple('Result', 'status stdout stderr')


class GuestError(Exception):
    """The guest, or QEMU, did not do what was asked for."""


def make_image(script, *args):
    """Have tests/guest/image or a script beside it make what a guest boots; where
    it is."""
    done = subprocess.run([TOP / 'tests/guest' / script, *args],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise GuestError(f'tests/guest/{script} failed')
    return pathlib.Path(done.stdout.splitlines()[-1])


class Port:
    """A port device whose other side is a socket of this process.

    Properties are given with '_' for '-', as in desc_serial='S1'. The other
    side connects when the port is made, unless `connect` is false.
    """

    def __init__(self, id, driver='virtserialport', connect=True, **props):
        self.id = id
        self.driver = driver
        self.connect = connect
        self.props = {k.replace('_', '-'): v for k, v in props.items()}
        self.socket = None

    def device(self):
        return {'driver': self.driver, 'id': self.id, 'bus': 'vs.0',
                'chardev': f'char-{self.id}', **self.props}

    def receive(self, length):
        """Exactly `length` bytes from the guest."""
        data = b''
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise GuestError(f'{self.id}: connection closed after '
                                 f'{len(data)} of {length} bytes')
            data += more
        return data


class Started:
    """A context manager that starts something in a directory of its own,
    self.dir, and ends it on leaving, or if it does not start as a whole.

    A subclass has _start() and _end(), which removes the directory too;
    self.process is None as long as _start() has not set it.
    """

    def __enter__(self):
        # A socket's path must be short, so this is not under build/; and
        # libvirt takes domain-*/NAME of channel NAME for a path of its own.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='started-'))
        self.process = None
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc):
        self._end()


class Guest(Started):
    """A running guest. A context manager: leaving it ends QEMU.

    driver    'patched' or 'stock': which virtio_console it has
    platform  the name of a row of tests/guest/platforms
    machine   QEMU's machine type, instead of the platform's
    kernel    '6.1', '6.12' or 'newest'; with a disk '6.1', which is Debian 12, or
              'newest', which is the newest release's, with its kernel's driver
    disk      'base', 'installed' or 'guide', a disk of image-systemd: Debian with
              systemd, without or with our packages, or what a newcomer has, instead
              of image's small root in memory. What the guest writes there is gone
              with it.
    packages  the directory with packages.cpio, if not the disk's own: the guest has
              /packages of it
    initramfs 'initramfs-tools' or 'dracut': the guest of image-packages, with its own
              kernel, its own driver and the initramfs that this one has made
    usb       the guest also has what image-usb makes: the driver virtio_usb, and drivers
              of USB devices
    ports     Port objects, on the controller 'vs'
    controller, devices
              properties of 'vs'; more -device dictionaries. The driver
              'virtio-serial' becomes the one of the platform's transport
    memory    the guest's, in MiB
    swap      a file: the guest's only disk without `disk`, for hibernate()
    log       where the guest's console is kept, if it should be
    """

    def __init__(self, qemu, *, driver='patched', platform=DEFAULT, machine=None,
                 kernel='6.1', disk=None, initramfs=None, packages=None, usb=False,
                 ports=(), controller=None, devices=(),
                 memory=512, swap=None, log=None):
        self.qemu = qemu
        self.driver = driver
        self.platform = PLATFORMS[platform]
        self.machine = machine or self.platform.machine
        self.kernel = kernel
        self.disk = 'guest' if initramfs else disk
        self.initramfs = initramfs
        self.packages = packages
        self.usb = usb
        self.ports = {port.id: port for port in ports}
        self.controller = controller or {}
        self.devices = devices
        # KASAN and its quarantine take what other kernels leave to programs, and
        # slub_debug doubles the 4 MiB of buffers that Linux makes for each port
        self.memory = max(memory, 2048) if kernel == 'kasan' else memory
        self.swap = swap
        self.log = log
        self.events = []

    def command(self):
        """QEMU's command line, as a list."""
        guide = ['guide'] * (self.disk == 'guide')
        if self.initramfs:
            image = system = make_image('image-packages')
            initrd = [image / f'{self.initramfs}.img']
        elif self.disk and self.kernel == 'newest':
            # Modules, with the kernel's own driver, are on the disk
            image = system = make_image('image-systemd', 'newest', *guide)
            initrd = [system / 'boot.cpio']
        else:
            stock = ['stock'] * (self.driver == 'stock')
            if self.kernel == 'kasan':
                image = make_image('image-kasan', *stock)
            else:
                image = make_image('image-usb' if self.usb else 'image',
                                   f'--platform={self.platform.name}',
                                   self.kernel, *stock)
            # The drivers of USB devices are in the kernel with checks
            usb = ['usb'] * (self.usb and self.kernel != 'kasan')
            initrd = [image / f'{part}.cpio' for part in
                      ('base', self.driver, 'tools', *usb)]
            if self.disk:
                system = make_image('image-systemd', *guide)
                initrd = [system / 'boot.cpio', image / f'{self.driver}.cpio']
        if self.disk and not self.initramfs:
            initrd.append((self.packages or system) / 'packages.cpio')
        with open(self.dir / 'initrd', 'wb') as whole:
            for part in initrd:
                with open(part, 'rb') as f:
                    shutil.copyfileobj(f, whole)

        append = f'console={self.platform.terminal} panic=-1 quiet loglevel=6 ' \
            f'{self.platform.append}'
        if self.kernel == 'kasan':
            # It is slow, and on a busy host it seems to stand still
            append += ' rcupdate.rcu_cpu_stall_suppress=1'
        if self.initramfs:
            append += ' root=/dev/vda rw'
        elif self.driver == 'patched' and (image / 'builtin').exists():
            # This kernel has a driver built in. It has to make room.
            append += ' initcall_blacklist=virtio_console_init'
        cmd = [self.qemu, '-machine', self.machine, '-accel', 'tcg',
               '-m', self.memory, '-nodefaults', '-display', 'none', '-no-reboot',
               '-kernel', image / 'vmlinuz', '-initrd', self.dir / 'initrd',
               '-append', append,
               '-chardev', f'socket,id=console,path={self.dir}/console,'
               f'server=on,wait=off,logfile={self.dir}/console.txt',
               *self.platform.options.split()]
        for name in 'agent', 'qmp':
            cmd += ['-chardev', f'socket,id={name},path={self.dir}/{name},'
                                'server=on,wait=off']
        cmd += ['-mon', 'chardev=qmp,mode=control']

        # The guest is controlled through a port of another controller: the
        # emulated UART loses bytes when the machine is busy.
        devices = [{'driver': 'virtio-serial', 'id': 'vs', **self.controller},
                   {'driver': 'virtio-serial', 'id': 'agent', 'max_ports': 2},
                   {'driver': 'virtserialport', 'bus': 'agent.0',
                    'chardev': 'agent', 'name': 'test.agent'}]
        if self.disk:
            cmd += ['-drive', f'file={system}/{self.disk}.img,format=raw,'
                              'if=none,id=disk,snapshot=on']
        for port in self.ports.values():
            cmd += ['-chardev', f'socket,id=char-{port.id},'
                                f'path={self.dir}/{port.id},server=on,wait=off']
            devices.append(port.device())
        devices += self.devices
        if self.disk:
            devices.append({'driver': 'virtio-blk', 'drive': 'disk'})
        if self.swap:
            cmd += ['-drive', f'file={self.swap},format=raw,if=none,id=swap']
            devices.append({'driver': 'virtio-blk', 'drive': 'swap'})
        if self.usb and self.platform.transport == 'device':
            # virtio-mmio speaks virtio 1 only if it is told to
            cmd += ['-global', 'virtio-mmio.force-legacy=off']
        for device in devices:
            if device['driver'] in ('virtio-serial', 'virtio-blk', 'virtio-usb'):
                device = {**device, 'driver':
                          f"{device['driver']}-{self.platform.transport}"}
            cmd += ['-device', option(device)]
        return [str(word) for word in cmd]

    def _start(self):
        cmd = self.command()
        libc = ctypes.CDLL(None)

        def end_with_us():
            libc.prctl(1, signal.SIGKILL)   # PR_SET_PDEATHSIG

        errors = open(self.dir / 'qemu-errors', 'wb')
        self.process = subprocess.Popen(cmd, stdin=subprocess.DEVNULL,
                                        stdout=errors, stderr=errors,
                                        preexec_fn=end_with_us)
        errors.close()
        self._qmp = self.connect_qmp()
        self.qmp('qmp_capabilities')
        for port in self.ports.values():
            self._attach(port)
        self._agent = Lines(self.connect('agent'))
        # What waits in the guest gives up first, and the next test goes on
        self._agent.sock.settimeout((8 if self.kernel == 'kasan' else 2) * TIMEOUT)
        if self._read(self._agent) != b'ready':
            raise GuestError('the guest did not come up:\n' + self.console())

    def _end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.log and (self.dir / 'console.txt').exists():
            self.log.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.dir / 'console.txt', self.log)
        shutil.rmtree(self.dir)

    def connect(self, name):
        """Connect to QEMU's socket, which is there a moment after QEMU is."""
        path = str(self.dir / name)
        end = time.monotonic() + TIMEOUT
        while True:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT)
            try:
                sock.connect(path)
                return sock
            # Blocking: QEMU has yet to take another connection
            except (BlockingIOError, FileNotFoundError, ConnectionRefusedError):
                sock.close()
            if time.monotonic() > end:
                raise GuestError(f'{path}: QEMU takes no connection in {TIMEOUT} s')
            try:
                self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise GuestError('QEMU ended: ' + self.errors())

    def connect_qmp(self):
        """Connect to QMP and read its greeting; Lines. QEMU sends an event that comes
        while a client connects, as RESUME of a machine that starts, before it."""
        qmp = Lines(self.connect('qmp'))
        while 'QMP' not in json.loads(self._read(qmp)):
            pass
        return qmp

    def _attach(self, port):
        if port.connect:
            port.socket = self.connect(port.id)

    def _read(self, lines):
        try:
            return lines.read()
        except (OSError, EOFError) as e:
            raise GuestError(f'{e or "QEMU ended"}: {self.errors()}\n'
                             f'{self.console()}') from e

    def errors(self):
        """What QEMU said."""
        return (self.dir / 'qemu-errors').read_text()

    def console(self):
        """What the guest's console has shown."""
        return (self.dir / 'console.txt').read_text(errors='replace')

    def qmp(self, command, **arguments):
        """Do a QMP command and return what it returns."""
        message = {'execute': command}
        if arguments:
            message['arguments'] = arguments
        self._qmp.write(json.dumps(message, ensure_ascii=False).encode())
        while True:
            answer = json.loads(self._read(self._qmp))
            if 'event' in answer:
                self.events.append(answer)
            elif 'error' in answer:
                raise GuestError(answer['error']['desc'])
            else:
                return answer['return']

    def wait_event(self, name, **data):
        """Take the first event with that name and at least that data."""
        while True:
            for i, event in enumerate(self.events):
                if event['event'] == name and \
                        data.items() <= event.get('data', {}).items():
                    return self.events.pop(i)
            self.events.append(json.loads(self._read(self._qmp)))

    def run(self, script, check=True):
        """Run a shell script in the guest; Result with str, bytes, str."""
        self._agent.write(base64.b64encode(script.encode()))
        return self._result(script, check)

    def _result(self, script, check):
        status, out, err = self._read(self._agent).split()
        result = Result(int(status), base64.b64decode(out[1:]),
                        base64.b64decode(err[1:]).decode(errors='replace'))
        if check and result.status:
            raise GuestError(f'exit status {result.status} in the guest:\n'
                             f'{script}\n{result.stdout.decode(errors="replace")}'
                             f'{result.stderr}')
        return result

    def sh(self, script):
        """Run a script that has to succeed; its output as str."""
        return self.run(script).stdout.decode(errors='surrogateescape')

    def wait_for(self, path, removed=False):
        """Wait until udev has made a device node or link, or removed it."""
        self.sh(f'udevadm wait --timeout={TIMEOUT} --settle '
                f'{"--removed" if removed else ""} {shlex.quote(path)}')

    def wait_until(self, condition):
        """Wait until a shell command in the guest succeeds, for what has no
        event that can be waited for."""
        self.sh('now() { read -r now _ </proc/uptime; now=${now%.*}; }\n'
                f'now; end=$((now + {TIMEOUT}))\n'
                f'until ( {condition} ); do\n'
                '    now; [ $now -lt $end ] || { echo timeout; exit 1; }\n'
                '    sleep 0.05\n'
                'done')

    def plug(self, port):
        """Add a port to the running guest."""
        self.qmp('chardev-add', id=f'char-{port.id}', backend={
            'type': 'socket', 'data': {
                'addr': {'type': 'unix',
                         'data': {'path': f'{self.dir}/{port.id}'}},
                'server': True, 'wait': False}})
        self.qmp('device_add', **port.device())
        self.ports[port.id] = port
        self._attach(port)

    def unplug(self, port):
        """Take a port from the running guest, with its chardev."""
        self.qmp('device_del', id=port.id)
        self.wait_event('DEVICE_DELETED', device=port.id)
        if port.socket:
            port.socket.close()
        self.qmp('chardev-remove', id=f'char-{port.id}')
        del self.ports[port.id]

    def sleep(self, state):
        """Go to sleep ('freeze', 'disk') and wake up again, as far as devices
        notice: the power does not go off."""
        self.sh('echo 0 >/sys/module/suspend/parameters/pm_test_delay\n'
                'echo devices >/sys/power/pm_test\n'
                f'echo {state} >/sys/power/state')

    @contextlib.contextmanager
    def asleep(self):
        """The guest is suspended to RAM for as long as the context lasts."""
        script = 'echo none >/sys/power/pm_test; echo mem >/sys/power/state'
        self._agent.write(base64.b64encode(script.encode()))
        self.wait_event('SUSPEND')
        yield
        self.qmp('system_wakeup')
        self._result(script, True)

    def hibernate(self):
        """Hibernate to `swap`. QEMU ends, as the machine has no power any more."""
        self.sh('mkswap /dev/vda >/dev/null; swapon /dev/vda\n'
                'echo none >/sys/power/pm_test; echo shutdown >/sys/power/disk')
        self._agent.write(base64.b64encode(
            b'echo disk >/sys/power/state && echo resumed'))
        # QEMU closes the monitor when it ends
        with contextlib.suppress(GuestError):
            while True:
                self.events.append(json.loads(self._read(self._qmp)))
        self.process.wait(TIMEOUT)

    def resume(self, ports):
        """Start the machine of a guest that has hibernated, with these ports; the guest
        goes on."""
        self.ports = {port.id: port for port in ports}
        self.events = []
        self._start()
        # The answer is that of hibernate(): the kernel that was asked is gone
        self._agent.write(base64.b64encode(
            b'cat /sys/block/vda/dev >/sys/power/resume; dmesg | tail -n 30'))
        said = self._result('resume', True).stdout
        if said != b'resumed\n':
            raise GuestError(f'the guest did not resume: {said.decode()}')

    def reboot(self):
        """Reset the machine under the guest, and wait until it is up again."""
        self.qmp('set-action', reboot='reset')
        self.qmp('system_reset')
        if self._read(self._agent) != b'ready':
            raise GuestError('the guest did not come up:\n' + self.console())

    def run_reboot(self):
        """The guest reboots by itself; wait until it is up again."""
        self._agent.write(base64.b64encode(b'reboot -f'))
        if self._read(self._agent) != b'ready':
            raise GuestError('the guest did not come up:\n' + self.console())

    def exchange(self, port, link, size):
        """Move `size` random bytes each way through a port that the guest opens
        by `link`; GuestError if they are not the same over there."""
        data = os.urandom(size)
        self.sh(f'head -c {size} /dev/urandom >/run/to-host\n'
                'rm -f /run/finished\n'
                f'( exec 3<>{shlex.quote(link)} && head -c {size} <&3 >/run/to-guest\n'
                '  cat /run/to-host >&3\n'
                '  touch /run/finished ) >/dev/null 2>&1 &')
        port.socket.sendall(data)
        back = port.receive(size)
        self.wait_until('[ -e /run/finished ]')
        for way, sent, name in (('host to guest', data, 'to-guest'),
                                ('guest to host', back, 'to-host')):
            if self.sh(f'sha256sum /run/{name}').split()[0] != \
                    hashlib.sha256(sent).hexdigest():
                raise GuestError(f'{link}: {way}: bytes are lost or changed')

    def node(self, link):
        """The name of the device node that a link in the guest points to."""
        return self.sh(f'basename $(readlink -f {shlex.quote(link)})').strip()

    def links(self):
        """{link relative to /dev/virtio-ports: node's name}, ours left out"""
        found = self.sh('cd /dev/virtio-ports 2>/dev/null || exit 0\n'
                        'find . -type l -exec sh -c \'\n'
                        '    printf "%s\\t%s\\0" "$1" "$(readlink "$1")"\''
                        ' sh {} ";"')
        pairs = (entry.split('\t') for entry in found.split('\0') if entry)
        return {link[2:]: os.path.basename(node) for link, node in pairs
                if link != './test.agent'}


def option(device):
    """A -device dictionary as the words of a command line."""
    def value(v):
        if isinstance(v, bool):
            return 'on' if v else 'off'
        return str(v).replace(',', ',,')

    return ','.join([device['driver'], *(f'{k}={value(v)}' for k, v in
                                         device.items() if k != 'driver')])


class Lines:
    """Lines over a socket."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile('rb')

    def read(self):
        line = self.file.readline()
        if not line.endswith(b'\n'):
            raise EOFError
        return line.rstrip(b'\r\n')

    def write(self, line):
        self.sock.sendall(line + b'\n')
