/*
 * A driver of qemu-xhci for qtests
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "../libqtest.h"
#include "usb-xhci.h"
#include "hw/pci/pci_regs.h"

#define TIMEOUT_US      (30 * 1000 * 1000)

#define CRCR            0x58
#define DCBAAP          0x70
#define CONFIG          0x78
#define PORTSC(n)       (0x440 + 0x10 * (n))
#define PORTS           8
#define ERSTSZ          0x1028
#define ERSTBA          0x1030

#define USBCMD_RUN      (1 << 0)
#define USBCMD_INTE     (1 << 2)
#define ERDP_EHB        (1 << 3)
#define PORTSC_CCS      (1 << 0)
#define PORTSC_PED      (1 << 1)
#define PORTSC_PR       (1 << 4)
#define PORTSC_PP       (1 << 9)

#define CONTEXT         32

void qxhci_write(QXHCIDriver *d, uint64_t reg, uint32_t value)
{
    qpci_io_writel(&d->xhci->dev, d->bar, reg, value);
}

uint32_t qxhci_read(QXHCIDriver *d, uint64_t reg)
{
    return qpci_io_readl(&d->xhci->dev, d->bar, reg);
}

uint64_t qxhci_page(QXHCIDriver *d)
{
    uint64_t addr = guest_alloc(d->alloc, 4096);

    qtest_memset(d->qts, addr, 0, 4096);
    return addr;
}

void qxhci_ring_add(QXHCIDriver *d, QXHCIRing *ring, uint64_t parameter,
                    uint32_t status, uint32_t control)
{
    uint64_t addr = ring->addr + 16 * ring->next++;

    g_assert_cmpint(ring->next, <, XHCI_RING_SIZE);
    qtest_writeq(d->qts, addr, parameter);
    qtest_writel(d->qts, addr + 8, status);
    qtest_writel(d->qts, addr + 12, control | XHCI_TRB_C);
}

uint32_t qxhci_event(QXHCIDriver *d, int type, int code, uint64_t *trb)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    uint64_t addr;
    uint32_t control;

    for (;;) {
        addr = d->event.addr + 16 * d->event.next;
        control = qtest_readl(d->qts, addr + 12);
        if (!(control & XHCI_TRB_C)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            qtest_clock_step(d->qts, 1000);
            continue;
        }
        g_assert_cmpint(++d->event.next, <, XHCI_RING_SIZE);
        if (((control >> 10) & 0x3f) == type) {
            g_assert_cmpint(qtest_readl(d->qts, addr + 8) >> 24, ==, code);
            if (trb) {
                *trb = qtest_readq(d->qts, addr);
            }
            return control;
        }
    }
}

void qxhci_command(QXHCIDriver *d, uint64_t parameter, uint32_t control)
{
    qxhci_ring_add(d, &d->command, parameter, 0, control | d->slot << 24);
    qxhci_write(d, XHCI_DOORBELL(0), 0);
    d->slot = qxhci_event(d, XHCI_TRB_COMPLETION, XHCI_CC_SUCCESS, NULL) >> 24;
}

void qxhci_interrupt_ack(QXHCIDriver *d)
{
    qxhci_write(d, XHCI_USBSTS, XHCI_USBSTS_EINT);
    qxhci_write(d, XHCI_IMAN, XHCI_IMAN_IE | XHCI_IMAN_IP);
    qxhci_write(d, XHCI_ERDP, (d->event.addr + 16 * d->event.next) | ERDP_EHB);
    qxhci_write(d, XHCI_ERDP + 4, 0);
    g_assert_cmphex(qxhci_read(d, XHCI_IMAN), ==, XHCI_IMAN_IE);
}

bool qxhci_is_interrupt(QXHCIDriver *d)
{
    bool pending = qxhci_read(d, XHCI_IMAN) & XHCI_IMAN_IP;

    g_assert_cmpint(pending, ==,
                    !!(qxhci_read(d, XHCI_USBSTS) & XHCI_USBSTS_EINT));
    return pending;
}

uint32_t qxhci_ep_state(QXHCIDriver *d, int dci)
{
    return qtest_readl(d->qts, d->out + CONTEXT * dci) & 7;
}

uint64_t qxhci_ep_dequeue(QXHCIDriver *d, int dci)
{
    return qtest_readq(d->qts, d->out + CONTEXT * dci + 8);
}

static void slot_context(QXHCIDriver *d, int last)
{
    qtest_writel(d->qts, d->in + CONTEXT, (last << 27) | (d->speed << 20));
    qtest_writel(d->qts, d->in + CONTEXT + 4, (d->port + 1) << 16);
}

void qxhci_endpoint(QXHCIDriver *d, int dci, int type, int max_packet,
                    uint64_t ring, int stream_bits)
{
    uint64_t context = d->in + CONTEXT * (dci + 1);
    uint32_t added = qtest_readl(d->qts, d->in + 4);

    qtest_writel(d->qts, d->in + 4, added | 1 << 0 | 1 << dci);
    slot_context(d, dci);
    /* Each entry of the array is a stream context: a linear one */
    qtest_writel(d->qts, context, stream_bits ? stream_bits << 10 | 1 << 15 :
                                                0);
    qtest_writel(d->qts, context + 4, (type << 3) | (3 << 1) |
                 (max_packet << 16));
    qtest_writeq(d->qts, context + 8, ring | (stream_bits ? 0 : 1));
}

void qxhci_port_reset(QXHCIDriver *d)
{
    qxhci_write(d, PORTSC(d->port), PORTSC_PP | PORTSC_PR);
    g_assert_true(qxhci_read(d, PORTSC(d->port)) & PORTSC_PED);
}

void qxhci_start(QXHCIDriver *d, QXHCI *xhci, QGuestAllocator *alloc)
{
    uint64_t dcbaa, erst;

    memset(d, 0, sizeof(*d));
    d->xhci = xhci;
    d->alloc = alloc;
    d->qts = xhci->dev.bus->qts;
    qpci_config_writew(&xhci->dev, PCI_COMMAND,
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    d->bar = qpci_iomap(&xhci->dev, 0, NULL);
    dcbaa = qxhci_page(d);
    erst = qxhci_page(d);
    d->in = qxhci_page(d);
    d->out = qxhci_page(d);
    d->command.addr = qxhci_page(d);
    d->event.addr = qxhci_page(d);
    d->ep0.addr = qxhci_page(d);
    d->data = qxhci_page(d);

    qxhci_write(d, CONFIG, 8);
    qxhci_write(d, DCBAAP, dcbaa);
    qxhci_write(d, DCBAAP + 4, 0);
    qxhci_write(d, CRCR, d->command.addr | 1);
    qxhci_write(d, CRCR + 4, 0);
    qtest_writeq(d->qts, erst, d->event.addr);
    qtest_writel(d->qts, erst + 8, XHCI_RING_SIZE);
    qxhci_write(d, ERSTSZ, 1);
    qxhci_write(d, XHCI_ERDP, d->event.addr);
    qxhci_write(d, XHCI_ERDP + 4, 0);
    qxhci_write(d, ERSTBA, erst);
    qxhci_write(d, ERSTBA + 4, 0);
    qxhci_write(d, XHCI_IMAN, XHCI_IMAN_IE);
    qxhci_write(d, XHCI_USBCMD, USBCMD_RUN | USBCMD_INTE);

    while (!(qxhci_read(d, PORTSC(d->port)) & PORTSC_CCS)) {
        g_assert_cmpint(++d->port, <, PORTS);
    }
    qxhci_port_reset(d);
    d->speed = (qxhci_read(d, PORTSC(d->port)) >> 10) & 0xf;

    qxhci_command(d, 0, XHCI_TRB_TYPE(XHCI_TRB_SLOT));
    qtest_writeq(d->qts, dcbaa + 8 * d->slot, d->out);
    qxhci_endpoint(d, 1, XHCI_EP_CONTROL,
                   d->speed == XHCI_SPEED_SUPER ? 512 : 64, d->ep0.addr, 0);
    qxhci_command(d, d->in, XHCI_TRB_TYPE(XHCI_TRB_ADDRESS));
    qtest_memset(d->qts, d->in, 0, 4096);
    qxhci_interrupt_ack(d);
}

void qxhci_control(QXHCIDriver *d, uint64_t setup, uint32_t bits, int code)
{
    uint16_t length = setup >> 48;
    bool in = setup & 0x80;

    qxhci_ring_add(d, &d->ep0, setup, 8, XHCI_TRB_TYPE(XHCI_TRB_SETUP) |
                   XHCI_TRB_IDT | (length ? in ? 3 : 2 : 0) << 16);
    if (length) {
        qxhci_ring_add(d, &d->ep0, d->data, length,
                       XHCI_TRB_TYPE(XHCI_TRB_DATA) | in << 16);
    }
    qxhci_ring_add(d, &d->ep0, 0, 0, XHCI_TRB_TYPE(XHCI_TRB_STATUS) | bits |
                   !(length && in) << 16);
    qxhci_write(d, XHCI_DOORBELL(d->slot), 1);
    qxhci_event(d, XHCI_TRB_TRANSFER, code, NULL);
}

/*
 * Nodes
 */

static void *xhci_get_driver(void *object, const char *interface)
{
    QXHCI *xhci = object;

    if (!g_strcmp0(interface, "qemu-xhci")) {
        return xhci;
    }
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
}

libqos_init(xhci_register);
