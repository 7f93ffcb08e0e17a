/*
 * virtio-serial fuzzing target: a hostile driver, and a host that plugs ports
 *
 * An input is a sequence of steps. A step is one byte, and what the step needs
 * follows. Steps of a proper driver (post a buffer, send a control message) let
 * the fuzzer get far; raw writes break what these steps have made.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci_regs.h"
#include "hw/virtio/virtio.h"
#include "io/channel-buffer.h"
#include "migration/qemu-file.h"
#include "monitor/qdev.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-qdev.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "system/runstate.h"

#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_console.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "tests/qtest/libqos/pci.h"
#include "tests/qtest/libqos/virtio-pci.h"
#include "tests/qtest/libqos/virtio-serial.h"
#include "tests/qtest/libqtest.h"
#include "fuzz.h"
#include "qos_fuzz.h"

/* Queues of the control queue and of ports 0 to 3 */
#define QUEUES              10
#define C_OVQ               3

/* The port that comes and goes */
#define PLUGGED             "p3"

/* Where rings and buffers are, in the guest's memory */
#define RING_BASE           (16 * MiB)
#define RING_SPACE          0x3000
#define DRIVER_AREA         0x1000
#define DEVICE_AREA         0x2000
#define RING_MAX            256
#define POOL_BASE           (24 * MiB)
#define POOL_SIZE           0x10000
#define RAM_SIZE            (64 * MiB)

/* ACPI's register: a guest writes a bit for the slot that it lets go */
#define EJECT_PORT          0xae08

#define BARS                6

/* A new controller takes as long as all other steps of an input */
#define CONTROLLERS_MAX     3

/* After so many inputs, memory that RCU holds is freed */
#define FREED               256

/* vmstate_virtio_console of hw/char/virtio-serial-bus.c */
#define STREAM_VERSION      3

typedef struct FuzzRing {
    uint64_t base;
    uint16_t size;
    uint16_t next;          /* descriptor */
    uint16_t idx;           /* split: buffers made available */
    bool wrap;              /* packed: the driver's wrap counter */
} FuzzRing;

typedef struct FuzzInput {
    QTestState *qts;
    QVirtioPCIDevice *pci;
    const unsigned char *data;
    size_t size;
    uint64_t features;
    FuzzRing rings[QUEUES];
    uint32_t pool;          /* the next free byte */
    unsigned int replaced;  /* how often the controller was replaced */
    bool replace;           /* the controller must not see another input */
} FuzzInput;

/* The host's end of the socket behind port 1 */
static int host = -1, qemu_end = -1;

/* The controller's registers for addresses, as the guest has set them */
static uint32_t bars[BARS];
static uint16_t pci_command;

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

static FuzzRing *take_ring(FuzzInput *in)
{
    return &in->rings[take8(in) % QUEUES];
}

/* Sizes around those of messages, and any other */
static uint32_t take_len(FuzzInput *in)
{
    static const uint32_t lens[] = {
        0, 1, 7, 8, 9, 12, 16, 17, 18, 64, 512, 4096, 65536, 0x7fffffff,
        0xfffffff8, 0xffffffff,
    };
    uint8_t kind = take8(in);

    return kind < ARRAY_SIZE(lens) ? lens[kind] : kind & 1 ? take16(in) : kind;
}

static uint64_t take_addr(FuzzInput *in, uint32_t len)
{
    uint64_t addr;

    switch (take8(in) % 8) {
    default:                /* memory of its own */
        addr = POOL_BASE + in->pool;
        in->pool = (in->pool + MIN(len, 4096)) % POOL_SIZE;
        return addr;
    case 4:                 /* memory that another buffer may have */
        return POOL_BASE + take16(in);
    case 5:                 /* a ring */
        return RING_BASE + take32(in) % (QUEUES * RING_SPACE);
    case 6:                 /* the device's registers */
        return in->pci->bar.addr + take16(in) % 0x4000;
    case 7:                 /* the end of memory, no memory, ROM */
        return take8(in) & 1 ? RAM_SIZE - take16(in) :
                               (uint64_t)take32(in) << 4;
    }
}

/*
 * The driver
 */

static uint32_t common(FuzzInput *in, size_t offset)
{
    return in->pci->common_cfg_offset + offset;
}

static void cfg8(FuzzInput *in, size_t offset, uint8_t value)
{
    qpci_io_writeb(in->pci->pdev, in->pci->bar, common(in, offset), value);
}

static void cfg16(FuzzInput *in, size_t offset, uint16_t value)
{
    qpci_io_writew(in->pci->pdev, in->pci->bar, common(in, offset), value);
}

static void cfg32(FuzzInput *in, size_t offset, uint32_t value)
{
    qpci_io_writel(in->pci->pdev, in->pci->bar, common(in, offset), value);
}

static void cfg64(FuzzInput *in, size_t offset, uint64_t value)
{
    cfg32(in, offset, value);
    cfg32(in, offset + 4, value >> 32);
}

static bool is_packed(FuzzInput *in)
{
    return in->features & (1ull << VIRTIO_F_RING_PACKED);
}

static void set_queue(FuzzInput *in, int index, uint16_t size, uint64_t desc,
                      uint64_t driver, uint64_t device)
{
    cfg16(in, VIRTIO_PCI_COMMON_Q_SELECT, index);
    cfg16(in, VIRTIO_PCI_COMMON_Q_SIZE, size);
    cfg64(in, VIRTIO_PCI_COMMON_Q_DESCLO, desc);
    cfg64(in, VIRTIO_PCI_COMMON_Q_AVAILLO, driver);
    cfg64(in, VIRTIO_PCI_COMMON_Q_USEDLO, device);
    cfg16(in, VIRTIO_PCI_COMMON_Q_ENABLE, 1);
}

static void clear(FuzzInput *in, uint64_t addr, size_t size)
{
    static const uint8_t zeros[QUEUES * RING_SPACE];

    QEMU_BUILD_BUG_ON(sizeof(zeros) < POOL_SIZE);

    qtest_memwrite(in->qts, addr, zeros, size);
}

/* Reset the device and start it, with rings of sizes that the input says */
static void start(FuzzInput *in)
{
    uint8_t chosen = take8(in), sizes = take8(in);
    int i;

    in->features = 1ull << VIRTIO_F_VERSION_1;
    in->features |= (uint64_t)!(chosen & 1) << VIRTIO_CONSOLE_F_MULTIPORT;
    in->features |= (uint64_t)!(chosen & 2) << 3;   /* PORT_DESC */
    in->features |= (uint64_t)!!(chosen & 4) << VIRTIO_RING_F_EVENT_IDX;
    in->features |= (uint64_t)!!(chosen & 8) << VIRTIO_RING_F_INDIRECT_DESC;
    in->features |= (uint64_t)!(chosen & 16) << VIRTIO_F_RING_PACKED;
    in->features |= (uint64_t)!!(chosen & 32) << VIRTIO_F_IN_ORDER;
    in->features |= (uint64_t)!!(chosen & 64) << VIRTIO_CONSOLE_F_SIZE;
    in->features |= (uint64_t)!!(chosen & 128) << VIRTIO_CONSOLE_F_EMERG_WRITE;

    cfg8(in, VIRTIO_PCI_COMMON_STATUS, 0);
    cfg8(in, VIRTIO_PCI_COMMON_STATUS,
         VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (i = 0; i < 2; i++) {
        cfg32(in, VIRTIO_PCI_COMMON_DFSELECT, i);
        in->features &= (uint64_t)qpci_io_readl(in->pci->pdev, in->pci->bar,
                            common(in, VIRTIO_PCI_COMMON_DF)) << (32 * i) |
                        MAKE_64BIT_MASK(32 * !i, 32);
        cfg32(in, VIRTIO_PCI_COMMON_GFSELECT, i);
        cfg32(in, VIRTIO_PCI_COMMON_GF, in->features >> (32 * i));
    }
    cfg8(in, VIRTIO_PCI_COMMON_STATUS,
         VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
         VIRTIO_CONFIG_S_FEATURES_OK);
    clear(in, RING_BASE, QUEUES * RING_SPACE);
    for (i = 0; i < QUEUES; i++) {
        FuzzRing *ring = &in->rings[i];

        *ring = (FuzzRing) {
            .base = RING_BASE + i * RING_SPACE,
            /* Small rings: so the fuzzer gets around them */
            .size = i == 2 || i == C_OVQ ? 1 << (sizes & 7) :
                                           1 << ((sizes >> 3) & 7),
            .wrap = true,
        };
        set_queue(in, i, ring->size, ring->base, ring->base + DRIVER_AREA,
                  ring->base + DEVICE_AREA);
    }
    cfg8(in, VIRTIO_PCI_COMMON_STATUS,
         VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
         VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void kick(FuzzInput *in, uint16_t index)
{
    qpci_io_writew(in->pci->pdev, in->pci->bar, in->pci->notify_cfg_offset +
                   index * in->pci->notify_off_multiplier, index);
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

/*
 * The next descriptor of @ring. In a packed ring the id is the descriptor's
 * number.
 */
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

/* Let the device see a buffer that begins with descriptor @head */
static void make_available(FuzzInput *in, FuzzRing *ring, uint16_t head)
{
    uint64_t avail = ring->base + DRIVER_AREA;

    if (!is_packed(in)) {
        qtest_writew(in->qts, avail + 4 + 2 * (ring->idx % ring->size), head);
        qtest_writew(in->qts, avail + 2, ++ring->idx);
    }
}

/* A buffer of some segments, which may be in an indirect table */
static void post(FuzzInput *in)
{
    FuzzRing *ring = take_ring(in);
    int index = ring - in->rings;
    uint8_t how = take8(in);
    unsigned int i, nr = 1 + how % 4;
    bool indirect = how & 16;
    uint16_t head = ring->next, flags, odd = how & 32 ? take8(in) : 0;
    uint64_t table = POOL_BASE + in->pool;

    if (indirect) {
        in->pool = (in->pool + nr * sizeof(struct vring_desc)) % POOL_SIZE;
    }
    for (i = 0; i < nr; i++) {
        uint32_t len = take_len(in);
        uint64_t addr = take_addr(in, len);

        flags = (index & 1 ? 0 : VRING_DESC_F_WRITE) ^ odd;
        if (i < nr - 1) {
            flags |= VRING_DESC_F_NEXT;
        }
        if (indirect && is_packed(in)) {
            write_desc(in, table + i * sizeof(struct vring_desc), addr, len, 0,
                       flags);
        } else if (indirect) {
            write_desc(in, table + i * sizeof(struct vring_desc), addr, len,
                       flags, i + 1);
        } else {
            add_desc(in, ring, addr, len, flags);
        }
    }
    if (indirect) {
        add_desc(in, ring, table, nr * sizeof(struct vring_desc),
                 VRING_DESC_F_INDIRECT);
    }
    make_available(in, ring, head);
    if (!(how & 64)) {
        kick(in, index);
    }
}

static void send_control(FuzzInput *in, uint32_t id, uint16_t event,
                         uint16_t value)
{
    FuzzRing *ring = &in->rings[C_OVQ];
    uint64_t addr = POOL_BASE + in->pool;
    uint16_t head = ring->next;
    uint8_t raw[8];

    in->pool = (in->pool + sizeof(raw)) % POOL_SIZE;
    stl_le_p(raw, id);
    stw_le_p(raw + 4, event);
    stw_le_p(raw + 6, value);
    qtest_memwrite(in->qts, addr, raw, sizeof(raw));
    add_desc(in, ring, addr, sizeof(raw), 0);
    make_available(in, ring, head);
    kick(in, C_OVQ);
}

/* As a proper driver says that it is there */
static void ready(FuzzInput *in)
{
    uint32_t id = take8(in) % 5;

    send_control(in, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
    send_control(in, id, VIRTIO_CONSOLE_PORT_READY, 1);
    send_control(in, id, VIRTIO_CONSOLE_PORT_OPEN, 1);
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

/* Nothing of what an input does makes this fail */
static void add_device(QDict *args)
{
    qmp_device_add(args, NULL, &error_abort);
    qobject_unref(args);
}

static bool is_plugged(void)
{
    return object_resolve_path("/machine/peripheral/" PLUGGED, NULL);
}

static void plug(FuzzInput *in)
{
    uint8_t how = take8(in) % 5;

    /* QEMU waits when a device_add fails: not for each second input */
    if (how < 4 && is_plugged()) {
        return;
    }
    if (how == 0) {
        add_device(qdict_from_jsonf_nofail(
            "{ 'driver': 'virtserialport', 'id': %s, 'nr': 3,"
            "  'name': 'usb:1209:0002:B1' }", PLUGGED));
    } else if (how == 1) {
        add_device(qdict_from_jsonf_nofail(
            "{ 'driver': 'virtserialport', 'id': %s, 'nr': 3,"
            "  'name': 'plain' }", PLUGGED));
    } else if (how == 2) {
        add_device(qdict_from_jsonf_nofail(
            "{ 'driver': 'virtserialdesc', 'id': %s, 'nr': 3 }", PLUGGED));
    } else if (how == 3) {
        add_device(qdict_from_jsonf_nofail(
            "{ 'driver': 'virtconsole', 'id': %s, 'nr': 3,"
            "  'desc': '1209:0003', 'desc-product': 'console' }", PLUGGED));
    } else {
        qmp_device_del(PLUGGED, NULL);
    }
}

static void host_writes(FuzzInput *in)
{
    char bytes[512] = "host";
    ssize_t ret = write(host, bytes, take_len(in) % sizeof(bytes) + 1);

    /* A full socket is no fault */
    (void)ret;
}

static void host_reads(void)
{
    char bytes[4096];

    while (read(host, bytes, sizeof(bytes)) > 0) {
        /* as long as there are bytes */
    }
}

/* The ports that are there at the beginning of an input */
static void add_ports(void)
{
    add_device(qdict_from_jsonf_nofail(
        "{ 'driver': 'virtconsole', 'id': 'p0', 'nr': 0,"
        "  'desc': '1209:0000' }"));
    add_device(qdict_from_jsonf_nofail(
        "{ 'driver': 'virtserialport', 'id': 'p1', 'nr': 1, 'chardev': 'c1',"
        "  'name': 'usb:1209:0001:A1', 'desc-manufacturer': 'maker',"
        "  'desc-product': 'product' }"));
    add_device(qdict_from_jsonf_nofail(
        "{ 'driver': 'virtserialdesc', 'id': 'p2', 'nr': 2 }"));
}

/*
 * The guest lets go the controller, and the host plugs a new one. With
 * @ioeventfd, QEMU's main loop sees notifications; else the device does, and at
 * once, which takes much less time.
 */
static void replace_controller(FuzzInput *in, bool ioeventfd)
{
    int i;

    in->replaced++;
    qmp_device_del("vser0", &error_abort);
    qtest_outl(in->qts, EJECT_PORT, 1 << 4);
    add_device(qdict_from_jsonf_nofail(
        "{ 'driver': 'virtio-serial-pci', 'id': 'vser0', 'addr': '04.0',"
        "  'ioeventfd': %i }", ioeventfd));
    add_ports();
    for (i = 0; i < BARS; i++) {
        qpci_config_writel(in->pci->pdev, PCI_BASE_ADDRESS_0 + 4 * i, bars[i]);
    }
    qpci_config_writew(in->pci->pdev, PCI_COMMAND, pci_command);
}

static VirtIODevice *controller(void)
{
    Object *pci = object_resolve_path("/machine/peripheral/vser0", NULL);

    return VIRTIO_DEVICE(object_resolve_path_component(pci, "virtio-backend"));
}

/*
 * To a new controller, by a stream in which the input changes some bytes.
 * Returns whether the new controller has taken the stream.
 */
static bool migrate(FuzzInput *in)
{
    QIOChannelBuffer *saved = qio_channel_buffer_new(64 * KiB), *stream;
    QEMUFile *file = qemu_file_new_output(QIO_CHANNEL(saved));
    bool plugged = is_plugged();
    unsigned int changes = take8(in) % 4;
    static const uint8_t others[512];
    size_t size;
    bool taken;

    vm_stop(RUN_STATE_PAUSED);
    virtio_save(controller(), file);
    qemu_fflush(file);
    size = saved->usage;
    /* Other devices follow; who loads looks for another subsection first */
    qemu_put_buffer(file, others, sizeof(others));
    qemu_fflush(file);
    stream = qio_channel_buffer_new(saved->usage);
    memcpy(stream->data, saved->data, saved->usage);
    stream->usage = saved->usage;
    /* This frees the bytes of the channel */
    qemu_fclose(file);
    object_unref(OBJECT(saved));
    while (changes--) {
        uint8_t *byte = stream->data + take16(in) % size;

        *byte ^= take8(in);
    }

    replace_controller(in, false);
    if (plugged) {
        add_device(qdict_from_jsonf_nofail(
            "{ 'driver': 'virtserialport', 'id': %s, 'nr': 3,"
            "  'name': 'usb:1209:0002:B1' }", PLUGGED));
    }
    file = qemu_file_new_input(QIO_CHANNEL(stream));
    taken = virtio_load(controller(), file, STREAM_VERSION) >= 0 &&
            !qemu_file_get_error(file);
    if (!taken) {
        /* QEMU would end: so nothing may be done to this controller */
        replace_controller(in, false);
    }
    qemu_fclose(file);
    object_unref(OBJECT(stream));
    in->replace = true;
    vm_start();
    return taken;
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
        post(in);
        break;
    case 3: case 4:
        send_control(in, take8(in) % 5, take8(in) % 10, take8(in) % 3);
        break;
    case 5:
        ready(in);
        break;
    case 6:
        write_raw(in);
        break;
    case 7:
        kick(in, take8(in) % (QUEUES + 4));
        break;
    case 8:
        start(in);
        break;
    case 9:                 /* a ring of any size anywhere */
        ring = take_ring(in);
        at = take_addr(in, 4096);
        set_queue(in, ring - in->rings, take8(in) & 1 ? take16(in) : ring->size,
                  at, take_addr(in, 4096), take_addr(in, 4096));
        break;
    case 10:                /* the index that the driver has reached */
        ring = take_ring(in);
        ring->idx = take16(in);
        qtest_writew(in->qts, ring->base + DRIVER_AREA + 2, ring->idx);
        break;
    case 11:                /* any register; not the addresses in PCI's own */
        cfg8(in, take8(in) % 0x40, take8(in));
        break;
    case 12:
        plug(in);
        break;
    case 13:
        host_writes(in);
        break;
    case 14:
        host_reads();
        flush_events(in->qts);
        break;
    case 15:                /* rare, as it takes long */
        switch (take8(in) % (in->replaced < CONTROLLERS_MAX ? 8 : 6)) {
        case 0:
            vm_stop(RUN_STATE_PAUSED);
            flush_events(in->qts);
            vm_start();
            break;
        case 1:             /* any message */
            send_control(in, take32(in), take16(in), take16(in));
            break;
        case 2:             /* the configuration, with emergency writes */
            qpci_io_writeb(in->pci->pdev, in->pci->bar,
                           in->pci->device_cfg_offset + take8(in), take8(in));
            break;
        case 6:
            in->replace = take8(in) & 1;
            replace_controller(in, in->replace);
            break;
        case 7:
            migrate(in);
            break;
        default:
            flush_events(in->qts);
        }
        break;
    }
}

static void virtio_serial_fuzz(QTestState *qts, const unsigned char *data,
                               size_t size)
{
    QVirtioSerial *serial = fuzz_qos_obj;
    FuzzInput in = {
        .qts = qts,
        .pci = container_of(serial->vdev, QVirtioPCIDevice, vdev),
        .data = data,
        .size = size,
    };

    clear(&in, POOL_BASE, POOL_SIZE);
    start(&in);
    while (in.size) {
        step(&in);
    }
    flush_events(qts);

    if (in.replace) {
        replace_controller(&in, false);
    } else {
        cfg8(&in, VIRTIO_PCI_COMMON_STATUS, 0);
        if (is_plugged()) {
            qmp_device_del(PLUGGED, NULL);
        }
    }
    host_reads();
    flush_events(qts);
    /* What waits to be freed is freed at times: to wait takes 60 ms */
    if (++inputs % FREED == 0) {
        drain_call_rcu();
    }
}

static void pre_fuzz(QTestState *qts)
{
    QVirtioSerial *serial;
    QVirtioPCIDevice *pci;
    FuzzInput in = { .qts = qts };
    int i;

    qos_init_path(qts);
    serial = fuzz_qos_obj;
    pci = container_of(serial->vdev, QVirtioPCIDevice, vdev);
    /* Only a modern device has these registers */
    g_assert(pci->common_cfg_offset || pci->notify_cfg_offset);
    for (i = 0; i < BARS; i++) {
        bars[i] = qpci_config_readl(pci->pdev, PCI_BASE_ADDRESS_0 + 4 * i);
    }
    pci_command = qpci_config_readw(pci->pdev, PCI_COMMAND);
    add_ports();

    /* Or no input would get any further than a stream that is refused */
    in.pci = pci;
    start(&in);
    g_assert_true(migrate(&in));
    replace_controller(&in, false);
}

static void *options(GString *cmd_line, void *arg)
{
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    host = ends[0];
    qemu_end = ends[1];
    g_unix_set_fd_nonblocking(host, true, NULL);
    g_string_append_printf(cmd_line, " -chardev socket,id=c1,fd=%d"
                           " -global virtio-serial-pci.disable-legacy=on"
                           " -global virtio-serial-pci.ioeventfd=off"
                           " -global virtio-serial-device.packed=on "
                           " -global virtio-serial-device.max_ports=5 ",
                           qemu_end);
    return arg;
}

static void register_virtio_serial_fuzz_targets(void)
{
    fuzz_add_qos_target(&(FuzzTarget) {
            .name = "virtio-serial-ports",
            .description = "Fuzz virtio-serial as driver and host",
            .pre_fuzz = pre_fuzz,
            .fuzz = virtio_serial_fuzz,
        },
        "virtio-serial", &(QOSGraphTestOptions) { .before = options });
}

fuzz_target_init(register_virtio_serial_fuzz_targets);
