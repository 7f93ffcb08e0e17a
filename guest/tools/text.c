/*
 * Text from the host, on its way to a terminal or into JSON
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Without util.h: the messages of util.h are printed by text_print() */
#include "text.h"
#include "hw/virtio/virtio-serial-desc-codec.h"

/*
 * mbrtowc() is no choice: it needs a UTF-8 locale. A static program in an
 * initramfs lacks the files of the C library that have locales.
 */
int32_t text_next(const char *text, size_t *size)
{
    const char *end = text;
    int32_t c = virtio_serial_desc_utf8_next(&end);

    *size = c < 0 ? 1 : end - text;
    return c;
}

/* Does a terminal do more with @c than show it? */
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
            if (escape) {
                fprintf(stream, "\\x%02x", (unsigned char)*text);
            } else {
                putc(*text, stream);
            }
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
            if (c == '"' || c == '\\') {
                putc('\\', stream);
            }
            fwrite(text, 1, size, stream);
        }
        text += size;
    }
    putc('"', stream);
}
