#!/usr/bin/env python3
"""Measure the byte pipe in a real guest, and report; scripts/bench calls this.

usage: bench_guest_pipe.py [--quick] OUT VERSION:STOCK:OURS...

For each VERSION of QEMU OUT gets guest-pipe-VERSION.md, and
guest-pipe-VERSION.csv with every run's figures.

Two guests alike, one on each QEMU and new in each round, have Debian's kernel
and its own driver.
Their CPUs are emulated, so most of the time is the guest's: what is seen here
is what is left of the difference where the guest is slow.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import os
import time

from benchlib import (MIB, compare, load, machine, receive, say, send, start, table,
                      write_csv)
from guestlib import Guest, Port

# What the program in the guest reads or writes at a time, and bytes in a run
CHUNKS = {1: MIB // 16, 4096: 8 * MIB, 65536: 16 * MIB}
NODE = "/dev/virtio-ports/bench"
WAYS = [("host to guest", receive,
         f"dd if={NODE} of=/dev/null bs=%d iflag=count_bytes count={{}}"),
        ("guest to host", send,
         f"dd if=/dev/zero of={NODE} bs=%d iflag=count_bytes count={{}}")]


def guest(qemu):
    return Guest(qemu, driver="stock", ports=[Port("p", name="bench")])


def one_round(number, qemus, quick):
    """
    Rows of two new guests. The one that is started first is the faster one, by
    half with the smallest chunk and whatever QEMU it is, so they take turns in
    that as well.
    """
    names = list(qemus)[::-1 if number % 2 else 1]
    rows = []
    with contextlib.ExitStack() as stack:
        guests = {name: stack.enter_context(guest(qemus[name]))
                  for name in names}
        for name in names:
            guests[name].wait_for(NODE)
        for way, measure, command in WAYS:
            for chunk, size in CHUNKS.items():
                size //= 8 if quick else 1
                rows += [{"way": way, "chunk": chunk, "bytes": size,
                          "round": number, "variant": name,
                          "value": measure(guests[name],
                                           guests[name].ports["p"],
                                           command % chunk, size)}
                         for name in names]
    return rows


def pipe(stock, ours, out, version, quick):
    rounds = 1 if quick else 10
    rows = []
    for number in range(rounds):
        say(f"QEMU {version}, guest, round {number + 1} of {rounds} ...")
        rows += one_round(number, {"stock": stock, "ours": ours}, quick)
    write_csv(os.path.join(out, f"guest-pipe-{version}.csv"), rows)
    lines = [[way, chunk, *line] for way, _, _ in WAYS for chunk in CHUNKS
             for line in compare([row for row in rows if row["way"] == way and
                                  row["chunk"] == chunk], "stock")]
    return (f"{rounds} rounds. Median (least to most); ratios are taken "
            "within a round.\n\n" +
            table(["way", "chunk in the guest, bytes", "QEMU", "MB/s",
                   "ratio to stock"], lines))


def main():
    args = start("out")
    for version, (stock, ours) in args.qemus.items():
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
