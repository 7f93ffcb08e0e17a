/*
 * "vser usb" without a guest: the test is vhci_hcd, which speaks the kernel's
 * USB/IP protocol, and the host, which has the other side of the port
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>
#include "usb-ip.h"

#define TIMEOUT         8000       /* ms, then the test gives up */
#define MESSAGE         48

/* Transfer flags, as the kernel has them */
#define SHORT_NOT_OK    0x0001
#define ZERO_PACKET     0x0040

enum { OUT, IN };

/* The last message of the code under test; takes the place of vser_error() */
static char last_error[512];

void __wrap_vser_error(const char *fmt, ...) PRINTF(1, 2);

void __wrap_vser_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(last_error, sizeof(last_error), fmt, ap);
    va_end(ap);
}

/*
 * A device that is plugged in
 */

typedef struct Plugged {
    Port port;
    UsbDevice dev;
    int socks[2], ports[2], stops[2];   /* [0]: ours, [1]: the device's */
    GThread *thread;
    UsbIpEnd end;
    uint32_t seqnum;                    /* the last one that we used */
} Plugged;

static void port_from(Port *port, const uint8_t *blob, size_t length)
{
    VirtIOSerialDescError err;

    if (!virtio_serial_desc_check(blob, length, &err)) {
        g_error("%s", err.text);
    }
    *port = (Port) {
        .name = "vport0p1",
        .blob = g_memdup2(blob, length),
        .length = length,
    };
    virtio_serial_desc_info(port->blob, length, &port->info);
}

static void port_from_fixture(Port *port, const char *name)
{
    g_autofree char *file = g_strconcat(name, ".bin", NULL);
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "fixtures",
                                                  file, NULL);
    g_autofree char *blob = NULL;
    size_t length;

    g_assert_true(g_file_get_contents(path, &blob, &length, NULL));
    port_from(port, (uint8_t *)blob, length);
}

/* Like a port's in QEMU: "1209:0001", class "vendor" or "cdc-acm" */
static void port_from_class(Port *port, const char *class)
{
    VirtIOSerialDescProps props = { {
        [VIRTIO_SERIAL_DESC_IDS] = (char *)"1209:0001",
        [VIRTIO_SERIAL_DESC_PRODUCT] = (char *)"Pröduct",
        [VIRTIO_SERIAL_DESC_SERIAL] = (char *)"S1",
        [VIRTIO_SERIAL_DESC_CLASS] = (char *)class,
    } };
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
    VirtIOSerialDescError err;
    size_t length = virtio_serial_desc_build(&props, blob, &err);

    g_assert_cmpuint(length, !=, 0);
    port_from(port, blob, length);
}

/* Pairs of hexadecimal digits, white space between them; in bytes */
static size_t unhex(const char *hex, uint8_t *dest)
{
    size_t n = 0;

    for (; *hex; hex++) {
        if (!g_ascii_isspace(*hex)) {
            dest[n++] = g_ascii_xdigit_value(hex[0]) << 4 |
                        g_ascii_xdigit_value(hex[1]);
            hex++;
        }
    }
    return n;
}

static void port_from_hex(Port *port, const char *hex)
{
    uint8_t blob[1024];

    port_from(port, blob, unhex(hex, blob));
}

static void *serve(void *opaque)
{
    Plugged *p = opaque;

    p->end = usb_ip_serve(&p->dev, p->socks[1], p->ports[1], p->stops[1]);
    /* As usb.c does: vhci_hcd sees that the socket is closed */
    close(p->socks[1]);
    return NULL;
}

/* Plug in p->port, whose bytes go through p->ports */
static void plug_with(Plugged *p)
{
    last_error[0] = '\0';
    g_assert_true(usb_device_init(&p->dev, &p->port));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, p->socks), ==, 0);
    g_assert_cmpint(fcntl(p->ports[1], F_SETFL, O_NONBLOCK), ==, 0);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, p->stops), ==, 0);
    p->thread = g_thread_new("device", serve, p);
}

static void plug(Plugged *p)
{
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, p->ports), ==, 0);
    plug_with(p);
}

static Plugged *plug_class(const char *class)
{
    Plugged *p = g_new0(Plugged, 1);

    port_from_class(&p->port, class);
    plug(p);
    return p;
}

/* Wait until the device has ended by itself, as @end; @p is freed */
static void ended(Plugged *p, UsbIpEnd end)
{
    g_thread_join(p->thread);
    g_assert_cmpint(p->end, ==, end);
    if (p->socks[0] >= 0) {
        close(p->socks[0]);
    }
    close(p->ports[0]);
    close(p->ports[1]);
    close(p->stops[0]);
    close(p->stops[1]);
    g_free(p->port.blob);
    g_free(p);
}

static void unplug(Plugged *p)
{
    close(p->socks[0]);
    p->socks[0] = -1;
    ended(p, USB_IP_DETACHED);
}

/*
 * Messages
 */

static void send_all(int fd, const void *data, size_t length)
{
    while (length) {
        struct pollfd wait = { fd, POLLOUT, 0 };
        ssize_t n;

        g_assert_cmpint(poll(&wait, 1, TIMEOUT), ==, 1);
        n = send(fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        g_assert_cmpint(n, >, 0);
        data = (const uint8_t *)data + n;
        length -= n;
    }
}

/* Exactly @length bytes */
static void receive_all(int fd, void *data, size_t length)
{
    while (length) {
        struct pollfd wait = { fd, POLLIN, 0 };
        ssize_t n;

        g_assert_cmpint(poll(&wait, 1, TIMEOUT), ==, 1);
        n = recv(fd, data, length, 0);
        g_assert_cmpint(n, >, 0);
        data = (uint8_t *)data + n;
        length -= n;
    }
}

static void put_words(uint8_t *dest, unsigned int n, ...)
{
    va_list ap;
    unsigned int i;

    va_start(ap, n);
    for (i = 0; i < n; i++) {
        uint32_t word = htonl(va_arg(ap, uint32_t));

        memcpy(dest + 4 * i, &word, 4);
    }
    va_end(ap);
}

static uint32_t get_word(const uint8_t *message, unsigned int n)
{
    uint32_t word;

    memcpy(&word, message + 4 * n, 4);
    return ntohl(word);
}

/* CMD_SUBMIT; @setup in hex, NULL: none. Returns its number. */
static uint32_t submit(Plugged *p, int direction, unsigned int ep,
                       uint32_t flags, uint32_t length, const char *setup,
                       const void *data)
{
    size_t more = direction == OUT ? length : 0;
    g_autofree uint8_t *m = g_malloc0(MESSAGE + more);

    put_words(m, 10, 1, ++p->seqnum, 0x10002, direction, ep, flags, length, 0,
              0, 0);
    if (setup) {
        g_assert_cmpuint(unhex(setup, m + 40), ==, 8);
    }
    if (more) {
        memcpy(m + MESSAGE, data, more);
    }
    send_all(p->socks[0], m, MESSAGE + more);
    return p->seqnum;
}

/* The next answer is RET_SUBMIT of @seqnum; its data goes to @data */
static void answered(Plugged *p, uint32_t seqnum, int direction, int status,
                     uint32_t length, void *data)
{
    uint8_t m[MESSAGE];

    receive_all(p->socks[0], m, sizeof(m));
    g_assert_cmpuint(get_word(m, 0), ==, 3);
    g_assert_cmpuint(get_word(m, 1), ==, seqnum);
    g_assert_cmpint((int32_t)get_word(m, 5), ==, status);
    g_assert_cmpuint(get_word(m, 6), ==, length);
    if (direction == IN) {
        receive_all(p->socks[0], data, length);
    }
}

static void send_unlink(Plugged *p, uint32_t seqnum)
{
    uint8_t m[MESSAGE] = { 0 };

    put_words(m, 6, 2, ++p->seqnum, 0x10002, 0, 0, seqnum);
    send_all(p->socks[0], m, sizeof(m));
}

/* The next answer is that to the last send_unlink() */
static void unlinked(Plugged *p, int status)
{
    uint8_t m[MESSAGE];

    receive_all(p->socks[0], m, sizeof(m));
    g_assert_cmpuint(get_word(m, 0), ==, 4);
    g_assert_cmpuint(get_word(m, 1), ==, p->seqnum);
    g_assert_cmpint((int32_t)get_word(m, 5), ==, status);
}

static void unlink_and(Plugged *p, uint32_t seqnum, int status)
{
    send_unlink(p, seqnum);
    unlinked(p, status);
}

/*
 * A control request, @setup and its @data (towards the device) or its answer in
 * hex; "stall" is one
 */
static void control(Plugged *p, const char *setup, const char *data)
{
    uint8_t s[8], expected[4096], got[4096];
    size_t length = 0;
    uint32_t seqnum;
    bool stall = strcmp(data, "stall") == 0;
    int direction;

    g_test_message("%s: %s", setup, data);
    unhex(setup, s);
    direction = s[0] & 0x80 ? IN : OUT;
    if (!stall) {
        length = unhex(data, expected);
    } else if (direction == OUT) {
        length = s[6] | s[7] << 8;
        memset(expected, 0, length);
    }
    seqnum = submit(p, direction, 0, 0, s[6] | s[7] << 8, setup, expected);
    answered(p, seqnum, direction, stall ? -EPIPE : 0, stall ? 0 : length, got);
    if (direction == IN && !stall) {
        g_assert_cmpmem(got, length, expected, length);
    }
}

/* Transfer @seqnum waits, also when the device has had a look at the port */
static void waits(Plugged *p, uint32_t seqnum)
{
    control(p, "80 00 0000 0000 0000", "");
    unlink_and(p, seqnum, -ECONNRESET);
}

static void configure(Plugged *p)
{
    control(p, "00 09 0100 0000 0000", "");
}

/*
 * The device
 */

static void test_descriptors(void)
{
    static const char * const fixtures[] = {
        "gadget-acm", "gadget-sourcesink", "qemu-usb-serial", "qemu-usb-mtp",
        "qemu-usb-net", "qemu-usb-storage",
    };
    unsigned int i, string;

    for (i = 0; i < G_N_ELEMENTS(fixtures); i++) {
        Plugged *p = g_new0(Plugged, 1);
        uint8_t got[4096];
        uint32_t strings, total, seqnum, at;
        char behind[32];

        g_test_message("%s", fixtures[i]);
        port_from_fixture(&p->port, fixtures[i]);
        plug(p);
        strings = p->port.info.strings_offset;

        /* The beginning, as the kernel asks first; all; configuration 0 */
        seqnum = submit(p, IN, 0, 0, 8, "80 06 0001 0000 0800", NULL);
        answered(p, seqnum, IN, 0, 8, got);
        g_assert_cmpmem(got, 8, p->port.blob, 8);
        seqnum = submit(p, IN, 0, 0, 64, "80 06 0001 0000 4000", NULL);
        answered(p, seqnum, IN, 0, 18, got);
        g_assert_cmpmem(got, 18, p->port.blob, 18);
        /* Both wLength and the transfer are limits */
        seqnum = submit(p, IN, 0, 0, 64, "80 06 0001 0000 0900", NULL);
        answered(p, seqnum, IN, 0, 9, got);
        seqnum = submit(p, IN, 0, 0, 10, "80 06 0001 0000 1200", NULL);
        answered(p, seqnum, IN, 0, 10, got);
        total = p->port.blob[20] | p->port.blob[21] << 8;
        seqnum = submit(p, IN, 0, 0, 4096, "80 06 0002 0000 0010", NULL);
        answered(p, seqnum, IN, 0, total, got);
        g_assert_cmpmem(got, total, p->port.blob + 18, total);

        /* Each string that there is, in the order of the blob */
        at = strings;
        for (string = 0; string < 256; string++) {
            char setup[32], text[VIRTIO_SERIAL_DESC_STRING_SIZE];
            bool there = string == 0 ? strings < p->port.length :
                virtio_serial_desc_string(p->port.blob, p->port.length, string,
                                          text) > 0;

            g_snprintf(setup, sizeof(setup), "80 06 %02x03 %s ff00", string,
                       string ? "0904" : "0000");
            if (!there) {
                control(p, setup, "stall");
                continue;
            }
            seqnum = submit(p, IN, 0, 0, 255, setup, NULL);
            answered(p, seqnum, IN, 0, p->port.blob[at], got);
            g_assert_cmpmem(got, got[0], p->port.blob + at, p->port.blob[at]);
            at += p->port.blob[at];
        }
        g_assert_cmpuint(at, ==, p->port.length);

        control(p, "80 06 0101 0000 1200", "stall");    /* device 1 */
        g_snprintf(behind, sizeof(behind), "80 06 %02x02 0000 ff00",
                   p->port.blob[17]);
        control(p, behind, "stall");                    /* a configuration */
        control(p, "80 06 0103 0704 ff00", "stall");    /* in German */
        control(p, "80 06 0006 0000 0a00", "stall");    /* DEVICE_QUALIFIER */
        control(p, "80 06 0007 0000 ff00", "stall");    /* other speed */
        control(p, "80 06 000f 0000 ff00", "stall");    /* BOS */
        control(p, "81 06 0022 0000 ff00", "stall");    /* a HID's report */
        unplug(p);
    }
}

/*
 * Two configurations. The first: interface 0 without endpoints, and with a pair
 * and an interrupt endpoint as setting 1; interface 1 with a pair.
 * The second: no pair, but a bulk endpoint.
 */
#define SETTINGS \
    "12 01 0002 00 00 00 40 0912 0100 0001 00 00 00 02" \
    "09 02 4700 02 05 00 a0 00" \
        "09 04 00 00 00 ff 00 00 00" \
        "09 04 00 01 03 ff 00 00 00" \
            "07 05 82 02 0002 00" "07 05 03 02 0002 00" "07 05 84 03 0800 04" \
        "09 04 01 00 02 ff 00 00 00" \
            "07 05 85 02 0002 00" "07 05 06 02 0002 00" \
    "09 02 1900 01 07 00 c0 00" \
        "09 04 03 00 01 ff 00 00 00" "07 05 81 02 0002 00"

static Plugged *plug_settings(void)
{
    Plugged *p = g_new0(Plugged, 1);

    port_from_hex(&p->port, SETTINGS);
    plug(p);
    return p;
}

static void test_standard_requests(void)
{
    Plugged *p = plug_settings();
    uint32_t seqnum;
    uint8_t byte;

    /* Not configured: nothing has an interface or endpoint */
    control(p, "80 08 0000 0000 0100", "00");           /* GET_CONFIGURATION */
    control(p, "80 00 0000 0000 0200", "0000");         /* GET_STATUS */
    control(p, "80 00 0000 0100 0200", "stall");
    control(p, "81 00 0000 0000 0200", "stall");
    control(p, "82 00 0000 0000 0200", "0000");
    control(p, "82 00 0000 8000 0200", "0000");
    control(p, "82 00 0000 8500 0200", "stall");
    control(p, "81 0a 0000 0000 0100", "stall");        /* GET_INTERFACE */
    control(p, "01 0b 0000 0000 0000", "stall");        /* SET_INTERFACE */
    control(p, "80 06 0103 0904 ff00", "stall");        /* no strings */
    control(p, "80 06 0003 0000 ff00", "stall");

    /* Configurations */
    control(p, "00 09 0600 0000 0000", "stall");
    control(p, "00 09 0005 0000 0000", "stall");
    control(p, "00 09 0700 0000 0000", "");
    control(p, "80 08 0000 0000 0100", "07");
    control(p, "80 00 0000 0000 0200", "0100");         /* self-powered */
    control(p, "81 00 0000 0000 0200", "stall");
    control(p, "81 00 0000 0300 0200", "0000");
    control(p, "00 09 0500 0000 0000", "");
    control(p, "80 08 0000 0000 0100", "05");

    /* Settings: endpoints come and go */
    control(p, "82 00 0000 8500 0200", "0000");
    control(p, "82 00 0000 8200 0200", "stall");
    control(p, "81 0a 0000 0000 0100", "00");
    control(p, "01 0b 0200 0000 0000", "stall");
    control(p, "01 0b 0100 0100 0000", "stall");
    control(p, "01 0b 0001 0000 0000", "stall");
    control(p, "01 0b 0000 0200 0000", "stall");
    control(p, "01 0b 0100 0000 0000", "");
    control(p, "81 0a 0000 0000 0100", "01");
    control(p, "81 0a 0000 0100 0100", "00");
    control(p, "81 0a 0000 0001 0100", "stall");
    control(p, "82 00 0000 8200 0200", "0000");
    control(p, "82 00 0000 8201 0200", "stall");
    control(p, "82 00 0000 9200 0200", "stall");

    /* Halts: of one interface, gone with its setting or the configuration */
    control(p, "02 03 0000 8200 0000", "");             /* SET_FEATURE */
    control(p, "02 03 0000 8500 0000", "");
    control(p, "82 00 0000 8200 0200", "0100");
    control(p, "02 01 0000 8200 0000", "");             /* CLEAR_FEATURE */
    control(p, "82 00 0000 8200 0200", "0000");
    control(p, "02 03 0000 8200 0000", "");
    control(p, "01 0b 0100 0000 0000", "");
    control(p, "82 00 0000 8200 0200", "0000");
    control(p, "82 00 0000 8500 0200", "0100");
    control(p, "00 09 0500 0000 0000", "");
    control(p, "82 00 0000 8500 0200", "0000");
    control(p, "81 0a 0000 0000 0100", "00");

    /* What there is not */
    control(p, "02 03 0000 0000 0000", "stall");        /* halt endpoint 0 */
    control(p, "02 03 0100 8500 0000", "stall");
    control(p, "00 03 0100 0000 0000", "stall");        /* remote wakeup */
    control(p, "00 03 0200 0001 0000", "stall");        /* test mode */
    control(p, "00 05 0100 0000 0000", "stall");        /* SET_ADDRESS */
    control(p, "00 07 0001 0000 1200", "stall");        /* SET_DESCRIPTOR */
    control(p, "82 0c 0000 8500 0200", "stall");        /* SYNCH_FRAME */
    control(p, "c0 06 0001 0000 1200", "stall");        /* vendor's */
    control(p, "a1 21 0000 0000 0700", "stall");        /* no ACM interface */
    control(p, "00 09 0000 0000 0000", "");
    control(p, "80 08 0000 0000 0100", "00");

    /* No byte where none is asked for */
    seqnum = submit(p, IN, 0, 0, 0, "80 08 0000 0000 0000", NULL);
    answered(p, seqnum, IN, 0, 0, &byte);
    unplug(p);
}

static void test_cdc_requests(void)
{
    Plugged *p = plug_class("cdc-acm");
    uint32_t first, second;
    uint8_t got[10], expected[10];

    /* Not configured. That must not take the data for the port's. */
    control(p, "21 20 0000 0000 0700", "stall");
    configure(p);

    control(p, "a1 21 0000 0000 0700", "80250000 00 00 08");
    control(p, "21 20 0000 0000 0700", "00c20100 02 01 07");
    control(p, "a1 21 0000 0000 0700", "00c20100 02 01 07");
    control(p, "a1 21 0000 0000 0300", "00c201");
    control(p, "21 20 0000 0000 0600", "stall");        /* too short */
    control(p, "a1 20 0000 0000 0700", "stall");        /* the other way */
    control(p, "21 21 0000 0000 0700", "stall");
    control(p, "21 20 0000 0100 0700", "stall");        /* data interface */
    control(p, "21 22 0300 0000 0000", "");             /* DTR, RTS */
    control(p, "21 22 0000 0000 0000", "");
    control(p, "21 23 ffff 0000 0000", "");             /* break */
    control(p, "21 00 0000 0000 0000", "stall");        /* SEND_ENCAPSULATED */

    /* SERIAL_STATE: DCD and DSR, once, to whoever asks in pieces too */
    first = submit(p, IN, 2, 0, 8, NULL, NULL);
    answered(p, first, IN, 0, 8, got);
    first = submit(p, IN, 2, 0, 8, NULL, NULL);
    answered(p, first, IN, 0, 2, got + 8);
    unhex("a1 20 0000 0000 0200 0300", expected);
    g_assert_cmpmem(got, 10, expected, 10);
    first = submit(p, IN, 2, 0, 10, NULL, NULL);
    second = submit(p, IN, 2, 0, 10, NULL, NULL);
    waits(p, second);
    waits(p, first);

    /* And once more for who configures it anew */
    configure(p);
    first = submit(p, IN, 2, 0, 10, NULL, NULL);
    answered(p, first, IN, 0, 10, got);
    g_assert_cmpmem(got, 10, expected, 10);
    g_assert_cmpint(recv(p->ports[0], got, 1, MSG_DONTWAIT), ==, -1);
    unplug(p);

    /* A device that can do nothing but break, and one that can't break */
    p = g_new0(Plugged, 1);
    port_from_class(&p->port, "cdc-acm");
    first = 18 + 9 + 9 + 5 + 5;
    expected[0] = 4, expected[1] = 0x24, expected[2] = 2, expected[3] = 6;
    g_assert_cmpmem(p->port.blob + first, 4, expected, 4);
    p->port.blob[first + 3] = 4;
    plug(p);
    configure(p);
    control(p, "21 23 ffff 0000 0000", "");
    control(p, "a1 21 0000 0000 0700", "stall");
    unplug(p);

    p = g_new0(Plugged, 1);
    port_from_class(&p->port, "cdc-acm");
    p->port.blob[first + 3] = 2;
    plug(p);
    configure(p);
    control(p, "21 23 ffff 0000 0000", "stall");
    control(p, "a1 21 0000 0000 0700", "80250000 00 00 08");
    unplug(p);
}

/* Descriptors longer than chapter 9 says are handed on, and work the same */
static void test_longer(void)
{
    Plugged *p = g_new0(Plugged, 1);
    uint32_t seqnum;
    uint8_t got[8];

    port_from_hex(&p->port,
        "14 01 0002 00 00 00 40 0912 0100 0001 00 00 00 01 09 04"
        "0b 02 2800 01 03 00 c0 00 05 81"
        "0c 04 07 00 02 ff 00 00 00 07 05 81"
        "09 05 82 02 0002 00 04 03" "08 05 02 02 0002 00 ff");
    plug(p);
    control(p, "80 06 0001 0000 1200",
            "14 01 0002 00 00 00 40 0912 0100 0001 00 00 00 01");
    control(p, "80 06 0001 0000 4000",
            "14 01 0002 00 00 00 40 0912 0100 0001 00 00 00 01 09 04");
    control(p, "80 06 0002 0000 0b00", "0b 02 2800 01 03 00 c0 00 05 81");
    control(p, "80 06 000f 0000 0500", "stall");        /* no BOS */
    control(p, "00 09 0300 0000 0000", "");
    control(p, "81 0a 0000 0700 0100", "00");
    seqnum = submit(p, IN, 2, 0, 8, NULL, NULL);
    send_all(p->ports[0], "bytes", 5);
    answered(p, seqnum, IN, 0, 5, got);
    g_assert_cmpmem(got, 5, "bytes", 5);
    seqnum = submit(p, OUT, 2, 0, 1, NULL, "x");
    answered(p, seqnum, OUT, 0, 1, NULL);
    unplug(p);
}

static void test_refused(void)
{
    static const struct {
        const char *fixture, *says;
    } refused[] = {
        { "qemu-usb-audio", "isochronous endpoint (bEndpointAddress 01)" },
        { "qemu-usb-kbd", "no interface with a bulk endpoint each way" },
        { "qemu-usb-hub", "no interface with a bulk endpoint each way" },
    };
    UsbDevice dev;
    Port port;
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(refused); i++) {
        port_from_fixture(&port, refused[i].fixture);
        g_assert_false(usb_device_init(&dev, &port));
        g_test_message("%s", last_error);
        g_assert_true(g_str_has_prefix(last_error, "vport0p1: "));
        g_assert_nonnull(strstr(last_error, refused[i].says));
        g_free(port.blob);
    }

    /* bMaxPacketSize0, all that there are: 9 is a SuperSpeed device's */
    port_from_class(&port, "vendor");
    for (i = 0; i < 256; i++) {
        bool accepted = i == 8 || i == 16 || i == 32 || i == 64;
        g_autofree char *says = NULL;

        port.blob[7] = i;
        last_error[0] = '\0';
        g_assert_cmpint(usb_device_init(&dev, &port), ==, accepted);
        says = g_strdup_printf("vport0p1: the descriptor's bMaxPacketSize0 is "
                               "%u; expected 8, 16, 32 or 64", i);
        g_assert_cmpint(g_str_has_prefix(last_error, says), ==, !accepted);
    }
    g_free(port.blob);
}

static void test_speed(void)
{
    UsbDevice dev;
    Port port;

    port_from_class(&port, "vendor");
    g_assert_true(usb_device_init(&dev, &port));
    g_assert_cmpint(usb_device_speed(&dev), ==, USB_SPEED_HIGH);
    g_free(port.blob);
    /* Bulk endpoints of 64 bytes */
    port_from_fixture(&port, "qemu-usb-serial");
    g_assert_true(usb_device_init(&dev, &port));
    g_assert_cmpint(usb_device_speed(&dev), ==, USB_SPEED_FULL);
    g_free(port.blob);
}

/*
 * The pipe
 */

static uint8_t *random_bytes(size_t length)
{
    uint8_t *data = g_malloc(length);
    size_t i;

    for (i = 0; i < length; i++) {
        data[i] = g_test_rand_int();
    }
    return data;
}

static void test_bytes(void)
{
    Plugged *p = plug_class("vendor");
    uint32_t first, second, third;
    char got[64] = "";

    /* Endpoints before the configuration is set, and that are not there */
    first = submit(p, IN, 1, 0, 8, NULL, NULL);
    answered(p, first, IN, -EPIPE, 0, NULL);
    first = submit(p, OUT, 1, 0, 3, NULL, "abc");
    answered(p, first, OUT, -EPIPE, 0, NULL);
    configure(p);
    first = submit(p, IN, 2, 0, 8, NULL, NULL);
    answered(p, first, IN, -EPIPE, 0, NULL);
    first = submit(p, OUT, 2, 0, 3, NULL, "abc");
    answered(p, first, OUT, -EPIPE, 0, NULL);

    /* To the port: in order; an empty transfer and a flag are no bytes */
    first = submit(p, OUT, 1, 0, 5, NULL, "hello");
    second = submit(p, OUT, 1, ZERO_PACKET, 0, NULL, NULL);
    third = submit(p, OUT, 1, ZERO_PACKET, 6, NULL, ", port");
    answered(p, first, OUT, 0, 5, NULL);
    answered(p, second, OUT, 0, 0, NULL);
    answered(p, third, OUT, 0, 6, NULL);
    receive_all(p->ports[0], got, 11);
    g_assert_cmpstr(got, ==, "hello, port");

    /* From it: what is there completes a transfer, and no more than fits */
    first = submit(p, IN, 1, 0, 4, NULL, NULL);
    second = submit(p, IN, 1, 0, 64, NULL, NULL);
    third = submit(p, IN, 1, 0, 64, NULL, NULL);
    send_all(p->ports[0], "hello, USB", 10);
    memset(got, 0, sizeof(got));
    answered(p, first, IN, 0, 4, got);
    answered(p, second, IN, 0, 6, got + 4);
    g_assert_cmpstr(got, ==, "hello, USB");
    send_all(p->ports[0], "x", 1);
    answered(p, third, IN, 0, 1, got);
    g_assert_cmpint(got[0], ==, 'x');

    /* Bytes wait for transfers too; one without room takes none */
    send_all(p->ports[0], "waiting", 7);
    first = submit(p, IN, 1, 0, 0, NULL, NULL);
    answered(p, first, IN, 0, 0, NULL);
    first = submit(p, IN, 1, 0, 7, NULL, NULL);
    answered(p, first, IN, 0, 7, got);
    g_assert_cmpmem(got, 7, "waiting", 7);

    /* Short may be an error, and then the bytes are there nevertheless */
    first = submit(p, IN, 1, SHORT_NOT_OK, 4, NULL, NULL);
    second = submit(p, IN, 1, SHORT_NOT_OK, 4, NULL, NULL);
    send_all(p->ports[0], "1234ab", 6);
    answered(p, first, IN, 0, 4, got);
    answered(p, second, IN, -EREMOTEIO, 2, got + 4);
    g_assert_cmpmem(got, 6, "1234ab", 6);
    unplug(p);
}

/* Many bytes, in transfers of that size: 16 wait at a time */
static void move(Plugged *p, size_t total, size_t size)
{
    g_autofree uint8_t *data = random_bytes(total);
    g_autofree uint8_t *got = g_malloc(total);
    size_t at, n, sent = 0;
    uint32_t seqnum[16];
    unsigned int i;

    /* From the port. Transfers may be short: there are more than enough. */
    for (i = 0; i < 16; i++) {
        seqnum[i] = submit(p, IN, 1, 0, size, NULL, NULL);
    }
    for (at = 0, i = 0; at < total; i = (i + 1) % 16) {
        uint8_t m[MESSAGE];

        if (sent - at < 16384 && sent < total) {
            n = MIN(total - sent, 16384);
            send_all(p->ports[0], data + sent, n);
            sent += n;
        }
        receive_all(p->socks[0], m, sizeof(m));
        g_assert_cmpuint(get_word(m, 1), ==, seqnum[i]);
        n = get_word(m, 6);
        g_assert_cmpuint(n, <=, MIN(size, total - at));
        receive_all(p->socks[0], got + at, n);
        at += n;
        seqnum[i] = submit(p, IN, 1, 0, size, NULL, NULL);
    }
    for (n = 0; n < 16; n++) {
        unlink_and(p, seqnum[(i + n) % 16], -ECONNRESET);
    }
    g_assert_cmpmem(got, total, data, total);

    /* To it */
    memset(got, 0, total);
    for (at = 0; at < total; at += n) {
        n = MIN(size, total - at);
        seqnum[0] = submit(p, OUT, 1, 0, n, NULL, data + at);
        receive_all(p->ports[0], got + at, n);
        answered(p, seqnum[0], OUT, 0, n, NULL);
    }
    g_assert_cmpmem(got, total, data, total);
}

static void test_many_bytes(void)
{
    Plugged *p = plug_class("vendor");

    configure(p);
    move(p, 3 << 20, 512);
    move(p, 3 << 20, 1000);
    move(p, 9 << 20, 3 << 20);
    unplug(p);
}

/*
 * The pipe of an ACM function is answered 3 KiB ahead of what is submitted
 * anew: a terminal's driver submits at once, and stops when it is full.
 */
static void test_ahead(void)
{
    enum { SIZE = 1024, DRIVER = 16, AHEAD = 3 };
    g_autofree uint8_t *sent = g_malloc(32 * SIZE);
    uint8_t got[8 * SIZE];
    uint32_t first, seqnum;
    unsigned int done, i;
    Plugged *p = plug_class("cdc-acm");

    for (i = 0; i < 32 * SIZE; i++) {
        sent[i] = i >> 10 ^ i;
    }
    configure(p);
    first = p->seqnum + 1;
    for (i = 0; i < DRIVER; i++) {
        submit(p, IN, 1, 0, SIZE, NULL, NULL);
    }
    control(p, "80 00 0000 0000 0000", "");         /* it has them all */
    send_all(p->ports[0], sent, 24 * SIZE);
    for (done = 0; done < AHEAD; done++) {
        answered(p, first + done, IN, 0, SIZE, got);
        g_assert_cmpmem(got, SIZE, sent + done * SIZE, SIZE);
    }
    control(p, "80 00 0000 0000 0000", "");         /* and nothing more */

    /* Each new one is one more; half a one is half of the next one */
    for (i = 0; i < 5; i++, done++) {
        submit(p, IN, 1, 0, SIZE, NULL, NULL);
        answered(p, first + done, IN, 0, SIZE, got);
        g_assert_cmpmem(got, SIZE, sent + done * SIZE, SIZE);
        control(p, "80 00 0000 0000 0000", "");
    }
    seqnum = submit(p, IN, 1, 0, SIZE / 2, NULL, NULL);
    answered(p, first + done, IN, 0, SIZE / 2, got);
    g_assert_cmpmem(got, SIZE / 2, sent + done * SIZE, SIZE / 2);
    control(p, "80 00 0000 0000 0000", "");
    unlink_and(p, seqnum, -ECONNRESET);

    /* Not for good: a program may submit the next ones when all are answered */
    answered(p, first + done + 1, IN, 0, SIZE, got);
    g_assert_cmpmem(got, SIZE, sent + done * SIZE + SIZE / 2, SIZE);
    unplug(p);

    /* The bytes count, not the transfers */
    p = plug_class("cdc-acm");
    configure(p);
    for (i = 0; i < DRIVER; i++) {
        seqnum = submit(p, IN, 1, 0, SIZE, NULL, NULL);
        send_all(p->ports[0], sent, 100);
        answered(p, seqnum, IN, 0, 100, got);
    }

    /* Large transfers are those of a program, and so are all without ACM */
    for (i = 0; i < 4; i++) {
        seqnum = submit(p, IN, 1, 0, sizeof(got), NULL, NULL);
        send_all(p->ports[0], sent, sizeof(got));
        answered(p, seqnum, IN, 0, sizeof(got), got);
    }
    unplug(p);

    p = plug_class("vendor");
    configure(p);
    send_all(p->ports[0], sent, DRIVER * SIZE);
    first = p->seqnum + 1;
    for (i = 0; i < DRIVER; i++) {
        submit(p, IN, 1, 0, SIZE, NULL, NULL);
    }
    for (i = 0; i < DRIVER; i++) {
        answered(p, first + i, IN, 0, SIZE, got);
    }
    unplug(p);
}

/*
 * A terminal that was just opened echoes: it gets nothing for 100 ms. Linux
 * submits transfers before it raises DTR.
 */
static void test_hold(void)
{
    Plugged *p = plug_class("cdc-acm");
    uint32_t seqnum;
    uint8_t got[8];
    int64_t opened;
    int i;

    configure(p);
    send_all(p->ports[0], "1234", 4);
    for (i = 1; i <= 2; i++) {
        opened = g_get_monotonic_time() / 1000;
        seqnum = submit(p, IN, 1, 0, 1, NULL, NULL);
        answered(p, seqnum, IN, 0, 1, got);
        g_assert_cmpint(got[0], ==, '0' + 2 * i - 1);
        g_assert_cmpint(g_get_monotonic_time() / 1000 - opened, >=, 100 - 1);

        opened = g_get_monotonic_time() / 1000;
        control(p, "21 22 0100 0000 0000", "");     /* DTR */
        seqnum = submit(p, IN, 1, 0, 1, NULL, NULL);
        answered(p, seqnum, IN, 0, 1, got);
        g_assert_cmpint(got[0], ==, '0' + 2 * i);
        g_assert_cmpint(g_get_monotonic_time() / 1000 - opened, >=, 100 - 1);
        control(p, "21 22 0000 0000 0000", "");
    }
    unplug(p);
}

/*
 * The pipe is the first interface's that has a pair in some setting, and is not
 * there in the others; other endpoints have nothing and take nothing.
 */
static void test_pipe_of_settings(void)
{
    Plugged *p = plug_settings();
    uint32_t first, second;
    uint8_t got[8];

    send_all(p->ports[0], "bytes", 5);
    control(p, "00 09 0700 0000 0000", "");
    first = submit(p, IN, 1, 0, 8, NULL, NULL);
    waits(p, first);
    control(p, "00 09 0500 0000 0000", "");
    first = submit(p, IN, 5, 0, 8, NULL, NULL);
    second = submit(p, OUT, 6, 0, 1, NULL, "x");
    answered(p, second, OUT, -EPIPE, 0, NULL);
    control(p, "01 0b 0100 0000 0000", "");
    second = submit(p, IN, 4, 0, 8, NULL, NULL);
    waits(p, second);
    second = submit(p, IN, 2, 0, 8, NULL, NULL);
    answered(p, second, IN, 0, 5, got);
    g_assert_cmpmem(got, 5, "bytes", 5);
    second = submit(p, OUT, 3, 0, 1, NULL, "x");
    answered(p, second, OUT, 0, 1, NULL);
    receive_all(p->ports[0], got, 1);
    g_assert_cmpint(got[0], ==, 'x');

    /* What waits ends when its endpoint goes, the rest does not */
    second = submit(p, IN, 2, 0, 8, NULL, NULL);
    {
        uint32_t request = submit(p, OUT, 0, 0, 0, "01 0b 0000 0000 0000",
                                  NULL);

        answered(p, request, OUT, 0, 0, NULL);
        answered(p, second, IN, -EPIPE, 0, NULL);
    }
    unlink_and(p, first, -ECONNRESET);
    unplug(p);
}

/*
 * A blob may be well-formed and no device's: endpoint 0 is no interface's, and
 * of endpoints with one address the first counts
 */
static void test_nonsense(void)
{
    Plugged *p = g_new0(Plugged, 1);
    uint32_t first, second;
    uint8_t got[8];

    port_from_hex(&p->port,
        "12 01 0002 00 00 00 40 0912 0100 0001 00 00 00 01"
        "09 02 4e00 03 01 00 c0 00"
            "09 04 00 00 02 ff 00 00 00"
                "07 05 80 02 0002 00" "07 05 00 02 0002 00"
            "09 04 ff 00 02 02 02 01 00"
                "07 05 91 02 0002 00" "07 05 62 02 0002 00"
            "09 04 02 00 02 ff 00 00 00"
                "07 05 81 03 0800 04" "07 05 02 03 0800 04");
    plug(p);
    configure(p);
    control(p, "a1 21 0000 ff00 0700", "stall");    /* no ACM descriptor */
    control(p, "82 00 0000 8000 0200", "0000");
    control(p, "02 03 0000 8000 0000", "stall");
    control(p, "81 0a 0000 ff00 0100", "00");
    first = submit(p, IN, 1, 0, 8, NULL, NULL);
    second = submit(p, OUT, 2, 0, 1, NULL, "x");
    answered(p, second, OUT, 0, 1, NULL);
    receive_all(p->ports[0], got, 1);
    g_assert_cmpint(got[0], ==, 'x');
    send_all(p->ports[0], "y", 1);
    answered(p, first, IN, 0, 1, got);
    g_assert_cmpint(got[0], ==, 'y');
    unplug(p);
}

static void test_halt(void)
{
    Plugged *p = plug_class("vendor");
    uint32_t first, second, request;
    uint8_t got[8];

    configure(p);
    first = submit(p, IN, 1, 0, 8, NULL, NULL);
    second = submit(p, IN, 1, 0, 8, NULL, NULL);
    request = submit(p, OUT, 0, 0, 0, "02 03 0000 8100 0000", NULL);
    answered(p, request, OUT, 0, 0, NULL);
    answered(p, first, IN, -EPIPE, 0, NULL);
    answered(p, second, IN, -EPIPE, 0, NULL);
    first = submit(p, IN, 1, 0, 8, NULL, NULL);
    answered(p, first, IN, -EPIPE, 0, NULL);
    /* The other direction is another endpoint */
    first = submit(p, OUT, 1, 0, 1, NULL, "x");
    answered(p, first, OUT, 0, 1, NULL);
    control(p, "02 01 0000 8100 0000", "");
    send_all(p->ports[0], "y", 1);
    first = submit(p, IN, 1, 0, 8, NULL, NULL);
    answered(p, first, IN, 0, 1, got);
    unplug(p);
}

/* Who halts an endpoint is told how much of a transfer has gone to the port */
static void test_halt_halfway(void)
{
    Plugged *p = plug_class("vendor");
    enum { BIG = 4 << 20 };
    g_autofree uint8_t *data = g_malloc0(BIG);
    uint32_t first, second, request;
    int gone;

    configure(p);
    first = submit(p, OUT, 1, 0, BIG, NULL, data);
    second = submit(p, OUT, 1, 0, 1, NULL, data);
    /* After its answer, and before the next request, the device writes */
    control(p, "80 08 0000 0000 0100", "01");
    request = submit(p, OUT, 0, 0, 0, "02 03 0000 0100 0000", NULL);
    answered(p, request, OUT, 0, 0, NULL);
    g_assert_cmpint(ioctl(p->ports[0], FIONREAD, &gone), ==, 0);
    g_assert_cmpint(gone, >, 0);
    answered(p, first, OUT, -EPIPE, gone, NULL);
    answered(p, second, OUT, -EPIPE, 0, NULL);
    unplug(p);
}

static void test_unlink(void)
{
    Plugged *p = plug_class("vendor");
    uint32_t first, second, third;
    uint8_t got[8];

    configure(p);
    first = submit(p, IN, 1, 0, 8, NULL, NULL);
    second = submit(p, IN, 1, 0, 8, NULL, NULL);
    third = submit(p, IN, 1, 0, 8, NULL, NULL);
    unlink_and(p, second, -ECONNRESET);
    unlink_and(p, second, 0);
    unlink_and(p, first, -ECONNRESET);
    send_all(p->ports[0], "x", 1);
    answered(p, third, IN, 0, 1, got);
    unlink_and(p, third, 0);
    unlink_and(p, 12345, 0);
    /* Nothing but what was asked for has come */
    g_assert_cmpint(recv(p->socks[0], got, 1, MSG_DONTWAIT), ==, -1);
    unplug(p);
}

/*
 * Nobody reads the other side: transfers wait, requests and unlinks don't, and
 * in the end every byte is there that was not unlinked
 */
static void test_back_pressure(void)
{
    Plugged *p = plug_class("vendor");
    enum { SIZE = 100000, COUNT = 40 };
    g_autofree uint8_t *data = random_bytes(SIZE * COUNT);
    g_autofree uint8_t *got = g_malloc(SIZE * COUNT);
    uint32_t seqnum[COUNT];
    unsigned int i, done, buffer;
    socklen_t length = sizeof(buffer);

    g_assert_cmpint(getsockopt(p->ports[1], SOL_SOCKET, SO_SNDBUF, &buffer,
                               &length), ==, 0);
    configure(p);
    for (i = 0; i < COUNT; i++) {
        seqnum[i] = submit(p, OUT, 1, 0, SIZE, NULL, data + i * SIZE);
    }
    /* As many as fit into the port are done. Behind that answers an unlink. */
    for (done = 0; done < COUNT; done++) {
        uint8_t m[MESSAGE];

        if (done == 0) {
            send_unlink(p, seqnum[COUNT - 1]);
        }
        receive_all(p->socks[0], m, sizeof(m));
        if (get_word(m, 0) == 4) {
            g_assert_cmpint((int32_t)get_word(m, 5), ==, -ECONNRESET);
            break;
        }
        g_assert_cmpuint(get_word(m, 0), ==, 3);
        g_assert_cmpuint(get_word(m, 1), ==, seqnum[done]);
    }
    g_assert_cmpuint(done, <, buffer / SIZE + 1);
    control(p, "80 08 0000 0000 0100", "01");
    unlink_and(p, seqnum[COUNT - 2], -ECONNRESET);

    receive_all(p->ports[0], got, SIZE * (COUNT - 2));
    g_assert_cmpmem(got, SIZE * (COUNT - 2), data, SIZE * (COUNT - 2));
    for (i = done; i < COUNT - 2; i++) {
        answered(p, seqnum[i], OUT, 0, SIZE, NULL);
    }
    unplug(p);
}

/* What is more than the limits is refused, and nothing else is hurt by that */
static void test_limits(void)
{
    Plugged *p = plug_class("vendor");
    enum { BIG = 12 << 20 };
    g_autofree uint8_t *data = g_malloc0(BIG);
    uint32_t first, second, i;
    uint8_t got[8];
    int gone;

    configure(p);
    first = submit(p, OUT, 1, 0, BIG, NULL, data);
    submit(p, OUT, 1, 0, BIG, NULL, data);
    second = submit(p, OUT, 1, 0, BIG, NULL, data);
    answered(p, second, OUT, -ENOMEM, 0, NULL);
    /* Of the first a part has gone, and who unlinks it is told how much */
    g_assert_cmpint(ioctl(p->ports[0], FIONREAD, &gone), ==, 0);
    g_assert_cmpint(gone, >, 0);
    send_unlink(p, first);
    answered(p, first, OUT, -ECONNRESET, gone, NULL);
    unlinked(p, 0);
    second = submit(p, OUT, 1, 0, BIG, NULL, data);
    unlink_and(p, second, -ECONNRESET);
    unlink_and(p, first + 1, -ECONNRESET);

    first = p->seqnum + 1;
    for (i = 0; i < 4096; i++) {
        submit(p, IN, 1, 0, 1 << 30, NULL, NULL);
    }
    second = submit(p, IN, 1, 0, 8, NULL, NULL);
    answered(p, second, IN, -ENOMEM, 0, NULL);
    unlink_and(p, first + 1, -ECONNRESET);
    second = submit(p, IN, 1, 0, 8, NULL, NULL);
    send_all(p->ports[0], "x", 1);
    answered(p, first, IN, 0, 1, got);
    unlink_and(p, second, -ECONNRESET);
    unplug(p);
}

/* Messages come as they like */
static void test_pieces(void)
{
    Plugged *p = plug_class("vendor");
    uint8_t m[2 * MESSAGE + 300] = { 0 };
    char got[8];
    unsigned int i;

    configure(p);
    put_words(m, 10, 1, 100, 0x10002, OUT, 1, 0, 300, 0, 0xffffffff, 0);
    memset(m + MESSAGE, 'x', 300);
    put_words(m + MESSAGE + 300, 10, 1, 101, 0x10002, IN, 1, 0, 8, 0, 0, 0);
    for (i = 0; i < sizeof(m); i++) {
        send_all(p->socks[0], m + i, 1);
    }
    answered(p, 100, OUT, 0, 300, NULL);
    receive_all(p->ports[0], m, 300);
    g_assert_cmpint(m[0], ==, 'x');
    g_assert_cmpint(m[299], ==, 'x');
    send_all(p->ports[0], "y", 1);
    answered(p, 101, IN, 0, 1, got);
    unplug(p);
}

static void test_malformed(void)
{
    static const struct {
        unsigned int word;
        uint32_t value;
        const char *says;
    } bad[] = {
        { 0, 0, "command 0" },
        { 0, 3, "command 3" },
        { 3, 2, "direction 2" },
        { 4, 16, "ep 16" },
        { 4, 0x80000001, "ep 2147483649" },
        { 6, 0x80000000, "transfer_buffer_length 2147483648" },
        { 8, 1, "number_of_packets 1" },
    };
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        Plugged *p = plug_class("vendor");
        uint8_t m[MESSAGE] = { 0 };

        configure(p);
        put_words(m, 10, 1, 100, 0x10002, OUT, 1, 0, 0, 0, 0, 0);
        put_words(m + 4 * bad[i].word, 1, bad[i].value);
        send_all(p->socks[0], m, sizeof(m));
        ended(p, USB_IP_FAILED);
        g_assert_nonnull(strstr(last_error, "vport0p1: malformed message"));
        g_assert_true(g_str_has_suffix(last_error, bad[i].says));
    }

    /* A control transfer that can't be */
    {
        Plugged *p = plug_class("vendor");

        submit(p, IN, 0, 0, 65536, "80 06 0001 0000 ffff", NULL);
        ended(p, USB_IP_FAILED);
        g_assert_true(g_str_has_suffix(last_error,
                                       "transfer_buffer_length 65536"));
    }
}

/*
 * Ends
 */

/* What the host sent before it closed arrives, if somebody reads it */
static void test_host_closes(void)
{
    Plugged *p = plug_class("vendor");
    enum { SIZE = 150000 };
    g_autofree uint8_t *data = random_bytes(SIZE);
    g_autofree uint8_t *got = g_malloc(SIZE);
    size_t at, n;
    uint8_t m[MESSAGE];

    configure(p);
    send_all(p->ports[0], data, SIZE);
    g_assert_cmpint(shutdown(p->ports[0], SHUT_RDWR), ==, 0);
    for (at = 0; at < SIZE; at += n) {
        submit(p, IN, 1, 0, 1000, NULL, NULL);
        receive_all(p->socks[0], m, sizeof(m));
        g_assert_cmpuint(get_word(m, 1), ==, p->seqnum);
        n = get_word(m, 6);
        g_assert_cmpuint(n, <=, SIZE - at);
        receive_all(p->socks[0], got + at, n);
    }
    g_assert_cmpmem(got, SIZE, data, SIZE);
    submit(p, IN, 1, 0, 1000, NULL, NULL);
    g_assert_cmpint(recv(p->socks[0], m, 1, 0), <=, 0);
    ended(p, USB_IP_HOST_CLOSED);

    /* Nobody reads */
    p = plug_class("vendor");
    configure(p);
    send_all(p->ports[0], "x", 1);
    g_assert_cmpint(shutdown(p->ports[0], SHUT_RDWR), ==, 0);
    ended(p, USB_IP_HOST_CLOSED);
}

/* The host, which counts: @n bytes more, of which the first is number @from */
static void count_to_port(Plugged *p, unsigned int from, unsigned int n)
{
    for (; n; from++, n--) {
        uint8_t byte = from % 251;

        g_assert_cmpint(write(p->ports[0], &byte, 1), ==, 1);
    }
}

/*
 * The host closes and opens again while the device is still there, because not
 * all is read: it goes nevertheless, and the rest is for the one plugged next
 */
static void test_host_opens_again(void)
{
    Plugged *p = g_new0(Plugged, 1);
    enum { AHEAD = 1000 };
    unsigned int sent = AHEAD, got = 0;
    struct termios raw = { .c_cflag = CS8 | CREAD };
    int64_t opened;
    uint8_t m[MESSAGE], byte;
    char name[64];

    /* Of a pseudo-terminal the one side may be closed and opened again */
    g_assert_cmpint(openpty(&p->ports[1], &p->ports[0], name, &raw, NULL), ==,
                    0);
    port_from_class(&p->port, "vendor");
    plug_with(p);
    configure(p);
    count_to_port(p, 0, sent);
    close(p->ports[0]);
    /* It has seen that with its answer to this */
    control(p, "80 08 0000 0000 0100", "01");
    p->ports[0] = open(name, O_RDWR | O_NOCTTY);
    g_assert_cmpint(p->ports[0], >=, 0);

    /* The guest reads more slowly than the host sends. A device stays 1 s. */
    opened = g_get_monotonic_time();
    for (;;) {
        count_to_port(p, sent++, 1);
        submit(p, IN, 1, 0, 1, NULL, NULL);
        if (recv(p->socks[0], m, sizeof(m), MSG_WAITALL) <= 0) {
            break;
        }
        g_assert_cmpuint(get_word(m, 6), ==, 1);
        receive_all(p->socks[0], &byte, 1);
        g_assert_cmpuint(byte, ==, got++ % 251);
        g_assert_cmpint(g_get_monotonic_time() - opened, <,
                        3 * G_TIME_SPAN_SECOND);
    }
    for (; got < sent; got++) {
        struct pollfd wait = { p->ports[1], POLLIN, 0 };

        g_assert_cmpint(poll(&wait, 1, TIMEOUT), ==, 1);
        g_assert_cmpint(read(p->ports[1], &byte, 1), ==, 1);
        g_assert_cmpuint(byte, ==, got % 251);
    }
    ended(p, USB_IP_HOST_CLOSED);
}

static void test_detached(void)
{
    Plugged *p = plug_class("vendor");

    /* In the middle of a transfer, while others wait */
    configure(p);
    submit(p, IN, 1, 0, 8, NULL, NULL);
    {
        uint8_t m[MESSAGE] = { 0 };

        put_words(m, 10, 1, 100, 0x10002, OUT, 1, 0, 300, 0, 0, 0);
        send_all(p->socks[0], m, sizeof(m));
    }
    unplug(p);
}

static void test_stopped(void)
{
    Plugged *p = plug_class("vendor");

    configure(p);
    submit(p, IN, 1, 0, 8, NULL, NULL);
    send_all(p->stops[0], "x", 1);
    ended(p, USB_IP_STOPPED);
}

int main(int argc, char **argv)
{
    /* A port is no socket: nobody needs that in the program itself */
    signal(SIGPIPE, SIG_IGN);
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/usb/descriptors", test_descriptors);
    g_test_add_func("/usb/standard-requests", test_standard_requests);
    g_test_add_func("/usb/cdc-requests", test_cdc_requests);
    g_test_add_func("/usb/longer", test_longer);
    g_test_add_func("/usb/refused", test_refused);
    g_test_add_func("/usb/speed", test_speed);
    g_test_add_func("/usb/bytes", test_bytes);
    g_test_add_func("/usb/many-bytes", test_many_bytes);
    g_test_add_func("/usb/ahead", test_ahead);
    g_test_add_func("/usb/hold", test_hold);
    g_test_add_func("/usb/pipe-of-settings", test_pipe_of_settings);
    g_test_add_func("/usb/nonsense", test_nonsense);
    g_test_add_func("/usb/halt", test_halt);
    g_test_add_func("/usb/halt-halfway", test_halt_halfway);
    g_test_add_func("/usb/unlink", test_unlink);
    g_test_add_func("/usb/back-pressure", test_back_pressure);
    g_test_add_func("/usb/limits", test_limits);
    g_test_add_func("/usb/pieces", test_pieces);
    g_test_add_func("/usb/malformed", test_malformed);
    g_test_add_func("/usb/host-closes", test_host_closes);
    g_test_add_func("/usb/host-opens-again", test_host_opens_again);
    g_test_add_func("/usb/detached", test_detached);
    g_test_add_func("/usb/stopped", test_stopped);
    return g_test_run();
}
