/*
 * Names for the numbers in descriptors
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_NAMES_H
#define VSER_NAMES_H

#include <stdint.h>

/**
 * names_vendor, names_product:
 *
 * Returns: what the system's hwdb calls them, valid until the next call of
 * either; NULL if it does not know or vser was built without libudev.
 */
const char *names_vendor(uint16_t idVendor);
const char *names_product(uint16_t idVendor, uint16_t idProduct);

/**
 * names_class, names_subclass, names_protocol:
 *
 * Returns: what lsusb calls these; empty for one that it has no name for or
 * that no port is likely to have.
 */
const char *names_class(uint8_t class);
const char *names_subclass(uint8_t class, uint8_t subclass);
const char *names_protocol(uint8_t class, uint8_t subclass, uint8_t protocol);

#endif /* VSER_NAMES_H */
