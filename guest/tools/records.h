/*
 * The records that a virtserialdesc port sends
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_RECORDS_H
#define VSER_RECORDS_H

#include "hw/virtio/virtio-serial-desc-codec.h"

typedef enum RecordType {
    RECORD_MORE,            /* no whole record yet: more bytes are needed */
    RECORD_DESC,            /* a port has this blob */
    RECORD_GONE,            /* a port is gone */
    RECORD_END,             /* the snapshot is complete */
    RECORD_MALFORMED,       /* no record: records_reset() must follow */
} RecordType;

typedef struct Record {
    uint32_t id;            /* the port, below 2^31; for DESC and GONE */
    const uint8_t *blob;    /* for DESC: valid until the next call; unchecked */
    size_t length;          /* of blob, in bytes */
} Record;

/* A record's headers: the control message, and the blob's length and offset */
#define RECORD_CONTROL_SIZE 8
#define RECORD_HEADER_SIZE  16

/* The record that is being put together. It starts as zeros. */
typedef struct Records {
    size_t used;            /* bytes in buffer */
    uint8_t buffer[RECORD_HEADER_SIZE + VIRTIO_SERIAL_DESC_MAX];
} Records;

/* The next byte begins a record. */
void records_reset(Records *records);

/**
 * records_next:
 * @data: the bytes that came; moved behind the bytes that were taken
 * @length: how many bytes came; lessened by the number of taken bytes
 * @record: filled if there is a record
 * @err: filled if the record is malformed
 *
 * Take bytes up to the end of a record, or all bytes if no record ends there.
 */
RecordType records_next(Records *records, const uint8_t **data, size_t *length,
                        Record *record, VirtIOSerialDescError *err);

#endif /* VSER_RECORDS_H */
