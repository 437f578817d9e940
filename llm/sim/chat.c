/* chat.c - the format of OpenAI's Chat Completions.
 *
 * Each event of a stream is a whole chunk with the delta in it; the last word
 * is [DONE].
 */
#include "llm/json/text.h"
#include "llm/sim/internal.h"

/* ---- requests ---- */

static void
read_stream_options(
    struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value key;

    if (!belay__json_enter_object(json)) {
        return;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "include_usage")) {
            reading->request->include_usage = belay__sim_read_bool(
                json, reading, "stream_options: include_usage is no boolean");
        }
    }
}

static void
read_choices(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value value;
    int64_t n;

    if (belay__json_take(json, &value) && value.type != BELAY__JSON_NULL
        && (value.type != BELAY__JSON_NUMBER
            || belay__json_integer(value.raw, &n) < 0 || n != 1)) {
        reading->wrong = "n: the simulator gives one choice only";
    }
}

static void
read_member(struct belay__json *json, const struct belay__json_value *key,
    struct belay__sim_reading *reading)
{
    if (belay__json_key_is(key, "messages")) {
        belay__sim_read_messages(json, reading);
    } else if (belay__json_key_is(key, "stream_options")) {
        read_stream_options(json, reading);
    } else if (belay__json_key_is(key, "max_tokens")
               || belay__json_key_is(key, "max_completion_tokens")) {
        belay__sim_read_limit(json, reading);
    } else if (belay__json_key_is(key, "n")) {
        read_choices(json, reading);
    }
}

static const char *
missing(const struct belay__sim_reading *reading)
{
    return reading->messages ? NULL : "messages: missing or empty";
}

/* ---- what both kinds of answer are made of ---- */

static void
put_start(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, const char *object)
{
    char text[BELAY__SIM_HEX_BYTES];

    belay__json_open_object(json);
    belay__sim_put_id(json, exchange, "id", "chatcmpl-", 0);
    belay__sim_put_string(json, "object", object);
    belay__sim_put_int(json, "created", BELAY__SIM_CREATED);
    belay__json_key(json, "model");
    belay__json_raw(json, exchange->request.model);
    belay__sim_hex("fp_fnv1a64_", exchange->entry.body_hash, text);
    belay__sim_put_string(json, "system_fingerprint", text);
}

static void
put_finish(
    struct belay__json_writer *json, const struct belay__sim_exchange *exchange)
{
    const struct belay_slice given = belay__sim_given_end(exchange);
    const char *reason = "stop";

    if (given.len > 0) {
        belay__sim_put_inside(json, "finish_reason", given);
        return;
    }
    if (exchange->answer.cut_short) {
        reason = "length";
    } else if (exchange->answer.call_count > 0) {
        reason = "tool_calls";
    }
    belay__sim_put_string(json, "finish_reason", reason);
}

static void
put_details(
    struct belay__json_writer *json, const struct belay__sim_exchange *exchange)
{
    if (belay__sim_cached(exchange) > 0) {
        belay__json_key(json, "prompt_tokens_details");
        belay__json_open_object(json);
        belay__sim_put_int(json, "cached_tokens", belay__sim_cached(exchange));
        belay__json_close_object(json);
    }
    if (belay__sim_reasoning(exchange) > 0) {
        belay__json_key(json, "completion_tokens_details");
        belay__json_open_object(json);
        belay__sim_put_int(
            json, "reasoning_tokens", belay__sim_reasoning(exchange));
        belay__json_close_object(json);
    }
}

static void
put_usage(
    struct belay__json_writer *json, const struct belay__sim_exchange *exchange)
{
    const struct belay_slice given = belay__sim_given_usage(exchange);
    const uint64_t in = exchange->entry.prompt_tokens;
    const uint64_t out = exchange->entry.completion_tokens;

    belay__json_key(json, "usage");
    if (given.len > 0) {
        belay__json_raw_line(json, given);
        return;
    }
    belay__json_open_object(json);
    belay__sim_put_int(json, "prompt_tokens", in);
    belay__sim_put_int(json, "completion_tokens", out);
    belay__sim_put_int(json, "total_tokens", in + out);
    put_details(json, exchange);
    belay__json_close_object(json);
}

static void
put_call_head(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, size_t call)
{
    belay__sim_put_call_id(json, exchange, "id", "call_", call);
    belay__sim_put_string(json, "type", "function");
}

/* ---- in one piece ---- */

static void
put_calls(
    struct belay__json_writer *json, const struct belay__sim_exchange *exchange)
{
    belay__json_key(json, "tool_calls");
    belay__json_open_array(json);
    for (size_t i = 0; i < exchange->answer.call_count; i++) {
        const struct belay__sim_tool_call *call = &exchange->answer.calls[i];

        belay__json_open_object(json);
        put_call_head(json, exchange, i);
        belay__json_key(json, "function");
        belay__json_open_object(json);
        belay__sim_put_inside(json, "name", call->name);
        belay__sim_put_json(json, "arguments", call->arguments);
        belay__json_close_object(json);
        belay__json_close_object(json);
    }
    belay__json_close_array(json);
}

static void
write_answer(
    struct belay__json_writer *json, struct belay__sim_exchange *exchange)
{
    put_start(json, exchange, "chat.completion");
    belay__json_key(json, "choices");
    belay__json_open_array(json);
    belay__json_open_object(json);
    belay__sim_put_int(json, "index", 0);
    belay__json_key(json, "message");
    belay__json_open_object(json);
    belay__sim_put_string(json, "role", "assistant");
    belay__json_key(json, "content");
    if (exchange->answer.has_text) {
        belay__sim_put_text(json, exchange);
    } else {
        belay__json_null(json);
    }
    belay__sim_put_null(json, "refusal");
    if (exchange->answer.call_count > 0) {
        put_calls(json, exchange);
    }
    belay__json_close_object(json);
    belay__sim_put_null(json, "logprobs");
    put_finish(json, exchange);
    belay__json_close_object(json);
    belay__json_close_array(json);
    if (!belay__sim_has(exchange->fate.faults, BELAY__FAULT_NO_USAGE)) {
        put_usage(json, exchange);
    }
    belay__json_close_object(json);
}

/* ---- as a stream ---- */

static void
put_call_delta(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step)
{
    const bool opens = step->kind == BELAY__SIM_STEP_OPEN;
    const struct belay__sim_tool_call *call;
    size_t index = 0;

    call = belay__sim_step_call(exchange, step, &index);
    belay__json_key(json, "tool_calls");
    belay__json_open_array(json);
    belay__json_open_object(json);
    belay__sim_put_int(json, "index", index);
    if (opens) {
        put_call_head(json, exchange, index);
    }
    belay__json_key(json, "function");
    belay__json_open_object(json);
    if (opens) {
        belay__sim_put_inside(json, "name", call->name);
        belay__sim_put_string(json, "arguments", "");
    } else {
        belay__sim_put_json(json, "arguments",
            belay__sim_arguments_piece(call->arguments, step->piece));
    }
    belay__json_close_object(json);
    belay__json_close_object(json);
    belay__json_close_array(json);
}

static void
put_delta(struct belay__json_writer *json, struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step)
{
    belay__json_key(json, "delta");
    belay__json_open_object(json);
    if (step->kind == BELAY__SIM_STEP_START) {
        belay__sim_put_string(json, "role", "assistant");
        if (exchange->answer.has_text) {
            belay__sim_put_string(json, "content", "");
        } else {
            belay__sim_put_null(json, "content");
        }
    } else if (step->kind != BELAY__SIM_STEP_STOP) {
        if (belay__sim_step_call(exchange, step, NULL) != NULL) {
            put_call_delta(json, exchange, step);
        } else {
            belay__json_key(json, "content");
            belay__sim_put_piece(json, exchange, step->piece);
        }
    }
    belay__json_close_object(json);
}

static void
put_choice(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, const struct belay__sim_step *step)
{
    belay__json_open_object(json);
    belay__sim_put_int(json, "index", 0);
    put_delta(json, exchange, step);
    belay__sim_put_null(json, "logprobs");
    if (step->kind == BELAY__SIM_STEP_STOP) {
        put_finish(json, exchange);
    } else {
        belay__sim_put_null(json, "finish_reason");
    }
    belay__json_close_object(json);
}

static int
put_chunk(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step)
{
    const bool is_usage = step->kind == BELAY__SIM_STEP_USAGE;
    struct belay__json_writer json;
    int code = belay__sim_event_begin(buffer, &json, NULL);

    if (code < 0) {
        return code;
    }
    put_start(&json, exchange, "chat.completion.chunk");
    belay__json_key(&json, "choices");
    belay__json_open_array(&json);
    if (!is_usage) {
        put_choice(&json, exchange, step);
    }
    belay__json_close_array(&json);
    if (is_usage) {
        put_usage(&json, exchange);
    } else if (exchange->request.include_usage) {
        belay__sim_put_null(&json, "usage");
    }
    belay__json_close_object(&json);
    return belay__sim_event_end(&json);
}

static int
put_step(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    struct belay__sim_step *step)
{
    switch (step->kind) {
    case BELAY__SIM_STEP_OPEN:
        if (belay__sim_step_call(exchange, step, NULL) == NULL) {
            return 0;
        }
        break;
    case BELAY__SIM_STEP_USAGE:
        if (!exchange->request.include_usage
            || belay__sim_has(exchange->fate.faults, BELAY__FAULT_NO_USAGE)) {
            return 0;
        }
        break;
    case BELAY__SIM_STEP_DONE:
        return belay__buffer_append(buffer, "data: [DONE]\n\n", 14);
    case BELAY__SIM_STEP_CLOSE:
    case BELAY__SIM_STEP_OVER:
        return 0;
    case BELAY__SIM_STEP_START:
    case BELAY__SIM_STEP_DELTA:
    case BELAY__SIM_STEP_STOP:
        break;
    }
    return put_chunk(buffer, exchange, step);
}

/* ---- errors ---- */

static const struct kind {
    int status;
    const char *type;
    const char *code; /* or NULL */
} kinds[] = {
    {400, "invalid_request_error", NULL},
    {401, "invalid_request_error", "invalid_api_key"},
    {403, "invalid_request_error", "unsupported_country_region_territory"},
    {404, "invalid_request_error", "unknown_url"},
    {405, "invalid_request_error", "method_not_supported"},
    {409, "invalid_request_error", NULL},
    {413, "invalid_request_error", NULL},
    {422, "invalid_request_error", NULL},
    {429, "requests", "rate_limit_exceeded"},
    {529, "overloaded_error", NULL},
    {0, "server_error", NULL},
};

void
belay__sim_put_openai_error(
    struct belay__json_writer *json, const struct belay__sim_error *error)
{
    const struct kind *kind = kinds;

    while (kind->status != 0 && kind->status != error->status) {
        kind++;
    }
    belay__json_open_object(json);
    belay__json_key(json, "error");
    belay__json_open_object(json);
    belay__sim_put_string(json, "message", error->message);
    if (error->type.len > 0) {
        belay__sim_put_inside(json, "type", error->type);
    } else {
        belay__sim_put_string(json, "type", kind->type);
    }
    belay__sim_put_null(json, "param");
    if (error->code.len > 0) {
        belay__sim_put_inside(json, "code", error->code);
    } else if (kind->code != NULL && error->type.len == 0) {
        belay__sim_put_string(json, "code", kind->code);
    } else {
        belay__sim_put_null(json, "code");
    }
    belay__json_close_object(json);
    belay__json_close_object(json);
}

static int
put_error_event(
    struct belay__buffer *buffer, const struct belay__sim_error *error)
{
    struct belay__json_writer json;
    int code = belay__sim_event_begin(buffer, &json, NULL);

    if (code < 0) {
        return code;
    }
    belay__sim_put_openai_error(&json, error);
    return belay__sim_event_end(&json);
}

const struct belay__sim_format belay__sim_chat_format = {
    .name = "chat",
    .number = 0,
    .path = "/v1/chat/completions",
    .request_id = "x-request-id",
    .member_fn = read_member,
    .missing_fn = missing,
    .write_fn = write_answer,
    .step_fn = put_step,
    .error_fn = belay__sim_put_openai_error,
    .error_event_fn = put_error_event,
};
