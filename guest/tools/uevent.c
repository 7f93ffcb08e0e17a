/*
 * The kernel's events for ports that come, change and go
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>
#include "port-name.h"
#include "uevent.h"

/* The multicast group of the kernel's events; udev's events have another one */
#define GROUP_KERNEL    1

/*
 * In bytes: enough for the events of hundreds of ports that come at once. A
 * process without the right to that size gets less. Lost events are noticed.
 */
#define RECEIVE_BUFFER  (4 << 20)

int uevent_open(void)
{
    struct sockaddr_nl address = {
        .nl_family = AF_NETLINK, .nl_groups = GROUP_KERNEL,
    };
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    NETLINK_KOBJECT_UEVENT);
    int size = RECEIVE_BUFFER;

    if (fd < 0) {
        return -1;
    }
    /* Root may go beyond the limit, other users only up to the limit */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* The value of @key in @message, of @length bytes; NULL if there is no @key */
static const char *uevent_value_of(const char *message, size_t length,
                                   const char *key)
{
    const char *p = message, *end = message + length;

    for (; p < end; p += strlen(p) + 1) {
        if (strncmp(p, key, strlen(key)) == 0) {
            return p + strlen(key);
        }
    }
    return NULL;
}

UeventResult uevent_next(int fd, Uevent *event)
{
    for (;;) {
        char message[8192];
        struct sockaddr_nl from = { 0 };
        socklen_t from_size = sizeof(from);
        const char *subsystem, *action, *path, *name;
        unsigned int device, id;
        ssize_t length = recvfrom(fd, message, sizeof(message) - 1, 0,
                                  (struct sockaddr *)&from, &from_size);

        if (length < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno == ENOBUFS ? UEVENT_LOST : UEVENT_NONE;
        }
        /* Any process may send to this socket; only the kernel has number 0 */
        if (from.nl_pid != 0) {
            continue;
        }
        message[length] = '\0';
        subsystem = uevent_value_of(message, length, "SUBSYSTEM=");
        action = uevent_value_of(message, length, "ACTION=");
        path = uevent_value_of(message, length, "DEVPATH=");
        if (!subsystem || strcmp(subsystem, "virtio-ports") != 0 ||
            !action || !path) {
            continue;
        }
        name = strrchr(path, '/');
        name = name ? name + 1 : path;
        if (port_name_parse(name, &device, &id)) {
            snprintf(event->port, sizeof(event->port), "%s", name);
            event->removed = strcmp(action, "remove") == 0;
            return UEVENT_PORT;
        }
    }
}
