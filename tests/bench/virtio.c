/*
 * A driver's half of virtio: modern virtio-pci, split and packed rings
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <endian.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include "virtio.h"

#define PCI_VENDOR_ID_REDHAT_QUMRANET 0x1af4

#define PAGE                4096

/* The size of a field of the kernel's header, and where it is in the device */
#define COMMON(dev, field) \
    (dev)->common + offsetof(struct virtio_pci_common_cfg, field), \
    sizeof(((struct virtio_pci_common_cfg *)NULL)->field)

static uint8_t get_status(VirtioDevice *dev)
{
    return machine_read(dev->machine, COMMON(dev, device_status));
}

static void set_status(VirtioDevice *dev, uint8_t status)
{
    machine_write(dev->machine, COMMON(dev, device_status), status);
}

static uint64_t get_features(VirtioDevice *dev)
{
    uint64_t features = 0;
    int i;

    for (i = 0; i < 2; i++) {
        machine_write(dev->machine, COMMON(dev, device_feature_select), i);
        features |= machine_read(dev->machine, COMMON(dev, device_feature))
                    << 32 * i;
    }
    return features;
}

static void set_features(VirtioDevice *dev, uint64_t features)
{
    int i;

    for (i = 0; i < 2; i++) {
        machine_write(dev->machine, COMMON(dev, guest_feature_select), i);
        machine_write(dev->machine, COMMON(dev, guest_feature),
                      (uint32_t)(features >> 32 * i));
    }
    dev->features = features;
}

static void virtio_capability(VirtioDevice *dev, uint8_t cap)
{
    Machine *m = dev->machine;
    unsigned int bar = machine_pci_read(m, dev->devfn,
                                        cap + VIRTIO_PCI_CAP_BAR, 1);
    uint64_t address = machine_pci_bar(dev->devfn, bar) +
        machine_pci_read(m, dev->devfn, cap + VIRTIO_PCI_CAP_OFFSET, 4);

    switch (machine_pci_read(m, dev->devfn, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
    case VIRTIO_PCI_CAP_COMMON_CFG:
        dev->common = address;
        break;
    case VIRTIO_PCI_CAP_NOTIFY_CFG:
        dev->notify = address;
        dev->notify_multiplier =
            machine_pci_read(m, dev->devfn, cap + VIRTIO_PCI_NOTIFY_CAP_MULT,
                             4);
        break;
    case VIRTIO_PCI_CAP_DEVICE_CFG:
        dev->config = address;
        break;
    }
}

static void msix_capability(VirtioDevice *dev, uint8_t cap)
{
    uint32_t table = machine_pci_read(dev->machine, dev->devfn,
                                      cap + PCI_MSIX_TABLE, 4);

    dev->msix_table = machine_pci_bar(dev->devfn,
                                      table & PCI_MSIX_TABLE_BIR) +
                      (table & PCI_MSIX_TABLE_OFFSET);
    machine_pci_write(dev->machine, dev->devfn, cap + PCI_MSIX_FLAGS, 2,
                      PCI_MSIX_FLAGS_ENABLE);
}

static void find_capabilities(VirtioDevice *dev)
{
    Machine *m = dev->machine;
    uint8_t cap = machine_pci_read(m, dev->devfn, PCI_CAPABILITY_LIST, 1);

    while (cap) {
        switch (machine_pci_read(m, dev->devfn, cap + PCI_CAP_LIST_ID, 1)) {
        case PCI_CAP_ID_VNDR:
            virtio_capability(dev, cap);
            break;
        case PCI_CAP_ID_MSIX:
            msix_capability(dev, cap);
            break;
        }
        cap = machine_pci_read(m, dev->devfn, cap + PCI_CAP_LIST_NEXT, 1);
    }
    g_assert(dev->common && dev->notify && dev->config && dev->msix_table);
}

VirtioDevice *virtio_device_new(Machine *m, uint8_t devfn, uint64_t wanted)
{
    VirtioDevice *dev = g_new0(VirtioDevice, 1);
    const uint64_t version_1 = 1ull << VIRTIO_F_VERSION_1;

    dev->machine = m;
    dev->devfn = devfn;
    g_assert_cmphex(machine_pci_read(m, devfn, PCI_VENDOR_ID, 2), ==,
                    PCI_VENDOR_ID_REDHAT_QUMRANET);
    machine_pci_enable(m, devfn);
    find_capabilities(dev);

    set_status(dev, 0);
    set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    set_features(dev, get_features(dev) & (wanted | version_1));
    g_assert(dev->features & version_1);
    set_status(dev, get_status(dev) | VIRTIO_CONFIG_S_FEATURES_OK);
    g_assert(get_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK);
    return dev;
}

void virtio_device_stop(VirtioDevice *dev)
{
    set_status(dev, 0);
}

void virtio_device_free(VirtioDevice *dev)
{
    unsigned int i;

    virtio_device_stop(dev);
    for (i = 0; i < dev->nr_eventfds; i++) {
        close(dev->eventfds[i]);
    }
    g_free(dev->eventfds);
    g_free(dev);
}

void virtio_device_driver_ok(VirtioDevice *dev)
{
    set_status(dev, get_status(dev) | VIRTIO_CONFIG_S_DRIVER_OK);
}

bool virtio_device_needs_reset(VirtioDevice *dev)
{
    return get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

void virtio_device_move(VirtioDevice *dev, Machine *m)
{
    dev->machine = m;
}

bool virtio_device_negotiated(const VirtioDevice *dev, unsigned int feature)
{
    return dev->features & 1ull << feature;
}

void virtio_device_start(VirtioDevice *dev)
{
    g_autoptr(GArray) before = machine_eventfds(dev->machine);
    g_autoptr(GArray) after = NULL;
    unsigned int i, j = 0;

    virtio_device_driver_ok(dev);

    /*
     * With ioeventfd QEMU has made one for each queue now, in their order, and
     * the lowest number that is free is what a file descriptor gets.
     */
    after = machine_eventfds(dev->machine);
    dev->eventfds = g_new0(int, after->len);
    for (i = 0; i < after->len; i++) {
        int fd = g_array_index(after, int, i);

        if (j < before->len && fd == g_array_index(before, int, j)) {
            j++;
        } else {
            dev->eventfds[dev->nr_eventfds++] =
                machine_get_fd(dev->machine, fd);
        }
    }
}

static void alloc_split(Virtqueue *vq)
{
    Machine *m = vq->dev->machine;
    uint16_t i;

    vq->desc = machine_alloc(m, vq->size * sizeof(*vq->desc), PAGE);
    vq->avail = machine_alloc(m, sizeof(*vq->avail) +
                              (vq->size + 1) * sizeof(uint16_t), PAGE);
    vq->used = machine_alloc(m, sizeof(*vq->used) +
                             vq->size * sizeof(struct vring_used_elem) +
                             sizeof(uint16_t), PAGE);
    vq->used_event = &vq->avail->ring[vq->size];
    vq->avail_event = (uint16_t *)&vq->used->ring[vq->size];
    vq->areas[0] = vq->desc;
    vq->areas[1] = vq->avail;
    vq->areas[2] = vq->used;
    for (i = 0; i < vq->size; i++) {
        /* Round, so that who takes them in order finds the next one there */
        vq->desc[i].next = htole16((i + 1) % vq->size);
    }
}

static void set_driver_event(Virtqueue *vq)
{
    bool event_idx = virtio_device_negotiated(vq->dev,
                                              VIRTIO_RING_F_EVENT_IDX);
    uint16_t at = vq->last_used |
                  vq->used_wrap << VRING_PACKED_EVENT_F_WRAP_CTR;

    __atomic_store_n(&vq->driver_event->off_wrap, htole16(at),
                     __ATOMIC_RELAXED);
    __atomic_store_n(&vq->driver_event->flags,
                     htole16(event_idx ? VRING_PACKED_EVENT_FLAG_DESC
                                       : VRING_PACKED_EVENT_FLAG_ENABLE),
                     __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void alloc_packed(Virtqueue *vq)
{
    Machine *m = vq->dev->machine;
    uint16_t i;

    vq->packed = machine_alloc(m, vq->size * sizeof(*vq->packed), PAGE);
    vq->driver_event = machine_alloc(m, sizeof(*vq->driver_event), 64);
    vq->device_event = machine_alloc(m, sizeof(*vq->device_event), 64);
    vq->areas[0] = vq->packed;
    vq->areas[1] = vq->driver_event;
    vq->areas[2] = vq->device_event;
    vq->avail_wrap = vq->used_wrap = true;
    vq->ids = g_new(uint16_t, vq->size);
    for (i = 0; i < vq->size; i++) {
        vq->ids[i] = i;
    }
    vq->nr_ids = vq->size;
    set_driver_event(vq);
}

Virtqueue *virtqueue_new(VirtioDevice *dev, uint16_t index, uint16_t size,
                         uint16_t vector)
{
    Machine *m = dev->machine;
    Virtqueue *vq = g_new0(Virtqueue, 1);
    uint64_t entry = dev->msix_table + vector * PCI_MSIX_ENTRY_SIZE;

    machine_write(m, COMMON(dev, queue_select), index);
    if (size) {
        machine_write(m, COMMON(dev, queue_size), size);
    }
    vq->dev = dev;
    vq->index = index;
    vq->size = machine_read(m, COMMON(dev, queue_size));
    g_assert(vq->size);
    vq->in_order = virtio_device_negotiated(dev, VIRTIO_F_IN_ORDER);
    vq->interrupt = machine_alloc(m, sizeof(*vq->interrupt), 64);
    vq->tokens = g_new0(void *, vq->size);
    vq->lengths = g_new0(uint16_t, vq->size);
    vq->free_count = vq->size;
    if (virtio_device_negotiated(dev, VIRTIO_F_RING_PACKED)) {
        alloc_packed(vq);
    } else {
        alloc_split(vq);
    }

    machine_write(m, entry + PCI_MSIX_ENTRY_LOWER_ADDR, 4, dev->doorbell ?
                  dev->doorbell->address : machine_address(m, vq->interrupt));
    machine_write(m, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
    machine_write(m, entry + PCI_MSIX_ENTRY_DATA, 4, dev->doorbell ?
                  dev->doorbell->data : 1);
    machine_write(m, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0);
    machine_write(m, COMMON(dev, queue_msix_vector), vector);
    g_assert_cmphex(machine_read(m, COMMON(dev, queue_msix_vector)), ==,
                    vector);

    machine_write(m, COMMON(dev, queue_desc_lo),
                  machine_address(m, vq->areas[0]));
    machine_write(m, COMMON(dev, queue_desc_hi), 0);
    machine_write(m, COMMON(dev, queue_avail_lo),
                  machine_address(m, vq->areas[1]));
    machine_write(m, COMMON(dev, queue_avail_hi), 0);
    machine_write(m, COMMON(dev, queue_used_lo),
                  machine_address(m, vq->areas[2]));
    machine_write(m, COMMON(dev, queue_used_hi), 0);
    vq->notify = dev->notify + dev->notify_multiplier *
                 machine_read(m, COMMON(dev, queue_notify_off));
    machine_write(m, COMMON(dev, queue_enable), 1);
    return vq;
}

void virtqueue_free(Virtqueue *vq)
{
    g_free(vq->tokens);
    g_free(vq->lengths);
    g_free(vq->ids);
    g_free(vq);
}

uint16_t virtqueue_size(const Virtqueue *vq)
{
    return vq->size;
}

uint16_t virtqueue_room(const Virtqueue *vq)
{
    return vq->free_count;
}

bool virtqueue_interrupted(Virtqueue *vq)
{
    return __atomic_exchange_n(vq->interrupt, 0, __ATOMIC_SEQ_CST);
}

/* What a descriptor of a split ring, or of an indirect table, says */
static void set_desc(Virtqueue *vq, struct vring_desc *desc,
                     const struct iovec *iov, bool in, bool last)
{
    desc->addr = htole64(machine_address(vq->dev->machine, iov->iov_base));
    desc->len = htole32(iov->iov_len);
    desc->flags = htole16((in ? VRING_DESC_F_WRITE : 0) |
                          (last ? 0 : VRING_DESC_F_NEXT));
}

static void add_split(Virtqueue *vq, const struct iovec *iov, unsigned int out,
                      unsigned int in, bool indirect, void *token)
{
    uint16_t head = vq->free_head, idx = le16toh(vq->avail->idx);
    struct vring_desc *desc = NULL;
    unsigned int i;

    for (i = 0; i < out + in; i++) {
        desc = &vq->desc[vq->free_head];
        set_desc(vq, desc, &iov[i], i >= out, i + 1 == out + in);
        if (indirect) {
            desc->flags = htole16(VRING_DESC_F_INDIRECT);
        }
        vq->free_head = le16toh(desc->next);
    }
    vq->lengths[head] = out + in;
    vq->tokens[head] = token;

    vq->avail->ring[idx % vq->size] = htole16(head);
    /* The device sees the buffer no later than the index that counts it */
    __atomic_store_n(&vq->avail->idx, htole16(idx + 1), __ATOMIC_RELEASE);
}

static void add_packed(Virtqueue *vq, const struct iovec *iov, unsigned int out,
                       unsigned int in, bool indirect, void *token)
{
    struct vring_packed_desc *head = &vq->packed[vq->next_avail];
    uint16_t id = vq->ids[--vq->nr_ids], head_flags = 0;
    unsigned int i;

    for (i = 0; i < out + in; i++) {
        struct vring_packed_desc *desc = &vq->packed[vq->next_avail];
        uint16_t flags = (i < out ? 0 : VRING_DESC_F_WRITE) |
                         (i + 1 < out + in ? VRING_DESC_F_NEXT : 0) |
                         (indirect ? VRING_DESC_F_INDIRECT : 0) |
                         vq->avail_wrap << VRING_PACKED_DESC_F_AVAIL |
                         !vq->avail_wrap << VRING_PACKED_DESC_F_USED;

        desc->addr = htole64(machine_address(vq->dev->machine,
                                             iov[i].iov_base));
        desc->len = htole32(iov[i].iov_len);
        desc->id = htole16(id);
        if (desc == head) {
            head_flags = flags;
        } else {
            desc->flags = htole16(flags);
        }
        if (++vq->next_avail == vq->size) {
            vq->next_avail = 0;
            vq->avail_wrap = !vq->avail_wrap;
        }
    }
    vq->added += out + in;
    vq->lengths[id] = out + in;
    vq->tokens[id] = token;
    /* The device sees all of it or nothing */
    __atomic_store_n(&head->flags, htole16(head_flags), __ATOMIC_RELEASE);
}

static bool add(Virtqueue *vq, const struct iovec *iov, unsigned int out,
                unsigned int in, bool indirect, void *token)
{
    g_assert(out + in && token);
    if (vq->free_count < out + in) {
        return false;
    }
    vq->free_count -= out + in;
    if (vq->packed) {
        add_packed(vq, iov, out, in, indirect, token);
    } else {
        add_split(vq, iov, out, in, indirect, token);
    }
    if (vq->in_order) {
        g_queue_push_tail(&vq->order, token);
    }
    return true;
}

bool virtqueue_add(Virtqueue *vq, const struct iovec *iov, unsigned int out,
                   unsigned int in, void *token)
{
    return add(vq, iov, out, in, false, token);
}

bool virtqueue_add_indirect(Virtqueue *vq, struct vring_desc *table,
                            const struct iovec *iov, unsigned int out,
                            unsigned int in, void *token)
{
    struct iovec whole = { table, (out + in) * sizeof(*table) };
    unsigned int i;

    for (i = 0; i < out + in; i++) {
        set_desc(vq, &table[i], &iov[i], i >= out, i + 1 == out + in);
        if (vq->packed) {
            /* The order is that of the table, and the flag is reserved */
            table[i].flags &= htole16(~VRING_DESC_F_NEXT);
            table[i].next = 0;
            /* In this layout the flags are last */
            ((struct vring_packed_desc *)table)[i] = (struct vring_packed_desc)
                { table[i].addr, table[i].len, 0, table[i].flags };
        } else {
            table[i].next = htole16(i + 1 == out + in ? 0 : i + 1);
        }
    }
    return add(vq, &whole, 1, 0, true, token);
}

/* Does the device want to hear of what was added since the last kick? */
static bool split_needs_kick(Virtqueue *vq)
{
    uint16_t old = vq->last_kick, new = le16toh(vq->avail->idx);

    vq->last_kick = new;
    if (new == old) {
        return false;
    }
    /* Either the device sees the new index or we see that it waits for it */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (virtio_device_negotiated(vq->dev, VIRTIO_RING_F_EVENT_IDX)) {
        return vring_need_event(
            le16toh(__atomic_load_n(vq->avail_event, __ATOMIC_RELAXED)),
            new, old);
    }
    return !(__atomic_load_n(&vq->used->flags, __ATOMIC_RELAXED) &
             htole16(VRING_USED_F_NO_NOTIFY));
}

static bool packed_needs_kick(Virtqueue *vq)
{
    uint16_t new = vq->next_avail, old = new - vq->added, flags, at, event;

    if (!vq->added) {
        return false;
    }
    vq->added = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    flags = le16toh(__atomic_load_n(&vq->device_event->flags,
                                    __ATOMIC_ACQUIRE));
    if (flags != VRING_PACKED_EVENT_FLAG_DESC) {
        return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
    }
    at = le16toh(__atomic_load_n(&vq->device_event->off_wrap,
                                 __ATOMIC_RELAXED));
    event = at & ~(1 << VRING_PACKED_EVENT_F_WRAP_CTR);
    if (at >> VRING_PACKED_EVENT_F_WRAP_CTR != vq->avail_wrap) {
        event -= vq->size;
    }
    return vring_need_event(event, new, old);
}

bool virtqueue_kick(Virtqueue *vq)
{
    bool needed = vq->packed ? packed_needs_kick(vq) : split_needs_kick(vq);

    if (needed) {
        virtqueue_notify(vq);
    }
    return needed;
}

void virtqueue_notify(Virtqueue *vq)
{
    const uint64_t one = 1;

    vq->kicks++;
    if (vq->index < vq->dev->nr_eventfds) {
        g_assert(write(vq->dev->eventfds[vq->index], &one, sizeof(one)) ==
                 sizeof(one));
        return;
    }
    machine_write(vq->dev->machine, vq->notify, 2, vq->index);
}

static bool get_split(Virtqueue *vq, uint16_t *head, uint32_t *len)
{
    struct vring_used_elem *elem = &vq->used->ring[vq->last_used % vq->size];
    uint16_t last, i;

    if (le16toh(__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE)) ==
        vq->last_used) {
        return false;
    }
    g_assert_cmpuint(le32toh(elem->id), <, vq->size);
    *head = le32toh(elem->id);
    *len = le32toh(elem->len);
    g_assert(vq->tokens[*head]);

    /* Who takes descriptors in order finds those that come next linked */
    if (!vq->in_order) {
        for (last = *head, i = 1; i < vq->lengths[*head]; i++) {
            last = le16toh(vq->desc[last].next);
        }
        vq->desc[last].next = htole16(vq->free_head);
        vq->free_head = *head;
    }
    vq->last_used++;
    __atomic_store_n(vq->used_event, htole16(vq->last_used), __ATOMIC_SEQ_CST);
    return true;
}

static bool get_packed(Virtqueue *vq, uint16_t *id, uint32_t *len)
{
    struct vring_packed_desc *desc = &vq->packed[vq->last_used];
    uint16_t flags = le16toh(__atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE));

    if ((flags >> VRING_PACKED_DESC_F_AVAIL & 1) != vq->used_wrap ||
        (flags >> VRING_PACKED_DESC_F_USED & 1) != vq->used_wrap) {
        return false;
    }
    *id = le16toh(desc->id);
    g_assert(*id < vq->size && vq->tokens[*id]);
    *len = le32toh(desc->len);
    vq->ids[vq->nr_ids++] = *id;
    vq->last_used += vq->lengths[*id];
    if (vq->last_used >= vq->size) {
        vq->last_used -= vq->size;
        vq->used_wrap = !vq->used_wrap;
    }
    set_driver_event(vq);
    return true;
}

void *virtqueue_get(Virtqueue *vq, uint32_t *len)
{
    uint32_t used;
    uint16_t id;
    void *token;

    if (vq->packed ? !get_packed(vq, &id, &used)
                   : !get_split(vq, &id, &used)) {
        return NULL;
    }
    token = vq->tokens[id];
    vq->tokens[id] = NULL;
    vq->free_count += vq->lengths[id];
    if (vq->in_order) {
        g_assert(g_queue_pop_head(&vq->order) == token);
    }
    if (len) {
        *len = used;
    }
    return token;
}

/*
 * After so many turns of QEMU's main loop without a used buffer, no buffer will
 * come: in each turn the device does what it was notified for. Before it asks
 * for a turn, the driver looks at the ring so often: it has to see the first
 * used buffer while the device is at work.
 */
#define QUIET_TURNS 20
#define LOOKS       20000

static unsigned int take_back(Virtqueue *vq)
{
    unsigned int count = 0;

    while (virtqueue_get(vq, NULL)) {
        count++;
    }
    return count;
}

bool virtqueue_race(Virtqueue *vq, const struct iovec *iov,
                    unsigned int count)
{
    unsigned int turns = 0, looks = 0;

    while (turns < QUIET_TURNS) {
        bool progress = take_back(vq);

        for (; count && virtqueue_add(vq, iov, 1, 0, vq); count--) {
            progress = true;
        }
        progress |= virtqueue_kick(vq);
        if (!count && vq->free_count == vq->size) {
            return true;
        }
        if (progress) {
            turns = looks = 0;
        } else if (++looks >= LOOKS) {
            machine_read(vq->dev->machine, 0, 1);
            turns++;
        }
    }
    return false;
}
