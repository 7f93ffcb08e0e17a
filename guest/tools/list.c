/*
 * vser list, lsvser: show the ports that have descriptors, as lsusb does
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <getopt.h>
#include <unistd.h>
#include "commands.h"
#include "descriptor.h"
#include "dump.h"
#include "names.h"
#include "paths.h"
#include "port-json.h"
#include "text.h"

/* ------------------------------------------------------------------ */
/* One line for each port */

/* The descriptor's own string, else the name in hwdb, else nothing */
static void print_name(const Port *port, uint8_t index, const char *database)
{
    char own[VIRTIO_SERIAL_DESC_STRING_SIZE];

    port_string(port, index, own);
    if (*own || database) {
        putchar(' ');
        text_print(stdout, *own ? own : database);
    }
}

/* " Acme Kernel stats", and whether that is all that the guest can know */
static void print_names(const Port *port)
{
    const VirtIOSerialDescInfo *info = &port->info;

    print_name(port, info->iManufacturer, names_vendor(info->idVendor));
    print_name(port, info->iProduct,
               names_product(info->idVendor, info->idProduct));
    if (port->source == PORT_NAME) {
        fputs(" (name only)", stdout);
    }
}

static void print_line(const Port *port)
{
    printf("%s: ID %04x:%04x", port->name, port->info.idVendor,
           port->info.idProduct);
    print_names(port);
    putchar('\n');
}

static void print_verbose(const PortList *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        putchar('\n');
        print_line(&list->port[i]);
        if (list->port[i].source == PORT_NAME) {
            puts("  ** the port's name says numbers, classes and serial "
                 "number; the rest\n  ** is as QEMU builds it");
        }
        port_dump(&list->port[i]);
    }
}

/* ------------------------------------------------------------------ */
/* Tree */

static void print_controller(const Port *port)
{
    char path[PATH_MAX], target[PATH_MAX];
    const char *slash;
    ssize_t length;

    printf("/:  Controller %u", port->device);
    snprintf(path, sizeof(path), "%s/%s/device", VSER_SYSFS, port->name);
    length = readlink(path, target, sizeof(target) - 1);
    if (length > 0) {
        target[length] = '\0';
        slash = strrchr(target, '/');
        printf(": Dev ");
        text_print(stdout, slash ? slash + 1 : target);
    }
    putchar('\n');
}

static void print_tree(const PortList *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        const Port *port = &list->port[i];
        const VirtIOSerialDescInfo *info = &port->info;
        char serial[VIRTIO_SERIAL_DESC_STRING_SIZE];
        const char *class = names_class(info->bInterfaceClass);

        if (i == 0 || port[-1].device != port->device) {
            print_controller(port);
        }
        printf("    |__ Port %u: Dev %s, If %u, Class=", port->id, port->name,
               info->bInterfaceNumber);
        if (*class) {
            fputs(class, stdout);
        } else {
            printf("%02x", info->bInterfaceClass);
        }
        port_string(port, info->iSerialNumber, serial);
        if (*serial) {
            fputs(", Serial=", stdout);
            text_print(stdout, serial);
        }
        printf("\n        ID %04x:%04x", info->idVendor, info->idProduct);
        print_names(port);
        putchar('\n');
    }
}

/* ------------------------------------------------------------------ */
/* JSON: vser-list.schema.json describes it */

static const PortJsonField list_config_fields[] = {
    PORT_JSON_FIELD(usb_config_descriptor, bConfigurationValue, number),
    PORT_JSON_FIELD(usb_config_descriptor, bmAttributes, hex),
    PORT_JSON_FIELD(usb_config_descriptor, bMaxPower, number),
    PORT_JSON_NAMED("configuration", usb_config_descriptor, iConfiguration),
};

static const PortJsonField list_interface_fields[] = {
    PORT_JSON_FIELD(usb_interface_descriptor, bInterfaceNumber, hex),
    PORT_JSON_FIELD(usb_interface_descriptor, bAlternateSetting, number),
    PORT_JSON_FIELD(usb_interface_descriptor, bInterfaceClass, hex),
    PORT_JSON_FIELD(usb_interface_descriptor, bInterfaceSubClass, hex),
    PORT_JSON_FIELD(usb_interface_descriptor, bInterfaceProtocol, hex),
    PORT_JSON_NAMED("interface", usb_interface_descriptor, iInterface),
};

static const PortJsonField list_endpoint_fields[] = {
    PORT_JSON_FIELD(usb_endpoint_descriptor, bEndpointAddress, hex),
    PORT_JSON_FIELD(usb_endpoint_descriptor, bmAttributes, hex),
    PORT_JSON_FIELD(usb_endpoint_descriptor, wMaxPacketSize, number),
    PORT_JSON_FIELD(usb_endpoint_descriptor, bInterval, number),
};

/*
 * Interfaces with their endpoints. Descriptors of other types are printed as
 * part of the blob only.
 */
static void json_configurations(Json *json, const Port *port)
{
    unsigned int outside = json->depth, inside = outside + 1;
    const uint8_t *p;

    json_array(json, "configurations");
    for (p = port->blob; p; p = desc_next(p, port_strings(port))) {
        switch (desc_type(p)) {
        case USB_DT_CONFIG:
            json_end(json, inside);
            json_object(json, NULL);
            port_json_fields(json, port, p, list_config_fields,
                             ARRAY_SIZE(list_config_fields));
            json_array(json, "interfaces");
            break;
        case USB_DT_INTERFACE:
            json_end(json, inside + 2);
            json_object(json, NULL);
            port_json_fields(json, port, p, list_interface_fields,
                             ARRAY_SIZE(list_interface_fields));
            json_array(json, "endpoints");
            break;
        case USB_DT_ENDPOINT:
            json_object_inline(json, NULL);
            port_json_fields(json, port, p, list_endpoint_fields,
                             ARRAY_SIZE(list_endpoint_fields));
            json_end(json, inside + 4);
            break;
        }
    }
    json_end(json, outside);
}

static void json_port(Json *json, const Port *port)
{
    unsigned int outside = json->depth;

    json_object(json, NULL);
    port_json(json, port);
    json_configurations(json, port);
    json_bytes(json, "blob", port->blob, port->length);
    json_end(json, outside);
}

static void print_json(const PortList *list)
{
    Json json = { .stream = stdout };
    size_t i;

    json_object(&json, NULL);
    json_array(&json, "ports");
    for (i = 0; i < list->count; i++) {
        json_port(&json, &list->port[i]);
    }
    json_end(&json, 0);
}

/* ------------------------------------------------------------------ */

static const char list_help[] =
    "usage: vser list [-v | -t | --json] [-d [VVVV]:[PPPP]] [-s SERIAL]\n"
    "       lsvser ...\n"
    "\n"
    "Show the virtio-serial ports that have USB descriptors.\n"
    "\n"
    "  -v, --verbose  every descriptor, as lsusb -v prints them\n"
    "  -t, --tree     by controller, with classes and serial numbers\n"
    "      --json     all of it, for programs; vser(1) names the schema\n"
    "  -d [VVVV]:[PPPP]\n"
    "                 only ports with that idVendor and idProduct, in hex\n"
    "  -s SERIAL      only ports with that serial number, or the port of that\n"
    "                 name\n"
    "\n"
    "Exit status: 0; 3 if -d or -s is given and no port matches.\n";

int vser_list(int argc, char **argv)
{
    static const struct option list_options[] = {
        { "verbose", no_argument, NULL, 'v' },
        { "tree", no_argument, NULL, 't' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { 0 }
    };
    PortFilter filter = { .vendor = -1, .product = -1 };
    const char *serial = NULL;
    bool filtered = false;
    char format = 'l';
    PortList list;
    size_t i;
    int c, ret;

    while ((c = getopt_long(argc, argv, "vtd:s:hV", list_options,
                            NULL)) != -1) {
        switch (c) {
        case 'v':
        case 't':
        case 'j':
            if (format != 'l' && format != c) {
                vser_error("-v, -t and --json exclude each other");
                return VSER_USAGE;
            }
            format = c;
            break;
        case 'd':
            if (!port_ids_parse(optarg, &filter)) {
                vser_error("-d '%s': expected [VVVV]:[PPPP], idVendor and "
                           "idProduct in hex, as in 1209:0001 or 1209:",
                           optarg);
                return VSER_USAGE;
            }
            filtered = true;
            break;
        case 's':
            serial = optarg;
            filtered = true;
            break;
        case 'h':
            fputs(list_help, stdout);
            return EXIT_SUCCESS;
        case 'V':
            vser_print_version();
            return EXIT_SUCCESS;
        default:
            return VSER_USAGE;
        }
    }
    if (optind < argc) {
        vser_error("'%s': vser list takes options only", argv[optind]);
        return VSER_USAGE;
    }
    if (serial) {
        filter.serial = serial;
    }

    port_list(&filter, &list);
    switch (format) {
    case 'v':
        print_verbose(&list);
        break;
    case 't':
        print_tree(&list);
        break;
    case 'j':
        print_json(&list);
        break;
    default:
        for (i = 0; i < list.count; i++) {
            print_line(&list.port[i]);
        }
    }
    ret = filtered && list.count == 0 ? VSER_NO_PORT : EXIT_SUCCESS;
    port_list_free(&list);
    return ret;
}
