/*
 * What a transfer over USB costs QEMU, with a controller or with virtio-usb
 *
 * Starts one QEMU with a USB disk, reads from the disk as Linux' usb-storage
 * does (a command, data and a status, one after the other), and prints what
 * was done as CSV: a line of names and one of values. The drivers make the
 * accesses to registers that Linux 6.1 makes; bench_usb_hcd.py counts these in
 * a real guest.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <endian.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/pci_regs.h>
#include "machine.h"
#include "virtio.h"

#define QEMU_BUILD_BUG_ON(x) _Static_assert(!(x), #x)
#include "hw/virtio/virtio-usb.h"

#define DEVFN           (4 << 3)
#define PAGE            4096
#define SECTOR          512
/* usb-storage of Linux takes no more in a command at high speed */
#define COMMAND_MAX     (240 * SECTOR)
#define ADDRESS         2

typedef struct Options {
    char *device;           /* the controller, with its properties */
    int size;               /* of a read, in bytes */
    int count;              /* of reads */
    char *callgrind;        /* its output, NULL: run QEMU as it is */
    char **command;         /* of QEMU */
} Options;

/* A transfer of bulk data or a control transfer */
typedef struct Transfer {
    bool in;
    const uint8_t *setup;   /* NULL: bulk */
    const struct iovec *iov;
    int pieces;
    uint32_t length;
} Transfer;

typedef struct Driver Driver;
struct Driver {
    Machine *m;
    void (*transfer)(Driver *drv, const Transfer *transfer);
    uint64_t accesses;
    uint64_t urbs;
    uint8_t *command, *status;      /* of usb-storage */
    uint32_t tag;
};

/*
 * Accesses that are counted
 */

static void reg_write(Driver *drv, uint64_t address, uint32_t value)
{
    drv->accesses++;
    machine_write(drv->m, address, 4, value);
}

static uint32_t reg_read(Driver *drv, uint64_t address)
{
    drv->accesses++;
    return machine_read(drv->m, address, 4);
}

static void wait_for_interrupt(uint32_t *word)
{
    while (!__atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST)) {
        sched_yield();
    }
}

/*
 * xHCI
 */

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
#define IMAN_IE         (1 << 1)
#define ERDP_EHB        (1 << 3)
#define PORTSC_CCS      (1 << 0)
#define PORTSC_PR       (1 << 4)
#define PORTSC_PP       (1 << 9)

#define TRB_NORMAL      1
#define TRB_SETUP       2
#define TRB_DATA        3
#define TRB_STATUS      4
#define TRB_LINK        6
#define TRB_ENABLE_SLOT 9
#define TRB_ADDRESS     11
#define TRB_CONFIGURE   12
#define TRB_TRANSFER    32
#define TRB_COMPLETION  33

#define TRB_C           (1 << 0)
#define TRB_TC          (1 << 1)
#define TRB_ISP         (1 << 2)
#define TRB_CH          (1 << 4)
#define TRB_IOC         (1 << 5)
#define TRB_IDT         (1 << 6)
#define TRB_DATA_IN     (1 << 16)
#define TRB_TYPE(type)  ((type) << 10)
#define TRB_LENGTH_MAX  65536

#define CC_SUCCESS      1

#define RING_SIZE       256
#define CONTEXT         32

#define DCI_BULK_IN     3       /* endpoint 1 IN */
#define DCI_BULK_OUT    4       /* endpoint 2 OUT */

typedef struct TRB {
    uint64_t parameter;
    uint32_t status;
    uint32_t control;
} TRB;

typedef struct Ring {
    TRB *trbs;
    unsigned int next;
    uint32_t cycle;
} Ring;

typedef struct XHCI {
    Driver drv;
    uint64_t bar;
    Ring command, event, ep0, in, out;
    uint32_t *interrupt;
    int slot;
} XHCI;

static void *page_new(Machine *m)
{
    return machine_alloc(m, PAGE, PAGE);
}

static void ring_new(Machine *m, Ring *ring)
{
    ring->trbs = page_new(m);
    ring->cycle = TRB_C;
}

static void ring_add(XHCI *x, Ring *ring, uint64_t parameter, uint32_t status,
                     uint32_t control)
{
    TRB *trb = &ring->trbs[ring->next];

    trb->parameter = htole64(parameter);
    trb->status = htole32(status);
    __atomic_store_n(&trb->control, htole32(control | ring->cycle),
                     __ATOMIC_RELEASE);
    if (++ring->next == RING_SIZE - 1) {
        trb = &ring->trbs[ring->next];
        trb->parameter = htole64(machine_address(x->drv.m, ring->trbs));
        trb->status = 0;
        __atomic_store_n(&trb->control,
                         htole32(TRB_TYPE(TRB_LINK) | TRB_TC |
                                 (control & TRB_CH) | ring->cycle),
                         __ATOMIC_RELEASE);
        ring->next = 0;
        ring->cycle ^= TRB_C;
    }
}

static void doorbell(XHCI *x, int slot, int target)
{
    reg_write(&x->drv, x->bar + DOORBELL(slot), target);
    /* Linux has the write reach the controller */
    reg_read(&x->drv, x->bar + DOORBELL(slot));
}

/* Wait for the one event that is to come, and handle its interrupt as Linux */
static TRB next_event(XHCI *x, int type)
{
    Driver *drv = &x->drv;
    TRB *trb, event;

    for (;;) {
        wait_for_interrupt(x->interrupt);
        g_assert(reg_read(drv, x->bar + USBSTS) & USBSTS_EINT);
        reg_write(drv, x->bar + USBSTS, USBSTS_EINT);
        event.control = 0;
        for (;;) {
            trb = &x->event.trbs[x->event.next];
            if ((le32toh(__atomic_load_n(&trb->control, __ATOMIC_ACQUIRE)) &
                 TRB_C) != x->event.cycle) {
                break;
            }
            event = *trb;
            if (++x->event.next == RING_SIZE) {
                x->event.next = 0;
                x->event.cycle ^= TRB_C;
            }
        }
        reg_read(drv, x->bar + ERDP);
        reg_read(drv, x->bar + ERDP + 4);
        reg_write(drv, x->bar + ERDP, machine_address(drv->m, trb) | ERDP_EHB);
        reg_write(drv, x->bar + ERDP + 4, 0);
        event.control = le32toh(event.control);
        if ((event.control >> 10 & 0x3f) == type) {
            g_assert_cmpuint(le32toh(event.status) >> 24, ==, CC_SUCCESS);
            return event;
        }
    }
}

static void xhci_command(XHCI *x, uint64_t parameter, int type)
{
    ring_add(x, &x->command, parameter, 0,
             TRB_TYPE(type) | x->slot << 24);
    doorbell(x, 0, 0);
    x->slot = next_event(x, TRB_COMPLETION).control >> 24;
}

static void xhci_bulk(XHCI *x, const Transfer *t)
{
    Ring *ring = t->in ? &x->in : &x->out;
    uint32_t left = t->length;
    int i;

    for (i = 0; i < t->pieces && left; i++) {
        uint64_t at = machine_address(x->drv.m, t->iov[i].iov_base);
        uint32_t len = MIN(left, t->iov[i].iov_len);

        while (len) {
            uint32_t part = MIN(len, TRB_LENGTH_MAX - at % TRB_LENGTH_MAX);
            /* Packets that are still to come */
            uint32_t after = left > part ? MIN((left - part + 511) / 512, 31)
                                         : 0;

            left -= part;
            len -= part;
            ring_add(x, ring, at, part | after << 17, TRB_TYPE(TRB_NORMAL) |
                     (t->in ? TRB_ISP : 0) | (left ? TRB_CH : TRB_IOC));
            at += part;
        }
    }
    doorbell(x, x->slot, t->in ? DCI_BULK_IN : DCI_BULK_OUT);
}

static void xhci_transfer(Driver *drv, const Transfer *t)
{
    XHCI *x = (XHCI *)drv;
    uint64_t setup;

    if (!t->setup) {
        xhci_bulk(x, t);
    } else {
        /* Only such without data are needed */
        g_assert(!t->length);
        memcpy(&setup, t->setup, sizeof(setup));
        ring_add(x, &x->ep0, le64toh(setup), sizeof(setup),
                 TRB_TYPE(TRB_SETUP) | TRB_IDT);
        ring_add(x, &x->ep0, 0, 0, TRB_TYPE(TRB_STATUS) | TRB_IOC |
                 TRB_DATA_IN);
        doorbell(x, x->slot, 1);
    }
    g_assert_cmpuint(le32toh(next_event(x, TRB_TRANSFER).status) & 0xffffff,
                     ==, 0);
}

static void xhci_msix(XHCI *x)
{
    Machine *m = x->drv.m;
    uint8_t cap = machine_pci_read(m, DEVFN, PCI_CAPABILITY_LIST, 1);
    uint32_t table;
    uint64_t entry;

    while (machine_pci_read(m, DEVFN, cap + PCI_CAP_LIST_ID, 1) !=
           PCI_CAP_ID_MSIX) {
        cap = machine_pci_read(m, DEVFN, cap + PCI_CAP_LIST_NEXT, 1);
        g_assert(cap);
    }
    table = machine_pci_read(m, DEVFN, cap + PCI_MSIX_TABLE, 4);
    entry = machine_pci_bar(DEVFN, table & PCI_MSIX_TABLE_BIR) +
            (table & PCI_MSIX_TABLE_OFFSET);
    machine_pci_write(m, DEVFN, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
    x->interrupt = machine_alloc(m, sizeof(*x->interrupt), 64);
    machine_write(m, entry + PCI_MSIX_ENTRY_LOWER_ADDR, 4,
                  machine_address(m, x->interrupt));
    machine_write(m, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
    machine_write(m, entry + PCI_MSIX_ENTRY_DATA, 4, 1);
    machine_write(m, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0);
}

static void endpoint_context(XHCI *x, uint8_t *context, int type, int size,
                             Ring *ring)
{
    uint32_t *words = (uint32_t *)context;

    words[1] = htole32(3 << 1 | type << 3 | size << 16);
    words[2] = htole32(machine_address(x->drv.m, ring->trbs) | TRB_C);
    words[4] = htole32(size);
}

static Driver *xhci_new(Machine *m)
{
    static const uint8_t configure[8] = { 0, 9, 1 };
    XHCI *x = g_new0(XHCI, 1);
    Driver *drv = &x->drv;
    uint64_t *dcbaa, *erst, bar;
    uint8_t *in, *out;
    int port;

    drv->m = m;
    drv->transfer = xhci_transfer;
    machine_pci_enable(m, DEVFN);
    xhci_msix(x);
    bar = x->bar = machine_pci_bar(DEVFN, 0);
    dcbaa = page_new(m);
    erst = page_new(m);
    in = page_new(m);
    out = page_new(m);
    ring_new(m, &x->command);
    ring_new(m, &x->event);
    ring_new(m, &x->ep0);
    ring_new(m, &x->in);
    ring_new(m, &x->out);

    erst[0] = htole64(machine_address(m, x->event.trbs));
    erst[1] = htole64(RING_SIZE);
    reg_write(drv, bar + CONFIG, 8);
    reg_write(drv, bar + DCBAAP, machine_address(m, dcbaa));
    reg_write(drv, bar + DCBAAP + 4, 0);
    reg_write(drv, bar + CRCR, machine_address(m, x->command.trbs) | TRB_C);
    reg_write(drv, bar + CRCR + 4, 0);
    reg_write(drv, bar + ERSTSZ, 1);
    reg_write(drv, bar + ERDP, machine_address(m, x->event.trbs));
    reg_write(drv, bar + ERDP + 4, 0);
    reg_write(drv, bar + ERSTBA, machine_address(m, erst));
    reg_write(drv, bar + ERSTBA + 4, 0);
    reg_write(drv, bar + IMAN, IMAN_IE);
    reg_write(drv, bar + USBCMD, USBCMD_RUN | USBCMD_INTE);

    for (port = 0; !(reg_read(drv, bar + PORTSC(port)) & PORTSC_CCS); port++) {
        g_assert_cmpint(port, <, PORTS);
    }
    reg_write(drv, bar + PORTSC(port), PORTSC_PP | PORTSC_PR);

    xhci_command(x, 0, TRB_ENABLE_SLOT);
    dcbaa[x->slot] = htole64(machine_address(m, out));
    /* Of the slot and endpoint 0 */
    ((uint32_t *)in)[1] = htole32(1 << 0 | 1 << 1);
    ((uint32_t *)(in + CONTEXT))[0] = htole32(3 << 20 | 1 << 27);
    ((uint32_t *)(in + CONTEXT))[1] = htole32((port + 1) << 16);
    endpoint_context(x, in + 2 * CONTEXT, 4, 64, &x->ep0);
    xhci_command(x, machine_address(m, in), TRB_ADDRESS);

    drv->transfer(drv, &(Transfer) { .setup = configure });
    memset(in, 0, PAGE);
    ((uint32_t *)in)[1] = htole32(1 << 0 | 1 << DCI_BULK_IN |
                                  1 << DCI_BULK_OUT);
    ((uint32_t *)(in + CONTEXT))[0] = htole32(3 << 20 | DCI_BULK_OUT << 27);
    ((uint32_t *)(in + CONTEXT))[1] = htole32((port + 1) << 16);
    endpoint_context(x, in + (DCI_BULK_IN + 1) * CONTEXT, 6, 512, &x->in);
    endpoint_context(x, in + (DCI_BULK_OUT + 1) * CONTEXT, 2, 512, &x->out);
    xhci_command(x, machine_address(m, in), TRB_CONFIGURE);
    return drv;
}

/*
 * virtio-usb
 */

/* Buffers for events: Linux has two for each port */
#define EVENTS          16
/* Up to so many bytes of data are copied behind the header or the result */
#define SMALL           64

typedef struct VirtIOUSB {
    Driver drv;
    VirtioDevice *dev;
    Virtqueue *vq[3];
    struct virtio_usb_command *command;
    struct virtio_usb_answer *answer;
    struct virtio_usb_request *request;
    struct virtio_usb_result *result;
    struct virtio_usb_event *events;
    struct vring_desc *table;
    struct iovec *iov;
    bool addressed;
} VirtIOUSB;

/* Notify queue @nr, and wait for its one buffer */
static uint32_t virtio_usb_wait(VirtIOUSB *v, int nr)
{
    Virtqueue *vq = v->vq[nr];
    uint64_t kicks = vq->kicks;
    uint32_t len;
    void *token;

    virtqueue_kick(vq);
    v->drv.accesses += vq->kicks - kicks;
    wait_for_interrupt(vq->interrupt);
    token = virtqueue_get(vq, &len);
    g_assert(token);
    return len;
}

static void virtio_usb_command(VirtIOUSB *v, uint16_t cmd, uint64_t arg)
{
    struct iovec iov[2] = {
        { v->command, sizeof(*v->command) }, { v->answer, sizeof(*v->answer) }
    };

    memset(v->command, 0, sizeof(*v->command));
    v->command->cmd = htole16(cmd);
    v->command->port = 1;
    v->command->arg = htole64(arg);
    g_assert(virtqueue_add_indirect(v->vq[0], v->table, iov, 1, 1, v));
    virtio_usb_wait(v, 0);
    g_assert_cmpuint(v->answer->status, ==, VIRTIO_USB_S_OK);
}

static void virtio_usb_transfer(Driver *drv, const Transfer *t)
{
    VirtIOUSB *v = (VirtIOUSB *)drv;
    unsigned int out = 0, in = 0;
    bool small = t->length && t->length <= SMALL;
    uint32_t left = small ? 0 : t->length;
    uint32_t small_out = small && !t->in ? t->length : 0;
    uint32_t small_in = small && t->in ? t->length : 0;
    int i;

    g_assert(!small || t->iov[0].iov_len >= t->length);
    memset(v->request, 0, sizeof(*v->request));
    v->request->tag = htole64(drv->urbs);
    v->request->port = 1;
    v->request->addr = v->addressed ? ADDRESS : 0;
    v->request->ep = t->setup ? 0 : t->in ? VIRTIO_USB_EP_IN | 1 : 2;
    v->request->type = t->setup ? VIRTIO_USB_TYPE_CONTROL :
                                  VIRTIO_USB_TYPE_BULK;
    v->request->length = htole32(t->length);
    if (t->setup) {
        memcpy(v->request->setup, t->setup, sizeof(v->request->setup));
    }
    if (small_out) {
        memcpy(v->request + 1, t->iov[0].iov_base, small_out);
    }
    v->iov[out++] = (struct iovec) {
        v->request, sizeof(*v->request) + small_out
    };
    if (t->in) {
        v->iov[out + in++] = (struct iovec) {
            v->result, sizeof(*v->result) + small_in
        };
    }
    for (i = 0; i < t->pieces && left; i++) {
        uint32_t part = MIN(left, t->iov[i].iov_len);

        v->iov[out + in] = (struct iovec) { t->iov[i].iov_base, part };
        t->in ? in++ : out++;
        left -= part;
    }
    if (!t->in) {
        v->iov[out + in++] = (struct iovec) { v->result, sizeof(*v->result) };
    }
    g_assert(virtqueue_add_indirect(v->vq[2], v->table, v->iov, out, in, v));
    virtio_usb_wait(v, 2);
    g_assert_cmpuint(le32toh(v->result->status), ==, VIRTIO_USB_S_OK);
    g_assert_cmpuint(le32toh(v->result->actual), ==, t->length);
    if (small_in) {
        memcpy(t->iov[0].iov_base, v->result + 1, small_in);
    }
}

static Driver *virtio_usb_new(Machine *m)
{
    static const uint8_t address[8] = { 0, 5, ADDRESS };
    static const uint8_t configure[8] = { 0, 9, 1 };
    VirtIOUSB *v = g_new0(VirtIOUSB, 1);
    int i;

    v->drv.m = m;
    v->drv.transfer = virtio_usb_transfer;
    v->dev = virtio_device_new(m, DEVFN, 1ull << VIRTIO_USB_F_DRAFT0 |
                               1ull << VIRTIO_RING_F_INDIRECT_DESC |
                               1ull << VIRTIO_RING_F_EVENT_IDX);
    for (i = 0; i < 3; i++) {
        v->vq[i] = virtqueue_new(v->dev, i, 0, i);
    }
    v->command = machine_alloc(m, sizeof(*v->command), 64);
    v->answer = machine_alloc(m, sizeof(*v->answer), 64);
    v->request = machine_alloc(m, sizeof(*v->request) + SMALL, 64);
    v->result = machine_alloc(m, sizeof(*v->result) + SMALL, 64);
    v->table = page_new(m);
    v->events = machine_alloc(m, EVENTS * sizeof(*v->events), 64);
    v->iov = g_new0(struct iovec, COMMAND_MAX / PAGE + 3);
    for (i = 0; i < EVENTS; i++) {
        struct iovec event = { &v->events[i], sizeof(*v->events) };

        g_assert(virtqueue_add(v->vq[1], &event, 0, 1, v));
    }
    virtio_device_start(v->dev);
    virtio_usb_command(v, VIRTIO_USB_CMD_PORT_POWER, 1);
    virtio_usb_command(v, VIRTIO_USB_CMD_PORT_RESET, 0);
    v->drv.transfer(&v->drv, &(Transfer) { .setup = address });
    v->addressed = true;
    v->drv.transfer(&v->drv, &(Transfer) { .setup = configure });
    return &v->drv;
}

/*
 * usb-storage
 */

static void storage_transfer(Driver *drv, bool in, const struct iovec *iov,
                             int pieces, uint32_t length)
{
    drv->urbs++;
    drv->transfer(drv, &(Transfer) {
        .in = in, .iov = iov, .pieces = pieces, .length = length,
    });
}

/* A command that reads @length bytes. Its status. */
static uint8_t storage_command(Driver *drv, uint8_t opcode, uint32_t sector,
                               const struct iovec *iov, int pieces,
                               uint32_t length)
{
    uint8_t *cbw = drv->command, *csw = drv->status;
    struct iovec command = { cbw, 31 }, status = { csw, 13 };
    uint32_t be_sector = htobe32(sector), le_length = htole32(length);
    uint16_t be_count = htobe16(length / SECTOR);
    uint32_t tag = htole32(++drv->tag);

    memset(cbw, 0, 31);
    memcpy(cbw, "USBC", 4);
    memcpy(cbw + 4, &tag, 4);
    memcpy(cbw + 8, &le_length, 4);
    cbw[12] = 0x80;
    cbw[14] = 10;
    cbw[15] = opcode;
    memcpy(cbw + 17, &be_sector, 4);
    memcpy(cbw + 22, &be_count, 2);
    storage_transfer(drv, false, &command, 1, 31);
    if (length) {
        storage_transfer(drv, true, iov, pieces, length);
    }
    storage_transfer(drv, true, &status, 1, 13);
    g_assert(!memcmp(csw, "USBS", 4) && !memcmp(csw + 4, &tag, 4));
    return csw[12];
}

static void read_disk(Driver *drv, const Options *o)
{
    g_autofree struct iovec *iov = NULL;
    int pieces = (o->size + PAGE - 1) / PAGE;
    uint32_t done, sector = 0;
    int i;

    iov = g_new0(struct iovec, pieces);
    for (i = 0; i < pieces; i++) {
        /* Every other page, so that no two pieces adjoin */
        iov[i].iov_base = machine_alloc(drv->m, 2 * PAGE, PAGE);
        iov[i].iov_len = PAGE;
    }
    drv->urbs = drv->accesses = 0;
    for (i = 0; i < o->count; i++) {
        for (done = 0; done < o->size; ) {
            uint32_t part = MIN(o->size - done, COMMAND_MAX);

            g_assert(!storage_command(drv, 0x28, sector, iov, pieces, part));
            sector = (sector + part / SECTOR) % (1 << 20);
            done += part;
        }
    }
}

static Machine *start_machine(const Options *o)
{
    /* What QEMU's device side is called by: an access, or a bottom half */
    static const char *const valgrind[] = {
        "valgrind", "-q", "--tool=callgrind",
        "--toggle-collect=memory_region_dispatch_read",
        "--toggle-collect=memory_region_dispatch_write",
        "--toggle-collect=aio_bh_call",
    };
    g_autoptr(GPtrArray) command = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
    int i;

    if (o->callgrind) {
        for (i = 0; i < G_N_ELEMENTS(valgrind); i++) {
            g_ptr_array_add(command, g_strdup(valgrind[i]));
        }
        g_ptr_array_add(command, g_strdup_printf("--callgrind-out-file=%s",
                                                 o->callgrind));
    }
    for (i = 0; o->command[i]; i++) {
        g_ptr_array_add(command, g_strdup(o->command[i]));
    }
#define ADD(...) g_ptr_array_add(args, g_strdup_printf(__VA_ARGS__))
    ADD("-device");
    ADD("%s,id=usb,addr=0x%x", o->device, DEVFN >> 3);
    ADD("-blockdev");
    ADD("null-co,node-name=disk,size=1073741824,read-zeroes=off");
    ADD("-device");
    ADD("usb-storage,bus=usb.0,drive=disk");
#undef ADD
    return machine_new(command, args);
}

static void measure(const Options *o)
{
    Machine *m = start_machine(o);
    Driver *drv = g_str_has_prefix(o->device, "virtio-usb") ?
                  virtio_usb_new(m) : xhci_new(m);
    uint8_t status;

    drv->command = machine_alloc(m, 31, 64);
    drv->status = machine_alloc(m, 13, 64);
    /* The first commands of a new medium end with a unit attention */
    do {
        status = storage_command(drv, 0, 0, NULL, 0, 0);
    } while (status);
    read_disk(drv, o);
    printf("urbs,accesses\n%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "\n",
           drv->urbs, drv->accesses);
    machine_free(m);
}

int main(int argc, char **argv)
{
    Options o = { .size = 128 * 1024, .count = 512 };
    const GOptionEntry entries[] = {
        { "device", 0, 0, G_OPTION_ARG_STRING, &o.device,
          "qemu-xhci or virtio-usb-pci, with properties", "DEVICE" },
        { "size", 0, 0, G_OPTION_ARG_INT, &o.size,
          "bytes of a read (131072)", "N" },
        { "count", 0, 0, G_OPTION_ARG_INT, &o.count, "reads (512)", "N" },
        { "callgrind", 0, 0, G_OPTION_ARG_FILENAME, &o.callgrind,
          "count instructions with valgrind, into FILE", "FILE" },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new("QEMU...");
    g_autoptr(GError) err = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) || argc < 2 ||
        !o.device || o.size < SECTOR || o.size % SECTOR || o.count < 0 ||
        o.size > 16 * COMMAND_MAX) {
        fprintf(stderr, "%s: %s; see --help\n", argv[0],
                err ? err->message : "wrong arguments");
        return 2;
    }
    o.command = argv + 1;
    measure(&o);
    return 0;
}
