/* lock.h - one task at a time: a lock, and conditions that go with it.
 *
 * On one loop thread nothing interrupts a step; a lock is for what must stay
 * undivided across awaits. It is held by a block, so it cannot be forgotten,
 * and by a task, which is checked. Tasks get it strictly in the order in which
 * they began to wait: whoever leaves the block hands it on, and nobody comes
 * in between. Waiting takes no memory.
 *
 *     BELAY_WITH (belay_lock_open(task, &self->queue->lock)) {
 *         BELAY_AWAIT(belay_condition_wait_for(
 *             task, &self->queue->filled, is_filled, self->queue));
 *         take(self->queue);
 *     }
 *
 * Who has the lock must not wait for a task that may be waiting for one of its
 * conditions: not join it, nor leave a group that it is in. Whatever ends that
 * task's wait, a notify or a cancel, it needs the lock before it goes on; the
 * two would wait for each other, and no cancel and no grace would part them.
 *
 * Both objects lie in the caller's memory and need not be finished; no task
 * may be waiting when that memory goes.
 */
#ifndef BELAY_LOCK_H
#define BELAY_LOCK_H

#include <belay/sync.h>

BELAY_BEGIN_DECLS

/* {0} is a free lock. */
struct belay_lock {
    struct belay_waiters waiters;
    belay_task *owner; /* NULL: free */
};

/* How a lock stands. */
struct belay_lock_stats {
    size_t size;            /* of this struct, filled by the caller */
    const char *owner_name; /* of the task that has it; NULL: free */
    uint64_t owner_id;      /* of that task, or 0 */
    size_t waiting;         /* tasks, those that a notify has sent included */
};

/**
 * belay_lock_open - an enter operation: hold the lock for a block
 *
 *   lock  must live until the block is left
 *
 * Owner:   the task that opens the block. On an exit stack the block stays
 *          with that task (BELAY_EPINNED).
 * Errors:  BELAY_ENOMEM     nothing has changed
 *          BELAY_ECANCELED  flagged: the task does not have the lock
 *          BELAY_EDEADLK    the task has it already; nothing has changed
 * Threads: loop thread. Entering is a cancellation point, leaving is not.
 * Since:   0.1. Source: contract S10, S11 (trio.Lock, trio.StrictFIFOLock).
 */
BELAY_API BELAY_TOKEN belay_lock_open(
    belay_task *task, struct belay_lock *lock);

/**
 * belay_lock_try_open - an enter operation: hold the lock if it is free now
 *
 *   lock  must live until the block is left
 *
 * Inside of belay_suppressing(task, BELAY_CODES(BELAY_EAGAIN)) the block is
 * skipped while others have the lock.
 *
 * Owner:   as belay_lock_open().
 * Errors:  BELAY_ENOMEM   nothing has changed
 *          BELAY_EAGAIN   another task has it; nothing has changed
 *          BELAY_EDEADLK  the task has it already; nothing has changed
 * Threads: loop thread. Entering and leaving are no cancellation points.
 * Since:   0.1. Source: trio.Lock.acquire_nowait, anyio.ResourceGuard.
 */
BELAY_API BELAY_TOKEN belay_lock_try_open(
    belay_task *task, struct belay_lock *lock);

/**
 * belay_lock_get_stats - who has the lock, and how many wait
 *
 *   lock  not NULL
 *   ret   its size field filled in
 *
 * Owner:   ret stays the caller's; the name is good as long as the task.
 * Errors:  BELAY_EINVAL  a size this library does not know; ret untouched
 * Threads: loop thread; legal in every callback. Counts the waiting tasks.
 * Since:   0.1. Source: trio.LockStatistics.
 */
BELAY_API int belay_lock_get_stats(
    const struct belay_lock *lock, struct belay_lock_stats *ret);

/* Something to wait for that others change under the same lock. */
struct belay_condition {
    struct belay_waiters waiters;
    struct belay_lock *lock;
};

/**
 * belay_condition_init - a condition of what a lock guards
 *
 *   condition  the caller's memory
 *   lock       not NULL; must live as long; may have several conditions
 *
 * Owner:   the memory stays the caller's; nothing needs to be finished.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: trio.Condition.
 */
BELAY_API void belay_condition_init(
    struct belay_condition *condition, struct belay_lock *lock);

/**
 * belay_condition_wait - give the lock up, wait for a notify, have it again
 *
 *   condition  must live until the wait is over
 *
 * However the wait ends, the task has the lock, so the block round it can be
 * left as always; a cancelled wait too waits for the lock, and no cancel and
 * no grace cuts that short. Between the notify and the return others may have
 * had the lock: look again at what was waited for, or let
 * belay_condition_wait_for() do so.
 *
 * Owner:   the condition stays the caller's.
 * Errors:  BELAY_ECANCELED  flagged: no notify was used up by this wait
 *          BELAY_EOWNER     the task does not have the lock; nothing has
 *                           changed
 * Threads: loop thread. Cancellation point until notified; a cancel after
 *          that waits for the next one.
 * Since:   0.1. Source: contract S10, S11 (trio.Condition.wait, where such a
 *          cancel loses the notify).
 */
BELAY_API BELAY_TOKEN belay_condition_wait(
    belay_task *task, struct belay_condition *condition);

/* Is it so? Asked while the task has the lock; must not wait. */
typedef bool belay_ready_fn(void *arg);

/**
 * belay_condition_wait_for - wait until something is so
 *
 *   condition  must live until the wait is over
 *   ready      not NULL; asked at once, and again after each notify
 *   arg        for ready; must live as long
 *
 * Owner:   condition and arg stay the caller's.
 * Errors:  BELAY_ECANCELED  flagged
 *          BELAY_EOWNER     the task does not have the lock; nothing has
 *                           changed
 *          BELAY_ENOMEM     nothing has changed
 *          In each case the task has the lock if it had it before.
 * Threads: loop thread. Cancellation point, also if it is so already.
 * Since:   0.1. Source: asyncio.Condition.wait_for.
 */
BELAY_API BELAY_TOKEN belay_condition_wait_for(belay_task *task,
    struct belay_condition *condition, belay_ready_fn *ready, void *arg);

/**
 * belay_condition_notify - let waiting tasks go on, the longest waiting first
 *
 *   condition  not NULL
 *   count      how many at most; SIZE_MAX: all of them
 *
 * They queue for the lock, which the caller still has, behind those that wait
 * for it already.
 *
 * Owner:   the condition stays the caller's.
 * Errors:  BELAY_EOWNER  the task does not have the lock; nothing has changed
 * Threads: loop thread. Not a cancellation point. Runs no step itself.
 * Since:   0.1. Source: trio.Condition.notify, notify_all.
 */
BELAY_API int belay_condition_notify(
    const belay_task *task, struct belay_condition *condition, size_t count);

/**
 * belay_condition_waiting - tasks that wait for a notify
 *
 *   condition  not NULL
 *
 * Owner:   the condition stays the caller's.
 * Errors:  none.
 * Threads: loop thread; legal in every callback. Counts them one by one.
 * Since:   0.1. Source: trio.ConditionStatistics.
 */
BELAY_API size_t belay_condition_waiting(
    const struct belay_condition *condition);

BELAY_END_DECLS

#endif
