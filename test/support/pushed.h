/* pushed.h - entries that tests push onto exit stacks. */
#ifndef BELAY_TEST_SUPPORT_PUSHED_H
#define BELAY_TEST_SUPPORT_PUSHED_H

#include "test/support/program.h"
#include "test/support/values.h"

/* For belay_stack_defer(): traces the text that it is given. */
void note(void *arg);
/* For belay_stack_defer(): makes the pointer to a stack that it is given NULL.
 */
void clear_stack(void *arg);

/* A probe's exit, of which there is no enter. */
extern const belay_manager pushed;
#define PUSH(stack, ...) \
    belay_stack_push((stack), &pushed, &(const struct probe){__VA_ARGS__}, NULL)

/* Enter onto a stack a timeout that nothing waits for, or another stack. */
belay_next push_timeout(belay_task *task, belay_stack *stack);
belay_next push_stack(belay_task *task, belay_stack *stack, belay_stack **ret,
    belay_stack_entry **ret_entry);

/* What came of it. */
const char *try_move(belay_stack *from, belay_stack *to);
const char *try_forget(belay_stack *stack, belay_stack_entry *entry);

#endif
