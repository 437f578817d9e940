/* test_llm_leave.c - a client that is left between any two steps of a call.
 *
 * The loop runs one step of a task a turn, so that whoever leaves the client
 * may come between any two of them. Calls belong to an outer block.
 */
#include <belay/budget.h>
#include <belay/llm_stream.h>
#include <belay/price.h>

#include "llm/client.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TURNS 32 /* the request has been handed over by then */
#define ROOM 100 /* requests that the budget has room for */

TestSuite(llm_leave, .fini = check_clean, .timeout = 120);

static const struct fault_route silent[] = {FAULT_ON(NULL, FAULT_DO_HANG)};

struct scene {
    const char *base_url;
    size_t turns; /* after which the client is left */
    bool stream;
    bool counted; /* there is a budget, so calls must be admitted */
    bool full;    /* … and it has no room, so they wait for some */
    /* locals, and what came of it */
    belay_group *group;
    belay_llm_client *client;
    belay_budget *budget;
    struct belay_reservation held;
    belay_llm_reply *reply;
    struct belay_budget_stats stats;
    struct belay_ledger ledger;
    size_t attempts;
    int code;
    size_t i;
};

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct scene *scene = arg;

    scene->attempts++;
    cr_expect(eq(int, attempt->code, BELAY_ECLOSED));
}

static const struct belay_llm_chat *
chat_of(struct scene *scene)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};
    static struct belay_llm_chat chat;

    chat = *BELAY_LLM_CHAT(.model = "m", .messages = messages,
        .message_count = 1, .max_tokens = 9, .on_attempt = on_attempt,
        .arg = scene, .ledger = scene->counted ? &scene->ledger : NULL);
    return &chat;
}

struct plain {
    struct scene *scene;
};

BELAY_ASYNC(plain)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_TRY(
        belay_llm_complete(task, scene->client, chat_of(scene), &scene->reply));
    scene->code = belay_result(task)->code;
    BELAY_END;
}

struct streamed {
    struct scene *scene;
};

BELAY_ASYNC(streamed)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_TRY(belay_llm_complete_stream(
        task, scene->client, chat_of(scene), NULL, NULL, NULL, &scene->reply));
    scene->code = belay_result(task)->code;
    BELAY_END;
}

struct leaving {
    struct scene *scene;
};

BELAY_ASYNC(leaving)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
        BELAY_WITH (belay_llm_client_open(task,
            BELAY_LLM_CLIENT_OPTS(.base_url = scene->base_url),
            &scene->client)) {
            if (scene->stream) {
                BELAY_CHECK(
                    belay_spawn(scene->group, streamed, .scene = scene));
            } else {
                BELAY_CHECK(belay_spawn(scene->group, plain, .scene = scene));
            }
            for (; scene->i < scene->turns; scene->i++) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
        }
    }
    BELAY_END;
}

/* What is held is given back behind the client, who must not wait for it. */
struct counting {
    struct scene *scene;
};

BELAY_ASYNC(counting)
{
    static const struct belay_amount all_of_it = {.requests = ROOM};
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task,
        BELAY_BUDGET_OPTS(.limit = {{0}, 0, ROOM}, .policy = BELAY_BUDGET_WAIT),
        &scene->budget)) {
        if (scene->full) {
            BELAY_CHECK(
                belay_budget_try(scene->budget, &all_of_it, &scene->held));
        }
        BELAY_AWAIT(BELAY_CALL(leaving, .scene = scene));
        belay_budget_settle(&scene->held, NULL);
        belay_budget_get_stats(scene->budget, &scene->stats);
    }
    BELAY_END;
}

static void
run_leaving(struct scene *scene)
{
    const belay_function *function = scene->counted ? &counting : &leaving;
    belay_clock *clock = belay_clock_new(false); /* no tick, no further poll */

    cr_expect(zero(int, belay_run(function, &(const struct counting){scene},
                            BELAY_RUNTIME_OPTS(.step_budget = 1,
                                .allocator = &test_allocator, .clock = clock),
                            NULL)));
    belay_clock_free(clock);
    cr_expect(eq(int, scene->code, BELAY_ECLOSED), "turn %zu", scene->turns);
    cr_expect(zero(i64, scene->stats.held.requests), "turn %zu", scene->turns);
    cr_expect(zero(i64, scene->stats.spent.requests), "turn %zu", scene->turns);
    cr_expect(zero(i64, scene->stats.uncertain.requests));
}

/* The client is left in each turn, from the one in which the call is made up
 * to one in which the request is on its way.
 */
static void
leave_at_every_turn(struct scene plan)
{
    struct fault_server *server = fault_server_start(silent, COUNT(silent));
    struct scene scene;

    plan.base_url = fault_server_url(server);
    scene = plan;
    scene.turns = TURNS;
    run_leaving(&scene);
    cr_expect(eq(sz, scene.attempts, !plan.full), "was it on its way?");
    for (size_t turns = 0; turns < TURNS; turns++) {
        scene = plan;
        scene.turns = turns;
        run_leaving(&scene);
        cr_expect(le(sz, scene.attempts, 1));
    }
    fault_server_stop(server);
}

Test(llm_leave, l43_between_any_two_steps_of_a_call)
{
    leave_at_every_turn((struct scene){.stream = false});
}

Test(llm_leave, l43_l59_of_a_call_that_is_admitted)
{
    leave_at_every_turn((struct scene){.counted = true});
}

Test(llm_leave, l43_of_a_stream)
{
    leave_at_every_turn((struct scene){.stream = true});
}

Test(llm_leave, l43_l59_of_a_stream_that_is_admitted)
{
    leave_at_every_turn((struct scene){.stream = true, .counted = true});
}

Test(llm_leave, l43_l58_of_a_call_that_waits_for_its_budget)
{
    leave_at_every_turn((struct scene){.counted = true, .full = true});
}

Test(llm_leave, l43_l58_of_a_stream_that_waits_for_its_budget)
{
    leave_at_every_turn(
        (struct scene){.stream = true, .counted = true, .full = true});
}
