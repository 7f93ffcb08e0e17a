/*
 * Where things are in a guest
 *
 * Tests build the programs a second time with trees of their own: what udev
 * runs as root takes no path from its environment.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_PATHS_H
#define VSER_PATHS_H

#ifndef VSER_SYSFS
#define VSER_SYSFS "/sys/class/virtio-ports"
#endif

#ifndef VSER_DEV
#define VSER_DEV "/dev"
#endif

/* Of "vser daemon": a file for each port, with its blob (store.h) */
#ifndef VSER_STORE
#define VSER_STORE "/run/virtio-serial-desc"
#endif

/* The module's first controller, which speaks for all of them */
#ifndef VSER_VHCI
#define VSER_VHCI "/sys/devices/platform/vhci_hcd.0"
#endif

#endif /* VSER_PATHS_H */
