#!/usr/bin/env python3
"""Measure how long one notification by a hostile driver holds QEMU's main loop;
scripts/bench builds what is measured and calls this.

usage: bench_worst.py [--quick] BUILD OUT VERSION:STOCK:OURS...

BUILD has bench-worst. OUT gets worst.md, and worst.csv with every run's figures.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import csv
import os
import subprocess
import time

from benchlib import load, machine, say, start, target, write_csv

TARGET_RATIO = target("worst-stock")
TARGET_MS = target("worst-ms")
FIGURES = "longest_cpu_ms", "longest_ms", "all_ms"
NOISE_MS = 2            # below that a ratio says nothing, and nobody waits


def measure(program, scene, qemu):
    """FIGURES: the most CPU time and the longest time that the main loop was held for,
    and how long it took until all was done"""
    text = subprocess.run([program, scene, qemu], check=True, text=True,
                          stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE).stdout
    row, = csv.DictReader(text.splitlines())
    return {name: int(row[name.replace("_ms", "_us")]) / 1000 for name in FIGURES}


def main():
    args = start("build", "out")
    program = os.path.join(args.build, "bench-worst")
    rounds = 1 if args.quick else 5
    scenes = subprocess.run([program, "--list"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.split()

    rows, lines = [], [""]
    before, date = load(), time.strftime("%Y-%m-%d %H:%M %Z")
    for version, qemus in args.qemus.items():
        lines += [f"### QEMU {version}: worst cases", "",
                  "| scene | stock, ms of CPU | ours | stock, ms | ours |"
                  " until all is done, stock | ours | target |",
                  "|---|---|---|---|---|---|---|---|"]
        for scene in scenes:
            runs = [[], []]
            for number in range(rounds):
                for ours in (0, 1) if number % 2 == 0 else (1, 0):
                    runs[ours].append(measure(program, scene, qemus[ours]))
                    rows.append({"qemu": version, "scene": scene,
                                 "variant": ("stock", "ours")[ours],
                                 **runs[ours][-1]})
            # Whatever else runs on the machine makes it longer, nothing shorter
            stock, ours = ({name: min(run[name] for run in side) for name in FIGURES}
                           for side in runs)
            met = (ours["longest_cpu_ms"] <= TARGET_MS and
                   ours["longest_cpu_ms"] <= max(TARGET_RATIO * stock["longest_cpu_ms"],
                                                 NOISE_MS))
            lines.append("| " + " | ".join(
                [scene] + [f"{side[name]:.1f}" for name in FIGURES for side in (stock, ours)] +
                ["met" if met else "**missed**"]) + " |")
            say(f"{version} {scene}: {stock['longest_cpu_ms']:.1f}"
                f" {ours['longest_cpu_ms']:.1f} ms of CPU")
        lines.append("")

    lines[0] = (f"{date}; {machine()}; load average before {before}, after {load()}; the least"
                f" of {rounds} rounds.\n")
    write_csv(os.path.join(args.out, "worst.csv"), rows)
    with open(os.path.join(args.out, "worst.md"), "w") as file:
        file.write("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
