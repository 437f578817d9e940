/* block.c - blocks of one size, several to an allocation.
 *
 * A slab is in one of two lists of its size, or, while all its blocks are in
 * use, in none. One that was full until a block came back goes to the head. In
 * front of them all is one spare block of each size. With -Darena=malloc every
 * block stands alone, so that sanitizers see each one's borders.
 */
#include "runtime/block.h"

#include "runtime/basics.h"

#define SLAB_BYTES 4096
#define PLACES_MAX 255
#define EMPTIES_KEPT 32 /* also when the loop waits */
#define PASSES 8192     /* of a loop that is busy, between two looks */

struct free_block {
    struct free_block *next;
    uint8_t place;
};

struct belay__slab {
    struct belay__slab *next;
    struct belay__slab *prev;
    struct free_block *free; /* those that were in use before */
    uint16_t used;
    uint16_t fresh; /* places from here on have never been used */
    uint16_t places;
    uint16_t class;
};

#define SLAB_HEAD ((sizeof(struct belay__slab) + 15) / 16 * 16)

static bool
stands_alone(size_t class)
{
#ifdef BELAY_ARENA_MALLOC
    (void)class;
    return true;
#else
    return class >= BELAY__BLOCK_CLASSES;
#endif
}

static size_t
slab_bytes(const struct belay__slab *slab)
{
    return SLAB_HEAD + (size_t)slab->places * slab->class * BELAY__BLOCK_STEP;
}

static void
link_slab(struct belay__slab **list, struct belay__slab *slab)
{
    slab->prev = NULL;
    slab->next = *list;
    if (slab->next != NULL) {
        slab->next->prev = slab;
    }
    *list = slab;
}

static void
unlink_slab(struct belay__slab **list, struct belay__slab *slab)
{
    if (slab->prev != NULL) {
        slab->prev->next = slab->next;
    } else {
        *list = slab->next;
    }
    if (slab->next != NULL) {
        slab->next->prev = slab->prev;
    }
}

static void
link_empty(struct belay__blocks *blocks, struct belay__slab *slab)
{
    link_slab(&blocks->empty[slab->class], slab);
    blocks->empties++;
}

/* There is one of that size. */
static struct belay__slab *
unlink_empty(struct belay__blocks *blocks, size_t class)
{
    struct belay__slab *slab = blocks->empty[class];

    unlink_slab(&blocks->empty[class], slab);
    blocks->empties--;
    if (blocks->empties < blocks->least) {
        blocks->least = blocks->empties;
    }
    return slab;
}

/* Until that many are left. */
static void
free_empties(
    struct belay__memory *memory, struct belay__blocks *blocks, uint32_t left)
{
    for (size_t i = 0; i < BELAY__BLOCK_CLASSES; i++) {
        while (blocks->empty[i] != NULL && blocks->empties > left) {
            struct belay__slab *slab = unlink_empty(blocks, i);

            belay__free(memory, slab, slab_bytes(slab));
        }
    }
}

static struct belay__slab *
slab_new(struct belay__memory *memory, size_t class)
{
    const size_t size = class * BELAY__BLOCK_STEP;
    size_t places = (SLAB_BYTES - SLAB_HEAD) / size;
    struct belay__slab *slab;

    if (places > PLACES_MAX) {
        places = PLACES_MAX;
    }
    slab = belay__alloc(memory, SLAB_HEAD + places * size);
    if (slab != NULL) {
        *slab = (struct belay__slab){
            .places = (uint16_t)places,
            .class = (uint16_t) class,
        };
    }
    return slab;
}

/* As slab_new(). One of another size goes for it, so that those of all sizes
 * together never are many more than were in use at once; all go if need be.
 */
static struct belay__slab *
slab_instead(
    struct belay__memory *memory, struct belay__blocks *blocks, size_t class)
{
    struct belay__slab *slab;

    if (blocks->empties <= EMPTIES_KEPT) {
        return slab_new(memory, class);
    }
    free_empties(memory, blocks, blocks->empties - 1);
    slab = slab_new(memory, class);
    if (slab == NULL) {
        free_empties(memory, blocks, 0);
        slab = slab_new(memory, class);
    }
    return slab;
}

/* No slab of that size is open: opens one. NULL: out of memory. */
static struct belay__slab *
open_slab(
    struct belay__memory *memory, struct belay__blocks *blocks, size_t class)
{
    struct belay__slab *slab = blocks->empty[class] != NULL
                                   ? unlink_empty(blocks, class)
                                   : slab_instead(memory, blocks, class);

    if (slab != NULL) {
        link_slab(&blocks->open[class], slab);
    }
    return slab;
}

/* The slab is open. */
static struct belay__block
take(struct belay__blocks *blocks, struct belay__slab *slab)
{
    struct free_block *free = slab->free;
    struct belay__block block;

    if (free != NULL) {
        slab->free = free->next;
        block = (struct belay__block){free, free->place};
    } else {
        block.ptr = (char *)slab + SLAB_HEAD
                    + (size_t)slab->fresh * slab->class * BELAY__BLOCK_STEP;
        block.place = (uint8_t)slab->fresh++;
    }
    if (++slab->used == slab->places) {
        unlink_slab(&blocks->open[slab->class], slab);
    }
    return block;
}

/* No spare one of that size. */
struct belay__block
belay__block_alloc_any(
    struct belay__memory *memory, struct belay__blocks *blocks, size_t size)
{
    const size_t class = belay__block_class(size);
    struct belay__slab *slab;

    if (stands_alone(class)) {
        return (struct belay__block){belay__alloc(memory, size), 0};
    }
    slab = blocks->open[class];
    if (slab == NULL) {
        slab = open_slab(memory, blocks, class);
    }
    return slab != NULL ? take(blocks, slab) : (struct belay__block){NULL, 0};
}

static void
give_back(struct belay__memory *memory, struct belay__blocks *blocks,
    size_t class, struct belay__block block)
{
    const size_t offset = SLAB_HEAD + block.place * class * BELAY__BLOCK_STEP;
    struct belay__slab *slab =
        (struct belay__slab *)(void *)((char *)block.ptr - offset);
    struct free_block *free = block.ptr;

    *free = (struct free_block){slab->free, block.place};
    slab->free = free;
    if (slab->used == slab->places) {
        link_slab(&blocks->open[class], slab);
    }
    if (--slab->used > 0) {
        return;
    }
    unlink_slab(&blocks->open[class], slab);
    link_empty(blocks, slab);
    if (!blocks->busy && blocks->empties > EMPTIES_KEPT) {
        free_empties(memory, blocks, EMPTIES_KEPT); /* no pass may come */
    }
}

/* The spare place of that size is taken. */
void
belay__block_free_any(struct belay__memory *memory,
    struct belay__blocks *blocks, struct belay__block block, size_t size)
{
    const size_t class = belay__block_class(size);

    if (stands_alone(class)) {
        belay__free(memory, block.ptr, size);
    } else {
        give_back(memory, blocks, class, block);
    }
}

void
belay__blocks_shrink(
    struct belay__memory *memory, struct belay__blocks *blocks, bool waits)
{
    const uint32_t idle = waits ? blocks->empties : blocks->least;

    blocks->busy = false;
    if (!waits && ++blocks->passes < PASSES) {
        return;
    }
    if (idle > EMPTIES_KEPT) {
        free_empties(memory, blocks, blocks->empties - idle + EMPTIES_KEPT);
    }
    blocks->passes = 0;
    blocks->least = blocks->empties;
}

void
belay__blocks_fini(struct belay__memory *memory, struct belay__blocks *blocks)
{
    for (size_t i = 0; i < BELAY__BLOCK_CLASSES; i++) {
        if (blocks->spare[i].ptr != NULL) {
            give_back(memory, blocks, i, blocks->spare[i]);
        }
    }
    free_empties(memory, blocks, 0);
}
