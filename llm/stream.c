/* stream.c - a call whose answer comes bit by bit.
 *
 *   idle -> running -> done
 *    ^         |   \-> failed, or cancelled
 *    +- waiting
 *
 * The exchange goes on by itself between two calls of next: its sink frames
 * what comes into the feed, and pauses when the user is behind. All else, the
 * reading of events, judging, trying again, happens in steps of the task that
 * asks for the next event. Nothing is told to a task that was cancelled, by
 * whoever: those who are told may do it too, see tell(). The end of an answer
 * is told as soon as it has come: a cancel after that waits for the next
 * checkpoint (S10).
 *
 * A stream counts in client->calls only while somebody waits for it. Between
 * two events its user may do what it likes, so a client that is left does not
 * wait for it, but lets go of it (belay__llm_stream_leave()).
 */
#include "llm/stream.h"

#include "llm/error.h"
#include "runtime/internal.h"

#include <belay/async.h>
#include <belay/timeout.h>

#define FAREWELL_MS 100 /* for the end of a body behind the end of its answer */

/* ---- one call of next, or of run ---- */

struct turn {
    belay_llm_stream *stream;
    struct belay_llm_event *ret; /* next: where the event goes */
    belay_llm_event_fn *on_event;
    void *arg;
    bool run; /* all events, to on_event */
};

/* What becomes of a turn once something was told; a negative code of the
 * callback's fails it.
 */
enum {
    GO_ON = 0,
    OVER = 1,
    CUT = 2, /* the task is cancelled */
};

static belay_next turn_on(belay_task *task, void *self);
static belay_next went_on(belay_task *task, void *self);

/* Waits for the exchange, which runs or has ended; for a task that is cancelled
 * that is over at once, whatever there is to wait for.
 */
static belay_next
wait_on(belay_task *task, struct turn *turn)
{
    return belay_then(task, went_on,
        belay__http_exchange_wait(task, &turn->stream->exchange));
}

static belay_next
end_turn(belay_task *task, struct turn *turn)
{
    turn->stream->tries.client->calls--;
    return belay_return(task, NULL);
}

/* What was complete by then stays so. */
static void
break_off(const belay_task *task, struct turn *turn, int code)
{
    belay__llm_stream_end(task, turn->stream, code);
    if (turn->stream->state != BELAY__STREAM_DONE) {
        turn->stream->state = BELAY__STREAM_FAILED;
    }
    turn->stream->tries.client->calls--;
}

static belay_next
fail_turn(belay_task *task, struct turn *turn, int code, belay_error *error)
{
    break_off(task, turn, code);
    return error != NULL ? belay_fail_with(task, error)
                         : belay_fail(task, code, NULL);
}

/* Cancelled: no more is told, and the connection is closed (L42), unless the
 * exit wants the counts that come last (L44).
 */
static belay_next
cancel_turn(belay_task *task, struct turn *turn)
{
    belay_llm_stream *stream = turn->stream;

    if (stream->state == BELAY__STREAM_RUNNING && !stream->left
        && stream->exchange.code == 0 && belay__llm_drain_begin(stream)) {
        stream->state = BELAY__STREAM_CANCELLED;
    }
    if (stream->state == BELAY__STREAM_CANCELLED) {
        stream->tries.client->calls--;
    } else {
        break_off(task, turn, BELAY_ECANCELED);
    }
    return belay_pass(task);
}

/* All that is told passes here. Who is told of an event, or of an attempt, may
 * cancel the task: then nothing more is told, nor done (L42).
 */
static int
tell(const belay_task *task, struct turn *turn,
    const struct belay_llm_event *event)
{
    int code = 0;

    if (belay__cancel_visible(task)) {
        return CUT;
    }
    turn->stream->told += event->type != BELAY_LLM_EVENT_RESTART;
    if (!turn->run) {
        *turn->ret = *event;
        return OVER;
    }
    if (turn->on_event != NULL) {
        code = turn->on_event(event, turn->arg);
    }
    if (code < 0) {
        return code;
    }
    if (event->type == BELAY_LLM_EVENT_DONE) {
        return OVER; /* a cancel waits for the next checkpoint (S10) */
    }
    return belay__cancel_visible(task) ? CUT : GO_ON;
}

/* What tell() has given ends the turn. */
static belay_next
told_last(belay_task *task, struct turn *turn, int over)
{
    if (over == CUT) {
        return wait_on(task, turn);
    }
    return over < 0 ? fail_turn(task, turn, over, NULL) : end_turn(task, turn);
}

/* To whom events of the attempt were told: they are void. As tell(). */
static int
tell_restart(const belay_task *task, struct turn *turn)
{
    static const struct belay_llm_event restart = {
        .type = BELAY_LLM_EVENT_RESTART};

    return turn->stream->told > 0 ? tell(task, turn, &restart) : GO_ON;
}

/* The attempt has failed: another one, or the end. A callback is told that it
 * begins anew before what becomes of the attempt, since it may want no other;
 * who asks for the next event, behind that.
 */
static belay_next
attempt_failed(belay_task *task, struct turn *turn, int code)
{
    belay_llm_stream *stream = turn->stream;
    struct belay__llm_tries *tries = &stream->tries;
    struct belay_llm_attempt *attempt = &tries->reply->attempt;
    enum belay__llm_verdict verdict = belay__llm_stream_judge(stream, &code);
    int64_t pause_ns;
    int over = GO_ON;

    tries->account.code = code;
    if (stream->told > 0 && !stream->opts.restart) {
        verdict = BELAY__LLM_NEVER;
    }
    belay__llm_stream_attempt_over(stream);
    pause_ns = belay__llm_decide(task, tries, verdict);
    if (attempt->will_retry && turn->run) {
        over = tell_restart(task, turn);
        attempt->will_retry = over == GO_ON;
    }
    belay__llm_conclude(tries, pause_ns);
    if (over < 0) {
        return fail_turn(task, turn, over, NULL);
    }
    if (!attempt->will_retry && over != CUT) {
        return fail_turn(
            task, turn, code, belay__llm_stream_error(task, stream, code));
    }
    belay__http_exchange_stop(&stream->exchange);
    stream->state = BELAY__STREAM_WAITING;
    if (!turn->run) {
        over = tell_restart(task, turn);
    }
    return over != GO_ON ? told_last(task, turn, over) : turn_on(task, turn);
}

/* Reading has come upon something wrong while the exchange may still run. */
static belay_next
reading_failed(belay_task *task, struct turn *turn, int code)
{
    belay_llm_stream *stream = turn->stream;

    belay__http_exchange_stop(&stream->exchange);
    belay__llm_record(&stream->tries, 0);
    stream->tries.reply->attempt.billed = BELAY_LLM_BILLED_UNKNOWN;
    return attempt_failed(task, turn, code);
}

/* ---- the end of an answer, and of its body ---- */

/* As tell(). */
static int
tell_done(const belay_task *task, struct turn *turn)
{
    static const struct belay_llm_event done = {.type = BELAY_LLM_EVENT_DONE};

    return tell(task, turn, &done);
}

/* Behind the end of the answer the body mostly ends too, a moment later; then
 * the connection can be used again.
 */
struct farewell {
    struct belay__http_exchange *exchange;
};

BELAY_ASYNC(farewell)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, belay_milliseconds(FAREWELL_MS), NULL)) {
        while (!self->exchange->ended) {
            BELAY_TRY(belay__http_exchange_wait(task, self->exchange));
            if (belay_result(task)->code < 0) {
                break; /* late, cancelled, or a failure: no matter now */
            }
        }
    }
    BELAY_END;
}

static belay_next
said_farewell(belay_task *task, void *self)
{
    struct turn *turn = self;

    belay__http_exchange_stop(&turn->stream->exchange);
    return end_turn(task, turn);
}

/* So its attempt is over, and that is told, whatever becomes of its connection,
 * its client or its task while they say farewell.
 */
static belay_next
answer_complete(belay_task *task, struct turn *turn)
{
    belay_llm_stream *stream = turn->stream;
    struct belay__http_exchange *exchange = &stream->exchange;
    int over;

    stream->state = BELAY__STREAM_DONE;
    belay__http_exchange_note(exchange);
    belay__llm_record(&stream->tries, 0);
    belay__llm_stream_conclude(task, stream);
    over = tell_done(task, turn);
    return over != OVER || exchange->ended
               ? told_last(task, turn, over)
               : belay_then(task, said_farewell,
                   BELAY_CALL(farewell, .exchange = exchange));
}

/* ---- going on ---- */

/* At once, and beside the retries: it is another request. That it comes is told
 * when there is one.
 */
static belay_next
ask_without_usage(belay_task *task, struct turn *turn)
{
    belay_llm_stream *stream = turn->stream;
    struct belay_llm_attempt *attempt = &stream->tries.reply->attempt;
    struct belay__buffer built;
    const int code = belay__llm_stream_build(stream, false, &built);

    attempt->retryable = true;
    attempt->will_retry = code == 0;
    belay__llm_stream_conclude(task, stream);
    if (code < 0) {
        return fail_turn(task, turn, code, NULL);
    }
    belay__llm_stream_take(stream, &built);
    stream->refused = true;
    stream->state = BELAY__STREAM_IDLE;
    return wait_on(task, turn); /* it has ended */
}

/* The exchange has ended. */
static belay_next
exchange_ended(belay_task *task, struct turn *turn)
{
    belay_llm_stream *stream = turn->stream;
    int code = stream->exchange.code;

    if (belay__llm_stream_may_end(stream)) {
        code = 0; /* as if it had ended, which may prove too early yet */
    }
    belay__llm_record(&stream->tries, code);
    if (code < 0) {
        stream->silent = true;
        return attempt_failed(task, turn, code);
    }
    if (stream->tries.reply->http.status / 100 == 2) {
        code = belay__llm_feed_end(&stream->feed);
        return code < 0 ? attempt_failed(task, turn, code)
                        : turn_on(task, turn);
    }
    return belay__llm_stream_refused(stream) ? ask_without_usage(task, turn)
                                             : attempt_failed(task, turn, 0);
}

/* What came of waiting for the exchange. */
static belay_next
went_on(belay_task *task, void *self)
{
    struct turn *turn = self;
    belay_llm_stream *stream = turn->stream;

    if (belay_result(task)->cancelled) {
        return cancel_turn(task, turn);
    }
    if (stream->left) {
        return fail_turn(task, turn, BELAY_ECLOSED, NULL);
    }
    return turn_on(task, turn);
}

static belay_next
admitted(belay_task *task, void *self)
{
    struct turn *turn = self;
    const struct belay_result *result = belay_result(task);

    if (result->cancelled) {
        return cancel_turn(task, turn);
    }
    return result->code < 0 ? fail_turn(
               task, turn, result->code, belay_error_ref(result->error))
                            : belay_then(task, went_on,
                                belay__llm_stream_attempt(task, turn->stream));
}

static belay_next
begin_attempt(belay_task *task, struct turn *turn)
{
    belay_llm_stream *stream = turn->stream;
    int code;

    if (belay__llm_tries_free(&stream->tries)) {
        code = belay__llm_tries_take_key(&stream->tries);
        return code < 0 ? fail_turn(task, turn, code,
                   belay__llm_error_key(task, stream->tries.client, code))
                        : belay_then(task, went_on,
                            belay__llm_stream_attempt(task, stream));
    }
    return belay_then(task, admitted,
        belay__llm_tries_admit(task, &stream->tries, stream->provider));
}

static belay_next
is_due(belay_task *task, void *self)
{
    struct turn *turn = self;
    const struct belay_result *result = belay_result(task);

    if (result->cancelled) {
        return cancel_turn(task, turn);
    }
    if (result->code < 0) {
        return fail_turn(
            task, turn, result->code, belay_error_ref(result->error));
    }
    turn->stream->state = BELAY__STREAM_IDLE;
    return turn_on(task, turn);
}

/* There is nothing to read: what now? */
static belay_next
wait_or_end(belay_task *task, struct turn *turn)
{
    belay_llm_stream *stream = turn->stream;
    struct belay__http_exchange *exchange = &stream->exchange;

    if (belay__llm_feed_finished(&stream->feed)) {
        if (stream->tries.reply->answer.choice_count == 0) {
            return reading_failed(task, turn, BELAY_EREPLY);
        }
        return answer_complete(task, turn);
    }
    if (exchange->ended && stream->feed.ended) {
        return attempt_failed(task, turn, BELAY_ETRUNCATED);
    }
    if (exchange->ended) {
        return exchange_ended(task, turn);
    }
    if (belay__llm_feed_hungry(&stream->feed)) {
        stream->feed.paused = false;
        belay__http_exchange_resume(exchange);
    }
    return wait_on(task, turn);
}

static belay_next
turn_on(belay_task *task, void *self)
{
    struct turn *turn = self;
    belay_llm_stream *stream = turn->stream;
    struct belay_llm_event event;
    int code = 0;

    switch (stream->state) {
    case BELAY__STREAM_IDLE:
        return begin_attempt(task, turn);
    case BELAY__STREAM_WAITING:
        return belay_then(task, is_due, belay__llm_wait(task, &stream->tries));
    case BELAY__STREAM_RUNNING:
        break;
    case BELAY__STREAM_DONE:
        return told_last(task, turn, tell_done(task, turn));
    case BELAY__STREAM_CANCELLED:
    case BELAY__STREAM_FAILED:
        stream->tries.client->calls--;
        return belay_fail(task, BELAY_ESTATE, "the stream has failed before");
    }
    while ((code = belay__llm_feed_pull(&stream->feed, &event)) > 0) {
        int over = tell(task, turn, &event);

        if (over != GO_ON) {
            return told_last(task, turn, over);
        }
    }
    return code < 0 ? reading_failed(task, turn, code)
                    : wait_or_end(task, turn);
}

static belay_next
turn_start(belay_task *task, void *self)
{
    struct turn *turn = self;
    belay_llm_stream *stream = turn->stream;

    if (stream->left) {
        return belay_fail(task, BELAY_ECLOSED, "the client was left");
    }
    stream->tries.client->calls++;
    /* Also when there is something to read at once. */
    return belay__cancel_visible(task) ? wait_on(task, turn)
                                       : turn_on(task, turn);
}

static const belay_function turn_function = {
    "llm stream", __FILE__, sizeof(struct turn), turn_start, 0};

belay_next
belay_llm_stream_next(
    belay_task *task, belay_llm_stream *stream, struct belay_llm_event *ret)
{
    return belay_call(task, &turn_function,
        &(const struct turn){.stream = stream, .ret = ret});
}

belay_next
belay_llm_stream_run(belay_task *task, belay_llm_stream *stream,
    belay_llm_event_fn *on_event, void *arg)
{
    return belay_call(task, &turn_function,
        &(const struct turn){
            .stream = stream, .on_event = on_event, .arg = arg, .run = true});
}
