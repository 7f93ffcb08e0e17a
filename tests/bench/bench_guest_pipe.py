#!/usr/bin/env python3
"""Measure the byte pipe in a real guest, and report; scripts/bench calls this.

usage: bench_guest_pipe.py [--quick] OUT VERSION:STOCK:OURS...

For each VERSION of QEMU OUT gets guest-pipe-VERSION.md, and
guest-pipe-VERSION.csv with every run's figures.

Two guests alike, one on each QEMU, have Debian's kernel and its own driver.
Their CPUs are emulated, so most of the time is the guest's: what is seen here
is what is left of the difference where the guest is slow.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
from bench import load, machine, table, write_csv       # noqa: E402
from bench_guest import (MIB, compare, in_turn, receive,    # noqa: E402
                         say, send)
from guestlib import Guest, Port                        # noqa: E402

# What the program in the guest reads or writes at a time, and bytes in a run
CHUNKS = {1: MIB // 16, 4096: 8 * MIB, 65536: 16 * MIB}
NODE = "/dev/virtio-ports/bench"
WAYS = [("host to guest", receive,
         f"dd if={NODE} of=/dev/null bs=%d iflag=count_bytes count={{}}"),
        ("guest to host", send,
         f"dd if=/dev/zero of={NODE} bs=%d iflag=count_bytes count={{}}")]


def pipe(stock, ours, out, version, quick):
    rounds = 1 if quick else 9
    rows, lines = [], []
    with Guest(stock, driver="stock", ports=[Port("p", name="bench")]) as a, \
            Guest(ours, driver="stock", ports=[Port("p", name="bench")]) as b:
        guests = {"stock": a, "ours": b}
        for guest in guests.values():
            guest.wait_for(NODE)
        for way, measure, command in WAYS:
            for chunk, size in CHUNKS.items():
                size //= 8 if quick else 1
                say(f"QEMU {version}, guest, {way}, {chunk} bytes ...")
                more = in_turn(rounds, {
                    name: lambda guest=guest: measure(
                        guest, guest.ports["p"], command % chunk, size)
                    for name, guest in guests.items()})
                lines += [[way, chunk, *line]
                          for line in compare(more, "stock")]
                rows += [{"way": way, "chunk": chunk, "bytes": size, **row}
                         for row in more]
    write_csv(os.path.join(out, f"guest-pipe-{version}.csv"), rows)
    return (f"{rounds} rounds. Median (least to most); ratios are taken "
            "within a round.\n\n" +
            table(["way", "chunk in the guest, bytes", "QEMU", "MB/s",
                   "ratio to stock"], lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("out")
    parser.add_argument("qemu", nargs="+")
    args = parser.parse_args()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.makedirs(args.out, exist_ok=True)
    for qemu in args.qemu:
        version, stock, ours = qemu.split(":")
        before, date = load(), time.strftime("%Y-%m-%d %H:%M %Z")
        text = pipe(stock, ours, args.out, version, args.quick)
        text = (f"### QEMU {version}: through a real guest\n\n"
                f"{date}; {machine()}; guest: Linux 6.1, emulated CPU; load "
                f"average before {before}, after {load()}; {text}")
        path = os.path.join(args.out, f"guest-pipe-{version}.md")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        print(text)


if __name__ == "__main__":
    main()
