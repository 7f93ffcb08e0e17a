/*
 * A driver's half of virtio: modern virtio-pci, split and packed rings
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BENCH_VIRTIO_H
#define TESTS_BENCH_VIRTIO_H

#include <sys/uio.h>
#include <linux/virtio_ring.h>
#include "doorbell.h"
#include "machine.h"

typedef struct VirtioDevice {
    Machine *machine;
    uint8_t devfn;
    uint64_t common;            /* addresses of the device's registers */
    uint64_t notify;
    uint32_t notify_multiplier;
    uint64_t config;
    uint64_t msix_table;
    uint64_t features;          /* those that were negotiated */
    Doorbell *doorbell;         /* where the queues' interrupts go, or NULL */
    /*
     * By queue, if the device has ioeventfd=on. A signal of the eventfd
     * notifies the device, as KVM does when a guest writes to the notify
     * register.
     */
    int *eventfds;
    unsigned int nr_eventfds;
} VirtioDevice;

typedef struct Virtqueue {
    VirtioDevice *dev;
    uint16_t index;
    uint16_t size;
    bool in_order;
    GQueue order;               /* in_order: tokens in the order of adding */
    void *areas[3];             /* what the device is told of */
    /* Of a split ring: */
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t *used_event;       /* EVENT_IDX: when to interrupt the driver */
    uint16_t *avail_event;      /* EVENT_IDX: when to notify the device */
    uint16_t free_head;
    uint16_t last_kick;         /* avail->idx at the last virtqueue_kick() */
    /* Of a packed ring: */
    struct vring_packed_desc *packed;   /* NULL: it is none */
    struct vring_packed_desc_event *driver_event, *device_event;
    uint16_t next_avail;
    bool avail_wrap, used_wrap;
    uint16_t added;             /* descriptors since the last kick */
    uint16_t *ids, nr_ids;      /* those that no buffer has */
    /* Of both: */
    uint16_t free_count;
    uint16_t last_used;
    uint64_t notify;
    uint64_t kicks;             /* notifications that were sent */
    /*
     * The queue's interrupt: the device writes 1 here, in guest memory, in
     * place of an interrupt controller. QEMU does not have to wait. Not used
     * with a doorbell.
     */
    uint32_t *interrupt;
    void **tokens;              /* by a chain's first descriptor, or its ID */
    uint16_t *lengths;          /* of chains, in descriptors, by the same */
} Virtqueue;

/**
 * virtio_device_new:
 * @devfn: a function on bus 0, a virtio device with disable-legacy=on
 * @wanted: features; those that the device has are taken, VERSION_1 always
 *
 * Reset the device and negotiate. Add queues, then virtio_device_start().
 */
VirtioDevice *virtio_device_new(Machine *m, uint8_t devfn, uint64_t wanted);

/*
 * Reset the device. It uses no memory from then on. Used buffers can still be
 * taken from the queues.
 */
void virtio_device_stop(VirtioDevice *dev);

/* Stop the device and forget it. */
void virtio_device_free(VirtioDevice *dev);

/*
 * DRIVER_OK: the device may use its queues. It is notified as by KVM if it has
 * ioeventfd=on.
 */
void virtio_device_start(VirtioDevice *dev);

/* The same, and notifications are accesses of the guest's CPU in any case. */
void virtio_device_driver_ok(VirtioDevice *dev);

/* Has the device found an error of its driver? */
bool virtio_device_needs_reset(VirtioDevice *dev);

/* Go on in @m, to which the device was migrated, and which has the same RAM. */
void virtio_device_move(VirtioDevice *dev, Machine *m);

bool virtio_device_negotiated(const VirtioDevice *dev, unsigned int feature);

/**
 * virtqueue_new:
 * @size: descriptors in its ring, as far as the device takes it, 0 for as many
 *        as it offers
 * @vector: its MSI-X vector, below the device's property "vectors"; no other
 *          queue uses it, unless a doorbell has them all
 */
Virtqueue *virtqueue_new(VirtioDevice *dev, uint16_t index, uint16_t size,
                         uint16_t vector);
void virtqueue_free(Virtqueue *vq);

/**
 * virtqueue_add:
 * @iov: segments from machine_alloc(), @out that the device reads, then @in
 *       that it writes
 * @token: what virtqueue_get() returns, not NULL
 *
 * Returns: false if the ring is full. The device is not notified.
 */
bool virtqueue_add(Virtqueue *vq, const struct iovec *iov, unsigned int out,
                   unsigned int in, void *token);

/**
 * virtqueue_add_indirect:
 * @table: from machine_alloc(), with room for all segments
 *
 * The same with one descriptor for all segments, of a device that has
 * VIRTIO_RING_F_INDIRECT_DESC.
 */
bool virtqueue_add_indirect(Virtqueue *vq, struct vring_desc *table,
                            const struct iovec *iov, unsigned int out,
                            unsigned int in, void *token);

/* How many descriptors the ring has, and how many descriptors are free */
uint16_t virtqueue_size(const Virtqueue *vq);
uint16_t virtqueue_room(const Virtqueue *vq);

/* Was there an interrupt since the last call? Not with a doorbell. */
bool virtqueue_interrupted(Virtqueue *vq);

/*
 * Notify the device of added buffers, unless it does not want to be notified.
 * Returns whether it was notified.
 */
bool virtqueue_kick(Virtqueue *vq);

/* Notify the device in any case. */
void virtqueue_notify(Virtqueue *vq);

/**
 * virtqueue_get:
 * @len: how many bytes the device wrote
 *
 * Returns: the token of a chain that the device has used, NULL if none is left.
 */
void *virtqueue_get(Virtqueue *vq, uint32_t *len);

/**
 * virtqueue_race:
 * @iov: one segment that the device reads, of all buffers
 * @count: how many buffers
 *
 * Add @count buffers as fast as the device uses them, and notify the device
 * when it wants to be notified. The device has ioeventfd=on: it works while
 * this driver adds.
 *
 * Returns: whether all buffers came back. If not, the device does nothing more,
 * although the ring is full. Another call goes on with the ring as it is.
 */
bool virtqueue_race(Virtqueue *vq, const struct iovec *iov,
                    unsigned int count);

#endif /* TESTS_BENCH_VIRTIO_H */
