/* chat.c - OpenAI's Chat Completions, and whoever speaks it.
 *
 * A chunk of a stream is an answer with "delta" in the place of "message", so
 * one reader reads both. Of the old Completions, "text" is read too.
 */
#include "llm/json/text.h"
#include "llm/provider/provider.h"

/* ---- requests ---- */

static const char *
check(const struct belay_llm_chat *chat)
{
    return belay__request_check(chat, "messages");
}

static void
write_part(struct belay__json_writer *json, const struct belay_llm_part *part)
{
    belay__json_open_object(json);
    if (part->type == BELAY_LLM_PART_TEXT) {
        belay__request_text_member(json, "type", "text");
        belay__request_slice_member(json, "text", part->data);
    } else {
        belay__request_text_member(json, "type", "image_url");
        belay__json_key(json, "image_url");
        belay__json_open_object(json);
        belay__json_key(json, "url");
        if (part->type == BELAY_LLM_PART_IMAGE) {
            belay__request_data_url(json, part);
        } else {
            belay__json_string(json, part->data);
        }
        belay__json_close_object(json);
    }
    belay__json_close_object(json);
}

static void
write_content(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    belay__json_key(json, "content");
    if (message->part_count == 0) {
        if (message->tool_call_count > 0 && message->content.len == 0) {
            belay__json_null(json);
        } else {
            belay__json_string(json, message->content);
        }
        return;
    }
    belay__json_open_array(json);
    for (size_t i = 0; i < message->part_count; i++) {
        write_part(json, &message->parts[i]);
    }
    belay__json_close_array(json);
}

static void
write_tool_calls(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    belay__json_key(json, "tool_calls");
    belay__json_open_array(json);
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct belay_llm_tool_call *call = &message->tool_calls[i];

        belay__json_open_object(json);
        belay__request_slice_member(json, "id", call->id);
        belay__request_text_member(json, "type", "function");
        belay__json_key(json, "function");
        belay__json_open_object(json);
        belay__request_slice_member(json, "name", call->name);
        belay__request_slice_member(json, "arguments", call->arguments);
        belay__json_close_object(json);
        belay__json_close_object(json);
    }
    belay__json_close_array(json);
}

static void
write_message(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    belay__json_open_object(json);
    belay__request_text_member(json, "role", message->role);
    write_content(json, message);
    if (message->tool_call_count > 0) {
        write_tool_calls(json, message);
    }
    if (belay__request_role_is(message, "tool")) {
        belay__request_slice_member(
            json, "tool_call_id", message->tool_call_id);
    }
    belay__json_close_object(json);
}

static void
write_messages(
    struct belay__request_writer *request, const struct belay_llm_chat *chat)
{
    struct belay__json_writer *json = &request->json;

    if (chat->message_count == 0) {
        return;
    }
    belay__request_key(request, "messages");
    belay__json_open_array(json);
    if (chat->system.len > 0) {
        belay__json_open_object(json);
        belay__request_text_member(json, "role", "system");
        belay__request_slice_member(json, "content", chat->system);
        belay__json_close_object(json);
    }
    for (size_t i = 0; i < chat->message_count; i++) {
        write_message(json, &chat->messages[i]);
    }
    belay__json_close_array(json);
}

static void
write_tool(struct belay__json_writer *json, const struct belay_llm_tool *tool)
{
    static const struct belay_slice none = {NULL, 0};

    belay__request_text_member(json, "type", "function");
    belay__json_key(json, "function");
    belay__json_open_object(json);
    belay__request_tool_members(json, tool, "parameters", none);
    if (tool->strict) {
        belay__json_key(json, "strict");
        belay__json_bool(json, true);
    }
    belay__json_close_object(json);
}

static void
write_request(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, struct belay__wish wish)
{
    struct belay__json_writer *json = &request->json;

    belay__request_model(request, chat);
    write_messages(request, chat);
    belay__request_temperature(request, chat);
    belay__request_max_tokens(request,
        chat->old_max_tokens ? "max_tokens" : "max_completion_tokens", chat);
    if (chat->choices > 1) {
        belay__request_key(request, "n");
        belay__json_int(json, chat->choices);
    }
    if (chat->seed != NULL) {
        belay__request_key(request, "seed");
        belay__json_int(json, *chat->seed);
    }
    belay__request_stop(request, "stop", chat);
    belay__request_tools(request, chat, write_tool);
    belay__request_function_choice(request, chat, true);
    belay__request_stream(request, wish.stream);
    if (wish.stream && wish.usage) {
        belay__request_key(request, "stream_options");
        belay__json_open_object(json);
        belay__json_key(json, "include_usage");
        belay__json_bool(json, true);
        belay__json_close_object(json);
    }
}

/* ---- answers ---- */

/* Does the delta begin a call? Servers that tell neither index nor id send one
 * after the other, each with its name first (L7). Those that told one of them
 * may say the name again with each delta.
 */
static bool
begins_call(const struct belay__choice *choice, int64_t index,
    const struct belay__json_value *id, const struct belay__json_value *name)
{
    const struct belay__tool *last =
        choice->tool_count > 0 ? &choice->tools[choice->tool_count - 1] : NULL;

    return last != NULL && last->name != NULL && last->id == NULL
           && last->index < 0 && index < 0 && !belay__answer_says(id)
           && belay__answer_says(name);
}

/* `place` is that in a whole message, where each call stands once; -1: it is a
 * delta.
 */
static void
read_tool_call(struct belay__answer *answer, struct belay__choice *choice,
    int64_t place, struct belay_slice raw)
{
    static const char *const names[] = {"index", "id", "function"};
    static const char *const function_names[] = {"name", "arguments"};
    struct belay__json_value values[3];
    struct belay__json_value function[2];
    const struct belay__json_value *id = &values[1];
    struct belay__tool *tool;
    int64_t index;

    belay__provider_members(raw, names, 3, values);
    belay__provider_members(values[2].raw, function_names, 2, function);
    index = place >= 0 ? place : belay__provider_index(&values[0], -1);
    tool = place >= 0 || begins_call(choice, index, id, &function[0])
               ? belay__answer_new_tool(answer, choice, index, id)
               : belay__answer_tool(answer, choice, index, id);
    belay__answer_tool_name(answer, choice, tool, &function[0]);
    belay__answer_arguments(answer, choice, tool, &function[1]);
}

static void
read_tool_calls(struct belay__answer *answer, struct belay__choice *choice,
    bool whole, struct belay_slice raw)
{
    struct belay__json json;
    struct belay__json_value call;

    belay__json_open(&json, raw);
    if (choice == NULL || !belay__json_enter_array(&json)) {
        return;
    }
    for (int64_t i = 0; belay__json_next_element(&json); i++) {
        if (belay__json_take(&json, &call)) {
            read_tool_call(answer, choice, whole ? i : -1, call.raw);
        }
    }
}

/* Some servers send a content in parts; of these, the texts. */
static void
read_content(struct belay__answer *answer, struct belay__choice *choice,
    const struct belay__json_value *content)
{
    static const char *const names[] = {"text"};
    struct belay__json json;
    struct belay__json_value part;
    struct belay__json_value text;

    if (content->type != BELAY__JSON_ARRAY) {
        belay__answer_text(answer, choice, BELAY__TEXT, content);
        return;
    }
    belay__json_open(&json, content->raw);
    (void)belay__json_enter_array(&json);
    while (belay__json_next_element(&json)) {
        if (belay__json_take(&json, &part)) {
            belay__provider_members(part.raw, names, 1, &text);
            belay__answer_text(answer, choice, BELAY__TEXT, &text);
        }
    }
}

static enum belay_llm_end
end_of(const struct belay__json_value *finish)
{
    if (belay__json_key_is(finish, "stop")) {
        return BELAY_LLM_END_STOP;
    }
    if (belay__json_key_is(finish, "length")) {
        return BELAY_LLM_END_LENGTH;
    }
    if (belay__json_key_is(finish, "tool_calls")
        || belay__json_key_is(finish, "function_call")) {
        return BELAY_LLM_END_TOOL;
    }
    return belay__json_key_is(finish, "content_filter") ? BELAY_LLM_END_FILTER
                                                        : BELAY_LLM_END_UNKNOWN;
}

enum member {
    CONTENT,
    REFUSAL,
    REASONING,
    REASONING_CONTENT,
    TOOL_CALLS,
    MEMBERS,
};

/* A message, or a piece of one. */
struct said {
    struct belay__json_value members[MEMBERS];
    bool is_there;
};

/* What a choice holds; read first, used when its index is known. */
struct choice_values {
    struct belay__json_value index;
    struct belay__json_value finish;
    struct belay__json_value text; /* the old Completions' */
    struct said message;
    struct said delta;
};

static void
read_members(struct belay__json *json, struct said *said)
{
    struct belay__json_value key;

    if (!belay__json_enter_object(json)) {
        return;
    }
    said->is_there = true;
    while (belay__json_next_member(json, &key)) {
        struct belay__json_value *to = NULL;

        if (belay__json_key_is(&key, "content")) {
            to = &said->members[CONTENT];
        } else if (belay__json_key_is(&key, "refusal")) {
            to = &said->members[REFUSAL];
        } else if (belay__json_key_is(&key, "tool_calls")) {
            to = &said->members[TOOL_CALLS];
        } else if (belay__json_key_is(&key, "reasoning_content")) {
            to = &said->members[REASONING_CONTENT];
        } else if (belay__json_key_is(&key, "reasoning")) {
            to = &said->members[REASONING];
        }
        if (to != NULL) {
            (void)belay__json_take(json, to);
        }
    }
}

static void
read_values(struct belay__json *json, struct choice_values *values)
{
    struct belay__json_value key;

    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "delta")) {
            read_members(json, &values->delta);
        } else if (belay__json_key_is(&key, "message")) {
            read_members(json, &values->message);
        } else if (belay__json_key_is(&key, "index")) {
            (void)belay__json_take(json, &values->index);
        } else if (belay__json_key_is(&key, "finish_reason")) {
            (void)belay__json_take(json, &values->finish);
        } else if (belay__json_key_is(&key, "text")) {
            (void)belay__json_take(json, &values->text);
        }
    }
}

static bool
is_something(const struct belay__json_value *member)
{
    return belay__answer_says(member)
           || (member->type == BELAY__JSON_ARRAY && member->raw.len > 2);
}

static bool
says_something(const struct said *said)
{
    for (int i = 0; i < MEMBERS; i++) {
        if (is_something(&said->members[i])) {
            return true;
        }
    }
    return false;
}

static bool
is_fresh(const struct belay__choice *choice)
{
    return choice->tool_count == 0
           && belay__stretch_slice(choice, BELAY__TEXT).len == 0
           && belay__stretch_slice(choice, BELAY__REFUSAL).len == 0
           && belay__stretch_slice(choice, BELAY__REASONING).len == 0;
}

/* Some servers send both: an empty delta with the whole message, or what there
 * is so far with each delta. `fresh`: nothing has come before.
 */
static const struct said *
what_counts(const struct choice_values *values, bool fresh, bool whole)
{
    const struct said *usual = whole ? &values->message : &values->delta;
    const struct said *other = whole ? &values->delta : &values->message;

    if (!other->is_there || says_something(usual)) {
        return usual;
    }
    return !usual->is_there || fresh ? other : usual;
}

static void
read_said(struct belay__answer *answer, struct belay__choice *choice,
    const struct choice_values *values, bool whole)
{
    const struct said *said = what_counts(values, is_fresh(choice), whole);
    const struct belay__json_value *members = said->members;
    const bool has_content = is_something(&members[CONTENT]);
    /* A message where a delta was to be stands alone. */
    const bool all =
        whole || (said == &values->message && values->delta.is_there);

    /* Both names are in use for the same thing, some servers send both. */
    belay__answer_text(answer, choice, BELAY__REASONING,
        members[REASONING_CONTENT].type == BELAY__JSON_STRING
            ? &members[REASONING_CONTENT]
            : &members[REASONING]);
    choice->has_content |= has_content;
    read_content(answer, choice,
        choice->has_content ? &members[CONTENT] : &values->text);
    belay__answer_text(answer, choice, BELAY__REFUSAL, &members[REFUSAL]);
    read_tool_calls(answer, choice, all, members[TOOL_CALLS].raw);
}

/* True if it is one. */
static bool
read_choice(struct belay__answer *answer, struct belay__json *json,
    int64_t position, bool whole)
{
    struct choice_values values = {.message = {.is_there = false}};
    struct belay__choice *choice;
    bool is_there;
    bool ended;

    if (!belay__json_enter_object(json)) {
        return false;
    }
    read_values(json, &values);
    ended = belay__provider_is_reason(&values.finish);
    is_there = values.message.is_there || values.delta.is_there
               || values.text.type != BELAY__JSON_NONE;
    if (!is_there && !ended) {
        return false;
    }
    choice = belay__answer_choice(
        answer, belay__provider_index(&values.index, position));
    if (choice != NULL) {
        read_said(answer, choice, &values, whole);
    }
    if (ended) {
        belay__answer_end(
            answer, choice, end_of(&values.finish), &values.finish);
    }
    return is_there;
}

static size_t
read_choices(struct belay__answer *answer, struct belay__json *json, bool whole)
{
    size_t count = 0;

    if (!belay__json_enter_array(json)) {
        return 0;
    }
    for (int64_t i = 0; belay__json_next_element(json); i++) {
        count += read_choice(answer, json, i, whole);
    }
    return count;
}

/* A whole answer, or a chunk of a stream. Returns how many choices there were.
 */
static size_t
read_root(struct belay__answer *answer, struct belay_slice body, bool whole)
{
    struct belay__json json;
    struct belay__json_value key;
    struct belay__json_value value;
    size_t count = 0;

    belay__json_open(&json, body);
    if (!belay__json_enter_object(&json)) {
        return 0;
    }
    while (belay__json_next_member(&json, &key)) {
        if (belay__json_key_is(&key, "choices")) {
            count = read_choices(answer, &json, whole);
        } else if (belay__json_key_is(&key, "usage")
                   && belay__json_take(&json, &value)) {
            belay__answer_usage(answer, value.raw);
        } else if (belay__json_key_is(&key, "model")
                   && belay__json_take(&json, &value)) {
            belay__answer_model(answer, &value);
        } else if (belay__json_key_is(&key, "service_tier")
                   && belay__json_take(&json, &value)) {
            belay__answer_tier(answer, &value);
        } else if (belay__json_key_is(&key, "error")
                   && belay__json_take(&json, &value)
                   && (value.type == BELAY__JSON_OBJECT
                       || value.type == BELAY__JSON_STRING)) {
            belay__answer_error(answer, body);
        }
    }
    return count;
}

static void
read_answer(struct belay__answer *answer, struct belay_slice body)
{
    if (read_root(answer, body, true) == 0 && answer->code == 0) {
        answer->code = BELAY_EREPLY;
    }
    answer->finished = true;
}

static void
read_event(struct belay__answer *answer, const struct belay__sse_event *event)
{
    (void)read_root(answer, event->data, false);
}

const struct belay__provider belay__chat_provider = {
    .name = "chat",
    .path = "/chat/completions",
    .auth = BELAY__AUTH_BEARER,
    .request_id = "x-request-id",
    .done_word = true,
    .ends_with_choices = true,
    .check_fn = check,
    .write_fn = write_request,
    .read_fn = read_answer,
    .event_fn = read_event,
};
