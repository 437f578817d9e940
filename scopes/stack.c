/* stack.c - the async exit stack: what runs on it.
 *
 * An entry is allocated before its enter runs, linked when that has succeeded
 * and unlinked before its exit runs; unwinding allocates nothing. A generator
 * manager's entry has an arena of its own for what stays open inside it.
 */
#include <belay/stack.h>

#include "scopes/entry.h"

#include <string.h>

/* Frames of a generator manager go into its own arena while it runs. */
static void
switch_frames(belay_task *task, belay_stack_entry *entry)
{
    entry->u.frames = task->frames;
    if (belay__frame_manager(belay__entry_frame(entry))->exit == NULL) {
        task->frames = &entry->arena;
    }
}

/* ---- unwinding ---- */

static belay_next unwind_next(belay_task *task, belay_stack *stack);

belay_next
belay__entry_exit(belay_task *task, belay_stack_entry *entry)
{
    struct belay__frame *frame = belay__entry_frame(entry);

    switch_frames(task, entry);
    frame->caller = task->top;
    belay__exit_begin(task, frame);
    return belay__next(BELAY__HOW_EXIT);
}

void
belay__entry_exited(belay_task *task, belay_stack_entry *entry)
{
    task->frames = entry->u.frames;
    belay__entry_free(task->runtime, entry);
}

/* Takes task->result, what an entry's exit has left, as the new outcome. */
static void
entry_exited(belay_task *task, belay_stack *stack)
{
    stack->outcome = task->result;
    task->result = (struct belay_result){0};
    belay__entry_exited(task, stack->running);
    stack->running = NULL;
}

static belay_next
run_exit(belay_task *task, belay_stack *stack, belay_stack_entry *entry)
{
    stack->running = entry;
    belay__result_clear(&task->result);
    task->result = stack->outcome;
    stack->outcome = (struct belay_result){0};
    return belay__entry_exit(task, entry);
}

/* Runs the newest entry; when there is none left, the frame ends with the
 * outcome as its result.
 */
static belay_next
unwind_next(belay_task *task, belay_stack *stack)
{
    belay_stack_entry *entry;

    while ((entry = stack->newest) != NULL) {
        belay__entry_unlink(entry, task);
        if (entry->fn == NULL) {
            return run_exit(task, stack, entry);
        }
        entry->fn(entry->u.arg);
        belay__entry_free(task->runtime, entry);
    }
    stack->unwinding = false;
    stack->closed = true;
    belay__result_clear(&task->result);
    task->result = stack->outcome;
    stack->outcome = (struct belay_result){0};
    return belay_pass(task);
}

static void
unwind_begin(belay_stack *stack, const struct belay_result *outcome)
{
    stack->unwinding = true;
    if (outcome != NULL) {
        stack->outcome = belay__result_copy(outcome);
    }
}

/* ---- the manager ---- */

static belay_next
stack_enter(belay_task *task, void *self)
{
    belay_stack *stack = self;

    stack->runtime = task->runtime;
    stack->inside = belay__entry_around(task);
    stack->task = task;
    stack->depth = task->scope->depth;
    task->scope->flags |= BELAY__SCOPE_LANDMARK;
    if (stack->ret != NULL) {
        *stack->ret = stack;
    }
    return belay_return(task, stack);
}

/* The exits have made of the outcome what task->result says; it replaces the
 * outcome of this exit as it is. */
static belay_next
stack_exit_end(belay_task *task, belay_next end)
{
    if (task->result.code >= 0) {
        task->top->resume.flags |= BELAY__FRAME_SUPPRESS;
    } else {
        belay__exit_replaces(task);
    }
    return end;
}

static belay_next
stack_exit_on(belay_task *task, void *self)
{
    belay_stack *stack = self;
    belay_next next;

    if (stack->running != NULL) {
        entry_exited(task, stack);
    }
    next = unwind_next(task, stack);
    if (next.how == BELAY__HOW_END) {
        return stack_exit_end(task, next);
    }
    return next;
}

static belay_next
stack_exit(belay_task *task, void *self)
{
    belay_stack *stack = self;

    if (stack->newest == NULL) {
        stack->closed = true; /* its own end may be a turn away */
        return belay_return(task, NULL);
    }
    unwind_begin(stack, belay_outcome(task));
    task->top->step = stack_exit_on;
    return stack_exit_on(task, self);
}

belay_next
belay_stack_open(belay_task *task, belay_stack **ret)
{
    static const belay_manager manager = {
        {"exit stack", __FILE__, sizeof(belay_stack), stack_enter, 0},
        stack_exit};

    return belay_enter(task, &manager, &(const belay_stack){.ret = ret});
}

/* ---- entering ---- */

struct enter_call {
    belay_stack_entry *entry;
    belay_stack_entry **ret;
    struct belay__binding *context; /* before the enter; a reference */
};

/* Has the enter set a variable, or said itself that it binds its task? */
static bool
is_bound(const belay_task *task, const struct enter_call *call)
{
    const struct belay__frame *frame = belay__entry_frame(call->entry);

    return task->context != call->context
           || (frame->resume.flags & BELAY__FRAME_BOUND) != 0;
}

static belay_next
enter_done(belay_task *task, void *self)
{
    struct enter_call *call = self;
    const bool bound = is_bound(task, call);

    task->frames = call->entry->u.frames;
    belay__context_unref(task->runtime, call->context);
    belay__stack_release(call->entry->stack);
    call->entry->stack->entering--;
    if (task->result.code < 0) {
        belay__entry_free(task->runtime, call->entry);
        return belay_pass(task);
    }
    if (bound) { /* S87 */
        call->entry->bonds.others++;
    }
    belay__entry_frame(call->entry)->resume.flags |= BELAY__FRAME_ENTERED;
    belay__entry_link(call->entry);
    if (call->ret != NULL) {
        *call->ret = call->entry;
    }
    return belay_pass(task);
}

static belay_next
enter_start(belay_task *task, void *self)
{
    struct enter_call *call = self;

    call->context = belay__context_ref(task->context);
    switch_frames(task, call->entry);
    task->runtime->staged = belay__entry_frame(call->entry);
    if (belay__observed(task->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_entering(task, task->runtime->staged);
    }
    return belay_then(task, enter_done, belay__next(BELAY__HOW_CALL));
}

static int
check_push(const belay_stack *stack)
{
    return stack->closed ? BELAY_ESTATE : 0;
}

/* Takes the staged manager out of the task's arena. */
static void
unstage(belay_task *task)
{
    belay__arena_pop(task->runtime, task->frames, task->runtime->staged);
    task->state = BELAY__TASK_READY;
}

static belay_stack_entry *
entry_from_staged(belay_task *task, belay_stack *stack)
{
    const belay_function *function = task->runtime->staged->function;
    belay_stack_entry *entry = belay__entry_new(stack, function);
    struct belay__frame *frame;

    if (entry != NULL) {
        entry->task = task;
        frame = belay__entry_frame(entry);
        memcpy(frame, task->runtime->staged, belay__frame_bytes(function));
        frame->resume.flags |= BELAY__FRAME_STACKED;
    }
    return entry;
}

belay_next
belay_stack_enter(belay_task *task, belay_stack *stack, belay_next enter,
    belay_stack_entry **ret_entry)
{
    static const belay_function function = {"exit stack enter", __FILE__,
        sizeof(struct enter_call), enter_start, 0};
    struct enter_call call = {.ret = ret_entry};
    int code = check_push(stack);
    belay_next next;

    if (enter.how != BELAY__HOW_ENTER) {
        BELAY__REQUIRE_OF(task,
            enter.how == BELAY__HOW_WAIT && task->waiting == NULL
                && task->result.code < 0,
            "a stack needs an enter operation");
        return enter; /* it has failed already */
    }
    if (code == 0 && belay__stack_owner(stack) != task) {
        code = BELAY_EOWNER;
    }
    call.entry = code == 0 ? entry_from_staged(task, stack) : NULL;
    unstage(task);
    if (call.entry == NULL) {
        return belay__refuse(task, code < 0 ? code : BELAY_ENOMEM);
    }
    next = belay_call(task, &function, &call);
    if (next.how == BELAY__HOW_CALL) {
        belay__stack_hold(stack); /* others may run before enter_start() */
        stack->entering++;
    } else {
        belay__entry_free(task->runtime, call.entry);
    }
    return next;
}

int
belay_stack_push(belay_stack *stack, const belay_manager *manager,
    const void *arguments, belay_stack_entry **ret_entry)
{
    int code = check_push(stack);
    belay_stack_entry *entry;

    if (manager->exit == NULL) {
        return BELAY_EINVAL;
    }
    if (code < 0) {
        return code;
    }
    entry = belay__entry_new(stack, &manager->enter);
    if (entry == NULL) {
        return BELAY_ENOMEM;
    }
    belay__frame_init(belay__entry_frame(entry), &manager->enter,
        BELAY__FRAME_MANAGER | BELAY__FRAME_STACKED | BELAY__FRAME_ENTERED);
    belay__frame_copy(belay__entry_frame(entry), arguments);
    if (belay__observed(stack->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_pushed(stack->runtime, belay__entry_frame(entry));
    }
    belay__entry_link(entry);
    if (ret_entry != NULL) {
        *ret_entry = entry;
    }
    return 0;
}

int
belay_stack_defer(belay_stack *stack, void (*fn)(void *arg), void *arg,
    belay_stack_entry **ret_entry)
{
    int code = check_push(stack);
    belay_stack_entry *entry;

    if (code < 0) {
        return code;
    }
    entry = belay__entry_new(stack, NULL);
    if (entry == NULL) {
        return BELAY_ENOMEM;
    }
    entry->fn = fn;
    entry->u.arg = arg;
    belay__entry_link(entry);
    if (ret_entry != NULL) {
        *ret_entry = entry;
    }
    return 0;
}

int
belay_stack_forget(belay_stack *stack, belay_stack_entry *entry)
{
    if (!belay__entry_is_free(entry)) {
        return BELAY_EBUSY;
    }
    if (entry->stack != stack) {
        return BELAY_EINVAL;
    }
    if (belay__is_pinned(entry->bonds)) {
        return BELAY_EPINNED;
    }
    if (entry->held > 0) {
        return BELAY_EBUSY; /* nobody would run those */
    }
    if (entry->fn == NULL
        && belay__observed(stack->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_forgotten(stack->runtime, belay__entry_frame(entry));
    }
    belay__entry_unlink(entry, NULL);
    belay__entry_free(stack->runtime, entry);
    return 0;
}

struct close_call {
    belay_stack *stack;
};

static belay_next
close_on(belay_task *task, void *self)
{
    struct close_call *call = self;
    belay_next next;

    if (call->stack->running != NULL) {
        entry_exited(task, call->stack);
    }
    next = unwind_next(task, call->stack);
    if (next.how == BELAY__HOW_END) {
        belay__stack_release(call->stack);
    }
    return next;
}

static int
check_close(const belay_task *task, const belay_stack *stack)
{
    if (belay__stack_owner(stack) != task) {
        return BELAY_EOWNER;
    }
    if (stack->unwinding || stack->busy > 0 || stack->entering > 0) {
        return BELAY_EBUSY;
    }
    return belay__stack_can_exit(task, stack) ? 0 : BELAY_EMISNEST;
}

/* Nothing to run: no frame, no checkpoint. */
static belay_next
close_empty(belay_task *task, const struct belay_result *outcome)
{
    struct belay_result result = {0};

    belay__require_idle(task);
    if (outcome != NULL) {
        result = belay__result_copy(outcome);
    }
    belay__result_clear(&task->result);
    task->result = result;
    return belay__next(BELAY__HOW_WAIT);
}

belay_next
belay_stack_close(
    belay_task *task, belay_stack *stack, const struct belay_result *outcome)
{
    static const belay_function function = {
        "exit stack close", __FILE__, sizeof(struct close_call), close_on, 0};
    int code = check_close(task, stack);
    belay_next next;

    if (code < 0) {
        return belay__refuse(task, code);
    }
    if (stack->newest == NULL) {
        stack->closed = true;
        return close_empty(task, outcome);
    }
    next = belay_call(task, &function, &(const struct close_call){stack});
    if (next.how == BELAY__HOW_CALL) {
        belay__stack_hold(stack);
        unwind_begin(stack, outcome);
    }
    return next;
}

/* ---- one entry only ---- */

struct entry_call {
    belay_stack *stack;
    belay_stack_entry *entry;
    struct belay_result outcome;
};

static belay_next
entry_closed(belay_task *task, void *self)
{
    struct entry_call *call = self;

    belay__entry_exited(task, call->entry);
    belay__stack_release(call->stack);
    return belay_pass(task);
}

static belay_next
entry_close(belay_task *task, void *self)
{
    struct entry_call *call = self;

    belay__result_clear(&task->result);
    task->result = call->outcome;
    if (call->entry->fn == NULL) {
        task->top->step = entry_closed;
        return belay__entry_exit(task, call->entry);
    }
    call->entry->fn(call->entry->u.arg);
    belay__entry_free(task->runtime, call->entry);
    belay__stack_release(call->stack);
    return belay_pass(task);
}

static int
check_close_entry(const belay_task *task, const belay_stack *stack,
    const belay_stack_entry *entry)
{
    if (!belay__entry_is_free(entry)) {
        return BELAY_EBUSY;
    }
    if (entry->stack != stack) {
        return BELAY_EINVAL;
    }
    if (belay__stack_owner(stack) != task) {
        return BELAY_EOWNER;
    }
    return belay__entry_can_exit(task, entry) ? 0 : BELAY_EMISNEST;
}

belay_next
belay_stack_close_entry(belay_task *task, belay_stack *stack,
    belay_stack_entry *entry, const struct belay_result *outcome)
{
    static const belay_function function = {"exit stack close entry", __FILE__,
        sizeof(struct entry_call), entry_close, 0};
    struct entry_call call = {.stack = stack, .entry = entry};
    int code = check_close_entry(task, stack, entry);
    belay_next next;

    if (code < 0) {
        return belay__refuse(task, code);
    }
    if (outcome != NULL) {
        call.outcome = belay__result_copy(outcome);
    }
    next = belay_call(task, &function, &call);
    if (next.how == BELAY__HOW_CALL) {
        belay__stack_hold(stack); /* what it lies in stays where it is */
        belay__entry_unlink(entry, task);
    } else {
        belay__result_clear(&call.outcome);
    }
    return next;
}

size_t
belay_stack_count(const belay_stack *stack)
{
    return stack->count;
}
