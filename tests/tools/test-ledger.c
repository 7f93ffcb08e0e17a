/*
 * The ledger of "vser daemon": each event against each state of an entry (the
 * table in guest/tools/ledger.c), and a host, a device and a kernel that do
 * what they may in random order
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <glib.h>
#include "ledger.h"
#include "port-name.h"
#include "hw/virtio/virtio-serial-desc-wire.h"

/* Two ports that may have the name, one after the other, and no port */
#define X           100
#define Y           200
#define NONE        0
#define ELSEWHERE   300         /* of another controller */
#define DEVICE      1
#define ID          5

/*
 * The world: what the kernel has, and the store. A blob is known by its length.
 */

#define IDS         600

typedef struct Stored {
    bool there;
    uint64_t instance;
    size_t length;
} Stored;

static struct {
    uint64_t kernel[IDS];
    Stored store[IDS];          /* one file a port, or the ledger has erred */
    int put_error;              /* errno of the next put; 0: it works */
    bool move_fails, remove_fails;
    unsigned int told[IDS];     /* how often udev was, in all */
    unsigned int complaints;
    char complaint[512];        /* the last one */
} world;

static unsigned int id_of(const char *name)
{
    unsigned int device, id;

    g_assert_true(port_name_parse(name, &device, &id));
    g_assert_cmpuint(device, ==, DEVICE);
    g_assert_cmpuint(id, <, IDS);
    return id;
}

static bool has(const Stored *stored, uint64_t instance)
{
    return stored->there && stored->instance == instance;
}

static int fake_put(const char *name, uint64_t old_instance,
                    const uint8_t *blob, size_t length)
{
    Stored *stored = &world.store[id_of(name)];

    g_assert_nonnull(blob);
    if (has(stored, old_instance) && stored->length == length) {
        return 0;
    }
    if (world.put_error) {
        errno = world.put_error;
        return -1;
    }
    /* Nothing else may be lost in its place */
    g_assert_true(!stored->there || has(stored, old_instance));
    *stored = (Stored) { true, 0, length };
    return 1;
}

static bool fake_move(const char *name, uint64_t old, uint64_t new)
{
    Stored *stored = &world.store[id_of(name)];

    g_assert_true(has(stored, old));
    if (world.move_fails) {
        return false;
    }
    stored->instance = new;
    return true;
}

static int fake_remove(const char *name, uint64_t instance)
{
    Stored *stored = &world.store[id_of(name)];

    if (world.remove_fails) {
        return -1;
    }
    if (!has(stored, instance)) {
        return 0;
    }
    *stored = (Stored) { false };
    return 1;
}

static uint64_t fake_instance(const char *name)
{
    return strcmp(name, "vport7p5") == 0 ? ELSEWHERE :
                                           world.kernel[id_of(name)];
}

static char **fake_names(size_t *count)
{
    char **names = NULL;
    unsigned int id;

    *count = 0;
    for (id = 0; id < IDS; id++) {
        if (world.kernel[id]) {
            char name[PORT_NAME_SIZE];

            snprintf(name, sizeof(name), "vport%up%u", DEVICE, id);
            names = vser_realloc(names, (*count + 2) * sizeof(*names));
            names[(*count)++] = vser_strdup(name);
        }
    }
    if (*count) {
        /* Another controller's port of the same number is no business of it */
        names[(*count)++] = vser_strdup("vport7p5");
    }
    return names;
}

static void fake_changed(const char *name)
{
    world.told[id_of(name)]++;
}

static void fake_complain(void *opaque, const char *text)
{
    g_assert_true(opaque == &world);
    world.complaints++;
    snprintf(world.complaint, sizeof(world.complaint), "%s", text);
}

static const LedgerEffects effects = {
    .put = fake_put,
    .move = fake_move,
    .remove = fake_remove,
    .instance = fake_instance,
    .names = fake_names,
    .changed = fake_changed,
    .complain = fake_complain,
};

/*
 * Events
 */

static Ledger ledger;

/* Blobs of different lengths, by number; BAD is not well-formed */
enum { BLOB_A, BLOB_B, BLOB_C, BLOBS, BAD };

static size_t make_blob(int which, uint8_t *blob)
{
    char serial[] = { 'S', 'S', 'S', 'S', '\0' };
    VirtIOSerialDescProps props = { .value = {
        [VIRTIO_SERIAL_DESC_IDS] = (char *)"1209:0001",
        [VIRTIO_SERIAL_DESC_SERIAL] = serial,
    } };
    VirtIOSerialDescError err;
    size_t length;

    serial[which == BAD ? 1 : which + 1] = '\0';
    length = virtio_serial_desc_build(&props, blob, &err);
    g_assert_cmpuint(length, >, 0);
    return which == BAD ? length - 1 : length;
}

static size_t blob_length(int which)
{
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];

    return make_blob(which, blob);
}

static void say(uint32_t id, int which)
{
    uint8_t blob[VIRTIO_SERIAL_DESC_BUILT_MAX];
    Record record = { .id = id, .blob = blob };

    record.length = make_blob(which, blob);
    ledger_record(&ledger, RECORD_DESC, &record);
}

static void say_gone(uint32_t id)
{
    ledger_record(&ledger, RECORD_GONE, &(Record) { .id = id });
}

static void say_end(void)
{
    ledger_record(&ledger, RECORD_END,
                  &(Record) { .id = VIRTSERIALDESC_END });
}

static void open_feed(void)
{
    ledger_before_open(&ledger);
    ledger_opened(&ledger);
}

static void begin(void)
{
    memset(&world, 0, sizeof(world));
    ledger_init(&ledger, DEVICE, &effects, &world);
    open_feed();
}

static const LedgerEntry *find(uint32_t id)
{
    size_t i;

    for (i = 0; i < ledger.entries; i++) {
        if (ledger.entry[i].id == id) {
            return &ledger.entry[i];
        }
    }
    return NULL;
}

/* The store has what the ledger says, and nothing else; each port once */
static void check_store(void)
{
    unsigned int id;
    size_t there = 0;

    for (id = 0; id < IDS; id++) {
        const LedgerEntry *entry = find(id);

        g_assert_cmpint(world.store[id].there, ==, !!entry);
        if (entry) {
            g_assert_cmpuint(world.store[id].instance, ==, entry->instance);
            there++;
        }
    }
    g_assert_cmpuint(there, ==, ledger.entries);
}

static const char *letter(uint64_t instance)
{
    return instance == X ? "X" : instance == Y ? "Y" : "0";
}

/* As the table has it: "0>X", or "-" for an entry that there is not */
static void assert_state(const char *expected)
{
    const LedgerEntry *entry = find(ID);
    g_autofree char *is = entry ?
        g_strdup_printf("%s>%s", letter(entry->instance),
                        letter(entry->next_instance)) : g_strdup("-");

    g_assert_cmpstr(is, ==, expected);
    check_store();
}

/*
 * States: how an entry comes to each
 */

typedef enum State { ABSENT, EARLY, DUE, SETTLED, MOVING, LEAVING } State;

static const char *const state_text[] = {
    "-", "0>0", "0>X", "X>X", "X>Y", "X>0",
};

/* The ports that are there were there before the feed was opened; or none */
static void ports_are_old(bool old)
{
    ledger.olds = 0;
    if (old) {
        ledger_before_open(&ledger);
    }
}

/* All is read, of ports that were there before the feed was opened */
static void settle(void)
{
    ports_are_old(true);
    g_assert_true(ledger_settle(&ledger));
}

static void bring_to(State state)
{
    begin();
    if (state == ABSENT) {
        return;
    }
    world.kernel[ID] = state == EARLY ? NONE : X;
    say(ID, BLOB_A);
    if (state >= SETTLED) {
        settle();
    }
    if (state == MOVING || state == LEAVING) {
        world.kernel[ID] = state == MOVING ? Y : NONE;
        say(ID, BLOB_A);
    }
    assert_state(state_text[state]);
    memset(world.told, 0, sizeof(world.told));
}

/*
 * Events against states
 */

typedef enum Event {
    SAME, OTHER, UNUSABLE, NO_ROOM, GONE, END, END_UNCONFIRMED, READ, READ_LATE,
    CLOSED, OPENED, NOTICE, VERIFY, CLEAR,
} Event;

/* Returns what a caller is told, true where there is nothing */
static bool happen(Event event)
{
    bool noticed;

    switch (event) {
    case SAME:
        say(ID, BLOB_A);
        return true;
    case OTHER:
        say(ID, BLOB_B);
        return true;
    case UNUSABLE:
        say(ID, BAD);
        return true;
    case NO_ROOM:
        world.put_error = ENOSPC;
        say(ID, BLOB_B);
        return true;
    case GONE:
        say_gone(ID);
        return true;
    case END:
        say_end();
        return true;
    case END_UNCONFIRMED:
        say_end();
        say_end();
        return true;
    case READ:
    case READ_LATE:
        ports_are_old(event == READ);
        return ledger_settle(&ledger);
    case CLOSED:
        ports_are_old(true);
        ledger_closed(&ledger);
        return true;
    case OPENED:
        open_feed();
        return true;
    case NOTICE:
        return ledger_notice(&ledger, ID);
    case VERIFY:
        noticed = ledger_notice(&ledger, ID);
        return ledger_verify(&ledger, ID) && noticed;
    default:
        ledger_clear(&ledger);
        return true;
    }
}

/* With the port @now there when @event comes: the entry, and is udev told? */
static const struct {
    State state;
    Event event;
    uint64_t now;
    const char *expected;
    unsigned int told;
    bool not;           /* happen() is false */
} table[] = {
    { ABSENT, SAME, NONE, "0>0" },
    { ABSENT, SAME, X, "0>X" },
    { EARLY, SAME, NONE, "0>0" },
    { EARLY, SAME, X, "0>X" },
    { DUE, SAME, NONE, "0>0" },
    { DUE, SAME, X, "0>X" },
    { DUE, SAME, Y, "0>Y" },
    { SETTLED, SAME, NONE, "X>0" },
    { SETTLED, SAME, X, "X>X" },
    { SETTLED, SAME, Y, "X>Y" },
    { MOVING, SAME, NONE, "X>0" },
    { MOVING, SAME, X, "X>X" },
    { MOVING, SAME, Y, "X>Y" },
    { LEAVING, SAME, NONE, "X>0" },
    { LEAVING, SAME, Y, "X>Y" },

    { ABSENT, OTHER, X, "0>X" },
    { EARLY, OTHER, NONE, "0>0" },
    { EARLY, OTHER, X, "0>X" },
    { DUE, OTHER, NONE, "0>0" },
    { DUE, OTHER, X, "0>X" },
    { DUE, OTHER, Y, "0>Y" },
    { SETTLED, OTHER, NONE, "0>0" },
    { SETTLED, OTHER, X, "0>X" },
    { SETTLED, OTHER, Y, "0>Y" },
    { MOVING, OTHER, Y, "0>Y" },
    { LEAVING, OTHER, NONE, "0>0" },

    { ABSENT, UNUSABLE, X, "-" },
    { EARLY, UNUSABLE, NONE, "-" },
    { DUE, UNUSABLE, X, "-" },
    { SETTLED, UNUSABLE, X, "-", 1 },
    { SETTLED, UNUSABLE, NONE, "-" },
    { MOVING, UNUSABLE, X, "-", 1 },
    { MOVING, UNUSABLE, Y, "-" },
    { LEAVING, UNUSABLE, NONE, "-" },

    { ABSENT, NO_ROOM, X, "-" },
    { EARLY, NO_ROOM, NONE, "-" },
    { DUE, NO_ROOM, X, "-" },
    { SETTLED, NO_ROOM, X, "-", 1 },
    { MOVING, NO_ROOM, Y, "-" },
    { LEAVING, NO_ROOM, NONE, "-" },

    { ABSENT, GONE, X, "-" },
    { EARLY, GONE, NONE, "-" },
    { DUE, GONE, X, "-" },
    { SETTLED, GONE, X, "-", 1 },
    { SETTLED, GONE, NONE, "-" },
    { MOVING, GONE, X, "-", 1 },
    { MOVING, GONE, Y, "-" },
    { LEAVING, GONE, NONE, "-" },

    { ABSENT, END, X, "-" },
    { EARLY, END, NONE, "0>0" },
    { DUE, END, X, "0>X" },
    { SETTLED, END, X, "X>X" },
    { MOVING, END, Y, "X>Y" },
    { LEAVING, END, NONE, "X>0" },

    { EARLY, END_UNCONFIRMED, NONE, "-" },
    { DUE, END_UNCONFIRMED, X, "-" },
    { SETTLED, END_UNCONFIRMED, X, "-", 1 },
    { SETTLED, END_UNCONFIRMED, Y, "-" },
    { MOVING, END_UNCONFIRMED, Y, "-" },
    { LEAVING, END_UNCONFIRMED, NONE, "-" },

    { ABSENT, READ, X, "-" },
    { EARLY, READ, NONE, "0>0" },
    { EARLY, READ, X, "0>0" },
    { DUE, READ, X, "X>X", 1 },
    { SETTLED, READ, X, "X>X" },
    { SETTLED, READ, Y, "X>X" },
    { MOVING, READ, Y, "Y>Y", 1 },
    { LEAVING, READ, NONE, "0>0" },

    { ABSENT, READ_LATE, X, "-" },
    { EARLY, READ_LATE, NONE, "0>0" },
    { DUE, READ_LATE, X, "0>X", 0, true },
    { SETTLED, READ_LATE, X, "X>X" },
    { MOVING, READ_LATE, Y, "X>Y", 0, true },
    { LEAVING, READ_LATE, NONE, "0>0" },

    { ABSENT, CLOSED, X, "-" },
    { EARLY, CLOSED, NONE, "0>0" },
    { DUE, CLOSED, X, "X>X", 1 },
    { SETTLED, CLOSED, X, "X>X" },
    { MOVING, CLOSED, Y, "Y>Y", 1 },
    { LEAVING, CLOSED, NONE, "0>0" },

    { ABSENT, OPENED, X, "-" },
    { EARLY, OPENED, X, "0>0" },
    { DUE, OPENED, X, "0>0" },
    { SETTLED, OPENED, X, "X>X" },
    { MOVING, OPENED, Y, "X>X" },
    { LEAVING, OPENED, NONE, "X>X" },

    { ABSENT, NOTICE, X, "-", 0, true },
    { EARLY, NOTICE, NONE, "0>0", 0, true },
    { EARLY, NOTICE, X, "0>X" },
    { DUE, NOTICE, X, "0>X" },
    { DUE, NOTICE, Y, "0>Y" },
    { DUE, NOTICE, NONE, "0>X", 0, true },
    { SETTLED, NOTICE, X, "X>X", 0, true },
    { SETTLED, NOTICE, Y, "X>X" },
    { SETTLED, NOTICE, NONE, "X>X" },
    { MOVING, NOTICE, Y, "X>Y" },
    { LEAVING, NOTICE, NONE, "X>0" },
    { LEAVING, NOTICE, X, "X>0", 0, true },
    { LEAVING, NOTICE, Y, "X>Y" },

    { ABSENT, VERIFY, X, "-", 0, true },
    { EARLY, VERIFY, X, "0>X", 0, true },
    { DUE, VERIFY, X, "0>X", 0, true },
    { SETTLED, VERIFY, X, "X>X", 0, true },
    { SETTLED, VERIFY, Y, "-" },
    { SETTLED, VERIFY, NONE, "-" },
    { MOVING, VERIFY, Y, "-" },
    { LEAVING, VERIFY, NONE, "-" },

    { ABSENT, CLEAR, X, "-" },
    { EARLY, CLEAR, NONE, "-" },
    { DUE, CLEAR, X, "-" },
    { SETTLED, CLEAR, X, "-", 1 },
    { SETTLED, CLEAR, Y, "-" },
    { MOVING, CLEAR, Y, "-" },
    { LEAVING, CLEAR, NONE, "-" },
};

static void test_table(void)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(table); i++) {
        bool result;

        g_test_message("row %zu: %s, event %d, %s there", i,
                       state_text[table[i].state], table[i].event,
                       letter(table[i].now));
        bring_to(table[i].state);
        world.kernel[ID] = table[i].now;
        result = happen(table[i].event);
        g_assert_cmpint(result, ==, !table[i].not);
        assert_state(table[i].expected);
        g_assert_cmpuint(world.told[ID], ==, table[i].told);
    }
}

/* Each state meets each event in the table */
static void test_table_is_complete(void)
{
    int state, event;

    for (state = ABSENT; state <= LEAVING; state++) {
        for (event = SAME; event <= CLEAR; event++) {
            bool found = state == ABSENT && event == END_UNCONFIRMED;
            size_t i;

            for (i = 0; i < ARRAY_SIZE(table); i++) {
                found |= table[i].state == state && table[i].event == event;
            }
            g_test_message("%s, event %d", state_text[state], event);
            g_assert_true(found);
        }
    }
}

/*
 * What takes more than one event
 */

/* The host is ahead: what it says next is not about the port that is there */
static void test_gone_is_remembered(void)
{
    bring_to(SETTLED);
    say_gone(ID);
    say(ID, BLOB_B);
    assert_state("0>0");
    settle();
    assert_state("0>0");
    /* Neither is it if it is said again, nor when udev touches the port */
    say(ID, BLOB_B);
    assert_state("0>0");
    g_assert_true(ledger_notice(&ledger, ID));
    assert_state("0>0");
    g_assert_false(ledger_verify(&ledger, ID));

    world.kernel[ID] = NONE;
    g_assert_false(ledger_notice(&ledger, ID));
    world.kernel[ID] = Y;
    g_assert_true(ledger_notice(&ledger, ID));
    assert_state("0>Y");
    settle();
    assert_state("Y>Y");
    /* It was told that X has gone, then of Y */
    g_assert_cmpuint(world.told[ID], ==, 2);
}

/* The last one of a name counts, and there is room for all names */
static void test_gone_again(void)
{
    unsigned int id;

    bring_to(SETTLED);
    say_gone(ID);
    world.kernel[ID] = Y;
    say(ID, BLOB_A);
    settle();
    assert_state("Y>Y");
    say_gone(ID);
    g_assert_cmpuint(ledger.gones, ==, 1);
    say(ID, BLOB_A);
    assert_state("0>0");

    for (id = 0; id < LEDGER_MAX + 10; id++) {
        world.kernel[id] = 1000 + id;
        say(id, BLOB_A);
        settle();
        say_gone(id);
        world.kernel[id] = NONE;
    }
    g_assert_cmpuint(ledger.gones, ==, LEDGER_MAX);
    check_store();
}

/*
 * The record of a new port with the same descriptor was read when the old one
 * had gone and the new one had not come, and it came before the rest was read.
 */
static void test_came_between(void)
{
    bring_to(LEAVING);
    world.kernel[ID] = Y;
    g_assert_true(ledger_notice(&ledger, ID));
    settle();
    assert_state("Y>Y");
    g_assert_false(ledger_verify(&ledger, ID));
    g_assert_cmpuint(world.told[ID], ==, 1);
}

/* One of which nobody had an entry is no one's past */
static void test_gone_of_no_port(void)
{
    bring_to(DUE);
    say_gone(ID);
    g_assert_cmpuint(ledger.gones, ==, 0);
    say(ID, BLOB_B);
    assert_state("0>X");
}

/* The device was reset: the kernel may never hear that X went */
static void test_second_end(void)
{
    bring_to(SETTLED);
    say_end();
    g_assert_true(ledger.complete && ledger.answered && ledger.ended);
    say_gone(ID);
    say(ID, BLOB_B);
    assert_state("0>0");
    say(ID, BLOB_B);
    say_end();
    assert_state("0>X");
    g_assert_cmpuint(ledger.gones, ==, 0);
    settle();
    assert_state("X>X");
}

/* The first end after an opening is none of that */
static void test_first_end(void)
{
    bring_to(SETTLED);
    say_end();
    say_gone(ID);
    open_feed();
    say(ID, BLOB_B);
    say_end();
    assert_state("0>0");
    ledger_closed(&ledger);
    g_assert_false(ledger.ended);
    g_assert_true(ledger.complete && ledger.answered);
    say(ID, BLOB_B);
    say_end();
    assert_state("0>0");
}

/* Only a port that was there before the feed was opened gets what is read */
static void test_late(void)
{
    begin();
    world.kernel[ID] = X;
    open_feed();
    say(ID, BLOB_A);
    g_assert_true(ledger_settle(&ledger));
    assert_state("X>X");
    g_assert_cmpuint(world.told[ID], ==, 1);
    /* Another one is not that old */
    world.kernel[ID] = Y;
    say(ID, BLOB_B);
    g_assert_false(ledger_settle(&ledger));
    ledger_closed(&ledger);
    assert_state("0>Y");
    open_feed();
    say(ID, BLOB_B);
    g_assert_true(ledger_settle(&ledger));
    assert_state("Y>Y");
}

/*
 * A record came before its port, which was replaced before the kernel had it:
 * the record is no other port's, however late the next record is. That the feed
 * is opened again makes the old record no truer.
 */
static void test_early_and_replaced(void)
{
    bring_to(EARLY);
    say_end();
    g_assert_true(ledger_settle(&ledger));
    world.kernel[ID] = Y;
    g_assert_true(ledger_notice(&ledger, ID));
    g_assert_false(ledger_settle(&ledger));
    assert_state("0>Y");

    open_feed();
    assert_state("0>0");
    g_assert_true(ledger_notice(&ledger, ID));
    assert_state("0>Y");
    g_assert_false(ledger_settle(&ledger));
    assert_state("0>Y");
    g_assert_cmpuint(world.told[ID], ==, 0);

    say(ID, BLOB_B);
    g_assert_true(ledger_settle(&ledger));
    assert_state("Y>Y");
}

/* Another controller's port of that number is not old here */
static void test_old_elsewhere(void)
{
    begin();
    world.kernel[9] = X;
    open_feed();
    world.kernel[ID] = ELSEWHERE;
    say(ID, BLOB_A);
    g_assert_false(ledger_settle(&ledger));
}

/* What was confirmed before the snapshot began is not confirmed by it */
static void test_doubt(void)
{
    bring_to(SETTLED);
    open_feed();
    say_end();
    assert_state("-");

    bring_to(SETTLED);
    ledger_closed(&ledger);
    say_end();
    assert_state("-");
}

/* A snapshot keeps what it confirms */
static void test_snapshot(void)
{
    unsigned int id;

    begin();
    for (id = 1; id < 5; id++) {
        world.kernel[id] = id * 10;
        g_assert_true(ledger_adopt(&ledger, id, id * 10));
        world.store[id] = (Stored) { true, id * 10, blob_length(BLOB_A) };
    }
    check_store();
    open_feed();
    say(2, BLOB_A);
    say(4, BLOB_B);
    say(7, BLOB_C);
    say_end();
    check_store();
    g_assert_cmpuint(ledger.entries, ==, 3);
    g_assert_true(find(2) && find(4) && find(7));
    settle();
    check_store();
    g_assert_cmpuint(world.told[1], ==, 1);
    g_assert_cmpuint(world.told[2], ==, 0);
    g_assert_cmpuint(world.told[3], ==, 1);
    g_assert_cmpuint(world.told[4], ==, 1);
    g_assert_cmpuint(world.told[7], ==, 0);
    g_assert_cmpuint(find(2)->instance, ==, 20);
    g_assert_cmpuint(find(4)->instance, ==, 40);
    g_assert_cmpuint(find(7)->instance, ==, 0);
}

static void test_full(void)
{
    unsigned int id;

    begin();
    for (id = 0; id < LEDGER_MAX; id++) {
        say(id, BLOB_A);
    }
    g_assert_cmpuint(world.complaints, ==, 0);
    g_assert_false(ledger_adopt(&ledger, LEDGER_MAX, X));
    say(LEDGER_MAX, BLOB_A);
    g_assert_cmpuint(world.complaints, ==, 1);
    g_assert_cmpstr(world.complaint, ==,
                    "vport1p512 ignored: more than 512 ports");
    g_assert_false(ledger.missed);
    check_store();
    /* One that it has may still change, and one that goes makes room */
    say(3, BLOB_B);
    g_assert_cmpuint(world.store[3].length, ==, blob_length(BLOB_B));
    say_gone(3);
    say(LEDGER_MAX, BLOB_A);
    check_store();
    g_assert_cmpuint(world.complaints, ==, 1);
}

static void test_complaints(void)
{
    bring_to(SETTLED);
    say(ID, BAD);
    g_assert_true(g_str_has_prefix(
        world.complaint, "no well-formed descriptor for vport1p5: at offset"));
    g_assert_false(ledger.missed);

    world.put_error = ENOSPC;
    say(ID, BLOB_A);
    g_assert_true(g_str_has_suffix(world.complaint,
                                   "/vport1p5: No space left on device"));
    g_assert_true(ledger.missed);
    say_end();
    g_assert_true(ledger.missed);
    open_feed();
    g_assert_false(ledger.missed);
    g_assert_cmpuint(world.complaints, ==, 2);
}

/* What can't be moved is not believed; what can't be removed is not either */
static void test_store_fails(void)
{
    bring_to(DUE);
    world.move_fails = true;
    settle();
    assert_state("-");

    bring_to(SETTLED);
    world.remove_fails = true;
    say_gone(ID);
    g_assert_null(find(ID));
    g_assert_cmpuint(world.told[ID], ==, 0);
}

static void test_changes(void)
{
    begin();
    world.kernel[ID] = X;
    say(ID, BLOB_A);
    say(ID, BLOB_A);
    g_assert_cmpuint(ledger_take_changes(&ledger), ==, 1);
    g_assert_cmpuint(ledger_take_changes(&ledger), ==, 0);
    settle();
    say(ID, BLOB_B);
    say_gone(ID);
    say_gone(ID);
    say(ID, BAD);
    g_assert_cmpuint(ledger_take_changes(&ledger), ==, 2);
    /* What fails costs as much, or a host could have it tried for ever */
    world.put_error = ENOSPC;
    say(ID, BLOB_A);
    g_assert_cmpuint(ledger_take_changes(&ledger), ==, 1);
}

/*
 * All together, in random order: a host that plugs and unplugs, a device with
 * little room that owes state and says little at a time, a kernel that lags
 * behind, a daemon that is slow, and feeds that are opened again. The daemon
 * here does what daemon.c does.
 */

#define PORTS       3           /* ids 1 to 3 */
#define ROOM        4
#define QUEUE       64
#define INSTANCES   4096

typedef struct Said {
    RecordType type;
    uint32_t id;
    int blob;
} Said;

static struct {
    /* The host: which port is there, and which blob each port ever had */
    uint64_t host[PORTS + 1];
    uint64_t last;
    int blob[INSTANCES];
    /* The device: of which the reader was told, and what it has not read yet */
    uint64_t told[PORTS + 1];
    unsigned int snapshot;      /* the next one of it; PORTS + 1: its end */
    Said queue[ROOM];
    unsigned int queued;
    /* On the way to the kernel, and from there to the daemon */
    struct { uint32_t id; uint64_t instance; } news[QUEUE];
    unsigned int newses;
    uint32_t uevent[QUEUE];
    unsigned int uevents;
    unsigned int openings;
} sim;

static void device_say(RecordType type, uint32_t id, int blob)
{
    sim.queue[sim.queued++] = (Said) { type, id, blob };
}

/* Say one record that is owed; false if there is none */
static bool device_says(void)
{
    uint32_t id;

    while (sim.snapshot <= PORTS) {
        id = sim.snapshot++;
        sim.told[id] = sim.host[id];
        if (sim.host[id]) {
            device_say(RECORD_DESC, id, sim.blob[sim.host[id]]);
            return true;
        }
    }
    if (sim.snapshot == PORTS + 1) {
        sim.snapshot++;
        device_say(RECORD_END, VIRTSERIALDESC_END, 0);
        return true;
    }
    for (id = 1; id <= PORTS; id++) {
        if (sim.told[id] && sim.told[id] != sim.host[id]) {
            sim.told[id] = 0;
            device_say(RECORD_GONE, id, 0);
            return true;
        }
        if (!sim.told[id] && sim.host[id]) {
            sim.told[id] = sim.host[id];
            device_say(RECORD_DESC, id, sim.blob[sim.host[id]]);
            return true;
        }
    }
    return false;
}

/* Say what is owed, as far as there is room, but no more than @most */
static void device_pay(int most)
{
    while (most-- > 0 && sim.queued < ROOM && device_says()) {
        /* one more */
    }
}

/* The device has little time, often none: the rest comes at some other time */
static int device_turn(void)
{
    return MAX(0, g_test_rand_int_range(-2 * ROOM, ROOM + 1));
}

static void host_change(uint32_t id)
{
    if (sim.newses == QUEUE || sim.last + 1 == INSTANCES) {
        return;
    }
    if (sim.host[id]) {
        sim.host[id] = 0;
    } else {
        sim.host[id] = ++sim.last;
        sim.blob[sim.last] = g_test_rand_int_range(0, BLOBS);
    }
    device_pay(device_turn());  /* most often before the driver hears of it */
    sim.news[sim.newses].id = id;
    sim.news[sim.newses++].instance = sim.host[id];
}

static void kernel_hears(void)
{
    if (sim.newses && sim.uevents < QUEUE) {
        world.kernel[sim.news[0].id] = sim.news[0].instance;
        sim.uevent[sim.uevents++] = sim.news[0].id;
        memmove(sim.news, sim.news + 1, --sim.newses * sizeof(sim.news[0]));
    }
}

static void daemon_opens(void)
{
    sim.openings++;
    ledger_before_open(&ledger);
    ledger_opened(&ledger);
    sim.queued = 0;
    memset(sim.told, 0, sizeof(sim.told));
    sim.snapshot = 1;
    device_pay(device_turn());
}

/* Read one record; false at the end */
static bool daemon_reads(void)
{
    Said said = sim.queue[0];

    if (sim.queued == 0) {
        if (!ledger_settle(&ledger) && ledger.answered) {
            daemon_opens();
        }
        return false;
    }
    memmove(sim.queue, sim.queue + 1, --sim.queued * sizeof(said));
    device_pay(device_turn());
    if (said.type == RECORD_DESC) {
        say(said.id, said.blob);
    } else if (said.type == RECORD_GONE) {
        say_gone(said.id);
    } else {
        say_end();
    }
    return true;
}

static void daemon_hears(void)
{
    uint32_t id = sim.uevent[0];

    if (sim.uevents == 0) {
        return;
    }
    memmove(sim.uevent, sim.uevent + 1, --sim.uevents * sizeof(id));
    if (ledger_notice(&ledger, id)) {
        while (daemon_reads()) {
            /* to the end */
        }
        if (ledger_verify(&ledger, id)) {
            daemon_opens();
        }
    }
}

/* No port that is there has what is another one's */
static void check_identities(void)
{
    uint32_t id;

    check_store();
    for (id = 1; id <= PORTS; id++) {
        uint64_t instance = world.store[id].instance;

        if (world.store[id].there && instance &&
            instance == world.kernel[id] && instance == sim.host[id]) {
            g_assert_cmpuint(world.store[id].length, ==,
                             blob_length(sim.blob[instance]));
        }
    }
}

static void test_random(void)
{
    int run, step;
    uint32_t id;
    bool read;

    for (run = 0; run < 300; run++) {
        memset(&world, 0, sizeof(world));
        memset(&sim, 0, sizeof(sim));
        ledger_init(&ledger, DEVICE, &effects, &world);
        daemon_opens();
        for (step = 0; step < 300; step++) {
            switch (g_test_rand_int_range(0, 13)) {
            case 0 ... 3:
                host_change(g_test_rand_int_range(1, PORTS + 1));
                break;
            case 4 ... 5:
                kernel_hears();
                break;
            case 6 ... 8:
                daemon_reads();
                break;
            case 9 ... 10:
                daemon_hears();
                break;
            case 11:
                device_pay(device_turn());
                break;
            default:
                if (g_test_rand_int_range(0, 10) == 0) {
                    daemon_opens();
                }
            }
            check_identities();
        }

        /* When nothing moves any more, all is as it is */
        do {
            kernel_hears();
            daemon_hears();
            check_identities();
            read = daemon_reads();
            device_pay(ROOM);
        } while (read || sim.newses || sim.uevents || sim.queued);
        for (id = 1; id <= PORTS; id++) {
            g_assert_cmpint(world.store[id].there, ==, sim.host[id] != 0);
            if (sim.host[id]) {
                g_assert_cmpuint(world.store[id].instance, ==, sim.host[id]);
                g_assert_cmpuint(world.store[id].length, ==,
                                 blob_length(sim.blob[sim.host[id]]));
            }
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ledger/table", test_table);
    g_test_add_func("/ledger/table-is-complete", test_table_is_complete);
    g_test_add_func("/ledger/gone-is-remembered", test_gone_is_remembered);
    g_test_add_func("/ledger/gone-again", test_gone_again);
    g_test_add_func("/ledger/came-between", test_came_between);
    g_test_add_func("/ledger/gone-of-no-port", test_gone_of_no_port);
    g_test_add_func("/ledger/second-end", test_second_end);
    g_test_add_func("/ledger/first-end", test_first_end);
    g_test_add_func("/ledger/late", test_late);
    g_test_add_func("/ledger/early-and-replaced", test_early_and_replaced);
    g_test_add_func("/ledger/old-elsewhere", test_old_elsewhere);
    g_test_add_func("/ledger/doubt", test_doubt);
    g_test_add_func("/ledger/snapshot", test_snapshot);
    g_test_add_func("/ledger/full", test_full);
    g_test_add_func("/ledger/complaints", test_complaints);
    g_test_add_func("/ledger/store-fails", test_store_fails);
    g_test_add_func("/ledger/changes", test_changes);
    g_test_add_func("/ledger/random", test_random);
    return g_test_run();
}
