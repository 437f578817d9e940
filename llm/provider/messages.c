/* messages.c - Anthropic's Messages.
 *
 * An answer is a list of blocks; together they make one choice. The results
 * of tools go to the server as blocks of a user's message, ahead of what the
 * user says next to them. What a system says belongs in front of it all.
 */
#include "llm/json/text.h"
#include "llm/provider/provider.h"

#include <string.h>

/* ---- requests ---- */

static bool
is_system(const struct belay_llm_message *message)
{
    return belay__request_role_is(message, "system")
           || belay__request_role_is(message, "developer");
}

static const char *
check_message(const struct belay_llm_message *message)
{
    enum belay__json_type type = BELAY__JSON_NONE;

    if (is_system(message) && message->part_count > 0) {
        return "the Messages format has no system message in parts";
    }
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct belay_slice arguments = message->tool_calls[i].arguments;

        if (arguments.len > 0
            && (belay__json_check(arguments, &type, NULL) < 0
                || type != BELAY__JSON_OBJECT)) {
            return "the arguments of a tool call are not a JSON object";
        }
    }
    return NULL;
}

static const char *
check(const struct belay_llm_chat *chat)
{
    const char *why = belay__request_check(chat, "messages");

    if (why != NULL) {
        return why;
    }
    if (belay__request_limit(chat, "max_tokens") == 0) {
        return "the Messages format requires max_tokens";
    }
    if (chat->seed != NULL) {
        return "the Messages format has no seed";
    }
    if (chat->choices > 1) {
        return "the Messages format has one choice only";
    }
    for (size_t i = 0; i < chat->message_count && why == NULL; i++) {
        why = check_message(&chat->messages[i]);
    }
    return why;
}

static void
write_text_block(struct belay__json_writer *json, struct belay_slice text)
{
    belay__json_open_object(json);
    belay__request_text_member(json, "type", "text");
    belay__request_slice_member(json, "text", text);
    belay__json_close_object(json);
}

static void
write_image_block(
    struct belay__json_writer *json, const struct belay_llm_part *part)
{
    belay__json_open_object(json);
    belay__request_text_member(json, "type", "image");
    belay__json_key(json, "source");
    belay__json_open_object(json);
    if (part->type == BELAY_LLM_PART_IMAGE) {
        belay__request_text_member(json, "type", "base64");
        belay__request_text_member(json, "media_type", part->media_type);
        belay__json_key(json, "data");
        belay__request_base64(json, part->data);
    } else {
        belay__request_text_member(json, "type", "url");
        belay__request_slice_member(json, "url", part->data);
    }
    belay__json_close_object(json);
    belay__json_close_object(json);
}

/* A message's content as blocks of an array that is open. */
static void
write_blocks(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    if (message->part_count == 0 && message->content.len > 0) {
        write_text_block(json, message->content); /* no empty ones */
    }
    for (size_t i = 0; i < message->part_count; i++) {
        if (message->parts[i].type == BELAY_LLM_PART_TEXT) {
            write_text_block(json, message->parts[i].data);
        } else {
            write_image_block(json, &message->parts[i]);
        }
    }
}

static void
write_tool_uses(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct belay_llm_tool_call *call = &message->tool_calls[i];

        belay__json_open_object(json);
        belay__request_text_member(json, "type", "tool_use");
        belay__request_slice_member(json, "id", call->id);
        belay__request_slice_member(json, "name", call->name);
        belay__json_key(json, "input");
        belay__request_schema(json, call->arguments);
        belay__json_close_object(json);
    }
}

static void
write_tool_result(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    belay__json_open_object(json);
    belay__request_text_member(json, "type", "tool_result");
    belay__request_slice_member(json, "tool_use_id", message->tool_call_id);
    belay__json_key(json, "content");
    if (message->part_count == 0) {
        belay__json_string(json, message->content);
    } else {
        belay__json_open_array(json);
        write_blocks(json, message);
        belay__json_close_array(json);
    }
    if (message->tool_failed) {
        belay__json_key(json, "is_error");
        belay__json_bool(json, true);
    }
    belay__json_close_object(json);
}

/* The results of tools, and the user's message if one follows. Returns how
 * many messages that were.
 */
static size_t
write_results(struct belay__json_writer *json,
    const struct belay_llm_message *messages, size_t count)
{
    size_t n = 0;

    belay__json_open_object(json);
    belay__request_text_member(json, "role", "user");
    belay__json_key(json, "content");
    belay__json_open_array(json);
    for (; n < count && belay__request_role_is(&messages[n], "tool"); n++) {
        write_tool_result(json, &messages[n]);
    }
    if (n < count && belay__request_role_is(&messages[n], "user")) {
        write_blocks(json, &messages[n]);
        n++;
    }
    belay__json_close_array(json);
    belay__json_close_object(json);
    return n;
}

static void
write_message(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    belay__json_open_object(json);
    belay__request_text_member(json, "role", message->role);
    belay__json_key(json, "content");
    if (message->part_count == 0 && message->tool_call_count == 0) {
        belay__json_string(json, message->content);
    } else {
        belay__json_open_array(json);
        write_blocks(json, message);
        write_tool_uses(json, message);
        belay__json_close_array(json);
    }
    belay__json_close_object(json);
}

static void
write_messages(
    struct belay__request_writer *request, const struct belay_llm_chat *chat)
{
    struct belay__json_writer *json = &request->json;
    size_t i = 0;

    if (chat->message_count == 0) {
        return;
    }
    belay__request_key(request, "messages");
    belay__json_open_array(json);
    while (i < chat->message_count) {
        const struct belay_llm_message *message = &chat->messages[i];

        if (belay__request_role_is(message, "tool")) {
            i += write_results(json, message, chat->message_count - i);
            continue;
        }
        if (!is_system(message)) {
            write_message(json, message);
        }
        i++;
    }
    belay__json_close_array(json);
}

static bool
has_system_message(const struct belay_llm_chat *chat)
{
    for (size_t i = 0; i < chat->message_count; i++) {
        if (is_system(&chat->messages[i])) {
            return true;
        }
    }
    return false;
}

static void
write_system(
    struct belay__request_writer *request, const struct belay_llm_chat *chat)
{
    struct belay__json_writer *json = &request->json;

    if (!has_system_message(chat)) {
        if (chat->system.len > 0) {
            belay__request_key(request, "system");
            belay__json_string(json, chat->system);
        }
        return;
    }
    belay__request_key(request, "system");
    belay__json_open_array(json);
    if (chat->system.len > 0) {
        write_text_block(json, chat->system);
    }
    for (size_t i = 0; i < chat->message_count; i++) {
        if (is_system(&chat->messages[i])) {
            write_blocks(json, &chat->messages[i]);
        }
    }
    belay__json_close_array(json);
}

static void
write_tools(
    struct belay__request_writer *request, const struct belay_llm_chat *chat)
{
    static const struct belay_slice any = {"{\"type\":\"object\"}", 17};
    struct belay__json_writer *json = &request->json;

    belay__request_key(request, "tools");
    belay__json_open_array(json);
    for (size_t i = 0; i < chat->tool_count; i++) {
        const struct belay_llm_tool *tool = &chat->tools[i];

        belay__json_open_object(json);
        belay__request_text_member(json, "name", tool->name);
        if (tool->description.len > 0) {
            belay__request_slice_member(json, "description", tool->description);
        }
        belay__json_key(json, "input_schema");
        belay__request_schema(
            json, tool->parameters.len > 0 ? tool->parameters : any);
        if (tool->strict) {
            belay__json_key(json, "strict");
            belay__json_bool(json, true);
        }
        belay__json_close_object(json);
    }
    belay__json_close_array(json);
}

static void
write_tool_choice(
    struct belay__request_writer *request, const struct belay_llm_chat *chat)
{
    static const char *const words[] = {
        [BELAY_LLM_TOOL_AUTO] = "auto",
        [BELAY_LLM_TOOL_NONE] = "none",
        [BELAY_LLM_TOOL_ANY] = "any",
        [BELAY_LLM_TOOL_NAMED] = "tool",
    };
    struct belay__json_writer *json = &request->json;

    belay__request_key(request, "tool_choice");
    belay__json_open_object(json);
    belay__request_text_member(json, "type", words[chat->tool_choice]);
    if (chat->tool_choice == BELAY_LLM_TOOL_NAMED) {
        belay__request_text_member(json, "name", chat->tool_name);
    }
    belay__json_close_object(json);
}

static void
write_request(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, struct belay__wish wish)
{
    struct belay__json_writer *json = &request->json;

    belay__request_model(request, chat);
    write_system(request, chat);
    write_messages(request, chat);
    if (chat->max_tokens > 0) {
        belay__request_key(request, "max_tokens");
        belay__json_int(json, chat->max_tokens);
    }
    if (chat->temperature != NULL) {
        belay__request_number(request, "temperature", *chat->temperature);
    }
    belay__request_stop(request, "stop_sequences", chat);
    if (chat->tool_count > 0) {
        write_tools(request, chat);
    }
    if (chat->tool_choice != BELAY_LLM_TOOL_DEFAULT) {
        write_tool_choice(request, chat);
    }
    if (wish.stream) {
        belay__request_key(request, "stream");
        belay__json_bool(json, true);
    }
}

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
    if (reason->type == BELAY__JSON_STRING) {
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
            belay__answer_tool(answer, choice, place, NULL), &values[2]);
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

/* Some servers send the whole input with the start of its block. */
static void
read_block_start(
    struct belay__answer *answer, int64_t place, struct belay_slice block)
{
    struct belay__json_value values[BLOCK_MEMBERS];
    struct belay__choice *choice = belay__answer_choice(answer, 0);
    struct belay__tool *tool;

    read_block_members(block, values);
    tool = read_block(answer, choice, place, values);
    if (tool != NULL && values[INPUT].type == BELAY__JSON_OBJECT
        && !is_empty_object(&values[INPUT])) {
        belay__answer_raw_arguments(answer, choice, tool, values[INPUT].raw);
    }
}

/* A call without arguments has none in its deltas either. */
static void
read_block_stop(struct belay__answer *answer, int64_t place)
{
    static const struct belay_slice none = {"{}", 2};
    struct belay__choice *choice = belay__answer_choice(answer, 0);

    for (size_t i = 0; choice != NULL && i < choice->tool_count; i++) {
        struct belay__tool *tool = &choice->tools[i];

        if (tool->index == place
            && belay__llm_text_slice(tool->arguments.text).len == 0) {
            belay__answer_raw_arguments(answer, choice, tool, none);
        }
    }
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
    .check_fn = check,
    .write_fn = write_request,
    .read_fn = read_answer,
    .event_fn = read_event,
};
