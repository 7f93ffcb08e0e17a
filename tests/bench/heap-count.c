/*
 * Counts the heap of the process that it is preloaded into
 *
 * mallinfo() would not do: it takes blocks that a thread's cache keeps for
 * later for blocks in use, and is not to be had from outside.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "heap-count.h"

/* glibc's own; dlsym() would need malloc() to find them */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

/* Until the shared one is there */
static HeapCount early;
static HeapCount *heap = &early;

static __attribute__((constructor)) void share_count(void)
{
    const char *fd = getenv(HEAP_COUNT_FD);
    HeapCount *shared;

    if (!fd) {
        return;
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED,
                  atoi(fd), 0);
    if (shared != MAP_FAILED) {
        /* No other thread is there yet */
        *shared = early;
        heap = shared;
    }
}

static int64_t size_of(void *block)
{
    return block ? malloc_usable_size(block) + sizeof(size_t) : 0;
}

static void count(int64_t bytes, int64_t blocks)
{
    __atomic_fetch_add(&heap->bytes, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&heap->blocks, blocks, __ATOMIC_RELAXED);
}

static void *counted(void *block)
{
    count(size_of(block), !!block);
    return block;
}

void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return counted(__libc_calloc(n, size));
}

void *realloc(void *old, size_t size)
{
    int64_t old_size = size_of(old);
    void *block = __libc_realloc(old, size);

    /* Where it failed, the old block is still there */
    if (block || (old && !size)) {
        count(size_of(block) - old_size, !!block - !!old);
    }
    return block;
}

void *memalign(size_t align, size_t size)
{
    return counted(__libc_memalign(align, size));
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

int posix_memalign(void **block, size_t align, size_t size)
{
    void *new = memalign(align, size);

    if (!new) {
        return ENOMEM;
    }
    *block = new;
    return 0;
}

void free(void *block)
{
    count(-size_of(block), -!!block);
    __libc_free(block);
}
