/*
 * Helpers for unit tests of chardev
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <glib/gstdio.h>
#include "qapi/error.h"
#include "qemu/config-file.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "system/system.h"
#include "char-helpers.h"

void char_test_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    qemu_init_main_loop(&error_abort);
    module_call_init(MODULE_INIT_QOM);
    qemu_add_opts(&qemu_chardev_opts);
}

int char_fe_can_read(void *opaque)
{
    return 4096;
}

void char_fe_read(void *opaque, const uint8_t *buf, int size)
{
    CharTestFe *fe = opaque;

    fe->nr_read++;
    g_byte_array_append(fe->got, buf, size);
}

void char_fe_event(void *opaque, QEMUChrEvent event)
{
    CharTestFe *fe = opaque;

    fe->last = event;
    if (event == CHR_EVENT_OPENED || event == CHR_EVENT_CLOSED) {
        fe->open = event == CHR_EVENT_OPENED;
    }
    if (event == CHR_EVENT_CLOSED && fe->drops) {
        qemu_chr_fe_drop(&fe->chr, &(struct iovec) { (void *)"x", 1 }, 1);
    }
}

static int char_fe_be_change(void *opaque)
{
    char_fe_set_handlers(opaque);
    return 0;
}

void char_fe_set_handlers(CharTestFe *fe)
{
    qemu_chr_fe_set_handlers(&fe->chr, char_fe_can_read, char_fe_read,
                             char_fe_event, char_fe_be_change, fe, NULL, true);
}

void char_fe_init(CharTestFe *fe, Chardev *chr)
{
    fe->got = g_byte_array_new();
    qemu_chr_fe_init(&fe->chr, chr, &error_abort);
}

void char_fe_cleanup(CharTestFe *fe)
{
    qemu_chr_fe_deinit(&fe->chr, true);
    g_byte_array_unref(fe->got);
}

CharTestFe *char_fe_new(Chardev *chr)
{
    CharTestFe *fe = g_new0(CharTestFe, 1);

    char_fe_init(fe, chr);
    char_fe_set_handlers(fe);
    return fe;
}

void char_fe_free(CharTestFe *fe)
{
    char_fe_cleanup(fe);
    g_free(fe);
}

void settle(void)
{
    int i;

    for (i = 0; i < 10; i++) {
        main_loop_wait(true);
    }
}

void make_nonblocking(int fd)
{
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
}

Chardev *new_chardev(const char *options)
{
    QemuOpts *opts = qemu_opts_parse_noisily(qemu_find_opts("chardev"),
                                             options, true);
    Chardev *chr;

    g_assert_nonnull(opts);
    chr = qemu_chr_new_from_opts(opts, NULL, &error_abort);
    qemu_opts_del(opts);
    return chr;
}

void char_host_init(CharTestHost *host, const char *type)
{
    int sock_type = g_str_equal(type, "seqpacket") ? SOCK_SEQPACKET
                                                   : SOCK_STREAM;
    g_autofree char *options = NULL;
    g_autofree char *to_host = NULL;
    g_autofree char *to_guest = NULL;
    int fds[2];

    host->dir = g_dir_make_tmp("test-char-XXXXXX", NULL);
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

void char_host_close(CharTestHost *host)
{
    if (host->out != host->in) {
        close(host->out);
    }
    if (host->in >= 0) {
        close(host->in);
    }
    host->in = host->out = -1;
}

void char_host_cleanup(CharTestHost *host)
{
    static const char *const names[] = { "p.in", "p.out" };
    Chardev *base = qemu_chr_find("chr-base");
    int i;

    /* The chardev below a mux stays when the mux goes */
    if (base) {
        object_unparent(OBJECT(base));
    }
    char_host_close(host);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = g_build_filename(host->dir, names[i], NULL);

        g_unlink(path);
    }
    g_rmdir(host->dir);
    g_free(host->dir);
}

uint8_t *make_data(size_t len)
{
    uint8_t *data = g_malloc(len);
    size_t i;

    for (i = 0; i < len; i++) {
        data[i] = i & 1 ? i >> 9 : i >> 1;
    }
    return data;
}

void char_host_send(CharTestHost *host, CharTestFe *fe, const uint8_t *data,
                    size_t len)
{
    gint64 start = g_get_monotonic_time();
    size_t sent = 0, had = fe->got->len;

    while (fe->got->len < had + len) {
        ssize_t ret = sent < len ? write(host->out, data + sent, len - sent)
                                 : 0;

        sent += MAX(ret, 0);
        main_loop_wait(true);
        g_assert_cmpint(g_get_monotonic_time() - start, <,
                        CHAR_TEST_TIMEOUT_US);
    }
}

size_t char_host_receive(CharTestHost *host, uint8_t *data, size_t len,
                         size_t size)
{
    ssize_t ret;

    while (len < size && (ret = read(host->in, data + len, size - len)) > 0) {
        len += ret;
    }
    return len;
}
