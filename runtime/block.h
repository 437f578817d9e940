/* block.h - memory for tasks and for chunks of arenas, in slabs (private).
 *
 * Many tasks come and go in waves; one malloc for each would be half of what a
 * short task costs. A slab is one allocation that holds blocks of one size. It
 * goes back to the allocator when its last block has been freed, so that what
 * is kept follows what is in use.
 */
#ifndef BELAY_RUNTIME_BLOCK_H
#define BELAY_RUNTIME_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/memory.h"

#define BELAY__BLOCK_STEP 16
#define BELAY__BLOCK_CLASSES 65 /* up to 1 KiB; larger ones stand alone */

struct belay__slab;

struct belay__block {
    void *ptr;     /* NULL: none */
    uint8_t place; /* in its slab; to be told when it is freed */
};

/* The slabs of each size that have room, and are not all in use. Spare is the
 * block that was freed last: the next one takes it, as where a task that ends
 * is followed by another. Its slab counts it as in use.
 */
struct belay__blocks {
    struct belay__slab *open[BELAY__BLOCK_CLASSES];
    struct belay__block spare[BELAY__BLOCK_CLASSES];
    uint32_t empty; /* of the slabs, all sizes together: no block is in use */
};

struct belay__block belay__block_alloc_any(
    struct belay__memory *memory, struct belay__blocks *blocks, size_t size);
void belay__block_free_any(struct belay__memory *memory,
    struct belay__blocks *blocks, struct belay__block block, size_t size);

static inline size_t
belay__block_class(size_t size)
{
    return (size + BELAY__BLOCK_STEP - 1) / BELAY__BLOCK_STEP;
}

/* None when out of memory. */
static inline struct belay__block
belay__block_alloc(
    struct belay__memory *memory, struct belay__blocks *blocks, size_t size)
{
    const size_t class = belay__block_class(size);
    struct belay__block spare;

    if (class < BELAY__BLOCK_CLASSES && blocks->spare[class].ptr != NULL) {
        spare = blocks->spare[class];
        blocks->spare[class].ptr = NULL;
        return spare;
    }
    return belay__block_alloc_any(memory, blocks, size);
}

static inline void
belay__block_free(struct belay__memory *memory, struct belay__blocks *blocks,
    struct belay__block block, size_t size)
{
#ifndef BELAY_ARENA_MALLOC
    const size_t class = belay__block_class(size);

    if (class < BELAY__BLOCK_CLASSES && blocks->spare[class].ptr == NULL) {
        blocks->spare[class] = block;
        return;
    }
#endif
    belay__block_free_any(memory, blocks, block, size);
}

/* No block may be in use any more. */
void belay__blocks_fini(
    struct belay__memory *memory, struct belay__blocks *blocks);

#endif
