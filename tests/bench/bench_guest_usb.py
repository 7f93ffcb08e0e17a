#!/usr/bin/env python3
"""Measure in a real guest, and report; scripts/bench calls this.

usage: bench_guest_usb.py [--quick] OUT VERSION:STOCK:OURS

QEMU is ours; OUT gets guest-usb.md, and guest-usb.csv with every run's figures.

The guest has an emulated CPU, so what counts is the ratio of two figures that
were taken one after the other in the same guest.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import os

from benchlib import (MIB, compare, in_turn, receive, report_guest, say, send, table,
                      write_csv)
from guestlib import Guest, Port


# ----------------------------------------------------------------------
# Bytes through "vser usb"

# What a program in the guest does, with {} for how many bytes
TO_GUEST = {"tty": "head -c {{}} <{0} >/dev/null",
            "libusb": "usbpipe {0} read {{}} 65536 4 >/dev/null"}
TO_HOST = {"tty": "head -c {{}} /dev/zero >{0}",
           "libusb": "usbpipe {0} write {{}} 65536 4 </dev/zero"}


def usb(qemu, out, quick):
    """"vser usb" against usb-serial on an emulated xhci controller"""
    rounds, small, large = (1, MIB // 4, MIB) if quick else (9, 2 * MIB, 16 * MIB)
    acm = Port("acm", desc="1209:000a", desc_class="cdc-acm")
    vendor = Port("vendor", desc="1209:0001")
    serial = Port("serial", driver="usb-serial", bus="xhci.0")
    with Guest(qemu, ports=[acm, vendor],
               devices=[{"driver": "qemu-xhci", "id": "xhci"}]) as guest:
        guest.plug(serial)
        guest.sh("modprobe vhci_hcd\n"
                 "for port in 1209:000a 1209:0001; do\n"
                 "  vser usb $port </dev/null >/run/$port.log 2>&1 &\n"
                 "done")
        terminals = ["/dev/ttyACM0", "/dev/ttyUSB0"]
        for terminal in terminals:
            guest.wait_for(terminal)
            # Open all the time: each opening would set up the line anew
            guest.sh(f"sleep 1000000 <>{terminal} >/dev/null 2>&1 &\n"
                     f"stty -F {terminal} raw -echo")
        guest.wait_until('[ "$(lsusb -d 1209: | wc -l)" = 2 ]')

        base = "usb-serial, terminal"
        variants = {
            base: (serial, "tty", terminals[1], small),
            "vser usb, cdc-acm, terminal": (acm, "tty", terminals[0], small),
            "vser usb, libusb": (vendor, "libusb", "1209:0001", large),
        }
        rows, lines = [], []
        for way, commands, measure in (("host to guest", TO_GUEST, receive),
                                       ("guest to host", TO_HOST, send)):
            say(f"vser usb, {way} ...")
            more = in_turn(rounds, {
                name: lambda port=port, size=size, measure=measure,
                command=commands[kind].format(what):
                measure(guest, port, command, size)
                for name, (port, kind, what, size) in variants.items()})
            lines += [[way, *line] for line in compare(more, base)]
            rows += [{"way": way, **row} for row in more]

    write_csv(os.path.join(out, "guest-usb.csv"), rows)
    return (f"{rounds} rounds; {small // 1024} KiB a run through a terminal, "
            f"{large // 1024} KiB with libusb (4 transfers of 64 KiB at a "
            "time). Median (least to most); ratios are taken within a round.\n\n" +
            table(["way", "what", "MB/s", "ratio to usb-serial"], lines))


if __name__ == "__main__":
    report_guest(usb, "guest-usb.md")
