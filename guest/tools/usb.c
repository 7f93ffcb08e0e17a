/*
 * vser usb: a port as a USB device of this guest, through vhci_hcd
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "commands.h"
#include "options.h"
#include "paths.h"
#include "port.h"
#include "usb-ip.h"

#define VHCI            VSER_VHCI "/"
/* The ports of the first controller; those of the second: "status.1" */
#define VHCI_STATUS     VHCI "status"
#define VHCI_ATTACH     VHCI "attach"
/* The state in that file of a port without a device (VDEV_ST_NULL) */
#define VHCI_FREE       4
/* The most controllers of vhci_hcd (USBIP_VHCI_NR_HCS) */
#define VHCI_MAX        128
/* Another program may take the free port first; not as often in a row */
#define VHCI_TRIES      100

/* The first free high-speed port, as the number for VHCI_ATTACH; -1: none */
static int vhci_free_port(void)
{
    unsigned int controller;

    for (controller = 0; controller < VHCI_MAX; controller++) {
        char path[sizeof(VHCI_STATUS) + 16];
        char line[256], hub[4];
        unsigned int port, state;
        int found = -1;
        FILE *f;

        if (controller == 0) {
            strcpy(path, VHCI_STATUS);
        } else {
            snprintf(path, sizeof(path), "%s.%u", VHCI_STATUS, controller);
        }
        f = fopen(path, "r");
        if (!f) {
            break;
        }
        /*
         * A headline, then lines as "hs  0000 004 ..." for high speed and
         * "ss ..." for SuperSpeed
         */
        while (found < 0 && fgets(line, sizeof(line), f)) {
            if (sscanf(line, "%3s %u %u", hub, &port, &state) == 3 &&
                strcmp(hub, "hs") == 0 && state == VHCI_FREE) {
                found = port;
            }
        }
        fclose(f);
        if (found >= 0) {
            return found;
        }
    }
    return -1;
}

static void cannot_attach(const char *name)
{
    vser_error("%s: cannot use %s: %s%s", name, VHCI_ATTACH, strerror(errno),
               errno != ENOENT ? "" :
               ": the module is not loaded (modprobe vhci_hcd)");
}

/*
 * Plug in the device that answers at the other end of @sock. Returns: false
 * after a message on stderr.
 */
static bool vhci_attach(const char *name, int sock, enum usb_device_speed speed)
{
    int fd = open(VHCI_ATTACH, O_WRONLY | O_CLOEXEC);
    int tries, error = EBUSY;

    if (fd < 0) {
        cannot_attach(name);
        return false;
    }
    for (tries = 0; tries < VHCI_TRIES && error == EBUSY; tries++) {
        int port = vhci_free_port();

        if (port < 0) {
            vser_error("%s: no high-speed port of vhci_hcd is free", name);
            close(fd);
            return false;
        }
        /* The third number, devid, only goes into the messages on @sock */
        error = dprintf(fd, "%d %d 1 %d", port, sock, speed) < 0 ? errno : 0;
    }
    close(fd);
    if (error) {
        vser_error("%s: cannot attach to vhci_hcd: %s", name, strerror(error));
    }
    return error == 0;
}

/*
 * Wait until the host has opened its side. Returns: USB_IP_RUNNING, or why the
 * wait ended without the host.
 */
static UsbIpEnd usb_wait_for_host(const char *name, int port, int stop)
{
    /* Edge-triggered: else epoll_wait() returns at once without a host */
    struct epoll_event event = { EPOLLOUT | EPOLLET, { .fd = port } };
    struct epoll_event ending = { EPOLLIN, { .fd = stop } };
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    UsbIpEnd result = USB_IP_HOST_CLOSED;

    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, port, &event) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, stop, &ending)) {
        vser_error("%s: epoll: %s", name, strerror(errno));
        result = USB_IP_FAILED;
    }
    while (result == USB_IP_HOST_CLOSED) {
        if (epoll_wait(epoll, &event, 1, -1) != 1) {
            continue;
        }
        if (event.data.fd == stop) {
            result = USB_IP_STOPPED;
        } else if (!(event.events & EPOLLHUP)) {
            result = USB_IP_RUNNING;
        } else if (port_is_unplugged(port)) {
            result = USB_IP_UNPLUGGED;
        }
    }
    if (epoll >= 0) {
        close(epoll);
    }
    return result;
}

/* Plug the device in, and be the device until it is unplugged */
static UsbIpEnd usb_plug(const Port *p, int port, int stop)
{
    UsbDevice dev;
    UsbIpEnd end = USB_IP_FAILED;
    bool attached;
    int fds[2];

    if (!usb_device_init(&dev, p)) {
        return USB_IP_FAILED;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) {
        vser_error("%s: socketpair: %s", p->name, strerror(errno));
        return USB_IP_FAILED;
    }
    attached = vhci_attach(p->name, fds[1], usb_device_speed(&dev));
    close(fds[1]);
    if (attached) {
        end = usb_ip_serve(&dev, fds[0], port, stop);
    }
    close(fds[0]);
    return end;
}

/* A file descriptor that is readable when we have to end */
static int ending_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

static int usb_run(const Port *p)
{
    int port, stop = ending_signals();
    UsbIpEnd end;

    if (stop < 0) {
        vser_error("signalfd: %s", strerror(errno));
        return VSER_FAILED;
    }
    port = port_open(p);
    if (port < 0) {
        port_open_failed(p->name);
        close(stop);
        return VSER_FAILED;
    }
    do {
        end = usb_wait_for_host(p->name, port, stop);
        if (end == USB_IP_RUNNING) {
            end = usb_plug(p, port, stop);
        }
    } while (end == USB_IP_HOST_CLOSED);
    close(port);
    close(stop);

    if (end == USB_IP_DETACHED) {
        vser_error("%s: the device was detached from vhci_hcd", p->name);
    }
    return end == USB_IP_UNPLUGGED || end == USB_IP_STOPPED ? EXIT_SUCCESS :
                                                              VSER_FAILED;
}

static const char usb_help[] =
    "usage: vser usb VVVV:PPPP[:SERIAL]\n"
    "       vser usb PATH\n"
    "\n"
    "Plug a USB device into this guest, while the host has its side of the\n"
    "port open. The device has the descriptor of the port; its first pair of\n"
    "bulk endpoints carries the bytes of the port. Needs root and the module\n"
    "vhci_hcd. Runs until the port is unplugged, or until SIGTERM. PATH is\n"
    "the port's node or a link to the node.\n"
    "\n"
    "Exit status: 0 the port was unplugged, or SIGTERM; 1 failed; 2 usage;\n"
    "3 no port; 4 more than one port.\n";

int vser_usb(int argc, char **argv)
{
    UsbDevice dev;
    Port port;
    int status;

    if (!options_parse_help(argc, argv, usb_help, &status)) {
        return status;
    }
    if (argc - optind != 1) {
        vser_error("vser usb takes one port; see vser usb --help");
        return VSER_USAGE;
    }
    status = port_choose(argv[optind], &port);
    if (status != EXIT_SUCCESS) {
        return status;
    }
    /* Fail now, not when the host comes, if a device can't be plugged in */
    if (!usb_device_init(&dev, &port)) {
        status = VSER_FAILED;
    } else if (access(VHCI_ATTACH, W_OK)) {
        cannot_attach(port.name);
        status = VSER_FAILED;
    } else {
        status = usb_run(&port);
    }
    port_free(&port);
    return status;
}
