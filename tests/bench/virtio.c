/*
 * A driver's half of virtio: modern virtio-pci, split rings
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

void virtio_device_start(VirtioDevice *dev)
{
    g_autoptr(GArray) before = machine_eventfds(dev->machine);
    g_autoptr(GArray) after = NULL;
    unsigned int i, j = 0;

    set_status(dev, get_status(dev) | VIRTIO_CONFIG_S_DRIVER_OK);

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

Virtqueue *virtqueue_new(VirtioDevice *dev, uint16_t index, uint16_t size,
                         uint16_t vector)
{
    Machine *m = dev->machine;
    Virtqueue *vq = g_new0(Virtqueue, 1);
    uint64_t entry = dev->msix_table + vector * PCI_MSIX_ENTRY_SIZE;
    uint16_t i, max;

    machine_write(m, COMMON(dev, queue_select), index);
    max = machine_read(m, COMMON(dev, queue_size));
    vq->dev = dev;
    vq->index = index;
    vq->size = size ?: max;
    g_assert_cmpuint(vq->size, <=, max);

    vq->desc = machine_alloc(m, vq->size * sizeof(*vq->desc), PAGE);
    vq->avail = machine_alloc(m, sizeof(*vq->avail) +
                              (vq->size + 1) * sizeof(uint16_t), PAGE);
    vq->used = machine_alloc(m, sizeof(*vq->used) +
                             vq->size * sizeof(struct vring_used_elem) +
                             sizeof(uint16_t), PAGE);
    vq->used_event = &vq->avail->ring[vq->size];
    vq->avail_event = (uint16_t *)&vq->used->ring[vq->size];
    vq->interrupt = machine_alloc(m, sizeof(*vq->interrupt), 64);
    vq->tokens = g_new0(void *, vq->size);
    vq->free_count = vq->size;
    for (i = 0; i < vq->size; i++) {
        vq->desc[i].next = htole16(i + 1);
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

    machine_write(m, COMMON(dev, queue_size), vq->size);
    machine_write(m, COMMON(dev, queue_desc_lo), machine_address(m, vq->desc));
    machine_write(m, COMMON(dev, queue_desc_hi), 0);
    machine_write(m, COMMON(dev, queue_avail_lo),
                  machine_address(m, vq->avail));
    machine_write(m, COMMON(dev, queue_avail_hi), 0);
    machine_write(m, COMMON(dev, queue_used_lo), machine_address(m, vq->used));
    machine_write(m, COMMON(dev, queue_used_hi), 0);
    vq->notify = dev->notify + dev->notify_multiplier *
                 machine_read(m, COMMON(dev, queue_notify_off));
    machine_write(m, COMMON(dev, queue_enable), 1);
    return vq;
}

void virtqueue_free(Virtqueue *vq)
{
    g_free(vq->tokens);
    g_free(vq);
}

bool virtqueue_add(Virtqueue *vq, const struct iovec *iov, unsigned int out,
                   unsigned int in, void *token)
{
    uint16_t head = vq->free_head, idx = le16toh(vq->avail->idx);
    struct vring_desc *desc = NULL;
    unsigned int i;

    g_assert(out + in && token);
    if (vq->free_count < out + in) {
        return false;
    }
    for (i = 0; i < out + in; i++) {
        desc = &vq->desc[vq->free_head];
        desc->addr = htole64(machine_address(vq->dev->machine,
                                             iov[i].iov_base));
        desc->len = htole32(iov[i].iov_len);
        desc->flags = htole16((i < out ? 0 : VRING_DESC_F_WRITE) |
                              VRING_DESC_F_NEXT);
        vq->free_head = le16toh(desc->next);
    }
    desc->flags &= htole16(~VRING_DESC_F_NEXT);
    vq->free_count -= out + in;
    vq->tokens[head] = token;

    vq->avail->ring[idx % vq->size] = htole16(head);
    /* The device sees the buffer no later than the index that counts it */
    __atomic_store_n(&vq->avail->idx, htole16(idx + 1), __ATOMIC_RELEASE);
    return true;
}

void virtqueue_kick(Virtqueue *vq)
{
    uint16_t old = vq->last_kick, new = le16toh(vq->avail->idx);
    bool needed;

    vq->last_kick = new;
    /* Either the device sees the new index or we see that it waits for it */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (vq->dev->features & 1ull << VIRTIO_RING_F_EVENT_IDX) {
        needed = vring_need_event(
            le16toh(__atomic_load_n(vq->avail_event, __ATOMIC_RELAXED)),
            new, old);
    } else {
        needed = !(__atomic_load_n(&vq->used->flags, __ATOMIC_RELAXED) &
                   htole16(VRING_USED_F_NO_NOTIFY));
    }
    if (needed && new != old) {
        virtqueue_notify(vq);
    }
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

void *virtqueue_get(Virtqueue *vq, uint32_t *len)
{
    struct vring_used_elem *elem = &vq->used->ring[vq->last_used % vq->size];
    uint16_t head, last;
    void *token;

    if (le16toh(__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE)) ==
        vq->last_used) {
        return NULL;
    }
    head = le32toh(elem->id);
    g_assert(head < vq->size && vq->tokens[head]);
    token = vq->tokens[head];
    vq->tokens[head] = NULL;
    if (len) {
        *len = le32toh(elem->len);
    }

    last = head;
    vq->free_count++;
    while (vq->desc[last].flags & htole16(VRING_DESC_F_NEXT)) {
        last = le16toh(vq->desc[last].next);
        vq->free_count++;
    }
    vq->desc[last].next = htole16(vq->free_head);
    vq->free_head = head;

    vq->last_used++;
    __atomic_store_n(vq->used_event, htole16(vq->last_used), __ATOMIC_SEQ_CST);
    return token;
}
