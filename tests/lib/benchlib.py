# What the benchmarks of tests/bench have in common
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import csv
import os
import pathlib
import platform
import re
import signal
import statistics
import sys
import threading
import time

MIB = 1 << 20
TARGETS = pathlib.Path(__file__).resolve().parents[2] / "docs/bench.md"


# ----------------------------------------------------------------------
# How a benchmark begins

def start(*names):
    """
    What a program of these that scripts/bench calls begins with. Returns its
    arguments: "quick", each of @names, and "qemus", {version: [stock, ours]}.
    "out" is a directory that is there.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    for name in names:
        parser.add_argument(name)
    parser.add_argument("qemu", nargs="+")
    args = parser.parse_args()
    args.qemus = {}
    for arg in args.qemu:
        version, *paths = arg.split(":")
        args.qemus[version] = paths
    # An exception, so that what was started is ended
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.makedirs(args.out, exist_ok=True)
    return args


def say(text):
    print(f"- {text}", file=sys.stderr, flush=True)


def target(name):
    """The limit of the target that has this name in the table of docs/bench.md"""
    limit, = re.findall(rf"^\| `{re.escape(name)}` \|[^|]*\| at (?:least|most) ([\d.]+) \|",
                        TARGETS.read_text(encoding="utf-8"), re.M)
    return float(limit)


# ----------------------------------------------------------------------
# What it leaves

def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
    with open("/proc/meminfo", encoding="utf-8") as f:
        kib = int(f.readline().split()[1])
    return (f"{model[1] if model else platform.machine()}, "
            f"{os.cpu_count()} CPUs, {kib / 2**20:.0f} GiB, "
            f"Linux {platform.release()}")


def load():
    return ", ".join(f"{x:.1f}" for x in os.getloadavg())


def write_csv(path, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, names)
        out.writeheader()
        out.writerows(rows)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |",
             "|" + "|".join(["---"] * 2 + ["---:"] * (len(head) - 2)) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def spread(values, digits=1):
    """Median, and in brackets the least and the most"""
    values = list(values)
    middle = f"{statistics.median(values):,.{digits}f}"
    least, most = (f"{f(values):,.{digits}f}" for f in (min, max))
    return middle if least == most else f"{middle} ({least} to {most})"


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
# In a real guest

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


def report_guest(measure, name):
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
