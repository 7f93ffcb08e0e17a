/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The wire format of a virtio USB host controller
 *
 * This is a draft: the virtio specification has the device's number, and no text.
 * A device and a driver of this draft find each other by VIRTIO_USB_F_DRAFT0. This
 * file knows no type of the USB core, so that another format can take its place.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 */
#ifndef _VIRTIO_USB_H
#define _VIRTIO_USB_H

#include <linux/types.h>

#define VIRTIO_USB_ID			49

/* Feature bits */
#define VIRTIO_USB_F_STREAMS		0	/* bulk streams */
#define VIRTIO_USB_F_ISOC		1	/* isochronous transfers */
#define VIRTIO_USB_F_SUSPEND		2	/* suspend and resume of a port */
#define VIRTIO_USB_F_MQ			3	/* more than one request queue */
#define VIRTIO_USB_F_TAKEOVER		4	/* other controllers may own ports */
#define VIRTIO_USB_F_DRAFT0		23	/* this layout; mandatory */

/* The queues by their number; more request queues may follow */
#define VIRTIO_USB_VQ_CONTROL		0
#define VIRTIO_USB_VQ_EVENT		1
#define VIRTIO_USB_VQ_REQUEST		2

#define VIRTIO_USB_PORTS_MAX		15

struct virtio_usb_config {
	__u8 num_ports;			/* ports are 1..num_ports */
	__u8 num_request_queues;
	__le16 max_streams;
	__le32 seg_max;			/* segments of data in a request */
	__le32 max_transfer;		/* bytes of data in a request */
	__le16 max_iso_packets;
	__le16 reserved;
};

/* An event: the state of a port when the event was sent */
struct virtio_usb_event {
	__le16 type;			/* VIRTIO_USB_EVENT_* */
	__u8 port;
	__u8 speed;			/* VIRTIO_USB_SPEED_* */
	__le32 status;			/* VIRTIO_USB_PORT_* */
	__le32 seq;			/* attaches and detaches since reset */
	__le32 reserved;
};

#define VIRTIO_USB_EVENT_PORT		1

#define VIRTIO_USB_SPEED_NONE		0
#define VIRTIO_USB_SPEED_LOW		1
#define VIRTIO_USB_SPEED_FULL		2
#define VIRTIO_USB_SPEED_HIGH		3
#define VIRTIO_USB_SPEED_SUPER		4

#define VIRTIO_USB_PORT_CONNECTED	(1U << 0)
#define VIRTIO_USB_PORT_ENABLED		(1U << 1)
#define VIRTIO_USB_PORT_SUSPENDED	(1U << 2)
#define VIRTIO_USB_PORT_POWERED		(1U << 3)
#define VIRTIO_USB_PORT_RESUME		(1U << 4)	/* remote wakeup */
#define VIRTIO_USB_PORT_BUSY		(1U << 5)	/* another controller's */

/* A command: what the device reads, and what it writes */
struct virtio_usb_command {
	__le16 cmd;			/* VIRTIO_USB_CMD_* */
	__u8 port;
	__u8 addr;
	__u8 ep;			/* bit 7: IN */
	__u8 reserved[3];
	__le64 arg;
};

struct virtio_usb_answer {
	__le32 status;			/* VIRTIO_USB_S_* */
	__le32 value;
	__le32 seq;
	__u8 speed;
	__u8 reserved[3];
};

#define VIRTIO_USB_CMD_CANCEL		1
#define VIRTIO_USB_CMD_EP_RESTART	2
#define VIRTIO_USB_CMD_EP_FLUSH		3
#define VIRTIO_USB_CMD_DEV_FLUSH	4
#define VIRTIO_USB_CMD_PORT_STATUS	16
#define VIRTIO_USB_CMD_PORT_POWER	17
#define VIRTIO_USB_CMD_PORT_RESET	18
#define VIRTIO_USB_CMD_PORT_DISABLE	19
#define VIRTIO_USB_CMD_PORT_SUSPEND	20
#define VIRTIO_USB_CMD_PORT_RESUME	21
#define VIRTIO_USB_CMD_STREAMS_ALLOC	32
#define VIRTIO_USB_CMD_STREAMS_FREE	33

/* A request: what the device reads; isochronous packets and OUT data follow */
struct virtio_usb_request {
	__le64 tag;
	__u8 port;
	__u8 addr;
	__u8 ep;			/* bit 7: IN */
	__u8 type;			/* VIRTIO_USB_TYPE_* */
	__le16 flags;			/* VIRTIO_USB_REQ_* */
	__le16 stream;
	__le32 length;
	__le32 interval;		/* in units of 125 us */
	union {
		__u8 setup[8];		/* control */
		struct {
			__le32 num_packets;
			__le32 start;
		} iso;
	};
};

#define VIRTIO_USB_EP_IN		0x80

#define VIRTIO_USB_TYPE_CONTROL		0
#define VIRTIO_USB_TYPE_ISO		1
#define VIRTIO_USB_TYPE_BULK		2
#define VIRTIO_USB_TYPE_INT		3

#define VIRTIO_USB_REQ_SHORT_NOT_OK	(1U << 0)
#define VIRTIO_USB_REQ_ZERO_PACKET	(1U << 1)
#define VIRTIO_USB_REQ_ISO_ASAP		(1U << 2)

/* For each isochronous packet, in front of OUT data */
struct virtio_usb_iso_packet {
	__le32 offset;
	__le32 length;
};

/* A request: what the device writes; isochronous results and IN data follow */
struct virtio_usb_result {
	__le32 status;			/* VIRTIO_USB_S_* */
	__le32 actual;
	__le32 start;
	__le32 errors;
};

/* For each isochronous packet, in front of IN data */
struct virtio_usb_iso_result {
	__le32 actual;
	__le32 status;
};

enum virtio_usb_status {
	VIRTIO_USB_S_OK		= 0,
	VIRTIO_USB_S_NODEV	= 1,
	VIRTIO_USB_S_STALL	= 2,
	VIRTIO_USB_S_BABBLE	= 3,
	VIRTIO_USB_S_IOERROR	= 4,
	VIRTIO_USB_S_CANCELED	= 5,
	VIRTIO_USB_S_SHORT	= 6,
	VIRTIO_USB_S_INVAL	= 7,
	VIRTIO_USB_S_XRUN	= 8,	/* isochronous, too late */
	VIRTIO_USB_S_NOSPC	= 9,
	VIRTIO_USB_S_BUSY	= 10,
	VIRTIO_USB_S_NOTSUPP	= 11,
};

#endif /* _VIRTIO_USB_H */
