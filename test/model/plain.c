/* plain.c - what completes at once: one function for each such operation. */
#include "test/model/interpret.h"

#include "runtime/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- cancel scopes ---- */

static void
prepare(belay_task *task, const int64_t *args)
{
    const struct belay_cancel_scope_opts opts =
        scope_opts(args[1], args[2], args[3], args[4]);

    if (belay_cancel_scope_new(
            belay_task_runtime(task), &opts, &scopes[args[1]])
        < 0) {
        abort();
    }
    prepared[args[1]] = true;
    note_code(task, "prepare", args[0], 0);
}

static void
cancel(belay_task *task, const int64_t *args)
{
    const int64_t slot = args[2];
    int code = 1; /* it is not there */

    if (args[1] == SLOT_SCOPE && scopes[slot] != NULL) {
        belay_cancel_scope_cancel(scopes[slot], NULL);
        code = 0;
    } else if (args[1] == SLOT_GROUP && groups[slot] != NULL) {
        belay_group_cancel(groups[slot], NULL);
        code = 0;
    } else if (args[1] == SLOT_TASK && tasks[slot] != NULL) {
        code = belay_task_cancel(tasks[slot], NULL);
    } else if (args[1] == SLOT_SELF) {
        code = belay_task_cancel(task, NULL);
    }
    note_code(task, "cancel", args[0], code);
}

static void
set_shield(belay_task *task, const int64_t *args)
{
    int code = 1;

    if (scopes[args[1]] != NULL) {
        belay_cancel_scope_set_shield(scopes[args[1]], args[2] != 0);
        code = 0;
    }
    note_code(task, "shield", args[0], code);
}

static void
move(belay_task *task, const int64_t *args)
{
    belay_time when = {belay_now(task).ns + args[2] * NS_PER_MS};
    int code = 1;

    if (scopes[args[1]] != NULL) {
        code = belay_cancel_scope_move(scopes[args[1]], when);
    }
    note_code(task, "move", args[0], code);
}

static void
status(belay_task *task, const int64_t *args)
{
    struct belay_cancel_status found;

    put_event(task, "status", args[0]);
    if (scopes[args[1]] == NULL) {
        printf(" none\n");
        return;
    }
    found = belay_cancel_scope_status(scopes[args[1]]);
    printf(" %d%d%d\n", found.caught, found.cancelled, found.expired);
}

static void
look(belay_task *task, const int64_t *args)
{
    struct belay_cancel_reason reason = {.task_name = ""};
    const int64_t due_ns = belay_effective_deadline(task).ns;

    (void)belay_cancel_pending(task, &reason);
    put_event(task, "look", args[0]);
    printf(" %d %s", (int)reason.source,
        reason.task_name[0] != '\0' ? reason.task_name : "-");
    if (due_ns == INT64_MIN || due_ns == INT64_MAX) {
        printf(" %s\n", due_ns == INT64_MIN ? "now" : "never");
    } else {
        printf(" %lld\n", (long long)(due_ns / NS_PER_MS - 1000));
    }
}

/* ---- tasks, holds ---- */

static void
spawn(belay_task *task, const int64_t *args)
{
    belay_group *group = groups[args[1]];
    struct child arguments = {args[2], false};
    int code = 1; /* no group */

    if (group != NULL) {
        code = belay_group_spawn(group, &child, &arguments,
            BELAY_SPAWN_OPTS(.name = names[args[3]], .task = &tasks[args[3]],
                .context = args[4] > 0 ? contexts[args[4] - 1] : NULL));
    }
    note_code(task, "spawn", args[0], code);
}

static void
result_of(belay_task *task, const int64_t *args)
{
    const belay_task *target = tasks[args[1]];
    const struct belay_result *result =
        target != NULL ? belay_task_result(target) : NULL;

    put_event(task, "result", args[0]);
    if (result != NULL) {
        put_result(result);
        printf("\n");
    } else {
        printf(" %s\n", target != NULL ? "alive" : "none");
    }
}

static void
ask(belay_task *task, const int64_t *args)
{
    belay_hold *hold = holds[args[1]];

    put_event(task, "ask", args[0]);
    if (hold == NULL) {
        printf(" 1\n");
        return;
    }
    printf(" %s\n", belay_hold_is_open(hold) ? "open" : "shut");
    belay_hold_ask(hold);
}

static void
drop(belay_task *task, const int64_t *args)
{
    note_code(task, "drop", args[0], holds[args[1]] == NULL);
    belay_hold_unref(holds[args[1]]);
    holds[args[1]] = NULL;
}

/* ---- exit stacks ---- */

static void
push(belay_task *task, const int64_t *args)
{
    const struct frame frame = {.id = args[0], .exit = args[2]};
    belay_stack *stack = stacks[args[1]];
    int code = 1;

    if (stack != NULL) {
        entry_stacks[args[0]] = stack;
        watch_opening(belay_task_name(task), args[0]);
        code =
            belay_stack_push(stack, &class_manager, &frame, &entries[args[0]]);
    }
    note_code(task, "push", args[0], code);
}

static void
hand(belay_task *task, const int64_t *args)
{
    belay_stack *from = stacks[args[1]];
    belay_stack *to = stacks[args[2]];
    int code = 1;

    if (from != NULL && to != NULL) {
        code = belay_stack_move(from, to);
    }
    for (size_t i = 0; code == 0 && from != to && i < OPS_MAX; i++) {
        if (entry_stacks[i] == from) {
            entries[i] = NULL;
        }
    }
    note_code(task, "hand", args[0], code);
}

static void
forget(belay_task *task, const int64_t *args)
{
    const int64_t id = args[1];
    belay_stack *stack = stack_of_entry(id);
    int code = 1;

    if (stack != NULL) {
        code = belay_stack_forget(stack, entries[id]);
    }
    if (code == 0) {
        entries[id] = NULL;
    }
    note_code(task, "forget", args[0], code);
}

static void
defer_on(belay_task *task, const int64_t *args)
{
    belay_stack *stack = stacks[args[1]];
    int code = 1;

    if (stack != NULL) {
        code = belay_stack_defer(
            stack, deferred, belay__without_const(args), NULL);
    }
    note_code(task, "defer", args[0], code);
}

/* ---- variables, locks, tokens, channels ---- */

static void
set_var(belay_task *task, const int64_t *args)
{
    note_code(task, "set_var", args[0],
        belay_var_set(
            task, &vars[args[1]], (void *)(intptr_t)args[0], &tokens[args[0]]));
}

static void
reset_var(belay_task *task, const int64_t *args)
{
    note_code(task, "reset_var", args[0],
        belay_var_reset(task, &vars[args[1]], &tokens[args[2]]));
}

static void
capture(belay_task *task, const int64_t *args)
{
    note_code(task, "capture", args[0],
        belay_context_capture(task, &contexts[args[1]]));
}

static void
peek(belay_task *task, const int64_t *args)
{
    put_event(task, "peek", args[0]);
    for (size_t i = 0; i < VARS; i++) {
        printf(" %lld", (long long)(intptr_t)belay_var_get(task, &vars[i]));
    }
    for (size_t i = 0; i < CELLS; i++) {
        printf(" %lld", (long long)cells[i]);
    }
    printf("\n");
}

static void
lock_stats(belay_task *task, const int64_t *args)
{
    struct belay_lock_stats stats = {.size = sizeof(stats)};

    (void)belay_lock_get_stats(&locks[args[1]], &stats);
    put_event(task, "stats", args[0]);
    printf(" %s %zu\n", stats.owner_name != NULL ? stats.owner_name : "-",
        stats.waiting);
}

static void
set_total(belay_task *task, const int64_t *args)
{
    struct belay_limiter_stats stats = {.size = sizeof(stats)};

    belay_limiter_set_total(&limiters[args[1]],
        now_ms(task) < JANITOR_MS ? (uint32_t)args[2] : TOKENS_MANY);
    (void)belay_limiter_get_stats(&limiters[args[1]], &stats);
    put_event(task, "total", args[0]);
    printf(" %u %u %zu\n", stats.borrowed, stats.available, stats.waiting);
}

static void
end_channel(belay_task *task, const int64_t *args)
{
    put_event(task, "end", args[0]);
    printf(" %zu\n", belay_channel_count(channels[args[1]]));
    belay_channel_close(channels[args[1]]);
}

/* ---- all of them ---- */

static void
set_event(belay_task *task, const int64_t *args)
{
    (void)task;
    belay_event_set(&events[args[0]]);
}

static void
clear_event(belay_task *task, const int64_t *args)
{
    if (now_ms(task) < JANITOR_MS) {
        belay_event_clear(&events[args[0]]);
    }
}

static void
release(belay_task *task, const int64_t *args)
{
    (void)task;
    belay_semaphore_release(&semaphores[args[0]]);
}

static void
try_acquire(belay_task *task, const int64_t *args)
{
    note_code(task, "try", args[0], belay_semaphore_try(&semaphores[args[1]]));
}

static void
started(belay_task *task, const int64_t *args)
{
    note_code(task, "started", args[0],
        belay_started(task, (void *)(intptr_t)args[0]));
}

static void
count_tasks(belay_task *task, const int64_t *args)
{
    const belay_group *group = groups[args[1]];

    note_code(task, "count", args[0],
        group != NULL ? (int)belay_group_count(group) : -1);
}

void
run_plain(belay_task *task, const struct op *op)
{
    static void (*const run[OP_KINDS])(
        belay_task * task, const int64_t *args) = {
        [OP_SET] = set_event,
        [OP_CLEAR] = clear_event,
        [OP_RELEASE] = release,
        [OP_SPAWN] = spawn,
        [OP_CANCEL] = cancel,
        [OP_SHIELD] = set_shield,
        [OP_MOVE] = move,
        [OP_PUSH] = push,
        [OP_HAND] = hand,
        [OP_STARTED] = started,
        [OP_ASK] = ask,
        [OP_DROP] = drop,
        [OP_NOTIFY] = condition_notify,
        [OP_TOTAL] = set_total,
        [OP_END_CHANNEL] = end_channel,
        [OP_TRY_ACQUIRE] = try_acquire,
        [OP_SET_VAR] = set_var,
        [OP_RESET_VAR] = reset_var,
        [OP_CAPTURE] = capture,
        [OP_PEEK] = peek,
        [OP_LOOK] = look,
        [OP_PREPARE] = prepare,
        [OP_STATUS] = status,
        [OP_COUNT_TASKS] = count_tasks,
        [OP_RESULT] = result_of,
        [OP_FORGET] = forget,
        [OP_DEFER_ON] = defer_on,
        [OP_STATS] = lock_stats,
        [OP_OBSERVE] = watch,
        [OP_POST] = post,
    };

    run[op->kind](task, op->args);
}
