# The table of what a test guest can run on
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/guest/platforms, which says what its columns are.

    PLATFORMS['q35'].machine
    DEFAULT                     # the name of the first row
"""

import collections
import pathlib

TABLE = pathlib.Path(__file__).resolve().parents[1] / 'guest/platforms'

Platform = collections.namedtuple(
    'Platform', 'name architecture kernel emulator machine options terminal '
                'append transport modules')


def read():
    """{name: Platform}, in the order of the table"""
    rows = {}
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith('#'):
            cells = [cell.strip() for cell in line.split('|')]
            row = Platform(*('' if cell == '-' else cell for cell in cells))
            rows[row.name] = row
    return rows


PLATFORMS = read()
DEFAULT = next(iter(PLATFORMS))
