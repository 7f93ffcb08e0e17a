/*
 * Fuzz target: bytes from anywhere as a port's name, and as a serial number of
 * which QEMU derives a name
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "virtio-serial-desc-oracle.h"
#include "derived-name.h"
#include "udev-text.h"
#include "fuzz.h"

/* What is behind the numbers of a name, where "?" is one capital hex digit */
static const char *behind_numbers(const char *name)
{
    const char *form = "usb:v????p????d????dc??dsc??dp??ic??isc??ip??in??";

    for (; *form; form++, name++) {
        if (*form == '?' ? !*name || !strchr("0123456789ABCDEF", *name)
                         : *form != *name) {
            return NULL;
        }
    }
    return name;
}

/* By another way than the tested one: may QEMU have derived such a name? */
static bool is_derived(const char *name)
{
    const char *rest = behind_numbers(name);

    if (!rest || strlen(name) >= VIRTIO_SERIAL_DESC_NAME_SIZE) {
        return false;
    }
    if (*rest == '\0') {
        return true;
    }
    if (*rest++ != '#' || *rest == '\0' || !g_utf8_validate(rest, -1, NULL)) {
        return false;
    }
    for (; *rest; rest = g_utf8_next_char(rest)) {
        gunichar c = g_utf8_get_char(rest);

        if (c < 0x80 ? !g_ascii_isalnum(c) && !strchr("#+-.:=@_", c)
                     : c < 0xa0) {
            return false;
        }
    }
    return true;
}

/*
 * The same for the short form: the serial number of @name, "" for none; NULL if
 * @name has another form
 */
static const char *short_serial(const char *name)
{
    g_autofree gunichar2 *units = NULL;
    glong count = 0;
    size_t i;

    for (i = 0; i < strlen("usb:VVVV:PPPP"); i++) {
        if (i < 4 || i == 8 ? name[i] != "usb:VVVV:"[i]
                            : !g_ascii_isxdigit(name[i])) {
            return NULL;
        }
    }
    name += i;
    if (*name == '\0') {
        return name;
    }
    if (*name++ != ':' || !g_utf8_validate(name, -1, NULL)) {
        return NULL;
    }
    units = g_utf8_to_utf16(name, -1, NULL, &count, NULL);
    return count >= 1 && count <= 126 ? name : NULL;
}

static void serial_of(const uint8_t *blob, size_t length,
                      char serial[VIRTIO_SERIAL_DESC_STRING_SIZE])
{
    VirtIOSerialDescInfo info;

    virtio_serial_desc_info(blob, length, &info);
    virtio_serial_desc_string(blob, length, info.iSerialNumber, serial);
}

static void as_name(const char *name)
{
    char serial[VIRTIO_SERIAL_DESC_STRING_SIZE];
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
    const char *expected = short_serial(name);
    bool exact;
    size_t length = derived_name_blob(name, blob, &exact);

    if (is_derived(name)) {
        expected = behind_numbers(name);
        expected += *expected != '\0';
    }
    assert((length != 0) == (expected != NULL));
    if (length) {
        oracle_verify(blob, length, NULL);
        serial_of(blob, length, serial);
        assert(strcmp(serial, expected) == 0);
    }
}

/* If the name is exact, udev has the same serial number before and after */
static void as_serial(char *text)
{
    VirtIOSerialDescProps props = {
        .value[VIRTIO_SERIAL_DESC_IDS] = (char *)"1209:0001",
        .value[VIRTIO_SERIAL_DESC_SERIAL] = text,
    };
    char serial[VIRTIO_SERIAL_DESC_STRING_SIZE];
    char name[VIRTIO_SERIAL_DESC_NAME_SIZE];
    char before[VIRTIO_SERIAL_DESC_STRING_SIZE];
    char after[VIRTIO_SERIAL_DESC_STRING_SIZE];
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
    uint8_t made[VIRTIO_SERIAL_DESC_BUILT_MAX];
    VirtIOSerialDescError err;
    size_t length = virtio_serial_desc_build(&props, blob, &err);
    unsigned int number;
    bool exact;

    for (number = 0; length && number < 1000; number = number * 10 + 1) {
        size_t again;

        virtio_serial_desc_name(blob, length, number, name);
        again = derived_name_blob(name, made, &exact);
        assert(again);
        serial_of(made, again, serial);
        udev_text_serial(serial, after);
        udev_text_serial(text, before);
        assert(!exact || strcmp(before, after) == 0);
        assert(!exact || !number);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    memcpy(text, data, size);
    text[size] = '\0';
    as_name(text);
    as_serial(text);
    free(text);
    return 0;
}
