/*
 * Fuzz target: any messages as events of the kernel and of udev
 *
 * The input is messages: a byte of flags, the length (two bytes, little-endian)
 * and the bytes. The functions below stand in for the socket (the linker's
 * --wrap) and for libudev, for which the bytes are the port's name, a NUL and
 * the action.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <libudev.h>
#include "udev-event.h"
#include "fuzz.h"

enum { SOCK = 1 << 20 };        /* no file descriptor of this process */

enum {
    STRANGER = 1,               /* not from the kernel */
    LOST = 2,
    INTERRUPTED = 4,
    UDEV = 8,                   /* udev's event */
};

ssize_t __wrap_recvfrom(int fd, void *data, size_t size, int flags,
                        struct sockaddr *from, socklen_t *from_size);
ssize_t __real_recvfrom(int fd, void *data, size_t size, int flags,
                        struct sockaddr *from, socklen_t *from_size);

/* What is left of the input, and the last message */
static const uint8_t *p, *end;
static char message[65536 + 2];
static size_t length;
static uint8_t flags_of;

static bool next_message(void)
{
    if (end - p < 3) {
        return false;
    }
    flags_of = p[0];
    length = MIN(p[1] | p[2] << 8, end - p - 3);
    memcpy(message, p + 3, length);
    message[length] = message[length + 1] = '\0';
    p += 3 + length;
    return true;
}

ssize_t __wrap_recvfrom(int fd, void *data, size_t size, int flags,
                        struct sockaddr *from, socklen_t *from_size)
{
    struct sockaddr_nl *address = (struct sockaddr_nl *)from;

    if (fd != SOCK) {
        return __real_recvfrom(fd, data, size, flags, from, from_size);
    }
    if (!next_message() || flags_of & UDEV) {
        length = 0;
        errno = EAGAIN;
        return -1;
    }
    if (flags_of & (LOST | INTERRUPTED)) {
        errno = flags_of & LOST ? ENOBUFS : EINTR;
        return -1;
    }
    address->nl_pid = flags_of & STRANGER ? 77 : 0;
    length = MIN(length, size);
    memcpy(data, message, length);
    return length;
}

/* libudev: what udev-event.c calls */
struct udev_device *udev_monitor_receive_device(struct udev_monitor *monitor)
{
    if (!next_message() || !(flags_of & UDEV) || flags_of & LOST) {
        errno = flags_of & LOST ? ENOBUFS : EAGAIN;
        return NULL;
    }
    return (struct udev_device *)message;
}

const char *udev_device_get_sysname(struct udev_device *dev)
{
    return flags_of & STRANGER ? NULL : message;
}

const char *udev_device_get_action(struct udev_device *dev)
{
    return flags_of & INTERRUPTED ? NULL : message + strlen(message) + 1;
}

struct udev_device *udev_device_unref(struct udev_device *dev)
{
    return NULL;
}

/* "0", or digits without a zero first; at most INT_MAX */
static bool is_number(const char **s)
{
    uint64_t value = 0;
    const char *begin = *s;

    for (; g_ascii_isdigit(**s); (*s)++) {
        value = MIN(value * 10 + **s - '0', UINT32_MAX);
    }
    return *s > begin && (*begin != '0' || *s == begin + 1) &&
           value <= INT32_MAX;
}

static bool is_port(const char *s)
{
    if (strncmp(s, "vport", 5) != 0) {
        return false;
    }
    s += 5;
    return is_number(&s) && *s++ == 'p' && is_number(&s) && *s == '\0';
}

/* The value of the first field that begins so; the message ends in a NUL */
static const char *field(const char *key)
{
    size_t at = 0;

    message[MIN(length, 8191)] = '\0';
    while (at < MIN(length, 8191)) {
        if (g_str_has_prefix(message + at, key)) {
            return message + at + strlen(key);
        }
        at += strlen(message + at) + 1;
    }
    return NULL;
}

static void check_kernel(const Uevent *event)
{
    const char *path = field("DEVPATH="), *action = field("ACTION=");
    const char *subsystem = field("SUBSYSTEM="), *slash;

    assert(!(flags_of & STRANGER));
    assert(path && action && subsystem);
    assert(strcmp(subsystem, "virtio-ports") == 0);
    slash = strrchr(path, '/');
    assert(strcmp(slash ? slash + 1 : path, event->port) == 0);
    assert(event->removed == (strcmp(action, "remove") == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    UeventResult result;
    Uevent event;

    p = data;
    end = data + size;
    while (p < end && end - p >= 3) {
        const uint8_t *before = p;
        bool udev = *p & UDEV;

        memset(&event, 0xa5, sizeof(event));
        result = udev ? udev_event_next(&event) : uevent_next(SOCK, &event);
        assert(p > before);
        if (result == UEVENT_LOST) {
            assert(flags_of & LOST);
        } else if (result == UEVENT_PORT) {
            assert(is_port(event.port));
            if (udev) {
                assert(strcmp(event.port, message) == 0);
            } else {
                check_kernel(&event);
            }
        }
    }
    return 0;
}
