/*
 * How much heap a process has in use, counted by heap-count.c within it
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BENCH_HEAP_COUNT_H
#define TESTS_BENCH_HEAP_COUNT_H

#include <stdint.h>

/* Names the file descriptor of the file that starts with a HeapCount */
#define HEAP_COUNT_FD "HEAP_COUNT_FD"

typedef struct HeapCount {
    int64_t bytes;      /* in use, with malloc()'s rounding and headers */
    int64_t blocks;
} HeapCount;

#endif /* TESTS_BENCH_HEAP_COUNT_H */
