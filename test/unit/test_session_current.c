/* test_session_current.c - sessions without a server: the current one, and
 * their budgets: L53, L71.
 */
#include "test/support/session_program.h"

#include <stdio.h>

#define TEXT(literal) ((char *)(uintptr_t)(literal))

TestSuite(session_current, .fini = check_clean, .timeout = 60);

/* ---- the current session ---- */

struct ask_where {
    belay_llm_session *expected;
    int naps;
};

BELAY_ASYNC(ask_where)
{
    BELAY_BEGIN;
    while (self->naps-- > 0) {
        BELAY_AWAIT(belay_checkpoint(task));
        cr_expect(eq(ptr, belay_llm_session_current(task), self->expected));
    }
    BELAY_END;
}

struct nesting {
    belay_llm_client *client;
    belay_llm_session *outer;
    belay_llm_session *inner;
    belay_group *group;
};

BELAY_ASYNC(nesting)
{
    BELAY_BEGIN;
    cr_expect(eq(ptr, belay_llm_session_current(task), NULL));
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_WITH (open_session(task, self->client, "m", &self->outer)) {
                /* A child stays in the session of its spawn. */
                BELAY_CHECK(
                    belay_spawn(self->group, ask_where, self->outer, 5));
                BELAY_WITH (
                    open_session(task, self->client, "m", &self->inner)) {
                    cr_expect(
                        eq(ptr, belay_llm_session_current(task), self->inner));
                    BELAY_CHECK(
                        belay_spawn(self->group, ask_where, self->inner, 5));
                    BELAY_AWAIT(belay_checkpoint(task));
                }
                cr_expect(
                    eq(ptr, belay_llm_session_current(task), self->outer));
                /* Left by an error, and by a cancel. */
                BELAY_WITH (belay_suppressing(task, BELAY_CODES(-7001))) {
                    BELAY_WITH (
                        open_session(task, self->client, "m", &self->inner)) {
                        BELAY_FAIL(-7001, "on purpose");
                    }
                }
                cr_expect(
                    eq(ptr, belay_llm_session_current(task), self->outer));
                BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
                    BELAY_WITH (
                        open_session(task, self->client, "m", &self->inner)) {
                        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
                    }
                }
                cr_expect(
                    eq(ptr, belay_llm_session_current(task), self->outer));
            }
            cr_expect(eq(ptr, belay_llm_session_current(task), NULL));
        }
    }
    BELAY_END;
}

Test(session_current, l71_nested_inherited_and_restored)
{
    cr_expect(zero(int, RUN(nesting, .client = NULL)));
}

Test(session_current, l71_sweep_of_nested_sessions)
{
    const struct nesting arguments = {.client = NULL};

    sweep(
        &(const struct program){.function = &nesting, .arguments = &arguments});
}

struct own_session {
    belay_llm_client *client;
    int number;
    belay_llm_session *session;
    char model[16];
};

BELAY_ASYNC(own_session)
{
    BELAY_BEGIN;
    (void)snprintf(self->model, sizeof(self->model), "m%d", self->number);
    BELAY_WITH (open_session(task, self->client, self->model, &self->session)) {
        BELAY_AWAIT(belay_sleep(
            task, belay_milliseconds(1 + self->number * 7919 % 100)));
        cr_expect(eq(ptr, belay_llm_session_current(task), self->session));
        cr_expect(eq(str, TEXT(stats_of(belay_llm_session_current(task)).model),
            self->model));
        if (self->number % 3 == 0) {
            BELAY_FAIL(-7001, "on purpose");
        }
        if (self->number % 3 == 1) {
            (void)belay_task_cancel(task, "on purpose");
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    BELAY_END;
}

struct thousand {
    int count;
    /* locals */
    belay_llm_client *client;
    belay_group *group;
    uint32_t failed;
    int i;
};

static void
count_failed(belay_task *child, const struct belay_result *result, void *arg)
{
    struct thousand *self = arg;

    (void)child;
    self->failed += result->code == -7001;
}

BELAY_ASYNC(thousand)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_group_open(task,
            BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE,
                .on_child = count_failed, .arg = self),
            &self->group)) {
            for (self->i = 0; self->i < self->count; self->i++) {
                BELAY_CHECK(belay_spawn(self->group, own_session,
                    .client = self->client, .number = self->i));
            }
        }
        cr_expect(eq(u32, self->failed, ((uint32_t)self->count + 2) / 3));
    }
    BELAY_END;
}

Test(session_current, l71_a_thousand_tasks_with_sessions_of_their_own)
{
    cr_expect(zero(int, RUN(thousand, .count = 7)));
    program_unswept = true; /* no other places to fail at, but thousands */
    cr_expect(zero(int, RUN(thousand, .count = 1000)));
}

struct misnesting {
    belay_llm_client *client;
    belay_stack *stack;
    belay_llm_session *outer;
    belay_llm_session *inner;
    int code;
};

BELAY_ASYNC(misnesting)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                open_session(task, self->client, "m", &self->outer), NULL));
            BELAY_WITH (open_session(task, self->client, "m", &self->inner)) {
                BELAY_TRY(belay_stack_close(task, self->stack, NULL));
                self->code = belay_result(task)->code;
                cr_expect(
                    eq(ptr, belay_llm_session_current(task), self->inner));
            }
        }
    }
    cr_expect(eq(int, self->code, BELAY_ESTATE));
    BELAY_END;
}

Test(session_current, l71_leaving_in_the_wrong_order_is_reported)
{
    cr_expect(zero(int, RUN(misnesting, .client = NULL)));
}

/* ---- budgets ---- */

struct limited {
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_session *fork;
    struct belay_reservation held;
    struct belay_budget_stats stats;
};

BELAY_ASYNC(limited)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_llm_session_open(task, self->client,
            BELAY_LLM_SESSION_OPTS(.model = "m", .limit.requests = 2),
            &self->session)) {
            cr_expect(ne(ptr, stats_of(self->session).budget, NULL));
            cr_expect(eq(ptr, belay_budget_current(task),
                stats_of(self->session).budget));
            BELAY_WITH (belay_llm_session_fork(task, self->session,
                BELAY_LLM_SESSION_OPTS(.limit.requests = 5), &self->fork)) {
                BELAY_CHECK(belay_budget_try(stats_of(self->fork).budget,
                    &(const struct belay_amount){.requests = 1}, &self->held));
                belay_budget_get_stats(
                    stats_of(self->session).budget, &self->stats);
                cr_expect(eq(i64, self->stats.held.requests, 1));
                belay_budget_settle(&self->held, NULL);
            }
            cr_expect(eq(ptr, belay_budget_current(task),
                stats_of(self->session).budget));
        }
        cr_expect(eq(ptr, belay_budget_current(task), NULL));
    }
    BELAY_END;
}

Test(session_current, l53_a_session_has_a_budget_and_a_fork_one_within)
{
    cr_expect(zero(int, RUN(limited, .client = NULL)));
}

/* A client with a budget, in a budget within that one; then the same with a
 * fork.
 */
struct encircled {
    belay_budget *outer;
    belay_budget *inner;
    belay_llm_client *client;
    belay_llm_session *session;
    struct belay_reservation held;
};

struct fork_inside {
    belay_llm_session *session;
    belay_llm_session *fork;
    belay_budget *inner;
    struct belay_reservation held;
};

static int64_t
held_in(belay_budget *budget)
{
    struct belay_budget_stats stats;

    belay_budget_get_stats(budget, &stats);
    return stats.held.requests;
}

BELAY_ASYNC(fork_inside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task, NULL, &self->inner)) {
        BELAY_WITH (belay_llm_session_fork(task, self->session,
            BELAY_LLM_SESSION_OPTS(.limit.requests = 5), &self->fork)) {
            BELAY_CHECK(belay_budget_try(stats_of(self->fork).budget,
                &(const struct belay_amount){.requests = 1}, &self->held));
            cr_expect(eq(i64, held_in(self->inner), 1));
            cr_expect(eq(i64, held_in(stats_of(self->session).budget), 1));
            belay_budget_settle(&self->held, NULL);
        }
    }
    BELAY_END;
}

BELAY_ASYNC(encircled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_llm_client_open(task,
            BELAY_LLM_CLIENT_OPTS(.base_url = NO_SERVER, .budget = self->outer),
            &self->client)) {
            BELAY_WITH (belay_budget_open(task, NULL, &self->inner)) {
                BELAY_WITH (belay_llm_session_open(task, self->client,
                    BELAY_LLM_SESSION_OPTS(.model = "m", .limit.requests = 2),
                    &self->session)) {
                    BELAY_CHECK(belay_budget_try(stats_of(self->session).budget,
                        &(const struct belay_amount){.requests = 1},
                        &self->held));
                    cr_expect(eq(i64, held_in(self->inner), 1));
                    cr_expect(eq(i64, held_in(self->outer), 1));
                    belay_budget_settle(&self->held, NULL);
                    BELAY_AWAIT(
                        BELAY_CALL(fork_inside, .session = self->session));
                }
            }
        }
    }
    BELAY_END;
}

Test(session_current, l53_a_session_is_in_all_the_budgets_around_it)
{
    cr_expect(zero(int, RUN(encircled, .client = NULL)));
}

Test(session_current, l53_sweep_of_limited_sessions)
{
    const struct limited arguments = {.client = NULL};

    sweep(
        &(const struct program){.function = &limited, .arguments = &arguments});
}
