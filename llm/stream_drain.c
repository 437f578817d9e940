/* stream_drain.c - a stream that was left or cancelled reads on, unseen, for
 * the counts that come last (L44).
 *
 * It begins with the cancel, or else with the exit, and ends with the exchange,
 * with the time that it was given, or with the grace of the exit. Of a client
 * only so many do so at once: the place is taken when it begins, and given back
 * when time is up, for then the connection is closed, or at the exit.
 */
#include "llm/stream.h"

#include "runtime/internal.h"

#include <belay/async.h>

static void
on_time_up(struct belay__timer *timer)
{
    belay_llm_stream *stream =
        BELAY__CONTAINER(timer, belay_llm_stream, drained);

    belay__llm_drain_end(stream);
    belay__http_exchange_stop(&stream->exchange);
    belay__http_exchange_wake(&stream->exchange);
}

int
belay__llm_drain_init(belay_llm_stream *stream, belay_runtime *runtime)
{
    stream->runtime = runtime;
    return stream->opts.drain.ns > 0
               ? belay__timer_init(runtime, &stream->drained, on_time_up)
               : 0;
}

void
belay__llm_drain_fini(belay_llm_stream *stream)
{
    belay__llm_drain_end(stream);
    belay__timer_fini(stream->runtime, &stream->drained);
}

bool
belay__llm_drain_begin(belay_llm_stream *stream)
{
    belay_llm_client *client = stream->tries.client;

    if (stream->opts.drain.ns <= 0) {
        return false;
    }
    if (stream->draining || stream->exchange.ended) {
        return true;
    }
    if (client->drains >= client->max_drains) {
        return false;
    }
    client->drains++;
    stream->draining = true;
    belay__timer_start(stream->runtime, &stream->drained,
        belay__due(stream->runtime, stream->opts.drain));
    return true;
}

void
belay__llm_drain_end(belay_llm_stream *stream)
{
    if (stream->draining) {
        stream->draining = false;
        stream->tries.client->drains--;
        belay__timer_stop(stream->runtime, &stream->drained);
    }
}

/* Takes in what has come, unseen. */
static void
swallow(belay_llm_stream *stream)
{
    struct belay_llm_event event;

    while (belay__llm_feed_pull(&stream->feed, &event) > 0) {
    }
    if (belay__llm_feed_hungry(&stream->feed)) {
        stream->feed.paused = false;
        belay__http_exchange_resume(&stream->exchange);
    }
}

static void
finish(belay_llm_stream *stream)
{
    const struct belay__http_exchange *exchange = &stream->exchange;

    if (exchange->ended && exchange->reply->status / 100 == 2
        && (exchange->code == 0 || belay__llm_stream_may_end(stream))) {
        (void)belay__llm_feed_end(&stream->feed);
        swallow(stream);
    }
    if (belay__llm_feed_finished(&stream->feed)) {
        stream->state = BELAY__STREAM_DONE;
    }
}

struct drain {
    belay_llm_stream *stream;
};

BELAY_ASYNC(drain)
{
    belay_llm_stream *stream = self->stream;

    BELAY_BEGIN;
    swallow(stream);
    while (
        !stream->exchange.ended && !belay__llm_feed_finished(&stream->feed)) {
        BELAY_TRY(belay__http_exchange_wait(task, &stream->exchange));
        swallow(stream);
        if (belay_result(task)->code < 0) {
            break; /* the grace is over, or a failure */
        }
    }
    finish(stream);
    BELAY_END;
}

belay_next
belay__llm_drain(belay_task *task, belay_llm_stream *stream)
{
    return BELAY_CALL(drain, .stream = stream);
}
