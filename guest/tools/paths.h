/*
 * Paths in a guest
 *
 * Tests build the programs a second time, with other paths. A program that udev
 * runs as root must not take a path from its environment.
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

/* The store of "vser daemon": a file for each port, with its blob (store.h) */
#ifndef VSER_STORE
#define VSER_STORE "/run/virtio-serial-desc"
#endif

/* The first controller of vhci_hcd; its files are about all controllers */
#ifndef VSER_VHCI
#define VSER_VHCI "/sys/devices/platform/vhci_hcd.0"
#endif

#endif /* VSER_PATHS_H */
