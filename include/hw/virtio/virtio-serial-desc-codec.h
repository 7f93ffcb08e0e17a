/*
 * The codec of the USB descriptors of virtio-serial ports
 *
 * A port can carry the descriptors of a USB device: one blob that says vendor,
 * product, serial number and interface. The codec builds a blob from texts,
 * checks a blob from any source, and says what is in a blob.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_DESC_CODEC_H
#define QEMU_VIRTIO_SERIAL_DESC_CODEC_H

/*
 * This header names nothing of QEMU: guest tools, fuzzers and unit tests are
 * compiled with this header and with hw/char/virtio-serial-desc-codec.c alone.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "hw/virtio/virtio-serial-desc-wire.h"

/*
 * hw/usb/desc.c is not used here. It serialises constant tables for USBDevice,
 * can't check or walk a blob from elsewhere, writes strings of Latin-1 only,
 * and is absent from a QEMU without USB and from other programs. tests/unit
 * compares the codec's bytes with dumps of devices of hw/usb/desc.c.
 *
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

/**
 * virtio_serial_desc_utf8_next:
 * @p: a character of a NUL-terminated string of UTF-8; moved on
 *
 * Returns: the code point, or -1 for bytes that RFC 3629 does not allow; @p is
 * not moved then.
 */
int32_t virtio_serial_desc_utf8_next(const char **p);

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

#endif /* QEMU_VIRTIO_SERIAL_DESC_CODEC_H */
