/*
 * A writer of indented JSON
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <assert.h>
#include "json.h"
#include "text.h"

#define INDENT 2

static bool is_inline(const Json *json)
{
    return json->depth && json->open[json->depth - 1].in_line;
}

static void new_line(const Json *json)
{
    fprintf(json->stream, is_inline(json) ? " " : "\n%*s",
            (int)json->depth * INDENT, "");
}

/* A value follows */
static void json_begin_value(Json *json, const char *key)
{
    if (json->depth) {
        if (!json->open[json->depth - 1].empty) {
            putc(',', json->stream);
        }
        json->open[json->depth - 1].empty = false;
        new_line(json);
    }
    if (key) {
        fprintf(json->stream, "\"%s\": ", key);
    }
}

static void json_begin(Json *json, const char *key, const char *ends,
                       bool in_line)
{
    assert(json->depth < JSON_DEPTH);
    json_begin_value(json, key);
    putc(ends[0], json->stream);
    json->open[json->depth].end = ends[1];
    json->open[json->depth].empty = true;
    json->open[json->depth].in_line = in_line;
    json->depth++;
}

void json_object(Json *json, const char *key)
{
    json_begin(json, key, "{}", false);
}

void json_object_inline(Json *json, const char *key)
{
    json_begin(json, key, "{}", true);
}

void json_array(Json *json, const char *key)
{
    json_begin(json, key, "[]", false);
}

void json_end(Json *json, unsigned int depth)
{
    while (json->depth > depth) {
        bool empty = json->open[json->depth - 1].empty;
        bool in_line = is_inline(json);

        json->depth--;
        if (!empty && in_line) {
            putc(' ', json->stream);
        } else if (!empty) {
            new_line(json);
        }
        putc(json->open[json->depth].end, json->stream);
    }
    if (json->depth == 0) {
        putc('\n', json->stream);
    }
}

void json_text(Json *json, const char *key, const char *text)
{
    json_begin_value(json, key);
    if (text && *text) {
        text_print_json(json->stream, text);
    } else {
        fputs("null", json->stream);
    }
}

void json_number(Json *json, const char *key, uint32_t number)
{
    json_begin_value(json, key);
    fprintf(json->stream, "%" PRIu32, number);
}

void json_hex(Json *json, const char *key, uint32_t number, int digits)
{
    json_begin_value(json, key);
    fprintf(json->stream, "\"%0*" PRIx32 "\"", digits, number);
}

void json_bytes(Json *json, const char *key, const uint8_t *bytes,
                size_t length)
{
    size_t i;

    json_begin_value(json, key);
    putc('"', json->stream);
    for (i = 0; i < length; i++) {
        fprintf(json->stream, "%02x", bytes[i]);
    }
    putc('"', json->stream);
}
