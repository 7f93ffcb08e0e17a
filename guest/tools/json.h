/*
 * A writer of indented JSON, which adds commas and brackets by itself
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_JSON_H
#define VSER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH 16

typedef struct Json {
    FILE *stream;
    unsigned int depth;             /* how many objects and arrays are open */
    struct {
        char end;                   /* '}' or ']' */
        bool empty;
        bool in_line;               /* all members in one line */
    } open[JSON_DEPTH];
} Json;

/*
 * Begin an object or an array; at most JSON_DEPTH are open at a time. In all
 * functions below, @key is NULL in an array and at the start. An inline object
 * stands in one line.
 */
void json_object(Json *json, const char *key);
void json_object_inline(Json *json, const char *key);
void json_array(Json *json, const char *key);

/* End objects and arrays until @depth are open */
void json_end(Json *json, unsigned int depth);

/* A string from the host; null if it is empty or NULL */
void json_text(Json *json, const char *key, const char *text);

/* A number, or a number as a string of hexadecimal digits */
void json_number(Json *json, const char *key, uint32_t number);
void json_hex(Json *json, const char *key, uint32_t number, int digits);

/* Bytes as a string, two hexadecimal digits for each byte */
void json_bytes(Json *json, const char *key, const uint8_t *bytes,
                size_t length);

#endif /* VSER_JSON_H */
