/*
 * virtio-usb fuzzing target: a hostile driver of a USB host controller
 *
 * An input is a sequence of steps. A step is one byte, and what the step needs
 * follows. Steps of a proper driver (a command, a transfer) let the fuzzer get
 * far; raw writes break what these steps have made.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/virtio/virtio-usb.h"
#include "monitor/qdev.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-qdev.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "ui/input.h"

#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "tests/qtest/libqos/pci-pc.h"
#include "tests/qtest/libqos/virtio-pci.h"
#include "tests/qtest/libqtest.h"
#include "fuzz.h"

#define QUEUES              3
#define PORTS               6

/* The USB device that comes and goes, in the last port or behind the hub */
#define PLUGGED             "plugged"

/* Where rings and buffers are, in the guest's memory */
#define RING_BASE           (16 * MiB)
#define RING_SPACE          0x3000
#define DRIVER_AREA         0x1000
#define DEVICE_AREA         0x2000
#define POOL_BASE           (24 * MiB)
#define POOL_SIZE           0x10000
#define RAM_SIZE            (64 * MiB)

/* After so many inputs, memory that RCU holds is freed */
#define FREED               256

typedef struct FuzzRing {
    uint64_t base;
    uint16_t size;
    uint16_t next;          /* descriptor */
    uint16_t idx;           /* split: buffers made available */
    bool wrap;              /* packed: the driver's wrap counter */
} FuzzRing;

typedef struct FuzzInput {
    QTestState *qts;
    const unsigned char *data;
    size_t size;
    uint64_t features;
    uint64_t tag;
    FuzzRing rings[QUEUES];
    uint32_t pool;          /* the next free byte */
} FuzzInput;

/* A buffer is up to 16 descriptors, of which the device reads the first ones */
typedef struct FuzzBuffer {
    struct {
        uint64_t addr;
        uint32_t len;
        bool write;
    } segs[16];
    unsigned int nr;
} FuzzBuffer;

static QVirtioPCIDevice *controller;
static unsigned int inputs;

/*
 * What the input says: zeros when it is at its end
 */

static uint8_t take8(FuzzInput *in)
{
    if (!in->size) {
        return 0;
    }
    in->size--;
    return *in->data++;
}

static uint16_t take16(FuzzInput *in)
{
    uint16_t low = take8(in);

    return low | take8(in) << 8;
}

static uint32_t take32(FuzzInput *in)
{
    uint32_t low = take16(in);

    return low | (uint32_t)take16(in) << 16;
}

/* Sizes around those of headers and packets, and any other */
static uint32_t take_len(FuzzInput *in)
{
    static const uint32_t lens[] = {
        0, 1, 8, 13, 15, 16, 17, 31, 32, 64, 512, 4096, 4097, 65536,
        16 * MiB + 1, 0xffffffff,
    };
    uint8_t kind = take8(in);

    return kind < ARRAY_SIZE(lens) ? lens[kind] : kind & 1 ? take16(in) : kind;
}

static uint64_t allocate(FuzzInput *in, uint32_t len)
{
    uint64_t addr = POOL_BASE + in->pool;

    in->pool = (in->pool + MIN(len, 4096)) % POOL_SIZE;
    return addr;
}

static uint64_t take_addr(FuzzInput *in, uint32_t len)
{
    switch (take8(in) % 8) {
    default:                /* memory of its own */
        return allocate(in, len);
    case 4:                 /* memory that another buffer may have */
        return POOL_BASE + take16(in);
    case 5:                 /* a ring */
        return RING_BASE + take32(in) % (QUEUES * RING_SPACE);
    case 6:                 /* the device's registers */
        return controller->bar.addr + take16(in) % 0x4000;
    case 7:                 /* the end of memory, no memory, ROM */
        return take8(in) & 1 ? RAM_SIZE - take16(in) :
                               (uint64_t)take32(in) << 4;
    }
}

/*
 * The driver
 */

static uint32_t common(size_t offset)
{
    return controller->common_cfg_offset + offset;
}

static void cfg8(size_t offset, uint8_t value)
{
    qpci_io_writeb(controller->pdev, controller->bar, common(offset), value);
}

static void cfg16(size_t offset, uint16_t value)
{
    qpci_io_writew(controller->pdev, controller->bar, common(offset), value);
}

static void cfg32(size_t offset, uint32_t value)
{
    qpci_io_writel(controller->pdev, controller->bar, common(offset), value);
}

static void cfg64(size_t offset, uint64_t value)
{
    cfg32(offset, value);
    cfg32(offset + 4, value >> 32);
}

static void kick(uint16_t index)
{
    qpci_io_writew(controller->pdev, controller->bar,
                   controller->notify_cfg_offset +
                   index * controller->notify_off_multiplier, index);
}

static bool is_packed(FuzzInput *in)
{
    return in->features & (1ull << VIRTIO_F_RING_PACKED);
}

static void set_queue(int index, uint16_t size, uint64_t desc, uint64_t driver,
                      uint64_t device)
{
    cfg16(VIRTIO_PCI_COMMON_Q_SELECT, index);
    cfg16(VIRTIO_PCI_COMMON_Q_SIZE, size);
    cfg64(VIRTIO_PCI_COMMON_Q_DESCLO, desc);
    cfg64(VIRTIO_PCI_COMMON_Q_AVAILLO, driver);
    cfg64(VIRTIO_PCI_COMMON_Q_USEDLO, device);
    cfg16(VIRTIO_PCI_COMMON_Q_ENABLE, 1);
}

static void clear(FuzzInput *in, uint64_t addr, size_t size)
{
    static const uint8_t zeros[POOL_SIZE];

    QEMU_BUILD_BUG_ON(sizeof(zeros) < QUEUES * RING_SPACE);

    qtest_memwrite(in->qts, addr, zeros, size);
}

/* Reset the device and start it, with rings of sizes that the input says */
static void start(FuzzInput *in)
{
    uint8_t chosen = take8(in);
    int i;

    in->features = 1ull << VIRTIO_F_VERSION_1;
    in->features |= (uint64_t)!(chosen & 1) << VIRTIO_USB_F_DRAFT0;
    in->features |= (uint64_t)!!(chosen & 2) << VIRTIO_RING_F_EVENT_IDX;
    in->features |= (uint64_t)!!(chosen & 4) << VIRTIO_RING_F_INDIRECT_DESC;
    in->features |= (uint64_t)!!(chosen & 8) << VIRTIO_F_RING_PACKED;

    cfg8(VIRTIO_PCI_COMMON_STATUS, 0);
    cfg8(VIRTIO_PCI_COMMON_STATUS,
         VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (i = 0; i < 2; i++) {
        cfg32(VIRTIO_PCI_COMMON_GFSELECT, i);
        cfg32(VIRTIO_PCI_COMMON_GF, in->features >> (32 * i));
    }
    cfg8(VIRTIO_PCI_COMMON_STATUS,
         VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
         VIRTIO_CONFIG_S_FEATURES_OK);
    clear(in, RING_BASE, QUEUES * RING_SPACE);
    for (i = 0; i < QUEUES; i++) {
        FuzzRing *ring = &in->rings[i];

        *ring = (FuzzRing) {
            .base = RING_BASE + i * RING_SPACE,
            /* Small rings: so the fuzzer gets around them */
            .size = 8 << ((chosen >> 4) % 4),
            .wrap = true,
        };
        set_queue(i, ring->size, ring->base, ring->base + DRIVER_AREA,
                  ring->base + DEVICE_AREA);
    }
    cfg8(VIRTIO_PCI_COMMON_STATUS,
         VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
         VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* One descriptor, in a ring or in an indirect table */
static void write_desc(FuzzInput *in, uint64_t at, uint64_t addr, uint32_t len,
                       uint16_t third, uint16_t fourth)
{
    uint8_t raw[16];

    stq_le_p(raw, addr);
    stl_le_p(raw + 8, len);
    stw_le_p(raw + 12, third);
    stw_le_p(raw + 14, fourth);
    qtest_memwrite(in->qts, at, raw, sizeof(raw));
}

/* The next descriptor of @ring; in a packed ring its id is its number */
static void add_desc(FuzzInput *in, FuzzRing *ring, uint64_t addr, uint32_t len,
                     uint16_t flags)
{
    uint16_t slot = ring->next;
    uint64_t at = ring->base + slot * sizeof(struct vring_desc);

    ring->next = (ring->next + 1) % ring->size;
    if (is_packed(in)) {
        flags |= 1 << (ring->wrap ? VRING_PACKED_DESC_F_AVAIL :
                                    VRING_PACKED_DESC_F_USED);
        write_desc(in, at, addr, len, slot, flags);
        ring->wrap ^= !ring->next;
    } else {
        write_desc(in, at, addr, len, flags, ring->next);
    }
}

static void add_seg(FuzzBuffer *buf, uint64_t addr, uint32_t len, bool write)
{
    if (buf->nr < ARRAY_SIZE(buf->segs)) {
        buf->segs[buf->nr].addr = addr;
        buf->segs[buf->nr].len = len;
        buf->segs[buf->nr++].write = write;
    }
}

static void post(FuzzInput *in, int index, FuzzBuffer *buf, bool indirect)
{
    FuzzRing *ring = &in->rings[index];
    uint16_t head = ring->next, flags;
    uint64_t table = 0;
    unsigned int i;

    if (indirect) {
        table = allocate(in, buf->nr * sizeof(struct vring_desc));
    }
    for (i = 0; i < buf->nr; i++) {
        flags = (buf->segs[i].write ? VRING_DESC_F_WRITE : 0) |
                (i < buf->nr - 1 ? VRING_DESC_F_NEXT : 0);
        if (!indirect) {
            add_desc(in, ring, buf->segs[i].addr, buf->segs[i].len, flags);
        } else if (is_packed(in)) {
            write_desc(in, table + i * sizeof(struct vring_desc),
                       buf->segs[i].addr, buf->segs[i].len, 0, flags);
        } else {
            write_desc(in, table + i * sizeof(struct vring_desc),
                       buf->segs[i].addr, buf->segs[i].len, flags, i + 1);
        }
    }
    if (indirect) {
        add_desc(in, ring, table, buf->nr * sizeof(struct vring_desc),
                 VRING_DESC_F_INDIRECT);
    }
    if (!is_packed(in)) {
        uint64_t avail = ring->base + DRIVER_AREA;

        qtest_writew(in->qts, avail + 4 + 2 * (ring->idx % ring->size), head);
        qtest_writew(in->qts, avail + 2, ++ring->idx);
    }
}

/* What the driver writes into a buffer, and the rest that the input says */
static void add_parts(FuzzInput *in, FuzzBuffer *buf, const void *header,
                      size_t header_len, size_t result_len, uint8_t how)
{
    uint64_t addr = allocate(in, header_len);
    unsigned int i;

    qtest_memwrite(in->qts, addr, header, header_len);
    if (how & 1) {
        header_len = MIN(header_len, take8(in) % 64);
    }
    if (header_len) {
        add_seg(buf, addr, header_len, false);
    }
    for (i = (how >> 1) & 3; i--;) {
        uint32_t len = take_len(in);

        add_seg(buf, take_addr(in, len), len, false);
    }
    if (how & 8) {
        result_len = take8(in) % 64;
    }
    if (result_len) {
        add_seg(buf, allocate(in, result_len), result_len, true);
    }
    for (i = (how >> 4) & 3; i--;) {
        uint32_t len = take_len(in);

        add_seg(buf, take_addr(in, len), len, true);
    }
}

static void command(FuzzInput *in, uint16_t cmd, uint8_t port, uint8_t addr,
                    uint8_t ep, uint64_t arg, uint8_t how)
{
    struct virtio_usb_command wire = {
        .cmd = cpu_to_le16(cmd),
        .port = port,
        .addr = addr,
        .ep = ep,
        .arg = cpu_to_le64(arg),
    };
    FuzzBuffer buf = {};

    add_parts(in, &buf, &wire, sizeof(wire), sizeof(struct virtio_usb_answer),
              how);
    post(in, VIRTIO_USB_VQ_CONTROL, &buf, how & 64);
    if (!(how & 128)) {
        kick(VIRTIO_USB_VQ_CONTROL);
    }
}

static void any_command(FuzzInput *in)
{
    static const uint8_t cmds[] = {
        1, 1, 2, 2, 2, 3, 4, 16, 17, 18, 18, 19, 20, 21, 32, 0,
    };
    uint8_t kind = take8(in), how = take8(in);
    uint8_t port = take8(in) % (PORTS + 2), addr = take8(in) % 16;
    uint8_t ep = take8(in);
    uint64_t arg = take8(in);

    command(in, kind < 240 ? cmds[kind % ARRAY_SIZE(cmds)] : take16(in), port,
            addr, ep, kind % ARRAY_SIZE(cmds) < 2 ? in->tag - arg % 16 : arg,
            how & 16 ? how : 0);
}

static void request(FuzzInput *in, const struct virtio_usb_request *wire,
                    uint32_t out, uint32_t len, uint8_t how)
{
    FuzzBuffer buf = {};

    add_parts(in, &buf, wire, sizeof(*wire), 0, how & ~8);
    if (out) {
        add_seg(&buf, take_addr(in, out), out, false);
    }
    add_seg(&buf, allocate(in, 16), how & 8 ? take8(in) % 32 : 16, true);
    if (len) {
        add_seg(&buf, take_addr(in, len), len, true);
    }
    post(in, VIRTIO_USB_VQ_REQUEST, &buf, how & 64);
    if (!(how & 128)) {
        kick(VIRTIO_USB_VQ_REQUEST);
    }
}

/* A control transfer of a proper driver */
static void control(FuzzInput *in, uint8_t port, uint8_t addr, uint8_t type,
                    uint8_t what, uint16_t value, uint16_t index,
                    uint16_t length)
{
    struct virtio_usb_request wire = {
        .tag = cpu_to_le64(++in->tag),
        .port = port,
        .addr = addr,
        .type = VIRTIO_USB_TYPE_CONTROL,
        .length = cpu_to_le32(length),
        .setup = { type, what },
    };

    stw_le_p(&wire.setup[2], value);
    stw_le_p(&wire.setup[4], index);
    stw_le_p(&wire.setup[6], length);
    request(in, &wire, type & 0x80 ? 0 : length, type & 0x80 ? length : 0, 0);
}

static void any_control(FuzzInput *in)
{
    static const uint8_t requests[] = {
        0, 1, 3, 5, 6, 6, 6, 7, 8, 9, 9, 10, 11, 11, 0xfe, 0xff,
    };
    uint8_t where = take8(in), type = take8(in), what = take8(in);
    uint16_t value = take16(in), index = take8(in);

    control(in, 1 + where % PORTS, where & 128 ? where % 16 :
            2 + where % PORTS, type,
            what < 224 ? requests[what % ARRAY_SIZE(requests)] : what, value,
            index, take8(in) % 80);
}

/* The port has its device, which has its address */
static void port_up(FuzzInput *in, uint8_t port)
{
    command(in, VIRTIO_USB_CMD_PORT_POWER, port, 0, 0, 1, 0);
    command(in, VIRTIO_USB_CMD_PORT_RESET, port, 0, 0, 0, 0);
    control(in, port, 0, 0, 5, port + 1, 0, 0);
    control(in, port, port + 1, 0, 9, 1, 0, 0);
}

/* A transfer, which may be wrong in all it has */
static void transfer(FuzzInput *in)
{
    uint8_t where = take8(in), how = take8(in), odd = take8(in);
    struct virtio_usb_request wire = {
        .tag = cpu_to_le64(odd & 1 ? in->tag : ++in->tag),
        .port = 1 + where % PORTS,
        .addr = 2 + where % PORTS,
        .ep = where & 64 ? VIRTIO_USB_EP_IN | 1 : 2,
        .type = where % PORTS == 1 || where % PORTS == 2 ?
                VIRTIO_USB_TYPE_BULK : VIRTIO_USB_TYPE_INT,
        .flags = cpu_to_le16((odd >> 1) & 3),
    };
    uint32_t length = take_len(in), room;

    if (odd & 8) {
        wire.addr = take8(in);
        wire.ep = take8(in);
    }
    if (odd & 16) {
        wire.type = take8(in);
        wire.stream = cpu_to_le16(take8(in));
    }
    if (odd & 32) {
        wire.flags = cpu_to_le16(take16(in));
        wire.iso.num_packets = cpu_to_le32(take32(in));
    }
    room = odd & 64 ? take_len(in) : length;
    wire.length = cpu_to_le32(length);
    request(in, &wire, wire.ep & VIRTIO_USB_EP_IN ? 0 : room,
            wire.ep & VIRTIO_USB_EP_IN ? room : 0, odd & 128 ? how :
            how & 0xc0);
}

/* A SCSI command of the disk in port 2, as usb-storage's protocol has it */
static void disk_command(FuzzInput *in)
{
    uint8_t op = take8(in);
    struct virtio_usb_request wire = {
        .tag = cpu_to_le64(++in->tag),
        .port = 2,
        .addr = 3,
        .ep = 2,
        .type = VIRTIO_USB_TYPE_BULK,
        .length = cpu_to_le32(31),
    };
    uint64_t addr = allocate(in, 64);
    uint8_t cbw[31] = "USBC";
    FuzzBuffer buf = {};

    stl_le_p(cbw + 4, in->tag);
    stl_le_p(cbw + 8, take_len(in));
    cbw[12] = op & 1 ? 0x80 : 0;
    cbw[14] = 10;
    cbw[15] = op & 2 ? take8(in) : op & 1 ? 0x28 : 0x2a;
    cbw[23] = take8(in);
    qtest_memwrite(in->qts, addr, &wire, sizeof(wire));
    qtest_memwrite(in->qts, addr + sizeof(wire), cbw, sizeof(cbw));
    add_seg(&buf, addr, sizeof(wire) + sizeof(cbw), false);
    add_seg(&buf, allocate(in, 16), 16, true);
    post(in, VIRTIO_USB_VQ_REQUEST, &buf, false);
    kick(VIRTIO_USB_VQ_REQUEST);
}

static void event_buffer(FuzzInput *in)
{
    uint8_t how = take8(in);
    uint32_t len = how & 1 ? take_len(in) : 16;
    FuzzBuffer buf = {};

    add_seg(&buf, how & 2 ? take_addr(in, len) : allocate(in, len), len,
            !(how & 4));
    post(in, VIRTIO_USB_VQ_EVENT, &buf, how & 8);
    kick(VIRTIO_USB_VQ_EVENT);
}

/* Any bytes at any place: into rings, buffers, tables */
static void write_raw(FuzzInput *in)
{
    uint8_t raw[16];
    unsigned int i, len = 1 + take8(in) % sizeof(raw);
    uint64_t addr = take_addr(in, len);

    for (i = 0; i < len; i++) {
        raw[i] = take8(in);
    }
    qtest_memwrite(in->qts, addr, raw, len);
}

/*
 * The host
 */

static bool is_plugged(void)
{
    return object_resolve_path("/machine/peripheral/" PLUGGED, NULL);
}

static void plug(FuzzInput *in)
{
    static const char *ports[] = { "6", "4.2" };
    static const char *drivers[] = { "usb-tablet", "usb-kbd", "usb-hub" };
    uint8_t how = take8(in);
    QDict *args;

    if (is_plugged()) {
        qmp_device_del(PLUGGED, NULL);
        return;
    }
    args = qdict_from_jsonf_nofail(
        "{ 'driver': %s, 'id': %s, 'bus': 'vusb.0', 'port': %s }",
        drivers[how % 3], PLUGGED, ports[how >> 7]);
    qmp_device_add(args, NULL, &error_abort);
    qobject_unref(args);
}

static void move(FuzzInput *in)
{
    uint8_t how = take8(in);

    if (how & 1) {
        qemu_input_queue_abs(NULL, INPUT_AXIS_X, take16(in), 0, 0xffff);
    } else {
        qemu_input_event_send_key_qcode(NULL, Q_KEY_CODE_A + how % 16, how & 2);
    }
    qemu_input_event_sync();
}

/*
 * An input
 */

static void step(FuzzInput *in)
{
    FuzzRing *ring;
    uint64_t at;

    switch (take8(in) % 16) {
    case 0: case 1: case 2:
        transfer(in);
        break;
    case 3: case 4:
        any_command(in);
        break;
    case 5:
        any_control(in);
        break;
    case 6:
        disk_command(in);
        break;
    case 7:
        port_up(in, 1 + take8(in) % PORTS);
        break;
    case 8:
        event_buffer(in);
        break;
    case 9:
        plug(in);
        break;
    case 10:
        move(in);
        break;
    case 11:
        write_raw(in);
        break;
    case 12:
        start(in);
        break;
    case 13:                /* a ring of any size anywhere, or its index */
        ring = &in->rings[take8(in) % QUEUES];
        if (take8(in) & 1) {
            ring->idx = take16(in);
            qtest_writew(in->qts, ring->base + DRIVER_AREA + 2, ring->idx);
            break;
        }
        at = take_addr(in, 4096);
        set_queue(ring - in->rings, take16(in), at, take_addr(in, 4096),
                  take_addr(in, 4096));
        break;
    case 14:                /* any register; not the addresses in PCI's own */
        cfg8(take8(in) % 0x40, take8(in));
        break;
    case 15:
        kick(take8(in) % (QUEUES + 2));
        flush_events(in->qts);
        break;
    }
}

static void virtio_usb_fuzz(QTestState *qts, const unsigned char *data,
                            size_t size)
{
    FuzzInput in = {
        .qts = qts,
        .data = data,
        .size = size,
    };
    int i;

    clear(&in, POOL_BASE, POOL_SIZE);
    start(&in);
    for (i = 1; i < PORTS; i++) {
        port_up(&in, i);
    }
    while (in.size) {
        step(&in);
    }
    flush_events(qts);

    cfg8(VIRTIO_PCI_COMMON_STATUS, 0);
    if (is_plugged()) {
        qmp_device_del(PLUGGED, NULL);
    }
    flush_events(qts);
    /* What waits to be freed is freed at times: to wait takes 60 ms */
    if (++inputs % FREED == 0) {
        drain_call_rcu();
    }
}

static void pre_fuzz(QTestState *qts)
{
    QPCIBus *bus = qpci_new_pc(qts, NULL);
    QPCIAddress address = { .devfn = QPCI_DEVFN(4, 0) };

    controller = virtio_pci_new(bus, &address);
    g_assert_nonnull(controller);
    qvirtio_pci_device_enable(controller);
}

static GString *command_line(FuzzTarget *t)
{
    /* Without ioeventfd, the device sees a kick at once */
    return g_string_new(TARGET_NAME " -machine pc,accel=qtest -m 64"
        " -nodefaults -display none -device virtio-usb-pci,id=vusb,addr=04.0,"
        "ports=6,ioeventfd=off,packed=on"
        " -device usb-tablet,bus=vusb.0,port=1"
        " -blockdev null-co,node-name=disk,size=1048576,read-zeroes=on"
        " -device usb-storage,bus=vusb.0,port=2,drive=disk"
        " -chardev ringbuf,id=c0 -device usb-serial,bus=vusb.0,port=3,chardev=c0"
        " -device usb-hub,bus=vusb.0,port=4"
        " -device usb-tablet,bus=vusb.0,port=4.1"
        " -device usb-kbd,bus=vusb.0,port=5");
}

static void register_virtio_usb_fuzz_targets(void)
{
    fuzz_add_target(&(FuzzTarget) {
            .name = "virtio-usb-transfers",
            .description = "Fuzz a virtio USB host controller as driver",
            .get_init_cmdline = command_line,
            .pre_fuzz = pre_fuzz,
            .fuzz = virtio_usb_fuzz,
        });
}

fuzz_target_init(register_virtio_usb_fuzz_targets);
