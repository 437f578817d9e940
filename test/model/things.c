/* things.c - what programs wait for, and where all their things are. */
#include "test/model/interpret.h"

#include "runtime/internal.h"

#include <stdio.h>
#include <stdlib.h>

struct belay_event events[EVENTS];
struct belay_semaphore semaphores[SEMAPHORES];
struct belay_lock locks[LOCKS];
struct belay_condition conditions[CONDITIONS];
struct belay_limiter limiters[LIMITERS];
belay_channel *channels[CHANNELS];
int64_t received[OPS_MAX];
const struct belay_var vars[VARS] = {{"a", NULL}, {"b", NULL}, {"c", NULL}};
int64_t cells[CELLS];
belay_cancel_scope *scopes[SLOTS];
bool prepared[SLOTS];
struct belay_cancel_status statuses[SLOTS];
belay_group *groups[SLOTS];
belay_task *tasks[SLOTS];
belay_stack *stacks[SLOTS];
belay_hold *holds[SLOTS];
belay_duration watches[OPS_MAX];
belay_stack_entry *entries[OPS_MAX];
belay_stack *entry_stacks[OPS_MAX];
struct belay_var_token tokens[OPS_MAX];
belay_context *contexts[SLOTS];

#define NAMES(ten)                                                   \
    "t" ten "0", "t" ten "1", "t" ten "2", "t" ten "3", "t" ten "4", \
        "t" ten "5", "t" ten "6", "t" ten "7", "t" ten "8", "t" ten "9"
const char *const names[SLOTS] = {NAMES(""), NAMES("1"), NAMES("2"), NAMES("3"),
    NAMES("4"), NAMES("5"), "t60", "t61", "t62", "t63"};

/* ---- before and after ---- */

void
things_init(uint32_t permits, uint32_t total)
{
    memset(events, 0, sizeof(events));
    memset(locks, 0, sizeof(locks));
    memset(cells, 0, sizeof(cells));
    memset(tokens, 0, sizeof(tokens));
    for (size_t i = 0; i < SEMAPHORES; i++) {
        belay_semaphore_init(&semaphores[i], permits);
    }
    for (size_t i = 0; i < LIMITERS; i++) {
        belay_limiter_init(&limiters[i], total);
    }
    belay_condition_init(&conditions[0], &locks[0]);
    belay_condition_init(&conditions[1], &locks[0]);
    belay_condition_init(&conditions[2], &locks[1]);
    for (size_t i = 0; i < SLOTS; i++) {
        scopes[i] = NULL;
        prepared[i] = false;
        groups[i] = NULL;
        stacks[i] = NULL;
    }
    for (size_t i = 0; i < OPS_MAX; i++) {
        entries[i] = NULL;
    }
}

void
things_open(belay_task *root, size_t capacity)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        if (belay_channel_new(belay_task_runtime(root), capacity,
                sizeof(int64_t), &channels[i])
            < 0) {
            abort();
        }
    }
}

void
things_close(void)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        belay_channel_free(channels[i]);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        belay_task_unref(tasks[i]);
        tasks[i] = NULL;
        belay_hold_unref(holds[i]);
        holds[i] = NULL;
        belay_context_free(contexts[i]);
        contexts[i] = NULL;
        if (prepared[i]) {
            belay_cancel_scope_free(scopes[i]);
        }
    }
}

belay_stack *
stack_of_entry(int64_t id)
{
    for (size_t i = 0; i < SLOTS && entries[id] != NULL; i++) {
        if (stacks[i] != NULL && stacks[i] == entry_stacks[id]) {
            return stacks[i];
        }
    }
    return NULL;
}

/* ---- waits for a condition, and which of them have been cancelled ---- */

struct waiting {
    const belay_task *task;
    int64_t id;
    int64_t event; /* that is looked at */
    const struct belay_lock *lock;
    bool told; /* of its notify, or of its cancel */
};

static struct waiting waiting[SLOTS];

static struct waiting *
waiting_of(const belay_task *task)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (waiting[i].task == task) {
            return &waiting[i];
        }
    }
    return NULL;
}

/* Only a cancel takes a task from the condition's queue to the lock's
 * unnoticed: the log is told after each notify. At what time is not seen.
 */
static void
look_at_lock(const struct belay_lock *lock, bool silent)
{
    const belay_task *waiter = belay__waiters_first(&lock->waiters);
    const belay_task *task = lock->owner;

    while (task != NULL || waiter != NULL) {
        struct waiting *found;

        if (task == NULL) {
            task = waiter;
            waiter = belay__waiters_next(&lock->waiters, waiter);
        }
        found = waiting_of(task);
        if (found != NULL && found->lock == lock && !found->told) {
            found->told = true;
            if (!silent) {
                printf("- %s moved %lld\n", belay_task_name(task),
                    (long long)found->id);
            }
        }
        task = NULL;
    }
}

void
note_moved(void)
{
    for (size_t i = 0; i < LOCKS; i++) {
        look_at_lock(&locks[i], false);
    }
}

/* A wait that a cancel keeps from beginning has nothing to tell. */
static struct waiting *
waiting_begin(
    const belay_task *task, const struct op *op, struct belay_condition *to)
{
    struct waiting *free_place = waiting_of(NULL);

    if (free_place == NULL) {
        abort();
    }
    *free_place = (struct waiting){task, op->args[0], op->args[3], to->lock,
        belay_cancel_pending(task, NULL)};
    return free_place;
}

belay_next
condition_wait(belay_task *task, const struct op *op)
{
    struct belay_condition *condition = &conditions[op->args[2]];

    if (now_ms(task) >= JANITOR_MS) {
        return belay_checkpoint(task);
    }
    if (condition->lock->owner == task) {
        (void)waiting_begin(task, op, condition);
    }
    return belay_condition_wait(task, condition);
}

static bool
is_set(void *arg)
{
    struct waiting *wait = arg;

    note_code(wait->task, "ready", wait->id, events[wait->event].set);
    if (events[wait->event].set) {
        return true;
    }
    wait->told = belay_cancel_pending(wait->task, NULL);
    return false;
}

belay_next
condition_wait_for(belay_task *task, const struct op *op)
{
    struct belay_condition *condition = &conditions[op->args[2]];
    struct waiting *wait = waiting_begin(task, op, condition);

    wait->told = true; /* until it has looked */
    return belay_condition_wait_for(task, condition, is_set, wait);
}

void
condition_waited(const belay_task *task)
{
    struct waiting *wait = waiting_of(task);

    note_moved();
    if (wait != NULL) {
        wait->task = NULL;
    }
}

void
condition_notify(belay_task *task, const int64_t *args)
{
    struct belay_condition *condition = &conditions[args[1]];
    size_t before;
    int code;

    note_moved();
    before = belay_condition_waiting(condition);
    code = belay_condition_notify(
        task, condition, args[2] < 0 ? SIZE_MAX : (size_t)args[2]);
    look_at_lock(condition->lock, true);
    put_event(task, "notify", args[0]);
    printf(" %zu %d\n", before, code);
}

/* ---- operations of the program's own ---- */

enum how {
    ABORT_DONE,
    ABORT_LATER,      /* … cancelled */
    ABORT_LATER_DONE, /* … but it has happened */
    ABORT_REFUSED,
    ABORT_NONE, /* no hook */
    ABORT_SHIELDED,
    ABORT_REFUSED_ANYHOW, /* … and ends with the code of a cancel */
};

struct slow {
    struct belay_op op;
    struct belay__timer timer;
    belay_task *task;
    int64_t id;
    int64_t due_ns;
    int64_t how;
    int code;
};

static struct slow slows[OPS_MAX];

static void
slow_done(struct belay__timer *timer)
{
    struct slow *slow = BELAY__CONTAINER(timer, struct slow, timer);
    belay_runtime *runtime = belay_task_runtime(slow->task);

    belay__timer_fini(runtime, &slow->timer);
    runtime->pending_ops++; /* see slow_op() */
    belay_op_done(&slow->op, slow->code, NULL);
}

static enum belay_abort
slow_abort(struct belay_op *op)
{
    struct slow *slow = BELAY__CONTAINER(op, struct slow, op);
    belay_runtime *runtime = belay_task_runtime(slow->task);
    int64_t due;

    note(slow->task, "hook", slow->id);
    if (slow->how == ABORT_REFUSED || slow->how == ABORT_REFUSED_ANYHOW) {
        return BELAY_ABORT_REFUSED;
    }
    if (slow->how == ABORT_DONE) {
        belay__timer_fini(runtime, &slow->timer);
        runtime->pending_ops++;
        return BELAY_ABORT_DONE;
    }
    due = belay_now(slow->task).ns + NS_PER_MS;
    slow->code = slow->how == ABORT_LATER ? BELAY_ECANCELED : 0;
    belay__timer_start(
        runtime, &slow->timer, due < slow->due_ns ? due : slow->due_ns);
    return BELAY_ABORT_LATER;
}

/* The virtual clock stands still while anything from outside is waited for;
 * this one comes with the clock.
 */
belay_next
slow_op(belay_task *task, const struct op *op)
{
    belay_runtime *runtime = belay_task_runtime(task);
    struct slow *slow = &slows[op - ops];

    *slow = (struct slow){.task = task,
        .id = op->args[0],
        .due_ns = belay_now(task).ns + op->args[2] * NS_PER_MS,
        .how = op->args[3],
        .code = op->args[3] == ABORT_REFUSED_ANYHOW ? BELAY_ECANCELED : 0};
    if (slow->how == ABORT_SHIELDED) {
        belay_op_begin_shielded(task, &slow->op);
    } else if (belay_op_begin(
                   task, &slow->op, slow->how == ABORT_NONE ? NULL : slow_abort)
               < 0) {
        return belay_op_wait(&slow->op);
    }
    if (belay__timer_init(runtime, &slow->timer, slow_done) < 0) {
        abort();
    }
    runtime->pending_ops--;
    belay__timer_start(runtime, &slow->timer, slow->due_ns);
    return belay_op_wait(&slow->op);
}
