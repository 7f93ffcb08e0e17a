/*
 * Move bytes through the bulk endpoints of a USB device, with libusb
 *
 *   usbpipe VVVV:PPPP read|write BYTES [SIZE [DEPTH]]
 *   usbpipe VVVV:PPPP cancel BYTES [SIZE [DEPTH]]
 *
 * "read" copies BYTES to stdout, "write" copies BYTES from stdin, in transfers
 * of SIZE (16384) bytes, DEPTH (8) transfers at a time. "cancel" is for a
 * device that sends nothing: it submits DEPTH reads, cancels them, prints how
 * many ended as cancelled, and then reads BYTES as "read" does. The endpoints
 * are those of interface 0.
 *
 * Runs in a guest, linked to the guest's libusb. A static libusb would need a
 * static libudev, and there is none.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <libusb-1.0/libusb.h>

static size_t total, size = 16384, started, done;
static int running, cancelled;
static bool in;

static void die(const char *what, int error)
{
    fprintf(stderr, "usbpipe: %s: %s\n", what,
            error < 0 ? libusb_error_name(error) : "failed");
    exit(1);
}

/* Submit @t, if bytes are left */
static void next(struct libusb_transfer *t)
{
    int error;

    if (in ? done >= total : started >= total) {
        return;
    }
    t->length = size;
    if (!in) {
        if (size > total - started) {
            t->length = total - started;
        }
        if (fread(t->buffer, 1, t->length, stdin) != (size_t)t->length) {
            die("stdin", 0);
        }
        started += t->length;
    }
    error = libusb_submit_transfer(t);
    if (error) {
        die("submit", error);
    }
    running++;
}

static void completed(struct libusb_transfer *t)
{
    running--;
    if (t->status == LIBUSB_TRANSFER_CANCELLED && in) {
        cancelled++;
        return;
    }
    if (t->status != LIBUSB_TRANSFER_COMPLETED) {
        fprintf(stderr, "usbpipe: transfer status %d\n", t->status);
        exit(1);
    }
    done += t->actual_length;
    if (in && t->actual_length &&
        fwrite(t->buffer, 1, t->actual_length, stdout) !=
        (size_t)t->actual_length) {
        die("stdout", 0);
    }
    if (!in && t->actual_length != t->length) {
        die("a short write", 0);
    }
    next(t);
}

int main(int argc, char **argv)
{
    const struct libusb_interface_descriptor *interface;
    struct libusb_config_descriptor *config;
    struct libusb_transfer *transfer[1024];
    unsigned int vendor, product, endpoint = 0;
    size_t depth = 8, i;
    libusb_device_handle *device;
    int error;

    if (argc < 4 || argc > 6 ||
        sscanf(argv[1], "%x:%x", &vendor, &product) != 2) {
        fprintf(stderr, "usage: usbpipe V:P read|write|cancel BYTES [SIZE "
                        "[DEPTH]]\n");
        return 2;
    }
    in = strcmp(argv[2], "write") != 0;
    total = strtoul(argv[3], NULL, 0);
    if (argc > 4) {
        size = strtoul(argv[4], NULL, 0);
    }
    if (argc > 5) {
        depth = strtoul(argv[5], NULL, 0);
    }
    if (depth > sizeof(transfer) / sizeof(transfer[0])) {
        die("DEPTH", 0);
    }

    error = libusb_init(NULL);
    if (error) {
        die("libusb_init", error);
    }
    device = libusb_open_device_with_vid_pid(NULL, vendor, product);
    if (!device) {
        die(argv[1], LIBUSB_ERROR_NO_DEVICE);
    }
    error = libusb_claim_interface(device, 0);
    if (error) {
        die("interface 0", error);
    }
    error = libusb_get_active_config_descriptor(libusb_get_device(device),
                                                &config);
    if (error) {
        die("configuration", error);
    }
    interface = &config->interface[0].altsetting[0];
    for (i = 0; i < interface->bNumEndpoints; i++) {
        if (!(interface->endpoint[i].bEndpointAddress & 0x80) == !in) {
            endpoint = interface->endpoint[i].bEndpointAddress;
        }
    }

    for (i = 0; i < depth; i++) {
        transfer[i] = libusb_alloc_transfer(0);
        if (!transfer[i]) {
            die("transfer", LIBUSB_ERROR_NO_MEM);
        }
        libusb_fill_bulk_transfer(transfer[i], device, endpoint, malloc(size),
                                  size, completed, NULL, 0);
    }
    if (strcmp(argv[2], "cancel") == 0) {
        for (i = 0; i < depth; i++) {
            next(transfer[i]);
        }
        for (i = 0; i < depth; i++) {
            libusb_cancel_transfer(transfer[depth - 1 - i]);
        }
        while (running) {
            libusb_handle_events(NULL);
        }
        fprintf(stderr, "cancelled %d\n", cancelled);
    }

    for (i = 0; i < depth; i++) {
        next(transfer[i]);
    }
    while (in ? done < total : running) {
        libusb_handle_events(NULL);
    }
    if (fflush(stdout)) {
        die("stdout", 0);
    }
    /* The kernel ends the reads that are still pending */
    return 0;
}
