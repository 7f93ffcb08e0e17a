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
#include <linux/pci_regs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "machine.h"

#define RAM_SIZE            (512 * 1024 * 1024)

/* What is below may hold what a machine's firmware and tables are loaded to */
#define RAM_FIRST           (16 * 1024 * 1024)

/* No firmware has given addresses to BARs. Here is nothing else. */
#define BAR_FIRST           0xc0000000u
#define BAR_SPACE           0x01000000u     /* for each; more than any needs */
#define BARS                6               /* of a function */

#define PCI_CONFIG_ADDRESS  0xcf8
#define PCI_CONFIG_DATA     0xcfc

/* How qtest's commands call an access of so many bytes */
static const char size_letter[] = {
    [1] = 'b', [2] = 'w', [4] = 'l', [8] = 'q'
};

/* The options after which the number of a file descriptor comes */
#define FD_OPTION           ",fd="

void machine_add_fd(GPtrArray *args, const char *id, int fd)
{
    g_ptr_array_add(args, g_strdup("-chardev"));
    g_ptr_array_add(args, g_strdup_printf("socket,id=%s" FD_OPTION "%d", id,
                                          fd));
}

/* QEMU has those of machine_add_fd(), and nobody else is to */
static void close_fds(char *const *argv)
{
    for (; *argv; argv++) {
        const char *option = strstr(*argv, FD_OPTION);

        if (option) {
            close(atoi(option + strlen(FD_OPTION)));
        }
    }
}

static G_GNUC_NORETURN void become_qemu(GPtrArray *argv, pid_t parent)
{
    /* Whatever ends this program, QEMU does not outlive it, even if it hangs */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    execvp(argv->pdata[0], (char **)argv->pdata);
    fprintf(stderr, "%s: %s\n", (char *)argv->pdata[0], strerror(errno));
    _exit(1);
}

/* Start QEMU, with the RAM that is there */
static void start(Machine *m, GPtrArray *qemu, GPtrArray *args)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    pid_t parent = getpid();
    int ram, sockets[2];
    size_t i;

    /* QEMU inherits this and its end of the socket */
    ram = dup(m->ram_fd);
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
    machine_add_fd(argv, "qtest", sockets[1]);
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
    close_fds((char **)argv->pdata);

    /* QEMU answers when the machine is complete */
    machine_read(m, 0, 1);
}

Machine *machine_new(GPtrArray *qemu, GPtrArray *args)
{
    Machine *m = g_new0(Machine, 1);

    m->ram_size = RAM_SIZE;
    m->ram_used = RAM_FIRST;
    m->ram_fd = memfd_create("guest-ram", MFD_CLOEXEC);
    if (m->ram_fd < 0 || ftruncate(m->ram_fd, RAM_SIZE) < 0) {
        g_error("no memory for the guest: %s", strerror(errno));
    }
    m->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                  m->ram_fd, 0);
    if (m->ram == MAP_FAILED) {
        g_error("could not map the guest's memory: %s", strerror(errno));
    }
    start(m, qemu, args);
    return m;
}

Machine *machine_new_like(const Machine *other, GPtrArray *qemu,
                          GPtrArray *args)
{
    Machine *m = g_new0(Machine, 1);

    m->ram_size = other->ram_size;
    m->ram_used = other->ram_used;
    m->ram_fd = other->ram_fd;
    m->ram = other->ram;
    start(m, qemu, args);
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
    close(m->ram_fd);
    munmap(m->ram, m->ram_size);
    g_free(m);
}

pid_t machine_pid(const Machine *m)
{
    return m->pid;
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

void process_place(pid_t pid, bool last)
{
    static cpu_set_t all;           /* as this process was started */
    cpu_set_t set;
    int cpu = CPU_SETSIZE;

    if (!CPU_COUNT(&all) && sched_getaffinity(0, sizeof(all), &all) < 0) {
        g_error("the CPUs can't be had: %s", strerror(errno));
    }
    if (CPU_COUNT(&all) < 2) {
        return;
    }
    do {
        cpu--;
    } while (!CPU_ISSET(cpu, &all));
    set = all;
    CPU_CLR(cpu, &set);
    if (last) {
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
    }
    if (sched_setaffinity(pid, sizeof(set), &set) < 0) {
        g_error("process %d can't be placed on a CPU: %s", pid,
                strerror(errno));
    }
}

uint64_t process_cpu_ns(pid_t pid)
{
    struct timespec ts;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts)) {
        g_error("the CPU time of process %d can't be had", pid);
    }
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint64_t machine_cpu_ns(const Machine *m)
{
    return process_cpu_ns(m->pid);
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

GArray *machine_eventfds(const Machine *m)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd", m->pid);
    g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);
    GArray *fds = g_array_new(false, false, sizeof(int));
    const char *name;

    g_assert(entries);
    while ((name = g_dir_read_name(entries))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_autofree char *target = g_file_read_link(path, NULL);

        if (target && g_str_equal(target, "anon_inode:[eventfd]")) {
            int fd = atoi(name);

            g_array_append_val(fds, fd);
        }
    }
    g_array_sort(fds, compare_ints);
    return fds;
}

int machine_get_fd(const Machine *m, int fd)
{
    int pidfd = syscall(SYS_pidfd_open, m->pid, 0);
    int ours = syscall(SYS_pidfd_getfd, pidfd, fd, 0);

    if (ours < 0) {
        g_error("file descriptor %d of QEMU can't be had: %s", fd,
                strerror(errno));
    }
    close(pidfd);
    return ours;
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

void machine_out(Machine *m, uint16_t port, unsigned int size, uint32_t value)
{
    qtest(m, "out%c 0x%x 0x%x\n", size_letter[size], port, value);
}

void machine_clock_step(Machine *m, uint64_t ns)
{
    qtest(m, "clock_step %" PRIu64 "\n", ns);
}

static void pci_select(Machine *m, uint8_t devfn, uint8_t offset)
{
    machine_out(m, PCI_CONFIG_ADDRESS, 4,
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
    machine_out(m, PCI_CONFIG_DATA + (offset & 3), size, value);
}

uint64_t machine_pci_bar(uint8_t devfn, unsigned int bar)
{
    return BAR_FIRST + ((devfn >> 3) * BARS + bar) * BAR_SPACE;
}

void machine_pci_enable(Machine *m, uint8_t devfn)
{
    unsigned int bar;

    for (bar = 0; bar < BARS; bar++) {
        uint8_t offset = PCI_BASE_ADDRESS_0 + 4 * bar;
        uint32_t flags = machine_pci_read(m, devfn, offset, 4);

        if (flags & PCI_BASE_ADDRESS_SPACE_IO) {
            continue;
        }
        machine_pci_write(m, devfn, offset, 4, machine_pci_bar(devfn, bar));
        if ((flags & PCI_BASE_ADDRESS_MEM_TYPE_MASK) ==
            PCI_BASE_ADDRESS_MEM_TYPE_64) {
            bar++;
            machine_pci_write(m, devfn, offset + 4, 4, 0);
        }
    }
    machine_pci_write(m, devfn, PCI_COMMAND, 2,
                      PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}
