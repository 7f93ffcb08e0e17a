#!/usr/bin/env python3
"""Drive a device at random, and compare each byte and each event with a model.

usage: model.py [--jobs N] [--seeds N] [--first N] [--seed N] [--steps N]
                [--race RING] LIBRARY LOGS VERSION QEMU

Each seed means a QEMU with other ports, rings of another kind and size, and --steps
random steps. --seed N runs that seed only. The races of races.py come first; --race
RING runs those of that kind of ring only. The last line is the sum.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import driver                                               # noqa: E402
import ends                                                 # noqa: E402
import races                                                # noqa: E402
from driver import EVENT_IDX, IN_ORDER, INDIRECT, PACKED    # noqa: E402
from qemu import PATIENCE, Qemu, migrate                    # noqa: E402
from scenes import stream                                   # noqa: E402
from tasks import Task, run_tasks                           # noqa: E402

SLOT = 4
PORTS = 8           # port numbers of the device
QUIET = 4           # so many looks without a change: all has come
SOON = 3            # seconds; then nothing more will happen


class Differs(driver.Wrong):
    """The device differs from the model"""


def need(condition, text):
    if not condition:
        raise Differs(text)


class Way:
    """
    One direction of a port: a stream whose bytes come in order. The next byte is
    the next one of the stream, or the one at a position in skips: up to there,
    bytes that were underway may be lost.
    """

    def __init__(self, tag):
        self.tag = tag
        self.given = 0          # how many bytes of the stream were sent
        self.taken = 0          # the position of the next byte to come
        self.skips = []
        self.gaps = False       # of a console: bytes may be missing anywhere
        self.tail = b""         # the last bytes that came

    def __str__(self):
        return f"{self.taken} of {self.given}, skips {self.skips}"

    def next(self, size):
        data = stream(self.tag, size, self.given)
        self.given += size
        return data

    def lose(self):
        """The bytes that were sent so far may be lost"""
        self.skips.append(self.given)

    def cut(self):
        """The bytes that were sent so far are lost"""
        self.taken = self.given
        self.skips = []

    def got(self, data):
        at = 0
        while at < len(data):
            length = self.same(data, at, self.taken)
            self.tail = (self.tail + data[at:at + length])[-8:]
            self.taken += length
            at += length
            if at < len(data):
                self.jump(data, at)
        if self.skips and self.taken > self.skips[0]:
            self.skips = [skip for skip in self.skips if skip > self.taken]

    def same(self, data, at, position):
        want = stream(self.tag, min(len(data) - at, self.given - position),
                      position)
        if data[at:at + len(want)] == want:
            return len(want)
        return next(i for i in range(len(want)) if data[at + i] != want[i])

    def jump(self, data, at):
        while self.skips:
            skip = self.skips.pop(0)
            # The first bytes at that position may be the same as the bytes before
            rest = self.tail + data[at:at + 8]
            for back in range(len(self.tail) + 1):
                if (skip >= self.taken - back and
                        self.same(rest, len(self.tail) - back, skip) > back):
                    self.taken = skip + back
                    return
        if self.gaps:
            rest = stream(self.tag, self.given - self.taken, self.taken)
            # Between two losses there may be less than a piece of the stream
            found = -1
            for length in range(8, 0, -1):
                found = rest.find(bytes(data[at:at + length]))
                if found >= 0:
                    break
            need(found >= 0, f"stream {self.tag}: what comes after"
                 f" {self.taken} is nothing that was sent")
            self.taken += found
            return
        raise Differs(f"stream {self.tag}: after {self.taken} of {self.given}"
                      f" comes {bytes(data[at:at + 16])!r}")

    def all_here(self):
        return self.taken == self.given or self.given in self.skips


class Port:
    def __init__(self, nr, console, log):
        self.nr, self.console, self.log = nr, console, log
        self.plugged = True
        self.to_host, self.to_guest = Way(nr), Way(100 + nr)
        self.end = None
        self.late = False       # a host may still come, and gets what waits
        self.told = False       # the guest has been told that there is a host
        self.must_close = False     # the guest must be told that the host went
        self.left = False       # a host went while the machine was stopped
        self.ends = []          # one end in each QEMU


class Run:
    def __init__(self, lib, program, directory, seed, steps, say):
        self.lib, self.program, self.directory = lib, program, directory
        self.random = random.Random(seed)
        self.steps = steps
        self.say = say
        self.generation = 0
        self.running = True

    # Beginning

    def play(self, properties):
        r = self.random
        packed = r.random() < 0.5
        self.in_order = "in_order" in properties and r.random() < 0.3
        self.device = f"packed={'on' if packed else 'off'}"
        if self.in_order:
            self.device += ",in_order=on"
        self.device += f",ioeventfd={r.choice(['off', 'off', 'on'])}"
        self.features = [bit for bit, often in
                         ((INDIRECT, 0.7), (EVENT_IDX, 0.7)) if
                         r.random() < often]
        self.features += [PACKED] * packed + [IN_ORDER] * self.in_order
        self.packed = packed
        self.ports = {nr: Port(nr, r.random() < 0.3, r.random() < 0.3)
                      for nr in r.sample(range(1, PORTS), r.randint(1, 4))}
        self.qemu = self.new_qemu()
        self.new_guest()
        ports = " ".join(f"{nr}{'c' if port.console else ''}"
                         for nr, port in self.ports.items())
        self.say(f"{self.device}, features {self.features}, ports {ports}")
        self.open()
        for _ in range(self.steps):
            self.step()
        self.finish()

    def size(self):
        r = self.random
        sizes = [0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
        if self.packed:
            sizes += [3, 5, 31, 33, 127, 129, 1000]
        return r.choice(sizes)

    def new_qemu(self, like=None):
        self.generation += 1
        args = ["-device", f"virtio-serial-pci,id=vser,addr=0x{SLOT:x},"
                f"max_ports={PORTS},vectors=32,disable-legacy=on,{self.device}"]
        for port in self.ports.values():
            port.old_end = port.end
            port.end = ends.Unix(f"g{self.generation}c{port.nr}",
                                 self.directory, port.log)
            port.ends.append(port.end)
            args += port.end.args()
            if port.plugged:
                args += ["-device", ",".join(
                    f"{name}={value}" if name != "driver" else value
                    for name, value in self.arguments(port).items())]
        if like:
            args += ["-incoming", "defer"]
        return Qemu(self.lib, self.program, args, like)

    @staticmethod
    def arguments(port):
        return {"driver": "virtconsole" if port.console else "virtserialport",
                "id": f"p{port.nr}", "bus": "vser.0", "nr": port.nr,
                "chardev": port.end.name}

    def new_guest(self):
        sizes = self.size(), self.size()
        self.say(f"rings of {sizes[0]}, control {sizes[1]}")
        self.guest = driver.Guest(self.qemu, PORTS, SLOT, self.features,
                                  *sizes)

    def open(self):
        for port in self.ports.values():
            port.told = False
            port.must_close = False
        self.settle()
        for port in self.ports.values():
            if port.plugged:
                self.guest.open(port.nr)
        self.settle()

    # Looking

    def look(self):
        self.qemu.rounds()
        moved = self.guest.poll()
        for port in self.ports.values():
            moved |= self.take(port)
        return moved

    def take(self, port):
        moved = port.end.pump()
        if port.end.got:
            port.to_host.got(port.end.got)
            port.end.got.clear()
        self.take_guest(port)
        return moved

    def take_guest(self, port):
        mine = self.guest.ports[port.nr]
        if mine.received:
            port.to_guest.got(mine.received)
            mine.received.clear()
        for event in mine.events:
            self.say(f"  {port.nr} hears {event}")
            if event == "open":
                need(not port.must_close, f"port {port.nr}: the guest hears"
                     " 'open' where it has to hear 'close'")
                port.told = True
            elif event == "close":
                port.told = port.must_close = False
        mine.events.clear()

    def settle(self):
        quiet = 0
        start = time.monotonic()
        while quiet < QUIET:
            quiet = 0 if self.look() else quiet + 1
            need(time.monotonic() < start + PATIENCE, "it never comes to rest")

    def check(self):
        """Wait until everything has happened that must happen"""
        start = time.monotonic()
        while True:
            self.settle()
            try:
                self.check_now()
                break
            except Differs:
                if time.monotonic() > start + SOON:
                    raise
                time.sleep(0.005)
        if self.running:
            for port in self.ports.values():
                if port.plugged and port.end.client and not port.end.stalled:
                    port.to_host.gaps = False
                    port.to_host.cut()
                    port.late = False

    def noticed(self, port):
        """Wait until QEMU has noticed that the client came or went"""
        start = time.monotonic()
        while True:
            self.look()
            for chardev in self.qemu.must("query-chardev"):
                if (chardev["label"] == port.end.name and
                        chardev["filename"].startswith("disconnected:") ==
                        (port.end.client is None)):
                    return
            need(time.monotonic() < start + PATIENCE, f"port {port.nr}: QEMU"
                 " does not notice who is there")
            time.sleep(0.001)

    def check_now(self):
        need(not self.guest.broken(), "the device needs a reset")
        if not self.running:
            return
        for nr, port in self.ports.items():
            mine = self.guest.ports[nr]
            if not port.plugged:
                need(not mine.out.buffers, f"port {nr}: it has gone, and "
                     f"{len(mine.out.buffers)} buffers have not come back")
                continue
            connected = bool(port.end.client)
            # A console is open, with or without a host
            need(port.told == (connected or port.console),
                 f"port {nr}: the guest takes it for"
                 f" {'open' if port.told else 'closed'}, and it is not")
            need(not port.must_close, f"port {nr}: the guest has not heard"
                 " that the host went")
            if connected and not port.end.stalled:
                need(port.to_host.all_here() or port.to_host.gaps,
                     f"port {nr}: the host has {port.to_host.taken} of"
                     f" {port.to_host.given}")
            if port.console or not (port.end.stalled if connected
                                    else port.late):
                need(not mine.out.buffers, f"port {nr}:"
                     f" {len(mine.out.buffers)} buffers have not come back")
            if connected and mine.into.buffers:
                need(port.to_guest.all_here(), f"port {nr}: the guest has"
                     f" {port.to_guest.taken} of {port.to_guest.given} and"
                     f" {len(mine.into.buffers)} buffers")

    def say_state(self):
        """A line for the log of a failed run"""
        for chardev in self.qemu.must("query-chardev"):
            self.say(f"{chardev['label']}: {chardev['filename']}")
        for nr, port in self.ports.items():
            mine = self.guest.ports[nr]
            self.say(f"port {nr}: to host {port.to_host}, to guest"
                     f" {port.to_guest}, late {port.late}")
            for name, queue in ("in", mine.into), ("out", mine.out):
                self.say(f"  {name}: {len(queue.buffers)} buffers,"
                         f" {queue.room()} of {queue.size} descriptors free")

    # Steps

    def step(self):
        r = self.random
        name = r.choices(*zip(*self.STEPS))[0]
        port = self.ports[r.choice(sorted(self.ports))]
        if getattr(self, name)(port) is False:
            return
        if r.random() < 0.5:
            self.check()

    def log(self, what, port=None, *more):
        self.say(" ".join(str(part) for part in
                          [what, port.nr if port else "", *more]))

    def shape(self, limit):
        """The sizes of a buffer's segments, and whether the buffer is indirect"""
        r = self.random
        count = r.choice([1, 1, 1, 2, 3, 7])
        return ([r.choice([1, 1, 2, 7, 64, 100, 1000, limit])
                 for _ in range(count)],
                INDIRECT in self.features and r.random() < 0.5)

    def do_send(self, port):
        if not self.running or not port.plugged:
            return False
        mine, sent = self.guest.ports[port.nr].out, 0
        # A console drops bytes that do not fit into the socket
        left = 60000
        for _ in range(self.random.choice([1, 1, 2, 3, 10, 100, 300])):
            sizes, indirect = self.shape(4096)
            left -= sum(sizes)
            if (port.console and left < 0 or
                    mine.room() < (1 if indirect else len(sizes))):
                break
            data = port.to_host.next(sum(sizes))
            self.guest.send(port.nr, data, sizes, indirect)
            sent += 1
        self.log("send", port, sent, "buffers, up to", port.to_host.given)
        if not port.end.client and not port.late:
            port.to_host.lose()
        if port.console and port.end.stalled:
            port.to_host.gaps = True
        if self.random.random() < 0.9:
            mine.kick()
        else:
            # A later notification is for these buffers and others
            self.guest.qemu.rounds(1)
            mine.kick()
        if port.console:
            # In this step the client reads; in other steps it does not
            self.look()
        return True

    def do_post(self, port):
        if not self.running or not port.plugged:
            return False
        mine, count = self.guest.ports[port.nr], 0
        for _ in range(self.random.choice([1, 1, 2, 5, 20, 200])):
            sizes, indirect = self.shape(4096)
            if not self.guest.post(port.nr, sizes, indirect):
                break
            count += 1
        self.log("post", port, count, "buffers")
        mine.into.kick()
        return True

    def do_write(self, port):
        if not port.end.client:
            return False
        size = self.random.choice([1, 1, 10, 1000, 10000, 50000])
        # All bytes are in the socket, or the model does not know the last one
        if (port.end.pending or
                port.to_guest.given - port.to_guest.taken > 60000):
            return False
        self.log("the host writes", port, size)
        port.end.write(port.to_guest.next(size))
        return True

    def do_stall(self, port):
        self.log("stall", port)
        port.end.stalled = True
        return True

    def do_unstall(self, port):
        self.log("no more stall", port)
        port.end.stalled = False
        return True

    def do_connect(self, port):
        if port.end.client or not port.plugged:
            return False
        self.settle()
        self.log("connect", port)
        if not port.late:
            port.to_host.cut()
        port.to_guest.cut()
        port.end.stalled = self.random.random() < 0.2
        port.end.connect(self.qemu)
        self.noticed(port)
        self.settle()
        return True

    def do_disconnect(self, port):
        if not port.end.client:
            return False
        self.settle()
        self.log("disconnect", port)
        lost = bool(self.guest.ports[port.nr].out.buffers)
        self.gone(port, lost or self.running)
        port.left = not self.running
        port.end.disconnect()
        self.noticed(port)
        self.settle()
        port.to_host.lose()
        port.to_guest.lose()
        port.to_host.gaps = False
        return True

    @staticmethod
    def gone(port, costs):
        port.late = False
        if not port.console and port.told and costs:
            port.must_close = True

    def do_stop(self, port):
        if not self.running:
            return False
        if self.random.random() < 0.5:
            self.settle()
        self.log("stop")
        self.qemu.must("stop")
        self.running = False
        # Take what the device did before it stood still
        self.guest.poll()
        return True

    def do_cont(self, port):
        if self.running:
            return False
        self.log("cont")
        self.qemu.must("cont")
        self.running = True
        for port in self.ports.values():
            port.left = False
        return True

    def do_reset(self, port):
        if not self.running:
            return False
        self.log("reset")
        self.guest.stop()
        # Take what the device did before the reset
        for port in self.ports.values():
            mine = self.guest.ports[port.nr]
            for data in mine.into.peek():
                mine.received += data
            mine.events.clear()
            self.take_guest(port)
            port.to_host.lose()
            port.late = False
        if self.random.random() < 0.5:
            self.new_guest()
        else:
            self.guest.start()
        self.open()
        return True

    def do_unplug(self, port):
        if not self.running or not port.plugged:
            return False
        self.log("unplug", port)
        self.qemu.must("device_del", id=f"p{port.nr}")
        self.qemu.wait_event("DEVICE_DELETED")
        port.plugged = False
        port.to_host.lose()
        port.late = False
        self.settle()
        port.told = port.must_close = False
        return True

    def do_plug(self, port):
        if not self.running or port.plugged:
            return False
        self.settle()
        self.log("plug", port)
        end = time.monotonic() + PATIENCE
        while (answer := self.qemu.qmp("device_add", **self.arguments(port))):
            need(time.monotonic() < end and "in use" in
                 answer["error"]["desc"], answer["error"]["desc"])
        port.plugged = True
        self.settle()
        self.guest.open(port.nr)
        return True

    def do_migrate(self, port):
        # docs/byte-pipe.md: in_order=on loses the order of buffers in a migration
        if self.in_order:
            return False
        self.settle()
        self.log("migrate")
        qemu = self.new_qemu(self.qemu)
        migrate(self.qemu, qemu, self.directory)
        self.guest.move(qemu)
        for port in self.ports.values():
            # The old client reads its last bytes
            port.old_end.stalled = False
            while port.old_end.pump():
                pass
            port.to_host.got(port.old_end.got)
            if port.old_end.client:
                # All bytes wait for a client to connect here, unless they were
                # for a client that went while the machine was stopped
                port.late = (port.plugged and not port.console and
                             not port.left)
                if not port.late:
                    port.to_host.lose()
                port.old_end.client.close()
            port.to_guest.lose()
            port.to_host.gaps = False
            if port.console:
                port.to_host.cut()
        self.old, self.qemu = self.qemu, qemu
        self.old.must("quit")
        self.settle()
        return True

    STEPS = [("do_send", 14), ("do_post", 10), ("do_write", 8), ("do_stall", 3),
             ("do_unstall", 4), ("do_connect", 6), ("do_disconnect", 2),
             ("do_stop", 2), ("do_cont", 4), ("do_reset", 1), ("do_unplug", 1),
             ("do_plug", 3), ("do_migrate", 1)]

    def finish(self):
        """At the end the device is as the model, and each port works"""
        self.say("the end")
        if not self.running:
            self.do_cont(None)
        for port in self.ports.values():
            self.do_unstall(port)
            self.do_plug(port)
            self.do_connect(port)
        self.check()
        for port in self.ports.values():
            self.do_send(port)
            self.do_write(port)
            while not port.to_guest.all_here():
                self.do_post(port)
                self.check()
            self.check()
            if port.log:
                self.check_log(port)

    def check_log(self, port):
        """The log has no byte twice; for a console, which drops bytes, it has all"""
        way = Way(port.nr)
        way.given = port.to_host.given
        way.gaps = not port.console or "ioeventfd=on" in self.device
        for end in port.ends:
            way.got(end.log_bytes())
        need(way.gaps or way.taken == way.given, f"port {port.nr}: the log has"
             f" {way.taken} of {way.given}")


def properties_of(program):
    text = subprocess.run([program, "-device", "virtio-serial-pci,help"],
                          check=True, capture_output=True, text=True).stdout
    return {line.strip().split("=")[0] for line in text.splitlines()}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--race", choices=races.RINGS)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("library")
    parser.add_argument("logs")
    parser.add_argument("version")
    parser.add_argument("qemu")
    o = parser.parse_args()

    properties = properties_of(o.qemu)
    seeds = [o.seed] if o.seed else range(o.first, o.first + o.seeds)
    rings = [ring for ring in races.RINGS
             if "in_order" in properties or "in-order" not in ring]
    if o.seed or o.race:
        seeds, rings = (seeds, []) if o.seed else ([], [o.race])
    shutil.rmtree(o.logs, ignore_errors=True)
    os.makedirs(o.logs)

    def say(text):
        print(text, flush=True)

    def play_seed(lib, directory, seed):
        run = Run(lib, o.qemu, directory, seed, o.steps, say)
        try:
            run.play(properties)
        except Differs:
            run.say_state()
            raise

    def play_race(lib, directory, ring):
        races.Races(lib, o.qemu, directory, ring, say).play()

    def log_of(kind, which):
        return os.path.join(o.logs, f"{kind}-{which}")

    def maker(kind, which, play):
        return lambda: Task((kind, which), o.library, log_of(kind, which),
                            lambda lib, directory, _:
                            play(lib, directory, which))

    start = time.monotonic()
    passed = failed = 0
    makers = [maker("race", ring, play_race) for ring in rings]
    makers += [maker("seed", seed, play_seed) for seed in seeds]
    for (kind, which), facts in run_tasks(makers, o.jobs):
        if facts["end"] == "well":
            passed += 1
            os.unlink(log_of(kind, which))
        else:
            failed += 1
            print(f"not ok model-{o.version}: {kind} {which}: {facts['end']}",
                  flush=True)
    print(f"{'not ok' if failed else 'ok'} model-{o.version}: {passed} of"
          f" {passed + failed} seeds and races, {time.monotonic() - start:.0f}"
          " s")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
