/* budget.h - budgets, as calls use them (private to llm/). */
#ifndef BELAY_LLM_BUDGET_BUDGET_H
#define BELAY_LLM_BUDGET_BUDGET_H

#include <belay/budget.h>

#include "runtime/life.h"

/* What a call has to know for the budgets that it is in. */
struct belay__caps {
    bool cost;   /* what it costs: money is limited */
    bool output; /* how long its answer may get: room is held for that */
};

/* It ends with the last reference. */
struct belay__life belay__budget_life(const belay_budget *budget);
/* Has its block been left? */
bool belay__budget_is_over(const belay_budget *budget);

/* What a call goes by where `given` was said: the task's current budget if
 * that is it or inside of it, so that each of them counts; else the given one.
 * NULL given: the current one, which may be NULL.
 */
belay_budget *belay__budget_innermost(
    const belay_task *task, belay_budget *given);

/* Of a budget and those around it; NULL is fine. */
void belay__budget_caps(const belay_budget *budget, struct belay__caps *ret);

/* belay_budget_try() in front of a belay_budget_reserve(), which tells why
 * not and counts it.
 */
bool belay__budget_hold(belay_budget *budget, const struct belay_amount *most,
    struct belay_reservation *ret);

/* belay_budget_doubt() of an attempt of which so much is known: what is above
 * that which was held for it counts too. known NULL: nothing is.
 */
void belay__budget_doubt(
    struct belay_reservation *reservation, const struct belay_amount *known);

#endif
