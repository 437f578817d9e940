/* test_llm_stream.c - streamed calls that go well, or are left: L1-L3, L5,
 * L16-L19, L25, L42, L44.
 */
#include "test/support/stream_scene.h"
#include "test/support/trial_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

TestSuite(llm_stream, .fini = check_clean, .timeout = 60);

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

Test(llm_stream, l44_l48_what_is_told_at_the_start_is_no_total)
{
    static const struct fault_route routes[] = {FAULT_ON("/v1/messages",
        STREAM(TYPED("message_start", ",\"message\":{\"usage\":"
                                      "{\"input_tokens\":7,\"output_tokens\":"
                                      "1}}") TYPED("content_block_delta",
            ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":"
            "\"hello world, hello\"}") TYPED("message_delta",
            ",\"delta\":{\"stop_reason\":\"end_turn\"}")
                TYPED("message_stop", "")))};
    struct outcome outcome = READ(routes, .format = BELAY_LLM_FORMAT_MESSAGES);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'hello world, hello'\nE0 'end_turn'\nDONE0\n",
        "hello world, hello");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_ESTIMATED));
    cr_expect(eq(i64, outcome.usage.in_total, 7));
    cr_expect(eq(i64, outcome.usage.out_total, 5), "guessed from the text");
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
        stream_at(fault_server_url(server), &(const struct spec){.run = true});
    struct fault_request request;

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'hi'\nE0 'stop'\nDONE0\n", "hi");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_ESTIMATED));
    cr_assert(eq(sz, outcome.attempt_count, 2));
    cr_expect(outcome.attempts[0].retryable && outcome.attempts[0].will_retry);
    cr_expect(zero(i64, outcome.attempts[0].delay.ns));
    cr_expect(eq(u32, outcome.attempts[1].number, 2));
    cr_expect(not(outcome.attempts[1].will_retry));
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
        stream_at(fault_server_url(server), &(const struct spec){.body = body});
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

/* ---- the user's part ---- */

Test(llm_stream, a_callback_ends_the_stream)
{
    static const struct fault_route routes[] = {FAULT_ON(
        CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h") DELTA("i")), FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome = stream_at(fault_server_url(server),
        &(const struct spec){.run = true, .stop_at = 1});

    cr_expect(eq(int, outcome.code, BELAY_EINVAL));
    expect_events(&outcome, "T0 'h'\n", "h");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_PARTIAL));
    fault_server_stop(server);
}

/* It refuses to hear of the end, which has come all the same. */
Test(llm_stream, l44_a_callback_that_refuses_the_end)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome = stream_at(fault_server_url(server),
        &(const struct spec){.run = true, .stop_at = 4});

    cr_expect(eq(int, outcome.code, BELAY_EINVAL));
    expect_events(&outcome, HI_EVENTS, "hi");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_EXACT));
    cr_expect(eq(i64, outcome.usage.in_total, 3));
    cr_expect(eq(i64, outcome.usage.out_total, 4));
    fault_server_stop(server);
}

/* The shortest structs there can be, with nothing behind them that may be read.
 */
struct odd_sizes {
    const void *small;
    belay_llm_client *client;
    belay_llm_stream *stream;
    belay_llm_reply *reply;
};

#define EXPECT_REFUSED(call_) \
    BELAY_TRY(call_);         \
    cr_expect(eq(int, belay_result(task)->code, BELAY_EINVAL))

BELAY_ASYNC(odd_sizes)
{
    const struct belay_llm_chat *chat = self->small;
    const struct belay_llm_stream_opts *opts = self->small;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = "http://127.0.0.1:1/v1"),
        &self->client)) {
        EXPECT_REFUSED(
            belay_llm_complete(task, self->client, chat, &self->reply));
        EXPECT_REFUSED(belay_llm_complete_stream(
            task, self->client, chat, NULL, NULL, NULL, &self->reply));
        EXPECT_REFUSED(belay_llm_complete_stream(task, self->client,
            BELAY_LLM_CHAT(.model = "m"), opts, NULL, NULL, &self->reply));
    }
    BELAY_END;
}

Test(llm_stream, a_struct_of_another_size_is_not_read)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t size = sizeof(size_t);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert(ne(ptr, pages, MAP_FAILED));
    memcpy(pages + page - size, &size, size);
    cr_assert(zero(int, mprotect(pages + page, page, PROT_NONE)));
    cr_expect(zero(int, RUN(odd_sizes, .small = pages + page - size)));
    cr_assert(zero(int, munmap(pages, 2 * page)));
}

Test(llm_stream, l44_leaving_early_closes_the_connection)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, FAULT_TEXT(SSE_HEAD DELTA("h")), FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome = stream_at(
        fault_server_url(server), &(const struct spec){.leave_at = 1});

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
    struct outcome outcome = stream_at(fault_server_url(server),
        &(const struct spec){.leave_at = 1, .opts.drain = belay_seconds(10)});

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    expect_events(&outcome, "T0 'h'\n", "hi");
    cr_expect(eq(int, (int)outcome.usage.state, BELAY_LLM_USAGE_EXACT));
    cr_expect(eq(i64, outcome.usage.out_total, 4));
    fault_server_stop(server);
}

/* ---- a connection for two ---- */

/* `url` is a part of the arguments. */
static void
expect_ok(struct fault_server *server, const belay_function *function,
    const void *arguments, char url[64])
{
    const struct program program = {
        .function = function, .arguments = arguments};

    (void)snprintf(url, 64, "%s", fault_server_url(server));
    sweep_with_server(&program, url, 64, NULL);
    cr_expect(zero(int, program_run_once(&program, NULL)));
}

struct twice {
    char base_url[64];
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

    struct twice arguments = {.base_url = ""};

    expect_ok(server, &twice, &arguments, arguments.base_url);
    cr_expect(eq(sz, fault_server_accepted(server), 1));
    fault_server_stop(server);
}

/* ---- messages that take long ---- */

struct lengthy {
    char base_url[64];
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
    struct lengthy arguments = {.max_tokens = 21334};
    struct fault_request request;

    expect_ok(server, &lengthy, &arguments, arguments.base_url);
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
    struct lengthy arguments = {.max_tokens = 21333};
    struct fault_request request;

    expect_ok(server, &lengthy, &arguments, arguments.base_url);
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
    const struct program program = {.function = &reading, .arguments = &asked};

    (void)snprintf(asked.base_url, sizeof(asked.base_url), "%s/v1", url);
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
