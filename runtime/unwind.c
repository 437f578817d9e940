/* unwind.c - what happens when a frame ends.
 *
 * However a frame ends, its scopes exit first, newest first, each seeing the
 * outcome that the one before has left. Each is taken off its owner's list
 * before its exit runs, so it runs exactly once. Nothing here allocates but
 * the context of a replaced error, which may be dropped.
 *
 *   staged -> entering -> ENTERED -> EXITING -> gone
 *                     \-> gone (the enter failed)
 */
#include "runtime/internal.h"

#include <assert.h>

static bool
same_failure(const struct belay_result *a, const struct belay_result *b)
{
    if (a->cancelled && b->cancelled) {
        return true;
    }
    return a->code == b->code && belay__error_same(a->error, b->error)
           && a->cancelled == b->cancelled;
}

void
belay__result_enrich(belay_runtime *runtime, struct belay_result *result)
{
    const belay_task *task = runtime->current;

    if (result->code < 0 && !result->cancelled && result->error == NULL) {
        result->error = belay__error_of(runtime->memory, result,
            task != NULL ? belay_task_name(task) : NULL);
    }
}

struct belay_result
belay__outcome_merge(belay_runtime *runtime, struct belay_result outcome,
    struct belay_result answer, bool suppress)
{
    if (answer.code >= 0) {
        if (suppress && outcome.code < 0) {
            belay__result_clear(&outcome);
        }
        return outcome;
    }
    if (suppress) {
        belay__result_clear(&outcome); /* a failure after it starts afresh */
    }
    if (outcome.code >= 0) {
        return answer;
    }
    /* A cancel never displaces an error. The same error is no new one, but
     * more may have come into its context. */
    if (answer.cancelled) {
        belay__result_clear(&answer);
        return outcome;
    }
    if (same_failure(&outcome, &answer)) {
        belay__result_clear(&outcome);
        return answer;
    }
    belay__result_enrich(runtime, &outcome);
    if (outcome.error != NULL) {
        belay__result_enrich(runtime, &answer);
    }
    if (answer.error != NULL && outcome.error != NULL) {
        answer.error = belay__error_with_context(
            runtime->memory, answer.error, outcome.error);
        outcome.error = NULL;
    }
    belay__result_clear(&outcome);
    return answer;
}

static void
begin_kept(belay_task *task, struct belay__frame *scope, uint32_t flags)
{
    struct belay__exit *exit = belay__frame_exit(scope);

    if ((flags & BELAY__FRAME_STACKED) == 0) {
        belay__frame_unlink(task->top, scope, exit->line);
    }
    exit->outcome = belay__result_copy(&task->result);
    belay__exit_start(task, scope, exit);
    scope->resume.flags = flags;
    if ((flags & BELAY__FRAME_GENERATOR) == 0) {
        scope->step = belay__frame_manager(scope)->exit;
        scope->resume.line = 0;
    }
}

void
belay__exit_begin(belay_task *task, struct belay__frame *scope)
{
    uint32_t flags = scope->resume.flags | BELAY__FRAME_EXITING;

    /* Its enter may have ended with a return inside a block. */
    flags &= ~(uint32_t)BELAY__FRAME_RETURNING;
    if ((flags & (BELAY__FRAME_GENERATOR | BELAY__FRAME_STACKED)) != 0) {
        begin_kept(task, scope, flags);
    } else {
        *belay__exit_begin_class(task, task->top, scope, flags) =
            belay__result_copy(&task->result);
    }
    if (belay__observed(task->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_exiting(task, scope);
    }
}

static void
entered(belay_task *task)
{
    struct belay__frame *scope = task->top;

    if ((scope->resume.flags & BELAY__FRAME_STACKED) == 0) {
        (void)belay__frame_entered(task, scope);
    } else {
        task->top = scope->caller; /* the stack links it, and says ENTERED */
    }
    if (belay__observed(task->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_entered(task, scope);
    }
}

/* Is it a block round a generator manager's yield that what the yield has
 * delivered leaves, perhaps replaced by a block inside of this one?
 */
static bool
leaves_around(
    const struct belay__frame *scope, const struct belay_result *outcome)
{
    struct belay__frame *owner = scope->caller;

    return outcome->code < 0 && (scope->resume.flags & BELAY__FRAME_AROUND) != 0
           && (owner->resume.flags & BELAY__FRAME_EXITING) != 0
           && ((owner->resume.flags & BELAY__FRAME_REPLACED) != 0
               || same_failure(outcome, belay__outcome_of(owner)));
}

void
belay__exit_replaces(belay_task *task)
{
    struct belay_result *outcome = belay__exit_outcome(task);

    if (leaves_around(task->top, outcome)) {
        task->top->resume.flags |= BELAY__FRAME_REPLACES;
    }
    belay__result_clear(outcome);
}

/* The exit's answer is not just *pass* after a success. Not inlined: the way
 * that nearly every exit takes must stay short.
 */
__attribute__((noinline)) static void
merge_answer(belay_task *task, const struct belay__frame *scope,
    const struct belay_result *outcome)
{
    const bool suppress =
        (scope->resume.flags
            & (BELAY__FRAME_SUPPRESS | BELAY__FRAME_WILL_SUPPRESS))
        != 0;
    const bool around = leaves_around(scope, outcome)
                        || (scope->resume.flags & BELAY__FRAME_REPLACES) != 0;
    struct belay__frame *owner = scope->caller;

    task->result =
        belay__outcome_merge(task->runtime, *outcome, task->result, suppress);
    owner->resume.flags &= ~(uint32_t)BELAY__FRAME_REPLACED;
    if (around) { /* such blocks are what a nested exit stack would be */
        owner->resume.flags |= task->result.code >= 0 ? BELAY__FRAME_SUPPRESS
                                                      : BELAY__FRAME_REPLACED;
    }
}

/* The frame ends already: only the result of such a failure counts. */
static void
drop_token(belay_next token)
{
    (void)token;
}

static void
fail_twice(belay_task *task, const struct belay__frame *frame)
{
    drop_token(belay_fail_at(task, frame->function->file, frame->resume.line,
        BELAY_EPROTO, "manager %s yielded a second time",
        frame->function->name));
}

/* The exit on top is done. True: the owner's step runs next; false: the owner
 * goes on ending with task->result.
 */
static bool
exited(belay_task *task)
{
    struct belay__frame *scope = task->top;
    struct belay__frame *owner = scope->caller;
    const struct belay__exit *exit = scope->u.exit;
    const struct belay_result outcome = *belay__outcome_of(scope);
    const bool had_failed = outcome.code < 0;

    belay__floor_restore(task, exit);
    if ((scope->resume.flags & BELAY__FRAME_TWICE) != 0
        && task->result.code >= 0) {
        fail_twice(task, scope);
    }
    if (!had_failed && task->result.code >= 0) {
        task->result = outcome;
    } else {
        merge_answer(task, scope, &outcome);
    }
    if (belay__observed(task->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_exited(task, scope);
    }
    if ((scope->resume.flags & BELAY__FRAME_STACKED) != 0) {
        belay__frame_pop(task, scope);
        return true;
    }
    if (task->result.code < 0) {
        owner->resume.flags &= ~(uint32_t)BELAY__FRAME_WILL_SUPPRESS;
        belay__frame_pop(task, scope);
        return false;
    }
    if (!had_failed && (owner->resume.flags & BELAY__FRAME_RETURNING) != 0) {
        belay__frame_pop(task, scope);
        return false;
    }
    owner->resume.flags &= ~(uint32_t)BELAY__FRAME_RETURNING;
    belay__frame_pop(task, scope);
    return true;
}

/* A generator manager has come to its end before or after its yield. */
static void
check_generator_end(belay_task *task, struct belay__frame *frame)
{
    const uint32_t flags = frame->resume.flags;

    if ((flags & BELAY__FRAME_GENERATOR) == 0
        || (flags & BELAY__FRAME_YIELDED) != 0 || task->result.code < 0) {
        return;
    }
    drop_token(belay_fail_at(task, frame->function->file, 0, BELAY_EPROTO,
        "manager %s ended without a yield", frame->function->name));
}

/* The enter on top is done. True: a step of the owner runs next. */
static bool
enter_ended(belay_task *task)
{
    struct belay__frame *frame = task->top;
    const bool stacked = (frame->resume.flags & BELAY__FRAME_STACKED) != 0;

    check_generator_end(task, frame);
    if (task->result.code >= 0) {
        entered(task);
        return true;
    }
    if (belay__observed(task->runtime, BELAY_OBSERVE_SCOPES)) {
        belay__observe_failed(task, frame);
    }
    belay__frame_pop(task, frame);
    return stacked;
}

bool
belay__unwind(belay_task *task)
{
    struct belay__frame *frame;

    for (;;) {
        frame = task->top;
        if (frame->scopes != NULL) {
            if (task->result.code >= 0) {
                frame->resume.flags |= BELAY__FRAME_RETURNING;
            }
            belay__exit_begin(task, frame->scopes);
            return true;
        }
        if ((frame->resume.flags & BELAY__FRAME_MANAGER) == 0) {
            if (frame->caller != NULL) {
                belay__frame_pop(task, frame);
                return true;
            }
            BELAY__REQUIRE_OF(task, task->scope == &task->base,
                "it ends inside of cancel scope '%s'",
                belay__scope_name(task->scope));
            belay__task_end(task);
            return false;
        }
        if ((frame->resume.flags & BELAY__FRAME_EXITING) != 0) {
            if (exited(task)) {
                return true;
            }
        } else if (enter_ended(task)) {
            return true;
        }
    }
}

bool
belay__yielded(belay_task *task)
{
    struct belay__frame *frame = task->top;
    const uint32_t flags = frame->resume.flags;

    BELAY__REQUIRE_OF(task, (flags & BELAY__FRAME_GENERATOR) != 0,
        "function %s yields but is no generator manager",
        frame->function->name);
    if ((flags & BELAY__FRAME_YIELDED) != 0) {
        frame->resume.flags |= BELAY__FRAME_TWICE;
        fail_twice(task, frame);
        return true; /* as the result of that await: it is driven on */
    }
    frame->resume.flags |= BELAY__FRAME_YIELDED;
    for (struct belay__frame *scope = frame->scopes; scope != NULL;
         scope = scope->outer) {
        scope->resume.flags |= BELAY__FRAME_AROUND;
        frame->resume.flags |= scope->resume.flags & BELAY__FRAME_BOUND;
    }
    entered(task);
    return true;
}
