/* trampoline.c - the only caller of steps.
 *
 * A step returns what happens next; the loop below does it. So the native
 * stack never holds more than one step, however deep the frames and however
 * many operations complete at once. After `step_budget` steps a task goes
 * back to the end of the queue, so that no task starves the others.
 */
#include "runtime/internal.h"

static inline bool
is_watched(const belay_runtime *runtime)
{
    return belay__observed(runtime, BELAY_OBSERVE_STEPS | BELAY_OBSERVE_SCOPES);
}

/* ---- the loop ----
 *
 * It is there twice, compiled with `watched` and without: nearly always nobody
 * is told of steps and scopes, and then nothing asks whether somebody is. Each
 * function that the loop is made of returns the frame that goes on now, or
 * NULL if the task does not.
 */

static inline struct belay__frame *
push_staged(const belay_runtime *runtime, belay_task *task)
{
    struct belay__frame *frame = runtime->staged;

    frame->caller = task->top;
    task->state = BELAY__TASK_READY;
    task->top = frame;
    belay__result_zero(task);
    return frame;
}

/* Its owner's next step is the one behind the block. */
static inline struct belay__frame *
push_scope(belay_runtime *runtime, belay_task *task, const bool watched)
{
    struct belay__frame *frame;

    runtime->staged->u.after = task->top->step;
    frame = push_staged(runtime, task);
    if (watched && belay__observed(runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_entering(task, frame);
    }
    return frame;
}

/* The exit on top is done, of a block that was left and so has no result. */
static inline struct belay__frame *
exited(belay_task *task, struct belay__frame *scope)
{
    struct belay__frame *owner = scope->caller;

    task->floor = scope->u.exit->floor;
    belay__result_zero(task);
    task->frames->cursor = (char *)scope;
    task->top = owner;
    if (owner == NULL) {
        __builtin_unreachable(); /* so that the loop does not ask */
    }
    return owner;
}

/* The frame on top is done. The ways that nearly all take, an enter and an
 * exit in which all is well and the end of a task, are short; unwind.c has the
 * others.
 */
static inline struct belay__frame *
end_frame(belay_runtime *runtime, belay_task *task, struct belay__frame *frame,
    const bool watched)
{
    uint32_t flags;

    if (task->result.code >= 0 && frame->scopes == NULL
        && !(watched && belay__observed(runtime, BELAY_OBSERVE_SCOPES))) {
        flags = frame->resume.flags;
        if (flags == BELAY__FRAME_MANAGER) {
            return belay__frame_entered(task, frame);
        }
        if (flags == BELAY__FRAME_LEFT && task->floor == task->scope->depth) {
            return exited(task, frame);
        }
        if (flags == 0 && frame->caller == NULL && task->scope == &task->base) {
            belay__task_end(task);
            return NULL;
        }
    }
    return belay__unwind(task) ? task->top : NULL;
}

/* The innermost block is done, and all was well in it. */
static inline struct belay__frame *
leave(belay_runtime *runtime, belay_task *task, const bool watched)
{
    struct belay__frame *owner = task->top;
    struct belay__frame *scope = owner->scopes;

    belay__require_idle(task);
    BELAY__REQUIRE_OF(task, scope != NULL, "no open block to leave");
    belay__result_zero(task);
    if (scope->resume.flags != BELAY__FRAME_OPEN) {
        belay__exit_begin(task, scope);
        return scope;
    }
    (void)belay__exit_begin_class(task, owner, scope, BELAY__FRAME_LEFT);
    if (watched && belay__observed(runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_exiting(task, scope);
    }
    return scope;
}

/* The task waits, unless what it waits for has completed already. */
static inline struct belay__frame *
park(belay_task *task, const bool watched)
{
    if (task->waiting == NULL) {
        return task->top;
    }
    task->state = BELAY__TASK_PARKED;
    if (__builtin_expect(belay__cancel_visible(task), 0)) {
        belay__cancel_notice(task); /* cancelled in the step itself */
    }
    if (watched && belay__observed(task->runtime, BELAY_OBSERVE_STEPS)) {
        belay__observe_park(task, belay__task_awaits(task));
    }
    return NULL;
}

/* It goes on when the others have had their turn. */
static inline struct belay__frame *
turn(belay_runtime *runtime, belay_task *task, const char *why,
    const bool watched)
{
    assert(runtime->in_pass);
    belay__ready_append(runtime, task);
    if (watched && belay__observed(runtime, BELAY_OBSERVE_STEPS)) {
        belay__observe_park(task, why);
    }
    return NULL;
}

/* What begins a frame, an enter or an exit, whose step is a function; NULL: the
 * step has returned another token. Nearly all that are none of these are turns.
 */
static inline struct belay__frame *
begin(belay_runtime *runtime, belay_task *task, belay_next next,
    const bool watched)
{
    if (next.how == BELAY__HOW_BLOCK) {
        return push_scope(runtime, task, watched);
    }
    if (next.how == BELAY__HOW_LEAVE) {
        return leave(runtime, task, watched);
    }
    return NULL;
}

/* Tokens that few steps return. */
__attribute__((noinline)) static struct belay__frame *
follow_rare(belay_runtime *runtime, belay_task *task)
{
    belay_next next = runtime->unfollowed;

    if (next.how == BELAY__HOW_EXIT) {
        return task->top;
    }
    if (next.how == BELAY__HOW_YIELD) {
        return belay__yielded(task) ? task->top : NULL;
    }
    if (next.how > BELAY__TOKEN_IN_BLOCK) {
        next.how -= BELAY__TOKEN_IN_BLOCK;
        belay__require_refused(task, next);
        return end_frame(runtime, task, task->top, true);
    }
    BELAY__REQUIRE_OF(task, next.how != BELAY__HOW_ENTER,
        "manager %s is entered without a block",
        runtime->staged->function->name);
    belay__broken_by(task, "a step", "not a token of an operation");
}

/* All others. */
static inline struct belay__frame *
follow(belay_runtime *runtime, belay_task *task, belay_next next,
    const bool watched)
{
    if (next.how == BELAY__HOW_END) {
        return end_frame(runtime, task, task->top, watched);
    }
    if (next.how == BELAY__HOW_WAIT) {
        return park(task, watched);
    }
    if (next.how == BELAY__HOW_CALL) {
        return push_staged(runtime, task);
    }
    runtime->unfollowed = next;
    return follow_rare(runtime, task);
}

/* Given for a frame: there is none, but from now on the loop is watched. */
static struct belay__frame over;

/* How many steps the turn has behind the one that looked like its last. */
static int32_t
steps_behind(const belay_runtime *runtime, bool began_with_one)
{
    if (runtime->turn.steps_kept > 0) {
        return runtime->turn.steps_kept - 1;
    }
    return began_with_one ? runtime->step_budget - 1 : 0;
}

/* Behind a step that was the last of its turn, or one that was made to look so
 * by belay__run_observed(). Gives the frame that goes on, watched.
 */
__attribute__((noinline)) static struct belay__frame *
after_last_step(belay_runtime *runtime, belay_task *task, bool watched)
{
    const belay_next next = runtime->unfollowed;
    struct belay__frame *frame;
    int32_t behind;
    bool changed;

    if (next.how == BELAY__HOW_TURN) {
        frame = turn(runtime, task, "checkpoint", true);
    } else {
        frame = begin(runtime, task, next, true);
        if (frame == NULL) {
            frame = follow(runtime, task, next, true);
        }
    }
    changed = !watched && is_watched(runtime);
    behind = steps_behind(runtime, changed);
    changed |= runtime->turn.steps_kept > 0;
    runtime->turn.steps_kept = 0;
    runtime->turn.steps_left = behind - 1;
    if (frame != NULL && behind == 0) {
        frame = turn(runtime, task, "its turn", true);
    }
    return frame == NULL && changed ? &over : frame;
}

/* Runs the task until it does not go on now, or is to go on watched: with the
 * frame that this gives.
 */
static inline struct belay__frame *
run_on(belay_runtime *runtime, belay_task *task, struct belay__frame *frame,
    const bool watched)
{
    belay_next next;

    do {
        if (frame->step == NULL) {
            frame = end_frame(runtime, task, frame, watched);
            continue;
        }
        do {
            next = frame->step(task, belay__frame_self(frame));
            if (__builtin_expect(--runtime->turn.steps_left < 0, 0)) {
                runtime->unfollowed = next;
                return after_last_step(runtime, task, watched);
            }
            if (next.how == BELAY__HOW_TURN) {
                return turn(runtime, task, "checkpoint", watched);
            }
            frame = begin(runtime, task, next, watched);
        } while (frame != NULL);
        frame = follow(runtime, task, next, watched);
    } while (frame != NULL);
    return NULL;
}

static void
run_watched(
    belay_runtime *runtime, belay_task *task, struct belay__frame *frame)
{
    while (frame != NULL && frame != &over) {
        frame = run_on(runtime, task, frame, true);
    }
}

void
belay__run_observed(belay_runtime *runtime)
{
    struct belay__turn *turn = &runtime->turn;

    runtime->new_turn.steps_left =
        is_watched(runtime) ? 0 : runtime->step_budget - 1;
    if (runtime->current != NULL && turn->steps_kept == 0) {
        turn->steps_kept = turn->steps_left + 1;
        turn->steps_left = 0;
    }
}

/* A cancel has reached a parked task, which has not completed since. False: it
 * stays parked.
 */
static bool
try_abort(belay_task *task)
{
    /* What a hook does is nobody's: the task that ran before has no part. */
    task->runtime->current = NULL;
    task->state = BELAY__TASK_PARKED;
    if (!belay__cancel_visible(task)) {
        return false;
    }
    task->state = BELAY__TASK_ASKED;
    if (task->waiting->abort(task) != BELAY_ABORT_DONE) {
        return false; /* it is queued again when the wait is over */
    }
    task->state = BELAY__TASK_READY;
    task->waiting = NULL;
    belay__result_first(task, BELAY_ECANCELED, true, NULL);
    return true;
}

static inline bool
may_run(belay_task *task)
{
    return __builtin_expect(task->state != BELAY__TASK_NOTICED, 1)
           || try_abort(task);
}

/* Runs the task and those behind it; gives their number. */
__attribute__((noinline, cold)) static uint32_t
lap_watched(belay_runtime *runtime, belay_task *task)
{
    uint32_t ran = 0;
    belay_task *next;

    for (; task != NULL; task = next) {
        next = task->ready_next; /* the task may be gone afterwards */
        ran++;
        if (may_run(task)) {
            runtime->current = task;
            runtime->turn =
                (struct belay__turn){.steps_left = runtime->step_budget - 1};
            if (belay__observed(runtime, BELAY_OBSERVE_STEPS)) {
                belay__observe_resume(task);
            }
            run_watched(runtime, task, task->top);
        }
    }
    return ran;
}

/* The same until somebody wants to be told. */
static inline uint32_t
lap(belay_runtime *runtime, belay_task *task)
{
    uint32_t ran = 0;
    struct belay__frame *frame;
    belay_task *next;

    for (; task != NULL; task = next) {
        next = task->ready_next;
        ran++;
        if (!may_run(task)) {
            continue;
        }
        runtime->current = task;
        runtime->turn = runtime->new_turn;
        frame = run_on(runtime, task, task->top, false);
        if (frame != NULL) {
            run_watched(runtime, task, frame);
            return ran + lap_watched(runtime, next);
        }
    }
    return ran;
}

/* All that are ready now; what they make ready comes in the next lap. */
static inline belay_task *
take_ready(belay_runtime *runtime)
{
    belay_task *first = runtime->ready_first;

    *runtime->ready_end = NULL;
    runtime->ready_first = NULL;
    runtime->ready_end = &runtime->ready_first;
    return first;
}

void
belay__run_ready(belay_runtime *runtime, uint32_t enough)
{
    uint32_t left = enough;
    uint32_t ran;

    while (runtime->ready_first != NULL && left > 0) {
        ran = is_watched(runtime) ? lap_watched(runtime, take_ready(runtime))
                                  : lap(runtime, take_ready(runtime));
        runtime->turns += ran;
        left -= ran < left ? ran : left;
    }
    runtime->current = NULL;
}
