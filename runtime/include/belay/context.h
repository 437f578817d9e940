/* context.h - context variables.
 *
 * A variable has a value per task. A task that is spawned starts with a
 * snapshot of its spawner's values (O(1), nothing is copied); later sets on
 * either side are invisible to the other.
 */
#ifndef BELAY_CONTEXT_H
#define BELAY_CONTEXT_H

#include <belay/task.h>

BELAY_BEGIN_DECLS

/* The identity of a variable: static, one object a variable. */
struct belay_var {
    const char *name; /* for people */
    /* Called on the loop thread when the last snapshot that holds a value is
     * gone; NULL if values need no care.
     */
    void (*destroy)(void *value);
};

/* Restores what a set has replaced. The caller keeps it; {0} is no token. */
struct belay_var_token {
    uint64_t serial;  /* private */
    uint64_t task_id; /* private */
};

/* The values of all variables at a moment; opaque. */
typedef struct belay_context belay_context;

/**
 * belay_context_capture - take a snapshot of a task's variables
 *
 *   ret  receives the snapshot; untouched on failure
 *
 * O(1). For a spawn with other variables than the spawner's: see
 * belay_spawn_opts.
 *
 * Owner:   the caller frees it with belay_context_free(); the values in it
 *          live at least as long.
 * Errors:  BELAY_ENOMEM  nothing has changed
 * Threads: loop thread.
 * Since:   0.1. Source: contract S121 (contextvars.copy_context).
 */
BELAY_API int belay_context_capture(
    const belay_task *task, belay_context **ret);

/**
 * belay_context_free - the end of a snapshot
 *
 *   context  NULL is legal
 *
 * Owner:   tasks that were spawned with it keep their values. Before the
 *          runtime is closed.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S121, S123.
 */
BELAY_API void belay_context_free(belay_context *context);

/**
 * belay_var_get - the value of a variable in this task
 *
 *   var  not NULL
 *
 * Owner:   the value belongs to the context; NULL if unset.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contextvars.ContextVar.get.
 */
BELAY_API void *belay_var_get(
    const belay_task *task, const struct belay_var *var);

/**
 * belay_var_set - give a variable a value in this task
 *
 *   var        not NULL
 *   value      may be NULL
 *   ret_token  NULL, or receives what belay_var_reset() needs; untouched on
 *              failure
 *
 * Each set adds to the task's context, some 40 bytes, until it is reset or the
 * last snapshot with it goes, also one of the same variable: a task that lives
 * long and sets again and again resets before. belay_var_get() looks at the
 * newest first and goes through them in turn.
 *
 * Owner:   the context owns the value (see belay_var.destroy).
 * Errors:  BELAY_ENOMEM  nothing has changed, the value stays the caller's
 * Threads: loop thread.
 * Since:   0.1. Source: contract S116-S118, S136.
 */
BELAY_API int belay_var_set(belay_task *task, const struct belay_var *var,
    void *value, struct belay_var_token *ret_token);

/**
 * belay_var_reset - put back exactly what a set has replaced
 *
 *   var    the variable of that set
 *   token  of that set; used up on success
 *
 * Owner:   the value of the set is released.
 * Errors:  BELAY_ESTATE  the token, or that of which it is a copy, was used
 *                        before, or a later set of this task has not been
 *                        reset yet
 *          BELAY_EINVAL  the token is of another variable
 *          BELAY_EOWNER  the token is of another task, also one that has
 *                        ended
 *          In each case nothing has changed.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S118, S119.
 */
BELAY_API int belay_var_reset(belay_task *task, const struct belay_var *var,
    struct belay_var_token *token);

BELAY_END_DECLS

#endif
