/* group.h - a scope that owns tasks.
 *
 * A group is a context manager: its exit waits until every child has ended,
 * exits included. The first failure cancels the other children and the body;
 * all failures are reported as one group error. Rules: S46-S72.
 */
#ifndef BELAY_GROUP_H
#define BELAY_GROUP_H

#include <belay/async.h>
#include <belay/context.h>

BELAY_BEGIN_DECLS

typedef struct belay_group belay_group; /* opaque; lives as long as its block */

enum belay_group_policy {
    BELAY_FAIL_FAST, /* a failure cancels the siblings and the body */
    BELAY_SUPERVISE, /* a failure is handed to on_child; siblings go on */
};

/* Called on the loop, outside any step, as each child ends. */
typedef void belay_child_fn(
    belay_task *child, const struct belay_result *result, void *arg);

/* Options for belay_group_open(). A zero field means its default. */
struct belay_group_opts {
    size_t size;      /* of this struct; BELAY_GROUP_OPTS() fills it */
    const char *name; /* static text; default "group" */
    enum belay_group_policy policy; /* default BELAY_FAIL_FAST */
    uint32_t max_running; /* children running at once; default no limit */
    uint32_t max_errors;  /* failures kept whole; default 64 */
    belay_child_fn *on_child;
    void *arg; /* for on_child */
};
#define BELAY_GROUP_OPTS(...)          \
    (&(const struct belay_group_opts){ \
        .size = sizeof(struct belay_group_opts), __VA_ARGS__})

/* Options for belay_group_spawn(). A zero field means its default. */
struct belay_spawn_opts {
    size_t size;       /* of this struct; BELAY_SPAWN_OPTS() fills it */
    const char *name;  /* static text; default the function's name */
    belay_task **task; /* receives a counted handle; default none */
    const belay_context *context; /* its variables; default the spawner's */
};
#define BELAY_SPAWN_OPTS(...)          \
    (&(const struct belay_spawn_opts){ \
        .size = sizeof(struct belay_spawn_opts), __VA_ARGS__})

/**
 * belay_group_open - enter a task group; use it in BELAY_WITH
 *
 *   opts  NULL for all defaults; copied before the call returns
 *   ret   receives the group once entered; untouched on failure
 *
 * The exit fails with BELAY_EGROUP if the body or a child failed (fail-fast).
 *
 * Owner:   the block; never pass the group to a longer-lived object.
 * Errors:  BELAY_EINVAL  opts->size is one this library does not know
 *          BELAY_ENOMEM  nothing has changed
 * Threads: loop thread. Entering is not a checkpoint; the exit waits until
 *          the last child has ended, also when cancelled.
 * Since:   0.1. Source: contract S46-S56 (trio nurseries, asyncio.TaskGroup).
 */
BELAY_API BELAY_TOKEN belay_group_open(
    belay_task *task, const struct belay_group_opts *opts, belay_group **ret);

/* Start a child: belay_spawn(group, greet, .whom = "world"); an int. */
#define belay_spawn(group, function, ...) \
    belay_group_spawn(                    \
        (group), &(function), &(const struct function){__VA_ARGS__}, NULL)

/**
 * belay_group_spawn - start a child task
 *
 *   group      not NULL
 *   function   not NULL
 *   arguments  function->size bytes, copied
 *   opts       NULL for all defaults
 *
 * The first step runs in a later turn, never inside the call, in the order of
 * the spawns; exactly once, also if the group is cancelled by then.
 *
 * Owner:   a handle asked for in opts is the caller's to unref.
 * Errors:  BELAY_EINVAL  opts->size is one this library does not know, or
 *                        opts->context is of another runtime
 *          BELAY_ENOMEM  no memory
 *          BELAY_ESTATE  the group has ended
 *          In each case nothing has changed.
 * Threads: loop thread; legal in every callback. Not a cancellation point.
 * Since:   0.1. Source: contract S57-S62, S116, S121.
 */
BELAY_API int belay_group_spawn(belay_group *group,
    const belay_function *function, const void *arguments,
    const struct belay_spawn_opts *opts);

/* Start a child and wait until it is ready: a token. */
#define belay_start(task, group, ret, function, ...) \
    belay_group_start((task), (group), &(function),  \
        &(const struct function){__VA_ARGS__}, NULL, (ret))

/**
 * belay_group_start - start a child task and wait until it says it is ready
 *
 *   group      not NULL
 *   function   not NULL; calls belay_started() once it is ready
 *   arguments  function->size bytes, copied before the call returns
 *   opts       NULL for all defaults; the handle is given when it is ready
 *   ret        NULL, or receives what it passes to belay_started(); untouched
 *              on failure
 *
 * Until it is ready the child belongs to the caller: it is in the caller's
 * cancel scopes, and its failure is the caller's. From then on it is a child
 * of the group like any other; it counts for max_running but does not wait
 * for a place. Meanwhile the group stays open. A cancelled start waits until
 * the child has ended, exits included.
 *
 * Owner:   the value is the child's; a handle asked for in opts is the
 *          caller's to unref.
 * Errors:  BELAY_EINVAL     opts->size is one this library does not know, or
 *                           opts->context is of another runtime
 *          BELAY_ENOMEM     no memory
 *          BELAY_ESTATE     the group has ended
 *          In each case nothing has changed.
 *          BELAY_EPROTO     the child has ended well, but was never ready
 *          BELAY_ECANCELED  flagged: the caller was cancelled first, and the
 *                           child, if there was one, has ended; unflagged:
 *                           only the child was
 *          else what the child has failed with.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract S65-S68 (trio.Nursery.start).
 */
BELAY_API BELAY_TOKEN belay_group_start(belay_task *task, belay_group *group,
    const belay_function *function, const void *arguments,
    const struct belay_spawn_opts *opts, void **ret);

/**
 * belay_started - in a child of belay_group_start(): I am ready
 *
 *   value  what the starter receives; may be NULL
 *
 * If the start was cancelled first it does nothing: the child stays with the
 * starter and sees that cancel at its next checkpoint.
 *
 * Owner:   the value is the child's; it says how long it is good.
 * Errors:  BELAY_ESTATE  it was called before, or the task was not started
 *                        this way; nothing has changed
 * Threads: loop thread, in a step of the child. Not a cancellation point.
 * Since:   0.1. Source: contract S65-S67 (trio.TaskStatus.started).
 */
BELAY_API int belay_started(belay_task *task, void *value);

/**
 * belay_group_cancel - ask the body and all children to end
 *
 *   group  not NULL
 *   text   why; static text or NULL
 *
 * If nothing fails on the way, the group then succeeds.
 *
 * Owner:   nothing changes hands.
 * Errors:  none; a second cancel changes nothing.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract S56.
 */
BELAY_API void belay_group_cancel(belay_group *group, const char *text);

/**
 * belay_group_count - children that have not ended, waiting ones included
 *
 *   group  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: trio.Nursery.child_tasks.
 */
BELAY_API size_t belay_group_count(const belay_group *group);

BELAY_END_DECLS

#endif
