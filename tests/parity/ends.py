"""The host's end of a port: a kind of character device, and its other side.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import base64
import errno
import os
import re
import socket
import struct
import tty


class End:
    """
    An end with a client that reads everything, unless the client is stalled.

    connects:   a client comes and goes; else it is there from the start
    reads:      the guest's bytes can be read at this end
    writes:     bytes for the guest can be written at this end
    """
    connects = reads = writes = stalls = True
    greets = False      # a greeting comes before data
    loses = False       # loses bytes if the guest has little room
    slow = False        # the kernel or a timer of QEMU may delay bytes

    def __init__(self, name, directory, log=False):
        self.name = name
        self.path = f"{directory}/{name}"
        self.log = f"{self.path}.log" if log else None
        self.client = None
        self.stalled = False
        self.raw = bytearray()      # bytes that are not yet decoded
        self.got = bytearray()
        self.messages = []          # sizes of messages, if the end has messages
        self.pending = bytearray()
        self.gone = False           # QEMU has closed its end
        self.greeted = True         # no greeting has to come before data
        self.qemu = None
        self.prepare()

    def prepare(self):
        pass

    def args(self):
        """The option for the command line"""
        log = f",logfile={self.log}" if self.log else ""
        return [arg for option in self.options()
                for arg in ("-chardev", option.replace("LOG", log))]

    def options(self):
        return [f"socket,id={self.name},path={self.path},"
                "server=on,wait=offLOG"]

    def connect(self, qemu):
        self.raw.clear()
        self.pending.clear()
        self.gone = False
        self.qemu = qemu
        self.greeted = not self.greets
        self.client = self.dial(qemu)
        os.set_blocking(self.client.fileno(), False)

    def dial(self, qemu):
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        return client

    def disconnect(self):
        self.client.close()
        self.client = None

    def write(self, data):
        self.pending += self.encode(data)
        self.pump()

    def encode(self, data):
        return data

    def decode(self):
        self.got += self.raw
        self.raw.clear()

    def transmit(self, data):
        return os.write(self.client.fileno(), data)

    def receive(self):
        return os.read(self.client.fileno(), 1 << 20)

    def pump(self):
        """Read and write as much as possible. Returns whether bytes have moved."""
        progress = False
        if not self.client:
            return False
        try:
            while self.pending and self.greeted:
                del self.pending[:self.transmit(bytes(self.pending))]
                progress = True
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        while not (self.stalled and self.greeted) and not self.gone:
            try:
                data = self.receive()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in (errno.EIO, errno.ECONNRESET):
                    raise
                data = b""
            progress = True
            self.gone = not data
            self.raw += data
            if self.greeted or self.greet():
                self.decode()
        return progress

    def log_bytes(self):
        try:
            with open(self.log, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""


class Unix(End):
    pass


class Tcp(End):
    extra = ""

    def options(self):
        return [f"socket,id={self.name},host=127.0.0.1,port=0,"
                f"server=on,wait=off{self.extra}LOG"]

    def dial(self, qemu):
        for chardev in qemu.must("query-chardev"):
            if chardev["label"] == self.name:
                match = re.search(r"127\.0\.0\.1:(\d+)", chardev["filename"])
        return socket.create_connection(("127.0.0.1", int(match[1])))


class Telnet(Tcp):
    extra = ",telnet=on"
    greets = True

    def greet(self):
        self.greeted = len(self.raw) >= 12
        if self.greeted:
            del self.raw[:12]
        return self.greeted

    def encode(self, data):
        return data.replace(b"\xff", b"\xff\xff")


class Websocket(Tcp):
    extra = ",websocket=on"
    REQUEST = (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
               b"Connection: Upgrade\r\nOrigin: http://localhost\r\n"
               b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
               b"Sec-WebSocket-Version: 13\r\n"
               b"Sec-WebSocket-Protocol: binary\r\n\r\n")
    MASK = b"\x5a\x01\xff\x80"

    greets = True

    def dial(self, qemu):
        client = super().dial(qemu)
        client.sendall(self.REQUEST)
        return client

    def greet(self):
        head, end, rest = self.raw.partition(b"\r\n\r\n")
        self.greeted = bool(end)
        if self.greeted:
            self.raw = rest
        return self.greeted

    def encode(self, data):
        if len(data) < 126:
            header = struct.pack(">BB", 0x82, 0x80 | len(data))
        else:
            header = struct.pack(">BBH", 0x82, 0x80 | 126, len(data))
        mask = self.MASK * (len(data) // 4 + 1)
        return header + self.MASK + bytes(a ^ b for a, b in zip(data, mask))

    def decode(self):
        while len(self.raw) >= 2:
            length, header = self.raw[1], 2
            if length >= 126:
                form = ">H" if length == 126 else ">Q"
                header += struct.calcsize(form)
                if len(self.raw) < header:
                    return
                length, = struct.unpack_from(form, self.raw, 2)
            if len(self.raw) < header + length:
                return
            self.got += self.raw[header:header + length]
            self.messages.append(length)
            del self.raw[:header + length]


class Pty(End):
    slow = True

    def options(self):
        return [f"pty,id={self.name}LOG"]

    def dial(self, qemu):
        for chardev in qemu.must("query-chardev"):
            if chardev["label"] == self.name:
                path = chardev["filename"].removeprefix("pty:")
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        return os.fdopen(fd, "r+b", buffering=0)


class Client(End):
    """QEMU connects to us at the start"""
    connects = False

    def prepare(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()

    def options(self):
        return [f"socket,id={self.name},path={self.path},server=offLOG"]

    def dial(self, qemu):
        return self.listener.accept()[0]


class Fd(End):
    """One end of a pair of sockets"""
    connects = False

    def prepare(self):
        self.ours, theirs = socket.socketpair()
        theirs.set_inheritable(True)
        self.number = theirs.detach()

    def options(self):
        return [f"socket,id={self.name},fd={self.number}LOG"]

    def dial(self, qemu):
        return self.ours


class Pipe(End):
    connects = False

    def prepare(self):
        for way in "in", "out":
            os.mkfifo(f"{self.path}.{way}")
        # O_RDWR, so that opening waits neither for QEMU nor for us
        self.reader = os.open(f"{self.path}.out", os.O_RDWR | os.O_NONBLOCK)
        self.writer = os.open(f"{self.path}.in", os.O_RDWR | os.O_NONBLOCK)

    def options(self):
        return [f"pipe,id={self.name},path={self.path}LOG"]

    def dial(self, qemu):
        return os.fdopen(self.reader, "rb", buffering=0)

    def transmit(self, data):
        return os.write(self.writer, data)


class File(End):
    connects = writes = stalls = False

    def options(self):
        return [f"file,id={self.name},path={self.path}LOG"]

    def dial(self, qemu):
        return open(self.path, "rb", buffering=0)

    def pump(self):
        data = self.client.read() if self.client else b""
        self.got += data
        return bool(data)


class Null(End):
    connects = reads = writes = stalls = False

    def options(self):
        return [f"null,id={self.name}LOG"]

    def connect(self, qemu):
        self.qemu = qemu

    def pump(self):
        return False


class Ringbuf(Null):
    reads = True

    def options(self):
        return [f"ringbuf,id={self.name},size=1048576LOG"]

    def pump(self):
        if not self.qemu:
            return False
        text = self.qemu.must("ringbuf-read", device=self.name,
                              size=1 << 20, format="base64")
        self.got += base64.b64decode(text)
        return bool(text)


class Udp(End):
    connects = stalls = False

    def prepare(self):
        self.ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ours.bind(("127.0.0.1", 0))
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        probe.bind(("127.0.0.1", 0))
        self.theirs = probe.getsockname()[1]
        probe.close()

    def options(self):
        port = self.ours.getsockname()[1]
        return [f"udp,id={self.name},host=127.0.0.1,port={port},"
                f"localaddr=127.0.0.1,localport={self.theirs}LOG"]

    def dial(self, qemu):
        return self.ours

    def transmit(self, data):
        self.ours.sendto(data, ("127.0.0.1", self.theirs))
        return len(data)

    def receive(self):
        data = self.ours.recv(1 << 16)
        self.messages.append(len(data))
        return data


class Mux(End):
    loses = True

    def options(self):
        return [f"socket,id={self.name},path={self.path},"
                "server=on,wait=off,mux=onLOG"]

    def encode(self, data):
        return data.replace(b"\x01", b"\x01\x01")


class Hub(End):
    """A hub of two back ends; the first one is ours"""

    def options(self):
        return [f"socket,id={self.name}-a,path={self.path},"
                "server=on,wait=off",
                f"null,id={self.name}-b",
                f"hub,id={self.name},chardevs.0={self.name}-a,"
                f"chardevs.1={self.name}-bLOG"]


KINDS = {
    "unix": Unix, "tcp": Tcp, "telnet": Telnet, "websocket": Websocket,
    "pty": Pty, "client": Client, "fd": Fd, "pipe": Pipe, "file": File,
    "null": Null, "ringbuf": Ringbuf, "udp": Udp, "mux": Mux, "hub": Hub,
}
