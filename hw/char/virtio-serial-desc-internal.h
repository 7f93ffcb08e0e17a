/*
 * USB descriptors for virtio-serial ports: what the parts of the codec share
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VIRTIO_SERIAL_DESC_INTERNAL_H
#define VIRTIO_SERIAL_DESC_INTERNAL_H

#include "hw/virtio/virtio-serial-desc-build.h"

/* bDescriptorType: USB 2.0, table 9-5; IAD ECN; CDC 1.1, table 24 */
enum {
    DT_DEVICE           = 0x01,
    DT_CONFIGURATION    = 0x02,
    DT_STRING           = 0x03,
    DT_INTERFACE        = 0x04,
    DT_ENDPOINT         = 0x05,
    DT_INTERFACE_ASSOC  = 0x0b,
    DT_CS_INTERFACE     = 0x24,
};

/*
 * bLength that we build, and the least that there may be: a later revision of
 * a descriptor is longer, and a reader takes what it knows (USB 2.0, 9.5)
 */
enum {
    LEN_DEVICE          = 18,
    LEN_CONFIGURATION   = 9,
    LEN_INTERFACE       = 9,
    LEN_ENDPOINT        = 7,
    LEN_INTERFACE_ASSOC = 8,
};

/*
 * bInterfaceClass and its subclasses and protocols: CDC 1.1, tables 15 to 19,
 * 25
 */
enum {
    CLASS_COMMUNICATIONS    = 0x02,
    CLASS_CDC_DATA          = 0x0a,
    CLASS_VENDOR            = 0xff,
    SUBCLASS_ACM            = 0x02,
    PROTOCOL_V250           = 0x01,
    CDC_HEADER              = 0x00,
    CDC_CALL_MANAGEMENT     = 0x01,
    CDC_ACM                 = 0x02,
    CDC_UNION               = 0x06,
    CDC_COUNTRY             = 0x07,
    CDC_ETHERNET            = 0x0f,
};

#define STRING_MAX_UNITS    126

/* The tools have no G_GNUC_PRINTF */
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Fill @err with a message. Returns false. */
bool PRINTF(2, 3) desc_codec_fail(VirtIOSerialDescError *err,
                                  const char *fmt, ...);

/*
 * Fill @err with "PROP='VALUE': WHY". The value goes to logs and terminals, so
 * unprintable characters are escaped, and a long value is cut. Returns false.
 */
bool PRINTF(4, 5) desc_codec_refuse(VirtIOSerialDescError *err,
                                    const char *prop,
                                    const char *value,
                                    const char *fmt, ...);

/*
 * Encode @c in UTF-8: at most 3 bytes if @c is below 0x10000, otherwise 4.
 * Returns how many.
 */
size_t desc_codec_utf8_put(uint32_t c, char *dest);

/* Returns the value of a hex digit, -1 if @c is none. */
int desc_codec_hex_digit(char c);

/*
 * Put @text, which is @value from some byte on, as a string descriptor at
 * @dest; returns its end, NULL if bad. @what is before the reason, in the
 * message about @prop.
 */
uint8_t *desc_codec_put_string(uint8_t *dest, const char *prop,
                               const char *value, const char *text,
                               const char *what,
                               VirtIOSerialDescError *err);

#endif /* VIRTIO_SERIAL_DESC_INTERNAL_H */
