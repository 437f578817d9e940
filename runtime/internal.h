/* internal.h - the structures that the files of runtime/ and scopes/ share.
 *
 * Life of a task: new, queued, running, parked, queued again …, ended. It is in
 * the ready queue at most once; a parked task that must look at a cancel is
 * queued too, with `abort_queued` set.
 */
#ifndef BELAY_RUNTIME_INTERNAL_H
#define BELAY_RUNTIME_INTERNAL_H

#include <assert.h>
#include <string.h>

#include <belay/async.h>
#include <belay/context.h>
#include <belay/runtime.h>
#include <belay/sync.h>
#include <belay/uv.h>

#include "runtime/basics.h"
#include "runtime/block.h"
#include "runtime/errors.h"
#include "runtime/frame.h"
#include "runtime/memory.h"
#include "runtime/observe.h"
#include "runtime/scope.h"
#include "runtime/wait.h"

/* ---- tasks (task.c, trampoline.c, unwind.c) ---- */

/* Told when a task has ended, exits included; in the watcher's memory. */
struct belay__end_watch {
    struct belay__end_watch *next;
    struct belay__end_watch *prev;
    belay_task *task; /* NULL: watches none */
    void (*fn)(struct belay__end_watch *watch);
};

/* fn is called once, outside any step, unless the watch is taken back. */
void belay__task_watch(belay_task *task, struct belay__end_watch *watch,
    void (*fn)(struct belay__end_watch *watch));
void belay__task_unwatch(struct belay__end_watch *watch); /* if it watches */

#define BELAY__NO_FLOOR INT32_C(-1)

enum belay__task_state {
    BELAY__TASK_NEW,
    BELAY__TASK_QUEUED,
    BELAY__TASK_RUNNING,
    BELAY__TASK_STARTED, /* running; its step has started an operation */
    BELAY__TASK_PARKED,
    BELAY__TASK_ENDED,
};

struct belay_task {
    belay_runtime *runtime;
    struct belay__frame *top;
    struct belay__arena *frames; /* where they go: behind the first one, in its
                                 first chunk, or a stack entry's */
    struct belay__scope *scope;  /* innermost */
    struct belay__binding *context;
    const struct belay__wait_kind *waiting; /* NULL: it does not */
    union {
        struct belay_result result;
        struct belay__wait wait; /* while it waits */
    };
    belay_task *ready_next;
    struct belay_waiters *joiners; /* a ring of their places, the first one */
    struct belay__scope base;
    uint64_t id : 56;
    uint64_t state : 8;              /* enum belay__task_state */
    struct belay__deadline deadline; /* of a wait that is for a time */
    uint32_t refs;
    int32_t floor; /* while an exit runs: scopes down to this depth are
                      masked; else BELAY__NO_FLOOR */
    uint32_t block_place : 8;  /* for belay__block_free() … */
    uint32_t block_units : 22; /* … the size, in BELAY__BLOCK_STEP bytes */
    uint32_t abort_queued : 1; /* in the ready queue, though it is parked */
    uint32_t abort_asked : 1;  /* in this wait */
};

/* Its size is what a service pays for each of its many tasks. */
_Static_assert(
    sizeof(belay_task) == 160 || sizeof(void *) != 8, "a task has grown");

/* A task, not yet started, with one reference for its run. Reserves all that
 * its cancel and unwinding may need. By the time it starts `parent` is an
 * owner's. Without a name it has its function's. NULL when out of memory:
 * nothing has changed.
 */
belay_task *belay__task_new(belay_runtime *runtime, struct belay__scope *parent,
    const belay_function *function, const void *arguments,
    struct belay__binding *context, const char *name);
/* Undoes belay__task_new() for a task that was never started. */
void belay__task_discard(belay_task *task);
/* Runs what was ready when it was called, and what that made ready, until
 * `enough` tasks have run.
 */
void belay__run_ready(belay_runtime *runtime, uint32_t enough);
void belay__task_end(belay_task *task);

/* How a step's token looks inside. */
enum belay__how {
    BELAY__HOW_NONE, /* a token that nothing made */
    BELAY__HOW_WAIT,
    BELAY__HOW_TURN, /* done, but others first */
    BELAY__HOW_CALL,
    BELAY__HOW_ENTER = BELAY__TOKEN_ENTER, /* staged, not in a block */
    BELAY__HOW_BLOCK = BELAY__TOKEN_BLOCK, /* … in one, by BELAY_WITH */
    BELAY__HOW_EXIT, /* an exit stack runs an entry's exit */
    BELAY__HOW_END,
    BELAY__HOW_LEAVE,
    BELAY__HOW_YIELD,
};

static inline belay_next
belay__next(enum belay__how how)
{
    return (belay_next){(int)how};
}

void belay__result_cancelled(belay_task *task);
void belay__result_clear(struct belay_result *result);

/* The top frame is done with task->result. False: the task has ended. */
bool belay__unwind(belay_task *task);
bool belay__yielded(belay_task *task);
/* In a step of an exit: the outcome, to be changed or taken over. */
static inline struct belay_result *
belay__exit_outcome(const belay_task *task)
{
    return &task->top->u.exit->outcome;
}

/* Any scope of the frame on top, its newest, or an exit stack's entry: its
 * exit runs next and sees task->result.
 */
void belay__exit_begin(belay_task *task, struct belay__frame *scope);
/* In a step of an exit: its failure takes the outcome's place, as it is. */
void belay__exit_replaces(belay_task *task);
/* Gives the bare code of an error an object, so that it can be in a chain;
 * without memory it stays bare.
 */
void belay__result_enrich(belay_runtime *runtime, struct belay_result *result);
/* What an exit's answer makes of the outcome; takes both over. */
struct belay_result belay__outcome_merge(belay_runtime *runtime,
    struct belay_result outcome, struct belay_result answer, bool suppress);

/* ---- broken contracts of a task (broken.c) ---- */

/* As BELAY__REQUIRE(), and says where the task is. */
#define BELAY__REQUIRE_OF(task, condition, ...)              \
    do {                                                     \
        if (__builtin_expect(!(condition), 0)) {             \
            belay__broken_by((task), __func__, __VA_ARGS__); \
        }                                                    \
    } while (0)

void belay__broken_by(const belay_task *task, const char *where,
    const char *format, ...) __attribute__((noreturn, cold)) BELAY_PRINTF(3, 4);

/* ---- context variables (context.c) ---- */

struct belay_context {
    belay_runtime *runtime;
    struct belay__binding *binding;
};

struct belay__binding *belay__context_ref(struct belay__binding *binding);
void belay__context_unref(
    belay_runtime *runtime, struct belay__binding *binding);
/* The value of a variable in a snapshot, or NULL; any thread. */
void *belay__context_find(
    const struct belay__binding *context, const struct belay_var *var);

/* ---- the runtime (runtime.c, clock.c, portal.c) ---- */

struct belay_clock {
    belay_runtime *runtime;
    int64_t now_ns;
    bool autojump;
};

/* How much the tasks of a function have needed beside their first frame; a
 * function may lose its place to another.
 */
struct belay__room_hint {
    const belay_function *function;
    size_t bytes;
};

#define BELAY__ROOM_HINTS 64

struct belay_runtime {
    struct belay__memory *memory;
    uv_loop_t *loop;
    uv_thread_t thread; /* the loop's, for belay__on_thread() */
    uv_timer_t timer;
    uv_check_t check;
    uv_idle_t idle;
    uv_async_t async;
    belay_clock *clock;
    int64_t armed_ns; /* what the uv timer is set to */
    uint32_t spared;  /* polls since deadlines were found over for long */
    int64_t run_ns;   /* when the task that runs first asked; 0: it has not */
    belay_task *ready_first;
    belay_task **ready_end; /* where the next one is put */
    belay_task *current;
    struct belay__frame *staged; /* made by the step that runs, not pushed */
    struct belay__heap deadlines;
    struct belay__cancels cancels;
    struct belay__opened_scope root;
    struct belay__blocks blocks;
    struct belay__room_hint room_hints[BELAY__ROOM_HINTS];
    int64_t grace_ns;
    uint32_t step_budget;
    belay_stuck_fn *stuck; /* or NULL */
    void *stuck_arg;
    int64_t stuck_after_ns;
    uint32_t pending_ops; /* waits for something outside */
    uint64_t steps;
    uint64_t tasks_alive;
    uint64_t tasks_started;
    uint64_t task_blocks; /* alive, or a handle is held */
    uint64_t last_id;
    struct belay__end_watch *watches; /* of the ends of tasks */
    uint64_t holds;     /* reasons to stay open beside the tasks */
    uint64_t cancel_in; /* for tests: cancel all as the n-th wait begins … */
    bool cancel_late;   /* … or when it just has, … */
    bool counts_waits;  /* … if this is set */
    belay_portal *portal; /* the one that all openers share */
    struct belay__observers observers;
    struct belay__trace *trace;  /* or NULL */
    belay_runtime *next_runtime; /* in belay__runtimes */
    uint32_t handles_open;
    bool in_pass;
    bool idle_on;
    bool closing; /* a close was asked for */
    bool shut;    /* its handles are closing */
    void (*closed_fn)(void *arg);
    void *closed_arg;
};

/* All of the process, for debuggers only: tools/gdb/belay-gdb.py. */
extern belay_runtime *belay__runtimes;

int64_t belay__clock_now(const belay_runtime *runtime);
/* The same, read once a run: what a task does between two suspensions is done
 * at one time. Outside of a run, and with a virtual clock, it is always read.
 */
int64_t belay__clock_of_run(belay_runtime *runtime);
/* For asserts: is this the loop's thread? All but the portal is for it only. */
bool belay__on_thread(const belay_runtime *runtime);
/* Makes the loop come back at once, or at the next deadline. */
void belay__runtime_kick(belay_runtime *runtime);
void belay__runtime_task_ended(belay_runtime *runtime);
/* From hold to drop a close of the runtime waits, as it does for tasks. */
void belay__runtime_hold(belay_runtime *runtime);
void belay__runtime_drop(belay_runtime *runtime);

/* Between the two something outside may come that nobody awaits by a belay_op:
 * a virtual clock does not jump.
 */
static inline void
belay__outside_begin(belay_runtime *runtime)
{
    runtime->pending_ops++;
}

static inline void
belay__outside_end(belay_runtime *runtime)
{
    runtime->pending_ops--;
}

/* Runs what other threads have posted. */
void belay__portal_drain(belay_runtime *runtime);
/* From now on posts are refused; those made before have run. */
void belay__portal_shut(belay_runtime *runtime);
/* An open portal keeps the loop alive as long as tasks are. */
void belay__portal_update_ref(belay_runtime *runtime);
/* Is there a post that has not been run? */
bool belay__portal_has_posts(const belay_runtime *runtime);

/* Names what is left below a scope, a while after its grace (stuck.c). */
void belay__stuck_report(belay_runtime *runtime, struct belay__scope *root);
/* What a parked task waits for, or "". */
const char *belay__task_awaits(const belay_task *task);
const char *belay__cancel_source_name(enum belay_cancel_source source);

/* The task with this id, or NULL; O(tasks). */
belay_task *belay__task_find(const belay_runtime *runtime, uint64_t id);
/* Next scope in the tree, parents before children; adds to *depth. */
const struct belay__scope *belay__scope_next(
    const struct belay__scope *scope, int *depth);

/* ---- what runs for every task, inline ---- */

/* To be linked. */
static inline void
belay__scope_init(struct belay__scope *scope, uint32_t flags)
{
    scope->child = NULL;
    scope->flags = flags;
    scope->deadline =
        (struct belay__deadline){.index = 0, .kind = BELAY__DEADLINE_SCOPE};
    scope->cancel = 0;
}

/* Without limits of its own; to be linked or pushed. */
static inline void
belay__opened_init(struct belay__opened_scope *opened, const char *name)
{
    belay__scope_init(&opened->scope, 0);
    opened->task = NULL;
    opened->keeper = NULL;
    opened->name = name;
}

/* The same for a scope that tasks are to hang below. */
static inline void
belay__owner_init(struct belay__owner *owner, const char *name,
    void (*ended)(struct belay__owner *owner, belay_task *task))
{
    belay__opened_init(&owner->opened, name);
    owner->opened.scope.flags = BELAY__SCOPE_OWNER;
    owner->ended = ended;
}

static inline struct belay__opened_scope *
belay__opened_of(const struct belay__scope *scope)
{
    assert((scope->flags & BELAY__SCOPE_BASE) == 0);
    return belay__without_const(scope); /* its first member */
}

/* Whose base scope it is; NULL: it is none. */
static inline belay_task *
belay__scope_base_of(const struct belay__scope *scope)
{
    struct belay__scope *base = belay__without_const(scope);

    return (scope->flags & BELAY__SCOPE_BASE) != 0
               ? BELAY__CONTAINER(base, belay_task, base)
               : NULL;
}

/* Whose stack it is on; NULL: nobody's. */
static inline belay_task *
belay__scope_task(const struct belay__scope *scope)
{
    return (scope->flags & BELAY__SCOPE_BASE) != 0
               ? belay__scope_base_of(scope)
               : belay__opened_of(scope)->task;
}

/* NULL: it has none. */
static inline const char *
belay__scope_name(const struct belay__scope *scope)
{
    return (scope->flags & BELAY__SCOPE_BASE) != 0
               ? belay_task_name(belay__scope_base_of(scope))
               : belay__opened_of(scope)->name;
}

/* Who is told of the task's end. */
static inline struct belay__owner *
belay__task_owner(const belay_task *task)
{
    assert((task->base.parent->flags & BELAY__SCOPE_OWNER) != 0);
    return BELAY__CONTAINER(
        task->base.parent, struct belay__owner, opened.scope);
}

static inline struct belay__room_hint *
belay__room_hint(belay_runtime *runtime, const belay_function *function)
{
    const uintptr_t place = (uintptr_t)function / sizeof(*function);

    return &runtime->room_hints[place % BELAY__ROOM_HINTS];
}

/* The first frame of a task stands behind it, as long as it lives. */
static inline struct belay__frame *
belay__task_first_frame(const belay_task *task)
{
    char *block = belay__without_const(task);

    return (
        struct belay__frame *)(void *)(block + belay__align16(sizeof(*task)));
}

/* Room for `count` more deadlines; BELAY_ENOMEM changes nothing. */
static inline int
belay__deadline_reserve(belay_runtime *runtime, uint32_t count)
{
    struct belay__heap *heap = &runtime->deadlines;

    if (__builtin_expect(count >= heap->room - heap->reserved, 0)) {
        return belay__deadline_grow(runtime, count); /* slot 0 is not used */
    }
    heap->reserved += count;
    return 0;
}

static inline void
belay__deadline_release(belay_runtime *runtime, uint32_t count)
{
    assert(runtime->deadlines.reserved >= count);
    runtime->deadlines.reserved -= count;
}

/* Room for a scope more: for its deadline, `waits` others and its cancel.
 * BELAY_ENOMEM changes nothing.
 */
static inline int
belay__scope_reserve(belay_runtime *runtime, uint32_t waits)
{
    struct belay__cancels *cancels = &runtime->cancels;
    int code;

    if (__builtin_expect(cancels->room - cancels->reserved <= 1, 0)) {
        code = belay__cancels_grow(runtime); /* slot 0 is not used */
        if (code < 0) {
            return code;
        }
    }
    code = belay__deadline_reserve(runtime, 1 + waits);
    if (code == 0) {
        cancels->reserved++;
    }
    return code;
}

static inline void
belay__scope_release(belay_runtime *runtime, uint32_t waits)
{
    belay__deadline_release(runtime, 1 + waits);
    runtime->cancels.reserved--;
}

/* ---- what runs at every suspension, inline ---- */

/* Is anybody to be told of events of these kinds? */
static inline bool
belay__observed(const belay_runtime *runtime, uint32_t kinds)
{
    return __builtin_expect((runtime->observers.kinds & kinds) != 0, 0);
}

/* Would the task's next checkpoint be cancelled? Looks at one scope only. */
static inline bool
belay__cancel_visible(const belay_task *task)
{
    const struct belay__scope *scope = task->scope;

    if (__builtin_expect((scope->flags & BELAY__SCOPE_MARKS) == 0, 1)) {
        return false;
    }
    return (scope->flags & BELAY__SCOPE_CUT) != 0 || scope->depth > task->floor;
}

/* May the step start an operation, or end its frame? If it must not, an await
 * was forgotten, mostly.
 */
static inline bool
belay__is_idle(const belay_task *task)
{
    return __builtin_expect(task->state == BELAY__TASK_RUNNING, 1);
}

/* Aborts, with a message for users. It is said to return, so that a short
 * function can end in this call and needs no stack of its own.
 */
belay_next belay__started_twice(const belay_task *task) __attribute__((cold));

static inline void
belay__require_idle(const belay_task *task)
{
    if (!belay__is_idle(task)) {
        (void)belay__started_twice(task);
    }
}

/* Takes over the reference on error. */
static inline void
belay__result_set(belay_task *task, int code, void *value, belay_error *error)
{
    belay_error *old = task->result.error;

    task->result = (struct belay_result){code, false, value, error};
    if (__builtin_expect(old != NULL, 0)) {
        belay_error_unref(old);
    }
}

/* The same for what most operations deliver: 0, and nothing. */
static inline void
belay__result_zero(belay_task *task)
{
    belay_error *old = task->result.error;

    memset(&task->result, 0, sizeof(task->result));
    if (__builtin_expect(old != NULL, 0)) {
        belay_error_unref(old);
    }
}

/* At the end of a wait: there is none yet. */
static inline void
belay__result_first(belay_task *task, int code, bool cancelled, void *value)
{
    task->result = (struct belay_result){code, cancelled, value, NULL};
}

/* Copies with a reference more. */
static inline struct belay_result
belay__result_copy(const struct belay_result *result)
{
    if (__builtin_expect(result->error != NULL, 0)) {
        (void)belay_error_ref(result->error);
    }
    return *result;
}

/* To the end of the ready queue, which is closed when it is taken. */
static inline void
belay__ready_append(belay_runtime *runtime, belay_task *task)
{
    *runtime->ready_end = task;
    runtime->ready_end = &task->ready_next;
}

/* The same from outside a pass too, unless it is in there: for an abort. */
static inline void
belay__task_queue(belay_task *task)
{
    belay_runtime *runtime = task->runtime;
    const bool first = runtime->ready_first == NULL;

    if (task->abort_queued) {
        return;
    }
    belay__ready_append(runtime, task);
    if (first) {
        belay__runtime_kick(runtime);
    }
}

static inline void
belay__task_start(belay_task *task)
{
    assert(belay__task_owner(task)->ended != NULL);
    belay__task_queue(task);
    task->state = BELAY__TASK_QUEUED;
}

/* All but its arguments. */
static inline void
belay__frame_init(
    struct belay__frame *frame, const belay_function *function, uint32_t flags)
{
    frame->caller = NULL;
    frame->function = function;
    frame->step = function->step;
    frame->scopes = NULL;
    frame->resume = (struct belay__resume){.line = 0, .flags = flags};
}

static inline void
belay__frame_copy(struct belay__frame *frame, const void *arguments)
{
    const size_t bytes = frame->function->size;

    if (arguments == NULL) {
        return;
    }
    if (bytes == sizeof(void *)) { /* as for many: one pointer */
        memcpy(belay__frame_self(frame), arguments, sizeof(void *));
    } else {
        memcpy(belay__frame_self(frame), arguments, bytes);
    }
}

/* What a frame takes in an arena, and where it is kept outside of one. */
static inline size_t
belay__frame_bytes(const belay_function *function)
{
    return sizeof(struct belay__frame) + belay__align16(function->size);
}

/* Room for a frame; `size` is a multiple of 16. NULL when out of memory. */
static inline void *
belay__frame_push(belay_task *task, size_t size)
{
    struct belay__arena *arena = task->frames;
    void *ptr = arena->cursor;

    assert(size % 16 == 0);
    if (__builtin_expect((ptrdiff_t)size > arena->end - arena->cursor, 0)) {
        return belay__frame_push_chunk(task, size);
    }
    arena->cursor += size;
    return ptr;
}

/* The frame on top has ended, its scopes with it; the stack keeps an entry. */
static inline void
belay__frame_pop(belay_task *task, struct belay__frame *frame)
{
    task->top = frame->caller;
    if ((frame->resume.flags & BELAY__FRAME_STACKED) == 0) {
        belay__arena_pop(task->runtime, task->frames, frame);
    }
}

/* In a step of an enter: what it opens stays in the task that has opened it,
 * whatever becomes of a stack that it is on.
 */
static inline void
belay__enter_bound(const belay_task *task)
{
    task->top->resume.flags |= BELAY__FRAME_BOUND;
}

/* A manager is open: its owner goes on in the body. */
static inline void
belay__frame_entered(belay_task *task, struct belay__frame *scope)
{
    struct belay__frame *owner = scope->caller;

    scope->resume.flags |= BELAY__FRAME_ENTERED;
    if ((scope->resume.flags & BELAY__FRAME_GENERATOR) == 0) {
        scope->resume.line = owner->resume.line;
    } else {
        belay__frame_exit(scope)->line = owner->resume.line;
    }
    scope->outer = owner->scopes; /* in the place of `caller` */
    owner->scopes = scope;
    task->top = owner;
}

/* Takes a scope off its owner's list; the owner will go on behind the block. */
static inline void
belay__frame_unlink(
    belay_task *task, struct belay__frame *scope, int32_t body_line)
{
    struct belay__frame *owner = task->top;

    assert(owner->scopes == scope);
    owner->scopes = scope->outer;
    owner->step = scope->u.after;
    owner->resume.line = -body_line;
    scope->caller = owner;
}

/* The outcome is in place; the scope's steps are those of its exit. */
static inline void
belay__exit_start(
    belay_task *task, struct belay__frame *scope, struct belay__exit *exit)
{
    /* Its enter may have ended with a return inside a block. */
    scope->resume.flags &= ~(uint32_t)BELAY__FRAME_RETURNING;
    scope->resume.flags |= BELAY__FRAME_EXITING;
    scope->u.exit = exit;
    exit->floor = task->floor;
    task->floor = task->scope->depth;
    task->top = scope;
    if (belay__observed(task->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_exiting(task, scope);
    }
}

/* The newest scope of the frame on top, with a manager in class style: its
 * exit runs next, once its outcome is set. Its frame is the arena's newest, so
 * the outcome has its place behind it.
 */
static inline struct belay_result *
belay__exit_begin_class(belay_task *task, struct belay__frame *scope)
{
    struct belay__arena *arena = task->frames;
    struct belay__exit *exit = (struct belay__exit *)(void *)arena->cursor;

    assert(exit == belay__frame_exit(scope));
    arena->cursor = (char *)(exit + 1);
    belay__frame_unlink(task, scope, scope->resume.line);
    belay__exit_start(task, scope, exit);
    scope->step = belay__frame_manager(scope)->exit;
    scope->resume.line = 0;
    return &exit->outcome;
}

/* The exit may have closed the scope that an exit around it masks, as that of
 * a generator manager with a timeout round its yield.
 */
static inline void
belay__floor_restore(belay_task *task, const struct belay__exit *exit)
{
    const int32_t inside = task->floor;
    const int32_t depth = task->scope->depth;

    task->floor = exit->floor < depth ? exit->floor : depth;
    if (__builtin_expect(depth > inside, 0)) {
        belay__scopes_outlive_exit(task, inside);
    }
}

#endif
