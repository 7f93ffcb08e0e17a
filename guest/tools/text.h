/*
 * Text from the host, on its way to a terminal or into JSON
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_TEXT_H
#define VSER_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/**
 * text_next:
 * @text: NUL-terminated bytes of any kind, at least one before the NUL
 * @size: set to the character's length in bytes, 1 if there is no character
 *
 * Returns: the character at @text, -1 if the bytes there are not UTF-8 (RFC
 * 3629). The result does not depend on the locale.
 */
int32_t text_next(const char *text, size_t *size);

/**
 * text_print:
 * @stream: the output
 * @text: NUL-terminated bytes of any kind
 *
 * Print @text for a terminal. A byte becomes "\x" and two digits if it is not
 * UTF-8, or part of a control character, or part of a character that changes
 * the direction of writing.
 */
void text_print(FILE *stream, const char *text);

/**
 * text_print_json:
 * @stream: the output
 * @text: NUL-terminated bytes of any kind
 *
 * Print @text as a JSON string with its quotes. A byte that is not UTF-8
 * becomes U+FFFD.
 */
void text_print_json(FILE *stream, const char *text);

#endif /* VSER_TEXT_H */
