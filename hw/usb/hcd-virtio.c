/*
 * A virtio USB host controller
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hcd-virtio.h"
#include "hw/virtio/virtio-bus.h"
#include "migration/vmstate.h"
#include "trace.h"
#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MICRO < 50
#include "hw/qdev-properties.h"
#else
#include "hw/core/qdev-properties.h"
#endif

/*
 * Theory of operation
 *
 * docs/specs/virtio-usb.rst is the contract with the driver. This is how the
 * device keeps it.
 *
 * A request is a buffer of the request queue. It is in one of these states:
 *
 *   waiting   In the list of its endpoint, and the USB core does not have its
 *             packet. Either another request is in front, or the endpoint is
 *             stopped, or the USB device had nothing to say (NAK). Only the
 *             first request of a list can have had a NAK.
 *   in hand   virtio_usb_endpoint_run() has given the packet to the USB core,
 *             and usb_handle_packet() has not returned. Whatever ends the
 *             request in this time only notes the end in the request
 *             (@ended), for the packet is on the core's stack.
 *   active    The USB core has the packet (USB_RET_ASYNC).
 *   used      Gone: the driver has the buffer back.
 *
 * The USB core has one packet of an endpoint at most, the one of the first
 * request. So a completion is always the first request's, and the core never
 * has a queue behind a packet that fails.
 *
 * An endpoint is made by its first request, and is gone with its USB device,
 * with a reset of its port, or with a reset of this device. A bulk or interrupt
 * endpoint *stops* with each request that ends with another status than OK and
 * INVAL. It gives no packet to the core until as many EP_RESTARTs have come.
 *
 * virtio_usb_process() does all work that takes requests or commands. It is not
 * reentered: what comes in the meantime (a kick by a buffer that is the
 * device's own doorbell, a wakeup from inside a packet) is noted in @todo and
 * in the list of endpoints to run, and a bottom half does the rest. The same
 * bottom half bounds a run: a guest that keeps a queue full does not keep
 * QEMU's main loop.
 *
 * The state of a port is owed, not sent: VirtIOUSB.owed has the ports whose
 * state has changed since the last event. virtio_usb_pay() sends as many as the
 * driver has buffers for, each with the port's state at that moment. A port is
 * in the list once, so that nothing grows when the driver has no buffers.
 */

/* Requests that the device has at a time, and the length of a queue */
#define REQUEST_QUEUE_SIZE      1024
#define CONTROL_QUEUE_SIZE      64
#define EVENT_QUEUE_SIZE        64

/* A header and a result take one descriptor each */
#define SEG_MAX                 (REQUEST_QUEUE_SIZE - 2)
QEMU_BUILD_BUG_ON(REQUEST_QUEUE_SIZE > VIRTQUEUE_MAX_SIZE);

/*
 * The most that a request moves. A USB device may copy the data, and a driver
 * can name the same page in each descriptor, so memory of the guest is no
 * bound. Linux' usbfs takes 16 MiB at most.
 */
#define TRANSFER_MAX            (16 * MiB)

/* Endpoints that a run of virtio_usb_process() runs, and bytes that it moves */
#define RUN_MAX                 256
#define RUN_BYTES_MAX           (4 * TRANSFER_MAX)

struct VirtIOUSBRequest {
    VirtQueueElement elem;      /* first: virtqueue_pop() */
    VirtIOUSBEndpoint *ep;      /* NULL: in no list */
    USBPacket packet;
    uint64_t tag;
    uint64_t setup;             /* of a control request */
    uint32_t length;
    size_t room;                /* bytes in the buffer for the data */
    uint32_t moved;             /* bytes, when only ZERO_PACKET's is left */
    uint16_t flags;
    uint8_t type;
    bool set_up;                /* usb_packet_setup() was done */
    bool zero_packet;           /* the data went, the empty packet is next */
    bool in_hand;
    bool ended;                 /* while in hand, with this status ... */
    bool dropped;               /* ... or without, by a reset */
    uint8_t end;
    QTAILQ_ENTRY(VirtIOUSBRequest) next;
    QLIST_ENTRY(VirtIOUSBRequest) same_hash;
};

struct VirtIOUSBEndpoint {
    VirtIOUSB *s;
    USBEndpoint *uep;           /* NULL: its USB device is gone */
    uint32_t stops;             /* EP_RESTARTs until it runs again */
    bool to_run;                /* is in VirtIOUSB.run */
    bool running;               /* in virtio_usb_endpoint_run() */
    unsigned int pins;          /* is not freed, also if @uep is gone */
    QTAILQ_HEAD(, VirtIOUSBRequest) requests;
    QTAILQ_ENTRY(VirtIOUSBEndpoint) next;       /* of the same port */
    QTAILQ_ENTRY(VirtIOUSBEndpoint) next_to_run;
};

enum {
    TODO_CONTROL = 1 << VIRTIO_USB_VQ_CONTROL,
    TODO_EVENT   = 1 << VIRTIO_USB_VQ_EVENT,
    TODO_REQUEST = 1 << VIRTIO_USB_VQ_REQUEST,
    TODO_ALL     = TODO_CONTROL | TODO_EVENT | TODO_REQUEST,
};

/* A cast of QOM's takes a hundred instructions, and a request needs several */
static VirtIODevice *virtio_usb_vdev(VirtIOUSB *s)
{
    return &s->parent_obj;
}

/* May the device use the queues? */
static bool virtio_usb_is_driven(VirtIOUSB *s)
{
    const uint64_t features = BIT_ULL(VIRTIO_F_VERSION_1) |
                              BIT_ULL(VIRTIO_USB_F_DRAFT0);
    VirtIODevice *vdev = virtio_usb_vdev(s);

    return (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) && !vdev->broken &&
        (vdev->guest_features & features) == features;
}

/*
 * Ports
 */

static uint32_t virtio_usb_port_status(VirtIOUSBPort *port)
{
    /* A port without power does not see what is plugged in */
    return port->status & VIRTIO_USB_PORT_POWERED ? port->status : 0;
}

static uint8_t virtio_usb_port_speed(VirtIOUSBPort *port)
{
    if (!(virtio_usb_port_status(port) & VIRTIO_USB_PORT_CONNECTED)) {
        return VIRTIO_USB_SPEED_NONE;
    }
    return VIRTIO_USB_SPEED_LOW + port->port.dev->speed - USB_SPEED_LOW;
}

static void virtio_usb_pay(VirtIOUSB *s)
{
    VirtIODevice *vdev = virtio_usb_vdev(s);
    VirtQueueElement *elem;
    VirtIOUSBPort *port;
    bool paid = false;

    while ((port = QSIMPLEQ_FIRST(&s->owed)) && virtio_usb_is_driven(s) &&
           !virtio_queue_empty(s->event_vq)) {
        struct virtio_usb_event event = {
            .type = cpu_to_le16(VIRTIO_USB_EVENT_PORT),
            .port = port->port.index + 1,
            .speed = virtio_usb_port_speed(port),
            .status = cpu_to_le32(virtio_usb_port_status(port)),
            .seq = cpu_to_le32(port->seq),
        };

        elem = virtqueue_pop(s->event_vq, sizeof(*elem));
        if (!elem) {
            break;
        }
        if (iov_size(elem->in_sg, elem->in_num) < sizeof(event)) {
            virtio_error(vdev, "virtio-usb: an event buffer has less than "
                         "%zu bytes", sizeof(event));
            virtqueue_detach_element(s->event_vq, elem, 0);
            g_free(elem);
            break;
        }
        QSIMPLEQ_REMOVE_HEAD(&s->owed, next);
        port->owed = false;
        trace_virtio_usb_event(event.port, event.speed,
                               virtio_usb_port_status(port), port->seq);
        iov_from_buf(elem->in_sg, elem->in_num, 0, &event, sizeof(event));
        virtqueue_push(s->event_vq, elem, sizeof(event));
        g_free(elem);
        paid = true;
    }
    if (paid) {
        virtio_notify(vdev, s->event_vq);
    }
}

static void virtio_usb_owe(VirtIOUSB *s, VirtIOUSBPort *port)
{
    if (!port->owed) {
        port->owed = true;
        QSIMPLEQ_INSERT_TAIL(&s->owed, port, next);
    }
}

static void virtio_usb_port_change(VirtIOUSB *s, VirtIOUSBPort *port,
                                   uint32_t status)
{
    if (port->status != status) {
        port->status = status;
        virtio_usb_owe(s, port);
    }
}

/*
 * Requests
 */

/* Give @elem of the request queue back to the driver */
static void virtio_usb_use(VirtIOUSB *s, VirtQueueElement *elem,
                           uint8_t status, uint32_t actual, uint32_t data)
{
    struct virtio_usb_result result = {
        .status = cpu_to_le32(status),
        .actual = cpu_to_le32(actual),
    };

    iov_from_buf(elem->in_sg, elem->in_num, 0, &result, sizeof(result));
    virtqueue_push(s->request_vq, elem, sizeof(result) + data);
    if (s->busy) {
        s->notify = true;
    } else {
        virtio_notify(virtio_usb_vdev(s), s->request_vq);
    }
}

static void virtio_usb_request_free(VirtIOUSBRequest *req)
{
    if (req->packet.iov.iov) {
        usb_packet_cleanup(&req->packet);
    }
    g_free(req);
}

/*
 * The request that has @tag. A driver may give all of them the same hash: there
 * are no more than a queue is long.
 */
static VirtIOUSBRequest *virtio_usb_find_request(VirtIOUSB *s, uint64_t tag)
{
    VirtIOUSBRequest *req;

    QLIST_FOREACH(req, &s->requests[tag % VIRTIO_USB_HASH], same_hash) {
        if (req->tag == tag) {
            break;
        }
    }
    return req;
}

/* Take @req out of the lists. The USB core does not have its packet. */
static void virtio_usb_request_unlink(VirtIOUSBRequest *req)
{
    QTAILQ_REMOVE(&req->ep->requests, req, next);
    QLIST_REMOVE(req, same_hash);
}

/* Take the packet of @req from the USB core, if it has it */
static void virtio_usb_request_take_back(VirtIOUSBRequest *req)
{
    if (usb_packet_is_inflight(&req->packet)) {
        usb_cancel_packet(&req->packet);
    }
}

static void virtio_usb_endpoint_schedule(VirtIOUSBEndpoint *ep)
{
    VirtIOUSB *s = ep->s;

    if (!ep->to_run && ep->uep) {
        ep->to_run = true;
        QTAILQ_INSERT_TAIL(&s->run, ep, next_to_run);
    }
    if (!s->busy) {
        qemu_bh_schedule(s->bh);
    }
}

/*
 * The event loop may run in a cancel, and a USB device may go in there. Who
 * uses its endpoint afterwards pins it.
 */
static void virtio_usb_endpoint_pin(VirtIOUSBEndpoint *ep)
{
    ep->pins++;
}

static void virtio_usb_endpoint_unpin(VirtIOUSBEndpoint *ep)
{
    if (!--ep->pins && !ep->uep) {
        g_free(ep);
    }
}

/* End @req, which is in no other's hand */
static void virtio_usb_request_end(VirtIOUSBRequest *req, uint8_t status)
{
    VirtIOUSBEndpoint *ep = req->ep;
    VirtIOUSB *s = ep->s;
    uint32_t actual = 0;

    /* A cancel may run the event loop, which must not end @req as well */
    req->in_hand = true;
    virtio_usb_endpoint_pin(ep);
    virtio_usb_request_take_back(req);
    if (req->zero_packet) {
        actual = req->moved;
    } else if (req->set_up && req->packet.actual_length > 0) {
        actual = MIN(req->packet.actual_length, req->length);
    }
    if (status == VIRTIO_USB_S_OK && actual < req->length &&
        (req->flags & VIRTIO_USB_REQ_SHORT_NOT_OK) &&
        req->packet.pid == USB_TOKEN_IN) {
        status = VIRTIO_USB_S_SHORT;
    }
    /* A driver can't tell INVAL from a refusal, which stops nothing */
    if (status != VIRTIO_USB_S_OK && status != VIRTIO_USB_S_INVAL &&
        req->type != VIRTIO_USB_TYPE_CONTROL) {
        ep->stops++;
    }
    if (req->dropped) {
        virtio_usb_request_free(req);
        virtio_usb_endpoint_unpin(ep);
        return;
    }
    virtio_usb_request_unlink(req);
    trace_virtio_usb_complete(req->tag, status, actual);
    virtio_usb_use(s, &req->elem, status, actual,
                   req->packet.pid == USB_TOKEN_IN ? actual : 0);
    virtio_usb_request_free(req);
    if (ep->uep && !QTAILQ_EMPTY(&ep->requests) && !ep->stops) {
        virtio_usb_endpoint_schedule(ep);
    }
    virtio_usb_endpoint_unpin(ep);
}

/* End @req, whatever its state */
static void virtio_usb_request_cancel(VirtIOUSBRequest *req, uint8_t status)
{
    if (req->in_hand) {
        if (!req->ended) {
            req->ended = true;
            req->end = status;
        }
    } else {
        virtio_usb_request_end(req, status);
    }
}

/* How a packet that the USB core is done with ends its request */
static uint8_t virtio_usb_packet_status(USBPacket *packet)
{
    switch (packet->status) {
    case USB_RET_SUCCESS:
        return VIRTIO_USB_S_OK;
    case USB_RET_NODEV:
        return VIRTIO_USB_S_NODEV;
    case USB_RET_STALL:
        return VIRTIO_USB_S_STALL;
    case USB_RET_BABBLE:
        return VIRTIO_USB_S_BABBLE;
    default:
        return VIRTIO_USB_S_IOERROR;
    }
}

/* Does an empty packet follow the data of @req, which have gone? */
static bool virtio_usb_wants_zero_packet(VirtIOUSBRequest *req)
{
    int size = req->ep->uep->max_packet_size;

    return !req->zero_packet && (req->flags & VIRTIO_USB_REQ_ZERO_PACKET) &&
        req->type == VIRTIO_USB_TYPE_BULK && req->packet.pid == USB_TOKEN_OUT &&
        req->length && size > 0 && req->length % size == 0;
}

/* The USB core is done with the packet of @req */
static void virtio_usb_packet_done(VirtIOUSBRequest *req)
{
    VirtIOUSBEndpoint *ep = req->ep;
    uint8_t status = virtio_usb_packet_status(&req->packet);

    if (status == VIRTIO_USB_S_OK && ep->uep &&
        virtio_usb_wants_zero_packet(req)) {
        req->moved = MIN(req->packet.actual_length, req->length);
        req->zero_packet = true;
        req->set_up = false;
        virtio_usb_endpoint_schedule(ep);
    } else {
        virtio_usb_request_end(req, status);
    }
}

/*
 * What the packet of @req moves: the driver's descriptors behind the result or
 * the header, of @header bytes, which are the first bytes of @sg. They are the
 * packet's as they are, if a descriptor ends where the data begins and the data
 * where the descriptors end, or if one descriptor has both: so do Linux'
 * requests.
 */
static void virtio_usb_packet_data(VirtIOUSBRequest *req, struct iovec *sg,
                                   unsigned int num, size_t header)
{
    QEMUIOVector *iov = &req->packet.iov;

    if (req->zero_packet || !req->length) {
        qemu_iovec_init_external(iov, sg, 0);
    } else if (req->room == req->length && sg[0].iov_len == header) {
        qemu_iovec_init_external(iov, sg + 1, num - 1);
    } else if (sg[0].iov_len >= header + req->length) {
        qemu_iovec_init_buf(iov, sg[0].iov_base + header, req->length);
    } else {
        qemu_iovec_init(iov, num);
        qemu_iovec_concat_iov(iov, sg, num, header, req->length);
    }
}

static void virtio_usb_packet_setup(VirtIOUSBRequest *req)
{
    VirtQueueElement *elem = &req->elem;
    USBPacket *packet = &req->packet;
    bool in = packet->pid == USB_TOKEN_IN;

    /* Set up again, for the empty packet or after a queue that failed? */
    qemu_iovec_destroy(&packet->iov);
    /* usb_packet_setup() empties the vector, and wants that there is one */
    packet->iov.iov = in ? elem->in_sg : elem->out_sg;
    usb_packet_setup(packet, packet->pid, req->ep->uep, 0,
                     req->ep->s->next_id++,
                     in && (req->flags & VIRTIO_USB_REQ_SHORT_NOT_OK), true);
    req->set_up = true;
    if (req->type == VIRTIO_USB_TYPE_CONTROL) {
        packet->parameter = req->setup;
    }
    if (in) {
        virtio_usb_packet_data(req, elem->in_sg, elem->in_num,
                               sizeof(struct virtio_usb_result));
    } else {
        virtio_usb_packet_data(req, elem->out_sg, elem->out_num,
                               sizeof(struct virtio_usb_request));
    }
}

/* Can the USB core take the packet of @req? If not: the request's status */
static uint8_t virtio_usb_request_check(VirtIOUSBRequest *req)
{
    USBEndpoint *uep = req->ep->uep;
    USBDevice *dev = uep->dev;

    if (!dev->attached || dev->state != USB_STATE_DEFAULT) {
        return VIRTIO_USB_S_NODEV;
    }
    if (req->type == VIRTIO_USB_TYPE_CONTROL) {
        /*
         * The core has no room for more, and says so on stderr. Its packet
         * without a request is one of three stages, not a transfer.
         */
        if (req->length > sizeof(dev->data_buf) || !req->setup) {
            return VIRTIO_USB_S_STALL;
        }
        return VIRTIO_USB_S_OK;
    }
    /* The driver may have set another configuration since */
    if (uep->type != req->type) {
        return VIRTIO_USB_S_INVAL;
    }
    /* usb_ep_combine_input_packets() divides by this */
    if (uep->pipeline && uep->max_packet_size <= 0) {
        return VIRTIO_USB_S_IOERROR;
    }
    return VIRTIO_USB_S_OK;
}

/* Give the packet of @req to the USB core. Returns whether that ended @req. */
static bool virtio_usb_request_run(VirtIOUSBRequest *req)
{
    VirtIOUSBEndpoint *ep = req->ep;
    USBPacket *packet = &req->packet;
    uint8_t status = virtio_usb_request_check(req);

    if (status != VIRTIO_USB_S_OK) {
        virtio_usb_request_end(req, status);
        return true;
    }
    if (!req->set_up) {
        virtio_usb_packet_setup(req);
    }
    req->in_hand = true;
    usb_handle_packet(ep->uep->dev, packet);
    if (packet->status == USB_RET_ASYNC && ep->uep && !req->ended &&
        !req->dropped) {
        /* A pipelined endpoint begins only when it is told to */
        usb_device_flush_ep_queue(ep->uep->dev, ep->uep);
    }
    req->in_hand = false;
    if (req->dropped) {
        virtio_usb_request_take_back(req);
        virtio_usb_request_free(req);
        return true;
    }
    if (req->ended) {
        virtio_usb_request_end(req, req->end);
        return true;
    }
    if (packet->status == USB_RET_ASYNC || packet->status == USB_RET_NAK) {
        return false;
    }
    virtio_usb_packet_done(req);
    return true;
}

/* Run @ep, as far as it goes */
static void virtio_usb_endpoint_run(VirtIOUSBEndpoint *ep)
{
    VirtIOUSB *s = ep->s;
    VirtIOUSBRequest *req;
    int budget = REQUEST_QUEUE_SIZE;

    if (ep->running) {
        return;
    }
    ep->running = true;
    virtio_usb_endpoint_pin(ep);
    while (ep->uep && !ep->stops && virtio_usb_is_driven(s) &&
           (req = QTAILQ_FIRST(&ep->requests)) && !req->in_hand &&
           !usb_packet_is_inflight(&req->packet)) {
        if (!budget-- || !s->bytes) {
            virtio_usb_endpoint_schedule(ep);
            break;
        }
        s->bytes -= MIN(s->bytes, req->length);
        if (!virtio_usb_request_run(req)) {
            break;
        }
    }
    ep->running = false;
    virtio_usb_endpoint_unpin(ep);
}

static VirtIOUSBEndpoint *virtio_usb_endpoint_get(VirtIOUSB *s, USBPort *port,
                                                  USBEndpoint *uep)
{
    VirtIOUSBEndpoint *ep = g_hash_table_lookup(s->endpoints, uep);

    if (!ep) {
        ep = g_new0(VirtIOUSBEndpoint, 1);
        ep->s = s;
        ep->uep = uep;
        QTAILQ_INIT(&ep->requests);
        QTAILQ_INSERT_TAIL(&s->ports[port->index].endpoints, ep, next);
        g_hash_table_insert(s->endpoints, uep, ep);
    }
    return ep;
}

/*
 * Cancel the requests that @ep has. The event loop may run in here, but takes
 * no new ones: virtio_usb_lock().
 */
static void virtio_usb_endpoint_cancel(VirtIOUSBEndpoint *ep, uint8_t status)
{
    VirtIOUSBRequest *req;

    virtio_usb_endpoint_pin(ep);
    /* Those behind first, so that none of them gets a turn */
    while ((req = QTAILQ_LAST(&ep->requests))) {
        if (req->in_hand) {
            virtio_usb_request_cancel(req, status);
            break;
        }
        virtio_usb_request_end(req, status);
    }
    virtio_usb_endpoint_unpin(ep);
}

/* @ep is gone, and its requests end with @status */
static void virtio_usb_endpoint_remove(VirtIOUSBPort *port,
                                       VirtIOUSBEndpoint *ep, uint8_t status)
{
    VirtIOUSB *s = ep->s;

    virtio_usb_endpoint_pin(ep);
    QTAILQ_REMOVE(&port->endpoints, ep, next);
    g_hash_table_remove(s->endpoints, ep->uep);
    if (ep->to_run) {
        QTAILQ_REMOVE(&s->run, ep, next_to_run);
        ep->to_run = false;
    }
    ep->uep = NULL;
    virtio_usb_endpoint_cancel(ep, status);
    virtio_usb_endpoint_unpin(ep);
}

/* Is @dev the device @top, or behind the hub @top? */
static bool virtio_usb_is_below(USBDevice *dev, USBDevice *top)
{
    size_t len = strlen(top->port->path);

    return dev == top || (!strncmp(dev->port->path, top->port->path, len) &&
                          dev->port->path[len] == '.');
}

/*
 * Until virtio_usb_unlock(), neither requests nor commands are taken. Returns
 * what virtio_usb_unlock() is to get.
 */
static bool virtio_usb_lock(VirtIOUSB *s)
{
    bool busy = s->busy;

    s->busy = true;
    return busy;
}

static void virtio_usb_unlock(VirtIOUSB *s, bool busy)
{
    s->busy = busy;
    if (busy) {
        return;
    }
    if (s->notify) {
        s->notify = false;
        virtio_notify(virtio_usb_vdev(s), s->request_vq);
    }
    if (s->todo || !QTAILQ_EMPTY(&s->run)) {
        qemu_bh_schedule(s->bh);
    }
}

/*
 * The endpoints of @top and of what is behind it are gone, of the whole port if
 * @top is NULL. A hub that goes does not name the devices behind it.
 */
static void virtio_usb_remove_tree(VirtIOUSB *s, VirtIOUSBPort *port,
                                   USBDevice *top, uint8_t status)
{
    VirtIOUSBEndpoint *ep;
    bool busy = virtio_usb_lock(s);

    do {
        QTAILQ_FOREACH(ep, &port->endpoints, next) {
            if (!top || virtio_usb_is_below(ep->uep->dev, top)) {
                virtio_usb_endpoint_remove(port, ep, status);
                break;
            }
        }
    } while (ep);
    virtio_usb_unlock(s, busy);
}

/* Without a word to the driver: all requests, and what else a reset ends */
static void virtio_usb_drop_requests(VirtIOUSB *s)
{
    VirtIOUSBRequest *req;
    VirtIOUSBEndpoint *ep;
    bool busy = virtio_usb_lock(s);
    int i;

    for (i = 0; i < s->num_ports; i++) {
        while ((ep = QTAILQ_FIRST(&s->ports[i].endpoints))) {
            virtio_usb_endpoint_pin(ep);
            while ((req = QTAILQ_LAST(&ep->requests))) {
                bool in_hand = req->in_hand;

                virtio_usb_request_unlink(req);
                req->dropped = true;
                req->in_hand = true;
                virtio_usb_request_take_back(req);
                virtqueue_detach_element(s->request_vq, &req->elem, 0);
                if (!in_hand) {
                    virtio_usb_request_free(req);
                }
            }
            if (ep->uep) {
                virtio_usb_endpoint_remove(&s->ports[i], ep,
                                           VIRTIO_USB_S_CANCELED);
            }
            virtio_usb_endpoint_unpin(ep);
        }
    }
    s->notify = false;
    virtio_usb_unlock(s, busy);
}

/*
 * The device that has @addr on @port, in *@dev, for a request or a command.
 * Returns a status.
 */
static uint8_t virtio_usb_find_device(VirtIOUSB *s, uint8_t nr, uint8_t addr,
                                      VirtIOUSBPort **port, USBDevice **dev)
{
    if (nr < 1 || nr > s->num_ports || addr > VIRTIO_USB_ADDR_MAX) {
        return VIRTIO_USB_S_INVAL;
    }
    *port = &s->ports[nr - 1];
    if (!(virtio_usb_port_status(*port) & VIRTIO_USB_PORT_ENABLED)) {
        return VIRTIO_USB_S_NODEV;
    }
    *dev = usb_find_device(&(*port)->port, addr);
    return *dev ? VIRTIO_USB_S_OK : VIRTIO_USB_S_NODEV;
}

/* The USB core's endpoint of a request or a command; NULL: no such number */
static USBEndpoint *virtio_usb_find_endpoint(USBDevice *dev, uint8_t ep)
{
    uint8_t nr = ep & VIRTIO_USB_EP_NUMBER;

    if (ep & ~(VIRTIO_USB_EP_IN | VIRTIO_USB_EP_NUMBER)) {
        return NULL;
    }
    return usb_ep_get(dev, ep & VIRTIO_USB_EP_IN ? USB_TOKEN_IN : USB_TOKEN_OUT,
                      nr);
}

/* Check @header, and put @req into its endpoint's list. Returns a status. */
static uint8_t virtio_usb_submit(VirtIOUSB *s, VirtIOUSBRequest *req,
                                 const struct virtio_usb_request *header)
{
    VirtQueueElement *elem = &req->elem;
    uint32_t length = le32_to_cpu(header->length);
    uint16_t flags = le16_to_cpu(header->flags);
    bool control = header->type == VIRTIO_USB_TYPE_CONTROL;
    bool in = header->ep & VIRTIO_USB_EP_IN;
    VirtIOUSBPort *port;
    USBEndpoint *uep;
    USBDevice *dev;
    uint8_t status;

    if (header->type == VIRTIO_USB_TYPE_ISO) {
        return VIRTIO_USB_S_NOTSUPP;
    }
    if (header->type > VIRTIO_USB_TYPE_INT || header->stream ||
        (flags & ~VIRTIO_USB_REQ_FLAGS) || length > TRANSFER_MAX ||
        control != !(header->ep & VIRTIO_USB_EP_NUMBER)) {
        return VIRTIO_USB_S_INVAL;
    }
    if (control) {
        in = header->setup[0] & USB_DIR_IN;
        if (length != lduw_le_p(&header->setup[6])) {
            return VIRTIO_USB_S_INVAL;
        }
    }
    req->room = in ? iov_size(elem->in_sg, elem->in_num) -
                     sizeof(struct virtio_usb_result) :
                     iov_size(elem->out_sg, elem->out_num) - sizeof(*header);
    if (length > req->room || virtio_usb_find_request(s, req->tag)) {
        return VIRTIO_USB_S_INVAL;
    }
    status = virtio_usb_find_device(s, header->port, header->addr, &port, &dev);
    if (status != VIRTIO_USB_S_OK) {
        return status;
    }
    uep = virtio_usb_find_endpoint(dev, header->ep);
    if (!uep || uep->type != header->type) {
        return VIRTIO_USB_S_INVAL;
    }

    req->type = header->type;
    req->flags = flags;
    req->length = length;
    req->setup = control ? ldq_le_p(header->setup) : 0;
    req->packet.pid = in ? USB_TOKEN_IN : USB_TOKEN_OUT;
    req->ep = virtio_usb_endpoint_get(s, &port->port, uep);
    QTAILQ_INSERT_TAIL(&req->ep->requests, req, next);
    QLIST_INSERT_HEAD(&s->requests[req->tag % VIRTIO_USB_HASH], req, same_hash);
    return VIRTIO_USB_S_OK;
}

/* Take a request from the queue; false: none is there, or @s is broken */
static bool virtio_usb_take_request(VirtIOUSB *s)
{
    VirtIODevice *vdev = virtio_usb_vdev(s);
    struct virtio_usb_request header = {};
    VirtIOUSBRequest *req;
    VirtQueueElement *elem;
    uint8_t status = VIRTIO_USB_S_INVAL;
    size_t copied;

    req = virtqueue_pop(s->request_vq, sizeof(*req));
    if (!req) {
        return false;
    }
    elem = &req->elem;
    memset((char *)req + sizeof(*elem), 0, sizeof(*req) - sizeof(*elem));
    if ((!elem->in_num ||
         elem->in_sg[0].iov_len < sizeof(struct virtio_usb_result)) &&
        iov_size(elem->in_sg, elem->in_num) <
        sizeof(struct virtio_usb_result)) {
        virtio_error(vdev, "virtio-usb: a request has no room for a result");
        virtqueue_detach_element(s->request_vq, elem, 0);
        g_free(req);
        return false;
    }
    copied = iov_to_buf(elem->out_sg, elem->out_num, 0, &header,
                        sizeof(header));
    req->tag = le64_to_cpu(header.tag);
    trace_virtio_usb_request(req->tag, header.port, header.addr, header.ep,
                             header.type, le32_to_cpu(header.length));
    if (copied == sizeof(header)) {
        status = virtio_usb_submit(s, req, &header);
    }
    if (status == VIRTIO_USB_S_OK) {
        virtio_usb_endpoint_run(req->ep);
    } else {
        trace_virtio_usb_complete(req->tag, status, 0);
        virtio_usb_use(s, elem, status, 0, 0);
        g_free(req);
    }
    return true;
}

/*
 * Take requests until the queue is empty. A driver that adds more meanwhile
 * ends the run's budget: a queue never has more than it is long at a time.
 */
static void virtio_usb_take_requests(VirtIOUSB *s)
{
    VirtIODevice *vdev = virtio_usb_vdev(s);

    /* Of most drivers, there is one request at a time */
    if (s->budget && virtio_usb_is_driven(s) && virtio_usb_take_request(s)) {
        s->budget--;
        if (virtio_vdev_has_feature(vdev, VIRTIO_F_RING_PACKED)) {
            virtio_queue_set_notification(s->request_vq, 1);
        } else {
            /* virtqueue_pop() has asked for the next notification */
            smp_mb();
        }
    }
    while (s->budget && virtio_usb_is_driven(s) &&
           !virtio_queue_empty(s->request_vq)) {
        virtio_queue_set_notification(s->request_vq, 0);
        do {
            if (!virtio_usb_take_request(s)) {
                break;
            }
            s->budget--;
        } while (s->budget && virtio_usb_is_driven(s) &&
                 !virtio_queue_empty(s->request_vq));
        virtio_queue_set_notification(s->request_vq, 1);
    }
    if (!s->budget) {
        s->todo |= TODO_REQUEST;
    }
}

/*
 * Commands
 */

static uint8_t virtio_usb_command_cancel(VirtIOUSB *s, uint64_t tag)
{
    VirtIOUSBRequest *req = virtio_usb_find_request(s, tag);

    if (req) {
        virtio_usb_request_cancel(req, VIRTIO_USB_S_CANCELED);
    }
    return VIRTIO_USB_S_OK;
}

/* Cancel the requests of @dev, which is on @port */
static void virtio_usb_flush_device(VirtIOUSBPort *port, USBDevice *dev)
{
    VirtIOUSBEndpoint *ep = QTAILQ_FIRST(&port->endpoints), *next;

    while (ep) {
        virtio_usb_endpoint_pin(ep);
        if (ep->uep->dev == dev) {
            virtio_usb_endpoint_cancel(ep, VIRTIO_USB_S_CANCELED);
        }
        /* If @dev has gone meanwhile, so have all of its requests */
        next = ep->uep ? QTAILQ_NEXT(ep, next) : NULL;
        virtio_usb_endpoint_unpin(ep);
        ep = next;
    }
}

static uint8_t virtio_usb_command_endpoint(VirtIOUSB *s,
                                           const struct virtio_usb_command *cmd)
{
    VirtIOUSBEndpoint *ep;
    VirtIOUSBPort *port;
    USBEndpoint *uep;
    USBDevice *dev;
    uint8_t status;

    status = virtio_usb_find_device(s, cmd->port, cmd->addr, &port, &dev);
    if (status != VIRTIO_USB_S_OK) {
        return status;
    }
    if (le16_to_cpu(cmd->cmd) == VIRTIO_USB_CMD_DEV_FLUSH) {
        virtio_usb_flush_device(port, dev);
        return VIRTIO_USB_S_OK;
    }
    uep = virtio_usb_find_endpoint(dev, cmd->ep);
    if (!uep) {
        return VIRTIO_USB_S_INVAL;
    }
    ep = g_hash_table_lookup(s->endpoints, uep);
    if (ep && le16_to_cpu(cmd->cmd) == VIRTIO_USB_CMD_EP_RESTART) {
        if (ep->stops && !--ep->stops) {
            virtio_usb_endpoint_schedule(ep);
        }
    } else if (ep) {
        virtio_usb_endpoint_cancel(ep, VIRTIO_USB_S_CANCELED);
    }
    return VIRTIO_USB_S_OK;
}

static uint8_t virtio_usb_port_power(VirtIOUSB *s, VirtIOUSBPort *port,
                                     uint64_t on)
{
    if (on > 1) {
        return VIRTIO_USB_S_INVAL;
    }
    if (on) {
        virtio_usb_port_change(s, port, port->status | VIRTIO_USB_PORT_POWERED);
    } else {
        virtio_usb_remove_tree(s, port, NULL, VIRTIO_USB_S_NODEV);
        virtio_usb_port_change(s, port, port->status &
                               ~(VIRTIO_USB_PORT_POWERED |
                                 VIRTIO_USB_PORT_ENABLED));
    }
    return VIRTIO_USB_S_OK;
}

static uint8_t virtio_usb_port_reset(VirtIOUSB *s, VirtIOUSBPort *port)
{
    if (!(virtio_usb_port_status(port) & VIRTIO_USB_PORT_CONNECTED)) {
        return VIRTIO_USB_S_NODEV;
    }
    /* First: a reset completes the packets that a device has */
    virtio_usb_remove_tree(s, port, NULL, VIRTIO_USB_S_CANCELED);
    usb_device_reset(port->port.dev);
    /* A device of the host's may have gone in its reset */
    if (!(port->status & VIRTIO_USB_PORT_CONNECTED)) {
        return VIRTIO_USB_S_NODEV;
    }
    virtio_usb_port_change(s, port, port->status | VIRTIO_USB_PORT_ENABLED);
    return VIRTIO_USB_S_OK;
}

static uint8_t virtio_usb_command_port(VirtIOUSB *s,
                                       const struct virtio_usb_command *cmd,
                                       struct virtio_usb_answer *answer)
{
    VirtIOUSBPort *port;
    uint8_t status;

    if (cmd->port < 1 || cmd->port > s->num_ports) {
        return VIRTIO_USB_S_INVAL;
    }
    port = &s->ports[cmd->port - 1];
    switch (le16_to_cpu(cmd->cmd)) {
    case VIRTIO_USB_CMD_PORT_STATUS:
        status = VIRTIO_USB_S_OK;
        break;
    case VIRTIO_USB_CMD_PORT_POWER:
        status = virtio_usb_port_power(s, port, le64_to_cpu(cmd->arg));
        break;
    case VIRTIO_USB_CMD_PORT_RESET:
        status = virtio_usb_port_reset(s, port);
        break;
    case VIRTIO_USB_CMD_PORT_DISABLE:
        virtio_usb_remove_tree(s, port, NULL, VIRTIO_USB_S_NODEV);
        virtio_usb_port_change(s, port,
                               port->status & ~VIRTIO_USB_PORT_ENABLED);
        status = VIRTIO_USB_S_OK;
        break;
    default:
        status = VIRTIO_USB_S_NOTSUPP;
        break;
    }
    answer->value = cpu_to_le32(virtio_usb_port_status(port));
    answer->seq = cpu_to_le32(port->seq);
    answer->speed = virtio_usb_port_speed(port);
    return status;
}

static uint8_t virtio_usb_command(VirtIOUSB *s,
                                  const struct virtio_usb_command *cmd,
                                  struct virtio_usb_answer *answer)
{
    switch (le16_to_cpu(cmd->cmd)) {
    case VIRTIO_USB_CMD_CANCEL:
        return virtio_usb_command_cancel(s, le64_to_cpu(cmd->arg));
    case VIRTIO_USB_CMD_EP_RESTART:
    case VIRTIO_USB_CMD_EP_FLUSH:
    case VIRTIO_USB_CMD_DEV_FLUSH:
        return virtio_usb_command_endpoint(s, cmd);
    case VIRTIO_USB_CMD_PORT_STATUS:
    case VIRTIO_USB_CMD_PORT_POWER:
    case VIRTIO_USB_CMD_PORT_RESET:
    case VIRTIO_USB_CMD_PORT_DISABLE:
    case VIRTIO_USB_CMD_PORT_SUSPEND:
    case VIRTIO_USB_CMD_PORT_RESUME:
        return virtio_usb_command_port(s, cmd, answer);
    case VIRTIO_USB_CMD_STREAMS_ALLOC:
    case VIRTIO_USB_CMD_STREAMS_FREE:
        return VIRTIO_USB_S_NOTSUPP;
    default:
        return VIRTIO_USB_S_INVAL;
    }
}

/* Take a command from the queue; false: none is there, or @s is broken */
static bool virtio_usb_take_command(VirtIOUSB *s)
{
    VirtIODevice *vdev = virtio_usb_vdev(s);
    struct virtio_usb_answer answer = {};
    struct virtio_usb_command cmd = {};
    VirtQueueElement *elem;
    uint8_t status = VIRTIO_USB_S_INVAL;

    elem = virtqueue_pop(s->control_vq, sizeof(*elem));
    if (!elem) {
        return false;
    }
    if (iov_size(elem->in_sg, elem->in_num) < sizeof(answer)) {
        virtio_error(vdev, "virtio-usb: a command has no room for an answer");
        virtqueue_detach_element(s->control_vq, elem, 0);
        g_free(elem);
        return false;
    }
    if (iov_to_buf(elem->out_sg, elem->out_num, 0, &cmd, sizeof(cmd)) ==
        sizeof(cmd)) {
        /* A CANCEL finds each request that was made available before it */
        virtio_usb_take_requests(s);
        if (virtio_usb_is_driven(s)) {
            status = virtio_usb_command(s, &cmd, &answer);
        }
    }
    trace_virtio_usb_command(le16_to_cpu(cmd.cmd), cmd.port, cmd.addr, cmd.ep,
                             le64_to_cpu(cmd.arg), status);
    answer.status = cpu_to_le32(status);
    iov_from_buf(elem->in_sg, elem->in_num, 0, &answer, sizeof(answer));
    virtqueue_push(s->control_vq, elem, sizeof(answer));
    g_free(elem);
    return true;
}

static void virtio_usb_take_commands(VirtIOUSB *s)
{
    unsigned int full = virtio_queue_get_num(virtio_usb_vdev(s),
                                             VIRTIO_USB_VQ_REQUEST);
    int budget = CONTROL_QUEUE_SIZE;
    bool taken = false;

    /*
     * A command takes all requests that are in front of it. So it waits for
     * the next run if this one may not take a full queue any more.
     */
    while (virtio_usb_is_driven(s) && budget && s->budget >= full &&
           virtio_usb_take_command(s)) {
        budget--;
        taken = true;
    }
    if (!budget || s->budget < full) {
        s->todo |= TODO_CONTROL;
    }
    if (taken) {
        virtio_notify(virtio_usb_vdev(s), s->control_vq);
    }
}

/* Do what is to do, once: what comes meanwhile is left to the bottom half */
static void virtio_usb_process(VirtIOUSB *s)
{
    VirtIOUSBEndpoint *ep;
    int budget = RUN_MAX;
    uint8_t todo = s->todo;
    bool busy;

    if (s->busy) {
        return;
    }
    if (!virtio_usb_is_driven(s)) {
        s->todo = 0;
        return;
    }
    busy = virtio_usb_lock(s);
    s->todo = 0;
    s->budget = 2 * virtio_queue_get_num(virtio_usb_vdev(s),
                                         VIRTIO_USB_VQ_REQUEST);
    s->bytes = RUN_BYTES_MAX;
    if (todo & TODO_REQUEST) {
        virtio_usb_take_requests(s);
    }
    if (todo & TODO_CONTROL) {
        virtio_usb_take_commands(s);
    }
    while (budget-- && s->bytes && (ep = QTAILQ_FIRST(&s->run))) {
        QTAILQ_REMOVE(&s->run, ep, next_to_run);
        ep->to_run = false;
        virtio_usb_endpoint_run(ep);
    }
    /* The requests of a device that is gone end before the event says so */
    virtio_usb_pay(s);
    virtio_usb_unlock(s, busy);
}

static void virtio_usb_bh(void *opaque)
{
    virtio_usb_process(opaque);
}

static void virtio_usb_handle_output(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOUSB *s = container_of(vdev, VirtIOUSB, parent_obj);

    s->todo |= 1 << virtio_get_queue_index(vq);
    virtio_usb_process(s);
}

/*
 * What the USB core calls
 */

static void virtio_usb_attach(USBPort *uport)
{
    VirtIOUSB *s = uport->opaque;
    VirtIOUSBPort *port = &s->ports[uport->index];

    port->status |= VIRTIO_USB_PORT_CONNECTED;
    port->seq++;
    virtio_usb_owe(s, port);
    qemu_bh_schedule(s->bh);
}

static void virtio_usb_detach(USBPort *uport)
{
    VirtIOUSB *s = uport->opaque;
    VirtIOUSBPort *port = &s->ports[uport->index];

    virtio_usb_remove_tree(s, port, NULL, VIRTIO_USB_S_NODEV);
    port->status &= ~(VIRTIO_USB_PORT_CONNECTED | VIRTIO_USB_PORT_ENABLED);
    port->seq++;
    virtio_usb_owe(s, port);
    qemu_bh_schedule(s->bh);
}

static void virtio_usb_child_detach(USBPort *uport, USBDevice *child)
{
    VirtIOUSB *s = uport->opaque;

    virtio_usb_remove_tree(s, &s->ports[uport->index], child,
                           VIRTIO_USB_S_NODEV);
}

static void virtio_usb_complete(USBPort *uport, USBPacket *packet)
{
    VirtIOUSBRequest *req = container_of(packet, VirtIOUSBRequest, packet);

    if (packet->status == USB_RET_REMOVE_FROM_QUEUE) {
        /* The core gives it back: it was behind a packet that failed */
        usb_cancel_packet(packet);
        req->set_up = false;
        virtio_usb_endpoint_schedule(req->ep);
        return;
    }
    virtio_usb_packet_done(req);
}

static void virtio_usb_wakeup_endpoint(USBBus *bus, USBEndpoint *uep,
                                       unsigned int stream)
{
    VirtIOUSB *s = container_of(bus, VirtIOUSB, bus);
    VirtIOUSBEndpoint *ep = g_hash_table_lookup(s->endpoints, uep);

    if (ep && !QTAILQ_EMPTY(&ep->requests)) {
        virtio_usb_endpoint_schedule(ep);
    }
}

static USBPortOps virtio_usb_port_ops = {
    .attach = virtio_usb_attach,
    .detach = virtio_usb_detach,
    .child_detach = virtio_usb_child_detach,
    .complete = virtio_usb_complete,
};

static USBBusOps virtio_usb_bus_ops = {
    .wakeup_endpoint = virtio_usb_wakeup_endpoint,
};

/*
 * What the virtio core calls
 */

static uint64_t virtio_usb_get_features(VirtIODevice *vdev, uint64_t features,
                                        Error **errp)
{
    virtio_add_feature(&features, VIRTIO_USB_F_DRAFT0);
    return features;
}

static int virtio_usb_validate_features(VirtIODevice *vdev)
{
    return virtio_vdev_has_feature(vdev, VIRTIO_USB_F_DRAFT0) ? 0 : -EINVAL;
}

static void virtio_usb_get_config(VirtIODevice *vdev, uint8_t *data)
{
    VirtIOUSB *s = VIRTIO_USB(vdev);
    struct virtio_usb_config config = {
        .num_ports = s->num_ports,
        .num_request_queues = 1,
        .seg_max = cpu_to_le32(SEG_MAX),
        .max_transfer = cpu_to_le32(TRANSFER_MAX),
    };

    memcpy(data, &config, sizeof(config));
}

static void virtio_usb_driver_ok(VirtIOUSB *s, uint8_t status)
{
    int i;

    if ((status & ~VIRTIO_DEVICE(s)->status) & VIRTIO_CONFIG_S_DRIVER_OK) {
        for (i = 0; i < s->num_ports; i++) {
            virtio_usb_owe(s, &s->ports[i]);
        }
        /* The driver may have filled its queues before */
        s->todo = TODO_ALL;
        qemu_bh_schedule(s->bh);
    }
}

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
static void virtio_usb_set_status(VirtIODevice *vdev, uint8_t status)
{
    virtio_usb_driver_ok(VIRTIO_USB(vdev), status);
}
#else
static int virtio_usb_set_status(VirtIODevice *vdev, uint8_t status)
{
    virtio_usb_driver_ok(VIRTIO_USB(vdev), status);
    return 0;
}
#endif

static void virtio_usb_queue_reset(VirtIODevice *vdev, uint32_t index)
{
    if (index == VIRTIO_USB_VQ_REQUEST) {
        virtio_usb_drop_requests(VIRTIO_USB(vdev));
    }
}

static void virtio_usb_reset(VirtIODevice *vdev)
{
    VirtIOUSB *s = VIRTIO_USB(vdev);
    int i;

    virtio_usb_drop_requests(s);
    for (i = 0; i < s->num_ports; i++) {
        s->ports[i].status &= VIRTIO_USB_PORT_CONNECTED;
        s->ports[i].seq = 0;
        s->ports[i].owed = false;
    }
    QSIMPLEQ_INIT(&s->owed);
    s->todo = 0;
}

static void virtio_usb_realize(DeviceState *dev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOUSB *s = VIRTIO_USB(dev);
    int i;

    if (s->num_ports < 1 || s->num_ports > VIRTIO_USB_PORTS_MAX) {
        error_setg(errp, "ports=%u is not possible; expected 1 to %d",
                   s->num_ports, VIRTIO_USB_PORTS_MAX);
        return;
    }
    virtio_init(vdev, VIRTIO_USB_ID, sizeof(struct virtio_usb_config));
    s->control_vq = virtio_add_queue(vdev, CONTROL_QUEUE_SIZE,
                                     virtio_usb_handle_output);
    s->event_vq = virtio_add_queue(vdev, EVENT_QUEUE_SIZE,
                                   virtio_usb_handle_output);
    s->request_vq = virtio_add_queue(vdev, REQUEST_QUEUE_SIZE,
                                     virtio_usb_handle_output);
    s->bh = virtio_bh_new_guarded(dev, virtio_usb_bh, s);
    s->endpoints = g_hash_table_new(NULL, NULL);
    QSIMPLEQ_INIT(&s->owed);
    QTAILQ_INIT(&s->run);

    usb_bus_new(&s->bus, sizeof(s->bus), &virtio_usb_bus_ops, dev);
    for (i = 0; i < s->num_ports; i++) {
        QTAILQ_INIT(&s->ports[i].endpoints);
        usb_register_port(&s->bus, &s->ports[i].port, s, i,
                          &virtio_usb_port_ops, USB_SPEED_MASK_LOW |
                          USB_SPEED_MASK_FULL | USB_SPEED_MASK_HIGH);
    }
}

static void virtio_usb_unrealize(DeviceState *dev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOUSB *s = VIRTIO_USB(dev);

    /* The USB devices have gone before, and their requests with them */
    virtio_usb_drop_requests(s);
    usb_bus_release(&s->bus);
    qemu_bh_delete(s->bh);
    g_hash_table_destroy(s->endpoints);
    virtio_delete_queue(s->control_vq);
    virtio_delete_queue(s->event_vq);
    virtio_delete_queue(s->request_vq);
    virtio_cleanup(vdev);
}

static const VMStateDescription vmstate_virtio_usb = {
    .name = "virtio-usb",
    .unmigratable = 1,
};

static const Property virtio_usb_properties[] = {
    DEFINE_PROP_UINT8("ports", VirtIOUSB, num_ports, 8),
};

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
static void virtio_usb_class_init(ObjectClass *klass, void *data)
#else
static void virtio_usb_class_init(ObjectClass *klass, const void *data)
#endif
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);

    dc->desc = "virtio USB host controller";
    dc->vmsd = &vmstate_virtio_usb;
    device_class_set_props(dc, virtio_usb_properties);
    set_bit(DEVICE_CATEGORY_USB, dc->categories);
    vdc->realize = virtio_usb_realize;
    vdc->unrealize = virtio_usb_unrealize;
    vdc->get_features = virtio_usb_get_features;
    vdc->validate_features = virtio_usb_validate_features;
    vdc->get_config = virtio_usb_get_config;
    vdc->set_status = virtio_usb_set_status;
    vdc->queue_reset = virtio_usb_queue_reset;
    vdc->reset = virtio_usb_reset;
}

static const TypeInfo virtio_usb_info = {
    .name = TYPE_VIRTIO_USB,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VirtIOUSB),
    .class_init = virtio_usb_class_init,
};

static void virtio_usb_register_types(void)
{
    type_register_static(&virtio_usb_info);
}

type_init(virtio_usb_register_types)
