#!/usr/bin/env python3
"""Measure how long a guest takes from device_add to a link and to a running
unit, for a port with a descriptor and for usb-serial; scripts/bench calls this.

usage: bench_guest_plug.py [--quick] OUT VERSION:STOCK:OURS

QEMU is ours; OUT gets guest-plug.md, and guest-plug.csv with every run's figures.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import shlex
import threading
import time

from benchlib import compare, in_turn, report_guest, say, table, write_csv
from guestlib import Guest

# A unit that says that it runs, wanted by whichever of the two appears
PREPARE = """
mkdir -p /run/udev/rules.d /run/systemd/system
cat >/run/systemd/system/bench.service <<END
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'exec 3<>/run/bench; echo >&3'
END
cat >/run/udev/rules.d/99-bench.rules <<END
ENV{ID_SERIAL_SHORT}=="bench", SUBSYSTEM=="virtio-ports|tty", \\
TAG+="systemd", ENV{SYSTEMD_WANTS}+="bench.service"
END
mkfifo /run/bench
systemctl daemon-reload
udevadm control --reload
"""

# What is waited for: the link of each, and the unit
LINKS = {"port": "/dev/virtio-ports/by-usb-id/1209:0001:bench",
         "usb-serial": "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_bench-if00-port0"}
DEVICES = {"port": {"driver": "virtserialport", "bus": "vs.0", "desc": "1209:0001",
                    "desc-serial": "bench"},
           "usb-serial": {"driver": "usb-serial", "bus": "xhci.0", "serial": "bench"}}


def wait_link(link):
    return f"udevadm wait --timeout=100 {shlex.quote(link)}"


def wait_unit(_):
    return "read -r line </run/bench"


def plug(guest, name, wait):
    """Milliseconds from device_add to the end of @wait in the guest"""
    link = LINKS[name]
    guest.qmp("chardev-add", id="bench",
              backend={"type": "ringbuf", "data": {}})
    end = []
    waiter = threading.Thread(target=lambda: end.append(
        guest.sh(f"{wait(link)}") is not None and time.monotonic()))
    waiter.start()
    # It has to wait before there is something to wait for. Nothing says when it
    # does; this is not in the figure.
    time.sleep(0.5)
    start = time.monotonic()
    guest.qmp("device_add", id="bench", chardev="bench", **DEVICES[name])
    waiter.join()
    guest.sh("udevadm settle\n"
             'until [ "$(systemctl is-active bench.service)" = active ]; do :; done\n'
             "systemctl stop bench.service")
    guest.qmp("device_del", id="bench")
    guest.wait_event("DEVICE_DELETED", device="bench")
    guest.wait_for(link, removed=True)
    guest.qmp("chardev-remove", id="bench")
    return (end[0] - start) * 1000


def measure(qemu, out, quick):
    """A port with a descriptor against usb-serial on an emulated xhci controller"""
    rounds = 1 if quick else 9
    rows, lines = [], []
    devices = [{"driver": "virtserialdesc", "bus": "vs.0"},
               {"driver": "qemu-xhci", "id": "xhci"}]
    with Guest(qemu, driver="stock", disk="installed", devices=devices) as guest:
        guest.sh("systemctl is-system-running --wait")
        guest.sh(PREPARE)
        for what, wait in (("link", wait_link), ("unit", wait_unit)):
            say(f"device_add to the {what} ...")
            # The first time, modules are loaded
            in_turn(1, {name: lambda name=name: plug(guest, name, wait)
                        for name in LINKS})
            more = in_turn(rounds, {
                name: lambda name=name, wait=wait: plug(guest, name, wait)
                for name in reversed(LINKS)})
            lines += [[f"device_add to {what}", *line]
                      for line in compare(more, "usb-serial", 0)]
            rows += [{"what": what, **row} for row in more]
    write_csv(os.path.join(out, "guest-plug.csv"), rows)
    return (f"Debian 12 with systemd, its own driver and vser daemon; {rounds} "
            "rounds. Median (least to most); ratios are taken within a round.\n\n" +
            table(["from", "what", "ms", "ratio to usb-serial"], lines))


if __name__ == "__main__":
    report_guest(measure, "guest-plug.md")
