/* budget_scene.h - amounts, and a call that reserves one and settles it. */
#ifndef BELAY_TEST_SUPPORT_BUDGET_SCENE_H
#define BELAY_TEST_SUPPORT_BUDGET_SCENE_H

#include <belay/budget.h>

#include "test/support/program.h"

#define USD INT64_C(1000000000000)

static inline struct belay_amount
amount(int64_t pico, int64_t tokens, int64_t requests)
{
    return (struct belay_amount){{pico}, tokens, requests};
}

/* For one request. */
static inline struct belay_amount
dollars(int64_t count)
{
    return amount(count * USD, 0, 1);
}

struct belay_budget_stats stats(const belay_budget *budget);
void expect_amount(struct belay_amount got, struct belay_amount wanted);

/* A call that reserves, takes its time, and settles. */
struct call {
    const char *name;
    struct belay_amount most;
    struct belay_amount used;
    belay_duration time;
    bool doubtful;
    int *admitted;
    struct belay_reservation room;
};
extern const belay_function call;

#endif
