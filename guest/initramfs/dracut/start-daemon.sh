#!/bin/sh
# For a driver that knows no descriptors, where no systemd starts the daemon.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

vser daemon </dev/null >/dev/null 2>&1 &
echo $! >/run/vser-initramfs.pid
