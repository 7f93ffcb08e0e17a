/*
 * Fuzz target: names from anywhere, of which some are descriptors
 *
 * The input is the name, up to its first NUL.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "virtio-serial-desc-oracle.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* In a block of its own size, so that a sanitizer sees an overrun */
    g_autofree char *name = g_strndup((const char *)data, size);

    oracle_verify_name(name, NULL);
    return 0;
}
