/*
 * The wire format of a virtio USB host controller
 *
 * docs/specs/virtio-usb.rst describes the format. This file has the numbers and
 * the layout only: it names no type of the USB core, so that another format can
 * take its place. All fields are little-endian.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_USB_H
#define HW_VIRTIO_USB_H

/* Reserved in the virtio specification for a USB controller, without a text */
#define VIRTIO_USB_ID                   49

/* Feature bits */
#define VIRTIO_USB_F_STREAMS            0   /* bulk streams */
#define VIRTIO_USB_F_ISOC               1   /* isochronous transfers */
#define VIRTIO_USB_F_SUSPEND            2   /* suspend and resume of a port */
#define VIRTIO_USB_F_MQ                 3   /* more than one request queue */
#define VIRTIO_USB_F_TAKEOVER           4   /* others may own ports */
#define VIRTIO_USB_F_DRAFT0             23  /* this layout; mandatory */

/* The queues by their number; more request queues follow */
#define VIRTIO_USB_VQ_CONTROL           0
#define VIRTIO_USB_VQ_EVENT             1
#define VIRTIO_USB_VQ_REQUEST           2

#define VIRTIO_USB_PORTS_MAX            15
#define VIRTIO_USB_REQUEST_QUEUES_MAX   8

struct virtio_usb_config {
    uint8_t num_ports;                  /* ports are 1..num_ports */
    uint8_t num_request_queues;
    uint16_t max_streams;
    uint32_t seg_max;                   /* descriptors with data in a request */
    uint32_t max_transfer;              /* bytes of data in a request */
    uint16_t max_iso_packets;           /* packets in an isochronous request */
    uint16_t reserved;
};

/* An event: the state of a port when the event was sent */
struct virtio_usb_event {
    uint16_t type;                      /* VIRTIO_USB_EVENT_* */
    uint8_t port;
    uint8_t speed;                      /* VIRTIO_USB_SPEED_* */
    uint32_t status;                    /* VIRTIO_USB_PORT_* */
    uint32_t seq;                       /* attaches and detaches since reset */
    uint32_t reserved;
};

#define VIRTIO_USB_EVENT_PORT           1

#define VIRTIO_USB_SPEED_NONE           0
#define VIRTIO_USB_SPEED_LOW            1
#define VIRTIO_USB_SPEED_FULL           2
#define VIRTIO_USB_SPEED_HIGH           3
#define VIRTIO_USB_SPEED_SUPER          4

#define VIRTIO_USB_PORT_CONNECTED       (1u << 0)
#define VIRTIO_USB_PORT_ENABLED         (1u << 1)
#define VIRTIO_USB_PORT_SUSPENDED       (1u << 2)
#define VIRTIO_USB_PORT_POWERED         (1u << 3)
#define VIRTIO_USB_PORT_RESUME          (1u << 4)   /* remote wakeup */
#define VIRTIO_USB_PORT_BUSY            (1u << 5)   /* another controller's */

/* A command: the part that the device reads; a payload may follow */
struct virtio_usb_command {
    uint16_t cmd;                       /* VIRTIO_USB_CMD_* */
    uint8_t port;
    uint8_t addr;
    uint8_t ep;                         /* bit 7: IN */
    uint8_t reserved[3];
    uint64_t arg;
};

/* A command: the part that the device writes */
struct virtio_usb_answer {
    uint32_t status;                    /* VIRTIO_USB_S_* */
    uint32_t value;
    uint32_t seq;
    uint8_t speed;
    uint8_t reserved[3];
};

#define VIRTIO_USB_CMD_CANCEL           1
#define VIRTIO_USB_CMD_EP_RESTART       2
#define VIRTIO_USB_CMD_EP_FLUSH         3
#define VIRTIO_USB_CMD_DEV_FLUSH        4
#define VIRTIO_USB_CMD_PORT_STATUS      16
#define VIRTIO_USB_CMD_PORT_POWER       17
#define VIRTIO_USB_CMD_PORT_RESET       18
#define VIRTIO_USB_CMD_PORT_DISABLE     19
#define VIRTIO_USB_CMD_PORT_SUSPEND     20
#define VIRTIO_USB_CMD_PORT_RESUME      21
#define VIRTIO_USB_CMD_STREAMS_ALLOC    32
#define VIRTIO_USB_CMD_STREAMS_FREE     33

/* A request: the part that the device reads; iso packets and OUT data follow */
struct virtio_usb_request {
    uint64_t tag;
    uint8_t port;
    uint8_t addr;
    uint8_t ep;                         /* bit 7: IN */
    uint8_t type;                       /* VIRTIO_USB_TYPE_* */
    uint16_t flags;                     /* VIRTIO_USB_REQ_* */
    uint16_t stream;
    uint32_t length;
    uint32_t interval;                  /* in units of 125 us */
    union {
        uint8_t setup[8];               /* control */
        struct {
            uint32_t num_packets;
            uint32_t start;
        } iso;
    };
};

#define VIRTIO_USB_EP_IN                0x80
#define VIRTIO_USB_EP_NUMBER            0x0f
#define VIRTIO_USB_ADDR_MAX             127

#define VIRTIO_USB_TYPE_CONTROL         0
#define VIRTIO_USB_TYPE_ISO             1
#define VIRTIO_USB_TYPE_BULK            2
#define VIRTIO_USB_TYPE_INT             3

#define VIRTIO_USB_REQ_SHORT_NOT_OK     (1u << 0)
#define VIRTIO_USB_REQ_ZERO_PACKET      (1u << 1)
#define VIRTIO_USB_REQ_ISO_ASAP         (1u << 2)
#define VIRTIO_USB_REQ_FLAGS            0x7u

/* In front of the data of an isochronous request, for each packet */
struct virtio_usb_iso_packet {
    uint32_t offset;
    uint32_t length;
};

/* A request: the part that the device writes; iso results and IN data follow */
struct virtio_usb_result {
    uint32_t status;                    /* VIRTIO_USB_S_* */
    uint32_t actual;
    uint32_t start;
    uint32_t errors;
};

struct virtio_usb_iso_result {
    uint32_t actual;
    uint32_t status;
};

enum virtio_usb_status {
    VIRTIO_USB_S_OK         = 0,
    VIRTIO_USB_S_NODEV      = 1,
    VIRTIO_USB_S_STALL      = 2,
    VIRTIO_USB_S_BABBLE     = 3,
    VIRTIO_USB_S_IOERROR    = 4,
    VIRTIO_USB_S_CANCELED   = 5,
    VIRTIO_USB_S_SHORT      = 6,
    VIRTIO_USB_S_INVAL      = 7,
    VIRTIO_USB_S_XRUN       = 8,        /* isochronous, too late */
    VIRTIO_USB_S_NOSPC      = 9,
    VIRTIO_USB_S_BUSY       = 10,
    VIRTIO_USB_S_NOTSUPP    = 11,
};

QEMU_BUILD_BUG_ON(sizeof(struct virtio_usb_config) != 16);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_usb_event) != 16);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_usb_command) != 16);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_usb_answer) != 16);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_usb_request) != 32);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_usb_result) != 16);

#endif
