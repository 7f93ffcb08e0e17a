/*
 * The control queue of a virtio-serial device, device to driver
 *
 * What the device has to tell the driver is state, not a queue of messages: a
 * few bits for each port number, and how far one descriptor has got. It is
 * paid off, a control event at a time, when the driver has posted buffers.
 * So no event is lost for want of a buffer, and neither side can make the
 * debt grow.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VIRTIO_SERIAL_CONTROL_H
#define QEMU_VIRTIO_SERIAL_CONTROL_H

#include "migration/vmstate.h"
#include "qemu/queue.h"

/*
 * What a notification of the driver's costs at most, in either of the control
 * queues, before the main loop has a turn: so many segments of buffers, or so
 * many messages. Each of these can be for hundreds of ports, or have a
 * character device opened.
 */
#define VIRTIO_SERIAL_CONTROL_SEGMENTS  4096
#define VIRTIO_SERIAL_CONTROL_MESSAGES  64

typedef struct VirtIOSerial VirtIOSerial;
typedef struct VirtIOSerialPort VirtIOSerialPort;

/* A port number of the device, and what the driver is owed about it */
typedef struct VirtIOSerialSlot {
    /* the port that has this number, NULL if none has */
    VirtIOSerialPort *port;
    /* in the order in which the device began to owe */
    QSIMPLEQ_ENTRY(VirtIOSerialSlot) next;
    /* OWE_* bits */
    uint8_t owed;
    /* is it in the queue? may be so with nothing owed any more */
    bool queued;
    /* the driver has been told PORT_ADD of the port that is there now */
    bool told;
    /* and has answered with PORT_READY */
    bool ready;
    /* where in the queue, from 1; set and meant for migration only */
    uint16_t place;
} VirtIOSerialSlot;

typedef struct VirtIOSerialControl {
    /* the driver has sent DEVICE_READY since the device was reset */
    bool device_ready;
    /* virtio_serial_control_pay() is at work */
    bool paying;
    /* The machine ran when virtio_serial_control_set_running() was told last */
    bool running;
    /* goes on where a turn of the main loop has ended */
    QEMUBH *bh;
    /* one for each port number that the device can have */
    VirtIOSerialSlot *slots;
    /* those that are owed something */
    QSIMPLEQ_HEAD(, VirtIOSerialSlot) queue;
    /*
     * how much of its descriptor the first port in the queue has got, in
     * bytes; the others got none since theirs is owed
     */
    uint32_t desc_offset;
    /* max_ports at the source; meant for migration only */
    uint32_t source_ports;
} VirtIOSerialControl;

/* @bh, deleted here, takes messages from the driver and pays, for a turn */
void virtio_serial_control_init(VirtIOSerial *vser, QEMUBH *bh);
void virtio_serial_control_cleanup(VirtIOSerial *vser);

/* There is more to do in either queue: in a later turn of the main loop. */
void virtio_serial_control_go_on(VirtIOSerial *vser);

/*
 * To be told of each change of whether the machine runs. One that goes on takes
 * the messages that are there.
 */
void virtio_serial_control_set_running(VirtIOSerial *vser, bool running);

/* The driver has forgotten everything, and nothing is owed. */
void virtio_serial_control_reset(VirtIOSerial *vser);

/*
 * What happened, and so what is owed from now on. Nothing is sent before
 * virtio_serial_control_pay().
 */

/*
 * The driver sent DEVICE_READY: it is to hear of every port. Those that were
 * plugged while it was getting there it may know already; if it says it again
 * it is to hear of all of them again.
 */
void virtio_serial_control_device_ready(VirtIOSerial *vser);

/* The driver sent PORT_READY: it is to hear all about @port. */
void virtio_serial_control_port_ready(VirtIOSerialPort *port);

/*
 * The driver said something about number @id, which no port has. One that has
 * not sent DEVICE_READY slept while the port went: it is to hear of that.
 */
void virtio_serial_control_port_unknown(VirtIOSerial *vser, uint32_t id);

/* @port was plugged, and takes its number. */
void virtio_serial_control_port_added(VirtIOSerialPort *port);

/* @port goes, and its number is free. */
void virtio_serial_control_port_removed(VirtIOSerialPort *port);

/*
 * The host side of @port was opened or closed. Two changes that the driver has
 * not been told of are one.
 */
void virtio_serial_control_port_open(VirtIOSerialPort *port);

/*
 * Bytes for the host side of @port are lost as that is closed, or was. If the
 * driver has not been told of it, it is to be, even if that is open again.
 */
void virtio_serial_control_port_lost(VirtIOSerialPort *port);

/*
 * The device came in with a migration, and the stream says of the control
 * queue only what a QEMU without this file did, nothing: a driver that runs
 * knows every port, and nothing is owed.
 */
void virtio_serial_control_loaded(VirtIOSerial *vser);

/* A subsection, sent when something is owed: who is owed what, and in order. */
extern const VMStateDescription vmstate_virtio_serial_control;

/*
 * Can a message from the driver mean @port? Not if the driver has yet to hear
 * of it: then it means an older one that had its number.
 */
bool virtio_serial_control_port_known(VirtIOSerialPort *port);

/*
 * Pay what is owed with the buffers that are there, and notify the driver
 * once. A buffer that can't hold the message that is due breaks the device
 * until it is reset (virtio 1.2, 2.1.2).
 */
void virtio_serial_control_pay(VirtIOSerial *vser);

#endif /* QEMU_VIRTIO_SERIAL_CONTROL_H */
