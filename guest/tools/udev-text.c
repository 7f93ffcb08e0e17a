/*
 * Strings of descriptors as udev's usb_id encodes them
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "text.h"
#include "udev-text.h"

/*
 * How many bytes of the character at @s udev keeps, or 0. udev keeps letters
 * and digits of ASCII, some signs, and every valid character above ASCII.
 */
static size_t kept(const char *s)
{
    size_t size;
    int32_t c = text_next(s, &size);

    if (c < 0x80) {
        return c > 0 && (isalnum(c) || strchr("#+-.:=@_", c));
    }
    /* Unicode's noncharacters */
    if ((c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe) {
        return 0;
    }
    return size;
}

void udev_text_replace(const char *text, char *dest, size_t size)
{
    const char *end = text + strnlen(text, size - 1);
    const char *p = text + strspn(text, " \t\n\r");
    bool space = false;
    char *q = dest;

    while (p < end) {
        if (isspace((unsigned char)*p)) {
            space = true;
            p++;
            continue;
        }
        if (space) {
            *q++ = '_';
            space = false;
        }
        *q++ = *p++;
    }
    *q = '\0';

    for (q = dest; *q; ) {
        size_t keep = kept(q);

        if (q[0] == '\\' && q[1] == 'x') {
            keep = 2;       /* udev's own escapes begin like this */
        }
        if (keep == 0) {
            *q = '_';
            keep = 1;
        }
        q += keep;
    }
}

void udev_text_encode(const char *text, char dest[UDEV_TEXT_ENC_SIZE])
{
    size_t used = 0;

    while (*text) {
        size_t keep = kept(text);

        if (used + (keep ? keep : 4) >= UDEV_TEXT_ENC_SIZE) {
            break;
        }
        if (keep) {
            memcpy(dest + used, text, keep);
            used += keep;
            text += keep;
        } else {
            used += sprintf(dest + used, "\\x%02x", (unsigned char)*text++);
        }
    }
    dest[used] = '\0';
}

void udev_text_serial(const char *text,
                      char dest[VIRTIO_SERIAL_DESC_STRING_SIZE])
{
    const char *p;

    dest[0] = '\0';
    for (p = text; *p; p++) {
        unsigned char c = *p;

        if (c < 0x20 || c > 0x7f || c == ',') {
            return;
        }
    }
    udev_text_replace(text, dest, VIRTIO_SERIAL_DESC_STRING_SIZE);
}
