/*
 * A ledger: the entries of the store for a controller's ports, and for each
 * entry the instance that it belongs to
 *
 * The facts behind this file are on top of daemon.c. An entry is a blob in the
 * store and two instances of a port: the instance that the entry belongs to,
 * and the instance that the entry will belong to when all records are read. 0
 * is no port. Below, both are written as "belongs > will belong", with X and Y
 * for two ports of one name. An entry is
 *
 *   absent    there is no entry
 *   early     0 > 0    the kernel does not have its port yet
 *   due       0 > X    X will have the blob, unless another record says that X
 *                      is another port
 *   settled   X > X    X has the blob: "lsvser" shows it, udev has been told
 *   moving    X > Y    a record gives Y the same blob; Y may be 0
 *
 * "Now" is the port that is there now. It is 0 if there is no port, or if the
 * host has said that this port is gone, and the kernel does not know that yet.
 *
 *   event                     absent    early     due       settled   moving
 *   ------------------------  --------  --------  --------  --------  --------
 *   record, same blob         0 > now   0 > now   0 > now   X > now   X > now
 *   record, other blob        0 > now   0 > now   0 > now   0 > now   0 > now
 *   record that can't be used -         absent    absent    absent+   absent+
 *   record "gone"             -         absent    absent    absent+*  absent+*
 *   end, not confirmed        -         absent    absent    absent+   absent+
 *   end, the second in a row  -         0 > now   0 > now   -         -
 *   all is read (1)           -         -         X > X +   -         Y > Y +
 *   host closed               as "all is read"; no entry is confirmed any more
 *   opened                    -         -         0 > 0     -         X > X
 *   port came or changed (2)  -         0 > now   0 > now   (3)       (3) (4)
 *
 *   +  udev is told, if the port is there
 *   *  X is remembered as gone: "now" is 0 as long as X is there
 *   -  nothing happens
 *   (1) only if the port was there before the feed was opened, and the record
 *       came after that; or if there is no port. Else the entry stays, and a
 *       new snapshot is needed
 *   (2) an event of the kernel; if the entry is about the port that is there,
 *       nothing happens
 *   (3) if the entry is the same when all is read: absent, and a new snapshot
 *       is needed
 *   (4) X > now if Y is 0: the port came after its record
 *
 * tests/tools/test-ledger.c has a case for each cell of the table.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "ledger.h"
#include "paths.h"
#include "port-name.h"

void ledger_init(Ledger *ledger, unsigned int device,
                 const LedgerEffects *effects, void *opaque)
{
    memset(ledger, 0, sizeof(*ledger));
    ledger->device = device;
    ledger->effects = effects;
    ledger->opaque = opaque;
}

static void PRINTF(2, 3) ledger_complain(Ledger *ledger, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ledger->effects->complain(ledger->opaque, text);
}

/* ------------------------------------------------------------------ */
/* Entries */

static void entry_name(const Ledger *ledger, uint32_t id,
                       char name[PORT_NAME_SIZE])
{
    snprintf(name, PORT_NAME_SIZE, "vport%up%u", ledger->device, id);
}

static LedgerEntry *entry_find(Ledger *ledger, uint32_t id)
{
    size_t i;

    for (i = 0; i < ledger->entries; i++) {
        if (ledger->entry[i].id == id) {
            return &ledger->entry[i];
        }
    }
    return NULL;
}

static void entry_remove(Ledger *ledger, LedgerEntry *entry)
{
    char name[PORT_NAME_SIZE];

    entry_name(ledger, entry->id, name);
    if (ledger->effects->remove(name, entry->instance) == 1) {
        ledger->changes++;
        if (entry->instance &&
            entry->instance == ledger->effects->instance(name)) {
            ledger->effects->changed(name);
        }
    }
    *entry = ledger->entry[--ledger->entries];
}

static void entries_remove(Ledger *ledger, bool confirmed_too)
{
    size_t i = 0;

    while (i < ledger->entries) {
        if (!ledger->entry[i].confirmed || confirmed_too) {
            /* The last entry moves to this place */
            entry_remove(ledger, &ledger->entry[i]);
        } else {
            i++;
        }
    }
}

/* A snapshot begins: an entry that it does not confirm is not true any more */
static void entries_doubt(Ledger *ledger)
{
    size_t i;

    for (i = 0; i < ledger->entries; i++) {
        ledger->entry[i].confirmed = false;
    }
}

bool ledger_adopt(Ledger *ledger, uint32_t id, uint64_t instance)
{
    if (ledger->entries == LEDGER_MAX) {
        return false;
    }
    ledger->entry[ledger->entries++] = (LedgerEntry) {
        .id = id, .instance = instance, .next_instance = instance,
    };
    return true;
}

void ledger_clear(Ledger *ledger)
{
    entries_remove(ledger, true);
}

/* ------------------------------------------------------------------ */
/* Ports */

static KnownPort *gone_find(Ledger *ledger, uint32_t id)
{
    size_t i;

    for (i = 0; i < ledger->gones; i++) {
        if (ledger->gone[i].id == id) {
            return &ledger->gone[i];
        }
    }
    return NULL;
}

/* The host says that the port is gone; the kernel may not know that yet */
static void gone_remember(Ledger *ledger, const LedgerEntry *entry)
{
    KnownPort *gone = gone_find(ledger, entry->id);

    if (!gone && ledger->gones < LEDGER_MAX) {
        gone = &ledger->gone[ledger->gones++];
    }
    if (gone) {
        *gone = (KnownPort) { entry->id, entry->instance };
    }
}

/*
 * The instance that a record of the host may be about: the port that is there,
 * unless the host has said that this port is gone. 0 if there is no such port.
 */
static uint64_t instance_now(Ledger *ledger, uint32_t id)
{
    KnownPort *gone = gone_find(ledger, id);
    char name[PORT_NAME_SIZE];
    uint64_t instance;

    entry_name(ledger, id, name);
    instance = ledger->effects->instance(name);
    return gone && gone->instance == instance ? 0 : instance;
}

/*
 * The device was reset, as when the guest sleeps. The driver may never hear
 * that a port went: so the host's records are about the ports that are there.
 */
static void gone_forget(Ledger *ledger)
{
    size_t i;

    ledger->gones = 0;
    for (i = 0; i < ledger->entries; i++) {
        LedgerEntry *entry = &ledger->entry[i];

        if (!entry->instance) {
            entry->next_instance = instance_now(ledger, entry->id);
        }
    }
}

void ledger_before_open(Ledger *ledger)
{
    size_t count, i;
    char **names = ledger->effects->names(&count);

    ledger->olds = 0;
    for (i = 0; i < count; i++) {
        unsigned int device, id;

        port_name_parse(names[i], &device, &id);
        if (device == ledger->device && ledger->olds < LEDGER_MAX) {
            ledger->old[ledger->olds++] = (KnownPort) {
                id, ledger->effects->instance(names[i]),
            };
        }
        free(names[i]);
    }
    free(names);
}

static bool is_old(const Ledger *ledger, uint32_t id, uint64_t instance)
{
    size_t i;

    for (i = 0; i < ledger->olds; i++) {
        if (ledger->old[i].id == id) {
            return ledger->old[i].instance == instance;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ */
/* Events: the feed */

void ledger_opened(Ledger *ledger)
{
    size_t i;

    ledger->answered = ledger->ended = ledger->missed = false;
    entries_doubt(ledger);
    for (i = 0; i < ledger->entries; i++) {
        /* The records that were still unread are lost */
        ledger->entry[i].next_instance = ledger->entry[i].instance;
        ledger->entry[i].fresh = false;
    }
}

static void learn(Ledger *ledger, const Record *record)
{
    VirtIOSerialDescError err;
    LedgerEntry *entry = entry_find(ledger, record->id);
    char name[PORT_NAME_SIZE];
    int put;

    entry_name(ledger, record->id, name);
    if (!virtio_serial_desc_check(record->blob, record->length, &err)) {
        ledger_complain(ledger, "no well-formed descriptor for %s: %s", name,
                        err.text);
    } else if (!entry && ledger->entries == LEDGER_MAX) {
        ledger_complain(ledger, "%s ignored: more than %u ports", name,
                        LEDGER_MAX);
    } else {
        put = ledger->effects->put(name, entry ? entry->instance : 0,
                                   record->blob, record->length);
        if (put >= 0) {
            if (!entry) {
                entry = &ledger->entry[ledger->entries++];
                *entry = (LedgerEntry) { .id = record->id };
            }
            if (put > 0) {
                ledger->changes++;
                entry->instance = 0;
            }
            entry->confirmed = entry->fresh = true;
            entry->next_instance = instance_now(ledger, record->id);
            return;
        }
        /* The disk may be full: it may have room at the next snapshot */
        ledger_complain(ledger, "%s/%s: %s", VSER_STORE, name, strerror(errno));
        ledger->missed = true;
        ledger->changes++;
    }
    if (entry) {
        entry_remove(ledger, entry);
    }
}

static void lose(Ledger *ledger, uint32_t id)
{
    LedgerEntry *entry = entry_find(ledger, id);

    if (entry) {
        if (entry->instance) {
            gone_remember(ledger, entry);
        }
        entry_remove(ledger, entry);
    }
}

static void end_snapshot(Ledger *ledger)
{
    entries_remove(ledger, false);
    if (ledger->ended) {
        gone_forget(ledger);
    }
    /*
     * The next end may come without an opening: then the device was reset, as
     * when the guest sleeps, and has begun a snapshot.
     */
    entries_doubt(ledger);
    ledger->complete = ledger->answered = ledger->ended = true;
}

void ledger_record(Ledger *ledger, RecordType type, const Record *record)
{
    switch (type) {
    case RECORD_DESC:
        learn(ledger, record);
        break;
    case RECORD_GONE:
        lose(ledger, record->id);
        break;
    default:
        end_snapshot(ledger);
    }
}

/*
 * The device may tell the driver of a port before the record of the port is
 * there. So a port that came after the feed was opened may be another port than
 * the record is about. A record that was made after the opening is about a port
 * that was there before, or about one that comes later.
 */
static bool is_sure(const Ledger *ledger, const LedgerEntry *entry)
{
    return !entry->next_instance ||
           (entry->fresh && is_old(ledger, entry->id, entry->next_instance));
}

bool ledger_settle(Ledger *ledger)
{
    bool all = true;
    size_t i = 0;

    while (i < ledger->entries) {
        LedgerEntry *entry = &ledger->entry[i];
        char name[PORT_NAME_SIZE];

        if (entry->next_instance == entry->instance) {
            i++;
            continue;
        }
        if (!is_sure(ledger, entry)) {
            all = false;
            i++;
            continue;
        }
        entry_name(ledger, entry->id, name);
        if (!ledger->effects->move(name, entry->instance,
                                   entry->next_instance)) {
            entry_remove(ledger, entry);    /* the last one moves here */
        } else {
            entry->instance = entry->next_instance;
            if (entry->instance) {
                ledger->effects->changed(name);
            }
            i++;
        }
    }
    return all;
}

/*
 * The driver may hear only after the snapshot that the host has opened its
 * side: so the snapshot remains the answer to the opening.
 */
bool ledger_closed(Ledger *ledger)
{
    bool all = ledger_settle(ledger);

    entries_doubt(ledger);
    ledger->ended = false;
    return all;
}

/* ------------------------------------------------------------------ */
/* Events: the kernel */

/* Does the entry belong to another port than the port that is there? */
static bool is_wrong(const Ledger *ledger, const LedgerEntry *entry)
{
    char name[PORT_NAME_SIZE];

    entry_name(ledger, entry->id, name);
    return entry->instance != ledger->effects->instance(name);
}

bool ledger_notice(Ledger *ledger, uint32_t id)
{
    LedgerEntry *entry = entry_find(ledger, id);

    /* After changes that we have made ourselves, the entry is right */
    if (!entry || !is_wrong(ledger, entry)) {
        return false;
    }
    /* The port came after its record, unless a later record says otherwise */
    if (!entry->instance || !entry->next_instance) {
        entry->next_instance = instance_now(ledger, id);
    }
    return true;
}

bool ledger_verify(Ledger *ledger, uint32_t id)
{
    LedgerEntry *entry = entry_find(ledger, id);

    if (!entry || !entry->instance || !is_wrong(ledger, entry)) {
        return false;
    }
    entry_remove(ledger, entry);
    return true;
}

/* ------------------------------------------------------------------ */

unsigned int ledger_take_changes(Ledger *ledger)
{
    unsigned int changes = ledger->changes;

    ledger->changes = 0;
    return changes;
}
