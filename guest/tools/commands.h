/*
 * The commands of vser
 *
 * A command gets its own name as argv[0], parses its options with getopt_long()
 * and returns the exit code (util.h).
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_COMMANDS_H
#define VSER_COMMANDS_H

int vser_list(int argc, char **argv);
int vser_connect(int argc, char **argv);
int vser_daemon(int argc, char **argv);
int vser_monitor(int argc, char **argv);
int vser_udev_id(int argc, char **argv);
int vser_udev_acl(int argc, char **argv);
int vser_usb(int argc, char **argv);

#endif /* VSER_COMMANDS_H */
