/*
 * QTest testcase for virtio-serial: packed rings
 *
 * A driver of packed rings that does as little as a test needs, or less: it
 * makes a queue longer than is offered, posts what no driver should, and sends
 * no notification that the device does not ask for.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "libqos/virtio-blk.h"
#include "libqos/virtio-net.h"
#include "libqos/virtio-pci.h"
#include "libqos/virtio-serial.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-serial-utils.h"

#define ID          1

/* Queues of a device: the control queues, and those of port ID */
enum { C_IVQ = 2, C_OVQ, IVQ, OVQ, NR_QUEUES };

/* A longer queue than any that the device offers */
#define LONGEST     1024

/* And one that is shorter than what a port has in use at a time */
#define SHORT       64

/* For more events than one port has */
#define EVENTS      16

/* Controllers can be unplugged in this machine, at this slot */
#define SLOT        4

typedef struct Ring {
    QVirtQueue *vq;
    uint64_t data;          /* a page for all buffers */
    uint16_t next;          /* where the next descriptor goes */
    bool wrap;              /* the driver's counter there */
    uint16_t kicked;        /* how many were posted at the last kick() */
    uint16_t posted;        /* and until now; both may wrap */
    uint16_t used;          /* where the device writes next */
    bool used_wrap;
} Ring;

typedef struct Packed {
    QTestState *qts;
    QVirtioDevice *vdev;
    QGuestAllocator *alloc;
    Ring rings[NR_QUEUES];
    VSerHost *host;
} Packed;

/* A QEMU that hangs answers nothing: the test ends by this timeout */
static void watch(void)
{
    alarm(4 * QVSER_TIMEOUT_US / (1000 * 1000));
}

static void ring_init(Packed *p, unsigned int index, unsigned int size)
{
    QVirtioPCIDevice *dev = container_of(p->vdev, QVirtioPCIDevice, vdev);
    Ring *ring = &p->rings[index];

    if (size) {
        p->vdev->bus->queue_select(p->vdev, index);
        qpci_io_writew(dev->pdev, dev->bar, dev->common_cfg_offset +
                       offsetof(struct virtio_pci_common_cfg, queue_size),
                       size);
    }
    *ring = (Ring) {
        .vq = qvirtqueue_setup(p->vdev, p->alloc, index),
        .data = guest_alloc(p->alloc, 4096),
        .wrap = true,
        .used_wrap = true,
    };
    g_assert_cmpuint(ring->vq->size, ==, size ?: ring->vq->size);
    qtest_memset(p->qts, ring->vq->desc, 0,
                 ring->vq->size * sizeof(struct vring_packed_desc));
    qtest_memset(p->qts, ring->vq->avail, 0,
                 sizeof(struct vring_packed_desc_event));
    qtest_memset(p->qts, ring->vq->used, 0,
                 sizeof(struct vring_packed_desc_event));
}

/* Post the buffer @addr, @len with these flags, whatever they mean */
static void post_at(Packed *p, unsigned int index, uint64_t addr, uint32_t len,
                    uint16_t flags)
{
    Ring *ring = &p->rings[index];
    struct vring_packed_desc desc = {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(len),
        .id = cpu_to_le16(ring->next),
        .flags = cpu_to_le16(flags |
                             ring->wrap << VRING_PACKED_DESC_F_AVAIL |
                             !ring->wrap << VRING_PACKED_DESC_F_USED),
    };

    qtest_memwrite(p->qts, ring->vq->desc + ring->next * sizeof(desc), &desc,
                   sizeof(desc));
    ring->posted++;
    if (++ring->next == ring->vq->size) {
        ring->next = 0;
        ring->wrap = !ring->wrap;
    }
}

static void post(Packed *p, unsigned int index, uint32_t len, uint16_t flags)
{
    post_at(p, index, p->rings[index].data, len, flags);
}

/*
 * Virtio 1.3, 2.8.10: does the device want a notification of the posted
 * buffers?
 */
static bool wants_notification(Packed *p, Ring *ring)
{
    struct vring_packed_desc_event event;
    uint16_t off_wrap, off, age;

    qtest_memread(p->qts, ring->vq->used, &event, sizeof(event));
    switch (le16_to_cpu(event.flags)) {
    case VRING_PACKED_EVENT_FLAG_ENABLE:
        return true;
    case VRING_PACKED_EVENT_FLAG_DISABLE:
        return false;
    case VRING_PACKED_EVENT_FLAG_DESC:
        off_wrap = le16_to_cpu(event.off_wrap);
        off = off_wrap & ~(1 << VRING_PACKED_EVENT_F_WRAP_CTR);
        /* How many descriptors lie before the next used one */
        age = ring->next - off;
        if (off_wrap >> VRING_PACKED_EVENT_F_WRAP_CTR != ring->wrap) {
            age += ring->vq->size;
        }
        return age && age <= (uint16_t)(ring->posted - ring->kicked);
    default:
        g_assert_not_reached();
    }
}

static void kick(Packed *p, unsigned int index)
{
    Ring *ring = &p->rings[index];

    if (wants_notification(p, ring)) {
        p->vdev->bus->virtqueue_kick(p->vdev, ring->vq);
    }
    ring->kicked = ring->posted;
}

/* Returns: how many buffers the device has used since the last call */
static unsigned int reclaim(Packed *p, unsigned int index)
{
    Ring *ring = &p->rings[index];
    unsigned int count = 0;

    while (true) {
        struct vring_packed_desc desc;
        bool avail, used;

        qtest_memread(p->qts, ring->vq->desc + ring->used * sizeof(desc),
                      &desc, sizeof(desc));
        avail = le16_to_cpu(desc.flags) >> VRING_PACKED_DESC_F_AVAIL & 1;
        used = le16_to_cpu(desc.flags) >> VRING_PACKED_DESC_F_USED & 1;
        if (avail != ring->used_wrap || used != ring->used_wrap) {
            return count;
        }
        count++;
        if (++ring->used == ring->vq->size) {
            ring->used = 0;
            ring->used_wrap = !ring->used_wrap;
        }
    }
}

/* Wait until the device has done all that it was notified for */
static unsigned int settle_and_reclaim(Packed *p, unsigned int index)
{
    int i;

    for (i = 0; i < 5; i++) {
        qtest_readb(p->qts, p->rings[index].vq->desc);
    }
    return reclaim(p, index);
}

static void send_control(Packed *p, uint32_t id, uint16_t event)
{
    struct virtio_console_control msg = {
        .id = cpu_to_le32(id),
        .event = cpu_to_le16(event),
        .value = cpu_to_le16(1),
    };

    qtest_memwrite(p->qts, p->rings[C_OVQ].data, &msg, sizeof(msg));
    post(p, C_OVQ, sizeof(msg), 0);
    kick(p, C_OVQ);
    g_assert_cmpuint(settle_and_reclaim(p, C_OVQ), ==, 1);
}

static void host_write(Packed *p, const void *data, size_t len)
{
    g_assert_cmpint(write(p->host->fd, data, len), ==, len);
}

/* The host, if it is there, reads all that was written so far */
static void host_reads(Packed *p, GByteArray *data)
{
    uint8_t bytes[4096];
    ssize_t len;

    while (p->host->fd >= 0 &&
           (len = recv(p->host->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
        g_byte_array_append(data, bytes, len);
    }
}

/* A port of device @driver, open at both ends */
static void packed_up(Packed *p, void *obj, QGuestAllocator *alloc,
                      const char *driver, unsigned int size)
{
    QVirtioSerial *serial = obj;
    unsigned int i;

    qos_invalidate_command_line();
    watch();
    *p = (Packed) {
        .qts = global_qtest,
        .vdev = serial->vdev,
        .alloc = alloc,
        .host = vser_host_new(),
    };
    qtest_qmp_device_add(p->qts, driver, "port1", "{ 'bus': 'vser0.0',"
                         " 'nr': %u, 'chardev': 'host' }", ID);
    vser_host_connect(p->host);
    qvirtio_start_device(p->vdev);
    qvirtio_set_features(p->vdev, qvirtio_get_features(p->vdev) &
                         ~QVIRTIO_F_BAD_FEATURE);
    g_assert_true(p->vdev->features & 1ull << VIRTIO_F_RING_PACKED);
    for (i = C_IVQ; i < NR_QUEUES; i++) {
        ring_init(p, i, size);
    }
    qvirtio_set_driver_ok(p->vdev);
    for (i = 0; i < EVENTS; i++) {
        post(p, C_IVQ, 64, VRING_DESC_F_WRITE);
    }
    kick(p, C_IVQ);
    send_control(p, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY);
    send_control(p, ID, VIRTIO_CONSOLE_PORT_READY);
    send_control(p, ID, VIRTIO_CONSOLE_PORT_OPEN);
}

static void packed_cleanup(Packed *p)
{
    unsigned int i;

    for (i = C_IVQ; i < NR_QUEUES; i++) {
        guest_free(p->alloc, p->rings[i].data);
        qvirtqueue_cleanup(p->vdev->bus, p->rings[i].vq, p->alloc);
    }
    vser_host_forget(p->host);
    alarm(0);
}

/*
 * A driver's error in a queue. The ring stays as it was. The device ignores
 * the ring from then on, and goes on with all other queues.
 */
static void test_error(void *obj, void *arg, QGuestAllocator *alloc)
{
    unsigned int index = GPOINTER_TO_UINT(arg);
    const uint16_t flags = index & 1 ? 0 : VRING_DESC_F_WRITE;
    gint64 start = g_get_monotonic_time();
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", 0);
    post(&p, index, 0, flags);
    post(&p, index, 8, flags);
    kick(&p, index);
    host_write(&p, "to the guest", 12);
    while (!(p.vdev->bus->get_status(p.vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    g_assert_cmpuint(settle_and_reclaim(&p, index), ==, 0);
    vser_host_disconnect(p.host);
    g_assert_cmpuint(settle_and_reclaim(&p, index), ==, 0);
    qtest_qmp_device_del(p.qts, "port1");
    packed_cleanup(&p);
}

/* An empty indirect table, in any queue */
static void test_empty_table(void *obj, void *arg, QGuestAllocator *alloc)
{
    unsigned int index = GPOINTER_TO_UINT(arg);
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", 0);
    post(&p, index, 0, VRING_DESC_F_INDIRECT);
    kick(&p, index);
    host_write(&p, "to the guest", 12);
    g_assert_cmpuint(settle_and_reclaim(&p, index), ==, 0);
    packed_cleanup(&p);
}

/*
 * A queue that is longer than the device offers, all of it in use at a time. A
 * write behind an array shows when the array is freed.
 */
static void test_long(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(GByteArray) got = g_byte_array_new();
    gint64 start = g_get_monotonic_time();
    uint8_t data[LONGEST] = { 0 };
    unsigned int used = 0, i;
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", LONGEST);
    for (i = 0; i < LONGEST; i++) {
        post(&p, OVQ, 1, 0);
        post(&p, IVQ, 1, VRING_DESC_F_WRITE);
    }
    for (i = EVENTS; i < LONGEST; i++) {
        post(&p, C_IVQ, 64, VRING_DESC_F_WRITE);
    }
    kick(&p, OVQ);
    kick(&p, IVQ);
    kick(&p, C_IVQ);
    while ((used += settle_and_reclaim(&p, OVQ)) < LONGEST) {
        host_reads(&p, got);
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }

    host_write(&p, data, sizeof(data));
    used = 0;
    while ((used += settle_and_reclaim(&p, IVQ)) < LONGEST) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }

    /* More messages at a time than there are buffers in an offered queue */
    for (i = 0; i < 29; i++) {
        vser_plug(p.qts, ID + 1 + i, NULL);
    }
    for (i = 0; i < 100; i++) {
        struct virtio_console_control msg = {
            .id = cpu_to_le32(ID + 1 + i % 29),
            .event = cpu_to_le16(VIRTIO_CONSOLE_PORT_READY),
            .value = cpu_to_le16(1),
        };
        uint64_t addr = p.rings[C_OVQ].data + i * sizeof(msg);

        qtest_memwrite(p.qts, addr, &msg, sizeof(msg));
        post_at(&p, C_OVQ, addr, sizeof(msg), 0);
    }
    kick(&p, C_OVQ);
    g_assert_cmpuint(settle_and_reclaim(&p, C_OVQ), ==, 100);

    qpci_unplug_acpi_device_test(p.qts, "vser0", SLOT);
    packed_cleanup(&p);
}

/*
 * The device takes the next buffers, in pieces and all around the ring.
 * Returns: how many bytes the host has read, if there is a host.
 */
static unsigned int expect_taken(Packed *p, uint8_t byte)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    unsigned int i, n;

    qtest_memset(p->qts, p->rings[OVQ].data, byte, 1);

    for (i = 0; i < 3 * p->rings[OVQ].vq->size; i += n) {
        for (n = 0; n < 1 + i % 5; n++) {
            post(p, OVQ, 1, 0);
        }
        kick(p, OVQ);
        g_assert_cmpuint(settle_and_reclaim(p, OVQ), ==, n);
        host_reads(p, data);
    }
    for (n = 0; n < data->len; n++) {
        g_assert_cmphex(data->data[n], ==, byte);
    }
    return n;
}

/* A host goes, what the guest writes is dropped, and the host comes again */
static void test_absent(void *obj, void *arg, QGuestAllocator *alloc)
{
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", 0);
    vser_host_disconnect(p.host);
    expect_taken(&p, 'a');
    vser_host_connect(p.host);
    g_assert_cmpuint(expect_taken(&p, 'b'), >=, 3 * p.rings[OVQ].vq->size);
    packed_cleanup(&p);
}

/*
 * What nobody takes comes back by the ID of its last descriptor, and if it has
 * no last one the device needs a reset
 */
static void test_chain(void *obj, void *arg, QGuestAllocator *alloc)
{
    struct vring_packed_desc desc;
    gint64 start;
    unsigned int i;
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", 0);
    vser_host_disconnect(p.host);
    /* The device must not see a part of it */
    qtest_qmp_assert_success(p.qts, "{ 'execute': 'stop' }");
    post(&p, OVQ, 1, VRING_DESC_F_NEXT);
    post(&p, OVQ, 1, VRING_DESC_F_NEXT);
    post(&p, OVQ, 1, 0);
    qtest_qmp_assert_success(p.qts, "{ 'execute': 'cont' }");
    kick(&p, OVQ);
    g_assert_cmpuint(settle_and_reclaim(&p, OVQ), ==, 1);
    qtest_memread(p.qts, p.rings[OVQ].vq->desc, &desc, sizeof(desc));
    g_assert_cmpuint(le16_to_cpu(desc.id), ==, 2);

    for (i = 0; i < p.rings[OVQ].vq->size; i++) {
        post(&p, OVQ, 1, VRING_DESC_F_NEXT);
    }
    kick(&p, OVQ);
    start = g_get_monotonic_time();
    while (!(p.vdev->bus->get_status(p.vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    packed_cleanup(&p);
}

/*
 * A chain that no driver can have popped: the device does not follow it to the
 * end of its table
 */
static void test_long_table(void *obj, void *arg, QGuestAllocator *alloc)
{
    const uint32_t size = 8 * LONGEST * sizeof(struct vring_packed_desc);
    gint64 start = g_get_monotonic_time();
    uint64_t addr;
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", 0);
    addr = guest_alloc(alloc, size);
    qtest_memset(p.qts, addr, 0, size);
    post_at(&p, IVQ, addr, size, VRING_DESC_F_INDIRECT);
    kick(&p, IVQ);
    host_write(&p, "x", 1);
    while (!(p.vdev->bus->get_status(p.vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    guest_free(alloc, addr);
    packed_cleanup(&p);
}

/*
 * Where @stream has 16 bits of where the device reads next in @vq. Behind the
 * name there are 32 bits of a version, and ten bytes for each queue.
 */
static char *find_indices(char *stream, gsize length, const QVirtQueue *vq)
{
    static const char name[] = "virtio/packed_virtqueues";
    char *p = memmem(stream, length, name, strlen(name));

    g_assert_nonnull(p);
    return p + strlen(name) + 4 + 10 * vq->index;
}

/*
 * Where @stream has 32 bits of how many descriptors the buffer has that the
 * port was sending. Before, there are the port's number, the states of both
 * ends, and where in the buffer to go on.
 */
static char *find_descriptors(char *stream, gsize length)
{
    static const char sending[] = { 0, 0, 0, ID, 1, 1, 0, 0, 0, 1 };
    char *p;

    /* The guest's memory comes before devices */
    for (p = stream + length - sizeof(sending); p > stream; p--) {
        if (!memcmp(p, sending, sizeof(sending))) {
            return p + sizeof(sending) + 4 + 8;
        }
    }
    g_assert_not_reached();
}

/*
 * The guest moves while a part of a buffer is sent, and a stream says that the
 * device is at a place that the ring does not have, or that the buffer is
 * longer than the ring
 */
static void test_migrate(void *obj, void *arg, QGuestAllocator *alloc)
{
    const uint32_t size = 8 * 1024 * 1024;
    g_autofree char *path = vser_temp_file(), *stream = NULL;
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    char *descriptors;
    uint64_t addr;
    gsize length;
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", 0);
    addr = guest_alloc(alloc, size);
    post_at(&p, OVQ, addr, size, 0);
    kick(&p, OVQ);
    g_assert_cmpuint(settle_and_reclaim(&p, OVQ), ==, 0);
    vser_migrate_out(p.qts, uri);
    g_assert_true(vser_migration_succeeded(p.qts));
    g_assert_true(g_file_get_contents(path, &stream, &length, NULL));
    unlink(path);
    g_assert_true(vser_stream_is_taken(stream, length, ID, NULL));

    descriptors = find_descriptors(stream, length);
    g_assert_cmpuint(ldl_be_p(descriptors), ==, 1);
    stl_be_p(descriptors, p.rings[OVQ].vq->size + 1);
    g_assert_false(vser_stream_is_taken(stream, length, ID,
                                        "port 1: a buffer of"));
    stl_be_p(descriptors, 1);
    stw_be_p(find_indices(stream, length, p.rings[OVQ].vq),
             p.rings[OVQ].vq->size);
    g_assert_false(vser_stream_is_taken(stream, length, ID, "has no index"));
    guest_free(alloc, addr);
    packed_cleanup(&p);
}

/* A console whose host goes and comes back while the guest writes */
static void test_console(void *obj, void *arg, QGuestAllocator *alloc)
{
    Packed p;

    packed_up(&p, obj, alloc, "virtconsole", 0);
    expect_taken(&p, 'a');
    vser_host_disconnect(p.host);
    expect_taken(&p, 'b');
    vser_host_connect(p.host);
    g_assert_cmpuint(expect_taken(&p, 'c'), >, 0);
    packed_cleanup(&p);
}

/* The device fills each buffer that is posted when it waits for one */
static void test_to_guest(void *obj, void *arg, QGuestAllocator *alloc)
{
    unsigned int size, i, n;
    gint64 start;
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", 0);
    size = p.rings[IVQ].vq->size;
    for (i = 0; i < 3 * size; i += n) {
        const uint8_t bytes[8] = { 0 };
        unsigned int used = 0;

        n = 1 + i % 5;
        host_write(&p, bytes, n);
        while (used < n) {
            start = g_get_monotonic_time();
            post(&p, IVQ, 1, VRING_DESC_F_WRITE);
            kick(&p, IVQ);
            while (!settle_and_reclaim(&p, IVQ)) {
                g_assert_cmpint(g_get_monotonic_time() - start, <,
                                QVSER_TIMEOUT_US);
            }
            used++;
        }
    }
    packed_cleanup(&p);
}

/* Fill the output queue; returns how many of its buffers come back at once */
static unsigned int flood(Packed *p, uint32_t len)
{
    Ring *ring = &p->rings[OVQ];
    unsigned int used = 0, now;

    do {
        while (ring->posted - used < ring->vq->size) {
            post(p, OVQ, len, 0);
        }
        kick(p, OVQ);
        now = settle_and_reclaim(p, OVQ);
        used += now;
    } while (now);
    return used;
}

/* A port whose host does not read. Returns: the size of its output queue */
static unsigned int flooded_up(Packed *p, void *obj, QGuestAllocator *alloc)
{
    packed_up(p, obj, alloc, "virtserialport", 0);
    flood(p, 4096);
    return p->rings[OVQ].vq->size;
}

/* A host that does not read goes, and its waiting bytes are dropped */
static void test_gone(void *obj, void *arg, QGuestAllocator *alloc)
{
    unsigned int size;
    Packed p;

    size = flooded_up(&p, obj, alloc);
    vser_host_disconnect(p.host);
    g_assert_cmpuint(settle_and_reclaim(&p, OVQ), ==, size);
    expect_taken(&p, 'a');
    vser_host_connect(p.host);
    g_assert_cmpuint(expect_taken(&p, 'b'), >=, 3 * size);
    packed_cleanup(&p);
}

/* The same with a port that goes, and another port in its place */
static void test_replug(void *obj, void *arg, QGuestAllocator *alloc)
{
    unsigned int size;
    Packed p;

    size = flooded_up(&p, obj, alloc);
    qtest_qmp_device_del(p.qts, "port1");
    g_assert_cmpuint(settle_and_reclaim(&p, OVQ), ==, size);
    vser_host_disconnect(p.host);
    expect_taken(&p, 'a');

    qtest_qmp_device_add(p.qts, "virtserialport", "port1",
                         "{ 'bus': 'vser0.0', 'nr': %u, 'chardev': 'host' }",
                         ID);
    vser_host_connect(p.host);
    send_control(&p, ID, VIRTIO_CONSOLE_PORT_READY);
    send_control(&p, ID, VIRTIO_CONSOLE_PORT_OPEN);
    g_assert_cmpuint(expect_taken(&p, 'b'), >=, 3 * size);
    packed_cleanup(&p);
}

/* All of the ring is in use at a time, and that again and again */
static void test_whole(void *obj, void *arg, QGuestAllocator *alloc)
{
    unsigned int i, j;
    Packed p;

    packed_up(&p, obj, alloc, "virtserialport", SHORT);
    for (i = 0; i < 5; i++) {
        for (j = 0; j < SHORT; j++) {
            post(&p, OVQ, 1, 0);
        }
        kick(&p, OVQ);
        g_assert_cmpuint(settle_and_reclaim(&p, OVQ), ==, SHORT);
    }
    packed_cleanup(&p);
}

/*
 * Other devices, for what virtio-serial does not do
 */

/* A device with these features and one queue. @size is as for ring_init() */
static void other_up(Packed *p, QVirtioDevice *vdev, QGuestAllocator *alloc,
                     uint64_t features, unsigned int size)
{
    qos_invalidate_command_line();
    watch();
    *p = (Packed) {
        .qts = global_qtest,
        .vdev = vdev,
        .alloc = alloc,
    };
    features |= 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED;
    qvirtio_start_device(vdev);
    qvirtio_set_features(vdev, qvirtio_get_features(vdev) & features);
    g_assert_cmphex(vdev->features, ==, features);
    ring_init(p, 0, size);
    qvirtio_set_driver_ok(vdev);
}

static void other_cleanup(Packed *p)
{
    guest_free(p->alloc, p->rings[0].data);
    qvirtqueue_cleanup(p->vdev->bus, p->rings[0].vq, p->alloc);
    alarm(0);
}

/* Wait until the device has used the buffer at @index, in the first round */
static void expect_used(Packed *p, unsigned int index)
{
    const uint16_t mask = 1 << VRING_PACKED_DESC_F_AVAIL |
                          1 << VRING_PACKED_DESC_F_USED;
    gint64 start = g_get_monotonic_time();
    struct vring_packed_desc desc;

    do {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
        qtest_memread(p->qts, p->rings[0].vq->desc + index * sizeof(desc),
                      &desc, sizeof(desc));
    } while ((le16_to_cpu(desc.flags) & mask) != mask);
}

static void *add_disk(GString *cmd_line, void *arg)
{
    g_string_append(cmd_line, " -drive if=none,id=drive0,format=raw,"
                    "file=null-co://,file.read-zeroes=on ");
    return arg;
}

/* virtio-blk takes all of a ring before the first request is done */
static void test_in_use(void *obj, void *arg, QGuestAllocator *alloc)
{
    const struct virtio_blk_outhdr flush = {
        .type = cpu_to_le32(VIRTIO_BLK_T_FLUSH),
    };
    QVirtioBlk *blk = obj;
    unsigned int i;
    uint64_t data;
    Packed p;

    other_up(&p, blk->vdev, alloc, 1ull << VIRTIO_F_IN_ORDER, SHORT);
    data = p.rings[0].data;
    qtest_memwrite(p.qts, data, &flush, sizeof(flush));
    for (i = 0; i < SHORT; i += 2) {
        post_at(&p, 0, data, sizeof(flush), VRING_DESC_F_NEXT);
        post_at(&p, 0, data + sizeof(flush), 1, VRING_DESC_F_WRITE);
    }
    kick(&p, 0);
    for (i = 0; i < SHORT; i += 2) {
        expect_used(&p, i);
    }
    other_cleanup(&p);
}

/* Of a segment; virtio-net writes a header before the packet */
#define SEGMENT     256
#define HEADER      12

static void close_sockets(void *sockets)
{
    close(((int *)sockets)[0]);
    close(((int *)sockets)[1]);
    g_free(sockets);
}

static void *add_network(GString *cmd_line, void *arg)
{
    int *sockets = g_new(int, 2);

    g_assert_cmpint(socketpair(PF_UNIX, SOCK_STREAM, 0, sockets), ==, 0);
    g_test_queue_destroy(close_sockets, sockets);
    g_string_append_printf(cmd_line, " -netdev socket,fd=%d,id=hs0 ",
                           sockets[1]);
    return sockets;
}

static void send_packet(int fd, uint8_t byte, uint32_t len)
{
    g_autofree uint8_t *packet = g_malloc(sizeof(len) + len);

    stl_be_p(packet, len);
    memset(packet + sizeof(len), byte, len);
    g_assert_cmpint(write(fd, packet, sizeof(len) + len), ==,
                    sizeof(len) + len);
}

/* The device has written this packet to the memory of descriptor @index */
static void expect_packet(Packed *p, unsigned int index, uint8_t byte)
{
    expect_used(p, index);
    g_assert_cmphex(qtest_readb(p->qts, p->rings[0].data + index * SEGMENT +
                                HEADER), ==, byte);
}

/*
 * virtio-net puts back a buffer that is too small for a packet, if it can't
 * merge buffers; the packet is dropped
 */
static void test_put_back(void *obj, void *arg, QGuestAllocator *alloc)
{
    QVirtioNet *net = obj;
    const int *sockets = arg;
    unsigned int i;
    Packed p;

    other_up(&p, net->vdev, alloc, 0, 0);
    /* Two buffers of two segments */
    for (i = 0; i < 4; i++) {
        post_at(&p, 0, p.rings[0].data + i * SEGMENT, SEGMENT,
                VRING_DESC_F_WRITE | (i % 2 ? 0 : VRING_DESC_F_NEXT));
    }
    kick(&p, 0);

    send_packet(sockets[0], 'a', 4 * SEGMENT);
    send_packet(sockets[0], 'b', SEGMENT / 2);
    expect_packet(&p, 0, 'b');
    send_packet(sockets[0], 'c', SEGMENT / 2);
    expect_packet(&p, 2, 'c');
    other_cleanup(&p);
}

#define PACKED      "packed=on"
#define NO_EVENT    "packed=on,event_idx=off"
#define IN_ORDER    "packed=on,in_order=on"

static const VSerCase cases[] = {
    { "error/ovq", test_error, GUINT_TO_POINTER(OVQ), PACKED },
    { "error/ivq", test_error, GUINT_TO_POINTER(IVQ), PACKED },
    { "error/c-ovq", test_error, GUINT_TO_POINTER(C_OVQ), PACKED },
    { "error/no-event-idx", test_error, GUINT_TO_POINTER(OVQ), NO_EVENT },
    { "empty-table/ovq", test_empty_table, GUINT_TO_POINTER(OVQ), PACKED },
    { "empty-table/ivq", test_empty_table, GUINT_TO_POINTER(IVQ), PACKED },
    { "long/any-order", test_long, NULL, PACKED },
    { "long/in-order", test_long, NULL, IN_ORDER },
    { "long-table", test_long_table, NULL, PACKED },
    { "migrate", test_migrate, NULL, PACKED },
    { "whole/any-order", test_whole, NULL, PACKED },
    { "whole/in-order", test_whole, NULL, IN_ORDER },
    { "gone/event-idx", test_gone, NULL, PACKED },
    { "gone/no-event-idx", test_gone, NULL, NO_EVENT },
    { "gone/in-order", test_gone, NULL, IN_ORDER },
    { "replug/event-idx", test_replug, NULL, PACKED },
    { "replug/no-event-idx", test_replug, NULL, NO_EVENT },
    { "replug/in-order", test_replug, NULL, IN_ORDER },
    { "absent/event-idx", test_absent, NULL, PACKED },
    { "absent/no-event-idx", test_absent, NULL, NO_EVENT },
    { "absent/in-order", test_absent, NULL, IN_ORDER },
    { "chain/any-order", test_chain, NULL, PACKED },
    { "chain/in-order", test_chain, NULL, IN_ORDER },
    { "console/event-idx", test_console, NULL, PACKED },
    { "console/no-event-idx", test_console, NULL, NO_EVENT },
    { "to-guest/event-idx", test_to_guest, NULL, PACKED },
    { "to-guest/no-event-idx", test_to_guest, NULL, NO_EVENT },
};

static void add_other(const char *name, const char *device, QOSTestFunc run,
                      QOSBeforeTest before, const char *properties)
{
    QOSGraphTestOptions opts = {
        .before = before,
        .edge.extra_device_opts = properties,
    };

    qos_add_test(name, device, run, &opts);
}

static void register_virtio_serial_packed_test(void)
{
    /* Only virtio-pci can be told the length of a queue */
    if (!g_str_equal(qtest_get_arch(), "x86_64")) {
        return;
    }
    vser_add_cases("packed", cases, ARRAY_SIZE(cases));
    add_other("packed/in-use", "virtio-blk", test_in_use, add_disk, IN_ORDER);
    add_other("packed/put-back", "virtio-net", test_put_back, add_network,
              PACKED ",mrg_rxbuf=off");
}

libqos_init(register_virtio_serial_packed_test);
