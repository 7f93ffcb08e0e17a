/*
 * Fuzz target: bytes from anywhere as the records of a virtserialdesc port
 *
 * However they are cut into pieces, the same records come out, and these are
 * what a reader finds that has all bytes before it.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "records.h"
#include "fuzz.h"

static Records records;

/* The next record in pieces of @piece bytes, each in a block of its own */
static RecordType next(const uint8_t **data, size_t *length, size_t piece,
                       Record *record, VirtIOSerialDescError *err)
{
    RecordType type = RECORD_MORE;

    while (type == RECORD_MORE && *length) {
        size_t size = piece < *length ? piece : *length, left = size;
        uint8_t *copy = malloc(size);
        const uint8_t *p = copy;

        memcpy(copy, *data, size);
        type = records_next(&records, &p, &left, record, err);
        assert(type != RECORD_MORE || left == 0);
        assert(p == copy + (size - left));
        *data += size - left;
        *length -= size - left;
        free(copy);
    }
    return type;
}

static uint32_t le(const uint8_t *p, int bytes)
{
    uint32_t value = 0;

    while (bytes--) {
        value = value << 8 | p[bytes];
    }
    return value;
}

/*
 * The length of the record that @length bytes begin with, 0 if it is not
 * whole; @type as the specification has it, malformed before all else.
 */
static size_t look(const uint8_t *p, size_t length, RecordType *type)
{
    uint32_t id, event;

    *type = RECORD_MORE;
    if (length < 8) {
        return 0;
    }
    id = le(p, 4);
    event = le(p + 4, 2);
    if (event == 2 && id < 0x80000000) {
        *type = RECORD_GONE;
        return 8;
    }
    if (event != 8 || le(p + 6, 2) != 1 ||
        (id >= 0x80000000 && id != 0xffffffff)) {
        *type = RECORD_MALFORMED;
        return 0;
    }
    if (length < 16) {
        return 0;
    }
    if (le(p + 12, 4) || le(p + 8, 4) > (id == 0xffffffff ? 0 : 65535)) {
        *type = RECORD_MALFORMED;
        return 0;
    }
    if (length - 16 < le(p + 8, 4)) {
        return 0;
    }
    *type = id == 0xffffffff ? RECORD_END : RECORD_DESC;
    return 16 + le(p + 8, 4);
}

/* The first byte says how long the pieces are */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VirtIOSerialDescError err;
    RecordType type, expected;
    Record record;
    size_t piece, length;

    if (size == 0) {
        return 0;
    }
    piece = data[0] + 1;
    data++;
    size--;
    records_reset(&records);
    do {
        const uint8_t *start = data;

        length = look(data, size, &expected);
        err.text[0] = '\0';
        type = next(&data, &size, piece, &record, &err);
        assert(type == expected);
        assert((type == RECORD_MALFORMED) == (err.text[0] != '\0'));
        if (type == RECORD_DESC || type == RECORD_GONE || type == RECORD_END) {
            assert(data == start + length);
            assert(type == RECORD_END || record.id == le(start, 4));
        }
        if (type == RECORD_DESC) {
            assert(record.length == length - 16);
            assert(memcmp(record.blob, start + 16, record.length) == 0);
        }
    } while (type != RECORD_MORE && type != RECORD_MALFORMED);
    return 0;
}
