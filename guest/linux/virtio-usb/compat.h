/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What virtio_usb.c, which is written for the newest kernel, needs on an older one.
 * Kbuild includes this file in front of the driver, and says by VUSB_OLD_* what the
 * kernel's headers do not have. A driver within the kernel would not have this file.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 */
#ifndef VIRTIO_USB_COMPAT_H
#define VIRTIO_USB_COMPAT_H

#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#ifdef VUSB_OLD_FIND_VQS
/* Before Linux 6.11, callbacks and names are two arrays. */
#define VUSB_OLD_VQS_MAX 8

struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
	bool ctx;
};

static inline int vusb_find_vqs(struct virtio_device *vdev, unsigned int n,
				struct virtqueue *vqs[], struct virtqueue_info info[],
				struct irq_affinity *desc)
{
	vq_callback_t *callbacks[VUSB_OLD_VQS_MAX];
	const char *names[VUSB_OLD_VQS_MAX];
	unsigned int i;

	if (n > VUSB_OLD_VQS_MAX)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		callbacks[i] = info[i].callback;
		names[i] = info[i].name;
	}
	return virtio_find_vqs(vdev, n, vqs, callbacks, names, desc);
}

#define virtio_find_vqs vusb_find_vqs
#endif

#ifdef VUSB_OLD_KZALLOC_OBJ
#define kzalloc_obj(object, gfp) kzalloc(sizeof(object), gfp)
#define kzalloc_objs(object, n, gfp) kcalloc(n, sizeof(object), gfp)
#endif

#endif
