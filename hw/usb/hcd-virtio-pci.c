/*
 * A virtio USB host controller on PCI
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hcd-virtio.h"
#include "hw/virtio/virtio-pci.h"
#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MICRO < 50
#include "hw/qdev-properties.h"
#else
#include "hw/core/qdev-properties.h"
#endif

/* Only the name without a suffix is a device: there is no legacy form */
#define TYPE_VIRTIO_USB_PCI "virtio-usb-pci-base"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOUSBPCI, VIRTIO_USB_PCI)

struct VirtIOUSBPCI {
    VirtIOPCIProxy parent_obj;
    VirtIOUSB vdev;
};

static const Property virtio_usb_pci_properties[] = {
    /*
     * Off: a kick in the thread of the virtual CPU. A USB device often has its
     * answer at once, and the way to the main loop costs more than the exit.
     */
    DEFINE_PROP_BIT("ioeventfd", VirtIOPCIProxy, flags,
                    VIRTIO_PCI_FLAG_USE_IOEVENTFD_BIT, false),
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors,
                       DEV_NVECTORS_UNSPECIFIED),
};

static void virtio_usb_pci_realize(VirtIOPCIProxy *proxy, Error **errp)
{
    VirtIOUSBPCI *pci = VIRTIO_USB_PCI(proxy);
    DeviceState *vdev = DEVICE(&pci->vdev);

    if (proxy->nvectors == DEV_NVECTORS_UNSPECIFIED) {
        /* One for each queue, one for the configuration */
        proxy->nvectors = 4;
    }

    pci_config_set_prog_interface(PCI_DEVICE(proxy)->config,
                                  PCI_CLASS_SERIAL_USB_UNKNOWN & 0xff);
    /* The USB bus is named after the device that the user has named */
    vdev->id = DEVICE(proxy)->id;
    qdev_realize(vdev, BUS(&proxy->bus), errp);
    vdev->id = NULL;
}

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
static void virtio_usb_pci_class_init(ObjectClass *klass, void *data)
#else
static void virtio_usb_pci_class_init(ObjectClass *klass, const void *data)
#endif
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioPCIClass *k = VIRTIO_PCI_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    k->realize = virtio_usb_pci_realize;
    set_bit(DEVICE_CATEGORY_USB, dc->categories);
    device_class_set_props(dc, virtio_usb_pci_properties);
    pc->class_id = PCI_CLASS_SERIAL_USB;
}

static void virtio_usb_pci_init(Object *obj)
{
    VirtIOUSBPCI *pci = VIRTIO_USB_PCI(obj);

    virtio_instance_init_common(obj, &pci->vdev, sizeof(pci->vdev),
                                TYPE_VIRTIO_USB);
}

static const VirtioPCIDeviceTypeInfo virtio_usb_pci_info = {
    .base_name = TYPE_VIRTIO_USB_PCI,
    .non_transitional_name = "virtio-usb-pci",
    .instance_size = sizeof(VirtIOUSBPCI),
    .instance_init = virtio_usb_pci_init,
    .class_init = virtio_usb_pci_class_init,
};

static void virtio_usb_pci_register(void)
{
    virtio_pci_types_register(&virtio_usb_pci_info);
}

type_init(virtio_usb_pci_register)
