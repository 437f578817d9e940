/* pushed.h - entries that tests push onto exit stacks. */
#ifndef BELAY_TEST_SUPPORT_PUSHED_H
#define BELAY_TEST_SUPPORT_PUSHED_H

#include "test/support/program.h"

/* For belay_stack_defer(): traces the text that it is given. */
void note(void *arg);
void *text(const char *literal);

/* A probe's exit, of which there is no enter. */
extern const belay_manager pushed;
#define PUSH(stack, ...) \
    belay_stack_push((stack), &pushed, &(const struct probe){__VA_ARGS__}, NULL)

#endif
