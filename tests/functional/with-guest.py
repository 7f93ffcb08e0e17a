#!/usr/bin/env python3
# Run a functional test of QEMU's with files of ours in the place of its downloads.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""with-guest.py DIR TEST

An asset is known by the end of its address: DIR has vmlinuz, initrd.img and disk.raw. The
test itself is not changed.
"""

import os
import runpy
import sys
import types
import unittest

folder, test = sys.argv[1:]

# QEMU's runner prints TAP, and needs a package for it; unittest's own does here
sys.modules['pycotap'] = types.ModuleType('pycotap')

from qemu_test import Asset  # noqa: E402


def fetch(asset):
    name = os.path.basename(asset.url)
    return os.path.join(folder, 'disk.raw' if name.endswith('.qcow2') else name)


Asset.fetch = fetch
names = runpy.run_path(test)
cases = [value for value in names.values() if isinstance(value, type) and
         value.__module__ == '<run_path>' and issubclass(value, unittest.TestCase)]
suite = unittest.TestSuite(
    unittest.defaultTestLoader.loadTestsFromTestCase(case) for case in cases)
done = unittest.TextTestRunner(verbosity=2).run(suite)
sys.exit(not (done.testsRun and done.wasSuccessful() and not done.skipped))
