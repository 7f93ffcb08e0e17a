/*
 * Interrupts of a QEMU to measure, as an eventfd to wait on
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "doorbell.h"

/* docs/specs/ivshmem-spec.rst in QEMU's tree */
#define PROTOCOL_VERSION    0
#define SHARED_MEMORY       -1
#define REGISTERS_BAR       0
#define DOORBELL_REGISTER   12

/* The numbers of the two guests that share memory */
#define ITS_ID              0
#define OUR_ID              1

/* A server's message, with a file descriptor unless that is -1 */
static void tell(int server, int64_t number, int fd)
{
    int64_t message = htole64(number);
    struct iovec iov = { &message, sizeof(message) };
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {};
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.space;
        msg.msg_controllen = sizeof(control.space);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    }
    if (sendmsg(server, &msg, MSG_NOSIGNAL) != sizeof(message)) {
        g_error("nothing can be sent to the doorbell: %s", strerror(errno));
    }
}

Doorbell *doorbell_new(GPtrArray *args, uint8_t devfn)
{
    Doorbell *bell = g_new0(Doorbell, 1);
    int sockets[2], memory = memfd_create("doorbell", MFD_CLOEXEC);

    bell->devfn = devfn;
    bell->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (memory < 0 || ftruncate(memory, 64 * 1024) < 0 ||
        bell->eventfd < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) < 0 ||
        fcntl(sockets[0], F_SETFD, FD_CLOEXEC) < 0) {
        g_error("no file descriptors for a doorbell: %s", strerror(errno));
    }
    bell->server = sockets[0];

    /* All that a server has to say waits in the socket for QEMU to start */
    tell(bell->server, PROTOCOL_VERSION, -1);
    tell(bell->server, ITS_ID, -1);
    tell(bell->server, SHARED_MEMORY, memory);
    tell(bell->server, OUR_ID, bell->eventfd);
    close(memory);

    machine_add_fd(args, "doorbell", sockets[1]);
    g_ptr_array_add(args, g_strdup("-device"));
    g_ptr_array_add(args, g_strdup_printf(
        "ivshmem-doorbell,chardev=doorbell,vectors=1,addr=0x%x", devfn >> 3));
    return bell;
}

void doorbell_start(Doorbell *bell, Machine *m)
{
    machine_pci_enable(m, bell->devfn);
    bell->address = machine_pci_bar(bell->devfn, REGISTERS_BAR) +
                    DOORBELL_REGISTER;
    bell->data = OUR_ID << 16;
}

void doorbell_free(Doorbell *bell)
{
    close(bell->eventfd);
    close(bell->server);
    g_free(bell);
}
