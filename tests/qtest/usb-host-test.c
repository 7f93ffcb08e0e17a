/*
 * qtest of usb-host, with a USB device that does what the test says
 *
 * The device is in usb-host-libusb.c, which QEMU loads in the place of libusb.
 * The guest's driver is here.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <libusb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "libqos/usb-xhci.h"

#define TIMEOUT_MS      (30 * 1000)

/* Endpoints as in a doorbell, and as libusb has them */
#define BULK_IN         3
#define BULK_OUT        4
#define EP_IN           0x81
#define EP_OUT          0x02

#define PACKET          512
#define TRB_CHAIN       (1 << 4)

/* What usb-host hands on of a device's bytes before they end */
#define PIPELINE_MAX    (1 * MiB)

typedef struct Test {
    QOSState *qs;
    QXHCI xhci;
    QXHCIDriver d;
    QXHCIRing rings[BULK_OUT + 1];
    uint64_t data;              /* 64 KiB: of each transfer, or the same */
    char *dir;
    int fd;
    GString *heard;
    int refused;                /* transfers, for want of memory */
} Test;

/*
 * The device
 */

/*
 * The next line that the device says. QEMU may try a transfer again as often as
 * it likes, so a refusal is only counted.
 */
static char *line_of(Test *t)
{
    struct pollfd fd = { .fd = t->fd, .events = POLLIN };
    char buffer[4096];
    char *end, *line;
    ssize_t len;

    for (;;) {
        while (!(end = strchr(t->heard->str, '\n'))) {
            g_assert_cmpint(poll(&fd, 1, TIMEOUT_MS), >, 0);
            len = read(t->fd, buffer, sizeof(buffer));
            g_assert_cmpint(len, >, 0);
            g_string_append_len(t->heard, buffer, len);
        }
        line = g_strndup(t->heard->str, end - t->heard->str);
        g_string_erase(t->heard, 0, end - t->heard->str + 1);
        if (!g_str_has_prefix(line, "refuse ")) {
            return line;
        }
        t->refused++;
        g_free(line);
    }
}

/* Tell the device something. What it has said up to its answer. */
static char *tell(Test *t, const char *format, ...) G_GNUC_PRINTF(2, 3);
static char *tell(Test *t, const char *format, ...)
{
    GString *said = g_string_new("");
    va_list ap;
    char *line;

    va_start(ap, format);
    line = g_strdup_vprintf(format, ap);
    va_end(ap);
    g_assert_cmpint(write(t->fd, line, strlen(line)), ==, strlen(line));
    g_free(line);
    for (;;) {
        line = line_of(t);
        if (strcmp(line, "ok") == 0) {
            break;
        }
        g_string_append_printf(said, "%s%s", said->len ? ", " : "", line);
        g_free(line);
    }
    g_free(line);
    return g_string_free(said, FALSE);
}

/* Since the last time, the device has said this, and no more */
static void assert_said(Test *t, const char *expected)
{
    char *said = tell(t, "sync\n");

    g_assert_cmpstr(said, ==, expected);
    g_free(said);
}

static void assert_next(Test *t, const char *expected)
{
    char *line = line_of(t);

    g_assert_cmpstr(line, ==, expected);
    g_free(line);
}

/* Transfer @id ends with @actual bytes, the first of which is @seed */
static void device_end(Test *t, unsigned int id, int status,
                       unsigned int actual, uint8_t seed)
{
    char *said = tell(t, "end %u %d %u %u\n", id, status, actual, seed);

    g_assert_cmpstr(said, ==, "");
    g_free(said);
}

static void device_set(Test *t, const char *what)
{
    char *said = tell(t, "%s\n", what);

    g_assert_cmpstr(said, ==, "");
    g_free(said);
}

/* "submit ID EP LENGTH FIRST" for a number of transfers of a packet */
static char *submitted(unsigned int id, int ep, int count, uint8_t first)
{
    GString *lines = g_string_new("");
    int i;

    for (i = 0; i < count; i++) {
        g_string_append_printf(lines, "%ssubmit %u %02x %d %u", i ? ", " : "",
                               id + i, ep, PACKET,
                               ep == EP_IN ? 0 : first + i);
    }
    return g_string_free(lines, FALSE);
}

static void assert_submitted(Test *t, unsigned int id, int ep, int count,
                             uint8_t first)
{
    char *lines = submitted(id, ep, count, first);

    assert_said(t, lines);
    g_free(lines);
}

/*
 * The guest
 */

static void test_start(Test *t, const char *pipeline)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char *library = g_test_build_filename(G_TEST_BUILT, "usb-host-libusb.so",
                                          NULL);
    QXHCIDriver *d = &t->d;
    int server, i;

    memset(t, 0, sizeof(*t));
    t->heard = g_string_new("");
    t->dir = g_dir_make_tmp("usb-host-XXXXXX", NULL);
    g_snprintf(address.sun_path, sizeof(address.sun_path), "%s/device",
               t->dir);
    server = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(server, (struct sockaddr *)&address,
                         sizeof(address)), ==, 0);
    g_assert_cmpint(listen(server, 1), ==, 0);
    g_assert_true(g_file_test(library, G_FILE_TEST_EXISTS));
    g_setenv("USB_HOST_TEST", address.sun_path, true);
    g_setenv("LD_PRELOAD", library, true);
    t->qs = qtest_pc_boot("-machine pc -device qemu-xhci,id=xhci,addr=04.0"
                          " -device usb-host,id=host,bus=xhci.0,hostbus=1,"
                          "hostaddr=5%s", pipeline);
    g_unsetenv("LD_PRELOAD");
    g_free(library);
    t->fd = accept(server, NULL, NULL);
    g_assert_cmpint(t->fd, >=, 0);
    close(server);
    unlink(address.sun_path);

    qpci_device_init(&t->xhci.dev, t->qs->pcibus, &(QPCIAddress) {
                     .devfn = QPCI_DEVFN(4, 0) });
    qxhci_start(d, &t->xhci, &t->qs->alloc);
    qxhci_control(d, 9 << 8 | 1 << 16, XHCI_TRB_IOC, XHCI_CC_SUCCESS);
    for (i = BULK_IN; i <= BULK_OUT; i++) {
        t->rings[i].addr = qxhci_page(d);
        qxhci_endpoint(d, i, i == BULK_IN ? XHCI_EP_BULK_IN :
                       XHCI_EP_BULK_OUT, PACKET, t->rings[i].addr, 0);
    }
    qxhci_command(d, d->in, XHCI_TRB_TYPE(XHCI_TRB_CONFIGURE));
    t->data = guest_alloc(&t->qs->alloc, 64 * KiB);
}

/* All requests of the device end when it goes */
static void test_end(Test *t, bool is_gone)
{
    if (!is_gone) {
        char *line = NULL;

        qtest_qmp_device_del(t->qs->qts, "host");
        do {
            g_free(line);
            line = line_of(t);
        } while (strncmp(line, "close", 5));
        g_assert_cmpstr(line, ==, "close 0");
        g_free(line);
    }
    qtest_pc_shutdown(t->qs);
    close(t->fd);
    rmdir(t->dir);
    g_free(t->dir);
    g_string_free(t->heard, true);
}

static uint64_t data_of(Test *t, int i)
{
    return t->data + i * PACKET;
}

/* Transfer @i is one of a packet, which begins with the byte @i if it is OUT */
static void guest_add(Test *t, int dci, int first, int count)
{
    uint8_t packet[PACKET];
    int i, j;

    for (i = first; i < first + count; i++) {
        for (j = 0; j < sizeof(packet); j++) {
            packet[j] = dci == BULK_OUT ? i + j : 0xee;
        }
        qtest_memwrite(t->d.qts, data_of(t, i), packet, sizeof(packet));
        qxhci_ring_add(&t->d, &t->rings[dci], data_of(t, i), PACKET,
                       XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | XHCI_TRB_IOC |
                       XHCI_TRB_ISP);
    }
}

static void guest_kick(Test *t, int dci)
{
    qxhci_write(&t->d, XHCI_DOORBELL(t->d.slot), dci);
}

/* The next transfer that ends is the one at @index of the ring */
static void guest_ended(Test *t, int dci, int index, int code)
{
    uint64_t trb;

    qxhci_event(&t->d, XHCI_TRB_TRANSFER, code, &trb);
    g_assert_cmphex(trb, ==, t->rings[dci].addr + 16 * index);
}

static void guest_read(Test *t, int i, unsigned int actual, uint8_t seed)
{
    uint8_t packet[PACKET];
    int j;

    qtest_memread(t->d.qts, data_of(t, i), packet, sizeof(packet));
    for (j = 0; j < sizeof(packet); j++) {
        g_assert_cmphex(packet[j], ==, j < actual ? (uint8_t)(seed + j) : 0xee);
    }
}

/* Go on at @index of the ring, as a driver does after an error */
static void guest_restart(Test *t, int dci, int index)
{
    QXHCIDriver *d = &t->d;

    qxhci_command(d, 0, XHCI_TRB_TYPE(XHCI_TRB_RESET_EP) | XHCI_TRB_EP(dci));
    qxhci_command(d, (t->rings[dci].addr + 16 * index) | XHCI_TRB_C,
                  XHCI_TRB_TYPE(XHCI_TRB_DEQUEUE) | XHCI_TRB_EP(dci));
    guest_kick(t, dci);
}

/*
 * Tests
 */

/* The device has all transfers before the first one ends */
static void test_depth(void)
{
    const int depth = 8;
    Test t;
    int i;

    test_start(&t, "");
    guest_add(&t, BULK_OUT, 0, depth);
    guest_kick(&t, BULK_OUT);
    assert_submitted(&t, 1, EP_OUT, depth, 0);
    guest_add(&t, BULK_IN, depth, depth);
    guest_kick(&t, BULK_IN);
    assert_submitted(&t, 1 + depth, EP_IN, depth, 0);
    for (i = 0; i < depth; i++) {
        device_end(&t, 1 + i, LIBUSB_TRANSFER_COMPLETED, PACKET, 0);
        guest_ended(&t, BULK_OUT, i, XHCI_CC_SUCCESS);
        device_end(&t, 1 + depth + i, LIBUSB_TRANSFER_COMPLETED, PACKET, 7 * i);
        guest_ended(&t, BULK_IN, i, XHCI_CC_SUCCESS);
        guest_read(&t, depth + i, PACKET, 7 * i);
    }
    assert_said(&t, "");
    test_end(&t, false);
}

/* As it was for ten years */
static void test_off(void)
{
    Test t;
    int i;

    test_start(&t, ",pipeline=off");
    guest_add(&t, BULK_OUT, 0, 4);
    guest_kick(&t, BULK_OUT);
    guest_add(&t, BULK_IN, 4, 4);
    guest_kick(&t, BULK_IN);
    assert_said(&t, "submit 1 02 512 0, submit 2 81 512 0");
    for (i = 0; i < 4; i++) {
        device_end(&t, 1 + 2 * i, LIBUSB_TRANSFER_COMPLETED, PACKET, 0);
        guest_ended(&t, BULK_OUT, i, XHCI_CC_SUCCESS);
        if (i < 3) {
            assert_submitted(&t, 3 + 2 * i, EP_OUT, 1, i + 1);
        }
        device_end(&t, 2 + 2 * i, LIBUSB_TRANSFER_COMPLETED, PACKET, 9 * i);
        guest_ended(&t, BULK_IN, i, XHCI_CC_SUCCESS);
        guest_read(&t, 4 + i, PACKET, 9 * i);
        if (i < 3) {
            assert_submitted(&t, 4 + 2 * i, EP_IN, 1, 0);
        }
    }
    test_end(&t, false);
}

/* A short packet ends its transfer, and no other */
static void test_short(void)
{
    Test t;

    test_start(&t, "");
    guest_add(&t, BULK_IN, 0, 3);
    guest_kick(&t, BULK_IN);
    assert_submitted(&t, 1, EP_IN, 3, 0);
    device_end(&t, 1, LIBUSB_TRANSFER_COMPLETED, 100, 1);
    guest_ended(&t, BULK_IN, 0, XHCI_CC_SHORT);
    guest_read(&t, 0, 100, 1);
    device_end(&t, 2, LIBUSB_TRANSFER_COMPLETED, PACKET, 2);
    guest_ended(&t, BULK_IN, 1, XHCI_CC_SUCCESS);
    guest_read(&t, 1, PACKET, 2);
    device_end(&t, 3, LIBUSB_TRANSFER_COMPLETED, 0, 3);
    guest_ended(&t, BULK_IN, 2, XHCI_CC_SHORT);
    guest_read(&t, 2, 0, 0);
    assert_said(&t, "");
    test_end(&t, false);
}

/*
 * An error ends the queue. The device has nothing of it, from the last one to
 * the first one, until the guest goes on.
 */
static void test_error(const void *data)
{
    int dci = GPOINTER_TO_INT(data) & 0xff;
    int ep = dci == BULK_IN ? EP_IN : EP_OUT;
    int status = GPOINTER_TO_INT(data) >> 8;
    int code = status == LIBUSB_TRANSFER_STALL ? XHCI_CC_STALL : 4;
    Test t;
    int i;

    test_start(&t, "");
    guest_add(&t, dci, 0, 5);
    guest_kick(&t, dci);
    assert_submitted(&t, 1, ep, 5, 0);
    device_end(&t, 1, LIBUSB_TRANSFER_COMPLETED, PACKET, 3);
    guest_ended(&t, dci, 0, XHCI_CC_SUCCESS);
    device_end(&t, 2, status, 0, 0);
    guest_ended(&t, dci, 1, code);
    assert_said(&t, "cancel 5, cancel 4, cancel 3");
    g_assert_cmphex(qxhci_ep_state(&t.d, dci), ==, XHCI_EP_HALTED);

    /* The guest's next transfers wait as well */
    guest_add(&t, dci, 5, 2);
    guest_kick(&t, dci);
    assert_said(&t, "");

    qxhci_control(&t.d, 2 | 1 << 8 | (uint64_t)ep << 32, XHCI_TRB_IOC,
                  XHCI_CC_SUCCESS);
    assert_said(&t, ep == EP_IN ? "clear 81" : "clear 02");
    guest_restart(&t, dci, 2);
    assert_submitted(&t, 6, ep, 5, 2);
    for (i = 2; i < 7; i++) {
        device_end(&t, 4 + i, LIBUSB_TRANSFER_COMPLETED, PACKET, i);
        guest_ended(&t, dci, i, XHCI_CC_SUCCESS);
        if (ep == EP_IN) {
            guest_read(&t, i, PACKET, i);
        }
    }
    test_end(&t, false);
}

/* The guest stops an endpoint: the device has nothing of its queue any more */
static void test_stop(void)
{
    QXHCIDriver *d;
    Test t;
    int i;

    test_start(&t, "");
    d = &t.d;
    guest_add(&t, BULK_OUT, 0, 2);
    guest_kick(&t, BULK_OUT);
    guest_add(&t, BULK_IN, 2, 3);
    guest_kick(&t, BULK_IN);
    assert_said(&t, "submit 1 02 512 0, submit 2 02 512 1, submit 3 81 512 0, "
                "submit 4 81 512 0, submit 5 81 512 0");
    qxhci_command(d, 0, XHCI_TRB_TYPE(XHCI_TRB_STOP_EP) | XHCI_TRB_EP(BULK_IN));
    assert_said(&t, "cancel 3, cancel 4, cancel 5");

    /* The other endpoint goes on, and this one too */
    device_end(&t, 1, LIBUSB_TRANSFER_COMPLETED, PACKET, 0);
    guest_ended(&t, BULK_OUT, 0, XHCI_CC_SUCCESS);
    qxhci_command(d, t.rings[BULK_IN].addr | XHCI_TRB_C,
                  XHCI_TRB_TYPE(XHCI_TRB_DEQUEUE) | XHCI_TRB_EP(BULK_IN));
    guest_kick(&t, BULK_IN);
    assert_submitted(&t, 6, EP_IN, 3, 0);
    for (i = 0; i < 3; i++) {
        device_end(&t, 6 + i, LIBUSB_TRANSFER_COMPLETED, PACKET, i);
        guest_ended(&t, BULK_IN, i, XHCI_CC_SUCCESS);
        guest_read(&t, 2 + i, PACKET, i);
    }
    device_end(&t, 2, LIBUSB_TRANSFER_COMPLETED, PACKET, 0);
    guest_ended(&t, BULK_OUT, 1, XHCI_CC_SUCCESS);
    test_end(&t, false);
}

/* The user takes the device away from the guest */
static void test_unplug(void)
{
    Test t;

    test_start(&t, "");
    guest_add(&t, BULK_OUT, 0, 3);
    guest_kick(&t, BULK_OUT);
    guest_add(&t, BULK_IN, 3, 3);
    guest_kick(&t, BULK_IN);
    test_end(&t, false);
}

/* The device goes away on the host */
static void test_gone(void)
{
    Test t;

    test_start(&t, "");
    guest_add(&t, BULK_IN, 0, 3);
    guest_kick(&t, BULK_IN);
    assert_submitted(&t, 1, EP_IN, 3, 0);
    device_set(&t, "gone");
    guest_add(&t, BULK_IN, 3, 2);
    guest_kick(&t, BULK_IN);
    device_end(&t, 1, LIBUSB_TRANSFER_NO_DEVICE, 0, 0);
    guest_ended(&t, BULK_IN, 0, 4);
    assert_next(&t, "cancel 3");
    assert_next(&t, "cancel 2");
    assert_next(&t, "close 0");
    test_end(&t, true);
}

/* The device goes away while nothing is in its queue */
static void test_gone_idle(void)
{
    Test t;

    test_start(&t, "");
    device_set(&t, "gone");
    guest_add(&t, BULK_OUT, 0, 3);
    guest_kick(&t, BULK_OUT);
    guest_ended(&t, BULK_OUT, 0, 4);
    assert_next(&t, "close 0");
    test_end(&t, true);
}

/* The host has no memory: what is behind waits, and nothing overtakes it */
static void test_memory(void)
{
    Test t;
    int i;

    test_start(&t, "");
    device_set(&t, "limit 1024");
    guest_add(&t, BULK_OUT, 0, 5);
    guest_kick(&t, BULK_OUT);
    assert_submitted(&t, 1, EP_OUT, 2, 0);
    g_assert_cmpint(t.refused, >, 0);
    for (i = 0; i < 5; i++) {
        device_end(&t, 1 + i, LIBUSB_TRANSFER_COMPLETED, PACKET, 0);
        guest_ended(&t, BULK_OUT, i, XHCI_CC_SUCCESS);
        if (i < 3) {
            char *line = submitted(3 + i, EP_OUT, 1, 2 + i);

            assert_next(&t, line);
            g_free(line);
        }
    }

    /* One that the host refuses when nothing else is there fails */
    device_set(&t, "limit 100");
    guest_add(&t, BULK_OUT, 5, 3);
    guest_kick(&t, BULK_OUT);
    guest_ended(&t, BULK_OUT, 5, 4);
    g_assert_cmphex(qxhci_ep_state(&t.d, BULK_OUT), ==, XHCI_EP_HALTED);
    device_set(&t, "limit 10000");
    guest_restart(&t, BULK_OUT, 6);
    assert_submitted(&t, 6, EP_OUT, 2, 6);
    test_end(&t, false);
}

/* One device leaves memory of the host to others */
static void test_limit(void)
{
    const int size = 128 * KiB, room = PIPELINE_MAX / size;
    const int count = room + 4;
    Test t;
    int i;

    test_start(&t, "");
    for (i = 0; i < count; i++) {
        qxhci_ring_add(&t.d, &t.rings[BULK_IN], t.data, size / 2,
                       XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | TRB_CHAIN);
        qxhci_ring_add(&t.d, &t.rings[BULK_IN], t.data, size / 2,
                       XHCI_TRB_TYPE(XHCI_TRB_NORMAL) | XHCI_TRB_IOC);
    }
    guest_kick(&t, BULK_IN);
    for (i = 0; i < room; i++) {
        char *line = g_strdup_printf("submit %d 81 %d 0", 1 + i, size);

        assert_next(&t, line);
        g_free(line);
    }
    assert_said(&t, "");

    /* Not even its first one waits on another endpoint */
    guest_add(&t, BULK_OUT, 0, 2);
    guest_kick(&t, BULK_OUT);
    assert_submitted(&t, 1 + room, EP_OUT, 1, 0);
    device_end(&t, 1, LIBUSB_TRANSFER_COMPLETED, size, 0);
    guest_ended(&t, BULK_IN, 1, XHCI_CC_SUCCESS);
    device_end(&t, 1 + room, LIBUSB_TRANSFER_COMPLETED, PACKET, 0);
    guest_ended(&t, BULK_OUT, 0, XHCI_CC_SUCCESS);
    assert_next(&t, "submit 10 81 131072 0");
    assert_next(&t, "submit 11 02 512 1");
    assert_said(&t, "");

    /* The guest takes back what waits */
    qxhci_command(&t.d, 0, XHCI_TRB_TYPE(XHCI_TRB_STOP_EP) |
                  XHCI_TRB_EP(BULK_IN));
    test_end(&t, false);
}

/* The guest takes another setting while transfers are on their way */
static void test_setting(void)
{
    Test t;

    test_start(&t, "");
    guest_add(&t, BULK_OUT, 0, 3);
    guest_kick(&t, BULK_OUT);
    guest_add(&t, BULK_IN, 3, 3);
    guest_kick(&t, BULK_IN);
    assert_said(&t, "submit 1 02 512 0, submit 2 02 512 1, submit 3 02 512 2, "
                "submit 4 81 512 0, submit 5 81 512 0, submit 6 81 512 0");
    qxhci_ring_add(&t.d, &t.d.ep0, 1 | 11 << 8 | 1 << 16, 8,
                   XHCI_TRB_TYPE(XHCI_TRB_SETUP) | XHCI_TRB_IDT);
    qxhci_ring_add(&t.d, &t.d.ep0, 0, 0, XHCI_TRB_TYPE(XHCI_TRB_STATUS) |
                   XHCI_TRB_IOC | 1 << 16);
    guest_kick(&t, 1);
    guest_ended(&t, BULK_OUT, 0, 4);
    guest_ended(&t, BULK_IN, 0, 4);
    qxhci_event(&t.d, XHCI_TRB_TRANSFER, XHCI_CC_SUCCESS, NULL);
    assert_said(&t, "cancel 3, cancel 2, cancel 1, cancel 6, cancel 5, "
                "cancel 4, setting 1");
    guest_restart(&t, BULK_IN, 1);
    assert_submitted(&t, 7, EP_IN, 2, 0);
    device_end(&t, 7, LIBUSB_TRANSFER_COMPLETED, PACKET, 5);
    guest_ended(&t, BULK_IN, 1, XHCI_CC_SUCCESS);
    guest_read(&t, 4, PACKET, 5);
    test_end(&t, false);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int dci;
        enum libusb_transfer_status status;
    } errors[] = {
        { "/usb-host/stall/in", BULK_IN, LIBUSB_TRANSFER_STALL },
        { "/usb-host/stall/out", BULK_OUT, LIBUSB_TRANSFER_STALL },
        { "/usb-host/error/in", BULK_IN, LIBUSB_TRANSFER_ERROR },
        { "/usb-host/error/out", BULK_OUT, LIBUSB_TRANSFER_ERROR },
    };
    int i;

    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/usb-host/depth", test_depth);
    qtest_add_func("/usb-host/off", test_off);
    qtest_add_func("/usb-host/short", test_short);
    for (i = 0; i < ARRAY_SIZE(errors); i++) {
        qtest_add_data_func(errors[i].name,
                            GINT_TO_POINTER(errors[i].dci |
                                            errors[i].status << 8),
                            test_error);
    }
    qtest_add_func("/usb-host/stop", test_stop);
    qtest_add_func("/usb-host/unplug", test_unplug);
    qtest_add_func("/usb-host/gone", test_gone);
    qtest_add_func("/usb-host/gone-idle", test_gone_idle);
    qtest_add_func("/usb-host/memory", test_memory);
    qtest_add_func("/usb-host/limit", test_limit);
    qtest_add_func("/usb-host/setting", test_setting);
    return g_test_run();
}
