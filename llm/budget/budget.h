/* budget.h - budgets, as calls use them (private to llm/). */
#ifndef BELAY_LLM_BUDGET_BUDGET_H
#define BELAY_LLM_BUDGET_BUDGET_H

#include <belay/budget.h>

/* What a call has to know for the budgets that it is in. */
struct belay__caps {
    bool cost;   /* what it costs: money is limited */
    bool output; /* how long its answer may get: room is held for that */
};
/* Is a budget another one, or inside of it? NULL is in none. */
bool belay__budget_is_within(
    const belay_budget *budget, const belay_budget *outer);

/* Of a budget and those around it; NULL is fine. */
void belay__budget_caps(const belay_budget *budget, struct belay__caps *ret);

/* belay_budget_try() in front of a belay_budget_reserve(), which tells why
 * not and counts it.
 */
bool belay__budget_hold(belay_budget *budget, const struct belay_amount *most,
    struct belay_reservation *ret);

#endif
