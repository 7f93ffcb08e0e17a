/*
 * Fuzz target: any bytes as a string of a descriptor, on its way to udev's
 * properties, to a terminal and into JSON
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "text.h"
#include "udev-text.h"
#include "text-check.h"
#include "fuzz.h"

static FILE *memory;
static char *printed;
static size_t printed_size;

static const char *print(void (*how)(FILE *, const char *), const char *text)
{
    if (!memory) {
        memory = open_memstream(&printed, &printed_size);
    }
    rewind(memory);
    how(memory, text);
    putc('\0', memory);
    fflush(memory);
    return printed;
}

/* The characters that udev lets into a name; '\\' only before an 'x' */
static void check_name(const char *name)
{
    const char *s;

    assert(g_utf8_validate(name, -1, NULL));
    for (s = name; *s; s++) {
        unsigned char c = *s;

        assert(c >= 0x80 || g_ascii_isalnum(c) || strchr("#+-.:=@_", c) ||
               (c == '\\' && s[1] == 'x'));
    }
}

static void check_replace(const char *text, size_t size)
{
    char *name = g_malloc(size), *again = g_malloc(size);

    udev_text_replace(text, name, size);
    assert(strlen(name) < size);
    check_name(name);
    /* A name stays what it is */
    udev_text_replace(name, again, size);
    assert(strcmp(name, again) == 0);
    g_free(name);
    g_free(again);
}

/* What was encoded can be decoded: it is the text, or the text's begin */
static void check_encode(const char *text)
{
    char *encoded = g_malloc(UDEV_TEXT_ENC_SIZE);
    size_t i, at = 0;

    udev_text_encode(text, encoded);
    assert(strlen(encoded) < UDEV_TEXT_ENC_SIZE);
    check_name(encoded);
    for (i = 0; encoded[i]; at++) {
        if (encoded[i] == '\\') {
            assert((unsigned char)text[at] ==
                   (g_ascii_xdigit_value(encoded[i + 2]) << 4 |
                    g_ascii_xdigit_value(encoded[i + 3])));
            i += 4;
        } else {
            assert(text[at] == encoded[i++]);
        }
    }
    assert(text[at] == '\0' || strlen(encoded) > UDEV_TEXT_ENC_SIZE - 6);
    g_free(encoded);
}

static void check_serial(const char *text)
{
    char *serial = g_malloc(VIRTIO_SERIAL_DESC_STRING_SIZE);
    const char *s;

    udev_text_serial(text, serial);
    check_name(serial);
    for (s = text; *s; s++) {
        if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7f || *s == ',') {
            assert(*serial == '\0');
        }
    }
    g_free(serial);
}

/* The JSON string says the text, with U+FFFD for each byte that is no UTF-8 */
static void check_json(const char *json, const char *text)
{
    const char *s = json + 1;

    assert(*json == '"');
    text_check_shown(json);
    for (; *text; ) {
        gunichar c = g_utf8_get_char_validated(text, -1), said;

        if (c == (gunichar)-1 || c == (gunichar)-2) {
            c = 0xfffd;
            text++;
        } else {
            text = g_utf8_next_char(text);
        }
        if (*s == '\\' && s[1] == 'u') {
            char digits[5] = { 0 };

            memcpy(digits, s + 2, 4);
            said = strtoul(digits, NULL, 16);
            s += 6;
        } else {
            assert(*s != '"');
            s += *s == '\\';
            said = g_utf8_get_char(s);
            s = g_utf8_next_char(s);
        }
        assert(said == c);
    }
    assert(strcmp(s, "\"") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    /* No string of a descriptor is longer */
    if (size >= VIRTIO_SERIAL_DESC_STRING_SIZE) {
        return 0;
    }
    /* In a block of its own size, so that a sanitizer sees an overrun */
    text = g_strndup((const char *)data, size);
    check_replace(text, UDEV_TEXT_SIZE);
    check_replace(text, VIRTIO_SERIAL_DESC_STRING_SIZE);
    check_encode(text);
    check_serial(text);
    text_check_shown(print(text_print, text));
    check_json(print(text_print_json, text), text);
    g_free(text);
    return 0;
}
