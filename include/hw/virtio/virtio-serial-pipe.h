/*
 * The byte pipe of a virtio-serial port, without copies
 *
 * To the host: what the ring holds goes to the backend in one call, straight
 * from guest memory. To the guest: the backend is lent the guest's buffers and
 * reads into them.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_PIPE_H
#define QEMU_VIRTIO_SERIAL_PIPE_H

#include "qemu/queue.h"
#include "qom/object.h"

typedef struct VirtIOSerialPort VirtIOSerialPort;
typedef struct VirtIOSerialLent VirtIOSerialLent;

typedef struct VirtIOSerialPipe {
    /* Counters, in bytes; what was copied went one way or the other */
    uint64_t to_guest, to_host, copied;
    /* How many bytes are worth getting ready at a time */
    size_t lend_goal, send_goal;
    /* What came with a migration is for a host that is not here yet */
    bool waits;
    /* The host has gone while the machine was stopped: to be seen to */
    bool lost;
    /* So many bytes, the next ones, were handed over and not taken */
    size_t refused;
    /* The machine ran when virtio_serial_pipe_set_running() was told last */
    bool running;
    /* Buffers of the guest's that the backend has just now, and their size */
    QTAILQ_HEAD(, VirtIOSerialLent) lent;
    size_t lent_size;
} VirtIOSerialPipe;

/* Give a class of ports the counters as properties. */
void virtio_serial_pipe_class_init(ObjectClass *klass);

void virtio_serial_pipe_init(VirtIOSerialPort *port);

/**
 * virtio_serial_pipe_send:
 * @port: its output queue is ready
 *
 * Hand what the guest has written to the port's have_data(), as much of it as
 * that takes, until the ring is empty or the port is throttled, or give it back
 * if the host is not there. What was begun and not finished is port->elem, from
 * port->iov_idx and iov_offset on; all behind that is in the ring. What is too
 * much for a turn of the main loop is for later ones, in port->bh.
 */
void virtio_serial_pipe_send(VirtIOSerialPort *port);

/*
 * The guest has written for nobody: give it back all that is in the ring, and
 * what was begun.
 */
void virtio_serial_pipe_discard(VirtIOSerialPort *port);

/* The guest is reset, and forgets all that was not taken yet. */
void virtio_serial_pipe_reset(VirtIOSerialPort *port);

/**
 * virtio_serial_pipe_has_room:
 * @port: its input queue is ready
 *
 * To be asked before waiting for a buffer of the guest's: the guest need not
 * tell of one that it adds, but for the first one after this has said no.
 *
 * Returns: whether the guest has a buffer to be filled.
 */
bool virtio_serial_pipe_has_room(VirtIOSerialPort *port);

/**
 * virtio_serial_pipe_set_running:
 * @port: a port
 * @running: whether the machine runs
 *
 * To be told of each change. A machine that stops may go on in a QEMU that
 * takes it for granted that the guest tells of each buffer. One that goes on
 * sends what the guest had in the ring.
 */
void virtio_serial_pipe_set_running(VirtIOSerialPort *port, bool running);

/**
 * virtio_serial_pipe_write:
 * @port: its input queue is ready
 * @buf: bytes for the guest
 * @size: how many
 *
 * Copy bytes to the guest, for who has them in a buffer already.
 *
 * Returns: how many there was room for.
 */
size_t virtio_serial_pipe_write(VirtIOSerialPort *port, const uint8_t *buf,
                                size_t size);

/**
 * virtio_serial_lend:
 * @port: a port
 * @iov: filled with buffers of the guest's
 * @max: how many there is room for, at least 1
 *
 * Get memory that the guest waits to have filled: about as much as the backend
 * had use for the last time, and more if it had used all. It must be given
 * back before anything else happens to the port, which is the caller's from
 * here to there.
 *
 * Returns: how many buffers there are, 0 if the guest has none or the port is
 * not open at both ends. Only in the first case virtio_serial_give_back()
 * follows.
 */
size_t virtio_serial_lend(VirtIOSerialPort *port, struct iovec *iov,
                          size_t max);

/**
 * virtio_serial_give_back:
 * @port: a port with lent buffers
 * @size: how many bytes are in them now, from the first one on
 *
 * Give the guest what was filled, with one notification, and put the others
 * back into the ring as if nobody had looked at them.
 */
void virtio_serial_give_back(VirtIOSerialPort *port, size_t size);

#endif /* QEMU_VIRTIO_SERIAL_PIPE_H */
