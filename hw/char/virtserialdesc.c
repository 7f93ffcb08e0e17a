/*
 * virtserialdesc: a virtio-serial port that tells the guest of the others'
 * descriptors
 *
 * This port is for guests whose driver does not know
 * VIRTIO_CONSOLE_F_PORT_DESC. The control queue tells other drivers of
 * descriptors; here a program in the guest reads the same from this port
 * (docs/specs/virtio-serial-desc.rst). QEMU itself is at the other end.
 *
 * The port keeps state, not a queue of records: which port numbers the reader
 * was told of, and which of these have changed since. A record is made when the
 * guest's buffers have room for it. So a record is never out of date, and a
 * slow or absent reader costs nothing.
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
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "migration/qemu-file-types.h"
#include "system/replay.h"
#include "trace.h"
#include "hw/virtio/virtio-serial.h"
#include "hw/virtio/virtserialdesc.h"
#include "standard-headers/linux/virtio_console.h"

OBJECT_DECLARE_TYPE(VirtSerialDesc, VirtSerialDescClass,
                    VIRTSERIALDESC)

/* Bytes of a record before the blob */
#define RECORD_HEADER       (sizeof(struct virtio_console_control) + \
                             sizeof(struct virtio_console_port_desc))

/* Bytes that are written at a time; the last record may go beyond */
#define CHUNK               4096

/* How many chunks are written in a turn of the main loop */
#define TURN_CHUNKS         4

/* Pending bytes: less than a chunk, then the longest record */
#define PENDING_MAX         (CHUNK + RECORD_HEADER + VIRTIO_SERIAL_DESC_MAX)

struct VirtSerialDesc {
    VirtIOSerialPort parent_obj;

    QLIST_ENTRY(VirtSerialDesc) next;

    /* virtserialdesc_tell() is at work */
    bool telling;
    /* calls virtserialdesc_tell() in a later turn of the main loop */
    QEMUBH *bh;
    /* The guest has the port open; the fields below are about this opening */
    bool open;
    /*
     * The next port number of the snapshot. After the last number, the next
     * record is the end of the snapshot; beyond that, only changes are told.
     */
    uint32_t cursor;
    /* A bit for each port number: the reader knows a port of that number */
    unsigned long *told;
    /* A bit for each port number below the cursor: a port came or went since */
    unsigned long *changed;
    /*
     * Bytes of records that were begun, for which the guest had no buffers:
     * less than one record, unless the guest takes buffers back
     */
    GByteArray *pending;
};

struct VirtSerialDescClass {
    VirtIOSerialPortClass parent_class;

    DeviceRealize parent_realize;
};

static QLIST_HEAD(, VirtSerialDesc) all_virtserialdesc =
    QLIST_HEAD_INITIALIZER(all_virtserialdesc);

static uint32_t virtserialdesc_max_ports(VirtSerialDesc *vsd)
{
    return vsd->parent_obj.vser->bus.max_nr_ports;
}

/* The port @id, NULL if there is none or it has no descriptor */
static VirtIOSerialPort *virtserialdesc_described_port(VirtSerialDesc *vsd,
                                                       uint32_t id)
{
    VirtIOSerialPort *port = vsd->parent_obj.vser->control.slots[id].port;

    return port && port->desc.length ? port : NULL;
}

/* ------------------------------------------------------------------ */
/* Records */

static void virtserialdesc_add_header(VirtSerialDesc *vsd, uint32_t id,
                                      uint16_t event)
{
    struct virtio_console_control cpkt = {
        .id = cpu_to_le32(id),
        .event = cpu_to_le16(event),
        .value = cpu_to_le16(1),
    };

    trace_virtserialdesc_record(vsd->parent_obj.id, id, event);
    g_byte_array_append(vsd->pending, (uint8_t *)&cpkt, sizeof(cpkt));
}

/* A record of @length bytes of @blob */
static void virtserialdesc_add_desc(VirtSerialDesc *vsd, uint32_t id,
                                    const uint8_t *blob, uint32_t length)
{
    struct virtio_console_port_desc desc = { .length = cpu_to_le32(length) };

    virtserialdesc_add_header(vsd, id, VIRTIO_CONSOLE_PORT_DESC);
    g_byte_array_append(vsd->pending, (uint8_t *)&desc, sizeof(desc));
    if (length) {
        g_byte_array_append(vsd->pending, blob, length);
    }
}

/* Add the record of port number @id as it is now, if a record is due */
static void virtserialdesc_add_port(VirtSerialDesc *vsd, uint32_t id)
{
    VirtIOSerialPort *port = virtserialdesc_described_port(vsd, id);

    if (port) {
        virtserialdesc_add_desc(vsd, id, port->desc.blob, port->desc.length);
        set_bit(id, vsd->told);
    }
}

/* Add the next record to the pending bytes; false if no record is due */
static bool virtserialdesc_add_record(VirtSerialDesc *vsd)
{
    uint32_t id, max = virtserialdesc_max_ports(vsd);

    if (vsd->cursor < max) {
        virtserialdesc_add_port(vsd, vsd->cursor++);
        return true;
    }
    if (vsd->cursor == max) {
        virtserialdesc_add_desc(vsd, VIRTSERIALDESC_END, NULL, 0);
        vsd->cursor++;
        return true;
    }

    id = find_first_bit(vsd->changed, max);
    if (id >= max) {
        return false;
    }
    /*
     * First a record that the old port went, then a record of the port that has
     * the number now. Each takes a call of its own: the port may change before
     * there is room for the second record.
     */
    if (test_and_clear_bit(id, vsd->told)) {
        virtserialdesc_add_header(vsd, id, VIRTIO_CONSOLE_PORT_REMOVE);
        return true;
    }
    virtserialdesc_add_port(vsd, id);
    clear_bit(id, vsd->changed);
    return true;
}

/* The memory of a stopped guest must not change; enable_backend() comes back */
static bool virtserialdesc_can_tell(VirtSerialDesc *vsd)
{
    return vsd->open && VIRTIO_DEVICE(vsd->parent_obj.vser)->vm_running;
}

/*
 * Write records, as many as the reader's buffers have room for. A buffer can
 * be one of this device's own registers. Returning the buffer writes to the
 * register, which can reset the device or close the port, and leads back here.
 */
static void virtserialdesc_tell(VirtSerialDesc *vsd)
{
    VirtIOSerialPort *port = &vsd->parent_obj;
    unsigned int chunks = 0;
    size_t room, written;

    if (vsd->telling) {
        return;
    }
    vsd->telling = true;
    while (virtserialdesc_can_tell(vsd) &&
           (room = MIN(virtio_serial_guest_ready(port), CHUNK))) {
        if (chunks++ == TURN_CHUNKS) {
            replay_bh_schedule_event(vsd->bh);
            break;
        }
        while (vsd->pending->len < room && virtserialdesc_add_record(vsd)) {
            /* as many bytes as there is room for */
        }
        written = virtio_serial_write(port, vsd->pending->data,
                                      vsd->pending->len);
        trace_virtserialdesc_tell(port->id, written, vsd->pending->len);
        if (!written) {
            break;
        }
        /* If the port was closed meanwhile, pending is empty already */
        g_byte_array_remove_range(vsd->pending, 0,
                                  MIN(written, vsd->pending->len));
    }
    vsd->telling = false;
}

static void virtserialdesc_bh(void *opaque)
{
    virtserialdesc_tell(opaque);
}

void virtserialdesc_port_changed(VirtIOSerial *vser, uint32_t id)
{
    VirtSerialDesc *vsd;

    QLIST_FOREACH(vsd, &all_virtserialdesc, next) {
        /* From the cursor on, the snapshot will say what is there */
        if (vsd->parent_obj.vser == vser && vsd->open && id < vsd->cursor) {
            set_bit(id, vsd->changed);
            virtserialdesc_tell(vsd);
        }
    }
}

bool virtserialdesc_exists(VirtIOSerial *vser)
{
    VirtSerialDesc *vsd;

    QLIST_FOREACH(vsd, &all_virtserialdesc, next) {
        if (vsd->parent_obj.vser == vser) {
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ */
/* The port */

/* Also called after migration, with the present state */
static void virtserialdesc_set_guest_connected(VirtIOSerialPort *port,
                                               int guest_connected)
{
    VirtSerialDesc *vsd = VIRTSERIALDESC(port);

    if (vsd->open != !!guest_connected) {
        trace_virtserialdesc_open(port->id, guest_connected);
        vsd->open = guest_connected;
        vsd->cursor = 0;
        bitmap_zero(vsd->told, virtserialdesc_max_ports(vsd));
        bitmap_zero(vsd->changed, virtserialdesc_max_ports(vsd));
        g_byte_array_set_size(vsd->pending, 0);
    }
    virtserialdesc_tell(vsd);
}

static void virtserialdesc_guest_writable(VirtIOSerialPort *port)
{
    virtserialdesc_tell(VIRTSERIALDESC(port));
}

static void virtserialdesc_enable_backend(VirtIOSerialPort *port, bool enable)
{
    virtserialdesc_tell(VIRTSERIALDESC(port));
}

/* The guest's bytes are discarded */
static ssize_t virtserialdesc_have_data(VirtIOSerialPort *port,
                                        const struct iovec *iov, size_t niov)
{
    return iov_size(iov, niov);
}

/*
 * Called before the port makes a descriptor, for which it may read a file, or
 * which its name may be
 */
static void virtserialdesc_device_realize(DeviceState *dev, Error **errp)
{
    VirtIOSerialPort *port = VIRTIO_SERIAL_PORT(dev);
    VirtIOSerialDescProps *props = port->desc.props;
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
    if (port->name) {
        error_setg(errp, "name='%s': guests find a virtserialdesc by the name "
                   VIRTSERIALDESC_NAME_PREFIX "K that it gets; expected "
                   "no name", port->name);
        return;
    }
    VIRTSERIALDESC_GET_CLASS(dev)->parent_realize(dev, errp);
}

static void virtserialdesc_realize(DeviceState *dev, Error **errp)
{
    VirtIOSerialPort *port = VIRTIO_SERIAL_PORT(dev);
    VirtSerialDesc *vsd = VIRTSERIALDESC(dev);
    unsigned int number = 0;

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
    vsd->told = bitmap_new(virtserialdesc_max_ports(vsd));
    vsd->changed = bitmap_new(virtserialdesc_max_ports(vsd));
    vsd->pending = g_byte_array_new();
    vsd->bh = virtio_bh_new_guarded(dev, virtserialdesc_bh, vsd);
    QLIST_INSERT_HEAD(&all_virtserialdesc, vsd, next);
    virtio_serial_open(port);
}

static void virtserialdesc_unrealize(DeviceState *dev)
{
    VirtSerialDesc *vsd = VIRTSERIALDESC(dev);

    QLIST_REMOVE(vsd, next);
    qemu_bh_delete(vsd->bh);
    g_byte_array_unref(vsd->pending);
    g_free(vsd->changed);
    g_free(vsd->told);
}

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
static void virtserialdesc_class_init(ObjectClass *klass, void *data)
#else
static void virtserialdesc_class_init(ObjectClass *klass, const void *data)
#endif
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtIOSerialPortClass *k = VIRTIO_SERIAL_PORT_CLASS(klass);
    VirtSerialDescClass *vsdc = VIRTSERIALDESC_CLASS(klass);

    device_class_set_parent_realize(dc, virtserialdesc_device_realize,
                                    &vsdc->parent_realize);
    k->realize = virtserialdesc_realize;
    k->unrealize = virtserialdesc_unrealize;
    k->have_data = virtserialdesc_have_data;
    k->set_guest_connected = virtserialdesc_set_guest_connected;
    k->guest_writable = virtserialdesc_guest_writable;
    k->enable_backend = virtserialdesc_enable_backend;
    dc->desc = "tells a guest with any driver of the ports' descriptors";
}

static const TypeInfo virtserialdesc_info = {
    .name = TYPE_VIRTSERIALDESC,
    .parent = TYPE_VIRTIO_SERIAL_PORT,
    .instance_size = sizeof(VirtSerialDesc),
    .class_size = sizeof(VirtSerialDescClass),
    .class_init = virtserialdesc_class_init,
};

static void virtserialdesc_register_types(void)
{
    type_register_static(&virtserialdesc_info);
}

type_init(virtserialdesc_register_types)

/* ------------------------------------------------------------------ */
/* Migration */

/*
 * The state is in the controller's section, by port numbers. The destination
 * would find a section of the port itself by the order in which such ports
 * were made, and this order changes when ports are unplugged and plugged.
 */

static bool virtserialdesc_needed(void *opaque)
{
    VirtSerialDesc *vsd;

    QLIST_FOREACH(vsd, &all_virtserialdesc, next) {
        if (vsd->parent_obj.vser == opaque && vsd->open) {
            return true;
        }
    }
    return false;
}

/* The bits of @map, one byte for each bit */
static void virtserialdesc_put_map(QEMUFile *f, const unsigned long *map,
                                   uint32_t bits)
{
    uint32_t i;

    for (i = 0; i < bits; i++) {
        qemu_put_byte(f, test_bit(i, map));
    }
}

static unsigned long *virtserialdesc_get_map(QEMUFile *f, uint32_t bits)
{
    unsigned long *map = bitmap_new(bits);
    uint32_t i;

    for (i = 0; i < bits; i++) {
        if (qemu_get_byte(f)) {
            set_bit(i, map);
        }
    }
    return map;
}

/*
 * First the number of port numbers, which is the size of the maps. Then number
 * and state of each open port. Then a number that no port has.
 */
static int virtserialdesc_put_open(QEMUFile *f, void *pv, size_t size,
                                   const VMStateField *field,
                                   JSONWriter *vmdesc)
{
    VirtIOSerial *vser = container_of(pv, VirtIOSerial, ports);
    uint32_t max = vser->bus.max_nr_ports;
    VirtSerialDesc *vsd;

    qemu_put_be32(f, max);
    QLIST_FOREACH(vsd, &all_virtserialdesc, next) {
        if (vsd->parent_obj.vser == vser && vsd->open) {
            qemu_put_be32(f, vsd->parent_obj.id);
            qemu_put_be32(f, vsd->cursor);
            virtserialdesc_put_map(f, vsd->told, max);
            virtserialdesc_put_map(f, vsd->changed, max);
            qemu_put_be32(f, vsd->pending->len);
            qemu_put_buffer(f, vsd->pending->data, vsd->pending->len);
        }
    }
    qemu_put_be32(f, VIRTIO_CONSOLE_BAD_ID);
    return 0;
}

/* Take the state of an open port only when all of the state is there */
static int virtserialdesc_get_one(QEMUFile *f, VirtSerialDesc *vsd)
{
    uint32_t id = vsd->parent_obj.id, max = virtserialdesc_max_ports(vsd);
    uint32_t cursor = qemu_get_be32(f), length;
    g_autofree unsigned long *told = virtserialdesc_get_map(f, max);
    g_autofree unsigned long *changed = virtserialdesc_get_map(f, max);
    g_autoptr(GByteArray) pending = g_byte_array_new();

    length = qemu_get_be32(f);
    if (cursor > max + 1 || length > PENDING_MAX) {
        error_report("virtio-serial-bus: port %u: no virtserialdesc is at port "
                     "%u with %u bytes to come", id, cursor, length);
        return -EINVAL;
    }
    g_byte_array_set_size(pending, length);
    if (qemu_get_buffer(f, pending->data, length) != length) {
        error_report("virtio-serial-bus: port %u: the stream ends in a record",
                     id);
        return -EINVAL;
    }
    if (!vsd->parent_obj.guest_connected) {
        error_report("virtio-serial-bus: port %u: the guest has not opened "
                     "this virtserialdesc", id);
        return -EINVAL;
    }

    vsd->cursor = cursor;
    bitmap_copy(vsd->told, told, max);
    bitmap_copy(vsd->changed, changed, max);
    g_byte_array_set_size(vsd->pending, 0);
    g_byte_array_append(vsd->pending, pending->data, length);
    vsd->open = true;
    return 0;
}

static int virtserialdesc_get_open(QEMUFile *f, void *pv, size_t size,
                                   const VMStateField *field)
{
    VirtIOSerial *vser = container_of(pv, VirtIOSerial, ports);
    uint32_t max = qemu_get_be32(f), id, count = 0;
    int ret;

    if (max != vser->bus.max_nr_ports) {
        error_report("virtio-serial-bus: max_ports is %u, at the source %u",
                     vser->bus.max_nr_ports, max);
        return -EINVAL;
    }
    while ((id = qemu_get_be32(f)) != VIRTIO_CONSOLE_BAD_ID) {
        VirtIOSerialPort *port = id < max ? vser->control.slots[id].port : NULL;
        VirtSerialDesc *vsd = (VirtSerialDesc *)
            object_dynamic_cast(OBJECT(port), TYPE_VIRTSERIALDESC);

        if (!vsd) {
            error_report("virtio-serial-bus: port %u is no virtserialdesc, as "
                         "it is at the source", id);
            return -EINVAL;
        }
        if (count++ == max) {
            error_report("virtio-serial-bus: there can't be so many "
                         "virtserialdesc ports as the stream has");
            return -EINVAL;
        }
        ret = virtserialdesc_get_one(f, vsd);
        if (ret) {
            return ret;
        }
    }
    return 0;
}

static const VMStateInfo vmstate_info_virtserialdesc = {
    .name = "open virtserialdesc ports",
    .get = virtserialdesc_get_open,
    .put = virtserialdesc_put_open,
};

const VMStateDescription vmstate_virtserialdesc = {
    .name = "virtio-console-device/descriptor-ports",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = virtserialdesc_needed,
    .fields = (const VMStateField[]) {
        {
            .name = "open",
            .info = &vmstate_info_virtserialdesc,
            .flags = VMS_SINGLE,
            .offset = offsetof(VirtIOSerial, ports),
        },
        VMSTATE_END_OF_LIST()
    },
};
