/*
 * Helpers of the virtio-serial testcases: the other end of a port's chardev
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <termios.h>
#include <glib/gstdio.h>
#include "libqtest.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "libqos/virtio-serial-driver.h"
#include "virtio-serial-host.h"

/*
 * Chardevs
 */

QDict *vser_add_chardev(QTestState *qts, const char *id, QDict *backend)
{
    return qtest_qmp_assert_success_ref(qts, "{ 'execute': 'chardev-add',"
                                        " 'arguments': { 'id': %s,"
                                        " 'backend': %p } }", id, backend);
}

static void add(VSerEnd *end, QDict *backend)
{
    qobject_unref(vser_add_chardev(end->qts, end->id, backend));
}

/* Returns: QEMU's text about the chardev; g_free() it */
static char *get_filename(VSerEnd *end)
{
    QDict *info = qtest_qmp(end->qts, "{ 'execute': 'query-chardev' }");
    const QListEntry *entry;
    char *filename = NULL;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "return"), entry) {
        QDict *chardev = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(chardev, "label"), end->id)) {
            filename = g_strdup(qdict_get_str(chardev, "filename"));
        }
    }
    qobject_unref(info);
    return filename;
}

static void connect_socket(VSerEnd *end, const struct sockaddr *addr,
                           socklen_t len)
{
    end->in = end->out = socket(addr->sa_family, SOCK_STREAM, 0);
    g_assert_cmpint(end->in, >=, 0);
    g_assert_cmpint(connect(end->in, addr, len), ==, 0);
}

static void add_unix(VSerEnd *end)
{
    add(end, qdict_from_jsonf_nofail(
        "{ 'type': 'socket', 'data': { 'server': true, 'wait': false,"
        " 'addr': { 'type': 'unix', 'data': { 'path': %s } } } }", end->path));
}

static void connect_unix(VSerEnd *end)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_assert_cmpint(strlen(end->path), <, sizeof(addr.sun_path));
    pstrcpy(addr.sun_path, sizeof(addr.sun_path), end->path);
    connect_socket(end, (struct sockaddr *)&addr, sizeof(addr));
}

/* As above, with a log file */
static void add_logged(VSerEnd *end)
{
    g_autofree char *log = g_strdup_printf("%s.log", end->path);

    add(end, qdict_from_jsonf_nofail(
        "{ 'type': 'socket', 'data': { 'server': true, 'wait': false,"
        " 'logfile': %s, 'addr': { 'type': 'unix',"
        " 'data': { 'path': %s } } } }", log, end->path));
}

/* @data has the options of the type; @data is freed */
static void add_inet(VSerEnd *end, QDict *data)
{
    qdict_put_bool(data, "server", true);
    qdict_put_bool(data, "wait", false);
    qdict_put(data, "addr", qdict_from_jsonf_nofail(
        "{ 'type': 'inet',"
        " 'data': { 'host': '127.0.0.1', 'port': '0' } }"));
    add(end, qdict_from_jsonf_nofail("{ 'type': 'socket', 'data': %p }", data));
}

/* Returns: the port that QEMU chose for port 0 */
static uint16_t get_port(VSerEnd *end)
{
    g_autofree char *filename = get_filename(end);
    char *port = strstr(filename, "127.0.0.1:");

    g_assert_nonnull(port);
    return atoi(strchr(port, ':') + 1);
}

static void add_tcp(VSerEnd *end)
{
    add_inet(end, qdict_new());
}

static void connect_tcp(VSerEnd *end)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons(get_port(end));
    connect_socket(end, (struct sockaddr *)&addr, sizeof(addr));
}

static void add_pair(VSerEnd *end)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    qtest_qmp_fds_assert_success(end->qts, &fds[1], 1,
                                 "{ 'execute': 'getfd',"
                                 " 'arguments': { 'fdname': 'end' } }");
    add(end, qdict_from_jsonf_nofail(
        "{ 'type': 'socket', 'data': { 'server': false,"
        " 'addr': { 'type': 'fd', 'data': { 'str': 'end' } } } }"));
    end->in = end->out = fds[0];
    end->theirs = fds[1];
}

static void open_fifos(VSerEnd *end)
{
    g_autofree char *in = g_strdup_printf("%s.in", end->path);
    g_autofree char *out = g_strdup_printf("%s.out", end->path);

    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    /* Both ways, so that neither side waits for the other */
    end->in = open(out, O_RDWR | O_NONBLOCK);
    end->out = open(in, O_RDWR | O_NONBLOCK);
    g_assert_cmpint(MIN(end->in, end->out), >=, 0);
#ifdef F_SETPIPE_SZ
    /* A small buffer, so that more writes are cut */
    fcntl(end->in, F_SETPIPE_SZ, 4096);
#endif
}

static void add_pipe(VSerEnd *end)
{
    open_fifos(end);
    add(end, qdict_from_jsonf_nofail("{ 'type': 'pipe', 'data': {"
                                     " 'device': %s } }", end->path));
}

char *vser_stdio_args(VSerEnd *end)
{
    return g_strdup_printf("-chardev stdio,id=%s,signal=off <%s.in >%s.out",
                           end->id, end->path, end->path);
}

static void add_pty(VSerEnd *end)
{
    QDict *ret = vser_add_chardev(end->qts, end->id, qdict_from_jsonf_nofail(
        "{ 'type': 'pty', 'data': {} }"));
    struct termios tty;

    end->in = end->out = open(qdict_get_str(ret, "pty"), O_RDWR | O_NOCTTY);
    g_assert_cmpint(end->in, >=, 0);
    g_assert_cmpint(tcgetattr(end->in, &tty), ==, 0);
    cfmakeraw(&tty);
    g_assert_cmpint(tcsetattr(end->in, TCSANOW, &tty), ==, 0);
    qobject_unref(ret);
}

static void add_udp(VSerEnd *end)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof(addr);
    g_autofree char *port = NULL;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    end->in = end->out = socket(AF_INET, SOCK_DGRAM, 0);
    g_assert_cmpint(end->in, >=, 0);
    g_assert_cmpint(bind(end->in, (struct sockaddr *)&addr, len), ==, 0);
    g_assert_cmpint(getsockname(end->in, (struct sockaddr *)&addr, &len),
                    ==, 0);
    port = g_strdup_printf("%u", ntohs(addr.sin_port));
    add(end, qdict_from_jsonf_nofail(
        "{ 'type': 'udp', 'data': {"
        " 'remote': { 'type': 'inet',"
        " 'data': { 'host': '127.0.0.1', 'port': %s } },"
        " 'local': { 'type': 'inet',"
        " 'data': { 'host': '127.0.0.1', 'port': '0' } } } }", port));
}

/*
 * Chardevs over others: "base" is what is connected to, and has the log file
 */

static void add_base(VSerEnd *end)
{
    g_autofree char *id = end->id;

    end->id = g_strdup_printf("%s-base", id);
    add_logged(end);
    g_free(end->id);
    end->id = g_steal_pointer(&id);
}

static void add_mux(VSerEnd *end)
{
    g_autofree char *base = g_strdup_printf("%s-base", end->id);

    add_base(end);
    add(end, qdict_from_jsonf_nofail("{ 'type': 'mux', 'data': {"
                                     " 'chardev': %s } }", base));
}

static void add_hub(VSerEnd *end)
{
    g_autofree char *base = g_strdup_printf("%s-base", end->id);

    add_base(end);
    add(end, qdict_from_jsonf_nofail("{ 'type': 'hub', 'data': {"
                                     " 'chardevs': [ %s ] } }", base));
}

/*
 * Encodings
 */

static void encode_plain(VSerEnd *end, const uint8_t *data, size_t len)
{
    g_byte_array_append(end->written, data, len);
}

static void decode_plain(VSerEnd *end, GByteArray *data)
{
    g_byte_array_append(data, end->read->data, end->read->len);
    g_byte_array_set_size(end->read, 0);
}

static void encode_doubled(VSerEnd *end, const uint8_t *data, size_t len,
                           uint8_t escape)
{
    for (; len; data++, len--) {
        g_byte_array_append(end->written, data, 1);
        if (*data == escape) {
            g_byte_array_append(end->written, data, 1);
        }
    }
}

/* Ctrl-A is the mux's escape character */
static void encode_mux(VSerEnd *end, const uint8_t *data, size_t len)
{
    encode_doubled(end, data, len, 0x01);
}

static void add_telnet(VSerEnd *end)
{
    add_inet(end, qdict_from_jsonf_nofail("{ 'telnet': true }"));
}

static void encode_telnet(VSerEnd *end, const uint8_t *data, size_t len)
{
    encode_doubled(end, data, len, 0xff);
}

/* Read exactly @len bytes of a greeting */
static void read_all(VSerEnd *end, void *data, size_t len)
{
    g_assert_cmpint(recv(end->in, data, len, MSG_WAITALL), ==, len);
}

static void connect_telnet(VSerEnd *end)
{
    uint8_t options[12];

    connect_tcp(end);
    read_all(end, options, sizeof(options));
    g_assert_cmphex(options[0], ==, 0xff);
}

static void add_websocket(VSerEnd *end)
{
    add_inet(end, qdict_from_jsonf_nofail("{ 'websocket': true }"));
}

static void connect_websocket(VSerEnd *end)
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nOrigin: http://localhost\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n";
    g_autoptr(GString) answer = g_string_new(NULL);

    connect_tcp(end);
    g_assert_cmpint(send(end->out, request, sizeof(request) - 1, 0), ==,
                    sizeof(request) - 1);
    while (!g_str_has_suffix(answer->str, "\r\n\r\n")) {
        char c;

        read_all(end, &c, 1);
        g_string_append_c(answer, c);
    }
    g_assert_nonnull(strstr(answer->str, " 101 "));
}

/* One binary frame, masked as a client's have to be */
static void encode_websocket(VSerEnd *end, const uint8_t *data, size_t len)
{
    uint8_t header[] = { 0x82, 0x80 | 126, len >> 8, len, 0x5a, 1, 0xff, 0x80 };
    size_t i;

    g_assert_cmpuint(len, <=, UINT16_MAX);
    if (len < 126) {
        header[1] = 0x80 | len;
        g_byte_array_append(end->written, header, 2);
        g_byte_array_append(end->written, header + 4, 4);
    } else {
        g_byte_array_append(end->written, header, sizeof(header));
    }
    for (i = 0; i < len; i++) {
        g_byte_array_append(end->written,
                            (uint8_t []) { data[i] ^ header[4 + i % 4] }, 1);
    }
}

static void decode_websocket(VSerEnd *end, GByteArray *data)
{
    while (end->read->len >= 2) {
        const uint8_t *p = end->read->data;
        uint64_t header = 2, len = p[1];

        g_assert_cmphex(p[0], ==, 0x82);
        header += len == 126 ? 2 : len == 127 ? 8 : 0;
        if (end->read->len < header) {
            break;
        }
        if (len >= 126) {
            len = len == 126 ? lduw_be_p(p + 2) : ldq_be_p(p + 2);
        }
        if (end->read->len - header < len) {
            break;
        }
        end->frames++;
        g_byte_array_append(data, p + header, len);
        g_byte_array_remove_range(end->read, 0, header + len);
    }
}

/*
 * TLS: openssl's client is between the test and QEMU. The client ends when
 * either of them ends.
 */

#define PSK_USER    "test"
#define PSK_KEY     "00112233445566778899aabbccddeeff"

static char *tls_missing(QTestState *qts)
{
    g_autofree char *openssl = g_find_program_in_path("openssl");
    QDict *response, *error;
    char *why;

    if (!openssl) {
        return g_strdup("there is no program openssl");
    }
    response = qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                         " 'qom-type': 'tls-creds-anon', 'id': 'try-tls',"
                         " 'endpoint': 'server' } }");
    error = qdict_get_qdict(response, "error");
    why = error ? g_strdup(qdict_get_str(error, "desc")) : NULL;
    qobject_unref(response);
    if (!why) {
        qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                                 " 'arguments': { 'id': 'try-tls' } }");
    }
    return why;
}

static void add_tls(VSerEnd *end)
{
    g_autofree char *keys = g_build_filename(end->dir, "keys.psk", NULL);
    g_autofree char *creds = g_strdup_printf("%s-creds", end->id);

    g_assert_true(g_file_set_contents(keys, PSK_USER ":" PSK_KEY "\n", -1,
                                      NULL));
    qtest_qmp_assert_success(end->qts, "{ 'execute': 'object-add',"
                             " 'arguments': { 'qom-type': 'tls-creds-psk',"
                             " 'id': %s, 'endpoint': 'server',"
                             " 'dir': %s } }", creds, end->dir);
    add_inet(end, qdict_from_jsonf_nofail("{ 'tls-creds': %s }", creds));
}

static void connect_tls(VSerEnd *end)
{
    g_autofree char *server = g_strdup_printf("127.0.0.1:%u", get_port(end));
    const char *argv[] = {
        "openssl", "s_client", "-connect", server, "-noservername",
        "-psk_identity", PSK_USER, "-psk", PSK_KEY,
        "-quiet", "-no_ign_eof", "-nocommands", NULL
    };
    g_autoptr(GError) err = NULL;

    g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                             G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                             NULL, NULL, &end->client, &end->out, &end->in,
                             NULL, &err);
    g_assert_no_error(err);
}

const VSerBackend vser_backends[] = {
    { "unix", add_unix, connect_unix, encode_plain, decode_plain },
    { "pair", add_pair, NULL, encode_plain, decode_plain },
    { "tcp", add_tcp, connect_tcp, encode_plain, decode_plain },
    { "tls", add_tls, connect_tls, encode_plain, decode_plain,
      .missing = tls_missing },
    { "pipe", add_pipe, NULL, encode_plain, decode_plain },
    { "pty", add_pty, NULL, encode_plain, decode_plain },
    { "logfile", add_logged, connect_unix, encode_plain, decode_plain,
      .logged = true },
    { "websocket", add_websocket, connect_websocket, encode_websocket,
      decode_websocket },
    { "telnet", add_telnet, connect_telnet, encode_telnet, decode_plain,
      .copies = true },
    { "mux", add_mux, connect_unix, encode_mux, decode_plain, .copies = true,
      .bytewise = true, .logged = true },
    { "hub", add_hub, connect_unix, encode_plain, decode_plain,
      .copies = true, .logged = true },
    { NULL }
};

const VSerBackend vser_udp = {
    "udp", add_udp, NULL, encode_plain, decode_plain, .copies = true
};

const VSerBackend vser_stdio = {
    "stdio", open_fifos, NULL, encode_plain, decode_plain
};

const VSerBackend *const vser_unix = &vser_backends[0];
const VSerBackend *const vser_pair = &vser_backends[1];

const VSerBackend *vser_find_backend(const char *name)
{
    const VSerBackend *backend = vser_backends;

    while (!g_str_equal(backend->name, name)) {
        backend++;
    }
    return backend;
}

bool vser_skip_without_backend(QTestState *qts, const VSerBackend *backend)
{
    g_autofree char *why = backend->missing ? backend->missing(qts) : NULL;

    if (why) {
        g_test_skip(why);
    }
    return why;
}

/*
 * The end
 */

VSerEnd *vser_end_new(QTestState *qts, const char *id,
                      const VSerBackend *backend)
{
    VSerEnd *end = g_new0(VSerEnd, 1);

    end->backend = backend;
    end->qts = qts;
    end->id = g_strdup(id);
    end->dir = g_dir_make_tmp("virtio-serial-test-XXXXXX", NULL);
    g_assert_nonnull(end->dir);
    end->path = g_build_filename(end->dir, "end", NULL);
    end->in = end->out = end->theirs = -1;
    end->read = g_byte_array_new();
    end->written = g_byte_array_new();
    backend->add(end);
    return end;
}

void vser_end_connect(VSerEnd *end)
{
    if (end->backend->connect) {
        end->backend->connect(end);
    }
    g_assert_cmpint(fcntl(end->in, F_SETFL, O_NONBLOCK), ==, 0);
    g_assert_cmpint(fcntl(end->out, F_SETFL, O_NONBLOCK), ==, 0);
    end->gone = false;
}

void vser_end_wait(VSerEnd *end, bool connected)
{
    gint64 start = g_get_monotonic_time();
    bool there;

    do {
        QDict *info = qtest_qmp(end->qts, "{ 'execute': 'query-chardev' }");
        const QListEntry *entry;

        there = true;
        QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "return"), entry) {
            QDict *chardev = qobject_to(QDict, qlist_entry_obj(entry));

            /* A chardev over another chardev does not know */
            if (g_str_has_prefix(qdict_get_str(chardev, "label"), end->id) &&
                g_str_has_prefix(qdict_get_str(chardev, "filename"),
                                 "disconnected:")) {
                there = false;
            }
        }
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    } while (there != connected);
}

void vser_end_disconnect(VSerEnd *end)
{
    if (end->client) {
        kill(end->client, SIGKILL);
        g_assert_cmpint(waitpid(end->client, NULL, 0), ==, end->client);
        end->client = 0;
    }
    if (end->out != end->in) {
        close(end->out);
    }
    if (end->in >= 0) {
        close(end->in);
    }
    end->in = end->out = -1;
    g_byte_array_set_size(end->read, 0);
    g_byte_array_set_size(end->written, 0);
}

void vser_end_free(VSerEnd *end, bool remove)
{
    const char *name;
    GDir *dir;

    vser_end_disconnect(end);
    if (end->theirs >= 0) {
        close(end->theirs);
    }
    if (remove) {
        qtest_qmp_assert_success(end->qts, "{ 'execute': 'chardev-remove',"
                                 " 'arguments': { 'id': %s } }", end->id);
    }
    dir = g_dir_open(end->dir, 0, NULL);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(end->dir, name, NULL);

        g_unlink(path);
    }
    g_dir_close(dir);
    g_rmdir(end->dir);
    g_byte_array_unref(end->read);
    g_byte_array_unref(end->written);
    g_free(end->id);
    g_free(end->path);
    g_free(end->dir);
    g_free(end);
}

size_t vser_end_write(VSerEnd *end, const uint8_t *data, size_t len)
{
    ssize_t ret;

    if (len) {
        end->backend->encode(end, data, len);
    }
    if (end->written->len) {
        ret = write(end->out, end->written->data, end->written->len);
        if (ret > 0) {
            g_byte_array_remove_range(end->written, 0, ret);
        } else {
            g_assert_cmpint(errno, ==, EAGAIN);
        }
    }
    return end->written->len;
}

void vser_end_flush(VSerEnd *end)
{
    gint64 start = g_get_monotonic_time();
    int unread;

    do {
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
        unread = 0;
        if (end->client) {
            g_assert_cmpint(ioctl(end->out, FIONREAD, &unread), ==, 0);
        }
    } while (vser_end_write(end, NULL, 0) || unread);
}

void vser_end_answer(VSerEnd *end)
{
    gint64 start = g_get_monotonic_time();
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    char byte;

    while (recvfrom(end->in, &byte, sizeof(byte), MSG_PEEK,
                    (struct sockaddr *)&from, &len) < 0) {
        g_assert_cmpint(errno, ==, EAGAIN);
        g_assert_cmpint(g_get_monotonic_time() - start, <, QVSER_TIMEOUT_US);
    }
    g_assert_cmpint(connect(end->out, (struct sockaddr *)&from, len), ==, 0);
}

bool vser_end_read(VSerEnd *end, size_t max, GByteArray *data)
{
    size_t had = end->read->len;
    ssize_t ret;

    g_byte_array_set_size(end->read, had + max);
    ret = read(end->in, end->read->data + had, max);
    g_byte_array_set_size(end->read, had + MAX(ret, 0));
    end->gone = ret == 0;
    if (ret > 0) {
        end->backend->decode(end, data);
    }
    return ret > 0;
}
