/*
 * A second implementation of the rules of virtio-serial descriptors
 *
 * The unit tests and the fuzzers give the codec hundreds of thousands of blobs,
 * and nobody has looked at most of them. This oracle gives a second opinion on
 * each blob, in another way, so that the two are not wrong together. The codec
 * walks a blob once, top down, and stops at the first fault. The oracle first
 * cuts the whole blob into descriptors, as if it knew nothing but bLength. Then
 * it checks each rule of virtio-serial-desc-codec.h by itself, against the list
 * of descriptors. The oracle may be slow, and needs GLib.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "virtio-serial-desc-oracle.h"

/* bDescriptorType */
#define DEVICE          1
#define CONFIGURATION   2
#define STRING          3
#define INTERFACE       4
#define ENDPOINT        5
#define ASSOCIATION     11
#define FUNCTIONAL      0x24

/* One descriptor: where it is, and what owns it */
typedef struct Piece {
    const uint8_t *at;
    int configuration;      /* the how-many-th it belongs to; -1: to none */
} Piece;

typedef struct Opinion {
    GArray *pieces;         /* of Piece: the whole blob, if it can be cut */
    guint strings;          /* the first piece of part 3 */
    bool used[256];
} Opinion;

static Piece *piece(const Opinion *o, guint i)
{
    return &g_array_index(o->pieces, Piece, i);
}

static bool cut(Opinion *o, const uint8_t *blob, size_t length)
{
    size_t left;

    for (left = length; left > 0; left -= blob[0], blob += blob[0]) {
        Piece new = { blob, -1 };

        if (left < 2 || blob[0] < 2 || blob[0] > left) {
            return false;
        }
        g_array_append_val(o->pieces, new);
    }
    return true;
}

static bool of_type(const Opinion *o, guint i, uint8_t type)
{
    return i < o->pieces->len && piece(o, i)->at[1] == type;
}

/* Give every configuration the pieces that its wTotalLength spans exactly */
static bool share_out(Opinion *o)
{
    int configuration, configurations;

    if (!of_type(o, 0, DEVICE) || piece(o, 0)->at[0] < 18) {
        return false;
    }
    configurations = piece(o, 0)->at[17];
    o->strings = 1;
    for (configuration = 0; configuration < configurations; configuration++) {
        const uint8_t *start;
        int total;

        if (!of_type(o, o->strings, CONFIGURATION)) {
            return false;
        }
        start = piece(o, o->strings)->at;
        if (start[0] < 9) {
            return false;
        }
        for (total = start[2] + 256 * start[3]; total > 0; o->strings++) {
            if (o->strings == o->pieces->len) {
                return false;
            }
            piece(o, o->strings)->configuration = configuration;
            total -= piece(o, o->strings)->at[0];
        }
        /* Nothing at all, or not an end between two descriptors */
        if (total < 0 || piece(o, o->strings - 1)->at < start) {
            return false;
        }
    }
    return configurations > 0;
}

static bool shapes_are_right(const Opinion *o)
{
    guint i;

    for (i = 1; i < o->strings; i++) {
        const Piece *p = piece(o, i);
        bool first = p->configuration != piece(o, i - 1)->configuration;
        bool right;

        switch (p->at[1]) {
        case CONFIGURATION:
            right = first;
            break;
        case INTERFACE:
            right = p->at[0] >= 9;
            break;
        case ENDPOINT:
            right = p->at[0] >= 7;
            break;
        case ASSOCIATION:
            right = p->at[0] >= 8;
            break;
        default:
            right = p->at[1] != DEVICE && p->at[1] != STRING;
        }
        if (!right) {
            return false;
        }
    }
    return true;
}

static bool counts_are_right(const Opinion *o)
{
    guint i, j;

    for (i = 1; i < o->strings; i++) {
        const Piece *p = piece(o, i);
        bool met[256] = { false };
        int endpoints = 0, interfaces = 0;

        for (j = i + 1; j < o->strings &&
             piece(o, j)->configuration == p->configuration; j++) {
            const uint8_t *other = piece(o, j)->at;

            if (other[1] == INTERFACE) {
                if (p->at[1] == INTERFACE) {
                    break;
                }
                interfaces += !met[other[2]];
                met[other[2]] = true;
            }
            endpoints += other[1] == ENDPOINT;
            /* Whose is this endpoint? */
            if (p->at[1] == CONFIGURATION && endpoints && !interfaces) {
                return false;
            }
        }
        if (p->at[1] == CONFIGURATION &&
            (interfaces == 0 || interfaces != p->at[4])) {
            return false;
        }
        if (p->at[1] == INTERFACE && endpoints != p->at[4]) {
            return false;
        }
    }
    return true;
}

static void mark_used(Opinion *o)
{
    /* For each bDescriptorType, where string indices stand in it */
    static const struct {
        uint8_t type, offsets[3];
    } index[] = {
        { DEVICE, { 14, 15, 16 } },
        { CONFIGURATION, { 6, 6, 6 } },
        { INTERFACE, { 8, 8, 8 } },
        { ASSOCIATION, { 7, 7, 7 } },
    };
    const uint8_t *interface = NULL;
    guint i, j, k;

    for (i = 0; i < o->strings; i++) {
        const uint8_t *at = piece(o, i)->at;

        for (j = 0; j < G_N_ELEMENTS(index); j++) {
            for (k = 0; k < 3 && at[1] == index[j].type; k++) {
                o->used[at[index[j].offsets[k]]] = true;
            }
        }
        if (at[1] == CONFIGURATION) {
            interface = NULL;
        } else if (at[1] == INTERFACE) {
            interface = at;
        } else if (at[1] == FUNCTIONAL && interface && interface[5] == 2 &&
                   at[0] >= 4 && (at[2] == 7 || at[2] == 15)) {
            o->used[at[3]] = true;
        }
    }
    o->used[0] = false;
}

static bool strings_are_right(const Opinion *o)
{
    guint i, wanted = 0;

    for (i = 1; i < 256; i++) {
        wanted += o->used[i];
    }
    for (i = o->strings; i < o->pieces->len; i++) {
        const uint8_t *at = piece(o, i)->at;

        if (at[1] != STRING || at[0] & 1 || (i == o->strings && at[0] == 2)) {
            return false;
        }
    }
    i -= o->strings;
    return wanted ? i == wanted + 1 : i <= 1;
}

static bool opinion(Opinion *o, const uint8_t *blob, size_t length)
{
    memset(o, 0, sizeof(*o));
    o->pieces = g_array_new(false, false, sizeof(Piece));
    if (length > 65535 || !cut(o, blob, length) || !share_out(o) ||
        !shapes_are_right(o) || !counts_are_right(o)) {
        return false;
    }
    mark_used(o);
    return strings_are_right(o);
}

/* A string descriptor's text, U+FFFD where it is no character */
static char *text_of(const uint8_t *string)
{
    GString *text = g_string_new(NULL);
    gunichar high = 0;
    int i;

    for (i = 2; i < string[0]; i += 2) {
        gunichar unit = string[i] + 256 * string[i + 1];

        if (high && unit >> 10 == 0xdc00 >> 10) {
            g_string_append_unichar(text, (high - 0xd800) * 0x400 +
                                    (unit - 0xdc00) + 0x10000);
            high = 0;
            continue;
        }
        if (high) {
            g_string_append_unichar(text, 0xfffd);
            high = 0;
        }
        if (unit >> 10 == 0xd800 >> 10) {
            high = unit;
        } else if (unit == 0 || unit >> 10 == 0xdc00 >> 10) {
            g_string_append_unichar(text, 0xfffd);
        } else {
            g_string_append_unichar(text, unit);
        }
    }
    if (high) {
        g_string_append_unichar(text, 0xfffd);
    }
    return g_string_free(text, false);
}

static char *find_string(const Opinion *o, uint8_t index)
{
    guint i, position = o->strings;

    if (!o->used[index]) {
        return NULL;
    }
    for (i = 0; i < index; i++) {
        position += i == 0 || o->used[i];
    }
    return text_of(piece(o, position)->at);
}

char *oracle_string(const uint8_t *blob, size_t length, uint8_t index)
{
    Opinion o;
    char *text;

    g_assert(opinion(&o, blob, length));
    text = find_string(&o, index);
    g_array_free(o.pieces, true);
    return text;
}

void oracle_poison(VirtIOSerialDescError *err)
{
    memset(err, 0x07, sizeof(*err));
}

void oracle_check_error(const VirtIOSerialDescError *err)
{
    const char *end = memchr(err->text, '\0', sizeof(err->text)), *p;

    g_assert(end && end > err->text);
    g_assert(g_utf8_validate(err->text, end - err->text, NULL));
    for (p = err->text; p < end; p = g_utf8_next_char(p)) {
        g_assert(!g_unichar_iscntrl(g_utf8_get_char(p)));
    }
}

static void verify_info(const Opinion *o, const uint8_t *b, size_t length,
                        VirtIOSerialDescInfo *info)
{
    size_t part3 = 0;
    const uint8_t *interface;
    guint i;

    for (i = 0; i < o->strings; i++) {
        part3 += piece(o, i)->at[0];
    }
    for (i = 0; piece(o, i)->at[1] != INTERFACE; i++) {
        /* there is one: this is only called for well-formed blobs */
    }
    interface = piece(o, i)->at;

    memset(info, 0xa5, sizeof(*info));
    virtio_serial_desc_info(b, length, info);
    g_assert_cmphex(info->bcdUSB, ==, b[2] + 256 * b[3]);
    g_assert_cmphex(info->bDeviceClass, ==, b[4]);
    g_assert_cmphex(info->bDeviceSubClass, ==, b[5]);
    g_assert_cmphex(info->bDeviceProtocol, ==, b[6]);
    g_assert_cmphex(info->idVendor, ==, b[8] + 256 * b[9]);
    g_assert_cmphex(info->idProduct, ==, b[10] + 256 * b[11]);
    g_assert_cmphex(info->bcdDevice, ==, b[12] + 256 * b[13]);
    g_assert_cmphex(info->iManufacturer, ==, b[14]);
    g_assert_cmphex(info->iProduct, ==, b[15]);
    g_assert_cmphex(info->iSerialNumber, ==, b[16]);
    g_assert_cmphex(info->bInterfaceNumber, ==, interface[2]);
    g_assert_cmphex(info->bInterfaceClass, ==, interface[5]);
    g_assert_cmphex(info->bInterfaceSubClass, ==, interface[6]);
    g_assert_cmphex(info->bInterfaceProtocol, ==, interface[7]);
    g_assert_cmphex(info->iInterface, ==, interface[8]);
    g_assert_cmpuint(info->strings_offset, ==, part3);
}

static void verify_string(const Opinion *o, const uint8_t *blob, size_t length,
                          uint8_t index)
{
    g_autofree char *expected = find_string(o, index);
    /* As large as it must be and not larger, so that an overrun is seen */
    g_autofree char *dest = g_malloc(VIRTIO_SERIAL_DESC_STRING_SIZE);
    size_t size;

    memset(dest, 'x', VIRTIO_SERIAL_DESC_STRING_SIZE);
    size = virtio_serial_desc_string(blob, length, index, dest);
    g_assert_cmpstr(dest, ==, expected ?: "");
    g_assert_cmpuint(size, ==, strlen(dest));
}

static void verify_name(const Opinion *o, const uint8_t *blob, size_t length,
                        const VirtIOSerialDescInfo *info, unsigned int number)
{
    g_autofree char *serial = find_string(o, info->iSerialNumber);
    g_autofree char *suffix = number ? g_strdup_printf("#%u", number)
                                     : g_strdup("");
    g_autofree char *dest = g_malloc(VIRTIO_SERIAL_DESC_NAME_SIZE);
    g_autoptr(GString) name = g_string_new(NULL);
    const char *p;

    g_string_printf(name, "usb:v%04Xp%04Xd%04Xdc%02Xdsc%02Xdp%02X"
                    "ic%02Xisc%02Xip%02Xin%02X", info->idVendor,
                    info->idProduct, info->bcdDevice, info->bDeviceClass,
                    info->bDeviceSubClass, info->bDeviceProtocol,
                    info->bInterfaceClass, info->bInterfaceSubClass,
                    info->bInterfaceProtocol, info->bInterfaceNumber);
    if (serial && *serial) {
        g_string_append_c(name, '#');
        for (p = serial; *p; p = g_utf8_next_char(p)) {
            gunichar c = g_utf8_get_char(p);
            gsize before = name->len;

            if (c > 0x9f || (c < 0x80 && (g_ascii_isalnum(c) ||
                                          strchr("#+-.:=@_", c)))) {
                g_string_append_unichar(name, c);
            } else {
                g_string_append_c(name, '_');
            }
            /* A control buffer of 128 bytes has it, with header and NUL */
            if (8 + name->len + strlen(suffix) + 1 > 128) {
                g_string_truncate(name, before);
                break;
            }
        }
    }
    g_string_append(name, suffix);

    memset(dest, 'x', VIRTIO_SERIAL_DESC_NAME_SIZE);
    virtio_serial_desc_name(blob, length, number, dest);
    g_assert_cmpstr(dest, ==, name->str);
}

bool oracle_verify(const uint8_t *blob, size_t length,
                   VirtIOSerialDescError *err)
{
    VirtIOSerialDescInfo info;
    VirtIOSerialDescError own;
    Opinion o;
    bool good = opinion(&o, blob, length);
    int i;

    err = err ?: &own;
    oracle_poison(err);
    if (virtio_serial_desc_check(blob, length, err) != good) {
        g_error("%s, but the codec %s", good ? "well-formed" : "malformed",
                good ? err->text : "accepts it");
    }
    if (good) {
        verify_info(&o, blob, length, &info);
        for (i = 0; i < 256; i++) {
            /* Those that are not used are all alike: a few will do */
            if (o.used[i] || i % 51 == 0) {
                verify_string(&o, blob, length, i);
            }
        }
        verify_name(&o, blob, length, &info, 0);
        verify_name(&o, blob, length, &info, 1);
        verify_name(&o, blob, length, &info, UINT_MAX);
    } else {
        oracle_check_error(err);
    }
    g_array_free(o.pieces, true);
    return good;
}

/* Part @number of what a pattern found; NULL: it found no such part */
static char *part(GMatchInfo *found, int number)
{
    g_autofree char *text = g_match_info_fetch(found, number);

    return text && *text ? g_steal_pointer(&text) : NULL;
}

/* Between 1 and 126 UTF-16 units, in valid UTF-8? */
static bool is_string(const char *text)
{
    g_autofree uint16_t *units = NULL;
    glong count = 0;

    if (g_utf8_validate(text, -1, NULL)) {
        units = g_utf8_to_utf16(text, -1, NULL, &count, NULL);
    }
    return count >= 1 && count <= 126;
}

/*
 * The codec walks a name once. The oracle has a pattern for each kind of name.
 * Bytes, not characters: a serial number may be anything.
 */
static GMatchInfo *match(const char *pattern, const char *name)
{
    g_autoptr(GRegex) regex = g_regex_new(pattern, G_REGEX_RAW |
        G_REGEX_DOTALL | G_REGEX_DOLLAR_ENDONLY, 0, NULL);
    GMatchInfo *found;

    g_assert_nonnull(regex);
    g_regex_match(regex, name, 0, &found);
    return found;
}

#define H2  "([0-9A-Fa-f]{2})"
#define H4  "([0-9A-Fa-f]{4})"

/* The values of properties that @name stands for; all NULL: it is refused */
static void expect_of_name(const char *name, VirtIOSerialDescProps *props)
{
    GMatchInfo *parts = match("^usb:" H4 ":" H4 "(:(.*))?$", name);
    g_autofree char *vendor = NULL, *product = NULL, *release = NULL;
    g_autofree char *class = NULL, *subclass = NULL, *protocol = NULL;
    g_autofree char *separator = NULL, *serial = NULL;
    bool is_long = !g_match_info_matches(parts);

    if (is_long) {
        g_match_info_free(parts);
        parts = match("^usb:v" H4 "p" H4 "d" H4 "dc00dsc00dp00"
                      "ic" H2 "isc" H2 "ip" H2 "in00(#(.*))?$", name);
    }
    if (g_match_info_matches(parts)) {
        vendor = part(parts, 1);
        product = part(parts, 2);
        release = is_long ? part(parts, 3) : NULL;
        class = is_long ? part(parts, 4) : NULL;
        subclass = is_long ? part(parts, 5) : NULL;
        protocol = is_long ? part(parts, 6) : NULL;
        separator = part(parts, is_long ? 7 : 3);
        serial = part(parts, is_long ? 8 : 4);
        if (!separator || (serial && is_string(serial))) {
            props->value[VIRTIO_SERIAL_DESC_IDS] = g_strjoin(":", vendor,
                product, release, NULL);
            props->value[VIRTIO_SERIAL_DESC_SERIAL] = g_strdup(serial);
            props->value[VIRTIO_SERIAL_DESC_CLASS] = !is_long ? NULL :
                g_strjoin(":", class, subclass, protocol, NULL);
        }
    }
    g_match_info_free(parts);
}

/* What the properties make, and the name of that; the caller frees both */
static char *build_name(const VirtIOSerialDescProps *props, uint8_t **blob,
                        size_t *length)
{
    char *name = g_malloc(VIRTIO_SERIAL_DESC_NAME_SIZE);
    VirtIOSerialDescError err;

    *blob = g_malloc(VIRTIO_SERIAL_DESC_BUILT_MAX);
    *length = virtio_serial_desc_build(props, *blob, &err);
    g_assert_cmpuint(*length, >, 0);
    g_assert_true(oracle_verify(*blob, *length, NULL));
    virtio_serial_desc_name(*blob, *length, 0, name);
    return name;
}

bool oracle_verify_name(const char *name, VirtIOSerialDescError *err)
{
    VirtIOSerialDescProps expected = { { NULL } };
    const char *const *value = (const char *const *)expected.value;
    GMatchInfo *start = match("^usb:[0-9A-Fa-fv]", name);
    bool describes = g_match_info_matches(start), good;
    VirtIOSerialDescNamed named;
    VirtIOSerialDescError own;
    int i;

    g_match_info_free(start);
    g_assert(virtio_serial_desc_name_describes(name) == describes);
    expect_of_name(name, &expected);

    err = err ?: &own;
    oracle_poison(err);
    good = virtio_serial_desc_parse_name(name, &named, err);
    g_assert(good == (value[VIRTIO_SERIAL_DESC_IDS] != NULL));
    if (good) {
        const char *class = *named.class ? named.class : NULL;
        g_autofree uint8_t *blob = NULL, *again = NULL;
        g_autofree char *derived = NULL, *fixed = NULL;
        size_t length, again_length;

        g_assert_true(describes);
        g_assert_cmpstr(named.ids, ==, value[VIRTIO_SERIAL_DESC_IDS]);
        g_assert_cmpstr(named.serial, ==, value[VIRTIO_SERIAL_DESC_SERIAL]);
        g_assert_cmpstr(class, ==, value[VIRTIO_SERIAL_DESC_CLASS]);
        derived = build_name(&expected, &blob, &length);

        /* A derived name gives the same ids and class, and the same name */
        for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
            g_clear_pointer(&expected.value[i], g_free);
        }
        expect_of_name(derived, &expected);
        g_assert_nonnull(value[VIRTIO_SERIAL_DESC_IDS]);
        fixed = build_name(&expected, &again, &again_length);
        g_assert_cmpstr(fixed, ==, derived);
        g_assert_cmpint(memcmp(again, blob, 14), ==, 0);
        g_assert_cmpint(memcmp(again + 18, blob + 18, 32), ==, 0);
    } else {
        oracle_check_error(err);
    }
    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        g_free(expected.value[i]);
    }
    return good;
}
