/*
 * What the codec of virtio-serial descriptors must say, worked out again
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_SERIAL_DESC_ORACLE_H
#define TESTS_VIRTIO_SERIAL_DESC_ORACLE_H

#include "hw/virtio/virtio-serial-desc-name.h"

/**
 * oracle_poison:
 * @err: filled with what no message may hold
 *
 * Call before each call that may fail, so that oracle_check_error() sees a
 * message that was not written, or not ended.
 */
void oracle_poison(VirtIOSerialDescError *err);

/* Assert that @err is one printable line of UTF-8 */
void oracle_check_error(const VirtIOSerialDescError *err);

/**
 * oracle_verify:
 * @blob: any bytes
 * @length: how many
 * @err: if not NULL, where to leave the codec's message
 *
 * Assert that the codec takes these bytes for what they are: accepts them or
 * refuses them with a fit message, and if it accepts them, reads from them
 * what they say.
 *
 * Returns: whether this is a well-formed blob.
 */
bool oracle_verify(const uint8_t *blob, size_t length,
                   VirtIOSerialDescError *err);

/**
 * oracle_verify_name:
 * @name: any bytes
 * @err: if not NULL, where to leave the codec's message
 *
 * Assert that the codec takes @name for what it is: a name like any other, a
 * descriptor that it reads and can build, or one that it refuses with a fit
 * message.
 *
 * Returns: whether the name is a descriptor that is accepted.
 */
bool oracle_verify_name(const char *name, VirtIOSerialDescError *err);

/* The string with @index in a well-formed blob, to be freed; NULL if none */
char *oracle_string(const uint8_t *blob, size_t length, uint8_t index);

#endif /* TESTS_VIRTIO_SERIAL_DESC_ORACLE_H */
