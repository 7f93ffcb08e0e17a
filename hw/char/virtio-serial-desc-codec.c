/*
 * USB descriptors for virtio-serial ports: build, check and read a blob
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

enum {
    EP_IN               = 0x81,
    EP_OUT              = 0x01,
    EP_NOTIFY           = 0x82,
    EP_BULK             = 0x02,
    EP_INTERRUPT        = 0x03,
};

#define LANGID_ENGLISH_US   0x0409
#define STRING_MAX_UNITS    126
#define REPLACEMENT_CHAR    0xfffd

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

/* Encode @c: at most 3 bytes if @c is below 0x10000, otherwise 4 */
static size_t utf8_put(uint32_t c, char *dest)
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

static uint16_t get_le16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

static uint8_t *put_le16(uint8_t *p, uint16_t value)
{
    p[0] = value & 0xff;
    p[1] = value >> 8;
    return p + 2;
}

/* ------------------------------------------------------------------ */
/* What is wrong */

/* The tools have no G_GNUC_PRINTF */
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

static bool PRINTF(2, 3)
codec_fail(VirtIOSerialDescError *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return false;
}

/*
 * Fill @err with "PROP='VALUE': WHY". The value goes to logs and terminals, so
 * unprintable characters are escaped, and a long value is cut.
 */
static bool PRINTF(4, 5)
codec_refuse(VirtIOSerialDescError *err, const char *prop, const char *value,
             const char *fmt, ...)
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
            used += utf8_put(c, shown + used);
        }
    }
    shown[used] = '\0';

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return codec_fail(err, "%s='%s': %s", prop, shown, why);
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
            return codec_refuse(err, PROP_NAME(VIRTIO_SERIAL_DESC_FILE), file,
                                "a file is the whole descriptor and excludes "
                                "'%s'", info->name);
        }
        if (!props->value[VIRTIO_SERIAL_DESC_IDS]) {
            return codec_refuse(err, info->name, value,
                                "needs 'desc' beside it, as in desc=1209:0001, "
                                "or a name as in name=usb:1209:0001");
        }
    }
    return true;
}

/* Returns the value of a hex digit, -1 if @c is none */
static int codec_hex_digit(char c)
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
            int digit = codec_hex_digit(*value);

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

/*
 * Put @text, which is @value from some byte on, as a string descriptor at
 * @dest; returns its end, NULL if bad. @what is before the reason, in the
 * message about @prop.
 */
static uint8_t *codec_put_string(uint8_t *dest, const char *prop,
                                 const char *value, const char *text,
                                 const char *what, VirtIOSerialDescError *err)
{
    const char *s = text;
    unsigned int units = 0;

    while (*s) {
        size_t at = s - value;
        int32_t c = virtio_serial_desc_utf8_next(&s);

        if (c < 0) {
            codec_refuse(err, prop, value, "%sinvalid UTF-8 at byte %zu; "
                         "expected 1 to %d UTF-16 units, in UTF-8", what, at,
                         STRING_MAX_UNITS);
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
        codec_refuse(err, prop, value, "%s%u UTF-16 units long; expected 1 to "
                     "%d, in UTF-8", what, units, STRING_MAX_UNITS);
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
        codec_refuse(err, PROP_NAME(VIRTIO_SERIAL_DESC_IDS), ids_value,
                     "expected VVVV:PPPP or VVVV:PPPP:RRRR, four hex digits "
                     "each, as in 1209:0001");
        return 0;
    }
    if (class_value && strcmp(class_value, "cdc-acm") == 0) {
        cdc_acm = true;
    } else if (class_value && strcmp(class_value, "vendor") != 0 &&
               codec_parse_hex(class_value, 2, 3, class) == 0) {
        codec_refuse(err, PROP_NAME(VIRTIO_SERIAL_DESC_CLASS), class_value,
                     "expected CC, CC:SS or CC:SS:PP, two hex digits each, or "
                     "vendor, or cdc-acm");
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
            p = codec_put_string(p, PROP_NAME(i), props->value[i],
                                 props->value[i], "", err);
            if (!p) {
                return 0;
            }
        }
    }
    return p - blob;
}

/* ------------------------------------------------------------------ */
/* Name to properties */

bool virtio_serial_desc_name_describes(const char *name)
{
    return strncmp(name, "usb:", 4) == 0 &&
           (name[4] == 'v' || codec_hex_digit(name[4]) >= 0);
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
        if (*form == '?' ? codec_hex_digit(*name) < 0 : *name != *form) {
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
            return codec_refuse(err, "name", name, "expected usb:VVVV:PPPP or "
                                "usb:VVVV:PPPP:SERIAL, as in usb:1209:0001:A1, "
                                "or a name that QEMU derives from desc; the "
                                "controller's port-descriptors=off lets it be "
                                "any name");
        }
        sprintf(named->ids, "%.4s:%.4s:%.4s", d, d + 4, d + 8);
        sprintf(named->class, "%.2s:%.2s:%.2s", d + 18, d + 20, d + 22);
    }
    if (*rest == '\0') {
        return true;
    }
    named->serial = rest + 1;
    return codec_put_string(string, "name", name, named->serial,
                            "serial number: ", err);
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
    return codec_fail(w->err, "at offset %zu: %s", w->offset, why);
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
        return codec_fail(err, "%zu bytes long; expected at most %d",
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
        used += utf8_put(c ? c : REPLACEMENT_CHAR, dest + used);
    }
    dest[used] = '\0';
    return used;
}

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
