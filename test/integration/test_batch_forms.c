/* test_batch_forms.c - the lines that a batch reads, sends and writes. */
#include "test/support/batch_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(
    batch_forms, .init = batch_set_up, .fini = batch_tear_down, .timeout = 120);

/* ---- the forms of lines ---- */

Test(batch_forms, b1_b4_b7_success_line)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/chat/completions",
            REPLY("200 OK", "X-Request-Id: req-7\r\n", OK_BODY)),
        FAULT_ON("/v1/messages", OK_REPLY)};

    serve(routes, COUNT(routes));
    give("\n" REQUEST(
        "a", CHAT, "{\"model\":\"m\"}") "\r\n   \n"
                                        "{\"custom_id\":\"b\",\"params\":{}}");
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    expect_text(line_of(output, "a"),
        "{\"id\":\"batch_req_JOB_2\",\"custom_id\":\"a\",\"response\":"
        "{\"status_code\":200,\"request_id\":\"req-7\",\"body\":" OK_BODY
        "},\"error\":null}");
    expect_text(line_of(output, "b"),
        "{\"id\":\"batch_req_JOB_5\",\"custom_id\":\"b\",\"response\":"
        "{\"status_code\":200,\"request_id\":null,\"body\":" OK_BODY
        "},\"error\":null}");
    cr_expect(eq(sz, count_lines(output), 2));
    expect_text(errors, "");
    cr_expect(eq(int, access(errors_path, F_OK), -1), "no failure, no file");
    cr_expect(eq(sz, fault_server_requests(server, "/v1/messages"), 1));
    cr_expect(eq(u64, result.stats.lines, 2));
    cr_expect(eq(u64, result.stats.ok, 2));
    cr_expect(eq(u64, result.stats.tokens_in, 6));
    cr_expect(eq(u64, result.stats.tokens_out, 4));
    cr_expect(eq(u64, result.stats.statuses[200], 2));
    cr_expect(eq(u64, result.stats.latency_us.count, 2));
}

/* Each format has a header of its own for it. */
Test(batch_forms, b4_the_request_id_is_where_the_format_has_it)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, REPLY("200 OK", "X-Request-Id: x-1\r\nRequest-Id: plain-1\r\n",
                  OK_BODY))};
    static const struct {
        const char *id;
        const char *told;
    } lines[] = {{"chat", "x-1"}, {"responses", "x-1"}, {"embeddings", "x-1"},
        {"messages", "plain-1"}};
    char wanted[64];

    serve(routes, COUNT(routes));
    give(REQUEST("chat", CHAT, "{}") REQUEST("responses", "/v1/responses", "{}")
            REQUEST("embeddings", "/v1/embeddings", "{}")
                REQUEST("messages", "/v1/messages", "{}"));
    cr_expect(eq(int, run_it(), 0));
    for (size_t i = 0; i < COUNT(lines); i++) {
        (void)snprintf(
            wanted, sizeof(wanted), "\"request_id\":\"%s\"", lines[i].told);
        cr_expect(ne(ptr, strstr(line_of(output, lines[i].id), wanted), NULL),
            "%s", line_of(output, lines[i].id));
    }
}

Test(batch_forms, b4_the_request_id_of_a_gateway_that_knows_one_header)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("200 OK", "X-Request-Id: x-1\r\n", OK_BODY))};

    serve(routes, COUNT(routes));
    give(REQUEST("messages", "/v1/messages", "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(ne(ptr,
        strstr(line_of(output, "messages"), "\"request_id\":\"x-1\""), NULL));
}

Test(batch_forms, b4_only_line_breaks_between_tokens_are_left_out)
{
#define PRETTY(break_)                                              \
    "{" break_ "  \"a\" : 1.0," break_ "\t\"b\":[1e400, -0," break_ \
    "9007199254740993 ],\"a\":\"\\n\\u000a \xc3\xa9\"" break_ "}"
    static const struct fault_route routes[] = {
        ON("lf", REPLY("200 OK", "", PRETTY("\n") "\n")),
        ON("crlf", REPLY("200 OK", "", PRETTY("\r\n") "\r\n\r\n"))};

    serve(routes, COUNT(routes));
    give(REQUEST("lf", SCORE("lf"), "{}") REQUEST("crlf", SCORE("crlf"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    expect_text(line_of(output, "lf"),
        "{\"id\":\"batch_req_JOB_1\",\"custom_id\":\"lf\",\"response\":"
        "{\"status_code\":200,\"request_id\":null,\"body\":" PRETTY(
            "") "},\"error\":null}");
    expect_text(line_of(output, "crlf"),
        "{\"id\":\"batch_req_JOB_2\",\"custom_id\":\"crlf\",\"response\":"
        "{\"status_code\":200,\"request_id\":null,\"body\":" PRETTY(
            "") "},\"error\":null}");
}

Test(batch_forms, b4_custom_id_stays_as_it_was_written)
{
    serve(always_ok, 1);
    give("{\"url\":\"" CHAT "\",\"body\":{},\"method\":\"POST\","
         "\"custom_id\":\"\\u00e9\\/\\ud83c\\udf0d \\\"x\\\" \xe2\x82\xac\"}");
    cr_expect(eq(int, run_it(), 0));
    cr_expect(
        ne(ptr,
            strstr(output, "\"custom_id\":\"\\u00e9\\/\\ud83c\\udf0d \\\"x\\\" "
                           "\xe2\x82\xac\",\"response\""),
            NULL),
        "%s", output);
}

#define AWKWARD                                                           \
    "{ \"seed\" :9007199254740993,\"t\":1e400,\"z\":1.0,\"a\":-0.0,"      \
    "\"model\" : \"m\", \"a\":\"twice\\u0000\\ud83c\\/\\u00e9\xc3\xa9\"," \
    "\"nested\":{\"model\":\"inner\",\"e\":[[],{ }]},\t\"last\":1E+5 }"

static const char *
sent_body(size_t index)
{
    static struct fault_request request;

    free(request.bytes);
    cr_assert(fault_server_request(server, index, &request));
    return request.bytes + request.head_len;
}

Test(batch_forms, b3_body_is_sent_byte_for_byte)
{
    serve(always_ok, 1);
    give(REQUEST("a", CHAT, AWKWARD));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 1));
    expect_text((char *)(uintptr_t)sent_body(0), AWKWARD);
}

Test(batch_forms, b3_another_model_changes_nothing_else)
{
    serve(always_ok, 1);
    opts.model = "other \"one\"";
    give(REQUEST("a", CHAT, AWKWARD));
    cr_expect(eq(int, run_it(), 0));
    expect_text((char *)(uintptr_t)sent_body(0),
        "{ \"seed\" :9007199254740993,\"t\":1e400,\"z\":1.0,\"a\":-0.0,"
        "\"model\" : \"other \\\"one\\\"\", "
        "\"a\":\"twice\\u0000\\ud83c\\/\\u00e9\xc3\xa9\","
        "\"nested\":{\"model\":\"inner\",\"e\":[[],{ }]},\t\"last\":1E+5 }");
}

/* ---- bad lines ---- */

static void
expect_bad(
    const char *custom_id, size_t number, const char *code, const char *cause)
{
    char wanted[256];
    char *line = line_of(errors, custom_id);

    (void)snprintf(wanted, sizeof(wanted),
        "{\"id\":\"batch_req_JOB_%zu\",\"custom_id\":\"%s\",\"response\":null,"
        "\"error\":{\"code\":\"%s\",\"message\":\"line %zu: ",
        number, custom_id, code, number);
    cr_expect(eq(int, strncmp(line, wanted, strlen(wanted)), 0), "%s not %s",
        line, wanted);
    cr_expect(ne(ptr, strstr(line, cause), NULL), "%s in %s", cause, line);
}

static void
expect_bad_nameless(size_t number, const char *code, const char *cause)
{
    char wanted[256];
    const char *at;

    (void)snprintf(wanted, sizeof(wanted),
        "{\"id\":\"batch_req_JOB_%zu\",\"custom_id\":null,\"response\":null,"
        "\"error\":{\"code\":\"%s\",\"message\":\"line %zu: ",
        number, code, number);
    at = strstr(errors, wanted);
    cr_expect(ne(ptr, (void *)(uintptr_t)at, NULL), "%s in %s", wanted, errors);
    if (at != NULL) {
        at = strstr(at, cause);
        cr_expect(ne(ptr, (void *)(uintptr_t)at, NULL), "%s", cause);
    }
}

/* Good lines are mixed with bad ones of every kind, and none is lost. */
Test(batch_forms, b2_bad_lines_are_told_and_stop_nothing)
{
    static const char lines[] =
        /* 1 */ REQUEST("ok-1", CHAT, "{}")
        /* 2 */ "this is no JSON\n"
                /* 3 */ "{\"custom_id\":\"cut\",\"method\":\"POST\",\n"
                /* 4 */ "[1, 2]\n"
                /* 5 */ "{\"method\":\"POST\",\"url\":\"" CHAT
                "\",\"body\":{}}\n"
                /* 6 */ "{\"custom_id\":7,\"method\":\"POST\",\"url\":\"" CHAT
                "\",\"body\":{}}\n"
        /* 7 */ REQUEST("ok-1", CHAT, "{}")
        /* 8 */ REQUEST("far", "/v1/files", "{}")
        /* 9 */ REQUEST("stream", CHAT, "{\"stream\":true}")
        /* 10 */ "{\"custom_id\":\"get\",\"method\":\"GET\",\"url\":\"" CHAT
                 "\",\"body\":{}}\n"
                 /* 11 */ "{\"custom_id\":\"nobody\",\"method\":\"POST\","
                 "\"url\":\"" CHAT "\"}\n"
        /* 12 */ REQUEST("text", CHAT, "\"text\"")
        /* 13 */ REQUEST("utf", CHAT, "{\"a\":\"\xff\"}")
        /* 14 */ REQUEST("nul", CHAT, "{\"a\":\"\\0\"}")
        /* 15 */ REQUEST("raw", CHAT, "{\"a\":\"\x01\"}")
        /* 16 */ REQUEST("two", CHAT, "{}} {")
        /* 17 */ REQUEST("deep", CHAT, "{\"a\":1,}")
        /* 18 */ REQUEST("ok-2", CHAT, "{\"stream\":false}");

    serve(always_ok, 1);
    give(lines);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(sz, expect_whole(output), 2));
    cr_expect(eq(sz, expect_whole(errors), 16));
    cr_expect(eq(u64, result.stats.lines, 18));
    cr_expect(eq(u64, result.stats.sent, 2));
    cr_expect(eq(u64, result.stats.failed, 16));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 2));
    cr_expect(ne(str, line_of(output, "ok-1"), (char[]){""}));
    cr_expect(ne(str, line_of(output, "ok-2"), (char[]){""}));
    expect_bad_nameless(2, "invalid_json_line", "not valid JSON at byte");
    expect_bad("cut", 3, "invalid_json_line", "not valid JSON at byte");
    expect_bad_nameless(4, "invalid_json_line", "the line is not an object");
    expect_bad_nameless(5, "invalid_json_line", "custom_id is missing");
    expect_bad_nameless(6, "invalid_json_line", "custom_id is not a string");
    expect_bad("ok-1", 7, "duplicate_custom_id", "'ok-1' was used before");
    expect_bad("far", 8, "unsupported_url", "'/v1/files'");
    expect_bad("stream", 9, "stream_not_allowed", "stream");
    expect_bad("get", 10, "invalid_json_line", "method is not 'POST'");
    expect_bad("nobody", 11, "invalid_json_line", "body is missing");
    expect_bad("text", 12, "invalid_json_line", "body is not an object");
    expect_bad("utf", 13, "invalid_json_line", "at byte");
    expect_bad("nul", 14, "invalid_json_line", "at byte");
    expect_bad("raw", 15, "invalid_json_line", "at byte");
    expect_bad("two", 16, "invalid_json_line", "at byte");
    expect_bad("deep", 17, "invalid_json_line", "at byte");
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_INVALID_JSON], 13));
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_DUPLICATE_ID], 1));
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_UNSUPPORTED_URL], 1));
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_STREAM], 1));
}

Test(batch_forms, b2_a_nul_byte_in_a_line)
{
    static const char lines[] =
        REQUEST("a", CHAT, "{\"a\":\"x\0y\"}") "\0\n" REQUEST("b", CHAT, "{}");

    serve(always_ok, 1);
    test_file_append("in", lines, sizeof(lines) - 1);
    cr_expect(eq(int, run_it(), 0));
    expect_bad("a", 1, "invalid_json_line", "at byte");
    expect_bad_nameless(2, "invalid_json_line", "at byte");
    cr_expect(eq(u64, result.stats.ok, 1));
}

Test(batch_forms, b2_x7_a_line_of_70_mib_is_too_large)
{
    FILE *file = open_input();
    char block[65536];

    memset(block, 'x', sizeof(block));
    (void)fputs(REQUEST("before", CHAT, "{}"), file);
    (void)fputs("{\"custom_id\":\"big\",\"method\":\"POST\",\"url\":\"" CHAT
                "\",\"body\":{\"a\":\"",
        file);
    for (size_t i = 0; i < 70 * 16; i++) {
        (void)fwrite(block, 1, sizeof(block), file);
    }
    (void)fputs("\"}}\n" REQUEST("after", CHAT, "{}"), file);
    cr_assert(eq(int, fclose(file), 0));
    serve(always_ok, 1);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 2));
    expect_bad("big", 2, "line_too_large", "longer than the limit");
    cr_expect(ne(str, line_of(output, "before"), (char[]){""}));
    cr_expect(ne(str, line_of(output, "after"), (char[]){""}));
}

Test(batch_forms, b2_without_the_check_ids_may_repeat)
{
    serve(always_ok, 1);
    opts.no_id_check = true;
    give(REQUEST("a", CHAT, "{}") REQUEST("a", CHAT, "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 2));
}

Test(batch_forms, an_empty_input_is_a_batch_of_nothing)
{
    serve(always_ok, 1);
    give("");
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(u64, result.stats.lines, 0));
    expect_text(output, "");
    give("\xef\xbb\xbf\n\n  \r\n");
    (void)unlink(output_path);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.lines, 0));
}

/* ---- failures ---- */

Test(batch_forms, b5_http_failure_keeps_the_servers_answer)
{
    static const struct fault_route routes[] = {
        ON("400", REPLY("400 Bad", "X-Request-Id: r\r\n",
                      "{\"error\": {\"message\":\"no\"}\n}")),
        ON("404", REPLY("404 No", "", "<html>\x01\"\xff</html>")),
        ON("500", REPLY("500 Oh", "", "{\"error\":\"oh\"}")),
        ON("307", REPLY("307 Moved", "Location: http://127.0.0.1:9/\r\n", "")),
        ON("ok", OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.max_retries = 3;
    give(REQUEST("400", SCORE("400"), "{}") REQUEST("404", SCORE("404"), "{}")
            REQUEST("500", SCORE("500"), "{}") REQUEST(
                "307", SCORE("307"), "{}") REQUEST("ok", SCORE("ok"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(sz, expect_whole(errors), 4));
    expect_text(line_of(errors, "400"),
        "{\"id\":\"batch_req_JOB_1\",\"custom_id\":\"400\",\"response\":"
        "{\"status_code\":400,\"request_id\":\"r\",\"body\":{\"error\": "
        "{\"message\":\"no\"}}},\"error\":null}");
    expect_text(line_of(errors, "404"),
        "{\"id\":\"batch_req_JOB_2\",\"custom_id\":\"404\",\"response\":"
        "{\"status_code\":404,\"request_id\":null,\"body\":"
        "\"<html>\\u0001\\\"\xef\xbf\xbd</html>\"},\"error\":null}");
    expect_text(line_of(errors, "500"),
        "{\"id\":\"batch_req_JOB_3\",\"custom_id\":\"500\",\"response\":"
        "{\"status_code\":500,\"request_id\":null,\"body\":"
        "{\"error\":\"oh\"}},\"error\":null}");
    expect_text(line_of(errors, "307"),
        "{\"id\":\"batch_req_JOB_4\",\"custom_id\":\"307\",\"response\":"
        "{\"status_code\":307,\"request_id\":null,\"body\":\"\"},"
        "\"error\":null}");
    expect_text(output, OK_LINE("ok", "5"));
    cr_expect(eq(sz, fault_server_requests(server, SCORE("400")), 1));
    cr_expect(eq(sz, fault_server_requests(server, SCORE("500")), 4));
    cr_expect(eq(u64, result.stats.retries, 3));
    cr_expect(eq(u64, result.stats.statuses[500], 1));
    cr_expect(eq(u64, result.stats.failed, 4));
}

Test(batch_forms, b6_inline_errors_have_both)
{
    static const struct fault_route routes[] = {
        ON("400", REPLY("400 Bad", "", "{\"error\":\"no\"}")),
        ON("cut", FAULT_DO_CLOSE), ON("ok", OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.errors_path = NULL;
    opts.max_retries = -1;
    opts.concurrency = 1;
    give(REQUEST("400", SCORE("400"), "{}") "nonsense\n" REQUEST(
        "cut", SCORE("cut"), "{}") REQUEST("ok", SCORE("ok"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(sz, expect_whole(output), 4));
    expect_text(line_of(output, "400"),
        "{\"id\":\"batch_req_JOB_1\",\"custom_id\":\"400\",\"response\":"
        "{\"status_code\":400,\"request_id\":null,\"body\":"
        "{\"error\":\"no\"}},\"error\":{\"code\":\"http_error\",\"message\":"
        "\"the server answered with status 400\"}}");
    cr_expect(ne(ptr,
        strstr(line_of(output, "cut"),
            "\"response\":null,\"error\":{\"code\":\"connection_error\""),
        NULL));
    cr_expect(eq(int, access(errors_path, F_OK), -1));
}

/* ---- security ---- */

#define CANARY "canary-4b1d-key"

Test(batch_forms, x2_the_key_goes_to_the_server_and_nowhere_else)
{
    static const struct fault_route routes[] = {
        ON("echo", REPLY("400 Bad", "", "{\"error\":\"no\"}")),
        ON("close", FAULT_DO_CLOSE), FAULT_ON(NULL, OK_REPLY)};
    struct fault_request request;

    serve(routes, COUNT(routes));
    opts.api_key = CANARY;
    opts.max_retries = 1;
    give(REQUEST("a", CHAT, "{}") REQUEST("echo", SCORE("echo"), "{}")
            REQUEST("close", SCORE("close"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(ne(ptr,
        strstr(request.bytes, "\r\nAuthorization: Bearer " CANARY "\r\n"),
        NULL));
    free(request.bytes);
    cr_expect(eq(ptr, strstr(output, CANARY), NULL));
    cr_expect(eq(ptr, strstr(errors, CANARY), NULL));
    opts.overwrite = true;
    opts.api_key = CANARY "\n";
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
    cr_expect(eq(ptr, strstr(message, CANARY), NULL), "%s", message);
}

Test(batch_forms, x5_redirects_are_not_followed)
{
    static struct fault_route routes[] = {FAULT_ON(NULL, OK_REPLY)};
    struct fault_server *other = fault_server_start(always_ok, 1);
    char reply[256];

    (void)snprintf(reply, sizeof(reply),
        "HTTP/1.1 307 Go\r\nLocation: %s/v1/elsewhere\r\n"
        "Content-Length: 0\r\n\r\n",
        fault_server_url(other));
    routes[0] = (struct fault_route)FAULT_ON(NULL, FAULT_TEXT(reply));
    serve(routes, 1);
    opts.api_key = CANARY;
    give(REQUEST("a", CHAT, "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(ne(ptr, strstr(errors, "\"status_code\":307"), NULL));
    cr_expect(eq(sz, fault_server_accepted(other), 0));
    fault_server_stop(other);
}
