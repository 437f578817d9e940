/* responses.c - OpenAI's Responses.
 *
 * An answer is a list of items; together they make one choice. A stream sends
 * deltas of items, and at its end the whole answer once more, of which only
 * the state and the usage are read, unless there were no deltas at all. The
 * calls of tools are told apart by the places of their items.
 */
#include "llm/json/text.h"
#include "llm/provider/provider.h"

#include <string.h>

/* ---- requests ---- */

static const char *
check(const struct belay_llm_chat *chat)
{
    const char *why = belay__request_check(chat, "input");

    if (why != NULL) {
        return why;
    }
    if (chat->seed != NULL) {
        return "the Responses format has no seed";
    }
    if (chat->stop_count > 0) {
        return "the Responses format has no stop sequences";
    }
    return chat->choices > 1 ? "the Responses format has one choice only"
                             : NULL;
}

static void
write_part(struct belay__json_writer *json,
    const struct belay_llm_message *message, const struct belay_llm_part *part)
{
    const bool said = belay__request_role_is(message, "assistant");

    belay__json_open_object(json);
    if (part->type == BELAY_LLM_PART_TEXT) {
        belay__request_text_member(
            json, "type", said ? "output_text" : "input_text");
        belay__request_slice_member(json, "text", part->data);
    } else {
        belay__request_text_member(json, "type", "input_image");
        belay__json_key(json, "image_url");
        if (part->type == BELAY_LLM_PART_IMAGE) {
            belay__request_data_url(json, part);
        } else {
            belay__json_string(json, part->data);
        }
    }
    belay__json_close_object(json);
}

static void
write_content(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    if (message->part_count == 0) {
        belay__json_string(json, message->content);
        return;
    }
    belay__json_open_array(json);
    for (size_t i = 0; i < message->part_count; i++) {
        write_part(json, message, &message->parts[i]);
    }
    belay__json_close_array(json);
}

static void
write_tool_calls(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct belay_llm_tool_call *call = &message->tool_calls[i];

        belay__json_open_object(json);
        belay__request_text_member(json, "type", "function_call");
        belay__request_slice_member(json, "call_id", call->id);
        belay__request_slice_member(json, "name", call->name);
        belay__request_slice_member(json, "arguments", call->arguments);
        belay__json_close_object(json);
    }
}

static void
write_message(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    if (belay__request_role_is(message, "tool")) {
        belay__json_open_object(json);
        belay__request_text_member(json, "type", "function_call_output");
        belay__request_slice_member(json, "call_id", message->tool_call_id);
        belay__json_key(json, "output");
        write_content(json, message);
        belay__json_close_object(json);
        return;
    }
    if (message->content.len > 0 || message->part_count > 0
        || message->tool_call_count == 0) {
        belay__json_open_object(json);
        belay__request_text_member(json, "role", message->role);
        belay__json_key(json, "content");
        write_content(json, message);
        belay__json_close_object(json);
    }
    write_tool_calls(json, message);
}

static void
write_tool(struct belay__json_writer *json, const struct belay_llm_tool *tool)
{
    static const struct belay_slice none = {NULL, 0};

    belay__request_text_member(json, "type", "function");
    belay__request_tool_members(json, tool, "parameters", none);
    /* Here, unlike in Chat, a server's default is true. */
    belay__json_key(json, "strict");
    belay__json_bool(json, tool->strict);
}

static void
write_request(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, struct belay__wish wish)
{
    struct belay__json_writer *json = &request->json;

    belay__request_model(request, chat);
    if (chat->system.len > 0) {
        belay__request_key(request, "instructions");
        belay__json_string(json, chat->system);
    }
    if (chat->message_count > 0) {
        belay__request_key(request, "input");
        belay__json_open_array(json);
        for (size_t i = 0; i < chat->message_count; i++) {
            write_message(json, &chat->messages[i]);
        }
        belay__json_close_array(json);
    }
    belay__request_temperature(request, chat);
    belay__request_max_tokens(request, "max_output_tokens", chat);
    belay__request_tools(request, chat, write_tool);
    belay__request_function_choice(request, chat, false);
    belay__request_stream(request, wish.stream);
}

/* ---- items ---- */

enum item_member {
    TYPE,
    CONTENT,
    CALL_ID,
    NAME,
    ARGUMENTS,
    SUMMARY,
    ITEM_MEMBERS,
};

static void
read_item_members(
    struct belay_slice item, struct belay__json_value ret[ITEM_MEMBERS])
{
    static const char *const names[ITEM_MEMBERS] = {
        "type", "content", "call_id", "name", "arguments", "summary"};

    belay__provider_members(item, names, ITEM_MEMBERS, ret);
}

static bool
is_type(const struct belay__json_value *type, const char *text)
{
    return type->type == BELAY__JSON_STRING
           && belay__json_key_equals(type, text, strlen(text));
}

/* The parts of a message, or of a summary. */
static void
read_parts(struct belay__answer *answer, struct belay__choice *choice,
    struct belay_slice parts)
{
    static const char *const names[] = {"type", "text", "refusal"};
    struct belay__json json;
    struct belay__json_value part;
    struct belay__json_value values[3];

    belay__json_open(&json, parts);
    if (!belay__json_enter_array(&json)) {
        return;
    }
    while (belay__json_next_element(&json)) {
        if (!belay__json_take(&json, &part)) {
            continue;
        }
        belay__provider_members(part.raw, names, 3, values);
        if (is_type(&values[0], "refusal")) {
            belay__answer_text(answer, choice, BELAY__REFUSAL, &values[2]);
        } else if (is_type(&values[0], "output_text")) {
            belay__answer_text(answer, choice, BELAY__TEXT, &values[1]);
        } else if (is_type(&values[0], "summary_text")
                   || is_type(&values[0], "reasoning_text")) {
            belay__answer_text(answer, choice, BELAY__REASONING, &values[1]);
        }
    }
}

/* A call's item, at its beginning and at its end. Its arguments count if no
 * piece of them has come.
 */
static void
read_call(struct belay__answer *answer, struct belay__choice *choice,
    int64_t place, const struct belay__json_value values[ITEM_MEMBERS])
{
    struct belay__tool *tool =
        belay__answer_tool(answer, choice, place, &values[CALL_ID]);

    belay__answer_tool_name(answer, choice, tool, &values[NAME]);
    if (tool != NULL && belay__llm_text_slice(tool->arguments.text).len == 0) {
        belay__answer_arguments(answer, choice, tool, &values[ARGUMENTS]);
    }
}

static void
read_item(struct belay__answer *answer, struct belay__choice *choice,
    int64_t place, struct belay_slice item)
{
    struct belay__json_value values[ITEM_MEMBERS];

    read_item_members(item, values);
    if (is_type(&values[TYPE], "message")) {
        read_parts(answer, choice, values[CONTENT].raw);
    } else if (is_type(&values[TYPE], "reasoning")) {
        read_parts(answer, choice,
            values[CONTENT].type == BELAY__JSON_ARRAY ? values[CONTENT].raw
                                                      : values[SUMMARY].raw);
    } else if (is_type(&values[TYPE], "function_call")) {
        read_call(answer, choice, place, values);
    }
}

static bool
read_output(struct belay__answer *answer, struct belay__choice *choice,
    const struct belay__json_value *output)
{
    struct belay__json json;
    struct belay__json_value item;

    belay__json_open(&json, output->raw);
    if (output->type != BELAY__JSON_ARRAY || !belay__json_enter_array(&json)) {
        return false;
    }
    for (int64_t i = 0; belay__json_next_element(&json); i++) {
        if (belay__json_take(&json, &item)) {
            read_item(answer, choice, i, item.raw);
        }
    }
    return true;
}

/* ---- answers ---- */

enum answer_member {
    STATUS,
    OUTPUT,
    INCOMPLETE,
    USAGE,
    MODEL,
    ERROR,
    TIER,
    ANSWER_MEMBERS,
};

static void
read_end(struct belay__answer *answer, struct belay__choice *choice,
    const struct belay__json_value values[ANSWER_MEMBERS])
{
    static const char *const names[] = {"reason"};
    struct belay__json_value reason;
    enum belay_llm_end end = BELAY_LLM_END_UNKNOWN;

    /* A status is optional; an answer without one came to its end. */
    if (is_type(&values[STATUS], "completed")
        || (!belay__provider_is_reason(&values[STATUS])
            && values[INCOMPLETE].type != BELAY__JSON_OBJECT)) {
        end = choice != NULL && choice->tool_count > 0 ? BELAY_LLM_END_TOOL
                                                       : BELAY_LLM_END_STOP;
        belay__answer_end(answer, choice, end, &values[STATUS]);
        return;
    }
    belay__provider_members(values[INCOMPLETE].raw, names, 1, &reason);
    if (is_type(&reason, "max_output_tokens")) {
        end = BELAY_LLM_END_LENGTH;
    } else if (is_type(&reason, "content_filter")) {
        end = BELAY_LLM_END_FILTER;
    }
    belay__answer_end(answer, choice, end,
        belay__provider_is_reason(&reason) ? &reason : &values[STATUS]);
}

/* A whole answer, in place of a stream or at its end, where the output may be
 * left out, since it has been told, but not that it has ended. False if it is
 * none.
 */
static bool
read_whole(struct belay__answer *answer, struct belay_slice body)
{
    static const char *const names[ANSWER_MEMBERS] = {"status", "output",
        "incomplete_details", "usage", "model", "error", "service_tier"};
    struct belay__json_value values[ANSWER_MEMBERS];
    const bool fresh = answer->choice_count == 0;
    struct belay__choice *choice;

    belay__provider_members(body, names, ANSWER_MEMBERS, values);
    belay__answer_model(answer, &values[MODEL]);
    belay__answer_tier(answer, &values[TIER]);
    belay__answer_usage(answer, values[USAGE].raw);
    if (values[ERROR].type == BELAY__JSON_OBJECT
        || values[ERROR].type == BELAY__JSON_STRING
        || is_type(&values[STATUS], "failed")) {
        belay__answer_error(answer, body);
        return true;
    }
    if (values[OUTPUT].type != BELAY__JSON_ARRAY
        && (fresh
            || !(is_type(&values[STATUS], "completed")
                 || is_type(&values[STATUS], "incomplete")))) {
        return false;
    }
    choice = belay__answer_choice(answer, 0);
    if (fresh) {
        (void)read_output(answer, choice, &values[OUTPUT]);
    }
    read_end(answer, choice, values);
    return true;
}

static void
read_answer(struct belay__answer *answer, struct belay_slice body)
{
    if (!read_whole(answer, body) && answer->code == 0) {
        answer->code = BELAY_EREPLY;
    }
    answer->finished = true;
}

/* ---- events ---- */

enum event_member {
    EVENT_TYPE,
    DELTA,
    OUTPUT_INDEX,
    ITEM,
    RESPONSE,
    EVENT_MEMBERS,
};

static bool
ends_stream(const struct belay__json_value *type)
{
    return is_type(type, "response.completed")
           || is_type(type, "response.incomplete")
           || is_type(type, "response.failed");
}

static void
read_item_event(struct belay__answer *answer,
    const struct belay__json_value values[EVENT_MEMBERS])
{
    struct belay__json_value item[ITEM_MEMBERS];

    read_item_members(values[ITEM].raw, item);
    if (is_type(&item[TYPE], "function_call")) {
        read_call(answer, belay__answer_choice(answer, 0),
            belay__provider_index(&values[OUTPUT_INDEX], -1), item);
    }
}

static void
read_delta(struct belay__answer *answer,
    const struct belay__json_value values[EVENT_MEMBERS])
{
    const struct belay__json_value *type = &values[EVENT_TYPE];
    const struct belay__json_value *delta = &values[DELTA];
    struct belay__choice *choice;

    if (delta->type != BELAY__JSON_STRING) {
        return;
    }
    if (is_type(type, "response.output_text.delta")) {
        choice = belay__answer_choice(answer, 0);
        belay__answer_text(answer, choice, BELAY__TEXT, delta);
    } else if (is_type(type, "response.function_call_arguments.delta")) {
        choice = belay__answer_choice(answer, 0);
        belay__answer_arguments(answer, choice,
            belay__answer_tool(answer, choice,
                belay__provider_index(&values[OUTPUT_INDEX], -1), NULL),
            delta);
    } else if (is_type(type, "response.refusal.delta")) {
        choice = belay__answer_choice(answer, 0);
        belay__answer_text(answer, choice, BELAY__REFUSAL, delta);
    } else if (is_type(type, "response.reasoning_summary_text.delta")
               || is_type(type, "response.reasoning_text.delta")) {
        choice = belay__answer_choice(answer, 0);
        belay__answer_text(answer, choice, BELAY__REASONING, delta);
    }
}

static void
read_event(struct belay__answer *answer, const struct belay__sse_event *event)
{
    static const char *const names[EVENT_MEMBERS] = {
        "type", "delta", "output_index", "item", "response"};
    struct belay__json_value values[EVENT_MEMBERS];

    belay__provider_members(event->data, names, EVENT_MEMBERS, values);
    if (is_type(&values[EVENT_TYPE], "error")) {
        belay__answer_error(answer, event->data);
    } else if (values[DELTA].type != BELAY__JSON_NONE) {
        read_delta(answer, values);
    } else if (ends_stream(&values[EVENT_TYPE])) {
        answer->finished = read_whole(answer, values[RESPONSE].raw);
    } else if (is_type(&values[EVENT_TYPE], "response.output_item.added")
               || is_type(&values[EVENT_TYPE], "response.output_item.done")) {
        read_item_event(answer, values);
    }
}

const struct belay__provider belay__responses_provider = {
    .name = "responses",
    .path = "/responses",
    .auth = BELAY__AUTH_BEARER,
    .request_id = "x-request-id",
    .done_word = true, /* some servers send it here too */
    .check_fn = check,
    .write_fn = write_request,
    .read_fn = read_answer,
    .event_fn = read_event,
};
