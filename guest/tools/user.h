/*
 * Run a program as another user
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_USER_H
#define VSER_USER_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct User {
    const char *name;
    uid_t uid;
    gid_t gid;
    char *home, *shell;
} User;

/**
 * user_find:
 * @name: the user's name, not a number
 * @user: filled, never freed; points to @name
 *
 * Returns: false, after a message on stderr, if there is no such user, or if
 * the user is root.
 */
bool user_find(const char *name, User *user);

/**
 * user_become:
 * @user: from user_find()
 *
 * Make this process a process of @user for good, with that user's groups, HOME,
 * USER, LOGNAME and SHELL.
 *
 * Returns: false, after a message on stderr, on failure. Some of it may be done
 * then: the process has to end.
 */
bool user_become(const User *user);

#endif /* VSER_USER_H */
