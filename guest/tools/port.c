/*
 * The ports of this guest that have descriptors, from the driver, the daemon or
 * the port's name
 *
 * Where the blob of a port comes from:
 *
 * 1. A driver that knows descriptors shows the blob in sysfs. "descriptors" has
 *    everything before the strings, and four files have the strings of the
 *    device and its first interface as text. The blob is put together from
 *    these files. Other strings are unknown, and become empty strings.
 *
 * 2. "vser daemon" may have the whole blob in its store, as an entry for the
 *    instance of the port that is there (store.h). An entry for another
 *    instance is never used.
 *
 * 3. If driver and store both have a blob, and agree on everything before the
 *    strings, the store's blob is taken, which has all strings. If they do not
 *    agree, the driver's blob is taken: the driver knows which port is there
 *    now.
 *
 * 4. If neither has a blob, the port's name may be one that QEMU has derived
 *    from the descriptor. What the name does not say, the strings above all, is
 *    unknown. A name does not always tell the serial number (derived-name.h).
 *    If such a port's controller has a virtserialdesc port, the port waits for
 *    the daemon: so it does not have one serial number now and another one
 *    later, and no unit is started for the wrong one.
 *
 * The codec checks each blob first: all functions that take a Port rely on a
 * well-formed blob.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "derived-name.h"
#include "descriptor.h"
#include "file.h"
#include "paths.h"
#include "port.h"
#include "store.h"
#include "text.h"
#include "udev-text.h"
#include "hw/virtio/virtio-serial-desc-wire.h"

/* ------------------------------------------------------------------ */
/* Descriptors: read */

/* Take the bytes at @blob as the blob of @port, if they are well-formed */
static bool set_blob(Port *port, const char *path, const uint8_t *blob,
                     size_t length)
{
    VirtIOSerialDescError err;

    if (!virtio_serial_desc_check(blob, length, &err)) {
        vser_error("%s: no well-formed descriptor: %s", path, err.text);
        return false;
    }
    port->blob = vser_realloc(NULL, length);
    memcpy(port->blob, blob, length);
    port->length = length;
    virtio_serial_desc_info(blob, length, &port->info);
    return true;
}

static bool read_store(Port *port)
{
    static uint8_t blob[VIRTIO_SERIAL_DESC_MAX];
    char path[PATH_MAX];
    uint64_t instance = port_instance(port->name);
    ssize_t length;

    /* An entry with instance 0 does not belong to a port yet */
    if (!instance) {
        return false;
    }
    length = store_get(port->name, instance, blob);
    store_path(path, port->name, instance);
    if (length < 0) {
        if (errno != ENOENT) {
            vser_error("%s: %s", path, strerror(errno));
        }
        return false;
    }
    port->source = PORT_STORE;
    return set_blob(port, path, blob, length);
}

/*
 * Parts 1 and 2 are at @blob, @length bytes long: append the strings. The
 * driver shows four strings; the strings of other indices become empty. Returns
 * the length of the whole blob, 0 if there is no room for the strings.
 */
static size_t append_strings(const char *name, uint8_t *blob, size_t length)
{
    static const struct {
        const char *file;
        VirtIOSerialDescProp prop;
    } shown[] = {
        { "manufacturer", VIRTIO_SERIAL_DESC_MANUFACTURER },
        { "product", VIRTIO_SERIAL_DESC_PRODUCT },
        { "serial", VIRTIO_SERIAL_DESC_SERIAL },
        { "interface", VIRTIO_SERIAL_DESC_INTERFACE },
    };
    static const uint8_t langid[] = { 4, 3, 0x09, 0x04 }, empty[] = { 2, 3 };
    char text[4][VIRTIO_SERIAL_DESC_STRING_SIZE + 1];
    VirtIOSerialDescProps props = {
        .value[VIRTIO_SERIAL_DESC_IDS] = (char *)"0000:0000",
    };
    uint8_t built[VIRTIO_SERIAL_DESC_BUILT_MAX];
    const uint8_t *string[256] = { NULL }, *p;
    VirtIOSerialDescInfo info;
    VirtIOSerialDescError err;
    uint8_t index[4];
    bool used[256];
    size_t i;

    if (!virtio_serial_desc_used_strings(blob, length, used, &err)) {
        return length;          /* the check of the blob will say why */
    }
    virtio_serial_desc_info(blob, length, &info);
    index[0] = info.iManufacturer;
    index[1] = info.iProduct;
    index[2] = info.iSerialNumber;
    index[3] = info.iInterface;

    /* The codec makes string descriptors of the driver's texts */
    for (i = 0; i < 4; i++) {
        char path[PATH_MAX];
        ssize_t got;

        snprintf(path, sizeof(path), "%s/%s/%s", VSER_SYSFS, name,
                 shown[i].file);
        got = file_read_line(path, text[i], sizeof(text[i]));
        if (got > 0 && index[i]) {
            props.value[shown[i].prop] = text[i];
        }
    }
    if (!virtio_serial_desc_build(&props, built, &err)) {
        vser_error("%s/%s: %s", VSER_SYSFS, name, err.text);
        return 0;
    }
    virtio_serial_desc_info(built, sizeof(built), &info);
    p = built + info.strings_offset;
    p += desc_length(p);
    for (i = 0; i < 4; i++) {
        if (props.value[shown[i].prop]) {
            string[index[i]] = p;
            p += desc_length(p);
        }
    }

    for (i = 0; i < 256; i++) {
        p = i == 0 ? langid : string[i] ? string[i] : empty;
        if (used[i]) {
            if (desc_length(p) > VIRTIO_SERIAL_DESC_MAX - length) {
                vser_error("%s/%s: strings do not fit into %d bytes",
                           VSER_SYSFS, name, VIRTIO_SERIAL_DESC_MAX);
                return 0;
            }
            memcpy(blob + length, p, desc_length(p));
            length += desc_length(p);
        }
    }
    return length;
}

static bool read_driver(Port *port)
{
    static uint8_t blob[VIRTIO_SERIAL_DESC_MAX];
    char path[PATH_MAX];
    ssize_t length;
    size_t whole;

    snprintf(path, sizeof(path), "%s/%s/descriptors", VSER_SYSFS, port->name);
    length = file_read(path, blob, sizeof(blob));
    if (length < 0) {
        if (errno != ENOENT && errno != ENODEV) {
            vser_error("%s: %s", path, strerror(errno));
        }
        return false;
    }
    port->source = PORT_DRIVER;
    whole = append_strings(port->name, blob, length);
    return whole && set_blob(port, path, blob, whole);
}

/* The longest name of a port that sysfs shows, with the NUL */
#define LABEL_SIZE  4096

/* Read the name that the host gave the port, as opposed to "vport2p7" */
static bool read_label(const char *name, char label[LABEL_SIZE])
{
    char path[PATH_MAX];
    ssize_t length;

    snprintf(path, sizeof(path), "%s/%s/name", VSER_SYSFS, name);
    length = file_read_line(path, label, LABEL_SIZE);
    return length > 0 && (size_t)length == strlen(label);
}

/* The controllers that have a virtserialdesc port */
typedef struct Feeds {
    bool known;                 /* they were looked for */
    unsigned int *device;
    size_t count;
} Feeds;

static void find_feeds(Feeds *feeds)
{
    char label[LABEL_SIZE];
    size_t count, i;
    char **names = port_names(&count);

    for (i = 0; i < count; i++) {
        unsigned int device, id;

        if (port_name_parse(names[i], &device, &id) &&
            read_label(names[i], label) &&
            strncmp(label, VIRTSERIALDESC_NAME_PREFIX,
                    strlen(VIRTSERIALDESC_NAME_PREFIX)) == 0) {
            feeds->device = vser_realloc(feeds->device, (feeds->count + 1) *
                                         sizeof(*feeds->device));
            feeds->device[feeds->count++] = device;
        }
        free(names[i]);
    }
    free(names);
    feeds->known = true;
}

static bool has_feed(Feeds *feeds, unsigned int device)
{
    size_t i;

    if (!feeds->known) {
        find_feeds(feeds);
    }
    for (i = 0; i < feeds->count; i++) {
        if (feeds->device[i] == device) {
            return true;
        }
    }
    return false;
}

static bool read_from_name(Port *port, Feeds *feeds)
{
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
    char label[LABEL_SIZE];
    size_t length;
    bool exact;

    if (!read_label(port->name, label)) {
        return false;
    }
    length = derived_name_blob(label, blob, &exact);
    if (!length) {
        return false;
    }
    port->waits = has_feed(feeds, port->device);
    if (port->waits && !exact) {
        return false;
    }
    port->source = PORT_NAME;
    return set_blob(port, port->name, blob, length);
}

static bool read_port(const char *name, Port *port, Feeds *feeds)
{
    Port store = { 0 };

    *port = (Port) { 0 };
    if (!port_name_parse(name, &port->device, &port->id)) {
        return false;
    }
    snprintf(port->name, sizeof(port->name), "%s", name);
    /* First: so the descriptor is this instance's, or the instance has gone */
    port->instance = port_instance(name);
    store = *port;

    if (!read_driver(port)) {
        *port = store;
        return read_store(port) || read_from_name(port, feeds);
    }
    /*
     * The driver shows four strings, and the store has all strings. But the
     * driver knows which port is there now.
     */
    if (read_store(&store)) {
        if (store.info.strings_offset == port->info.strings_offset &&
            memcmp(store.blob, port->blob, port->info.strings_offset) == 0) {
            port_free(port);
            *port = store;
        } else {
            port_free(&store);
        }
    }
    return true;
}

bool port_read(const char *name, Port *port)
{
    Feeds feeds = { 0 };
    bool found = read_port(name, port, &feeds);

    free(feeds.device);
    return found;
}

const char *port_source(const Port *port)
{
    static const char *const sources[] = {
        [PORT_DRIVER] = "driver",
        [PORT_STORE] = "store",
        [PORT_NAME] = "name",
    };

    return sources[port->source];
}

void port_free(Port *port)
{
    free(port->blob);
    *port = (Port) { 0 };
}

/* ------------------------------------------------------------------ */
/* Descriptors: strings */

const uint8_t *port_string_descriptor(const Port *port, uint8_t index)
{
    return virtio_serial_desc_find_string(port->blob, port->length, index);
}

void port_string(const Port *port, uint8_t index,
                 char dest[VIRTIO_SERIAL_DESC_STRING_SIZE])
{
    virtio_serial_desc_string(port->blob, port->length, index, dest);
}

bool port_udev_string(const Port *port, uint8_t index,
                      char dest[VIRTIO_SERIAL_DESC_STRING_SIZE])
{
    const uint8_t *unit = index ? port_string_descriptor(port, index) : NULL;
    const char *p = dest;
    char *q = dest;
    bool found;

    port_string(port, index, dest);
    /* The kernel leaves out a unit for which the codec has put U+FFFD */
    for (unit = unit ? unit + 2 : NULL; *p; ) {
        size_t size;
        int32_t c = text_next(p, &size);
        unsigned int first = get_le16(unit);

        if (first == 0) {
            break;
        }
        if (c != 0xfffd || first == 0xfffd) {
            memmove(q, p, size);
            q += size;
        }
        p += size;
        unit += c >= 0x10000 ? 4 : 2;
    }
    *q = '\0';
    found = q > dest;
    while (q > dest && (q[-1] == '\n' || q[-1] == '\r')) {
        *--q = '\0';
    }
    return found;
}

void port_modalias(const Port *port, char *dest)
{
    virtio_serial_desc_name(port->blob, port->length, 0, dest);
    /* The codec adds '#' and the serial number */
    dest[strcspn(dest, "#")] = '\0';
}

/* ------------------------------------------------------------------ */
/* Filters */

/* Read up to four hexadecimal digits at *@p; -1 if there are no digits */
static int parse_id(const char **p)
{
    int value = -1, digits;

    for (digits = 0; digits < 4 && isxdigit((unsigned char)**p); digits++) {
        char digit[] = { *(*p)++, '\0' };

        value = (digits ? value << 4 : 0) | strtol(digit, NULL, 16);
    }
    return value;
}

bool port_ids_parse(const char *text, PortFilter *filter)
{
    const char *p = text;

    *filter = (PortFilter) { .vendor = parse_id(&p) };
    if (*p++ != ':') {
        return false;
    }
    filter->product = parse_id(&p);
    filter->serial = *p == ':' ? p + 1 : NULL;
    return *p == '\0' || (*p == ':' && p[1]);
}

/* Only in a path a "/" comes before any ":"; a serial number may have a "/" */
static bool is_path(const char *text)
{
    return text[strcspn(text, "/:")] == '/';
}

bool port_filter_parse(const char *text, PortFilter *filter)
{
    if (is_path(text)) {
        *filter = (PortFilter) { .vendor = -1, .product = -1, .path = text };
        return true;
    }
    if (!port_ids_parse(text, filter)) {
        vser_error("'%s': expected VVVV:PPPP or VVVV:PPPP:SERIAL, idVendor and "
                   "idProduct in hex, as in 1209:0001, or a path, as in "
                   "/dev/virtio-ports/by-usb-id/1209:0001", text);
        return false;
    }
    return true;
}

static bool serial_matches(const Port *port, const char *serial)
{
    char own[VIRTIO_SERIAL_DESC_STRING_SIZE];
    char as_read[VIRTIO_SERIAL_DESC_STRING_SIZE];
    char as_udev[VIRTIO_SERIAL_DESC_STRING_SIZE];

    port_string(port, port->info.iSerialNumber, own);
    port_udev_string(port, port->info.iSerialNumber, as_read);
    udev_text_serial(as_read, as_udev);
    return (*own && strcmp(serial, own) == 0) ||
           (*as_udev && strcmp(serial, as_udev) == 0) ||
           strcmp(serial, port->name) == 0;
}

/* Does @path lead to the port's node? */
static bool path_matches(const Port *port, const char *path)
{
    char node[PATH_MAX];
    struct stat own, given;

    snprintf(node, sizeof(node), "%s/%s", VSER_DEV, port->name);
    return stat(node, &own) == 0 && stat(path, &given) == 0 &&
           own.st_dev == given.st_dev && own.st_ino == given.st_ino;
}

bool port_matches(const Port *port, const PortFilter *filter)
{
    return !filter ||
           ((filter->vendor < 0 || filter->vendor == port->info.idVendor) &&
            (filter->product < 0 || filter->product == port->info.idProduct) &&
            (!filter->serial || serial_matches(port, filter->serial)) &&
            (!filter->path || path_matches(port, filter->path)));
}

void port_list(const PortFilter *filter, PortList *list)
{
    size_t count, i;
    char **names = port_names(&count);
    Feeds feeds = { 0 };

    *list = (PortList) { 0 };
    for (i = 0; i < count; i++) {
        Port port;

        if (read_port(names[i], &port, &feeds)) {
            if (port_matches(&port, filter)) {
                list->port = vser_realloc(list->port, (list->count + 1) *
                                          sizeof(*list->port));
                list->port[list->count++] = port;
            } else {
                port_free(&port);
            }
        }
        free(names[i]);
    }
    free(names);
    free(feeds.device);
}

void port_list_free(PortList *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        port_free(&list->port[i]);
    }
    free(list->port);
    *list = (PortList) { 0 };
}

static void complain_none(const char *text)
{
    if (!is_path(text)) {
        vser_error("no port is '%s'", text);
    } else if (access(text, F_OK) < 0) {
        vser_error("%s: %s", text, strerror(errno));
    } else {
        vser_error("%s: not the node of a port that has a descriptor", text);
    }
}

static void complain_ambiguous(const char *text, const PortList *list)
{
    size_t i;

    vser_error("'%s' matches %zu ports:", text, list->count);
    for (i = 0; i < list->count; i++) {
        const Port *port = &list->port[i];
        char serial[VIRTIO_SERIAL_DESC_STRING_SIZE];

        port_string(port, port->info.iSerialNumber, serial);
        vser_error("  %s: %04x:%04x, %s%s", port->name, port->info.idVendor,
                   port->info.idProduct,
                   *serial ? "serial number " : "no serial number", serial);
    }
    vser_error("add the serial number of one, or its name, as in %04x:%04x:%s",
               list->port[0].info.idVendor, list->port[0].info.idProduct,
               list->port[0].name);
}

int port_pick(const char *text, PortList *list, Port *port)
{
    int ret;

    if (list->count == 1) {
        *port = list->port[0];
        list->count = 0;
        ret = EXIT_SUCCESS;
    } else if (list->count == 0) {
        complain_none(text);
        ret = VSER_NO_PORT;
    } else {
        complain_ambiguous(text, list);
        ret = VSER_AMBIGUOUS;
    }
    port_list_free(list);
    return ret;
}

int port_choose(const char *text, Port *port)
{
    PortFilter filter;
    PortList list;

    if (!port_filter_parse(text, &filter)) {
        return VSER_USAGE;
    }
    port_list(&filter, &list);
    return port_pick(text, &list, port);
}

/* ------------------------------------------------------------------ */
/* Nodes */

int port_open(const Port *port)
{
    return port_name_open(port->name, port->instance, O_RDWR);
}

bool port_is_unplugged(int fd)
{
    char nothing;

    /* The driver fails even a read of no bytes */
    return read(fd, &nothing, 0) < 0 && errno == ENODEV;
}

void port_open_failed(const char *name)
{
    vser_error("%s/%s: %s", VSER_DEV, name, errno == EBUSY ?
               "in use by another program" : strerror(errno));
}
