/* place.h - a place in a group, for a child that is not the group's yet. */
#ifndef BELAY_SCOPES_PLACE_H
#define BELAY_SCOPES_PLACE_H

#include <belay/group.h>

struct belay__binding;

/* BELAY_EINVAL: options that a spawn cannot have; NULL is legal. */
int belay__spawn_check(
    const belay_runtime *runtime, const struct belay_spawn_opts *opts);
/* The variables of the new task; `spawner` gives them by default. */
struct belay__binding *belay__spawn_context(
    const belay_task *spawner, const struct belay_spawn_opts *opts);

/* Is it a child of belay_group_start() that has not been handed over? After
 * belay_started(): it came too late, and the starter waits for its end.
 */
bool belay__start_pending(const belay_task *task);

/* From hold to drop or adopt the group stays open. BELAY_ESTATE: it has ended;
 * nothing has changed.
 */
int belay__group_hold(belay_group *group);
void belay__group_drop(belay_group *group);
/* The child takes the place: from now on it is one of the group's. */
void belay__group_adopt(belay_group *group, belay_task *child);

#endif
