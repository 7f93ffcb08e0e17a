/*
 * Helpers for unit tests of chardev: a front end that keeps what it gets, and
 * chardevs with the host's end in the test
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_CHAR_HELPERS_H
#define TESTS_CHAR_HELPERS_H

#include "chardev/char-fe.h"
#include "qemu/main-loop.h"

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
typedef CharBackend CharFrontend;
#endif

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MICRO < 50
static inline char *qemu_chr_get_filename(Chardev *chr)
{
    return g_strdup(chr->filename);
}
#endif

#define CHAR_TEST_TIMEOUT_US    (30 * 1000 * 1000)

typedef struct CharTestFe {
    CharFrontend chr;
    GByteArray *got;
    unsigned int nr_read;   /* calls */
    bool open;
    bool drops;             /* give up a byte when the host has gone */
    QEMUChrEvent last;
} CharTestFe;

/* The test's end of a chardev */
typedef struct CharTestHost {
    char *dir;
    int in, out;            /* what QEMU writes is read from @in */
    Chardev *chr;
} CharTestHost;

/* Initialize what unit tests of chardev need of QEMU */
void char_test_init(int *argc, char ***argv);

/* Handlers of a front end; @opaque is its CharTestFe */
int char_fe_can_read(void *opaque);
void char_fe_read(void *opaque, const uint8_t *buf, int size);
void char_fe_event(void *opaque, QEMUChrEvent event);
/* Give @fe these handlers, also with the next chardev that it gets */
void char_fe_set_handlers(CharTestFe *fe);

/* Connect @fe, which is all zero, to @chr, without handlers */
void char_fe_init(CharTestFe *fe, Chardev *chr);
/* Disconnect @fe from its chardev, which goes too */
void char_fe_cleanup(CharTestFe *fe);

/* Returns: a new front end of @chr, with handlers; char_fe_free() it */
CharTestFe *char_fe_new(Chardev *chr);
void char_fe_free(CharTestFe *fe);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CharTestFe, char_fe_free)

/* Let QEMU work until @condition */
#define wait_until(condition)                                           \
    do {                                                                \
        gint64 start = g_get_monotonic_time();                          \
                                                                        \
        while (!(condition)) {                                          \
            g_assert_cmpint(g_get_monotonic_time() - start, <,          \
                            CHAR_TEST_TIMEOUT_US);                      \
            main_loop_wait(true);                                       \
        }                                                               \
    } while (0)

/* Let QEMU do all that it has to do now */
void settle(void);

void make_nonblocking(int fd);

/* Returns: a chardev with these @options of -chardev */
Chardev *new_chardev(const char *options);

/*
 * Make a chardev with the id "chr" and its host's end. @type: "socket", "pty"
 * or "pipe"; "seqpacket" is a socket whose writes are messages, and "mux",
 * "hub" and "log" are a socket with a layer on it.
 */
void char_host_init(CharTestHost *host, const char *type);
/* Close the host's end */
void char_host_close(CharTestHost *host);
void char_host_cleanup(CharTestHost *host);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CharTestHost, char_host_cleanup)

/* Returns: @len bytes, each pair of bytes once in 64 KiB; g_free() them */
uint8_t *make_data(size_t len);

/* Have the host write @data while QEMU reads it */
void char_host_send(CharTestHost *host, CharTestFe *fe, const uint8_t *data,
                    size_t len);

/*
 * Read what is there into @data, behind its @len bytes, up to @size bytes in
 * all. Returns: how many bytes @data has then
 */
size_t char_host_receive(CharTestHost *host, uint8_t *data, size_t len,
                         size_t size);

#endif
