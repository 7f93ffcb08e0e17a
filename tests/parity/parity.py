#!/usr/bin/env python3
"""Run each scene on stock QEMU and on ours, and compare the facts.

usage: parity.py [--jobs N] [--show]
                 LIBRARY LOGS TABLE VERSION STOCK OURS [PATTERN...]

A scene is SITUATION/KIND, as in talk/unix. TABLE is docs/byte-pipe.md: it has to
list each difference, and each difference in it has to be found. The last line is
the sum. --show prints the facts of the scenes on both.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import fnmatch
import json
import os
import re
import shutil
import sys
import time

sys.dont_write_bytecode = True
import ends                                                 # noqa: E402
import scenes                                               # noqa: E402
from tasks import Task, run_tasks                           # noqa: E402

PATIENCE = 4        # a scene that differed gets so many times the time
HEADING = "## Where it differs from stock QEMU"


def run_scene(lib, directory, facts, program, name, patience):
    situation, kind = name.split("/")
    function, _, options = scenes.SITUATIONS[situation]
    function(scenes.Scene(lib, program, directory, kind, facts, patience,
                          **options))


def run_all(names, programs, library, logs, jobs, patience=1):
    """Yield (name, {which: facts}) as they end"""
    def maker(name, which):
        log = os.path.join(logs, f"{name.replace('/', '-')}-{which}")

        def play(lib, directory, facts):
            run_scene(lib, directory, facts, programs[which], name, patience)
        return lambda: Task((name, which), library, log, play)

    done = {}
    makers = [maker(name, which) for name in names for which in programs]
    for (name, which), facts in run_tasks(makers, jobs):
        done.setdefault(name, {})[which] = facts
        if len(done[name]) == len(programs):
            yield name, done.pop(name)


# ----------------------------------------------------------------------
# The table

class Row:
    def __init__(self, line, cells):
        self.line = line
        self.scenes, self.facts, self.stock, self.ours, self.why = cells
        self.used = False

    @staticmethod
    def match(pattern, text):
        return any(fnmatch.fnmatchcase(text, part.strip("` "))
                   for part in pattern.split(" or "))

    def covers(self, name, fact, stock, ours):
        return (self.match(self.scenes, name) and self.match(self.facts, fact)
                and self.match(self.stock, stock)
                and self.match(self.ours, ours))

    def could(self, names):
        return any(self.match(self.scenes, name) for name in names)


def read_table(path):
    """The rows of the table below HEADING: scene, what, stock, ours, why"""
    rows, inside = [], False
    with open(path) as file:
        for number, line in enumerate(file, 1):
            if line.startswith("## "):
                inside = line.strip() == HEADING
            if inside and line.startswith("| `"):
                cells = [cell.strip() for cell in
                         re.split(r"(?<!\\)\|", line.strip().strip("|"))]
                if len(cells) != 5 or not all(cells):
                    sys.exit(f"{path}:{number}: not five cells")
                rows.append(Row(number, cells))
    return rows


def all_names():
    return [f"{situation}/{kind}"
            for situation, (_, condition, _) in scenes.SITUATIONS.items()
            for kind in ends.KINDS if condition(ends.KINDS[kind])]


def compare(name, facts, rows):
    """(fact, stock's, ours) for each difference that no row covers"""
    left = []
    stock, ours = facts["stock"], facts["ours"]
    for fact in sorted({*stock, *ours}):
        theirs, mine = stock.get(fact, "-"), ours.get(fact, "-")
        if fact != "end" and "-" in (theirs, mine) and (
                "well" != stock["end"] or "well" != ours["end"]):
            continue        # one of the two did not get to this fact
        if theirs == mine and (fact != "end" or mine == "well"):
            continue
        covering = [row for row in rows
                    if row.covers(name, fact, theirs, mine)]
        for row in covering:
            row.used = True
        if not covering:
            left.append((fact, theirs, mine))
    return left


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--show", action="store_true")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    library, logs, table, version, stock, ours, *patterns = options.arguments
    names = [name for name in all_names()
             if not patterns or any(fnmatch.fnmatch(name, pattern)
                                    for pattern in patterns)]
    rows = read_table(table)
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)

    passed = failed = 0
    start = time.monotonic()
    programs = {"stock": stock, "ours": ours}
    again = []

    def judge(name, facts, last):
        nonlocal passed, failed
        left = compare(name, facts, rows)
        if left and not last:
            again.append(name)
            return
        if options.show:
            print(name, json.dumps(facts, indent=1))
        if left:
            failed += 1
            print(f"not ok {name}")
            for fact, theirs, mine in left:
                print(f"  | {fact}: stock: {theirs}; ours: {mine}")
        else:
            passed += 1
        sys.stdout.flush()

    for name, facts in run_all(names, programs, library, logs, options.jobs):
        judge(name, facts, name.split("/")[1] not in scenes.PATIENCE)
    # On a busy machine, an event may come after a scene has stopped waiting
    for name, facts in run_all(again, programs, library, logs, options.jobs,
                               PATIENCE):
        judge(name, facts, True)
    for row in rows:
        if not row.used and not patterns:
            failed += 1
            print(f"not ok {os.path.basename(table)}:{row.line}: that"
                  f" difference is not there any more: {row.scenes}")
    print(f"{'ok' if not failed else 'not ok'} parity-{version}: {passed} of"
          f" {len(names)} scenes are as on stock QEMU, or as the table says,"
          f" {time.monotonic() - start:.0f} s")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
