/* task.c - a task from its making to its end, and who waits for that.
 *
 * All that a cancel or an unwind may need is reserved when the task is made:
 * places in the deadline heap for its wait and for its grace, and one for why
 * it was cancelled.
 */
#include <belay/task.h>

#include "runtime/internal.h"

#include <assert.h>
#include <string.h>

#define WAITS 1 /* deadlines, beside its scope's */
#define BLOCK_UNITS_MAX ((1U << 22) - 1)
#define ID_MASK ((UINT64_C(1) << 56) - 1)

/* Does a task that has this much room for frames keep an arena in its block?
 * If not it gets one with the first chunk.
 */
static bool
has_arena(size_t room)
{
#ifdef BELAY_ARENA_MALLOC
    (void)room;
    return true;
#else
    return room > 0;
#endif
}

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

/* The task itself, its first frame, room for other frames of which some exit,
 * and a name if it has one of its own.
 */
static size_t
block_bytes(size_t first_frame, size_t room, const char *name)
{
    size_t bytes = belay__align16(sizeof(belay_task)) + first_frame;

    if (has_arena(room)) {
        bytes += BELAY__ARENA_BYTES + room + sizeof(struct belay__exit);
    }
    return name != NULL ? bytes + BELAY__BLOCK_STEP : bytes;
}

/* Where a task with a name of its own has it: at the end of its block. */
static const char **
name_place(const belay_task *task)
{
    char *end = (char *)belay__without_const(task)
                + (size_t)task->block_units * BELAY__BLOCK_STEP;

    return (const char **)(void *)(end - BELAY__BLOCK_STEP);
}

/* Every field that something may read; the others, of a wait, are set with it.
 */
static void
task_init(belay_task *task, belay_runtime *runtime)
{
    task->runtime = runtime;
    task->scope = &task->base;
    task->waiting = NULL;
    memset(&task->result, 0, sizeof(task->result));
    task->joiners = NULL;
    task->id = ++runtime->last_id & ID_MASK;
    task->deadline =
        (struct belay__deadline){.index = 0, .kind = BELAY__DEADLINE_SLEEP};
    task->refs = 1;
    task->floor = BELAY__NO_FLOOR;
    task->state = BELAY__TASK_NEW;
    task->abort_queued = false;
}

/* With as much room behind it for more. */
static void
first_frame_init(belay_task *task, const belay_function *function,
    const void *arguments, size_t room)
{
    struct belay__arena *arena = belay__without_const(&belay__no_arena);

    task->top = belay__task_first_frame(task);
    belay__frame_init(task->top, function, 0);
    belay__frame_copy(task->top, arguments);
    if (has_arena(room)) {
        arena = (struct belay__arena *)(void *)((char *)task->top
                                                + belay__frame_bytes(function));
        arena->chunk = NULL;
        arena->cursor = (char *)arena + BELAY__ARENA_BYTES;
        arena->end = arena->cursor + room;
    }
    task->frames = arena;
}

belay_task *
belay__task_new(belay_runtime *runtime, struct belay__scope *parent,
    const belay_function *function, const void *arguments,
    struct belay__binding *context, const char *name)
{
    const size_t room = room_bytes(runtime, function);
    const size_t bytes = block_bytes(belay__frame_bytes(function), room, name);
    struct belay__block block;
    belay_task *task;

    assert(belay__on_thread(runtime));
    if (bytes / BELAY__BLOCK_STEP > BLOCK_UNITS_MAX
        || belay__scope_reserve(runtime, WAITS) < 0) {
        return NULL;
    }
    block = belay__block_alloc(runtime->memory, &runtime->blocks, bytes);
    task = block.ptr;
    if (task == NULL) {
        belay__scope_release(runtime, WAITS);
        return NULL;
    }
    task_init(task, runtime);
    task->block_units = bytes / BELAY__BLOCK_STEP & BLOCK_UNITS_MAX;
    task->block_place = block.place;
    task->context = context != NULL ? belay__context_ref(context) : NULL;
    first_frame_init(task, function, arguments, room);
    belay__scope_init(&task->base, BELAY__SCOPE_BASE);
    if (name != NULL) {
        task->base.flags |= BELAY__SCOPE_NAMED;
        *name_place(task) = name;
    }
    belay__scope_link(runtime, &task->base, parent);
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
        (struct belay__block){task, task->block_place},
        (size_t)task->block_units * BELAY__BLOCK_STEP);
}

static void
task_release(belay_task *task)
{
    belay_runtime *runtime = task->runtime;
    struct belay__binding *context = task->context;

    task->state = BELAY__TASK_ENDED; /* from here on a cancel comes too late */
    belay__scope_unlink(runtime, &task->base);
    belay__scope_release(runtime, WAITS);
    if (context != NULL) {
        task->context = NULL; /* a value that goes with it cannot be seen */
        belay__context_unref(runtime, context);
    }
    if (task->frames->chunk != NULL) {
        belay__arena_reset(runtime, task->frames);
    }
    task->top = NULL;
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

/* Who joins a task stands in a ring without a head: tasks are many, and most
 * are joined by nobody.
 */
static void
joiners_push(belay_task *target, belay_task *joiner)
{
    struct belay_waiters *first = target->joiners;
    struct belay_waiters *place = &joiner->wait.place;

    joiner->wait.data = target;
    if (first == NULL) {
        *place = (struct belay_waiters){place, place};
        target->joiners = place;
        return;
    }
    *place = (struct belay_waiters){first, first->prev};
    place->prev->next = place;
    first->prev = place;
}

static void
joiners_remove(belay_task *joiner)
{
    belay_task *target = joiner->wait.data;
    struct belay_waiters *place = &joiner->wait.place;

    if (target->joiners == place) {
        target->joiners = place->next != place ? place->next : NULL;
    }
    place->next->prev = place->prev;
    place->prev->next = place->next;
    place->next = NULL;
}

static void
wake_joiners(belay_task *target)
{
    belay_task *joiner;

    while (target->joiners != NULL) {
        joiner = BELAY__CONTAINER(target->joiners, belay_task, wait.place);
        joiners_remove(joiner);
        belay__wake(joiner, 0, NULL);
    }
}

static enum belay_abort
abort_join(belay_task *task)
{
    joiners_remove(task);
    return BELAY_ABORT_DONE;
}

void
belay__task_end(belay_task *task)
{
    belay_runtime *runtime = task->runtime;
    struct belay__owner *owner = belay__task_owner(task);

    BELAY__REQUIRE_OF(
        task, task->scope == &task->base, "it has ended inside a cancel scope");
    if (belay__observed(runtime, BELAY_OBSERVE_TASKS)) {
        belay__observe_end(task, &task->result);
    }
    runtime->current = NULL; /* what is called now belongs to no task */
    task_release(task);
    if (__builtin_expect(runtime->watches != NULL, 0)) {
        tell_watchers(task);
    }
    if (__builtin_expect(task->joiners != NULL, 0)) {
        wake_joiners(task);
    }
    owner->ended(owner, task);
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
    return (task->base.flags & BELAY__SCOPE_NAMED) != 0
               ? *name_place(task)
               : belay__task_first_frame(task)->function->name;
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

/* ---- joining ---- */

/* A task waits for those below it before it ends. */
static bool
is_below(const belay_task *task, const belay_task *other)
{
    for (const struct belay__scope *scope = &task->base; scope != NULL;
         scope = scope->parent) {
        if (belay__scope_task(scope) == other) {
            return true;
        }
    }
    return false;
}

belay_next
belay_task_join(belay_task *task, belay_task *target)
{
    static const struct belay__wait_kind join = {"task join", abort_join};

    if (target->state == BELAY__TASK_ENDED) {
        return belay__done_now(task, 0, NULL);
    }
    if (is_below(task, target)) {
        return belay__done_now(task, BELAY_EDEADLK, NULL);
    }
    if (belay__wait_begin(task, &join)) {
        joiners_push(target, task);
    }
    return belay__next(BELAY__HOW_WAIT);
}
