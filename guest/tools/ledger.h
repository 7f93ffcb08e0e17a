/*
 * A ledger: the entries of the store for a controller's ports, and for each
 * entry the instance that it belongs to
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_LEDGER_H
#define VSER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "records.h"

/* A controller has at most 511 ports */
#define LEDGER_MAX          512

/*
 * The functions by which a ledger changes and asks the system. "vser daemon"
 * has functions of store.h and port-name.h here; the unit test has its own.
 */
typedef struct LedgerEffects {
    /* As store_put(), store_move() and store_remove() */
    int (*put)(const char *name, uint64_t old_instance, const uint8_t *blob,
               size_t length);
    bool (*move)(const char *name, uint64_t old, uint64_t new);
    int (*remove)(const char *name, uint64_t instance);
    /* As port_instance() and port_names() */
    uint64_t (*instance)(const char *name);
    char **(*names)(size_t *count);
    /* Make udev look at the port again */
    void (*changed)(const char *name);
    /* Print a message about a wrong record */
    void (*complain)(void *opaque, const char *text);
} LedgerEffects;

/* An entry of the store */
typedef struct LedgerEntry {
    uint32_t id;                /* of the port */
    bool confirmed;             /* since the snapshot began */
    bool fresh;                 /* a record since the feed was opened */
    uint64_t instance;          /* which it belongs to (store.h) */
    uint64_t next_instance;     /* which it will belong to: all records read */
} LedgerEntry;

/* A port that the kernel had at some time */
typedef struct KnownPort {
    uint32_t id;
    uint64_t instance;
} KnownPort;

typedef struct Ledger {
    const LedgerEffects *effects;
    void *opaque;               /* for complain() */
    unsigned int device;        /* the controller: 2 of vport2p7 */
    bool complete;              /* a snapshot has ended, at least once */
    bool answered;              /* one has ended since the feed was opened */
    bool ended;                 /* the same, since the host closed its side */
    bool missed;                /* since then, the store has refused a blob */
    unsigned int changes;       /* of the store, since ledger_take_changes() */
    size_t entries;
    LedgerEntry entry[LEDGER_MAX];
    /* Ports that the host says are gone: for each id the last one */
    size_t gones;
    KnownPort gone[LEDGER_MAX];
    /* Ports that were there before the feed was opened */
    size_t olds;
    KnownPort old[LEDGER_MAX];
} Ledger;

/**
 * ledger_init:
 * @ledger: filled; nothing to free
 * @device: the number of the controller
 * @effects: must stay valid as long as @ledger
 * @opaque: for complain() of @effects
 */
void ledger_init(Ledger *ledger, unsigned int device,
                 const LedgerEffects *effects, void *opaque);

/**
 * ledger_adopt:
 * @id: of a port
 * @instance: of the port that is there
 *
 * The store has an entry for that port, from an earlier daemon.
 *
 * Returns: false if the ledger has no room; the store keeps the entry then.
 */
bool ledger_adopt(Ledger *ledger, uint32_t id, uint64_t instance);

/* The feed is about to be opened: remember which ports the kernel has. */
void ledger_before_open(Ledger *ledger);

/* The feed has been opened: a snapshot begins. */
void ledger_opened(Ledger *ledger);

/**
 * ledger_record:
 * @type: RECORD_DESC, RECORD_GONE or RECORD_END
 * @record: of that type, the next one of the feed
 */
void ledger_record(Ledger *ledger, RecordType type, const Record *record);

/**
 * ledger_settle:
 *
 * The feed is read to its end: each entry now belongs to the port that it is
 * about, if that is sure.
 *
 * Returns: false if it is not sure for some entry: the entry's port came after
 * the feed was opened.
 */
bool ledger_settle(Ledger *ledger);

/* As ledger_settle(), and the host has closed the feed. */
bool ledger_closed(Ledger *ledger);

/**
 * ledger_notice:
 * @id: of a port that came, changed or went
 *
 * Returns: whether the entry of @id belongs to another port than the port that
 * is there. Then read the feed to its end, and call ledger_verify().
 */
bool ledger_notice(Ledger *ledger, uint32_t id);

/**
 * ledger_verify:
 * @id: as for ledger_notice()
 *
 * Returns: whether the entry belongs to another port even now, with all records
 * read. Then the entry is removed, and only a new snapshot can tell what the
 * port is.
 */
bool ledger_verify(Ledger *ledger, uint32_t id);

/* The feed's port is gone: remove all entries. */
void ledger_clear(Ledger *ledger);

/**
 * ledger_take_changes:
 *
 * Returns: how many changes of the store there were since the last call. udev
 * may have been told of each change.
 */
unsigned int ledger_take_changes(Ledger *ledger);

#endif /* VSER_LEDGER_H */
