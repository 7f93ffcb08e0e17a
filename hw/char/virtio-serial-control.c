/*
 * The control queue of a virtio-serial device, device to driver
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "system/replay.h"
#include "trace.h"
#include "hw/virtio/virtio-serial.h"
#include "hw/virtio/virtio-access.h"

/*
 * What can be owed for a port number. A migration stream has these bits: no
 * bit ever changes, and a new bit is appended, wherever its event stands in
 * the order of payment.
 */
enum {
    OWE_REMOVE  = 1 << 0,
    OWE_ADD     = 1 << 1,
    OWE_CONSOLE = 1 << 2,
    OWE_DESC    = 1 << 3,
    OWE_NAME    = 1 << 4,
    OWE_OPEN    = 1 << 5,
    /* with OWE_OPEN: first a PORT_OPEN that says closed */
    OWE_CLOSE   = 1 << 6,
    OWE_ALL     = 0x7f,
};
QEMU_BUILD_BUG_ON(OWE_REMOVE != 0x01 || OWE_ADD != 0x02 ||
                  OWE_CONSOLE != 0x04 || OWE_DESC != 0x08 ||
                  OWE_NAME != 0x10 || OWE_OPEN != 0x20 || OWE_CLOSE != 0x40);
QEMU_BUILD_BUG_ON(OWE_ALL > UINT8_MAX);     /* VirtIOSerialSlot has one byte */

/*
 * The order of payment. PORT_REMOVE of an old port comes before PORT_ADD of the
 * new port with the same number. PORT_OPEN comes last, after everything that
 * says what the port is.
 */
static const uint8_t control_payments[] = {
    OWE_REMOVE,
    OWE_ADD,
    OWE_CONSOLE,
    OWE_DESC,
    OWE_NAME,
    OWE_CLOSE,
    OWE_OPEN,
};

/* The bit of @owed that is paid next; @owed is not 0 */
static uint8_t control_next_payment(uint8_t owed)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(control_payments); i++) {
        if (owed & control_payments[i]) {
            return control_payments[i];
        }
    }
    g_assert_not_reached();
}

static void control_owe(VirtIOSerial *vser, VirtIOSerialSlot *slot,
                        uint8_t bits)
{
    slot->owed |= bits;
    trace_virtio_serial_control_owe(slot - vser->control.slots, bits,
                                    slot->owed);
    if (slot->owed && !slot->queued) {
        slot->queued = true;
        QSIMPLEQ_INSERT_TAIL(&vser->control.queue, slot, next);
    }
}

/* The port number that the next message is about, NULL if nothing is owed */
static VirtIOSerialSlot *control_next_owed(VirtIOSerial *vser)
{
    VirtIOSerialControl *control = &vser->control;
    VirtIOSerialSlot *slot;

    while ((slot = QSIMPLEQ_FIRST(&control->queue)) && !slot->owed) {
        QSIMPLEQ_REMOVE_HEAD(&control->queue, next);
        slot->queued = false;
    }
    return slot;
}

/* If a part of the descriptor of @slot's port was sent, begin it again */
static void control_restart_desc(VirtIOSerial *vser, VirtIOSerialSlot *slot)
{
    if (slot == QSIMPLEQ_FIRST(&vser->control.queue)) {
        vser->control.desc_offset = 0;
    }
}

static VirtIOSerialSlot *control_slot_of(VirtIOSerialPort *port)
{
    return &port->vser->control.slots[port->id];
}

void virtio_serial_control_init(VirtIOSerial *vser, QEMUBH *bh)
{
    uint8_t all = 0;
    int i;

    vser->control.slots = g_new0(VirtIOSerialSlot,
                                 vser->serial.max_virtserial_ports);
    QSIMPLEQ_INIT(&vser->control.queue);
    for (i = 0; i < ARRAY_SIZE(control_payments); i++) {
        all |= control_payments[i];
    }
    assert(all == OWE_ALL);
    vser->control.bh = bh;
    vser->control.running = VIRTIO_DEVICE(vser)->vm_running;
}

void virtio_serial_control_cleanup(VirtIOSerial *vser)
{
    qemu_bh_delete(vser->control.bh);
    g_free(vser->control.slots);
}

/* Is there a driver that takes control events? */
static bool control_driver_runs(VirtIOSerial *vser)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(vser);

    return (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
           virtio_vdev_has_feature(vdev, VIRTIO_CONSOLE_F_MULTIPORT);
}

void virtio_serial_control_go_on(VirtIOSerial *vser)
{
    trace_virtio_serial_control_go_on(vser);
    replay_bh_schedule_event(vser->control.bh);
}

bool virtio_serial_control_runs(VirtIOSerial *vser)
{
    return VIRTIO_DEVICE(vser)->vm_running || vser->control.stopping;
}

bool virtio_serial_control_turn_is_over(VirtIOSerial *vser,
                                        unsigned int messages,
                                        unsigned int segments)
{
    if (vser->control.stopping) {
        /* No CPU runs: what is in the queue is all */
        return messages >= VIRTQUEUE_MAX_SIZE;
    }
    return messages >= VIRTIO_SERIAL_CONTROL_MESSAGES ||
           segments >= VIRTIO_SERIAL_CONTROL_SEGMENTS;
}

void virtio_serial_control_set_running(VirtIOSerial *vser, bool running)
{
    VirtIOSerialControl *control = &vser->control;
    bool ran = control->running;

    control->running = running;
    if (running && !ran) {
        /* virtio_serial_pipe_set_running() says why only then */
        qemu_bh_schedule(control->bh);
    } else if (!running && ran && control_driver_runs(vser) &&
               replay_mode == REPLAY_MODE_NONE) {
        /*
         * The guest may go on in a QEMU that waits for a notification, and the
         * driver has sent it already. Record/replay does not record that the
         * user stops the machine; it has the bottom half.
         */
        control->stopping = true;
        aio_bh_call(control->bh);
        control->stopping = false;
    }
}

void virtio_serial_control_reset(VirtIOSerial *vser)
{
    VirtIOSerialControl *control = &vser->control;
    uint32_t id;

    control->device_ready = false;
    control->desc_offset = 0;
    for (id = 0; id < vser->serial.max_virtserial_ports; id++) {
        control->slots[id] = (VirtIOSerialSlot) {
            .port = control->slots[id].port,
        };
    }
    QSIMPLEQ_INIT(&control->queue);
}

void virtio_serial_control_device_ready(VirtIOSerial *vser)
{
    bool again = vser->control.device_ready;
    VirtIOSerialPort *port;

    vser->control.device_ready = true;
    QTAILQ_FOREACH(port, &vser->ports, next) {
        if (again || !control_slot_of(port)->told) {
            control_owe(vser, control_slot_of(port), OWE_ADD);
        }
    }
}

void virtio_serial_control_port_ready(VirtIOSerialPort *port)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(port->vser);
    VirtIOSerialSlot *slot = control_slot_of(port);
    uint8_t bits = 0;

    if (VIRTIO_SERIAL_PORT_GET_CLASS(port)->is_console) {
        bits |= OWE_CONSOLE;
    }
    if (port->desc.length &&
        virtio_vdev_has_feature(vdev, VIRTIO_CONSOLE_F_PORT_DESC) &&
        virtio_vdev_has_feature(vdev, VIRTIO_CONSOLE_F_MULTIPORT)) {
        bits |= OWE_DESC;
        control_restart_desc(port->vser, slot);
    }
    if (port->name) {
        bits |= OWE_NAME;
    }
    if (port->host_connected) {
        bits |= OWE_OPEN;
    }
    /* The driver asks, so it knows: see virtio_serial_control_port_known() */
    slot->told = true;
    slot->ready = true;
    control_owe(port->vser, slot, bits);
}

void virtio_serial_control_port_unknown(VirtIOSerial *vser, uint32_t id)
{
    if (!vser->control.device_ready &&
        id < vser->serial.max_virtserial_ports) {
        control_owe(vser, &vser->control.slots[id], OWE_REMOVE);
    }
}

void virtio_serial_control_port_added(VirtIOSerialPort *port)
{
    control_slot_of(port)->port = port;
    if (port->vser->control.device_ready || control_driver_runs(port->vser)) {
        control_owe(port->vser, control_slot_of(port), OWE_ADD);
    }
}

void virtio_serial_control_port_removed(VirtIOSerialPort *port)
{
    VirtIOSerialSlot *slot = control_slot_of(port);

    control_restart_desc(port->vser, slot);
    /* PORT_REMOVE of an older port may still be owed; nothing else is */
    slot->owed &= OWE_REMOVE;
    if (slot->told) {
        control_owe(port->vser, slot, OWE_REMOVE);
        slot->outdated = true;
    }
    slot->port = NULL;
    slot->told = false;
    slot->ready = false;
}

void virtio_serial_control_port_open(VirtIOSerialPort *port)
{
    VirtIOSerialSlot *slot = control_slot_of(port);

    /*
     * Before PORT_READY, PORT_OPEN would come ahead of the events that say what
     * the port is. A port that is not plugged yet, or no longer, has no events.
     */
    if (slot->ready && slot->port == port) {
        control_owe(port->vser, slot, OWE_OPEN);
    }
}

void virtio_serial_control_port_lost(VirtIOSerialPort *port)
{
    VirtIOSerialSlot *slot = control_slot_of(port);

    if (slot->port == port && (slot->owed & OWE_OPEN)) {
        control_owe(port->vser, slot, OWE_CLOSE);
    }
}

void virtio_serial_control_loaded(VirtIOSerial *vser)
{
    VirtIOSerialPort *port;

    if (!control_driver_runs(vser)) {
        return;
    }
    vser->control.device_ready = true;
    QTAILQ_FOREACH(port, &vser->ports, next) {
        control_slot_of(port)->told = true;
        control_slot_of(port)->ready = true;
    }
}

bool virtio_serial_control_port_known(VirtIOSerialPort *port)
{
    VirtIOSerialSlot *slot = control_slot_of(port);

    /*
     * A Linux guest that wakes up after a reset of the device sends no
     * DEVICE_READY: it assumes that there are the same ports as before.
     */
    if (!port->vser->control.device_ready) {
        return true;
    }
    if (slot->outdated) {
        trace_virtio_serial_control_not_told(port->id);
        return false;
    }
    /* A driver may know its ports before PORT_ADD, as after the guest slept */
    slot->told = true;
    return true;
}

/*
 * Write the next message about @slot into @elem; the message is no longer owed.
 * Returns its length in bytes, 0 if @elem can't hold the message.
 */
static size_t control_write_message(VirtIOSerial *vser, VirtIOSerialSlot *slot,
                                    VirtQueueElement *elem)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(vser);
    VirtIOSerialControl *control = &vser->control;
    VirtIOSerialPort *port = slot->port;
    size_t room = iov_size(elem->in_sg, elem->in_num);
    struct virtio_console_control cpkt;
    struct virtio_console_port_desc desc;
    uint32_t id = slot - control->slots;
    uint8_t bit = control_next_payment(slot->owed);
    uint16_t event, value = 1;
    const void *data = NULL;
    size_t used = sizeof(cpkt), len = 0;

    if (room < sizeof(cpkt)) {
        return 0;
    }

    switch (bit) {
    case OWE_REMOVE:
        event = VIRTIO_CONSOLE_PORT_REMOVE;
        break;
    case OWE_ADD:
        event = VIRTIO_CONSOLE_PORT_ADD;
        slot->told = true;
        slot->outdated = false;
        break;
    case OWE_CONSOLE:
        event = VIRTIO_CONSOLE_CONSOLE_PORT;
        break;
    case OWE_DESC:
        event = VIRTIO_CONSOLE_PORT_DESC;
        desc.length = cpu_to_le32(port->desc.length);
        desc.offset = cpu_to_le32(control->desc_offset);
        if (room <= sizeof(cpkt) + sizeof(desc)) {
            return 0;
        }
        used += iov_from_buf(elem->in_sg, elem->in_num, used,
                             &desc, sizeof(desc));
        data = port->desc.blob + control->desc_offset;
        len = MIN(port->desc.length - control->desc_offset, room - used);
        control->desc_offset += len;
        if (control->desc_offset < port->desc.length) {
            value = 0;
            bit = 0;    /* the rest is still owed */
        } else {
            control->desc_offset = 0;
        }
        break;
    case OWE_NAME:
        event = VIRTIO_CONSOLE_PORT_NAME;
        data = port->name;
        len = MIN(strlen(port->name) + 1, room - used);
        break;
    case OWE_CLOSE:
        event = VIRTIO_CONSOLE_PORT_OPEN;
        value = 0;
        if (!port->host_connected) {
            bit |= OWE_OPEN;    /* one event is enough: closed */
        }
        break;
    case OWE_OPEN:
        event = VIRTIO_CONSOLE_PORT_OPEN;
        value = port->host_connected;
        break;
    default:
        g_assert_not_reached();
    }
    slot->owed &= ~bit;
    if (len) {
        used += iov_from_buf(elem->in_sg, elem->in_num, used, data, len);
    }

    virtio_stl_p(vdev, &cpkt.id, id);
    virtio_stw_p(vdev, &cpkt.event, event);
    virtio_stw_p(vdev, &cpkt.value, value);
    iov_from_buf(elem->in_sg, elem->in_num, 0, &cpkt, sizeof(cpkt));
    trace_virtio_serial_send_control_event(id, event, value);
    return used;
}

void virtio_serial_control_pay(VirtIOSerial *vser)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(vser);
    VirtIOSerialSlot *slot;
    unsigned int paid = 0, segments = 0;
    bool too_small = false;

    /* The memory of a stopped guest must not change; set_status() comes back */
    if (!virtio_serial_control_runs(vser) ||
        !virtio_queue_ready(vser->c_ivq)) {
        return;
    }
    /*
     * A buffer can be one of this device's own registers. Returning the buffer
     * writes to the register, and may lead back here before the driver has the
     * buffers that were filled so far. The loop below pays what is owed then.
     */
    if (vser->control.paying) {
        return;
    }

    RCU_READ_LOCK_GUARD();
    vser->control.paying = true;
    while (!too_small && (slot = control_next_owed(vser))) {
        VirtQueueElement *elem;
        size_t len;

        if (virtio_serial_control_turn_is_over(vser, 0, segments)) {
            virtio_serial_control_go_on(vser);
            break;
        }
        elem = virtqueue_pop(vser->c_ivq, sizeof(*elem));
        if (!elem) {
            trace_virtio_serial_control_wait(slot - vser->control.slots,
                                             slot->owed);
            break;
        }
        segments += elem->in_num + elem->out_num;
        len = control_write_message(vser, slot, elem);
        if (len) {
            virtqueue_fill(vser->c_ivq, elem, len, paid++);
        } else {
            virtqueue_detach_element(vser->c_ivq, elem, 0);
            too_small = true;
        }
        g_free(elem);
    }

    if (paid) {
        virtqueue_flush(vser->c_ivq, paid);
    }
    vser->control.paying = false;
    if (paid) {
        virtio_notify(vdev, vser->c_ivq);
    }
    if (too_small) {
        virtio_error(vdev, "virtio-serial: a control buffer is too small for "
                     "the message that is due");
    }
}

/* ------------------------------------------------------------------ */
/* Migration */

static bool control_needed(void *opaque)
{
    return control_next_owed(opaque);
}

static int control_pre_save(void *opaque)
{
    VirtIOSerial *vser = opaque;
    VirtIOSerialSlot *slot;
    uint16_t place = 0;
    uint32_t id;

    for (id = 0; id < vser->serial.max_virtserial_ports; id++) {
        vser->control.slots[id].place = 0;
    }
    QSIMPLEQ_FOREACH(slot, &vser->control.queue, next) {
        slot->place = ++place;
    }
    return 0;
}

/* What can be owed for the number that @port has; NULL: no port has it */
static uint8_t control_payable(VirtIOSerialPort *port)
{
    if (!port) {
        return OWE_REMOVE;
    }
    return OWE_REMOVE | OWE_ADD | OWE_CONSOLE | OWE_OPEN | OWE_CLOSE |
           (port->desc.length ? OWE_DESC : 0) | (port->name ? OWE_NAME : 0);
}

/* The stream has as many slots as the source has */
static bool control_pre_load(void *opaque, Error **errp)
{
    VirtIOSerial *vser = opaque;

    if (vser->control.source_ports != vser->serial.max_virtserial_ports) {
        error_setg(errp, "virtio-serial-bus: max_ports is %u, at the source "
                   "%u, where the driver has yet to be told of something",
                   vser->serial.max_virtserial_ports,
                   vser->control.source_ports);
        return false;
    }
    /* The stream has it only if it is not 0 */
    vser->control.desc_offset = 0;
    return true;
}

static bool control_post_load(void *opaque, int version_id, Error **errp)
{
    VirtIOSerial *vser = opaque;
    VirtIOSerialControl *control = &vser->control;
    uint32_t id, place, max = vser->serial.max_virtserial_ports;
    g_autofree VirtIOSerialSlot **queue = g_new0(VirtIOSerialSlot *, max + 1);
    VirtIOSerialSlot *slot;

    QSIMPLEQ_INIT(&control->queue);
    for (id = 0; id < max; id++) {
        slot = &control->slots[id];
        slot->queued = false;
        if (slot->owed & ~control_payable(slot->port) ||
            (slot->owed & (OWE_OPEN | OWE_CLOSE)) == OWE_CLOSE) {
            error_setg(errp, "virtio-serial-bus: port %u is owed what it does "
                       "not have: 0x%02x", id, slot->owed);
            return false;
        }
        if (slot->place > max || (slot->owed && !slot->place) ||
            (slot->place && queue[slot->place])) {
            error_setg(errp, "virtio-serial-bus: port %u has no place in the "
                       "control queue: %u", id, slot->place);
            return false;
        }
        queue[slot->place] = slot;
    }
    for (place = 1; place <= max; place++) {
        if (queue[place]) {
            queue[place]->queued = true;
            QSIMPLEQ_INSERT_TAIL(&control->queue, queue[place], next);
        }
    }

    slot = control_next_owed(vser);
    if (control->desc_offset &&
        (!slot || !(slot->owed & OWE_DESC) ||
         control->desc_offset >= slot->port->desc.length)) {
        error_setg(errp, "virtio-serial-bus: no descriptor has %u bytes to "
                   "come after", control->desc_offset);
        return false;
    }
    return true;
}

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
static int control_pre_load_reports(void *opaque)
{
    Error *err = NULL;

    if (!control_pre_load(opaque, &err)) {
        error_report_err(err);
        return -EINVAL;
    }
    return 0;
}

static int control_post_load_reports(void *opaque, int version_id)
{
    Error *err = NULL;

    if (!control_post_load(opaque, version_id, &err)) {
        error_report_err(err);
        return -EINVAL;
    }
    return 0;
}
#endif

static const VMStateDescription vmstate_control_slot = {
    .name = "virtio-console-device/control/slot",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT8(owed, VirtIOSerialSlot),
        VMSTATE_BOOL(told, VirtIOSerialSlot),
        VMSTATE_BOOL(ready, VirtIOSerialSlot),
        VMSTATE_BOOL(outdated, VirtIOSerialSlot),
        VMSTATE_UINT16(place, VirtIOSerialSlot),
        VMSTATE_END_OF_LIST()
    },
};

static bool control_desc_needed(void *opaque)
{
    VirtIOSerial *vser = opaque;

    return vser->control.desc_offset;
}

static const VMStateDescription vmstate_control_desc = {
    .name = "virtio-console-device/control/desc",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = control_desc_needed,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(control.desc_offset, VirtIOSerial),
        VMSTATE_END_OF_LIST()
    },
};

const VMStateDescription vmstate_virtio_serial_control = {
    .name = "virtio-console-device/control",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = control_needed,
    .pre_save = control_pre_save,
#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
    .pre_load = control_pre_load_reports,
    .post_load = control_post_load_reports,
#else
    .pre_load_errp = control_pre_load,
    .post_load_errp = control_post_load,
#endif
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(control.device_ready, VirtIOSerial),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(control.slots, VirtIOSerial,
                                             serial.max_virtserial_ports,
                                             vmstate_control_slot,
                                             VirtIOSerialSlot),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const []) {
        &vmstate_control_desc,
        NULL
    },
};
