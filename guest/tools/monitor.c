/*
 * vser monitor: a line of JSON for each port that comes, changes, goes, or is
 * opened or closed in this guest
 *
 * What is listened to is listened to before the first look at the ports, so no
 * port is missed in between. An event only says at which port to look: the
 * lines tell the differences between two looks. So a port that comes and goes
 * faster than we look has no line, and the lines for each port are in an order
 * that makes sense: it is present or added, then anything else, then removed.
 *
 * Who opens a port is known from the node: inotify tells of each open() and
 * close(). The kernel tells only the program that has a port open whether the
 * host has opened its side.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "commands.h"
#include "options.h"
#include "paths.h"
#include "port.h"
#include "port-json.h"
#include "udev-event.h"

#define WATCHED     (IN_OPEN | IN_CLOSE)

/* A port that a line has told of, and no line has removed */
typedef struct Known {
    char name[PORT_NAME_SIZE];
    uint64_t instance;
    char *members;          /* of its JSON object, and the end of the object */
    int watch;              /* inotify's number for the node; -1: none */
} Known;

typedef struct Monitor {
    const PortFilter *filter;       /* NULL: every port */
    Known *known;
    size_t count;
    int events, inotify;
    sigset_t unblocked;             /* signals that end us, while we wait */
    bool done;                      /* nobody reads any more */
    int ret;
} Monitor;

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* ------------------------------------------------------------------ */
/* Lines */

/*
 * Write a line to stdout. A slow reader makes us wait, but a signal ends that:
 * a pipe that is ready takes PIPE_BUF bytes without waiting.
 */
static void write_line(Monitor *m, const char *line)
{
    size_t left = strlen(line);

    while (left && !m->done) {
        struct pollfd ready = { .fd = STDOUT_FILENO, .events = POLLOUT };
        ssize_t written;

        if (ppoll(&ready, 1, NULL, &m->unblocked) < 0) {
            m->done = interrupted;
            continue;
        }
        written = write(STDOUT_FILENO, line, MIN(left, PIPE_BUF));
        if (written >= 0) {
            line += written;
            left -= written;
        } else if (errno != EAGAIN && errno != EINTR) {
            m->done = true;
            if (errno != EPIPE) {
                vser_error("stdout: %s", strerror(errno));
                m->ret = VSER_FAILED;
            }
        }
    }
}

static void tell(Monitor *m, const char *event, const Known *known)
{
    char *line;

    if (asprintf(&line, "{ \"event\": \"%s\", %s", event,
                 known->members) < 0) {
        vser_error("out of memory");
        exit(VSER_FAILED);
    }
    write_line(m, line);
    free(line);
}

/* The members of a port's object, with the object's end and a newline */
static char *members_of(const Port *port)
{
    char *text = NULL, *members;
    size_t size;
    Json json = { .stream = open_memstream(&text, &size) };

    if (!json.stream) {
        vser_error("out of memory");
        exit(VSER_FAILED);
    }
    json_object_inline(&json, NULL);
    port_json(&json, port);
    json_end(&json, 0);
    fclose(json.stream);
    members = vser_strdup(text + strspn(text, "{ "));
    free(text);
    return members;
}

/* ------------------------------------------------------------------ */
/* Ports */

static Known *find(Monitor *m, const char *name)
{
    size_t i;

    for (i = 0; i < m->count; i++) {
        if (strcmp(m->known[i].name, name) == 0) {
            return &m->known[i];
        }
    }
    return NULL;
}

/* Who may not read the node gets no news of it; that can change */
static void watch_node(Monitor *m, Known *known)
{
    char path[PATH_MAX];

    if (known->watch < 0) {
        snprintf(path, sizeof(path), "%s/%s", VSER_DEV, known->name);
        known->watch = inotify_add_watch(m->inotify, path, WATCHED);
        /* The node of another port by now? Its event is still to come. */
        if (known->watch >= 0 &&
            port_instance(known->name) != known->instance) {
            inotify_rm_watch(m->inotify, known->watch);
            known->watch = -1;
        }
    }
}

static void drop(Monitor *m, Known *known)
{
    tell(m, "removed", known);
    if (known->watch >= 0) {
        inotify_rm_watch(m->inotify, known->watch);
    }
    free(known->members);
    *known = m->known[--m->count];
}

/* Look at a port; @event is for a port that was not known */
static void look_at(Monitor *m, const char *name, const char *event)
{
    Known *known = find(m, name);
    char *members = NULL;
    Port port;

    if (port_read(name, &port)) {
        if (port_matches(&port, m->filter)) {
            members = members_of(&port);
        }
        port_free(&port);
    }
    if (known && (!members || known->instance != port_instance(name))) {
        drop(m, known);
        known = NULL;
    }
    if (!members) {
        return;
    }
    if (!known) {
        m->known = vser_realloc(m->known, (m->count + 1) * sizeof(*m->known));
        known = &m->known[m->count++];
        *known = (Known) {
            .instance = port_instance(name), .members = members, .watch = -1,
        };
        snprintf(known->name, sizeof(known->name), "%s", name);
        watch_node(m, known);
        tell(m, event, known);
    } else if (strcmp(known->members, members) != 0) {
        free(known->members);
        known->members = members;
        watch_node(m, known);
        tell(m, "changed", known);
    } else {
        free(members);
        watch_node(m, known);
    }
}

static void look_at_all(Monitor *m, const char *event)
{
    size_t count, i = 0;
    char **names;

    while (i < m->count) {
        Known *known = &m->known[i];

        if (known->instance != port_instance(known->name)) {
            drop(m, known);             /* the last one moves here */
        } else {
            i++;
        }
    }
    names = port_names(&count);
    for (i = 0; i < count; i++) {
        look_at(m, names[i], event);
        free(names[i]);
    }
    free(names);
}

/* ------------------------------------------------------------------ */
/* Events */

static void read_events(Monitor *m)
{
    UeventResult result;
    Uevent event;

    while ((result = udev_event_next(&event)) != UEVENT_NONE) {
        Known *known;

        if (result == UEVENT_LOST) {
            look_at_all(m, "added");
        } else if (!event.removed) {
            look_at(m, event.port, "added");
        } else {
            known = find(m, event.port);
            /* A port that has the name now has an event of its own */
            if (known && known->instance != port_instance(event.port)) {
                drop(m, known);
            }
        }
    }
}

static void read_inotify(Monitor *m)
{
    char buffer[4096] __attribute__((aligned(8)));
    ssize_t got;

    while ((got = read(m->inotify, buffer, sizeof(buffer))) > 0) {
        const struct inotify_event *e;
        char *p;

        for (p = buffer; p < buffer + got; p += sizeof(*e) + e->len) {
            size_t i;

            e = (void *)p;
            if (e->mask & IN_Q_OVERFLOW) {
                vser_error("events were lost: who opened or closed a port is "
                           "not known");
            }
            for (i = 0; i < m->count && m->known[i].watch != e->wd; i++) {
                /* find it */
            }
            if (i == m->count) {
                continue;
            }
            if (e->mask & IN_OPEN) {
                tell(m, "opened", &m->known[i]);
            } else if (e->mask & IN_CLOSE) {
                tell(m, "closed", &m->known[i]);
            } else if (e->mask & IN_IGNORED) {
                m->known[i].watch = -1;
            }
        }
    }
}

static int monitor_run(Monitor *m)
{
    struct pollfd pfd[] = {
        { .fd = m->events, .events = POLLIN },
        { .fd = m->inotify, .events = POLLIN },
        { .fd = STDOUT_FILENO },        /* the reader's end */
    };

    look_at_all(m, "present");
    while (!m->done) {
        if (ppoll(pfd, ARRAY_SIZE(pfd), NULL, &m->unblocked) < 0) {
            m->done = interrupted;
        } else if (pfd[2].revents) {
            m->done = true;
        } else {
            if (pfd[0].revents) {
                read_events(m);
            }
            read_inotify(m);
        }
    }
    while (m->count) {
        free(m->known[--m->count].members);
    }
    free(m->known);
    return m->ret;
}

/* SIGINT and SIGTERM come only while we wait */
static void catch_signals(Monitor *m)
{
    struct sigaction action = { .sa_handler = interrupt };
    sigset_t ending;

    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigprocmask(SIG_BLOCK, &ending, &m->unblocked);
    sigdelset(&m->unblocked, SIGINT);
    sigdelset(&m->unblocked, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static const char monitor_help[] =
    "usage: vser monitor [VVVV:PPPP[:SERIAL]]\n"
    "\n"
    "Print a line of JSON for each virtio-serial port with a USB descriptor that\n"
    "is there, and then for each that comes, changes or goes, or is opened or\n"
    "closed by a program of this guest: the members are those of vser list\n"
    "--json, and \"event\", which is present, added, changed, removed, opened or\n"
    "closed. With VVVV:PPPP, only for ports with that idVendor and idProduct,\n"
    "in hex, and that serial number.\n"
    "\n"
    "Exit status: 0 at SIGINT or SIGTERM, or when nobody reads any more;\n"
    "1 failed; 2 usage.\n";

int vser_monitor(int argc, char **argv)
{
    Monitor m = { .ret = EXIT_SUCCESS };
    PortFilter filter;
    int status;

    if (!options_parse_help(argc, argv, monitor_help, &status)) {
        return status;
    }
    if (argc - optind > 1) {
        vser_error("vser monitor takes one VVVV:PPPP[:SERIAL]; see vser "
                   "monitor --help");
        return VSER_USAGE;
    }
    if (optind < argc) {
        if (!port_ids_parse(argv[optind], &filter)) {
            vser_error("'%s': expected VVVV:PPPP or VVVV:PPPP:SERIAL, idVendor "
                       "and idProduct in hex, as in 1209:0001", argv[optind]);
            return VSER_USAGE;
        }
        m.filter = &filter;
    }

    catch_signals(&m);
    m.events = udev_event_open();
    if (m.events < 0) {
        vser_error("udev's events: %s", strerror(errno));
        return VSER_FAILED;
    }
    m.inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (m.inotify < 0) {
        vser_error("inotify: %s", strerror(errno));
        return VSER_FAILED;
    }
    return monitor_run(&m);
}
