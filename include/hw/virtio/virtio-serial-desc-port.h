/*
 * virtserialdesc: a virtio-serial port that tells the guest of the others'
 * descriptors
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_DESC_PORT_H
#define QEMU_VIRTIO_SERIAL_DESC_PORT_H

#include "migration/vmstate.h"

typedef struct VirtIOSerial VirtIOSerial;

#define TYPE_VIRTIO_SERIAL_DESC_PORT "virtserialdesc"

/*
 * A port with number @id of @vser came or went. Readers are told before the
 * driver hears of it over the control queue, so that in a guest whose reader
 * keeps up, a port that appears is known already.
 */
void virtio_serial_desc_port_changed(VirtIOSerial *vser, uint32_t id);

/* Does @vser have a virtserialdesc? */
bool virtio_serial_desc_port_exists(VirtIOSerial *vser);

/* A subsection, sent when one is open: how far its reader has got. */
extern const VMStateDescription vmstate_virtio_serial_desc_ports;

#endif /* QEMU_VIRTIO_SERIAL_DESC_PORT_H */
