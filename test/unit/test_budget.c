/* test_budget.c - caps as scopes: L53-L59. */
#include <belay/budget.h>

#include "test/support/program.h"

#include <string.h>

TestSuite(budget, .fini = check_clean, .timeout = 60);

#define USD INT64_C(1000000000000)

static struct belay_amount
amount(int64_t pico, int64_t tokens, int64_t requests)
{
    return (struct belay_amount){{pico}, tokens, requests};
}

static struct belay_amount
dollars(int64_t count)
{
    return amount(count * USD, 0, 1);
}

static struct belay_budget_stats
stats(const belay_budget *budget)
{
    struct belay_budget_stats now;

    belay_budget_get_stats(budget, &now);
    return now;
}

static void
expect_amount(struct belay_amount got, struct belay_amount wanted)
{
    cr_expect(eq(i64, got.cost.pico, wanted.cost.pico));
    cr_expect(eq(i64, got.tokens, wanted.tokens));
    cr_expect(eq(i64, got.requests, wanted.requests));
}

/* Nothing is held; so much was spent, and so much is in doubt. */
static void
expect_at_rest(
    const belay_budget *budget, int64_t spent_usd, int64_t uncertain_usd)
{
    const struct belay_budget_stats now = stats(budget);

    expect_amount(now.held, amount(0, 0, 0));
    cr_expect(eq(i64, now.spent.cost.pico, spent_usd * USD));
    cr_expect(eq(i64, now.uncertain.cost.pico, uncertain_usd * USD));
    cr_expect(zero(u32, now.waiting));
}

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

BELAY_ASYNC(call)
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

/* ---- L53, L54: the tree ---- */

struct nested {
    belay_budget *outer;
    belay_budget *inner;
    struct belay_reservation room;
    struct belay_reservation more;
};

BELAY_ASYNC(nested)
{
    BELAY_BEGIN;
    cr_expect(belay_budget_current(task) == NULL);
    BELAY_WITH (belay_budget_open(task,
        BELAY_BUDGET_OPTS(.name = "outer", .limit.cost.pico = 10 * USD),
        &self->outer)) {
        BELAY_WITH (belay_budget_open(task,
            BELAY_BUDGET_OPTS(.name = "inner", .limit = {{20 * USD}, 1000, 3}),
            &self->inner)) {
            cr_expect(eq(ptr, belay_budget_current(task), self->inner));
            self->room = (struct belay_reservation){0};
            cr_expect(eq(int,
                belay_budget_try(self->inner,
                    &(struct belay_amount){{11 * USD}, 1, 1}, &self->room),
                BELAY_EBUDGET));
            cr_expect(eq(int,
                belay_budget_try(self->inner,
                    &(struct belay_amount){{1}, 1001, 1}, &self->room),
                BELAY_EBUDGET));
            expect_at_rest(self->inner, 0, 0);
            expect_at_rest(self->outer, 0, 0);
            cr_expect(self->room.budget == NULL);

            cr_expect(zero(int,
                belay_budget_try(self->inner,
                    &(struct belay_amount){{6 * USD}, 600, 1}, &self->room)));
            expect_amount(stats(self->inner).held, amount(6 * USD, 600, 1));
            expect_amount(stats(self->outer).held, amount(6 * USD, 600, 1));
            cr_expect(eq(int,
                belay_budget_try(self->inner,
                    &(struct belay_amount){{5 * USD}, 100, 1}, &self->more),
                BELAY_EAGAIN));
            cr_expect(eq(u64, stats(self->outer).refused, 2));

            belay_budget_settle(
                &self->room, &(struct belay_amount){{2 * USD}, 200, 1});
            expect_amount(stats(self->inner).spent, amount(2 * USD, 200, 1));
            expect_at_rest(self->outer, 2, 0);
            cr_expect(zero(int,
                belay_budget_try(self->inner,
                    &(struct belay_amount){{8 * USD}, 800, 1}, &self->more)));
            belay_budget_settle(&self->more, NULL);
        }
        cr_expect(eq(ptr, belay_budget_current(task), self->outer));
        expect_at_rest(self->outer, 2, 0);
    }
    cr_expect(belay_budget_current(task) == NULL);
    BELAY_END;
}

Test(budget, l53_l54_a_call_needs_room_in_all_and_a_refusal_changes_nothing)
{
    cr_expect(zero(int, RUN(nested, .outer = NULL)));
}

Test(budget, l53_every_cancel_and_every_refused_allocation)
{
    struct nested arguments = {0};
    struct program program = {.function = &nested, .arguments = &arguments};

    sweep(&program);
}

struct without {
    struct belay_reservation room;
};

BELAY_ASYNC(without)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_budget_reserve(task, belay_budget_current(task),
        &(struct belay_amount){{INT64_MAX}, INT64_MAX, 1}, &self->room));
    cr_expect(self->room.budget == NULL);
    belay_budget_settle(&self->room, NULL);
    belay_budget_doubt(&self->room);
    belay_budget_settle(NULL, NULL);
    belay_budget_doubt(NULL);
    belay_budget_charge(NULL, NULL, NULL);
    BELAY_END;
}

Test(budget, without_a_budget_there_is_always_room)
{
    cr_expect(zero(int, RUN(without, .room = {0})));
}

/* ---- a budget with calls in it ---- */

#define CALLS_MAX 8

struct play {
    struct belay_budget_opts opts;
    struct call calls[CALLS_MAX];        /* named ones start, each a nanosecond
                                     after the one before */
    belay_duration cancel_at[CALLS_MAX]; /* of each call; 0: never */
    struct belay_budget_stats *ret;
    belay_budget *budget;
    belay_group *group;
    size_t i;
};

struct limited {
    struct call call;
    belay_duration limit;
};

BELAY_ASYNC(limited)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(
        task, self->limit.ns > 0 ? self->limit : BELAY_FOREVER, NULL)) {
        BELAY_AWAIT(belay_call(task, &call, &self->call));
    }
    BELAY_END;
}

BELAY_ASYNC(play)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task, &self->opts, &self->budget)) {
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
            for (self->i = 0;
                 self->i < CALLS_MAX && self->calls[self->i].name != NULL;
                 self->i++) {
                BELAY_CHECK(belay_spawn(self->group, limited,
                    .call = self->calls[self->i],
                    .limit = self->cancel_at[self->i]));
                BELAY_AWAIT(belay_sleep(task, belay_nanoseconds(1)));
            }
        }
        *self->ret = stats(self->budget);
    }
    BELAY_END;
}

#define PLAY(now, policy_, ...)                            \
    RUN(play,                                              \
        .opts = {.size = sizeof(struct belay_budget_opts), \
            .name = "tight",                               \
            .policy = (policy_),                           \
            .limit.cost.pico = 10 * USD},                  \
        .ret = (now), __VA_ARGS__)

/* A call named so that reserves so much and uses so much. */
#define ASKS(name_, most_, used_, ms)                   \
    {                                                   \
        .name = (name_), .most = {{(most_)*USD}, 0, 1}, \
        .used = {{(used_)*USD}, 0, 1}, .time = {        \
            (ms)*INT64_C(1000000)                       \
        }                                               \
    }

Test(budget, l58_without_room_a_call_is_refused_at_once)
{
    struct belay_budget_stats now;

    cr_expect(zero(int, PLAY(&now, BELAY_BUDGET_REFUSE,
                            .calls = {ASKS("a", 6, 1, 10), ASKS("b", 6, 1, 10),
                                ASKS("c", 4, 4, 1), ASKS("d", 11, 1, 1)})));
    expect_trace("a ok; b EBUDGET; c ok; d EBUDGET");
    cr_expect(eq(u64, now.refused, 2));
    expect_amount(now.spent, amount(5 * USD, 0, 2));
}

Test(budget, l58_waiting_calls_have_what_others_give_back_in_their_order)
{
    struct belay_budget_stats now;

    cr_expect(zero(int, PLAY(&now, BELAY_BUDGET_WAIT,
                            .calls = {ASKS("a", 8, 1, 10), ASKS("b", 8, 1, 10),
                                ASKS("c", 1, 1, 10), ASKS("d", 11, 1, 1),
                                ASKS("e", 2, 1, 1)})));
    expect_trace("a ok; d EBUDGET; b ok; c ok; e ok");
    expect_amount(now.spent, amount(4 * USD, 0, 4));
    cr_expect(eq(u64, now.refused, 1));
}

Test(budget, l58_a_waiting_call_that_can_no_longer_fit_is_refused)
{
    struct belay_budget_stats now;

    cr_expect(zero(int, PLAY(&now, BELAY_BUDGET_WAIT,
                            .calls = {ASKS("a", 8, 8, 10), ASKS("b", 5, 1, 10),
                                ASKS("c", 2, 1, 10)})));
    expect_trace("a ok; b EBUDGET; c ok");
    expect_amount(now.spent, amount(9 * USD, 0, 2));
}

/* Outside one waits for room; inside there is none, and nobody may wait. */
struct full_inside {
    belay_budget *outer;
    belay_budget *inner;
    belay_group *group;
    struct belay_reservation all;
    struct belay_reservation inside;
    struct belay_reservation refused;
};

struct outsider {
    belay_budget *budget;
    struct belay_reservation room;
};

BELAY_ASYNC(outsider)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_budget_reserve(task, self->budget,
        &(struct belay_amount){{5 * USD}, 0, 1}, &self->room));
    trace("outsider");
    belay_budget_settle(&self->room, NULL);
    BELAY_END;
}

BELAY_ASYNC(full_inside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task,
        BELAY_BUDGET_OPTS(.policy = BELAY_BUDGET_WAIT,
            .limit.cost.pico = 10 * USD),
        &self->outer)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_WITH (belay_budget_open(task,
                BELAY_BUDGET_OPTS(.limit.cost.pico = 2 * USD), &self->inner)) {
                BELAY_CHECK(
                    belay_spawn(self->group, outsider, .budget = self->outer));
                cr_expect(zero(int,
                    belay_budget_try(self->outer,
                        &(struct belay_amount){{7 * USD}, 0, 1}, &self->all)));
                cr_expect(zero(int, belay_budget_try(self->inner,
                                        &(struct belay_amount){{1 * USD}, 0, 1},
                                        &self->inside)));
                BELAY_TRY(belay_sleep(task, belay_seconds(1)));
                BELAY_TRY(belay_budget_reserve(task, self->inner,
                    &(struct belay_amount){{2 * USD}, 0, 1}, &self->refused));
                trace("insider %s", trace_result(belay_result(task)));
                belay_budget_settle(&self->inside, NULL);
                belay_budget_settle(&self->all, NULL);
            }
        }
    }
    BELAY_END;
}

Test(budget, l58_a_call_into_a_full_inner_budget_is_refused_at_once)
{
    cr_expect(zero(int, RUN(full_inside, .outer = NULL)));
    expect_trace("insider EBUDGET; outsider");
}

Test(budget, l55_l58_what_is_in_doubt_is_not_given_back)
{
    struct belay_budget_stats now;
    struct call doubtful = ASKS("a", 8, 1, 10);

    doubtful.doubtful = true;
    cr_expect(zero(int,
        PLAY(&now, BELAY_BUDGET_WAIT,
            .calls = {doubtful, ASKS("b", 5, 1, 10), ASKS("c", 2, 1, 1)})));
    expect_trace("a ok; b EBUDGET; c ok");
    expect_amount(now.uncertain, amount(8 * USD, 0, 1));
    expect_amount(now.spent, amount(1 * USD, 0, 1));
}

Test(budget, a_cancelled_call_does_not_hold_up_those_behind_it)
{
    struct belay_budget_stats now;

    cr_expect(zero(int, PLAY(&now, BELAY_BUDGET_WAIT,
                            .calls = {ASKS("a", 6, 1, 100), ASKS("b", 8, 1, 10),
                                ASKS("c", 4, 1, 10)},
                            .cancel_at = {{0}, belay_milliseconds(5), {0}})));
    expect_trace("a ok; b cancel; c ok");
    expect_amount(now.held, amount(0, 0, 0));
    cr_expect(zero(u32, now.waiting));
}

Test(budget, l55_what_is_used_above_the_reservation_counts)
{
    struct belay_budget_stats now;

    cr_expect(zero(int, PLAY(&now, BELAY_BUDGET_REFUSE,
                            .calls = {ASKS("a", 6, 9, 0), ASKS("b", 1, 0, 0),
                                ASKS("c", 1, 1, 5), ASKS("d", 1, 1, 5)})));
    expect_trace("a ok; b ok; c ok; d EBUDGET");
    expect_amount(now.excess, amount(3 * USD, 0, 0));
    expect_amount(now.spent, amount(10 * USD, 0, 3));
}

/* ---- L56: the hard cap ---- */

struct crowd {
    int count;
    struct call call;
    enum belay_budget_policy policy;
    struct belay_budget_stats *ret;
    belay_budget *budget;
    belay_group *group;
    int i;
};

BELAY_ASYNC(crowd)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task,
        BELAY_BUDGET_OPTS(.name = "crowd", .policy = self->policy,
            .limit.cost.pico = 75 * USD / 2),
        &self->budget)) {
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
            for (self->i = 0; self->i < self->count; self->i++) {
                BELAY_CHECK(
                    belay_group_spawn(self->group, &call, &self->call, NULL));
            }
        }
        *self->ret = stats(self->budget);
    }
    BELAY_END;
}

Test(budget, l56_five_hundred_at_once_never_pass_the_cap)
{
    static const enum belay_budget_policy policies[] = {
        BELAY_BUDGET_REFUSE, BELAY_BUDGET_WAIT};

    for (size_t i = 0; i < 2; i++) {
        struct belay_budget_stats now;
        int admitted = 0;

        cr_expect(zero(
            int, RUN(crowd, .count = 500, .policy = policies[i], .ret = &now,
                     .call = {.most = dollars(1),
                         .used = dollars(1),
                         .time = belay_milliseconds(1),
                         .admitted = &admitted})));
        cr_expect(eq(int, admitted, 37));
        expect_amount(now.spent, amount(37 * USD, 0, 37));
        expect_amount(now.held, amount(0, 0, 0));
        expect_amount(now.excess, amount(0, 0, 0));
        cr_expect(eq(u64, now.refused, 463));
    }
}

Test(budget, l57_post_check_passes_the_cap_by_what_is_in_flight)
{
    struct belay_budget_stats now;
    int admitted = 0;

    cr_expect(zero(int,
        RUN(crowd, .count = 500, .policy = BELAY_BUDGET_POST_CHECK, .ret = &now,
            .call = {.most = dollars(1),
                .used = dollars(1),
                .time = belay_milliseconds(1),
                .admitted = &admitted})));
    cr_expect(
        eq(int, admitted, 500), "nobody is stopped before the first ends");
    cr_expect(zero(int, PLAY(&now, BELAY_BUDGET_POST_CHECK,
                            .calls = {ASKS("a", 1, 9, 0), ASKS("b", 1, 9, 0),
                                ASKS("c", 1, 1, 0)})));
    expect_trace("a ok; b ok; c EBUDGET");
}

/* ---- L59: nothing stays held ---- */

struct mix {
    uint64_t random;
    struct belay_budget_stats *ret;
    belay_budget *outer;
    belay_budget *inner;
    belay_group *group;
    int i;
};

static uint32_t
pick(uint64_t *random, uint32_t below)
{
    *random =
        *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*random >> 33) % below;
}

BELAY_ASYNC(mix)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task,
        BELAY_BUDGET_OPTS(.name = "outer", .policy = BELAY_BUDGET_WAIT,
            .limit = {{0}, 500, 0}),
        &self->outer)) {
        BELAY_WITH (belay_budget_open(task,
            BELAY_BUDGET_OPTS(.policy = BELAY_BUDGET_WAIT,
                .limit = {{40 * USD}, 0, 90}),
            &self->inner)) {
            BELAY_WITH (belay_group_open(task,
                BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
                for (self->i = 0; self->i < 200; self->i++) {
                    uint64_t *random = &self->random;
                    struct limited one = {
                        .call = {.most = amount((1 + pick(random, 9)) * USD,
                                     pick(random, 100), 1),
                            .used = amount(
                                pick(random, 3) * USD, pick(random, 12), 1),
                            .time = belay_milliseconds(pick(random, 20)),
                            .doubtful = pick(random, 30) == 0},
                        .limit = belay_milliseconds(
                            pick(random, 3) == 0 ? 1 + pick(random, 30) : 0)};

                    BELAY_CHECK(
                        belay_group_spawn(self->group, &limited, &one, NULL));
                    if (pick(random, 4) == 0) {
                        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(3)));
                    }
                }
            }
            self->ret[0] = stats(self->inner);
        }
        self->ret[1] = stats(self->outer);
    }
    BELAY_END;
}

Test(budget, l59_after_any_mix_of_ends_nothing_is_held)
{
    uint64_t refused = 0;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct belay_budget_stats now[2];

        program_unswept = seed > 3; /* these take as long as all others */
        cr_expect(zero(int, RUN(mix, .random = seed, .ret = now)));
        for (int i = 0; i < 2; i++) {
            expect_amount(now[i].held, amount(0, 0, 0));
            cr_expect(zero(u32, now[i].waiting));
        }
        cr_expect(le(i64,
            now[0].spent.cost.pico + now[0].uncertain.cost.pico
                - now[0].excess.cost.pico,
            40 * USD));
        cr_expect(le(i64,
            now[1].spent.tokens + now[1].uncertain.tokens
                - now[1].excess.tokens,
            500));
        expect_amount(now[0].spent, now[1].spent);
        expect_amount(now[0].uncertain, now[1].uncertain);
        refused += now[0].refused + now[1].refused;
    }
    cr_expect(gt(u64, refused, 100));
}

Test(budget, l59_every_cancel_and_every_refused_allocation_of_a_play)
{
    struct belay_budget_stats now;
    struct play arguments = {.opts = {.size = sizeof(struct belay_budget_opts),
                                 .policy = BELAY_BUDGET_WAIT,
                                 .limit.cost.pico = 10 * USD},
        .calls = {ASKS("a", 8, 1, 10), ASKS("b", 8, 1, 10), ASKS("c", 1, 1, 1)},
        .cancel_at = {{0}, {0}, belay_milliseconds(5)},
        .ret = &now};
    struct program program = {.function = &play, .arguments = &arguments};

    sweep(&program);
}

/* ---- the end of a budget ---- */

struct left {
    belay_budget *budget;
    belay_budget *kept;
    belay_group *group;
    struct belay_reservation room;
};

static void
drop_budget(void *arg)
{
    belay_budget **budget = arg;

    belay_budget_unref(*budget);
}

BELAY_ASYNC(left)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop_budget, &self->kept)) {
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
            BELAY_WITH (belay_budget_open(task,
                BELAY_BUDGET_OPTS(.policy = BELAY_BUDGET_WAIT,
                    .limit.cost.pico = 10 * USD),
                &self->budget)) {
                self->kept = belay_budget_ref(self->budget);
                BELAY_CHECK(belay_spawn(self->group, call, .name = "a",
                    .most = dollars(8), .used = dollars(3),
                    .time = belay_milliseconds(10)));
                BELAY_CHECK(belay_spawn(
                    self->group, call, .name = "b", .most = dollars(8)));
                BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
                trace("left");
            }
            cr_expect(eq(int,
                belay_budget_try(self->budget,
                    &(struct belay_amount){{0}, 0, 0}, &self->room),
                BELAY_ECLOSED));
        }
        expect_at_rest(self->budget, 3, 0);
    }
    BELAY_END;
}

Test(budget, a_budget_that_was_left_admits_nothing_and_still_settles)
{
    cr_expect(zero(int, RUN(left, .budget = NULL)));
    expect_trace("a ok; left; b ECLOSED");
}

struct charged {
    belay_budget *budget;
    struct belay_reservation room;
};

BELAY_ASYNC(charged)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task,
        BELAY_BUDGET_OPTS(.name = "again", .limit.cost.pico = 10 * USD),
        &self->budget)) {
        belay_budget_charge(self->budget,
            &(struct belay_amount){{6 * USD}, 10, 1},
            &(struct belay_amount){{3 * USD}, 5, 1});
        expect_at_rest(self->budget, 6, 3);
        BELAY_AWAIT(belay_budget_reserve(task, self->budget,
            &(struct belay_amount){{2 * USD}, 0, 1}, &self->room));
    }
    BELAY_END;
}

Test(budget, l58_the_message_names_the_budget_and_what_is_left_in_it)
{
    struct belay_result result;
    char *text = NULL;

    cr_expect(
        eq(int, RUN_RESULT(&result, charged, .budget = NULL), BELAY_EBUDGET));
    cr_assert(result.error != NULL);
    text = strdup(belay_error_message(result.error));
    cr_expect(eq(str, text,
        "budget \"again\": $9.00 of $10.00 are spent, held or in doubt, "
        "the call may cost $2.00"));
    free(text);
    belay_error_unref(result.error);
}

struct refused_options {
    int kind;
    belay_budget *budget;
    struct belay_reservation room;
};

BELAY_ASYNC(refused_options)
{
    BELAY_BEGIN;
    if (self->kind == 0) {
        BELAY_WITH (belay_budget_open(
            task, BELAY_BUDGET_OPTS(.limit.tokens = -1), NULL)) {
            cr_expect(false);
        }
    } else if (self->kind == 1) {
        BELAY_WITH (belay_budget_open(
            task, &(struct belay_budget_opts){.size = 3}, NULL)) {
            cr_expect(false);
        }
    } else {
        BELAY_WITH (belay_budget_open(task, NULL, &self->budget)) {
            BELAY_AWAIT(belay_budget_reserve(task, self->budget,
                &(struct belay_amount){{-1}, 0, 1}, &self->room));
        }
    }
    BELAY_END;
}

Test(budget, negative_numbers_and_unknown_options_are_refused)
{
    for (int kind = 0; kind < 3; kind++) {
        cr_expect(eq(int, RUN(refused_options, .kind = kind), BELAY_EINVAL));
    }
}
