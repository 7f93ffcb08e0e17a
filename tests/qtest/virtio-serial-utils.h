/*
 * Helpers of the virtio-serial testcases: what driver, device and user say
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_SERIAL_UTILS_H
#define TESTS_VIRTIO_SERIAL_UTILS_H

#include "libqos/qgraph.h"
#include "libqos/virtio-serial.h"
#include "libqos/virtio-serial-driver.h"
#include "hw/virtio/virtio-serial-desc.h"

#define PORT_DESC           (1ull << VIRTIO_CONSOLE_F_PORT_DESC)
#define MULTIPORT           (1ull << VIRTIO_CONSOLE_F_MULTIPORT)

/* Bytes of a fragment before its data */
#define FRAGMENT_HEADER     (sizeof(struct virtio_console_control) + \
                             sizeof(struct virtio_console_port_desc))

/* A buffer that holds whatever a port usually has to say */
#define LARGE               4096

/* On the command line: a port with a descriptor, and its serial number */
#define DESCRIBED(nr, serial) \
    "-device virtserialport,bus=vser0.0,id=port" #nr ",nr=" #nr \
    ",desc=1209:0001,desc-serial=" serial " "

/* The name that such a port gets */
#define NAME(serial) \
    "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00#" serial

/* Returns: what desc=1209:0001,desc-serial=@serial makes */
GBytes *vser_make_blob(const char *serial);

/*
 * The driver
 */

/* Returns: a driver of @obj, which is a QVirtioSerial, in the global QEMU */
QVSerDriver *vser_new_driver(void *obj, QGuestAllocator *alloc);

/* (Re)start @drv and post @count buffers of @len bytes; nothing is said yet */
void vser_restart(QVSerDriver *drv, unsigned int count, uint32_t len);

/* Both of the above */
QVSerDriver *vser_start(void *obj, QGuestAllocator *alloc,
                        unsigned int count, uint32_t len);

/* Say that the driver is there, knows port @id, and has it open */
void vser_device_ready(QVSerDriver *drv);
void vser_port_ready(QVSerDriver *drv, uint32_t id);
void vser_port_open(QVSerDriver *drv, uint32_t id);

/*
 * The device: each waits for the next event and takes no other
 */

void vser_expect_add(QVSerDriver *drv, uint32_t id);
void vser_expect_remove(QVSerDriver *drv, uint32_t id);
void vser_expect_console(QVSerDriver *drv, uint32_t id);
void vser_expect_open(QVSerDriver *drv, uint32_t id, bool open);

/* @name with its NUL, as much of it as the buffer holds */
void vser_expect_name(QVSerDriver *drv, uint32_t id, const char *name);

/*
 * The fragment of @blob at @offset, as much of it as the buffer holds. Moves
 * @offset on; returns whether this is the last fragment.
 */
bool vser_expect_fragment(QVSerDriver *drv, uint32_t id, GBytes *blob,
                          uint32_t *offset);

/* All fragments of @blob that are left from @offset on */
void vser_expect_blob(QVSerDriver *drv, uint32_t id, GBytes *blob,
                      uint32_t offset);

/* Blob and name of a port with desc=1209:0001,desc-serial=@serial */
void vser_expect_identity(QVSerDriver *drv, uint32_t id, const char *serial);

/* No event until the device has done all that it was asked for */
void vser_expect_nothing(QVSerDriver *drv);

/* From DEVICE_READY on: one port, with such a descriptor, not open */
void vser_expect_only_port(QVSerDriver *drv, uint32_t id, const char *serial);

/* Parts of the above, for an event that was taken already */
void vser_check_name(const QVSerEvent *ev, const char *name);
bool vser_check_fragment(const QVSerEvent *ev, GBytes *blob, uint32_t *offset);

/*
 * The user
 */

/* Plug a port as "port<id>"; names and values of more properties, NULL */
void vser_plug(QTestState *qts, uint32_t id, ...) G_GNUC_NULL_TERMINATED;

/* Plug one with desc=1209:0001,desc-serial=@serial */
void vser_plug_described(QTestState *qts, uint32_t id, const char *serial);

void vser_unplug(QTestState *qts, uint32_t id);

/*
 * The other end of a port: a socket that the global QEMU listens on, as
 * chardev "host"
 */
typedef struct VSerHost {
    char *dir;
    char *path;
    int fd;
} VSerHost;

VSerHost *vser_host_new(void);
void vser_host_free(VSerHost *host);

/* Connect and disconnect, and wait until QEMU has noticed */
void vser_host_connect(VSerHost *host);
void vser_host_disconnect(VSerHost *host);

/*
 * Migration
 */

/*
 * Start the QEMU that the environment variable @var names, NULL: this one. The
 * other one waits for the guest, and its stderr goes into @log if given.
 */
QTestState *vser_start_qemu(const char *var, const char *args);
QTestState *vser_new_destination(const char *var, const char *log);

/* Where a destination can leave its messages */
char *vser_new_log(void);

/*
 * Move the guest by way of a file, and have the driver go on there; returns
 * whether @to has taken it
 */
bool vser_migrate(QVSerDriver *drv, QTestState *to);

/* @to, which has messages in @log, does not take the guest and says @why */
void vser_expect_refused(QVSerDriver *drv, QTestState *to, const char *log,
                         const char *why);

/* Parts of the above, for a migration that goes on beside the test */
void vser_migrate_out(QTestState *from, const char *uri);
void vser_migrate_in(QTestState *to, const char *uri);
bool vser_arrive(QVSerDriver *drv, QTestState *to, QVirtioSerial *serial,
                 QGuestAllocator *alloc);

/* The status of the migration in or out of @qts, "none" before it starts */
char *vser_migration_status(QTestState *qts);

/* Wait until a migration is over; returns whether it has succeeded */
bool vser_migration_succeeded(QTestState *qts);

/*
 * Registration
 */

typedef struct VSerCase {
    const char *name;
    QOSTestFunc run;
    void *arg;
    /* More of the controller's properties, and more of the command line */
    const char *properties;
    const char *ports;
    QOSBeforeTest before;
    /* Of interest with a legacy driver as well */
    bool legacy;
    /* For one target only, NULL: for all */
    const char *arch;
} VSerCase;

/* Add @cases as "@group/...", and as "@group-legacy/..." where of interest */
void vser_add_cases(const char *group, const VSerCase *cases, size_t count);

#endif /* TESTS_VIRTIO_SERIAL_UTILS_H */
