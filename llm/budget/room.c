/* room.c - amounts, and where there is room for them: sums, no waiting. */
#include "llm/budget/tree.h"

#include <assert.h>

/* ---- amounts ---- */

static int64_t
not_negative(int64_t number)
{
    return number > 0 ? number : 0;
}

struct belay__amount
belay__amount_of(const struct belay_amount *amount)
{
    if (amount == NULL) {
        return (struct belay__amount){{0, 0, 0}};
    }
    return (struct belay__amount){{not_negative(amount->cost.pico),
        not_negative(amount->tokens), not_negative(amount->requests)}};
}

struct belay_amount
belay__amount_told(const struct belay__amount *amount)
{
    return (struct belay_amount){
        .cost = {amount->of[BELAY__COST]},
        .tokens = amount->of[BELAY__TOKENS],
        .requests = amount->of[BELAY__REQUESTS],
    };
}

bool
belay__amount_is_negative(const struct belay_amount *amount)
{
    return amount->cost.pico < 0 || amount->tokens < 0 || amount->requests < 0;
}

/* Of sums that do not fit the largest number is kept: no cap lets it pass. */
void
belay__amount_add(struct belay__amount *sum, const struct belay__amount *more)
{
    for (int i = 0; i < BELAY__DIMENSIONS; i++) {
        if (__builtin_add_overflow(sum->of[i], more->of[i], &sum->of[i])) {
            sum->of[i] = INT64_MAX;
        }
    }
}

/* ---- room ---- */

/* What a call reserves here. */
struct belay__amount
belay__budget_share(
    const belay_budget *budget, const struct belay__amount *most)
{
    struct belay__amount amount = *most;

    if (budget->policy == BELAY_BUDGET_POST_CHECK) {
        amount.of[BELAY__COST] = 0;
        amount.of[BELAY__TOKENS] = 0;
    }
    return amount;
}

/* Whether `used` and a call's share stay within a limit. A number that may
 * overflow does not: what is held must be exact, since it is given back.
 */
static bool
is_within(int64_t limit, int64_t used, int64_t wanted, bool post_check)
{
    int64_t sum;

    if (__builtin_add_overflow(used, wanted, &sum) || sum > limit) {
        return false;
    }
    return !post_check || limit == INT64_MAX || used < limit;
}

bool
belay__budget_has_room(const belay_budget *budget,
    const struct belay__amount *most, bool count_held)
{
    const bool post_check = budget->policy == BELAY_BUDGET_POST_CHECK;
    const struct belay__amount wanted = belay__budget_share(budget, most);
    struct belay__amount used = budget->spent;

    belay__amount_add(&used, &budget->uncertain);
    if (count_held) {
        belay__amount_add(&used, &budget->held);
    }
    for (int i = 0; i < BELAY__DIMENSIONS; i++) {
        if (!is_within(budget->limit.of[i], used.of[i], wanted.of[i],
                post_check && i != BELAY__REQUESTS)) {
            return false;
        }
    }
    return true;
}

/* The innermost budget that a call does not fit into, or NULL. */
belay_budget *
belay__budget_blocked_by(belay_budget *budget, const struct belay__amount *most)
{
    while (budget != NULL && belay__budget_has_room(budget, most, true)) {
        budget = budget->parent;
    }
    return budget;
}

void
belay__budget_take_room(belay_budget *budget, const struct belay__amount *most)
{
    for (; budget != NULL; budget = budget->parent) {
        const struct belay__amount wanted = belay__budget_share(budget, most);

        belay__amount_add(&budget->held, &wanted);
    }
}

/* Could a call be let in once nothing is held any more? */
bool
belay__budget_may_ever_fit(
    const belay_budget *budget, const struct belay__amount *most)
{
    while (budget != NULL && belay__budget_has_room(budget, most, false)) {
        budget = budget->parent;
    }
    return budget == NULL;
}

belay_budget *
belay__budget_first_over(belay_budget *budget)
{
    while (budget != NULL && !budget->over) {
        budget = budget->parent;
    }
    return budget;
}

/* The innermost budget that has no room and lets nobody wait for it, or NULL.
 */
belay_budget *
belay__budget_refused_by(belay_budget *budget, const struct belay__amount *most)
{
    while (budget != NULL
           && (budget->policy == BELAY_BUDGET_WAIT
               || belay__budget_has_room(budget, most, true))) {
        budget = budget->parent;
    }
    return budget;
}

/* Others were first: the innermost budget in which calls wait, or NULL. */
belay_budget *
belay__budget_first_waited_for(belay_budget *budget)
{
    while (budget != NULL && budget->waiting == 0) {
        budget = budget->parent;
    }
    return budget;
}

void
belay__budget_give_room(belay_budget *budget, const struct belay__amount *most)
{
    const struct belay__amount held = belay__budget_share(budget, most);

    for (int i = 0; i < BELAY__DIMENSIONS; i++) {
        assert(budget->held.of[i] >= held.of[i]);
        budget->held.of[i] -= held.of[i];
    }
}
