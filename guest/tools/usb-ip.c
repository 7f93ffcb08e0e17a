/*
 * A USB device at the other end of USB/IP's kernel protocol
 *
 * The protocol is documented in the kernel's
 * Documentation/usb/usbip_protocol.rst; of it only what comes behind the
 * import of a device is spoken with vhci_hcd: CMD_SUBMIT, CMD_UNLINK and their
 * answers.
 *
 * Bytes are not copied on their way through where that can be helped: a
 * transfer from the device is answered out of the buffer that the port was read
 * into, one to the device is written from the buffer that the socket was read
 * into. Several of either share a system call.
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

/* Of the transfer flags only this matters here: short is an error */
#define SHORT_NOT_OK        1

/* Every message begins like this, big-endian but for the setup packet */
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
 * Limits. What the guest has submitted is bounded by the guest (usbfs: 16 MiB
 * in all, by default); all of it has to be taken from the socket, since a
 * CMD_UNLINK may be behind it. What is more than this is refused.
 */
#define MAX_TRANSFERS       4096
#define MAX_HELD            (32 << 20)      /* bytes to the device */
/* Bytes for one read of socket or port, and answers for one write */
#define SOCKET_SIZE         (128 << 10)
#define PORT_SIZE           (128 << 10)
#define MAX_ANSWERS         128
/* The driver hands out a buffer of this size for each read at most */
#define PORT_CHUNK          4096
/*
 * Linux's cdc_acm submits a transfer again as soon as it is answered, until its
 * terminal is full. What is answered by then waits in memory of a fixed size,
 * and what has no room there is lost. A device on a bus is too slow to get far
 * ahead of a program that reads. So is this one: in the pipe of an ACM function
 * it answers that many bytes, and then no more than the driver submits anew. A
 * terminal takes 4095 bytes, and says when all but 128 are read. What comes
 * while the driver does not know yet that the terminal is full comes on top: so
 * these are fewer.
 */
#define ACM_AHEAD           3072
/* A larger transfer is not from cdc_acm, but from a program with its own */
#define ACM_TRANSFER        1024
/*
 * A program may want several small transfers answered before it submits the
 * next one: if that long nothing is submitted, in ms, another one is answered.
 */
#define ACM_STANDSTILL      1000
/*
 * A terminal begins with ECHO, and sends back what comes before the program has
 * set its own mode. So it gets nothing for that long, in ms, when DTR goes up
 * or down, and when the first transfer is submitted with DTR down: cdc_acm
 * submits some before it raises DTR.
 */
#define ACM_HOLD            100
/*
 * How long a device stays, in ms, when the other side of the port has closed,
 * and then after each read: unplugging discards what a terminal's driver has
 * read and the program behind it has not.
 */
#define LINGER              1000

/* A transfer: what the kernel calls an URB */
typedef struct Transfer {
    TAILQ_ENTRY(Transfer) next;
    uint32_t seqnum, flags;
    bool in;
    uint8_t ep;
    int status;                 /* not 0: it is refused */
    size_t length;              /* of data, in bytes */
    size_t done;                /* how many of them */
    struct usb_ctrlrequest setup;
    uint8_t data[];             /* to the device, unless it is refused */
} Transfer;

typedef TAILQ_HEAD(TransferQueue, Transfer) TransferQueue;

typedef struct Server {
    UsbDevice *dev;
    int sock, port;
    UsbIpEnd end;

    /* In the order in which they came, by direction (1: IN) and endpoint */
    TransferQueue pending[2][16];
    unsigned int transfers;     /* in all of them, and what they hold */
    size_t held;

    /* From the socket: what is not taken apart yet */
    uint8_t received[SOCKET_SIZE];
    size_t start, stop;
    Transfer *incoming;         /* its data is not complete; NULL: none */
    size_t missing;             /* of its data, in bytes */

    /* To the socket: answers, whose data is in one of these buffers */
    Message answer[MAX_ANSWERS];
    struct iovec iov[2 * MAX_ANSWERS];
    unsigned int answers, iovs;
    uint8_t bytes[PORT_SIZE];
    uint8_t control[UINT16_MAX];

    /* The port: may there be something to read, may it take something */
    bool readable, writable;
    /* What is answered in the pipe, and not made up for by new transfers */
    size_t ahead;
    int64_t standstill;         /* it waits for those until then, in ms; or 0 */

    int64_t hold;               /* it answers nothing until then, in ms; or 0 */
    bool used;                  /* it was submitted since DTR went down */

    bool closed;                /* by its other side */
    int64_t deadline;           /* then the device goes, in ms; if closed */
} Server;

static void end(Server *s, UsbIpEnd why)
{
    if (s->end == USB_IP_RUNNING) {
        s->end = why;
    }
}

static void fail(Server *s, const char *what)
{
    vser_error("%s: %s: %s", s->dev->port->name, what, strerror(errno));
    end(s, USB_IP_FAILED);
}

/* ------------------------------------------------------------------ */
/* Answers */

/* Send what has been answered. Blocks: the host controller always reads. */
static void flush(Server *s)
{
    struct msghdr message = { .msg_iov = s->iov, .msg_iovlen = s->iovs };

    while (message.msg_iovlen && s->end != USB_IP_DETACHED) {
        ssize_t n = sendmsg(s->sock, &message, MSG_NOSIGNAL);

        if (n < 0) {
            if (errno == EPIPE || errno == ECONNRESET) {
                end(s, USB_IP_DETACHED);
            } else if (errno != EINTR) {
                fail(s, "cannot write to the host controller");
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

/* @data, of @length bytes, stays as it is until the next flush() */
static void answer(Server *s, uint32_t command, uint32_t seqnum, int status,
                   size_t actual_length, void *data, size_t length)
{
    Message *m;

    if (s->answers == MAX_ANSWERS) {
        flush(s);
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

/* Answer a transfer; @data: the @actual bytes from the device, if it is IN */
static void complete(Server *s, Transfer *t, int status, size_t actual,
                     void *data)
{
    if (t->in && status == 0 && actual < t->length &&
        (t->flags & SHORT_NOT_OK)) {
        status = -EREMOTEIO;
    }
    answer(s, RET_SUBMIT, t->seqnum, status, actual, data, t->in ? actual : 0);
    free(t);
}

/* ------------------------------------------------------------------ */
/* Transfers that wait */

/* The driver shows that it has taken @length bytes of what is answered */
static void catch_up(Server *s, size_t length)
{
    s->ahead -= MIN(s->ahead, length);
    s->standstill = 0;
}

static void enqueue(Server *s, Transfer *t)
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

static void dequeue(Server *s, Transfer *t)
{
    TAILQ_REMOVE(&s->pending[t->in][t->ep], t, next);
    s->transfers--;
    s->held -= t->in ? 0 : t->length;
}

/* Endpoints that halted, or are not there any more, keep nothing waiting */
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
                dequeue(s, t);
                complete(s, t, -EPIPE, 0, NULL);
            }
        }
    }
}

/* NULL: it has been answered, or never was there */
static Transfer *find_transfer(Server *s, uint32_t seqnum)
{
    unsigned int in, ep;
    Transfer *t;

    for (in = 0; in < 2; in++) {
        for (ep = 1; ep < 16; ep++) {
            TAILQ_FOREACH(t, &s->pending[in][ep], next) {
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
        dequeue(s, t);
        if (t->done) {
            /* RET_UNLINK can't say how much of it has gone */
            complete(s, t, -ECONNRESET, t->done, NULL);
        } else {
            free(t);
            status = -ECONNRESET;
        }
    }
    answer(s, RET_UNLINK, seqnum, status, 0, NULL, 0);
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
        end(s, USB_IP_UNPLUGGED);
        break;
    default:
        fail(s, what);
    }
}

/* Read up to @want bytes into s->bytes; returns how many there were */
static size_t read_port(Server *s, size_t want)
{
    size_t got = 0;

    while (got < want && s->readable) {
        struct iovec iov[PORT_SIZE / PORT_CHUNK];
        unsigned int n = 0;
        size_t at;
        ssize_t more;

        /* One call of readv() does what takes a read() for each buffer */
        for (at = got; at < want; at += iov[n++].iov_len) {
            iov[n].iov_base = s->bytes + at;
            iov[n].iov_len = MIN(want - at, PORT_CHUNK);
        }
        more = readv(s->port, iov, n);
        if (more <= 0) {
            /* 0: it is closed, and everything is read */
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

/* How much may be answered in the pipe now, with @t as the next transfer */
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

/* Answer transfers from the device with what the port has */
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
        flush(s);
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
                flush(s);
            }
            dequeue(s, t);
            complete(s, t, 0, length, s->bytes + at);
            at += length;
        }
    }
}

/* Write what is left of a transfer to the device; true: all of it */
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
        dequeue(s, t);
        complete(s, t, 0, t->done, NULL);
    }
}

static void pump_notifications(Server *s)
{
    TransferQueue *queue = &s->pending[1][s->dev->notify];
    Transfer *t;
    size_t length;

    while ((t = TAILQ_FIRST(queue))) {
        flush(s);
        length = usb_device_notification(s->dev, s->control,
                                         MIN(t->length, sizeof(s->control)));
        if (length == 0) {
            break;
        }
        dequeue(s, t);
        complete(s, t, 0, length, s->control);
        flush(s);
    }
}

/* ------------------------------------------------------------------ */
/* The socket */

static void do_control(Server *s, Transfer *t)
{
    bool dtr = s->dev->dtr;
    int result;

    flush(s);
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
    complete(s, t, result < 0 ? result : 0, result < 0 ? 0 : result,
             s->control);
    flush(s);
    stall_pending(s);
}

/* A transfer is here with all its data */
static void submit(Server *s, Transfer *t)
{
    if (t->ep == 0 && t->status == 0) {
        do_control(s, t);
    } else if (t->status) {
        complete(s, t, t->status, 0, NULL);
    } else {
        enqueue(s, t);
    }
}

/* Why a transfer is refused, as an error number; 0: it is not */
static int refuse(const Server *s, bool in, uint8_t ep, size_t length)
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
    vser_error("%s: malformed message from the host controller: %s %u",
               s->dev->port->name, what, value);
    end(s, USB_IP_FAILED);
    return false;
}

/* Returns: whether what follows in the socket can be understood */
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
    /* Not isochronous: 0 from Linux, ffffffff by the document */
    if (packets != 0 && packets != UINT32_MAX) {
        return malformed(s, "number_of_packets", packets);
    }

    status = refuse(s, in, ep, length);
    store = in || status ? 0 : length;
    t = malloc(sizeof(*t) + store);
    if (!t && store) {
        status = -ENOMEM;
        t = malloc(sizeof(*t));
    }
    if (!t) {
        fail(s, "a transfer");
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
        submit(s, t);
        return true;
    }

    /* Straight from this buffer to the port, if nothing is in its way */
    if (t->status == 0 && ep && ep == s->dev->pipe[0] &&
        s->stop - s->start >= length && TAILQ_EMPTY(&s->pending[0][ep]) &&
        write_port(s, t, s->received + s->start)) {
        s->start += length;
        complete(s, t, 0, length, NULL);
        return true;
    }
    s->incoming = t;
    s->missing = length;
    return true;
}

/* Take apart what has been received, but for an unfinished header at its end */
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
            submit(s, t);
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

/* Read the socket once: first what is missing of a transfer, then the rest */
static void receive(Server *s)
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
        end(s, USB_IP_DETACHED);
    } else if (n > 0) {
        size_t direct = MIN(n, iov[0].iov_len);

        s->missing -= direct;
        s->stop += n - direct;
        take_apart(s);
    } else if (errno != EAGAIN && errno != EINTR) {
        fail(s, "cannot read from the host controller");
    }
}

/*
 * Something happened to the port. Events come when the driver has news, not for
 * as long as they hold: the port may be closed until everything is read. If it
 * is opened again by then, what comes is for the device that is plugged next.
 */
static void port_event(Server *s, uint32_t events)
{
    bool hangup = events & EPOLLHUP;

    if (hangup && port_is_unplugged(s->port)) {
        end(s, USB_IP_UNPLUGGED);
    } else if (!s->closed) {
        s->readable = true;
        s->writable = !hangup;
        if (hangup) {
            s->closed = true;
            s->deadline = now_ms() + LINGER;
        }
    } else if (!hangup) {
        /* Else a host that goes on sending would keep the device for good */
        s->readable = false;
    }
}

/* Is it @when, unless that is 0? @left is at most what is left until then. */
static bool due(int64_t when, int64_t *left)
{
    int64_t until = when ? when - now_ms() : INT64_MAX;

    *left = MIN(*left, until < 0 ? 0 : until);
    return until <= 0;
}

/* Wait for something to happen and see to it */
static void step(Server *s, int epoll)
{
    struct epoll_event events[3];
    int64_t left = INT64_MAX;
    int n, i;

    if (s->closed && due(s->deadline, &left)) {
        end(s, USB_IP_HOST_CLOSED);
        return;
    }
    if (due(s->hold, &left)) {
        s->hold = 0;
    }
    if (due(s->standstill, &left)) {
        catch_up(s, ACM_TRANSFER);
    }
    n = epoll_wait(epoll, events, 3, left == INT64_MAX ? -1 : left);
    if (n < 0 && errno != EINTR) {
        fail(s, "epoll");
    }
    for (i = 0; i < n; i++) {
        if (events[i].data.fd == s->sock) {
            receive(s);
        } else if (events[i].data.fd == s->port) {
            port_event(s, events[i].events);
        } else {
            end(s, USB_IP_STOPPED);
        }
    }
    pump_out(s);
    pump_notifications(s);
    pump_in(s);
    flush(s);
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
            fail(s, "epoll");
        }
    }

    while (s->end == USB_IP_RUNNING) {
        step(s, epoll);
    }

    why = s->end;
    for (i = 0; i < 32; i++) {
        while ((t = TAILQ_FIRST(&s->pending[i / 16][i % 16]))) {
            dequeue(s, t);
            free(t);
        }
    }
    free(s->incoming);
    free(s);
    close(epoll);
    return why;
}
