/*
 * Be a USB device with given descriptors, for the USB core of the guest
 *
 *   blob2usb DIR
 *
 * plugs a device into the first port of vhci_hcd. The device answers
 * GET_DESCRIPTOR with the file DIR/TYPE-INDEX (decimal), and with a stall if
 * there is no such file. It accepts every request that asks for no data, and
 * stalls every request for other data. It completes no transfer on another
 * endpoint. When the device is plugged in, the program prints
 * "plugged"; then it runs until it is killed. A test compares our tools with
 * what the USB core makes of the descriptors.
 *
 * Runs in a guest, statically linked. Documentation/usb/usbip_protocol.rst in
 * Linux describes the protocol.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/usb/ch9.h>

#define ATTACH "/sys/devices/platform/vhci_hcd.0/attach"

enum { CMD_SUBMIT = 1, CMD_UNLINK = 2, RET_SUBMIT = 3, RET_UNLINK = 4 };

/* The begin of every message: big-endian, except for the setup packet */
struct message {
    uint32_t command, seqnum, devid, direction, ep;
    union {
        struct {
            uint32_t flags, length, start_frame, packets, interval;
            struct usb_ctrlrequest setup;
        } submit;
        struct {
            uint32_t status, length;
        } result;
        uint32_t words[7];
    };
};

static void die(const char *what)
{
    fprintf(stderr, "blob2usb: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Read or write all of @data; ends the program on failure */
static void transfer(int fd, void *data, size_t length, int write_it)
{
    char *p = data;

    while (length) {
        ssize_t n = write_it ? write(fd, p, length) : read(fd, p, length);

        if (n <= 0) {
            die("the connection to vhci_hcd");
        }
        p += n;
        length -= n;
    }
}

static void answer(int fd, const struct message *to, uint32_t command,
                   int status, void *data, size_t length)
{
    struct message m = { .command = htonl(command), .seqnum = to->seqnum };

    m.result.status = htonl(status);
    m.result.length = htonl(length);
    transfer(fd, &m, sizeof(m), 1);
    transfer(fd, data, length, 1);
}

/* Read DIR/TYPE-INDEX. Returns: the length; -EPIPE: there is no such file */
static int descriptor(const char *dir, uint16_t value, uint8_t *to, size_t max)
{
    char path[256];
    int fd, length;

    snprintf(path, sizeof(path), "%s/%d-%d", dir, value >> 8, value & 0xff);
    fd = open(path, O_RDONLY);
    if (fd < 0) {
        return -EPIPE;
    }
    length = read(fd, to, max);
    if (length < 0) {
        die(path);
    }
    close(fd);
    return length;
}

static void control(int fd, const char *dir, const struct message *m)
{
    static uint8_t data[1 << 16];
    const struct usb_ctrlrequest *setup = &m->submit.setup;
    int result = 0;

    if (m->direction == 0) {
        /* Towards the device: accept, ignore the data */
        if (ntohl(m->submit.length) > sizeof(data)) {
            die("a transfer that is too long");
        }
        transfer(fd, data, ntohl(m->submit.length), 0);
    } else if (setup->bRequestType == USB_DIR_IN &&
               setup->bRequest == USB_REQ_GET_DESCRIPTOR) {
        /* The setup packet is little-endian: here, as the processor */
        result = descriptor(dir, setup->wValue, data,
                            ntohl(m->submit.length) < sizeof(data) ?
                            ntohl(m->submit.length) : sizeof(data));
    } else {
        result = -EPIPE;
    }
    answer(fd, m, RET_SUBMIT, result < 0 ? result : 0, data,
           result < 0 ? 0 : result);
}

int main(int argc, char **argv)
{
    struct message m;
    int fds[2], attach;

    if (argc != 2) {
        fprintf(stderr, "usage: blob2usb DIR\n");
        return 2;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) {
        die("socketpair");
    }
    attach = open(ATTACH, O_WRONLY);
    if (attach < 0) {
        die(ATTACH);
    }
    /* Port 0, our socket, devid (any number), speed */
    if (dprintf(attach, "0 %d 1 %d", fds[1], USB_SPEED_HIGH) < 0) {
        die("attach");
    }
    close(attach);
    close(fds[1]);
    puts("plugged");
    fflush(stdout);

    for (;;) {
        transfer(fds[0], &m, sizeof(m), 0);
        switch (ntohl(m.command)) {
        case CMD_SUBMIT:
            if (m.ep == 0) {
                control(fds[0], argv[1], &m);
            }
            break;
        case CMD_UNLINK:
            /* vhci_hcd unlinks only transfers that we have not answered */
            answer(fds[0], &m, RET_UNLINK, -ECONNRESET, NULL, 0);
            break;
        default:
            errno = EPROTO;
            die("command");
        }
    }
}
