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

/* A function may ask for more room, but gets no more: a hint is no reason not
 * to make a task.
 */
#define ROOM_MAX ((size_t)1024 * 1024)

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
        return function->reserve_bytes < ROOM_MAX
                   ? belay__align16(function->reserve_bytes)
                   : ROOM_MAX;
    }
    hint = belay__room_hint(runtime, function);
    return hint->function == function ? hint->bytes : 0;
}

/* How a task's block is laid out: the task itself, its first frame, an arena
 * with room for other frames of which some exit, and a name if it has one of
 * its own.
 */
struct layout {
    size_t arena; /* 0: it has none */
    size_t room;
    size_t bytes;
};

static inline struct layout
layout_of(
    belay_runtime *runtime, const belay_function *function, const char *name)
{
    struct layout layout = {0, room_bytes(runtime, function),
        belay__align16(sizeof(belay_task)) + belay__frame_bytes(function)};

    if (has_arena(layout.room)) {
        layout.arena = layout.bytes;
        layout.bytes +=
            BELAY__ARENA_BYTES + layout.room + sizeof(struct belay__exit);
    }
    if (name != NULL) {
        layout.bytes += BELAY__BLOCK_STEP;
    }
    return layout;
}

/* Where a task with a name of its own has it: at the end of its block. */
static const char **
name_place(const belay_task *task)
{
    char *end = (char *)belay__without_const(task)
                + belay__block_size(task->block_size);

    return (const char **)(void *)(end - BELAY__BLOCK_STEP);
}

/* Every field that something may read, but the name; the others, of a wait, are
 * set with it.
 */
static inline void
task_init(belay_task *task, belay_runtime *runtime, struct belay__scope *parent,
    const belay_function *function, const void *arguments,
    struct belay__binding *context)
{
    task->runtime = runtime;
    task->top = belay__task_first_frame(task);
    task->scope = &task->base;
    task->context = belay__context_ref(context);
    task->waiting = NULL;
    memset(&task->result, 0, sizeof(task->result));
    task->joiners = NULL;
    belay__scope_init(&task->base, BELAY__SCOPE_BASE);
    belay__scope_attach_below(&task->base, parent);
    task->id = ++runtime->last_id;
    task->deadline =
        (struct belay__deadline){.index = 0, .kind = BELAY__DEADLINE_SLEEP};
    task->refs = 1;
    task->floor = BELAY__NO_FLOOR;
    task->state = BELAY__TASK_NEW;
    belay__frame_init(task->top, function, 0);
    task->top->caller = NULL;
    belay__frame_copy(task->top, arguments);
    runtime->tasks_alive++;
}

static inline void
block_init(belay_task *task, const struct layout *layout, uint8_t place)
{
    struct belay__arena *arena;

    task->block_place = place;
    task->block_size = belay__block_code(layout->bytes);
    if (layout->arena == 0) {
        task->frames = belay__without_const(&belay__no_arena);
        return;
    }
    arena = (struct belay__arena *)(void *)((char *)task + layout->arena);
    arena->chunk = NULL;
    arena->cursor = (char *)arena + BELAY__ARENA_BYTES;
    arena->end = arena->cursor + layout->room;
    task->frames = arena;
}

/* Any task. */
__attribute__((noinline)) static belay_task *
new_any(belay_runtime *runtime, struct belay__scope *parent,
    const belay_function *function, const void *arguments,
    struct belay__binding *context, const char *name)
{
    struct layout layout = layout_of(runtime, function, name);
    struct belay__block block;
    belay_task *task;

    layout.bytes = belay__block_round(layout.bytes);
    if (layout.bytes > BELAY__BLOCK_MAX || belay__scope_reserve(runtime) < 0) {
        return NULL;
    }
    block = belay__block_alloc(runtime->memory, &runtime->blocks, layout.bytes);
    task = block.ptr;
    if (task == NULL) {
        belay__scope_release(runtime);
        return NULL;
    }
    block_init(task, &layout, block.place);
    task_init(task, runtime, parent, function, arguments, context);
    if (name != NULL) {
        task->base.flags |= BELAY__SCOPE_NAMED;
        *name_place(task) = name;
    }
    if ((parent->flags & BELAY__SCOPE_NOTED) != 0) {
        belay__scope_linked(runtime, &task->base);
    }
    if (belay__observed(runtime, BELAY_OBSERVE_TASKS)) {
        belay__observe_spawn(task);
    }
    return task;
}

/* The way of most has no call in it: of those without a name that are made
 * after another of their size has ended.
 */
belay_task *
belay__task_new(belay_runtime *runtime, struct belay__scope *parent,
    const belay_function *function, const void *arguments,
    struct belay__binding *context, const char *name)
{
    const struct layout layout = layout_of(runtime, function, NULL);
    struct belay__block *spare =
        belay__block_spare(&runtime->blocks, layout.bytes);
    belay_task *task;

    assert(belay__on_thread(runtime));
    if (name != NULL || spare == NULL
        || (parent->flags & BELAY__SCOPE_NOTED) != 0
        || belay__observed(runtime, BELAY_OBSERVE_TASKS)
        || runtime->cancels.left == 0) {
        return new_any(runtime, parent, function, arguments, context, name);
    }
    (void)belay__scope_reserve(runtime); /* there is room */
    task = spare->ptr;
    spare->ptr = NULL;
    block_init(task, &layout, spare->place);
    task_init(task, runtime, parent, function, arguments, context);
    return task;
}

/* Nobody has a reference. */
static inline void
task_free(belay_runtime *runtime, belay_task *task)
{
    const struct belay__block block = {task, task->block_place};
    const uint16_t size = task->block_size;

    assert(task->state == BELAY__TASK_ENDED);
    if (__builtin_expect(task->result.error != NULL, 0)) {
        belay__result_drop_error(task);
    }
    if (!belay__block_keep(&runtime->blocks, block, size)) {
        belay__block_free_any(
            runtime->memory, &runtime->blocks, block, belay__block_size(size));
    }
}

/* At its end, or instead of its start: from here on a cancel comes too late. */
static inline void
task_close(belay_runtime *runtime, belay_task *task)
{
    task->state = BELAY__TASK_ENDED;
    belay__scope_unlink(runtime, &task->base);
    belay__scope_release(runtime);
    task->top = NULL;
}

/* A value that goes with its context cannot be seen any more. */
static void
drop_context(belay_task *task)
{
    struct belay__binding *context = task->context;

    task->context = NULL;
    belay__context_unref(task->runtime, context);
}

void
belay__task_discard(belay_task *task)
{
    belay_runtime *runtime = task->runtime;

    assert(task->state == BELAY__TASK_NEW && task->refs == 1);
    if (belay__observed(runtime, BELAY_OBSERVE_TASKS)) {
        belay__observe_end(task, NULL);
    }
    task_close(runtime, task);
    drop_context(task);
    runtime->tasks_alive--;
    runtime->tasks_discarded++;
    task_free(runtime, task);
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

/* What few tasks have. */
__attribute__((noinline)) static void
end_rest(belay_task *task)
{
    drop_context(task);
    if (task->frames->chunk != NULL) {
        belay__arena_reset(task->runtime, task->frames);
    }
    if (task->runtime->watches != NULL) {
        tell_watchers(task);
    }
    wake_joiners(task);
}

void
belay__task_end(belay_task *task)
{
    belay_runtime *runtime = task->runtime;
    struct belay__owner *owner = belay__task_owner(task);

    assert(task->scope == &task->base);
    if (belay__observed(runtime, BELAY_OBSERVE_TASKS)) {
        belay__observe_end(task, &task->result);
    }
    runtime->current = NULL; /* what is called now belongs to no task */
    task_close(runtime, task);
    if (task->context != NULL || task->frames->chunk != NULL
        || runtime->watches != NULL || task->joiners != NULL) {
        end_rest(task);
    }
    owner->ended(owner, task);
    if (--task->refs == 0) {
        task_free(runtime, task);
    } else {
        runtime->handles++;
    }
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
    if (task != NULL && --task->refs == 0) {
        task->runtime->handles--;
        task_free(task->runtime, task);
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
belay__result_drop_error(belay_task *task)
{
    belay_error *error = task->result.error;

    task->result.error = NULL;
    belay_error_unref(error);
}

void
belay__result_cancelled(belay_task *task)
{
    belay__result_set(task, BELAY_ECANCELED, NULL, NULL);
    task->result.cancelled = true;
}

/* ---- joining ---- */

#define RING_MAX 64

static const struct belay__wait_kind join_wait = {"task join", abort_join};

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

/* Whom it joins and goes on joining; NULL: nobody. */
static const belay_task *
joined_by(const belay_task *task)
{
    return task->waiting == &join_wait && task->state == BELAY__TASK_PARKED
               ? task->wait.data
               : NULL;
}

/* Does `target` wait for the task, by itself or over others? A chain may be
 * long, and every join of it looks: so it is followed for a while only.
 */
static bool
waits_for(const belay_task *target, const belay_task *task)
{
    for (int i = 0; i < RING_MAX && target != NULL; i++) {
        if (is_below(task, target)) {
            return true;
        }
        target = joined_by(target);
    }
    return false;
}

belay_next
belay_task_join(belay_task *task, belay_task *target)
{
    if (target->state == BELAY__TASK_ENDED) {
        return belay__done_now(task, 0, NULL);
    }
    if (waits_for(target, task)) {
        return belay__done_now(task, BELAY_EDEADLK, NULL);
    }
    if (belay__wait_begin(task, &join_wait)) {
        joiners_push(target, task);
    }
    return belay__next(BELAY__HOW_WAIT);
}
