/* interpret.c - runs programs of the model test and prints what happens.
 *
 * Programs come from standard input, as made by language.py: flat lists of
 * operations, which name each other by their index. Each frame of a program is
 * one interpreter frame; blocks that nest in it are opened by hand with
 * belay_with(), so that one frame has as many open scopes as the program says.
 * A line of output is one event: the time in ms, the task, what happened.
 * After each suspension a task prints something before the next one: that is
 * how the model knows who went on.
 */
#include <belay/belay.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX 4096
#define SLOTS 64
#define NO_SLOT 63 /* of what nobody can aim at */
#define DEPTH 16
#define ARGS 6
#define FOREVER_MS 1000000000
#define NS_PER_MS 1000000

/* One name and arguments for each; language.py has the same list. */
enum kind {
    OP_SLEEP,    /* id, catch, ms */
    OP_CHECK,    /* id, catch */
    OP_WAIT,     /* id, catch, event */
    OP_SET,      /* event */
    OP_CLEAR,    /* event, ms: not from then on */
    OP_ACQUIRE,  /* id, catch, semaphore */
    OP_RELEASE,  /* semaphore */
    OP_CALL,     /* id, catch, entry */
    OP_SPAWN,    /* id, group, entry, task */
    OP_CANCEL,   /* id, what, slot */
    OP_SHIELD,   /* id, slot, on */
    OP_MOVE,     /* id, slot, ms from now */
    OP_MARK,     /* id, end, what, slot */
    OP_SCOPE,    /* id, end, slot, timeout, shield, grace, fail */
    OP_GROUP,    /* id, end, slot, max_running, policy */
    OP_CLASS,    /* id, end, enter entry, exit entry */
    OP_GEN,      /* id, end, entry */
    OP_PERMIT,   /* id, end, semaphore */
    OP_LEAVE,    /* - */
    OP_YIELD,    /* id, catch */
    OP_RETURN,   /* - */
    OP_SUPPRESS, /* - */
    OP_SAME,     /* - */
    OP_FAIL,     /* code */
    OP_JOIN,     /* id, catch, task */
    OP_STACK,    /* id, end, slot */
    OP_PUT,      /* id, catch, stack, opener */
    OP_PUSH,     /* id, stack, exit entry */
    OP_CLOSE,    /* id, catch, stack */
    OP_HAND,     /* id, stack, stack */
    OP_COUNT,
};

enum slot_kind {
    SLOT_NONE,
    SLOT_SCOPE,
    SLOT_GROUP,
    SLOT_TASK,
    SLOT_STACK,
};

struct op {
    int kind;
    int64_t args[ARGS + 1];
};

static struct op ops[OPS_MAX];
static struct belay_event events[SLOTS];
static struct belay_semaphore semaphores[SLOTS];
static belay_cancel_scope *scopes[SLOTS];
static struct belay_cancel_status statuses[SLOTS];
static belay_group *groups[SLOTS];
static belay_task *tasks[SLOTS];
static belay_stack *stacks[SLOTS];
static char names[SLOTS][8];

/* ---- the log ---- */

static void
put_error(const belay_error *error)
{
    belay_error *child;

    printf("%d", belay_error_code(error));
    if (belay_error_cause(error) != NULL) {
        printf("~");
        put_error(belay_error_cause(error));
    }
    for (size_t i = 0; (child = belay_error_child(error, i)) != NULL; i++) {
        printf("%c", i == 0 ? '[' : ',');
        put_error(child);
    }
    if (belay_error_child(error, 0) != NULL) {
        printf("]");
    }
    if (belay_error_context(error) != NULL) {
        printf("<");
        put_error(belay_error_context(error));
    }
}

static void
put_result(const struct belay_result *result)
{
    if (result->code >= 0) {
        printf(" ok");
    } else if (result->cancelled) {
        printf(" cancel");
    } else if (result->error != NULL) {
        printf(" ");
        put_error(result->error);
    } else {
        printf(" %d", result->code);
    }
}

static int64_t
now_ms(const belay_task *task)
{
    return belay_now(task).ns / NS_PER_MS - 1000;
}

static void
put_event(const belay_task *task, const char *what, int64_t id)
{
    printf("%lld %s %s %lld", (long long)now_ms(task), belay_task_name(task),
        what, (long long)id);
}

static void
note(const belay_task *task, const char *what, int64_t id)
{
    put_event(task, what, id);
    printf("\n");
}

static void
note_result(const belay_task *task, const char *what, int64_t id,
    const struct belay_result *result)
{
    put_event(task, what, id);
    put_result(result);
    printf("\n");
}

static void
note_code(const belay_task *task, const char *what, int64_t id, int code)
{
    put_event(task, what, id);
    printf(" %d\n", code);
}

/* ---- frames ---- */

struct frame {
    int64_t pc;   /* runs next */
    int64_t exit; /* of a class: where its exit begins */
    int64_t id;
    int64_t open[DEPTH]; /* the operations that have opened the blocks */
    int depth;
};

static belay_next go(belay_task *task, void *arg);
static belay_next class_exit(belay_task *task, void *arg);

static const belay_function body = {
    "body", __FILE__, sizeof(struct frame), go, 0};
static const belay_manager class_manager = {
    {"class", __FILE__, sizeof(struct frame), go, 0}, class_exit};
static const belay_manager generator = {
    {"generator", __FILE__, sizeof(struct frame), go, 0}, NULL};

static belay_next
class_exit(belay_task *task, void *arg)
{
    struct frame *self = arg;

    note_result(task, "exit", self->id, belay_outcome(task));
    self->pc = self->exit;
    self->depth = 0;
    return go(task, arg);
}

/* The operation before pc is done. */
static belay_next
done(belay_task *task, void *arg)
{
    const struct frame *self = arg;
    const struct op *op = &ops[self->pc - 1];

    note_result(task, "done", op->args[0], belay_result(task));
    if (belay_result(task)->code < 0 && op->args[1] == 0) {
        return belay_pass(task);
    }
    return go(task, arg);
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
    const struct belay_cancel_status *status = &statuses[self->slot];

    put_event(task, "left", self->id);
    put_result(belay_outcome(task));
    if (self->what == SLOT_SCOPE) {
        scopes[self->slot] = NULL;
        printf(" %d%d%d", status->caught, status->cancelled, status->expired);
    } else if (self->what == SLOT_GROUP) {
        groups[self->slot] = NULL;
    } else if (self->what == SLOT_STACK) {
        stacks[self->slot] = NULL;
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
static belay_step *const behinds[DEPTH] = {behind_0, behind_1, behind_2,
    behind_3, behind_4, behind_5, behind_6, behind_7, behind_8, behind_9,
    behind_10, behind_11, behind_12, behind_13, behind_14, behind_15};

static belay_duration
span_of(int64_t ms)
{
    return ms == FOREVER_MS ? BELAY_FOREVER : belay_milliseconds(ms);
}

static belay_next
scope_open(belay_task *task, const int64_t *args)
{
    const struct belay_cancel_scope_opts opts = {
        .size = sizeof(opts),
        .timeout = args[3] > 0 ? span_of(args[3])
                               : belay_nanoseconds(args[3] < 0 ? 0 : -1),
        .shield = (args[4] & 1) != 0,
        .fail_on_timeout = (args[4] & 2) != 0,
        .grace = args[5] < 0 ? BELAY_NO_GRACE : span_of(args[5]),
        .status = &statuses[args[2]],
    };

    statuses[args[2]] = (struct belay_cancel_status){false, false, false};
    return belay_cancel_scope_open(
        task, &opts, args[2] == NO_SLOT ? NULL : &scopes[args[2]]);
}

static belay_next
enter_op(belay_task *task, const struct op *op)
{
    const int64_t *args = op->args;
    struct frame frame = {.id = args[0], .pc = args[2], .exit = args[3]};

    switch (op->kind) {
    case OP_MARK:
        return belay_enter(task, &marker_manager,
            &(const struct marker){args[0], args[2], args[3]});
    case OP_SCOPE:
        return scope_open(task, args);
    case OP_GROUP:
        return belay_group_open(task,
            BELAY_GROUP_OPTS(.max_running = (uint32_t)args[3],
                .policy = (enum belay_group_policy)args[4]),
            &groups[args[2]]);
    case OP_CLASS:
        return belay_enter(task, &class_manager, &frame);
    case OP_GEN:
        return belay_enter(task, &generator, &frame);
    case OP_PERMIT:
        return belay_semaphore_open(task, &semaphores[args[2]]);
    case OP_STACK:
        return belay_stack_open(task, &stacks[args[2]]);
    default:
        abort();
    }
}

static belay_next
open_block(belay_task *task, struct frame *self, const struct op *op)
{
    if (self->depth == DEPTH) {
        abort();
    }
    self->open[self->depth] = op - ops;
    return belay_with(task, enter_op(task, op), in_block, behinds[self->depth]);
}

/* ---- tasks ---- */

struct child {
    int64_t entry;
    bool is_root;
};

static belay_next
child_ended(belay_task *task, void *arg)
{
    const struct child *self = arg;

    note_result(task, "end", 0, belay_result(task));
    for (size_t i = 0; self->is_root && i < SLOTS; i++) {
        belay_task_unref(tasks[i]);
        tasks[i] = NULL;
    }
    return belay_pass(task);
}

static belay_next
child_begin(belay_task *task, void *arg)
{
    const struct child *self = arg;

    note(task, "begin", 0);
    return belay_then(task, child_ended,
        belay_call(task, &body, &(const struct frame){.pc = self->entry}));
}

static const belay_function child = {
    "root", __FILE__, sizeof(struct child), child_begin, 0};

static void
spawn(const belay_task *task, const int64_t *args)
{
    belay_group *group = groups[args[1]];
    struct child arguments = {args[2], false};
    int code = 1; /* no group */

    if (group != NULL) {
        code = belay_group_spawn(group, &child, &arguments,
            BELAY_SPAWN_OPTS(.name = names[args[3]], .task = &tasks[args[3]]));
    }
    note_code(task, "spawn", args[0], code);
}

/* ---- what completes at once ---- */

static void
cancel(const belay_task *task, const int64_t *args)
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
    }
    note_code(task, "cancel", args[0], code);
}

static void
set_shield(const belay_task *task, const int64_t *args)
{
    int code = 1;

    if (scopes[args[1]] != NULL) {
        belay_cancel_scope_set_shield(scopes[args[1]], args[2] != 0);
        code = 0;
    }
    note_code(task, "shield", args[0], code);
}

static void
move(const belay_task *task, const int64_t *args)
{
    belay_time when = {belay_now(task).ns + args[2] * NS_PER_MS};
    int code = 1;

    if (scopes[args[1]] != NULL) {
        code = belay_cancel_scope_move(scopes[args[1]], when);
    }
    note_code(task, "move", args[0], code);
}

static void
push(const belay_task *task, const int64_t *args)
{
    const struct frame frame = {.id = args[0], .exit = args[2]};
    int code = 1;

    if (stacks[args[1]] != NULL) {
        code = belay_stack_push(stacks[args[1]], &class_manager, &frame, NULL);
    }
    note_code(task, "push", args[0], code);
}

static void
hand(const belay_task *task, const int64_t *args)
{
    int code = 1;

    if (stacks[args[1]] != NULL && stacks[args[2]] != NULL) {
        code = belay_stack_move(stacks[args[1]], stacks[args[2]]);
    }
    note_code(task, "hand", args[0], code);
}

static void
run_plain(const belay_task *task, const struct op *op)
{
    const int64_t *args = op->args;

    switch (op->kind) {
    case OP_SET:
        belay_event_set(&events[args[0]]);
        break;
    case OP_CLEAR:
        if (now_ms(task) < args[1]) {
            belay_event_clear(&events[args[0]]);
        }
        break;
    case OP_RELEASE:
        belay_semaphore_release(&semaphores[args[0]]);
        break;
    case OP_SPAWN:
        spawn(task, args);
        break;
    case OP_CANCEL:
        cancel(task, args);
        break;
    case OP_SHIELD:
        set_shield(task, args);
        break;
    case OP_MOVE:
        move(task, args);
        break;
    case OP_PUSH:
        push(task, args);
        break;
    case OP_HAND:
        hand(task, args);
        break;
    default:
        abort();
    }
}

/* ---- what is awaited, and what ends the frame ---- */

static belay_next
start(belay_task *task, const struct op *op)
{
    const int64_t *args = op->args;
    const struct frame frame = {.pc = args[2]};

    switch (op->kind) {
    case OP_SLEEP:
        return belay_sleep(task, span_of(args[2]));
    case OP_CHECK:
        return belay_checkpoint(task);
    case OP_WAIT:
        return belay_event_wait(task, &events[args[2]]);
    case OP_ACQUIRE:
        return belay_semaphore_acquire(task, &semaphores[args[2]]);
    case OP_CALL:
        return belay_call(task, &body, &frame);
    case OP_JOIN:
        if (tasks[args[2]] == NULL) {
            return belay_checkpoint(task);
        }
        return belay_task_join(task, tasks[args[2]]);
    case OP_YIELD:
        return belay_yield(task, NULL);
    case OP_PUT:
        return belay_stack_enter(
            task, stacks[args[2]], enter_op(task, &ops[args[3]]), NULL);
    case OP_CLOSE:
        return belay_stack_close(task, stacks[args[2]], NULL);
    default:
        abort();
    }
}

static belay_next
end(belay_task *task, const struct op *op)
{
    const struct belay_result *outcome = belay_outcome(task);

    switch (op->kind) {
    case OP_LEAVE:
        return belay_leave(task);
    case OP_RETURN:
        return belay_return(task, NULL);
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
    default:
        abort();
    }
}

static belay_next
go(belay_task *task, void *arg)
{
    struct frame *self = arg;
    const struct op *op;

    for (;;) {
        op = &ops[self->pc++];
        switch (op->kind) {
        case OP_PUT:
        case OP_CLOSE:
            if (stacks[op->args[2]] == NULL) {
                note_code(
                    task, op->kind == OP_PUT ? "put" : "close", op->args[0], 1);
                break;
            }
            return belay_then(task, done, start(task, op));
        case OP_SLEEP:
        case OP_CHECK:
        case OP_WAIT:
        case OP_ACQUIRE:
        case OP_CALL:
        case OP_JOIN:
        case OP_YIELD:
            return belay_then(task, done, start(task, op));
        case OP_SET:
        case OP_CLEAR:
        case OP_RELEASE:
        case OP_SPAWN:
        case OP_CANCEL:
        case OP_SHIELD:
        case OP_MOVE:
        case OP_PUSH:
        case OP_HAND:
            run_plain(task, op);
            break;
        case OP_MARK:
        case OP_SCOPE:
        case OP_GROUP:
        case OP_CLASS:
        case OP_GEN:
        case OP_PERMIT:
        case OP_STACK:
            return open_block(task, self, op);
        case OP_LEAVE:
        case OP_RETURN:
        case OP_SUPPRESS:
        case OP_SAME:
        case OP_FAIL:
            return end(task, op);
        default:
            abort();
        }
    }
}

/* ---- programs ---- */

struct header {
    int64_t count; /* of operations */
    int64_t grace;
    int64_t entry;   /* of the root */
    int64_t permits; /* of each semaphore */
    int64_t budget;  /* of steps */
};

static bool
read_number(int64_t *ret)
{
    char word[32];
    char *end_of_number;

    if (scanf("%31s", word) != 1) {
        return false;
    }
    *ret = strtoll(word, &end_of_number, 10);
    return *end_of_number == '\0';
}

static bool
read_op(struct op *op)
{
    int64_t kind = 0;
    bool good = read_number(&kind);

    op->kind = (int)kind;
    for (size_t i = 0; i < ARGS; i++) {
        good = good && read_number(&op->args[i]);
    }
    return good && kind >= 0 && kind < OP_COUNT;
}

static bool
read_program(struct header *header)
{
    bool good;

    if (!read_number(&header->count)) {
        return false;
    }
    good = read_number(&header->grace) && read_number(&header->entry)
           && read_number(&header->permits) && read_number(&header->budget)
           && header->count <= OPS_MAX;
    for (int64_t i = 0; good && i < header->count; i++) {
        good = read_op(&ops[i]);
    }
    if (!good) {
        fprintf(stderr, "not a program\n");
        exit(2);
    }
    return true;
}

static void
run_program(const struct header *header)
{
    const struct child root = {header->entry, true};
    belay_clock *clock = belay_clock_new(true);
    struct belay_result result = {0};

    for (size_t i = 0; i < SLOTS; i++) {
        events[i] = (struct belay_event){.set = false};
        belay_semaphore_init(&semaphores[i], (uint32_t)header->permits);
        scopes[i] = NULL;
        groups[i] = NULL;
        stacks[i] = NULL;
        tasks[i] = NULL;
    }
    (void)belay_run(&child, &root,
        BELAY_RUNTIME_OPTS(.clock = clock,
            .grace =
                header->grace < 0 ? BELAY_NO_GRACE : span_of(header->grace),
            .step_budget = (uint32_t)header->budget),
        &result);
    printf("=");
    put_result(&result);
    printf("\n");
    (void)fflush(stdout);
    belay_error_unref(result.error);
    belay_clock_free(clock);
}

int
main(int argc, char **argv)
{
    struct header header;

    if (argc > 1 && strcmp(argv[1], "--lines") == 0) {
        (void)setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* for after a crash */
    }

    for (size_t i = 0; i < SLOTS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "t%zu", i);
    }
    while (read_program(&header)) {
        run_program(&header);
    }
    return 0;
}
