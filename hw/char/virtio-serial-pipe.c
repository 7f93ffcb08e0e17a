/*
 * The byte pipe of a virtio-serial port, without copies
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/visitor.h"
#include "qemu/iov.h"
#include "qemu/units.h"
#include "system/replay.h"
#include "hw/virtio/virtio-serial.h"

/*
 * To get a buffer ready and then put it back costs more than to copy what is
 * in a small one. So no more of them are taken from the ring than the other
 * side is likely to use: what it used the last time, or twice as much if it
 * used all that there was, within these limits.
 */
#define GOAL_MIN    (4 * KiB)
#define GOAL_MAX    (1 * MiB)

/* Buffers, and segments of them, that are handed to a system call at a time */
#define BATCH_MAX   256

/* Segments of the guest's buffers that are lent at a time, or a buffer more */
#define LEND_SEGMENTS   256

/*
 * How many segments of buffers, and bytes, a port handles in a turn before the
 * main loop has one: of either the guest can have more ready than are done in
 * a second.
 */
#define TURN_SEGMENTS   4096
#define TURN_BYTES      (8 * MiB)

/* Of @offered bytes @used were of use */
static void pipe_move_goal(size_t *goal, size_t offered, size_t used)
{
    *goal = MIN(MAX(used < offered ? used : 2 * *goal, GOAL_MIN), GOAL_MAX);
}

/*
 * Is there a buffer in @vq? Of a device that needs a reset there is none,
 * though its ring may be as full as before.
 */
static bool pipe_has_buffers(VirtIOSerialPort *port, VirtQueue *vq)
{
    return !virtio_device_disabled(VIRTIO_DEVICE(port->vser)) &&
           !virtio_queue_empty(vq);
}

/*
 * virtqueue_pop() of a queue that may be empty, as it is each time that all is
 * taken: that function is dear even then where its arrays are cleared first
 */
static void *pipe_pop(VirtIOSerialPort *port, VirtQueue *vq, size_t size)
{
    return pipe_has_buffers(port, vq) ? virtqueue_pop(vq, size) : NULL;
}

/*
 * Does the guest have to tell of the buffers that it adds to @vq?
 *
 * With VIRTIO_RING_F_EVENT_IDX it is asked to tell of one certain buffer. In a
 * split ring to take buffers out asks for the next one, but not in a packed
 * ring: whoever takes all would have to ask again each time, and who the guest
 * is migrated to may not know that. There the guest is never asked for less
 * than all.
 */
static void pipe_set_notification(VirtIOSerialPort *port, VirtQueue *vq,
                                  bool enable)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(port->vser);

    if (virtio_vdev_has_feature(vdev, VIRTIO_F_RING_PACKED) &&
        virtio_vdev_has_feature(vdev, VIRTIO_RING_F_EVENT_IDX)) {
        return;
    }
    virtio_queue_set_notification(vq, enable);
}

/* Put the element that was popped last back into @vq */
static void pipe_unpop(VirtQueue *vq, VirtQueueElement *elem)
{
    virtqueue_unpop(vq, elem, 0);
    g_free(elem);
}

/* ------------------------------------------------------------------ */
/* To the host */

typedef struct Turn {
    bool endless;
    unsigned int segments;
    size_t bytes;
} Turn;

static bool pipe_turn_is_over(const Turn *turn)
{
    return !turn->endless && (turn->segments >= TURN_SEGMENTS ||
                              turn->bytes >= TURN_BYTES);
}

/* The next element of what the guest has sent, as a part of @turn */
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
    /* where in the first element the batch begins */
    unsigned int first_iov;
    size_t first_offset;
} Batch;

/* That is as much as a system call is given */
static bool pipe_batch_is_full(const Batch *batch)
{
    return batch->nr_iov == BATCH_MAX || batch->nr_elems == BATCH_MAX ||
           batch->size >= GOAL_MAX;
}

/* Have what is to be sent of @elem in @batch, as much as there is room for */
static void pipe_add_elem(Batch *batch, VirtQueueElement *elem)
{
    unsigned int i = batch->nr_elems ? 0 : batch->first_iov;
    size_t offset = batch->nr_elems ? 0 : batch->first_offset;

    for (; i < elem->out_num && !pipe_batch_is_full(batch); i++, offset = 0) {
        struct iovec *iov = &batch->iov[batch->nr_iov];

        /* Of a longer segment there is a piece, and the batch is full */
        iov->iov_base = (uint8_t *)elem->out_sg[i].iov_base + offset;
        iov->iov_len = MIN(elem->out_sg[i].iov_len - offset, GOAL_MAX);
        batch->size += iov->iov_len;
        batch->nr_iov += iov->iov_len > 0;
    }
    batch->elem[batch->nr_elems++] = elem;
}

/*
 * Take what the ring holds, up to @goal bytes or the end of @turn, with what is
 * left of port->elem
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

/* @size bytes of @batch, from @offset on, go nowhere: for who keeps a log */
static void pipe_tell_dropped(VirtIOSerialPort *port, Batch *batch,
                              size_t offset, size_t size)
{
    VirtIOSerialPortClass *vsc = VIRTIO_SERIAL_PORT_GET_CLASS(port);
    struct iovec iov[BATCH_MAX];

    if (size && vsc->dropped) {
        vsc->dropped(port, iov, iov_copy(iov, ARRAY_SIZE(iov), batch->iov,
                                         batch->nr_iov, offset, size));
    }
}

/*
 * Give the elements back of which all is done when @size bytes are, keep the
 * one that is done in part as port->elem, and put the others back. Returns
 * whether the guest has to be told.
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
    /* A packed ring must not be flushed of nothing */
    if (done) {
        virtqueue_flush(port->ovq, done);
    }

    /* Nothing is begun where no byte is taken, but for what was so before */
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
     * After the guest has its buffers back: one that polls for them takes them
     * meanwhile, and needs no notification.
     */
    for (i = 0; i < done; i++) {
        g_free(batch->elem[i]);
    }
    return done;
}

/*
 * What have_data() has refused will not be handed to it again. Returns whether
 * the guest has to be told of empty buffers.
 */
static bool pipe_drop_refused(VirtIOSerialPort *port)
{
    size_t size = port->pipe.refused;
    Turn turn = { .endless = true };
    Batch batch;

    if (!size || !virtio_queue_ready(port->ovq)) {
        return false;
    }
    pipe_get_batch(port, &batch, size, &turn);
    pipe_tell_dropped(port, &batch, 0, MIN(size, batch.size));
    return pipe_put_batch(port, &batch, 0);
}

/*
 * Give back what was begun and what the ring holds, no more than it can hold at
 * a time, until @turn is over. Returns whether the guest has to be told.
 */
static bool pipe_discard(VirtIOSerialPort *port, Turn *turn)
{
    unsigned int left = virtio_queue_get_num(VIRTIO_DEVICE(port->vser),
                                             virtio_get_queue_index(port->ovq));
    VirtQueueElement *elem;
    bool any = pipe_drop_refused(port);

    elem = port->elem;
    port->elem = NULL;
    while (elem || (left-- && !pipe_turn_is_over(turn) &&
                    (elem = pipe_next_elem(port, turn)))) {
        virtqueue_push(port->ovq, elem, 0);
        g_free(elem);
        elem = NULL;
        any = true;
    }
    if (any) {
        virtio_serial_control_port_lost(port);
    }
    return any;
}

/*
 * A guest that is stopped may have been migrated, and what it holds is for its
 * new place to send; set_status() comes back if it was not.
 */
static bool pipe_can_send(VirtIOSerialPort *port)
{
    return VIRTIO_DEVICE(port->vser)->vm_running && port->host_connected &&
           !port->throttled;
}

/* Nobody is there for what the guest sends, and nobody is expected */
static bool pipe_can_discard(VirtIOSerialPort *port)
{
    return VIRTIO_DEVICE(port->vser)->vm_running && !port->host_connected &&
           !port->pipe.waits;
}

/*
 * Send what the ring holds, until @turn is over. Returns whether the guest has
 * to be told.
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
        port->pipe.to_host += sent;
        pipe_move_goal(&port->pipe.send_goal, batch.size, sent);
        if (!port->host_connected) {
            /* The other end has gone, and with it all that was meant for it */
            pipe_tell_dropped(port, &batch, sent, batch.size - sent);
            any |= pipe_put_batch(port, &batch, SIZE_MAX);
            virtio_serial_control_port_lost(port);
        } else if (port->throttled) {
            any |= pipe_put_batch(port, &batch, sent);
            port->pipe.refused = batch.size - sent;
        } else {
            /* What have_data() did not take it has dropped */
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
        /* What the guest adds meanwhile is seen without its telling */
        pipe_set_notification(port, port->ovq, false);
        any |= pipe_send_batches(port, &turn);
        if (pipe_can_discard(port)) {
            any |= pipe_discard(port, &turn);
        }
        pipe_set_notification(port, port->ovq, true);
        more = (pipe_can_send(port) || pipe_can_discard(port)) &&
               (port->elem || pipe_has_buffers(port, port->ovq));
    } while (more && !pipe_turn_is_over(&turn));

    if (more) {
        replay_bh_schedule_event(port->bh);
    }
    if (any) {
        virtio_notify(VIRTIO_DEVICE(port->vser), port->ovq);
    }
}

void virtio_serial_pipe_discard(VirtIOSerialPort *port)
{
    Turn turn = { .endless = true };
    bool any;

    if (!virtio_queue_ready(port->ovq)) {
        return;
    }
    any = pipe_discard(port, &turn);
    /* What came before the guest could know that it has to tell */
    pipe_set_notification(port, port->ovq, true);
    any |= pipe_discard(port, &turn);
    if (any) {
        virtio_notify(VIRTIO_DEVICE(port->vser), port->ovq);
    }
}

void virtio_serial_pipe_reset(VirtIOSerialPort *port)
{
    pipe_drop_refused(port);
}

/* ------------------------------------------------------------------ */
/* To the guest */

struct VirtIOSerialLent {
    VirtQueueElement elem;
    QTAILQ_ENTRY(VirtIOSerialLent) next;
};

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
    /* A buffer may have come before the guest could know */
    return pipe_has_buffers(port, port->ivq);
}

void virtio_serial_pipe_set_running(VirtIOSerialPort *port, bool running)
{
    if (!running) {
        pipe_set_notification(port, port->ivq, true);
    } else if (!port->pipe.running) {
        /*
         * Not each time that the driver writes its status: a bottom half that
         * the guest starts would have to be among the events of a replay. That
         * the user goes on is not among them either.
         */
        qemu_bh_schedule(port->bh);
    }
    port->pipe.running = running;
}

size_t virtio_serial_pipe_write(VirtIOSerialPort *port, const uint8_t *buf,
                                size_t size)
{
    VirtQueue *vq = port->ivq;
    unsigned int filled = 0;
    size_t offset = 0;

    RCU_READ_LOCK_GUARD();
    while (offset < size && filled < VIRTQUEUE_MAX_SIZE &&
           virtio_serial_pipe_has_room(port)) {
        VirtQueueElement *elem = virtqueue_pop(vq, sizeof(*elem));
        size_t len;

        if (!elem) {
            break;
        }
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
    port->pipe.to_guest += offset;
    port->pipe.copied += offset;
    return offset;
}

/* Put what was lent and is not given back yet into the ring again */
static void pipe_take_back(VirtIOSerialPort *port)
{
    VirtIOSerialLent *lent;

    while ((lent = QTAILQ_LAST(&port->pipe.lent))) {
        QTAILQ_REMOVE(&port->pipe.lent, lent, next);
        pipe_unpop(port->ivq, &lent->elem);
    }
}

/*
 * Add @sg to the @count of @iov; to the last one, if it begins where that ends:
 * the fewer the system call is given, the better. Returns whether there was
 * room.
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
     * To take buffers out asks the guest to tell of the next one, and to put
     * them back does not ask it to be quiet again. Whoever borrows does not
     * wait for more buffers before it finds none.
     */
    if (virtio_queue_get_notification(port->ivq)) {
        pipe_set_notification(port, port->ivq, false);
    }
    while (pipe->lent_size < pipe->lend_goal &&
           (!count || segments < LEND_SEGMENTS)) {
        VirtIOSerialLent *lent = pipe_pop(port, port->ivq, sizeof(*lent));
        unsigned int i;

        if (!lent) {
            break;
        }
        segments += lent->elem.in_num + lent->elem.out_num;
        /* Of one that has more segments than fit in all, what fits will do */
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
    return count;
}

void virtio_serial_give_back(VirtIOSerialPort *port, size_t size)
{
    VirtIOSerialPipe *pipe = &port->pipe;
    VirtIOSerialLent *lent;
    unsigned int filled = 0;
    size_t left = size;

    assert(size <= pipe->lent_size);
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

/* ------------------------------------------------------------------ */
/* The port's part of it */

void virtio_serial_pipe_init(VirtIOSerialPort *port)
{
    port->pipe.lend_goal = GOAL_MIN;
    port->pipe.send_goal = GOAL_MAX;
    port->pipe.running = VIRTIO_DEVICE(port->vser)->vm_running;
    QTAILQ_INIT(&port->pipe.lent);
}

static void pipe_get_counter(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    uint8_t *port = (uint8_t *)VIRTIO_SERIAL_PORT(obj);

    visit_type_uint64(v, name, (uint64_t *)(port + (uintptr_t)opaque), errp);
}

void virtio_serial_pipe_class_init(ObjectClass *klass)
{
    static const struct {
        const char *name;
        const char *help;
        uintptr_t offset;
    } counters[] = {
        { "bytes-to-guest", "bytes that went to the guest; read-only",
          offsetof(VirtIOSerialPort, pipe.to_guest) },
        { "bytes-to-host", "bytes that went to the host; read-only",
          offsetof(VirtIOSerialPort, pipe.to_host) },
        { "bytes-copied", "how many of both QEMU has copied; read-only",
          offsetof(VirtIOSerialPort, pipe.copied) },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(counters); i++) {
        object_class_property_add(klass, counters[i].name, "uint64",
                                  pipe_get_counter, NULL, NULL,
                                  (void *)counters[i].offset);
        object_class_property_set_description(klass, counters[i].name,
                                              counters[i].help);
    }
}
