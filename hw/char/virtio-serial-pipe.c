/*
 * The byte pipe of a virtio-serial port, without copies: to the host
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/visitor.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "system/replay.h"
#include "trace.h"
#include "virtio-serial-pipe-internal.h"

/* The most buffers, and the most segments, that a system call gets at a time */
#define BATCH_MAX   256

/* ------------------------------------------------------------------ */
/* To the host */

typedef struct Turn {
    unsigned int segments;
    size_t bytes;
} Turn;

static bool pipe_turn_is_over(const Turn *turn)
{
    return turn->segments >= TURN_SEGMENTS || turn->bytes >= TURN_BYTES;
}

/* Take the next element that the guest has sent, and count it in @turn */
static VirtQueueElement *pipe_next_elem(VirtIOSerialPort *port, Turn *turn)
{
    VirtQueueElement *elem = pipe_pop(port, port->ovq, sizeof(*elem));

    if (elem) {
        turn->segments += elem->out_num + elem->in_num;
    }
    return elem;
}

typedef struct Batch {
    VirtQueueElement *elem[BATCH_MAX];
    unsigned int nr_elems;
    struct iovec iov[BATCH_MAX];
    unsigned int nr_iov;
    size_t size;
    /* where the batch begins in the first element */
    unsigned int first_iov;
    size_t first_offset;
} Batch;

/* Does the batch have as much as a system call gets? */
static bool pipe_batch_is_full(const Batch *batch)
{
    return batch->nr_iov == BATCH_MAX || batch->nr_elems == BATCH_MAX ||
           batch->size >= GOAL_MAX;
}

/* Add the rest of @elem to @batch, as much as there is room for */
static void pipe_add_elem(Batch *batch, VirtQueueElement *elem)
{
    unsigned int i = batch->nr_elems ? 0 : batch->first_iov;
    size_t offset = batch->nr_elems ? 0 : batch->first_offset;

    for (; i < elem->out_num && !pipe_batch_is_full(batch); i++, offset = 0) {
        struct iovec *iov = &batch->iov[batch->nr_iov];

        /* A longer segment is cut, and the batch is full */
        iov->iov_base = (uint8_t *)elem->out_sg[i].iov_base + offset;
        iov->iov_len = MIN(elem->out_sg[i].iov_len - offset, GOAL_MAX);
        batch->size += iov->iov_len;
        batch->nr_iov += iov->iov_len > 0;
    }
    batch->elem[batch->nr_elems++] = elem;
}

/*
 * Take the rest of port->elem, and then elements of the ring, up to @goal
 * bytes or the end of @turn
 */
static void pipe_get_batch(VirtIOSerialPort *port, Batch *batch, size_t goal,
                           Turn *turn)
{
    VirtQueueElement *elem = port->elem;

    batch->nr_elems = batch->nr_iov = 0;
    batch->size = 0;
    batch->first_iov = elem ? port->iov_idx : 0;
    batch->first_offset = elem ? port->iov_offset : 0;
    port->elem = NULL;
    port->pipe.refused = 0;

    while (elem || (elem = pipe_next_elem(port, turn))) {
        pipe_add_elem(batch, elem);
        if (batch->size >= goal || pipe_batch_is_full(batch) ||
            pipe_turn_is_over(turn)) {
            break;
        }
        elem = NULL;
    }
}

/* Report @size dropped bytes of @batch, from @offset on, for a log */
static void pipe_tell_dropped(VirtIOSerialPort *port, Batch *batch,
                              size_t offset, size_t size)
{
    VirtIOSerialPortClass *vsc = VIRTIO_SERIAL_PORT_GET_CLASS(port);
    struct iovec iov[BATCH_MAX];

    if (size) {
        trace_virtio_serial_pipe_dropped(port->id, size);
    }
    if (size && vsc->dropped) {
        vsc->dropped(port, iov, iov_copy(iov, ARRAY_SIZE(iov), batch->iov,
                                         batch->nr_iov, offset, size));
    }
}

/*
 * The first @size bytes of @batch are done. Give the finished elements back to
 * the guest, keep an element that is done in part as port->elem, and put the
 * others back into the ring. Returns whether the guest has to be notified.
 */
static bool pipe_put_batch(VirtIOSerialPort *port, Batch *batch, size_t size)
{
    unsigned int idx = batch->first_iov, done, kept, i;
    size_t offset = batch->first_offset;

    RCU_READ_LOCK_GUARD();
    for (done = 0; done < batch->nr_elems; done++, idx = 0) {
        VirtQueueElement *elem = batch->elem[done];

        for (; idx < elem->out_num; idx++, offset = 0) {
            size_t len = elem->out_sg[idx].iov_len - offset;

            if (size < len) {
                offset += size;
                break;
            }
            size -= len;
        }
        if (idx < elem->out_num) {
            break;
        }
        virtqueue_fill(port->ovq, elem, 0, done);
    }
    /* A packed ring must not be flushed of 0 elements */
    if (done) {
        virtqueue_flush(port->ovq, done);
    }

    /* Without a byte taken, only an element that was begun before is begun */
    kept = done;
    if (done < batch->nr_elems && (idx || offset)) {
        port->elem = batch->elem[kept++];
        port->iov_idx = idx;
        port->iov_offset = offset;
    }
    for (i = batch->nr_elems; i > kept; i--) {
        pipe_unpop(port->ovq, batch->elem[i - 1]);
    }
    /*
     * Free memory only after the guest has its buffers back: a guest that
     * polls takes the buffers meanwhile, and needs no notification.
     */
    for (i = 0; i < done; i++) {
        g_free(batch->elem[i]);
    }
    return done;
}

/*
 * The bytes that have_data() has refused will not be offered again. Returns
 * whether the guest has to be notified, of empty buffers.
 */
static bool pipe_drop_refused(VirtIOSerialPort *port)
{
    size_t size = port->pipe.refused;
    Turn turn = { 0 };
    Batch batch;

    if (!size || !virtio_queue_ready(port->ovq)) {
        return false;
    }
    pipe_get_batch(port, &batch, size, &turn);
    pipe_tell_dropped(port, &batch, 0, MIN(size, batch.size));
    return pipe_put_batch(port, &batch, 0);
}

/*
 * Give back the element that was begun, and the elements of the ring. Their
 * segments are not looked at, however many there are. Returns how many buffers
 * the guest has to be notified of.
 */
static unsigned int pipe_discard(VirtIOSerialPort *port)
{
    unsigned int count = pipe_drop_refused(port);

    if (port->elem) {
        virtqueue_push(port->ovq, port->elem, 0);
        g_free(port->elem);
        port->elem = NULL;
        count++;
    }
    /* No more than the ring holds: the driver may add as many meanwhile */
    count += virtqueue_drop(port->ovq,
                            virtio_queue_get_num(VIRTIO_DEVICE(port->vser),
                                virtio_get_queue_index(port->ovq)));
    if (count) {
        trace_virtio_serial_pipe_discard(port->id, count);
        virtio_serial_control_port_lost(port);
    }
    return count;
}

/*
 * A stopped guest may have been migrated, and then the destination sends what
 * is in the ring. If the guest goes on here, set_status() comes back.
 */
static bool pipe_can_send(VirtIOSerialPort *port)
{
    return VIRTIO_DEVICE(port->vser)->vm_running && port->host_connected &&
           !port->throttled;
}

/* The host is absent, and no host is expected for what the guest has sent */
static bool pipe_can_discard(VirtIOSerialPort *port)
{
    return VIRTIO_DEVICE(port->vser)->vm_running && !port->host_connected &&
           !port->pipe.waits;
}

/*
 * Send what the ring holds, until @turn is over. Returns whether the guest has
 * to be notified.
 */
static bool pipe_send_batches(VirtIOSerialPort *port, Turn *turn)
{
    VirtIOSerialPortClass *vsc = VIRTIO_SERIAL_PORT_GET_CLASS(port);
    bool any = false;
    Batch batch;

    while (pipe_can_send(port) && !pipe_turn_is_over(turn)) {
        size_t sent = 0;

        pipe_get_batch(port, &batch, port->pipe.send_goal, turn);
        if (!batch.nr_elems) {
            break;
        }
        if (batch.nr_iov) {
            sent = MAX(vsc->have_data(port, batch.iov, batch.nr_iov), 0);
        }
        turn->segments += batch.nr_iov;
        turn->bytes += batch.size;
        trace_virtio_serial_pipe_send(port->id, batch.nr_elems, batch.size,
                                      sent);
        port->pipe.to_host += sent;
        pipe_move_goal(&port->pipe.send_goal, batch.size, sent);
        if (!port->host_connected) {
            /* The host has gone: drop the rest */
            pipe_tell_dropped(port, &batch, sent, batch.size - sent);
            any |= pipe_put_batch(port, &batch, SIZE_MAX);
            virtio_serial_control_port_lost(port);
        } else if (port->throttled) {
            any |= pipe_put_batch(port, &batch, sent);
            port->pipe.refused = batch.size - sent;
            trace_virtio_serial_pipe_refused(port->id, port->pipe.refused);
        } else {
            /* have_data() has dropped what it did not take */
            any |= pipe_put_batch(port, &batch, batch.size);
        }
    }
    return any;
}

void virtio_serial_pipe_send(VirtIOSerialPort *port)
{
    Turn turn = { 0 };
    bool any = false, more;

    do {
        /*
         * The loop sees what the guest adds meanwhile: no notification is
         * needed
         */
        pipe_set_notification(port, port->ovq, false);
        any |= pipe_send_batches(port, &turn);
        if (pipe_can_discard(port)) {
            unsigned int count = pipe_discard(port);

            turn.segments += MAX(count, 1);
            any |= count;
        }
        pipe_set_notification(port, port->ovq, true);
        more = (pipe_can_send(port) || pipe_can_discard(port)) &&
               (port->elem || pipe_has_buffers(port, port->ovq));
    } while (more && !pipe_turn_is_over(&turn));

    if (more) {
        trace_virtio_serial_pipe_go_on(port->id);
        replay_bh_schedule_event(port->bh);
    }
    if (any) {
        virtio_notify(VIRTIO_DEVICE(port->vser), port->ovq);
    }
}

void virtio_serial_pipe_discard(VirtIOSerialPort *port)
{
    unsigned int count;

    if (!virtio_queue_ready(port->ovq)) {
        return;
    }
    count = pipe_discard(port);
    /* Buffers may have come before the guest knew that it has to notify */
    pipe_set_notification(port, port->ovq, true);
    count += pipe_discard(port);
    /*
     * The driver adds faster than the device drops: go on in a later turn. If
     * the port goes, remove_port() does so.
     */
    if (port->bh && pipe_has_buffers(port, port->ovq)) {
        replay_bh_schedule_event(port->bh);
    }
    if (count) {
        virtio_notify(VIRTIO_DEVICE(port->vser), port->ovq);
    }
}

void virtio_serial_pipe_reset(VirtIOSerialPort *port)
{
    pipe_drop_refused(port);
}

/* ------------------------------------------------------------------ */
/* The port's part of it */

void virtio_serial_pipe_init(VirtIOSerialPort *port)
{
    port->pipe.lend_goal = GOAL_MIN;
    port->pipe.send_goal = GOAL_MAX;
    port->pipe.running = VIRTIO_DEVICE(port->vser)->vm_running;
    QTAILQ_INIT(&port->pipe.lent);
}

void virtio_serial_pipe_set_running(VirtIOSerialPort *port, bool running)
{
    if (!running) {
        pipe_set_notification(port, port->ivq, true);
    } else if (!port->pipe.running) {
        /*
         * Only when the machine goes on, not each time that the driver writes
         * its status: record/replay would have to record a bottom half that
         * the guest starts. It does not record that the user goes on.
         */
        qemu_bh_schedule(port->bh);
    }
    port->pipe.running = running;
}

const VirtIOSerialCounter virtio_serial_counters[] = {
    { "bytes-to-guest", "bytes that went to the guest; read-only",
      offsetof(VirtIOSerialPipe, to_guest) },
    { "bytes-to-host", "bytes that went to the host; read-only",
      offsetof(VirtIOSerialPipe, to_host) },
    { "bytes-copied", "how many of both QEMU has copied; read-only",
      offsetof(VirtIOSerialPipe, copied) },
    { NULL }
};

uint64_t virtio_serial_counter(VirtIOSerialPort *port,
                               const VirtIOSerialCounter *counter)
{
    return *(uint64_t *)((uint8_t *)&port->pipe + counter->offset);
}

static void pipe_get_counter(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    uint64_t value = virtio_serial_counter(VIRTIO_SERIAL_PORT(obj), opaque);

    visit_type_uint64(v, name, &value, errp);
}

void virtio_serial_pipe_class_init(ObjectClass *klass)
{
    const VirtIOSerialCounter *counter;

    for (counter = virtio_serial_counters; counter->name; counter++) {
        object_class_property_add(klass, counter->name, "uint64",
                                  pipe_get_counter, NULL, NULL,
                                  (void *)counter);
        object_class_property_set_description(klass, counter->name,
                                              counter->help);
    }
}
