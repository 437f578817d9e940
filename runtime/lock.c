/* lock.c - lock and condition.
 *
 * A lock that tasks wait for is never free: who leaves it makes the longest
 * waiting one its owner. A task waits in one queue at a time. From a
 * condition's it goes over to its lock's, where no abort takes it out any
 * more, with what it will be told:
 *
 *   waiting -> notified  -> owner, 0
 *          \-> cancelled -> owner, BELAY_ECANCELED
 */
#include <belay/lock.h>

#include "runtime/internal.h"

static enum belay_abort condition_abort(belay_task *task);
static enum belay_abort refuse(belay_task *task);

static const struct belay__wait_kind lock_wait = {"lock", belay__abort_waiter};
static const struct belay__wait_kind condition_wait = {
    "condition", condition_abort};
static const struct belay__wait_kind notified = {"lock", refuse};
static const struct belay__wait_kind cancelled = {"lock", refuse};

static enum belay_abort
refuse(belay_task *task)
{
    (void)task;
    return BELAY_ABORT_REFUSED;
}

static void
hand_over(struct belay_lock *lock)
{
    belay_task *task = belay__waiters_first(&lock->waiters);
    bool was_cancelled;

    lock->owner = task;
    if (task == NULL) {
        return;
    }
    was_cancelled = task->waiting == &cancelled;
    belay__wake(task, was_cancelled ? BELAY_ECANCELED : 0, NULL);
    task->result.cancelled = was_cancelled;
}

/* ---- the lock ---- */

struct holding {
    struct belay_lock *lock;
};

static belay_next
lock_enter(belay_task *task, void *self)
{
    const struct holding *holding = self;
    struct belay_lock *lock = holding->lock;

    belay__enter_bound(task);
    if (lock->owner == task) {
        (void)belay__done_now(task, BELAY_EDEADLK, NULL);
        return belay_pass(task);
    }
    if (lock->owner == NULL) {
        (void)belay__done_now(task, 0, NULL); /* a checkpoint all the same */
        if (belay_result(task)->code == 0) {
            lock->owner = task;
        }
        return belay_pass(task);
    }
    if (belay__wait_begin(task, &lock_wait)) {
        belay__waiters_push(&lock->waiters, task);
    }
    return belay_end_with(task, belay__next(BELAY__HOW_WAIT));
}

static belay_next
lock_try_enter(belay_task *task, void *self)
{
    const struct holding *holding = self;
    struct belay_lock *lock = holding->lock;

    belay__enter_bound(task);
    if (lock->owner != NULL) {
        return belay_fail(
            task, lock->owner == task ? BELAY_EDEADLK : BELAY_EAGAIN, NULL);
    }
    lock->owner = task;
    return belay_return(task, NULL);
}

static belay_next
lock_exit(belay_task *task, void *self)
{
    const struct holding *holding = self;

    BELAY__REQUIRE_OF(task, holding->lock->owner == task,
        "it leaves a lock that another task has");
    hand_over(holding->lock);
    return belay_return(task, NULL);
}

belay_next
belay_lock_open(belay_task *task, struct belay_lock *lock)
{
    static const belay_manager manager = {
        {"lock", __FILE__, sizeof(struct holding), lock_enter, 0}, lock_exit};

    return belay_enter(task, &manager, &(const struct holding){lock});
}

belay_next
belay_lock_try_open(belay_task *task, struct belay_lock *lock)
{
    static const belay_manager manager = {
        {"lock", __FILE__, sizeof(struct holding), lock_try_enter, 0},
        lock_exit};

    return belay_enter(task, &manager, &(const struct holding){lock});
}

int
belay_lock_get_stats(
    const struct belay_lock *lock, struct belay_lock_stats *ret)
{
    const belay_task *owner = lock->owner;

    if (ret->size != sizeof(*ret)) {
        return BELAY_EINVAL;
    }
    *ret = (struct belay_lock_stats){
        .size = sizeof(*ret),
        .owner_name = owner != NULL ? belay_task_name(owner) : NULL,
        .owner_id = owner != NULL ? belay_task_id(owner) : 0,
        .waiting = belay__waiters_count(&lock->waiters),
    };
    return 0;
}

/* ---- the condition ---- */

void
belay_condition_init(struct belay_condition *condition, struct belay_lock *lock)
{
    *condition = (struct belay_condition){.lock = lock};
}

/* The wait ends when the task has the lock; as `how` says. */
static void
requeue(belay_task *task, struct belay_lock *lock,
    const struct belay__wait_kind *how)
{
    belay__waiters_remove(task);
    task->waiting = how;
    belay__waiters_push(&lock->waiters, task);
}

static enum belay_abort
condition_abort(belay_task *task)
{
    struct belay_condition *condition = task->wait.data;
    struct belay_lock *lock = condition->lock;

    requeue(task, lock, &cancelled);
    if (lock->owner == NULL) {
        hand_over(lock);
    }
    return BELAY_ABORT_LATER;
}

belay_next
belay_condition_wait(belay_task *task, struct belay_condition *condition)
{
    if (condition->lock->owner != task) {
        return belay__done_now(task, BELAY_EOWNER, NULL);
    }
    if (belay__wait_begin(task, &condition_wait)) {
        task->wait.data = condition;
        belay__waiters_push(&condition->waiters, task);
        hand_over(condition->lock);
    }
    return belay__next(BELAY__HOW_WAIT);
}

struct wait_for {
    struct belay_condition *condition;
    belay_ready_fn *ready;
    void *arg;
};

static belay_next
look(belay_task *task, void *self)
{
    const struct wait_for *wait = self;

    if (belay_result(task)->code < 0) {
        return belay_pass(task);
    }
    if (wait->ready(wait->arg)) {
        return belay_return(task, NULL);
    }
    return belay_then(task, look, belay_condition_wait(task, wait->condition));
}

/* Also if it is so already the wait is a checkpoint. */
static belay_next
look_first(belay_task *task, void *self)
{
    const struct wait_for *wait = self;
    const bool is_owner = wait->condition->lock->owner == task;

    return belay_then(
        task, look, belay__done_now(task, is_owner ? 0 : BELAY_EOWNER, NULL));
}

belay_next
belay_condition_wait_for(belay_task *task, struct belay_condition *condition,
    belay_ready_fn *ready, void *arg)
{
    static const belay_function function = {
        "condition wait", __FILE__, sizeof(struct wait_for), look_first, 0};

    return belay_call(
        task, &function, &(const struct wait_for){condition, ready, arg});
}

int
belay_condition_notify(
    const belay_task *task, struct belay_condition *condition, size_t count)
{
    belay_task *first;

    if (condition->lock->owner != task) {
        return BELAY_EOWNER;
    }
    while (count > 0
           && (first = belay__waiters_first(&condition->waiters)) != NULL) {
        requeue(first, condition->lock, &notified);
        count--;
    }
    return 0;
}

size_t
belay_condition_waiting(const struct belay_condition *condition)
{
    return belay__waiters_count(&condition->waiters);
}
