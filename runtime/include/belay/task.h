/* task.h - tasks, steps and the tokens that steps return.
 *
 * A step returns what happens next. It starts at most one operation and
 * returns that operation's token; it never calls its own continuation. The
 * trampoline, the only caller of steps, runs the next step when the operation
 * has completed. So the native stack holds one step however long the chain.
 *
 * Frames and managers: a function's arguments, results and locals are one
 * struct, copied into a frame when it is called. A manager is a function that
 * stays open: its frame remains after a successful enter, as a scope of the
 * frame that entered it, until its exit has run. However a frame ends, its
 * scopes exit first, newest first.
 *
 * A parameter `task`, here and in all other headers, is the task whose step is
 * running, and never NULL, where nothing else is said.
 *
 * async.h has the macros that make this read like straight-line code; all
 * that they do can be written by hand with what stands here.
 */
#ifndef BELAY_TASK_H
#define BELAY_TASK_H

#include <belay/error.h>

BELAY_BEGIN_DECLS

typedef struct belay_task belay_task;       /* opaque */
typedef struct belay_runtime belay_runtime; /* opaque, see runtime.h */

/* What a step returns. Made by the functions below and by every operation;
 * a program never fills one in.
 */
typedef struct belay_next {
    int how;
} belay_next;

/* The type of what gives one. A token that is not returned is a mistake: the
 * operation goes on, and nobody waits for it.
 */
#define BELAY_TOKEN __attribute__((warn_unused_result)) belay_next

typedef belay_next belay_step(belay_task *task, void *self);

/* An async function. Static, as a rule; BELAY_ASYNC() writes it. */
typedef struct belay_function {
    const char *name; /* for people; lives as long as the program */
    const char *file; /* where it stands, or NULL */
    size_t size;      /* bytes of its argument struct, which is its frame */
    belay_step *step; /* its first step */
    /* Bytes of frames that a task made for it should hold from the start;
     * 0: what others made for it have needed. A hint, never a limit; above
     * 1 MiB it is taken as that.
     */
    size_t reserve_bytes;
} belay_function;

/* A context manager. In class style `enter` opens (belay_return() in it means
 * entered) and `exit` is the first step of closing. In generator style exit
 * is NULL: the one function opens, yields once, and closes.
 */
typedef struct belay_manager {
    belay_function enter;
    belay_step *exit;
} belay_manager;

/**
 * belay_call - run an async function to its end
 *
 *   function   not NULL, static
 *   arguments  function->size bytes, copied before the call returns
 *
 * Owner:   arguments stay the caller's; pointers in them must live until the
 *          function has ended.
 * Errors:  BELAY_ENOMEM  no room for the frame; nothing has run
 *          else what the function fails with.
 * Threads: loop thread. Not itself a cancellation point.
 * Since:   0.1. Source: api.md, the core under the macros.
 */
BELAY_API BELAY_TOKEN belay_call(
    belay_task *task, const belay_function *function, const void *arguments);

/**
 * belay_enter - an enter operation: open a manager
 *
 *   manager    not NULL, static
 *   arguments  manager->enter.size bytes, copied before the call returns
 *
 * The token is for belay_with() (or BELAY_WITH) and belay_stack_enter() only;
 * awaiting it any other way aborts, because nobody would run the exit.
 *
 * Owner:   as belay_call(); the frame lives until the exit has run.
 * Errors:  BELAY_ENOMEM  no room for the frame; nothing has run
 *          else what the enter fails with; then the exit does not run.
 * Threads: loop thread. Not itself a cancellation point.
 * Since:   0.1. Source: contract S94-S97.
 */
BELAY_API BELAY_TOKEN belay_enter(
    belay_task *task, const belay_manager *manager, const void *arguments);

/**
 * belay_then - start an operation and go on in another step (a macro)
 *
 *   next  the step of the same frame that runs when `op` has completed;
 *         belay_result() there tells how
 *   op    the token of an operation, started after the step was noted: what
 *         starts it must not call this or belay_end_with() itself, whose step
 *         would run instead
 *
 * Owner:   nothing changes hands.
 * Errors:  none of its own.
 * Threads: loop thread, inside a step. A cancellation point if `op` is one.
 * Since:   0.1. Source: api.md, the core under the macros.
 */
#define belay_then(task, next, op) (belay__set_step((task), (next)), (op))

/**
 * belay_end_with - start an operation and end the frame with its result (a
 * macro)
 *
 *   op  the token of an operation, as for belay_then()
 *
 * As belay_then() with a step that does nothing but belay_pass().
 *
 * Owner:   nothing changes hands.
 * Errors:  those of the operation are the frame's.
 * Threads: loop thread, inside a step. A cancellation point if `op` is one.
 * Since:   0.1. Source: tail calls.
 */
#define belay_end_with(task, op) (belay__set_step((task), NULL), (op))

/* What the running frame goes on with; for these macros. */
BELAY_API void belay__set_step(belay_task *task, belay_step *next);

/**
 * belay_with - open a block: enter, then run `body`
 *
 *   enter  the token of an enter operation
 *   body   runs once entered; belay_result() there holds the enter's value
 *   after  runs when the block was left and its exit is done, also when the
 *          exit has suppressed a failure of the block
 *
 * If the enter fails, neither step runs and the frame fails with its result.
 *
 * Owner:   nothing changes hands.
 * Errors:  those of the enter, delivered as said.
 * Threads: loop thread, inside a step. A cancellation point if `enter` is one.
 * Since:   0.1. Source: contract S106.
 */
BELAY_API BELAY_TOKEN belay_with(
    belay_task *task, belay_next enter, belay_step *body, belay_step *after);

/**
 * belay_leave - the innermost block of this frame is done: exit, then `after`
 *
 * Owner:   nothing changes hands.
 * Errors:  a failure of the exit goes to the next outer block of the frame,
 *          then to the caller. Aborts if the frame has no open block.
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: api.md, the core under the macros.
 */
BELAY_API BELAY_TOKEN belay_leave(belay_task *task);

/**
 * belay_return - the frame is done and succeeded
 *
 *   value  what belay_result() gives the caller; may be NULL
 *
 * Open blocks of the frame exit first, newest first. In an exit it means
 * *pass*: the outcome goes on as it was.
 *
 * Owner:   the callee documents who owns the value.
 * Errors:  a failing exit turns the success into its failure.
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: api.md.
 */
BELAY_API BELAY_TOKEN belay_return(belay_task *task, void *value);

/**
 * belay_pass - the frame ends with what its last await delivered
 *
 * In an exit, that is *pass* if the last await succeeded (or there was none)
 * and *fail* otherwise.
 *
 * Owner:   the result moves on.
 * Errors:  none of its own.
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: api.md.
 */
BELAY_API BELAY_TOKEN belay_pass(belay_task *task);

/**
 * belay_suppress - in an exit: the block ended well after all
 *
 * The task goes on behind the block. Anywhere but in an exit it aborts.
 *
 * Owner:   the suppressed error is released.
 * Errors:  none.
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: contract S81, S84.
 */
BELAY_API BELAY_TOKEN belay_suppress(belay_task *task);

/**
 * belay_yield - in a generator manager: entered; the body may run now
 *
 *   value  what belay_result() gives the body's first step
 *
 * The next step runs when the block is left; belay_result() is then the
 * block's outcome.
 *
 * Owner:   the manager documents who owns the value.
 * Errors:  a second yield is BELAY_EPROTO; the function is driven to its end.
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: contract S108-S115 (@asynccontextmanager).
 */
BELAY_API BELAY_TOKEN belay_yield(belay_task *task, void *value);

/**
 * belay_fail - the frame ends with an error (a macro that adds the place)
 *
 *   code    negative
 *   format  printf-like, one sentence, no capital, no full stop; NULL for none
 */
#define belay_fail(task, code, ...) \
    belay_fail_at((task), __FILE__, __LINE__, (code), __VA_ARGS__)

/**
 * belay_fail_at - the frame ends with an error that arose at file:line
 *
 *   file    static text, or NULL
 *   line    in that file; 0 if unknown
 *   code    negative; anything else is taken as BELAY_EINVAL
 *   format  printf-like, one sentence, no capital, no full stop; NULL for a
 *           bare code
 *
 * Owner:   the text is copied; the error object moves into the result.
 * Errors:  if there is no memory for the object, the code travels alone.
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: api.md, results and errors.
 */
BELAY_API BELAY_TOKEN belay_fail_at(belay_task *task, const char *file,
    int line, int code, const char *format, ...) BELAY_PRINTF(5, 6);

/* The same, for an error that is not to show what it has replaced: as Python's
 * `raise ... from None`.
 */
#define belay_fail_alone(task, code, ...) \
    belay_fail_alone_at((task), __FILE__, __LINE__, (code), __VA_ARGS__)

/**
 * belay_fail_alone_at - as belay_fail_at(), and the error stays without context
 *
 *   file    static text, or NULL
 *   line    in that file; 0 if unknown
 *   code    negative; anything else is taken as BELAY_EINVAL
 *   format  printf-like, one sentence, no capital, no full stop; not NULL
 *
 * In an exit it replaces the outcome as any error does, but the old one is not
 * kept behind it; nor is one that comes later.
 *
 * Owner:   the text is copied; the error object moves into the result.
 * Errors:  if there is no memory for the object, the code travels alone, and
 *          the mark with it is lost.
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: contract S80 (PEP 409).
 */
BELAY_API BELAY_TOKEN belay_fail_alone_at(belay_task *task, const char *file,
    int line, int code, const char *format, ...) BELAY_PRINTF(5, 6);

/**
 * belay_fail_with - the frame ends with an error object made elsewhere
 *
 *   error  not NULL
 *
 * Owner:   the reference moves to the runtime.
 * Errors:  none.
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: api.md, results and errors.
 */
BELAY_API BELAY_TOKEN belay_fail_with(belay_task *task, belay_error *error);

/**
 * belay_result - what the last await of the running step's frame delivered
 *
 * Owner:   valid until the step returns; take a reference on .error to keep
 *          it.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: api.md.
 */
BELAY_API const struct belay_result *belay_result(const belay_task *task);

/**
 * belay_outcome - in an exit: how the block has ended so far
 *
 * Owner:   valid until the step returns. NULL in a step that is not of an
 *          exit.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S76.
 */
BELAY_API const struct belay_result *belay_outcome(const belay_task *task);

/**
 * belay_checkpoint - let every other ready task run, and look for a cancel
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ECANCELED, flagged, inside a cancelled scope.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: trio.lowlevel.checkpoint.
 */
BELAY_API BELAY_TOKEN belay_checkpoint(belay_task *task);

/**
 * belay_sleep - wait for a span of time
 *
 *   span  zero or less behaves as belay_checkpoint(); BELAY_FOREVER waits
 *         until cancelled and arms no timer
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ECANCELED, flagged, when cancelled.
 * Threads: loop thread. Cancellation point. Never early.
 * Since:   0.1. Source: contract S41.
 */
BELAY_API BELAY_TOKEN belay_sleep(belay_task *task, belay_duration span);

/**
 * belay_sleep_until - wait for a point in time
 *
 *   when  on the runtime's clock, see belay_now()
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ECANCELED, flagged, when cancelled.
 * Threads: loop thread. Cancellation point. Never early.
 * Since:   0.1. Source: contract S41.
 */
BELAY_API BELAY_TOKEN belay_sleep_until(belay_task *task, belay_time when);

/**
 * belay_now - the time on the runtime's clock
 *
 *   task  any task of it that is alive
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S45.
 */
BELAY_API belay_time belay_now(const belay_task *task);

/**
 * belay_task_runtime - the runtime that a task belongs to
 *
 *   task  alive, or one on which a reference is held
 *
 * Owner:   lives longer than the task.
 * Errors:  none; never NULL.
 * Threads: loop thread.
 * Since:   0.1. Source: api.md, embedding.
 */
BELAY_API belay_runtime *belay_task_runtime(const belay_task *task);

/**
 * belay_task_name - the task's name: its spawn option, or its function's name
 *
 *   task  alive, or one on which a reference is held
 *
 * Owner:   static text, or whatever was given at spawn.
 * Errors:  none; never NULL.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S138.
 */
BELAY_API const char *belay_task_name(const belay_task *task);

/**
 * belay_task_id - a number that no other task of the runtime has had
 *
 *   task  alive, or one on which a reference is held
 *
 * Owner:   nothing changes hands.
 * Errors:  none; never 0.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S138.
 */
BELAY_API uint64_t belay_task_id(const belay_task *task);

/**
 * belay_task_ref - keep a task's handle beyond its end
 *
 *   task  alive, or one on which a reference is held already
 *
 * Owner:   the caller has one reference; give it to belay_task_unref() before
 *          the runtime is closed: a handle that is left then aborts.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S69.
 */
BELAY_API belay_task *belay_task_ref(belay_task *task);

/**
 * belay_task_unref - give a task's handle back
 *
 *   task  NULL is legal
 *
 * Owner:   the memory goes with the last reference of an ended task.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S69.
 */
BELAY_API void belay_task_unref(belay_task *task);

/**
 * belay_task_cancel - ask a task to end
 *
 *   target  a task that is alive or on which a reference is held
 *   text    why, for people; static text or NULL
 *
 * Only marks: the task sees it at its current await or its next checkpoint,
 * and its scopes exit. Cancelling a task that has ended changes nothing.
 *
 * Owner:   nothing changes hands.
 * Errors:  always 0.
 * Threads: loop thread; legal in every callback. Not a cancellation point.
 *          From other threads: belay_portal_cancel().
 * Since:   0.1. Source: contract S5, S15, S16.
 */
BELAY_API int belay_task_cancel(belay_task *target, const char *text);

/**
 * belay_task_join - wait until another task has ended, exits included
 *
 *   target  a task on which the caller holds a reference
 *
 * Delivers 0 however the target ended; belay_task_result() tells how.
 *
 * A ring of waits is found by the join that closes it if each of the others
 * joins the next one, up to 64 of them, and the last is the caller or hosts it.
 * A ring of other waits is not, as one in which a host waits for a child that
 * joins. Nobody looks at deadlines: also a ring that would break at one is
 * refused.
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ECANCELED  flagged: the waiting task was cancelled
 *          BELAY_EDEADLK    it is the waiting task itself, or one that waits
 *                           for this one
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract S71.
 */
BELAY_API BELAY_TOKEN belay_task_join(belay_task *task, belay_task *target);

/**
 * belay_task_result - how a task ended
 *
 *   target  a task on which the caller holds a reference
 *
 * Owner:   lives as long as the reference; NULL while the task is alive.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: libdill #219.
 */
BELAY_API const struct belay_result *belay_task_result(
    const belay_task *target);

/**
 * belay_cancel_pending - would the task's next checkpoint be cancelled?
 *
 *   ret_reason  NULL, or where the reason goes if it would
 *
 * Owner:   texts in the reason live as long as whoever gave them meant.
 * Errors:  none; true inside a cancelled scope that is not shielded.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S1, S23.
 */
BELAY_API bool belay_cancel_pending(
    const belay_task *task, struct belay_cancel_reason *ret_reason);

/**
 * belay_cancel_why - who has cancelled the task, seen by it or not
 *
 *   task        not NULL
 *   ret_reason  NULL, or where the reason goes; untouched if there is none
 *
 * The cancel that belay_cancel_pending() tells of, or else one that is held
 * off: in an exit, also behind a yield, until the grace is over, and behind a
 * shield. It need not be what the exit runs for: see belay_outcome(). What is
 * held off from the task that has spawned this one is not told.
 *
 * Owner:   texts in the reason live as long as whoever gave them meant.
 * Errors:  none; false outside of every cancelled scope, and for a task that
 *          has ended. Where the end of the grace lets the cancel in, its
 *          source is BELAY_CANCEL_GRACE.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S23 (trio #3232).
 */
BELAY_API bool belay_cancel_why(
    const belay_task *task, struct belay_cancel_reason *ret_reason);

/**
 * belay_effective_deadline - when the task will be cancelled at the latest
 *
 * In an exit that is when the grace would end, and behind a shield when its
 * time would be over.
 *
 * Owner:   nothing changes hands.
 * Errors:  none; INT64_MAX ns if never, INT64_MIN ns if it is cancelled now.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S44.
 */
BELAY_API belay_time belay_effective_deadline(const belay_task *task);

BELAY_END_DECLS

#endif
