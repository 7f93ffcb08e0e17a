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
 * Returns: the name in the system's hwdb, valid until the next call of either
 * function; NULL if hwdb has no name, or vser was built without libudev.
 */
const char *names_vendor(uint16_t idVendor);
const char *names_product(uint16_t idVendor, uint16_t idProduct);

/**
 * names_class, names_subclass, names_protocol:
 *
 * Returns: the name that lsusb has; "" if lsusb has no name, or if the class is
 * one that hardly any port has.
 */
const char *names_class(uint8_t class);
const char *names_subclass(uint8_t class, uint8_t subclass);
const char *names_protocol(uint8_t class, uint8_t subclass, uint8_t protocol);

#endif /* VSER_NAMES_H */
