/*
 * qtest of the interrupts of qemu-xhci's transfer events
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "libqtest-single.h"
#include "libqos/usb-xhci.h"

/* GET_DESCRIPTOR of that type, with these bits in the last TRB */
static void get_descriptor(QXHCIDriver *d, uint8_t type, uint32_t bits,
                           int code)
{
    qxhci_control(d, 0x80 | 6 << 8 | (uint64_t)type << 24 | 18ull << 48, bits,
                  code);
}

static void test_bei(void *obj, void *data, QGuestAllocator *alloc)
{
    QXHCIDriver d;
    unsigned int i, interrupts = 0;

    qtest_qmp_device_add(global_qtest, "usb-tablet", "tab",
                         "{'bus': 'xhci.0'}");
    qxhci_start(&d, obj, alloc);
    get_descriptor(&d, 1, XHCI_TRB_IOC, XHCI_CC_SUCCESS);
    g_assert_true(qxhci_is_interrupt(&d));
    qxhci_interrupt_ack(&d);

    /* The driver gets the event, and no interrupt */
    get_descriptor(&d, 1, XHCI_TRB_IOC | XHCI_TRB_BEI, XHCI_CC_SUCCESS);
    g_assert_cmphex(qtest_readb(d.qts, d.data + 1), ==, 1);
    g_assert_false(qxhci_is_interrupt(&d));
    get_descriptor(&d, 1, XHCI_TRB_IOC | XHCI_TRB_BEI, XHCI_CC_SUCCESS);
    g_assert_false(qxhci_is_interrupt(&d));
    get_descriptor(&d, 1, XHCI_TRB_IOC, XHCI_CC_SUCCESS);
    g_assert_true(qxhci_is_interrupt(&d));
    qxhci_interrupt_ack(&d);

    /* Linux wants one interrupt for an isochronous URB, whatever its TDs */
    for (i = 0; i < 8; i++) {
        get_descriptor(&d, 1, XHCI_TRB_IOC | (i < 7 ? XHCI_TRB_BEI : 0),
                       XHCI_CC_SUCCESS);
        if (qxhci_is_interrupt(&d)) {
            qxhci_interrupt_ack(&d);
            interrupts++;
        }
    }
    g_assert_cmpuint(interrupts, ==, 1);

    /* An error is no event of IOC */
    get_descriptor(&d, 0x7f, XHCI_TRB_IOC | XHCI_TRB_BEI, XHCI_CC_STALL);
    g_assert_true(qxhci_is_interrupt(&d));
    qtest_qmp_device_del(global_qtest, "tab");
}

static void xhci_interrupt_register(void)
{
    qos_add_test("bei", "qemu-xhci", test_bei, NULL);
}

libqos_init(xhci_interrupt_register);
