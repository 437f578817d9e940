/* block.c - blocks of one size, several to an allocation.
 *
 * A slab is in the list of its size while it has room; one that was full until
 * a block came back goes to the head. In front of them all is one spare block
 * of each size. With -Darena=malloc every block stands alone, so that
 * sanitizers see each one's borders.
 */
#include "runtime/block.h"

#include "runtime/basics.h"

#define SLAB_BYTES 4096
#define PLACES_MAX 255
#define EMPTY_MAX \
    32 /* slabs kept though they are empty, beside those that
                        hold nothing but a spare block */

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

static size_t
class_of(size_t size)
{
    return (size + BELAY__BLOCK_STEP - 1) / BELAY__BLOCK_STEP;
}

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
link_open(struct belay__blocks *blocks, struct belay__slab *slab)
{
    struct belay__slab **open = &blocks->open[slab->class];

    slab->prev = NULL;
    slab->next = *open;
    if (slab->next != NULL) {
        slab->next->prev = slab;
    }
    *open = slab;
}

static void
unlink_open(struct belay__blocks *blocks, struct belay__slab *slab)
{
    if (slab->prev != NULL) {
        slab->prev->next = slab->next;
    } else {
        blocks->open[slab->class] = slab->next;
    }
    if (slab->next != NULL) {
        slab->next->prev = slab->prev;
    }
}

static struct belay__slab *
slab_new(
    struct belay__memory *memory, struct belay__blocks *blocks, size_t class)
{
    const size_t size = class * BELAY__BLOCK_STEP;
    size_t places = (SLAB_BYTES - SLAB_HEAD) / size;
    struct belay__slab *slab;

    if (places > PLACES_MAX) {
        places = PLACES_MAX;
    }
    slab = belay__alloc(memory, SLAB_HEAD + places * size);
    if (slab == NULL) {
        return NULL;
    }
    *slab = (struct belay__slab){
        .places = (uint16_t)places,
        .class = (uint16_t) class,
    };
    link_open(blocks, slab);
    blocks->empty++;
    return slab;
}

static void
slab_free(struct belay__memory *memory, struct belay__blocks *blocks,
    struct belay__slab *slab)
{
    unlink_open(blocks, slab);
    blocks->empty--;
    belay__free(memory, slab, slab_bytes(slab));
}

/* The slab has room. */
static void *
take(struct belay__blocks *blocks, struct belay__slab *slab, uint8_t *ret_place)
{
    struct free_block *block = slab->free;

    if (block != NULL) {
        slab->free = block->next;
        *ret_place = block->place;
    } else {
        block = (struct free_block *)(void
                *)((char *)slab + SLAB_HEAD
                   + (size_t)slab->fresh * slab->class * BELAY__BLOCK_STEP);
        *ret_place = (uint8_t)slab->fresh++;
    }
    blocks->empty -= slab->used == 0;
    if (++slab->used == slab->places) {
        unlink_open(blocks, slab);
    }
    return block;
}

void *
belay__block_alloc(struct belay__memory *memory, struct belay__blocks *blocks,
    size_t size, uint8_t *ret_place)
{
    const size_t class = class_of(size);
    struct belay__spare spare;
    struct belay__slab *slab;

    if (stands_alone(class)) {
        return belay__alloc(memory, size);
    }
    spare = blocks->spare[class];
    if (spare.block != NULL) {
        blocks->spare[class].block = NULL;
        *ret_place = spare.place;
        return spare.block;
    }
    slab = blocks->open[class];
    if (slab == NULL) {
        slab = slab_new(memory, blocks, class);
    }
    return slab != NULL ? take(blocks, slab, ret_place) : NULL;
}

/* Back to its slab, and that back to the allocator if nothing is in it. */
static void
give_back(struct belay__memory *memory, struct belay__blocks *blocks,
    size_t class, void *ptr, uint8_t place)
{
    struct free_block *block = ptr;
    struct belay__slab *slab;

    slab = (struct belay__slab *)(void *)((char *)ptr
                                          - place * class * BELAY__BLOCK_STEP
                                          - SLAB_HEAD);
    *block = (struct free_block){slab->free, place};
    slab->free = block;
    if (slab->used == slab->places) {
        link_open(blocks, slab);
    }
    if (--slab->used > 0) {
        return;
    }
    blocks->empty++;
    if (blocks->empty > EMPTY_MAX) {
        slab_free(memory, blocks, slab);
    }
}

void
belay__block_free(struct belay__memory *memory, struct belay__blocks *blocks,
    void *ptr, size_t size, uint8_t place)
{
    const size_t class = class_of(size);

    if (stands_alone(class)) {
        belay__free(memory, ptr, size);
    } else if (blocks->spare[class].block == NULL) {
        blocks->spare[class] = (struct belay__spare){ptr, place};
    } else {
        give_back(memory, blocks, class, ptr, place);
    }
}

void
belay__blocks_fini(struct belay__memory *memory, struct belay__blocks *blocks)
{
    for (size_t i = 0; i < BELAY__BLOCK_CLASSES; i++) {
        const struct belay__spare spare = blocks->spare[i];

        if (spare.block != NULL) {
            give_back(memory, blocks, i, spare.block, spare.place);
        }
        while (blocks->open[i] != NULL) {
            slab_free(memory, blocks, blocks->open[i]);
        }
    }
}
