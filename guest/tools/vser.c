/*
 * vser: find and use virtio-serial ports by their USB descriptors
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <fcntl.h>
#include <unistd.h>
#include "commands.h"
#include "text.h"

typedef struct Command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} Command;

static const Command commands[] = {
    { "list", vser_list, "show the ports that have descriptors (lsvser)" },
    { "connect", vser_connect, "connect stdin and stdout, or a program, "
                               "to a port" },
    { "monitor", vser_monitor, "print a line for each port that comes or "
                               "goes" },
    { "usb", vser_usb, "plug a port into this guest's USB stack" },
    { "daemon", vser_daemon, "learn descriptors for a driver that knows none" },
    { "udev-id", vser_udev_id, "print a port's properties for a udev rule" },
    { "udev-acl", vser_udev_acl, "take away a node's access list for a rule" },
};

static int vser_help(FILE *stream)
{
    size_t i;

    fputs("usage: vser COMMAND [ARGUMENT...]\n"
          "       vser COMMAND --help\n"
          "       vser --version\n"
          "\n"
          "Find and use virtio-serial ports by their USB descriptors.\n"
          "\n", stream);
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        fprintf(stream, "  %-9s %s\n", commands[i].name, commands[i].help);
    }
    return stream == stdout ? EXIT_SUCCESS : VSER_USAGE;
}

static int vser_run(int argc, char **argv)
{
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    size_t i;

    if (argc && strcmp(slash ? slash + 1 : argv[0], "lsvser") == 0) {
        return vser_list(argc, argv);
    }
    if (argc < 2) {
        return vser_help(stderr);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return vser_help(stdout);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        vser_print_version();
        return EXIT_SUCCESS;
    }
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            static char title[32];

            /* Messages of getopt() begin with argv[0] */
            snprintf(title, sizeof(title), "vser %s", argv[1]);
            argv[1] = title;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    vser_error("no command '%s'; see vser --help", argv[1]);
    return VSER_USAGE;
}

/*
 * If the caller has closed stdin, stdout or stderr, as with "<&-", the first
 * file that we open would take its place. So open /dev/null there, in a mode in
 * which reading stdin, or writing stdout or stderr, still fails.
 */
static void reserve_standard_files(void)
{
    int fd;

    for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

int main(int argc, char **argv)
{
    int ret;

    reserve_standard_files();
    ret = vser_run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        vser_error("stdout: %s", strerror(errno));
        return ret ? ret : VSER_FAILED;
    }
    return ret;
}
