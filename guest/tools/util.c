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

void vser_error(const char *fmt, ...)
{
    char *message;
    va_list ap;
    int length;

    va_start(ap, fmt);
    length = vasprintf(&message, fmt, ap);
    va_end(ap);
    fputs("vser: ", stderr);
    text_print(stderr, length < 0 ? fmt : message);
    putc('\n', stderr);
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
