# Run a program of tests/ in a root that has the packages of QEMU, where no image of a
# guest can be made: it boots images that are there.
#
#   in-root.py SCRIPT=DIRECTORY... PROGRAM [ARGUMENT...]
#
# DIRECTORY is what tests/guest/SCRIPT has made.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import pathlib
import runpy
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import guestlib                                             # noqa: E402

images = {}
words = sys.argv[1:]
while '=' in words[0]:
    script, _, directory = words.pop(0).partition('=')
    images[script] = pathlib.Path(directory)
guestlib.make_image = lambda script, *args: images[script]
sys.argv = words
# What a program has in its own directory, it finds there
sys.path.insert(0, str(pathlib.Path(words[0]).resolve().parent))
runpy.run_path(words[0], run_name='__main__')
