/*
 * virtserialdesc: a virtio-serial port that tells the guest of the others'
 * descriptors
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTSERIALDESC_H
#define QEMU_VIRTSERIALDESC_H

#include "migration/vmstate.h"

typedef struct VirtIOSerial VirtIOSerial;

#define TYPE_VIRTSERIALDESC "virtserialdesc"

/*
 * A port with number @id of @vser came or went. Readers are told before the
 * control queue tells the driver. So a guest with a fast reader knows the
 * descriptor before the port appears.
 */
void virtserialdesc_port_changed(VirtIOSerial *vser, uint32_t id);

/* Does @vser have a virtserialdesc? */
bool virtserialdesc_exists(VirtIOSerial *vser);

/*
 * A subsection, sent if a virtserialdesc is open: how far its reader has got.
 */
extern const VMStateDescription vmstate_virtserialdesc;

#endif /* QEMU_VIRTSERIALDESC_H */
