/* stream_attempt.c - one attempt of a stream: how it begins and ends, and what
 * is to be thought of it.
 */
#include "llm/stream.h"

#include "llm/error.h"
#include "runtime/internal.h"

#include <string.h>

/* ---- from its begin to its end ---- */

/* Called from the loop with what comes in. */
static int
sink(const struct belay__http_reply *reply, struct belay_slice bytes, void *arg)
{
    belay_llm_stream *stream = arg;
    int answer;

    (void)reply;
    answer = belay__llm_feed_push(&stream->feed, bytes);
    belay__http_exchange_wake(&stream->exchange);
    return answer;
}

belay_next
belay__llm_stream_attempt(belay_task *task, belay_llm_stream *stream)
{
    belay_llm_reply *reply = stream->tries.reply;

    belay__llm_reply_begin_live(reply, stream->provider);
    belay__llm_feed_begin(&stream->feed, stream->provider, stream->body,
        &reply->answer, &reply->http.body);
    stream->told = 0;
    stream->attempting = true;
    stream->silent = false;
    stream->state = BELAY__STREAM_RUNNING;
    stream->exchange.endpoint = belay__llm_access_endpoint(
        stream->tries.account.access, stream->provider->auth);
    stream->exchange.survives = stream->opts.drain.ns > 0;
    stream->exchange.reply = &reply->http;
    stream->exchange.request = belay__llm_http_request(&stream->tries);
    stream->exchange.request.path = stream->provider->path;
    stream->exchange.request.body = stream->body;
    stream->exchange.request.sink = sink;
    stream->exchange.request.sink_arg = stream;
    return belay__http_exchange_start(task, &stream->exchange);
}

void
belay__llm_stream_attempt_over(belay_llm_stream *stream)
{
    stream->attempting = false;
    belay__llm_stream_count(stream);
}

void
belay__llm_stream_conclude(const belay_task *task, belay_llm_stream *stream)
{
    belay__llm_stream_attempt_over(stream);
    (void)belay__llm_plan(task, &stream->tries, BELAY__LLM_NEVER);
}

void
belay__llm_stream_end(
    const belay_task *task, belay_llm_stream *stream, int code)
{
    belay__http_exchange_stop(&stream->exchange);
    if (stream->attempting) {
        belay__llm_record(&stream->tries, code);
        belay__llm_stream_conclude(task, stream);
    }
}

/* ---- judging ---- */

enum belay__llm_verdict
belay__llm_stream_judge(belay_llm_stream *stream, int *code)
{
    struct belay__llm_tries *tries = &stream->tries;
    struct belay_llm_attempt *attempt = &tries->reply->attempt;

    if (stream->silent) {
        return belay__llm_judge(tries, *code);
    }
    if (tries->reply->answer.code == BELAY_EHTTP) {
        belay__llm_record_error(tries);
        *code = belay__llm_status_code(attempt);
        return belay__llm_judge(tries, 0);
    }
    if (attempt->status / 100 != 2) {
        *code = belay__llm_status_code(attempt);
        return belay__llm_judge(tries, 0);
    }
    if (*code == BELAY_ETRUNCATED) {
        attempt->billed = BELAY_LLM_BILLED_UNKNOWN;
        return BELAY__LLM_RETRY;
    }
    return *code == BELAY_EPROTO || *code == BELAY_EREPLY ? BELAY__LLM_ONCE
                                                          : BELAY__LLM_NEVER;
}

belay_error *
belay__llm_stream_error(belay_task *task, belay_llm_stream *stream, int code)
{
    const struct belay__llm_tries *tries = &stream->tries;
    const belay_llm_reply *reply = tries->reply;
    belay_error *cause;
    belay_error *error;

    if (stream->silent) {
        cause = belay__http_exchange_take_error(&stream->exchange);
        error = belay__llm_error_silent(task, tries, code, cause);
        belay_error_unref(cause);
        return error;
    }
    if (reply->answer.code == BELAY_EHTTP) {
        return belay__llm_error_stream(task, tries);
    }
    if (reply->attempt.status / 100 != 2) {
        return belay__llm_error_status(task, tries);
    }
    return code == BELAY_EREPLY ? belay__llm_error_shape(task, tries)
                                : belay__llm_error_broken(task, tries, code);
}

bool
belay__llm_stream_refused(const belay_llm_stream *stream)
{
    static const char name[] = "stream_options";
    const struct belay__buffer *body = &stream->tries.reply->http.body;

    if (stream->tries.reply->attempt.status != 400 || stream->opts.no_usage
        || stream->chat.body.len > 0 || stream->refused) {
        return false;
    }
    for (size_t i = 0; i + sizeof(name) - 1 <= body->len; i++) {
        if (memcmp(body->data + i, name, sizeof(name) - 1) == 0) {
            return true;
        }
    }
    return false;
}

bool
belay__llm_stream_may_end(const belay_llm_stream *stream)
{
    const int code = stream->exchange.code;

    return (code == BELAY_ETRUNCATED || code == BELAY_ERESET
               || code == BELAY_ETIMEDOUT)
           && belay__llm_feed_may_end(&stream->feed);
}
