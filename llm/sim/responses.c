/* responses.c - the format of OpenAI's Responses.
 *
 * An answer is a list of items; a stream tells how each is begun, filled and
 * finished, numbers its events, and ends with the whole answer once more.
 */
#include "llm/json/text.h"
#include "llm/sim/internal.h"

/* ---- requests ---- */

static void
read_input(struct belay__json *json, struct belay__sim_reading *reading)
{
    if (belay__json_type_ahead(json) == BELAY__JSON_STRING) {
        belay__sim_read_content(json, &reading->request->prompt, reading);
        reading->messages = true;
        return;
    }
    belay__sim_read_messages(json, reading);
}

static void
read_member(struct belay__json *json, const struct belay__json_value *key,
    struct belay__sim_reading *reading)
{
    struct belay_slice unused;

    if (belay__json_key_is(key, "input")) {
        read_input(json, reading);
    } else if (belay__json_key_is(key, "instructions")) {
        belay__sim_read_content(json, &unused, reading);
    } else if (belay__json_key_is(key, "max_output_tokens")) {
        belay__sim_read_limit(json, reading);
    }
}

static const char *
missing(const struct belay__sim_reading *reading)
{
    return reading->messages ? NULL : "input: missing or empty";
}

/* ---- items ---- */

enum fill {
    EMPTY, /* as it is announced */
    WHOLE,
};

static void
put_empty_array(struct belay__json_writer *json, const char *key)
{
    static const struct belay_slice none = {"[]", 2};

    belay__json_key(json, key);
    belay__json_raw(json, none);
}

static void
put_text_part(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, enum fill fill)
{
    belay__json_open_object(json);
    belay__sim_put_string(json, "type", "output_text");
    put_empty_array(json, "annotations");
    put_empty_array(json, "logprobs");
    if (fill == WHOLE) {
        belay__json_key(json, "text");
        belay__sim_put_text(json, exchange);
    } else {
        belay__sim_put_string(json, "text", "");
    }
    belay__json_close_object(json);
}

static void
put_status(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, enum fill fill)
{
    const char *done = exchange->answer.cut_short ? "incomplete" : "completed";

    belay__sim_put_string(json, "status", fill == WHOLE ? done : "in_progress");
}

static void
put_message(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, enum fill fill)
{
    belay__json_open_object(json);
    belay__sim_put_id(json, exchange, "id", "msg_", 0);
    belay__sim_put_string(json, "type", "message");
    put_status(json, exchange, fill);
    belay__json_key(json, "content");
    belay__json_open_array(json);
    if (fill == WHOLE) {
        put_text_part(json, exchange, WHOLE);
    }
    belay__json_close_array(json);
    belay__sim_put_string(json, "role", "assistant");
    belay__json_close_object(json);
}

static void
put_call(struct belay__json_writer *json, struct belay__sim_exchange *exchange,
    size_t index, enum fill fill)
{
    const struct belay__sim_tool_call *call = &exchange->answer.calls[index];

    belay__json_open_object(json);
    belay__sim_put_id(json, exchange, "id", "fc_", index + 1);
    belay__sim_put_string(json, "type", "function_call");
    put_status(json, exchange, fill);
    belay__sim_put_call_id(json, exchange, "call_id", "call_", index);
    belay__sim_put_inside(json, "name", call->name);
    if (fill == WHOLE) {
        belay__sim_put_json(json, "arguments", call->arguments);
    } else {
        belay__sim_put_string(json, "arguments", "");
    }
    belay__json_close_object(json);
}

/* The item that a step is about. */
static void
put_item(struct belay__json_writer *json, struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step, enum fill fill)
{
    size_t index = 0;

    if (belay__sim_step_call(exchange, step, &index) != NULL) {
        put_call(json, exchange, index, fill);
    } else {
        put_message(json, exchange, fill);
    }
}

static void
put_output(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, enum fill fill)
{
    belay__json_key(json, "output");
    belay__json_open_array(json);
    if (fill == WHOLE && exchange->answer.has_text) {
        put_message(json, exchange, WHOLE);
    }
    for (size_t i = 0; fill == WHOLE && i < exchange->answer.call_count; i++) {
        put_call(json, exchange, i, WHOLE);
    }
    belay__json_close_array(json);
}

/* ---- answers ---- */

static void
put_usage(
    struct belay__json_writer *json, const struct belay__sim_exchange *exchange)
{
    const struct belay_slice given = belay__sim_given_usage(exchange);
    const uint64_t in = exchange->entry.prompt_tokens;
    const uint64_t out = exchange->entry.completion_tokens;

    if (given.len > 0) {
        belay__json_raw_line(json, given);
        return;
    }
    belay__json_open_object(json);
    belay__sim_put_int(json, "input_tokens", in);
    belay__json_key(json, "input_tokens_details");
    belay__json_open_object(json);
    belay__sim_put_int(json, "cached_tokens", belay__sim_cached(exchange));
    belay__json_close_object(json);
    belay__sim_put_int(json, "output_tokens", out);
    belay__json_key(json, "output_tokens_details");
    belay__json_open_object(json);
    belay__sim_put_int(
        json, "reasoning_tokens", belay__sim_reasoning(exchange));
    belay__json_close_object(json);
    belay__sim_put_int(json, "total_tokens", in + out);
    belay__json_close_object(json);
}

static void
put_incomplete(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, enum fill fill)
{
    const struct belay_slice given = belay__sim_given_end(exchange);

    if (fill == EMPTY || (!exchange->answer.cut_short && given.len == 0)) {
        belay__sim_put_null(json, "incomplete_details");
        return;
    }
    belay__json_key(json, "incomplete_details");
    belay__json_open_object(json);
    if (given.len > 0) {
        belay__sim_put_inside(json, "reason", given);
    } else {
        belay__sim_put_string(json, "reason", "max_output_tokens");
    }
    belay__json_close_object(json);
}

static bool
is_incomplete(const struct belay__sim_exchange *exchange)
{
    return exchange->answer.cut_short || belay__sim_given_end(exchange).len > 0;
}

/* What an answer says of its request, as far as clients look at it. */
static void
put_settings(struct belay__json_writer *json)
{
    belay__sim_put_null(json, "instructions");
    belay__json_key(json, "metadata");
    belay__json_open_object(json);
    belay__json_close_object(json);
    belay__json_key(json, "parallel_tool_calls");
    belay__json_bool(json, true);
    belay__sim_put_null(json, "previous_response_id");
    belay__sim_put_int(json, "temperature", 1);
    belay__sim_put_string(json, "tool_choice", "auto");
    put_empty_array(json, "tools");
    belay__sim_put_int(json, "top_p", 1);
}

static void
put_response(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, enum fill fill)
{
    const char *done = is_incomplete(exchange) ? "incomplete" : "completed";

    belay__json_open_object(json);
    belay__sim_put_id(json, exchange, "id", "resp_", 0);
    belay__sim_put_string(json, "object", "response");
    belay__sim_put_int(json, "created_at", BELAY__SIM_CREATED);
    belay__sim_put_string(json, "status", fill == WHOLE ? done : "in_progress");
    belay__sim_put_null(json, "error");
    put_incomplete(json, exchange, fill);
    belay__json_key(json, "model");
    belay__json_raw(json, exchange->request.model);
    put_settings(json);
    put_output(json, exchange, fill);
    belay__json_key(json, "usage");
    if (fill == EMPTY
        || belay__sim_has(exchange->fate.faults, BELAY__FAULT_NO_USAGE)) {
        belay__json_null(json);
    } else {
        put_usage(json, exchange);
    }
    belay__json_close_object(json);
}

static void
write_answer(
    struct belay__json_writer *json, struct belay__sim_exchange *exchange)
{
    put_response(json, exchange, WHOLE);
}

/* ---- events ---- */

/* An event being written; its members are the caller's. */
struct event {
    struct belay__json_writer json;
    int code;
};

static void
begin(struct event *event, struct belay__buffer *buffer,
    struct belay__sim_step *step, const char *type)
{
    event->code = belay__sim_event_begin(buffer, &event->json, type);
    belay__json_open_object(&event->json);
    belay__sim_put_string(&event->json, "type", type);
    belay__sim_put_int(&event->json, "sequence_number", step->sequence);
    step->sequence++;
}

static int
end(struct event *event)
{
    int code;

    belay__json_close_object(&event->json);
    code = belay__sim_event_end(&event->json);
    return event->code < 0 ? event->code : code;
}

static int
put_response_event(struct belay__buffer *buffer,
    struct belay__sim_exchange *exchange, struct belay__sim_step *step,
    const char *type, enum fill fill)
{
    struct event event;

    begin(&event, buffer, step, type);
    belay__json_key(&event.json, "response");
    put_response(&event.json, exchange, fill);
    return end(&event);
}

static int
put_item_event(struct belay__buffer *buffer,
    struct belay__sim_exchange *exchange, struct belay__sim_step *step,
    const char *type, enum fill fill)
{
    struct event event;

    begin(&event, buffer, step, type);
    belay__sim_put_int(&event.json, "output_index", step->part);
    belay__json_key(&event.json, "item");
    put_item(&event.json, exchange, step, fill);
    return end(&event);
}

/* An event that tells where in the answer it belongs. */
static void
begin_placed(struct event *event, struct belay__buffer *buffer,
    const struct belay__sim_exchange *exchange, struct belay__sim_step *step,
    const char *type)
{
    struct belay__json_writer *json = &event->json;
    size_t index = 0;

    begin(event, buffer, step, type);
    if (belay__sim_step_call(exchange, step, &index) != NULL) {
        belay__sim_put_id(json, exchange, "item_id", "fc_", index + 1);
        belay__sim_put_int(json, "output_index", step->part);
        return;
    }
    belay__sim_put_id(json, exchange, "item_id", "msg_", 0);
    belay__sim_put_int(json, "output_index", step->part);
    belay__sim_put_int(json, "content_index", 0);
}

static int
put_part_event(struct belay__buffer *buffer,
    struct belay__sim_exchange *exchange, struct belay__sim_step *step,
    const char *type, enum fill fill)
{
    struct event event;

    begin_placed(&event, buffer, exchange, step, type);
    belay__json_key(&event.json, "part");
    put_text_part(&event.json, exchange, fill);
    return end(&event);
}

static int
put_delta(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    struct belay__sim_step *step)
{
    const struct belay__sim_tool_call *call =
        belay__sim_step_call(exchange, step, NULL);
    struct event event;

    begin_placed(&event, buffer, exchange, step,
        call != NULL ? "response.function_call_arguments.delta"
                     : "response.output_text.delta");
    if (call != NULL) {
        belay__sim_put_json(&event.json, "delta",
            belay__sim_arguments_piece(call->arguments, step->piece));
    } else {
        belay__json_key(&event.json, "delta");
        belay__sim_put_piece(&event.json, exchange, step->piece);
        put_empty_array(&event.json, "logprobs");
    }
    return end(&event);
}

static int
put_filled(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    struct belay__sim_step *step)
{
    const struct belay__sim_tool_call *call =
        belay__sim_step_call(exchange, step, NULL);
    struct event event;

    begin_placed(&event, buffer, exchange, step,
        call != NULL ? "response.function_call_arguments.done"
                     : "response.output_text.done");
    if (call != NULL) {
        belay__sim_put_inside(&event.json, "name", call->name);
        belay__sim_put_json(&event.json, "arguments", call->arguments);
    } else {
        belay__json_key(&event.json, "text");
        belay__sim_put_text(&event.json, exchange);
        put_empty_array(&event.json, "logprobs");
    }
    return end(&event);
}

static int
put_open(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    struct belay__sim_step *step)
{
    int code = put_item_event(
        buffer, exchange, step, "response.output_item.added", EMPTY);

    if (code == 0 && belay__sim_step_call(exchange, step, NULL) == NULL) {
        code = put_part_event(
            buffer, exchange, step, "response.content_part.added", EMPTY);
    }
    return code;
}

static int
put_close(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    struct belay__sim_step *step)
{
    int code = put_filled(buffer, exchange, step);

    if (code == 0 && belay__sim_step_call(exchange, step, NULL) == NULL) {
        code = put_part_event(
            buffer, exchange, step, "response.content_part.done", WHOLE);
    }
    if (code == 0) {
        code = put_item_event(
            buffer, exchange, step, "response.output_item.done", WHOLE);
    }
    return code;
}

static int
put_step(struct belay__buffer *buffer, struct belay__sim_exchange *exchange,
    struct belay__sim_step *step)
{
    int code;

    switch (step->kind) {
    case BELAY__SIM_STEP_START:
        code = put_response_event(
            buffer, exchange, step, "response.created", EMPTY);
        return code < 0 ? code
                        : put_response_event(buffer, exchange, step,
                            "response.in_progress", EMPTY);
    case BELAY__SIM_STEP_OPEN:
        return put_open(buffer, exchange, step);
    case BELAY__SIM_STEP_DELTA:
        return put_delta(buffer, exchange, step);
    case BELAY__SIM_STEP_CLOSE:
        return put_close(buffer, exchange, step);
    case BELAY__SIM_STEP_DONE:
        return put_response_event(buffer, exchange, step,
            is_incomplete(exchange) ? "response.incomplete"
                                    : "response.completed",
            WHOLE);
    case BELAY__SIM_STEP_STOP:
    case BELAY__SIM_STEP_USAGE:
    case BELAY__SIM_STEP_OVER:
        break;
    }
    return 0;
}

static int
put_error_event(
    struct belay__buffer *buffer, const struct belay__sim_error *error)
{
    struct belay__sim_step step = {.sequence = error->sequence};
    struct event event;

    begin(&event, buffer, &step, "error");
    if (error->code.len > 0) {
        belay__sim_put_inside(&event.json, "code", error->code);
    } else {
        belay__sim_put_string(&event.json, "code",
            error->status == 429 ? "rate_limit_exceeded" : "server_error");
    }
    belay__sim_put_string(&event.json, "message", error->message);
    belay__sim_put_null(&event.json, "param");
    return end(&event);
}

const struct belay__sim_format belay__sim_responses_format = {
    .name = "responses",
    .number = 1,
    .path = "/v1/responses",
    .request_id = "x-request-id",
    .member_fn = read_member,
    .missing_fn = missing,
    .write_fn = write_answer,
    .step_fn = put_step,
    .error_fn = belay__sim_put_openai_error,
    .error_event_fn = put_error_event,
};
