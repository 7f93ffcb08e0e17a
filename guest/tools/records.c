/*
 * The records that a virtserialdesc port sends
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <linux/virtio_console.h>
#include "records.h"

void records_reset(Records *records)
{
    records->used = 0;
}

static RecordType PRINTF(2, 3)
records_malformed(VirtIOSerialDescError *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return RECORD_MALFORMED;
}

/* Check the control message, and fill @record with what it says */
static RecordType check_control(const uint8_t *p, Record *record,
                                VirtIOSerialDescError *err)
{
    uint16_t event = get_le16(p + 4), value = get_le16(p + 6);

    record->id = get_le(p, 4);
    if (event != VIRTIO_CONSOLE_PORT_REMOVE &&
        event != VIRTIO_CONSOLE_PORT_DESC) {
        return records_malformed(err, "event is %u, not %u or %u", event,
                                 VIRTIO_CONSOLE_PORT_REMOVE,
                                 VIRTIO_CONSOLE_PORT_DESC);
    }
    if (record->id > INT32_MAX &&
        (record->id != VIRTSERIALDESC_END ||
         event == VIRTIO_CONSOLE_PORT_REMOVE)) {
        return records_malformed(err, "id is %08x, more than 7fffffff",
                                 record->id);
    }
    if (event == VIRTIO_CONSOLE_PORT_REMOVE) {
        return RECORD_GONE;
    }
    if (value != 1) {
        return records_malformed(err, "value is %u, not 1: a blob comes whole",
                                 value);
    }
    return record->id == VIRTSERIALDESC_END ? RECORD_END : RECORD_DESC;
}

/* Check the blob's length and offset. @type is DESC or END, and is returned */
static RecordType check_desc(const uint8_t *p, RecordType type, Record *record,
                             VirtIOSerialDescError *err)
{
    uint32_t length = get_le(p, 4), offset = get_le(p + 4, 4);
    uint32_t max = type == RECORD_END ? 0 : VIRTIO_SERIAL_DESC_MAX;

    if (length > max) {
        return records_malformed(err, "length is %u, more than %u", length,
                                 max);
    }
    if (offset != 0) {
        return records_malformed(err, "offset is %u, not 0: a blob comes whole",
                                 offset);
    }
    record->length = length;
    return type;
}

RecordType records_next(Records *records, const uint8_t **data, size_t *length,
                        Record *record, VirtIOSerialDescError *err)
{
    RecordType type;

    *record = (Record) { .blob = records->buffer + RECORD_HEADER_SIZE };
    for (;;) {
        size_t want = RECORD_CONTROL_SIZE, take;

        type = RECORD_MORE;
        if (records->used >= RECORD_CONTROL_SIZE) {
            type = check_control(records->buffer, record, err);
            if (type == RECORD_DESC || type == RECORD_END) {
                want = RECORD_HEADER_SIZE;
            }
        }
        if (records->used >= RECORD_HEADER_SIZE) {
            type = check_desc(records->buffer + RECORD_CONTROL_SIZE, type,
                              record, err);
            want += record->length;
        }
        if (type == RECORD_MALFORMED) {
            return type;
        }
        if (records->used == want) {
            records->used = 0;
            return type;
        }
        if (*length == 0) {
            return RECORD_MORE;
        }
        take = MIN(want - records->used, *length);
        memcpy(records->buffer + records->used, *data, take);
        records->used += take;
        *data += take;
        *length -= take;
    }
}
