/* test_llm_client.c - calls against a server that misbehaves.
 *
 * Time is a virtual clock's, and an exchange takes none of it: what a call
 * took is exactly what it has waited between its attempts.
 */
#include <belay/llm.h>

#include "llm/retry.h"
#include "test/support/alloc.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define S INT64_C(1000000000)
#define KEY "canary-7f3a91c2-key"
#define SEED 4711

TestSuite(llm_client, .fini = check_clean, .timeout = 60);

/* ---- routes ---- */

#define HEAD(status_, extra_) "HTTP/1.1 " status_ "\r\n" extra_
#define CLOSED(status_, extra_, body_)                                   \
    FAULT_TEXT(HEAD(status_, extra_ "Connection: close\r\n\r\n" body_)), \
        FAULT_DO_CLOSE
#define ANSWER(body_) CLOSED("200 OK", "X-Request-Id: req-1\r\n", body_)
#define HI_BODY                                                               \
    "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"message\":{\"role\":"         \
    "\"assistant\",\"content\":\"hi \\u00e9\"},\"finish_reason\":\"stop\"}]," \
    "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,"                 \
    "\"total_tokens\":11,\"prompt_tokens_details\":{\"cached_tokens\":4},"    \
    "\"completion_tokens_details\":null}}"
#define BUSY CLOSED("503 Busy", "", "{\"error\":{\"message\":\"busy\"}}")
#define PATH "/v1/chat/completions"

/* ---- one call, and all that can be said about it ---- */

struct spec {
    struct belay_llm_client_opts opts; /* base_url "" means the server's /v1 */
    bool complete;
    const char *body; /* of a raw call */
    const char *extra;
    int32_t max_retries;
    belay_duration timeout; /* of the scope around the call; 0: none */
    size_t calls;           /* of them, one after the other; 0: one */
};

struct outcome {
    int code;
    char message[2048];
    const char *domain;
    int foreign;
    int status;
    char body[2048];
    char text[256];
    size_t text_len;
    enum belay_llm_end end;
    char request_id[32];
    struct belay_llm_usage usage;
    struct belay_llm_attempt attempts[16];
    size_t attempt_count;
    int64_t took_ns;
};

struct ask {
    const struct spec *spec;
    const char *base_url;
    struct outcome *outcome;
    /* locals */
    struct belay_llm_client_opts opts;
    belay_llm_client *client;
    belay_llm_reply *reply;
    belay_time started;
    size_t i;
};

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct outcome *outcome = arg;

    cr_assert(lt(sz, outcome->attempt_count, COUNT(outcome->attempts)));
    outcome->attempts[outcome->attempt_count++] = *attempt;
}

static void
copy_slice(char *to, size_t size, struct belay_slice slice)
{
    cr_assert(lt(sz, slice.len, size));
    if (slice.len > 0) {
        memcpy(to, slice.data, slice.len);
    }
    to[slice.len] = '\0';
}

static void
note_reply(struct outcome *outcome, belay_llm_reply *reply)
{
    outcome->status = belay_llm_reply_status(reply);
    copy_slice(
        outcome->body, sizeof(outcome->body), belay_llm_reply_body(reply));
    copy_slice(
        outcome->text, sizeof(outcome->text), belay_llm_reply_text(reply));
    outcome->text_len = belay_llm_reply_text(reply).len;
    copy_slice(outcome->request_id, sizeof(outcome->request_id),
        belay_llm_reply_header(reply, "x-request-id"));
    outcome->end = belay_llm_reply_end(reply, NULL);
    outcome->usage = *belay_llm_reply_usage(reply);
    outcome->usage.raw.data = NULL;
    belay_llm_reply_free(reply);
}

static void
note_result(struct outcome *outcome, const struct belay_result *result)
{
    outcome->code = result->code;
    (void)belay_result_format(
        result, outcome->message, sizeof(outcome->message));
    if (result->error != NULL) {
        outcome->domain = belay_error_foreign(result->error, &outcome->foreign);
    }
}

static belay_next
begin_call(belay_task *task, struct ask *self)
{
    static const struct belay_llm_message messages[1] = {
        {.role = "user", .content = {"say \"hi\"", 8}}};
    const struct spec *spec = self->spec;
    const char *body = spec->body != NULL ? spec->body : "{}";
    const char *extra = spec->extra != NULL ? spec->extra : "";

    if (!spec->complete) {
        return belay_llm_send(task, self->client,
            BELAY_LLM_REQUEST(.body = {body, strlen(body)},
                .max_retries = spec->max_retries, .on_attempt = on_attempt,
                .arg = self->outcome),
            &self->reply);
    }
    return belay_llm_complete(task, self->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1,
            .extra = {extra, strlen(extra)}, .max_retries = spec->max_retries,
            .on_attempt = on_attempt, .arg = self->outcome),
        &self->reply);
}

BELAY_ASYNC(ask)
{
    BELAY_BEGIN;
    self->opts = self->spec->opts;
    self->opts.size = sizeof(self->opts);
    self->opts.seed = self->opts.seed != 0 ? self->opts.seed : SEED;
    if (self->opts.base_url == NULL) {
        self->opts.base_url = self->base_url;
    }
    BELAY_WITH (belay_llm_client_open(task, &self->opts, &self->client)) {
        self->started = belay_now(task);
        BELAY_WITH (belay_timeout(task, self->spec->timeout.ns != 0
                                            ? self->spec->timeout
                                            : BELAY_FOREVER)) {
            for (self->i = 0; self->i == 0 || self->i < self->spec->calls;
                 self->i++) {
                self->reply = NULL;
                BELAY_TRY(begin_call(task, self));
                note_result(self->outcome, belay_result(task));
                self->outcome->took_ns = belay_now(task).ns - self->started.ns;
                if (belay_result(task)->code < 0) {
                    cr_expect(eq(ptr, self->reply, NULL), "untouched");
                    return belay_pass(task);
                }
                note_reply(self->outcome, self->reply);
            }
        }
    }
    BELAY_END;
}

static struct outcome
run_at(const char *base_url, const struct spec *spec)
{
    belay_clock *clock = belay_clock_new(true);
    struct outcome outcome = {0};
    const struct ask arguments = {
        .spec = spec, .base_url = base_url, .outcome = &outcome};
    struct belay_result result = {0};
    int code = belay_run(&ask, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
        &result);

    if (code < 0) {
        note_result(&outcome, &result);
        belay_error_unref(result.error);
    }
    belay_clock_free(clock);
    return outcome;
}

static struct outcome
run_routes(
    const struct fault_route *routes, size_t count, const struct spec *spec)
{
    struct fault_server *server = fault_server_start(routes, count);
    char base_url[128];
    struct outcome outcome;

    (void)snprintf(
        base_url, sizeof(base_url), "%s/v1", fault_server_url(server));
    outcome = run_at(base_url, spec);
    fault_server_stop(server);
    return outcome;
}

#define CALL(routes, ...) \
    run_routes((routes), COUNT(routes), &(const struct spec){__VA_ARGS__})

/* What three attempts wait with the seed that all calls here have. */
static int64_t
delay(uint32_t n)
{
    const belay_duration none = {0};
    const struct belay__llm_policy policy =
        belay__llm_policy_of(BELAY_LLM_INTERACTIVE, none, none, none);
    uint64_t random = SEED;
    int64_t ns = 0;

    for (uint32_t i = 0; i <= n; i++) {
        ns = belay__llm_backoff(&policy, i, &random);
    }
    return ns;
}

/* ---- answers ---- */

Test(llm_client, l1_a_completion)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ANSWER(HI_BODY))};
    struct outcome outcome = CALL(routes, .complete = true);

    cr_assert(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(eq(int, outcome.status, 200));
    cr_expect(eq(str, (char *)outcome.text, (char *)"hi \xc3\xa9"));
    cr_expect(eq(int, (int)outcome.end, BELAY_LLM_END_STOP));
    cr_expect(eq(str, (char *)outcome.request_id, (char *)"req-1"));
    cr_expect(eq(i64, outcome.usage.in_total, 9));
    cr_expect(eq(i64, outcome.usage.in_cache_read, 4));
    cr_expect(eq(i64, outcome.usage.out_total, 2));
    cr_expect(eq(i64, outcome.usage.out_reasoning, -1));
    cr_expect(eq(i64, outcome.usage.requests, 1));
    cr_expect(eq(sz, outcome.attempt_count, 1));
}

Test(llm_client, b3_a_raw_body_arrives_byte_for_byte)
{
    static char body[] =
        "{ \"seed\":9007199254740993,\"x\":1e400,\"x\":1.0,\n\t\"\\u0041\":1}";
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ANSWER("as it is \x01"))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct fault_request request;
    char base_url[128];
    struct outcome outcome;

    (void)snprintf(
        base_url, sizeof(base_url), "%s/v1", fault_server_url(server));
    outcome = run_at(base_url, &(const struct spec){.body = body});
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(eq(str, request.bytes + request.head_len, body));
    cr_expect(eq(str, (char *)outcome.body, (char *)"as it is \x01"));
    cr_expect(eq(i64, outcome.usage.in_total, -1));
    cr_expect(eq(u64, outcome.attempts[0].sent_bytes, sizeof(body) - 1));
    free(request.bytes);
    fault_server_stop(server);
}

Test(llm_client, l5_extra_members_are_sent_as_they_are)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ANSWER(HI_BODY))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct fault_request request;
    char base_url[128];

    (void)snprintf(
        base_url, sizeof(base_url), "%s/v1", fault_server_url(server));
    (void)run_at(base_url, &(const struct spec){.complete = true,
                               .extra = " { \"top_p\" : 1e400 } "});
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(eq(str, request.bytes + request.head_len,
        (char *)"{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
                "\"content\":\"say \\\"hi\\\"\"}],\"top_p\" : 1e400}"));
    free(request.bytes);
    fault_server_stop(server);
}

Test(llm_client, l8_a_base_may_end_with_a_slash_and_a_query)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/gate/v1/chat/completions", ANSWER(HI_BODY))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct fault_request request;
    char base_url[128];
    struct outcome outcome;

    (void)snprintf(base_url, sizeof(base_url), "%s/gate/v1/?version=3",
        fault_server_url(server));
    outcome = run_at(base_url, &(const struct spec){.complete = true});
    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(zero(strncmp(
        request.bytes, "POST /gate/v1/chat/completions?version=3 ", 41)));
    free(request.bytes);
    fault_server_stop(server);
}

Test(llm_client, l30_a_raw_call_delivers_any_answer)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, CLOSED("418 Teapot", "", "{\"error\":\"no coffee\"}"))};
    struct outcome outcome = CALL(routes, .body = "{}");

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(eq(int, outcome.status, 418));
    cr_expect(
        eq(str, (char *)outcome.body, (char *)"{\"error\":\"no coffee\"}"));
    cr_expect(eq(int, (int)outcome.attempts[0].billed, BELAY_LLM_BILLED_NO));
    cr_expect(not(outcome.attempts[0].retryable));
}

/* ---- retries ---- */

Test(llm_client, l29_each_attempt_has_its_record)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY),
        FAULT_ON(PATH, FAULT_DO_CLOSE), FAULT_ON(PATH, ANSWER(HI_BODY))};
    struct outcome outcome = CALL(routes, .complete = true);
    const struct belay_llm_attempt *attempts = outcome.attempts;

    cr_assert(zero(int, outcome.code), "%s", outcome.message);
    cr_assert(eq(sz, outcome.attempt_count, 3));
    cr_expect(eq(int, attempts[0].status, 503));
    cr_expect(eq(int, (int)attempts[0].billed, BELAY_LLM_BILLED_NO));
    cr_expect(attempts[0].retryable && attempts[0].will_retry);
    cr_expect(eq(i64, attempts[0].delay.ns, delay(0)));
    cr_expect(eq(int, attempts[1].status, 0));
    cr_expect(eq(int, attempts[1].code, BELAY_ERESET));
    cr_expect(eq(int, (int)attempts[1].billed, BELAY_LLM_BILLED_UNKNOWN));
    cr_expect(eq(i64, attempts[1].started.ns - attempts[0].ended.ns, delay(0)));
    cr_expect(eq(u32, attempts[2].number, 3));
    cr_expect(eq(int, attempts[2].code, 0));
    cr_expect(eq(int, (int)attempts[2].billed, BELAY_LLM_BILLED_YES));
    cr_expect(not(attempts[2].retryable));
}

Test(llm_client, l32_the_delays_are_exact)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY)};
    struct outcome outcome = CALL(routes, .max_retries = 4);

    cr_expect(eq(int, outcome.status, 503));
    cr_expect(eq(sz, outcome.attempt_count, 5));
    cr_expect(
        eq(i64, outcome.took_ns, delay(0) + delay(1) + delay(2) + delay(3)));
}

Test(llm_client, l29_two_retries_unless_told_otherwise)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY)};
    struct outcome outcome = CALL(routes, .body = "{}");

    cr_expect(eq(sz, outcome.attempt_count, 3));
    outcome = CALL(routes, .max_retries = BELAY_LLM_NO_RETRIES);
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(outcome.attempts[0].retryable);
    cr_expect(not(outcome.attempts[0].will_retry));
    cr_expect(eq(i64, outcome.attempts[0].delay.ns, delay(0)));
    outcome = CALL(routes, .opts.max_retries = 1);
    cr_expect(eq(sz, outcome.attempt_count, 2));
}

Test(llm_client, l31_an_empty_account_is_not_asked_twice)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH,
        CLOSED("429 Too Many", "x-should-retry: true\r\nRetry-After: 1\r\n",
            "{\"error\":{\"message\":\"pay\",\"type\":\"x\",\"code\":"
            "\"insufficient_quota\"}}"))};
    struct outcome outcome = CALL(routes, .complete = true);

    cr_expect(eq(int, outcome.code, BELAY_EQUOTA));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(outcome.attempts[0].quota);
    cr_expect(eq(int, outcome.foreign, 429));
    outcome = CALL(routes, .body = "{}");
    cr_expect(eq(int, outcome.status, 429));
    cr_expect(eq(sz, outcome.attempt_count, 1));
}

Test(llm_client, l33_waits_as_long_as_the_server_asks)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, CLOSED("429 Slow", "retry-after: 20\r\n", "")),
        FAULT_ON(PATH, ANSWER(HI_BODY))};
    struct outcome outcome = CALL(routes, .complete = true);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(ge(i64, outcome.took_ns, 20 * S));
    cr_expect(le(i64, outcome.took_ns, 22 * S));
}

Test(llm_client, l33_does_not_wait_for_ever)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, CLOSED("429 Slow", "retry-after: 3600\r\n",
                           "{\"error\":{\"message\":\"later\"}}"))};
    struct outcome outcome = CALL(routes, .complete = true);

    cr_expect(eq(int, outcome.code, BELAY_EHTTP));
    cr_expect(zero(i64, outcome.took_ns));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(eq(i64, outcome.attempts[0].delay.ns, 3600 * S));
    cr_expect(
        ne(ptr, strstr(outcome.message, "429: later; it asks to wait 3600 s"),
            NULL),
        "%s", outcome.message);
}

Test(llm_client, l33_a_batch_waits_longer)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, CLOSED("503 Slow", "retry-after: 500\r\n", "")),
        FAULT_ON(PATH, ANSWER(HI_BODY))};
    const struct outcome outcome =
        CALL(routes, .complete = true, .opts.profile = BELAY_LLM_BATCH);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(ge(i64, outcome.took_ns, 500 * S));
}

Test(llm_client, l34_no_wait_outlives_the_deadline)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY)};
    struct outcome outcome =
        CALL(routes, .complete = true, .timeout = belay_milliseconds(700));

    cr_expect(eq(int, outcome.code, BELAY_EHTTP), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 2));
    cr_expect(eq(i64, outcome.took_ns, delay(0)));
    cr_expect(outcome.attempts[1].retryable);
    cr_expect(not(outcome.attempts[1].will_retry));
    outcome = CALL(routes, .timeout = belay_milliseconds(100));
    cr_expect(zero(int, outcome.code), "a raw call has its answer");
    cr_expect(eq(int, outcome.status, 503));
}

Test(llm_client, l35_a_server_in_trouble_is_spared)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY)};
    struct outcome outcome =
        CALL(routes, .max_retries = 15, .opts.retry_base = belay_seconds(8));

    cr_expect(eq(sz, outcome.attempt_count, 16), "ten a minute are fine");
    outcome = CALL(
        routes, .max_retries = 15, .opts.retry_cap = belay_milliseconds(10));
    cr_expect(eq(sz, outcome.attempt_count, 11));
    outcome = CALL(routes, .max_retries = 15,
        .opts.retry_cap = belay_milliseconds(10),
        .opts.profile = BELAY_LLM_BATCH);
    cr_expect(eq(sz, outcome.attempt_count, 16), "not in a batch");
}

/* ---- failures, each to its end ---- */

static void
expect_failure(const struct fault_route *route, int code, size_t attempts)
{
    const struct outcome outcome =
        run_routes(route, 1, &(const struct spec){.complete = true});

    cr_expect(eq(int, outcome.code, code), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, attempts), "%s", outcome.message);
}

Test(llm_client, l30_exchanges_that_fail)
{
    static const struct fault_route reset =
        FAULT_ON(NULL, FAULT_TEXT("HTTP/1.1 200 OK\r\n"), FAULT_DO_RESET);
    static const struct fault_route empty = FAULT_ON(NULL, FAULT_DO_CLOSE);
    static const struct fault_route cut = FAULT_ON(NULL,
        FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
        FAULT_DO_CLOSE);
    static const struct fault_route noise =
        FAULT_ON(NULL, FAULT_TEXT("220 mail ready\r\n\r\n"), FAULT_DO_CLOSE);

    expect_failure(&reset, BELAY_ERESET, 3);
    expect_failure(&empty, BELAY_ERESET, 3);
    expect_failure(&cut, BELAY_ETRUNCATED, 3);
    expect_failure(&noise, BELAY_EREPLY, 2);
}

Test(llm_client, l30_statuses_that_fail)
{
    static const struct fault_route refused =
        FAULT_ON(NULL, CLOSED("401 No", "", "{\"error\":\"who?\"}"));
    static const struct fault_route forbidden =
        FAULT_ON(NULL, CLOSED("403 No", "", ""));
    static const struct fault_route missing =
        FAULT_ON(NULL, CLOSED("404 No", "", "{\"detail\":\"Not Found\"}"));
    static const struct fault_route moved = FAULT_ON(
        NULL, CLOSED("307 Go", "Location: http://127.0.0.1:1/\r\n", ""));
    static const struct fault_route dead =
        FAULT_ON(NULL, CLOSED("500 Dead", "", "<html>dead</html>"));

    expect_failure(&refused, BELAY_EAUTH, 1);
    expect_failure(&forbidden, BELAY_EAUTH, 1);
    expect_failure(&missing, BELAY_EHTTP, 1);
    expect_failure(&moved, BELAY_EHTTP, 1);
    expect_failure(&dead, BELAY_EHTTP, 3);
}

Test(llm_client, l30_a_connection_refused)
{
    const struct outcome outcome =
        run_at("http://127.0.0.1:1/v1", &(const struct spec){.complete = true});

    cr_expect(eq(int, outcome.code, BELAY_ECONNECT), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 3));
    cr_expect(eq(int, (int)outcome.attempts[0].billed, BELAY_LLM_BILLED_NO));
    cr_expect(eq(i64, outcome.took_ns, delay(0) + delay(1)));
    cr_expect(
        ne(ptr,
            strstr(outcome.message,
                "no answer from 'http://127.0.0.1:1/v1' after 3 attempts"),
            NULL),
        "%s", outcome.message);
}

Test(llm_client, s7_an_answer_too_large)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH,
        FAULT_TEXT(HEAD("200 OK", "Content-Length: 5000\r\n\r\n")),
        FAULT_DO_FILL(5000))};
    const struct outcome outcome =
        CALL(routes, .complete = true, .opts.max_reply_bytes = 1000);

    cr_expect(eq(int, outcome.code, BELAY_ETOOLARGE), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 1));
}

Test(llm_client, l9_nonsense_gets_one_more_chance)
{
    static const struct fault_route once[] = {
        FAULT_ON(PATH, ANSWER("<html>proxy</html>")),
        FAULT_ON(PATH, ANSWER(HI_BODY))};
    static const struct fault_route always[] = {
        FAULT_ON(PATH, ANSWER("<html>\x1b[2J " KEY " \xff</html>"))};
    struct outcome outcome = CALL(once, .complete = true);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 2));
    outcome = CALL(always, .complete = true, .opts.api_key = KEY);
    cr_expect(eq(int, outcome.code, BELAY_EREPLY));
    cr_expect(eq(sz, outcome.attempt_count, 2));
    cr_expect(ne(ptr,
                  strstr(outcome.message, "/v1' is not a completion: <html> "
                                          "[2J [key] \xef\xbf\xbd</html>"),
                  NULL),
        "%s", outcome.message);
    cr_expect(eq(int, (int)outcome.attempts[0].billed, BELAY_LLM_BILLED_YES));
}

Test(llm_client, l9_json_of_another_shape)
{
    static const char *const bodies[] = {"[]", "{}", "{\"choices\":[]}",
        "{\"choices\":null}", "{\"choices\":[{}]}", "{\"Choices\":[{}]}",
        "{\"choices\":[{\"message\":\"text\"}]}", HI_BODY "x"};

    for (size_t i = 0; i < COUNT(bodies); i++) {
        char answer[1024];
        struct fault_route route =
            FAULT_ON(NULL, FAULT_TEXT(answer), FAULT_DO_CLOSE);

        (void)snprintf(answer, sizeof(answer),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", bodies[i]);
        expect_failure(&route, BELAY_EREPLY, 2);
    }
}

/* ---- the key (S1, S2) ---- */

Test(llm_client, x2_the_key_is_sent_and_in_no_message)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH,
            CLOSED("401 No", "",
                "{\"error\":{\"message\":\"Incorrect API key: " KEY "!\"}}")),
        FAULT_ON(PATH, CLOSED("404 No", "", KEY KEY "\r\n" KEY))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct fault_request request;
    char base_url[128];
    struct outcome outcomes[3];

    (void)snprintf(base_url, sizeof(base_url), "http://user:%s@%s/v1?k=%s", KEY,
        fault_server_url(server) + strlen("http://"), KEY);
    for (size_t i = 0; i < 2; i++) {
        outcomes[i] = run_at(base_url,
            &(const struct spec){.complete = true, .opts.api_key = KEY});
    }
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(ne(ptr, strstr(request.bytes, "Bearer " KEY "\r\n"), NULL));
    free(request.bytes);
    fault_server_stop(server);
    outcomes[2] = run_at(
        base_url, &(const struct spec){.complete = true, .opts.api_key = KEY});
    cr_expect(eq(int, outcomes[2].code, BELAY_ECONNECT));
    for (size_t i = 0; i < 3; i++) {
        cr_expect(ne(int, outcomes[i].code, 0));
        cr_expect(eq(ptr, strstr(outcomes[i].message, "canary"), NULL), "%s",
            outcomes[i].message);
    }
}

Test(llm_client, s8_a_key_with_a_line_break_is_refused)
{
    struct outcome outcome = run_at("http://127.0.0.1:1",
        &(const struct spec){.opts.api_key = KEY "\r\nX: y"});

    cr_expect(eq(int, outcome.code, BELAY_EINVAL));
    cr_expect(eq(ptr, strstr(outcome.message, "canary"), NULL), "%s",
        outcome.message);
}

Test(llm_client, s3_options_that_cannot_be_used)
{
    cr_expect(eq(int,
        run_at("ftp://127.0.0.1", &(const struct spec){.complete = true}).code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        run_at("http://192.0.2.1", &(const struct spec){.complete = true}).code,
        BELAY_EINVAL));
    cr_expect(eq(int, run_at(NULL, &(const struct spec){.complete = true}).code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        run_at(
            "http://127.0.0.1:1", &(const struct spec){.opts.max_retries = -2})
            .code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        run_at(
            "http://127.0.0.1:1", &(const struct spec){.opts.retry_cap = {-1}})
            .code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        run_at("http://127.0.0.1:1", &(const struct spec){.max_retries = -2})
            .code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        run_at("http://127.0.0.1:1",
            &(const struct spec){.complete = true, .extra = "1"})
            .code,
        BELAY_EINVAL));
}

/* ---- cancelling and leaving ---- */

static const struct fault_route sweep_routes[] = {
    FAULT_ON(NULL, ANSWER(HI_BODY))};
static const struct fault_route busy_routes[] = {FAULT_ON(NULL, BUSY)};

struct quiet {
    const char *base_url;
    belay_llm_client *client;
    belay_llm_reply *reply;
    char *text;
};

/* The whole way, its result in hand as late as can be. */
BELAY_ASYNC(quiet)
{
    static const struct belay_llm_message messages[1] = {
        {.role = "user", .content = {"hi", 2}}};

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .api_key = KEY,
            .seed = SEED),
        &self->client)) {
        BELAY_AWAIT(belay_llm_complete(task, self->client,
            BELAY_LLM_CHAT(.model = "m", .messages = messages,
                .message_count = 1),
            &self->reply));
        self->text = belay_llm_reply_take_text(self->reply);
        self->reply = NULL;
        cr_expect(eq(str, self->text, (char *)"hi \xc3\xa9"));
        belay_llm_text_free(self->text);
    }
    BELAY_END;
}

static void
run_sweep(const struct fault_route *routes)
{
    char url[128];
    const int pid = fault_server_start_apart(routes, 1, url, sizeof(url));
    const struct quiet arguments = {.base_url = url};
    const struct program program = {
        .function = &quiet, .arguments = &arguments};

    sweep(&program);
    fault_server_stop_apart(pid);
}

Test(llm_client, l42_sweep_of_a_call)
{
    run_sweep(sweep_routes);
}

Test(llm_client, l42_sweep_of_a_call_with_retries)
{
    run_sweep(busy_routes);
}

/* ---- a shortage on this side ---- */

struct shortage {
    const char *base_url;
    struct outcome *outcome;
    struct rlimit limit; /* what it was */
    belay_llm_client *client;
    belay_llm_reply *reply;
};

static void
on_short_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct shortage *shortage = arg;

    cr_assert(zero(setrlimit(RLIMIT_NOFILE, &shortage->limit)));
    on_attempt(attempt, shortage->outcome);
}

static void
allow_no_more_fds(const struct rlimit *limit)
{
    struct rlimit none = *limit;

    none.rlim_cur = 0;
    cr_assert(zero(setrlimit(RLIMIT_NOFILE, &none)));
}

/* The first call makes what libcurl needs besides a connection. */
BELAY_ASYNC(shortage)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .seed = SEED),
        &self->client)) {
        BELAY_AWAIT(belay_llm_send(task, self->client,
            BELAY_LLM_REQUEST(.body = {"{}", 2}), &self->reply));
        belay_llm_reply_free(self->reply);
        cr_assert(zero(getrlimit(RLIMIT_NOFILE, &self->limit)));
        allow_no_more_fds(&self->limit);
        BELAY_TRY(belay_llm_send(task, self->client,
            BELAY_LLM_REQUEST(.body = {"{}", 2}, .on_attempt = on_short_attempt,
                .arg = self),
            &self->reply));
        note_result(self->outcome, belay_result(task));
        belay_llm_reply_free(self->reply);
    }
    BELAY_END;
}

Test(llm_client, l30_a_shortage_of_descriptors_passes)
{
    static const struct fault_route routes[] = {FAULT_ON("/chat/completions",
        FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                   "Connection: close\r\n\r\n{}"),
        FAULT_DO_CLOSE)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    belay_clock *clock = belay_clock_new(true);
    struct outcome outcome = {0};
    const struct shortage arguments = {
        .base_url = fault_server_url(server), .outcome = &outcome};

    cr_expect(zero(int,
        belay_run(&shortage, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
            NULL)));
    belay_clock_free(clock);
    cr_expect(eq(int, outcome.code, 0), "%s", outcome.message);
    cr_assert(eq(sz, outcome.attempt_count, 2));
    cr_expect(eq(int, outcome.attempts[0].code, -EMFILE));
    cr_expect(
        eq(int, (int)outcome.attempts[0].billed, (int)BELAY_LLM_BILLED_NO));
    cr_expect(outcome.attempts[0].will_retry);
    cr_expect(eq(int, outcome.attempts[1].status, 200));
    fault_server_stop(server);
}

struct leave {
    const char *base_url;
    struct outcome *outcome;
    belay_group *group;
    belay_llm_client *client;
    bool started;
};

struct caller {
    struct leave *leave;
    belay_llm_reply *reply;
};

BELAY_ASYNC(caller)
{
    BELAY_BEGIN;
    self->leave->started = true;
    BELAY_TRY(belay_llm_send(task, self->leave->client,
        BELAY_LLM_REQUEST(.body = {"{}", 2}, .on_attempt = on_attempt,
            .arg = self->leave->outcome),
        &self->reply));
    note_result(self->leave->outcome, belay_result(task));
    BELAY_END;
}

/* The call's task lives in an outer block: it ends before the client does. */
BELAY_ASYNC(leave)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_llm_client_open(task,
            BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .seed = SEED),
            &self->client)) {
            BELAY_CHECK(belay_spawn(self->group, caller, .leave = self));
            while (!self->started) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(100)));
        }
    }
    BELAY_END;
}

static struct outcome
run_leave(const struct fault_route *routes, bool autojump)
{
    struct fault_server *server = fault_server_start(routes, 1);
    belay_clock *clock = autojump ? belay_clock_new(true) : NULL;
    struct outcome outcome = {0};
    const struct leave arguments = {
        .base_url = fault_server_url(server), .outcome = &outcome};

    cr_expect(zero(int,
        belay_run(&leave, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
            NULL)));
    belay_clock_free(clock);
    fault_server_stop(server);
    return outcome;
}

Test(llm_client, leaving_ends_a_call_in_its_exchange)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_HANG)};
    const struct outcome outcome = run_leave(routes, false);

    cr_expect(eq(int, outcome.code, BELAY_ECLOSED), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(not(outcome.attempts[0].retryable));
}

Test(llm_client, leaving_ends_a_call_in_its_wait_for_a_retry)
{
    const struct outcome outcome = run_leave(busy_routes, true);

    cr_expect(eq(int, outcome.code, BELAY_ECLOSED), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 1));
}

Test(llm_client, l40_a_deadline_covers_the_exchange)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, 1);
    struct outcome outcome = {0};
    const struct spec spec = {.timeout = belay_milliseconds(50)};
    const struct ask arguments = {.spec = &spec,
        .base_url = fault_server_url(server),
        .outcome = &outcome};
    int code = belay_run(&ask, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);

    cr_expect(eq(int, code, BELAY_ETIMEDOUT));
    cr_expect(eq(int, outcome.code, BELAY_ECANCELED));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(
        eq(int, (int)outcome.attempts[0].billed, BELAY_LLM_BILLED_UNKNOWN));
    fault_server_stop(server);
}

Test(llm_client, l39_a_silent_server_times_out)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, 1);
    struct outcome outcome = {0};
    const struct spec spec = {.max_retries = BELAY_LLM_NO_RETRIES,
        .opts.first_byte_timeout = belay_milliseconds(30)};
    const struct ask arguments = {.spec = &spec,
        .base_url = fault_server_url(server),
        .outcome = &outcome};
    int code = belay_run(&ask, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);

    cr_expect(eq(int, code, BELAY_ETIMEDOUT));
    cr_expect(outcome.attempts[0].retryable);
    fault_server_stop(server);
}
