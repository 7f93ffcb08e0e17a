/*
 * The driver's check of blobs and fragments, without a kernel
 *
 * QEMU sends no malformed blob, so a test in a guest can't send one to the
 * driver. test_driver_check.py copies the functions for fragments and blobs
 * from the patched virtio_console.c to driver-functions.h. This program
 * compiles these functions with sanitizers, and with substitutes for the
 * kernel's functions. It compares the driver with our codec: for each damaged
 * blob, both must accept the blob, or both must refuse it.
 *
 *   driver-check BLOB...
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <endian.h>
#include <linux/types.h>
#include <linux/usb/cdc.h>
#include <linux/usb/ch9.h>
#include "hw/virtio/virtio-serial-desc-codec.h"

/* ------------------------------------------------------------------ */
/* Substitutes for the kernel's types and functions */

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;

#define BITS 64
#define DECLARE_BITMAP(name, bits) unsigned long name[(bits) / BITS]
/* volatile, as in the kernel: the value is read once */
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define smp_store_release(p, v) (*(p) = (v))
#define le16_to_cpu le16toh
#define le32_to_cpu le32toh
#define struct_size(p, member, count) \
    (sizeof(*(p)) + sizeof((p)->member[0]) * (count))
#define GFP_KERNEL 0
#define KOBJ_CHANGE 0
#define UTF16_LITTLE_ENDIAN 1
#define HZ 100
#define kvzalloc(size, flags) (no_memory ? NULL : calloc(1, size))
#define kvfree free
#define spin_lock_irq(lock) (++*(lock))
#define spin_unlock_irq(lock) (--*(lock))

static bool test_bit(unsigned int bit, const unsigned long *map)
{
    return map[bit / BITS] >> (bit % BITS) & 1;
}

static void __set_bit(unsigned int bit, unsigned long *map)
{
    map[bit / BITS] |= 1ul << (bit % BITS);
}

static void __clear_bit(unsigned int bit, unsigned long *map)
{
    map[bit / BITS] &= ~(1ul << (bit % BITS));
}

static bool __test_and_set_bit(unsigned int bit, unsigned long *map)
{
    bool was = test_bit(bit, map);

    __set_bit(bit, map);
    return was;
}

static bool bitmap_empty(const unsigned long *map, unsigned int bits)
{
    unsigned int bit;

    for (bit = 0; bit < bits; bit++) {
        if (test_bit(bit, map)) {
            return false;
        }
    }
    return true;
}

#define for_each_set_bit(bit, map, size) \
    for ((bit) = 0; (bit) < (size); (bit)++) \
        if (test_bit(bit, map))

/* As the kernel's function: no unpaired surrogates; U+0000 is the end */
static int utf16s_to_utf8s(const u16 *from, int units, int endian, char *to,
                           int max)
{
    int i, len = 0;

    g_assert_cmpint(endian, ==, UTF16_LITTLE_ENDIAN);
    for (i = 0; i < units && le16toh(from[i]); i++) {
        gunichar c = le16toh(from[i]);
        char utf8[6];
        int n;

        if (c >= 0xdc00 && c < 0xe000) {
            continue;
        }
        if (c >= 0xd800 && c < 0xdc00) {
            if (i + 1 == units || (le16toh(from[i + 1]) & 0xfc00) != 0xdc00) {
                continue;
            }
            c = 0x10000 + ((c & 0x3ff) << 10) + (le16toh(from[++i]) & 0x3ff);
        }
        n = g_unichar_to_utf8(c, utf8);
        /* The driver must have enough room */
        g_assert_cmpint(len + n, <=, max);
        memcpy(to + len, utf8, n);
        len += n;
    }
    return len;
}

struct device {
    int kobj;
};

struct ports_device {
    int ports_lock, desc_work;
};

struct port {
    struct ports_device *portdev;
    struct device *dev;
    struct port_desc *desc, *partial_desc;
    bool desc_refused, desc_differs, desc_missed, desc_ask;
};

static unsigned int warnings, groups, events, retries;
static bool no_memory;
static const int port_desc_group;

#define dev_warn_ratelimited(dev, fmt, ...) \
    do { \
        g_free(g_strdup_printf(fmt, __VA_ARGS__)); \
        warnings++; \
    } while (0)
#define dev_err_ratelimited(dev, fmt, ...) \
    g_error(fmt, __VA_ARGS__)

static int sysfs_update_group(int *kobj, const int *group)
{
    if (no_memory) {
        return -ENOMEM;
    }
    /* The driver makes attributes before the event that announces them */
    g_assert_cmpuint(groups, ==, events);
    groups++;
    return 0;
}

static int kobject_uevent(int *kobj, int action)
{
    events++;
    g_assert_cmpuint(groups, ==, events);
    return 0;
}

static void schedule_delayed_work(int *work, unsigned long delay)
{
    g_assert_cmpuint(delay, >, 0);
    retries++;
}

#include "driver-functions.h"

/* ------------------------------------------------------------------ */

static struct device device;
static struct ports_device ports_device;

static struct port new_port(void)
{
    warnings = groups = events = retries = 0;
    return (struct port) { .dev = &device, .portdev = &ports_device };
}

static void end_port(struct port *port)
{
    g_assert_cmpint(ports_device.ports_lock, ==, 0);
    kvfree(port->desc);
    kvfree(port->partial_desc);
}

/*
 * Send a fragment, in a buffer of exactly its size. Returns: whether the driver
 * takes the port for another port now.
 */
static bool send(struct port *port, bool last, uint32_t length,
                 uint32_t offset, const uint8_t *data, size_t n)
{
    struct virtio_console_port_desc *frag = malloc(sizeof(*frag) + n);
    bool other;

    frag->length = htole32(length);
    frag->offset = htole32(offset);
    if (n) {
        memcpy(frag->data, data, n);
    }
    other = port_desc_fragment(port, last, (const void *)frag,
                               sizeof(*frag) + n);
    free(frag);
    return other;
}

/*
 * Send a blob in fragments of at most @n bytes. Returns: whether the driver
 * takes the port for another port after the last fragment, never before
 */
static bool send_all(struct port *port, const uint8_t *blob, size_t length,
                     size_t n)
{
    bool other = false;
    size_t at;

    for (at = 0; at < length; at += n) {
        size_t left = length - at;

        g_assert_false(other);
        other = send(port, left <= n, length, at, blob + at, MIN(n, left));
    }
    return other;
}

static void check_string(const uint8_t *blob, size_t length, uint8_t index,
                         const u8 *driver_has)
{
    char codec_has[VIRTIO_SERIAL_DESC_STRING_SIZE];
    char decoded[PORT_DESC_STRING_SIZE];
    int len = port_desc_decode(driver_has, decoded);

    g_assert_cmpint(len, ==, strlen(decoded));
    virtio_serial_desc_string(blob, length, index, codec_has);
    /* The codec has U+FFFD for an invalid unit, the USB core has nothing */
    if (!strstr(codec_has, "\357\277\275")) {
        g_assert_cmpstr(decoded, ==, codec_has);
    }
}

/*
 * Check that driver and codec agree. Returns: whether the blob is well-formed
 */
static bool agree(const uint8_t *blob, size_t length)
{
    struct port port = new_port();
    VirtIOSerialDescError err;
    VirtIOSerialDescInfo info;
    bool good = virtio_serial_desc_check(blob, length, &err);

    send_all(&port, blob, length, length);
    if (good != !!port.desc) {
        g_error("%zu bytes: the driver %s it, the codec %s", length,
                port.desc ? "takes" : "refuses", good ? "takes it" : err.text);
    }
    g_assert_null(port.partial_desc);
    g_assert(port.desc_refused == !good);
    g_assert_cmpuint(warnings, ==, !good);
    g_assert_cmpuint(events, ==, good);
    if (good) {
        virtio_serial_desc_info(blob, length, &info);
        g_assert_cmpuint(port.desc->strings_offset, ==, info.strings_offset);
        g_assert_cmpuint(port.desc->interface->bInterfaceNumber, ==,
                         info.bInterfaceNumber);
        g_assert_cmpuint(port.desc->interface->bInterfaceClass, ==,
                         info.bInterfaceClass);
        check_string(blob, length, info.iManufacturer,
                     port.desc->iManufacturer);
        check_string(blob, length, info.iProduct, port.desc->iProduct);
        check_string(blob, length, info.iSerialNumber,
                     port.desc->iSerialNumber);
        check_string(blob, length, info.iInterface, port.desc->iInterface);
    }
    end_port(&port);
    return good;
}

/*
 * Each of the first three descriptors may be a byte longer, if wTotalLength is
 * right: the blob stays well-formed (USB 2.0, 9.5)
 */
static void longer(const uint8_t *blob, size_t length)
{
    uint8_t *copy = malloc(length + 1);
    bool good = agree(blob, length);
    size_t i, at = 0;

    for (i = 0; good && i < 3; i++) {
        size_t end = at + blob[at];

        memcpy(copy, blob, end);
        copy[end] = 4;
        memcpy(copy + end + 1, blob + end, length - end);
        copy[at]++;
        if (i > 0) {
            size_t config = blob[0];
            unsigned int sum = blob[config + 2] + 256 * blob[config + 3] + 1;

            copy[config + 2] = sum & 0xff;
            copy[config + 3] = sum >> 8;
        }
        g_assert_true(agree(copy, length + 1));
        at = end;
    }
    free(copy);
}

/*
 * Damage a blob: cut it after each byte; give each byte each other value;
 * remove or double each byte; change each byte by one, as if the byte were a
 * bLength, and remove or add a byte. Returns: how many of the blobs are refused
 */
static unsigned int damage(const uint8_t *blob, size_t length)
{
    uint8_t *copy = malloc(length + 1);
    unsigned int refused = 0;
    size_t i;
    int value;

    for (i = 1; i < length; i++) {
        uint8_t *cut = g_memdup2(blob, i);

        refused += !agree(cut, i);
        g_free(cut);
    }
    for (i = 0; i < length; i++) {
        memcpy(copy, blob, length);
        for (value = 0; value < 256; value++) {
            copy[i] = value;
            refused += !agree(copy, length);
        }
        memcpy(copy, blob, i);
        memcpy(copy + i, blob + i + 1, length - i - 1);
        refused += !agree(copy, length - 1);
        memcpy(copy + i, blob + i, 1);
        memcpy(copy + i + 1, blob + i, length - i);
        refused += !agree(copy, length + 1);
        copy[i]++;
        refused += !agree(copy, length + 1);
        if (i + 2 < length) {
            memcpy(copy, blob, length);
            copy[i]--;
            memmove(copy + i + 2, copy + i + 3, length - i - 3);
            refused += !agree(copy, length - 1);
        }
    }
    longer(blob, length);
    free(copy);
    return refused;
}

/* The driver puts fragments of any size together, and takes only one blob */
static void fragments(const uint8_t *blob, size_t length)
{
    size_t n;

    for (n = 1; n <= length; n++) {
        struct port port = new_port();
        struct port_desc *desc;

        /* A blob that never ends, as before a reset */
        send(&port, false, length, 0, blob, MIN(n, length - 1));
        send_all(&port, blob, length, n);
        desc = port.desc;
        g_assert_nonnull(desc);
        g_assert_cmpmem(desc->blob, desc->length, blob, length);
        /* The same again, as after hibernation */
        g_assert_false(send_all(&port, blob, length, n));
        g_assert_false(send_all(&port, blob, length, length));
        g_assert(port.desc == desc && !port.partial_desc);
        g_assert_cmpuint(warnings, ==, 0);
        g_assert_cmpuint(events, ==, 1);
        g_assert_cmpuint(retries, ==, 0);
        end_port(&port);
    }
}

/* After a blob, another blob for the same port */
static void other_descriptors(const uint8_t *blob, size_t length)
{
    g_autofree uint8_t *other = g_memdup2(blob, length);
    size_t i;

    for (i = 0; i <= length; i++) {
        struct port port = new_port();

        send_all(&port, blob, length, length);
        if (i < length) {
            other[i] ^= 1;
            g_assert_true(send_all(&port, other, length, 10));
            other[i] ^= 1;
        } else {
            g_assert_true(send_all(&port, other, length - 1, 10));
        }
        /* The first blob is there as long as the port */
        g_assert_cmpmem(port.desc->blob, port.desc->length, blob, length);
        g_assert_null(port.partial_desc);
        end_port(&port);
    }

    /* Malformed fragments after a blob */
    const struct {
        uint32_t length, offset;
        size_t n;
    } bad[] = {
        { length, 0, 0 }, { 5, 7, 1 }, { length, length, 1 },
        { length, UINT32_MAX, 1 }, { UINT32_MAX, 0, 1 },
    };
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        struct port port = new_port();

        send_all(&port, blob, length, length);
        g_assert_true(send(&port, true, bad[i].length, bad[i].offset, blob,
                           bad[i].n));
        end_port(&port);
    }
}

/* No memory for the blob, then for attributes: the driver asks again */
static void shortage(const uint8_t *blob, size_t length)
{
    struct port port = new_port();

    no_memory = true;
    send_all(&port, blob, length, 10);
    g_assert(!port.desc && !port.partial_desc && !port.desc_refused);
    g_assert(port.desc_ask && retries == 1);

    /* The blob comes again, after a half of the old one */
    port.desc_ask = false;
    send(&port, false, length, 10, blob + 10, 10);
    no_memory = false;
    send(&port, false, length, 0, blob, 10);
    send(&port, false, length, 10, blob + 10, length - 11);
    no_memory = true;
    send(&port, true, length, length - 1, blob + length - 1, 1);
    g_assert(port.desc && port.desc_ask && retries == 2);
    g_assert_cmpuint(events, ==, 0);

    /* Again without memory, then with memory */
    port.desc_ask = false;
    g_assert_false(send_all(&port, blob, length, 10));
    g_assert(port.desc_ask && retries == 3);
    port.desc_ask = false;
    no_memory = false;
    g_assert_false(send_all(&port, blob, length, 10));
    g_assert_cmpuint(events, ==, 1);
    g_assert_false(send_all(&port, blob, length, 10));
    g_assert_cmpuint(events, ==, 1);
    g_assert(!port.desc_ask && retries == 3);
    g_assert_cmpuint(warnings, ==, 0);
    end_port(&port);
}

/* After a malformed fragment: one warning, and no descriptor any more */
static void bad_fragments(const uint8_t *blob, size_t length)
{
    const struct {
        bool last;
        uint32_t length, offset;
        size_t n;
    } bad[] = {
        { false, length, 0, 0 },                /* empty */
        { true, 0, 0, 1 },                      /* of an empty blob */
        { false, 65536, 0, 1 },                 /* too long */
        { false, UINT32_MAX, 0, 1 },
        { false, length, length, 1 },           /* beyond the end */
        { false, length, UINT32_MAX, 1 },
        { true, length - 1, 0, length },
        { false, length, 9, 1 },                /* a wrong offset */
        { false, length, 11, 1 },
        { false, length + 1, 10, 1 },           /* of another blob */
        { true, length, 10, 1 },                /* marked too early */
        { false, length, 10, length - 10 },     /* not marked */
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        struct port port = new_port();

        send(&port, false, length, 0, blob, 10);
        g_assert_nonnull(port.partial_desc);
        send(&port, bad[i].last, bad[i].length, bad[i].offset, blob, bad[i].n);
        if (!port.desc_refused) {
            g_error("bad fragment %zu was taken", i);
        }
        g_assert_null(port.partial_desc);
        send_all(&port, blob, length, length);
        send(&port, false, 0, 0, blob, 0);
        g_assert_null(port.desc);
        g_assert_cmpuint(warnings, ==, 1);
        g_assert_cmpuint(events, ==, 0);
        end_port(&port);
    }

    /* The first fragment has a wrong offset */
    struct port port = new_port();
    send(&port, false, length, 1, blob, 1);
    g_assert(port.desc_refused && warnings == 1);
    end_port(&port);

    /* A message that ends within its own header */
    port = new_port();
    port_desc_fragment(&port, true, (const void *)blob, 7);
    g_assert(port.desc_refused && warnings == 1);
    end_port(&port);

    /* A port that goes away while its blob is coming */
    port = new_port();
    send(&port, false, length, 0, blob, 10);
    end_port(&port);
}

int main(int argc, char **argv)
{
    unsigned int refused = 0;
    int i;

    for (i = 1; i < argc; i++) {
        g_autofree char *blob = NULL;
        gsize length;

        if (!g_file_get_contents(argv[i], &blob, &length, NULL)) {
            g_error("%s cannot be read", argv[i]);
        }
        if (!agree((uint8_t *)blob, length)) {
            g_error("%s is refused", argv[i]);
        }
        refused += damage((uint8_t *)blob, length);
        fragments((uint8_t *)blob, length);
        other_descriptors((uint8_t *)blob, length);
        shortage((uint8_t *)blob, length);
        bad_fragments((uint8_t *)blob, length);
    }
    printf("%d blobs, %u refusals\n", argc - 1, refused);
    return !refused;
}
