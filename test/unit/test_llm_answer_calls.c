/* test_llm_answer_calls.c - which calls of tools an answer has, where servers
 * leave out what tells them apart: L1, L7.
 */
#include "test/support/answer_dump.h"
#include "test/support/memory.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(
    llm_answer_calls, .init = open_memory, .fini = close_memory, .timeout = 20);

static void
expect_whole(const struct belay__provider *provider, const char *body,
    const char *expected)
{
    char *text = dump_whole(memory, provider, slice(body));

    cr_expect(eq(str, text, (char *)(uintptr_t)expected), "%s", body);
    free(text);
}

static void
expect_stream(const struct belay__provider *provider, const char *stream,
    const char *expected)
{
    char *text = dump_stream(memory, provider, slice(stream), NULL);

    cr_expect(eq(str, text, (char *)(uintptr_t)expected), "%s", stream);
    free(text);
}

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
    expect_whole(&belay__chat_provider,
        WHOLE(CALL("", "f", "1") "," CALL("", "g", "2")),
        "0 C( 'call_0' 'f' '1' ) C( 'call_1' 'g' '2' )\n");
    expect_whole(&belay__chat_provider,
        WHOLE(
            CALL("\"id\":\"\",", "f", "1") "," CALL("\"id\":\"\",", "f", "2")),
        "0 C( 'call_0' 'f' '1' ) C( 'call_1' 'f' '2' )\n");
    expect_whole(&belay__chat_provider,
        WHOLE(CALL("\"index\":0,\"id\":\"a\",", "f", "1") "," CALL(
            "\"index\":0,\"id\":\"a\",", "g", "2")),
        "0 C( 'a' 'f' '1' ) C( 'call_0' 'g' '2' )\n");
}

Test(llm_answer_calls, l7_a_name_begins_another_call)
{
    expect_stream(&belay__chat_provider,
        DELTA(CALL("", "f", "1") "," CALL("\"id\":\"\",", "f", "2"))
            DELTA(CALL("", "", "3")) DELTA(CALL("", "g", "4")),
        "0 C( 'call_0' 'f' '1' ) C( 'call_1' 'f' '23' )"
        " C( 'call_2' 'g' '4' )\n");
}

/* Where an index or an id tells calls apart, the name may come each time. */
Test(llm_answer_calls, l7_a_name_that_is_repeated)
{
    expect_stream(&belay__chat_provider,
        DELTA(CALL("\"index\":0,", "f", "1"))
            DELTA(CALL("\"index\":0,", "f", "2")),
        "0 C( 'call_0' 'f' '12' )\n");
    expect_stream(&belay__chat_provider,
        DELTA(CALL("\"id\":\"a\",", "f", "1"))
            DELTA(CALL("\"id\":\"a\",", "f", "2")),
        "0 C( 'a' 'f' '12' )\n");
    expect_stream(&belay__chat_provider,
        DELTA(CALL("\"id\":\"a\",", "f", "1")) DELTA(CALL("", "f", "2"))
            DELTA(CALL("", "f", "3")),
        "0 C( 'a' 'f' '123' )\n");
    expect_stream(&belay__chat_provider,
        DELTA(CALL("\"index\":0,", "f", "1")) DELTA(CALL("", "f", "2")),
        "0 C( 'call_0' 'f' '12' )\n");
}

Test(llm_answer_calls, l7_a_name_may_come_late)
{
    expect_stream(&belay__chat_provider,
        DELTA("{\"id\":\"a\"}") DELTA(CALL("", "f", "1"))
            DELTA("{\"function\":{\"arguments\":\"2\"}}"),
        "0 C( 'a' 'f' '12' )\n");
}

/* ---- ids ---- */

Test(llm_answer_calls, l1_an_id_of_ours_is_nobody_elses)
{
    expect_whole(&belay__chat_provider,
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

/* It may still come, as long as the stream goes on. */
Test(llm_answer_calls, l1_an_id_that_comes_late_counts)
{
    expect_stream(&belay__chat_provider,
        DELTA(CALL("\"index\":0,", "f", "1"))
            DELTA("{\"index\":0,\"id\":\"a\"}"),
        "0 C( 'a' 'f' '1' )\n");
}

Test(llm_answer_calls, l1_ids_of_the_other_formats)
{
    expect_whole(&belay__messages_provider,
        "{\"content\":[{\"type\":\"tool_use\",\"name\":\"f\",\"input\":{}},"
        "{\"type\":\"tool_use\",\"id\":\"\",\"name\":\"g\",\"input\":{}}]}",
        "0 C( 'call_0' 'f' '{}' ) C( 'call_1' 'g' '{}' )\n");
    expect_whole(&belay__responses_provider,
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
