/*
 * Names for the numbers in descriptors
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#ifdef VSER_LIBUDEV
#include <libudev.h>
#endif
#include "names.h"

#ifdef VSER_LIBUDEV
static const char *hwdb_get(const char *modalias, const char *key)
{
    static struct udev_hwdb *hwdb;
    static bool opened;
    struct udev_list_entry *entry;

    if (!opened) {
        /* systemd's libudev does not use the argument */
        hwdb = udev_hwdb_new(NULL);
        opened = true;
    }
    if (!hwdb) {
        return NULL;
    }
    entry = udev_hwdb_get_properties_list_entry(hwdb, modalias, 0);
    entry = udev_list_entry_get_by_name(entry, key);
    return entry ? udev_list_entry_get_value(entry) : NULL;
}
#else
static const char *hwdb_get(const char *modalias, const char *key)
{
    (void)modalias;
    (void)key;
    return NULL;
}
#endif

const char *names_vendor(uint16_t idVendor)
{
    char modalias[32];

    snprintf(modalias, sizeof(modalias), "usb:v%04X*", idVendor);
    return hwdb_get(modalias, "ID_VENDOR_FROM_DATABASE");
}

const char *names_product(uint16_t idVendor, uint16_t idProduct)
{
    char modalias[32];

    snprintf(modalias, sizeof(modalias), "usb:v%04Xp%04X*", idVendor,
             idProduct);
    return hwdb_get(modalias, "ID_MODEL_FROM_DATABASE");
}

/* With -1, the name is for the whole class, or the whole subclass */
static const struct {
    int class, subclass, protocol;
    const char *name;
} class_names[] = {
    { 0x01, -1, -1, "Audio" },
    { 0x02, -1, -1, "Communications" },
    { 0x02, 0x01, -1, "Direct Line" },
    { 0x02, 0x02, -1, "Abstract (modem)" },
    { 0x02, 0x02, 0x00, "None" },
    { 0x02, 0x02, 0x01, "AT-commands (v.25ter)" },
    { 0x02, 0x06, -1, "Ethernet Networking" },
    { 0x03, -1, -1, "Human Interface Device" },
    { 0x05, -1, -1, "Physical Interface Device" },
    { 0x06, -1, -1, "Imaging" },
    { 0x07, -1, -1, "Printer" },
    { 0x08, -1, -1, "Mass Storage" },
    { 0x09, -1, -1, "Hub" },
    { 0x0a, -1, -1, "CDC Data" },
    { 0x0b, -1, -1, "Chip/SmartCard" },
    { 0x0d, -1, -1, "Content Security" },
    { 0x0e, -1, -1, "Video" },
    { 0x0f, -1, -1, "Personal Healthcare" },
    { 0x10, -1, -1, "Audio/Video" },
    { 0x11, -1, -1, "Billboard" },
    { 0xdc, -1, -1, "Diagnostic" },
    { 0xe0, -1, -1, "Wireless" },
    { 0xef, -1, -1, "Miscellaneous Device" },
    { 0xef, 0x02, 0x01, "Interface Association" },
    { 0xfe, -1, -1, "Application Specific Interface" },
    { 0xff, -1, -1, "Vendor Specific Class" },
    { 0xff, 0xff, -1, "Vendor Specific Subclass" },
    { 0xff, 0xff, 0xff, "Vendor Specific Protocol" },
};

static const char *class_name(int class, int subclass, int protocol)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(class_names); i++) {
        if (class_names[i].class == class &&
            class_names[i].subclass == subclass &&
            class_names[i].protocol == protocol) {
            return class_names[i].name;
        }
    }
    return "";
}

const char *names_class(uint8_t class)
{
    return class_name(class, -1, -1);
}

const char *names_subclass(uint8_t class, uint8_t subclass)
{
    return class_name(class, subclass, -1);
}

const char *names_protocol(uint8_t class, uint8_t subclass, uint8_t protocol)
{
    return class_name(class, subclass, protocol);
}
