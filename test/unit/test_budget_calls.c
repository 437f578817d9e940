/* test_budget_calls.c - calls that share a budget: L55-L59. */
#include "test/support/budget_scene.h"

TestSuite(budget_calls, .fini = check_clean, .timeout = 60);

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

Test(budget_calls, l58_without_room_a_call_is_refused_at_once)
{
    struct belay_budget_stats now;

    cr_expect(zero(int, PLAY(&now, BELAY_BUDGET_REFUSE,
                            .calls = {ASKS("a", 6, 1, 10), ASKS("b", 6, 1, 10),
                                ASKS("c", 4, 4, 1), ASKS("d", 11, 1, 1)})));
    expect_trace("a ok; b EBUDGET; c ok; d EBUDGET");
    cr_expect(eq(u64, now.refused, 2));
    expect_amount(now.spent, amount(5 * USD, 0, 2));
}

Test(budget_calls, l58_waiting_calls_have_what_others_give_back_in_their_order)
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

Test(budget_calls, l58_a_waiting_call_that_can_no_longer_fit_is_refused)
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

Test(budget_calls, l58_a_call_into_a_full_inner_budget_is_refused_at_once)
{
    cr_expect(zero(int, RUN(full_inside, .outer = NULL)));
    expect_trace("insider EBUDGET; outsider");
}

Test(budget_calls, l55_l58_what_is_in_doubt_is_not_given_back)
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

Test(budget_calls, a_cancelled_call_does_not_hold_up_those_behind_it)
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

Test(budget_calls, l55_what_is_used_above_the_reservation_counts)
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

static void
crowd_at_cap(int count, enum belay_budget_policy policy)
{
    struct belay_budget_stats now;
    int admitted = 0;

    cr_expect(
        zero(int, RUN(crowd, .count = count, .policy = policy, .ret = &now,
                      .call = {.most = dollars(1),
                          .used = dollars(1),
                          .time = belay_milliseconds(1),
                          .admitted = &admitted})));
    cr_expect(eq(int, admitted, 37));
    expect_amount(now.spent, amount(37 * USD, 0, 37));
    expect_amount(now.held, amount(0, 0, 0));
    expect_amount(now.excess, amount(0, 0, 0));
    cr_expect(eq(u64, now.refused, (uint64_t)count - 37));
}

Test(budget_calls, l56_five_hundred_at_once_never_pass_the_cap)
{
    crowd_at_cap(40, BELAY_BUDGET_REFUSE);
    crowd_at_cap(40, BELAY_BUDGET_WAIT);
    program_unswept = true; /* no other places to fail at, but thousands */
    crowd_at_cap(500, BELAY_BUDGET_REFUSE);
    crowd_at_cap(500, BELAY_BUDGET_WAIT);
}

Test(budget_calls, l57_post_check_passes_the_cap_by_what_is_in_flight)
{
    static const int counts[] = {40, 500};
    struct belay_budget_stats now;

    for (size_t i = 0; i < 2; i++) {
        int admitted = 0;

        program_unswept = i > 0; /* no other places, but thousands */
        cr_expect(zero(int, RUN(crowd, .count = counts[i],
                                .policy = BELAY_BUDGET_POST_CHECK, .ret = &now,
                                .call = {.most = dollars(1),
                                    .used = dollars(1),
                                    .time = belay_milliseconds(1),
                                    .admitted = &admitted})));
        cr_expect(eq(int, admitted, counts[i]),
            "nobody is stopped before the first ends");
    }
    program_unswept = false;
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

Test(budget_calls, l59_after_any_mix_of_ends_nothing_is_held)
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

Test(budget_calls, l59_every_cancel_and_every_refused_allocation_of_a_play)
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
