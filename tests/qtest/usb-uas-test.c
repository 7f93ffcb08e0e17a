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
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqos/usb-xhci.h"

/* Endpoints as in a doorbell */
#define COMMAND         2
#define STATUS          5
#define DATA_IN         7
#define DATA_OUT        8

#define IU_COMMAND      1
#define IU_RESPONSE     4
#define IU_TASK         5

#define ABORT_TASK      0x01
#define LUN_RESET       0x08

#define TEST_UNIT_READY 0x00
#define INQUIRY         0x12
#define INQUIRY_SIZE    36
#define READ_10         0x28
#define WRITE_10        0x2a
#define SECTORS         8

#define PENDING         64      /* commands and statuses that the disk keeps */

#define IU_SIZE         32

#define TIMEOUT_US      (30 * 1000 * 1000)

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
    qtest_qmp_assert_success(global_qtest, "{'execute': 'blockdev-add',"
        " 'arguments': {'driver': 'null-co', 'node-name': 'fast',"
        " 'size': 1048576, 'read-zeroes': true, 'latency-ns': 200000000}}");
    qtest_qmp_device_add(global_qtest, "usb-uas", "uas", "{'bus': 'xhci.0'}");
    qtest_qmp_device_add(global_qtest, "scsi-hd", "hd",
                         "{'bus': 'uas.0', 'drive': 'slow'}");
    qtest_qmp_device_add(global_qtest, "scsi-hd", "hd1",
                         "{'bus': 'uas.0', 'lun': 1, 'drive': 'fast'}");
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

static void node_delete(Driver *d, const char *node)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    bool deleted = false;

    while (!deleted) {
        QDict *response = qtest_qmp(d->xhci.qts, "{'execute': 'blockdev-del',"
                                    " 'arguments': {'node-name': %s}}", node);

        deleted = qdict_haskey(response, "return");
        qobject_unref(response);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* All packets that the disk has are cancelled here */
static void uas_stop(Driver *d)
{
    qtest_qmp_device_del(global_qtest, "uas");
    node_delete(d, "slow");
    node_delete(d, "fast");
}

static void iu_send(Driver *d, const uint8_t *iu)
{
    QXHCIDriver *x = &d->xhci;

    qtest_memwrite(x->qts, x->data, iu, IU_SIZE);
    qxhci_ring_add(x, &d->command, x->data, IU_SIZE,
                   XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | XHCI_TRB_IOC);
    qxhci_write(x, XHCI_DOORBELL(x->slot), COMMAND);
}

/* A command whose data are of stream @tag */
static void send_command(Driver *d, uint16_t tag, uint8_t lun, uint8_t opcode)
{
    uint8_t iu[IU_SIZE] = { IU_COMMAND };

    stw_be_p(&iu[2], tag);
    iu[9] = lun;
    iu[16] = opcode;
    if (opcode == INQUIRY) {
        iu[20] = INQUIRY_SIZE;
    } else if (opcode != TEST_UNIT_READY) {
        iu[24] = SECTORS;
    }
    iu_send(d, iu);
}

static void send_task(Driver *d, uint16_t tag, uint8_t function, uint16_t of)
{
    uint8_t iu[IU_SIZE] = { IU_TASK };

    stw_be_p(&iu[2], tag);
    iu[4] = function;
    stw_be_p(&iu[6], of);
    iu_send(d, iu);
}

static void iu_taken(Driver *d)
{
    qxhci_event(&d->xhci, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
}

/* An information unit */
static void send_iu(Driver *d, uint8_t id, uint16_t tag)
{
    if (id == IU_COMMAND) {
        send_command(d, tag, 0, READ_10);
    } else {
        send_task(d, tag, 0, 0);
    }
    iu_taken(d);
}

/* Add one transfer of @len bytes on stream 1, without a doorbell */
static void stream_put(Driver *d, int dci, int len)
{
    qxhci_ring_add(&d->xhci, &d->rings[dci], d->status, len,
                   XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | XHCI_TRB_IOC);
}

/* @count transfers on stream 1 of an endpoint */
static void stream_add(Driver *d, int dci, int count)
{
    QXHCIDriver *x = &d->xhci;

    while (count--) {
        stream_put(d, dci, 128);
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

/* The first command of each disk would fail: the disk was just plugged in */
static void disks_are_ready(Driver *d)
{
    int lun;

    for (lun = 0; lun < 2; lun++) {
        send_command(d, 3, lun, TEST_UNIT_READY);
        iu_taken(d);
    }
}

/* The disk @qdev has read once */
static void wait_read(Driver *d, const char *qdev)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    int done;

    do {
        QDict *response = qtest_qmp(d->xhci.qts,
                                    "{'execute': 'query-blockstats'}");
        QListEntry *entry;

        done = -1;
        QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
            QDict *stats = qobject_to(QDict, qlist_entry_obj(entry));

            if (!g_strcmp0(qdict_get_try_str(stats, "qdev"), qdev)) {
                done = qdict_get_int(qdict_get_qdict(stats, "stats"),
                                    "rd_operations");
            }
        }
        qobject_unref(response);
        g_assert_cmpint(done, >=, 0);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    } while (done < 1);
}

/* A transfer with less room than the status gets the first bytes */
static void test_short(void *obj, void *data, QGuestAllocator *alloc)
{
    uint8_t got[8];
    Driver d;

    uas_start(&d, obj, alloc);
    /* There is a status for it; the next one has to wait for its status */
    send_iu(&d, IU_TASK, 1);
    stream_put(&d, STATUS, 4);
    stream_put(&d, STATUS, 4);
    qxhci_write(&d.xhci, XHCI_DOORBELL(d.xhci.slot), STATUS | 1 << 16);
    qxhci_event(&d.xhci, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
    send_iu(&d, IU_TASK, 1);
    qxhci_event(&d.xhci, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
    qtest_memread(d.xhci.qts, d.status, got, sizeof(got));
    g_assert_cmphex(got[0], ==, IU_RESPONSE);
    g_assert_cmphex(got[3], ==, 1);
    g_assert_cmphex(got[4], ==, 0);
    uas_stop(&d);
}

/* A transfer that goes the other way than its command's data has a STALL */
static void test_direction(void *obj, void *data, QGuestAllocator *alloc)
{
    uint8_t zeroes[128] = {}, got[128];
    QXHCIDriver *x;
    Driver d;
    int i;

    for (i = 0; i < 3; i++) {
        x = &d.xhci;
        uas_start(&d, obj, alloc);
        disks_are_ready(&d);
        switch (i) {
        case 0:
            /* What a command wants to have written was in QEMU's memory */
            send_command(&d, 1, 0, WRITE_10);
            iu_taken(&d);
            stream_add(&d, DATA_IN, 1);
            qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_STALL, NULL);
            break;
        case 1:
            send_command(&d, 1, 1, READ_10);
            iu_taken(&d);
            stream_add(&d, DATA_OUT, 1);
            qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_STALL, NULL);
            break;
        case 2:
            /* The transfer is there first: it waits for another command */
            stream_add(&d, DATA_IN, 1);
            send_command(&d, 1, 0, WRITE_10);
            iu_taken(&d);
            break;
        }
        qtest_memread(x->qts, d.status, got, sizeof(got));
        g_assert_cmpmem(got, sizeof(got), zeroes, sizeof(zeroes));
        uas_stop(&d);
    }
}

/* The driver takes a transfer back, and gives another one to the command */
static void test_cancel(void *obj, void *data, QGuestAllocator *alloc)
{
    QXHCIDriver *x;
    Driver d;

    x = &d.xhci;
    uas_start(&d, obj, alloc);
    disks_are_ready(&d);
    stream_add(&d, DATA_IN, 1);
    send_command(&d, 1, 1, READ_10);
    iu_taken(&d);
    qxhci_command(x, 0, XHCI_TRB_TYPE(XHCI_TRB_STOP_EP) | XHCI_TRB_EP(DATA_IN));
    wait_read(&d, "hd1");
    stream_add(&d, DATA_IN, 1);
    qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
    uas_stop(&d);
}

/* A command that is aborted ends the transfer that waits for its data */
static void test_abort(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint8_t functions[] = { ABORT_TASK, LUN_RESET };
    uint64_t trb;
    Driver d;
    int i;

    for (i = 0; i < ARRAY_SIZE(functions); i++) {
        uas_start(&d, obj, alloc);
        disks_are_ready(&d);
        send_command(&d, 1, 0, READ_10);
        iu_taken(&d);
        stream_add(&d, DATA_IN, 1);
        send_task(&d, 2, functions[i], 1);
        qxhci_event(&d.xhci, XHCI_TRB_TRANSFER, XHCI_CC_SHORT, &trb);
        g_assert_cmphex(trb, ==, d.rings[DATA_IN].addr);
        iu_taken(&d);
        uas_stop(&d);
    }
}

/*
 * A reset cancels the commands. While it waits for the one of the slow disk,
 * the next one ends, which is of the fast disk.
 */
static void test_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    Driver d;

    uas_start(&d, obj, alloc);
    disks_are_ready(&d);
    stream_put(&d, DATA_IN, SECTORS * 512);
    qxhci_write(&d.xhci, XHCI_DOORBELL(d.xhci.slot), DATA_IN | 1 << 16);
    send_command(&d, 2, 0, READ_10);
    iu_taken(&d);
    send_command(&d, 1, 1, READ_10);
    iu_taken(&d);
    qxhci_port_reset(&d.xhci);
    qxhci_event(&d.xhci, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
    uas_stop(&d);
}

/*
 * The end of a transfer starts the next one of the ring, which ends the command
 * of both.
 */
static void test_next(void *obj, void *data, QGuestAllocator *alloc)
{
    uint64_t trb;
    Driver d;

    uas_start(&d, obj, alloc);
    disks_are_ready(&d);
    stream_put(&d, DATA_IN, 8);
    qxhci_write(&d.xhci, XHCI_DOORBELL(d.xhci.slot), DATA_IN | 1 << 16);
    stream_put(&d, DATA_IN, INQUIRY_SIZE - 8);
    send_command(&d, 1, 0, INQUIRY);
    qxhci_event(&d.xhci, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, &trb);
    g_assert_cmphex(trb, ==, d.rings[DATA_IN].addr);
    qxhci_event(&d.xhci, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, &trb);
    g_assert_cmphex(trb, ==, d.rings[DATA_IN].addr + 16);
    iu_taken(&d);
    uas_stop(&d);
}

/*
 * The driver reads no status: some tasks later, it has to read one. What it
 * does not read goes with the device.
 */
static void test_unread(void *obj, void *data, QGuestAllocator *alloc)
{
    QXHCIDriver *x;
    uint64_t next;
    Driver d;
    int i;

    x = &d.xhci;
    uas_start(&d, obj, alloc);
    for (i = 0; i < PENDING; i++) {
        send_iu(&d, IU_TASK, 1);
    }
    send_task(&d, 1, 0, 0);
    next = x->event.addr + 16 * x->event.next;
    g_assert_false(qtest_readl(x->qts, next + 12) & XHCI_TRB_C);
    stream_add(&d, STATUS, 1);
    qxhci_event(x, XHCI_TRB_TRANSFER, XHCI_CC_SHORT, NULL);
    iu_taken(&d);
    g_assert_cmphex(qtest_readb(x->qts, d.status), ==, IU_RESPONSE);

    send_task(&d, 1, 0, 0);
    uas_stop(&d);
}

static void uas_register(void)
{
    qos_add_test("uas/tag", "qemu-xhci", test_tag, NULL);
    qos_add_test("uas/second", "qemu-xhci", test_second, NULL);
    qos_add_test("uas/short", "qemu-xhci", test_short, NULL);
    qos_add_test("uas/direction", "qemu-xhci", test_direction, NULL);
    qos_add_test("uas/cancel", "qemu-xhci", test_cancel, NULL);
    qos_add_test("uas/abort", "qemu-xhci", test_abort, NULL);
    qos_add_test("uas/reset", "qemu-xhci", test_reset, NULL);
    qos_add_test("uas/next", "qemu-xhci", test_next, NULL);
    qos_add_test("uas/unread", "qemu-xhci", test_unread, NULL);
}

libqos_init(uas_register);
