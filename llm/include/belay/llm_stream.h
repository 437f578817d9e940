/* llm_stream.h - answers that come bit by bit.
 *
 * A stream is a scope round one call. Its events are asked for one after the
 * other, or given to a callback:
 *
 *     BELAY_WITH (belay_llm_stream_open(
 *         task, client, &chat, NULL, &self->stream)) {
 *         for (;;) {
 *             BELAY_AWAIT(belay_llm_stream_next(
 *                 task, self->stream, &self->event));
 *             if (self->event.type == BELAY_LLM_EVENT_DONE) {
 *                 break;
 *             }
 *             ...
 *         }
 *     }
 *
 * What has come is put together in the stream's reply, which can be looked at
 * at any time, after a failure too. Nothing is read from the server while the
 * user is behind by more than a limit. Leaving the block early closes the
 * connection. Rules: L2, L6, L7, L10-L30, L41-L44, L48.
 */
#ifndef BELAY_LLM_STREAM_H
#define BELAY_LLM_STREAM_H

#include <belay/llm.h>

BELAY_BEGIN_DECLS

typedef struct belay_llm_stream belay_llm_stream; /* opaque; its block's */

enum belay_llm_event_type {
    BELAY_LLM_EVENT_TEXT,      /* `text`: the next piece of a choice's text */
    BELAY_LLM_EVENT_REFUSAL,   /* … of its refusal */
    BELAY_LLM_EVENT_REASONING, /* … of its thinking */
    BELAY_LLM_EVENT_TOOL,      /* a tool is called: `id`, `name` */
    BELAY_LLM_EVENT_ARGUMENTS, /* `text`: the next piece of its arguments */
    BELAY_LLM_EVENT_END,     /* a choice ends: `end`, `text` the word for it */
    BELAY_LLM_EVENT_RESTART, /* all that came so far is void: it begins anew */
    BELAY_LLM_EVENT_DONE,    /* nothing more will come */
};

/* What `text` and the like point to is good until the next event. */
struct belay_llm_event {
    enum belay_llm_event_type type;
    enum belay_llm_end end;
    int64_t choice;          /* its index */
    size_t tool;             /* which of the choice's calls, from 0 */
    struct belay_slice text; /* UTF-8, whole characters */
    struct belay_slice id; /* the server's, or empty; the reply's calls all have
                              one once the stream is done */
    struct belay_slice name;
};

/* Options for belay_llm_stream_open(). A zero field means its default. */
struct belay_llm_stream_opts {
    size_t size;   /* of this struct; BELAY_LLM_STREAM_OPTS() fills it */
    bool no_usage; /* Chat: do not ask for the counts; they are estimated */
    bool restart;  /* a failure after the first event is retried too, and told
                      by BELAY_LLM_EVENT_RESTART */
    size_t max_event_bytes; /* of one event of the server's; default 16 MiB */
    size_t max_queue_bytes; /* unread, beyond which nothing is taken from the
                               server; default 256 KiB */
    belay_duration drain;   /* a block that is left early reads on for so long,
                             unseen, to have exact counts: from the cancel,
                             or from its exit; of a cancelled task not beyond
                             its grace. Default: it closes the connection. At
                             most as many of a client do so as its
                             max_drains */
    belay_llm_reply **keep; /* NULL, or receives the reply when the block is
                               left, however: then it is the caller's */
};
#define BELAY_LLM_STREAM_OPTS(...)          \
    (&(const struct belay_llm_stream_opts){ \
        .size = sizeof(struct belay_llm_stream_opts), __VA_ARGS__})

/* Called on the loop with each event, in a step of the task that reads. 0: go
 * on; negative: the stream fails with that code; if the event was
 * BELAY_LLM_EVENT_DONE, only the call does, for the answer is complete. It may
 * cancel the task, which is told nothing more then, but not close the stream.
 */
typedef int belay_llm_event_fn(const struct belay_llm_event *event, void *arg);

/**
 * belay_llm_stream_open - enter a stream; use it in BELAY_WITH
 *
 *   client  must not be left before the block, or the stream ends with it
 *   chat    the struct is copied; what it points to is borrowed until the
 *           block is left
 *   opts    NULL for all defaults; copied
 *   ret     receives the stream once entered; untouched on failure
 *
 * Sends nothing yet: the first belay_llm_stream_next() does.
 *
 * Owner:   the block.
 * Errors:  BELAY_EINVAL    as belay_llm_complete(), or opts->size is unknown
 *          BELAY_ETOOLARGE the request is above 64 MiB
 *          BELAY_ECLOSED   the client is being left, or was by then
 *          BELAY_ENOMEM    no memory
 *          In each case nothing has changed.
 * Threads: loop thread. Entering is not a checkpoint; the exit is one only
 *          with .drain.
 * Since:   0.1. Source: contract L2, L44.
 */
BELAY_API belay_next belay_llm_stream_open(belay_task *task,
    belay_llm_client *client, const struct belay_llm_chat *chat,
    const struct belay_llm_stream_opts *opts, belay_llm_stream **ret);

/**
 * belay_llm_stream_next - wait for the next event
 *
 *   stream  not NULL; one task at a time
 *   ret     receives the event; untouched on failure
 *
 * The first call sends the request. Attempts fail and are retried in here, as
 * in belay_llm_complete(), until the first event was delivered. Afterwards a
 * failure ends the stream: what has come stays in its reply. BELAY_LLM_EVENT_
 * DONE is the last event, and comes again if one asks again. Behind it the body
 * has 100 ms to end too, to keep the connection; a cancel cuts that short, and
 * the event is delivered.
 *
 * Owner:   what *ret points to lives until the next call, or the block's end.
 * Errors:  as belay_llm_complete(), and
 *          BELAY_EHTTP, BELAY_EAUTH, BELAY_EQUOTA  also: the server has sent
 *                           an error in its stream; belay_error_foreign() is
 *                           "HTTP" and the status that it amounts to
 *          BELAY_EPROTO     an event is not JSON
 *          BELAY_ETRUNCATED the stream ends without an end of the answer
 *          BELAY_ETOOLARGE  an event is above max_event_bytes
 *          BELAY_ESTATE     the stream has failed before
 *          BELAY_ECANCELED  flagged: cancelled; the connection is closed
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L10-L30, L41, L42.
 */
BELAY_API belay_next belay_llm_stream_next(
    belay_task *task, belay_llm_stream *stream, struct belay_llm_event *ret);

/**
 * belay_llm_stream_run - give all events to a callback
 *
 *   stream    not NULL
 *   on_event  NULL, or called with each event, the last one too
 *   arg       for on_event
 *
 * As a loop round belay_llm_stream_next(), at less cost.
 *
 * Owner:   nothing changes hands.
 * Errors:  as belay_llm_stream_next(), or what on_event answers. It is not
 *          called after a cancel; one that comes behind BELAY_LLM_EVENT_DONE
 *          waits for the next checkpoint.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L42.
 */
BELAY_API belay_next belay_llm_stream_run(belay_task *task,
    belay_llm_stream *stream, belay_llm_event_fn *on_event, void *arg);

/**
 * belay_llm_stream_reply - what has come so far, put together
 *
 *   stream  not NULL
 *
 * Its status, headers and attempt are those of the attempt that runs or ran
 * last; its body is empty, unless the server did not stream. While the answer
 * is not complete, its usage is BELAY_LLM_USAGE_PARTIAL, never 0.
 *
 * Owner:   the stream's, until the block is left; see .keep.
 * Errors:  none; never NULL.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L21, L23, L44.
 */
BELAY_API belay_llm_reply *belay_llm_stream_reply(belay_llm_stream *stream);

/**
 * belay_llm_complete_stream - a whole call, its events given to a callback
 *
 *   client    not NULL
 *   chat      the struct is copied; what it points to is borrowed until the
 *             end
 *   opts      NULL for all defaults; copied; .keep is not used
 *   on_event  NULL, or called with each event
 *   arg       for on_event
 *   ret       receives the reply; untouched on failure
 *
 * Owner:   *ret is the caller's, for belay_llm_reply_free().
 * Errors:  as belay_llm_stream_open() and belay_llm_stream_run().
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L1, L42.
 */
BELAY_API belay_next belay_llm_complete_stream(belay_task *task,
    belay_llm_client *client, const struct belay_llm_chat *chat,
    const struct belay_llm_stream_opts *opts, belay_llm_event_fn *on_event,
    void *arg, belay_llm_reply **ret);

BELAY_END_DECLS

#endif
