/*
 * Unit tests of chardev: writes of several buffers
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <netinet/in.h>
#include <glib/gstdio.h>
#include "qapi/error.h"
#include "crypto/tlscredspsk.h"
#include "io/channel-socket.h"
#include "io/channel-tls.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "char-helpers.h"

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
static char *read_log(CharTestHost *host, const char *name, gsize *len)
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
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(1000 * 1000);
    g_autofree uint8_t *got = g_malloc(1000 * 1000);
    struct iovec iov[200], before[200];
    size_t sent = 0, received = 0;
    bool cut_short = false, full = false;
    g_autoptr(CharTestFe) fe = NULL;

    char_host_init(&host, opaque);
    fe = char_fe_new(host.chr);
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
            received = char_host_receive(&host, got, received, 1000 * 1000);
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
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(1000 * 1000);
    g_autofree char *log = NULL;
    struct iovec iov[200], rest[200];
    size_t given = 0, len;
    bool cut_short = false, full = false;
    g_autoptr(CharTestFe) fe = NULL;
    unsigned int count;
    ssize_t ret;

    char_host_init(&host, opaque);
    fe = char_fe_new(host.chr);
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
    char_host_close(&host);
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
    g_auto(CharTestHost) host = { 0 };
    g_autofree char *log = NULL;
    g_autoptr(CharTestFe) fe = NULL;
    gsize len;

    char_host_init(&host, opaque);
    fe = char_fe_new(host.chr);
    fe->drops = true;
    wait_until(fe->open);
    char_host_close(&host);
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
    g_autoptr(CharTestFe) fe = NULL;
    int fds[2][2], i;

    for (i = 0; i < 2; i++) {
        g_autofree char *options = NULL;

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]), ==, 0);
        options = g_strdup_printf("socket,id=end%d,fd=%d", i, fds[i][1]);
        new_chardev(options);
    }
    fe = char_fe_new(new_chardev("hub,id=hub,chardevs.0=end0,chardevs.1=end1"));
    settle();
    close(fds[0][0]);
    for (i = 0; i < 2; i++) {
        g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 2), ==, 1000);
        g_assert_cmpint(read(fds[1][0], got, 1000), ==, 1000);
        g_assert_cmpmem(got, 1000, data, 1000);
        settle();
    }
    close(fds[1][0]);
    g_clear_pointer(&fe, char_fe_free);
    object_unparent(OBJECT(qemu_chr_find("end0")));
    object_unparent(OBJECT(qemu_chr_find("end1")));
}

static void test_writev_nothing(void)
{
    g_auto(CharTestHost) host = { 0 };
    CharFrontend nobody = { 0 };
    g_autoptr(CharTestFe) fe = NULL;
    struct iovec iov[] = { { (void *)"", 0 }, { (void *)"", 0 } };
    char c;

    char_host_init(&host, "socket");
    fe = char_fe_new(host.chr);
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
    g_autofree char *dir = g_dir_make_tmp("test-char-XXXXXX", NULL);
    g_autofree char *keys = g_build_filename(dir, "keys.psk", NULL);
    g_autofree char *data = g_strnfill(50 * 1000, 'a');
    struct iovec iov = { data, 50 * 1000 }, other = { (void *)"x", 1 };
    struct sockaddr_in addr = { .sin_family = AF_INET };
    Object *client, *server;
    QIOChannelSocket *sioc;
    QIOChannelTLS *ioc;
    bool done = false;
    int fd = socket(AF_INET, SOCK_STREAM, 0), i;
    g_autoptr(CharTestFe) fe = NULL;
    g_autofree char *name = NULL;
    ssize_t ret;

    g_assert_true(g_file_set_contents(keys, "qemu:00112233445566778899aabb\n",
                                      -1, NULL));
    client = new_creds("client", dir, "client");
    server = new_creds("server", dir, "server");
    fe = char_fe_new(new_chardev("socket,id=chr,host=127.0.0.1,port=0,"
                                 "server=on,wait=off,tls-creds=server"));
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
    g_clear_pointer(&fe, char_fe_free);
    object_unparent(client);
    object_unparent(server);
    g_unlink(keys);
    g_rmdir(dir);
}
#endif

/* If each write is a message, each buffer is a write */
static void test_writev_messages(void)
{
    g_auto(CharTestHost) host = { 0 };
    g_autoptr(CharTestFe) fe = NULL;
    struct iovec iov[] = {
        { (void *)"a", 1 }, { (void *)"", 0 }, { (void *)"bc", 2 },
    };
    char got[4];

    char_host_init(&host, "seqpacket");
    fe = char_fe_new(host.chr);
    g_assert_cmpint(qemu_chr_fe_writev(&fe->chr, iov, 3), ==, 3);
    g_assert_cmpint(read(host.in, got, 4), ==, 1);
    g_assert_cmpint(read(host.in, got, 4), ==, 2);
    g_assert_cmpint(read(host.in, got, 4), ==, -1);
}

/* The host has gone: the front end gets an error and an event */
static void test_writev_gone(void)
{
    g_auto(CharTestHost) host = { 0 };
    g_autoptr(CharTestFe) fe = NULL;
    struct iovec iov[] = { { (void *)"ab", 2 }, { (void *)"c", 1 } };

    char_host_init(&host, "socket");
    fe = char_fe_new(host.chr);
    char_host_close(&host);
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
    g_autoptr(CharTestFe) fe = char_fe_new(chr);

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
    g_auto(CharTestHost) host = { 0 };
    g_autoptr(CharTestFe) fe = NULL;
    struct iovec iov[] = { { (void *)"a", 1 }, { (void *)"b", 1 } };
    char control[CMSG_SPACE(2 * sizeof(int))], bytes[4];
    struct iovec in = { .iov_base = bytes, .iov_len = 4 };
    struct msghdr msg = { .msg_iov = &in, .msg_iovlen = 1 };
    int fd = dup(0), got, i;

    char_host_init(&host, "socket");
    fe = char_fe_new(host.chr);
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
    g_auto(CharTestHost) host = { 0 };
    g_autofree uint8_t *data = make_data(1000 * 1000);
    g_autoptr(CharTestFe) fe = NULL;
    struct iovec iov = { data, 1000 * 1000 };
    unsigned int calls = 0;
    guint watch;

    char_host_init(&host, "socket");
    fe = char_fe_new(host.chr);
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
    char_host_receive(&host, data, 0, 1000 * 1000);
    wait_until(calls);
    char_fe_set_handlers(fe);
    settle();
    g_assert_cmpuint(calls, ==, 1);

    /* A watch that is removed is not called */
    while (qemu_chr_fe_writev(&fe->chr, &iov, 1) > 0) {
        continue;
    }
    watch = qemu_chr_fe_add_watch(&fe->chr, G_IO_OUT | G_IO_HUP, count_call,
                                  &calls);
    g_source_remove(watch);
    char_host_receive(&host, data, 0, 1000 * 1000);
    settle();
    g_assert_cmpuint(calls, ==, 1);
}

int main(int argc, char **argv)
{
    char_test_init(&argc, &argv);
    type_register_static(&short_info);

    g_test_add_data_func("/char-writev/socket", "socket", test_writev);
    g_test_add_data_func("/char-writev/pipe", "pipe", test_writev);
    g_test_add_data_func("/char-writev/pty", "pty", test_writev);
    g_test_add_data_func("/char-writev/mux", "mux", test_writev);
    g_test_add_data_func("/char-writev/log", "log", test_writev);
    g_test_add_data_func("/char-writev/drop/log", "log", test_drop);
    g_test_add_data_func("/char-writev/drop/mux", "mux", test_drop);
    g_test_add_data_func("/char-writev/drop/hub", "hub", test_drop);
    g_test_add_data_func("/char-writev/drop/closed/log", "log",
                         test_drop_closed);
    g_test_add_data_func("/char-writev/drop/closed/mux", "mux",
                         test_drop_closed);
    g_test_add_func("/char-writev/drop/hub-gone", test_hub_gone);
#ifdef CONFIG_GNUTLS
    g_test_add_func("/char-writev/drop/tls", test_drop_tls);
#endif
    g_test_add_func("/char-writev/short", test_writev_short);
    g_test_add_func("/char-writev/nothing", test_writev_nothing);
    g_test_add_func("/char-writev/messages", test_writev_messages);
    g_test_add_func("/char-writev/gone", test_writev_gone);
    g_test_add_func("/char-writev/fd", test_fd_sent);
    g_test_add_func("/char-writev/watch", test_watch);
    return g_test_run();
}
