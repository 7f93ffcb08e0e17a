/*
 * qtests of a virtio USB host controller, with a driver in the test
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "libqtest-single.h"
#include "qobject/qdict.h"
#include "libqos/libqos-malloc.h"
#include "libqos/qgraph.h"
#include "libqos/virtio.h"
#include "libqos/virtio-pci.h"
#include "hw/virtio/virtio-usb.h"
#include "hw/pci/pci_regs.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"

/* How long the device has for anything that it must do */
#define TIMEOUT_US      (30 * 1000 * 1000)

#define HS_HID_EP       (VIRTIO_USB_EP_IN | 1)

typedef struct QVirtioUSB {
    QOSGraphObject obj;
    QVirtioDevice *vdev;
} QVirtioUSB;

typedef struct QVirtioUSBPCI {
    QVirtioPCIDevice pci;
    QVirtioUSB usb;
} QVirtioUSBPCI;

/* How a request is divided into descriptors: no framing is prescribed */
typedef enum Framing {
    APART,                      /* data beside the header or the result */
    TOGETHER,                   /* data with the header or the result */
    STRADDLING,                 /* a byte of data with them, the rest beside */
    SPARE,                      /* as TOGETHER, with room that is not used */
    FRAMINGS,
} Framing;

#define SPARE_BYTES     8

/* Features besides those that each driver of this format takes */
static uint64_t more_features;

typedef struct Driver {
    Framing framing;
    QVirtioDevice *vdev;
    QGuestAllocator *alloc;
    QTestState *qts;
    QVirtQueue *vq[3];
    uint64_t tag;
    uint32_t used[1024];        /* by the first descriptor; 0: not used */
} Driver;

/* A request in the queue */
typedef struct Request {
    struct virtio_usb_request header;
    const void *out;            /* OUT data */
    uint32_t out_len;
    uint32_t room;              /* for IN data */
    uint32_t header_len;        /* if not the whole header */
    uint32_t result_len;        /* if not the whole result */
    uint64_t result;            /* its address */
    uint32_t head;
} Request;

/* The end of a request */
typedef struct Result {
    uint32_t status;
    uint32_t actual;
    uint32_t used;
    uint8_t data[4096];
} Result;

/*
 * The driver
 */

static void driver_start(Driver *d, QVirtioUSB *usb, QGuestAllocator *alloc)
{
    uint64_t features;
    int i;

    memset(d, 0, sizeof(*d));
    d->vdev = usb->vdev;
    d->alloc = alloc;
    d->qts = global_qtest;
    qvirtio_start_device(d->vdev);
    features = qvirtio_get_features(d->vdev);
    g_assert_true(features & (1ull << VIRTIO_USB_F_DRAFT0));
    features &= (1ull << VIRTIO_USB_F_DRAFT0) | (1ull << VIRTIO_F_VERSION_1) |
                more_features;
    qvirtio_set_features(d->vdev, features);
    for (i = 0; i < ARRAY_SIZE(d->vq); i++) {
        d->vq[i] = qvirtqueue_setup(d->vdev, alloc, i);
    }
    qvirtio_set_driver_ok(d->vdev);
}

static void driver_stop(Driver *d)
{
    int i;

    qvirtio_reset(d->vdev);
    for (i = 0; i < ARRAY_SIZE(d->vq); i++) {
        qvirtqueue_cleanup(d->vdev->bus, d->vq[i], d->alloc);
    }
}

static bool is_broken(Driver *d)
{
    return d->vdev->bus->get_status(d->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void wait_until_broken(Driver *d)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (!is_broken(d)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        qtest_clock_step(d->qts, 100);
    }
}

/* Wait for any used buffer of queue @nr */
static uint32_t wait_used(Driver *d, int nr, uint32_t *head)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    uint32_t len;

    while (!qvirtqueue_get_buf(d->qts, d->vq[nr], head, &len)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_assert_false(is_broken(d));
        qtest_clock_step(d->qts, 100);
    }
    return len;
}

/* Send a command with these lengths of its parts */
static void command_send(Driver *d, const struct virtio_usb_command *cmd,
                         uint32_t out, uint32_t in, uint64_t *answer)
{
    QVirtQueue *vq = d->vq[VIRTIO_USB_VQ_CONTROL];
    uint64_t addr = guest_alloc(d->alloc, 64);
    uint32_t head;

    /* One at a time, so each can have the first descriptors */
    vq->free_head = 0;
    vq->num_free = vq->size;
    *answer = addr + 32;
    qtest_memwrite(d->qts, addr, cmd, sizeof(*cmd));
    qtest_memset(d->qts, addr + 32, 0xee, 32);
    head = qvirtqueue_add(d->qts, vq, addr, out, false, in > 0);
    if (in) {
        qvirtqueue_add(d->qts, vq, addr + 32, in, true, false);
    }
    qvirtqueue_kick(d->qts, d->vdev, vq, head);
}

static struct virtio_usb_answer command_answer(Driver *d, uint64_t addr)
{
    struct virtio_usb_answer answer;
    uint32_t head;

    g_assert_cmpuint(wait_used(d, VIRTIO_USB_VQ_CONTROL, &head), ==,
                     sizeof(answer));
    qtest_memread(d->qts, addr, &answer, sizeof(answer));
    answer.status = le32_to_cpu(answer.status);
    answer.value = le32_to_cpu(answer.value);
    answer.seq = le32_to_cpu(answer.seq);
    guest_free(d->alloc, addr - 32);
    return answer;
}

static struct virtio_usb_answer command(Driver *d, uint16_t cmd, uint8_t port,
                                        uint8_t addr, uint8_t ep, uint64_t arg)
{
    struct virtio_usb_command wire = {
        .cmd = cpu_to_le16(cmd),
        .port = port,
        .addr = addr,
        .ep = ep,
        .arg = cpu_to_le64(arg),
    };
    uint64_t answer;

    command_send(d, &wire, sizeof(wire), sizeof(struct virtio_usb_answer),
                 &answer);
    return command_answer(d, answer);
}

#define assert_command(d, expected, ...) \
    g_assert_cmpuint(command(d, __VA_ARGS__).status, ==, expected)

static void post_event(Driver *d, uint32_t len)
{
    QVirtQueue *vq = d->vq[VIRTIO_USB_VQ_EVENT];
    uint64_t addr = guest_alloc(d->alloc, 16);
    uint32_t head = qvirtqueue_add(d->qts, vq, addr, len, true, false);

    qvirtqueue_kick(d->qts, d->vdev, vq, head);
}

static struct virtio_usb_event take_event(Driver *d)
{
    QVirtQueue *vq = d->vq[VIRTIO_USB_VQ_EVENT];
    struct virtio_usb_event event;
    uint64_t addr;
    uint32_t head;

    g_assert_cmpuint(wait_used(d, VIRTIO_USB_VQ_EVENT, &head), ==,
                     sizeof(event));
    addr = qtest_readq(d->qts, vq->desc + 16 * head);
    qtest_memread(d->qts, addr, &event, sizeof(event));
    guest_free(d->alloc, addr);
    event.type = le16_to_cpu(event.type);
    event.status = le32_to_cpu(event.status);
    event.seq = le32_to_cpu(event.seq);
    g_assert_cmpuint(event.type, ==, VIRTIO_USB_EVENT_PORT);
    return event;
}

/* Post a buffer, and take the event that is owed */
static struct virtio_usb_event next_event(Driver *d)
{
    post_event(d, sizeof(struct virtio_usb_event));
    return take_event(d);
}

static bool has_event(Driver *d)
{
    uint32_t head;

    return qvirtqueue_get_buf(d->qts, d->vq[VIRTIO_USB_VQ_EVENT], &head, NULL);
}

/* All that was to do is done when the device answers a command */
static void settle(Driver *d)
{
    int i;

    for (i = 0; i < 2; i++) {
        assert_command(d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_PORT_STATUS, 1, 0, 0,
                       0);
    }
}

/*
 * Add the @len bytes at @addr, of which @first are the header or the result, to
 * a chain. Returns its first descriptor here.
 */
static uint32_t add_framed(Driver *d, uint64_t addr, uint32_t first,
                           uint32_t len, bool write, bool more)
{
    QVirtQueue *vq = d->vq[VIRTIO_USB_VQ_REQUEST];
    uint32_t cuts[] = { first, first + 3 };
    uint32_t head = UINT32_MAX, from = 0, index;
    int i;

    if (d->framing == TOGETHER || d->framing == SPARE) {
        cuts[0] = cuts[1] = 0;
    } else if (d->framing == STRADDLING) {
        cuts[0] = cuts[1] = first + 1;
    }
    for (i = 0; i <= ARRAY_SIZE(cuts); i++) {
        uint32_t to = i < ARRAY_SIZE(cuts) ? MIN(cuts[i], len) : len;

        if (to > from) {
            bool spare = to == len && len > first && d->framing == SPARE;

            index = qvirtqueue_add(d->qts, vq, addr + from,
                                   to - from + (spare ? SPARE_BYTES : 0), write,
                                   more || to < len);
            head = MIN(head, index);
            from = to;
        }
    }
    return head;
}

static void submit(Driver *d, Request *r)
{
    QVirtQueue *vq = d->vq[VIRTIO_USB_VQ_REQUEST];
    uint32_t header = r->header_len ?: sizeof(r->header);
    uint32_t result = r->result_len ?: sizeof(struct virtio_usb_result);
    uint64_t addr = guest_alloc(d->alloc, sizeof(r->header) + r->out_len +
                                sizeof(struct virtio_usb_result) + r->room +
                                2 * SPARE_BYTES);

    if (!r->header.tag) {
        r->header.tag = cpu_to_le64(++d->tag);
    }
    r->result = addr + sizeof(r->header) + r->out_len + SPARE_BYTES;
    qtest_memwrite(d->qts, addr, &r->header, sizeof(r->header));
    if (r->out_len) {
        qtest_memwrite(d->qts, addr + sizeof(r->header), r->out, r->out_len);
    }
    qtest_memset(d->qts, r->result, 0xee,
                 sizeof(struct virtio_usb_result) + r->room);
    r->head = add_framed(d, addr, header, header + r->out_len, false,
                         result != UINT32_MAX);
    if (result != UINT32_MAX) {
        add_framed(d, r->result, result, result + r->room, true, false);
    }
    d->used[r->head] = 0;
    qvirtqueue_kick(d->qts, d->vdev, vq, r->head);
}

/* Has the device used the request? */
static bool is_done(Driver *d, Request *r)
{
    uint32_t head, len;

    while (qvirtqueue_get_buf(d->qts, d->vq[VIRTIO_USB_VQ_REQUEST], &head,
                              &len)) {
        g_assert_cmpuint(d->used[head], ==, 0);
        d->used[head] = len;
    }
    return d->used[r->head];
}

static Result *wait_for(Driver *d, Request *r)
{
    static Result result;
    struct virtio_usb_result wire;
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (!is_done(d, r)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_assert_false(is_broken(d));
        qtest_clock_step(d->qts, 100);
    }
    qtest_memread(d->qts, r->result, &wire, sizeof(wire));
    result.status = le32_to_cpu(wire.status);
    result.actual = le32_to_cpu(wire.actual);
    result.used = d->used[r->head];
    if (r->room) {
        g_assert_cmpuint(result.used, ==, sizeof(wire) + result.actual);
        qtest_memread(d->qts, r->result + sizeof(wire), result.data,
                      MIN(r->room, sizeof(result.data)));
    } else {
        g_assert_cmpuint(result.used, ==, sizeof(wire));
    }
    return &result;
}

#define assert_result(d, r, expected) \
    g_assert_cmpuint(wait_for(d, r)->status, ==, expected)

/* A control transfer, without waiting for its end */
static Request control_request(uint8_t port, uint8_t addr, uint8_t type,
                               uint8_t request, uint16_t value, uint16_t index,
                               uint16_t length)
{
    Request r = {
        .header = {
            .port = port,
            .addr = addr,
            .type = VIRTIO_USB_TYPE_CONTROL,
            .length = cpu_to_le32(length),
            .setup = { type, request },
        },
        .room = type & 0x80 ? length : 0,
    };

    stw_le_p(&r.header.setup[2], value);
    stw_le_p(&r.header.setup[4], index);
    stw_le_p(&r.header.setup[6], length);
    return r;
}

static Result *control(Driver *d, uint8_t port, uint8_t addr, uint8_t type,
                       uint8_t request, uint16_t value, uint16_t index,
                       uint16_t length)
{
    Request r = control_request(port, addr, type, request, value, index,
                                length);

    submit(d, &r);
    return wait_for(d, &r);
}

static Request data_request(uint8_t port, uint8_t addr, uint8_t type,
                            uint8_t ep, const void *out, uint32_t length)
{
    bool in = ep & VIRTIO_USB_EP_IN;
    Request r = {
        .header = {
            .port = port,
            .addr = addr,
            .ep = ep,
            .type = type,
            .length = cpu_to_le32(length),
        },
        .out = out,
        .out_len = in ? 0 : length,
        .room = in ? length : 0,
    };

    return r;
}

/* Power and reset the port */
static void port_up(Driver *d, uint8_t port, uint8_t speed)
{
    struct virtio_usb_answer answer;

    assert_command(d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_PORT_POWER, port, 0, 0,
                   1);
    answer = command(d, VIRTIO_USB_CMD_PORT_RESET, port, 0, 0, 0);
    g_assert_cmpuint(answer.status, ==, VIRTIO_USB_S_OK);
    g_assert_cmpuint(answer.value, ==, VIRTIO_USB_PORT_CONNECTED |
                     VIRTIO_USB_PORT_ENABLED | VIRTIO_USB_PORT_POWERED);
    g_assert_cmpuint(answer.speed, ==, speed);
}

static void set_address(Driver *d, uint8_t port, uint8_t addr)
{
    g_assert_cmpuint(control(d, port, 0, 0, 5, addr, 0, 0)->status, ==,
                     VIRTIO_USB_S_OK);
    g_assert_cmpuint(control(d, port, addr, 0, 9, 1, 0, 0)->status, ==,
                     VIRTIO_USB_S_OK);
}

static void plug(Driver *d, const char *driver, const char *id,
                 const char *port)
{
    qtest_qmp_device_add(d->qts, driver, id, "{'bus': 'vusb.0', 'port': %s}",
                         port);
}

static void unplug(Driver *d, const char *id)
{
    qtest_qmp_device_del(d->qts, id);
}

static void move_tablet(Driver *d, int x)
{
    qtest_qmp_assert_success(d->qts, "{'execute': 'input-send-event',"
        " 'arguments': {'events': [{'type': 'abs', 'data':"
        " {'axis': 'x', 'value': %d}}]}}", x);
}

static void tablet_up(Driver *d)
{
    plug(d, "usb-tablet", "tab", "1");
    port_up(d, 1, VIRTIO_USB_SPEED_HIGH);
    set_address(d, 1, 2);
}

static Request tablet_request(void)
{
    return data_request(1, 2, VIRTIO_USB_TYPE_INT, HS_HID_EP, NULL, 8);
}

/*
 * Tests
 */

static void test_config(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioUSB *usb = obj;
    QVirtioDevice *vdev = usb->vdev;
    Driver d;

    driver_start(&d, usb, alloc);
    g_assert_cmpuint(qvirtio_config_readb(vdev, 0), ==, 8);
    g_assert_cmpuint(qvirtio_config_readb(vdev, 1), ==, 1);
    g_assert_cmpuint(qvirtio_config_readw(vdev, 2), ==, 0);
    g_assert_cmpuint(qvirtio_config_readl(vdev, 4), ==, 1022);
    g_assert_cmpuint(qvirtio_config_readl(vdev, 8), ==, 16 * 1024 * 1024);
    g_assert_cmpuint(qvirtio_config_readl(vdev, 12), ==, 0);
    driver_stop(&d);

    /* Another driver of a device with this number is left alone */
    qvirtio_start_device(vdev);
    vdev->bus->set_features(vdev, 1ull << VIRTIO_F_VERSION_1);
    vdev->bus->set_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE |
                          VIRTIO_CONFIG_S_DRIVER |
                          VIRTIO_CONFIG_S_FEATURES_OK);
    g_assert_cmpuint(vdev->bus->get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK,
                     ==, 0);
    qvirtio_reset(vdev);
}

static void test_ports(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_usb_answer answer;
    struct virtio_usb_event event;
    Driver d;
    int i;

    driver_start(&d, obj, alloc);
    /* Each port is owed once */
    for (i = 1; i <= 8; i++) {
        event = next_event(&d);
        g_assert_cmpuint(event.port, ==, i);
        g_assert_cmpuint(event.status, ==, 0);
        g_assert_cmpuint(event.speed, ==, VIRTIO_USB_SPEED_NONE);
        g_assert_cmpuint(event.seq, ==, 0);
    }
    post_event(&d, 16);
    settle(&d);
    g_assert_false(has_event(&d));

    /* Without power, nothing is seen but that something happened */
    plug(&d, "usb-tablet", "tab", "3");
    event = take_event(&d);
    g_assert_cmpuint(event.port, ==, 3);
    g_assert_cmpuint(event.status, ==, 0);
    g_assert_cmpuint(event.seq, ==, 1);
    assert_command(&d, VIRTIO_USB_S_NODEV, VIRTIO_USB_CMD_PORT_RESET, 3, 0, 0,
                   0);

    answer = command(&d, VIRTIO_USB_CMD_PORT_POWER, 3, 0, 0, 1);
    g_assert_cmpuint(answer.status, ==, VIRTIO_USB_S_OK);
    g_assert_cmpuint(answer.value, ==,
                     VIRTIO_USB_PORT_CONNECTED | VIRTIO_USB_PORT_POWERED);
    g_assert_cmpuint(answer.speed, ==, VIRTIO_USB_SPEED_HIGH);
    g_assert_cmpuint(answer.seq, ==, 1);
    event = next_event(&d);
    g_assert_cmpuint(event.port, ==, 3);
    g_assert_cmpuint(event.status, ==, answer.value);
    g_assert_cmpuint(event.speed, ==, VIRTIO_USB_SPEED_HIGH);

    /* Connected is not enabled */
    g_assert_cmpuint(control(&d, 3, 0, 0x80, 6, 0x100, 0, 18)->status, ==,
                     VIRTIO_USB_S_NODEV);
    port_up(&d, 3, VIRTIO_USB_SPEED_HIGH);
    g_assert_cmpuint(control(&d, 3, 0, 0x80, 6, 0x100, 0, 18)->status, ==,
                     VIRTIO_USB_S_OK);
    answer = command(&d, VIRTIO_USB_CMD_PORT_DISABLE, 3, 0, 0, 0);
    g_assert_cmpuint(answer.value, ==,
                     VIRTIO_USB_PORT_CONNECTED | VIRTIO_USB_PORT_POWERED);
    g_assert_cmpuint(control(&d, 3, 0, 0x80, 6, 0x100, 0, 18)->status, ==,
                     VIRTIO_USB_S_NODEV);

    /* A reset of the device takes power and the count */
    driver_stop(&d);
    driver_start(&d, obj, alloc);
    answer = command(&d, VIRTIO_USB_CMD_PORT_STATUS, 3, 0, 0, 0);
    g_assert_cmpuint(answer.value, ==, 0);
    g_assert_cmpuint(answer.seq, ==, 0);
    unplug(&d, "tab");
    driver_stop(&d);
}

/* Whatever happens without a buffer is one event, with the state of the end */
static void test_owed(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_usb_event event;
    Driver d;
    int i;

    driver_start(&d, obj, alloc);
    for (i = 0; i < 8; i++) {
        next_event(&d);
    }
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_PORT_POWER, 1, 0, 0, 1);
    for (i = 0; i < 3; i++) {
        plug(&d, "usb-tablet", "tab", "1");
        unplug(&d, "tab");
    }
    plug(&d, "usb-tablet", "tab", "1");
    event = next_event(&d);
    g_assert_cmpuint(event.port, ==, 1);
    g_assert_cmpuint(event.seq, ==, 7);
    g_assert_cmpuint(event.status, ==,
                     VIRTIO_USB_PORT_CONNECTED | VIRTIO_USB_PORT_POWERED);
    post_event(&d, 16);
    settle(&d);
    g_assert_false(has_event(&d));
    unplug(&d, "tab");
    event = take_event(&d);
    g_assert_cmpuint(event.seq, ==, 8);
    g_assert_cmpuint(event.status, ==, VIRTIO_USB_PORT_POWERED);
    driver_stop(&d);
}

static void test_tablet(void *obj, void *data, QGuestAllocator *alloc)
{
    Request r, second;
    Result *result;
    Driver d;

    driver_start(&d, obj, alloc);
    plug(&d, "usb-tablet", "tab", "1");
    port_up(&d, 1, VIRTIO_USB_SPEED_HIGH);
    result = control(&d, 1, 0, 0x80, 6, 0x100, 0, 64);
    g_assert_cmpuint(result->status, ==, VIRTIO_USB_S_OK);
    g_assert_cmpuint(result->actual, ==, 18);
    g_assert_cmphex(lduw_le_p(&result->data[8]), ==, 0x0627);
    set_address(&d, 1, 2);
    /* The old address is no device's */
    g_assert_cmpuint(control(&d, 1, 0, 0x80, 6, 0x100, 0, 18)->status, ==,
                     VIRTIO_USB_S_NODEV);
    /* A report waits until there is a motion */
    r = tablet_request();
    second = tablet_request();
    submit(&d, &r);
    submit(&d, &second);
    settle(&d);
    g_assert_false(is_done(&d, &r));
    move_tablet(&d, 0x1234);
    result = wait_for(&d, &r);
    g_assert_cmpuint(result->status, ==, VIRTIO_USB_S_OK);
    g_assert_cmpuint(result->actual, ==, 6);
    g_assert_cmphex(lduw_le_p(&result->data[1]), ==, 0x1234);
    settle(&d);
    g_assert_false(is_done(&d, &second));
    move_tablet(&d, 0x2345);
    result = wait_for(&d, &second);
    g_assert_cmphex(lduw_le_p(&result->data[1]), ==, 0x2345);
    /* A short report can be an error */
    r = tablet_request();
    r.header.flags = cpu_to_le16(VIRTIO_USB_REQ_SHORT_NOT_OK);
    submit(&d, &r);
    move_tablet(&d, 0x3456);
    result = wait_for(&d, &r);
    g_assert_cmpuint(result->status, ==, VIRTIO_USB_S_SHORT);
    g_assert_cmpuint(result->actual, ==, 6);
    unplug(&d, "tab");
    driver_stop(&d);
}

/* An endpoint stops with each request that ends with another status than OK */
static void test_stop(void *obj, void *data, QGuestAllocator *alloc)
{
    Request r[4];
    Driver d;
    int i;

    driver_start(&d, obj, alloc);
    tablet_up(&d);
    for (i = 0; i < 4; i++) {
        r[i] = tablet_request();
        submit(&d, &r[i]);
    }
    /* A cancel that finds nothing is fine */
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_CANCEL, 0, 0, 0, 999);
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_CANCEL, 0, 0, 0,
                   le64_to_cpu(r[1].header.tag));
    assert_result(&d, &r[1], VIRTIO_USB_S_CANCELED);
    move_tablet(&d, 1);
    settle(&d);
    g_assert_false(is_done(&d, &r[0]));
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_EP_RESTART, 1, 2,
                   HS_HID_EP, 0);
    assert_result(&d, &r[0], VIRTIO_USB_S_OK);
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_CANCEL, 0, 0, 0,
                   le64_to_cpu(r[2].header.tag));
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_EP_RESTART, 1, 2,
                   HS_HID_EP, 0);
    move_tablet(&d, 2);
    assert_result(&d, &r[2], VIRTIO_USB_S_CANCELED);
    assert_result(&d, &r[3], VIRTIO_USB_S_OK);

    /* Each of them stops it once */
    for (i = 0; i < 3; i++) {
        r[i] = tablet_request();
        submit(&d, &r[i]);
    }
    for (i = 0; i < 2; i++) {
        assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_CANCEL, 0, 0, 0,
                       le64_to_cpu(r[i].header.tag));
    }
    move_tablet(&d, 9);
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_EP_RESTART, 1, 2,
                   HS_HID_EP, 0);
    settle(&d);
    g_assert_false(is_done(&d, &r[2]));
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_EP_RESTART, 1, 2,
                   HS_HID_EP, 0);
    assert_result(&d, &r[2], VIRTIO_USB_S_OK);

    /* A stop outlasts an empty queue */
    r[0] = tablet_request();
    submit(&d, &r[0]);
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_EP_FLUSH, 1, 2,
                   HS_HID_EP, 0);
    assert_result(&d, &r[0], VIRTIO_USB_S_CANCELED);
    r[0] = tablet_request();
    submit(&d, &r[0]);
    move_tablet(&d, 3);
    settle(&d);
    g_assert_false(is_done(&d, &r[0]));
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_EP_RESTART, 1, 2,
                   HS_HID_EP, 0);
    assert_result(&d, &r[0], VIRTIO_USB_S_OK);

    /* Control never stops */
    g_assert_cmpuint(control(&d, 1, 2, 0x80, 6, 0x7f00, 0, 18)->status, ==,
                     VIRTIO_USB_S_STALL);
    g_assert_cmpuint(control(&d, 1, 2, 0x80, 6, 0x100, 0, 18)->status, ==,
                     VIRTIO_USB_S_OK);

    /* A reset of the port cancels, and starts what has stopped */
    r[0] = tablet_request();
    r[1] = tablet_request();
    submit(&d, &r[0]);
    submit(&d, &r[1]);
    port_up(&d, 1, VIRTIO_USB_SPEED_HIGH);
    assert_result(&d, &r[0], VIRTIO_USB_S_CANCELED);
    assert_result(&d, &r[1], VIRTIO_USB_S_CANCELED);
    set_address(&d, 1, 2);
    r[0] = tablet_request();
    submit(&d, &r[0]);
    move_tablet(&d, 4);
    assert_result(&d, &r[0], VIRTIO_USB_S_OK);

    r[0] = tablet_request();
    submit(&d, &r[0]);
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_DEV_FLUSH, 1, 2, 0, 0);
    assert_result(&d, &r[0], VIRTIO_USB_S_CANCELED);
    unplug(&d, "tab");
    driver_stop(&d);
}

static void test_gone(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint16_t commands[] = {
        VIRTIO_USB_CMD_PORT_DISABLE, VIRTIO_USB_CMD_PORT_POWER,
    };
    struct virtio_usb_event event;
    Request r[2];
    Driver d;
    int i;

    driver_start(&d, obj, alloc);
    for (i = 0; i < 8; i++) {
        next_event(&d);
    }
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        tablet_up(&d);
        r[0] = tablet_request();
        submit(&d, &r[0]);
        assert_command(&d, VIRTIO_USB_S_OK, commands[i], 1, 0, 0, 0);
        assert_result(&d, &r[0], VIRTIO_USB_S_NODEV);
        unplug(&d, "tab");
    }
    tablet_up(&d);
    next_event(&d);
    r[0] = tablet_request();
    r[1] = tablet_request();
    submit(&d, &r[0]);
    submit(&d, &r[1]);
    post_event(&d, 16);
    unplug(&d, "tab");
    event = take_event(&d);
    /* The requests have ended before the event says so */
    g_assert_true(is_done(&d, &r[0]));
    g_assert_true(is_done(&d, &r[1]));
    assert_result(&d, &r[0], VIRTIO_USB_S_NODEV);
    assert_result(&d, &r[1], VIRTIO_USB_S_NODEV);
    g_assert_cmpuint(event.status, ==, VIRTIO_USB_PORT_POWERED);
    g_assert_cmpuint(control(&d, 1, 2, 0x80, 6, 0x100, 0, 18)->status, ==,
                     VIRTIO_USB_S_NODEV);
    driver_stop(&d);
}

/* After a reset of the controller, the buffers are the driver's */
static void test_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    Request r[3];
    uint8_t first;
    Driver d;
    int i;

    driver_start(&d, obj, alloc);
    tablet_up(&d);
    for (i = 0; i < 3; i++) {
        r[i] = tablet_request();
        submit(&d, &r[i]);
    }
    settle(&d);
    qvirtio_reset(d.vdev);
    move_tablet(&d, 5);
    qtest_clock_step(d.qts, 1000000);
    for (i = 0; i < 3; i++) {
        first = qtest_readb(d.qts, r[i].result);
        g_assert_cmphex(first, ==, 0xee);
    }
    driver_stop(&d);

    driver_start(&d, obj, alloc);
    port_up(&d, 1, VIRTIO_USB_SPEED_HIGH);
    set_address(&d, 1, 2);
    r[0] = tablet_request();
    submit(&d, &r[0]);
    move_tablet(&d, 6);
    assert_result(&d, &r[0], VIRTIO_USB_S_OK);

    /* With requests in the queue, the whole machine */
    r[0] = tablet_request();
    submit(&d, &r[0]);
    settle(&d);
    unplug(&d, "tab");
    driver_stop(&d);
}

typedef struct Invalid {
    const char *what;
    uint32_t status;
    void (*spoil)(Request *r);
} Invalid;

#define INVALID(name, code) \
    static void spoil_##name(Request *r) { code; }

INVALID(type, r->header.type = 4)
INVALID(iso, r->header.type = VIRTIO_USB_TYPE_ISO)
INVALID(other_type, r->header.type = VIRTIO_USB_TYPE_BULK)
INVALID(port_0, r->header.port = 0)
INVALID(port_9, r->header.port = 9)
INVALID(port_empty, r->header.port = 2)
INVALID(addr, r->header.addr = 128)
INVALID(addr_of_none, r->header.addr = 3)
INVALID(ep_0, r->header.ep = VIRTIO_USB_EP_IN)
INVALID(ep_bits, r->header.ep |= 0x10)
INVALID(ep_none, r->header.ep = VIRTIO_USB_EP_IN | 7)
INVALID(stream, r->header.stream = cpu_to_le16(1))
INVALID(flags, r->header.flags = cpu_to_le16(8))
INVALID(length, r->header.length = cpu_to_le32(9))
INVALID(length_max, r->header.length = cpu_to_le32(0xffffffff))
INVALID(header, r->header_len = 31)

static const Invalid invalid[] = {
    { "type", VIRTIO_USB_S_INVAL, spoil_type },
    { "iso", VIRTIO_USB_S_NOTSUPP, spoil_iso },
    { "other type", VIRTIO_USB_S_INVAL, spoil_other_type },
    { "port 0", VIRTIO_USB_S_INVAL, spoil_port_0 },
    { "port 9", VIRTIO_USB_S_INVAL, spoil_port_9 },
    { "empty port", VIRTIO_USB_S_NODEV, spoil_port_empty },
    { "address", VIRTIO_USB_S_INVAL, spoil_addr },
    { "address of none", VIRTIO_USB_S_NODEV, spoil_addr_of_none },
    { "endpoint 0", VIRTIO_USB_S_INVAL, spoil_ep_0 },
    { "bits of the endpoint", VIRTIO_USB_S_INVAL, spoil_ep_bits },
    { "no endpoint", VIRTIO_USB_S_INVAL, spoil_ep_none },
    { "stream", VIRTIO_USB_S_INVAL, spoil_stream },
    { "flags", VIRTIO_USB_S_INVAL, spoil_flags },
    { "length", VIRTIO_USB_S_INVAL, spoil_length },
    { "length of all", VIRTIO_USB_S_INVAL, spoil_length_max },
    { "header", VIRTIO_USB_S_INVAL, spoil_header },
};

static void test_invalid(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint16_t unsupported[] = {
        VIRTIO_USB_CMD_PORT_SUSPEND, VIRTIO_USB_CMD_PORT_RESUME,
        VIRTIO_USB_CMD_STREAMS_ALLOC, VIRTIO_USB_CMD_STREAMS_FREE,
    };
    struct virtio_usb_command cmd = {
        .cmd = cpu_to_le16(VIRTIO_USB_CMD_PORT_STATUS),
        .port = 1,
    };
    uint64_t answer;
    Request r, second;
    Driver d;
    int i;

    driver_start(&d, obj, alloc);
    tablet_up(&d);
    for (i = 0; i < ARRAY_SIZE(invalid); i++) {
        r = tablet_request();
        invalid[i].spoil(&r);
        submit(&d, &r);
        if (wait_for(&d, &r)->status != invalid[i].status) {
            g_test_message("'%s'", invalid[i].what);
            g_assert_cmpuint(wait_for(&d, &r)->status, ==, invalid[i].status);
        }
    }
    /* None of these has stopped the endpoint */
    r = tablet_request();
    submit(&d, &r);
    move_tablet(&d, 7);
    assert_result(&d, &r, VIRTIO_USB_S_OK);

    /* A tag is one request's */
    r = tablet_request();
    submit(&d, &r);
    second = tablet_request();
    second.header.tag = r.header.tag;
    submit(&d, &second);
    assert_result(&d, &second, VIRTIO_USB_S_INVAL);
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_CANCEL, 0, 0, 0,
                   le64_to_cpu(r.header.tag));
    assert_result(&d, &r, VIRTIO_USB_S_CANCELED);

    /* Control: the length, no request at all, a long one */
    r = control_request(1, 2, 0x80, 6, 0x100, 0, 18);
    r.header.length = cpu_to_le32(17);
    submit(&d, &r);
    assert_result(&d, &r, VIRTIO_USB_S_INVAL);
    r = control_request(1, 2, 0x80, 6, 0x100, 0, 18);
    r.header.ep = 1;
    submit(&d, &r);
    assert_result(&d, &r, VIRTIO_USB_S_INVAL);
    g_assert_cmpuint(control(&d, 1, 2, 0, 0, 0, 0, 0)->status, ==,
                     VIRTIO_USB_S_STALL);
    g_assert_cmpuint(control(&d, 1, 2, 0x80, 6, 0x100, 0, 4097)->status, ==,
                     VIRTIO_USB_S_STALL);

    assert_command(&d, VIRTIO_USB_S_INVAL, 0, 1, 0, 0, 0);
    assert_command(&d, VIRTIO_USB_S_INVAL, 0xffff, 1, 0, 0, 0);
    assert_command(&d, VIRTIO_USB_S_INVAL, VIRTIO_USB_CMD_PORT_STATUS, 0, 0, 0,
                   0);
    assert_command(&d, VIRTIO_USB_S_INVAL, VIRTIO_USB_CMD_PORT_RESET, 9, 0, 0,
                   0);
    assert_command(&d, VIRTIO_USB_S_INVAL, VIRTIO_USB_CMD_PORT_POWER, 1, 0, 0,
                   2);
    assert_command(&d, VIRTIO_USB_S_INVAL, VIRTIO_USB_CMD_EP_RESTART, 1, 2,
                   0x11, 0);
    assert_command(&d, VIRTIO_USB_S_INVAL, VIRTIO_USB_CMD_EP_FLUSH, 1, 128,
                   HS_HID_EP, 0);
    assert_command(&d, VIRTIO_USB_S_NODEV, VIRTIO_USB_CMD_EP_RESTART, 1, 3,
                   HS_HID_EP, 0);
    for (i = 0; i < ARRAY_SIZE(unsupported); i++) {
        assert_command(&d, VIRTIO_USB_S_NOTSUPP, unsupported[i], 1, 2, 0, 0);
    }
    command_send(&d, &cmd, 15, 16, &answer);
    g_assert_cmpuint(command_answer(&d, answer).status, ==,
                     VIRTIO_USB_S_INVAL);
    unplug(&d, "tab");
    driver_stop(&d);
}

/* A buffer that has no room for a status breaks the device, until a reset */
static void test_broken(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_usb_command cmd = {
        .cmd = cpu_to_le16(VIRTIO_USB_CMD_PORT_STATUS),
        .port = 1,
    };
    uint64_t answer;
    Request r, waiting;
    Driver d;
    int i;

    for (i = 0; i < 5; i++) {
        driver_start(&d, obj, alloc);
        tablet_up(&d);
        waiting = tablet_request();
        submit(&d, &waiting);
        settle(&d);
        r = control_request(1, 2, 0x80, 6, 0x100, 0, 0);
        switch (i) {
        case 0:
            r.result_len = 15;
            submit(&d, &r);
            break;
        case 1:
            r.result_len = UINT32_MAX;
            submit(&d, &r);
            break;
        case 2:
            command_send(&d, &cmd, 16, 15, &answer);
            break;
        case 3:
            command_send(&d, &cmd, 16, 0, &answer);
            break;
        case 4:
            post_event(&d, 15);
            break;
        }
        wait_until_broken(&d);
        move_tablet(&d, 8);
        unplug(&d, "tab");
        driver_stop(&d);
    }
}

static void test_many(void *obj, void *data, QGuestAllocator *alloc)
{
    g_autofree Request *r = g_new0(Request, 250);
    Driver d;
    int i;

    driver_start(&d, obj, alloc);
    tablet_up(&d);
    for (i = 0; i < 250; i++) {
        r[i] = tablet_request();
        r[i].header.length = cpu_to_le32(0);
        r[i].room = 0;
        submit(&d, &r[i]);
    }
    for (i = 0; i < 250; i++) {
        assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_CANCEL, 0, 0, 0,
                       le64_to_cpu(r[i].header.tag));
        assert_result(&d, &r[i], VIRTIO_USB_S_CANCELED);
    }
    unplug(&d, "tab");
    driver_stop(&d);
}

/*
 * usb-storage: 31 bytes OUT, data, 13 bytes IN
 */

static void storage_command(Driver *d, uint8_t opcode, uint32_t sector,
                            uint16_t sectors, bool in, Request *cbw)
{
    static uint8_t cb[31];
    uint32_t tag = 0x12345678;

    memset(cb, 0, sizeof(cb));
    memcpy(cb, "USBC", 4);
    stl_le_p(&cb[4], tag);
    stl_le_p(&cb[8], sectors * 512);
    cb[12] = in ? 0x80 : 0;
    cb[14] = 10;
    cb[15] = opcode;
    stl_be_p(&cb[17], sector);
    stw_be_p(&cb[22], sectors);
    *cbw = data_request(1, 2, VIRTIO_USB_TYPE_BULK, 2, cb, sizeof(cb));
    submit(d, cbw);
}

static void storage_up(Driver *d, const char *node)
{
    qtest_qmp_device_add(d->qts, "usb-storage", "disk",
                         "{'bus': 'vusb.0', 'port': '1', 'drive': %s}", node);
    port_up(d, 1, VIRTIO_USB_SPEED_HIGH);
    set_address(d, 1, 2);
}

/* The node is free when the disk's last request has ended */
static void node_del(Driver *d, const char *node)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    bool deleted = false;

    while (!deleted) {
        QDict *response = qtest_qmp(d->qts, "{'execute': 'blockdev-del',"
                                    " 'arguments': {'node-name': %s}}", node);

        deleted = qdict_haskey(response, "return");
        qobject_unref(response);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

static void storage_down(Driver *d, const char *node)
{
    unplug(d, "disk");
    node_del(d, node);
}

static void storage_rw(Driver *d, bool read, uint8_t *sectors)
{
    Request cbw, data, csw;
    Result *result;

    /* All of a command can be in the queue at once */
    storage_command(d, read ? 0x28 : 0x2a, 5, 4, read, &cbw);
    data = data_request(1, 2, VIRTIO_USB_TYPE_BULK,
                        read ? VIRTIO_USB_EP_IN | 1 : 2, sectors, 2048);
    submit(d, &data);
    csw = data_request(1, 2, VIRTIO_USB_TYPE_BULK, VIRTIO_USB_EP_IN | 1, NULL,
                       13);
    submit(d, &csw);
    assert_result(d, &cbw, VIRTIO_USB_S_OK);
    result = wait_for(d, &data);
    g_assert_cmpuint(result->status, ==, VIRTIO_USB_S_OK);
    g_assert_cmpuint(result->actual, ==, 2048);
    if (read) {
        memcpy(sectors, result->data, 2048);
    }
    result = wait_for(d, &csw);
    g_assert_cmpuint(result->status, ==, VIRTIO_USB_S_OK);
    g_assert_cmpuint(result->actual, ==, 13);
    g_assert_cmpuint(result->data[12], ==, 0);
}

static void test_storage(void *obj, void *data, QGuestAllocator *alloc)
{
    g_autofree char *path = NULL;
    uint8_t out[2048], in[2048];
    Request r;
    Driver d;
    int fd, i;

    fd = g_file_open_tmp("virtio-usb-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 1024 * 1024), ==, 0);
    driver_start(&d, obj, alloc);
    qtest_qmp_assert_success(d.qts, "{'execute': 'blockdev-add', 'arguments':"
        " {'driver': 'file', 'node-name': 'img', 'filename': %s}}", path);
    storage_up(&d, "img");
    /* The first command of a new medium ends with a unit attention */
    for (i = 0; i < 2; i++) {
        storage_command(&d, 0x00, 0, 0, false, &r);
        assert_result(&d, &r, VIRTIO_USB_S_OK);
        r = data_request(1, 2, VIRTIO_USB_TYPE_BULK, VIRTIO_USB_EP_IN | 1, NULL,
                         13);
        submit(&d, &r);
        assert_result(&d, &r, VIRTIO_USB_S_OK);
    }
    for (d.framing = 0; d.framing < FRAMINGS; d.framing++) {
        for (i = 0; i < sizeof(out); i++) {
            out[i] = i * 7 + i / 256 + d.framing;
        }
        storage_rw(&d, false, out);
        storage_rw(&d, true, in);
        g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
        g_assert_cmpint(pread(fd, in, sizeof(in), 5 * 512), ==, sizeof(in));
        g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    }
    d.framing = APART;

    /* A wrong CBW is a STALL, and the endpoint stops with it */
    r = data_request(1, 2, VIRTIO_USB_TYPE_BULK, 2, out, 30);
    submit(&d, &r);
    assert_result(&d, &r, VIRTIO_USB_S_STALL);
    storage_command(&d, 0x00, 0, 0, false, &r);
    settle(&d);
    g_assert_false(is_done(&d, &r));
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_EP_RESTART, 1, 2, 2, 0);
    assert_result(&d, &r, VIRTIO_USB_S_OK);

    storage_down(&d, "img");
    driver_stop(&d);
    close(fd);
    unlink(path);
}

/* Lengths of the OUT packets of endpoint @ep, of which QEMU kept a record */
static GArray *out_packets(const char *pcap, uint8_t ep)
{
    GArray *lengths = g_array_new(false, false, sizeof(uint32_t));
    g_autofree char *bytes = NULL;
    gsize size, at;

    g_assert_true(g_file_get_contents(pcap, &bytes, &size, NULL));
    /* Behind the file's header: a record's, and that of Linux' usbmon */
    for (at = 24; at + 16 + 64 <= size; ) {
        const char *record = bytes + at + 16;
        uint32_t captured, length;

        memcpy(&captured, bytes + at + 8, sizeof(captured));
        memcpy(&length, record + 32, sizeof(length));
        if (record[8] == 'S' && (uint8_t)record[10] == ep) {
            g_array_append_val(lengths, length);
        }
        at += 16 + captured;
    }
    return lengths;
}

/* The data end with an empty packet, if they fill their last packet */
static void test_zero_packet(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint32_t packets[] = { 64, 0, 64, 63, 128, 0 };
    g_autofree char *path = NULL;
    uint8_t out[128] = { 0 };
    Result *result;
    GArray *lengths;
    Request r;
    Driver d;
    int fd;

    fd = g_file_open_tmp("virtio-usb-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    /* Tests share a QEMU, and test_bytes() has a chardev as well */
    qtest_qmp_assert_success(global_qtest, "{'execute': 'chardev-add',"
        " 'arguments': {'id': 'zero', 'backend': {'type': 'null', 'data': {}}}}");
    driver_start(&d, obj, alloc);
    qtest_qmp_device_add(d.qts, "usb-serial", "serial",
                         "{'bus': 'vusb.0', 'port': '1', 'chardev': 'zero',"
                         " 'always-plugged': true, 'pcap': %s}", path);
    port_up(&d, 1, VIRTIO_USB_SPEED_FULL);
    set_address(&d, 1, 2);
    for (d.framing = 0; d.framing < FRAMINGS; d.framing++) {
        const uint32_t sizes[] = { 64, 64, 63, 128 };
        int i;

        for (i = 0; i < ARRAY_SIZE(sizes); i++) {
            r = data_request(1, 2, VIRTIO_USB_TYPE_BULK, 2, out, sizes[i]);
            if (i != 1) {
                r.header.flags = cpu_to_le16(VIRTIO_USB_REQ_ZERO_PACKET);
            }
            submit(&d, &r);
            result = wait_for(&d, &r);
            g_assert_cmpuint(result->status, ==, VIRTIO_USB_S_OK);
            g_assert_cmpuint(result->actual, ==, sizes[i]);
        }
    }
    unplug(&d, "serial");
    driver_stop(&d);

    lengths = out_packets(path, 2);
    g_assert_cmpuint(lengths->len, ==, FRAMINGS * ARRAY_SIZE(packets));
    for (fd = 0; fd < lengths->len; fd++) {
        g_assert_cmpuint(g_array_index(lengths, uint32_t, fd), ==,
                         packets[fd % ARRAY_SIZE(packets)]);
    }
    g_array_free(lengths, true);
    unlink(path);
}

/* Make @count buffers of @heads available, without a word to the device */
static void make_available(Driver *d, int nr, const uint32_t *heads, int count)
{
    QVirtQueue *vq = d->vq[nr];
    uint16_t idx = qtest_readw(d->qts, vq->avail + 2);
    int i;

    for (i = 0; i < count; i++) {
        qtest_writew(d->qts, vq->avail + 4 + 2 * ((idx + i) % vq->size),
                     heads[i]);
    }
    qtest_writew(d->qts, vq->avail + 2, idx + count);
}

/* A driver that notifies only where the device asks for it */
static void test_event_idx(void *obj, void *data, QGuestAllocator *alloc)
{
    more_features = 1ull << VIRTIO_RING_F_EVENT_IDX;
    test_storage(obj, data, alloc);
    test_many(obj, data, alloc);
    more_features = 0;
}

/*
 * Bytes are bounded in a run of the device, as a USB device may copy them: what
 * is beyond waits for the next run, and can be cancelled until then.
 */
static void test_bytes(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { COUNT = 8, PIECE = 1 << 20, PIECES = 16 };
    struct virtio_usb_request header = {
        .port = 1, .addr = 2, .ep = 2, .type = VIRTIO_USB_TYPE_BULK,
        .length = cpu_to_le32(PIECE * PIECES),
    };
    struct virtio_usb_command cancel = {
        .cmd = cpu_to_le16(VIRTIO_USB_CMD_CANCEL),
        .arg = cpu_to_le64(1000 + COUNT - 1),
    };
    uint32_t heads[COUNT], head, status;
    uint64_t piece, addr, results[COUNT], answer;
    Driver d;
    int i, j;

    qtest_qmp_assert_success(global_qtest, "{'execute': 'chardev-add',"
        " 'arguments': {'id': 'null', 'backend': {'type': 'null', 'data': {}}}}");
    driver_start(&d, obj, alloc);
    qtest_qmp_device_add(d.qts, "usb-serial", "serial",
                         "{'bus': 'vusb.0', 'port': '1', 'chardev': 'null',"
                         " 'always-plugged': true}");
    port_up(&d, 1, VIRTIO_USB_SPEED_FULL);
    set_address(&d, 1, 2);
    /* The same memory, again and again */
    piece = guest_alloc(alloc, PIECE);
    for (i = 0; i < COUNT; i++) {
        QVirtQueue *vq = d.vq[VIRTIO_USB_VQ_REQUEST];

        addr = guest_alloc(alloc, 64);
        header.tag = cpu_to_le64(1000 + i);
        qtest_memwrite(d.qts, addr, &header, sizeof(header));
        results[i] = addr + 32;
        heads[i] = qvirtqueue_add(d.qts, vq, addr, 32, false, true);
        for (j = 0; j < PIECES; j++) {
            qvirtqueue_add(d.qts, vq, piece, PIECE, false, true);
        }
        qvirtqueue_add(d.qts, vq, results[i], 16, true, false);
    }
    make_available(&d, VIRTIO_USB_VQ_REQUEST, heads, COUNT);
    command_send(&d, &cancel, sizeof(cancel), sizeof(struct virtio_usb_answer),
                 &answer);
    command_answer(&d, answer);
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_EP_RESTART, 1, 2, 2, 0);
    for (i = 0; i < COUNT; i++) {
        wait_used(&d, VIRTIO_USB_VQ_REQUEST, &head);
    }
    for (i = 0; i < COUNT; i++) {
        status = qtest_readl(d.qts, results[i]);
        g_assert_cmpuint(le32_to_cpu(status), ==, i == COUNT - 1 ?
                         VIRTIO_USB_S_CANCELED : VIRTIO_USB_S_OK);
    }
    unplug(&d, "serial");
    driver_stop(&d);
}

/* Each way to end a packet that a USB device has */
static void test_active(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_usb_command flush = {
        .cmd = cpu_to_le16(VIRTIO_USB_CMD_DEV_FLUSH), .port = 1, .addr = 2,
    };
    uint64_t answer;
    Request cbw, r;
    QDict *qmp;
    Driver d;
    int i;

    for (i = 0; i < 8; i++) {
        driver_start(&d, obj, alloc);
        /* Requests take longer than what comes here until they are cancelled */
        qtest_qmp_assert_success(d.qts, "{'execute': 'blockdev-add',"
            " 'arguments': {'driver': 'null-co', 'node-name': 'slow',"
            " 'size': 1048576, 'read-zeroes': true,"
            " 'latency-ns': 700000000}}");
        storage_up(&d, "slow");
        storage_command(&d, 0x00, 0, 0, false, &cbw);
        r = data_request(1, 2, VIRTIO_USB_TYPE_BULK, VIRTIO_USB_EP_IN | 1, NULL,
                         13);
        submit(&d, &r);
        assert_result(&d, &r, VIRTIO_USB_S_OK);
        storage_command(&d, 0x28, 5, 4, true, &cbw);
        r = data_request(1, 2, VIRTIO_USB_TYPE_BULK, VIRTIO_USB_EP_IN | 1, NULL,
                         2048);
        submit(&d, &r);
        assert_result(&d, &cbw, VIRTIO_USB_S_OK);
        switch (i) {
        case 0:
            assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_CANCEL, 0, 0, 0,
                           le64_to_cpu(r.header.tag));
            assert_result(&d, &r, VIRTIO_USB_S_CANCELED);
            break;
        case 1:
            assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_PORT_RESET, 1, 0,
                           0, 0);
            assert_result(&d, &r, VIRTIO_USB_S_CANCELED);
            break;
        case 2:
            assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_PORT_POWER, 1, 0,
                           0, 0);
            assert_result(&d, &r, VIRTIO_USB_S_NODEV);
            break;
        case 3:
            settle(&d);
            qvirtio_reset(d.vdev);
            break;
        case 4:
            settle(&d);
            break;
        case 6:
            assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_DEV_FLUSH, 1, 2,
                           0, 0);
            assert_result(&d, &r, VIRTIO_USB_S_CANCELED);
            break;
        case 7:
            /* The disk may go while a cancel waits for the end of its read */
            qtest_qmp_send(d.qts, "{'execute': 'device_del', 'arguments':"
                           " {'id': 'disk'}}");
            command_send(&d, &flush, sizeof(flush),
                         sizeof(struct virtio_usb_answer), &answer);
            command_answer(&d, answer);
            qmp = qtest_qmp_receive(d.qts);
            g_assert(qdict_haskey(qmp, "return"));
            qobject_unref(qmp);
            qtest_qmp_eventwait(d.qts, "DEVICE_DELETED");
            g_assert_cmpuint(wait_for(&d, &r)->status, !=, VIRTIO_USB_S_OK);
            break;
        case 5:
            assert_result(&d, &r, VIRTIO_USB_S_OK);
            g_assert_cmpuint(wait_for(&d, &r)->actual, ==, 2048);
            break;
        }
        if (i == 7) {
            node_del(&d, "slow");
        } else {
            storage_down(&d, "slow");
        }
        if (i == 4) {
            assert_result(&d, &r, VIRTIO_USB_S_NODEV);
        }
        driver_stop(&d);
    }
}

/* Power and reset a port of the hub that has address 2 */
static void hub_port_up(Driver *d, uint16_t port)
{
    g_assert_cmpuint(control(d, 1, 2, 0x23, 3, 8, port, 0)->status, ==,
                     VIRTIO_USB_S_OK);
    g_assert_cmpuint(control(d, 1, 2, 0x23, 3, 4, port, 0)->status, ==,
                     VIRTIO_USB_S_OK);
}

static void test_hub(void *obj, void *data, QGuestAllocator *alloc)
{
    Request r[3];
    Driver d;
    int i;

    driver_start(&d, obj, alloc);
    for (i = 0; i < 3; i++) {
        plug(&d, "usb-hub", "hub", "1");
        plug(&d, "usb-tablet", "tab", "1.1");
        plug(&d, "usb-kbd", "kbd", "1.2");
        port_up(&d, 1, VIRTIO_USB_SPEED_FULL);
        set_address(&d, 1, 2);
        hub_port_up(&d, 1);
        set_address(&d, 1, 3);
        hub_port_up(&d, 2);
        set_address(&d, 1, 4);
        g_assert_cmphex(control(&d, 1, 2, 0x80, 6, 0x100, 0, 18)->data[10], ==,
                        0xaa);
        g_assert_cmphex(control(&d, 1, 3, 0x80, 6, 0x100, 0, 18)->data[10], ==,
                        0x01);
        r[0] = data_request(1, 3, VIRTIO_USB_TYPE_INT, HS_HID_EP, NULL, 8);
        r[1] = data_request(1, 4, VIRTIO_USB_TYPE_INT, HS_HID_EP, NULL, 8);
        submit(&d, &r[0]);
        submit(&d, &r[1]);
        switch (i) {
        case 0:
            /* One behind the hub goes; the other stays */
            unplug(&d, "tab");
            assert_result(&d, &r[0], VIRTIO_USB_S_NODEV);
            settle(&d);
            g_assert_false(is_done(&d, &r[1]));
            qtest_qmp_assert_success(d.qts, "{'execute': 'send-key',"
                " 'arguments': {'keys': [{'type': 'qcode', 'data': 'a'}]}}");
            assert_result(&d, &r[1], VIRTIO_USB_S_OK);
            unplug(&d, "hub");
            break;
        case 1:
            /* The hub goes, and does not say what was behind it */
            unplug(&d, "hub");
            assert_result(&d, &r[0], VIRTIO_USB_S_NODEV);
            assert_result(&d, &r[1], VIRTIO_USB_S_NODEV);
            break;
        case 2:
            assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_PORT_RESET, 1, 0,
                           0, 0);
            assert_result(&d, &r[0], VIRTIO_USB_S_CANCELED);
            assert_result(&d, &r[1], VIRTIO_USB_S_CANCELED);
            unplug(&d, "hub");
            break;
        }
    }
    driver_stop(&d);
}

/*
 * Nodes
 */

static void *usb_get_driver(void *object, const char *interface)
{
    QVirtioUSB *usb = object;

    if (!g_strcmp0(interface, "virtio-usb")) {
        return usb;
    }
    g_assert_cmpstr(interface, ==, "virtio");
    return usb->vdev;
}

static void *usb_device_create(void *vdev, QGuestAllocator *alloc, void *addr)
{
    QVirtioUSB *usb = g_new0(QVirtioUSB, 1);

    usb->vdev = vdev;
    usb->obj.get_driver = usb_get_driver;
    return &usb->obj;
}

static void *usb_pci_get_driver(void *object, const char *interface)
{
    QVirtioUSBPCI *pci = object;

    if (!g_strcmp0(interface, "pci-device")) {
        return pci->pci.pdev;
    }
    return usb_get_driver(&pci->usb, interface);
}

/* As qvirtio_pci_start_hw(), for a device without a BAR for I/O ports */
static void usb_pci_start_hw(QOSGraphObject *obj)
{
    QVirtioPCIDevice *pci = (QVirtioPCIDevice *)obj;

    qpci_config_writew(pci->pdev, PCI_COMMAND,
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci->bar = qpci_iomap(pci->pdev, pci->bar_idx, NULL);
    qvirtio_start_device(&pci->vdev);
}

static void *usb_pci_create(void *bus, QGuestAllocator *alloc, void *addr)
{
    QVirtioUSBPCI *pci = g_new0(QVirtioUSBPCI, 1);

    virtio_pci_init(&pci->pci, bus, addr);
    pci->usb.vdev = &pci->pci.vdev;
    pci->pci.obj.get_driver = usb_pci_get_driver;
    pci->pci.obj.start_hw = usb_pci_start_hw;
    return &pci->pci.obj;
}

/*
 * A driver that adds requests as fast as the device takes them. It is a thread
 * of the test, in memory that QEMU shares.
 */

#define SHARED_RAM      (128 * MiB)
#define FED_MAX         50000

/* A request of many pieces takes QEMU longer than its driver */
#define FED_PIECES      1000

typedef struct Feeder {
    uint16_t *avail_idx, *used_idx;
    uint16_t size;
    unsigned int fed;
    bool stop;
} Feeder;

static char *shared_path;

static void *feeder_run(void *opaque)
{
    Feeder *f = opaque;
    uint16_t used = 0, now;
    bool stop;

    do {
        stop = qatomic_read(&f->stop) || f->fed >= FED_MAX;
        now = le16_to_cpu(qatomic_read(f->used_idx));
        qatomic_set(&f->fed, f->fed + (uint16_t)(now - used));
        used = now;
        if (!stop) {
            qatomic_set(f->avail_idx, cpu_to_le16(used + f->size));
        }
    } while (!stop);
    return NULL;
}

/* The device lets QEMU do other things meanwhile */
static void test_feeder(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_usb_request header = { .type = 0xff };
    Feeder f = {};
    QVirtQueue *vq;
    GThread *thread;
    uint8_t *ram;
    uint64_t addr;
    Driver d;
    int fd, i;

    driver_start(&d, obj, alloc);
    fd = open(shared_path, O_RDWR);
    g_assert_cmpint(fd, >=, 0);
    unlink(shared_path);
    ram = mmap(NULL, SHARED_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(ram != MAP_FAILED);
    close(fd);

    /* The same request each time, which ends with INVAL */
    vq = d.vq[VIRTIO_USB_VQ_REQUEST];
    addr = guest_alloc(alloc, 64);
    qtest_memwrite(d.qts, addr, &header, sizeof(header));
    g_assert_cmpuint(qvirtqueue_add(d.qts, vq, addr, sizeof(header), false,
                                    true), ==, 0);
    for (i = 1; i < FED_PIECES; i++) {
        qvirtqueue_add(d.qts, vq, addr + sizeof(header),
                       sizeof(struct virtio_usb_result), true,
                       i < FED_PIECES - 1);
    }
    for (i = 0; i < vq->size; i++) {
        qtest_writew(d.qts, vq->avail + 4 + 2 * i, 0);
    }
    f.avail_idx = (uint16_t *)(ram + vq->avail + 2);
    f.used_idx = (uint16_t *)(ram + vq->used + 2);
    f.size = vq->size;
    thread = g_thread_new("feeder", feeder_run, &f);
    while (!qatomic_read(f.avail_idx)) {
        g_thread_yield();
    }
    d.vdev->bus->virtqueue_kick(d.vdev, vq);
    g_assert_cmpuint(qatomic_read(&f.fed), <, FED_MAX);
    qatomic_set(&f.stop, true);
    g_thread_join(thread);
    assert_command(&d, VIRTIO_USB_S_OK, VIRTIO_USB_CMD_PORT_STATUS, 1, 0, 0, 0);
    g_assert_cmpuint(f.fed, >, 0);
    munmap(ram, SHARED_RAM);
    driver_stop(&d);
}

static void *feeder_before(GString *cmd_line, void *arg)
{
    int fd = g_file_open_tmp("virtio-usb-test-XXXXXX", &shared_path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_string_append_printf(cmd_line, " -object memory-backend-file,id=ram,"
                           "share=on,size=%" PRIu64 ",mem-path=%s"
                           " -machine memory-backend=ram ",
                           (uint64_t)SHARED_RAM, shared_path);
    return arg;
}

static void virtio_usb_register(void)
{
    QPCIAddress addr = {
        .devfn = QPCI_DEVFN(4, 0),
    };
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "id=vusb",
    };
    QOSGraphEdgeOptions pci_opts = {
        .extra_device_opts = "id=vusb,addr=04.0",
    };

    qos_node_create_driver("virtio-usb-device", usb_device_create);
    qos_node_consumes("virtio-usb-device", "virtio-bus", &opts);
    qos_node_produces("virtio-usb-device", "virtio-usb");

    add_qpci_address(&pci_opts, &addr);
    qos_node_create_driver("virtio-usb-pci", usb_pci_create);
    qos_node_consumes("virtio-usb-pci", "pci-bus", &pci_opts);
    qos_node_produces("virtio-usb-pci", "pci-device");
    qos_node_produces("virtio-usb-pci", "virtio-usb");

    qos_add_test("config", "virtio-usb", test_config, NULL);
    qos_add_test("ports", "virtio-usb", test_ports, NULL);
    qos_add_test("owed", "virtio-usb", test_owed, NULL);
    qos_add_test("tablet", "virtio-usb", test_tablet, NULL);
    qos_add_test("stop", "virtio-usb", test_stop, NULL);
    qos_add_test("gone", "virtio-usb", test_gone, NULL);
    qos_add_test("reset", "virtio-usb", test_reset, NULL);
    qos_add_test("invalid", "virtio-usb", test_invalid, NULL);
    qos_add_test("broken", "virtio-usb", test_broken, NULL);
    qos_add_test("many", "virtio-usb", test_many, NULL);
    qos_add_test("storage", "virtio-usb", test_storage, NULL);
    qos_add_test("active", "virtio-usb", test_active, NULL);
    qos_add_test("hub", "virtio-usb", test_hub, NULL);
    qos_add_test("zero-packet", "virtio-usb", test_zero_packet, NULL);
    qos_add_test("event-idx", "virtio-usb", test_event_idx, NULL);
    qos_add_test("bytes", "virtio-usb", test_bytes, NULL);
    /* Where an address of RAM is its offset */
    if (g_str_equal(qtest_get_arch(), "x86_64")) {
        qos_add_test("feeder", "virtio-usb", test_feeder,
                     &(QOSGraphTestOptions) { .before = feeder_before });
    }
}

libqos_init(virtio_usb_register);
