/*
 * qtest of usb-uas with streams, with a driver that breaks the rules
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest-single.h"
#include "libqos/usb-xhci.h"

/* Endpoints as in a doorbell */
#define COMMAND         2
#define STATUS          5
#define DATA_IN         7
#define DATA_OUT        8

#define IU_COMMAND      1
#define IU_RESPONSE     4
#define IU_TASK         5

#define STREAM_BITS     3       /* for 16 streams */
#define STREAMS         16

typedef struct Driver {
    QXHCIDriver xhci;
    QXHCIRing command;
    uint64_t streams[DATA_OUT + 1];     /* the arrays of stream contexts */
    QXHCIRing rings[DATA_OUT + 1];      /* of stream 1 */
    uint64_t status;                    /* a page */
} Driver;

static void stream_new(Driver *d, int dci, int type)
{
    QXHCIDriver *x = &d->xhci;

    d->streams[dci] = qxhci_page(x);
    d->rings[dci].addr = qxhci_page(x);
    qtest_writeq(x->qts, d->streams[dci] + 16, d->rings[dci].addr | 1 << 1 |
                 XHCI_TRB_C);
    qxhci_endpoint(x, dci, type, 1024, d->streams[dci], STREAM_BITS);
}

static void uas_start(Driver *d, void *obj, QGuestAllocator *alloc)
{
    QXHCIDriver *x = &d->xhci;

    memset(d, 0, sizeof(*d));
    qtest_qmp_assert_success(global_qtest, "{'execute': 'blockdev-add',"
        " 'arguments': {'driver': 'null-co', 'node-name': 'slow',"
        " 'size': 1048576, 'read-zeroes': true, 'latency-ns': 700000000}}");
    qtest_qmp_device_add(global_qtest, "usb-uas", "uas", "{'bus': 'xhci.0'}");
    qtest_qmp_device_add(global_qtest, "scsi-hd", "hd",
                         "{'bus': 'uas.0', 'drive': 'slow'}");
    qtest_qmp_assert_success(global_qtest, "{'execute': 'qom-set',"
        " 'arguments': {'path': 'uas', 'property': 'attached',"
        " 'value': true}}");
    qxhci_start(x, obj, alloc);
    g_assert_cmpint(x->speed, ==, XHCI_SPEED_SUPER);
    qxhci_control(x, 9 << 8 | 1 << 16, XHCI_TRB_IOC, XHCI_CC_SUCCESS);
    d->command.addr = qxhci_page(x);
    d->status = qxhci_page(x);
    qxhci_endpoint(x, COMMAND, XHCI_EP_BULK_OUT, 1024, d->command.addr, 0);
    stream_new(d, STATUS, XHCI_EP_BULK_IN);
    stream_new(d, DATA_IN, XHCI_EP_BULK_IN);
    stream_new(d, DATA_OUT, XHCI_EP_BULK_OUT);
    qxhci_command(x, x->in, XHCI_TRB_TYPE(XHCI_TRB_CONFIGURE));
}

/* All packets that the disk has are cancelled here */
static void uas_stop(Driver *d)
{
    QXHCIDriver *x = &d->xhci;
    gint64 end = g_get_monotonic_time() + 30 * 1000 * 1000;
    bool deleted = false;

    qtest_qmp_device_del(global_qtest, "uas");
    while (!deleted) {
        QDict *response = qtest_qmp(x->qts, "{'execute': 'blockdev-del',"
                                    " 'arguments': {'node-name': 'slow'}}");

        deleted = qdict_haskey(response, "return");
        qobject_unref(response);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* An information unit */
static void send_iu(Driver *d, uint8_t id, uint16_t tag)
{
    QXHCIDriver *x = &d->xhci;
    uint8_t iu[32] = { id };

    stw_be_p(&iu[2], tag);
    if (id == IU_COMMAND) {
        iu[16] = 0x28;          /* READ(10) of 8 sectors */
        iu[24] = 8;
    }
    qtest_memwrite(x->qts, x->data, iu, sizeof(iu));
    qxhci_ring_add(x, &d->command, x->data, sizeof(iu),
                   XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | XHCI_TRB_IOC);
    qxhci_write(x, XHCI_DOORBELL(x->slot), COMMAND);
    qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
}

/* @count transfers on stream 1 of an endpoint */
static void stream_add(Driver *d, int dci, int count)
{
    QXHCIDriver *x = &d->xhci;

    while (count--) {
        qxhci_ring_add(x, &d->rings[dci], d->status, 128,
                       XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | XHCI_TRB_IOC);
    }
    qxhci_write(x, XHCI_DOORBELL(x->slot), dci | 1 << 16);
}

/* The second transfer of two has a STALL, which halts the endpoint */
static void second_stalls(Driver *d, int dci)
{
    QXHCIDriver *x = &d->xhci;
    uint64_t trb;

    qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_STALL, &trb);
    g_assert_cmphex(trb, ==, d->rings[dci].addr +
                    16 * (d->rings[dci].next - 1));
    g_assert_cmphex(qxhci_ep_state(x, dci), ==, XHCI_EP_HALTED);
}

/* There is no stream on which such a task or command could have an answer */
static void test_tag(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint16_t tags[] = { STREAMS + 1, 0x1000, 0xffff };
    Driver d;
    int i;

    uas_start(&d, obj, alloc);
    for (i = 0; i < ARRAY_SIZE(tags); i++) {
        send_iu(&d, IU_TASK, tags[i]);
        send_iu(&d, IU_COMMAND, tags[i]);
    }

    /* One that has a stream gets its response there */
    stream_add(&d, STATUS, 1);
    send_iu(&d, IU_TASK, 1);
    qxhci_event(&d.xhci, XHCI_TRB_TRANSFER, XHCI_CC_SHORT, NULL);
    g_assert_cmphex(qtest_readb(d.xhci.qts, d.status), ==, IU_RESPONSE);
    uas_stop(&d);
}

static void test_second(void *obj, void *data, QGuestAllocator *alloc)
{
    Driver d;
    int i;

    for (i = 0; i < 4; i++) {
        uas_start(&d, obj, alloc);
        switch (i) {
        case 0:
            stream_add(&d, STATUS, 2);
            second_stalls(&d, STATUS);
            break;
        case 1:
            stream_add(&d, DATA_IN, 2);
            second_stalls(&d, DATA_IN);
            break;
        case 2:
            /* The data of a command that is not there yet, then of another */
            stream_add(&d, DATA_OUT, 1);
            stream_add(&d, DATA_IN, 1);
            second_stalls(&d, DATA_IN);
            break;
        case 3:
            /* The command takes longer than this */
            send_iu(&d, IU_COMMAND, 1);
            stream_add(&d, DATA_IN, 2);
            second_stalls(&d, DATA_IN);
            break;
        }
        uas_stop(&d);
    }
}

static void uas_register(void)
{
    qos_add_test("uas/tag", "qemu-xhci", test_tag, NULL);
    qos_add_test("uas/second", "qemu-xhci", test_second, NULL);
}

libqos_init(uas_register);
