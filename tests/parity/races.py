"""A driver that adds buffers while the device drops buffers.

The driver notifies the device only if the device asks for that. So a device that
stops too early, and does not ask, never goes on. Guest RAM is shared, and the device
has ioeventfd=on: driver and device work at the same time, in two processes.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import driver
import ends
from driver import EVENT_IDX, IN_ORDER, PACKED
from qemu import Iovec, Qemu

RINGS = {
    "split": [],
    "split-event-idx": [EVENT_IDX],
    "split-in-order": [EVENT_IDX, IN_ORDER],
    "packed": [PACKED],
    "packed-event-idx": [PACKED, EVENT_IDX],
    "packed-in-order": [PACKED, EVENT_IDX, IN_ORDER],
}

SLOT, NET_SLOT = 4, 5
PORTS = 8
NO_PORT, NO_HOST, UNPLUGGED, HOST_LEAVES = 1, 2, 3, 4
TRANSMIT = 1        # a network card's queue

BUFFER = 100        # bytes; a network card takes them for a packet
RING = 1024         # of each data queue: the longer, the more the two work at once
COUNT = 200 * RING  # buffers in a race: the device drops whole rings of them
LEAVES = 5          # so many times the host leaves
SOME = 2000         # buffers that a host or a network takes afterwards


class Races:
    def __init__(self, lib, program, directory, ring, say):
        self.lib, self.say = lib, say
        features = RINGS[ring]
        device = "ioeventfd=on,disable-legacy=on,vectors=32"
        for name, bit in ("packed", PACKED), ("in_order", IN_ORDER):
            if bit in features:
                device += f",{name}=on"
        self.ends = {nr: ends.Unix(f"c{nr}", directory)
                     for nr in (NO_HOST, UNPLUGGED, HOST_LEAVES)}
        args = ["-device", f"virtio-serial-pci,id=vser,addr=0x{SLOT:x},"
                f"max_ports={PORTS},{device}"]
        for nr, end in self.ends.items():
            args += end.args()
            args += ["-device", f"virtserialport,id=p{nr},bus=vser.0,nr={nr},"
                     f"chardev={end.name}"]
        args += ["-netdev", "hubport,id=net,hubid=0",
                 "-netdev", "hubport,id=other,hubid=0", "-device",
                 f"virtio-net-pci,addr=0x{NET_SLOT:x},netdev=net,romfile=,"
                 f"{device}"]
        self.qemu = Qemu(lib, program, args)
        self.guest = driver.Guest(self.qemu, PORTS, SLOT, features, RING)
        self.iov = (Iovec * 1)((self.qemu.alloc(BUFFER), BUFFER))
        self.settle()

        card = lib.virtio_device_new(self.qemu.machine, NET_SLOT << 3,
                                     sum(1 << bit for bit in features))
        self.transmit = lib.virtqueue_new(card, TRANSMIT, RING, TRANSMIT)
        lib.virtio_device_driver_ok(card)

    def settle(self):
        for _ in range(5):
            self.qemu.rounds()
            while self.guest.poll():
                pass

    def race(self, queue, count=COUNT):
        return self.lib.virtqueue_race(queue, self.iov, count)

    def out(self, nr):
        return self.guest.ports[nr].out.queue

    def need(self, queue, what, count=COUNT):
        self.say(what)
        if not self.race(queue, count):
            raise driver.Wrong(f"{what}: the device returns no more buffers,"
                               " and does not ask for a notification")
        if self.guest.broken():
            raise driver.Wrong(f"{what}: the device needs a reset")

    def play(self):
        self.need(self.out(NO_PORT), "a port that does not exist")
        self.need(self.out(NO_HOST), "a port without a host")
        self.port_goes()
        self.host_leaves()
        self.link_down()

    def port_goes(self):
        """A port goes while its host does not read; another one takes its number"""
        queue, end = self.out(UNPLUGGED), self.ends[UNPLUGGED]
        end.connect(self.qemu)
        end.stalled = True
        self.guest.open(UNPLUGGED)
        if self.race(queue):
            raise driver.Wrong("a host that does not read takes everything")
        self.qemu.send("device_del", id=f"p{UNPLUGGED}")
        # This ends early if QEMU's monitor is slow: then the port is still there
        self.race(queue)
        self.qemu.wait_event("DEVICE_DELETED")
        self.need(queue, "an unplugged port")
        end.disconnect()
        self.qemu.must("device_add", driver="virtserialport", nr=UNPLUGGED,
                       id="again", bus="vser.0", chardev=end.name)
        self.settle()
        self.need(queue, "a port in the place of the unplugged port")

    def host_leaves(self):
        queue, end = self.out(HOST_LEAVES), self.ends[HOST_LEAVES]
        self.guest.open(HOST_LEAVES)
        for _ in range(LEAVES):
            end.connect(self.qemu)
            self.settle()
            if self.race(queue):
                raise driver.Wrong("a host that does not read takes everything")
            end.client.close()
            self.need(queue, "a host leaves")

    def link_down(self):
        for _ in range(2):
            self.qemu.must("set_link", name="net", up=False)
            self.need(self.transmit, "a network card without a link")
            self.qemu.must("set_link", name="net", up=True)
            self.need(self.transmit, "a network card with a link again", SOME)
