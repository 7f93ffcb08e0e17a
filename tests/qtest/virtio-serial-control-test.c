/*
 * QTest testcase for virtio-serial: the control queue loses nothing
 *
 * What the device owes the driver is paid whenever there is a buffer for it,
 * through plugging, connections, resets and migration. Each case is about ports
 * of any kind, its argument: what they say of themselves is owed as well.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqos/virtio-serial.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-serial-control-test.h"

/*
 * Ports on the command line: $ begins what the kind of port is given
 */

/* A port with the chardev c0 or c1 is open */
#define CONSOLE_0(who) \
    "-chardev ringbuf,id=c0 -chardev ringbuf,id=c1 " \
    "-device virtconsole,bus=vser0.0,id=port0,nr=0,chardev=c0,$" who " "

#define CONSOLE_AND_PORT \
    CONSOLE_0("0") PORT(1, "chardev=c1,$1")

#define MIXED_PORTS \
    CONSOLE_0("console") PORT(2, "chardev=c1,$open") PORT(1, "name=plain") \
    "-device virtserialport,bus=vser0.0,id=port4,nr=4 " PORT(3, "$closed")

/*
 * Order of events
 */

static void expect_mixed_ports(QVSerDriver *drv)
{
    vser_expect_add(drv, 0);
    vser_expect_add(drv, 2);
    vser_expect_add(drv, 1);
    vser_expect_add(drv, 4);
    vser_expect_add(drv, 3);
}

/* All events of an open console with number 0, from PORT_READY on */
static void expect_console(QVSerDriver *drv, const VSerKind *kind,
                           const char *who)
{
    vser_expect_console(drv, 0);
    vser_expect_identity(drv, kind, 0, who);
    vser_expect_open(drv, 0, true);
}

/* One port at a time: the driver hears all about a port before it goes on */
static void test_order(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 8, LARGE);

    vser_expect_nothing(drv);
    vser_device_ready(drv);
    expect_mixed_ports(drv);
    vser_expect_nothing(drv);

    vser_port_ready(drv, 0);
    expect_console(drv, kind, "console");
    vser_expect_nothing(drv);
    vser_port_ready(drv, 2);
    vser_expect_identity(drv, kind, 2, "open");
    vser_expect_open(drv, 2, true);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, "plain");
    vser_expect_nothing(drv);
    vser_port_ready(drv, 4);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 3);
    vser_expect_identity(drv, kind, 3, "closed");
    vser_expect_nothing(drv);
}

/*
 * Events of several ports are owed, and there is no buffer: first come, first
 * served
 */
static void test_first_come(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);

    drv->keep = true;
    vser_restart(drv, 5, 64);
    vser_device_ready(drv);
    expect_mixed_ports(drv);
    vser_port_ready(drv, 3);
    vser_port_ready(drv, 1);
    vser_port_ready(drv, 0);
    vser_expect_nothing(drv);

    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_identity(drv, kind, 3, "closed");
    vser_expect_name(drv, 1, "plain");
    expect_console(drv, kind, "console");
    vser_expect_nothing(drv);
}

/* A message of the driver about a port that it was not told of has no effect */
static void test_unknown_ports(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 4, LARGE);

    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 2);
    vser_port_ready(drv, 0x10000);
    vser_port_ready(drv, VIRTIO_CONSOLE_BAD_ID);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, kind, 1, "A");
    vser_expect_nothing(drv);
}

/* A driver that asks again, in the middle, gets all events from the start */
static void test_ask_again(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);

    drv->keep = true;
    vser_restart(drv, 2, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 0);
    vser_port_ready(drv, 0);
    vser_expect_console(drv, 0);
    vser_expect_nothing(drv);

    drv->keep = false;
    vser_port_ready(drv, 0);
    qvser_give_back(drv);
    expect_console(drv, kind, "0");
    vser_expect_nothing(drv);
    vser_port_ready(drv, 0);
    expect_console(drv, kind, "0");
    vser_expect_nothing(drv);
}

/* If only the name is due, the name is cut to the driver's buffer */
static void test_cut_name(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    g_autofree char *name = g_strconcat(kind->name, "long-enough", NULL);
    uint32_t whole = sizeof(struct virtio_console_control) + strlen(name) + 1;
    const uint32_t sizes[] = { 8, 9, 16, whole - 1, whole, whole + 1 };
    int i;

    kind->plug(drv->qts, 1, "long-enough", NULL);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        vser_restart(drv, 1, sizes[i]);
        vser_device_ready(drv);
        vser_expect_add(drv, 1);
        vser_port_ready(drv, 1);
        vser_expect_name(drv, 1, name);
        vser_expect_nothing(drv);
    }
    vser_unplug(drv->qts, 1);
}

/*
 * Plugging and unplugging
 */

static void test_hotplug(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 2, LARGE);

    vser_device_ready(drv);
    vser_expect_nothing(drv);
    kind->plug(drv->qts, 5, "hot", NULL);
    vser_expect_add(drv, 5);
    vser_port_ready(drv, 5);
    vser_expect_identity(drv, kind, 5, "hot");
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

/* DEVICE_READY does not repeat ports that the driver has been told of */
static void test_plug_early(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 2, LARGE);

    kind->plug(drv->qts, 2, "gone", NULL);
    vser_unplug(drv->qts, 2);
    kind->plug(drv->qts, 1, "A", NULL);
    vser_expect_add(drv, 2);
    vser_expect_remove(drv, 2);
    vser_expect_add(drv, 1);
    vser_device_ready(drv);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, kind, 1, "A");
    vser_expect_nothing(drv);
    vser_unplug(drv->qts, 1);
}

/*
 * A Linux guest that wakes up sends no DEVICE_READY. The guest knows its ports
 * from before the reset, sends PORT_READY, and has to hear of all changes.
 */
static void test_asleep(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);

    kind->plug(drv->qts, 1, "stays", NULL);
    kind->plug(drv->qts, 2, "goes", NULL);
    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_expect_add(drv, 2);

    vser_unplug(drv->qts, 2);
    vser_restart(drv, 4, LARGE);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, kind, 1, "stays");
    vser_port_ready(drv, 2);
    vser_expect_remove(drv, 2);
    kind->plug(drv->qts, 3, "comes", NULL);
    vser_expect_add(drv, 3);
    vser_port_ready(drv, 3);
    vser_expect_identity(drv, kind, 3, "comes");
    vser_unplug(drv->qts, 3);
    vser_expect_remove(drv, 3);
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_expect_nothing(drv);
}

/*
 * A driver that knows its ports already does not wait for PORT_ADD, for which
 * it has no buffer. What the driver says counts; only a number that an older
 * port had would be another matter.
 */
static void test_impatient(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    g_autofree char *before = NULL, *after = NULL;

    kind->plug(drv->qts, 1, "A", NULL);
    vser_restart(drv, 0, 0);
    vser_device_ready(drv);
    before = qtest_hmp(drv->qts, "info qtree");
    g_assert_null(strstr(before, "guest on"));
    vser_port_ready(drv, 1);
    vser_port_open(drv, 1);
    after = qtest_hmp(drv->qts, "info qtree");
    g_assert_nonnull(strstr(after, "guest on"));

    qvser_add_buffers(drv, 4, LARGE);
    vser_expect_add(drv, 1);
    vser_expect_identity(drv, kind, 1, "A");
    vser_expect_nothing(drv);
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
}

/* The same, and the port goes before the driver has any buffer */
static void test_impatient_unplug(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);

    kind->plug(drv->qts, 1, "A", NULL);
    vser_restart(drv, 0, 0);
    vser_device_ready(drv);
    vser_port_ready(drv, 1);
    vser_unplug(drv->qts, 1);
    qvser_settle(drv);
    qvser_add_buffers(drv, 4, LARGE);
    vser_expect_remove(drv, 1);
    vser_expect_nothing(drv);
}

/*
 * PORT_REMOVE of the old port comes before PORT_ADD of the new port with its
 * number
 */
static void test_replug(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);

    kind->plug(drv->qts, 1, "old", NULL);
    drv->keep = true;
    vser_restart(drv, 1, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_unplug(drv->qts, 1);
    kind->plug(drv->qts, 1, "unseen", NULL);
    vser_port_ready(drv, 1);
    vser_unplug(drv->qts, 1);
    kind->plug(drv->qts, 1, "new", NULL);
    vser_expect_nothing(drv);

    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_remove(drv, 1);
    vser_expect_add(drv, 1);
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, kind, 1, "new");
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_expect_nothing(drv);
}

/*
 * The driver never hears of a port that comes and goes while it has no buffer
 */
static void test_unseen(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 0, 0);
    int i;

    vser_device_ready(drv);
    for (i = 0; i < 3; i++) {
        kind->plug(drv->qts, 1, "unseen", NULL);
        vser_unplug(drv->qts, 1);
    }
    kind->plug(drv->qts, 2, "seen", NULL);
    qvser_add_buffers(drv, 4, LARGE);
    vser_expect_add(drv, 2);
    vser_expect_nothing(drv);
    vser_unplug(drv->qts, 2);
    vser_expect_remove(drv, 2);
}

/*
 * Connections
 */

/* The host side comes and goes often. In the end the driver knows the truth. */
static void test_open_often(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    VSerHost *host = vser_host_new();
    int i;

    vser_plug(drv->qts, 1, "chardev", "host", "name", "plain", NULL);
    drv->keep = true;
    vser_restart(drv, 2, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, "plain");

    /* Without a buffer: one event, with the last state */
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

/*
 * The host connects before the driver sends PORT_READY. The driver is told
 * once, after the name. A PORT_READY for an older port does not count.
 */
static void test_open_early(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 4, LARGE);
    VSerHost *host = vser_host_new();
    int i;

    vser_device_ready(drv);
    for (i = 0; i < 2; i++) {
        kind->plug(drv->qts, 1, "early", "host");
        vser_expect_add(drv, 1);
        vser_host_connect(host);
        vser_expect_nothing(drv);
        vser_port_ready(drv, 1);
        vser_expect_identity(drv, kind, 1, "early");
        vser_expect_open(drv, 1, true);
        vser_expect_nothing(drv);
        vser_host_disconnect(host);
        vser_expect_open(drv, 1, false);
        vser_unplug(drv->qts, 1);
        vser_expect_remove(drv, 1);
    }
    vser_host_free(host);
}

/*
 * Many ports and few buffers
 */

#define MANY_PORTS  511

/* A console and some ports, all open */
static void *add_many_ports(GString *cmd_line, void *arg)
{
    const VSerKind *kind = arg;
    int i;

    for (i = 0; i < MANY_PORTS; i++) {
        g_string_append_printf(cmd_line, " -chardev ringbuf,id=c%d,size=2"
                               " -device %s,nr=%d,chardev=c%d,%s%d", i,
                               i ? "virtserialport" : "virtconsole", i, i,
                               kind->option, i);
    }
    return arg;
}

/* What the driver has heard of these ports since DEVICE_READY */
typedef struct Handshake {
    const VSerKind *kind;
    struct {
        enum { UNKNOWN, CONSOLE, ADDED, IDENTIFIED, OPENED } state;
        uint32_t told;
    } ports[MANY_PORTS];
    unsigned int added;
    unsigned int opened;
} Handshake;

/*
 * Take an event, and do as Linux's driver does: send PORT_READY when a port is
 * announced. All events of the port have to come once and in order.
 */
static void take_event(QVSerDriver *drv, Handshake *h)
{
    g_autofree char *who = NULL;
    QVSerEvent ev;

    qvser_next(drv, &ev);
    g_assert_cmpuint(ev.id, <, MANY_PORTS);
    who = g_strdup_printf("%u", ev.id);

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
        if (!h->kind->check(&ev, who, &h->ports[ev.id].told)) {
            h->ports[ev.id].state = ADDED;
        }
        break;
    case IDENTIFIED:
        g_assert_cmpuint(ev.event, ==, VIRTIO_CONSOLE_PORT_OPEN);
        g_assert_cmpuint(ev.value, ==, 1);
        h->opened++;
        break;
    default:
        g_assert_not_reached();
    }
}

/* Stop when all ports are open, or after @limit events */
static void drive_many_ports(QVSerDriver *drv, const VSerKind *kind,
                             unsigned int limit)
{
    Handshake h = { .kind = kind };
    unsigned int events;

    vser_device_ready(drv);
    for (events = 0; h.opened < MANY_PORTS && events < limit; events++) {
        take_event(drv, &h);
    }
}

static void test_many_ports(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    static const unsigned int counts[] = { 32, 2, 1 };
    static const uint32_t sizes[] = { LARGE, 64, 24 };
    int i, j;

    for (i = 0; i < ARRAY_SIZE(counts); i++) {
        for (j = 0; j < ARRAY_SIZE(sizes); j++) {
            /* A few of the combinations are enough for a quick run */
            if (i != j && !g_test_slow()) {
                continue;
            }
            vser_restart(drv, counts[i], sizes[j]);
            drive_many_ports(drv, kind, UINT_MAX);
            vser_expect_nothing(drv);
        }
    }
}

/* After a reset at any point, the driver gets all events from the start */
static void test_reset_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    static const unsigned int points[] = { 1, 40, 700 };
    int i;

    for (i = 0; i < ARRAY_SIZE(points); i++) {
        vser_restart(drv, 4, 32);
        vser_expect_nothing(drv);
        drive_many_ports(drv, kind, points[i]);
    }
    vser_restart(drv, 32, LARGE);
    vser_expect_nothing(drv);
    drive_many_ports(drv, kind, UINT_MAX);
    vser_expect_nothing(drv);
}

/* Events that were owed before a reset are not owed after the reset */
static void test_reset_forgets(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);

    kind->plug(drv->qts, 1, "old", NULL);
    kind->plug(drv->qts, 2, "A", NULL);
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
    vser_expect_only_port(drv, kind, 2, "A");
    vser_unplug(drv->qts, 2);
}

/* The same for a reset of the machine */
static void test_reset_machine(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) before = vser_start(obj, alloc, kind, 3, 32);
    g_autoptr(QVSerDriver) after = NULL;

    before->keep = true;
    vser_device_ready(before);
    vser_expect_add(before, 0);
    vser_port_ready(before, 0);
    vser_expect_console(before, 0);
    qtest_system_reset(before->qts);

    obj = qos_allocate_objects(before->qts, &alloc);
    after = vser_start(obj, alloc, kind, 2, 32);
    vser_expect_nothing(after);
    vser_device_ready(after);
    vser_expect_add(after, 0);
    vser_port_ready(after, 0);
    expect_console(after, kind, "0");
    vser_expect_nothing(after);
}

/* While the guest is stopped nothing changes for it */
static void test_stopped(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 2, LARGE);

    vser_device_ready(drv);
    kind->plug(drv->qts, 1, "old", NULL);
    vser_expect_add(drv, 1);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'stop' }");
    vser_unplug(drv->qts, 1);
    kind->plug(drv->qts, 1, "new", NULL);
    kind->plug(drv->qts, 2, "unseen", NULL);
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
 * More than the device does in a turn of its main loop
 */

/* Segments of a buffer, buffers that are a turn then, and a queue of them */
#define COSTLY_SEGMENTS     1024
#define COSTLY_TURN         4
#define COSTLY_QUEUE        32

static void write_le16(QVSerDriver *drv, uint64_t addr, uint16_t value)
{
    value = cpu_to_le16(value);
    qtest_memwrite(drv->qts, addr, &value, sizeof(value));
}

/*
 * Post buffers of many segments in @vq, of 8 bytes each, that are all at the
 * same address: the one that begins with descriptor i is at @addr + 8 * i
 */
static void queue_costly(QVSerDriver *drv, QVirtQueue *vq, uint64_t addr,
                         uint16_t flags)
{
    g_autofree struct vring_desc *table = g_new0(struct vring_desc,
                                                 COSTLY_SEGMENTS);
    const uint32_t size = COSTLY_SEGMENTS * sizeof(*table);
    uint16_t i, j;

    for (i = 0; i < COSTLY_QUEUE; i++) {
        struct vring_desc desc = {
            .addr = cpu_to_le64(guest_alloc(drv->alloc, size)),
            .len = cpu_to_le32(size),
            .flags = cpu_to_le16(VRING_DESC_F_INDIRECT),
        };

        for (j = 0; j < COSTLY_SEGMENTS; j++) {
            table[j] = (struct vring_desc) {
                .addr = cpu_to_le64(addr + 8 * i),
                .len = cpu_to_le32(8),
                .flags = cpu_to_le16(flags | (j < COSTLY_SEGMENTS - 1 ?
                                              VRING_DESC_F_NEXT : 0)),
                .next = cpu_to_le16(j + 1),
            };
        }
        qtest_memwrite(drv->qts, le64_to_cpu(desc.addr), table, size);
        qtest_memwrite(drv->qts, vq->desc + i * sizeof(desc), &desc,
                       sizeof(desc));
        write_le16(drv, vq->avail + offsetof(struct vring_avail, ring) +
                   (vq->last_used_idx + i) % vq->size * sizeof(i), i);
    }
    write_le16(drv, vq->avail + offsetof(struct vring_avail, idx),
               vq->last_used_idx + COSTLY_QUEUE);
}

/*
 * Send messages of many segments, the last one PORT_READY for port 1, and have
 * the device take what it takes in a turn if the machine is stopped
 */
static void send_costly(QVSerDriver *drv)
{
    QVirtQueue *vq = drv->c_ovq;
    uint64_t addr = guest_alloc(drv->alloc, 8 * COSTLY_QUEUE);
    uint16_t i;

    for (i = 0; i < COSTLY_QUEUE; i++) {
        const struct virtio_console_control msg = {
            .id = cpu_to_le32(1),
            .event = cpu_to_le16(i == COSTLY_QUEUE - 1 ?
                                 VIRTIO_CONSOLE_PORT_READY :
                                 VIRTIO_CONSOLE_PORT_OPEN),
            .value = cpu_to_le16(1),
        };

        qtest_memwrite(drv->qts, addr + 8 * i, &msg, sizeof(msg));
    }
    queue_costly(drv, vq, addr, 0);
    drv->vdev->bus->virtqueue_kick(drv->vdev, vq);
    qvser_settle(drv);
}

/* The next @count messages were taken, in order, and those from @first on */
static void expect_taken(QVSerDriver *drv, uint32_t first, uint32_t count)
{
    gint64 start = g_get_monotonic_time();
    uint32_t id;

    for (; count; count--, first++) {
        while (!qvirtqueue_get_buf(drv->qts, drv->c_ovq, &id, NULL)) {
            g_assert_cmpint(g_get_monotonic_time() - start, <,
                            QVSER_TIMEOUT_US);
        }
        g_assert_cmpuint(id, ==, first);
    }
}

/*
 * What is left of a turn comes in the next one, if the machine runs, and if
 * not, when it does
 */
static void test_costly(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);

    drv->indirect = true;
    vser_restart(drv, 4, LARGE);
    kind->plug(drv->qts, 1, "A", NULL);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'stop' }");
    send_costly(drv);
    expect_taken(drv, 0, COSTLY_TURN);
    g_assert_false(qvirtqueue_get_buf(drv->qts, drv->c_ovq, NULL, NULL));
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'cont' }");
    expect_taken(drv, COSTLY_TURN, COSTLY_QUEUE - COSTLY_TURN);
    vser_expect_identity(drv, kind, 1, "A");
    vser_expect_nothing(drv);

    send_costly(drv);
    expect_taken(drv, 0, COSTLY_QUEUE);
    vser_expect_identity(drv, kind, 1, "A");
    vser_expect_nothing(drv);

    /* Of what a reset is in the middle of nothing comes after it */
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'stop' }");
    send_costly(drv);
    vser_restart(drv, 4, LARGE);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'cont' }");
    vser_expect_nothing(drv);
    vser_expect_only_port(drv, kind, 1, "A");
    vser_unplug(drv->qts, 1);
}

/* The guest is stopped, and goes on at @to */
static void migrate_stopped(QVSerDriver *drv, QTestState *to)
{
    QGuestAllocator *alloc;
    QVirtioSerial *serial = qos_allocate_objects(to, &alloc);
    g_autofree char *path = vser_temp_file();
    g_autofree char *uri = g_strconcat("file:", path, NULL);

    vser_migrate_out(drv->qts, uri);
    g_assert_true(vser_migration_succeeded(drv->qts));
    vser_migrate_in(to, uri);
    g_assert_true(vser_migration_succeeded(to));
    qtest_qmp_assert_success(to, "{ 'execute': 'cont' }");
    vser_go_on(drv, to, serial, alloc);
    g_unlink(path);
}

/* The same, if it runs somewhere else */
static void test_migrate_costly(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    QTestState *to = vser_new_destination(NULL, NULL);

    drv->indirect = true;
    vser_restart(drv, 4, LARGE);
    kind->plug(drv->qts, 1, "A", NULL);
    kind->plug(to, 1, "A", NULL);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'stop' }");
    send_costly(drv);
    expect_taken(drv, 0, COSTLY_TURN);

    migrate_stopped(drv, to);
    expect_taken(drv, COSTLY_TURN, COSTLY_QUEUE - COSTLY_TURN);
    vser_expect_identity(drv, kind, 1, "A");
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/*
 * The machine goes on and is stopped at once. The messages that are left are
 * taken and answered before it stands still.
 */
static void stop_in_between(QVSerDriver *drv)
{
    int i;

    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'stop' }");
    send_costly(drv);
    expect_taken(drv, 0, COSTLY_TURN);
    qtest_qmp_send(drv->qts, "{ 'execute': 'cont' }");
    qtest_qmp_send(drv->qts, "{ 'execute': 'stop' }");
    for (i = 0; i < 2; i++) {
        g_autoptr(QDict) answer = qtest_qmp_receive(drv->qts);

        g_assert_true(qdict_haskey(answer, "return"));
    }
    for (i = COSTLY_TURN; i < COSTLY_QUEUE; i++) {
        g_assert_true(qvirtqueue_get_buf(drv->qts, drv->c_ovq, NULL, NULL));
    }
}

static void test_costly_stop(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    int i;

    drv->indirect = true;
    vser_restart(drv, 4, LARGE);
    kind->plug(drv->qts, 1, "A", NULL);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    /* By chance, a slow main loop has done all already */
    for (i = 0; i < 5; i++) {
        stop_in_between(drv);
        vser_expect_identity(drv, kind, 1, "A");
        qtest_qmp_assert_success(drv->qts, "{ 'execute': 'cont' }");
        vser_expect_nothing(drv);
    }
    vser_unplug(drv->qts, 1);
}

/* Buffers of many segments are filled, in more than one turn */
static void test_costly_events(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    gint64 start = g_get_monotonic_time();
    uint32_t count, head;

    drv->indirect = true;
    vser_restart(drv, 0, 0);
    queue_costly(drv, drv->c_ivq, guest_alloc(alloc, LARGE),
                 VRING_DESC_F_WRITE);
    /* There are more ports to tell of than buffers */
    vser_device_ready(drv);
    for (count = 0; count < COSTLY_QUEUE; count++) {
        while (!qvirtqueue_get_buf(drv->qts, drv->c_ivq, &head, NULL)) {
            g_assert_cmpint(g_get_monotonic_time() - start, <,
                            QVSER_TIMEOUT_US);
        }
        g_assert_cmpuint(head, ==, count);
    }
}

/*
 * Buffers that the device cannot use
 */

/*
 * The first byte of port 15's message is a running driver's status. It is
 * written into the status register, while the device is about to return two
 * buffers. The device must not lose a buffer.
 */
static void test_register(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const uint32_t ids[] = { 1, 15, 16, 17 };
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    QVSerSegment segments[2] = { { 1 }, { LARGE } };
    int i;

    for (i = 0; i < ARRAY_SIZE(ids); i++) {
        vser_plug(drv->qts, ids[i], NULL);
    }
    vser_restart(drv, 1, LARGE);
    segments[0].addr = vser_status_register(drv);
    if (segments[0].addr) {
        drv->keep = true;
        qvser_add_buffer(drv, segments, 2);
        qvser_add_buffers(drv, 2, LARGE);
        vser_device_ready(drv);
        for (i = 0; i < ARRAY_SIZE(ids); i++) {
            vser_expect_add(drv, ids[i]);
        }
        vser_expect_nothing(drv);
    }
    for (i = 0; i < ARRAY_SIZE(ids); i++) {
        vser_unplug(drv->qts, ids[i]);
    }
}

static void test_broken_chains(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
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
        vser_expect_broken(drv, kind);
    }
}

/*
 * Migration: the guest goes on, and is told the rest
 */

/* All is told, so nothing is owed; both sides are as they were */
static void test_migrate_settled(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 2, LARGE);
    QTestState *to = vser_new_destination(NULL, NULL);

    kind->plug(drv->qts, 1, "A", NULL);
    kind->plug(to, 1, "A", NULL);
    vser_expect_only_port(drv, kind, 1, "A");
    g_assert_true(vser_migrate(drv, to));
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_identity(drv, kind, 1, "A");
    vser_unplug(to, 1);
    vser_expect_remove(drv, 1);
    kind->plug(to, 1, "new", NULL);
    vser_expect_add(drv, 1);
    qtest_quit(to);
}

/* No port is told yet; one port goes before it is told */
static void test_migrate_owed(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 0, 0);
    QTestState *to = vser_new_destination(NULL, NULL);

    kind->plug(drv->qts, 2, "B", NULL);
    kind->plug(drv->qts, 1, "A", NULL);
    kind->plug(drv->qts, 3, "unseen", NULL);
    kind->plug(to, 2, "B", NULL);
    kind->plug(to, 1, "A", NULL);
    kind->plug(to, 3, "unseen", NULL);
    vser_device_ready(drv);
    g_assert_true(vser_migrate(drv, to));
    vser_unplug(to, 3);
    vser_port_ready(drv, 1);
    qvser_add_buffers(drv, 4, LARGE);
    vser_expect_add(drv, 2);
    vser_expect_add(drv, 1);
    vser_expect_identity(drv, kind, 1, "A");
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/* Some events of one port were told, and none of another port */
static void test_migrate_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    QTestState *to = vser_new_destination(NULL, NULL);

    drv->keep = true;
    vser_restart(drv, 3, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 0);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 0);
    vser_port_ready(drv, 1);
    vser_expect_console(drv, 0);
    vser_expect_nothing(drv);

    g_assert_true(vser_migrate(drv, to));
    vser_expect_nothing(drv);
    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_identity(drv, kind, 0, "0");
    vser_expect_open(drv, 0, true);
    vser_expect_identity(drv, kind, 1, "1");
    vser_expect_open(drv, 1, true);
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/*
 * A port is unplugged, and the driver is not told yet: the destination has no
 * such port
 */
static void test_migrate_unplugged(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    QTestState *to = vser_new_destination(NULL, NULL);

    kind->plug(drv->qts, 1, "A", NULL);
    drv->keep = true;
    vser_restart(drv, 1, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_unplug(drv->qts, 1);
    g_assert_true(vser_migrate(drv, to));
    kind->plug(to, 1, "new", NULL);
    qvser_give_back(drv);
    vser_expect_remove(drv, 1);
    qvser_give_back(drv);
    vser_expect_add(drv, 1);
    qtest_quit(to);
}

/* Add a chardev "host": open for the port, or closed */
static void add_chardev(QTestState *qts, bool open)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'chardev-add', 'arguments': {"
                             " 'id': 'host', 'backend': { 'type': %s,"
                             " 'data': {} } } }", open ? "ringbuf" : "null");
}

/* The host side comes, or goes, with the move to the destination */
static void migrate_connection(QVSerDriver *drv, bool connected)
{
    QTestState *to = vser_new_destination(NULL, NULL);

    add_chardev(drv->qts, !connected);
    add_chardev(to, connected);
    vser_plug(drv->qts, 1, "chardev", "host", "name", "plain", NULL);
    vser_plug(to, 1, "chardev", "host", "name", "plain", NULL);
    drv->keep = true;
    vser_restart(drv, connected ? 2 : 3, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, "plain");
    if (!connected) {
        vser_expect_open(drv, 1, true);
    }

    g_assert_true(vser_migrate(drv, to));
    qvser_give_back(drv);
    vser_expect_open(drv, 1, connected);
    vser_expect_nothing(drv);
    qtest_quit(to);
}

static void test_migrate_connected(void *obj, void *arg,
                                   QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, arg);

    migrate_connection(drv, true);
}

static void test_migrate_disconnected(void *obj, void *arg,
                                      QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, arg);

    migrate_connection(drv, false);
}

/* The host side is there at the destination, before the driver has asked */
static void test_migrate_connected_early(void *obj, void *arg,
                                         QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 0, 0);
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

/* A handshake of two ports; the guest moves to another QEMU after each event */
static void test_migrate_always(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 2, 40);
    Handshake h = { .kind = kind };

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

/* Bytes a second; the guest's memory takes a minute at the slower rate */
static void limit_bandwidth(QTestState *qts, int limit)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-set-parameters',"
                             " 'arguments': { 'max-bandwidth': %d } }", limit);
}

#define SLOW    5000
#define FAST    (1 << 30)

/* The driver and the device go on while the memory is moving */
static void test_migrate_live(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, kind, 3, 32);
    g_autofree char *dir = g_dir_make_tmp("virtio-serial-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "migration", NULL);
    g_autofree char *uri = g_strconcat("unix:", path, NULL);
    g_autofree char *status = NULL;
    QTestState *to = vser_new_destination(NULL, NULL);
    QVirtioSerial *serial = qos_allocate_objects(to, &alloc);

    limit_bandwidth(drv->qts, SLOW);
    vser_migrate_in(to, uri);
    vser_migrate_out(drv->qts, uri);
    do {
        g_free(status);
        status = vser_migration_status(drv->qts);
    } while (g_str_equal(status, "none") || g_str_equal(status, "setup"));

    /*
     * The last one of three buffers is filled, and the driver has not taken it
     */
    drv->keep = true;
    vser_device_ready(drv);
    vser_expect_add(drv, 0);
    vser_port_ready(drv, 0);
    vser_expect_console(drv, 0);
    g_free(status);
    status = vser_migration_status(drv->qts);
    g_assert_cmpstr(status, ==, "active");

    limit_bandwidth(drv->qts, FAST);
    g_assert_true(vser_migration_succeeded(drv->qts));
    g_assert_true(vser_arrive(drv, to, serial, alloc));
    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_identity(drv, kind, 0, "0");
    vser_expect_open(drv, 0, true);
    vser_expect_nothing(drv);
    qtest_quit(to);
    g_unlink(path);
    g_rmdir(dir);
}

/*
 * Migration to and from stock QEMU, which does not remember what it owes, and
 * knows names only
 */

/* There, the driver knows only the name of port 1 */
static char *plug_stock(QTestState *qts, const VSerKind *kind)
{
    char *name = g_strconcat(kind->name, "A", NULL);

    vser_plug(qts, 1, "name", name, NULL);
    return name;
}

/* At @drv->qts, port 1 still is the same port, until it is unplugged */
static void expect_goes_on(QVSerDriver *drv, const char *name)
{
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, name);
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_expect_nothing(drv);
}

/* All is told; only the name is to be told to @drv */
static void migrate_to_stock(QVSerDriver *drv, const VSerKind *kind)
{
    g_autofree char *name = NULL;
    QTestState *to;

    if (vser_skip_without(STOCK_DST)) {
        return;
    }
    to = vser_new_destination(STOCK_DST, NULL);
    kind->plug(drv->qts, 1, "A", NULL);
    name = plug_stock(to, kind);
    vser_restart(drv, 2, LARGE);
    vser_expect_only_port(drv, &vser_plain, 1, name);
    g_assert_true(vser_migrate(drv, to));
    expect_goes_on(drv, name);
    qtest_quit(to);
}

/* Nobody notifies stock QEMU of the messages that the driver has sent here */
static void test_migrate_to_stock_costly(void *obj, void *arg,
                                         QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    g_autofree char *name = NULL;
    QTestState *to;

    if (vser_skip_without(STOCK_DST)) {
        return;
    }
    to = vser_new_destination(STOCK_DST, NULL);
    kind->plug(drv->qts, 1, "A", NULL);
    name = plug_stock(to, kind);
    drv->indirect = drv->event_idx = true;
    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    stop_in_between(drv);
    migrate_stopped(drv, to);
    vser_expect_name(drv, 1, name);
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/* The driver takes no more than stock QEMU offers */
static void test_migrate_to_stock(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);

    migrate_to_stock(drv, arg);
}

/* The machine offers no more than it did in stock QEMU */
static void test_migrate_to_stock_old(void *obj, void *arg,
                                      QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, arg);

    migrate_to_stock(drv, arg);
}

static void test_migrate_from_stock(void *obj, void *arg,
                                    QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = NULL;
    g_autofree char *name = NULL;
    QVirtioSerial *serial;
    QTestState *from, *to;

    if (vser_skip_without(STOCK_SRC)) {
        return;
    }
    from = vser_start_qemu(STOCK_SRC, qos_get_current_command_line());
    to = vser_new_destination(NULL, NULL);
    serial = qos_allocate_objects(from, &alloc);
    drv = qvser_new(from, serial->vdev, alloc);
    drv->features |= kind->features;
    name = plug_stock(from, kind);
    kind->plug(to, 1, "A", NULL);
    vser_restart(drv, 2, LARGE);
    vser_expect_only_port(drv, &vser_plain, 1, name);
    g_assert_true(vser_migrate(drv, to));
    expect_goes_on(drv, name);
    qtest_quit(from);
    qtest_quit(to);
}

/* One side has a port 20 too, and the destination names the port */
static void migrate_other_ports(QVSerDriver *drv, bool source)
{
    g_autofree char *log = vser_temp_file();
    QTestState *to = vser_new_destination(NULL, log);

    vser_plug(source ? drv->qts : to, 20, NULL);
    vser_expect_refused(drv, to, log, source ?
                        "port 20 is there only at the source" :
                        "port 20 is there only at the destination");
}

static void test_migrate_more(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, arg, 2, LARGE);

    migrate_other_ports(drv, true);
}

static void test_migrate_less(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, arg, 2, LARGE);

    migrate_other_ports(drv, false);
}

/*
 * The source has max_ports=31, the destination a smaller number. The number
 * matters where the stream has one item for each port.
 */
static void migrate_other_max_ports(void *obj, QGuestAllocator *alloc,
                                    const VSerKind *kind, bool owed)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    g_autofree char *log = vser_temp_file();
    g_autofree char *args = g_strdup_printf(
        "%s -incoming defer -global virtio-serial-device.max_ports=20 2>%s",
        qos_get_current_command_line(), log);
    QTestState *to = vser_start_qemu(NULL, args);

    kind->plug(drv->qts, 1, "A", NULL);
    kind->plug(to, 1, "A", NULL);
    vser_restart(drv, owed ? 0 : 4, LARGE);
    if (owed) {
        vser_device_ready(drv);
        vser_expect_refused(drv, to, log, "max_ports is 20, at the source 31");
    } else {
        vser_expect_only_port(drv, kind, 1, "A");
        g_assert_true(vser_migrate(drv, to));
        vser_expect_nothing(drv);
        qtest_quit(to);
        g_unlink(log);
    }
}

static void test_migrate_max_ports(void *obj, void *arg,
                                   QGuestAllocator *alloc)
{
    migrate_other_max_ports(obj, alloc, arg, false);
}

static void test_migrate_max_ports_owed(void *obj, void *arg,
                                        QGuestAllocator *alloc)
{
    migrate_other_max_ports(obj, alloc, arg, true);
}

/* Stock QEMU has no place for what is owed, and names what it could not load */
static void test_migrate_stock_refused(void *obj, void *arg,
                                       QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    g_autofree char *log = NULL;
    QTestState *to;

    if (vser_skip_without(STOCK_DST)) {
        return;
    }
    log = vser_temp_file();
    to = vser_new_destination(STOCK_DST, log);
    kind->plug(drv->qts, 1, "A", NULL);
    g_free(plug_stock(to, kind));
    vser_restart(drv, 0, 0);
    vser_device_ready(drv);
    vser_expect_refused(drv, to, log, "virtio-console");
}

/*
 * Registration
 */

static const VSerCase cases[] = {
    { "order/ports", test_order, .ports = MIXED_PORTS, .legacy = true },
    { "order/first-come", test_first_come, .ports = MIXED_PORTS },
    { "order/unknown-ports", test_unknown_ports, .ports = PORT(1, "$A") },
    { "order/ask-again", test_ask_again, .ports = CONSOLE_0("0") },
    { "cut-name", test_cut_name },
    { "hotplug/running", test_hotplug, .legacy = true },
    { "hotplug/early", test_plug_early },
    { "hotplug/asleep", test_asleep },
    { "hotplug/impatient", test_impatient },
    { "hotplug/impatient-unplug", test_impatient_unplug },
    { "hotplug/replug", test_replug },
    { "hotplug/unseen", test_unseen },
    { "open/often", test_open_often },
    { "open/early", test_open_early },
    { "many-ports", test_many_ports, .before = add_many_ports,
      .properties = "max_ports=" stringify(MANY_PORTS) },
    { "stopped", test_stopped },
    /* With ioeventfd a machine that goes on is notified of all queues */
    { "costly/messages", test_costly, .properties = "ioeventfd=off",
      .arch = "x86_64" },
    { "costly/stop", test_costly_stop, .properties = "ioeventfd=off",
      .arch = "x86_64" },
    { "costly/events", test_costly_events, .before = add_many_ports,
      .properties = "max_ports=" stringify(MANY_PORTS) },
    { "reset/forgets", test_reset_forgets },
    { "reset/machine", test_reset_machine, .ports = CONSOLE_0("0") },
    { "reset/many-ports", test_reset_midway, .before = add_many_ports,
      .properties = "max_ports=" stringify(MANY_PORTS) },
    { "register", test_register },
    { "broken-chains", test_broken_chains, .ports = PORT(1, "$A"),
      .legacy = true },
    { "migrate/settled", test_migrate_settled },
    { "migrate/more-ports", test_migrate_more },
    { "migrate/less-ports", test_migrate_less },
    { "migrate/max-ports/settled", test_migrate_max_ports },
    { "migrate/max-ports/owed", test_migrate_max_ports_owed },
    { "migrate/owed", test_migrate_owed },
    { "migrate/midway", test_migrate_midway, .ports = CONSOLE_AND_PORT,
      .legacy = true },
    { "migrate/costly", test_migrate_costly, .properties = "ioeventfd=off",
      .arch = "x86_64" },
    { "migrate/unplugged", test_migrate_unplugged },
    { "migrate/connected", test_migrate_connected },
    { "migrate/disconnected", test_migrate_disconnected },
    { "migrate/connected-early", test_migrate_connected_early },
    { "migrate/always", test_migrate_always, .ports = CONSOLE_AND_PORT,
      .legacy = true },
    { "migrate/live", test_migrate_live, .ports = CONSOLE_0("0") },
    { "migrate/to-stock/new-machine", test_migrate_to_stock,
      .arch = "x86_64" },
    { "migrate/to-stock/old-machine", test_migrate_to_stock_old,
      .ports = OLD_MACHINE, .arch = "x86_64" },
    { "migrate/to-stock/costly", test_migrate_to_stock_costly,
      .properties = "ioeventfd=off", .arch = "x86_64" },
    { "migrate/to-stock/owed", test_migrate_stock_refused, .arch = "x86_64" },
    { "migrate/from-stock/new-machine", test_migrate_from_stock,
      .arch = "x86_64" },
    { "migrate/from-stock/old-machine", test_migrate_from_stock,
      .ports = OLD_MACHINE, .arch = "x86_64" },
};

void vser_add_control_cases(const char *group, const VSerKind *kind)
{
    vser_add_kind_cases(group, kind, cases, ARRAY_SIZE(cases));
}

static void register_virtio_serial_control_test(void)
{
    vser_add_control_cases("control", &vser_plain);
}

libqos_init(register_virtio_serial_control_test);
