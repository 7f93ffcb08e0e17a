/*
 * Descriptors as data: where a field is, and how to go from one to the next
 *
 * Layouts are the kernel's: struct usb_interface_descriptor and its like have
 * the names of the USB specification. Nothing is cast to them, they only say
 * where a field is.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_DESCRIPTOR_H
#define VSER_DESCRIPTOR_H

#include <linux/usb/cdc.h>
#include <linux/usb/ch9.h>
#include "util.h"

/* Where a field is, in bytes: what begins a row of a table of fields */
#define DESC_AT(type, field) \
    .offset = offsetof(struct type, field), \
    .size = sizeof(((struct type *)NULL)->field)

/* The number that the descriptor at @p has in a field */
#define desc_get(p, type, field) \
    get_le((p) + offsetof(struct type, field), \
           sizeof(((struct type *)NULL)->field))

static inline uint8_t desc_length(const uint8_t *p)
{
    return desc_get(p, usb_descriptor_header, bLength);
}

static inline uint8_t desc_type(const uint8_t *p)
{
    return desc_get(p, usb_descriptor_header, bDescriptorType);
}

/* Of a functional descriptor of a communications interface, if @p is long */
static inline uint8_t desc_subtype(const uint8_t *p)
{
    return desc_get(p, usb_cdc_header_desc, bDescriptorSubType);
}

/**
 * desc_next:
 * @p: a descriptor in a well-formed blob
 * @end: where the last one of those ends that are walked
 *
 * Returns: the descriptor behind @p; NULL if @p is the last one.
 */
static inline const uint8_t *desc_next(const uint8_t *p, const uint8_t *end)
{
    p += desc_length(p);
    return p < end ? p : NULL;
}

/* Where the descriptors end that belong to the configuration at @config */
static inline const uint8_t *desc_config_end(const uint8_t *config)
{
    return config + desc_get(config, usb_config_descriptor, wTotalLength);
}

#endif /* VSER_DESCRIPTOR_H */
