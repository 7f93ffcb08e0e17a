/*
 * A QEMU to measure: its process, its memory and its qtest socket
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "machine.h"

#define RAM_SIZE            (64 * 1024 * 1024)

/* What is below may hold what a machine's firmware and tables are loaded to */
#define RAM_FIRST           (16 * 1024 * 1024)

#define PCI_CONFIG_ADDRESS  0xcf8
#define PCI_CONFIG_DATA     0xcfc

/* How qtest's commands call an access of so many bytes */
static const char size_letter[] = {
    [1] = 'b', [2] = 'w', [4] = 'l', [8] = 'q'
};

static G_GNUC_NORETURN void become_qemu(GPtrArray *argv, pid_t parent)
{
    /* Whatever ends this program, QEMU does not outlive it */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(1);
    }
    execvp(argv->pdata[0], (char **)argv->pdata);
    fprintf(stderr, "%s: %s\n", (char *)argv->pdata[0], strerror(errno));
    _exit(1);
}

Machine *machine_new(GPtrArray *qemu, GPtrArray *args)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    Machine *m = g_new0(Machine, 1);
    pid_t parent = getpid();
    int ram, sockets[2];
    size_t i;

    m->ram_size = RAM_SIZE;
    m->ram_used = RAM_FIRST;
    /* QEMU inherits this and its end of the socket */
    ram = memfd_create("guest-ram", 0);
    if (ram < 0 || ftruncate(ram, RAM_SIZE) < 0) {
        g_error("no memory for the guest: %s", strerror(errno));
    }
    m->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ram, 0);
    if (m->ram == MAP_FAILED) {
        g_error("could not map the guest's memory: %s", strerror(errno));
    }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) < 0 ||
        fcntl(sockets[0], F_SETFD, FD_CLOEXEC) < 0) {
        g_error("no sockets for qtest: %s", strerror(errno));
    }
    m->qtest = sockets[0];

    for (i = 0; i < qemu->len; i++) {
        g_ptr_array_add(argv, g_strdup(qemu->pdata[i]));
    }
#define ADD(...) g_ptr_array_add(argv, g_strdup_printf(__VA_ARGS__))
    ADD("-nodefaults");
    ADD("-no-user-config");
    ADD("-display");
    ADD("none");
    ADD("-accel");
    ADD("qtest");
    ADD("-machine");
    ADD("q35,memory-backend=ram");
    ADD("-object");
    ADD("memory-backend-file,id=ram,size=%d,share=on,mem-path=/proc/self/fd/%d",
        RAM_SIZE, ram);
    ADD("-chardev");
    ADD("socket,id=qtest,fd=%d", sockets[1]);
    ADD("-qtest");
    ADD("chardev:qtest");
    ADD("-qtest-log");
    ADD("none");
#undef ADD
    for (i = 0; i < args->len; i++) {
        g_ptr_array_add(argv, g_strdup(args->pdata[i]));
    }
    g_ptr_array_add(argv, NULL);

    m->pid = fork();
    if (m->pid < 0) {
        g_error("could not start QEMU: %s", strerror(errno));
    }
    if (m->pid == 0) {
        become_qemu(argv, parent);
    }
    close(ram);
    close(sockets[1]);

    /* QEMU answers when the machine is complete */
    machine_read(m, 0, 1);
    return m;
}

void machine_free(Machine *m)
{
    int status;

    kill(m->pid, SIGTERM);
    if (waitpid(m->pid, &status, 0) < 0 || status != 0) {
        g_error("QEMU ended with wait status %d", status);
    }
    close(m->qtest);
    munmap(m->ram, m->ram_size);
    g_free(m);
}

void *machine_alloc(Machine *m, size_t size, size_t align)
{
    size_t start = (m->ram_used + align - 1) / align * align;

    g_assert(start <= m->ram_size && size <= m->ram_size - start);
    m->ram_used = start + size;
    return memset(m->ram + start, 0, size);
}

void machine_reclaim(Machine *m)
{
    m->ram_used = RAM_FIRST;
}

uint64_t machine_address(const Machine *m, const void *p)
{
    /* The machine has RAM from 0 on */
    return (const uint8_t *)p - m->ram;
}

uint64_t machine_cpu_ns(const Machine *m)
{
    struct timespec ts;
    clockid_t clock;

    if (clock_getcpuclockid(m->pid, &clock) || clock_gettime(clock, &ts)) {
        g_error("QEMU's CPU time can't be had");
    }
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* Send a command and return what comes after "OK" */
static G_GNUC_PRINTF(2, 3) const char *qtest(Machine *m, const char *format,
                                             ...)
{
    char command[128];
    size_t len, have = 0;
    va_list ap;

    va_start(ap, format);
    len = vsnprintf(command, sizeof(command), format, ap);
    va_end(ap);
    g_assert(len < sizeof(command));

    if (send(m->qtest, command, len, MSG_NOSIGNAL) != len) {
        g_error("QEMU is gone; its last words are above");
    }
    do {
        ssize_t got = recv(m->qtest, m->reply + have,
                           sizeof(m->reply) - 1 - have, 0);

        if (got <= 0) {
            g_error("QEMU is gone; its last words are above");
        }
        have += got;
        m->reply[have] = '\0';
    } while (m->reply[have - 1] != '\n');
    if (strncmp(m->reply, "OK", 2)) {
        g_error("qtest: %s: %s", command, m->reply);
    }
    return m->reply + 2;
}

uint64_t machine_read(Machine *m, uint64_t address, unsigned int size)
{
    return strtoull(qtest(m, "read%c 0x%" PRIx64 "\n", size_letter[size],
                          address), NULL, 0);
}

void machine_write(Machine *m, uint64_t address, unsigned int size,
                   uint64_t value)
{
    qtest(m, "write%c 0x%" PRIx64 " 0x%" PRIx64 "\n", size_letter[size],
          address, value);
}

static void pci_select(Machine *m, uint8_t devfn, uint8_t offset)
{
    qtest(m, "outl 0x%x 0x%x\n", PCI_CONFIG_ADDRESS,
          1u << 31 | devfn << 8 | (offset & ~3u));
}

uint32_t machine_pci_read(Machine *m, uint8_t devfn, uint8_t offset,
                          unsigned int size)
{
    pci_select(m, devfn, offset);
    return strtoul(qtest(m, "in%c 0x%x\n", size_letter[size],
                         PCI_CONFIG_DATA + (offset & 3)), NULL, 0);
}

void machine_pci_write(Machine *m, uint8_t devfn, uint8_t offset,
                       unsigned int size, uint32_t value)
{
    pci_select(m, devfn, offset);
    qtest(m, "out%c 0x%x 0x%x\n", size_letter[size],
          PCI_CONFIG_DATA + (offset & 3), value);
}
