/*
 * A feed: a virtserialdesc port, from which records are read
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_FEED_H
#define VSER_FEED_H

#include "port-name.h"
#include "records.h"
#include "util.h"

/*
 * How many times to read a feed to its end: there may be none. The device has
 * room for twice as many pieces: where that many came, some may not be there
 * yet.
 */
#define FEED_READS_MAX      64

typedef struct Feed {
    char name[PORT_NAME_SIZE];
    uint64_t instance;          /* which one of the ports of that name */
    int epoll;                  /* to hear of it */
    void *data;                 /* what that says then */
    int fd;                     /* -1: closed, until retry_at */
    int64_t retry_at;
    int64_t opened_at;
    int64_t backoff;
    bool host_closed;           /* and epoll is to tell of changes only */
    bool paused;                /* not read until retry_at */
    int changes;                /* that it may still make */
    int64_t changes_at;         /* when that was counted */
    unsigned int reads;         /* since it was read to its end */
    unsigned int complaints;    /* since it was opened */
    char last_failure[256];     /* what was said last about opening it */
    const uint8_t *bytes;       /* read, and not taken by feed_next() yet */
    size_t length;              /* how many */
    Records records;
} Feed;

/* What came of reading a feed */
typedef enum FeedNews {
    FEED_NOTHING,               /* nothing; it may have been closed */
    FEED_BYTES,                 /* bytes: feed_next() is to follow */
    FEED_AT_END,                /* all that there is has been read */
    FEED_HOST_CLOSED,           /* that too, and the host has closed it */
} FeedNews;

/**
 * feed_init:
 * @feed: filled: closed, and due to be opened
 * @name: the port's, "vport2p7"
 * @instance: of port_instance(), before @name was found to be a feed
 * @epoll: which is to have @data for it when it is open and has news
 */
void feed_init(Feed *feed, const char *name, uint64_t instance, int epoll,
               void *data);

/**
 * feed_open:
 *
 * Open the feed, which is closed. The device begins a snapshot.
 *
 * Returns: whether it is open. If not it is due to be opened later.
 */
bool feed_open(Feed *feed);

void feed_close(Feed *feed);

/* It can't be used now: close it until later, and later still each time. */
void feed_retry(Feed *feed);

/* Close it, to be opened at once: that brings a new snapshot. */
void feed_ask_again(Feed *feed);

/**
 * feed_due:
 *
 * Returns: when something is to be done about the feed, by now_ms(); INT64_MAX
 * if it is open and is being read. feed_open() is what is to be done if it is
 * closed, else feed_resume().
 */
int64_t feed_due(const Feed *feed);

/* Read it again, after a pause. */
void feed_resume(Feed *feed);

/* May it be read? */
static inline bool feed_is_readable(const Feed *feed)
{
    return feed->fd >= 0 && !feed->paused;
}

/**
 * feed_read:
 * @feed: is readable
 *
 * Read once. There is one buffer for all feeds: take the records of one before
 * another is read.
 */
FeedNews feed_read(Feed *feed);

/**
 * feed_next:
 * @type: set to RECORD_DESC, RECORD_GONE or RECORD_END
 * @record: filled
 *
 * Returns: whether there is a record more in what was read. After what is no
 * record the feed is closed until later.
 */
bool feed_next(Feed *feed, RecordType *type, Record *record);

/**
 * feed_is_behind:
 *
 * Returns: whether it had so much to read that the device may have had to wait
 * for us, and may have more to say than is there yet.
 */
static inline bool feed_is_behind(const Feed *feed)
{
    return feed->reads > FEED_READS_MAX;
}

/* What was owed while it was behind has come. */
static inline void feed_caught_up(Feed *feed)
{
    feed->reads = 0;
}

/**
 * feed_limit:
 * @changes: how many more it has made
 *
 * Leave it alone for a while if it makes too many changes.
 */
void feed_limit(Feed *feed, unsigned int changes);

/* Say something about it on stderr, so many times for each opening. */
void feed_complain(Feed *feed, const char *fmt, ...) PRINTF(2, 3);

#endif /* VSER_FEED_H */
