/*
 * What it costs a virtio-serial device to announce its ports
 *
 * Starts one QEMU, drives the control queues of its virtio-serial device as
 * Linux does, from DEVICE_READY until the device has nothing more to say, and
 * prints what arrived and what it took as CSV: a line of names and one of
 * values.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/virtio_console.h>
#include "hw/virtio/virtio-serial-desc-codec.h"
#include "heap-count.h"
#include "machine.h"
#include "virtio.h"

#define DEVFN           (4 << 3)
#define CONTROL_IN      2               /* the queues' indices */
#define CONTROL_OUT     3

typedef struct Options {
    int ports;
    int max_ports;
    int buffers;
    int buffer_size;
    int repeat;
    gboolean batch;
    gboolean descriptors;
    char *heap_count;       /* the shared object */
    char *callgrind;        /* its output, NULL: run QEMU as it is */
} Options;

/* What the driver has heard of a port */
typedef struct Port {
    bool added;
    bool described;         /* to the end of the blob */
    bool named;
    bool opened;
    uint32_t blob_length;
    uint8_t *blob;          /* of blob_length bytes, as far as it has come */
} Port;

typedef struct Driver {
    VirtioDevice *dev;
    Virtqueue *in;
    Virtqueue *out;
    struct virtio_console_control *messages;    /* to the device */
    unsigned int queued;    /* of messages */
    struct iovec *buffers;
    bool batch;
    Port *ports;
    int count;              /* of ports */
    uint64_t events;
} Driver;

/*
 * The machine
 */

/*
 * A name that is the same for every QEMU, so that messages have the same
 * length
 */
static void port_name(char name[32], unsigned int id)
{
    snprintf(name, 32, "org.example.bench.%u", id);
}

static void add(GPtrArray *args, const char *option, char *value)
{
    g_ptr_array_add(args, g_strdup(option));
    g_ptr_array_add(args, value);
}

static GPtrArray *machine_args(const Options *o)
{
    GPtrArray *args = g_ptr_array_new_with_free_func(g_free);
    unsigned int id;

    /*
     * Without ioeventfd, the device has done its work when qtest says that the
     * notification has been delivered.
     */
    add(args, "-device", g_strdup_printf("virtio-serial-pci,id=vser,"
        "addr=0x%x,disable-legacy=on,ioeventfd=off,max_ports=%d",
        DEVFN >> 3, o->max_ports));
    for (id = 0; id < o->ports; id++) {
        g_autofree char *desc = !o->descriptors ? g_strdup("") :
            g_strdup_printf(",desc=1209:0001,desc-manufacturer=Acme,"
                            "desc-product=Bench,desc-serial=A%04u", id);
        char name[32];

        port_name(name, id);
        /* A backend that is always open: every port has PORT_OPEN to come */
        add(args, "-chardev", g_strdup_printf("ringbuf,id=c%u,size=2", id));
        /* Number 0 is for consoles only */
        add(args, "-device", g_strdup_printf(
            "%s,bus=vser.0,nr=%u,chardev=c%u,name=%s%s",
            id ? "virtserialport" : "virtconsole", id, id, name, desc));
    }
    return args;
}

static Machine *start_machine(const Options *o, const char *qemu)
{
    g_autoptr(GPtrArray) command = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) args = machine_args(o);

    if (o->callgrind) {
        /*
         * Count the instructions below virtio_queue_notify(): the device's
         * work on a notification, without qtest and the rest of QEMU.
         */
        g_ptr_array_add(command, g_strdup("valgrind"));
        g_ptr_array_add(command, g_strdup("-q"));
        g_ptr_array_add(command, g_strdup("--tool=callgrind"));
        g_ptr_array_add(command,
                        g_strdup("--toggle-collect=virtio_queue_notify"));
        g_ptr_array_add(command, g_strdup_printf("--callgrind-out-file=%s",
                                                 o->callgrind));
    }
    g_ptr_array_add(command, g_strdup(qemu));
    return machine_new(command, args);
}

/* Have every program that is started from here count its heap */
static HeapCount *count_heap(const char *shared_object)
{
    g_autofree char *path = g_canonicalize_filename(shared_object, NULL);
    int fd = memfd_create("heap-count", 0);     /* inherited */
    g_autofree char *number = g_strdup_printf("%d", fd);
    HeapCount *heap;

    if (fd < 0 || ftruncate(fd, sizeof(*heap)) < 0) {
        g_error("no shared memory for the heap's count");
    }
    heap = mmap(NULL, sizeof(*heap), PROT_READ, MAP_SHARED, fd, 0);
    g_assert(heap != MAP_FAILED);
    setenv(HEAP_COUNT_FD, number, 1);
    setenv("LD_PRELOAD", path, 1);
    /* GLib before 2.76 hides small allocations from malloc() */
    setenv("G_SLICE", "always-malloc", 1);
    return heap;
}

/*
 * The driver
 */

static Driver *driver_new(Machine *m, const Options *o)
{
    Driver *drv = g_new0(Driver, 1);
    int i;

    drv->dev = virtio_device_new(m, DEVFN,
                                 1ull << VIRTIO_CONSOLE_F_MULTIPORT |
                                 1ull << VIRTIO_CONSOLE_F_PORT_DESC |
                                 1ull << VIRTIO_RING_F_EVENT_IDX);
    drv->count = o->ports;
    drv->ports = g_new0(Port, o->ports);
    drv->out = virtqueue_new(drv->dev, CONTROL_OUT, 0, 0);
    drv->in = virtqueue_new(drv->dev, CONTROL_IN, 0, 1);
    drv->messages = machine_alloc(m, drv->out->size * sizeof(*drv->messages),
                                  8);
    drv->batch = o->batch;
    drv->buffers = g_new0(struct iovec, o->buffers);
    for (i = 0; i < o->buffers; i++) {
        drv->buffers[i].iov_base = machine_alloc(m, o->buffer_size, 64);
        drv->buffers[i].iov_len = o->buffer_size;
        if (!virtqueue_add(drv->in, &drv->buffers[i], 0, 1,
                           &drv->buffers[i])) {
            g_error("%d buffers do not fit into the device's ring of %u",
                    o->buffers, drv->in->size);
        }
    }
    virtio_device_start(drv->dev);
    return drv;
}

static void driver_free(Driver *drv)
{
    Machine *m = drv->dev->machine;
    int i;

    for (i = 0; i < drv->count; i++) {
        g_free(drv->ports[i].blob);
    }
    virtqueue_free(drv->in);
    virtqueue_free(drv->out);
    virtio_device_free(drv->dev);
    machine_reclaim(m);
    g_free(drv->ports);
    g_free(drv->buffers);
    g_free(drv);
}

/* Have the device take what was queued */
static void send_queued(Driver *drv)
{
    if (drv->queued) {
        virtqueue_kick(drv->out);
    }
    for (; drv->queued; drv->queued--) {
        g_assert(virtqueue_get(drv->out, NULL));
    }
}

static void queue_control(Driver *drv, uint32_t id, uint16_t event)
{
    struct virtio_console_control *message = &drv->messages[drv->queued++];
    struct iovec iov = { message, sizeof(*message) };

    message->id = htole32(id);
    message->event = htole16(event);
    message->value = htole16(1);
    g_assert(virtqueue_add(drv->out, &iov, 1, 0, message));
    if (!drv->batch) {
        send_queued(drv);
    }
}

static void take_fragment(Port *port, const uint8_t *data, uint32_t len,
                          bool last)
{
    struct virtio_console_port_desc head;
    uint32_t length, offset;

    g_assert_cmpuint(len, >, sizeof(head));
    memcpy(&head, data, sizeof(head));
    length = le32toh(head.length);
    offset = le32toh(head.offset);
    data += sizeof(head);
    len -= sizeof(head);

    if (offset == 0) {
        g_free(port->blob);
        port->blob = g_malloc(length);
        port->blob_length = length;
    }
    g_assert(length == port->blob_length && offset <= length &&
             len <= length - offset);
    memcpy(port->blob + offset, data, len);
    g_assert(last == (offset + len == length));
    port->described = last;
}

static void take_event(Driver *drv, const void *buffer, uint32_t len)
{
    struct virtio_console_control cpkt;
    const uint8_t *data = (const uint8_t *)buffer + sizeof(cpkt);
    uint32_t id;
    char name[32];
    Port *port;

    g_assert_cmpuint(len, >=, sizeof(cpkt));
    memcpy(&cpkt, buffer, sizeof(cpkt));
    len -= sizeof(cpkt);
    id = le32toh(cpkt.id);
    g_assert_cmpuint(id, <, drv->count);
    port = &drv->ports[id];
    drv->events++;

    switch (le16toh(cpkt.event)) {
    case VIRTIO_CONSOLE_PORT_ADD:
        g_assert(!port->added);
        port->added = true;
        queue_control(drv, id, VIRTIO_CONSOLE_PORT_READY);
        break;
    case VIRTIO_CONSOLE_CONSOLE_PORT:
        g_assert_cmpuint(id, ==, 0);
        break;
    case VIRTIO_CONSOLE_PORT_DESC:
        take_fragment(port, data, len, le16toh(cpkt.value));
        break;
    case VIRTIO_CONSOLE_PORT_NAME:
        port_name(name, id);
        g_assert(!port->named && len == strlen(name) + 1 &&
                 !memcmp(data, name, len));
        port->named = true;
        break;
    case VIRTIO_CONSOLE_PORT_OPEN:
        g_assert(!port->opened);
        port->opened = true;
        break;
    default:
        g_error("event %u is not one of a device", le16toh(cpkt.event));
    }
}

/*
 * In lockstep, as Linux's virtio_console: PORT_READY as soon as a port is
 * added, then its buffer goes back, and each step notifies the device. There
 * is nothing to wait for, see machine_args(). In batches: take all that the
 * device has sent, then notify once for each queue. Batches are for timing:
 * most of the cost of a notification here is qtest.
 */
static void announce(Driver *drv)
{
    struct iovec *buffer;
    uint32_t len;
    bool more;

    queue_control(drv, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY);
    send_queued(drv);
    do {
        more = false;
        while ((buffer = virtqueue_get(drv->in, &len))) {
            more = true;
            take_event(drv, buffer->iov_base, len);
            g_assert(virtqueue_add(drv->in, buffer, 0, 1, buffer));
            if (!drv->batch) {
                virtqueue_kick(drv->in);
            }
        }
        send_queued(drv);
        virtqueue_kick(drv->in);
    } while (more);

    /* Nobody waits for the interrupt, but it is part of the device's work */
    g_assert(*drv->in->interrupt);
}

/*
 * The result
 */

/* A sum, between cost_start() and cost_end() */
typedef struct Cost {
    double wall_us;
    double cpu_us;          /* of QEMU */
} Cost;

static void cost_start(Cost *cost, const Machine *m)
{
    cost->cpu_us -= machine_cpu_ns(m) / 1e3;
    cost->wall_us -= g_get_monotonic_time();
}

static void cost_end(Cost *cost, const Machine *m)
{
    cost->wall_us += g_get_monotonic_time();
    cost->cpu_us += machine_cpu_ns(m) / 1e3;
}

/* The cost of as many notifications without work for the device */
static void idle_kicks(Driver *drv, uint64_t kicks)
{
    while (kicks--) {
        virtqueue_notify(drv->in);
    }
}

/* QEMU frees some things later, when no thread can be looking at them (RCU) */
static HeapCount heap_at_rest(const volatile HeapCount *heap)
{
    HeapCount now = *heap, last;

    do {
        last = now;
        g_usleep(G_USEC_PER_SEC / 2);
        now = *heap;
    } while (now.bytes != last.bytes || now.blocks != last.blocks);
    return now;
}

/* The sum that callgrind wrote into a file of its own format */
static uint64_t callgrind_total(const char *path)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) err = NULL;
    const char *totals;

    if (!g_file_get_contents(path, &text, NULL, &err)) {
        g_error("%s", err->message);
    }
    totals = strstr(text, "\ntotals: ");
    if (!totals) {
        g_error("%s says no total", path);
    }
    return g_ascii_strtoull(totals + strlen("\ntotals: "), NULL, 10);
}

static void print_ports(Driver *drv)
{
    unsigned int id, added = 0, described = 0, named = 0, opened = 0;
    uint64_t blobs = 0;

    for (id = 0; id < drv->count; id++) {
        Port *port = &drv->ports[id];
        VirtIOSerialDescError err;

        added += port->added;
        described += port->described;
        named += port->named;
        opened += port->opened;
        if (port->described) {
            blobs += port->blob_length;
            if (!virtio_serial_desc_check(port->blob, port->blob_length,
                                          &err)) {
                g_error("port %u: %s", id, err.text);
            }
        }
    }
    printf("%u,%u,%u,%u,%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT,
           added, described, named, opened, blobs, drv->events);
}

static void measure(const Options *o, const char *qemu)
{
    HeapCount *heap = o->heap_count ? count_heap(o->heap_count) : NULL;
    Machine *m = start_machine(o, qemu);
    Cost cost = {}, idle = {};
    HeapCount in_use = {};
    Driver *drv = NULL;
    uint64_t kicks = 0;
    int i;

    for (i = 0; i < o->repeat; i++) {
        if (drv) {
            driver_free(drv);
        }
        drv = driver_new(m, o);
        cost_start(&cost, m);
        announce(drv);
        cost_end(&cost, m);

        kicks = drv->in->kicks + drv->out->kicks;
        if (!heap && !o->callgrind) {
            cost_start(&idle, m);
            idle_kicks(drv, kicks);
            cost_end(&idle, m);
        }
    }
    if (heap) {
        in_use = heap_at_rest(heap);
    }

    printf("ring,added,described,named,opened,blob_bytes,events,kicks,"
           "wall_us,cpu_us,idle_wall_us,idle_cpu_us,instructions,"
           "heap_bytes,heap_blocks\n%u,", drv->in->size);
    print_ports(drv);
    printf(",%" G_GUINT64_FORMAT, kicks);
    driver_free(drv);
    machine_free(m);

    if (o->callgrind) {
        printf(",,,,,%" G_GUINT64_FORMAT ",,\n",
               callgrind_total(o->callgrind) / o->repeat);
    } else if (heap) {
        printf(",,,,,,%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT "\n",
               in_use.bytes, in_use.blocks);
    } else {
        printf(",%.1f,%.3f,%.1f,%.3f,,,\n", cost.wall_us / o->repeat,
               cost.cpu_us / o->repeat, idle.wall_us / o->repeat,
               idle.cpu_us / o->repeat);
    }
}

int main(int argc, char **argv)
{
    Options o = { .ports = 31, .buffers = 32, .buffer_size = 4096,
                  .repeat = 1 };
    const GOptionEntry entries[] = {
        { "ports", 0, 0, G_OPTION_ARG_INT, &o.ports,
          "ports of the device, a console among them (31)", "N" },
        { "max-ports", 0, 0, G_OPTION_ARG_INT, &o.max_ports,
          "ports that it may have (as many as it has)", "N" },
        { "buffers", 0, 0, G_OPTION_ARG_INT, &o.buffers,
          "buffers in the control queue (32)", "N" },
        { "buffer-size", 0, 0, G_OPTION_ARG_INT, &o.buffer_size,
          "bytes in each (4096)", "N" },
        { "repeat", 0, 0, G_OPTION_ARG_INT, &o.repeat,
          "times to reset the device and do it; prints the mean (1)", "N" },
        { "batch", 0, 0, G_OPTION_ARG_NONE, &o.batch,
          "notify the device once for all that it sent", NULL },
        { "descriptors", 0, 0, G_OPTION_ARG_NONE, &o.descriptors,
          "give every port a descriptor", NULL },
        { "heap", 0, 0, G_OPTION_ARG_FILENAME, &o.heap_count,
          "count QEMU's heap with this shared object, heap-count", "FILE" },
        { "callgrind", 0, 0, G_OPTION_ARG_FILENAME, &o.callgrind,
          "count instructions with valgrind, into FILE", "FILE" },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new("QEMU");
    g_autoptr(GError) err = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) || argc != 2 ||
        o.ports < 1 || o.buffers < 1 || o.buffer_size < 64 ||
        o.repeat < 1 ||
        (o.heap_count && o.callgrind)) {
        fprintf(stderr, "%s: %s; see --help\n", argv[0],
                err ? err->message : "wrong arguments");
        return 2;
    }
    o.max_ports = o.max_ports ?: o.ports;
    measure(&o, argv[1]);
    return 0;
}
