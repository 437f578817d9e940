/* test_session_current.c - sessions without a server: the current one, one turn
 * after the other, budgets.
 */
#include "test/support/session_program.h"

#include <stdio.h>

#define TEXT(literal) ((char *)(uintptr_t)(literal))

TestSuite(session_current, .fini = check_clean, .timeout = 60);

static belay_next
open_session(belay_task *task, belay_llm_client *client, const char *model,
    belay_llm_session **ret)
{
    return belay_llm_session_open(
        task, client, BELAY_LLM_SESSION_OPTS(.model = model), ret);
}

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
            for (self->i = 0; self->i < 1000; self->i++) {
                BELAY_CHECK(belay_spawn(self->group, own_session,
                    .client = self->client, .number = self->i));
            }
        }
        cr_expect(eq(u32, self->failed, 334));
    }
    BELAY_END;
}

Test(session_current, l71_a_thousand_tasks_with_sessions_of_their_own)
{
    program_unswept = true;
    cr_expect(zero(int, RUN(thousand, .client = NULL)));
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
    program_unswept = true;
    cr_expect(zero(int, RUN(misnesting, .client = NULL)));
}

/* ---- turns ---- */

struct turning {
    void (*fn)(belay_llm_turn *turn);
    int expected; /* of the block */
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_turn *turn;
    char before[512];
};

BELAY_ASYNC(turning)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (open_session(task, self->client, "m", &self->session)) {
            BELAY_CHECK(say(self->session, "user", "before"));
            BELAY_CHECK(say(self->session, "assistant", "that"));
            (void)snprintf(self->before, sizeof(self->before), "%s",
                session_messages(self->session));
            BELAY_WITH (
                belay_suppressing(task, &self->expected, self->expected != 0)) {
                BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
                    self->fn(self->turn);
                    cr_expect(stats_of(self->session).in_turn);
                    cr_expect(eq(int, say(self->session, "user", "in between"),
                        BELAY_EBUSY));
                    cr_expect(eq(int, belay_llm_session_clear(self->session),
                        BELAY_EBUSY));
                    cr_expect(eq(int,
                        belay_llm_session_trim(self->session,
                            &(const struct belay_llm_trim){0}, NULL),
                        BELAY_EBUSY));
                    cr_expect(eq(int,
                        belay_llm_session_read(self->session, slice_of("{}"),
                            BELAY_LLM_REPAIR_CUT, NULL, NULL),
                        BELAY_EBUSY));
                    /* Nothing is seen of it from outside. */
                    expect_messages(self->session, self->before);
                }
                cr_expect(eq(int, self->expected, 0));
            }
            cr_expect(not(stats_of(self->session).in_turn));
            expect_messages(self->session, self->before);
            cr_expect(eq(u64, stats_of(self->session).turns, 0));
        }
    }
    BELAY_END;
}

static void
do_nothing(belay_llm_turn *turn)
{
    cr_expect(eq(u64, belay_llm_turn_ledger(turn)->attempts, 0));
}

static int
add(belay_llm_turn *turn, struct belay_llm_message message)
{
    return belay_llm_turn_add(turn, &message);
}

static void
ask_nobody(belay_llm_turn *turn)
{
    cr_expect(zero(int, add(turn, belay_llm_message("user", "hello?"))));
}

static void
leave_a_call_open(belay_llm_turn *turn)
{
    cr_expect(zero(int, add(turn, belay_llm_message("user", "hello?"))));
    cr_expect(zero(int, add(turn, calling(calls_ab, 2))));
    cr_expect(
        eq(int, add(turn, belay_llm_message("user", "well?")), BELAY_ESTATE));
    cr_expect(
        eq(int, add(turn, belay_llm_tool_result(slice_of("c"), "", false)),
            BELAY_ESTATE));
    cr_expect(
        zero(int, add(turn, belay_llm_tool_result(slice_of("b"), "", false))));
    cr_expect(
        eq(int, add(turn, belay_llm_tool_result(slice_of("b"), "", false)),
            BELAY_ESTATE));
    cr_expect(
        eq(int, add(turn, belay_llm_message("wizard", "x")), BELAY_EINVAL));
}

static void
drop_all(belay_llm_turn *turn)
{
    cr_expect(zero(int, add(turn, belay_llm_message("user", "hello?"))));
    cr_expect(zero(int, add(turn, belay_llm_message("assistant", "hi"))));
    belay_llm_turn_drop(turn);
    cr_expect(
        eq(int, add(turn, belay_llm_message("user", "more")), BELAY_ESTATE));
}

Test(session_current, l67_an_empty_turn_changes_nothing)
{
    cr_expect(zero(int, RUN(turning, .fn = do_nothing)));
}

Test(session_current, l67_a_turn_without_an_answer_is_undone)
{
    cr_expect(
        zero(int, RUN(turning, .fn = ask_nobody, .expected = BELAY_ESTATE)));
}

Test(session_current, l67_l68_a_turn_with_an_open_call_is_undone)
{
    cr_expect(zero(
        int, RUN(turning, .fn = leave_a_call_open, .expected = BELAY_ESTATE)));
}

Test(session_current, l67_a_turn_that_is_dropped_is_undone)
{
    cr_expect(zero(int, RUN(turning, .fn = drop_all)));
}

/* Says something, after a while; kept, since it answers itself. */
struct monologue {
    belay_llm_session *session;
    const char *text;
    int naps;
    int code; /* with which it fails */
    belay_llm_turn *turn;
};

BELAY_ASYNC(monologue)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, self->session, &self->turn)) {
        trace("%s begins", self->text);
        BELAY_CHECK(add(self->turn, belay_llm_message("user", self->text)));
        while (self->naps-- > 0) {
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        }
        BELAY_CHECK(add(self->turn, belay_llm_message("assistant", "ok")));
        if (self->code < 0) {
            BELAY_FAIL(self->code, "on purpose");
        }
        trace("%s ends", self->text);
    }
    BELAY_END;
}

struct queueing {
    belay_llm_client *client;
    belay_llm_session *session;
    belay_group *group;
    belay_task *third;
};

BELAY_ASYNC(queueing)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (open_session(task, self->client, "m", &self->session)) {
            BELAY_WITH (belay_group_open(task,
                BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
                BELAY_CHECK(belay_spawn(
                    self->group, monologue, self->session, "a", 3, 0, NULL));
                BELAY_CHECK(belay_spawn(self->group, monologue, self->session,
                    "b", 0, -7001, NULL));
                BELAY_CHECK(belay_group_spawn(self->group, &monologue,
                    &(const struct monologue){self->session, "c", 0, 0, NULL},
                    BELAY_SPAWN_OPTS(.task = &self->third)));
                BELAY_CHECK(belay_spawn(
                    self->group, monologue, self->session, "d", 1, 0, NULL));
                BELAY_WITH (dropping(task, &self->third)) {
                    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
                    cr_expect(eq(sz, stats_of(self->session).waiting, 3));
                    (void)belay_task_cancel(self->third, "on purpose");
                    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
                    cr_expect(eq(sz, stats_of(self->session).waiting, 2));
                }
            }
            expect_trace("a begins; a ends; b begins; d begins; d ends");
            expect_messages(self->session,
                "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
                "\"assistant\",\"content\":\"ok\"},{\"role\":\"user\","
                "\"content\":\"d\"},{\"role\":\"assistant\","
                "\"content\":\"ok\"}]");
            cr_expect(eq(u64, stats_of(self->session).turns, 2));
            cr_expect(eq(u64, stats_of(self->session).undone, 1));
        }
    }
    BELAY_END;
}

Test(session_current, l66_turns_are_taken_in_the_order_of_their_asking)
{
    program_unswept = true;
    cr_expect(zero(int, RUN(queueing, .client = NULL)));
}

struct refusals {
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_session *kept;
    belay_llm_turn *turn;
    belay_llm_turn *second;
    belay_group *group;
    belay_task *waiting;
    bool busy_fails;
};

BELAY_ASYNC(refusals)
{
    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(monologue, .session = NULL, .text = "x"));
    cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_llm_session_open(task, self->client,
            BELAY_LLM_SESSION_OPTS(.model = "m",
                .busy_fails = self->busy_fails),
            &self->session)) {
            self->kept = belay_llm_session_ref(self->session);
            BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
                BELAY_TRY(BELAY_CALL(monologue, .session = NULL, .text = "x"));
                cr_expect(eq(int, belay_result(task)->code, BELAY_EDEADLK));
                BELAY_WITH (belay_group_open(task,
                    BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE),
                    &self->group)) {
                    BELAY_CHECK(belay_group_spawn(self->group, &monologue,
                        &(const struct monologue){
                            .session = self->session, .text = "y"},
                        BELAY_SPAWN_OPTS(.task = &self->waiting)));
                    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
                    (void)belay_task_cancel(self->waiting, "on purpose");
                }
                cr_expect(eq(int, belay_task_result(self->waiting)->code,
                    self->busy_fails ? BELAY_EBUSY : BELAY_ECANCELED));
                belay_task_unref(self->waiting);
            }
        }
        BELAY_TRY(BELAY_CALL(monologue, .session = self->kept, .text = "z"));
        cr_expect(eq(int, belay_result(task)->code, BELAY_ECLOSED));
        belay_llm_session_unref(self->kept);
    }
    BELAY_END;
}

Test(session_current, l66_when_there_can_be_no_turn)
{
    program_unswept = true;
    cr_expect(zero(int, RUN(refusals, .client = NULL)));
    cr_expect(zero(int, RUN(refusals, .busy_fails = true)));
}

struct leaving {
    belay_llm_client *client;
    belay_llm_session *session;
    belay_group *group;
    belay_task *tasks[2];
};

/* The tasks are in a group outside of the session, and so outlive it. */
BELAY_ASYNC(leaving)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
            BELAY_WITH (open_session(task, self->client, "m", &self->session)) {
                for (int i = 0; i < 2; i++) {
                    BELAY_CHECK(belay_group_spawn(self->group, &monologue,
                        &(const struct monologue){
                            .session = self->session, .text = "x", .naps = 3},
                        BELAY_SPAWN_OPTS(.task = &self->tasks[i])));
                }
                BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
            }
        }
        /* The one had a turn, the other one waited for it. */
        for (int i = 0; i < 2; i++) {
            cr_expect(eq(
                int, belay_task_result(self->tasks[i])->code, BELAY_ECLOSED));
            belay_task_unref(self->tasks[i]);
        }
        expect_trace("x begins; x ends");
    }
    BELAY_END;
}

Test(session_current, l72_turns_of_a_session_that_is_left_are_undone)
{
    program_unswept = true;
    cr_expect(zero(int, RUN(leaving, .client = NULL)));
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
