/*
 * A virtio-serial device that lies, for tests of the guest's driver
 *
 * tests/guest/liar/build links this into an emulator of its own, before
 * virtqueue_fill(): no code that users run has a switch for lies. The device
 * itself is true; what it has written into a buffer is changed, or the length
 * that it reports, before the driver gets the buffer.
 *
 * The variables of the environment LIAR_SEED and LIAR_BUS say which lies, and
 * which controller lies, by its id. LIAR_COUNT is a file with the number of
 * lies.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "hw/virtio/virtio.h"
#include "standard-headers/linux/virtio_console.h"

#define C_IVQ   2
#define HEADER  sizeof(struct virtio_console_control)

VirtQueue *__real_virtio_add_queue(VirtIODevice *vdev, int size,
                                   VirtIOHandleOutput handler);
VirtQueue *__wrap_virtio_add_queue(VirtIODevice *vdev, int size,
                                   VirtIOHandleOutput handler);
void __real_virtqueue_fill(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len, unsigned int idx);
void __wrap_virtqueue_fill(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len, unsigned int idx);

static GRand *chance;
static uint32_t lies;

/* The device of each queue */
static GHashTable *devices;

VirtQueue *__wrap_virtio_add_queue(VirtIODevice *vdev, int size,
                                   VirtIOHandleOutput handler)
{
    VirtQueue *vq = __real_virtio_add_queue(vdev, size, handler);

    if (!devices) {
        devices = g_hash_table_new(NULL, NULL);
    }
    g_hash_table_insert(devices, vq, vdev);
    return vq;
}

static bool one_in(int n)
{
    return g_rand_int_range(chance, 0, n) == 0;
}

static uint32_t odd_number(void)
{
    static const uint32_t numbers[] = {
        0, 1, 7, 8, 17, 18, 0xff, 0x100, 0x7fff, 0xffff, 0x10000, 0x7fffffff,
        0x80000000, 0xfffffff8, 0xffffffff,
    };

    return one_in(3) ? g_rand_int(chance) :
           numbers[g_rand_int_range(chance, 0, ARRAY_SIZE(numbers))];
}

static void count_lie(void)
{
    const char *path = getenv("LIAR_COUNT");
    g_autofree char *text = g_strdup_printf("%u\n", ++lies);

    g_file_set_contents(path, text, -1, NULL);
}

static bool is_liar(VirtQueue *vq, const VirtQueueElement *elem)
{
    const char *bus = getenv("LIAR_BUS");
    g_autofree char *path = NULL;
    g_autofree char *part = NULL;

    if (!bus || !elem->in_num) {
        return false;
    }
    path = object_get_canonical_path(g_hash_table_lookup(devices, vq));
    part = g_strdup_printf("/%s/", bus);
    return strstr(path, part);
}

void __wrap_virtqueue_fill(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len, unsigned int idx)
{
    size_t room = iov_size(elem->in_sg, elem->in_num), at;
    bool control = virtio_get_queue_index(vq) == C_IVQ;
    uint8_t message[HEADER + 8] = { };
    unsigned int i;

    if (!chance && getenv("LIAR_SEED")) {
        chance = g_rand_new_with_seed(atoi(getenv("LIAR_SEED")));
    }
    if (!chance || !is_liar(vq, elem) || one_in(3)) {
        __real_virtqueue_fill(vq, elem, len, idx);
        return;
    }

    if (!control) {
        /* Bytes: as many as there are, or another number */
        if (one_in(4)) {
            len = odd_number();
            count_lie();
        }
        __real_virtqueue_fill(vq, elem, len, idx);
        return;
    }

    iov_to_buf(elem->in_sg, elem->in_num, 0, message, sizeof(message));
    switch (g_rand_int_range(chance, 0, 8)) {
    case 0:             /* another port, also one that there is not */
        stl_le_p(message, one_in(2) ? odd_number() :
                                      g_rand_int_range(chance, 0, 12));
        break;
    case 1:             /* another event, so also another order */
        stw_le_p(message + 4, g_rand_int_range(chance, 0, 12));
        break;
    case 2:             /* another value: so also a last fragment too early */
        stw_le_p(message + 6, odd_number());
        break;
    case 3:             /* of a fragment: the blob's length, the place */
        stl_le_p(message + HEADER, odd_number());
        break;
    case 4:
        stl_le_p(message + HEADER + 4, odd_number());
        break;
    case 5:             /* the message's length */
        len = one_in(2) ? odd_number() : g_rand_int_range(chance, 0, room + 1);
        break;
    case 6:             /* bytes of the blob or of the name */
        for (i = 0; i < 4; i++) {
            uint8_t byte = g_rand_int(chance);

            at = HEADER + g_rand_int_range(chance, 0, 64);
            iov_from_buf(elem->in_sg, elem->in_num, at, &byte, 1);
        }
        break;
    case 7:             /* a fragment that nobody is waiting for */
        stw_le_p(message + 4, 8);
        stw_le_p(message + 6, one_in(2));
        stl_le_p(message + HEADER, one_in(2) ? 18 : odd_number());
        stl_le_p(message + HEADER + 4, one_in(2) ? 0 : odd_number());
        len = MIN(room, HEADER + 8 + g_rand_int_range(chance, 0, 64));
        break;
    }
    iov_from_buf(elem->in_sg, elem->in_num, 0, message,
                 MIN(room, sizeof(message)));
    count_lie();
    __real_virtqueue_fill(vq, elem, len, idx);
}
