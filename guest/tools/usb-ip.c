/*
 * A USB device that speaks the kernel's USB/IP protocol
 *
 * Documentation/usb/usbip_protocol.rst in Linux describes the protocol.
 * vhci_hcd uses only the part after the import of a device: CMD_SUBMIT,
 * CMD_UNLINK and their answers.
 *
 * Names: the port is one side, the socket of vhci_hcd the other. A transfer is
 * a request of vhci_hcd: IN asks for bytes of the port, OUT has bytes for the
 * port.
 *
 * We copy few bytes. An IN transfer is answered from the buffer into which the
 * port was read. An OUT transfer is written from the buffer into which the
 * socket was read. One system call handles several transfers.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "usb-ip.h"

enum {
    CMD_SUBMIT = 1,
    CMD_UNLINK = 2,
    RET_SUBMIT = 3,
    RET_UNLINK = 4,
};

/* The only transfer flag that matters: a short answer is an error */
#define SHORT_NOT_OK        1

/* The begin of every message: big-endian, except for the setup packet */
typedef struct Message {
    uint32_t command, seqnum, devid, direction, ep;
    union {
        struct {
            uint32_t transfer_flags, transfer_buffer_length, start_frame;
            uint32_t number_of_packets, interval;
            struct usb_ctrlrequest setup;
        } submit;
        struct {
            uint32_t seqnum;
        } unlink;
        struct {
            uint32_t status, actual_length;
        } result;
        uint32_t words[7];
    };
} Message;

/*
 * Limits of memory. We take every transfer from the socket, because a
 * CMD_UNLINK may follow. Transfers beyond these limits are refused. The guest's
 * kernel has limits too (usbfs: 16 MiB in all, by default).
 */
#define MAX_TRANSFERS       4096
#define MAX_HELD            (32 << 20)      /* bytes of OUT transfers */
/* Bytes for one read of the socket or port, and answers for one write */
#define SOCKET_SIZE         (128 << 10)
#define PORT_SIZE           (128 << 10)
#define MAX_ANSWERS         128
/* The port's driver returns at most that many bytes for each read */
#define PORT_CHUNK          4096
/*
 * The most bytes by which the pipe of an ACM function gets ahead of the guest.
 * Linux's cdc_acm submits a transfer again at once, until its terminal is full:
 * a terminal holds 4095 bytes, and loses further bytes. A device on a real bus
 * is too slow for that. So we answer that many bytes, and then only as many as
 * cdc_acm has submitted since. The number is smaller than 4095, because some
 * bytes come before cdc_acm knows that the terminal is full.
 */
#define ACM_AHEAD           3072
/* A larger transfer is not from cdc_acm, but from a program: no limit then */
#define ACM_TRANSFER        1024
/*
 * A program may submit small transfers and wait until several are answered. So
 * after that time (ms) without a new transfer, one more is answered.
 */
#define ACM_STANDSTILL      1000
/*
 * A new terminal has ECHO set, and sends bytes back until the program has set
 * its own mode. So there are no bytes for the terminal during that time (ms)
 * after DTR goes up or down. The time also begins with the first transfer
 * while DTR is down: cdc_acm submits transfers before it raises DTR.
 */
#define ACM_HOLD            100
/*
 * How long (ms) the device stays after the host has closed its side, and after
 * each later read of the port. When a device is unplugged, the terminal's
 * driver discards the bytes that the program has not read.
 */
#define LINGER              1000

/* A transfer; the kernel's word is URB */
typedef struct Transfer {
    TAILQ_ENTRY(Transfer) next;
    uint32_t seqnum, flags;
    bool in;
    uint8_t ep;
    int status;                 /* not 0: the transfer is refused */
    size_t length;              /* of data, in bytes */
    size_t done;                /* bytes of data that are written */
    struct usb_ctrlrequest setup;
    uint8_t data[];             /* of an OUT transfer that is not refused */
} Transfer;

typedef TAILQ_HEAD(TransferQueue, Transfer) TransferQueue;

typedef struct Server {
    UsbDevice *dev;
    int sock, port;
    UsbIpEnd end;

    /* Transfers that wait, in order, by direction (1: IN) and endpoint */
    TransferQueue pending[2][16];
    unsigned int transfers;     /* in all queues */
    size_t held;                /* bytes of OUT transfers in all queues */

    /* Bytes of the socket that are not parsed yet: from start to stop */
    uint8_t received[SOCKET_SIZE];
    size_t start, stop;
    Transfer *incoming;         /* a part of its data is missing; NULL: none */
    size_t missing;             /* bytes of incoming */

    /* Answers for the socket; their data is in bytes or control */
    Message answer[MAX_ANSWERS];
    struct iovec iov[2 * MAX_ANSWERS];
    unsigned int answers, iovs;
    uint8_t bytes[PORT_SIZE];
    uint8_t control[UINT16_MAX];

    /* The port may have bytes for us; the port may take bytes */
    bool readable, writable;
    /* Times are now_ms(), or 0 */
    size_t ahead;               /* bytes in the pipe: see ACM_AHEAD */
    int64_t standstill;         /* when one more is answered: ACM_STANDSTILL */
    int64_t hold;               /* no answers until then: see ACM_HOLD */
    bool used;                  /* a transfer came since DTR went down */

    bool closed;                /* the host has closed its side */
    int64_t deadline;           /* if closed, when the device goes: LINGER */
} Server;

static void usb_ip_end(Server *s, UsbIpEnd why)
{
    if (s->end == USB_IP_RUNNING) {
        s->end = why;
    }
}

static void usb_ip_fail(Server *s, const char *what)
{
    vser_error("%s: %s: %s", s->dev->port->name, what, strerror(errno));
    usb_ip_end(s, USB_IP_FAILED);
}

/* ------------------------------------------------------------------ */
/* Answers */

/* Send all answers. May block, but vhci_hcd always reads */
static void usb_ip_flush(Server *s)
{
    struct msghdr message = { .msg_iov = s->iov, .msg_iovlen = s->iovs };

    while (message.msg_iovlen && s->end != USB_IP_DETACHED) {
        ssize_t n = sendmsg(s->sock, &message, MSG_NOSIGNAL);

        if (n < 0) {
            if (errno == EPIPE || errno == ECONNRESET) {
                usb_ip_end(s, USB_IP_DETACHED);
            } else if (errno != EINTR) {
                usb_ip_fail(s, "cannot write to vhci_hcd");
                break;
            }
            continue;
        }
        while (message.msg_iovlen && n >= message.msg_iov->iov_len) {
            n -= message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen) {
            struct iovec *rest = message.msg_iov;

            rest->iov_base = (uint8_t *)rest->iov_base + n;
            rest->iov_len -= n;
        }
    }
    s->answers = s->iovs = 0;
}

/* The caller must not change @data before the next usb_ip_flush() */
static void usb_ip_answer(Server *s, uint32_t command, uint32_t seqnum,
                          int status, size_t actual_length, void *data,
                          size_t length)
{
    Message *m;

    if (s->answers == MAX_ANSWERS) {
        usb_ip_flush(s);
    }
    m = &s->answer[s->answers++];
    *m = (Message) { .command = htonl(command), .seqnum = htonl(seqnum) };
    m->result.status = htonl(status);
    m->result.actual_length = htonl(actual_length);
    s->iov[s->iovs++] = (struct iovec) { m, sizeof(*m) };
    if (length) {
        s->iov[s->iovs++] = (struct iovec) { data, length };
    }
}

/* Answer and free a transfer; @data: the @actual bytes of an IN transfer */
static void transfer_complete(Server *s, Transfer *t, int status, size_t actual,
                              void *data)
{
    if (t->in && status == 0 && actual < t->length &&
        (t->flags & SHORT_NOT_OK)) {
        status = -EREMOTEIO;
    }
    usb_ip_answer(s, RET_SUBMIT, t->seqnum, status, actual, data,
                  t->in ? actual : 0);
    free(t);
}

/* ------------------------------------------------------------------ */
/* Transfers that wait */

/* A new transfer shows that the driver has taken @length bytes: ACM_AHEAD */
static void catch_up(Server *s, size_t length)
{
    s->ahead -= MIN(s->ahead, length);
    s->standstill = 0;
}

static void transfer_enqueue(Server *s, Transfer *t)
{
    TAILQ_INSERT_TAIL(&s->pending[t->in][t->ep], t, next);
    s->transfers++;
    s->held += t->in ? 0 : t->length;
    if (t->in && t->ep == s->dev->pipe[1]) {
        catch_up(s, t->length);
        if (!s->used) {
            s->used = true;
            s->hold = now_ms() + ACM_HOLD;
        }
    }
}

static void transfer_dequeue(Server *s, Transfer *t)
{
    TAILQ_REMOVE(&s->pending[t->in][t->ep], t, next);
    s->transfers--;
    s->held -= t->in ? 0 : t->length;
}

/* Answer the transfers of endpoints that are halted or absent now */
static void stall_pending(Server *s)
{
    unsigned int in, ep;
    Transfer *t;

    for (in = 0; in < 2; in++) {
        for (ep = 1; ep < 16; ep++) {
            const UsbEndpoint *endpoint = &s->dev->endpoint[in][ep];

            if (!endpoint->halted && endpoint->role != USB_ABSENT) {
                continue;
            }
            while ((t = TAILQ_FIRST(&s->pending[in][ep]))) {
                /* A part of an OUT transfer may have gone to the port */
                transfer_dequeue(s, t);
                transfer_complete(s, t, -EPIPE, t->done, NULL);
            }
        }
    }
}

/* The pending transfer with that number; NULL: none */
static Transfer *find_transfer(Server *s, uint32_t seqnum)
{
    unsigned int in, ep;
    Transfer *t;

    for (in = 0; in < 2; in++) {
        for (ep = 1; ep < 16; ep++) {
            TAILQ_FOREACH(t, &s->pending[in][ep], next) {
                /* cppcheck-suppress uninitvar ; it can't see sys/queue.h */
                if (t->seqnum == seqnum) {
                    return t;
                }
            }
        }
    }
    return NULL;
}

static void unlink_transfer(Server *s, uint32_t seqnum, uint32_t which)
{
    Transfer *t = find_transfer(s, which);
    int status = 0;

    if (t) {
        transfer_dequeue(s, t);
        if (t->done) {
            /* RET_UNLINK can't say how many bytes are written */
            transfer_complete(s, t, -ECONNRESET, t->done, NULL);
        } else {
            free(t);
            status = -ECONNRESET;
        }
    }
    usb_ip_answer(s, RET_UNLINK, seqnum, status, 0, NULL, 0);
}

/* ------------------------------------------------------------------ */
/* The port */

static void port_failed(Server *s, const char *what)
{
    switch (errno) {
    case EAGAIN:
    case EINTR:
        break;
    case ENODEV:
        usb_ip_end(s, USB_IP_UNPLUGGED);
        break;
    default:
        usb_ip_fail(s, what);
    }
}

/* Read up to @want bytes into s->bytes. Returns: how many there were */
static size_t read_port(Server *s, size_t want)
{
    size_t got = 0;

    while (got < want && s->readable) {
        struct iovec iov[PORT_SIZE / PORT_CHUNK];
        unsigned int n = 0;
        size_t at;
        ssize_t more;

        /* The driver fills each iovec separately: see PORT_CHUNK */
        for (at = got; at < want; at += iov[n++].iov_len) {
            iov[n].iov_base = s->bytes + at;
            iov[n].iov_len = MIN(want - at, PORT_CHUNK);
        }
        more = readv(s->port, iov, n);
        if (more <= 0) {
            /* 0: the host has closed its side, and all bytes are read */
            s->readable = false;
            if (more < 0) {
                port_failed(s, "cannot read the port");
            }
            break;
        }
        got += more;
    }
    return got;
}

/* How many bytes may be answered in the pipe now; @t is the next transfer */
static size_t room_in(const Server *s, const Transfer *t)
{
    if (!s->dev->acm_pipe || t->length > ACM_TRANSFER) {
        return PORT_SIZE;
    }
    if (s->hold) {
        return 0;
    }
    return s->ahead < ACM_AHEAD ? ACM_AHEAD - s->ahead : 0;
}

/* Answer IN transfers of the pipe with bytes of the port */
static void pump_in(Server *s)
{
    TransferQueue *queue = &s->pending[1][s->dev->pipe[1]];
    Transfer *t;

    while ((t = TAILQ_FIRST(queue)) && s->readable &&
           s->end == USB_IP_RUNNING) {
        size_t room = room_in(s, t), want = 0, got, at = 0;

        if (room == 0) {
            if (!s->standstill && !s->hold) {
                s->standstill = now_ms() + ACM_STANDSTILL;
            }
            break;
        }
        usb_ip_flush(s);
        TAILQ_FOREACH(t, queue, next) {
            want += t->length;
            if (want >= room) {
                want = room;
                break;
            }
        }
        got = read_port(s, want);
        s->ahead += got;
        if (got && s->closed) {
            s->deadline = now_ms() + LINGER;
        }
        while ((t = TAILQ_FIRST(queue)) && (at < got || t->length == 0)) {
            size_t length = MIN(got - at, t->length);

            if (s->answers == MAX_ANSWERS) {
                usb_ip_flush(s);
            }
            transfer_dequeue(s, t);
            transfer_complete(s, t, 0, length, s->bytes + at);
            at += length;
        }
    }
}

/* Write the rest of an OUT transfer. Returns: whether all of it is written */
static bool write_port(Server *s, Transfer *t, const uint8_t *data)
{
    while (t->done < t->length) {
        ssize_t n;

        if (!s->writable) {
            return false;
        }
        n = write(s->port, data + t->done, t->length - t->done);
        if (n < 0) {
            s->writable = false;
            port_failed(s, "cannot write to the port");
            return false;
        }
        t->done += n;
    }
    return true;
}

static void pump_out(Server *s)
{
    TransferQueue *queue = &s->pending[0][s->dev->pipe[0]];
    Transfer *t;

    while ((t = TAILQ_FIRST(queue)) && write_port(s, t, t->data)) {
        transfer_dequeue(s, t);
        transfer_complete(s, t, 0, t->done, NULL);
    }
}

static void pump_notifications(Server *s)
{
    TransferQueue *queue = &s->pending[1][s->dev->notify];
    Transfer *t;
    size_t length;

    while ((t = TAILQ_FIRST(queue))) {
        usb_ip_flush(s);
        length = usb_device_notification(s->dev, s->control,
                                         MIN(t->length, sizeof(s->control)));
        if (length == 0) {
            break;
        }
        transfer_dequeue(s, t);
        transfer_complete(s, t, 0, length, s->control);
        usb_ip_flush(s);
    }
}

/* ------------------------------------------------------------------ */
/* The socket */

static void do_control(Server *s, Transfer *t)
{
    bool dtr = s->dev->dtr;
    int result;

    usb_ip_flush(s);
    if (!t->in) {
        memcpy(s->control, t->data, t->length);
    }
    result = usb_device_control(s->dev, &t->setup, s->control,
                                t->in ? 0 : t->length);
    if (result > (int)t->length) {
        result = t->length;
    }
    if (s->dev->dtr != dtr) {
        s->hold = now_ms() + ACM_HOLD;
        s->used = s->dev->dtr;
    }
    transfer_complete(s, t, result < 0 ? result : 0, result < 0 ? 0 : result,
                      s->control);
    usb_ip_flush(s);
    stall_pending(s);
}

/* Handle a transfer, whose data is complete */
static void transfer_submit(Server *s, Transfer *t)
{
    if (t->ep == 0 && t->status == 0) {
        do_control(s, t);
    } else if (t->status) {
        transfer_complete(s, t, t->status, 0, NULL);
    } else {
        transfer_enqueue(s, t);
    }
}

/* Returns: a negative error number if a transfer is refused, else 0 */
static int transfer_refuse(const Server *s, bool in, uint8_t ep, size_t length)
{
    const UsbEndpoint *endpoint = &s->dev->endpoint[in][ep];

    if (ep == 0) {
        return 0;
    }
    if (endpoint->role == USB_ABSENT || endpoint->halted ||
        (endpoint->role != USB_PIPE && !in)) {
        return -EPIPE;
    }
    if (s->transfers == MAX_TRANSFERS ||
        (!in && length > MAX_HELD - s->held)) {
        return -ENOMEM;
    }
    return 0;
}

static bool malformed(Server *s, const char *what, uint32_t value)
{
    vser_error("%s: malformed message from vhci_hcd: %s %u",
               s->dev->port->name, what, value);
    usb_ip_end(s, USB_IP_FAILED);
    return false;
}

/* Returns: whether parsing can go on behind the message */
static bool cmd_submit(Server *s, const Message *m)
{
    bool in = m->direction != 0;
    uint32_t ep = ntohl(m->ep);
    uint32_t length = ntohl(m->submit.transfer_buffer_length);
    uint32_t packets = ntohl(m->submit.number_of_packets);
    size_t store;
    int status;
    Transfer *t;

    if (ntohl(m->direction) > 1) {
        return malformed(s, "direction", ntohl(m->direction));
    }
    if (ep > 15) {
        return malformed(s, "ep", ep);
    }
    if (length > INT32_MAX || (ep == 0 && length > UINT16_MAX)) {
        return malformed(s, "transfer_buffer_length", length);
    }
    /* Not isochronous: Linux has 0, the protocol's document ffffffff */
    if (packets != 0 && packets != UINT32_MAX) {
        return malformed(s, "number_of_packets", packets);
    }

    status = transfer_refuse(s, in, ep, length);
    store = in || status ? 0 : length;
    t = malloc(sizeof(*t) + store);
    if (!t && store) {
        status = -ENOMEM;
        t = malloc(sizeof(*t));
    }
    if (!t) {
        usb_ip_fail(s, "a transfer");
        return false;
    }
    *t = (Transfer) {
        .seqnum = ntohl(m->seqnum),
        .flags = ntohl(m->submit.transfer_flags),
        .in = in,
        .ep = ep,
        .status = status,
        .length = length,
        .setup = m->submit.setup,
    };
    if (in || length == 0) {
        transfer_submit(s, t);
        return true;
    }

    /* Write from this buffer if all data is here and no transfer waits */
    if (t->status == 0 && ep && ep == s->dev->pipe[0] &&
        s->stop - s->start >= length && TAILQ_EMPTY(&s->pending[0][ep]) &&
        write_port(s, t, s->received + s->start)) {
        s->start += length;
        transfer_complete(s, t, 0, length, NULL);
        return true;
    }
    s->incoming = t;
    s->missing = length;
    return true;
}

/* Parse the received bytes, up to an incomplete header at the end */
static void take_apart(Server *s)
{
    while (s->end == USB_IP_RUNNING) {
        size_t there = s->stop - s->start;
        Message m;

        if (s->incoming) {
            Transfer *t = s->incoming;
            size_t length = MIN(there, s->missing);

            if (t->status == 0) {
                memcpy(t->data + t->length - s->missing,
                       s->received + s->start, length);
            }
            s->start += length;
            s->missing -= length;
            if (s->missing) {
                break;
            }
            s->incoming = NULL;
            transfer_submit(s, t);
            continue;
        }

        if (there < sizeof(m)) {
            break;
        }
        memcpy(&m, s->received + s->start, sizeof(m));
        s->start += sizeof(m);
        switch (ntohl(m.command)) {
        case CMD_SUBMIT:
            if (!cmd_submit(s, &m)) {
                return;
            }
            break;
        case CMD_UNLINK:
            unlink_transfer(s, ntohl(m.seqnum), ntohl(m.unlink.seqnum));
            break;
        default:
            malformed(s, "command", ntohl(m.command));
            return;
        }
    }
    memmove(s->received, s->received + s->start, s->stop - s->start);
    s->stop -= s->start;
    s->start = 0;
}

/* Read the socket once: first the missing bytes of a transfer, then others */
static void usb_ip_receive(Server *s)
{
    struct iovec iov[2] = {
        { NULL, 0 },
        { s->received + s->stop, sizeof(s->received) - s->stop },
    };
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
    ssize_t n;

    if (s->incoming && s->incoming->status == 0) {
        iov[0].iov_base = s->incoming->data + s->incoming->length - s->missing;
        iov[0].iov_len = s->missing;
    }
    n = recvmsg(s->sock, &message, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
        usb_ip_end(s, USB_IP_DETACHED);
    } else if (n > 0) {
        size_t direct = MIN(n, iov[0].iov_len);

        s->missing -= direct;
        s->stop += n - direct;
        take_apart(s);
    } else if (errno != EAGAIN && errno != EINTR) {
        usb_ip_fail(s, "cannot read from vhci_hcd");
    }
}

/*
 * Handle an event of the port. The epoll is edge-triggered: an event comes when
 * the driver has news. After the host has closed its side, the rest is read. If
 * the host opens its side again meanwhile, the bytes that follow are for the
 * next device, which is plugged in later.
 */
static void port_event(Server *s, uint32_t events)
{
    bool hangup = events & EPOLLHUP;

    if (hangup && port_is_unplugged(s->port)) {
        usb_ip_end(s, USB_IP_UNPLUGGED);
    } else if (!s->closed) {
        s->readable = true;
        s->writable = !hangup;
        if (hangup) {
            s->closed = true;
            s->deadline = now_ms() + LINGER;
        }
    } else if (!hangup) {
        /* Opened again: stop reading, or this device would never go */
        s->readable = false;
    }
}

/*
 * Has the time @when come? 0: never. *@left becomes the time (ms) until @when,
 * if that is less
 */
static bool is_due(int64_t when, int64_t *left)
{
    int64_t until = when ? when - now_ms() : INT64_MAX;

    *left = MIN(*left, until < 0 ? 0 : until);
    return until <= 0;
}

/* Wait for events, and handle them */
static void usb_ip_step(Server *s, int epoll)
{
    struct epoll_event events[3];
    int64_t left = INT64_MAX;
    int n, i;

    if (s->closed && is_due(s->deadline, &left)) {
        usb_ip_end(s, USB_IP_HOST_CLOSED);
        return;
    }
    if (is_due(s->hold, &left)) {
        s->hold = 0;
    }
    if (is_due(s->standstill, &left)) {
        catch_up(s, ACM_TRANSFER);
    }
    n = epoll_wait(epoll, events, 3, left == INT64_MAX ? -1 : left);
    if (n < 0 && errno != EINTR) {
        usb_ip_fail(s, "epoll");
    }
    for (i = 0; i < n; i++) {
        if (events[i].data.fd == s->sock) {
            usb_ip_receive(s);
        } else if (events[i].data.fd == s->port) {
            port_event(s, events[i].events);
        } else {
            usb_ip_end(s, USB_IP_STOPPED);
        }
    }
    pump_out(s);
    pump_notifications(s);
    pump_in(s);
    usb_ip_flush(s);
}

UsbIpEnd usb_ip_serve(UsbDevice *dev, int sock, int port, int stop)
{
    const struct { int fd; uint32_t events; } watched[] = {
        { sock, EPOLLIN },
        { port, EPOLLIN | EPOLLOUT | EPOLLET },
        { stop, EPOLLIN },
    };
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    Server *s = calloc(1, sizeof(*s));
    unsigned int i;
    UsbIpEnd why;
    Transfer *t;

    if (!s || epoll < 0) {
        vser_error("%s: %s", dev->port->name, strerror(errno));
        free(s);
        return USB_IP_FAILED;
    }
    s->dev = dev;
    s->sock = sock;
    s->port = port;
    for (i = 0; i < 32; i++) {
        TAILQ_INIT(&s->pending[i / 16][i % 16]);
    }
    for (i = 0; i < 3; i++) {
        struct epoll_event event = {
            .events = watched[i].events,
            .data.fd = watched[i].fd,
        };

        if (epoll_ctl(epoll, EPOLL_CTL_ADD, watched[i].fd, &event)) {
            usb_ip_fail(s, "epoll");
        }
    }

    while (s->end == USB_IP_RUNNING) {
        usb_ip_step(s, epoll);
    }

    why = s->end;
    for (i = 0; i < 32; i++) {
        while ((t = TAILQ_FIRST(&s->pending[i / 16][i % 16]))) {
            transfer_dequeue(s, t);
            free(t);
        }
    }
    free(s->incoming);
    free(s);
    close(epoll);
    return why;
}
