# Wait for what has no event
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import time


def until(condition, what, timeout=20):
    """Wait until condition() is true; what it returned."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f'in vain: {what}')
        time.sleep(0.01)
    return value
