/*
 * A name that QEMU has derived from a descriptor, as a descriptor again
 *
 * The name is hostile, as all that the host says. There is one rule: QEMU has
 * to derive the same name, byte by byte, from the descriptor that was made of
 * the name. So this file needs no second list of what may be in a name.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "derived-name.h"
#include "descriptor.h"

/* Where the fields of a name are; "%n" is the end, reached if all match */
#define NAME_FORM   "usb:v%4Xp%4Xd%4Xdc%2Xdsc%2Xdp%2Xic%2Xisc%2Xip%2Xin%2X%n"

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

/* Set a field of one byte in the descriptor at @p */
#define SET_BYTE(p, type, field, value) \
    ((p)[offsetof(struct type, field)] = (value))

size_t derived_name_blob(const char *name,
                         uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX],
                         bool *exact)
{
    /* In the order of the name: v p d dc dsc dp ic isc ip in */
    unsigned int v, p, d, dc, dsc, dp, ic, isc, ip, in;
    char again[VIRTIO_SERIAL_DESC_NAME_SIZE], ids[32], class[32];
    VirtIOSerialDescProps props = {
        .value[VIRTIO_SERIAL_DESC_IDS] = ids,
        .value[VIRTIO_SERIAL_DESC_CLASS] = class,
    };
    VirtIOSerialDescError err;
    const char *serial;
    uint8_t *desc;
    size_t length;
    int end = 0;

    if (strlen(name) >= VIRTIO_SERIAL_DESC_NAME_SIZE ||
        sscanf(name, NAME_FORM, &v, &p, &d, &dc, &dsc, &dp, &ic, &isc, &ip,
               &in, &end) != 10 || !end ||
        (name[end] && name[end] != '#')) {
        return 0;
    }
    serial = name[end] ? name + end + 1 : NULL;
    *exact = is_exact(name, serial);

    snprintf(ids, sizeof(ids), "%04x:%04x:%04x", v, p, d);
    if (ic == USB_CLASS_COMM && isc == USB_CDC_SUBCLASS_ACM &&
        ip == USB_CDC_ACM_PROTO_AT_V25TER && in == 0) {
        strcpy(class, "cdc-acm");
    } else {
        snprintf(class, sizeof(class), "%02x:%02x:%02x", ic, isc, ip);
    }
    props.value[VIRTIO_SERIAL_DESC_SERIAL] = (char *)serial;
    length = virtio_serial_desc_build(&props, blob, &err);
    if (!length) {
        return 0;
    }

    /* What a file can have, and no property */
    SET_BYTE(blob, usb_device_descriptor, bDeviceClass, dc);
    SET_BYTE(blob, usb_device_descriptor, bDeviceSubClass, dsc);
    SET_BYTE(blob, usb_device_descriptor, bDeviceProtocol, dp);
    for (desc = blob; desc_type(desc) != USB_DT_INTERFACE;
         desc += desc_length(desc)) {
        /* the first interface */
    }
    SET_BYTE(desc, usb_interface_descriptor, bInterfaceNumber, in);

    virtio_serial_desc_name(blob, length, 0, again);
    return strcmp(again, name) == 0 ? length : 0;
}
