/* test_llm_keys.c - keys that a client asks for: S1, S11, and the second try
 * of L30.
 *
 * Time is a virtual clock's; a call takes only what it waits.
 */
#include <belay/llm.h>
#include <belay/llm_stream.h>
#include <belay/simulator.h>

#include "test/support/alloc.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"
#include "test/support/trial_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SEED 4711
#define CALLS_MAX 40
#define KEYS_MAX 8

TestSuite(llm_keys, .fini = check_clean, .timeout = 60);

#define PATH "/v1/chat/completions"
#define ANSWER(status_, extra_, body_)                                        \
    FAULT_TEXT(                                                               \
        "HTTP/1.1 " status_ "\r\n" extra_ "Connection: close\r\n\r\n" body_), \
        FAULT_DO_CLOSE
#define HI                                                                     \
    "{\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop" \
    "\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}"
#define OK ANSWER("200 OK", "", HI)
#define REFUSED ANSWER("401 No", "", "{\"error\":{\"message\":\"no\"}}")
#define STREAM                                                             \
    ANSWER("200 OK", "Content-Type: text/event-stream\r\n",                \
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}," \
        "\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")

/* ---- a source ---- */

/* Gives keys in their order: the next one after so many asks, or when the one
 * that it gives is refused.
 */
struct source {
    const char *keys[KEYS_MAX];
    size_t each; /* asks for one key; 0: until it is refused */
    size_t at;
    size_t asked;
    size_t refused;
};

static const char *
give_key(const char *refused, void *arg)
{
    struct source *source = arg;
    const char *key;

    if (refused != NULL) {
        source->refused++;
        if (source->keys[source->at] != NULL
            && strcmp(refused, source->keys[source->at]) == 0
            && source->keys[source->at + 1] != NULL) {
            source->at++;
        }
        return source->keys[source->at];
    }
    key = source->keys[source->at];
    source->asked++;
    if (source->each > 0 && source->asked % source->each == 0) {
        source->at++;
    }
    return key;
}

/* ---- calls ---- */

#define MESSAGE_BYTES 2048
#define ATTEMPTS_MAX 8

struct outcome {
    int codes[CALLS_MAX]; /* of each call */
    char message[MESSAGE_BYTES];
    struct belay_llm_attempt attempts[ATTEMPTS_MAX];
    size_t attempt_count;
    int64_t took_ns;
};

struct spec {
    struct belay_llm_client_opts opts;
    size_t count;
    bool at_once;
    bool streamed;
};

struct calls {
    const struct spec *spec;
    const char *base_url; /* NULL: that of a simulator which wants "new" */
    struct outcome *outcome;
    /* locals */
    struct belay_llm_client_opts opts;
    belay_simulator *simulator;
    belay_llm_client *client;
    belay_group *group;
    belay_time started;
    size_t i;
};

struct call {
    const struct calls *calls;
    size_t number;
    belay_llm_reply *reply;
};

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct outcome *outcome = arg;

    if (outcome->attempt_count < ATTEMPTS_MAX) {
        outcome->attempts[outcome->attempt_count] = *attempt;
    }
    outcome->attempt_count++;
}

static belay_next
begin_call(belay_task *task, struct call *self)
{
    static const struct belay_llm_message messages[1] = {
        {.role = "user", .content = {"hi", 2}}};
    const struct calls *calls = self->calls;
    const struct belay_llm_chat *chat =
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1,
            .on_attempt = on_attempt, .arg = calls->outcome);

    return calls->spec->streamed
               ? belay_llm_complete_stream(
                   task, calls->client, chat, NULL, NULL, NULL, &self->reply)
               : belay_llm_complete(task, calls->client, chat, &self->reply);
}

BELAY_ASYNC(call)
{
    struct outcome *outcome = self->calls->outcome;

    BELAY_BEGIN;
    BELAY_TRY(begin_call(task, self));
    outcome->codes[self->number] = belay_result(task)->code;
    (void)belay_result_format(
        belay_result(task), outcome->message, MESSAGE_BYTES);
    if (belay_result(task)->cancelled) {
        return belay_pass(task);
    }
    if (belay_result(task)->code == 0) {
        belay_llm_reply_free(self->reply);
    }
    BELAY_END;
}

struct in_client {
    struct calls *calls;
};

BELAY_ASYNC(in_client)
{
    struct calls *calls = self->calls;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task, &calls->opts, &calls->client)) {
        BELAY_WITH (belay_group_open(task, NULL, &calls->group)) {
            for (calls->i = 0; calls->i < calls->spec->count; calls->i++) {
                if (calls->spec->at_once) {
                    BELAY_CHECK(belay_spawn(calls->group, call, .calls = calls,
                        .number = calls->i));
                } else {
                    BELAY_AWAIT(
                        BELAY_CALL(call, .calls = calls, .number = calls->i));
                }
            }
        }
    }
    BELAY_END;
}

BELAY_ASYNC(calls)
{
    BELAY_BEGIN;
    self->opts = self->spec->opts;
    self->opts.size = sizeof(self->opts);
    self->opts.seed = SEED;
    self->opts.base_url = self->base_url;
    self->started = belay_now(task);
    if (self->base_url != NULL) {
        BELAY_AWAIT(BELAY_CALL(in_client, .calls = self));
    } else {
        BELAY_WITH (belay_simulator_open(
            task, BELAY_SIMULATOR_OPTS(.api_key = "new"), &self->simulator)) {
            self->opts.base_url = belay_simulator_url(self->simulator);
            BELAY_AWAIT(BELAY_CALL(in_client, .calls = self));
        }
    }
    self->outcome->took_ns = belay_now(task).ns - self->started.ns;
    BELAY_END;
}

static struct outcome
run(const char *base_url, const struct spec *spec)
{
    belay_clock *clock = belay_clock_new(true);
    struct outcome outcome = {.attempt_count = 0};
    char url[128];
    struct calls arguments = {
        .spec = spec, .base_url = url, .outcome = &outcome};
    struct belay_result result = {0};
    int code;

    if (base_url != NULL) {
        (void)snprintf(url, sizeof(url), "%s", base_url);
    }
    arguments.base_url = base_url != NULL ? url : NULL;
    sweep_with_server(
        &(const struct program){.function = &calls, .arguments = &arguments},
        base_url != NULL ? url : NULL, sizeof(url), NULL);
    code = belay_run(&calls, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
        &result);
    if (code < 0) {
        outcome.codes[0] = code;
        (void)belay_result_format(&result, outcome.message, MESSAGE_BYTES);
        belay_error_unref(result.error);
    }
    belay_clock_free(clock);
    return outcome;
}

static struct outcome
run_on(struct fault_server *server, const struct spec *spec)
{
    char base_url[128];

    (void)snprintf(
        base_url, sizeof(base_url), "%s/v1", fault_server_url(server));
    return run(base_url, spec);
}

static struct outcome
run_routes(
    const struct fault_route *routes, size_t count, const struct spec *spec)
{
    struct fault_server *server = fault_server_start(routes, count);
    const struct outcome outcome = run_on(server, spec);

    fault_server_stop(server);
    return outcome;
}

#define CALL(routes, ...)               \
    run_routes((routes), COUNT(routes), \
        &(const struct spec){.count = 1, __VA_ARGS__})
#define FROM(source)                                 \
    {                                                \
        .key_source = give_key, .key_arg = &(source) \
    }

/* The request's key, and its connection from 1. */
static size_t
key_of(struct fault_server *server, size_t index, char key[static 32])
{
    struct fault_request request;
    const char *at;

    cr_assert(fault_server_request(server, index, &request));
    at = strstr(request.bytes, "Authorization: Bearer ");
    cr_assert(at != NULL);
    (void)sscanf(at, "Authorization: Bearer %31s", key);
    free(request.bytes);
    return request.connection;
}

static void
expect_key(struct fault_server *server, size_t index, const char *wanted)
{
    char key[32] = "";

    (void)key_of(server, index, key);
    cr_expect(zero(strcmp(key, wanted)), "request %zu: %s", index, key);
}

/* ---- S1: asking ---- */

Test(llm_keys, s1_a_source_is_asked_for_each_attempt)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ANSWER("503 Busy", "", "{}")), FAULT_ON(PATH, OK)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct source source = {.keys = {"a", "b", "c"}, .each = 1};
    const struct outcome outcome =
        run_on(server, &(const struct spec){.opts = FROM(source), .count = 2});

    cr_expect(zero(int, outcome.codes[0]), "%s", outcome.message);
    cr_expect(zero(int, outcome.codes[1]), "%s", outcome.message);
    cr_expect(eq(sz, source.asked, 3));
    cr_expect(zero(sz, source.refused));
    expect_key(server, 0, "a");
    expect_key(server, 1, "b");
    expect_key(server, 2, "c");
    fault_server_stop(server);
}

Test(llm_keys, s11_each_key_has_connections_of_its_own)
{
    static const struct fault_route routes[] = {FAULT_ON(
        PATH, FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 115\r\n\r\n" HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct source source = {.keys = {"a", "b", "a", "a"}, .each = 2};
    const struct outcome outcome =
        run_on(server, &(const struct spec){.opts = FROM(source), .count = 6});
    size_t connections[6];
    char key[32];

    cr_assert(eq(sz, sizeof(HI) - 1, 115));
    cr_assert(zero(int, outcome.codes[5]), "%s", outcome.message);
    for (size_t i = 0; i < 6; i++) {
        connections[i] = key_of(server, i, key);
        cr_expect(eq(str, key, (char *)(i / 2 == 1 ? "b" : "a")));
    }
    cr_expect(eq(sz, connections[0], 1));
    cr_expect(eq(sz, connections[1], 1), "kept");
    cr_expect(eq(sz, connections[2], 2));
    cr_expect(eq(sz, connections[3], 2), "kept");
    cr_expect(eq(sz, connections[4], 3), "those of the first are gone");
    fault_server_stop(server);
}

/* The first call is being answered while the others bring another key. */
Test(llm_keys, s1_a_call_that_runs_keeps_its_connection)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, FAULT_DO_SLEEP(200), OK), FAULT_ON(PATH, OK)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct source source = {.keys = {"a", "b", "c"}, .each = 1};
    const struct outcome outcome =
        run_on(server, &(const struct spec){
                           .opts = FROM(source), .count = 3, .at_once = true});

    for (size_t i = 0; i < 3; i++) {
        cr_expect(zero(int, outcome.codes[i]), "%s", outcome.message);
    }
    cr_expect(eq(sz, fault_server_accepted(server), 3));
    fault_server_stop(server);
}

Test(llm_keys, s1_without_a_key_nothing_is_sent)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, OK)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));

    for (int streamed = 0; streamed < 2; streamed++) {
        struct source none = {.keys = {NULL}};
        const struct outcome outcome = run_on(server,
            &(const struct spec){
                .opts = FROM(none), .count = 1, .streamed = streamed != 0});

        cr_expect(eq(int, outcome.codes[0], BELAY_EAUTH));
        cr_expect(ne(ptr, strstr(outcome.message, "there is no key"), NULL),
            "%s", outcome.message);
        cr_expect(zero(sz, outcome.attempt_count));
    }
    cr_expect(zero(sz, fault_server_accepted(server)));
    fault_server_stop(server);
}

Test(llm_keys, s8_nor_with_one_that_holds_a_line_break)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, OK)};
    struct source source = {.keys = {"a\r\nX: y"}};
    const struct outcome outcome = CALL(routes, .opts = FROM(source));

    cr_expect(eq(int, outcome.codes[0], BELAY_EINVAL));
    cr_expect(eq(ptr, strstr(outcome.message, "X: y"), NULL));
}

Test(llm_keys, s1_a_key_and_a_source_do_not_go_together)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, OK)};
    struct source source = {.keys = {"a"}};
    const struct outcome outcome = CALL(routes,
        .opts = {.api_key = "k", .key_source = give_key, .key_arg = &source});

    cr_expect(eq(int, outcome.codes[0], BELAY_EINVAL));
    cr_expect(zero(sz, source.asked));
}

/* ---- L30: 401 ---- */

Test(llm_keys, l30_after_401_another_key_is_tried_at_once)
{
    static const struct fault_route plain[] = {
        FAULT_ON(PATH, REFUSED), FAULT_ON(PATH, OK)};
    static const struct fault_route stream[] = {
        FAULT_ON(PATH, REFUSED), FAULT_ON(PATH, STREAM)};

    for (int streamed = 0; streamed < 2; streamed++) {
        struct fault_server *server =
            fault_server_start(streamed != 0 ? stream : plain, 2);
        struct source source = {.keys = {"old", "new"}};
        const struct outcome outcome = run_on(server,
            &(const struct spec){
                .opts = FROM(source), .count = 1, .streamed = streamed != 0});

        cr_assert(zero(int, outcome.codes[0]), "%s", outcome.message);
        cr_expect(zero(i64, outcome.took_ns));
        cr_assert(eq(sz, outcome.attempt_count, 2));
        cr_expect(eq(int, outcome.attempts[0].status, 401));
        cr_expect(outcome.attempts[0].retryable);
        cr_expect(outcome.attempts[0].will_retry);
        cr_expect(eq(int, outcome.attempts[1].status, 200));
        expect_key(server, 0, "old");
        expect_key(server, 1, "new");
        fault_server_stop(server);
    }
}

Test(llm_keys, l32_which_makes_no_later_wait_longer)
{
    static const struct fault_route refused[] = {FAULT_ON(PATH, REFUSED),
        FAULT_ON(PATH, ANSWER("503 Busy", "", "{}")), FAULT_ON(PATH, OK)};
    struct source source = {.keys = {"old", "new"}};
    struct source same = {.keys = {"new"}};
    const struct outcome behind = CALL(refused, .opts = FROM(source));
    const struct outcome alone = run_routes(refused + 1, COUNT(refused) - 1,
        &(const struct spec){.opts = FROM(same), .count = 1});

    cr_assert(zero(int, behind.codes[0]), "%s", behind.message);
    cr_assert(zero(int, alone.codes[0]), "%s", alone.message);
    cr_assert(eq(sz, behind.attempt_count, 3));
    cr_expect(gt(i64, alone.attempts[0].delay.ns, 0));
    cr_expect(eq(i64, behind.attempts[1].delay.ns, alone.attempts[0].delay.ns));
}

Test(llm_keys, l30_but_only_once)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, REFUSED)};
    struct source source = {.keys = {"a", "b", "c", "d"}};
    const struct outcome outcome = CALL(routes, .opts = FROM(source));

    cr_expect(eq(int, outcome.codes[0], BELAY_EAUTH));
    cr_expect(eq(sz, outcome.attempt_count, 2));
    cr_expect(eq(sz, source.refused, 1));
}

Test(llm_keys, l30_not_with_the_same_key_or_none)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, REFUSED)};
    struct source source = {.keys = {"a"}};
    const struct outcome outcome = CALL(routes, .opts = FROM(source));

    cr_expect(eq(int, outcome.codes[0], BELAY_EAUTH));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(eq(sz, source.refused, 1));
}

Test(llm_keys, l29_l30_not_without_retries_or_against_the_server_s_word)
{
    static const struct fault_route refused[] = {FAULT_ON(PATH, REFUSED)};
    static const struct fault_route never[] = {
        FAULT_ON(PATH, ANSWER("401 No", "x-should-retry: false\r\n", "{}"))};
    struct source first = {.keys = {"a", "b"}};
    struct source second = {.keys = {"a", "b"}};

    cr_expect(eq(sz,
        CALL(refused, .opts = {.key_source = give_key,
                          .key_arg = &first,
                          .max_retries = BELAY_LLM_NO_RETRIES})
            .attempt_count,
        1));
    cr_expect(eq(sz, CALL(never, .opts = FROM(second)).attempt_count, 1));
    cr_expect(zero(sz, second.refused));
}

/* More of them than L35 would let try again. */
Test(llm_keys, l30_l35_calls_that_are_refused_together_share_the_new_key)
{
    struct source source = {.keys = {"old", "new", "too many"}};
    struct outcome outcome;

    /* The simulator waits for requests, so that time stands still; and behind
     * an answer that has failed a call waits before it tries again. */
    program_unswept = true;
    outcome = run(
        NULL, &(const struct spec){
                  .opts = FROM(source), .count = CALLS_MAX, .at_once = true});

    for (size_t i = 0; i < CALLS_MAX; i++) {
        cr_expect(zero(int, outcome.codes[i]), "%s", outcome.message);
    }
    cr_expect(eq(sz, source.at, 1));
    cr_expect(eq(sz, outcome.attempt_count,
        2 * source.refused + (CALLS_MAX - source.refused)));
    cr_expect(gt(sz, source.refused, 10));
}

Test(llm_keys, s2_no_message_shows_a_key_of_a_source)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, REFUSED),
        FAULT_ON(PATH, ANSWER("401 No", "",
                           "{\"error\":{\"message\":\"canary-2 is bad\"}}"))};
    struct source source = {.keys = {"canary-1", "canary-2"}};
    const struct outcome outcome = CALL(routes, .opts = FROM(source));

    cr_expect(eq(int, outcome.codes[0], BELAY_EAUTH));
    cr_expect(ne(ptr, strstr(outcome.message, "is bad"), NULL), "%s",
        outcome.message);
    cr_expect(eq(ptr, strstr(outcome.message, "canary"), NULL), "%s",
        outcome.message);
}

/* ---- cancelling, memory ---- */

Test(llm_keys, l42_sweep_of_calls_with_a_source)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, REFUSED)};
    char url[128];
    const int pid = fault_server_start_apart(routes, 1, url, sizeof(url));
    struct source source = {.keys = {"a", "b"}, .each = 1};
    struct outcome outcome;
    const struct spec spec = {.opts = FROM(source), .count = 1};
    const struct calls arguments = {
        .spec = &spec, .base_url = url, .outcome = &outcome};
    const struct program program = {
        .function = &calls, .arguments = &arguments};

    memset(&outcome, 0, sizeof(outcome));
    sweep(&program);
    fault_server_stop_apart(pid);
}
