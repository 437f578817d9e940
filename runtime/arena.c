/* arena.c - where frames live: last in, first out, without a malloc a call.
 *
 * An arena begins with the room that its owner gave it (the rest of a task's
 * block) and goes on in chunks that double up to CHUNK_MAX. A chunk is given
 * back as soon as its first frame is popped. With -Darena=malloc every frame
 * is a chunk of its own, so that sanitizers see each frame's borders.
 */
#include "runtime/internal.h"

#define CHUNK_MIN 512
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
        grown = arena->chunk->size * 2;
    }
    if (grown > CHUNK_MAX) {
        grown = CHUNK_MAX;
    }
    return need > grown ? need : grown;
#endif
}

void *
belay__arena_push_chunk(
    belay_runtime *runtime, struct belay__arena *arena, size_t size)
{
    const size_t total = chunk_size(arena, size);
    uint8_t place = 0;
    struct belay__chunk *chunk =
        belay__block_alloc(runtime->memory, &runtime->blocks, total, &place);

    if (chunk == NULL) {
        return NULL;
    }
    *chunk = (struct belay__chunk){
        arena->chunk, arena->cursor, arena->end, total, place};
    arena->chunk = chunk;
    arena->cursor = (char *)(chunk + 1) + size;
    arena->end = (char *)chunk + total - sizeof(struct belay__exit);
    return chunk + 1;
}

void
belay__arena_pop_chunk(belay_runtime *runtime, struct belay__arena *arena)
{
    struct belay__chunk *chunk = arena->chunk;

    arena->chunk = chunk->below;
    arena->cursor = chunk->below_cursor;
    arena->end = chunk->below_end;
    belay__block_free(
        runtime->memory, &runtime->blocks, chunk, chunk->size, chunk->place);
}

void
belay__arena_reset(belay_runtime *runtime, struct belay__arena *arena)
{
    while (arena->chunk != NULL) {
        belay__arena_pop_chunk(runtime, arena);
    }
}
