/*
 * Write the descriptors of a USB device as a blob for a virtio-serial port:
 * device, configurations, strings
 *
 *   usbdump /dev/bus/usb/BBB/DDD >BLOB
 *
 * Runs in a guest (see ../dump-fixtures), statically linked. It shares no code
 * with our codec, because its blobs are what the codec is tested with.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/usb/cdc.h>
#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>

/* Device and configurations, as usbfs has them, and 256 strings */
static unsigned char blob[(1 << 20) + 256 * 256];

static void die(const char *what)
{
    fprintf(stderr, "usbdump: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Read string descriptor @index to @to. Returns: the length */
static int get_string(int fd, int index, int langid, unsigned char *to)
{
    struct usbdevfs_ctrltransfer get = {
        .bRequestType = USB_DIR_IN,
        .bRequest = USB_REQ_GET_DESCRIPTOR,
        .wValue = USB_DT_STRING << 8 | index,
        .wIndex = langid,
        .wLength = 255,
        .timeout = 5000,
        .data = to,
    };
    int len = ioctl(fd, USBDEVFS_CONTROL, &get);

    if (len < 2 || len != to[0] || to[1] != USB_DT_STRING) {
        char what[32];

        snprintf(what, sizeof(what), "string %d", index);
        die(what);
    }
    return len;
}

int main(int argc, char **argv)
{
    unsigned char used[256] = { 0 };
    int class = -1, any = 0, langid, i;
    size_t len = 0, at;
    ssize_t got;
    int fd;

    if (argc != 2) {
        fprintf(stderr, "usage: usbdump /dev/bus/usb/BBB/DDD >BLOB\n");
        return 2;
    }
    fd = open(argv[1], O_RDWR);
    if (fd < 0) {
        die(argv[1]);
    }
    while ((got = read(fd, blob + len, (1 << 20) - len)) > 0) {
        len += got;
    }
    if (got < 0 || len < 18) {
        die("read");
    }

    /* The order of descriptors needs no check: the kernel has checked it */
    for (at = 0; at < len; at += blob[at]) {
        const unsigned char *p = blob + at;

        if (p[0] < 2) {
            errno = EINVAL;
            die("bLength");
        }
        switch (p[1]) {
        case USB_DT_DEVICE:
            used[p[14]] = used[p[15]] = used[p[16]] = 1;
            break;
        case USB_DT_CONFIG:
            used[p[6]] = 1;
            class = -1;
            break;
        case USB_DT_INTERFACE:
            used[p[8]] = 1;
            class = p[5];
            break;
        case USB_DT_INTERFACE_ASSOCIATION:
            used[p[7]] = 1;
            break;
        case USB_DT_CS_INTERFACE:
            if (class == USB_CLASS_COMM && p[0] > 3 &&
                (p[2] == USB_CDC_ETHERNET_TYPE ||
                 p[2] == USB_CDC_COUNTRY_TYPE)) {
                used[p[3]] = 1;
            }
            break;
        }
    }

    for (i = 1; i < 256; i++) {
        any |= used[i];
    }
    if (any) {
        /* Strings in the device's first language */
        at = len;
        len += get_string(fd, 0, 0, blob + len);
        langid = blob[at + 2] | blob[at + 3] << 8;
        for (i = 1; i < 256; i++) {
            if (used[i]) {
                len += get_string(fd, i, langid, blob + len);
            }
        }
    }
    for (at = 0; at < len; at += got) {
        got = write(1, blob + at, len - at);
        if (got < 0) {
            die("write");
        }
    }
    return 0;
}
