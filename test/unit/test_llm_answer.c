/* test_llm_answer.c - answers of all formats, whole and as streams. */
#include "test/support/answer_expect.h"
#include "test/support/memory.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAT (&belay__chat_provider)
#define RESPONSES (&belay__responses_provider)
#define MESSAGES (&belay__messages_provider)

TestSuite(llm_answer, .init = open_memory, .fini = close_memory, .timeout = 20);

/* ---- Chat Completions ---- */

#define DELTA(delta_) \
    "data: {\"choices\":[{\"index\":0,\"delta\":{" delta_ "}}]}\n\n"
#define FINISH(word_)                                                          \
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" word_ \
    "\"}]}\n\n"
#define DONE "data: [DONE]\n\n"

Test(llm_answer, l1_chat_whole)
{
    expect_answer(CHAT,
        "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":"
        "{\"role\":\"assistant\",\"content\":\"hi\",\"reasoning_content\":"
        "\"hm\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]},"
        "\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":3,"
        "\"completion_tokens\":4}}",
        "0 T'hi' Y'hm' C( 'a' 'f' '{\"x\":1}' ) E3 'tool_calls'\nU 3/-1/4\n");
}

Test(llm_answer, l1_chat_stream)
{
    expect_streamed(CHAT,
        DELTA("\"role\":\"assistant\",\"content\":\"\"")
            DELTA("\"content\":\"h\"") DELTA("\"content\":\"i\"") FINISH(
                "stop") "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
                        "\"completion_tokens\":4}}\n\n" DONE,
        "0 T'hi' E1 'stop'\nU 3/-1/4\n", "T0 'h'\nT0 'i'\nE0 'stop'\n");
}

/* Some servers write something in each chunk, until they have a reason. */
Test(llm_answer, l1_l18_no_reason_is_no_end)
{
    expect_streamed(CHAT,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},"
        "\"finish_reason\":\"\"}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"},"
        "\"finish_reason\":\"null\"}]}\n\n",
        "0 T'ab'\n", "T0 'a'\nT0 'b'\n");
    expect_streamed(CHAT, FINISH("") FINISH("null"), "0\n", NULL);
    expect_answer(CHAT,
        "{\"choices\":[{\"message\":{\"content\":\"a\"},"
        "\"finish_reason\":\"\"}]}",
        "0 T'a'\n");
    expect_answer(MESSAGES, "{\"content\":[],\"stop_reason\":\"\"}", "0\n");
    expect_answer(RESPONSES,
        "{\"status\":\"\",\"output\":[],\"incomplete_details\":"
        "{\"reason\":\"null\"}}",
        "0 E0\n");
}

Test(llm_answer, l1_l96_a_reason_with_escapes)
{
    expect_streamed(CHAT, FINISH("sto\\u0070"), "0 E1 'stop'\n", NULL);
    expect_answer(MESSAGES,
        "{\"content\":[],\"stop_reason\":\"end\\u005fturn\"}",
        "0 E1 'end_turn'\n");
}

Test(llm_answer, l81_a_cut_call_ends_by_its_length)
{
    expect_streamed(CHAT,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{"
        "\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\","
        "\"arguments\":\"{\"}}]},\"finish_reason\":\"\"}]}\n\n" FINISH("length")
            DONE,
        "0 C( 'a' 'f' '{' ) E2 'length'\n",
        "C0.0 'a' 'f'\nA0.0 '{'\nE0 'length'\n");
}

Test(llm_answer, l6_every_choice_on_its_own)
{
    expect_streamed(CHAT,
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}},"
        "{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"A\"},"
        "\"finish_reason\":\"stop\"}]}\n\n"
        "data: {\"choices\":[{\"delta\":{\"content\":\"B\"},\"index\":1,"
        "\"finish_reason\":\"length\"}]}\n\n" DONE,
        "0 T'aA' E1 'stop'\n1 T'bB' E2 'length'\n",
        "T1 'b'\nT0 'a'\nT0 'A'\nE0 'stop'\nT1 'B'\nE1 'length'\n");
}

Test(llm_answer, l7_tool_calls_join_by_index)
{
    expect_streamed(CHAT,
        DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":"
              "{\"name\":\"f\",\"arguments\":\"\"}}]")
            DELTA("\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":"
                  "{\"name\":\"g\",\"arguments\":\"{\"}},{\"index\":0,"
                  "\"function\":{\"arguments\":\"{\\\"x\"}}]")
                DELTA("\"tool_calls\":[{\"index\":0,\"function\":"
                      "{\"arguments\":\"\\\":1}\"}},{\"index\":1,"
                      "\"function\":{\"arguments\":\"}\"}}]")
                    FINISH("tool_calls") DONE,
        "0 C( 'a' 'f' '{\"x\":1}' ) C( 'b' 'g' '{}' ) E3 'tool_calls'\n",
        "C0.0 'a' 'f'\nC0.1 'b' 'g'\nA0.1 '{'\nA0.0 '{\"x'\nA0.0 '\":1}'\n"
        "A0.1 '}'\nE0 'tool_calls'\n");
}

Test(llm_answer, l7_without_an_index_by_id)
{
    expect_streamed(CHAT,
        DELTA("\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\","
              "\"arguments\":\"1\"}}]")
            DELTA("\"tool_calls\":[{\"id\":\"b\",\"function\":{\"name\":"
                  "\"g\",\"arguments\":\"2\"}}]")
                DELTA("\"tool_calls\":[{\"id\":\"a\",\"function\":"
                      "{\"arguments\":\"1\"}}]")
                    DELTA("\"tool_calls\":[{\"function\":{\"arguments\":"
                          "\"2\"}}]") DONE,
        "0 C( 'a' 'f' '11' ) C( 'b' 'g' '22' )\n", NULL);
}

Test(llm_answer, l7_another_id_at_the_same_index_is_another_call)
{
    expect_streamed(CHAT,
        DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":"
              "{\"name\":\"f\",\"arguments\":\"1\"}}]")
            DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":"
                  "{\"name\":\"f\",\"arguments\":\"2\"}}]")
                DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"b\","
                      "\"function\":{\"name\":\"f\",\"arguments\":\"3\"}}]")
                    DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"\","
                          "\"function\":{\"arguments\":\"4\"}}]") DONE,
        "0 C( 'a' 'f' '12' ) C( 'b' 'f' '34' )\n", NULL);
}

Test(llm_answer, l21_errors_in_a_chat_stream)
{
    expect_streamed(CHAT,
        DELTA("\"content\":\"a\"") "data: {\"error\":{\"message\":\"no\","
                                   "\"type\":\"server_error\",\"code\":null}}"
                                   "\n\n",
        "0 T'a'\nX500 'server_error' 'no'\n#EHTTP\n", NULL);
    expect_streamed(CHAT, "data: {\"error\":\"too much\"}\n\n",
        "X500 'too much'\n#EHTTP\n", NULL);
    expect_streamed(CHAT,
        "event: error\ndata: {\"message\":\"slow\",\"code\":\"429\"}\n\n",
        "X429 '429' 'slow'\n#EHTTP\n", NULL);
    expect_streamed(
        CHAT, "event: error\ndata: \"what\"\n\n", "X500\n#EHTTP\n", NULL);
    expect_streamed(CHAT,
        "data: {\"error\":{\"code\":502,\"message\":\"upstream\"}}\n\n",
        "X502 'upstream'\n#EHTTP\n", NULL);
    expect_streamed(
        CHAT, "data: {\"error\":null,\"choices\":[]}\n\n", "", NULL);
}

Test(llm_answer, l31_an_empty_account_in_a_stream)
{
    expect_streamed(CHAT,
        "data: {\"error\":{\"type\":\"requests\",\"code\":"
        "\"insufficient_quota\",\"message\":\"pay\"}}\n\n",
        "X429 'insufficient_quota' 'pay'\n#EHTTP\n", NULL);
    expect_streamed(CHAT,
        "data: {\"error\":{\"type\":\"requests\",\"code\":"
        "\"insufficient\\u005fquota\",\"message\":\"pay\"}}\n\n",
        "X429 'insufficient_quota' 'pay'\n#EHTTP\n", NULL);
}

Test(llm_answer, l23_an_event_that_is_not_json)
{
    expect_streamed(CHAT,
        DELTA("\"content\":\"a\"") "data: {\"choices\":[{"
                                   "\"delta\":{\"content\":"
                                   "\"b\"}]}\n\n",
        "0 T'a'\n#EPROTO\n", "T0 'a'\n");
}

Test(llm_answer, l27_halves_of_a_character)
{
    expect_streamed(CHAT,
        DELTA("\"content\":\"a\\ud83c\"") DELTA("\"content\":\"\\udf0db\"")
            FINISH("stop") DONE,
        "0 T'a\xf0\x9f\x8c\x8d"
        "b' E1 'stop'\n",
        "T0 'a'\nT0 '\xf0\x9f\x8c\x8d"
        "b'\nE0 'stop'\n");
    expect_streamed(CHAT,
        DELTA("\"content\":\"\\ud83c\"") DELTA("\"content\":\"x\"")
            DELTA("\"content\":\"\\ud83c\"") FINISH("stop") DONE,
        "0 T'\xef\xbf\xbdx\xef\xbf\xbd' E1 'stop'\n",
        "T0 '\xef\xbf\xbdx'\nT0 '\xef\xbf\xbd'\nE0 'stop'\n");
    expect_streamed(CHAT, DELTA("\"content\":\"\\ud83c\""),
        "0 T'\xef\xbf\xbd'\n", "T0 '\xef\xbf\xbd'\n");
    expect_streamed(CHAT, DELTA("\"content\":\"\\udf0d\"") DONE,
        "0 T'\xef\xbf\xbd'\n", NULL);
}

Test(llm_answer, l26_other_events_are_nothing)
{
    expect_streamed(CHAT,
        "event: ping\ndata: {}\n\ndata: 1\n\ndata: null\n\ndata: "
        "{\"choices\":null}\n\ndata: {\"choices\":[1,{}]}\n\n" DELTA(
            "\"content\":\"a\"") DONE,
        "0 T'a'\n", NULL);
}

Test(llm_answer, l16_after_done_nothing_counts)
{
    expect_streamed(CHAT,
        DELTA("\"content\":\"a\"") "data:  [DONE] \n\n" DELTA(
            "\"content\":\"b\""),
        "0 T'a'\n", NULL);
}

Test(llm_answer, l9_not_an_answer)
{
    static const char *const bodies[] = {"{}", "[]", "1", "\"x\"",
        "{\"choices\":[]}", "{\"choices\":[{}]}", "{\"choices\":{}}"};

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        expect_answer(CHAT, bodies[i], "#EREPLY\n");
        expect_answer(RESPONSES, bodies[i], "#EREPLY\n");
        expect_answer(MESSAGES, bodies[i], "#EREPLY\n");
    }
    expect_answer(CHAT, "{\"error\":{\"message\":\"m\",\"type\":\"t\"}}",
        "X500 't' 'm'\n#EHTTP\n");
}

Test(llm_answer, content_in_parts)
{
    expect_answer(CHAT,
        "{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":"
        "\"a\"},{\"type\":\"x\"},{\"type\":\"text\",\"text\":\"b\"}]}}]}",
        "0 T'ab'\n");
    expect_answer(CHAT,
        "{\"choices\":[{\"text\":\"old\",\"finish_reason\":\"length\"}]}",
        "0 T'old' E2 'length'\n");
}

/* ---- Responses ---- */

#define R_CALL                                                              \
    "{\"type\":\"function_call\",\"id\":\"fc\",\"call_id\":\"a\",\"name\":" \
    "\"f\",\"arguments\":\"{\\\"x\\\":1}\"}"
#define R_USAGE                                          \
    "\"usage\":{\"input_tokens\":5,\"output_tokens\":6," \
    "\"input_tokens_details\":{\"cached_tokens\":2}}"
#define R_TEXT                                                             \
    "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":" \
    "\"output_text\",\"text\":\"hi\",\"annotations\":[]}]}"

Test(llm_answer, l1_responses_whole)
{
    expect_answer(RESPONSES,
        "{\"id\":\"r\",\"status\":\"completed\",\"error\":null,\"model\":\"m\","
        "\"output\":[{\"type\":\"reasoning\",\"summary\":[{\"type\":"
        "\"summary_text\",\"text\":\"hm\"}]}," R_TEXT "," R_CALL "]," R_USAGE
        "}",
        "0 T'hi' Y'hm' C( 'a' 'f' '{\"x\":1}' ) E3 'completed'\nU 5/2/6\n");
    expect_answer(RESPONSES,
        "{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":"
        "\"max_output_tokens\"},\"output\":[" R_TEXT "]}",
        "0 T'hi' E2 'max_output_tokens'\n");
    expect_answer(RESPONSES,
        "{\"status\":\"completed\",\"output\":[{\"type\":\"message\","
        "\"content\":[{\"type\":\"refusal\",\"refusal\":\"no\"}]}]}",
        "0 R'no' E5 'completed'\n");
    expect_answer(RESPONSES,
        "{\"status\":\"failed\",\"error\":{\"code\":\"server_error\","
        "\"message\":\"m\"},\"output\":[]}",
        "X500 'server_error' 'm'\n#EHTTP\n");
    expect_answer(RESPONSES, "{\"status\":\"cancelled\",\"output\":[]}",
        "0 E0 'cancelled'\n");
    expect_answer(RESPONSES, "{\"output\":[" R_TEXT "]}", "0 T'hi' E1\n");
    expect_answer(RESPONSES,
        "{\"output\":[],\"incomplete_details\":{\"reason\":"
        "\"content_filter\"}}",
        "0 E4 'content_filter'\n");
}

#define R_EVENT(type_, rest_) \
    "event: " type_ "\ndata: {\"type\":\"" type_ "\"" rest_ "}\n\n"

Test(llm_answer, l1_responses_stream)
{
    expect_streamed(RESPONSES,
        R_EVENT("response.created", ",\"response\":{\"status\":"
                                    "\"in_progress\",\"output\":[]}")
            R_EVENT("response.output_item.added",
                ",\"output_index\":0,\"item\":{\"type\":\"message\","
                "\"content\":[]}") R_EVENT("response.output_text.delta",
                ",\"output_index\":0,\"delta\":\"h\"")
                R_EVENT("response.output_text.delta",
                    ",\"output_index\":0,\"delta\":\"i\"")
                    R_EVENT("response.output_text.done", ",\"text\":\"hi\"")
                        R_EVENT("response.output_item.added",
                            ",\"output_index\":1,\"item\":{\"type\":"
                            "\"function_call\",\"call_id\":\"a\",\"name\":"
                            "\"f\",\"arguments\":\"\"}")
                            R_EVENT("response.function_call_arguments.delta",
                                ",\"output_index\":1,\"delta\":\"{\\\"x\"")
                                R_EVENT("response.function_call_arguments."
                                        "delta",
                                    ",\"output_index\":1,\"delta\":"
                                    "\"\\\":1}\"")
                                    R_EVENT("response.output_item.done",
                                        ",\"output_index\":1,\"item\""
                                        ":" R_CALL)
                                        R_EVENT("response.completed",
                                            ",\"response\":{\"status\":"
                                            "\"completed\","
                                            "\"output\":[" R_TEXT "," R_CALL
                                            "]," R_USAGE "}"),
        "0 T'hi' C( 'a' 'f' '{\"x\":1}' ) E3 'completed'\nU 5/2/6\n",
        "T0 'h'\nT0 'i'\nC0.0 'a' 'f'\nA0.0 '{\"x'\nA0.0 '\":1}'\n"
        "E0 'completed'\n");
}

Test(llm_answer, l1_responses_stream_without_deltas)
{
    expect_streamed(RESPONSES,
        R_EVENT("response.completed",
            ",\"response\":{\"status\":\"completed\",\"output\":[" R_TEXT
            "," R_CALL "]," R_USAGE "}"),
        "0 T'hi' C( 'a' 'f' '{\"x\":1}' ) E3 'completed'\nU 5/2/6\n",
        "T0 'hi'\nC0.0 'a' 'f'\nA0.0 '{\"x\":1}'\nE0 'completed'\n");
}

Test(llm_answer, l21_errors_in_a_responses_stream)
{
    expect_streamed(RESPONSES,
        R_EVENT("error", ",\"code\":\"rate_limit_exceeded\",\"message\":\"m\""),
        "X429 'rate_limit_exceeded' 'm'\n#EHTTP\n", NULL);
    expect_streamed(RESPONSES,
        R_EVENT("response.output_text.delta", ",\"delta\":\"h\"")
            R_EVENT("response.failed",
                ",\"response\":{\"status\":\"failed\",\"error\":{\"code\":"
                "\"server_error\",\"message\":\"m\"}}"),
        "0 T'h'\nX500 'server_error' 'm'\n#EHTTP\n", NULL);
    expect_streamed(RESPONSES,
        R_EVENT("response.output_text.delta", ",\"delta\":\"h\"")
            R_EVENT("response.incomplete",
                ",\"response\":{\"status\":\"incomplete\",\"output\":[],"
                "\"incomplete_details\":{\"reason\":\"content_filter\"}}"),
        "0 T'h' E4 'content_filter'\n", NULL);
}

/* ---- Messages ---- */

Test(llm_answer, l1_messages_whole)
{
    expect_answer(MESSAGES,
        "{\"type\":\"message\",\"model\":\"m\",\"content\":[{\"type\":"
        "\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},{\"type\":"
        "\"text\",\"text\":\"h\"},{\"type\":\"text\",\"text\":\"i\"},{\"type\":"
        "\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{\"x\": 1.0}}],"
        "\"stop_reason\":\"tool_use\",\"usage\":{\"input_tokens\":5,"
        "\"cache_read_input_tokens\":10,\"cache_creation_input_tokens\":0,"
        "\"output_tokens\":6}}",
        "0 T'hi' Y'hm' C( 'a' 'f' '{\"x\": 1.0}' ) E3 'tool_use'\nU 15/10/6\n");
}

Test(llm_answer, l1_ends_of_messages)
{
    static const struct {
        const char *reason;
        enum belay_llm_end end;
    } rows[] = {
        {"end_turn", BELAY_LLM_END_STOP},
        {"stop_sequence", BELAY_LLM_END_STOP},
        {"max_tokens", BELAY_LLM_END_LENGTH},
        {"tool_use", BELAY_LLM_END_TOOL},
        {"refusal", BELAY_LLM_END_REFUSAL},
        {"pause_turn", BELAY_LLM_END_PAUSE},
        {"model_context_window_exceeded", BELAY_LLM_END_CONTEXT_FULL},
        {"something_new", BELAY_LLM_END_UNKNOWN},
    };
    char body[256];
    char text[128];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(body, sizeof(body),
            "{\"content\":[],\"stop_reason\":\"%s\"}", rows[i].reason);
        (void)snprintf(text, sizeof(text), "0 E%d '%s'\n", (int)rows[i].end,
            rows[i].reason);
        expect_answer(MESSAGES, body, text);
    }
}

#define M_START(usage_)                                                      \
    R_EVENT("message_start", ",\"message\":{\"model\":\"m\",\"content\":[]," \
                             "\"usage\":{" usage_ "}}")
#define M_TEXT(text_)                                                  \
    R_EVENT("content_block_delta", ",\"index\":0,\"delta\":{\"type\":" \
                                   "\"text_delta\",\"text\":\"" text_ "\"}")
#define M_END(reason_, usage_)                                                 \
    R_EVENT("message_delta",                                                   \
        ",\"delta\":{\"stop_reason\":\"" reason_ "\"},\"usage\":{" usage_ "}") \
    R_EVENT("message_stop", "")

Test(llm_answer, l48_message_deltas_replace_the_counts)
{
    expect_streamed(MESSAGES,
        M_START("\"input_tokens\":5,\"cache_read_input_tokens\":10,"
                "\"cache_creation_input_tokens\":1,\"output_tokens\":1")
            R_EVENT("content_block_start",
                ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":"
                "\"\"}") R_EVENT("ping", "") M_TEXT("h") M_TEXT("i")
                R_EVENT("content_block_stop", ",\"index\":0")
                    R_EVENT("message_delta",
                        ",\"delta\":{},\"usage\":{\"output_tokens\":3}")
                        M_END("end_turn", "\"output_tokens\":7"),
        "0 T'hi' E1 'end_turn'\nU 16/10/7\n",
        "T0 'h'\nT0 'i'\nE0 'end_turn'\n");
}

#define M_TOOL(index_, id_, input_)                                        \
    R_EVENT("content_block_start",                                         \
        ",\"index\":" index_ ",\"content_block\":{\"type\":"               \
        "\"tool_use\",\"id\":\"" id_ "\",\"name\":\"f\",\"input\":" input_ \
        "}")
#define M_JSON(index_, json_)                        \
    R_EVENT("content_block_delta",                   \
        ",\"index\":" index_ ",\"delta\":{\"type\":" \
        "\"input_json_delta\",\"partial_json\":"     \
        "\"" json_ "\"}")
#define M_STOP(index_) R_EVENT("content_block_stop", ",\"index\":" index_)

Test(llm_answer, l7_tool_use_blocks)
{
    expect_streamed(MESSAGES,
        M_START("\"input_tokens\":5") M_TOOL("1", "a", "{}") M_JSON("1", "")
            M_JSON("1", "{\\\"x\\\":") M_JSON("1", "1}") M_STOP("1")
                M_TOOL("2", "b", "{}") M_STOP("2") M_TOOL("3", "c", "{\"y\":2}")
                    M_STOP("3") M_END("tool_use", "\"output_tokens\":7"),
        "0 C( 'a' 'f' '{\"x\":1}' ) C( 'b' 'f' '{}' ) C( 'c' 'f' '{\"y\":2}' )"
        " E3 'tool_use'\nU 5/-1/7\n",
        "C0.0 'a' 'f'\nA0.0 '{\"x\":'\nA0.0 '1}'\nC0.1 'b' 'f'\nA0.1 '{}'\n"
        "C0.2 'c' 'f'\nA0.2 '{\"y\":2}'\nE0 'tool_use'\n");
}

Test(llm_answer, l22_errors_of_messages_have_their_class)
{
    static const struct {
        const char *type;
        int status;
    } rows[] = {
        {"overloaded_error", 529},
        {"rate_limit_error", 429},
        {"api_error", 500},
        {"timeout_error", 504},
        {"invalid_request_error", 400},
        {"authentication_error", 401},
        {"permission_error", 403},
        {"not_found_error", 404},
        {"request_too_large", 413},
        {"billing_error", 402},
        {"something_new", 500},
    };
    char stream[256];
    char text[128];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(stream, sizeof(stream),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
            "\"%s\",\"message\":\"m\"}}\n\n",
            rows[i].type);
        (void)snprintf(text, sizeof(text), "X%d '%s' 'm'\n#EHTTP\n",
            rows[i].status, rows[i].type);
        expect_streamed(MESSAGES, stream, text, NULL);
    }
    expect_streamed(MESSAGES,
        M_START("\"input_tokens\":5") M_TEXT("a")
            R_EVENT("error", ",\"error\":{\"type\":\"overloaded_error\","
                             "\"message\":\"m\"}"),
        "0 T'a'\nU 5/-1/-1\nX529 'overloaded_error' 'm'\n#EHTTP\n", NULL);
}

/* ---- limits ---- */

Test(llm_answer, too_many_choices_are_refused)
{
    static const struct belay_slice choice = {"{\"message\":{}},", 15};
    struct belay__buffer body;
    char *text;

    belay__buffer_init(&body, memory, SIZE_MAX);
    cr_assert(zero(int, belay__buffer_append(&body, "{\"choices\":[", 12)));
    for (size_t i = 0; i <= BELAY__CHOICES_MAX; i++) {
        cr_assert(
            zero(int, belay__buffer_append(&body, choice.data, choice.len)));
    }
    cr_assert(zero(int, belay__buffer_append(&body, "{}]}", 4)));
    text = dump_whole(memory, CHAT, belay__buffer_slice(&body));
    cr_expect(ne(ptr, strstr(text, "#EREPLY"), NULL));
    free(text);
    belay__buffer_fini(&body);
}

/* Every way into the memory, each refused in turn: nothing leaks, and what
 * was put together is the truth as far as it goes.
 */
Test(llm_answer, every_allocation_may_fail)
{
    static const char stream[] =
        "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":"
        "{\"content\":\"a\",\"refusal\":\"b\",\"reasoning\":\"c\"}},"
        "{\"index\":1,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"i\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{\"}},{\"index\":1}]}},"
        "{\"index\":2,\"delta\":{\"content\":\"\\ud83c\"}}],\"usage\":"
        "{\"prompt_tokens\":1}}\n\n"
        "data: {\"error\":{\"message\":\"m\"}}\n\n";

    for (size_t k = 0;; k++) {
        char *text;

        test_alloc_fail_at(k);
        text = dump_stream(memory, CHAT, slice(stream), NULL);
        if (test_alloc_failures() == 0) {
            cr_expect(ne(ptr, strstr(text, "#EHTTP"), NULL));
            free(text);
            break;
        }
        cr_expect(ne(ptr, strstr(text, "#ENOMEM"), NULL), "%zu: %s", k, text);
        free(text);
    }
    test_alloc_never_fail();
}
