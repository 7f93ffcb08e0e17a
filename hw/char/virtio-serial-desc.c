/*
 * A virtio-serial port's descriptor: from properties to the blob
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/error-report.h"
#include "migration/qemu-file-types.h"
#include "monitor/monitor.h"
#include "trace.h"
#include "hw/virtio/virtio-serial.h"
#include "hw/virtio/virtserialdesc.h"

#ifndef O_NONBLOCK
#define O_NONBLOCK 0    /* Windows: no file is a FIFO */
#endif

/* ------------------------------------------------------------------ */
/* The blob */

/* Read all of a file, at most VIRTIO_SERIAL_DESC_MAX + 1 bytes, into @buf */
static ssize_t desc_read_file(const char *path, uint8_t *buf)
{
    /* A FIFO without a writer must not stop the whole machine */
    int fd = qemu_open_old(path, O_RDONLY | O_BINARY | O_NONBLOCK);
    ssize_t len = 0, ret;

    if (fd < 0) {
        return -errno;
    }
    /*
     * Descriptors of an fdset share one offset, and another port may have
     * moved it
     */
    lseek(fd, 0, SEEK_SET);
    do {
        ret = RETRY_ON_EINTR(read(fd, buf + len,
                                  VIRTIO_SERIAL_DESC_MAX + 1 - len));
        len += MAX(ret, 0);
    } while (ret > 0);
    if (ret < 0) {
        len = -errno;
    }
    qemu_close(fd);
    return len;
}

static bool desc_blob_from_file(VirtIOSerialDesc *desc, const char *path,
                                Error **errp)
{
    g_autofree uint8_t *buf = g_malloc(VIRTIO_SERIAL_DESC_MAX + 1);
    ssize_t len = desc_read_file(path, buf);
    VirtIOSerialDescError err;

    if (len < 0) {
        error_setg(errp, "desc-file='%s': could not read: %s; expected a file "
                   "with a descriptor blob", path, strerror(-len));
        return false;
    }
    if (len > VIRTIO_SERIAL_DESC_MAX) {
        error_setg(errp, "desc-file='%s': too large; expected a descriptor "
                   "blob of at most %d bytes", path, VIRTIO_SERIAL_DESC_MAX);
        return false;
    }
    if (!virtio_serial_desc_check(buf, len, &err)) {
        error_setg(errp, "desc-file='%s': not a well-formed descriptor blob: "
                   "%s", path, err.text);
        return false;
    }
    desc->blob = g_memdup2(buf, len);
    desc->length = len;
    return true;
}

static bool desc_blob_from_props(VirtIOSerialDesc *desc, Error **errp)
{
    uint8_t buf[VIRTIO_SERIAL_DESC_BUILT_MAX];
    VirtIOSerialDescError err;
    size_t len = virtio_serial_desc_build(desc->props, buf, &err);

    if (!len) {
        error_setg(errp, "%s", err.text);
        return false;
    }
    desc->blob = g_memdup2(buf, len);
    desc->length = len;
    return true;
}

static void desc_free_props(VirtIOSerialDesc *desc)
{
    int i;

    for (i = 0; desc->props && i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        g_free(desc->props->value[i]);
    }
    g_free(desc->props);
    desc->props = NULL;
}

static void desc_set_unless_given(VirtIOSerialDescProps *props,
                                  VirtIOSerialDescProp prop, const char *value)
{
    if (!props->value[prop] && value && *value) {
        props->value[prop] = g_strdup(value);
    }
}

/*
 * If the name that the user gave @port is a descriptor, set the properties that
 * it stands for; a property that the user gave as well is kept. Where the
 * controller does not offer descriptors, guests have the names that they always
 * had. Returns: false if the name is refused; nothing has changed then.
 */
static bool desc_props_from_name(VirtIOSerialPort *port, bool *is_desc,
                                 Error **errp)
{
    VirtIOSerialDescProps *props = port->desc.props;
    VirtIOSerialDescNamed named;
    VirtIOSerialDescError err;

    *is_desc = false;
    if (!port->name || !virtio_serial_desc_name_describes(port->name) ||
        (props && (props->value[VIRTIO_SERIAL_DESC_IDS] ||
                   props->value[VIRTIO_SERIAL_DESC_FILE]))) {
        return true;
    }
    if (!virtio_has_feature(port->vser->host_features,
                            VIRTIO_CONSOLE_F_PORT_DESC)) {
        if (props) {
            g_autofree char *shown = g_strescape(port->name, NULL);

            error_setg(errp, "name='%s': no descriptor where the controller "
                       "has port-descriptors=off; expected 'desc' beside it, "
                       "or port-descriptors=on", shown);
        }
        return !props;
    }
    if (!virtio_serial_desc_parse_name(port->name, &named, &err)) {
        error_setg(errp, "%s", err.text);
        return false;
    }
    if (!props) {
        props = port->desc.props = g_new0(VirtIOSerialDescProps, 1);
    }
    desc_set_unless_given(props, VIRTIO_SERIAL_DESC_IDS, named.ids);
    desc_set_unless_given(props, VIRTIO_SERIAL_DESC_CLASS, named.class);
    desc_set_unless_given(props, VIRTIO_SERIAL_DESC_SERIAL, named.serial);
    *is_desc = true;
    return true;
}

/*
 * Derive @port's name from its descriptor; @reserved and others' names are
 * taken
 */
static void desc_derive_name(VirtIOSerialPort *port, const char *reserved)
{
    VirtIOSerialDesc *desc = &port->desc;
    char name[VIRTIO_SERIAL_DESC_NAME_SIZE];
    unsigned int number = 0;

    g_free(port->name);
    port->name = NULL;
    do {
        virtio_serial_desc_name(desc->blob, desc->length, number++, name);
    } while (virtio_serial_find_port_by_name(name) ||
             !g_strcmp0(name, reserved));
    port->name = g_strdup(name);
    desc->name_derived = true;
}

/*
 * The user gave a port a name that another port has derived. The other port
 * gets another name, as long as no guest can know the first one.
 */
static void desc_make_way(const char *name)
{
    VirtIOSerialPort *other = virtio_serial_find_port_by_name(name);

    if (other && other->desc.name_derived &&
        !phase_check(PHASE_MACHINE_READY)) {
        desc_derive_name(other, name);
    }
}

bool virtio_serial_desc_realize(VirtIOSerialPort *port, Error **errp)
{
    VirtIOSerialDesc *desc = &port->desc;
    VirtIOSerialDescError err;
    const char *file;
    bool name_is_desc;

    if (!desc_props_from_name(port, &name_is_desc, errp)) {
        return false;
    }
    if (desc->props) {
        if (!virtio_serial_desc_props_check(desc->props, &err)) {
            error_setg(errp, "%s", err.text);
            return false;
        }
        file = desc->props->value[VIRTIO_SERIAL_DESC_FILE];
        if (file ? !desc_blob_from_file(desc, file, errp)
                 : !desc_blob_from_props(desc, errp)) {
            return false;
        }
        desc->file = g_steal_pointer(
            &desc->props->value[VIRTIO_SERIAL_DESC_FILE]);
        desc_free_props(desc);
    }

    if (port->name && !name_is_desc) {
        desc_make_way(port->name);
    } else if (desc->blob) {
        desc_derive_name(port, NULL);
    }
    trace_virtio_serial_desc_realize(DEVICE(port)->id ?: "", port->name ?: "",
                                     desc->length);
    return true;
}

/* ------------------------------------------------------------------ */
/* What it says */

/* @index of a port's strings; free with g_free() */
static char *desc_get_string(VirtIOSerialDesc *desc, uint8_t index)
{
    char *string = g_malloc(VIRTIO_SERIAL_DESC_STRING_SIZE);

    virtio_serial_desc_string(desc->blob, desc->length, index, string);
    return string;
}

/* Returns the property's value as a user would write it; free with g_free() */
static char *desc_get_value(VirtIOSerialDesc *desc, VirtIOSerialDescProp prop)
{
    VirtIOSerialDescInfo info;

    if (desc->props) {
        return g_strdup(desc->props->value[prop] ?: "");
    }
    if (!desc->blob) {
        return g_strdup("");
    }
    virtio_serial_desc_info(desc->blob, desc->length, &info);
    switch (prop) {
    case VIRTIO_SERIAL_DESC_IDS:
        return g_strdup_printf("%04x:%04x:%04x", info.idVendor,
                               info.idProduct, info.bcdDevice);
    case VIRTIO_SERIAL_DESC_MANUFACTURER:
        return desc_get_string(desc, info.iManufacturer);
    case VIRTIO_SERIAL_DESC_PRODUCT:
        return desc_get_string(desc, info.iProduct);
    case VIRTIO_SERIAL_DESC_SERIAL:
        return desc_get_string(desc, info.iSerialNumber);
    case VIRTIO_SERIAL_DESC_INTERFACE:
        return desc_get_string(desc, info.iInterface);
    case VIRTIO_SERIAL_DESC_CLASS:
        return g_strdup_printf("%02x:%02x:%02x", info.bInterfaceClass,
                               info.bInterfaceSubClass,
                               info.bInterfaceProtocol);
    case VIRTIO_SERIAL_DESC_FILE:
        return g_strdup(desc->file ?: "");
    default:
        g_assert_not_reached();
    }
}

/*
 * Returns @string for one line of a terminal: unprintable characters are
 * escaped
 */
static char *desc_escape(const char *string)
{
    GString *escaped = g_string_new(NULL);
    const char *p, *next;

    for (p = string; *p; p = next) {
        g_autofree char *c = NULL;

        next = g_utf8_next_char(p);
        c = g_strndup(p, next - p);
        if ((uint8_t)*p >= 0x80 && g_unichar_isprint(g_utf8_get_char(p))) {
            g_string_append(escaped, c);
        } else {
            g_autofree char *code = g_strescape(c, NULL);

            g_string_append(escaped, code);
        }
    }
    return g_string_free(escaped, false);
}

void virtio_serial_desc_print(Monitor *mon, VirtIOSerialPort *port, int indent)
{
    int i;

    if (!port->desc.blob) {
        return;
    }
    monitor_printf(mon, "%*sdescriptor %u bytes", indent, "",
                   port->desc.length);
    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        const VirtIOSerialDescPropInfo *info = &virtio_serial_desc_prop_info[i];
        g_autofree char *value = desc_get_value(&port->desc, i);
        g_autofree char *escaped = desc_escape(value);

        if (*value && info->kind != VIRTIO_SERIAL_DESC_KIND_FILE) {
            monitor_printf(mon, ", %s=\"%s\"", info->name, escaped);
        }
    }
    monitor_printf(mon, "\n");
}

/* ------------------------------------------------------------------ */
/* Properties */

/* @opaque is the property's entry in virtio_serial_desc_prop_info[] */
static VirtIOSerialDescProp desc_prop_of(void *opaque)
{
    return (VirtIOSerialDescPropInfo *)opaque - virtio_serial_desc_prop_info;
}

static void desc_get_prop(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    VirtIOSerialPort *port = VIRTIO_SERIAL_PORT(obj);
    g_autofree char *value = desc_get_value(&port->desc, desc_prop_of(opaque));

    visit_type_str(v, name, &value, errp);
}

static void desc_set_prop(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    VirtIOSerialPort *port = VIRTIO_SERIAL_PORT(obj);
    char **slot, *value;

    if (DEVICE(obj)->realized) {
        error_setg(errp, "%s can't be set on a port that is there already: "
                   "a descriptor does not change", name);
        return;
    }
    if (!visit_type_str(v, name, &value, errp)) {
        return;
    }
    if (!port->desc.props) {
        port->desc.props = g_new0(VirtIOSerialDescProps, 1);
    }
    slot = &port->desc.props->value[desc_prop_of(opaque)];
    g_free(*slot);
    *slot = value;
}

/*
 * The port is finalized: free what all of its properties hold. One property
 * must do this; "desc-blob" is always there.
 */
static void desc_release_blob(Object *obj, const char *name, void *opaque)
{
    VirtIOSerialDesc *desc = &VIRTIO_SERIAL_PORT(obj)->desc;

    desc_free_props(desc);
    g_free(desc->file);
    desc->file = NULL;
    g_free(desc->blob);
    desc->blob = NULL;
    desc->length = 0;
}

static void desc_get_blob(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    VirtIOSerialDesc *desc = &VIRTIO_SERIAL_PORT(obj)->desc;
    g_autofree char *value = desc->blob ?
        g_base64_encode(desc->blob, desc->length) : g_strdup("");

    visit_type_str(v, name, &value, errp);
}

void virtio_serial_desc_class_init(ObjectClass *klass)
{
    int i;

    for (i = 0; i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        const VirtIOSerialDescPropInfo *info = &virtio_serial_desc_prop_info[i];

        object_class_property_add(klass, info->name, "str",
                                  desc_get_prop, desc_set_prop, NULL,
                                  (void *)info);
        object_class_property_set_description(klass, info->name, info->help);
    }
    object_class_property_set_description(klass, "name", "the port's name for "
        "the guest; usb:VVVV:PPPP[:SERIAL] is desc=VVVV:PPPP"
        "[,desc-serial=SERIAL]");
    object_class_property_add(klass, "desc-blob", "string", desc_get_blob, NULL,
                              desc_release_blob, NULL);
    object_class_property_set_description(klass, "desc-blob", "the whole "
        "descriptor blob in base64; read-only");
}

/* ------------------------------------------------------------------ */
/* Migration */

#define DIGEST_SIZE 32

/* The SHA-256 of a port's blob; of no bytes for a port without a blob */
static void desc_get_digest(VirtIOSerialPort *port, uint8_t *digest)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize size = DIGEST_SIZE;

    g_checksum_update(sum, port->desc.blob, port->desc.length);
    g_checksum_get_digest(sum, digest, &size);
}

/* Can the guest have been told of descriptors? */
static bool desc_digests_needed(void *opaque)
{
    return virtserialdesc_exists(opaque) ||
           (virtio_vdev_has_feature(opaque, VIRTIO_CONSOLE_F_PORT_DESC) &&
            virtio_vdev_has_feature(opaque, VIRTIO_CONSOLE_F_MULTIPORT));
}

static int desc_put_digests(QEMUFile *f, void *pv, size_t size,
                            const VMStateField *field, JSONWriter *vmdesc)
{
    VirtIOSerial *vser = container_of(pv, VirtIOSerial, ports);
    VirtIOSerialPort *port;
    uint32_t count = 0;

    QTAILQ_FOREACH(port, &vser->ports, next) {
        count++;
    }
    qemu_put_be32(f, count);
    QTAILQ_FOREACH(port, &vser->ports, next) {
        uint8_t digest[DIGEST_SIZE];

        desc_get_digest(port, digest);
        qemu_put_be32(f, port->id);
        qemu_put_buffer(f, digest, sizeof(digest));
    }
    return 0;
}

/* The device has checked before that the same ports are there */
static int desc_get_digests(QEMUFile *f, void *pv, size_t size,
                            const VMStateField *field)
{
    VirtIOSerial *vser = container_of(pv, VirtIOSerial, ports);
    uint32_t count = qemu_get_be32(f);

    if (count > vser->bus.max_nr_ports) {
        error_report("virtio-serial-bus: there can't be %u descriptors", count);
        return -EINVAL;
    }
    while (count--) {
        uint8_t theirs[DIGEST_SIZE], ours[DIGEST_SIZE];
        uint32_t id = qemu_get_be32(f);
        VirtIOSerialPort *port = id < vser->bus.max_nr_ports ?
                                 vser->control.slots[id].port : NULL;

        if (!port) {
            error_report("virtio-serial-bus: port %u is not there, and the "
                         "source has a descriptor of it", id);
            return -EINVAL;
        }
        if (qemu_get_buffer(f, theirs, sizeof(theirs)) != sizeof(theirs)) {
            error_report("virtio-serial-bus: the stream ends in the "
                         "descriptor of port %u", id);
            return -EINVAL;
        }
        desc_get_digest(port, ours);
        if (memcmp(ours, theirs, sizeof(ours))) {
            error_report("virtio-serial-bus: port %u, id '%s', name '%s': its "
                         "descriptor is not the source's", id,
                         DEVICE(port)->id ?: "", port->name ?: "");
            return -EINVAL;
        }
    }
    return 0;
}

static const VMStateInfo vmstate_info_digests = {
    .name = "descriptor digests",
    .get = desc_get_digests,
    .put = desc_put_digests,
};

const VMStateDescription vmstate_virtio_serial_desc = {
    .name = "virtio-console-device/descriptors",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = desc_digests_needed,
    .fields = (const VMStateField[]) {
        {
            .name = "digests",
            .info = &vmstate_info_digests,
            .flags = VMS_SINGLE,
            .offset = offsetof(VirtIOSerial, ports),
        },
        VMSTATE_END_OF_LIST()
    },
};
