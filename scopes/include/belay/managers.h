/* managers.h - small managers that every program needs.
 *
 * All are for BELAY_WITH, belay_stack_enter() and belay_hold_open(). Entering
 * and leaving them are no checkpoints, but for what an async close waits for.
 * Rules: S73-S107.
 */
#ifndef BELAY_MANAGERS_H
#define BELAY_MANAGERS_H

#include <belay/async.h>
#include <belay/context.h>

BELAY_BEGIN_DECLS

#define BELAY_SUPPRESSING_MAX 16   /* codes */
#define BELAY_SETTING_MAX_BYTES 64 /* of a cell */

/* Codes for belay_suppressing(), as two arguments: their array, their count. */
#define BELAY_CODES(...) \
    (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int)

/**
 * belay_null - a manager that does nothing
 *
 *   value  what the enter gives, as a real manager would; may be NULL
 *
 * Owner:   the value stays the caller's.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S107 (contextlib.nullcontext).
 */
BELAY_API BELAY_TOKEN belay_null(belay_task *task, void *value);

/**
 * belay_closing - close an object when the block is left
 *
 *   close   not NULL; called once, however the block ends
 *   object  for close; also what the enter gives; must live until then
 *
 * Owner:   once entered the block owes the close; else the caller.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S107 (contextlib.closing).
 */
BELAY_API BELAY_TOKEN belay_closing(
    belay_task *task, void (*close)(void *object), void *object);

/**
 * belay_closing_async - the same with a close that may wait
 *
 *   close   not NULL; a step that is given `object` as its self and returns
 *           the token of what closes it
 *   object  also what the enter gives; must live until the close is done
 *
 * The close is shielded as every exit is: a cancel reaches it when the grace
 * is over.
 *
 * Owner:   once entered the block owes the close; else the caller.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 *          else, from the exit, what the close fails with.
 * Threads: loop thread. Entering is no checkpoint. Leaving waits for the
 *          close.
 * Since:   0.1. Source: contract S99, S107 (contextlib.aclosing).
 */
BELAY_API BELAY_TOKEN belay_closing_async(
    belay_task *task, belay_step *close, void *object);

/**
 * belay_defer - call a function when the block is left
 *
 *   fn   not NULL; called once, however the block ends; sees no outcome
 *   arg  for fn; must live until then
 *
 * Owner:   once entered the block owes the call; else the caller.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S82 (ExitStack.callback, Go's defer).
 */
BELAY_API BELAY_TOKEN belay_defer(
    belay_task *task, void (*fn)(void *arg), void *arg);

/**
 * belay_suppressing - some errors end the block, but are none behind it
 *
 *   codes  `count` negative codes, copied; BELAY_CODES() writes both
 *   count  at most BELAY_SUPPRESSING_MAX; 0 suppresses nothing
 *
 * Of a group error the listed failures are taken out, also of groups in it,
 * and the rest goes on; failures of which only the number is known stay. With
 * BELAY_EGROUP in the list it goes as a whole. A cancel by the runtime is
 * never suppressed, whatever is listed.
 *
 * Owner:   codes stay the caller's; a suppressed error is released.
 * Errors:  BELAY_EINVAL  count is too large; not entered
 *          BELAY_ENOMEM  not entered; nothing has changed
 *          A group error that cannot be split for want of memory goes on
 *          whole; so does one with more than 10,000 groups in it, a shared one
 *          counted wherever it is, but for twins side by side; and what is
 *          more than 64 groups deep stays as it is.
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S81, S84, S107 (contextlib.suppress).
 */
BELAY_API BELAY_TOKEN belay_suppressing(
    belay_task *task, const int *codes, size_t count);

/**
 * belay_stopwatch - how long the block has taken
 *
 *   ret  receives the span when the block is left, however; must live until
 *        then; untouched before
 *
 * Owner:   ret stays the caller's.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S45 (the runtime's clock).
 */
BELAY_API BELAY_TOKEN belay_stopwatch(belay_task *task, belay_duration *ret);

/**
 * belay_setting - give a cell of memory another value for the block
 *
 *   cell   `bytes` bytes; must live until the block is left
 *   value  as many; copied before the call returns
 *   bytes  at most BELAY_SETTING_MAX_BYTES
 *
 * However the block is left, the cell is then as it was before. It is set
 * when the block is entered and for every task that looks at it; for a value
 * per task see belay_var_open().
 *
 * Owner:   cell and value stay the caller's.
 * Errors:  BELAY_EINVAL  bytes is too large; nothing has changed
 *          BELAY_ENOMEM  not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: api.md, one concept with a lifetime.
 */
BELAY_API BELAY_TOKEN belay_setting(
    belay_task *task, void *cell, const void *value, size_t bytes);

/**
 * belay_var_open - give a context variable another value for the block
 *
 *   var    not NULL
 *   value  may be NULL
 *
 * Tasks that are spawned in the block keep the value in their snapshot.
 *
 * Owner:   once entered the context owns the value (belay_var.destroy); else
 *          the caller.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 *          BELAY_ESTATE  from the exit: a set of the block has not been reset;
 *                        the variables stay as they are
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S118-S120 (Token as a context manager).
 */
BELAY_API BELAY_TOKEN belay_var_open(
    belay_task *task, const struct belay_var *var, void *value);

BELAY_END_DECLS

#endif
