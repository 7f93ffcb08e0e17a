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
    /* QEMU can't read into the guest's buffers: bytes mean more than bytes */
    bool copies;
    /* QEMU hands each byte on alone, and loses some for who needs more room */
    bool bytewise;
    /* What the guest writes is in a file as well, "<path>.log" */
    bool logged;
    /* Returns: why it can't be had with @qts, NULL: it can; g_free() that */
    char *(*missing)(QTestState *qts);
} VSerBackend;

struct VSerEnd {
    const VSerBackend *backend;
    QTestState *qts;        /* the QEMU with the chardev */
    char *id;               /* the chardev's */
    char *dir, *path;       /* for what the chardev needs in the file system */
    int in, out;            /* to read from QEMU and to write to it, or -1 */
    GPid client;            /* has the connection, and in and out; or 0 */
    int theirs;             /* VSER_PAIR: QEMU's end, as well as QEMU has it */
    bool gone;              /* QEMU has closed its end */
    unsigned int frames;    /* of a websocket, read so far */
    GByteArray *read, *written; /* not decoded, not taken by the system yet */
};

/* All that can carry a stream both ways; the last one has no name */
extern const VSerBackend vser_backends[];

/* Those that tests ask for */
extern const VSerBackend *const vser_unix, *const vser_pair;

/*
 * Datagrams: each write is one and each read gets one. Where QEMU is, the first
 * one from there has to tell: vser_end_answer().
 */
extern const VSerBackend vser_udp;

/* Returns: the one of that name */
const VSerBackend *vser_find_backend(const char *name);

/* Skip the case if @backend is not for @qts; returns whether it is not */
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
 * Write all that goes at once; what does not is written by later calls, which
 * may have a @len of 0 for that.
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
