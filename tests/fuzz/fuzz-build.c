/*
 * Fuzz target: strings from anywhere as the values of properties
 *
 * The input is the values, each ended by a NUL but for the last, in the order
 * of VirtIOSerialDescProp. The first byte says, bit by bit, which of them are
 * given.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "virtio-serial-desc-oracle.h"
#include "fuzz.h"

/* The corpora have one byte for them */
G_STATIC_ASSERT(VIRTIO_SERIAL_DESC_NPROPS <= 8);

/* What was given stands in the blob, and nothing was made up */
static void compare(const VirtIOSerialDescProps *props,
                    const VirtIOSerialDescInfo *info,
                    const uint8_t *blob, size_t length)
{
    const uint8_t index[VIRTIO_SERIAL_DESC_NPROPS] = {
        [VIRTIO_SERIAL_DESC_MANUFACTURER] = info->iManufacturer,
        [VIRTIO_SERIAL_DESC_PRODUCT] = info->iProduct,
        [VIRTIO_SERIAL_DESC_SERIAL] = info->iSerialNumber,
        [VIRTIO_SERIAL_DESC_INTERFACE] = info->iInterface,
    };
    const char *ids = props->value[VIRTIO_SERIAL_DESC_IDS];
    g_autofree char *expected = g_strdup_printf("%04x:%04x:%04x",
        info->idVendor, info->idProduct, info->bcdDevice);
    int i;

    g_assert(strlen(ids) == 9 || strlen(ids) == 14);
    g_assert(g_ascii_strncasecmp(ids, expected, strlen(ids)) == 0);
    g_assert(strlen(ids) == 14 || info->bcdDevice == 0x0100);
    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        g_autofree char *text = oracle_string(blob, length, index[i]);

        if (virtio_serial_desc_prop_info[i].kind ==
            VIRTIO_SERIAL_DESC_KIND_STRING) {
            g_assert_cmpstr(text, ==, props->value[i]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VirtIOSerialDescProps props = { { NULL } };
    VirtIOSerialDescError err;
    int i, given = size ? data[0] : 0;
    const char *p, *end;
    size_t length;
    uint8_t *blob;

    if (size == 0) {
        return 0;
    }
    p = (const char *)data + 1;
    end = (const char *)data + size;
    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        const char *nul = p < end ? memchr(p, '\0', end - p) : NULL;

        nul = nul ?: end;
        if (given & 1 << i) {
            props.value[i] = g_strndup(p, nul - p);
        }
        p = nul < end ? nul + 1 : end;
    }

    oracle_poison(&err);
    if (!virtio_serial_desc_props_check(&props, &err)) {
        oracle_check_error(&err);
    } else if (props.value[VIRTIO_SERIAL_DESC_IDS]) {
        blob = g_malloc(VIRTIO_SERIAL_DESC_BUILT_MAX);
        oracle_poison(&err);
        length = virtio_serial_desc_build(&props, blob, &err);
        if (length) {
            VirtIOSerialDescInfo info;

            g_assert(length <= VIRTIO_SERIAL_DESC_BUILT_MAX);
            g_assert(oracle_verify(blob, length, NULL));
            virtio_serial_desc_info(blob, length, &info);
            compare(&props, &info, blob, length);
        } else {
            oracle_check_error(&err);
        }
        g_free(blob);
    }

    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        g_free(props.value[i]);
    }
    return 0;
}
