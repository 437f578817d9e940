/* messages_request.c - what Anthropic's Messages is asked.
 *
 * The results of tools go to the server as blocks of a user's message, ahead
 * of what the user says next to them. What a system says belongs in front of
 * it all.
 */
#include "llm/provider/messages.h"

static bool
is_system(const struct belay_llm_message *message)
{
    return belay__request_role_is(message, "system")
           || belay__request_role_is(message, "developer");
}

static const char *
check_message(const struct belay_llm_message *message)
{
    return is_system(message) && message->part_count > 0
               ? "the Messages format has no system message in parts"
               : NULL;
}

const char *
belay__messages_check(const struct belay_llm_chat *chat)
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

/* Here arguments are an object, and what a model has written need not be one.
 * It is sent inside one then, as Anthropic's documentation advises (L80).
 */
static void
write_input(struct belay__json_writer *json, struct belay_slice arguments)
{
    if (arguments.len == 0 || belay__request_is_object(arguments)) {
        belay__request_schema(json, arguments);
        return;
    }
    belay__json_open_object(json);
    belay__request_slice_member(json, "INVALID_JSON", arguments);
    belay__json_close_object(json);
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
        write_input(json, call->arguments);
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

/* An answer that was filtered, or cut before its text began. Servers say such
 * things, but take them from nobody.
 */
static bool
says_nothing(const struct belay_llm_message *message)
{
    return belay__request_role_is(message, "assistant")
           && message->content.len == 0 && message->part_count == 0
           && message->tool_call_count == 0;
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
        if (!is_system(message) && !says_nothing(message)) {
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
write_tool(struct belay__json_writer *json, const struct belay_llm_tool *tool)
{
    static const struct belay_slice any = {"{\"type\":\"object\"}", 17};

    belay__request_tool_members(json, tool, "input_schema", any);
    if (tool->strict) {
        belay__json_key(json, "strict");
        belay__json_bool(json, true);
    }
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

void
belay__messages_write(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, struct belay__wish wish)
{
    belay__request_model(request, chat);
    write_system(request, chat);
    write_messages(request, chat);
    belay__request_max_tokens(request, "max_tokens", chat);
    belay__request_temperature(request, chat);
    belay__request_stop(request, "stop_sequences", chat);
    belay__request_tools(request, chat, write_tool);
    if (chat->tool_choice != BELAY_LLM_TOOL_DEFAULT) {
        write_tool_choice(request, chat);
    }
    belay__request_stream(request, wish.stream);
}
