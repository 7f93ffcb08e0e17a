#!/usr/bin/env python3
"""Measure the control queue, and report; scripts/bench calls this.

usage: bench_control.py [--quick] BUILD OUT VERSION:STOCK:OURS...

BUILD has the programs of this directory, OUT gets the tables and the figures.
Each VERSION of QEMU is named with two emulators, without and with our changes.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import csv
import os
import re
import statistics
import subprocess
import sys
import time

from benchlib import load, machine, spread, start, table, target, write_csv

# What is compared: name, ours?, ports with descriptors?
STOCK = ("stock", False, False)
OURS = ("ours", True, False)
DESCRIBED = ("ours, descriptors", True, True)
VARIANTS = [STOCK, OURS, DESCRIBED]

BUFFERS = 32            # in the control queue
SCALING_TARGET = target("port-cost")
MEMORY_TARGET = target("memory")


class Bench:
    def __init__(self, build, out, qemus):
        self.build = build
        self.out = out
        self.qemus = qemus
        self.start = time.monotonic()
        self.log = open(os.path.join(out, "control.log"), "w")
        self.child = None

    def say(self, text):
        print(f"- {time.monotonic() - self.start:4.0f} s: {text}",
              file=sys.stderr, flush=True)

    def control(self, version, variant, ports, buffers=BUFFERS, **options):
        """One run of bench-control; its columns as a dictionary of floats"""
        _, ours, options["descriptors"] = variant
        cmd = [os.path.join(self.build, "bench-control"),
               f"--ports={ports}", f"--buffers={buffers}"]
        cmd += [f"--{name.replace('_', '-')}" +
                ("" if value is True else f"={value}")
                for name, value in options.items() if value]
        cmd.append(self.qemus[version][ours])
        self.log.write(f"$ {' '.join(cmd)}\n")
        self.log.flush()
        # QEMU ends with this program, and this program with us
        self.child = subprocess.Popen(cmd, stdout=subprocess.PIPE, text=True,
                                      stderr=self.log,
                                      stdin=subprocess.DEVNULL)
        try:
            text, _ = self.child.communicate(timeout=600)
        finally:
            self.end_child()
        self.log.write(text)
        if self.child.returncode:
            sys.exit(f"bench-control ended with {self.child.returncode}; "
                     f"see {self.log.name}")
        row, = csv.DictReader(text.splitlines())
        return {name: float(value) for name, value in row.items() if value}

    def end_child(self):
        if self.child and self.child.poll() is None:
            self.child.terminate()
            self.child.wait()


def zeroing(path):
    """
    Of the instructions in a callgrind file, those of memset(): QEMU zeroes
    large arrays, and callgrind takes each byte of a "rep stosb" for one
    """
    text = subprocess.run(["callgrind_annotate", "--threshold=100",
                           "--auto=no", path],
                          check=True, capture_output=True, text=True).stdout
    return sum(int(line.split()[0].replace(",", ""))
               for line in text.splitlines()
               if re.search(r"^[\s\d,]+\(.*:_*memset\w*( |$)", line))


def cases_of(bench, version, port_counts):
    """
    (ports, buffers) to measure. There are QEMUs whose ring holds more than 32
    buffers; Linux posts as many as it holds, and stock loses less then. That is
    where it can be compared with ours at the same work.
    """
    ring = int(bench.control(version, STOCK, port_counts[0])["ring"])
    cases = [(ports, BUFFERS) for ports in port_counts]
    if ring > BUFFERS:
        cases.append((port_counts[-1], ring))
    return cases


def announce(bench, cases, pairs, counts):
    """
    Rows of time, taken in turn: of a driver that works in lockstep with the
    device, as Linux's, and of one that works in batches, where notifications,
    which are slow through qtest, hardly matter. And rows of instructions.
    """
    rows = []
    runs = [(version, ports, buffers) for version in cases
            for ports, buffers in cases[version]]
    most = max(ports for _, ports, _ in runs)

    def measure(kind, run, variant, pair, **options):
        version, ports, buffers = run
        result = bench.control(version, variant, ports, buffers, **options)
        row = {"kind": kind, "qemu": version, "variant": variant[0],
               "ports": ports, "buffers": buffers, "pair": pair, **result}
        rows.append(row)
        return row

    for pair in range(pairs):
        bench.say(f"time: round {pair + 1} of {pairs}")
        # A machine that gets faster or slower does so for all of them
        order = VARIANTS if pair % 2 == 0 else VARIANTS[::-1]
        for run in runs:
            # Few ports are soon announced: often, then, and the mean
            repeat = max(1, most // run[1])
            for variant in order:
                measure("lockstep", run, variant, pair, repeat=repeat)
                measure("batch", run, variant, pair, batch=True,
                        repeat=8 * repeat)

    path = os.path.join(bench.out, "callgrind.out")
    for pair in range(counts):
        for run in runs:
            for variant in VARIANTS:
                bench.say(f"instructions: round {pair + 1} of {counts}: "
                          f"{run[0]} {variant[0]}, {run[1]} ports, "
                          f"{run[2]} buffers")
                row = measure("instructions", run, variant, pair,
                              callgrind=path)
                row["memset"] = zeroing(path)
                os.unlink(path)
    return rows


def memory(bench, few, many):
    """Rows of heap in use"""
    shim = os.path.join(bench.build, "heap-count.so")
    cases = [(variant, ports, many) for variant in VARIANTS
             for ports in (few, many)]
    cases += [(variant, 1, max_ports) for variant in (STOCK, OURS)
              for max_ports in (few, many)]
    rows = []
    for version in bench.qemus:
        bench.say(f"memory: {version}")
        for variant, ports, max_ports in cases:
            result = bench.control(version, variant, ports, heap=shim,
                                   max_ports=max_ports)
            rows.append({"kind": "memory", "qemu": version,
                         "variant": variant[0], "ports": ports,
                         "max_ports": max_ports, **result})
    return rows


# ----------------------------------------------------------------------
# Tables

def cpu(row):
    """CPU time of the device's work: QEMU's, less qtest's"""
    return row["cpu_us"] - row["idle_cpu_us"]


def wall(row):
    return row["wall_us"]


def instructions(row):
    return row["instructions"]


def own_instructions(row):
    return row["instructions"] - row["memset"]


class Report:
    def __init__(self, rows, cases, few, many):
        self.rows = rows
        self.cases = cases
        self.few, self.many = few, many
        self.verdicts = []

    def select(self, **want):
        return [row for row in self.rows
                if all(row.get(name) == value for name, value in want.items())]

    def verdict(self, what, value, limit):
        word = "reached" if value <= limit else "MISSED"
        self.verdicts.append(f"{what}: {value:,.2f}, target at most {limit:g}: "
                             f"{word}")

    def each(self, version):
        """For each line of a table: its head, and which rows it is about"""
        for ports, buffers in self.cases[version]:
            for variant in VARIANTS:
                yield ([ports, buffers, variant[0]],
                       {"qemu": version, "variant": variant[0],
                        "ports": ports, "buffers": buffers})

    def ratios(self, figure, kind, per, a, b):
        """@figure per @per in rows @a against rows @b, round by round"""
        of = [self.select(kind=kind, **want) for want in (a, b)]
        return [figure(x) / x[per] / (figure(y) / y[per])
                for x, y in zip(*of)]

    def arrivals(self, version):
        lines = []
        names = ["added", "described", "named", "opened", "events", "kicks"]
        for head, want in self.each(version):
            # Nothing runs by itself: it is the same in every run
            (values,) = {tuple(row[name] for name in names)
                         for row in self.select(kind="lockstep", **want)}
            lines.append(head + [f"{value:.0f}" for value in values])
            if want["variant"] != OURS[0]:
                self.verdicts.append(
                    "QEMU {}, {}, {} ports, {} buffers: ".format(
                        version, want["variant"], *head[:2]) +
                    "{:.0f} there, {:.0f} described, {:.0f} named, "
                    "{:.0f} open".format(*values) +
                    ("" if want["variant"] == STOCK[0] else ": reached"
                     if set(values[:4]) == {want["ports"]} else ": MISSED"))
        return table(["ports", "buffers", "QEMU", "added", "described",
                      "named", "opened", "events", "notifications"], lines)

    def cost(self, version):
        lines = []
        for head, want in self.each(version):
            lockstep = self.select(kind="lockstep", **want)
            batch = self.select(kind="batch", **want)
            counted = self.select(kind="instructions", **want)
            lines.append(head + [
                spread((wall(r) / 1e3 for r in lockstep), 2),
                spread((r["cpu_us"] / 1e3 for r in lockstep), 2),
                spread((cpu(r) / 1e3 for r in batch), 3),
                spread((instructions(r) / 1e3 for r in counted), 0),
                spread((own_instructions(r) / 1e3 for r in counted), 0)])
        return table(["ports", "buffers", "QEMU", "wall clock, ms",
                      "QEMU's CPU, ms", "the device's CPU, ms",
                      "instructions, thousands", "without memset, thousands"],
                     lines)

    def per(self, version):
        lines = []
        for head, want in self.each(version):
            batch = self.select(kind="batch", **want)
            counted = self.select(kind="instructions", **want)
            row = list(head)
            for per in ("events", "added"):
                row += [spread((cpu(r) / r[per] for r in batch), 2),
                        spread((own_instructions(r) / r[per]
                                for r in counted), 0)]
            for figure, kind in ((cpu, "batch"),
                                 (instructions, "instructions"),
                                 (own_instructions, "instructions")):
                row.append(spread(self.ratios(
                    figure, kind, "events", want,
                    {**want, "variant": STOCK[0]}), 2))
            lines.append(row)
        return table(["ports", "buffers", "QEMU", "CPU/event, µs",
                      "instr./event", "CPU/port, µs", "instr./port",
                      "CPU/event : stock",
                      "instr./event : stock, with memset",
                      "instr./event : stock"], lines)

    def scaling(self, version):
        few, many = (ports for ports, buffers in
                     (self.cases[version][0],
                      [case for case in self.cases[version]
                       if case[1] == BUFFERS][-1]))
        lines = []
        for variant in (OURS, DESCRIBED):
            want = {"qemu": version, "variant": variant[0],
                    "buffers": BUFFERS}
            row = [f"{many} : {few}", BUFFERS, variant[0],
                   spread(self.ratios(lambda r: r["kicks"], "lockstep",
                                      "added", {**want, "ports": many},
                                      {**want, "ports": few}), 2)]
            for what, figure, kind in (
                    ("wall clock, driver in lockstep", wall, "lockstep"),
                    ("wall clock, driver in batches", wall, "batch"),
                    ("the device's CPU time", cpu, "batch"),
                    ("instructions", instructions, "instructions"),
                    ("instructions without memset", own_instructions,
                     "instructions")):
                ratios = self.ratios(figure, kind, "added",
                                     {**want, "ports": many},
                                     {**want, "ports": few})
                row.append(spread(ratios, 2))
                self.verdict(f"QEMU {version}, {variant[0]}: {what} per port, "
                             f"{many} ports against {few}",
                             statistics.median(ratios), SCALING_TARGET)
            lines.append(row)
        return table(["ports", "buffers", "QEMU", "notifications",
                      "wall clock, lockstep", "wall clock, batches",
                      "the device's CPU", "instructions", "without memset"],
                     lines)

    def memory(self, version):
        def slope(variant, a, b, what="heap_bytes"):
            """Difference between two cases, (ports, max_ports), for each one"""
            row_a, row_b = (
                self.select(kind="memory", qemu=version, variant=variant[0],
                            ports=ports, max_ports=max_ports)[0]
                for ports, max_ports in (a, b))
            return (row_b[what] - row_a[what]) / (self.many - self.few)

        def a_port(variant, what="heap_bytes"):
            return slope(variant, (self.few, self.many),
                         (self.many, self.many), what)

        def a_number(variant):
            return slope(variant, (1, self.few), (1, self.many))

        blob = a_port(DESCRIBED, "blob_bytes")
        # What every port has for a descriptor that it may have counts as well
        more = a_port(DESCRIBED) - a_port(STOCK)
        lines = [
            ["a port", "stock", a_port(STOCK)],
            ["a port without a descriptor", "ours", a_port(OURS)],
            [f"a port with one, a blob of {blob:.0f} bytes", "ours",
             a_port(DESCRIBED)],
            ["a port number that is free", "stock", a_number(STOCK)],
            ["its control state", "ours, more",
             a_number(OURS) - a_number(STOCK)],
        ]
        self.verdict(f"QEMU {version}: bytes of heap for a descriptor besides "
                     "its blob, against stock", more - blob, MEMORY_TARGET)
        return table(["what", "QEMU", "bytes of heap"],
                     [[what, who, f"{n:,.1f}"] for what, who, n in lines])


def main():
    args = start("build", "out")
    qemus = args.qemus
    few, many = 31, 511
    port_counts, pairs, counts = [31, 127, 511], 9, 2
    if args.quick:
        few, many = 31, 63
        port_counts, pairs, counts = [31, 63], 1, 1

    bench = Bench(args.build, args.out, qemus)
    load_before, date = load(), time.strftime("%Y-%m-%d %H:%M %Z")
    cases = {version: cases_of(bench, version, port_counts)
             for version in qemus}
    rows = announce(bench, cases, pairs, counts)
    rows += memory(bench, few, many)
    write_csv(os.path.join(args.out, "control.csv"), rows)

    report = Report(rows, cases, few, many)
    text = [f"{date}; {machine()}; load average before {load_before}, after "
            f"{load()}; {pairs} rounds of time, {counts} of instructions "
            f"(valgrind's callgrind, below `virtio_queue_notify()`); "
            f"buffers of 4096 bytes. Median (least "
            f"to most); ratios are taken within a round.\n"]
    for version in qemus:
        text += [f"### QEMU {version}: what arrives\n",
                 report.arrivals(version),
                 f"### QEMU {version}: from DEVICE_READY to the last event\n",
                 report.cost(version),
                 f"### QEMU {version}: by event and by port, without memset "
                 "unless it says so\n", report.per(version),
                 f"### QEMU {version}: the cost of a port, as a ratio\n",
                 report.scaling(version),
                 f"### QEMU {version}: memory\n", report.memory(version)]
    text += ["### Targets" + (", by one round: noise" if args.quick else "") +
             "\n", "\n".join(f"- {v}" for v in report.verdicts) +
             "\n"]
    with open(os.path.join(args.out, "control.md"), "w",
              encoding="utf-8") as f:
        f.write("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
