/*
 * Unit test of chardev: what a front end is told in replay
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "chardev/char-fe.h"
#include "system/replay.h"

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
typedef CharBackend CharFrontend;
#endif

/*
 * The recording: one write. These functions replace stubs of QEMU; all stubs
 * of the same file have to be here.
 */

static int recorded_res, recorded_offset;

void replay_char_write_event_save(int res, int offset)
{
    recorded_res = res;
    recorded_offset = offset;
}

void replay_char_write_event_load(int *res, int *offset)
{
    *res = recorded_res;
    *offset = recorded_offset;
}

bool replay_events_enabled(void)
{
    return false;
}

int64_t replay_save_clock(ReplayClockKind kind, int64_t clock,
                          int64_t raw_icount)
{
    return clock;
}

int64_t replay_read_clock(ReplayClockKind kind, int64_t raw_icount)
{
    g_assert_not_reached();
}

uint64_t replay_get_current_icount(void)
{
    return 0;
}

void replay_bh_schedule_event(QEMUBH *bh)
{
    qemu_bh_schedule(bh);
}

void replay_bh_schedule_oneshot_event(AioContext *ctx, QEMUBHFunc *cb,
                                      void *opaque)
{
    aio_bh_schedule_oneshot(ctx, cb, opaque);
}

bool replay_checkpoint(ReplayCheckpoint checkpoint)
{
    return true;
}

void replay_mutex_lock(void)
{
}

void replay_mutex_unlock(void)
{
}

void replay_register_char_driver(Chardev *chr)
{
}

void replay_chr_be_write(Chardev *s, const uint8_t *buf, int len)
{
    g_assert_not_reached();
}

int replay_char_read_all_load(uint8_t *buf)
{
    g_assert_not_reached();
}

void replay_char_read_all_save_error(int res)
{
    g_assert_not_reached();
}

void replay_char_read_all_save_buf(uint8_t *buf, int offset)
{
    g_assert_not_reached();
}

/* A chardev that takes three bytes at a time, and fails after @limit */
#define TYPE_CHARDEV_SHORT  "chardev-short"

static GString *taken;
static size_t limit;

static int short_write(Chardev *chr, const uint8_t *buf, int len)
{
    len = MIN(MIN(len, 3), limit - taken->len);
    if (!len) {
        errno = EIO;
        return -1;
    }
    g_string_append_len(taken, (const char *)buf, len);
    return len;
}

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0
static void short_class_init(ObjectClass *klass, void *data)
#else
static void short_class_init(ObjectClass *klass, const void *data)
#endif
{
    CHARDEV_CLASS(klass)->chr_write = short_write;
}

static const TypeInfo short_info = {
    .name = TYPE_CHARDEV_SHORT,
    .parent = TYPE_CHARDEV,
    .class_init = short_class_init,
};

/*
 * A write in parts returns the same in replay. @opaque: how many of eight
 * bytes are taken
 */
static void test_write(const void *opaque)
{
    static const ReplayMode modes[] = {
        REPLAY_MODE_RECORD, REPLAY_MODE_PLAY
    };
    Chardev *chr = qemu_chardev_new("chr", TYPE_CHARDEV_SHORT, NULL, NULL,
                                    &error_abort);
    int returned[2], i;
    CharFrontend fe;

    limit = (uintptr_t)opaque;
    qemu_chr_set_feature(chr, QEMU_CHAR_FEATURE_REPLAY);
    qemu_chr_fe_init(&fe, chr, &error_abort);
    for (i = 0; i < 2; i++) {
        taken = g_string_new(NULL);
        replay_mode = modes[i];
        returned[i] = qemu_chr_fe_write(&fe, (const uint8_t *)"abcdefgh", 8);
        replay_mode = REPLAY_MODE_NONE;
        g_assert_cmpuint(taken->len, ==, limit);
        g_assert_true(g_str_has_prefix("abcdefgh", taken->str));
        g_string_free(taken, true);
    }
    g_assert_cmpint(returned[0], ==, limit < 8 ? -1 : 8);
    g_assert_cmpint(returned[1], ==, returned[0]);
    qemu_chr_fe_deinit(&fe, true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    module_call_init(MODULE_INIT_QOM);
    type_register_static(&short_info);

    g_test_add_data_func("/char-replay/write/all", (void *)8, test_write);
    g_test_add_data_func("/char-replay/write/part", (void *)5, test_write);
    return g_test_run();
}
