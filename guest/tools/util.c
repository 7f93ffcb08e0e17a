/*
 * Messages, memory, time
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <time.h>
#include "text.h"

static void print_message(FILE *out, const char *text)
{
    fputs("vser: ", out);
    text_print(out, text);
    putc('\n', out);
}

void vser_error(const char *fmt, ...)
{
    char *message, *line = NULL;
    bool in_one = false;
    const char *text;
    size_t size;
    FILE *out;
    va_list ap;
    int length;

    va_start(ap, fmt);
    length = vasprintf(&message, fmt, ap);
    va_end(ap);
    text = length < 0 ? fmt : message;
    /* stderr has no buffer: each character of a message would be a write */
    out = open_memstream(&line, &size);
    if (out) {
        print_message(out, text);
        in_one = fclose(out) == 0;
    }
    if (in_one) {
        fwrite(line, 1, size, stderr);
    } else {
        print_message(stderr, text);
    }
    free(line);
    if (length >= 0) {
        free(message);
    }
}

void vser_print_version(void)
{
    printf("vser %s\n", VSER_VERSION);
}

void *vser_realloc(void *old, size_t size)
{
    void *block = realloc(old, size ? size : 1);

    if (!block) {
        vser_error("out of memory");
        exit(VSER_FAILED);
    }
    return block;
}

char *vser_strdup(const char *text)
{
    return strcpy(vser_realloc(NULL, strlen(text) + 1), text);
}

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}
