/* trampoline.c - the only caller of steps.
 *
 * A step returns what happens next; the loop below does it. So the native
 * stack never holds more than one step, however deep the frames and however
 * many operations complete at once. After `step_budget` steps a task goes
 * back to the end of the queue, so that no task starves the others.
 */
#include "runtime/internal.h"

belay_next
belay__started_twice(const belay_task *task)
{
    belay__broken_by(
        task, "a step", "a step starts at most one operation, and returns it");
}

belay_next
belay__refuse(belay_task *task, int code)
{
    belay__result_set(task, code, NULL, NULL);
    return belay__next(BELAY__HOW_WAIT);
}

/* The frame is made; it waits to be pushed. */
static inline void
stage(belay_task *task, struct belay__frame *frame)
{
    task->runtime->staged = frame;
    task->state = BELAY__TASK_STARTED;
}

belay_next
belay_call(
    belay_task *task, const belay_function *function, const void *arguments)
{
    struct belay__frame *frame;

    belay__require_idle(task);
    frame = belay__frame_push(task, belay__frame_bytes(function));
    if (frame == NULL) {
        return belay__refuse(task, BELAY_ENOMEM);
    }
    belay__frame_init(frame, function, 0);
    belay__frame_copy(frame, arguments);
    stage(task, frame);
    return belay__next(BELAY__HOW_CALL);
}

/* Any manager, also when the arena is full. */
__attribute__((noinline)) static belay_next
enter_any(belay_task *task, const belay_manager *manager, const void *arguments)
{
    struct belay__frame *frame;
    size_t bytes = belay__frame_bytes(&manager->enter);
    uint32_t flags = BELAY__FRAME_MANAGER;

    belay__require_idle(task);
    if (manager->exit == NULL) {
        flags |= BELAY__FRAME_GENERATOR;
        bytes += sizeof(struct belay__exit);
    }
    frame = belay__frame_push(task, bytes);
    if (frame == NULL) {
        return belay__refuse(task, BELAY_ENOMEM);
    }
    if (task->frames->chunk != NULL
        && frame == (void *)(task->frames->chunk + 1)) {
        flags |= BELAY__FRAME_FIRST;
    }
    belay__frame_init(frame, &manager->enter, flags);
    belay__frame_copy(frame, arguments);
    stage(task, frame);
    return belay__next(BELAY__HOW_ENTER);
}

/* The way that most managers take has no call in it, and so no stack: those
 * in class style that fit, with one pointer as argument.
 */
belay_next
belay_enter(
    belay_task *task, const belay_manager *manager, const void *arguments)
{
    struct belay__arena *arena = task->frames;
    struct belay__frame *frame = (struct belay__frame *)(void *)arena->cursor;
    const size_t bytes = sizeof(*frame) + belay__align16(sizeof(void *));

    if (!belay__is_idle(task) || manager->exit == NULL || arguments == NULL
        || manager->enter.size != sizeof(void *)
        || (uintptr_t)arena->cursor + bytes > (uintptr_t)arena->end) {
        return enter_any(task, manager, arguments);
    }
    arena->cursor += bytes;
    belay__frame_init(frame, &manager->enter, BELAY__FRAME_MANAGER);
    memcpy(belay__frame_self(frame), arguments, sizeof(void *));
    stage(task, frame);
    return belay__next(BELAY__HOW_ENTER);
}

belay_next
belay_then(belay_task *task, belay_step *next, belay_next op)
{
    task->top->step = next;
    return op;
}

belay_next
belay_end_with(belay_task *task, belay_next op)
{
    task->top->step = NULL;
    return op;
}

/* Not the token of an enter operation: a failure that was known at once. */
belay_next
belay__not_entered(belay_task *task, belay_next enter)
{
    BELAY__REQUIRE_OF(task,
        enter.how == BELAY__HOW_WAIT && task->waiting == NULL
            && task->result.code < 0,
        "a block needs an enter operation");
    return belay__next(BELAY__HOW_END);
}

belay_next
belay_with(
    belay_task *task, belay_next enter, belay_step *body, belay_step *after)
{
    if (enter.how != BELAY__HOW_ENTER) {
        return belay__not_entered(task, enter);
    }
    task->runtime->staged->u.after = after;
    if (belay__observed(task->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_entering(task, task->runtime->staged);
    }
    task->top->step = body; /* not before it is entered, or never */
    task->top->resume.line = 0;
    return belay__next(BELAY__HOW_CALL);
}

belay_next
belay_leave(belay_task *task)
{
    (void)task;
    return belay__next(BELAY__HOW_LEAVE);
}

belay_next
belay_return(belay_task *task, void *value)
{
    belay__require_idle(task);
    belay__result_set(task, 0, value, NULL);
    return belay__next(BELAY__HOW_END);
}

belay_next
belay_pass(belay_task *task)
{
    belay__require_idle(task);
    return belay__next(BELAY__HOW_END);
}

belay_next
belay_suppress(belay_task *task)
{
    belay__require_idle(task);
    BELAY__REQUIRE_OF(task,
        (task->top->resume.flags & BELAY__FRAME_EXITING) != 0,
        "only an exit may suppress");
    task->top->resume.flags |= BELAY__FRAME_WILL_SUPPRESS;
    belay__result_set(task, 0, NULL, NULL);
    return belay__next(BELAY__HOW_END);
}

belay_next
belay_yield(belay_task *task, void *value)
{
    belay__require_idle(task);
    belay__result_set(task, 0, value, NULL);
    return belay__next(BELAY__HOW_YIELD);
}

belay_next
belay_fail_at(belay_task *task, const char *file, int line, int code,
    const char *format, ...)
{
    const struct belay__error_site site = {belay_task_name(task), file, line};
    belay_error *error = NULL;
    va_list args;

    belay__require_idle(task);
    if (code >= 0) {
        code = BELAY_EINVAL;
    }
    if (format != NULL) {
        va_start(args, format);
        error = belay__error_new_va(
            task->runtime->memory, code, &site, format, args);
        va_end(args);
    }
    belay__result_set(task, code, NULL, error);
    return belay__next(BELAY__HOW_END);
}

belay_next
belay_fail_alone_at(belay_task *task, const char *file, int line, int code,
    const char *format, ...)
{
    const struct belay__error_site site = {belay_task_name(task), file, line};
    belay_error *error;
    va_list args;

    belay__require_idle(task);
    if (code >= 0) {
        code = BELAY_EINVAL;
    }
    va_start(args, format);
    error =
        belay__error_new_va(task->runtime->memory, code, &site, format, args);
    va_end(args);
    if (error != NULL) {
        belay__error_set_alone(error);
    }
    belay__result_set(task, code, NULL, error);
    return belay__next(BELAY__HOW_END);
}

belay_next
belay_fail_with(belay_task *task, belay_error *error)
{
    belay__require_idle(task);
    belay__result_set(task, belay_error_code(error), NULL, error);
    return belay__next(BELAY__HOW_END);
}

const struct belay_result *
belay_result(const belay_task *task)
{
    return &task->result;
}

const struct belay_result *
belay_outcome(const belay_task *task)
{
    if ((task->top->resume.flags & BELAY__FRAME_EXITING) == 0) {
        return NULL;
    }
    return &task->top->u.exit->outcome;
}

void
belay__lost_line(belay_task *task, const char *file)
{
    belay__broken("BELAY_BEGIN",
        "task %s, %s:%d: an await inside a switch of its own",
        belay_task_name(task), file, task->top->resume.line);
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
    task->state = BELAY__TASK_RUNNING;
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
    const uint32_t flags = frame->resume.flags;

    if (task->result.code >= 0 && frame->scopes == NULL
        && !(watched && belay__observed(runtime, BELAY_OBSERVE_SCOPES))) {
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
    struct belay__frame *scope = task->top->scopes;

    belay__require_idle(task);
    BELAY__REQUIRE_OF(task, scope != NULL, "no open block to leave");
    belay__result_zero(task);
    if (scope->resume.flags != BELAY__FRAME_OPEN) {
        belay__exit_begin(task, scope);
        return scope;
    }
    memset(belay__exit_begin_class(task, scope, BELAY__FRAME_LEFT), 0,
        sizeof(struct belay_result));
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
    task->state = BELAY__TASK_QUEUED;
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

/* All other tokens. */
static inline struct belay__frame *
follow(belay_runtime *runtime, belay_task *task, belay_next next,
    const bool watched)
{
    switch ((enum belay__how)next.how) {
    case BELAY__HOW_TURN:
        return turn(runtime, task, "checkpoint", watched);
    case BELAY__HOW_WAIT:
        return park(task, watched);
    case BELAY__HOW_CALL:
        return push_staged(runtime, task);
    case BELAY__HOW_EXIT:
        return task->top;
    case BELAY__HOW_END:
        return end_frame(runtime, task, task->top, watched);
    case BELAY__HOW_YIELD:
        return belay__yielded(task) ? task->top : NULL;
    case BELAY__HOW_ENTER:
        belay__broken_by(task, "a step",
            "manager %s is entered without a block",
            task->runtime->staged->function->name);
    case BELAY__HOW_BLOCK:
    case BELAY__HOW_LEAVE:
    case BELAY__HOW_NONE:
        break;
    }
    belay__broken_by(task, "a step", "not a token of an operation");
}

/* Behind a step that was the last of its turn, or one that
 * belay__run_interrupt() has made the last of its loop: then this gives the
 * frame that goes on.
 */
__attribute__((noinline)) static struct belay__frame *
after_last_step(belay_runtime *runtime, belay_task *task, belay_next next)
{
    struct belay__frame *frame = begin(runtime, task, next, true);

    if (frame == NULL) {
        frame = follow(runtime, task, next, true);
    }
    runtime->steps_left = runtime->steps_kept;
    runtime->steps_kept = 0;
    if (frame != NULL && runtime->steps_left == 0) {
        return turn(runtime, task, "its turn", true);
    }
    return frame;
}

/* Runs the task until it does not go on now, or is to go on watched, with the
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
            if (__builtin_expect(--runtime->steps_left == 0, 0)) {
                return after_last_step(runtime, task, next);
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

void
belay__run_interrupt(belay_runtime *runtime)
{
    const belay_task *task = runtime->current;

    if (task != NULL && runtime->steps_left > 1
        && (task->state == BELAY__TASK_RUNNING
            || task->state == BELAY__TASK_STARTED)) {
        runtime->steps_kept += runtime->steps_left - 1;
        runtime->steps_left = 1;
    }
}

__attribute__((noinline, cold)) static void
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
    task->waiting = NULL;
    belay__result_first(task, BELAY_ECANCELED, true, NULL);
    return true;
}

static inline void
run(belay_runtime *runtime, belay_task *task)
{
    struct belay__frame *frame;

    runtime->turns++;
    if (__builtin_expect(task->state == BELAY__TASK_NOTICED, 0)
        && !try_abort(task)) {
        return;
    }
    task->state = BELAY__TASK_RUNNING;
    runtime->current = task;
    runtime->run_ns = 0;
    runtime->steps_left = runtime->step_budget;
    frame = task->top;
    if (belay__observed(runtime, BELAY_OBSERVE_STEPS | BELAY_OBSERVE_SCOPES)) {
        belay__observe_resume(task);
    } else {
        frame = run_on(runtime, task, frame, false);
    }
    if (frame != NULL) {
        run_watched(runtime, task, frame);
    }
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
    uint32_t ran = 0;
    belay_task *task;
    belay_task *next;

    while (runtime->ready_first != NULL && ran < enough) {
        for (task = take_ready(runtime); task != NULL; task = next) {
            next = task->ready_next; /* the task may be gone afterwards */
            run(runtime, task);
            ran++;
        }
    }
    runtime->current = NULL;
}
