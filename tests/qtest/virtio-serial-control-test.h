/*
 * QTest testcase for virtio-serial: the control queue loses nothing
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_SERIAL_CONTROL_TEST_H
#define TESTS_VIRTIO_SERIAL_CONTROL_TEST_H

#include "virtio-serial-utils.h"

/**
 * vser_add_control_cases:
 * @group: what they are added under
 * @kind: of the ports that they are about
 *
 * Add all cases of the control queue, as vser_add_cases() does.
 */
void vser_add_control_cases(const char *group, const VSerKind *kind);

#endif /* TESTS_VIRTIO_SERIAL_CONTROL_TEST_H */
