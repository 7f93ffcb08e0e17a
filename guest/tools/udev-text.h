/*
 * Strings of descriptors as udev's usb_id encodes them
 *
 * A string comes from the host and ends up in file names, in properties and,
 * through properties, in shells. The encoded string has no byte with a special
 * meaning in these places.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_UDEV_TEXT_H
#define VSER_UDEV_TEXT_H

#include "hw/virtio/virtio-serial-desc-codec.h"

/* The longest ID_VENDOR and ID_MODEL, and their _ENC forms, with the NUL */
#define UDEV_TEXT_SIZE      64
#define UDEV_TEXT_ENC_SIZE  256

/**
 * udev_text_replace:
 * @text: NUL-terminated bytes of any kind
 * @dest: of @size bytes; filled, with a NUL
 *
 * White space at both ends is removed. A run of white space inside becomes '_',
 * and so does each byte that udev keeps out of the name of a device node. As in
 * udev, only the first @size - 1 bytes of @text are used.
 */
void udev_text_replace(const char *text, char *dest, size_t size);

/**
 * udev_text_encode:
 * @text: NUL-terminated bytes of any kind
 * @dest: filled, with a NUL
 *
 * Each byte that udev keeps out of the name of a device node becomes "\x" and
 * two digits. @dest ends before the first character that does not fit.
 */
void udev_text_encode(const char *text, char dest[UDEV_TEXT_ENC_SIZE]);

/**
 * udev_text_serial:
 * @text: a serial number
 * @dest: filled with ID_SERIAL_SHORT; empty if usb_id ignores the serial number
 */
void udev_text_serial(const char *text,
                      char dest[VIRTIO_SERIAL_DESC_STRING_SIZE]);

#endif /* VSER_UDEV_TEXT_H */
