/* test_llm_gone.c - what an operation was given is gone at its first step.
 *
 * A task's turn may end behind any of its steps, so also behind the one that
 * makes an operation, or behind any of the operation's own. The user burns a
 * part of its turn first, so that it ends behind each of them once; and then
 * the owner leaves turn, session, budget and client in one turn of its own.
 */
#include <belay/belay.h>
#include <belay/budget.h>
#include <belay/session_file.h>
#include <belay/turn.h>

#include "test/support/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define STEPS 127 /* of a turn: the owner leaves in fewer */
#define NOWHERE "/dev/null/session"

TestSuite(llm_gone, .fini = check_clean, .timeout = 120);

struct scene;

struct operation {
    const char *name;
    belay_next (*fn)(belay_task *task, struct scene *scene);
    int other; /* that it may fail with, if it comes in time */
    bool block;
};

struct scene {
    const struct operation *operation;
    int burn;
    /* what the owner has … */
    belay_llm_client *client;
    belay_budget *budget;
    belay_llm_session *session;
    belay_llm_turn *turn;
    bool opened;
    bool called;
    /* … and what comes of it */
    belay_group *group;
    belay_llm_stream *stream;
    belay_llm_reply *reply;
    belay_llm_turn *own_turn;
    struct belay_reservation reservation;
    int code;
};

/* ---- operations ---- */

static belay_next
stream_open(belay_task *task, struct scene *scene)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};

    return belay_llm_stream_open(task, scene->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1),
        NULL, &scene->stream);
}

static belay_next
complete(belay_task *task, struct scene *scene)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};

    return belay_llm_complete(task, scene->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1),
        &scene->reply);
}

static belay_next
session_open(belay_task *task, struct scene *scene)
{
    return belay_llm_session_open(task, scene->client,
        BELAY_LLM_SESSION_OPTS(.model = "m", .limit = {.requests = 1}), NULL);
}

static belay_next
fork_open(belay_task *task, struct scene *scene)
{
    return belay_llm_session_fork(task, scene->session,
        BELAY_LLM_SESSION_OPTS(.limit = {.requests = 1}), NULL);
}

static belay_next
turn_open(belay_task *task, struct scene *scene)
{
    return belay_llm_turn_open(task, scene->session, &scene->own_turn);
}

static belay_next
ask(belay_task *task, struct scene *scene)
{
    return belay_llm_turn_ask(task, scene->turn, &scene->reply);
}

static belay_next
listen(belay_task *task, struct scene *scene)
{
    return belay_llm_turn_stream(task, scene->turn, NULL, &scene->stream);
}

static belay_next
chat(belay_task *task, struct scene *scene)
{
    return belay_llm_chat(task, scene->session, "hi", &scene->reply);
}

static belay_next
save(belay_task *task, struct scene *scene)
{
    return belay_llm_session_save(task, scene->session, NOWHERE);
}

static belay_next
load(belay_task *task, struct scene *scene)
{
    return belay_llm_session_load(
        task, scene->session, NOWHERE, BELAY_LLM_REPAIR_RESULTS, NULL);
}

static belay_next
budget_open(belay_task *task, struct scene *scene)
{
    return belay_budget_open(
        task, BELAY_BUDGET_OPTS(.parent = scene->budget), NULL);
}

static belay_next
reserve(belay_task *task, struct scene *scene)
{
    return belay_budget_reserve(task, scene->budget,
        &(const struct belay_amount){.requests = 1}, &scene->reservation);
}

static const struct operation operations[] = {
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

struct nop {
    int unused;
};

BELAY_ASYNC(nop)
{
    (void)self;
    BELAY_BEGIN;
    BELAY_END;
}

/* Writes over what lay in the frames that have gone. */
struct litter {
    char bytes[2000];
};

BELAY_ASYNC(litter)
{
    BELAY_BEGIN;
    memset(self->bytes, 0x5a, sizeof(self->bytes));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

struct use {
    struct scene *scene;
    int i;
};

BELAY_ASYNC(use)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    while (!scene->opened) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    for (; self->i < scene->burn; self->i++) {
        BELAY_AWAIT(BELAY_CALL(nop, .unused = 0));
    }
    scene->called = true;
    if (!scene->operation->block) {
        BELAY_AWAIT(scene->operation->fn(task, scene));
        BELAY_RETURN(NULL);
    }
    BELAY_WITH (scene->operation->fn(task, scene)) {
    }
    BELAY_END;
}

/* What it ends with. */
struct user {
    struct scene *scene;
};

BELAY_ASYNC(user)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(use, .scene = scene));
    scene->code = belay_result(task)->code;
    belay_budget_settle(&scene->reservation, NULL);
    belay_llm_reply_free(scene->reply);
    BELAY_END;
}

static int
say(belay_llm_turn *turn)
{
    const struct belay_llm_message message = belay_llm_message("user", "hi");

    return belay_llm_turn_add(turn, &message);
}

struct own_turn {
    struct scene *scene;
};

BELAY_ASYNC(own_turn)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &scene->turn)) {
        BELAY_CHECK(say(scene->turn));
        scene->opened = true;
        while (!scene->called) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
        belay_llm_turn_drop(scene->turn);
    }
    BELAY_END;
}

static const struct belay_llm_client_opts *
client_opts(const struct scene *scene)
{
    static struct belay_llm_client_opts opts;

    opts = *BELAY_LLM_CLIENT_OPTS(.base_url = "http://127.0.0.1:1/v1",
        .max_retries = BELAY_LLM_NO_RETRIES, .budget = scene->budget);
    return &opts;
}

struct own {
    struct scene *scene;
};

BELAY_ASYNC(own)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(
        task, BELAY_BUDGET_OPTS(.name = "b"), &scene->budget)) {
        BELAY_WITH (
            belay_llm_client_open(task, client_opts(scene), &scene->client)) {
            BELAY_WITH (belay_llm_session_open(task, scene->client,
                BELAY_LLM_SESSION_OPTS(.model = "m"), &scene->session)) {
                BELAY_AWAIT(BELAY_CALL(own_turn, .scene = scene));
            }
        }
    }
    BELAY_END;
}

struct owner {
    struct scene *scene;
};

BELAY_ASYNC(owner)
{
    BELAY_BEGIN;
    BELAY_AWAIT(BELAY_CALL(own, .scene = self->scene));
    BELAY_AWAIT(BELAY_CALL(litter, .bytes = {0}));
    BELAY_END;
}

struct going {
    struct scene *scene;
};

BELAY_ASYNC(going)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
        BELAY_CHECK(belay_spawn(scene->group, user, .scene = scene));
        BELAY_CHECK(belay_spawn(scene->group, owner, .scene = scene));
    }
    BELAY_END;
}

/* True: it came too late. */
static bool
run_gone(const struct operation *operation, uint32_t step_budget, int burn)
{
    struct scene scene = {.operation = operation, .burn = burn};

    cr_expect(zero(int, belay_run(&going, &(const struct going){&scene},
                            BELAY_RUNTIME_OPTS(.step_budget = step_budget,
                                .allocator = &test_allocator),
                            NULL)));
    cr_expect(scene.code == 0 || scene.code == operation->other
                  || scene.code == BELAY_ECLOSED,
        "%s behind %d steps: %d", operation->name, 2 * burn, scene.code);
    return scene.code == BELAY_ECLOSED;
}

Test(llm_gone, l43_between_any_two_steps_of_an_operation)
{
    for (size_t i = 0; i < COUNT(operations); i++) {
        int late = 0;

        for (int burn = 0; burn < STEPS; burn++) {
            late += run_gone(&operations[i], STEPS, burn);
            late += run_gone(&operations[i], STEPS + 1, burn);
        }
        cr_expect(gt(int, late, 0), "%s", operations[i].name);
    }
}

/* ---- tokens that are never followed ---- */

struct drop_tokens {
    struct scene scene;
    belay_stack *stack;
};

BELAY_ASYNC(drop_tokens)
{
    struct scene *scene = &self->scene;

    BELAY_BEGIN;
    BELAY_WITH (
        belay_llm_client_open(task, client_opts(scene), &scene->client)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_close(task, self->stack, NULL));
            BELAY_TRY(belay_stack_enter(
                task, self->stack, stream_open(task, scene), NULL));
            cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
            BELAY_TRY(belay_stack_enter(
                task, self->stack, session_open(task, scene), NULL));
            cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
        }
    }
    BELAY_END;
}

Test(llm_gone, l43_a_token_that_is_dropped_holds_nobody_up)
{
    cr_expect(zero(int, RUN(drop_tokens, .stack = NULL)));
}
