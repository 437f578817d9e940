/* feed.h - what comes in for a stream, until somebody reads it (private).
 *
 *     bytes -> push -> events, framed, in a queue -> pull -> deltas
 *
 * Bytes are pushed from the loop and only framed there, which tells whether
 * the server is alive; what they mean is read when the stream's user asks, so
 * that what it was shown stays where it is until then. Some servers answer
 * with all of it at once where a stream was asked for: that is kept as a body
 * and read at its end (L25). Rules: L15-L28, L41.
 */
#ifndef BELAY_LLM_FEED_H
#define BELAY_LLM_FEED_H

#include "llm/http/client.h"
#include "llm/provider/provider.h"

struct belay__llm_feed {
    const struct belay__provider *provider;
    struct belay_slice request;   /* what was asked */
    struct belay__answer *answer; /* where it goes; live */
    struct belay__buffer *body;   /* where an answer in one piece goes */
    struct belay__sse sse;
    struct belay__buffer queue; /* records and their bytes */
    size_t queue_at;            /* what was read of it */
    size_t queue_max;           /* unread bytes that make push pause */
    enum {
        BELAY__FEED_UNKNOWN, /* nothing but blanks so far */
        BELAY__FEED_EVENTS,
        BELAY__FEED_WHOLE,
    } form;
    bool paused;
    bool ended;  /* nothing more will be pushed */
    bool closed; /* the answer was closed */
    int code;    /* of the first error that was read */
    int broken;  /* of the first one while framing */
};

/* answer and body are borrowed; the rest is memory's. Zero sizes mean their
 * defaults.
 */
void belay__llm_feed_init(struct belay__llm_feed *feed,
    struct belay__memory *memory, size_t max_event, size_t max_queue);
/* Zeroed is fine. */
void belay__llm_feed_fini(struct belay__llm_feed *feed);

/* As new, for another attempt at this request, which is borrowed too, as the
 * answer's.
 */
void belay__llm_feed_begin(struct belay__llm_feed *feed,
    const struct belay__provider *provider, struct belay_slice request,
    struct belay__answer *answer, struct belay__buffer *body);

/* For a sink: takes bytes, or, with BELAY__HTTP_PAUSE, does not. */
int belay__llm_feed_push(
    struct belay__llm_feed *feed, struct belay_slice bytes);
/* The stream has ended. Errors: BELAY_ENOMEM, BELAY_ETOOLARGE. */
int belay__llm_feed_end(struct belay__llm_feed *feed);

/* Something new: 1 with *ret set, good until the next call; 0: nothing now,
 * see belay__llm_feed_finished(). Errors: BELAY_EPROTO an event is not JSON;
 * BELAY_EHTTP it is an error, see the answer; BELAY_EREPLY not of the
 * format's form; BELAY_ETRUNCATED it breaks off; BELAY_ENOMEM.
 */
int belay__llm_feed_pull(
    struct belay__llm_feed *feed, struct belay_llm_event *ret);

/* Has what was pulled an end, so that nothing need follow? Where choices end
 * by themselves it takes as many as were asked for (L6, L18).
 */
bool belay__llm_feed_may_end(const struct belay__llm_feed *feed);
/* Has the answer come to its end, and was all of it pulled? */
bool belay__llm_feed_finished(const struct belay__llm_feed *feed);

/* May a push that was paused be taken up again? */
bool belay__llm_feed_hungry(const struct belay__llm_feed *feed);

#endif
