/*
 * vser udev-acl: take away the access list of a node, for a udev rule
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <getopt.h>
#include <sys/xattr.h>
#include "commands.h"

static const char help[] =
    "usage: vser udev-acl NODE\n"
    "\n"
    "Take away the access list of a device node, for a udev rule:\n"
    "\n"
    "  RUN+=\"vser udev-acl $devnode\"\n"
    "\n"
    "udev gives one to the user of the seat where a device is tagged uaccess,\n"
    "and leaves it there when the tag has gone.\n"
    "\n"
    "Exit status: 0, also where there is none.\n";

int vser_udev_acl(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { 0 }
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c != 'h') {
            return VSER_USAGE;
        }
        fputs(help, stdout);
        return EXIT_SUCCESS;
    }
    if (argc - optind != 1) {
        vser_error("vser udev-acl takes one NODE; see vser udev-acl --help");
        return VSER_USAGE;
    }
    if (removexattr(argv[optind], "system.posix_acl_access") < 0 &&
        errno != ENODATA && errno != ENOTSUP && errno != ENOENT) {
        vser_error("%s: its access list: %s", argv[optind], strerror(errno));
        return VSER_FAILED;
    }
    return EXIT_SUCCESS;
}
