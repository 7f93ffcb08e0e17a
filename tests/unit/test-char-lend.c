/*
 * Unit tests of chardev: several buffers at a time, and buffers of the front
 * end's
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include <netinet/in.h>
#include <termios.h>
#include <glib/gstdio.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-char.h"
#include "crypto/tlscredspsk.h"
#include "io/channel-socket.h"
#include "io/channel-tls.h"
#include "qemu/config-file.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "chardev/char-fe.h"
#include "system/system.h"

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
typedef CharBackend CharFrontend;
#endif

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MICRO < 50
static char *qemu_chr_get_filename(Chardev *chr)
{
    return g_strdup(chr->filename);
}
#endif

/* The bytes of memory that nobody has written */
#define UNWRITTEN   0xa5

#define TIMEOUT_US  (30 * 1000 * 1000)

/* The buffers that the front end lends */
static const size_t sizes[] = { 1, 2, 700, 1, 4096, 64 * 1024 };

typedef struct Fe {
    CharFrontend chr;
    uint8_t *lent[ARRAY_SIZE(sizes)];
    size_t nr_sizes;        /* how many buffers the front end has */
    size_t nr_out;          /* and how many have not come back */
    unsigned int nr_lent, nr_read; /* calls */
    GByteArray *got;
    bool open;
    bool drops;             /* send a byte when the host has gone */
    QEMUChrEvent last;
} Fe;

static int fe_can_read(void *opaque)
{
    return 4096;
}

static void fe_read(void *opaque, const uint8_t *buf, int size)
{
    Fe *fe = opaque;

    fe->nr_read++;
    g_assert_cmpuint(fe->nr_out, ==, 0);
    g_byte_array_append(fe->got, buf, size);
}

static void fe_event(void *opaque, QEMUChrEvent event)
{
    Fe *fe = opaque;

    g_assert_cmpuint(fe->nr_out, ==, 0);
    fe->last = event;
    if (event == CHR_EVENT_OPENED || event == CHR_EVENT_CLOSED) {
        fe->open = event == CHR_EVENT_OPENED;
    }
    if (event == CHR_EVENT_CLOSED && fe->drops) {
        qemu_chr_fe_drop(&fe->chr, &(struct iovec) { (void *)"x", 1 }, 1);
    }
}

static int fe_be_change(void *opaque)
{
    Fe *fe = opaque;

    qemu_chr_fe_set_handlers(&fe->chr, fe_can_read, fe_read, fe_event,
                             fe_be_change, fe, NULL, true);
    return 0;
}

static size_t fe_lend(void *opaque, struct iovec *iov, size_t max)
{
    Fe *fe = opaque;
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
static void fe_give_back(void *opaque, size_t size)
{
    Fe *fe = opaque;
    size_t i, j, len;

    g_assert_cmpuint(fe->nr_out, >, 0);
    for (i = 0; i < fe->nr_out; i++) {
        len = MIN(size, sizes[i]);
        g_byte_array_append(fe->got, fe->lent[i], len);
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
    .lend = fe_lend,
    .give_back = fe_give_back,
};

/* Connect a front end to @chr; it lends all its buffers */
static Fe *fe_new(Chardev *chr)
{
    Fe *fe = g_new0(Fe, 1);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        fe->lent[i] = g_malloc(sizes[i]);
    }
    fe->nr_sizes = ARRAY_SIZE(sizes);
    fe->got = g_byte_array_new();
    qemu_chr_fe_init(&fe->chr, chr, &error_abort);
    qemu_chr_fe_set_lender(&fe->chr, &lender);
    fe_be_change(fe);
    return fe;
}

static void fe_free(Fe *fe)
{
    size_t i;

    g_assert_cmpuint(fe->nr_out, ==, 0);
    qemu_chr_fe_deinit(&fe->chr, true);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        g_free(fe->lent[i]);
    }
    g_byte_array_unref(fe->got);
    g_free(fe);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Fe, fe_free)

/* Let QEMU work until @condition */
#define wait_until(condition)                                               \
    do {                                                                    \
        gint64 start = g_get_monotonic_time();                              \
                                                                            \
        while (!(condition)) {                                              \
            g_assert_cmpint(g_get_monotonic_time() - start, <, TIMEOUT_US); \
            main_loop_wait(true);                                           \
        }                                                                   \
    } while (0)

/* Let QEMU do all that it has to do now */
static void settle(void)
{
    int i;

    for (i = 0; i < 10; i++) {
        main_loop_wait(true);
    }
}

/*
 * Chardevs
 */

typedef struct Host {
    char *dir;
    int in, out;            /* what QEMU writes is read from @in */
    Chardev *chr;
} Host;

static void make_nonblocking(int fd)
{
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
}

static Chardev *new_chardev(const char *options)
{
    QemuOpts *opts = qemu_opts_parse_noisily(qemu_find_opts("chardev"),
                                             options, true);
    Chardev *chr;

    g_assert_nonnull(opts);
    chr = qemu_chr_new_from_opts(opts, NULL, &error_abort);
    qemu_opts_del(opts);
    return chr;
}

/* "mux", "hub" and "log" are a socket with a layer on it */
static void host_init(Host *host, const char *type)
{
    int sock_type = g_str_equal(type, "seqpacket") ? SOCK_SEQPACKET
                                                   : SOCK_STREAM;
    g_autofree char *options = NULL;
    g_autofree char *to_host = NULL;
    g_autofree char *to_guest = NULL;
    int fds[2];

    host->dir = g_dir_make_tmp("test-char-lend-XXXXXX", NULL);
    g_assert_nonnull(host->dir);
    to_host = g_strdup_printf("%s/p.out", host->dir);
    to_guest = g_strdup_printf("%s/p.in", host->dir);
    if (g_str_equal(type, "pty")) {
        options = g_strdup("pty,id=chr");
    } else if (g_str_equal(type, "pipe")) {
        g_assert_cmpint(mkfifo(to_host, 0600), ==, 0);
        g_assert_cmpint(mkfifo(to_guest, 0600), ==, 0);
        options = g_strdup_printf("pipe,id=chr,path=%s/p", host->dir);
    } else {
        g_assert_cmpint(socketpair(AF_UNIX, sock_type, 0, fds), ==, 0);
        host->in = host->out = fds[0];
        options = g_strdup_printf("socket,id=chr%s,fd=%d%s%s%s",
                                  g_str_equal(type, "hub") ? "-base" : "",
                                  fds[1],
                                  g_str_equal(type, "mux") ? ",mux=on" : "",
                                  g_str_equal(type, "socket") ? "" :
                                  ",logfile=",
                                  g_str_equal(type, "socket") ? "" : to_host);
    }
    host->chr = new_chardev(options);
    if (g_str_equal(type, "hub")) {
        host->chr = new_chardev("hub,id=chr,chardevs.0=chr-base");
    }

    if (g_str_equal(type, "pty")) {
        struct termios tty;
        g_autofree char *name = qemu_chr_get_filename(host->chr);

        host->in = open(name + strlen("pty:"), O_RDWR | O_NOCTTY);
        host->out = host->in;
        g_assert_cmpint(tcgetattr(host->in, &tty), ==, 0);
        cfmakeraw(&tty);
        g_assert_cmpint(tcsetattr(host->in, TCSANOW, &tty), ==, 0);
    } else if (g_str_equal(type, "pipe")) {
        host->in = open(to_host, O_RDONLY | O_NONBLOCK);
        host->out = open(to_guest, O_WRONLY | O_NONBLOCK);
    }
    make_nonblocking(host->in);
    make_nonblocking(host->out);
}

static void host_close(Host *host)
{
    if (host->out != host->in) {
        close(host->out);
    }
    if (host->in >= 0) {
        close(host->in);
    }
    host->in = host->out = -1;
}

static void host_cleanup(Host *host)
{
    static const char *const names[] = { "p.in", "p.out" };
    Chardev *base = qemu_chr_find("chr-base");
    int i;

    /* The chardev below a mux stays when the mux goes */
    if (base) {
        object_unparent(OBJECT(base));
    }
    host_close(host);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = g_build_filename(host->dir, names[i], NULL);

        g_unlink(path);
    }
    g_rmdir(host->dir);
    g_free(host->dir);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Host, host_cleanup)

/* @len bytes; each pair of bytes comes once in 64 KiB */
static uint8_t *make_data(size_t len)
{
    uint8_t *data = g_malloc(len);
    size_t i;

    for (i = 0; i < len; i++) {
        data[i] = i & 1 ? i >> 9 : i >> 1;
    }
    return data;
}

/* Have the host write @data while QEMU reads it */
static void host_send(Host *host, Fe *fe, const uint8_t *data, size_t len)
{
    gint64 start = g_get_monotonic_time();
    size_t sent = 0, had = fe->got->len;

    while (fe->got->len < had + len) {
        ssize_t ret = sent < len ? write(host->out, data + sent, len - sent)
                                 : 0;

        sent += MAX(ret, 0);
        main_loop_wait(true);
        g_assert_cmpint(g_get_monotonic_time() - start, <, TIMEOUT_US);
    }
}

/* Read what is there into @data, behind its @len bytes */
static size_t host_receive(Host *host, uint8_t *data, size_t len, size_t size)
{
    ssize_t ret;

    while (len < size && (ret = read(host->in, data + len, size - len)) > 0) {
        len += ret;
    }
    return len;
}

/*
 * Lending
 */

#define SIZE    (150 * 1000)

/* @opaque: the type of a chardev that reads into the front end's buffers */
static void test_lend(const void *opaque)
{
    g_auto(Host) host = { 0 };
    g_autofree uint8_t *data = make_data(SIZE);
    g_autoptr(Fe) fe = NULL;

    host_init(&host, opaque);
    fe = fe_new(host.chr);
    wait_until(fe->open);
    host_send(&host, fe, data, 1);
    g_assert_cmpuint(fe->nr_lent, ==, 1);
    host_send(&host, fe, data + 1, SIZE - 1);
    g_assert_cmpmem(fe->got->data, fe->got->len, data, SIZE);
    g_assert_cmpuint(fe->nr_read, ==, 0);
}

/* @opaque: the type of a chardev that can't */
static void test_copied(const void *opaque)
{
    g_auto(Host) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(Fe) fe = NULL;

    /* A mux would take Ctrl-A for itself */
    memset(data, 'x', 10);
    host_init(&host, opaque);
    fe = fe_new(host.chr);
    wait_until(fe->open);
    host_send(&host, fe, data, 100);
    g_assert_cmpmem(fe->got->data, fe->got->len, data, 100);
    g_assert_cmpuint(fe->nr_lent, ==, 0);
}

/* A lender without buffers, and no lender */
static void test_nothing_lent(void)
{
    g_auto(Host) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(Fe) fe = NULL;

    host_init(&host, "socket");
    fe = fe_new(host.chr);
    fe->nr_sizes = 0;
    host_send(&host, fe, data, 50);
    g_assert_cmpuint(fe->nr_lent, >, 0);
    g_assert_cmpuint(fe->nr_read, >, 0);

    fe->nr_lent = 0;
    qemu_chr_fe_set_lender(&fe->chr, NULL);
    host_send(&host, fe, data + 50, 50);
    g_assert_cmpuint(fe->nr_lent, ==, 0);
    g_assert_cmpmem(fe->got->data, fe->got->len, data, 100);
}

/* Without handlers nothing is lent */
static void test_no_handlers(void)
{
    g_auto(Host) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(Fe) fe = NULL;
    struct iovec iov[1];

    host_init(&host, "socket");
    fe = fe_new(host.chr);
    qemu_chr_fe_set_handlers(&fe->chr, NULL, NULL, NULL, NULL, NULL, NULL,
                             true);
    g_assert_cmpint(write(host.out, data, 50), ==, 50);
    settle();
    g_assert_cmpuint(qemu_chr_be_lend(host.chr, iov, 1), ==, 0);
    g_assert_cmpuint(fe->nr_lent, ==, 0);
    fe_be_change(fe);
    host_send(&host, fe, data + 50, 50);
    wait_until(fe->got->len == 100);
    g_assert_cmpmem(fe->got->data, fe->got->len, data, 100);
}

/* When the host goes, lent buffers come back first, empty */
static void test_eof(const void *opaque)
{
    g_auto(Host) host = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autoptr(Fe) fe = NULL;

    host_init(&host, opaque);
    fe = fe_new(host.chr);
    wait_until(fe->open);
    host_send(&host, fe, data, 100);
    host_close(&host);
    wait_until(!fe->open);
    g_assert_cmpint(fe->last, ==, CHR_EVENT_CLOSED);
    g_assert_cmpuint(fe->nr_out, ==, 0);
    g_assert_cmpuint(fe->got->len, ==, 100);
}

/* A front end must not hide the error of a read */
static void test_errno(void)
{
    g_auto(Host) host = { 0 };
    g_autoptr(Fe) fe = NULL;
    struct iovec iov[2];

    host_init(&host, "socket");
    fe = fe_new(host.chr);
    g_assert_cmpuint(qemu_chr_be_lend(host.chr, iov, 2), ==, 2);
    errno = EAGAIN;
    qemu_chr_be_give_back(host.chr, 0);
    g_assert_cmpint(errno, ==, EAGAIN);
}

/* File descriptors arrive with bytes that were read into a lent buffer */
static void test_fd_received(void)
{
    g_auto(Host) host = { 0 };
    g_autoptr(Fe) fe = NULL;
    char control[CMSG_SPACE(sizeof(int))] = "";
    struct iovec iov = { .iov_base = control, .iov_len = 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    int fd;

    host_init(&host, "socket");
    fe = fe_new(host.chr);
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(cmsg), &host.in, sizeof(int));
    g_assert_cmpint(sendmsg(host.out, &msg, 0), ==, 1);
    wait_until(fe->got->len == 1);
    fd = qemu_chr_fe_get_msgfd(&fe->chr);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
}

/* The next chardev borrows from the same front end */
static void test_change(void)
{
    g_auto(Host) host = { 0 };
    g_auto(Host) next = { 0 };
    g_autofree uint8_t *data = make_data(100);
    g_autofree char *path = NULL;
    g_autofree char *in = NULL;
    g_autofree char *out = NULL;
    g_autoptr(Fe) fe = NULL;
    ChardevHostdev pipe = { 0 };
    ChardevBackend backend = {
        .type = CHARDEV_BACKEND_KIND_PIPE, .u.pipe.data = &pipe,
    };

    host_init(&host, "socket");
    next.dir = g_dir_make_tmp("test-char-lend-XXXXXX", NULL);
    path = g_build_filename(next.dir, "p", NULL);
    in = g_strdup_printf("%s.in", path);
    out = g_strdup_printf("%s.out", path);
    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    pipe.device = path;

    fe = fe_new(host.chr);
    host_send(&host, fe, data, 50);
    qapi_free_ChardevReturn(qmp_chardev_change("chr", &backend, &error_abort));
    next.out = open(in, O_WRONLY | O_NONBLOCK);
    next.in = open(out, O_RDONLY | O_NONBLOCK);
    host_send(&next, fe, data + 50, 50);
    g_assert_cmpmem(fe->got->data, fe->got->len, data, 100);
    g_assert_cmpuint(fe->nr_read, ==, 0);
}

/*
 * Writing
 */

/* Cut @data into @count buffers; some buffers are empty */
static void cut(struct iovec *iov, size_t count, uint8_t *data, size_t size)
{
    size_t i, len;

    for (i = 0; i < count; i++) {
        len = i == count - 1 ? size : i % 3 ? MIN(size, i * 5) : 0;
        iov[i] = (struct iovec) { data, len };
        data += len;
        size -= len;
    }
}

/* Returns: the contents of the log file; g_free() them */
static char *read_log(Host *host, const char *name, gsize *len)
{
    g_autofree char *path = g_build_filename(host->dir, name, NULL);
    char *log;

    g_assert_true(g_file_get_contents(path, &log, len, NULL));
    return log;
}

/*
 * The host reads only when the chardev takes no more. The iovec does not
 * change. @opaque: the chardev's type
 */
static void test_writev(const void *opaque)
{
    g_auto(Host) host = { 0 };
    g_autofree uint8_t *data = make_data(1000 * 1000);
    g_autofree uint8_t *got = g_malloc(1000 * 1000);
    struct iovec iov[200], before[200];
    size_t sent = 0, received = 0;
    bool cut_short = false, full = false;
    g_autoptr(Fe) fe = NULL;

    host_init(&host, opaque);
    fe = fe_new(host.chr);
    wait_until(fe->open);
    while (received < 1000 * 1000) {
        size_t left = 1000 * 1000 - sent;
        ssize_t ret;

        cut(iov, ARRAY_SIZE(iov), data + sent, left);
        memcpy(before, iov, sizeof(iov));
        errno = 0;
        ret = left ? qemu_chr_fe_writev(&fe->chr, iov, ARRAY_SIZE(iov)) : 0;
        g_assert_cmpmem(iov, sizeof(iov), before, sizeof(iov));
        if (ret < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            full = true;
        } else {
            g_assert_cmpuint(ret, <=, left);
            cut_short |= ret > 0 && ret < left;
            sent += ret;
        }
        if (ret <= 0) {
            received = host_receive(&host, got, received, 1000 * 1000);
        }
    }
    g_assert_true(cut_short);
    g_assert_true(full);
    g_assert_cmpmem(got, received, data, 1000 * 1000);

    if (g_str_equal(opaque, "log")) {
        gsize len;
        g_autofree char *log = read_log(&host, "p.out", &len);

        g_assert_cmpmem(log, len, data, 1000 * 1000);
    }
}

/*
 * A front end drops refused bytes, also of a part of a buffer, and all bytes
 * are in the log. @opaque: the chardev's type
 */
static void test_drop(const void *opaque)
{
    g_auto(Host) host = { 0 };
    g_autofree uint8_t *data = make_data(1000 * 1000);
    g_autofree char *log = NULL;
    struct iovec iov[200], rest[200];
    size_t given = 0, len;
    bool cut_short = false, full = false;
    g_autoptr(Fe) fe = NULL;
    unsigned int count;
    ssize_t ret;

    host_init(&host, opaque);
    fe = fe_new(host.chr);
    settle();
    while (given < 1000 * 1000) {
        len = MIN(50 * 1000, 1000 * 1000 - given);
        cut(iov, ARRAY_SIZE(iov), data + given, len);
        ret = qemu_chr_fe_writev(&fe->chr, iov, ARRAY_SIZE(iov));
        cut_short |= ret > 0 && ret < len;
        full |= ret < 0;
        ret = MAX(ret, 0);
        count = iov_copy(rest, ARRAY_SIZE(rest), iov, ARRAY_SIZE(iov), ret,
                         len - ret);
        qemu_chr_fe_drop(&fe->chr, rest, count);
        given += len;
    }
    g_assert_true(cut_short);
    g_assert_true(full);
    host_close(&host);
    settle();
    iov[0] = (struct iovec) { (void *)"x", 1 };
    ret = qemu_chr_fe_writev(&fe->chr, iov, 1);
    if (ret < 0) {
        qemu_chr_fe_drop(&fe->chr, iov, 1);
    }
    log = read_log(&host, "p.out", &len);
    /* A hub writes to no absent client */
    g_assert_cmpuint(len, ==, 1000 * 1000 + (ret < 0));
    g_assert_cmpmem(log, 1000 * 1000, data, 1000 * 1000);
}

/* A front end gives up when it hears that the host has gone */
static void test_drop_closed(const void *opaque)
{
    g_auto(Host) host = { 0 };
    g_autofree char *log = NULL;
    g_autoptr(Fe) fe = NULL;
    gsize len;

    host_init(&host, opaque);
    fe = fe_new(host.chr);
    fe->drops = true;
    wait_until(fe->open);
    host_close(&host);
    wait_until(!fe->open);
    log = read_log(&host, "p.out", &len);
    g_assert_cmpmem(log, len, "x", 1);
}

/* A client that has gone, unnoticed, does not hold up the other clients */
static void test_hub_gone(void)
{
    g_autofree uint8_t *data = make_data(1000);
    uint8_t got[1000];
    struct iovec iov[] = { { data, 600 }, { data + 600, 400 } };
    g_autoptr(Fe) fe = NULL;
    int fds[2][2], i;

    for (i = 0; i < 2; i++) {
        g_autofree char *options = NULL;

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]), ==, 0);
        options = g_strdup_printf("socket,id=end%d,fd=%d", i, fds[i][1]);
        new_chardev(options);
    }
    fe = fe_new(new_chardev("hub,id=hub,chardevs.0=end0,chardevs.1=end1"));
    settle();
    close(fds[0][0]);
    for (i = 0; i < 2; i++) {
        g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 2), ==, 1000);
        g_assert_cmpint(read(fds[1][0], got, 1000), ==, 1000);
        g_assert_cmpmem(got, 1000, data, 1000);
        settle();
    }
    close(fds[1][0]);
    g_clear_pointer(&fe, fe_free);
    object_unparent(OBJECT(qemu_chr_find("end0")));
    object_unparent(OBJECT(qemu_chr_find("end1")));
}

static void test_writev_nothing(void)
{
    g_auto(Host) host = { 0 };
    CharFrontend nobody = { 0 };
    g_autoptr(Fe) fe = NULL;
    struct iovec iov[] = { { (void *)"", 0 }, { (void *)"", 0 } };
    char c;

    host_init(&host, "socket");
    fe = fe_new(host.chr);
    g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 0), ==, 0);
    g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 2), ==, 0);
    g_assert_cmpint(read(host.in, &c, 1), ==, -1);
    iov[0].iov_len = 1;
    g_assert_cmpint(qemu_chr_fe_writev(&nobody, iov, 1), ==, 0);
}

#ifdef CONFIG_GNUTLS
static Object *new_creds(const char *id, const char *dir, const char *endpoint)
{
    return object_new_with_props(TYPE_QCRYPTO_TLS_CREDS_PSK,
                                 object_get_objects_root(), id, &error_abort,
                                 "dir", dir, "endpoint", endpoint, NULL);
}

static void handshake_done(QIOTask *task, gpointer opaque)
{
    g_assert_false(qio_task_propagate_error(task, NULL));
    *(bool *)opaque = true;
}

/* Read all that arrives at @ioc. Returns: the last byte */
static char receive_tls(QIOChannelTLS *ioc)
{
    char buf[4096], last = 0;
    ssize_t len;

    do {
        main_loop_wait(true);
        len = qio_channel_read(QIO_CHANNEL(ioc), buf, sizeof(buf), NULL);
        last = len > 0 ? buf[len - 1] : last;
    } while (len > 0);
    g_assert_cmpint(len, ==, QIO_CHANNEL_ERR_BLOCK);
    return last;
}

/*
 * The TLS library takes a record even if the socket does not, and the next
 * write reports its length. If the front end has given the record up, the next
 * write has other bytes, and they have to arrive.
 */
static void test_drop_tls(void)
{
    g_autofree char *dir = g_dir_make_tmp("test-char-lend-XXXXXX", NULL);
    g_autofree char *keys = g_build_filename(dir, "keys.psk", NULL);
    g_autofree char *data = g_strnfill(50 * 1000, 'a');
    struct iovec iov = { data, 50 * 1000 }, other = { (void *)"x", 1 };
    struct sockaddr_in addr = { .sin_family = AF_INET };
    Object *client, *server;
    QIOChannelSocket *sioc;
    QIOChannelTLS *ioc;
    bool done = false;
    int fd = socket(AF_INET, SOCK_STREAM, 0), i;
    g_autoptr(Fe) fe = NULL;
    g_autofree char *name = NULL;
    ssize_t ret;

    g_assert_true(g_file_set_contents(keys, "qemu:00112233445566778899aabb\n",
                                      -1, NULL));
    client = new_creds("client", dir, "client");
    server = new_creds("server", dir, "server");
    fe = fe_new(new_chardev("socket,id=chr,host=127.0.0.1,port=0,server=on,"
                            "wait=off,tls-creds=server"));
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    name = qemu_chr_get_filename(fe->chr.chr);
    addr.sin_port = htons(atoi(strstr(name, "127.0.0.1:") +
                               strlen("127.0.0.1:")));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    make_nonblocking(fd);
    sioc = qio_channel_socket_new_fd(fd, &error_abort);
    ioc = qio_channel_tls_new_client(QIO_CHANNEL(sioc),
                                     QCRYPTO_TLS_CREDS(client), NULL,
                                     &error_abort);
    qio_channel_tls_handshake(ioc, handshake_done, &done, NULL, NULL);
    wait_until(done && fe->open);

    for (i = 0; i < 3; i++) {
        do {
            ret = qemu_chr_fe_writev(&fe->chr, &iov, 1);
        } while (ret > 0);
        qemu_chr_fe_drop(&fe->chr, &iov, 1);
        /* There is room as soon as something was read */
        wait_until((receive_tls(ioc),
                    qemu_chr_fe_writev(&fe->chr, &other, 1)) == 1);
        wait_until(receive_tls(ioc) == 'x');
    }

    object_unref(OBJECT(ioc));
    object_unref(OBJECT(sioc));
    g_clear_pointer(&fe, fe_free);
    object_unparent(client);
    object_unparent(server);
    g_unlink(keys);
    g_rmdir(dir);
}
#endif

/* If each write is a message, each buffer is a write */
static void test_writev_messages(void)
{
    g_auto(Host) host = { 0 };
    g_autoptr(Fe) fe = NULL;
    struct iovec iov[] = {
        { (void *)"a", 1 }, { (void *)"", 0 }, { (void *)"bc", 2 },
    };
    char got[4];

    host_init(&host, "seqpacket");
    fe = fe_new(host.chr);
    g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 3), ==, 3);
    g_assert_cmpint(read(host.in, got, 4), ==, 1);
    g_assert_cmpint(read(host.in, got, 4), ==, 2);
    g_assert_cmpint(read(host.in, got, 4), ==, -1);
}

/* The host has gone: the front end gets an error and an event */
static void test_writev_gone(void)
{
    g_auto(Host) host = { 0 };
    g_autoptr(Fe) fe = NULL;
    struct iovec iov[] = { { (void *)"ab", 2 }, { (void *)"c", 1 } };

    host_init(&host, "socket");
    fe = fe_new(host.chr);
    host_close(&host);
    g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 2), ==, -1);
    g_assert_cmpint(errno, !=, EAGAIN);
    wait_until(!fe->open);
    g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 2), ==, -1);
    g_assert_cmpint(errno, ==, EIO);
}

/* A chardev that takes three bytes at a time, one buffer, and five in all */
#define TYPE_CHARDEV_SHORT  "chardev-short"

static GByteArray *taken;
static unsigned int refused;

static int short_write(Chardev *chr, const uint8_t *buf, int len)
{
    len = MIN(MIN(len, 3), 5 - taken->len);
    if (!len) {
        refused++;
        errno = EAGAIN;
        return -1;
    }
    g_byte_array_append(taken, buf, len);
    return len;
}

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
static void short_class_init(ObjectClass *klass, void *data)
#else
static void short_class_init(ObjectClass *klass, const void *data)
#endif
{
    CHARDEV_CLASS(klass)->chr_write = short_write;
}

static const TypeInfo short_info = {
    .name = TYPE_CHARDEV_SHORT,
    .parent = TYPE_CHARDEV,
    .class_init = short_class_init,
};

/* All bytes go that fit, and a chardev without room has said so itself */
static void test_writev_short(void)
{
    Chardev *chr = qemu_chardev_new("chr", TYPE_CHARDEV_SHORT, NULL, NULL,
                                    &error_abort);
    struct iovec iov[] = {
        { (void *)"", 0 }, { (void *)"abcd", 4 }, { (void *)"", 0 },
        { (void *)"efg", 3 }, { (void *)"h", 1 },
    };
    g_autoptr(Fe) fe = fe_new(chr);

    taken = g_byte_array_new();
    refused = 0;
    g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 5), ==, 5);
    g_assert_cmpmem(taken->data, taken->len, "abcde", 5);
    g_assert_cmpuint(refused, ==, 1);
    errno = 0;
    g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 5), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
    g_byte_array_unref(taken);
}

/* File descriptors are sent once, with the first bytes */
static void test_fd_sent(void)
{
    g_auto(Host) host = { 0 };
    g_autoptr(Fe) fe = NULL;
    struct iovec iov[] = { { (void *)"a", 1 }, { (void *)"b", 1 } };
    char control[CMSG_SPACE(2 * sizeof(int))], bytes[4];
    struct iovec in = { .iov_base = bytes, .iov_len = 4 };
    struct msghdr msg = { .msg_iov = &in, .msg_iovlen = 1 };
    int fd = dup(0), got, i;

    host_init(&host, "socket");
    fe = fe_new(host.chr);
    g_assert_cmpint(qemu_chr_fe_set_msgfds(&fe->chr, &fd, 1), ==, 0);
    for (i = 0; i < 2; i++) {
        g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 2), ==, 2);
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        g_assert_cmpint(recvmsg(host.in, &msg, 0), ==, 2);
        g_assert_cmpint(!CMSG_FIRSTHDR(&msg), ==, i);
        if (!i) {
            memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(got));
            close(got);
        }
    }
    close(fd);
}

static gboolean count_call(void *do_not_use, GIOCondition condition,
                           void *opaque)
{
    (*(unsigned int *)opaque)++;
    return G_SOURCE_REMOVE;
}

/*
 * A front end that waits for room hears of the room once, even if its handlers
 * are absent meanwhile, as those of a device in a stopped machine are.
 */
static void test_watch(void)
{
    g_auto(Host) host = { 0 };
    g_autofree uint8_t *data = make_data(1000 * 1000);
    g_autoptr(Fe) fe = NULL;
    struct iovec iov = { data, 1000 * 1000 };
    unsigned int calls = 0;
    guint watch;

    host_init(&host, "socket");
    fe = fe_new(host.chr);
    while (qemu_chr_fe_writev(&fe->chr, &iov, 1) > 0) {
        continue;
    }
    watch = qemu_chr_fe_add_watch(&fe->chr, G_IO_OUT | G_IO_HUP, count_call,
                                  &calls);
    g_assert_cmpuint(watch, !=, 0);
    qemu_chr_fe_set_handlers(&fe->chr, NULL, NULL, NULL, NULL, NULL, NULL,
                             true);
    settle();
    g_assert_cmpuint(calls, ==, 0);
    host_receive(&host, data, 0, 1000 * 1000);
    wait_until(calls);
    fe_be_change(fe);
    settle();
    g_assert_cmpuint(calls, ==, 1);

    /* A watch that is removed is not called */
    while (qemu_chr_fe_writev(&fe->chr, &iov, 1) > 0) {
        continue;
    }
    watch = qemu_chr_fe_add_watch(&fe->chr, G_IO_OUT | G_IO_HUP, count_call,
                                  &calls);
    g_source_remove(watch);
    host_receive(&host, data, 0, 1000 * 1000);
    settle();
    g_assert_cmpuint(calls, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    qemu_init_main_loop(&error_abort);
    module_call_init(MODULE_INIT_QOM);
    qemu_add_opts(&qemu_chardev_opts);
    type_register_static(&short_info);

    g_test_add_data_func("/char-lend/read/socket", "socket", test_lend);
    g_test_add_data_func("/char-lend/read/pipe", "pipe", test_lend);
    g_test_add_data_func("/char-lend/read/pty", "pty", test_lend);
    g_test_add_data_func("/char-lend/read/mux", "mux", test_copied);
    g_test_add_func("/char-lend/read/nothing-lent", test_nothing_lent);
    g_test_add_func("/char-lend/read/no-handlers", test_no_handlers);
    g_test_add_data_func("/char-lend/read/eof/socket", "socket", test_eof);
    g_test_add_data_func("/char-lend/read/eof/pty", "pty", test_eof);
    g_test_add_func("/char-lend/read/errno", test_errno);
    g_test_add_func("/char-lend/read/fd", test_fd_received);
    g_test_add_func("/char-lend/read/change", test_change);
    g_test_add_data_func("/char-lend/write/socket", "socket", test_writev);
    g_test_add_data_func("/char-lend/write/pipe", "pipe", test_writev);
    g_test_add_data_func("/char-lend/write/pty", "pty", test_writev);
    g_test_add_data_func("/char-lend/write/mux", "mux", test_writev);
    g_test_add_data_func("/char-lend/write/log", "log", test_writev);
    g_test_add_data_func("/char-lend/drop/log", "log", test_drop);
    g_test_add_data_func("/char-lend/drop/mux", "mux", test_drop);
    g_test_add_data_func("/char-lend/drop/hub", "hub", test_drop);
    g_test_add_data_func("/char-lend/drop/closed/log", "log",
                         test_drop_closed);
    g_test_add_data_func("/char-lend/drop/closed/mux", "mux",
                         test_drop_closed);
    g_test_add_func("/char-lend/drop/hub-gone", test_hub_gone);
#ifdef CONFIG_GNUTLS
    g_test_add_func("/char-lend/drop/tls", test_drop_tls);
#endif
    g_test_add_func("/char-lend/write/short", test_writev_short);
    g_test_add_func("/char-lend/write/nothing", test_writev_nothing);
    g_test_add_func("/char-lend/write/messages", test_writev_messages);
    g_test_add_func("/char-lend/write/gone", test_writev_gone);
    g_test_add_func("/char-lend/write/fd", test_fd_sent);
    g_test_add_func("/char-lend/write/watch", test_watch);
    return g_test_run();
}
