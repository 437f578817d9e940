/* sync.h - what tasks of one runtime wait on: event, semaphore, channel.
 *
 * All three are for one loop thread and need no lock. Waiters are served in
 * the order in which they began to wait. A wait that was cancelled has not
 * happened: no permit is taken, no item is lost (contract S11). The objects
 * live in the caller's memory; no task may be waiting when one is finished.
 */
#ifndef BELAY_SYNC_H
#define BELAY_SYNC_H

#include <belay/task.h>

BELAY_BEGIN_DECLS

/* A queue of waiting tasks; part of the objects below, not for direct use. A
 * ring, in which it stands itself while a task waits; else it is all NULL, so
 * that the object may be copied then.
 */
struct belay_waiters {
    struct belay_waiters *next;
    struct belay_waiters *prev;
};

/* A flag that tasks can wait for. {0} is a clear event. */
struct belay_event {
    struct belay_waiters waiters;
    bool set;
};

/* A number of permits, given strictly first come, first served. */
struct belay_semaphore {
    struct belay_waiters waiters;
    uint32_t permits; /* free now */
};

/**
 * belay_event_set - set the flag; every waiting task goes on
 *
 *   event  not NULL
 *
 * Owner:   the event stays the caller's.
 * Errors:  none; setting it again changes nothing.
 * Threads: loop thread; legal in every callback. Runs no step itself.
 * Since:   0.1. Source: asyncio.Event.
 */
BELAY_API void belay_event_set(struct belay_event *event);

/**
 * belay_event_clear - clear the flag
 *
 *   event  not NULL; tasks released by an earlier set stay released
 *
 * Owner:   the event stays the caller's.
 * Errors:  none.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: asyncio.Event.
 */
BELAY_API void belay_event_clear(struct belay_event *event);

/**
 * belay_event_wait - wait until the flag is set
 *
 *   event  must live until the wait is over
 *
 * Owner:   the event stays the caller's.
 * Errors:  BELAY_ECANCELED, flagged, when cancelled.
 * Threads: loop thread. Cancellation point, also if the flag is set already.
 * Since:   0.1. Source: asyncio.Event; contract S29.
 */
BELAY_API BELAY_TOKEN belay_event_wait(
    belay_task *task, struct belay_event *event);

/**
 * belay_semaphore_init - a semaphore with so many permits
 *
 *   semaphore  the caller's memory
 *   permits    free at first; 0 is legal
 *
 * Owner:   the memory stays the caller's; nothing needs to be finished.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: asyncio.Semaphore.
 */
BELAY_API void belay_semaphore_init(
    struct belay_semaphore *semaphore, uint32_t permits);

/**
 * belay_semaphore_acquire - take a permit, wait for one if need be
 *
 *   semaphore  must live until the wait is over
 *
 * Strictly first come, first served: a permit that is free while others wait
 * is theirs.
 *
 * Owner:   on success the caller owes one belay_semaphore_release().
 * Errors:  BELAY_ECANCELED, flagged: no permit was taken.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract S11.
 */
BELAY_API BELAY_TOKEN belay_semaphore_acquire(
    belay_task *task, struct belay_semaphore *semaphore);

/**
 * belay_semaphore_try - take a permit if one is free and nobody waits
 *
 *   semaphore  not NULL
 *
 * Owner:   on success the caller owes one belay_semaphore_release().
 * Errors:  BELAY_EAGAIN  none is free; nothing has changed
 * Threads: loop thread. Not a cancellation point.
 * Since:   0.1. Source: trio.Semaphore.acquire_nowait.
 */
BELAY_API int belay_semaphore_try(struct belay_semaphore *semaphore);

/**
 * belay_semaphore_release - give a permit back, or one more
 *
 *   semaphore  not NULL
 *
 * Owner:   the longest waiting task has the permit from this moment on.
 * Errors:  none; more than UINT32_MAX free permits abort.
 * Threads: loop thread; legal in every callback. Runs no step itself.
 * Since:   0.1. Source: asyncio.Semaphore.
 */
BELAY_API void belay_semaphore_release(struct belay_semaphore *semaphore);

/**
 * belay_semaphore_open - an enter operation: hold a permit for a block
 *
 *   semaphore  must live until the block is left
 *
 * Owner:   the block holds the permit.
 * Errors:  BELAY_ENOMEM     nothing has changed
 *          BELAY_ECANCELED  flagged: no permit was taken
 * Threads: loop thread. Entering is a cancellation point.
 * Since:   0.1. Source: `async with semaphore`.
 */
BELAY_API BELAY_TOKEN belay_semaphore_open(
    belay_task *task, struct belay_semaphore *semaphore);

typedef struct belay_channel belay_channel; /* opaque */

/**
 * belay_channel_new - a bounded queue between tasks
 *
 *   runtime     whose tasks will use it
 *   capacity    items it holds; 0: every send waits for its receiver
 *   item_bytes  size of one item, which is copied in and out; not 0
 *   ret         receives the channel; untouched on failure
 *
 * Owner:   the caller frees it with belay_channel_free(), also after the
 *          runtime has been closed.
 * Errors:  BELAY_EINVAL  item_bytes is 0, or the product overflows
 *          BELAY_ENOMEM  nothing has changed
 * Threads: loop thread.
 * Since:   0.1. Source: trio.open_memory_channel.
 */
BELAY_API int belay_channel_new(belay_runtime *runtime, size_t capacity,
    size_t item_bytes, belay_channel **ret);

/**
 * belay_channel_free - the end of a channel
 *
 *   channel  NULL is legal; no task may be waiting on it (aborts)
 *
 * Owner:   items still inside are dropped as bytes.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: api.md.
 */
BELAY_API void belay_channel_free(belay_channel *channel);

/**
 * belay_channel_close - no more sends
 *
 *   channel  not NULL
 *
 * Waiting and later sends fail; receivers get what is inside, then the end.
 *
 * Owner:   the channel stays the caller's.
 * Errors:  none; closing it again changes nothing.
 * Threads: loop thread; legal in every callback. Runs no step itself.
 * Since:   0.1. Source: trio.MemorySendChannel.
 */
BELAY_API void belay_channel_close(belay_channel *channel);

/**
 * belay_channel_send - put an item in, wait for room if need be
 *
 *   channel  must live until the send is over
 *   item     item_bytes bytes; must live until the send is over
 *
 * Owner:   the item is copied.
 * Errors:  BELAY_ECANCELED  flagged: the item was not sent
 *          BELAY_ECLOSED    the channel is closed: the item was not sent
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract S11.
 */
BELAY_API BELAY_TOKEN belay_channel_send(
    belay_task *task, belay_channel *channel, const void *item);

/**
 * belay_channel_receive - take the oldest item out, wait for one if need be
 *
 *   channel  must live until the receive is over
 *   ret      item_bytes bytes; must live until the receive is over; untouched
 *            on failure
 *
 * Owner:   the item is copied.
 * Errors:  BELAY_ECANCELED  flagged: no item was taken
 *          BELAY_ECLOSED    closed and empty
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract S11.
 */
BELAY_API BELAY_TOKEN belay_channel_receive(
    belay_task *task, belay_channel *channel, void *ret);

/**
 * belay_channel_count - items inside now
 *
 *   channel  not NULL
 *
 * Owner:   the channel stays the caller's.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: trio.MemoryChannelStatistics.
 */
BELAY_API size_t belay_channel_count(const belay_channel *channel);

BELAY_END_DECLS

#endif
