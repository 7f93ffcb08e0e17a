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
#include "dump.h"
#include "file.h"
#include "names.h"
#include "paths.h"
#include "port.h"
#include "text.h"

/* ------------------------------------------------------------------ */
/* One line a port */

/* "Acme Kernel stats": the hwdb's names, the descriptor's where it has none */
static void print_names(const Port *port)
{
    const VirtIOSerialDescInfo *info = &port->info;
    char own[VIRTIO_SERIAL_DESC_STRING_SIZE];
    const char *name = names_vendor(info->idVendor);

    port_string(port, info->iManufacturer, own);
    if (name || *own) {
        putchar(' ');
        text_print(stdout, name ? name : own);
    }
    name = names_product(info->idVendor, info->idProduct);
    port_string(port, info->iProduct, own);
    if (name || *own) {
        putchar(' ');
        text_print(stdout, name ? name : own);
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
/* JSON: vser-list.schema.json says what is what */

static void json_text(const char *indent, const char *key, const char *text)
{
    printf("%s\"%s\": ", indent, key);
    if (text && *text) {
        text_print_json(stdout, text);
    } else {
        fputs("null", stdout);
    }
    fputs(",\n", stdout);
}

static void json_string(const char *indent, const char *key, const Port *port,
                        uint8_t index)
{
    char text[VIRTIO_SERIAL_DESC_STRING_SIZE];

    port_string(port, index, text);
    json_text(indent, key, text);
}

/* The port's name among virtio ports, which stock drivers make a link of */
static void json_port_name(const Port *port)
{
    char path[PATH_MAX], name[4096];

    snprintf(path, sizeof(path), "%s/%s/name", VSER_SYSFS, port->name);
    file_read_line(path, name, sizeof(name));
    json_text("      ", "name", name);
}

/* From the configuration at @p on, and the end of the one that was open */
static void json_configuration(const Port *port, const uint8_t *p, bool first)
{
    printf("%s        {\n"
           "          \"bConfigurationValue\": %u,\n"
           "          \"bmAttributes\": \"%02x\",\n"
           "          \"bMaxPower\": %u,\n",
           first ? "" : "\n          ]\n        },\n", p[5], p[7], p[8]);
    json_string("          ", "configuration", port, p[6]);
    printf("          \"interfaces\": [");
}

/*
 * Interfaces with their endpoints. What else is between descriptors of these
 * two types is in the blob and nowhere else.
 */
static void json_configurations(const Port *port)
{
    const uint8_t *p, *strings = port->blob + port->info.strings_offset;
    bool first_configuration = true, first_interface = true;
    bool first_endpoint = true;

    fputs("      \"configurations\": [\n", stdout);
    for (p = port->blob; p < strings; p += p[0]) {
        bool interface_ends = p[1] == 0x02 || p[1] == 0x04;

        if (interface_ends && !first_interface) {
            fputs(first_endpoint ? "]\n            }"
                                 : "\n              ]\n            }", stdout);
        }
        if (p[1] == 0x02) {
            json_configuration(port, p, first_configuration);
            first_configuration = false;
            first_interface = true;
        } else if (p[1] == 0x04) {
            printf("%s            {\n"
                   "              \"bInterfaceNumber\": \"%02x\",\n"
                   "              \"bAlternateSetting\": %u,\n"
                   "              \"bInterfaceClass\": \"%02x\",\n"
                   "              \"bInterfaceSubClass\": \"%02x\",\n"
                   "              \"bInterfaceProtocol\": \"%02x\",\n",
                   first_interface ? "\n" : ",\n", p[2], p[3], p[5], p[6],
                   p[7]);
            json_string("              ", "interface", port, p[8]);
            printf("              \"endpoints\": [");
            first_interface = false;
            first_endpoint = true;
        } else if (p[1] == 0x05) {
            printf("%s                { \"bEndpointAddress\": \"%02x\", "
                   "\"bmAttributes\": \"%02x\", \"wMaxPacketSize\": %u, "
                   "\"bInterval\": %u }", first_endpoint ? "\n" : ",\n",
                   p[2], p[3], p[4] | p[5] << 8, p[6]);
            first_endpoint = false;
        }
    }
    fputs(first_endpoint ? "]\n            }"
                         : "\n              ]\n            }", stdout);
    fputs("\n          ]\n        }\n      ],\n", stdout);
}

static void json_port(const Port *port)
{
    const VirtIOSerialDescInfo *info = &port->info;
    size_t i;

    printf("    {\n"
           "      \"port\": \"%s\",\n"
           "      \"node\": \"%s/%s\",\n"
           "      \"controller\": %u,\n"
           "      \"id\": %u,\n"
           "      \"source\": \"%s\",\n",
           port->name, VSER_DEV, port->name, port->device, port->id,
           port->source == PORT_DRIVER ? "driver" : "store");
    json_port_name(port);
    printf("      \"idVendor\": \"%04x\",\n"
           "      \"idProduct\": \"%04x\",\n"
           "      \"bcdDevice\": \"%04x\",\n"
           "      \"bcdUSB\": \"%04x\",\n"
           "      \"bDeviceClass\": \"%02x\",\n"
           "      \"bDeviceSubClass\": \"%02x\",\n"
           "      \"bDeviceProtocol\": \"%02x\",\n",
           info->idVendor, info->idProduct, info->bcdDevice, info->bcdUSB,
           info->bDeviceClass, info->bDeviceSubClass, info->bDeviceProtocol);
    json_string("      ", "manufacturer", port, info->iManufacturer);
    json_string("      ", "product", port, info->iProduct);
    json_string("      ", "serial", port, info->iSerialNumber);
    json_text("      ", "vendorFromDatabase", names_vendor(info->idVendor));
    json_text("      ", "productFromDatabase",
              names_product(info->idVendor, info->idProduct));
    json_configurations(port);
    fputs("      \"blob\": \"", stdout);
    for (i = 0; i < port->length; i++) {
        printf("%02x", port->blob[i]);
    }
    fputs("\"\n    }", stdout);
}

static void print_json(const PortList *list)
{
    size_t i;

    fputs("{\n  \"ports\": [", stdout);
    for (i = 0; i < list->count; i++) {
        fputs(i ? ",\n" : "\n", stdout);
        json_port(&list->port[i]);
    }
    puts(list->count ? "\n  ]\n}" : "]\n}");
}

/* ------------------------------------------------------------------ */

static const char help[] =
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
    static const struct option options[] = {
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

    while ((c = getopt_long(argc, argv, "vtd:s:hV", options, NULL)) != -1) {
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
            fputs(help, stdout);
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
