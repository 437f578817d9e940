/* wait.c - how tasks wait: the two halves of a wait, queues, checkpoints, sleep.
 *
 * A wait begins in a step, which returns; it is over when somebody wakes the
 * task or its abort hook takes it back. Its place in a queue is in the task.
 */
#include "runtime/wait.h"

#include "runtime/internal.h"

#include <assert.h>
#include <string.h>

/* For tests that cancel at every wait in turn. */
__attribute__((noinline, cold)) static void
cancel_all(belay_runtime *runtime)
{
    belay__scope_cancel(runtime, &runtime->root.scope, BELAY_CANCEL_EXPLICIT,
        "by the test", NULL);
}

/* False: the task is cancelled, and the result says so. */
static inline bool
may_wait(belay_task *task)
{
    belay_runtime *runtime = task->runtime;

    belay__require_idle(task);
    if (__builtin_expect(runtime->counts_waits, 0) && --runtime->cancel_in == 0
        && !runtime->cancel_late) {
        cancel_all(runtime);
    }
    if (__builtin_expect(belay__cancel_visible(task), 0)) {
        belay__result_cancelled(task);
        return false;
    }
    return true;
}

bool
belay__wait_begin(belay_task *task, const struct belay__wait_kind *kind)
{
    if (!may_wait(task)) {
        return false;
    }
    belay__wait_always(task, kind);
    if (__builtin_expect(task->runtime->counts_waits, 0)
        && task->runtime->cancel_in == 0) {
        cancel_all(task->runtime);
    }
    return true;
}

void
belay__wait_always(belay_task *task, const struct belay__wait_kind *kind)
{
    if (__builtin_expect(task->result.error != NULL, 0)) {
        belay_error_unref(task->result.error);
    }
    task->state = BELAY__TASK_STARTED;
    task->waiting = kind;
    task->wait.place.next = NULL;
}

void
belay__wake(belay_task *task, int code, void *value)
{
    belay_runtime *runtime = task->runtime;

    assert(belay__on_thread(runtime));
    if (task->wait.place.next != NULL) {
        belay__waiters_remove(task);
    }
    if (task->deadline.index != 0) {
        belay__deadline_disarm(runtime, &task->deadline);
    }
    task->waiting = NULL;
    belay__result_first(task, code, false, value);
    if (task->state == BELAY__TASK_STARTED) {
        task->state = BELAY__TASK_READY; /* still in its step */
        return;
    }
    if (task->state != BELAY__TASK_NOTICED) { /* then it is queued already */
        belay__task_queue(task);
    }
    task->state = BELAY__TASK_READY;
}

belay_next
belay__done_now(belay_task *task, int code, void *value)
{
    if (may_wait(task)) {
        belay__result_set(task, code, value, NULL);
    }
    return belay__next(BELAY__HOW_WAIT);
}

void
belay__waiters_push(struct belay_waiters *queue, belay_task *task)
{
    struct belay_waiters *place = &task->wait.place;

    if (queue->next == NULL) {
        *queue = (struct belay_waiters){queue, queue};
    }
    *place = (struct belay_waiters){queue, queue->prev};
    place->prev->next = place;
    queue->prev = place;
}

void
belay__waiters_remove(belay_task *task)
{
    struct belay_waiters *place = &task->wait.place;

    place->next->prev = place->prev;
    place->prev->next = place->next;
    if (place->next == place->prev) { /* that is the queue, now empty */
        *place->next = (struct belay_waiters){NULL, NULL};
    }
    place->next = NULL;
}

belay_task *
belay__waiters_first(const struct belay_waiters *queue)
{
    return queue->next != NULL
               ? BELAY__CONTAINER(queue->next, belay_task, wait.place)
               : NULL;
}

belay_task *
belay__waiters_next(const struct belay_waiters *queue, const belay_task *task)
{
    struct belay_waiters *next = task->wait.place.next;

    return next != queue ? BELAY__CONTAINER(next, belay_task, wait.place)
                         : NULL;
}

size_t
belay__waiters_count(const struct belay_waiters *queue)
{
    size_t count = 0;

    for (const belay_task *task = belay__waiters_first(queue); task != NULL;
         task = belay__waiters_next(queue, task)) {
        count++;
    }
    return count;
}

/* The abort hook of every wait that is only a place in a queue or a time. */
enum belay_abort
belay__abort_waiter(belay_task *task)
{
    if (task->wait.place.next != NULL) {
        belay__waiters_remove(task);
    }
    if (task->deadline.index != 0) {
        belay__deadline_disarm(task->runtime, &task->deadline);
    }
    return BELAY_ABORT_DONE;
}

enum belay_abort
belay__abort_never(belay_task *task)
{
    (void)task;
    return BELAY_ABORT_REFUSED;
}

/* Queued behind every task that is ready now; not abortable, since it has as
 * good as happened.
 */
__attribute__((noinline)) static belay_next
checkpoint_any(belay_task *task)
{
    if (!may_wait(task)) {
        return belay__next(BELAY__HOW_WAIT);
    }
    belay__result_zero(task);
    return belay__next(BELAY__HOW_TURN);
}

/* If nothing is to be seen to, there is no call in it. */
belay_next
belay_checkpoint(belay_task *task)
{
    if (!belay__is_idle(task) || (task->scope->flags & BELAY__SCOPE_NOTED) != 0
        || task->result.error != NULL) {
        return checkpoint_any(task);
    }
    belay__result_zero(task);
    return belay__next(BELAY__HOW_TURN);
}

static belay_next
sleep_until(belay_task *task, int64_t due_ns)
{
    static const struct belay__wait_kind sleep = {"sleep", belay__abort_waiter};

    if (belay__wait_begin(task, &sleep)) {
        belay__deadline_arm(task->runtime, &task->deadline, due_ns);
    }
    return belay__next(BELAY__HOW_WAIT);
}

belay_next
belay_sleep(belay_task *task, belay_duration span)
{
    if (span.ns <= 0) {
        return belay_checkpoint(task);
    }
    return sleep_until(task, belay__due(task->runtime, span));
}

belay_next
belay_sleep_until(belay_task *task, belay_time when)
{
    if (when.ns <= belay__clock_now(task->runtime)) {
        return belay_checkpoint(task);
    }
    return sleep_until(task, when.ns);
}

belay_time
belay_now(const belay_task *task)
{
    return (belay_time){belay__clock_now(task->runtime)};
}
