/*
 * USB descriptors for virtio-serial ports: build a blob from texts
 *
 * Compiled into QEMU, guest tools, unit tests and fuzzers alike, so it takes
 * from osdep.h nothing but the C library.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-serial-desc-build.h"
#include "virtio-serial-desc-internal.h"

enum {
    EP_IN               = 0x81,
    EP_OUT              = 0x01,
    EP_NOTIFY           = 0x82,
    EP_BULK             = 0x02,
    EP_INTERRUPT        = 0x03,
};

#define LANGID_ENGLISH_US   0x0409

#define PROP_NAME(prop) (virtio_serial_desc_prop_info[prop].name)

const VirtIOSerialDescPropInfo
virtio_serial_desc_prop_info[VIRTIO_SERIAL_DESC_NPROPS] = {
    [VIRTIO_SERIAL_DESC_IDS] = {
        "desc", VIRTIO_SERIAL_DESC_KIND_NUMBERS,
        "give the port a USB descriptor: idVendor:idProduct[:bcdDevice], "
        "VVVV:PPPP[:RRRR] in hex",
    },
    [VIRTIO_SERIAL_DESC_MANUFACTURER] = {
        "desc-manufacturer", VIRTIO_SERIAL_DESC_KIND_STRING,
        "descriptor's iManufacturer, UTF-8",
    },
    [VIRTIO_SERIAL_DESC_PRODUCT] = {
        "desc-product", VIRTIO_SERIAL_DESC_KIND_STRING,
        "descriptor's iProduct, UTF-8",
    },
    [VIRTIO_SERIAL_DESC_SERIAL] = {
        "desc-serial", VIRTIO_SERIAL_DESC_KIND_STRING,
        "descriptor's iSerialNumber, UTF-8: "
        "tells two instances of one product apart",
    },
    [VIRTIO_SERIAL_DESC_INTERFACE] = {
        "desc-interface", VIRTIO_SERIAL_DESC_KIND_STRING,
        "descriptor's iInterface, UTF-8",
    },
    [VIRTIO_SERIAL_DESC_CLASS] = {
        "desc-class", VIRTIO_SERIAL_DESC_KIND_NUMBERS,
        "descriptor's interface class: CC[:SS[:PP]] in hex, "
        "vendor (ff:00:00, the default) or cdc-acm",
    },
    [VIRTIO_SERIAL_DESC_FILE] = {
        "desc-file", VIRTIO_SERIAL_DESC_KIND_FILE,
        "the whole descriptor blob, path or /dev/fdset/N; "
        "excludes every other desc property",
    },
};

/* ------------------------------------------------------------------ */
/* Characters */

int32_t virtio_serial_desc_utf8_next(const char **p)
{
    static const uint32_t lowest[] = { 0, 0x80, 0x800, 0x10000 };
    const unsigned char *s = (const unsigned char *)*p;
    uint32_t c = s[0];
    int i, more;

    if (c < 0x80) {
        more = 0;
    } else if (c >= 0xc0 && c < 0xf8) {
        more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        c &= 0x3f >> more;
    } else {
        return -1;
    }
    for (i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return -1;
        }
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < lowest[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
        return -1;
    }
    *p += more + 1;
    return c;
}

size_t desc_codec_utf8_put(uint32_t c, char *dest)
{
    static const unsigned char lead[] = { 0, 0xc0, 0xe0, 0xf0 };
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    int i;

    for (i = more; i > 0; i--) {
        dest[i] = 0x80 | (c & 0x3f);
        c >>= 6;
    }
    dest[0] = lead[more] | c;
    return more + 1;
}

static uint8_t *put_le16(uint8_t *p, uint16_t value)
{
    p[0] = value & 0xff;
    p[1] = value >> 8;
    return p + 2;
}

/* ------------------------------------------------------------------ */
/* What is wrong */

bool desc_codec_fail(VirtIOSerialDescError *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return false;
}

bool desc_codec_refuse(VirtIOSerialDescError *err, const char *prop,
                       const char *value, const char *fmt, ...)
{
    char shown[128], why[200];
    size_t used = 0;
    va_list ap;

    while (*value) {
        const char *start = value;
        int32_t c = virtio_serial_desc_utf8_next(&value);

        if (used > sizeof(shown) - 16) {
            used += sprintf(shown + used, "...");
            break;
        }
        if (c < 0) {
            value++;
        }
        if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
            while (start < value) {
                used += sprintf(shown + used, "\\x%02x",
                                (unsigned char)*start++);
            }
        } else {
            used += desc_codec_utf8_put(c, shown + used);
        }
    }
    shown[used] = '\0';

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return desc_codec_fail(err, "%s='%s': %s", prop, shown, why);
}

/* ------------------------------------------------------------------ */
/* Properties to blob */

bool virtio_serial_desc_props_check(const VirtIOSerialDescProps *props,
                                    VirtIOSerialDescError *err)
{
    const char *file = props->value[VIRTIO_SERIAL_DESC_FILE];
    VirtIOSerialDescProp i;

    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        const VirtIOSerialDescPropInfo *info = &virtio_serial_desc_prop_info[i];
        const char *value = props->value[i];

        if (!value || info->kind == VIRTIO_SERIAL_DESC_KIND_FILE) {
            continue;
        }
        if (file) {
            return desc_codec_refuse(err, PROP_NAME(VIRTIO_SERIAL_DESC_FILE),
                                     file, "a file is the whole descriptor and "
                                     "excludes '%s'", info->name);
        }
        if (!props->value[VIRTIO_SERIAL_DESC_IDS]) {
            return desc_codec_refuse(err, info->name, value,
                                     "needs 'desc' beside it, as in "
                                     "desc=1209:0001, or a name as in "
                                     "name=usb:1209:0001");
        }
    }
    return true;
}

int desc_codec_hex_digit(char c)
{
    static const char hex[] = "0123456789abcdef0123456789ABCDEF";
    const char *digit = c ? strchr(hex, c) : NULL;

    return digit ? (digit - hex) & 0xf : -1;
}

/*
 * Parse @value into @dest: up to @max numbers of exactly @digits hex digits
 * each, with ':' between them. Returns how many numbers there are, 0 if @value
 * is anything else.
 */
static int codec_parse_hex(const char *value, int digits, int max,
                           uint16_t *dest)
{
    int n, i;

    for (n = 0; n < max; n++) {
        dest[n] = 0;
        for (i = 0; i < digits; i++, value++) {
            int digit = desc_codec_hex_digit(*value);

            if (digit < 0) {
                return 0;
            }
            dest[n] = dest[n] << 4 | digit;
        }
        if (*value == '\0') {
            return n + 1;
        }
        if (*value++ != ':') {
            return 0;
        }
    }
    return 0;
}

uint8_t *desc_codec_put_string(uint8_t *dest, const char *prop,
                               const char *value, const char *text,
                               const char *what, VirtIOSerialDescError *err)
{
    const char *s = text;
    unsigned int units = 0;

    while (*s) {
        size_t at = s - value;
        int32_t c = virtio_serial_desc_utf8_next(&s);

        if (c < 0) {
            desc_codec_refuse(err, prop, value, "%sinvalid UTF-8 at byte %zu; "
                              "expected 1 to %d UTF-16 units, in UTF-8", what,
                              at, STRING_MAX_UNITS);
            return NULL;
        }
        units += c >= 0x10000 ? 2 : 1;
        if (units > STRING_MAX_UNITS) {
            continue;
        }
        if (c >= 0x10000) {
            c -= 0x10000;
            put_le16(dest + 2 * units - 2, 0xd800 | c >> 10);
            put_le16(dest + 2 * units, 0xdc00 | (c & 0x3ff));
        } else {
            put_le16(dest + 2 * units, c);
        }
    }
    if (units == 0 || units > STRING_MAX_UNITS) {
        desc_codec_refuse(err, prop, value, "%s%u UTF-16 units long; expected "
                          "1 to %d, in UTF-8", what, units, STRING_MAX_UNITS);
        return NULL;
    }
    dest[0] = 2 + 2 * units;
    dest[1] = DT_STRING;
    return dest + dest[0];
}

static uint8_t *codec_put_device(uint8_t *p, const uint16_t *ids,
                                 const uint8_t *str)
{
    *p++ = LEN_DEVICE;
    *p++ = DT_DEVICE;
    p = put_le16(p, 0x0200);            /* bcdUSB */
    *p++ = 0;                           /* bDeviceClass: per interface */
    *p++ = 0;                           /* bDeviceSubClass */
    *p++ = 0;                           /* bDeviceProtocol */
    *p++ = 64;                          /* bMaxPacketSize0 */
    p = put_le16(p, ids[0]);            /* idVendor */
    p = put_le16(p, ids[1]);            /* idProduct */
    p = put_le16(p, ids[2]);            /* bcdDevice */
    *p++ = str[VIRTIO_SERIAL_DESC_MANUFACTURER];
    *p++ = str[VIRTIO_SERIAL_DESC_PRODUCT];
    *p++ = str[VIRTIO_SERIAL_DESC_SERIAL];
    *p++ = 1;                           /* bNumConfigurations */
    return p;
}

/* The caller fills in wTotalLength */
static uint8_t *codec_put_configuration(uint8_t *p, uint8_t bNumInterfaces)
{
    *p++ = LEN_CONFIGURATION;
    *p++ = DT_CONFIGURATION;
    p = put_le16(p, 0);                 /* wTotalLength */
    *p++ = bNumInterfaces;
    *p++ = 1;                           /* bConfigurationValue */
    *p++ = 0;                           /* iConfiguration */
    *p++ = 0xc0;                        /* bmAttributes: self-powered */
    *p++ = 0;                           /* bMaxPower */
    return p;
}

static uint8_t *codec_put_interface(uint8_t *p, uint8_t bInterfaceNumber,
                                    uint8_t bNumEndpoints,
                                    const uint16_t *class, uint8_t iInterface)
{
    *p++ = LEN_INTERFACE;
    *p++ = DT_INTERFACE;
    *p++ = bInterfaceNumber;
    *p++ = 0;                           /* bAlternateSetting */
    *p++ = bNumEndpoints;
    *p++ = class[0];                    /* bInterfaceClass */
    *p++ = class[1];                    /* bInterfaceSubClass */
    *p++ = class[2];                    /* bInterfaceProtocol */
    *p++ = iInterface;
    return p;
}

static uint8_t *codec_put_endpoint(uint8_t *p, uint8_t bEndpointAddress,
                                   uint8_t bmAttributes,
                                   uint16_t wMaxPacketSize, uint8_t bInterval)
{
    *p++ = LEN_ENDPOINT;
    *p++ = DT_ENDPOINT;
    *p++ = bEndpointAddress;
    *p++ = bmAttributes;
    p = put_le16(p, wMaxPacketSize);
    *p++ = bInterval;
    return p;
}

/* The two endpoints that are the port's byte pipe; IN is towards the guest */
static uint8_t *codec_put_pipe(uint8_t *p)
{
    p = codec_put_endpoint(p, EP_IN, EP_BULK, 512, 0);
    return codec_put_endpoint(p, EP_OUT, EP_BULK, 512, 0);
}

/*
 * An abstract control model function (CDC 1.1, 3.6.2.1): communication
 * interface 0 and data interface 1; in the union, interface 0 is the master.
 * The notification endpoint holds a whole SERIAL_STATE, 10 bytes. Its interval
 * is 2^(9-1) microframes, 32 ms.
 */
static uint8_t *codec_put_cdc_acm(uint8_t *p, uint8_t iInterface)
{
    static const uint16_t communication[] = {
        CLASS_COMMUNICATIONS, SUBCLASS_ACM, PROTOCOL_V250,
    };
    static const uint16_t data[] = { CLASS_CDC_DATA, 0, 0 };
    static const uint8_t functional[] = {
        5, DT_CS_INTERFACE, CDC_HEADER, 0x10, 0x01,     /* bcdCDC 1.10 */
        5, DT_CS_INTERFACE, CDC_CALL_MANAGEMENT, 0, 1,  /* none; on data 1 */
        4, DT_CS_INTERFACE, CDC_ACM, 0x06,  /* line coding and state, break */
        5, DT_CS_INTERFACE, CDC_UNION, 0, 1,            /* master 0, slave 1 */
    };

    p = codec_put_interface(p, 0, 1, communication, iInterface);
    memcpy(p, functional, sizeof(functional));
    p += sizeof(functional);
    p = codec_put_endpoint(p, EP_NOTIFY, EP_INTERRUPT, 10, 9);
    p = codec_put_interface(p, 1, 2, data, 0);
    return codec_put_pipe(p);
}

size_t virtio_serial_desc_build(const VirtIOSerialDescProps *props,
                                uint8_t *blob, VirtIOSerialDescError *err)
{
    const char *ids_value = props->value[VIRTIO_SERIAL_DESC_IDS];
    const char *class_value = props->value[VIRTIO_SERIAL_DESC_CLASS];
    uint16_t ids[3] = { [2] = 0x0100 }, class[3] = { CLASS_VENDOR };
    uint8_t str[VIRTIO_SERIAL_DESC_NPROPS] = { 0 };
    uint8_t *config, *p;
    bool cdc_acm = false;
    uint8_t index = 0;
    VirtIOSerialDescProp i;

    if (codec_parse_hex(ids_value, 4, 3, ids) < 2) {
        desc_codec_refuse(err, PROP_NAME(VIRTIO_SERIAL_DESC_IDS), ids_value,
                          "expected VVVV:PPPP or VVVV:PPPP:RRRR, four hex "
                          "digits each, as in 1209:0001");
        return 0;
    }
    if (class_value && strcmp(class_value, "cdc-acm") == 0) {
        cdc_acm = true;
    } else if (class_value && strcmp(class_value, "vendor") != 0 &&
               codec_parse_hex(class_value, 2, 3, class) == 0) {
        desc_codec_refuse(err, PROP_NAME(VIRTIO_SERIAL_DESC_CLASS), class_value,
                          "expected CC, CC:SS or CC:SS:PP, two hex digits "
                          "each, or vendor, or cdc-acm");
        return 0;
    }
    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        if (props->value[i] && virtio_serial_desc_prop_info[i].kind ==
                               VIRTIO_SERIAL_DESC_KIND_STRING) {
            str[i] = ++index;
        }
    }

    config = codec_put_device(blob, ids, str);
    p = codec_put_configuration(config, cdc_acm ? 2 : 1);
    if (cdc_acm) {
        p = codec_put_cdc_acm(p, str[VIRTIO_SERIAL_DESC_INTERFACE]);
    } else {
        p = codec_put_interface(p, 0, 2, class,
                                str[VIRTIO_SERIAL_DESC_INTERFACE]);
        p = codec_put_pipe(p);
    }
    put_le16(config + 2, p - config);

    *p++ = 4;
    *p++ = DT_STRING;
    p = put_le16(p, LANGID_ENGLISH_US);
    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        if (str[i]) {
            p = desc_codec_put_string(p, PROP_NAME(i), props->value[i],
                                      props->value[i], "", err);
            if (!p) {
                return 0;
            }
        }
    }
    return p - blob;
}
