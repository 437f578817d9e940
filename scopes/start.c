/* start.c - a child that says when it is ready.
 *
 *   waiting -> handed over        belay_started(); the group has the child
 *          \-> ended              without it; the caller has its failure
 *
 * Until it is handed over the child hangs below a cancel scope of the caller,
 * who waits whatever happens; so none of its cancels can get lost on the way.
 * A child below a cancelled caller is never handed over: it may be unwinding
 * already because of a cancel that the group knows nothing of.
 */
#include <belay/group.h>

#include "runtime/internal.h"
#include "scopes/place.h"

struct start {
    struct belay__owner owner; /* its scope is the caller's innermost */
    belay_group *group;
    belay_task *caller;
    belay_task *child; /* until it is started */
    belay_task **ret_task;
    void **ret;
    void *value;
    const char *child_name;
    struct belay_result ended; /* how the child has, before it was ready */
    bool started;              /* belay_started() was called */
    bool handed_over;          /* … in time */
    bool child_alone;          /* only the child itself was cancelled */
};

static const struct belay__wait_kind start_wait = {
    "task start", belay__abort_never};

static void
child_ended(struct belay__owner *owner, belay_task *child)
{
    struct start *start = BELAY__CONTAINER(owner, struct start, owner);

    start->ended = belay__result_copy(&child->result);
    start->child_name = belay_task_name(child);
    start->child_alone = (child->base.flags & BELAY__SCOPE_CANCELLED) != 0;
    belay__wake(start->caller, 0, NULL);
    belay__group_drop(start->group);
}

/* The child has ended without belay_started(), or too late for it. */
static belay_next
fail_start(belay_task *task, struct start *start, bool cancelled)
{
    const struct belay_result *ended = &start->ended;

    if (ended->code < 0 && !ended->cancelled) {
        belay__result_set(task, ended->code, NULL, ended->error);
        return belay_pass(task);
    }
    if (cancelled || (ended->cancelled && !start->child_alone)) {
        belay__result_cancelled(task);
        return belay_pass(task);
    }
    if (ended->cancelled) {
        return belay_fail(task, BELAY_ECANCELED,
            "task %s was cancelled before it had started", start->child_name);
    }
    return belay_fail(task, BELAY_EPROTO, "task %s ended before it had started",
        start->child_name);
}

static belay_next
start_over(belay_task *task, void *self)
{
    struct start *start = self;
    const bool cancelled = belay__cancel_visible(task);

    belay__scope_pop(task, &start->owner.opened);
    if (!start->handed_over) {
        return fail_start(task, start, cancelled);
    }
    if (start->ret != NULL) {
        *start->ret = start->value;
    }
    return belay_return(task, start->value);
}

/* It was never started: as if it had not been made. */
static void
discard(belay_group *group, belay_task *child)
{
    belay__task_discard(child);
    belay__group_drop(group);
}

static belay_next
start_begin(belay_task *task, void *self)
{
    struct start *start = self;
    int code;

    belay__owner_init(&start->owner, "start", child_ended);
    code = belay__scope_push(task, &start->owner.opened);
    if (code < 0) {
        discard(start->group, start->child);
        return belay_end_with(task, belay__done_now(task, code, NULL));
    }
    if (!belay__wait_begin(task, &start_wait)) {
        belay__scope_pop(task, &start->owner.opened);
        discard(start->group, start->child);
        return belay_end_with(task, belay__next(BELAY__HOW_WAIT));
    }
    belay__scope_reparent(
        task->runtime, &start->child->base, &start->owner.opened.scope);
    belay__task_start(start->child);
    return belay_then(task, start_over, belay__next(BELAY__HOW_WAIT));
}

/* Makes the child, since its arguments need not live longer than this call. */
static int
make_child(struct start *start, const belay_function *function,
    const void *arguments, const struct belay_spawn_opts *opts)
{
    belay_task *task = start->caller;
    int code = belay__spawn_check(task->runtime, opts);

    if (code < 0) {
        return code;
    }
    if (opts != NULL) {
        start->ret_task = opts->task;
    }
    code = belay__group_hold(start->group);
    if (code < 0) {
        return code;
    }
    start->child =
        belay__task_new(task->runtime, task->scope, function, arguments,
            belay__spawn_context(task, opts), opts != NULL ? opts->name : NULL);
    if (start->child == NULL) {
        belay__group_drop(start->group);
        return BELAY_ENOMEM;
    }
    return 0;
}

belay_next
belay_group_start(belay_task *task, belay_group *group,
    const belay_function *function, const void *arguments,
    const struct belay_spawn_opts *opts, void **ret)
{
    static const belay_function starter = {
        "group start", __FILE__, sizeof(struct start), start_begin, 0};
    struct start start = {.caller = task, .group = group, .ret = ret};
    int code = make_child(&start, function, arguments, opts);
    belay_next next;

    /* Refused it is a checkpoint too: who tries again sees the cancel. */
    if (code < 0) {
        return belay__done_now(task, code, NULL);
    }
    next = belay_call(task, &starter, &start);
    if (next.how != BELAY__HOW_CALL) {
        discard(group, start.child);
        return belay__done_now(task, task->result.code, NULL);
    }
    return next;
}

bool
belay__start_pending(const belay_task *task)
{
    return belay__task_owner(task)->ended == child_ended;
}

int
belay_started(belay_task *task, void *value)
{
    struct start *start;

    if (!belay__start_pending(task)) {
        return BELAY_ESTATE;
    }
    start = BELAY__CONTAINER(belay__task_owner(task), struct start, owner);
    if (start->started) {
        return BELAY_ESTATE;
    }
    start->started = true;
    if ((start->owner.opened.scope.flags & BELAY__SCOPE_MARKS) != 0) {
        return 0; /* the caller is cancelled: the child stays with it */
    }
    start->handed_over = true;
    start->value = value;
    if (start->ret_task != NULL) {
        *start->ret_task = belay_task_ref(task);
    }
    belay__group_adopt(start->group, task);
    belay__wake(start->caller, 0, NULL);
    return 0;
}
