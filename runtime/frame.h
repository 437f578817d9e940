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
};

struct belay__frame {
    struct belay__frame *caller; /* or the frame that has entered it */
    const belay_function *function;
    belay_step *step; /* runs next; NULL: ends with the result it gets */
    struct belay__frame *scopes; /* entered here, innermost first */
    struct belay__resume resume; /* last: the macros reach it from self */
};

/* Stands before the struct belay__frame of a manager. */
struct belay__block {
    belay_step *after; /* the owner's step when left */
    int32_t after_line;
    int32_t floor; /* task->floor outside this exit */
    union {
        struct {
            int32_t line;
            belay_step *step;
        } body;                      /* the owner's step once entered */
        struct belay__frame *outer;  /* then: next in the owner's scopes */
        struct belay_result outcome; /* while exiting */
    } u;
};

#define BELAY__FRAME_PAD 8 /* before a frame without a block */

_Static_assert(
    (BELAY__FRAME_PAD + sizeof(struct belay__frame)) % 16 == 0
        && (sizeof(struct belay__block) + sizeof(struct belay__frame)) % 16
               == 0,
    "self is aligned");
_Static_assert(BELAY_CALL_BYTES(char)
                       == BELAY__FRAME_PAD + sizeof(struct belay__frame) + 16
                   && BELAY_ENTER_BYTES(char)
                          == sizeof(struct belay__block)
                                 + sizeof(struct belay__frame) + 16,
    "as async.h says");

struct belay__chunk {
    struct belay__chunk *below;
    char *below_cursor;
    char *below_end;
    size_t size; /* of the whole block */
};

/* Frames, last in, first out. The first bytes may lie in the task's block. */
struct belay__arena {
    struct belay__chunk *chunk; /* NULL: the room given at first */
    char *cursor;
    char *end;
};

void *belay__arena_push_chunk(
    belay_runtime *runtime, struct belay__arena *arena, size_t size);
void belay__arena_pop_chunk(belay_runtime *runtime, struct belay__arena *arena);
/* Frees all chunks; only what was in the first room remains valid. */
void belay__arena_reset(belay_runtime *runtime, struct belay__arena *arena);

/* Blocks of one size, kept for reuse. */
void *belay__block_alloc(belay_runtime *runtime, size_t size);
void belay__block_free(belay_runtime *runtime, void *ptr, size_t size);
void belay__blocks_fini(belay_runtime *runtime);

/* `size` is a multiple of 16; NULL when out of memory. */
static inline void *
belay__arena_push(
    belay_runtime *runtime, struct belay__arena *arena, size_t size)
{
    void *ptr = arena->cursor;

    assert(size % 16 == 0);
    if (__builtin_expect(size > (size_t)(arena->end - arena->cursor), 0)) {
        return belay__arena_push_chunk(runtime, arena, size);
    }
    arena->cursor += size;
    return ptr;
}

/* `ptr` is what was pushed last. */
static inline void
belay__arena_pop(belay_runtime *runtime, struct belay__arena *arena, void *ptr)
{
    if (__builtin_expect(arena->chunk != NULL, 0)
        && ptr == (void *)(arena->chunk + 1)) {
        belay__arena_pop_chunk(runtime, arena);
        return;
    }
    assert((char *)ptr <= arena->cursor);
    arena->cursor = ptr;
}

static inline void *
belay__frame_self(struct belay__frame *frame)
{
    return frame + 1;
}

static inline struct belay__block *
belay__frame_block(struct belay__frame *frame)
{
    return (struct belay__block *)(void *)frame - 1;
}

/* Room for a frame whose self has `size` bytes; NULL when out of memory. */
static inline struct belay__frame *
belay__frame_push(belay_runtime *runtime, struct belay__arena *arena,
    size_t head, size_t size)
{
    char *start = belay__arena_push(runtime, arena,
        head + sizeof(struct belay__frame) + belay__align16(size));

    return start != NULL ? (struct belay__frame *)(void *)(start + head) : NULL;
}

static inline const belay_manager *
belay__frame_manager(const struct belay__frame *frame)
{
    return (const belay_manager *)(const void *)frame->function;
}

#endif
