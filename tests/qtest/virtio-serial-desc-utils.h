/*
 * Helpers of the virtio-serial testcases: ports with descriptors
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_SERIAL_DESC_UTILS_H
#define TESTS_VIRTIO_SERIAL_DESC_UTILS_H

#include "hw/virtio/virtio-serial-desc-codec.h"
#include "virtio-serial-utils.h"

#define PORT_DESC           (1ull << VIRTIO_CONSOLE_F_PORT_DESC)

/* Bytes of a fragment before its data */
#define FRAGMENT_HEADER     (sizeof(struct virtio_console_control) + \
                             sizeof(struct virtio_console_port_desc))

/* What describes a port on the command line, up to its serial number */
#define DESC_OPTION         "desc=1209:0001,desc-serial="

/* On the command line: a port with a descriptor, and its serial number */
#define DESCRIBED(nr, serial)   PORT(nr, DESC_OPTION serial)

/* The name that such a port gets */
#define NAME(serial) \
    "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00#" serial

/* The short form of the name that stands for such a port's descriptor */
#define SHORT_NAME(serial)      "usb:1209:0001:" serial

/* Such ports: the serial number is who they are */
extern const VSerKind vser_described;

/* Returns: what desc=1209:0001,desc-serial=@serial makes */
GBytes *vser_make_blob(const char *serial);

/* Plug a port with desc=1209:0001,desc-serial=@serial */
void vser_plug_described(QTestState *qts, uint32_t id, const char *serial);

/* The next events tell blob and name of such a port */
void vser_expect_described(QVSerDriver *drv, uint32_t id, const char *serial);

/*
 * The next event is the fragment of @blob at @offset, as much of it as the
 * buffer holds. Moves @offset on; returns whether this is the last fragment.
 */
bool vser_expect_fragment(QVSerDriver *drv, uint32_t id, GBytes *blob,
                          uint32_t *offset);

/* The next events are all fragments of @blob that are left from @offset on */
void vser_expect_blob(QVSerDriver *drv, uint32_t id, GBytes *blob,
                      uint32_t offset);

#endif /* TESTS_VIRTIO_SERIAL_DESC_UTILS_H */
