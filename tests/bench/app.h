/*
 * Programs of the host at the other end of ports, as processes of their own
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BENCH_APP_H
#define TESTS_BENCH_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <glib.h>

#define APP_SAMPLES 65536

/* Memory that a program shares with this process */
typedef struct AppState {
    bool stop;                  /* end soon; set here */
    uint64_t bytes;             /* written or read so far */
    uint32_t nr_samples;
    uint32_t ns[APP_SAMPLES];   /* of round trips */
} AppState;

typedef struct App {
    pid_t pid;
    AppState *state;
} App;

/*
 * Each function starts a program on @count sockets. The program moves @chunk
 * bytes with a system call, if so many can be moved. An error ends this
 * process.
 */

/* Write as much as goes, until the program is told to stop. */
App *app_writer(const int *sockets, unsigned int count, size_t chunk);

/* Read all that comes, until the program is killed. */
App *app_reader(const int *sockets, unsigned int count, size_t chunk);

/* Write a chunk to the one socket, wait until it is back, and so on. */
App *app_ping(int socket, size_t chunk);

/* Write back all that comes, until the program is killed. */
App *app_echo(int socket, size_t chunk);

/* Has the program ended by itself? */
bool app_ended(App *app);

/* Bytes so far */
uint64_t app_bytes(const App *app);

/* The program's CPU time so far, in nanoseconds */
uint64_t app_cpu_ns(const App *app);

/* Kill the program if it has not ended, and free its memory. */
void app_free(App *app);

#endif /* TESTS_BENCH_APP_H */
