/*
 * Names of virtio-serial ports that are USB descriptors
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_DESC_NAME_H
#define QEMU_VIRTIO_SERIAL_DESC_NAME_H

#include "hw/virtio/virtio-serial-desc-codec.h"

/**
 * virtio_serial_desc_name_describes:
 * @name: the name that a user gave a port
 *
 * Some software can give a port a name and nothing else, so a name can be a
 * descriptor. It begins with "usb:" and a hex digit or 'v' then.
 *
 * Returns: whether this is such a name. virtio_serial_desc_parse_name() may
 * refuse it.
 */
bool virtio_serial_desc_name_describes(const char *name);

/* How many hex digits a name of virtio_serial_desc_name() has */
#define VIRTIO_SERIAL_DESC_NAME_DIGITS  26

/**
 * virtio_serial_desc_split_name:
 * @name: a name
 * @digits: filled with the hex digits of the name, without a NUL: idVendor,
 *          idProduct and bcdDevice, four each; then, two each, class, subclass
 *          and protocol of the device and of the first interface, and that
 *          interface's number
 *
 * Take a name apart that has the form of virtio_serial_desc_name().
 *
 * Returns: the end of @name, which is empty or '#' and the serial number; NULL
 * if @name has another form.
 */
const char *
virtio_serial_desc_split_name(const char *name,
                              char digits[VIRTIO_SERIAL_DESC_NAME_DIGITS]);

/* What such a name says, as the properties say it */
typedef struct VirtIOSerialDescNamed {
    char ids[sizeof("VVVV:PPPP:RRRR")];     /* "desc" */
    char class[sizeof("CC:SS:PP")];         /* "desc-class"; "": not said */
    const char *serial;                     /* "desc-serial"; NULL: not said */
} VirtIOSerialDescNamed;

/**
 * virtio_serial_desc_parse_name:
 * @name: a name
 * @named: filled on success; its serial number is the end of @name
 * @err: filled on failure with the property, its value and what is accepted
 *
 * Read a name that is a descriptor: usb:VVVV:PPPP or usb:VVVV:PPPP:SERIAL, or
 * what virtio_serial_desc_name() makes of a blob that properties made.
 * virtio_serial_desc_build() accepts what this function finds.
 *
 * Returns: whether @name is a descriptor.
 */
bool virtio_serial_desc_parse_name(const char *name,
                                   VirtIOSerialDescNamed *named,
                                   VirtIOSerialDescError *err);

/*
 * Bytes of a name, with its NUL. A name has to get to the driver whole, or two
 * ports could have one name. Name and event header (8 bytes) are 128 bytes
 * together, the size of some drivers' control buffers.
 */
#define VIRTIO_SERIAL_DESC_NAME_SIZE    120

/**
 * virtio_serial_desc_name:
 * @blob: a well-formed blob
 * @length: its length in bytes
 * @number: which of the ports that would have the same name; 0 adds nothing
 * @dest: VIRTIO_SERIAL_DESC_NAME_SIZE bytes of the caller's
 *
 * Derive a port's name: the USB modalias of the first interface, '#' and the
 * serial number if there is one, '#' and @number unless @number is 0. In the
 * serial number '_' replaces every control character, and every character that
 * udev does not let into a link's name. The serial number is cut to fit,
 * between two characters.
 */
void virtio_serial_desc_name(const uint8_t *blob, size_t length,
                             unsigned int number, char *dest);

#endif /* QEMU_VIRTIO_SERIAL_DESC_NAME_H */
