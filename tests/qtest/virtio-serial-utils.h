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

/* The size of a buffer that holds each event of a usual port */
#define LARGE               4096

/* On the command line: port @nr as "port<nr>", with more properties */
#define PORT(nr, properties) \
    "-device virtserialport,bus=vser0.0,id=port" #nr ",nr=" #nr "," \
    properties " "

/*
 * A kind of port has an identity, a short word. A kind says how the user gives
 * a port its identity, and how the device tells the driver the identity,
 * between PORT_READY and PORT_OPEN.
 */
typedef struct VSerKind {
    /* Features that the driver has to take to be told the identity */
    uint64_t features;
    /* Properties on the command line; the word follows them */
    const char *option;
    /* The port's name; the word follows it */
    const char *name;
    /* Plug a port as "port<id>", with @chardev unless that is NULL */
    void (*plug)(QTestState *qts, uint32_t id, const char *who,
                 const char *chardev);
    /*
     * Check that @ev is the next event about a port with identity @who. @told,
     * 0 at first, is how much was told before. Returns: whether that was all.
     */
    bool (*check)(const QVSerEvent *ev, const char *who, uint32_t *told);
} VSerKind;

/* Ports that have a name, and nothing else */
extern const VSerKind vser_plain;

/*
 * The driver
 */

/*
 * Returns: a driver of the QVirtioSerial @obj in the global QEMU, for ports of
 * @kind
 */
QVSerDriver *vser_new_driver(void *obj, QGuestAllocator *alloc,
                             const VSerKind *kind);

/* (Re)start @drv and post @count buffers of @len bytes; send no message yet */
void vser_restart(QVSerDriver *drv, unsigned int count, uint32_t len);

/* Both of the above */
QVSerDriver *vser_start(void *obj, QGuestAllocator *alloc,
                        const VSerKind *kind, unsigned int count, uint32_t len);

/* Send DEVICE_READY, and for port @id PORT_READY and PORT_OPEN */
void vser_device_ready(QVSerDriver *drv);
void vser_port_ready(QVSerDriver *drv, uint32_t id);
void vser_port_open(QVSerDriver *drv, uint32_t id);

/*
 * Returns: the address of the device's own status register, for a buffer at
 * that place. If the address is not known, skip the case and return 0.
 */
uint64_t vser_status_register(QVSerDriver *drv);

/*
 * The device: each function waits for the next event, and takes no other event
 */

void vser_expect_add(QVSerDriver *drv, uint32_t id);
void vser_expect_remove(QVSerDriver *drv, uint32_t id);
void vser_expect_console(QVSerDriver *drv, uint32_t id);
void vser_expect_open(QVSerDriver *drv, uint32_t id, bool open);

/* @name with its NUL, as much of it as the buffer holds */
void vser_expect_name(QVSerDriver *drv, uint32_t id, const char *name);

/* The same for an event that was taken already */
void vser_check_name(const QVSerEvent *ev, const char *name);

/* All events of a port of @kind after PORT_READY */
void vser_expect_identity(QVSerDriver *drv, const VSerKind *kind, uint32_t id,
                          const char *who);

/* Check that no event comes until the device has done all its work */
void vser_expect_nothing(QVSerDriver *drv);

/* All events from DEVICE_READY on: one port of @kind, not open */
void vser_expect_only_port(QVSerDriver *drv, const VSerKind *kind, uint32_t id,
                           const char *who);

/*
 * Check that the device has stopped, that it ignores all messages, and that it
 * works after a reset. Its only port has number 1 and identity "A".
 */
void vser_expect_broken(QVSerDriver *drv, const VSerKind *kind);

/*
 * The user
 */

/* Plug a port as "port<id>"; names and values of more properties, NULL */
void vser_plug(QTestState *qts, uint32_t id, ...) G_GNUC_NULL_TERMINATED;

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

/* The same, and QEMU keeps the chardev, which a port may still have */
void vser_host_forget(VSerHost *host);

/* Connect and disconnect, and wait until QEMU has noticed */
void vser_host_connect(VSerHost *host);
void vser_host_disconnect(VSerHost *host);

/*
 * Migration
 */

/*
 * Environment variables that name a QEMU without the tested changes;
 * migration-test has the same variables
 */
#define STOCK_SRC   "QTEST_QEMU_BINARY_SRC"
#define STOCK_DST   "QTEST_QEMU_BINARY_DST"

/* A machine type of such a QEMU that is older than the changes */
#define OLD_MACHINE "-machine type=pc-i440fx-9.2 "

/*
 * Skip the case if the environment lacks @var. Returns: whether @var is absent
 */
bool vser_skip_without(const char *var);

/*
 * Start the QEMU that the environment variable @var names, or this QEMU if
 * @var is NULL. The new QEMU waits for the guest; its stderr goes into @log,
 * if given.
 */
QTestState *vser_start_qemu(const char *var, const char *args);
QTestState *vser_new_destination(const char *var, const char *log);

/* Make a file, as for a destination's messages; the caller removes the file */
char *vser_temp_file(void);

/*
 * Move the guest by way of a file, and have the driver go on at @to. Returns:
 * whether @to has taken the guest
 */
bool vser_migrate(QVSerDriver *drv, QTestState *to);

/* Check that @to, with messages in @log, refuses the guest and says @why */
void vser_expect_refused(QVSerDriver *drv, QTestState *to, const char *log,
                         const char *why);

/*
 * Start a destination with a port @id and @stream in a file. Returns: whether
 * it took the guest; if not, it has said @why
 */
bool vser_stream_is_taken(const char *stream, size_t size, uint32_t id,
                          const char *why);

/* Returns: how often the file @log has @words */
unsigned int vser_count_words(const char *log, const char *words);

/* Parts of the above, for a migration that runs beside the test */
void vser_expect_last_words(QTestState *to, const char *log, const char *why);
void vser_migrate_out(QTestState *from, const char *uri);
void vser_migrate_in(QTestState *to, const char *uri);
bool vser_arrive(QVSerDriver *drv, QTestState *to, QVirtioSerial *serial,
                 QGuestAllocator *alloc);
void vser_go_on(QVSerDriver *drv, QTestState *to, QVirtioSerial *serial,
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
    /* the case is run with a legacy driver too */
    bool legacy;
    /* for this target only; NULL: for all targets */
    const char *arch;
} VSerCase;

/*
 * Add @cases as "@group/...", and those for a legacy driver as "@group-
 * legacy/..."
 */
void vser_add_cases(const char *group, const VSerCase *cases, size_t count);

/*
 * The same for ports of @kind, the argument of each case. In the cases' ports,
 * "$" stands for kind->option.
 */
void vser_add_kind_cases(const char *group, const VSerKind *kind,
                         const VSerCase *cases, size_t count);

#endif /* TESTS_VIRTIO_SERIAL_UTILS_H */
