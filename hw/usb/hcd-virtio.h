/*
 * A virtio USB host controller: what its buses share
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_USB_HCD_VIRTIO_H
#define HW_USB_HCD_VIRTIO_H

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MICRO < 50
#include "hw/usb.h"
#else
#include "hw/usb/usb.h"
#endif
#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-usb.h"
#include "qom/object.h"

#define TYPE_VIRTIO_USB "virtio-usb-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOUSB, VIRTIO_USB)

typedef struct VirtIOUSBEndpoint VirtIOUSBEndpoint;
typedef struct VirtIOUSBRequest VirtIOUSBRequest;

/* Of the tags of requests. Linux counts, so that two have not the same. */
#define VIRTIO_USB_HASH     256

typedef struct VirtIOUSBPort {
    USBPort port;
    uint32_t status;            /* VIRTIO_USB_PORT_*, without power as well */
    uint32_t seq;               /* attaches and detaches since reset */
    bool owed;                  /* is in VirtIOUSB.owed */
    QTAILQ_HEAD(, VirtIOUSBEndpoint) endpoints;
    QSIMPLEQ_ENTRY(VirtIOUSBPort) next;
} VirtIOUSBPort;

struct VirtIOUSB {
    VirtIODevice parent_obj;

    /* Properties */
    uint8_t num_ports;

    USBBus bus;
    VirtIOUSBPort ports[VIRTIO_USB_PORTS_MAX];
    VirtQueue *control_vq;
    VirtQueue *event_vq;
    VirtQueue *request_vq;
    QEMUBH *bh;

    /* The ports of which the driver is owed the state */
    QSIMPLEQ_HEAD(, VirtIOUSBPort) owed;
    /* By its USBEndpoint */
    GHashTable *endpoints;
    /* By the tag modulo VIRTIO_USB_HASH */
    QLIST_HEAD(, VirtIOUSBRequest) requests[VIRTIO_USB_HASH];
    /* The endpoints that are to run */
    QTAILQ_HEAD(, VirtIOUSBEndpoint) run;
    uint64_t next_id;           /* of a packet */
    unsigned int budget;        /* requests that may still be taken in a run */
    uint32_t bytes;             /* that may still be moved in a run */
    uint8_t todo;               /* bits of queues that were kicked */
    bool busy;                  /* in virtio_usb_process() */
    bool notify;                /* a request has been used in there */
};

#endif
