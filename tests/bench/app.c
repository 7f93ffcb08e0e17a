/*
 * Programs of the host at the other end of ports, as processes of their own
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "app.h"
#include "machine.h"

#define load(p)         __atomic_load_n(p, __ATOMIC_RELAXED)
#define store(p, value) __atomic_store_n(p, value, __ATOMIC_RELAXED)

/*
 * What runs in the process
 */

static G_GNUC_NORETURN void fail(const char *what)
{
    fprintf(stderr, "%s a port's socket: %s\n", what, strerror(errno));
    _exit(1);
}

static ssize_t move(int socket, bool writes, void *buffer, size_t chunk,
                    int flags)
{
    ssize_t ret = writes ? send(socket, buffer, chunk, flags | MSG_NOSIGNAL)
                         : recv(socket, buffer, chunk, flags);

    if (ret == 0) {
        errno = ECONNRESET;
    }
    if (ret <= 0 && errno != EAGAIN) {
        fail(writes ? "writing to" : "reading from");
    }
    return ret;
}

/* All of it. With one socket there is nothing to wait for but that one. */
static void move_one(int socket, bool writes, void *buffer, size_t chunk,
                     AppState *state)
{
    while (!load(&state->stop)) {
        store(&state->bytes, state->bytes +
              move(socket, writes, buffer, chunk, 0));
    }
}

static void move_many(const int *sockets, unsigned int count, bool writes,
                      void *buffer, size_t chunk, AppState *state)
{
    g_autofree struct pollfd *polls = g_new0(struct pollfd, count);
    unsigned int i;

    for (i = 0; i < count; i++) {
        polls[i].fd = sockets[i];
        polls[i].events = writes ? POLLOUT : POLLIN;
    }
    while (!load(&state->stop)) {
        /* To end it must not wait for long */
        if (poll(polls, count, 10) < 0) {
            fail("polling");
        }
        for (i = 0; i < count; i++) {
            if (polls[i].revents) {
                ssize_t ret = move(sockets[i], writes, buffer, chunk,
                                   MSG_DONTWAIT);

                store(&state->bytes, state->bytes + MAX(ret, 0));
            }
        }
    }
}

static void read_chunk(int socket, void *buffer, size_t chunk)
{
    size_t done = 0;

    while (done < chunk) {
        done += move(socket, false, (uint8_t *)buffer + done, chunk - done, 0);
    }
}

static void write_chunk(int socket, void *buffer, size_t chunk)
{
    size_t done = 0;

    while (done < chunk) {
        done += move(socket, true, (uint8_t *)buffer + done, chunk - done, 0);
    }
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void ping(int socket, void *buffer, size_t chunk, AppState *state)
{
    while (!load(&state->stop)) {
        uint64_t start = now_ns();

        write_chunk(socket, buffer, chunk);
        read_chunk(socket, buffer, chunk);
        state->ns[state->nr_samples % APP_SAMPLES] = now_ns() - start;
        store(&state->nr_samples, state->nr_samples + 1);
    }
}

static void echo(int socket, void *buffer, size_t chunk)
{
    while (true) {
        read_chunk(socket, buffer, chunk);
        write_chunk(socket, buffer, chunk);
    }
}

/*
 * What runs here
 */

/* Returns NULL in the process that was started */
static App *app_new(AppState **state)
{
    App *app = g_new0(App, 1);
    pid_t parent = getpid();

    *state = app->state = mmap(NULL, sizeof(AppState), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(app->state != MAP_FAILED);
    app->pid = fork();
    if (app->pid < 0) {
        g_error("could not start a process: %s", strerror(errno));
    }
    if (app->pid) {
        return app;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    return NULL;
}

static App *app_mover(const int *sockets, unsigned int count, bool writes,
                      size_t chunk)
{
    AppState *state;
    App *app = app_new(&state);

    if (!app) {
        void *buffer = g_malloc0(chunk);

        if (count == 1) {
            move_one(sockets[0], writes, buffer, chunk, state);
        } else {
            move_many(sockets, count, writes, buffer, chunk, state);
        }
        _exit(0);
    }
    return app;
}

App *app_writer(const int *sockets, unsigned int count, size_t chunk)
{
    return app_mover(sockets, count, true, chunk);
}

App *app_reader(const int *sockets, unsigned int count, size_t chunk)
{
    return app_mover(sockets, count, false, chunk);
}

App *app_ping(int socket, size_t chunk)
{
    AppState *state;
    App *app = app_new(&state);

    if (!app) {
        ping(socket, g_malloc0(chunk), chunk, state);
        _exit(0);
    }
    return app;
}

App *app_echo(int socket, size_t chunk)
{
    AppState *state;
    App *app = app_new(&state);

    if (!app) {
        echo(socket, g_malloc0(chunk), chunk);
    }
    return app;
}

bool app_ended(App *app)
{
    int status;

    if (app->pid && waitpid(app->pid, &status, WNOHANG) == app->pid) {
        if (status) {
            g_error("a program of the host ended with wait status %d", status);
        }
        app->pid = 0;
    }
    return !app->pid;
}

uint64_t app_bytes(const App *app)
{
    return load(&app->state->bytes);
}

uint64_t app_cpu_ns(const App *app)
{
    return process_cpu_ns(app->pid);
}

void app_free(App *app)
{
    if (app->pid) {
        kill(app->pid, SIGKILL);
        waitpid(app->pid, NULL, 0);
    }
    munmap(app->state, sizeof(*app->state));
    g_free(app);
}
