"""The situations that each kind of character device gets into, and their facts.

A scene is one of SITUATIONS with one of ends.KINDS. The scene's device has four
ports, each with a character device of its own: a console and a port, without and
with a log file. A scene results in facts, which are texts. No fact depends on
speed, or on how much a socket holds.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import struct
import time

import driver
import ends
from qemu import Gone, Qemu, migrate

NAMES = ["console", "port", "console-log", "port-log"]      # of ports 1 to 4
PORTS = 8
SLOT = 4
BUFFER = 1000       # bytes, if a scene does not say otherwise

# When nothing has moved for so many looks, nothing more will come
LOOKS = 25
# and for so many seconds, by kind: bytes may be underway in the kernel, and QEMU
# looks at a pty once a second
PATIENCE = {"tcp": 0.25, "telnet": 0.25, "websocket": 0.25, "udp": 0.25,
            "pty": 1.5}


def stream(tag, size, start=0):
    """Bytes in pieces of 8: each piece says its position and its stream"""
    first = start // 8
    pieces = b"".join(struct.pack("<IHH", i, tag, 0x7e7e)
                      for i in range(first, (start + size) // 8 + 1))
    return pieces[start - 8 * first:start - 8 * first + size]


def parts(got, sent):
    """
    The places of the pieces of @got in @sent, as [start, end) each. None: @got
    has other bytes, too.
    """
    found, at, strange = [], 0, 0
    while at < len(got):
        start = sent.find(got[at:at + 8],
                          found[-1][1] if len(got) - at < 8 and found else 0)
        if start < 0:
            # If bytes are missing, two halves of pieces stand side by side
            at += 1
            strange += 1
            if strange > 8:
                return None
            continue
        strange = 0
        length = 1
        while (at + length < len(got) and start + length < len(sent) and
               got[at + length] == sent[start + length]):
            length += 1
        found.append((start, start + length))
        at += length
    return found


def what_came(got, sent, sizes=None):
    """
    A text that says which part of @sent @got is, without a number that depends on
    how much a socket holds. @sizes: of the buffers; the text says if a part begins
    or ends within a buffer.
    """
    if got == sent:
        return "all"
    if not got:
        return "nothing"
    found = parts(bytes(got), bytes(sent))
    if not found:
        return "something else"
    if len(found) > 1 and any(b[0] < a[1] for a, b in zip(found, found[1:])):
        return "some twice"
    said = ["the first" if found[0][0] == 0 else "not the first",
            "the last" if found[-1][1] == len(sent) else "not the last"]
    if len(found) > 1:
        said.append("some between missing")
    if sizes:
        cuts, at = {0}, 0
        for size in sizes:
            at += size
            cuts.add(at)
        if any(a not in cuts or (b not in cuts and b != found[-1][1])
               for a, b in found):
            said.append("pieces of buffers")
    return ", ".join(said)


class Scene:
    """
    QEMU, its guest and the ends of the ports: the common part of all situations.
    """

    def __init__(self, lib, program, directory, kind, facts, patience=1,
                 machine="q35", hotplug=False):
        self.lib, self.program, self.directory = lib, program, directory
        self.kind = ends.KINDS[kind]
        self.patience = patience * PATIENCE.get(kind, 0)
        self.machine = machine
        self.hotplug = hotplug
        self.generation = 0
        self.facts = facts
        self.offset = {}        # by port: how many bytes of its stream were sent
        self.host_offset = {}
        self.old_ends = {}
        self.qemu, self.ends = self.new_qemu()
        if hotplug:
            self.plug()
        self.guest = driver.Guest(self.qemu, PORTS)
        self.settle()

    def new_qemu(self, like=None):
        self.generation += 1
        new, args = {}, ["-machine", self.machine]
        for nr, name in enumerate(NAMES, 1):
            new[nr] = self.kind(f"g{self.generation}c{nr}", self.directory,
                                name.endswith("log"))
            args += new[nr].args()
        if not self.hotplug:
            args += ["-device", self.controller()]
            for nr in new:
                args += ["-device", self.port(nr, new)]
        if like:
            args += ["-incoming", "defer"]
        return Qemu(self.lib, self.program, args, like), new

    @staticmethod
    def controller():
        return (f"virtio-serial-pci,id=vser,addr=0x{SLOT:x},max_ports={PORTS},"
                "vectors=32,disable-legacy=on,ioeventfd=off")

    @staticmethod
    def port(nr, new):
        kind = "virtconsole" if "console" in NAMES[nr - 1] else "virtserialport"
        return f"{kind},id=p{nr},bus=vser.0,nr={nr},chardev={new[nr].name}"

    @staticmethod
    def arguments(option):
        """The properties in a -device option, for device_add"""
        kind, *rest = option.split(",")
        answer = {"driver": kind}
        for item in rest:
            name, value = item.split("=")
            answer[name] = (int(value) if value.isdigit() else
                            value == "on" if name == "ioeventfd" else value)
        return answer

    def plug(self):
        """Plug the controller, as soon as the old one has gone"""
        self.qemu.must("device_add", **self.arguments(self.controller()))
        for nr in self.ends:
            end = time.monotonic() + 10
            while (answer := self.qemu.qmp("device_add", **self.arguments(
                    self.port(nr, self.ends)))):
                if (time.monotonic() > end or
                        "in use" not in answer["error"]["desc"]):
                    raise Gone(answer["error"]["desc"])
                self.ends[nr].pump()

    def plug_port(self, nr):
        self.qemu.must("device_add", **self.arguments(self.port(nr, self.ends)))

    # Time

    def step(self):
        """Look at everything once. Returns whether anything has moved."""
        self.qemu.rounds()
        moved = self.guest.poll()
        for end in [*self.ends.values(), *self.old_ends.values()]:
            moved |= end.pump()
        return moved

    def settle(self):
        """Go on until nothing moves any more"""
        quiet = 0
        while quiet < 4:
            quiet = 0 if self.step() else quiet + 1

    def until(self, condition):
        """Go on until the condition is true or nothing moves. Returns whether it is."""
        looks, since = 0, time.monotonic()
        while not condition():
            if self.step():
                looks, since = 0, time.monotonic()
                continue
            looks += 1
            if looks > LOOKS:
                if time.monotonic() > since + self.patience:
                    return False
                time.sleep(0.01)
        return True

    # What guest and host do

    def open(self):
        """The guest opens its ports"""
        for nr in self.ends:
            self.guest.open(nr)
        self.settle()

    def connect(self, only=None):
        for nr, end in self.ends.items():
            if (only is None or nr in only) and not end.client:
                end.connect(self.qemu)
        self.settle()
        if self.kind.slow:
            # QEMU finds an opened pty by a timer, and the guest may think that the
            # port is open already
            self.until(lambda: False)

    def disconnect(self):
        for end in self.ends.values():
            end.disconnect()
        self.settle()
        if self.kind.slow:
            self.until(lambda: not any(self.guest.ports[nr].host_open
                                       for nr in self.ends))

    def begin(self):
        """A client is there, and the guest has opened its ports and has buffers"""
        self.connect()
        self.open()
        self.post()

    def stall(self, stalled=True):
        for end in self.ends.values():
            end.stalled = stalled

    def send(self, sizes):
        """The guest sends buffers of those sizes on each port"""
        for nr in self.ends:
            at = self.offset.get(nr, 0)
            for size in sizes:
                data = stream(nr, size, at)
                while not self.guest.send(nr, data):
                    # The ring is full
                    self.guest.kick(nr)
                    if not self.until(lambda: self.guest.ports[nr].out.room()):
                        self.offset[nr] = at
                        return
                at += size
            self.offset[nr] = at
            self.guest.kick(nr)
        self.settle()

    def flood(self, total=400):
        """Send buffers until the host's side is full, at most @total"""
        for nr in self.ends:
            at = self.offset.get(nr, 0)
            for _ in range(total):
                if not self.guest.send(nr, stream(nr, BUFFER, at)):
                    self.guest.kick(nr)
                    self.step()
                    if not self.guest.send(nr, stream(nr, BUFFER, at)):
                        break
                at += BUFFER
            self.offset[nr] = at
            self.guest.kick(nr)
        self.settle()

    def begin_stalled(self):
        """The client does not read, and the host's side is full"""
        self.begin()
        self.stall()
        self.flood()

    def post(self, count=8, size=BUFFER):
        for nr in self.ends:
            for _ in range(count):
                self.guest.post(nr, [size])
            self.guest.kick(nr)
        self.settle()

    def write(self, size):
        """The host writes to each port"""
        if not self.kind.writes:
            return
        for nr, end in self.ends.items():
            at = self.host_offset.get(nr, 0)
            end.write(stream(100 + nr, size, at))
            self.host_offset[nr] = at + size
        self.settle()

    def change(self):
        """Give each port another character device of the kind, a unix socket"""
        for nr, end in self.ends.items():
            new = self.kind(f"{end.name}n", self.directory, bool(end.log))
            data = {"addr": {"type": "unix", "data": {"path": new.path}},
                    "server": True, "wait": False}
            if new.log:
                data["logfile"] = new.log
            self.qemu.must("chardev-change", id=end.name,
                           backend={"type": "socket", "data": data})
            self.old_ends[nr] = end
            self.ends[nr] = new
        self.settle()

    # Facts

    def note(self, nr, what, value):
        self.facts[f"{NAMES[nr - 1]}/{what}"] = str(value)

    def note_events(self, what="events"):
        self.settle()
        for nr in self.ends:
            port = self.guest.ports[nr]
            self.note(nr, what, " ".join(port.events) or "none")
            port.events.clear()

    def note_host(self, what="host", sizes=None, every=None):
        """Which of the sent bytes the present and the former ends have got"""
        for nr, end in self.ends.items():
            sent = stream(nr, self.offset.get(nr, 0))
            old = self.old_ends.get(nr)
            if self.kind.reads:
                self.until(lambda: len(end.got) + len(old.got if old else b"")
                           >= len(sent) or end.gone)
                got = bytes(old.got if old else b"") + bytes(end.got)
                if end.gone:
                    self.note(nr, f"{what}-closed", "yes")
                came = what_came(got, sent,
                                 every and [every] * (len(sent) // every))
                if self.kind.slow:
                    # The kernel decides how many bytes there is room for
                    came = came.replace(", some between missing", "")
                self.note(nr, what, came)
            if end.log:
                log = (old.log_bytes() if old else b"") + end.log_bytes()
                came = what_came(log, sent)
                if self.kind.slow:
                    came = came.replace(", some between missing", "")
                self.note(nr, f"{what}-log", came)

    def note_guest(self, what="guest"):
        if not self.kind.writes:
            return
        for nr in self.ends:
            sent = stream(100 + nr, self.host_offset.get(nr, 0))
            port = self.guest.ports[nr]
            self.until(lambda: len(port.received) >= len(sent))
            self.note(nr, what, what_came(port.received, sent))

    def note_buffers(self, what="buffers"):
        self.settle()
        for nr in self.ends:
            port = self.guest.ports[nr]
            if port.out.buffers:
                self.note(nr, what, "some back" if port.returned
                          else "none back")
            else:
                self.note(nr, what, "all back")

    def note_lives(self, what="alive"):
        """Does a message get through now, in each direction?"""
        for nr, end in self.ends.items():
            marker = b"<<%d:%d>>" % (nr, len(self.facts))
            port = self.guest.ports[nr]
            if self.kind.reads:
                self.guest.send(nr, marker)
                self.guest.kick(nr)
                came = self.until(lambda: marker in end.got)
                self.note(nr, f"{what}-to-host", "yes" if came else "no")
                self.strip(end.got, marker)
            if self.kind.writes:
                if not port.into.buffers:
                    self.guest.post(nr, [64])
                    self.guest.kick(nr)
                if end.client:
                    end.write(marker)
                came = self.until(lambda: marker in port.received)
                self.note(nr, f"{what}-to-guest", "yes" if came else "no")
                self.strip(port.received, marker)

    @staticmethod
    def strip(got, marker):
        at = got.find(marker)
        if at >= 0:
            del got[at:at + len(marker)]

    def note_broken(self):
        if self.guest.broken():
            self.facts["device"] = "needs reset"

    # What happens to machines

    def cont(self):
        self.qemu.must("cont")
        self.settle()

    def halt(self):
        self.qemu.must("stop")
        self.settle()

    def migrate(self):
        """The guest goes on in another QEMU, which has its own ends"""
        qemu, new = self.new_qemu(self.qemu)
        migrate(self.qemu, qemu, self.directory)
        for nr, end in self.ends.items():
            end.stalled = False
            old = self.old_ends.get(nr)
            # The source's client gets the bytes that the source has sent
            while end.pump():
                pass
            if old:
                end.got[:0] = old.got
        self.old_ends, self.ends = self.ends, new
        self.source, self.qemu = self.qemu, qemu
        self.guest.move(qemu)
        self.settle()

    def job(self, command, **arguments):
        self.qemu.must(command, **{"job-id": "job"}, **arguments)
        end = time.monotonic() + 20
        while (job := self.qemu.must("query-jobs")[0])["status"] != "concluded":
            if time.monotonic() > end:
                raise Gone(f"{command} does not end")
        if "error" in job:
            raise Gone(f"{command}: {job['error']}")
        self.qemu.must("job-dismiss", id="job")

    def save_and_load(self):
        """
        Save a snapshot and load it at once: what the driver knows has not changed
        """
        file = {"driver": "file", "filename": f"{self.directory}/disk"}
        disk = {"driver": "qcow2", "file": "file"}
        self.job("blockdev-create", options={**file, "size": 0})
        self.qemu.must("blockdev-add", **file, **{"node-name": "file"})
        self.job("blockdev-create", options={**disk, "size": 1 << 26})
        self.qemu.must("blockdev-add", **disk, **{"node-name": "disk"})
        for command in "snapshot-save", "snapshot-load":
            self.job(command, tag="here", vmstate="disk", devices=["disk"])
        self.settle()

    def fresh(self):
        """Start with new ends and new streams"""
        self.settle()
        for nr, end in self.ends.items():
            end.got.clear()
            end.raw.clear()
            end.messages.clear()
            port = self.guest.ports[nr]
            port.received.clear()
            port.returned = 0
        self.offset.clear()
        self.host_offset.clear()
        self.old_ends = {}


# ----------------------------------------------------------------------
# Situations: each is a function of a scene, for certain kinds of character devices

SITUATIONS = {}


def situation(condition=lambda kind: True, **options):
    def add(function):
        name = function.__name__.replace("_", "-")
        SITUATIONS[name] = (function, condition, options)
        return function
    return add


def connects(kind):
    return kind.connects


def fast(kind):
    return kind.connects and not kind.slow


def stalls(kind):
    return kind.stalls and not kind.slow


@situation()
def talk(s):
    s.begin()
    s.note_events()
    s.send([1, 100, 5000])
    s.note_host()
    s.note_buffers()
    for nr, end in s.ends.items():
        if end.messages:
            s.note(nr, "messages", end.messages)
    s.post(8)
    for size in 1, 100, 5000:
        s.write(size)
    s.note_guest()
    s.note_lives()


@situation()
def three_at_once(s):
    """Three buffers, with one notification for all"""
    s.begin()
    for nr in s.ends:
        for i in range(3):
            s.guest.send(nr, stream(nr, 24, 24 * i))
        s.offset[nr] = 72
        s.guest.kick(nr)
    s.note_host()
    for nr, end in s.ends.items():
        if end.messages:
            s.note(nr, "messages", end.messages)


@situation(connects)
def nobody_yet(s):
    s.open()
    s.note_events()
    s.send([BUFFER] * 40)
    s.note_buffers()
    s.note_host("before")
    s.connect()
    s.note_events("events-then")
    s.note_host("then", every=BUFFER)
    s.note_lives()


@situation(connects)
def nobody_flood(s):
    s.open()
    s.flood(800)
    s.note_host("before")
    s.connect()
    s.note_lives()


@situation(lambda kind: kind.stalls)
def stalled(s):
    s.begin_stalled()
    s.note_buffers()
    s.stall(False)
    s.note_host()
    s.note_buffers("buffers-then")
    s.note_lives()
    s.note_broken()


@situation(fast)
def stalled_then_gone(s):
    s.begin_stalled()
    s.disconnect()
    s.note_buffers()
    s.stall(False)
    s.fresh()
    s.note_events()
    s.connect()
    s.note_events("events-then")
    s.send([BUFFER] * 10)
    s.note_host()
    s.note_lives()


@situation(connects)
def comes_and_goes(s):
    s.begin()
    s.send([100])
    s.note_host()
    for again in "first", "second":
        s.disconnect()
        s.until(lambda: False)
        s.note_events(f"events-{again}-gone")
        s.fresh()
        s.send([BUFFER] * 5)
        s.note_buffers(f"buffers-{again}")
        s.connect()
        s.note_events(f"events-{again}-back")
        s.note_host(again)
        s.note_lives(again)


@situation(lambda kind: not kind.slow)
def stopped(s):
    """While the machine is stopped, there is work for the device"""
    s.begin()
    s.halt()
    s.send([BUFFER] * 10)
    s.write(300)
    s.note_host("while")
    s.cont()
    s.post()
    s.note_host()
    s.note_guest()
    s.note_lives()


@situation(stalls)
def stopped_with_backlog(s):
    s.begin_stalled()
    s.halt()
    s.stall(False)
    s.until(lambda: False)
    s.cont()
    s.note_host()
    s.note_lives()


@situation(fast)
def gone_while_stopped(s):
    s.begin()
    s.note_events()
    s.halt()
    s.disconnect()
    s.cont()
    s.note_events("events-then")
    s.send([BUFFER] * 5)
    s.note_buffers()
    s.fresh()
    s.connect()
    s.note_events("events-back")
    s.note_lives()


@situation(fast)
def came_while_stopped(s):
    s.open()
    s.post()
    s.note_events()
    s.halt()
    s.connect()
    s.write(100)
    s.cont()
    s.note_events("events-then")
    s.post()
    s.note_guest()
    s.note_lives()


@situation(fast)
def another_while_stopped(s):
    s.begin()
    s.note_events()
    s.halt()
    s.disconnect()
    s.connect()
    s.cont()
    s.note_events("events-then")
    s.note_lives()


@situation(fast)
def another_while_stopped_with_backlog(s):
    s.begin()
    s.note_events()
    s.stall()
    s.flood()
    s.halt()
    s.disconnect()
    s.stall(False)
    for end in s.ends.values():
        end.got.clear()
    s.connect()
    s.cont()
    s.note_events("events-then")
    s.note_host(every=BUFFER)
    s.note_lives()


@situation(lambda kind: kind.writes and not kind.loses)
def no_buffers(s):
    """
    The guest has no room for the host's bytes, and then little room. A mux loses
    some bytes then: docs/byte-pipe.md, Limits.
    """
    s.connect()
    s.open()
    s.write(20000)
    for _ in range(3):
        s.post(4, 100)
    s.post(60, 400)
    s.note_guest()
    s.note_lives()


@situation()
def reset(s):
    s.begin()
    s.note_events()
    s.send([BUFFER] * 5)
    s.note_host()
    s.write(100)
    s.guest.stop()
    s.qemu.rounds()
    s.guest.start()
    s.fresh()
    s.open()
    s.note_events("events-then")
    s.post()
    s.send([BUFFER] * 5)
    s.note_host("then")
    s.note_lives()


@situation(stalls)
def reset_with_backlog(s):
    s.begin_stalled()
    s.guest.stop()
    s.guest.start()
    s.stall(False)
    s.open()
    s.settle()
    s.until(lambda: False)
    s.fresh()
    s.note_events()
    s.send([BUFFER] * 5)
    s.note_host()
    s.note_lives()


@situation(lambda kind: kind is ends.Unix)
def change(s):
    """The user changes the ports' character devices"""
    s.begin()
    s.note_events()
    s.send([BUFFER] * 5)
    s.note_host()
    s.write(100)
    s.note_guest()
    s.change()
    s.note_events("events-changed")
    s.send([BUFFER] * 3)
    s.connect()
    s.note_events("events-then")
    s.send([BUFFER] * 5)
    s.note_host("then")
    s.note_buffers()
    s.note_lives()


@situation(lambda kind: kind is ends.Unix)
def change_with_backlog(s):
    """The same while the client does not read"""
    s.begin_stalled()
    s.change()
    s.connect()
    s.note_host()
    s.note_buffers()
    s.note_lives()


def unplug_all(s):
    for nr in s.ends:
        s.qemu.must("device_del", id=f"p{nr}")
        s.qemu.wait_event("DEVICE_DELETED")


@situation()
def unplug(s):
    s.begin()
    s.note_events()
    s.send([100])
    s.note_host()
    s.write(100)
    unplug_all(s)
    s.note_events("events-gone")
    for nr in s.ends:
        s.plug_port(nr)
    s.note_events("events-back")
    s.open()
    s.fresh()
    s.note_events("events-open")
    s.post()
    s.send([100])
    s.note_host("then")
    s.note_lives()


@situation(stalls)
def unplug_with_backlog(s):
    s.begin_stalled()
    unplug_all(s)
    s.note_buffers()
    for nr in s.ends:
        s.plug_port(nr)
    s.stall(False)
    s.open()
    s.until(lambda: False)
    s.fresh()
    s.note_events()
    s.send([100])
    s.note_host()
    s.note_lives()


# The registers of the 'pc' machine's ACPI hotplug
ACPI_EJECT, ACPI_BUS = 0xae08, 0xae10


@situation(lambda kind: kind.reads and not kind.slow, machine="pc",
           hotplug=True)
def eject(s):
    """The guest ejects the controller, while clients write and don't read"""
    s.connect()
    for _ in range(6):
        s.open()
        s.stall(s.kind.stalls)
        s.flood(200)
        s.post(2)
        s.write(5000)
        s.qemu.must("device_del", id="vser")
        for end in s.ends.values():
            if end.client and s.kind.writes:
                end.write(b"x" * 100)
        s.lib.machine_out(s.qemu.machine, ACPI_BUS, 4, 0)
        s.lib.machine_out(s.qemu.machine, ACPI_EJECT, 4, 1 << SLOT)
        s.qemu.wait_event("DEVICE_DELETED")
        for _ in range(20):
            s.qemu.rounds()
            for end in s.ends.values():
                end.pump()
        s.stall(False)
        s.plug()
        s.guest.start()
        s.settle()
    s.open()
    s.post(40)
    s.until(lambda: False)
    s.fresh()
    s.note_events()
    s.send([100])
    s.note_host()
    s.note_lives()


@situation()
def migration(s):
    s.begin()
    s.note_events()
    s.send([BUFFER] * 5)
    s.write(100)
    s.post(2)
    s.migrate()
    s.note_events("events-there")
    s.connect()
    s.note_events("events-then")
    s.send([BUFFER] * 5)
    s.note_host()
    s.note_lives()


@situation(stalls)
def migration_with_backlog(s):
    s.begin_stalled()
    s.migrate()
    s.connect()
    s.note_host()
    s.note_buffers()
    s.note_lives()


@situation(stalls)
def migration_twice_with_backlog(s):
    """No client connects at the first destination"""
    s.begin_stalled()
    s.migrate()
    s.settle()
    s.migrate()
    s.connect()
    s.note_host()
    s.note_buffers()
    s.note_lives()


@situation(stalls)
def migration_stopped(s):
    s.begin_stalled()
    s.halt()
    s.migrate()
    s.connect()
    s.note_host("while")
    s.cont()
    s.note_host()
    s.note_buffers()
    s.note_lives()


@situation(stalls)
def snapshot_with_backlog(s):
    """Nothing is lost, although the machine is loaded over itself"""
    s.begin_stalled()
    s.note_events()
    s.save_and_load()
    s.note_events("events-then")
    s.stall(False)
    s.note_host()
    s.note_buffers()
    s.note_lives()
    s.note_broken()
