/*
 * QTest testcase for virtio-serial: query-stats
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest-single.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "libqos/virtio-serial.h"
#include "virtio-serial-utils.h"

/* What goes to the host, and what comes from it */
#define SENT    "0123456789"
#define CAME    "abc"

static const char *const names[] = {
    "bytes-to-guest", "bytes-to-host", "bytes-copied",
};

/* Returns: the statistics of ports, of the provider and names in @providers */
static QList *query(const char *providers)
{
    QDict *response = qtest_qmp(global_qtest, "{ 'execute': 'query-stats',"
                                " 'arguments': { 'target': 'virtio-serial',"
                                " 'providers': %p } }",
                                qobject_from_json(providers, &error_abort));
    QList *results = qdict_get_qlist(response, "return");

    g_assert_nonnull(results);
    qobject_ref(results);
    qobject_unref(response);
    return results;
}

/* Take the next of @results, which is of port @id; returns its statistics */
static QList *pop_port(QList *results, uint32_t id)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/port%u", id);
    QDict *result = qobject_to(QDict, qlist_pop(results));
    QList *stats;

    g_assert_nonnull(result);
    g_assert_cmpstr(qdict_get_str(result, "provider"), ==, "virtio-serial");
    g_assert_cmpstr(qdict_get_str(result, "qom-path"), ==, path);
    stats = qdict_get_qlist(result, "stats");
    qobject_ref(stats);
    qobject_unref(result);
    return stats;
}

static void expect_next(QList *stats, const char *name, uint64_t value)
{
    QDict *next = qobject_to(QDict, qlist_pop(stats));

    g_assert_nonnull(next);
    g_assert_cmpstr(qdict_get_str(next, "name"), ==, name);
    g_assert_cmpuint(qdict_get_int(next, "value"), ==, value);
    qobject_unref(next);
}

/* Take the statistics of port @id from @results: all that there are */
static void expect_port(QList *results, uint32_t id, uint64_t to_guest,
                        uint64_t to_host)
{
    QList *stats = pop_port(results, id);

    expect_next(stats, "bytes-to-guest", to_guest);
    expect_next(stats, "bytes-to-host", to_host);
    expect_next(stats, "bytes-copied", 0);
    g_assert_true(qlist_empty(stats));
    qobject_unref(stats);
}

static void expect_end(QList *results)
{
    g_assert_true(qlist_empty(results));
    qobject_unref(results);
}

/* A controller without a port has no statistics */
static void test_none(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *said = qtest_hmp(global_qtest, "info stats virtio-serial");

    expect_end(query("[ { 'provider': 'virtio-serial' } ]"));
    g_assert_cmpstr(said, ==, "");
}

/* Each port has its own numbers, as its properties have them */
static void test_ports(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(QVSerDriver) drv = vser_new_driver(obj, alloc, &vser_plain);
    g_autofree char *said = NULL, *one = NULL;
    VSerHost *host = vser_host_new();
    char got[sizeof(SENT)];
    QList *results, *stats;

    vser_plug(drv->qts, 1, "chardev", "host", "name", "A", NULL);
    vser_plug(drv->qts, 2, "name", "B", NULL);
    drv->data_ports = 1 << 1;
    vser_restart(drv, 8, LARGE);
    vser_device_ready(drv);
    vser_expect_add(drv, 1);
    vser_expect_add(drv, 2);
    vser_port_ready(drv, 1);
    vser_expect_name(drv, 1, "A");
    vser_host_connect(host);
    vser_expect_open(drv, 1, true);
    vser_port_open(drv, 1);
    qvser_write(drv, 1, SENT, strlen(SENT));
    g_assert_cmpint(recv(host->fd, got, strlen(SENT), MSG_WAITALL), ==,
                    strlen(SENT));
    g_assert_cmpint(send(host->fd, CAME, strlen(CAME), 0), ==, strlen(CAME));
    g_assert_cmpuint(qvser_read(drv, 1, got, sizeof(got)), ==, strlen(CAME));

    results = query("[ { 'provider': 'virtio-serial' } ]");
    expect_port(results, 1, strlen(CAME), strlen(SENT));
    expect_port(results, 2, 0, 0);
    expect_end(results);

    results = query("[ { 'provider': 'virtio-serial',"
                    "    'names': [ 'bytes-to-host', 'other' ] } ]");
    stats = pop_port(results, 1);
    expect_next(stats, "bytes-to-host", strlen(SENT));
    expect_end(stats);
    stats = pop_port(results, 2);
    expect_next(stats, "bytes-to-host", 0);
    expect_end(stats);
    expect_end(results);
    expect_end(query("[ { 'provider': 'virtio-serial', 'names': [ 'x' ] } ]"));
    expect_end(query("[ { 'provider': 'virtio-serial', 'names': [] } ]"));
    expect_end(query("[ { 'provider': 'cryptodev' } ]"));

    /* The user's view, of all statistics and of one */
    said = qtest_hmp(drv->qts, "info stats virtio-serial");
    g_assert_cmpstr(said, ==,
                    "provider: virtio-serial\r\n"
                    "port: /machine/peripheral/port1\r\n"
                    "    bytes-to-guest (cumulative, B): 3\r\n"
                    "    bytes-to-host (cumulative, B): 10\r\n"
                    "    bytes-copied (cumulative, B): 0\r\n"
                    "provider: virtio-serial\r\n"
                    "port: /machine/peripheral/port2\r\n"
                    "    bytes-to-guest (cumulative, B): 0\r\n"
                    "    bytes-to-host (cumulative, B): 0\r\n"
                    "    bytes-copied (cumulative, B): 0\r\n");
    vser_unplug(drv->qts, 2);
    one = qtest_hmp(drv->qts,
                    "info stats virtio-serial bytes-to-host virtio-serial");
    g_assert_cmpstr(one, ==,
                    "port: /machine/peripheral/port1\r\n"
                    "    bytes-to-host (cumulative, B): 10\r\n");

    /* A port that has gone has no statistics, and a new port begins at 0 */
    vser_unplug(drv->qts, 1);
    vser_host_disconnect(host);
    vser_plug(drv->qts, 1, "chardev", "host", "name", "A", NULL);
    results = query("[ { 'provider': 'virtio-serial' } ]");
    expect_port(results, 1, 0, 0);
    expect_end(results);
    vser_unplug(drv->qts, 1);
    vser_host_free(host);
}

/* The schema has what the statistics have, in the same order */
static void test_schema(void *obj, void *arg, QGuestAllocator *alloc)
{
    QDict *response = qtest_qmp(global_qtest,
                                "{ 'execute': 'query-stats-schemas',"
                                " 'arguments': { 'provider': 'virtio-serial' }"
                                " }");
    QList *schemas = qdict_get_qlist(response, "return");
    QDict *schema = qobject_to(QDict, qlist_pop(schemas));
    QList *stats = qdict_get_qlist(schema, "stats");
    int i;

    g_assert_true(qlist_empty(schemas));
    g_assert_cmpstr(qdict_get_str(schema, "provider"), ==, "virtio-serial");
    g_assert_cmpstr(qdict_get_str(schema, "target"), ==, "virtio-serial");
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        QDict *value = qobject_to(QDict, qlist_pop(stats));

        g_assert_cmpstr(qdict_get_str(value, "name"), ==, names[i]);
        g_assert_cmpstr(qdict_get_str(value, "type"), ==, "cumulative");
        g_assert_cmpstr(qdict_get_str(value, "unit"), ==, "bytes");
        g_assert_cmpint(qdict_get_int(value, "exponent"), ==, 0);
        qobject_unref(value);
    }
    g_assert_true(qlist_empty(stats));
    qobject_unref(schema);
    qobject_unref(response);
}

static const VSerCase cases[] = {
    { "none", test_none },
    { "ports", test_ports },
    { "schema", test_schema },
};

static void register_virtio_serial_stats_test(void)
{
    vser_add_cases("stats", cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_serial_stats_test);
