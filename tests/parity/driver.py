"""A guest with the driver of a virtio-serial device.

The driver notifies only if the device wants it, and looks at a queue only after
an interrupt of the device.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import ctypes
import struct
import time

from qemu import PATIENCE, Iovec

MULTIPORT = 1
INDIRECT, EVENT_IDX, PACKED, IN_ORDER = 28, 29, 34, 35

DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY = 0, 1, 2, 3
CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME = 4, 5, 6, 7
WORDS = {PORT_ADD: "add", PORT_REMOVE: "remove", CONSOLE_PORT: "console",
         RESIZE: "resize", PORT_OPEN: "open", PORT_NAME: "name"}

CONTROL_IN, CONTROL_OUT = 2, 3
UNWRITTEN = 0xa5


class Wrong(Exception):
    """The device has broken a rule"""


class Buffer:
    """Segments of guest RAM, each with a guard after it"""
    GUARD = 8

    def __init__(self, guest, sizes, data=None, indirect=False):
        self.sizes = sizes
        self.total = sum(sizes)
        self.data = data
        whole = self.total + self.GUARD * len(sizes)
        self.base = guest.take(whole)
        self.table = guest.take(16 * len(sizes)) if indirect else None
        self.whole = whole
        self.iov = (Iovec * len(sizes))()
        at = taken = 0
        memory = bytearray([UNWRITTEN]) * whole
        for i, size in enumerate(sizes):
            self.iov[i] = Iovec(self.base + at, size)
            if data is not None:
                memory[at:at + size] = data[taken:taken + size]
            taken += size
            at += size + self.GUARD
        ctypes.memmove(self.base, bytes(memory), whole)

    def read(self, length):
        """The bytes that the device wrote; the other bytes must be unchanged"""
        if length > self.total:
            raise Wrong(f"{length} bytes in a buffer for {self.total}")
        memory = ctypes.string_at(self.base, self.whole)
        found, at, left = [], 0, length
        for size in self.sizes:
            part = min(size, left)
            found.append(memory[at:at + part])
            rest = memory[at + part:at + size + self.GUARD]
            if rest.strip(bytes([UNWRITTEN])):
                raise Wrong("the device wrote behind what it says it did")
            left -= part
            at += size + self.GUARD
        return b"".join(found)


class Queue:
    def __init__(self, guest, index, size):
        self.guest = guest
        self.lib = guest.lib
        self.queue = self.lib.virtqueue_new(guest.device, index, size, index)
        self.size = self.lib.virtqueue_size(self.queue)
        self.buffers = {}       # by token
        self.token = 0

    def room(self):
        return self.lib.virtqueue_room(self.queue)

    def add(self, sizes, data=None, indirect=False):
        """Add a buffer. Returns whether there was room"""
        if self.room() < (1 if indirect else len(sizes)):
            return False
        buffer = Buffer(self.guest, sizes, data, indirect)
        out, into = (0, len(sizes)) if data is None else (len(sizes), 0)
        self.token += 1
        if indirect:
            self.lib.virtqueue_add_indirect(self.queue, buffer.table,
                                            buffer.iov, out, into, self.token)
        else:
            self.lib.virtqueue_add(self.queue, buffer.iov, out, into,
                                   self.token)
        self.buffers[self.token] = buffer
        return True

    def kick(self):
        return self.lib.virtqueue_kick(self.queue)

    def used(self):
        """The content of each used buffer, if there was an interrupt"""
        found = []
        while self.lib.virtqueue_interrupted(self.queue):
            found += self.peek()
        return found

    def peek(self):
        found, length = [], ctypes.c_uint32()
        while token := self.lib.virtqueue_get(self.queue,
                                              ctypes.byref(length)):
            buffer = self.buffers.pop(token)
            if buffer.data is None:
                found.append(buffer.read(length.value))
            elif length.value:
                raise Wrong("the device wrote into what it had to read")
            else:
                found.append(buffer.data)
            self.guest.give(buffer)
        return found


class Port:
    def __init__(self, into, out):
        self.into, self.out = into, out
        self.events = []        # the device's control events, in words
        self.host_open = False
        self.received = bytearray()
        self.lengths = []       # of the buffers that the device has filled
        self.returned = 0       # number of sent buffers that are back


class Guest:
    """
    @ports: how many port numbers the device has
    @size: of each data queue's ring; 0: as the device offers
    """

    def __init__(self, qemu, ports, slot=4, features=(EVENT_IDX,), size=0,
                 control_size=0):
        self.qemu, self.lib = qemu, qemu.lib
        self.slot, self.count = slot, ports
        self.wanted = sum(1 << bit for bit in {MULTIPORT, *features})
        self.size, self.control_size = size, control_size
        self.free = {}
        self.start()

    # Memory: freed memory is used again

    def take(self, size):
        rounded = 1 << max(size - 1, 15).bit_length()
        kept = self.free.get(rounded)
        return kept.pop() if kept else self.qemu.alloc(rounded)

    def give(self, buffer):
        for address, size in ((buffer.base, buffer.whole),
                              (buffer.table, 16 * len(buffer.sizes))):
            if address:
                rounded = 1 << max(size - 1, 15).bit_length()
                self.free.setdefault(rounded, []).append(address)

    # The device

    def start(self):
        """Reset the device and begin"""
        lib = self.lib
        self.device = lib.virtio_device_new(self.qemu.machine, self.slot << 3,
                                            self.wanted)
        self.control_in = self.control_out = None
        self.ports = {}
        for nr in range(self.count):
            index = 2 * nr + 2 if nr else 0
            self.ports[nr] = Port(Queue(self, index, self.size),
                                  Queue(self, index + 1, self.size))
            if nr == 0:
                self.control_in = Queue(self, CONTROL_IN, self.control_size)
                self.control_out = Queue(self, CONTROL_OUT, self.control_size)
        lib.virtio_device_driver_ok(self.device)
        while self.control_in.add([128]):
            pass
        self.control_in.kick()
        self.control(0, DEVICE_READY, 1)

    def stop(self):
        self.lib.virtio_device_stop(self.device)

    def move(self, qemu):
        self.qemu = qemu
        self.lib.virtio_device_move(self.device, qemu.machine)

    def broken(self):
        return self.lib.virtio_device_needs_reset(self.device)

    def control(self, nr, event, value):
        message = struct.pack("<IHH", nr, event, value)
        end = time.monotonic() + PATIENCE
        self.control_out.used()
        while not self.control_out.add([len(message)], message):
            if time.monotonic() > end:
                raise Wrong("the device takes no control messages")
            self.qemu.rounds()
            self.control_out.used()
        self.control_out.kick()

    def send(self, nr, data, sizes=None, indirect=False):
        """Add a buffer for the device to send; kick() notifies the device"""
        return self.ports[nr].out.add(sizes or [len(data)], data, indirect)

    def post(self, nr, sizes, indirect=False):
        return self.ports[nr].into.add(sizes, None, indirect)

    def kick(self, nr):
        port = self.ports[nr]
        port.out.kick()
        port.into.kick()

    def poll(self):
        """Take all used buffers. Returns whether there were any."""
        progress = False
        for message in self.control_in.used():
            progress = True
            self.heard(message)
            self.control_in.add([128])
        self.control_in.kick()
        for port in self.ports.values():
            for _ in port.out.used():
                progress = True
                port.returned += 1
            for data in port.into.used():
                progress = True
                port.received += data
                port.lengths.append(len(data))
        return progress

    def heard(self, message):
        nr, event, value = struct.unpack_from("<IHH", message)
        if nr not in self.ports:
            raise Wrong(f"an event for port {nr}")
        port = self.ports[nr]
        word = WORDS.get(event, str(event))
        if event == PORT_OPEN:
            port.host_open = bool(value)
            word = "open" if value else "close"
        port.events.append(word)
        if event == PORT_ADD:
            self.control(nr, PORT_READY, 1)

    def open(self, nr, value=1):
        self.control(nr, PORT_OPEN, value)
