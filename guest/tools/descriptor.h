/*
 * Descriptors as data: the place of a field, and the next descriptor
 *
 * The kernel's headers have the layouts: struct usb_interface_descriptor and
 * others, with the names of the USB specification. The structures only say
 * where a field is; no pointer is cast to a structure.
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

/* The offset and the size of a field, which begin a row of a table of fields */
#define DESC_AT(type, field) \
    .offset = offsetof(struct type, field), \
    .size = sizeof(((struct type *)NULL)->field)

/* The number in a field of the descriptor at @p */
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

/*
 * The subtype of a functional descriptor of a communications interface. @p must
 * have at least 3 bytes.
 */
static inline uint8_t desc_subtype(const uint8_t *p)
{
    return desc_get(p, usb_cdc_header_desc, bDescriptorSubType);
}

/**
 * desc_next:
 * @p: a descriptor in a well-formed blob
 * @end: the end of the descriptors that are walked
 *
 * Returns: the descriptor behind @p; NULL if @p is the last one.
 */
static inline const uint8_t *desc_next(const uint8_t *p, const uint8_t *end)
{
    p += desc_length(p);
    return p < end ? p : NULL;
}

/* The end of the descriptors that belong to the configuration at @config */
static inline const uint8_t *desc_config_end(const uint8_t *config)
{
    return config + desc_get(config, usb_config_descriptor, wTotalLength);
}

#endif /* VSER_DESCRIPTOR_H */
