/* tokens.c - what steps call to say what happens next.
 *
 * These do what can be done at once, and leave the rest to the trampoline: the
 * frame of a call or an enter is made here and pushed there.
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
    belay__require_idle(task);
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

/* Room for any manager, also when the arena is full. */
__attribute__((noinline)) static void *
enter_any(belay_task *task, const belay_manager *manager)
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
        belay__result_set(task, BELAY_ENOMEM, NULL, NULL);
        return NULL;
    }
    if (task->frames->chunk != NULL
        && frame == (void *)(task->frames->chunk + 1)) {
        flags |= BELAY__FRAME_FIRST;
    }
    belay__frame_init(frame, &manager->enter, flags);
    stage(task, frame);
    return belay__frame_self(frame);
}

/* The way that most managers take has no call in it, and so no stack: those
 * in class style that fit.
 */
void *
belay__enter_room(belay_task *task, const belay_manager *manager)
{
    struct belay__arena *arena = task->frames;
    struct belay__frame *frame = (struct belay__frame *)(void *)arena->cursor;
    const size_t bytes = belay__frame_bytes(&manager->enter);

    if (!belay__is_idle(task) || manager->exit == NULL
        || (uintptr_t)frame + bytes > (uintptr_t)arena->end) {
        return enter_any(task, manager);
    }
    arena->cursor = (char *)frame + bytes;
    belay__frame_init(frame, &manager->enter, BELAY__FRAME_MANAGER);
    stage(task, frame);
    return belay__frame_self(frame);
}

belay_next
belay_enter(
    belay_task *task, const belay_manager *manager, const void *arguments)
{
    void *room = belay__enter_room(task, manager);

    if (room == NULL) {
        return belay__next(BELAY__HOW_WAIT);
    }
    if (arguments != NULL) {
        memcpy(room, arguments, manager->enter.size);
    }
    return belay__next(BELAY__HOW_ENTER);
}

void
belay__set_step(belay_task *task, belay_step *next)
{
    task->top->step = next;
}

void
belay__require_refused(const belay_task *task, belay_next enter)
{
    BELAY__REQUIRE_OF(task,
        enter.how == BELAY__HOW_WAIT && task->waiting == NULL
            && task->result.code < 0,
        "a block needs an enter operation");
}

belay_next
belay_with(
    belay_task *task, belay_next enter, belay_step *body, belay_step *after)
{
    if (enter.how != BELAY__HOW_ENTER) {
        belay__require_refused(task, enter);
        return belay__next(BELAY__HOW_END);
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
    belay__result_zero(task);
    task->result.value = value;
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
    return belay__outcome_of(task->top);
}

void
belay__lost_line(belay_task *task, const char *file)
{
    belay__broken("BELAY_BEGIN",
        "task %s, %s:%d: an await inside a switch of its own",
        belay_task_name(task), file, task->top->resume.line);
}
