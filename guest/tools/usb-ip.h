/*
 * A USB device at the other end of USB/IP's kernel protocol
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_USB_IP_H
#define VSER_USB_IP_H

#include "usb-device.h"

/* Why usb_ip_serve() returned */
typedef enum UsbIpEnd {
    USB_IP_RUNNING,         /* not yet: never returned */
    USB_IP_HOST_CLOSED,     /* the other side of the port closed it */
    USB_IP_UNPLUGGED,       /* the port is gone */
    USB_IP_DETACHED,        /* the host controller closed its socket */
    USB_IP_STOPPED,         /* @stop became readable */
    USB_IP_FAILED,          /* after a message on stderr */
} UsbIpEnd;

/**
 * usb_ip_serve:
 * @dev: a device that has just been plugged in
 * @sock: to the host controller: AF_UNIX, SOCK_STREAM
 * @port: the port, non-blocking
 * @stop: a file descriptor that becomes readable when it is time to end
 *
 * Be @dev, with the bytes of @port in its pipe, until that ends. What the other
 * side of the port sent before it closed is handed on as long as somebody goes
 * on reading it. The file descriptors stay open.
 *
 * Memory is bounded: see the limits in usb-ip.c.
 *
 * Returns: why it ended.
 */
UsbIpEnd usb_ip_serve(UsbDevice *dev, int sock, int port, int stop);

#endif /* VSER_USB_IP_H */
