/*
 * The ports of this guest that have descriptors, from the driver, the daemon or
 * the port's name
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_PORT_H
#define VSER_PORT_H

#include "port-name.h"
#include "hw/virtio/virtio-serial-desc-name.h"

/* Where the descriptor was found */
typedef enum PortSource {
    PORT_DRIVER,    /* the driver, in sysfs (guest/linux) */
    PORT_STORE,     /* "vser daemon", in its store */
    /*
     * The port's name: numbers, classes and serial number are the port's. All
     * else in the blob is what QEMU builds from these.
     */
    PORT_NAME,
} PortSource;

typedef struct Port {
    /* "vport2p7": the names of /dev/NAME and /sys/class/virtio-ports/NAME */
    char name[PORT_NAME_SIZE];
    unsigned int device, id;    /* 2 and 7 */
    uint64_t instance;          /* from port_instance() */
    PortSource source;
    /* Only the name is known as yet: the controller has a virtserialdesc */
    bool waits;
    /*
     * A blob that virtio_serial_desc_check() has found well-formed. Strings
     * that the driver does not show are empty.
     */
    uint8_t *blob;
    size_t length;              /* of blob, in bytes */
    VirtIOSerialDescInfo info;
} Port;

typedef struct PortList {
    Port *port;                 /* by device, then by id */
    size_t count;
} PortList;

/* Which ports to take, from "V:P[:SERIAL]", a path or "-d V:P -s SERIAL" */
typedef struct PortFilter {
    int vendor, product;        /* -1: any */
    /*
     * The serial number, as the port or udev's ID_SERIAL_SHORT has it; or the
     * port's name, which also tells ports without a serial number apart.
     * NULL: any
     */
    const char *serial;
    const char *path;           /* of the node or a link to it; NULL: any */
} PortFilter;

/* "driver", "store" or "name" */
const char *port_source(const Port *port);

/**
 * port_ids_parse:
 * @text: "VVVV:PPPP[:SERIAL]", hexadecimal, either number may be left out;
 *        everything after the second colon is the serial number
 * @filter: filled; its serial number points into @text
 *
 * Returns: whether @text has that form. Prints no message.
 */
bool port_ids_parse(const char *text, PortFilter *filter);

/**
 * port_filter_parse:
 * @text: as for port_ids_parse(), or a path: in a path a "/" comes before any
 *        ":"
 * @filter: filled; points into @text
 *
 * Returns: false, after a message on stderr, if @text is neither.
 */
bool port_filter_parse(const char *text, PortFilter *filter);

/**
 * port_matches:
 * @filter: NULL for every port
 */
bool port_matches(const Port *port, const PortFilter *filter);

/**
 * port_read:
 * @name: "vport2p7"
 * @port: filled if the port has a descriptor; free with port_free()
 *
 * Returns: whether the port has a descriptor. If the descriptor can't be read
 * or is not well-formed, there is a message on stderr.
 */
bool port_read(const char *name, Port *port);

/**
 * port_list:
 * @filter: NULL for every port
 * @list: filled; free with port_list_free()
 *
 * Find the ports that have a descriptor. A port is left out, after a message on
 * stderr, if its descriptor can't be read or is not well-formed.
 */
void port_list(const PortFilter *filter, PortList *list);

void port_list_free(PortList *list);

/**
 * port_modalias:
 * @port: the port
 * @dest: VIRTIO_SERIAL_DESC_NAME_SIZE bytes, filled
 *
 * The USB modalias of the port's first interface: the key of an hwdb file.
 */
void port_modalias(const Port *port, char *dest);

/* Where the strings of the port's blob begin, behind all other descriptors */
static inline const uint8_t *port_strings(const Port *port)
{
    return port->blob + port->info.strings_offset;
}

/**
 * port_string:
 * @port: the port
 * @index: of the string descriptor
 * @dest: filled with UTF-8; empty if there is no such string
 */
void port_string(const Port *port, uint8_t index,
                 char dest[VIRTIO_SERIAL_DESC_STRING_SIZE]);

/**
 * port_udev_string:
 * @port: the port
 * @index: of the string descriptor
 * @dest: filled with UTF-8
 *
 * The string as udev would read it from the sysfs of a USB device: units that
 * are not UTF-16 are left out, U+0000 ends the string, and newlines at the end
 * are removed.
 *
 * Returns: whether there would be a file to read. The string may be empty even
 * then.
 */
bool port_udev_string(const Port *port, uint8_t index,
                      char dest[VIRTIO_SERIAL_DESC_STRING_SIZE]);

/**
 * port_string_descriptor:
 * @port: the port
 * @index: of the string descriptor; 0 is the descriptor with the LANGIDs
 *
 * Returns: where the string descriptor, of bLength bytes, is in the blob; NULL
 * if there is none.
 */
const uint8_t *port_string_descriptor(const Port *port, uint8_t index);

/**
 * port_pick:
 * @text: what the user asked for
 * @list: the ports that match; the list is freed
 * @port: filled with the only port of @list; free with port_free()
 *
 * Returns: EXIT_SUCCESS, or an exit code (util.h) after a message on stderr: no
 * port matches, or more than one port, and which ones.
 */
int port_pick(const char *text, PortList *list, Port *port);

/**
 * port_choose:
 * @text: as for port_filter_parse()
 * @port: filled with the one port that matches; free with port_free()
 *
 * Returns: as port_pick(), or VSER_USAGE if @text has a wrong form.
 */
int port_choose(const char *text, Port *port);

/**
 * port_open:
 * @port: the port
 *
 * Returns: a nonblocking file descriptor for the port's node; -1 and errno.
 * ENODEV: the port has gone, and another port may have its name by now.
 */
int port_open(const Port *port);

/**
 * port_is_unplugged:
 * @fd: from port_open()
 *
 * Returns: whether the port has gone, also if another port has its name by now.
 */
bool port_is_unplugged(int fd);

/**
 * port_open_failed:
 * @name: "vport2p7"
 *
 * Print a message on stderr after port_open() has failed with errno.
 */
void port_open_failed(const char *name);

void port_free(Port *port);

#endif /* VSER_PORT_H */
