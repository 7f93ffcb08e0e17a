/*
 * vser daemon: learn descriptors for a driver that knows none
 *
 * Theory of operation
 *
 * QEMU says on a port of its own, virtserialdesc, which descriptors the other
 * ports of the same controller have. The daemon keeps the blobs in a store, a
 * file for each port, and makes udev look at the port; "lsvser" and the rules
 * read the store. The difficulty is one question: is a record about vport2p7
 * about the port that has this name now? A wrong answer gives a port the
 * identity of another port, and with it the other port's owner and program. So
 * the daemon answers only when the answer is sure. It relies on four facts:
 *
 * 1. A name comes again. The next port with the same number has the same name;
 *    only the inode number of the port's directory in sysfs differs. So an
 *    entry of the store is about an *instance* of a port (store.h), and means
 *    nothing for other instances.
 *
 * 2. Feed and kernel are not in step. Most often a record comes first: it may
 *    be about a port that the kernel does not have yet, or say that a port is
 *    gone that the kernel still has. But the device does not queue. It writes
 *    some records at a time, as far as there is room; beyond that it owes the
 *    state of the ports. So a record may also come after its port.
 *
 * 3. A record says what was there when the record was made, or what the kernel
 *    has not heard of yet. So a record that was made after the feed was opened
 *    is true for a port that the kernel had before. A port that came later is
 *    asked for by opening the feed again: then the port was there before.
 *
 * 4. A snapshot is complete. Opening the feed begins a snapshot, and an "end"
 *    record ends it; a port without a record has no descriptor. A second end
 *    without an opening means that the device was reset, as when the guest
 *    slept; the kernel may then never hear of a port that went. If anything is
 *    in doubt, the daemon opens the feed again.
 *
 * Nothing else is reliable: the kernel's events come late, or are lost; the
 * host may send any bytes, stop anywhere, send too much or nothing.
 *
 * Three files follow from that:
 *
 *   feed.c     opens the port, reads it into records, closes it; holds a feed
 *              back that takes the time of other feeds
 *   ledger.c   the blobs, and the instance of each: facts 1 to 4 as a table of
 *              events against the states of an entry
 *   daemon.c   finds the feeds; waits for feeds, for the kernel and for time,
 *              and hands each event to its ledger
 *
 * A controller has one feed and one ledger. These are the events:
 *
 *   bytes came               give each record to the ledger; count the changes
 *   read to its end, also    settle; if settling or the store fails, ask for a
 *   if the host has closed   new snapshot
 *   malformed, or an error   close; try again later, and later each time
 *   a port came, changed or  if the entry is about another port: read to the
 *   went                     end; if the entry still is, ask for a new snapshot
 *   the feed's port went     remove all its entries; another port may be a feed
 *   events were lost         ask all feeds for a new snapshot
 *   the daemon started       entries of an earlier daemon must be confirmed; if
 *                            that was killed amid changes, udev looks at all
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "commands.h"
#include "feed.h"
#include "file.h"
#include "ledger.h"
#include "options.h"
#include "paths.h"
#include "port-name.h"
#include "store.h"
#include "uevent.h"
#include "hw/virtio/virtio-serial-desc-wire.h"

/* The service is ready when all snapshots are there, or after this time (ms) */
#define READY_TIMEOUT       5000

typedef struct Controller {
    unsigned int device;        /* 2 of vport2p7 */
    bool late;                  /* it came after the daemon's start */
    Feed feed;
    Ledger ledger;
} Controller;

typedef struct Daemon {
    char **only;                /* the user's feeds; NULL: found by name */
    int epoll, uevent;
    bool running;               /* the start is over */
    Controller **controller;
    size_t controllers;
} Daemon;

static Controller *controller_of(const Daemon *d, unsigned int device)
{
    size_t i;

    for (i = 0; i < d->controllers; i++) {
        if (d->controller[i]->device == device) {
            return d->controller[i];
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------ */
/* The effects of a ledger */

/* Make udev look at a port again */
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

/* An earlier daemon may have changed the store and not have told udev */
static void tell_udev_of_all(void)
{
    size_t count, i;
    char **names = port_names(&count);

    for (i = 0; i < count; i++) {
        tell_udev(names[i]);
        free(names[i]);
    }
    free(names);
}

static void daemon_complain(void *opaque, const char *text)
{
    Controller *c = opaque;

    feed_complain(&c->feed, "%s", text);
}

static const LedgerEffects effects = {
    .put = store_put,
    .move = store_move,
    .remove = store_remove,
    .instance = port_instance,
    .names = port_names,
    .changed = tell_udev,
    .complain = daemon_complain,
};

/*
 * Give the store's entries of an earlier daemon to the ledger of @c, which has
 * to confirm them. With @c NULL: to the ledgers of all controllers. An entry
 * that no feed can confirm is removed. So is an entry for an instance that is
 * not there: a snapshot will bring the blob again.
 *
 * Returns false, after a message, if there is no store.
 */
static bool adopt_store(Daemon *d, Controller *c)
{
    DIR *dir = store_open();
    struct dirent *file;

    if (!dir) {
        return false;
    }
    while ((file = readdir(dir))) {
        unsigned int device, id;
        uint64_t instance;
        char name[PORT_NAME_SIZE];
        Controller *owner;
        bool known;

        if (!store_name_parse(file->d_name, name, &instance)) {
            continue;
        }
        port_name_parse(name, &device, &id);
        owner = controller_of(d, device);
        if (c ? owner != c : !owner && d->only) {
            continue;
        }
        known = instance && instance == port_instance(name);
        if ((!known || !owner || !ledger_adopt(&owner->ledger, id, instance)) &&
            store_remove(name, instance) == 1 && known) {
            tell_udev(name);
        }
    }
    closedir(dir);
    return true;
}

/* ------------------------------------------------------------------ */
/* Feeds */

static void open_feed(Controller *c)
{
    ledger_before_open(&c->ledger);
    if (feed_open(&c->feed)) {
        ledger_opened(&c->ledger);
    }
}

/*
 * The feed is read to its end, for now. Ports that came after the feed was
 * opened need a new snapshot, when this snapshot is at its end; so does a host
 * that the driver takes for closed, which has answered before.
 */
static void feed_at_end(Controller *c, bool settled)
{
    if (!settled && c->ledger.answered) {
        feed_ask_again(&c->feed);
    }
    if (c->ledger.answered && c->ledger.missed) {
        feed_retry(&c->feed);
    }
}

/* Read the feed once; returns whether there were bytes */
static bool read_feed(Controller *c)
{
    RecordType type;
    Record record;

    switch (feed_read(&c->feed)) {
    case FEED_BYTES:
        while (feed_next(&c->feed, &type, &record)) {
            ledger_record(&c->ledger, type, &record);
        }
        if (c->feed.fd >= 0) {
            feed_limit(&c->feed, ledger_take_changes(&c->ledger));
        }
        return true;
    case FEED_AT_END:
        feed_at_end(c, ledger_settle(&c->ledger));
        return false;
    case FEED_HOST_CLOSED:
        feed_at_end(c, ledger_closed(&c->ledger));
        return false;
    default:
        return false;
    }
}

/* Read the feed to its end, with a limit: other feeds must have their turn */
static void drain_feed(Controller *c)
{
    int i;

    for (i = 0; i < FEED_READS_MAX && feed_is_readable(&c->feed); i++) {
        if (!read_feed(c)) {
            break;
        }
    }
}

/* Is the port a feed? */
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

/* Use the port as a feed, if it is one, and its controller has no feed yet */
static Controller *consider(Daemon *d, const char *name)
{
    /* First: only the instance that is found to be a feed may be opened */
    uint64_t instance = port_instance(name);
    unsigned int device, id;
    Controller *c;

    if (!port_name_parse(name, &device, &id) || controller_of(d, device) ||
        !is_feed(d, name)) {
        return NULL;
    }
    c = vser_realloc(NULL, sizeof(*c));
    c->device = device;
    c->late = d->running;
    feed_init(&c->feed, name, instance, d->epoll, c);
    ledger_init(&c->ledger, device, &effects, c);
    d->controller = vser_realloc(d->controller, (d->controllers + 1) *
                                 sizeof(*d->controller));
    d->controller[d->controllers++] = c;
    return c;
}

static void consider_all(Daemon *d, bool adopt)
{
    size_t count, i;
    char **names = port_names(&count);

    for (i = 0; i < count; i++) {
        Controller *c = consider(d, names[i]);

        if (c && adopt) {
            adopt_store(d, c);
        }
        free(names[i]);
    }
    free(names);
}

/* The feed's port is gone. Another port may take its place. */
static void feed_gone(Daemon *d, Controller *c)
{
    size_t i;

    feed_close(&c->feed);
    ledger_clear(&c->ledger);
    for (i = 0; d->controller[i] != c; i++) {
        /* find it */
    }
    d->controller[i] = d->controller[--d->controllers];
    free(c);
    consider_all(d, true);
}

/* ------------------------------------------------------------------ */
/* The kernel's events */

/* Is it still the port that was found to be a feed? */
static bool feed_is_there(const Controller *c)
{
    return port_instance(c->feed.name) == c->feed.instance;
}

static void daemon_port_event(Daemon *d, const Uevent *event)
{
    unsigned int device = 0, id = 0;
    Controller *c;

    port_name_parse(event->port, &device, &id);
    c = controller_of(d, device);
    if (!c) {
        return;
    }
    if (strcmp(c->feed.name, event->port) == 0 && !feed_is_there(c)) {
        feed_gone(d, c);
        return;
    }
    if (ledger_notice(&c->ledger, id)) {
        drain_feed(c);
        if (ledger_verify(&c->ledger, id)) {
            feed_ask_again(&c->feed);
        }
    }
}

/*
 * Events were lost: look for feeds that went and came, and ask all other feeds
 * for a new snapshot
 */
static void look_again(Daemon *d)
{
    size_t i = 0;

    while (i < d->controllers) {
        Controller *c = d->controller[i];

        if (!feed_is_there(c)) {
            feed_gone(d, c);    /* the last one moves here */
        } else {
            feed_ask_again(&c->feed);
            i++;
        }
    }
    consider_all(d, true);
}

static void read_uevents(Daemon *d)
{
    UeventResult result;
    Uevent event;
    Controller *c;

    while ((result = uevent_next(d->uevent, &event)) != UEVENT_NONE) {
        if (result == UEVENT_LOST) {
            look_again(d);
            continue;
        }
        c = event.removed ? NULL : consider(d, event.port);
        if (c) {
            adopt_store(d, c);
        } else {
            daemon_port_event(d, &event);
        }
    }
}

/* ------------------------------------------------------------------ */
/* The service manager */

/* Where the service manager listens; NULL: there is none */
static const char *notify_socket(void)
{
    return getenv("NOTIFY_SOCKET");
}

/* Send what sd_notify(3) sends: one datagram */
static void notify_ready(void)
{
    static const char ready[] = "READY=1";
    const char *path = notify_socket();
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

    for (i = 0; i < d->controllers; i++) {
        if (!d->controller[i]->ledger.complete) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ */
/* The loop */

/* Open or resume the feeds that are due; returns when the next one is due */
static int64_t open_due(Daemon *d)
{
    int64_t next = INT64_MAX;
    size_t i;

    for (i = 0; i < d->controllers; i++) {
        Controller *c = d->controller[i];

        if (feed_due(&c->feed) <= now_ms()) {
            if (c->feed.fd < 0) {
                open_feed(c);
            } else {
                feed_resume(&c->feed);
            }
        }
        next = MIN(next, feed_due(&c->feed));
    }
    return next;
}

/*
 * Each controller has a device number of its own. The service manager allows
 * the numbers that there are when it starts us (DeviceAllow=): a controller
 * that came later is out of our reach until we are started again. Ports keep
 * their identity meanwhile.
 */
static bool has_to_start_again(const Daemon *d)
{
    size_t i;

    for (i = 0; notify_socket() && i < d->controllers; i++) {
        const Controller *c = d->controller[i];

        if (c->late && c->feed.denied) {
            vser_error("%s: the controller came after this daemon, which may "
                       "not open it; starting again", c->feed.name);
            return true;
        }
    }
    return false;
}

/* Returns only if the daemon has to be started again */
static void daemon_run(Daemon *d)
{
    int64_t ready_at = now_ms() + READY_TIMEOUT;
    bool ready = false;

    d->running = true;
    for (;;) {
        int64_t next = open_due(d);
        struct epoll_event e;
        Controller *c;

        store_settled();
        if (has_to_start_again(d)) {
            return;
        }
        if (!ready && (snapshots_done(d) || now_ms() >= ready_at)) {
            notify_ready();
            ready = true;
        }
        if (!ready) {
            next = MIN(next, ready_at);
        }
        /* One event at a time: handling it may close the feed of the next */
        if (epoll_wait(d->epoll, &e, 1, next == INT64_MAX ? -1 :
                       next > now_ms() ? (int)(next - now_ms()) : 0) <= 0) {
            continue;
        }
        c = e.data.ptr;
        if (!c) {
            read_uevents(d);
        } else {
            drain_feed(c);
        }
    }
}

static const char daemon_help[] =
    "usage: vser daemon [PORT...]\n"
    "\n"
    "Keep what QEMU says on virtserialdesc ports, for drivers that do not\n"
    "know descriptors: each port's under " VSER_STORE ",\n"
    "and have udev look at the port again when it changes.\n"
    "\n"
    "PORT is the name or the node of a port that speaks so, as in vport1p1;\n"
    "without any, every port whose name begins with\n"
    VIRTSERIALDESC_NAME_PREFIX " is one.\n"
    "\n"
    "Exit status: 1 failed; 2 usage. Otherwise it runs until it is stopped.\n";

int vser_daemon(int argc, char **argv)
{
    Daemon d = { 0 };
    struct epoll_event e = { .events = EPOLLIN };
    bool interrupted;
    int status, i;

    if (!options_parse_help(argc, argv, daemon_help, &status)) {
        return status;
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
    interrupted = store_interrupted();
    consider_all(&d, false);
    if (adopt_store(&d, NULL)) {
        if (interrupted) {
            tell_udev_of_all();
        }
        daemon_run(&d);
    }
    return VSER_FAILED;
}
