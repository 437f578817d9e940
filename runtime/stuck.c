/* stuck.c - who is told of exits that do not end.
 *
 * A while after a scope's grace, its deadline comes once more and everything
 * below it is looked at: an exit that still runs is ignoring the cancels of
 * its checkpoints. It is named, once, and left alone. Nothing here allocates;
 * without a hook nothing here runs.
 */
#include "runtime/internal.h"

/* The exit that a task is in, the innermost one; or NULL. */
static struct belay__frame *
running_exit(const belay_task *task)
{
    struct belay__frame *frame = task->top;

    while (frame != NULL && (frame->resume.flags & BELAY__FRAME_EXITING) == 0) {
        frame = frame->caller;
    }
    return frame;
}

/* An exit that waits for tasks below it is as stuck as they are; they are
 * named. But at the end of the runtime every task is.
 */
static void
look_at(belay_runtime *runtime, const belay_task *task, bool all)
{
    struct belay__frame *exit = running_exit(task);
    struct belay_stuck stuck = {
        .task_name = belay_task_name(task),
        .task_id = task->id,
        .exit_name = exit != NULL ? exit->function->name : "",
        .waiting_for = belay__task_awaits(task),
    };

    if (!all
        && (exit == NULL || (exit->resume.flags & BELAY__FRAME_STUCK) != 0
            || (task->waiting != NULL
                && task->waiting->abort == belay__abort_never))) {
        return;
    }
    if (exit != NULL) {
        exit->resume.flags |= BELAY__FRAME_STUCK;
    }
    runtime->stuck(runtime, &stuck, runtime->stuck_arg);
}

void
belay__stuck_report(belay_runtime *runtime, struct belay__scope *root)
{
    const bool all = root == &runtime->root.scope;
    const struct belay__scope *scope = root;
    const belay_task *task = belay__scope_task(root);
    int depth = 0;

    if (task != NULL) {
        look_at(runtime, task, all);
    }
    while ((scope = belay__scope_next(scope, &depth)) != NULL && depth > 0) {
        task = belay__scope_base_of(scope);
        if (task != NULL) {
            look_at(runtime, task, all);
        }
    }
}
