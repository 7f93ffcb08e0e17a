/*
 * What a feed has said of its controller's ports, and whose it is
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
 * What a ledger does to the world and asks of it. "vser daemon" has functions
 * of store.h and port-name.h here; the unit test has its own.
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
    /* Have udev look at the port again */
    void (*changed)(const char *name);
    /* Say what is wrong with a record */
    void (*complain)(void *opaque, const char *text);
} LedgerEffects;

/* A port of which the store has an entry */
typedef struct LedgerEntry {
    uint32_t id;
    bool confirmed;             /* since the snapshot began */
    uint64_t instance;          /* whose it is (store.h) */
    uint64_t next_instance;     /* and is to be, once all records are read */
} LedgerEntry;

/* A port as the kernel had it at some time */
typedef struct KnownPort {
    uint32_t id;
    uint64_t instance;
} KnownPort;

typedef struct Ledger {
    const LedgerEffects *effects;
    void *opaque;               /* for complain() */
    unsigned int device;        /* the controller: 2 of vport2p7 */
    bool complete;              /* a snapshot has ended, once at least */
    bool ended;                 /* a snapshot has, since the feed was opened */
    bool missed;                /* since then, what the store did not take */
    unsigned int changes;       /* of the store, that nobody has counted yet */
    size_t entries;
    LedgerEntry entry[LEDGER_MAX];
    /* Those of which the host has said that they are gone, the last of an id */
    size_t gones;
    KnownPort gone[LEDGER_MAX];
    /* Those that were there before the feed was opened */
    size_t olds;
    KnownPort old[LEDGER_MAX];
} Ledger;

/**
 * ledger_init:
 * @ledger: filled; nothing to free
 * @device: number of the controller
 * @effects: stay the caller's
 * @opaque: for their complain()
 */
void ledger_init(Ledger *ledger, unsigned int device,
                 const LedgerEffects *effects, void *opaque);

/**
 * ledger_adopt:
 * @id: of a port
 * @instance: the port that is there
 *
 * The store has an entry of an earlier daemon's, about that port.
 *
 * Returns: false if there is no room for it; the store's entry stays then.
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
 * @behind: the device had to wait for the reader
 *
 * The feed is read to its end: entries become those of the ports that they are
 * about.
 *
 * Returns: false if some could not, for the device may have more to say of
 * their ports.
 */
bool ledger_settle(Ledger *ledger, bool behind);

/* The feed is read to its end, and the host has closed it. */
void ledger_closed(Ledger *ledger);

/**
 * ledger_notice:
 * @id: of a port that came, changed or went
 *
 * Returns: whether its entry is about another port than the one that is there.
 * The feed is to be read to its end then, and ledger_verify() is to follow.
 */
bool ledger_notice(Ledger *ledger, uint32_t id);

/**
 * ledger_verify:
 * @id: as for ledger_notice()
 *
 * Returns: whether the entry was about another port, even now that all records
 * are read; it is removed. Only a new snapshot can tell what that port is.
 */
bool ledger_verify(Ledger *ledger, uint32_t id);

/* The feed's port is gone, and with it all that it said. */
void ledger_clear(Ledger *ledger);

/**
 * ledger_take_changes:
 *
 * Returns: how many changes of the store there were since the last call, each
 * of which udev may have been told.
 */
unsigned int ledger_take_changes(Ledger *ledger);

#endif /* VSER_LEDGER_H */
