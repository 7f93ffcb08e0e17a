/*
 * QTest testcase for virtio-serial: hostile migration streams
 *
 * A real stream of a device in the middle of everything is changed in each
 * field, cut at each field, and changed at random. One QEMU loads all of these
 * streams, one after the other. QEMU has to refuse a stream that no device can
 * have sent, with a message. Whatever QEMU has loaded, the device may then run,
 * and the true stream has to bring back the true state.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqos/virtio-serial.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-serial-desc-utils.h"
#include "virtio-serial-host.h"

/* Variables of the environment: another seed, more streams */
#define SEED_VARIABLE       "VIRTIO_SERIAL_LOAD_SEED"
#define STREAMS_VARIABLE    "VIRTIO_SERIAL_LOAD_STREAMS"

#define MAX_PORTS   8

/* A port that sends, one that the driver is told of, and a virtserialdesc */
#define SENDER_ID   1
#define OTHER_ID    2
#define READER_ID   5

/* Little memory, because all of it is loaded each time; no port that sends */
#define MACHINE \
    "-m 8M " DESCRIBED(2, "B") \
    "-device virtserialdesc,bus=vser0.0,id=reader,nr=5 "

/* More than a socket takes, in two segments */
#define SEGMENT     (1024 * 1024)

/* Of the file with the stream; the whole stream is in one */
#define CLUSTER     (2 * 1024 * 1024)

/* After how many streams the state is compared with the true one */
#define CHECKED     8

/* A control buffer that holds a part of a blob only */
#define SMALL       40

/* VirtQueueElementOld in QEMU's hw/virtio/virtio.c */
typedef struct Element {
    uint32_t index, out_num, in_num;
    uint64_t in_addr[1024], out_addr[1024];
    struct {
        uint64_t base, len;
    } in_sg[1024], out_sg[1024];
} Element;

/* A number in the stream */
typedef struct Field {
    char *name;
    size_t offset;
    unsigned int size;
    bool native;            /* in the host's byte order, not big-endian */
} Field;

typedef struct Load {
    QVSerDriver *drv;
    QTestState *qts;        /* loads the streams */
    char *dir;
    char *path;             /* the file that the guest was migrated to */
    char *log;              /* what QEMU says while no monitor listens */
    /* The device's section of the stream, and where it is in the file */
    GByteArray *section;
    int file;
    off_t section_at;
    size_t begin;           /* where the part of virtio begins in it */
    GArray *fields;
    uint64_t scratch;       /* guest memory for buffers */
    char *change;           /* what is loaded now */
    unsigned int tried;     /* streams that were loaded by try_section() */
} Load;

static uint64_t get_number(const char *variable, uint64_t otherwise)
{
    const char *value = getenv(variable);

    return value ? g_ascii_strtoull(value, NULL, 0) : otherwise;
}

/*
 * The true stream
 */

static void G_GNUC_PRINTF(5, 6)
add_field(Load *l, size_t *offset, unsigned int size, bool native,
          const char *format, ...)
{
    Field field = { .offset = *offset, .size = size, .native = native };
    va_list ap;

    va_start(ap, format);
    field.name = g_strdup_vprintf(format, ap);
    va_end(ap);
    g_array_append_val(l->fields, field);
    *offset += size;
}

static uint64_t get_field(const uint8_t *section, const Field *field)
{
    const uint8_t *p = section + field->offset;

    switch (field->size) {
    case 1:
        return *p;
    case 2:
        return field->native ? lduw_he_p(p) : lduw_be_p(p);
    case 4:
        return (uint32_t)(field->native ? ldl_he_p(p) : ldl_be_p(p));
    default:
        return field->native ? ldq_he_p(p) : ldq_be_p(p);
    }
}

static void set_field(uint8_t *section, const Field *field, uint64_t value)
{
    uint8_t *p = section + field->offset;

    switch (field->size) {
    case 1:
        *p = value;
        break;
    case 2:
        field->native ? stw_he_p(p, value) : stw_be_p(p, value);
        break;
    case 4:
        field->native ? stl_he_p(p, value) : stl_be_p(p, value);
        break;
    default:
        field->native ? stq_he_p(p, value) : stq_be_p(p, value);
    }
}

static const Field *find_field(Load *l, const char *name)
{
    unsigned int i;

    for (i = 0; i < l->fields->len; i++) {
        const Field *field = &g_array_index(l->fields, Field, i);

        if (g_str_equal(field->name, name)) {
            return field;
        }
    }
    g_assert_not_reached();
}

static uint64_t value_of(Load *l, const char *name)
{
    return get_field(l->section->data, find_field(l, name));
}

/* Find the subsection @name of @of; returns where its length is */
static size_t find_subsection_of(Load *l, const char *of, const char *name)
{
    g_autofree char *full = g_strconcat(of, "/", name, NULL);
    size_t length = strlen(full);
    uint8_t header[] = { 0x05, length };
    g_autofree uint8_t *wanted = g_malloc(sizeof(header) + length);
    uint8_t *found;

    memcpy(wanted, header, sizeof(header));
    memcpy(wanted + sizeof(header), full, length);
    found = memmem(l->section->data, l->section->len, wanted,
                   sizeof(header) + length);
    g_assert_nonnull(found);
    return found - l->section->data;
}

static size_t find_subsection(Load *l, const char *name)
{
    return find_subsection_of(l, "virtio-console-device", name);
}

/* Add the header of a subsection; returns where its fields begin */
static size_t add_subsection(Load *l, const char *name)
{
    size_t offset = find_subsection(l, name);
    size_t length = l->section->data[offset + 1];

    add_field(l, &offset, 1, false, "%s.subsection", name);
    add_field(l, &offset, 1, false, "%s.length", name);
    add_field(l, &offset, 1, false, "%s.name", name);
    offset += length - 1;
    add_field(l, &offset, 4, false, "%s.version", name);
    return offset;
}

static void add_element(Load *l, size_t *offset)
{
    static const struct {
        const char *name;
        size_t offset;
        unsigned int size;
    } members[] = {
        { "index", offsetof(Element, index), 4 },
        { "out_num", offsetof(Element, out_num), 4 },
        { "in_num", offsetof(Element, in_num), 4 },
        { "out_addr[0]", offsetof(Element, out_addr[0]), 8 },
        { "out_addr[1]", offsetof(Element, out_addr[1]), 8 },
        { "out_len[0]", offsetof(Element, out_sg[0].len), 8 },
        { "out_len[1]", offsetof(Element, out_sg[1].len), 8 },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(members); i++) {
        size_t member = *offset + members[i].offset;

        add_field(l, &member, members[i].size, true, "element.%s",
                  members[i].name);
    }
    *offset += sizeof(Element);
}

/* What each virtio device has, which ends at @end */
static void add_queues(Load *l, size_t end)
{
    const unsigned int queues = 2 * (MAX_PORTS + 1), config = 12;
    size_t offset = end - queues * (4 + 8 + 2 + 2) - 4 - config - 4 - 8;
    unsigned int i;

    l->begin = offset;
    add_field(l, &offset, 1, false, "status");
    offset += 1;
    add_field(l, &offset, 2, false, "queue_sel");
    offset += 4;
    add_field(l, &offset, 4, false, "config_len");
    g_assert_cmpuint(value_of(l, "config_len"), ==, config);
    offset += config;
    add_field(l, &offset, 4, false, "queues");
    g_assert_cmpuint(value_of(l, "queues"), ==, queues);
    for (i = 0; i < queues; i++) {
        add_field(l, &offset, 4, false, "queue[%u].size", i);
        add_field(l, &offset, 8, false, "queue[%u].address", i);
        add_field(l, &offset, 2, false, "queue[%u].index", i);
        add_field(l, &offset, 2, false, "queue[%u].vector", i);
    }
}

/* The device's own part: how many bytes it has before its subsections */
static size_t own_size(void)
{
    size_t sending = 4 + 8 + sizeof(Element);

    /* Configuration, map, number of ports; number and state of each port */
    return 2 + 2 + 4 + 4 + 4 + 3 * (4 + 1 + 1 + 4) + sending;
}

static void add_fields(Load *l)
{
    size_t offset;
    uint32_t i, count;

    offset = find_subsection(l, "control") - own_size();
    add_queues(l, offset);
    add_field(l, &offset, 2, false, "cols");
    add_field(l, &offset, 2, false, "rows");
    add_field(l, &offset, 4, false, "max_ports");
    add_field(l, &offset, 4, false, "map");
    add_field(l, &offset, 4, false, "count");
    g_assert_cmpuint(value_of(l, "max_ports"), ==, MAX_PORTS);
    g_assert_cmphex(value_of(l, "map"), ==,
                    1 | 1 << SENDER_ID | 1 << OTHER_ID | 1 << READER_ID);
    g_assert_cmpuint(value_of(l, "count"), ==, 3);
    for (i = 0; i < 3; i++) {
        g_autofree char *any = g_strdup_printf("port[%u].any", i);

        add_field(l, &offset, 4, false, "port[%u].id", i);
        add_field(l, &offset, 1, false, "port[%u].guest", i);
        add_field(l, &offset, 1, false, "port[%u].host", i);
        add_field(l, &offset, 4, false, "%s", any);
        if (value_of(l, any)) {
            add_field(l, &offset, 4, false, "iov_idx");
            add_field(l, &offset, 8, false, "iov_offset");
            add_element(l, &offset);
        }
    }
    g_assert_cmpuint(value_of(l, "element.out_num"), ==, 2);
    g_assert_cmpuint(value_of(l, "element.out_len[0]"), ==, SEGMENT);

    offset = add_subsection(l, "control");
    add_field(l, &offset, 1, false, "device_ready");
    for (i = 0; i < MAX_PORTS; i++) {
        add_field(l, &offset, 1, false, "slot[%u].owed", i);
        add_field(l, &offset, 1, false, "slot[%u].told", i);
        add_field(l, &offset, 1, false, "slot[%u].ready", i);
        add_field(l, &offset, 1, false, "slot[%u].outdated", i);
        add_field(l, &offset, 2, false, "slot[%u].place", i);
    }
    g_assert_cmpuint(offset, ==, find_subsection(l, "control/desc"));
    offset = add_subsection(l, "control/desc");
    add_field(l, &offset, 4, false, "desc_offset");
    g_assert_cmpuint(value_of(l, "desc_offset"), ==, SMALL - FRAGMENT_HEADER);
    g_assert_cmphex(value_of(l, "slot[2].owed"), ==, 0x18);

    g_assert_cmpuint(offset, ==, find_subsection(l, "descriptors"));
    offset = add_subsection(l, "descriptors");
    add_field(l, &offset, 4, false, "digests");
    for (i = 0; i < 3; i++) {
        add_field(l, &offset, 4, false, "digest[%u].id", i);
        add_field(l, &offset, 1, false, "digest[%u].first", i);
        offset += 30;
        add_field(l, &offset, 1, false, "digest[%u].last", i);
    }

    g_assert_cmpuint(offset, ==, find_subsection(l, "descriptor-ports"));
    offset = add_subsection(l, "descriptor-ports");
    add_field(l, &offset, 4, false, "reader.max_ports");
    add_field(l, &offset, 4, false, "reader.id");
    add_field(l, &offset, 4, false, "reader.cursor");
    for (i = 0; i < MAX_PORTS; i++) {
        add_field(l, &offset, 1, false, "reader.told[%u]", i);
    }
    for (i = 0; i < MAX_PORTS; i++) {
        add_field(l, &offset, 1, false, "reader.changed[%u]", i);
    }
    add_field(l, &offset, 4, false, "reader.length");
    g_assert_cmpuint(value_of(l, "reader.id"), ==, READER_ID);
    count = value_of(l, "reader.length");
    g_assert_cmpuint(count, >, 0);
    offset += count;
    add_field(l, &offset, 4, false, "reader.end");
    g_assert_cmpuint(value_of(l, "reader.end"), ==, UINT32_MAX);
    /* Nothing more is the device's own: a subsection of each virtio device */
    g_assert_cmphex(l->section->data[offset], ==, 0x05);
    g_assert_cmpmem(l->section->data + offset + 2, strlen("virtio/"),
                    "virtio/", strlen("virtio/"));

    /* Of what each virtio device has, and comes last */
    offset = find_subsection_of(l, "virtio", "64bit_features");
    offset += 1 + 1 + l->section->data[offset + 1];
    add_field(l, &offset, 4, false, "features.version");
    g_assert_cmpuint(value_of(l, "features.version"), ==, 1);
}

/*
 * Find the device's section in the @size bytes of @stream; returns its size.
 * A description, behind all sections, has the name again.
 */
static size_t find_section(const uint8_t *stream, size_t size,
                           const uint8_t **section)
{
    static const char name[] = "/virtio-console";
    uint8_t footer[5] = { 0x7e };
    const uint8_t *begin, *end;

    begin = memmem(stream, size, name, strlen(name));
    g_assert_nonnull(begin);
    end = begin + strlen(name);
    /* Before the name there are a byte of type, a number, and the length */
    while (begin[-1] != end - begin) {
        begin--;
    }
    begin -= 1 + 4 + 1;
    g_assert_cmpuint(begin[0], ==, 0x04);
    memcpy(footer + 1, begin + 1, 4);
    end = memmem(end, stream + size - end, footer, sizeof(footer));
    g_assert_nonnull(end);
    *section = begin;
    return end + sizeof(footer) - begin;
}

/* Take all events */
static void drain(QVSerDriver *drv)
{
    QVSerEvent ev;

    do {
        qvser_settle(drv);
    } while (qvser_poll(drv, &ev));
}

/* Have the device in the middle of everything, and migrate it to @uri */
static void record(Load *l, void *obj, QGuestAllocator *alloc, const char *uri)
{
    const uint32_t lens[] = { SEGMENT, SEGMENT };
    g_autofree uint8_t *data = g_malloc0(2 * SEGMENT);
    QVSerDriver *drv = vser_new_driver(obj, alloc, &vser_described);
    VSerEnd *end = vser_end_new(drv->qts, "end", vser_pair);
    QVSerEvent ev;

    l->drv = drv;
    drv->data_ports = 1 << SENDER_ID | 1 << READER_ID;
    vser_restart(drv, 1, SMALL);
    vser_plug(drv->qts, SENDER_ID, "desc", "1209:0001", "chardev", "end", NULL);
    vser_end_connect(end);
    vser_device_ready(drv);
    drain(drv);
    vser_port_ready(drv, SENDER_ID);
    vser_port_open(drv, SENDER_ID);
    vser_port_ready(drv, READER_ID);
    vser_port_open(drv, READER_ID);
    drain(drv);

    /* The reader has read a part of the first record */
    qvser_post(drv, READER_ID, 10);
    qvser_settle(drv);
    /* The host takes no more bytes in the middle of a buffer */
    qvser_queue(drv, &drv->ovqs[SENDER_ID], lens, ARRAY_SIZE(lens), data);
    qvser_kick(drv, &drv->ovqs[SENDER_ID]);
    qvser_settle(drv);
    /* The driver has no buffer for the rest of a descriptor */
    drv->keep = true;
    vser_port_ready(drv, OTHER_ID);
    qvser_next(drv, &ev);
    g_assert_cmpuint(ev.event, ==, VIRTIO_CONSOLE_PORT_DESC);
    qvser_settle(drv);

    /* For buffers that the driver does not know */
    l->scratch = guest_alloc(alloc, 4096);
    vser_migrate_out(drv->qts, uri);
    g_assert_true(vser_migration_succeeded(drv->qts));
    vser_end_free(end, false);
}

/*
 * The QEMU that loads streams
 */

static void each_queue(Load *l, void (*call)(Load *l, QVirtQueue *vq))
{
    call(l, l->drv->c_ivq);
    call(l, l->drv->c_ovq);
    call(l, l->drv->ivqs[SENDER_ID].vq);
    call(l, l->drv->ovqs[SENDER_ID].vq);
    call(l, l->drv->ivqs[READER_ID].vq);
    call(l, l->drv->ovqs[READER_ID].vq);
}

static char *monitor(Load *l, const char *command, const char *argument)
{
    g_autofree char *line = g_strdup_printf("%s %s", command, argument);

    return qtest_hmp(l->qts, "%s", line);
}

/* Load @section in the place of the true one; returns: what QEMU said */
static char *load_section(Load *l, const uint8_t *section)
{
    g_assert_cmpint(pwrite(l->file, section, l->section->len, l->section_at),
                    ==, l->section->len);
    return monitor(l, "loadvm", "true");
}

static void tell_change(void *opaque)
{
    Load *l = opaque;
    g_autofree char *said = NULL;

    g_file_get_contents(l->log, &said, NULL, NULL);
    fprintf(stderr, "# the stream: %s\n%s\n", l->change, said);
}

static void G_GNUC_PRINTF(2, 3) set_change(Load *l, const char *format, ...)
{
    va_list ap;

    g_free(l->change);
    va_start(ap, format);
    l->change = g_strdup_vprintf(format, ap);
    va_end(ap);
}

/* Make a file for snapshots, as @path */
static void add_file(QTestState *qts, const char *path)
{
    QDict *job;
    const char *status;

    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': {"
                             " 'driver': 'file', 'node-name': 'file',"
                             " 'filename': %s, 'locking': 'off',"
                             " 'cache': { 'no-flush': true } } }", path);
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-create',"
                             " 'arguments': { 'job-id': 'create', 'options': {"
                             " 'driver': 'qcow2', 'file': 'file', 'size': 0,"
                             " 'cluster-size': %d } } }", CLUSTER);
    do {
        QDict *response = qtest_qmp(qts, "{ 'execute': 'query-jobs' }");

        job = qobject_to(QDict, qlist_peek(qdict_get_qlist(response,
                                                           "return")));
        status = qdict_get_str(job, "status");
        g_assert_false(qdict_haskey(job, "error"));
        job = g_str_equal(status, "concluded") ? job : NULL;
        qobject_unref(response);
    } while (!job);
    qtest_qmp_assert_success(qts, "{ 'execute': 'job-dismiss',"
                             " 'arguments': { 'id': 'create' } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': {"
                             " 'driver': 'qcow2', 'node-name': 'snapshots',"
                             " 'file': 'file' } }");
}

/* Returns: a QEMU with @options that waits for the guest, and its devices */
static QTestState *start(Load *l, const char *options, QVirtioSerial **serial)
{
    g_autofree char *args = g_strdup_printf("%s %s -incoming defer 2>%s",
                                            qos_get_current_command_line(),
                                            options, l->log);
    QTestState *qts = vser_start_qemu(NULL, args);
    QGuestAllocator *alloc;

    qtest_qmp_assert_success(qts, "{ 'execute': 'chardev-add',"
                             " 'arguments': { 'id': 'end', 'backend': {"
                             " 'type': 'null', 'data': {} } } }");
    vser_plug(qts, SENDER_ID, "desc", "1209:0001", "chardev", "end", NULL);
    *serial = qos_allocate_objects(qts, &alloc);
    return qts;
}

static Load *load_new(void *obj, QGuestAllocator *alloc)
{
    Load *l = g_new0(Load, 1);
    g_autofree char *stream = NULL, *said = NULL;
    g_autofree char *uri = NULL, *image = NULL;
    QVirtioSerial *serial;
    const uint8_t *section;
    gsize size;

    l->dir = g_dir_make_tmp("virtio-serial-test-XXXXXX", NULL);
    g_assert_nonnull(l->dir);
    l->log = g_build_filename(l->dir, "log", NULL);
    l->path = g_build_filename(l->dir, "stream", NULL);
    uri = g_strconcat("file:", l->path, NULL);
    image = g_build_filename(l->dir, "image", NULL);
    l->fields = g_array_new(false, false, sizeof(Field));
    record(l, obj, alloc, uri);

    l->qts = start(l, "-S", &serial);
    qtest_add_abrt_handler(tell_change, l);
    set_change(l, "as it came");
    vser_migrate_in(l->qts, uri);
    g_assert_true(vser_migration_succeeded(l->qts));
    l->drv->vdev = serial->vdev;
    l->drv->qts = l->qts;

    add_file(l->qts, image);
    said = monitor(l, "savevm", "true");
    g_assert_cmpstr(said, ==, "");
    l->file = open(image, O_RDWR);
    g_assert_cmpint(l->file, >=, 0);
    g_assert_true(g_file_get_contents(image, &stream, &size, NULL));
    size = find_section((uint8_t *)stream, size, &section);
    l->section_at = (char *)section - stream;
    l->section = g_byte_array_sized_new(size);
    g_byte_array_append(l->section, section, size);
    add_fields(l);
    return l;
}

static void load_free(Load *l)
{
    g_autofree char *image = g_build_filename(l->dir, "image", NULL);
    unsigned int i;

    qtest_remove_abrt_handler(l);
    qtest_quit(l->qts);
    close(l->file);
    for (i = 0; i < l->fields->len; i++) {
        g_free(g_array_index(l->fields, Field, i).name);
    }
    g_array_unref(l->fields);
    g_byte_array_unref(l->section);
    g_unlink(image);
    g_unlink(l->path);
    g_unlink(l->log);
    g_rmdir(l->dir);
    g_free(l->dir);
    g_free(l->path);
    g_free(l->log);
    g_free(l->change);
    qvser_free(l->drv);
    g_free(l);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Load, load_free)

/*
 * What the device does with what it has loaded
 */

/* Where the @nr-th of our buffers is; each has 64 bytes */
static uint64_t buffer(Load *l, unsigned int nr)
{
    return l->scratch + 64 * nr;
}

/* Post our buffers from @first to before @end on @vq */
static void post(Load *l, QVirtQueue *vq, unsigned int first, unsigned int end,
                 uint16_t flags)
{
    uint64_t idx = vq->avail + offsetof(struct vring_avail, idx);
    uint16_t avail = qtest_readw(l->qts, idx);
    unsigned int i;

    for (i = first; i < end; i++) {
        /* Descriptors that the driver has not used */
        uint16_t index = vq->size - 1 - (i - first);
        struct vring_desc desc = {
            .addr = cpu_to_le64(buffer(l, i)),
            .len = cpu_to_le32(flags ? 64 : 8),
            .flags = cpu_to_le16(flags),
        };

        qtest_memwrite(l->qts, vq->desc + index * sizeof(desc), &desc,
                       sizeof(desc));
        qtest_writew(l->qts, vq->avail + offsetof(struct vring_avail, ring) +
                             2 * (avail++ % vq->size), index);
    }
    qtest_writew(l->qts, idx, avail);
}

static void kick(Load *l, QVirtQueue *vq)
{
    vq->vdev->bus->virtqueue_kick(vq->vdev, vq);
}

static uint16_t used_idx(Load *l, QVirtQueue *vq)
{
    return qtest_readw(l->qts, vq->used + offsetof(struct vring_used, idx));
}

/* Let the machine run, with buffers for all that the device has to say */
static void run(Load *l)
{
    qtest_qmp_assert_success(l->qts, "{ 'execute': 'cont' }");
    /* virtio-serial-bus.c has a timer for after migration */
    qtest_clock_step(l->qts, 1000 * 1000);
    post(l, l->drv->c_ivq, 0, 4, VRING_DESC_F_WRITE);
    post(l, l->drv->ivqs[READER_ID].vq, 4, 8, VRING_DESC_F_WRITE);
    each_queue(l, kick);
    qvser_settle(l->drv);
}

/* The driver answers, opens and closes each port, and one that is not there */
static void answer(Load *l)
{
    static const uint32_t ids[] = { SENDER_ID, OTHER_ID, READER_ID, 7 };
    static const struct {
        uint16_t event, value;
    } messages[] = {
        { VIRTIO_CONSOLE_PORT_READY, 1 },
        { VIRTIO_CONSOLE_PORT_OPEN, 1 },
        { VIRTIO_CONSOLE_PORT_OPEN, 0 },
    };
    int i, j;

    for (i = 0; i < ARRAY_SIZE(messages); i++) {
        for (j = 0; j < ARRAY_SIZE(ids); j++) {
            struct virtio_console_control message = {
                .id = cpu_to_le32(ids[j]),
                .event = cpu_to_le16(messages[i].event),
                .value = cpu_to_le16(messages[i].value),
            };

            qtest_memwrite(l->qts, buffer(l, 8 + j), &message, sizeof(message));
        }
        post(l, l->drv->c_ovq, 8, 8 + ARRAY_SIZE(ids), 0);
        kick(l, l->drv->c_ovq);
        qvser_settle(l->drv);
    }
}

static void stop(Load *l)
{
    qtest_qmp_assert_success(l->qts, "{ 'execute': 'stop' }");
}

/* Save the state of all devices as it is now; returns its bytes, in @size */
static char *save_state(Load *l, size_t *size)
{
    g_autofree char *path = g_build_filename(l->dir, "state", NULL);
    char *stream;

    qtest_qmp_assert_success(l->qts, "{ 'execute': 'xen-save-devices-state',"
                             " 'arguments': { 'filename': %s, 'live': false }"
                             " }", path);
    g_assert_true(g_file_get_contents(path, &stream, size, NULL));
    g_unlink(path);
    return stream;
}

/* The true stream is taken, and the device then is what the stream says */
static void check_restored(Load *l)
{
    g_autofree char *stream = NULL, *said = NULL;
    const uint8_t *section;
    size_t size;

    said = load_section(l, l->section->data);
    g_assert_cmpstr(said, ==, "");
    stream = save_state(l, &size);
    size = find_section((uint8_t *)stream, size, &section);
    g_assert_cmpmem(section, size, l->section->data, l->section->len);
}

/*
 * Cases
 */

/* The section with field @name set to @value */
static GByteArray *change_field(Load *l, const char *name, uint64_t value)
{
    GByteArray *section = g_byte_array_sized_new(l->section->len);

    g_byte_array_append(section, l->section->data, l->section->len);
    set_field(section->data, find_field(l, name), value);
    set_change(l, "%s is 0x%" PRIx64 ", not 0x%" PRIx64, name, value,
               value_of(l, name));
    return section;
}

/* The true stream, also after the device has run with it */
static void test_true(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(Load) l = load_new(obj, alloc);

    check_restored(l);
    run(l);
    answer(l);
    stop(l);
    check_restored(l);
}

/* Numbers that no device sends: QEMU says what is wrong, and takes nothing */
static void test_refused(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const struct {
        const char *name;
        uint64_t value;
        const char *why;
    } changes[] = {
        { "queue_sel", 1025, "Error" },
        { "config_len", 0x1001, "Invalid configuration length: 0x1001" },
        { "config_len", INT32_MAX, "configuration length: 0x7fffffff" },
        { "config_len", UINT32_MAX, "configuration length: 0xffffffff" },
        { "queues", 1025, "Invalid number of virtqueues: 0x401" },
        { "queues", UINT32_MAX, "Invalid number of virtqueues: 0xffffffff" },
        { "queue[0].size", 0, "VQ 0 size 0x0 is 0 or is more than 0x400" },
        { "queue[3].size", 1025, "VQ 3 size 0x401 is 0 or is more than 0x400" },
        { "queue[17].size", UINT32_MAX, "VQ 17 size 0xffffffff is 0 or" },
        { "queue[2].address", 0, "VQ 2 address 0x0 inconsistent with Host" },
        { "queue[1].vector", 200, "Error" },
        { "max_ports", 0, "max_ports is 8, at the source 0" },
        { "max_ports", 33, "max_ports is 8, at the source 33" },
        { "max_ports", UINT32_MAX, "max_ports is 8, at the source" },
        { "max_ports", 9, "max_ports is 8, at the source 9" },
        { "map", 1, "port 1 is there only at the destination" },
        { "map", UINT32_MAX, "port 3 is there only at the source" },
        { "count", MAX_PORTS + 1, "there can't be 9 ports" },
        { "count", UINT32_MAX, "there can't be 4294967295 ports" },
        { "port[0].id", 3, "port 3 is not there" },
        { "port[0].id", MAX_PORTS, "port 8 is not there" },
        { "port[0].id", UINT32_MAX, "port 4294967295 is not there" },
        { "port[0].id", SENDER_ID, "port 1 is in the stream twice" },
        { "iov_idx", 2, "in segment 2" },
        { "iov_idx", UINT32_MAX, "in segment 4294967295" },
        { "iov_offset", SEGMENT + 1, "has no byte 1048577" },
        { "iov_offset", UINT64_MAX, "has no byte 18446744073709551615" },
        { "element.out_num", 0, "has no byte" },
        { "element.out_num", 3, "segment 2" },
        { "element.out_num", 1025, "1025 and 0 segments" },
        { "element.out_num", UINT32_MAX, "segments" },
        { "element.in_num", 1, "segment 0" },
        { "element.in_num", 1025, "2 and 1025 segments" },
        { "element.in_num", UINT32_MAX, "segments" },
        { "element.out_addr[0]", UINT64_MAX - 4096, "segment 0" },
        { "element.out_addr[1]", 1ull << 62, "segment 1" },
        { "element.out_len[0]", 0, "segment 0" },
        { "element.out_len[0]", UINT64_MAX, "segment 0" },
        { "element.out_len[1]", 1ull << 40, "segment 1" },
        { "control.version", 2, "version" },
        { "desc_offset", 1000, "no descriptor has 1000 bytes" },
        { "desc_offset", UINT32_MAX, "no descriptor has 4294967295 bytes" },
        { "slot[2].owed", 0x98, "port 2 is owed what it does not have: 0x98" },
        { "slot[2].owed", 0x58, "port 2 is owed what it does not have: 0x58" },
        { "slot[2].owed", 0, "no descriptor has" },
        { "slot[3].owed", 2, "port 3 is owed what it does not have: 0x02" },
        { "slot[0].owed", 0xff, "port 0 is owed what it does not have: 0xff" },
        { "slot[3].owed", 1, "port 3 has no place in the control queue: 0" },
        { "slot[2].place", 0, "port 2 has no place in the control queue: 0" },
        { "slot[2].place", 9, "port 2 has no place in the control queue: 9" },
        { "slot[2].place", UINT16_MAX, "port 2 has no place" },
        { "slot[7].place", 1, "port 7 has no place in the control queue: 1" },
        { "descriptors.version", 2, "version" },
        { "digests", MAX_PORTS + 1, "9 descriptors" },
        { "digests", UINT32_MAX, "4294967295 descriptors" },
        { "digest[0].id", 3, "port 3 is not there, and" },
        { "digest[1].id", UINT32_MAX, "port 4294967295 is not" },
        { "digest[0].first", 0x100 - 1, "its descriptor is not the source's" },
        { "digest[2].last", 0x100 - 1, "its descriptor is not the source's" },
        { "descriptor-ports.version", 2, "version" },
        { "reader.max_ports", 9, "max_ports is 8, at the source 9" },
        { "reader.max_ports", UINT32_MAX, "max_ports is 8, at the source" },
        { "reader.id", 0, "port 0 is no virtserialdesc" },
        { "reader.id", OTHER_ID, "port 2 is no virtserialdesc" },
        { "reader.id", MAX_PORTS, "port 8 is no virtserialdesc" },
        { "reader.id", UINT32_MAX - 1, "is no virtserialdesc" },
        { "port[1].guest", 0, "port 5: the guest has not opened this" },
        { "reader.cursor", MAX_PORTS + 2, "no virtserialdesc is at port 10" },
        { "reader.cursor", UINT32_MAX, "no virtserialdesc is at port" },
        { "reader.length", LARGE + 16 + 65535 + 1, "with 69648 bytes" },
        { "reader.length", UINT32_MAX, "with 4294967295 bytes to come" },
        { "features.version", 2, "version" },
    };
    g_autoptr(Load) l = load_new(obj, alloc);
    int i;

    for (i = 0; i < ARRAY_SIZE(changes); i++) {
        g_autoptr(GByteArray) section = NULL;
        g_autofree char *said = NULL, *tree = NULL;
        uint16_t control, reader;

        section = change_field(l, changes[i].name, changes[i].value);
        said = load_section(l, section->data);
        g_test_message("%s: %s", l->change, said);
        g_assert_nonnull(strstr(said, changes[i].why));

        /* No port of the device is open, as some are in the stream */
        tree = monitor(l, "info", "qtree");
        g_assert_nonnull(strstr(tree, "guest off"));
        g_assert_null(strstr(tree, "guest on"));
        control = used_idx(l, l->drv->c_ivq);
        reader = used_idx(l, l->drv->ivqs[READER_ID].vq);
        run(l);
        g_assert_cmpuint(used_idx(l, l->drv->c_ivq), ==, control);
        g_assert_cmpuint(used_idx(l, l->drv->ivqs[READER_ID].vq), ==, reader);
        answer(l);
        stop(l);
        check_restored(l);
    }
}

/* Load @section, which may be refused or not, and let the guest run if not */
static void try_section(Load *l, GByteArray *section)
{
    g_autofree char *said = load_section(l, section->data);

    if (!strstr(said, "Error")) {
        run(l);
        answer(l);
        stop(l);
    }
    if (l->tried++ % CHECKED == 0) {
        check_restored(l);
    }
}

/* Each number of the stream, with values at the edges of what is right */
static void test_numbers(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const uint64_t values[] = {
        0, 1, 2, MAX_PORTS - 1, MAX_PORTS, MAX_PORTS + 1, 1024,
        INT8_MAX, UINT8_MAX, UINT16_MAX, INT32_MAX, UINT32_MAX, UINT64_MAX,
    };
    g_autoptr(Load) l = load_new(obj, alloc);
    unsigned int i, j;

    for (i = 0; i < l->fields->len; i++) {
        const Field *field = &g_array_index(l->fields, Field, i);

        for (j = 0; j < ARRAY_SIZE(values); j++) {
            uint64_t most = UINT64_MAX >> (64 - 8 * field->size);
            g_autoptr(GByteArray) section = NULL;

            /* The members of an array are alike: each gets other values */
            if (values[j] > most ||
                (strchr(field->name, '[') && j % 12 != i % 12)) {
                continue;
            }
            section = change_field(l, field->name, values[j]);
            try_section(l, section);
        }
    }
    check_restored(l);
}

/* The stream ends too early */
static void test_cut(void *obj, void *arg, QGuestAllocator *alloc)
{
    static const struct {
        const char *name;
        size_t more;
        const char *why;
    } ends[] = {
        { "max_ports", 2, "port 0 is there only at the destination" },
        { "map", 0, "virtio-console" },
        { "element.in_num", 100, "virtio: the stream ends in a buffer" },
        { "slot[2].owed", 0, "control" },
        { "digest[1].first", 10, "ends in the descriptor of port 5" },
        { "reader.length", 1, "port 5: the stream ends in a record" },
    };
    g_autoptr(Load) l = load_new(obj, alloc);
    g_autofree char *stream = NULL, *uri = g_strconcat("file:", l->path, NULL);
    const uint8_t *section;
    gsize size;
    int i;

    g_assert_true(g_file_get_contents(l->path, &stream, &size, NULL));
    g_assert_cmpuint(find_section((uint8_t *)stream, size, &section), ==,
                     l->section->len);
    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        const Field *field = find_field(l, ends[i].name);
        g_autofree char *log = NULL, *said = NULL;
        QVirtioSerial *serial;
        QTestState *to = start(l, "", &serial);
        QDict *info;

        set_change(l, "the stream ends after %s", ends[i].name);
        g_assert_true(g_file_set_contents(
            l->path, stream, (char *)section - stream + field->offset +
                             field->size + ends[i].more, NULL));
        vser_migrate_in(to, uri);
        g_assert_false(vser_migration_succeeded(to));
        info = qtest_qmp_assert_success_ref(
            to, "{ 'execute': 'query-migrate' }");
        qtest_quit(to);
        g_assert_true(g_file_get_contents(l->log, &log, NULL, NULL));
        said = g_strconcat(log, qdict_get_try_str(info, "error-desc"), NULL);
        qobject_unref(info);
        g_test_message("%s: %s", l->change, said);
        g_assert_nonnull(strstr(said, ends[i].why));
    }
}

/* The lowest and the highest bit of each number are others */
static void test_flipped(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(Load) l = load_new(obj, alloc);
    unsigned int i, bit;

    for (i = 0; i < l->fields->len; i++) {
        const Field *field = &g_array_index(l->fields, Field, i);

        for (bit = 0; bit < 8 * field->size; bit += 8 * field->size - 1) {
            g_autoptr(GByteArray) section = NULL;

            section = change_field(l, field->name,
                                   get_field(l->section->data, field) ^
                                   1ull << bit);
            try_section(l, section);
        }
    }
    check_restored(l);
}

/* Load @size bytes of @stream; returns whether QEMU has taken them */
static bool load_state(Load *l, const GByteArray *stream, size_t size)
{
    g_autofree char *path = g_build_filename(l->dir, "cut", NULL);
    QDict *response;
    bool taken;

    g_assert_true(g_file_set_contents(path, (char *)stream->data, size, NULL));
    response = qtest_qmp(l->qts, "{ 'execute': 'xen-load-devices-state',"
                         " 'arguments': { 'filename': %s } }", path);
    g_unlink(path);
    taken = qdict_haskey(response, "return");
    qobject_unref(response);
    return taken;
}

/* The stream ends in front of each number, or in it: it is always refused */
static void test_cut_anywhere(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(Load) l = load_new(obj, alloc);
    g_autoptr(GByteArray) stream = g_byte_array_new();
    g_autofree char *state = NULL, *migrated = NULL;
    const size_t header = 4 + 4;    /* magic and version */
    const uint8_t *section;
    size_t size, config;
    unsigned int i, j;

    check_restored(l);
    state = save_state(l, &size);
    /* It has all but the machine's name, which comes first in a migration */
    g_assert_true(g_file_get_contents(l->path, &migrated, NULL, NULL));
    g_assert_cmphex(migrated[header], ==, 0x07);
    config = 1 + 4 + ldl_be_p(migrated + header + 1);
    g_byte_array_append(stream, (uint8_t *)migrated, header + config);
    g_byte_array_append(stream, (uint8_t *)state + header, size - header);
    g_assert_true(load_state(l, stream, stream->len));

    find_section(stream->data, stream->len, &section);
    for (i = 0; i < l->fields->len; i++) {
        const Field *field = &g_array_index(l->fields, Field, i);

        for (j = 0; j < field->size; j += MAX(field->size - 1, 1)) {
            set_change(l, "the stream ends at byte %u of %s", j, field->name);
            g_assert_false(load_state(l, stream, section - stream->data +
                                                 field->offset + j));
            if (l->tried++ % CHECKED == 0) {
                run(l);
                answer(l);
                stop(l);
                check_restored(l);
            }
        }
    }
    check_restored(l);
}

/* Bytes are missing, and all that follows comes too early */
static void test_missing(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(Load) l = load_new(obj, alloc);
    unsigned int i, j;

    for (i = 0; i < l->fields->len; i++) {
        const Field *field = &g_array_index(l->fields, Field, i);

        for (j = 1; j <= field->size; j += field->size) {
            g_autoptr(GByteArray) section = g_byte_array_new();

            set_change(l, "%u bytes before the end of %s are missing", j,
                       field->name);
            g_byte_array_append(section, l->section->data, l->section->len);
            g_byte_array_remove_range(section, field->offset + field->size - j,
                                      j);
            /* Bytes of 0 end the stream */
            while (section->len < l->section->len) {
                g_byte_array_append(section, (const uint8_t *)"", 1);
            }
            try_section(l, section);
        }
    }
    check_restored(l);
}

/* Bytes are changed at random */
static void test_random(void *obj, void *arg, QGuestAllocator *alloc)
{
    g_autoptr(Load) l = load_new(obj, alloc);
    uint32_t seed = get_number(SEED_VARIABLE, 1);
    uint32_t streams = get_number(STREAMS_VARIABLE, 100);
    uint32_t n, i, count;

    for (n = 0; n < streams; n++) {
        g_autoptr(GByteArray) section = g_byte_array_new();
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed + n);

        set_change(l, "1 stream of " SEED_VARIABLE "=%u", seed + n);
        g_byte_array_append(section, l->section->data, l->section->len);
        count = g_rand_int_range(rand, 1, 5);
        for (i = 0; i < count; i++) {
            /* Any byte of all, or one of a number */
            const Field *field = &g_array_index(
                l->fields, Field, g_rand_int_range(rand, 0, l->fields->len));
            size_t at = g_rand_int(rand) % 4 ?
                        field->offset + g_rand_int_range(rand, 0, field->size) :
                        l->begin + g_rand_int_range(rand, 0,
                                                  section->len - l->begin);

            section->data[at] ^= g_rand_boolean(rand) ?
                                 1 << g_rand_int_range(rand, 0, 8) :
                                 g_rand_int_range(rand, 1, 256);
        }
        try_section(l, section);
    }
    check_restored(l);
}

static const VSerCase cases[] = {
    { "true", test_true },
    { "refused", test_refused },
    { "numbers", test_numbers },
    { "flipped", test_flipped },
    { "cut", test_cut },
    { "cut-anywhere", test_cut_anywhere },
    { "missing", test_missing },
    { "random", test_random },
};

static void register_virtio_serial_load_test(void)
{
    VSerCase all[ARRAY_SIZE(cases)];
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        all[i] = cases[i];
        all[i].properties = "max_ports=8";
        all[i].ports = MACHINE;
        /* The tests know where the numbers are in the stream of a PC */
        all[i].arch = "x86_64";
    }
    vser_add_cases("load", all, ARRAY_SIZE(all));
}

libqos_init(register_virtio_serial_load_test);
