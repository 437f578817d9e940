/* interpret.c - runs a program of the model test and prints what happens.
 *
 * Each frame of a program is one interpreter frame; blocks that nest in it are
 * opened by hand with belay_with(), so that one frame has as many open scopes
 * as the program says. A line of output is one event: the time in ms, the task,
 * what happened. After each suspension a task prints something before the next
 * one: that is how the model knows who went on.
 */
#include "test/model/interpret.h"

#include <belay/uv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const belay_task *root_task;
static belay_hold *shutting[OPS_MAX];    /* by index */
static const struct op *opened[OPS_MAX]; /* by id: blocks that are open */

/* ---- frames ---- */

static belay_next go(belay_task *task, void *arg);
static belay_next class_exit(belay_task *task, void *arg);

static belay_next manager_enter(belay_task *task, void *arg);

static belay_next begin(belay_task *task, void *arg);

const belay_function body = {"body", __FILE__, sizeof(struct frame), begin, 0};
const belay_manager class_manager = {
    {"class", __FILE__, sizeof(struct frame), manager_enter, 0}, class_exit};
static const belay_manager generator = {
    {"generator", __FILE__, sizeof(struct frame), manager_enter, 0}, NULL};

/* Each frame has a line when it begins: a task may have to wait for its turn
 * before.
 */
static belay_next
begin(belay_task *task, void *arg)
{
    const struct frame *self = arg;

    note(task, "frame", self->id);
    return go(task, arg);
}

static belay_next
manager_enter(belay_task *task, void *arg)
{
    const struct frame *self = arg;

    note(task, "enter", self->id);
    return go(task, arg);
}

static belay_next
class_exit(belay_task *task, void *arg)
{
    struct frame *self = arg;

    entries[self->id] = NULL;
    note_result(task, "exit", self->id, belay_outcome(task));
    self->pc = self->exit;
    self->depth = 0;
    return go(task, arg);
}

static bool
gives_value(int kind)
{
    return kind == OP_START || kind == OP_HOLD || kind == OP_RECEIVE;
}

/* The operation before pc is done. */
static belay_next
done(belay_task *task, void *arg)
{
    const struct frame *self = arg;
    const struct op *op = &ops[self->pc - 1];
    const struct belay_result *result = belay_result(task);
    int64_t value = (intptr_t)result->value;

    if (op->kind == OP_COND || op->kind == OP_COND_FOR) {
        condition_waited(task);
    } else if (op->kind == OP_SHUT) {
        belay_hold_unref(shutting[op - ops]);
    } else if (op->kind == OP_RECEIVE) {
        value = received[op - ops];
    }
    put_event(task, "done", op->args[0]);
    put_result(result);
    if (result->code >= 0 && gives_value(op->kind)) {
        printf(" =%lld", (long long)value);
    }
    printf("\n");
    if (result->code < 0 && op->args[1] == 0) {
        return belay_pass(task);
    }
    return go(task, arg);
}

/* What stays behind a block of the library is not to be reached. */
void
block_gone(int64_t id)
{
    const struct op *op = opened[id];

    if (op == NULL) {
        return;
    }
    opened[id] = NULL;
    if (op->kind == OP_SCOPE) {
        scopes[op->args[2]] = NULL;
    } else if (op->kind == OP_GROUP) {
        groups[op->args[2]] = NULL;
    } else if (op->kind == OP_STACK) {
        stacks[op->args[2]] = NULL;
        entries[id] = NULL; /* it may be one itself */
    }
}

/* ---- the marker round every block of the library: what it has ended with,
 * and that nobody reaches for what is gone ----
 */

struct marker {
    int64_t id;
    int64_t what;
    int64_t slot;
};

static belay_next
marker_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
marker_exit(belay_task *task, void *arg)
{
    const struct marker *self = arg;
    struct belay_cancel_status status = statuses[self->slot];

    put_event(task, "left", self->id);
    put_result(belay_outcome(task));
    if (self->what == SLOT_USE && scopes[self->slot] != NULL) {
        status = belay_cancel_scope_status(scopes[self->slot]);
    }
    if (self->what == SLOT_SCOPE
        || (self->what == SLOT_USE && scopes[self->slot] != NULL)) {
        printf(" %d%d%d", status.caught, status.cancelled, status.expired);
    }
    block_gone(self->id);
    if (self->what == SLOT_WATCH) {
        printf(" %lld", (long long)(watches[self->id].ns / NS_PER_MS));
    }
    printf("\n");
    return belay_return(task, NULL);
}

static const belay_manager marker_manager = {
    {"marker", __FILE__, sizeof(struct marker), marker_enter, 0}, marker_exit};

/* ---- blocks ---- */

static belay_next
in_block(belay_task *task, void *arg)
{
    struct frame *self = arg;

    const struct op *op = &ops[self->open[self->depth]];

    self->depth++;
    if (op->kind != OP_MARK) {
        note(task, "in", op->args[0]);
    }
    return go(task, arg);
}

/* The block at a depth is left; there may have been more inside of it. */
static belay_next
behind(belay_task *task, struct frame *self, int depth)
{
    const struct op *op = &ops[self->open[depth]];

    self->depth = depth;
    self->pc = op->args[1] + 1;
    if (op->kind != OP_MARK) {
        note(task, "behind", op->args[0]);
    }
    return go(task, self);
}

#define BEHIND(depth)                                              \
    static belay_next behind_##depth(belay_task *task, void *self) \
    {                                                              \
        return behind(task, self, depth);                          \
    }
BEHIND(0)
BEHIND(1)
BEHIND(2)
BEHIND(3)
BEHIND(4)
BEHIND(5)
BEHIND(6)
BEHIND(7)
BEHIND(8)
BEHIND(9)
BEHIND(10)
BEHIND(11)
BEHIND(12)
BEHIND(13)
BEHIND(14)
BEHIND(15)
BEHIND(16)
BEHIND(17)
BEHIND(18)
BEHIND(19)
BEHIND(20)
BEHIND(21)
BEHIND(22)
BEHIND(23)
static belay_step *const behinds[DEPTH] = {behind_0, behind_1, behind_2,
    behind_3, behind_4, behind_5, behind_6, behind_7, behind_8, behind_9,
    behind_10, behind_11, behind_12, behind_13, behind_14, behind_15, behind_16,
    behind_17, behind_18, behind_19, behind_20, behind_21, behind_22,
    behind_23};

/* The close of a closing_async(): it is given its operation. */
static belay_next
close_op(belay_task *task, void *arg)
{
    const struct op *op = arg;

    return belay_call(task, &body,
        &(const struct frame){.id = op->args[0], .pc = op->args[2]});
}

static belay_next
enter_op(belay_task *task, struct op *op)
{
    const int64_t *args = op->args;
    struct frame frame = {.id = args[0], .pc = args[2], .exit = args[3]};

    switch (op->kind) {
    case OP_MARK:
        return belay_enter(task, &marker_manager,
            &(const struct marker){args[0], args[2], args[3]});
    case OP_SCOPE:
        return scope_open(task, args);
    case OP_USE:
        return scopes[args[2]] != NULL
                   ? belay_cancel_scope_enter(task, scopes[args[2]])
                   : belay_null(task, NULL);
    case OP_GROUP:
        return group_open(task, args);
    case OP_CLASS:
        return belay_enter(task, &class_manager, &frame);
    case OP_GEN:
        return belay_enter(task, &generator, &frame);
    case OP_PERMIT:
        return belay_semaphore_open(task, &semaphores[args[2]]);
    case OP_STACK:
        return belay_stack_open(task, &stacks[args[2]]);
    case OP_LOCK:
        return lock_open(task, args);
    case OP_TOKEN:
        return token_open(task, args);
    case OP_VAR:
        return belay_var_open(task, &vars[args[2]], (void *)(intptr_t)args[0]);
    case OP_SETTING:
        return belay_setting(task, &cells[args[2]], &args[0], sizeof(args[0]));
    case OP_QUIET:
        return quiet_open(task, args);
    case OP_WATCH:
        return belay_stopwatch(task, &watches[args[0]]);
    case OP_NULL:
        return belay_null(task, NULL);
    case OP_DEFER:
        return defer_open(task, args);
    case OP_CLOSING:
        return belay_closing_async(task, close_op, op);
    default:
        abort();
    }
}

static belay_next
open_block(belay_task *task, struct frame *self, struct op *op)
{
    if (self->depth == DEPTH) {
        abort();
    }
    self->open[self->depth] = op - ops;
    opened[op->args[0]] = op->kind != OP_MARK ? op : NULL;
    watch_opening(belay_task_name(task), op->args[0]);
    return belay_with(task, enter_op(task, op), in_block, behinds[self->depth]);
}

/* ---- tasks ---- */

static belay_next
child_ended(belay_task *task, void *arg)
{
    const struct child *self = arg;

    note_result(task, "end", 0, belay_result(task));
    if (self->is_root) {
        things_close();
    }
    return belay_pass(task);
}

/* Such a program is observed, and so takes other ways than most. */
static bool
puts_stacks(void)
{
    for (int64_t i = 0; i < program.count; i++) {
        if (ops[i].kind == OP_PUT && ops[ops[i].args[3]].kind == OP_STACK) {
            return true;
        }
    }
    return false;
}

static belay_next
child_begin(belay_task *task, void *arg)
{
    const struct child *self = arg;

    if (self->is_root) {
        root_task = task;
        memset(opened, 0, sizeof(opened));
        things_open(task, (size_t)program.capacity);
        if (program.budget != MANY) {
            watch_all(task);
        }
        if (puts_stacks()) {
            watch_stacks(task);
        }
    }
    note(task, "begin", 0);
    return belay_then(task, child_ended,
        belay_call(task, &body, &(const struct frame){.pc = self->entry}));
}

const belay_function child = {
    "root", __FILE__, sizeof(struct child), child_begin, 0};

/* ---- what is awaited, and what ends the frame ---- */

static belay_next
stack_put(belay_task *task, const int64_t *args)
{
    struct op *opener = &ops[args[3]];
    const int64_t id = opener->args[0];

    entry_stacks[id] = stacks[args[2]];
    opened[id] = opener->kind == OP_STACK ? opener : NULL;
    watch_opening(belay_task_name(task), id);
    return belay_stack_enter(task, stacks[args[2]], enter_op(task, opener),
        opener->kind == OP_CLASS || opener->kind == OP_STACK ? &entries[id]
                                                             : NULL);
}

static belay_next
stack_close(belay_task *task, const int64_t *args)
{
    const struct belay_result outcome = {.code = (int)args[3]};

    return belay_stack_close(
        task, stacks[args[2]], args[3] != 0 ? &outcome : NULL);
}

static belay_next
hold_shut(belay_task *task, const struct op *op)
{
    belay_hold *hold = holds[op->args[2]];

    shutting[op - ops] = belay_hold_ref(hold); /* others may drop it */
    return belay_hold_close(task, hold);
}

static belay_next
channel_send(belay_task *task, const int64_t *args)
{
    return belay_channel_send(task, channels[args[2]], &args[0]);
}

static belay_next
start(belay_task *task, const struct frame *self, const struct op *op)
{
    const int64_t *args = op->args;
    const struct frame frame = {.id = args[0], .pc = args[2]};

    switch (op->kind) {
    case OP_SLEEP:
        return args[0] % 2 == 0
                   ? belay_sleep(task, span_of(args[2]))
                   : belay_sleep_until(task,
                       (belay_time){belay_now(task).ns + args[2] * NS_PER_MS});
    case OP_CHECK:
        return belay_checkpoint(task);
    case OP_WAIT:
        return belay_event_wait(task, &events[args[2]]);
    case OP_ACQUIRE:
        return belay_semaphore_acquire(task, &semaphores[args[2]]);
    case OP_CALL:
        return belay_call(task, &body, &frame);
    case OP_JOIN:
        return tasks[args[2]] != NULL ? belay_task_join(task, tasks[args[2]])
                                      : belay_checkpoint(task);
    case OP_YIELD:
        return belay_yield(task, (void *)(intptr_t)self->id);
    case OP_PUT:
        return stack_put(task, args);
    case OP_CLOSE:
        return stack_close(task, args);
    case OP_START:
        return belay_group_start(task, groups[args[2]], &child,
            &(const struct child){args[3], false},
            BELAY_SPAWN_OPTS(.name = names[args[4]], .task = &tasks[args[4]]),
            NULL);
    case OP_HOLD:
        watch_opening(names[args[5]], ops[args[3]].args[0]);
        return belay_hold_open(task, groups[args[2]],
            enter_op(task, &ops[args[3]]), names[args[5]], &holds[args[4]]);
    case OP_SHUT:
        return hold_shut(task, op);
    case OP_COND:
        return condition_wait(task, op);
    case OP_COND_FOR:
        return condition_wait_for(task, op);
    case OP_SEND:
        return channel_send(task, args);
    case OP_RECEIVE:
        return belay_channel_receive(
            task, channels[args[2]], &received[op - ops]);
    case OP_OP:
        return slow_op(task, op);
    case OP_REFUSE:
        return belay_op_refuse(task, (int)args[2]);
    case OP_WORK:
        return work(task, args);
    case OP_CLOSE_ENTRY:
        return belay_stack_close_entry(
            task, stack_of_entry(args[2]), entries[args[2]], NULL);
    default:
        abort();
    }
}

static bool
is_there(const belay_task *task, const struct op *op)
{
    switch (op->kind) {
    case OP_PUT:
    case OP_CLOSE:
        return stacks[op->args[2]] != NULL;
    case OP_START:
        return groups[op->args[2]] != NULL;
    case OP_HOLD:
        return groups[op->args[2]] != NULL && now_ms(task) < JANITOR_MS;
    case OP_SHUT:
        return holds[op->args[2]] != NULL;
    case OP_CLOSE_ENTRY:
        return stack_of_entry(op->args[2]) != NULL;
    default:
        return true;
    }
}

static const char *
name_of(int kind)
{
    switch (kind) {
    case OP_PUT:
        return "put";
    case OP_CLOSE:
        return "close";
    case OP_START:
        return "start";
    case OP_HOLD:
        return "hold";
    case OP_CLOSE_ENTRY:
        return "close_entry";
    default:
        return "shut";
    }
}

static belay_next
end(belay_task *task, const struct frame *self, const struct op *op)
{
    const struct belay_result *outcome = belay_outcome(task);

    switch (op->kind) {
    case OP_LEAVE:
        return belay_leave(task);
    case OP_RETURN:
        return belay_return(task, (void *)(intptr_t)self->id);
    case OP_SUPPRESS:
        return belay_suppress(task);
    case OP_SAME:
        if (outcome == NULL || outcome->code >= 0 || outcome->cancelled) {
            return belay_return(task, NULL);
        }
        if (outcome->error == NULL) {
            return belay_fail(task, outcome->code, NULL);
        }
        return belay_fail_with(task, belay_error_ref(outcome->error));
    case OP_FAIL:
        return belay_fail(task, (int)op->args[0], "as the program says");
    case OP_ALONE:
        return belay_fail_alone(task, (int)op->args[0], "as the program says");
    default:
        abort();
    }
}

static belay_next
go(belay_task *task, void *arg)
{
    struct frame *self = arg;
    struct op *op;

    for (;;) {
        op = &ops[self->pc++];
        if (op->kind >= OP_LEAVE) {
            return end(task, self, op);
        }
        if (op->kind >= OP_MARK) {
            return open_block(task, self, op);
        }
        if (op->kind >= OP_SET) {
            run_plain(task, op);
        } else if (is_there(task, op)) {
            return belay_then(task, done, start(task, self, op));
        } else {
            note_code(task, name_of(op->kind), op->args[0], 1);
        }
    }
}
