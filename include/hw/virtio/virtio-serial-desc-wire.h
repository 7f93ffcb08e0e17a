/*
 * USB descriptors for virtio-serial ports: the numbers of the wire
 *
 * docs/specs/virtio-serial-desc.rst says what they mean. Those of the feature
 * bit and of the control event are proposals until the virtio specification
 * allocates them; they stand nowhere else.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_DESC_WIRE_H
#define QEMU_VIRTIO_SERIAL_DESC_WIRE_H

/* Nothing of QEMU is named below: tools for guests use this header too. */
#include <stdint.h>

/* Feature bit: the device sends VIRTIO_CONSOLE_PORT_DESC; needs MULTIPORT */
#define VIRTIO_CONSOLE_F_PORT_DESC      3

/*
 * Control event, device to driver: struct virtio_console_control, then the
 * structure below. The value is 1 in a blob's last fragment and 0 in the
 * others.
 */
#define VIRTIO_CONSOLE_PORT_DESC        8

struct virtio_console_port_desc {
    uint32_t length;    /* of the whole blob, in bytes; little-endian */
    uint32_t offset;    /* where in the blob data goes; little-endian */
    uint8_t data[];     /* to the end of the message, at least one byte */
};

/* The longest blob, in bytes */
#define VIRTIO_SERIAL_DESC_MAX          65535

/*
 * virtserialdesc sends the same blobs as records on a data port. The first
 * macro begins that port's name, before a number. The second macro stands for
 * a port's number in the record that ends a snapshot.
 */
#define VIRTSERIALDESC_NAME_PREFIX      "org.qemu.virtio-serial-desc."
#define VIRTSERIALDESC_END              0xffffffffu

#endif /* QEMU_VIRTIO_SERIAL_DESC_WIRE_H */
