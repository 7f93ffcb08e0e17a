/*
 * QTest testcase for virtio-serial: virtserialdesc
 *
 * A driver that knows nothing of descriptors reads of them from a port. What
 * the reader hears has to be the truth, in order, and end, however slow it is
 * and whatever happens meanwhile.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest-single.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "libqos/virtio-serial.h"
#include "virtio-serial-desc-utils.h"

/* The port that is read: the device "reader" of the command line */
#define READER_ID   5
#define READER      "-device virtserialdesc,bus=vser0.0,id=reader,nr=5 "

/* Stands for a port's number in the record that ends a snapshot */
#define END         UINT32_MAX

typedef struct Reader {
    QVSerDriver *drv;
    uint32_t id;
    /* How many buffers the device is to have, and their size */
    unsigned int count;
    uint32_t room;
    /* Bytes that were read and not looked at yet */
    GByteArray *got;
} Reader;

static void reader_free(Reader *r)
{
    g_byte_array_unref(r->got);
    g_free(r);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reader, reader_free)

/* Open port @id of a driver that the device knows, with such buffers */
static Reader *reader_open(QVSerDriver *drv, uint32_t id, unsigned int count,
                           uint32_t room)
{
    Reader *r = g_new0(Reader, 1);

    r->drv = drv;
    r->id = id;
    r->count = count;
    r->room = room;
    r->got = g_byte_array_new();
    vser_port_ready(drv, id);
    vser_port_open(drv, id);
    return r;
}

/*
 * A ready driver of a stock guest, which can read from the ports. The case
 * changes the ports of the command line: other cases have a QEMU of their own.
 */
static QVSerDriver *start_stock(void *obj, QGuestAllocator *alloc)
{
    QVSerDriver *drv = vser_new_driver(obj, alloc, &vser_plain);

    qos_invalidate_command_line();
    drv->data_ports = 3ull << READER_ID;
    vser_restart(drv, 16, LARGE);
    vser_device_ready(drv);
    return drv;
}

/* Give the device the buffers that it is to have */
static void refill(Reader *r)
{
    while (r->drv->ivqs[r->id].posted.length < r->count) {
        qvser_post(r->drv, r->id, r->room);
    }
}

/* Read until there are @len bytes */
static void need(Reader *r, size_t len)
{
    gint64 start = g_get_monotonic_time();

    while (r->got->len < len) {
        refill(r);
        qvser_next_used(r->drv, &r->drv->ivqs[r->id], r->got);
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
}

/* Take a record header, which is little-endian for every driver */
static void expect_header(Reader *r, uint32_t id, uint16_t event)
{
    need(r, 8);
    g_assert_cmphex((uint32_t)ldl_le_p(r->got->data), ==, id);
    g_assert_cmpuint(lduw_le_p(r->got->data + 4), ==, event);
    g_assert_cmpuint(lduw_le_p(r->got->data + 6), ==, 1);
    g_byte_array_remove_range(r->got, 0, 8);
}

/* Take the rest of a record that has @blob, NULL: none */
static void expect_blob(Reader *r, GBytes *blob)
{
    gsize length = 0;
    const void *data = blob ? g_bytes_get_data(blob, &length) : NULL;

    need(r, 8 + length);
    g_assert_cmpuint(ldl_le_p(r->got->data), ==, length);
    g_assert_cmpuint(ldl_le_p(r->got->data + 4), ==, 0);
    g_assert_cmpmem(r->got->data + 8, length, data, length);
    g_byte_array_remove_range(r->got, 0, 8 + length);
}

/* Port @id has the blob of desc=1209:0001,desc-serial=@serial */
static void expect_desc(Reader *r, uint32_t id, const char *serial)
{
    g_autoptr(GBytes) blob = vser_make_blob(serial);

    expect_header(r, id, VIRTIO_CONSOLE_PORT_DESC);
    expect_blob(r, blob);
}

static void expect_end(Reader *r)
{
    expect_header(r, END, VIRTIO_CONSOLE_PORT_DESC);
    expect_blob(r, NULL);
}

static void expect_gone(Reader *r, uint32_t id)
{
    expect_header(r, id, VIRTIO_CONSOLE_PORT_REMOVE);
}

/* There is nothing more to read, even with enough buffers */
static void expect_silence(Reader *r)
{
    refill(r);
    qvser_settle(r->drv);
    qvser_next_used(r->drv, &r->drv->ivqs[r->id], r->got);
    g_assert_cmpuint(r->got->len, ==, 0);
}

static void close_port(Reader *r)
{
    qvser_send(r->drv, r->id, VIRTIO_CONSOLE_PORT_OPEN, 0);
}

/*
 * The port
 */

static void plug_reader_at(QTestState *qts, const char *bus, const char *id,
                           uint32_t nr)
{
    qtest_qmp_device_add(qts, "virtserialdesc", id,
                         "{ 'bus': %s, 'nr': %u }", bus, nr);
}

static void plug_reader(QTestState *qts, const char *id, uint32_t nr)
{
    plug_reader_at(qts, "vser0.0", id, nr);
}

static void assert_name(const char *id, const char *name)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);
    QDict *response = qmp("{ 'execute': 'qom-get', 'arguments': {"
                          " 'path': %s, 'property': 'name' } }", path);

    g_assert_cmpstr(qdict_get_str(response, "return"), ==, name);
    qobject_unref(response);
}

/* The lowest free number, whichever port has the others */
static void test_names(void *obj, void *arg, QGuestAllocator *alloc)
{
    QTestState *qts = global_qtest;

    vser_plug(qts, 1, "name", "org.qemu.virtio-serial-desc.1", NULL);
    plug_reader(qts, "first", 2);
    plug_reader(qts, "second", 3);
    assert_name("first", "org.qemu.virtio-serial-desc.0");
    assert_name("second", "org.qemu.virtio-serial-desc.2");
    qtest_qmp_device_del(qts, "first");
    plug_reader(qts, "third", 4);
    assert_name("third", "org.qemu.virtio-serial-desc.0");
    qtest_qmp_device_del(qts, "second");
    qtest_qmp_device_del(qts, "third");
    vser_unplug(qts, 1);
}

/* The number is unique in the machine, not in the controller */
static void test_names_elsewhere(void *obj, void *arg, QGuestAllocator *alloc)
{
    QTestState *qts = global_qtest;

    plug_reader_at(qts, "other.0", "first", 1);
    plug_reader(qts, "second", 1);
    assert_name("first", "org.qemu.virtio-serial-desc.0");
    assert_name("second", "org.qemu.virtio-serial-desc.1");
    qtest_qmp_device_del(qts, "first");
    plug_reader(qts, "third", 2);
    assert_name("third", "org.qemu.virtio-serial-desc.0");
    qtest_qmp_device_del(qts, "second");
    plug_reader_at(qts, "other.0", "fourth", 1);
    assert_name("fourth", "org.qemu.virtio-serial-desc.1");
    qtest_qmp_device_del(qts, "third");
    qtest_qmp_device_del(qts, "fourth");
}

static void test_refused(void *obj, void *arg, QGuestAllocator *alloc)
{
#define NO_DESC ": a virtserialdesc has no descriptor, it tells of those of " \
                "other ports; expected no desc property"
    static const struct {
        const char *properties;
        const char *error;
    } bad[] = {
        { "{ 'name': 'mine' }", "name='mine': guests find a virtserialdesc by "
          "the name org.qemu.virtio-serial-desc.K that it gets; expected no "
          "name" },
        /* The name is refused, descriptor or not */
        { "{ 'name': 'usb:1209:0001' }", "name='usb:1209:0001': guests find a "
          "virtserialdesc by the name org.qemu.virtio-serial-desc.K that it "
          "gets; expected no name" },
        { "{ 'name': 'usb:1209:1' }", "name='usb:1209:1': guests find a "
          "virtserialdesc by the name org.qemu.virtio-serial-desc.K that it "
          "gets; expected no name" },
        { "{ 'desc': '1209:0001' }", "desc='1209:0001'" NO_DESC },
        /* The property is refused; its value is not looked at */
        { "{ 'desc': '1209:1' }", "desc='1209:1'" NO_DESC },
        { "{ 'desc-serial': 'A1' }", "desc-serial='A1'" NO_DESC },
        { "{ 'desc-class': 'vendor', 'desc': '1209:0001' }",
          "desc='1209:0001'" NO_DESC },
        { "{ 'desc-file': '/nonexistent' }",
          "desc-file='/nonexistent'" NO_DESC },
        { "{ 'nr': 0 }", "nr=0: port 0 is for a virtconsole; expected another "
          "number, or none for the lowest that is free" },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        QDict *args = qobject_to(QDict, qobject_from_json(bad[i].properties,
                                                          &error_abort));
        QDict *response;

        qdict_put_str(args, "driver", "virtserialdesc");
        qdict_put_str(args, "bus", "vser0.0");
        response = qmp("{ 'execute': 'device_add', 'arguments': %p }", args);
        g_assert_cmpstr(qdict_get_str(qdict_get_qdict(response, "error"),
                                      "desc"), ==, bad[i].error);
        qobject_unref(response);
    }
}

/* What can only be read is no option in the help of the device */
static void test_options(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *help = qtest_hmp(global_qtest,
                                      "device_add virtserialdesc,help");

    g_assert_nonnull(strstr(help, "  nr="));
    g_assert_null(strstr(help, "desc-blob"));
    g_assert_null(strstr(help, "bytes-"));
}

/* Bytes that the guest writes are discarded, and the buffer comes back */
static void test_written(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 4, LARGE);

    qvser_write(drv, READER_ID, "hello", 5);
    expect_end(r);
    qvser_write(drv, READER_ID, "hello", 5);
    expect_silence(r);
}

/*
 * Snapshots
 */

#define MORE_PORTS \
    "-device virtserialport,bus=vser0.0,nr=2,name=plain " \
    DESCRIBED(3, "C") DESCRIBED(1, "A")

/* A port of another controller has no record here */
static void *add_elsewhere(GString *cmd_line, void *arg)
{
    g_string_append_printf(cmd_line, " -device virtio-serial-%s,id=other "
                           "-device virtserialport,bus=other.0,nr=4,"
                           "desc=1209:0001,desc-serial=elsewhere ",
                           g_str_equal(qtest_get_arch(), "arm") ? "device"
                                                                : "pci");
    return arg;
}

static void test_snapshot(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 4, LARGE);

    expect_desc(r, 1, "A");
    expect_desc(r, 3, "C");
    expect_end(r);
    expect_silence(r);
}

/* A second PORT_OPEN starts no snapshot; closing and opening does */
static void test_reopen(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 4, LARGE);

    expect_desc(r, 1, "A");
    expect_end(r);
    vser_port_open(drv, READER_ID);
    expect_silence(r);
    close_port(r);
    vser_plug_described(drv->qts, 2, "B");
    expect_silence(r);
    vser_port_open(drv, READER_ID);
    expect_desc(r, 1, "A");
    expect_desc(r, 2, "B");
    expect_end(r);
    vser_unplug(drv->qts, 2);
    expect_gone(r, 2);
}

/* After the port was opened again, no rest of the old record is read */
static void test_reopen_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 10);

    need(r, 10);
    g_byte_array_set_size(r->got, 0);
    close_port(r);
    expect_silence(r);
    vser_port_open(drv, READER_ID);
    expect_desc(r, 1, "A");
    expect_desc(r, 2, "B");
    expect_end(r);
    expect_silence(r);
}

/* @arg: the size of the only buffer */
static void test_tiny(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, (uintptr_t)arg);

    expect_desc(r, 1, "A");
    expect_desc(r, 2, "B");
    expect_end(r);
    vser_unplug(drv->qts, 1);
    expect_gone(r, 1);
    expect_silence(r);
    vser_plug_described(drv->qts, 1, "new");
    expect_desc(r, 1, "new");
    expect_silence(r);
}

/* Plug port @id with a blob of @size bytes, which is returned */
static GBytes *plug_sized(QTestState *qts, uint32_t id, gsize size)
{
    GByteArray *bytes = g_byte_array_new();
    g_autoptr(GBytes) shorter = vser_make_blob("long");
    g_autofree char *path = NULL;
    gsize length;
    const uint8_t *data = g_bytes_get_data(shorter, &length);
    const gsize strings = length - 18 - 32;
    int fd = g_file_open_tmp("virtio-serial-test-XXXXXX", &path, NULL);

    /* Unknown descriptors at the end of the configuration */
    g_byte_array_append(bytes, data, 18 + 32);
    while (bytes->len + strings < size) {
        gsize left = size - strings - bytes->len;
        /* The last one has to have 2 bytes */
        uint8_t len = left == 256 ? 254 : MIN(left, 255);

        g_byte_array_append(bytes, (const uint8_t []) { len, 0xfe }, 2);
        g_byte_array_set_size(bytes, bytes->len + len - 2);
        memset(bytes->data + bytes->len - (len - 2), bytes->len, len - 2);
    }
    stw_le_p(bytes->data + 18 + 2, bytes->len - 18);
    g_byte_array_append(bytes, data + 18 + 32, strings);
    g_assert_cmpuint(bytes->len, ==, size);
    close(fd);
    g_assert_true(g_file_set_contents(path, (char *)bytes->data, bytes->len,
                                      NULL));
    vser_plug(qts, id, "desc-file", path, NULL);
    unlink(path);
    return g_byte_array_free_to_bytes(bytes);
}

/* The longest blob there is, which no buffer holds */
static void test_long(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 3, LARGE);
    g_autoptr(GBytes) blob = NULL;

    expect_end(r);
    blob = plug_sized(drv->qts, 1, VIRTIO_SERIAL_DESC_MAX);
    expect_header(r, 1, VIRTIO_CONSOLE_PORT_DESC);
    expect_blob(r, blob);
    expect_silence(r);
}

/*
 * Changes
 */

static void test_live(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 4, LARGE);

    expect_end(r);
    vser_plug_described(drv->qts, 1, "A");
    expect_desc(r, 1, "A");
    vser_plug(drv->qts, 2, "name", "plain", NULL);
    vser_unplug(drv->qts, 2);
    expect_silence(r);
    vser_unplug(drv->qts, 1);
    expect_gone(r, 1);
    vser_plug_described(drv->qts, 1, "new");
    expect_desc(r, 1, "new");
    expect_silence(r);
}

/* A reader without buffers hears the present state, not all changes */
static void test_slow(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, LARGE);
    int i;

    expect_desc(r, 1, "A");
    expect_desc(r, 2, "B");
    expect_end(r);

    for (i = 0; i < 20; i++) {
        vser_plug_described(drv->qts, 3, "unseen");
        vser_unplug(drv->qts, 3);
        vser_unplug(drv->qts, 1);
        vser_plug_described(drv->qts, 1, i < 19 ? "unseen" : "new");
    }
    vser_unplug(drv->qts, 2);
    vser_plug(drv->qts, 2, "name", "plain", NULL);
    vser_plug_described(drv->qts, 4, "D");

    expect_gone(r, 1);
    expect_desc(r, 1, "new");
    expect_gone(r, 2);
    expect_desc(r, 4, "D");
    expect_silence(r);
}

/* A record that was begun comes to its end; then the end of its port is told */
static void test_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 10);

    need(r, 10);
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 1, "new");
    expect_desc(r, 1, "A");
    expect_desc(r, 2, "B");
    expect_end(r);
    expect_gone(r, 1);
    expect_desc(r, 1, "new");
    expect_silence(r);
}

/* A port goes; the port that takes its number goes before its record begins */
static void test_half_gone(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 1);

    expect_desc(r, 1, "A");
    expect_desc(r, 2, "B");
    expect_end(r);
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 1, "unseen");
    need(r, 1);
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 1, "new");
    expect_gone(r, 1);
    expect_desc(r, 1, "new");
    expect_silence(r);
}

/*
 * A port changes during a snapshot. If the snapshot has passed the port, the
 * change is told after the end. Otherwise the snapshot has the new state.
 */
static void test_in_snapshot(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 1);

    vser_plug_described(drv->qts, 4, "unseen");
    expect_desc(r, 1, "A");
    /* The snapshot is in the middle of port 2 now */
    need(r, 1);
    vser_unplug(drv->qts, 1);
    vser_unplug(drv->qts, 4);
    vser_plug_described(drv->qts, 3, "C");
    expect_desc(r, 2, "B");
    expect_desc(r, 3, "C");
    expect_end(r);
    expect_gone(r, 1);
    expect_silence(r);
}

static void test_two_readers(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 4, LARGE);
    g_autoptr(Reader) other = NULL;

    expect_desc(r, 1, "A");
    expect_end(r);
    plug_reader(drv->qts, "other", READER_ID + 1);
    other = reader_open(drv, READER_ID + 1, 4, LARGE);
    expect_desc(other, 1, "A");
    expect_end(other);
    vser_unplug(drv->qts, 1);
    expect_gone(r, 1);
    expect_gone(other, 1);

    /* One reader goes while it is read; the other reader stays */
    qtest_qmp_device_del(drv->qts, "other");
    vser_plug_described(drv->qts, 1, "new");
    expect_desc(r, 1, "new");
    expect_silence(r);
}

/* A reader goes in the middle of a record; another takes its number */
static void test_next_reader(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 10);
    g_autoptr(Reader) next = NULL;

    need(r, 10);
    qtest_qmp_device_del(drv->qts, "reader");
    vser_unplug(drv->qts, 1);
    plug_reader(drv->qts, "next", READER_ID);
    next = reader_open(drv, READER_ID, 1, 10);
    expect_desc(next, 2, "B");
    expect_end(next);
    expect_silence(next);
}

/*
 * Buffers that are registers of the device
 */

/* QEMU ends where GLib would print a message and go on */
static void *add_fatal_criticals(GString *cmd_line, void *arg)
{
    g_setenv("G_DEBUG", "fatal-criticals", true);
    return arg;
}

/* The buffer writes a running driver's status, so the device goes on */
static void test_register(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    /* In the record of port 1, the length of an endpoint descriptor is a 7 */
    QVSerSegment segments[2] = { { FRAGMENT_HEADER + 36 }, { 1 } };
    g_autoptr(Reader) r = NULL;

    g_unsetenv("G_DEBUG");
    segments[1].addr = vser_status_register(drv);
    if (!segments[1].addr) {
        return;
    }
    qvser_queue_segments(drv, &drv->ivqs[READER_ID], segments, 2);
    qvser_post(drv, READER_ID, LARGE);
    qvser_post(drv, READER_ID, LARGE);
    r = reader_open(drv, READER_ID, 4, LARGE);
    expect_desc(r, 1, "A");
    expect_desc(r, 2, "B");
    expect_end(r);
    expect_silence(r);
}

/* The buffer writes a 0, which resets the device */
static void test_register_reset(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, LARGE);
    g_autoptr(Reader) again = NULL;
    QVSerSegment segments[3] = { { 1 }, { 1 }, { LARGE } };

    g_unsetenv("G_DEBUG");
    segments[1].addr = vser_status_register(drv);
    if (!segments[1].addr) {
        return;
    }
    expect_desc(r, 1, "A");
    expect_desc(r, 2, "B");
    expect_end(r);
    qvser_queue_segments(drv, &drv->ivqs[READER_ID], segments, 3);
    qvser_post(drv, READER_ID, LARGE);
    /* The second byte of its number */
    vser_unplug(drv->qts, 2);
    g_assert_cmphex(drv->vdev->bus->get_status(drv->vdev), ==, 0);

    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    again = reader_open(drv, READER_ID, 4, LARGE);
    expect_desc(again, 1, "A");
    expect_end(again);
    expect_silence(again);
}

/*
 * Resets, and guests that are stopped
 */

static void test_reset(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 10);
    g_autoptr(Reader) again = NULL;

    need(r, 10);
    vser_restart(drv, 4, LARGE);
    vser_unplug(drv->qts, 1);
    vser_device_ready(drv);
    again = reader_open(drv, READER_ID, 1, 10);
    expect_desc(again, 2, "B");
    expect_end(again);
    expect_silence(again);
}

static void test_stopped(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 4, LARGE);

    expect_desc(r, 1, "A");
    expect_end(r);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'stop' }");
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 2, "B");
    expect_silence(r);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'cont' }");
    expect_gone(r, 1);
    expect_desc(r, 2, "B");
    expect_silence(r);
}

/*
 * Migration
 */

/* In the middle of a record, with more records and changes to come */
static void test_migrate_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 10);
    QTestState *to = vser_new_destination(NULL, NULL);

    vser_plug_described(drv->qts, 1, "A");
    vser_plug_described(drv->qts, 3, "C");
    expect_desc(r, 1, "A");
    need(r, 10);
    vser_unplug(drv->qts, 1);
    vser_plug_described(to, 3, "C");

    g_assert_true(vser_migrate(drv, to));
    vser_plug_described(to, 2, "B");
    expect_desc(r, 3, "C");
    expect_end(r);
    expect_gone(r, 1);
    expect_desc(r, 2, "B");
    expect_silence(r);
    qtest_quit(to);
}

/* All is told; the port that was plugged second is now the first */
static void test_migrate_settled(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = NULL;
    g_autoptr(Reader) other = NULL;
    QTestState *to = vser_new_destination(NULL, NULL);

    plug_reader(drv->qts, "first", READER_ID);
    plug_reader(drv->qts, "second", READER_ID + 1);
    plug_reader(to, "second", READER_ID + 1);
    plug_reader(to, "first", READER_ID);
    r = reader_open(drv, READER_ID, 4, LARGE);
    expect_end(r);
    vser_plug_described(drv->qts, 1, "A");
    vser_plug_described(to, 1, "A");
    expect_desc(r, 1, "A");
    expect_silence(r);

    g_assert_true(vser_migrate(drv, to));
    expect_silence(r);
    vser_unplug(to, 1);
    expect_gone(r, 1);
    other = reader_open(drv, READER_ID + 1, 4, LARGE);
    expect_end(other);
    qtest_quit(to);
}

/*
 * The most that can be pending: a chunk less one byte, then the records of
 * port 3, and no buffer for them. @arg: whether the end of an older port 3 is
 * among the records
 */
static void test_migrate_most(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 1);
    /* Nothing is at these addresses, and there are too many of them */
    const QVSerSegment nowhere[] = {
        { LARGE, .addr = 1ull << 44 }, { LARGE, .addr = 1ull << 45 },
    };
    QTestState *to = vser_new_destination(NULL, NULL);

    if (arg) {
        vser_plug_described(drv->qts, 3, "C");
        expect_desc(r, 3, "C");
    }
    expect_end(r);
    if (arg) {
        vser_unplug(drv->qts, 3);
    }
    g_bytes_unref(plug_sized(drv->qts, 1, 4095 - FRAGMENT_HEADER));
    g_bytes_unref(plug_sized(to, 1, 4095 - FRAGMENT_HEADER));
    g_bytes_unref(plug_sized(drv->qts, 3, VIRTIO_SERIAL_DESC_MAX));
    g_bytes_unref(plug_sized(to, 3, VIRTIO_SERIAL_DESC_MAX));
    qvser_queue_segments(drv, &drv->ivqs[READER_ID], nowhere, 2);
    qvser_kick(drv, &drv->ivqs[READER_ID]);
    qvser_settle(drv);

    g_assert_true(vser_migrate(drv, to));
    qtest_quit(to);
}

/* A destination with another max_ports */
static void test_migrate_max_ports(void *obj, void *arg,
                                   QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 10);
    g_autofree char *log = vser_temp_file();
    g_autofree char *args = g_strdup_printf(
        "%s -global virtio-serial-device.max_ports=30 -incoming defer 2>%s",
        qos_get_current_command_line(), log);

    need(r, 10);
    vser_expect_refused(drv, vser_start_qemu(NULL, args), log,
                        "max_ports is 30, at the source 31");
}

/* A hostile stream: numbers that QEMU would not send */
static void test_migrate_hostile(void *obj, void *arg, QGuestAllocator *alloc)
{
#define SUBSECTION "virtio-console-device/descriptor-ports"
    enum {
        /* From the end of the name: a version and max_ports */
        NUMBER = 8,
        CURSOR = NUMBER + 4,
        TOLD = CURSOR + 4,
        LENGTH = TOLD + 2 * 31,
    };
    static const struct {
        unsigned int offset;
        uint32_t value;
        const char *why;
    } changes[] = {
        { NUMBER, 1, "port 1 is no virtserialdesc" },
        { NUMBER, 3, "port 3 is no virtserialdesc" },
        { NUMBER, 31, "port 31 is no virtserialdesc" },
        { NUMBER, UINT32_MAX - 1, "is no virtserialdesc" },
        { CURSOR, 33, "port 5: no virtserialdesc is at port 33" },
        { CURSOR, UINT32_MAX, "port 5: no virtserialdesc is at port" },
        { LENGTH, LARGE + 16 + 65535 + 1, "with 69648 bytes to come" },
        { LENGTH, UINT32_MAX, "bytes to come" },
    };
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autoptr(Reader) r = reader_open(drv, READER_ID, 1, 10);
    g_autofree char *path = vser_temp_file();
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    g_autofree char *stream = NULL;
    char *state;
    gsize size;
    int i;

    need(r, 10);
    vser_migrate_out(drv->qts, uri);
    g_assert_true(vser_migration_succeeded(drv->qts));
    g_assert_true(g_file_get_contents(path, &stream, &size, NULL));
    state = memmem(stream, size, SUBSECTION, strlen(SUBSECTION));
    g_assert_nonnull(state);
    state += strlen(SUBSECTION);
    g_assert_cmpuint(ldl_be_p(state + NUMBER), ==, READER_ID);
    g_assert_cmpuint(ldl_be_p(state + LENGTH), >, 0);

    for (i = 0; i < ARRAY_SIZE(changes); i++) {
        char *field = state + changes[i].offset;
        uint32_t before = ldl_be_p(field);
        g_autofree char *log = vser_temp_file();
        QTestState *to = vser_new_destination(NULL, log);

        stl_be_p(field, changes[i].value);
        g_assert_true(g_file_set_contents(path, stream, size, NULL));
        stl_be_p(field, before);
        vser_migrate_in(to, uri);
        g_assert_false(vser_migration_succeeded(to));
        vser_expect_last_words(to, log, changes[i].why);
    }
    unlink(path);
}

/* @arg: whether the port is a virtserialdesc at the destination */
static void test_migrate_refused(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start_stock(obj, alloc);
    g_autofree char *log = vser_temp_file();
    g_autoptr(Reader) r = NULL;
    QTestState *to = vser_new_destination(NULL, log);

    plug_reader(drv->qts, "reader", READER_ID);
    if (arg) {
        plug_reader(to, "reader", READER_ID);
    } else {
        vser_plug(to, READER_ID, NULL);
    }
    vser_plug_described(drv->qts, 1, "A");
    vser_plug_described(to, 1, arg ? "B" : "A");
    r = reader_open(drv, READER_ID, 4, LARGE);
    expect_desc(r, 1, "A");
    vser_expect_refused(drv, to, log, arg ? "port1" :
                        "port 5 is no virtserialdesc");
}

/*
 * Registration
 */

#define TWO_PORTS   READER DESCRIBED(1, "A") DESCRIBED(2, "B")

static const VSerCase cases[] = {
    { "names", test_names },
    { "two-controllers", test_names_elsewhere,
      .before = add_elsewhere },
    { "refused", test_refused },
    { "options", test_options },
    { "written", test_written, .ports = READER },
    { "snapshot/ports", test_snapshot, .ports = READER MORE_PORTS,
      .before = add_elsewhere, .legacy = true },
    { "snapshot/again", test_reopen, .ports = READER DESCRIBED(1, "A") },
    { "snapshot/again-midway", test_reopen_midway, .ports = TWO_PORTS },
    { "snapshot/1-byte-buffer", test_tiny, (void *)1, .ports = TWO_PORTS },
    { "snapshot/7-byte-buffer", test_tiny, (void *)7, .ports = TWO_PORTS },
    { "snapshot/under-way", test_in_snapshot, .ports = TWO_PORTS },
    { "longest", test_long, .ports = READER },
    { "hotplug/live", test_live, .ports = READER, .legacy = true },
    { "hotplug/slow-reader", test_slow, .ports = TWO_PORTS },
    { "hotplug/midway", test_midway, .ports = TWO_PORTS },
    { "hotplug/half-gone", test_half_gone, .ports = TWO_PORTS },
    { "hotplug/reader", test_two_readers, .ports = READER DESCRIBED(1, "A") },
    { "hotplug/next-reader", test_next_reader, .ports = TWO_PORTS },
    { "register/status", test_register, .ports = TWO_PORTS,
      .before = add_fatal_criticals },
    { "register/reset", test_register_reset, .ports = TWO_PORTS,
      .before = add_fatal_criticals },
    { "reset", test_reset, .ports = TWO_PORTS },
    { "stopped", test_stopped, .ports = READER DESCRIBED(1, "A") },
    { "migrate/midway", test_migrate_midway, .ports = READER },
    { "migrate/settled", test_migrate_settled },
    { "migrate/most", test_migrate_most, .ports = READER },
    { "migrate/most-after-end", test_migrate_most, (void *)true,
      .ports = READER },
    { "migrate/max-ports", test_migrate_max_ports, .ports = TWO_PORTS },
    { "migrate/hostile", test_migrate_hostile, .ports = TWO_PORTS },
    { "migrate/other-descriptor", test_migrate_refused, (void *)true },
    { "migrate/other-port", test_migrate_refused },
};

static void register_virtserialdesc_test(void)
{
    vser_add_cases("virtserialdesc", cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtserialdesc_test);
