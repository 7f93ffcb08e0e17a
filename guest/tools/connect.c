/*
 * vser connect: connect stdin and stdout, or a program, to a port
 *
 * Three steps, in this order:
 *
 * 1. Find the port and open it. With --wait: look for the port. If no port
 *    matches yet, or if the port may not be opened yet, sleep until there is
 *    news of any port, and look again. The watch for news begins before the
 *    first look, so no news is lost between look and sleep. There is no timer.
 *
 * 2. Wait until the host has opened its side. While the host's side is closed,
 *    poll() returns POLLHUP at once, so poll() can't wait for the host. An
 *    edge-triggered epoll can. A host that opened and closed its side in the
 *    meantime counts if the host left bytes.
 *
 * 3. Copy, or become the command. There are two buffers, one for each
 *    direction. A buffer is filled when it is empty, and drained as far as the
 *    receiver takes bytes. So no sender can make memory grow, and no direction
 *    waits for the other. When the host closes its side, everything that the
 *    host sent is written before we end.
 *
 * How the copy ends:
 *
 *   event                     bytes of stdin         exit code
 *   ------------------------  ---------------------  -----------------------
 *   the host closes its side  lost, if not yet sent  0, when all is on stdout
 *   stdin ends                sent                   0 with --quit; else none:
 *                                                    the copy goes on
 *   writing to stdout fails   lost                   1
 *   the port is unplugged     lost                   5
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include "commands.h"
#include "paths.h"
#include "port.h"
#include "uevent.h"
#include "user.h"

/* Exit codes of --exec, the same as those of env(1) */
enum {
    EXIT_CANNOT_EXEC = 126,
    EXIT_NO_PROGRAM = 127,
};

typedef struct Connect {
    const char *text;           /* V:P[:SERIAL], or a path; NULL: any port */
    int given;                  /* --fd: the port is open; -1: not given */
    bool wait;                  /* --wait: for the port, and for the host */
    double deadline;            /* a time of now_ms(); INFINITY: none */
    bool quit;                  /* --quit: end when stdin ends */
    char **command;             /* --exec; NULL: copy */
    User user;                  /* --user; without a name: not given */

    int fd;                     /* the port, nonblocking */
    char name[PORT_NAME_SIZE];  /* of the port */
} Connect;

/* The time until the deadline, rounded up, for poll(); -1: no deadline */
static int time_left(const Connect *c)
{
    double left = c->deadline - now_ms();

    if (left <= 0) {
        return 0;
    }
    return isinf(left) ? -1 : left < INT_MAX - 1 ? left + 1 : INT_MAX;
}

/* ------------------------------------------------------------------ */
/* Find the port and open it */

/*
 * Where news of ports comes from. The kernel sends an event when a port comes
 * or changes. But these events do not reach every container, and udev sets
 * later who may open a node. So the directories of nodes and of the store are
 * watched too.
 */
typedef struct Watch {
    struct pollfd pfd[2];       /* the kernel's events; inotify */
    /* Any change in a directory on this path is news; NULL: no path */
    const char *path;
} Watch;

#define WATCHED     (IN_CREATE | IN_ATTRIB | IN_MOVED_TO)
/* How many links the kernel follows for one path */
#define LINKS_MAX   40

static void watch_end(Watch *w)
{
    int i;

    for (i = 0; i < 2; i++) {
        if (w->pfd[i].fd >= 0) {
            close(w->pfd[i].fd);
        }
    }
}

static bool cannot_watch(Watch *w, const char *path)
{
    /* So fail: without news we might wait for ever */
    vser_error("can't watch %s: %s", path, strerror(errno));
    watch_end(w);
    return false;
}

static bool watch_begin(Watch *w, const char *path)
{
    int uevent = uevent_open();
    int inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    w->path = path;
    w->pfd[0] = (struct pollfd) { .fd = uevent, .events = POLLIN };
    w->pfd[1] = (struct pollfd) { .fd = inotify, .events = POLLIN };
    if (inotify < 0 ||
        inotify_add_watch(inotify, VSER_DEV, WATCHED) < 0) {
        return cannot_watch(w, VSER_DEV);
    }
    /* Without a daemon there is no store; the kernel's events are enough */
    inotify_add_watch(inotify, VSER_STORE, IN_MOVED_TO);
    return true;
}

/*
 * Watch the path of the Watch: udev may make a link after the last event of the
 * port. So before each look, watch every directory on the path, also those
 * behind links, as far as they exist. A second watch of the same directory
 * changes nothing.
 */
static bool watch_path(Watch *w)
{
    char path[PATH_MAX], dir[PATH_MAX], target[PATH_MAX];
    size_t at, end, begin;      /* offsets of a name in the path */
    int links = 0;

    snprintf(path, sizeof(path), "%s", w->path);
    for (at = strspn(path, "/"); path[at]; at += strspn(path + at, "/")) {
        ssize_t size;

        snprintf(dir, sizeof(dir), "%.*s", (int)at, path);
        if (inotify_add_watch(w->pfd[1].fd, at ? dir : ".",
                              WATCHED | IN_ONLYDIR) < 0) {
            /* When this directory is made, the watch of its parent says so */
            return errno == ENOENT || errno == ENOTDIR ||
                   cannot_watch(w, at ? dir : ".");
        }
        end = at + strcspn(path + at, "/");
        snprintf(dir, sizeof(dir), "%.*s", (int)end, path);
        size = readlink(dir, target, sizeof(target));
        if (size < 0) {
            at = end;
            continue;
        }
        /* A link: put the target in the place of the link's name */
        begin = *target == '/' ? 0 : at;
        if (++links > LINKS_MAX ||
            begin + size + strlen(path + end) >= sizeof(path)) {
            break;              /* opening the path fails as well */
        }
        memmove(path + begin + size, path + end, strlen(path + end) + 1);
        memcpy(path + begin, target, size);
        at = begin;
    }
    return true;
}

/* Take all events. Returns: whether one of them is news of a port */
static bool watch_news(Watch *w)
{
    char buffer[4096] __attribute__((aligned(8)));
    Uevent event;
    UeventResult result;
    bool news = false;
    ssize_t got;

    while (w->pfd[0].fd >= 0 &&
           (result = uevent_next(w->pfd[0].fd, &event)) != UEVENT_NONE) {
        news |= result == UEVENT_LOST || !event.removed;
    }
    while (w->pfd[1].fd >= 0 &&
           (got = read(w->pfd[1].fd, buffer, sizeof(buffer))) > 0) {
        const struct inotify_event *e;
        char *p;

        for (p = buffer; p < buffer + got; p += sizeof(*e) + e->len) {
            e = (void *)p;
            news |= w->path || e->mask & IN_Q_OVERFLOW ||
                    (e->len && strncmp(e->name, "vport", 5) == 0);
        }
    }
    return news;
}

/*
 * Open the one port that matches. Returns: an exit code. If a later try may
 * succeed, *@again is set, and there is no message.
 */
static int try_open(Connect *c, const PortFilter *filter, bool *again)
{
    PortList list;
    Port port;
    int ret;

    port_list(filter, &list);
    *again = c->wait && list.count == 0;
    if (*again) {
        return VSER_NO_PORT;
    }
    ret = port_pick(c->text, &list, &port);
    if (ret != EXIT_SUCCESS) {
        return ret;
    }
    snprintf(c->name, sizeof(c->name), "%s", port.name);
    c->fd = port_open(&port);
    ret = errno;
    port_free(&port);
    if (c->fd >= 0) {
        return EXIT_SUCCESS;
    }
    errno = ret;
    if (c->wait && (errno == ENOENT || errno == EACCES || errno == EPERM ||
                    errno == ENODEV || errno == ENXIO)) {
        *again = true;      /* before udev is done, or the port has gone */
    } else {
        port_open_failed(c->name);
    }
    return VSER_FAILED;
}

static int open_port(Connect *c)
{
    PortFilter filter;
    bool again, told = false;
    Watch w;
    int ret;

    if (!port_filter_parse(c->text, &filter)) {
        return VSER_USAGE;
    }
    if (c->wait && !watch_begin(&w, filter.path)) {
        return VSER_FAILED;
    }
    for (;;) {
        if (c->wait && filter.path && !watch_path(&w)) {
            return VSER_FAILED;
        }
        ret = try_open(c, &filter, &again);
        if (ret == EXIT_SUCCESS || !again) {
            break;
        }
        if (ret == VSER_FAILED && !told &&
            (errno == EACCES || errno == EPERM)) {
            vser_error("%s/%s: %s; waiting", VSER_DEV, c->name,
                       strerror(errno));
            told = true;
        }
        do {
            if (time_left(c) == 0) {
                vser_error("no port '%s' that can be opened came in time",
                           c->text);
                watch_end(&w);
                return VSER_NO_PORT;
            }
            poll(w.pfd, 2, time_left(c));
        } while (!watch_news(&w));
    }
    if (c->wait) {
        watch_end(&w);
    }
    return ret;
}

static int unplugged(const Connect *c)
{
    vser_error("%s: unplugged", c->name);
    return VSER_UNPLUGGED;
}

/* --fd: check that the file descriptor is for a port, and for the right one */
static int take_port(Connect *c)
{
    int flags = fcntl(c->given, F_GETFL);
    PortFilter filter;
    Port port;
    bool meant;

    if (c->text && !port_filter_parse(c->text, &filter)) {
        return VSER_USAGE;
    }
    if (flags < 0) {
        vser_error("--fd=%d: %s", c->given, strerror(errno));
        return VSER_FAILED;
    }
    c->fd = c->given;
    if (!port_name_of(c->fd, c->name)) {
        vser_error("--fd=%d: not open on a port", c->given);
        return VSER_NO_PORT;
    }
    /* port_is_unplugged() needs O_NONBLOCK too: else its read would block */
    if (fcntl(c->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        (c->fd > STDERR_FILENO && fcntl(c->fd, F_SETFD, FD_CLOEXEC) < 0)) {
        vser_error("--fd=%d: %s", c->given, strerror(errno));
        return VSER_FAILED;
    }
    /* If the port has gone, c->name may be the name of the next port */
    if (port_is_unplugged(c->fd)) {
        return unplugged(c);
    }
    if (c->text) {
        meant = port_read(c->name, &port) && port_matches(&port, &filter);
        port_free(&port);
        if (!meant) {
            vser_error("--fd=%d: %s is not '%s'", c->given, c->name, c->text);
            return VSER_NO_PORT;
        }
    }
    if ((flags & O_ACCMODE) != O_RDWR) {
        vser_error("--fd=%d: %s is not open for reading and writing", c->given,
                   c->name);
        return VSER_FAILED;
    }
    /* The service manager's variables were for us, not for our command */
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return EXIT_SUCCESS;
}

/* ------------------------------------------------------------------ */
/* Buffers */

/* Bytes of one direction that are read and not yet written */
typedef struct Buffer {
    size_t start, end;
    char data[65536];
} Buffer;

static bool buffer_empty(const Buffer *b)
{
    return b->start == b->end;
}

/* Read into an empty buffer. Returns: what read() returns */
static ssize_t buffer_fill(Buffer *b, int fd)
{
    ssize_t got = read(fd, b->data, sizeof(b->data));

    b->start = 0;
    b->end = got > 0 ? got : 0;
    return got;
}

/* Write up to @max bytes. Returns: false and errno on failure */
static bool buffer_drain(Buffer *b, int fd, size_t max)
{
    size_t size = b->end - b->start;
    ssize_t put = write(fd, b->data + b->start, MIN(size, max));

    if (put < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    b->start += put;
    return true;
}

/* ------------------------------------------------------------------ */
/* Wait for the host */

static bool host_is_open(const Connect *c)
{
    struct pollfd p = { .fd = c->fd };

    return poll(&p, 1, 0) <= 0 || !(p.revents & POLLHUP);
}

/*
 * Wait until the host has opened its side, with an edge-triggered epoll: see
 * step 2 at the top.
 *
 * The host may have closed its side again before we look. If there are bytes
 * from the host, they are read into @early, and the wait ends. With @early NULL
 * only an open host ends the wait.
 */
static int connect_wait_for_host(const Connect *c, Buffer *early)
{
    bool told = c->wait;
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
    int ret = EXIT_SUCCESS;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) < 0) {
        vser_error("%s: can't wait for the host: %s", c->name,
                   strerror(errno));
        return VSER_FAILED;
    }
    while (!host_is_open(c)) {
        if (early && buffer_fill(early, c->fd) > 0) {
            break;
        }
        if (!told) {
            vser_error("%s: waiting for the host to open its side", c->name);
            told = true;
        }
        if (port_is_unplugged(c->fd)) {
            ret = unplugged(c);
            break;
        }
        if (time_left(c) == 0) {
            vser_error("%s: the host did not open its side in time", c->name);
            ret = VSER_NO_PORT;
            break;
        }
        epoll_wait(epoll, &e, 1, time_left(c));
    }
    close(epoll);
    return ret;
}

/* ------------------------------------------------------------------ */
/* A program instead of stdin and stdout */

static int run_command(const Connect *c)
{
    char path[PATH_MAX];
    int error;

    snprintf(path, sizeof(path), "%s/%s", VSER_DEV, c->name);
    if (setenv("VSER_PORT", path, 1) < 0 ||
        fcntl(c->fd, F_SETFL, O_RDWR) < 0 ||
        dup2(c->fd, STDIN_FILENO) < 0 || dup2(c->fd, STDOUT_FILENO) < 0) {
        vser_error("%s: %s", path, strerror(errno));
        return VSER_FAILED;
    }
    if (c->user.name && !user_become(&c->user)) {
        _exit(VSER_FAILED);
    }
    execvp(c->command[0], c->command);
    error = errno;
    vser_error("%s: %s", c->command[0], strerror(error));
    /* stdout is the port now: exit() would write our buffers to the port */
    _exit(error == ENOENT ? EXIT_NO_PROGRAM : EXIT_CANNOT_EXEC);
}

/* ------------------------------------------------------------------ */
/* Copy */

static bool nothing_to_read(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/*
 * The most bytes for one write to stdout. stdout may block, and we don't change
 * that: other programs may have the same open file. A pipe that is writable for
 * poll() takes PIPE_BUF bytes without blocking.
 */
static size_t stdout_chunk(void)
{
    struct stat st;

    return fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) ?
           sizeof(((Buffer *)0)->data) : PIPE_BUF;
}

/* @to_stdout: may have bytes already. Returns: an exit code */
static int connect_copy(const Connect *c, Buffer *to_stdout)
{
    static Buffer to_host;
    size_t chunk = stdout_chunk();
    bool stdin_ended = false, host_closed = false, port_ended = false;

    while (!port_ended || !buffer_empty(to_stdout)) {
        bool read_stdin = !stdin_ended && buffer_empty(&to_host) &&
                          !host_closed;
        bool write_host = !buffer_empty(&to_host) && !host_closed;
        bool read_host = !port_ended && buffer_empty(to_stdout);
        /*
         * When the host has closed its side, poll() returns at once for the
         * port. So the port is in the set only if there is something to do.
         */
        struct pollfd p[] = {
            { read_stdin ? STDIN_FILENO : -1, POLLIN, 0 },
            { buffer_empty(to_stdout) ? -1 : STDOUT_FILENO, POLLOUT, 0 },
            { read_host || write_host ? c->fd : -1,
              (read_host ? POLLIN : 0) | (write_host ? POLLOUT : 0), 0 },
        };

        /* With --quit too, bytes that are read are written before the end */
        if (stdin_ended && c->quit && buffer_empty(&to_host) &&
            buffer_empty(to_stdout)) {
            return EXIT_SUCCESS;
        }
        if (poll(p, 3, -1) < 0) {
            continue;       /* EINTR: a signal that does not end us */
        }

        if (p[0].revents) {
            ssize_t got = buffer_fill(&to_host, STDIN_FILENO);

            if (got == 0 || (got < 0 && !nothing_to_read())) {
                if (got < 0) {
                    vser_error("stdin: %s", strerror(errno));
                }
                stdin_ended = true;
            }
        }
        if (p[1].revents && !buffer_drain(to_stdout, STDOUT_FILENO, chunk)) {
            vser_error("stdout: %s", strerror(errno));
            return VSER_FAILED;
        }
        if (p[2].revents & POLLHUP && port_is_unplugged(c->fd)) {
            return unplugged(c);
        }
        if (p[2].fd >= 0) {
            host_closed = p[2].revents & POLLHUP;
        }
        if (p[2].revents & POLLOUT && !host_closed &&
            !buffer_drain(&to_host, c->fd, SIZE_MAX)) {
            if (errno == ENODEV) {
                return unplugged(c);
            }
            vser_error("%s: %s", c->name, strerror(errno));
            return VSER_FAILED;
        }
        if (p[2].revents && read_host) {
            ssize_t got = buffer_fill(to_stdout, c->fd);

            if (got < 0 && errno == ENODEV) {
                return unplugged(c);
            }
            if (got < 0 && !nothing_to_read()) {
                vser_error("%s: %s", c->name, strerror(errno));
                return VSER_FAILED;
            }
            port_ended = got == 0;
        }
    }
    return EXIT_SUCCESS;
}

/* ------------------------------------------------------------------ */

static const char connect_help[] =
    "usage: vser connect [OPTION...] VVVV:PPPP[:SERIAL] [--exec CMD...]\n"
    "       vser connect [OPTION...] PATH [--exec CMD...]\n"
    "\n"
    "Connect stdin and stdout to the port with that idVendor and idProduct,\n"
    "in hex, and that serial number. SERIAL may also be the port's name, as\n"
    "lsvser shows it. PATH is the port's node or a link to the node.\n"
    "\n"
    "  -w, --wait[=SECONDS]  wait for the port to appear and for the host to\n"
    "                        open its side, at most SECONDS\n"
    "  -q, --quit            end when stdin ends, not when the host closes\n"
    "  -e, --exec CMD...     run CMD with the port as stdin and stdout; the\n"
    "                        variable VSER_PORT is the path of the node\n"
    "  -u, --user=NAME       run CMD as that user, who needs no right to open\n"
    "                        the node; for root\n"
    "  -f, --fd=N            the port is open already, as file descriptor N;\n"
    "                        fail if another port is given as well\n"
    "\n"
    "Exit status: 0 the host has closed its side (or -q, stdin has ended);\n"
    "1 failed; 2 usage; 3 no port, or none in time; 4 more than one port;\n"
    "5 the port was unplugged; with --exec the exit status of CMD, 126 if CMD\n"
    "can't be run, 127 if there is no CMD.\n";

static bool parse_seconds(const char *text, double *deadline)
{
    char *end;
    double seconds = strtod(text, &end);

    if (!isdigit((unsigned char)*text) || *end || !isfinite(seconds)) {
        vser_error("--wait='%s': expected a number of seconds, as in 2.5",
                   text);
        return false;
    }
    *deadline = now_ms() + seconds * 1000;
    return true;
}

static bool parse_fd(const char *text, int *fd)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (!isdigit((unsigned char)*text) || *end || value > INT_MAX ||
        value == STDERR_FILENO) {
        vser_error("--fd='%s': expected the number of a file descriptor other "
                   "than 2, as in 3", text);
        return false;
    }
    *fd = value;
    return true;
}

static bool set_port(Connect *c, const char *text)
{
    if (c->text) {
        vser_error("'%s': one port is given already, '%s'", text, c->text);
        return false;
    }
    c->text = text;
    return true;
}

int vser_connect(int argc, char **argv)
{
    static Buffer to_stdout;
    static const struct option connect_options[] = {
        { "wait", optional_argument, NULL, 'w' },
        { "quit", no_argument, NULL, 'q' },
        { "exec", no_argument, NULL, 'e' },
        { "user", required_argument, NULL, 'u' },
        { "fd", required_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },
        { 0 }
    };
    /*
     * "-": take words in their order, as everything behind --exec is the
     * command. -e has an optional argument so that "-eCMD" can be refused.
     */
    static const char letters[] = "-w::qe::u:f:h";
    Connect c = { .given = -1, .deadline = INFINITY };
    const char *user = NULL;
    int option, ret;

    while (!c.command &&
           (option = getopt_long(argc, argv, letters, connect_options,
                                 NULL)) != -1) {
        switch (option) {
        case 1:
            if (!set_port(&c, optarg)) {
                return VSER_USAGE;
            }
            break;
        case 'w':
            c.wait = true;
            if (optarg && !parse_seconds(optarg, &c.deadline)) {
                return VSER_USAGE;
            }
            break;
        case 'q':
            c.quit = true;
            break;
        case 'e':
            if (optarg) {
                vser_error("-e%s: expected -e and then the command", optarg);
                return VSER_USAGE;
            }
            if (optind < argc && strcmp(argv[optind], "--") == 0) {
                optind++;
            }
            c.command = argv + optind;
            break;
        case 'u':
            user = optarg;
            break;
        case 'f':
            if (!parse_fd(optarg, &c.given)) {
                return VSER_USAGE;
            }
            break;
        case 'h':
            fputs(connect_help, stdout);
            return EXIT_SUCCESS;
        default:
            return VSER_USAGE;
        }
    }
    /* Behind "--", getopt_long() stops: the rest are words */
    while (!c.command && optind < argc) {
        if (!set_port(&c, argv[optind++])) {
            return VSER_USAGE;
        }
    }
    if ((!c.text && c.given < 0) || (c.command && !c.command[0])) {
        vser_error("%s; see vser connect --help", c.text || c.given >= 0 ?
                   "--exec: no command" : "no port is given");
        return VSER_USAGE;
    }
    if (user && !c.command) {
        vser_error("--user is for the command of --exec");
        return VSER_USAGE;
    }
    if (c.given >= 0 && c.given <= STDOUT_FILENO && !c.command) {
        vser_error("--fd=%d: %s can't be copied to itself; expected --exec",
                   c.given, c.given ? "stdout" : "stdin");
        return VSER_USAGE;
    }
    if (c.command && c.quit) {
        vser_error("--quit is for stdin, which --exec does not use");
        return VSER_USAGE;
    }

    /* Find the user now: a wrong name must not show only when the host comes */
    if (user && !user_find(user, &c.user)) {
        return VSER_FAILED;
    }
    ret = c.given >= 0 ? take_port(&c) : open_port(&c);
    if (ret != EXIT_SUCCESS) {
        return ret;
    }
    if (c.wait || !c.command) {
        ret = connect_wait_for_host(&c, c.command ? NULL : &to_stdout);
    }
    if (ret == EXIT_SUCCESS) {
        ret = c.command ? run_command(&c) : connect_copy(&c, &to_stdout);
    }
    close(c.fd);
    return ret;
}
