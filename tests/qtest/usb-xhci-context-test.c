/*
 * qtest of the endpoint contexts that qemu-xhci keeps in guest memory
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "libqtest-single.h"
#include "libqos/usb-xhci.h"

#define EP0             1       /* as in a doorbell */
#define MARK            0xfeedf00dull

static uint64_t ring_end(QXHCIDriver *d)
{
    return (d->ep0.addr + 16 * d->ep0.next) | XHCI_TRB_C;
}

/* GET_DESCRIPTOR of that type, and what the context says then */
static void get_descriptor(QXHCIDriver *d, uint8_t type, int code)
{
    uint64_t start = ring_end(d);

    qxhci_control(d, 0x80 | 6 << 8 | (uint64_t)type << 24 | 18ull << 48,
                  XHCI_TRB_IOC, code);
    qxhci_interrupt_ack(d);
    if (code == XHCI_CC_SUCCESS) {
        g_assert_cmphex(qxhci_ep_state(d, EP0), ==, XHCI_EP_RUNNING);
        g_assert_cmphex(qxhci_ep_dequeue(d, EP0), ==, ring_end(d));
    } else {
        g_assert_cmphex(qxhci_ep_state(d, EP0), ==, XHCI_EP_HALTED);
        g_assert_cmphex(qxhci_ep_dequeue(d, EP0), ==, start);
    }
}

static void test_context(void *obj, void *data, QGuestAllocator *alloc)
{
    QXHCIDriver d;
    int i;

    qtest_qmp_device_add(global_qtest, "usb-tablet", "tab",
                         "{'bus': 'xhci.0'}");
    qxhci_start(&d, obj, alloc);
    for (i = 0; i < 2; i++) {
        get_descriptor(&d, 1, XHCI_CC_SUCCESS);
        get_descriptor(&d, 1, XHCI_CC_SUCCESS);

        /* Nothing to do: the context stays as it is */
        qtest_writeq(d.qts, d.out + 32 * EP0 + 8, MARK);
        qxhci_write(&d, XHCI_DOORBELL(d.slot), EP0);
        g_assert_cmphex(qxhci_ep_dequeue(&d, EP0), ==, MARK);
        get_descriptor(&d, 1, XHCI_CC_SUCCESS);

        /* Each change of the state shows, also where the ring stays */
        qxhci_command(&d, 0, XHCI_TRB_TYPE(XHCI_TRB_STOP_EP) |
                      XHCI_TRB_EP(EP0));
        g_assert_cmphex(qxhci_ep_state(&d, EP0), ==, XHCI_EP_STOPPED);
        g_assert_cmphex(qxhci_ep_dequeue(&d, EP0), ==, ring_end(&d));
        qxhci_write(&d, XHCI_DOORBELL(d.slot), EP0);
        g_assert_cmphex(qxhci_ep_state(&d, EP0), ==, XHCI_EP_RUNNING);
        get_descriptor(&d, 1, XHCI_CC_SUCCESS);
        get_descriptor(&d, 0x7f, XHCI_CC_STALL);
        qxhci_command(&d, 0, XHCI_TRB_TYPE(XHCI_TRB_RESET_EP) |
                      XHCI_TRB_EP(EP0));
        g_assert_cmphex(qxhci_ep_state(&d, EP0), ==, XHCI_EP_STOPPED);

        /* And a change of the ring, also where the state stays */
        d.ep0.next++;
        qxhci_command(&d, ring_end(&d), XHCI_TRB_TYPE(XHCI_TRB_DEQUEUE) |
                      XHCI_TRB_EP(EP0));
        g_assert_cmphex(qxhci_ep_state(&d, EP0), ==, XHCI_EP_STOPPED);
        g_assert_cmphex(qxhci_ep_dequeue(&d, EP0), ==, ring_end(&d));
        qxhci_interrupt_ack(&d);
    }
    qtest_qmp_device_del(global_qtest, "tab");
}

static void xhci_context_register(void)
{
    qos_add_test("context", "qemu-xhci", test_context, NULL);
}

libqos_init(xhci_context_register);
