/* test_llm_gone.c - what an operation was given is gone at its first step.
 */
#include <belay/belay.h>
#include <belay/budget.h>
#include <belay/session_file.h>
#include <belay/turn.h>

#include "test/support/gone_scene.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NOWHERE "/dev/null/session"

TestSuite(llm_gone, .fini = check_clean, .timeout = 120);

static struct {
    /* what the owner has … */
    belay_llm_client *client;
    belay_budget *budget;
    belay_llm_session *session;
    belay_llm_turn *turn;
    /* … and what comes of it */
    belay_llm_stream *stream;
    belay_llm_reply *reply;
    belay_llm_turn *own_turn;
    struct belay_reservation reservation;
} scene;

/* ---- operations ---- */

static belay_next
stream_open(belay_task *task)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};

    return belay_llm_stream_open(task, scene.client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1),
        NULL, &scene.stream);
}

static belay_next
complete(belay_task *task)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};

    return belay_llm_complete(task, scene.client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1),
        &scene.reply);
}

static belay_next
session_open(belay_task *task)
{
    return belay_llm_session_open(task, scene.client,
        BELAY_LLM_SESSION_OPTS(.model = "m", .limit = {.requests = 1}), NULL);
}

static belay_next
fork_open(belay_task *task)
{
    return belay_llm_session_fork(task, scene.session,
        BELAY_LLM_SESSION_OPTS(.limit = {.requests = 1}), NULL);
}

static belay_next
turn_open(belay_task *task)
{
    return belay_llm_turn_open(task, scene.session, &scene.own_turn);
}

static belay_next
ask(belay_task *task)
{
    return belay_llm_turn_ask(task, scene.turn, &scene.reply);
}

static belay_next
listen(belay_task *task)
{
    return belay_llm_turn_stream(task, scene.turn, NULL, &scene.stream);
}

static belay_next
chat(belay_task *task)
{
    return belay_llm_chat(task, scene.session, "hi", &scene.reply);
}

static belay_next
save(belay_task *task)
{
    return belay_llm_session_save(task, scene.session, NOWHERE);
}

static belay_next
load(belay_task *task)
{
    return belay_llm_session_load(
        task, scene.session, NOWHERE, BELAY_LLM_REPAIR_RESULTS, NULL);
}

static belay_next
budget_open(belay_task *task)
{
    return belay_budget_open(
        task, BELAY_BUDGET_OPTS(.parent = scene.budget), NULL);
}

static belay_next
reserve(belay_task *task)
{
    return belay_budget_reserve(task, scene.budget,
        &(const struct belay_amount){.requests = 1}, &scene.reservation);
}

static const struct gone_operation operations[] = {
    {"complete", complete, BELAY_ECONNECT, false},
    {"stream open", stream_open, 0, true},
    {"session open", session_open, 0, true},
    {"fork", fork_open, 0, true},
    {"turn open", turn_open, 0, true},
    {"ask", ask, BELAY_ECONNECT, false},
    {"turn stream", listen, 0, true},
    {"chat", chat, 0, false},
    {"save", save, -ENOTDIR, false},
    {"load", load, -ENOTDIR, false},
    {"budget open", budget_open, 0, true},
    {"budget reserve", reserve, 0, false},
};

/* ---- the play ---- */

static int
say(belay_llm_turn *turn)
{
    const struct belay_llm_message message = belay_llm_message("user", "hi");

    return belay_llm_turn_add(turn, &message);
}

static const struct belay_llm_client_opts *
client_opts(void)
{
    static struct belay_llm_client_opts opts;

    opts = *BELAY_LLM_CLIENT_OPTS(.base_url = "http://127.0.0.1:1/v1",
        .max_retries = BELAY_LLM_NO_RETRIES, .budget = scene.budget);
    return &opts;
}

struct own_turn {
    int unused;
};

BELAY_ASYNC(own_turn)
{
    (void)self;
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &scene.turn)) {
        BELAY_CHECK(say(scene.turn));
        GONE_AWAIT_CALL
        belay_llm_turn_drop(scene.turn);
    }
    BELAY_END;
}

struct own {
    int unused;
};

BELAY_ASYNC(own)
{
    (void)self;
    BELAY_BEGIN;
    memset(&scene, 0, sizeof(scene));
    BELAY_WITH (belay_budget_open(
        task, BELAY_BUDGET_OPTS(.name = "b"), &scene.budget)) {
        BELAY_WITH (belay_llm_client_open(task, client_opts(), &scene.client)) {
            BELAY_WITH (belay_llm_session_open(task, scene.client,
                BELAY_LLM_SESSION_OPTS(.model = "m"), &scene.session)) {
                BELAY_AWAIT(BELAY_CALL(own_turn, .unused = 0));
            }
        }
    }
    BELAY_END;
}

static void
give_back(bool block)
{
    (void)block;
    belay_budget_settle(&scene.reservation, NULL);
    belay_llm_reply_free(scene.reply);
}

Test(llm_gone, l43_between_any_two_steps_of_an_operation)
{
    expect_gone(&(const struct gone_scene){.owner = &own,
        .steps = 127,
        .closed = BELAY_ECLOSED,
        .give_back = give_back,
        .operations = operations,
        .count = COUNT(operations)});
}

/* ---- tokens that are never followed ---- */

struct drop_tokens {
    belay_stack *stack;
};

BELAY_ASYNC(drop_tokens)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task, client_opts(), &scene.client)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_close(task, self->stack, NULL));
            BELAY_TRY(
                belay_stack_enter(task, self->stack, stream_open(task), NULL));
            cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
            BELAY_TRY(
                belay_stack_enter(task, self->stack, session_open(task), NULL));
            cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
        }
    }
    BELAY_END;
}

Test(llm_gone, l43_a_token_that_is_dropped_holds_nobody_up)
{
    cr_expect(zero(int, RUN(drop_tokens, .stack = NULL)));
}
