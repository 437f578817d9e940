/* life.h - is it still there? (private)
 *
 * The first step of an operation may come turns after the call that made its
 * token, and what that call was given may be gone by then. A reference taken
 * by the call would not do: an exit stack that has no room drops the token,
 * and the first step never comes. So the token has the life of what it needs,
 * and its first step looks whether that lasts before it follows a pointer.
 */
#ifndef BELAY_RUNTIME_LIFE_H
#define BELAY_RUNTIME_LIFE_H

#include <stdbool.h>
#include <stdint.h>

struct belay__memory;

/* Of one object, never of two. {0, 0} is of none, and does not last. */
struct belay__life {
    uint32_t place; /* from 1 */
    uint32_t serial;
};

struct belay__life_place {
    uint32_t serial; /* 0: it is free … */
    uint32_t free;   /* … and this one is next, or none: 0 */
};

struct belay__lives {
    struct belay__life_place *places; /* gone when the last life ends */
    uint32_t room;
    uint32_t fresh; /* places that have been in use */
    uint32_t free;  /* first; 0: none */
    uint32_t count;
    uint32_t serial; /* the newest: it comes again after 2^32 lives, which no
                        token sees */
};

/* Errors: BELAY_ENOMEM. In the memory of the runtime whose tasks will ask. */
int belay__life_begin(struct belay__memory *memory, struct belay__life *ret);
/* It becomes {0, 0}; if it is, nothing happens. */
void belay__life_end(struct belay__memory *memory, struct belay__life *life);
bool belay__life_lasts(
    const struct belay__memory *memory, struct belay__life life);

#endif
