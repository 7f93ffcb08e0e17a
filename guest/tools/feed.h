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

/* The most reads on the way to the end of a feed, which may have no end */
#define FEED_READS_MAX      64

typedef struct Feed {
    char name[PORT_NAME_SIZE];
    uint64_t instance;          /* of the port, from port_instance() */
    int epoll;                  /* waits for bytes of the feed */
    void *data;                 /* the data of the event that epoll gives */
    int fd;                     /* -1: closed, until retry_at */
    int64_t retry_at;
    int64_t opened_at;
    int64_t backoff;
    bool host_closed;           /* epoll tells of changes only */
    bool host_heard;            /* the driver knows that the host is there */
    bool paused;                /* not read until retry_at */
    int changes;                /* how many changes are still allowed */
    int64_t changes_at;         /* when changes was set */
    unsigned int complaints;    /* since the feed was opened */
    bool denied;                /* the last opening failed with EPERM */
    char last_failure[256];     /* the last message about a failure to open */
    const uint8_t *bytes;       /* read, and not yet taken by feed_next() */
    size_t length;              /* of bytes */
    Records records;
} Feed;

/* The result of reading a feed */
typedef enum FeedNews {
    FEED_NOTHING,               /* nothing; the feed may have been closed */
    FEED_BYTES,                 /* bytes: feed_next() must follow */
    FEED_AT_END,                /* the feed is read to its end */
    FEED_HOST_CLOSED,           /* read to its end, and closed by the host */
} FeedNews;

/**
 * feed_init:
 * @feed: filled: closed, and due to be opened
 * @name: the port's name, "vport2p7"
 * @instance: from port_instance(), before @name was found to be a feed
 * @epoll: gives an event with @data when the feed is open and has news
 */
void feed_init(Feed *feed, const char *name, uint64_t instance, int epoll,
               void *data);

/**
 * feed_open:
 *
 * Open the feed, which is closed. The device begins a snapshot.
 *
 * Returns: whether the feed is open. If not, it is due to be opened later.
 */
bool feed_open(Feed *feed);

void feed_close(Feed *feed);

/* The feed can't be used now: close it for a while, and longer each time. */
void feed_retry(Feed *feed);

/* Close the feed; it is due to be opened at once, for a new snapshot. */
void feed_ask_again(Feed *feed);

/**
 * feed_due:
 *
 * Returns: when to call feed_open() for a closed feed, or feed_resume() for an
 * open one, by now_ms(); INT64_MAX if the feed is open and is being read.
 */
int64_t feed_due(const Feed *feed);

/* Read the feed again, after a pause. */
void feed_resume(Feed *feed);

/* May the feed be read? */
static inline bool feed_is_readable(const Feed *feed)
{
    return feed->fd >= 0 && !feed->paused;
}

/**
 * feed_read:
 * @feed: is readable
 *
 * Read once. There is one buffer for all feeds: take the records of a feed
 * before the next feed is read.
 */
FeedNews feed_read(Feed *feed);

/**
 * feed_next:
 * @type: set to RECORD_DESC, RECORD_GONE or RECORD_END
 * @record: filled
 *
 * Returns: whether the bytes that were read have one more record. After a
 * malformed record the feed is closed until later.
 */
bool feed_next(Feed *feed, RecordType *type, Record *record);

/**
 * feed_limit:
 * @changes: how many changes of the store the feed has made since the last call
 *
 * Pause the feed for a while if it makes too many changes.
 */
void feed_limit(Feed *feed, unsigned int changes);

/* Print a message about the feed on stderr; their number is limited. */
void feed_complain(Feed *feed, const char *fmt, ...) PRINTF(2, 3);

#endif /* VSER_FEED_H */
