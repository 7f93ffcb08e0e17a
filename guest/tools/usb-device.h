/*
 * A port's descriptor as a USB device: the device's answers on endpoint 0, and
 * the roles of the other endpoints
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
    USB_ABSENT,     /* not in the current configuration and settings */
    USB_IDLE,       /* has no data, and takes none */
    USB_PIPE,       /* the port's bytes */
    USB_NOTIFY,     /* CDC notifications: SERIAL_STATE */
} UsbRole;

typedef struct UsbEndpoint {
    UsbRole role;
    bool halted;
} UsbEndpoint;

typedef struct UsbDevice {
    const Port *port;               /* owned by the caller */
    const uint8_t *config;          /* current configuration; NULL: none */
    uint8_t alternate[256];         /* current setting, by bInterfaceNumber */
    UsbEndpoint endpoint[2][16];    /* [1]: IN; by endpoint number */
    uint8_t pipe[2];                /* endpoint number, [1]: IN; 0: none */
    uint8_t notify;                 /* endpoint number; 0: none */
    uint8_t notified;               /* bytes of SERIAL_STATE that are sent */
    bool acm_pipe;                  /* the pipe is part of an ACM function */
    bool dtr;                       /* DTR of that function: it is open */
    struct usb_cdc_line_coding line_coding;
} UsbDevice;

/**
 * usb_device_init:
 * @dev: filled: a device that has just been plugged in; nothing to free
 * @port: the port; has to stay as long as @dev
 *
 * Returns: false, after a message on stderr, if a port can't be such a device:
 * the device has SuperSpeed, or an isochronous endpoint, or no interface with a
 * bulk endpoint in each direction.
 */
bool usb_device_init(UsbDevice *dev, const Port *port);

/**
 * usb_device_speed:
 * @dev: the device
 *
 * Returns: USB_SPEED_FULL if a bulk endpoint has a packet size that only a
 * full-speed device may have, else USB_SPEED_HIGH.
 */
enum usb_device_speed usb_device_speed(const UsbDevice *dev);

/**
 * usb_device_control:
 * @dev: the device
 * @setup: the request, little-endian as on the bus
 * @data: UINT16_MAX bytes; the data of an OUT request, or filled with the
 *        answer to an IN request
 * @length: of the data of an OUT request, in bytes; 0 for an IN request
 *
 * Returns: the number of bytes taken or answered, at most wLength; -EPIPE for
 * a stall.
 */
int usb_device_control(UsbDevice *dev, const struct usb_ctrlrequest *setup,
                       uint8_t *data, size_t length);

/**
 * usb_device_notification:
 * @dev: the device
 * @data: filled with data of the notification endpoint
 * @max: room in @data, in bytes
 *
 * The only notification is SERIAL_STATE with DCD and DSR, once after the
 * configuration was set. The lines never go down: the device is plugged in
 * only while the host has its side of the port open.
 *
 * Returns: the length in bytes; 0: there is no data.
 */
size_t usb_device_notification(UsbDevice *dev, uint8_t *data, size_t max);

#endif /* VSER_USB_DEVICE_H */
