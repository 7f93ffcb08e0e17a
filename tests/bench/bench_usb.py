#!/usr/bin/env python3
"""Count QEMU's instructions and accesses to registers for a transfer over USB;
scripts/bench builds what is measured and calls this.

usage: bench_usb.py [--quick] BUILD OUT VERSION:STOCK:OURS...

BUILD has bench-usb. OUT gets usb.md, and usb.csv with every run's figures.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import csv
import os
import re
import subprocess

from bench_control import zeroing
from benchlib import say, start, table, target, write_csv

# Without ports for SuperSpeed, so that the disk is a high speed one with both
XHCI = "qemu-xhci,p2=8,p3=0"
# What is compared: name, ours?, the controller
VARIANTS = [("qemu-xhci, stock", False, XHCI),
            ("qemu-xhci, ours", True, XHCI),
            ("virtio-usb-pci", True, "virtio-usb-pci")]
PEER = "qemu-xhci, ours"
# Name, bytes of a read
READS = [("128 KiB", 128 << 10), ("4 KiB", 4 << 10)]
# What a run has before its first read is in a run of so many reads as well
FEW = 4


def count(args, qemu, device, size, reads):
    """URBs, accesses, instructions, and those of memset, of that many reads"""
    path = os.path.join(args.out, "callgrind.out")
    text = subprocess.run([os.path.join(args.build, "bench-usb"), f"--device={device}",
                           f"--size={size}", f"--count={reads}",
                           f"--callgrind={path}", "--", qemu],
                          check=True, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE).stdout
    row, = csv.DictReader(text.splitlines())
    with open(path, encoding="utf-8") as file:
        total = int(re.search(r"^totals: (\d+)", file.read(), re.M)[1])
    memset = zeroing(path)
    os.unlink(path)
    return [int(row["urbs"]), int(row["accesses"]), total, memset]


def main():
    args = start("build", "out")
    rows, lines = [], []
    for version, qemus in args.qemus.items():
        for name, size in READS:
            reads = 16 if args.quick else 64
            of = {}
            for variant, ours, device in VARIANTS:
                say(f"{version}: {name}: {variant} ...")
                few, many = (count(args, qemus[ours], device, size, n)
                             for n in (FEW, FEW + reads))
                urbs, accesses, total, memset = (b - a for a, b in zip(few, many))
                of[variant] = (accesses / urbs, total / urbs, (total - memset) / urbs)
                rows.append({"qemu": version, "read": name, "variant": variant,
                             "urbs": urbs, "accesses": accesses, "instructions": total,
                             "memset": memset})
            for variant, (accesses, whole, own) in of.items():
                lines.append([version, name, variant, f"{accesses:.2f}", f"{whole:,.0f}",
                              f"{own:,.0f}", f"{own / of[PEER][2]:.2f}"])
    write_csv(os.path.join(args.out, "usb.csv"), rows)
    text = ("Of each URB. Targets of virtio-usb-pci: accesses at most "
            f"{target('usb-accesses'):g}, instructions at most "
            f"{target('usb-instructions'):g} of those of {PEER}.\n\n" +
            table(["QEMU", "read", "controller", "accesses", "instructions",
                   "without memset", f"ratio to {PEER}"], lines))
    with open(os.path.join(args.out, "usb.md"), "w", encoding="utf-8") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
