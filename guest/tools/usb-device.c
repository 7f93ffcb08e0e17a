/*
 * A port's descriptor as a USB device
 *
 * The standard requests are in chapter 9 of the USB 2.0 specification, the
 * requests for serial lines in section 6.3 of CDC PSTN 1.2.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <endian.h>
#include "descriptor.h"
#include "usb-device.h"

/* bRequestType and bRequest in one number, for a switch */
#define REQUEST(type, request)      ((type) << 8 | (request))

/* SERIAL_STATE: the header, and two bytes of UART state */
#define SERIAL_STATE_SIZE           (sizeof(struct usb_cdc_notification) + 2)

/* ------------------------------------------------------------------ */
/* Walk through the blob, which is well-formed: lengths need no check */

/* Configuration number @index, from 0; NULL: there is none */
static const uint8_t *find_config(const UsbDevice *dev, unsigned int index)
{
    const uint8_t *p = dev->port->blob;

    if (index >= desc_get(p, usb_device_descriptor, bNumConfigurations)) {
        return NULL;
    }
    for (p += desc_length(p); index; index--) {
        p = desc_config_end(p);
    }
    return p;
}

/* The descriptor behind @p; NULL if @p is the last one of @config */
static const uint8_t *next_descriptor(const uint8_t *config, const uint8_t *p)
{
    return desc_next(p, desc_config_end(config));
}

/* The next interface descriptor behind @p; with @p = @config, the first one */
static const uint8_t *next_interface(const uint8_t *config, const uint8_t *p)
{
    do {
        p = next_descriptor(config, p);
    } while (p && desc_type(p) != USB_DT_INTERFACE);
    return p;
}

/*
 * The next endpoint descriptor of the same interface. @p: the interface
 * descriptor, or a descriptor that belongs to it
 */
static const uint8_t *next_endpoint(const uint8_t *config, const uint8_t *p)
{
    do {
        p = next_descriptor(config, p);
    } while (p && desc_type(p) != USB_DT_ENDPOINT &&
             desc_type(p) != USB_DT_INTERFACE);
    return p && desc_type(p) == USB_DT_ENDPOINT ? p : NULL;
}

static uint8_t interface_number(const uint8_t *interface)
{
    return desc_get(interface, usb_interface_descriptor, bInterfaceNumber);
}

static uint8_t alternate_setting(const uint8_t *interface)
{
    return desc_get(interface, usb_interface_descriptor, bAlternateSetting);
}

static uint8_t endpoint_address(const uint8_t *endpoint)
{
    return desc_get(endpoint, usb_endpoint_descriptor, bEndpointAddress);
}

static bool is_in(const uint8_t *endpoint)
{
    return endpoint_address(endpoint) & USB_DIR_IN;
}

static uint8_t endpoint_number(const uint8_t *endpoint)
{
    return endpoint_address(endpoint) & USB_ENDPOINT_NUMBER_MASK;
}

static int transfer_type(const uint8_t *endpoint)
{
    return desc_get(endpoint, usb_endpoint_descriptor, bmAttributes) &
           USB_ENDPOINT_XFERTYPE_MASK;
}

/*
 * bInterfaceNumber of the pipe, the first interface with a bulk endpoint in
 * each direction; -1: none
 */
static int pipe_interface(const uint8_t *config)
{
    const uint8_t *i, *e;

    for (i = next_interface(config, config); i; i = next_interface(config, i)) {
        bool found[2] = { false, false };

        for (e = next_endpoint(config, i); e; e = next_endpoint(config, e)) {
            found[is_in(e)] |= transfer_type(e) == USB_ENDPOINT_XFER_BULK &&
                               endpoint_number(e);
        }
        if (found[0] && found[1]) {
            return interface_number(i);
        }
    }
    return -1;
}

/* bInterfaceNumber of the first ACM function; -1: none */
static int acm_interface(const uint8_t *config)
{
    const uint8_t *i;

    for (i = next_interface(config, config); i; i = next_interface(config, i)) {
        if (desc_get(i, usb_interface_descriptor, bInterfaceClass) ==
            USB_CLASS_COMM &&
            desc_get(i, usb_interface_descriptor, bInterfaceSubClass) ==
            USB_CDC_SUBCLASS_ACM) {
            return interface_number(i);
        }
    }
    return -1;
}

/*
 * bmCapabilities in the functional descriptor of interface @number (PSTN 1.2,
 * 5.3.2)
 */
static uint8_t acm_capabilities(const uint8_t *config, int number)
{
    const uint8_t *p;
    bool inside = false;

    for (p = config; p; p = next_descriptor(config, p)) {
        if (desc_type(p) == USB_DT_INTERFACE) {
            inside = interface_number(p) == number;
        } else if (inside && desc_type(p) == USB_DT_CS_INTERFACE &&
                   desc_length(p) >= sizeof(struct usb_cdc_acm_descriptor) &&
                   desc_subtype(p) == USB_CDC_ACM_TYPE) {
            return desc_get(p, usb_cdc_acm_descriptor, bmCapabilities);
        }
    }
    return 0;
}

/* Is there such an interface with that setting? @alternate -1: any setting */
static bool has_setting(const uint8_t *config, unsigned int number,
                        int alternate)
{
    const uint8_t *i;

    for (i = next_interface(config, config); i; i = next_interface(config, i)) {
        if (interface_number(i) == number &&
            (alternate < 0 || alternate_setting(i) == alternate)) {
            return true;
        }
    }
    return false;
}

/*
 * Give each endpoint its role in the current configuration and settings.
 * Endpoints of interface @changed lose their state; -1: of all interfaces.
 */
static void update_endpoints(UsbDevice *dev, int changed)
{
    UsbEndpoint old[2][16];
    const uint8_t *i, *e;
    int pipe, acm;

    memcpy(old, dev->endpoint, sizeof(old));
    memset(dev->endpoint, 0, sizeof(dev->endpoint));
    dev->pipe[0] = dev->pipe[1] = dev->notify = 0;
    dev->acm_pipe = false;
    if (!dev->config) {
        return;
    }

    pipe = pipe_interface(dev->config);
    acm = acm_interface(dev->config);
    if (changed < 0 || changed == acm) {
        dev->notified = 0;
        dev->dtr = false;
    }
    for (i = next_interface(dev->config, dev->config); i;
         i = next_interface(dev->config, i)) {
        uint8_t at = interface_number(i);

        if (alternate_setting(i) != dev->alternate[at]) {
            continue;
        }
        for (e = next_endpoint(dev->config, i); e;
             e = next_endpoint(dev->config, e)) {
            uint8_t number = endpoint_number(e);
            UsbEndpoint *endpoint = &dev->endpoint[is_in(e)][number];

            /*
             * The blob may be wrong: endpoint 0 belongs to no interface; of two
             * endpoints with the same address the first one counts
             */
            if (number == 0 || endpoint->role != USB_ABSENT) {
                continue;
            }
            endpoint->role = USB_IDLE;
            endpoint->halted = changed >= 0 && changed != at &&
                               old[is_in(e)][number].halted;
            if (transfer_type(e) == USB_ENDPOINT_XFER_BULK && at == pipe &&
                !dev->pipe[is_in(e)]) {
                endpoint->role = USB_PIPE;
                dev->pipe[is_in(e)] = number;
                dev->acm_pipe = acm >= 0 && (at == acm ||
                    desc_get(i, usb_interface_descriptor, bInterfaceClass) ==
                    USB_CLASS_CDC_DATA);
            } else if (transfer_type(e) == USB_ENDPOINT_XFER_INT && is_in(e) &&
                       at == acm && !dev->notify) {
                endpoint->role = USB_NOTIFY;
                dev->notify = number;
            }
        }
    }
}

bool usb_device_init(UsbDevice *dev, const Port *port)
{
    unsigned int packet = desc_get(port->blob, usb_device_descriptor,
                                   bMaxPacketSize0);
    const uint8_t *config, *p;
    bool has_pipe = false;
    unsigned int index;

    *dev = (UsbDevice) {
        .port = port,
        /* Before SET_LINE_CODING; has no effect */
        .line_coding = { .dwDTERate = htole32(9600), .bDataBits = 8 },
    };
    switch (packet) {
    case 8:
    case 16:
    case 32:
    case 64:
        break;
    default:
        /* The guest's USB core would fail later, without a clear message */
        vser_error("%s: the descriptor's bMaxPacketSize0 is %u; expected 8, "
                   "16, 32 or 64: there are no SuperSpeed devices here",
                   port->name, packet);
        return false;
    }
    for (index = 0; (config = find_config(dev, index)); index++) {
        for (p = config; p; p = next_descriptor(config, p)) {
            if (desc_type(p) == USB_DT_ENDPOINT &&
                transfer_type(p) == USB_ENDPOINT_XFER_ISOC) {
                vser_error("%s: the descriptor has an isochronous endpoint "
                           "(bEndpointAddress %02x): a port can't be that",
                           port->name, endpoint_address(p));
                return false;
            }
        }
        has_pipe |= pipe_interface(config) >= 0;
    }
    if (!has_pipe) {
        vser_error("%s: the descriptor has no interface with a bulk endpoint "
                   "each way, which would carry the port's bytes", port->name);
    }
    return has_pipe;
}

enum usb_device_speed usb_device_speed(const UsbDevice *dev)
{
    const uint8_t *config, *p;
    unsigned int index;

    for (index = 0; (config = find_config(dev, index)); index++) {
        for (p = config; p; p = next_descriptor(config, p)) {
            if (desc_type(p) == USB_DT_ENDPOINT &&
                transfer_type(p) == USB_ENDPOINT_XFER_BULK &&
                desc_get(p, usb_endpoint_descriptor, wMaxPacketSize) <= 64) {
                return USB_SPEED_FULL;
            }
        }
    }
    return USB_SPEED_HIGH;
}

/* Do the strings have that LANGID? */
static bool has_language(const UsbDevice *dev, uint16_t langid)
{
    const uint8_t *languages = port_string_descriptor(dev->port, 0);
    unsigned int i;

    for (i = 2; languages && i + 2 <= desc_length(languages);
         i += 2) {
        if (get_le16(languages + i) == langid) {
            return true;
        }
    }
    return false;
}

static int get_descriptor(const UsbDevice *dev, uint16_t value, uint16_t index,
                          uint8_t *data)
{
    const uint8_t *p = NULL;
    size_t length = 0;
    uint8_t which = value & 0xff;

    switch (value >> 8) {
    case USB_DT_DEVICE:
        p = which == 0 ? dev->port->blob : NULL;
        length = desc_length(dev->port->blob);
        break;
    case USB_DT_CONFIG:
        p = find_config(dev, which);
        length = p ? desc_config_end(p) - p : 0;
        break;
    case USB_DT_STRING:
        if (which == 0 || has_language(dev, index)) {
            p = port_string_descriptor(dev->port, which);
            length = p ? desc_length(p) : 0;
        }
        break;
    default:
        /* Also DEVICE_QUALIFIER: there is no other speed (9.6.2) */
        break;
    }
    if (!p) {
        return -EPIPE;
    }
    memcpy(data, p, length);
    return length;
}

/* The endpoint with the address in wIndex; NULL if it is absent */
static UsbEndpoint *find_endpoint(UsbDevice *dev, uint16_t index)
{
    UsbEndpoint *endpoint;

    if (index & ~(USB_DIR_IN | USB_ENDPOINT_NUMBER_MASK)) {
        return NULL;
    }
    endpoint = &dev->endpoint[!!(index & USB_DIR_IN)]
                             [index & USB_ENDPOINT_NUMBER_MASK];
    return endpoint->role == USB_ABSENT ? NULL : endpoint;
}

static int get_status(UsbDevice *dev, uint8_t recipient, uint16_t index,
                      uint8_t *data)
{
    const uint8_t *config = dev->config ? dev->config : find_config(dev, 0);
    const UsbEndpoint *endpoint;

    data[0] = data[1] = 0;
    switch (recipient) {
    case USB_RECIP_DEVICE:
        if (index != 0) {
            return -EPIPE;
        }
        data[0] = desc_get(config, usb_config_descriptor, bmAttributes) &
                  USB_CONFIG_ATT_SELFPOWER ? 1 << USB_DEVICE_SELF_POWERED : 0;
        return 2;
    case USB_RECIP_INTERFACE:
        return dev->config && has_setting(dev->config, index, -1) ? 2 : -EPIPE;
    default:
        if ((index & ~USB_DIR_IN) == 0) {
            return 2;
        }
        endpoint = find_endpoint(dev, index);
        if (!endpoint) {
            return -EPIPE;
        }
        data[0] = endpoint->halted << USB_ENDPOINT_HALT;
        return 2;
    }
}

/* ENDPOINT_HALT is the only feature: a port can't wake the guest up */
static int set_halt(UsbDevice *dev, uint16_t feature, uint16_t index, bool halt)
{
    UsbEndpoint *endpoint = find_endpoint(dev, index);

    if (feature != USB_ENDPOINT_HALT || !endpoint) {
        return -EPIPE;
    }
    endpoint->halted = halt;
    return 0;
}

static int set_configuration(UsbDevice *dev, uint16_t value)
{
    const uint8_t *config = NULL;
    unsigned int index;

    for (index = 0; value; index++) {
        config = find_config(dev, index);
        if (!config) {
            return -EPIPE;
        }
        if (desc_get(config, usb_config_descriptor, bConfigurationValue) ==
            value) {
            break;
        }
    }
    dev->config = config;
    memset(dev->alternate, 0, sizeof(dev->alternate));
    update_endpoints(dev, -1);
    return 0;
}

static int set_interface(UsbDevice *dev, uint16_t alternate, uint16_t number)
{
    if (!dev->config || alternate > UINT8_MAX ||
        !has_setting(dev->config, number, alternate)) {
        return -EPIPE;
    }
    dev->alternate[number] = alternate;
    update_endpoints(dev, number);
    return 0;
}

/* A request to the first ACM function, if bmCapabilities allow the request */
static int acm_request(UsbDevice *dev, const struct usb_ctrlrequest *setup,
                       uint8_t *data, size_t length)
{
    uint8_t capabilities;
    bool in = setup->bRequestType & USB_DIR_IN;

    capabilities = acm_capabilities(dev->config, acm_interface(dev->config));
    if (!(capabilities & (setup->bRequest == USB_CDC_REQ_SEND_BREAK ?
                          USB_CDC_CAP_BRK : USB_CDC_CAP_LINE)) ||
        in != (setup->bRequest == USB_CDC_REQ_GET_LINE_CODING)) {
        return -EPIPE;
    }

    switch (setup->bRequest) {
    case USB_CDC_REQ_SET_LINE_CODING:
        if (length != sizeof(dev->line_coding)) {
            return -EPIPE;
        }
        memcpy(&dev->line_coding, data, length);
        return length;
    case USB_CDC_REQ_GET_LINE_CODING:
        memcpy(data, &dev->line_coding, sizeof(dev->line_coding));
        return sizeof(dev->line_coding);
    case USB_CDC_REQ_SET_CONTROL_LINE_STATE:
        dev->dtr = le16toh(setup->wValue) & USB_CDC_CTRL_DTR;
        return 0;
    case USB_CDC_REQ_SEND_BREAK:
        /* Ignored: a port can't tell the host of a break */
        return 0;
    default:
        return -EPIPE;
    }
}

static int usb_request(UsbDevice *dev, const struct usb_ctrlrequest *setup,
                       uint8_t *data, size_t length)
{
    uint16_t value = le16toh(setup->wValue), index = le16toh(setup->wIndex);
    uint8_t recipient = setup->bRequestType & USB_RECIP_MASK;

    switch (REQUEST(setup->bRequestType, setup->bRequest)) {
    case REQUEST(USB_DIR_IN | USB_RECIP_DEVICE, USB_REQ_GET_DESCRIPTOR):
        return get_descriptor(dev, value, index, data);

    case REQUEST(USB_DIR_IN | USB_RECIP_DEVICE, USB_REQ_GET_STATUS):
    case REQUEST(USB_DIR_IN | USB_RECIP_INTERFACE, USB_REQ_GET_STATUS):
    case REQUEST(USB_DIR_IN | USB_RECIP_ENDPOINT, USB_REQ_GET_STATUS):
        return get_status(dev, recipient, index, data);

    case REQUEST(USB_DIR_OUT | USB_RECIP_ENDPOINT, USB_REQ_SET_FEATURE):
    case REQUEST(USB_DIR_OUT | USB_RECIP_ENDPOINT, USB_REQ_CLEAR_FEATURE):
        return set_halt(dev, value, index,
                        setup->bRequest == USB_REQ_SET_FEATURE);

    case REQUEST(USB_DIR_IN | USB_RECIP_DEVICE, USB_REQ_GET_CONFIGURATION):
        data[0] = dev->config ? desc_get(dev->config, usb_config_descriptor,
                                         bConfigurationValue) : 0;
        return 1;
    case REQUEST(USB_DIR_OUT | USB_RECIP_DEVICE, USB_REQ_SET_CONFIGURATION):
        return set_configuration(dev, value);

    case REQUEST(USB_DIR_IN | USB_RECIP_INTERFACE, USB_REQ_GET_INTERFACE):
        if (!dev->config || !has_setting(dev->config, index, -1)) {
            return -EPIPE;
        }
        data[0] = dev->alternate[index];
        return 1;
    case REQUEST(USB_DIR_OUT | USB_RECIP_INTERFACE, USB_REQ_SET_INTERFACE):
        return set_interface(dev, value, index);

    default:
        if ((setup->bRequestType & ~USB_DIR_IN) ==
            (USB_TYPE_CLASS | USB_RECIP_INTERFACE) &&
            dev->config && index == acm_interface(dev->config)) {
            return acm_request(dev, setup, data, length);
        }
        return -EPIPE;
    }
}

int usb_device_control(UsbDevice *dev, const struct usb_ctrlrequest *setup,
                       uint8_t *data, size_t length)
{
    uint16_t wLength = le16toh(setup->wLength);
    int result = usb_request(dev, setup, data, length);

    return result > wLength ? wLength : result;
}

size_t usb_device_notification(UsbDevice *dev, uint8_t *data, size_t max)
{
    uint8_t serial_state[SERIAL_STATE_SIZE];
    struct usb_cdc_notification header = {
        .bmRequestType = USB_DIR_IN | USB_TYPE_CLASS | USB_RECIP_INTERFACE,
        .bNotificationType = USB_CDC_NOTIFY_SERIAL_STATE,
        .wIndex = htole16(acm_interface(dev->config)),
        .wLength = htole16(2),
    };
    size_t length = SERIAL_STATE_SIZE - dev->notified;

    memcpy(serial_state, &header, sizeof(header));
    serial_state[8] = USB_CDC_SERIAL_STATE_DCD | USB_CDC_SERIAL_STATE_DSR;
    serial_state[9] = 0;
    length = MIN(length, max);
    memcpy(data, serial_state + dev->notified, length);
    dev->notified += length;
    return length;
}
