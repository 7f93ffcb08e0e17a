/*
 * The kernel's events for ports that come, change and go
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_UEVENT_H
#define VSER_UEVENT_H

#include <stdbool.h>
#include "port-name.h"

typedef struct Uevent {
    char port[PORT_NAME_SIZE];  /* "vport2p7" */
    bool removed;               /* the port went; else it came or changed */
} Uevent;

typedef enum UeventResult {
    UEVENT_NONE,            /* no event is left for now */
    UEVENT_PORT,            /* an event for a port */
    UEVENT_LOST,            /* events were lost: look at every port */
} UeventResult;

/**
 * uevent_open:
 *
 * Returns: a file descriptor that is readable when there are events; -1 and
 * errno on failure.
 */
int uevent_open(void);

/**
 * uevent_next:
 * @fd: from uevent_open()
 * @event: filled for UEVENT_PORT
 */
UeventResult uevent_next(int fd, Uevent *event);

#endif /* VSER_UEVENT_H */
