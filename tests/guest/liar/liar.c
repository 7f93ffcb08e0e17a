/*
 * Virtio devices that lie, for tests of the guest's drivers: virtio-serial and
 * virtio-usb
 *
 * tests/guest/liar/build links this into an emulator of its own, before
 * virtqueue_fill() and virtqueue_push(): no code that users run has a switch
 * for lies. The device itself is true; what it has written into a buffer is
 * changed, or the length that it reports, or the buffer that it names, before
 * the driver gets the buffer.
 *
 * Variables of the environment:
 *
 *   LIAR_BUS     which device lies, by its id
 *   LIAR_SEED    which lies it tells
 *   LIAR_ONE_IN  one in so many messages is a lie, at least 2. By default, two
 *                of three are
 *   LIAR_STORM   after each so many milliseconds, the device also makes a
 *                message up. By default, it does not
 *   LIAR_MUTE    "2:100": of queue 2, the device keeps all buffers but the
 *                first 100, and tells no other lie
 *   LIAR_WHOLE   no control message of virtio-serial is shorter than its
 *                header: a driver without the patch "drop control messages
 *                without a header" does not survive that
 *   LIAR_COUNT   a file, in which the number of lies is
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "qemu/timer.h"
#include "hw/virtio/virtio.h"
#include "standard-headers/linux/virtio_console.h"
#include "standard-headers/linux/virtio_ids.h"

#define C_IVQ       2
#define HEADER      sizeof(struct virtio_console_control)

/* include/hw/virtio/virtio-usb.h has this format */
#define USB_ID          49
#define USB_CONTROL     0
#define USB_EVENT       1
#define USB_REQUEST     2
#define USB_MESSAGE     16      /* an event, an answer, a result */

VirtQueue *__real_virtio_add_queue(VirtIODevice *vdev, int size,
                                   VirtIOHandleOutput handler);
VirtQueue *__wrap_virtio_add_queue(VirtIODevice *vdev, int size,
                                   VirtIOHandleOutput handler);
void __real_virtqueue_fill(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len, unsigned int idx);
void __wrap_virtqueue_fill(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len, unsigned int idx);
void __real_virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len);
void __wrap_virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len);

static GRand *chance;
static unsigned int lies;

/* The device of each queue */
static GHashTable *devices;

static unsigned int number_of(const char *name)
{
    const char *value = getenv(name);

    return value ? atoi(value) : 0;
}

static bool one_in(int n)
{
    return g_rand_int_range(chance, 0, n) == 0;
}

static uint32_t below(uint32_t n)
{
    return g_rand_int_range(chance, 0, n);
}

static uint32_t odd_number(void)
{
    static const uint32_t numbers[] = {
        0, 1, 7, 8, 15, 16, 17, 18, 0xff, 0x100, 0x7fff, 0xffff, 0x10000,
        0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff,
    };

    return one_in(3) ? g_rand_int(chance) :
                       numbers[below(ARRAY_SIZE(numbers))];
}

static void count_lie(void)
{
    const char *path = getenv("LIAR_COUNT");
    g_autofree char *text = g_strdup_printf("%u\n", ++lies);

    /* Not a file for each message of a storm */
    if (path && (lies < 1000 || lies % 100 == 0)) {
        g_file_set_contents(path, text, -1, NULL);
    }
}

static bool is_liar(const VirtIODevice *vdev)
{
    const char *bus = getenv("LIAR_BUS");
    g_autofree char *path = NULL;
    g_autofree char *part = NULL;

    if (!bus) {
        return false;
    }
    path = object_get_canonical_path(OBJECT(vdev));
    part = g_strdup_printf("/%s/", bus);
    return path && strstr(path, part);
}

/* A change of what the device has written into a buffer, or says of it */
typedef struct Lie {
    VirtQueueElement elem;
    unsigned int len;
    bool kept;                  /* the driver never gets the buffer back */
} Lie;

static void set_byte(Lie *lie, size_t at, uint8_t value)
{
    iov_from_buf(lie->elem.in_sg, lie->elem.in_num, at, &value, 1);
}

static void set_word(Lie *lie, size_t at, uint16_t value)
{
    value = cpu_to_le16(value);
    iov_from_buf(lie->elem.in_sg, lie->elem.in_num, at, &value, 2);
}

static void set_long(Lie *lie, size_t at, uint32_t value)
{
    value = cpu_to_le32(value);
    iov_from_buf(lie->elem.in_sg, lie->elem.in_num, at, &value, 4);
}

static size_t room_of(const Lie *lie)
{
    return iov_size(lie->elem.in_sg, lie->elem.in_num);
}

/* Another length than what was written */
static void lie_of_length(Lie *lie)
{
    lie->len = one_in(2) ? odd_number() : below(room_of(lie) + 1);
}

/* Another buffer than the one that was used: one that came back before too */
static void lie_of_buffer(Lie *lie)
{
    lie->elem.index = one_in(8) ? odd_number() : below(64);
}

/* ------------------------------------------------------------------ */
/* virtio-serial */

/* A fragment of a descriptor that nobody is waiting for */
static void make_fragment(Lie *lie)
{
    set_word(lie, 4, 8);
    set_word(lie, 6, one_in(2));
    set_long(lie, HEADER, one_in(2) ? 18 : odd_number());
    set_long(lie, HEADER + 4, one_in(2) ? 0 : odd_number());
    lie->len = MIN(room_of(lie), HEADER + 8 + below(64));
}

static void serial_lie(Lie *lie, int queue)
{
    unsigned int i;

    if (queue != C_IVQ) {
        /* Bytes: as many as there are, or another number */
        lie->len = odd_number();
        return;
    }
    switch (below(9)) {
    case 0:             /* another port, also one that there is not */
        set_long(lie, 0, one_in(2) ? odd_number() : below(12));
        break;
    case 1:             /* another event, so also another order */
        set_word(lie, 4, below(12));
        break;
    case 2:             /* another value: so also a last fragment too early */
        set_word(lie, 6, odd_number());
        break;
    case 3:             /* of a fragment: the blob's length, the place */
        set_long(lie, HEADER, odd_number());
        break;
    case 4:
        set_long(lie, HEADER + 4, odd_number());
        break;
    case 5:
        lie_of_length(lie);
        break;
    case 6:             /* bytes of the blob or of the name */
        for (i = 0; i < 4; i++) {
            set_byte(lie, HEADER + below(64), g_rand_int(chance));
        }
        break;
    case 7:
        make_fragment(lie);
        break;
    default:            /* after this, the driver may not use the queue again */
        if (one_in(10)) {
            lie_of_buffer(lie);
        } else {
            lie->kept = one_in(10);
        }
    }
}

/* A control message out of nothing: ports come and go without end */
static void serial_storm(Lie *lie)
{
    static const uint16_t events[] = { 1, 1, 1, 2, 2, 4, 5, 6, 7, 8 };

    set_long(lie, 0, one_in(10) ? odd_number() : below(12));
    set_word(lie, 4, events[below(ARRAY_SIZE(events))]);
    set_word(lie, 6, below(2));
    set_long(lie, HEADER, g_rand_int(chance));
    lie->len = MIN(room_of(lie), HEADER + below(24));
    if (one_in(4)) {
        make_fragment(lie);
    }
}

/* ------------------------------------------------------------------ */
/* virtio-usb */

static void usb_event(Lie *lie)
{
    switch (below(5)) {
    case 0:
        set_word(lie, 0, one_in(2) ? below(4) : odd_number());
        break;
    case 1:
        set_byte(lie, 2, one_in(2) ? below(16) : odd_number());
        break;
    case 2:
        set_byte(lie, 3, below(6));
        break;
    case 3:
        set_long(lie, 4, one_in(2) ? below(64) : odd_number());
        break;
    default:
        set_long(lie, 8, odd_number());
    }
}

static void usb_answer(Lie *lie)
{
    switch (below(4)) {
    case 0:
        set_long(lie, 0, one_in(4) ? odd_number() : below(13));
        break;
    case 1:
        set_long(lie, 4, one_in(2) ? below(64) : odd_number());
        break;
    case 2:
        set_long(lie, 8, odd_number());
        break;
    default:
        set_byte(lie, 12, one_in(2) ? below(6) : odd_number());
    }
}

static void usb_result(Lie *lie)
{
    size_t data = room_of(lie) - MIN(room_of(lie), USB_MESSAGE);
    unsigned int i;

    switch (below(5)) {
    case 0:
        set_long(lie, 0, one_in(4) ? odd_number() : below(13));
        break;
    case 1:
        set_long(lie, 4, one_in(2) ? below(data + 2) : odd_number());
        break;
    default:            /* data: of a control request, it is a descriptor */
        for (i = 0; data && i < 1 + below(4); i++) {
            set_byte(lie, USB_MESSAGE + below(MIN(data, 64)),
                     one_in(2) ? odd_number() : g_rand_int(chance));
        }
    }
}

static void usb_lie(Lie *lie, int queue)
{
    /* These end the controller, so they are few */
    if (one_in(20)) {
        lie_of_buffer(lie);
    } else if (one_in(20)) {
        lie_of_length(lie);
    } else if (one_in(40)) {
        lie->kept = true;
    } else if (queue == USB_CONTROL) {
        usb_answer(lie);
    } else if (queue == USB_EVENT) {
        usb_event(lie);
    } else {
        usb_result(lie);
    }
}

/* The state of a port out of nothing: devices come and go without end */
static void usb_storm(Lie *lie)
{
    set_word(lie, 0, 1);
    set_byte(lie, 2, 1 + below(8));
    set_byte(lie, 3, below(4));
    set_long(lie, 4, below(16));
    set_long(lie, 8, one_in(4) ? odd_number() : below(16));
    lie->len = USB_MESSAGE;
    if (one_in(8)) {
        usb_event(lie);
    }
}

/* ------------------------------------------------------------------ */

/* Does the device keep all that comes to this queue now? */
static bool is_mute(int queue)
{
    static int messages;
    const char *mute = getenv("LIAR_MUTE");

    return atoi(mute) == queue && ++messages > atoi(strchr(mute, ':') + 1);
}

/* Think a lie up, most often none. Returns whether there is one. */
static bool lie_maybe(Lie *lie, VirtQueue *vq, const VirtQueueElement *elem,
                      unsigned int len)
{
    VirtIODevice *vdev = g_hash_table_lookup(devices, vq);
    int queue = virtio_get_queue_index(vq);
    unsigned int one = number_of("LIAR_ONE_IN");

    if (!chance || !elem->in_num || !is_liar(vdev)) {
        return false;
    }
    *lie = (Lie) { .elem = *elem, .len = len };
    if (getenv("LIAR_MUTE")) {
        lie->kept = is_mute(queue);
        if (lie->kept) {
            count_lie();
        }
        return lie->kept;
    }
    if (one ? !one_in(one) : one_in(3)) {
        return false;
    }
    if (vdev->device_id == USB_ID) {
        usb_lie(lie, queue);
    } else if (queue == C_IVQ || one_in(4)) {
        serial_lie(lie, queue);
        if (queue == C_IVQ && getenv("LIAR_WHOLE")) {
            lie->len = MAX(lie->len, HEADER);
        }
    } else {
        return false;
    }
    count_lie();
    return true;
}

void __wrap_virtqueue_fill(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len, unsigned int idx)
{
    Lie lie;

    if (!lie_maybe(&lie, vq, elem, len)) {
        __real_virtqueue_fill(vq, elem, len, idx);
    } else {
        /* The caller flushes this one too, so the driver gets it */
        __real_virtqueue_fill(vq, &lie.elem, lie.len, idx);
    }
}

void __wrap_virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len)
{
    Lie lie;

    if (!lie_maybe(&lie, vq, elem, len)) {
        __real_virtqueue_push(vq, elem, len);
    } else if (lie.kept) {
        virtqueue_detach_element(vq, elem, 0);
    } else {
        __real_virtqueue_push(vq, &lie.elem, lie.len);
    }
}

static void storm(VirtIODevice *vdev)
{
    bool usb = vdev->device_id == USB_ID;
    VirtQueue *vq = virtio_get_queue(vdev, usb ? USB_EVENT : C_IVQ);
    VirtQueueElement *elem;
    Lie lie;

    if (!(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) || vdev->broken ||
        !virtio_queue_ready(vq)) {
        return;
    }
    elem = virtqueue_pop(vq, sizeof(*elem));
    if (!elem) {
        return;
    }
    lie = (Lie) { .elem = *elem };
    (usb ? usb_storm : serial_storm)(&lie);
    __real_virtqueue_push(vq, elem, lie.len);
    virtio_notify(vdev, vq);
    g_free(elem);
    count_lie();
}

static QEMUTimer *storm_timer;

static void storm_tick(void *opaque)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    GHashTableIter iter;
    void *vq, *vdev;

    g_hash_table_iter_init(&iter, devices);
    while (g_hash_table_iter_next(&iter, &vq, &vdev)) {
        if (is_liar(vdev) && g_hash_table_add(seen, vdev)) {
            storm(vdev);
        }
    }
    timer_mod(storm_timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                           number_of("LIAR_STORM"));
}

VirtQueue *__wrap_virtio_add_queue(VirtIODevice *vdev, int size,
                                   VirtIOHandleOutput handler)
{
    VirtQueue *vq = __real_virtio_add_queue(vdev, size, handler);

    if (!devices) {
        devices = g_hash_table_new(NULL, NULL);
        if (getenv("LIAR_SEED")) {
            chance = g_rand_new_with_seed(number_of("LIAR_SEED"));
        }
        if (chance && number_of("LIAR_STORM")) {
            storm_timer = timer_new_ms(QEMU_CLOCK_REALTIME, storm_tick, NULL);
            storm_tick(NULL);
        }
    }
    g_hash_table_insert(devices, vq, vdev);
    return vq;
}
