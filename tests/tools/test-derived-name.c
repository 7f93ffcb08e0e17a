/*
 * Names that are descriptors: what is made of each, and what is no such name
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <glib.h>
#include "derived-name.h"

#define IDS     "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00"
/* What a name has room for, behind IDS and '#' */
#define ROOM    (VIRTIO_SERIAL_DESC_NAME_SIZE - sizeof(IDS "#"))

static const char *derive(uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX],
                          VirtIOSerialDescProps *props, unsigned int number)
{
    static char name[VIRTIO_SERIAL_DESC_NAME_SIZE];
    VirtIOSerialDescError err = { "" };
    size_t length = virtio_serial_desc_build(props, blob, &err);

    g_assert_cmpstr(err.text, ==, "");
    virtio_serial_desc_name(blob, length, number, name);
    return name;
}

static char *serial_of(const uint8_t *blob, size_t length)
{
    static char serial[VIRTIO_SERIAL_DESC_STRING_SIZE];
    VirtIOSerialDescInfo info;

    virtio_serial_desc_info(blob, length, &info);
    virtio_serial_desc_string(blob, length, info.iSerialNumber, serial);
    return serial;
}

/* From properties to a name and back: the same blob, if the name says all */
static void test_same_blob(void)
{
    static const struct {
        const char *ids, *class, *serial;
    } cases[] = {
        { "1209:0001", NULL, NULL },
        { "1209:0001", NULL, "A1" },
        { "ffff:abcd:ef09", "vendor", "#" },
        { "0000:0000:0000", "00", "-rf" },
        { "1209:0001", "02:02:01", "é\u20ac\U0001f600" },
        { "1209:0001", "cdc-acm", "M.1" },
        { "1209:0001", "02:02:02", "a@b" },
        { "1209:0001", "fe:dc:ba", "00" },
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VirtIOSerialDescProps props = {
            .value[VIRTIO_SERIAL_DESC_IDS] = (char *)cases[i].ids,
            .value[VIRTIO_SERIAL_DESC_CLASS] = (char *)cases[i].class,
            .value[VIRTIO_SERIAL_DESC_SERIAL] = (char *)cases[i].serial,
        };
        uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
        uint8_t made[VIRTIO_SERIAL_DESC_BUILT_MAX];
        const char *name = derive(blob, &props, 0);
        bool exact = false;
        size_t length = derived_name_blob(name, made, &exact);

        g_assert_true(exact);
        if (cases[i].class && !strcmp(cases[i].class, "02:02:01")) {
            /* The name is a modem's too, and a modem is what is of use */
            props.value[VIRTIO_SERIAL_DESC_CLASS] = (char *)"cdc-acm";
            derive(blob, &props, 0);
        }
        g_assert_cmpmem(made, length, blob, length);
        g_assert_cmpuint(length, >, 0);
    }
}

/* Only a file has these */
static void test_other_numbers(void)
{
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
    VirtIOSerialDescInfo info;
    VirtIOSerialDescError err;
    bool exact = false;
    size_t length = derived_name_blob(
        "usb:vFFFFp0102dA0B0dcEFdsc02dp01ic02isc02ip01in0A#x", blob, &exact);

    g_assert_true(exact);
    g_assert_true(virtio_serial_desc_check(blob, length, &err));
    virtio_serial_desc_info(blob, length, &info);
    g_assert_cmphex(info.idVendor, ==, 0xffff);
    g_assert_cmphex(info.idProduct, ==, 0x0102);
    g_assert_cmphex(info.bcdDevice, ==, 0xa0b0);
    g_assert_cmphex(info.bDeviceClass, ==, 0xef);
    g_assert_cmphex(info.bDeviceSubClass, ==, 2);
    g_assert_cmphex(info.bDeviceProtocol, ==, 1);
    g_assert_cmphex(info.bInterfaceNumber, ==, 0x0a);
    g_assert_cmphex(info.bInterfaceClass, ==, 2);
    g_assert_cmphex(info.bInterfaceSubClass, ==, 2);
    g_assert_cmphex(info.bInterfaceProtocol, ==, 1);
    g_assert_cmpuint(info.iManufacturer, ==, 0);
    g_assert_cmpuint(info.iProduct, ==, 0);
    g_assert_cmpuint(info.iInterface, ==, 0);
    g_assert_cmpstr(serial_of(blob, length), ==, "x");
}

/* The serial number is all behind the first '#', and may not be the port's */
static void test_serial_number(void)
{
    static const struct {
        const char *serial;
        bool exact;
    } cases[] = {
        { "A1", true }, { "a#b", true }, { "#", true }, { "##", true },
        { "a-b.c:d=e+f@g", true }, { "é", true }, { "a#01", true },
        { "0", true }, { "007", true }, { "a1", true }, { "1a", true },
        { "a#1b", true }, { "123456", true }, { "#123456", true },
        /* Another character may have been there */
        { "_", false }, { "a_b", false }, { "\ufffd", false },
        /* QEMU may have added that */
        { "1", false }, { "99999", false }, { "a#1", false },
        { "#2", false }, { "a#b#30", false },
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
        g_autofree char *name = g_strconcat(IDS "#", cases[i].serial, NULL);
        bool exact = !cases[i].exact;
        size_t length = derived_name_blob(name, blob, &exact);

        g_assert_cmpstr(serial_of(blob, length), ==, cases[i].serial);
        g_assert_cmpint(exact, ==, cases[i].exact);
    }
}

/* The short form is what our QEMU makes of it, and all of the serial number */
static void test_short(void)
{
    static const struct {
        const char *name, *ids, *serial;
    } cases[] = {
        { "usb:1209:0001", "1209:0001", NULL },
        { "usb:1209:0001:A1", "1209:0001", "A1" },
        { "usb:aBcD:Ef01:1", "abcd:ef01", "1" },
        { "usb:1209:0001::", "1209:0001", ":" },
        { "usb:1209:0001:a_b #2", "1209:0001", "a_b #2" },
        { "usb:1209:0001:../\xc3\xa9", "1209:0001", "../\xc3\xa9" },
    };
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
    uint8_t made[VIRTIO_SERIAL_DESC_BUILT_MAX];
    g_autofree char *x = g_strnfill(126, 'x');
    g_autofree char *full = g_strconcat("usb:1209:0001:", x, NULL);
    g_autofree char *longer = g_strconcat(full, "x", NULL);
    bool exact;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VirtIOSerialDescProps props = {
            .value[VIRTIO_SERIAL_DESC_IDS] = (char *)cases[i].ids,
            .value[VIRTIO_SERIAL_DESC_SERIAL] = (char *)cases[i].serial,
        };
        size_t length;

        exact = false;
        length = derived_name_blob(cases[i].name, made, &exact);
        g_assert_true(exact);
        derive(blob, &props, 0);
        g_assert_cmpuint(length, >, 0);
        g_assert_cmpmem(made, length, blob, length);
    }
    g_assert_cmpuint(derived_name_blob(full, blob, &exact), >, 0);
    g_assert_cmpstr(serial_of(blob, sizeof(blob)), ==, x);
    g_assert_cmpuint(derived_name_blob(longer, blob, &exact), ==, 0);
}

/* A serial number for which the name has no room may be cut */
static void test_cut(void)
{
    char serial[127] = "";
    size_t length;

    for (length = 1; length <= 126; length++) {
        VirtIOSerialDescProps props = {
            .value[VIRTIO_SERIAL_DESC_IDS] = (char *)"1209:0001",
            .value[VIRTIO_SERIAL_DESC_SERIAL] = serial,
        };
        uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
        bool exact, numbered;

        memset(serial, 'x', length);
        g_assert_cmpuint(derived_name_blob(derive(blob, &props, 0), blob,
                                           &exact), >, 0);
        g_assert_cmpuint(strlen(serial_of(blob, sizeof(blob))), ==,
                         MIN(length, ROOM));
        /* What may have lost a character of four bytes is not sure either */
        g_assert_cmpint(exact, ==, length + 3 < ROOM);
        g_assert_cmpuint(derived_name_blob(derive(blob, &props, 511), blob,
                                           &numbered), >, 0);
        g_assert_false(numbered);
    }
}

/* Whatever differs in one byte from a derived name is none, or says that */
static void test_refused(void)
{
    static const char *const bad[] = {
        "", "usb:", "org.example", "usb:v1209p0001", "usb:v1209p0001*",
        "usb:1209", "usb:1209:", "usb:1209:001", "usb:1209:00010",
        "usb:1209:0001:", "usb:1209:0001 ", "usb:1209:0001#A1", "USB:1209:0001",
        "usb:g209:0001", "usb:12090001", "usb:1209:0001:\xff", "1209:0001:A1",
        /* Small digits, spaces, signs, too few digits and too many */
        "usb:vf055p0001d0100dc00dsc00dp00icFFisc00ip00in00",
        "usb:v1209p0001d0100dc00dsc00dp00icffisc00ip00in00",
        "usb:v 209p0001d0100dc00dsc00dp00icFFisc00ip00in00",
        "usb:v-209p0001d0100dc00dsc00dp00icFFisc00ip00in00",
        "usb:v+209p0001d0100dc00dsc00dp00icFFisc00ip00in00",
        "usb:v0x12p0001d0100dc00dsc00dp00icFFisc00ip00in00",
        "usb:v209p0001d0100dc00dsc00dp00icFFisc00ip00in00",
        "usb:v01209p0001d0100dc00dsc00dp00icFFisc00ip00in00",
        "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in0",
        "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in000",
        "USB:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00",
        " " IDS, IDS " ", IDS "\n", IDS "#", IDS "x", IDS "-1", IDS "%23A1",
        /* What QEMU replaces */
        IDS "# ", IDS "#a b", IDS "#a/b", IDS "#../..", IDS "#a\\x20b",
        IDS "#a\nb", IDS "#a\x1b[2J", IDS "#$(id)", IDS "#a%20", IDS "#,",
        IDS "#a\x7f", IDS "#\xc2\x80",
        /* No UTF-8 */
        IDS "#\xff", IDS "#a\xc3", IDS "#\xed\xa0\x80", IDS "#\xc0\xaf",
    };
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
    g_autofree char *full = NULL, *longer = NULL, *x = NULL;
    bool exact;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        if (derived_name_blob(bad[i], blob, &exact)) {
            g_test_message("accepted: '%s'", bad[i]);
            g_test_fail();
        }
    }
    x = g_strnfill(ROOM, 'x');
    full = g_strconcat(IDS "#", x, NULL);
    g_assert_cmpuint(derived_name_blob(full, blob, &exact), >, 0);
    longer = g_strconcat(full, "x", NULL);
    g_assert_cmpuint(derived_name_blob(longer, blob, &exact), ==, 0);
    for (i = 0; i < strlen(IDS); i++) {
        g_autofree char *cut = g_strndup(IDS, i);
        g_autofree char *other = g_strdup(IDS);

        other[i] = 'g';
        g_assert_cmpuint(derived_name_blob(cut, blob, &exact), ==, 0);
        g_assert_cmpuint(derived_name_blob(other, blob, &exact), ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/derived-name/same-blob", test_same_blob);
    g_test_add_func("/derived-name/other-numbers", test_other_numbers);
    g_test_add_func("/derived-name/serial-number", test_serial_number);
    g_test_add_func("/derived-name/short", test_short);
    g_test_add_func("/derived-name/cut", test_cut);
    g_test_add_func("/derived-name/refused", test_refused);
    return g_test_run();
}
