/* messages.c - what Anthropic's Messages answers: a list of blocks, which
 * together make one choice.
 */
#include "llm/provider/messages.h"

#include "llm/json/text.h"

#include <string.h>

/* ---- blocks ---- */

static bool
is_type(const struct belay__json_value *type, const char *text)
{
    return type->type == BELAY__JSON_STRING
           && belay__json_key_equals(type, text, strlen(text));
}

enum block_member {
    TYPE,
    TEXT,
    THINKING,
    ID,
    NAME,
    INPUT,
    BLOCK_MEMBERS,
};

static void
read_block_members(
    struct belay_slice block, struct belay__json_value ret[BLOCK_MEMBERS])
{
    static const char *const names[BLOCK_MEMBERS] = {
        "type", "text", "thinking", "id", "name", "input"};

    belay__provider_members(block, names, BLOCK_MEMBERS, ret);
}

static bool
is_said(const struct belay__json_value *type)
{
    return is_type(type, "text") || is_type(type, "thinking");
}

/* A block, whole or as it starts. `place` tells the calls of tools apart. */
static struct belay__tool *
read_block(struct belay__answer *answer, struct belay__choice *choice,
    int64_t place, const struct belay__json_value values[BLOCK_MEMBERS])
{
    struct belay__tool *tool = NULL;

    if (is_type(&values[TYPE], "text")) {
        belay__answer_text(answer, choice, BELAY__TEXT, &values[TEXT]);
    } else if (is_type(&values[TYPE], "thinking")) {
        belay__answer_text(answer, choice, BELAY__REASONING, &values[THINKING]);
    } else if (is_type(&values[TYPE], "tool_use")) {
        tool = belay__answer_tool(answer, choice, place, &values[ID]);
        belay__answer_tool_name(answer, choice, tool, &values[NAME]);
    }
    return tool;
}

static void
read_whole_block(struct belay__answer *answer, struct belay__choice *choice,
    int64_t place, struct belay_slice block)
{
    struct belay__json_value values[BLOCK_MEMBERS];
    struct belay__tool *tool;

    read_block_members(block, values);
    tool = read_block(answer, choice, place, values);
    if (tool != NULL) {
        belay__answer_raw_arguments(answer, choice, tool, values[INPUT].raw);
    }
}

static bool
read_content(struct belay__answer *answer, struct belay__choice *choice,
    const struct belay__json_value *content)
{
    struct belay__json json;
    struct belay__json_value block;

    belay__json_open(&json, content->raw);
    if (content->type != BELAY__JSON_ARRAY || !belay__json_enter_array(&json)) {
        return false;
    }
    for (int64_t i = 0; belay__json_next_element(&json); i++) {
        if (belay__json_take(&json, &block)) {
            read_whole_block(answer, choice, i, block.raw);
        }
    }
    return true;
}

/* ---- answers ---- */

static enum belay_llm_end
end_of(const struct belay__json_value *reason)
{
    static const struct {
        const char *word;
        enum belay_llm_end end;
    } rows[] = {
        {"end_turn", BELAY_LLM_END_STOP},
        {"stop_sequence", BELAY_LLM_END_STOP},
        {"max_tokens", BELAY_LLM_END_LENGTH},
        {"tool_use", BELAY_LLM_END_TOOL},
        {"refusal", BELAY_LLM_END_REFUSAL},
        {"pause_turn", BELAY_LLM_END_PAUSE},
        {"model_context_window_exceeded", BELAY_LLM_END_CONTEXT_FULL},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (is_type(reason, rows[i].word)) {
            return rows[i].end;
        }
    }
    return BELAY_LLM_END_UNKNOWN;
}

static void
read_stop(struct belay__answer *answer, const struct belay__json_value *reason)
{
    if (belay__provider_is_reason(reason)) {
        belay__answer_end(
            answer, belay__answer_choice(answer, 0), end_of(reason), reason);
    }
}

enum answer_member {
    CONTENT,
    STOP_REASON,
    USAGE,
    MODEL,
    ERROR,
    ANSWER_MEMBERS,
};

/* Counts, and with the first ones what they are charged by. */
static void
read_usage(struct belay__answer *answer, struct belay_slice raw)
{
    static const char *const names[] = {"service_tier"};
    struct belay__json_value tier;

    belay__provider_members(raw, names, 1, &tier);
    belay__answer_tier(answer, &tier);
    belay__answer_usage(answer, raw);
}

static void
read_answer(struct belay__answer *answer, struct belay_slice body)
{
    static const char *const names[ANSWER_MEMBERS] = {
        "content", "stop_reason", "usage", "model", "error"};
    struct belay__json_value values[ANSWER_MEMBERS];

    belay__provider_members(body, names, ANSWER_MEMBERS, values);
    belay__answer_model(answer, &values[MODEL]);
    read_usage(answer, values[USAGE].raw);
    if (values[ERROR].type == BELAY__JSON_OBJECT
        || values[ERROR].type == BELAY__JSON_STRING) {
        belay__answer_error(answer, body);
    } else if (values[CONTENT].type != BELAY__JSON_ARRAY) {
        answer->code = answer->code == 0 ? BELAY_EREPLY : answer->code;
    } else {
        (void)read_content(
            answer, belay__answer_choice(answer, 0), &values[CONTENT]);
        read_stop(answer, &values[STOP_REASON]);
    }
    answer->finished = true;
}

/* ---- events ---- */

static void
read_start(struct belay__answer *answer, struct belay_slice message)
{
    static const char *const names[] = {"model", "usage"};
    struct belay__json_value values[2];

    belay__provider_members(message, names, 2, values);
    (void)belay__answer_choice(answer, 0);
    belay__answer_model(answer, &values[0]);
    read_usage(answer, values[1].raw);
    answer->counts.begun = true;
}

/* The newest call of that index; NULL: there is none. */
static struct belay__tool *
find_call(const struct belay__choice *choice, int64_t place)
{
    return choice != NULL ? belay__tool_of_index(choice, place) : NULL;
}

/* The call that input goes to; NULL: it is for a block that is no call of ours,
 * as a search that the server makes by itself. Such a block may have the index
 * of a call that was before it: some servers count none of them. If there was
 * no such block it is of a call whose beginning was lost.
 */
static struct belay__tool *
call_of_delta(struct belay__answer *answer, struct belay__choice *choice,
    int64_t place, const struct belay__json_value *piece)
{
    struct belay__tool *tool =
        place != answer->other_block ? find_call(choice, place) : NULL;

    return tool == NULL && !answer->other_blocks && belay__answer_says(piece)
               ? belay__answer_tool(answer, choice, place, NULL)
               : tool;
}

static void
read_block_delta(
    struct belay__answer *answer, int64_t place, struct belay_slice delta)
{
    static const char *const names[] = {
        "type", "text", "partial_json", "thinking"};
    struct belay__choice *choice = belay__answer_choice(answer, 0);
    struct belay__json_value values[4];

    belay__provider_members(delta, names, 4, values);
    if (is_type(&values[0], "text_delta")) {
        belay__answer_text(answer, choice, BELAY__TEXT, &values[1]);
    } else if (is_type(&values[0], "input_json_delta")) {
        belay__answer_arguments(answer, choice,
            call_of_delta(answer, choice, place, &values[2]), &values[2]);
    } else if (is_type(&values[0], "thinking_delta")) {
        belay__answer_text(answer, choice, BELAY__REASONING, &values[3]);
    }
}

static bool
is_empty_object(const struct belay__json_value *value)
{
    struct belay__json json;
    struct belay__json_value key;

    belay__json_open(&json, value->raw);
    return belay__json_enter_object(&json)
           && !belay__json_next_member(&json, &key);
}

/* A call without arguments has none in its deltas either. */
static void
end_call(struct belay__answer *answer, struct belay__choice *choice,
    struct belay__tool *tool)
{
    static const struct belay_slice none = {"{}", 2};

    if (tool != NULL && belay__llm_text_slice(tool->arguments.text).len == 0) {
        belay__answer_raw_arguments(answer, choice, tool, none);
    }
}

/* Some servers send the whole input with the start of its block. Another call
 * of the same index ends the one before: what follows is not for that.
 */
static void
read_block_start(
    struct belay__answer *answer, int64_t place, struct belay_slice block)
{
    struct belay__json_value values[BLOCK_MEMBERS];
    struct belay__choice *choice = belay__answer_choice(answer, 0);
    const struct belay__tool *before = find_call(choice, place);
    const size_t at = before != NULL ? (size_t)(before - choice->tools) : 0;
    struct belay__tool *tool;

    read_block_members(block, values);
    tool = read_block(answer, choice, place, values);
    if (tool == NULL && !is_said(&values[TYPE])) {
        answer->other_block = place;
        answer->other_blocks = true;
    } else if (answer->other_block == place) {
        answer->other_block = -1;
    }
    if (before != NULL && tool != NULL && tool != &choice->tools[at]) {
        end_call(answer, choice, &choice->tools[at]);
    }
    if (tool != NULL && values[INPUT].type == BELAY__JSON_OBJECT
        && !is_empty_object(&values[INPUT])) {
        belay__answer_raw_arguments(answer, choice, tool, values[INPUT].raw);
    }
}

static void
read_block_stop(struct belay__answer *answer, int64_t place)
{
    struct belay__choice *choice = belay__answer_choice(answer, 0);

    end_call(answer, choice, find_call(choice, place));
}

enum event_member {
    EVENT_TYPE,
    INDEX,
    DELTA,
    BLOCK,
    MESSAGE,
    EVENT_USAGE,
    EVENT_MEMBERS,
};

static void
read_event(struct belay__answer *answer, const struct belay__sse_event *event)
{
    static const char *const names[EVENT_MEMBERS] = {
        "type", "index", "delta", "content_block", "message", "usage"};
    static const char *const delta_names[] = {"stop_reason"};
    struct belay__json_value values[EVENT_MEMBERS];
    const struct belay__json_value *type = &values[EVENT_TYPE];
    struct belay__json_value reason;
    int64_t place;

    belay__provider_members(event->data, names, EVENT_MEMBERS, values);
    place = belay__provider_index(&values[INDEX], 0);
    if (is_type(type, "content_block_delta")) {
        read_block_delta(answer, place, values[DELTA].raw);
    } else if (is_type(type, "message_start")) {
        read_start(answer, values[MESSAGE].raw);
    } else if (is_type(type, "content_block_start")) {
        read_block_start(answer, place, values[BLOCK].raw);
    } else if (is_type(type, "content_block_stop")) {
        read_block_stop(answer, place);
    } else if (is_type(type, "message_delta")) {
        belay__provider_members(values[DELTA].raw, delta_names, 1, &reason);
        belay__answer_usage(answer, values[EVENT_USAGE].raw);
        read_stop(answer, &reason);
    } else if (is_type(type, "message_stop")) {
        answer->finished = true;
    } else if (is_type(type, "error")) {
        belay__answer_error(answer, event->data);
    }
}

const struct belay__provider belay__messages_provider = {
    .name = "messages",
    .path = "/v1/messages",
    .auth = BELAY__AUTH_X_API_KEY,
    .request_id = "request-id",
    .check_fn = belay__messages_check,
    .write_fn = belay__messages_write,
    .read_fn = read_answer,
    .event_fn = read_event,
};
