/*
 * Fuzz target: "vser daemon" as a whole, against a model of host, device,
 * kernel, disk and udev
 *
 * The input is a script. Each step is a byte (enum Step, modulo its number) and
 * the step's parameters, a byte each. The steps of the world run while the
 * daemon waits in epoll_wait(); KILL ends the daemon before a later system
 * call, and another daemon starts. No system call is made: the functions below
 * stand in for the kernel (the linker's --wrap).
 *
 * At each step: an entry of the store for an instance of a port that is there
 * has that instance's descriptor, whatever went before. At the end, when
 * nothing moves any more: the store has one entry for each port with a
 * descriptor, for the instance that is there, and nothing else; and udev has
 * looked at each port since its entry changed. FUZZ_TRACE=1 shows what happens
 * with an input.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "commands.h"
#include "paths.h"
#include "port-name.h"
#include "uevent.h"
#include "util.h"
#include "hw/virtio/virtio-serial-desc-codec.h"
#include "hw/virtio/virtio-serial-desc-wire.h"
#include "fuzz.h"

enum Step {
    WAIT,           /* the daemon gets an event, if there is one */
    HOST,           /* port, descriptor: plug, or unplug */
    REPLACE,        /* port, descriptor: unplug, and plug another */
    KERNEL,         /* how many changes the kernel hears of */
    DEVICE,         /* how many records the device writes */
    HEAR_HOST,      /* the kernel hears that the host has opened its side */
    HOST_CLOSES,    /* the same of closing; the host is there again later */
    TIME,           /* of 64 ms */
    KILL,           /* before which system call from now */
    LOST,           /* the kernel's events are lost */
    FULL,           /* the disk is full, or has room again */
    RESET,          /* the device is reset, as when the guest sleeps */
    FEED,           /* the feed's port goes, or comes */
    STEPS,
};

#define PORTS       4               /* ids 1 to 4 */
#define FEED_ID     7
#define IDS         (FEED_ID + 1)
#define INSTANCES   4096            /* of all ports, in one script */
#define STEPS_MAX   2000
#define NEWS        512
#define ROOM        8               /* records in the feed's buffers */
#define FILES       64
#define NONE        -1              /* no descriptor */
#define BLOBS       3
#define BLOB_SIZE   256

/* No file descriptors of this process */
enum { FIRST_FD = 1 << 20, UEVENTS, FEED_FD, TELL, NAME, STORED };

int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max,
                      int timeout);
int __wrap_uevent_open(void);
UeventResult __wrap_uevent_next(int fd, Uevent *event);
uint64_t __wrap_port_instance(const char *name);
char **__wrap_port_names(size_t *count);
int __wrap_port_name_open(const char *name, uint64_t instance, int flags);
int64_t __wrap_now_ms(void);
void __wrap_vser_error(const char *fmt, ...);
void *__wrap_vser_realloc(void *old, size_t size);
void __wrap_free(void *p);
void __real_free(void *p);
int __wrap_open(const char *path, int flags, ...);
int __real_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_close(int fd);
int __real_close(int fd);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __real_write(int fd, const void *data, size_t size);
int __wrap_rename(const char *old, const char *new);
int __real_rename(const char *old, const char *new);
int __wrap_unlink(const char *path);
int __real_unlink(const char *path);
int __wrap_mkdir(const char *path, mode_t mode);
int __real_mkdir(const char *path, mode_t mode);
int __wrap_access(const char *path, int mode);
int __real_access(const char *path, int mode);
DIR *__wrap_opendir(const char *path);
DIR *__real_opendir(const char *path);
struct dirent *__wrap_readdir(DIR *dir);
struct dirent *__real_readdir(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir);
int __wrap_closedir(DIR *dir);
int __real_closedir(DIR *dir);

typedef struct Said {
    uint16_t event;
    uint32_t id;
    int blob;
} Said;

typedef struct File {
    char name[64];                  /* "" is free */
    uint8_t data[BLOB_SIZE];
    size_t length;
} File;

static const uint8_t *p, *end;      /* the rest of the script */
static jmp_buf killed;
static bool inside;                 /* else libFuzzer has called: as ever */
static unsigned int until_kill;     /* system calls; 0: none is to come */

static struct {
    int64_t now;
    unsigned int steps;
    bool settling;                  /* the script is over */
    unsigned int idle;              /* turns in which nothing happened */
    /* The host: which instance is there, and the blob each ever had */
    uint64_t host[IDS], last;
    int blob[INSTANCES];
    /* The device: what the reader was told, and what is still unread */
    uint64_t told[IDS];
    unsigned int snapshot;          /* the next port of it; IDS + 1: no more */
    Said queue[ROOM];
    unsigned int queued;
    uint8_t bytes[16 + BLOB_SIZE];  /* of a record that is read in pieces */
    size_t bytes_left, bytes_size;
    bool host_open, host_heard;
    /* On the way to the kernel; what it has; on the way to the daemon */
    struct { uint32_t id; uint64_t instance; } news[NEWS];
    unsigned int newses;
    uint64_t kernel[IDS];
    Uevent uevent[NEWS];
    unsigned int uevents;
    bool lost;
    /* udev: for each port, the entry at which it has looked last */
    int seen[IDS];
    /* The disk */
    File file[FILES];
    bool full, has_store;
    /* The daemon's files and events */
    void *feed_data;
    bool feed_open, feed_listens, feed_edge, feed_news;
    int open_file, tells;
    size_t read_at;
    char name[64];
    unsigned int dir_at;
    struct dirent dirent;
} w;

static struct {
    uint8_t bytes[VIRTIO_SERIAL_DESC_BUILT_MAX];
    size_t length;
} blob_of[BLOBS];

/* What the daemon has allocated: a killed daemon frees nothing */
static void *allocated[256];

static uint8_t next(void)
{
    return p < end ? *p++ : 0;
}

static void PRINTF(1, 2) trace(const char *fmt, ...)
{
    va_list ap;

    if (getenv("FUZZ_TRACE")) {
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
    }
}

/* Called first in each function that stands for a system call */
static void system_call(void)
{
    if (until_kill && --until_kill == 0) {
        trace("the daemon is killed\n");
        longjmp(killed, 1);
    }
}

/* ------------------------------------------------------------------ */
/* Memory */

void *__wrap_vser_realloc(void *old, size_t size)
{
    size_t i = 0;

    while (allocated[i] != old) {   /* an old one, or a free place */
        i++;
        assert(i < ARRAY_SIZE(allocated));
    }
    allocated[i] = realloc(old, size);
    assert(allocated[i]);
    return allocated[i];
}

void __wrap_free(void *ptr)
{
    size_t i;

    for (i = 0; ptr && i < ARRAY_SIZE(allocated); i++) {
        if (allocated[i] == ptr) {
            allocated[i] = NULL;
        }
    }
    __real_free(ptr);
}

static void free_all(void)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(allocated); i++) {
        __real_free(allocated[i]);
        allocated[i] = NULL;
    }
}

/* ------------------------------------------------------------------ */
/* The disk */

static const char *in_store(const char *path)
{
    return g_str_has_prefix(path, VSER_STORE "/") ?
           path + strlen(VSER_STORE "/") : NULL;
}

static File *file_find(const char *name)
{
    unsigned int i;

    for (i = 0; i < FILES; i++) {
        if (strcmp(w.file[i].name, name) == 0) {
            return &w.file[i];
        }
    }
    return NULL;
}

/* The blob in a file, by number */
static int file_blob(const File *file)
{
    int i;

    for (i = 0; file && i < BLOBS; i++) {
        if (file->length == blob_of[i].length &&
            memcmp(file->data, blob_of[i].bytes, file->length) == 0) {
            return i;
        }
    }
    return NONE;
}

/* What the store says about the instance of the port that the kernel has */
static int entry_now(uint32_t id)
{
    char name[64];

    snprintf(name, sizeof(name), "vport1p%u.%" PRIu64, id, w.kernel[id]);
    return w.kernel[id] ? file_blob(file_find(name)) : NONE;
}

/*
 * An entry for an instance has the descriptor of that instance, as long as host
 * and kernel have it. A port that the host has taken away, and of which the
 * kernel has not heard that, reaches nobody; the next one may seem to be it.
 */
static void check_identities(void)
{
    unsigned int i, id;
    uint64_t instance;

    for (i = 0; i < FILES; i++) {
        if (sscanf(w.file[i].name, "vport1p%u.%" SCNu64, &id, &instance) == 2 &&
            instance && id < IDS && w.host[id] == instance &&
            w.kernel[id] == instance) {
            assert(file_blob(&w.file[i]) == w.blob[instance]);
        }
    }
}

static int do_open(const char *path, int flags, mode_t mode)
{
    const char *name = in_store(path);
    File *file;

    if (!inside) {
        return __real_open(path, flags, mode);
    }
    system_call();
    if (!name) {
        unsigned int id = 0;

        assert(g_str_has_prefix(path, VSER_SYSFS "/vport1p"));
        id = path[strlen(VSER_SYSFS "/vport1p")] - '0';
        if (id >= IDS || !w.kernel[id]) {
            errno = ENOENT;
            return -1;
        }
        if (g_str_has_suffix(path, "/uevent")) {
            w.tells = id;
            return TELL;
        }
        assert(g_str_has_suffix(path, "/name"));
        snprintf(w.name, sizeof(w.name), "%s\n", id == FEED_ID ?
                 VIRTSERIALDESC_NAME_PREFIX "0" : "other");
        w.read_at = 0;
        return NAME;
    }
    file = file_find(name);
    if (!file && !(flags & O_CREAT)) {
        errno = ENOENT;
        return -1;
    }
    if (!file) {
        file = w.full ? NULL : file_find("");
        if (!file) {
            errno = ENOSPC;
            return -1;
        }
        snprintf(file->name, sizeof(file->name), "%s", name);
        file->length = 0;
    }
    if (flags & O_TRUNC) {
        file->length = 0;
    }
    w.open_file = file - w.file;
    w.read_at = 0;
    return STORED;
}

int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return do_open(path, flags, mode);
}

int __wrap_open64(const char *path, int flags, ...)
{
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return do_open(path, flags, mode);
}

int __wrap_rename(const char *old, const char *new)
{
    File *from, *to;

    if (!inside) {
        return __real_rename(old, new);
    }
    system_call();
    from = file_find(in_store(old));
    to = file_find(in_store(new));
    if (!from) {
        errno = ENOENT;
        return -1;
    }
    if (to && to != from) {
        to->name[0] = '\0';
    }
    snprintf(from->name, sizeof(from->name), "%s", in_store(new));
    trace("store: %s -> %s\n", in_store(old), from->name);
    check_identities();
    return 0;
}

int __wrap_unlink(const char *path)
{
    File *file;

    if (!inside) {
        return __real_unlink(path);
    }
    system_call();
    file = file_find(in_store(path));
    if (!file) {
        errno = ENOENT;
        return -1;
    }
    trace("store: %s goes\n", file->name);
    file->name[0] = '\0';
    return 0;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    if (!inside) {
        return __real_mkdir(path, mode);
    }
    system_call();
    errno = EEXIST;
    return w.has_store ? -1 : (w.has_store = true, 0);
}

int __wrap_access(const char *path, int mode)
{
    const char *name = in_store(path);
    bool there;

    if (!inside) {
        return __real_access(path, mode);
    }
    system_call();
    there = name ? file_find(name) != NULL : w.kernel[FEED_ID] != 0;
    errno = ENOENT;
    return there ? 0 : -1;
}

DIR *__wrap_opendir(const char *path)
{
    if (!inside) {
        return __real_opendir(path);
    }
    system_call();
    assert(w.has_store && strcmp(path, VSER_STORE) == 0);
    w.dir_at = 0;
    return (DIR *)&w;
}

struct dirent *__wrap_readdir(DIR *dir)
{
    if (!inside) {
        return __real_readdir(dir);
    }
    system_call();
    while (w.dir_at < FILES) {
        const File *file = &w.file[w.dir_at++];

        if (file->name[0]) {
            snprintf(w.dirent.d_name, sizeof(w.dirent.d_name), "%s",
                     file->name);
            return &w.dirent;
        }
    }
    return NULL;
}

struct dirent *__wrap_readdir64(DIR *dir)
{
    return __wrap_readdir(dir);
}

int __wrap_closedir(DIR *dir)
{
    return inside ? 0 : __real_closedir(dir);
}

/* ------------------------------------------------------------------ */
/* The device */

static void device_say(uint16_t event, uint32_t id, int blob)
{
    trace("device: event %u, port %u, blob %d\n", event, id, blob);
    w.queue[w.queued++] = (Said) { event, id, blob };
    w.feed_news = true;
}

static int blob_there(uint32_t id)
{
    return w.host[id] ? w.blob[w.host[id]] : NONE;
}

/* Say one record that is owed; false if there is none */
static bool device_says(void)
{
    uint32_t id;

    while (w.snapshot < IDS) {
        id = w.snapshot++;
        w.told[id] = 0;
        if (blob_there(id) != NONE) {
            w.told[id] = w.host[id];
            device_say(VIRTIO_CONSOLE_PORT_DESC, id, blob_there(id));
            return true;
        }
    }
    if (w.snapshot == IDS) {
        w.snapshot++;
        device_say(VIRTIO_CONSOLE_PORT_DESC, VIRTSERIALDESC_END, NONE);
        return true;
    }
    for (id = 0; id < IDS; id++) {
        if (w.told[id] && w.told[id] != w.host[id]) {
            w.told[id] = 0;
            device_say(VIRTIO_CONSOLE_PORT_REMOVE, id, NONE);
            return true;
        }
        if (!w.told[id] && blob_there(id) != NONE) {
            w.told[id] = w.host[id];
            device_say(VIRTIO_CONSOLE_PORT_DESC, id, blob_there(id));
            return true;
        }
    }
    return false;
}

/* Say what is owed, as far as there is room, but no more than @most */
static void device_pay(unsigned int most)
{
    while (w.feed_open && w.host_open && most-- > 0 && w.queued < ROOM &&
           device_says()) {
        /* one more */
    }
}

/* All again, to a reader that knows nothing */
static void device_restart(void)
{
    w.queued = 0;
    w.snapshot = 0;
    memset(w.told, 0, sizeof(w.told));
}

/* The bytes of the next record */
static void make_record(void)
{
    Said said = w.queue[0];
    size_t length = said.blob == NONE ? 0 : blob_of[said.blob].length;
    uint8_t *b = w.bytes;

    memmove(w.queue, w.queue + 1, --w.queued * sizeof(said));
    memset(b, 0, 16);
    memcpy(b, &(uint32_t) { GUINT32_TO_LE(said.id) }, 4);
    memcpy(b + 4, &(uint16_t) { GUINT16_TO_LE(said.event) }, 2);
    w.bytes_size = w.bytes_left = 8;
    if (said.event == VIRTIO_CONSOLE_PORT_DESC) {
        memcpy(b + 6, &(uint16_t) { GUINT16_TO_LE(1) }, 2);
        memcpy(b + 8, &(uint32_t) { GUINT32_TO_LE(length) }, 4);
        if (length) {
            memcpy(b + 16, blob_of[said.blob].bytes, length);
        }
        w.bytes_size = w.bytes_left = 16 + length;
    }
}

/* ------------------------------------------------------------------ */
/* The kernel and udev */

static void udev_looks(uint32_t id)
{
    w.seen[id] = entry_now(id);
}

static void send_uevent(uint32_t id, bool removed)
{
    Uevent *event;

    if (w.uevents == NEWS) {
        w.uevents = 0;
        w.lost = true;
    }
    event = &w.uevent[w.uevents++];
    snprintf(event->port, sizeof(event->port), "vport1p%u", id);
    event->removed = removed;
    if (!removed) {
        udev_looks(id);
    }
}

static void kernel_hears(void)
{
    uint32_t id = w.news[0].id;
    uint64_t instance = w.news[0].instance;

    memmove(w.news, w.news + 1, --w.newses * sizeof(w.news[0]));
    trace("kernel: port %u is %" PRIu64 "\n", id, instance);
    w.kernel[id] = instance;
    if (id == FEED_ID) {
        /* A program that has the port open learns so */
        w.feed_open = false;
        w.host_open = w.host_heard = instance != 0;
        w.feed_news = true;
    }
    send_uevent(id, !instance);
}

static void host_change(uint32_t id, uint64_t instance)
{
    trace("host: port %u is %" PRIu64 "\n", id, instance);
    w.host[id] = instance;
    w.news[w.newses].id = id;
    w.news[w.newses++].instance = instance;
}

static void host_plugs(uint32_t id, int blob)
{
    if (w.newses + 2 > NEWS || w.last + 1 == INSTANCES) {
        return;
    }
    if (w.host[id]) {
        host_change(id, 0);
    } else {
        w.blob[++w.last] = blob;
        host_change(id, w.last);
    }
}

/* ------------------------------------------------------------------ */
/* What the daemon asks the kernel */

uint64_t __wrap_port_instance(const char *name)
{
    unsigned int device, id;

    system_call();
    return port_name_parse(name, &device, &id) && device == 1 && id < IDS ?
           w.kernel[id] : 0;
}

char **__wrap_port_names(size_t *count)
{
    char **names = NULL, name[PORT_NAME_SIZE];
    uint32_t id;

    system_call();
    *count = 0;
    for (id = 0; id < IDS; id++) {
        if (w.kernel[id]) {
            snprintf(name, sizeof(name), "vport1p%u", id);
            names = __wrap_vser_realloc(names, (*count + 1) * sizeof(*names));
            names[*count] = __wrap_vser_realloc(NULL, sizeof(name));
            strcpy(names[(*count)++], name);
        }
    }
    return names;
}

int __wrap_port_name_open(const char *name, uint64_t instance, int flags)
{
    system_call();
    assert(!w.feed_open);
    if (!instance || w.kernel[FEED_ID] != instance ||
        w.host[FEED_ID] != instance) {
        errno = ENODEV;
        return -1;
    }
    w.feed_open = true;
    /* The host hears of it at once; the kernel hears later of the host */
    w.host_open = true;
    w.host_heard = false;
    w.bytes_left = 0;
    device_restart();
    trace("the daemon opens the feed\n");
    return FEED_FD;
}

int __wrap_close(int fd)
{
    if (fd < FIRST_FD) {
        return __real_close(fd);
    }
    if (fd == FEED_FD) {
        w.feed_open = w.feed_listens = w.host_open = false;
        device_restart();
    }
    return 0;
}

static ssize_t read_file(const void *from, size_t length, void *to, size_t size)
{
    size = MIN(size, length - w.read_at);
    memcpy(to, (const uint8_t *)from + w.read_at, size);
    w.read_at += size;
    return size;
}

ssize_t __wrap_read(int fd, void *data, size_t size)
{
    if (fd < FIRST_FD) {
        return __real_read(fd, data, size);
    }
    system_call();
    if (fd == NAME) {
        return read_file(w.name, strlen(w.name), data, size);
    }
    if (fd == STORED) {
        return read_file(w.file[w.open_file].data, w.file[w.open_file].length,
                         data, size);
    }
    assert(fd == FEED_FD);
    if (!w.feed_open) {
        errno = ENODEV;
        return -1;
    }
    if (!w.bytes_left && w.queued) {
        make_record();
    }
    if (w.bytes_left) {
        /* The script decides in which pieces a record comes */
        size_t part = w.settling ? w.bytes_left : 1 + next() * 4u;

        part = MIN(part, w.bytes_left);
        memcpy(data, w.bytes + w.bytes_size - w.bytes_left, part);
        w.bytes_left -= part;
        return part;
    }
    errno = EAGAIN;
    return w.host_heard ? -1 : 0;
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    File *file = &w.file[w.open_file];

    if (fd < FIRST_FD) {
        return __real_write(fd, data, size);
    }
    system_call();
    if (fd == TELL) {
        if (!w.kernel[w.tells]) {
            errno = ENODEV;
            return -1;
        }
        send_uevent(w.tells, false);
        return size;
    }
    assert(fd == STORED);
    if (w.full || file->length + size > BLOB_SIZE) {
        errno = ENOSPC;
        return -1;
    }
    memcpy(file->data + file->length, data, size);
    file->length += size;
    return size;
}

int __wrap_uevent_open(void)
{
    system_call();
    /* A new socket has no old events */
    w.uevents = 0;
    w.lost = false;
    return UEVENTS;
}

UeventResult __wrap_uevent_next(int fd, Uevent *event)
{
    system_call();
    if (w.lost) {
        w.lost = false;
        return UEVENT_LOST;
    }
    if (!w.uevents) {
        return UEVENT_NONE;
    }
    *event = w.uevent[0];
    trace("event: %s%s\n", event->port, event->removed ? " goes" : "");
    memmove(w.uevent, w.uevent + 1, --w.uevents * sizeof(*event));
    return UEVENT_PORT;
}

int64_t __wrap_now_ms(void)
{
    return w.now;
}

void __wrap_vser_error(const char *fmt, ...)
{
    trace("message: %s\n", fmt);
}

int __wrap_epoll_create1(int flags)
{
    return FIRST_FD;
}

int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    system_call();
    if (fd == FEED_FD) {
        w.feed_listens = op != EPOLL_CTL_DEL;
        if (w.feed_listens) {
            w.feed_data = event->data.ptr;
            w.feed_edge = event->events & EPOLLET;
            w.feed_news = true;
        }
    }
    return 0;
}

/* An event that the daemon waits for */
static bool take_event(struct epoll_event *event)
{
    bool readable = w.queued || w.bytes_left || !w.host_heard || !w.feed_open;

    event->data.ptr = NULL;
    if (w.uevents || w.lost) {
        return true;
    }
    if (w.feed_listens && readable && (!w.feed_edge || w.feed_news)) {
        w.feed_news = false;
        event->data.ptr = w.feed_data;
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------ */
/* The script */

static void step(void)
{
    uint32_t id;
    unsigned int n;

    switch (next() % STEPS) {
    case HOST:
        id = 1 + next() % PORTS;
        host_plugs(id, (int)(next() % (BLOBS + 1)) - 1);
        device_pay(next() % 4);
        break;
    case REPLACE:
        id = 1 + next() % PORTS;
        n = next();
        host_plugs(id, (int)(n % (BLOBS + 1)) - 1);
        device_pay(n / 16 % 4);
        host_plugs(id, (int)(n % (BLOBS + 1)) - 1);
        device_pay(n / 64);
        break;
    case KERNEL:
        for (n = 1 + next() % 4; n && w.newses; n--) {
            kernel_hears();
        }
        break;
    case DEVICE:
        device_pay(1 + next() % ROOM);
        break;
    case HEAR_HOST:
        w.host_heard = w.host_open;
        w.feed_news = true;
        break;
    case HOST_CLOSES:
        /* Not within a snapshot: another one would follow */
        if (w.snapshot > IDS && !w.queued && !w.bytes_left) {
            w.host_heard = false;
            w.feed_news = true;
        }
        break;
    case TIME:
        w.now += next() * 64;
        break;
    case KILL:
        until_kill = 1 + next();
        break;
    case LOST:
        w.uevents = 0;
        w.lost = true;
        break;
    case FULL:
        w.full = !w.full;
        break;
    case RESET:
        /* A port that goes meanwhile is another matter: fact 4 in daemon.c */
        if (!w.newses) {
            w.bytes_left = 0;
            device_restart();
        }
        break;
    case FEED:
        host_plugs(FEED_ID, NONE);
        break;
    default:
        break;
    }
}

/* The script is over: what is on its way arrives, one after the other */
static bool settle(void)
{
    w.full = false;
    if (!w.host[FEED_ID] && w.newses < NEWS && w.last + 1 < INSTANCES) {
        host_plugs(FEED_ID, NONE);
        return true;
    }
    if (w.newses) {
        kernel_hears();
        return true;
    }
    if (!w.host_heard && w.host_open) {
        w.host_heard = w.feed_news = true;
        return true;
    }
    if (w.queued < ROOM && w.feed_open) {
        unsigned int before = w.queued;

        device_pay(1);
        return w.queued > before;
    }
    return false;
}

/* Returns to LLVMFuzzerTestOneInput(), with the daemon as it stands */
static jmp_buf done;

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max,
                      int timeout)
{
    bool waits = false;

    system_call();
    check_identities();
    while (p < end && w.steps < STEPS_MAX) {
        w.steps++;
        waits = *p % STEPS == WAIT || *p % STEPS == TIME;
        step();
        if (waits) {
            return take_event(events);
        }
    }
    if (!w.settling) {
        w.settling = true;
        until_kill = 0;
    }
    if (take_event(events)) {
        w.idle = 0;
        return 1;
    }
    if (settle()) {
        w.idle = 0;
        return 0;
    }
    /* The longest time that a feed waits for is a minute, then there is more */
    if (++w.idle > 20) {
        longjmp(done, 1);
    }
    w.now += timeout < 0 ? 60000 : timeout;
    return 0;
}

static void check_truth(void)
{
    unsigned int i, files = 0, id;

    for (id = 0; id < IDS; id++) {
        assert(w.kernel[id] == w.host[id]);
        assert(entry_now(id) == blob_there(id));
        files += blob_there(id) != NONE;
        assert(!w.host[id] || w.seen[id] == entry_now(id));
    }
    for (i = 0; i < FILES; i++) {
        /* What a killed daemon has left is written over by the next entry */
        files -= w.file[i].name[0] != '\0' &&
                 !g_str_has_suffix(w.file[i].name, ".new");
    }
    assert(files == 0);
}

static void make_blobs(void)
{
    VirtIOSerialDescError err;
    char serial[] = "A";
    int i;

    for (i = 0; i < BLOBS; i++) {
        VirtIOSerialDescProps props = { .value = {
            [VIRTIO_SERIAL_DESC_IDS] = (char *)"1209:0001",
            [VIRTIO_SERIAL_DESC_SERIAL] = serial,
        } };

        serial[0] = 'A' + i;
        blob_of[i].length = virtio_serial_desc_build(&props, blob_of[i].bytes,
                                                     &err);
        assert(blob_of[i].length && blob_of[i].length <= BLOB_SIZE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char name[] = "daemon";
    char *argv[] = { name, NULL };

    if (!blob_of[0].length) {
        make_blobs();
    }
    memset(&w, 0, sizeof(w));
    memset(w.seen, 0xff, sizeof(w.seen));
    w.now = 1000000;
    until_kill = 0;
    p = data;
    end = data + size;
    host_plugs(FEED_ID, NONE);
    kernel_hears();
    inside = true;
    if (!setjmp(done)) {
        /* Each daemon that is killed is followed by another one */
        setjmp(killed);
        free_all();
        w.feed_open = w.feed_listens = w.host_open = w.host_heard = false;
        optind = 0;
        vser_daemon(1, argv);
        assert(!"the daemon ends");
    }
    inside = false;
    free_all();
    check_truth();
    return 0;
}
