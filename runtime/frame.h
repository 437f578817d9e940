/* frame.h - frames, and the arenas that they lie in (private).
 *
 * Life of a frame: staged (allocated by belay_call() or belay_enter(), not yet
 * on the stack), running (task->top or below it), and for a manager also
 * entered (kept in its owner's list of scopes while the body runs).
 */
#ifndef BELAY_RUNTIME_FRAME_H
#define BELAY_RUNTIME_FRAME_H

#include <assert.h>

#include <belay/async.h>

#include "runtime/basics.h"

/* ---- frames and arenas (arena.c) ---- */

enum {
    BELAY__FRAME_MANAGER = 1,
    BELAY__FRAME_ENTERED = 2, /* the body may run */
    BELAY__FRAME_EXITING = 4,
    BELAY__FRAME_RETURNING = 8, /* its scopes exit because of a return */
    BELAY__FRAME_SUPPRESS = 16, /* the exit has answered suppress */
    BELAY__FRAME_STACKED = 32,  /* an entry of an exit stack, on the heap */
    BELAY__FRAME_YIELDED = 64,  /* a generator manager behind its yield */
    BELAY__FRAME_AROUND = 128,  /* a scope of one, opened before the yield */
    BELAY__FRAME_TWICE = 256,   /* one that has yielded again */
    /* The exit has said suppress; that holds once its own blocks are left. */
    BELAY__FRAME_WILL_SUPPRESS = 512,
    /* A block round a yield has made another failure of what was delivered. */
    BELAY__FRAME_REPLACED = 1024,
    BELAY__FRAME_REPLACES = 2048, /* belay__exit_replaces() has done so here */
    BELAY__FRAME_STUCK = 4096,    /* an exit that was reported */
    BELAY__FRAME_BOUND = 8192,    /* of no use to another task, see S87 */
    BELAY__FRAME_GENERATOR = 16384, /* a manager that yields */
    /* It exits behind the end of its block, and so has no outcome. */
    BELAY__FRAME_WAS_LEFT = 32768,
    BELAY__FRAME_FIRST = 65536, /* in its chunk, which goes with it */
    /* A generator being entered: belay__entry_around() has left its answer. */
    BELAY__FRAME_PLACED = 131072,

    /* What nearly all scopes are, without any other flag. */
    BELAY__FRAME_OPEN = BELAY__FRAME_MANAGER | BELAY__FRAME_ENTERED,
    BELAY__FRAME_LEFT =
        BELAY__FRAME_OPEN | BELAY__FRAME_EXITING | BELAY__FRAME_WAS_LEFT,
};

/* What an exit needs while it runs. Nothing is allocated for it: behind the
 * newest frame of an arena there is always room for one (see belay__arena). A
 * generator manager has its own from the start, since frames may stand behind
 * it when its exit begins.
 */
struct belay__exit {
    /* See belay__outcome_of(). Before the exit begins, `value` is the entry of a
     * generator that is PLACED. */
    struct belay_result outcome;
    int32_t floor; /* task->floor outside this exit */
    int32_t line;  /* a generator manager's: the owner's line in the body */
};

struct belay__frame {
    union {
        belay_step *after;        /* a scope's: the owner's step behind it */
        struct belay__exit *exit; /* then, while its exit runs */
    } u;
    union {
        struct belay__frame *caller; /* or the frame that is entering it */
        struct belay__frame *outer;  /* of a scope: next in its owner's list */
    };
    const belay_function *function;
    belay_step *step; /* runs next; NULL: ends with the result it gets */
    struct belay__frame *scopes; /* entered here, innermost first */
    /* Last: the macros reach it from self. While a manager in class style is a
     * scope, the line is the owner's in the body. */
    struct belay__resume resume;
};

_Static_assert(sizeof(struct belay__frame) % 16 == 0
                   && sizeof(struct belay__exit) % 16 == 0,
    "self is aligned");
_Static_assert(
    BELAY_CALL_BYTES(char) == sizeof(struct belay__frame) + 16
        && BELAY_ENTER_BYTES(char) == sizeof(struct belay__frame) + 16,
    "as async.h says");

struct belay__chunk {
    struct belay__chunk *below;
    char *below_cursor;
    char *below_end;
    uint32_t size; /* of the whole block */
    uint8_t place; /* for belay__block_free() */
};

_Static_assert(sizeof(struct belay__chunk) % 16 == 0, "self is aligned");

/* Frames, last in, first out. The first bytes may lie in the task's block.
 * Behind `end` is room for one more struct belay__exit: so an exit can begin
 * whenever its frame is the newest, and that is when it does.
 */
struct belay__arena {
    struct belay__chunk *chunk; /* NULL: the room given at first; it may lie in
                                   the last chunk itself */
    char *cursor;               /* behind `end` while that room is in use */
    char *end;
};

#define BELAY__ARENA_BYTES ((sizeof(struct belay__arena) + 15) / 16 * 16)

/* Of a task that has not called anything: no room. All of them share it, and
 * nothing is ever written to it.
 */
extern const struct belay__arena belay__no_arena;

/* The way of belay__frame_push() when there is no room. */
void *belay__frame_push_chunk(belay_task *task, size_t size);
void belay__arena_pop_chunk(belay_runtime *runtime, struct belay__arena *arena);
/* Frees all chunks; only what was in the first room remains valid. */
void belay__arena_reset(belay_runtime *runtime, struct belay__arena *arena);

/* `ptr` is what was pushed last. */
static inline void
belay__arena_pop(belay_runtime *runtime, struct belay__arena *arena, void *ptr)
{
    if (__builtin_expect(arena->chunk != NULL, 0)
        && ptr == (void *)(arena->chunk + 1)) {
        belay__arena_pop_chunk(runtime, arena);
        return;
    }
    assert((char *)ptr <= arena->cursor || arena->chunk != NULL);
    arena->cursor = ptr;
}

static inline void *
belay__frame_self(struct belay__frame *frame)
{
    return frame + 1;
}

static inline const belay_manager *
belay__frame_manager(const struct belay__frame *frame)
{
    return (const belay_manager *)(const void *)frame->function;
}

/* Where a manager's frame has its struct belay__exit: behind self. */
static inline struct belay__exit *
belay__frame_exit(struct belay__frame *frame)
{
    char *self = belay__frame_self(frame);

    return (
        struct belay__exit *)(void *)(self
                                      + belay__align16(frame->function->size));
}

#endif
