/*
 * The byte pipe of a virtio-serial port, without copies: to the guest
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "trace.h"
#include "virtio-serial-pipe-internal.h"

/*
 * The most segments that are lent at a time; the last buffer may go beyond. No
 * driver may post buffers there that nothing can be written to; the port passes
 * over such buffers, but for no more than a turn.
 */
#define LEND_SEGMENTS   256

struct VirtIOSerialLent {
    VirtQueueElement elem;
    QTAILQ_ENTRY(VirtIOSerialLent) next;
};
/* virtqueue_pop() makes room for what is behind, and pipe_unpop() frees it */
QEMU_BUILD_BUG_ON(offsetof(struct VirtIOSerialLent, elem) != 0);

/* Can the guest take bytes, if it has buffers for them? */
static bool pipe_guest_reads(VirtIOSerialPort *port)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(port->vser);

    return virtio_queue_ready(port->ivq) &&
           (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
           port->host_connected && port->guest_connected;
}

bool virtio_serial_pipe_has_room(VirtIOSerialPort *port)
{
    if (!pipe_has_buffers(port, port->ivq)) {
        pipe_set_notification(port, port->ivq, true);
    }
    /* A buffer may have come before the guest knew that it has to notify */
    return pipe_has_buffers(port, port->ivq);
}

size_t virtio_serial_pipe_write(VirtIOSerialPort *port, const uint8_t *buf,
                                size_t size)
{
    VirtQueue *vq = port->ivq;
    unsigned int filled = 0, segments = 0;
    size_t offset = 0;

    RCU_READ_LOCK_GUARD();
    while (offset < size && segments < TURN_SEGMENTS &&
           filled < VIRTQUEUE_MAX_SIZE && virtio_serial_pipe_has_room(port)) {
        VirtQueueElement *elem = virtqueue_pop(vq, sizeof(*elem));
        size_t len;

        if (!elem) {
            break;
        }
        segments += elem->in_num + elem->out_num;
        len = iov_from_buf(elem->in_sg, elem->in_num, 0,
                           buf + offset, size - offset);
        offset += len;
        virtqueue_fill(vq, elem, len, filled++);
        g_free(elem);
    }

    if (filled) {
        virtqueue_flush(vq, filled);
        virtio_notify(VIRTIO_DEVICE(port->vser), vq);
    }
    trace_virtio_serial_pipe_write(port->id, size, offset);
    port->pipe.to_guest += offset;
    port->pipe.copied += offset;
    return offset;
}

/* Put the lent elements that are not given back into the ring again */
static void pipe_take_back(VirtIOSerialPort *port)
{
    VirtIOSerialLent *lent;

    while ((lent = QTAILQ_LAST(&port->pipe.lent))) {
        QTAILQ_REMOVE(&port->pipe.lent, lent, next);
        pipe_unpop(port->ivq, &lent->elem);
    }
}

/*
 * Add @sg to the @count entries of @iov. If @sg begins where the last entry
 * ends, the two are joined: a system call is faster with fewer entries.
 * Returns whether there was room.
 */
static bool pipe_add_segment(struct iovec *iov, size_t *count, size_t max,
                             const struct iovec *sg)
{
    struct iovec *last = *count ? &iov[*count - 1] : NULL;

    if (last && (uint8_t *)last->iov_base + last->iov_len == sg->iov_base) {
        last->iov_len += sg->iov_len;
        return true;
    }
    if (*count == max) {
        return false;
    }
    iov[*count] = *sg;
    *count += sg->iov_len > 0;
    return true;
}

size_t virtio_serial_lend(VirtIOSerialPort *port, struct iovec *iov,
                          size_t max)
{
    VirtIOSerialPipe *pipe = &port->pipe;
    unsigned int segments = 0;
    size_t count = 0;

    assert(QTAILQ_EMPTY(&pipe->lent));
    pipe->lent_size = 0;
    if (!pipe_guest_reads(port) || !virtio_serial_pipe_has_room(port)) {
        return 0;
    }
    /*
     * Taking buffers out asks the guest to notify of the next one, and putting
     * them back does not take that back. The backend that borrows waits for
     * buffers only after it has found none.
     */
    if (virtio_queue_get_notification(port->ivq)) {
        pipe_set_notification(port, port->ivq, false);
    }
    while (pipe->lent_size < pipe->lend_goal &&
           segments < (count ? LEND_SEGMENTS : TURN_SEGMENTS)) {
        VirtIOSerialLent *lent = pipe_pop(port, port->ivq, sizeof(*lent));
        unsigned int i;

        if (!lent) {
            break;
        }
        segments += lent->elem.in_num + lent->elem.out_num;
        /*
         * If the first buffer has more segments than fit, lend those that fit
         */
        if (count && lent->elem.in_num > max - count) {
            pipe_unpop(port->ivq, &lent->elem);
            break;
        }
        QTAILQ_INSERT_TAIL(&pipe->lent, lent, next);
        for (i = 0; i < lent->elem.in_num &&
             pipe_add_segment(iov, &count, max, &lent->elem.in_sg[i]); i++) {
            pipe->lent_size += lent->elem.in_sg[i].iov_len;
        }
    }
    if (!count) {
        pipe_take_back(port);
    }
    trace_virtio_serial_pipe_lend(port->id, count, pipe->lent_size);
    return count;
}

void virtio_serial_give_back(VirtIOSerialPort *port, size_t size)
{
    VirtIOSerialPipe *pipe = &port->pipe;
    VirtIOSerialLent *lent;
    unsigned int filled = 0;
    size_t left = size;

    assert(size <= pipe->lent_size);
    trace_virtio_serial_pipe_give_back(port->id, size, pipe->lent_size);
    RCU_READ_LOCK_GUARD();
    while (left && (lent = QTAILQ_FIRST(&pipe->lent))) {
        size_t len = MIN(left, iov_size(lent->elem.in_sg, lent->elem.in_num));

        QTAILQ_REMOVE(&pipe->lent, lent, next);
        virtqueue_fill(port->ivq, &lent->elem, len, filled++);
        g_free(lent);
        left -= len;
    }
    pipe_take_back(port);
    if (filled) {
        virtqueue_flush(port->ivq, filled);
        virtio_notify(VIRTIO_DEVICE(port->vser), port->ivq);
        pipe_move_goal(&pipe->lend_goal, pipe->lent_size, size);
        pipe->to_guest += size;
    }
}
