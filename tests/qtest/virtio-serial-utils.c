/*
 * Helpers of the virtio-serial testcases: what driver, device and user say
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqos/virtio-pci.h"
#include "libqos/virtio-serial.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "virtio-serial-utils.h"

/*
 * Ports with a name
 */

static void plug_plain(QTestState *qts, uint32_t id, const char *who,
                       const char *chardev)
{
    vser_plug(qts, id, "name", who, chardev ? "chardev" : NULL, chardev, NULL);
}

static bool check_plain(const QVSerEvent *ev, const char *who, uint32_t *told)
{
    vser_check_name(ev, who);
    return true;
}

const VSerKind vser_plain = {
    .option = "name=",
    .name = "",
    .plug = plug_plain,
    .check = check_plain,
};

/*
 * What the driver says
 */

QVSerDriver *vser_new_driver(void *obj, QGuestAllocator *alloc,
                             const VSerKind *kind)
{
    QVirtioSerial *serial = obj;
    QVSerDriver *drv = qvser_new(global_qtest, serial->vdev, alloc);

    drv->features |= kind->features;
    return drv;
}

void vser_restart(QVSerDriver *drv, unsigned int count, uint32_t len)
{
    qvser_start(drv);
    qvser_add_buffers(drv, count, len);
}

QVSerDriver *vser_start(void *obj, QGuestAllocator *alloc,
                        const VSerKind *kind, unsigned int count, uint32_t len)
{
    QVSerDriver *drv = vser_new_driver(obj, alloc, kind);

    vser_restart(drv, count, len);
    return drv;
}

void vser_device_ready(QVSerDriver *drv)
{
    qvser_send(drv, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
}

void vser_port_ready(QVSerDriver *drv, uint32_t id)
{
    qvser_send(drv, id, VIRTIO_CONSOLE_PORT_READY, 1);
}

void vser_port_open(QVSerDriver *drv, uint32_t id)
{
    qvser_send(drv, id, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

uint64_t vser_status_register(QVSerDriver *drv)
{
    QVirtioPCIDevice *dev = container_of(drv->vdev, QVirtioPCIDevice, vdev);

    if (!g_str_equal(qtest_get_arch(), "x86_64")) {
        g_test_skip("where registers are in memory is known of a PC's PCI "
                    "devices only");
        return 0;
    }
    return dev->bar.addr + dev->common_cfg_offset +
           offsetof(struct virtio_pci_common_cfg, device_status);
}

/*
 * What the device says
 */

static void expect(QVSerDriver *drv, uint32_t id, uint16_t event,
                   uint16_t value)
{
    QVSerEvent ev;

    qvser_next(drv, &ev);
    g_assert_cmpuint(ev.id, ==, id);
    g_assert_cmpuint(ev.event, ==, event);
    g_assert_cmpuint(ev.value, ==, value);
    g_assert_cmpuint(ev.length, ==, 0);
}

void vser_expect_nothing(QVSerDriver *drv)
{
    QVSerEvent ev;

    qvser_settle(drv);
    g_assert_false(qvser_poll(drv, &ev));
}

void vser_check_name(const QVSerEvent *ev, const char *name)
{
    uint32_t len = MIN(ev->room - sizeof(struct virtio_console_control),
                       strlen(name) + 1);

    g_assert_cmpuint(ev->event, ==, VIRTIO_CONSOLE_PORT_NAME);
    g_assert_cmpuint(ev->value, ==, 1);
    g_assert_cmpmem(ev->payload, ev->length, name, len);
}

void vser_expect_name(QVSerDriver *drv, uint32_t id, const char *name)
{
    QVSerEvent ev;

    qvser_next(drv, &ev);
    g_assert_cmpuint(ev.id, ==, id);
    vser_check_name(&ev, name);
}

void vser_expect_identity(QVSerDriver *drv, const VSerKind *kind, uint32_t id,
                          const char *who)
{
    QVSerEvent ev;
    uint32_t told = 0;

    do {
        qvser_next(drv, &ev);
        g_assert_cmpuint(ev.id, ==, id);
    } while (!kind->check(&ev, who, &told));
}

void vser_expect_add(QVSerDriver *drv, uint32_t id)
{
    expect(drv, id, VIRTIO_CONSOLE_PORT_ADD, 1);
}

void vser_expect_remove(QVSerDriver *drv, uint32_t id)
{
    expect(drv, id, VIRTIO_CONSOLE_PORT_REMOVE, 1);
}

void vser_expect_console(QVSerDriver *drv, uint32_t id)
{
    expect(drv, id, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
}

void vser_expect_open(QVSerDriver *drv, uint32_t id, bool open)
{
    expect(drv, id, VIRTIO_CONSOLE_PORT_OPEN, open);
}

void vser_expect_only_port(QVSerDriver *drv, const VSerKind *kind, uint32_t id,
                           const char *who)
{
    vser_device_ready(drv);
    vser_expect_add(drv, id);
    vser_port_ready(drv, id);
    vser_expect_identity(drv, kind, id, who);
    vser_expect_nothing(drv);
}

void vser_expect_broken(QVSerDriver *drv, const VSerKind *kind)
{
    if (qvser_negotiated(drv, VIRTIO_F_VERSION_1)) {
        qvser_wait_broken(drv);
    }
    qvser_add_buffers(drv, 4, LARGE);
    vser_expect_nothing(drv);

    vser_restart(drv, 4, LARGE);
    vser_expect_only_port(drv, kind, 1, "A");
}

/*
 * What the user does
 */

void vser_plug(QTestState *qts, uint32_t id, ...)
{
    g_autofree char *name = g_strdup_printf("port%u", id);
    QDict *args = qdict_new();
    const char *property;
    va_list ap;

    qdict_put_str(args, "bus", "vser0.0");
    qdict_put_str(args, "id", name);
    qdict_put_int(args, "nr", id);
    va_start(ap, id);
    while ((property = va_arg(ap, const char *))) {
        qdict_put_str(args, property, va_arg(ap, const char *));
    }
    va_end(ap);
    qtest_qmp_device_add_qdict(qts, "virtserialport", args);
    qobject_unref(args);
}

void vser_unplug(QTestState *qts, uint32_t id)
{
    g_autofree char *name = g_strdup_printf("port%u", id);

    qtest_qmp_device_del(qts, name);
}

/*
 * The other end of a port
 */

VSerHost *vser_host_new(void)
{
    VSerHost *host = g_new0(VSerHost, 1);

    host->dir = g_dir_make_tmp("virtio-serial-test-XXXXXX", NULL);
    g_assert_nonnull(host->dir);
    host->path = g_build_filename(host->dir, "host", NULL);
    host->fd = -1;
    qtest_qmp_assert_success(global_qtest,
                             "{ 'execute': 'chardev-add', 'arguments': {"
                             " 'id': 'host', 'backend': { 'type': 'socket',"
                             " 'data': { 'server': true, 'wait': false,"
                             " 'addr': { 'type': 'unix', 'data': {"
                             " 'path': %s } } } } } }", host->path);
    return host;
}

/* Whether QEMU has noticed that the host side is there */
static bool host_is_connected(void)
{
    QDict *response = qmp("{ 'execute': 'query-chardev' }");
    const QListEntry *entry;
    bool connected = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        QDict *chardev = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(chardev, "label"), "host")) {
            connected = !g_str_has_prefix(qdict_get_str(chardev, "filename"),
                                          "disconnected:");
        }
    }
    qobject_unref(response);
    return connected;
}

static void host_wait(bool connected)
{
    gint64 start = g_get_monotonic_time();

    while (host_is_connected() != connected) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
}

void vser_host_connect(VSerHost *host)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_assert_cmpint(strlen(host->path), <, sizeof(addr.sun_path));
    pstrcpy(addr.sun_path, sizeof(addr.sun_path), host->path);
    host->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(host->fd, >=, 0);
    g_assert_cmpint(connect(host->fd, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
    host_wait(true);
}

void vser_host_disconnect(VSerHost *host)
{
    close(host->fd);
    host->fd = -1;
    host_wait(false);
}

void vser_host_free(VSerHost *host)
{
    if (host->fd >= 0) {
        vser_host_disconnect(host);
    }
    qtest_qmp_assert_success(global_qtest,
                             "{ 'execute': 'chardev-remove', 'arguments': {"
                             " 'id': 'host' } }");
    vser_host_forget(host);
}

void vser_host_forget(VSerHost *host)
{
    if (host->fd >= 0) {
        close(host->fd);
    }
    g_unlink(host->path);
    g_rmdir(host->dir);
    g_free(host->path);
    g_free(host->dir);
    g_free(host);
}

/*
 * Migration
 */

char *vser_migration_status(QTestState *qts)
{
    QDict *info = qtest_qmp_assert_success_ref(
        qts, "{ 'execute': 'query-migrate' }");
    char *status = g_strdup(qdict_get_try_str(info, "status") ?: "none");

    qobject_unref(info);
    return status;
}

bool vser_migration_succeeded(QTestState *qts)
{
    gint64 start = g_get_monotonic_time();

    while (true) {
        g_autofree char *status = vser_migration_status(qts);

        if (g_str_equal(status, "completed") ||
            g_str_equal(status, "failed")) {
            return g_str_equal(status, "completed");
        }
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
}

bool vser_skip_without(const char *var)
{
    if (getenv(var)) {
        return false;
    }
    g_test_skip("no QEMU without the changes that are tested: set " STOCK_SRC
                " and " STOCK_DST);
    return true;
}

/* The function of libqtest for that has another name in each version */
QTestState *vser_start_qemu(const char *var, const char *args)
{
    g_autofree char *ours = g_strdup(getenv("QTEST_QEMU_BINARY"));
    QTestState *qts;

    g_setenv("QTEST_QEMU_BINARY", var ? getenv(var) : ours, true);
    qts = qtest_init(args);
    g_setenv("QTEST_QEMU_BINARY", ours, true);
    return qts;
}

QTestState *vser_new_destination(const char *var, const char *log)
{
    g_autofree char *args = g_strdup_printf("%s -incoming defer %s%s",
                                            qos_get_current_command_line(),
                                            log ? "2>" : "", log ?: "");

    return vser_start_qemu(var, args);
}

char *vser_temp_file(void)
{
    char *path;
    int fd = g_file_open_tmp("virtio-serial-test-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return path;
}

void vser_migrate_out(QTestState *from, const char *uri)
{
    qtest_qmp_assert_success(from, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s } }", uri);
    /* The source is of no use to other cases */
    qos_invalidate_command_line();
}

void vser_migrate_in(QTestState *to, const char *uri)
{
    qtest_qmp_assert_success(to, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s,"
                             " 'exit-on-error': false } }", uri);
}

void vser_go_on(QVSerDriver *drv, QTestState *to, QVirtioSerial *serial,
                QGuestAllocator *alloc)
{
    /* virtio-serial-bus.c has a timer for after migration */
    qtest_clock_step(to, 1000 * 1000);
    qvser_migrated(drv, to, serial->vdev, alloc);
}

bool vser_arrive(QVSerDriver *drv, QTestState *to, QVirtioSerial *serial,
                   QGuestAllocator *alloc)
{
    if (!vser_migration_succeeded(to)) {
        return false;
    }
    qtest_qmp_eventwait(to, "RESUME");
    vser_go_on(drv, to, serial, alloc);
    return true;
}

bool vser_migrate(QVSerDriver *drv, QTestState *to)
{
    QGuestAllocator *alloc;
    QVirtioSerial *serial = qos_allocate_objects(to, &alloc);
    g_autofree char *path = vser_temp_file();
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    bool taken;

    vser_migrate_out(drv->qts, uri);
    g_assert_true(vser_migration_succeeded(drv->qts));
    vser_migrate_in(to, uri);
    taken = vser_arrive(drv, to, serial, alloc);
    g_unlink(path);
    return taken;
}

unsigned int vser_count_words(const char *log, const char *words)
{
    g_autofree char *text = NULL;
    unsigned int count = 0;
    char *p;

    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    for (p = text; (p = strstr(p, words)); p++) {
        count++;
    }
    return count;
}

void vser_expect_last_words(QTestState *to, const char *log, const char *why)
{
    g_autofree char *messages = NULL;

    qtest_quit(to);
    g_assert_true(g_file_get_contents(log, &messages, NULL, NULL));
    g_test_message("%s", messages);
    g_assert_nonnull(strstr(messages, why));
    g_unlink(log);
}

void vser_expect_refused(QVSerDriver *drv, QTestState *to, const char *log,
                         const char *why)
{
    g_assert_false(vser_migrate(drv, to));
    vser_expect_last_words(to, log, why);
}

bool vser_stream_is_taken(const char *stream, size_t size, uint32_t id,
                          const char *why)
{
    g_autofree char *path = vser_temp_file(), *log = vser_temp_file();
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    QTestState *to = vser_new_destination(NULL, log);
    bool taken;

    vser_plug(to, id, NULL);
    g_assert_true(g_file_set_contents(path, stream, size, NULL));
    vser_migrate_in(to, uri);
    taken = vser_migration_succeeded(to);
    vser_expect_last_words(to, log, taken ? "" : why);
    g_unlink(path);
    return taken;
}

/*
 * Registration
 */

/* virtio-mmio, as libqos drives it, is legacy always */
#define LEGACY_PCI  "-global virtio-serial-pci.disable-modern=on "

static void add_case(const char *group, const VSerCase *c, bool legacy)
{
    g_autofree char *name = g_strdup_printf("%s%s/%s", group,
                                            legacy ? "-legacy" : "", c->name);
    g_autofree char *more = g_strconcat(legacy ? LEGACY_PCI : "", c->ports,
                                        NULL);
    QOSGraphTestOptions opts = {
        .edge.extra_device_opts = c->properties,
        .edge.after_cmd_line = more,
        .before = c->before,
        .arg = c->arg,
    };

    qos_add_test(name, "virtio-serial", c->run, &opts);
}

void vser_add_cases(const char *group, const VSerCase *cases, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (cases[i].arch && !g_str_equal(cases[i].arch, qtest_get_arch())) {
            continue;
        }
        add_case(group, &cases[i], false);
        if (cases[i].legacy) {
            add_case(group, &cases[i], true);
        }
    }
}

void vser_add_kind_cases(const char *group, const VSerKind *kind,
                         const VSerCase *cases, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        g_auto(GStrv) parts = g_strsplit(cases[i].ports ?: "", "$", -1);
        g_autofree char *ports = g_strjoinv(kind->option, parts);
        VSerCase c = cases[i];

        c.arg = (void *)kind;
        c.ports = ports;
        vser_add_cases(group, &c, 1);
    }
}
