/* test_llm_client.c - calls against a server that misbehaves: what they ask,
 * what they get, and how they fail.
 */
#include "test/support/call_scene.h"
#include "test/support/given_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(llm_client, .fini = check_clean, .timeout = 60);

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
    outcome = call_at(base_url, &(const struct spec){.body = body});
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
    (void)call_at(base_url, &(const struct spec){.complete = true,
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
    outcome = call_at(base_url, &(const struct spec){.complete = true});
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

/* ---- failures, each to its end ---- */

static void
expect_failure(const struct fault_route *route, int code, size_t attempts)
{
    const struct outcome outcome =
        call_routes(route, 1, &(const struct spec){.complete = true});

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
    const struct outcome outcome = call_at(
        "http://127.0.0.1:1/v1", &(const struct spec){.complete = true});

    cr_expect(eq(int, outcome.code, BELAY_ECONNECT), "%s", outcome.message);
    cr_expect(
        ne(ptr, strstr(outcome.message, "no connection: Connection refused"),
            NULL),
        "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 3));
    cr_expect(eq(int, (int)outcome.attempts[0].billed, BELAY_LLM_BILLED_NO));
    cr_expect(eq(i64, outcome.took_ns, retry_delay(0) + retry_delay(1)));
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
        outcomes[i] = call_at(base_url,
            &(const struct spec){.complete = true, .opts.api_key = KEY});
    }
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(ne(ptr, strstr(request.bytes, "Bearer " KEY "\r\n"), NULL));
    free(request.bytes);
    fault_server_stop(server);
    outcomes[2] = call_at(
        base_url, &(const struct spec){.complete = true, .opts.api_key = KEY});
    cr_expect(eq(int, outcomes[2].code, BELAY_ECONNECT));
    for (size_t i = 0; i < 3; i++) {
        cr_expect(ne(int, outcomes[i].code, 0));
        cr_expect(eq(ptr, strstr(outcomes[i].message, "canary"), NULL), "%s",
            outcomes[i].message);
    }
}

/* As whole bodies, which are quoted as they are, and in messages of JSON. */
Test(llm_client, s2_what_the_address_holds_is_in_no_message)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, CLOSED("404 No", "", "no " PATH "?key=AIza%2FSECRET")),
        FAULT_ON(
            PATH, CLOSED("404 No", "", "admins: no AIza/SECRET of region-one")),
        FAULT_ON(PATH, CLOSED("401 No", "", "{\"msg\":\"no AIza\\/SECRET\"}")),
        FAULT_ON(PATH, CLOSED("401 No", "",
                           "{\"error\":{\"message\":\"AIza\\u002fSECRET\"}}")),
        FAULT_ON(
            PATH, CLOSED("404 No", "", "user: admins, password: s3sameTREE")),
        FAULT_ON(PATH, CLOSED("401 No", "", "Basic YWRtaW5zOnMzc2FtZVRSRUU=")),
        FAULT_ON(PATH, CLOSED("200 OK", "", "{\"a\":\"AIza\\/SECRET\"}"))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    static const char *const secrets[] = {"SECRET", "s3sameTREE", "YWRtaW5z"};
    char base_url[256];

    (void)snprintf(base_url, sizeof(base_url),
        "http://admins:s3sameTREE@%s/v1?key=AIza%%2FSECRET&region=region-one",
        fault_server_url(server) + strlen("http://"));
    for (size_t i = 0; i < COUNT(routes); i++) {
        const struct outcome outcome =
            call_at(base_url, &(const struct spec){.complete = true});

        cr_expect(ne(int, outcome.code, 0));
        cr_expect(ne(ptr, strstr(outcome.message, "[key]"), NULL), "%s",
            outcome.message);
        for (size_t k = 0; k < COUNT(secrets); k++) {
            cr_expect(eq(ptr, strstr(outcome.message, secrets[k]), NULL), "%s",
                outcome.message);
        }
        cr_expect(eq(int, i == 1,
                      strstr(outcome.message, "admins: no [key] of region-one")
                          != NULL),
            "%s", outcome.message);
    }
    fault_server_stop(server);
}

Test(llm_client, s8_a_key_with_a_line_break_is_refused)
{
    struct outcome outcome = call_at("http://127.0.0.1:1",
        &(const struct spec){.opts.api_key = KEY "\r\nX: y"});

    cr_expect(eq(int, outcome.code, BELAY_EINVAL));
    cr_expect(eq(ptr, strstr(outcome.message, "canary"), NULL), "%s",
        outcome.message);
}

Test(llm_client, s3_options_that_cannot_be_used)
{
    cr_expect(eq(int,
        call_at("ftp://127.0.0.1", &(const struct spec){.complete = true}).code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        call_at("http://192.0.2.1", &(const struct spec){.complete = true})
            .code,
        BELAY_EINVAL));
    cr_expect(
        eq(int, call_at(NULL, &(const struct spec){.complete = true}).code,
            BELAY_EINVAL));
    cr_expect(eq(int,
        call_at(
            "http://127.0.0.1:1", &(const struct spec){.opts.max_retries = -2})
            .code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        call_at(
            "http://127.0.0.1:1", &(const struct spec){.opts.retry_cap = {-1}})
            .code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        call_at("http://127.0.0.1:1", &(const struct spec){.max_retries = -2})
            .code,
        BELAY_EINVAL));
    cr_expect(eq(int,
        call_at("http://127.0.0.1:1",
            &(const struct spec){.complete = true, .extra = "1"})
            .code,
        BELAY_EINVAL));
}

/* ---- sweeps ---- */

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
    char with_secrets[256];
    const int pid = fault_server_start_apart(routes, 1, url, sizeof(url));
    const struct quiet arguments = {.base_url = with_secrets};
    const struct program program = {
        .function = &quiet, .arguments = &arguments};

    (void)snprintf(with_secrets, sizeof(with_secrets),
        "http://admins:s3%%2fsame@%s?key=AIza%%2FSECRET",
        url + strlen("http://"));
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

/* ---- what a client is given ---- */

static belay_next
open_given(belay_task *task, struct given *self)
{
    return belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = "http://127.0.0.1:1/v1",
            .prices = self->prices, .budget = self->budget,
            .recorder = self->recorder),
        &self->client);
}

static void
expect_given(struct given arguments, const char *why)
{
    char folder[] = "/tmp/belay-client-XXXXXX";
    char path[64];
    struct belay_result result;
    int code;

    cr_assert(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof(path), "%s/a.jsonl", folder);
    arguments.open = open_given;
    arguments.path = path;
    code = program_run_once(
        &(const struct program){.function = &given, .arguments = &arguments},
        &result);
    cr_expect(eq(int, code, why != NULL ? BELAY_ECLOSED : 0));
    if (why != NULL && code < 0) {
        cr_expect(strstr(belay_error_message(result.error), why) != NULL, "%s",
            belay_error_message(result.error));
    }
    belay_error_unref(result.error);
    (void)unlink(path);
    (void)rmdir(folder);
}

Test(llm_client, l43_what_a_client_is_given_is_there_when_it_is_entered)
{
    expect_given((struct given){.with_prices = true}, NULL);
    expect_given(
        (struct given){.with_prices = true, .drop = true}, "prices are gone");
    expect_given((struct given){.with_budget = true}, "budget was left");
    expect_given(
        (struct given){.with_budget = true, .drop = true}, "budget was left");
    expect_given((struct given){.with_recorder = true}, "recorder was left");
    expect_given((struct given){.with_recorder = true, .drop = true},
        "recorder was left");
}
