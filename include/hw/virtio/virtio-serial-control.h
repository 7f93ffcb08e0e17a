/*
 * The control queue of a virtio-serial device, device to driver
 *
 * The device owes the driver state, not a queue of messages: a few bits for
 * each port number, and how far one descriptor has got. The device pays with
 * control events, as many as there are buffers of the driver. So no event is
 * lost for want of a buffer, and neither side can make the debt grow.
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
 * The limits of what one notification by the driver costs, in either control
 * queue, before the main loop goes on: segments of buffers, and messages. One
 * message can be for hundreds of ports, or open a character device.
 */
#define VIRTIO_SERIAL_CONTROL_SEGMENTS  4096
#define VIRTIO_SERIAL_CONTROL_MESSAGES  64

typedef struct VirtIOSerial VirtIOSerial;
typedef struct VirtIOSerialPort VirtIOSerialPort;

/* A port number of the device, and what the driver is owed for this number */
typedef struct VirtIOSerialSlot {
    /* the port that has this number, NULL if none has */
    VirtIOSerialPort *port;
    /* in the queue, which has the order in which the device began to owe */
    QSIMPLEQ_ENTRY(VirtIOSerialSlot) next;
    /* OWE_* bits */
    uint8_t owed;
    /* the slot is in the queue, perhaps with nothing owed any more */
    bool queued;
    /* the driver knows the port that is there now: PORT_ADD was sent */
    bool told;
    /* the driver has answered with PORT_READY */
    bool ready;
    /*
     * the driver knew an older port with this number, and PORT_ADD of a new one
     * was not sent: what the driver says is about the older one
     */
    bool outdated;
    /* the slot's place in the queue, from 1; for migration only */
    uint16_t place;
} VirtIOSerialSlot;

typedef struct VirtIOSerialControl {
    /* the driver has sent DEVICE_READY since the device was reset */
    bool device_ready;
    /* virtio_serial_control_pay() is at work */
    bool paying;
    /* The machine ran at the last virtio_serial_control_set_running() */
    bool running;
    /* The machine is about to stop, and what is in both queues is done */
    bool stopping;
    /* goes on with both queues in a later turn of the main loop */
    QEMUBH *bh;
    /* one for each port number of the device */
    VirtIOSerialSlot *slots;
    /* the slots with something owed */
    QSIMPLEQ_HEAD(, VirtIOSerialSlot) queue;
    /*
     * how many bytes of the descriptor of the first port in the queue were
     * sent; of the others' descriptors none were
     */
    uint32_t desc_offset;
    /* max_ports at the source; for migration only */
    uint32_t source_ports;
} VirtIOSerialControl;

/*
 * @bh takes messages from the driver, and pays, for one turn.
 * virtio_serial_control_cleanup() deletes @bh.
 */
void virtio_serial_control_init(VirtIOSerial *vser, QEMUBH *bh);
void virtio_serial_control_cleanup(VirtIOSerial *vser);

/* Go on with either queue in a later turn of the main loop. */
void virtio_serial_control_go_on(VirtIOSerial *vser);

/*
 * Call this at each change of whether the machine runs. @bh takes the messages
 * that are there: all of them before the machine stands still, and for one turn
 * when the machine goes on.
 */
void virtio_serial_control_set_running(VirtIOSerial *vser, bool running);

/* May the guest's memory change? */
bool virtio_serial_control_runs(VirtIOSerial *vser);

/* Has a turn taken as many messages or segments as it may take? */
bool virtio_serial_control_turn_is_over(VirtIOSerial *vser,
                                        unsigned int messages,
                                        unsigned int segments);

/* The driver is reset: nothing is owed. */
void virtio_serial_control_reset(VirtIOSerial *vser);

/*
 * Call one of the functions below when something has happened. The function
 * notes what is owed from now on; only virtio_serial_control_pay() sends.
 */

/*
 * The driver sent DEVICE_READY: owe it PORT_ADD of every port. After the first
 * DEVICE_READY, a port is left out if its PORT_ADD was sent already.
 */
void virtio_serial_control_device_ready(VirtIOSerial *vser);

/* The driver sent PORT_READY: owe it all other events of @port. */
void virtio_serial_control_port_ready(VirtIOSerialPort *port);

/*
 * The driver sent a message about number @id, which no port has. If the driver
 * has not sent DEVICE_READY, the guest slept while the port went: owe the
 * driver PORT_REMOVE.
 */
void virtio_serial_control_port_unknown(VirtIOSerial *vser, uint32_t id);

/* @port was plugged, and has its number from now on. */
void virtio_serial_control_port_added(VirtIOSerialPort *port);

/* @port was unplugged, and its number is free. */
void virtio_serial_control_port_removed(VirtIOSerialPort *port);

/*
 * The host side of @port was opened or closed. Changes of which the driver has
 * not been told become one event.
 */
void virtio_serial_control_port_open(VirtIOSerialPort *port);

/*
 * Bytes for the host side of @port are lost, because the host side is or was
 * closed. If the driver has not been told so, owe it a PORT_OPEN that says
 * closed, even if the host side is open again.
 */
void virtio_serial_control_port_lost(VirtIOSerialPort *port);

/*
 * The device came in with a migration: a running driver knows every port, and
 * nothing is owed. The subsection below, if it is sent, says more.
 */
void virtio_serial_control_loaded(VirtIOSerial *vser);

/* A subsection, sent if something is owed: what, and in which order */
extern const VMStateDescription vmstate_virtio_serial_control;

/*
 * Can a message from the driver mean @port? If the driver knew an older port
 * with the same number, and has not been told of @port yet, the message means
 * the older one. Otherwise the driver knows @port from now on.
 */
bool virtio_serial_control_port_known(VirtIOSerialPort *port);

/*
 * Send what is owed, as far as there are buffers, and notify the driver once.
 * A buffer that can't hold the next message breaks the device until it is
 * reset (virtio 1.2, 2.1.2).
 */
void virtio_serial_control_pay(VirtIOSerial *vser);

#endif /* QEMU_VIRTIO_SERIAL_CONTROL_H */
