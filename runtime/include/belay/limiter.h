/* limiter.h - a number of tokens, and who has borrowed one.
 *
 * As a semaphore it bounds how many do something at once. But it knows its
 * borrowers: each has one token at most, a token is held by a block, and the
 * total may be changed while it is in use, to slow a service down or to let
 * more through. Tokens are given strictly in the order in which tasks began to
 * wait; waiting and borrowing take no memory but the block's.
 *
 * It lies in the caller's memory and need not be finished; no block may be
 * open and no task waiting when that memory goes.
 */
#ifndef BELAY_LIMITER_H
#define BELAY_LIMITER_H

#include <belay/sync.h>

BELAY_BEGIN_DECLS

/* Filled by belay_limiter_init(). */
struct belay_limiter {
    struct belay_waiters waiters;
    struct belay__borrower *borrowers; /* those that wait included */
    uint32_t total;
    uint32_t borrowed; /* more than the total after that was lowered */
};

/* How a limiter stands. */
struct belay_limiter_stats {
    size_t size; /* of this struct, filled by the caller */
    uint32_t total;
    uint32_t borrowed;
    uint32_t available; /* what could be borrowed now */
    size_t waiting;     /* tasks */
};

/**
 * belay_limiter_init - a limiter with so many tokens
 *
 *   limiter  the caller's memory
 *   total    0 is legal: all wait until there are more; UINT32_MAX is as good
 *            as no limit
 *
 * Owner:   the memory stays the caller's; nothing needs to be finished.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: trio.CapacityLimiter.
 */
BELAY_API void belay_limiter_init(
    struct belay_limiter *limiter, uint32_t total);

/**
 * belay_limiter_open - an enter operation: the task borrows a token
 *
 *   limiter  must live until the block is left
 *
 * Owner:   the block has the token. On an exit stack it stays with the task
 *          (BELAY_EPINNED).
 * Errors:  BELAY_ENOMEM     nothing has changed
 *          BELAY_ECANCELED  flagged: no token was borrowed
 *          BELAY_EDEADLK    the task has borrowed one already; nothing has
 *                           changed
 * Threads: loop thread. Entering is a cancellation point, leaving is not.
 * Since:   0.1. Source: contract S10, S11 (trio.CapacityLimiter).
 */
BELAY_API BELAY_TOKEN belay_limiter_open(
    belay_task *task, struct belay_limiter *limiter);

/**
 * belay_limiter_open_for - borrow a token on behalf of an object
 *
 *   limiter   must live until the block is left
 *   borrower  whatever the token is for, as a connection or a customer; only
 *             its address counts; NULL: the task
 *
 * While one task has a token for an object, or waits for one, no other can
 * borrow for it.
 *
 * Owner:   as belay_limiter_open(); the borrower stays the caller's.
 * Errors:  as belay_limiter_open(), BELAY_EDEADLK if there is a token for the
 *          borrower already, or a task that waits for one.
 * Threads: as belay_limiter_open().
 * Since:   0.1. Source: trio.CapacityLimiter.acquire_on_behalf_of.
 */
BELAY_API BELAY_TOKEN belay_limiter_open_for(
    belay_task *task, struct belay_limiter *limiter, const void *borrower);

/**
 * belay_limiter_try_open - borrow a token if there is one now
 *
 *   limiter   must live until the block is left
 *   borrower  as for belay_limiter_open_for()
 *
 * Owner:   as belay_limiter_open_for().
 * Errors:  BELAY_ENOMEM   nothing has changed
 *          BELAY_EAGAIN   all tokens are borrowed; nothing has changed
 *          BELAY_EDEADLK  as for belay_limiter_open_for()
 * Threads: loop thread. Entering and leaving are no cancellation points.
 * Since:   0.1. Source: trio.CapacityLimiter.acquire_on_behalf_of_nowait.
 */
BELAY_API BELAY_TOKEN belay_limiter_try_open(
    belay_task *task, struct belay_limiter *limiter, const void *borrower);

/**
 * belay_limiter_set_total - change the number of tokens
 *
 *   limiter  not NULL
 *   total    as for belay_limiter_init()
 *
 * More tokens go to those who wait. With fewer than are borrowed nothing is
 * taken away: new ones are given once enough have come back.
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread; legal in every callback. Runs no step itself.
 * Since:   0.1. Source: trio.CapacityLimiter.total_tokens.
 */
BELAY_API void belay_limiter_set_total(
    struct belay_limiter *limiter, uint32_t total);

/**
 * belay_limiter_get_stats - tokens, and how many tasks wait for one
 *
 *   limiter  not NULL
 *   ret      its size field filled in
 *
 * Owner:   ret stays the caller's.
 * Errors:  BELAY_EINVAL  a size this library does not know; ret untouched
 * Threads: loop thread; legal in every callback. Counts the waiting tasks.
 * Since:   0.1. Source: trio.CapacityLimiterStatistics.
 */
BELAY_API int belay_limiter_get_stats(
    const struct belay_limiter *limiter, struct belay_limiter_stats *ret);

BELAY_END_DECLS

#endif
