/* test_budget.c - caps as scopes, one within another: L53, L54, L58. */
#include "llm/budget/budget.h"
#include "test/support/budget_scene.h"

#include <string.h>

TestSuite(budget, .fini = check_clean, .timeout = 60);

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

struct less_than_nothing {
    belay_budget *budget;
    struct belay_reservation room;
};

BELAY_ASYNC(less_than_nothing)
{
    const struct belay_amount below = amount(-USD, -INT64_MAX, -1);

    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(
        task, BELAY_BUDGET_OPTS(.limit = {{0}, 500, 0}), &self->budget)) {
        self->room = (struct belay_reservation){0};
        cr_expect(
            zero(int, belay_budget_try(self->budget,
                          &(struct belay_amount){{0}, 100, 1}, &self->room)));
        belay_budget_settle(&self->room, &below);
        expect_amount(stats(self->budget).spent, amount(0, 0, 0));
        expect_at_rest(self->budget, 0, 0);
        belay_budget_charge(self->budget, &below, &below);
        expect_amount(stats(self->budget).spent, amount(0, 0, 0));
        expect_amount(stats(self->budget).uncertain, amount(0, 0, 0));
        cr_expect(eq(int,
            belay_budget_try(
                self->budget, &(struct belay_amount){{0}, 501, 1}, &self->room),
            BELAY_EBUDGET));
    }
    BELAY_END;
}

Test(budget, l54_l55_nothing_used_makes_room_that_the_cap_does_not_give)
{
    cr_expect(zero(int, RUN(less_than_nothing, .budget = NULL)));
}

/* ---- L55, L56: what is in doubt, and known in part ---- */

struct known_in_part {
    belay_budget *outer;
    belay_budget *inner;
    struct belay_reservation room;
};

BELAY_ASYNC(known_in_part)
{
    const struct belay_amount most = amount(3 * USD, 100, 1);
    const struct belay_amount known = amount(5 * USD, 40, 1);

    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(
        task, BELAY_BUDGET_OPTS(.limit = {{6 * USD}, 0, 0}), &self->outer)) {
        BELAY_WITH (belay_budget_open(task,
            BELAY_BUDGET_OPTS(.limit = {{6 * USD}, 0, 0},
                .policy = BELAY_BUDGET_POST_CHECK),
            &self->inner)) {
            cr_expect(
                zero(int, belay_budget_try(self->inner, &most, &self->room)));
            belay__budget_doubt(&self->room, &known);
            cr_expect(self->room.budget == NULL);
            expect_at_rest(self->inner, 0, 5);
            expect_at_rest(self->outer, 0, 5);
            expect_amount(
                stats(self->inner).uncertain, amount(5 * USD, 100, 1));
            expect_amount(stats(self->outer).excess, amount(2 * USD, 0, 0));
            expect_amount(stats(self->inner).excess, amount(5 * USD, 100, 0));
            cr_expect(eq(int, belay_budget_try(self->inner, &most, &self->room),
                BELAY_EBUDGET));
            belay__budget_doubt(&self->room, &known);
            expect_at_rest(self->inner, 0, 5);
        }
    }
    BELAY_END;
}

Test(budget, l55_l56_what_is_known_above_what_was_held_is_in_doubt_too)
{
    cr_expect(zero(int, RUN(known_in_part, .outer = NULL)));
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
