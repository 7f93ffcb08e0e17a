/*
 * USB descriptors for virtio-serial ports: check and read a blob
 *
 * Compiled into QEMU, guest tools, unit tests and fuzzers alike, so it takes
 * from osdep.h nothing but the C library. Blobs are hostile: nothing is read
 * before its length has been checked.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-serial-desc-codec.h"
#include "virtio-serial-desc-internal.h"

#define REPLACEMENT_CHAR    0xfffd

static uint16_t get_le16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

/* ------------------------------------------------------------------ */
/* Check */

/* A blob while it is being checked */
typedef struct Walk {
    const uint8_t *blob;
    size_t length;
    size_t offset;          /* of the present descriptor */
    VirtIOSerialDescError *err;
    bool used[256];         /* string indices that parts 1 and 2 name */
} Walk;

static bool PRINTF(2, 3) codec_broken(const Walk *w, const char *fmt, ...)
{
    char why[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return desc_codec_fail(w->err, "at offset %zu: %s", w->offset, why);
}

/*
 * Returns the descriptor at the walk's offset, NULL if it is not whole before
 * @end. The caller steps over its bLength.
 */
static const uint8_t *codec_look(const Walk *w, size_t end, const char *what)
{
    size_t left = end - w->offset;
    const uint8_t *p;

    if (left < 2) {
        codec_broken(w, "%s: %zu of at least 2 bytes are there", what, left);
        return NULL;
    }
    p = w->blob + w->offset;
    if (p[0] < 2) {
        codec_broken(w, "%s: bLength is %u, less than 2", what, p[0]);
        return NULL;
    }
    if (p[0] > left) {
        codec_broken(w, "%s: bLength is %u, but %zu bytes are there",
                     what, p[0], left);
        return NULL;
    }
    return p;
}

/* codec_look() for a descriptor of known type, of at least @len bytes */
static const uint8_t *codec_look_for(const Walk *w, size_t end,
                                     const char *what, uint8_t type,
                                     uint8_t len)
{
    const uint8_t *p = codec_look(w, end, what);

    if (p && p[1] != type) {
        codec_broken(w, "%s: bDescriptorType is %02x, not %02x", what, p[1],
                     type);
        return NULL;
    }
    if (p && p[0] < len) {
        codec_broken(w, "%s: bLength is %u, less than %u", what, p[0], len);
        return NULL;
    }
    return p;
}

/* An interface has ended: does it have bNumEndpoints endpoints? */
static bool codec_check_endpoints(const Walk *w, const uint8_t *interface,
                                  unsigned int endpoints)
{
    if (interface && interface[4] != endpoints) {
        return codec_broken(w, "interface %u.%u ends here: bNumEndpoints is "
                            "%u, but it has %u", interface[2], interface[3],
                            interface[4], endpoints);
    }
    return true;
}

/* Check what follows a configuration descriptor, up to @end (wTotalLength) */
static bool codec_check_interfaces(Walk *w, size_t end, uint8_t bNumInterfaces)
{
    const uint8_t *interface = NULL;
    unsigned int interfaces = 0, endpoints = 0;
    bool seen[256] = { false };

    while (w->offset < end) {
        const uint8_t *p = codec_look(w, end, "descriptor in a configuration");

        if (!p) {
            return false;
        }
        switch (p[1]) {
        case DT_DEVICE:
        case DT_CONFIGURATION:
        case DT_STRING:
            return codec_broken(w, "bDescriptorType %02x has no place in a "
                                "configuration", p[1]);
        case DT_INTERFACE:
            if (!codec_check_endpoints(w, interface, endpoints) ||
                !codec_look_for(w, end, "interface", DT_INTERFACE,
                                LEN_INTERFACE)) {
                return false;
            }
            interface = p;
            endpoints = 0;
            interfaces += !seen[p[2]];
            seen[p[2]] = true;
            w->used[p[8]] = true;
            break;
        case DT_ENDPOINT:
            if (!interface) {
                return codec_broken(w, "endpoint before any interface");
            }
            if (!codec_look_for(w, end, "endpoint", DT_ENDPOINT,
                                LEN_ENDPOINT)) {
                return false;
            }
            endpoints++;
            break;
        case DT_INTERFACE_ASSOC:
            if (!codec_look_for(w, end, "interface association",
                                DT_INTERFACE_ASSOC, LEN_INTERFACE_ASSOC)) {
                return false;
            }
            w->used[p[7]] = true;
            break;
        case DT_CS_INTERFACE:
            if (interface && interface[5] == CLASS_COMMUNICATIONS &&
                p[0] > 3 && (p[2] == CDC_COUNTRY || p[2] == CDC_ETHERNET)) {
                w->used[p[3]] = true;
            }
            break;
        }
        w->offset += p[0];
    }
    if (!codec_check_endpoints(w, interface, endpoints)) {
        return false;
    }
    if (interfaces != bNumInterfaces) {
        return codec_broken(w, "configuration ends here: bNumInterfaces is %u, "
                            "but it has %u", bNumInterfaces, interfaces);
    }
    if (interfaces == 0) {
        return codec_broken(w, "configuration ends here: it has no interface");
    }
    return true;
}

static bool codec_check_configuration(Walk *w)
{
    const uint8_t *p = codec_look_for(w, w->length, "configuration",
                                      DT_CONFIGURATION, LEN_CONFIGURATION);
    size_t end;

    if (!p) {
        return false;
    }
    end = w->offset + get_le16(p + 2);
    if (get_le16(p + 2) < p[0] || end > w->length) {
        return codec_broken(w, "configuration: wTotalLength is %u, not within "
                            "%u and the %zu bytes that are there",
                            get_le16(p + 2), p[0],
                            w->length - w->offset);
    }
    w->used[p[6]] = true;
    w->offset += p[0];
    return codec_check_interfaces(w, end, p[4]);
}

static bool codec_check_string(Walk *w, unsigned int index)
{
    const uint8_t *p;
    char what[16];

    snprintf(what, sizeof(what), "string %u", index);
    p = codec_look(w, w->length, what);
    if (!p) {
        return false;
    }
    if (p[1] != DT_STRING) {
        return codec_broken(w, "%s: bDescriptorType is %02x, not %02x",
                            what, p[1], DT_STRING);
    }
    if (p[0] % 2) {
        return codec_broken(w, "%s: bLength is %u, not even", what, p[0]);
    }
    if (index == 0 && p[0] < 4) {
        return codec_broken(w, "%s: no LANGID", what);
    }
    w->offset += p[0];
    return true;
}

/* Check parts 1 and 2. The walk ends at the strings, and knows the used ones */
static bool codec_check_descriptors(Walk *w)
{
    const uint8_t *p = codec_look_for(w, w->length, "device", DT_DEVICE,
                                      LEN_DEVICE);
    unsigned int i;

    if (!p) {
        return false;
    }
    if (p[17] == 0) {
        return codec_broken(w, "device: bNumConfigurations is 0");
    }
    for (i = 14; i <= 16; i++) {
        w->used[p[i]] = true;
    }
    w->offset += p[0];

    for (i = 0; i < p[17]; i++) {
        if (!codec_check_configuration(w)) {
            return false;
        }
    }

    /* Index 0 is no string; its descriptor has the languages of the others */
    w->used[0] = w->offset < w->length ||
                 memchr(w->used + 1, 1, sizeof(w->used) - 1);
    return true;
}

bool virtio_serial_desc_check(const uint8_t *blob, size_t length,
                              VirtIOSerialDescError *err)
{
    Walk w = { .blob = blob, .length = length, .err = err };
    unsigned int i;

    if (length > VIRTIO_SERIAL_DESC_MAX) {
        return desc_codec_fail(err, "%zu bytes long; expected at most %d",
                               length, VIRTIO_SERIAL_DESC_MAX);
    }
    if (!codec_check_descriptors(&w)) {
        return false;
    }
    for (i = 0; i < 256; i++) {
        if (w.used[i] && !codec_check_string(&w, i)) {
            return false;
        }
    }
    if (w.offset != length) {
        return codec_broken(&w, "%zu bytes are left that nothing refers to",
                            length - w.offset);
    }
    return true;
}

bool virtio_serial_desc_used_strings(const uint8_t *blob, size_t length,
                                     bool used[256],
                                     VirtIOSerialDescError *err)
{
    Walk w = { .blob = blob, .length = length, .err = err };
    bool ok = codec_check_descriptors(&w);

    memcpy(used, w.used, sizeof(w.used));
    return ok;
}

/* ------------------------------------------------------------------ */
/* Read */

void virtio_serial_desc_info(const uint8_t *blob, size_t length,
                             VirtIOSerialDescInfo *info)
{
    VirtIOSerialDescError ignored;
    Walk w = { .blob = blob, .length = length, .err = &ignored };
    const uint8_t *interface = blob + blob[0];

    codec_check_descriptors(&w);
    while (interface[1] != DT_INTERFACE) {
        interface += interface[0];
    }

    *info = (VirtIOSerialDescInfo) {
        .bcdUSB = get_le16(blob + 2),
        .bDeviceClass = blob[4],
        .bDeviceSubClass = blob[5],
        .bDeviceProtocol = blob[6],
        .idVendor = get_le16(blob + 8),
        .idProduct = get_le16(blob + 10),
        .bcdDevice = get_le16(blob + 12),
        .iManufacturer = blob[14],
        .iProduct = blob[15],
        .iSerialNumber = blob[16],
        .bInterfaceNumber = interface[2],
        .bInterfaceClass = interface[5],
        .bInterfaceSubClass = interface[6],
        .bInterfaceProtocol = interface[7],
        .iInterface = interface[8],
        .strings_offset = w.offset,
    };
}

const uint8_t *virtio_serial_desc_find_string(const uint8_t *blob,
                                              size_t length, uint8_t index)
{
    VirtIOSerialDescError ignored;
    Walk w = { .blob = blob, .length = length, .err = &ignored };
    const uint8_t *p;
    unsigned int i;

    codec_check_descriptors(&w);
    if (!w.used[index]) {
        return NULL;
    }
    p = blob + w.offset;
    for (i = 0; i < index; i++) {
        p += w.used[i] ? p[0] : 0;
    }
    return p;
}

size_t virtio_serial_desc_string(const uint8_t *blob, size_t length,
                                 uint8_t index, char *dest)
{
    const uint8_t *p = NULL, *end;
    size_t used = 0;

    dest[0] = '\0';
    if (index) {
        p = virtio_serial_desc_find_string(blob, length, index);
    }
    if (!p) {
        return 0;
    }

    for (end = p + p[0], p += 2; p < end; p += 2) {
        uint32_t c = get_le16(p);

        if (c >= 0xd800 && c < 0xe000) {
            uint16_t low = c < 0xdc00 && end - p >= 4 ? get_le16(p + 2) : 0;

            if (low >= 0xdc00 && low < 0xe000) {
                c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
                p += 2;
            } else {
                c = REPLACEMENT_CHAR;
            }
        }
        used += desc_codec_utf8_put(c ? c : REPLACEMENT_CHAR, dest + used);
    }
    dest[used] = '\0';
    return used;
}
