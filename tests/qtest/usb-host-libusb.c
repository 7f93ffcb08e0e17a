/*
 * A libusb with one USB device, which does what a test says
 *
 * QEMU loads it in the place of libusb. It tells the test, over a socket, what
 * QEMU asks of the device, and ends transfers as the test says: usb-host-test.c
 * has the other end. Each side sends lines.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <libusb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef struct Transfer {
    unsigned int id;
    bool in_flight;
    enum libusb_transfer_status status;
    struct libusb_transfer xfer;
} Transfer;

struct libusb_device {
    int references;
};

/* libusb's types of one device are opaque, and there is one of each */
static struct libusb_device the_device;
static struct libusb_pollfd socket_fd, event_fd;
static GQueue in_flight = G_QUEUE_INIT, ended = G_QUEUE_INIT;
static unsigned int next_id = 1, live;
static size_t bytes, limit = SIZE_MAX;
static bool gone;

static G_GNUC_PRINTF(1, 2) void say(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vdprintf(socket_fd.fd, format, ap);
    va_end(ap);
}

/*
 * Transfers
 */

static Transfer *transfer(struct libusb_transfer *xfer)
{
    return container_of(xfer, Transfer, xfer);
}

/* QEMU hears of it in its next event loop, as from libusb */
static void end(Transfer *t, enum libusb_transfer_status status, int actual)
{
    g_queue_remove(&in_flight, t);
    t->status = status;
    t->xfer.actual_length = actual;
    g_queue_push_tail(&ended, t);
    eventfd_write(event_fd.fd, 1);
}

struct libusb_transfer *libusb_alloc_transfer(int iso_packets)
{
    Transfer *t = g_malloc0(sizeof(*t) + iso_packets *
                            sizeof(t->xfer.iso_packet_desc[0]));

    live++;
    return &t->xfer;
}

void libusb_free_transfer(struct libusb_transfer *xfer)
{
    if (xfer) {
        g_assert_false(transfer(xfer)->in_flight);
        live--;
        g_free(transfer(xfer));
    }
}

/* Requests of endpoint 0 end at once */
static int submit_control(Transfer *t)
{
    static const uint8_t descriptor[18] = {
        18, 1, 0, 2, 0, 0, 0, 64, 0x34, 0x12, 0x78, 0x56, 0, 1, 0, 0, 0, 1
    };
    uint8_t *setup = t->xfer.buffer;
    int actual = 0;

    if (setup[0] == 0x80 && setup[1] == 6 && setup[3] == 1) {
        actual = MIN(sizeof(descriptor), t->xfer.length - 8);
        memcpy(setup + 8, descriptor, actual);
    }
    t->in_flight = true;
    end(t, LIBUSB_TRANSFER_COMPLETED, actual);
    return 0;
}

int libusb_submit_transfer(struct libusb_transfer *xfer)
{
    Transfer *t = transfer(xfer);
    bool good = true;
    int i;

    g_assert_false(t->in_flight);
    if (gone) {
        return LIBUSB_ERROR_NO_DEVICE;
    }
    if (xfer->type == LIBUSB_TRANSFER_TYPE_CONTROL) {
        return submit_control(t);
    }
    if (bytes + xfer->length > limit) {
        say("refuse %02x\n", xfer->endpoint);
        return LIBUSB_ERROR_NO_MEM;
    }
    t->id = next_id++;
    t->in_flight = true;
    bytes += xfer->length;
    g_queue_push_tail(&in_flight, t);
    if (!(xfer->endpoint & LIBUSB_ENDPOINT_IN)) {
        for (i = 1; i < xfer->length; i++) {
            good = good && xfer->buffer[i] == (uint8_t)(xfer->buffer[0] + i);
        }
    }
    say("submit %u %02x %d %u\n", t->id, xfer->endpoint, xfer->length,
        xfer->endpoint & LIBUSB_ENDPOINT_IN ? 0 :
        good ? xfer->buffer[0] : 256);
    return 0;
}

int libusb_cancel_transfer(struct libusb_transfer *xfer)
{
    Transfer *t = transfer(xfer);

    if (!g_queue_find(&in_flight, t)) {
        return LIBUSB_ERROR_NOT_FOUND;
    }
    say("cancel %u\n", t->id);
    end(t, LIBUSB_TRANSFER_CANCELLED, 0);
    return 0;
}

/* What the test says: it sends a line, and waits for the answer */
static void hear(void)
{
    char line[128] = "";
    unsigned int id, status, actual, seed, i;
    GList *entry;

    if (read(socket_fd.fd, line, sizeof(line) - 1) <= 0) {
        exit(1);
    }
    if (sscanf(line, "end %u %u %u %u", &id, &status, &actual, &seed) == 4) {
        for (entry = in_flight.head; entry; entry = entry->next) {
            Transfer *t = entry->data;

            if (t->id == id) {
                for (i = 0; i < actual &&
                     t->xfer.endpoint & LIBUSB_ENDPOINT_IN; i++) {
                    t->xfer.buffer[i] = seed + i;
                }
                end(t, status, actual);
                break;
            }
        }
        g_assert(entry);
    } else if (sscanf(line, "limit %u", &actual) == 1) {
        limit = actual;
    } else if (strcmp(line, "gone\n") == 0) {
        gone = true;
    } else {
        g_assert_cmpstr(line, ==, "sync\n");
    }
    say("ok\n");
}

static bool is_heard(void)
{
    struct pollfd fd = { .fd = socket_fd.fd, .events = POLLIN };

    return poll(&fd, 1, 0) > 0;
}

int libusb_handle_events_timeout(libusb_context *ctx, struct timeval *tv)
{
    eventfd_t count;
    Transfer *t;

    eventfd_read(event_fd.fd, &count);
    if (is_heard()) {
        hear();
    }
    while ((t = g_queue_pop_head(&ended))) {
        t->in_flight = false;
        if (t->xfer.type != LIBUSB_TRANSFER_TYPE_CONTROL) {
            bytes -= t->xfer.length;
        }
        t->xfer.status = t->status;
        t->xfer.callback(&t->xfer);
    }
    return 0;
}

/*
 * The device: two bulk endpoints, and one in the second setting
 */

static const struct libusb_endpoint_descriptor endpoints[] = {
    { .bLength = 7, .bDescriptorType = 5, .bEndpointAddress = 0x81,
      .bmAttributes = 2, .wMaxPacketSize = 512 },
    { .bLength = 7, .bDescriptorType = 5, .bEndpointAddress = 0x02,
      .bmAttributes = 2, .wMaxPacketSize = 512 },
};

static const struct libusb_interface_descriptor settings[] = {
    { .bLength = 9, .bDescriptorType = 4, .bNumEndpoints = 2,
      .bInterfaceClass = 255, .endpoint = endpoints },
    { .bLength = 9, .bDescriptorType = 4, .bNumEndpoints = 1,
      .bAlternateSetting = 1, .bInterfaceClass = 255, .endpoint = endpoints },
};

static const struct libusb_interface interface = {
    .altsetting = settings,
    .num_altsetting = 2,
};

static struct libusb_config_descriptor configuration = {
    .bLength = 9,
    .bDescriptorType = 2,
    .bNumInterfaces = 1,
    .bConfigurationValue = 1,
    .bmAttributes = 0x80,
    .interface = &interface,
};

int libusb_get_device_descriptor(libusb_device *dev,
                                 struct libusb_device_descriptor *descriptor)
{
    *descriptor = (struct libusb_device_descriptor) {
        .bLength = 18,
        .bDescriptorType = 1,
        .bcdUSB = 0x200,
        .bMaxPacketSize0 = 64,
        .idVendor = 0x1234,
        .idProduct = 0x5678,
        .bNumConfigurations = 1,
    };
    return 0;
}

int libusb_get_config_descriptor(libusb_device *dev, uint8_t index,
                                 struct libusb_config_descriptor **config)
{
    *config = &configuration;
    return index ? LIBUSB_ERROR_NOT_FOUND : 0;
}

int libusb_get_active_config_descriptor(libusb_device *dev,
                                        struct libusb_config_descriptor **c)
{
    *c = &configuration;
    return 0;
}

void libusb_free_config_descriptor(struct libusb_config_descriptor *config)
{
}

int libusb_get_ss_endpoint_companion_descriptor(libusb_context *ctx,
    const struct libusb_endpoint_descriptor *endpoint,
    struct libusb_ss_endpoint_companion_descriptor **companion)
{
    return LIBUSB_ERROR_NOT_FOUND;
}

void libusb_free_ss_endpoint_companion_descriptor(
    struct libusb_ss_endpoint_companion_descriptor *companion)
{
}

int libusb_get_string_descriptor_ascii(libusb_device_handle *handle,
                                       uint8_t index, unsigned char *data,
                                       int length)
{
    return LIBUSB_ERROR_NOT_FOUND;
}

uint8_t libusb_get_bus_number(libusb_device *dev)
{
    return 1;
}

uint8_t libusb_get_device_address(libusb_device *dev)
{
    return 5;
}

int libusb_get_port_numbers(libusb_device *dev, uint8_t *ports, int length)
{
    ports[0] = 1;
    return 1;
}

int libusb_get_device_speed(libusb_device *dev)
{
    return LIBUSB_SPEED_HIGH;
}

int libusb_kernel_driver_active(libusb_device_handle *handle, int number)
{
    return 0;
}

int libusb_detach_kernel_driver(libusb_device_handle *handle, int number)
{
    return 0;
}

int libusb_attach_kernel_driver(libusb_device_handle *handle, int number)
{
    return 0;
}

int libusb_claim_interface(libusb_device_handle *handle, int number)
{
    return number ? LIBUSB_ERROR_NOT_FOUND : 0;
}

int libusb_release_interface(libusb_device_handle *handle, int number)
{
    return 0;
}

int libusb_set_configuration(libusb_device_handle *handle, int value)
{
    return 0;
}

int libusb_set_interface_alt_setting(libusb_device_handle *handle, int number,
                                     int setting)
{
    say("setting %d\n", setting);
    return 0;
}

int libusb_clear_halt(libusb_device_handle *handle, unsigned char endpoint)
{
    say("clear %02x\n", endpoint);
    return 0;
}

int libusb_reset_device(libusb_device_handle *handle)
{
    return 0;
}

int libusb_alloc_streams(libusb_device_handle *handle, uint32_t streams,
                         unsigned char *eps, int count)
{
    return LIBUSB_ERROR_NOT_SUPPORTED;
}

int libusb_free_streams(libusb_device_handle *handle, unsigned char *eps,
                        int count)
{
    return LIBUSB_ERROR_NOT_SUPPORTED;
}

/*
 * The list of devices
 */

ssize_t libusb_get_device_list(libusb_context *ctx, libusb_device ***list)
{
    *list = g_new0(libusb_device *, 2);
    (*list)[0] = gone ? NULL : &the_device;
    return gone ? 0 : 1;
}

void libusb_free_device_list(libusb_device **list, int unref)
{
    g_free(list);
}

libusb_device *libusb_ref_device(libusb_device *dev)
{
    dev->references++;
    return dev;
}

void libusb_unref_device(libusb_device *dev)
{
    dev->references--;
}

int libusb_open(libusb_device *dev, libusb_device_handle **handle)
{
    *handle = (libusb_device_handle *)dev;
    return 0;
}

void libusb_close(libusb_device_handle *handle)
{
    say("close %u\n", live);
}

int libusb_wrap_sys_device(libusb_context *ctx, intptr_t fd,
                           libusb_device_handle **handle)
{
    return LIBUSB_ERROR_NOT_SUPPORTED;
}

libusb_device *libusb_get_device(libusb_device_handle *handle)
{
    return (libusb_device *)handle;
}

/*
 * The library
 */

int libusb_init(libusb_context **ctx)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    *ctx = (libusb_context *)&the_device;
    g_strlcpy(address.sun_path, getenv("USB_HOST_TEST"),
              sizeof(address.sun_path));
    socket_fd.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(socket_fd.fd, (struct sockaddr *)&address, sizeof(address))) {
        return LIBUSB_ERROR_IO;
    }
    event_fd.fd = eventfd(0, EFD_NONBLOCK);
    socket_fd.events = event_fd.events = POLLIN;
    return 0;
}

int libusb_set_option(libusb_context *ctx, enum libusb_option option, ...)
{
    return 0;
}

void libusb_set_pollfd_notifiers(libusb_context *ctx,
                                 libusb_pollfd_added_cb added,
                                 libusb_pollfd_removed_cb removed, void *data)
{
}

const struct libusb_pollfd **libusb_get_pollfds(libusb_context *ctx)
{
    const struct libusb_pollfd **list = calloc(3, sizeof(*list));

    list[0] = &socket_fd;
    list[1] = &event_fd;
    return list;
}
