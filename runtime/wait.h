/* wait.h - what tasks wait for, and their place in a queue (private).
 *
 * Waiting takes no memory: the place is part of the task. A wait ends once: by
 * belay__wake(), or by its abort hook, which the trampoline calls.
 */
#ifndef BELAY_RUNTIME_WAIT_H
#define BELAY_RUNTIME_WAIT_H

#include <belay/sync.h>
#include <belay/uv.h>

/* What a parked task waits for. */
struct belay__wait_kind {
    const char *name;
    enum belay_abort (*abort)(belay_task *task);
};
extern const struct belay__wait_kind belay__wait_op; /* object: belay_op */

/* In the task, in place of a result. */
struct belay__wait {
    struct belay_waiters place; /* in a queue of waiters; next NULL: in none */
    void *data; /* the operation, the item to send, where to receive …: until
                   the wait is over */
};

/* The first half of every runtime await. False: the task is cancelled and the
 * result is set; return the token for "wait" in both cases.
 */
bool belay__wait_begin(belay_task *task, const struct belay__wait_kind *kind);
/* The same without a look at cancels, for what must be waited for. */
void belay__wait_always(belay_task *task, const struct belay__wait_kind *kind);
/* The wait is over: sets the result and queues the task if it is parked. */
void belay__wake(belay_task *task, int code, void *value);
void belay__waiters_push(struct belay_waiters *queue, belay_task *task);
void belay__waiters_remove(belay_task *task);
belay_task *belay__waiters_first(const struct belay_waiters *queue);
/* The one behind a task that is in a queue; NULL: it is the last. */
belay_task *belay__waiters_next(
    const struct belay_waiters *queue, const belay_task *task);
size_t belay__waiters_count(const struct belay_waiters *queue); /* O(n) */
/* Completes at once with a code; a checkpoint all the same. */
belay_next belay__done_now(belay_task *task, int code, void *value);
enum belay_abort belay__abort_waiter(belay_task *task);
/* Refuses: of waits for the tasks below, which see the cancel themselves. */
enum belay_abort belay__abort_never(belay_task *task);
/* An operation that failed before it began; no checkpoint. */
belay_next belay__refuse(belay_task *task, int code);

#endif
