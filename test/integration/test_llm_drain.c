/* test_llm_drain.c - streams that are cancelled and read on, for the counts
 * that come last: L42, L44.
 *
 * The server sends one event and then waits for its gate, which a task beside
 * the readers opens when it has cancelled them: so they are in the middle of
 * their answer for sure.
 */
#include <belay/llm.h>
#include <belay/llm_stream.h>

#include "test/support/alloc.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READERS_MAX 3
#define TURNS_MAX 10000000
#define NONE belay_nanoseconds(0)
#define SHORT belay_milliseconds(50)
#define LONG belay_seconds(50)

TestSuite(llm_drain, .fini = check_clean, .timeout = 60);

#define HEAD                                                 \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" \
    "Connection: close\r\n\r\n"
#define DELTA(text)                                                   \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text \
    "\"}}]}\n\n"
#define END                                                                    \
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"" \
    "}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,"             \
    "\"completion_tokens\":4}}\n\n"

#define DONE "data: [DONE]\n\n"

static const struct fault_route gated[] = {
    FAULT_ON("/v1/chat/completions", FAULT_TEXT(HEAD DELTA("h")),
        FAULT_DO_GATE(1), FAULT_TEXT(DELTA("i") END DONE), FAULT_DO_CLOSE)};
static const struct fault_route breaking[] = {FAULT_ON("/v1/chat/completions",
    FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
               "Content-Length: 9999\r\n\r\n" DELTA("h")),
    FAULT_DO_GATE(1), FAULT_TEXT(DELTA("i") END), FAULT_DO_CLOSE)};
static const struct fault_route hanging[] = {FAULT_ON(
    "/v1/chat/completions", FAULT_TEXT(HEAD DELTA("h")), FAULT_DO_HANG)};

struct outcome {
    enum belay_llm_usage_state states[READERS_MAX];
    int64_t out[READERS_MAX];
    int codes[READERS_MAX];
    int second[READERS_MAX]; /* of a next behind the cancelled one */
    int again[READERS_MAX];  /* and of one that a shield lets through */
    bool stayed[READERS_MAX];
};

struct scene {
    struct fault_server *server;
    const char *base_url;
    size_t count;
    belay_duration drain;
    uint32_t max_drains;
    bool stays; /* in the block until so few connections are open: */
    size_t remain;
    struct outcome *outcome;
    /* locals */
    belay_llm_client *client;
    belay_cancel_scope *scope;
    belay_group *group;
    size_t started; /* have their first event */
    size_t i;
};

struct reader {
    struct scene *scene;
    size_t number;
    belay_llm_stream *stream;
    struct belay_llm_event event;
    belay_llm_reply *reply;
};

static void
on_done(struct reader *self)
{
    const struct belay_llm_usage *usage = belay_llm_reply_usage(self->reply);

    self->scene->outcome->states[self->number] = usage->state;
    self->scene->outcome->out[self->number] = usage->out_total;
    belay_llm_reply_free(self->reply);
}

struct reading {
    struct reader *reader;
    int round;
};

#define ROUNDS_MIN 200 /* of 100 us: to read what there is */
#define ROUNDS_MAX 30000

static bool
stays_on(const struct reader *reader, int round)
{
    const struct scene *scene = reader->scene;

    cr_assert(lt(int, round, ROUNDS_MAX));
    return scene->stays
           && (round < ROUNDS_MIN
               || fault_server_open(scene->server) > scene->remain);
}

BELAY_ASYNC(reading)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};
    struct reader *reader = self->reader;
    struct outcome *outcome = reader->scene->outcome;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_stream_open(task, reader->scene->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1),
        BELAY_LLM_STREAM_OPTS(.drain = reader->scene->drain,
            .keep = &reader->reply),
        &reader->stream)) {
        BELAY_AWAIT(
            belay_llm_stream_next(task, reader->stream, &reader->event));
        reader->scene->started++;
        BELAY_TRY(belay_llm_stream_next(task, reader->stream, &reader->event));
        outcome->codes[reader->number] = belay_result(task)->code;
        if (!reader->scene->stays) {
            BELAY_TRY(
                belay_llm_stream_next(task, reader->stream, &reader->event));
            outcome->second[reader->number] = belay_result(task)->code;
        }
        BELAY_WITH (belay_shield(task, belay_seconds(5))) {
            BELAY_TRY(
                belay_llm_stream_next(task, reader->stream, &reader->event));
            outcome->again[reader->number] = belay_result(task)->code;
            for (self->round = 0; stays_on(reader, self->round);
                 self->round++) {
                (void)usleep(100);
                BELAY_AWAIT(belay_checkpoint(task));
            }
            outcome->stayed[reader->number] = true;
        }
    }
    BELAY_END;
}

BELAY_ASYNC(reader)
{
    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(reading, .reader = self));
    if (self->reply != NULL) {
        on_done(self);
    }
    return belay_pass(task);
    BELAY_END;
}

/* Cancels them once all wait for their second event; then the server goes on. */
struct canceller {
    struct scene *scene;
    int turns;
};

BELAY_ASYNC(canceller)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    while (scene->started < scene->count && self->turns++ < TURNS_MAX) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    cr_assert(eq(sz, scene->started, scene->count));
    for (self->turns = 0; self->turns < 10; self->turns++) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    belay_cancel_scope_cancel(scene->scope, "enough");
    fault_server_open_gate(scene->server);
    BELAY_END;
}

BELAY_ASYNC(scene)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url,
            .max_drains = self->max_drains),
        &self->client)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                for (self->i = 0; self->i < self->count; self->i++) {
                    BELAY_CHECK(belay_spawn(
                        self->group, reader, .scene = self, .number = self->i));
                }
                BELAY_CHECK(belay_spawn(self->group, canceller, .scene = self));
            }
        }
    }
    BELAY_END;
}

/* On the clock of the wall, for the server has to be waited for. */
static struct outcome
run_scene(const struct fault_route *routes, struct scene scene_of,
    belay_duration grace)
{
    struct fault_server *server = fault_server_start(routes, 1);
    struct outcome outcome = {.out = {0}};
    char url[128];

    (void)snprintf(url, sizeof(url), "%s/v1", fault_server_url(server));
    scene_of.server = server;
    scene_of.base_url = url;
    scene_of.outcome = &outcome;
    cr_expect(zero(int,
        belay_run(&scene, &scene_of,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .grace = grace),
            NULL)));
    for (size_t i = 0; i < scene_of.count; i++) {
        cr_expect(eq(int, outcome.codes[i], BELAY_ECANCELED));
        cr_expect(
            eq(int, outcome.second[i], scene_of.stays ? 0 : BELAY_ECANCELED));
        cr_expect(eq(int, outcome.again[i], BELAY_ESTATE));
        cr_expect(outcome.stayed[i]);
    }
    fault_server_stop(server);
    return outcome;
}

static struct outcome
run(const struct fault_route *routes, size_t count, belay_duration drain,
    belay_duration grace, uint32_t max_drains)
{
    return run_scene(routes,
        (struct scene){
            .count = count, .drain = drain, .max_drains = max_drains},
        grace);
}

Test(llm_drain, l44_a_cancelled_stream_reads_on_for_the_counts)
{
    const struct outcome outcome = run(gated, 1, LONG, LONG, 0);

    cr_expect(eq(int, (int)outcome.states[0], BELAY_LLM_USAGE_EXACT));
    cr_expect(eq(i64, outcome.out[0], 4));
}

Test(llm_drain, l18_l44_also_if_it_breaks_off_behind_them)
{
    const struct outcome outcome = run(breaking, 1, LONG, LONG, 0);

    cr_expect(eq(int, (int)outcome.states[0], BELAY_LLM_USAGE_EXACT));
    cr_expect(eq(i64, outcome.out[0], 4));
}

Test(llm_drain, l42_without_the_option_it_closes_the_connection)
{
    const struct outcome outcome = run(gated, 1, NONE, LONG, 0);

    cr_expect(eq(int, (int)outcome.states[0], BELAY_LLM_USAGE_PARTIAL));
}

Test(llm_drain, l44_no_longer_than_it_was_told)
{
    const struct outcome outcome = run(hanging, 1, SHORT, LONG, 0);

    cr_expect(eq(int, (int)outcome.states[0], BELAY_LLM_USAGE_PARTIAL));
}

/* Nor than the grace of the cancelled task. */
Test(llm_drain, l44_nor_beyond_the_grace)
{
    const struct outcome outcome = run(hanging, 1, LONG, SHORT, 0);

    cr_expect(eq(int, (int)outcome.states[0], BELAY_LLM_USAGE_PARTIAL));
}

Test(llm_drain, l44_no_more_at_once_than_the_client_allows)
{
    const struct outcome outcome = run(gated, 3, LONG, LONG, 2);
    int exact = 0;

    for (int i = 0; i < 3; i++) {
        exact += outcome.states[i] == BELAY_LLM_USAGE_EXACT;
    }
    cr_expect(eq(int, exact, 2));
}

/* ---- a block that is not left at once ---- */

Test(llm_drain, l44_what_came_before_the_exit_counts)
{
    const struct outcome outcome = run_scene(
        gated, (struct scene){.count = 1, .drain = LONG, .stays = true}, LONG);

    cr_expect(eq(int, (int)outcome.states[0], BELAY_LLM_USAGE_EXACT));
    cr_expect(eq(i64, outcome.out[0], 4));
}

Test(llm_drain, l44_the_time_is_from_the_cancel)
{
    const struct outcome outcome = run_scene(hanging,
        (struct scene){.count = 1, .drain = SHORT, .stays = true}, LONG);

    cr_expect(eq(int, (int)outcome.states[0], BELAY_LLM_USAGE_PARTIAL));
}

Test(llm_drain, l44_the_number_is_from_the_cancel)
{
    (void)run_scene(hanging,
        (struct scene){.count = 3,
            .drain = LONG,
            .max_drains = 2,
            .stays = true,
            .remain = 2},
        SHORT);
}
