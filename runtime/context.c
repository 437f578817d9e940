/* context.c - context variables as a list of bindings, newest first.
 *
 * A context is a pointer to its newest binding; bindings never change and are
 * counted, so a snapshot is one reference. A set adds a binding, a reset goes
 * back to the one before it. Look-ups walk the list: contexts are shallow. A
 * token has numbers, not addresses: it may outlive what it is of.
 */
#include <belay/context.h>

#include "runtime/internal.h"

void
belay__context_unref(belay_runtime *runtime, struct belay__binding *binding)
{
    struct belay__binding *below;

    while (binding != NULL && --binding->refs == 0) {
        below = binding->below;
        if (binding->var->destroy != NULL) {
            binding->var->destroy(binding->value);
        }
        belay__free(runtime->memory, binding, sizeof(*binding));
        binding = below;
    }
}

void *
belay__context_find(
    const struct belay__binding *context, const struct belay_var *var)
{
    for (; context != NULL; context = context->below) {
        if (context->var == var) {
            return context->value;
        }
    }
    return NULL;
}

void *
belay_var_get(const belay_task *task, const struct belay_var *var)
{
    return belay__context_find(task->context, var);
}

int
belay_context_capture(const belay_task *task, belay_context **ret)
{
    belay_context *context =
        belay__alloc(task->runtime->memory, sizeof(*context));

    if (context == NULL) {
        return BELAY_ENOMEM;
    }
    *context =
        (belay_context){task->runtime, belay__context_ref(task->context)};
    *ret = context;
    return 0;
}

void
belay_context_free(belay_context *context)
{
    const bool was_inside = belay__inside_run;
    belay_runtime *runtime;

    if (context == NULL) {
        return;
    }
    runtime = context->runtime;
    belay__inside_run = true; /* what destroys a value is called by us */
    belay__context_unref(runtime, context->binding);
    belay__inside_run = was_inside;
    belay__free(runtime->memory, context, sizeof(*context));
}

int
belay_var_set(belay_task *task, const struct belay_var *var, void *value,
    struct belay_var_token *ret_token)
{
    struct belay__binding *binding =
        belay__alloc(task->runtime->memory, sizeof(*binding));

    if (binding == NULL) {
        return BELAY_ENOMEM;
    }
    /* The task's reference on the old newest one moves into `below`. */
    *binding = (struct belay__binding){
        .below = task->context,
        .var = var,
        .value = value,
        .serial = ++task->runtime->last_binding,
        .refs = 1,
    };
    task->context = binding;
    if (ret_token != NULL) {
        *ret_token = (struct belay_var_token){binding->serial, task->id};
    }
    return 0;
}

int
belay_var_reset(belay_task *task, const struct belay_var *var,
    struct belay_var_token *token)
{
    struct belay__binding *binding = task->context;

    if (token->serial == 0) {
        return BELAY_ESTATE;
    }
    if (token->task_id != task->id) {
        return BELAY_EOWNER;
    }
    if (binding == NULL || binding->serial != token->serial) {
        return BELAY_ESTATE;
    }
    if (binding->var != var) {
        return BELAY_EINVAL;
    }
    task->context = belay__context_ref(binding->below);
    belay__context_unref(task->runtime, binding);
    token->serial = 0;
    return 0;
}
