/* tree.h - a tree of caps, and the room that is held in it (private).
 *
 * Invariants: what is held in a budget is the sum of the reservations in it
 * and below it; held + spent + uncertain pass a limit only by what was charged
 * or used above its reservation. A call that waits stands in the queue of the
 * one budget that has no room for it, and its reservation names the budget
 * from which it counts.
 */
#ifndef BELAY_LLM_BUDGET_TREE_H
#define BELAY_LLM_BUDGET_TREE_H

#include "llm/budget/budget.h"

#include <belay/sync.h>

#include "runtime/memory.h"

enum { BELAY__COST, BELAY__TOKENS, BELAY__REQUESTS, BELAY__DIMENSIONS };

struct belay__amount {
    int64_t of[BELAY__DIMENSIONS];
};

struct belay_budget {
    struct belay__memory *memory;
    struct belay__life life;
    belay_budget *parent; /* a reference, or NULL */
    char *name;
    size_t name_bytes;
    uint32_t refs;
    enum belay_budget_policy policy;
    bool over;                  /* its block has been left */
    struct belay__amount limit; /* INT64_MAX: none */
    struct belay__amount spent;
    struct belay__amount held;
    struct belay__amount uncertain;
    struct belay__amount excess;
    uint64_t refused;
    struct belay_waiters waiters;
    uint32_t waiting;
};

/* ---- amounts (room.c) ---- */

/* NULL: nothing. A negative number, which a caller's sum that did not fit may
 * be, counts as none: it would make room that the limit does not give.
 */
struct belay__amount belay__amount_of(const struct belay_amount *amount);
struct belay_amount belay__amount_told(const struct belay__amount *amount);
bool belay__amount_is_negative(const struct belay_amount *amount);
/* Of sums that do not fit the largest number is kept: no cap lets it pass. */
void belay__amount_add(
    struct belay__amount *sum, const struct belay__amount *more);

/* ---- room (room.c) ---- */

/* What a call reserves here. */
struct belay__amount belay__budget_share(
    const belay_budget *budget, const struct belay__amount *most);
/* Here alone, with what others hold or without. */
bool belay__budget_has_room(const belay_budget *budget,
    const struct belay__amount *most, bool count_held);
/* Here and in all around: takes room that is there, gives it back. */
void belay__budget_take_room(
    belay_budget *budget, const struct belay__amount *most);
/* Here alone. */
void belay__budget_give_room(
    belay_budget *budget, const struct belay__amount *most);
/* Could a call be let in once nothing is held any more? */
bool belay__budget_may_ever_fit(
    const belay_budget *budget, const struct belay__amount *most);

/* The innermost budget, from this one outwards, that … or NULL: a call does
 * not fit into;
 */
belay_budget *belay__budget_blocked_by(
    belay_budget *budget, const struct belay__amount *most);
/* has no room and lets nobody wait for it; */
belay_budget *belay__budget_refused_by(
    belay_budget *budget, const struct belay__amount *most);
/* has been left; */
belay_budget *belay__budget_first_over(belay_budget *budget);
/* has calls that wait: they were first. */
belay_budget *belay__budget_first_waited_for(belay_budget *budget);

/* ---- those who wait (wait.c) ---- */

/* First come, first served: the first one without room holds up the others. */
void belay__budget_dispatch(belay_budget *budget);
/* Here and in all around. */
void belay__budget_dispatch_up(belay_budget *budget);

#endif
