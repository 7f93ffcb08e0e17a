#!/usr/bin/env python3
"""Measure in a real guest, and report; scripts/bench calls this.

usage: bench_guest.py [--quick] OUT VERSION:STOCK:OURS

QEMU is ours; OUT gets guest-usb.md, and guest-usb.csv with every run's figures.

The guest has an emulated CPU, so what counts is the ratio of two figures that
were taken one after the other in the same guest.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import pathlib
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "guest"))
from bench import (load, machine, spread, start, table,     # noqa: E402
                   write_csv)
from guestlib import Guest, Port                            # noqa: E402

MIB = 1 << 20


def say(text):
    print(f"- {text}", file=sys.stderr, flush=True)


# ----------------------------------------------------------------------
# Runs in turn, and their ratios

def in_turn(rounds, measures):
    """
    Do every measure of {name: function} in each round, in one order and then
    in the other; rows of {"round", "variant", "value"}
    """
    rows = []
    for number in range(rounds):
        names = list(measures)
        if number % 2:
            names.reverse()
        rows += [{"round": number, "variant": name, "value": measures[name]()}
                 for name in names]
    return rows


def ratios(rows, variant, base):
    """The values of @variant to those of @base, round by round"""
    of = {(row["round"], row["variant"]): row["value"] for row in rows}
    return [of[number, variant] / of[number, base] for number in
            sorted({row["round"] for row in rows})]


def compare(rows, base, digits=2):
    """For each variant: its name, its values, their ratio to @base's"""
    return [[name, spread((row["value"] for row in rows
                           if row["variant"] == name), digits),
             "" if name == base else spread(ratios(rows, name, base), 2)]
            for name in dict.fromkeys(row["variant"] for row in rows)]


# ----------------------------------------------------------------------
# Bytes through "vser usb"

# What a program in the guest does, with {} for how many bytes
TO_GUEST = {"tty": "head -c {{}} <{0} >/dev/null",
            "libusb": "usbpipe {0} read {{}} 65536 4 >/dev/null"}
TO_HOST = {"tty": "head -c {{}} /dev/zero >{0}",
           "libusb": "usbpipe {0} write {{}} 65536 4 </dev/zero"}


def receive(guest, port, command, size):
    """MB/s of a program in the guest that reads what the host sends"""
    # It has to wait already: before that, usb-serial's driver throws away
    guest.sh("rm -f /run/done; mkfifo /run/done\n"
             f"( {command.format(size)} & echo $! >/run/reader; wait $!\n"
             "  echo >/run/done ) >/dev/null 2>&1 &")
    guest.wait_until('grep -q "^State:.S" /proc/$(cat /run/reader)/status')
    sender = threading.Thread(target=port.socket.sendall, args=(bytes(size),))
    start = time.monotonic()
    sender.start()
    guest.sh("cat /run/done")
    end = time.monotonic()
    sender.join()
    return size / (end - start) / 1e6


def send(guest, port, command, size):
    """MB/s of what the host gets from a program in the guest that writes"""
    # It has to read already: until somebody does, usb-serial stops all of QEMU
    end = []
    receiver = threading.Thread(
        target=lambda: end.append(port.receive(size) and time.monotonic()))
    receiver.start()
    start = time.monotonic()
    guest.sh(f"( {command.format(size)} ) >/dev/null 2>&1 &")
    receiver.join()
    return size / (end[0] - start) / 1e6


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


def main(measure, name):
    """Parse the command line, and print and leave what @measure has to say"""
    args = start("out")
    (_, ours), = args.qemus.values()
    before, date = load(), time.strftime("%Y-%m-%d %H:%M %Z")
    text = measure(ours, args.out, args.quick)
    text = (f"{date}; {machine()}; guest: Linux 6.1, emulated CPU; load average "
            f"before {before}, after {load()}; {text}")
    with open(os.path.join(args.out, name), "w", encoding="utf-8") as f:
        f.write(text)
    print(text)


if __name__ == "__main__":
    main(usb, "guest-usb.md")
