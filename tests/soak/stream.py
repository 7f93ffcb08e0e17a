# The host's ends of ports whose guest sends back what it gets
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams that check each byte that comes back.

A stream first sends a mark, and drops what comes before the mark does: bytes of an
earlier connection, or of a driver that has left. After the mark, exactly what was
sent has to come back.
"""

import random
import selectors
import threading
import time

WINDOW = 1 << 15        # bytes on the way, at most
ROUND = 0.01            # seconds: the guest's CPU has other work too
MARK_LENGTH = 23
MARK_AGAIN = 3          # seconds: the guest's program may have left with the mark


class Damage(Exception):
    """Bytes that are lost, came twice or were changed."""


class Stream:
    """One port's other side."""

    def __init__(self, name, seed):
        self.name = name
        self.random = random.Random(seed)
        self.sock = None
        self.passed = self.dropped = 0
        self.again()

    def again(self):
        """Begin with a new mark."""
        self.mark = None
        self.marked = False
        self.came = b''
        self.to_send = b''
        self.expected = bytearray()
        self.since_mark = 0

    def attach(self, sock):
        self.sock = sock
        sock.setblocking(False)
        self.again()

    def on_mark(self):
        """All is as it was before the first byte."""
        return self.marked and not self.expected and not self.to_send

    def send(self, quiet):
        """Send what there is to send, unless there must be silence."""
        now = time.monotonic()
        if not self.marked:
            if self.mark is None or (now > self.mark_time + MARK_AGAIN
                                     and not self.to_send):
                self.mark = b'<mark ' + self.random.randbytes(16) + b'>'
                self.mark_time = now
                self.to_send = self.mark
        elif not self.to_send and not quiet and len(self.expected) < WINDOW:
            # Mostly small, as agents' messages are; at times a whole ring of bytes
            size = self.random.choice((1, 8, 100, 4096, 5000, 20000))
            self.to_send = self.random.randbytes(self.random.randint(1, size))
            self.expected += self.to_send
        if self.to_send:
            try:
                self.to_send = self.to_send[self.sock.send(self.to_send):]
            except BlockingIOError:
                pass

    def receive(self):
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        if not data:
            raise Damage(f'{self.name}: QEMU has closed the connection')
        if not self.marked:
            self.came += data
            at = self.came.find(self.mark) if self.mark else -1
            if at < 0:
                keep = MARK_LENGTH - 1
                self.dropped += max(len(self.came) - keep, 0)
                self.came = self.came[-keep:]
                return
            self.dropped += at
            data = self.came[at + MARK_LENGTH:]
            self.marked = True
        if self.expected[:len(data)] != data:
            right = next((i for i, (a, b) in enumerate(zip(self.expected, data)) if a != b),
                         len(self.expected))
            raise Damage(f'{self.name}: {self.since_mark + right} bytes after the mark came'
                         f' {data[right:right + 16].hex(" ")} instead of'
                         f' {bytes(self.expected[right:right + 16]).hex(" ")}')
        del self.expected[:len(data)]
        self.since_mark += len(data)
        self.passed += len(data)


class Streams(threading.Thread):
    """Moves the bytes of all streams, in a thread of its own. Whoever changes a
    stream holds `lock`."""

    def __init__(self, streams):
        super().__init__(daemon=True)
        self.streams = streams
        self.lock = threading.Lock()
        self.quiet = False      # send nothing new
        self.lossy = False      # the guest loses bytes: send and check nothing
        self.over = False
        self.damage = None

    def run(self):
        while not self.over:
            with self.lock, selectors.DefaultSelector() as selector:
                streams = [s for s in self.streams.values() if s.sock]
                for stream in streams:
                    selector.register(stream.sock, selectors.EVENT_READ, stream)
                try:
                    for stream in streams:
                        if not self.lossy:
                            stream.send(self.quiet)
                    for key, _ in selector.select(0):
                        if self.lossy:
                            key.data.again()
                        key.data.receive()
                except (Damage, OSError) as e:
                    self.damage = self.damage or e
                    return
            time.sleep(ROUND)

    def check(self):
        if self.damage:
            raise self.damage

    def wait(self, condition, what, patience):
        """Wait until the condition holds for each stream."""
        end = time.monotonic() + patience
        while True:
            self.check()
            with self.lock:
                bad = [s.name for s in self.streams.values()
                       if s.sock and not condition(s)]
            if not bad:
                return
            if time.monotonic() > end:
                raise Damage(f'{what}: not in {patience} s: {" ".join(bad)}')
            time.sleep(0.02)

    def end(self):
        self.over = True
        self.join()
