/*
 * What a terminal may be shown
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FUZZ_TEXT_CHECK_H
#define TESTS_FUZZ_TEXT_CHECK_H

/*
 * UTF-8 without control characters, but for newlines, and without characters
 * that change the direction of writing
 */
static inline void text_check_shown(const char *text)
{
    assert(g_utf8_validate(text, -1, NULL));
    for (; *text; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);
        GUnicodeType type = g_unichar_type(c);

        assert(c == '\n' || type != G_UNICODE_CONTROL);
        assert(type != G_UNICODE_LINE_SEPARATOR &&
               type != G_UNICODE_PARAGRAPH_SEPARATOR);
        assert(c != 0x061c && c != 0x200e && c != 0x200f &&
               !(c >= 0x202a && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069));
    }
}

#endif /* TESTS_FUZZ_TEXT_CHECK_H */
