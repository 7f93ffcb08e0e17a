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
    "Take away the access list of a device node, and give the node that octal\n"
    "mode, for a udev rule:\n"
    "\n"
    "  RUN+=\"vser udev-acl $devnode 0600\"\n"
    "\n"
    "udev gives an access list to a device with the tag uaccess, for the user\n"
    "of the seat. When the device loses the tag, udev leaves the list there.\n"
    "\n"
    "Exit status: 0, also if there is no access list; 1 failed; 2 usage.\n";

/*
 * With an access list, the group's bits of the mode are the limit for everybody
 * on the list; without a list, they are what the group may do. So the mode is
 * set when the list goes. Returns: false and errno; ENODATA: there is no list.
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
