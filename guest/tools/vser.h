/*
 * vser: its commands and its exit codes
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_H
#define VSER_H

#include <stddef.h>

/* Besides EXIT_SUCCESS; vser(1) has them too */
enum {
    VSER_FAILED = 1,        /* the operation failed; a message says how */
    VSER_USAGE = 2,         /* the command line is wrong */
    VSER_NO_PORT = 3,       /* no port matches, or none did in time */
    VSER_AMBIGUOUS = 4,     /* more than one port matches */
    VSER_UNPLUGGED = 5,     /* the port went while it was in use */
};

/* Print "vser: MESSAGE" and a newline on stderr; control characters escaped. */
void vser_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Print what --version does. */
void vser_print_version(void);

/* realloc() and strdup() that end the program where there is no memory */
void *vser_realloc(void *old, size_t size);
char *vser_strdup(const char *text);

/*
 * The commands. Each gets its own name as argv[0], parses its options with
 * getopt_long() and returns the exit code.
 */
int vser_list(int argc, char **argv);
int vser_connect(int argc, char **argv);
int vser_daemon(int argc, char **argv);
int vser_udev_id(int argc, char **argv);
int vser_usb(int argc, char **argv);

#endif /* VSER_H */
