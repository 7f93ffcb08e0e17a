/*
 * vser daemon: learn descriptors for a driver that knows none
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "file.h"
#include "paths.h"
#include "port.h"
#include "records.h"
#include "store.h"
#include "uevent.h"
#include "vser.h"

/* The ports that speak records have names that begin so */
#define DESC_PORT_PREFIX    "org.qemu.virtio-serial-desc."

/* A controller has at most 511 ports */
#define ENTRIES_MAX         512

/* How long to leave a port alone that could not be used, in ms */
#define BACKOFF_MIN         100
#define BACKOFF_MAX         60000

/* How many times to read a port to its end: there may be none */
#define READS_MAX           16

/* How much is said about one opening of a port: the host may never end */
#define COMPLAINTS_MAX      16

/*
 * How often udev may be made to look at ports, for each controller: so many
 * times at once, then so many in a second. Where a host wants more, its port is
 * not read for a while.
 */
#define CHANGES_BURST       1024
#define CHANGES_PER_SECOND  20

/* The service is ready when the snapshots are there, or after that, in ms */
#define READY_TIMEOUT       5000

/* A port of which the store has an entry, in the controller's part of it */
typedef struct Entry {
    uint32_t id;
    bool confirmed;             /* since the snapshot began */
} Entry;

/* A port that speaks records, and what it said of its controller's ports */
typedef struct DescPort {
    char name[32];
    unsigned int device;        /* the controller: 2 of vport2p7 */
    int fd;                     /* -1: closed, until retry_at */
    int64_t retry_at;
    int64_t opened_at;
    int64_t backoff;
    bool host_closed;           /* and epoll is to tell of changes only */
    bool paused;                /* not read until retry_at */
    int changes;                /* that udev may still be told of */
    int64_t changes_at;         /* when that was counted */
    bool snapshot_done;         /* once, at least */
    unsigned int complaints;    /* since it was opened */
    char last_failure[256];     /* what was said last about opening it */
    Records records;
    size_t entries;
    Entry entry[ENTRIES_MAX];
} DescPort;

typedef struct Daemon {
    char **only;                /* the user's ports; NULL: all by name */
    int epoll, uevent;
    DescPort **port;
    size_t ports;
} Daemon;

/* In ms */
static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void __attribute__((format(printf, 2, 3)))
complain(DescPort *dp, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (dp->complaints > COMPLAINTS_MAX) {
        return;
    }
    if (dp->complaints++ == COMPLAINTS_MAX) {
        snprintf(text, sizeof(text),
                 "no more is said until it is opened again");
    } else {
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
    }
    vser_error("%s: %s", dp->name, text);
}

static DescPort *desc_port_of(const Daemon *d, unsigned int device)
{
    size_t i;

    for (i = 0; i < d->ports; i++) {
        if (d->port[i]->device == device) {
            return d->port[i];
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------ */
/* The store */

static void entry_name(const DescPort *dp, uint32_t id, char name[32])
{
    snprintf(name, 32, "vport%up%u", dp->device, id);
}

/*
 * Have udev look at a port again. If it is not there yet, its own first event
 * comes after what is in the store.
 */
static void tell_udev(DescPort *dp, const char *name)
{
    static const char change[] = "change";
    char path[PATH_MAX];
    int fd;

    if (dp) {
        dp->changes--;
    }
    snprintf(path, sizeof(path), "%s/%s/uevent", VSER_SYSFS, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, change, strlen(change)) < 0) {
        if (errno != ENOENT && errno != ENODEV) {
            vser_error("%s: %s", path, strerror(errno));
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

static Entry *entry_find(DescPort *dp, uint32_t id)
{
    size_t i;

    for (i = 0; i < dp->entries; i++) {
        if (dp->entry[i].id == id) {
            return &dp->entry[i];
        }
    }
    return NULL;
}

static void entry_remove(DescPort *dp, Entry *entry)
{
    char name[32];

    entry_name(dp, entry->id, name);
    *entry = dp->entry[--dp->entries];
    if (store_remove(name) == 1) {
        tell_udev(dp, name);
    }
}

static void entries_remove(DescPort *dp, bool confirmed_too)
{
    size_t i = 0;

    while (i < dp->entries) {
        if (!dp->entry[i].confirmed || confirmed_too) {
            /* Another one takes its place */
            entry_remove(dp, &dp->entry[i]);
        } else {
            i++;
        }
    }
}

/* A snapshot begins: what it does not confirm is not true any more */
static void entries_doubt(DescPort *dp)
{
    size_t i;

    for (i = 0; i < dp->entries; i++) {
        dp->entry[i].confirmed = false;
    }
}

/*
 * What an earlier daemon left is for @dp to confirm if it is about @dp's
 * controller. With @dp NULL: for all ports; and what no port can confirm goes.
 * Returns false, after a message, if there is no store.
 */
static bool adopt_store(Daemon *d, DescPort *dp)
{
    DIR *dir = store_open();
    struct dirent *file;

    if (!dir) {
        return false;
    }
    while ((file = readdir(dir))) {
        unsigned int device, id;
        DescPort *owner;

        if (!port_name_parse(file->d_name, &device, &id)) {
            continue;
        }
        owner = desc_port_of(d, device);
        if (dp ? owner != dp : !owner && d->only) {
            continue;
        }
        if (owner && owner->entries < ENTRIES_MAX) {
            owner->entry[owner->entries++] = (Entry) { .id = id };
        } else if (store_remove(file->d_name) == 1) {
            tell_udev(owner, file->d_name);
        }
    }
    closedir(dir);
    return true;
}

/* ------------------------------------------------------------------ */
/* Records */

static void learn(DescPort *dp, const Record *record)
{
    VirtIOSerialDescError err;
    Entry *entry = entry_find(dp, record->id);
    char name[32];
    int put;

    entry_name(dp, record->id, name);
    if (!virtio_serial_desc_check(record->blob, record->length, &err)) {
        complain(dp, "no well-formed descriptor for %s: %s", name, err.text);
    } else if (!entry && dp->entries == ENTRIES_MAX) {
        complain(dp, "%s ignored: more than %u ports", name, ENTRIES_MAX);
    } else {
        put = store_put(name, record->blob, record->length);
        if (put >= 0) {
            if (!entry) {
                entry = &dp->entry[dp->entries++];
            }
            *entry = (Entry) { .id = record->id, .confirmed = true };
            if (put > 0) {
                tell_udev(dp, name);
            }
            return;
        }
    }
    if (entry) {
        entry_remove(dp, entry);
    }
}

static void handle_record(DescPort *dp, RecordType type, const Record *record)
{
    Entry *entry;

    switch (type) {
    case RECORD_DESC:
        learn(dp, record);
        break;
    case RECORD_GONE:
        entry = entry_find(dp, record->id);
        if (entry) {
            entry_remove(dp, entry);
        }
        break;
    default:
        entries_remove(dp, false);
        /*
         * If there is another end without a beginning, the device was reset
         * and has begun anew, as when the guest had slept.
         */
        entries_doubt(dp);
        dp->snapshot_done = true;
    }
}

/* ------------------------------------------------------------------ */
/* Ports that speak records */

static void desc_port_close(DescPort *dp)
{
    if (dp->fd >= 0) {
        close(dp->fd);
        dp->fd = -1;
        dp->paused = false;
    }
}

/* It can't be used now: try again later, and later still each time */
static void desc_port_retry(DescPort *dp)
{
    if (dp->backoff == 0 ||
        (dp->fd >= 0 && now() - dp->opened_at > BACKOFF_MAX)) {
        dp->backoff = BACKOFF_MIN;
    }
    desc_port_close(dp);
    dp->retry_at = now() + dp->backoff;
    dp->backoff = dp->backoff * 2 < BACKOFF_MAX ? dp->backoff * 2 : BACKOFF_MAX;
}

/* Opening it brings a new snapshot */
static void desc_port_ask_again(DescPort *dp)
{
    if (dp->fd >= 0 && !dp->paused) {
        desc_port_close(dp);
        dp->retry_at = now();
    }
}

/*
 * epoll would return for ever for a port that the host has closed: then it is
 * to tell of changes only. While the host has it open, epoll is to return as
 * long as there are bytes, so that all ports have their turn.
 */
static int desc_port_listen(Daemon *d, DescPort *dp, int operation)
{
    struct epoll_event e = {
        .events = EPOLLIN | (dp->host_closed ? EPOLLET : 0), .data.ptr = dp,
    };

    return epoll_ctl(d->epoll, operation, dp->fd, &e);
}

static void desc_port_set_closed(Daemon *d, DescPort *dp, bool closed)
{
    if (dp->host_closed != closed) {
        dp->host_closed = closed;
        desc_port_listen(d, dp, EPOLL_CTL_MOD);
    }
}

static void desc_port_open(Daemon *d, DescPort *dp)
{
    char path[PATH_MAX], failure[sizeof(dp->last_failure)];

    dp->host_closed = false;
    snprintf(path, sizeof(path), "%s/%s", VSER_DEV, dp->name);
    dp->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (dp->fd < 0 || desc_port_listen(d, dp, EPOLL_CTL_ADD) < 0) {
        bool gone = errno == ENODEV || errno == ENXIO || errno == ENOENT;

        snprintf(failure, sizeof(failure), "%s", strerror(errno));
        desc_port_close(dp);
        /* The kernel will say that it is gone, or udev make its node */
        if (!gone && strcmp(failure, dp->last_failure) != 0) {
            vser_error("%s: %s; trying again", path, failure);
            strcpy(dp->last_failure, failure);
        }
        desc_port_retry(dp);
        return;
    }
    dp->last_failure[0] = '\0';
    dp->opened_at = now();
    dp->complaints = 0;
    records_reset(&dp->records);
    entries_doubt(dp);
}

/* Leave the port alone if udev has got more to do from it than it should */
static void limit_changes(Daemon *d, DescPort *dp)
{
    int64_t earned = (now() - dp->changes_at) * CHANGES_PER_SECOND / 1000;

    if (earned > 0) {
        dp->changes_at = now();
        dp->changes = earned < CHANGES_BURST - dp->changes ?
                      dp->changes + (int)earned : CHANGES_BURST;
    }
    if (dp->changes < 0 && dp->fd >= 0) {
        complain(dp, "too many changes; slowing down");
        dp->paused = true;
        dp->retry_at = now() - dp->changes * 1000 / CHANGES_PER_SECOND;
        epoll_ctl(d->epoll, EPOLL_CTL_DEL, dp->fd, NULL);
    }
}

/* Take what has come, at most a buffer of it; returns whether any had */
static bool desc_port_read(Daemon *d, DescPort *dp)
{
    static uint8_t buffer[65536];
    const uint8_t *data = buffer;
    ssize_t got = read(dp->fd, buffer, sizeof(buffer));
    VirtIOSerialDescError err;
    RecordType type;
    Record record;
    size_t length;

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        desc_port_set_closed(d, dp, false);
        return false;
    }
    if (got < 0) {
        /* Of a port that has gone the kernel says so in another place */
        if (errno != ENODEV) {
            complain(dp, "%s", strerror(errno));
        }
        desc_port_retry(dp);
        return false;
    }
    if (got == 0) {
        /* What the host had begun it will not go on with */
        records_reset(&dp->records);
        entries_doubt(dp);
        desc_port_set_closed(d, dp, true);
        return false;
    }
    desc_port_set_closed(d, dp, false);

    length = got;
    while ((type = records_next(&dp->records, &data, &length, &record, &err))
           != RECORD_MORE) {
        if (type == RECORD_MALFORMED) {
            complain(dp, "malformed record: %s; opening it again", err.text);
            desc_port_retry(dp);
            return false;
        }
        handle_record(dp, type, &record);
    }
    limit_changes(d, dp);
    return true;
}

/* Is it a port that speaks records? */
static bool is_desc_port(const Daemon *d, const char *name)
{
    char path[PATH_MAX], says[4096];
    char **only;

    for (only = d->only; only && *only; only++) {
        if (strcmp(*only, name) == 0) {
            return true;
        }
    }
    snprintf(path, sizeof(path), "%s/%s/name", VSER_SYSFS, name);
    return !d->only && file_read_line(path, says, sizeof(says)) > 0 &&
           strncmp(says, DESC_PORT_PREFIX, strlen(DESC_PORT_PREFIX)) == 0;
}

/* A port is there: use it if it speaks records, as its controller's first */
static DescPort *consider(Daemon *d, const char *name)
{
    unsigned int device, id;
    DescPort *dp;

    if (!port_name_parse(name, &device, &id) || desc_port_of(d, device) ||
        !is_desc_port(d, name)) {
        return NULL;
    }
    dp = vser_realloc(NULL, sizeof(*dp));
    memset(dp, 0, sizeof(*dp));
    snprintf(dp->name, sizeof(dp->name), "%s", name);
    dp->device = device;
    dp->fd = -1;
    dp->changes = CHANGES_BURST;
    dp->changes_at = now();
    d->port = vser_realloc(d->port, (d->ports + 1) * sizeof(*d->port));
    d->port[d->ports++] = dp;
    return dp;
}

static void consider_all(Daemon *d, bool adopt)
{
    size_t count, i;
    char **names = port_names(&count);

    for (i = 0; i < count; i++) {
        DescPort *dp = consider(d, names[i]);

        if (dp && adopt) {
            adopt_store(d, dp);
        }
        free(names[i]);
    }
    free(names);
}

/* The port is gone, and with it what it said. Another may take its place. */
static void desc_port_gone(Daemon *d, DescPort *dp)
{
    size_t i;

    desc_port_close(dp);
    entries_remove(dp, true);
    for (i = 0; d->port[i] != dp; i++) {
        /* find it */
    }
    d->port[i] = d->port[--d->ports];
    free(dp);
    consider_all(d, true);
}

/* ------------------------------------------------------------------ */
/* The kernel's events */

/*
 * A port is gone from the guest. If its controller has not said so yet, what
 * is in the store is about the one that went, or about the next one that has
 * its number: that is found out by asking for everything once more.
 */
static void port_removed(Daemon *d, const Uevent *event)
{
    unsigned int device = 0, id = 0;
    DescPort *dp;
    Entry *entry;
    int i;

    port_name_parse(event->port, &device, &id);
    dp = desc_port_of(d, device);
    if (!dp) {
        return;
    }
    if (strcmp(dp->name, event->port) == 0) {
        desc_port_gone(d, dp);
        return;
    }
    for (i = 0; i < READS_MAX && dp->fd >= 0 && !dp->paused; i++) {
        if (!desc_port_read(d, dp)) {
            break;
        }
    }
    entry = entry_find(dp, id);
    if (entry) {
        entry_remove(dp, entry);
        desc_port_ask_again(dp);
    }
}

/* Events were lost: look for ports that went and came, and ask all others */
static void look_again(Daemon *d)
{
    size_t i = 0;

    while (i < d->ports) {
        DescPort *dp = d->port[i];
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", VSER_SYSFS, dp->name);
        if (access(path, F_OK) < 0) {
            desc_port_gone(d, dp);      /* another one takes its place */
        } else {
            desc_port_ask_again(dp);
            i++;
        }
    }
    consider_all(d, true);
}

static void read_uevents(Daemon *d)
{
    UeventResult result;
    Uevent event;
    DescPort *dp;

    while ((result = uevent_next(d->uevent, &event)) != UEVENT_NONE) {
        if (result == UEVENT_LOST) {
            look_again(d);
        } else if (event.removed) {
            port_removed(d, &event);
        } else {
            dp = consider(d, event.port);
            if (dp) {
                adopt_store(d, dp);
            }
        }
    }
}

/* ------------------------------------------------------------------ */
/* The service manager */

/* sd_notify(3), which is one datagram */
static void notify_ready(void)
{
    static const char ready[] = "READY=1";
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd;

    if (!path || !*path || strlen(path) >= sizeof(address.sun_path)) {
        return;
    }
    strcpy(address.sun_path, path);
    if (*path == '@') {
        address.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, ready, strlen(ready), 0,
                         (struct sockaddr *)&address,
                         offsetof(struct sockaddr_un, sun_path) +
                         strlen(path)) < 0) {
        vser_error("NOTIFY_SOCKET: %s", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

static bool snapshots_done(const Daemon *d)
{
    size_t i;

    for (i = 0; i < d->ports; i++) {
        if (!d->port[i]->snapshot_done) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ */

/* Open, or read again, what is due; returns when the next one is, by now() */
static int64_t open_due(Daemon *d)
{
    int64_t next = INT64_MAX;
    size_t i;

    for (i = 0; i < d->ports; i++) {
        DescPort *dp = d->port[i];
        bool due = dp->retry_at <= now();

        if (dp->fd < 0 && due) {
            desc_port_open(d, dp);
        } else if (dp->paused && due) {
            dp->paused = false;
            desc_port_listen(d, dp, EPOLL_CTL_ADD);
        }
        if ((dp->fd < 0 || dp->paused) && dp->retry_at < next) {
            next = dp->retry_at;
        }
    }
    return next;
}

static void run(Daemon *d)
{
    int64_t ready_at = now() + READY_TIMEOUT;
    bool ready = false;

    for (;;) {
        int64_t next = open_due(d);
        struct epoll_event e;
        DescPort *dp;

        if (!ready && (snapshots_done(d) || now() >= ready_at)) {
            notify_ready();
            ready = true;
        }
        if (!ready && ready_at < next) {
            next = ready_at;
        }
        /* One at a time: what is done about it may close another */
        if (epoll_wait(d->epoll, &e, 1, next == INT64_MAX ? -1 :
                       next > now() ? (int)(next - now()) : 0) <= 0) {
            continue;
        }
        dp = e.data.ptr;
        if (!dp) {
            read_uevents(d);
        } else {
            desc_port_read(d, dp);
        }
    }
}

static const char help[] =
    "usage: vser daemon [PORT...]\n"
    "\n"
    "Keep what QEMU says on virtserialdesc ports, for drivers that do not\n"
    "know descriptors: each port's under " VSER_STORE ",\n"
    "and have udev look at the port again when it changes.\n"
    "\n"
    "PORT is the name or the node of a port that speaks so, as in vport1p1;\n"
    "without any, every port whose name begins with\n"
    DESC_PORT_PREFIX " is one.\n";

int vser_daemon(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { 0 }
    };
    Daemon d = { 0 };
    struct epoll_event e = { .events = EPOLLIN };
    int c, i;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c != 'h') {
            return VSER_USAGE;
        }
        fputs(help, stdout);
        return EXIT_SUCCESS;
    }
    for (i = optind; i < argc; i++) {
        char *slash = strrchr(argv[i], '/');
        unsigned int device, id;

        d.only = argv + optind;
        argv[i] = slash ? slash + 1 : argv[i];
        if (!port_name_parse(argv[i], &device, &id)) {
            vser_error("'%s': expected a port's name, as in vport1p1", argv[i]);
            return VSER_USAGE;
        }
    }

    umask(022);
    d.epoll = epoll_create1(EPOLL_CLOEXEC);
    d.uevent = uevent_open();
    if (d.epoll < 0 || d.uevent < 0 ||
        epoll_ctl(d.epoll, EPOLL_CTL_ADD, d.uevent, &e) < 0) {
        vser_error("the kernel's events: %s", strerror(errno));
        return VSER_FAILED;
    }
    consider_all(&d, false);
    if (adopt_store(&d, NULL)) {
        run(&d);
    }
    return VSER_FAILED;
}
