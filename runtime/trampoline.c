/* trampoline.c - the only caller of steps.
 *
 * A step returns what happens next; the loop below does it. So the native
 * stack never holds more than one step, however deep the frames and however
 * many operations complete at once. After `step_budget` steps a task goes
 * back to the end of the queue, so that no task starves the others.
 */
#include "runtime/internal.h"

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
        if (flags == BELAY__FRAME_LEFT && task->floor == task->scope->depth
            && frame->u.exit->floor <= task->floor) {
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
static struct belay__frame *
leave_any(belay_task *task)
{
    struct belay__frame *scope = task->top->scopes;

    belay__require_idle(task);
    if (scope == NULL) {
        belay__broken_by(task, "leave", "no open block to leave");
    }
    belay__result_zero(task);
    belay__exit_begin(task, scope);
    return scope;
}

/* The way that nearly all take; NULL: it is for leave_any(). */
static inline struct belay__frame *
leave(belay_runtime *runtime, belay_task *task, const bool watched)
{
    struct belay__frame *owner = task->top;
    struct belay__frame *scope = owner->scopes;

    if (!belay__is_idle(task) || scope == NULL
        || scope->resume.flags != BELAY__FRAME_OPEN
        || (watched && belay__observed(runtime, BELAY_OBSERVE_SCOPES))) {
        return NULL;
    }
    belay__result_zero(task);
    (void)belay__exit_begin_class(task, owner, scope, BELAY__FRAME_LEFT);
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
 * token is one for follow(). Nearly all that are neither are turns.
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

    if (next.how == BELAY__HOW_LEAVE) {
        return leave_any(task);
    }
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
    if (next.how == BELAY__HOW_ENTER) {
        belay__broken_by(task, "a step",
            "manager %s is entered without a block",
            runtime->staged->function->name);
    }
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

/* Behind a step that looked like the last of its turn: is it? If it does not,
 * belay__run_observed() has made it look so.
 */
static bool
is_over(struct belay__turn *turn)
{
    const int32_t behind = turn->steps_kept > 0 ? turn->steps_kept - 1 : 0;

    turn->steps_kept = 0;
    turn->steps_left = behind - 1;
    return behind == 0;
}

/* Follows the token of such a step. Gives the frame that goes on, watched. */
__attribute__((noinline)) static struct belay__frame *
after_last_step(belay_runtime *runtime, belay_task *task)
{
    const belay_next next = runtime->unfollowed;
    struct belay__frame *frame;
    bool last;

    if (next.how == BELAY__HOW_TURN) {
        frame = turn(runtime, task, "checkpoint", true);
    } else {
        frame = begin(runtime, task, next, true);
        if (frame == NULL) {
            frame = follow(runtime, task, next, true);
        }
    }
    last = is_over(&runtime->turn);
    if (frame != NULL && last) {
        return turn(runtime, task, "its turn", true);
    }
    return frame;
}

/* Several frames end one behind the other with what they get: each but the
 * first counts for a step. Gives the frame that goes on, watched.
 */
__attribute__((noinline)) static struct belay__frame *
end_more(belay_runtime *runtime, belay_task *task, struct belay__frame *frame)
{
    while (frame != NULL && frame->step == NULL) {
        if (--runtime->turn.steps_left < 0 && is_over(&runtime->turn)) {
            return turn(runtime, task, "its turn", true);
        }
        frame = end_frame(runtime, task, frame, true);
    }
    return frame;
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
            if (frame == NULL) {
                break;
            }
            if (frame->step == NULL) {
                return end_more(runtime, task, frame);
            }
        }
        do { /* while it is known that there is a step */
            next = frame->step(task, belay__frame_self(frame));
            if (__builtin_expect(--runtime->turn.steps_left < 0, 0)) {
                runtime->unfollowed = next;
                return after_last_step(runtime, task);
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
    while (frame != NULL) {
        frame = run_on(runtime, task, frame, true);
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

/* ---- laps of the ready queue ---- */

static inline bool
is_watched(const belay_runtime *runtime)
{
    return belay__observed(runtime, BELAY_OBSERVE_STEPS | BELAY_OBSERVE_SCOPES);
}

/* All that are ready now; what they make ready comes in the next lap. */
static inline void
lap_take(belay_runtime *runtime)
{
    runtime->lap_first = runtime->ready_first;
    *runtime->ready_end = NULL;
    runtime->ready_first = NULL;
    runtime->ready_end = &runtime->ready_first;
}

/* Next in the lap; NULL: it is over. */
static inline belay_task *
lap_next(belay_runtime *runtime)
{
    belay_task *task = runtime->lap_first;

    if (task != NULL) {
        runtime->lap_first = task->ready_next;
    }
    return task;
}

static inline void
begin_turn(belay_runtime *runtime, belay_task *task)
{
    runtime->current = task;
    runtime->turn = runtime->new_turn;
}

/* A whole turn, of which somebody may be told. */
__attribute__((noinline, cold)) static void
turn_watched(belay_runtime *runtime, belay_task *task)
{
    if (task->state == BELAY__TASK_NOTICED && !try_abort(task)) {
        return;
    }
    begin_turn(runtime, task);
    if (belay__observed(runtime, BELAY_OBSERVE_STEPS)) {
        belay__observe_resume(task);
    }
    run_watched(runtime, task, task->top);
}

/* Gives how many have run. */
__attribute__((noinline, cold)) static uint32_t
lap_watched(belay_runtime *runtime)
{
    uint32_t ran = 0;
    belay_task *task;

    while ((task = lap_next(runtime)) != NULL) {
        ran++;
        turn_watched(runtime, task);
    }
    return ran;
}

static inline uint32_t
lap(belay_runtime *runtime)
{
    uint32_t ran = 0;
    struct belay__frame *frame;
    belay_task *task;

    while ((task = lap_next(runtime)) != NULL) {
        ran++;
        if (__builtin_expect(task->state == BELAY__TASK_NOTICED, 0)) {
            turn_watched(runtime, task); /* its abort hook may want to look */
            continue;
        }
        begin_turn(runtime, task);
        frame = run_on(runtime, task, task->top, false);
        if (frame != NULL) {
            run_watched(runtime, task, frame);
        }
    }
    return ran;
}

void
belay__run_observed(belay_runtime *runtime)
{
    struct belay__turn *turn = &runtime->turn;

    if (runtime->lap_first != NULL) {
        runtime->lap_rest = runtime->lap_first;
        runtime->lap_first = NULL;
    }
    if (runtime->current != NULL && turn->steps_kept == 0) {
        turn->steps_kept = turn->steps_left + 1;
        turn->steps_left = 0;
    }
}

void
belay__run_lap(belay_runtime *runtime)
{
    lap_take(runtime);
    do {
        if (runtime->lap_rest != NULL) {
            runtime->lap_first = runtime->lap_rest;
            runtime->lap_rest = NULL;
        }
        runtime->turns +=
            is_watched(runtime) ? lap_watched(runtime) : lap(runtime);
    } while (runtime->lap_rest != NULL);
    runtime->current = NULL;
}
