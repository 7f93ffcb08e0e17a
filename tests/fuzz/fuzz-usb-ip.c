/*
 * Fuzz target: any messages of vhci_hcd, with any control requests, while host
 * and port do what they like
 *
 * The input is a device and a script. First byte 0: the descriptor of class
 * "vendor"; 1: that of "cdc-acm"; else a length (two bytes, little-endian) and
 * a blob. Each step of the script is a byte (enum Step, modulo its number) and
 * the step's parameters. No system call is made: the functions below stand in
 * for the kernel (the linker's --wrap).
 *
 * As long as no step sends raw bytes: each transfer has one answer at most, no
 * answer is longer than its transfer, all bytes of the port are in the IN
 * answers in order, and the port gets the bytes that OUT answers say.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "usb-ip.h"
#include "fuzz.h"

#define HEADER          48
#define TRANSFERS       4096
#define STREAM_MAX      (1 << 20)
/* Bytes of one step: more of them take time, and show nothing more */
#define DATA_MAX        0x1000
/* No file descriptors of this process */
enum { EPOLL = 1 << 20, SOCK, PORT, STOP };

enum Step {
    SUBMIT,         /* direction and endpoint, flags, length (2), setup (8) */
    REQUEST,        /* setup (8): its own direction and length */
    UNLINK,         /* how many transfers back */
    RAW,            /* length, bytes: anything as a message */
    HOLD,           /* of the next messages, say at each read only so much */
    FROM_HOST,      /* length (2): the host writes */
    TO_HOST,        /* length (2): the host has room */
    TIME,           /* of 8 ms */
    HANGUP,
    OPEN,
    UNPLUG,
    DETACH,         /* vhci_hcd reads no more */
    SHORT,          /* the next write of answers writes only so much */
    PORT_ERROR,
    STEPS,
};

int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max,
                      int timeout);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int count);
ssize_t __wrap_write(int fd, const void *data, size_t length);
int __wrap_close(int fd);
int64_t __wrap_now_ms(void);
bool __wrap_port_is_unplugged(int fd);
void __wrap_vser_error(const char *fmt, ...);

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_readv(int fd, const struct iovec *iov, int count);
ssize_t __real_write(int fd, const void *data, size_t length);
int __real_close(int fd);

typedef struct Sent {
    bool in, answered;
    uint8_t ep;
    uint32_t length;
} Sent;

static struct {
    const uint8_t *p, *end;             /* of the script */
    UsbDevice dev;
    int64_t now;
    bool strict, detached, hangup, unplugged, port_error, ended;

    uint8_t stream[STREAM_MAX];         /* for the socket's reader */
    size_t start, stop, piece;
    Sent sent[TRANSFERS];
    uint32_t count;

    size_t from_host;                   /* bytes that the port has */
    uint64_t read, answered;            /* bytes of the port, in all */
    size_t room;                        /* bytes that the port takes */
    uint8_t written[STREAM_MAX];
    size_t writes, checked;

    size_t cut;                         /* of the next write; 0: none */
    uint8_t answer[HEADER];             /* the answer that is being sent */
    size_t have, data;                  /* of its header; bytes left of data */
    const Sent *of;
} w;

/* Byte @i of the data of transfer @seqnum, and byte @i of what the host says */
static uint8_t out_byte(uint32_t seqnum, size_t i)
{
    return seqnum * 31 + i * 7 + (i >> 8);
}

static uint8_t in_byte(uint64_t i)
{
    return i * 13 + (i >> 8);
}

static uint8_t take(void)
{
    return w.p < w.end ? *w.p++ : 0;
}

static uint32_t take2(void)
{
    uint8_t low = take();

    return low | take() << 8;
}

static void take_setup(uint8_t setup[8])
{
    int i;

    for (i = 0; i < 8; i++) {
        setup[i] = take();
    }
}

static void put(const void *data, size_t length)
{
    if (length <= sizeof(w.stream) - w.stop) {
        memcpy(w.stream + w.stop, data, length);
        w.stop += length;
    } else {
        /* Half a message is not what was meant */
        w.strict = false;
    }
}

static void put_word(uint8_t *message, unsigned int n, uint32_t value)
{
    value = htonl(value);
    memcpy(message + 4 * n, &value, 4);
}

static uint32_t get_word(const uint8_t *message, unsigned int n)
{
    uint32_t value;

    memcpy(&value, message + 4 * n, 4);
    return ntohl(value);
}

static void submit(bool in, uint8_t ep, uint32_t flags, uint32_t length,
                   const uint8_t setup[8])
{
    uint8_t m[HEADER] = { 0 };
    uint32_t seqnum = w.count, i;

    if (w.count == TRANSFERS) {
        return;
    }
    w.sent[w.count++] = (Sent) { .in = in, .ep = ep, .length = length };
    put_word(m, 0, 1);
    put_word(m, 1, seqnum);
    put_word(m, 3, in);
    put_word(m, 4, ep);
    put_word(m, 5, flags);
    put_word(m, 6, length);
    memcpy(m + 40, setup, 8);
    put(m, sizeof(m));
    for (i = 0; !in && i < length; i++) {
        uint8_t byte = out_byte(seqnum, i);

        put(&byte, 1);
    }
}

/* Do a step; returns what epoll_wait() has to say of the port, 0: nothing */
static uint32_t do_step(void)
{
    uint8_t setup[8] = { 0 }, m[HEADER] = { 0 }, where, flags;
    uint32_t length;

    switch (take() % STEPS) {
    case SUBMIT:
        where = take();
        flags = take();
        length = take2();
        if ((where & 15) == 0) {
            take_setup(setup);
        }
        if (!(where & 0x80)) {
            length %= DATA_MAX;
        } else if ((where & 15) && length & 1) {
            /* Of an IN transfer any length costs nothing */
            length <<= 15;
        }
        submit(where & 0x80, where & 15, flags, length, setup);
        return 0;
    case REQUEST:
        take_setup(setup);
        setup[7] %= DATA_MAX >> 8;
        submit(setup[0] & 0x80, 0, 0, setup[6] | setup[7] << 8, setup);
        return 0;
    case UNLINK:
        put_word(m, 0, 2);
        put_word(m, 1, 1 << 24);
        put_word(m, 5, w.count - take());
        put(m, sizeof(m));
        return 0;
    case RAW:
        w.strict = false;
        length = take();
        length = length < w.end - w.p ? length : w.end - w.p;
        put(w.p, length);
        w.p += length;
        return 0;
    case HOLD:
        w.piece = take();
        return 0;
    case FROM_HOST:
        length = take2() % DATA_MAX;
        if (!w.hangup) {
            w.from_host += length;
        }
        return EPOLLIN | EPOLLOUT;
    case TO_HOST:
        w.room += take2();
        return EPOLLOUT;
    case TIME:
        w.now += take() * 8;
        return 0;
    case HANGUP:
        w.hangup = true;
        return EPOLLHUP | EPOLLIN | EPOLLOUT;
    case OPEN:
        w.hangup = false;
        return EPOLLOUT;
    case UNPLUG:
        w.unplugged = true;
        return EPOLLHUP | EPOLLIN | EPOLLOUT;
    case DETACH:
        w.detached = true;
        return 0;
    case SHORT:
        w.cut = 1 + take();
        return 0;
    default:
        w.port_error = true;
        return EPOLLIN | EPOLLOUT;
    }
}

int __wrap_epoll_create1(int flags)
{
    return EPOLL;
}

int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    assert(epoll == EPOLL && op == EPOLL_CTL_ADD && event->data.fd == fd);
    return 0;
}

/* One event at a time; with none, the time is over that was waited for */
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max,
                      int timeout)
{
    int port;

    assert(epoll == EPOLL && max >= 1 && timeout >= -1);
    for (;;) {
        if (w.start < w.stop) {
            events[0] = (struct epoll_event) { EPOLLIN, { .fd = SOCK } };
            return 1;
        }
        w.start = w.stop = 0;
        if (w.p == w.end) {
            events[0] = (struct epoll_event) { EPOLLIN, { .fd = STOP } };
            return 1;
        }
        if (*w.p % STEPS == TIME) {
            do_step();
            return 0;
        }
        port = do_step();
        if (port) {
            events[0] = (struct epoll_event) { port, { .fd = PORT } };
            return 1;
        }
    }
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    size_t left = w.stop - w.start, done = 0, i;

    if (fd != SOCK) {
        return __real_recvmsg(fd, message, flags);
    }
    if (w.detached) {
        return 0;
    }
    left = w.piece && w.piece < left ? w.piece : left;
    for (i = 0; i < message->msg_iovlen && left; i++) {
        size_t n = MIN(message->msg_iov[i].iov_len, left);

        if (n == 0) {
            continue;
        }
        memcpy(message->msg_iov[i].iov_base, w.stream + w.start, n);
        w.start += n;
        left -= n;
        done += n;
    }
    /* A reader without room would take this for the end of the socket */
    assert(done);
    return done;
}

/* The header of an answer is whole: what does it say? */
static void check_answer(void)
{
    uint32_t command = get_word(w.answer, 0), seqnum = get_word(w.answer, 1);
    uint32_t actual = get_word(w.answer, 6), i;
    int32_t status = get_word(w.answer, 5);
    Sent *t;

    w.have = 0;
    w.of = NULL;
    assert(command == 3 || command == 4);
    assert(status <= 0);
    if (command == 4) {
        assert(seqnum == 1 << 24 && actual == 0);
        return;
    }
    assert(seqnum < w.count);
    t = &w.sent[seqnum];
    assert(!t->answered && actual <= t->length);
    t->answered = true;
    w.of = t;
    if (t->in) {
        w.data = actual;
    } else if (t->ep) {
        for (i = 0; i < actual; i++) {
            assert(w.checked < w.writes);
            assert(w.written[w.checked++] == out_byte(seqnum, i));
        }
    }
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t done = 0, i, j;

    if (fd != SOCK) {
        return __real_sendmsg(fd, message, flags);
    }
    if (w.detached) {
        errno = EPIPE;
        return -1;
    }
    for (i = 0; i < message->msg_iovlen; i++) {
        const uint8_t *p = message->msg_iov[i].iov_base;

        for (j = 0; j < message->msg_iov[i].iov_len; j++) {
            if (w.cut && done == w.cut) {
                w.cut = 0;
                return done;
            }
            done++;
            if (!w.strict) {
                continue;
            }
            if (w.data) {
                w.data--;
                if (w.of->ep && w.of->ep == w.dev.pipe[1]) {
                    assert(p[j] == in_byte(w.answered));
                    w.answered++;
                }
                continue;
            }
            w.answer[w.have++] = p[j];
            if (w.have == HEADER) {
                check_answer();
            }
        }
    }
    return done;
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int count)
{
    size_t done = 0, i;
    int n;

    if (fd != PORT) {
        return __real_readv(fd, iov, count);
    }
    if (w.unplugged || w.port_error) {
        errno = w.unplugged ? ENODEV : EIO;
        return -1;
    }
    for (n = 0; n < count; n++) {
        for (i = 0; i < iov[n].iov_len && w.from_host; i++, done++) {
            ((uint8_t *)iov[n].iov_base)[i] = in_byte(w.read++);
            w.from_host--;
        }
    }
    if (done == 0 && !w.hangup) {
        errno = EAGAIN;
        return -1;
    }
    return done;
}

ssize_t __wrap_write(int fd, const void *data, size_t length)
{
    if (fd != PORT) {
        return __real_write(fd, data, length);
    }
    length = MIN(length, w.room);
    length = MIN(length, sizeof(w.written) - w.writes);
    if (w.unplugged || w.port_error || length == 0) {
        errno = w.unplugged ? ENODEV : w.port_error ? EIO : EAGAIN;
        return -1;
    }
    memcpy(w.written + w.writes, data, length);
    w.writes += length;
    w.room -= length;
    return length;
}

int __wrap_close(int fd)
{
    return fd == EPOLL ? 0 : __real_close(fd);
}

int64_t __wrap_now_ms(void)
{
    return w.now;
}

bool __wrap_port_is_unplugged(int fd)
{
    assert(fd == PORT);
    return w.unplugged;
}

void __wrap_vser_error(const char *fmt, ...)
{
}

/* The blob of the input's begin; its length, 0: none */
static size_t blob_of(uint8_t *blob, size_t size)
{
    VirtIOSerialDescProps props = {
        .value[VIRTIO_SERIAL_DESC_IDS] = (char *)"1209:0001",
        .value[VIRTIO_SERIAL_DESC_SERIAL] = (char *)"S1",
    };
    VirtIOSerialDescError err;
    uint8_t which = take();
    size_t length;

    if (which < 2) {
        props.value[VIRTIO_SERIAL_DESC_CLASS] =
            (char *)(which ? "cdc-acm" : "vendor");
        return virtio_serial_desc_build(&props, blob, &err);
    }
    length = take2();
    length = MIN(length, MIN(size, w.end - w.p));
    memcpy(blob, w.p, length);
    w.p += length;
    return virtio_serial_desc_check(blob, length, &err) ? length : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buffer[VIRTIO_SERIAL_DESC_MAX];
    Port port = { .name = "vport1p1" };
    UsbIpEnd end;

    memset(w.sent, 0, w.count * sizeof(w.sent[0]));
    w.p = data;
    w.end = data + size;
    w.now = 1000;
    w.strict = true;
    w.detached = w.hangup = w.unplugged = w.port_error = false;
    w.start = w.stop = w.piece = w.from_host = w.room = w.cut = 0;
    w.writes = w.checked = w.have = w.data = 0;
    w.read = w.answered = 0;
    w.count = 0;

    port.length = blob_of(buffer, sizeof(buffer));
    if (!port.length) {
        return 0;
    }
    /* In a block of its own size, so that a sanitizer sees an overrun */
    port.blob = g_memdup2(buffer, port.length);
    virtio_serial_desc_info(port.blob, port.length, &port.info);
    if (usb_device_init(&w.dev, &port)) {
        usb_device_speed(&w.dev);
        end = usb_ip_serve(&w.dev, SOCK, PORT, STOP);
        assert(end != USB_IP_RUNNING);
        if (w.strict && end == USB_IP_STOPPED) {
            assert(w.answered == w.read && !w.have && !w.data);
        }
    }
    g_free(port.blob);
    return 0;
}
