/*
 * Helpers of the virtio-serial testcases: ports with descriptors
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/bswap.h"
#include "virtio-serial-desc-utils.h"

/* The fields are those of USB 2.0, chapter 9, in their order */
GBytes *vser_make_blob(const char *serial)
{
    static const uint8_t fixed[] = {
        /* bLength, DEVICE, bcdUSB, class, subclass, protocol, packet size */
        18, 1, 0x00, 0x02, 0, 0, 0, 64,
        /* idVendor, idProduct, bcdDevice */
        0x09, 0x12, 0x01, 0x00, 0x00, 0x01,
        /* iManufacturer, iProduct, iSerialNumber, bNumConfigurations */
        0, 0, 1, 1,
        /* bLength, CONFIGURATION, wTotalLength, bNumInterfaces */
        9, 2, 32, 0, 1,
        /* bConfigurationValue, iConfiguration, bmAttributes, bMaxPower */
        1, 0, 0xc0, 0,
        /* bLength, INTERFACE, number, alternate, bNumEndpoints, class, i */
        9, 4, 0, 0, 2, 0xff, 0, 0, 0,
        /* bLength, ENDPOINT, address, bulk, wMaxPacketSize, bInterval */
        7, 5, 0x81, 2, 0x00, 0x02, 0,
        7, 5, 0x01, 2, 0x00, 0x02, 0,
        /* bLength, STRING, LANGID */
        4, 3, 0x09, 0x04,
    };
    uint8_t header[] = { 2 + 2 * strlen(serial), 3 };
    GByteArray *blob = g_byte_array_new();
    const char *c;

    g_byte_array_append(blob, fixed, sizeof(fixed));
    g_byte_array_append(blob, header, sizeof(header));
    for (c = serial; *c; c++) {
        g_byte_array_append(blob, (const uint8_t []) { *c, 0 }, 2);
    }
    return g_byte_array_free_to_bytes(blob);
}

/*
 * What the device says
 */

/* The fragment of @blob at @offset; see vser_expect_fragment() */
static bool check_fragment(const QVSerEvent *ev, GBytes *blob, uint32_t *offset)
{
    gsize size;
    const uint8_t *data = g_bytes_get_data(blob, &size);
    uint32_t len = MIN(ev->room - FRAGMENT_HEADER, size - *offset);

    g_assert_cmpuint(ev->event, ==, VIRTIO_CONSOLE_PORT_DESC);
    g_assert_cmpuint(ev->used, ==, FRAGMENT_HEADER + len);
    g_assert_cmpuint(ldl_le_p(ev->payload), ==, size);
    g_assert_cmpuint(ldl_le_p(ev->payload + 4), ==, *offset);
    g_assert_cmpmem(ev->payload + 8, len, data + *offset, len);
    *offset += len;
    g_assert_cmpuint(ev->value, ==, *offset == size);
    return *offset == size;
}

/* First the fragments, of which @offset bytes were told, then the name */
static bool check_described(const QVSerEvent *ev, const char *serial,
                            uint32_t *offset)
{
    g_autoptr(GBytes) blob = vser_make_blob(serial);
    g_autofree char *name = g_strconcat(NAME(""), serial, NULL);

    if (*offset < g_bytes_get_size(blob)) {
        check_fragment(ev, blob, offset);
        return false;
    }
    vser_check_name(ev, name);
    return true;
}

bool vser_expect_fragment(QVSerDriver *drv, uint32_t id, GBytes *blob,
                          uint32_t *offset)
{
    QVSerEvent ev;

    qvser_next(drv, &ev);
    g_assert_cmpuint(ev.id, ==, id);
    return check_fragment(&ev, blob, offset);
}

void vser_expect_blob(QVSerDriver *drv, uint32_t id, GBytes *blob,
                      uint32_t offset)
{
    while (!vser_expect_fragment(drv, id, blob, &offset)) {
        /* until the last one */
    }
}

void vser_expect_described(QVSerDriver *drv, uint32_t id, const char *serial)
{
    vser_expect_identity(drv, &vser_described, id, serial);
}

/*
 * What the user does
 */

static void plug_described(QTestState *qts, uint32_t id, const char *serial,
                           const char *chardev)
{
    vser_plug(qts, id, "desc", "1209:0001", "desc-serial", serial,
              chardev ? "chardev" : NULL, chardev, NULL);
}

void vser_plug_described(QTestState *qts, uint32_t id, const char *serial)
{
    plug_described(qts, id, serial, NULL);
}

const VSerKind vser_described = {
    .features = PORT_DESC,
    .option = DESC_OPTION,
    .name = NAME(""),
    .plug = plug_described,
    .check = check_described,
};
