/* values.h - texts as values of context variables, and for callbacks. */
#ifndef BELAY_TEST_SUPPORT_VALUES_H
#define BELAY_TEST_SUPPORT_VALUES_H

#include <belay/context.h>

void *text(const char *literal);
/* The task's value, or "unset". */
const char *value_of(const belay_task *task, const struct belay_var *var);

#endif
