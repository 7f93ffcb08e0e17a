/*
 * virtserialdesc: a virtio-serial port that tells the guest of the others'
 * descriptors
 *
 * For guests whose driver does not know VIRTIO_CONSOLE_F_PORT_DESC: what that
 * one is told over the control queue, a program in the guest reads from this
 * port (docs/specs/virtio-serial-desc.rst). QEMU itself is at the other end.
 *
 * What the reader is to hear is state, not a queue of records: which port
 * numbers it was told of, and which of them have changed since. A record is
 * made when there is room for it in the guest's buffers, so it is never out of
 * date, and a reader that is slow or absent costs nothing.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitmap.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "migration/qemu-file-types.h"
#include "hw/virtio/virtio-serial.h"
#include "hw/virtio/virtio-serial-desc-port.h"
#include "standard-headers/linux/virtio_console.h"

OBJECT_DECLARE_TYPE(VirtIOSerialDescPort, VirtIOSerialDescPortClass,
                    VIRTIO_SERIAL_DESC_PORT)

/* Bytes of a record before the blob */
#define RECORD_HEADER       (sizeof(struct virtio_console_control) + \
                             sizeof(struct virtio_console_port_desc))

/* Bytes that are written at a time; the last record may be longer */
#define CHUNK               4096

/* Less than a chunk, then the longest record */
#define PENDING_MAX         (CHUNK + RECORD_HEADER + VIRTIO_SERIAL_DESC_MAX)

struct VirtIOSerialDescPort {
    VirtIOSerialPort parent_obj;

    QLIST_ENTRY(VirtIOSerialDescPort) next;

    /* tell() is at work */
    bool telling;
    /* The guest has it open; the rest is about this opening */
    bool open;
    /*
     * The port number whose turn it is in the snapshot. Behind the last one
     * are its end, and then the time in which changes are told.
     */
    uint32_t cursor;
    /* A bit for each port number: the reader knows of a port that has it */
    unsigned long *told;
    /* and: a port below the cursor came or went since */
    unsigned long *changed;
    /*
     * Of the records that were begun, what the guest has had no buffers for:
     * less than one, as long as the guest takes none of its buffers back
     */
    GByteArray *pending;
};

struct VirtIOSerialDescPortClass {
    VirtIOSerialPortClass parent_class;

    DeviceRealize parent_realize;
};

static QLIST_HEAD(, VirtIOSerialDescPort) desc_ports =
    QLIST_HEAD_INITIALIZER(desc_ports);

static uint32_t max_ports(VirtIOSerialDescPort *dp)
{
    return dp->parent_obj.vser->bus.max_nr_ports;
}

/* The port @id, NULL if there is none or it has no descriptor */
static VirtIOSerialPort *described_port(VirtIOSerialDescPort *dp, uint32_t id)
{
    VirtIOSerialPort *port = dp->parent_obj.vser->control.slots[id].port;

    return port && port->desc.length ? port : NULL;
}

/* ------------------------------------------------------------------ */
/* Records */

static void add_header(VirtIOSerialDescPort *dp, uint32_t id, uint16_t event)
{
    struct virtio_console_control cpkt = {
        .id = cpu_to_le32(id),
        .event = cpu_to_le16(event),
        .value = cpu_to_le16(1),
    };

    g_byte_array_append(dp->pending, (uint8_t *)&cpkt, sizeof(cpkt));
}

/* A record of @length bytes of @blob */
static void add_desc(VirtIOSerialDescPort *dp, uint32_t id,
                     const uint8_t *blob, uint32_t length)
{
    struct virtio_console_port_desc desc = { .length = cpu_to_le32(length) };

    add_header(dp, id, VIRTIO_CONSOLE_PORT_DESC);
    g_byte_array_append(dp->pending, (uint8_t *)&desc, sizeof(desc));
    if (length) {
        g_byte_array_append(dp->pending, blob, length);
    }
}

/* Tell of number @id as it is now, if there is something to tell */
static void add_port(VirtIOSerialDescPort *dp, uint32_t id)
{
    VirtIOSerialPort *port = described_port(dp, id);

    if (port) {
        add_desc(dp, id, port->desc.blob, port->desc.length);
        set_bit(id, dp->told);
    }
}

/* Add the next record to what is pending; false if the reader is up to date */
static bool add_record(VirtIOSerialDescPort *dp)
{
    uint32_t id, max = max_ports(dp);

    if (dp->cursor < max) {
        add_port(dp, dp->cursor++);
        return true;
    }
    if (dp->cursor == max) {
        add_desc(dp, VIRTSERIALDESC_END, NULL, 0);
        dp->cursor++;
        return true;
    }

    id = find_first_bit(dp->changed, max);
    if (id >= max) {
        return false;
    }
    /*
     * The end of the port that was, then what has its number now: two records,
     * as that may change before there is room for the second one
     */
    if (test_and_clear_bit(id, dp->told)) {
        add_header(dp, id, VIRTIO_CONSOLE_PORT_REMOVE);
        return true;
    }
    add_port(dp, id);
    clear_bit(id, dp->changed);
    return true;
}

/* A stopped guest's memory stays as it is; enable_backend() comes back */
static bool can_tell(VirtIOSerialDescPort *dp)
{
    return dp->open && VIRTIO_DEVICE(dp->parent_obj.vser)->vm_running;
}

/*
 * Tell the reader what there is room for in its buffers.
 *
 * A buffer can be one of this device's own registers. To return it is to write
 * there, which can reset the device or close the port, and leads back here.
 */
static void tell(VirtIOSerialDescPort *dp)
{
    VirtIOSerialPort *port = &dp->parent_obj;
    size_t room, written;

    if (dp->telling) {
        return;
    }
    dp->telling = true;
    while (can_tell(dp) &&
           (room = MIN(virtio_serial_guest_ready(port), CHUNK))) {
        while (dp->pending->len < room && add_record(dp)) {
            /* as many as there is room for */
        }
        written = virtio_serial_write(port, dp->pending->data,
                                      dp->pending->len);
        if (!written) {
            break;
        }
        /* If the port was closed meanwhile, nothing is left to be removed */
        g_byte_array_remove_range(dp->pending, 0,
                                  MIN(written, dp->pending->len));
    }
    dp->telling = false;
}

void virtio_serial_desc_port_changed(VirtIOSerial *vser, uint32_t id)
{
    VirtIOSerialDescPort *dp;

    QLIST_FOREACH(dp, &desc_ports, next) {
        /* The snapshot will come to the others, and tell of what is there */
        if (dp->parent_obj.vser == vser && dp->open && id < dp->cursor) {
            set_bit(id, dp->changed);
            tell(dp);
        }
    }
}

bool virtio_serial_desc_port_exists(VirtIOSerial *vser)
{
    VirtIOSerialDescPort *dp;

    QLIST_FOREACH(dp, &desc_ports, next) {
        if (dp->parent_obj.vser == vser) {
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ */
/* The port */

/* Also called after migration, with what is so already */
static void desc_port_set_guest_connected(VirtIOSerialPort *port,
                                          int guest_connected)
{
    VirtIOSerialDescPort *dp = VIRTIO_SERIAL_DESC_PORT(port);

    if (dp->open != !!guest_connected) {
        dp->open = guest_connected;
        dp->cursor = 0;
        bitmap_zero(dp->told, max_ports(dp));
        bitmap_zero(dp->changed, max_ports(dp));
        g_byte_array_set_size(dp->pending, 0);
    }
    tell(dp);
}

static void desc_port_guest_writable(VirtIOSerialPort *port)
{
    tell(VIRTIO_SERIAL_DESC_PORT(port));
}

static void desc_port_enable_backend(VirtIOSerialPort *port, bool enable)
{
    tell(VIRTIO_SERIAL_DESC_PORT(port));
}

/* Nothing is asked of it */
static ssize_t desc_port_have_data(VirtIOSerialPort *port,
                                   const struct iovec *iov, size_t niov)
{
    return iov_size(iov, niov);
}

/* Before a port makes a descriptor of its properties, and reads files for it */
static void desc_port_device_realize(DeviceState *dev, Error **errp)
{
    VirtIOSerialDescProps *props = VIRTIO_SERIAL_PORT(dev)->desc.props;
    int i;

    for (i = 0; props && i < VIRTIO_SERIAL_DESC_NPROPS; i++) {
        if (props->value[i]) {
            error_setg(errp, "%s='%s': a virtserialdesc has no descriptor, it "
                       "tells of those of other ports; expected no desc "
                       "property", virtio_serial_desc_prop_info[i].name,
                       props->value[i]);
            return;
        }
    }
    VIRTIO_SERIAL_DESC_PORT_GET_CLASS(dev)->parent_realize(dev, errp);
}

static void desc_port_realize(DeviceState *dev, Error **errp)
{
    VirtIOSerialPort *port = VIRTIO_SERIAL_PORT(dev);
    VirtIOSerialDescPort *dp = VIRTIO_SERIAL_DESC_PORT(dev);
    unsigned int number = 0;

    if (port->name) {
        error_setg(errp, "name='%s': guests find a virtserialdesc by the name "
                   VIRTSERIALDESC_NAME_PREFIX "K that it gets; expected "
                   "no name", port->name);
        return;
    }
    if (port->id == 0) {
        error_setg(errp, "nr=0: port 0 is for a virtconsole; expected another "
                   "number, or none for the lowest that is free");
        return;
    }

    do {
        g_free(port->name);
        port->name = g_strdup_printf(VIRTSERIALDESC_NAME_PREFIX "%u",
                                     number++);
    } while (virtio_serial_find_port_by_name(port->name));
    dp->told = bitmap_new(max_ports(dp));
    dp->changed = bitmap_new(max_ports(dp));
    dp->pending = g_byte_array_new();
    QLIST_INSERT_HEAD(&desc_ports, dp, next);
    virtio_serial_open(port);
}

static void desc_port_unrealize(DeviceState *dev)
{
    VirtIOSerialDescPort *dp = VIRTIO_SERIAL_DESC_PORT(dev);

    QLIST_REMOVE(dp, next);
    g_byte_array_unref(dp->pending);
    g_free(dp->changed);
    g_free(dp->told);
}

/* QEMU 10.1 made it const */
#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
typedef void ClassData;
#else
typedef const void ClassData;
#endif

static void desc_port_class_init(ObjectClass *klass, ClassData *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtIOSerialPortClass *k = VIRTIO_SERIAL_PORT_CLASS(klass);
    VirtIOSerialDescPortClass *dpc = VIRTIO_SERIAL_DESC_PORT_CLASS(klass);

    device_class_set_parent_realize(dc, desc_port_device_realize,
                                    &dpc->parent_realize);
    k->realize = desc_port_realize;
    k->unrealize = desc_port_unrealize;
    k->have_data = desc_port_have_data;
    k->set_guest_connected = desc_port_set_guest_connected;
    k->guest_writable = desc_port_guest_writable;
    k->enable_backend = desc_port_enable_backend;
    dc->desc = "tells a guest with any driver of the ports' descriptors";
}

static const TypeInfo desc_port_info = {
    .name = TYPE_VIRTIO_SERIAL_DESC_PORT,
    .parent = TYPE_VIRTIO_SERIAL_PORT,
    .instance_size = sizeof(VirtIOSerialDescPort),
    .class_size = sizeof(VirtIOSerialDescPortClass),
    .class_init = desc_port_class_init,
};

static void desc_port_register_types(void)
{
    type_register_static(&desc_port_info);
}

type_init(desc_port_register_types)

/* ------------------------------------------------------------------ */
/* Migration */

/*
 * The state is in the controller's section, by port numbers: a section of the
 * port's own would be found by the order in which such ports were made, which
 * is another one where they are unplugged and plugged.
 */

static bool open_ports_needed(void *opaque)
{
    VirtIOSerialDescPort *dp;

    QLIST_FOREACH(dp, &desc_ports, next) {
        if (dp->parent_obj.vser == opaque && dp->open) {
            return true;
        }
    }
    return false;
}

/* Bits of @map, a byte for each */
static void put_map(QEMUFile *f, const unsigned long *map, uint32_t bits)
{
    uint32_t i;

    for (i = 0; i < bits; i++) {
        qemu_put_byte(f, test_bit(i, map));
    }
}

static void get_map(QEMUFile *f, unsigned long *map, uint32_t bits)
{
    uint32_t i;

    for (i = 0; i < bits; i++) {
        if (qemu_get_byte(f)) {
            set_bit(i, map);
        } else {
            clear_bit(i, map);
        }
    }
}

/*
 * How many port numbers there are, which is the size of what follows; number
 * and state of each port that is open; then the number of none
 */
static int put_open_ports(QEMUFile *f, void *pv, size_t size,
                          const VMStateField *field, JSONWriter *vmdesc)
{
    VirtIOSerial *vser = container_of(pv, VirtIOSerial, ports);
    VirtIOSerialDescPort *dp;

    qemu_put_be32(f, vser->bus.max_nr_ports);
    QLIST_FOREACH(dp, &desc_ports, next) {
        if (dp->parent_obj.vser == vser && dp->open) {
            qemu_put_be32(f, dp->parent_obj.id);
            qemu_put_be32(f, dp->cursor);
            put_map(f, dp->told, max_ports(dp));
            put_map(f, dp->changed, max_ports(dp));
            qemu_put_be32(f, dp->pending->len);
            qemu_put_buffer(f, dp->pending->data, dp->pending->len);
        }
    }
    qemu_put_be32(f, VIRTIO_CONSOLE_BAD_ID);
    return 0;
}

static int get_open_ports(QEMUFile *f, void *pv, size_t size,
                          const VMStateField *field)
{
    VirtIOSerial *vser = container_of(pv, VirtIOSerial, ports);
    uint32_t max = qemu_get_be32(f), id, length;

    if (max != vser->bus.max_nr_ports) {
        error_report("virtio-serial-bus: max_ports is %u, at the source %u",
                     vser->bus.max_nr_ports, max);
        return -EINVAL;
    }
    while ((id = qemu_get_be32(f)) != VIRTIO_CONSOLE_BAD_ID) {
        VirtIOSerialPort *port = id < max ? vser->control.slots[id].port : NULL;
        VirtIOSerialDescPort *dp = (VirtIOSerialDescPort *)
            object_dynamic_cast(OBJECT(port), TYPE_VIRTIO_SERIAL_DESC_PORT);

        if (!dp) {
            error_report("virtio-serial-bus: port %u is no virtserialdesc, as "
                         "it is at the source", id);
            return -EINVAL;
        }
        dp->cursor = qemu_get_be32(f);
        get_map(f, dp->told, max);
        get_map(f, dp->changed, max);
        length = qemu_get_be32(f);
        if (dp->cursor > max + 1 || length > PENDING_MAX) {
            error_report("virtio-serial-bus: port %u: no virtserialdesc is at "
                         "port %u with %u bytes to come", id, dp->cursor,
                         length);
            return -EINVAL;
        }
        g_byte_array_set_size(dp->pending, length);
        if (qemu_get_buffer(f, dp->pending->data, length) != length) {
            return -EINVAL;
        }
        dp->open = true;
    }
    return 0;
}

static const VMStateInfo vmstate_info_open_ports = {
    .name = "open virtserialdesc ports",
    .get = get_open_ports,
    .put = put_open_ports,
};

const VMStateDescription vmstate_virtio_serial_desc_ports = {
    .name = "virtio-console-device/descriptor-ports",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = open_ports_needed,
    .fields = (const VMStateField[]) {
        {
            .name = "open",
            .info = &vmstate_info_open_ports,
            .flags = VMS_SINGLE,
            .offset = offsetof(VirtIOSerial, ports),
        },
        VMSTATE_END_OF_LIST()
    },
};
