/* stream.h - a call whose answer comes bit by bit (private to llm/). */
#ifndef BELAY_LLM_STREAM_PRIVATE_H
#define BELAY_LLM_STREAM_PRIVATE_H

#include <belay/llm_stream.h>

#include "llm/attempt.h"
#include "llm/feed.h"
#include "llm/http/exchange.h"

/* What the next call of belay_llm_stream_next() has to do. */
enum belay__stream_state {
    BELAY__STREAM_IDLE,    /* start an attempt */
    BELAY__STREAM_RUNNING, /* read, wait */
    BELAY__STREAM_WAITING, /* wait until another attempt is due */
    BELAY__STREAM_DONE,
    BELAY__STREAM_CANCELLED, /* the exchange goes on, for the exit to drain */
    BELAY__STREAM_FAILED,
};

struct belay_llm_stream {
    struct belay__llm_tries tries;
    const struct belay__provider *provider;
    struct belay_llm_chat chat;
    struct belay_llm_stream_opts opts;
    struct belay__buffer built; /* the body, if it was not given */
    struct belay_slice body;
    struct belay__http_exchange exchange;
    struct belay__llm_feed feed;
    enum belay__stream_state state;
    uint64_t told;   /* events delivered of this attempt */
    bool attempting; /* an attempt is under way, or was not planned for */
    bool silent;     /* the exchange has failed: there is no answer */
    bool refused;    /* stream_options were: asked again without (L2) */
    bool left;       /* the client is gone */
    bool draining;   /* it is one of the client's that read on */
    belay_runtime *runtime;
    struct belay__timer drained; /* with .drain: ends that */
    belay_llm_stream *next;      /* of the client's */
    belay_llm_stream *prev;
};

/* The counts as they stand: the server's as far as it has told them, else
 * guesses, never nothing (L2, L44). In belay_llm_stream_reply() too.
 */
void belay__llm_stream_count(belay_llm_stream *stream);

/* Writes a body that asks for usage, or does not, in memory of its own; none if
 * the caller has given one. Errors: BELAY_ENOMEM, BELAY_ETOOLARGE; nothing is
 * left.
 */
int belay__llm_stream_build(
    const belay_llm_stream *stream, bool usage, struct belay__buffer *ret);
/* From now on it is what is sent, and the stream's. */
void belay__llm_stream_take(
    belay_llm_stream *stream, const struct belay__buffer *built);

/* ---- an attempt (stream_attempt.c) ---- */

/* An operation: starts one. */
belay_next belay__llm_stream_attempt(
    belay_task *task, belay_llm_stream *stream);
/* It is over and was recorded. */
void belay__llm_stream_attempt_over(belay_llm_stream *stream);
/* … and no other follows, but for what its record says by now. */
void belay__llm_stream_conclude(
    const belay_task *task, belay_llm_stream *stream);
/* If an attempt is under way, it is over, for good: recorded with this code,
 * settled, told.
 */
void belay__llm_stream_end(
    const belay_task *task, belay_llm_stream *stream, int code);

/* What to do about one that has ended badly; *code: why. */
enum belay__llm_verdict belay__llm_stream_judge(
    belay_llm_stream *stream, int *code);
/* … for the caller; the caller owns it, NULL without memory. */
belay_error *belay__llm_stream_error(
    belay_task *task, belay_llm_stream *stream, int code);

/* Has the server refused it for the option that asks for usage? It is asked
 * again without (L2), once.
 */
bool belay__llm_stream_refused(const belay_llm_stream *stream);
/* Has the connection broken, or fallen silent, where nothing was to come but
 * [DONE] (L18)?
 */
bool belay__llm_stream_may_end(const belay_llm_stream *stream);

/* ---- reading on for the counts (stream_drain.c) ---- */

/* Errors: BELAY_ENOMEM. Fini gives back what begin took, if that is left. */
int belay__llm_drain_init(belay_llm_stream *stream, belay_runtime *runtime);
void belay__llm_drain_fini(belay_llm_stream *stream);
/* From now on the exchange runs for .drain at the longest; false: it is not
 * wanted, or as many of the client's do so as may. Once begun, or when the
 * exchange has ended by itself, there is nothing to begin, and it is fine.
 */
bool belay__llm_drain_begin(belay_llm_stream *stream);
/* It does not count any more. The client is there. */
void belay__llm_drain_end(belay_llm_stream *stream);
/* An await: reads to the end, or for as long as it may. */
belay_next belay__llm_drain(belay_task *task, belay_llm_stream *stream);

/* ---- its client, its like ---- */

/* The client is being left: its streams are over, and so are their exchanges.
 */
void belay__llm_stream_leave(belay_llm_stream *stream);

/* As belay_llm_complete() of something that wants to be streamed. */
belay_next belay__llm_complete_streamed(belay_task *task,
    belay_llm_client *client, const struct belay_llm_chat *chat,
    belay_llm_reply **ret);

#endif
