/* messages.c - the format of Anthropic's Messages.
 *
 * An answer is a list of blocks; a stream opens, fills and closes each. Counts
 * of tokens come at both of its ends, and the input's leave out what was read
 * from a cache.
 */
#include "llm/json/text.h"
#include "llm/sim/internal.h"

/* ---- requests ---- */

static void
read_member(struct belay__json *json, const struct belay__json_value *key,
    struct belay__sim_reading *reading)
{
    struct belay_slice unused;

    if (belay__json_key_is(key, "messages")) {
        belay__sim_read_messages(json, reading);
    } else if (belay__json_key_is(key, "system")) {
        belay__sim_read_content(json, &unused, reading);
    } else if (belay__json_key_is(key, "max_tokens")) {
        belay__sim_read_limit(json, reading);
    }
}

static const char *
missing(const struct belay__sim_reading *reading)
{
    if (!reading->messages) {
        return "messages: missing or empty";
    }
    return reading->limit ? NULL : "max_tokens: Field required";
}

/* ---- what both kinds of answer are made of ---- */

static void
put_input_usage(
    struct belay__json_writer *json, const struct belay__sim_exchange *exchange)
{
    const uint64_t cached = belay__sim_cached(exchange);

    belay__sim_put_int(
        json, "input_tokens", exchange->entry.prompt_tokens - cached);
    belay__sim_put_int(json, "cache_creation_input_tokens", 0);
    belay__sim_put_int(json, "cache_read_input_tokens", cached);
}

static void
put_usage(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, uint64_t out)
{
    const struct belay_slice given = belay__sim_given_usage(exchange);

    if (belay__sim_has(exchange->fate.faults, BELAY__FAULT_NO_USAGE)) {
        return;
    }
    belay__json_key(json, "usage");
    if (given.len > 0) {
        belay__json_raw_line(json, given);
        return;
    }
    belay__json_open_object(json);
    put_input_usage(json, exchange);
    belay__sim_put_int(json, "output_tokens", out);
    belay__sim_put_string(json, "service_tier", "standard");
    belay__json_close_object(json);
}

static void
put_stop(
    struct belay__json_writer *json, const struct belay__sim_exchange *exchange)
{
    const struct belay_slice given = belay__sim_given_end(exchange);
    const char *reason = "end_turn";

    if (given.len > 0) {
        belay__sim_put_inside(json, "stop_reason", given);
    } else {
        if (exchange->answer.cut_short) {
            reason = "max_tokens";
        } else if (exchange->answer.call_count > 0) {
            reason = "tool_use";
        }
        belay__sim_put_string(json, "stop_reason", reason);
    }
    belay__sim_put_null(json, "stop_sequence");
}

static void
put_text_block(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, bool whole)
{
    belay__json_open_object(json);
    belay__sim_put_string(json, "type", "text");
    if (whole) {
        belay__json_key(json, "text");
        belay__sim_put_text(json, exchange);
    } else {
        belay__sim_put_string(json, "text", "");
    }
    belay__json_close_object(json);
}

static void
put_call_block(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, size_t index, bool whole)
{
    const struct belay__sim_tool_call *call = &exchange->answer.calls[index];

    belay__json_open_object(json);
    belay__sim_put_string(json, "type", "tool_use");
    belay__sim_put_call_id(json, exchange, "id", "toolu_", index);
    belay__sim_put_inside(json, "name", call->name);
    belay__json_key(json, "input");
    if (whole) {
        belay__json_raw_line(json, call->arguments);
    } else {
        belay__json_open_object(json);
        belay__json_close_object(json);
    }
    belay__json_close_object(json);
}

static void
put_content(
    struct belay__json_writer *json, struct belay__sim_exchange *exchange)
{
    if (exchange->answer.has_text) {
        put_text_block(json, exchange, true);
    }
    for (size_t i = 0; i < exchange->answer.call_count; i++) {
        put_call_block(json, exchange, i, true);
    }
}

static void
put_message(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, bool whole)
{
    belay__json_open_object(json);
    belay__sim_put_id(json, exchange, "id", "msg_", 0);
    belay__sim_put_string(json, "type", "message");
    belay__sim_put_string(json, "role", "assistant");
    belay__json_key(json, "model");
    belay__json_raw(json, exchange->request.model);
    belay__json_key(json, "content");
    belay__json_open_array(json);
    if (whole) {
        put_content(json, exchange);
    }
    belay__json_close_array(json);
    if (whole) {
        put_stop(json, exchange);
        put_usage(json, exchange, exchange->entry.completion_tokens);
    } else {
        belay__sim_put_null(json, "stop_reason");
        belay__sim_put_null(json, "stop_sequence");
        put_usage(json, exchange, 1);
    }
    belay__json_close_object(json);
}

static void
write_answer(
    struct belay__json_writer *json, struct belay__sim_exchange *exchange)
{
    put_message(json, exchange, true);
}

/* ---- events ---- */

static int
begin(struct belay__buffer *buffer, struct belay__json_writer *json,
    const char *type)
{
    const int code = belay__sim_event_begin(buffer, json, type);

    belay__json_open_object(json);
    belay__sim_put_string(json, "type", type);
    return code;
}

static int
end(struct belay__json_writer *json, int begun)
{
    int code;

    belay__json_close_object(json);
    code = belay__sim_event_end(json);
    return begun < 0 ? begun : code;
}

static int
put_start(struct belay__buffer *buffer, struct belay__sim_exchange *exchange)
{
    struct belay__json_writer json;
    int code = begin(buffer, &json, "message_start");

    belay__json_key(&json, "message");
    put_message(&json, exchange, false);
    return end(&json, code);
}

/* Behind the first block's opening the real one pings as well. */
static int
put_ping(struct belay__buffer *buffer)
{
    struct belay__json_writer json;
    const int code = begin(buffer, &json, "ping");

    return end(&json, code);
}

static int
put_open(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step)
{
    struct belay__json_writer json;
    int code = begin(buffer, &json, "content_block_start");
    size_t index = 0;

    belay__sim_put_int(&json, "index", step->part);
    belay__json_key(&json, "content_block");
    if (belay__sim_step_call(exchange, step, &index) != NULL) {
        put_call_block(&json, exchange, index, false);
    } else {
        put_text_block(&json, exchange, false);
    }
    code = end(&json, code);
    return code == 0 && step->part == 0 ? put_ping(buffer) : code;
}

static int
put_delta(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step)
{
    const struct belay__sim_tool_call *call =
        belay__sim_step_call(exchange, step, NULL);
    struct belay__json_writer json;
    const int code = begin(buffer, &json, "content_block_delta");

    belay__sim_put_int(&json, "index", step->part);
    belay__json_key(&json, "delta");
    belay__json_open_object(&json);
    if (call != NULL) {
        belay__sim_put_string(&json, "type", "input_json_delta");
        belay__sim_put_json(&json, "partial_json",
            belay__sim_arguments_piece(call->arguments, step->piece));
    } else {
        belay__sim_put_string(&json, "type", "text_delta");
        belay__json_key(&json, "text");
        belay__sim_put_piece(&json, exchange, step->piece);
    }
    belay__json_close_object(&json);
    return end(&json, code);
}

static int
put_close(struct belay__buffer *buffer, const struct belay__sim_step *step)
{
    struct belay__json_writer json;
    const int code = begin(buffer, &json, "content_block_stop");

    belay__sim_put_int(&json, "index", step->part);
    return end(&json, code);
}

static int
put_message_delta(
    struct belay__buffer *buffer, const struct belay__sim_exchange *exchange)
{
    struct belay__json_writer json;
    const int code = begin(buffer, &json, "message_delta");

    belay__json_key(&json, "delta");
    belay__json_open_object(&json);
    put_stop(&json, exchange);
    belay__json_close_object(&json);
    put_usage(&json, exchange, exchange->entry.completion_tokens);
    return end(&json, code);
}

static int
put_done(struct belay__buffer *buffer)
{
    struct belay__json_writer json;
    const int code = begin(buffer, &json, "message_stop");

    return end(&json, code);
}

static int
put_step(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    struct belay__sim_step *step)
{
    switch (step->kind) {
    case BELAY__SIM_STEP_START:
        return put_start(buffer, exchange);
    case BELAY__SIM_STEP_OPEN:
        return put_open(buffer, exchange, step);
    case BELAY__SIM_STEP_DELTA:
        return put_delta(buffer, exchange, step);
    case BELAY__SIM_STEP_CLOSE:
        return put_close(buffer, step);
    case BELAY__SIM_STEP_STOP:
        return put_message_delta(buffer, exchange);
    case BELAY__SIM_STEP_DONE:
        return put_done(buffer);
    case BELAY__SIM_STEP_USAGE:
    case BELAY__SIM_STEP_OVER:
        break;
    }
    return 0;
}

/* ---- errors ---- */

static const char *
type_of(int status)
{
    static const struct {
        int status;
        const char *type;
    } types[] = {
        {401, "authentication_error"},
        {402, "billing_error"},
        {403, "permission_error"},
        {404, "not_found_error"},
        {413, "request_too_large"},
        {429, "rate_limit_error"},
        {504, "timeout_error"},
        {529, "overloaded_error"},
    };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].status == status) {
            return types[i].type;
        }
    }
    return status < 500 ? "invalid_request_error" : "api_error";
}

static void
put_error_members(
    struct belay__json_writer *json, const struct belay__sim_error *error)
{
    belay__json_key(json, "error");
    belay__json_open_object(json);
    if (error->type.len > 0) {
        belay__sim_put_inside(json, "type", error->type);
    } else {
        belay__sim_put_string(json, "type", type_of(error->status));
    }
    belay__sim_put_string(json, "message", error->message);
    belay__json_close_object(json);
    if (error->request_id != NULL) {
        belay__sim_put_string(json, "request_id", error->request_id);
    }
}

static void
put_error(struct belay__json_writer *json, const struct belay__sim_error *error)
{
    belay__json_open_object(json);
    belay__sim_put_string(json, "type", "error");
    put_error_members(json, error);
    belay__json_close_object(json);
}

static int
put_error_event(
    struct belay__buffer *buffer, const struct belay__sim_error *error)
{
    struct belay__json_writer json;
    const int code = begin(buffer, &json, "error");

    put_error_members(&json, error);
    return end(&json, code);
}

const struct belay__sim_format belay__sim_messages_format = {
    .name = "messages",
    .number = 2,
    .path = "/v1/messages",
    .request_id = "request-id",
    .x_api_key = true,
    .member_fn = read_member,
    .missing_fn = missing,
    .write_fn = write_answer,
    .step_fn = put_step,
    .error_fn = put_error,
    .error_event_fn = put_error_event,
};
