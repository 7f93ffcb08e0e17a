/*
 * qtest of the interrupts of qemu-xhci's transfer events
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest-single.h"
#include "libqos/libqos-malloc.h"
#include "libqos/pci.h"
#include "libqos/qgraph.h"
#include "hw/pci/pci_regs.h"

#define TIMEOUT_US      (30 * 1000 * 1000)

/* Offsets in BAR 0 of QEMU's xHCI */
#define USBCMD          0x40
#define USBSTS          0x44
#define CRCR            0x58
#define DCBAAP          0x70
#define CONFIG          0x78
#define PORTSC(n)       (0x440 + 0x10 * (n))
#define PORTS           8
#define IMAN            0x1020
#define ERSTSZ          0x1028
#define ERSTBA          0x1030
#define ERDP            0x1038
#define DOORBELL(n)     (0x2000 + 4 * (n))

#define USBCMD_RUN      (1 << 0)
#define USBCMD_INTE     (1 << 2)
#define USBSTS_EINT     (1 << 3)
#define IMAN_IP         (1 << 0)
#define IMAN_IE         (1 << 1)
#define ERDP_EHB        (1 << 3)
#define PORTSC_CCS      (1 << 0)
#define PORTSC_PED      (1 << 1)
#define PORTSC_PR       (1 << 4)
#define PORTSC_PP       (1 << 9)

#define TRB_SETUP       2
#define TRB_DATA        3
#define TRB_STATUS      4
#define TRB_ENABLE_SLOT 9
#define TRB_ADDRESS     11
#define TRB_TRANSFER    32
#define TRB_COMPLETION  33

#define TRB_C           (1 << 0)
#define TRB_IOC         (1 << 5)
#define TRB_IDT         (1 << 6)
#define TRB_BEI         (1 << 9)

#define CC_SUCCESS      1
#define CC_STALL        6

#define RING_SIZE       64

typedef struct QXHCI {
    QOSGraphObject obj;
    QPCIDevice dev;
} QXHCI;

typedef struct Ring {
    uint64_t addr;
    int next;
} Ring;

typedef struct Driver {
    QXHCI *xhci;
    QPCIBar bar;
    QTestState *qts;
    Ring command;
    Ring event;
    Ring ep0;
    uint64_t data;
    int slot;
} Driver;

static void reg_write(Driver *d, uint64_t reg, uint32_t value)
{
    qpci_io_writel(&d->xhci->dev, d->bar, reg, value);
}

static uint32_t reg_read(Driver *d, uint64_t reg)
{
    return qpci_io_readl(&d->xhci->dev, d->bar, reg);
}

static uint64_t page_new(Driver *d, QGuestAllocator *alloc)
{
    uint64_t addr = guest_alloc(alloc, 4096);

    qtest_memset(d->qts, addr, 0, 4096);
    return addr;
}

static void ring_add(Driver *d, Ring *ring, uint64_t parameter, uint32_t status,
                     uint32_t control)
{
    uint64_t addr = ring->addr + 16 * ring->next++;

    g_assert_cmpint(ring->next, <, RING_SIZE);
    qtest_writeq(d->qts, addr, parameter);
    qtest_writel(d->qts, addr + 8, status);
    qtest_writel(d->qts, addr + 12, control | TRB_C);
}

/* Wait for an event of that type, whatever comes before. Its control word. */
static uint32_t next_event(Driver *d, int type, int code)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    uint64_t addr;
    uint32_t control;

    for (;;) {
        addr = d->event.addr + 16 * d->event.next;
        control = qtest_readl(d->qts, addr + 12);
        if (!(control & TRB_C)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            qtest_clock_step(d->qts, 1000);
            continue;
        }
        g_assert_cmpint(++d->event.next, <, RING_SIZE);
        if (((control >> 10) & 0x3f) == type) {
            g_assert_cmpint(qtest_readl(d->qts, addr + 8) >> 24, ==, code);
            return control;
        }
    }
}

/* As a driver does at the end of its interrupt handler */
static void interrupt_ack(Driver *d)
{
    reg_write(d, USBSTS, USBSTS_EINT);
    reg_write(d, IMAN, IMAN_IE | IMAN_IP);
    reg_write(d, ERDP, (d->event.addr + 16 * d->event.next) | ERDP_EHB);
    reg_write(d, ERDP + 4, 0);
    g_assert_cmphex(reg_read(d, IMAN), ==, IMAN_IE);
}

static bool is_interrupt(Driver *d)
{
    bool pending = reg_read(d, IMAN) & IMAN_IP;

    g_assert_cmpint(pending, ==, !!(reg_read(d, USBSTS) & USBSTS_EINT));
    return pending;
}

static void driver_start(Driver *d, QXHCI *xhci, QGuestAllocator *alloc)
{
    uint64_t dcbaa, erst, in, out;
    uint32_t portsc = 0;
    int i;

    memset(d, 0, sizeof(*d));
    d->xhci = xhci;
    d->qts = global_qtest;
    qpci_config_writew(&xhci->dev, PCI_COMMAND,
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    d->bar = qpci_iomap(&xhci->dev, 0, NULL);
    dcbaa = page_new(d, alloc);
    erst = page_new(d, alloc);
    in = page_new(d, alloc);
    out = page_new(d, alloc);
    d->command.addr = page_new(d, alloc);
    d->event.addr = page_new(d, alloc);
    d->ep0.addr = page_new(d, alloc);
    d->data = page_new(d, alloc);

    reg_write(d, CONFIG, 8);
    reg_write(d, DCBAAP, dcbaa);
    reg_write(d, DCBAAP + 4, 0);
    reg_write(d, CRCR, d->command.addr | 1);
    reg_write(d, CRCR + 4, 0);
    qtest_writeq(d->qts, erst, d->event.addr);
    qtest_writel(d->qts, erst + 8, RING_SIZE);
    reg_write(d, ERSTSZ, 1);
    reg_write(d, ERDP, d->event.addr);
    reg_write(d, ERDP + 4, 0);
    reg_write(d, ERSTBA, erst);
    reg_write(d, ERSTBA + 4, 0);
    reg_write(d, IMAN, IMAN_IE);
    reg_write(d, USBCMD, USBCMD_RUN | USBCMD_INTE);

    for (i = 0; i < PORTS; i++) {
        portsc = reg_read(d, PORTSC(i));
        if (portsc & PORTSC_CCS) {
            break;
        }
    }
    g_assert_cmpint(i, <, PORTS);
    reg_write(d, PORTSC(i), PORTSC_PP | PORTSC_PR);
    portsc = reg_read(d, PORTSC(i));
    g_assert_true(portsc & PORTSC_PED);

    ring_add(d, &d->command, 0, 0, TRB_ENABLE_SLOT << 10);
    reg_write(d, DOORBELL(0), 0);
    d->slot = next_event(d, TRB_COMPLETION, CC_SUCCESS) >> 24;
    qtest_writeq(d->qts, dcbaa + 8 * d->slot, out);
    qtest_writel(d->qts, in + 4, 3);
    qtest_writel(d->qts, in + 32, (1 << 27) | (((portsc >> 10) & 0xf) << 20));
    qtest_writel(d->qts, in + 36, (i + 1) << 16);
    qtest_writel(d->qts, in + 68, (4 << 3) | (3 << 1) | (64 << 16));
    qtest_writeq(d->qts, in + 72, d->ep0.addr | 1);
    ring_add(d, &d->command, in, 0, TRB_ADDRESS << 10 | d->slot << 24);
    reg_write(d, DOORBELL(0), 0);
    next_event(d, TRB_COMPLETION, CC_SUCCESS);
    interrupt_ack(d);
}

/* GET_DESCRIPTOR of that type, with these bits in the last TRB */
static void get_descriptor(Driver *d, uint8_t type, uint32_t bits, int code)
{
    ring_add(d, &d->ep0, 0x80 | 6 << 8 | (uint32_t)type << 24 | 18ull << 48, 8,
             TRB_SETUP << 10 | TRB_IDT | 3 << 16);
    ring_add(d, &d->ep0, d->data, 18, TRB_DATA << 10 | 1 << 16);
    ring_add(d, &d->ep0, 0, 0, TRB_STATUS << 10 | bits);
    reg_write(d, DOORBELL(d->slot), 1);
    next_event(d, TRB_TRANSFER, code);
}

static void test_bei(void *obj, void *data, QGuestAllocator *alloc)
{
    Driver d;

    qtest_qmp_device_add(global_qtest, "usb-tablet", "tab",
                         "{'bus': 'xhci.0'}");
    driver_start(&d, obj, alloc);
    get_descriptor(&d, 1, TRB_IOC, CC_SUCCESS);
    g_assert_true(is_interrupt(&d));
    interrupt_ack(&d);

    /* The driver gets the event, and no interrupt */
    get_descriptor(&d, 1, TRB_IOC | TRB_BEI, CC_SUCCESS);
    g_assert_cmphex(qtest_readb(d.qts, d.data + 1), ==, 1);
    g_assert_false(is_interrupt(&d));
    get_descriptor(&d, 1, TRB_IOC | TRB_BEI, CC_SUCCESS);
    g_assert_false(is_interrupt(&d));
    get_descriptor(&d, 1, TRB_IOC, CC_SUCCESS);
    g_assert_true(is_interrupt(&d));
    interrupt_ack(&d);

    /* An error is no event of IOC */
    get_descriptor(&d, 0x7f, TRB_IOC | TRB_BEI, CC_STALL);
    g_assert_true(is_interrupt(&d));
    qtest_qmp_device_del(global_qtest, "tab");
}

static void *xhci_get_driver(void *object, const char *interface)
{
    QXHCI *xhci = object;

    g_assert_cmpstr(interface, ==, "pci-device");
    return &xhci->dev;
}

static void *xhci_create(void *bus, QGuestAllocator *alloc, void *addr)
{
    QXHCI *xhci = g_new0(QXHCI, 1);

    qpci_device_init(&xhci->dev, bus, addr);
    xhci->obj.get_driver = xhci_get_driver;
    return &xhci->obj;
}

static void xhci_register(void)
{
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "id=xhci,addr=04.0",
    };

    add_qpci_address(&opts, &(QPCIAddress) { .devfn = QPCI_DEVFN(4, 0) });
    qos_node_create_driver("qemu-xhci", xhci_create);
    qos_node_consumes("qemu-xhci", "pci-bus", &opts);
    qos_node_produces("qemu-xhci", "pci-device");
    qos_add_test("bei", "qemu-xhci", test_bei, NULL);
}

libqos_init(xhci_register);
