/* budget_scene.c - amounts, and a call that reserves one and settles it. */
#include "test/support/budget_scene.h"

struct belay_budget_stats
stats(const belay_budget *budget)
{
    struct belay_budget_stats now;

    belay_budget_get_stats(budget, &now);
    return now;
}

void
expect_amount(struct belay_amount got, struct belay_amount wanted)
{
    cr_expect(eq(i64, got.cost.pico, wanted.cost.pico));
    cr_expect(eq(i64, got.tokens, wanted.tokens));
    cr_expect(eq(i64, got.requests, wanted.requests));
}

BELAY__STEP(call)
const belay_function call = {
    "call", __FILE__, sizeof(struct call), call__step, 0};
BELAY__BODY(call)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_budget_reserve(
        task, belay_budget_current(task), &self->most, &self->room));
    if (self->name != NULL) {
        trace("%s %s", self->name, trace_result(belay_result(task)));
    }
    if (belay_result(task)->code < 0) {
        cr_expect(self->room.budget == NULL);
        return belay_pass(task);
    }
    if (self->admitted != NULL) {
        ++*self->admitted;
    }
    BELAY_TRY(belay_sleep(task, self->time));
    if (self->doubtful || belay_result(task)->cancelled) {
        belay_budget_doubt(&self->room);
    } else {
        belay_budget_settle(&self->room, &self->used);
    }
    cr_expect(self->room.budget == NULL);
    BELAY_END;
}
