/*
 * QTest testcase for virtio-serial: the control queue loses nothing
 *
 * What the device owes the driver is paid whenever there is a buffer for it,
 * through plugging, connections, resets and migration.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "libqos/virtio-serial.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-serial-utils.h"

/*
 * Plugging and unplugging
 */

static void test_hotplug(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 2, LARGE);

    vser_device_ready(drv);
    vser_expect_nothing(drv);
    vser_plug_described(drv->qts, 5, "hot");
    vser_expect_add(drv, 5);
    vser_port_ready(drv, 5);
    vser_expect_identity(drv, 5, "hot");
    vser_plug(drv->qts, 6, "name", "plain", NULL);
    vser_expect_add(drv, 6);
    vser_port_ready(drv, 6);
    vser_expect_name(drv, 6, "plain");

    vser_unplug(drv->qts, 5);
    vser_expect_remove(drv, 5);
    vser_port_ready(drv, 5);
    vser_expect_nothing(drv);
    vser_plug(drv->qts, 5, "name", "another", NULL);
    vser_expect_add(drv, 5);
    vser_port_ready(drv, 5);
    vser_expect_name(drv, 5, "another");
    vser_unplug(drv->qts, 6);
    vser_expect_remove(drv, 6);
    vser_unplug(drv->qts, 5);
    vser_expect_remove(drv, 5);
    vser_expect_nothing(drv);
}

/* What a driver has heard of by DEVICE_READY it does not hear of again */
static void test_plug_early(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 2, LARGE);

    vser_plug_described(drv->qts, 2, "gone");
    vser_unplug(drv->qts, 2);
    vser_plug_described(drv->qts, 1, "A");
    vser_expect_add(drv, 2);
    vser_expect_remove(drv, 2);
    vser_expect_add(drv, 1);
    vser_device_ready(drv);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, 1, "A");
    vser_expect_nothing(drv);
    vser_unplug(drv->qts, 1);
}

/*
 * A Linux guest that wakes up sends no DEVICE_READY: it knows its ports from
 * before the reset, says so, and has yet to hear what has changed.
 */
static void test_asleep(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);

    vser_plug_described(drv->qts, 1, "stays");
    vser_plug_described(drv->qts, 2, "goes");
    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_expect_add(drv, 2);

    vser_unplug(drv->qts, 2);
    vser_restart(drv, 4, LARGE);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, 1, "stays");
    vser_port_ready(drv, 2);
    vser_expect_remove(drv, 2);
    vser_plug_described(drv->qts, 3, "comes");
    vser_expect_add(drv, 3);
    vser_port_ready(drv, 3);
    vser_expect_identity(drv, 3, "comes");
    vser_unplug(drv->qts, 3);
    vser_expect_remove(drv, 3);
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_expect_nothing(drv);
}

/* The old port's end comes before the new port that has its number */
static void test_replug(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);

    vser_plug_described(drv->qts, 1, "old");
    drv->keep = true;
    vser_restart(drv, 1, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 1, "unseen");
    vser_port_ready(drv, 1);
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 1, "new");
    vser_expect_nothing(drv);

    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_remove(drv, 1);
    vser_expect_add(drv, 1);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, 1, "new");
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_expect_nothing(drv);
}

/* A port that comes and goes while the driver has no buffer never was */
static void test_unseen(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 0, 0);
    int i;

    vser_device_ready(drv);
    for (i = 0; i < 3; i++) {
        vser_plug_described(drv->qts, 1, "unseen");
        vser_unplug(drv->qts, 1);
    }
    vser_plug_described(drv->qts, 2, "seen");
    qvser_add_buffers(drv, 4, LARGE);
    vser_expect_add(drv, 2);
    vser_expect_nothing(drv);
    vser_unplug(drv->qts, 2);
    vser_expect_remove(drv, 2);
}

/* A port that goes with half its descriptor told; the next one starts at 0 */
static void test_unplug_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    g_autoptr(GBytes) old = vser_make_blob("old");
    uint32_t offset = 0;

    vser_plug_described(drv->qts, 1, "old");
    vser_plug_described(drv->qts, 2, "other");
    drv->keep = true;
    vser_restart(drv, 4, 32);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_expect_add(drv, 2);
    vser_port_ready(drv, 1);
    vser_port_ready(drv, 2);
    vser_expect_fragment(drv, 1, old, &offset);
    vser_expect_fragment(drv, 1, old, &offset);
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 1, "new");

    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_remove(drv, 1);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, 2, "other");
    vser_expect_identity(drv, 1, "new");
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_unplug(drv->qts, 2);
    vser_expect_remove(drv, 2);
    vser_expect_nothing(drv);
}

/*
 * Connections
 */

/* However often the host side comes and goes, the driver ends with the truth */
static void test_open_often(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    VSerHost *host = vser_host_new();
    int i;

    vser_plug(drv->qts, 1, "chardev", "host", "name", "plain", NULL);
    drv->keep = true;
    vser_restart(drv, 2, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, "plain");

    /* Without a buffer: what is true at last, once */
    for (i = 0; i < 100; i++) {
        vser_host_connect(host);
        vser_host_disconnect(host);
    }
    vser_host_connect(host);
    vser_expect_nothing(drv);
    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_open(drv, 1, true);
    vser_expect_nothing(drv);

    /* With buffers: each change */
    for (i = 0; i < 100; i++) {
        vser_host_disconnect(host);
        vser_expect_open(drv, 1, false);
        vser_host_connect(host);
        vser_expect_open(drv, 1, true);
    }
    vser_expect_nothing(drv);

    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_host_free(host);
}

/* A connection made before the driver asks is told after the name, and once */
static void test_open_early(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    VSerHost *host = vser_host_new();

    vser_plug(drv->qts, 1, "chardev", "host", "desc", "1209:0001",
              "desc-serial", "early", NULL);
    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_host_connect(host);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, 1, "early");
    vser_expect_open(drv, 1, true);
    vser_expect_nothing(drv);
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_host_free(host);
}

/*
 * Many ports and few buffers
 */

#define MANY_PORTS  511

/* A console and ports, all of them with descriptors and open */
static void *add_many_ports(GString *cmd_line, void *arg)
{
    int i;

    for (i = 0; i < MANY_PORTS; i++) {
        g_string_append_printf(cmd_line, " -chardev ringbuf,id=c%d,size=2"
                               " -device %s,nr=%d,chardev=c%d"
                               ",desc=1209:0001,desc-serial=%d", i,
                               i ? "virtserialport" : "virtconsole", i, i, i);
    }
    return arg;
}

/* What the driver has heard of such ports since DEVICE_READY */
typedef struct Handshake {
    struct {
        enum { UNKNOWN, CONSOLE, ADDED, DESCRIBED, NAMED, OPENED } state;
        uint32_t offset;
    } ports[MANY_PORTS];
    unsigned int added;
    unsigned int opened;
} Handshake;

/*
 * Take an event, and do as a kernel's driver does: ask about each port when it
 * is announced. Everything about it has to come once and in order.
 */
static void take_event(QVSerDriver *drv, Handshake *h)
{
    g_autofree char *serial = NULL;
    g_autofree char *name = NULL;
    g_autoptr(GBytes) blob = NULL;
    QVSerEvent ev;

    qvser_next(drv, &ev);
    g_assert_cmpuint(ev.id, <, MANY_PORTS);
    serial = g_strdup_printf("%u", ev.id);
    name = g_strdup_printf(NAME("%u"), ev.id);
    blob = vser_make_blob(serial);

    switch (h->ports[ev.id].state++) {
    case UNKNOWN:
        g_assert_cmpuint(ev.event, ==, VIRTIO_CONSOLE_PORT_ADD);
        g_assert_cmpuint(ev.id, ==, h->added++);
        vser_port_ready(drv, ev.id);
        if (ev.id) {
            h->ports[ev.id].state = ADDED;
        }
        break;
    case CONSOLE:
        g_assert_cmpuint(ev.event, ==, VIRTIO_CONSOLE_CONSOLE_PORT);
        break;
    case ADDED:
        if (!vser_check_fragment(&ev, blob, &h->ports[ev.id].offset)) {
            h->ports[ev.id].state = ADDED;
        }
        break;
    case DESCRIBED:
        vser_check_name(&ev, name);
        break;
    case NAMED:
        g_assert_cmpuint(ev.event, ==, VIRTIO_CONSOLE_PORT_OPEN);
        g_assert_cmpuint(ev.value, ==, 1);
        h->opened++;
        break;
    default:
        g_assert_not_reached();
    }
}

/* Stop when all ports are open, or after @limit events */
static void drive_many_ports(QVSerDriver *drv, unsigned int limit)
{
    Handshake h = { };
    unsigned int events;

    vser_device_ready(drv);
    for (events = 0; h.opened < MANY_PORTS && events < limit; events++) {
        take_event(drv, &h);
    }
}

static void test_many_ports(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    static const unsigned int counts[] = { 32, 2, 1 };
    static const uint32_t sizes[] = { LARGE, 64, 24 };
    int i, j;

    for (i = 0; i < ARRAY_SIZE(counts); i++) {
        for (j = 0; j < ARRAY_SIZE(sizes); j++) {
            /* Of the combinations, a few are enough for every day */
            if (i != j && !g_test_slow()) {
                continue;
            }
            vser_restart(drv, counts[i], sizes[j]);
            drive_many_ports(drv, UINT_MAX);
            vser_expect_nothing(drv);
        }
    }
}

/* After a reset at any point all is told from the start, and nothing before */
static void test_reset_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    static const unsigned int points[] = { 1, 40, 700 };
    int i;

    for (i = 0; i < ARRAY_SIZE(points); i++) {
        vser_restart(drv, 4, 32);
        vser_expect_nothing(drv);
        drive_many_ports(drv, points[i]);
    }
    vser_restart(drv, 32, LARGE);
    vser_expect_nothing(drv);
    drive_many_ports(drv, UINT_MAX);
    vser_expect_nothing(drv);
}

/* What was owed to a driver is not owed to the one that comes after a reset */
static void test_reset_forgets(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);

    vser_plug_described(drv->qts, 1, "old");
    vser_plug_described(drv->qts, 2, "A");
    drv->keep = true;
    vser_restart(drv, 3, 64);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_expect_add(drv, 2);
    vser_port_ready(drv, 2);
    vser_unplug(drv->qts, 1);

    drv->keep = false;
    vser_restart(drv, 4, 64);
    vser_expect_nothing(drv);
    vser_expect_only_port(drv, 2, "A");
    vser_unplug(drv->qts, 2);
}

/* The same, when it is the machine that is reset */
static void test_reset_machine(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) before = vser_start(obj, alloc, 2, 32);
    g_autoptr(QVSerDriver) after = NULL;

    before->keep = true;
    vser_device_ready(before);
    vser_expect_add(before, 1);
    vser_port_ready(before, 1);
    qtest_system_reset(before->qts);

    obj = qos_allocate_objects(before->qts, &alloc);
    after = vser_start(obj, alloc, 2, 32);
    vser_expect_nothing(after);
    vser_expect_only_port(after, 1, "A");
}

/* While the guest is stopped nothing changes for it */
static void test_stopped(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 2, LARGE);

    vser_device_ready(drv);
    vser_plug_described(drv->qts, 1, "old");
    vser_expect_add(drv, 1);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'stop' }");
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 1, "new");
    vser_plug_described(drv->qts, 2, "unseen");
    vser_unplug(drv->qts, 2);
    vser_expect_nothing(drv);

    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'cont' }");
    vser_expect_remove(drv, 1);
    vser_expect_add(drv, 1);
    vser_expect_nothing(drv);
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
}

/*
 * Buffers that the device cannot use
 */

/* The device stops, whatever else it gets, and works after a reset */
static void expect_broken(QVSerDriver *drv)
{
    if (qvser_negotiated(drv, VIRTIO_F_VERSION_1)) {
        qvser_wait_broken(drv);
    }
    qvser_add_buffers(drv, 4, LARGE);
    vser_expect_nothing(drv);

    vser_restart(drv, 4, LARGE);
    vser_expect_only_port(drv, 1, "A");
}

static void test_bad_buffers(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    static const struct {
        QVSerSegment segments[2];
        unsigned int nr_segments;
        /* It is good enough for PORT_ADD, but not for a fragment */
        bool holds_event;
    } bad[] = {
        { { { 7 } }, 1 },
        { { { 3 }, { 4 } }, 2 },
        { { { 0 } }, 1 },
        { { { LARGE, true } }, 1 },
        { { { LARGE, true }, { 7 } }, 2 },
        { { { LARGE }, { LARGE, true } }, 2 },
        { { { 8 } }, 1, true },
        { { { 16 } }, 1, true },
        { { { 8 }, { 8 } }, 2, true },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_test_message("buffer %d", i);
        qvser_start(drv);
        qvser_add_buffer(drv, bad[i].segments, bad[i].nr_segments);
        vser_device_ready(drv);
        if (bad[i].holds_event) {
            vser_expect_add(drv, 1);
            vser_port_ready(drv, 1);
        }
        expect_broken(drv);
    }
}

static void test_broken_chains(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    static const struct {
        const char *what;
        QVSerDescriptor desc[2];
        uint16_t head;
    } broken[] = {
        { "a loop of one",
          { { 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0 } } },
        { "a loop of two",
          { { 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1 },
            { 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0 } } },
        { "next out of range",
          { { 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0xffff } } },
        { "first out of range", { }, 0xffff },
        { "half a table of indirect descriptors",
          { { 8, VRING_DESC_F_INDIRECT, 0 } } },
    };
    int i, j;

    for (i = 0; i < ARRAY_SIZE(broken); i++) {
        g_test_message("%s", broken[i].what);
        qvser_start(drv);
        for (j = 0; j < ARRAY_SIZE(broken[i].desc); j++) {
            qvser_write_descriptor(drv, j, &broken[i].desc[j]);
        }
        qvirtqueue_kick(drv->qts, drv->vdev, drv->c_ivq, broken[i].head);
        vser_device_ready(drv);
        expect_broken(drv);
    }
}

/*
 * Migration: the guest goes on, and is told the rest
 */

/* With everything told, there is nothing to tell; each side is as it was */
static void test_migrate_settled(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 2, LARGE);
    QTestState *to = vser_new_destination(NULL, NULL);

    vser_plug_described(drv->qts, 1, "A");
    vser_plug_described(to, 1, "A");
    vser_expect_only_port(drv, 1, "A");
    g_assert_true(vser_migrate(drv, to));
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, 1, "A");
    vser_unplug(to, 1);
    vser_expect_remove(drv, 1);
    vser_plug_described(to, 1, "new");
    vser_expect_add(drv, 1);
    qtest_quit(to);
}

/* No port told yet; one of them goes before it is */
static void test_migrate_owed(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 0, 0);
    QTestState *to = vser_new_destination(NULL, NULL);

    vser_plug_described(drv->qts, 2, "B");
    vser_plug_described(drv->qts, 1, "A");
    vser_plug_described(drv->qts, 3, "unseen");
    vser_plug_described(to, 2, "B");
    vser_plug_described(to, 1, "A");
    vser_plug_described(to, 3, "unseen");
    vser_device_ready(drv);
    g_assert_true(vser_migrate(drv, to));
    vser_unplug(to, 3);
    vser_port_ready(drv, 1);
    qvser_add_buffers(drv, 2, LARGE);
    vser_expect_add(drv, 2);
    vser_expect_add(drv, 1);
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/* Half a blob told of one port, and all of another owed after it */
static void test_migrate_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    QTestState *to = vser_new_destination(NULL, NULL);
    uint32_t offset = 0;

    vser_plug_described(drv->qts, 1, "A");
    vser_plug_described(drv->qts, 2, "B");
    vser_plug_described(to, 1, "A");
    vser_plug_described(to, 2, "B");
    drv->keep = true;
    vser_restart(drv, 4, 32);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_expect_add(drv, 2);
    vser_port_ready(drv, 1);
    vser_port_ready(drv, 2);
    vser_expect_fragment(drv, 1, blob, &offset);
    vser_expect_fragment(drv, 1, blob, &offset);
    vser_expect_nothing(drv);

    g_assert_true(vser_migrate(drv, to));
    vser_expect_nothing(drv);
    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_blob(drv, 1, blob, offset);
    vser_expect_name(drv, 1, NAME("A"));
    vser_expect_identity(drv, 2, "B");
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/* A port unplugged but not yet told: the destination has none */
static void test_migrate_unplugged(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    QTestState *to = vser_new_destination(NULL, NULL);

    vser_plug_described(drv->qts, 1, "A");
    drv->keep = true;
    vser_restart(drv, 1, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_unplug(drv->qts, 1);
    g_assert_true(vser_migrate(drv, to));
    vser_plug_described(to, 1, "new");
    qvser_give_back(drv);
    vser_expect_remove(drv, 1);
    qvser_give_back(drv);
    vser_expect_add(drv, 1);
    qtest_quit(to);
}

/* A chardev "host" that a port finds open, or one that it does not */
static void add_chardev(QTestState *qts, bool open)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'chardev-add', 'arguments': {"
                             " 'id': 'host', 'backend': { 'type': %s,"
                             " 'data': {} } } }", open ? "ringbuf" : "null");
}

/* @arg: whether the host side is there at the destination, and not before */
static void test_migrate_connection(void *obj, void *arg,
                                    QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    QTestState *to = vser_new_destination(NULL, NULL);

    add_chardev(drv->qts, !arg);
    add_chardev(to, arg);
    vser_plug(drv->qts, 1, "chardev", "host", "name", "plain", NULL);
    vser_plug(to, 1, "chardev", "host", "name", "plain", NULL);
    drv->keep = true;
    vser_restart(drv, arg ? 2 : 3, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, "plain");
    if (!arg) {
        vser_expect_open(drv, 1, true);
    }

    g_assert_true(vser_migrate(drv, to));
    qvser_give_back(drv);
    vser_expect_open(drv, 1, arg);
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/* The host side is there at the destination, before the driver has asked */
static void test_migrate_connected_early(void *obj, void *arg,
                                         QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 0, 0);
    QTestState *to = vser_new_destination(NULL, NULL);

    add_chardev(drv->qts, false);
    add_chardev(to, true);
    vser_plug(drv->qts, 1, "chardev", "host", "name", "plain", NULL);
    vser_plug(to, 1, "chardev", "host", "name", "plain", NULL);
    vser_device_ready(drv);
    g_assert_true(vser_migrate(drv, to));
    qvser_add_buffers(drv, 4, LARGE);
    vser_expect_add(drv, 1);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, "plain");
    vser_expect_open(drv, 1, true);
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/* A console and a port, both with descriptors and open */
#define TWO_PORTS \
    "-chardev ringbuf,id=c0,size=2 -chardev ringbuf,id=c1,size=2" \
    " -device virtconsole,nr=0,chardev=c0,desc=1209:0001,desc-serial=0" \
    " -device virtserialport,nr=1,chardev=c1,desc=1209:0001,desc-serial=1"

/* A handshake of two ports, at another QEMU after each event */
static void test_migrate_always(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 2, 40);
    Handshake h = { };

    vser_device_ready(drv);
    while (h.opened < 2) {
        QTestState *from = drv->qts;

        g_assert_true(vser_migrate(drv, vser_new_destination(NULL, NULL)));
        if (from != global_qtest) {
            qtest_quit(from);
        }
        take_event(drv, &h);
    }
    vser_expect_nothing(drv);
    qtest_quit(drv->qts);
}

/* Bytes a second; at the slower one the guest's memory takes a minute */
static void limit_bandwidth(QTestState *qts, int limit)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-set-parameters',"
                             " 'arguments': { 'max-bandwidth': %d } }", limit);
}

#define SLOW    5000
#define FAST    (1 << 30)

/* The driver and the device work on while memory is under way already */
static void test_migrate_live(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 2, 32);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    g_autofree char *dir = g_dir_make_tmp("virtio-serial-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "migration", NULL);
    g_autofree char *uri = g_strconcat("unix:", path, NULL);
    g_autofree char *status = NULL;
    QTestState *to = vser_new_destination(NULL, NULL);
    QVirtioSerial *serial = qos_allocate_objects(to, &alloc);
    uint32_t offset = 0;

    limit_bandwidth(drv->qts, SLOW);
    vser_migrate_in(to, uri);
    vser_migrate_out(drv->qts, uri);
    do {
        g_free(status);
        status = vser_migration_status(drv->qts);
    } while (g_str_equal(status, "none") || g_str_equal(status, "setup"));

    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_fragment(drv, 1, blob, &offset);
    g_free(status);
    status = vser_migration_status(drv->qts);
    g_assert_cmpstr(status, ==, "active");

    limit_bandwidth(drv->qts, FAST);
    g_assert_true(vser_migration_succeeded(drv->qts));
    g_assert_true(vser_arrive(drv, to, serial, alloc));
    vser_expect_blob(drv, 1, blob, offset);
    vser_expect_name(drv, 1, NAME("A"));
    vser_expect_nothing(drv);
    qtest_quit(to);
    g_unlink(path);
    g_rmdir(dir);
}

/* @arg: the serial number at the destination, none: no descriptor */
static void test_migrate_refused(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, 2, LARGE);
    g_autofree char *log = vser_new_log();
    QTestState *to = vser_new_destination(NULL, log);

    vser_plug_described(drv->qts, 1, "A");
    if (arg) {
        vser_plug_described(to, 1, arg);
    } else {
        vser_plug(to, 1, "name", NAME("A"), NULL);
    }
    vser_expect_only_port(drv, 1, "A");
    vser_expect_refused(drv, to, log, "port1");
}

/*
 * Migration to and from a QEMU that knows nothing of descriptors: the binaries
 * that these variables name, as for migration-test
 */

#define STOCK_SRC   "QTEST_QEMU_BINARY_SRC"
#define STOCK_DST   "QTEST_QEMU_BINARY_DST"

/* A machine from before there were descriptors */
#define OLD_MACHINE "-machine type=pc-i440fx-9.2 "

static bool skip_without(const char *var)
{
    if (getenv(var)) {
        return false;
    }
    g_test_skip("no QEMU without port descriptors: set " STOCK_SRC
                " and " STOCK_DST);
    return true;
}

/* There, only a name is left of the descriptor */
static void plug_stock(QTestState *qts)
{
    vser_plug(qts, 1, "name", NAME("A"), NULL);
}

/* From DEVICE_READY on: port 1 with its name, and nothing about a descriptor */
static void expect_only_name(QVSerDriver *drv)
{
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, NAME("A"));
    vser_expect_nothing(drv);
}

/* Port 1 still is that one at @drv->qts, until it is unplugged */
static void expect_goes_on(QVSerDriver *drv)
{
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, NAME("A"));
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_expect_nothing(drv);
}

/* @arg: whether it is the driver that does not want descriptors */
static void test_migrate_to_stock(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    QTestState *to;

    if (skip_without(STOCK_DST)) {
        return;
    }
    to = vser_new_destination(STOCK_DST, NULL);
    vser_plug_described(drv->qts, 1, "A");
    plug_stock(to);
    drv->refuse = arg ? PORT_DESC : 0;
    vser_restart(drv, 2, LARGE);
    expect_only_name(drv);
    g_assert_true(vser_migrate(drv, to));
    expect_goes_on(drv);
    qtest_quit(to);
}

static void test_migrate_from_stock(void *obj, void *arg,
                                    QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = NULL;
    QVirtioSerial *serial;
    QTestState *from, *to;

    if (skip_without(STOCK_SRC)) {
        return;
    }
    from = vser_start_qemu(STOCK_SRC, qos_get_current_command_line());
    to = vser_new_destination(NULL, NULL);
    serial = qos_allocate_objects(from, &alloc);
    drv = qvser_new(from, serial->vdev, alloc);
    plug_stock(from);
    vser_plug_described(to, 1, "A");
    vser_restart(drv, 2, LARGE);
    expect_only_name(drv);
    g_assert_true(vser_migrate(drv, to));
    expect_goes_on(drv);
    qtest_quit(from);
    qtest_quit(to);
}

/*
 * Stock QEMU has no place for the state of what was negotiated, nor, with @arg,
 * for what is owed though nothing was; it says what it could not load
 */
static void test_migrate_stock_refused(void *obj, void *arg,
                                       QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc);
    g_autofree char *log = NULL;
    QTestState *to;

    if (skip_without(STOCK_DST)) {
        return;
    }
    log = vser_new_log();
    to = vser_new_destination(STOCK_DST, log);
    vser_plug_described(drv->qts, 1, "A");
    plug_stock(to);
    if (arg) {
        drv->refuse = PORT_DESC;
        vser_restart(drv, 0, 0);
        vser_device_ready(drv);
    } else {
        vser_restart(drv, 2, LARGE);
        vser_expect_only_port(drv, 1, "A");
    }
    vser_expect_refused(drv, to, log, "virtio-console");
}

/*
 * Registration
 */

static const VSerCase cases[] = {
    { "hotplug/running", test_hotplug, .legacy = true },
    { "hotplug/early", test_plug_early },
    { "hotplug/asleep", test_asleep },
    { "hotplug/replug", test_replug },
    { "hotplug/unseen", test_unseen },
    { "hotplug/midway", test_unplug_midway },
    { "open/often", test_open_often },
    { "open/early", test_open_early },
    { "many-ports", test_many_ports, .before = add_many_ports,
      .properties = "max_ports=" stringify(MANY_PORTS) },
    { "stopped", test_stopped },
    { "reset/forgets", test_reset_forgets },
    { "reset/machine", test_reset_machine, .ports = DESCRIBED(1, "A") },
    { "reset/many-ports", test_reset_midway, .before = add_many_ports,
      .properties = "max_ports=" stringify(MANY_PORTS) },
    { "bad-buffers", test_bad_buffers, .ports = DESCRIBED(1, "A"),
      .legacy = true },
    { "broken-chains", test_broken_chains, .ports = DESCRIBED(1, "A"),
      .legacy = true },
    { "migrate/settled", test_migrate_settled },
    { "migrate/owed", test_migrate_owed },
    { "migrate/midway", test_migrate_midway, .legacy = true },
    { "migrate/unplugged", test_migrate_unplugged },
    { "migrate/connected", test_migrate_connection, (void *)true },
    { "migrate/disconnected", test_migrate_connection },
    { "migrate/connected-early", test_migrate_connected_early },
    { "migrate/other-descriptor", test_migrate_refused, (void *)"B" },
    { "migrate/no-descriptor", test_migrate_refused },
    { "migrate/always", test_migrate_always, .ports = TWO_PORTS,
      .legacy = true },
    { "migrate/live", test_migrate_live, .ports = DESCRIBED(1, "A") },
    { "migrate/to-stock/refused-by-driver", test_migrate_to_stock,
      (void *)true, .arch = "x86_64" },
    { "migrate/to-stock/old-machine", test_migrate_to_stock,
      .ports = OLD_MACHINE, .arch = "x86_64" },
    { "migrate/from-stock/new-machine", test_migrate_from_stock,
      .arch = "x86_64" },
    { "migrate/from-stock/old-machine", test_migrate_from_stock,
      .ports = OLD_MACHINE, .arch = "x86_64" },
    { "migrate/to-stock/negotiated", test_migrate_stock_refused,
      .arch = "x86_64" },
    { "migrate/to-stock/owed", test_migrate_stock_refused, (void *)true,
      .arch = "x86_64" },
};

static void register_virtio_serial_control_test(void)
{
    vser_add_cases("control", cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_serial_control_test);
