/*
 * Helpers of the virtio-serial testcases: the other end of a port's chardev
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_SERIAL_HOST_H
#define TESTS_VIRTIO_SERIAL_HOST_H

#include "libqtest.h"

typedef struct VSerEnd VSerEnd;

/* A kind of chardev, and how to talk to it */
typedef struct VSerBackend {
    const char *name;
    /* Add the chardev end->id, and connect to it unless that is for later */
    void (*add)(VSerEnd *end);
    void (*connect)(VSerEnd *end);
    /* From bytes to what is written, and back from what was read */
    void (*encode)(VSerEnd *end, const uint8_t *data, size_t len);
    void (*decode)(VSerEnd *end, GByteArray *data);
    /* QEMU can't read into the guest's buffers: it has to look at the bytes */
    bool copies;
    /* QEMU hands over each byte alone, and loses bytes if buffers are larger */
    bool bytewise;
    /* All that the guest writes is also in a log file, "<path>.log" */
    bool logged;
    /* Returns: why @qts can't have it, for g_free(); NULL if @qts can */
    char *(*missing)(QTestState *qts);
} VSerBackend;

struct VSerEnd {
    const VSerBackend *backend;
    QTestState *qts;        /* the QEMU with the chardev */
    char *id;               /* the chardev's */
    char *dir, *path;       /* for what the chardev needs in the file system */
    int in, out;            /* to read from QEMU and to write to it, or -1 */
    GPid client;            /* the process that has the connection; or 0 */
    int theirs;             /* VSER_PAIR: QEMU's end, as well as QEMU has it */
    bool gone;              /* QEMU has closed its end */
    unsigned int frames;    /* of a websocket: the bytes read so far */
    GByteArray *read, *written; /* not decoded, not taken by the system yet */
};

/* All backends that carry a stream both ways; the last entry has no name */
extern const VSerBackend vser_backends[];

/* Backends that tests ask for */
extern const VSerBackend *const vser_unix, *const vser_pair;

/*
 * Datagrams: a write sends one, a read gets one. QEMU's address is known from
 * its first datagram: vser_end_answer().
 */
extern const VSerBackend vser_udp;

/* Returns: the backend of that name */
const VSerBackend *vser_find_backend(const char *name);

/* Skip the case if @qts can't have @backend. Returns: whether it is skipped */
bool vser_skip_without_backend(QTestState *qts, const VSerBackend *backend);

/**
 * vser_end_new:
 * @qts: a QEMU
 * @id: of the chardev that it gets
 * @backend: of which kind
 *
 * Returns: the other end of a new chardev, not connected yet.
 */
VSerEnd *vser_end_new(QTestState *qts, const char *id,
                      const VSerBackend *backend);

/* Let QEMU forget the chardev, unless it has ended, and free all. */
void vser_end_free(VSerEnd *end, bool remove);

void vser_end_connect(VSerEnd *end);
void vser_end_disconnect(VSerEnd *end);

/* Wait until QEMU knows that the other end of a socket is there, or is not. */
void vser_end_wait(VSerEnd *end, bool connected);

/**
 * vser_end_write:
 * @end: connected
 * @data: for the guest
 * @len: how many bytes
 *
 * Write as many bytes as go at once. Later calls write the rest; a call with a
 * @len of 0 writes only the rest.
 *
 * Returns: how many bytes, encoded, wait.
 */
size_t vser_end_write(VSerEnd *end, const uint8_t *data, size_t len);

/**
 * vser_end_flush:
 * @end: connected
 *
 * Wait until the system, or end->client, has taken all that was written.
 */
void vser_end_flush(VSerEnd *end);

/**
 * vser_end_read:
 * @end: connected
 * @max: read no more than that
 * @data: what the guest has written is added here
 *
 * Returns: whether there was anything to read, now.
 */
bool vser_end_read(VSerEnd *end, size_t max, GByteArray *data);

/*
 * QEMU's standard input and output, which have to be there before QEMU is: its
 * command line ends in vser_stdio_args(), g_free() them, and names a chardev.
 */
extern const VSerBackend vser_stdio;
char *vser_stdio_args(VSerEnd *end);

/* Wait for a datagram, not read yet, and write to where it is from. */
void vser_end_answer(VSerEnd *end);

/* Have @qts make @backend, which is freed, the chardev @id. */
QDict *vser_add_chardev(QTestState *qts, const char *id, QDict *backend);

#endif /* TESTS_VIRTIO_SERIAL_HOST_H */
