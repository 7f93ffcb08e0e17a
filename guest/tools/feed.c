/*
 * A feed: a virtserialdesc port, from which records are read
 *
 * A hostile host must not take our time. A feed that can't be opened, or that
 * has malformed records, is closed for a while, and for longer each time. A
 * feed that makes udev look at ports too often is not read for a while. The
 * number of messages about a feed is limited. No other feed has to wait for any
 * of this.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "feed.h"
#include "paths.h"

/* How long a feed is closed that could not be used, in ms */
#define BACKOFF_MIN         100
#define BACKOFF_MAX         60000

/* The most messages about one opening of a feed: the host may never end */
#define COMPLAINTS_MAX      16

/*
 * How often a feed may make udev look at ports: so many times at once, then so
 * many times in a second. A feed that wants more is not read for a while.
 */
#define CHANGES_BURST       1024
#define CHANGES_PER_SECOND  20

void feed_init(Feed *feed, const char *name, uint64_t instance, int epoll,
               void *data)
{
    memset(feed, 0, sizeof(*feed));
    snprintf(feed->name, sizeof(feed->name), "%s", name);
    feed->instance = instance;
    feed->epoll = epoll;
    feed->data = data;
    feed->fd = -1;
    feed->changes = CHANGES_BURST;
    feed->changes_at = now_ms();
}

void feed_complain(Feed *feed, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (feed->complaints > COMPLAINTS_MAX) {
        return;
    }
    if (feed->complaints++ == COMPLAINTS_MAX) {
        snprintf(text, sizeof(text),
                 "no more is said until it is opened again");
    } else {
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
    }
    vser_error("%s: %s", feed->name, text);
}

/* ------------------------------------------------------------------ */
/* Open, and try again */

void feed_close(Feed *feed)
{
    if (feed->fd >= 0) {
        close(feed->fd);
        feed->fd = -1;
        feed->paused = false;
    }
}

void feed_retry(Feed *feed)
{
    if (feed->backoff == 0 ||
        (feed->fd >= 0 && now_ms() - feed->opened_at > BACKOFF_MAX)) {
        feed->backoff = BACKOFF_MIN;
    }
    feed_close(feed);
    feed->retry_at = now_ms() + feed->backoff;
    feed->backoff = MIN(feed->backoff * 2, BACKOFF_MAX);
}

void feed_ask_again(Feed *feed)
{
    if (feed->fd >= 0) {
        /* A paused feed stays closed until the end of the pause */
        if (!feed->paused) {
            feed->retry_at = now_ms();
        }
        feed_close(feed);
    }
}

/*
 * For a port that the host has closed, epoll_wait() would return without end:
 * so epoll tells of changes only. While the host has the port open,
 * epoll_wait() returns as long as there are bytes, so that all feeds have their
 * turn.
 */
static int listen_to(Feed *feed, int operation)
{
    struct epoll_event e = {
        .events = EPOLLIN | (feed->host_closed ? EPOLLET : 0),
        .data.ptr = feed->data,
    };

    return epoll_ctl(feed->epoll, operation, feed->fd, &e);
}

static void set_host_closed(Feed *feed, bool closed)
{
    if (feed->host_closed != closed) {
        feed->host_closed = closed;
        listen_to(feed, EPOLL_CTL_MOD);
    }
}

bool feed_open(Feed *feed)
{
    char path[PATH_MAX], failure[sizeof(feed->last_failure)];

    feed->host_closed = feed->host_heard = false;
    snprintf(path, sizeof(path), "%s/%s", VSER_DEV, feed->name);
    feed->fd = port_name_open(feed->name, feed->instance, O_RDONLY);
    feed->denied = feed->fd < 0 && errno == EPERM;
    if (feed->fd < 0 || listen_to(feed, EPOLL_CTL_ADD) < 0) {
        bool gone = errno == ENODEV || errno == ENXIO || errno == ENOENT;

        snprintf(failure, sizeof(failure), "%s", strerror(errno));
        feed_close(feed);
        /* Soon the kernel tells that the port went, or udev makes its node */
        if (!gone && strcmp(failure, feed->last_failure) != 0) {
            vser_error("%s: %s; trying again", path, failure);
            strcpy(feed->last_failure, failure);
        }
        feed_retry(feed);
        return false;
    }
    feed->last_failure[0] = '\0';
    feed->opened_at = now_ms();
    feed->complaints = 0;
    records_reset(&feed->records);
    return true;
}

int64_t feed_due(const Feed *feed)
{
    return feed_is_readable(feed) ? INT64_MAX : feed->retry_at;
}

/* ------------------------------------------------------------------ */
/* Read */

FeedNews feed_read(Feed *feed)
{
    static uint8_t buffer[65536];
    ssize_t got = read(feed->fd, buffer, sizeof(buffer));

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        bool at_end = errno == EAGAIN;

        set_host_closed(feed, false);
        feed->host_heard |= at_end;
        return at_end ? FEED_AT_END : FEED_NOTHING;
    }
    if (got < 0) {
        /* If the port has gone, the kernel tells of it in an event */
        if (errno != ENODEV) {
            feed_complain(feed, "%s", strerror(errno));
        }
        feed_retry(feed);
        return FEED_NOTHING;
    }
    if (got == 0) {
        set_host_closed(feed, true);
        /*
         * The driver may hear after the first bytes that the host has opened
         * its side: before that, the host seems to be closed.
         */
        if (!feed->host_heard) {
            return FEED_AT_END;
        }
        /* The host will not finish a record that it has begun */
        feed->host_heard = false;
        records_reset(&feed->records);
        return FEED_HOST_CLOSED;
    }
    set_host_closed(feed, false);
    feed->bytes = buffer;
    feed->length = got;
    return FEED_BYTES;
}

bool feed_next(Feed *feed, RecordType *type, Record *record)
{
    VirtIOSerialDescError err;

    *type = records_next(&feed->records, &feed->bytes, &feed->length, record,
                         &err);
    if (*type == RECORD_MALFORMED) {
        feed_complain(feed, "malformed record: %s; opening it again",
                      err.text);
        feed_retry(feed);
        return false;
    }
    return *type != RECORD_MORE;
}

/* ------------------------------------------------------------------ */
/* Limit */

void feed_limit(Feed *feed, unsigned int changes)
{
    int64_t earned = (now_ms() - feed->changes_at) * CHANGES_PER_SECOND / 1000;

    feed->changes -= changes;
    if (earned > 0) {
        feed->changes_at = now_ms();
        feed->changes = MIN(feed->changes + earned, CHANGES_BURST);
    }
    if (feed->changes < 0 && feed->fd >= 0) {
        feed_complain(feed, "too many changes; slowing down");
        feed->paused = true;
        feed->retry_at = now_ms() - feed->changes * 1000 / CHANGES_PER_SECOND;
        epoll_ctl(feed->epoll, EPOLL_CTL_DEL, feed->fd, NULL);
    }
}

void feed_resume(Feed *feed)
{
    feed->paused = false;
    listen_to(feed, EPOLL_CTL_ADD);
}
