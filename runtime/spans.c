/* spans.c - a table of what is open, by address.
 *
 * Open addressing with linear probing; at most half of the places are taken,
 * and a removal closes the gap, so that a look-up ends at the first free
 * place. It grows when something begins, never when something ends.
 */
#include "runtime/memory.h"
#include "runtime/observe.h"

#define ROOM_MIN 64

static size_t
home(const struct belay__spans *spans, const void *key)
{
    const uint64_t hash =
        (uint64_t)(uintptr_t)key * UINT64_C(0x9e3779b97f4a7c15);

    return (size_t)(hash >> 32) & (spans->room - 1);
}

/* Where the key is, or the free place where it would be. */
static struct belay__span *
probe(const struct belay__spans *spans, const void *key)
{
    size_t i = home(spans, key);

    while (spans->slots[i].key != NULL && spans->slots[i].key != key) {
        i = (i + 1) & (spans->room - 1);
    }
    return &spans->slots[i];
}

static int
grow(struct belay__memory *memory, struct belay__spans *spans)
{
    struct belay__spans grown = {.count = spans->count};

    if (spans->room > SIZE_MAX / 4 / sizeof(*spans->slots)) {
        return BELAY_ENOMEM;
    }
    grown.room = spans->room > 0 ? spans->room * 2 : ROOM_MIN;
    grown.slots = belay__alloc_zero(memory, grown.room * sizeof(*grown.slots));
    if (grown.slots == NULL) {
        return BELAY_ENOMEM;
    }
    for (size_t i = 0; i < spans->room; i++) {
        if (spans->slots[i].key != NULL) {
            *probe(&grown, spans->slots[i].key) = spans->slots[i];
        }
    }
    belay__free(memory, spans->slots, spans->room * sizeof(*spans->slots));
    *spans = grown;
    return 0;
}

struct belay__span *
belay__spans_put(
    struct belay__memory *memory, struct belay__spans *spans, const void *key)
{
    struct belay__span *span;

    if (spans->count >= spans->room / 2 && grow(memory, spans) < 0) {
        return NULL;
    }
    span = probe(spans, key);
    spans->count += span->key == NULL;
    *span = (struct belay__span){.key = key};
    return span;
}

struct belay__span *
belay__spans_find(const struct belay__spans *spans, const void *key)
{
    struct belay__span *span;

    if (spans->count == 0 || key == NULL) {
        return NULL;
    }
    span = probe(spans, key);
    return span->key != NULL ? span : NULL;
}

void
belay__spans_remove(struct belay__spans *spans, struct belay__span *span)
{
    const size_t mask = spans->room - 1;
    size_t gap = (size_t)(span - spans->slots);

    for (size_t i = (gap + 1) & mask; spans->slots[i].key != NULL;
         i = (i + 1) & mask) {
        /* It may move into the gap if that is not before its home. */
        if (((i - home(spans, spans->slots[i].key)) & mask)
            >= ((i - gap) & mask)) {
            spans->slots[gap] = spans->slots[i];
            gap = i;
        }
    }
    spans->slots[gap] = (struct belay__span){.key = NULL};
    spans->count--;
}

void
belay__spans_fini(struct belay__memory *memory, struct belay__spans *spans)
{
    belay__free(memory, spans->slots, spans->room * sizeof(*spans->slots));
    *spans = (struct belay__spans){.slots = NULL};
}
