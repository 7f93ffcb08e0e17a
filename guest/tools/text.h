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
 * @text: any bytes, to their NUL, and not the NUL itself
 * @size: set to the character's length in bytes, 1 if there is none
 *
 * Returns: the character at @text, -1 if the bytes there are not UTF-8 (RFC
 * 3629). No locale has a say in that.
 */
int32_t text_next(const char *text, size_t *size);

/**
 * text_print:
 * @stream: where to
 * @text: any bytes, to their NUL
 *
 * Print @text for a terminal: bytes of control characters, of those that change
 * the direction of writing and of what is not UTF-8 become "\x" and two digits.
 */
void text_print(FILE *stream, const char *text);

/**
 * text_print_json:
 * @stream: where to
 * @text: any bytes, to their NUL
 *
 * Print @text as a JSON string with its quotes. A byte that is not UTF-8
 * becomes U+FFFD.
 */
void text_print_json(FILE *stream, const char *text);

#endif /* VSER_TEXT_H */
