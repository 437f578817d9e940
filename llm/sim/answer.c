/* answer.c - the two kinds of answer: in one piece, and as a stream.
 *
 * What is answered is the same in each format and kind: words, then calls of
 * tools. The format writes it, straight into the reply's scratch buffer. Both
 * kinds may break off on the way, as the request's fate has it.
 */
#include "llm/sim/internal.h"

#include <belay/async.h>

#define WRITE_BYTES ((size_t)16 * 1024)
#define DRIP_MS 20
#define LONG_EVENT_BYTES ((size_t)5 * 1024 * 1024)

static belay_time
token_ready(const struct belay__sim_exchange *exchange, uint64_t index)
{
    const double rate = exchange->sim->opts.tokens_per_second;

    if (rate <= 0) {
        return exchange->first;
    }
    return belay__sim_after(exchange->first,
        belay__sim_ns((double)index / rate * BELAY__SIM_NS_PER_S));
}

static bool
has(const struct belay__sim_exchange *exchange, enum belay__sim_fault fault)
{
    return belay__sim_has(exchange->fate.faults, fault);
}

/* ---- where it breaks off ---- */

/* The connection breaks, or nothing comes any more; else an answer that is
 * wrong comes to its end.
 */
static bool
breaks_off(const struct belay__sim_exchange *exchange)
{
    return has(exchange, BELAY__FAULT_CUT) || has(exchange, BELAY__FAULT_RESET)
           || has(exchange, BELAY__FAULT_CUT_EVENT)
           || has(exchange, BELAY__FAULT_STALL)
           || has(exchange, BELAY__FAULT_DRIP);
}

/* After so many of `count`, not after all. */
static uint64_t
break_at(const struct belay__sim_exchange *exchange, uint64_t count)
{
    uint64_t at;

    if (!breaks_off(exchange) && !has(exchange, BELAY__FAULT_BAD_JSON)
        && !has(exchange, BELAY__FAULT_ERROR_EVENT)) {
        return count;
    }
    at = (uint64_t)(exchange->fate.where * (double)count);
    return at < count || count == 0 ? at : count - 1;
}

struct drip {
    struct belay__sim_exchange *exchange;
    uint64_t count;
};

/* One event without end, until the client has enough of it. */
BELAY_ASYNC(drip)
{
    static const struct belay_slice head = {"data: {\"drip\":\"", 15};
    static const struct belay_slice drop = {"x", 1};

    BELAY_BEGIN;
    BELAY_AWAIT(belay__reply_write(task, self->exchange->call.reply,
        self->exchange->entry.stream ? head : drop));
    for (;;) {
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(DRIP_MS)));
        BELAY_AWAIT(belay__reply_write(task, self->exchange->call.reply, drop));
    }
    BELAY_END;
}

/* Behind the part of an answer that is sent before it breaks off. */
static belay_next
break_off(belay_task *task, struct belay__sim_exchange *exchange)
{
    if (has(exchange, BELAY__FAULT_DRIP)) {
        exchange->entry.end = BELAY__SIM_STALLED;
        return BELAY_CALL(drip, .exchange = exchange);
    }
    if (has(exchange, BELAY__FAULT_STALL)) {
        exchange->entry.end = BELAY__SIM_STALLED;
        return belay_sleep(task, BELAY_FOREVER);
    }
    exchange->entry.end = BELAY__SIM_CUT;
    if (has(exchange, BELAY__FAULT_RESET)) {
        belay__reply_reset(exchange->call.reply);
    }
    return belay_checkpoint(task);
}

/* ---- an answer in one piece ---- */

struct plain {
    struct belay__sim_exchange *exchange;
    struct belay_slice body;
    int status;
};

static const char page_of_html[] =
    "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>"
    "<body><h1>Sign in to go on</h1></body></html>\n";

static int
write_body(struct belay__sim_exchange *exchange, struct belay__buffer *buffer)
{
    struct belay__json_writer json;
    int code;

    if (has(exchange, BELAY__FAULT_HTML)) {
        return belay__buffer_append(
            buffer, page_of_html, sizeof(page_of_html) - 1);
    }
    if (has(exchange, BELAY__FAULT_EMPTY)) {
        return 0;
    }
    if (exchange->rule != NULL && exchange->rule->has_body) {
        return belay__buffer_append(
            buffer, exchange->rule->body.data, exchange->rule->body.len);
    }
    belay__json_begin(&json, buffer);
    exchange->format->write_fn(&json, exchange);
    code = belay__json_end(&json);
    if (code == 0 && has(exchange, BELAY__FAULT_BAD_JSON)) {
        buffer->len = 1 + (size_t)break_at(exchange, buffer->len - 1);
    }
    return code;
}

static int
add_types(struct belay__sim_exchange *exchange, const char *type)
{
    struct belay__reply *reply = exchange->call.reply;
    int code;

    if (has(exchange, BELAY__FAULT_WRONG_TYPE)) {
        type = "text/plain";
    } else if (has(exchange, BELAY__FAULT_HTML)) {
        type = "text/html; charset=utf-8";
    }
    if (exchange->rule != NULL) {
        for (size_t i = 0; i < exchange->rule->header_count; i++) {
            if (belay__sim_is_content_type(exchange->rule->headers[i].name)) {
                type = NULL; /* the script has one */
            }
        }
    }
    code = type != NULL ? belay__reply_header(reply, "Content-Type", type) : 0;
    if (code == 0 && has(exchange, BELAY__FAULT_GZIP)) {
        code = belay__reply_header(reply, "Content-Encoding", "gzip");
    }
    return code;
}

static int
prepare_body(struct plain *self)
{
    struct belay__sim_exchange *exchange = self->exchange;
    struct belay__buffer *scratch = belay__reply_scratch(exchange->call.reply);
    int code = write_body(exchange, scratch);

    if (code == 0) {
        code = belay__sim_pack(
            exchange, belay__buffer_slice(scratch), true, &self->body);
    }
    if (code == 0) {
        code = add_types(exchange, "application/json");
    }
    return code;
}

BELAY_ASYNC(plain)
{
    struct belay__sim_exchange *exchange = self->exchange;
    struct belay__reply *reply = exchange->call.reply;

    BELAY_BEGIN;
    if (token_ready(exchange, exchange->answer.tokens).ns
        > belay_now(task).ns) {
        BELAY_AWAIT(belay_sleep_until(
            task, token_ready(exchange, exchange->answer.tokens)));
    }
    BELAY_CHECK(prepare_body(self));
    self->status = exchange->rule != NULL && exchange->rule->status != 0
                       ? exchange->rule->status
                       : 200;
    belay__sim_count_status(exchange->sim, self->status);
    if (!belay__sim_is_odd(exchange->fate.faults) && !breaks_off(exchange)) {
        BELAY_AWAIT(belay__reply_send(task, reply, self->status, self->body));
        exchange->entry.end = BELAY__SIM_ANSWERED;
        BELAY_RETURN(NULL);
    }
    BELAY_CHECK(belay__reply_begin(reply, self->status,
        has(exchange, BELAY__FAULT_DRIP) ? BELAY__CHUNKED : self->body.len));
    if (!breaks_off(exchange)) {
        BELAY_AWAIT(belay__sim_write(task, exchange, self->body, true));
        exchange->entry.end = BELAY__SIM_ANSWERED;
        BELAY_RETURN(NULL);
    }
    self->body.len = (size_t)break_at(exchange, self->body.len);
    BELAY_AWAIT(belay__sim_write(task, exchange, self->body, false));
    BELAY_AWAIT(break_off(task, exchange));
    BELAY_END;
}

/* ---- the steps of a stream ---- */

static size_t
part_count(const struct belay__sim_answer *answer)
{
    return answer->call_count + answer->has_text;
}

const struct belay__sim_tool_call *
belay__sim_step_call(const struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step, size_t *ret_index)
{
    const struct belay__sim_answer *answer = &exchange->answer;

    if (step->part < answer->has_text || step->part >= part_count(answer)) {
        return NULL;
    }
    if (ret_index != NULL) {
        *ret_index = step->part - answer->has_text;
    }
    return &answer->calls[step->part - answer->has_text];
}

static uint64_t
piece_count(const struct belay__sim_exchange *exchange,
    const struct belay__sim_step *step)
{
    const struct belay__sim_tool_call *call =
        belay__sim_step_call(exchange, step, NULL);

    return call != NULL ? belay__sim_arguments_pieces(call->arguments)
                        : exchange->answer.text_tokens;
}

/* The step that follows. */
static void
advance(
    const struct belay__sim_exchange *exchange, struct belay__sim_step *step)
{
    const size_t parts = part_count(&exchange->answer);

    switch (step->kind) {
    case BELAY__SIM_STEP_START:
        step->kind = parts > 0 ? BELAY__SIM_STEP_OPEN : BELAY__SIM_STEP_STOP;
        break;
    case BELAY__SIM_STEP_OPEN:
        step->piece = 0;
        step->kind = piece_count(exchange, step) > 0 ? BELAY__SIM_STEP_DELTA
                                                     : BELAY__SIM_STEP_CLOSE;
        break;
    case BELAY__SIM_STEP_DELTA:
        step->pieces++;
        if (++step->piece == piece_count(exchange, step)) {
            step->kind = BELAY__SIM_STEP_CLOSE;
        }
        break;
    case BELAY__SIM_STEP_CLOSE:
        step->part++;
        step->kind =
            step->part < parts ? BELAY__SIM_STEP_OPEN : BELAY__SIM_STEP_STOP;
        break;
    case BELAY__SIM_STEP_STOP:
    case BELAY__SIM_STEP_USAGE:
    case BELAY__SIM_STEP_DONE:
    case BELAY__SIM_STEP_OVER:
        step->kind++;
        break;
    }
}

static uint64_t
step_count(const struct belay__sim_answer *answer)
{
    return 4 + 2 * part_count(answer) + answer->tokens;
}

/* ---- a stream ---- */

struct stream {
    struct belay__sim_exchange *exchange;
    struct belay__sim_step step;
    uint64_t at;    /* number of the step */
    uint64_t count; /* of all steps */
    uint64_t stop;  /* where it breaks off, or count */
    bool last;      /* nothing comes behind what is being sent */
};

/* When a step is sent; the start and what follows the last piece count as
 * part of their neighbours.
 */
static belay_time
step_ready(const struct stream *stream)
{
    const uint64_t tokens = stream->exchange->answer.tokens;
    const uint64_t last = tokens > 0 ? tokens - 1 : 0;
    const uint64_t token = stream->step.pieces;

    return token_ready(stream->exchange, token < last ? token : last);
}

static int
put_long_event(struct belay__buffer *buffer)
{
    static const char head[] = "data: {\"type\":\"belay.long\",\"long\":\"";
    int code = belay__buffer_append(buffer, head, sizeof(head) - 1);

    if (code == 0) {
        code = belay__buffer_reserve(buffer, LONG_EVENT_BYTES + 8);
    }
    if (code == 0) {
        memset(buffer->data + buffer->len, 'x', LONG_EVENT_BYTES);
        buffer->len += LONG_EVENT_BYTES;
        code = belay__buffer_append(buffer, "\"}\n\n", 4);
    }
    return code;
}

/* Some steps, or all behind the last piece, may be missing. */
static bool
is_left_out(
    const struct belay__sim_exchange *exchange, enum belay__sim_step_kind kind)
{
    if (has(exchange, BELAY__FAULT_NO_END)) {
        return kind >= BELAY__SIM_STEP_STOP;
    }
    return has(exchange, BELAY__FAULT_NO_DONE) && kind == BELAY__SIM_STEP_DONE;
}

static int
put_step(struct stream *stream, struct belay__buffer *buffer)
{
    struct belay__sim_exchange *exchange = stream->exchange;
    int code = 0;

    if (!is_left_out(exchange, stream->step.kind)) {
        code = exchange->format->step_fn(buffer, exchange, &stream->step);
    }
    if (code == 0 && stream->at == 0
        && has(exchange, BELAY__FAULT_LONG_EVENT)) {
        code = put_long_event(buffer);
    }
    advance(exchange, &stream->step);
    stream->at++;
    return code;
}

/* All steps that are ready now, but not too many at once. */
static int
put_steps(struct stream *stream, struct belay__buffer *buffer, belay_time now)
{
    int code = 0;

    belay__buffer_clear(buffer);
    while (code == 0 && stream->at < stream->stop && buffer->len < WRITE_BYTES
           && step_ready(stream).ns <= now.ns) {
        code = put_step(stream, buffer);
    }
    stream->last = stream->at == stream->count;
    return code;
}

/* What comes in the place of the step where it breaks off. */
static int
put_break(struct stream *stream, struct belay__buffer *buffer)
{
    struct belay__sim_exchange *exchange = stream->exchange;
    struct belay__sim_error error = {.status = 500, .message = ""};
    int code = 0;

    belay__buffer_clear(buffer);
    stream->last = !breaks_off(exchange);
    if (has(exchange, BELAY__FAULT_ERROR_EVENT)) {
        belay__sim_error_of(exchange, &error);
        error.sequence = stream->step.sequence;
        return exchange->format->error_event_fn(buffer, &error);
    }
    if (has(exchange, BELAY__FAULT_CUT_EVENT)) {
        while (code == 0 && buffer->len == 0 && stream->at < stream->count) {
            code = put_step(stream, buffer);
        }
        buffer->len /= 2;
    } else if (has(exchange, BELAY__FAULT_BAD_JSON)) {
        code = belay__buffer_append(buffer, "data: {\"half\": \n\n", 17);
    }
    return code;
}

static int
begin_stream(struct stream *stream)
{
    struct belay__sim_exchange *exchange = stream->exchange;
    int code;

    stream->count = step_count(&exchange->answer);
    stream->stop = break_at(exchange, stream->count);
    code = add_types(exchange, "text/event-stream");
    if (code == 0) {
        code = belay__reply_begin(exchange->call.reply, 200, BELAY__CHUNKED);
    }
    return code;
}

static belay_next
send_steps(belay_task *task, struct stream *self)
{
    return belay__sim_send(task, self->exchange,
        belay__buffer_slice(belay__reply_scratch(self->exchange->call.reply)),
        self->last);
}

BELAY_ASYNC(stream)
{
    struct belay__sim_exchange *exchange = self->exchange;
    struct belay__buffer *scratch = belay__reply_scratch(exchange->call.reply);

    BELAY_BEGIN;
    BELAY_CHECK(begin_stream(self));
    belay__sim_count_status(exchange->sim, 200);
    while (self->at < self->stop) {
        if (step_ready(self).ns > belay_now(task).ns) {
            BELAY_AWAIT(belay_sleep_until(task, step_ready(self)));
        }
        BELAY_CHECK(put_steps(self, scratch, belay_now(task)));
        BELAY_AWAIT(send_steps(task, self));
    }
    if (self->at < self->count) {
        BELAY_CHECK(put_break(self, scratch));
        BELAY_AWAIT(send_steps(task, self));
    }
    if (self->last) {
        exchange->entry.end = BELAY__SIM_ANSWERED;
        BELAY_RETURN(NULL);
    }
    BELAY_AWAIT(break_off(task, exchange));
    BELAY_END;
}

/* ---- either ---- */

static bool
is_streamed(const struct belay__sim_exchange *exchange)
{
    const belay__sim_faults whole =
        belay__sim_fault_bit(BELAY__FAULT_HTML)
        | belay__sim_fault_bit(BELAY__FAULT_EMPTY)
        | belay__sim_fault_bit(BELAY__FAULT_NOT_STREAM);

    return exchange->request.stream && exchange->format->step_fn != NULL
           && (exchange->fate.faults & whole) == 0
           && (exchange->rule == NULL || !exchange->rule->has_body);
}

belay_next
belay__sim_answer(belay_task *task, struct belay__sim_exchange *exchange)
{
    return is_streamed(exchange) ? BELAY_CALL(stream, .exchange = exchange)
                                 : BELAY_CALL(plain, .exchange = exchange);
}
