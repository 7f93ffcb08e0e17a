/*
 * A name that is a descriptor
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_DERIVED_NAME_H
#define VSER_DERIVED_NAME_H

#include "hw/virtio/virtio-serial-desc-name.h"

/**
 * derived_name_blob:
 * @name: NUL-terminated bytes of any kind
 * @blob: filled with a well-formed blob
 * @exact: set to whether the serial number is surely the port's own
 *
 * Make a descriptor of what virtio_serial_desc_name() puts into a name: the
 * numbers and classes, and the serial number. Everything behind the first '#'
 * is taken for the serial number. All else in @blob is as QEMU builds it.
 *
 * usb:VVVV:PPPP and usb:VVVV:PPPP:SERIAL are descriptors too, as for
 * virtio_serial_desc_parse_name(): a QEMU without descriptors gives a port the
 * name that the user wrote.
 *
 * @exact is false where the port's own serial number may give another
 * ID_SERIAL_SHORT: the name may be cut, may have a '_' or U+FFFD in place of
 * another character, or may end in a number that QEMU has added.
 *
 * Returns: the length of @blob in bytes; 0 if @name is no descriptor.
 */
size_t derived_name_blob(const char *name,
                         uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX],
                         bool *exact);

#endif /* VSER_DERIVED_NAME_H */
