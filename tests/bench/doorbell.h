/*
 * Interrupts of a QEMU to measure, as an eventfd to wait on
 *
 * A real guest's interrupts end in its interrupt controller, and a real CPU
 * sleeps until there is one. Here they are messages to the doorbell register
 * of QEMU's ivshmem-doorbell, which signals another guest's eventfd: that is
 * this process.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BENCH_DOORBELL_H
#define TESTS_BENCH_DOORBELL_H

#include "machine.h"

typedef struct Doorbell {
    int eventfd;        /* counts the interrupts; read it to start anew */
    int server;         /* the other end of the device's character device */
    uint8_t devfn;
    uint64_t address;   /* an MSI message that interrupts */
    uint32_t data;
} Doorbell;

/* Add the device, as function @devfn of bus 0, to the arguments of a QEMU. */
Doorbell *doorbell_new(GPtrArray *args, uint8_t devfn);

/* Have it work, once the machine is there. */
void doorbell_start(Doorbell *bell, Machine *m);

void doorbell_free(Doorbell *bell);

#endif /* TESTS_BENCH_DOORBELL_H */
