/* test_llm_answer_calls.c - which calls of tools an answer has, where servers
 * leave out what tells them apart: L1, L7.
 */
#include "test/support/answer_expect.h"
#include "test/support/memory.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(
    llm_answer_calls, .init = open_memory, .fini = close_memory, .timeout = 20);

/* ---- Chat Completions ---- */

#define CALL(more_, name_, arguments_)          \
    "{" more_ "\"function\":{\"name\":\"" name_ \
    "\",\"arguments\":\"" arguments_ "\"}}"
#define WHOLE(calls_) \
    "{\"choices\":[{\"message\":{\"tool_calls\":[" calls_ "]}}]}"
#define DELTA(calls_)                                                     \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[" calls_ \
    "]}}]}\n\n"

Test(llm_answer_calls, l7_nothing_is_joined_in_a_whole_answer)
{
    expect_answer(&belay__chat_provider,
        WHOLE(CALL("", "f", "1") "," CALL("", "g", "2")),
        "0 C( 'call_0' 'f' '1' ) C( 'call_1' 'g' '2' )\n");
    expect_answer(&belay__chat_provider,
        WHOLE(
            CALL("\"id\":\"\",", "f", "1") "," CALL("\"id\":\"\",", "f", "2")),
        "0 C( 'call_0' 'f' '1' ) C( 'call_1' 'f' '2' )\n");
    expect_answer(&belay__chat_provider,
        WHOLE(CALL("\"index\":0,\"id\":\"a\",", "f", "1") "," CALL(
            "\"index\":0,\"id\":\"a\",", "g", "2")),
        "0 C( 'a' 'f' '1' ) C( 'call_0' 'g' '2' )\n");
}

Test(llm_answer_calls, l7_a_name_begins_another_call)
{
    expect_streamed(&belay__chat_provider,
        DELTA(CALL("", "f", "1") "," CALL("\"id\":\"\",", "f", "2"))
            DELTA(CALL("", "", "3")) DELTA(CALL("", "g", "4")),
        "0 C( 'call_0' 'f' '1' ) C( 'call_1' 'f' '23' )"
        " C( 'call_2' 'g' '4' )\n",
        NULL);
}

/* Where an index or an id tells calls apart, the name may come each time. */
Test(llm_answer_calls, l7_a_name_that_is_repeated)
{
    expect_streamed(&belay__chat_provider,
        DELTA(CALL("\"index\":0,", "f", "1"))
            DELTA(CALL("\"index\":0,", "f", "2")),
        "0 C( 'call_0' 'f' '12' )\n", NULL);
    expect_streamed(&belay__chat_provider,
        DELTA(CALL("\"id\":\"a\",", "f", "1"))
            DELTA(CALL("\"id\":\"a\",", "f", "2")),
        "0 C( 'a' 'f' '12' )\n", NULL);
    expect_streamed(&belay__chat_provider,
        DELTA(CALL("\"id\":\"a\",", "f", "1")) DELTA(CALL("", "f", "2"))
            DELTA(CALL("", "f", "3")),
        "0 C( 'a' 'f' '123' )\n", NULL);
    expect_streamed(&belay__chat_provider,
        DELTA(CALL("\"index\":0,", "f", "1")) DELTA(CALL("", "f", "2")),
        "0 C( 'call_0' 'f' '12' )\n", NULL);
}

Test(llm_answer_calls, l7_a_name_may_come_late)
{
    expect_streamed(&belay__chat_provider,
        DELTA("{\"id\":\"a\"}") DELTA(CALL("", "f", "1"))
            DELTA("{\"function\":{\"arguments\":\"2\"}}"),
        "0 C( 'a' 'f' '12' )\n", NULL);
}

/* ---- Messages ---- */

#define START(id_)                                                  \
    "event: content_block_start\ndata: {\"type\":\"content_block_"  \
    "start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\"," \
    "\"id\":\"" id_ "\",\"name\":\"f\",\"input\":{}}}\n\n"
#define PIECE(json_)                                                \
    "event: content_block_delta\ndata: {\"type\":\"content_block_"  \
    "delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\"," \
    "\"partial_json\":\"" json_ "\"}}\n\n"
#define STOP                                                      \
    "event: content_block_stop\ndata: {\"type\":\"content_block_" \
    "stop\",\"index\":0}\n\n"

/* Some gateways count them all as 0. Each ends with its own stop, when the next
 * one begins, or with all of them.
 */
Test(llm_answer_calls, l7_calls_of_one_index_without_arguments)
{
    static const char none[] = "0 C( 'a' 'f' '{}' ) C( 'b' 'f' '{}' )\n";

    expect_streamed(
        &belay__messages_provider, START("a") START("b") STOP STOP, none, NULL);
    expect_streamed(
        &belay__messages_provider, START("a") STOP START("b") STOP, none, NULL);
    expect_streamed(&belay__messages_provider,
        START("a") START("b") PIECE("{}") STOP STOP, none, NULL);
    expect_streamed(&belay__messages_provider,
        START("a") PIECE("{}") START("b") STOP, none, NULL);
    expect_streamed(&belay__messages_provider,
        START("a") START("b") START("c") STOP,
        "0 C( 'a' 'f' '{}' ) C( 'b' 'f' '{}' ) C( 'c' 'f' '{}' )\n", NULL);
    expect_streamed(&belay__messages_provider,
        START("a") START("a") PIECE("{}") STOP, "0 C( 'a' 'f' '{}' )\n", NULL);
}

#define SERVER_START                                                       \
    "event: content_block_start\ndata: {\"type\":\"content_block_"         \
    "start\",\"index\":0,\"content_block\":{\"type\":\"server_tool_use\"," \
    "\"id\":\"s\",\"name\":\"web_search\",\"input\":{}}}\n\n"

/* What the server runs by itself is no call of the caller's, whole or in
 * pieces, also if all blocks have one index.
 */
Test(llm_answer_calls, l1_l26_tools_of_the_servers_own)
{
    expect_answer(&belay__messages_provider,
        "{\"content\":[{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":"
        "\"web_search\",\"input\":{\"q\":1}},{\"type\":\"text\",\"text\":"
        "\"hi\"}],\"stop_reason\":\"end_turn\"}",
        "0 T'hi' E1 'end_turn'\n");
    expect_streamed(&belay__messages_provider,
        SERVER_START PIECE("{") PIECE("}") STOP, "0\n", NULL);
    expect_streamed(&belay__messages_provider,
        START("a") PIECE("{}") STOP SERVER_START PIECE("{1}") STOP START("b")
            PIECE("[]") STOP,
        "0 C( 'a' 'f' '{}' ) C( 'b' 'f' '[]' )\n", NULL);
    expect_streamed(&belay__messages_provider,
        START("a") STOP SERVER_START PIECE("{1}") STOP, "0 C( 'a' 'f' '{}' )\n",
        NULL);
    /* Whose it is nobody knows: a call that cannot be answered. */
    expect_streamed(&belay__messages_provider, PIECE("") STOP, "0\n", NULL);
    expect_streamed(&belay__messages_provider, PIECE("{}") STOP,
        "0 C( 'call_0' '{}' )\n", NULL);
}

/* ---- which call, among many ---- */

static struct belay__json_value
string_of(const char *json)
{
    return (struct belay__json_value){.type = BELAY__JSON_STRING,
        .escaped = strchr(json, '\\') != NULL,
        .raw = {json, strlen(json)}};
}

/* What has no id cannot be another call than one of the same index. */
static size_t
find_slowly(const int64_t *indexes, const char *const *ids, size_t count,
    int64_t index, const char *id)
{
    for (size_t i = count; i-- > 0;) {
        if (index >= 0 && indexes[i] == index) {
            return id == NULL || ids[i] == NULL || strcmp(id, ids[i]) == 0
                       ? i
                       : count;
        }
        if (index < 0
            && (id == NULL || (ids[i] != NULL && strcmp(id, ids[i]) == 0))) {
            return i;
        }
    }
    return count;
}

/* Deltas of a few indexes and ids, in all orders; one in eight begins a call
 * in any case.
 */
Test(llm_answer_calls, l7_a_delta_belongs_to_the_newest_call_of_its_kind)
{
    enum { TRIALS = 200, DELTAS = 40, IDS = 4 };
    static const char *const json[IDS] = {
        "\"a\"", "\"b\"", "\"\\u0061\"", "\"ab\""};
    static const char *const texts[IDS] = {"a", "b", "a", "ab"};
    uint32_t random = 1;

    for (int trial = 0; trial < TRIALS; trial++) {
        int64_t indexes[DELTAS];
        const char *ids[DELTAS];
        struct belay__answer answer;
        size_t count = 0;

        belay__answer_init(&answer, memory, false);
        for (int i = 0; i < DELTAS; i++) {
            struct belay__choice *choice = belay__answer_choice(&answer, 0);
            const struct belay__tool *tool;
            int64_t index;
            size_t which;
            size_t wanted;

            random = random * 1103515245 + 12345;
            index = (int64_t)(random >> 8 & 3) - 1;
            which = random >> 12 & 7;
            const struct belay__json_value id =
                string_of(which < IDS ? json[which] : "\"\"");
            const char *text = which < IDS ? texts[which] : NULL;
            if ((random >> 16 & 7) == 0) {
                wanted = count;
                tool = belay__answer_new_tool(&answer, choice, index, &id);
            } else {
                wanted = find_slowly(indexes, ids, count, index, text);
                tool = belay__answer_tool(&answer, choice, index, &id);
            }
            cr_assert(ne(ptr, (void *)(uintptr_t)tool, NULL));
            cr_assert(eq(sz, (size_t)(tool - choice->tools), wanted));
            if (wanted == count) {
                indexes[count] = index;
                ids[count++] = NULL;
            }
            ids[wanted] = ids[wanted] != NULL ? ids[wanted] : text;
        }
        belay__answer_fini(&answer);
    }
}

/* A text that is made piece by piece. */
struct growing {
    char *data;
    size_t len;
    size_t size;
};

static void
put(struct growing *text, const char *bytes)
{
    const size_t len = strlen(bytes);

    if (text->size - text->len < len) {
        text->size = text->size * 2 + len;
        text->data = realloc(text->data, text->size);
        cr_assert(ne(ptr, text->data, NULL));
    }
    memcpy(text->data + text->len, bytes, len);
    text->len += len;
}

static void
put_number(
    struct growing *text, const char *before, int number, const char *behind)
{
    char digits[16];

    (void)snprintf(digits, sizeof(digits), "%04d", number);
    put(text, before);
    put(text, digits);
    put(text, behind);
}

static void
read_event(struct belay__answer *answer, struct growing *text)
{
    const struct belay__sse_event event = {.data = {text->data, text->len}};
    struct belay_llm_event told;

    cr_assert(ge(
        int, belay__provider_event(&belay__chat_provider, answer, &event), 0));
    while (belay__answer_take(answer, &told)) {
    }
    text->len = 0;
}

#define MANY 1024 /* as many as there may be */
#define CALLS_BEGIN "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":["
#define CALLS_END "{}]}}]}"

/* Written another way in each delta, ids are compared letter by letter. That it
 * ends within the suite's time is what is tested: it took minutes.
 */
Test(llm_answer_calls, l28_deltas_of_many_calls_cost_what_they_are_long)
{
    enum { BYTES = 8 << 20, EVENTS = 3 };
    struct growing text = {NULL, 0, 0};
    struct belay__answer answer;

    belay__answer_init(&answer, memory, true);
    put(&text, CALLS_BEGIN);
    for (int i = 0; i < MANY; i++) {
        put_number(&text, "{\"id\":\"call-", i, "\"},");
    }
    put(&text, CALLS_END);
    read_event(&answer, &text);
    for (int i = 0; i < EVENTS; i++) {
        put(&text, CALLS_BEGIN);
        while (text.len < BYTES) {
            put(&text, "{\"id\":\"call-\\u0030000\"},");
        }
        put(&text, CALLS_END);
        read_event(&answer, &text);
    }
    cr_expect(eq(sz, answer.choices[0].tool_count, MANY));
    belay__answer_fini(&answer);
    free(text.data);
}

/* The same, of choices that are written down. */
Test(llm_answer_calls, l28_many_choices_are_written_once)
{
    enum { TIMES = 200 };
    struct growing text = {NULL, 0, 0};
    struct belay__answer answer;
    struct belay__buffer buffer;

    belay__answer_init(&answer, memory, true);
    belay__buffer_init(&buffer, memory, 1 << 24);
    put(&text, "{\"choices\":[");
    for (int i = MANY - 1; i >= 0; i--) {
        put_number(
            &text, "{\"index\":1", i, ",\"delta\":{\"content\":\"x\"}},");
    }
    put(&text, "{\"index\":10000}]}");
    read_event(&answer, &text);
    for (int i = 0; i < TIMES; i++) {
        belay__buffer_clear(&buffer);
        cr_assert(zero(int, belay__answer_write(&answer, &buffer)));
    }
    for (int i = 0; i < MANY; i++) {
        cr_assert(
            eq(i64, belay__answer_nth(&answer, (size_t)i)->index, 10000 + i));
    }
    cr_expect(eq(ptr, belay__answer_nth(&answer, MANY), NULL));
    belay__buffer_fini(&buffer);
    belay__answer_fini(&answer);
    free(text.data);
}

/* ---- ids ---- */

Test(llm_answer_calls, l1_an_id_of_ours_is_nobody_elses)
{
    expect_answer(&belay__chat_provider,
        WHOLE(CALL("", "f", "1") "," CALL("\"id\":\"call_0\",", "f",
            "2") "," CALL("\"id\":\"call_2\",", "f", "3") "," CALL("", "f",
            "4") "," CALL("\"id\":\"call_2\",", "f", "5")),
        "0 C( 'call_1' 'f' '1' ) C( 'call_0' 'f' '2' ) C( 'call_2' 'f' '3' )"
        " C( 'call_3' 'f' '4' ) C( 'call_4' 'f' '5' )\n");
}

/* Those of a request, and what only looks like one. */
static void
expect_first_id(const char *request, const char *expected)
{
    struct belay__answer answer;

    belay__answer_init(&answer, memory, false);
    answer.request = slice(request);
    (void)belay__provider_read(
        &belay__chat_provider, &answer, slice(WHOLE("{}")));
    cr_assert(eq(sz, answer.choice_count, 1));
    cr_assert(eq(sz, answer.choices[0].tool_count, 1));
    cr_expect(zero(int, strcmp(answer.choices[0].tools[0].id->data, expected)),
        "%s: %s", request, answer.choices[0].tools[0].id->data);
    belay__answer_fini(&answer);
}

Test(llm_answer_calls, l1_ids_of_ours_go_on_from_those_in_the_request)
{
    expect_first_id("", "call_0");
    expect_first_id("{\"id\":\"call_0\"}", "call_1");
    expect_first_id("[\"call_11\",\"call_2\"]", "call_12");
    expect_first_id("[\"call_\",\"call_x\",\"call_7", "call_0");
    expect_first_id("[\"call_7\\\"\",\"call_7x\",\"a call_7\"]", "call_0");
    expect_first_id("[\"call_1234567890123456789\"]", "call_0");
    expect_first_id("[\"call_1234567890\",\"call_3\"]", "call_4");
    expect_first_id("[\"call_999999999999999999\"]", "call_0");
}

/* Behind the last number that is read, each is looked for. */
Test(llm_answer_calls, l1_ids_of_ours_are_read_again)
{
    expect_first_id("[\"call_999999998\"]", "call_999999999");
    expect_first_id("[\"call_999999999\"]", "call_1000000000");
    expect_first_id(
        "[\"call_999999999\",\"call_1000000000\"]", "call_1000000001");
    expect_first_id("[\"call_999999999\",\"call_1000000001\","
                    "\"call_1000000000\",\"a call_1000000002\"]",
        "call_1000000002");
    expect_first_id(
        "[\"call_999999999\",\"call_10000000000\"]", "call_1000000000");
}

/* That it ends within the suite's time is what is tested. */
Test(llm_answer_calls, l1_ids_of_ours_take_no_time)
{
    enum { LAST = 1000120000 };
    const size_t size = 20 * (LAST - 999999999 + 1);
    char *request = malloc(size);
    size_t len = 0;

    cr_assert(ne(ptr, request, NULL));
    for (int number = LAST; number >= 999999999; number--) {
        len +=
            (size_t)snprintf(request + len, size - len, "\"call_%d\",", number);
    }
    expect_first_id(request, "call_1000120001");
    free(request);
}

static void
expect_ids_of_many(const struct growing *request, const struct growing *body)
{
    struct belay__answer answer;

    belay__answer_init(&answer, memory, false);
    answer.request = (struct belay_slice){request->data, request->len};
    (void)belay__provider_read(&belay__chat_provider, &answer,
        (struct belay_slice){body->data, body->len});
    cr_assert(eq(sz, answer.choice_count, MANY));
    belay__answer_close(&answer); /* as a stream does that was not one (L25) */
    for (size_t i = 0; i < MANY; i++) {
        const struct belay__tool *tools = answer.choices[i].tools;

        cr_assert(zero(int, strcmp(tools[0].id->data, "call_7")));
        cr_assert(zero(int, strcmp(tools[1].id->data, "call_8")));
        cr_assert(zero(int, strcmp(tools[2].id->data, "call_9")));
        cr_assert(zero(int, strcmp(tools[3].id->data, "call_10")));
    }
    belay__answer_fini(&answer);
}

/* The same: a request is read once an answer, however many of its choices want
 * ids.
 */
Test(llm_answer_calls, l1_ids_of_ours_take_no_time_in_many_choices)
{
    enum { BYTES = 16 << 20, ANSWERS = 20 };
    struct growing request = {NULL, 0, 0};
    struct growing body = {NULL, 0, 0};

    put(&request, "\"call_6\",\"");
    while (request.len < BYTES) {
        put(&request, "\\\"call me\\\", she said. ");
    }
    put(&body, "{\"choices\":[");
    for (int i = 0; i < MANY; i++) {
        put_number(&body, "{\"index\":1", i,
            ",\"message\":{\"tool_calls\":[{},{\"id\":\"call_8\"},{},"
            "{\"id\":\"call_8\"}]}},");
    }
    put(&body, "{\"index\":10000}]}");
    for (int i = 0; i < ANSWERS; i++) {
        expect_ids_of_many(&request, &body);
    }
    free(request.data);
    free(body.data);
}

/* It may still come, as long as the stream goes on. */
Test(llm_answer_calls, l1_an_id_that_comes_late_counts)
{
    expect_streamed(&belay__chat_provider,
        DELTA(CALL("\"index\":0,", "f", "1"))
            DELTA("{\"index\":0,\"id\":\"a\"}"),
        "0 C( 'a' 'f' '1' )\n", NULL);
}

Test(llm_answer_calls, l1_ids_of_the_other_formats)
{
    expect_answer(&belay__messages_provider,
        "{\"content\":[{\"type\":\"tool_use\",\"name\":\"f\",\"input\":{}},"
        "{\"type\":\"tool_use\",\"id\":\"\",\"name\":\"g\",\"input\":{}}]}",
        "0 C( 'call_0' 'f' '{}' ) C( 'call_1' 'g' '{}' )\n");
    expect_answer(&belay__responses_provider,
        "{\"output\":[{\"type\":\"function_call\",\"name\":\"f\","
        "\"arguments\":\"1\"},{\"type\":\"function_call\",\"name\":\"g\","
        "\"arguments\":\"2\"}]}",
        "0 C( 'call_0' 'f' '1' ) C( 'call_1' 'g' '2' ) E3\n");
}

Test(llm_answer_calls, every_allocation_may_fail)
{
    static const char body[] = WHOLE(CALL("", "f", "1") "," CALL(
        "\"id\":\"a\",", "f", "2") "," CALL("\"id\":\"a\",", "f", "3"));

    for (size_t k = 0;; k++) {
        char *text;

        test_alloc_fail_at(k);
        text = dump_whole(memory, &belay__chat_provider, slice(body));
        if (test_alloc_failures() == 0) {
            cr_expect(eq(ptr, strstr(text, "#"), NULL), "%s", text);
            free(text);
            break;
        }
        cr_expect(ne(ptr, strstr(text, "#ENOMEM"), NULL), "%zu: %s", k, text);
        free(text);
    }
    test_alloc_never_fail();
}
