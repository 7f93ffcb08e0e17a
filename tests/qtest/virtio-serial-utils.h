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

/* A buffer that holds whatever a port usually has to say */
#define LARGE               4096

/* On the command line: port @nr as "port<nr>", with more properties */
#define PORT(nr, properties) \
    "-device virtserialport,bus=vser0.0,id=port" #nr ",nr=" #nr "," \
    properties " "

/*
 * How the user tells a port who it is, and how the device tells the driver,
 * between PORT_READY and PORT_OPEN. Who that is, is a short word.
 */
typedef struct VSerKind {
    /* Features of a console that the driver has to take to be told all */
    uint64_t features;
    /* Properties on the command line, up to the word, which ends them */
    const char *option;
    /* The name that the port gets, up to the word, which ends it */
    const char *name;
    /* Plug a port as "port<id>", with @chardev unless that is NULL */
    void (*plug)(QTestState *qts, uint32_t id, const char *who,
                 const char *chardev);
    /*
     * This has to be the next event about a port that is @who. @told, 0 at
     * first, is how much was told before; returns whether that was all.
     */
    bool (*check)(const QVSerEvent *ev, const char *who, uint32_t *told);
} VSerKind;

/* Ports that have a name, and nothing else */
extern const VSerKind vser_plain;

/*
 * The driver
 */

/*
 * Returns: a driver of @obj, which is a QVirtioSerial, in the global QEMU, for
 * ports of @kind
 */
QVSerDriver *vser_new_driver(void *obj, QGuestAllocator *alloc,
                             const VSerKind *kind);

/* (Re)start @drv and post @count buffers of @len bytes; nothing is said yet */
void vser_restart(QVSerDriver *drv, unsigned int count, uint32_t len);

/* Both of the above */
QVSerDriver *vser_start(void *obj, QGuestAllocator *alloc,
                        const VSerKind *kind, unsigned int count, uint32_t len);

/* Say that the driver is there, knows port @id, and has it open */
void vser_device_ready(QVSerDriver *drv);
void vser_port_ready(QVSerDriver *drv, uint32_t id);
void vser_port_open(QVSerDriver *drv, uint32_t id);

/*
 * Where in memory the device's own status register is, for a buffer that is
 * there. Skip the case where that is not known; returns 0 then.
 */
uint64_t vser_status_register(QVSerDriver *drv);

/*
 * The device: each waits for the next event and takes no other
 */

void vser_expect_add(QVSerDriver *drv, uint32_t id);
void vser_expect_remove(QVSerDriver *drv, uint32_t id);
void vser_expect_console(QVSerDriver *drv, uint32_t id);
void vser_expect_open(QVSerDriver *drv, uint32_t id, bool open);

/* @name with its NUL, as much of it as the buffer holds */
void vser_expect_name(QVSerDriver *drv, uint32_t id, const char *name);

/* The same, for an event that was taken already */
void vser_check_name(const QVSerEvent *ev, const char *name);

/* All that a port of @kind says of itself */
void vser_expect_identity(QVSerDriver *drv, const VSerKind *kind, uint32_t id,
                          const char *who);

/* No event until the device has done all that it was asked for */
void vser_expect_nothing(QVSerDriver *drv);

/* From DEVICE_READY on: one port of @kind, not open */
void vser_expect_only_port(QVSerDriver *drv, const VSerKind *kind, uint32_t id,
                           const char *who);

/*
 * The device has stopped, whatever else it gets, and works after a reset; its
 * only port is number 1 and "A"
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

/* Connect and disconnect, and wait until QEMU has noticed */
void vser_host_connect(VSerHost *host);
void vser_host_disconnect(VSerHost *host);

/*
 * Migration
 */

/*
 * Variables that name a QEMU without the changes that are tested, as they name
 * one for migration-test
 */
#define STOCK_SRC   "QTEST_QEMU_BINARY_SRC"
#define STOCK_DST   "QTEST_QEMU_BINARY_DST"

/* A machine type that such a QEMU has, and that is older than the changes */
#define OLD_MACHINE "-machine type=pc-i440fx-9.2 "

/* Skip the case unless the environment has @var; returns whether it has not */
bool vser_skip_without(const char *var);

/*
 * Start the QEMU that the environment variable @var names, NULL: this one. The
 * other one waits for the guest, and its stderr goes into @log if given.
 */
QTestState *vser_start_qemu(const char *var, const char *args);
QTestState *vser_new_destination(const char *var, const char *log);

/* A file, as for a destination's messages; the caller removes it */
char *vser_temp_file(void);

/*
 * Move the guest by way of a file, and have the driver go on there; returns
 * whether @to has taken it
 */
bool vser_migrate(QVSerDriver *drv, QTestState *to);

/* @to, which has messages in @log, does not take the guest and says @why */
void vser_expect_refused(QVSerDriver *drv, QTestState *to, const char *log,
                         const char *why);

/* Parts of the above, for a migration that goes on beside the test */
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
    /* Of interest with a legacy driver as well */
    bool legacy;
    /* For one target only, NULL: for all */
    const char *arch;
} VSerCase;

/* Add @cases as "@group/...", and as "@group-legacy/..." where of interest */
void vser_add_cases(const char *group, const VSerCase *cases, size_t count);

#endif /* TESTS_VIRTIO_SERIAL_UTILS_H */
