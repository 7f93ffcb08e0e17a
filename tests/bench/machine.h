/*
 * A QEMU to measure: its process, its memory and its qtest socket
 *
 * Guest RAM is a shared file that is mapped here too, so that a driver in this
 * process reaches it as fast as a CPU of the guest would. Everything else goes
 * through QEMU's qtest protocol: there is no CPU to emulate, and what QEMU
 * spends is spent by the device.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BENCH_MACHINE_H
#define TESTS_BENCH_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <glib.h>

typedef struct Machine {
    pid_t pid;          /* of QEMU, or of the program that it runs under */
    int qtest;          /* the socket */
    int ram_fd;
    uint8_t *ram;
    size_t ram_size;
    size_t ram_used;    /* given away by machine_alloc() */
    char reply[256];    /* qtest's last */
} Machine;

/**
 * machine_new:
 * @qemu: how to start QEMU: its path, or a program to run it under, that one's
 *        options, and the path
 * @args: options for QEMU. The machine has nothing but what they add.
 *
 * Start QEMU and wait until it is there. Like everything in this file it ends
 * this program if something goes wrong; QEMU then ends too.
 */
Machine *machine_new(GPtrArray *qemu, GPtrArray *args);

/**
 * machine_new_like:
 * @other: a machine, whose RAM the new one has as well
 * @args: options for QEMU, -incoming among them
 *
 * Start a QEMU that @other can be migrated to, with "x-ignore-shared". What
 * machine_alloc() gives is theirs together, so only one of them is used from
 * here on; neither is freed before the other has ended.
 */
Machine *machine_new_like(const Machine *other, GPtrArray *qemu,
                          GPtrArray *args);

/**
 * machine_add_fd:
 * @args: options for a QEMU
 * @id: of a character device that they are to have
 * @fd: one end of a socket. QEMU inherits it; it is closed here when
 *      machine_new() gets @args.
 */
void machine_add_fd(GPtrArray *args, const char *id, int fd);

/* End QEMU and wait until it has ended. */
void machine_free(Machine *m);

pid_t machine_pid(const Machine *m);

/* Guest RAM of @size bytes, zeroed, at a multiple of @align */
void *machine_alloc(Machine *m, size_t size, size_t align);

/* Free all memory of machine_alloc(). No device may be using it. */
void machine_reclaim(Machine *m);

/* The guest's address of @p, which is from machine_alloc() */
uint64_t machine_address(const Machine *m, const void *p);

/*
 * Have a process run on the last CPU, if @last, or else on the other CPUs, if
 * there are any. The measured process has a CPU to itself.
 */
void process_place(pid_t pid, bool last);

/* CPU time that a process has used so far, user and system, in nanoseconds */
uint64_t process_cpu_ns(pid_t pid);

/* The same of QEMU */
uint64_t machine_cpu_ns(const Machine *m);

/**
 * machine_eventfds:
 *
 * Returns: (owned by the caller) the numbers that QEMU has for its eventfds,
 * as ints, ascending.
 */
GArray *machine_eventfds(const Machine *m);

/* A file descriptor of this process for file descriptor @fd of QEMU */
int machine_get_fd(const Machine *m, int fd);

/* An access by the guest's CPU of @size bytes. QEMU has done it on return. */
uint64_t machine_read(Machine *m, uint64_t address, unsigned int size);
void machine_write(Machine *m, uint64_t address, unsigned int size,
                   uint64_t value);

/* The same of an I/O port */
void machine_out(Machine *m, uint16_t port, unsigned int size, uint32_t value);

/* Let the guest's clock go on; otherwise it stands still */
void machine_clock_step(Machine *m, uint64_t ns);

/* PCI configuration space of function @devfn on bus 0, @size bytes at once */
uint32_t machine_pci_read(Machine *m, uint8_t devfn, uint8_t offset,
                          unsigned int size);
void machine_pci_write(Machine *m, uint8_t devfn, uint8_t offset,
                       unsigned int size, uint32_t value);

/* Give addresses to the BARs of function @devfn on bus 0, and switch it on. */
void machine_pci_enable(Machine *m, uint8_t devfn);

/* The address that machine_pci_enable() gave to BAR number @bar */
uint64_t machine_pci_bar(uint8_t devfn, unsigned int bar);

#endif /* TESTS_BENCH_MACHINE_H */
