#!/bin/sh
# The system's own daemon takes over: udev starts it.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

if [ -e /run/vser-initramfs.pid ]; then
    kill "$(cat /run/vser-initramfs.pid)" 2>/dev/null
    rm -f /run/vser-initramfs.pid
fi
