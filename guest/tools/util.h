/*
 * Every file of the tools includes this header first: common headers of the C
 * library, exit codes, messages, memory, small helpers
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_UTIL_H
#define VSER_UTIL_H

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARRAY_SIZE(array)   (sizeof(array) / sizeof((array)[0]))

/*
 * For a function with a format like printf()'s: the numbers of the format and
 * of the first value among the parameters, from 1
 */
#define PRINTF(string, first) __attribute__((format(printf, string, first)))

/* Tests use GLib, which has a MIN too */
#ifndef MIN
#define MIN(a, b)           ((a) < (b) ? (a) : (b))
#endif

/* The exit codes other than EXIT_SUCCESS; vser(1) lists them too */
enum {
    VSER_FAILED = 1,        /* the operation failed; a message says how */
    VSER_USAGE = 2,         /* the command line is wrong */
    VSER_NO_PORT = 3,       /* no port matches, or no port came in time */
    VSER_AMBIGUOUS = 4,     /* more than one port matches */
    VSER_UNPLUGGED = 5,     /* the port went while it was in use */
};

/* Print "vser: MESSAGE" and a newline on stderr; control characters escaped. */
void vser_error(const char *fmt, ...) PRINTF(1, 2);

/* Print the version, for --version. */
void vser_print_version(void);

/* realloc() and strdup() that end the program if there is no memory */
void *vser_realloc(void *old, size_t size);
char *vser_strdup(const char *text);

/* The time of the monotonic clock, in ms */
int64_t now_ms(void);

/* A little-endian number of 2 bytes at @p */
static inline uint16_t get_le16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

/* A little-endian number of @size bytes at @p, at most 4 */
static inline uint32_t get_le(const uint8_t *p, size_t size)
{
    uint32_t value = 0;

    while (size-- > 0) {
        value = value << 8 | p[size];
    }
    return value;
}

#endif /* VSER_UTIL_H */
