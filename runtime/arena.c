/* arena.c - where frames live: last in, first out, without a malloc a call.
 *
 * An arena begins with the room that its owner gave it (the rest of a task's
 * block) and goes on in chunks that double up to CHUNK_MAX. A chunk is given
 * back as soon as its first frame is popped, unless it stands in for the room
 * of a task that has none. How much room a task gets is what those before it,
 * of the same function, have lacked. With -Darena=malloc every frame is a
 * chunk of its own, so that sanitizers see each frame's borders.
 */
#include "runtime/internal.h"

#define CHUNK_MIN 256
#define HINT_MAX 512 /* more than this is seldom there all the time */
#define CHUNK_MAX ((size_t)64 * 1024)

static size_t
chunk_size(const struct belay__arena *arena, size_t size)
{
    const size_t need =
        sizeof(struct belay__chunk) + size + sizeof(struct belay__exit);
#ifdef BELAY_ARENA_MALLOC
    (void)arena;
    return need;
#else
    size_t grown = CHUNK_MIN;

    if (arena->chunk != NULL) {
        grown = (size_t)arena->chunk->size * 2;
    }
    if (grown > CHUNK_MAX) {
        grown = CHUNK_MAX;
    }
    return need > grown ? need : grown;
#endif
}

static struct belay__chunk *
chunk_new(belay_runtime *runtime, const struct belay__arena *arena, size_t size)
{
    const size_t total = chunk_size(arena, size);
    struct belay__chunk *chunk;
    struct belay__block block;

    if (total > UINT32_MAX) {
        return NULL;
    }
    block = belay__block_alloc(runtime->memory, &runtime->blocks, total);
    chunk = block.ptr;
    if (chunk != NULL) {
        *chunk = (struct belay__chunk){.below = arena->chunk,
            .size = (uint32_t)total,
            .place = block.place};
    }
    return chunk;
}

static void
chunk_free(belay_runtime *runtime, struct belay__chunk *chunk)
{
    belay__block_free(runtime->memory, &runtime->blocks,
        (struct belay__block){chunk, chunk->place}, chunk->size);
}

/* The room of a task is too small for one more frame of this size: the next
 * task of that function gets more. True: it has none, but for its first frame.
 */
static bool
note_need(belay_runtime *runtime, struct belay__arena *arena, size_t size)
{
    belay_task *task = BELAY__CONTAINER(arena, belay_task, arena);
    struct belay__frame *first = belay__task_first_frame(task);
    struct belay__room_hint *hint = belay__room_hint(runtime, first->function);
    const char *room = (char *)first + belay__frame_bytes(first->function);
    const size_t need = (size_t)(arena->cursor - room) + size;

    if (hint->function != first->function || hint->bytes < need) {
        hint->function = first->function;
        hint->bytes = need < HINT_MAX ? need : HINT_MAX;
    }
    return arena->end == room;
}

void *
belay__arena_push_chunk(
    belay_runtime *runtime, struct belay__arena *arena, size_t size)
{
    struct belay__chunk *chunk = chunk_new(runtime, arena, size);

    if (chunk == NULL) {
        return NULL;
    }
    if (arena->chunk == NULL && arena->end != NULL) { /* a task's own */
        chunk->stays = note_need(runtime, arena, size);
    }
    chunk->below_cursor = arena->cursor;
    chunk->below_end = arena->end;
    arena->chunk = chunk;
    arena->cursor = (char *)(chunk + 1) + size;
    arena->end = (char *)chunk + chunk->size - sizeof(struct belay__exit);
    return chunk + 1;
}

void
belay__arena_pop_chunk(belay_runtime *runtime, struct belay__arena *arena)
{
    struct belay__chunk *chunk = arena->chunk;

#ifndef BELAY_ARENA_MALLOC
    if (chunk->stays) {
        arena->cursor = (char *)(chunk + 1);
        return;
    }
#endif
    arena->chunk = chunk->below;
    arena->cursor = chunk->below_cursor;
    arena->end = chunk->below_end;
    chunk_free(runtime, chunk);
}

void
belay__arena_reset(belay_runtime *runtime, struct belay__arena *arena)
{
    struct belay__chunk *chunk;

    while ((chunk = arena->chunk) != NULL) {
        arena->chunk = chunk->below;
        chunk_free(runtime, chunk);
    }
}
