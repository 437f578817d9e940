/* test_llm_stream.c - streamed calls against a server that misbehaves.
 *
 * Time is a virtual clock's. Each stream is read by next and by run, which
 * must tell the same.
 */
#include <belay/llm_stream.h>

#include "test/support/answer_dump.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KEY "canary-7f3a91c2-key"

/* Servers count requests; those of a sweep are for all alike. */
static void
set_up(void)
{
    program_unswept = true;
}

TestSuite(llm_stream, .init = set_up, .fini = check_clean, .timeout = 60);

/* ---- routes ---- */

#define CHAT_PATH "/v1/chat/completions"
#define SSE_HEAD          \
    "HTTP/1.1 200 OK\r\n" \
    "Content-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define STREAM(body_) FAULT_TEXT(SSE_HEAD body_), FAULT_DO_CLOSE
#define ANSWER(status_, body_)                                             \
    FAULT_TEXT("HTTP/1.1 " status_ "\r\nConnection: close\r\n\r\n" body_), \
        FAULT_DO_CLOSE
#define DELTA(text_)                                                   \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text_ \
    "\"}}]}\n\n"
#define FINISH                                                         \
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":" \
    "\"stop\"}]}\n\n"
#define USAGE                                               \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3," \
    "\"completion_tokens\":4}}\n\n"
#define DONE "data: [DONE]\n\n"
#define HI DELTA("h") DELTA("i") FINISH USAGE DONE
#define HI_EVENTS "T0 'h'\nT0 'i'\nE0 'stop'\nDONE0\n"
#define OVERLOADED                                                 \
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":" \
    "\"overloaded_error\",\"message\":\"busy " KEY "\"}}\n\n"

/* ---- one stream, and all that can be said about it ---- */

struct outcome {
    int code;
    char message[1024];
    int foreign;
    char *events;
    char text[256];
    struct belay_llm_usage usage;
    struct belay_llm_attempt attempts[8];
    size_t attempt_count;
    enum belay_llm_end end;
};

struct spec {
    enum belay_llm_format format;
    struct belay_llm_stream_opts opts;
    bool run;
    int stop_at;  /* the callback refuses this event, from 1 */
    int leave_at; /* the block is left behind this event, from 1 */
    const char *body;
};

struct reader {
    struct spec spec;
    char base_url[128];
    struct outcome *outcome; /* NULL: a sweep */
    /* locals */
    belay_llm_client *client;
    belay_llm_stream *stream;
    struct belay_llm_event event;
    belay_llm_reply *kept;
    int events;
};

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct outcome *outcome = arg;

    if (outcome != NULL) {
        cr_assert(lt(sz, outcome->attempt_count, COUNT(outcome->attempts)));
        outcome->attempts[outcome->attempt_count++] = *attempt;
        cr_expect(eq(u32, attempt->number, (uint32_t)outcome->attempt_count));
    }
}

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    struct reader *self = arg;

    if (self->outcome != NULL) {
        event_dump(&self->outcome->events, event);
    }
    return ++self->events == self->spec.stop_at ? BELAY_EINVAL : 0;
}

static void
note_result(struct outcome *outcome, const struct belay_result *result)
{
    outcome->code = result->code;
    (void)belay_result_format(
        result, outcome->message, sizeof(outcome->message));
    if (result->error != NULL) {
        (void)belay_error_foreign(result->error, &outcome->foreign);
    }
}

static void
note_reply(struct outcome *outcome, belay_llm_reply *reply)
{
    const struct belay_slice text = belay_llm_reply_text(reply);

    (void)snprintf(outcome->text, sizeof(outcome->text), "%.*s", (int)text.len,
        text.data != NULL ? text.data : "");
    outcome->usage = *belay_llm_reply_usage(reply);
    outcome->usage.raw = (struct belay_slice){NULL, 0};
    outcome->end = belay_llm_reply_end(reply, NULL);
}

static belay_next
open_stream(belay_task *task, struct reader *self)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"say hi to the world", 19}}};
    const char *body = self->spec.body != NULL ? self->spec.body : "";

    self->spec.opts.size = sizeof(self->spec.opts);
    if (self->outcome != NULL) {
        self->spec.opts.keep = &self->kept;
    }
    return belay_llm_stream_open(task, self->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1,
            .format = self->spec.format, .max_tokens = 9,
            .body = {body, strlen(body)}, .on_attempt = on_attempt,
            .arg = self->outcome),
        &self->spec.opts, &self->stream);
}

struct pull {
    struct reader *read;
    bool over;
};

/* By next, up to the end or the event at which to leave. */
BELAY_ASYNC(pull)
{
    struct reader *read = self->read;

    BELAY_BEGIN;
    while (!self->over) {
        BELAY_AWAIT(belay_llm_stream_next(task, read->stream, &read->event));
        (void)on_event(&read->event, read);
        self->over = read->event.type == BELAY_LLM_EVENT_DONE
                     || read->events == read->spec.leave_at;
    }
    BELAY_END;
}

static belay_next
read_stream(belay_task *task, struct reader *self)
{
    return self->spec.run
               ? belay_llm_stream_run(task, self->stream, on_event, self)
               : BELAY_CALL(pull, .read = self);
}

static void
note_end(struct reader *self, const struct belay_result *result)
{
    if (self->outcome != NULL) {
        note_result(self->outcome, result);
    }
}

BELAY_ASYNC(reader)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .api_key = KEY,
            .seed = 1),
        &self->client)) {
        BELAY_WITH (open_stream(task, self)) {
            BELAY_TRY(read_stream(task, self));
            note_end(self, belay_result(task));
            if (self->outcome == NULL && belay_result(task)->code < 0) {
                return belay_pass(task);
            }
        }
        if (self->kept != NULL) {
            note_reply(self->outcome, self->kept);
            belay_llm_reply_free(self->kept);
        }
    }
    BELAY_END;
}

static struct outcome
run_at(const char *base_url, const struct spec *spec)
{
    struct outcome outcome = {0};
    struct reader asked = {.spec = *spec, .outcome = &outcome};
    struct belay_result result = {0};
    const struct program program = {.function = &reader, .arguments = &asked};
    int code;

    (void)snprintf(asked.base_url, sizeof(asked.base_url), "%s/v1", base_url);
    code = program_run(&program, &result);
    if (code < 0) {
        note_result(&outcome, &result);
        belay_error_unref(result.error);
    }
    if (outcome.events == NULL) {
        outcome.events = calloc(1, 1);
    }
    cr_expect(eq(ptr, strstr(outcome.message, "canary"), NULL), "%s",
        outcome.message);
    return outcome;
}

/* By next and by run, against a fresh server each. */
static struct outcome
run_both(const struct fault_route *routes, size_t count, struct spec spec)
{
    struct outcome outcomes[2];

    for (size_t i = 0; i < 2; i++) {
        struct fault_server *server = fault_server_start(routes, count);

        spec.run = i == 1;
        outcomes[i] = run_at(fault_server_url(server), &spec);
        fault_server_stop(server);
    }
    cr_expect(eq(int, outcomes[0].code, outcomes[1].code));
    cr_expect(eq(str, outcomes[0].events, outcomes[1].events));
    cr_expect(eq(str, (char *)outcomes[0].text, (char *)outcomes[1].text));
    cr_expect(eq(sz, outcomes[0].attempt_count, outcomes[1].attempt_count));
    free(outcomes[1].events);
    return outcomes[0];
}

#define READ(routes, ...) \
    run_both((routes), COUNT(routes), (struct spec){__VA_ARGS__})

static void
expect_events(struct outcome *outcome, const char *events, const char *text)
{
    cr_expect(eq(str, outcome->events, (char *)(uintptr_t)events), "%s",
        outcome->message);
    cr_expect(eq(str, outcome->text, (char *)(uintptr_t)text));
    free(outcome->events);
}

/* ---- streams that go well ---- */

Test(llm_stream, l1_a_chat)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, HI_EVENTS, "hi");
    cr_expect(eq(int, (int)outcome.end, BELAY_LLM_END_STOP));
    cr_expect(eq(i64, outcome.usage.in_total, 3));
    cr_expect(eq(i64, outcome.usage.out_total, 4));
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_EXACT));
    cr_assert(eq(sz, outcome.attempt_count, 1));
    cr_expect(eq(int, outcome.attempts[0].status, 200));
    cr_expect(
        eq(int, (int)outcome.attempts[0].billed, (int)BELAY_LLM_BILLED_YES));
}

#define TYPED(type_, rest_) \
    "event: " type_ "\ndata: {\"type\":\"" type_ "\"" rest_ "}\n\n"

Test(llm_stream, l1_the_other_formats)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/responses",
            STREAM(TYPED("response.output_text.delta", ",\"delta\":\"hi\"")
                    TYPED("response.completed",
                        ",\"response\":{\"status\":\"completed\",\"output\":"
                        "[],\"usage\":{\"input_tokens\":3,"
                        "\"output_tokens\":4}}"))),
        FAULT_ON("/v1/messages",
            STREAM(TYPED("message_start",
                ",\"message\":{\"usage\":{\"input_tokens\":3,"
                "\"output_tokens\":1}}") TYPED("content_block_delta",
                ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":"
                "\"hi\"}") TYPED("message_delta",
                ",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":"
                "{\"output_tokens\":4}") TYPED("message_stop", ""))),
    };
    static const enum belay_llm_format formats[] = {
        BELAY_LLM_FORMAT_RESPONSES, BELAY_LLM_FORMAT_MESSAGES};

    for (size_t i = 0; i < COUNT(formats); i++) {
        struct outcome outcome = READ(routes, .format = formats[i]);

        cr_expect(zero(int, outcome.code), "%s", outcome.message);
        cr_expect(eq(int, (int)outcome.end, BELAY_LLM_END_STOP));
        cr_expect(eq(i64, outcome.usage.in_total, 3));
        cr_expect(eq(i64, outcome.usage.out_total, 4));
        cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_EXACT));
        expect_events(&outcome,
            i == 0 ? "T0 'hi'\nE0 'completed'\nDONE0\n"
                   : "T0 'hi'\nE0 'end_turn'\nDONE0\n",
            "hi");
    }
}

Test(llm_stream, l19_bytes_one_by_one)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, FAULT_PIECES(SSE_HEAD HI, 1, 0), FAULT_DO_CLOSE)};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, HI_EVENTS, "hi");
}

Test(llm_stream, l17_l18_without_done_or_line_end)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH,
            STREAM(DELTA("hi") "data: {\"choices\":[{\"index\":0,\"delta\":{},"
                               "\"finish_reason\":\"stop\"}]}")),
    };
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\nDONE0\n", "hi");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_ESTIMATED));
    cr_expect(gt(i64, outcome.usage.in_total, 0));
    cr_expect(eq(i64, outcome.usage.out_total, 1));
}

Test(llm_stream, l18_a_reset_behind_the_end)
{
    static const struct fault_route routes[] = {FAULT_ON(CHAT_PATH,
        FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" DELTA(
            "hi") FINISH),
        FAULT_DO_CLOSE)};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\nDONE0\n", "hi");
}

Test(llm_stream, l16_what_follows_done_is_not_read)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(HI DELTA("more") "data: {broken\n\n"))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, HI_EVENTS, "hi");
}

Test(llm_stream, l2_a_server_that_refuses_stream_options)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH,
            ANSWER("400 Bad", "{\"error\":{\"message\":\"stream_options: "
                              "unknown\"}}")),
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hi") FINISH DONE)),
    };
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome =
        run_at(fault_server_url(server), &(const struct spec){.run = true});
    struct fault_request request;

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\nDONE0\n", "hi");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_ESTIMATED));
    cr_assert(eq(sz, outcome.attempt_count, 2));
    cr_expect(eq(u32, outcome.attempts[1].number, 2));
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(ne(ptr, strstr(request.bytes, "include_usage"), NULL));
    free(request.bytes);
    cr_assert(fault_server_request(server, 1, &request));
    cr_expect(eq(ptr, strstr(request.bytes, "stream_options"), NULL));
    cr_expect(ne(ptr, strstr(request.bytes, "\"stream\":true"), NULL));
    free(request.bytes);
    fault_server_stop(server);
}

Test(llm_stream, l2_only_once)
{
    static const struct fault_route routes[] = {FAULT_ON(CHAT_PATH,
        ANSWER("400 Bad", "{\"error\":{\"message\":\"stream_options\"}}"))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(eq(int, outcome.code, BELAY_EHTTP));
    cr_expect(eq(int, outcome.foreign, 400));
    cr_expect(eq(sz, outcome.attempt_count, 2));
    expect_events(&outcome, "", "");
}

Test(llm_stream, l5_a_body_of_the_callers_own)
{
    static char body[] = "{ \"stream\" : true, \"seed\":9007199254740993}";
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome =
        run_at(fault_server_url(server), &(const struct spec){.body = body});
    struct fault_request request;

    expect_events(&outcome, HI_EVENTS, "hi");
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(eq(str, request.bytes + request.head_len, body));
    free(request.bytes);
    fault_server_stop(server);
}

/* ---- answers that are no stream ---- */

Test(llm_stream, l25_an_answer_in_one_piece)
{
    static const struct fault_route routes[] = {FAULT_ON(CHAT_PATH,
        ANSWER("200 OK",
            "\r\n {\"choices\":[{\"message\":{\"content\":\"hi\"},"
            "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,"
            "\"completion_tokens\":4}}"))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\nDONE0\n", "hi");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_EXACT));
}

Test(llm_stream, l25_something_else_entirely)
{
    static const char *const bodies[] = {"<html>busy</html>", "{\"a\":1}",
        "[1]", "data: [DONE]\n\n", "{\"choices\":[{\"message\":"};

    for (size_t i = 0; i < COUNT(bodies); i++) {
        char text[256];
        const struct fault_route routes[] = {
            FAULT_ON(CHAT_PATH, FAULT_TEXT(text), FAULT_DO_CLOSE)};
        struct outcome outcome;

        (void)snprintf(text, sizeof(text),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", bodies[i]);
        outcome = READ(routes, .stop_at = 0);
        cr_expect(eq(int, outcome.code, BELAY_EREPLY), "%s: %s", bodies[i],
            outcome.message);
        cr_expect(eq(sz, outcome.attempt_count, 2), "%s", bodies[i]);
        expect_events(&outcome, "", "");
    }
}

/* ---- errors in streams ---- */

Test(llm_stream, l22_l30_an_error_before_the_first_event_is_retried)
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

Test(llm_stream, l21_an_error_behind_the_first_event_ends_it)
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

Test(llm_stream, l22_an_error_that_cannot_get_better_is_not_retried)
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

Test(llm_stream, l31_an_empty_account_in_a_stream)
{
    static const struct fault_route routes[] = {FAULT_ON(
        CHAT_PATH, STREAM("data: {\"error\":{\"code\":\"insufficient_quota\","
                          "\"message\":\"pay\"}}\n\n"))};
    struct outcome outcome = READ(routes, .stop_at = 0);

    cr_expect(eq(int, outcome.code, BELAY_EQUOTA));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(outcome.attempts[0].quota);
    expect_events(&outcome, "", "");
}

Test(llm_stream, l23_an_event_that_is_not_json)
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

Test(llm_stream, l24_a_stream_without_an_end_is_cut)
{
    static const char *const bodies[] = {DELTA("hi"),
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

Test(llm_stream, l24_messages_end_with_message_stop_only)
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

Test(llm_stream, l24_l30_a_cut_before_the_first_event_is_retried)
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

Test(llm_stream, l30_a_reset_behind_the_first_event_ends_it)
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

Test(llm_stream, l30_restart_is_told_first)
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

Test(llm_stream, l30_statuses_are_retried_as_ever)
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

Test(llm_stream, l28_an_event_above_the_limit)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h") "data: "),
            FAULT_DO_FILL(200000), FAULT_DO_HANG)};
    struct outcome outcome = READ(routes, .opts.max_event_bytes = 65536);

    cr_expect(eq(int, outcome.code, BELAY_ETOOLARGE), "%s", outcome.message);
    expect_events(&outcome, "T0 'h'\n", "h");
}

/* ---- the user's part ---- */

Test(llm_stream, a_callback_ends_the_stream)
{
    static const struct fault_route routes[] = {FAULT_ON(
        CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h") DELTA("i")), FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome = run_at(fault_server_url(server),
        &(const struct spec){.run = true, .stop_at = 1});

    cr_expect(eq(int, outcome.code, BELAY_EINVAL));
    expect_events(&outcome, "T0 'h'\n", "h");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_PARTIAL));
    fault_server_stop(server);
}

Test(llm_stream, l44_leaving_early_closes_the_connection)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h")), FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome =
        run_at(fault_server_url(server), &(const struct spec){.leave_at = 1});

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'h'\n", "h");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_PARTIAL));
    fault_server_stop(server);
}

Test(llm_stream, l44_drain_reads_on_for_the_counts)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h")), FAULT_DO_SLEEP(20),
            FAULT_TEXT(DELTA("i") FINISH USAGE DONE), FAULT_DO_CLOSE)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome = run_at(fault_server_url(server),
        &(const struct spec){.leave_at = 1, .opts.drain = belay_seconds(10)});

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'h'\n", "hi");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_EXACT));
    cr_expect(eq(i64, outcome.usage.out_total, 4));
    fault_server_stop(server);
}

/* ---- a connection for two ---- */

struct twice {
    const char *base_url;
    belay_llm_client *client;
    belay_llm_reply *reply;
    int i;
};

BELAY_ASYNC(twice)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url), &self->client)) {
        for (self->i = 0; self->i < 3; self->i++) {
            BELAY_AWAIT(belay_llm_complete_stream(task, self->client,
                BELAY_LLM_CHAT(.model = "m", .messages = messages,
                    .message_count = 1),
                NULL, NULL, NULL, &self->reply));
            cr_expect(eq(sz, belay_llm_reply_text(self->reply).len, 2));
            belay_llm_reply_free(self->reply);
        }
    }
    BELAY_END;
}

Test(llm_stream, l16_the_connection_is_used_again)
{
    static const struct fault_route routes[] = {FAULT_ON("/chat/completions",
        FAULT_TEXT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        FAULT_TEXT("4d\r\n" DELTA("hi") "\r\n"),
        FAULT_TEXT("e\r\n" DONE "\r\n"), FAULT_DO_SLEEP(5),
        FAULT_TEXT("0\r\n\r\n"))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));

    cr_expect(zero(int, RUN(twice, .base_url = fault_server_url(server))));
    cr_expect(eq(sz, fault_server_accepted(server), 1));
    fault_server_stop(server);
}

/* ---- messages that take long ---- */

struct lengthy {
    const char *base_url;
    belay_llm_client *client;
    belay_llm_reply *reply;
    int64_t max_tokens;
};

BELAY_ASYNC(lengthy)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url,
            .format = BELAY_LLM_FORMAT_MESSAGES),
        &self->client)) {
        BELAY_AWAIT(belay_llm_complete(task, self->client,
            BELAY_LLM_CHAT(.model = "m", .messages = messages,
                .message_count = 1, .max_tokens = self->max_tokens),
            &self->reply));
        cr_expect(eq(sz, belay_llm_reply_text(self->reply).len, 2));
        cr_expect(eq(int, (int)belay_llm_reply_end(self->reply, NULL),
            BELAY_LLM_END_STOP));
        belay_llm_reply_free(self->reply);
    }
    BELAY_END;
}

Test(llm_stream, l3_much_room_is_asked_for_as_a_stream)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/messages",
            STREAM(TYPED("content_block_delta",
                ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":"
                "\"x\"}"))), /* cut: begun anew, as any plain call */
        FAULT_ON("/v1/messages",
            STREAM(TYPED("message_start", ",\"message\":{}")
                    TYPED("content_block_delta",
                        ",\"index\":0,\"delta\":{\"type\":\"text_delta\","
                        "\"text\":\"hi\"}") TYPED("message_delta",
                        ",\"delta\":{\"stop_reason\":\"end_turn\"}")
                        TYPED("message_stop", "")))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct fault_request request;

    cr_expect(zero(int, RUN(lengthy, .base_url = fault_server_url(server),
                            .max_tokens = 21334)));
    cr_assert(fault_server_request(server, 1, &request));
    cr_expect(ne(ptr, strstr(request.bytes, "\"stream\":true"), NULL));
    free(request.bytes);
    fault_server_stop(server);
}

Test(llm_stream, l3_little_room_is_not)
{
    static const struct fault_route routes[] = {FAULT_ON("/v1/messages",
        ANSWER("200 OK", "{\"content\":[{\"type\":\"text\",\"text\":\"hi\"}],"
                         "\"stop_reason\":\"end_turn\"}"))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct fault_request request;

    cr_expect(zero(int, RUN(lengthy, .base_url = fault_server_url(server),
                            .max_tokens = 21333)));
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(eq(ptr, strstr(request.bytes, "stream"), NULL));
    free(request.bytes);
    fault_server_stop(server);
}

/* ---- sweeps ---- */

static void
run_sweep(const struct fault_route *routes, size_t count, struct spec spec)
{
    struct reader asked = {.spec = spec};
    char url[64];
    const int pid = fault_server_start_apart(routes, count, url, sizeof(url));
    const struct program program = {.function = &reader, .arguments = &asked};

    (void)snprintf(asked.base_url, sizeof(asked.base_url), "%s/v1", url);
    program_unswept = false;
    sweep(&program);
    fault_server_stop_apart(pid);
}

Test(llm_stream, l42_sweep_of_a_stream)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h")), FAULT_DO_SLEEP(1),
            FAULT_TEXT(DELTA("i") FINISH USAGE DONE), FAULT_DO_CLOSE)};

    run_sweep(routes, COUNT(routes), (struct spec){.run = false});
    run_sweep(routes, COUNT(routes), (struct spec){.run = true});
}

Test(llm_stream, l42_sweep_of_a_stream_that_restarts)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("h") OVERLOADED))};

    run_sweep(routes, COUNT(routes), (struct spec){.opts.restart = true});
}

Test(llm_stream, l42_sweep_of_a_stream_that_is_drained)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h")), FAULT_DO_SLEEP(1),
            FAULT_TEXT(DELTA("i") FINISH USAGE DONE), FAULT_DO_CLOSE)};

    run_sweep(routes, COUNT(routes),
        (struct spec){.leave_at = 1, .opts.drain = belay_seconds(5)});
}

Test(llm_stream, l42_sweep_of_an_answer_in_one_piece)
{
    static const struct fault_route routes[] = {FAULT_ON(CHAT_PATH,
        ANSWER("200 OK", "{\"choices\":[{\"message\":{\"content\":\"hi\"},"
                         "\"finish_reason\":\"stop\"}]}"))};

    run_sweep(routes, COUNT(routes), (struct spec){.run = true});
}
