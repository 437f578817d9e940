/* scope.h - deadlines and cancel scopes (private).
 *
 * docs/design/runtime.md tells how cancels reach tasks; cancel.c keeps the
 * invariant of the marks, deadline.c that of the heap.
 */
#ifndef BELAY_RUNTIME_SCOPE_H
#define BELAY_RUNTIME_SCOPE_H

#include <assert.h>

#include <belay/task.h>

/* ---- deadlines: a 4-ary heap behind one uv timer (deadline.c) ---- */

enum belay__deadline_kind {
    BELAY__DEADLINE_SLEEP, /* a task's wait */
    BELAY__DEADLINE_SCOPE, /* a cancel scope's deadline, later its grace */
    BELAY__DEADLINE_TIMER, /* a callback of the library */
};

#define BELAY__DEADLINES_MAX ((UINT32_C(1) << 30) - 1)

/* When it is due stands in the heap, beside the pointer to it: what is
 * compared while the heap is sorted lies together.
 */
struct belay__deadline {
    uint32_t index : 30; /* in the heap, from 1; 0: not armed */
    uint32_t kind : 2;   /* enum belay__deadline_kind */
};

struct belay__due {
    int64_t ns;
    struct belay__deadline *deadline;
};

struct belay__heap {
    struct belay__due *slots; /* slots[1..count] */
    uint32_t count;
    uint32_t room;
    uint32_t left; /* may still be reserved, to be armed one day */
};

/* A timer of the library. Reserve first; then start and stop cannot fail. */
struct belay__timer {
    struct belay__deadline deadline;
    void (*fn)(struct belay__timer *timer);
};

int belay__deadline_grow(belay_runtime *runtime, uint32_t count);
/* Gives room back if it is far too much; without memory it stays. */
void belay__deadline_shrink(belay_runtime *runtime);
/* Arms, or moves, a deadline for which room is reserved. */
void belay__deadline_arm(
    belay_runtime *runtime, struct belay__deadline *deadline, int64_t due_ns);
void belay__deadline_disarm(
    belay_runtime *runtime, struct belay__deadline *deadline);
/* Handles everything that is due; queues tasks, runs no step. */
void belay__deadline_expire(belay_runtime *runtime);
/* The earliest armed one, or INT64_MAX. */
int64_t belay__deadline_next(const belay_runtime *runtime);
/* now + span on the runtime's clock, saturating. */
int64_t belay__due(const belay_runtime *runtime, belay_duration span);

int belay__timer_init(belay_runtime *runtime, struct belay__timer *timer,
    void (*fn)(struct belay__timer *timer));
void belay__timer_start(
    belay_runtime *runtime, struct belay__timer *timer, int64_t due_ns);
void belay__timer_stop(belay_runtime *runtime, struct belay__timer *timer);
/* When it is due; INT64_MAX if it is not armed. */
int64_t belay__timer_due(
    const belay_runtime *runtime, const struct belay__timer *timer);
void belay__timer_fini(belay_runtime *runtime, struct belay__timer *timer);

/* ---- cancel scopes (cancel.c) ---- */

enum {
    BELAY__SCOPE_CANCELLED = 1,  /* its own cancel was asked for */
    BELAY__SCOPE_VISIBLE = 2,    /* it or a visible parent is cancelled */
    BELAY__SCOPE_CUT = 4,        /* VISIBLE, and the grace is over */
    BELAY__SCOPE_SHIELD = 8,     /* a user's shield: blocks both */
    BELAY__SCOPE_IN_EXIT = 16,   /* opened inside an exit: blocks VISIBLE */
    BELAY__SCOPE_EXPIRED = 32,   /* its own deadline has passed */
    BELAY__SCOPE_CAUGHT = 64,    /* it absorbed a cancel */
    BELAY__SCOPE_GRACE = 128,    /* its cancel has a time: grace_ns */
    BELAY__SCOPE_OVER = 256,     /* … which has passed */
    BELAY__SCOPE_HELD = 512,     /* a cancel waits behind the shield, until
                                   pierced_ns */
    BELAY__SCOPE_PIERCED = 1024, /* … which has passed: no shield any more */
    BELAY__SCOPE_STUCK = 2048,   /* what is left in it was reported */
    BELAY__SCOPE_LIMITED = 4096, /* it is the one in a struct belay__limits */
    BELAY__SCOPE_COUNTED = 8192, /* waits in it are counted, for tests; all
                                    scopes below have it too */
    BELAY__SCOPE_BASE = 16384,   /* a task's own */
    BELAY__SCOPE_NAMED = 32768,  /* … of a task with a name of its own */
    BELAY__SCOPE_OWNER = 65536,  /* it is the one in a struct belay__owner */
    BELAY__SCOPE_LANDMARK = 131072, /* a stack keeps its depth in mind */
    BELAY__SCOPE_MARKS = BELAY__SCOPE_VISIBLE | BELAY__SCOPE_CUT,
    BELAY__SCOPE_NOTED = BELAY__SCOPE_MARKS | BELAY__SCOPE_COUNTED,
};

/* Who keeps a scope open that lies in no block: an entry of an exit stack. It
 * may have to give it up before its time, see belay__scope_evict().
 */
struct belay__keeper {
    const struct belay__keeper_kind *kind;
};

struct belay__keeper_kind {
    bool (*can_evict)(struct belay__keeper *keeper);
    belay_next (*evict)(
        struct belay__keeper *keeper, belay_task *task, belay_step *then);
};

/* What a cancel needs to reach tasks. Every task has one, and most never use
 * more: what only some have stands apart.
 */
struct belay__scope {
    struct belay__scope *parent;
    struct belay__scope *child; /* first */
    struct belay__scope *next;  /* sibling */
    struct belay__scope *prev;
    uint32_t flags;
    int32_t depth; /* more than that of the task's scopes above it */
    struct belay__deadline deadline; /* armed for what comes first */
    uint32_t cancel; /* its place in belay__cancels, from 1; 0: CANCELLED is
                        not set */
};

/* One that is not a task's base scope. */
struct belay__opened_scope {
    struct belay__scope scope; /* the first member */
    belay_task *task; /* whose stack it is on; NULL: the runtime's own */
    struct belay__keeper *keeper; /* NULL: it is a block's */
    const char *name;
};

/* Who is told that the tasks below its scope have ended: a group, say. */
struct belay__owner {
    struct belay__opened_scope opened; /* with OWNER */
    void (*ended)(struct belay__owner *owner, belay_task *task);
};

/* A scope with times of its own. */
struct belay__limits {
    struct belay__opened_scope opened; /* with LIMITED; the first member */
    int64_t deadline_ns;               /* INT64_MAX: none */
    int64_t grace_ns;   /* how long exits may take once it is cancelled */
    int64_t shield_ns;  /* how long the shield lasts */
    int64_t pierced_ns; /* once HELD is set: until when */
};

static inline const struct belay__limits *
belay__limits_of(const struct belay__scope *scope)
{
    assert((scope->flags & BELAY__SCOPE_LIMITED) != 0);
    return (const struct belay__limits *)(const void *)scope;
}

/* INT64_MAX: it has none. */
static inline int64_t
belay__scope_deadline(const struct belay__scope *scope)
{
    return (scope->flags & BELAY__SCOPE_LIMITED) != 0
               ? belay__limits_of(scope)->deadline_ns
               : INT64_MAX;
}

static inline bool
belay__scope_shields(const struct belay__scope *scope)
{
    return (scope->flags & (BELAY__SCOPE_SHIELD | BELAY__SCOPE_PIERCED))
           == BELAY__SCOPE_SHIELD;
}

/* What is told of the cancel of a scope. */
struct belay__cancel {
    struct belay_cancel_reason reason; /* its texts may be NULL */
    union {
        int64_t grace_ns; /* once GRACE is set: when it is over */
        uint32_t free;    /* of a place that is not taken: the next one */
    };
};

/* A cancel may not allocate, and few scopes are cancelled by themselves. So
 * places are reserved with the scopes, and hardly ever touched.
 */
struct belay__cancels {
    struct belay__cancel *slots; /* slots[1..fresh] have been in use */
    uint32_t room;
    uint32_t left;  /* may still be reserved */
    uint32_t taken; /* by scopes that are cancelled now */
    uint32_t fresh;
    uint32_t free; /* first; 0: none */
};

static inline void
belay__scope_attach(struct belay__scope *scope, struct belay__scope *parent)
{
    scope->parent = parent;
    scope->prev = NULL;
    scope->next = parent->child;
    if (scope->next != NULL) {
        scope->next->prev = scope;
    }
    parent->child = scope;
}

/* The same for a new one. */
static inline void
belay__scope_attach_below(
    struct belay__scope *scope, struct belay__scope *parent)
{
    scope->depth = parent->depth + 1;
    belay__scope_attach(scope, parent);
}

static inline void
belay__scope_detach(struct belay__scope *scope)
{
    if (scope->prev != NULL) {
        scope->prev->next = scope->next;
    } else {
        scope->parent->child = scope->next;
    }
    if (scope->next != NULL) {
        scope->next->prev = scope->prev;
    }
}

/* Arms the deadline of a scope that was linked, and marks it. */
void belay__scope_linked(belay_runtime *runtime, struct belay__scope *scope);

/* Links a scope below parent; belay__scope_reserve() was called for it. It
 * inherits what is in force, unless a shield flag is set.
 */
static inline void
belay__scope_link(belay_runtime *runtime, struct belay__scope *scope,
    struct belay__scope *parent)
{
    belay__scope_attach_below(scope, parent);
    if (((scope->flags & BELAY__SCOPE_LIMITED)
            | (parent->flags & BELAY__SCOPE_NOTED))
        != 0) {
        belay__scope_linked(runtime, scope);
    }
}

/* ---- what is told of cancels (reason.c) ---- */

/* The way of belay__scope_reserve() when there is no room. */
int belay__cancels_grow(belay_runtime *runtime);
/* Gives room back, with that for deadlines, if it is far too much; while none
 * is taken.
 */
void belay__cancels_shrink(belay_runtime *runtime);
/* Of a scope that is CANCELLED. */
struct belay__cancel *belay__cancel_of(
    const belay_runtime *runtime, const struct belay__scope *scope);
/* There is a place: it was reserved with the scope. */
void belay__cancel_take(belay_runtime *runtime, struct belay__scope *scope,
    const struct belay_cancel_reason *reason);
/* Disarms its deadline, and gives back the place of its cancel. */
void belay__scope_clear(belay_runtime *runtime, struct belay__scope *scope)
    __attribute__((noinline, cold));

static inline void
belay__scope_unlink(belay_runtime *runtime, struct belay__scope *scope)
{
    assert(scope->child == NULL);
    if ((scope->deadline.index | scope->cancel) != 0) {
        belay__scope_clear(runtime, scope);
    }
    belay__scope_detach(scope);
}

/* Hangs a task's base scope, with all below it, under another parent, whose
 * marks it has from then on. Nothing of a task runs in here.
 */
void belay__scope_reparent(belay_runtime *runtime, struct belay__scope *scope,
    struct belay__scope *parent);
/* Reserves, and makes the scope the innermost one of the running task; and
 * back. BELAY_ENOMEM: nothing has changed.
 */
int belay__scope_push(belay_task *task, struct belay__opened_scope *opened);
void belay__scope_pop(belay_task *task, struct belay__opened_scope *opened);
/* The scope ends. Is the task's innermost one another, still open inside of it,
 * that can be unwound first? Not if its exit, or one in it, runs already: then
 * this end is part of that, and this scope leaves from outside of the other.
 */
bool belay__scope_must_evict(
    const belay_task *task, const struct belay__scope *scope);
/* Has the innermost one unwound, which makes a failure of task->result; the
 * running frame goes on in the step `then`: an exit, whose outcome that failure
 * is. Allocates nothing but the error.
 */
belay_next belay__scope_evict(belay_task *task, belay_step *then);
/* An exit has put scopes on a stack that stays: from now on those deeper than
 * its floor are scopes like any other.
 */
void belay__scopes_outlive_exit(belay_task *task, int32_t floor);
/* Marks and queues; the first reason is kept. Never allocates. */
void belay__scope_cancel(belay_runtime *runtime, struct belay__scope *scope,
    enum belay_cancel_source source, const char *text, const belay_task *by);
/* The same for a reason that was kept. */
void belay__scope_cancel_for(belay_runtime *runtime, struct belay__scope *scope,
    const struct belay_cancel_reason *reason);
void belay__scope_set_shield(
    belay_runtime *runtime, struct belay__scope *scope, bool shield);
/* BELAY_ESTATE: it is cancelled; nothing has changed. */
int belay__scope_move(
    belay_runtime *runtime, struct belay__scope *scope, int64_t deadline_ns);
void belay__scope_due(belay_runtime *runtime, struct belay__scope *scope);
/* Does a cancel from outside reach the scope? */
bool belay__scope_reached(const struct belay__scope *scope);
/* Queues a parked task that sees a cancel, for its abort hook to be asked. */
void belay__cancel_notice(belay_task *task);
/* Why it was cancelled, with BELAY_CANCEL_NONE if it was not; no text is NULL.
 */
struct belay_cancel_reason belay__scope_reason(
    const belay_runtime *runtime, const struct belay__scope *scope);
/* For a cancel with this text by this task, which may be NULL. */
struct belay_cancel_reason belay__cancel_reason(
    enum belay_cancel_source source, const char *text, const belay_task *by);
/* Would a cancel that reaches the exit of `scope` end there? Sets CAUGHT. */
bool belay__scope_absorb(
    struct belay__scope *scope, const struct belay_result *outcome);

#endif
