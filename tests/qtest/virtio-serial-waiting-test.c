/*
 * QTest testcase for virtio-serial: a buffer waits, as the host does not read
 *
 * The driver has a control queue and the output queue of one port. The host is
 * a pipe that nobody reads.
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
#include "qobject/qdict.h"
#include "libqos/virtio-serial.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_console.h"
#include "standard-headers/linux/virtio_ring.h"

#define TIMEOUT_US  (60 * 1000 * 1000)

/* More than a pipe takes */
#define SIZE        (1024 * 1024)

/* Of the driver's messages, and of port 1's bytes */
#define CONTROL_QUEUE   3
#define PORT_QUEUE      5

/* Two of each port, and two for control; there are 31 ports */
#define NR_QUEUES           64

/* The longest queue that virtio allows */
#define LONGEST_QUEUE       1024

/* VirtQueueElementOld in QEMU's hw/virtio/virtio.c, as far as it matters */
typedef struct Element {
    unsigned int index, out_num, in_num;
    uint64_t in_addr[1024], out_addr[1024];
} Element;

static char *dir, *options;

static void remove_pipe(void *opaque)
{
    g_autofree char *in = g_strconcat(dir, "/pipe.in", NULL);
    g_autofree char *out = g_strconcat(dir, "/pipe.out", NULL);

    g_unlink(in);
    g_unlink(out);
    g_rmdir(dir);
    g_free(dir);
    g_free(options);
}

/* The same pipe is there for a second QEMU */
static void *add_port(GString *cmd_line, void *arg)
{
    g_autofree char *in = NULL, *out = NULL;

    dir = g_dir_make_tmp("virtio-serial-waiting-XXXXXX", NULL);
    g_assert_nonnull(dir);
    in = g_strconcat(dir, "/pipe.in", NULL);
    out = g_strconcat(dir, "/pipe.out", NULL);
    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    g_test_queue_destroy(remove_pipe, NULL);
    options = g_strdup_printf(" -chardev pipe,id=host,path=%s/pipe -device "
                              "virtserialport,bus=vser0.0,nr=1,chardev=host ",
                              dir);
    g_string_append(cmd_line, options);
    return arg;
}

typedef struct Waiting {
    QVirtioDevice *dev;
    QVirtQueue *control, *port;
    uint64_t buffer;
    uint32_t head;
} Waiting;

/* Have the guest open the port and send SIZE bytes, which are too many */
static void send_too_much(Waiting *w, QVirtioSerial *serial,
                          QGuestAllocator *alloc)
{
    const struct virtio_console_control open = {
        .id = cpu_to_le32(1),
        .event = cpu_to_le16(VIRTIO_CONSOLE_PORT_OPEN),
        .value = cpu_to_le16(1),
    };
    uint64_t features, message = guest_alloc(alloc, sizeof(open));
    uint32_t head;

    w->dev = serial->vdev;
    qvirtio_start_device(w->dev);
    features = qvirtio_get_features(w->dev);
    g_assert_true(features & 1ull << VIRTIO_CONSOLE_F_MULTIPORT);
    qvirtio_set_features(w->dev, features & ~(QVIRTIO_F_BAD_FEATURE |
                                              1ull << VIRTIO_RING_F_EVENT_IDX));
    w->control = qvirtqueue_setup(w->dev, alloc, CONTROL_QUEUE);
    w->port = qvirtqueue_setup(w->dev, alloc, PORT_QUEUE);
    qvirtio_set_driver_ok(w->dev);

    qtest_memwrite(global_qtest, message, &open, sizeof(open));
    head = qvirtqueue_add(global_qtest, w->control, message, sizeof(open),
                          false, false);
    qvirtqueue_kick(global_qtest, w->dev, w->control, head);
    qvirtio_wait_used_elem(global_qtest, w->dev, w->control, head, NULL,
                           TIMEOUT_US);

    w->buffer = guest_alloc(alloc, SIZE);
    w->head = qvirtqueue_add(global_qtest, w->port, w->buffer, SIZE, false,
                             false);
    qvirtqueue_kick(global_qtest, w->dev, w->port, w->head);
}

static void cleanup(Waiting *w, QGuestAllocator *alloc)
{
    qvirtqueue_cleanup(w->dev->bus, w->control, alloc);
    qvirtqueue_cleanup(w->dev->bus, w->port, alloc);
}

/* A ringbuf has no watch that the port could wait for; it takes all at once */
static void test_change(void *obj, void *arg, QGuestAllocator *alloc)
{
    Waiting w;

    send_too_much(&w, obj, alloc);
    qtest_qmp_assert_success(global_qtest, "{ 'execute': 'chardev-change',"
                             " 'arguments': { 'id': 'host', 'backend': {"
                             " 'type': 'ringbuf', 'data': { 'size': %u } } } }",
                             SIZE);
    qvirtio_wait_used_elem(global_qtest, w.dev, w.port, w.head, NULL,
                           TIMEOUT_US);
    cleanup(&w, alloc);
    qos_invalidate_command_line();
}

/* Wait for the end of a migration. Returns: whether it was completed */
static bool migration_succeeded(QTestState *qts)
{
    gint64 start = g_get_monotonic_time();

    while (true) {
        QDict *response = qtest_qmp_assert_success_ref(qts,
                              "{ 'execute': 'query-migrate' }");
        g_autofree char *status = g_strdup(qdict_get_try_str(response,
                                                             "status"));

        qobject_unref(response);
        if (!g_strcmp0(status, "completed") || !g_strcmp0(status, "failed")) {
            return status[0] == 'c';
        }
        g_assert_cmpint(g_get_monotonic_time() - start, <, TIMEOUT_US);
        g_usleep(1000);
    }
}

/* The stream of a machine with a buffer that waits, at w->buffer */
static char *save(Waiting *w, QVirtioSerial *serial, QGuestAllocator *alloc,
                  const char *path, gsize *size)
{
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    char *stream;

    send_too_much(w, serial, alloc);
    qtest_qmp_assert_success(global_qtest, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(global_qtest, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s } }", uri);
    g_assert_true(migration_succeeded(global_qtest));
    g_assert_true(g_file_get_contents(path, &stream, size, NULL));
    return stream;
}

/* A new QEMU refuses the stream, says @why, and goes on */
static void expect_refused(const char *stream, gsize size, const char *path,
                           const char *why)
{
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    g_autofree char *log = NULL, *args = NULL, *said = NULL;
    QTestState *to;
    int fd = g_file_open_tmp("virtio-serial-waiting-XXXXXX", &log, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(path, stream, size, NULL));
    args = g_strdup_printf("%s%s-incoming defer 2>%s",
                           qos_get_current_command_line(), options, log);
    to = qtest_init(args);
    qtest_qmp_assert_success(to, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s,"
                             " 'exit-on-error': false } }", uri);
    g_assert_false(migration_succeeded(to));
    qtest_quit(to);
    g_assert_true(g_file_get_contents(log, &said, NULL, NULL));
    g_unlink(log);
    g_test_message("%s", said);
    g_assert_nonnull(strstr(said, why));
}

static void test_long_config(void *obj, void *arg, QGuestAllocator *alloc)
{
    const gsize len = sizeof(struct virtio_console_config);
    g_autofree char *path = NULL, *stream = NULL;
    gsize size, i;
    Waiting w;

    path = g_strconcat(dir, "/stream", NULL);
    stream = save(&w, obj, alloc, path, &size);
    /* Its length, the configuration, how many queues; memory comes before */
    for (i = size - 8 - len; i > 0; i--) {
        if (ldl_be_p(stream + i) == len &&
            ldl_be_p(stream + i + 4 + len) == NR_QUEUES) {
            break;
        }
    }
    g_assert_cmpuint(i, >, 0);
    stl_be_p(stream + i, UINT32_MAX);
    expect_refused(stream, size, path,
                   "Invalid configuration length: 0xffffffff");
    g_unlink(path);
    cleanup(&w, alloc);
    qos_invalidate_command_line();
}

/* A stream with the buffer that waits, which is at @element */
static char *save_element(Waiting *w, QVirtioSerial *serial,
                          QGuestAllocator *alloc, const char *path,
                          gsize *size, char **element)
{
    char *stream = save(w, serial, alloc, path, size);
    Element found;
    gsize i;

    for (i = *size - sizeof(found); i > 0; i--) {
        memcpy(&found, stream + i, sizeof(found));
        if (found.index == w->head && found.out_num == 1 &&
            found.in_num == 0 && found.out_addr[0] == w->buffer) {
            break;
        }
    }
    g_assert_cmpuint(i, >, 0);
    *element = stream + i;
    return stream;
}

static void test_long_buffer(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *path = NULL, *stream = NULL;
    Element element;
    char *place;
    gsize size;
    Waiting w;

    path = g_strconcat(dir, "/stream", NULL);
    stream = save_element(&w, obj, alloc, path, &size, &place);
    memcpy(&element, place, sizeof(element));
    element.out_num = ARRAY_SIZE(element.out_addr) + 1;
    memcpy(place, &element, sizeof(element));
    expect_refused(stream, size, path,
                   "a buffer in the stream has 1025 and 0 segments");
    g_unlink(path);
    cleanup(&w, alloc);
    qos_invalidate_command_line();
}

/* The source was at a place that the buffer does not have */
static void test_bad_place(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const struct {
        uint32_t segment;
        uint64_t offset;
    } bad[] = {
        { 1, 0 },
        { UINT32_MAX, 0 },
        { 0, SIZE + 1 },
        { 0, UINT64_MAX },
    };
    g_autofree char *path = NULL, *stream = NULL;
    char *element;
    gsize size;
    Waiting w;
    int i;

    path = g_strconcat(dir, "/stream", NULL);
    stream = save_element(&w, obj, alloc, path, &size, &element);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        stl_be_p(element - 12, bad[i].segment);
        stq_be_p(element - 8, bad[i].offset);
        expect_refused(stream, size, path, "port 1: its buffer has no byte");
    }
    g_unlink(path);
    cleanup(&w, alloc);
    qos_invalidate_command_line();
}

/* A queue is longer than a driver can make one, or has no length */
static void test_bad_queue(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *path = NULL, *stream = NULL;
    gsize size, i;
    Waiting w;

    path = g_strconcat(dir, "/stream", NULL);
    stream = save(&w, obj, alloc, path, &size);
    /* Its size and its address; memory comes before */
    for (i = size - 12; i > 0; i--) {
        if (ldl_be_p(stream + i) == w.port->size &&
            ldq_be_p(stream + i + 4) == w.port->desc) {
            break;
        }
    }
    g_assert_cmpuint(i, >, 0);
    stl_be_p(stream + i, LONGEST_QUEUE + 1);
    expect_refused(stream, size, path, "size 0x401 is 0 or is more than 0x400");
    stl_be_p(stream + i, 0);
    expect_refused(stream, size, path, "size 0x0 is 0 or is more than 0x400");
    g_unlink(path);
    cleanup(&w, alloc);
    qos_invalidate_command_line();
}

static void register_virtio_serial_waiting_test(void)
{
    QOSGraphTestOptions opts = { .before = add_port };

    qos_add_test("waiting/change", "virtio-serial", test_change, &opts);
    qos_add_test("waiting/long-config", "virtio-serial", test_long_config,
                 &opts);
    qos_add_test("waiting/long-buffer", "virtio-serial", test_long_buffer,
                 &opts);
    qos_add_test("waiting/bad-place", "virtio-serial", test_bad_place, &opts);
    /* The stream of virtio-mmio has more than the address of a queue */
    if (g_str_equal(qtest_get_arch(), "x86_64")) {
        qos_add_test("waiting/bad-queue", "virtio-serial", test_bad_queue,
                     &opts);
    }
}

libqos_init(register_virtio_serial_waiting_test);
