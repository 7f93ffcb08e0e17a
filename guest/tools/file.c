/*
 * Small files: sysfs attributes, blobs
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <fcntl.h>
#include <unistd.h>
#include "file.h"

ssize_t file_read(const char *path, void *dest, size_t max)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t length = 0;
    ssize_t got;
    int error;

    if (fd < 0) {
        return -1;
    }
    /* When dest is full, one more byte means that the file is too long */
    do {
        char more;

        got = read(fd, length < max ? (char *)dest + length : &more,
                   length < max ? max - length : 1);
        if (got > 0 && length == max) {
            got = -1;
            errno = EFBIG;
        } else if (got > 0) {
            length += got;
        }
    } while (got > 0);
    error = errno;
    close(fd);
    errno = error;
    return got < 0 ? -1 : (ssize_t)length;
}

ssize_t file_read_line(const char *path, char *dest, size_t size)
{
    ssize_t length = file_read(path, dest, size - 1);

    if (length > 0 && dest[length - 1] == '\n') {
        length--;
    }
    dest[length > 0 ? length : 0] = '\0';
    return length;
}
