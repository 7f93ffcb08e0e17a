/*
 * QTest testcase for virtio-serial: faults that QEMU had
 *
 * A driver that breaks rules, an unplug at a bad moment, a source that is
 * another machine. The cases whose argument is a kind of port are about ports
 * of any kind.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/resource.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "libqos/virtio-pci.h"
#include "libqos/virtio-serial.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-serial-faults-test.h"

/* Where libqos puts the device on a PC's PCI bus, and how it is ejected */
#define PCI_SLOT            4
#define ACPI_PCIHP_EJECT    0xae08

/* The most segments of a buffer that virtio allows */
#define SEGMENTS_MAX        1024

/*
 * The control queue
 */

/*
 * Messages about a port that is not there, and failures that the guest tells
 * of, can't fill the log of a user who keeps QEMU's messages
 */
static void test_few_words(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autofree char *name = g_strconcat(kind->name, "A", NULL);
    g_autofree char *log = vser_temp_file();
    g_autofree char *args = g_strdup_printf("%s 2>%s",
                                            qos_get_current_command_line(),
                                            log);
    QTestState *qts = vser_start_qemu(NULL, args);
    QVirtioSerial *serial = qos_allocate_objects(qts, &alloc);
    g_autoptr(QVSerDriver) drv = qvser_new(qts, serial->vdev, alloc);
    int i;

    vser_restart(drv, 4, LARGE);
    vser_expect_only_port(drv, &vser_plain, 1, name);
    for (i = 0; i < 10; i++) {
        vser_port_ready(drv, 2);
        qvser_send(drv, 1, VIRTIO_CONSOLE_PORT_READY, 0);
        qvser_send(drv, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 0);
    }
    vser_expect_nothing(drv);
    qtest_quit(qts);
    g_assert_cmpuint(vser_count_words(log, "virtio-serial-bus: "), ==, 2);
    g_assert_cmpuint(vser_count_words(log, "Guest failure in adding port 1"),
                     ==, 1);
    g_unlink(log);
}

/* Far more bytes in a message than QEMU may have memory for */
static void test_long_message(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    const uint64_t megabyte = 1024 * 1024;
    const struct virtio_console_control msg = {
        .id = cpu_to_le32(1),
        .event = cpu_to_le16(VIRTIO_CONSOLE_PORT_READY),
        .value = cpu_to_le16(1),
    };
    struct vring_desc table[1024];
    struct vring_desc desc = {
        .len = cpu_to_le32(sizeof(table)),
        .flags = cpu_to_le16(VRING_DESC_F_INDIRECT),
    };
    g_autofree char *status = NULL, *path = NULL;
    const char *kilobytes;
    struct rlimit limit;
    uint64_t addr;
    int i;

    drv->indirect = true;
    kind->plug(drv->qts, 1, "A", NULL);
    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);

    /* 4 GiB in all, all of them the same, and QEMU gets one more than it has */
    addr = guest_alloc(alloc, 4 * megabyte);
    qtest_memwrite(drv->qts, addr, &msg, sizeof(msg));
    for (i = 0; i < ARRAY_SIZE(table); i++) {
        table[i] = (struct vring_desc) {
            .addr = cpu_to_le64(addr),
            .len = cpu_to_le32(4 * megabyte),
            .flags = cpu_to_le16(i < ARRAY_SIZE(table) - 1 ?
                                 VRING_DESC_F_NEXT : 0),
            .next = cpu_to_le16(i + 1),
        };
    }
    path = g_strdup_printf("/proc/%d/status", qtest_pid(drv->qts));
    g_assert_true(g_file_get_contents(path, &status, NULL, NULL));
    kilobytes = strstr(status, "VmSize:");
    g_assert_nonnull(kilobytes);
    limit.rlim_cur = limit.rlim_max = 1024 * megabyte +
        1024 * g_ascii_strtoull(kilobytes + strlen("VmSize:"), NULL, 10);
    g_assert_cmpint(prlimit(qtest_pid(drv->qts), RLIMIT_AS, &limit, NULL), ==,
                    0);
    desc.addr = cpu_to_le64(guest_alloc(alloc, sizeof(table)));
    qtest_memwrite(drv->qts, le64_to_cpu(desc.addr), table, sizeof(table));
    qtest_memwrite(drv->qts, drv->c_ovq->desc, &desc, sizeof(desc));
    qvirtqueue_kick(drv->qts, drv->vdev, drv->c_ovq, 0);
    vser_expect_identity(drv, kind, 1, "A");
    vser_unplug(drv->qts, 1);
}

/* Buffers that have no room for an event */
static void test_bad_buffers(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    static const struct {
        QVSerSegment segments[2];
        unsigned int nr_segments;
    } bad[] = {
        { { { 7 } }, 1 },
        { { { 3 }, { 4 } }, 2 },
        { { { 0 } }, 1 },
        { { { LARGE, true } }, 1 },
        { { { LARGE, true }, { 7 } }, 2 },
        { { { LARGE }, { LARGE, true } }, 2 },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_test_message("buffer %d", i);
        qvser_start(drv);
        qvser_add_buffer(drv, bad[i].segments, bad[i].nr_segments);
        qvser_send_only(drv, VIRTIO_CONSOLE_BAD_ID,
                        VIRTIO_CONSOLE_DEVICE_READY, 1);
        vser_expect_broken(drv, kind);
    }
}

/* A driver may write to a console before it has any queue */
static void test_emergency(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    QVirtioPCIDevice *dev = container_of(drv->vdev, QVirtioPCIDevice, vdev);
    QDict *response;

    qpci_io_writel(dev->pdev, dev->bar, dev->device_cfg_offset +
                   offsetof(struct virtio_console_config, emerg_wr), '!');
    /* Another field is no write to the console */
    qpci_io_writew(dev->pdev, dev->bar, dev->device_cfg_offset +
                   offsetof(struct virtio_console_config, cols), 80);
    response = qtest_qmp(drv->qts, "{ 'execute': 'ringbuf-read', 'arguments':"
                         " { 'device': 'c0', 'size': 16 } }");
    g_assert_cmpstr(qdict_get_str(response, "return"), ==, "!");
    qobject_unref(response);
}

/*
 * Queues of ports
 */

/* Port 1 is open at both ends, and has its queues */
static void open_port(QVSerDriver *drv, VSerHost *host)
{
    vser_plug(drv->qts, 1, "chardev", "host", "name", "plain", NULL);
    vser_host_connect(host);
    drv->data_ports = 1 << 1;
    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, "plain");
    vser_expect_open(drv, 1, true);
    vser_port_open(drv, 1);
}

static bool is_broken(QVSerDriver *drv)
{
    return drv->vdev->bus->get_status(drv->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Post descriptor @index of @vq, an indirect table of @size bytes */
static void post_table(QVSerDriver *drv, QVirtQueue *vq, uint16_t index,
                       const struct vring_desc *table, uint32_t size)
{
    struct vring_desc desc = {
        .addr = cpu_to_le64(guest_alloc(drv->alloc, size)),
        .len = cpu_to_le32(size),
        .flags = cpu_to_le16(VRING_DESC_F_INDIRECT),
    };

    qtest_memwrite(drv->qts, le64_to_cpu(desc.addr), table, size);
    qtest_memwrite(drv->qts, vq->desc + index * sizeof(desc), &desc,
                   sizeof(desc));
    qvirtqueue_kick(drv->qts, drv->vdev, vq, index);
}

/* A chain of empty segments, none of which the device may write to */
static struct vring_desc *empty_segments(unsigned int count)
{
    struct vring_desc *table = g_new0(struct vring_desc, count);
    unsigned int i;

    for (i = 0; i < count - 1; i++) {
        table[i].flags = cpu_to_le16(VRING_DESC_F_NEXT);
        table[i].next = cpu_to_le16(i + 1);
    }
    return table;
}

/*
 * A chain that is longer than what the device can take: it does not follow the
 * chain to its end before it says so
 */
static void test_long_table(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    g_autofree struct vring_desc *table = empty_segments(2 * SEGMENTS_MAX);
    VSerHost *host = vser_host_new();

    drv->indirect = true;
    open_port(drv, host);
    post_table(drv, drv->ivqs[1].vq, 0, table,
               2 * SEGMENTS_MAX * sizeof(*table));
    g_assert_cmpint(write(host->fd, "x", 1), ==, 1);
    qvser_wait_broken(drv);
    vser_unplug(drv->qts, 1);
    vser_host_free(host);
}

/*
 * A port that asks for room for the host's bytes looks at a part of a queue
 * without any: it does not see that the last buffer is malformed
 */
static void test_no_room(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    g_autofree struct vring_desc *table = empty_segments(SEGMENTS_MAX);
    VSerHost *host = vser_host_new();
    uint16_t i;

    drv->indirect = true;
    open_port(drv, host);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'stop' }");
    for (i = 0; i < 8; i++) {
        post_table(drv, drv->ivqs[1].vq, i, table,
                   SEGMENTS_MAX * sizeof(*table));
    }
    post_table(drv, drv->ivqs[1].vq, i, table, sizeof(*table) / 2);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'cont' }");
    g_assert_cmpint(write(host->fd, "x", 1), ==, 1);
    qvser_settle(drv);
    g_assert_false(is_broken(drv));
    vser_unplug(drv->qts, 1);
    vser_host_free(host);
}

/*
 * What the guest writes to a port without a host, or to a port that does not
 * exist, comes back, whatever its segments are
 */
static void test_nobody(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const struct vring_desc empty;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    gint64 start = g_get_monotonic_time();
    uint32_t id;

    vser_plug(drv->qts, 1, NULL);
    drv->data_ports = 1 << 1 | 1 << 2;
    drv->indirect = true;
    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_port_open(drv, 1);
    for (id = 1; id <= 2; id++) {
        QVirtQueue *vq = drv->ovqs[id].vq;

        post_table(drv, vq, 0, &empty, sizeof(empty));
        while (!qvirtqueue_get_buf(drv->qts, vq, NULL, NULL)) {
            g_assert_false(is_broken(drv));
            g_assert_cmpint(g_get_monotonic_time() - start, <,
                            QVSER_TIMEOUT_US);
        }
    }
    vser_unplug(drv->qts, 1);
}

/*
 * Ports that go
 */

/*
 * The guest ejects the controller while the host is connected. The port is
 * freed a moment later. What the host does until then has no effect.
 */
static void test_eject(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    VSerHost *host = vser_host_new();
    char byte = 'x';

    open_port(drv, host);
    qvser_write(drv, 1, &byte, 1);
    qvser_post(drv, 1, LARGE);

    qtest_outl(drv->qts, ACPI_PCIHP_EJECT, 1 << PCI_SLOT);
    g_assert_cmpint(write(host->fd, &byte, 1), ==, 1);
    vser_host_disconnect(host);
    qtest_qmp_eventwait(drv->qts, "DEVICE_DELETED");
    vser_host_free(host);
    qos_invalidate_command_line();
}

/* A port that the guest had open is unplugged before the guest goes on */
static void test_unplugged_there(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerKind *kind = arg;
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, kind);
    g_autofree char *path = vser_temp_file();
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    QTestState *to = vser_new_destination(NULL, NULL);
    QVirtioSerial *serial = qos_allocate_objects(to, &alloc);

    kind->plug(drv->qts, 1, "A", NULL);
    kind->plug(to, 1, "A", NULL);
    vser_restart(drv, 3, LARGE);
    vser_expect_only_port(drv, kind, 1, "A");
    vser_port_open(drv, 1);
    vser_migrate_out(drv->qts, uri);
    g_assert_true(vser_migration_succeeded(drv->qts));
    vser_migrate_in(to, uri);
    g_assert_true(vser_migration_succeeded(to));
    qtest_qmp_eventwait(to, "RESUME");
    vser_unplug(to, 1);
    vser_go_on(drv, to, serial, alloc);
    vser_expect_remove(drv, 1);
    vser_expect_nothing(drv);
    qtest_quit(to);
    g_unlink(path);
}

/*
 * Streams
 */

/* The source has max_ports=31, so the map of its ports is shorter */
static void test_longer_map(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, arg, 4, LARGE);
    g_autofree char *log = vser_temp_file();
    g_autofree char *args = g_strdup_printf(
        "%s -incoming defer -global virtio-serial-device.max_ports=64 2>%s",
        qos_get_current_command_line(), log);
    QTestState *to = vser_start_qemu(NULL, args);

    vser_expect_only_port(drv, arg, 1, "A");
    vser_expect_refused(drv, to, log, "max_ports is 64, at the source 31");
}

/* A file that is no stream is an error, and QEMU goes on */
static void test_device_states(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *path = vser_temp_file();
    QDict *response;

    qtest_qmp_assert_success(global_qtest, "{ 'execute': 'stop' }");
    response = qtest_qmp(global_qtest, "{ 'execute': 'xen-load-devices-state',"
                         " 'arguments': { 'filename': %s } }", path);
    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
    qtest_qmp_assert_success(global_qtest, "{ 'execute': 'query-status' }");
    g_unlink(path);
    qos_invalidate_command_line();
}

/*
 * Registration
 */

static const VSerCase kind_cases[] = {
    { "few-words", test_few_words, .ports = PORT(1, "$A") },
    { "long-message", test_long_message, .arch = "x86_64" },
    { "bad-buffers", test_bad_buffers, .ports = PORT(1, "$A"),
      .legacy = true },
    { "unplugged-there", test_unplugged_there },
    { "longer-map", test_longer_map, .ports = PORT(1, "$A") },
};

void vser_add_faults_cases(const char *group, const VSerKind *kind)
{
    vser_add_kind_cases(group, kind, kind_cases, ARRAY_SIZE(kind_cases));
}

static const VSerCase cases[] = {
    { "emergency", test_emergency, .arch = "x86_64",
      .ports = "-chardev ringbuf,id=c0 "
               "-device virtconsole,bus=vser0.0,nr=0,chardev=c0 " },
    { "long-table", test_long_table, .arch = "x86_64" },
    { "no-room", test_no_room, .arch = "x86_64" },
    { "nobody", test_nobody, .arch = "x86_64" },
    { "eject", test_eject, .arch = "x86_64" },
    { "device-states", test_device_states, .arch = "x86_64" },
};

static void register_virtio_serial_faults_test(void)
{
    vser_add_faults_cases("faults", &vser_plain);
    vser_add_cases("faults", cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_serial_faults_test);
