/* hold.h - a scope that any task may close.
 *
 * Scopes of a task are left innermost first and by that task only. A hold is
 * for what has another life: a task of its own enters the manager, keeps it
 * open until somebody asks for the close, and runs the exit. So holds can be
 * closed in any order and from any task, and nothing misnests.
 */
#ifndef BELAY_HOLD_H
#define BELAY_HOLD_H

#include <belay/group.h>

BELAY_BEGIN_DECLS

typedef struct belay_hold belay_hold; /* opaque, counted */

/**
 * belay_hold_open - have a task of the group open a manager and keep it open
 *
 *   group  not NULL; its exit waits until the hold is closed
 *   enter  the token of an enter operation; it runs in the hold's own task
 *   name   of that task; static text, or NULL for the manager's name
 *   ret    receives the hold once entered; untouched on failure
 *
 * belay_result() holds the enter's value. A failure of the exit, or a cancel
 * of the manager's own scope, ends the hold's task and is the group's to deal
 * with, as of any child. What the group's cancel ends, it closes.
 *
 * Owner:   *ret is the caller's to unref; with the last reference the close
 *          is asked for.
 * Errors:  BELAY_ENOMEM     nothing has run
 *          BELAY_ESTATE     the group has ended; nothing has run
 *          BELAY_ECANCELED  flagged: the caller was cancelled first, which
 *                           may hide the others; the exit has run if the
 *                           manager was open, also if a shield
 *                           in it kept that cancel off
 *          else what the enter fails with.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract, The holder (python-sdk #79, fastmcp #533).
 */
BELAY_API BELAY_TOKEN belay_hold_open(belay_task *task, belay_group *group,
    belay_next enter, const char *name, belay_hold **ret);

/**
 * belay_hold_value - what the enter has given
 *
 *   hold  not NULL
 *
 * Owner:   the manager says how long it is good; no longer than the hold is
 *          open.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract, The holder.
 */
BELAY_API void *belay_hold_value(const belay_hold *hold);

/**
 * belay_hold_is_open - can what it holds still be used?
 *
 *   hold  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none; false from the moment on that the exit begins.
 * Threads: loop thread.
 * Since:   0.1. Source: contract, The holder.
 */
BELAY_API bool belay_hold_is_open(const belay_hold *hold);

/**
 * belay_hold_ask - ask for the close, and do not wait for it
 *
 *   hold  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none; asking again changes nothing.
 * Threads: loop thread; legal in every callback. Not a cancellation point.
 * Since:   0.1. Source: contract, The holder.
 */
BELAY_API void belay_hold_ask(belay_hold *hold);

/**
 * belay_hold_close - ask for the close and wait until the exit has run
 *
 *   hold  on which the caller has a reference until then
 *
 * Delivers 0 however the exit has ended: its failure is the group's.
 *
 * Owner:   the reference stays the caller's.
 * Errors:  BELAY_ECANCELED  flagged: the caller was cancelled
 *          BELAY_EDEADLK    the caller is below what is held, which would
 *                           wait for it
 *          In both cases the close has been asked for.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract, The holder; S71.
 */
BELAY_API BELAY_TOKEN belay_hold_close(belay_task *task, belay_hold *hold);

/**
 * belay_hold_ref - one more reference, as for another owner
 *
 *   hold  not NULL
 *
 * Owner:   the caller has one reference more.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract, The holder.
 */
BELAY_API belay_hold *belay_hold_ref(belay_hold *hold);

/**
 * belay_hold_unref - give a reference back
 *
 *   hold  NULL is legal
 *
 * Owner:   with the last one the close is asked for; the hold's task still
 *          runs the exit. Before the runtime is closed.
 * Errors:  none.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract, The holder.
 */
BELAY_API void belay_hold_unref(belay_hold *hold);

BELAY_END_DECLS

#endif
