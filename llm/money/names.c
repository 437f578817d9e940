/* names.c - a table from names to numbers. */
#include "llm/money/names.h"

#include <string.h>

#define ROOM_MIN 16

void
belay__names_init(struct belay__names *names, struct belay__memory *memory)
{
    *names = (struct belay__names){.memory = memory};
}

void
belay__names_fini(struct belay__names *names)
{
    belay__free(
        names->memory, names->slots, names->room * sizeof(*names->slots));
    *names = (struct belay__names){.memory = names->memory};
}

/* FNV-1a. The names are the user's own, so nobody picks them to collide. */
static uint64_t
hash(struct belay_slice text)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < text.len; i++) {
        value = (value ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001b3);
    }
    return value ^ (value >> 32);
}

/* Where the name is, or the empty slot where it belongs. */
static struct belay__name *
place(struct belay__name *slots, size_t room, struct belay_slice text)
{
    size_t i = (size_t)hash(text) & (room - 1);

    while (slots[i].text.data != NULL
           && (slots[i].text.len != text.len
               || memcmp(slots[i].text.data, text.data, text.len) != 0)) {
        i = (i + 1) & (room - 1);
    }
    return &slots[i];
}

static int
grow(struct belay__names *names)
{
    const size_t room = names->room == 0 ? ROOM_MIN : names->room * 2;
    struct belay__name *slots;

    if (names->room > SIZE_MAX / sizeof(*slots) / 4) {
        return BELAY_ENOMEM;
    }
    slots = belay__alloc_zero(names->memory, room * sizeof(*slots));
    if (slots == NULL) {
        return BELAY_ENOMEM;
    }
    for (size_t i = 0; i < names->room; i++) {
        if (names->slots[i].text.data != NULL) {
            *place(slots, room, names->slots[i].text) = names->slots[i];
        }
    }
    belay__free(
        names->memory, names->slots, names->room * sizeof(*names->slots));
    names->slots = slots;
    names->room = room;
    return 0;
}

int
belay__names_set(
    struct belay__names *names, struct belay_slice text, uint32_t number)
{
    struct belay__name *slot;

    if (names->count >= names->room / 2 && grow(names) < 0) {
        return BELAY_ENOMEM;
    }
    slot = place(names->slots, names->room, text);
    names->count += slot->text.data == NULL;
    *slot = (struct belay__name){text, number};
    return 0;
}

/* NULL: it is not there. */
static struct belay__name *
find(const struct belay__names *names, struct belay_slice text)
{
    struct belay__name *slot;

    if (names->room == 0 || text.len == 0) {
        return NULL;
    }
    slot = place(names->slots, names->room, text);
    return slot->text.data != NULL ? slot : NULL;
}

int
belay__names_replace(
    struct belay__names *names, struct belay_slice text, uint32_t number)
{
    struct belay__name *slot = find(names, text);

    if (slot == NULL) {
        return BELAY_ENOENT;
    }
    slot->number = number;
    return 0;
}

int
belay__names_get(
    const struct belay__names *names, struct belay_slice text, uint32_t *ret)
{
    const struct belay__name *slot = find(names, text);

    if (slot == NULL) {
        return BELAY_ENOENT;
    }
    *ret = slot->number;
    return 0;
}
