/* open.c - how the managers of the library are entered. */
#include "test/model/interpret.h"

#include "runtime/internal.h"

#include <stdio.h>

/* ---- cancel scopes ---- */

struct belay_cancel_scope_opts
scope_opts(int64_t slot, int64_t timeout, int64_t flags, int64_t grace)
{
    return (struct belay_cancel_scope_opts){
        .size = sizeof(struct belay_cancel_scope_opts),
        .timeout = timeout > 0 ? span_of(timeout)
                               : belay_nanoseconds(timeout < 0 ? 0 : -1),
        .shield = (flags & 1) != 0,
        .fail_on_timeout = (flags & 2) != 0,
        .grace = grace < 0 ? BELAY_NO_GRACE : span_of(grace),
        .status = &statuses[slot],
    };
}

belay_next
scope_open(belay_task *task, const int64_t *args)
{
    const struct belay_cancel_scope_opts opts =
        scope_opts(args[2], args[3], args[4], args[5]);

    statuses[args[2]] = (struct belay_cancel_status){false, false, false};
    return belay_cancel_scope_open(
        task, &opts, args[2] == NO_SLOT ? NULL : &scopes[args[2]]);
}

/* ---- deferred calls ---- */

void
deferred(void *arg)
{
    const int64_t *args = arg;

    note(belay_task_runtime(root_task)->current, "deferred", args[0]);
}

belay_next
defer_open(belay_task *task, const int64_t *args)
{
    return belay_defer(task, deferred, belay__without_const(args));
}

/* ---- groups, locks, tokens, suppressing ---- */

static void
child_of_supervisor(
    belay_task *task, const struct belay_result *result, void *arg)
{
    (void)arg;
    note_result(task, "child", 0, result);
}

belay_next
group_open(belay_task *task, const int64_t *args)
{
    const bool supervise = args[4] == BELAY_SUPERVISE;

    return belay_group_open(task,
        BELAY_GROUP_OPTS(.max_running = (uint32_t)args[3],
            .policy = (enum belay_group_policy)args[4],
            .max_errors = (uint32_t)args[5],
            .on_child = supervise ? child_of_supervisor : NULL),
        &groups[args[2]]);
}

belay_next
lock_open(belay_task *task, const int64_t *args)
{
    return args[3] != 0 ? belay_lock_try_open(task, &locks[args[2]])
                        : belay_lock_open(task, &locks[args[2]]);
}

/* Objects for which tokens are borrowed are addresses only. */
belay_next
token_open(belay_task *task, const int64_t *args)
{
    struct belay_limiter *limiter = &limiters[args[2]];
    const void *object = args[3] != 0 ? &cells[args[3]] : NULL;

    if (args[4] != 0) {
        return belay_limiter_try_open(task, limiter, object);
    }
    return object != NULL ? belay_limiter_open_for(task, limiter, object)
                          : belay_limiter_open(task, limiter);
}

belay_next
quiet_open(belay_task *task, const int64_t *args)
{
    const int codes[] = {(int)args[2], (int)args[3], (int)args[4]};

    return belay_suppressing(task, codes, sizeof(codes) / sizeof(*codes));
}
