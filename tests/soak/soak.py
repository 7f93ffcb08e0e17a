# Many ports for some minutes, while host, guest and machine come and go
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest sends back what 64 ports bring. At random, the host's ends of ports are
closed and come again, ports are unplugged and plugged with another serial number, the
driver leaves the controller and comes back, the guest is started again, the machine
stops and goes on, and, in the second half, moves to another QEMU.

At the end the guest must know exactly the ports that are there, and QEMU's memory, file
descriptors and threads must be what they were at the beginning.
"""

import argparse
import base64
import functools
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))

import guestlib                                                     # noqa: E402
from guestlib import TIMEOUT, TOP, Guest, GuestError, Lines, Port   # noqa: E402
from stream import Damage, Stream, Streams                          # noqa: E402
from usbdesc import Blob                                            # noqa: E402

# Once for all QEMUs of a run
guestlib.make_image = functools.cache(guestlib.make_image)

PORTS = 64
# Stock QEMU drops control events when there are more than the driver has buffers for, which
# are 32: of more ports, some never appear
STOCK_PORTS = 12
# Seconds: one emulated CPU of a busy machine has 64 ports to set up. What is stuck, is stuck
# for ever
PATIENCE = 3 * TIMEOUT
MEMORY = 640                # the guest's, in MiB
# Linux 6.1 makes 4 MiB of buffers for a port whose rings have 1024 entries
RAM_ROOT = '/dev/shm'       # memory that two QEMUs share, so that a migration is short
HEAP_GROWTH = 4096          # KiB that QEMU may have more at the end than after the start
CONTROLLER = '/sys/bus/virtio/drivers/virtio_console'

# How often an event happens, against the others. What moves the machine to another QEMU
# happens only in the second half: what one QEMU loses shows in the first half
EVENTS = {'close': 6, 'plug': 5, 'stop': 4, 'reload': 2, 'reboot': 1}
MOVES = {'migrate': 8, 'migrate_quietly': 8}


class SoakGuest(Guest):
    """A guest that can move to another QEMU, with all its ports."""

    # Each QEMU has a directory of its own
    moves = 0

    def command(self):
        cmd = super().command()
        cmd[cmd.index('-m'):cmd.index('-m') + 2] = [
            '-m', str(self.memory), '-object',
            f'memory-backend-file,id=ram,size={self.memory}M,share=on,mem-path={self.ram}']
        cmd[cmd.index('-machine') + 1] += ',memory-backend=ram'
        # Two QEMUs have a buffer for translated code: keep it small
        cmd[cmd.index('-accel') + 1] += ',tb-size=32'
        return cmd

    def _start(self):
        self.root = self.dir
        self.ram = pathlib.Path(RAM_ROOT) / f'{self.root.name}.ram'
        super()._start()

    def _end(self):
        self.dir = self.root
        super()._end()
        self.ram.unlink(missing_ok=True)

    def migrate(self):
        """Go on in another QEMU, to which all host's ends are connected before. Returns the
        new sockets of the ports."""
        old = self.process, self._qmp, self._agent, self.dir
        self.moves += 1
        self.dir = self.root / str(self.moves)
        self.dir.mkdir()
        self.process, self._qmp, self._agent, socks = self.start_destination()
        there, self._qmp = self._qmp, old[1]
        uri = f'unix:{self.dir}/migration'
        capabilities = [{'capability': 'x-ignore-shared', 'state': True}]
        try:
            self.qmp('migrate-set-capabilities', capabilities=capabilities)
            self._qmp = there
            self.qmp('migrate-set-capabilities', capabilities=capabilities)
            self.qmp('migrate-incoming', uri=uri)
            self._qmp = old[1]
            self.qmp('migrate', uri=uri)
            end = time.monotonic() + TIMEOUT
            while (status := self.qmp('query-migrate').get('status')) != 'completed':
                if status == 'failed' or time.monotonic() > end:
                    raise Damage(f'migration: {status}: {self.errors()}')
                time.sleep(0.01)
        finally:
            self._qmp = there
            old[0].kill()
            old[0].wait()
        if old[3] != self.root:
            shutil.rmtree(old[3])
        while self.qmp('query-status')['status'] == 'inmigrate':
            time.sleep(0.01)
        return socks

    def start_destination(self):
        """Start the QEMU to which the guest moves: its process, QMP, agent and sockets"""
        with open(self.dir / 'qemu-errors', 'wb') as errors:
            process = subprocess.Popen([*self.command(), '-incoming', 'defer'],
                                       stdin=subprocess.DEVNULL, stdout=errors,
                                       stderr=errors)
        self.process = process
        qmp = self.connect_qmp()
        before, self._qmp = self._qmp, qmp
        self.qmp('qmp_capabilities')
        self._qmp = before
        agent = Lines(self.connect('agent'))
        agent.sock.settimeout(2 * TIMEOUT)
        return process, qmp, agent, {id: self.connect(id) for id in self.ports}


def own_memory(proc):
    """KiB that a process has of its own, but for what it may execute: translated code, which
    is as much as the guest has run since it came to this QEMU."""
    kib = 0
    for line in (proc / 'smaps').read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(':'):
            executable = 'x' in rest[0]
        elif first == 'Anonymous:' and not executable:
            kib += int(rest[0])
    return kib


class Soak:
    def __init__(self, qemu, seed, minutes, described, only):
        self.only = only or [*EVENTS, *MOVES]
        self.random = random.Random(seed)
        self.seconds = minutes * 60
        self.described = described
        self.ports = PORTS if described else STOCK_PORTS
        self.counts = dict.fromkeys([*EVENTS, *MOVES], 0)
        self.samples = []       # (seconds, which QEMU, KiB, files, threads)
        self.serials = [f'{nr}.0' for nr in range(1, self.ports + 1)]
        self.guest = SoakGuest(qemu, ports=[self.port(nr) for nr in range(1, self.ports + 1)],
                               controller={'max_ports': self.ports + 1}, memory=MEMORY,
                               log=TOP / 'build/log/soak-console.log')
        self.streams = Streams({f'port{nr}': Stream(f'port{nr}', f'{seed} {nr}')
                                for nr in range(1, self.ports + 1)})

    def name(self, nr):
        return f'usb:1209:0001:{self.serials[nr - 1]}'

    def port(self, nr):
        return Port(f'port{nr}', nr=nr, name=self.name(nr))

    # What happens

    def close(self):
        """Some of the host's ends go, at any byte, and come again."""
        for stream in self.random.sample([*self.streams.streams.values()],
                                         self.random.randint(1, self.ports // 2)):
            with self.streams.lock:
                stream.sock.close()
                stream.sock = None
            sock = self.guest.connect(stream.name)
            with self.streams.lock:
                stream.attach(sock)
                self.guest.ports[stream.name].socket = sock

    def plug(self):
        """A port goes; another one takes its number."""
        nr = self.random.randint(1, self.ports)
        stream = self.streams.streams[f'port{nr}']
        with self.streams.lock:
            stream.sock = None
        self.guest.unplug(self.guest.ports[stream.name])
        serial, generation = self.serials[nr - 1].split('.')
        self.serials[nr - 1] = f'{serial}.{int(generation) + 1}'
        port = self.port(nr)
        self.guest.plug(port)
        with self.streams.lock:
            stream.attach(port.socket)

    def stop(self):
        self.guest.qmp('stop')
        time.sleep(self.random.random() / 10)   # how long is the input, not a wait
        self.guest.qmp('cont')

    def reload(self):
        """The driver leaves the controller, and comes back."""
        self.streams.lossy = True
        self.guest.sh(f'cd {CONTROLLER}; echo {self.device} >unbind; echo {self.device} >bind')
        self.begin_again()

    def reboot(self):
        self.streams.lossy = True
        self.guest.reboot()
        self.start_guest()
        self.begin_again()

    def begin_again(self):
        with self.streams.lock:
            for stream in self.streams.streams.values():
                stream.again()
            self.streams.lossy = False

    def migrate(self, quietly=False):
        """The machine moves. Bytes that are on the way in sockets are lost, as the host's
        ends are other sockets."""
        if quietly:
            self.streams.quiet = True
            self.streams.wait(Stream.on_mark, 'all bytes come back', PATIENCE)
        with self.streams.lock:
            old = [(s, s.sock) for s in self.streams.streams.values()]
            for stream in self.streams.streams.values():
                stream.sock = None
        socks = self.guest.migrate()
        with self.streams.lock:
            for stream, sock in old:
                sock.close()
                stream.sock = self.guest.ports[stream.name].socket = socks[stream.name]
                stream.sock.setblocking(False)
                if not quietly:
                    stream.again()
        self.streams.quiet = False

    def migrate_quietly(self):
        """The same while no byte is on the way: then no byte may be lost."""
        self.migrate(quietly=True)

    # The guest

    def start_guest(self):
        """Have the guest send back what each port brings, whatever happens to the port"""
        self.guest.wait_until(f'[ $(cat /sys/class/virtio-ports/vport0p*/name | wc -l) ='
                              f' {self.ports} ]')
        self.device = self.guest.sh(
            'basename $(readlink -f /sys/class/virtio-ports/vport0p1/device)').strip()
        # A node's number changes when the driver comes back; the port's own does not
        self.guest.sh(
            "cat >/run/echo <<'END'\n"
            'while :; do\n'
            '    for node in /dev/vport*p$1; do\n'
            '        case $(cat /sys/class/virtio-ports/${node##*/}/name) in\n'
            # A port that stays open loses no byte when a host's end comes and goes: cat ends
            # well then. It fails when the port is gone
            '        usb:*) ( exec 3<>$node && while cat <&3 >&3; do sleep 0.2; done ) ;;\n'
            '        esac\n'
            '    done\n'
            '    sleep 0.2\n'
            'done\n'
            'END\n'
            f'for nr in $(seq {self.ports}); do\n'
            '    sh /run/echo $nr >/dev/null 2>&1 </dev/null &\n'
            'done')

    # What must be true

    def sample(self):
        proc = pathlib.Path(f'/proc/{self.guest.process.pid}')
        self.samples.append((time.monotonic() - self.start, self.guest.moves, own_memory(proc),
                             len(os.listdir(proc / 'fd')), len(os.listdir(proc / 'task'))))

    def settle(self):
        """All ports work: each one has brought bytes back since its last mark."""
        self.streams.wait(lambda s: s.marked and s.since_mark > 0, 'a port works', PATIENCE)
        self.streams.quiet = True
        self.streams.wait(Stream.on_mark, 'all bytes come back', PATIENCE)
        self.sample()
        self.streams.quiet = False

    def truth(self):
        """Names, descriptors and links in the guest are those of QEMU's ports."""
        found = self.guest.sh(
            'udevadm settle; cd /sys/class/virtio-ports; for p in vport*; do\n'
            'case $(cat $p/name) in usb:*)\n'
            '    echo $p $(cat $p/name) $(cat $p/serial 2>/dev/null || echo -)'
            ' $(base64 -w 0 $p/descriptors 2>/dev/null || echo -) ;;\n'
            'esac; done').splitlines()
        ports = {int(line.split()[0].rsplit('p', 1)[1]): line.split() for line in found}
        if sorted(ports) != list(range(1, self.ports + 1)):
            raise Damage(f'the guest has ports {sorted(ports)}')
        links = self.guest.links()
        wanted = set()
        for nr, (node, name, serial, descriptors) in ports.items():
            theirs = self.serials[nr - 1]
            # In the guest, a name of stock QEMU's port is a descriptor too
            link = f'by-usb-id/1209:0001:{theirs}'
            wanted.add(link)
            if links.get(link) != node:
                raise Damage(f'{link} leads to {links.get(link)}, not to {node}')
            if not self.described:
                if name != self.name(nr):
                    raise Damage(f'{node} has the name {name}, not {self.name(nr)}')
                continue
            blob = Blob(base64.b64decode(self.guest.qmp(
                'qom-get', path=f'/machine/peripheral/port{nr}', property='desc-blob')))
            if not name.endswith(f'#{theirs}') or serial != theirs:
                raise Damage(f'{node} has the name {name} and the serial number {serial}, not'
                             f' {theirs}')
            if base64.b64decode(descriptors) != blob.descriptors:
                raise Damage(f'{node} has other descriptors than QEMU')
        extra = {link for link in links if link.startswith('by-usb-id/')} - wanted
        if extra:
            raise Damage(f'links without a port: {" ".join(extra)}')

    def flat(self):
        """What each QEMU has at the end is what it had at its beginning."""
        first = [s for s in self.samples if s[1] == 0]
        # The allocator's caches fill up in the beginning
        begin = max(s[2] for s in first[:max(len(first) // 3, 1)])
        end = statistics.median(s[2] for s in first[-3:])
        # A QEMU that is older has more in these caches, so each one's first sample counts
        fresh = [s[2] for was, s in zip(self.samples, self.samples[1:]) if s[1] != was[1]]
        third = max(len(fresh) // 3, 1)
        files = {s[3] for s in self.samples}
        threads = {s[4] for s in self.samples}
        print(f'  QEMU, first half: {begin} KiB after the start, {end:.0f} KiB at the end')
        if fresh:
            print(f'  QEMUs after migrations: {min(fresh)} to {max(fresh)} KiB')
        print(f'  open files: {min(files)} to {max(files)}, threads: {min(threads)} to'
              f' {max(threads)}', flush=True)
        if end > begin + HEAP_GROWTH:
            raise Damage(f'memory grew from {begin} to {end:.0f} KiB')
        if fresh and statistics.median(fresh[-third:]) > (statistics.median(fresh[:third]) +
                                                          HEAP_GROWTH):
            raise Damage(f'memory grew over migrations: {fresh}')
        last = self.samples[-1]
        if last[3] > self.samples[0][3] + 1 or last[4] > self.samples[0][4] + 1:
            raise Damage(f'open files and threads: {self.samples[0][3:]} at the beginning,'
                         f' {last[3:]} at the end')

    def run(self):
        with self.guest:
            self.start = time.monotonic()
            self.start_guest()
            for id, port in self.guest.ports.items():
                self.streams.streams[id].attach(port.socket)
            self.streams.start()
            try:
                self.play()
            except GuestError as e:
                raise Damage(str(e)) from e
            except Damage:
                self.say_state()
                raise
            finally:
                self.streams.end()
                said = self.guest.errors()
                print(*(f'  QEMU: {line}' for line in said.splitlines()), sep='\n')

    def say_state(self):
        """What is known of the ports that do not work"""
        self.streams.quiet = True
        for stream in self.streams.streams.values():
            if stream.marked and stream.since_mark:
                continue
            path = f'/machine/peripheral/{stream.name}'
            nr = int(stream.name[4:])
            print(f'  {stream.name}: marked {stream.marked}, to send {len(stream.to_send)},'
                  f' expected {len(stream.expected)}, came {len(stream.came)}')
            for _ in range(2):
                print('  ', {name: self.guest.qmp('qom-get', path=path, property=name)
                             for name in self.guest.qmp('qom-list', path=path)
                             for name in [name['name']] if name.startswith('bytes-')})
            print(self.guest.qmp('human-monitor-command', **{
                'command-line': 'info chardev'}).splitlines()[nr:nr + 3])
            print(self.guest.run(
                f'cd /sys/kernel/debug 2>/dev/null; mount -t debugfs d /sys/kernel/debug;'
                f' cat /sys/kernel/debug/virtio-ports/vport*p{nr};'
                f' for p in /proc/[0-9]*; do case $(readlink $p/fd/0) in *p{nr}) echo $p'
                ' $(cat $p/comm $p/wchan $p/stack); ls -l $p/fd ;; esac; done',
                check=False).stdout.decode())

    def play(self):
        self.settle()
        # From here on: a busy machine may need minutes to boot the guest
        self.start, self.samples = time.monotonic(), []
        self.sample()
        while (now := time.monotonic() - self.start) < self.seconds:
            weights = dict(EVENTS)
            if now > self.seconds / 2:
                weights.update(MOVES)
            weights = {event: n for event, n in weights.items() if event in self.only}
            event = self.random.choices([*weights], [*weights.values()])[0]
            print(f'  {now:.0f} s: {event}', file=sys.stderr, flush=True)
            getattr(self, event)()
            self.counts[event] += 1
            self.streams.check()
            # At times the next event comes before all ports are back
            if self.random.random() < 0.7:
                self.settle()
        if not any(self.counts.values()):
            raise Damage('nothing has happened')
        self.settle()
        # The guest's programs share one emulated CPU with what sends bytes back
        self.streams.quiet = True
        self.truth()
        self.flat()


def plot(samples, path):
    """The memory of QEMU over time, as an SVG; a line for each QEMU"""
    width, height, left = 800, 240, 60
    seconds = max(s[0] for s in samples) or 1
    top = max(s[2] for s in samples) * 1.1
    lines = []
    for which in sorted({s[1] for s in samples}):
        points = ' '.join(f'{left + s[0] / seconds * (width - left):.1f},'
                          f'{height - s[2] / top * height:.1f}'
                          for s in samples if s[1] == which)
        lines.append(f'<polyline points="{points}" fill="none" stroke="black"'
                     ' marker-end="url(#dot)" marker-start="url(#dot)"/>')
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 20}" height="{height + 40}"'
        ' font-family="sans-serif" font-size="12"><defs><marker id="dot" markerWidth="4"'
        ' markerHeight="4" refX="2" refY="2"><circle cx="2" cy="2" r="1.5"/></marker></defs>'
        f'<path d="M{left},0 V{height} H{width}" fill="none" stroke="gray"/>'
        f'<text x="0" y="12">{top / 1024:.0f} MiB</text><text x="40" y="{height}">0</text>'
        f'<text x="{left}" y="{height + 20}">0 s</text>'
        f'<text x="{width - 40}" y="{height + 20}">{seconds:.0f} s</text>'
        f'<text x="{width // 2 - 60}" y="{height + 20}">QEMU without the guest\'s RAM</text>'
        f'{"".join(lines)}</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 32))
    parser.add_argument('--only', nargs='*', choices=[*EVENTS, *MOVES])
    parser.add_argument('--stock', action='store_true')
    parser.add_argument('qemu')
    o = parser.parse_args()

    name = 'soak-stock' if o.stock else 'soak'
    print(f'  {name}: seed {o.seed}', flush=True)
    soak = Soak(o.qemu, o.seed, o.minutes, not o.stock, o.only)
    why = None
    try:
        soak.run()
    except (Damage, GuestError) as e:
        why = e
    streams = soak.streams.streams.values()
    print('  ' + ', '.join(f'{event}: {count}' for event, count in soak.counts.items()))
    print(f'  {sum(s.passed for s in streams)} bytes there and back, all checked;'
          f' {sum(s.dropped for s in streams)} bytes of connections that had ended')
    if soak.samples:
        path = TOP / f'build/log/{name}-memory.svg'
        plot(soak.samples, path)
        print(f'  the memory over time: {path.relative_to(TOP)}')
    if why:
        print(f'not ok {name}: seed {o.seed}: {why}')
    else:
        print(f'ok {name}: {o.minutes:g} minutes, {soak.ports} ports')
    print(f'{int(not why)} passed, {int(bool(why))} failed, 0 skipped')
    return bool(why)


if __name__ == '__main__':
    sys.exit(main())
