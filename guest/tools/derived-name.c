/*
 * A name that is a descriptor
 *
 * The name is hostile, as all that the host says. The long form is what QEMU
 * derives from a descriptor. There is one rule for it: QEMU has to derive the
 * same name, byte by byte, from the descriptor that was made of the name. So
 * this file needs no second list of what may be in a name.
 *
 * The short form, usb:VVVV:PPPP:SERIAL, comes from a QEMU that does not know
 * descriptors. Such a port gets the descriptor that our QEMU gives a port of
 * that name.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "derived-name.h"
#include "descriptor.h"

/* The most digits of a number that QEMU adds: it counts a machine's ports */
#define NUMBER_DIGITS   5

/* The most bytes of a character, which a cut name may have lost */
#define UTF8_MAX        4

/* May the end of @serial be a number that QEMU has added to the name? */
static bool may_be_numbered(const char *serial)
{
    const char *hash = strrchr(serial, '#');
    const char *number = hash ? hash + 1 : serial;
    size_t digits = strspn(number, "0123456789");

    return *number != '0' && digits > 0 && digits <= NUMBER_DIGITS &&
           number[digits] == '\0';
}

static bool is_exact(const char *name, const char *serial)
{
    return !serial ||
           (strlen(name) < VIRTIO_SERIAL_DESC_NAME_SIZE - UTF8_MAX &&
            !strchr(serial, '_') && !strstr(serial, "\xef\xbf\xbd") &&
            !may_be_numbered(serial));
}

/* The byte that two hex digits of a name say */
static uint8_t byte_of(const char *digits)
{
    char two[] = { digits[0], digits[1], '\0' };

    return strtoul(two, NULL, 16);
}

/* Set a field of one byte in the descriptor at @p */
#define SET_BYTE(p, type, field, value) \
    ((p)[offsetof(struct type, field)] = (value))

/* What somebody has written is not cut, and has no number of QEMU's */
static size_t short_name_blob(const char *name,
                              uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX],
                              bool *exact)
{
    VirtIOSerialDescProps props = { 0 };
    VirtIOSerialDescNamed named;
    VirtIOSerialDescError err;

    if (!virtio_serial_desc_parse_name(name, &named, &err)) {
        return 0;
    }
    *exact = true;
    props.value[VIRTIO_SERIAL_DESC_IDS] = named.ids;
    props.value[VIRTIO_SERIAL_DESC_SERIAL] = (char *)named.serial;
    return virtio_serial_desc_build(&props, blob, &err);
}

static size_t long_name_blob(const char *name,
                             uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX],
                             bool *exact)
{
    char digits[VIRTIO_SERIAL_DESC_NAME_DIGITS];
    char again[VIRTIO_SERIAL_DESC_NAME_SIZE], ids[32], class[32];
    VirtIOSerialDescProps props = {
        .value[VIRTIO_SERIAL_DESC_IDS] = ids,
        .value[VIRTIO_SERIAL_DESC_CLASS] = class,
    };
    VirtIOSerialDescError err;
    const char *rest, *serial;
    uint8_t *desc;
    size_t length;

    rest = virtio_serial_desc_split_name(name, digits);
    if (!rest || strlen(name) >= VIRTIO_SERIAL_DESC_NAME_SIZE) {
        return 0;
    }
    serial = *rest ? rest + 1 : NULL;
    *exact = is_exact(name, serial);

    snprintf(ids, sizeof(ids), "%.4s:%.4s:%.4s", digits, digits + 4,
             digits + 8);
    if (byte_of(digits + 18) == USB_CLASS_COMM &&
        byte_of(digits + 20) == USB_CDC_SUBCLASS_ACM &&
        byte_of(digits + 22) == USB_CDC_ACM_PROTO_AT_V25TER &&
        byte_of(digits + 24) == 0) {
        strcpy(class, "cdc-acm");
    } else {
        snprintf(class, sizeof(class), "%.2s:%.2s:%.2s", digits + 18,
                 digits + 20, digits + 22);
    }
    props.value[VIRTIO_SERIAL_DESC_SERIAL] = (char *)serial;
    length = virtio_serial_desc_build(&props, blob, &err);
    if (!length) {
        return 0;
    }

    /* What a file can have, and no property */
    SET_BYTE(blob, usb_device_descriptor, bDeviceClass, byte_of(digits + 12));
    SET_BYTE(blob, usb_device_descriptor, bDeviceSubClass,
             byte_of(digits + 14));
    SET_BYTE(blob, usb_device_descriptor, bDeviceProtocol,
             byte_of(digits + 16));
    for (desc = blob; desc_type(desc) != USB_DT_INTERFACE;
         desc += desc_length(desc)) {
        /* the first interface */
    }
    SET_BYTE(desc, usb_interface_descriptor, bInterfaceNumber,
             byte_of(digits + 24));

    virtio_serial_desc_name(blob, length, 0, again);
    return strcmp(again, name) == 0 ? length : 0;
}

size_t derived_name_blob(const char *name,
                         uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX],
                         bool *exact)
{
    if (!virtio_serial_desc_name_describes(name)) {
        return 0;
    }
    return name[strlen("usb:")] == 'v' ? long_name_blob(name, blob, exact)
                                       : short_name_blob(name, blob, exact);
}
