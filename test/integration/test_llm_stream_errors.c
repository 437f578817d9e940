/* test_llm_stream_errors.c - errors in streams, before the first event and
 * behind it: L21-L24, L28-L31.
 */
#include "test/support/stream_scene.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

TestSuite(llm_stream_errors, .fini = check_clean, .timeout = 60);

Test(llm_stream_errors, l22_l30_an_error_before_the_first_event_is_retried)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/messages",
            STREAM(TYPED("message_start",
                ",\"message\":{\"usage\":{\"input_tokens\":3}}") OVERLOADED)),
        FAULT_ON("/v1/messages",
            STREAM(TYPED("message_start", ",\"message\":{}") TYPED(
                "message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\"}")
                    TYPED("message_stop", ""))),
    };
    struct outcome outcome = READ(routes, .format = BELAY_LLM_FORMAT_MESSAGES);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "E0 'end_turn'\nDONE0\n", "");
    cr_assert(eq(sz, outcome.attempt_count, 2));
    cr_expect(eq(int, outcome.attempts[0].status, 529));
    cr_expect(eq(
        int, (int)outcome.attempts[0].billed, (int)BELAY_LLM_BILLED_UNKNOWN));
    cr_expect(gt(i64, outcome.attempts[0].delay.ns, 0));
}

Test(llm_stream_errors, l21_an_error_behind_the_first_event_ends_it)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hi") OVERLOADED DELTA("x")))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(eq(int, outcome.code, BELAY_EHTTP));
    cr_expect(eq(int, outcome.foreign, 529));
    cr_expect(ne(ptr, strstr(outcome.message, "529 overloaded_error"), NULL),
        "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\n", "hi");
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_PARTIAL));
    cr_expect(gt(i64, outcome.usage.in_total, 0));
    cr_expect(eq(i64, outcome.usage.out_total, 1));
}

Test(llm_stream_errors, l22_an_error_that_cannot_get_better_is_not_retried)
{
    static const struct fault_route routes[] = {FAULT_ON(CHAT_PATH,
        STREAM("data: {\"error\":{\"type\":\"invalid_request_error\","
               "\"message\":\"no\"}}\n\n"))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(eq(int, outcome.code, BELAY_EHTTP));
    cr_expect(eq(int, outcome.foreign, 400));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    expect_events(&outcome, "", "");
}

Test(llm_stream_errors, l31_an_empty_account_in_a_stream)
{
    static const char *const errors[] = {
        "{\"code\":\"insufficient_quota\",\"message\":\"pay\"}",
        "{\"code\":\"insufficient\\u005fquota\",\"type\":\"no\"}",
        "{\"code\":7,\"type\":\"billing\\u005ferror\"}",
        "{\"code\":\"billing_error\",\"type\":\"no\"}",
    };

    for (size_t i = 0; i < COUNT(errors); i++) {
        char text[256];
        const struct fault_route routes[] = {
            FAULT_ON(CHAT_PATH, FAULT_TEXT(text), FAULT_DO_CLOSE)};
        struct outcome outcome;

        (void)snprintf(
            text, sizeof(text), SSE_HEAD "data: {\"error\":%s}\n\n", errors[i]);
        outcome = READ(routes, .stop_at = 0);
        cr_expect(eq(int, outcome.code, BELAY_EQUOTA), "%s", errors[i]);
        cr_expect(eq(sz, outcome.attempt_count, 1), "%s", errors[i]);
        cr_expect(outcome.attempts[0].quota, "%s", errors[i]);
        expect_events(&outcome, "", "");
    }
}

Test(llm_stream_errors, l23_an_event_that_is_not_json)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hi") "data: {x}\n\n" DELTA("y")))};
    static const struct fault_route early[] = {
        FAULT_ON(CHAT_PATH, STREAM("data: {x}\n\n")),
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(eq(int, outcome.code, BELAY_EPROTO));
    expect_events(&outcome, "T0 'hi'\n", "hi");
    outcome = READ(early, .stop_at = 0);
    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 2));
    expect_events(&outcome, HI_EVENTS, "hi");
}

Test(llm_stream_errors, l24_a_stream_without_an_end_is_cut)
{
    static const char *const bodies[] = {DELTA("hi"),
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},"
        "\"finish_reason\":\"\"}]}\n\n",
        DELTA("hi") "data: {\"choi", DELTA("hi") "data: {\"choices\":[]}",
        DELTA("hi") ": bye\n"};

    for (size_t i = 0; i < COUNT(bodies); i++) {
        char text[256];
        const struct fault_route routes[] = {
            FAULT_ON(CHAT_PATH, FAULT_TEXT(text), FAULT_DO_CLOSE)};
        struct outcome outcome;

        (void)snprintf(text, sizeof(text), SSE_HEAD "%s", bodies[i]);
        outcome = READ(routes, .stop_at = 0);
        cr_expect(eq(int, outcome.code, BELAY_ETRUNCATED), "%s: %s", bodies[i],
            outcome.message);
        cr_expect(eq(int, (int)outcome.attempts[0].billed,
            (int)BELAY_LLM_BILLED_UNKNOWN));
        expect_events(&outcome, "T0 'hi'\n", "hi");
        cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_PARTIAL));
    }
}

/* The break itself does not matter, as all that there was had its end; what
 * came in front of it did not.
 */
Test(llm_stream_errors, l24_a_break_behind_a_choice_that_begins_late)
{
    static const struct fault_route routes[] = {FAULT_ON(CHAT_PATH,
        FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" DELTA("hi")
                FINISH "data: {\"choices\":[{\"index\":1,\"delta\":{"
                       "\"content\":\"x\"}}]}"),
        FAULT_DO_CLOSE)};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(eq(int, outcome.code, BELAY_ETRUNCATED), "%s", outcome.message);
    cr_expect(zero(int, outcome.foreign));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(eq(int, outcome.attempts[0].status, 200));
    cr_expect(eq(
        int, (int)outcome.attempts[0].billed, (int)BELAY_LLM_BILLED_UNKNOWN));
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_PARTIAL));
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\nT1 'x'\n", "hi");
}

#define BODY_N2                                                         \
    "{\"model\":\"m\",\"stream\":true,\"n\":2,\"messages\":[{\"role\":" \
    "\"user\",\"content\":\"hi\"}]}"
#define SECOND                                                         \
    "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"ho\"}," \
    "\"finish_reason\":\"stop\"}]}\n\n"

Test(llm_stream_errors, l6_l24_a_choice_that_never_began_is_missing)
{
    static const struct fault_route ends[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hi") FINISH))};
    static const struct fault_route breaks[] = {FAULT_ON(CHAT_PATH,
        FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" DELTA("hi")
                FINISH),
        FAULT_DO_CLOSE)};
    struct outcome outcome = READ(ends, .body = BODY_N2);

    cr_expect(eq(int, outcome.code, BELAY_ETRUNCATED), "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\n", "hi");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_PARTIAL));
    outcome = READ(breaks, .body = BODY_N2);
    cr_expect(eq(int, outcome.code, BELAY_ETRUNCATED), "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\n", "hi");
}

Test(llm_stream_errors, l6_l18_all_choices_or_done_end_it)
{
    static const struct fault_route all[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hi") FINISH SECOND))};
    static const struct fault_route done[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hi") FINISH DONE))};
    struct outcome outcome = READ(all, .body = BODY_N2);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(
        &outcome, "T0 'hi'\nE0 'stop'\nT1 'ho'\nE1 'stop'\nDONE0\n", "hi");
    outcome = READ(done, .body = BODY_N2);
    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\nDONE0\n", "hi");
}

Test(llm_stream_errors, l24_messages_end_with_message_stop_only)
{
    static const struct fault_route routes[] = {FAULT_ON("/v1/messages",
        STREAM(TYPED("message_start", ",\"message\":{\"usage\":"
                                      "{\"input_tokens\":7,\"output_tokens\":"
                                      "1}}") TYPED("content_block_delta",
            ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":"
            "\"hello world, hello\"}") TYPED("message_delta",
            ",\"delta\":{\"stop_reason\":\"end_turn\"}")))};
    struct outcome outcome = READ(routes, .format = BELAY_LLM_FORMAT_MESSAGES);

    cr_expect(eq(int, outcome.code, BELAY_ETRUNCATED));
    expect_events(&outcome, "T0 'hello world, hello'\nE0 'end_turn'\n",
        "hello world, hello");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_PARTIAL));
    cr_expect(eq(i64, outcome.usage.in_total, 7), "told at the start (L44)");
    cr_expect(eq(i64, outcome.usage.out_total, 5), "guessed from the text");
}

Test(llm_stream_errors, l24_l30_a_cut_before_the_first_event_is_retried)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(": hello\n\n")),
        FAULT_ON(CHAT_PATH, FAULT_TEXT(SSE_HEAD), FAULT_DO_RESET),
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 3));
    expect_events(&outcome, HI_EVENTS, "hi");
}

Test(llm_stream_errors, l30_a_reset_behind_the_first_event_ends_it)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH,
            FAULT_TEXT(
                "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" DELTA("h")),
            FAULT_DO_CLOSE),
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(eq(int, outcome.code, BELAY_ETRUNCATED));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    expect_events(&outcome, "T0 'h'\n", "h");
}

Test(llm_stream_errors, l30_restart_is_told_first)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("x"))),
        FAULT_ON(CHAT_PATH, STREAM(DELTA("y") OVERLOADED)),
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct outcome outcome = READ(routes, .opts.restart = true);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(
        &outcome, "T0 'x'\nRESTART0\nT0 'y'\nRESTART0\n" HI_EVENTS, "hi");
    cr_expect(eq(sz, outcome.attempt_count, 3));
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_EXACT));
}

Test(llm_stream_errors, l30_statuses_are_retried_as_ever)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, ANSWER("503 Busy", "{}")),
        FAULT_ON(CHAT_PATH, ANSWER("429 Slow", "{}")),
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    static const struct fault_route refused[] = {
        FAULT_ON(CHAT_PATH, ANSWER("401 No", "{\"error\":\"" KEY "\"}"))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 3));
    expect_events(&outcome, HI_EVENTS, "hi");
    outcome = READ(refused, .stop_at = 0);
    cr_expect(eq(int, outcome.code, BELAY_EAUTH));
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_UNKNOWN));
    expect_events(&outcome, "", "");
}

Test(llm_stream_errors, l28_an_event_above_the_limit)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h") "data: "),
            FAULT_DO_FILL(200000), FAULT_DO_HANG)};
    struct outcome outcome = READ(routes, .opts.max_event_bytes = 65536);

    cr_expect(eq(int, outcome.code, BELAY_ETOOLARGE), "%s", outcome.message);
    expect_events(&outcome, "T0 'h'\n", "h");
}

/* ---- a retry that was told, and never comes ---- */

Test(llm_stream_errors, l29_no_retry_is_told_that_a_callback_prevents)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("x"))),
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome = stream_at(fault_server_url(server),
        &(const struct spec){.run = true, .opts.restart = true, .stop_at = 2});

    cr_expect(eq(int, outcome.code, BELAY_EINVAL));
    cr_assert(eq(sz, outcome.attempt_count, 1));
    cr_expect(outcome.attempts[0].retryable);
    cr_expect(not(outcome.attempts[0].will_retry));
    expect_events(&outcome, "T0 'x'\nRESTART0\n", "x");
    fault_server_stop(server);
}

#define X8 "xxxxxxxx"
#define X64 X8 X8 X8 X8 X8 X8 X8 X8
/* Sent only if we send no options of our own: then the request has to grow. */
#define EXTRA "{\"stream_options\":{\"x\":\"" X64 X64 X64 X64 X64 X64 "\"}}"

struct promised {
    char base_url[64];
    belay_llm_client *client;
    belay_llm_reply *reply;
};

static struct belay_llm_attempt last_told;

static void
note_last(const struct belay_llm_attempt *attempt, void *arg)
{
    (void)arg;
    last_told = *attempt;
}

BELAY_ASYNC(promised)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};

    BELAY_BEGIN;
    last_told = (struct belay_llm_attempt){0};
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url), &self->client)) {
        BELAY_AWAIT(belay_llm_complete_stream(task, self->client,
            BELAY_LLM_CHAT(.model = "m", .messages = messages,
                .message_count = 1, .extra = {EXTRA, sizeof(EXTRA) - 1},
                .on_attempt = note_last),
            NULL, NULL, NULL, &self->reply));
        belay_llm_reply_free(self->reply);
    }
    BELAY_END;
}

static void
check_promise(const struct belay_result *result, bool disturbed)
{
    (void)disturbed;
    cr_expect(not(last_told.will_retry), "%" PRIu32 " attempts, then %s",
        last_told.number, trace_result(result));
}

Test(llm_stream_errors, l2_l29_no_retry_is_told_that_has_no_memory)
{
    static const struct fault_route routes[] = {FAULT_ON(CHAT_PATH,
        ANSWER("400 Bad", "{\"error\":{\"message\":\"stream_options\"}}"))};
    struct promised arguments = {.base_url = ""};
    const struct program program = {
        .function = &promised, .arguments = &arguments, .check = check_promise};
    char url[48];
    const int pid =
        fault_server_start_apart(routes, COUNT(routes), url, sizeof(url));

    (void)snprintf(
        arguments.base_url, sizeof(arguments.base_url), "%s/v1", url);
    (void)sweep_allocs(&program);
    cr_expect(eq(u32, last_told.number, 2));
    fault_server_stop_apart(pid);
}
