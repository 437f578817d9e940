/* test_batch.c - a batch in this process against a server that misbehaves.
 *
 * A line's URL may be any path that ends in /score, so that each line of a
 * test can have a script of its own at the server. Time is a virtual clock's:
 * the waits between attempts take none. Where the server keeps a line hanging
 * the clock stands, so those few tests take the system's clock and say so.
 */
#include "llm/batch/batch.h"

#include "llm/budget/estimate.h"

#include "llm/json/scan.h"
#include "llm/json/text.h"
#include "test/support/alloc.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WAIT_ROUNDS 200000 /* of 100 us: a bound, never reached */

/* ---- one batch and its files ---- */

static char dir[] = "/tmp/belay-batch-XXXXXX";
static char input_path[64];
static char output_path[64];
static char errors_path[64];
static char base_url[96];
static struct fault_server *server;
static struct belay__batch_opts opts;
static struct belay__batch_result result;
static char message[1024]; /* of the run's own failure */
static char *output;       /* what the files hold, with JOB for the job's id */
static char *errors;

static void
set_up(void)
{
    cr_assert(ne(ptr, mkdtemp(dir), NULL));
    (void)snprintf(input_path, sizeof(input_path), "%s/in", dir);
    (void)snprintf(output_path, sizeof(output_path), "%s/out", dir);
    (void)snprintf(errors_path, sizeof(errors_path), "%s/err", dir);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    opts = (struct belay__batch_opts){.input_path = input_path,
        .output_path = output_path,
        .errors_path = errors_path,
        .base_url = base_url,
        .concurrency = 4,
        .seed = 4711,
        .sync = BELAY__BATCH_SYNC_NEVER};
}

/* The outputs, not the input. */
static void
remove_files(void)
{
    char state[80];

    (void)snprintf(state, sizeof(state), "%s.state", output_path);
    (void)unlink(state);
    (void)unlink(output_path);
    (void)unlink(errors_path);
}

static void
tear_down(void)
{
    fault_server_stop(server);
    free(output);
    free(errors);
    remove_files();
    (void)unlink(input_path);
    (void)rmdir(dir);
    check_clean();
}

TestSuite(batch, .init = set_up, .fini = tear_down, .timeout = 120);

static void
serve(const struct fault_route *routes, size_t count)
{
    server = fault_server_start(routes, count);
    (void)snprintf(
        base_url, sizeof(base_url), "%s/v1", fault_server_url(server));
}

static void
write_file(const char *path, const char *data, size_t len)
{
    FILE *file = fopen(path, "w");

    cr_assert(ne(ptr, file, NULL));
    cr_assert(eq(sz, fwrite(data, 1, len, file), len));
    cr_assert(eq(int, fclose(file), 0));
}

static void
give(const char *text)
{
    write_file(input_path, text, strlen(text));
}

/* What a file holds; "" if there is none. */
static char *
contents(const char *path)
{
    struct stat info = {0};
    FILE *file = fopen(path, "r");
    char *text;
    size_t len = 0;

    (void)stat(path, &info);
    text = malloc((size_t)info.st_size + 1);
    if (file != NULL) {
        len = fread(text, 1, (size_t)info.st_size, file);
        (void)fclose(file);
    }
    text[len] = '\0';
    return text;
}

/* The job's id is drawn by lot: JOB stands for it. */
static char *
read_back(const char *path)
{
    char *text = contents(path);
    const char *from = text;
    char *to = text;
    const char *at;

    while (result.job[0] != '\0' && (at = strstr(from, result.job)) != NULL) {
        memmove(to, from, (size_t)(at - from));
        to += at - from;
        memcpy(to, "JOB", 3);
        to += 3;
        from = at + strlen(result.job);
    }
    memmove(to, from, strlen(from) + 1);
    return text;
}

struct run_batch {
    const struct belay__batch_opts *opts;
    struct belay__batch_result *ret;
};

BELAY_ASYNC(run_batch)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay__batch_run(task, self->opts, self->ret));
    BELAY_END;
}

static void
collect(struct belay_result *ended)
{
    message[0] = '\0';
    if (ended->error != NULL) {
        (void)snprintf(
            message, sizeof(message), "%s", belay_error_message(ended->error));
    }
    belay_error_unref(ended->error);
    free(output);
    free(errors);
    output = read_back(output_path);
    errors = read_back(errors_path);
}

/* Runs the batch, reads the files back, gives the code. */
static int
run_it(void)
{
    struct belay_result ended = {0};
    int code;

    result = (struct belay__batch_result){0};
    code =
        program_run(&(const struct program){.function = &run_batch,
                        .arguments = &(const struct run_batch){&opts, &result}},
            &ended);
    collect(&ended);
    return code;
}

/* The same on the system's clock. */
static int
run_in_real_time(void)
{
    struct belay_result ended = {0};
    int code;

    result = (struct belay__batch_result){0};
    code = belay_run(&run_batch, &(const struct run_batch){&opts, &result},
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &ended);
    collect(&ended);
    return code;
}

/* ---- lines ---- */

#define REQUEST(id_, url_, body_)                                    \
    "{\"custom_id\":\"" id_ "\",\"method\":\"POST\",\"url\":\"" url_ \
    "\",\"body\":" body_ "}\n"
#define CHAT "/v1/chat/completions"
#define SCORE(name_) "/v1/" name_ "/score"
#define ON(name_, ...) FAULT_ON("/v1/" name_ "/score", __VA_ARGS__)

#define HEAD(status_, extra_) "HTTP/1.1 " status_ "\r\n" extra_
#define REPLY(status_, extra_, body_)                                    \
    FAULT_TEXT(HEAD(status_, extra_ "Connection: close\r\n\r\n" body_)), \
        FAULT_DO_CLOSE
#define OK_BODY                                     \
    "{\"id\":\"c\",\"usage\":{\"prompt_tokens\":3," \
    "\"completion_tokens\":2,\"total_tokens\":5}}"
#define OK_REPLY REPLY("200 OK", "", OK_BODY)
#define OK_LINE(id_, number_)                                    \
    "{\"id\":\"batch_req_JOB_" number_ "\",\"custom_id\":\"" id_ \
    "\",\"response\":{\"status_code\":200,\"request_id\":null,"  \
    "\"body\":" OK_BODY "},\"error\":null}\n"

static const struct fault_route always_ok[] = {FAULT_ON(NULL, OK_REPLY)};

#define expect_text(got, wanted) \
    cr_expect(eq(str, (got), (char *)(uintptr_t)(wanted)))

static size_t
count_lines(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++) {
        count += *text == '\n';
    }
    return count;
}

/* The line of a file with this custom_id, or ""; static memory. */
static char *
line_of(const char *text, const char *custom_id)
{
    static char line[65536];
    char wanted[128];
    const char *at;

    line[0] = '\0';
    (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%s\"", custom_id);
    at = strstr(text, wanted);
    if (at != NULL) {
        while (at > text && at[-1] != '\n') {
            at--;
        }
        cr_assert(lt(sz, strcspn(at, "\n"), sizeof(line)));
        memcpy(line, at, strcspn(at, "\n"));
        line[strcspn(at, "\n")] = '\0';
    }
    return line;
}

/* Whole lines, each valid JSON, no custom_id in more than one. Gives how many.
 */
static size_t
expect_whole(const char *text)
{
    size_t count = 0;

    while (*text != '\0') {
        const size_t len = strcspn(text, "\n");

        cr_assert(eq(chr, text[len], '\n'), "no newline at the end");
        cr_assert(eq(int,
            belay__json_check((struct belay_slice){text, len}, NULL, NULL), 0));
        text += len + 1;
        count++;
    }
    return count;
}

/* Every number from 0 to count - 1 is the id of one line of either file. */
static void
expect_each_once(size_t count)
{
    char wanted[64];

    cr_expect(eq(sz, expect_whole(output) + expect_whole(errors), count));
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%zu\"", i);
        cr_expect(ne(int, (strstr(output, wanted) != NULL),
                      (strstr(errors, wanted) != NULL)),
            "%zu", i);
    }
}

/* An input of `count` requests with the numbers from 0 as their ids. */
static void
give_numbered(size_t count)
{
    FILE *file = fopen(input_path, "w");

    cr_assert(ne(ptr, file, NULL));
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"%zu\",\"method\":\"POST\",\"url\":"
            "\"/v1/%zu/score\",\"body\":{\"n\":%zu}}\n",
            i, i, i);
    }
    cr_assert(eq(int, fclose(file), 0));
}

/* ---- the forms of lines ---- */

Test(batch, b1_b4_b7_success_line)
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

Test(batch, b4_only_line_breaks_between_tokens_are_left_out)
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

Test(batch, b4_custom_id_stays_as_it_was_written)
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

Test(batch, b3_body_is_sent_byte_for_byte)
{
    serve(always_ok, 1);
    give(REQUEST("a", CHAT, AWKWARD));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 1));
    expect_text((char *)(uintptr_t)sent_body(0), AWKWARD);
}

Test(batch, b3_another_model_changes_nothing_else)
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
Test(batch, b2_bad_lines_are_told_and_stop_nothing)
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

Test(batch, b2_a_nul_byte_in_a_line)
{
    static const char lines[] =
        REQUEST("a", CHAT, "{\"a\":\"x\0y\"}") "\0\n" REQUEST("b", CHAT, "{}");

    serve(always_ok, 1);
    write_file(input_path, lines, sizeof(lines) - 1);
    cr_expect(eq(int, run_it(), 0));
    expect_bad("a", 1, "invalid_json_line", "at byte");
    expect_bad_nameless(2, "invalid_json_line", "at byte");
    cr_expect(eq(u64, result.stats.ok, 1));
}

Test(batch, b2_x7_a_line_of_70_mib_is_too_large)
{
    FILE *file = fopen(input_path, "w");
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

Test(batch, b2_without_the_check_ids_may_repeat)
{
    serve(always_ok, 1);
    opts.no_id_check = true;
    give(REQUEST("a", CHAT, "{}") REQUEST("a", CHAT, "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 2));
}

Test(batch, an_empty_input_is_a_batch_of_nothing)
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

Test(batch, b5_http_failure_keeps_the_servers_answer)
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

Test(batch, b6_inline_errors_have_both)
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

static void
expect_code(const char *custom_id, const char *code)
{
    char wanted[128];

    (void)snprintf(wanted, sizeof(wanted),
        "\"response\":null,\"error\":{\"code\":\"%s\",\"message\":\"", code);
    cr_expect(ne(ptr, strstr(line_of(errors, custom_id), wanted), NULL),
        "%s: %s", custom_id, line_of(errors, custom_id));
}

Test(batch, b5_no_answer_is_told_by_its_code)
{
    static const struct fault_route routes[] = {ON("close", FAULT_DO_CLOSE),
        ON("reset", FAULT_DO_RESET),
        ON("cut",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
                       "{\"half\":"),
            FAULT_DO_CLOSE),
        ON("html", REPLY("200 OK", "", "<html>hello</html>")),
        ON("nothing", FAULT_TEXT("HTTP/1.1 204 No\r\n\r\n")),
        ON("garbage", FAULT_TEXT("SSH-2.0-OpenSSH_9\r\n"), FAULT_DO_CLOSE),
        ON("big",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: "
                       "1073741824\r\n\r\n"),
            FAULT_DO_FILL(1073741824)),
        ON("endless", FAULT_TEXT("HTTP/1.1 200 OK\r\n\r\n"),
            FAULT_DO_FILL(1073741824)),
        ON("bomb",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                       "Connection: close\r\n\r\n"),
            FAULT_DO_GZIP(1073741824), FAULT_DO_CLOSE),
        ON("ok", OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.max_retries = 1;
    opts.max_reply_bytes = (size_t)1 << 20;
    give(REQUEST("close", SCORE("close"), "{}") REQUEST("reset", SCORE("reset"),
        "{}") REQUEST("cut", SCORE("cut"), "{}") REQUEST("html", SCORE("html"),
        "{}") REQUEST("nothing", SCORE("nothing"), "{}") REQUEST("garbage",
        SCORE("garbage"), "{}") REQUEST("big", SCORE("big"), "{}")
            REQUEST("endless", SCORE("endless"), "{}") REQUEST(
                "bomb", SCORE("bomb"), "{}") REQUEST("ok", SCORE("ok"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    expect_code("close", "connection_error");
    expect_code("reset", "connection_error");
    expect_code("cut", "stream_truncated");
    expect_code("html", "invalid_response");
    expect_code("nothing", "invalid_response");
    expect_code("garbage", "invalid_response");
    expect_code("big", "response_too_large");
    expect_code("endless", "response_too_large");
    expect_code("bomb", "response_too_large");
    expect_text(output, OK_LINE("ok", "10"));
    /* A reply without sense is asked for once more, one too large is not. */
    cr_expect(eq(sz, fault_server_requests(server, SCORE("html")), 2));
    cr_expect(eq(sz, fault_server_requests(server, SCORE("cut")), 2));
    cr_expect(eq(sz, fault_server_requests(server, SCORE("big")), 1));
    cr_expect(eq(sz, expect_whole(errors), 9));
}

Test(batch, b5_a_reply_without_sense_may_have_some_the_second_time)
{
    static const struct fault_route routes[] = {
        ON("a", REPLY("200 OK", "", "{\"half\":")), ON("a", OK_REPLY)};

    serve(routes, COUNT(routes));
    give(REQUEST("a", SCORE("a"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    expect_text(output, OK_LINE("a", "1"));
    cr_expect(eq(u64, result.stats.retries, 1));
    cr_expect(eq(u64, result.stats.sent, 1));
}

Test(batch, b5_without_retries_nothing_is_asked_twice)
{
    static const struct fault_route routes[] = {
        ON("html", REPLY("200 OK", "", "<html>")),
        ON("503", REPLY("503 Busy", "", "{}")), ON("close", FAULT_DO_CLOSE)};

    serve(routes, COUNT(routes));
    opts.max_retries = -1;
    give(REQUEST("html", SCORE("html"), "{}") REQUEST("503", SCORE("503"), "{}")
            REQUEST("close", SCORE("close"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 3));
    cr_expect(eq(sz, expect_whole(errors), 3));
}

/* In real time: a virtual clock stands while the server keeps us waiting. */
Test(batch, b5_timeout_covers_the_line_with_its_retries)
{
    static const struct fault_route routes[] = {ON("hang", FAULT_DO_HANG),
        ON("half", FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
            FAULT_DO_HANG),
        ON("drip",
            FAULT_PIECES("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n"
                         "X: 0123456789012345678901234567890123456789"
                         "0123456789012345678901234567890123456789",
                1, 5),
            FAULT_DO_HANG),
        ON("ok", OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.timeout = belay_milliseconds(60);
    give(REQUEST("hang", SCORE("hang"), "{}") REQUEST(
        "half", SCORE("half"), "{}") REQUEST("drip", SCORE("drip"), "{}"));
    cr_expect(eq(int, run_in_real_time(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    expect_code("hang", "timeout");
    expect_code("half", "timeout");
    expect_code("drip", "timeout");
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_TIMEOUT], 3));
    cr_expect(eq(u64, result.stats.in_flight, 0));
    cr_expect(eq(u64, result.stats.retrying, 0));
}

/* A wait that would outlive the line's time is not begun: the answer that
 * there is goes into the file.
 */
Test(batch, b5_timeout_ends_a_wait_for_another_attempt_before_it_begins)
{
    static const struct fault_route routes[] = {
        ON("a", REPLY("503 Busy", "Retry-After: 100\r\n", "{\"e\":1}"))};

    serve(routes, COUNT(routes));
    opts.timeout = belay_seconds(50);
    give(REQUEST("a", SCORE("a"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(ne(ptr, strstr(errors, "\"status_code\":503"), NULL));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 1));
}

Test(batch, b5_a_server_that_is_not_there)
{
    serve(always_ok, 1);
    fault_server_stop(server); /* its port is closed now */
    server = NULL;
    opts.max_retries = 2;
    give(REQUEST("a", CHAT, "{}") REQUEST("b", CHAT, "{}"));
    cr_expect(eq(int, run_it(), 0));
    expect_code("a", "connection_error");
    expect_code("b", "connection_error");
    cr_expect(eq(u64, result.stats.retries, 4));
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_CONNECTION], 2));
}

Test(batch, b5_b8_a_server_that_dies_and_comes_back_costs_no_line)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK_REPLY),
        FAULT_ON(NULL, OK_REPLY), FAULT_ON(NULL, OK_REPLY),
        FAULT_ON(NULL, FAULT_DO_RESET), FAULT_ON(NULL, FAULT_DO_CLOSE),
        FAULT_ON(NULL, FAULT_DO_RESET), FAULT_ON(NULL, FAULT_DO_CLOSE),
        FAULT_ON(NULL, REPLY("502 Gone", "", "")),
        FAULT_ON(NULL, REPLY("503 Back soon", "Retry-After: 1\r\n", "")),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    give_numbered(40);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 40));
    cr_expect(eq(u64, result.stats.retries, 6));
    expect_each_once(40);
}

/* ---- stops ---- */

static void
expect_refused(const char *name, int status)
{
    static const char *const first = REQUEST("first", "/v1/%s/score", "{}");
    char text[4096];
    size_t len;

    len = (size_t)snprintf(text, sizeof(text), first, name);
    for (int i = 0; i < 20; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/chat/completions\",\"body\":{}}\n",
            i);
    }
    give(text);
    opts.concurrency = 1;
    opts.overwrite = true;
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED), "%s", name);
    cr_expect(eq(int, result.stop_code, status));
    cr_expect(eq(sz, count_lines(errors), 1));
    expect_text(output, "");
    cr_expect(ne(str, line_of(errors, "first"), (char[]){""}));
    cr_expect(eq(u64, result.stats.sent, 1));
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 1));
}

Test(batch, b23_a_refused_key_or_account_stops_admission)
{
    static const struct fault_route routes[] = {
        ON("401", REPLY("401 Who", "", "{\"error\":{}}")),
        ON("403", REPLY("403 No", "", "")),
        ON("quota",
            REPLY("429 Quota", "",
                "{\"error\":{\"message\":\"x\",\"type\":\"insufficient_quota\","
                "\"code\":\"insufficient_quota\"}}")),
        ON("billing",
            REPLY("400 Bill", "",
                "{\"type\":\"error\",\"error\":{\"type\":\"billing_error\"}}")),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    expect_refused("401", 401);
    expect_refused("403", 403);
    expect_refused("quota", 429);
    expect_refused("billing", 400);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 4));
}

/* What is in flight when the key is refused still ends well. */
Test(batch, b23_lines_in_flight_are_drained)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", REPLY("401 Who", "", "{}")),
        FAULT_ON(NULL, FAULT_DO_SLEEP(30), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 3;
    give_numbered(50);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED));
    cr_expect(eq(sz, expect_whole(errors), 1));
    cr_expect(eq(sz, expect_whole(output), result.stats.ok));
    cr_expect(eq(u64, result.stats.sent, result.stats.ok + 1));
    cr_expect(le(u64, result.stats.sent, 5));
    cr_expect(eq(u64, result.stats.lines,
        result.stats.ok + result.stats.failed + result.stats.dropped));
}

/* Runs the batch beside a task that looks on and does something to it. */
struct beside {
    void (*act)(int round, bool *done); /* each turn until done */
    belay_group *group;
    struct belay__batch *batch;
    int round;
    bool done;
};

static struct belay__batch *running;
static belay_task *running_task;

BELAY_ASYNC(beside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        opts.running = &running;
        BELAY_CHECK(belay_group_spawn(self->group, &run_batch,
            &(const struct run_batch){&opts, &result},
            BELAY_SPAWN_OPTS(.task = &running_task)));
        for (self->round = 0; !self->done; self->round++) {
            cr_assert(lt(int, self->round, WAIT_ROUNDS));
            (void)usleep(100);
            self->act(self->round, &self->done);
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    belay_task_unref(running_task);
    BELAY_END;
}

static int
run_beside(void (*act)(int round, bool *done))
{
    struct belay_result ended = {0};
    int code;

    result = (struct belay__batch_result){0};
    code = program_run(&(const struct program){.function = &beside,
                           .arguments = &(const struct beside){.act = act}},
        &ended);
    collect(&ended);
    return code;
}

static void
interrupt_when_all_wait(int round, bool *done)
{
    (void)round;
    /* Three hang at the gate, one has failed and waits for its next attempt. */
    if (fault_server_requests(server, NULL) == 4
        && result.stats.retrying == 1) {
        belay__batch_interrupt(running);
        belay__batch_interrupt(running);
        fault_server_open_gate(server);
        *done = true;
    }
}

Test(batch, b8_b29_an_interrupt_drains_and_drops_what_sleeps)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/1/score", REPLY("500 Oh", "Retry-After: 500\r\n", "{}")),
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 3;
    give_numbered(100);
    cr_expect(eq(int, run_beside(interrupt_when_all_wait), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_INTERRUPTED));
    cr_expect(eq(u64, result.stats.ok, 3));
    cr_expect(eq(sz, expect_whole(output), 3));
    expect_text(errors, "");
    cr_expect(ne(str, line_of(output, "0"), (char[]){""}));
    cr_expect(ne(str, line_of(output, "2"), (char[]){""}));
    cr_expect(ne(str, line_of(output, "3"), (char[]){""}));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 4));
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 3));
    cr_expect(eq(u64, result.stats.retrying, 0));
    cr_expect(eq(ptr, running, NULL));
}

static void
cancel_when_all_hang(int round, bool *done)
{
    (void)round;
    if (fault_server_requests(server, NULL) == 4) {
        (void)belay_task_cancel(running_task, "enough");
        *done = true;
    }
}

static const struct fault_route all_but_one_hang[] = {
    FAULT_ON("/v1/2/score", OK_REPLY), FAULT_ON(NULL, FAULT_DO_HANG)};

/* Lines that were tried and have no answer when all is cancelled, where no
 * later run can go on with them: the output is no file.
 */
Test(batch, b5_b8_b29_a_cancel_writes_a_line_for_each_that_was_tried)
{
    serve(all_but_one_hang, COUNT(all_but_one_hang));
    opts.output_path = "/dev/null";
    opts.concurrency = 3;
    give_numbered(10);
    (void)run_beside(cancel_when_all_hang);
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(sz, expect_whole(errors), 3));
    expect_code("0", "batch_cancelled");
    expect_code("1", "batch_cancelled");
    expect_code("3", "batch_cancelled");
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_CANCELLED], 3));
    cr_expect(eq(u64, result.stats.in_flight, 0));
}

/* Where one can, they are in doubt, and what has a reply is in the file, also
 * if it came before its turn.
 */
Test(batch, b8_b9_b16_b29_a_cancel_loses_no_reply_and_the_next_run_goes_on)
{
    static const struct fault_route fine[] = {FAULT_ON(NULL, OK_REPLY)};

    serve(all_but_one_hang, COUNT(all_but_one_hang));
    opts.concurrency = 3;
    opts.window = 20; /* line 2 has its reply, but waits for 0 and 1 */
    give_numbered(10);
    (void)run_beside(cancel_when_all_hang);
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(sz, expect_whole(output), 1));
    cr_expect(ne(str, line_of(output, "2"), (char[]){""}));
    expect_text(errors, "");
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 1));

    fault_server_stop(server);
    opts.running = NULL;
    serve(fine, 1);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.resumed, 1));
    cr_expect(eq(u64, result.stats.in_doubt, 3));
    cr_expect(eq(u64, result.stats.ok, 9));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 9));
    expect_each_once(10);
}

static void
look_at_journal(int round, bool *done)
{
    static const char *const records[] = {
        "\ns 1\n", "\ns 2\n", "\ns 3\n", "\ns 4\n"};
    char path[80];
    char *journal;

    cancel_when_all_hang(round, done);
    if (*done) {
        (void)snprintf(path, sizeof(path), "%s.state", output_path);
        journal = contents(path);
        for (size_t i = 0; i < COUNT(records); i++) {
            cr_expect(ne(ptr, strstr(journal, records[i]), NULL), "%zu", i);
        }
        free(journal);
    }
}

/* Many workers share one write, which is still before the first request. */
Test(batch, b15_the_journal_knows_of_a_line_before_the_server_does)
{
    serve(all_but_one_hang, COUNT(all_but_one_hang));
    opts.concurrency = 3;
    give_numbered(10);
    (void)run_beside(look_at_journal);
    cr_expect(eq(u64, result.stats.ok, 1));
}

/* In real time, since the server keeps the clock waiting. */
Test(batch, b29_draining_has_its_time)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", REPLY("401 Who", "", "{}")),
        FAULT_ON(NULL, FAULT_DO_HANG)};

    serve(routes, COUNT(routes));
    opts.output_path = "/dev/null";
    opts.concurrency = 3;
    opts.drain_timeout = belay_milliseconds(50);
    give_numbered(10);
    cr_expect(eq(int, run_in_real_time(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED));
    cr_expect(ne(ptr, strstr(line_of(errors, "0"), "401"), NULL));
    cr_expect(gt(u64, result.stats.errors[BELAY__LINE_CANCELLED], 0));
    cr_expect(eq(u64, result.stats.sent,
        1 + result.stats.errors[BELAY__LINE_CANCELLED]));
    cr_expect(eq(u64, result.stats.in_flight, 0));
}

/* ---- files ---- */

Test(batch, b31_input_that_cannot_be_opened)
{
    serve(always_ok, 1);
    cr_expect(eq(int, run_it(), BELAY_ENOENT));
    cr_expect(ne(ptr, strstr(message, input_path), NULL), "%s", message);
    cr_expect(eq(int, access(output_path, F_OK), -1), "nothing was made");

    opts.input_path = dir;
    cr_expect(eq(int, run_it(), -EISDIR));
    cr_expect(ne(ptr, strstr(message, dir), NULL), "%s", message);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 0));
}

/* The first page of /proc/self/mem cannot be read. */
Test(batch, b31_input_that_cannot_be_read_stops_the_batch)
{
    serve(always_ok, 1);
    opts.input_path = "/proc/self/mem";
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_NO_INPUT));
    cr_expect(eq(int, result.stop_code, BELAY_EIO));
    expect_text((char *)(uintptr_t)result.stop_path, "/proc/self/mem");
}

Test(batch, b31_output_that_cannot_be_opened)
{
    char missing[96];

    serve(always_ok, 1);
    give(REQUEST("a", CHAT, "{}"));
    (void)snprintf(missing, sizeof(missing), "%s/no/out", dir);
    opts.output_path = missing;
    cr_expect(eq(int, run_it(), BELAY_ENOENT));
    cr_expect(ne(ptr, strstr(message, missing), NULL), "%s", message);
    opts.output_path = output_path;
    opts.errors_path = missing;
    cr_expect(eq(int, run_it(), BELAY_ENOENT));
    opts.errors_path = errors_path;
    write_file(output_path, "old\n", 4);
    cr_expect(eq(int, run_it(), BELAY_EBUSY));
    expect_text(output, "old\n");
    cr_expect(eq(sz, fault_server_requests(server, NULL), 0));
}

/* Neither output may be the input, by whatever name. */
Test(batch, the_input_is_never_written_to)
{
    static const char text[] = REQUEST("a", CHAT, "{}");
    char other[96];

    serve(always_ok, 1);
    give(text);
    (void)snprintf(other, sizeof(other), "%s/./in", dir);
    opts.overwrite = true;
    opts.output_path = other;
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
    cr_expect(ne(ptr, strstr(message, "is the input"), NULL), "%s", message);
    opts.output_path = output_path;
    opts.errors_path = other;
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
    free(output);
    output = contents(input_path);
    expect_text(output, text);
}

Test(batch, options_of_the_client_are_refused_before_anything_is_sent)
{
    give(REQUEST("a", CHAT, "{}"));
    (void)snprintf(base_url, sizeof(base_url), "http://example.com/v1");
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
    cr_expect(ne(sz, strlen(message), 0));
    (void)snprintf(base_url, sizeof(base_url), "nonsense");
    opts.overwrite = true;
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
}

static void
limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    cr_assert(eq(int, getrlimit(RLIMIT_FSIZE, &limit), 0));
    limit.rlim_cur = bytes;
    cr_assert(eq(int, setrlimit(RLIMIT_FSIZE, &limit), 0));
}

/* The disk is full after so many bytes, for many sizes of disk. */
Test(batch, b10_b19_a_full_disk_stops_the_batch_and_tears_no_line)
{
    serve(always_ok, 1);
    opts.overwrite = true;
    give_numbered(30);
    limit_file_size(100); /* not even the state has room */
    cr_expect(eq(int, run_it(), -EFBIG));
    for (rlim_t size = 400; size < 2000; size += 93) {
        opts.window = size % 2 == 0 ? 0 : 8;
        limit_file_size(RLIM_INFINITY);
        give_numbered(30);
        limit_file_size(size);
        cr_expect(eq(int, run_it(), 0));
        limit_file_size(RLIM_INFINITY);
        cr_expect(eq(int, result.stop, BELAY__BATCH_NO_OUTPUT));
        cr_expect(eq(int, result.stop_code, -EFBIG));
        expect_text((char *)(uintptr_t)result.stop_path, output_path);
        cr_expect(eq(sz, expect_whole(output), result.stats.ok));
        cr_expect(le(sz, strlen(output), size));
        cr_expect(lt(u64, result.stats.sent, 30));
        cr_expect(eq(u64, result.stats.lines,
            result.stats.ok + result.stats.failed + result.stats.dropped));
    }
}

Test(batch, b10_b19_a_full_disk_for_the_error_file)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("400 Bad", "", "{}"))};

    serve(routes, 1);
    give_numbered(30);
    limit_file_size(300);
    cr_expect(eq(int, run_it(), 0));
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(int, result.stop, BELAY__BATCH_NO_OUTPUT));
    expect_text((char *)(uintptr_t)result.stop_path, errors_path);
    cr_expect(eq(sz, expect_whole(errors), result.stats.failed));
}

Test(batch, b10_b19_a_device_that_takes_nothing)
{
    serve(always_ok, 1);
    give_numbered(30);
    opts.output_path = "/dev/full";
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_NO_OUTPUT));
    cr_expect(eq(int, result.stop_code, -ENOSPC));
    cr_expect(eq(u64, result.stats.ok, 0));
    cr_expect(lt(u64, result.stats.sent, 30));
}

Test(batch, b10_every_policy_of_syncing_writes_all_lines)
{
    serve(always_ok, 1);
    opts.overwrite = true;
    for (int sync = 0; sync < 3; sync++) {
        opts.sync = (enum belay__batch_sync_policy)sync;
        give_numbered(150);
        cr_expect(eq(int, run_it(), 0));
        cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
        cr_expect(eq(u64, result.stats.ok, 150));
        expect_each_once(150);
    }
}

/* ---- a server that is congested ---- */

#define TIMES_4(...) __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__
#define REFUSED_4 \
    TIMES_4(FAULT_ON(NULL, REPLY("429 Too Many Requests", "", "{}")))

static double
elapsed_s(void)
{
    return (double)(result.stats.ended_ns - result.stats.started_ns) / 1e9;
}

/* covers: B22, B24 */
Test(batch, b24_a_server_that_answers_429_for_a_minute_fails_no_line)
{
    static const struct fault_route routes[] = {REFUSED_4, REFUSED_4, REFUSED_4,
        REFUSED_4, REFUSED_4, FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 8;
    opts.max_retries = 1;
    give_numbered(50);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 50));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(eq(u64, result.stats.congested, 20));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 70));
    cr_expect(gt(dbl, elapsed_s(), 60), "%g", elapsed_s());
    expect_each_once(50);
}

/* All that were under way are refused; then nobody is sent until the server
 * wants it, and one goes ahead.
 */
Test(batch, b24_a_server_that_says_when_to_come_back_is_left_alone_until_then)
{
    static const struct fault_route routes[] = {
        TIMES_4(FAULT_ON(
            NULL, REPLY("429 Too Many Requests", "Retry-After: 60\r\n", "{}"))),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.start = 4;
    give_numbered(40);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 40));
    cr_expect(le(sz, fault_server_requests(server, NULL), 44));
    cr_expect(gt(dbl, elapsed_s(), 60), "%g", elapsed_s());
    cr_expect(lt(dbl, elapsed_s(), 140), "%g", elapsed_s());
}

/* Nothing was tried to its end: the next run sends it. */
Test(batch, b24_b31_patience_has_an_end)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, OK_REPLY), FAULT_ON(NULL, REPLY("503 Busy", "", "{}"))};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.patience = belay_seconds(600);
    give_numbered(40);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_CONGESTED));
    cr_expect(eq(int, result.stop_code, 503));
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 1));
    cr_expect(ge(dbl, elapsed_s(), 600));
    cr_expect(lt(sz, fault_server_requests(server, NULL), 60));
}

/* A line that is refused while others are answered has retries like any. */
Test(batch, b24_a_line_that_is_always_refused_fails)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/7/score", REPLY("503 Busy", "", "{\"e\":7}")),
        FAULT_ON(NULL, FAULT_DO_SLEEP(1), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.max_retries = 1;
    give_numbered(400);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 399));
    cr_expect(eq(u64, result.stats.failed, 1));
    expect_each_once(400);
}

/* Of two models one hangs: all lines of the other come through, although the
 * lines take turns and few of them may wait.
 */
#define TURNS 300

static void
give_two_models(void)
{
    FILE *file = fopen(input_path, "w");

    cr_assert(ne(ptr, file, NULL));
    for (int i = 0; i < 2 * TURNS; i++) {
        const char *model = i % 2 == 0 ? "slow" : "fast";

        (void)fprintf(file,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/%s/score\",\"body\":{\"model\":\"%s\",\"n\":%d}}\n",
            i, model, model, i);
    }
    cr_assert(eq(int, fclose(file), 0));
}

static void
open_when_the_fast_are_done(int round, bool *done)
{
    (void)round;
    if (result.stats.ok == TURNS) {
        fault_server_open_gate(server);
        *done = true;
    }
}

Test(batch, b25_a_model_that_is_slow_holds_up_no_other)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/slow/score", FAULT_DO_GATE(1), OK_REPLY),
        FAULT_ON("/v1/fast/score", OK_REPLY)};

    serve(routes, COUNT(routes));
    give_two_models();
    cr_expect(eq(int, run_beside(open_when_the_fast_are_done), 0));
    cr_expect(eq(u64, result.stats.ok, 2 * TURNS));
    cr_expect(eq(u64, result.stats.lines, 2 * TURNS));
    expect_each_once(2 * TURNS);
}

Test(batch, b25_a_model_that_refuses_holds_up_no_other)
{
    static const struct fault_route routes[] = {
        TIMES_4(FAULT_ON(
            "/v1/slow/score", REPLY("429 Slow", "Retry-After: 100\r\n", "{}"))),
        FAULT_ON("/v1/slow/score", OK_REPLY),
        FAULT_ON("/v1/fast/score", OK_REPLY)};

    serve(routes, COUNT(routes));
    give_two_models();
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 2 * TURNS));
    expect_each_once(2 * TURNS);
}

Test(batch, b9_b25_lines_that_were_put_off_keep_their_place)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/slow/score", FAULT_DO_SLEEP(2), OK_REPLY),
        FAULT_ON("/v1/fast/score", OK_REPLY)};
    char *at;

    serve(routes, COUNT(routes));
    opts.window = 200;
    give_two_models();
    cr_expect(eq(int, run_it(), 0));
    at = output;
    for (int i = 0; i < 2 * TURNS; i++) {
        char wanted[64];

        (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%d\"", i);
        at = strstr(at, wanted);
        cr_assert(ne(ptr, at, NULL), "line %d", i);
    }
}

/* ---- money ---- */

static const char price_file[] = "{\"m\":{\"input_cost_per_token\":1e-06,"
                                 "\"output_cost_per_token\":1e-06}}";

struct run_priced {
    belay_prices *prices;
};

BELAY_ASYNC(run_priced)
{
    int code = 0;

    BELAY_BEGIN;
    code = belay_prices_new(belay_task_runtime(task),
        (struct belay_slice){price_file, sizeof(price_file) - 1}, &self->prices,
        NULL);
    BELAY_CHECK(code);
    opts.prices = self->prices;
    BELAY_TRY(belay__batch_run(task, &opts, &result));
    belay_prices_unref(self->prices);
    return belay_pass(task);
    BELAY_END;
}

static int
run_with_prices(void)
{
    struct belay_result ended = {0};
    int code;

    result = (struct belay__batch_result){0};
    code = belay_run(&run_priced, &(const struct run_priced){NULL},
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &ended);
    opts.prices = NULL;
    collect(&ended);
    return code;
}

#define BODY "{\"model\":\"m\",\"max_tokens\":2}"
#define MICRO INT64_C(1000000)

/* What a line holds: a token for each byte, and the two of the answer. */
static int64_t
most_of_a_line(void)
{
    return ((int64_t)belay__estimate_bound(sizeof(BODY) - 1) + 2) * MICRO;
}

static void
give_chat(size_t count, const char *body)
{
    FILE *file = fopen(input_path, "w");

    cr_assert(ne(ptr, file, NULL));
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"%zu\",\"method\":\"POST\",\"url\":\"" CHAT
            "\",\"body\":%s}\n",
            i, body);
    }
    cr_assert(eq(int, fclose(file), 0));
}

/* The cap is for 37 and a half lines: no 38th is sent while these are held,
 * more are when they turn out to be cheaper, and in the end the cap stands.
 */
static size_t held_requests;

static void *
open_when_held(void *arg)
{
    (void)arg;
    for (int i = 0; i < WAIT_ROUNDS && held_requests < 37; i++) {
        held_requests = fault_server_requests(server, NULL);
        (void)usleep(100);
    }
    (void)usleep(50000); /* room for a fault to show itself */
    held_requests = fault_server_requests(server, NULL);
    fault_server_open_gate(server);
    return NULL;
}

Test(batch, b26_the_cap_is_never_passed_and_a_higher_one_goes_on)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};
    pthread_t thread;
    uint64_t first;
    int64_t spent;

    serve(routes, COUNT(routes));
    opts.concurrency = 500;
    opts.start = 500;
    opts.budget.cost.pico = most_of_a_line() * 75 / 2;
    give_chat(1000, BODY);
    cr_assert(eq(int, pthread_create(&thread, NULL, open_when_held, NULL), 0));
    cr_expect(eq(int, run_with_prices(), 0));
    (void)pthread_join(thread, NULL);
    cr_expect(eq(sz, held_requests, 37));
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(
        eq(i64, result.stats.spent, (int64_t)result.stats.ok * 5 * MICRO));
    cr_expect(le(i64, result.stats.spent, opts.budget.cost.pico));
    cr_expect(
        gt(i64, result.stats.spent + most_of_a_line(), opts.budget.cost.pico));
    first = result.stats.ok;
    spent = result.stats.spent;

    cr_expect(eq(int, run_with_prices(), 0), "the same cap: nothing is sent");
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(eq(u64, result.stats.ok, 0));
    cr_expect(eq(i64, result.stats.spent_before, spent));

    opts.budget.cost.pico *= 100;
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(u64, result.stats.ok, 1000 - first));
    cr_expect(eq(
        i64, result.stats.spent_before + result.stats.spent, 1000 * 5 * MICRO));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 1000));
    expect_each_once(1000);
}

/* What may have been charged counts for the cap, in this run and the next. */
Test(batch, b16_b26_an_attempt_without_an_answer_is_uncertain)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_CLOSE), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.budget.cost.pico = most_of_a_line() * 2;
    give_chat(40, BODY);
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(eq(i64, result.stats.uncertain, most_of_a_line()));
    cr_expect(le(i64, result.stats.spent + result.stats.uncertain,
        opts.budget.cost.pico));
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, 0));
    cr_expect(eq(i64, result.stats.uncertain_before, most_of_a_line()));
}

Test(batch, b26_a_line_that_nobody_can_say_the_most_of_is_not_sent)
{
    serve(always_ok, 1);
    opts.budget.cost.pico = INT64_C(1000000000000);
    give(REQUEST("a", CHAT, "{\"model\":\"m\"}") REQUEST("b", CHAT,
        "{\"model\":\"x\",\"max_tokens\":1}") REQUEST("c", CHAT, BODY));
    cr_expect(eq(int, run_with_prices(), 0));
    expect_code("a", "no_output_cap");
    expect_code("b", "no_price");
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 1));
    opts.default_output_cap = 10;
    opts.retry_failed = true;
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(u64, result.stats.again, 2));
    expect_code("b", "no_price");
}

/* ---- order and flow ---- */

Test(batch, b8_each_line_is_tried_once_and_is_in_one_file)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/3/score", REPLY("400 Bad", "", "{}")),
        FAULT_ON("/v1/5/score", REPLY("500 Oh", "", "{}")),
        FAULT_ON("/v1/5/score", OK_REPLY),
        FAULT_ON("/v1/7/score", FAULT_DO_CLOSE), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 7;
    give_numbered(300);
    cr_expect(eq(int, run_it(), 0));
    expect_each_once(300);
    cr_expect(eq(u64, result.stats.ok, 298));
    cr_expect(eq(u64, result.stats.failed, 2));
    cr_expect(eq(u64, result.stats.sent, 300));
    cr_expect(eq(u64, result.stats.dropped, 0));
    /* One more for line 5, five more for line 7, which never succeeds. */
    cr_expect(eq(sz, fault_server_requests(server, NULL), 306));
    cr_expect(eq(u64, result.stats.retries, 6));
}

static struct fault_route *
shuffled_routes(size_t count, char (*paths)[32])
{
    struct fault_route *routes = calloc(count, sizeof(*routes));

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(paths[i], sizeof(paths[i]), "/v1/%zu/score", i);
        routes[i] = (struct fault_route)FAULT_ON(
            paths[i], FAULT_DO_SLEEP((uint32_t)(i * 7 % 13)), OK_REPLY);
    }
    return routes;
}

Test(batch, b9_order_of_the_input_under_shuffled_latencies)
{
    static char paths[60][32];
    struct fault_route *routes = shuffled_routes(60, paths);
    char *at;

    serve(routes, 60);
    opts.concurrency = 16;
    for (size_t window = 1; window <= 64; window *= 4) {
        opts.window = window;
        opts.overwrite = true;
        give_numbered(60);
        cr_expect(eq(int, run_it(), 0));
        cr_expect(eq(u64, result.stats.ok, 60));
        at = output;
        for (size_t i = 0; i < 60; i++) {
            char wanted[64];

            (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%zu\"", i);
            at = strstr(at, wanted);
            cr_assert(ne(ptr, at, NULL), "window %zu, line %zu", window, i);
        }
    }
    fault_server_stop(server);
    server = NULL;
    free(routes);
}

static size_t seen;

/* The first line hangs: so many others may be let in, and no more. */
static void
look_at_window(int round, bool *done)
{
    const size_t requests = fault_server_requests(server, NULL);

    cr_expect(le(sz, requests, 5));
    cr_expect(le(u64, result.stats.lines, 5));
    seen = requests == 5 ? seen + 1 : 0;
    if (seen > 100) {
        fault_server_open_gate(server);
        *done = true;
    }
    (void)round;
}

Test(batch, b9_b20_a_full_window_stops_admission)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", FAULT_DO_GATE(1), OK_REPLY),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 16;
    opts.window = 5;
    give_numbered(40);
    cr_expect(eq(int, run_beside(look_at_window), 0));
    cr_expect(eq(u64, result.stats.ok, 40));
    expect_each_once(40);
}

/* Nothing answers: the reader stops with two lines a worker waiting. */
static void
look_at_reader(int round, bool *done)
{
    cr_expect(le(u64, result.stats.lines, 3 * 4));
    cr_expect(le(u64, result.stats.in_flight, 4));
    seen = result.stats.lines == 3 * 4 ? seen + 1 : 0;
    if (seen > 100) {
        fault_server_open_gate(server);
        *done = true;
    }
    (void)round;
}

Test(batch, b20_the_reader_stops_when_enough_lines_wait)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 4;
    give_numbered(200);
    cr_expect(eq(int, run_beside(look_at_reader), 0));
    cr_expect(eq(u64, result.stats.ok, 200));
    expect_each_once(200);
}

/* Long lines count by their bytes too: eight of 5 MiB are not held at once. */
static void
look_at_bytes(int round, bool *done)
{
    cr_expect(lt(sz, test_alloc_live_bytes(), (size_t)64 << 20));
    seen = fault_server_requests(server, NULL) == 2 ? seen + 1 : 0;
    if (seen > 50) {
        fault_server_open_gate(server);
        *done = true;
    }
    (void)round;
}

Test(batch, b20_b21_waiting_lines_are_bounded_in_bytes)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};
    FILE *file = fopen(input_path, "w");
    char *big = malloc((size_t)5 << 20);

    memset(big, 'x', (size_t)5 << 20);
    for (int i = 0; i < 12; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":\"" CHAT
            "\",\"body\":{\"a\":\"%.*s\"}}\n",
            i, 5 << 20, big);
    }
    cr_assert(eq(int, fclose(file), 0));
    free(big);
    serve(routes, COUNT(routes));
    opts.concurrency = 2;
    cr_expect(eq(int, run_beside(look_at_bytes), 0));
    cr_expect(eq(u64, result.stats.ok, 12));
    expect_each_once(12);
}

/* Somebody pipes lines in, a hundred thousand of them, none of them any good,
 * so that only the reader and the writer work.
 */
static void *
pour(void *arg)
{
    FILE *file = fdopen(*(int *)arg, "w");

    for (int i = 0; i < 100000; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"request-%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/files\",\"body\":{\"messages\":\"some text or other\"}}\n",
            i);
    }
    (void)fclose(file);
    return NULL;
}

struct watch_memory {
    size_t *ret_peak;
};

BELAY_ASYNC(watch_memory)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    BELAY_BEGIN;
    BELAY_AWAIT(belay__batch_run(task, &opts, &result));
    cr_assert(
        eq(int, belay_runtime_get_stats(belay_task_runtime(task), &stats), 0));
    *self->ret_peak = stats.memory_peak_bytes;
    BELAY_END;
}

Test(batch, b20_b21_memory_does_not_grow_with_the_input)
{
    const int saved = dup(STDIN_FILENO);
    struct belay_result ended = {0};
    pthread_t thread;
    size_t peak = 0;
    int ends[2];

    serve(always_ok, 1);
    cr_assert(eq(int, pipe(ends), 0));
    cr_assert(eq(int, dup2(ends[0], STDIN_FILENO), STDIN_FILENO));
    cr_assert(eq(int, pthread_create(&thread, NULL, pour, &ends[1]), 0));
    opts.input_path = "-";
    cr_expect(eq(int,
        program_run(&(const struct program){.function = &watch_memory,
                        .arguments = &(const struct watch_memory){&peak}},
            &ended),
        0));
    belay_error_unref(ended.error);
    errors = contents(errors_path); /* too much for more than counting */
    cr_assert(eq(int, pthread_join(thread, NULL), 0));
    cr_assert(eq(int, dup2(saved, STDIN_FILENO), STDIN_FILENO));
    (void)close(saved);
    (void)close(ends[0]);
    cr_expect(eq(u64, result.stats.failed, 100000));
    cr_expect(eq(sz, count_lines(errors), 100000));
    cr_expect(lt(sz, peak, (size_t)1 << 20), "%zu", peak);
}

/* Standard input stays as it was: it is shared with whoever started us. */
Test(batch, standard_input_is_left_blocking)
{
    const int saved = dup(STDIN_FILENO);
    int ends[2];

    serve(always_ok, 1);
    cr_assert(eq(int, pipe(ends), 0));
    cr_assert(eq(int, dup2(ends[0], STDIN_FILENO), STDIN_FILENO));
    (void)close(ends[1]);
    opts.input_path = "-";
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0));
    cr_assert(eq(int, dup2(saved, STDIN_FILENO), STDIN_FILENO));
    (void)close(saved);
    (void)close(ends[0]);
}

static void *
pour_into_fifo(void *arg)
{
    FILE *file = fopen(arg, "w");

    (void)fputs(REQUEST("a", CHAT, "{}"), file);
    (void)fclose(file);
    return NULL;
}

static void
cancel_later(int round, bool *done)
{
    if (round == 20) {
        (void)belay_task_cancel(running_task, "nobody writes");
        *done = true;
    }
}

/* A FIFO that nobody has opened yet must not stall the loop. */
Test(batch, a_fifo_is_read_when_somebody_writes)
{
    pthread_t thread;

    serve(always_ok, 1);
    cr_assert(eq(int, mkfifo(input_path, 0600), 0));
    (void)run_beside(cancel_later);
    expect_text(output, "");
    opts.running = NULL;
    opts.overwrite = true;
    cr_assert(
        eq(int, pthread_create(&thread, NULL, pour_into_fifo, input_path), 0));
    cr_expect(eq(int, run_it(), 0));
    cr_assert(eq(int, pthread_join(thread, NULL), 0));
    cr_expect(eq(u64, result.stats.ok, 1));
}

/* ---- progress ---- */

static size_t reports;
static struct belay__batch_stats last_report;

static void
note_progress(const struct belay__batch_stats *stats, int64_t now_ns, void *arg)
{
    cr_expect(eq(ptr, arg, &reports));
    cr_expect(ge(i64, now_ns, stats->started_ns));
    reports++;
    last_report = *stats;
}

Test(batch, b30_progress_is_told_at_the_start_and_at_the_end)
{
    serve(always_ok, 1);
    opts.progress = note_progress;
    opts.arg = &reports;
    give_numbered(10);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(ge(sz, reports, 2));
    cr_expect(eq(u64, last_report.ok, 10));
    cr_expect(eq(u64, last_report.in_flight, 0));
    cr_expect(gt(i64, last_report.ended_ns, 0));
    cr_expect(eq(u64, last_report.input_bytes, last_report.input_size));
}

/* ---- security ---- */

#define CANARY "canary-4b1d-key"

Test(batch, x2_the_key_goes_to_the_server_and_nowhere_else)
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

Test(batch, x5_redirects_are_not_followed)
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

/* ---- sweeps ---- */

static const struct fault_route sweep_routes[] = {
    FAULT_ON("/v1/3/score", REPLY("400 Bad", "", "{}")),
    FAULT_ON("/v1/5/score", FAULT_DO_CLOSE),
    FAULT_ON("/v1/6/score", REPLY("200 OK", "", "<html>")),
    FAULT_ON(NULL, OK_REPLY)};

/* In a process of its own, since the sweeps count open files. */
static pid_t
serve_apart(const struct fault_route *routes, size_t count)
{
    int ends[2];
    pid_t pid;
    ssize_t len;
    char url[64];

    cr_assert(eq(int, pipe(ends), 0));
    pid = fork();
    cr_assert(ge(int, pid, 0));
    if (pid == 0) {
        const char *own = fault_server_url(fault_server_start(routes, count));

        (void)!write(ends[1], own, strlen(own));
        (void)close(ends[1]);
        for (;;) {
            (void)pause();
        }
    }
    (void)close(ends[1]);
    len = read(ends[0], url, sizeof(url) - 1);
    (void)close(ends[0]);
    cr_assert(gt(int, (int)len, 0));
    (void)snprintf(base_url, sizeof(base_url), "%.*s/v1", (int)len, url);
    return pid;
}

/* How many lines the journal says were sent and have no end. */
static size_t
in_doubt(void)
{
    char path[80];
    char *journal;
    size_t count = 0;

    (void)snprintf(path, sizeof(path), "%s.state", output_path);
    journal = contents(path);
    for (int line = 1; line <= 10; line++) {
        char kind = ' '; /* of the last record about the line */

        for (char *at = strchr(journal, '\n'); at != NULL && at[1] != '\0';
             at = strchr(at + 1, '\n')) {
            if (strtol(at + 2, NULL, 10) == line) {
                kind = at[1];
            }
        }
        count += kind == 's' || kind == 'a';
    }
    free(journal);
    return count;
}

/* However a run has ended: whole lines, none twice, and the counts agree. What
 * was not sent is not in doubt, although the journal may have announced it.
 */
static void
check_files(const struct belay_result *ended, bool disturbed)
{
    size_t lines;

    free(output);
    free(errors);
    output = contents(output_path);
    errors = contents(errors_path);
    lines = expect_whole(output) + expect_whole(errors);
    for (int i = 0; i < 10; i++) {
        char wanted[64];
        char *first;

        (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%d\"", i);
        first = strstr(output, wanted);
        if (first != NULL) {
            cr_expect(eq(ptr, strstr(first + 1, wanted), NULL));
            cr_expect(eq(ptr, strstr(errors, wanted), NULL));
        } else if ((first = strstr(errors, wanted)) != NULL) {
            cr_expect(eq(ptr, strstr(first + 1, wanted), NULL));
        }
    }
    cr_expect(eq(u64, result.stats.in_flight, 0));
    cr_expect(eq(u64, result.stats.retrying, 0));
    cr_expect(eq(u64, lines, result.stats.ok + result.stats.failed));
    cr_expect(eq(u64, result.stats.lines, lines + result.stats.dropped));
    cr_expect(le(u64, in_doubt() + lines, result.stats.sent));
    if (!disturbed) {
        cr_expect(eq(int, ended->code, 0));
        cr_expect(eq(sz, lines, 10));
        cr_expect(eq(u64, result.stats.ok, 7));
    }
    result = (struct belay__batch_result){0};
    /* The next run begins with nothing, also if it fails before it begins. */
    remove_files();
}

static void
sweep_batch(size_t (*sweep_fn)(const struct program *program))
{
    const struct run_batch arguments = {&opts, &result};
    const pid_t pid = serve_apart(sweep_routes, COUNT(sweep_routes));

    opts.concurrency = 3;
    opts.max_retries = 1;
    opts.overwrite = true;
    give_numbered(10);
    cr_expect(gt(sz,
        sweep_fn(&(const struct program){.function = &run_batch,
            .arguments = &arguments,
            .check = check_files}),
        10));
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

Test(batch, b8_b10_every_cancel_leaves_whole_lines_and_nothing_open)
{
    sweep_batch(sweep_cancels);
}

Test(batch, b2_b8_b9_every_cancel_in_input_order_checked_first)
{
    opts.window = 4;
    opts.strict = true;
    sweep_batch(sweep_cancels);
}

Test(batch, b8_b10_every_refused_allocation_leaves_whole_lines)
{
    sweep_batch(sweep_allocs);
}

Test(batch, b2_b8_b9_every_refused_allocation_in_input_order_checked_first)
{
    opts.window = 4;
    opts.strict = true;
    opts.sync = BELAY__BATCH_SYNC_LINE;
    sweep_batch(sweep_allocs);
}
