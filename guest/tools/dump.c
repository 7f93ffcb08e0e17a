/*
 * Print every descriptor of a port as text
 *
 * The layout is the layout of lsusb -v, which people and scripts know.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "descriptor.h"
#include "dump.h"
#include "names.h"
#include "text.h"

/* The column in which values end, counted from the indentation */
#define VALUE_COLUMN 25

/* A field, and how it is shown */
typedef struct Field {
    const char *name;           /* as lsusb prints it */
    size_t offset, size;
    void (*show)(const Port *port, int indent, const struct Field *field,
                 const uint8_t *p);
} Field;

/* A kind of descriptor, and its fields */
typedef struct Layout {
    uint8_t type;
    int subtype;                /* of a functional descriptor; -1: any */
    uint8_t length;             /* the least, in bytes */
    int indent;
    const char *title;
    const Field *field;
    size_t fields;
} Layout;

/* ------------------------------------------------------------------ */
/* Lines */

/* Begin a line with a field's name and value */
static void PRINTF(3, 4)
dump_begin(int indent, const char *name, const char *fmt, ...)
{
    char value[32];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    printf("%*s%s%*s", indent, "", name, VALUE_COLUMN - (int)strlen(name),
           value);
}

/* End the line with the meaning of the value */
static void dump_end(const char *meaning)
{
    if (meaning && *meaning) {
        putchar(' ');
        text_print(stdout, meaning);
    }
    putchar('\n');
}

static void line(int indent, const char *text)
{
    printf("%*s%s\n", indent, "", text);
}

/* ------------------------------------------------------------------ */
/* How fields are shown */

static unsigned int dump_value_of(const Field *field, const uint8_t *p)
{
    return get_le(p + field->offset, field->size);
}

static void named(int indent, const Field *field, const uint8_t *p,
                  const char *meaning)
{
    dump_begin(indent, field->name, "%u", dump_value_of(field, p));
    dump_end(meaning);
}

static void named_hex(int indent, const Field *field, const uint8_t *p,
                      const char *meaning)
{
    dump_begin(indent, field->name, "0x%0*x", 2 * (int)field->size,
               dump_value_of(field, p));
    dump_end(meaning);
}

static void show_number(const Port *port, int indent, const Field *field,
                        const uint8_t *p)
{
    (void)port;
    named(indent, field, p, NULL);
}

static void show_hex(const Port *port, int indent, const Field *field,
                     const uint8_t *p)
{
    (void)port;
    named_hex(indent, field, p, NULL);
}

static void show_bcd(const Port *port, int indent, const Field *field,
                     const uint8_t *p)
{
    unsigned int value = dump_value_of(field, p);

    (void)port;
    dump_begin(indent, field->name, "%x.%02x", value >> 8, value & 0xff);
    dump_end(NULL);
}

static void show_string(const Port *port, int indent, const Field *field,
                        const uint8_t *p)
{
    char text[VIRTIO_SERIAL_DESC_STRING_SIZE];

    port_string(port, dump_value_of(field, p), text);
    named(indent, field, p, text);
}

/* The class stands before the subclass, the subclass before the protocol */
static void show_class(const Port *port, int indent, const Field *field,
                       const uint8_t *p)
{
    const uint8_t *class = p + field->offset;

    (void)port;
    named(indent, field, p, names_class(class[0]));
}

static void show_subclass(const Port *port, int indent, const Field *field,
                          const uint8_t *p)
{
    const uint8_t *class = p + field->offset - 1;

    (void)port;
    named(indent, field, p, names_subclass(class[0], class[1]));
}

static void show_protocol(const Port *port, int indent, const Field *field,
                          const uint8_t *p)
{
    const uint8_t *class = p + field->offset - 2;

    (void)port;
    named(indent, field, p, names_protocol(class[0], class[1], class[2]));
}

static void show_vendor(const Port *port, int indent, const Field *field,
                        const uint8_t *p)
{
    named_hex(indent, field, p, names_vendor(port->info.idVendor));
}

static void show_product(const Port *port, int indent, const Field *field,
                         const uint8_t *p)
{
    named_hex(indent, field, p, names_product(port->info.idVendor,
                                              port->info.idProduct));
}

static void show_config_attributes(const Port *port, int indent,
                                   const Field *field, const uint8_t *p)
{
    unsigned int value = dump_value_of(field, p);

    show_hex(port, indent, field, p);
    if (!(value & USB_CONFIG_ATT_ONE)) {
        line(indent + 2, "(Missing must-be-set bit!)");
    }
    line(indent + 2, value & USB_CONFIG_ATT_SELFPOWER ? "Self Powered"
                                                      : "(Bus Powered)");
    if (value & USB_CONFIG_ATT_WAKEUP) {
        line(indent + 2, "Remote Wakeup");
    }
}

static void show_power(const Port *port, int indent, const Field *field,
                       const uint8_t *p)
{
    (void)port;
    dump_begin(indent, field->name, "%u", dump_value_of(field, p) * 2);
    puts("mA");
}

static void show_address(const Port *port, int indent, const Field *field,
                         const uint8_t *p)
{
    unsigned int value = dump_value_of(field, p);

    (void)port;
    dump_begin(indent, field->name, "0x%02x", value);
    printf("  EP %u %s\n", value & USB_ENDPOINT_NUMBER_MASK,
           value & USB_DIR_IN ? "IN" : "OUT");
}

static void show_endpoint_attributes(const Port *port, int indent,
                                     const Field *field, const uint8_t *p)
{
    static const struct {
        const char *name, *meaning[4];
    } part[] = {
        { "Transfer Type",
          { "Control", "Isochronous", "Bulk", "Interrupt" } },
        { "Synch Type",
          { "None", "Asynchronous", "Adaptive", "Synchronous" } },
        { "Usage Type",
          { "Data", "Feedback", "Implicit feedback Data", "(reserved)" } },
    };
    unsigned int value = dump_value_of(field, p);
    size_t i;

    show_number(port, indent, field, p);
    for (i = 0; i < ARRAY_SIZE(part); i++) {
        printf("%*s%-24s %s\n", indent + 2, "", part[i].name,
               part[i].meaning[value >> 2 * i & 3]);
    }
}

static void show_packet_size(const Port *port, int indent, const Field *field,
                             const uint8_t *p)
{
    unsigned int value = dump_value_of(field, p);

    (void)port;
    dump_begin(indent, field->name, "0x%04x", value);
    printf("  %ux %u bytes\n", (value >> 11 & 3) + 1, value & 0x7ff);
}

static void show_call_management(const Port *port, int indent,
                                 const Field *field, const uint8_t *p)
{
    unsigned int value = dump_value_of(field, p);

    show_hex(port, indent, field, p);
    if (value & USB_CDC_CALL_MGMT_CAP_CALL_MGMT) {
        line(indent + 2, "call management");
    }
    if (value & USB_CDC_CALL_MGMT_CAP_DATA_INTF) {
        line(indent + 2, "use DataInterface");
    }
}

static void show_acm(const Port *port, int indent, const Field *field,
                     const uint8_t *p)
{
    static const char *const capability[] = {
        "get/set/clear comm features", "line coding and serial state",
        "sends break", "connection notifications",
    };
    int i;

    show_hex(port, indent, field, p);
    for (i = ARRAY_SIZE(capability) - 1; i >= 0; i--) {
        if (dump_value_of(field, p) & 1 << i) {
            line(indent + 2, capability[i]);
        }
    }
}

/* As many numbers as the descriptor has */
static void show_numbers(const Port *port, int indent, const Field *field,
                         const uint8_t *p)
{
    size_t at;

    (void)port;
    dump_begin(indent, field->name, "%u", dump_value_of(field, p));
    for (at = field->offset + 1; at < desc_length(p); at++) {
        printf(" %u", p[at]);
    }
    dump_end(NULL);
}

static void show_hexes(const Port *port, int indent, const Field *field,
                       const uint8_t *p)
{
    Field one = *field;

    for (; one.offset + one.size <= desc_length(p); one.offset += one.size) {
        show_hex(port, indent, &one, p);
    }
}

/* ------------------------------------------------------------------ */
/* Which descriptor has which fields */

#define FIELD(type, field, how) \
    { .name = #field, .show = show_ ## how, DESC_AT(type, field) }
/* A field for which the kernel has another name */
#define FIELD_NAMED(text, type, field, how) \
    { .name = text, .show = show_ ## how, DESC_AT(type, field) }

#define HEADER \
    FIELD(usb_descriptor_header, bLength, number), \
    FIELD(usb_descriptor_header, bDescriptorType, number)

static const Field device_fields[] = {
    HEADER,
    FIELD(usb_device_descriptor, bcdUSB, bcd),
    FIELD(usb_device_descriptor, bDeviceClass, class),
    FIELD(usb_device_descriptor, bDeviceSubClass, subclass),
    FIELD(usb_device_descriptor, bDeviceProtocol, protocol),
    FIELD(usb_device_descriptor, bMaxPacketSize0, number),
    FIELD(usb_device_descriptor, idVendor, vendor),
    FIELD(usb_device_descriptor, idProduct, product),
    FIELD(usb_device_descriptor, bcdDevice, bcd),
    FIELD(usb_device_descriptor, iManufacturer, string),
    FIELD(usb_device_descriptor, iProduct, string),
    FIELD_NAMED("iSerial", usb_device_descriptor, iSerialNumber, string),
    FIELD(usb_device_descriptor, bNumConfigurations, number),
};

static const Field config_fields[] = {
    HEADER,
    FIELD(usb_config_descriptor, wTotalLength, hex),
    FIELD(usb_config_descriptor, bNumInterfaces, number),
    FIELD(usb_config_descriptor, bConfigurationValue, number),
    FIELD(usb_config_descriptor, iConfiguration, string),
    FIELD(usb_config_descriptor, bmAttributes, config_attributes),
    FIELD_NAMED("MaxPower", usb_config_descriptor, bMaxPower, power),
};

static const Field association_fields[] = {
    HEADER,
    FIELD(usb_interface_assoc_descriptor, bFirstInterface, number),
    FIELD(usb_interface_assoc_descriptor, bInterfaceCount, number),
    FIELD(usb_interface_assoc_descriptor, bFunctionClass, class),
    FIELD(usb_interface_assoc_descriptor, bFunctionSubClass, subclass),
    FIELD(usb_interface_assoc_descriptor, bFunctionProtocol, protocol),
    FIELD(usb_interface_assoc_descriptor, iFunction, string),
};

static const Field interface_fields[] = {
    HEADER,
    FIELD(usb_interface_descriptor, bInterfaceNumber, number),
    FIELD(usb_interface_descriptor, bAlternateSetting, number),
    FIELD(usb_interface_descriptor, bNumEndpoints, number),
    FIELD(usb_interface_descriptor, bInterfaceClass, class),
    FIELD(usb_interface_descriptor, bInterfaceSubClass, subclass),
    FIELD(usb_interface_descriptor, bInterfaceProtocol, protocol),
    FIELD(usb_interface_descriptor, iInterface, string),
};

/* The last two fields are for audio only */
static const Field endpoint_fields[] = {
    HEADER,
    FIELD(usb_endpoint_descriptor, bEndpointAddress, address),
    FIELD(usb_endpoint_descriptor, bmAttributes, endpoint_attributes),
    FIELD(usb_endpoint_descriptor, wMaxPacketSize, packet_size),
    FIELD(usb_endpoint_descriptor, bInterval, number),
    FIELD(usb_endpoint_descriptor, bRefresh, number),
    FIELD(usb_endpoint_descriptor, bSynchAddress, number),
};

/* Functional descriptors of a communications interface (CDC 1.1, 5.2.3) */
static const Field cdc_header_fields[] = {
    FIELD(usb_cdc_header_desc, bcdCDC, bcd),
};

static const Field cdc_call_fields[] = {
    FIELD(usb_cdc_call_mgmt_descriptor, bmCapabilities, call_management),
    FIELD(usb_cdc_call_mgmt_descriptor, bDataInterface, number),
};

static const Field cdc_acm_fields[] = {
    FIELD(usb_cdc_acm_descriptor, bmCapabilities, acm),
};

static const Field cdc_union_fields[] = {
    FIELD_NAMED("bMasterInterface", usb_cdc_union_desc, bMasterInterface0,
                number),
    FIELD_NAMED("bSlaveInterface", usb_cdc_union_desc, bSlaveInterface0,
                numbers),
};

/* CDC 1.1, 5.2.3.9. Linux 7 spells its last field otherwise than Linux 6. */
struct cdc_country_desc {
    uint8_t bFunctionLength;
    uint8_t bDescriptorType;
    uint8_t bDescriptorSubtype;
    uint8_t iCountryCodeRelDate;
    uint8_t wCountryCode0[2];
};

static const Field cdc_country_fields[] = {
    FIELD(cdc_country_desc, iCountryCodeRelDate, string),
    FIELD_NAMED("wCountryCode", cdc_country_desc, wCountryCode0, hexes),
};

static const Field cdc_ethernet_fields[] = {
    FIELD_NAMED("iMacAddress", usb_cdc_ether_desc, iMACAddress, string),
    FIELD(usb_cdc_ether_desc, bmEthernetStatistics, hex),
    FIELD(usb_cdc_ether_desc, wMaxSegmentSize, number),
    FIELD(usb_cdc_ether_desc, wNumberMCFilters, hex),
    FIELD(usb_cdc_ether_desc, bNumberPowerFilters, number),
};

#define FIELDS(name)            name ## _fields, ARRAY_SIZE(name ## _fields)

/*
 * The first layout that fits is taken. The host decides the length of a
 * functional descriptor, so the layout has the least length. The codec has
 * checked the lengths of the other descriptors.
 */
static const Layout layouts[] = {
    { USB_DT_DEVICE, -1, USB_DT_DEVICE_SIZE, 0, "Device Descriptor",
      FIELDS(device) },
    { USB_DT_CONFIG, -1, USB_DT_CONFIG_SIZE, 2, "Configuration Descriptor",
      FIELDS(config) },
    { USB_DT_INTERFACE_ASSOCIATION, -1, USB_DT_INTERFACE_ASSOCIATION_SIZE, 4,
      "Interface Association", FIELDS(association) },
    { USB_DT_INTERFACE, -1, USB_DT_INTERFACE_SIZE, 4, "Interface Descriptor",
      FIELDS(interface) },
    { USB_DT_ENDPOINT, -1, USB_DT_ENDPOINT_AUDIO_SIZE, 6,
      "Endpoint Descriptor", FIELDS(endpoint) },
    { USB_DT_ENDPOINT, -1, USB_DT_ENDPOINT_SIZE, 6, "Endpoint Descriptor",
      endpoint_fields, ARRAY_SIZE(endpoint_fields) - 2 },
    { USB_DT_CS_INTERFACE, USB_CDC_HEADER_TYPE, 5, 6, "CDC Header",
      FIELDS(cdc_header) },
    { USB_DT_CS_INTERFACE, USB_CDC_CALL_MANAGEMENT_TYPE, 5, 6,
      "CDC Call Management", FIELDS(cdc_call) },
    { USB_DT_CS_INTERFACE, USB_CDC_ACM_TYPE, 4, 6, "CDC ACM",
      FIELDS(cdc_acm) },
    { USB_DT_CS_INTERFACE, USB_CDC_UNION_TYPE, 5, 6, "CDC Union",
      FIELDS(cdc_union) },
    { USB_DT_CS_INTERFACE, USB_CDC_COUNTRY_TYPE, 4, 6, "Country Selection",
      FIELDS(cdc_country) },
    { USB_DT_CS_INTERFACE, USB_CDC_ETHERNET_TYPE, 13, 6, "CDC Ethernet",
      FIELDS(cdc_ethernet) },
};

/* The layout of the descriptor at @p in such an interface; NULL: unknown */
static const Layout *layout_of(const uint8_t *p, uint8_t interface_class)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(layouts); i++) {
        const Layout *l = &layouts[i];

        if (l->type == desc_type(p) && l->length <= desc_length(p) &&
            (l->subtype < 0 || (interface_class == USB_CLASS_COMM &&
                                l->subtype == desc_subtype(p)))) {
            return l;
        }
    }
    return NULL;
}

static void dump_unknown(const uint8_t *p)
{
    int i;

    fputs("      ** UNRECOGNIZED: ", stdout);
    for (i = 0; i < desc_length(p); i++) {
        printf(" %02x", p[i]);
    }
    putchar('\n');
}

static void dump_known(const Port *port, const Layout *layout,
                       const uint8_t *p)
{
    size_t i;

    printf("%*s%s:\n", layout->indent, "", layout->title);
    for (i = 0; i < layout->fields; i++) {
        layout->field[i].show(port, layout->indent + 2, &layout->field[i], p);
    }
}

void port_dump(const Port *port)
{
    const uint8_t *end_of_all = port_strings(port), *p;
    uint8_t interface_class = 0;

    for (p = port->blob; p; p = desc_next(p, end_of_all)) {
        const Layout *layout;

        if (desc_type(p) == USB_DT_CONFIG) {
            interface_class = 0;
        } else if (desc_type(p) == USB_DT_INTERFACE) {
            interface_class = desc_get(p, usb_interface_descriptor,
                                       bInterfaceClass);
        }
        layout = layout_of(p, interface_class);
        if (layout) {
            dump_known(port, layout, p);
        } else {
            dump_unknown(p);
        }
    }
}
