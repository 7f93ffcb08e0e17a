/*
 * The options of a command that has no option but --help
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "options.h"

bool options_parse_help(int argc, char **argv, const char *help, int *status)
{
    static const struct option only_help[] = {
        { "help", no_argument, NULL, 'h' },
        { 0 }
    };

    switch (getopt_long(argc, argv, "h", only_help, NULL)) {
    case -1:
        return true;
    case 'h':
        fputs(help, stdout);
        *status = EXIT_SUCCESS;
        return false;
    default:
        *status = VSER_USAGE;
        return false;
    }
}
