/*
 * Text from the host, on its way to a terminal or into JSON
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "text.h"

/*
 * Not mbrtowc(): a static program in an initramfs has no UTF-8 locale, as that
 * comes in files of the C library.
 */
int32_t text_next(const char *text, size_t *size)
{
    /* By length: what the first byte begins with, and the first code point */
    static const struct {
        uint8_t mask, lead;
        int32_t first;
    } forms[] = {
        { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 },
        { 0xf8, 0xf0, 0x10000 },
    };
    const uint8_t *p = (const uint8_t *)text;
    size_t length, i;

    *size = 1;
    for (length = 1; length <= 4; length++) {
        int32_t c = p[0] & ~forms[length - 1].mask;

        if ((p[0] & forms[length - 1].mask) != forms[length - 1].lead) {
            continue;
        }
        for (i = 1; i < length && p[i] >> 6 == 2; i++) {
            c = c * 64 + p[i] % 64;
        }
        if (i < length || c < forms[length - 1].first || c > 0x10ffff ||
            c >> 11 == 0xd800 >> 11) {
            return -1;
        }
        *size = length;
        return c;
    }
    return -1;
}

/* Would a terminal do something else with @c than show it where it stands? */
static bool text_is_control(int32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) ||
           c == 0x061c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void text_print(FILE *stream, const char *text)
{
    while (*text) {
        size_t size, i;
        bool escape = text_is_control(text_next(text, &size));

        for (i = 0; i < size; i++, text++) {
            fprintf(stream, escape ? "\\x%02x" : "%c", (unsigned char)*text);
        }
    }
}

void text_print_json(FILE *stream, const char *text)
{
    putc('"', stream);
    while (*text) {
        size_t size;
        int32_t c = text_next(text, &size);

        if (c < 0) {
            fputs("\\ufffd", stream);
        } else if (text_is_control(c)) {
            fprintf(stream, "\\u%04x", c);
        } else {
            fprintf(stream, c == '"' || c == '\\' ? "\\%.*s" : "%.*s",
                    (int)size, text);
        }
        text += size;
    }
    putc('"', stream);
}
