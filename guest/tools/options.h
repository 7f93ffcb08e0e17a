/*
 * The options of a command that has no option but --help
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_OPTIONS_H
#define VSER_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>

/**
 * options_parse_help:
 * @argc: as main() has it
 * @argv: as main() has it; the arguments without "-" begin at optind then
 * @help: the usage text, which --help prints on stdout
 * @status: set to the exit code if the command has to end
 *
 * Returns: false if the command has to end, after --help or after a message on
 * stderr about an option that is not --help.
 */
bool options_parse_help(int argc, char **argv, const char *help, int *status);

#endif /* VSER_OPTIONS_H */
