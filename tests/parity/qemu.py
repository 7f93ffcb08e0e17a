"""A QEMU with the driver's half of virtio, which tests/bench has in C.

Guest RAM is mapped here, and no CPU is emulated. A migration goes to another QEMU
that has the same RAM.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import ctypes
import json
import os
import socket
import time

PATIENCE = 20       # seconds to wait for an event that must come


class Gone(Exception):
    """QEMU has ended, or does not answer"""


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Library:
    """The library build/.../bench-machine.so; an error in it ends this process"""

    POINTERS = ("machine_new machine_new_like machine_alloc virtio_device_new"
                " virtqueue_new virtqueue_get g_ptr_array_new g_strdup")
    BOOLEANS = ("virtio_device_needs_reset virtio_device_negotiated"
                " virtqueue_add virtqueue_add_indirect virtqueue_kick"
                " virtqueue_interrupted virtqueue_race")
    NUMBERS = {"machine_address": ctypes.c_uint64,
               "machine_read": ctypes.c_uint64,
               "machine_pid": ctypes.c_int,
               "virtqueue_size": ctypes.c_uint16,
               "virtqueue_room": ctypes.c_uint16}
    POINTER = ctypes.c_void_p
    ARGUMENTS = {
        "machine_new": [POINTER, POINTER],
        "machine_new_like": [POINTER, POINTER, POINTER],
        "machine_pid": [POINTER],
        "machine_alloc": [POINTER, ctypes.c_size_t, ctypes.c_size_t],
        "machine_address": [POINTER, POINTER],
        "machine_read": [POINTER, ctypes.c_uint64, ctypes.c_uint],
        "machine_out": [POINTER, ctypes.c_uint16, ctypes.c_uint,
                        ctypes.c_uint32],
        "machine_clock_step": [POINTER, ctypes.c_uint64],
        "virtio_device_new": [POINTER, ctypes.c_uint8, ctypes.c_uint64],
        "virtio_device_stop": [POINTER],
        "virtio_device_driver_ok": [POINTER],
        "virtio_device_needs_reset": [POINTER],
        "virtio_device_negotiated": [POINTER, ctypes.c_uint],
        "virtio_device_move": [POINTER, POINTER],
        "virtqueue_new": [POINTER, ctypes.c_uint16, ctypes.c_uint16,
                          ctypes.c_uint16],
        "virtqueue_add": [POINTER, POINTER, ctypes.c_uint, ctypes.c_uint,
                          POINTER],
        "virtqueue_add_indirect": [POINTER, POINTER, POINTER, ctypes.c_uint,
                                   ctypes.c_uint, POINTER],
        "virtqueue_kick": [POINTER],
        "virtqueue_notify": [POINTER],
        "virtqueue_race": [POINTER, POINTER, ctypes.c_uint],
        "virtqueue_interrupted": [POINTER],
        "virtqueue_get": [POINTER, POINTER],
        "virtqueue_size": [POINTER],
        "virtqueue_room": [POINTER],
        "g_ptr_array_new": [],
        "g_ptr_array_add": [POINTER, POINTER],
        "g_strdup": [ctypes.c_char_p],
    }

    def __init__(self, path):
        lib = ctypes.CDLL(path)
        for name, arguments in self.ARGUMENTS.items():
            function = getattr(lib, name)
            function.argtypes = arguments
            function.restype = self.NUMBERS.get(name)
            if name in self.POINTERS.split():
                function.restype = ctypes.c_void_p
            elif name in self.BOOLEANS.split():
                function.restype = ctypes.c_bool
            setattr(self, name, function)

    def array(self, strings):
        array = self.g_ptr_array_new()
        for string in strings:
            self.g_ptr_array_add(array, self.g_strdup(os.fsencode(string)))
        return array


class Qemu:
    """One QEMU. Its machine has only the devices that @args add."""
    pids = []       # of all QEMUs that this process has started

    def __init__(self, lib, program, args, like=None):
        ours, theirs = socket.socketpair()
        theirs.set_inheritable(True)
        ours.settimeout(PATIENCE)
        self.lib = lib
        self.events = []
        self.next = 0
        self.runs = not like
        args = ["-chardev", f"socket,id=qmp,fd={theirs.detach()}",
                "-mon", "chardev=qmp,mode=control", *args]
        arrays = lib.array([program]), lib.array(args)
        self.machine = (lib.machine_new_like(like.machine, *arrays) if like
                        else lib.machine_new(*arrays))
        self.pids.append(lib.machine_pid(self.machine))
        self.socket = ours
        self.file = ours.makefile("r")
        self.receive()
        self.qmp("qmp_capabilities")

    def receive(self):
        try:
            line = self.file.readline()
        except TimeoutError:
            raise Gone("QEMU does not answer") from None
        if not line:
            raise Gone("QEMU has ended")
        return json.loads(line)

    def send(self, command, **arguments):
        """Send a QMP command; nothing looks at its result"""
        self.next += 1
        request = {"execute": command, "arguments": arguments, "id": self.next}
        self.socket.sendall(json.dumps(request).encode())

    def qmp(self, command, **arguments):
        """Run a QMP command. Returns its result, or {"error": ...}"""
        self.send(command, **arguments)
        if command in ("stop", "cont"):
            self.runs = command == "cont"
        while True:
            answer = self.receive()
            if answer.get("id") == self.next:
                return answer if "error" in answer else answer["return"]
            self.events.append(answer)

    def must(self, command, **arguments):
        answer = self.qmp(command, **arguments)
        if isinstance(answer, dict) and "error" in answer:
            raise Gone(f"{command}: {answer['error']['desc']}")
        return answer

    def rounds(self, count=4):
        """
        Let the main loop go round: once for each answer. The guest's time goes
        on, unless it stands still. Work of low priority is done when no other
        work is left.
        """
        for _ in range(count):
            if self.runs:
                self.lib.machine_clock_step(self.machine, 1000)
            else:
                self.lib.machine_read(self.machine, 0, 1)
        time.sleep(0.0005)

    def wait_event(self, name):
        """Wait for a QMP event, and take all events up to it"""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.must("query-status")
            for i, event in enumerate(self.events):
                if event.get("event") == name:
                    del self.events[:i + 1]
                    return event
        raise Gone(f"no event {name}")

    def alloc(self, size):
        return self.lib.machine_alloc(self.machine, max(size, 1), 16)


def migrate(source, destination, directory):
    """
    Move the guest. The destination was started with "-incoming defer" and with
    the source's RAM. If the guest is stopped here, it is stopped there.
    """
    uri = f"unix:{directory}/migration"
    for qemu in source, destination:
        qemu.must("migrate-set-capabilities", capabilities=[
            {"capability": "x-ignore-shared", "state": True}])
    destination.must("migrate-incoming", uri=uri)
    source.must("migrate", uri=uri)
    for qemu in source, destination:
        end = time.monotonic() + PATIENCE
        while True:
            status = qemu.must("query-migrate").get("status")
            if status == "completed":
                break
            if status == "failed" or time.monotonic() > end:
                raise Gone(f"migration: {status}")
    # A moment later the destination runs or is paused
    end = time.monotonic() + PATIENCE
    while destination.must("query-status")["status"] == "inmigrate":
        if time.monotonic() > end:
            raise Gone("the destination does not start")
    destination.runs, source.runs = source.runs, False
