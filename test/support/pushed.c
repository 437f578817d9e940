/* pushed.c - entries that tests push onto exit stacks. */
#include "test/support/pushed.h"

void
note(void *arg)
{
    trace("%s", (const char *)arg);
}

void
clear_stack(void *arg)
{
    *(belay_stack **)arg = NULL;
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

belay_next
push_timeout(belay_task *task, belay_stack *stack)
{
    return belay_stack_enter(
        task, stack, belay_timeout(task, belay_seconds(9)), NULL);
}

belay_next
push_stack(belay_task *task, belay_stack *stack, belay_stack **ret,
    belay_stack_entry **ret_entry)
{
    return belay_stack_enter(
        task, stack, belay_stack_open(task, ret), ret_entry);
}

const char *
try_move(belay_stack *from, belay_stack *to)
{
    return belay_code_name(belay_stack_move(from, to));
}

const char *
try_forget(belay_stack *stack, belay_stack_entry *entry)
{
    return belay_code_name(belay_stack_forget(stack, entry));
}
