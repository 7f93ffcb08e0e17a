/*
 * vser daemon: learn descriptors for a driver that knows none
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "commands.h"
#include "file.h"
#include "paths.h"
#include "port.h"
#include "records.h"
#include "store.h"
#include "uevent.h"

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
typedef struct Feed {
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
} Feed;

typedef struct Daemon {
    char **only;                /* the user's ports; NULL: all by name */
    int epoll, uevent;
    Feed **port;
    size_t ports;
} Daemon;

static void PRINTF(2, 3) complain(Feed *feed, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (feed->complaints > COMPLAINTS_MAX) {
        return;
    }
    if (feed->complaints++ == COMPLAINTS_MAX) {
        snprintf(text, sizeof(text),
                 "no more is said until it is opened again");
    } else {
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
    }
    vser_error("%s: %s", feed->name, text);
}

static Feed *feed_of(const Daemon *d, unsigned int device)
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

static void entry_name(const Feed *feed, uint32_t id, char name[32])
{
    snprintf(name, 32, "vport%up%u", feed->device, id);
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

static Entry *entry_find(Feed *feed, uint32_t id)
{
    size_t i;

    for (i = 0; i < feed->entries; i++) {
        if (feed->entry[i].id == id) {
            return &feed->entry[i];
        }
    }
    return NULL;
}

static void entry_remove(Feed *feed, Entry *entry)
{
    char name[32];

    entry_name(feed, entry->id, name);
    if (store_remove(name, entry->instance) == 1) {
        feed->changes--;
        if (entry->instance && entry->instance == port_instance(name)) {
            tell_udev(name);
        }
    }
    *entry = feed->entry[--feed->entries];
}

static KnownPort *gone_find(Feed *feed, uint32_t id)
{
    size_t i;

    for (i = 0; i < feed->gones; i++) {
        if (feed->gone[i].id == id) {
            return &feed->gone[i];
        }
    }
    return NULL;
}

/* What the host says is gone is still there until the kernel has seen that */
static void gone_remember(Feed *feed, const Entry *entry)
{
    KnownPort *gone = gone_find(feed, entry->id);

    if (!gone && feed->gones < ENTRIES_MAX) {
        gone = &feed->gone[feed->gones++];
    }
    if (gone) {
        *gone = (KnownPort) { entry->id, entry->instance };
    }
}

/*
 * Whose what the host says of a port may be: that of the port that is there,
 * if it did not go before that.
 */
static uint64_t instance_now(Feed *feed, uint32_t id)
{
    KnownPort *gone = gone_find(feed, id);
    char name[32];
    uint64_t instance;

    entry_name(feed, id, name);
    instance = port_instance(name);
    return gone && gone->instance == instance ? 0 : instance;
}

/* Remember which ports the kernel has, before @feed is opened */
static void olds_remember(Feed *feed)
{
    size_t count, i;
    char **names = port_names(&count);

    feed->olds = 0;
    for (i = 0; i < count; i++) {
        unsigned int device, id;

        port_name_parse(names[i], &device, &id);
        if (device == feed->device && feed->olds < ENTRIES_MAX) {
            feed->old[feed->olds++] = (KnownPort) {
                id, port_instance(names[i])
            };
        }
        free(names[i]);
    }
    free(names);
}

static bool is_old(const Feed *feed, uint32_t id, uint64_t instance)
{
    size_t i;

    for (i = 0; i < feed->olds; i++) {
        if (feed->old[i].id == id) {
            return feed->old[i].instance == instance;
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
static bool entries_settle(Feed *feed, bool behind)
{
    bool all = true;
    size_t i = 0;

    while (i < feed->entries) {
        Entry *entry = &feed->entry[i];
        char name[32];

        if (entry->next_instance == entry->instance) {
            i++;
            continue;
        }
        if (behind && entry->next_instance &&
            !is_old(feed, entry->id, entry->next_instance)) {
            all = false;
            i++;
            continue;
        }
        entry_name(feed, entry->id, name);
        if (!store_move(name, entry->instance, entry->next_instance)) {
            entry_remove(feed, entry);    /* another one takes its place */
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

static void entries_remove(Feed *feed, bool confirmed_too)
{
    size_t i = 0;

    while (i < feed->entries) {
        if (!feed->entry[i].confirmed || confirmed_too) {
            /* Another one takes its place */
            entry_remove(feed, &feed->entry[i]);
        } else {
            i++;
        }
    }
}

/* A snapshot begins: what it does not confirm is not true any more */
static void entries_doubt(Feed *feed)
{
    size_t i;

    for (i = 0; i < feed->entries; i++) {
        feed->entry[i].confirmed = false;
    }
}

/*
 * The device was reset, as when the guest sleeps, and the driver may never hear
 * that a port went: what is there is what the host speaks of.
 */
static void forget_gone(Feed *feed)
{
    size_t i;

    feed->gones = 0;
    for (i = 0; i < feed->entries; i++) {
        if (!feed->entry[i].instance) {
            feed->entry[i].next_instance =
                instance_now(feed, feed->entry[i].id);
        }
    }
}

/*
 * What an earlier daemon left is for @feed to confirm if it is about @feed's
 * controller. With @feed NULL: for all ports; and what no port can confirm
 * goes. So does what is about no port that is there: a snapshot will bring it.
 * Returns false, after a message, if there is no store.
 */
static bool adopt_store(Daemon *d, Feed *feed)
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
        Feed *owner;
        bool known;

        if (!store_name_parse(file->d_name, name, &instance)) {
            continue;
        }
        port_name_parse(name, &device, &id);
        owner = feed_of(d, device);
        if (feed ? owner != feed : !owner && d->only) {
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

static void learn(Feed *feed, const Record *record)
{
    VirtIOSerialDescError err;
    Entry *entry = entry_find(feed, record->id);
    char name[32];
    int put;

    entry_name(feed, record->id, name);
    if (!virtio_serial_desc_check(record->blob, record->length, &err)) {
        complain(feed, "no well-formed descriptor for %s: %s", name, err.text);
    } else if (!entry && feed->entries == ENTRIES_MAX) {
        complain(feed, "%s ignored: more than %u ports", name, ENTRIES_MAX);
    } else {
        put = store_put(name, entry ? entry->instance : 0, record->blob,
                        record->length);
        if (put >= 0) {
            if (!entry) {
                entry = &feed->entry[feed->entries++];
                *entry = (Entry) { .id = record->id };
            }
            if (put > 0) {
                feed->changes--;
                entry->instance = 0;
            }
            entry->confirmed = true;
            entry->next_instance = instance_now(feed, record->id);
            return;
        }
        /* As when the disk is full: another snapshot may find it better */
        complain(feed, "%s/%s: %s", VSER_STORE, name, strerror(errno));
        feed->missed = true;
        feed->changes--;
    }
    if (entry) {
        entry_remove(feed, entry);
    }
}

static void handle_record(Feed *feed, RecordType type, const Record *record)
{
    Entry *entry;

    switch (type) {
    case RECORD_DESC:
        learn(feed, record);
        break;
    case RECORD_GONE:
        entry = entry_find(feed, record->id);
        if (entry) {
            if (entry->instance) {
                gone_remember(feed, entry);
            }
            entry_remove(feed, entry);
        }
        break;
    default:
        entries_remove(feed, false);
        if (feed->ended) {
            forget_gone(feed);
        }
        /*
         * If there is another end without a beginning, the device was reset
         * and has begun anew, as when the guest had slept.
         */
        entries_doubt(feed);
        feed->snapshot_done = feed->ended = true;
    }
}

/* ------------------------------------------------------------------ */
/* Ports that speak records */

static void feed_close(Feed *feed)
{
    if (feed->fd >= 0) {
        close(feed->fd);
        feed->fd = -1;
        feed->paused = false;
    }
}

/* It can't be used now: try again later, and later still each time */
static void feed_retry(Feed *feed)
{
    if (feed->backoff == 0 ||
        (feed->fd >= 0 && now_ms() - feed->opened_at > BACKOFF_MAX)) {
        feed->backoff = BACKOFF_MIN;
    }
    feed_close(feed);
    feed->retry_at = now_ms() + feed->backoff;
    feed->backoff = feed->backoff * 2 < BACKOFF_MAX ? feed->backoff * 2
                                                    : BACKOFF_MAX;
}

/* Opening it brings a new snapshot; one that is left alone still is */
static void feed_ask_again(Feed *feed)
{
    if (feed->fd >= 0) {
        if (!feed->paused) {
            feed->retry_at = now_ms();
        }
        feed_close(feed);
    }
}

/*
 * epoll would return for ever for a port that the host has closed: then it is
 * to tell of changes only. While the host has it open, epoll is to return as
 * long as there are bytes, so that all ports have their turn.
 */
static int feed_listen(Daemon *d, Feed *feed, int operation)
{
    struct epoll_event e = {
        .events = EPOLLIN | (feed->host_closed ? EPOLLET : 0), .data.ptr = feed,
    };

    return epoll_ctl(d->epoll, operation, feed->fd, &e);
}

static void feed_set_closed(Daemon *d, Feed *feed, bool closed)
{
    if (feed->host_closed != closed) {
        feed->host_closed = closed;
        feed_listen(d, feed, EPOLL_CTL_MOD);
    }
}

static void feed_open(Daemon *d, Feed *feed)
{
    char path[PATH_MAX], failure[sizeof(feed->last_failure)];
    size_t i;

    feed->host_closed = false;
    snprintf(path, sizeof(path), "%s/%s", VSER_DEV, feed->name);
    olds_remember(feed);
    feed->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (feed->fd < 0 || feed_listen(d, feed, EPOLL_CTL_ADD) < 0) {
        bool gone = errno == ENODEV || errno == ENXIO || errno == ENOENT;

        snprintf(failure, sizeof(failure), "%s", strerror(errno));
        feed_close(feed);
        /* The kernel will say that it is gone, or udev make its node */
        if (!gone && strcmp(failure, feed->last_failure) != 0) {
            vser_error("%s: %s; trying again", path, failure);
            strcpy(feed->last_failure, failure);
        }
        feed_retry(feed);
        return;
    }
    feed->last_failure[0] = '\0';
    feed->opened_at = now_ms();
    feed->complaints = 0;
    feed->ended = feed->missed = false;
    feed->reads = 0;
    records_reset(&feed->records);
    entries_doubt(feed);
    for (i = 0; i < feed->entries; i++) {
        /* What would have been read before it was settled is lost */
        feed->entry[i].next_instance = feed->entry[i].instance;
    }
}

/* Leave the port alone if udev has got more to do from it than it should */
static void limit_changes(Daemon *d, Feed *feed)
{
    int64_t earned = (now_ms() - feed->changes_at) * CHANGES_PER_SECOND / 1000;

    if (earned > 0) {
        feed->changes_at = now_ms();
        feed->changes = earned < CHANGES_BURST - feed->changes ?
                      feed->changes + (int)earned : CHANGES_BURST;
    }
    if (feed->changes < 0 && feed->fd >= 0) {
        complain(feed, "too many changes; slowing down");
        feed->paused = true;
        feed->retry_at = now_ms() - feed->changes * 1000 / CHANGES_PER_SECOND;
        epoll_ctl(d->epoll, EPOLL_CTL_DEL, feed->fd, NULL);
    }
}

/*
 * The port is read to its end, for now. If it held so much that the device had
 * to wait, what is owed is still to come: a snapshot is what is so.
 */
static void feed_at_end(Feed *feed)
{
    bool behind = feed->reads > READS_MAX;

    if (!entries_settle(feed, behind) && feed->ended) {
        feed_ask_again(feed);
    }
    if (feed->ended || !behind) {
        feed->reads = 0;
    }
    if (feed->ended && feed->missed) {
        feed_retry(feed);
    }
}

/* Take what has come, at most a buffer of it; returns whether any had */
static bool feed_read(Daemon *d, Feed *feed)
{
    static uint8_t buffer[65536];
    const uint8_t *data = buffer;
    ssize_t got = read(feed->fd, buffer, sizeof(buffer));
    VirtIOSerialDescError err;
    RecordType type;
    Record record;
    size_t length;

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        bool at_end = errno == EAGAIN;

        feed_set_closed(d, feed, false);
        if (at_end) {
            feed_at_end(feed);
        }
        return false;
    }
    if (got < 0) {
        /* Of a port that has gone the kernel says so in another place */
        if (errno != ENODEV) {
            complain(feed, "%s", strerror(errno));
        }
        feed_retry(feed);
        return false;
    }
    if (got == 0) {
        /* What the host had begun it will not go on with */
        feed_set_closed(d, feed, true);
        records_reset(&feed->records);
        entries_settle(feed, false);
        entries_doubt(feed);
        feed->ended = false;
        return false;
    }
    feed_set_closed(d, feed, false);
    feed->reads++;

    length = got;
    while ((type = records_next(&feed->records, &data, &length, &record, &err))
           != RECORD_MORE) {
        if (type == RECORD_MALFORMED) {
            complain(feed, "malformed record: %s; opening it again", err.text);
            feed_retry(feed);
            return false;
        }
        handle_record(feed, type, &record);
    }
    limit_changes(d, feed);
    return true;
}

/* Take all that has come; a host may not let others have their turn */
static void feed_drain(Daemon *d, Feed *feed)
{
    int i;

    for (i = 0; i < READS_MAX && feed->fd >= 0 && !feed->paused; i++) {
        if (!feed_read(d, feed)) {
            break;
        }
    }
}

/* Is it a port that speaks records? */
static bool is_feed(const Daemon *d, const char *name)
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
           strncmp(says, VIRTSERIALDESC_NAME_PREFIX,
                   strlen(VIRTSERIALDESC_NAME_PREFIX)) == 0;
}

/* A port is there: use it if it speaks records, as its controller's first */
static Feed *consider(Daemon *d, const char *name)
{
    unsigned int device, id;
    Feed *feed;

    if (!port_name_parse(name, &device, &id) || feed_of(d, device) ||
        !is_feed(d, name)) {
        return NULL;
    }
    feed = vser_realloc(NULL, sizeof(*feed));
    memset(feed, 0, sizeof(*feed));
    snprintf(feed->name, sizeof(feed->name), "%s", name);
    feed->device = device;
    feed->fd = -1;
    feed->changes = CHANGES_BURST;
    feed->changes_at = now_ms();
    d->port = vser_realloc(d->port, (d->ports + 1) * sizeof(*d->port));
    d->port[d->ports++] = feed;
    return feed;
}

static void consider_all(Daemon *d, bool adopt)
{
    size_t count, i;
    char **names = port_names(&count);

    for (i = 0; i < count; i++) {
        Feed *feed = consider(d, names[i]);

        if (feed && adopt) {
            adopt_store(d, feed);
        }
        free(names[i]);
    }
    free(names);
}

/* The port is gone, and with it what it said. Another may take its place. */
static void feed_gone(Daemon *d, Feed *feed)
{
    size_t i;

    feed_close(feed);
    entries_remove(feed, true);
    for (i = 0; d->port[i] != feed; i++) {
        /* find it */
    }
    d->port[i] = d->port[--d->ports];
    free(feed);
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
    Feed *feed;
    Entry *entry;

    port_name_parse(event->port, &device, &id);
    feed = feed_of(d, device);
    if (!feed) {
        return;
    }
    if (event->removed && strcmp(feed->name, event->port) == 0) {
        feed_gone(d, feed);
        return;
    }
    entry = entry_find(feed, id);
    if (!entry || entry->instance == port_instance(event->port)) {
        return;
    }
    if (!entry->instance) {
        entry->next_instance = instance_now(feed, id);
    }
    feed_drain(d, feed);
    entry = entry_find(feed, id);
    if (entry && entry->instance &&
        entry->instance != port_instance(event->port)) {
        entry_remove(feed, entry);
        feed_ask_again(feed);
    }
}

/* Events were lost: look for ports that went and came, and ask all others */
static void look_again(Daemon *d)
{
    size_t i = 0;

    while (i < d->ports) {
        Feed *feed = d->port[i];
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", VSER_SYSFS, feed->name);
        if (access(path, F_OK) < 0) {
            feed_gone(d, feed);      /* another one takes its place */
        } else {
            feed_ask_again(feed);
            i++;
        }
    }
    consider_all(d, true);
}

static void read_uevents(Daemon *d)
{
    UeventResult result;
    Uevent event;
    Feed *feed;

    while ((result = uevent_next(d->uevent, &event)) != UEVENT_NONE) {
        if (result == UEVENT_LOST) {
            look_again(d);
            continue;
        }
        feed = event.removed ? NULL : consider(d, event.port);
        if (feed) {
            adopt_store(d, feed);
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

/* Open, or read again, what is due; returns when the next one is, by now_ms() */
static int64_t open_due(Daemon *d)
{
    int64_t next = INT64_MAX;
    size_t i;

    for (i = 0; i < d->ports; i++) {
        Feed *feed = d->port[i];
        bool due = feed->retry_at <= now_ms();

        if (feed->fd < 0 && due) {
            feed_open(d, feed);
        } else if (feed->paused && due) {
            feed->paused = false;
            feed_listen(d, feed, EPOLL_CTL_ADD);
        }
        if ((feed->fd < 0 || feed->paused) && feed->retry_at < next) {
            next = feed->retry_at;
        }
    }
    return next;
}

static void run(Daemon *d)
{
    int64_t ready_at = now_ms() + READY_TIMEOUT;
    bool ready = false;

    for (;;) {
        int64_t next = open_due(d);
        struct epoll_event e;
        Feed *feed;

        if (!ready && (snapshots_done(d) || now_ms() >= ready_at)) {
            notify_ready();
            ready = true;
        }
        if (!ready && ready_at < next) {
            next = ready_at;
        }
        /* One at a time: what is done about it may close another */
        if (epoll_wait(d->epoll, &e, 1, next == INT64_MAX ? -1 :
                       next > now_ms() ? (int)(next - now_ms()) : 0) <= 0) {
            continue;
        }
        feed = e.data.ptr;
        if (!feed) {
            read_uevents(d);
        } else {
            feed_drain(d, feed);
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
    VIRTSERIALDESC_NAME_PREFIX " is one.\n";

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
