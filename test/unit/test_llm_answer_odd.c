/* test_llm_answer_odd.c - answers as some servers send them. */
#include "test/support/answer_expect.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(
    llm_answer_odd, .init = open_memory, .fini = close_memory, .timeout = 20);

#define CHAT (&belay__chat_provider)
#define RESPONSES (&belay__responses_provider)
#define MESSAGES (&belay__messages_provider)

/* ---- Chat Completions ---- */

#define CHUNK(members_) "data: {\"choices\":[{" members_ "}]}\n\n"
#define CONTENT(text_) "{\"content\":\"" text_ "\"}"
#define FINISH(word_) CHUNK("\"delta\":{},\"finish_reason\":\"" word_ "\"")
#define DONE "data: [DONE]\n\n"

/* Of a message and a delta beside it: as some servers answer, an empty delta
 * with what is whole, or all there is so far with each delta.
 */
Test(llm_answer_odd, l1_a_message_and_a_delta)
{
    static const char message[] = "\"message\":{\"content\":\"hi\"}";
    static const char delta[] = "\"delta\":{\"content\":\"\"}";
    static const char *const orders[][2] = {{message, delta}, {delta, message},
        {message, "\"delta\":null"}, {"\"delta\":null", message},
        {message, "\"text\":\"\""}, {"\"text\":null", message}};
    char body[256];

    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        (void)snprintf(body, sizeof(body),
            "{\"choices\":[{%s,%s,\"finish_reason\":\"stop\"}]}", orders[i][0],
            orders[i][1]);
        expect_answer(CHAT, body, "0 T'hi' E1 'stop'\n");
    }
    expect_answer(
        CHAT, "{\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}", "0 T'hi'\n");
    expect_answer(CHAT,
        "{\"choices\":[{\"text\":\"\",\"delta\":{\"content\":\"hi\"},"
        "\"message\":{\"role\":\"assistant\"}}]}",
        "0 T'hi'\n");
    /* A whole answer as the only event, and texts of the old kind. */
    expect_streamed(CHAT,
        "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"message\":{"
        "\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n" DONE,
        "0 T'hi' E1 'stop'\n", "T0 'hi'\nE0 'stop'\n");
    expect_streamed(CHAT,
        "data: {\"choices\":[{\"text\":\"h\",\"delta\":{}}]}\n\n"
        "data: {\"choices\":[{\"delta\":{\"role\":\"a\"},\"text\":\"i\"}]}\n\n"
        "data: {\"choices\":[{\"text\":\"!\"}]}\n\n"
        "data: {\"choices\":[{\"text\":\"?\",\"delta\":{\"content\":\"?\"}}]}"
        "\n\n" FINISH("stop") DONE,
        "0 T'hi!?' E1 'stop'\n", NULL);
    expect_streamed(CHAT,
        "data: {\"choices\":[{\"delta\":{\"content\":\"h\"},\"message\":{"
        "\"content\":\"h\"}}]}\n\n"
        "data: {\"choices\":[{\"message\":{\"content\":\"hi\"},\"delta\":{"
        "\"content\":\"i\"}}]}\n\n"
        "data: {\"choices\":[{\"delta\":{\"content\":\"!\"},\"message\":"
        "null}]}\n\n" FINISH("stop") DONE,
        "0 T'hi!' E1 'stop'\n", "T0 'h'\nT0 'i'\nT0 '!'\nE0 'stop'\n");
}

/* What old Completions call a text, beside a delta or behind all of them. */
Test(llm_answer_odd, l1_a_text_beside_deltas)
{
    expect_streamed(CHAT,
        CHUNK("\"text\":\"h\",\"delta\":{}") CHUNK(
            "\"delta\":{\"role\":\"a\"},\"text\":\"i\"") CHUNK("\"text\":\"!\"")
            CHUNK("\"text\":\"?\",\"delta\":" CONTENT("?")) FINISH("stop") DONE,
        "0 T'hi!?' E1 'stop'\n", NULL);
    expect_streamed(CHAT,
        CHUNK("\"delta\":" CONTENT("hel")) CHUNK("\"delta\":" CONTENT("lo"))
            CHUNK("\"delta\":{},\"text\":\"hello\",\"finish_reason\":"
                  "\"stop\"") DONE,
        "0 T'hello' E1 'stop'\n", NULL);
    expect_streamed(CHAT,
        CHUNK("\"delta\":" CONTENT("h") ",\"text\":\"h\"")
            CHUNK("\"delta\":" CONTENT("i") ",\"text\":\"hi\"")
                CHUNK("\"delta\":{},\"text\":\"hi\"") FINISH("stop") DONE,
        "0 T'hi' E1 'stop'\n", NULL);
}

#define CALL(name_)                                       \
    "{\"id\":\"x\",\"function\":{\"name\":\"" name_ "\"," \
    "\"arguments\":\"{}\"}}"

/* In it each call stands once, as in a whole answer. */
Test(llm_answer_odd, l7_a_message_with_calls_in_place_of_a_delta)
{
    static const char message[] =
        CHUNK("\"delta\":{},\"message\":{"
              "\"tool_calls\":[" CALL("f") "," CALL("g") "]},\"finish_reason\":"
                                                         "\"tool_calls\"") DONE;

    expect_streamed(CHAT, message,
        "0 C( 'x' 'f' '{}' ) C( 'call_0' 'g' '{}' ) E3 'tool_calls'\n", NULL);
}

/* ---- Responses ---- */

#define R_USAGE                                                \
    "\"usage\":{\"input_tokens\":5,\"input_tokens_details\":{" \
    "\"cached_tokens\":2},\"output_tokens\":6}"
#define R_EVENT(type_, rest_) \
    "event: " type_ "\ndata: {\"type\":\"" type_ "\"" rest_ "}\n\n"

/* What was told need not be said again at the end. */
Test(llm_answer_odd, l1_responses_stream_without_output)
{
    static const char usage[] = R_EVENT("response.output_text.delta",
        ",\"delta\":\"h\"") R_EVENT("response.completed",
        ",\"response\":{\"status\":\"completed\"," R_USAGE "}");

    expect_streamed(RESPONSES, usage, "0 T'h' E1 'completed'\nU 5/2/6\n", NULL);
    expect_streamed(RESPONSES,
        R_EVENT("response.output_text.delta", ",\"delta\":\"h\"")
            R_EVENT("response.incomplete", ""),
        "0 T'h'\n", NULL);
    expect_streamed(RESPONSES,
        R_EVENT("response.output_text.delta", ",\"delta\":\"h\"") R_EVENT(
            "response.completed", ",\"response\":{\"status\":\"in_progress\"}"),
        "0 T'h'\n", NULL);
    expect_streamed(RESPONSES,
        R_EVENT(
            "response.completed", ",\"response\":{\"status\":\"completed\"}"),
        "", NULL);
}

/* ---- Messages ---- */

#define M_START(index_, block_)                                            \
    R_EVENT("content_block_start", ",\"index\":" index_ ",\"content_block" \
                                   "\":" block_)
#define M_INPUT(index_, json_)                                         \
    R_EVENT("content_block_delta", ",\"index\":" index_ ",\"delta\":{" \
                                   "\"type\":\"input_json_delta\","    \
                                   "\"partial_json\":\"" json_ "\"}")
#define M_SEARCH "{\"type\":\"server_tool_use\",\"id\":\"s\",\"input\":{}}"
#define M_TEXT "{\"type\":\"text\",\"text\":\"hi\"}"

/* Blocks that overlap. */
Test(llm_answer_odd, l26_input_of_a_search_behind_the_start_of_a_text)
{
    expect_streamed(MESSAGES,
        M_START("1", M_SEARCH) M_START("2", M_TEXT) M_INPUT("1", "{}")
            M_START("3", M_SEARCH) M_INPUT("1", "{}") M_INPUT("3", "{}"),
        "0 T'hi'\n", NULL);
}
