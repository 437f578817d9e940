/* block.h - memory for tasks and for chunks of arenas, in slabs (private).
 *
 * Many tasks come and go in waves; one malloc for each would be half of what a
 * short task costs. A slab is one allocation that holds blocks of one size. It
 * goes back to the allocator when its last block has been freed, so that what
 * is kept follows what is in use.
 */
#ifndef BELAY_RUNTIME_BLOCK_H
#define BELAY_RUNTIME_BLOCK_H

#include <stdint.h>

#include "runtime/memory.h"

#define BELAY__BLOCK_STEP 16
#define BELAY__BLOCK_CLASSES 65 /* up to 1 KiB; larger ones stand alone */

struct belay__slab;

/* The block of a size that was freed last: the next one takes it, as where a
 * task that ends is followed by another. Its slab counts it as in use.
 */
struct belay__spare {
    void *block; /* NULL: none */
    uint8_t place;
};

/* The slabs of each size that have room, and are not all in use. */
struct belay__blocks {
    struct belay__slab *open[BELAY__BLOCK_CLASSES];
    struct belay__spare spare[BELAY__BLOCK_CLASSES];
    uint32_t empty; /* of the slabs, all sizes together: no block is in use */
};

/* NULL when out of memory. The place is to be told when the block is freed. */
void *belay__block_alloc(struct belay__memory *memory,
    struct belay__blocks *blocks, size_t size, uint8_t *ret_place);
void belay__block_free(struct belay__memory *memory,
    struct belay__blocks *blocks, void *ptr, size_t size, uint8_t place);
/* No block may be in use any more. */
void belay__blocks_fini(
    struct belay__memory *memory, struct belay__blocks *blocks);

#endif
