/*
 * Names of ports, and the instance that has a name now
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "paths.h"
#include "port-name.h"

/* Read a decimal number at *@p, as the kernel prints it, and move *@p on */
static bool parse_number(const char **p, unsigned int *number)
{
    char *end;
    unsigned long value;

    if (!isdigit((unsigned char)**p) ||
        (**p == '0' && isdigit((unsigned char)(*p)[1]))) {
        return false;
    }
    errno = 0;
    value = strtoul(*p, &end, 10);
    if (errno || value > INT_MAX) {
        return false;
    }
    *number = value;
    *p = end;
    return true;
}

bool port_name_parse(const char *name, unsigned int *device, unsigned int *id)
{
    if (strncmp(name, "vport", 5) != 0) {
        return false;
    }
    name += 5;
    return parse_number(&name, device) && *name++ == 'p' &&
           parse_number(&name, id) && *name == '\0';
}

uint64_t port_instance(const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", VSER_SYSFS, name);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

/*
 * The device number of port @name in sysfs. Only a test's directory may lack
 * the number; then it is the number of @fd.
 */
static dev_t device_number(const char *name, const struct stat *fd)
{
    unsigned int major, minor;
    char path[PATH_MAX];
    dev_t number = fd->st_rdev;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s/dev", VSER_SYSFS, name);
    f = fopen(path, "re");
    if (f) {
        number = fscanf(f, "%u:%u", &major, &minor) == 2 ?
                 makedev(major, minor) : 0;
        fclose(f);
    }
    return number;
}

int port_name_open(const char *name, uint64_t instance, int flags)
{
    char path[PATH_MAX];
    struct stat st;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", VSER_DEV, name);
    fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    /*
     * A port has its name before its node is there, and until the node has
     * gone. So the node that was opened is the port's node if the same port is
     * still there.
     */
    if (!instance || fstat(fd, &st) < 0 ||
        device_number(name, &st) != st.st_rdev ||
        port_instance(name) != instance) {
        close(fd);
        errno = ENODEV;
        return -1;
    }
    return fd;
}

bool port_name_of(int fd, char name[PORT_NAME_SIZE])
{
    struct stat st;
    char **names;
    size_t count, i;
    bool found = false;

    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode)) {
        return false;
    }
    names = port_names(&count);
    for (i = 0; i < count; i++) {
        struct stat none = { .st_rdev = 0 };

        if (!found && device_number(names[i], &none) == st.st_rdev) {
            snprintf(name, PORT_NAME_SIZE, "%s", names[i]);
            found = true;
        }
        free(names[i]);
    }
    free(names);
    return found;
}

static int compare_names(const void *a, const void *b)
{
    unsigned int device[2] = { 0 }, id[2] = { 0 };

    port_name_parse(*(char **)a, &device[0], &id[0]);
    port_name_parse(*(char **)b, &device[1], &id[1]);
    return device[0] != device[1] ? (device[0] < device[1] ? -1 : 1)
                                  : (id[0] < id[1] ? -1 : id[0] > id[1]);
}

char **port_names(size_t *count)
{
    DIR *dir = opendir(VSER_SYSFS);
    char **names = NULL;
    struct dirent *entry;

    *count = 0;
    if (!dir) {
        /* Without the directory there is no driver, and there are no ports */
        if (errno != ENOENT) {
            vser_error("%s: %s", VSER_SYSFS, strerror(errno));
        }
        return NULL;
    }
    while ((entry = readdir(dir))) {
        unsigned int device, id;

        if (port_name_parse(entry->d_name, &device, &id)) {
            names = vser_realloc(names, (*count + 1) * sizeof(*names));
            names[(*count)++] = vser_strdup(entry->d_name);
        }
    }
    closedir(dir);
    if (names) {
        qsort(names, *count, sizeof(*names), compare_names);
    }
    return names;
}
