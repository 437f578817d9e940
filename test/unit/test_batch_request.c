/* test_batch_request.c - a line says what to send; a bad one says why not. */
#include "llm/batch/request.h"
#include "llm/json/scan.h"
#include "test/support/memory.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

static struct belay__buffer scratch;
static struct belay__batch_request request;

static void
set_up(void)
{
    open_memory();
    belay__buffer_init(&scratch, memory, 1 << 20);
}

static void
tear_down(void)
{
    belay__buffer_fini(&scratch);
    close_memory();
}

TestSuite(batch_request, .init = set_up, .fini = tear_down, .timeout = 10);

static bool
is(struct belay_slice got, const char *expected)
{
    return got.len == strlen(expected)
           && (got.len == 0 || memcmp(got.data, expected, got.len) == 0);
}

static int
read_with(const struct belay__batch_rules *rules, const char *text)
{
    struct belay__line line = {.text = slice(text), .number = 7};

    return belay__batch_read(&line, rules, &scratch, &request);
}

static bool
faulty(const char *text, enum belay__batch_fault fault, const char *message)
{
    cr_assert(zero(int, read_with(&(struct belay__batch_rules){0}, text)));
    cr_expect(eq(str, request.message, (char *)(uintptr_t)message));
    return request.fault == fault;
}

#define CHAT "/v1/chat/completions"
#define LINE(members) "{" members "}"
#define ID "\"custom_id\":\"a\","
#define POST "\"method\":\"POST\","
#define URL "\"url\":\"" CHAT "\","

Test(batch_request, b1_a_line_is_taken_apart)
{
    static const char body[] =
        "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\"}]}";

    cr_assert(zero(int,
        read_with(&(struct belay__batch_rules){0},
            " { \"custom_id\" : \"request-1\" , \"method\":\"POST\", \"url\":"
            " \"/v1/chat/completions\", \"body\" : "
            "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\"}]} } ")));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_NONE));
    cr_expect(eq(str, request.message, (char *)""));
    cr_expect(eq(u64, request.line, 7));
    cr_expect(is(request.custom_id, "request-1"));
    cr_expect(is(request.custom_id_raw, "\"request-1\""));
    cr_expect(is(request.url, CHAT));
    cr_expect(is(request.body, body));
    cr_expect(is(request.model, "gpt-4o"));
    cr_expect(not(request.stream));
}

Test(batch_request, b1_order_and_unknown_members_do_not_matter)
{
    cr_assert(
        zero(int, read_with(&(struct belay__batch_rules){0},
                      LINE("\"x\":[{}],\"body\":{}," URL POST "\"y\":null,"
                           "\"custom_id\":\"\""))));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_NONE));
    cr_expect(is(request.custom_id, ""));
    cr_expect(is(request.custom_id_raw, "\"\""));
    cr_expect(is(request.body, "{}"));
    cr_expect(is(request.model, ""));
}

Test(batch_request, b1_escapes_are_undone)
{
    cr_assert(zero(
        int, read_with(&(struct belay__batch_rules){0},
                 LINE("\"custom\\u005fid\":\"\\u00e9\\u0000-\\ud83c\","
                      "\"method\":\"P\\u004fST\",\"url\":\"\\/v1\\/responses\","
                      "\"body\":{\"\\u006dodel\":\"a\\/b\"}"))));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_NONE));
    cr_expect(eq(sz, request.custom_id.len, 7));
    cr_expect(
        zero(memcmp(request.custom_id.data, "\xc3\xa9\0-\xef\xbf\xbd", 7)));
    cr_expect(is(request.custom_id_raw, "\"\\u00e9\\u0000-\\ud83c\""));
    cr_expect(is(request.url, "/v1/responses"));
    cr_expect(is(request.model, "a/b"));
    cr_expect(is(request.body, "{\"\\u006dodel\":\"a\\/b\"}"));
}

Test(batch_request, b1_urls)
{
    static const char *const good[] = {"/v1/chat/completions", "/v1/responses",
        "/v1/embeddings", "/v1/completions", "/v1/messages", "/v1/score",
        "/score", "/v2/rerank", "/rerank"};
    static const char *const bad[] = {"", "/", "/v1/chat/completions/",
        "/V1/chat/completions", "v1/score", "score", "/v1/scores",
        "/../x/score", "/v1/ score", "/v1/x?a=/score", "http://x/score",
        "/v1/images", "/v1/files"};
    char text[200];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        (void)snprintf(text, sizeof(text),
            "{" ID POST "\"body\":{},\"url\":\"%s\"}", good[i]);
        cr_assert(zero(int, read_with(&(struct belay__batch_rules){0}, text)));
        cr_expect(
            eq(int, (int)request.fault, (int)BELAY__BATCH_NONE), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(text, sizeof(text),
            "{" ID POST "\"body\":{},\"url\":\"%s\"}", bad[i]);
        cr_assert(zero(int, read_with(&(struct belay__batch_rules){0}, text)));
        cr_expect(
            eq(int, (int)request.fault, (int)BELAY__BATCH_UNSUPPORTED_URL),
            "%s", bad[i]);
    }
}

Test(batch_request, b1_anthropic_lines)
{
    cr_assert(zero(
        int, read_with(&(struct belay__batch_rules){0},
                 "{\"custom_id\":\"a\",\"params\":{\"model\":\"claude\"}}")));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_NONE));
    cr_expect(is(request.url, "/v1/messages"));
    cr_expect(is(request.body, "{\"model\":\"claude\"}"));
    cr_expect(is(request.model, "claude"));
}

Test(batch_request, b1_bare_bodies)
{
    const struct belay__batch_rules rules = {.url = slice(CHAT), .bare = true};

    cr_assert(zero(int,
        read_with(&rules, " {\"model\":\"m\",\"metadata\":{\"row\":1}} ")));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_NONE));
    cr_expect(is(request.custom_id, "7"));
    cr_expect(is(request.custom_id_raw, "\"7\""));
    cr_expect(is(request.url, CHAT));
    cr_expect(is(request.body, "{\"model\":\"m\",\"metadata\":{\"row\":1}}"));
    cr_expect(is(request.model, "m"));

    cr_assert(zero(int, read_with(&rules, "[1]")));
    cr_expect(
        eq(str, request.message, (char *)"line 7: the line is not an object"));
    cr_assert(zero(int, read_with(&rules, "{\"stream\":true}")));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_STREAM));
    cr_expect(is(request.custom_id, "7"));
}

Test(batch_request, b2_bad_lines_say_what_is_wrong)
{
    const enum belay__batch_fault invalid = BELAY__BATCH_INVALID_LINE;

    cr_expect(faulty("nonsense", invalid,
        "line 7: not valid JSON at byte 0: expected a value"));
    cr_expect(faulty("{\"custom_id\":\"a\"", invalid,
        "line 7: not valid JSON at byte 16: the text ends too early"));
    cr_expect(faulty("{} {}", invalid,
        "line 7: not valid JSON at byte 3: something follows the value"));
    cr_expect(faulty("[]", invalid, "line 7: the line is not an object"));
    cr_expect(faulty("{}", invalid, "line 7: custom_id is missing"));
    cr_expect(faulty(
        LINE("\"custom_id\":1"), invalid, "line 7: custom_id is not a string"));
    cr_expect(faulty(
        LINE("\"Custom_ID\":\"a\""), invalid, "line 7: custom_id is missing"));
    cr_expect(faulty(
        LINE(ID URL "\"body\":{}"), invalid, "line 7: method is missing"));
    cr_expect(faulty(LINE(ID URL "\"method\":\"GET\""), invalid,
        "line 7: method is not 'POST'"));
    cr_expect(faulty(LINE(ID URL "\"method\":null"), invalid,
        "line 7: method is not a string"));
    cr_expect(
        faulty(LINE(ID POST "\"body\":{}"), invalid, "line 7: url is missing"));
    cr_expect(faulty(
        LINE(ID POST "\"url\":[]"), invalid, "line 7: url is not a string"));
    cr_expect(faulty(
        LINE(ID POST URL "\"x\":1"), invalid, "line 7: body is missing"));
    cr_expect(faulty(LINE(ID POST URL "\"body\":[{}]"), invalid,
        "line 7: body is not an object"));
    cr_expect(faulty(
        LINE(ID "\"params\":1"), invalid, "line 7: params is not an object"));
}

Test(batch_request, b2_urls_that_cannot_be_used)
{
    const struct belay__batch_rules rules = {.url = slice("/v1/embeddings")};

    cr_expect(faulty(LINE(ID POST "\"url\":\"/v1/files\",\"body\":{}"),
        BELAY__BATCH_UNSUPPORTED_URL,
        "line 7: url '/v1/files' is not supported"));
    cr_assert(zero(int, read_with(&rules, LINE(ID POST URL "\"body\":{}"))));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_URL_MISMATCH));
    cr_expect(eq(str, request.message,
        (char *)"line 7: url '/v1/chat/completions' is not that of the batch, "
                "'/v1/embeddings'"));
}

Test(batch_request, b2_a_stream_is_refused_wherever_it_is_asked_for)
{
    cr_expect(faulty(LINE(ID POST URL "\"body\":{\"stream\":true}"),
        BELAY__BATCH_STREAM,
        "line 7: the body asks for a stream, which a batch cannot deliver"));
    cr_expect(faulty(
        LINE(ID POST URL "\"body\":{\"stream\":true,\"stream\":false}"),
        BELAY__BATCH_STREAM,
        "line 7: the body asks for a stream, which a batch cannot deliver"));
    cr_expect(faulty(
        LINE(ID POST URL "\"body\":{\"stream\":false,\"a\":{\"stream\":true}}"),
        BELAY__BATCH_NONE, ""));
}

Test(batch_request, b2_the_id_of_a_bad_line_is_given_where_it_can_be)
{
    cr_assert(zero(int,
        read_with(&(struct belay__batch_rules){0}, LINE(ID "\"body\":tru"))));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_INVALID_LINE));
    cr_expect(is(request.custom_id, "a"));
    cr_expect(is(request.custom_id_raw, "\"a\""));
}

Test(batch_request, b2_line_too_large)
{
    const struct belay__line line = {
        .text = slice("{\"custom_id\":\"big\",\"body\":{\"mess"),
        .number = 9,
        .too_long = true};

    cr_assert(
        zero(int, belay__batch_read(&line, &(struct belay__batch_rules){0},
                      &scratch, &request)));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_LINE_TOO_LARGE));
    cr_expect(is(request.custom_id, "big"));
    cr_expect(eq(str, request.message,
        (char *)"line 9: longer than the limit for a line"));
}

Test(batch_request, b2_duplicates_are_marked)
{
    cr_assert(zero(int, read_with(&(struct belay__batch_rules){0},
                            LINE(ID POST URL "\"body\":{}"))));
    belay__batch_mark_duplicate(&request);
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_DUPLICATE_ID));
    cr_expect(eq(
        str, request.message, (char *)"line 7: custom_id 'a' was used before"));
}

Test(batch_request, b2_names_of_the_faults)
{
    static const char *const names[] = {"none", "invalid_json_line",
        "duplicate_custom_id", "url_mismatch", "unsupported_url",
        "line_too_large", "stream_not_allowed"};

    for (int i = 0; i < 7; i++) {
        const char *name = belay__batch_fault_name((enum belay__batch_fault)i);

        cr_expect(zero(strcmp(name, names[i])), "%s", name);
    }
}

Test(batch_request, x8_messages_are_short_and_fit_for_a_terminal)
{
    char text[1000];

    cr_expect(faulty(
        LINE(ID POST "\"url\":\"/\\u001b[2J\\u0000\x7f\",\"body\":{}"),
        BELAY__BATCH_UNSUPPORTED_URL, "line 7: url '/ [2J ' is not supported"));
    cr_expect(faulty(LINE(ID POST "\"url\":\"/\xc2\x9b"
                                  "2J\xe2\x80\xae\",\"body\":{}"),
        BELAY__BATCH_UNSUPPORTED_URL, "line 7: url '/ 2J ' is not supported"));
    (void)snprintf(text, sizeof(text),
        "{" ID POST "\"body\":{},\"url\":\"%058d\xe2\x82\xac more\"}", 0);
    cr_assert(zero(int, read_with(&(struct belay__batch_rules){0}, text)));
    cr_expect(eq(str, request.message,
        (char *)"line 7: url '0000000000000000000000000000000000000000000000000"
                "000000000...' is not supported"));
}

Test(batch_request, b3_the_body_is_the_bytes_of_the_line)
{
    static const char body[] =
        "{ \"seed\":9007199254740993 ,\"x\":1e400,\t\"x\" : 1.0,"
        "\"model\":\"a\",\"z\":\"\\u0041\\/\",\"model\":\"b\" }";
    char text[300];

    (void)snprintf(text, sizeof(text), "{" ID POST URL "\"body\": %s }", body);
    cr_assert(zero(int, read_with(&(struct belay__batch_rules){0}, text)));
    cr_expect(is(request.body, body));
    cr_expect(request.body.data > text && request.body.data < text + 300);
    cr_expect(is(request.model, "b"), "the last one counts");
}

Test(batch_request, the_last_of_two_bodies_counts)
{
    cr_assert(zero(
        int, read_with(&(struct belay__batch_rules){0},
                 LINE(ID POST URL "\"body\":{\"model\":\"a\",\"stream\":true},"
                                  "\"params\":{},\"body\":{}"))));
    cr_expect(eq(int, (int)request.fault, (int)BELAY__BATCH_NONE));
    cr_expect(is(request.body, "{}"));
    cr_expect(is(request.model, ""));
}

Test(batch_request, out_of_memory_changes_nothing)
{
    static const char text[] =
        LINE("\"custom_id\":\"\\n\"," POST URL "\"body\":{}");

    request.line = 4711;
    test_alloc_fail_at(0);
    cr_expect(eq(
        int, read_with(&(struct belay__batch_rules){0}, text), BELAY_ENOMEM));
    cr_expect(eq(u64, request.line, 4711));
    cr_expect(zero(int, read_with(&(struct belay__batch_rules){0}, text)));
    cr_expect(is(request.custom_id, "\n"));
}

static bool
rewritten(const char *body, const char *model, const char *expected)
{
    bool same;

    belay__buffer_clear(&scratch);
    cr_assert(zero(
        int, belay__batch_write_body(&scratch, slice(body), slice(model))));
    cr_expect(zero(
        int, belay__json_check(belay__buffer_slice(&scratch), NULL, NULL)));
    same = is(belay__buffer_slice(&scratch), expected);
    if (!same) {
        cr_log_warn("%.*s", (int)scratch.len, scratch.data);
    }
    return same;
}

Test(batch_request, b3_another_model_changes_nothing_else)
{
    cr_expect(rewritten("{\"model\":\"a\"}", "b", "{\"model\":\"b\"}"));
    cr_expect(rewritten(
        " { \"x\" : 1e400 , \"model\" :\t\"a\" , \"y\":{\"model\":\"a\"} } ",
        "b\"c",
        " { \"x\" : 1e400 , \"model\" :\t\"b\\\"c\" , \"y\":{\"model\":\"a\"} "
        "} "));
    cr_expect(rewritten("{\"model\":1,\"n\":9007199254740993,"
                        "\"\\u006dodel\":{\"a\":[]},\"Model\":\"a\"}",
        "b",
        "{\"model\":\"b\",\"n\":9007199254740993,"
        "\"\\u006dodel\":\"b\",\"Model\":\"a\"}"));
}

Test(batch_request, a_body_without_model_gets_one)
{
    cr_expect(rewritten("{}", "b", "{\"model\":\"b\"}"));
    cr_expect(rewritten(" { } ", "b", " {\"model\":\"b\" } "));
    cr_expect(rewritten("{ \"x\":1}", "b", "{\"model\":\"b\", \"x\":1}"));
}

Test(batch_request, a_body_that_cannot_be_written_leaves_the_buffer)
{
    struct belay__buffer small;

    belay__buffer_init(&small, memory, 40);
    cr_assert(zero(int, belay__buffer_append(&small, "ab", 2)));
    cr_expect(eq(int, belay__batch_write_body(&small, slice("[]"), slice("b")),
        BELAY_EJSON));
    cr_expect(eq(int,
        belay__batch_write_body(
            &small, slice("{\"model\":\"a\",\"b\":}"), slice("b")),
        BELAY_EJSON));
    cr_expect(eq(int,
        belay__batch_write_body(&small,
            slice("{\"model\":\"a\",\"b\":\"fills more than forty bytes\"}"),
            slice("b")),
        BELAY_ETOOLARGE));
    cr_expect(eq(int,
        belay__batch_write_body(&small, slice("{\"model\":\"a\"}"),
            slice("a name of a model that is far too long")),
        BELAY_ETOOLARGE));
    cr_expect(is(belay__buffer_slice(&small), "ab"));
    belay__buffer_fini(&small);
    test_alloc_fail_after(0);
    cr_expect(eq(int, belay__batch_write_body(&small, slice("{}"), slice("b")),
        BELAY_ENOMEM));
    cr_expect(zero(sz, small.len));
}
