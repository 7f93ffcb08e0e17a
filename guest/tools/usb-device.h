/*
 * A port's descriptor as a USB device: what it answers on endpoint 0, and what
 * its other endpoints are for
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_USB_DEVICE_H
#define VSER_USB_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/usb/cdc.h>
#include <linux/usb/ch9.h>
#include "port.h"

typedef enum UsbRole {
    USB_ABSENT,     /* not in the configuration and settings that are set */
    USB_IDLE,       /* nothing of the port's: it never has data, takes none */
    USB_PIPE,       /* the port's bytes */
    USB_NOTIFY,     /* CDC notifications: SERIAL_STATE */
} UsbRole;

typedef struct UsbEndpoint {
    UsbRole role;
    bool halted;
} UsbEndpoint;

typedef struct UsbDevice {
    const Port *port;               /* the caller's */
    const uint8_t *config;          /* in its blob, the one set; NULL: none */
    uint8_t alternate[256];         /* the settings, by bInterfaceNumber */
    UsbEndpoint endpoint[2][16];    /* [1]: IN; by endpoint number */
    uint8_t pipe[2];                /* endpoint numbers; 0: not there now */
    uint8_t notify;                 /* endpoint number of the same kind */
    uint8_t notified;               /* of SERIAL_STATE, in bytes */
    bool acm_pipe;                  /* the pipe is an ACM function's */
    bool dtr;                       /* of that function: it is open */
    struct usb_cdc_line_coding line_coding;
} UsbDevice;

/**
 * usb_device_init:
 * @dev: filled: a device that has just been plugged in; nothing to free
 * @port: the port, which has to stay
 *
 * Returns: false, after a message on stderr, if the blob describes a device
 * that a port can't be: a SuperSpeed one, one with isochronous endpoints, or
 * without any interface that has a bulk endpoint each way.
 */
bool usb_device_init(UsbDevice *dev, const Port *port);

/**
 * usb_device_speed:
 * @dev: the device
 *
 * Returns: USB_SPEED_FULL if the bulk endpoints are of a size that only
 * full-speed devices may have, else USB_SPEED_HIGH.
 */
enum usb_device_speed usb_device_speed(const UsbDevice *dev);

/**
 * usb_device_control:
 * @dev: the device
 * @setup: the request, little-endian as on the bus
 * @data: UINT16_MAX bytes; what came with the request, or filled with the
 *        answer
 * @length: how much came, in bytes; 0 for a request towards the host
 *
 * Returns: how many bytes were taken or answered, never more than wLength;
 * -EPIPE for a stall.
 */
int usb_device_control(UsbDevice *dev, const struct usb_ctrlrequest *setup,
                       uint8_t *data, size_t length);

/**
 * usb_device_notification:
 * @dev: the device
 * @data: filled with what the notification endpoint has to say
 * @max: how much fits, in bytes
 *
 * SERIAL_STATE with DCD and DSR, once after the configuration was set: there
 * is a device on the bus only while the other side of the port is open.
 *
 * Returns: the length in bytes; 0: nothing (left) to say.
 */
size_t usb_device_notification(UsbDevice *dev, uint8_t *data, size_t max);

#endif /* VSER_USB_DEVICE_H */
