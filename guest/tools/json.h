/*
 * JSON on its way out, indented; commas and brackets come by themselves
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
    unsigned int depth;             /* how many are open */
    struct {
        char end;                   /* '}' or ']' */
        bool empty;
        bool in_line;               /* all of it in one line */
    } open[JSON_DEPTH];
} Json;

/*
 * Begin an object or an array, JSON_DEPTH of them in each other at most. In all
 * of these @key is NULL in an array and at the start. An object that is inline
 * stands in one line.
 */
void json_object(Json *json, const char *key);
void json_object_inline(Json *json, const char *key);
void json_array(Json *json, const char *key);

/* End what was begun, up to where there are @depth */
void json_end(Json *json, unsigned int depth);

/* A string from the host; null if it is empty or NULL */
void json_text(Json *json, const char *key, const char *text);

/* A number, or one as a string of hexadecimal digits */
void json_number(Json *json, const char *key, uint32_t number);
void json_hex(Json *json, const char *key, uint32_t number, int digits);

/* Bytes as a string of two digits each */
void json_bytes(Json *json, const char *key, const uint8_t *bytes,
                size_t length);

#endif /* VSER_JSON_H */
