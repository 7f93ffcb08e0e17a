/*
 * udev's events for ports that come, change and go
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <unistd.h>
#ifdef VSER_LIBUDEV
#include <libudev.h>
#endif
#include "udev-event.h"

/* The kernel's events, if udev's are not to be had; -1: udev's */
static int kernel = -1;

#ifdef VSER_LIBUDEV
/* In bytes: enough for the events of hundreds of ports that come at once */
#define RECEIVE_BUFFER  (4 << 20)

static struct udev_monitor *monitor;

int udev_event_open(void)
{
    /* libudev looks for that file too: without it, no event would ever come */
    if (access("/run/udev/control", F_OK) < 0) {
        kernel = uevent_open();
        return kernel;
    }
    /* systemd's libudev does not use the first argument */
    monitor = udev_monitor_new_from_netlink(NULL, "udev");
    if (!monitor) {
        return -1;
    }
    /* Only root may have a buffer of any size. Lost events are noticed. */
    udev_monitor_set_receive_buffer_size(monitor, RECEIVE_BUFFER);
    if (udev_monitor_filter_add_match_subsystem_devtype(
            monitor, "virtio-ports", NULL) < 0 ||
        udev_monitor_enable_receiving(monitor) < 0) {
        return -1;
    }
    return udev_monitor_get_fd(monitor);
}

static UeventResult monitor_next(Uevent *event)
{
    struct udev_device *dev;
    unsigned int device, id;

    for (;;) {
        const char *name, *action;
        bool found;

        errno = 0;
        dev = udev_monitor_receive_device(monitor);
        if (!dev) {
            return errno == ENOBUFS ? UEVENT_LOST : UEVENT_NONE;
        }
        name = udev_device_get_sysname(dev);
        action = udev_device_get_action(dev);
        found = name && action && port_name_parse(name, &device, &id);
        if (found) {
            snprintf(event->port, sizeof(event->port), "%s", name);
            event->removed = strcmp(action, "remove") == 0;
        }
        udev_device_unref(dev);
        if (found) {
            return UEVENT_PORT;
        }
    }
}
#else
int udev_event_open(void)
{
    kernel = uevent_open();
    return kernel;
}

static UeventResult monitor_next(Uevent *event)
{
    (void)event;
    return UEVENT_NONE;
}
#endif

UeventResult udev_event_next(Uevent *event)
{
    return kernel >= 0 ? uevent_next(kernel, event) : monitor_next(event);
}
