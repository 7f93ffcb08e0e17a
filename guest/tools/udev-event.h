/*
 * udev's events for ports that come, change and go
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_UDEV_EVENT_H
#define VSER_UDEV_EVENT_H

#include "uevent.h"

/**
 * udev_event_open:
 *
 * From now on, collect the events that udev has handled: by then a port has its
 * links and rights. Where udev does not run, and in a vser without libudev,
 * these are the kernel's own events.
 *
 * Returns: a file descriptor that is readable when there are events; -1 and
 * errno on failure.
 */
int udev_event_open(void);

/**
 * udev_event_next:
 * @event: filled for UEVENT_PORT
 */
UeventResult udev_event_next(Uevent *event);

#endif /* VSER_UDEV_EVENT_H */
