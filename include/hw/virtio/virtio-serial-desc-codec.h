/*
 * Check and read USB descriptors of virtio-serial ports
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_DESC_CODEC_H
#define QEMU_VIRTIO_SERIAL_DESC_CODEC_H

#include "hw/virtio/virtio-serial-desc-build.h"
#include "hw/virtio/virtio-serial-desc-wire.h"

/*
 * A well-formed blob is, with no byte before, between or after:
 * 1. a device descriptor (USB 2.0, 9.6.1);
 * 2. bNumConfigurations configuration descriptors (9.6.3), each with the
 *    wTotalLength bytes that belong to it: at least one interface, as many of
 *    them as bNumInterfaces says, each with bNumEndpoints endpoints;
 * 3. string descriptors (9.6.7): index 0, then one for each index that 1 and 2
 *    use, ascending. If no index is used, index 0 may be absent.
 * An index is used if it is not 0 and stands in a device, configuration,
 * interface or interface association descriptor, or in a Country Selection or
 * Ethernet Networking functional descriptor (CDC 1.1, 5.2.3).
 * A descriptor may be longer than the specification that defines it says (USB
 * 2.0, 9.5). What is behind the fields that are known belongs to it, and means
 * nothing here.
 */

/**
 * virtio_serial_desc_check:
 * @blob: bytes from anywhere
 * @length: how many
 * @err: filled on failure with the rule that is broken and the offset
 *
 * Returns: whether this is a well-formed blob (see above). The functions below
 * take well-formed blobs only, if they do not say otherwise.
 */
bool virtio_serial_desc_check(const uint8_t *blob, size_t length,
                              VirtIOSerialDescError *err);

/**
 * virtio_serial_desc_used_strings:
 * @blob: bytes from anywhere, which may end where the strings begin
 * @length: how many
 * @used: filled: the used string indices; for index 0, whether its descriptor
 *        has to be there or bytes are in its place
 * @err: filled on failure with the rule that is broken and the offset
 *
 * Returns: whether parts 1 and 2 are well-formed.
 */
bool virtio_serial_desc_used_strings(const uint8_t *blob, size_t length,
                                     bool used[256],
                                     VirtIOSerialDescError *err);

/* What a blob says: its device descriptor and its first interface */
typedef struct VirtIOSerialDescInfo {
    uint16_t bcdUSB, idVendor, idProduct, bcdDevice;
    uint8_t bDeviceClass, bDeviceSubClass, bDeviceProtocol;
    uint8_t iManufacturer, iProduct, iSerialNumber;
    uint8_t bInterfaceNumber;
    uint8_t bInterfaceClass, bInterfaceSubClass, bInterfaceProtocol;
    uint8_t iInterface;
    /* parts 1 and 2 together, in bytes: where the strings begin */
    uint32_t strings_offset;
} VirtIOSerialDescInfo;

/**
 * virtio_serial_desc_info:
 * @blob: a well-formed blob, or parts 1 and 2 of one
 * @length: its length in bytes
 * @info: filled
 */
void virtio_serial_desc_info(const uint8_t *blob, size_t length,
                             VirtIOSerialDescInfo *info);

/* The bytes of a string descriptor of 126 units in UTF-8, with the NUL */
#define VIRTIO_SERIAL_DESC_STRING_SIZE  (126 * 3 + 1)

/**
 * virtio_serial_desc_find_string:
 * @blob: a well-formed blob
 * @length: its length in bytes
 * @index: of the string descriptor; 0 is the one with the LANGIDs
 *
 * Returns: where in @blob the string descriptor is, NULL if there is none.
 */
const uint8_t *virtio_serial_desc_find_string(const uint8_t *blob,
                                              size_t length, uint8_t index);

/**
 * virtio_serial_desc_string:
 * @blob: a well-formed blob
 * @length: its length in bytes
 * @index: of the string; 0 is no string, as in the descriptors
 * @dest: VIRTIO_SERIAL_DESC_STRING_SIZE bytes of the caller's
 *
 * Decode a string descriptor into NUL-terminated UTF-8. An unpaired surrogate
 * and U+0000 become U+FFFD.
 *
 * Returns: the length in bytes without the NUL; 0 and an empty @dest if there
 * is no such string.
 */
size_t virtio_serial_desc_string(const uint8_t *blob, size_t length,
                                 uint8_t index, char *dest);

#endif /* QEMU_VIRTIO_SERIAL_DESC_CODEC_H */
