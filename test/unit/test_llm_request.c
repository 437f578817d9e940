/* test_llm_request.c - one request, in the words of each format. */
#include "llm/base64.h"
#include "llm/provider/embeddings.h"
#include "test/support/memory.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CHAT (&belay__chat_provider)
#define RESPONSES (&belay__responses_provider)
#define MESSAGES (&belay__messages_provider)

TestSuite(
    llm_request, .init = open_memory, .fini = close_memory, .timeout = 20);

static const struct belay__wish plain = {.stream = false};
static const struct belay__wish streamed = {.stream = true, .usage = true};

/* ---- what is asked ---- */

static const struct belay_llm_part parts[] = {
    {.type = BELAY_LLM_PART_TEXT, .data = {"look", 4}},
    {.type = BELAY_LLM_PART_IMAGE,
        .data = {"\x89PNG\xff", 5},
        .media_type = "image/png"},
    {.type = BELAY_LLM_PART_IMAGE_URL, .data = {"http://x/y.png", 14}},
};
static const struct belay_llm_tool_call calls[] = {
    {.id = {"a", 1}, .name = {"f", 1}, .arguments = {"{\"x\": 1e400}", 12}},
    {.id = {"b", 1}, .name = {"g", 1}},
};
static const struct belay_llm_message talk[] = {
    {.role = "system", .content = {"be brief", 8}},
    {.role = "user", .parts = parts, .part_count = COUNT(parts)},
    {.role = "assistant",
        .content = {"wait", 4},
        .tool_calls = calls,
        .tool_call_count = COUNT(calls)},
    {.role = "tool", .tool_call_id = {"a", 1}, .content = {"1", 1}},
    {.role = "tool",
        .tool_call_id = {"b", 1},
        .content = {"no", 2},
        .tool_failed = true},
    {.role = "user", .content = {"so?", 3}},
};
static const struct belay_llm_tool tools[] = {
    {.name = "f",
        .description = {"does f", 6},
        .parameters = {"{\"type\":\"object\" }", 18},
        .strict = true},
    {.name = "g"},
};
static const struct belay_llm_message hello[] = {
    {.role = "user", .content = {"hi", 2}}};

/* ---- building ---- */

static void
expect_request(const struct belay__provider *provider,
    const struct belay_llm_chat *chat, struct belay__wish wish,
    const char *expected)
{
    const char *why = provider->check_fn(chat);
    struct belay__buffer buffer;

    cr_assert(eq(ptr, (void *)(uintptr_t)why, NULL), "%s", why);
    belay__buffer_init(&buffer, memory, SIZE_MAX);
    cr_assert(zero(int, belay__provider_build(provider, chat, wish, &buffer)));
    cr_expect(
        zero(int, belay__json_check(belay__buffer_slice(&buffer), NULL, NULL)));
    cr_assert(zero(int, belay__buffer_append(&buffer, "", 1)));
    cr_expect(eq(str, buffer.data, (char *)(uintptr_t)expected));
    belay__buffer_fini(&buffer);
}

static void
expect_refused(const struct belay__provider *provider,
    const struct belay_llm_chat *chat, const char *part)
{
    const char *why = provider->check_fn(chat);

    cr_assert(ne(ptr, (void *)(uintptr_t)why, NULL), "%s", part);
    cr_expect(ne(ptr, strstr(why, part), NULL), "%s: %s", part, why);
}

#define ASK(...)                                                        \
    BELAY_LLM_CHAT(.model = "m", .messages = hello, .message_count = 1, \
        __VA_ARGS__)
#define TALK(...)                                                      \
    BELAY_LLM_CHAT(.model = "m", .messages = talk,                     \
        .message_count = COUNT(talk), .tools = tools, .tool_count = 2, \
        __VA_ARGS__)

Test(llm_request, l1_chat)
{
    expect_request(CHAT, TALK(.tool_choice = BELAY_LLM_TOOL_ANY), plain,
        "{\"model\":\"m\",\"messages\":["
        "{\"role\":\"system\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"look\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":"
        "\"data:image/png;base64,iVBOR/8=\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://x/y.png\"}}]},"
        "{\"role\":\"assistant\",\"content\":\"wait\",\"tool_calls\":["
        "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"arguments\":\"{\\\"x\\\": 1e400}\"}},"
        "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\","
        "\"arguments\":\"\"}}]},"
        "{\"role\":\"tool\",\"content\":\"1\",\"tool_call_id\":\"a\"},"
        "{\"role\":\"tool\",\"content\":\"no\",\"tool_call_id\":\"b\"},"
        "{\"role\":\"user\",\"content\":\"so?\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"description\":\"does f\",\"parameters\":{\"type\":\"object\" },"
        "\"strict\":true}},{\"type\":\"function\",\"function\":{\"name\":\"g\","
        "\"parameters\":{}}}],\"tool_choice\":\"required\"}");
}

Test(llm_request, l1_responses)
{
    expect_request(RESPONSES,
        TALK(.system = slice("s"), .max_tokens = 9,
            .tool_choice = BELAY_LLM_TOOL_NAMED, .tool_name = "f"),
        plain,
        "{\"model\":\"m\",\"instructions\":\"s\",\"input\":["
        "{\"role\":\"system\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":"
        "\"look\"},{\"type\":\"input_image\",\"image_url\":"
        "\"data:image/png;base64,iVBOR/8=\"},{\"type\":\"input_image\","
        "\"image_url\":\"http://x/y.png\"}]},"
        "{\"role\":\"assistant\",\"content\":\"wait\"},"
        "{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\","
        "\"arguments\":\"{\\\"x\\\": 1e400}\"},"
        "{\"type\":\"function_call\",\"call_id\":\"b\",\"name\":\"g\","
        "\"arguments\":\"\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"a\",\"output\":\"1\"}"
        ",{\"type\":\"function_call_output\",\"call_id\":\"b\",\"output\":"
        "\"no\"},{\"role\":\"user\",\"content\":\"so?\"}],"
        "\"max_output_tokens\":9,"
        "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"description\":"
        "\"does f\",\"parameters\":{\"type\":\"object\" },\"strict\":true},"
        "{\"type\":\"function\",\"name\":\"g\",\"parameters\":{},\"strict\":"
        "false}],\"tool_choice\":{\"type\":\"function\",\"name\":\"f\"}}");
}

Test(llm_request, l1_messages)
{
    const struct belay_slice stop[] = {slice("END")};

    expect_request(MESSAGES,
        TALK(.system = slice("s"), .max_tokens = 9, .stop = stop,
            .stop_count = 1, .tool_choice = BELAY_LLM_TOOL_ANY),
        plain,
        "{\"model\":\"m\",\"system\":[{\"type\":\"text\",\"text\":\"s\"},"
        "{\"type\":\"text\",\"text\":\"be brief\"}],\"messages\":["
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"look\"},"
        "{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":"
        "\"image/png\",\"data\":\"iVBOR/8=\"}},{\"type\":\"image\",\"source\":"
        "{\"type\":\"url\",\"url\":\"http://x/y.png\"}}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":"
        "\"wait\"},{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\","
        "\"input\":{\"x\": 1e400}},{\"type\":\"tool_use\",\"id\":\"b\","
        "\"name\":\"g\",\"input\":{}}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\","
        "\"tool_use_id\":\"a\",\"content\":\"1\"},{\"type\":\"tool_result\","
        "\"tool_use_id\":\"b\",\"content\":\"no\",\"is_error\":true},"
        "{\"type\":\"text\",\"text\":\"so?\"}]}],\"max_tokens\":9,"
        "\"stop_sequences\":[\"END\"],"
        "\"tools\":[{\"name\":\"f\",\"description\":\"does f\","
        "\"input_schema\":{\"type\":\"object\" },\"strict\":true},"
        "{\"name\":\"g\",\"input_schema\":{\"type\":\"object\"}}],"
        "\"tool_choice\":{\"type\":\"any\"}}");
}

Test(llm_request, system_text_has_its_place)
{
    expect_request(CHAT, ASK(.system = slice("s")), plain,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"}"
        ",{\"role\":\"user\",\"content\":\"hi\"}]}");
    expect_request(MESSAGES, ASK(.system = slice("s"), .max_tokens = 1), plain,
        "{\"model\":\"m\",\"system\":\"s\",\"messages\":[{\"role\":\"user\","
        "\"content\":\"hi\"}],\"max_tokens\":1}");
}

Test(llm_request, l2_streams_ask_for_the_usage)
{
    static const struct belay__wish silent = {.stream = true};

    expect_request(CHAT, ASK(.choices = 2), streamed,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
        ",\"n\":2,\"stream\":true,\"stream_options\":{\"include_usage\":true}"
        "}");
    expect_request(CHAT, ASK(.choices = 1), silent,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
        ",\"stream\":true}");
    expect_request(RESPONSES, ASK(.choices = 1), streamed,
        "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":\"hi\"}]"
        ",\"stream\":true}");
    expect_request(MESSAGES, ASK(.max_tokens = 1), streamed,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
        ",\"max_tokens\":1,\"stream\":true}");
}

Test(llm_request, l5_what_is_said_here_is_not_said_twice)
{
    expect_request(CHAT,
        ASK(.max_tokens = 2,
            .extra = slice("{ \"top_p\" : 1.0, \"stream\":false, "
                           "\"max_completion_tokens\":7,\"x\" :[ 1e400]}")),
        streamed,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
        ",\"max_completion_tokens\":2,\"stream\":true,\"stream_options\":"
        "{\"include_usage\":true},\"top_p\" : 1.0,\"x\" :[ 1e400]}");
}

Test(llm_request, l5_a_body_of_the_callers_own)
{
    expect_request(CHAT,
        BELAY_LLM_CHAT(.extra = slice(" {\"messages\":[ ],\"model\": \"x\","
                                      "\"seed\":9007199254740993} ")),
        plain, "{\"messages\":[ ],\"model\": \"x\",\"seed\":9007199254740993}");
    expect_request(MESSAGES,
        BELAY_LLM_CHAT(.extra = slice("{\"messages\":[],\"model\":\"x\","
                                      "\"max_tokens\":3}")),
        plain, "{\"messages\":[],\"model\":\"x\",\"max_tokens\":3}");
}

Test(llm_request, l68_messages_have_no_answers_that_say_nothing)
{
    static const struct belay_llm_message filtered[] = {
        {.role = "user", .content = {"a", 1}}, {.role = "assistant"},
        {.role = "user", .content = {"b", 1}},
        {.role = "assistant", .content = {"c", 1}},
        {.role = "user", .content = {"d", 1}}};

    expect_request(MESSAGES,
        BELAY_LLM_CHAT(.model = "m", .messages = filtered,
            .message_count = COUNT(filtered), .max_tokens = 9),
        plain,
        "{\"model\":\"m\",\"messages\":["
        "{\"role\":\"user\",\"content\":\"a\"},"
        "{\"role\":\"user\",\"content\":\"b\"},"
        "{\"role\":\"assistant\",\"content\":\"c\"},"
        "{\"role\":\"user\",\"content\":\"d\"}],\"max_tokens\":9}");
}

Test(llm_request, l3_messages_require_a_limit)
{
    expect_refused(MESSAGES, ASK(.choices = 1), "max_tokens");
    expect_refused(
        MESSAGES, ASK(.extra = slice("{\"max_tokens\":null}")), "max_tokens");
}

/* What a model wrote must not make the turn unusable. Where arguments are a
 * string they go back as they came.
 */
Test(llm_request, l80_broken_arguments_are_sent_all_the_same)
{
    static const struct belay_llm_tool_call broken[] = {
        {.id = {"a", 1}, .name = {"f", 1}, .arguments = {"{\"x\": ", 6}},
        {.id = {"b", 1}, .name = {"f", 1}, .arguments = {"[1]", 3}},
        {.id = {"c", 1}, .name = {"f", 1}, .arguments = {"{}x\xff", 4}}};
    static const struct belay_llm_message asks[] = {
        {.role = "assistant", .tool_calls = broken, .tool_call_count = 3}};
    static const struct belay_llm_message asks_one[] = {
        {.role = "assistant", .tool_calls = broken, .tool_call_count = 1}};

    expect_request(MESSAGES,
        BELAY_LLM_CHAT(.model = "m", .messages = asks, .message_count = 1,
            .max_tokens = 1),
        plain,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\","
        "\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\","
        "\"input\":{\"INVALID_JSON\":\"{\\\"x\\\": \"}},"
        "{\"type\":\"tool_use\",\"id\":\"b\",\"name\":\"f\","
        "\"input\":{\"INVALID_JSON\":\"[1]\"}},"
        "{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\","
        "\"input\":{\"INVALID_JSON\":\"{}x\xef\xbf\xbd\"}}]}],"
        "\"max_tokens\":1}");
    expect_request(CHAT,
        BELAY_LLM_CHAT(.model = "m", .messages = asks_one, .message_count = 1),
        plain,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\","
        "\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{\\\"x\\\": \"}}]}]}");
    expect_request(RESPONSES,
        BELAY_LLM_CHAT(.model = "m", .messages = asks_one, .message_count = 1),
        plain,
        "{\"model\":\"m\",\"input\":[{\"type\":\"function_call\","
        "\"call_id\":\"a\",\"name\":\"f\",\"arguments\":"
        "\"{\\\"x\\\": \"}]}");
}

Test(llm_request, what_a_format_does_not_have_is_refused)
{
    const int64_t seed = 1;
    const struct belay_slice stop[] = {slice("x")};
    static const struct belay_llm_message lost[] = {{.role = "tool"}};
    static const struct belay_llm_part blank[] = {
        {.type = BELAY_LLM_PART_IMAGE, .media_type = "a\"b"}};
    static const struct belay_llm_message image[] = {
        {.role = "user", .parts = blank, .part_count = 1}};
    static const struct belay_llm_tool wrong[] = {
        {.name = "f", .parameters = {"[]", 2}}};

    expect_refused(RESPONSES, ASK(.seed = &seed), "seed");
    expect_refused(MESSAGES, ASK(.seed = &seed, .max_tokens = 1), "seed");
    expect_refused(
        RESPONSES, ASK(.stop = stop, .stop_count = 1), "stop sequences");
    expect_refused(RESPONSES, ASK(.choices = 2), "one choice");
    expect_refused(MESSAGES, ASK(.choices = 2, .max_tokens = 1), "one choice");
    expect_refused(CHAT,
        BELAY_LLM_CHAT(.model = "m", .messages = lost, .message_count = 1),
        "which call");
    expect_refused(CHAT,
        BELAY_LLM_CHAT(.model = "m", .messages = image, .message_count = 1),
        "media type");
    expect_refused(CHAT, ASK(.tools = wrong, .tool_count = 1), "parameters");
    expect_refused(CHAT, ASK(.tool_choice = BELAY_LLM_TOOL_NAMED), "tool_name");
}

/* ---- base64 ---- */

Test(llm_request, base64_there_and_back)
{
    static const char *const texts[] = {
        "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    static const char bytes[] = "foobar";

    for (size_t len = 0; len < COUNT(texts); len++) {
        struct belay__buffer buffer;
        unsigned char back[8];
        size_t got = 99;

        belay__buffer_init(&buffer, memory, 64);
        cr_assert(zero(int,
            belay__base64_append(&buffer, (struct belay_slice){bytes, len})));
        cr_expect(eq(sz, buffer.len, strlen(texts[len])));
        cr_expect(zero(strncmp(
            buffer.data != NULL ? buffer.data : "", texts[len], buffer.len)));
        cr_expect(belay__base64_decode(slice(texts[len]), back, &got));
        cr_expect(eq(sz, got, len));
        cr_expect(zero(memcmp(back, bytes, len)));
        belay__buffer_fini(&buffer);
    }
}

Test(llm_request, base64_that_is_none)
{
    static const char *const texts[] = {
        "Z", "Zm9vY", "Zm=v", "Zm 9", "Zg===", "\xff\xff\xff\xff", "Zm9v\n"};
    unsigned char back[8];
    size_t got;

    for (size_t i = 0; i < COUNT(texts); i++) {
        cr_expect(not(belay__base64_decode(slice(texts[i]), back, &got)), "%s",
            texts[i]);
    }
    cr_expect(belay__base64_decode(slice("Zg"), back, &got));
}

/* ---- embeddings ---- */

Test(llm_request, l4_embeddings_ask_for_base64)
{
    const struct belay_slice inputs[] = {slice("a"), slice("\"b\"")};
    struct belay__buffer buffer;

    belay__buffer_init(&buffer, memory, 1024);
    cr_assert(zero(int,
        belay__embed_build(
            BELAY_LLM_EMBED(.model = "m", .inputs = inputs, .input_count = 2,
                .dimensions = 3, .extra = slice("{\"user\":\"u\"}")),
            &buffer)));
    cr_assert(zero(int, belay__buffer_append(&buffer, "", 1)));
    cr_expect(eq(str, buffer.data,
        (char *)"{\"model\":\"m\",\"input\":[\"a\",\"\\\"b\\\"\"],"
                "\"encoding_format\":\"base64\",\"dimensions\":3,"
                "\"user\":\"u\"}"));
    belay__buffer_fini(&buffer);
    cr_expect(ne(ptr,
        (void *)(uintptr_t)belay__embed_check(BELAY_LLM_EMBED(.model = "m")),
        NULL));
    cr_expect(ne(ptr,
        (void *)(uintptr_t)belay__embed_check(
            BELAY_LLM_EMBED(.inputs = inputs, .input_count = 1)),
        NULL));
}

/* AACAPwAAAMA= is 1 and -2; what a row says, or the code. */
static void
expect_vectors(const char *body, size_t count, int code, const float *values)
{
    struct belay__vectors vectors = {.values = NULL};
    int got = belay__vectors_read(memory, slice(body), count, &vectors);

    cr_assert(eq(int, got, code), "%s", body);
    if (code == 0) {
        cr_assert(eq(sz, vectors.dimensions, 2));
        for (size_t i = 0; i < 2 * count; i++) {
            cr_expect(eq(flt, vectors.values[i], values[i]), "%s", body);
        }
    }
    belay__vectors_fini(memory, &vectors);
}

Test(llm_request, l4_vectors_by_their_index)
{
    static const float expected[] = {0.5F, 1e-3F, 1, -2};

    expect_vectors("{\"data\":[{\"index\":1,\"embedding\":\"AACAPwAAAMA=\"},"
                   "{\"index\":0,\"embedding\":[0.5,1e-3]}]}",
        2, 0, expected);
    expect_vectors("{\"data\":[{\"embedding\":[0.5,0.001]},"
                   "{\"embedding\":\"AACAPwAAAMA\"}]}",
        2, 0, expected);
}

Test(llm_request, l4_vectors_that_do_not_fit)
{
    static const char *const bodies[] = {"{\"data\":[]}", "{}", "{\"data\":1}",
        "{\"data\":[{\"index\":0,\"embedding\":[1,2]}]}",
        "{\"data\":[{\"index\":0,\"embedding\":[1,2]},"
        "{\"index\":0,\"embedding\":[1,2]}]}",
        "{\"data\":[{\"index\":0,\"embedding\":[1,2]},"
        "{\"index\":2,\"embedding\":[1,2]}]}",
        "{\"data\":[{\"index\":0,\"embedding\":[1,2]},"
        "{\"index\":1,\"embedding\":[1,2,3]}]}",
        "{\"data\":[{\"index\":0,\"embedding\":[1,2]},"
        "{\"index\":1,\"embedding\":[1,\"2\"]}]}",
        "{\"data\":[{\"index\":0,\"embedding\":[1,2]},"
        "{\"index\":1,\"embedding\":[1,1e99]}]}",
        "{\"data\":[{\"index\":0,\"embedding\":[]},"
        "{\"index\":1,\"embedding\":[]}]}",
        "{\"data\":[{\"index\":0,\"embedding\":\"AACAPwAAAMA=\"},"
        "{\"index\":1,\"embedding\":\"AACAPwAA!MA=\"}]}",
        "{\"data\":[{\"index\":0,\"embedding\":[1,2]},"
        "{\"index\":1,\"embedding\":[1,2]},{\"index\":2,\"embedding\":[1,2]}]"
        "}"};

    for (size_t i = 0; i < COUNT(bodies); i++) {
        expect_vectors(bodies[i], 2, BELAY_EREPLY, NULL);
    }
}

Test(llm_request, every_allocation_may_fail)
{
    for (size_t k = 0;; k++) {
        struct belay__buffer buffer;
        struct belay__vectors vectors = {.values = NULL};
        int code;

        belay__buffer_init(&buffer, memory, SIZE_MAX);
        test_alloc_fail_at(k);
        code = belay__provider_build(
            MESSAGES, TALK(.max_tokens = 1), plain, &buffer);
        if (code == 0) {
            code = belay__vectors_read(memory,
                slice("{\"data\":[{\"embedding\":[1,2]}]}"), 1, &vectors);
        } else {
            cr_expect(zero(sz, buffer.len));
        }
        cr_expect(eq(int, code, test_alloc_failures() > 0 ? BELAY_ENOMEM : 0));
        belay__vectors_fini(memory, &vectors);
        belay__buffer_fini(&buffer);
        if (test_alloc_failures() == 0) {
            break;
        }
    }
    test_alloc_never_fail();
}
