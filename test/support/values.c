/* values.c - texts as values of context variables, and for callbacks. */
#include "test/support/values.h"

void *
text(const char *literal)
{
    return (void *)(uintptr_t)literal;
}

const char *
value_of(const belay_task *task, const struct belay_var *var)
{
    const char *value = belay_var_get(task, var);

    return value != NULL ? value : "unset";
}
