/* internal.h - the structures that the files of runtime/ and scopes/ share.
 *
 * Life of a task: new, ready, parked, ready again …, ended. It is in
 * the ready queue at most once; a parked task that must look at a cancel is
 * queued too, and parked again if that does not end its wait.
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
    BELAY__TASK_READY,   /* queued, or the one that runs */
    BELAY__TASK_STARTED, /* running; its step has started an operation */
    BELAY__TASK_PARKED,
    BELAY__TASK_NOTICED, /* … and queued, to look at a cancel */
    BELAY__TASK_ASKED,   /* parked; its abort hook has refused, or said later */
    BELAY__TASK_ENDED,
};

struct belay_task {
    belay_task *ready_next; /* the first member: it is linked by its address */
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
    struct belay_waiters *joiners; /* a ring of their places, the first one */
    struct belay__scope base;
    uint64_t id;
    struct belay__deadline deadline; /* of a wait that is for a time */
    uint32_t refs;
    int32_t floor;       /* while an exit runs: scopes down to this depth are
                      masked; else BELAY__NO_FLOOR */
    uint8_t state;       /* enum belay__task_state */
    uint8_t block_place; /* for belay__block_free() … */
    uint16_t block_size; /* as belay__block_code() */
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
/* Gives each task that is ready now a turn. */
void belay__run_lap(belay_runtime *runtime);
/* Who is told of steps and scopes has changed. The task that runs, if one does,
 * goes on in the loop that asks whom to tell, and so do those behind it.
 */
void belay__run_observed(belay_runtime *runtime);
void belay__task_end(belay_task *task);

/* How a step's token looks inside. */
enum belay__how {
    BELAY__HOW_NONE, /* a token that nothing made */
    BELAY__HOW_WAIT = BELAY__TOKEN_WAIT,
    BELAY__HOW_TURN, /* done, but others first */
    BELAY__HOW_CALL,
    BELAY__HOW_ENTER = BELAY__TOKEN_ENTER, /* staged, not in a block */
    BELAY__HOW_EXIT, /* an exit stack runs an entry's exit */
    BELAY__HOW_END,
    BELAY__HOW_LEAVE,
    BELAY__HOW_YIELD,
    /* By BELAY_WITH: staged in a block, and refused. */
    BELAY__HOW_BLOCK = BELAY__HOW_ENTER + BELAY__TOKEN_IN_BLOCK,
    BELAY__HOW_NO_BLOCK = BELAY__HOW_WAIT + BELAY__TOKEN_IN_BLOCK,
};

/* Is it a refusal? Else it is no token of an enter operation. */
void belay__require_refused(const belay_task *task, belay_next enter);

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
/* The outcome that the exit of a scope sees. */
static inline const struct belay_result *
belay__outcome_of(const struct belay__frame *scope)
{
    static const struct belay_result none = {0};

    return (scope->resume.flags & BELAY__FRAME_WAS_LEFT) != 0
               ? &none
               : &scope->u.exit->outcome;
}

/* In a step of an exit: the outcome, to be changed or taken over. */
static inline struct belay_result *
belay__exit_outcome(const belay_task *task)
{
    struct belay__frame *scope = task->top;

    if ((scope->resume.flags & BELAY__FRAME_WAS_LEFT) != 0) {
        scope->resume.flags &= ~(uint32_t)BELAY__FRAME_WAS_LEFT;
        scope->u.exit->outcome = (struct belay_result){0};
    }
    return &scope->u.exit->outcome;
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

struct belay__binding {
    struct belay__binding *below;
    const struct belay_var *var;
    void *value;
    uint64_t serial; /* of the set, for its token */
    uint32_t refs;
};

static inline struct belay__binding *
belay__context_ref(struct belay__binding *binding)
{
    if (binding != NULL) {
        binding->refs++;
    }
    return binding;
}

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

/* How much room to have. It stays unless no more than a quarter is used or
 * reserved; then it becomes twice what is. So to grow and to shrink again costs
 * no more than what was done in between.
 */
static inline uint32_t
belay__room_wanted(uint32_t room, uint32_t used, uint32_t room_min)
{
    if (room <= room_min || used > room / 4) {
        return room;
    }
    return used * 2 > room_min ? used * 2 : room_min;
}

/* Set anew for each task that runs, in one store. */
struct belay__turn {
    int32_t steps_left; /* behind the one that runs: signed, so that counting
                           and looking are one instruction */
    int32_t steps_kept; /* one more than steps_left was when it was set to 0, to
                           have the loop look around; 0: it was not */
    int64_t began_ns;   /* when the task first asked; 0: it has not */
};

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
    struct belay__turn turn;     /* of the task that runs */
    struct belay__turn new_turn; /* what one begins with */
    int32_t step_budget;
    belay_next unfollowed; /* what the step has returned, for functions aside */
    belay_task *lap_first; /* of those that were ready when the lap began */
    belay_task *lap_rest;  /* of one that was ended, to be told of the others */
    belay_task *ready_first;
    belay_task **ready_end; /* where the next one is put */
    belay_task *current;
    struct belay__frame *staged; /* made by the step that runs, not pushed */
    struct belay__heap deadlines;
    struct belay__cancels cancels;
    int32_t depth_used; /* of landmarks that are gone: scopes begin below */
    struct belay__opened_scope root;
    struct belay__blocks blocks;
    struct belay__room_hint room_hints[BELAY__ROOM_HINTS];
    int64_t grace_ns;
    belay_stuck_fn *stuck; /* or NULL */
    void *stuck_arg;
    int64_t stuck_after_ns;
    uint32_t pending_ops; /* waits for something outside */
    uint64_t turns;       /* a task has had */
    uint64_t tasks_alive;
    uint64_t tasks_discarded; /* before they were started */
    uint64_t handles;         /* of tasks that have ended, so many tasks */
    uint64_t last_id;         /* of a task; all that were made have one */
    uint64_t last_binding;    /* serial */
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
    bool in_callback; /* another one of the loop's */
    bool idle_on;
    bool closing; /* a close was asked for */
    bool shut;    /* its handles are closing */
    void (*closed_fn)(void *arg);
    void *closed_arg;
};

/* All of the process, for debuggers only: tools/gdb/belay-gdb.py. */
extern belay_runtime *belay__runtimes;
/* This thread is inside a belay_run(), or a callback of a runtime. */
extern _Thread_local bool belay__inside_run;

static inline uint64_t
belay__tasks_started(const belay_runtime *runtime)
{
    return runtime->last_id - runtime->tasks_discarded;
}

int64_t belay__clock_now(const belay_runtime *runtime);
/* The same, read once a run: what a task does between two suspensions is done
 * at one time. Outside of a run, and with a virtual clock, it is always read.
 */
int64_t belay__clock_of_run(belay_runtime *runtime);
/* Changes every few milliseconds, by the system's own tick, and costs less to
 * read; with a virtual clock it stays the same.
 */
int64_t belay__clock_tick(const belay_runtime *runtime);
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

/* Next scope in the tree, parents before children; adds to *depth. */
const struct belay__scope *belay__scope_next(
    const struct belay__scope *scope, int *depth);

#include "runtime/hot.h" /* needs all of the above */

#endif
