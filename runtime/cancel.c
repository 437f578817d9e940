/* cancel.c - cancel scopes: level-triggered, marked from above.
 *
 * A cancel marks the subtree of its scope once, without recursion and without
 * memory, and queues the parked tasks that now see it; nothing of a task runs
 * in here. So a checkpoint only looks at one scope, its task's innermost.
 *
 * Two marks go down the tree. VISIBLE: cancelled. CUT: cancelled, and the
 * grace is over. A shield stops both (until its own grace is over); the
 * border of a running exit stops VISIBLE only. Invariant, kept by mark():
 * the marks of a scope follow from its own flags and its parent's marks.
 */
#include "runtime/internal.h"

#include <assert.h>

#define MARKS (uint32_t) BELAY__SCOPE_MARKS

static uint32_t
own_marks(const struct belay__scope *scope)
{
    if ((scope->flags & BELAY__SCOPE_OVER) != 0) {
        return MARKS;
    }
    return (scope->flags & BELAY__SCOPE_CANCELLED) != 0 ? BELAY__SCOPE_VISIBLE
                                                        : 0;
}

/* What would come in if the scope had no shield. */
static uint32_t
marks_outside(const struct belay__scope *scope)
{
    const uint32_t above =
        scope->parent != NULL ? scope->parent->flags & MARKS : 0;

    if ((scope->flags & BELAY__SCOPE_IN_EXIT) != 0) {
        return (above & BELAY__SCOPE_CUT) != 0 ? MARKS : 0;
    }
    return above;
}

static uint32_t
inherited_marks(const struct belay__scope *scope)
{
    return belay__scope_shields(scope) ? 0 : marks_outside(scope);
}

void
belay__cancel_notice(belay_task *task)
{
    if (task->state == BELAY__TASK_PARKED && belay__cancel_visible(task)) {
        task->state = BELAY__TASK_NOTICED;
        belay__task_queue(task);
    }
}

/* When what is left in the scope is reported; INT64_MAX: never. */
static int64_t
stuck_due(const belay_runtime *runtime, const struct belay__scope *scope)
{
    int64_t due;

    if (runtime->stuck == NULL
        || (scope->flags & (BELAY__SCOPE_OVER | BELAY__SCOPE_STUCK))
               != BELAY__SCOPE_OVER
        || __builtin_add_overflow(belay__cancel_of(runtime, scope)->grace_ns,
            runtime->stuck_after_ns, &due)) {
        return INT64_MAX;
    }
    return due;
}

static void
rearm(belay_runtime *runtime, struct belay__scope *scope)
{
    int64_t due = INT64_MAX;

    if ((scope->flags & BELAY__SCOPE_CANCELLED) == 0) {
        due = belay__scope_deadline(scope);
    }
    if ((scope->flags & BELAY__SCOPE_GRACE) != 0
        && (scope->flags & BELAY__SCOPE_OVER) == 0
        && belay__cancel_of(runtime, scope)->grace_ns < due) {
        due = belay__cancel_of(runtime, scope)->grace_ns;
    }
    if ((scope->flags & BELAY__SCOPE_HELD) != 0 && belay__scope_shields(scope)
        && belay__limits_of(scope)->pierced_ns < due) {
        due = belay__limits_of(scope)->pierced_ns;
    }
    if (stuck_due(runtime, scope) < due) {
        due = stuck_due(runtime, scope);
    }
    belay__deadline_arm(runtime, &scope->deadline, due);
}

/* From now on the grace of the scope runs, if it has an end. */
static void
start_grace(belay_runtime *runtime, struct belay__scope *scope)
{
    int64_t span;

    if ((scope->flags & BELAY__SCOPE_GRACE) == 0) {
        span = (scope->flags & BELAY__SCOPE_LIMITED) != 0
                   ? belay__limits_of(scope)->grace_ns
                   : runtime->grace_ns;
        scope->flags |= BELAY__SCOPE_GRACE;
        if (span == 0) {
            scope->flags |= BELAY__SCOPE_OVER;
        }
        belay__cancel_of(runtime, scope)->grace_ns =
            belay__due(runtime, belay_nanoseconds(span));
    }
    rearm(runtime, scope);
}

static bool
waits_behind_shield(const struct belay__scope *scope)
{
    return belay__scope_shields(scope) && marks_outside(scope) != 0
           && (scope->flags & BELAY__SCOPE_HELD) == 0;
}

/* From now on the time of the shield runs, if it has an end. When it is over
 * the cancel comes in as it is: what remains of its grace is for the exits.
 */
static void
hold(belay_runtime *runtime, struct belay__scope *scope)
{
    struct belay__limits *limits =
        BELAY__CONTAINER(scope, struct belay__limits, opened.scope);

    scope->flags |= BELAY__SCOPE_HELD;
    if (limits->shield_ns == 0) {
        scope->flags |= BELAY__SCOPE_PIERCED;
    }
    limits->pierced_ns =
        belay__due(runtime, belay_nanoseconds(limits->shield_ns));
    rearm(runtime, scope);
}

/* What waited is gone: the time has not begun. */
static void
let_go(belay_runtime *runtime, struct belay__scope *scope)
{
    scope->flags &= ~(uint32_t)(BELAY__SCOPE_HELD | BELAY__SCOPE_PIERCED);
    rearm(runtime, scope);
}

/* Brings one scope's marks up to date; says whether they have changed. */
static bool
mark_one(belay_runtime *runtime, struct belay__scope *scope)
{
    belay_task *task = belay__scope_task(scope);
    uint32_t marks;

    if (waits_behind_shield(scope)) {
        hold(runtime, scope);
    } else if ((scope->flags & BELAY__SCOPE_HELD) != 0
               && marks_outside(scope) == 0) {
        let_go(runtime, scope);
    }
    marks = own_marks(scope) | inherited_marks(scope);
    if (marks == (scope->flags & MARKS)) {
        return false;
    }
    scope->flags = (scope->flags & ~MARKS) | marks;
    if (task != NULL && task->scope == scope) {
        belay__cancel_notice(task);
    }
    return true;
}

static void
mark(belay_runtime *runtime, struct belay__scope *root)
{
    struct belay__scope *scope = root;

    for (;;) {
        if (mark_one(runtime, scope) && scope->child != NULL) {
            scope = scope->child;
            continue;
        }
        while (scope != root && scope->next == NULL) {
            scope = scope->parent;
        }
        if (scope == root) {
            return;
        }
        scope = scope->next;
    }
}

void
belay__scope_linked(belay_runtime *runtime, struct belay__scope *scope)
{
    if (belay__scope_deadline(scope) != INT64_MAX) {
        rearm(runtime, scope);
    }
    scope->flags |= scope->parent->flags & (uint32_t)BELAY__SCOPE_COUNTED;
    if ((scope->parent->flags & MARKS) != 0) {
        (void)mark_one(runtime, scope);
    }
}

/* The depths below stay as they are: they only say what is inside of what, and
 * within one task.
 */
static void
hang(belay_runtime *runtime, struct belay__scope *scope,
    struct belay__scope *parent)
{
    belay__scope_detach(scope);
    belay__scope_attach(scope, parent);
    mark(runtime, scope);
}

void
belay__scope_reparent(belay_runtime *runtime, struct belay__scope *scope,
    struct belay__scope *parent)
{
    assert((scope->flags & BELAY__SCOPE_BASE) != 0
           && (parent->flags & BELAY__SCOPE_OWNER) != 0);
    hang(runtime, scope, parent);
}

int
belay__scope_push(belay_task *task, struct belay__opened_scope *opened)
{
    int code = belay__scope_reserve(task->runtime);

    if (code < 0) {
        return code;
    }
    if (task->scope->depth <= task->floor) {
        opened->scope.flags |= BELAY__SCOPE_IN_EXIT;
    }
    opened->task = task;
    belay__scope_link(task->runtime, &opened->scope, task->scope);
    if (opened->scope.depth <= task->runtime->depth_used) {
        opened->scope.depth = task->runtime->depth_used + 1;
    }
    task->scope = &opened->scope;
    return 0;
}

/* The scope inside of `gone` is now inside of its parent. What that inherits is
 * what it would if the other one had never been there.
 */
static void
close_gap(belay_task *task, const struct belay__scope *gone)
{
    struct belay__scope *scope = task->scope;

    while (scope->parent != gone) {
        BELAY__REQUIRE_OF(task, scope != &task->base,
            "'%s' is none of its scopes", belay__scope_name(gone));
        scope = scope->parent;
    }
    scope->flags |= gone->flags & (uint32_t)BELAY__SCOPE_IN_EXIT;
    hang(task->runtime, scope, gone->parent);
}

void
belay__scope_pop(belay_task *task, struct belay__opened_scope *opened)
{
    if (task->scope == &opened->scope) {
        task->scope = opened->scope.parent;
    } else {
        close_gap(task, &opened->scope);
    }
    belay__scope_unlink(task->runtime, &opened->scope);
    belay__scope_release(task->runtime);
}

static struct belay__keeper *
innermost_keeper(const belay_task *task)
{
    struct belay__keeper *keeper = task->scope != &task->base
                                       ? belay__opened_of(task->scope)->keeper
                                       : NULL;

    BELAY__REQUIRE_OF(task, keeper != NULL,
        "it ends inside of cancel scope '%s'", belay__scope_name(task->scope));
    return keeper;
}

bool
belay__scope_must_evict(
    const belay_task *task, const struct belay__scope *scope)
{
    struct belay__keeper *keeper;

    if (task->scope == scope) {
        return false;
    }
    keeper = innermost_keeper(task);
    return keeper->kind->can_evict(keeper);
}

belay_next
belay__scope_evict(belay_task *task, belay_step *then)
{
    struct belay__keeper *keeper = innermost_keeper(task);

    return keeper->kind->evict(keeper, task, then);
}

void
belay__scopes_outlive_exit(belay_task *task, int32_t floor)
{
    for (struct belay__scope *scope = task->scope; scope->depth > floor;
         scope = scope->parent) {
        if ((scope->flags & BELAY__SCOPE_IN_EXIT) != 0
            && scope->parent->depth > task->floor) {
            scope->flags &= ~(uint32_t)BELAY__SCOPE_IN_EXIT;
            mark(task->runtime, scope);
        }
    }
}

static void
happened(belay_runtime *runtime, enum belay_observed_event event,
    const struct belay__scope *scope)
{
    if (belay__observed(runtime, BELAY_OBSERVE_CANCELS)) {
        belay__observe_scope(runtime, event, scope, 0);
    }
}

void
belay__scope_cancel_for(belay_runtime *runtime, struct belay__scope *scope,
    const struct belay_cancel_reason *reason)
{
    assert(belay__on_thread(runtime));
    if ((scope->flags & BELAY__SCOPE_CANCELLED) != 0) {
        return;
    }
    scope->flags |= BELAY__SCOPE_CANCELLED;
    belay__cancel_take(runtime, scope, reason);
    start_grace(runtime, scope);
    mark(runtime, scope);
    happened(runtime, BELAY_OBSERVED_SCOPE_CANCEL, scope);
}

void
belay__scope_cancel(belay_runtime *runtime, struct belay__scope *scope,
    enum belay_cancel_source source, const char *text, const belay_task *by)
{
    const struct belay_cancel_reason reason =
        belay__cancel_reason(source, text, by);

    belay__scope_cancel_for(runtime, scope, &reason);
}

void
belay__scope_due(belay_runtime *runtime, struct belay__scope *scope)
{
    const int64_t now = belay__clock_now(runtime);

    if ((scope->flags & BELAY__SCOPE_CANCELLED) == 0
        && belay__scope_deadline(scope) <= now) {
        scope->flags |= BELAY__SCOPE_EXPIRED;
        happened(runtime, BELAY_OBSERVED_DEADLINE_EXPIRE, scope);
        belay__scope_cancel(
            runtime, scope, BELAY_CANCEL_DEADLINE, "the deadline passed", NULL);
    }
    if ((scope->flags & (BELAY__SCOPE_GRACE | BELAY__SCOPE_OVER))
            == BELAY__SCOPE_GRACE
        && belay__cancel_of(runtime, scope)->grace_ns <= now) {
        scope->flags |= BELAY__SCOPE_OVER;
        /* The loop may be late: they begin to end now. */
        belay__cancel_of(runtime, scope)->grace_ns = now;
        mark(runtime, scope);
        happened(runtime, BELAY_OBSERVED_DEADLINE_GRACE, scope);
    }
    if ((scope->flags & BELAY__SCOPE_HELD) != 0
        && belay__limits_of(scope)->pierced_ns <= now) {
        scope->flags |= BELAY__SCOPE_PIERCED;
        mark(runtime, scope);
    }
    if (stuck_due(runtime, scope) <= now) {
        scope->flags |= BELAY__SCOPE_STUCK;
        belay__stuck_report(runtime, scope);
    }
    rearm(runtime, scope);
}

void
belay__scope_set_shield(
    belay_runtime *runtime, struct belay__scope *scope, bool shield)
{
    if (shield) {
        scope->flags |= BELAY__SCOPE_SHIELD;
    } else {
        scope->flags &= ~(uint32_t)BELAY__SCOPE_SHIELD;
    }
    rearm(runtime, scope);
    mark(runtime, scope);
}

int
belay__scope_move(
    belay_runtime *runtime, struct belay__scope *scope, int64_t deadline_ns)
{
    /* Expired is enough: who is told of that may call, before the cancel. */
    if ((scope->flags & (BELAY__SCOPE_CANCELLED | BELAY__SCOPE_EXPIRED)) != 0) {
        return BELAY_ESTATE;
    }
    BELAY__CONTAINER(scope, struct belay__limits, opened.scope)->deadline_ns =
        deadline_ns;
    rearm(runtime, scope);
    if (belay__observed(runtime, BELAY_OBSERVE_CANCELS)) {
        belay__observe_scope(
            runtime, BELAY_OBSERVED_DEADLINE_MOVE, scope, deadline_ns);
    }
    return 0;
}

bool
belay__scope_reached(const struct belay__scope *scope)
{
    return inherited_marks(scope) != 0;
}

bool
belay__scope_absorb(
    struct belay__scope *scope, const struct belay_result *outcome)
{
    if (!outcome->cancelled || (scope->flags & BELAY__SCOPE_CANCELLED) == 0
        || inherited_marks(scope) != 0) {
        return false;
    }
    scope->flags |= BELAY__SCOPE_CAUGHT;
    return true;
}

/* The outermost cancelled scope whose cancel reaches `from`, a scope of the
 * task; and whether it has come into an exit because the grace is over.
 */
static const struct belay__scope *
cancelled_by(
    const belay_task *task, const struct belay__scope *from, bool *ret_by_grace)
{
    const struct belay__scope *found = NULL;
    bool in_exit = from->depth <= task->floor;

    *ret_by_grace = false;

    for (const struct belay__scope *scope = from; scope != NULL;
         scope = scope->parent) {
        if ((scope->flags & BELAY__SCOPE_CANCELLED) != 0) {
            found = scope;
            *ret_by_grace = in_exit;
        }
        if (inherited_marks(scope) == 0) {
            break;
        }
        in_exit |= (scope->flags & BELAY__SCOPE_IN_EXIT) != 0;
    }
    return found;
}

/* The innermost scope of the task in which a cancel is in force, whether the
 * task sees it or not; NULL: none. One that has ended hangs below nothing.
 */
static const struct belay__scope *
innermost_marked(const belay_task *task)
{
    const struct belay__scope *scope = task->scope;

    if (task->state == BELAY__TASK_ENDED) {
        return NULL;
    }
    while ((scope->flags & MARKS) == 0) {
        if (scope == &task->base) {
            return NULL;
        }
        scope = scope->parent;
    }
    return scope;
}

bool
belay_cancel_why(const belay_task *task, struct belay_cancel_reason *ret_reason)
{
    const struct belay__scope *from = innermost_marked(task);
    const struct belay__scope *scope;
    bool by_grace;

    if (from == NULL) {
        return false;
    }
    if (ret_reason == NULL) {
        return true;
    }
    scope = cancelled_by(task, from, &by_grace);
    assert(scope != NULL);
    *ret_reason = belay__scope_reason(task->runtime, scope);
    /* Before the cut, what is held off from an exit is the cancel itself. */
    if (by_grace && (from->flags & BELAY__SCOPE_CUT) != 0) {
        ret_reason->source = BELAY_CANCEL_GRACE;
    }
    return true;
}

bool
belay_cancel_pending(
    const belay_task *task, struct belay_cancel_reason *ret_reason)
{
    return belay__cancel_visible(task) && belay_cancel_why(task, ret_reason);
}

int
belay_task_cancel(belay_task *target, const char *text)
{
    if (target->state != BELAY__TASK_ENDED) {
        belay__scope_cancel(target->runtime, &target->base,
            BELAY_CANCEL_EXPLICIT, text, target->runtime->current);
    }
    return 0;
}
