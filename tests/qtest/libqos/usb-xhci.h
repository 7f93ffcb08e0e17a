/*
 * A driver of qemu-xhci for qtests
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_LIBQOS_USB_XHCI_H
#define TESTS_LIBQOS_USB_XHCI_H

#include "libqos-malloc.h"
#include "pci.h"
#include "qgraph.h"

/* Offsets in BAR 0 of QEMU's xHCI */
#define XHCI_USBCMD         0x40
#define XHCI_USBSTS         0x44
#define XHCI_IMAN           0x1020
#define XHCI_ERDP           0x1038
#define XHCI_DOORBELL(n)    (0x2000 + 4 * (n))

#define XHCI_USBSTS_EINT    (1 << 3)
#define XHCI_IMAN_IP        (1 << 0)
#define XHCI_IMAN_IE        (1 << 1)

#define XHCI_TRB_NORMAL     1
#define XHCI_TRB_SETUP      2
#define XHCI_TRB_DATA       3
#define XHCI_TRB_STATUS     4
#define XHCI_TRB_SLOT       9
#define XHCI_TRB_ADDRESS    11
#define XHCI_TRB_CONFIGURE  12
#define XHCI_TRB_RESET_EP   14
#define XHCI_TRB_STOP_EP    15
#define XHCI_TRB_DEQUEUE    16
#define XHCI_TRB_TRANSFER   32
#define XHCI_TRB_COMPLETION 33

#define XHCI_TRB_TYPE(type) ((type) << 10)
#define XHCI_TRB_EP(dci)    ((dci) << 16)
#define XHCI_TRB_C          (1 << 0)
#define XHCI_TRB_ISP        (1 << 2)
#define XHCI_TRB_IOC        (1 << 5)
#define XHCI_TRB_IDT        (1 << 6)
#define XHCI_TRB_BEI        (1 << 9)

#define XHCI_CC_SUCCESS     1
#define XHCI_CC_STALL       6
#define XHCI_CC_SHORT       13

#define XHCI_EP_RUNNING     1
#define XHCI_EP_HALTED      2
#define XHCI_EP_STOPPED     3

#define XHCI_EP_BULK_OUT    2
#define XHCI_EP_CONTROL     4
#define XHCI_EP_BULK_IN     6

#define XHCI_SPEED_SUPER    4

/* Of each ring, which has no link: a test has no more to do */
#define XHCI_RING_SIZE      128

typedef struct QXHCI {
    QOSGraphObject obj;
    QPCIDevice dev;
} QXHCI;

typedef struct QXHCIRing {
    uint64_t addr;
    int next;
} QXHCIRing;

typedef struct QXHCIDriver {
    QXHCI *xhci;
    QPCIBar bar;
    QTestState *qts;
    QGuestAllocator *alloc;
    QXHCIRing command;
    QXHCIRing event;
    QXHCIRing ep0;
    uint64_t data;          /* a page */
    uint64_t in, out;       /* the contexts */
    int port;
    int speed;
    int slot;
} QXHCIDriver;

/*
 * Start the controller @xhci, and give an address to the one USB device that it
 * has. Each of these functions fails the test if something goes wrong.
 */
void qxhci_start(QXHCIDriver *d, QXHCI *xhci, QGuestAllocator *alloc);

/* Reset the port of the USB device, which is enabled afterwards */
void qxhci_port_reset(QXHCIDriver *d);

void qxhci_write(QXHCIDriver *d, uint64_t reg, uint32_t value);
uint32_t qxhci_read(QXHCIDriver *d, uint64_t reg);

/* A page of guest memory, zeroed */
uint64_t qxhci_page(QXHCIDriver *d);

void qxhci_ring_add(QXHCIDriver *d, QXHCIRing *ring, uint64_t parameter,
                    uint32_t status, uint32_t control);

/* A command, which succeeds */
void qxhci_command(QXHCIDriver *d, uint64_t parameter, uint32_t control);

/*
 * Wait for an event of that type, whatever comes before, with that completion
 * code. Its control word; in *@trb, unless NULL, the address that it names.
 */
uint32_t qxhci_event(QXHCIDriver *d, int type, int code, uint64_t *trb);

/* A control transfer on endpoint 0, with @bits in the last TRB */
void qxhci_control(QXHCIDriver *d, uint64_t setup, uint32_t bits, int code);

/* Set endpoint @dci up in the input context, with a ring or a stream array */
void qxhci_endpoint(QXHCIDriver *d, int dci, int type, int max_packet,
                    uint64_t ring, int stream_bits);

/* As a driver does at the end of its interrupt handler */
void qxhci_interrupt_ack(QXHCIDriver *d);
bool qxhci_is_interrupt(QXHCIDriver *d);

/* Words of the context of endpoint @dci */
uint32_t qxhci_ep_state(QXHCIDriver *d, int dci);
uint64_t qxhci_ep_dequeue(QXHCIDriver *d, int dci);

#endif
