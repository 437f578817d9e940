/* arena.c - where frames live: last in, first out, without a malloc a call.
 *
 * A task that needs room for frames beside its first one has an arena behind
 * that, in its own block, and goes on in chunks that double up to CHUNK_MAX; a
 * chunk is given back as soon as its first frame is popped. How much room a
 * task gets is what those before it, of the same function, have lacked. One
 * that was made without has its arena in its first chunk, which stays. With
 * -Darena=malloc every frame is a chunk of its own, so that sanitizers see each
 * frame's borders.
 */
#include "runtime/internal.h"

#define CHUNK_MIN 256
#define HINT_MAX 512 /* more than this is seldom there all the time */
#define CHUNK_MAX ((size_t)64 * 1024)

const struct belay__arena belay__no_arena = {NULL, NULL, NULL};

static size_t
chunk_size(const struct belay__chunk *below, size_t size)
{
    const size_t need =
        sizeof(struct belay__chunk) + size + sizeof(struct belay__exit);
#ifdef BELAY_ARENA_MALLOC
    (void)below;
    return need;
#else
    size_t grown = CHUNK_MIN;

    if (below != NULL) {
        grown = (size_t)below->size * 2;
    }
    if (grown > CHUNK_MAX) {
        grown = CHUNK_MAX;
    }
    return need > grown ? need : grown;
#endif
}

static struct belay__chunk *
chunk_new(belay_runtime *runtime, struct belay__chunk *below, size_t size)
{
    const size_t total = chunk_size(below, size);
    struct belay__chunk *chunk;
    struct belay__block block;

    if (total > UINT32_MAX) {
        return NULL;
    }
    block = belay__block_alloc(runtime->memory, &runtime->blocks, total);
    chunk = block.ptr;
    if (chunk != NULL) {
        *chunk = (struct belay__chunk){
            .below = below, .size = (uint32_t)total, .place = block.place};
    }
    return chunk;
}

static char *
chunk_end(struct belay__chunk *chunk)
{
    return (char *)chunk + chunk->size - sizeof(struct belay__exit);
}

static void
chunk_free(belay_runtime *runtime, struct belay__chunk *chunk)
{
    belay__block_free(runtime->memory, &runtime->blocks,
        (struct belay__block){chunk, chunk->place}, chunk->size);
}

/* The room of a task is too small for one more frame of this size: the next
 * task of that function gets more.
 */
static void
note_need(belay_task *task, size_t used, size_t size)
{
    const belay_function *function = belay__task_first_frame(task)->function;
    struct belay__room_hint *hint = belay__room_hint(task->runtime, function);
    const size_t need = used + size;

    if (hint->function != function || hint->bytes < need) {
        hint->function = function;
        hint->bytes = need < HINT_MAX ? need : HINT_MAX;
    }
}

/* The task gets an arena, in its first chunk. */
static void *
push_first(belay_task *task, size_t size)
{
    struct belay__chunk *chunk =
        chunk_new(task->runtime, NULL, BELAY__ARENA_BYTES + size);
    struct belay__arena *arena;
    char *room;

    if (chunk == NULL) {
        return NULL;
    }
    note_need(task, 0, size);
    arena = (struct belay__arena *)(void *)(chunk + 1);
    room = (char *)arena + BELAY__ARENA_BYTES;
    *arena = (struct belay__arena){chunk, room + size, chunk_end(chunk)};
    task->frames = arena;
    return room;
}

void *
belay__frame_push_chunk(belay_task *task, size_t size)
{
    struct belay__arena *arena = task->frames;
    struct belay__chunk *chunk;

    if (arena == &belay__no_arena) {
        return push_first(task, size);
    }
    chunk = chunk_new(task->runtime, arena->chunk, size);
    if (chunk == NULL) {
        return NULL;
    }
    if (arena->chunk == NULL && arena->end != NULL) { /* a task's own room */
        note_need(task,
            (size_t)(arena->cursor - (char *)arena) - BELAY__ARENA_BYTES, size);
    }
    chunk->below_cursor = arena->cursor;
    chunk->below_end = arena->end;
    arena->chunk = chunk;
    arena->cursor = (char *)(chunk + 1) + size;
    arena->end = chunk_end(chunk);
    return chunk + 1;
}

void
belay__arena_pop_chunk(belay_runtime *runtime, struct belay__arena *arena)
{
    struct belay__chunk *chunk = arena->chunk;

    arena->chunk = chunk->below;
    arena->cursor = chunk->below_cursor;
    arena->end = chunk->below_end;
    chunk_free(runtime, chunk);
}

/* The arena may lie in the last chunk itself. */
void
belay__arena_reset(belay_runtime *runtime, struct belay__arena *arena)
{
    struct belay__chunk *chunk = arena->chunk;
    struct belay__chunk *below;

    arena->chunk = NULL;
    while (chunk != NULL) {
        below = chunk->below;
        chunk_free(runtime, chunk);
        chunk = below;
    }
}
