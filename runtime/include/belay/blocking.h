/* blocking.h - calls that block, on a thread of libuv's pool.
 *
 * For what has no asynchronous form: a library that waits, a long
 * computation. The pool is the process's (UV_THREADPOOL_SIZE, 4 threads by
 * default) and its queue has no limit of its own: bound what you hand it, for
 * example by a semaphore. Rules: S122, S128, S129.
 */
#ifndef BELAY_BLOCKING_H
#define BELAY_BLOCKING_H

#include <belay/context.h>
#include <belay/task.h>

BELAY_BEGIN_DECLS

/* Runs on a thread of the pool; 0 or a negative code, which is delivered (a
 * positive one as BELAY_EINVAL). May call nothing of Belay but what its header
 * marks "any thread", and belay_blocking_var().
 */
typedef int belay_blocking_fn(void *arg);

/**
 * belay_blocking - run a function on a thread and wait for it
 *
 *   fn   not NULL
 *   arg  for fn
 *
 * A cancel keeps a function from starting that still waits for a thread. One
 * that runs cannot be stopped: the task waits until it has returned, gets its
 * result, and sees the cancel at its next checkpoint.
 *
 * Owner:   arg stays the caller's and must live until the wait is over.
 * Errors:  what fn returns;
 *          BELAY_ECANCELED  flagged: fn has not run and will not
 *          BELAY_ENOMEM     fn has not run
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract, abort protocol (trio.to_thread.run_sync).
 */
BELAY_API BELAY_TOKEN belay_blocking(
    belay_task *task, belay_blocking_fn *fn, void *arg);

/**
 * belay_blocking_or_abandon - the same, but a cancel does not wait for fn
 *
 *   fn       not NULL; may go on after the task has gone on
 *   arg      for fn
 *   release  NULL, or called with arg on the loop thread when fn has returned
 *            or will not run; exactly once, however the call ends
 *
 * When cancelled, the task goes on at once and fn finishes unobserved; its
 * code is lost. Closing the runtime waits for it.
 *
 * Owner:   arg is taken over, also if the call fails; the task may look at it
 *          only through what release shares with it.
 * Errors:  what fn returns;
 *          BELAY_ECANCELED  flagged: fn has not run, or is abandoned
 *          BELAY_ENOMEM     fn has not run
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract, abort protocol (abandon_on_cancel of trio).
 */
BELAY_API BELAY_TOKEN belay_blocking_or_abandon(belay_task *task,
    belay_blocking_fn *fn, void *arg, void (*release)(void *arg));

/**
 * belay_blocking_var - the value of a context variable, inside a blocking fn
 *
 *   var  not NULL
 *
 * What the task that made the call saw at that moment.
 *
 * Owner:   the value belongs to the context and lives until fn returns; to be
 *          read only, since the loop thread may read it too. NULL if unset.
 * Errors:  none.
 * Threads: only inside fn, on its thread; NULL anywhere else.
 * Since:   0.1. Source: contract S122.
 */
BELAY_API void *belay_blocking_var(const struct belay_var *var);

BELAY_END_DECLS

#endif
