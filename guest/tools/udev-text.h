/*
 * Strings of descriptors as udev's usb_id encodes them
 *
 * They come from the host and end up in file names, in properties and, through
 * those, in shells: what is made here has no byte that means anything there.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_UDEV_TEXT_H
#define VSER_UDEV_TEXT_H

#include "hw/virtio/virtio-serial-desc-codec.h"

/* The longest ID_VENDOR and ID_MODEL, and their _ENC forms, with their NUL */
#define UDEV_TEXT_SIZE      64
#define UDEV_TEXT_ENC_SIZE  256

/**
 * udev_text_replace:
 * @text: any bytes, to their NUL
 * @dest: of @size bytes; filled, with a NUL
 *
 * White space at both ends goes, a run of it within becomes '_', and so does
 * every byte that udev does not let into the name of a device node. As there,
 * no more than the first @size - 1 bytes of @text are looked at.
 */
void udev_text_replace(const char *text, char *dest, size_t size);

/**
 * udev_text_encode:
 * @text: any bytes, to their NUL
 * @dest: filled, with a NUL
 *
 * What udev does not let into the name of a device node becomes "\x" and two
 * digits. It ends before the first character that does not fit.
 */
void udev_text_encode(const char *text, char dest[UDEV_TEXT_ENC_SIZE]);

/**
 * udev_text_serial:
 * @text: a serial number
 * @dest: filled with its ID_SERIAL_SHORT; empty if usb_id takes it for none
 */
void udev_text_serial(const char *text,
                      char dest[VIRTIO_SERIAL_DESC_STRING_SIZE]);

#endif /* VSER_UDEV_TEXT_H */
