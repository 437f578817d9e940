/* timeout.h - cancel scopes: timeout, move-on, shield.
 *
 * Each is a context manager. Inside a cancelled scope every checkpoint ends
 * with a cancel until the scope is left (level-triggered; there is no
 * uncancel). Rules: S1-S45.
 */
#ifndef BELAY_TIMEOUT_H
#define BELAY_TIMEOUT_H

#include <belay/async.h>

BELAY_BEGIN_DECLS

/* Opaque; its block's, or prepared and then its maker's. */
typedef struct belay_cancel_scope belay_cancel_scope;

/* How a cancel scope ended; complete when its block has been left. */
struct belay_cancel_status {
    bool caught;    /* it absorbed a cancel */
    bool cancelled; /* it was cancelled, by whatever cause */
    bool expired;   /* its deadline has passed */
};

/* Options for belay_cancel_scope_open(). A zero field means its default. */
struct belay_cancel_scope_opts {
    size_t size;      /* of this struct; BELAY_CANCEL_SCOPE_OPTS() fills it */
    const char *name; /* static text; default "cancel scope" */
    belay_duration timeout; /* from the entry; default none */
    belay_time deadline;    /* on the runtime's clock; default none; with both
                               the earlier one counts */
    bool shield; /* cancels from outside wait until the block is left … */
    belay_duration grace; /* … or for this long after the first one; without a
                             shield: what exits get once this scope is
                             cancelled. Default: shield without end; exits,
                             the runtime's. BELAY_NO_GRACE: none */
    bool fail_on_timeout; /* an absorbed deadline fails with ETIMEDOUT */
    struct belay_cancel_status *status; /* NULL, or filled when left */
};
#define BELAY_CANCEL_SCOPE_OPTS(...)          \
    (&(const struct belay_cancel_scope_opts){ \
        .size = sizeof(struct belay_cancel_scope_opts), __VA_ARGS__})

/**
 * belay_timeout - fail the block if it takes longer
 *
 *   span  counted from the entry; BELAY_FOREVER arms no timer; zero or less:
 *         the first checkpoint of the body fails
 *
 * Owner:   the block.
 * Errors:  BELAY_ETIMEDOUT  the deadline passed and its cancel ended the body
 *          BELAY_ENOMEM     not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S30-S45 (asyncio.timeout, trio.fail_after).
 */
BELAY_API BELAY_TOKEN belay_timeout(belay_task *task, belay_duration span);

/**
 * belay_timeout_at - fail the block if it is not done by then
 *
 *   when  on the runtime's clock; in the past: the first checkpoint of the body
 *         fails
 *
 * Owner:   the block.
 * Errors:  BELAY_ETIMEDOUT  the deadline passed and its cancel ended the body
 *          BELAY_ENOMEM     not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: trio.fail_at; libdill's absolute deadlines.
 */
BELAY_API BELAY_TOKEN belay_timeout_at(belay_task *task, belay_time when);

/**
 * belay_move_on - leave the block if it takes longer, and go on behind it
 *
 *   span        as for belay_timeout()
 *   ret_status  NULL, or filled when the block is left; must live until then
 *
 * Owner:   the block.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S31 (trio.move_on_after).
 */
BELAY_API BELAY_TOKEN belay_move_on(belay_task *task, belay_duration span,
    struct belay_cancel_status *ret_status);

/**
 * belay_shield - keep cancels from outside away from the block
 *
 *   grace  how long, counted from the first cancel that would have been seen;
 *          BELAY_FOREVER: until the block is left
 *
 * Owner:   the block.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S24, S25, S99-S102.
 */
BELAY_API BELAY_TOKEN belay_shield(belay_task *task, belay_duration grace);

/**
 * belay_cancel_scope_open - a cancel scope with all its settings
 *
 *   opts  NULL for all defaults; copied
 *   ret   NULL, or receives the scope once entered; untouched on failure
 *
 * Owner:   the block.
 * Errors:  BELAY_EINVAL  opts->size is one this library does not know
 *          BELAY_ENOMEM  not entered; nothing has changed
 *          BELAY_ETIMEDOUT from the exit, see fail_on_timeout
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: trio.CancelScope.
 */
BELAY_API BELAY_TOKEN belay_cancel_scope_open(belay_task *task,
    const struct belay_cancel_scope_opts *opts, belay_cancel_scope **ret);

/**
 * belay_cancel_scope_new - a cancel scope for later, with a life of its own
 *
 *   runtime  whose task will enter it
 *   opts     NULL for all defaults; copied; a timeout counts from the entry
 *   ret      receives the scope; untouched on failure
 *
 * It can be handed to others before its block is open: cancelled, moved and
 * shielded, and looked at after its block is left.
 *
 * Owner:   the caller frees it with belay_cancel_scope_free().
 * Errors:  BELAY_EINVAL  opts->size is one this library does not know
 *          BELAY_ENOMEM  nothing has changed
 * Threads: loop thread.
 * Since:   0.1. Source: contract S17, S18, S39 (trio.CancelScope()).
 */
BELAY_API int belay_cancel_scope_new(belay_runtime *runtime,
    const struct belay_cancel_scope_opts *opts, belay_cancel_scope **ret);

/**
 * belay_cancel_scope_free - the end of a scope of belay_cancel_scope_new()
 *
 *   scope  NULL is legal; while its block is open it aborts
 *
 * Owner:   the scope is gone. Before the runtime is closed.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S17.
 */
BELAY_API void belay_cancel_scope_free(belay_cancel_scope *scope);

/**
 * belay_cancel_scope_enter - enter a prepared scope, once
 *
 *   scope  of belay_cancel_scope_new(); must live until the block is left
 *
 * If it was cancelled before, the body's first checkpoint fails.
 *
 * Owner:   the scope stays its maker's.
 * Errors:  BELAY_ESTATE  it was entered before, by whatever task
 *          BELAY_EINVAL  it is of another runtime
 *          BELAY_ENOMEM  no memory; it may still be entered
 *          In each case nothing has changed.
 *          BELAY_ETIMEDOUT from the exit, see fail_on_timeout
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract S17, S18, S115.
 */
BELAY_API BELAY_TOKEN belay_cancel_scope_enter(
    belay_task *task, belay_cancel_scope *scope);

/**
 * belay_cancel_scope_cancel - cancel what runs inside, or will
 *
 *   scope  not NULL; open, prepared or left
 *   text   why; static text or NULL
 *
 * Only marks; nothing runs inside the call. A prepared scope may be cancelled
 * before it is entered; once it was left nothing changes.
 *
 * Owner:   nothing changes hands.
 * Errors:  none; a second cancel is a no-op and the first reason is kept.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract S2-S6.
 */
BELAY_API void belay_cancel_scope_cancel(
    belay_cancel_scope *scope, const char *text);

/**
 * belay_cancel_scope_move - move the deadline of an open or prepared scope
 *
 *   scope  not NULL
 *   when   on the runtime's clock; INT64_MAX ns: never
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ESTATE  it is cancelled, expired or left; nothing has changed
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract S39, S42.
 */
BELAY_API int belay_cancel_scope_move(
    belay_cancel_scope *scope, belay_time when);

/**
 * belay_cancel_scope_set_shield - raise or drop a scope's shield
 *
 *   scope   not NULL; if it was left nothing changes
 *   shield  false lets a cancel that waits outside in at once
 *
 * What the grace in the options is for stays: without a shield among them, what
 * exits get. A shield that is raised then has no end of its own.
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract S25, S26.
 */
BELAY_API void belay_cancel_scope_set_shield(
    belay_cancel_scope *scope, bool shield);

/**
 * belay_cancel_scope_status - how an open or prepared scope stands
 *
 *   scope  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S20, S35.
 */
BELAY_API struct belay_cancel_status belay_cancel_scope_status(
    const belay_cancel_scope *scope);

BELAY_END_DECLS

#endif
