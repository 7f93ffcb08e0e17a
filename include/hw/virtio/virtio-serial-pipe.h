/*
 * The byte pipe of a virtio-serial port, without copies
 *
 * To the host: the bytes in the ring go to the backend in one call, straight
 * from guest memory. To the guest: virtio-serial-lend.h.
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
    /* Counters, in bytes; copied counts both directions */
    uint64_t to_guest, to_host, copied;
    /* How many bytes to prepare at a time, in each direction */
    size_t lend_goal, send_goal;
    /* The ring came with a migration, and its host is not connected yet */
    bool waits;
    /* The host went while the machine was stopped: discard the ring */
    bool lost;
    /* How many of the next bytes have_data() has refused already */
    size_t refused;
    /* The machine ran at the last virtio_serial_pipe_set_running() */
    bool running;
    /* The guest's buffers that are lent now, and their size in bytes */
    QTAILQ_HEAD(, VirtIOSerialLent) lent;
    size_t lent_size;
} VirtIOSerialPipe;

/* A counter of a port; the table's last entry has no name */
typedef struct VirtIOSerialCounter {
    const char *name, *help;
    size_t offset;              /* in VirtIOSerialPipe */
} VirtIOSerialCounter;

extern const VirtIOSerialCounter virtio_serial_counters[];

uint64_t virtio_serial_counter(VirtIOSerialPort *port,
                               const VirtIOSerialCounter *counter);

/* Give a class of ports the counters as properties. */
void virtio_serial_pipe_class_init(ObjectClass *klass);

void virtio_serial_pipe_init(VirtIOSerialPort *port);

/**
 * virtio_serial_pipe_send:
 * @port: its output queue is ready
 *
 * Hand the guest's bytes to the port's have_data(), until the ring is empty or
 * the port is throttled. If the host is absent, give the buffers back. An
 * element that was begun and not finished is port->elem, from port->iov_idx and
 * iov_offset on; all later elements are in the ring. Work that is too much for
 * one turn of the main loop is done in later turns, by port->bh.
 */
void virtio_serial_pipe_send(VirtIOSerialPort *port);

/*
 * The host has gone: give the guest back all buffers of the ring, and the
 * buffer that was begun.
 */
void virtio_serial_pipe_discard(VirtIOSerialPort *port);

/* The guest is reset: bytes that were refused will not be offered again. */
void virtio_serial_pipe_reset(VirtIOSerialPort *port);

/**
 * virtio_serial_pipe_set_running:
 * @port: a port
 * @running: whether the machine runs
 *
 * Call this function at each change. A machine that stops may go on in another
 * QEMU, which expects a notification of each buffer: ask the guest for
 * notifications. When the machine goes on, send what is in the ring.
 */
void virtio_serial_pipe_set_running(VirtIOSerialPort *port, bool running);

#endif /* QEMU_VIRTIO_SERIAL_PIPE_H */
