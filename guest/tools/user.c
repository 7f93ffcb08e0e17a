/*
 * Run a program as another user
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <grp.h>
#include <pwd.h>
#include <unistd.h>
#include "user.h"

#ifdef VSER_STATIC

/* A static program may lack the C library's modules that find users */
bool user_find(const char *name, User *user)
{
    (void)user;
    vser_error("--user='%s': this vser is static and knows no users", name);
    return false;
}

bool user_become(const User *user)
{
    (void)user;
    return false;
}

#else

bool user_find(const char *name, User *user)
{
    struct passwd *found;

    if (!*name || !name[strspn(name, "0123456789")]) {
        vser_error("--user='%s': expected a user's name, not a number", name);
        return false;
    }
    errno = 0;
    found = getpwnam(name);
    if (!found) {
        vser_error("--user='%s': %s", name,
                   errno ? strerror(errno) : "no such user");
        return false;
    }
    if (found->pw_uid == 0) {
        vser_error("--user='%s': expected a user who is not root", name);
        return false;
    }
    *user = (User) {
        .name = name,
        .uid = found->pw_uid,
        .gid = found->pw_gid,
        .home = vser_strdup(found->pw_dir),
        .shell = vser_strdup(found->pw_shell),
    };
    return true;
}

bool user_become(const User *user)
{
    if (initgroups(user->name, user->gid) < 0 ||
        setgid(user->gid) < 0 || setuid(user->uid) < 0 ||
        setenv("HOME", user->home, 1) < 0 ||
        setenv("SHELL", user->shell, 1) < 0 ||
        setenv("USER", user->name, 1) < 0 ||
        setenv("LOGNAME", user->name, 1) < 0) {
        vser_error("--user='%s': %s", user->name, strerror(errno));
        return false;
    }
    return true;
}

#endif /* VSER_STATIC */
