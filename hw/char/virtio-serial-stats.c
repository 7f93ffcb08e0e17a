/*
 * The counters of virtio-serial ports, for query-stats
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/util.h"
#include "system/stats.h"
#include "hw/virtio/virtio-serial.h"

typedef struct StatsQuery {
    StatsResultList **tail;     /* where the next result goes */
    strList *names;             /* NULL: all */
} StatsQuery;

static StatsList *stats_of_port(VirtIOSerialPort *port, strList *names)
{
    const VirtIOSerialCounter *counter;
    StatsList *list = NULL, **tail = &list;

    for (counter = virtio_serial_counters; counter->name; counter++) {
        Stats *stats;

        if (!apply_str_list_filter(counter->name, names)) {
            continue;
        }
        stats = g_new0(Stats, 1);
        stats->name = g_strdup(counter->name);
        stats->value = g_new0(StatsValue, 1);
        stats->value->type = QTYPE_QNUM;
        stats->value->u.scalar = virtio_serial_counter(port, counter);
        QAPI_LIST_APPEND(tail, stats);
    }
    return list;
}

static int stats_add_controller(Object *obj, void *opaque)
{
    StatsQuery *query = opaque;
    VirtIOSerial *vser = (VirtIOSerial *)
        object_dynamic_cast(obj, TYPE_VIRTIO_SERIAL);
    VirtIOSerialPort *port;

    if (!vser || !DEVICE(vser)->realized) {
        return 0;
    }
    QTAILQ_FOREACH(port, &vser->ports, next) {
        StatsList *list = stats_of_port(port, query->names);
        StatsResult *result;

        if (!list) {
            continue;
        }
        result = g_new0(StatsResult, 1);
        result->provider = STATS_PROVIDER_VIRTIO_SERIAL;
        result->qom_path = object_get_canonical_path(OBJECT(port));
        result->stats = list;
        QAPI_LIST_APPEND(query->tail, result);
    }
    return 0;
}

static void stats_query(StatsResultList **results, StatsTarget target,
                        strList *names, strList *targets, Error **errp)
{
    StatsQuery query = { .tail = results, .names = names };

    if (target != STATS_TARGET_VIRTIO_SERIAL) {
        return;
    }
    /* Behind what the list has already */
    while (*query.tail) {
        query.tail = &(*query.tail)->next;
    }
    object_child_foreach_recursive(object_get_root(), stats_add_controller,
                                   &query);
}

static void stats_schema(StatsSchemaList **results, Error **errp)
{
    const VirtIOSerialCounter *counter;
    StatsSchemaValueList *list = NULL, **tail = &list;

    for (counter = virtio_serial_counters; counter->name; counter++) {
        StatsSchemaValue *value = g_new0(StatsSchemaValue, 1);

        value->name = g_strdup(counter->name);
        value->type = STATS_TYPE_CUMULATIVE;
        value->has_unit = true;
        value->unit = STATS_UNIT_BYTES;
        QAPI_LIST_APPEND(tail, value);
    }
    add_stats_schema(results, STATS_PROVIDER_VIRTIO_SERIAL,
                     STATS_TARGET_VIRTIO_SERIAL, list);
}

static void stats_register(void)
{
    add_stats_callbacks(STATS_PROVIDER_VIRTIO_SERIAL, stats_query,
                        stats_schema);
}

type_init(stats_register)
