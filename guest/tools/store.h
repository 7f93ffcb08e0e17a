/*
 * The store of "vser daemon": a file for each port that has a descriptor
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_STORE_H
#define VSER_STORE_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* All take a port's name, "vport2p7", and nothing else for @name. */

/**
 * store_get:
 * @blob: VIRTIO_SERIAL_DESC_MAX bytes; filled, and not checked
 *
 * Returns: the blob's length; -1 and errno, ENOENT if there is none.
 */
ssize_t store_get(const char *name, uint8_t *blob);

/**
 * store_put:
 * @blob: of @length bytes
 *
 * Have @blob be what the store has for the port, at once for who reads it.
 *
 * Returns: 1, 0 if it was there already, -1 after a message.
 */
int store_put(const char *name, const uint8_t *blob, size_t length);

/**
 * store_remove:
 *
 * Returns: 1, 0 if the store had nothing for the port, -1 after a message.
 */
int store_remove(const char *name);

/**
 * store_open:
 *
 * Have the store's directory be there.
 *
 * Returns: it, for closedir(); NULL after a message.
 */
DIR *store_open(void);

#endif /* VSER_STORE_H */
