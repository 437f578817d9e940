/* life.c - which objects are still there.
 *
 * A place says which life it is of, and is used again: so who asks for a life
 * that has ended finds another one, or none, and never reads what is gone.
 */
#include "runtime/life.h"

#include "runtime/memory.h"

#include <assert.h>

#define ROOM_MIN 16

static int
grow(struct belay__memory *memory)
{
    struct belay__lives *lives = &memory->lives;
    const uint32_t room = lives->room > 0 ? lives->room * 2 : ROOM_MIN;
    struct belay__life_place *places;

    if (room < lives->room) {
        return BELAY_ENOMEM;
    }
    places = belay__realloc(memory, lives->places,
        lives->room * sizeof(*places), room * sizeof(*places));
    if (places == NULL) {
        return BELAY_ENOMEM;
    }
    lives->places = places;
    lives->room = room;
    return 0;
}

int
belay__life_begin(struct belay__memory *memory, struct belay__life *ret)
{
    struct belay__lives *lives = &memory->lives;
    uint32_t place = lives->free;

    if (place == 0 && lives->fresh == lives->room && grow(memory) < 0) {
        return BELAY_ENOMEM;
    }
    if (place == 0) {
        place = ++lives->fresh;
    } else {
        lives->free = lives->places[place - 1].free;
    }
    lives->serial += lives->serial < UINT32_MAX ? 1 : 2; /* never 0 */
    lives->count++;
    lives->places[place - 1] = (struct belay__life_place){lives->serial, 0};
    *ret = (struct belay__life){place, lives->serial};
    return 0;
}

void
belay__life_end(struct belay__memory *memory, struct belay__life *life)
{
    struct belay__lives *lives = &memory->lives;

    if (life->place == 0) {
        return;
    }
    assert(belay__life_lasts(memory, *life));
    lives->places[life->place - 1] = (struct belay__life_place){0, lives->free};
    lives->free = life->place;
    *life = (struct belay__life){0, 0};
    if (--lives->count == 0) {
        belay__free(
            memory, lives->places, lives->room * sizeof(*lives->places));
        *lives = (struct belay__lives){.serial = lives->serial};
    }
}

bool
belay__life_lasts(const struct belay__memory *memory, struct belay__life life)
{
    const struct belay__lives *lives = &memory->lives;

    return life.place > 0 && life.place <= lives->fresh
           && lives->places[life.place - 1].serial == life.serial;
}
