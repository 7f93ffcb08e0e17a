/*
 * Names of ports, and which port it is that has one
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

/* Bytes of "vport2p7", whatever the numbers, with its NUL */
#define PORT_NAME_SIZE 32

/**
 * port_name_parse:
 * @name: "vport2p7"
 * @device: set to 2
 * @id: set to 7
 *
 * Returns: whether @name is the name of a port, and so of one file. It is then
 * shorter than PORT_NAME_SIZE.
 */
bool port_name_parse(const char *name, unsigned int *device, unsigned int *id);

/**
 * port_instance:
 * @name: "vport2p7"
 *
 * Returns: which one of the ports that have had that name is there now: the
 * inode number of its directory in sysfs, which the kernel does not give to the
 * next one. 0 if there is none.
 */
uint64_t port_instance(const char *name);

/**
 * port_name_open:
 * @name: "vport2p7"
 * @instance: which one of the ports of that name: port_instance() before the
 *            caller looked at what the port is
 * @flags: as of open(2), O_RDWR or O_RDONLY; O_NONBLOCK, O_NOCTTY and O_CLOEXEC
 *         are added
 *
 * Returns: a file descriptor for its node; -1 and errno, which is ENODEV where
 * that port has gone, and another one may have its name and node.
 */
int port_name_open(const char *name, uint64_t instance, int flags);

/**
 * port_name_of:
 * @fd: a file descriptor
 * @name: set to the name of the port that it is open on
 *
 * Returns: whether it is open on one that is there.
 */
bool port_name_of(int fd, char name[PORT_NAME_SIZE]);

/**
 * port_names:
 * @count: set to how many there are
 *
 * Returns: the names of all ports that the guest has, with a descriptor or
 * without, by device and then by id; free() each and then the array. NULL if
 * there are none.
 */
char **port_names(size_t *count);

#endif /* VSER_PORT_NAME_H */
