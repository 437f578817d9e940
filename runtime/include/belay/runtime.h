/* runtime.h - a runtime: one loop, one thread, a tree of tasks.
 *
 * belay_run() owns a loop for one root task. A service that has a loop of its
 * own attaches a runtime to it instead (belay/uv.h) and spawns root tasks
 * from its callbacks. Several runtimes in several threads share nothing. Only
 * the portal functions are for other threads.
 */
#ifndef BELAY_RUNTIME_H
#define BELAY_RUNTIME_H

#include <stdio.h>

#include <belay/task.h>

BELAY_BEGIN_DECLS

typedef struct belay_clock belay_clock;   /* a virtual clock, for tests */
typedef struct belay_portal belay_portal; /* counted; for other threads */

/* What does not end although its grace is over. Valid during the call. */
struct belay_stuck {
    const char *task_name;
    uint64_t task_id;
    const char *exit_name;   /* the manager whose exit runs; "" if none does */
    const char *waiting_for; /* what the task awaits; "" if it is ready */
};

/* Told once of each exit that goes on and on; and, while the runtime closes,
 * of every task that is still alive. Nothing is killed or skipped. Called on
 * the loop, outside any step.
 */
typedef void belay_stuck_fn(
    belay_runtime *runtime, const struct belay_stuck *stuck, void *arg);

struct belay_observed; /* see observe.h */

/* Options of a runtime. A zero field means its default. */
struct belay_runtime_opts {
    size_t size; /* of this struct; BELAY_RUNTIME_OPTS() fills it */
    const struct belay_allocator *allocator; /* copied; default the C library */
    belay_clock *clock;         /* default the system's monotonic clock */
    belay_duration grace;       /* for exits of a cancelled scope; default 5 s;
                             BELAY_NO_GRACE cuts them off at once */
    uint32_t step_budget;       /* steps of one task per turn; default 128 */
    belay_stuck_fn *stuck;      /* default none */
    void *stuck_arg;            /* for stuck */
    belay_duration stuck_after; /* from the end of the grace; default 1 s */
    /* An observer from the first event on; default none, see observe.h. */
    void (*observe)(
        belay_runtime *runtime, const struct belay_observed *seen, void *arg);
    void *observe_arg;      /* for observe */
    uint32_t observe_kinds; /* default BELAY_OBSERVE_DEFAULT. Without observe:
                               nobody is told, the dump has ages */
};
#define BELAY_RUNTIME_OPTS(...)          \
    (&(const struct belay_runtime_opts){ \
        .size = sizeof(struct belay_runtime_opts), __VA_ARGS__})
#define BELAY_NO_GRACE BELAY_DURATION_NS(-1)

/* Called on the loop thread when a root task has ended; the result is valid
 * during the call.
 */
typedef void belay_ended_fn(const struct belay_result *result, void *arg);

/**
 * belay_run - run one root task on a loop of its own until it has ended
 *
 *   function   the root, not NULL
 *   arguments  function->size bytes, copied
 *   opts       NULL for all defaults
 *   ret        NULL, or receives the result, with the code below also if
 *              nothing has run
 *
 * Owner:   ret->error is the caller's to unref; ret->value must not point
 *          into the task.
 * Errors:  the root's code (0 or negative), or, with nothing run,
 *          BELAY_EINVAL  opts->size is one this library does not know
 *          BELAY_ENOMEM  no memory
 *          BELAY_EBUSY   called from inside a step, by what a runtime calls,
 *                        or by any callback on the loop of a belay_run()
 *          other codes of libuv for a loop that cannot be made.
 *          BELAY_EDEADLK the root and all others wait for nothing that could
 *          still happen; they were cancelled and have unwound.
 *          If one of them does not end by that, being behind a shield or in
 *          the grace of an exit without end, or in an operation that refuses,
 *          the process is aborted. So it is for a root task that is left when
 *          the root has ended, waits for nothing and cannot be cancelled.
 * Threads: any thread that is not running a runtime; blocks until done. In a
 *          callback of a host's own, on its own loop, it is not refused but
 *          runs: that loop stands still until then.
 * Since:   0.1. Source: asyncio.run; contract S134.
 */
BELAY_API int belay_run(const belay_function *function, const void *arguments,
    const struct belay_runtime_opts *opts, struct belay_result *ret);

/**
 * belay_runtime_spawn - start a root task from outside any task
 *
 *   runtime    not NULL
 *   function   not NULL
 *   arguments  function->size bytes, copied
 *   ended      NULL, or called once when the task has ended
 *   arg        for ended
 *   ret        NULL, or receives a counted handle; untouched on failure
 *
 * The first step runs in the loop's next iteration, never inside the call.
 *
 * Owner:   *ret is the caller's to unref.
 * Errors:  BELAY_ENOMEM  nothing has changed
 *          BELAY_ESTATE  the runtime is closing; nothing has changed
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: api.md, embedding; contract S60, S61.
 */
BELAY_API int belay_runtime_spawn(belay_runtime *runtime,
    const belay_function *function, const void *arguments,
    belay_ended_fn *ended, void *arg, belay_task **ret);

/**
 * belay_runtime_close - cancel all tasks, wait for them, free the runtime
 *
 *   runtime  NULL is legal; `closed` is then called at once
 *   closed   NULL, or called on the loop when nothing of the runtime is left
 *   arg      for closed
 *
 * The loop must go on running until then. Tasks that are still alive when the
 * grace is over are named to the hook `stuck` of the runtime's options. What
 * was posted (belay_portal_post()) runs when the last task has ended: without
 * tasks that is inside this call.
 *
 * Owner:   the runtime is gone when `closed` is called.
 * Errors:  none; a second close of the same runtime aborts.
 * Threads: loop thread. Never blocks.
 * Since:   0.1. Source: contract S132, S137.
 */
BELAY_API void belay_runtime_close(
    belay_runtime *runtime, void (*closed)(void *arg), void *arg);

/**
 * belay_runtime_dump - print the live task tree
 *
 *   runtime  not NULL
 *   out      an open stream
 *
 * One line a task, below the line of its owner: name, id, state, what it waits
 * for, its calls with file and line, each with the scopes open in it, the
 * cancel scopes that it is in, when it will be cancelled at the latest, or why
 * it is and by which task. While scopes and tasks are observed (observe.h), the
 * ages of those that have begun since then.
 *
 * Owner:   out stays the caller's.
 * Errors:  what the stream records.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S138.
 */
BELAY_API void belay_runtime_dump(const belay_runtime *runtime, FILE *out);

/* What a runtime holds at a moment. */
struct belay_runtime_stats {
    size_t size;            /* of this struct, filled by the caller */
    uint64_t tasks_alive;   /* not yet ended */
    uint64_t tasks_started; /* ever */
    uint64_t turns;         /* taken by tasks so far: runs up to a wait, a
                               checkpoint or the end of the step budget */
    uint64_t memory_bytes;  /* from the allocator, now */
    uint64_t memory_blocks; /* from the allocator, now */
    uint64_t memory_peak_bytes;
};

/**
 * belay_runtime_get_stats - what the runtime holds now
 *
 *   runtime  not NULL
 *   ret      its size field filled in
 *
 * Owner:   ret stays the caller's.
 * Errors:  BELAY_EINVAL  a size this library does not know; ret untouched.
 * Threads: loop thread.
 * Since:   0.1. Source: style.md 2.6.
 */
BELAY_API int belay_runtime_get_stats(
    const belay_runtime *runtime, struct belay_runtime_stats *ret);

/**
 * belay_clock_new - a virtual clock for tests
 *
 *   autojump  true: whenever every task waits for time only, the clock jumps
 *             to the next deadline; false: only belay_clock_advance() moves it
 *
 * Owner:   the caller frees it with belay_clock_free() after the runtime that
 *          uses it has been closed.
 * Errors:  NULL when out of memory.
 * Threads: the thread of the runtime that will use it; one runtime a clock.
 * Since:   0.1. Source: contract S45 (trio.testing.MockClock).
 */
BELAY_API belay_clock *belay_clock_new(bool autojump);

/**
 * belay_clock_free - the end of a virtual clock
 *
 *   clock  NULL is legal
 *
 * Owner:   the clock is gone.
 * Errors:  none.
 * Threads: as belay_clock_new().
 * Since:   0.1. Source: contract S45.
 */
BELAY_API void belay_clock_free(belay_clock *clock);

/**
 * belay_clock_advance - move a virtual clock forward
 *
 *   clock  not NULL
 *   span   zero or less changes nothing
 *
 * What has become due happens in the loop's next iteration, never inside the
 * call.
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract S45.
 */
BELAY_API void belay_clock_advance(belay_clock *clock, belay_duration span);

/* Runs on the loop thread of the portal's runtime. */
typedef void belay_post_fn(belay_runtime *runtime, void *arg);

/**
 * belay_portal_open - a door into the runtime for other threads
 *
 *   runtime  not NULL
 *   ret      receives the portal; untouched on failure
 *
 * Owner:   the caller has one reference; belay_portal_unref() gives it back.
 *          A portal may outlive its runtime.
 * Errors:  BELAY_ENOMEM  nothing has changed
 *          BELAY_ESTATE  the runtime is closed but for its handles
 * Threads: loop thread.
 * Since:   0.1. Source: contract S130, S131.
 */
BELAY_API int belay_portal_open(belay_runtime *runtime, belay_portal **ret);

/**
 * belay_portal_post - have a function run on the loop thread
 *
 *   portal  on which the caller has a reference
 *   fn      not NULL; posts of one thread run in their order
 *   arg     for fn
 *
 * The queue has no limit: a post takes 24 bytes of the C library's memory, a
 * cancel 56, until it has run. A thread that may be ahead of the loop has to
 * hold back itself.
 *
 * Owner:   arg must live until fn has run.
 * Errors:  BELAY_ESTATE  the runtime is closed; fn will not run
 *          BELAY_ENOMEM  fn will not run
 * Threads: any thread.
 * Since:   0.1. Source: contract S130, S131 (trio run_sync_soon).
 */
BELAY_API int belay_portal_post(
    belay_portal *portal, belay_post_fn *fn, void *arg);

/**
 * belay_portal_cancel - cancel a task of the runtime from another thread
 *
 *   portal   on which the caller has a reference
 *   task_id  see belay_task_id(); a task that has ended is no error
 *   text     why; static text or NULL
 *
 * The loop looks at all its tasks, once for all cancels that it finds waiting.
 *
 * Owner:   nothing changes hands.
 * Errors:  as belay_portal_post().
 * Threads: any thread.
 * Since:   0.1. Source: api.md, embedding.
 */
BELAY_API int belay_portal_cancel(
    belay_portal *portal, uint64_t task_id, const char *text);

/**
 * belay_portal_unref - give a reference of a portal back
 *
 *   portal  NULL is legal
 *
 * Owner:   freed with the last reference; posts already made still run.
 * Errors:  none.
 * Threads: any thread.
 * Since:   0.1. Source: api.md, embedding.
 */
BELAY_API void belay_portal_unref(belay_portal *portal);

/**
 * belay_portal_ref - take one more reference, as for another thread
 *
 *   portal  not NULL
 *
 * Owner:   the caller has one reference more.
 * Errors:  none.
 * Threads: any thread that holds a reference.
 * Since:   0.1. Source: api.md, embedding.
 */
BELAY_API belay_portal *belay_portal_ref(belay_portal *portal);

BELAY_END_DECLS

#endif
