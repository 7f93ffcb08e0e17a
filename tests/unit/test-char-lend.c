/*
 * Unit tests of chardev: buffers that a front end lends
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-char.h"
#include "char-helpers.h"

/* The bytes of memory that nobody has written */
#define UNWRITTEN   0xa5

#define SIZE        (150 * 1000)

/* The buffers that the front end lends */
static const size_t sizes[] = { 1, 2, 700, 1, 4096, 64 * 1024 };

typedef struct LendingFe {
    CharTestFe parent;
    uint8_t *lent[ARRAY_SIZE(sizes)];
    size_t nr_sizes;        /* how many buffers the front end has */
    size_t nr_out;          /* and how many have not come back */
    unsigned int nr_lent;   /* calls */
} LendingFe;

static void lending_read(void *opaque, const uint8_t *buf, int size)
{
    LendingFe *fe = opaque;

    g_assert_cmpuint(fe->nr_out, ==, 0);
    char_fe_read(&fe->parent, buf, size);
}

static void lending_event(void *opaque, QEMUChrEvent event)
{
    LendingFe *fe = opaque;

    g_assert_cmpuint(fe->nr_out, ==, 0);
    char_fe_event(&fe->parent, event);
}

static const ChardevLender lender;

static int lending_be_change(void *opaque)
{
    LendingFe *fe = opaque;

    qemu_chr_fe_set_lender(&fe->parent.chr, &lender);
    qemu_chr_fe_set_handlers(&fe->parent.chr, char_fe_can_read, lending_read,
                             lending_event, lending_be_change, fe, NULL, true);
    return 0;
}

static size_t lending_lend(void *opaque, struct iovec *iov, size_t max)
{
    LendingFe *fe = opaque;
    size_t i;

    g_assert_cmpuint(fe->nr_out, ==, 0);
    g_assert_cmpuint(max, >=, 1);
    fe->nr_lent++;
    for (i = 0; i < MIN(fe->nr_sizes, max); i++) {
        memset(fe->lent[i], UNWRITTEN, sizes[i]);
        iov[i] = (struct iovec) { fe->lent[i], sizes[i] };
    }
    return fe->nr_out = i;
}

/* What was read is in the first bytes, and nothing is in the others */
static void lending_give_back(void *opaque, size_t size)
{
    LendingFe *fe = opaque;
    size_t i, j, len;

    g_assert_cmpuint(fe->nr_out, >, 0);
    for (i = 0; i < fe->nr_out; i++) {
        len = MIN(size, sizes[i]);
        g_byte_array_append(fe->parent.got, fe->lent[i], len);
        for (j = len; j < sizes[i]; j++) {
            g_assert_cmphex(fe->lent[i][j], ==, UNWRITTEN);
        }
        size -= len;
    }
    g_assert_cmpuint(size, ==, 0);
    fe->nr_out = 0;
    errno = ENOTTY;
}

static const ChardevLender lender = {
    .lend = lending_lend,
    .give_back = lending_give_back,
};

/* Returns: a front end of @chr that lends all its buffers */
static LendingFe *lending_new(Chardev *chr)
{
    LendingFe *fe = g_new0(LendingFe, 1);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        fe->lent[i] = g_malloc(sizes[i]);
    }
    fe->nr_sizes = ARRAY_SIZE(sizes);
    char_fe_init(&fe->parent, chr);
    lending_be_change(fe);
    return fe;
}

static void lending_free(LendingFe *fe)
{
    size_t i;

    g_assert_cmpuint(fe->nr_out, ==, 0);
    char_fe_cleanup(&fe->parent);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        g_free(fe->lent[i]);
    }
    g_free(fe);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LendingFe, lending_free)

/* @opaque: the type of a chardev that reads into the front end's buffers */
static void test_lend(const void *opaque)
{
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(SIZE);
    g_autoptr(LendingFe) fe = NULL;

    char_host_init(&host, opaque);
    fe = lending_new(host.chr);
    wait_until(fe->parent.open);
    char_host_send(&host, &fe->parent, data, 1);
    g_assert_cmpuint(fe->nr_lent, ==, 1);
    char_host_send(&host, &fe->parent, data + 1, SIZE - 1);
    g_assert_cmpmem(fe->parent.got->data, fe->parent.got->len, data, SIZE);
    g_assert_cmpuint(fe->parent.nr_read, ==, 0);
}

/* @opaque: the type of a chardev that can't */
static void test_copied(const void *opaque)
{
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(LendingFe) fe = NULL;

    /* A mux would take Ctrl-A for itself */
    memset(data, 'x', 10);
    char_host_init(&host, opaque);
    fe = lending_new(host.chr);
    wait_until(fe->parent.open);
    char_host_send(&host, &fe->parent, data, 100);
    g_assert_cmpmem(fe->parent.got->data, fe->parent.got->len, data, 100);
    g_assert_cmpuint(fe->nr_lent, ==, 0);
}

/* A lender without buffers, and no lender */
static void test_nothing_lent(void)
{
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(LendingFe) fe = NULL;

    char_host_init(&host, "socket");
    fe = lending_new(host.chr);
    fe->nr_sizes = 0;
    char_host_send(&host, &fe->parent, data, 50);
    g_assert_cmpuint(fe->nr_lent, >, 0);
    g_assert_cmpuint(fe->parent.nr_read, >, 0);

    fe->nr_lent = 0;
    qemu_chr_fe_set_lender(&fe->parent.chr, NULL);
    char_host_send(&host, &fe->parent, data + 50, 50);
    g_assert_cmpuint(fe->nr_lent, ==, 0);
    g_assert_cmpmem(fe->parent.got->data, fe->parent.got->len, data, 100);
}

/* A front end that sets no lender has none, whatever was in its memory */
static void test_no_lender(const void *opaque)
{
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(CharTestFe) fe = g_new0(CharTestFe, 1);

    char_host_init(&host, opaque);
    memset(&fe->chr, UNWRITTEN, sizeof(fe->chr));
    char_fe_init(fe, host.chr);
    char_fe_set_handlers(fe);
    wait_until(fe->open);
    char_host_send(&host, fe, data, 100);
    g_assert_cmpmem(fe->got->data, fe->got->len, data, 100);
}

/* Without handlers nothing is lent */
static void test_no_handlers(void)
{
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(LendingFe) fe = NULL;
    struct iovec iov[1];

    char_host_init(&host, "socket");
    fe = lending_new(host.chr);
    qemu_chr_fe_set_handlers(&fe->parent.chr, NULL, NULL, NULL, NULL, NULL,
                             NULL, true);
    g_assert_cmpint(write(host.out, data, 50), ==, 50);
    settle();
    g_assert_cmpuint(qemu_chr_be_lend(host.chr, iov, 1), ==, 0);
    g_assert_cmpuint(fe->nr_lent, ==, 0);
    lending_be_change(fe);
    char_host_send(&host, &fe->parent, data + 50, 50);
    wait_until(fe->parent.got->len == 100);
    g_assert_cmpmem(fe->parent.got->data, fe->parent.got->len, data, 100);
}

/* When the host goes, lent buffers come back first, empty */
static void test_eof(const void *opaque)
{
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(LendingFe) fe = NULL;

    char_host_init(&host, opaque);
    fe = lending_new(host.chr);
    wait_until(fe->parent.open);
    char_host_send(&host, &fe->parent, data, 100);
    char_host_close(&host);
    wait_until(!fe->parent.open);
    g_assert_cmpint(fe->parent.last, ==, CHR_EVENT_CLOSED);
    g_assert_cmpuint(fe->nr_out, ==, 0);
    g_assert_cmpuint(fe->parent.got->len, ==, 100);
}

/* A front end must not hide the error of a read */
static void test_errno(void)
{
    g_auto(CharTestHost) host = { 0 };
    g_autoptr(LendingFe) fe = NULL;
    struct iovec iov[2];

    char_host_init(&host, "socket");
    fe = lending_new(host.chr);
    g_assert_cmpuint(qemu_chr_be_lend(host.chr, iov, 2), ==, 2);
    errno = EAGAIN;
    qemu_chr_be_give_back(host.chr, 0);
    g_assert_cmpint(errno, ==, EAGAIN);
}

/* File descriptors arrive with bytes that were read into a lent buffer */
static void test_fd_received(void)
{
    g_auto(CharTestHost) host = { 0 };
    g_autoptr(LendingFe) fe = NULL;
    char control[CMSG_SPACE(sizeof(int))] = "";
    struct iovec iov = { .iov_base = control, .iov_len = 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    int fd;

    char_host_init(&host, "socket");
    fe = lending_new(host.chr);
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(cmsg), &host.in, sizeof(int));
    g_assert_cmpint(sendmsg(host.out, &msg, 0), ==, 1);
    wait_until(fe->parent.got->len == 1);
    fd = qemu_chr_fe_get_msgfd(&fe->parent.chr);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
}

/* The next chardev borrows from the same front end */
static void test_change(void)
{
    g_auto(CharTestHost) host = { 0 };
    g_auto(CharTestHost) next = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autofree char *path = NULL;
    g_autofree char *in = NULL;
    g_autofree char *out = NULL;
    g_autoptr(LendingFe) fe = NULL;
    ChardevHostdev pipe = { 0 };
    ChardevBackend backend = {
        .type = CHARDEV_BACKEND_KIND_PIPE, .u.pipe.data = &pipe,
    };

    char_host_init(&host, "socket");
    next.dir = g_dir_make_tmp("test-char-XXXXXX", NULL);
    path = g_build_filename(next.dir, "p", NULL);
    in = g_strdup_printf("%s.in", path);
    out = g_strdup_printf("%s.out", path);
    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    pipe.device = path;

    fe = lending_new(host.chr);
    char_host_send(&host, &fe->parent, data, 50);
    qapi_free_ChardevReturn(qmp_chardev_change("chr", &backend, &error_abort));
    next.out = open(in, O_WRONLY | O_NONBLOCK);
    next.in = open(out, O_RDONLY | O_NONBLOCK);
    char_host_send(&next, &fe->parent, data + 50, 50);
    g_assert_cmpmem(fe->parent.got->data, fe->parent.got->len, data, 100);
    g_assert_cmpuint(fe->parent.nr_read, ==, 0);
}

int main(int argc, char **argv)
{
    char_test_init(&argc, &argv);

    g_test_add_data_func("/char-lend/socket", "socket", test_lend);
    g_test_add_data_func("/char-lend/pipe", "pipe", test_lend);
    g_test_add_data_func("/char-lend/pty", "pty", test_lend);
    g_test_add_data_func("/char-lend/mux", "mux", test_copied);
    g_test_add_func("/char-lend/nothing-lent", test_nothing_lent);
    g_test_add_data_func("/char-lend/no-lender/socket", "socket",
                         test_no_lender);
    g_test_add_data_func("/char-lend/no-lender/pipe", "pipe", test_no_lender);
    g_test_add_data_func("/char-lend/no-lender/pty", "pty", test_no_lender);
    g_test_add_func("/char-lend/no-handlers", test_no_handlers);
    g_test_add_data_func("/char-lend/eof/socket", "socket", test_eof);
    g_test_add_data_func("/char-lend/eof/pty", "pty", test_eof);
    g_test_add_func("/char-lend/errno", test_errno);
    g_test_add_func("/char-lend/fd", test_fd_received);
    g_test_add_func("/char-lend/change", test_change);
    return g_test_run();
}
