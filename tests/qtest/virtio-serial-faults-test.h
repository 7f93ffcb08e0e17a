/*
 * QTest testcase for virtio-serial: faults that QEMU had
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_SERIAL_FAULTS_TEST_H
#define TESTS_VIRTIO_SERIAL_FAULTS_TEST_H

#include "virtio-serial-utils.h"

/**
 * vser_add_faults_cases:
 * @group: what they are added under
 * @kind: of the ports that they are about
 *
 * Add all cases for which the kind of port matters, as vser_add_cases() does.
 */
void vser_add_faults_cases(const char *group, const VSerKind *kind);

#endif /* TESTS_VIRTIO_SERIAL_FAULTS_TEST_H */
