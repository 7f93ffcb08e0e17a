/*
 * Print every descriptor of a port as text
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_DUMP_H
#define VSER_DUMP_H

#include "port.h"

/**
 * port_dump:
 * @port: the port
 *
 * Print every descriptor of @port on stdout in the layout of lsusb -v.
 */
void port_dump(const Port *port);

#endif /* VSER_DUMP_H */
