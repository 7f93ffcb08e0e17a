/*
 * QTest testcase for virtio-serial: the bytes
 *
 * Guest and host send each other streams in which every byte tells where it
 * belongs, at the same time, with buffers and pauses as they come, while the
 * connection, the guest or QEMU is stopped, ended or replaced. No byte may be
 * lost, doubled or moved, but those on the way where an end of the way ends.
 *
 * What is random depends on VIRTIO_SERIAL_STREAM_SEED only; how far each side
 * gets in a step is the system's affair. VIRTIO_SERIAL_STREAM_KIB is how much
 * goes each way in a case.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "libqos/virtio-serial.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-serial-host.h"
#include "virtio-serial-utils.h"

#define ID          1

/* The size of one buffer, and of all buffers that the device has of a queue */
#define SIZE_MAX_BUFFER     (64 * 1024)
#define SIZE_MAX_POSTED     (128 * 1024)

/* How many buffers the driver posts */
#define CONTROL_BUFFERS     16

/* Size of a chardev that keeps the last bytes only */
#define RINGBUF             (32 * 1024)

/* More segments than one system call is given, and than a chain may have */
#define SEGMENTS_MAX        600

/*
 * Streams
 */

typedef struct Stream {
    const char *name;
    uint64_t seed;
    uint64_t put, got;      /* bytes that were sent, and that have arrived */
    uint64_t limit;         /* no more than that is sent */
} Stream;

/* The byte at @pos: eight bytes are a hash of their place */
static uint8_t stream_byte(const Stream *s, uint64_t pos)
{
    uint64_t x = s->seed + (pos / 8 + 1) * 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (x ^ x >> 31) >> pos % 8 * 8;
}

/* The next @len bytes to send; g_free() them */
static uint8_t *stream_put(Stream *s, size_t len)
{
    uint8_t *data = g_malloc(len);
    size_t i;

    for (i = 0; i < len; i++) {
        data[i] = stream_byte(s, s->put++);
    }
    return data;
}

/* Where in the stream @data is, to say what went wrong */
static int64_t stream_find(const Stream *s, const uint8_t *data, size_t len)
{
    uint64_t pos, i;

    for (pos = 0; pos + len <= s->put; pos++) {
        for (i = 0; i < len && data[i] == stream_byte(s, pos + i); i++) {
            continue;
        }
        if (i == len) {
            return pos;
        }
    }
    return -1;
}

/* These bytes have to be the next ones */
static void stream_got(Stream *s, const GByteArray *data)
{
    size_t i;

    for (i = 0; i < data->len; i++, s->got++) {
        if (s->got >= s->put || data->data[i] != stream_byte(s, s->got)) {
            g_error("to the %s: after byte %" PRIu64 " of %" PRIu64 " comes "
                    "byte %" PRId64 " (-1: none of this stream)", s->name,
                    s->got, s->put,
                    stream_find(s, data->data + i, MIN(data->len - i, 16)));
        }
    }
}

/*
 * Links
 */

typedef enum Shape {
    ANY_SHAPE,
    SINGLE_BYTES,           /* one buffer of one byte at a time */
    LONG_CHAINS,            /* more segments than a system call is given */
    PAGES,                  /* as Linux makes them */
    LARGEST,                /* more than a socket takes at once */
} Shape;

typedef enum Actor {
    GUEST_WRITES, GUEST_RECLAIMS, GUEST_POSTS, GUEST_TAKES, HOST_WRITES,
    HOST_READS, NR_ACTORS
} Actor;

/* A port: the driver is at one end, the test at the other end */
typedef struct Link {
    QVSerDriver *drv;
    VSerEnd *end;
    GRand *rand;
    Shape shape;
    Stream to_host, to_guest;
    unsigned int pause[NR_ACTORS]; /* steps in which one side does nothing */
    GByteArray *data;       /* what was just read */
} Link;

static uint64_t get_number(const char *variable, uint64_t otherwise)
{
    const char *value = getenv(variable);

    return value ? g_ascii_strtoull(value, NULL, 0) : otherwise;
}

static uint64_t random64(Link *l)
{
    return (uint64_t)g_rand_int(l->rand) << 32 | g_rand_int(l->rand);
}

/* A number from 1 to @max; small numbers are as likely as large numbers */
static uint32_t random_size(Link *l, uint32_t max)
{
    return g_rand_int(l->rand) % (max >> g_rand_int_range(l->rand, 0, 14) ?: 1)
           + 1;
}

/* Begin another stream, of the bytes that were left to send */
static void new_stream(Link *l, Stream *s)
{
    s->limit -= MIN(s->limit, s->put);
    s->seed = random64(l);
    s->put = s->got = 0;
}

static QVSerQueue *ivq(Link *l)
{
    return &l->drv->ivqs[ID];
}

static QVSerQueue *ovq(Link *l)
{
    return &l->drv->ovqs[ID];
}

static bool has_segments(Shape shape)
{
    return shape == ANY_SHAPE || shape == LONG_CHAINS;
}

/* Fill @lens; returns how many there are */
static unsigned int random_segments(Link *l, uint32_t *lens, uint32_t max)
{
    unsigned int count = 1, i;
    uint32_t size = max;

    switch (l->shape) {
    case SINGLE_BYTES:
        size = 1;
        break;
    case LONG_CHAINS:
        count = g_rand_int_range(l->rand, 250, SEGMENTS_MAX);
        size = 4;
        break;
    case PAGES:
        lens[0] = MIN(4096, max);
        return 1;
    case LARGEST:
        lens[0] = max;
        return 1;
    case ANY_SHAPE:
        switch (g_rand_int_range(l->rand, 0, 4)) {
        case 0:
            count = random_size(l, QVSER_CHAIN_MAX);
            break;
        case 1:
            count = random_size(l, SEGMENTS_MAX);
            size = 1 << g_rand_int_range(l->rand, 0, 5);
            break;
        }
        break;
    }
    count = MIN(count, max);
    for (i = 0; i < count; i++) {
        lens[i] = random_size(l, MIN(size, max / count));
    }
    return count;
}

static size_t sum(const uint32_t *lens, unsigned int count)
{
    size_t total = 0;

    while (count--) {
        total += *lens++;
    }
    return total;
}

/* How many buffers to add at once */
static unsigned int random_count(Link *l)
{
    return l->shape == SINGLE_BYTES ? 1 : random_size(l, 16);
}

static void guest_adds(Link *l, QVSerQueue *q, Stream *s)
{
    unsigned int left = random_count(l), count;
    uint32_t lens[SEGMENTS_MAX];

    for (; left && qvser_posted_size(q) < SIZE_MAX_POSTED; left--) {
        g_autofree uint8_t *data = NULL;
        uint32_t max = SIZE_MAX_BUFFER;

        if (s) {
            max = MIN(max, s->limit - MIN(s->limit, s->put));
        }
        if (!max) {
            break;
        }
        count = random_segments(l, lens, max);
        if (!qvser_has_room(q, count)) {
            break;
        }
        data = s ? stream_put(s, sum(lens, count)) : NULL;
        qvser_queue(l->drv, q, lens, count, data);
    }
    qvser_kick(l->drv, q);
}

/* Returns: whether there were any */
static bool guest_takes(Link *l)
{
    g_byte_array_set_size(l->data, 0);
    while (qvser_next_used(l->drv, ivq(l), l->data)) {
        continue;
    }
    stream_got(&l->to_guest, l->data);
    return l->data->len;
}

static bool guest_reclaims(Link *l)
{
    bool any = false;

    while (qvser_next_used(l->drv, ovq(l), NULL)) {
        any = true;
    }
    return any;
}

static void host_writes(Link *l)
{
    Stream *s = &l->to_guest;
    size_t len = MIN(random_size(l, SIZE_MAX_BUFFER - 1), s->limit - s->put);
    g_autofree uint8_t *data = NULL;

    if (vser_end_write(l->end, NULL, 0) || !len) {
        return;
    }
    data = stream_put(s, len);
    vser_end_write(l->end, data, len);
}

static bool host_reads(Link *l)
{
    bool any;

    g_byte_array_set_size(l->data, 0);
    any = vser_end_read(l->end, random_size(l, SIZE_MAX_BUFFER), l->data);
    stream_got(&l->to_host, l->data);
    return any;
}

static void act(Link *l, Actor actor)
{
    switch (actor) {
    case GUEST_WRITES:
        guest_adds(l, ovq(l), &l->to_host);
        break;
    case GUEST_RECLAIMS:
        guest_reclaims(l);
        break;
    case GUEST_POSTS:
        guest_adds(l, ivq(l), NULL);
        break;
    case GUEST_TAKES:
        guest_takes(l);
        break;
    case HOST_WRITES:
        host_writes(l);
        break;
    case HOST_READS:
        host_reads(l);
        break;
    default:
        g_assert_not_reached();
    }
}

/* One side does something, unless it pauses or begins to pause */
static void step(Link *l)
{
    Actor actor = g_rand_int_range(l->rand, 0, NR_ACTORS);

    if (l->pause[actor]) {
        l->pause[actor]--;
        return;
    }
    if (g_rand_int_range(l->rand, 0, 30) == 0) {
        l->pause[actor] = random_size(l, 40);
    }
    act(l, actor);
}

static bool all_sent(Link *l)
{
    return l->to_host.put >= l->to_host.limit &&
           l->to_guest.put >= l->to_guest.limit;
}

/* Run until all is sent; call @disturb now and then, if it is given */
static void run(Link *l, void (*disturb)(Link *l))
{
    gint64 start = g_get_monotonic_time();

    while (!all_sent(l)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <,
                        QVSER_TIMEOUT_US * (gint64)10);
        step(l);
        if (disturb && g_rand_int_range(l->rand, 0, 100) == 0) {
            disturb(l);
        }
    }
}

/* Run until @count steps are done, or all is sent */
static void run_steps(Link *l, unsigned int count)
{
    while (count-- && !all_sent(l)) {
        step(l);
    }
}

/* Have the guest write until the host, which does not read, takes no more */
static void throttle(Link *l)
{
    l->to_host.limit = UINT64_MAX;
    do {
        guest_adds(l, ovq(l), &l->to_host);
        qvser_settle(l->drv);
    } while (guest_reclaims(l));
    g_assert_cmpuint(ovq(l)->posted.length, >, 0);
    l->to_host.limit = l->to_host.put;
}

/* Take all that has arrived at the guest, or arrives without more buffers */
static void drain_guest(Link *l)
{
    do {
        qvser_settle(l->drv);
    } while (guest_takes(l));
}

/*
 * The guest has posted more than is used, so the device does not want to hear
 * of more
 */
static void make_quiet(Link *l)
{
    g_autofree uint8_t *data = NULL;

    drain_guest(l);
    qvser_queue(l->drv, ivq(l), (uint32_t []) { 64 }, 1, NULL);
    qvser_queue(l->drv, ivq(l), (uint32_t []) { 64 }, 1, NULL);
    qvser_kick(l->drv, ivq(l));
    data = stream_put(&l->to_guest, 1);
    vser_end_write(l->end, data, 1);
    drain_guest(l);
    g_assert_cmpuint(l->to_guest.got, ==, l->to_guest.put);
    g_assert_false(qvser_is_awaited(l->drv, ivq(l)));
}

/* Send a byte to the host, and wait until it is there */
static void ping_host(Link *l)
{
    g_autofree uint8_t *data = stream_put(&l->to_host, 1);
    gint64 start = g_get_monotonic_time();

    qvser_queue(l->drv, ovq(l), (uint32_t []) { 1 }, 1, data);
    qvser_kick(l->drv, ovq(l));
    while (l->to_host.got < l->to_host.put) {
        host_reads(l);
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
}

/* The device holds no buffer but those that it waits to fill */
static void expect_reclaimed(Link *l)
{
    qvser_settle(l->drv);
    guest_reclaims(l);
    g_assert_cmpuint(ovq(l)->posted.length, ==, 0);
}

/* All that was sent arrives, and nothing else does */
static void finish(Link *l)
{
    gint64 start = g_get_monotonic_time();

    while (l->to_host.got < l->to_host.put ||
           l->to_guest.got < l->to_guest.put ||
           ovq(l)->posted.length) {
        vser_end_write(l->end, NULL, 0);
        host_reads(l);
        guest_reclaims(l);
        guest_takes(l);
        if (!ivq(l)->posted.length) {
            guest_adds(l, ivq(l), NULL);
        }
        if (g_get_monotonic_time() - start > QVSER_TIMEOUT_US) {
            g_error("to the host %" PRIu64 " of %" PRIu64 " bytes have come, "
                    "%u buffers not back, to the guest %" PRIu64 " of %" PRIu64,
                    l->to_host.got, l->to_host.put, ovq(l)->posted.length,
                    l->to_guest.got, l->to_guest.put);
        }
    }
    drain_guest(l);
    g_assert_false(host_reads(l));
    qvser_check_untouched(l->drv, ivq(l));
}

/* Take events until @event comes */
static void wait_event(Link *l, uint16_t event, uint16_t value)
{
    QVSerEvent ev;

    do {
        qvser_next(l->drv, &ev);
    } while (ev.id != ID || ev.event != event || ev.value != value);
}

static void wait_open(Link *l, bool open)
{
    wait_event(l, VIRTIO_CONSOLE_PORT_OPEN, open);
}

/* From the device's announcing the port until both ends have it open */
static void open_port(Link *l)
{
    wait_event(l, VIRTIO_CONSOLE_PORT_ADD, 1);
    vser_port_ready(l->drv, ID);
    wait_open(l, true);
    vser_port_open(l->drv, ID);
}

static void start_driver(Link *l)
{
    l->drv->data_ports = 1 << ID;
    l->drv->indirect = has_segments(l->shape);
    l->drv->event_idx = true;
    vser_restart(l->drv, CONTROL_BUFFERS, LARGE);
    vser_device_ready(l->drv);
}

static void plug(QTestState *qts, const char *driver)
{
    qtest_qmp_device_add(qts, driver, "port1", "{ 'bus': 'vser0.0',"
                         " 'nr': %u, 'chardev': 'end' }", ID);
}

static void link_init(Link *l, void *obj, QGuestAllocator *alloc, Shape shape)
{
    uint64_t seed = get_number("VIRTIO_SERIAL_STREAM_SEED", 1);
    uint64_t size = get_number("VIRTIO_SERIAL_STREAM_KIB", 256) * 1024;

    if (shape == SINGLE_BYTES) {
        size /= 256;
    }
    /* The case leaves QEMU in another state: cases have a QEMU of their own */
    qos_invalidate_command_line();
    g_test_message("VIRTIO_SERIAL_STREAM_SEED=%" PRIu64, seed);
    *l = (Link) {
        .drv = vser_new_driver(obj, alloc, &vser_plain),
        .rand = g_rand_new_with_seed(seed),
        .shape = shape,
        .data = g_byte_array_new(),
        .to_host = { .name = "host", .limit = size },
        .to_guest = { .name = "guest", .limit = size },
    };
    new_stream(l, &l->to_host);
    new_stream(l, &l->to_guest);
}

static void link_cleanup(Link *l)
{
    if (!l->drv) {
        return;
    }
    if (l->end) {
        vser_end_free(l->end, false);
    }
    qvser_free(l->drv);
    g_rand_free(l->rand);
    g_byte_array_unref(l->data);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Link, link_cleanup)

/* A port that is open at both ends of @backend */
static void link_up(Link *l, void *obj, QGuestAllocator *alloc, Shape shape,
                    const VSerBackend *backend)
{
    link_init(l, obj, alloc, shape);
    l->end = vser_end_new(l->drv->qts, "end", backend);
    start_driver(l);
    /* A hub passes on that a chardev is open only while someone listens */
    plug(l->drv->qts, "virtserialport");
    vser_end_connect(l->end);
    open_port(l);
}

/* The same if this QEMU has @backend; if not, skip the case */
static bool link_up_if_there(Link *l, void *obj, QGuestAllocator *alloc,
                             const VSerBackend *backend)
{
    if (vser_skip_without_backend(global_qtest, backend)) {
        return false;
    }
    link_up(l, obj, alloc, backend->bytewise ? SINGLE_BYTES : ANY_SHAPE,
            backend);
    return true;
}

/* A console, which is open at the host's end whoever is there */
static void console_up(Link *l, void *obj, QGuestAllocator *alloc, Shape shape,
                       const VSerBackend *backend)
{
    link_init(l, obj, alloc, shape);
    l->end = vser_end_new(l->drv->qts, "end", backend);
    start_driver(l);
    vser_end_connect(l->end);
    plug(l->drv->qts, "virtconsole");
    open_port(l);
}

/*
 * Counters
 */

/* Returns: whether the port has such a counter, as stock QEMU's has not */
static bool get_counter(QTestState *qts, const char *name, uint64_t *value)
{
    QDict *response = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                                " 'path': '/machine/peripheral/port1',"
                                " 'property': %s } }", name);
    bool found = qdict_haskey(response, "return");

    if (found) {
        *value = qdict_get_int(response, "return");
    }
    qobject_unref(response);
    return found;
}

static void expect_counter(QTestState *qts, const char *name, uint64_t expected)
{
    uint64_t value;

    if (!get_counter(qts, name, &value)) {
        g_test_message("not checked: this QEMU has no %s", name);
        return;
    }
    g_assert_cmpuint(value, ==, expected);
}

/*
 * Backends and shapes
 */

/* A stream each way, then more to the host than the chardev takes at once */
static void use_backend(Link *l)
{
    run(l, NULL);
    finish(l);
    if (!l->end->backend->bytewise) {
        l->shape = LARGEST;
    }
    throttle(l);
    finish(l);
    expect_counter(l->drv->qts, "bytes-to-host", l->to_host.got);
    expect_counter(l->drv->qts, "bytes-to-guest", l->to_guest.got);
    expect_counter(l->drv->qts, "bytes-copied",
                   l->end->backend->copies ? l->to_guest.got : 0);
}

/* Returns: how much of the stream is in the log file, each byte of it once */
static uint64_t read_log(Link *l)
{
    g_autofree char *path = g_strdup_printf("%s.log", l->end->path);
    g_autoptr(GByteArray) data = NULL;
    Stream s = l->to_host;
    char *text;
    gsize len;

    g_assert_true(g_file_get_contents(path, &text, &len, NULL));
    data = g_byte_array_new_take((uint8_t *)text, len);
    s.got = 0;
    stream_got(&s, data);
    return s.got;
}

static void test_backend(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerBackend *backend = arg;
    g_auto(Link) l = { 0 };

    if (!link_up_if_there(&l, obj, alloc, backend)) {
        return;
    }
    use_backend(&l);

    if (backend->logged) {
        g_assert_cmpuint(read_log(&l), ==, l.to_host.put);
    }
}

/* @arg: the shape */
static void test_shape(void *obj, void *arg, QGuestAllocator *alloc)
{
    Shape shape = (uintptr_t)arg;
    g_auto(Link) l = { 0 };

    link_up(&l, obj, alloc, shape, vser_unix);
    run(&l, NULL);
    finish(&l);
}

/* In a QEMU of its own, with the test at its standard input and output */
static void test_stdio(void *obj, void *arg, QGuestAllocator *alloc)
{
    VSerEnd *end = vser_end_new(NULL, "end", &vser_stdio);
    g_autofree char *chardev = vser_stdio_args(end);
    g_autofree char *args = g_strdup_printf("%s %s",
                                            qos_get_current_command_line(),
                                            chardev);
    QTestState *qts = vser_start_qemu(NULL, args);
    QVirtioSerial *serial = qos_allocate_objects(qts, &alloc);
    g_auto(Link) l = { 0 };

    link_init(&l, serial, alloc, ANY_SHAPE);
    l.drv->qts = end->qts = qts;
    l.end = end;
    start_driver(&l);
    plug(qts, "virtserialport");
    vser_end_connect(end);
    open_port(&l);
    use_backend(&l);
    qtest_quit(qts);
}

/*
 * Each buffer of the guest is one datagram to the host. A datagram to the
 * guest comes whole, even if it takes many buffers. No datagram waits, because
 * a socket may drop one of many. QEMU never says that a udp chardev is open,
 * so udp is for consoles only.
 */
static void test_datagrams(void *obj, void *arg, QGuestAllocator *alloc)
{
    uint32_t size;
    g_auto(Link) l = { 0 };
    unsigned int i;

    console_up(&l, obj, alloc, ANY_SHAPE, &vser_udp);
    for (i = 0; i < 200; i++) {
        g_autofree uint8_t *data = NULL;

        size = random_size(&l, 32 * 1024);
        data = stream_put(&l.to_host, size);
        qvser_queue(l.drv, ovq(&l), &size, 1, data);
        qvser_kick(l.drv, ovq(&l));
        expect_reclaimed(&l);
        if (i == 0) {
            vser_end_answer(l.end);
        }
        g_byte_array_set_size(l.data, 0);
        g_assert_true(vser_end_read(l.end, SIZE_MAX_BUFFER, l.data));
        g_assert_cmpuint(l.data->len, ==, size);
        stream_got(&l.to_host, l.data);
    }
    for (i = 0; i < 200; i++) {
        g_autofree uint8_t *data = NULL;

        /* QEMU cuts larger ones */
        size = random_size(&l, 4096);
        data = stream_put(&l.to_guest, size);
        g_assert_cmpuint(vser_end_write(l.end, data, size), ==, 0);
        finish(&l);
    }
    expect_counter(l.drv->qts, "bytes-to-host", l.to_host.got);
    expect_counter(l.drv->qts, "bytes-to-guest", l.to_guest.got);
    expect_counter(l.drv->qts, "bytes-copied", l.to_guest.got);
}

/* Each buffer of the guest's is a message to a websocket's client */
static void test_frames(void *obj, void *arg, QGuestAllocator *alloc)
{
    const unsigned int count = 3;
    g_auto(Link) l = { 0 };
    unsigned int i;

    link_up(&l, obj, alloc, ANY_SHAPE, vser_find_backend("websocket"));
    for (i = 0; i < count; i++) {
        g_autofree uint8_t *data = stream_put(&l.to_host, 100);

        qvser_queue(l.drv, ovq(&l), (uint32_t []) { 100 }, 1, data);
    }
    qvser_kick(l.drv, ovq(&l));
    finish(&l);
    g_assert_cmpuint(l.end->frames, ==, count);
}

/* Segments that adjoin in memory, now and then */
static void toggle_adjoin(Link *l)
{
    l->drv->adjoin = !l->drv->adjoin;
}

static void test_adjoining(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_auto(Link) l = { 0 };

    link_up(&l, obj, alloc, ANY_SHAPE, vser_unix);
    run(&l, toggle_adjoin);
    finish(&l);
    l.shape = LONG_CHAINS;
    l.to_host.limit += 32 * 1024;
    l.to_guest.limit += 32 * 1024;
    run(&l, toggle_adjoin);
    finish(&l);
}

/* What a chardev that only takes has got */
static GByteArray *read_sink(Link *l, const char *type, const char *path)
{
    gsize len;
    char *text;

    if (g_str_equal(type, "ringbuf")) {
        QDict *response = qtest_qmp(l->drv->qts, "{ 'execute': 'ringbuf-read',"
                                    " 'arguments': { 'device': 'end',"
                                    " 'size': %u, 'format': 'base64' } }",
                                    SIZE_MAX_POSTED);

        g_assert_true(qdict_haskey(response, "return"));
        text = (char *)g_base64_decode(qdict_get_str(response, "return"), &len);
        qobject_unref(response);
    } else {
        g_assert_true(g_file_get_contents(path, &text, &len, NULL));
    }
    return g_byte_array_new_take((uint8_t *)text, len);
}

/* @arg: the type of such a chardev */
static void test_sink(void *obj, void *arg, QGuestAllocator *alloc)
{
    const char *type = arg;
    g_autofree char *path = NULL;
    g_autoptr(GByteArray) data = NULL;
    g_auto(Link) l = { 0 };
    QDict *options = qdict_new();
    int fd = g_file_open_tmp("virtio-serial-test-XXXXXX", &path, NULL);

    close(fd);
    link_init(&l, obj, alloc, ANY_SHAPE);
    if (g_str_equal(type, "ringbuf")) {
        qdict_put_int(options, "size", RINGBUF);
        l.to_host.limit = RINGBUF;
    } else {
        qdict_put_str(options, "out", path);
    }
    qobject_unref(vser_add_chardev(l.drv->qts, "end", qdict_from_jsonf_nofail(
        "{ 'type': %s, 'data': %p }", type, options)));
    start_driver(&l);
    plug(l.drv->qts, "virtserialport");
    open_port(&l);

    while (l.to_host.put < l.to_host.limit) {
        guest_adds(&l, ovq(&l), &l.to_host);
        expect_reclaimed(&l);
    }
    expect_counter(l.drv->qts, "bytes-to-host", l.to_host.put);
    data = read_sink(&l, type, path);
    stream_got(&l.to_host, data);
    g_assert_cmpuint(l.to_host.got, ==, l.to_host.put);
    unlink(path);
}

/*
 * The guest or the connection ends, and begins again
 */

/* Bytes that the device was done with have to be there */
static void expect_acknowledged(Link *l, uint64_t acknowledged)
{
    while (host_reads(l)) {
        continue;
    }
    g_assert_cmpuint(l->to_host.got, >=, acknowledged);
}

static uint64_t get_acknowledged(Link *l)
{
    guest_reclaims(l);
    return l->to_host.put - qvser_posted_size(ovq(l));
}

/*
 * While the machine is stopped, nothing happens to the guest, whatever the
 * host does. The host reads something, or @all that is there.
 */
static void stop_and_cont(Link *l, bool all)
{
    unsigned int in, out, i;

    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'stop' }");
    in = qvser_nr_used(l->drv, ivq(l));
    out = qvser_nr_used(l->drv, ovq(l));
    for (i = 0; i < 5; i++) {
        host_writes(l);
        while (host_reads(l) && all) {
            continue;
        }
        qvser_settle(l->drv);
    }
    g_assert_cmpuint(qvser_nr_used(l->drv, ivq(l)), ==, in);
    g_assert_cmpuint(qvser_nr_used(l->drv, ovq(l)), ==, out);
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'cont' }");
}

static void stop(Link *l)
{
    stop_and_cont(l, false);
}

static void hear_out_stopped(Link *l)
{
    stop_and_cont(l, true);
}

/* The guest closes the port. Its buffers in the ring stay as they are. */
static void close_and_open(Link *l)
{
    drain_guest(l);
    qvser_send(l->drv, ID, VIRTIO_CONSOLE_PORT_OPEN, 0);
    guest_adds(l, ivq(l), NULL);
    host_writes(l);
    qvser_settle(l->drv);
    g_assert_cmpuint(qvser_nr_used(l->drv, ivq(l)), ==, 0);
    vser_port_open(l->drv, ID);
}

/*
 * Buffers that the guest has got back were written to the host. Some bytes of
 * other buffers may have been written too. Bytes of the host wait for the
 * guest.
 */
static void reset(Link *l)
{
    uint64_t acknowledged;

    drain_guest(l);
    qvser_check_untouched(l->drv, ivq(l));
    acknowledged = get_acknowledged(l);
    start_driver(l);
    open_port(l);
    qvser_settle(l->drv);
    expect_acknowledged(l, acknowledged);
    new_stream(l, &l->to_host);
}

/*
 * The port goes, but not its queues: the next port has to be able to use them
 */
static void replug(Link *l)
{
    uint64_t acknowledged;

    drain_guest(l);
    qvser_check_untouched(l->drv, ivq(l));
    acknowledged = get_acknowledged(l);
    vser_unplug(l->drv->qts, ID);
    wait_event(l, VIRTIO_CONSOLE_PORT_REMOVE, 1);
    expect_reclaimed(l);
    qvser_check_untouched(l->drv, ivq(l));
    expect_acknowledged(l, acknowledged);
    new_stream(l, &l->to_host);
    plug(l->drv->qts, "virtserialport");
    open_port(l);
}

static void connect_again(Link *l)
{
    new_stream(l, &l->to_host);
    new_stream(l, &l->to_guest);
    vser_end_connect(l->end);
    wait_open(l, true);
}

/*
 * The host goes at any time, and comes back. Bytes that QEMU has not read are
 * lost, and so are bytes that the guest writes before it hears of the change.
 * The guest gets all buffers back.
 */
static void reconnect(Link *l)
{
    drain_guest(l);
    qvser_check_untouched(l->drv, ivq(l));
    vser_end_disconnect(l->end);
    wait_open(l, false);
    drain_guest(l);
    expect_reclaimed(l);

    guest_adds(l, ovq(l), &l->to_host);
    expect_reclaimed(l);
    qvser_check_untouched(l->drv, ivq(l));
    connect_again(l);
}

/*
 * A write is the first to see that the host has gone; chains are long or short
 */
static void test_gone_in_write(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_auto(Link) l = { 0 };
    int i;

    link_up(&l, obj, alloc, (uintptr_t)arg, vser_unix);
    for (i = 0; i < 10; i++) {
        g_assert_cmpint(shutdown(l.end->in, SHUT_RD), ==, 0);
        guest_adds(&l, ovq(&l), &l.to_host);
        wait_open(&l, false);
        expect_reclaimed(&l);
        vser_end_disconnect(l.end);
        connect_again(&l);
    }
    run(&l, NULL);
    finish(&l);
}

typedef struct Untold {
    bool waiting;           /* bytes wait when the host goes */
    bool between;           /* the guest writes while it is away */
} Untold;

/*
 * The guest has no control buffer when the host goes and comes back. The two
 * changes are none, unless bytes were lost.
 */
static void test_untold(void *obj, void *arg, QGuestAllocator *alloc)
{
    const Untold *u = arg;
    g_auto(Link) l = { 0 };
    int i;

    link_up(&l, obj, alloc, PAGES, vser_unix);
    l.drv->keep = true;
    for (i = 0; i < CONTROL_BUFFERS / 2; i++) {
        vser_end_disconnect(l.end);
        wait_open(&l, false);
        connect_again(&l);
    }
    if (u->waiting) {
        throttle(&l);
    }
    vser_end_disconnect(l.end);
    vser_end_wait(l.end, false);
    if (u->between) {
        guest_adds(&l, ovq(&l), &l.to_host);
    }
    expect_reclaimed(&l);
    vser_end_connect(l.end);
    vser_end_wait(l.end, true);
    vser_expect_nothing(l.drv);

    l.drv->keep = false;
    qvser_give_back(l.drv);
    if (u->waiting || u->between) {
        vser_expect_open(l.drv, ID, false);
    }
    vser_expect_open(l.drv, ID, true);
    vser_expect_nothing(l.drv);
    new_stream(&l, &l.to_host);
    new_stream(&l, &l.to_guest);
    l.to_host.limit = l.to_guest.limit = 16 * 1024;
    run(&l, NULL);
    finish(&l);
}

/*
 * The host writes while the guest has no buffers, and closes the connection.
 * The guest gets the bytes all the same. If the bytes just fill a buffer, QEMU
 * may find their end and the end of the connection in one call. @arg: the name
 * of the backend
 */
static void test_gone_after_write(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerBackend *backend = vser_find_backend(arg);
    g_auto(Link) l = { 0 };
    int i;

    if (vser_skip_without_backend(global_qtest, backend)) {
        return;
    }
    link_up(&l, obj, alloc, ANY_SHAPE, backend);
    for (i = 0; i < 10; i++) {
        uint32_t size = random_size(&l, 4096);
        g_autofree uint8_t *data = stream_put(&l.to_guest, size);

        vser_end_write(l.end, data, size);
        vser_end_flush(l.end);
        /*
         * A client between the test and QEMU has to have passed the bytes on,
         * too
         */
        ping_host(&l);
        vser_end_disconnect(l.end);

        qvser_queue(l.drv, ivq(&l), &size, 1, NULL);
        qvser_queue(l.drv, ivq(&l), &size, 1, NULL);
        qvser_kick(l.drv, ivq(&l));
        wait_open(&l, false);
        drain_guest(&l);
        g_assert_cmpuint(l.to_guest.got, ==, size);
        qvser_check_untouched(l.drv, ivq(&l));

        new_stream(&l, &l.to_host);
        new_stream(&l, &l.to_guest);
        vser_end_connect(l.end);
        start_driver(&l);
        open_port(&l);
    }
    run(&l, NULL);
    finish(&l);
}

/*
 * A buffer that is lent to the host is the device's own status register, and
 * another one is lent with it. @arg: what the host writes there, a 0 to reset
 * the device or the status of a driver that runs, with which it goes on
 */
static void test_register(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_auto(Link) l = { 0 };
    g_autoptr(GByteArray) got = g_byte_array_new();
    const uint8_t bytes[] = { 'x', (uintptr_t)arg };
    QVSerSegment segments[2] = { { 1 }, { 1 } };
    gint64 start = g_get_monotonic_time();

    link_up(&l, obj, alloc, ANY_SHAPE, vser_unix);
    segments[1].addr = vser_status_register(l.drv);
    if (!segments[1].addr) {
        return;
    }
    qvser_queue_segments(l.drv, ivq(&l), segments, 2);
    qvser_queue(l.drv, ivq(&l), (uint32_t []) { 64 }, 1, NULL);
    qvser_kick(l.drv, ivq(&l));
    vser_end_write(l.end, bytes, sizeof(bytes));
    vser_end_flush(l.end);
    while (arg ? !qvser_next_used(l.drv, ivq(&l), got)
               : l.drv->vdev->bus->get_status(l.drv->vdev)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    if (arg) {
        g_assert_cmpmem(got->data, got->len, bytes, sizeof(bytes));
    } else {
        start_driver(&l);
        open_port(&l);
    }
    run(&l, NULL);
    finish(&l);
}

/*
 * The host goes while the guest is stopped. The guest hears of it when it
 * runs.
 */
static void gone_while_stopped(Link *l)
{
    drain_guest(l);
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'stop' }");
    vser_end_disconnect(l->end);
    qvser_settle(l->drv);
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'cont' }");
    wait_open(l, false);
    drain_guest(l);
    expect_reclaimed(l);
    connect_again(l);
}

/*
 * The host goes while the guest is stopped, and another host comes. The result
 * is the same as if the guest had run: the second host gets no byte that was
 * for the first host.
 */
static void other_while_stopped(Link *l)
{
    bool waits;

    drain_guest(l);
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'stop' }");
    drain_guest(l);
    guest_reclaims(l);
    waits = ovq(l)->posted.length;
    vser_end_disconnect(l->end);
    vser_end_wait(l->end, false);
    new_stream(l, &l->to_host);
    new_stream(l, &l->to_guest);
    vser_end_connect(l->end);
    vser_end_wait(l->end, true);
    g_assert_cmpuint(qvser_nr_used(l->drv, ovq(l)), ==, 0);
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'cont' }");
    if (waits) {
        wait_open(l, false);
    }
    wait_open(l, true);
    drain_guest(l);
    expect_reclaimed(l);
    g_assert_false(host_reads(l));
}

/* The host comes while the guest is stopped: it hears of it when it runs */
static void came_while_stopped(Link *l)
{
    drain_guest(l);
    vser_end_disconnect(l->end);
    wait_open(l, false);
    drain_guest(l);
    expect_reclaimed(l);
    new_stream(l, &l->to_host);
    new_stream(l, &l->to_guest);
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'stop' }");
    vser_end_connect(l->end);
    vser_end_wait(l->end, true);
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'cont' }");
    wait_open(l, true);
}

typedef struct Disturbance {
    void (*disturb)(Link *l);
    const VSerBackend *backend;
} Disturbance;

/* @arg: a Disturbance */
static void test_disturbed(void *obj, void *arg, QGuestAllocator *alloc)
{
    const Disturbance *d = arg;
    g_auto(Link) l = { 0 };

    link_up(&l, obj, alloc, ANY_SHAPE, d->backend);
    run(&l, d->disturb);
    finish(&l);
}

/* The driver starts once more, the machine stops: no back end minds */
static void test_restart(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerBackend *backend = arg;
    g_auto(Link) l = { 0 };

    if (!link_up_if_there(&l, obj, alloc, backend)) {
        return;
    }
    run_steps(&l, 200);
    finish(&l);
    reset(&l);
    run_steps(&l, 200);
    stop(&l);
    run(&l, NULL);
    finish(&l);
}

/*
 * The host does not read, so one buffer is written in part and others wait.
 * Then something happens (@arg), and the port has to work as before.
 */
static void test_throttled(void *obj, void *arg, QGuestAllocator *alloc)
{
    const Disturbance *d = arg;
    g_auto(Link) l = { 0 };
    uint64_t size;

    link_up(&l, obj, alloc, ANY_SHAPE, d->backend);
    size = l.to_host.limit;
    throttle(&l);
    d->disturb(&l);
    /* Waiting bytes go on without a notification by the guest */
    finish(&l);
    l.to_host.limit = l.to_host.put + size;
    run(&l, NULL);
    finish(&l);
    g_assert_cmpuint(ovq(&l)->nr_free, ==, ovq(&l)->vq->size);
}

/*
 * A mux says that it is open while nobody is connected. Bytes of the guest
 * wait for the next client, which no watch reports.
 */
static void test_late_mux(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_auto(Link) l = { 0 };

    link_init(&l, obj, alloc, PAGES);
    l.end = vser_end_new(l.drv->qts, "end", vser_find_backend("mux"));
    start_driver(&l);
    plug(l.drv->qts, "virtserialport");
    open_port(&l);
    guest_adds(&l, ovq(&l), &l.to_host);
    qvser_settle(l.drv);
    g_assert_false(guest_reclaims(&l));
    vser_end_connect(l.end);
    finish(&l);
}

/* Make @backend the port's chardev; the host reads all bytes of the old one */
static void replace_chardev(Link *l, VSerEnd *next, QDict *backend)
{
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'chardev-change',"
                             " 'arguments': { 'id': 'end',"
                             " 'backend': %p } }", backend);
    while (host_reads(l)) {
        continue;
    }
    vser_end_free(l->end, false);
    l->end = next;
}

/*
 * Another chardev takes the place of the first one, and gets the bytes that
 * the first one had not taken. The host has read all bytes of the first one.
 */
static void change(Link *l)
{
    VSerEnd *next = vser_end_new(l->drv->qts, "next", vser_pair);
    gint64 start = g_get_monotonic_time();
    int theirs = next->theirs;

    while (l->to_guest.got < l->to_guest.put) {
        guest_adds(l, ivq(l), NULL);
        vser_end_write(l->end, NULL, 0);
        guest_takes(l);
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'chardev-remove',"
                             " 'arguments': { 'id': 'next' } }");
    qtest_qmp_fds_assert_success(l->drv->qts, &theirs, 1,
                                 "{ 'execute': 'getfd',"
                                 " 'arguments': { 'fdname': 'end' } }");
    replace_chardev(l, next, qdict_from_jsonf_nofail(
        "{ 'type': 'socket', 'data': { 'server': false,"
        " 'addr': { 'type': 'fd', 'data': { 'str': 'end' } } } }"));
    vser_end_connect(next);
}

/* The new chardev reads into the guest's memory, as the first one did */
static void test_changed(void *obj, void *arg, QGuestAllocator *alloc)
{
    const Disturbance *d = arg;
    g_auto(Link) l = { 0 };

    link_up(&l, obj, alloc, ANY_SHAPE, d->backend);
    run(&l, change);
    finish(&l);
    expect_counter(l.drv->qts, "bytes-copied", 0);
}

/*
 * A chardev that always has room takes the place of one whose host does not
 * read. It has no watch to wait for, and gets all waiting bytes at once.
 */
static void test_change_to_sink(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(GByteArray) data = NULL;
    g_auto(Link) l = { 0 };

    link_up(&l, obj, alloc, PAGES, &vser_backends[1]);
    throttle(&l);
    qtest_qmp_assert_success(l.drv->qts, "{ 'execute': 'chardev-change',"
                             " 'arguments': { 'id': 'end', 'backend': {"
                             " 'type': 'ringbuf', 'data': { 'size': %u } } } }",
                             SIZE_MAX_POSTED);
    while (host_reads(&l)) {
        continue;
    }
    expect_reclaimed(&l);
    data = read_sink(&l, "ringbuf", NULL);
    stream_got(&l.to_host, data);
    g_assert_cmpuint(l.to_host.got, ==, l.to_host.put);
}

/* A chardev without a client: the same as if the host had gone */
static void change_to_closed(Link *l)
{
    VSerEnd *next = vser_end_new(l->drv->qts, "next", vser_unix);

    drain_guest(l);
    qtest_qmp_assert_success(l->drv->qts, "{ 'execute': 'chardev-remove',"
                             " 'arguments': { 'id': 'next' } }");
    replace_chardev(l, next, qdict_from_jsonf_nofail(
        "{ 'type': 'socket', 'data': { 'server': true, 'wait': false,"
        " 'addr': { 'type': 'unix', 'data': { 'path': %s } } } }",
        next->path));
    wait_open(l, false);
    drain_guest(l);
    expect_reclaimed(l);
    connect_again(l);
}

/*
 * Migration
 */

/* The host has to send the bytes again that QEMU has not read */
static void unsend(Link *l)
{
    uint8_t data[4096];
    ssize_t len;

    g_assert_cmpint(fcntl(l->end->theirs, F_SETFL, O_NONBLOCK), ==, 0);
    l->to_guest.put -= l->end->written->len;
    while ((len = read(l->end->theirs, data, sizeof(data))) > 0) {
        l->to_guest.put -= len;
    }
}

/* The host reads all that the stopped @from has sent, or may still send */
static void hear_out(Link *l, QTestState *from)
{
    int i;

    do {
        for (i = 0; i < 5; i++) {
            qtest_readb(from, ivq(l)->vq->desc);
        }
    } while (host_reads(l));
}

typedef struct Migration {
    bool throttled;         /* the host does not read, so the guest waits */
    bool host_comes_later;  /* nobody is there at first */
    bool quiet;             /* the device wants to hear of no more buffers */
    const char *to;         /* the variable that names the destination's QEMU */
} Migration;

static void test_migrate(void *obj, void *arg, QGuestAllocator *alloc)
{
    const Migration *m = arg;
    QTestState *from = global_qtest, *to;
    uint64_t size;
    g_auto(Link) l = { 0 };
    VSerEnd *end;

    if (m->to && vser_skip_without(m->to)) {
        return;
    }
    link_up(&l, obj, alloc, ANY_SHAPE, vser_pair);
    to = vser_new_destination(m->to, NULL);
    end = vser_end_new(to, "end",
                       m->host_comes_later ? vser_unix : vser_pair);
    plug(to, "virtserialport");
    size = l.to_host.limit;
    run_steps(&l, 200);
    if (m->throttled) {
        throttle(&l);
        l.to_host.limit = MAX(size, l.to_host.put);
    }
    if (!m->host_comes_later) {
        vser_end_connect(end);
    }
    if (m->quiet) {
        make_quiet(&l);
    }

    g_assert_true(vser_migrate(l.drv, to));
    if (m->quiet) {
        /* The present chardev may have no other way to learn of buffers */
        g_assert_true(qvser_is_awaited(l.drv, ivq(&l)));
    }
    hear_out(&l, from);
    unsend(&l);
    vser_end_free(l.end, false);
    l.end = end;
    if (m->host_comes_later) {
        wait_open(&l, false);
        vser_end_connect(end);
        wait_open(&l, true);
    }
    run(&l, NULL);
    finish(&l);
    vser_end_free(g_steal_pointer(&l.end), false);
    qtest_quit(to);
}

/* In a stream: a port that is open at both ends and was sending a buffer */
typedef struct Sending {
    uint32_t id;
    uint8_t guest_connected, host_connected;
    uint32_t any;
    uint32_t segment;       /* the next one, and where in it to go on */
    uint64_t offset;
} QEMU_PACKED Sending;

/* Find the last one in @stream: the guest's memory comes before devices */
static Sending *find_sending(char *stream, gsize size)
{
    const Sending first = { cpu_to_be32(ID), 1, 1, cpu_to_be32(1) };
    char *p;

    for (p = stream + size - sizeof(first); p > stream; p--) {
        Sending *found = (Sending *)p;

        if (!memcmp(p, &first, offsetof(Sending, segment)) &&
            be32_to_cpu(found->segment) < SEGMENTS_MAX &&
            be64_to_cpu(found->offset) < SIZE_MAX_BUFFER) {
            return found;
        }
    }
    g_assert_not_reached();
}

/*
 * The source takes a buffer out of the ring before the host has taken a byte
 * of the buffer, as stock QEMU does. At the destination the host takes
 * nothing.
 */
static void test_migrate_not_begun(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const uint8_t filler[4096];
    uint32_t lens[64];
    g_autofree char *path = vser_temp_file(), *stream = NULL;
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    g_auto(Link) l = { 0 };
    QTestState *to;
    QVirtioSerial *serial;
    Sending *sending;
    VSerEnd *end;
    size_t filled = 0;
    ssize_t ret;
    gsize size;
    int i;

    link_up(&l, obj, alloc, ANY_SHAPE, vser_pair);
    to = vser_new_destination(NULL, NULL);
    end = vser_end_new(to, "end", vser_pair);
    plug(to, "virtserialport");
    vser_end_connect(end);
    g_assert_cmpint(fcntl(end->theirs, F_SETFL, O_NONBLOCK), ==, 0);
    while ((ret = write(end->theirs, filler, sizeof(filler))) > 0) {
        filled += ret;
    }

    /* More than the socket takes, of buffers that malloc() has no cache for */
    for (i = 0; i < ARRAY_SIZE(lens); i++) {
        lens[i] = 1024;
    }
    do {
        for (i = 0; i < 4; i++) {
            g_autofree uint8_t *data = stream_put(&l.to_host,
                                                  sum(lens, ARRAY_SIZE(lens)));

            qvser_queue(l.drv, ovq(&l), lens, ARRAY_SIZE(lens), data);
        }
        qvser_kick(l.drv, ovq(&l));
        qvser_settle(l.drv);
    } while (guest_reclaims(&l) && !ovq(&l)->posted.length);
    l.to_host.limit = l.to_host.put;

    vser_migrate_out(l.drv->qts, uri);
    g_assert_true(vser_migration_succeeded(l.drv->qts));
    g_assert_true(g_file_get_contents(path, &stream, &size, NULL));
    sending = find_sending(stream, size);
    sending->segment = 0;
    sending->offset = 0;
    g_assert_true(g_file_set_contents(path, stream, size, NULL));
    l.to_host.got = l.to_host.put - qvser_posted_size(ovq(&l));

    serial = qos_allocate_objects(to, &alloc);
    vser_migrate_in(to, uri);
    g_assert_true(vser_arrive(l.drv, to, serial, alloc));
    g_unlink(path);
    qvser_settle(l.drv);
    vser_end_free(l.end, false);
    l.end = end;
    while (filled) {
        g_byte_array_set_size(l.data, 0);
        vser_end_read(l.end, filled, l.data);
        filled -= l.data->len;
    }
    finish(&l);
    vser_end_free(g_steal_pointer(&l.end), false);
    qtest_quit(to);
}

/* Have @qts do a job, with @args beside its id, until it is done */
static void run_job(QTestState *qts, const char *command, QDict *args)
{
    gint64 start = g_get_monotonic_time();
    bool concluded = false;

    qdict_put_str(args, "job-id", "job");
    qtest_qmp_assert_success(qts, "{ 'execute': %s, 'arguments': %p }",
                             command, args);
    while (!concluded) {
        QDict *jobs = qtest_qmp(qts, "{ 'execute': 'query-jobs' }");
        const QListEntry *entry;

        QLIST_FOREACH_ENTRY(qdict_get_qlist(jobs, "return"), entry) {
            QDict *job = qobject_to(QDict, qlist_entry_obj(entry));

            g_assert_null(qdict_get_try_str(job, "error"));
            concluded = g_str_equal(qdict_get_str(job, "status"), "concluded");
        }
        qobject_unref(jobs);
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'job-dismiss',"
                             " 'arguments': { 'id': 'job' } }");
}

/* Save a snapshot of @qts, and have it go on from there */
static void save_and_load(QTestState *qts)
{
    static const char *const commands[] = { "snapshot-save", "snapshot-load" };
    const int size = 64 * 1024 * 1024;
    g_autofree char *path = vser_temp_file();
    int i;

    run_job(qts, "blockdev-create", qdict_from_jsonf_nofail(
        "{ 'options': { 'driver': 'file', 'filename': %s, 'size': 0 } }",
        path));
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': {"
                             " 'driver': 'file', 'filename': %s,"
                             " 'node-name': 'file' } }", path);
    run_job(qts, "blockdev-create", qdict_from_jsonf_nofail(
        "{ 'options': { 'driver': 'qcow2', 'file': 'file', 'size': %d } }",
        size));
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': {"
                             " 'driver': 'qcow2', 'file': 'file',"
                             " 'node-name': 'disk' } }");
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        run_job(qts, commands[i], qdict_from_jsonf_nofail(
            "{ 'tag': 'here', 'vmstate': 'disk', 'devices': [ 'disk' ] }"));
    }
    qtest_clock_step(qts, 1000 * 1000);
    unlink(path);
}

/* Bytes that wait for the host wait through more migrations and snapshots */
static void test_migrate_twice(void *obj, void *arg, QGuestAllocator *alloc)
{
    QTestState *from = global_qtest, *to[2];
    g_auto(Link) l = { 0 };
    VSerEnd *end;
    uint64_t size;
    int i;

    link_up(&l, obj, alloc, ANY_SHAPE, vser_pair);
    size = l.to_host.limit;
    throttle(&l);
    for (i = 0; i < 2; i++) {
        to[i] = vser_new_destination(NULL, NULL);
        end = vser_end_new(to[i], "end", vser_unix);
        plug(to[i], "virtserialport");
        g_assert_true(vser_migrate(l.drv, to[i]));
        if (i == 0) {
            hear_out(&l, from);
        }
        vser_end_free(l.end, false);
        l.end = end;
        wait_open(&l, false);
        save_and_load(to[i]);
        wait_open(&l, false);
    }
    vser_end_connect(l.end);
    wait_open(&l, true);
    finish(&l);
    l.to_host.limit = l.to_host.put + size;
    run(&l, NULL);
    finish(&l);
    vser_end_free(g_steal_pointer(&l.end), false);
    qtest_quit(to[0]);
    qtest_quit(to[1]);
}

/*
 * The host goes while the machine is stopped. Then the machine moves. Bytes
 * for that host are not for the host at the destination. @arg: not NULL if
 * another host comes at the source
 */
static void test_migrate_gone(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *path = vser_temp_file();
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    /* Before there is a connection, which QEMU would inherit */
    QTestState *to = vser_new_destination(NULL, NULL);
    QVirtioSerial *serial;
    g_auto(Link) l = { 0 };
    VSerEnd *end;

    link_up(&l, obj, alloc, ANY_SHAPE, vser_unix);
    serial = qos_allocate_objects(to, &alloc);
    end = vser_end_new(to, "end", vser_pair);
    plug(to, "virtserialport");
    vser_end_connect(end);
    throttle(&l);
    qtest_qmp_assert_success(l.drv->qts, "{ 'execute': 'stop' }");
    vser_end_disconnect(l.end);
    vser_end_wait(l.end, false);
    new_stream(&l, &l.to_host);
    if (arg) {
        vser_end_connect(l.end);
        vser_end_wait(l.end, true);
    }
    vser_migrate_out(l.drv->qts, uri);
    g_assert_true(vser_migration_succeeded(l.drv->qts));
    vser_migrate_in(to, uri);
    g_assert_true(vser_migration_succeeded(to));
    qtest_qmp_assert_success(to, "{ 'execute': 'cont' }");
    vser_go_on(l.drv, to, serial, alloc);
    unlink(path);
    vser_end_free(l.end, false);
    l.end = end;
    wait_open(&l, false);
    wait_open(&l, true);
    expect_reclaimed(&l);
    g_assert_false(host_reads(&l));
    l.to_host.limit = l.to_guest.limit = 16 * 1024;
    run(&l, NULL);
    finish(&l);
    vser_end_free(g_steal_pointer(&l.end), false);
    qtest_quit(to);
}

/*
 * Batches
 */

/* How often QEMU has told the guest that something is used */
static unsigned int count_notifications(const char *log)
{
    return vser_count_words(log, "virtio_notify ");
}

/* How often QEMU has taken a buffer out of a ring */
static unsigned int count_pops(const char *log)
{
    return vser_count_words(log, "virtqueue_pop ");
}

/* Have QEMU log these two events. Returns: the log, which is empty at first */
static char *log_events(QTestState *qts)
{
    char *log = vser_temp_file();

    g_free(qtest_hmp(qts, "trace-event virtio_notify on"));
    g_free(qtest_hmp(qts, "trace-event virtqueue_pop on"));
    g_free(qtest_hmp(qts, "logfile %s", log));
    return log;
}

/* Put @count buffers of @size bytes into @q, filled from @s if it is given */
static void queue_alike(Link *l, QVSerQueue *q, Stream *s, unsigned int count,
                        uint32_t size)
{
    while (count--) {
        g_autofree uint8_t *data = s ? stream_put(s, size) : NULL;

        qvser_queue(l->drv, q, &size, 1, data);
    }
    qvser_kick(l->drv, q);
    qvser_settle(l->drv);
}

/* One notification for each batch, and not one where nothing was done */
static void test_batches(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree char *log = vser_temp_file();
    g_auto(Link) l = { 0 };
    const unsigned int count = 60;
    const uint32_t size = 64; /* all of them are less than a page */
    unsigned int notifications = 0;

    link_up(&l, obj, alloc, PAGES, vser_unix);
    qvser_settle(l.drv);
    g_free(qtest_hmp(l.drv->qts, "trace-event virtio_notify on"));
    g_free(qtest_hmp(l.drv->qts, "logfile %s", log));

    qtest_qmp_assert_success(l.drv->qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(l.drv->qts, "{ 'execute': 'cont' }");
    l.drv->vdev->bus->virtqueue_kick(l.drv->vdev, ovq(&l)->vq);
    qvser_settle(l.drv);
    g_assert_cmpuint(count_notifications(log), ==, 0);

    queue_alike(&l, ovq(&l), &l.to_host, count, size);
    g_assert_cmpuint(qvser_nr_used(l.drv, ovq(&l)), ==, count);
    g_assert_cmpuint(count_notifications(log), ==, ++notifications);
    guest_reclaims(&l);

    if (ovq(&l)->vq->event) {
        /*
         * The guest asks for an interrupt after the second batch, not the
         * first
         */
        qvirtqueue_set_used_event(l.drv->qts, ovq(&l)->vq,
                                  ovq(&l)->vq->last_used_idx + 2 * count - 1);
        queue_alike(&l, ovq(&l), &l.to_host, count, size);
        g_assert_cmpuint(count_notifications(log), ==, notifications);
        queue_alike(&l, ovq(&l), &l.to_host, count, size);
        g_assert_cmpuint(qvser_nr_used(l.drv, ovq(&l)), ==, 2 * count);
        g_assert_cmpuint(count_notifications(log), ==, ++notifications);
    }

    queue_alike(&l, ivq(&l), NULL, count, size);
    g_assert_cmpuint(count_notifications(log), ==, notifications);
    {
        g_autofree uint8_t *data = stream_put(&l.to_guest, count * size);

        vser_end_write(l.end, data, count * size);
    }
    qvser_settle(l.drv);
    g_assert_cmpuint(qvser_nr_used(l.drv, ivq(&l)), ==, count);
    g_assert_cmpuint(count_notifications(log), ==, ++notifications);
    unlink(log);
    finish(&l);
}

/*
 * A write into the status does not make the device look for buffers: a replay
 * could not repeat the moment
 */
static void test_status(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree uint8_t *data = NULL;
    g_auto(Link) l = { 0 };
    QVirtioDevice *vdev;

    link_up(&l, obj, alloc, ANY_SHAPE, vser_unix);
    vdev = l.drv->vdev;
    ping_host(&l);
    guest_reclaims(&l);
    data = stream_put(&l.to_host, 1);
    qvser_queue(l.drv, ovq(&l), (uint32_t []) { 1 }, 1, data);
    /* As qvser_kick(), without a word */
    qtest_writew(l.drv->qts, ovq(&l)->vq->avail +
                 offsetof(struct vring_avail, idx), ovq(&l)->avail_idx);
    vdev->bus->set_status(vdev, vdev->bus->get_status(vdev));
    qvser_settle(l.drv);
    g_assert_cmpuint(qvser_nr_used(l.drv, ovq(&l)), ==, 0);
    vdev->bus->virtqueue_kick(vdev, ovq(&l)->vq);
    finish(&l);
}

/* @count buffers of @nr_segments bytes, each a segment */
static void queue_segments(Link *l, QVSerQueue *q, Stream *s,
                           unsigned int count, unsigned int nr_segments)
{
    uint32_t lens[SEGMENTS_MAX];
    unsigned int i;

    for (i = 0; i < nr_segments; i++) {
        lens[i] = 1;
    }
    while (count--) {
        g_autofree uint8_t *data = s ? stream_put(s, nr_segments) : NULL;

        qvser_queue(l->drv, q, lens, nr_segments, data);
    }
    qvser_kick(l->drv, q);
}

typedef struct Costly {
    const char *driver;
    bool connected;         /* a host is there, but it does not read */
} Costly;

/*
 * The guest may have more ready than the main loop has time for. What a
 * console's host refuses, the device drops in many turns, each with a
 * notification, and looks at each buffer once. Buffers for nobody are given
 * back without a look.
 */
static void test_costly(void *obj, void *arg, QGuestAllocator *alloc)
{
    const Costly *c = arg;
    const unsigned int count = 100, nr_segments = 500;
    gint64 start = g_get_monotonic_time();
    g_autofree char *log = NULL;
    unsigned int used = 0;
    g_auto(Link) l = { 0 };

    link_init(&l, obj, alloc, LONG_CHAINS);
    l.end = vser_end_new(l.drv->qts, "end", vser_unix);
    start_driver(&l);
    plug(l.drv->qts, c->driver);
    if (c->connected) {
        vser_end_connect(l.end);
        /* Fill the socket */
        queue_alike(&l, ovq(&l), &l.to_host, 100, 4096);
        guest_reclaims(&l);
        g_assert_cmpuint(ovq(&l)->posted.length, ==, 0);
    }
    log = log_events(l.drv->qts);
    queue_segments(&l, ovq(&l), &l.to_host, count, nr_segments);
    while (used < count) {
        qvser_settle(l.drv);
        used = qvser_nr_used(l.drv, ovq(&l));
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    if (c->connected || !strcmp(c->driver, "virtconsole")) {
        g_assert_cmpuint(count_pops(log), ==, count);
        g_assert_cmpuint(count_notifications(log), >, 5);
    } else {
        g_assert_cmpuint(count_pops(log), ==, 0);
    }
    g_assert_cmpuint(count_notifications(log), <, count);
    unlink(log);
    guest_reclaims(&l);
}

/* A read of one byte takes only a few buffers out of the ring */
static void test_costly_to_guest(void *obj, void *arg, QGuestAllocator *alloc)
{
    const unsigned int count = 50, nr_segments = 100;
    g_autofree char *log = NULL;
    g_auto(Link) l = { 0 };

    link_up(&l, obj, alloc, LONG_CHAINS, vser_unix);
    log = log_events(l.drv->qts);
    /* All segments of a buffer are one to a system call */
    l.drv->adjoin = true;
    queue_segments(&l, ivq(&l), NULL, count, nr_segments);
    while (l.to_guest.put < count) {
        g_autofree uint8_t *data = stream_put(&l.to_guest, 1);

        vser_end_write(l.end, data, 1);
        drain_guest(&l);
    }
    g_assert_cmpuint(l.to_guest.got, ==, l.to_guest.put);
    g_assert_cmpuint(count_pops(log), <=, 4 * count);
    unlink(log);
}

/* The guest has to notify of a buffer only if the device had none */
static void test_quiet(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autofree uint8_t *data = NULL;
    g_auto(Link) l = { 0 };
    size_t size;

    link_up(&l, obj, alloc, ANY_SHAPE, vser_unix);
    make_quiet(&l);

    /* As many bytes as the posted buffers hold, and one more */
    size = qvser_posted_size(ivq(&l)) + 1;
    data = stream_put(&l.to_guest, size);
    g_assert_cmpuint(vser_end_write(l.end, data, size), ==, 0);
    drain_guest(&l);
    g_assert_cmpuint(l.to_guest.got, ==, l.to_guest.put - 1);
    g_assert_true(qvser_is_awaited(l.drv, ivq(&l)));
    qvser_post(l.drv, ID, 64);
    drain_guest(&l);
    g_assert_cmpuint(l.to_guest.got, ==, l.to_guest.put);

    run(&l, NULL);
    finish(&l);
}

/* Every descriptor is a buffer, and all of them are used at once */
static void test_full_ring(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_auto(Link) l = { 0 };
    const uint32_t size = 3;
    unsigned int count, i;

    link_up(&l, obj, alloc, ANY_SHAPE, vser_unix);
    count = ovq(&l)->vq->size;
    l.to_host.limit = l.to_guest.limit = count * size;
    for (i = 0; i < count; i++) {
        g_autofree uint8_t *data = stream_put(&l.to_host, size);

        qvser_queue(l.drv, ovq(&l), &size, 1, data);
        qvser_queue(l.drv, ivq(&l), &size, 1, NULL);
    }
    qvser_kick(l.drv, ovq(&l));
    qvser_kick(l.drv, ivq(&l));
    expect_reclaimed(&l);
    while (l.to_guest.put < l.to_guest.limit) {
        host_writes(&l);
    }
    finish(&l);
}

/*
 * A virtconsole drops bytes that the host does not take at once, so a guest
 * that writes never waits. While the host reads, a console loses nothing.
 */
static void test_console(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    g_auto(Link) l = { 0 };

    console_up(&l, obj, alloc, ANY_SHAPE, vser_unix);
    l.to_host.limit = 4 * 1024 * 1024;
    while (l.to_host.put < l.to_host.limit) {
        guest_adds(&l, ovq(&l), &l.to_host);
        expect_reclaimed(&l);
    }
    while (vser_end_read(l.end, SIZE_MAX_BUFFER, data)) {
        continue;
    }
    g_assert_cmpuint(data->len, <, l.to_host.put);
    g_byte_array_set_size(data, 1024);
    stream_got(&l.to_host, data);

    new_stream(&l, &l.to_host);
    l.to_host.limit = l.to_guest.limit = 16 * 1024;
    run(&l, NULL);
    finish(&l);
}

/* The guest writes @size bytes to a console, which never makes it wait */
static void write_console(Link *l, uint32_t size)
{
    l->to_host.limit = l->to_host.put + size;
    while (l->to_host.put < l->to_host.limit) {
        guest_adds(l, ovq(l), &l->to_host);
        expect_reclaimed(l);
    }
}

/*
 * The log of a console has all that the guest writes, whoever reads it.
 *
 * @arg: the backend
 */
static void test_console_log(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerBackend *backend = arg;
    g_auto(Link) l = { 0 };
    int i;

    link_init(&l, obj, alloc, ANY_SHAPE);
    l.end = vser_end_new(l.drv->qts, "end", backend);
    start_driver(&l);
    plug(l.drv->qts, "virtconsole");
    open_port(&l);
    /* A hub is not there for a chardev that nobody is connected to */
    if (!g_str_equal(backend->name, "hub")) {
        write_console(&l, 256 * 1024);
        g_assert_cmpuint(read_log(&l), ==, l.to_host.put);
    }

    for (i = 0; i < 3; i++) {
        /* The host does not read, and goes */
        vser_end_connect(l.end);
        vser_end_wait(l.end, true);
        write_console(&l, 1024 * 1024);
        g_assert_cmpuint(read_log(&l), ==, l.to_host.put);
        g_assert_cmpint(shutdown(l.end->in, SHUT_RD), ==, 0);
        guest_adds(&l, ovq(&l), &l.to_host);
        expect_reclaimed(&l);
        vser_end_disconnect(l.end);
        vser_end_wait(l.end, false);
        g_assert_cmpuint(read_log(&l), ==, l.to_host.put);
    }
}

static void go_by_reset(Link *l)
{
    start_driver(l);
}

static void go_by_unplug(Link *l)
{
    vser_unplug(l->drv->qts, ID);
    wait_event(l, VIRTIO_CONSOLE_PORT_REMOVE, 1);
}

static void go_by_closing(Link *l)
{
    vser_end_disconnect(l->end);
    wait_open(l, false);
}

/*
 * The host does not read. Bytes that the port has tried to write, and will not
 * write again, are in the log once. @arg: why the port gives up
 */
static void test_port_log(void *obj, void *arg, QGuestAllocator *alloc)
{
    void (*go)(Link *l) = arg;
    g_auto(Link) l = { 0 };
    uint64_t sent;

    link_up(&l, obj, alloc, PAGES, vser_find_backend("logfile"));
    throttle(&l);
    sent = read_log(&l);
    go(&l);
    g_assert_cmpuint(read_log(&l), >, sent);
}

/*
 * The TLS library takes a record even if the socket does not, and a later
 * write reports its length, even if a virtconsole has given the record up. No
 * write may report more than its own length.
 */
static void test_console_tls(void *obj, void *arg, QGuestAllocator *alloc)
{
    const VSerBackend *backend = vser_find_backend("tls");
    g_autoptr(GByteArray) data = g_byte_array_new();
    uint64_t sent = 0, before;
    g_auto(Link) l = { 0 };
    gint64 start;

    if (vser_skip_without_backend(global_qtest, backend)) {
        return;
    }
    console_up(&l, obj, alloc, LARGEST, backend);
    if (!get_counter(l.drv->qts, "bytes-to-host", &sent)) {
        g_test_skip("this QEMU has no bytes-to-host");
        return;
    }

    /* A console is open at once, so the first byte shows that TLS is ready */
    l.to_guest.limit = 1;
    host_writes(&l);
    finish(&l);

    l.to_host.limit = UINT64_MAX;
    do {
        before = sent;
        guest_adds(&l, ovq(&l), &l.to_host);
        expect_reclaimed(&l);
        get_counter(l.drv->qts, "bytes-to-host", &sent);
    } while (sent > before);
    start = g_get_monotonic_time();
    while (data->len < sent) {
        vser_end_read(l.end, SIZE_MAX_BUFFER, data);
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }

    l.shape = SINGLE_BYTES;
    guest_adds(&l, ovq(&l), &l.to_host);
    expect_reclaimed(&l);
    expect_counter(l.drv->qts, "bytes-to-host", sent + 1);
}

/*
 * Registration
 */

static const Disturbance stops = { stop, &vser_backends[0] };
static const Disturbance hears_out = { hear_out_stopped, &vser_backends[0] };
static const Disturbance closes = { close_and_open, &vser_backends[0] };
static const Disturbance resets = { reset, &vser_backends[0] };
static const Disturbance replugs = { replug, &vser_backends[0] };
static const Disturbance reconnects = { reconnect, &vser_backends[0] };
static const Disturbance goes_while_stopped = {
    gone_while_stopped, &vser_backends[0]
};
static const Disturbance comes_while_stopped = {
    came_while_stopped, &vser_backends[0]
};
static const Disturbance changes_hosts = {
    other_while_stopped, &vser_backends[0]
};
static const Disturbance changes = { change, &vser_backends[1] };

static const Untold nothing_lost = { .waiting = false };
static const Untold lost_at_close = { .waiting = true };
static const Untold lost_between = { .between = true };

static const Migration busy = { .throttled = false };
static const Migration throttled = { .throttled = true };
static const Migration host_comes_later = {
    .throttled = true, .host_comes_later = true
};
static const Migration to_stock = {
    .throttled = true, .to = STOCK_DST
};
static const Migration quiet_to_stock = {
    .quiet = true, .to = STOCK_DST
};

static const Disturbance changes_to_closed = {
    change_to_closed, &vser_backends[0]
};

static const Costly absent = { "virtserialport" };
static const Costly absent_console = { "virtconsole" };
static const Costly stalled_console = { "virtconsole", true };

static const VSerCase cases[] = {
    { "stdio", test_stdio },
    { "datagrams", test_datagrams },
    { "frames", test_frames },
    { "sink/file", test_sink, (void *)"file" },
    { "sink/ringbuf", test_sink, (void *)"ringbuf" },
    { "shape/single-bytes", test_shape, (void *)SINGLE_BYTES },
    { "shape/long-chains", test_shape, (void *)LONG_CHAINS },
    { "shape/adjoining", test_adjoining },
    { "shape/pages", test_shape, (void *)PAGES, .legacy = true },
    { "shape/in-order", test_shape, (void *)ANY_SHAPE,
      .properties = "in_order=on" },
    { "full-ring/any-order", test_full_ring, .legacy = true },
    { "full-ring/in-order", test_full_ring, .properties = "in_order=on" },
    { "stop", test_disturbed, (void *)&stops },
    { "close", test_disturbed, (void *)&closes },
    { "reset", test_disturbed, (void *)&resets },
    { "replug", test_disturbed, (void *)&replugs },
    { "reconnect", test_disturbed, (void *)&reconnects },
    { "change", test_changed, (void *)&changes },
    { "gone-while-stopped", test_disturbed, (void *)&goes_while_stopped },
    /* With ioeventfd a machine that goes on is notified of all queues */
    { "came-while-stopped", test_disturbed, (void *)&comes_while_stopped,
      .properties = "ioeventfd=off", .arch = "x86_64" },
    { "other-while-stopped", test_disturbed, (void *)&changes_hosts },
    { "gone-after-write/tcp", test_gone_after_write, (void *)"tcp" },
    { "gone-after-write/tls", test_gone_after_write, (void *)"tls" },
    { "register/reset", test_register, (void *)0 },
    { "register/status", test_register, (void *)0xf },
    { "gone-in-write/long-chains", test_gone_in_write, (void *)LONG_CHAINS },
    { "gone-in-write/pages", test_gone_in_write, (void *)PAGES },
    { "untold/nothing-lost", test_untold, (void *)&nothing_lost },
    { "untold/lost-at-close", test_untold, (void *)&lost_at_close },
    { "untold/lost-between", test_untold, (void *)&lost_between },
    { "throttled/stop", test_throttled, (void *)&stops },
    { "throttled/stop-and-hear-out", test_throttled, (void *)&hears_out },
    /* ioeventfd looks at the queues by itself when the guest goes on */
    { "throttled/without-ioeventfd", test_throttled, (void *)&hears_out,
      .properties = "ioeventfd=off", .arch = "x86_64" },
    { "throttled/reset", test_throttled, (void *)&resets },
    { "throttled/replug", test_throttled, (void *)&replugs },
    { "throttled/reconnect", test_throttled, (void *)&reconnects },
    { "throttled/other-while-stopped", test_throttled,
      (void *)&changes_hosts },
    { "late-mux", test_late_mux },
    { "throttled/change", test_throttled, (void *)&changes },
    { "throttled/change-to-closed", test_throttled,
      (void *)&changes_to_closed },
    { "throttled/change-to-sink", test_change_to_sink },
    { "migrate/busy", test_migrate, (void *)&busy, .legacy = true },
    { "migrate/throttled", test_migrate, (void *)&throttled },
    { "migrate/not-begun", test_migrate_not_begun },
    { "migrate/host-comes-later", test_migrate, (void *)&host_comes_later },
    { "migrate/twice", test_migrate_twice },
    { "migrate/gone", test_migrate_gone },
    { "migrate/gone-and-another", test_migrate_gone, (void *)1 },
    { "migrate/to-stock", test_migrate, (void *)&to_stock },
    { "migrate/quiet-to-stock/event-idx", test_migrate,
      (void *)&quiet_to_stock },
    { "migrate/quiet-to-stock/no-event-idx", test_migrate,
      (void *)&quiet_to_stock, .properties = "event_idx=off" },
    /*
     * Over virtio-mmio the interrupt is a line, which QEMU counts in another
     * way
     */
    { "batches/event-idx", test_batches, .arch = "x86_64" },
    { "batches/no-event-idx", test_batches, .properties = "event_idx=off",
      .arch = "x86_64" },
    { "status", test_status, .arch = "x86_64" },
    { "quiet/event-idx", test_quiet },
    { "quiet/no-event-idx", test_quiet, .properties = "event_idx=off" },
    /* Without event_idx, as each turn is to notify */
    { "costly/absent", test_costly, (void *)&absent,
      .properties = "event_idx=off" },
    { "costly/absent-console", test_costly, (void *)&absent_console,
      .properties = "event_idx=off" },
    { "costly/stalled-console", test_costly, (void *)&stalled_console,
      .properties = "event_idx=off" },
    { "costly/to-guest", test_costly_to_guest },
    { "console", test_console },
    { "port-log/close", test_port_log, (void *)go_by_closing },
    { "port-log/reset", test_port_log, (void *)go_by_reset },
    { "port-log/unplug", test_port_log, (void *)go_by_unplug },
    { "console-tls", test_console_tls },
};

static void register_virtio_serial_stream_test(void)
{
    static const char *const event_idx[][2] = {
        { "event-idx", NULL }, { "no-event-idx", "event_idx=off" }
    };
    const VSerBackend *backend;
    unsigned int i;

    for (backend = vser_backends; backend->name; backend++) {
        for (i = 0; i < ARRAY_SIZE(event_idx); i++) {
            g_autofree char *name = g_strdup_printf("backend/%s/%s",
                                                    backend->name,
                                                    event_idx[i][0]);
            const VSerCase c = {
                .name = name,
                .run = test_backend,
                .arg = (void *)backend,
                .properties = event_idx[i][1],
            };

            vser_add_cases("stream", &c, 1);
        }
        {
            g_autofree char *name = g_strdup_printf("restart/%s",
                                                    backend->name);
            const VSerCase c = {
                .name = name,
                .run = test_restart,
                .arg = (void *)backend,
            };

            vser_add_cases("stream", &c, 1);
        }
        if (backend->logged) {
            g_autofree char *name = g_strdup_printf("console-log/%s",
                                                    backend->name);
            const VSerCase c = {
                .name = name,
                .run = test_console_log,
                .arg = (void *)backend,
            };

            vser_add_cases("stream", &c, 1);
        }
    }
    vser_add_cases("stream", cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_serial_stream_test);
