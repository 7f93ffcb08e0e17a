/*
 * The byte pipe of a virtio-serial port, to the guest
 *
 * The port lends the guest's buffers to the backend, and the backend reads into
 * the buffers.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_LEND_H
#define QEMU_VIRTIO_SERIAL_LEND_H

typedef struct VirtIOSerialPort VirtIOSerialPort;

/**
 * virtio_serial_pipe_has_room:
 * @port: its input queue is ready
 *
 * Call this function before waiting for a buffer of the guest. The guest
 * notifies only of the first buffer that it adds after the function has
 * returned false.
 *
 * Returns: whether the guest has a buffer to be filled.
 */
bool virtio_serial_pipe_has_room(VirtIOSerialPort *port);

/**
 * virtio_serial_pipe_write:
 * @port: its input queue is ready
 * @buf: bytes for the guest
 * @size: how many
 *
 * Copy bytes to the guest, for a caller that has them in a buffer already.
 *
 * Returns: how many bytes there was room for.
 */
size_t virtio_serial_pipe_write(VirtIOSerialPort *port, const uint8_t *buf,
                                size_t size);

/**
 * virtio_serial_lend:
 * @port: a port
 * @iov: filled with the guest's buffers
 * @max: how many entries @iov has room for, at least 1
 *
 * Lend memory that the guest wants to have filled: about as many bytes as the
 * backend used the last time, and more if the backend used all of them. The
 * caller must give the memory back (virtio_serial_give_back()) before anything
 * else happens to the port.
 *
 * Returns: how many entries of @iov are filled. 0 if the guest has no buffer or
 * the port is not open at both ends; then don't call virtio_serial_give_back().
 */
size_t virtio_serial_lend(VirtIOSerialPort *port, struct iovec *iov,
                          size_t max);

/**
 * virtio_serial_give_back:
 * @port: a port with lent buffers
 * @size: how many bytes are in them now, from the first one on
 *
 * Give the guest the filled buffers, with one notification, and put the other
 * buffers back into the ring, as if nobody had taken them out.
 */
void virtio_serial_give_back(VirtIOSerialPort *port, size_t size);

#endif /* QEMU_VIRTIO_SERIAL_LEND_H */
