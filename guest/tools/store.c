/*
 * The store of "vser daemon": a file for each port that has a descriptor
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "file.h"
#include "paths.h"
#include "port-name.h"
#include "store.h"
#include "hw/virtio/virtio-serial-desc-wire.h"

void store_path(char *path, const char *name, uint64_t instance)
{
    snprintf(path, PATH_MAX, "%s/%s.%" PRIu64, VSER_STORE, name, instance);
}

bool store_name_parse(const char *file, char *name, uint64_t *instance)
{
    const char *dot = strchr(file, '.');
    char again[64];
    unsigned int device, id;

    if (!dot || dot - file >= PORT_NAME_SIZE) {
        return false;
    }
    memcpy(name, file, dot - file);
    name[dot - file] = '\0';
    *instance = strtoull(dot + 1, NULL, 10);
    snprintf(again, sizeof(again), "%s.%" PRIu64, name, *instance);
    return strcmp(again, file) == 0 && port_name_parse(name, &device, &id);
}

ssize_t store_get(const char *name, uint64_t instance, uint8_t *blob)
{
    char path[PATH_MAX];

    store_path(path, name, instance);
    return file_read(path, blob, VIRTIO_SERIAL_DESC_MAX);
}

/* Is there while the store changes, and while udev has not been told */
#define STORE_CHANGING  VSER_STORE "/.changing"

static bool changing;

static void store_changing(void)
{
    int fd;

    if (!changing) {
        changing = true;
        /* If that fails, we go on: it only matters if we are killed now */
        fd = open(STORE_CHANGING, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
                  0644);
        if (fd >= 0) {
            close(fd);
        }
    }
}

void store_settled(void)
{
    if (changing) {
        unlink(STORE_CHANGING);
        changing = false;
    }
}

bool store_interrupted(void)
{
    changing = access(STORE_CHANGING, F_OK) == 0;
    return changing;
}

DIR *store_open(void)
{
    DIR *dir;

    if (mkdir(VSER_STORE, 0755) < 0 && errno != EEXIST) {
        vser_error("%s: %s", VSER_STORE, strerror(errno));
        return NULL;
    }
    dir = opendir(VSER_STORE);
    if (!dir) {
        vser_error("%s: %s", VSER_STORE, strerror(errno));
    }
    return dir;
}

/* Write the new file at @path; false, and errno, if it is not complete */
static bool write_file(const char *path, const uint8_t *blob, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                  0644);
    size_t done = 0;
    ssize_t put = 0;
    int error;

    if (fd < 0) {
        return false;
    }
    while (done < length) {
        put = write(fd, blob + done, length - done);
        if (put < 0) {
            break;
        }
        done += put;
    }
    error = errno;
    close(fd);
    errno = error;
    return done == length;
}

int store_put(const char *name, uint64_t old_instance, const uint8_t *blob,
              size_t length)
{
    static uint8_t old[VIRTIO_SERIAL_DESC_MAX];
    char path[PATH_MAX], new[PATH_MAX];
    ssize_t old_length = store_get(name, old_instance, old);
    int error;

    if (old_length == (ssize_t)length && memcmp(old, blob, length) == 0) {
        return 0;
    }
    store_path(path, name, 0);
    snprintf(new, sizeof(new), "%s/.%s.new", VSER_STORE, name);
    if (!write_file(new, blob, length) || rename(new, path) < 0) {
        error = errno;
        unlink(new);
        errno = error;
        return -1;
    }
    if (old_instance) {
        store_remove(name, old_instance);
    }
    return 1;
}

bool store_move(const char *name, uint64_t old, uint64_t new)
{
    char from[PATH_MAX], to[PATH_MAX];

    store_path(from, name, old);
    store_path(to, name, new);
    store_changing();
    if (rename(from, to) < 0) {
        vser_error("%s: %s", from, strerror(errno));
        return false;
    }
    return true;
}

int store_remove(const char *name, uint64_t instance)
{
    char path[PATH_MAX];

    store_path(path, name, instance);
    store_changing();
    if (unlink(path) == 0) {
        return 1;
    }
    if (errno == ENOENT) {
        return 0;
    }
    vser_error("%s: %s", path, strerror(errno));
    return -1;
}
