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
 * A port's number is used again, and the next port with that number must not
 * get the blob of the old port. So an entry is about one instance of a port
 * (port_instance()), and its file is "vport2p7.INSTANCE". Instance 0 means: the
 * host has told of the port, but the kernel does not have the port yet.
 *
 * @name is always a port's name, "vport2p7". An update that is not interrupted
 * leaves one file for each port.
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
 * Returns: the blob's length; -1 and errno, ENOENT if there is no such entry.
 */
ssize_t store_get(const char *name, uint64_t instance, uint8_t *blob);

/**
 * store_put:
 * @old_instance: the instance whose entry the store has; 0 also for no entry
 * @blob: of @length bytes
 *
 * Make @blob the port's entry, with instance 0.
 *
 * Returns: 1; 0 if the old entry has the same blob, and stays; -1 and errno.
 */
int store_put(const char *name, uint64_t old_instance, const uint8_t *blob,
              size_t length);

/**
 * store_move:
 *
 * Make the entry of instance @old the entry of instance @new, in one step.
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
 * store_settled:
 *
 * udev has been told of all that store_move() and store_remove() have changed.
 */
void store_settled(void);

/**
 * store_interrupted:
 *
 * Returns: whether an earlier daemon was killed before store_settled(): udev
 * may have to look at any port.
 */
bool store_interrupted(void);

/**
 * store_name_parse:
 * @file: a file's name in the store's directory
 * @name: PORT_NAME_SIZE bytes, set to the port's name
 * @instance: set to the entry's instance
 *
 * Returns: whether @file is the name of an entry.
 */
bool store_name_parse(const char *file, char *name, uint64_t *instance);

/**
 * store_open:
 *
 * Open the store's directory, and make it first if it is missing.
 *
 * Returns: the directory, for closedir(); NULL after a message.
 */
DIR *store_open(void);

#endif /* VSER_STORE_H */
