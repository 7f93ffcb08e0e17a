/*
 * Build USB descriptors of virtio-serial ports
 *
 * A port can carry the descriptors of a USB device: one blob that says vendor,
 * product, serial number and interface. Functions here build a blob of texts;
 * virtio-serial-desc-codec.h says what a blob is, and checks and reads blobs.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_DESC_BUILD_H
#define QEMU_VIRTIO_SERIAL_DESC_BUILD_H

/*
 * The codec is this header, virtio-serial-desc-codec.h, -name.h, and the C
 * files of the same names in hw/char. It names nothing of QEMU: guest tools,
 * fuzzers and unit tests are compiled with the codec alone.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * hw/usb/desc.c is not used here. It serialises constant tables for USBDevice,
 * can't check or walk a blob from elsewhere, writes strings of Latin-1 only,
 * and is absent from a QEMU without USB and from other programs. tests/unit
 * compares the codec's bytes with dumps of devices of hw/usb/desc.c.
 */

/* A message, as one line of UTF-8 without control characters */
typedef struct VirtIOSerialDescError {
    char text[384];
} VirtIOSerialDescError;

/*
 * The properties that describe a port. The string descriptors have their
 * indices in this order.
 */
typedef enum VirtIOSerialDescProp {
    VIRTIO_SERIAL_DESC_IDS,
    VIRTIO_SERIAL_DESC_MANUFACTURER,
    VIRTIO_SERIAL_DESC_PRODUCT,
    VIRTIO_SERIAL_DESC_SERIAL,
    VIRTIO_SERIAL_DESC_INTERFACE,
    VIRTIO_SERIAL_DESC_CLASS,
    VIRTIO_SERIAL_DESC_FILE,
    VIRTIO_SERIAL_DESC_NPROPS
} VirtIOSerialDescProp;

/* What a property's value is */
typedef enum VirtIOSerialDescKind {
    VIRTIO_SERIAL_DESC_KIND_NUMBERS,
    VIRTIO_SERIAL_DESC_KIND_STRING,     /* it becomes a string descriptor */
    VIRTIO_SERIAL_DESC_KIND_FILE,       /* the name of a file with the blob */
} VirtIOSerialDescKind;

/* A property's name on the command line, its kind, and one line of help */
typedef struct VirtIOSerialDescPropInfo {
    const char *name;
    VirtIOSerialDescKind kind;
    const char *help;
} VirtIOSerialDescPropInfo;

extern const VirtIOSerialDescPropInfo
    virtio_serial_desc_prop_info[VIRTIO_SERIAL_DESC_NPROPS];

/* The properties' values as the user wrote them; NULL: not given */
typedef struct VirtIOSerialDescProps {
    char *value[VIRTIO_SERIAL_DESC_NPROPS];
} VirtIOSerialDescProps;

/*
 * The longest blob that properties can make, in bytes: the device, a
 * configuration of two interfaces with four functional descriptors and three
 * endpoints, and five string descriptors, four of them of 126 units.
 */
#define VIRTIO_SERIAL_DESC_BUILT_MAX \
    (18 + 9 + 2 * 9 + (5 + 5 + 4 + 5) + 3 * 7 + 4 + 4 * (2 + 2 * 126))

/**
 * virtio_serial_desc_props_check:
 * @props: the values
 * @err: filled on failure
 *
 * Check which properties are given together: the others need "desc", and
 * "desc-file" excludes all others. The values are not checked.
 *
 * Returns: whether the properties go together.
 */
bool virtio_serial_desc_props_check(const VirtIOSerialDescProps *props,
                                    VirtIOSerialDescError *err);

/**
 * virtio_serial_desc_build:
 * @props: the values, "desc" among them and "desc-file" not
 * @blob: VIRTIO_SERIAL_DESC_BUILT_MAX bytes of the caller's
 * @err: filled on failure with the property, its value and what is accepted
 *
 * Build the blob that the properties describe.
 *
 * Returns: the length of the blob in bytes, 0 on failure.
 */
size_t virtio_serial_desc_build(const VirtIOSerialDescProps *props,
                                uint8_t *blob, VirtIOSerialDescError *err);

/**
 * virtio_serial_desc_utf8_next:
 * @p: a character of a NUL-terminated string of UTF-8; moved on
 *
 * Returns: the code point, or -1 for bytes that RFC 3629 does not allow; @p is
 * not moved then.
 */
int32_t virtio_serial_desc_utf8_next(const char **p);

#endif /* QEMU_VIRTIO_SERIAL_DESC_BUILD_H */
