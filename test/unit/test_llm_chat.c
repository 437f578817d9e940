/* test_llm_chat.c - requests built, answers read, usage, printable texts. */
#include "llm/json/text.h"
#include "llm/printable.h"
#include "llm/provider/error.h"
#include "llm/provider/provider.h"
#include "test/support/alloc.h"
#include "test/support/secrets.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(llm_chat, .fini = check_clean, .timeout = 10);

/* ---- requests ---- */

static const struct belay_llm_message hello[] = {
    {.role = "user", .content = {"hello", 5}}};

/* The request as text, in a static buffer. */
static char *
build(const struct belay_llm_chat *chat)
{
    static char text[4096];
    struct belay__memory *memory = belay__memory_new(&test_allocator);
    struct belay__buffer buffer;

    belay__buffer_init(&buffer, memory, sizeof(text) - 1);
    cr_assert(zero(int, belay__provider_build(&belay__chat_provider, chat,
                            (struct belay__wish){.stream = false}, &buffer)));
    cr_assert(
        zero(int, belay__json_check(belay__buffer_slice(&buffer), NULL, NULL)));
    memcpy(text, buffer.data, buffer.len);
    text[buffer.len] = '\0';
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
    return text;
}

#define BUILD(...)                                                            \
    build(BELAY_LLM_CHAT(.model = "m", .messages = hello, .message_count = 1, \
        __VA_ARGS__))
#define HELLO                                            \
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"," \
    "\"content\":\"hello\"}]"
#define TEXT(literal) ((char *)(uintptr_t)(literal))

Test(llm_chat, what_is_not_given_is_not_sent)
{
    cr_expect(eq(str, BUILD(.seed = NULL), TEXT(HELLO "}")));
}

Test(llm_chat, every_member_of_a_request)
{
    const double temperature = 0.25;
    const int64_t seed = INT64_MIN;
    const struct belay_slice stop[] = {slice("\n"), slice("END")};

    cr_expect(eq(str,
        BUILD(.temperature = &temperature, .max_tokens = 9, .seed = &seed,
            .stop = stop, .stop_count = 2, .extra = slice("{\"n\":1}")),
        TEXT(HELLO ",\"temperature\":0.25,\"max_completion_tokens\":9,"
                   "\"seed\":-9223372036854775808,\"stop\":[\"\\n\",\"END\"],"
                   "\"n\":1}")));
    cr_expect(eq(str, BUILD(.max_tokens = 9, .old_max_tokens = true),
        TEXT(HELLO ",\"max_tokens\":9}")));
}

Test(llm_chat, temperatures_read_back_as_they_were)
{
    static const double values[] = {0, 0.7, 1, 2, 0.001, 1.999, 0.1 + 0.2,
        1.0 / 3, 1e-9, 1e22, -0.5, 9.9999, 0.0005, 12.5, 5e-324};

    for (size_t i = 0; i < COUNT(values); i++) {
        char *text = BUILD(.temperature = &values[i]);
        char *number = strstr(text, "\"temperature\":");

        cr_assert(ne(ptr, number, NULL));
        cr_expect(eq(dbl, strtod(number + 14, NULL), values[i]), "%s", text);
    }
    cr_expect(ne(ptr,
        strstr(BUILD(.temperature = &values[1]), "\"temperature\":0.7}"),
        NULL));
}

Test(llm_chat, l93_extra_is_copied_byte_for_byte)
{
    cr_expect(eq(str,
        BUILD(.extra = slice(" {\n\"a\" : 9007199254740993 , \"a\":1e400} ")),
        TEXT(HELLO ",\"a\" : 9007199254740993 , \"a\":1e400}")));
    cr_expect(eq(str, BUILD(.extra = slice("{ }")), TEXT(HELLO "}")));
}

Test(llm_chat, what_cannot_be_sent)
{
    static const char *const extras[] = {
        "1", "[]", "\"a\":1", "{\"a\":1},{", "{", "{\"a\":1}x", " "};
    static const struct belay_llm_message no_role[] = {
        {.role = NULL, .content = {"x", 1}}};
    const double nan_value = (double)NAN;
    const struct belay_llm_chat good = {
        .model = "m", .messages = hello, .message_count = 1};
    struct belay_llm_chat chat = good;

    cr_expect(eq(ptr, TEXT(belay__chat_provider.check_fn(&good)), NULL));
    for (size_t i = 0; i < COUNT(extras); i++) {
        chat.extra = slice(extras[i]);
        cr_expect(ne(ptr, TEXT(belay__chat_provider.check_fn(&chat)), NULL),
            "%s", extras[i]);
    }
    chat = good;
    chat.model = "";
    cr_expect(ne(ptr, TEXT(belay__chat_provider.check_fn(&chat)), NULL));
    chat = good;
    chat.message_count = 0;
    cr_expect(ne(ptr, TEXT(belay__chat_provider.check_fn(&chat)), NULL));
    chat = good;
    chat.messages = no_role;
    cr_expect(ne(ptr, TEXT(belay__chat_provider.check_fn(&chat)), NULL));
    chat = good;
    chat.temperature = &nan_value;
    cr_expect(ne(ptr, TEXT(belay__chat_provider.check_fn(&chat)), NULL));
    chat = good;
    chat.max_tokens = -1;
    cr_expect(ne(ptr, TEXT(belay__chat_provider.check_fn(&chat)), NULL));
}

/* ---- answers ---- */

#define MESSAGE(members) "{\"choices\":[{\"message\":{" members "}}]}"

/* An answer in the memory of the test, to be given to forget(). */
static int
parse(const char *body, struct belay__answer *ret)
{
    belay__answer_init(ret, belay__memory_new(&test_allocator), false);
    return belay__provider_read(&belay__chat_provider, ret, slice(body));
}

static void
forget(struct belay__answer *answer)
{
    struct belay__memory *memory = answer->memory;

    belay__answer_fini(answer);
    belay__memory_unref(memory);
}

/* The text of the first choice, or NULL; *ret_len with NULs and all. */
static char *
content_of(const char *body, size_t *ret_len)
{
    static char text[1024];
    struct belay__answer answer;
    struct belay_slice found = {NULL, 0};

    if (parse(body, &answer) == 0) {
        found =
            belay__stretch_slice(belay__answer_nth(&answer, 0), BELAY__TEXT);
    }
    *ret_len = found.len;
    if (found.data != NULL) {
        memcpy(text, found.data, found.len);
        text[found.len] = '\0';
    }
    forget(&answer);
    return found.data != NULL ? text : NULL;
}

Test(llm_chat, l91_half_a_surrogate_is_no_failure)
{
    size_t len;

    cr_expect(eq(str, content_of(MESSAGE("\"content\":\"a\\ud83cb\""), &len),
        TEXT("a\xef\xbf\xbd"
             "b")));
    cr_expect(
        eq(str, content_of(MESSAGE("\"content\":\"\\ud83c\\udf0d\""), &len),
            TEXT("\xf0\x9f\x8c\x8d")));
}

Test(llm_chat, l92_a_nul_does_not_end_the_text)
{
    size_t len;
    char *text = content_of(MESSAGE("\"content\":\"a\\u0000b\""), &len);

    cr_assert(eq(sz, len, 3));
    cr_expect(zero(memcmp(text, "a\0b", 3)));
}

Test(llm_chat, l94_garbage_in_or_behind_the_answer)
{
    static const char *const bodies[] = {MESSAGE("\"content\":\"x\"") " y",
        MESSAGE("\"content\":\"\x01\""), MESSAGE("\"content\":\"\xff\""),
        MESSAGE("\"n\":01"), "", "{\"choices\":[{\"message\":{}}]"};
    struct belay__answer answer;

    for (size_t i = 0; i < COUNT(bodies); i++) {
        cr_expect(
            eq(int, parse(bodies[i], &answer), BELAY_EREPLY), "%s", bodies[i]);
        cr_expect(zero(sz, answer.usage.span.len));
        cr_expect(zero(sz, answer.choice_count));
        forget(&answer);
    }
}

Test(llm_chat, l95_too_deep)
{
    char body[512] = "{\"choices\":[{\"message\":{}}],\"x\":";
    struct belay__answer answer;

    memset(body + strlen(body), '[', 128);
    cr_expect(eq(int, parse(body, &answer), BELAY_EREPLY));
    forget(&answer);
}

Test(llm_chat, l96_case_counts)
{
    struct belay__answer answer;
    size_t len;

    cr_assert(zero(int, parse("{\"Usage\":{\"prompt_tokens\":1},"
                              "\"choices\":[{\"message\":{}}]}",
                            &answer)));
    cr_expect(zero(sz, answer.usage.span.len));
    forget(&answer);
    cr_expect(eq(str,
        content_of(MESSAGE("\"Content\":\"x\",\"content\":\"y\""), &len),
        TEXT("y")));
}

Test(llm_chat, l1_the_first_choice_is_that_of_the_lowest_index)
{
    size_t len;

    cr_expect(eq(str,
        content_of("{\"choices\":[{\"message\":{\"content\":\"1\"}},"
                   "{\"message\":{\"content\":\"2\"}}]}",
            &len),
        TEXT("1")));
    cr_expect(eq(str,
        content_of("{\"choices\":["
                   "{\"index\":1,\"message\":{\"content\":\"1\"}},"
                   "{\"index\":0,\"message\":{\"content\":\"0\"}}]}",
            &len),
        TEXT("0")));
}

Test(llm_chat, l1_ends)
{
    static const struct {
        const char *body;
        enum belay_llm_end end;
    } rows[] = {
        {"\"finish_reason\":\"stop\"", BELAY_LLM_END_STOP},
        {"\"finish_reason\":\"length\"", BELAY_LLM_END_LENGTH},
        {"\"finish_reason\":\"tool_calls\"", BELAY_LLM_END_TOOL},
        {"\"finish_reason\":\"function_call\"", BELAY_LLM_END_TOOL},
        {"\"finish_reason\":\"content_filter\"", BELAY_LLM_END_FILTER},
        {"\"finish_reason\":\"st\\u006fp\"", BELAY_LLM_END_STOP},
        {"\"finish_reason\":\"new\"", BELAY_LLM_END_UNKNOWN},
        {"\"finish_reason\":null", BELAY_LLM_END_UNKNOWN},
        {"\"x\":1", BELAY_LLM_END_UNKNOWN},
    };
    struct belay__answer answer;
    char body[256];

    for (size_t i = 0; i < COUNT(rows); i++) {
        (void)snprintf(body, sizeof(body),
            "{\"choices\":[{\"message\":{\"content\":null},%s}]}",
            rows[i].body);
        cr_assert(zero(int, parse(body, &answer)), "%s", body);
        cr_expect(eq(int, (int)answer.first.end, (int)rows[i].end), "%s", body);
        forget(&answer);
    }
    cr_assert(zero(int, parse("{\"choices\":[{\"message\":{\"refusal\":\"no\"},"
                              "\"finish_reason\":\"stop\"}]}",
                            &answer)));
    cr_expect(eq(int, (int)answer.first.end, BELAY_LLM_END_REFUSAL));
    forget(&answer);
}

/* ---- usage ---- */

/* in, read, w5m, w1h, audio, out, reasoning, audio */
static void
expect_usage(const char *raw, const int64_t expected[8])
{
    struct belay_llm_usage usage;

    belay__usage_parse(slice(raw), &usage);
    cr_expect(eq(i64, usage.in_total, expected[0]), "%s", raw);
    cr_expect(eq(i64, usage.in_cache_read, expected[1]), "%s", raw);
    cr_expect(eq(i64, usage.in_cache_write_5m, expected[2]), "%s", raw);
    cr_expect(eq(i64, usage.in_cache_write_1h, expected[3]), "%s", raw);
    cr_expect(eq(i64, usage.in_audio, expected[4]), "%s", raw);
    cr_expect(eq(i64, usage.out_total, expected[5]), "%s", raw);
    cr_expect(eq(i64, usage.out_reasoning, expected[6]), "%s", raw);
    cr_expect(eq(i64, usage.out_audio, expected[7]), "%s", raw);
}

#define USAGE(raw, ...) expect_usage((raw), (const int64_t[8]){__VA_ARGS__})

Test(llm_chat, l47_openai_counts_include_the_cache)
{
    USAGE("{\"prompt_tokens\":10,\"completion_tokens\":20,\"total_tokens\":30,"
          "\"prompt_tokens_details\":{\"cached_tokens\":4,\"audio_tokens\":1,"
          "\"cache_write_tokens\":2},\"completion_tokens_details\":"
          "{\"reasoning_tokens\":5,\"audio_tokens\":3,\"x\":{}}}",
        10, 4, 2, -1, 1, 20, 5, 3);
    USAGE("{\"prompt_tokens\":1,\"completion_tokens\":2,"
          "\"prompt_tokens_details\":null,\"completion_tokens_details\":null}",
        1, -1, -1, -1, -1, 2, -1, -1);
}

Test(llm_chat, l47_responses_and_embeddings)
{
    USAGE("{\"input_tokens\":7,\"output_tokens\":8,\"input_tokens_details\":"
          "{\"cached_tokens\":3},\"output_tokens_details\":"
          "{\"reasoning_tokens\":6}}",
        7, 3, -1, -1, -1, 8, 6, -1);
    USAGE("{\"prompt_tokens\":7,\"total_tokens\":7}", 7, -1, -1, -1, -1, 0, -1,
        -1);
}

/* What is in the total only is output: reasoning that was not counted there. */
Test(llm_chat, l47_l50_a_total_that_is_more_than_its_parts)
{
    USAGE(
        "{\"prompt_tokens\":100,\"completion_tokens\":20,\"total_tokens\":150,"
        "\"completion_tokens_details\":{\"reasoning_tokens\":30}}",
        100, -1, -1, -1, -1, 50, 30, -1);
    USAGE("{\"total_tokens\":150,\"completion_tokens\":20,"
          "\"prompt_tokens\":100}",
        100, -1, -1, -1, -1, 50, -1, -1);
    USAGE("{\"prompt_tokens\":100,\"completion_tokens\":20,\"total_tokens\":"
          "110}",
        100, -1, -1, -1, -1, 20, -1, -1);
    USAGE("{\"completion_tokens\":20,\"total_tokens\":150}", -1, -1, -1, -1, -1,
        20, -1, -1);
    /* It was input that was told apart. */
    USAGE("{\"prompt_tokens\":10,\"cache_read_input_tokens\":1000,"
          "\"completion_tokens\":5,\"total_tokens\":1015}",
        1010, 1000, -1, -1, -1, 5, -1, -1);
    USAGE("{\"prompt_tokens\":110,\"cache_creation_input_tokens\":100,"
          "\"cache_read_input_tokens\":1000,\"completion_tokens\":5,"
          "\"total_tokens\":1115}",
        1110, 1000, 100, -1, -1, 5, -1, -1);
}

/* Some gateways fill in both sets of names, the other one with zeros. */
Test(llm_chat, l45_l47_of_two_names_the_larger_count)
{
    USAGE("{\"prompt_tokens\":10,\"completion_tokens\":20,"
          "\"prompt_tokens_details\":{\"cached_tokens\":4},"
          "\"input_tokens\":0,\"output_tokens\":0,"
          "\"input_tokens_details\":{\"cached_tokens\":0}}",
        10, 4, -1, -1, -1, 20, -1, -1);
    USAGE("{\"input_tokens\":0,\"output_tokens\":0,"
          "\"prompt_tokens\":10,\"completion_tokens\":20}",
        10, -1, -1, -1, -1, 20, -1, -1);
    USAGE("{\"prompt_tokens\":0,\"completion_tokens\":0,"
          "\"input_tokens\":7,\"output_tokens\":8}",
        7, -1, -1, -1, -1, 8, -1, -1);
    /* What is told apart from input_tokens is in prompt_tokens already. */
    USAGE("{\"prompt_tokens\":100,\"completion_tokens\":5,"
          "\"total_tokens\":105,\"input_tokens\":10,\"output_tokens\":5,"
          "\"cache_read_input_tokens\":90,"
          "\"cache_creation_input_tokens\":0}",
        100, 90, 0, -1, -1, 5, -1, -1);
    USAGE("{\"prompt_tokens\":100,\"completion_tokens\":5,"
          "\"cache_read_input_tokens\":90}",
        100, 90, -1, -1, -1, 5, -1, -1);
}

/* A count of the cache that stands in one of two places only, or is zero in the
 * other one, is not lost.
 */
Test(llm_chat, l45_l48_of_two_counts_of_the_cache_the_larger_one)
{
    USAGE("{\"prompt_tokens\":1000,\"completion_tokens\":5,"
          "\"prompt_tokens_details\":{\"cached_tokens\":800},"
          "\"cache_creation_input_tokens\":0}",
        1000, 800, 0, -1, -1, 5, -1, -1);
    USAGE("{\"prompt_tokens\":1000,\"completion_tokens\":5,"
          "\"prompt_tokens_details\":{\"cached_tokens\":800},"
          "\"cache_read_input_tokens\":0}",
        1000, 800, -1, -1, -1, 5, -1, -1);
    USAGE("{\"prompt_tokens\":1000,\"completion_tokens\":5,"
          "\"prompt_tokens_details\":{\"cached_tokens\":0},"
          "\"cache_read_input_tokens\":700}",
        1000, 700, -1, -1, -1, 5, -1, -1);
}

/* What a breakdown by lifetime leaves out was written for the short one. */
Test(llm_chat, l45_l48_a_breakdown_of_what_was_written_does_not_hide_the_rest)
{
    USAGE("{\"input_tokens\":10,\"output_tokens\":1,"
          "\"cache_creation_input_tokens\":1000,\"cache_creation\":{"
          "\"ephemeral_5m_input_tokens\":0,"
          "\"ephemeral_1h_input_tokens\":0}}",
        1010, -1, 1000, 0, -1, 1, -1, -1);
    USAGE("{\"input_tokens\":10,\"output_tokens\":1,"
          "\"cache_creation_input_tokens\":1000,\"cache_creation\":{"
          "\"ephemeral_1h_input_tokens\":100}}",
        1010, -1, 900, 100, -1, 1, -1, -1);
    USAGE("{\"input_tokens\":10,\"output_tokens\":1,"
          "\"cache_creation_input_tokens\":100,\"cache_creation\":{"
          "\"ephemeral_5m_input_tokens\":9223372036854775807,"
          "\"ephemeral_1h_input_tokens\":9223372036854775807}}",
        110, -1, INT64_MAX, INT64_MAX, -1, 1, -1, -1);
}

Test(llm_chat, l48_a_later_object_replaces_what_it_says_again)
{
    struct belay__usage_counts counts;
    struct belay_llm_usage usage;

    belay__usage_begin(&counts);
    belay__usage_read(&counts, slice("{\"input_tokens\":9,\"output_tokens\":5,"
                                     "\"cache_read_input_tokens\":2}"));
    belay__usage_read(
        &counts, slice("{\"output_tokens\":3,\"completion_tokens\":0}"));
    belay__usage_settle(&counts, &usage);
    cr_expect(eq(i64, usage.in_total, 11));
    cr_expect(eq(i64, usage.in_cache_read, 2));
    cr_expect(eq(i64, usage.out_total, 3));
    cr_expect(eq(int, (int)usage.state, BELAY_LLM_USAGE_EXACT));
    belay__usage_begin(&counts);
    belay__usage_read(
        &counts, slice("{\"prompt_tokens\":100,\"total_tokens\":150,"
                       "\"completion_tokens\":50}"));
    belay__usage_read(&counts, slice("{\"completion_tokens\":20}"));
    belay__usage_read(&counts, slice("{\"prompt_tokens\":100}"));
    belay__usage_settle(&counts, &usage);
    cr_expect(eq(i64, usage.out_total, 20), "of another total");
    belay__usage_begin(&counts);
    belay__usage_read(
        &counts, slice("{\"prompt_tokens\":100,\"total_tokens\":150,"
                       "\"completion_tokens\":20}"));
    belay__usage_read(&counts, slice("{\"completion_tokens\":20}"));
    belay__usage_settle(&counts, &usage);
    cr_expect(eq(i64, usage.out_total, 50), "of the same one");
}

Test(llm_chat, l48_anthropic_counts_exclude_it)
{
    USAGE("{\"input_tokens\":10,\"cache_read_input_tokens\":20,"
          "\"cache_creation_input_tokens\":5,\"output_tokens\":1,"
          "\"cache_creation\":{\"ephemeral_5m_input_tokens\":2,"
          "\"ephemeral_1h_input_tokens\":3}}",
        35, 20, 2, 3, -1, 1, -1, -1);
    USAGE("{\"input_tokens\":10,\"cache_read_input_tokens\":0,"
          "\"cache_creation_input_tokens\":5,\"output_tokens\":1}",
        15, 0, 5, -1, -1, 1, -1, -1);
}

Test(llm_chat, l45_numbers_that_make_no_sense_are_unknown)
{
    USAGE("{\"prompt_tokens\":-1,\"completion_tokens\":1.5}", -1, -1, -1, -1,
        -1, -1, -1, -1);
    USAGE("{\"prompt_tokens\":\"9\",\"completion_tokens\":1e3}", -1, -1, -1, -1,
        -1, 1000, -1, -1);
    USAGE("{\"prompt_tokens\":9223372036854775808,\"total_tokens\":1}", -1, -1,
        -1, -1, -1, -1, -1, -1);
    USAGE("[1]", -1, -1, -1, -1, -1, -1, -1, -1);
    USAGE("null", -1, -1, -1, -1, -1, -1, -1, -1);
    USAGE("", -1, -1, -1, -1, -1, -1, -1, -1);
}

/* ---- errors ---- */

static void
expect_error(const char *body, const char *message, const char *type)
{
    struct belay__provider_error error;
    char text[256] = "";

    belay__provider_error_parse(slice(body), &error);
    if (error.message.type == BELAY__JSON_STRING) {
        text[belay__json_decode(error.message.raw, text)] = '\0';
    }
    cr_expect(eq(str, text, TEXT(message)), "%s", body);
    cr_expect(eq(int,
                  error.type.type == BELAY__JSON_STRING
                      && belay__json_equals(&error.type, type, strlen(type)),
                  type[0] != '\0'),
        "%s", body);
}

Test(llm_chat, errors_in_all_their_shapes)
{
    expect_error("{\"error\":{\"message\":\"m\",\"type\":\"t\",\"code\":null}}",
        "m", "t");
    expect_error("{\"type\":\"error\",\"error\":{\"type\":\"billing_error\","
                 "\"message\":\"pay\"}}",
        "pay", "billing_error");
    expect_error(
        "{\"object\":\"error\",\"message\":\"m\",\"type\":\"t\"}", "m", "t");
    expect_error("{\"error\":\"text\"}", "text", "");
    expect_error("{\"detail\":\"Not Found\"}", "Not Found", "");
    expect_error(
        "[{\"error\":{\"message\":\"m\",\"type\":\"t\"}}]\n", "m", "t");
    expect_error("[{\"detail\":\"m\"},{\"detail\":\"n\"}, 3]", "m", "");
    expect_error("[]", "", "");
    expect_error("[{\"detail\":\"m\"}", "", "");
    expect_error("[[{\"detail\":\"m\"}]]", "", "");
    expect_error("{\"error\":null}", "", "");
    expect_error("{\"error\":[]}", "", "");
    expect_error("<html>", "", "");
    expect_error("{\"error\":\"text\"} x", "", "");
    expect_error("", "", "");
}

static bool
is_quota(const char *body)
{
    struct belay__provider_error error;

    belay__provider_error_parse(slice(body), &error);
    return belay__provider_error_is_quota(&error);
}

/* However it is written, in whichever member (L96). */
Test(llm_chat, l31_errors_of_an_empty_account)
{
    cr_expect(is_quota("{\"error\":{\"code\":\"insufficient_quota\"}}"));
    cr_expect(is_quota("{\"error\":{\"type\":\"insufficient_quota\"}}"));
    cr_expect(is_quota("{\"code\":\"billing_hard_limit_reached\"}"));
    cr_expect(is_quota("{\"error\":{\"type\":\"billing_error\"}}"));
    cr_expect(is_quota("{\"error\":{\"code\":\"insufficient\\u005fquota\"}}"));
    cr_expect(
        is_quota("{\"error\":{\"code\":7,\"type\":\"\\u0062illing_error\"}}"));
    cr_expect(not(is_quota("{\"error\":{\"type\":\"rate_limit_exceeded\"}}")));
    cr_expect(not(is_quota("{\"error\":{\"type\":\"\",\"code\":null}}")));
    cr_expect(not(is_quota("{\"error\":\"insufficient_quota\"}")));
    cr_expect(not(is_quota("<html>")));
}

/* ---- printable ---- */

static void
expect_printable(
    const char *text, size_t len, const char *secret, const char *expected)
{
    char out[16];
    const size_t out_len = belay__printable((struct belay_slice){text, len},
        secret_of(slice(secret)), out, sizeof(out));

    cr_expect(eq(str, out, TEXT(expected)));
    cr_expect(eq(sz, out_len, strlen(expected)));
}

Test(llm_chat, s8_no_text_moves_a_cursor)
{
    expect_printable("a\x1b[2J\r\n\tb\0c", 11, "", "a [2J b c");
    expect_printable("  a \x7f b", 7, "", "a b");
    expect_printable("a\xc2\x9b"
                     "31m",
        6, "", "a 31m");
    expect_printable("a\xe2\x80\xae"
                     "b",
        5, "", "a b");
    expect_printable("a\xff\xc3", 3, "", "a\xef\xbf\xbd\xef\xbf\xbd");
    expect_printable("", 0, "", "");
    expect_printable(NULL, 0, "k", "");
}

Test(llm_chat, s2_the_key_is_not_shown)
{
    expect_printable("k=abc.", 6, "abc", "k=[key].");
    expect_printable("abcabc", 6, "abc", "[key]");
    expect_printable("ab", 2, "abc", "ab");
}

Test(llm_chat, s8_cut_between_characters)
{
    expect_printable("0123456789abcde", 15, "", "0123456789abcde");
    expect_printable("0123456789abcdef", 16, "", "0123456789ab...");
    expect_printable("0123456789a\xc3\xa9"
                     "fgh",
        16, "", "0123456789a...");
    expect_printable("0123456789\xc3\xa9"
                     "fghi",
        16, "", "0123456789\xc3\xa9...");
    expect_printable("0123456789 abcdef", 17, "abc", "0123456789 ...");
}

/* ---- printable lines ---- */

static void
expect_lines(const char *text, size_t len, const char *expected)
{
    char out[256];
    const size_t out_len =
        belay__printable_lines((struct belay_slice){text, len}, out);

    cr_assert(le(sz, out_len, 3 * len));
    cr_expect(eq(sz, out_len, strlen(expected)), "%s", expected);
    cr_expect(memcmp(out, expected, out_len) == 0, "%s", expected);
}

Test(llm_chat, s8_answers_keep_their_lines_and_lose_what_terminals_obey)
{
    expect_lines("", 0, "");
    expect_lines(" a  b\n\n\tc ", 10, " a  b\n\n\tc ");
    expect_lines("a\r\nb\rc", 6, "a\nbc");
    expect_lines("\x1b[31m\0\x7f\x07", 8, "^[[31m^@^?^G");
    expect_lines("\xc2\x9b"
                 "1m",
        4,
        "\xef\xbf\xbd"
        "1m");
    expect_lines("\xe2\x80\xae\xe2\x81\xa6\xe2\x80\xa8", 9,
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    expect_lines("\xff\xc3\xed\xa0\x80", 5,
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    expect_lines("\xc3\xa9\xe4\xb8\xad\xf0\x9f\x8c\x8d", 9,
        "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x8c\x8d");
}
