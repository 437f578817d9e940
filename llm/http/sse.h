/* sse.h - the events of a text/event-stream that arrives in pieces (private).
 *
 * Bytes are pushed as they come, events are pulled:
 *
 *     belay__sse_push(&sse, bytes);
 *     while ((code = belay__sse_next(&sse, &event)) > 0) {
 *         ...
 *     }
 *
 * A line ends with LF, CR LF or CR, an event with a blank line. Data lines of
 * one event are joined by LF; an event without data, or with nothing but
 * blanks in it, is not shown. Other fields than "data" and "event" are passed
 * over, a byte order mark at the start too; any other byte, NUL and those of
 * U+2028 included, is just a byte. How the stream was cut into pieces makes
 * no difference. Memory: nothing while events lie within one piece, else the
 * event that is being put together, at most the maximum and a few bytes.
 * Rules: L10-L20, L28; WHATWG HTML, 9.2.6.
 */
#ifndef BELAY_LLM_HTTP_SSE_H
#define BELAY_LLM_HTTP_SSE_H

#include "runtime/buffer.h"

#define BELAY__SSE_MAX_DEFAULT ((size_t)16 << 20)
#define BELAY__SSE_NAME_MAX 64 /* bytes kept of an event's name */

struct belay__sse_event {
    struct belay_slice name; /* of the last "event" line; empty: none */
    struct belay_slice data; /* not blank */
    bool unfinished; /* the stream ended before the blank line behind it: it
                        may have been cut off */
};

struct belay__sse {
    bool active; /* set with each comment and each end of an event, shown or
                    not; for the caller to read and to clear (L12, L41) */
    /* The rest is the parser's own. */
    struct belay__buffer held; /* data of the event, then the unended line */
    size_t max;
    const char *at; /* what is left of the bytes pushed last */
    const char *end;
    const char *line_feed;  /* the next one in there, or end */
    const char *piece_data; /* the event's data, unless it is held */
    size_t data_at;         /* where it is held */
    size_t data_len;
    size_t line_len; /* of the line that is held */
    size_t name_len;
    char name[BELAY__SSE_NAME_MAX];
    int code;       /* the first error: it sticks */
    bool line_held; /* the line that was taken is in held */
    bool has_data;
    bool data_held;
    bool has_field;
    bool begun;    /* the first line is over */
    bool after_cr; /* a LF that follows belongs to it */
    bool shown;    /* the event is the caller's until the next call */
    bool ended;    /* nothing more will be pushed */
};

/* Before the first byte of a stream. max is the limit for the bytes of an
 * event that count at one time, its data so far and the line that is being
 * read; 0 for the default. memory is borrowed and outlives the parser.
 */
void belay__sse_init(
    struct belay__sse *sse, struct belay__memory *memory, size_t max);

/* Frees what is held. NULL and a zeroed parser are fine. */
void belay__sse_fini(struct belay__sse *sse);

/* Adds bytes, which stay the caller's and must not change until
 * belay__sse_next() has given 0. Only then may more be pushed.
 */
void belay__sse_push(struct belay__sse *sse, struct belay_slice bytes);

/* The stream ends here: what was not ended by a line end and a blank line is
 * ended now.
 */
void belay__sse_end(struct belay__sse *sse);

/* The next event: 1 with *ret set and good until the next call, or 0 if more
 * bytes are needed (after end: if there are no more events). Errors, after
 * which there are only errors: BELAY_ETOOLARGE, BELAY_ENOMEM. *ret is
 * untouched unless the result is 1.
 */
int belay__sse_next(struct belay__sse *sse, struct belay__sse_event *ret);

#endif
