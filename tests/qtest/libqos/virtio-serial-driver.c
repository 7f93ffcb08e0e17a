/*
 * libqos driver for virtio-serial: the control queues, and data of ports
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "../libqtest.h"
#include "virtio-serial-driver.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"

#define C_IVQ               2
#define C_OVQ               3

/* What memory that the device has not written looks like */
#define UNWRITTEN           0xa5

/* How many such bytes follow each segment of a buffer */
#define GUARD               16

struct QVSerBuffer {
    uint64_t addr;          /* segments with a guard after each */
    uint32_t size;          /* of that */
    uint32_t capacity;      /* of the segments alone */
    unsigned int nr_segments;
    QVSerSegment segments[QVSER_SEGMENTS_MAX];
};

static unsigned int ivq_index(uint32_t id)
{
    return id ? 2 + 2 * id : 0;
}

static bool legacy_big_endian(QVSerDriver *drv)
{
    return !qvser_negotiated(drv, VIRTIO_F_VERSION_1) &&
           qtest_big_endian(drv->qts);
}

static uint16_t load16(QVSerDriver *drv, const void *p)
{
    return legacy_big_endian(drv) ? lduw_be_p(p) : lduw_le_p(p);
}

static uint32_t load32(QVSerDriver *drv, const void *p)
{
    return legacy_big_endian(drv) ? ldl_be_p(p) : ldl_le_p(p);
}

static void store16(QVSerDriver *drv, void *p, uint16_t value)
{
    if (legacy_big_endian(drv)) {
        stw_be_p(p, value);
    } else {
        stw_le_p(p, value);
    }
}

static void store32(QVSerDriver *drv, void *p, uint32_t value)
{
    if (legacy_big_endian(drv)) {
        stl_be_p(p, value);
    } else {
        stl_le_p(p, value);
    }
}

static void store64(QVSerDriver *drv, void *p, uint64_t value)
{
    if (legacy_big_endian(drv)) {
        stq_be_p(p, value);
    } else {
        stq_le_p(p, value);
    }
}

/* All 32 bits of a length in the used ring; qvirtqueue_get_buf() gives 16 */
static uint32_t last_used_len(QVSerDriver *drv, QVirtQueue *vq)
{
    uint16_t slot = (uint16_t)(vq->last_used_idx - 1) % vq->size;
    uint64_t addr = vq->used + offsetof(struct vring_used, ring) +
                    slot * sizeof(struct vring_used_elem) +
                    offsetof(struct vring_used_elem, len);
    uint8_t len[4];

    qtest_memread(drv->qts, addr, len, sizeof(len));
    return load32(drv, len);
}

/*
 * No interrupts from c_ovq: with one line for all queues, they would hide that
 * c_ivq's are missing.
 */
static void disable_interrupts(QVSerDriver *drv, QVirtQueue *vq)
{
    uint8_t flags[2];

    store16(drv, flags, VRING_AVAIL_F_NO_INTERRUPT);
    qtest_memwrite(drv->qts, vq->avail + offsetof(struct vring_avail, flags),
                   flags, sizeof(flags));
}

QVSerDriver *qvser_new(QTestState *qts, QVirtioDevice *vdev,
                       QGuestAllocator *alloc)
{
    QVSerDriver *drv = g_new0(QVSerDriver, 1);

    drv->qts = qts;
    drv->vdev = vdev;
    drv->alloc = alloc;
    return drv;
}

static void free_queue(QVSerDriver *drv, QVirtQueue *vq)
{
    qvirtqueue_cleanup(drv->vdev->bus, vq, drv->alloc);
}

/* Forget queues and buffers; nothing but a reset may be done to the device */
static void stop(QVSerDriver *drv)
{
    uint32_t i;

    if (!drv->c_ivq) {
        return;
    }
    for (i = 0; i < drv->c_ivq->size; i++) {
        if (drv->buffers[i]) {
            guest_free(drv->alloc, drv->buffers[i]->addr);
            g_free(drv->buffers[i]);
        }
    }
    for (i = 0; i < QVSER_DATA_PORTS; i++) {
        QVSerBuffer *buf;

        if (!drv->ivqs[i]) {
            continue;
        }
        while ((buf = g_queue_pop_head(&drv->posted[i]))) {
            guest_free(drv->alloc, buf->addr);
            g_free(buf);
        }
        free_queue(drv, drv->ivqs[i]);
        free_queue(drv, drv->ovqs[i]);
        drv->ivqs[i] = drv->ovqs[i] = NULL;
    }
    free_queue(drv, drv->c_ivq);
    free_queue(drv, drv->c_ovq);
    guest_free(drv->alloc, drv->out);
    g_queue_free(drv->kept);
    g_clear_pointer(&drv->buffers, g_free);
    g_clear_pointer(&drv->in, g_free);
    drv->c_ivq = NULL;
}

void qvser_free(QVSerDriver *drv)
{
    stop(drv);
    g_free(drv);
}

void qvser_start(QVSerDriver *drv)
{
    QVirtioDevice *vdev = drv->vdev;
    uint32_t i;

    qvirtio_start_device(vdev);
    stop(drv);
    qvirtio_set_features(vdev, qvirtio_get_features(vdev) &
                         ~(QVIRTIO_F_BAD_FEATURE | drv->refuse |
                           1ull << VIRTIO_RING_F_INDIRECT_DESC |
                           1ull << VIRTIO_RING_F_EVENT_IDX));

    drv->c_ivq = qvirtqueue_setup(vdev, drv->alloc, C_IVQ);
    drv->c_ovq = qvirtqueue_setup(vdev, drv->alloc, C_OVQ);
    for (i = 0; i < QVSER_DATA_PORTS; i++) {
        if (drv->data_ports & (1ull << i)) {
            drv->ivqs[i] = qvirtqueue_setup(vdev, drv->alloc, ivq_index(i));
            drv->ovqs[i] = qvirtqueue_setup(vdev, drv->alloc,
                                            ivq_index(i) + 1);
        }
    }

    drv->buffers = g_new0(QVSerBuffer *, drv->c_ivq->size);
    drv->kept = g_queue_new();
    drv->interrupted = false;
    drv->out = guest_alloc(drv->alloc, sizeof(struct virtio_console_control));
    qvirtqueue_add(drv->qts, drv->c_ovq, drv->out,
                   sizeof(struct virtio_console_control), false, false);
    disable_interrupts(drv, drv->c_ovq);
    qvirtio_set_driver_ok(vdev);
}

bool qvser_negotiated(QVSerDriver *drv, unsigned int feature)
{
    return drv->vdev->features & (1ull << feature);
}

static void post(QVSerDriver *drv, uint32_t head)
{
    QVSerBuffer *buf = drv->buffers[head];

    qtest_memset(drv->qts, buf->addr, UNWRITTEN, buf->size);
    qvirtqueue_kick(drv->qts, drv->vdev, drv->c_ivq, head);
}

void qvser_add_buffer(QVSerDriver *drv, const QVSerSegment *segments,
                      unsigned int nr_segments)
{
    QVSerBuffer *buf = g_new0(QVSerBuffer, 1);
    uint32_t head = drv->c_ivq->free_head;
    uint64_t addr;
    unsigned int i;

    g_assert(nr_segments <= QVSER_SEGMENTS_MAX);
    g_assert_cmpint(nr_segments, <=, drv->c_ivq->num_free);
    memcpy(buf->segments, segments, nr_segments * sizeof(*segments));
    buf->nr_segments = nr_segments;
    for (i = 0; i < nr_segments; i++) {
        buf->size += segments[i].len + GUARD;
        buf->capacity += segments[i].len;
    }
    buf->addr = guest_alloc(drv->alloc, buf->size);

    addr = buf->addr;
    for (i = 0; i < nr_segments; i++) {
        qvirtqueue_add(drv->qts, drv->c_ivq, addr, segments[i].len,
                       !segments[i].device_reads, i < nr_segments - 1);
        addr += segments[i].len + GUARD;
    }
    drv->buffers[head] = buf;
    post(drv, head);
}

void qvser_add_buffers(QVSerDriver *drv, unsigned int count, uint32_t len)
{
    while (count--) {
        qvser_add_buffer(drv, &(QVSerSegment) { .len = len }, 1);
    }
}

void qvser_write_descriptor(QVSerDriver *drv, uint16_t index,
                            const QVSerDescriptor *desc)
{
    struct vring_desc raw;

    store64(drv, &raw.addr, drv->out);
    store32(drv, &raw.len, desc->len);
    store16(drv, &raw.flags, desc->flags);
    store16(drv, &raw.next, desc->next);
    qtest_memwrite(drv->qts, drv->c_ivq->desc + index * sizeof(raw), &raw,
                   sizeof(raw));
}

void qvser_give_back(QVSerDriver *drv)
{
    while (!g_queue_is_empty(drv->kept)) {
        post(drv, GPOINTER_TO_UINT(g_queue_pop_head(drv->kept)));
    }
}

void qvser_send(QVSerDriver *drv, uint32_t id, uint16_t event, uint16_t value)
{
    gint64 start = g_get_monotonic_time();
    struct virtio_console_control msg;

    store32(drv, &msg.id, id);
    store16(drv, &msg.event, event);
    store16(drv, &msg.value, value);
    qtest_memwrite(drv->qts, drv->out, &msg, sizeof(msg));
    qvirtqueue_kick(drv->qts, drv->vdev, drv->c_ovq, 0);
    while (!qvirtqueue_get_buf(drv->qts, drv->c_ovq, NULL, NULL)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
}

/* The message in a buffer into drv->in, if nothing else was written */
static void copy_message(QVSerDriver *drv, QVSerBuffer *buf, uint32_t used)
{
    g_autofree uint8_t *memory = g_malloc(buf->size);
    uint8_t *p = memory;
    uint32_t copied = 0, len, j;
    unsigned int i;

    g_assert_cmpint(used, <=, buf->capacity);
    drv->in = g_realloc(drv->in, buf->capacity);
    qtest_memread(drv->qts, buf->addr, memory, buf->size);
    for (i = 0; i < buf->nr_segments; i++) {
        len = MIN(buf->segments[i].len, used - copied);
        memcpy(drv->in + copied, p, len);
        copied += len;
        for (j = len; j < buf->segments[i].len + GUARD; j++) {
            g_assert_cmphex(p[j], ==, UNWRITTEN);
        }
        p += buf->segments[i].len + GUARD;
    }
}

bool qvser_poll(QVSerDriver *drv, QVSerEvent *ev)
{
    const struct virtio_console_control *msg;
    uint32_t head;

    if (!qvirtqueue_get_buf(drv->qts, drv->c_ivq, &head, NULL)) {
        drv->interrupted = false;
        return false;
    }
    if (!drv->interrupted) {
        qvirtio_wait_queue_isr(drv->qts, drv->vdev, drv->c_ivq,
                               QVSER_TIMEOUT_US);
        drv->interrupted = true;
    }

    g_assert_cmpint(head, <, drv->c_ivq->size);
    g_assert_nonnull(drv->buffers[head]);
    ev->used = last_used_len(drv, drv->c_ivq);
    g_assert_cmpint(ev->used, >=, sizeof(*msg));
    copy_message(drv, drv->buffers[head], ev->used);

    msg = (const struct virtio_console_control *)drv->in;
    ev->id = load32(drv, &msg->id);
    ev->event = load16(drv, &msg->event);
    ev->value = load16(drv, &msg->value);
    ev->room = drv->buffers[head]->capacity;
    ev->length = ev->used - sizeof(*msg);
    ev->payload = drv->in + sizeof(*msg);

    if (drv->keep) {
        g_queue_push_tail(drv->kept, GUINT_TO_POINTER(head));
    } else {
        post(drv, head);
    }
    return true;
}

void qvser_next(QVSerDriver *drv, QVSerEvent *ev)
{
    gint64 start = g_get_monotonic_time();

    while (!qvser_poll(drv, ev)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
}

/*
 * A notification is a file descriptor that QEMU's main loop finds readable.
 * Each answer to a qtest command takes the main loop round once; a bottom half
 * that is scheduled on the way takes it round once more.
 */
void qvser_settle(QVSerDriver *drv)
{
    int i;

    for (i = 0; i < 5; i++) {
        qtest_readb(drv->qts, drv->c_ivq->desc);
    }
}

void qvser_wait_broken(QVSerDriver *drv)
{
    gint64 start = g_get_monotonic_time();

    while (!(drv->vdev->bus->get_status(drv->vdev) &
             VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
}

void qvser_post(QVSerDriver *drv, uint32_t id, uint32_t len)
{
    QVirtQueue *vq = drv->ivqs[id];
    GQueue *posted = &drv->posted[id];
    QVSerBuffer *buf = g_new0(QVSerBuffer, 1);
    uint32_t head;

    /* The device uses them in order, so descriptors can be used in turn */
    g_assert_cmpuint(posted->length, <, vq->size);
    if (vq->free_head == vq->size) {
        vq->free_head = 0;
    }
    vq->num_free = vq->size;
    buf->size = buf->capacity = len;
    buf->addr = guest_alloc(drv->alloc, len);
    head = qvirtqueue_add(drv->qts, vq, buf->addr, len, true, false);
    g_queue_push_tail(posted, buf);
    qvirtqueue_kick(drv->qts, drv->vdev, vq, head);
}

unsigned int qvser_posted(QVSerDriver *drv, uint32_t id)
{
    return drv->posted[id].length;
}

bool qvser_take(QVSerDriver *drv, uint32_t id, GByteArray *data)
{
    QVirtQueue *vq = drv->ivqs[id];
    QVSerBuffer *buf;
    uint32_t used;

    if (!qvirtqueue_get_buf(drv->qts, vq, NULL, NULL)) {
        return false;
    }
    /* The interrupt may have been for c_ivq as well */
    drv->interrupted = true;
    buf = g_queue_pop_head(&drv->posted[id]);
    used = last_used_len(drv, vq);
    g_assert_cmpuint(used, <=, buf->size);
    g_byte_array_set_size(data, data->len + used);
    qtest_memread(drv->qts, buf->addr, data->data + data->len - used, used);
    guest_free(drv->alloc, buf->addr);
    g_free(buf);
    return true;
}

size_t qvser_read(QVSerDriver *drv, uint32_t id, void *data, size_t len)
{
    g_autoptr(GByteArray) got = g_byte_array_new();
    gint64 start = g_get_monotonic_time();

    qvser_post(drv, id, len);
    while (!qvser_take(drv, id, got)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    memcpy(data, got->data, got->len);
    return got->len;
}

void qvser_write(QVSerDriver *drv, uint32_t id, const void *data, size_t len)
{
    QVirtQueue *vq = drv->ovqs[id];
    uint64_t addr = guest_alloc(drv->alloc, len);

    qtest_memwrite(drv->qts, addr, data, len);
    vq->free_head = 0;
    qvirtqueue_add(drv->qts, vq, addr, len, false, false);
    qvirtqueue_kick(drv->qts, drv->vdev, vq, 0);
    qvirtio_wait_used_elem(drv->qts, drv->vdev, vq, 0, NULL, QVSER_TIMEOUT_US);
    /* It may have been for c_ivq as well */
    drv->interrupted = true;
    guest_free(drv->alloc, addr);
}

void qvser_migrated(QVSerDriver *drv, QTestState *qts, QVirtioDevice *vdev,
                    QGuestAllocator *alloc)
{
    uint32_t i;

    vdev->features = drv->vdev->features;
    vdev->features_negotiated = true;
    migrate_allocator(drv->alloc, alloc);
    drv->qts = qts;
    drv->vdev = vdev;
    drv->alloc = alloc;
    drv->c_ivq->vdev = vdev;
    drv->c_ovq->vdev = vdev;
    for (i = 0; i < QVSER_DATA_PORTS; i++) {
        if (drv->ivqs[i]) {
            drv->ivqs[i]->vdev = vdev;
            drv->ovqs[i]->vdev = vdev;
        }
    }
}
