/*
 * libqos driver for virtio-serial: the control queues, and data of ports
 *
 * The driver does nothing by itself: a test says which buffers the device gets
 * and when, which messages are sent, and takes each event in turn. So it can
 * also misbehave as a test wants it to.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_LIBQOS_VIRTIO_SERIAL_DRIVER_H
#define TESTS_LIBQOS_VIRTIO_SERIAL_DRIVER_H

#include "virtio.h"
#include "libqos-malloc.h"
#include "standard-headers/linux/virtio_console.h"

/* How long the device has for anything that it must do */
#define QVSER_TIMEOUT_US    (30 * 1000 * 1000)

/* Ports with a smaller number can get data queues */
#define QVSER_DATA_PORTS    64

/* A data buffer of more segments than this one is in an indirect table */
#define QVSER_CHAIN_MAX     8

typedef struct QVSerSegment {
    uint32_t len;
    bool device_reads;      /* not for a proper buffer on c_ivq */
    uint64_t addr;          /* its address; 0: memory is allocated */
} QVSerSegment;

/* struct vring_desc without the address */
typedef struct QVSerDescriptor {
    uint32_t len;
    uint16_t flags;
    uint16_t next;
} QVSerDescriptor;

/* An event: a control message from the device */
typedef struct QVSerEvent {
    uint32_t id;
    uint16_t event;
    uint16_t value;
    uint32_t used;          /* the message's length, by the used ring */
    uint32_t room;          /* the buffer's length */
    uint32_t length;        /* of the payload, which follows the header */
    uint8_t *payload;       /* valid until the next event is taken */
} QVSerEvent;

typedef struct QVSerBuffer QVSerBuffer;

/* One of a port's two queues for data */
typedef struct QVSerQueue {
    QVirtQueue *vq;         /* NULL: not set up */
    bool to_host;           /* so the device reads from the buffers */
    GQueue posted;          /* the device's buffers, in the order of posting */
    uint16_t *free;         /* free descriptors */
    uint16_t nr_free;
    uint16_t avail_idx;     /* counts queued buffers, also before a kick */
    uint16_t kicked_idx;    /* avail_idx at the last qvser_kick() */
} QVSerQueue;

typedef struct QVSerDriver {
    /* The test's, before qvser_start() */
    uint64_t features;      /* of a console, to take; first only MULTIPORT */
    uint64_t data_ports;    /* a bit for each port that gets data queues */
    bool indirect;          /* take INDIRECT_DESC */
    bool event_idx;         /* take EVENT_IDX */
    /* The test's, at any time */
    bool adjoin;            /* the segments of a buffer adjoin in memory */
    bool keep;              /* a buffer is not posted again at once */

    /* The driver's */
    QTestState *qts;
    QVirtioDevice *vdev;
    QGuestAllocator *alloc;
    QVirtQueue *c_ivq, *c_ovq;
    QVSerQueue ivqs[QVSER_DATA_PORTS], ovqs[QVSER_DATA_PORTS];
    QVSerBuffer **buffers;  /* on c_ivq, by their first descriptor */
    GQueue *kept;           /* first descriptors of buffers that were kept */
    uint64_t out;           /* guest address of the message to the device */
    uint8_t *in;            /* the last message from the device */
    bool interrupted;       /* since c_ivq was last found empty */
} QVSerDriver;

/**
 * qvser_new:
 * @qts: the QEMU that the device is in
 * @vdev: the device
 * @alloc: for rings and buffers
 *
 * Returns: a driver that has not touched the device yet; qvser_free() it.
 */
QVSerDriver *qvser_new(QTestState *qts, QVirtioDevice *vdev,
                       QGuestAllocator *alloc);

void qvser_free(QVSerDriver *drv);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(QVSerDriver, qvser_free)

/**
 * qvser_start:
 * @drv: the driver
 *
 * Reset the device and negotiate: take @drv->features and the features of all
 * virtio devices, as far as they are offered, but INDIRECT_DESC and EVENT_IDX
 * only if @drv says so. Set up the queues and set DRIVER_OK. Post no buffer and
 * send no message. May be called again.
 */
void qvser_start(QVSerDriver *drv);

/**
 * qvser_negotiated:
 * @drv: a started driver
 * @feature: number of a feature bit
 *
 * Returns: whether device and driver agreed on the feature.
 */
bool qvser_negotiated(QVSerDriver *drv, unsigned int feature);

/**
 * qvser_add_buffer:
 * @drv: a started driver
 * @segments: the buffer's segments
 * @nr_segments: how many
 *
 * Post one buffer on c_ivq. Its segments are apart from each other in memory,
 * unless @drv->adjoin. When the buffer comes back, the driver checks that the
 * device has written only as many bytes as the used ring says. Segments with an
 * address, such as a register of a device, are not checked.
 */
void qvser_add_buffer(QVSerDriver *drv, const QVSerSegment *segments,
                      unsigned int nr_segments);

/**
 * qvser_add_buffers:
 * @drv: a started driver
 * @count: how many
 * @len: how many bytes each
 *
 * Post buffers of one segment on c_ivq.
 */
void qvser_add_buffers(QVSerDriver *drv, unsigned int count, uint32_t len);

/**
 * qvser_write_descriptor:
 * @drv: a started driver
 * @index: in the descriptor table of c_ivq
 * @desc: written there as it is, with an address that is good for 8 bytes
 *
 * For chains that no driver should make.
 */
void qvser_write_descriptor(QVSerDriver *drv, uint16_t index,
                            const QVSerDescriptor *desc);

/**
 * qvser_give_back:
 * @drv: a started driver
 *
 * Post the buffers that came back while @drv->keep was set.
 */
void qvser_give_back(QVSerDriver *drv);

/**
 * qvser_send:
 * @drv: a started driver
 * @id: of the port
 * @event: VIRTIO_CONSOLE_...
 * @value: of the event
 *
 * Send a control message, and wait until the device has taken it.
 */
void qvser_send(QVSerDriver *drv, uint32_t id, uint16_t event, uint16_t value);

/* The same, and do not wait: the device may break instead of taking it */
void qvser_send_only(QVSerDriver *drv, uint32_t id, uint16_t event,
                     uint16_t value);

/**
 * qvser_poll:
 * @drv: a started driver
 * @ev: filled if there is one
 *
 * Take the next event if there is one already. Its buffer is posted again
 * unless @drv->keep. The driver checks that the device interrupts, and that the
 * device writes only as many bytes as the used ring says.
 *
 * Returns: whether there was one.
 */
bool qvser_poll(QVSerDriver *drv, QVSerEvent *ev);

/**
 * qvser_next:
 * @drv: a started driver
 * @ev: filled
 *
 * Like qvser_poll(), but wait until there is one.
 */
void qvser_next(QVSerDriver *drv, QVSerEvent *ev);

/**
 * qvser_settle:
 * @drv: a started driver
 *
 * Return once the device has done all that it was notified for.
 */
void qvser_settle(QVSerDriver *drv);

/**
 * qvser_wait_broken:
 * @drv: a started driver of a modern device
 *
 * Wait until the device asks for a reset.
 */
void qvser_wait_broken(QVSerDriver *drv);

/**
 * qvser_queue:
 * @drv: a started driver
 * @q: a queue of a port of @drv->data_ports
 * @lens: the segments' lengths, each at least 1
 * @nr_segments: how many
 * @data: the bytes of all segments; NULL for a queue to the guest
 *
 * Add a buffer. Its segments are apart from each other in memory unless
 * @drv->adjoin. The device sees the buffer at the next qvser_kick().
 */
void qvser_queue(QVSerDriver *drv, QVSerQueue *q, const uint32_t *lens,
                 unsigned int nr_segments, const void *data);

/* The same for a queue to the guest, with segments as for qvser_add_buffer() */
void qvser_queue_segments(QVSerDriver *drv, QVSerQueue *q,
                          const QVSerSegment *segments,
                          unsigned int nr_segments);

/* Returns: whether there are descriptors for such a buffer now */
bool qvser_has_room(QVSerQueue *q, unsigned int nr_segments);

/* Let the device see queued buffers; notify it if it wants a notification. */
void qvser_kick(QVSerDriver *drv, QVSerQueue *q);

/**
 * qvser_is_awaited:
 * @drv: a started driver
 * @q: a queue of a port of @drv->data_ports, with nothing queued since the
 *     last qvser_kick()
 *
 * Returns: whether the device wants to be notified of the next buffer.
 */
bool qvser_is_awaited(QVSerDriver *drv, QVSerQueue *q);

/**
 * qvser_next_used:
 * @drv: a started driver
 * @q: a queue of a port of @drv->data_ports
 * @data: the device's bytes are added here; NULL for a queue to the host
 *
 * Take the next used buffer back. The driver checks that the device has written
 * only as many bytes as the used ring says.
 *
 * Returns: whether there was one.
 */
bool qvser_next_used(QVSerDriver *drv, QVSerQueue *q, GByteArray *data);

/* Returns: how many used buffers are not taken back yet */
unsigned int qvser_nr_used(QVSerDriver *drv, QVSerQueue *q);

/* Returns: how many bytes are in the buffers that the device still has */
uint64_t qvser_posted_size(QVSerQueue *q);

/* Check that nothing is written into the buffers that the device still has. */
void qvser_check_untouched(QVSerDriver *drv, QVSerQueue *q);

/**
 * qvser_post:
 * @drv: a started driver
 * @id: of a port of @drv->data_ports
 * @len: how many bytes
 *
 * Post a buffer for data to the guest.
 */
void qvser_post(QVSerDriver *drv, uint32_t id, uint32_t len);

/**
 * qvser_read:
 * @drv: a started driver
 * @id: of a port of @drv->data_ports
 * @data: filled
 * @len: how many bytes
 *
 * Post a buffer for data to the guest and wait until something is in it.
 *
 * Returns: how many bytes there are.
 */
size_t qvser_read(QVSerDriver *drv, uint32_t id, void *data, size_t len);

/**
 * qvser_write:
 * @drv: a started driver
 * @id: of a port of @drv->data_ports
 * @data: the bytes
 * @len: how many bytes
 *
 * Send data to the host, and wait until the device has taken it.
 */
void qvser_write(QVSerDriver *drv, uint32_t id, const void *data, size_t len);

/**
 * qvser_migrated:
 * @drv: a started driver
 * @qts: the QEMU that the guest has been migrated to
 * @vdev: the device there
 * @alloc: of that machine, not used so far
 *
 * Go on where the guest was stopped, as a guest does, without a word to the
 * device.
 */
void qvser_migrated(QVSerDriver *drv, QTestState *qts, QVirtioDevice *vdev,
                    QGuestAllocator *alloc);

#endif /* TESTS_LIBQOS_VIRTIO_SERIAL_DRIVER_H */
