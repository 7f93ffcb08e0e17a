/*
 * QTest testcase for virtio-serial: which machine types have descriptors
 *
 * A machine type has one set of features, whichever QEMU it runs in: a guest
 * finds what it knows where it is started again, or migrates to.
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
#include "qobject/qlist.h"
#include "libqos/virtio-serial.h"
#include "virtio-serial-desc-utils.h"

/* The newest version of machine types without descriptors, as in 9.2 */
#define OFF         "VIRTIO_SERIAL_DESC_OFF"

/*
 * Other QEMUs, with and without descriptors, in a list as PATH is one; and the
 * one of them whose turn it is
 */
#define OTHERS      "VIRTIO_SERIAL_OTHER_QEMUS"
#define OTHER       "VIRTIO_SERIAL_OTHER_QEMU"

/*
 * Machine types
 */

/* The version at the end of a machine type's name, 0 if there is none */
static unsigned int version_of(const char *name)
{
    const char *dash = strrchr(name, '-');
    unsigned int major, minor;
    int len = 0;

    if (!dash || sscanf(dash, "-%u.%u%n", &major, &minor, &len) != 2 ||
        dash[len]) {
        return 0;
    }
    return major * 100 + minor;
}

static QDict *query_machines(QTestState *qts)
{
    return qtest_qmp(qts, "{ 'execute': 'query-machines',"
                     " 'arguments': { 'compat-props': true } }");
}

#define FOREACH_MACHINE(entry, machines) \
    QLIST_FOREACH_ENTRY(qdict_get_qlist(machines, "return"), entry)

static bool has_machine(QDict *machines, const char *name)
{
    const QListEntry *entry;

    FOREACH_MACHINE(entry, machines) {
        QDict *machine = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(machine, "name"), name)) {
            return true;
        }
    }
    return false;
}

/* Does the machine type turn descriptors off? */
static bool turns_off(QDict *machine)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(machine, "compat-props"), entry) {
        QDict *prop = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(prop, "property"), "port-descriptors")) {
            g_assert_cmpstr(qdict_get_str(prop, "qom-type"), ==,
                            "virtio-serial-device");
            g_assert_cmpstr(qdict_get_str(prop, "value"), ==, "off");
            return true;
        }
    }
    return false;
}

/* On since a version, in all types that have a version */
static void test_since(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *off = g_strconcat("-", getenv(OFF), NULL);
    const QListEntry *entry;
    QDict *machines;
    unsigned int count[2] = { 0 };

    if (!version_of(off)) {
        g_test_skip("not known up to which version types lack descriptors: "
                    "set " OFF);
        return;
    }
    machines = query_machines(global_qtest);
    FOREACH_MACHINE(entry, machines) {
        QDict *machine = qobject_to(QDict, qlist_entry_obj(entry));
        const char *name = qdict_get_str(machine, "name");
        unsigned int version = version_of(name);

        if (version) {
            g_test_message("%s", name);
            g_assert_cmpint(turns_off(machine), ==,
                            version <= version_of(off));
            count[turns_off(machine)]++;
        }
    }
    g_assert_cmpuint(count[false], >, 0);
    g_assert_cmpuint(count[true], >, 0);
    qobject_unref(machines);
}

/*
 * Two QEMUs
 */

/* The controller's property, where it has one: stock QEMU's has none */
static QDict *get_property(QTestState *qts)
{
    return qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                     " 'path': '/machine/peripheral/vser0/virtio-backend',"
                     " 'property': 'port-descriptors' } }");
}

static bool has_descriptors(QTestState *qts)
{
    QDict *response = get_property(qts);
    bool has = qdict_haskey(response, "return");

    qobject_unref(response);
    return has;
}

static bool offers(QTestState *qts)
{
    QDict *response = get_property(qts);
    bool on = qdict_get_try_bool(response, "return", false);

    qobject_unref(response);
    return on;
}

/* Port 1, "A", as far as that QEMU can have it */
static void plug(QTestState *qts)
{
    if (has_descriptors(qts)) {
        vser_plug_described(qts, 1, "A");
    } else {
        vser_plug(qts, 1, "name", NAME("A"), NULL);
    }
}

/*
 * The machine type @name in the QEMU that @var names, NULL: this one. One of
 * the two may be built without the devices that a machine has by default.
 */
static QTestState *start(const char *var, const char *name, const char *more)
{
    g_autofree char *args = g_strdup_printf("%s -nodefaults "
                                            "-machine type=%s %s",
                                            qos_get_current_command_line(),
                                            name, more);
    QTestState *qts = vser_start_qemu(var, args);

    plug(qts);
    return qts;
}

/* A guest is started with machine type @name, and then migrates */
static void move(const char *name, const char *from_var, const char *to_var)
{
    g_autofree char *log = vser_temp_file();
    g_autofree char *incoming = g_strconcat("-incoming defer 2>", log, NULL);
    QTestState *from = start(from_var, name, "");
    QTestState *to = start(to_var, name, incoming);
    QGuestAllocator *alloc;
    QVirtioSerial *serial = qos_allocate_objects(from, &alloc);
    g_autoptr(QVSerDriver) drv = qvser_new(from, serial->vdev, alloc);
    bool takes = offers(from);
    const VSerKind *kind = takes ? &vser_described : &vser_plain;
    const char *who = takes ? "A" : NAME("A");

    g_test_message("%s from %s to %s", name, from_var ? "other" : "this",
                   to_var ? "other" : "this");
    if (has_descriptors(from) && has_descriptors(to)) {
        g_assert_cmpint(takes, ==, offers(to));
    }
    drv->features |= PORT_DESC;
    vser_restart(drv, 4, LARGE);
    g_assert_cmpint(qvser_negotiated(drv, VIRTIO_CONSOLE_F_PORT_DESC), ==,
                    takes);
    vser_expect_only_port(drv, kind, 1, who);

    if (takes && !offers(to)) {
        /* Stock QEMU has no place for the state, and does not get further */
        vser_expect_refused(drv, to, log, has_descriptors(to) ?
                            "Features 0x" : "virtio-console");
    } else {
        g_assert_true(vser_migrate(drv, to));
        vser_port_ready(drv, 1);
        vser_expect_identity(drv, kind, 1, who);
        vser_expect_nothing(drv);
        qtest_quit(to);
        g_unlink(log);
    }
    qtest_quit(from);
}

/* The oldest type, and all from the last one on that has no descriptors */
static bool is_of_interest(unsigned int version, unsigned int oldest)
{
    return version && (version == oldest || version >= 902 || g_test_slow());
}

/* Types of @machines for the PC that libqos knows, that this QEMU has too */
static GPtrArray *common_types(QDict *machines)
{
    GPtrArray *types = g_ptr_array_new_with_free_func(g_free);
    QDict *here = query_machines(global_qtest);
    const QListEntry *entry;
    unsigned int oldest = UINT_MAX;
    int i;

    FOREACH_MACHINE(entry, machines) {
        const char *name = qdict_get_str(qobject_to(QDict,
                                                    qlist_entry_obj(entry)),
                                         "name");

        if (g_str_has_prefix(name, "pc-i440fx-") && has_machine(here, name)) {
            g_ptr_array_add(types, g_strdup(name));
            oldest = MIN(oldest, version_of(name));
        }
    }
    for (i = types->len - 1; i >= 0; i--) {
        if (!is_of_interest(version_of(types->pdata[i]), oldest)) {
            g_ptr_array_remove_index(types, i);
        }
    }
    qobject_unref(here);
    return types;
}

static void test_between(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_auto(GStrv) others = g_strsplit(getenv(OTHERS) ?: "",
                                      G_SEARCHPATH_SEPARATOR_S, -1);
    int i, j;

    if (!others[0]) {
        g_test_skip("no other QEMU: set " OTHERS);
        return;
    }
    for (i = 0; others[i]; i++) {
        g_autoptr(GPtrArray) types = NULL;
        QTestState *qts;
        QDict *machines;

        g_test_message("other: %s", others[i]);
        g_setenv(OTHER, others[i], true);
        qts = vser_start_qemu(OTHER, "-machine none");
        machines = query_machines(qts);
        types = common_types(machines);
        g_assert_cmpuint(types->len, >, 0);
        for (j = 0; j < types->len; j++) {
            move(types->pdata[j], NULL, OTHER);
            move(types->pdata[j], OTHER, NULL);
        }
        qobject_unref(machines);
        qtest_quit(qts);
    }
}

/*
 * What the user says is heeded, whatever the type: so a guest gets to a QEMU
 * where its type has no descriptors by itself, and to none that says "off"
 */
static void test_property(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const char *const values[] = { "on", "off" };
    int i;

    for (i = 0; i < ARRAY_SIZE(values); i++) {
        g_autofree char *log = vser_temp_file();
        g_autofree char *args = g_strdup_printf(
            "%s -incoming defer"
            " -global virtio-serial-device.port-descriptors=%s 2>%s",
            qos_get_current_command_line(), values[i], log);
        QTestState *from = vser_start_qemu(NULL,
                                           qos_get_current_command_line());
        QTestState *to = vser_start_qemu(NULL, args);
        QVirtioSerial *serial = qos_allocate_objects(from, &alloc);
        g_autoptr(QVSerDriver) drv = qvser_new(from, serial->vdev, alloc);

        vser_plug_described(from, 1, "A");
        vser_plug_described(to, 1, "A");
        drv->features |= PORT_DESC;
        vser_restart(drv, 4, LARGE);
        vser_expect_only_port(drv, &vser_described, 1, "A");
        if (i) {
            vser_expect_refused(drv, to, log, "Features 0x");
        } else {
            g_assert_true(vser_migrate(drv, to));
            vser_expect_nothing(drv);
            qtest_quit(to);
            g_unlink(log);
        }
        qtest_quit(from);
    }
}

static const VSerCase cases[] = {
    { "since", test_since },
    { "between", test_between, .arch = "x86_64" },
    { "property", test_property },
};

static void register_virtio_serial_machine_test(void)
{
    vser_add_cases("machine", cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_serial_machine_test);
