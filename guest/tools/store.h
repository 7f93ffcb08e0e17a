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
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A port's number is used again, and what is known of one port must not be
 * believed of the next. So an entry is about one instance of a port, as
 * port_instance() gives it, and its file is "vport2p7.INSTANCE". Instance 0 is
 * none yet: the host has told of the port before the kernel has it.
 *
 * All take a port's name, "vport2p7", and nothing else for @name. An update
 * leaves one file for each port, if it is not cut off.
 */

/**
 * store_path:
 * @path: PATH_MAX bytes, set to the path of the entry
 */
void store_path(char *path, const char *name, uint64_t instance);

/**
 * store_get:
 * @blob: VIRTIO_SERIAL_DESC_MAX bytes; filled, and not checked
 *
 * Returns: the blob's length; -1 and errno, ENOENT if there is none.
 */
ssize_t store_get(const char *name, uint64_t instance, uint8_t *blob);

/**
 * store_put:
 * @old_instance: the instance of which the store has an entry; 0 also for none
 * @blob: of @length bytes
 *
 * Have @blob be the port's entry, of no instance yet.
 *
 * Returns: 1, 0 if the entry had it already and stays as it is, -1 and errno.
 */
int store_put(const char *name, uint64_t old_instance, const uint8_t *blob,
              size_t length);

/**
 * store_move:
 *
 * Have the entry of instance @old be one of instance @new, at once for who
 * reads it.
 *
 * Returns: false after a message.
 */
bool store_move(const char *name, uint64_t old, uint64_t new);

/**
 * store_remove:
 *
 * Returns: 1, 0 if the store had no such entry, -1 after a message.
 */
int store_remove(const char *name, uint64_t instance);

/**
 * store_name_parse:
 * @file: a file's name in the store's directory
 * @name: PORT_NAME_SIZE bytes, set to the port's name
 * @instance: set to that of the entry
 *
 * Returns: whether it is the name of an entry.
 */
bool store_name_parse(const char *file, char *name, uint64_t *instance);

/**
 * store_open:
 *
 * Have the store's directory be there.
 *
 * Returns: it, for closedir(); NULL after a message.
 */
DIR *store_open(void);

#endif /* VSER_STORE_H */
