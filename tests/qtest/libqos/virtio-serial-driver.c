/*
 * libqos driver for virtio-serial: the control queues, and data of ports
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "../libqtest.h"
#include "virtio-serial-driver.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"

#define C_IVQ               2
#define C_OVQ               3

/* The feature bits of queues and transports, the same for every device */
#define COMMON_FEATURES     MAKE_64BIT_MASK(24, 26)

/* The bytes of memory that the device has not written */
#define UNWRITTEN           0xa5

/* How many such bytes follow each segment of a buffer, as a guard */
#define GUARD               16

struct QVSerBuffer {
    uint64_t addr;          /* the segments, with a guard after each */
    uint32_t size;          /* of that */
    uint32_t capacity;      /* of the segments alone */
    bool adjoin;            /* the only guard is the last one */
    unsigned int nr_segments;
    QVSerSegment *segments;
    /* For data: */
    uint64_t table;         /* the indirect table, 0: none */
    unsigned int nr_descs;
    uint16_t *descs;        /* the descriptors that it is in */
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

/* qvirtqueue_get_buf(), with an interrupt from the next one on */
static bool get_used(QVSerDriver *drv, QVirtQueue *vq, uint32_t *head)
{
    if (!qvirtqueue_get_buf(drv->qts, vq, head, NULL)) {
        return false;
    }
    if (vq->event) {
        qvirtqueue_set_used_event(drv->qts, vq, vq->last_used_idx);
    }
    return true;
}

/*
 * No interrupts from c_ovq: with one line for all queues, they would hide
 * missing interrupts of c_ivq.
 */
static void disable_interrupts(QVSerDriver *drv, QVirtQueue *vq)
{
    uint8_t flags[2];

    if (vq->event) {
        qvirtqueue_set_used_event(drv->qts, vq, vq->last_used_idx - 1);
    }
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
    drv->features = 1ull << VIRTIO_CONSOLE_F_MULTIPORT;
    return drv;
}

static void free_queue(QVSerDriver *drv, QVirtQueue *vq)
{
    qvirtqueue_cleanup(drv->vdev->bus, vq, drv->alloc);
}

/* The bytes between segment @i of @buf and the next segment */
static uint32_t gap(const QVSerBuffer *buf, unsigned int i)
{
    return buf->adjoin && i < buf->nr_segments - 1 ? 0 : GUARD;
}

/* The length of segment @i of @buf, alone and with its guard */
static uint32_t own_len(const QVSerBuffer *buf, unsigned int i)
{
    return buf->segments[i].addr ? 0 : buf->segments[i].len;
}

static uint32_t own_size(const QVSerBuffer *buf, unsigned int i)
{
    return own_len(buf, i) + gap(buf, i);
}

static QVSerBuffer *new_buffer(QVSerDriver *drv, const QVSerSegment *segments,
                               unsigned int nr_segments)
{
    QVSerBuffer *buf = g_new0(QVSerBuffer, 1);
    unsigned int i;

    buf->segments = g_memdup2(segments, nr_segments * sizeof(*segments));
    buf->nr_segments = nr_segments;
    buf->adjoin = drv->adjoin;
    for (i = 0; i < nr_segments; i++) {
        buf->size += own_size(buf, i);
        buf->capacity += segments[i].len;
    }
    buf->addr = guest_alloc(drv->alloc, buf->size);
    return buf;
}

static void free_buffer(QVSerDriver *drv, QVSerBuffer *buf)
{
    guest_free(drv->alloc, buf->addr);
    if (buf->table) {
        guest_free(drv->alloc, buf->table);
    }
    g_free(buf->segments);
    g_free(buf->descs);
    g_free(buf);
}

static void start_data_queue(QVSerDriver *drv, QVSerQueue *q, uint32_t index,
                             bool to_host)
{
    q->vq = qvirtqueue_setup(drv->vdev, drv->alloc, index);
    q->to_host = to_host;
    q->avail_idx = q->kicked_idx = 0;
    q->free = g_new(uint16_t, q->vq->size);
    for (q->nr_free = 0; q->nr_free < q->vq->size; q->nr_free++) {
        q->free[q->nr_free] = q->nr_free;
    }
}

static void stop_data_queue(QVSerDriver *drv, QVSerQueue *q)
{
    QVSerBuffer *buf;

    while ((buf = g_queue_pop_head(&q->posted))) {
        free_buffer(drv, buf);
    }
    g_clear_pointer(&q->free, g_free);
    free_queue(drv, q->vq);
    q->vq = NULL;
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
            free_buffer(drv, drv->buffers[i]);
        }
    }
    for (i = 0; i < QVSER_DATA_PORTS; i++) {
        if (drv->ivqs[i].vq) {
            stop_data_queue(drv, &drv->ivqs[i]);
            stop_data_queue(drv, &drv->ovqs[i]);
        }
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
    uint64_t features = drv->features | COMMON_FEATURES;
    uint32_t i;

    features &= ~QVIRTIO_F_BAD_FEATURE;
    if (!drv->event_idx) {
        features &= ~(1ull << VIRTIO_RING_F_EVENT_IDX);
    }
    if (!drv->indirect) {
        features &= ~(1ull << VIRTIO_RING_F_INDIRECT_DESC);
    }
    qvirtio_start_device(vdev);
    stop(drv);
    qvirtio_set_features(vdev, qvirtio_get_features(vdev) & features);

    drv->c_ivq = qvirtqueue_setup(vdev, drv->alloc, C_IVQ);
    drv->c_ovq = qvirtqueue_setup(vdev, drv->alloc, C_OVQ);
    for (i = 0; i < QVSER_DATA_PORTS; i++) {
        if (drv->data_ports & (1ull << i)) {
            start_data_queue(drv, &drv->ivqs[i], ivq_index(i), false);
            start_data_queue(drv, &drv->ovqs[i], ivq_index(i) + 1, true);
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
    QVSerBuffer *buf = new_buffer(drv, segments, nr_segments);
    uint32_t head = drv->c_ivq->free_head;
    uint64_t addr = buf->addr;
    unsigned int i;

    g_assert_cmpint(nr_segments, <=, drv->c_ivq->num_free);
    for (i = 0; i < nr_segments; i++) {
        qvirtqueue_add(drv->qts, drv->c_ivq, segments[i].addr ?: addr,
                       segments[i].len, !segments[i].device_reads,
                       i < nr_segments - 1);
        addr += own_size(buf, i);
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

void qvser_send_only(QVSerDriver *drv, uint32_t id, uint16_t event,
                     uint16_t value)
{
    struct virtio_console_control msg;

    store32(drv, &msg.id, id);
    store16(drv, &msg.event, event);
    store16(drv, &msg.value, value);
    qtest_memwrite(drv->qts, drv->out, &msg, sizeof(msg));
    qvirtqueue_kick(drv->qts, drv->vdev, drv->c_ovq, 0);
}

void qvser_send(QVSerDriver *drv, uint32_t id, uint16_t event, uint16_t value)
{
    gint64 start = g_get_monotonic_time();

    qvser_send_only(drv, id, event, value);
    while (!qvirtqueue_get_buf(drv->qts, drv->c_ovq, NULL, NULL)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
}

/*
 * Copy the @used bytes of a buffer into @data, and check that nothing else was
 * written. All memory is read at once, because each access is a message to
 * QEMU.
 */
static void read_buffer(QVSerDriver *drv, QVSerBuffer *buf, uint32_t used,
                        uint8_t *data)
{
    g_autofree uint8_t *memory = g_malloc(buf->size);
    uint8_t *p = memory;
    uint32_t copied = 0, len, j;
    unsigned int i;

    g_assert_cmpint(used, <=, buf->capacity);
    qtest_bufread(drv->qts, buf->addr, memory, buf->size);
    for (i = 0; i < buf->nr_segments; i++) {
        len = MIN(buf->segments[i].len, used - copied);
        if (buf->segments[i].addr) {
            qtest_memread(drv->qts, buf->segments[i].addr, data + copied, len);
        } else if (len) {
            memcpy(data + copied, p, len);
        }
        copied += len;
        for (j = MIN(len, own_len(buf, i)); j < own_size(buf, i); j++) {
            if (p[j] != UNWRITTEN) {
                g_assert_cmphex(p[j], ==, UNWRITTEN);
            }
        }
        p += own_size(buf, i);
    }
}

bool qvser_poll(QVSerDriver *drv, QVSerEvent *ev)
{
    const struct virtio_console_control *msg;
    uint32_t head;

    if (!get_used(drv, drv->c_ivq, &head)) {
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
    drv->in = g_realloc(drv->in, drv->buffers[head]->capacity);
    read_buffer(drv, drv->buffers[head], ev->used, drv->in);

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

bool qvser_has_room(QVSerQueue *q, unsigned int nr_segments)
{
    return q->nr_free >= (nr_segments > QVSER_CHAIN_MAX ? 1 : nr_segments);
}

/*
 * Describe @buf in @table, in the entries that @next names, NULL: in the first
 * ones.
 */
static void write_descs(QVSerDriver *drv, QVSerQueue *q, QVSerBuffer *buf,
                        uint64_t table, const uint16_t *next)
{
    g_autofree struct vring_desc *descs = g_new(struct vring_desc,
                                                buf->nr_segments);
    uint64_t addr = buf->addr;
    unsigned int i;

    for (i = 0; i < buf->nr_segments; i++) {
        bool last = i == buf->nr_segments - 1;

        store64(drv, &descs[i].addr, buf->segments[i].addr ?: addr);
        store32(drv, &descs[i].len, buf->segments[i].len);
        store16(drv, &descs[i].flags, (q->to_host ? 0 : VRING_DESC_F_WRITE) |
                (last ? 0 : VRING_DESC_F_NEXT));
        store16(drv, &descs[i].next, last ? 0 : next ? next[i + 1] : i + 1);
        addr += own_size(buf, i);
        if (next) {
            qtest_memwrite(drv->qts, table + next[i] * sizeof(*descs),
                           &descs[i], sizeof(*descs));
        }
    }
    if (!next) {
        qtest_bufwrite(drv->qts, table, descs, i * sizeof(*descs));
    }
}

/* Add @buf, with @data in it unless the queue is to the guest */
static void queue_buffer(QVSerDriver *drv, QVSerQueue *q, QVSerBuffer *buf,
                         const uint8_t *data)
{
    g_autofree uint8_t *memory = NULL;
    bool indirect = buf->nr_segments > QVSER_CHAIN_MAX;
    uint8_t head[2];
    unsigned int i;

    g_assert_true(qvser_has_room(q, buf->nr_segments));
    g_assert_true(!indirect || drv->indirect);
    if (q->to_host) {
        uint8_t *p = memory = g_malloc0(buf->size);

        for (i = 0; i < buf->nr_segments; i++) {
            memcpy(p, data, buf->segments[i].len);
            data += buf->segments[i].len;
            p += own_size(buf, i);
        }
        qtest_bufwrite(drv->qts, buf->addr, memory, buf->size);
    } else {
        qtest_memset(drv->qts, buf->addr, UNWRITTEN, buf->size);
    }

    buf->nr_descs = indirect ? 1 : buf->nr_segments;
    q->nr_free -= buf->nr_descs;
    buf->descs = g_memdup2(&q->free[q->nr_free],
                           buf->nr_descs * sizeof(*buf->descs));
    if (indirect) {
        struct vring_desc desc;
        uint32_t size = buf->nr_segments * sizeof(desc);

        buf->table = guest_alloc(drv->alloc, size);
        write_descs(drv, q, buf, buf->table, NULL);
        store64(drv, &desc.addr, buf->table);
        store32(drv, &desc.len, size);
        store16(drv, &desc.flags, VRING_DESC_F_INDIRECT);
        store16(drv, &desc.next, 0);
        qtest_memwrite(drv->qts, q->vq->desc + buf->descs[0] * sizeof(desc),
                       &desc, sizeof(desc));
    } else {
        write_descs(drv, q, buf, q->vq->desc, buf->descs);
    }

    store16(drv, head, buf->descs[0]);
    qtest_memwrite(drv->qts, q->vq->avail +
                   offsetof(struct vring_avail, ring) +
                   q->avail_idx++ % q->vq->size * sizeof(head),
                   head, sizeof(head));
    g_queue_push_tail(&q->posted, buf);
}

void qvser_queue(QVSerDriver *drv, QVSerQueue *q, const uint32_t *lens,
                 unsigned int nr_segments, const void *data)
{
    g_autofree QVSerSegment *segments = g_new0(QVSerSegment, nr_segments);
    unsigned int i;

    for (i = 0; i < nr_segments; i++) {
        segments[i].len = lens[i];
    }
    queue_buffer(drv, q, new_buffer(drv, segments, nr_segments), data);
}

void qvser_queue_segments(QVSerDriver *drv, QVSerQueue *q,
                          const QVSerSegment *segments,
                          unsigned int nr_segments)
{
    queue_buffer(drv, q, new_buffer(drv, segments, nr_segments), NULL);
}

/*
 * Virtio 1.3, 2.7.10: does the device want a notification of the buffers from
 * @q->kicked_idx to before @end?
 */
static bool wants_notification(QVSerDriver *drv, QVSerQueue *q, uint16_t end)
{
    uint8_t field[2];

    if (!q->vq->event) {
        qtest_memread(drv->qts,
                      q->vq->used + offsetof(struct vring_used, flags),
                      field, sizeof(field));
        return !(load16(drv, field) & VRING_USED_F_NO_NOTIFY);
    }
    qtest_memread(drv->qts, q->vq->used + offsetof(struct vring_used, ring) +
                  q->vq->size * sizeof(struct vring_used_elem),
                  field, sizeof(field));
    return (uint16_t)(load16(drv, field) - q->kicked_idx) <
           (uint16_t)(end - q->kicked_idx);
}

bool qvser_is_awaited(QVSerDriver *drv, QVSerQueue *q)
{
    return wants_notification(drv, q, q->kicked_idx + 1);
}

void qvser_kick(QVSerDriver *drv, QVSerQueue *q)
{
    uint8_t field[2];

    store16(drv, field, q->avail_idx);
    qtest_memwrite(drv->qts, q->vq->avail + offsetof(struct vring_avail, idx),
                   field, sizeof(field));
    if (wants_notification(drv, q, q->avail_idx)) {
        drv->vdev->bus->virtqueue_kick(drv->vdev, q->vq);
    }
    q->kicked_idx = q->avail_idx;
}

unsigned int qvser_nr_used(QVSerDriver *drv, QVSerQueue *q)
{
    uint8_t idx[2];

    qtest_memread(drv->qts, q->vq->used + offsetof(struct vring_used, idx),
                  idx, sizeof(idx));
    return (uint16_t)(load16(drv, idx) - q->vq->last_used_idx);
}

/* The device has used the buffer that begins with descriptor @head */
static QVSerBuffer *take_posted(QVSerQueue *q, uint32_t head)
{
    GList *link;

    for (link = q->posted.head; link; link = link->next) {
        QVSerBuffer *buf = link->data;

        if (buf->descs[0] == head) {
            g_queue_delete_link(&q->posted, link);
            memcpy(&q->free[q->nr_free], buf->descs,
                   buf->nr_descs * sizeof(*buf->descs));
            q->nr_free += buf->nr_descs;
            return buf;
        }
    }
    g_error("descriptor %u is not the first one of a buffer", head);
}

bool qvser_next_used(QVSerDriver *drv, QVSerQueue *q, GByteArray *data)
{
    QVSerBuffer *buf;
    uint32_t head, used;

    if (!get_used(drv, q->vq, &head)) {
        return false;
    }
    /* The interrupt may have been for c_ivq as well */
    drv->interrupted = true;
    buf = take_posted(q, head);
    used = last_used_len(drv, q->vq);
    if (q->to_host) {
        g_assert_cmpuint(used, ==, 0);
    } else {
        /* Buffers that are not filled stay with the device */
        g_assert_cmpuint(used, >, 0);
        g_byte_array_set_size(data, data->len + used);
        read_buffer(drv, buf, used, data->data + data->len - used);
    }
    free_buffer(drv, buf);
    return true;
}

uint64_t qvser_posted_size(QVSerQueue *q)
{
    uint64_t size = 0;
    GList *link;

    for (link = q->posted.head; link; link = link->next) {
        size += ((QVSerBuffer *)link->data)->capacity;
    }
    return size;
}

void qvser_check_untouched(QVSerDriver *drv, QVSerQueue *q)
{
    GList *link;

    for (link = q->posted.head; link; link = link->next) {
        read_buffer(drv, link->data, 0, NULL);
    }
}

void qvser_post(QVSerDriver *drv, uint32_t id, uint32_t len)
{
    qvser_queue(drv, &drv->ivqs[id], &len, 1, NULL);
    qvser_kick(drv, &drv->ivqs[id]);
}

size_t qvser_read(QVSerDriver *drv, uint32_t id, void *data, size_t len)
{
    g_autoptr(GByteArray) got = g_byte_array_new();
    gint64 start = g_get_monotonic_time();

    qvser_post(drv, id, len);
    while (!qvser_next_used(drv, &drv->ivqs[id], got)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    memcpy(data, got->data, got->len);
    return got->len;
}

void qvser_write(QVSerDriver *drv, uint32_t id, const void *data, size_t len)
{
    QVSerQueue *q = &drv->ovqs[id];
    uint32_t size = len;

    qvser_queue(drv, q, &size, 1, data);
    qvser_kick(drv, q);
    qvirtio_wait_queue_isr(drv->qts, drv->vdev, q->vq, QVSER_TIMEOUT_US);
    g_assert_true(qvser_next_used(drv, q, NULL));
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
        if (drv->ivqs[i].vq) {
            drv->ivqs[i].vq->vdev = vdev;
            drv->ovqs[i].vq->vdev = vdev;
        }
    }
}
