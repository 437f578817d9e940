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
#define KEPT_MAX 4096 /* free blocks kept of one size */

static size_t
block_class(size_t size)
{
    return (size + BELAY__BLOCK_STEP - 1) / BELAY__BLOCK_STEP;
}

void *
belay__block_alloc(belay_runtime *runtime, size_t size)
{
    const size_t class = block_class(size);
    struct belay__free_block *block;

    if (class >= BELAY__BLOCK_CLASSES) {
        return belay__alloc(runtime->memory, size);
    }
    block = runtime->blocks[class];
    if (block == NULL) {
        return belay__alloc(runtime->memory, class * BELAY__BLOCK_STEP);
    }
    runtime->blocks[class] = block->next;
    runtime->blocks_kept[class]--;
    return block;
}

void
belay__block_free(belay_runtime *runtime, void *ptr, size_t size)
{
    const size_t class = block_class(size);
    struct belay__free_block *block = ptr;

    if (class >= BELAY__BLOCK_CLASSES) {
        belay__free(runtime->memory, ptr, size);
        return;
    }
#ifndef BELAY_ARENA_MALLOC
    if (runtime->blocks_kept[class] < KEPT_MAX) {
        block->next = runtime->blocks[class];
        runtime->blocks[class] = block;
        runtime->blocks_kept[class]++;
        return;
    }
#endif
    belay__free(runtime->memory, block, class * BELAY__BLOCK_STEP);
}

void
belay__blocks_fini(belay_runtime *runtime)
{
    struct belay__free_block *block;

    for (size_t i = 0; i < BELAY__BLOCK_CLASSES; i++) {
        while ((block = runtime->blocks[i]) != NULL) {
            runtime->blocks[i] = block->next;
            belay__free(runtime->memory, block, i * BELAY__BLOCK_STEP);
        }
        runtime->blocks_kept[i] = 0;
    }
}

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
    struct belay__chunk *chunk = belay__block_alloc(runtime, total);

    if (chunk == NULL) {
        return NULL;
    }
    *chunk =
        (struct belay__chunk){arena->chunk, arena->cursor, arena->end, total};
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
    belay__block_free(runtime, chunk, chunk->size);
}

void
belay__arena_reset(belay_runtime *runtime, struct belay__arena *arena)
{
    while (arena->chunk != NULL) {
        belay__arena_pop_chunk(runtime, arena);
    }
}
