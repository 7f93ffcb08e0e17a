/*
 * qtest of usb-storage, with a driver that resets it between the parts of a
 * command, and takes transfers back
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest-single.h"
#include "qobject/qdict.h"
#include "libqos/usb-xhci.h"

/* Endpoints as in a doorbell */
#define DATA_IN         3
#define DATA_OUT        4

#define SET_CONFIG      (9 << 8 | 1 << 16)
#define STORAGE_RESET   (0x21 | 0xff << 8)

#define TIMEOUT_US      (30 * 1000 * 1000)

#define CBW_SIZE        31
#define CSW_SIZE        13

#define TEST_UNIT_READY 0x00
#define READ_10         0x28
#define SECTORS         8

#define NO_MEMORY       (1ull << 46)

typedef struct Driver {
    QXHCIDriver xhci;
    QXHCIRing in, out;
    uint64_t buf;               /* a page */
    uint32_t tag;
} Driver;

static void storage_start(Driver *d, void *obj, QGuestAllocator *alloc)
{
    QXHCIDriver *x = &d->xhci;

    memset(d, 0, sizeof(*d));
    qtest_qmp_assert_success(global_qtest, "{'execute': 'blockdev-add',"
        " 'arguments': {'driver': 'null-co', 'node-name': 'slow',"
        " 'size': 1048576, 'read-zeroes': true, 'latency-ns': 700000000}}");
    qtest_qmp_device_add(global_qtest, "usb-storage", "stick",
                         "{'bus': 'xhci.0', 'drive': 'slow'}");
    qxhci_start(x, obj, alloc);
    qxhci_control(x, SET_CONFIG, XHCI_TRB_IOC, XHCI_CC_SUCCESS);
    d->in.addr = qxhci_page(x);
    d->out.addr = qxhci_page(x);
    d->buf = qxhci_page(x);
    qxhci_endpoint(x, DATA_IN, XHCI_EP_BULK_IN, 1024, d->in.addr, 0);
    qxhci_endpoint(x, DATA_OUT, XHCI_EP_BULK_OUT, 1024, d->out.addr, 0);
    qxhci_command(x, x->in, XHCI_TRB_TYPE(XHCI_TRB_CONFIGURE));
}

static void storage_stop(Driver *d)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    bool deleted = false;

    qtest_qmp_device_del(global_qtest, "stick");
    while (!deleted) {
        QDict *response = qtest_qmp(d->xhci.qts, "{'execute': 'blockdev-del',"
                                    " 'arguments': {'node-name': 'slow'}}");

        deleted = qdict_haskey(response, "return");
        qobject_unref(response);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* A command that says that @len bytes come in */
static void send_command(Driver *d, uint8_t opcode, uint32_t len)
{
    QXHCIDriver *x = &d->xhci;
    uint8_t cbw[CBW_SIZE] = { 'U', 'S', 'B', 'C' };

    stl_le_p(&cbw[4], ++d->tag);
    stl_le_p(&cbw[8], len);
    cbw[12] = 0x80;
    cbw[14] = 10;
    cbw[15] = opcode;
    cbw[23] = opcode == READ_10 ? SECTORS : 0;
    qtest_memwrite(x->qts, x->data, cbw, sizeof(cbw));
    qxhci_ring_add(x, &d->out, x->data, sizeof(cbw),
                   XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | XHCI_TRB_IOC);
    qxhci_write(x, XHCI_DOORBELL(x->slot), DATA_OUT);
    qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
}

static void receive_at(Driver *d, uint64_t addr, uint32_t len)
{
    QXHCIDriver *x = &d->xhci;

    qxhci_ring_add(x, &d->in, addr, len,
                   XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | XHCI_TRB_IOC);
    qxhci_write(x, XHCI_DOORBELL(x->slot), DATA_IN);
}

static void receive(Driver *d, uint32_t len)
{
    receive_at(d, d->buf, len);
}

/* The status of the last command comes, and has its tag */
static void receive_status(Driver *d)
{
    receive(d, CSW_SIZE);
    qxhci_event(&d->xhci, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
    g_assert_cmphex(qtest_readl(d->xhci.qts, d->buf + 4), ==, d->tag);
}

/* The status says that bytes are left, and is not read */
static void test_status(void *obj, void *data, QGuestAllocator *alloc)
{
    Driver d;

    storage_start(&d, obj, alloc);
    send_command(&d, TEST_UNIT_READY, 512);
    qxhci_control(&d.xhci, STORAGE_RESET, XHCI_TRB_IOC, XHCI_CC_SUCCESS);
    send_command(&d, TEST_UNIT_READY, 0);
    receive_status(&d);
    storage_stop(&d);
}

/* The command is running, with and without a transfer for its data */
static void test_running(void *obj, void *data, QGuestAllocator *alloc)
{
    QXHCIDriver *x;
    Driver d;
    int i;

    x = &d.xhci;
    for (i = 0; i < 2; i++) {
        storage_start(&d, obj, alloc);
        send_command(&d, TEST_UNIT_READY, 0);
        receive_status(&d);
        send_command(&d, READ_10, SECTORS * 512);
        if (i) {
            /* Its event comes first, then that of the control transfer */
            receive(&d, SECTORS * 512);
            qxhci_control(x, STORAGE_RESET, XHCI_TRB_IOC, XHCI_CC_STALL);
            qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
            qxhci_command(x, 0, XHCI_TRB_TYPE(XHCI_TRB_RESET_EP) |
                          XHCI_TRB_EP(DATA_IN));
            qxhci_command(x, (d.in.addr + 16 * d.in.next) | XHCI_TRB_C,
                          XHCI_TRB_TYPE(XHCI_TRB_DEQUEUE) |
                          XHCI_TRB_EP(DATA_IN));
        } else {
            qxhci_control(x, STORAGE_RESET, XHCI_TRB_IOC, XHCI_CC_SUCCESS);
        }
        send_command(&d, READ_10, SECTORS * 512);
        receive(&d, SECTORS * 512);
        qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
        receive_status(&d);
        storage_stop(&d);
    }
}

/*
 * The driver takes back a transfer whose data go where there is no memory: QEMU
 * has a page in its place, which the next transfer needs.
 */
static void test_stop(void *obj, void *data, QGuestAllocator *alloc)
{
    Driver d;

    storage_start(&d, obj, alloc);
    send_command(&d, TEST_UNIT_READY, 0);
    receive_status(&d);
    send_command(&d, READ_10, SECTORS * 512);
    receive_at(&d, NO_MEMORY, SECTORS * 512);
    qxhci_command(&d.xhci, 0, XHCI_TRB_TYPE(XHCI_TRB_STOP_EP) |
                  XHCI_TRB_EP(DATA_IN));
    qxhci_control(&d.xhci, STORAGE_RESET, XHCI_TRB_IOC, XHCI_CC_SUCCESS);
    send_command(&d, READ_10, SECTORS * 512);
    receive_at(&d, NO_MEMORY, SECTORS * 512);
    qxhci_event(&d.xhci, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
    receive_status(&d);
    storage_stop(&d);
}

static void storage_register(void)
{
    qos_add_test("storage/status", "qemu-xhci", test_status, NULL);
    qos_add_test("storage/running", "qemu-xhci", test_running, NULL);
    qos_add_test("storage/stop", "qemu-xhci", test_stop, NULL);
}

libqos_init(storage_register);
