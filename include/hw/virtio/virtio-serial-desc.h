/*
 * A virtio-serial port's descriptor, in QEMU: from properties to the blob
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_DESC_H
#define QEMU_VIRTIO_SERIAL_DESC_H

#include "hw/virtio/virtio-serial-desc-name.h"
#include "migration/vmstate.h"
#include "qom/object.h"

typedef struct VirtIOSerialPort VirtIOSerialPort;

/*
 * A port's descriptor. The properties' strings are kept until the blob is
 * there, which says the same.
 */
typedef struct VirtIOSerialDesc {
    VirtIOSerialDescProps *props;   /* NULL: none given, or realized */
    uint8_t *blob;                  /* NULL: no descriptor */
    uint32_t length;                /* of blob, in bytes */
    char *file;                     /* where it is from; NULL: built */
    bool name_derived;              /* the port's name is not the user's */
} VirtIOSerialDesc;

/* Give a class of ports the properties "desc", "desc-*" and "desc-blob". */
void virtio_serial_desc_class_init(ObjectClass *klass);

/**
 * virtio_serial_desc_realize:
 * @port: its properties are set, it is not on its bus yet
 * @errp: names the property, its value and what is accepted
 *
 * Make the blob that the properties describe, or the name if the name is a
 * descriptor. If the port has a descriptor and no other name, derive its name.
 * Any other name that the user gave stays. While the machine is being made,
 * another port with the same derived name gets another name.
 *
 * Returns: false if a property is not accepted; nothing has changed then.
 */
bool virtio_serial_desc_realize(VirtIOSerialPort *port, Error **errp);

/*
 * Print the descriptor as one line of "info qtree"; nothing if there is none.
 */
void virtio_serial_desc_print(Monitor *mon, VirtIOSerialPort *port, int indent);

/*
 * A subsection, sent if the driver has taken the feature or there is a
 * virtserialdesc. The guest knows each port's descriptor, so the destination's
 * ports must have the same descriptors.
 */
extern const VMStateDescription vmstate_virtio_serial_desc;

#endif /* QEMU_VIRTIO_SERIAL_DESC_H */
