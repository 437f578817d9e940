/* block.h - memory for tasks and for chunks of arenas, in slabs (private).
 *
 * Many tasks come and go in waves; one malloc for each would be half of what a
 * short task costs. A slab is one allocation that holds blocks of one size.
 * Those that nothing is in any more stay while the loop is busy, so that the
 * next wave finds memory that the kernel need not make again, and go back to
 * the allocator, but for a few, before the loop waits, or when it has been busy
 * for long without them: what is kept follows what is in use.
 */
#ifndef BELAY_RUNTIME_BLOCK_H
#define BELAY_RUNTIME_BLOCK_H

#include <stdbool.h>
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

/* The slabs of each size that have room: open ones are in use, empty ones are
 * not. Spare is the block that was freed first since the last spare was taken:
 * the next one takes it, as where a task that ends is followed by another. Its
 * slab counts it as in use.
 */
struct belay__blocks {
    struct belay__slab *open[BELAY__BLOCK_CLASSES];
    struct belay__slab *empty[BELAY__BLOCK_CLASSES];
    struct belay__block spare[BELAY__BLOCK_CLASSES];
    uint32_t empties; /* empty ones of all sizes … */
    uint32_t least;   /* … the fewest of them since the last look … */
    uint32_t passes;  /* … and how many passes ago that was */
    bool busy;        /* in a pass; else all but a few of them go at once */
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

/* A size in 16 bits: in steps, which is its class, or if that is too much in
 * coarse ones, to which it is rounded up before.
 */
#define BELAY__BLOCK_COARSE ((size_t)4096)
#define BELAY__BLOCK_IS_COARSE UINT16_C(0x8000)
#define BELAY__BLOCK_MAX (BELAY__BLOCK_COARSE * 0x7fff)

static inline bool
belay__block_is_coarse(size_t size)
{
    return size >= (size_t)BELAY__BLOCK_IS_COARSE * BELAY__BLOCK_STEP;
}

static inline size_t
belay__block_round(size_t size)
{
    const size_t step =
        belay__block_is_coarse(size) ? BELAY__BLOCK_COARSE : BELAY__BLOCK_STEP;

    return (size + step - 1) / step * step;
}

static inline uint16_t
belay__block_code(size_t rounded)
{
    return belay__block_is_coarse(rounded)
               ? (uint16_t)(rounded / BELAY__BLOCK_COARSE
                            | BELAY__BLOCK_IS_COARSE)
               : (uint16_t)(rounded / BELAY__BLOCK_STEP);
}

static inline size_t
belay__block_size(uint16_t code)
{
    return (code & BELAY__BLOCK_IS_COARSE) != 0
               ? (code ^ (size_t)BELAY__BLOCK_IS_COARSE) * BELAY__BLOCK_COARSE
               : code * (size_t)BELAY__BLOCK_STEP;
}

/* The spare one of that size; NULL: there is none. */
static inline struct belay__block *
belay__block_spare(struct belay__blocks *blocks, size_t size)
{
    const size_t class = belay__block_class(size);

    return class < BELAY__BLOCK_CLASSES && blocks->spare[class].ptr != NULL
               ? &blocks->spare[class]
               : NULL;
}

/* None when out of memory. */
static inline struct belay__block
belay__block_alloc(
    struct belay__memory *memory, struct belay__blocks *blocks, size_t size)
{
    struct belay__block *spare = belay__block_spare(blocks, size);
    struct belay__block block;

    if (spare != NULL) {
        block = *spare;
        spare->ptr = NULL;
        return block;
    }
    return belay__block_alloc_any(memory, blocks, size);
}

/* Becomes the spare one of its class. False: there is one already. */
static inline bool
belay__block_keep(
    struct belay__blocks *blocks, struct belay__block block, size_t class)
{
#ifdef BELAY_ARENA_MALLOC
    (void)blocks;
    (void)block;
    (void)class;
    return false;
#else
    if (class >= BELAY__BLOCK_CLASSES || blocks->spare[class].ptr != NULL) {
        return false;
    }
    blocks->spare[class] = block;
    return true;
#endif
}

static inline void
belay__block_free(struct belay__memory *memory, struct belay__blocks *blocks,
    struct belay__block block, size_t size)
{
    if (!belay__block_keep(blocks, block, belay__block_class(size))) {
        belay__block_free_any(memory, blocks, block, size);
    }
}

/* A pass of the loop begins; it ends with a shrink. */
static inline void
belay__blocks_begin(struct belay__blocks *blocks)
{
    blocks->busy = true;
}

/* Gives empty slabs back, but for a few: when the loop is about to wait all of
 * them, else now and then those that no pass has needed since.
 */
void belay__blocks_shrink(
    struct belay__memory *memory, struct belay__blocks *blocks, bool waits);
/* No block may be in use any more. */
void belay__blocks_fini(
    struct belay__memory *memory, struct belay__blocks *blocks);

#endif
