# The benchmarks' targets, as docs/bench.md has them
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import pathlib
import re

TABLE = pathlib.Path(__file__).resolve().parents[2] / "docs/bench.md"


def target(name):
    """The limit of the target that has this name in the table of docs/bench.md"""
    limit, = re.findall(rf"^\| `{re.escape(name)}` \|[^|]*\| at (?:least|most) ([\d.]+) \|",
                        TABLE.read_text(encoding="utf-8"), re.M)
    return float(limit)
