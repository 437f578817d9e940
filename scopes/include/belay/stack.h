/* stack.h - the async exit stack.
 *
 * A context manager that collects others, and plain callbacks, while its
 * block runs, and undoes them newest first when the block is left. What is on
 * it may be moved to another stack. Rules: S73-S96.
 */
#ifndef BELAY_STACK_H
#define BELAY_STACK_H

#include <belay/async.h>

BELAY_BEGIN_DECLS

typedef struct belay_stack belay_stack; /* opaque; its block's */

/* One entry, for belay_stack_forget() and belay_stack_close_entry(). Valid
 * until the entry has run or was forgotten, also on another stack that it has
 * moved to.
 */
typedef struct belay_stack_entry belay_stack_entry;

/**
 * belay_stack_open - enter an exit stack; use it in BELAY_WITH
 *
 *   ret  receives the stack once entered; untouched on failure
 *
 * Owner:   the block.
 * Errors:  BELAY_ENOMEM  nothing has changed
 * Threads: loop thread. Entering and leaving an empty stack are no
 *          checkpoints; leaving waits for the exits of the entries.
 * Since:   0.1. Source: contract S73-S96 (contextlib.AsyncExitStack).
 */
BELAY_API BELAY_TOKEN belay_stack_open(belay_task *task, belay_stack **ret);

/**
 * belay_stack_enter - open a manager and put it on the stack
 *
 *   stack      not NULL
 *   enter      the token of an enter operation
 *   ret_entry  NULL, or receives the entry once entered
 *
 * Room is made before the enter runs; once it has succeeded nothing can fail
 * any more. belay_result() then holds the enter's value. A cancel scope or a
 * group must be left before what was open around it. If the block in which it
 * was put on a stack ends before, it is cancelled and left there and then, and
 * the block fails with BELAY_EMISNEST, which names it.
 *
 * What an enter puts on the very stack that it is for comes before itself, and
 * leaves after it: a scope that it has opened before would still be around.
 *
 * An exit stack may be put on another one. It is then the task's whose the
 * outermost one is.
 *
 * Owner:   the stack runs the exit.
 * Errors:  BELAY_ENOMEM  nothing has run
 *          BELAY_ESTATE  the stack is closed; nothing has run
 *          BELAY_EOWNER  the stack is another task's, perhaps since what it
 *                        lies on has moved there; nothing has run
 *          else what the enter fails with; it is not on the stack.
 * Threads: loop thread. A checkpoint if the enter is one.
 * Since:   0.1. Source: contract S94-S97.
 */
BELAY_API BELAY_TOKEN belay_stack_enter(belay_task *task, belay_stack *stack,
    belay_next enter, belay_stack_entry **ret_entry);

/**
 * belay_stack_push - put an exit on the stack that has nothing to enter
 *
 *   stack      not NULL
 *   manager    not NULL, static; its exit is what counts, in class style
 *   arguments  manager->enter.size bytes, copied; the exit's self
 *   ret_entry  NULL, or receives the entry
 *
 * Owner:   on success the stack runs the exit; else the caller keeps the duty.
 * Errors:  BELAY_EINVAL  the manager has no exit
 *          BELAY_ENOMEM  nothing has changed
 *          BELAY_ESTATE  the stack is closed; nothing has changed
 * Threads: loop thread. Not a cancellation point.
 * Since:   0.1. Source: contract S76, S88 (AsyncExitStack.push_async_exit).
 */
BELAY_API int belay_stack_push(belay_stack *stack, const belay_manager *manager,
    const void *arguments, belay_stack_entry **ret_entry);

/**
 * belay_stack_defer - have a plain function run when the stack unwinds
 *
 *   stack      not NULL
 *   fn         not NULL; sees no outcome and cannot fail
 *   arg        for fn; must live until it has run
 *   ret_entry  NULL, or receives the entry
 *
 * Owner:   on success the stack runs fn; else the caller keeps the duty.
 * Errors:  BELAY_ENOMEM  nothing has changed
 *          BELAY_ESTATE  the stack is closed; nothing has changed
 * Threads: loop thread. Not a cancellation point.
 * Since:   0.1. Source: contract S82 (ExitStack.callback).
 */
BELAY_API int belay_stack_defer(belay_stack *stack, void (*fn)(void *arg),
    void *arg, belay_stack_entry **ret_entry);

/**
 * belay_stack_forget - drop one entry without running it
 *
 *   stack  not NULL
 *   entry  of this stack
 *
 * Owner:   the duty goes back to the caller.
 * Errors:  BELAY_EBUSY    the entry is running; or a stack lies in it that has
 *                         entries, is being closed or on which something is
 *                         being entered
 *          BELAY_EINVAL   the entry is on another stack; it has moved
 *          BELAY_EPINNED  it holds a cancel scope, a group, a lock, a token or
 *                         a variable of the task, perhaps on a stack in it
 *          In each case nothing has changed.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S91.
 */
BELAY_API int belay_stack_forget(belay_stack *stack, belay_stack_entry *entry);

/**
 * belay_stack_close_entry - run the exit of one entry now
 *
 *   stack    not NULL
 *   entry    of this stack
 *   outcome  NULL for a success; what the exit sees
 *
 * Delivers what the exit has made of the outcome. It takes the same time
 * wherever the entry is; the other entries stay.
 *
 * Owner:   outcome stays the caller's.
 * Errors:  BELAY_EBUSY    the entry is running; or a stack lies in it that is
 *                         being closed or on which something is being entered
 *          BELAY_EINVAL   the entry is on another stack; it has moved
 *          BELAY_EOWNER   the stack is another task's
 *          BELAY_EMISNEST  it holds a cancel scope or group, and none of those
 *                         it holds is the task's innermost, or a block is open
 *                         inside of one
 *          BELAY_ENOMEM   no room for the call
 *          In each of these cases nothing has changed; else the outcome that
 *          is left. That may be BELAY_EMISNEST as well, of what another stack
 *          has left open in between: belay_stack_count() tells.
 * Threads: loop thread. A checkpoint if the exit is one.
 * Since:   0.1. Source: contract S91 (cpython #89347).
 */
BELAY_API BELAY_TOKEN belay_stack_close_entry(belay_task *task,
    belay_stack *stack, belay_stack_entry *entry,
    const struct belay_result *outcome);

/**
 * belay_stack_move - hand all entries to another stack, unrun
 *
 *   from  becomes empty and stays usable
 *   to    its own entries stay; the moved ones are newer
 *
 * Owner:   `to` runs the exits.
 * Errors:  BELAY_EPINNED  an entry is bound to its task, by a cancel scope, a
 *                         group, a lock, a token or a context variable, perhaps
 *                         on a stack in it, and `to` is another task's
 *          BELAY_ESTATE   `to` is closed
 *          BELAY_EBUSY    `from` is unwinding; or a stack lies in an entry that
 *                         is being closed or on which something is being
 *                         entered
 *          BELAY_EMISNEST  a cancel scope or group of `from` is outside one
 *                         that is on `to` already, or outside of one whose
 *                         block `to` lies in; or of one that was open when the
 *                         exit began in which `to` ends, or the enter that
 *                         `to` was opened in; or `to` lies in an entry of
 *                         `from`. Rarely also where it could move: a
 *                         scope is told to be there before by its depth
 *          In each case nothing has changed.
 * Threads: loop thread. Not a cancellation point.
 * Since:   0.1. Source: contract S86, S87 (ExitStack.pop_all).
 */
BELAY_API int belay_stack_move(belay_stack *from, belay_stack *to);

/**
 * belay_stack_close - unwind now, with a given outcome
 *
 *   stack    not NULL
 *   outcome  NULL for a success; what the newest exit sees
 *
 * Delivers what the exits have made of the outcome. The stack is closed
 * afterwards; leaving its block runs nothing again.
 *
 * Owner:   outcome stays the caller's.
 * Errors:  BELAY_EBUSY   it is unwinding already; or something is being entered
 *                        on it; or that is so of a stack in an entry, or one
 *                        of such a stack's entries is being closed; nothing
 *                        has changed
 *          BELAY_EOWNER  it is another task's; nothing has changed
 *          BELAY_EMISNEST  it holds cancel scopes or groups, and none of them
 *                          is the task's innermost, or a block is open inside
 *                          of one; nothing has changed
 *          BELAY_ENOMEM  nothing has changed
 *          else the outcome that is left. That may be BELAY_EMISNEST as well,
 *          of what another stack has left open in between:
 *          belay_stack_count() tells.
 * Threads: loop thread. A checkpoint if an exit is one.
 * Since:   0.1. Source: contract S85, S90 (AsyncExitStack.aclose).
 */
BELAY_API BELAY_TOKEN belay_stack_close(
    belay_task *task, belay_stack *stack, const struct belay_result *outcome);

/**
 * belay_stack_count - entries on the stack
 *
 *   stack  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S86.
 */
BELAY_API size_t belay_stack_count(const belay_stack *stack);

BELAY_END_DECLS

#endif
