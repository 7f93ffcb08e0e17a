/*
 * Fuzz target: a port with any well-formed blob, and any names in the hwdb, as
 * lsvser and the udev rules show the port
 *
 * The input: a byte that says what to show, the name of the vendor and the name
 * of the product in the hwdb, each ended by a NUL, and the blob. The functions
 * below stand in for sysfs (the linker's --wrap) and for libudev.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <getopt.h>
#include <libudev.h>
#include "commands.h"
#include "port.h"
#include "text-check.h"
#include "fuzz.h"

void __wrap_port_list(const PortFilter *filter, PortList *list);
bool __wrap_port_read(const char *name, Port *port);
void __wrap_port_list_free(PortList *list);
void __wrap_port_free(Port *port);

static Port port;
static char *vendor, *model;

void __wrap_port_list(const PortFilter *filter, PortList *list)
{
    *list = (PortList) { .port = &port, .count = 1 };
}

bool __wrap_port_read(const char *name, Port *dest)
{
    *dest = port;
    return true;
}

void __wrap_port_list_free(PortList *list)
{
}

void __wrap_port_free(Port *dest)
{
}

/* libudev: what names.c calls. An entry is the name itself. */
struct udev_hwdb *udev_hwdb_new(struct udev *udev)
{
    static char hwdb;

    return (struct udev_hwdb *)&hwdb;
}

struct udev_list_entry *
udev_hwdb_get_properties_list_entry(struct udev_hwdb *hwdb,
                                    const char *modalias, unsigned flags)
{
    char *name = strchr(modalias, 'p') ? model : vendor;

    assert(g_str_has_prefix(modalias, "usb:v") && strchr(modalias, '*'));
    return (struct udev_list_entry *)(*name ? name : NULL);
}

struct udev_list_entry *udev_list_entry_get_by_name(struct udev_list_entry *e,
                                                    const char *name)
{
    return e;
}

const char *udev_list_entry_get_value(struct udev_list_entry *e)
{
    return (const char *)e;
}

/* Run a command; what it printed */
static char *shown(int (*command)(int, char **), const char *option)
{
    static FILE *memory;
    static char *text;
    static size_t size;
    char *argv[] = { (char *)"vser", (char *)option, NULL };
    FILE *out = stdout;

    if (!memory) {
        memory = open_memstream(&text, &size);
    }
    rewind(memory);
    optind = 0;
    stdout = memory;
    assert(command(option ? 2 : 1, argv) == EXIT_SUCCESS);
    stdout = out;
    putc('\0', memory);
    fflush(memory);
    return text;
}

/* Lines of KEY=VALUE, with nothing in a value that means more than itself */
static void check_properties(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    size_t i;

    for (i = 0; lines[i] && *lines[i]; i++) {
        const char *s = lines[i];

        assert(g_str_has_prefix(s, "ID_") || g_str_has_prefix(s,
                                                              "VIRTIO_PORT_"));
        s += strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
        assert(*s++ == '=');
        for (; *s; s++) {
            assert((unsigned char)*s >= 0x80 || g_ascii_isalnum(*s) ||
                   strchr("#+-.:=@_", *s) || (*s == '\\' && s[1] == 'x'));
        }
    }
    assert(lines[i] && !lines[i + 1]);
}

/* Outside of strings, brackets are in pairs */
static void check_json(const char *text)
{
    char open[64];
    unsigned int depth = 0;
    bool inside = false;

    for (; *text; text++) {
        if (inside) {
            assert(*text != '\n');
            inside = *text != '"';
            text += *text == '\\';
        } else if (*text == '"') {
            inside = true;
        } else if (*text == '{' || *text == '[') {
            assert(depth < sizeof(open));
            open[depth++] = *text == '{' ? '}' : ']';
        } else if (*text == '}' || *text == ']') {
            assert(depth && open[--depth] == *text);
        }
    }
    assert(depth == 0 && !inside);
}

static char *take_name(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *nul = memchr(*p, '\0', end - *p);
    char *name = g_strndup((const char *)*p, (nul ?: end) - *p);

    *p = nul ? nul + 1 : end;
    return name;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *p = data, *end = data + size;
    VirtIOSerialDescError err;
    char *text;
    uint8_t how;

    if (size == 0) {
        return 0;
    }
    how = *p++;
    vendor = take_name(&p, end);
    model = take_name(&p, end);
    port = (Port) {
        .name = "vport1p2", .device = 1, .id = 2,
        .source = how >> 4 & 1 ? PORT_NAME : PORT_STORE, .waits = how >> 5 & 1,
        .blob = g_memdup2(p, end - p), .length = end - p,
    };
    if (virtio_serial_desc_check(port.blob, port.length, &err)) {
        virtio_serial_desc_info(port.blob, port.length, &port.info);
        switch (how % 5) {
        case 0:
            text = shown(vser_list, NULL);
            assert(strchr(text, '\n') == strrchr(text, '\n'));
            break;
        case 1:
            text = shown(vser_list, "-v");
            break;
        case 2:
            text = shown(vser_list, "-t");
            break;
        case 3:
            text = shown(vser_list, "--json");
            check_json(text);
            break;
        default:
            check_properties(shown(vser_udev_id, port.name));
            text = NULL;
            break;
        }
        if (text) {
            text_check_shown(text);
        }
    }
    g_free(port.blob);
    g_free(vendor);
    g_free(model);
    return 0;
}
