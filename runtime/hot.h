/* hot.h - what runs for every task and at every suspension, inline (private).
 *
 * The end of internal.h, which includes it: here are the ways that must not
 * cost a call.
 */
#ifndef BELAY_RUNTIME_HOT_H
#define BELAY_RUNTIME_HOT_H

#include "runtime/internal.h"

/* ---- what runs for every task, inline ---- */

/* To be linked. */
static inline void
belay__scope_init(struct belay__scope *scope, uint32_t flags)
{
    scope->child = NULL;
    scope->flags = flags;
    scope->deadline =
        (struct belay__deadline){.index = 0, .kind = BELAY__DEADLINE_SCOPE};
    scope->cancel = 0;
}

/* Without limits of its own; to be linked or pushed. */
static inline void
belay__opened_init(struct belay__opened_scope *opened, const char *name)
{
    belay__scope_init(&opened->scope, 0);
    opened->task = NULL;
    opened->keeper = NULL;
    opened->name = name;
}

/* The same for a scope that tasks are to hang below. */
static inline void
belay__owner_init(struct belay__owner *owner, const char *name,
    void (*ended)(struct belay__owner *owner, belay_task *task))
{
    belay__opened_init(&owner->opened, name);
    owner->opened.scope.flags = BELAY__SCOPE_OWNER;
    owner->ended = ended;
}

static inline struct belay__opened_scope *
belay__opened_of(const struct belay__scope *scope)
{
    assert((scope->flags & BELAY__SCOPE_BASE) == 0);
    return belay__without_const(scope); /* its first member */
}

/* Whose base scope it is; NULL: it is none. */
static inline belay_task *
belay__scope_base_of(const struct belay__scope *scope)
{
    struct belay__scope *base = belay__without_const(scope);

    return (scope->flags & BELAY__SCOPE_BASE) != 0
               ? BELAY__CONTAINER(base, belay_task, base)
               : NULL;
}

/* Whose stack it is on; NULL: nobody's. */
static inline belay_task *
belay__scope_task(const struct belay__scope *scope)
{
    return (scope->flags & BELAY__SCOPE_BASE) != 0
               ? belay__scope_base_of(scope)
               : belay__opened_of(scope)->task;
}

/* NULL: it has none. */
static inline const char *
belay__scope_name(const struct belay__scope *scope)
{
    return (scope->flags & BELAY__SCOPE_BASE) != 0
               ? belay_task_name(belay__scope_base_of(scope))
               : belay__opened_of(scope)->name;
}

/* Who is told of the task's end. */
static inline struct belay__owner *
belay__task_owner(const belay_task *task)
{
    assert((task->base.parent->flags & BELAY__SCOPE_OWNER) != 0);
    return BELAY__CONTAINER(
        task->base.parent, struct belay__owner, opened.scope);
}

static inline struct belay__room_hint *
belay__room_hint(belay_runtime *runtime, const belay_function *function)
{
    const uintptr_t place = (uintptr_t)function / sizeof(*function);

    return &runtime->room_hints[place % BELAY__ROOM_HINTS];
}

/* The first frame of a task stands behind it, as long as it lives. */
static inline struct belay__frame *
belay__task_first_frame(const belay_task *task)
{
    char *block = belay__without_const(task);

    return (
        struct belay__frame *)(void *)(block + belay__align16(sizeof(*task)));
}

/* Room for `count` more deadlines; BELAY_ENOMEM changes nothing. */
static inline int
belay__deadline_reserve(belay_runtime *runtime, uint32_t count)
{
    struct belay__heap *heap = &runtime->deadlines;

    if (__builtin_expect(heap->left < count, 0)) {
        return belay__deadline_grow(runtime, count);
    }
    heap->left -= count;
    return 0;
}

static inline void
belay__deadline_release(belay_runtime *runtime, uint32_t count)
{
    runtime->deadlines.left += count;
    assert(runtime->deadlines.left < runtime->deadlines.room);
}

/* A place for a scope more: for its cancel, its deadline and, if it is a
 * task's, that of a wait. BELAY_ENOMEM changes nothing.
 */
static inline int
belay__scope_reserve(belay_runtime *runtime)
{
    struct belay__cancels *cancels = &runtime->cancels;
    int code;

    if (__builtin_expect(cancels->left == 0, 0)) {
        code = belay__cancels_grow(runtime);
        if (code < 0) {
            return code;
        }
    }
    cancels->left--;
    return 0;
}

static inline void
belay__scope_release(belay_runtime *runtime)
{
    runtime->cancels.left++;
}

/* ---- what runs at every suspension, inline ---- */

/* Is anybody to be told of events of these kinds? */
static inline bool
belay__observed(const belay_runtime *runtime, uint32_t kinds)
{
    return __builtin_expect((runtime->observers.kinds & kinds) != 0, 0);
}

/* Would the task's next checkpoint be cancelled? Looks at one scope only. */
static inline bool
belay__cancel_visible(const belay_task *task)
{
    const struct belay__scope *scope = task->scope;

    if (__builtin_expect((scope->flags & BELAY__SCOPE_MARKS) == 0, 1)) {
        return false;
    }
    return (scope->flags & BELAY__SCOPE_CUT) != 0 || scope->depth > task->floor;
}

/* May the step start an operation, or end its frame? If it must not, an await
 * was forgotten, mostly.
 */
static inline bool
belay__is_idle(const belay_task *task)
{
    return __builtin_expect(task->state == BELAY__TASK_READY, 1);
}

/* Aborts, with a message for users. It is said to return, so that a short
 * function can end in this call and needs no stack of its own.
 */
belay_next belay__started_twice(const belay_task *task) __attribute__((cold));

static inline void
belay__require_idle(const belay_task *task)
{
    if (!belay__is_idle(task)) {
        (void)belay__started_twice(task);
    }
}

/* Takes over the reference on error. */
static inline void
belay__result_set(belay_task *task, int code, void *value, belay_error *error)
{
    belay_error *old = task->result.error;

    task->result = (struct belay_result){code, false, value, error};
    if (__builtin_expect(old != NULL, 0)) {
        belay_error_unref(old);
    }
}

/* Of the task's result; the rest stays as it is. */
void belay__result_drop_error(belay_task *task) __attribute__((cold));

/* The same for what most operations deliver: 0, and nothing. */
static inline void
belay__result_zero(belay_task *task)
{
    if (__builtin_expect(task->result.error != NULL, 0)) {
        belay__result_drop_error(task);
    }
    memset(&task->result, 0, offsetof(struct belay_result, error));
}

/* At the end of a wait: there is none yet. */
static inline void
belay__result_first(belay_task *task, int code, bool cancelled, void *value)
{
    task->result = (struct belay_result){code, cancelled, value, NULL};
}

/* Copies with a reference more. */
static inline struct belay_result
belay__result_copy(const struct belay_result *result)
{
    if (__builtin_expect(result->error != NULL, 0)) {
        (void)belay_error_ref(result->error);
    }
    return *result;
}

/* To the end of the ready queue, which is closed when it is taken. */
static inline void
belay__ready_append(belay_runtime *runtime, belay_task *task)
{
    *runtime->ready_end = task;
    runtime->ready_end = &task->ready_next;
}

/* The same from outside a pass too. */
static inline void
belay__task_queue(belay_task *task)
{
    belay_runtime *runtime = task->runtime;

    belay__ready_append(runtime, task);
    if (!runtime->in_pass) {
        belay__runtime_kick(runtime);
    }
}

static inline void
belay__task_start(belay_task *task)
{
    assert(belay__task_owner(task)->ended != NULL);
    belay__task_queue(task);
    task->state = BELAY__TASK_READY;
}

/* All but its arguments and its caller. */
static inline void
belay__frame_init(
    struct belay__frame *frame, const belay_function *function, uint32_t flags)
{
    frame->function = function;
    frame->step = function->step;
    frame->scopes = NULL;
    frame->resume = (struct belay__resume){.flags = flags, .line = 0};
}

static inline void
belay__frame_copy(struct belay__frame *frame, const void *arguments)
{
    const size_t bytes = frame->function->size;

    if (arguments == NULL) {
        return;
    }
    if (bytes == sizeof(void *)) { /* as for many: one pointer */
        memcpy(belay__frame_self(frame), arguments, sizeof(void *));
    } else {
        memcpy(belay__frame_self(frame), arguments, bytes);
    }
}

/* What a frame takes in an arena, and where it is kept outside of one. */
static inline size_t
belay__frame_bytes(const belay_function *function)
{
    return sizeof(struct belay__frame) + belay__align16(function->size);
}

/* Room for a frame; `size` is a multiple of 16. NULL when out of memory. */
static inline void *
belay__frame_push(belay_task *task, size_t size)
{
    struct belay__arena *arena = task->frames;
    void *ptr = arena->cursor;

    assert(size % 16 == 0);
    if (__builtin_expect((ptrdiff_t)size > arena->end - arena->cursor, 0)) {
        return belay__frame_push_chunk(task, size);
    }
    arena->cursor += size;
    return ptr;
}

/* The frame on top has ended, its scopes with it; the stack keeps an entry. */
static inline void
belay__frame_pop(belay_task *task, struct belay__frame *frame)
{
    task->top = frame->caller;
    if ((frame->resume.flags & BELAY__FRAME_STACKED) == 0) {
        belay__arena_pop(task->runtime, task->frames, frame);
    }
}

/* In the first step of an operation: is what its call was given still there? */
static inline bool
belay__is_there(const belay_task *task, struct belay__life life)
{
    return belay__life_lasts(task->runtime->memory, life);
}

/* In a step of an enter: what it opens stays in the task that has opened it,
 * whatever becomes of a stack that it is on.
 */
static inline void
belay__enter_bound(const belay_task *task)
{
    task->top->resume.flags |= BELAY__FRAME_BOUND;
}

/* A manager is open: its owner, which this returns, goes on in the body. */
static inline struct belay__frame *
belay__frame_entered(belay_task *task, struct belay__frame *scope)
{
    struct belay__frame *owner = scope->caller;

    scope->resume.flags |= BELAY__FRAME_ENTERED;
    if ((scope->resume.flags & BELAY__FRAME_GENERATOR) == 0) {
        scope->resume.line = owner->resume.line;
    } else {
        belay__frame_exit(scope)->line = owner->resume.line;
    }
    scope->outer = owner->scopes; /* in the place of `caller` */
    owner->scopes = scope;
    task->top = owner;
    return owner;
}

/* Takes a scope off its owner's list; the owner will go on behind the block. */
static inline void
belay__frame_unlink(
    struct belay__frame *owner, struct belay__frame *scope, int32_t body_line)
{
    assert(owner->scopes == scope);
    owner->scopes = scope->outer;
    owner->step = scope->u.after;
    owner->resume.line = -body_line;
    scope->caller = owner;
}

/* The scope's steps are those of its exit. */
static inline void
belay__exit_start(
    belay_task *task, struct belay__frame *scope, struct belay__exit *exit)
{
    scope->u.exit = exit;
    exit->floor = task->floor;
    task->floor = task->scope->depth;
    task->top = scope;
}

/* The newest scope of the frame on top, with a manager in class style: its
 * exit runs next, once its outcome is set. Its frame is the arena's newest, so
 * the outcome has its place behind it.
 */
static inline struct belay_result *
belay__exit_begin_class(belay_task *task, struct belay__frame *owner,
    struct belay__frame *scope, uint32_t flags)
{
    struct belay__arena *arena = task->frames;
    struct belay__exit *exit = (struct belay__exit *)(void *)arena->cursor;

    assert(exit == belay__frame_exit(scope));
    arena->cursor = (char *)(exit + 1);
    belay__frame_unlink(owner, scope, scope->resume.line);
    belay__exit_start(task, scope, exit);
    scope->step = belay__frame_manager(scope)->exit;
    scope->resume = (struct belay__resume){.flags = flags, .line = 0};
    return &exit->outcome;
}

/* The exit may have closed the scope that an exit around it masks, as that of
 * a generator manager with a timeout round its yield. What it has opened since,
 * on a stack that stays, may be as deep; the exit around does not mask that.
 */
static inline void
belay__floor_restore(belay_task *task, const struct belay__exit *exit)
{
    const int32_t inside = task->floor;
    const int32_t depth = task->scope->depth;
    const int32_t lowest = inside < depth ? inside : depth;

    task->floor = exit->floor < lowest ? exit->floor : lowest;
    if (__builtin_expect(depth > inside, 0)) {
        belay__scopes_outlive_exit(task, inside);
    }
}

#endif
