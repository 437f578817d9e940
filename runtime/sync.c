/* sync.c - event and semaphore.
 *
 * Waiting is a place in a doubly linked queue inside the task: no memory, and
 * leaving the queue is O(1). A permit or a flag is handed over by the one who
 * sets it free, so no waiter ever looks a second time.
 */
#include <belay/sync.h>

#include "runtime/internal.h"

static const struct belay__wait_kind event_wait = {
    "event", belay__abort_waiter};
static const struct belay__wait_kind semaphore_wait = {
    "semaphore", belay__abort_waiter};

void
belay_event_set(struct belay_event *event)
{
    belay_task *task;

    event->set = true;
    while ((task = belay__waiters_first(&event->waiters)) != NULL) {
        belay__wake(task, 0, NULL);
    }
}

void
belay_event_clear(struct belay_event *event)
{
    event->set = false;
}

belay_next
belay_event_wait(belay_task *task, struct belay_event *event)
{
    if (event->set) {
        return belay__done_now(task, 0, NULL);
    }
    if (belay__wait_begin(task, &event_wait)) {
        belay__waiters_push(&event->waiters, task);
    }
    return belay__next(BELAY__HOW_WAIT);
}

void
belay_semaphore_init(struct belay_semaphore *semaphore, uint32_t permits)
{
    *semaphore = (struct belay_semaphore){.permits = permits};
}

int
belay_semaphore_try(struct belay_semaphore *semaphore)
{
    if (semaphore->permits == 0) {
        return BELAY_EAGAIN;
    }
    semaphore->permits--;
    return 0;
}

belay_next
belay_semaphore_acquire(belay_task *task, struct belay_semaphore *semaphore)
{
    if (!belay__wait_begin(task, &semaphore_wait)) {
        return belay__next(BELAY__HOW_WAIT);
    }
    if (belay_semaphore_try(semaphore) == 0) {
        belay__wake(task, 0, NULL);
    } else {
        belay__waiters_push(&semaphore->waiters, task);
    }
    return belay__next(BELAY__HOW_WAIT);
}

void
belay_semaphore_release(struct belay_semaphore *semaphore)
{
    belay_task *task = belay__waiters_first(&semaphore->waiters);

    if (task != NULL) {
        belay__wake(task, 0, NULL); /* the permit is the task's now */
        return;
    }
    BELAY__REQUIRE(semaphore->permits < UINT32_MAX, "too many permits");
    semaphore->permits++;
}

struct permit {
    struct belay_semaphore *semaphore;
};

static belay_next
permit_enter(belay_task *task, void *self)
{
    struct permit *permit = self;

    return belay_end_with(
        task, belay_semaphore_acquire(task, permit->semaphore));
}

static belay_next
permit_exit(belay_task *task, void *self)
{
    struct permit *permit = self;

    belay_semaphore_release(permit->semaphore);
    return belay_return(task, NULL);
}

belay_next
belay_semaphore_open(belay_task *task, struct belay_semaphore *semaphore)
{
    static const belay_manager manager = {
        {"semaphore", __FILE__, sizeof(struct permit), permit_enter, 0},
        permit_exit};

    return belay_enter(task, &manager, &(const struct permit){semaphore});
}
