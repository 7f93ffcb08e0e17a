/*
 * Copy the input of a terminal to stdout, slowly
 *
 *   slowread TERMINAL BYTES MICROSECONDS [ANSWER]
 *
 * sets TERMINAL to raw mode, reads at most BYTES at a time, and pauses for
 * MICROSECONDS after each read. After the first read, ANSWER is written to
 * TERMINAL.
 *
 * Runs in a guest, statically linked.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char bytes[1 << 16];
    struct termios mode;
    size_t most;
    ssize_t n;
    int fd;

    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: slowread TERMINAL BYTES MICROSECONDS "
                "[ANSWER]\n");
        return 2;
    }
    most = strtoul(argv[2], NULL, 10);
    if (most == 0 || most > sizeof(bytes)) {
        fprintf(stderr, "slowread: expected 1 to %zu bytes\n", sizeof(bytes));
        return 2;
    }
    fd = open(argv[1], O_RDWR | O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &mode)) {
        perror(argv[1]);
        return 1;
    }
    cfmakeraw(&mode);
    if (tcsetattr(fd, TCSANOW, &mode)) {
        perror(argv[1]);
        return 1;
    }
    while ((n = read(fd, bytes, most)) > 0) {
        if (write(1, bytes, n) != n) {
            return 1;
        }
        if (argc == 5) {
            n = strlen(argv[4]);
            if (write(fd, argv[4], n) != n) {
                return 1;
            }
            argc = 4;
        }
        usleep(strtoul(argv[3], NULL, 10));
    }
    return n < 0;
}
