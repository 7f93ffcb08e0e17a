#!/usr/bin/env python3
"""Measure the byte pipe, and report; scripts/bench calls this.

usage: bench_pipe.py [--quick] BUILD OUT VERSION:STOCK:OURS...

BUILD has the programs of this directory. For each VERSION of QEMU OUT gets
pipe-VERSION.md, pipe-VERSION.csv with every run's figures, and
pipe-VERSION.svg.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import csv
import os
import statistics
import subprocess
import sys
import time

from benchlib import load, machine, say, start, table, target, write_csv

PORTS = [1, 64]
CHUNKS = [1, 64, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20]
WAYS = {"to-guest": "host to guest", "to-host": "guest to host"}

# Cases of bench-pipe: guests that make it hard
AWKWARD = {
    "to-guest:4096:1x1x4096": "one buffer of 4096 bytes",
    "to-guest:4096:1x1x1": "one buffer of 1 byte",
    "to-guest:4096:128x1x1": "128 buffers of 1 byte",
    "to-guest:4096:2x64x1": "2 buffers of 64 segments of 1 byte",
    "to-host:1:1x1x1": "one buffer of 1 byte",
    "to-host:64:2x64x1": "2 buffers of 64 segments of 1 byte",
    "to-host:8192:1x2x4096": "one buffer of 2 segments of 4096 bytes",
}
IDLE, BUSY = (["ping:1", "ping:4096"], ["ping-busy:1", "ping-busy:4096"])
ROUND_TRIPS = {1: IDLE, 64: IDLE + BUSY}

# At least, of stock and of the bare socket
TARGETS = {way: (target(f"{way}-stock"), target(f"{way}-socket"))
           for way in ("to-guest", "to-host")}

STOCK, OURS, SOCKET = "stock", "ours", "socket"


class Runner:
    """Runs bench-pipe; rows of its figures, as numbers where they are."""

    def __init__(self, build, log, stock, ours):
        self.program = os.path.join(build, "bench-pipe")
        self.log = log
        self.qemus = [f"--qemu={STOCK}={stock}", f"--qemu={OURS}={ours}"]

    def run(self, pair, cases, *options):
        # A machine that gets faster or slower does so for both
        qemus = self.qemus if pair % 2 == 0 else self.qemus[::-1]
        cmd = [self.program, *options, *qemus, *cases]
        self.log.write(f"$ {' '.join(cmd)}\n")
        self.log.flush()
        # What it starts ends with it, and it is ended with us
        child = subprocess.Popen(cmd, stdout=subprocess.PIPE, text=True,
                                 stderr=self.log, stdin=subprocess.DEVNULL)
        try:
            text, _ = child.communicate(timeout=600)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        self.log.write(text)
        if child.returncode:
            sys.exit(f"bench-pipe ended with {child.returncode}; "
                     f"see {self.log.name}")
        return [{"pair": pair, **{name: value if name in ("subject", "case")
                                  else float(value)
                                  for name, value in row.items() if value}}
                for row in csv.DictReader(text.splitlines())]


def measure(runner, pairs, chunks, seconds):
    """Rows of every pair, and rows of system calls"""
    streams = [f"{way}:{chunk}" for way in WAYS for chunk in chunks]
    rows = []
    for pair in range(pairs):
        for ports in PORTS:
            say(f"pair {pair + 1} of {pairs}, {plural(ports)}")
            rows += runner.run(pair, streams + IDLE, f"--ports={ports}",
                               f"--seconds={seconds}", "--bare")
        # A round trip takes milliseconds there, and p99 needs some of them
        rows += runner.run(pair, BUSY, f"--ports={PORTS[-1]}",
                           f"--seconds={10 * seconds}")
        # What there is to see is small, and how processes wake up is not
        rows += runner.run(pair, AWKWARD, "--ports=1",
                           f"--seconds={5 * seconds}")
    calls = []
    for ports in PORTS:
        say(f"system calls, {plural(ports)}")
        calls += runner.run(0, streams, f"--ports={ports}",
                            f"--seconds={seconds}", "--strace")
    return rows, calls


# ----------------------------------------------------------------------
# Figures

def speed(row):
    return row["bytes"] / row["wall_s"] / 1e6


def cpu(row):
    """Seconds of CPU time for each GiB"""
    return row["cpu_s"] / row["bytes"] * 2**30 if row["bytes"] else None


def busy(row):
    return row["cpu_s"] / row["wall_s"]


def number(value):
    """With three digits that mean something"""
    if value is None:
        return ""
    for digits, limit in enumerate((100, 10, 1)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}"


def quartiles(values):
    """The first one, the median, the third one"""
    if len(values) < 2:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def spread(values):
    """The median and, in brackets, the first and the third quartile"""
    if len(values) < 2:
        return number(values[0]) if values else ""
    low, middle, high = quartiles(values)
    return f"{number(middle)} ({number(low)} to {number(high)})"


class Figures:
    def __init__(self, rows, calls):
        self.rows = rows
        self.calls = calls

    def select(self, subject, ports, case):
        return [row for row in self.rows if row["subject"] == subject and
                row["ports"] == ports and row["case"] == case]

    def values(self, subject, ports, case, figure):
        found = [figure(row) for row in self.select(subject, ports, case)]
        return [value for value in found if value is not None]

    def ratios(self, subject, base, ports, case, figure):
        """Pair by pair; without those that have nothing to divide by"""
        of = [self.select(name, ports, case) for name in (subject, base)]
        pairs = [(figure(a), figure(b)) for a, b in zip(*of)]
        return [a / b for a, b in pairs if a is not None and b]

    def median(self, *args):
        values = self.values(*args)
        return statistics.median(values) if values else None

    def system_calls(self, subject, ports, case):
        """For each GiB; as they were traced"""
        for row in self.calls:
            if (row["subject"], row["ports"], row["case"]) == \
                    (subject, ports, case) and row["bytes"]:
                return row["syscalls"] / row["bytes"] * 2**30
        return None

    def copied(self, ports, case):
        """What our QEMU says it has copied, of what went through it"""
        rows = self.select(OURS, ports, case)
        return (f"{sum(row['copied'] for row in rows):,.0f} of "
                f"{sum(row['moved'] for row in rows):,.0f}")


def size(chunk):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if chunk >= unit:
            return f"{chunk // unit} {name}"
    return f"{chunk} B"


def plural(ports):
    return f"{ports} port" + ("s" if ports > 1 else "")


def streams(figures, ports, chunks):
    lines = []
    for way, name in WAYS.items():
        for chunk in chunks:
            case = f"{way}:{chunk}"
            lines.append(
                [name, size(chunk)] +
                [spread(figures.values(subject, ports, case, speed))
                 for subject in (STOCK, OURS, SOCKET)] +
                [spread(figures.ratios(OURS, base, ports, case, speed))
                 for base in (STOCK, SOCKET)])
    return table(["way", "chunk", "stock, MB/s", "ours, MB/s", "socket, MB/s",
                  "ours : stock", "ours : socket"], lines)


def costs(figures, ports, chunks):
    lines = []
    for way, name in WAYS.items():
        for chunk in chunks:
            case = f"{way}:{chunk}"
            lines.append(
                [name, size(chunk)] +
                [number(figures.median(subject, ports, case, cpu))
                 for subject in (STOCK, OURS, SOCKET)] +
                [spread(figures.ratios(OURS, STOCK, ports, case, cpu))] +
                [f"{figures.median(subject, ports, case, busy):.0%}"
                 for subject in (STOCK, OURS)] +
                [f"{figures.system_calls(subject, ports, case) or 0:,.0f}"
                 for subject in (STOCK, OURS)] +
                [figures.copied(ports, case)])
    return table(["way", "chunk", "stock, CPU s/GiB", "ours, CPU s/GiB",
                  "socket, CPU s/GiB", "CPU, ours : stock",
                  "CPU is busy, stock", "ours",
                  "stock, system calls/GiB", "ours, system calls/GiB",
                  "ours, bytes copied"], lines)


def awkward(figures):
    lines = []
    for case, what in AWKWARD.items():
        lines.append([WAYS[case.split(":")[0]], what] +
                     [spread(figures.values(subject, 1, case, speed))
                      for subject in (STOCK, OURS)] +
                     [spread(figures.ratios(OURS, STOCK, 1, case, figure))
                      for figure in (speed, cpu)])
    return table(["way", "the ring has", "stock, MB/s", "ours, MB/s",
                  "ours : stock", "CPU, ours : stock"], lines)


def round_trips(figures):
    lines = []
    for ports, cases in ROUND_TRIPS.items():
        for case in cases:
            kind, chunk = case.split(":")
            load_name = "the others busy" if kind == "ping-busy" else "idle"
            lines.append([f"{plural(ports)}, {load_name}", size(int(chunk))])
            for quantile in "p50_us", "p99_us":
                lines[-1] += [
                    spread(figures.values(subject, ports, case,
                                          lambda row: row[quantile]))
                    for subject in (STOCK, OURS, SOCKET)]
                lines[-1].append(spread(figures.ratios(
                    OURS, STOCK, ports, case, lambda row: row[quantile])))
    return table(["ports", "bytes"] +
                 [f"{q} {what}" for q in ("p50", "p99") for what in
                  ("stock, µs", "ours, µs", "socket, µs", "ours : stock")],
                 lines)


def verdicts(figures, chunks):
    """Lines that say of each target of docs/bench.md where it is reached."""
    lines = []

    def judge(what, ratios, target, most=False):
        """
        @ratios: lists by name, whose medians are to be at least @target, or at
        most. Where the target is between the quartiles this run can't tell.
        """
        met, missed, unclear = [], [], []
        for name, values in ratios:
            # Where no byte came in any pair there is nothing to compare
            low, middle, high = quartiles(values) if values else (0, 0, 0)
            if middle <= target if most else middle >= target:
                met.append(name)
            elif low <= target <= high:
                unclear.append(f"{name} ({middle:.2f})")
            else:
                missed.append(f"{name} ({middle:.2f})")
        lines.append(f"{what}: reached at {', '.join(met) or 'none'}" +
                     "".join(f"; {word} at {', '.join(names)}"
                             for word, names in (("not to be told", unclear),
                                                 ("MISSED", missed)) if names))

    for ports in PORTS:
        for way, name in WAYS.items():
            for base, least in zip((STOCK, SOCKET), TARGETS[way]):
                judge(f"{name}, {plural(ports)}, at least {least:g} x {base}",
                      [(size(chunk), figures.ratios(OURS, base, ports,
                                                    f"{way}:{chunk}", speed))
                       for chunk in chunks], least)
    for quantile in "p50_us", "p99_us":
        judge(f"round trip {quantile[:3]}, at most stock's",
              [(f"{plural(ports)}, {case}", figures.ratios(
                  OURS, STOCK, ports, case, lambda row: row[quantile]))
               for ports, cases in ROUND_TRIPS.items() for case in cases],
              target("round-trip"), most=True)
    judge("guests with awkward buffers, at least stock's speed",
          [(f"{case} {what}", figures.ratios(OURS, STOCK, 1, case, speed))
           for case, what in AWKWARD.items()], target("awkward"))
    copied = sum(row["copied"] for row in figures.rows
                 if row["subject"] == OURS and "ping" not in row["case"])
    lines.append(f"bytes copied in all, target 0: {copied:,.0f}: "
                 f"{'reached' if not copied else 'MISSED'}")
    return "\n".join(f"- {line}" for line in lines) + "\n"


# ----------------------------------------------------------------------
# The plot

def plot(figures, path, title, chunks):
    """Have gnuplot draw speed against chunk size, with quartiles."""
    script = ["set terminal svg size 1000,800 background 'white'",
              f"set output '{path}'",
              f"set multiplot layout 2,2 title '{title}'",
              "set logscale xy", "set key bottom right",
              "set xlabel 'chunk, bytes'", "set ylabel 'MB/s'",
              "set format x '2^{%L}'", "set logscale x 2", "set grid"]
    for ports in PORTS:
        for way, name in WAYS.items():
            curves = []
            for subject in (STOCK, OURS, SOCKET):
                script.append(f"${subject} << EOD")
                for chunk in chunks:
                    values = figures.values(subject, ports, f"{way}:{chunk}",
                                            speed)
                    low, middle, high = quartiles(values)
                    script.append(f"{chunk} {middle} {low} {high}")
                script.append("EOD")
                curves.append(f"${subject} with yerrorlines title '{subject}'")
            script += [f"set title '{name}, {plural(ports)}'",
                       "plot " + ", ".join(curves)]
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True,
                   check=True)


# ----------------------------------------------------------------------

def report(version, head, figures, chunks, out):
    path = os.path.join(out, f"pipe-{version}")
    write_csv(path + ".csv", figures.rows + figures.calls)
    plot(figures, path + ".svg", f"virtio-serial, QEMU {version}", chunks)
    text = [head]
    for ports in PORTS:
        name = f"QEMU {version}, {plural(ports)}"
        text += [f"### {name}: speed\n", streams(figures, ports, chunks),
                 f"### {name}: what it costs\n", costs(figures, ports, chunks)]
    text += [f"### QEMU {version}: guests with few, tiny or many-pieced "
             "buffers\n", awkward(figures),
             f"### QEMU {version}: round trips\n", round_trips(figures),
             f"### QEMU {version}: targets\n", verdicts(figures, chunks)]
    with open(path + ".md", "w", encoding="utf-8") as f:
        f.write("\n".join(text))
    print("\n".join(text))


def main():
    args = start("build", "out")
    pairs, chunks, seconds = 9, CHUNKS, 0.15
    if args.quick:
        pairs, chunks, seconds = 1, [1, 1 << 12, 1 << 16], 0.05

    for version, (stock, ours) in args.qemus.items():
        before, date = load(), time.strftime("%Y-%m-%d %H:%M %Z")
        with open(os.path.join(args.out, f"pipe-{version}.log"), "w",
                  encoding="utf-8") as log:
            rows, calls = measure(Runner(args.build, log, stock, ours), pairs,
                                  chunks, seconds)
        head = (f"{date}; {machine()}; load average before {before}, after "
                f"{load()}; {pairs} pairs, {seconds} s for each figure, "
                "10 times that for round trips beside busy ports, 5 times "
                "for awkward buffers, system calls from a run of their own "
                "under strace. Median (first to third quartile); ratios are "
                "taken within a pair.\n")
        report(version, head, Figures(rows, calls), chunks, args.out)


if __name__ == "__main__":
    main()
