/*
 * The ports of this guest that have descriptors, however it learnt them
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_PORT_H
#define VSER_PORT_H

#include "port-name.h"
#include "hw/virtio/virtio-serial-desc-codec.h"

/* Who knew the descriptor */
typedef enum PortSource {
    PORT_DRIVER,    /* the driver, in sysfs (guest/linux) */
    PORT_STORE,     /* "vser daemon", in its store */
} PortSource;

typedef struct Port {
    /* "vport2p7": the names of /dev/NAME and /sys/class/virtio-ports/NAME */
    char name[PORT_NAME_SIZE];
    unsigned int device, id;    /* 2 and 7 */
    uint64_t instance;          /* which one of that name: port_instance() */
    PortSource source;
    /*
     * A well-formed blob: virtio_serial_desc_check() has seen it. Strings that
     * the driver does not show are empty ones.
     */
    uint8_t *blob;
    size_t length;              /* of blob, in bytes */
    VirtIOSerialDescInfo info;
} Port;

typedef struct PortList {
    Port *port;                 /* by device, then by id */
    size_t count;
} PortList;

/* Which ports: what "V:P[:SERIAL]", a path or "-d V:P -s SERIAL" say */
typedef struct PortFilter {
    int vendor, product;        /* -1: any */
    /*
     * The serial number, as the port has it or as udev's ID_SERIAL_SHORT has
     * it; or the port's name, which also tells those apart that have no serial
     * number. NULL: any
     */
    const char *serial;
    const char *path;           /* of its node or a link to that; NULL: any */
} PortFilter;

/**
 * port_ids_parse:
 * @text: "VVVV:PPPP[:SERIAL]", hexadecimal, either number may be left out;
 *        all behind the second colon is the serial number
 * @filter: filled; its serial number points into @text
 *
 * Returns: whether it is that. Says nothing.
 */
bool port_ids_parse(const char *text, PortFilter *filter);

/**
 * port_filter_parse:
 * @text: as for port_ids_parse(), or a path: there a "/" comes before any ":"
 * @filter: filled; points into @text
 *
 * Returns: false, after a message on stderr, if it is neither.
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
 * Returns: whether it has one. If it has one that can't be read or is not
 * well-formed there is a message on stderr.
 */
bool port_read(const char *name, Port *port);

/**
 * port_list:
 * @filter: NULL for every port
 * @list: filled; free with port_list_free()
 *
 * Find the ports that have a descriptor. One whose descriptor can't be read or
 * is not well-formed is left out after a message on stderr that says why.
 */
void port_list(const PortFilter *filter, PortList *list);

void port_list_free(PortList *list);

/**
 * port_modalias:
 * @port: the port
 * @dest: VIRTIO_SERIAL_DESC_NAME_SIZE bytes, filled
 *
 * The USB modalias of its first interface: the key of an hwdb file.
 */
void port_modalias(const Port *port, char *dest);

/* Where the strings of its blob begin, and the other descriptors end */
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
 * The same as port_string(), but as udev would read it from the sysfs of a USB
 * device: what is not UTF-16 is left out, U+0000 ends it, and newlines at its
 * end are gone.
 *
 * Returns: whether there would be a file to read. What udev reads from it may
 * be empty all the same.
 */
bool port_udev_string(const Port *port, uint8_t index,
                      char dest[VIRTIO_SERIAL_DESC_STRING_SIZE]);

/**
 * port_string_descriptor:
 * @port: the port
 * @index: of the string descriptor; 0 is that with the LANGIDs
 *
 * Returns: where in the blob it is, bLength bytes; NULL if there is none.
 */
const uint8_t *port_string_descriptor(const Port *port, uint8_t index);

/**
 * port_pick:
 * @text: what the user asked for
 * @list: the ports that are that; it is freed
 * @port: filled with the one in @list; free with port_free()
 *
 * Returns: EXIT_SUCCESS, or an exit code of vser's (vser.h) after a message on
 * stderr: there is none, or there is more than one (which ones).
 */
int port_pick(const char *text, PortList *list, Port *port);

/**
 * port_choose:
 * @text: as for port_filter_parse()
 * @port: filled with the one port that matches; free with port_free()
 *
 * Returns: as port_pick(), or VSER_USAGE if @text is wrong.
 */
int port_choose(const char *text, Port *port);

/**
 * port_open:
 * @port: what has been chosen
 *
 * Returns: a file descriptor for its node, nonblocking; -1 and errno, ENODEV
 * also where the name is that of another port by now.
 */
int port_open(const Port *port);

/**
 * port_open_failed:
 * @name: "vport2p7"
 *
 * Say on stderr what errno says about a port_open() of it.
 */
void port_open_failed(const char *name);

void port_free(Port *port);

#endif /* VSER_PORT_H */
