/* dump.c - the live task tree as text, by walking the tree of scopes. */
#include "runtime/internal.h"

#include <inttypes.h>
#include <stdlib.h>

const struct belay__scope *
belay__scope_next(const struct belay__scope *scope, int *depth)
{
    if (scope->child != NULL) {
        ++*depth;
        return scope->child;
    }
    while (scope->next == NULL) {
        scope = scope->parent;
        --*depth;
        if (scope == NULL) {
            return NULL;
        }
    }
    return scope->next;
}

static const char *
state_name(const belay_task *task)
{
    switch ((enum belay__task_state)task->state) {
    case BELAY__TASK_NEW:
        return "not started";
    case BELAY__TASK_READY:
        return task == task->runtime->current ? "running" : "ready";
    case BELAY__TASK_STARTED:
        return "running";
    case BELAY__TASK_PARKED:
    case BELAY__TASK_NOTICED:
    case BELAY__TASK_ASKED:
        return "waiting";
    case BELAY__TASK_ENDED:
        return "ended";
    }
    return "?";
}

const char *
belay__cancel_source_name(enum belay_cancel_source source)
{
    switch (source) {
    case BELAY_CANCEL_NONE:
        return "none";
    case BELAY_CANCEL_EXPLICIT:
        return "explicit";
    case BELAY_CANCEL_DEADLINE:
        return "deadline";
    case BELAY_CANCEL_SIBLING:
        return "sibling";
    case BELAY_CANCEL_PARENT:
        return "parent";
    case BELAY_CANCEL_SHUTDOWN:
        return "shutdown";
    case BELAY_CANCEL_GRACE:
        return "grace";
    }
    return "?";
}

const char *
belay__task_awaits(const belay_task *task)
{
    const struct belay_op *op;

    if (task->waiting == NULL) {
        return "";
    }
    if (task->waiting != &belay__wait_op) {
        return task->waiting->name;
    }
    op = task->wait.data;
    return op->name != NULL ? op->name : task->waiting->name;
}

static void
dump_scope(
    const belay_runtime *runtime, const struct belay__frame *scope, FILE *out)
{
    int64_t age_ns;

    fprintf(out, " [%s", scope->function->name);
    if (belay__observe_age(
            runtime, &runtime->observers.scopes, scope, &age_ns)) {
        fprintf(out, " %.3f s", (double)age_ns / 1e9);
    }
    fprintf(out, "]");
}

/* The calls of the task, innermost first, each with its open scopes. */
static void
dump_frames(const belay_task *task, FILE *out)
{
    for (struct belay__frame *frame = task->top; frame != NULL;
         frame = frame->caller) {
        const char *file = frame->function->file;
        const int line = abs(frame->resume.line);

        fprintf(out, "%s%s", frame == task->top ? " in " : " < ",
            frame->function->name);
        if ((frame->resume.flags & BELAY__FRAME_EXITING) != 0) {
            fprintf(out, " exit");
        } else if ((frame->resume.flags
                       & (BELAY__FRAME_MANAGER | BELAY__FRAME_ENTERED))
                   == BELAY__FRAME_MANAGER) {
            fprintf(out, " enter");
        }
        if (file != NULL && line != 0) {
            fprintf(out, " (%s:%d)", file, line);
        }
        /* One whose exit runs is among the calls already (evict.c). */
        for (struct belay__frame *scope = frame->scopes;
             scope != NULL && (scope->resume.flags & BELAY__FRAME_EXITING) == 0;
             scope = scope->outer) {
            dump_scope(task->runtime, scope, out);
        }
    }
}

/* The cancel scopes that it is in, innermost first. */
static void
dump_scopes(const belay_task *task, FILE *out)
{
    for (const struct belay__scope *scope = task->scope; scope != &task->base;
         scope = scope->parent) {
        fprintf(out, "%s%s", scope == task->scope ? ", inside " : " < ",
            belay__scope_name(scope));
    }
}

static void
dump_reason(
    const char *what, const struct belay_cancel_reason *reason, FILE *out)
{
    fprintf(out, ", %s (%s", what, belay__cancel_source_name(reason->source));
    if (reason->text[0] != '\0') {
        fprintf(out, ": %s", reason->text);
    }
    if (reason->task_id != 0) {
        fprintf(out, ", by %s #%" PRIu64, reason->task_name, reason->task_id);
    }
    fprintf(out, ")");
}

/* When it is cancelled at the latest, or that and why it is. */
static void
dump_cancel(const belay_task *task, FILE *out)
{
    const int64_t now = belay__clock_now(task->runtime);
    const int64_t due = belay_effective_deadline(task).ns;
    struct belay_cancel_reason reason = {.text = "", .task_name = ""};

    if (belay_cancel_pending(task, &reason)) {
        dump_reason("cancelled", &reason, out);
        return;
    }
    if (due != INT64_MAX) {
        fprintf(out, ", deadline in %.3f s", ((double)due - (double)now) / 1e9);
    }
    if (belay_cancel_why(task, &reason)) {
        dump_reason("shielded from a cancel", &reason, out);
    }
}

static void
dump_task(const belay_task *task, int depth, FILE *out)
{
    int64_t age_ns;

    fprintf(out, "%*s%s #%" PRIu64 " %s", depth * 2, "", belay_task_name(task),
        belay_task_id(task), state_name(task));
    if (task->waiting != NULL) {
        fprintf(out, " for %s", belay__task_awaits(task));
    }
    dump_frames(task, out);
    dump_scopes(task, out);
    dump_cancel(task, out);
    if (belay__observe_age(
            task->runtime, &task->runtime->observers.tasks, task, &age_ns)) {
        fprintf(out, ", age %.3f s", (double)age_ns / 1e9);
    }
    fprintf(out, "\n");
}

void
belay_runtime_dump(const belay_runtime *runtime, FILE *out)
{
    int depth = 0;

    fprintf(out, "runtime: %" PRIu64 " tasks alive, %" PRIu64 " started%s\n",
        runtime->tasks_alive, belay__tasks_started(runtime),
        runtime->closing ? ", closing" : "");
    for (const struct belay__scope *scope = &runtime->root.scope; scope != NULL;
         scope = belay__scope_next(scope, &depth)) {
        const belay_task *task = belay__scope_base_of(scope);

        if (task != NULL) {
            dump_task(task, depth - 1, out); /* root tasks have an owner */
        }
    }
}
