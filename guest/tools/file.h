/*
 * Small files: sysfs attributes, blobs
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_FILE_H
#define VSER_FILE_H

#include <stddef.h>
#include <sys/types.h>

/**
 * file_read:
 * @path: of the file
 * @dest: of @max bytes
 *
 * Returns: the length of the file, now in @dest; -1 and errno if it can't be
 * read, EFBIG if it is longer than @max.
 */
ssize_t file_read(const char *path, void *dest, size_t max);

/**
 * file_read_line:
 * @path: of the file
 * @dest: of @size bytes; filled with the text, without a newline at the end,
 *        and a NUL
 *
 * Returns: as file_read().
 */
ssize_t file_read_line(const char *path, char *dest, size_t size);

#endif /* VSER_FILE_H */
