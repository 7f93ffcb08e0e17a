/*
 * USB descriptors for virtio-serial ports: names that are descriptors
 *
 * Compiled into QEMU, guest tools, unit tests and fuzzers alike, so it takes
 * from osdep.h nothing but the C library.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-serial-desc-name.h"
#include "virtio-serial-desc-internal.h"

/* ------------------------------------------------------------------ */
/* Name to properties */

bool virtio_serial_desc_name_describes(const char *name)
{
    return strncmp(name, "usb:", 4) == 0 &&
           (name[4] == 'v' || desc_codec_hex_digit(name[4]) >= 0);
}

/*
 * Does @name begin with @form, where a '?' of @form is any hex digit, and is
 * that all of @name or @before_serial next? Puts the digits into @digits.
 * Returns the rest of @name, NULL if not.
 */
static const char *codec_parse_form(const char *name, const char *form,
                                    char before_serial, char *digits)
{
    for (; *form; form++, name++) {
        if (*form == '?' ? desc_codec_hex_digit(*name) < 0 : *name != *form) {
            return NULL;
        }
        if (*form == '?') {
            *digits++ = *name;
        }
    }
    return *name == '\0' || *name == before_serial ? name : NULL;
}

const char *
virtio_serial_desc_split_name(const char *name,
                              char digits[VIRTIO_SERIAL_DESC_NAME_DIGITS])
{
    return codec_parse_form(name, "usb:v????p????d????dc??dsc??dp??"
                            "ic??isc??ip??in??", '#', digits);
}

bool virtio_serial_desc_parse_name(const char *name,
                                   VirtIOSerialDescNamed *named,
                                   VirtIOSerialDescError *err)
{
    uint8_t string[2 + 2 * STRING_MAX_UNITS];
    const char *rest;
    char d[VIRTIO_SERIAL_DESC_NAME_DIGITS];

    *named = (VirtIOSerialDescNamed) { .serial = NULL };
    rest = codec_parse_form(name, "usb:????:????", ':', d);
    if (rest) {
        sprintf(named->ids, "%.4s:%.4s", d, d + 4);
    } else {
        rest = virtio_serial_desc_split_name(name, d);
        /* A built blob has no device class, and interface 0 comes first */
        if (!rest || memcmp(d + 12, "000000", 6) != 0 ||
            memcmp(d + 24, "00", 2) != 0) {
            return desc_codec_refuse(err, "name", name,
                                     "expected usb:VVVV:PPPP or "
                                     "usb:VVVV:PPPP:SERIAL, as in "
                                     "usb:1209:0001:A1, or a name that QEMU "
                                     "derives from desc; the controller's "
                                     "port-descriptors=off lets it be any "
                                     "name");
        }
        sprintf(named->ids, "%.4s:%.4s:%.4s", d, d + 4, d + 8);
        sprintf(named->class, "%.2s:%.2s:%.2s", d + 18, d + 20, d + 22);
    }
    if (*rest == '\0') {
        return true;
    }
    named->serial = rest + 1;
    return desc_codec_put_string(string, "name", name, named->serial,
                                 "serial number: ", err);
}

/* ------------------------------------------------------------------ */
/* Blob to name */

void virtio_serial_desc_name(const uint8_t *blob, size_t length,
                             unsigned int number, char *dest)
{
    /* The ASCII characters that udev lets into a link's name */
    static const char allowed[] = "#+-.:=@_0123456789"
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    char serial[VIRTIO_SERIAL_DESC_STRING_SIZE], suffix[16] = "";
    const char *s = serial;
    VirtIOSerialDescInfo info;
    size_t used, room;

    virtio_serial_desc_info(blob, length, &info);
    virtio_serial_desc_string(blob, length, info.iSerialNumber, serial);
    if (number) {
        snprintf(suffix, sizeof(suffix), "#%u", number);
    }
    room = VIRTIO_SERIAL_DESC_NAME_SIZE - 1 - strlen(suffix);

    used = sprintf(dest, "usb:v%04Xp%04Xd%04Xdc%02Xdsc%02Xdp%02X"
                   "ic%02Xisc%02Xip%02Xin%02X",
                   info.idVendor, info.idProduct, info.bcdDevice,
                   info.bDeviceClass, info.bDeviceSubClass,
                   info.bDeviceProtocol, info.bInterfaceClass,
                   info.bInterfaceSubClass, info.bInterfaceProtocol,
                   info.bInterfaceNumber);
    if (*s) {
        dest[used++] = '#';
    }
    while (*s) {
        const char *start = s;
        int32_t c = virtio_serial_desc_utf8_next(&s);
        bool replaced = c < 0x80 ? !strchr(allowed, c) : c < 0xa0;
        size_t size = replaced ? 1 : s - start;

        if (used + size > room) {
            break;
        }
        if (replaced) {
            dest[used++] = '_';
        } else {
            memcpy(dest + used, start, size);
            used += size;
        }
    }
    strcpy(dest + used, suffix);
}
