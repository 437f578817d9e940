/* observe_life.c - what observers are told of scopes and tasks.
 *
 * Whatever has a beginning and an end has a span from the beginning on, with
 * an id that grows: an observer is told of what began after it came. Memory is
 * needed at beginnings only; a span is not used any more once observers have
 * been told, since they may attach, detach and spawn.
 */
#include "runtime/internal.h"

#include <stdlib.h>

#define CALLERS_MAX 1000

/* ---- scopes ---- */

/* Is the frame, or one that it is called by, an entry of an exit stack? An
 * open scope of a caller has the answer; what is deeper than is looked at may
 * be one.
 */
static bool
is_detached(const belay_task *task, const struct belay__frame *frame)
{
    const struct belay__spans *spans = &task->runtime->observers.scopes;
    const struct belay__frame *at = task->top;
    const struct belay__span *span;

    if ((frame->resume.flags & BELAY__FRAME_STACKED) != 0) {
        return true;
    }
    for (int depth = 0; at != NULL; at = at->caller) {
        if ((at->resume.flags & BELAY__FRAME_STACKED) != 0
            || depth++ == CALLERS_MAX) {
            return true;
        }
        span = belay__spans_find(spans, at->scopes);
        if (span != NULL) {
            return span->detached;
        }
    }
    return false;
}

static struct belay_observed
about_span(belay_runtime *runtime, enum belay_observed_event event,
    const belay_task *task, const struct belay__frame *frame,
    const struct belay__span *span)
{
    struct belay_observed seen = belay__observe_about(runtime, event, task);

    seen.name = frame->function->name;
    seen.label = span->label != NULL ? span->label : "";
    seen.id = span->id;
    seen.detached = span->detached;
    seen.generator = belay__frame_manager(frame)->exit == NULL;
    return seen;
}

/* NULL: it was not seen when it began. */
static struct belay__span *
find_scope(const belay_task *task, const struct belay__frame *frame)
{
    return belay__spans_find(&task->runtime->observers.scopes, frame);
}

static struct belay__span *
begin_span(belay_runtime *runtime, struct belay__spans *spans, const void *key)
{
    struct belay__observers *all = &runtime->observers;
    struct belay__span *span = belay__spans_put(runtime->memory, spans, key);

    if (span == NULL) {
        /* One that was at this address and went unseen must not come back. */
        span = belay__spans_find(spans, key);
        if (span != NULL) {
            belay__spans_remove(spans, span);
        }
        all->lost++;
        return NULL;
    }
    span->id = ++all->last_id;
    span->began_ns = belay__clock_now(runtime);
    return span;
}

void
belay__observe_entering(belay_task *task, const struct belay__frame *frame)
{
    belay_runtime *runtime = task->runtime;
    struct belay__span *span =
        begin_span(runtime, &runtime->observers.scopes, frame);
    struct belay_observed seen;

    if (span == NULL) {
        return;
    }
    span->scope = task->scope;
    span->detached = is_detached(task, frame);
    seen = about_span(runtime, BELAY_OBSERVED_SCOPE_OPEN, task, frame, span);
    belay__observe_tell(runtime, &seen, seen.id);
}

void
belay__observe_entered(belay_task *task, const struct belay__frame *frame)
{
    struct belay__span *span = find_scope(task, frame);
    struct belay_observed seen;
    const char *name;

    if (span == NULL) {
        return;
    }
    if (belay__frame_manager(frame)->exit != NULL
        && span->scope != task->scope) { /* of the cancel scope it made */
        name = belay__scope_name(task->scope);
        if (name != NULL && strcmp(name, frame->function->name) != 0) {
            span->label = name;
        }
    }
    seen = about_span(
        task->runtime, BELAY_OBSERVED_SCOPE_ENTER, task, frame, span);
    span->entered_ns = seen.when.ns;
    seen.took.ns = seen.when.ns - span->began_ns;
    belay__observe_tell(task->runtime, &seen, seen.id);
}

void
belay__observe_failed(belay_task *task, const struct belay__frame *frame)
{
    struct belay__span *span = find_scope(task, frame);
    struct belay_observed seen;

    if (span == NULL) {
        return;
    }
    seen = about_span(
        task->runtime, BELAY_OBSERVED_SCOPE_ERROR, task, frame, span);
    seen.took.ns = seen.when.ns - span->began_ns;
    seen.result = &task->result;
    seen.code = task->result.code;
    seen.cancelled = task->result.cancelled;
    belay__spans_remove(&task->runtime->observers.scopes, span);
    belay__observe_tell(task->runtime, &seen, seen.id);
}

void
belay__observe_exiting(belay_task *task, const struct belay__frame *frame)
{
    struct belay__span *span = find_scope(task, frame);
    struct belay_observed seen;

    if (span == NULL) {
        return;
    }
    seen = about_span(
        task->runtime, BELAY_OBSERVED_SCOPE_LEAVE, task, frame, span);
    span->exiting_ns = seen.when.ns;
    span->code = task->result.code < 0 ? task->result.code : 0;
    span->cancelled = task->result.cancelled;
    seen.code = span->code;
    seen.cancelled = span->cancelled;
    seen.open.ns = seen.when.ns - span->entered_ns;
    belay__observe_tell(task->runtime, &seen, seen.id);
}

void
belay__observe_exited(belay_task *task, const struct belay__frame *frame)
{
    belay_runtime *runtime = task->runtime;
    struct belay__span *span = find_scope(task, frame);
    struct belay_observed seen;

    if (span == NULL) {
        return;
    }
    seen = about_span(runtime, BELAY_OBSERVED_SCOPE_EXIT, task, frame, span);
    seen.code = span->code;
    seen.cancelled = span->cancelled;
    seen.result = &task->result;
    seen.took.ns = seen.when.ns - span->exiting_ns;
    seen.open.ns = seen.when.ns - span->entered_ns;
    belay__spans_remove(&runtime->observers.scopes, span);
    if (task->result.code < 0 && !task->result.cancelled) {
        seen.entered = true;
        seen.event = BELAY_OBSERVED_SCOPE_ERROR;
        seen.event_name = belay__observed_name(seen.event);
        belay__observe_tell(runtime, &seen, seen.id);
        seen.entered = false;
        seen.event = BELAY_OBSERVED_SCOPE_EXIT;
        seen.event_name = belay__observed_name(seen.event);
    }
    belay__observe_tell(runtime, &seen, seen.id);
}

void
belay__observe_pushed(belay_runtime *runtime, const struct belay__frame *frame)
{
    struct belay__span *span =
        begin_span(runtime, &runtime->observers.scopes, frame);
    struct belay_observed seen;

    if (span == NULL) {
        return;
    }
    span->detached = true;
    span->entered_ns = span->began_ns;
    seen = about_span(
        runtime, BELAY_OBSERVED_SCOPE_OPEN, runtime->current, frame, span);
    belay__observe_tell(runtime, &seen, seen.id);
    seen.event = BELAY_OBSERVED_SCOPE_ENTER;
    seen.event_name = belay__observed_name(seen.event);
    belay__observe_tell(runtime, &seen, seen.id);
}

static void
forgotten(belay_runtime *runtime, const struct belay__frame *frame)
{
    struct belay__span *span =
        belay__spans_find(&runtime->observers.scopes, frame);
    struct belay_observed seen;

    if (span == NULL) {
        return;
    }
    seen = about_span(
        runtime, BELAY_OBSERVED_SCOPE_EXIT, runtime->current, frame, span);
    seen.open.ns = seen.when.ns - span->entered_ns;
    belay__spans_remove(&runtime->observers.scopes, span);
    belay__observe_tell(runtime, &seen, seen.id);
}

/* Those of the owner's newest scope come before it on the owner's list. */
static void
put_before(struct belay__frame *owner, struct belay__frame *scopes)
{
    struct belay__frame *oldest = scopes;

    while (oldest->outer != NULL) {
        oldest = oldest->outer;
    }
    oldest->outer = owner->scopes;
    owner->scopes = scopes;
}

void
belay__observe_forgotten(belay_runtime *runtime, struct belay__frame *frame)
{
    struct belay__frame *scope;
    struct belay__frame *inside;

    while ((scope = frame->scopes) != NULL) {
        inside = scope->scopes;
        if (inside != NULL) {
            scope->scopes = NULL;
            put_before(frame, inside);
        } else {
            frame->scopes = scope->outer;
            forgotten(runtime, scope);
        }
    }
    forgotten(runtime, frame);
}

/* ---- tasks ---- */

void
belay__observe_spawn(const belay_task *task)
{
    belay_runtime *runtime = task->runtime;
    const belay_task *by = runtime->current;
    struct belay__span *span =
        begin_span(runtime, &runtime->observers.tasks, task);
    struct belay_observed seen;

    if (span == NULL) {
        return;
    }
    span->label = "start"; /* what it waits for at first */
    seen = belay__observe_about(runtime, BELAY_OBSERVED_TASK_SPAWN, task);
    if (by != NULL) {
        seen.by_name = belay_task_name(by);
        seen.by_id = by->id;
    }
    belay__observe_tell(runtime, &seen, span->id);
}

void
belay__observe_end(const belay_task *task, const struct belay_result *result)
{
    struct belay__observers *all = &task->runtime->observers;
    struct belay__span *span = belay__spans_find(&all->tasks, task);
    struct belay_observed seen;
    uint64_t id;

    if (span == NULL) {
        return;
    }
    seen = belay__observe_about(task->runtime, BELAY_OBSERVED_TASK_END, task);
    seen.took.ns = seen.when.ns - span->began_ns;
    if (result != NULL) {
        seen.result = result;
        seen.code = result->code;
        seen.cancelled = result->cancelled;
    }
    id = span->id;
    belay__spans_remove(&all->tasks, span);
    belay__observe_tell(task->runtime, &seen, id);
}

void
belay__observe_park(const belay_task *task, const char *what)
{
    struct belay_observed seen =
        belay__observe_about(task->runtime, BELAY_OBSERVED_TASK_PARK, task);
    const struct belay__frame *at = task->top;
    struct belay__span *span =
        belay__spans_find(&task->runtime->observers.tasks, task);

    if (span != NULL) {
        span->label = what;
    }
    seen.name = what;
    /* A group that joins has no lines: it is where its block stands. */
    while (at != NULL && at->resume.line == 0) {
        at = at->caller;
    }
    if (at != NULL && at->function->file != NULL) {
        seen.file = at->function->file;
        seen.line = abs(at->resume.line);
    }
    belay__observe_tell(task->runtime, &seen, 0);
}

void
belay__observe_resume(const belay_task *task)
{
    const struct belay__span *span =
        belay__spans_find(&task->runtime->observers.tasks, task);
    struct belay_observed seen =
        belay__observe_about(task->runtime, BELAY_OBSERVED_TASK_RESUME, task);

    if (span != NULL) {
        seen.name = span->label;
    }
    belay__observe_tell(task->runtime, &seen, 0);
}

bool
belay__observe_age(const belay_runtime *runtime,
    const struct belay__spans *spans, const void *key, int64_t *ret_ns)
{
    const struct belay__span *span = belay__spans_find(spans, key);

    if (span == NULL) {
        return false;
    }
    *ret_ns = belay__clock_now(runtime) - span->began_ns;
    return true;
}
