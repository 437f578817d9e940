/* pushed.c - entries that tests push onto exit stacks. */
#include "test/support/pushed.h"

void
note(void *arg)
{
    trace("%s", (const char *)arg);
}

void *
text(const char *literal)
{
    return (void *)(uintptr_t)literal;
}

/* An exit that nothing was entered for. */
static belay_next
push_exit(belay_task *task, void *arg)
{
    const struct probe *self = arg;

    trace("exit %s/%s", self->name, trace_result(belay_outcome(task)));
    if (self->exit_suppress) {
        return belay_suppress(task);
    }
    if (self->exit_code < 0) {
        return belay_fail(task, self->exit_code, "%s", self->name);
    }
    return belay_return(task, NULL);
}

const belay_manager pushed = {
    {"pushed", NULL, sizeof(struct probe), enter_nothing, 0}, push_exit};
