/* task.c - a task from its making to its end, and how it waits.
 *
 * All that a cancel or an unwind may need is reserved when the task is made:
 * two places in the deadline heap, for its wait and for its grace.
 */
#include <belay/task.h>

#include "runtime/internal.h"

#include <assert.h>
#include <string.h>

#define DEADLINES 2 /* the wait's and the base scope's */

/* For more frames than the first, in the task's own block. */
static size_t
room_bytes(belay_runtime *runtime, const belay_function *function)
{
    const struct belay__room_hint *hint;

#ifdef BELAY_ARENA_MALLOC
    (void)runtime;
    return 0;
#endif
    if (function->reserve_bytes > 0) {
        return belay__align16(function->reserve_bytes);
    }
    hint = belay__room_hint(runtime, function);
    return hint->function == function ? hint->bytes : 0;
}

/* All of a task's first block: itself, its first frame, and what other frames
 * take, of which some exit.
 */
static uint32_t
block_bytes(size_t first_frame, size_t room)
{
    size_t bytes = belay__align16(sizeof(belay_task)) + first_frame;

    if (room > 0) {
        bytes += room + sizeof(struct belay__exit);
    }
    return bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

/* Every field that something may read; the others, of a wait and of a cancel,
 * are set with it.
 */
static void
task_init(belay_task *task, belay_runtime *runtime, uint32_t bytes)
{
    task->runtime = runtime;
    task->frames = &task->arena;
    task->scope = &task->base;
    task->waiting = NULL;
    memset(&task->result, 0, sizeof(task->result));
    task->arena.chunk = NULL;
    task->joiners = (struct belay_waiters){NULL, NULL};
    task->id = ++runtime->last_id;
    task->deadline =
        (struct belay__deadline){.index = 0, .kind = BELAY__DEADLINE_SLEEP};
    task->block_bytes = bytes;
    task->refs = 1;
    task->floor = BELAY__NO_FLOOR;
    task->state = BELAY__TASK_NEW;
    task->abort_queued = false;
}

belay_task *
belay__task_new(belay_runtime *runtime, struct belay__scope *parent,
    struct belay__owner *owner, const belay_function *function,
    const void *arguments, struct belay__binding *context, const char *name)
{
    const size_t room = room_bytes(runtime, function);
    const size_t first_frame = belay__frame_bytes(function);
    const uint32_t bytes = block_bytes(first_frame, room);
    struct belay__block block;
    belay_task *task;

    assert(belay__on_thread(runtime));
    if (belay__deadline_reserve(runtime, DEADLINES) < 0) {
        return NULL;
    }
    block = belay__block_alloc(runtime->memory, &runtime->blocks, bytes);
    task = block.ptr;
    if (task == NULL) {
        belay__deadline_release(runtime, DEADLINES);
        return NULL;
    }
    task_init(task, runtime, bytes);
    task->block_place = block.place;
    task->context = context != NULL ? belay__context_ref(context) : NULL;
    task->top = belay__task_first_frame(task);
    task->arena.cursor = (char *)task->top + first_frame;
    task->arena.end = task->arena.cursor + room;
    belay__frame_init(task->top, function, 0);
    belay__frame_copy(task->top, arguments);
    belay__scope_init(&task->base, name != NULL ? name : function->name);
    task->base.owner = owner;
    belay__scope_link(runtime, &task->base, parent, task);
    runtime->tasks_alive++;
    runtime->tasks_started++;
    runtime->task_blocks++;
    if (belay__observed(runtime, BELAY_OBSERVE_TASKS)) {
        belay__observe_spawn(task);
    }
    return task;
}

/* One reference less. */
static inline void
drop(belay_task *task)
{
    belay_runtime *runtime = task->runtime;

    if (--task->refs > 0) {
        return;
    }
    assert(task->state == BELAY__TASK_ENDED && !task->abort_queued);
    if (task->result.error != NULL) {
        belay_error_unref(task->result.error);
    }
    runtime->task_blocks--;
    belay__block_free(runtime->memory, &runtime->blocks,
        (struct belay__block){task, task->block_place}, task->block_bytes);
}

static void
task_release(belay_task *task)
{
    belay_runtime *runtime = task->runtime;

    belay__scope_unlink(runtime, &task->base);
    belay__deadline_release(runtime, DEADLINES);
    if (task->context != NULL) {
        belay__context_unref(runtime, task->context);
        task->context = NULL;
    }
    if (task->arena.chunk != NULL) {
        belay__arena_reset(runtime, &task->arena);
    }
    task->top = NULL;
    task->state = BELAY__TASK_ENDED;
}

void
belay__task_discard(belay_task *task)
{
    belay_runtime *runtime = task->runtime;

    assert(task->state == BELAY__TASK_NEW);
    if (belay__observed(runtime, BELAY_OBSERVE_TASKS)) {
        belay__observe_end(task, NULL);
    }
    task_release(task);
    runtime->tasks_alive--;
    runtime->tasks_started--;
    drop(task);
}

void
belay__task_watch(belay_task *task, struct belay__end_watch *watch,
    void (*fn)(struct belay__end_watch *watch))
{
    belay_runtime *runtime = task->runtime;

    assert(task->state != BELAY__TASK_ENDED);
    *watch = (struct belay__end_watch){
        .next = runtime->watches, .task = task, .fn = fn};
    if (runtime->watches != NULL) {
        runtime->watches->prev = watch;
    }
    runtime->watches = watch;
}

void
belay__task_unwatch(struct belay__end_watch *watch)
{
    if (watch->task == NULL) {
        return;
    }
    if (watch->prev != NULL) {
        watch->prev->next = watch->next;
    } else {
        watch->task->runtime->watches = watch->next;
    }
    if (watch->next != NULL) {
        watch->next->prev = watch->prev;
    }
    watch->task = NULL;
}

/* What a watcher does may end other watches, so each look starts anew. */
static void
tell_watchers(belay_task *task)
{
    struct belay__end_watch *watch;

    do {
        watch = task->runtime->watches;
        while (watch != NULL && watch->task != task) {
            watch = watch->next;
        }
        if (watch != NULL) {
            belay__task_unwatch(watch);
            watch->fn(watch);
        }
    } while (watch != NULL);
}

void
belay__task_end(belay_task *task)
{
    belay_runtime *runtime = task->runtime;
    belay_task *joiner;

    BELAY__REQUIRE_OF(
        task, task->scope == &task->base, "it has ended inside a cancel scope");
    if (belay__observed(runtime, BELAY_OBSERVE_TASKS)) {
        belay__observe_end(task, &task->result);
    }
    task_release(task);
    runtime->current = NULL; /* what is called now belongs to no task */
    if (__builtin_expect(runtime->watches != NULL, 0)) {
        tell_watchers(task);
    }
    while (__builtin_expect(task->joiners.first != NULL, 0)) {
        joiner = belay__waiters_first(&task->joiners);
        belay__wake(joiner, 0, NULL);
    }
    task->base.owner->ended(task->base.owner, task);
    drop(task);
    belay__runtime_task_ended(runtime);
}

belay_task *
belay_task_ref(belay_task *task)
{
    task->refs++;
    return task;
}

void
belay_task_unref(belay_task *task)
{
    if (task != NULL) {
        drop(task);
    }
}

const char *
belay_task_name(const belay_task *task)
{
    return task->base.name;
}

uint64_t
belay_task_id(const belay_task *task)
{
    return task->id;
}

belay_runtime *
belay_task_runtime(const belay_task *task)
{
    return task->runtime;
}

const struct belay_result *
belay_task_result(const belay_task *target)
{
    return target->state == BELAY__TASK_ENDED ? &target->result : NULL;
}

/* ---- results ---- */

void
belay__result_clear(struct belay_result *result)
{
    belay_error *error = result->error;

    *result = (struct belay_result){0};
    belay_error_unref(error);
}

void
belay__result_cancelled(belay_task *task)
{
    belay__result_set(task, BELAY_ECANCELED, NULL, NULL);
    task->result.cancelled = true;
}

/* ---- waiting ---- */

/* For tests that cancel at every wait in turn. */
__attribute__((noinline, cold)) static void
cancel_all(belay_runtime *runtime)
{
    belay__scope_cancel(
        runtime, &runtime->root, BELAY_CANCEL_EXPLICIT, "by the test", NULL);
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
    task->wait.queue = NULL;
    task->abort_asked = false;
}

void
belay__wake(belay_task *task, int code, void *value)
{
    belay_runtime *runtime = task->runtime;

    assert(belay__on_thread(runtime));
    if (task->wait.queue != NULL) {
        belay__waiters_remove(task);
    }
    if (task->deadline.index != 0) {
        belay__deadline_disarm(runtime, &task->deadline);
    }
    task->waiting = NULL;
    belay__result_first(task, code, false, value);
    if (task->state == BELAY__TASK_PARKED) {
        task->state = BELAY__TASK_QUEUED;
        belay__task_queue(task);
    } else {
        task->state = BELAY__TASK_RUNNING; /* still in its step */
    }
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
    struct belay__wait *wait = &task->wait;

    wait->queue = queue;
    wait->next = NULL;
    wait->prev = queue->last;
    if (queue->last != NULL) {
        queue->last->next = wait;
    } else {
        queue->first = wait;
    }
    queue->last = wait;
}

void
belay__waiters_remove(belay_task *task)
{
    struct belay__wait *wait = &task->wait;
    struct belay_waiters *queue = wait->queue;

    if (wait->prev != NULL) {
        wait->prev->next = wait->next;
    } else {
        queue->first = wait->next;
    }
    if (wait->next != NULL) {
        wait->next->prev = wait->prev;
    } else {
        queue->last = wait->prev;
    }
    wait->queue = NULL;
}

belay_task *
belay__waiters_first(const struct belay_waiters *queue)
{
    return queue->first != NULL
               ? BELAY__CONTAINER(queue->first, belay_task, wait)
               : NULL;
}

size_t
belay__waiters_count(const struct belay_waiters *queue)
{
    size_t count = 0;

    for (const struct belay__wait *wait = queue->first; wait != NULL;
         wait = wait->next) {
        count++;
    }
    return count;
}

/* The abort hook of every wait that is only a place in a queue or a time. */
enum belay_abort
belay__abort_waiter(belay_task *task)
{
    if (task->wait.queue != NULL) {
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

/* A task waits for those below it before it ends. */
static bool
is_below(const belay_task *task, const belay_task *other)
{
    for (const struct belay__scope *scope = &task->base; scope != NULL;
         scope = scope->parent) {
        if (scope->task == other) {
            return true;
        }
    }
    return false;
}

belay_next
belay_task_join(belay_task *task, belay_task *target)
{
    static const struct belay__wait_kind join = {
        "task join", belay__abort_waiter};

    if (target->state == BELAY__TASK_ENDED) {
        return belay__done_now(task, 0, NULL);
    }
    if (is_below(task, target)) {
        return belay__done_now(task, BELAY_EDEADLK, NULL);
    }
    if (belay__wait_begin(task, &join)) {
        belay__waiters_push(&target->joiners, task);
    }
    return belay__next(BELAY__HOW_WAIT);
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
    memset(&task->result, 0, sizeof(task->result));
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
