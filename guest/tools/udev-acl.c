/*
 * vser udev-acl: take away the access list of a node, for a udev rule
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <sys/stat.h>
#include <sys/xattr.h>
#include "commands.h"
#include "options.h"

static const char udev_acl_help[] =
    "usage: vser udev-acl NODE MODE\n"
    "\n"
    "Take away the access list of a device node, which is left with that octal\n"
    "mode, for a udev rule:\n"
    "\n"
    "  RUN+=\"vser udev-acl $devnode 0600\"\n"
    "\n"
    "udev gives one to the user of the seat where a device is tagged uaccess,\n"
    "and leaves it there when the tag has gone.\n"
    "\n"
    "Exit status: 0, also where there is none.\n";

/*
 * With a list, the group's part of the mode is the limit for all that the list
 * names; without it, that is what the group may. So the list does not go alone.
 * Returns: false and errno, which is ENODATA where there is none.
 */
static bool take_away(const char *path, mode_t mode)
{
    return removexattr(path, "system.posix_acl_access") == 0 &&
           chmod(path, mode) == 0;
}

int vser_udev_acl(int argc, char **argv)
{
    unsigned long mode;
    char *end;
    int status;

    if (!options_parse_help(argc, argv, udev_acl_help, &status)) {
        return status;
    }
    if (argc - optind != 2) {
        vser_error("vser udev-acl takes NODE and MODE;"
                   " see vser udev-acl --help");
        return VSER_USAGE;
    }
    mode = strtoul(argv[optind + 1], &end, 8);
    if (!isdigit((unsigned char)*argv[optind + 1]) || *end || mode > 0777) {
        vser_error("'%s': expected an octal mode, as in 0600",
                   argv[optind + 1]);
        return VSER_USAGE;
    }
    if (!take_away(argv[optind], mode) && errno != ENODATA &&
        errno != ENOTSUP && errno != ENOENT) {
        vser_error("%s: its access list: %s", argv[optind], strerror(errno));
        return VSER_FAILED;
    }
    return EXIT_SUCCESS;
}
