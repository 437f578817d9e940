/* write.c - a session as JSON.
 *
 * The members stand in one order, and what is not there is not written, so
 * that equal sessions are equal texts.
 */
#include "llm/session/text.h"

#include "llm/json/write.h"
#include "llm/provider/request.h"
#include "llm/text.h"

static void
write_int(struct belay__json_writer *json, const char *key, int64_t value)
{
    belay__json_key(json, key);
    belay__json_int(json, value);
}

static void
write_true(struct belay__json_writer *json, const char *key, bool value)
{
    if (value) {
        belay__json_key(json, key);
        belay__json_bool(json, true);
    }
}

/* ---- messages ---- */

static void
write_part(struct belay__json_writer *json, const struct belay_llm_part *part)
{
    static const char *const types[] = {
        [BELAY_LLM_PART_TEXT] = "text",
        [BELAY_LLM_PART_IMAGE] = "image",
        [BELAY_LLM_PART_IMAGE_URL] = "image_url",
    };

    belay__json_open_object(json);
    belay__request_text_member(json, "type", types[part->type]);
    if (part->type == BELAY_LLM_PART_IMAGE) {
        belay__request_text_member(json, "media_type", part->media_type);
        belay__json_key(json, "data");
        belay__request_base64(json, part->data);
    } else {
        belay__request_slice_member(json, "text", part->data);
    }
    belay__json_close_object(json);
}

static void
write_parts(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    belay__json_key(json, "parts");
    belay__json_open_array(json);
    for (size_t i = 0; i < message->part_count; i++) {
        write_part(json, &message->parts[i]);
    }
    belay__json_close_array(json);
}

static void
write_calls(
    struct belay__json_writer *json, const struct belay_llm_message *message)
{
    belay__json_key(json, "tool_calls");
    belay__json_open_array(json);
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct belay_llm_tool_call *call = &message->tool_calls[i];

        belay__json_open_object(json);
        belay__request_slice_member(json, "id", call->id);
        belay__request_slice_member(json, "name", call->name);
        belay__request_slice_member(json, "arguments", call->arguments);
        belay__json_close_object(json);
    }
    belay__json_close_array(json);
}

static void
write_said(struct belay__json_writer *json, const struct belay__said *said)
{
    const struct belay_llm_message *message = &said->message;

    belay__json_open_object(json);
    belay__request_text_member(json, "role", message->role);
    if (message->part_count > 0) {
        write_parts(json, message);
    } else {
        belay__request_slice_member(json, "content", message->content);
    }
    if (message->tool_call_count > 0) {
        write_calls(json, message);
    }
    if (message->tool_call_id.len > 0) {
        belay__request_slice_member(
            json, "tool_call_id", message->tool_call_id);
    }
    write_true(json, "tool_failed", message->tool_failed);
    write_true(json, "incomplete", said->incomplete);
    belay__json_close_object(json);
}

/* The oldest first, of a list that begins with the newest. */
static int
write_messages(
    struct belay__json_writer *json, const belay_llm_session *session)
{
    const size_t count = belay__history_count(session->history);
    const size_t bytes = count * sizeof(struct belay__said *);
    const struct belay__said **said = belay__alloc(session->memory, bytes);

    if (count > 0 && said == NULL) {
        return BELAY_ENOMEM;
    }
    for (const struct belay__history *entry = session->history; entry != NULL;
         entry = entry->below) {
        said[entry->count - 1] = entry->said;
    }
    belay__json_key(json, "messages");
    belay__json_open_array(json);
    for (size_t i = 0; i < count; i++) {
        write_said(json, said[i]);
    }
    belay__json_close_array(json);
    belay__free(session->memory, said, bytes);
    return 0;
}

/* ---- figures ---- */

static void
write_ledger(struct belay__json_writer *json, const struct belay_ledger *ledger)
{
    const struct belay_llm_usage *usage = &ledger->usage;

    belay__json_key(json, "ledger");
    belay__json_open_object(json);
    write_int(json, "attempts", (int64_t)ledger->attempts);
    write_int(json, "unknown", (int64_t)ledger->unknown);
    write_int(json, "cost_picodollars", ledger->cost.amount.pico);
    belay__json_key(json, "cost_at_least");
    belay__json_bool(json, ledger->cost.at_least);
    write_int(json, "requests", usage->requests);
    write_int(json, "in_total", usage->in_total);
    write_int(json, "in_cache_read", usage->in_cache_read);
    write_int(json, "in_cache_write_5m", usage->in_cache_write_5m);
    write_int(json, "in_cache_write_1h", usage->in_cache_write_1h);
    write_int(json, "in_audio", usage->in_audio);
    write_int(json, "out_total", usage->out_total);
    write_int(json, "out_reasoning", usage->out_reasoning);
    write_int(json, "out_audio", usage->out_audio);
    belay__json_close_object(json);
}

/* ---- all of it ---- */

int
belay__session_write(
    const belay_llm_session *session, struct belay__buffer *buffer)
{
    const struct belay_llm_chat *chat = &session->settings->chat;
    struct belay__json_writer json;
    int code;

    belay__json_begin(&json, buffer);
    belay__json_open_object(&json);
    write_int(&json, "belay_session", BELAY__SESSION_VERSION);
    if (chat->model != NULL) {
        belay__request_text_member(&json, "model", chat->model);
    }
    if (chat->system.len > 0) {
        belay__request_slice_member(&json, "system", chat->system);
    }
    code = write_messages(&json, session);
    write_ledger(&json, &session->ledger);
    belay__json_close_object(&json);
    return code < 0 ? code : belay__json_end(&json);
}

int
belay_llm_session_write(
    const belay_llm_session *session, char **ret, size_t *ret_len)
{
    struct belay__llm_text *text = NULL;
    struct belay__buffer buffer;
    int code;

    belay__buffer_init(
        &buffer, session->memory, belay__session_text_max(session));
    code = belay__session_write(session, &buffer);
    if (code == 0) {
        code = belay__llm_text_append(
            &text, session->memory, belay__buffer_slice(&buffer), 0);
    }
    belay__buffer_fini(&buffer);
    if (code == 0) {
        *ret = text->data;
        if (ret_len != NULL) {
            *ret_len = text->len;
        }
    }
    return code;
}
