/*
 * Every descriptor of a port, for people
 *
 * The layout is that of lsusb -v, for eyes and scripts that know that one.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "dump.h"
#include "names.h"
#include "text.h"

/* Where values end, from their indentation on */
#define VALUE_COLUMN 25

/* A line with a field's name and its value, and no end yet */
static void PRINTF(3, 4)
begin(int indent, const char *name, const char *fmt, ...)
{
    char value[32];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    printf("%*s%s%*s", indent, "", name, VALUE_COLUMN - (int)strlen(name),
           value);
}

/* The line ends with what the value means */
static void end(const char *meaning)
{
    if (meaning && *meaning) {
        putchar(' ');
        text_print(stdout, meaning);
    }
    putchar('\n');
}

static void number(int indent, const char *name, unsigned int value)
{
    begin(indent, name, "%u", value);
    end(NULL);
}

static void named(int indent, const char *name, unsigned int value,
                  const char *meaning)
{
    begin(indent, name, "%u", value);
    end(meaning);
}

static void hex(int indent, const char *name, const uint8_t *p, int bytes,
                const char *meaning)
{
    begin(indent, name, "0x%0*x", 2 * bytes, get_le(p, bytes));
    end(meaning);
}

static void bcd(int indent, const char *name, const uint8_t *p)
{
    begin(indent, name, "%x.%02x", p[1], p[0]);
    end(NULL);
}

static void string(const Port *port, int indent, const char *name,
                   uint8_t index)
{
    char text[VIRTIO_SERIAL_DESC_STRING_SIZE];

    port_string(port, index, text);
    named(indent, name, index, text);
}

static void header(int indent, const char *title, const uint8_t *p)
{
    printf("%*s%s:\n", indent, "", title);
    number(indent + 2, "bLength", p[0]);
    number(indent + 2, "bDescriptorType", p[1]);
}

static void dump_device(const Port *port, const uint8_t *p)
{
    uint16_t idVendor = get_le(p + 8, 2), idProduct = get_le(p + 10, 2);

    header(0, "Device Descriptor", p);
    bcd(2, "bcdUSB", p + 2);
    named(2, "bDeviceClass", p[4], names_class(p[4]));
    named(2, "bDeviceSubClass", p[5], names_subclass(p[4], p[5]));
    named(2, "bDeviceProtocol", p[6], names_protocol(p[4], p[5], p[6]));
    number(2, "bMaxPacketSize0", p[7]);
    hex(2, "idVendor", p + 8, 2, names_vendor(idVendor));
    hex(2, "idProduct", p + 10, 2, names_product(idVendor, idProduct));
    bcd(2, "bcdDevice", p + 12);
    string(port, 2, "iManufacturer", p[14]);
    string(port, 2, "iProduct", p[15]);
    string(port, 2, "iSerial", p[16]);
    number(2, "bNumConfigurations", p[17]);
}

static void dump_configuration(const Port *port, const uint8_t *p)
{
    header(2, "Configuration Descriptor", p);
    hex(4, "wTotalLength", p + 2, 2, NULL);
    number(4, "bNumInterfaces", p[4]);
    number(4, "bConfigurationValue", p[5]);
    string(port, 4, "iConfiguration", p[6]);
    hex(4, "bmAttributes", p + 7, 1, NULL);
    if (!(p[7] & 0x80)) {
        puts("      (Missing must-be-set bit!)");
    }
    puts(p[7] & 0x40 ? "      Self Powered" : "      (Bus Powered)");
    if (p[7] & 0x20) {
        puts("      Remote Wakeup");
    }
    begin(4, "MaxPower", "%u", p[8] * 2);
    puts("mA");
}

static void dump_association(const Port *port, const uint8_t *p)
{
    header(4, "Interface Association", p);
    number(6, "bFirstInterface", p[2]);
    number(6, "bInterfaceCount", p[3]);
    named(6, "bFunctionClass", p[4], names_class(p[4]));
    named(6, "bFunctionSubClass", p[5], names_subclass(p[4], p[5]));
    named(6, "bFunctionProtocol", p[6], names_protocol(p[4], p[5], p[6]));
    string(port, 6, "iFunction", p[7]);
}

static void dump_interface(const Port *port, const uint8_t *p)
{
    header(4, "Interface Descriptor", p);
    number(6, "bInterfaceNumber", p[2]);
    number(6, "bAlternateSetting", p[3]);
    number(6, "bNumEndpoints", p[4]);
    named(6, "bInterfaceClass", p[5], names_class(p[5]));
    named(6, "bInterfaceSubClass", p[6], names_subclass(p[5], p[6]));
    named(6, "bInterfaceProtocol", p[7], names_protocol(p[5], p[6], p[7]));
    string(port, 6, "iInterface", p[8]);
}

static void dump_endpoint(const uint8_t *p)
{
    static const char *const transfer[] = {
        "Control", "Isochronous", "Bulk", "Interrupt",
    };
    static const char *const synch[] = {
        "None", "Asynchronous", "Adaptive", "Synchronous",
    };
    static const char *const usage[] = {
        "Data", "Feedback", "Implicit feedback Data", "(reserved)",
    };
    unsigned int size = get_le(p + 4, 2);

    header(6, "Endpoint Descriptor", p);
    begin(8, "bEndpointAddress", "0x%02x", p[2]);
    printf("  EP %u %s\n", p[2] & 0x0f, p[2] & 0x80 ? "IN" : "OUT");
    number(8, "bmAttributes", p[3]);
    printf("%10sTransfer Type            %s\n", "", transfer[p[3] & 3]);
    printf("%10sSynch Type               %s\n", "", synch[p[3] >> 2 & 3]);
    printf("%10sUsage Type               %s\n", "", usage[p[3] >> 4 & 3]);
    begin(8, "wMaxPacketSize", "0x%04x", size);
    printf("  %ux %u bytes\n", (size >> 11 & 3) + 1, size & 0x7ff);
    number(8, "bInterval", p[6]);
    if (p[0] >= 9) {
        number(8, "bRefresh", p[7]);
        number(8, "bSynchAddress", p[8]);
    }
}

static void dump_unknown(const uint8_t *p)
{
    int i;

    fputs("      ** UNRECOGNIZED: ", stdout);
    for (i = 0; i < p[0]; i++) {
        printf(" %02x", p[i]);
    }
    putchar('\n');
}

/*
 * A functional descriptor of a communications interface (CDC 1.1, 5.2.3).
 * Their lengths are as the host wants them.
 */
static void dump_cdc(const Port *port, const uint8_t *p)
{
    static const char *const acm[] = {
        "get/set/clear comm features", "line coding and serial state",
        "sends break", "connection notifications",
    };
    int i;

    if (p[0] >= 5 && p[2] == 0x00) {
        puts("      CDC Header:");
        bcd(8, "bcdCDC", p + 3);
    } else if (p[0] >= 5 && p[2] == 0x01) {
        puts("      CDC Call Management:");
        hex(8, "bmCapabilities", p + 3, 1, NULL);
        if (p[3] & 1) {
            puts("          call management");
        }
        if (p[3] & 2) {
            puts("          use DataInterface");
        }
        number(8, "bDataInterface", p[4]);
    } else if (p[0] >= 4 && p[2] == 0x02) {
        puts("      CDC ACM:");
        hex(8, "bmCapabilities", p + 3, 1, NULL);
        for (i = 3; i >= 0; i--) {
            if (p[3] & 1 << i) {
                printf("%10s%s\n", "", acm[i]);
            }
        }
    } else if (p[0] >= 5 && p[2] == 0x06) {
        puts("      CDC Union:");
        number(8, "bMasterInterface", p[3]);
        begin(8, "bSlaveInterface", "%u", p[4]);
        for (i = 5; i < p[0]; i++) {
            printf(" %u", p[i]);
        }
        putchar('\n');
    } else if (p[0] >= 4 && p[2] == 0x07) {
        puts("      Country Selection:");
        string(port, 8, "iCountryCodeRelDate", p[3]);
        for (i = 4; i + 1 < p[0]; i += 2) {
            hex(8, "wCountryCode", p + i, 2, NULL);
        }
    } else if (p[0] >= 13 && p[2] == 0x0f) {
        puts("      CDC Ethernet:");
        string(port, 8, "iMacAddress", p[3]);
        hex(8, "bmEthernetStatistics", p + 4, 4, NULL);
        number(8, "wMaxSegmentSize", get_le(p + 8, 2));
        hex(8, "wNumberMCFilters", p + 10, 2, NULL);
        number(8, "bNumberPowerFilters", p[12]);
    } else {
        dump_unknown(p);
    }
}

void port_dump(const Port *port)
{
    const uint8_t *p, *strings = port->blob + port->info.strings_offset;
    uint8_t bInterfaceClass = 0;

    for (p = port->blob; p < strings; p += p[0]) {
        switch (p[1]) {
        case 0x01:
            dump_device(port, p);
            break;
        case 0x02:
            bInterfaceClass = 0;
            dump_configuration(port, p);
            break;
        case 0x04:
            bInterfaceClass = p[5];
            dump_interface(port, p);
            break;
        case 0x05:
            dump_endpoint(p);
            break;
        case 0x0b:
            dump_association(port, p);
            break;
        case 0x24:
            if (bInterfaceClass == 0x02) {
                dump_cdc(port, p);
                break;
            }
            /* fall through */
        default:
            dump_unknown(p);
        }
    }
}
