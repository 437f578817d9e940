/* root.c - tasks that belong to no group: the runtime's own. */
#include <belay/runtime.h>

#include "runtime/internal.h"

/* The owner of one of them. */
struct root {
    struct belay__owner owner;
    belay_ended_fn *fn;
    void *arg;
};

static void
root_free(belay_runtime *runtime, struct root *root)
{
    belay__scope_unlink(runtime, &root->owner.opened.scope);
    belay__scope_release(runtime);
    belay__free(runtime->memory, root, sizeof(*root));
}

static void
root_ended(struct belay__owner *owner, belay_task *task)
{
    struct root *root = BELAY__CONTAINER(owner, struct root, owner);

    if (root->fn != NULL) {
        root->fn(&task->result, root->arg);
    }
    root_free(task->runtime, root);
}

/* Below the runtime's scope; NULL when out of memory. */
static struct root *
root_new(belay_runtime *runtime, belay_ended_fn *fn, void *arg)
{
    struct root *root;

    if (belay__scope_reserve(runtime) < 0) {
        return NULL;
    }
    root = belay__alloc(runtime->memory, sizeof(*root));
    if (root == NULL) {
        belay__scope_release(runtime);
        return NULL;
    }
    belay__owner_init(&root->owner, NULL, root_ended);
    root->fn = fn;
    root->arg = arg;
    belay__scope_link(runtime, &root->owner.opened.scope, &runtime->root.scope);
    return root;
}

int
belay_runtime_spawn(belay_runtime *runtime, const belay_function *function,
    const void *arguments, belay_ended_fn *ended, void *arg, belay_task **ret)
{
    struct root *root;
    belay_task *task;

    if (runtime->closing) {
        return BELAY_ESTATE;
    }
    root = root_new(runtime, ended, arg);
    if (root == NULL) {
        return BELAY_ENOMEM;
    }
    task = belay__task_new(
        runtime, &root->owner.opened.scope, function, arguments, NULL, NULL);
    if (task == NULL) {
        root_free(runtime, root);
        return BELAY_ENOMEM;
    }
    if (ret != NULL) {
        *ret = belay_task_ref(task);
    }
    belay__task_start(task);
    belay__portal_update_ref(runtime);
    return 0;
}
