/* test_turn.c - turns of a session without a server, one after the other:
 * L66-L68, L72.
 */
#include "test/support/session_program.h"

#include <stdio.h>

TestSuite(turn, .fini = check_clean, .timeout = 60);

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

Test(turn, l67_an_empty_turn_changes_nothing)
{
    cr_expect(zero(int, RUN(turning, .fn = do_nothing)));
}

Test(turn, l67_a_turn_without_an_answer_is_undone)
{
    cr_expect(
        zero(int, RUN(turning, .fn = ask_nobody, .expected = BELAY_ESTATE)));
}

Test(turn, l67_l68_a_turn_with_an_open_call_is_undone)
{
    cr_expect(zero(
        int, RUN(turning, .fn = leave_a_call_open, .expected = BELAY_ESTATE)));
}

Test(turn, l67_a_turn_that_is_dropped_is_undone)
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
                BELAY_WITH (dropping(task, &self->third)) {
                    BELAY_CHECK(belay_group_spawn(self->group, &monologue,
                        &(const struct monologue){
                            self->session, "c", 0, 0, NULL},
                        BELAY_SPAWN_OPTS(.task = &self->third)));
                    BELAY_CHECK(belay_spawn(self->group, monologue,
                        self->session, "d", 1, 0, NULL));
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

Test(turn, l66_turns_are_taken_in_the_order_of_their_asking)
{
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

static void
drop_kept(void *arg)
{
    struct refusals *self = arg;

    belay_llm_session_unref(self->kept);
    belay_task_unref(self->waiting);
}

struct refused {
    struct refusals *of;
};

BELAY_ASYNC(refused)
{
    struct refusals *of = self->of;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &of->group)) {
        BELAY_CHECK(belay_group_spawn(of->group, &monologue,
            &(const struct monologue){.session = of->session, .text = "y"},
            BELAY_SPAWN_OPTS(.task = &of->waiting)));
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        (void)belay_task_cancel(of->waiting, "on purpose");
    }
    cr_expect(eq(int, belay_task_result(of->waiting)->code,
        of->busy_fails ? BELAY_EBUSY : BELAY_ECANCELED));
    BELAY_END;
}

struct sessions {
    struct refusals *of;
};

BELAY_ASYNC(sessions)
{
    struct refusals *of = self->of;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_session_open(task, of->client,
        BELAY_LLM_SESSION_OPTS(.model = "m", .busy_fails = of->busy_fails),
        &of->session)) {
        of->kept = belay_llm_session_ref(of->session);
        BELAY_WITH (belay_llm_turn_open(task, NULL, &of->turn)) {
            BELAY_TRY(BELAY_CALL(monologue, .session = NULL, .text = "x"));
            cr_expect(eq(int, belay_result(task)->code, BELAY_EDEADLK));
            BELAY_AWAIT(BELAY_CALL(refused, .of = of));
        }
    }
    BELAY_TRY(BELAY_CALL(monologue, .session = of->kept, .text = "z"));
    cr_expect(eq(int, belay_result(task)->code, BELAY_ECLOSED));
    BELAY_END;
}

BELAY_ASYNC(refusals)
{
    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(monologue, .session = NULL, .text = "x"));
    cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_defer(task, drop_kept, self)) {
            BELAY_AWAIT(BELAY_CALL(sessions, .of = self));
        }
    }
    BELAY_END;
}

Test(turn, l66_when_there_can_be_no_turn)
{
    cr_expect(zero(int, RUN(refusals, .client = NULL)));
    cr_expect(zero(int, RUN(refusals, .busy_fails = true)));
}

struct leaving {
    belay_llm_client *client;
    belay_llm_session *session;
    belay_group *group;
    belay_task *tasks[2];
};

static void
drop_leaving(void *arg)
{
    struct leaving *self = arg;

    for (int i = 0; i < 2; i++) {
        belay_task_unref(self->tasks[i]);
    }
}

/* The tasks are in a group outside of the session, and so outlive it. */
struct left {
    struct leaving *of;
};

BELAY_ASYNC(left)
{
    struct leaving *of = self->of;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &of->group)) {
        BELAY_WITH (open_session(task, of->client, "m", &of->session)) {
            for (int i = 0; i < 2; i++) {
                BELAY_CHECK(belay_group_spawn(of->group, &monologue,
                    &(const struct monologue){
                        .session = of->session, .text = "x", .naps = 3},
                    BELAY_SPAWN_OPTS(.task = &of->tasks[i])));
            }
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        }
    }
    /* The one had a turn, the other one waited for it. */
    for (int i = 0; i < 2; i++) {
        cr_expect(
            eq(int, belay_task_result(of->tasks[i])->code, BELAY_ECLOSED));
    }
    expect_trace("x begins; x ends");
    BELAY_END;
}

BELAY_ASYNC(leaving)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_defer(task, drop_leaving, self)) {
            BELAY_AWAIT(BELAY_CALL(left, .of = self));
        }
    }
    BELAY_END;
}

Test(turn, l72_turns_of_a_session_that_is_left_are_undone)
{
    cr_expect(zero(int, RUN(leaving, .client = NULL)));
}
