/*
 * Stands in for QEMU's qemu/osdep.h where the codec is compiled without QEMU
 *
 * QEMU demands that every C file includes "qemu/osdep.h" first, and the codec
 * is one file for QEMU, the unit tests, the fuzzers and the guest tools. The
 * last are to be built in guests that have neither QEMU nor GLib, so here is
 * what the codec takes from that header and nothing else: the C library, and
 * the one macro of GLib's that it uses. Only the meson.build at the root has
 * this directory in its search path.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef STANDALONE_QEMU_OSDEP_H
#define STANDALONE_QEMU_OSDEP_H

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef G_GNUC_PRINTF
#define G_GNUC_PRINTF(format_idx, arg_idx) \
    __attribute__((format(printf, format_idx, arg_idx)))
#endif

#endif /* STANDALONE_QEMU_OSDEP_H */
