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

/* A controller has at most 511 ports */
#define ENTRIES_MAX         512

/* How long to leave a port alone that could not be used, in ms */
#define BACKOFF_MIN         100
#define BACKOFF_MAX         60000

/*
 * How many times to read a port to its end: there may be none. The device has
 * room for twice as many pieces: where that many came, some may not be there
 * yet.
 */
#define READS_MAX           64

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
    uint64_t instance;          /* whose it is (store.h) */
    uint64_t next_instance;     /* and is to be, once all records are read */
} Entry;

/* A port as the kernel had it at some time */
typedef struct KnownPort {
    uint32_t id;
    uint64_t instance;
} KnownPort;

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
    bool ended;                 /* a snapshot has, since it was opened */
    bool missed;                /* since then, what the store did not take */
    unsigned int reads;         /* since it was read to its end */
    unsigned int complaints;    /* since it was opened */
    char last_failure[256];     /* what was said last about opening it */
    Records records;
    size_t entries;
    Entry entry[ENTRIES_MAX];
    /* Those of which the host has said that they are gone, the last of each id */
    size_t gones;
    KnownPort gone[ENTRIES_MAX];
    /* Those that were there before it was opened */
    size_t olds;
    KnownPort old[ENTRIES_MAX];
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

/* Have udev look at a port again */
static void tell_udev(const char *name)
{
    static const char change[] = "change";
    char path[PATH_MAX];
    int fd;

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
    if (store_remove(name, entry->instance) == 1) {
        dp->changes--;
        if (entry->instance && entry->instance == port_instance(name)) {
            tell_udev(name);
        }
    }
    *entry = dp->entry[--dp->entries];
}

static KnownPort *gone_find(DescPort *dp, uint32_t id)
{
    size_t i;

    for (i = 0; i < dp->gones; i++) {
        if (dp->gone[i].id == id) {
            return &dp->gone[i];
        }
    }
    return NULL;
}

/* What the host says is gone is still there until the kernel has seen that */
static void gone_remember(DescPort *dp, const Entry *entry)
{
    KnownPort *gone = gone_find(dp, entry->id);

    if (!gone && dp->gones < ENTRIES_MAX) {
        gone = &dp->gone[dp->gones++];
    }
    if (gone) {
        *gone = (KnownPort) { entry->id, entry->instance };
    }
}

/*
 * Whose what the host says of a port may be: that of the port that is there,
 * if it did not go before that.
 */
static uint64_t instance_now(DescPort *dp, uint32_t id)
{
    KnownPort *gone = gone_find(dp, id);
    char name[32];
    uint64_t instance;

    entry_name(dp, id, name);
    instance = port_instance(name);
    return gone && gone->instance == instance ? 0 : instance;
}

/* Remember which ports the kernel has, before @dp is opened */
static void olds_remember(DescPort *dp)
{
    size_t count, i;
    char **names = port_names(&count);

    dp->olds = 0;
    for (i = 0; i < count; i++) {
        unsigned int device, id;

        port_name_parse(names[i], &device, &id);
        if (device == dp->device && dp->olds < ENTRIES_MAX) {
            dp->old[dp->olds++] = (KnownPort) { id, port_instance(names[i]) };
        }
        free(names[i]);
    }
    free(names);
}

static bool is_old(const DescPort *dp, uint32_t id, uint64_t instance)
{
    size_t i;

    for (i = 0; i < dp->olds; i++) {
        if (dp->old[i].id == id) {
            return dp->old[i].instance == instance;
        }
    }
    return false;
}

/*
 * All records are read. The device makes them before it tells the driver; so
 * none is left that would say of a port that was there before that, that it is
 * another one. If it had to wait (@behind) that is sure only of a port that was
 * there before this opening, as its record was made after that.
 *
 * Returns false if some could not be settled for that.
 */
static bool entries_settle(DescPort *dp, bool behind)
{
    bool all = true;
    size_t i = 0;

    while (i < dp->entries) {
        Entry *entry = &dp->entry[i];
        char name[32];

        if (entry->next_instance == entry->instance) {
            i++;
            continue;
        }
        if (behind && entry->next_instance &&
            !is_old(dp, entry->id, entry->next_instance)) {
            all = false;
            i++;
            continue;
        }
        entry_name(dp, entry->id, name);
        if (!store_move(name, entry->instance, entry->next_instance)) {
            entry_remove(dp, entry);    /* another one takes its place */
        } else {
            entry->instance = entry->next_instance;
            if (entry->instance) {
                tell_udev(name);
            }
            i++;
        }
    }
    return all;
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
 * The device was reset, as when the guest sleeps, and the driver may never hear
 * that a port went: what is there is what the host speaks of.
 */
static void forget_gone(DescPort *dp)
{
    size_t i;

    dp->gones = 0;
    for (i = 0; i < dp->entries; i++) {
        if (!dp->entry[i].instance) {
            dp->entry[i].next_instance = instance_now(dp, dp->entry[i].id);
        }
    }
}

/*
 * What an earlier daemon left is for @dp to confirm if it is about @dp's
 * controller. With @dp NULL: for all ports; and what no port can confirm goes.
 * So does what is about no port that is there: a snapshot will bring it.
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
        uint64_t instance;
        char name[32];
        DescPort *owner;
        bool known;

        if (!store_name_parse(file->d_name, name, &instance)) {
            continue;
        }
        port_name_parse(name, &device, &id);
        owner = desc_port_of(d, device);
        if (dp ? owner != dp : !owner && d->only) {
            continue;
        }
        known = instance && instance == port_instance(name);
        if (known && owner && owner->entries < ENTRIES_MAX) {
            owner->entry[owner->entries++] = (Entry) {
                .id = id, .instance = instance, .next_instance = instance,
            };
        } else if (store_remove(name, instance) == 1 && known) {
            tell_udev(name);
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
        put = store_put(name, entry ? entry->instance : 0, record->blob,
                        record->length);
        if (put >= 0) {
            if (!entry) {
                entry = &dp->entry[dp->entries++];
                *entry = (Entry) { .id = record->id };
            }
            if (put > 0) {
                dp->changes--;
                entry->instance = 0;
            }
            entry->confirmed = true;
            entry->next_instance = instance_now(dp, record->id);
            return;
        }
        /* As when the disk is full: another snapshot may find it better */
        complain(dp, "%s/%s: %s", VSER_STORE, name, strerror(errno));
        dp->missed = true;
        dp->changes--;
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
            if (entry->instance) {
                gone_remember(dp, entry);
            }
            entry_remove(dp, entry);
        }
        break;
    default:
        entries_remove(dp, false);
        if (dp->ended) {
            forget_gone(dp);
        }
        /*
         * If there is another end without a beginning, the device was reset
         * and has begun anew, as when the guest had slept.
         */
        entries_doubt(dp);
        dp->snapshot_done = dp->ended = true;
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

/* Opening it brings a new snapshot; one that is left alone still is */
static void desc_port_ask_again(DescPort *dp)
{
    if (dp->fd >= 0) {
        if (!dp->paused) {
            dp->retry_at = now();
        }
        desc_port_close(dp);
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
    size_t i;

    dp->host_closed = false;
    snprintf(path, sizeof(path), "%s/%s", VSER_DEV, dp->name);
    olds_remember(dp);
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
    dp->ended = dp->missed = false;
    dp->reads = 0;
    records_reset(&dp->records);
    entries_doubt(dp);
    for (i = 0; i < dp->entries; i++) {
        /* What would have been read before it was settled is lost */
        dp->entry[i].next_instance = dp->entry[i].instance;
    }
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

/*
 * The port is read to its end, for now. If it held so much that the device had
 * to wait, what is owed is still to come: a snapshot is what is so.
 */
static void desc_port_at_end(DescPort *dp)
{
    bool behind = dp->reads > READS_MAX;

    if (!entries_settle(dp, behind) && dp->ended) {
        desc_port_ask_again(dp);
    }
    if (dp->ended || !behind) {
        dp->reads = 0;
    }
    if (dp->ended && dp->missed) {
        desc_port_retry(dp);
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
        bool at_end = errno == EAGAIN;

        desc_port_set_closed(d, dp, false);
        if (at_end) {
            desc_port_at_end(dp);
        }
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
        desc_port_set_closed(d, dp, true);
        records_reset(&dp->records);
        entries_settle(dp, false);
        entries_doubt(dp);
        dp->ended = false;
        return false;
    }
    desc_port_set_closed(d, dp, false);
    dp->reads++;

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

/* Take all that has come; a host may not let others have their turn */
static void desc_port_drain(Daemon *d, DescPort *dp)
{
    int i;

    for (i = 0; i < READS_MAX && dp->fd >= 0 && !dp->paused; i++) {
        if (!desc_port_read(d, dp)) {
            break;
        }
    }
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
           strncmp(says, VIRTIO_SERIAL_DESC_PORT_PREFIX,
                   strlen(VIRTIO_SERIAL_DESC_PORT_PREFIX)) == 0;
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
 * A port came, changed or went. Where that is our own doing, there is nothing
 * to do. If it came after its record, the record is its own unless there is
 * another. If it is not the one that the store's entry is about, even when all
 * records are read, asking for everything once more tells what it is.
 */
static void port_event(Daemon *d, const Uevent *event)
{
    unsigned int device = 0, id = 0;
    DescPort *dp;
    Entry *entry;

    port_name_parse(event->port, &device, &id);
    dp = desc_port_of(d, device);
    if (!dp) {
        return;
    }
    if (event->removed && strcmp(dp->name, event->port) == 0) {
        desc_port_gone(d, dp);
        return;
    }
    entry = entry_find(dp, id);
    if (!entry || entry->instance == port_instance(event->port)) {
        return;
    }
    if (!entry->instance) {
        entry->next_instance = instance_now(dp, id);
    }
    desc_port_drain(d, dp);
    entry = entry_find(dp, id);
    if (entry && entry->instance &&
        entry->instance != port_instance(event->port)) {
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
            continue;
        }
        dp = event.removed ? NULL : consider(d, event.port);
        if (dp) {
            adopt_store(d, dp);
        } else {
            port_event(d, &event);
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
            desc_port_drain(d, dp);
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
    VIRTIO_SERIAL_DESC_PORT_PREFIX " is one.\n";

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
