/*
 * How long one notification by a hostile driver holds QEMU's main loop
 *
 * Starts one QEMU with a port, has its driver make ready what costs the device
 * the most, and notifies once. From then until all is done it reads a byte of
 * memory again and again: what QEMU did until it answered one, it did without
 * letting its main loop have a turn. Prints the most CPU time that it used for
 * one, and the longest time that one took, as CSV: a line of names and one of
 * values. The first is QEMU's alone, whatever else the machine does; the second
 * is what a user waits.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/virtio_console.h>
#include <linux/virtio_pci.h>
#include "machine.h"
#include "virtio.h"

#define DEVFN           (4 << 3)

/* The queues' indices; the port is number 0, a console, or number 1 */
#define CONTROL_IN      2
#define CONTROL_OUT     3

/* The most that a ring and an element can have */
#define ELEMENTS        1024
#define SEGMENTS        1024

typedef struct Scene {
    const char *name;
    const char *driver;     /* of the port */
    const char *chardev;    /* its back end, NULL: a socket */
    bool to_guest;          /* the buffers are in its queue to the guest */
    bool control;           /* they are in the control queues */
    bool no_port;           /* they are in a queue that has no port */
    bool leave;             /* the host goes when QEMU has seen them */
    unsigned int segments;
    uint32_t len;           /* of each */
} Scene;

typedef struct Result {
    int64_t longest_cpu, longest, all;      /* in us */
} Result;

/*
 * Of a socket this is the other end, and nobody reads from it
 */
static const Scene scenes[] = {
    { "absent", "virtserialport", "socket,id=c,path=%s,server=on,wait=off",
      .segments = SEGMENTS, .len = 1 },
    { "absent-console", "virtconsole",
      "socket,id=c,path=%s,server=on,wait=off",
      .segments = SEGMENTS, .len = 1 },
    { "stalled", "virtserialport", NULL, .segments = SEGMENTS, .len = 1 },
    { "stalled-console", "virtconsole", NULL,
      .segments = SEGMENTS, .len = 1 },
    { "null-console", "virtconsole", "null,id=c",
      .segments = SEGMENTS, .len = 1 },
    { "ringbuf-console", "virtconsole", "ringbuf,id=c",
      .segments = SEGMENTS, .len = 4096 },
    { "file-console", "virtconsole", "file,id=c,path=/dev/null",
      .segments = SEGMENTS, .len = 1 },
    { "stalled-leaves", "virtserialport", NULL, .leave = true,
      .segments = SEGMENTS, .len = 1 },
    { "no-port", "virtserialport", NULL, .no_port = true,
      .segments = SEGMENTS, .len = 1 },
    { "to-guest", "virtserialport", NULL, .to_guest = true,
      .segments = SEGMENTS, .len = 1 },
    { "control", "virtserialport", NULL, .control = true,
      .segments = SEGMENTS, .len = 8 },
    { "control-long", "virtserialport", NULL, .control = true,
      .segments = 8, .len = 1024 * 1024 },
};

static const Scene *find_scene(const char *name)
{
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(scenes); i++) {
        if (!strcmp(scenes[i].name, name)) {
            return &scenes[i];
        }
    }
    g_error("there is no scene '%s'", name);
}

static void add(GPtrArray *args, const char *option, char *value)
{
    g_ptr_array_add(args, g_strdup(option));
    g_ptr_array_add(args, value);
}

/* Have the queue be as long as a driver can make it, whatever is offered */
static Virtqueue *longest_queue(VirtioDevice *dev, uint16_t index,
                                uint16_t vector)
{
    machine_write(dev->machine, dev->common +
                  offsetof(struct virtio_pci_common_cfg, queue_select), 2,
                  index);
    machine_write(dev->machine, dev->common +
                  offsetof(struct virtio_pci_common_cfg, queue_size), 2,
                  ELEMENTS);
    return virtqueue_new(dev, index, 0, vector);
}

/* All of the ring is one indirect table, again and again */
static void fill(Virtqueue *vq, const struct vring_desc *table,
                 unsigned int segments)
{
    unsigned int i;

    for (i = 0; i < vq->size; i++) {
        vq->desc[i] = (struct vring_desc) {
            .addr = htole64(machine_address(vq->dev->machine, table)),
            .len = htole32(segments * sizeof(*table)),
            .flags = htole16(VRING_DESC_F_INDIRECT),
        };
        vq->avail->ring[i] = htole16(i);
    }
    __atomic_store_n(&vq->avail->idx, htole16(vq->size), __ATOMIC_RELEASE);
}

/* A table of @segments times the same memory */
static struct vring_desc *new_table(Machine *m, unsigned int segments,
                                    uint64_t addr, uint32_t len,
                                    uint16_t flags)
{
    struct vring_desc *table = machine_alloc(m, segments * sizeof(*table), 16);
    unsigned int i;

    for (i = 0; i < segments; i++) {
        table[i] = (struct vring_desc) {
            .addr = htole64(addr),
            .len = htole32(len),
            .flags = htole16(flags | (i < segments - 1 ? VRING_DESC_F_NEXT
                                                       : 0)),
            .next = htole16(i + 1),
        };
    }
    return table;
}

static bool is_done(Virtqueue *vq)
{
    return le16toh(__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE)) ==
           vq->size;
}

/* What QEMU did in one piece, from begin() on */
typedef struct Piece {
    int64_t time, cpu;
} Piece;

static Piece begin(Machine *m)
{
    return (Piece) {
        .cpu = machine_cpu_ns(m) / 1000,
        .time = g_get_monotonic_time(),
    };
}

static void end(Machine *m, const Piece *piece, Result *result)
{
    result->longest = MAX(result->longest,
                          g_get_monotonic_time() - piece->time);
    result->longest_cpu = MAX(result->longest_cpu,
                              (int64_t)(machine_cpu_ns(m) / 1000) - piece->cpu);
}

/* A message to the device, as any driver sends it */
static void send_control(Virtqueue *vq, uint32_t id, uint16_t event)
{
    struct virtio_console_control *msg =
        machine_alloc(vq->dev->machine, sizeof(*msg), 8);
    struct iovec iov = { msg, sizeof(*msg) };

    msg->id = htole32(id);
    msg->event = htole16(event);
    msg->value = htole16(1);
    g_assert(virtqueue_add(vq, &iov, 1, 0, msg));
    virtqueue_notify(vq);
    g_assert(virtqueue_get(vq, NULL));
}

static Result measure(const Scene *s, const char *qemu)
{
    g_autoptr(GPtrArray) command = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *dir = g_dir_make_tmp("bench-worst-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    bool console = !strcmp(s->driver, "virtconsole");
    Result result = { 0 };
    Piece piece;
    int64_t start;
    int sockets[2] = { -1, -1 };
    struct iovec iovs[16];
    VirtioDevice *dev;
    Virtqueue *in, *c_in, *c_out, *vq;
    struct vring_desc *table;
    uint64_t memory;
    Machine *m;
    int i;

    g_ptr_array_add(command, g_strdup(qemu));
    add(args, "-device", g_strdup_printf("virtio-serial-pci,id=vser,"
        "addr=0x%x,disable-legacy=on,ioeventfd=off,vectors=4", DEVFN >> 3));
    if (s->chardev) {
        add(args, "-chardev", g_strdup_printf(s->chardev, path));
    } else {
        g_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
        machine_add_fd(args, "c", sockets[1]);
    }
    add(args, "-device", g_strdup_printf("%s,bus=vser.0,nr=%u,chardev=c",
                                         s->driver, console ? 0 : 1));
    m = machine_new(command, args);
    process_place(m->pid, true);

    dev = virtio_device_new(m, DEVFN,
                            1ull << VIRTIO_CONSOLE_F_MULTIPORT |
                            1ull << VIRTIO_RING_F_INDIRECT_DESC);
    c_in = s->control ? longest_queue(dev, CONTROL_IN, 0)
                      : virtqueue_new(dev, CONTROL_IN, 0, 0);
    c_out = s->control ? longest_queue(dev, CONTROL_OUT, 1)
                       : virtqueue_new(dev, CONTROL_OUT, 0, 1);
    in = longest_queue(dev, console ? 0 : 4, 2);
    vq = longest_queue(dev, console ? 1 : s->no_port ? 7 : 5, 3);
    memory = machine_address(m, machine_alloc(m, s->len, 8));
    virtio_device_start(dev);

    if (s->control) {
        struct virtio_console_control *msg = (void *)(m->ram + memory);

        /* Each message has an event, and that a buffer, of as many pieces */
        fill(c_in, new_table(m, SEGMENTS,
                             machine_address(m, machine_alloc(m, 8, 8)), 8,
                             VRING_DESC_F_WRITE), SEGMENTS);
        table = new_table(m, s->segments, memory, s->len, 0);
        msg->id = htole32(1);
        msg->event = htole16(VIRTIO_CONSOLE_PORT_READY);
        msg->value = htole16(1);
        vq = c_out;
    } else {
        for (i = 0; i < 16; i++) {
            iovs[i].iov_base = machine_alloc(m, 64, 8);
            iovs[i].iov_len = 64;
            g_assert(virtqueue_add(c_in, &iovs[i], 0, 1, &iovs[i]));
        }
        virtqueue_notify(c_in);
        send_control(c_out, VIRTIO_CONSOLE_BAD_ID,
                     VIRTIO_CONSOLE_DEVICE_READY);
        send_control(c_out, console ? 0 : 1, VIRTIO_CONSOLE_PORT_READY);
        send_control(c_out, console ? 0 : 1, VIRTIO_CONSOLE_PORT_OPEN);
        table = new_table(m, s->segments, memory, s->len, 0);
        vq = s->to_guest ? in : vq;
    }
    if (s->to_guest) {
        /* Nothing that could be written to, but the device has to look */
        g_assert(write(sockets[0], "x", 1) == 1);
    }
    fill(vq, table, s->segments);

    piece = begin(m);
    start = piece.time;
    virtqueue_notify(vq);
    end(m, &piece, &result);
    /* What is stalled is not done with: it is over when nothing more happens */
    for (i = 0; i < 200; ) {
        piece = begin(m);
        machine_read(m, 0, 1);
        end(m, &piece, &result);
        if (s->leave && sockets[0] >= 0) {
            close(sockets[0]);
            sockets[0] = -1;
        } else if (is_done(vq) || s->to_guest || s->leave ||
                   !strcmp(s->name, "stalled")) {
            i++;
        }
    }
    result.all = g_get_monotonic_time() - start;

    machine_free(m);
    if (sockets[0] >= 0) {
        close(sockets[0]);
    }
    unlink(path);
    rmdir(dir);
    return result;
}

int main(int argc, char **argv)
{
    unsigned int i;
    Result result;

    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (i = 0; i < G_N_ELEMENTS(scenes); i++) {
            puts(scenes[i].name);
        }
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr, "usage: bench-worst SCENE QEMU | bench-worst --list\n");
        return 2;
    }
    result = measure(find_scene(argv[1]), argv[2]);
    printf("longest_cpu_us,longest_us,all_us\n"
           "%" PRId64 ",%" PRId64 ",%" PRId64 "\n",
           result.longest_cpu, result.longest, result.all);
    return 0;
}
