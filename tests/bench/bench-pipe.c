/*
 * How fast bytes go through virtio-serial ports, and what that costs
 *
 * Starts the QEMUs that are to be compared, each with as many ports, and
 * measures them in turn: a case on each of them, then the next case. The
 * guest's driver is in this process; programs of the host, at the other end
 * of the ports' sockets, are processes of their own. The same programs at both
 * ends of such sockets, without QEMU, show what the sockets alone do.
 *
 * Prints CSV: a line of names, then one for each case and subject.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/virtio_console.h>
#include "app.h"
#include "doorbell.h"
#include "machine.h"
#include "virtio.h"

#define SERIAL_DEVFN    (4 << 3)
#define DOORBELL_DEVFN  (5 << 3)

#define CONTROL_IN      2               /* the queues' indices */
#define CONTROL_OUT     3
#define PORT_IN(nr)     (2 * (nr) + 2)  /* for number 1 and up */
#define PORT_OUT(nr)    (2 * (nr) + 3)

#define PAGE            4096

/* Of what goes to the host, so much is in a port's ring at a time */
#define IN_FLIGHT       (1024 * 1024)

/* The programs that make the load when round trips are measured under it */
#define LOAD_CHUNK      4096

/* After so many microseconds what has not come is lost */
#define PATIENCE        (60 * G_USEC_PER_SEC)

/* The most that goes through a system call: what a reader offers at least */
#define READ_MIN        65536

typedef enum Role {
    ROLE_NONE,
    ROLE_SINK,          /* take what comes */
    ROLE_SOURCE,        /* always have something to send */
    ROLE_ECHO,          /* send back what comes */
} Role;

typedef struct Layout {
    unsigned int buffers;       /* 0: as many as there is room for */
    unsigned int segments;      /* of each */
    size_t size;                /* of each segment */
} Layout;

/* As Linux's driver has them */
static const Layout default_in = { .segments = 1, .size = PAGE };

typedef struct Case {
    char *text;                 /* as it was given */
    bool to_guest, to_host, ping, busy;
    size_t chunk;
    Layout in, out;
} Case;

typedef struct Buffer {
    unsigned int segments;
    struct iovec iov[];
} Buffer;

typedef struct Port {
    Virtqueue *in;
    Virtqueue *out;
    Role role;
} Port;

/* What is measured: a QEMU, or bare sockets */
typedef struct Subject {
    char *name;
    unsigned int count;         /* of ports */
    int *host;                  /* their sockets */
    int *guest;                 /* bare: the other ends; NULL: a QEMU */

    Machine *machine;
    int qmp;
    Doorbell *bell;
    VirtioDevice *dev;
    Virtqueue *control_in;
    Virtqueue *control_out;
    Port *ports;
    Layout in;                  /* of what is in the rings for input */
    GPtrArray *buffers;         /* all that the driver has */
    Buffer *message;            /* what ports send */

    uint64_t interrupts;
    uint64_t to_guest;          /* bytes that came, at all ports */
    uint64_t to_host;           /* bytes that the device took */
} Subject;

typedef struct Options {
    int ports;
    double seconds;
    gboolean bare;
    gboolean strace;
    char **qemus;
} Options;

/*
 * The machine
 */

static void socket_pair(int sockets[2])
{
    /* The first is for processes of this one only */
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) < 0 ||
        fcntl(sockets[0], F_SETFD, FD_CLOEXEC) < 0) {
        g_error("no sockets for a port: %s", strerror(errno));
    }
}

static void add(GPtrArray *args, const char *option, char *value)
{
    g_ptr_array_add(args, g_strdup(option));
    g_ptr_array_add(args, value);
}

static void start_machine(Subject *s, const char *path)
{
    g_autoptr(GPtrArray) command = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
    int sockets[2];
    unsigned int i;

    s->bell = doorbell_new(args, DOORBELL_DEVFN);
    add(args, "-device", g_strdup_printf("virtio-serial-pci,id=vser,"
        "addr=0x%x,disable-legacy=on,max_ports=%u", SERIAL_DEVFN >> 3,
        s->count + 1));
    for (i = 0; i < s->count; i++) {
        g_autofree char *id = g_strdup_printf("c%u", i);

        socket_pair(sockets);
        s->host[i] = sockets[0];
        machine_add_fd(args, id, sockets[1]);
        /* Number 0 is for consoles only */
        add(args, "-device", g_strdup_printf(
            "virtserialport,id=p%u,bus=vser.0,nr=%u,chardev=%s", i, i + 1,
            id));
    }
    socket_pair(sockets);
    s->qmp = sockets[0];
    machine_add_fd(args, "qmp", sockets[1]);
    add(args, "-mon", g_strdup("chardev=qmp,mode=control"));

    g_ptr_array_add(command, g_strdup(path));
    s->machine = machine_new(command, args);
    process_place(s->machine->pid, true);
    doorbell_start(s->bell, s->machine);
}

static char *qmp_line(Subject *s)
{
    g_autoptr(GString) line = g_string_new(NULL);
    char c;

    do {
        if (recv(s->qmp, &c, 1, 0) != 1) {
            g_error("QEMU is gone; its last words are above");
        }
        g_string_append_c(line, c);
    } while (c != '\n');
    return g_string_free(g_steal_pointer(&line), false);
}

/* Send a command and return the line that is its answer. */
static char *qmp(Subject *s, const char *command)
{
    char *answer = NULL;

    if (send(s->qmp, command, strlen(command), MSG_NOSIGNAL) < 0) {
        g_error("QEMU is gone; its last words are above");
    }
    /* There may be events before it */
    do {
        g_free(answer);
        answer = qmp_line(s);
    } while (!g_str_has_prefix(answer, "{\"return\"") &&
             !g_str_has_prefix(answer, "{\"error\""));
    return answer;
}

/* Bytes that QEMU says it has copied, of all ports; -1: it does not say */
static int64_t bytes_copied(Subject *s)
{
    static const char head[] = "{\"return\": ";
    int64_t sum = 0;
    unsigned int i;

    for (i = 0; i < s->count; i++) {
        g_autofree char *command = g_strdup_printf(
            "{\"execute\": \"qom-get\", \"arguments\": {\"path\": "
            "\"/machine/peripheral/p%u\", \"property\": \"bytes-copied\"}}",
            i);
        g_autofree char *answer = qmp(s, command);

        if (!g_str_has_prefix(answer, head)) {
            return -1;
        }
        sum += g_ascii_strtoll(answer + strlen(head), NULL, 10);
    }
    return sum;
}

/*
 * The driver
 */

static void *buffer_new(Subject *s, const Layout *layout)
{
    Buffer *buffer = g_malloc0(sizeof(*buffer) +
                               layout->segments * sizeof(buffer->iov[0]));
    unsigned int i;

    buffer->segments = layout->segments;
    for (i = 0; i < layout->segments; i++) {
        buffer->iov[i].iov_base = machine_alloc(s->machine, layout->size, 1);
        buffer->iov[i].iov_len = layout->size;
    }
    g_ptr_array_add(s->buffers, buffer);
    return buffer;
}

static bool add_in(Virtqueue *vq, Buffer *buffer)
{
    return virtqueue_add(vq, buffer->iov, 0, buffer->segments, buffer);
}

static void send_control(Subject *s, uint32_t id, uint16_t event)
{
    static const Layout layout = {
        .segments = 1, .size = sizeof(struct virtio_console_control)
    };
    Buffer *buffer = buffer_new(s, &layout);
    struct virtio_console_control *message = buffer->iov[0].iov_base;

    message->id = htole32(id);
    message->event = htole16(event);
    message->value = htole16(1);
    g_assert(virtqueue_add(s->control_out, buffer->iov, 1, 0, buffer));
    virtqueue_kick(s->control_out);
    while (!virtqueue_get(s->control_out, NULL)) {
        g_usleep(20);
    }
}

/* Does the device say that port @nr is open at the host? */
static bool hear_of(Subject *s, uint32_t nr)
{
    bool heard = false;
    Buffer *buffer;

    while ((buffer = virtqueue_get(s->control_in, NULL))) {
        struct virtio_console_control *message = buffer->iov[0].iov_base;

        heard |= le32toh(message->id) == nr &&
                 le16toh(message->event) == VIRTIO_CONSOLE_PORT_OPEN;
        g_assert(add_in(s->control_in, buffer));
    }
    virtqueue_kick(s->control_in);
    return heard;
}

static void open_ports(Subject *s)
{
    unsigned int i;

    send_control(s, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY);
    for (i = 0; i < s->count; i++) {
        /*
         * Stock drops PORT_ADD where there is no buffer for it, ours wants to
         * be asked after it: until it answers, it has heard nothing.
         */
        do {
            send_control(s, i + 1, VIRTIO_CONSOLE_PORT_READY);
            send_control(s, i + 1, VIRTIO_CONSOLE_PORT_OPEN);
            g_usleep(20);
        } while (!hear_of(s, i + 1));
    }
}

static void serve_sink(Subject *s, Port *port, bool more)
{
    Buffer *buffer;
    uint32_t len;

    while ((buffer = virtqueue_get(port->in, &len))) {
        s->to_guest += len;
        if (more) {
            add_in(port->in, buffer);
        }
    }
    if (more) {
        virtqueue_kick(port->in);
    }
}

/* Reset the device. No byte that it has taken from a socket is lost. */
static void driver_free(Subject *s)
{
    unsigned int i;

    virtio_device_stop(s->dev);
    for (i = 0; i < s->count; i++) {
        serve_sink(s, &s->ports[i], false);
        virtqueue_free(s->ports[i].in);
        virtqueue_free(s->ports[i].out);
    }
    virtqueue_free(s->control_in);
    virtqueue_free(s->control_out);
    virtio_device_free(s->dev);
    machine_reclaim(s->machine);
    g_ptr_array_set_size(s->buffers, 0);
    s->dev = NULL;
}

static void driver_new(Subject *s, const Layout *in)
{
    static const Layout message = { .segments = 1, .size = 1024 * 1024 };
    unsigned int i, j;

    s->dev = virtio_device_new(s->machine, SERIAL_DEVFN,
                               1ull << VIRTIO_CONSOLE_F_MULTIPORT |
                               1ull << VIRTIO_RING_F_EVENT_IDX);
    s->dev->doorbell = s->bell;
    s->control_in = virtqueue_new(s->dev, CONTROL_IN, 0, 0);
    s->control_out = virtqueue_new(s->dev, CONTROL_OUT, 0, 0);
    while (s->control_in->free_count) {
        add_in(s->control_in, buffer_new(s, &default_in));
    }
    s->message = buffer_new(s, &message);
    s->in = *in;
    for (i = 0; i < s->count; i++) {
        Port *port = &s->ports[i];

        port->in = virtqueue_new(s->dev, PORT_IN(i + 1), 0, 0);
        port->out = virtqueue_new(s->dev, PORT_OUT(i + 1), 0, 0);
        for (j = 0; (!in->buffers || j < in->buffers) &&
                    port->in->free_count >= in->segments; j++) {
            g_assert(add_in(port->in, buffer_new(s, in)));
        }
    }
    virtio_device_start(s->dev);
    open_ports(s);
}

/* What was sent is free again: take all back, and send as much if @more. */
static void serve_source(Subject *s, Port *port, const Layout *out, bool more)
{
    struct iovec iov[128];
    unsigned int i, in_flight = port->out->size - port->out->free_count;

    in_flight /= out->segments;
    while (virtqueue_get(port->out, NULL)) {
        s->to_host += out->segments * out->size;
        in_flight--;
    }
    if (!more) {
        return;
    }
    /* Nobody reads in this memory, so all can be the same */
    g_assert(out->segments <= G_N_ELEMENTS(iov));
    for (i = 0; i < out->segments; i++) {
        iov[i].iov_base = s->message->iov[0].iov_base;
        iov[i].iov_len = out->size;
    }
    while (in_flight < out->buffers &&
           virtqueue_add(port->out, iov, out->segments, 0, s->message)) {
        in_flight++;
    }
    virtqueue_kick(port->out);
}

static void serve_echo(Port *port)
{
    Buffer *buffer;
    uint32_t len;

    while ((buffer = virtqueue_get(port->out, NULL))) {
        add_in(port->in, buffer);
    }
    virtqueue_kick(port->in);
    while ((buffer = virtqueue_get(port->in, &len))) {
        struct iovec iov = { buffer->iov[0].iov_base, len };

        virtqueue_add(port->out, &iov, 1, 0, buffer);
    }
    virtqueue_kick(port->out);
}

static void serve(Subject *s, const Layout *out, bool more)
{
    unsigned int i;

    for (i = 0; i < s->count; i++) {
        Port *port = &s->ports[i];

        switch (port->role) {
        case ROLE_SINK:
            serve_sink(s, port, true);
            break;
        case ROLE_SOURCE:
            serve_source(s, port, out, more);
            break;
        case ROLE_ECHO:
            serve_echo(port);
            break;
        case ROLE_NONE:
            break;
        }
    }
}

/* Sleep until the device interrupts, for at most @us microseconds. */
static void wait_interrupt(Subject *s, int64_t us)
{
    struct pollfd poll = { .fd = s->bell->eventfd, .events = POLLIN };
    struct timespec ts = { us / G_USEC_PER_SEC, us % G_USEC_PER_SEC * 1000 };
    uint64_t count;

    if (ppoll(&poll, 1, &ts, NULL) > 0 &&
        read(s->bell->eventfd, &count, sizeof(count)) == sizeof(count)) {
        s->interrupts += count;
    }
}

/* Be the driver until then. Without QEMU, programs do what there is to do. */
static void drive_until(Subject *s, const Case *c, gint64 end)
{
    gint64 now = g_get_monotonic_time();

    if (s->guest) {
        g_usleep(MAX(end - now, 1));
        return;
    }
    for (; now < end; now = g_get_monotonic_time()) {
        serve(s, &c->out, true);
        wait_interrupt(s, end - now);
    }
}

/*
 * System calls
 */

typedef struct Strace {
    GPid pid;
    char *path;
} Strace;

/* Is a process traced? */
static bool traced(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", pid);
    g_autofree char *text = NULL;
    const char *tracer;

    g_assert(g_file_get_contents(path, &text, NULL, NULL));
    tracer = strstr(text, "\nTracerPid:");
    g_assert(tracer);
    return atoi(tracer + strlen("\nTracerPid:"));
}

static void strace_start(Strace *strace, pid_t pid)
{
    g_autofree char *number = g_strdup_printf("%d", pid);
    g_autoptr(GError) err = NULL;
    int fd = g_file_open_tmp("strace-XXXXXX", &strace->path, &err);
    const char *argv[] = { "strace", "-f", "-qqq", "-c", "-U", "calls,name",
                           "-o", strace->path, "-p", number, NULL };

    if (fd < 0 || !g_spawn_async(NULL, (char **)argv, NULL,
                                 G_SPAWN_SEARCH_PATH |
                                 G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                                 &strace->pid, &err)) {
        g_error("no strace: %s", err->message);
    }
    close(fd);
    while (!traced(pid)) {
        g_assert(waitpid(strace->pid, NULL, WNOHANG) == 0);
        g_usleep(1000);
    }
}

/* End it. Returns: the system calls that it has seen */
static uint64_t strace_end(Strace *strace)
{
    g_autofree char *text = NULL;
    const char *total;
    int status;

    kill(strace->pid, SIGINT);
    waitpid(strace->pid, &status, 0);
    g_assert(g_file_get_contents(strace->path, &text, NULL, NULL));
    unlink(strace->path);
    g_free(strace->path);

    /* Its last line is the sum and "total"; without a call there is none */
    if (!*g_strchomp(text)) {
        return 0;
    }
    g_assert(g_str_has_suffix(text, "total"));
    total = strrchr(text, '\n');
    g_assert(total);
    return g_ascii_strtoull(total + 1, NULL, 10);
}

/*
 * Measuring
 */

typedef struct Count {
    gint64 us;
    uint64_t cpu_ns;
    uint64_t bytes;
    uint64_t kicks;
    uint64_t interrupts;
} Count;

static uint64_t kicks(const Subject *s)
{
    uint64_t sum = 0;
    unsigned int i;

    for (i = 0; i < s->count && !s->guest; i++) {
        sum += s->ports[i].in->kicks + s->ports[i].out->kicks;
    }
    return sum;
}

/* @bare: the program that does what QEMU does elsewhere */
static Count take_count(const Subject *s, const App *bare, const App *reader)
{
    Count count = {
        .us = g_get_monotonic_time(),
        .cpu_ns = bare ? app_cpu_ns(bare) : machine_cpu_ns(s->machine),
        .bytes = reader ? app_bytes(reader) : s->to_guest,
        .kicks = kicks(s),
        .interrupts = s->interrupts,
    };

    return count;
}

static void print_count(const Subject *s, const Case *c, const Count *from,
                        const Count *to)
{
    printf("%s,%s,%u,%zu,%.6f,%.6f,%" PRIu64 ",%" PRIu64 ",%" PRIu64,
           s->name, c->text, s->count, c->chunk, (to->us - from->us) / 1e6,
           (to->cpu_ns - from->cpu_ns) / 1e9, to->bytes - from->bytes,
           to->kicks - from->kicks, to->interrupts - from->interrupts);
}

static void set_roles(Subject *s, unsigned int first, unsigned int count,
                      Role role)
{
    unsigned int i;

    for (i = first; i < first + count && !s->guest; i++) {
        s->ports[i].role = role;
    }
}

static void check_bytes(const Subject *s, const Case *c, uint64_t sent,
                        uint64_t came)
{
    if (sent != came) {
        g_error("%s, %s: %" PRIu64 " bytes were sent and %" PRIu64 " came",
                s->name, c->text, sent, came);
    }
}

/* Have the driver have such buffers for input. */
static void use_layout(Subject *s, const Layout *in)
{
    if (s->guest || (s->dev && !memcmp(&s->in, in, sizeof(*in)))) {
        return;
    }
    if (s->dev) {
        driver_free(s);
    }
    driver_new(s, in);
}

/*
 * Let a writer end, and take all that it has written: where a byte is lost or
 * one too many, there is nothing to measure.
 */
static void end_writer(Subject *s, const Case *c, App *writer, App *reader)
{
    const gint64 end = g_get_monotonic_time() + PATIENCE;
    uint64_t came = 0;

    writer->state->stop = true;
    /* What is in the sockets would take long with tiny buffers */
    use_layout(s, &default_in);
    while (!app_ended(writer) || came < app_bytes(writer)) {
        drive_until(s, c, g_get_monotonic_time() + 1000);
        came = reader ? app_bytes(reader) : s->to_guest;
        if (g_get_monotonic_time() > end) {
            break;
        }
    }
    check_bytes(s, c, app_bytes(writer), came);
    app_free(writer);
}

/* Have the device take all that the driver has sent, and a reader read it. */
static void end_source(Subject *s, const Case *c, App *reader)
{
    const gint64 end = g_get_monotonic_time() + PATIENCE;
    unsigned int i;

    for (i = 0; i < s->count; i++) {
        Virtqueue *vq = s->ports[i].out;

        while (s->ports[i].role == ROLE_SOURCE && vq->free_count < vq->size &&
               g_get_monotonic_time() < end) {
            serve(s, &c->out, false);
            wait_interrupt(s, 1000);
        }
    }
    while (app_bytes(reader) < s->to_host && g_get_monotonic_time() < end) {
        g_usleep(100);
    }
    check_bytes(s, c, s->to_host, app_bytes(reader));
    app_free(reader);
}

static void measure_stream(Subject *s, const Case *c, const Options *o)
{
    const size_t offer = MAX(c->chunk, READ_MIN);
    App *writer = NULL, *reader = NULL, *bare = NULL;
    int64_t copied = -1;
    Strace strace;
    Count from, to;

    s->to_guest = s->to_host = 0;
    if (!s->guest) {
        copied = bytes_copied(s);
    }
    if (c->to_guest) {
        writer = app_writer(s->host, s->count, c->chunk);
        bare = reader = s->guest ? app_reader(s->guest, s->count, offer)
                                 : NULL;
    } else {
        reader = app_reader(s->host, s->count, offer);
        bare = writer = s->guest ? app_writer(s->guest, s->count, c->chunk)
                                 : NULL;
    }
    if (bare) {
        process_place(bare->pid, true);
    }
    set_roles(s, 0, s->count, c->to_guest ? ROLE_SINK : ROLE_SOURCE);

    drive_until(s, c, g_get_monotonic_time() + o->seconds * 0.25e6);
    if (o->strace) {
        strace_start(&strace, s->machine->pid);
    }
    from = take_count(s, bare, reader);
    drive_until(s, c, from.us + o->seconds * 1e6);
    to = take_count(s, bare, reader);
    print_count(s, c, &from, &to);
    if (o->strace) {
        printf(",%" PRIu64, strace_end(&strace));
    } else {
        printf(",");
    }

    if (writer) {
        end_writer(s, c, writer, reader);
        if (reader) {
            app_free(reader);
        }
    } else {
        end_source(s, c, reader);
    }
    set_roles(s, 0, s->count, ROLE_NONE);
    if (copied < 0) {
        printf(",,");
    } else {
        printf(",%" PRId64 ",%" PRIu64, bytes_copied(s) - copied,
               s->to_guest + s->to_host);
    }
    printf(",,,\n");
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void measure_ping(Subject *s, const Case *c, const Options *o)
{
    const unsigned int sinks = c->busy ? (s->count - 1) / 2 : 0;
    const unsigned int sources = c->busy ? s->count - 1 - sinks : 0;
    App *ping, *echo = NULL, *writer = NULL, *reader = NULL;
    uint32_t n;
    Count from, to;

    s->to_guest = s->to_host = 0;
    if (sinks) {
        writer = app_writer(s->host + 1, sinks, LOAD_CHUNK);
    }
    if (sources) {
        reader = app_reader(s->host + 1 + sinks, sources, READ_MIN);
    }
    set_roles(s, 1, sinks, ROLE_SINK);
    set_roles(s, 1 + sinks, sources, ROLE_SOURCE);
    set_roles(s, 0, 1, ROLE_ECHO);
    drive_until(s, c, g_get_monotonic_time() + o->seconds * 0.25e6);

    if (s->guest) {
        echo = app_echo(s->guest[0], c->chunk);
        process_place(echo->pid, true);
    }
    ping = app_ping(s->host[0], c->chunk);
    from = take_count(s, echo, ping);
    drive_until(s, c, from.us + o->seconds * 1e6);
    to = take_count(s, echo, ping);
    ping->state->stop = true;
    while (!app_ended(ping)) {
        drive_until(s, c, g_get_monotonic_time() + 1000);
    }
    if (echo) {
        app_free(echo);
    }
    /* The load is the rest that takes its time */
    if (writer) {
        end_writer(s, c, writer, NULL);
    }
    if (reader) {
        end_source(s, c, reader);
    }
    set_roles(s, 0, s->count, ROLE_NONE);

    n = MIN(ping->state->nr_samples, APP_SAMPLES);
    g_assert(n);
    qsort(ping->state->ns, n, sizeof(ping->state->ns[0]), compare_u32);
    print_count(s, c, &from, &to);
    printf(",,,,%u,%.3f,%.3f\n", ping->state->nr_samples,
           ping->state->ns[n / 2] / 1e3,
           ping->state->ns[(uint64_t)n * 99 / 100] / 1e3);
    app_free(ping);
}

static void measure(Subject *s, const Case *c, const Options *o)
{
    use_layout(s, &c->in);
    if (!c->ping) {
        measure_stream(s, c, o);
    } else if (!s->guest || !c->busy) {
        measure_ping(s, c, o);
    }
    fflush(stdout);
}

/*
 * Starting and ending
 */

static Subject *subject_new(const char *name, unsigned int ports)
{
    Subject *s = g_new0(Subject, 1);

    s->name = g_strdup(name);
    s->count = ports;
    s->host = g_new0(int, ports);
    s->ports = g_new0(Port, ports);
    s->buffers = g_ptr_array_new_with_free_func(g_free);
    return s;
}

/* @text: NAME=PATH */
static Subject *subject_qemu(const char *text, unsigned int ports)
{
    g_auto(GStrv) words = g_strsplit(text, "=", 2);
    Subject *s = subject_new(words[0], ports);

    if (!words[0] || !words[1]) {
        g_error("'%s' is not NAME=PATH", text);
    }
    start_machine(s, words[1]);
    g_free(qmp_line(s));                /* the greeting */
    g_free(qmp(s, "{\"execute\": \"qmp_capabilities\"}"));
    return s;
}

static Subject *subject_bare(unsigned int ports)
{
    Subject *s = subject_new("socket", ports);
    unsigned int i;

    s->guest = g_new0(int, ports);
    for (i = 0; i < ports; i++) {
        int sockets[2];

        socket_pair(sockets);
        s->host[i] = sockets[0];
        s->guest[i] = sockets[1];
    }
    return s;
}

static void subject_free(Subject *s)
{
    unsigned int i;

    if (s->machine) {
        driver_free(s);
        machine_free(s->machine);
        doorbell_free(s->bell);
        close(s->qmp);
    }
    for (i = 0; i < s->count; i++) {
        close(s->host[i]);
        if (s->guest) {
            close(s->guest[i]);
        }
    }
    g_ptr_array_free(s->buffers, true);
    g_free(s->ports);
    g_free(s->host);
    g_free(s->guest);
    g_free(s->name);
    g_free(s);
}

/* WHAT:CHUNK[:BUFFERSxSEGMENTSxSIZE] */
static bool parse_case(const char *text, Case *c)
{
    g_auto(GStrv) words = g_strsplit(text, ":", 3);
    Layout layout = { .segments = 1 };
    char end;

    *c = (Case) { .text = g_strdup(text) };
    if (g_strv_length(words) < 2 ||
        sscanf(words[1], "%zu%c", &c->chunk, &end) != 1 ||
        c->chunk < 1 || c->chunk > 1024 * 1024) {
        return false;
    }
    c->to_guest = g_str_equal(words[0], "to-guest");
    c->to_host = g_str_equal(words[0], "to-host");
    c->busy = g_str_equal(words[0], "ping-busy");
    c->ping = c->busy || g_str_equal(words[0], "ping");
    c->in = default_in;
    c->out = (Layout) { .segments = 1,
                        .size = c->ping ? LOAD_CHUNK : c->chunk };
    if (words[2]) {
        if (sscanf(words[2], "%ux%ux%zu%c", &layout.buffers, &layout.segments,
                   &layout.size, &end) != 3 || layout.segments < 1 ||
            layout.segments > 128 || layout.size < 1) {
            return false;
        }
        *(c->to_guest ? &c->in : &c->out) = layout;
    }
    if (!c->out.buffers) {
        c->out.buffers = MAX(2, IN_FLIGHT / (c->out.segments * c->out.size));
    }
    return c->to_guest || c->to_host || c->ping;
}

static void measure_all(const Options *o, const Case *cases,
                        unsigned int nr_cases)
{
    g_autoptr(GPtrArray) subjects = g_ptr_array_new();
    unsigned int i, j;

    process_place(0, false);
    for (i = 0; o->qemus && o->qemus[i]; i++) {
        g_ptr_array_add(subjects, subject_qemu(o->qemus[i], o->ports));
    }
    if (o->bare) {
        g_ptr_array_add(subjects, subject_bare(o->ports));
    }
    printf("subject,case,ports,chunk,wall_s,cpu_s,bytes,kicks,interrupts,"
           "syscalls,copied,moved,round_trips,p50_us,p99_us\n");
    for (i = 0; i < nr_cases; i++) {
        for (j = 0; j < subjects->len; j++) {
            measure(subjects->pdata[j], &cases[i], o);
        }
    }
    for (i = 0; i < subjects->len; i++) {
        subject_free(subjects->pdata[i]);
    }
}

int main(int argc, char **argv)
{
    Options o = { .ports = 1, .seconds = 0.2 };
    const GOptionEntry entries[] = {
        { "ports", 0, 0, G_OPTION_ARG_INT, &o.ports,
          "ports of each QEMU (1)", "N" },
        { "seconds", 0, 0, G_OPTION_ARG_DOUBLE, &o.seconds,
          "how long to measure a case, after a quarter of it (0.2)", "S" },
        { "qemu", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.qemus,
          "a QEMU to measure; more than one is measured in turn",
          "NAME=PATH" },
        { "bare", 0, 0, G_OPTION_ARG_NONE, &o.bare,
          "measure the sockets alone, too", NULL },
        { "strace", 0, 0, G_OPTION_ARG_NONE, &o.strace,
          "count system calls of QEMUs; their speed then means nothing",
          NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new("CASE...");
    g_autoptr(GError) err = NULL;
    g_autofree Case *cases = NULL;
    int i;

    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_description(context,
        "CASE is to-guest:CHUNK, to-host:CHUNK, ping:CHUNK or "
        "ping-busy:CHUNK, of as many\nbytes; the first two with "
        ":BUFFERSxSEGMENTSxSIZE for what the guest puts into\nits rings, 0 "
        "BUFFERS being as many as there is room for.\n");
    if (!g_option_context_parse(context, &argc, &argv, &err) || argc < 2 ||
        o.ports < 1 || o.ports > 64 || o.seconds <= 0 ||
        (o.bare && o.strace)) {
        fprintf(stderr, "%s: %s; see --help\n", argv[0],
                err ? err->message : "wrong arguments");
        return 2;
    }
    cases = g_new0(Case, argc);
    for (i = 1; i < argc; i++) {
        if (!parse_case(argv[i], &cases[i - 1])) {
            fprintf(stderr, "%s: '%s' is no case; see --help\n", argv[0],
                    argv[i]);
            return 2;
        }
    }
    measure_all(&o, cases, argc - 1);
    return 0;
}
