/*
 * What the kernel says about ports that come, change and go
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
    bool removed;               /* else it came, or something of it changed */
} Uevent;

typedef enum UeventResult {
    UEVENT_NONE,            /* none is left for now */
    UEVENT_PORT,            /* about a port */
    UEVENT_LOST,            /* some were lost: look at every port */
} UeventResult;

/**
 * uevent_open:
 *
 * Returns: a file descriptor that is readable when there are events; -1 and
 * errno if there can't be one.
 */
int uevent_open(void);

/**
 * uevent_next:
 * @fd: of uevent_open()
 * @event: filled for UEVENT_PORT
 */
UeventResult uevent_next(int fd, Uevent *event);

#endif /* VSER_UEVENT_H */
