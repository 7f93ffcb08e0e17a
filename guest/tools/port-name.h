/*
 * Names of ports, and the instance that has a name now
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_PORT_NAME_H
#define VSER_PORT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most bytes of a name like "vport2p7", with the NUL */
#define PORT_NAME_SIZE 32

/**
 * port_name_parse:
 * @name: "vport2p7"
 * @device: set to 2
 * @id: set to 7
 *
 * Returns: whether @name is the name of a port. Such a name is shorter than
 * PORT_NAME_SIZE, and has no "/".
 */
bool port_name_parse(const char *name, unsigned int *device, unsigned int *id);

/**
 * port_instance:
 * @name: "vport2p7"
 *
 * Returns: the instance, which tells ports apart that have @name one after the
 * other: the inode number of the port's directory in sysfs, which the kernel
 * does not give to the next port. 0 if there is no port.
 */
uint64_t port_instance(const char *name);

/**
 * port_name_open:
 * @name: "vport2p7"
 * @instance: from port_instance(), before the caller looked at what the port is
 * @flags: for open(2), O_RDWR or O_RDONLY; O_NONBLOCK, O_NOCTTY and O_CLOEXEC
 *         are added
 *
 * Returns: a file descriptor for the port's node; -1 and errno. ENODEV: the
 * port has gone, and another port may have the same name and node.
 */
int port_name_open(const char *name, uint64_t instance, int flags);

/**
 * port_name_of:
 * @fd: a file descriptor
 * @name: set to the name of the port on which @fd is open
 *
 * Returns: whether @fd is open on a port that is there.
 */
bool port_name_of(int fd, char name[PORT_NAME_SIZE]);

/**
 * port_names:
 * @count: set to the number of ports
 *
 * Returns: the names of all ports of the guest, with a descriptor or without,
 * sorted by device and then by id; free() each name and then the array. NULL if
 * there are no ports.
 */
char **port_names(size_t *count);

#endif /* VSER_PORT_NAME_H */
