/*
 * Unit tests of the codec of virtio-serial descriptors
 *
 * Blobs are written here in hex, field by field, from the tables of chapter 9
 * of the USB 2.0 specification and of CDC 1.1, not taken from the codec. Where
 * there are too many to be written, virtio-serial-desc-oracle.c judges.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-serial-desc-name.h"
#include "virtio-serial-desc-oracle.h"

/* Shorter names for the tables */
enum {
    IDS             = VIRTIO_SERIAL_DESC_IDS,
    MANUFACTURER    = VIRTIO_SERIAL_DESC_MANUFACTURER,
    PRODUCT         = VIRTIO_SERIAL_DESC_PRODUCT,
    SERIAL          = VIRTIO_SERIAL_DESC_SERIAL,
    INTERFACE       = VIRTIO_SERIAL_DESC_INTERFACE,
    CLASS           = VIRTIO_SERIAL_DESC_CLASS,
    FROM_FILE       = VIRTIO_SERIAL_DESC_FILE,
    NPROPS          = VIRTIO_SERIAL_DESC_NPROPS
};

/*
 * Descriptors in hex. The arguments are hex too, in the order of the blob: a
 * 16-bit field is written low byte first.
 */

/* 9.6.1: bcdUSB 2.00, class per interface, bMaxPacketSize0 64 */
#define DEVICE(idVendor, idProduct, bcdDevice, iManufacturer, iProduct, \
               iSerialNumber, bNumConfigurations) \
    "12 01 0002 00 00 00 40 " idVendor idProduct bcdDevice \
    iManufacturer iProduct iSerialNumber bNumConfigurations

/* 9.6.3: bConfigurationValue 1, self-powered, 0 mA */
#define CONFIGURATION(wTotalLength, bNumInterfaces, iConfiguration) \
    "09 02 " wTotalLength bNumInterfaces "01 " iConfiguration "c0 00 "

/* 9.6.5 */
#define IFACE(bInterfaceNumber, bAlternateSetting, bNumEndpoints, class, \
              iInterface) \
    "09 04 " bInterfaceNumber bAlternateSetting bNumEndpoints class iInterface

/* 9.6.6: bulk, 512 bytes */
#define BULK_IN     "07 05 81 02 0002 00 "
#define BULK_OUT    "07 05 01 02 0002 00 "

/* 9.6.7: English (United States); and strings of one and two characters */
#define LANGID      "04 03 0904 "
#define STRING_A    "04 03 4100 "
#define STRING_BC   "06 03 4200 4300 "

/* The interface association ECN: interfaces 0 and 1 */
#define ASSOCIATION(iFunction) \
    "08 0b 00 02 02 02 01 " iFunction

/* CDC 1.1, 5.2.3: bcdCDC 1.10; those of ACM, and two that name a string */
#define CDC_HEADER              "05 24 00 1001 "
#define CDC_CALL_MANAGEMENT     "05 24 01 00 01 "
#define CDC_ACM                 "04 24 02 06 "
#define CDC_UNION               "05 24 06 00 01 "
#define CDC_COUNTRY(index)      "06 24 07 " index "0000 "
#define CDC_ETHERNET(index)     "0d 24 0f " index "00000000 ea05 0000 00 "

/*
 * The configurations that properties make: 67 bytes with two interfaces, or 32
 */
#define VENDOR_PORT(class, iInterface) \
    CONFIGURATION("2000", "01", "00") \
    IFACE("00", "00", "02", class, iInterface) BULK_IN BULK_OUT

#define ACM_PORT(iInterface) \
    CONFIGURATION("4300", "02", "00") \
    IFACE("00", "00", "01", "02 02 01", iInterface) \
    CDC_HEADER CDC_CALL_MANAGEMENT CDC_ACM CDC_UNION \
    "07 05 82 03 0a00 09 " \
    IFACE("01", "00", "02", "0a 00 00", "00") BULK_IN BULK_OUT

/*
 * Nearly everything that a well-formed blob may have: two configurations,
 * interface associations, alternate settings, endpoints as long as audio's,
 * class-specific descriptors, every field for a string index, an index that is
 * used twice, two languages, an empty string.
 */
#define RICH_CONFIGURATION \
    CONFIGURATION("6900", "02", "04") \
    ASSOCIATION("05") \
    IFACE("00", "00", "01", "02 06 00", "06") \
    CDC_HEADER CDC_COUNTRY("09") CDC_ETHERNET("fe") \
    "09 05 83 03 1000 0b 00 00 " \
    IFACE("01", "00", "00", "0a 00 00", "07") \
    IFACE("01", "01", "02", "0a 00 00", "00") BULK_IN BULK_OUT \
    "03 30 00 " "05 24 07 ff 00 " "04 25 01 00 " "02 ff "
#define RICH \
    DEVICE("0912", "0100", "3412", "03", "02", "07", "02") \
    RICH_CONFIGURATION \
    CONFIGURATION("1200", "01", "00") \
    IFACE("05", "00", "00", "ff 00 00", "08") \
    "06 03 0904 0704 " \
    STRING_A STRING_BC STRING_A STRING_BC STRING_A STRING_BC STRING_A \
    "02 03 " STRING_BC

/* A simple blob, and the offsets in it */
#define SIMPLE \
    DEVICE("0912", "0100", "0001", "00", "00", "01", "01") \
    VENDOR_PORT("ff 00 00", "00") LANGID STRING_A

enum {
    AT_DEVICE           = 0,
    AT_CONFIGURATION    = 18,
    AT_INTERFACE        = 27,
    AT_BULK_IN          = 36,
    AT_BULK_OUT         = 43,
    AT_LANGID           = 50,
    AT_STRING           = 54,
    AT_END              = 58
};

/* Characters in quantity */
#define X16(s)      s s s s s s s s s s s s s s s s
#define X62(s)      X16(s) X16(s) X16(s) s s s s s s s s s s s s s s
#define X63(s)      X62(s) s
#define X126(s)     X63(s) X63(s)
#define ASTRAL      "\xf0\x9f\x94\x8c"      /* U+1F50C, d83d dd0c */
#define EURO        "\xe2\x82\xac"          /* U+20AC */

/* ------------------------------------------------------------------ */

/*
 * A blob in a heap block of exactly its size: a sanitizer sees a read of a
 * single byte beyond either end.
 */
typedef struct Blob {
    uint8_t *data;
    size_t length;
} Blob;

static Blob blob_copy(const uint8_t *data, size_t length)
{
    Blob b = { g_malloc(length), length };

    if (length) {
        memcpy(b.data, data, length);
    }
    return b;
}

static Blob blob_from_hex(const char *hex)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    while (*hex) {
        uint8_t byte;

        if (*hex == ' ') {
            hex++;
            continue;
        }
        g_assert(g_ascii_isxdigit(hex[0]) && g_ascii_isxdigit(hex[1]));
        byte = g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]);
        g_byte_array_append(bytes, &byte, 1);
        hex += 2;
    }
    return blob_copy(bytes->data, bytes->len);
}

static void blob_free(Blob *b)
{
    g_free(b->data);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Blob, blob_free)

/* Bytes are compared as hex, so that a failure shows them */
static char *hex_of(const uint8_t *data, size_t length)
{
    GString *hex = g_string_new(NULL);

    while (length--) {
        g_string_append_printf(hex, "%02x ", *data++);
    }
    return g_string_free(hex, false);
}

static void assert_same_bytes(const uint8_t *a, size_t a_length,
                              const uint8_t *b, size_t b_length)
{
    g_autofree char *a_hex = hex_of(a, a_length);
    g_autofree char *b_hex = hex_of(b, b_length);

    g_assert_cmpstr(a_hex, ==, b_hex);
}

/* A device with that serial number; its modalias has letters in every field */
static Blob blob_with_serial(const uint16_t *units, size_t n)
{
    g_auto(Blob) head = blob_from_hex(
        DEVICE("cdab", "0100", "3412", "00", "00", "01", "01")
        VENDOR_PORT("fa 0c 0e", "00") LANGID);
    Blob b = { g_malloc(head.length + 2 + 2 * n), head.length + 2 + 2 * n };
    uint8_t *p = b.data + head.length;
    size_t i;

    g_assert(n <= 126);
    memcpy(b.data, head.data, head.length);
    *p++ = 2 + 2 * n;
    *p++ = 3;
    for (i = 0; i < n; i++) {
        *p++ = units[i] & 0xff;
        *p++ = units[i] >> 8;
    }
    return b;
}

/* The codec never writes to a value; "char *" is what qdev keeps */
static VirtIOSerialDescProps props_from(const char *const *value)
{
    VirtIOSerialDescProps props;
    int i;

    for (i = 0; i < NPROPS; i++) {
        props.value[i] = (char *)value[i];
    }
    return props;
}

static Blob build(const char *const *value, VirtIOSerialDescError *err)
{
    VirtIOSerialDescProps props = props_from(value);
    Blob b = { g_malloc(VIRTIO_SERIAL_DESC_BUILT_MAX), 0 };

    oracle_poison(err);
    b.length = virtio_serial_desc_build(&props, b.data, err);
    if (b.length == 0) {
        oracle_check_error(err);
    }
    return b;
}

/* ------------------------------------------------------------------ */

typedef struct BuildCase {
    const char *name;
    const char *value[NPROPS];
    const char *hex;
} BuildCase;

static const BuildCase build_cases[] = {
    {
        "ids", { [IDS] = "1209:0001" },
        DEVICE("0912", "0100", "0001", "00", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID
    }, {
        "ids-upper", { [IDS] = "ABCD:EF09" },
        DEVICE("cdab", "09ef", "0001", "00", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID
    }, {
        "ids-lower", { [IDS] = "abcd:ef09" },
        DEVICE("cdab", "09ef", "0001", "00", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID
    }, {
        "ids-release", { [IDS] = "1209:0001:Fe98" },
        DEVICE("0912", "0100", "98fe", "00", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID
    }, {
        "ids-highest", { [IDS] = "ffff:ffff:ffff" },
        DEVICE("ffff", "ffff", "ffff", "00", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID
    }, {
        "ids-zero", { [IDS] = "0000:0000:0000" },
        DEVICE("0000", "0000", "0000", "00", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID
    }, {
        "manufacturer", { [IDS] = "1209:0001", [MANUFACTURER] = "A" },
        DEVICE("0912", "0100", "0001", "01", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID STRING_A
    }, {
        "product", { [IDS] = "1209:0001", [PRODUCT] = "BC" },
        DEVICE("0912", "0100", "0001", "00", "01", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID STRING_BC
    }, {
        "serial", { [IDS] = "1209:0001", [SERIAL] = "A" },
        DEVICE("0912", "0100", "0001", "00", "00", "01", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID STRING_A
    }, {
        "interface", { [IDS] = "1209:0001", [INTERFACE] = "BC" },
        DEVICE("0912", "0100", "0001", "00", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "01") LANGID STRING_BC
    }, {
        "product-and-interface",
        { [IDS] = "1209:0001", [PRODUCT] = "A", [INTERFACE] = "BC" },
        DEVICE("0912", "0100", "0001", "00", "01", "00", "01")
        VENDOR_PORT("ff 00 00", "02") LANGID STRING_A STRING_BC
    }, {
        "everything",
        { [IDS] = "1209:0001:0203", [MANUFACTURER] = "\xc3\x84", /* U+00C4 */
          [PRODUCT] = EURO "x", [SERIAL] = ASTRAL, [INTERFACE] = "BC",
          [CLASS] = "fe:01:02" },
        DEVICE("0912", "0100", "0302", "01", "02", "03", "01")
        VENDOR_PORT("fe 01 02", "04") LANGID "04 03 c400" "06 03 ac20 7800"
        "06 03 3dd8 0cdd" STRING_BC
    }, {
        /* Two that are equal stay two */
        "equal-strings",
        { [IDS] = "1209:0001", [PRODUCT] = "A", [SERIAL] = "A" },
        DEVICE("0912", "0100", "0001", "00", "01", "02", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID STRING_A STRING_A
    }, {
        "class", { [IDS] = "1209:0001", [CLASS] = "fE" },
        DEVICE("0912", "0100", "0001", "00", "00", "00", "01")
        VENDOR_PORT("fe 00 00", "00") LANGID
    }, {
        "class-subclass", { [IDS] = "1209:0001", [CLASS] = "0a:3B" },
        DEVICE("0912", "0100", "0001", "00", "00", "00", "01")
        VENDOR_PORT("0a 3b 00", "00") LANGID
    }, {
        "class-subclass-protocol",
        { [IDS] = "1209:0001", [CLASS] = "03:01:02" },
        DEVICE("0912", "0100", "0001", "00", "00", "00", "01")
        VENDOR_PORT("03 01 02", "00") LANGID
    }, {
        "class-vendor", { [IDS] = "1209:0001", [CLASS] = "vendor" },
        DEVICE("0912", "0100", "0001", "00", "00", "00", "01")
        VENDOR_PORT("ff 00 00", "00") LANGID
    }, {
        "class-cdc-acm", { [IDS] = "1209:0001", [CLASS] = "cdc-acm" },
        DEVICE("0912", "0100", "0001", "00", "00", "00", "01")
        ACM_PORT("00") LANGID
    }, {
        "class-cdc-acm-strings",
        { [IDS] = "1209:0001:0203", [MANUFACTURER] = "A", [PRODUCT] = "BC",
          [SERIAL] = "A", [INTERFACE] = "BC", [CLASS] = "cdc-acm" },
        DEVICE("0912", "0100", "0302", "01", "02", "03", "01")
        ACM_PORT("04") LANGID STRING_A STRING_BC STRING_A STRING_BC
    },
};

static void test_build(gconstpointer opaque)
{
    const BuildCase *t = opaque;
    VirtIOSerialDescProps props = props_from(t->value);
    VirtIOSerialDescError err;
    g_auto(Blob) expected = blob_from_hex(t->hex);
    g_auto(Blob) b = { NULL, 0 };

    g_assert_true(virtio_serial_desc_props_check(&props, &err));
    b = build(t->value, &err);
    assert_same_bytes(b.data, b.length, expected.data, expected.length);
    g_assert_true(oracle_verify(expected.data, expected.length, NULL));
}

/* Callers allocate exactly the size of the largest blob of properties */
static void test_build_largest(void)
{
    static const char *const value[NPROPS] = {
        [IDS] = "1209:0001:0100", [CLASS] = "cdc-acm",
        [MANUFACTURER] = X126("m"), [PRODUCT] = X126(EURO),
        [SERIAL] = X63(ASTRAL), [INTERFACE] = X126("\xc3\xbc"),
    };
    VirtIOSerialDescError err;
    g_auto(Blob) b = build(value, &err);
    int i, index = 0;

    g_assert_cmpuint(b.length, ==, VIRTIO_SERIAL_DESC_BUILT_MAX);
    g_assert_true(oracle_verify(b.data, b.length, NULL));
    for (i = 0; i < NPROPS; i++) {
        g_autofree char *s = NULL;

        if (virtio_serial_desc_prop_info[i].kind ==
            VIRTIO_SERIAL_DESC_KIND_STRING) {
            s = oracle_string(b.data, b.length, ++index);
            g_assert_cmpstr(s, ==, value[i]);
        }
    }
}

/* ------------------------------------------------------------------ */

typedef struct TextCase {
    const char *name;
    const char *text;       /* the value of a property */
    const char *hex;        /* its string descriptor; NULL: it is refused */
    const char *why;        /* the end of the refusal */
} TextCase;

#define EXPECTED_UNITS  "expected 1 to 126"
#define TOO_LONG(n)     n " UTF-16 units long; " EXPECTED_UNITS ", in UTF-8"
#define INVALID(n)      "invalid UTF-8 at byte " n "; " EXPECTED_UNITS \
                        " UTF-16 units, in UTF-8"

static const TextCase text_cases[] = {
    /*
     * The first and the last character of each length, and next to the
     * surrogates
     */
    { "u0001", "\x01", "04 03 0100" },
    { "u007f", "\x7f", "04 03 7f00" },
    { "u0080", "\xc2\x80", "04 03 8000" },
    { "u07ff", "\xdf\xbf", "04 03 ff07" },
    { "u0800", "\xe0\xa0\x80", "04 03 0008" },
    { "ud7ff", "\xed\x9f\xbf", "04 03 ffd7" },
    { "ue000", "\xee\x80\x80", "04 03 00e0" },
    { "uffff", "\xef\xbf\xbf", "04 03 ffff" },
    { "u10000", "\xf0\x90\x80\x80", "06 03 00d8 00dc" },
    { "u1f50c", ASTRAL, "06 03 3dd8 0cdd" },
    { "u10ffff", "\xf4\x8f\xbf\xbf", "06 03 ffdb ffdf" },
    { "mixed", "a\xc3\xa9" EURO ASTRAL "z",
      "0e 03 6100 e900 ac20 3dd8 0cdd 7a00" },
    { "line-feed", "a\nb", "08 03 6100 0a00 6200" },

    { "126-units", X126("x"), "fe 03 " X126("7800 ") },
    { "126-units-of-3-bytes", X126(EURO), "fe 03 " X126("ac20 ") },
    { "126-units-of-pairs", X63(ASTRAL), "fe 03 " X63("3dd8 0cdd ") },
    { "126-units-pair-last", "xy" X62(ASTRAL),
      "fe 03 7800 7900 " X62("3dd8 0cdd ") },
    { "empty", "", NULL, TOO_LONG("0") },
    { "127-units", X126("x") "y", NULL, TOO_LONG("127") },
    { "127-units-of-3-bytes", X126(EURO) "y", NULL, TOO_LONG("127") },
    { "128-units-of-pairs", X63(ASTRAL) ASTRAL, NULL, TOO_LONG("128") },
    /* The 126th unit is half a character */
    { "127-units-pair-straddles", "x" X63(ASTRAL), NULL, TOO_LONG("127") },
    { "756-units", X126("yellow"), NULL, TOO_LONG("756") },

    { "stray-continuation", "ab\x80", NULL, INVALID("2") },
    { "stray-continuation-last", "\xbf", NULL, INVALID("0") },
    { "cut-2", "a\xc3", NULL, INVALID("1") },
    { "cut-3", "\xe2\x82", NULL, INVALID("0") },
    { "cut-4", "\xf0\x9f\x94", NULL, INVALID("0") },
    { "cut-by-ascii", "\xe2\x82z", NULL, INVALID("0") },
    { "cut-by-lead-2", "\xc3\xc3\xa9", NULL, INVALID("0") },
    { "cut-by-lead-3", "\xe2\xe2\x82\xac", NULL, INVALID("0") },
    { "cut-by-lead-4", "\xf0\x9f\x94\xf0\x9f\x94\x8c", NULL, INVALID("0") },
    { "overlong-2", "\xc0\x80", NULL, INVALID("0") },
    { "overlong-2-highest", "\xc1\xbf", NULL, INVALID("0") },
    { "overlong-3", "\xe0\x9f\xbf", NULL, INVALID("0") },
    { "overlong-4", "\xf0\x8f\xbf\xbf", NULL, INVALID("0") },
    { "surrogate-lowest", "\xed\xa0\x80", NULL, INVALID("0") },
    { "surrogate-highest", "\xed\xbf\xbf", NULL, INVALID("0") },
    /* U+10000 as Java and Oracle write it */
    { "surrogate-pair", "x\xed\xa0\x80\xed\xb0\x80", NULL, INVALID("1") },
    { "above-10ffff", "\xf4\x90\x80\x80", NULL, INVALID("0") },
    { "f5", "\xf5\x80\x80\x80", NULL, INVALID("0") },
    { "5-bytes", "\xf8\x88\x80\x80\x80", NULL, INVALID("0") },
    { "6-bytes", "\xfc\x84\x80\x80\x80\x80", NULL, INVALID("0") },
    { "fe", "\xfe", NULL, INVALID("0") },
    { "ff", "\xff", NULL, INVALID("0") },
    { "latin-1", "caf\xe9", NULL, INVALID("3") },
    /* Two faults: the value is no text, so the length is not reported */
    { "long-and-invalid", X126("x") "y\xff", NULL, INVALID("127") },
};

/* Every string property accepts and refuses the same values */
static void test_text(gconstpointer opaque)
{
    const TextCase *t = opaque;
    int prop;

    for (prop = 0; prop < NPROPS; prop++) {
        const char *value[NPROPS] = { [IDS] = "1209:0001" };
        VirtIOSerialDescError err;
        g_auto(Blob) b = { NULL, 0 };

        if (virtio_serial_desc_prop_info[prop].kind !=
            VIRTIO_SERIAL_DESC_KIND_STRING) {
            continue;
        }
        value[prop] = t->text;
        b = build(value, &err);
        if (t->hex) {
            g_auto(Blob) string = blob_from_hex(t->hex);
            /* 18 + 32 + 4 bytes come before the first string */
            g_autofree char *s = oracle_string(b.data, b.length, 1);

            g_assert_cmpuint(b.length, >, 54);
            assert_same_bytes(b.data + 54, b.length - 54,
                              string.data, string.length);
            g_assert_cmpstr(s, ==, t->text);
        } else {
            g_autofree char *start = g_strdup_printf("%s='",
                virtio_serial_desc_prop_info[prop].name);

            g_assert_cmpuint(b.length, ==, 0);
            g_assert_true(g_str_has_prefix(err.text, start));
            g_assert_cmpstr(strstr(err.text, "': ") + 3, ==, t->why);
        }
    }
}

/* ------------------------------------------------------------------ */

typedef struct RefuseCase {
    const char *name;
    const char *value[NPROPS];
    const char *message;
} RefuseCase;

#define BAD_IDS(name, ids) \
    { "ids-" name, { [IDS] = ids }, "desc='" ids "': expected VVVV:PPPP or " \
      "VVVV:PPPP:RRRR, four hex digits each, as in 1209:0001" }
#define BAD_CLASS(name, class) \
    { "class-" name, { [IDS] = "1209:0001", [CLASS] = class }, \
      "desc-class='" class "': expected CC, CC:SS or CC:SS:PP, two hex " \
      "digits each, or vendor, or cdc-acm" }

static const RefuseCase refuse_cases[] = {
    BAD_IDS("empty", ""),
    BAD_IDS("colon", ":"),
    BAD_IDS("vendor-alone", "1209"),
    BAD_IDS("no-product", "1209:"),
    BAD_IDS("no-vendor", ":0001"),
    BAD_IDS("no-release", "1209:0001:"),
    BAD_IDS("part-too-many", "1209:0001:0100:00"),
    BAD_IDS("colon-too-many", "1209:0001:0100:"),
    BAD_IDS("part-too-many-whole", "1209:0001:0100:0000"),
    BAD_IDS("vendor-short", "209:0001"),
    BAD_IDS("vendor-long", "01209:0001"),
    BAD_IDS("product-short", "1209:1"),
    BAD_IDS("product-long", "1209:00010"),
    BAD_IDS("release-short", "1209:0001:100"),
    BAD_IDS("release-long", "1209:0001:01000"),
    BAD_IDS("prefix", "0x1209:0x0001"),
    BAD_IDS("not-hex", "1209:000g"),
    BAD_IDS("not-hex-upper", "1209:G001"),
    BAD_IDS("sign", "1209:+001"),
    BAD_IDS("other-separator", "1209-0001"),
    BAD_IDS("space-before", " 1209:0001"),
    BAD_IDS("space-after", "1209:0001 "),
    BAD_IDS("space-within", "1209:0001: 100"),
    BAD_IDS("fullwidth-digit", "1209:000\xef\xbc\x91"),

    BAD_CLASS("empty", ""),
    BAD_CLASS("short", "f"),
    BAD_CLASS("long", "fff"),
    BAD_CLASS("no-subclass", "ff:"),
    BAD_CLASS("subclass-short", "ff:0"),
    BAD_CLASS("subclass-long", "ff:000"),
    BAD_CLASS("no-protocol", "ff:00:"),
    BAD_CLASS("protocol-short", "ff:00:0"),
    BAD_CLASS("part-too-many", "ff:00:00:00"),
    BAD_CLASS("colon-too-many", "ff:00:00:"),
    BAD_CLASS("no-class", ":00:00"),
    BAD_CLASS("prefix", "0xff"),
    BAD_CLASS("not-hex", "fg"),
    BAD_CLASS("vendor-capital", "Vendor"),
    BAD_CLASS("vendor-and-more", "vendor:00"),
    BAD_CLASS("cdc", "cdc"),
    BAD_CLASS("cdc-acm-space", "cdc-acm "),

    { "manufacturer-empty", { [IDS] = "1209:0001", [MANUFACTURER] = "" },
      "desc-manufacturer='': " TOO_LONG("0") },
    { "product-invalid", { [IDS] = "1209:0001", [PRODUCT] = "x\xff" },
      "desc-product='x\\xff': " INVALID("1") },
    { "serial-invalid", { [IDS] = "1209:0001", [SERIAL] = "\xed\xa0\x80x" },
      "desc-serial='\\xed\\xa0\\x80x': " INVALID("0") },
    { "interface-empty", { [IDS] = "1209:0001", [INTERFACE] = "" },
      "desc-interface='': " TOO_LONG("0") },

    /*
     * The value is shown on one line of a log or a terminal: U+0080 to U+009F
     * (here CSI, which begins a terminal's commands) are as bad as an escape
     * character.
     */
    { "shown-escaped", { [IDS] = "a\nb\tc\x1b[2J\x7f\xc2\x9b" "2J\xff\xc2" },
      "desc='a\\x0ab\\x09c\\x1b[2J\\x7f\\xc2\\x9b2J\\xff\\xc2': expected "
      "VVVV:PPPP or VVVV:PPPP:RRRR, four hex digits each, as in 1209:0001" },
    { "shown-as-it-is", { [IDS] = "'\xc2\xa0 \\ " EURO ASTRAL "'" },
      "desc=''\xc2\xa0 \\ " EURO ASTRAL "'': expected "
      "VVVV:PPPP or VVVV:PPPP:RRRR, four hex digits each, as in 1209:0001" },
    /* The value's first 113 bytes, or what comes just after them */
    { "shown-cut", { [IDS] = X126("v") },
      "desc='" X62("v") X16("v") X16("v") X16("v") "vvv...': expected "
      "VVVV:PPPP or VVVV:PPPP:RRRR, four hex digits each, as in 1209:0001" },
    { "shown-cut-between-characters", { [IDS] = X62("v") X63(ASTRAL) },
      "desc='" X62("v") ASTRAL ASTRAL ASTRAL ASTRAL ASTRAL ASTRAL ASTRAL
      ASTRAL ASTRAL ASTRAL ASTRAL ASTRAL ASTRAL "...': expected "
      "VVVV:PPPP or VVVV:PPPP:RRRR, four hex digits each, as in 1209:0001" },
};

static void test_refuse(gconstpointer opaque)
{
    const RefuseCase *t = opaque;
    VirtIOSerialDescError err;
    g_auto(Blob) b = build(t->value, &err);

    g_assert_cmpuint(b.length, ==, 0);
    g_assert_cmpstr(err.text, ==, t->message);
}

/* Every value, however long or strange, makes a proper message */
static void test_refuse_messages_fit(void)
{
    int byte, length;

    for (byte = 1; byte < 256; byte++) {
        for (length = 1; length <= 160; length++) {
            g_autofree char *text = g_strnfill(length, byte);
            g_autofree char *name = g_strconcat("usb:1", text, NULL);
            VirtIOSerialDescError name_err;
            int prop;

            g_assert_false(oracle_verify_name(name, &name_err));
            g_assert_true(g_str_has_suffix(name_err.text, "be any name"));

            for (prop = IDS; prop <= CLASS; prop += CLASS - IDS) {
                const char *value[NPROPS] = { [IDS] = "1209:0001" };
                VirtIOSerialDescError err;
                g_auto(Blob) b = { NULL, 0 };

                value[prop] = text;
                b = build(value, &err);
                /* "aa" is a class; no other value here is valid */
                g_assert_true(!b.length || (prop == CLASS && length == 2 &&
                                            g_ascii_isxdigit(byte)));
                /* Cut or not, the end says what is expected */
                g_assert_true(b.length || g_str_has_suffix(err.text,
                    prop == IDS ? "as in 1209:0001" : "or cdc-acm"));
            }
        }
    }
}

/* ------------------------------------------------------------------ */

#define NEEDS_IDS       "needs 'desc' beside it, as in desc=1209:0001, or " \
                        "a name as in name=usb:1209:0001"
#define EXCLUDES(name)  "desc-file='/x': a file is the whole descriptor and " \
                        "excludes '" name "'"

/* NULL: the properties go together */
static const RefuseCase together_cases[] = {
    { "nothing", { NULL }, NULL },
    { "ids", { [IDS] = "1209:0001" }, NULL },
    { "file", { [FROM_FILE] = "/x" }, NULL },
    { "everything-but-file",
      { [IDS] = "1209:0001", [MANUFACTURER] = "a", [PRODUCT] = "a",
        [SERIAL] = "a", [INTERFACE] = "a", [CLASS] = "ff" }, NULL },
    /* The values are not checked here */
    { "bad-values", { [IDS] = "bad", [SERIAL] = "", [CLASS] = "bad" }, NULL },

    { "manufacturer-alone", { [MANUFACTURER] = "a" },
      "desc-manufacturer='a': " NEEDS_IDS },
    { "product-alone", { [PRODUCT] = "b" }, "desc-product='b': " NEEDS_IDS },
    { "serial-alone", { [SERIAL] = "c" }, "desc-serial='c': " NEEDS_IDS },
    { "interface-alone", { [INTERFACE] = "d" },
      "desc-interface='d': " NEEDS_IDS },
    { "class-alone", { [CLASS] = "ff" }, "desc-class='ff': " NEEDS_IDS },
    /* An empty value counts as given */
    { "empty-alone", { [SERIAL] = "" }, "desc-serial='': " NEEDS_IDS },
    { "several-alone", { [PRODUCT] = "b", [CLASS] = "ff" },
      "desc-product='b': " NEEDS_IDS },

    { "file-ids", { [FROM_FILE] = "/x", [IDS] = "1209:0001" },
      EXCLUDES("desc") },
    { "file-manufacturer", { [FROM_FILE] = "/x", [MANUFACTURER] = "a" },
      EXCLUDES("desc-manufacturer") },
    { "file-product", { [FROM_FILE] = "/x", [PRODUCT] = "a" },
      EXCLUDES("desc-product") },
    { "file-serial", { [FROM_FILE] = "/x", [SERIAL] = "a" },
      EXCLUDES("desc-serial") },
    { "file-interface", { [FROM_FILE] = "/x", [INTERFACE] = "a" },
      EXCLUDES("desc-interface") },
    { "file-class", { [FROM_FILE] = "/x", [CLASS] = "ff" },
      EXCLUDES("desc-class") },
    { "empty-file-empty-class", { [FROM_FILE] = "", [CLASS] = "" },
      "desc-file='': a file is the whole descriptor and excludes "
      "'desc-class'" },
};

static void test_together(gconstpointer opaque)
{
    const RefuseCase *t = opaque;
    VirtIOSerialDescProps props = props_from(t->value);
    VirtIOSerialDescError err;

    oracle_poison(&err);
    if (virtio_serial_desc_props_check(&props, &err)) {
        g_assert_cmpstr(t->message, ==, NULL);
    } else {
        oracle_check_error(&err);
        g_assert_cmpstr(err.text, ==, t->message);
    }
}

/* Users write the names, and read the help in one line */
static void test_prop_info(void)
{
    static const char *const names[] = {
        "desc", "desc-manufacturer", "desc-product", "desc-serial",
        "desc-interface", "desc-class", "desc-file",
    };
    int i;

    g_assert_cmpint(G_N_ELEMENTS(names), ==, NPROPS);
    for (i = 0; i < NPROPS; i++) {
        const VirtIOSerialDescPropInfo *info = &virtio_serial_desc_prop_info[i];

        g_assert_cmpstr(info->name, ==, names[i]);
        g_assert_cmpuint(strlen(info->help), >, 10);
        g_assert_null(strchr(info->help, '\n'));
    }
}

/* ------------------------------------------------------------------ */

typedef struct CheckCase {
    const char *name;
    const char *hex;
    /* In the blob that hex is: replace @cut bytes at @at by @with */
    unsigned int at, cut;
    const char *with;
    const char *message;    /* NULL: it is well-formed */
} CheckCase;

#define ALL     ((unsigned int)-1)

/* A device without strings, for configurations of all sorts */
#define BARE(bNumConfigurations) \
    DEVICE("0912", "0100", "0001", "00", "00", "00", bNumConfigurations)
#define BARE_IFACE(n)       IFACE(n, "00", "00", "ff 00 00", "00")
#define BARE_COMM_IFACE     IFACE("00", "00", "00", "02 02 01", "00")

#define STRING_2_MISSING    "at offset 58: string 2: 0 of at least 2 bytes " \
                            "are there"

static const CheckCase check_cases[] = {
    /* Well-formed */
    { "simple", SIMPLE },
    { "rich", RICH },
    { "acm", BARE("01") ACM_PORT("00") LANGID },
    { "no-strings", BARE("01") VENDOR_PORT("ff 00 00", "00") LANGID },
    { "no-strings-no-langid", BARE("01") VENDOR_PORT("ff 00 00", "00") },
    { "two-languages", SIMPLE, AT_LANGID, 4, "06 03 0904 0704" },
    { "string-empty", SIMPLE, AT_STRING, 4, "02 03" },
    { "string-255", SIMPLE, AT_DEVICE + 16, 1, "ff" },
    { "interface-bare",
      BARE("01") CONFIGURATION("1200", "01", "00") BARE_IFACE("00") },
    { "interface-number-255",
      BARE("01") CONFIGURATION("1200", "01", "00") BARE_IFACE("ff") },
    { "otg-before-interface",
      BARE("01") CONFIGURATION("1500", "01", "00") "03 09 00"
      BARE_IFACE("00") },
    { "two-configurations",
      BARE("02") CONFIGURATION("1200", "01", "00") BARE_IFACE("00")
      CONFIGURATION("1200", "01", "00") BARE_IFACE("00") LANGID },
    /* Longer than chapter 9 says; what is behind its fields means nothing */
    { "longer-device", SIMPLE, AT_DEVICE, 18,
      "14 01 0002 00 00 00 40 0912 0100 0001 00 00 01 01 02 ff" },
    { "longer-device-255", SIMPLE, AT_DEVICE, 18,
      "ff 01 0002 00 00 00 40 0912 0100 0001 00 00 01 01 "
      X126("04 ") X63("09 ") X16("02 ") X16("02 ") X16("02 ") },
    { "longer-configuration", SIMPLE, AT_CONFIGURATION, 9,
      "0b 02 2200 01 01 00 c0 00 09 04 " },
    { "longer-interface",
      BARE("01") CONFIGURATION("2300", "01", "00")
      "0c 04 00 00 02 ff 00 00 00 09 04 07 " BULK_IN BULK_OUT },
    { "longer-endpoint",
      BARE("01") CONFIGURATION("2300", "01", "00")
      IFACE("00", "00", "02", "ff 00 00", "00")
      "0a 05 81 02 0002 00 00 00 09 " BULK_OUT },
    { "longer-association",
      BARE("01") CONFIGURATION("1b00", "01", "00") "09 0b 00 01 ff 00 00 00 07 "
      BARE_IFACE("00") },
    /* A descriptor that only looks like a functional one names no string */
    { "country-too-short",
      BARE("01") CONFIGURATION("1500", "01", "00") BARE_COMM_IFACE "03 24 07" },
    { "country-before-interface",
      BARE("01") CONFIGURATION("1600", "01", "00") "04 24 07 09"
      BARE_COMM_IFACE },
    { "country-before-interface-2",
      BARE("02") CONFIGURATION("1200", "01", "00") BARE_COMM_IFACE
      CONFIGURATION("1600", "01", "00") "04 24 07 09" BARE_IFACE("00") },
    { "country-of-another-class",
      BARE("01") CONFIGURATION("1600", "01", "00") BARE_IFACE("00")
      "04 24 07 09" },
    { "country-of-an-endpoint",
      BARE("01") CONFIGURATION("1600", "01", "00") BARE_COMM_IFACE
      "04 25 07 09" },
    { "other-functional",
      BARE("01") CONFIGURATION("1600", "01", "00") BARE_COMM_IFACE
      "04 24 08 09" },

    /* The device descriptor */
    { "empty", SIMPLE, 0, ALL, "",
      "at offset 0: device: 0 of at least 2 bytes are there" },
    { "device-1-byte", SIMPLE, 1, ALL, "",
      "at offset 0: device: 1 of at least 2 bytes are there" },
    { "device-17-bytes", SIMPLE, 17, ALL, "",
      "at offset 0: device: bLength is 18, but 17 bytes are there" },
    { "device-length-0", SIMPLE, AT_DEVICE, 1, "00",
      "at offset 0: device: bLength is 0, less than 2" },
    { "device-length-1", SIMPLE, AT_DEVICE, 1, "01",
      "at offset 0: device: bLength is 1, less than 2" },
    { "device-length-17", SIMPLE, AT_DEVICE, 1, "11",
      "at offset 0: device: bLength is 17, less than 18" },
    /* It takes the configuration's first byte for its own last one */
    { "device-length-19", SIMPLE, AT_DEVICE, 1, "13",
      "at offset 19: configuration: bDescriptorType is 20, not 02" },
    { "device-length-59", SIMPLE, AT_DEVICE, 1, "3b",
      "at offset 0: device: bLength is 59, but 58 bytes are there" },
    { "device-type", SIMPLE, AT_DEVICE + 1, 1, "02",
      "at offset 0: device: bDescriptorType is 02, not 01" },
    { "byte-before", SIMPLE, 0, 0, "00",
      "at offset 0: device: bLength is 0, less than 2" },
    { "no-device", SIMPLE, 0, 18, "",
      "at offset 0: device: bDescriptorType is 02, not 01" },

    /* Configurations */
    { "configurations-0", SIMPLE, AT_DEVICE + 17, 1, "00",
      "at offset 0: device: bNumConfigurations is 0" },
    { "configurations-2-of-1", SIMPLE, AT_DEVICE + 17, 1, "02",
      "at offset 50: configuration: bDescriptorType is 03, not 02" },
    { "configurations-1-of-2",
      BARE("01") CONFIGURATION("1200", "01", "00") BARE_IFACE("00")
      CONFIGURATION("1200", "01", "00") BARE_IFACE("00"), 0, 0, "",
      "at offset 36: string 0: bDescriptorType is 02, not 03" },
    { "configurations-255", BARE("ff") VENDOR_PORT("ff 00 00", "00"), 0, 0, "",
      "at offset 50: configuration: 0 of at least 2 bytes are there" },
    { "configuration-missing", SIMPLE, AT_CONFIGURATION, ALL, "",
      "at offset 18: configuration: 0 of at least 2 bytes are there" },
    { "configuration-1-byte", SIMPLE, AT_CONFIGURATION + 1, ALL, "",
      "at offset 18: configuration: 1 of at least 2 bytes are there" },
    { "configuration-8-bytes", SIMPLE, AT_CONFIGURATION + 8, ALL, "",
      "at offset 18: configuration: bLength is 9, but 8 bytes are there" },
    { "configuration-length-8", SIMPLE, AT_CONFIGURATION, 1, "08",
      "at offset 18: configuration: bLength is 8, less than 9" },
    { "configuration-length-10", SIMPLE, AT_CONFIGURATION, 1, "0a",
      "at offset 32: descriptor in a configuration: bLength is 255, but 18 "
      "bytes are there" },
    { "configuration-longer-than-total", SIMPLE, AT_CONFIGURATION, 1, "21",
      "at offset 18: configuration: wTotalLength is 32, not within 33 and "
      "the 40 bytes that are there" },
    /* 9.6.4: the configuration of another speed has no place in the blob */
    { "configuration-other-speed", SIMPLE, AT_CONFIGURATION + 1, 1, "07",
      "at offset 18: configuration: bDescriptorType is 07, not 02" },
    { "total-0", SIMPLE, AT_CONFIGURATION + 2, 2, "0000",
      "at offset 18: configuration: wTotalLength is 0, not within 9 and the "
      "40 bytes that are there" },
    { "total-8", SIMPLE, AT_CONFIGURATION + 2, 2, "0800",
      "at offset 18: configuration: wTotalLength is 8, not within 9 and the "
      "40 bytes that are there" },
    { "total-9", SIMPLE, AT_CONFIGURATION + 2, 2, "0900",
      "at offset 27: configuration ends here: bNumInterfaces is 1, but it "
      "has 0" },
    { "total-41", SIMPLE, AT_CONFIGURATION + 2, 2, "2900",
      "at offset 18: configuration: wTotalLength is 41, not within 9 and the "
      "40 bytes that are there" },
    { "total-65535", SIMPLE, AT_CONFIGURATION + 2, 2, "ffff",
      "at offset 18: configuration: wTotalLength is 65535, not within 9 and "
      "the 40 bytes that are there" },
    { "total-high-byte", SIMPLE, AT_CONFIGURATION + 2, 2, "2001",
      "at offset 18: configuration: wTotalLength is 288, not within 9 and "
      "the 40 bytes that are there" },
    { "total-without-an-endpoint", SIMPLE, AT_CONFIGURATION + 2, 2, "1900",
      "at offset 43: interface 0.0 ends here: bNumEndpoints is 2, but it "
      "has 1" },
    { "total-through-an-endpoint", SIMPLE, AT_CONFIGURATION + 2, 2, "1f00",
      "at offset 43: descriptor in a configuration: bLength is 7, but 6 "
      "bytes are there" },
    { "total-1-byte-of-an-endpoint", SIMPLE, AT_CONFIGURATION + 2, 2, "1a00",
      "at offset 43: descriptor in a configuration: 1 of at least 2 bytes "
      "are there" },
    { "total-and-a-string", SIMPLE, AT_CONFIGURATION + 2, 2, "2400",
      "at offset 50: bDescriptorType 03 has no place in a configuration" },
    { "total-and-a-byte", SIMPLE, AT_CONFIGURATION + 2, 2, "2100",
      "at offset 50: descriptor in a configuration: 1 of at least 2 bytes "
      "are there" },

    /* What is in a configuration */
    { "inner-length-0", SIMPLE, AT_BULK_OUT, 1, "00",
      "at offset 43: descriptor in a configuration: bLength is 0, less than "
      "2" },
    { "inner-length-1", SIMPLE, AT_BULK_OUT, 1, "01",
      "at offset 43: descriptor in a configuration: bLength is 1, less than "
      "2" },
    { "inner-length-8", SIMPLE, AT_BULK_OUT, 1, "08",
      "at offset 43: descriptor in a configuration: bLength is 8, but 7 "
      "bytes are there" },
    { "inner-device", SIMPLE, AT_BULK_OUT + 1, 1, "01",
      "at offset 43: bDescriptorType 01 has no place in a configuration" },
    { "inner-configuration", SIMPLE, AT_BULK_OUT + 1, 1, "02",
      "at offset 43: bDescriptorType 02 has no place in a configuration" },
    { "interface-length-8", SIMPLE, AT_INTERFACE, 1, "08",
      "at offset 27: interface: bLength is 8, less than 9" },
    { "interface-length-33", SIMPLE, AT_INTERFACE, 1, "21",
      "at offset 27: descriptor in a configuration: bLength is 33, but 23 "
      "bytes are there" },
    { "interfaces-0",
      BARE("01") CONFIGURATION("0900", "00", "00"), 0, 0, "",
      "at offset 27: configuration ends here: it has no interface" },
    { "interfaces-0-of-1", SIMPLE, AT_CONFIGURATION + 4, 1, "00",
      "at offset 50: configuration ends here: bNumInterfaces is 0, but it "
      "has 1" },
    { "interfaces-2-of-1", SIMPLE, AT_CONFIGURATION + 4, 1, "02",
      "at offset 50: configuration ends here: bNumInterfaces is 2, but it "
      "has 1" },
    { "interfaces-1-of-2",
      BARE("01") CONFIGURATION("1b00", "01", "00") BARE_IFACE("00")
      BARE_IFACE("01"), 0, 0, "",
      "at offset 45: configuration ends here: bNumInterfaces is 1, but it "
      "has 2" },
    /* Two settings of one interface are one interface */
    { "interfaces-settings",
      BARE("01") CONFIGURATION("1b00", "02", "00") BARE_IFACE("07")
      IFACE("07", "01", "00", "ff 00 00", "00"), 0, 0, "",
      "at offset 45: configuration ends here: bNumInterfaces is 2, but it "
      "has 1" },
    /* Each configuration is counted by itself */
    { "interfaces-of-configuration-2",
      BARE("02") CONFIGURATION("1200", "01", "00") BARE_IFACE("00")
      CONFIGURATION("0900", "01", "00"), 0, 0, "",
      "at offset 45: configuration ends here: bNumInterfaces is 1, but it "
      "has 0" },
    { "endpoint-first",
      BARE("01") CONFIGURATION("1900", "01", "00") BULK_IN
      IFACE("00", "00", "01", "ff 00 00", "00"), 0, 0, "",
      "at offset 27: endpoint before any interface" },
    { "endpoint-first-in-configuration-2",
      BARE("02") CONFIGURATION("1200", "01", "00") BARE_IFACE("00")
      CONFIGURATION("1900", "01", "00") BULK_IN BARE_IFACE("00"), 0, 0, "",
      "at offset 45: endpoint before any interface" },
    { "endpoint-length-6", SIMPLE, AT_BULK_IN, 1, "06",
      "at offset 36: endpoint: bLength is 6, less than 7" },
    { "endpoints-3-of-2", SIMPLE, AT_INTERFACE + 4, 1, "03",
      "at offset 50: interface 0.0 ends here: bNumEndpoints is 3, but it "
      "has 2" },
    { "endpoints-1-of-2", SIMPLE, AT_INTERFACE + 4, 1, "01",
      "at offset 50: interface 0.0 ends here: bNumEndpoints is 1, but it "
      "has 2" },
    /* One endpoint too many here, one too few there */
    { "endpoints-of-another",
      BARE("01") CONFIGURATION("2900", "02", "00")
      IFACE("03", "04", "02", "ff 00 00", "00") BULK_IN
      IFACE("05", "06", "00", "ff 00 00", "00") BULK_OUT, 0, 0, "",
      "at offset 43: interface 3.4 ends here: bNumEndpoints is 2, but it "
      "has 1" },
    { "association-length-7",
      BARE("01") CONFIGURATION("1900", "01", "00") "07 0b 00 01 ff 00 00"
      BARE_IFACE("00"), 0, 0, "",
      "at offset 27: interface association: bLength is 7, less than 8" },

    /* Every field that names a string; there is no string 2 */
    { "used-iManufacturer", SIMPLE, AT_DEVICE + 14, 1, "02", STRING_2_MISSING },
    { "used-iProduct", SIMPLE, AT_DEVICE + 15, 1, "02", STRING_2_MISSING },
    { "used-iSerialNumber",
      DEVICE("0912", "0100", "0001", "01", "00", "02", "01")
      VENDOR_PORT("ff 00 00", "00") LANGID STRING_A, 0, 0, "",
      STRING_2_MISSING },
    { "used-iConfiguration", SIMPLE, AT_CONFIGURATION + 6, 1, "02",
      STRING_2_MISSING },
    { "used-iInterface", SIMPLE, AT_INTERFACE + 8, 1, "02", STRING_2_MISSING },
    { "used-iInterface-of-setting-1",
      BARE("01") CONFIGURATION("1b00", "01", "00") BARE_IFACE("00")
      IFACE("00", "01", "00", "ff 00 00", "02") LANGID, 0, 0, "",
      "at offset 49: string 2: 0 of at least 2 bytes are there" },
    { "used-iFunction",
      BARE("01") CONFIGURATION("1a00", "01", "00") ASSOCIATION("02")
      BARE_IFACE("00") LANGID, 0, 0, "",
      "at offset 48: string 2: 0 of at least 2 bytes are there" },
    { "used-iCountryCodeRelDate",
      BARE("01") CONFIGURATION("1800", "01", "00") BARE_COMM_IFACE
      CDC_COUNTRY("02") LANGID, 0, 0, "",
      "at offset 46: string 2: 0 of at least 2 bytes are there" },
    { "used-iMACAddress",
      BARE("01") CONFIGURATION("1f00", "01", "00") BARE_COMM_IFACE
      CDC_ETHERNET("02") LANGID, 0, 0, "",
      "at offset 53: string 2: 0 of at least 2 bytes are there" },
    /* Four bytes are enough for an index */
    { "used-shortest",
      BARE("01") CONFIGURATION("1600", "01", "00") BARE_COMM_IFACE
      "04 24 07 02" LANGID, 0, 0, "",
      "at offset 44: string 2: 0 of at least 2 bytes are there" },
    { "used-255", SIMPLE, AT_DEVICE + 14, 1, "ff",
      "at offset 58: string 255: 0 of at least 2 bytes are there" },

    /* Strings */
    { "no-langid", SIMPLE, AT_LANGID, 4, "",
      "at offset 54: string 1: 0 of at least 2 bytes are there" },
    { "langid-alone", SIMPLE, AT_STRING, 4, "",
      "at offset 54: string 1: 0 of at least 2 bytes are there" },
    { "no-strings-at-all", SIMPLE, AT_LANGID, ALL, "",
      "at offset 50: string 0: 0 of at least 2 bytes are there" },
    { "langid-empty", SIMPLE, AT_LANGID, 4, "02 03",
      "at offset 50: string 0: no LANGID" },
    { "langid-odd", SIMPLE, AT_LANGID, 4, "05 03 0904 00",
      "at offset 50: string 0: bLength is 5, not even" },
    { "langid-type", SIMPLE, AT_LANGID + 1, 1, "04",
      "at offset 50: string 0: bDescriptorType is 04, not 03" },
    { "langid-unused-empty", BARE("01") VENDOR_PORT("ff 00 00", "00") "02 03",
      0, 0, "", "at offset 50: string 0: no LANGID" },
    { "string-type", SIMPLE, AT_STRING + 1, 1, "13",
      "at offset 54: string 1: bDescriptorType is 13, not 03" },
    { "string-length-1", SIMPLE, AT_STRING, 1, "01",
      "at offset 54: string 1: bLength is 1, less than 2" },
    { "string-length-3", SIMPLE, AT_STRING, 1, "03",
      "at offset 54: string 1: bLength is 3, not even" },
    { "string-length-6", SIMPLE, AT_STRING, 1, "06",
      "at offset 54: string 1: bLength is 6, but 4 bytes are there" },
    { "string-1-byte", SIMPLE, AT_STRING + 1, ALL, "",
      "at offset 54: string 1: 1 of at least 2 bytes are there" },

    /* Nothing after */
    { "string-unused", SIMPLE, AT_DEVICE + 16, 1, "00",
      "at offset 54: 4 bytes are left that nothing refers to" },
    { "string-too-many", SIMPLE, AT_END, 0, STRING_A,
      "at offset 58: 4 bytes are left that nothing refers to" },
    { "byte-after", SIMPLE, AT_END, 0, "00",
      "at offset 58: 1 bytes are left that nothing refers to" },
    { "byte-between", SIMPLE, AT_LANGID, 0, "00",
      "at offset 50: string 0: bLength is 0, less than 2" },
};

static void test_check(gconstpointer opaque)
{
    const CheckCase *t = opaque;
    VirtIOSerialDescError err;
    g_auto(Blob) hex = blob_from_hex(t->hex);
    g_auto(Blob) with = blob_from_hex(t->with ?: "");
    unsigned int cut = MIN(t->cut, hex.length - t->at);
    size_t tail = hex.length - t->at - cut;
    Blob b = { g_malloc(t->at + with.length + tail),
               t->at + with.length + tail };
    bool good;

    if (t->at) {
        memcpy(b.data, hex.data, t->at);
    }
    if (with.length) {
        memcpy(b.data + t->at, with.data, with.length);
    }
    if (tail) {
        memcpy(b.data + t->at + with.length, hex.data + t->at + cut, tail);
    }
    oracle_poison(&err);
    good = virtio_serial_desc_check(b.data, b.length, &err);
    g_assert_cmpstr(good ? NULL : err.text, ==, t->message);
    g_assert(oracle_verify(b.data, b.length, NULL) == good);
    blob_free(&b);
}

/* One configuration of @total bytes in all */
static Blob blob_of_size(size_t total)
{
    g_auto(Blob) head = blob_from_hex(BARE("01")
        CONFIGURATION("0000", "01", "00") BARE_IFACE("00"));
    Blob b = { g_malloc0(18 + total), 18 + total };
    size_t at;

    memcpy(b.data, head.data, head.length);
    b.data[AT_CONFIGURATION + 2] = total & 0xff;
    b.data[AT_CONFIGURATION + 3] = total >> 8;
    for (at = head.length; at < b.length; at += b.data[at]) {
        b.data[at] = MIN(b.length - at, 200);
        b.data[at + 1] = 0xff;
    }
    return b;
}

static void test_check_largest(void)
{
    g_auto(Blob) largest = blob_of_size(65535 - 18);
    g_auto(Blob) larger = blob_of_size(65535 - 17);
    g_autofree uint8_t *huge = g_malloc0(100000);
    VirtIOSerialDescError err;

    g_assert_cmpint(VIRTIO_SERIAL_DESC_MAX, ==, 65535);
    g_assert_true(oracle_verify(largest.data, largest.length, NULL));
    g_assert_false(oracle_verify(larger.data, larger.length, &err));
    g_assert_cmpstr(err.text, ==, "65536 bytes long; expected at most 65535");
    g_assert_false(oracle_verify(huge, 100000, &err));
    g_assert_cmpstr(err.text, ==, "100000 bytes long; expected at most 65535");
}

/* ------------------------------------------------------------------ */

/*
 * Every way to damage a good blob by one byte. Most blobs are refused. A blob
 * that is not refused (with another vendor) must be read as it stands:
 * oracle_verify() checks that. With @every, each byte takes every value;
 * otherwise each bit is flipped, and then all bits.
 */
static void damage(const uint8_t *data, size_t length, bool every)
{
    g_auto(Blob) good = blob_copy(data, length);
    VirtIOSerialDescInfo info;
    size_t i, refused = 0, accepted = 0;
    int value, values = every ? 255 : 9;

    g_assert_true(oracle_verify(good.data, good.length, NULL));
    virtio_serial_desc_info(good.data, good.length, &info);

    for (i = 0; i < length; i++) {
        g_auto(Blob) cut = blob_copy(data, i);
        bool accept = oracle_verify(cut.data, cut.length, NULL);

        /* The only optional part: languages without a string */
        g_assert(accept == (i == info.strings_offset && length - i >= 4 &&
                            data[i] == length - i));
    }
    for (value = 0; value < 256; value++) {
        Blob longer = { g_malloc(length + 1), length + 1 };

        memcpy(longer.data, data, length);
        longer.data[length] = value;
        g_assert_false(oracle_verify(longer.data, longer.length, NULL));
        blob_free(&longer);
    }
    for (i = 0; i < length; i++) {
        for (value = 1; value < 256; value++) {
            if (!every && value != 255 && (value & (value - 1))) {
                continue;
            }
            good.data[i] ^= value;
            if (oracle_verify(good.data, good.length, NULL)) {
                accepted++;
            } else {
                refused++;
            }
            good.data[i] ^= value;
        }
    }
    /*
     * idVendor, idProduct and bcdDevice may have any value, two bytes only one
     */
    g_assert_cmpuint(accepted, >=, 6 * values);
    g_assert_cmpuint(refused, >=, 2 * values);
    assert_same_bytes(good.data, good.length, data, length);
}

static void test_damage(gconstpointer opaque)
{
    g_auto(Blob) b = blob_from_hex(opaque);

    damage(b.data, b.length, true);
}

/* Several bytes are changed, removed or doubled, the same in each run */
static void test_damage_at_random(void)
{
    static const char *const from[] = {
        SIMPLE, RICH, BARE("01") ACM_PORT("00") LANGID,
    };
    g_autoptr(GRand) r = g_rand_new_with_seed(20260101);
    int round, accepted = 0, rounds = g_test_quick() ? 30000 : 1000000;

    for (round = 0; round < rounds; round++) {
        g_auto(Blob) b = blob_from_hex(from[round % G_N_ELEMENTS(from)]);
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        int changes = g_rand_int_range(r, 1, 5);

        g_byte_array_append(bytes, b.data, b.length);
        while (changes-- > 0 && bytes->len > 1) {
            guint at = g_rand_int_range(r, 0, bytes->len);
            guint n = g_rand_int_range(r, 0, MIN(bytes->len - at, 20) + 1);

            switch (g_rand_int_range(r, 0, 4)) {
            case 0:     /* small numbers mean something in a descriptor */
                bytes->data[at] = g_rand_int_range(r, 0, 16);
                break;
            case 1:
                bytes->data[at] = g_rand_int(r);
                break;
            case 2:
                g_byte_array_remove_range(bytes, at, n);
                break;
            case 3: {
                g_auto(Blob) again = blob_copy(bytes->data + at, n);

                g_byte_array_append(bytes, again.data, again.length);
                break;
            }
            }
        }
        blob_free(&b);
        b = blob_copy(bytes->data, bytes->len);
        accepted += oracle_verify(b.data, b.length, NULL);
    }
    /* Worth its time only if a part of them is good */
    g_assert_cmpint(accepted, >, rounds / 100);
    g_assert_cmpint(accepted, <, rounds / 2);
}

/* ------------------------------------------------------------------ */

/* The oracle compares info for every blob; this test has the expected values */
static void test_info(void)
{
    g_auto(Blob) b = blob_from_hex(
        "12 01 1002 0e 05 07 40 2301 6745 ab89 03 02 01 01"
        CONFIGURATION("3200", "02", "00") "03 09 00"
        IFACE("04", "02", "00", "e0 01 03", "04")
        IFACE("05", "00", "02", "ff ff ff", "00") "06 30 00 00 00 00"
        BULK_IN BULK_OUT LANGID STRING_A STRING_BC STRING_A STRING_BC);
    VirtIOSerialDescInfo info;
    VirtIOSerialDescError err;

    g_assert_true(virtio_serial_desc_check(b.data, b.length, &err));
    virtio_serial_desc_info(b.data, b.length, &info);
    g_assert_cmphex(info.bcdUSB, ==, 0x0210);
    g_assert_cmphex(info.bDeviceClass, ==, 0x0e);
    g_assert_cmphex(info.bDeviceSubClass, ==, 0x05);
    g_assert_cmphex(info.bDeviceProtocol, ==, 0x07);
    g_assert_cmphex(info.idVendor, ==, 0x0123);
    g_assert_cmphex(info.idProduct, ==, 0x4567);
    g_assert_cmphex(info.bcdDevice, ==, 0x89ab);
    g_assert_cmpint(info.iManufacturer, ==, 3);
    g_assert_cmpint(info.iProduct, ==, 2);
    g_assert_cmpint(info.iSerialNumber, ==, 1);
    g_assert_cmpint(info.bInterfaceNumber, ==, 4);
    g_assert_cmphex(info.bInterfaceClass, ==, 0xe0);
    g_assert_cmphex(info.bInterfaceSubClass, ==, 0x01);
    g_assert_cmphex(info.bInterfaceProtocol, ==, 0x03);
    g_assert_cmpint(info.iInterface, ==, 4);
    g_assert_cmpuint(info.strings_offset, ==, 18 + 50);
    g_assert_true(oracle_verify(b.data, b.length, NULL));
}

/* The used indices are known before the strings are there */
static void test_used_strings(void)
{
    g_auto(Blob) b = blob_from_hex(RICH);
    VirtIOSerialDescInfo info;
    VirtIOSerialDescError err;
    bool used[256];
    int i;

    virtio_serial_desc_info(b.data, b.length, &info);
    g_assert_cmpuint(info.strings_offset, <, b.length);
    g_assert_true(virtio_serial_desc_used_strings(b.data, info.strings_offset,
                                                  used, &err));
    for (i = 0; i < 256; i++) {
        g_assert_cmpint(used[i], ==, i == 0 || (i >= 2 && i <= 9) || i == 254);
    }
    g_assert_false(virtio_serial_desc_used_strings(b.data,
                                                   info.strings_offset - 1,
                                                   used, &err));

    blob_free(&b);
    b = blob_from_hex(BARE("01") VENDOR_PORT("ff 00 00", "00"));
    g_assert_true(virtio_serial_desc_used_strings(b.data, b.length, used,
                                                  &err));
    g_assert_null(memchr(used, true, sizeof(used)));
}

/* ------------------------------------------------------------------ */

typedef struct Utf8Case {
    const char *name;
    const char *text;
    int32_t c;
} Utf8Case;

static const Utf8Case utf8_cases[] = {
    { "1-byte", "\x7f", 0x7f },
    { "2-bytes-lowest", "\xc2\x80", 0x80 },
    { "2-bytes-highest", "\xdf\xbf", 0x7ff },
    { "3-bytes-lowest", "\xe0\xa0\x80", 0x800 },
    { "3-bytes-highest", "\xef\xbf\xbf", 0xffff },
    { "4-bytes-lowest", "\xf0\x90\x80\x80", 0x10000 },
    { "4-bytes-highest", "\xf4\x8f\xbf\xbf", 0x10ffff },
    { "2-bytes-overlong", "\xc1\xbf", -1 },
    { "3-bytes-overlong", "\xe0\x9f\xbf", -1 },
    { "4-bytes-overlong", "\xf0\x8f\xbf\xbf", -1 },
    { "too-high", "\xf4\x90\x80\x80", -1 },
    { "5-bytes", "\xf8\x88\x80\x80\x80", -1 },
    { "surrogate-first", "\xed\xa0\x80", -1 },
    { "surrogate-last", "\xed\xbf\xbf", -1 },
    { "tail-alone", "\x80", -1 },
    { "cut", "\xe0\xa0", -1 },
    { "cut-by-ascii", "\xe0\xa0z", -1 },
};

static void test_utf8(gconstpointer opaque)
{
    const Utf8Case *t = opaque;
    const char *p = t->text;

    g_assert_cmphex(virtio_serial_desc_utf8_next(&p), ==, t->c);
    g_assert_cmpint(p - t->text, ==, t->c < 0 ? 0 : strlen(t->text));
}

/* ------------------------------------------------------------------ */

#define FFFD    "\xef\xbf\xbd"      /* U+FFFD */

typedef struct StringCase {
    const char *name;
    uint16_t units[8];
    size_t n;
    const char *text;
} StringCase;

static const StringCase string_cases[] = {
    { "empty", { 0 }, 0, "" },
    { "ascii", { 'A', '/', 0x7f }, 3, "A/\x7f" },
    { "2-bytes", { 0x80, 0x7ff }, 2, "\xc2\x80\xdf\xbf" },
    { "3-bytes", { 0x800, 0xd7ff, 0xe000, 0xffff }, 4,
      "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf" },
    { "pair", { 0xd83d, 0xdd0c }, 2, ASTRAL },
    { "pair-lowest", { 0xd800, 0xdc00 }, 2, "\xf0\x90\x80\x80" },
    { "pair-highest", { 0xdbff, 0xdfff }, 2, "\xf4\x8f\xbf\xbf" },
    { "nul", { 'a', 0, 'b' }, 3, "a" FFFD "b" },
    { "nul-alone", { 0 }, 1, FFFD },
    { "high-last", { 'a', 0xd83d }, 2, "a" FFFD },
    { "high-before-ascii", { 0xdbff, 'a' }, 2, FFFD "a" },
    { "high-before-nul", { 0xd800, 0 }, 2, FFFD FFFD },
    { "high-before-e000", { 0xd800, 0xe000 }, 2, FFFD "\xee\x80\x80" },
    { "high-before-pair", { 0xd83d, 0xd83d, 0xdd0c }, 3, FFFD ASTRAL },
    { "low-first", { 0xdc00, 'a' }, 2, FFFD "a" },
    { "low-after-pair", { 0xd83d, 0xdd0c, 0xdd0c }, 3, ASTRAL FFFD },
    { "pair-backwards", { 0xdd0c, 0xd83d }, 2, FFFD FFFD },
};

static void test_string(gconstpointer opaque)
{
    const StringCase *t = opaque;
    g_auto(Blob) b = blob_with_serial(t->units, t->n);
    g_autofree char *dest = g_malloc(VIRTIO_SERIAL_DESC_STRING_SIZE);
    size_t size = virtio_serial_desc_string(b.data, b.length, 1, dest);

    g_assert_cmpstr(dest, ==, t->text);
    g_assert_cmpuint(size, ==, strlen(t->text));
    g_assert_true(oracle_verify(b.data, b.length, NULL));
}

/* 126 units that are as long in UTF-8 as can be, and indices of all kinds */
static void test_string_size(void)
{
    uint16_t units[126];
    g_auto(Blob) b = { NULL, 0 };
    g_autofree char *dest = g_malloc(VIRTIO_SERIAL_DESC_STRING_SIZE);
    int i;

    for (i = 0; i < 126; i++) {
        units[i] = 0xd800;
    }
    b = blob_with_serial(units, 126);
    g_assert_cmpuint(virtio_serial_desc_string(b.data, b.length, 1, dest), ==,
                     VIRTIO_SERIAL_DESC_STRING_SIZE - 1);
    g_assert_cmpstr(dest, ==, X126(FFFD));
    for (i = 0; i < 256; i += i == 0 ? 2 : 1) {
        strcpy(dest, "x");
        g_assert_cmpuint(virtio_serial_desc_string(b.data, b.length, i, dest),
                         ==, 0);
        g_assert_cmpstr(dest, ==, "");
    }
}

/* Index 254 is the ninth string there, and 1 none */
static void test_string_sparse(void)
{
    static const struct {
        uint8_t index;
        const char *text;
    } expected[] = {
        { 0, "" }, { 1, "" }, { 2, "A" }, { 3, "BC" }, { 4, "A" }, { 5, "BC" },
        { 6, "A" }, { 7, "BC" }, { 8, "A" }, { 9, "" }, { 10, "" },
        { 253, "" }, { 254, "BC" }, { 255, "" },
    };
    g_auto(Blob) b = blob_from_hex(RICH);
    g_autofree char *dest = g_malloc(VIRTIO_SERIAL_DESC_STRING_SIZE);
    int i;

    for (i = 0; i < G_N_ELEMENTS(expected); i++) {
        const uint8_t *p = virtio_serial_desc_find_string(b.data, b.length,
                                                          expected[i].index);

        virtio_serial_desc_string(b.data, b.length, expected[i].index, dest);
        g_assert_cmpstr(dest, ==, expected[i].text);
        if (expected[i].index == 0) {
            /* The LANGIDs, which are no string */
            g_assert_cmphex(p[1], ==, 3);
            g_assert_cmphex(p[2] | p[3] << 8, ==, 0x0409);
        } else if (p) {
            g_assert_cmpuint(p[0], ==, 2 + 2 * strlen(dest));
            g_assert_true(!*dest || p[2] == dest[0]);
        }
        /* The ninth is there, and has nothing in it */
        g_assert_cmpint(!p, ==, expected[i].index == 1 ||
                        expected[i].index == 10 ||
                        expected[i].index == 253 || expected[i].index == 255);
    }
}

/* ------------------------------------------------------------------ */

/* The name of blob_with_serial() has 49 bytes; 69 are left after '#' */
#define MODALIAS    "usb:vABCDp0001d1234dc00dsc00dp00icFAisc0Cip0Ein00"

typedef struct NameCase {
    const char *name;
    const char *serial;     /* NULL: there is none */
    unsigned int number;
    const char *expected;
} NameCase;

static const NameCase name_cases[] = {
    { "no-serial", NULL, 0, MODALIAS },
    { "no-serial-number", NULL, 2, MODALIAS "#2" },
    { "serial", "S1", 0, MODALIAS "#S1" },
    { "serial-number", "S1", 1, MODALIAS "#S1#1" },
    { "number-largest", "S1", UINT_MAX, MODALIAS "#S1#4294967295" },
    { "allowed", "#+-.:=@_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", 0,
      MODALIAS "##+-.:=@_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" },
    { "allowed-lower", "abcdefghijklmnopqrstuvwxyz", 0,
      MODALIAS "#abcdefghijklmnopqrstuvwxyz" },
    { "replaced", " !\"$%&'()*,/;<>?[\\]^`{|}~", 0,
      MODALIAS "#_________________________" },
    { "control", "\x01" "a\n\t\x1f" "b\x7f", 0, MODALIAS "#_a___b_" },
    { "control-above-ascii", "\xc2\x80" "a\xc2\x9b" "b\xc2\x9f\xc2\xa0", 0,
      MODALIAS "#_a_b_\xc2\xa0" },
    { "path", "../../etc", 0, MODALIAS "#.._.._etc" },
    /* udev sees an encoded character, the codec four characters */
    { "backslash", "\\x2f", 0, MODALIAS "#_x2f" },
    { "above-ascii", "\xc3\xa9" EURO ASTRAL, 0,
      MODALIAS "#\xc3\xa9" EURO ASTRAL },

    { "longest", X62("s") "1234567", 0, MODALIAS "#" X62("s") "1234567" },
    { "cut-1", X126("s"), 0, MODALIAS "#" X62("s") "sssssss" },
    /* 69 bytes: 22 times 3, the first one, and two over */
    { "cut-3", "x" X62(EURO) X62(EURO), 0,
      MODALIAS "#x" X16(EURO) EURO EURO EURO EURO EURO EURO },
    { "cut-3-to-the-byte", X126(EURO), 0,
      MODALIAS "#" X16(EURO) EURO EURO EURO EURO EURO EURO EURO },
    /* One byte stays free: no later, shorter character moves forward */
    { "cut-3-then-ascii", "xy" X16(EURO) EURO EURO EURO EURO EURO EURO EURO "z",
      0, MODALIAS "#xy" X16(EURO) EURO EURO EURO EURO EURO EURO },
    { "cut-4", X62(ASTRAL), 0, MODALIAS "#" X16(ASTRAL) ASTRAL },
    /* The number is never cut: 67 bytes are left for the serial number */
    { "cut-3-number", X126(EURO), 7,
      MODALIAS "#" X16(EURO) EURO EURO EURO EURO EURO EURO "#7" },
    { "cut-3-number-largest", X126(EURO), UINT_MAX,
      MODALIAS "#" X16(EURO) EURO EURO EURO "#4294967295" },
};

static void test_name(gconstpointer opaque)
{
    const NameCase *t = opaque;
    g_autofree uint16_t *units = NULL;
    g_autofree char *dest = g_malloc(VIRTIO_SERIAL_DESC_NAME_SIZE);
    g_auto(Blob) b = { NULL, 0 };
    glong n = 0;

    if (t->serial) {
        units = g_utf8_to_utf16(t->serial, -1, NULL, &n, NULL);
        b = blob_with_serial(units, n);
    } else {
        b = blob_from_hex(DEVICE("cdab", "0100", "3412", "00", "00", "00", "01")
                          VENDOR_PORT("fa 0c 0e", "00") LANGID);
    }
    g_assert_cmpuint(strlen(t->expected), <, VIRTIO_SERIAL_DESC_NAME_SIZE);
    virtio_serial_desc_name(b.data, b.length, t->number, dest);
    g_assert_cmpstr(dest, ==, t->expected);
    g_assert_true(oracle_verify(b.data, b.length, NULL));
}

/* ------------------------------------------------------------------ */

#define LONG_NAME   "usb:vABCDpEF01d0203dc00dsc00dp00ic0Aisc0Bip0Cin00"
#define LONG_IDS    "ABCD:EF01:0203"
#define LONG_CLASS  "0A:0B:0C"

typedef struct NamedCase {
    const char *name;
    const char *text;
    const char *ids;        /* NULL: it is a name like any other */
    const char *class;
    const char *serial;     /* NULL: not said */
} NamedCase;

static const NamedCase named_cases[] = {
    { "short", "usb:1209:0001", "1209:0001", "" },
    { "short-upper", "usb:ABCD:EF09", "ABCD:EF09", "" },
    { "short-lower", "usb:abcd:ef09", "abcd:ef09", "" },
    { "short-zero", "usb:0000:0000", "0000:0000", "" },
    { "short-serial", "usb:1209:0001:A1", "1209:0001", "", "A1" },
    /* Four digits more are no bcdDevice, as they are in desc= */
    { "short-serial-of-digits", "usb:1209:0001:0203", "1209:0001", "",
      "0203" },
    { "short-serial-with-separators", "usb:1209:0001:A:B#C::", "1209:0001", "",
      "A:B#C::" },
    { "short-serial-above-ascii", "usb:1209:0001:" EURO ASTRAL, "1209:0001",
      "", EURO ASTRAL },
    { "short-serial-longest", "usb:1209:0001:" X126(EURO), "1209:0001", "",
      X126(EURO) },
    { "short-serial-control", "usb:1209:0001:\n", "1209:0001", "", "\n" },
    { "long", LONG_NAME, LONG_IDS, LONG_CLASS },
    { "long-vendor", "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00",
      "1209:0001:0100", "FF:00:00" },
    { "long-lower", "usb:vabcdpef01d0203dc00dsc00dp00icfaisc0bip0cin00",
      "abcd:ef01:0203", "fa:0b:0c" },
    { "long-serial", LONG_NAME "#A1", LONG_IDS, LONG_CLASS, "A1" },
    /* The number that tells names apart is a part of the serial number then */
    { "long-serial-number", LONG_NAME "#A1#2", LONG_IDS, LONG_CLASS, "A1#2" },
    { "long-serial-hash", LONG_NAME "##", LONG_IDS, LONG_CLASS, "#" },

    { "empty", "" },
    { "usb", "usb" },
    { "usb-colon", "usb:" },
    { "usb-x", "usb:x" },
    { "usb-g", "usb:g209:0001" },
    { "usb-capital-v", "usb:V1209p0001" },
    { "usb-space", "usb: 1209:0001" },
    { "usb-colons", "usb::1209:0001" },
    { "usb-above-ascii", "usb:\xef\xbc\x91" },
    { "usb-capitals", "USB:1209:0001" },
    { "usb-hyphen", "usb-1209:0001" },
    { "usbip", "usbip:1209:0001" },
    { "behind", "xusb:1209:0001" },
    { "ids-alone", "1209:0001" },
    { "agent", "org.qemu.guest_agent.0" },
};

static void test_named(gconstpointer opaque)
{
    const NamedCase *t = opaque;
    VirtIOSerialDescNamed named;
    VirtIOSerialDescError err;
    bool describes = virtio_serial_desc_name_describes(t->text);

    g_assert_cmpint(describes, ==, t->ids != NULL);
    if (describes) {
        g_assert_true(virtio_serial_desc_parse_name(t->text, &named, &err));
        g_assert_cmpstr(named.ids, ==, t->ids);
        g_assert_cmpstr(named.class, ==, t->class);
        g_assert_cmpstr(named.serial, ==, t->serial);
    }
    g_assert_cmpint(oracle_verify_name(t->text, NULL), ==, describes);
}

/* A name that QEMU derives gives the blob that the name is derived from */
static void test_named_again(void)
{
    static const char *const serials[] = { NULL, "A1", "1", EURO, "A#1" };
    static const char *const classes[] = { "ff", "02:02:01", "0a:0b:0c" };
    int i, j;

    for (i = 0; i < G_N_ELEMENTS(serials); i++) {
        for (j = 0; j < G_N_ELEMENTS(classes); j++) {
            const char *value[NPROPS] = {
                [IDS] = "1209:abcd:0203", [CLASS] = classes[j],
                [SERIAL] = serials[i],
            };
            char name[VIRTIO_SERIAL_DESC_NAME_SIZE];
            VirtIOSerialDescNamed named;
            VirtIOSerialDescError err;
            g_auto(Blob) first = build(value, &err);
            g_auto(Blob) second = { NULL, 0 };

            virtio_serial_desc_name(first.data, first.length, 0, name);
            g_assert_true(virtio_serial_desc_parse_name(name, &named, &err));
            value[IDS] = named.ids;
            value[CLASS] = named.class;
            value[SERIAL] = named.serial;
            second = build(value, &err);
            assert_same_bytes(second.data, second.length,
                              first.data, first.length);
        }
    }
}

#define BAD_NAME(name, text) \
    { name, text, "name='" text "': expected usb:VVVV:PPPP or " \
      "usb:VVVV:PPPP:SERIAL, as in usb:1209:0001:A1, or a name that QEMU " \
      "derives from desc; the controller's port-descriptors=off lets it be " \
      "any name" }
#define BAD_NAME_SERIAL(name, text, why) \
    { name, text, "name='" text "': serial number: " why }

typedef struct BadNamedCase {
    const char *name;
    const char *text;
    const char *message;
} BadNamedCase;

static const BadNamedCase bad_named_cases[] = {
    BAD_NAME("digit", "usb:1"),
    BAD_NAME("letter", "usb:a"),
    BAD_NAME("v", "usb:v"),
    BAD_NAME("word", "usb:audio"),
    BAD_NAME("word-v", "usb:video"),
    BAD_NAME("vendor-alone", "usb:1209"),
    BAD_NAME("no-product", "usb:1209:"),
    BAD_NAME("vendor-short", "usb:209:0001"),
    BAD_NAME("vendor-long", "usb:01209:0001"),
    BAD_NAME("product-short", "usb:1209:1"),
    BAD_NAME("product-long", "usb:1209:00010"),
    BAD_NAME("product-cut-by-serial", "usb:1209:001:A1"),
    BAD_NAME("prefix", "usb:0x1209:0x0001"),
    BAD_NAME("not-hex", "usb:1209:000g"),
    BAD_NAME("other-separator", "usb:1209.0001"),
    BAD_NAME("other-separator-of-serial", "usb:1209:0001#A1"),
    BAD_NAME("space-after", "usb:1209:0001 "),
    BAD_NAME("fullwidth-digit", "usb:1209:000\xef\xbc\x91"),
    BAD_NAME("long-short", "usb:v1209p0001"),
    BAD_NAME("long-with-stars",
             "usb:v1209p0001d*dc*dsc*dp*ic*isc*ip*in*"),
    BAD_NAME("long-device-class",
             "usb:v1209p0001d0100dcEFdsc00dp00icFFisc00ip00in00"),
    BAD_NAME("long-device-subclass",
             "usb:v1209p0001d0100dc00dsc02dp00icFFisc00ip00in00"),
    BAD_NAME("long-device-protocol",
             "usb:v1209p0001d0100dc00dsc00dp01icFFisc00ip00in00"),
    BAD_NAME("long-interface-number",
             "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in01"),
    BAD_NAME("long-cut",
             "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in0"),
    BAD_NAME("long-more",
             "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in000"),
    BAD_NAME("long-other-separator",
             "usb:v1209p0001d0100dc00dsc00dp00icFFisc00ip00in00:A1"),
    BAD_NAME("long-capitals",
             "usb:v1209P0001d0100dc00dsc00dp00icFFisc00ip00in00"),
    BAD_NAME_SERIAL("serial-empty", "usb:1209:0001:", TOO_LONG("0")),
    BAD_NAME_SERIAL("long-serial-empty", LONG_NAME "#", TOO_LONG("0")),
    { "serial-invalid", "usb:1209:0001:x\xff",
      "name='usb:1209:0001:x\\xff': serial number: " INVALID("15") },
    { "serial-127", "usb:1209:0001:" X126("s") "t",
      "name='usb:1209:0001:" X62("s") X16("s") X16("s") "sssss...': "
      "serial number: " TOO_LONG("127") },
};

static void test_bad_named(gconstpointer opaque)
{
    const BadNamedCase *t = opaque;
    VirtIOSerialDescError err;

    g_assert_true(virtio_serial_desc_name_describes(t->text));
    g_assert_false(oracle_verify_name(t->text, &err));
    g_assert_cmpstr(err.text, ==, t->message);
}

/* ------------------------------------------------------------------ */

/*
 * tests/unit/fixtures: blobs of USB devices from outside this project, and
 * another program's description of them (see the README there).
 */

static void say(GHashTable *said, const char *key, char *value)
{
    if (value) {
        g_assert_true(g_hash_table_insert(said, g_strdup(key), value));
    }
}

static char *identity_string(const Blob *b, uint8_t index)
{
    char *dest;

    if (index == 0) {
        return NULL;
    }
    dest = g_malloc(VIRTIO_SERIAL_DESC_STRING_SIZE);
    virtio_serial_desc_string(b->data, b->length, index, dest);
    return dest;
}

static GHashTable *identity_of_blob(const Blob *b)
{
    GHashTable *said = g_hash_table_new_full(g_str_hash, g_str_equal,
                                             g_free, g_free);
    VirtIOSerialDescInfo i;

    virtio_serial_desc_info(b->data, b->length, &i);
    say(said, "idVendor", g_strdup_printf("%04x", i.idVendor));
    say(said, "idProduct", g_strdup_printf("%04x", i.idProduct));
    say(said, "bcdDevice", g_strdup_printf("%04x", i.bcdDevice));
    say(said, "bDeviceClass", g_strdup_printf("%02x", i.bDeviceClass));
    say(said, "bInterfaceClass", g_strdup_printf("%02x", i.bInterfaceClass));
    say(said, "bInterfaceSubClass",
        g_strdup_printf("%02x", i.bInterfaceSubClass));
    say(said, "bInterfaceProtocol",
        g_strdup_printf("%02x", i.bInterfaceProtocol));
    say(said, "manufacturer", identity_string(b, i.iManufacturer));
    say(said, "product", identity_string(b, i.iProduct));
    say(said, "serial", identity_string(b, i.iSerialNumber));
    say(said, "interface", identity_string(b, i.iInterface));
    return said;
}

static GHashTable *identity_of_text(const char *path)
{
    GHashTable *said = g_hash_table_new_full(g_str_hash, g_str_equal,
                                             g_free, g_free);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) lines = NULL;
    char **line;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    lines = g_strsplit(text, "\n", -1);
    for (line = lines; *line; line++) {
        char *equals = strchr(*line, '=');

        if (**line) {
            g_assert_nonnull(equals);
            *equals = '\0';
            say(said, *line, g_strdup(equals + 1));
        }
    }
    return said;
}

static void test_fixture(gconstpointer opaque)
{
    const char *name = opaque;
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "fixtures", name,
                                                  NULL);
    g_autofree char *stem = g_strndup(path, strlen(path) - strlen(".bin"));
    g_autofree char *text_path = g_strconcat(stem, ".txt", NULL);
    g_autofree char *contents = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GHashTable) found = NULL, expected = NULL;
    g_auto(Blob) b = { NULL, 0 };
    VirtIOSerialDescError err;
    GHashTableIter iter;
    gpointer key, value;
    gsize length;

    g_file_get_contents(path, &contents, &length, &error);
    g_assert_no_error(error);
    b = blob_copy((uint8_t *)contents, length);
    if (!oracle_verify(b.data, b.length, &err)) {
        g_error("%s: %s", name, err.text);
    }

    found = identity_of_blob(&b);
    expected = identity_of_text(text_path);
    g_hash_table_iter_init(&iter, expected);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        g_test_message("%s: %s=%s", name, (char *)key, (char *)value);
        g_assert_cmpstr(g_hash_table_lookup(found, key), ==, value);
    }
    g_assert_cmpuint(g_hash_table_size(found), ==, g_hash_table_size(expected));

    /* The blobs are many and long: try every value only with -m slow */
    damage(b.data, b.length, !g_test_quick());
}

/*
 * tests/unit/fixtures/real-devices.list: parts 1 and 2 of devices that somebody
 * can buy; part 3 is made up here
 */

/*
 * Part 3: string I of the index I, for each index that parts 1 and 2 name. For
 * what a device of 9.5's "later revision" is: each standard descriptor gets
 * @more bytes behind its fields.
 */
static Blob blob_of_device(const GByteArray *parts, unsigned int more)
{
    g_autoptr(GByteArray) blob = g_byte_array_new();
    uint8_t junk[] = { 9, 4, 0xff };
    VirtIOSerialDescError err;
    size_t at, config = 0;
    bool used[256];
    unsigned int i;

    g_assert(more <= sizeof(junk));
    for (at = 0; at < parts->len; at += parts->data[at]) {
        const uint8_t *d = parts->data + at;
        bool standard = d[1] == 1 || d[1] == 2 || d[1] == 4 || d[1] == 5 ||
                        d[1] == 11;
        size_t start = blob->len;

        config = d[1] == 2 ? start : config;
        g_byte_array_append(blob, d, d[0]);
        if (standard && more) {
            blob->data[start] += more;
            g_byte_array_append(blob, junk, more);
            if (config) {
                uint16_t total = blob->data[config + 2] +
                                 256 * blob->data[config + 3] + more;

                blob->data[config + 2] = total & 0xff;
                blob->data[config + 3] = total >> 8;
            }
        }
    }
    if (!virtio_serial_desc_used_strings(blob->data, blob->len, used, &err)) {
        g_error("%s", err.text);
    }
    for (i = 0; i < 256; i++) {
        const uint8_t string[] = { 4, 3, i, 4 };

        if (used[i]) {
            g_byte_array_append(blob, string, sizeof(string));
        }
    }
    return blob_copy(blob->data, blob->len);
}

static void check_device(const char *ids, const char *hex)
{
    g_autoptr(GByteArray) parts = g_byte_array_new();
    g_autofree char *plain = NULL;
    g_auto(Blob) bytes = blob_from_hex(hex);
    unsigned int more;

    g_byte_array_append(parts, bytes.data, bytes.length);
    for (more = 0; more <= 3; more++) {
        g_auto(Blob) b = blob_of_device(parts, more);
        g_autofree char *found = NULL;
        g_autofree char *name = g_malloc(VIRTIO_SERIAL_DESC_NAME_SIZE);
        VirtIOSerialDescError err;
        VirtIOSerialDescInfo info;

        if (!oracle_verify(b.data, b.length, &err)) {
            g_error("%s, %u bytes more: %s", ids, more, err.text);
        }
        virtio_serial_desc_info(b.data, b.length, &info);
        found = g_strdup_printf("%04x:%04x", info.idVendor, info.idProduct);
        g_assert_cmpstr(found, ==, ids);
        if (more == 0) {
            g_assert_cmpuint(info.strings_offset, ==, parts->len);
        }
        virtio_serial_desc_name(b.data, b.length, 0, name);
        if (plain) {
            g_assert_cmpstr(name, ==, plain);
        } else {
            plain = g_steal_pointer(&name);
        }
    }
}

static void test_real_devices(void)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "fixtures",
                                                  "real-devices.list", NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    g_autoptr(GError) error = NULL;
    unsigned int i, devices = 0;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    lines = g_strsplit(text, "\n", -1);
    for (i = 0; lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 2);

        if (lines[i][0] && lines[i][0] != '#') {
            g_test_message("%s", words[0]);
            check_device(words[0], words[1]);
            devices++;
        }
    }
    g_assert_cmpuint(devices, >=, 21);
}

/* Without fixtures nothing was compared: that is a failure */
static void test_fixtures_are_there(gconstpointer opaque)
{
    g_assert_cmpint(GPOINTER_TO_INT(opaque), >, 0);
}

static void add_fixtures(void)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "fixtures",
                                                  NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;
    int n = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        if (g_str_has_suffix(name, ".bin")) {
            g_autofree char *test = g_strconcat("/virtio-serial-desc/fixtures/",
                                                name, NULL);

            g_test_add_data_func_full(test, g_strdup(name), test_fixture,
                                      g_free);
            n++;
        }
    }
    if (dir) {
        g_dir_close(dir);
    }
    g_test_add_func("/virtio-serial-desc/fixtures/real-devices",
                    test_real_devices);
    g_test_add_data_func("/virtio-serial-desc/fixtures/are-there",
                         GINT_TO_POINTER(n), test_fixtures_are_there);
}

/* ------------------------------------------------------------------ */

/* One test for each line of a table, under its name */
#define ADD_CASES(group, table, function) \
    do { \
        size_t i; \
        for (i = 0; i < G_N_ELEMENTS(table); i++) { \
            g_autofree char *path = g_strconcat("/virtio-serial-desc/" group \
                                                "/", (table)[i].name, NULL); \
            g_test_add_data_func(path, &(table)[i], function); \
        } \
    } while (0)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/virtio-serial-desc/properties/names", test_prop_info);
    ADD_CASES("together", together_cases, test_together);
    ADD_CASES("build", build_cases, test_build);
    g_test_add_func("/virtio-serial-desc/build/largest", test_build_largest);
    ADD_CASES("text", text_cases, test_text);
    ADD_CASES("refuse", refuse_cases, test_refuse);
    g_test_add_func("/virtio-serial-desc/refuse/messages-fit",
                    test_refuse_messages_fit);
    ADD_CASES("check", check_cases, test_check);
    g_test_add_func("/virtio-serial-desc/check/largest", test_check_largest);
    g_test_add_data_func("/virtio-serial-desc/damage/simple", SIMPLE,
                         test_damage);
    g_test_add_data_func("/virtio-serial-desc/damage/no-strings",
                         BARE("01") VENDOR_PORT("ff 00 00", "00") LANGID,
                         test_damage);
    g_test_add_data_func("/virtio-serial-desc/damage/acm",
                         BARE("01") ACM_PORT("00") LANGID, test_damage);
    g_test_add_data_func("/virtio-serial-desc/damage/rich", RICH, test_damage);
    g_test_add_func("/virtio-serial-desc/damage/at-random",
                    test_damage_at_random);
    g_test_add_func("/virtio-serial-desc/info/words", test_info);
    g_test_add_func("/virtio-serial-desc/info/used-strings",
                    test_used_strings);
    ADD_CASES("utf8", utf8_cases, test_utf8);
    ADD_CASES("string", string_cases, test_string);
    g_test_add_func("/virtio-serial-desc/string/size", test_string_size);
    g_test_add_func("/virtio-serial-desc/string/sparse", test_string_sparse);
    ADD_CASES("name", name_cases, test_name);
    ADD_CASES("named", named_cases, test_named);
    ADD_CASES("named-bad", bad_named_cases, test_bad_named);
    g_test_add_func("/virtio-serial-desc/named/again", test_named_again);
    add_fixtures();

    return g_test_run();
}
