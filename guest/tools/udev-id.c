/*
 * vser udev-id: print the properties of udev's usb_id for a port
 *
 * A udev rule that was written for a USB device finds the same values here:
 *
 * 1. ID_VENDOR, ID_MODEL    the string of the descriptor, else the number in
 *                           hex; white space, and each byte that udev keeps out
 *                           of names, becomes '_'
 * 2. ID_VENDOR_ENC, ...     the same string with "\x" and two digits instead
 * 3. ID_SERIAL_SHORT        the serial number, treated as in 1; absent if it
 *                           has characters that are not printable ASCII, or a
 *                           comma
 * 4. ID_SERIAL              1, 1 and 3 with '_' between
 * 5. ID_USB_INTERFACES      class, subclass and protocol of each interface,
 *                           each triple once
 *
 * New versions of udev have ID_USB_... beside ID_...; so both are printed. A
 * property that no USB device has begins with VIRTIO_PORT_.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "commands.h"
#include "descriptor.h"
#include "options.h"
#include "port.h"
#include "udev-text.h"

/* The size of usb_id's buffer for the list of interfaces */
#define INTERFACES_SIZE 512
/* systemd's limit for the name of a unit, without the NUL */
#define UNIT_NAME_MAX   255

/*
 * ":ff0000:0a0000:": each kind of interface once. As usb_id does, stop at a
 * descriptor of fewer than 3 bytes, and at the last 9 bytes.
 */
static void interfaces(const Port *port, char dest[INTERFACES_SIZE])
{
    const uint8_t *p, *end = port_strings(port);
    size_t used = 0;

    dest[0] = '\0';
    for (p = port->blob; p && end - p > 9 && desc_length(p) >= 3 &&
         used + 7 < INTERFACES_SIZE - 2; p = desc_next(p, end)) {
        char one[8];

        if (desc_type(p) != USB_DT_INTERFACE) {
            continue;
        }
        snprintf(one, sizeof(one), ":%02x%02x%02x",
                 desc_get(p, usb_interface_descriptor, bInterfaceClass),
                 desc_get(p, usb_interface_descriptor, bInterfaceSubClass),
                 desc_get(p, usb_interface_descriptor, bInterfaceProtocol));
        if (!strstr(dest, one)) {
            strcpy(dest + used, one);
            used += 7;
        }
    }
    if (used) {
        strcpy(dest + used, ":");
    }
}

/* Print a property of usb_id twice: "ID_KEY", and "ID_USB_KEY" for new rules */
static void print_property(const char *key, const char *value)
{
    printf("ID_%s=%s\nID_USB_%s=%s\n", key, value, key, value);
}

/* Print VENDOR or MODEL, from the string or, without a string, the number */
static void print_name(const Port *port, const char *key, uint8_t index,
                       uint16_t number, char name[UDEV_TEXT_SIZE])
{
    char text[VIRTIO_SERIAL_DESC_STRING_SIZE], encoded[UDEV_TEXT_ENC_SIZE];
    char id[5], of[16];

    snprintf(id, sizeof(id), "%04x", number);
    if (!port_udev_string(port, index, text)) {
        strcpy(text, id);
    }
    udev_text_replace(text, name, UDEV_TEXT_SIZE);
    udev_text_encode(text, encoded);
    print_property(key, name);
    snprintf(of, sizeof(of), "%s_ENC", key);
    print_property(of, encoded);
    snprintf(of, sizeof(of), "%s_ID", key);
    print_property(of, id);
}

/*
 * systemd makes a device unit of the link
 * /dev/virtio-ports/by-usb-id/VVVV:PPPP:SERIAL. Is the unit's name too long for
 * systemd? Then no other unit can be bound to the device unit.
 */
static bool unit_is_too_long(const char *serial)
{
    size_t length = strlen("dev-virtio\\x2dports-by\\x2dusb\\x2did-1209:0001:"
                           ".device");
    const char *p;

    for (p = serial; *p; p++) {
        /* systemd writes any other character like "\x2d" */
        length += isalnum((unsigned char)*p) || strchr(":_.", *p) ? 1 : 4;
    }
    return length > UNIT_NAME_MAX;
}

static void print_properties(const Port *port)
{
    const VirtIOSerialDescInfo *info = &port->info;
    char vendor[UDEV_TEXT_SIZE], model[UDEV_TEXT_SIZE];
    char text[VIRTIO_SERIAL_DESC_STRING_SIZE];
    char serial[VIRTIO_SERIAL_DESC_STRING_SIZE];
    char whole[2 * UDEV_TEXT_SIZE + sizeof(serial)];
    char list[INTERFACES_SIZE], revision[5];
    char modalias[VIRTIO_SERIAL_DESC_NAME_SIZE];

    print_name(port, "VENDOR", info->iManufacturer, info->idVendor, vendor);
    print_name(port, "MODEL", info->iProduct, info->idProduct, model);
    snprintf(revision, sizeof(revision), "%04x", info->bcdDevice);
    print_property("REVISION", revision);

    port_udev_string(port, info->iSerialNumber, text);
    udev_text_serial(text, serial);
    snprintf(whole, sizeof(whole), "%s_%s%s%s", vendor, model,
             *serial ? "_" : "", serial);
    print_property("SERIAL", whole);
    if (*serial) {
        print_property("SERIAL_SHORT", serial);
    }
    interfaces(port, list);
    if (*list) {
        printf("ID_USB_INTERFACES=%s\n", list);
    }
    if (unit_is_too_long(serial)) {
        printf("VIRTIO_PORT_LONG=1\n");
    }

    port_modalias(port, modalias);
    printf("VIRTIO_PORT_MODALIAS=%s\n", modalias);
    printf("VIRTIO_PORT_SOURCE=%s\n", port_source(port));
    if (port->waits) {
        printf("VIRTIO_PORT_WAITS=1\n");
    }
}

static const char udev_id_help[] =
    "usage: vser udev-id DEVPATH\n"
    "\n"
    "Print the properties of a port for a udev rule:\n"
    "\n"
    "  IMPORT{program}=\"vser udev-id $devpath\"\n"
    "\n"
    "DEVPATH is the port's directory in sysfs, with /sys in front or without;\n"
    "its last part, the port's name, is enough.\n"
    "\n"
    "Exit status: 0; 3 if the port has no descriptor, for which nothing is\n"
    "printed and the rule does not match.\n";

int vser_udev_id(int argc, char **argv)
{
    unsigned int device, id;
    const char *name;
    Port port;
    int status;

    if (!options_parse_help(argc, argv, udev_id_help, &status)) {
        return status;
    }
    if (argc - optind != 1) {
        vser_error("vser udev-id takes one DEVPATH; see vser udev-id --help");
        return VSER_USAGE;
    }
    name = strrchr(argv[optind], '/');
    name = name ? name + 1 : argv[optind];
    if (!port_name_parse(name, &device, &id)) {
        vser_error("'%s': expected the path of a port in sysfs, as in "
                   "/devices/.../virtio-ports/vport2p7", argv[optind]);
        return VSER_USAGE;
    }
    if (!port_read(name, &port)) {
        return VSER_NO_PORT;
    }
    print_properties(&port);
    port_free(&port);
    return EXIT_SUCCESS;
}
