/*
 * The byte pipe of a virtio-serial port: what both directions share
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VIRTIO_SERIAL_PIPE_INTERNAL_H
#define VIRTIO_SERIAL_PIPE_INTERNAL_H

#include "qemu/units.h"
#include "hw/virtio/virtio-serial.h"

/*
 * To prepare a buffer and put it back costs more than to copy a few bytes. So
 * the port takes only as many buffers as the other side is likely to use: as
 * many bytes as it used the last time, or twice as many if it used all of
 * them. These are the limits of that goal, in bytes.
 */
#define GOAL_MIN    (4 * KiB)
#define GOAL_MAX    (1 * MiB)

/*
 * A turn: the most segments and bytes that a port handles before it gives way
 * to the main loop. The guest may have more ready than can be done in a
 * second.
 */
#define TURN_SEGMENTS   4096
#define TURN_BYTES      (2 * MiB)

/* The other side used @used of @offered bytes: adapt the goal */
static inline void pipe_move_goal(size_t *goal, size_t offered, size_t used)
{
    *goal = MIN(MAX(used < offered ? used : 2 * *goal, GOAL_MIN), GOAL_MAX);
}

/*
 * Is there a buffer in @vq? A device that needs a reset has none, though its
 * ring may be full.
 */
static inline bool pipe_has_buffers(VirtIOSerialPort *port, VirtQueue *vq)
{
    return !virtio_device_disabled(VIRTIO_DEVICE(port->vser)) &&
           !virtio_queue_empty(vq);
}

/*
 * virtqueue_pop() of a queue that may be empty. For an empty queue,
 * virtqueue_pop() is expensive if the compiler clears its arrays first.
 */
static inline void *pipe_pop(VirtIOSerialPort *port, VirtQueue *vq,
                             size_t size)
{
    return pipe_has_buffers(port, vq) ? virtqueue_pop(vq, size) : NULL;
}

/*
 * Ask the guest to notify of buffers that it adds to @vq, or not to notify.
 * With VIRTIO_RING_F_EVENT_IDX, the device asks for a notification of one
 * certain buffer. In a split ring, taking a buffer out asks for the next one.
 * In a packed ring it does not: the device would have to ask again each time,
 * and the QEMU to which the guest migrates may not know that. So with a packed
 * ring the guest notifies of each buffer.
 */
static inline void pipe_set_notification(VirtIOSerialPort *port, VirtQueue *vq,
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
static inline void pipe_unpop(VirtQueue *vq, VirtQueueElement *elem)
{
    virtqueue_unpop(vq, elem, 0);
    g_free(elem);
}

#endif /* VIRTIO_SERIAL_PIPE_INTERNAL_H */
