/*
 * QTest testcase for virtio-serial: descriptors of ports
 *
 * Each case drives the device with a driver of its own, which takes one event
 * at a time and has as few, small and odd buffers as the case is about.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "libqos/virtio-serial.h"
#include "virtio-serial-control-test.h"
#include "virtio-serial-desc-utils.h"
#include "virtio-serial-faults-test.h"

/* A driver that takes descriptors: new, and started */
static QVSerDriver *new_driver(void *obj, QGuestAllocator *alloc)
{
    return vser_new_driver(obj, alloc, &vser_described);
}

static QVSerDriver *start(void *obj, QGuestAllocator *alloc,
                          unsigned int count, uint32_t len)
{
    return vser_start(obj, alloc, &vser_described, count, len);
}

/*
 * The feature
 */

/* @arg: whether the device offers the feature; no driver takes it */
static void test_not_negotiated(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);

    g_assert_cmpint(!!(qvirtio_get_features(drv->vdev) & PORT_DESC), ==,
                    !!arg);
    vser_restart(drv, 4, LARGE);
    vser_expect_only_port(drv, &vser_plain, 1, NAME("A"));
}

/*
 * A driver without MULTIPORT has one port, which works, and no control queues.
 * The feature has no effect then, even if the driver sets up control queues.
 */
static void test_without_multiport(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    VSerHost *host = vser_host_new();
    QVSerEvent ev;
    char data[8];

    qtest_qmp_device_add(drv->qts, "virtconsole", "port0",
                         "{ 'bus': 'vser0.0', 'chardev': 'host',"
                         " 'desc': '1209:0001' }");
    vser_host_connect(host);
    drv->features = PORT_DESC;
    drv->data_ports = 1 << 0;
    vser_restart(drv, 4, LARGE);

    qvser_write(drv, 0, "to host", 8);
    g_assert_cmpint(recv(host->fd, data, 8, MSG_WAITALL), ==, 8);
    g_assert_cmpstr(data, ==, "to host");
    g_assert_cmpint(send(host->fd, "to vm", 6, 0), ==, 6);
    g_assert_cmpint(qvser_read(drv, 0, data, sizeof(data)), ==, 6);
    g_assert_cmpstr(data, ==, "to vm");

    vser_device_ready(drv);
    vser_port_ready(drv, 0);
    qvser_settle(drv);
    while (qvser_poll(drv, &ev)) {
        g_assert_cmpuint(ev.event, !=, VIRTIO_CONSOLE_PORT_DESC);
    }
    vser_unplug(drv->qts, 0);
    vser_host_free(host);
}

/* The feature is not offered where no driver could use it. @arg is ignored */
static void test_not_offered(void *obj, void *arg, QGuestAllocator *alloc)
{
    QVirtioSerial *serial = obj;

    g_assert_cmphex(qvirtio_get_features(serial->vdev) & PORT_DESC, ==, 0);
}

/* The newest machine type without the feature in every QEMU that has it */
static void *use_old_machine(GString *cmd_line, void *arg)
{
    const char *machine = arg;

    if (!qtest_has_machine(machine)) {
        return NULL;
    }
    /* The last -M counts */
    g_string_append_printf(cmd_line, " -M %s", machine);
    return arg;
}

static void test_old_machine(void *obj, void *arg, QGuestAllocator *alloc)
{
    if (!arg) {
        g_test_skip("this QEMU has no such machine type");
        return;
    }
    test_not_negotiated(obj, NULL, alloc);
}

/*
 * Fragments
 */

/* Buffers of one size; sizes about that of the message matter most */
static void test_fragments(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    uint32_t whole = FRAGMENT_HEADER + g_bytes_get_size(blob);
    const uint32_t sizes[] = {
        17, 18, 24, 31, whole - 1, whole, whole + 1, LARGE, 0x20000,
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        vser_restart(drv, 2, sizes[i]);
        vser_expect_only_port(drv, &vser_described, 1, "A");
    }
}

/* Each buffer of another size */
static void test_mixed_fragments(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    static const uint32_t sizes[] = { 24, 17, 40, 18, 19 };
    int i;

    qvser_start(drv);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        qvser_add_buffers(drv, 1, sizes[i]);
    }
    vser_expect_only_port(drv, &vser_described, 1, "A");
}

/* Each buffer of several segments, which end anywhere */
static void test_segments(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    static const QVSerSegment segments[][QVSER_CHAIN_MAX] = {
        { { 1 }, { 3 }, { 3 }, { 2 }, { 5 }, { 1 }, { 1 }, { 1 } },
        { { 8 }, { 8 }, { 1 }, { 1 }, { 1 }, { 1 }, { 1 }, { 30 } },
        { { 16 }, { 7 }, { 7 }, { 7 }, { 7 }, { 7 }, { 7 }, { 7 } },
    };
    int i;

    qvser_start(drv);
    for (i = 0; i < ARRAY_SIZE(segments); i++) {
        qvser_add_buffer(drv, segments[i], QVSER_CHAIN_MAX);
    }
    vser_expect_only_port(drv, &vser_described, 1, "A");
}

/* Buffers that hold an event, but not a fragment */
static void test_too_small(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    static const struct {
        QVSerSegment segments[2];
        unsigned int nr_segments;
    } bad[] = {
        { { { 8 } }, 1 },
        { { { 16 } }, 1 },
        { { { 8 }, { 8 } }, 2 },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_test_message("buffer %d", i);
        qvser_start(drv);
        qvser_add_buffer(drv, bad[i].segments, bad[i].nr_segments);
        vser_device_ready(drv);
        vser_expect_add(drv, 1);
        vser_port_ready(drv, 1);
        vser_expect_broken(drv, &vser_described);
    }
}

/* One buffer or two, given back as late as can be */
static void test_few_buffers(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    unsigned int count, i;
    uint32_t offset;
    bool last;

    drv->keep = true;
    for (count = 1; count <= 2; count++) {
        vser_restart(drv, count, 24);
        vser_device_ready(drv);
        vser_expect_add(drv, 1);
        qvser_give_back(drv);
        vser_port_ready(drv, 1);
        for (offset = 0, last = false, i = 0; !last; i++) {
            if (i == count) {
                vser_expect_nothing(drv);
                qvser_give_back(drv);
                i = 0;
            }
            last = vser_expect_fragment(drv, 1, blob, &offset);
        }
        vser_expect_nothing(drv);
    }
}

/* A driver that asks again, in the middle, gets all events from the start */
static void test_ask_again(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    uint32_t offset = 0;

    drv->keep = true;
    vser_restart(drv, 3, 24);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_fragment(drv, 1, blob, &offset);
    vser_expect_fragment(drv, 1, blob, &offset);
    vser_expect_nothing(drv);

    drv->keep = false;
    vser_port_ready(drv, 1);
    qvser_give_back(drv);
    vser_expect_described(drv, 1, "A");
    vser_expect_nothing(drv);
    vser_port_ready(drv, 1);
    vser_expect_described(drv, 1, "A");
    vser_expect_nothing(drv);
}

/*
 * Ports 1 and 2. Half of port 1's descriptor, @blob, is told, and all of port
 * 2's is owed. The driver has no buffers, and keeps those that come back.
 * Returns: the offset that port 1's descriptor has reached.
 */
static uint32_t start_midway(QVSerDriver *drv, const char *first, GBytes *blob,
                             const char *second)
{
    uint32_t offset = 0;

    vser_plug_described(drv->qts, 1, first);
    vser_plug_described(drv->qts, 2, second);
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
    return offset;
}

/* A port goes with half its descriptor told; the next port's starts at 0 */
static void test_unplug_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    g_autoptr(GBytes) old = vser_make_blob("old");

    start_midway(drv, "old", old, "other");
    vser_unplug(drv->qts, 1);
    vser_plug_described(drv->qts, 1, "new");

    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_remove(drv, 1);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_described(drv, 2, "other");
    vser_expect_described(drv, 1, "new");
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_unplug(drv->qts, 2);
    vser_expect_remove(drv, 2);
    vser_expect_nothing(drv);
}

/*
 * Names and properties
 */

/* A property of port @id */
static char *get_property(uint32_t id, const char *property)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/port%u", id);
    QDict *response = qmp("{ 'execute': 'qom-get', 'arguments': {"
                          " 'path': %s, 'property': %s } }", path, property);
    char *value = g_strdup(qdict_get_str(response, "return"));

    qobject_unref(response);
    return value;
}

static void assert_property(uint32_t id, const char *property,
                            const char *expected)
{
    g_autofree char *value = get_property(id, property);

    g_assert_cmpstr(value, ==, expected);
}

/* A name that is taken gets a number, the lowest that is free */
static void test_names(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 4, LARGE);

    vser_plug_described(drv->qts, 1, "A");
    vser_plug_described(drv->qts, 2, "A");
    vser_plug_described(drv->qts, 3, "A");
    vser_plug(drv->qts, 4, "desc", "1209:0001", "desc-serial", "A",
              "name", "mine", NULL);
    vser_plug(drv->qts, 5, "desc", "abcd:ef01:0234",
              "desc-class", "0a:0b:0c", NULL);
    vser_plug(drv->qts, 6, "desc", "abcd:ef01:0234",
              "desc-class", "0a:0b:0c", NULL);
    assert_property(1, "name", NAME("A"));
    assert_property(2, "name", NAME("A#1"));
    assert_property(3, "name", NAME("A#2"));
    assert_property(4, "name", "mine");
    assert_property(5, "name",
                    "usb:vABCDpEF01d0234dc00dsc00dp00ic0Aisc0Bip0Cin00");
    assert_property(6, "name",
                    "usb:vABCDpEF01d0234dc00dsc00dp00ic0Aisc0Bip0Cin00#1");

    vser_unplug(drv->qts, 2);
    vser_plug_described(drv->qts, 2, "A");
    assert_property(2, "name", NAME("A#1"));

    vser_unplug(drv->qts, 1);
    vser_unplug(drv->qts, 2);
    vser_unplug(drv->qts, 3);
    vser_unplug(drv->qts, 4);
    vser_unplug(drv->qts, 5);
    vser_unplug(drv->qts, 6);
}

#define LONG_SERIAL "a-serial-number-that-is-longer-than-what-a-name-has-" \
                    "room-for-so-that-it-has-to-be-cut"

/* Names that differ at their end only arrive whole in small buffers */
static void test_small_buffers(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    char *names[3];
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        vser_plug_described(drv->qts, i + 1, LONG_SERIAL);
        names[i] = get_property(i + 1, "name");
        g_assert_cmpuint(strlen(names[i]), ==, 128 - 8 - 1);
    }
    vser_restart(drv, 8, 128);
    vser_device_ready(drv);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        vser_expect_add(drv, i + 1);
    }
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        QVSerEvent ev;

        vser_port_ready(drv, i + 1);
        qvser_next(drv, &ev);
        g_assert_cmpuint(ev.event, ==, VIRTIO_CONSOLE_PORT_NAME);
        g_assert_cmpmem(ev.payload, ev.length, names[i],
                        strlen(names[i]) + 1);
    }
    g_assert_true(g_str_has_prefix(names[0], NAME("a-serial-number")));
    g_assert_true(g_str_has_suffix(names[1], "#1"));
    g_assert_true(g_str_has_suffix(names[2], "#2"));
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        vser_unplug(drv->qts, i + 1);
        g_free(names[i]);
    }
}

/* A terminal gets no control character */
static void test_terminal(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 4, LARGE);
    g_autofree char *qtree = NULL;
    const char *p;

    vser_plug_described(drv->qts, 1,
                        "\x1b[1m\n\"\\ "
                        "\xc2\x9b" "2J \xe2\x82\xac \xc2\x80\xc2\x9f");
    qtree = qtest_hmp(drv->qts, "info qtree");
    for (p = qtree; *p; p = g_utf8_next_char(p)) {
        if (!g_str_has_prefix(p, "\r")) {
            g_assert_true(*p == '\n' ||
                          !g_unichar_iscntrl(g_utf8_get_char(p)));
        }
    }
    g_assert_nonnull(strstr(qtree, "desc-serial=\"\\033[1m\\n\\\"\\\\ "
                            "\\302\\2332J \xe2\x82\xac "
                            "\\302\\200\\302\\237\""));
    vser_unplug(drv->qts, 1);
}

/*
 * The name that the user gave is the port's, whichever port comes first. Here
 * desc= or the controller says that the name is not a descriptor itself.
 */
static void test_given_name(void *obj, void *arg, QGuestAllocator *alloc)
{
    assert_property(1, "name", NAME("A#1"));
    assert_property(2, "name", NAME("A"));
    assert_property(3, "name", NAME("A#2"));
}

/* QOM properties say what the driver is told */
static void test_qom(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(GBytes) blob = vser_make_blob("A");
    g_autofree char *encoded = get_property(1, "desc-blob");
    g_autofree char *qtree = qtest_hmp(global_qtest, "info qtree");
    gsize size, decoded_size;
    const void *data = g_bytes_get_data(blob, &size);
    g_autofree guchar *decoded = g_base64_decode(encoded, &decoded_size);

    g_assert_cmpmem(decoded, decoded_size, data, size);
    assert_property(1, "name", NAME("A"));
    g_assert_nonnull(strstr(qtree, "1209:0001"));
}

static const char *const read_only[] = {
    "desc-blob", "bytes-to-guest", "bytes-to-host", "bytes-copied",
};

/* Does the list of port 1's properties have @property, and of what type? */
static const char *type_of(QDict *response, const char *property)
{
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        QDict *listed = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(listed, "name"), property)) {
            return qdict_get_str(listed, "type");
        }
    }
    return NULL;
}

/*
 * What can only be read is no option in the help of a device. Each port has it.
 */
static void test_options(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const char *const drivers[] = {
        "virtserialport", "virtconsole", "virtio-serial-device",
    };
    QTestState *qts = global_qtest;
    int i, j, round;

    for (i = 0; i < ARRAY_SIZE(drivers); i++) {
        g_autofree char *help = qtest_hmp(qts, "device_add %s,help",
                                          drivers[i]);
        bool is_port = !g_str_equal(drivers[i], "virtio-serial-device");

        g_assert_nonnull(strstr(help, is_port ? "  nr=" : "  max_ports="));
        g_assert_true(!strstr(help, "  desc=") == !is_port);
        for (j = 0; j < ARRAY_SIZE(read_only); j++) {
            g_assert_null(strstr(help, read_only[j]));
        }
    }
    for (round = 0; round < 2; round++) {
        QDict *response;

        vser_plug_described(qts, 1, "A");
        response = qtest_qmp(qts, "{ 'execute': 'qom-list', 'arguments': {"
                             " 'path': '/machine/peripheral/port1' } }");
        for (j = 0; j < ARRAY_SIZE(read_only); j++) {
            g_assert_cmpstr(type_of(response, read_only[j]), ==,
                            j ? "uint64" : "string");
        }
        qobject_unref(response);
        vser_unplug(qts, 1);
    }
}

/*
 * Check that device_add of port 1 fails, with @properties and one more. The
 * message has that one and its value, and nothing is left of the port.
 */
static void refuse_beside(QVSerDriver *drv, QDict *properties,
                          const char *property, const char *value)
{
    QDict *args = properties;
    QDict *error;
    const char *message;
    /* A message shows only the start of a long value */
    g_autofree char *shown = g_strndup(value, 80);

    qdict_put_str(args, "driver", "virtserialport");
    qdict_put_str(args, "bus", "vser0.0");
    qdict_put_str(args, "id", "port1");
    qdict_put_int(args, "nr", 1);
    qdict_put_str(args, property, value);
    error = qtest_qmp_assert_failure_ref(drv->qts, "{ 'execute': 'device_add',"
                                         " 'arguments': %p }", args);
    message = qdict_get_str(error, "desc");
    g_test_message("%s", message);
    g_assert_cmpstr(qdict_get_str(error, "class"), ==, "GenericError");
    g_assert_nonnull(strstr(message, property));
    g_assert_nonnull(strstr(message, shown));
    g_assert_null(strchr(message, '\n'));
    qobject_unref(error);

    vser_plug_described(drv->qts, 1, "good");
    vser_expect_add(drv, 1);
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
}

/* The same with @desc beside it, unless that is NULL */
static void refuse(QVSerDriver *drv, const char *desc, const char *property,
                   const char *value)
{
    QDict *args = qdict_new();

    if (desc) {
        qdict_put_str(args, "desc", desc);
    }
    refuse_beside(drv, args, property, value);
}

#define UNITS_126 \
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_" \
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"

static void test_bad_properties(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 2, LARGE);
    static const struct {
        const char *desc, *property, *value;
    } bad[] = {
        { NULL, "desc", "1209" },
        { NULL, "desc", "1209:" },
        { NULL, "desc", ":0001" },
        { NULL, "desc", "1209:1" },
        { NULL, "desc", "01209:0001" },
        { NULL, "desc", "1209:000g" },
        { NULL, "desc", "0x12:0001" },
        { NULL, "desc", "1209:0001:" },
        { NULL, "desc", "1209:0001:01" },
        { NULL, "desc", "1209:0001:0100:0" },
        { NULL, "desc", " 1209:0001" },
        { NULL, "desc-manufacturer", "M" },
        { NULL, "desc-product", "P" },
        { NULL, "desc-serial", "S" },
        { NULL, "desc-interface", "I" },
        { NULL, "desc-class", "vendor" },
        { "1209:0001", "desc-class", "usb" },
        { "1209:0001", "desc-class", "1" },
        { "1209:0001", "desc-class", "100" },
        { "1209:0001", "desc-class", "ff:" },
        { "1209:0001", "desc-class", "ff:00:00:00" },
        { "1209:0001", "desc-class", "ff:0:0" },
        { "1209:0001", "desc-manufacturer", UNITS_126 "7" },
        { "1209:0001", "desc-product", UNITS_126 "7" },
        { "1209:0001", "desc-serial", UNITS_126 "7" },
        { "1209:0001", "desc-interface", UNITS_126 "7" },
        { "1209:0001", "desc-file", "/dev/null" },
    };
    int i;

    vser_device_ready(drv);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        refuse(drv, bad[i].desc, bad[i].property, bad[i].value);
    }
    vser_expect_nothing(drv);
}

/*
 * Names that are descriptors
 */

/* All of a port that a name made, @arg or not, with serial number "A" */
static void test_named(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    g_autofree char *encoded = g_base64_encode(g_bytes_get_data(blob, NULL),
                                               g_bytes_get_size(blob));

    if (arg) {
        vser_plug(drv->qts, 1, "name", arg, NULL);
    }
    assert_property(1, "name", NAME("A"));
    assert_property(1, "desc", "1209:0001:0100");
    assert_property(1, "desc-serial", "A");
    assert_property(1, "desc-class", "ff:00:00");
    assert_property(1, "desc-blob", encoded);
    vser_restart(drv, 4, LARGE);
    vser_expect_only_port(drv, &vser_described, 1, "A");
    if (arg) {
        vser_unplug(drv->qts, 1);
        vser_expect_remove(drv, 1);
        vser_plug(drv->qts, 1, "name", arg, NULL);
        vser_expect_add(drv, 1);
        vser_port_ready(drv, 1);
        vser_expect_described(drv, 1, "A");
        vser_unplug(drv->qts, 1);
        vser_expect_remove(drv, 1);
        vser_expect_nothing(drv);
    }
}

/* Without a serial number; and a console */
static void test_named_console(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *name = NULL, *serial = NULL;
    QTestState *qts = global_qtest;

    qtest_qmp_device_add(qts, "virtconsole", "port5",
                         "{ 'bus': 'vser0.0', 'name': 'usb:1209:0001' }");
    name = get_property(5, "name");
    serial = get_property(5, "desc-serial");
    g_assert_cmpstr(name, ==,
                    "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00");
    g_assert_cmpstr(serial, ==, "");
    vser_unplug(qts, 5);
}

/* The long form says everything that desc= and desc-class= can say */
static void test_named_long(void *obj, void *arg, QGuestAllocator *alloc)
{
    QTestState *qts = global_qtest;
    g_autofree char *by_desc = NULL, *name = NULL;

    vser_plug(qts, 1, "desc", "abcd:ef01:0234", "desc-class", "0a:0b:0c",
              "desc-serial", "A", NULL);
    by_desc = get_property(1, "desc-blob");
    name = get_property(1, "name");
    vser_unplug(qts, 1);
    vser_plug(qts, 1, "name", name, NULL);
    assert_property(1, "name", name);
    assert_property(1, "desc-blob", by_desc);
    vser_unplug(qts, 1);
}

/* Plug port 1 with @name, which is a name and stands for nothing */
static void plug_plain_name(QVSerDriver *drv, const char *name)
{
    vser_plug(drv->qts, 1, "name", name, NULL);
    assert_property(1, "name", name);
    assert_property(1, "desc-blob", "");
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, name);
}

/* Every other name is what it was */
static void test_named_not(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 4, LARGE);
    static const char *const names[] = {
        "usb:", "usb:x", "usb:g209:0001", "usb:V1209p0001", "usb: 1209:0001",
        "usb", "usb-1209:0001", "USB:1209:0001", "x.usb:1209:0001",
        "1209:0001", "org.qemu.guest_agent.0",
    };
    int i;

    vser_device_ready(drv);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        plug_plain_name(drv, names[i]);
        vser_unplug(drv->qts, 1);
        vser_expect_remove(drv, 1);
    }
    vser_expect_nothing(drv);
}

static void test_named_bad(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 2, LARGE);
    static const char *const names[] = {
        "usb:1", "usb:audio", "usb:v", "usb:1209", "usb:1209:1",
        "usb:1209:00010", "usb:1209:0001#A", "usb:1209:0001:",
        "usb:v1209p0001", "usb:v1209p0001d*dc*dsc*dp*ic*isc*ip*in*",
        "usb:v1209p0001d0100dcEFdsc02dp01icFFisc00ip00in00",
        "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in01",
        NAME(""), SHORT_NAME(UNITS_126 "7"),
    };
    static const struct {
        const char *property, *value;
    } added[] = {
        { "desc-product", UNITS_126 "7" },
        { "desc-class", "usb" },
        { "desc-serial", "" },
    };
    int i;

    vser_device_ready(drv);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        refuse(drv, NULL, "name", names[i]);
    }
    for (i = 0; i < ARRAY_SIZE(added); i++) {
        QDict *args = qdict_new();

        qdict_put_str(args, "name", SHORT_NAME("A"));
        refuse_beside(drv, args, added[i].property, added[i].value);
    }
    vser_expect_nothing(drv);
}

/* The same name again is what the same desc= is again */
static void test_named_taken(void *obj, void *arg, QGuestAllocator *alloc)
{
    QTestState *qts = global_qtest;
    uint32_t id;

    vser_plug(qts, 1, "name", SHORT_NAME("A"), NULL);
    vser_plug(qts, 2, "name", SHORT_NAME("A"), NULL);
    vser_plug(qts, 3, "name", NAME("A"), NULL);
    vser_plug_described(qts, 4, "A");
    assert_property(1, "name", NAME("A"));
    assert_property(2, "name", NAME("A#1"));
    assert_property(3, "name", NAME("A#2"));
    assert_property(4, "name", NAME("A#3"));
    assert_property(3, "desc-serial", "A");

    vser_unplug(qts, 2);
    vser_plug(qts, 2, "name", SHORT_NAME("A"), NULL);
    assert_property(2, "name", NAME("A#1"));
    for (id = 1; id <= 4; id++) {
        vser_unplug(qts, id);
    }
}

/* A new file with @size bytes of @blob and then @extra bytes of 0 */
static char *write_file(GBytes *blob, gsize size, gsize extra)
{
    static const uint8_t zeroes[VIRTIO_SERIAL_DESC_MAX + 1];
    const void *data = g_bytes_get_data(blob, NULL);
    char *path;
    int fd = g_file_open_tmp("virtio-serial-test-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, data, size), ==, size);
    g_assert_cmpint(write(fd, zeroes, extra), ==, extra);
    close(fd);
    return path;
}

/* desc= or desc-file= says what the descriptor is, and the name is a name */
static void test_named_beside_desc(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const char *const names[] = {
        SHORT_NAME("A"), NAME("A"), "usb:audio",
    };
    QTestState *qts = global_qtest;
    g_autoptr(GBytes) blob = vser_make_blob("file");
    g_autofree char *path = write_file(blob, g_bytes_get_size(blob), 0);
    int i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        vser_plug(qts, 1, "name", names[i], "desc", "abcd:ef01",
                  "desc-serial", "B", NULL);
        assert_property(1, "name", names[i]);
        assert_property(1, "desc", "abcd:ef01:0100");
        assert_property(1, "desc-serial", "B");
        vser_unplug(qts, 1);

        vser_plug(qts, 1, "name", names[i], "desc-file", path, NULL);
        assert_property(1, "name", names[i]);
        assert_property(1, "desc-serial", "file");
        vser_unplug(qts, 1);
    }
    g_unlink(path);
}

/* Properties add to the name, and replace what the name says */
static void test_named_added(void *obj, void *arg, QGuestAllocator *alloc)
{
    QTestState *qts = global_qtest;
    g_autofree char *by_desc = NULL, *name = NULL;

    vser_plug(qts, 1, "desc", "1209:0001:0203", "desc-serial", "B/C",
              "desc-manufacturer", "M", "desc-product", "P",
              "desc-interface", "I", "desc-class", "cdc-acm", NULL);
    by_desc = get_property(1, "desc-blob");
    name = get_property(1, "name");
    vser_unplug(qts, 1);
    vser_plug(qts, 1, "name",
              "usb:v1209p0001d0203dc00dsc00dp00icFFisc00ip00in00#A",
              "desc-serial", "B/C", "desc-manufacturer", "M",
              "desc-product", "P", "desc-interface", "I",
              "desc-class", "cdc-acm", NULL);
    assert_property(1, "desc-blob", by_desc);
    assert_property(1, "name", name);
    vser_unplug(qts, 1);
}

/* Where the controller offers no descriptors, a name is as on stock QEMU */
static void test_named_off(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_start(obj, alloc, &vser_plain, 4, LARGE);
    static const char *const names[] = {
        SHORT_NAME("A"), NAME("A"), "usb:audio", "usb:1209:1",
    };
    QDict *args = qdict_new();
    QDict *error;
    int i;

    vser_device_ready(drv);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        plug_plain_name(drv, names[i]);
        error = qtest_qmp_assert_failure_ref(drv->qts,
            "{ 'execute': 'device_add', 'arguments': {"
            " 'driver': 'virtserialport', 'bus': 'vser0.0', 'name': %s } }",
            names[i]);
        g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                                "already exists by name"));
        qobject_unref(error);
        vser_unplug(drv->qts, 1);
        vser_expect_remove(drv, 1);
    }
    /* The message does not say that the name would be a descriptor */
    qdict_put_str(args, "desc-serial", "B");
    refuse_beside(drv, args, "name", SHORT_NAME("A"));
    vser_expect_nothing(drv);
}

static void test_named_old_machine(void *obj, void *arg, QGuestAllocator *alloc)
{
    if (!arg) {
        g_test_skip("this QEMU has no such machine type");
        return;
    }
    test_named_off(obj, NULL, alloc);
}

/*
 * desc-file
 */

/* The longest possible blob, full of bytes of an unknown class */
static GBytes *make_longest_blob(void)
{
    static const uint8_t device[] = {
        18, 1, 0x00, 0x02, 0, 0, 0, 64, 0x09, 0x12, 0x01, 0x00, 0x00, 0x01,
        0, 0, 0, 1,
    };
    static const uint8_t interface[] = { 9, 4, 0, 0, 0, 0xff, 0, 0, 0 };
    uint8_t configuration[] = { 9, 2, 0, 0, 1, 1, 0, 0xc0, 0 };
    GByteArray *blob = g_byte_array_new();

    stw_le_p(configuration + 2, VIRTIO_SERIAL_DESC_MAX - sizeof(device));
    g_byte_array_append(blob, device, sizeof(device));
    g_byte_array_append(blob, configuration, sizeof(configuration));
    g_byte_array_append(blob, interface, sizeof(interface));
    while (blob->len < VIRTIO_SERIAL_DESC_MAX) {
        uint8_t vendor[255] = {
            MIN(sizeof(vendor), VIRTIO_SERIAL_DESC_MAX - blob->len), 0x24
        };

        g_byte_array_append(blob, vendor, vendor[0]);
    }
    return g_byte_array_free_to_bytes(blob);
}

static void test_file(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 4, LARGE);
    g_autoptr(GBytes) blob = vser_make_blob("file");
    g_autofree char *path = write_file(blob, g_bytes_get_size(blob), 0);

    vser_plug(drv->qts, 1, "desc-file", path, NULL);
    g_unlink(path);
    assert_property(1, "desc-file", path);
    assert_property(1, "desc-serial", "file");
    vser_expect_only_port(drv, &vser_described, 1, "file");
    vser_unplug(drv->qts, 1);
}

/* The longest blob: in one buffer, and in as many as it takes */
static void test_longest(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const uint32_t sizes[] = {
        FRAGMENT_HEADER + VIRTIO_SERIAL_DESC_MAX, LARGE, 256
    };
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    g_autoptr(GBytes) blob = make_longest_blob();
    g_autofree char *path = write_file(blob, g_bytes_get_size(blob), 0);
    int i;

    vser_plug(drv->qts, 1, "desc-file", path, "name", "longest", NULL);
    g_unlink(path);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        vser_restart(drv, 2, sizes[i]);
        vser_device_ready(drv);
        vser_expect_add(drv, 1);
        vser_port_ready(drv, 1);
        vser_expect_blob(drv, 1, blob, 0);
        vser_expect_name(drv, 1, "longest");
        vser_expect_nothing(drv);
    }
    vser_unplug(drv->qts, 1);
}

/* A file that QEMU itself can't open */
static void test_fdset(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 4, LARGE);
    g_autoptr(GBytes) blob = vser_make_blob("fdset");
    g_autofree char *path = write_file(blob, g_bytes_get_size(blob), 0);
    int fd = open(path, O_RDONLY);

    g_unlink(path);
    g_assert_cmpint(fd, >=, 0);
    qtest_qmp_fds_assert_success(drv->qts, &fd, 1, "{ 'execute': 'add-fd',"
                                 " 'arguments': { 'fdset-id': 7 } }");
    close(fd);
    vser_plug(drv->qts, 1, "desc-file", "/dev/fdset/7", NULL);
    vser_expect_only_port(drv, &vser_described, 1, "fdset");
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    qtest_qmp_assert_success(drv->qts, "{ 'execute': 'remove-fd',"
                             " 'arguments': { 'fdset-id': 7 } }");
}

static void test_bad_files(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 2, LARGE);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    gsize size = g_bytes_get_size(blob);
    const struct {
        gsize size, extra;
    } bad[] = {
        { 0, 0 },
        { size - 1, 0 },
        { size, 1 },
        { size, VIRTIO_SERIAL_DESC_MAX + 1 - size },
    };
    int i;

    vser_device_ready(drv);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *path = write_file(blob, bad[i].size, bad[i].extra);

        refuse(drv, NULL, "desc-file", path);
        g_unlink(path);
    }
    refuse(drv, NULL, "desc-file", "/nonexistent/blob");
    refuse(drv, NULL, "desc-file", "/dev/fdset/99");
    vser_expect_nothing(drv);
}

/*
 * The connection and the data
 */

/* @arg: whether the port has a descriptor; the data path is the same */
static void test_data(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    VSerHost *host = vser_host_new();
    g_autofree uint8_t *sent = g_malloc(LARGE * 8);
    g_autofree uint8_t *got = g_malloc0(LARGE * 8);
    size_t len;
    int i;

    for (i = 0; i < LARGE * 8; i++) {
        sent[i] = g_test_rand_int();
    }
    if (arg) {
        vser_plug(drv->qts, 1, "chardev", "host", "desc", "1209:0001",
                  "desc-serial", "data", NULL);
    } else {
        vser_plug(drv->qts, 1, "chardev", "host", "name", "data", NULL);
    }
    drv->data_ports = 1 << 1;
    vser_restart(drv, 4, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_port_ready(drv, 1);
    if (arg) {
        vser_expect_described(drv, 1, "data");
    } else {
        vser_expect_name(drv, 1, "data");
    }
    vser_expect_nothing(drv);
    vser_host_connect(host);
    vser_expect_open(drv, 1, true);
    vser_port_open(drv, 1);

    for (i = 0; i < 8; i++) {
        qvser_write(drv, 1, sent + i * LARGE, LARGE);
    }
    len = recv(host->fd, got, LARGE * 8, MSG_WAITALL);
    g_assert_cmpmem(got, len, sent, LARGE * 8);

    memset(got, 0, LARGE * 8);
    g_assert_cmpint(send(host->fd, sent, LARGE * 8, 0), ==, LARGE * 8);
    for (len = 0; len < LARGE * 8; ) {
        len += qvser_read(drv, 1, got + len, MIN(1000, LARGE * 8 - len));
    }
    g_assert_cmpmem(got, len, sent, LARGE * 8);

    vser_host_disconnect(host);
    vser_expect_open(drv, 1, false);
    vser_unplug(drv->qts, 1);
    vser_expect_remove(drv, 1);
    vser_host_free(host);
}

/*
 * Migration
 */

/* Half the blob of one port is told, and the whole blob of another is owed */
static void test_migrate_midway(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    QTestState *to = vser_new_destination(NULL, NULL);
    uint32_t offset;

    vser_plug_described(to, 1, "A");
    vser_plug_described(to, 2, "B");
    offset = start_midway(drv, "A", blob, "B");
    g_assert_true(vser_migrate(drv, to));
    vser_expect_nothing(drv);
    drv->keep = false;
    qvser_give_back(drv);
    vser_expect_blob(drv, 1, blob, offset);
    vser_expect_name(drv, 1, NAME("A"));
    vser_expect_described(drv, 2, "B");
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/* @arg: the serial number at the destination; NULL: no descriptor */
static void test_migrate_refused(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 2, LARGE);
    g_autofree char *log = vser_temp_file();
    QTestState *to = vser_new_destination(NULL, log);

    vser_plug_described(drv->qts, 1, "A");
    if (arg) {
        vser_plug_described(to, 1, arg);
    } else {
        vser_plug(to, 1, "name", "plain", NULL);
    }
    vser_expect_only_port(drv, &vser_described, 1, "A");
    vser_expect_refused(drv, to, log, "port1");
}

/* The guest can't tell a descriptor by name from one by desc=. @arg: a name */
static void test_migrate_named(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 2, LARGE);
    QTestState *to = vser_new_destination(NULL, NULL);
    QTestState *back;

    vser_plug(drv->qts, 1, "name", arg, NULL);
    vser_plug_described(to, 1, "A");
    vser_expect_only_port(drv, &vser_described, 1, "A");
    g_assert_true(vser_migrate(drv, to));
    vser_port_ready(drv, 1);
    vser_expect_described(drv, 1, "A");

    back = vser_new_destination(NULL, NULL);
    vser_plug(back, 1, "name", arg, NULL);
    g_assert_true(vser_migrate(drv, back));
    vser_port_ready(drv, 1);
    vser_expect_described(drv, 1, "A");
    vser_expect_nothing(drv);
    qtest_quit(to);
    qtest_quit(back);
}

/* Another name is another descriptor */
static void test_migrate_named_refused(void *obj, void *arg,
                                       QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 2, LARGE);
    g_autofree char *log = vser_temp_file();
    QTestState *to = vser_new_destination(NULL, log);

    vser_plug(drv->qts, 1, "name", SHORT_NAME("A"), NULL);
    vser_plug(to, 1, "name", arg, NULL);
    vser_expect_only_port(drv, &vser_described, 1, "A");
    vser_expect_refused(drv, to, log, "port1");
}

/*
 * A guest of stock QEMU, with such a name, goes on: @arg is what says that our
 * controller does not offer descriptors
 */
static void test_migrate_stock_named(void *obj, void *arg,
                                     QGuestAllocator *alloc)
{
    static const char *const names[] = { SHORT_NAME("A"), "usb:audio" };
    int i;

    if (vser_skip_without(STOCK_SRC)) {
        return;
    }
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        const char *machine = arg ? "" : OLD_MACHINE;
        g_autofree char *args = g_strdup_printf("%s %s",
            qos_get_current_command_line(), machine);
        g_autofree char *to_args = g_strdup_printf("%s -incoming defer %s",
            args, (const char *)arg ?: "");
        QTestState *from = vser_start_qemu(STOCK_SRC, args);
        QTestState *to = vser_start_qemu(NULL, to_args);
        QVirtioSerial *serial = qos_allocate_objects(from, &alloc);
        g_autoptr(QVSerDriver) drv = qvser_new(from, serial->vdev, alloc);

        vser_plug(from, 1, "name", names[i], NULL);
        vser_plug(to, 1, "name", names[i], NULL);
        vser_restart(drv, 2, LARGE);
        vser_expect_only_port(drv, &vser_plain, 1, names[i]);
        g_assert_true(vser_migrate(drv, to));
        vser_port_ready(drv, 1);
        vser_expect_name(drv, 1, names[i]);
        vser_expect_nothing(drv);
        qtest_quit(from);
        qtest_quit(to);
    }
}

/*
 * The way out when a newer QEMU builds another blob from the same properties:
 * the destination gets the source's blob from a file
 */
static void test_migrate_to_file(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = start(obj, alloc, 2, LARGE);
    g_autoptr(GBytes) blob = vser_make_blob("A");
    g_autofree char *path = write_file(blob, g_bytes_get_size(blob), 0);
    QTestState *to = vser_new_destination(NULL, NULL);

    vser_plug_described(drv->qts, 1, "A");
    vser_plug(to, 1, "desc-file", path, NULL);
    g_unlink(path);
    vser_expect_only_port(drv, &vser_described, 1, "A");
    g_assert_true(vser_migrate(drv, to));
    vser_expect_nothing(drv);
    qtest_quit(to);
}

/* Stock QEMU has no place for the negotiated feature, and says so */
static void test_migrate_stock_refused(void *obj, void *arg,
                                       QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = new_driver(obj, alloc);
    g_autofree char *log = NULL;
    QTestState *to;

    if (vser_skip_without(STOCK_DST)) {
        return;
    }
    log = vser_temp_file();
    to = vser_new_destination(STOCK_DST, log);
    vser_plug_described(drv->qts, 1, "A");
    vser_plug(to, 1, "name", NAME("A"), NULL);
    vser_restart(drv, 2, LARGE);
    vser_expect_only_port(drv, &vser_described, 1, "A");
    vser_expect_refused(drv, to, log, "virtio-console");
}

/*
 * Registration
 */

#define YES ((void *)true)

static const VSerCase cases[] = {
    { "negotiation/refused", test_not_negotiated, YES,
      .ports = DESCRIBED(1, "A") },
    { "negotiation/off", test_not_negotiated,
      .properties = "port-descriptors=off", .ports = DESCRIBED(1, "A"),
      .legacy = true },
    { "negotiation/one-port", test_not_offered, .properties = "max_ports=1" },
    { "negotiation/without-multiport", test_without_multiport,
      .legacy = true },
    { "negotiation/pc-i440fx-9.2", test_old_machine, (void *)"pc-i440fx-9.2",
      .before = use_old_machine, .ports = DESCRIBED(1, "A"),
      .arch = "x86_64" },
    { "negotiation/pc-q35-9.2", test_old_machine, (void *)"pc-q35-9.2",
      .before = use_old_machine, .ports = DESCRIBED(1, "A"),
      .arch = "x86_64" },
    { "negotiation/virt-9.2", test_old_machine, (void *)"virt-9.2",
      .before = use_old_machine, .ports = DESCRIBED(1, "A"),
      .arch = "aarch64" },
    { "negotiation/pseries-9.2", test_old_machine, (void *)"pseries-9.2",
      .before = use_old_machine, .ports = DESCRIBED(1, "A"),
      .arch = "ppc64" },
    { "fragments/sizes", test_fragments, .ports = DESCRIBED(1, "A"),
      .legacy = true },
    { "fragments/mixed", test_mixed_fragments, .ports = DESCRIBED(1, "A") },
    { "fragments/segments", test_segments, .ports = DESCRIBED(1, "A") },
    { "fragments/few-buffers", test_few_buffers, .ports = DESCRIBED(1, "A") },
    { "fragments/ask-again", test_ask_again, .ports = DESCRIBED(1, "A") },
    { "fragments/unplug", test_unplug_midway },
    { "fragments/too-small", test_too_small, .ports = DESCRIBED(1, "A"),
      .legacy = true },
    { "name/taken", test_names },
    { "name/given", test_given_name,
      .ports = DESCRIBED(1, "A") PORT(2, "desc=1209:0002,name=" NAME("A"))
               DESCRIBED(3, "A") },
    { "name/given-off", test_given_name,
      .properties = "port-descriptors=off",
      .ports = DESCRIBED(1, "A") PORT(2, "name=" NAME("A"))
               DESCRIBED(3, "A") },
    { "name/small-buffers", test_small_buffers },
    { "properties/terminal", test_terminal },
    { "properties/qom", test_qom, .ports = DESCRIBED(1, "A") },
    { "properties/options", test_options },
    { "properties/bad", test_bad_properties },
    { "named/short", test_named,
      .ports = PORT(1, "name=" SHORT_NAME("A")), .legacy = true },
    { "named/long", test_named, .ports = PORT(1, "name=" NAME("A")) },
    { "named/short-plugged", test_named, (void *)SHORT_NAME("A") },
    { "named/long-plugged", test_named, (void *)NAME("A") },
    { "named/long-class", test_named_long },
    { "named/console", test_named_console },
    { "named/not", test_named_not },
    { "named/bad", test_named_bad },
    { "named/taken", test_named_taken },
    { "named/beside-desc", test_named_beside_desc },
    { "named/added", test_named_added },
    { "named/off", test_named_off, .properties = "port-descriptors=off" },
    { "named/pc-i440fx-9.2", test_named_old_machine, (void *)"pc-i440fx-9.2",
      .before = use_old_machine, .arch = "x86_64" },
    { "file/path", test_file },
    { "file/fdset", test_fdset },
    { "file/longest", test_longest },
    { "file/bad", test_bad_files },
    { "data/described", test_data, YES },
    { "data/plain", test_data, .legacy = true },
    { "migrate/midway", test_migrate_midway, .legacy = true },
    { "migrate/other-descriptor", test_migrate_refused, (void *)"B" },
    { "migrate/no-descriptor", test_migrate_refused },
    { "migrate/named-short", test_migrate_named, (void *)SHORT_NAME("A") },
    { "migrate/named-long", test_migrate_named, (void *)NAME("A") },
    { "migrate/named-other", test_migrate_named_refused,
      (void *)SHORT_NAME("B") },
    { "migrate/named-plain", test_migrate_named_refused, (void *)"plain" },
    { "migrate/from-stock/named-old", test_migrate_stock_named,
      .arch = "x86_64" },
    { "migrate/from-stock/named-off", test_migrate_stock_named,
      (void *)"-global virtio-serial-device.port-descriptors=off",
      .arch = "x86_64" },
    { "migrate/to-file", test_migrate_to_file },
    { "migrate/to-stock/negotiated", test_migrate_stock_refused,
      .arch = "x86_64" },
};

static void register_virtio_serial_desc_test(void)
{
    vser_add_cases("desc", cases, ARRAY_SIZE(cases));
    vser_add_control_cases("desc-control", &vser_described);
    vser_add_faults_cases("desc-faults", &vser_described);
}

libqos_init(register_virtio_serial_desc_test);
