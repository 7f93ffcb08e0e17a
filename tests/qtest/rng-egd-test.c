/*
 * QTest testcase for rng-egd: entropy of a daemon, which is read into the
 * requests
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include "libqtest-single.h"
#include "qemu/module.h"
#include "standard-headers/linux/virtio_ids.h"
#include "standard-headers/linux/virtio_ring.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-rng.h"

#define TIMEOUT_US  (30 * 1000 * 1000)

/* EGD's command that waits until all bytes are there; its longest answer */
#define EGD_READ    0x02
#define EGD_MAX     255

/* What QEMU reads at a time */
#define READ_MAX    65536

/* A daemon's end of the chardev */
typedef struct Daemon {
    int fd;
    size_t sent;
} Daemon;

static void daemon_free(void *opaque)
{
    Daemon *daemon = opaque;

    close(daemon->fd);
    g_free(daemon);
}

static void *daemon_start_type(GString *cmd_line, int type)
{
    Daemon *daemon = g_new0(Daemon, 1);
    struct timeval limit = { .tv_sec = TIMEOUT_US / 1000000 };
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, type, 0, fds), ==, 0);
    g_assert_cmpint(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit,
                               sizeof(limit)), ==, 0);
    g_assert_cmpint(fcntl(fds[0], F_SETFD, FD_CLOEXEC), ==, 0);
    daemon->fd = fds[0];
    g_string_append_printf(cmd_line, " -chardev socket,id=egd,fd=%d"
                           " -object rng-egd,id=rng0,chardev=egd ", fds[1]);
    g_test_queue_destroy(daemon_free, daemon);
    return daemon;
}

static void *daemon_start(GString *cmd_line, void *arg)
{
    return daemon_start_type(cmd_line, SOCK_STREAM);
}

/* Each sending is a message: what one read has no room for is lost */
static void *daemon_start_messages(GString *cmd_line, void *arg)
{
    return daemon_start_type(cmd_line, SOCK_SEQPACKET);
}

/* Byte @i of all that the daemon sends */
static uint8_t byte_at(size_t i)
{
    return i >> 8 ^ i;
}

static void daemon_send(Daemon *daemon, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);
    size_t i;

    for (i = 0; i < len; i++) {
        buf[i] = byte_at(daemon->sent + i);
    }
    g_assert_cmpint(send(daemon->fd, buf, len, 0), ==, len);
    daemon->sent += len;
}

/* QEMU asks for @len bytes: as few commands as there can be */
static void daemon_is_asked(Daemon *daemon, size_t len)
{
    while (len) {
        uint8_t command[2];

        g_assert_cmpint(recv(daemon->fd, command, 2, MSG_WAITALL), ==, 2);
        g_assert_cmphex(command[0], ==, EGD_READ);
        g_assert_cmpuint(command[1], ==, MIN(len, EGD_MAX));
        len -= command[1];
    }
}

typedef struct Guest {
    QTestState *qts;
    QVirtioDevice *vdev;
    QGuestAllocator *alloc;
    QVirtQueue *vq;
} Guest;

static void guest_init(Guest *guest, QVirtioRng *rng, QGuestAllocator *alloc)
{
    uint64_t features = qvirtio_get_features(rng->vdev);

    guest->qts = global_qtest;
    guest->vdev = rng->vdev;
    guest->alloc = alloc;
    features &= ~(QVIRTIO_F_BAD_FEATURE | (1ull << VIRTIO_RING_F_EVENT_IDX) |
                  (1ull << VIRTIO_RING_F_INDIRECT_DESC));
    qvirtio_set_features(rng->vdev, features);
    guest->vq = qvirtqueue_setup(rng->vdev, alloc, 0);
    qvirtio_set_driver_ok(rng->vdev);
}

static void guest_cleanup(Guest *guest)
{
    qvirtqueue_cleanup(guest->vdev->bus, guest->vq, guest->alloc);
}

/* Returns: the address of a new buffer, which the device has been told of */
static uint64_t guest_post(Guest *guest, size_t len, uint32_t *head)
{
    uint64_t addr = guest_alloc(guest->alloc, len);

    *head = qvirtqueue_add(guest->qts, guest->vq, addr, len, true, false);
    qvirtqueue_kick(guest->qts, guest->vdev, guest->vq, *head);
    return addr;
}

/* The buffer comes back full, with the daemon's bytes from @from on */
static void guest_has(Guest *guest, uint32_t head, uint64_t addr, size_t len,
                      size_t from)
{
    g_autofree uint8_t *buf = g_malloc(len);
    uint32_t got;
    size_t i;

    qvirtio_wait_used_elem(guest->qts, guest->vdev, guest->vq, head, &got,
                           TIMEOUT_US);
    /* libqos looks at 16 bits of the length */
    g_assert_cmpuint((uint16_t)got, ==, (uint16_t)len);
    qtest_memread(guest->qts, addr, buf, len);
    for (i = 0; i < len; i++) {
        g_assert_cmphex(buf[i], ==, byte_at(from + i));
    }
}

/* The answer to one request comes in pieces, and is longer than 4 KiB */
static void test_pieces(void *obj, void *data, QGuestAllocator *alloc)
{
    Daemon *daemon = data;
    Guest guest;
    uint32_t head;
    uint64_t addr;

    guest_init(&guest, obj, alloc);
    addr = guest_post(&guest, 10000, &head);
    daemon_is_asked(daemon, 10000);
    daemon_send(daemon, 1);
    qtest_qmp_assert_success(guest.qts, "{'execute': 'query-status'}");
    daemon_send(daemon, 99);
    daemon_send(daemon, 9900);
    guest_has(&guest, head, addr, 10000, 0);

    addr = guest_post(&guest, 1, &head);
    daemon_is_asked(daemon, 1);
    daemon_send(daemon, 1);
    guest_has(&guest, head, addr, 1, 10000);
    guest_cleanup(&guest);
}

/*
 * Each notification is a request for all buffers that wait: a second request
 * stands behind the first, and one answer is for both.
 */
static void test_requests(void *obj, void *data, QGuestAllocator *alloc)
{
    Daemon *daemon = data;
    uint32_t heads[2];
    uint64_t addrs[2];
    Guest guest;

    guest_init(&guest, obj, alloc);
    addrs[0] = guest_post(&guest, 600, &heads[0]);
    daemon_is_asked(daemon, 600);
    addrs[1] = guest_post(&guest, 300, &heads[1]);
    daemon_is_asked(daemon, 900);
    /* The first request is for the first buffer; a third one follows it */
    daemon_send(daemon, 700);
    guest_has(&guest, heads[0], addrs[0], 600, 0);
    daemon_is_asked(daemon, 300);
    /* The rest of the second request, whose first 300 bytes are used */
    daemon_send(daemon, 800);
    guest_has(&guest, heads[1], addrs[1], 300, 600);
    guest_cleanup(&guest);
}

/*
 * However much the guest asks for, one read is not longer. What is more in a
 * message is lost then: the second request begins with the second message.
 */
static void test_limit(void *obj, void *data, QGuestAllocator *alloc)
{
    size_t asked = 0, second;
    Daemon *daemon = data;
    uint32_t heads[2];
    uint64_t addrs[2];
    Guest guest;

    guest_init(&guest, obj, alloc);
    addrs[0] = guest_post(&guest, READ_MAX, &heads[0]);
    daemon_is_asked(daemon, READ_MAX);
    addrs[1] = guest_post(&guest, 1000, &heads[1]);
    /* For both buffers; as of QEMU 10.0.13, no more than for the first one */
    while (asked < READ_MAX) {
        uint8_t command[2];

        g_assert_cmpint(recv(daemon->fd, command, 2, 0), ==, 2);
        asked += command[1];
    }
    daemon_send(daemon, READ_MAX + 1000);
    guest_has(&guest, heads[0], addrs[0], READ_MAX, 0);
    second = daemon->sent;
    daemon_send(daemon, READ_MAX);
    daemon_send(daemon, 1000);
    guest_has(&guest, heads[1], addrs[1], 1000, second);
    guest_cleanup(&guest);
}

static void register_rng_egd_test(void)
{
    QOSGraphTestOptions messages = {
        .before = daemon_start_messages,
        .edge.extra_device_opts = "rng=rng0",
    };
    QOSGraphTestOptions opts = {
        .before = daemon_start,
        .edge.extra_device_opts = "rng=rng0",
    };

    qos_add_test("egd/pieces", "virtio-rng", test_pieces, &opts);
    qos_add_test("egd/requests", "virtio-rng", test_requests, &opts);
    qos_add_test("egd/limit", "virtio-rng", test_limit, &messages);
}

libqos_init(register_rng_egd_test);
