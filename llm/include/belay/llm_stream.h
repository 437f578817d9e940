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
    struct belay_slice id;
    struct belay_slice name;
};

BELAY_END_DECLS

#endif
