/*
 * A USB device that speaks the kernel's USB/IP protocol
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
    USB_IP_RUNNING,         /* never returned */
    USB_IP_HOST_CLOSED,     /* the host closed its side of the port */
    USB_IP_UNPLUGGED,       /* the port is gone */
    USB_IP_DETACHED,        /* vhci_hcd closed its socket */
    USB_IP_STOPPED,         /* @stop became readable */
    USB_IP_FAILED,          /* after a message on stderr */
} UsbIpEnd;

/**
 * usb_ip_serve:
 * @dev: a device that has just been plugged in
 * @sock: to vhci_hcd: AF_UNIX, SOCK_STREAM
 * @port: the port, nonblocking
 * @stop: a file descriptor that becomes readable when we have to end
 *
 * Be the device @dev, whose pipe carries the bytes of @port. After the host has
 * closed its side, the bytes that are left go to the guest as long as the guest
 * goes on reading. The file descriptors stay open.
 *
 * Memory is bounded: see the limits in usb-ip.c.
 *
 * Returns: why the device ended.
 */
UsbIpEnd usb_ip_serve(UsbDevice *dev, int sock, int port, int stop);

#endif /* VSER_USB_IP_H */
