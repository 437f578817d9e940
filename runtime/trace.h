/* trace.h - what the files of a trace share (private). */
#ifndef BELAY_RUNTIME_TRACE_H
#define BELAY_RUNTIME_TRACE_H

#include <belay/observe.h>

struct belay__trace {
    struct belay__trace *next; /* of this thread */
    belay_runtime *runtime;
    belay_observer *observer;
    enum belay_trace_format format;
    char run[48];        /* names the runtime, among processes and in one */
    int64_t began_ns;    /* on the runtime's clock */
    uint64_t first_task; /* older ones were there before the trace */
    bool steps;
    bool first; /* nothing is in the file yet */
    int fd;
    int failed; /* why nothing can be written any more; 0: it can */
    uint64_t dropped;
    uint64_t dropped_told; /* of these the file says */
    size_t size;
    size_t len;
    char buffer[];
};

/* ---- one record, being made (trace_text.c) ---- */

#define BELAY__RECORD_BYTES 6144

/* What does not fit is left out by whole fields, and `cut` says so. */
struct belay__record {
    size_t len;
    bool cut;
    char text[BELAY__RECORD_BYTES];
};

/* The end of an object, for which there is always room. */
void belay__record_end(struct belay__record *record, const char *end);
/* Adds fields: `,"key":value`. A text is escaped and, beyond a few hundred
 * bytes, cut; what is no UTF-8 in it becomes U+FFFD.
 */
void belay__record_raw(struct belay__record *record, const char *format, ...)
    BELAY_PRINTF(2, 3);
void belay__record_string(struct belay__record *record, const char *text);
void belay__record_text(
    struct belay__record *record, const char *key, const char *text);
void belay__record_number(
    struct belay__record *record, const char *key, int64_t number);
/* "ok", "cancelled", or the name of the code. */
void belay__record_outcome(
    struct belay__record *record, const char *key, int code, bool cancelled);
void belay__record_fields(struct belay__record *record,
    const struct belay_note_field *fields, size_t count);

/* ---- the two formats ---- */

/* Appends what the event is in the file; whole records, or nothing. */
void belay__trace_lines(
    struct belay__trace *trace, const struct belay_observed *seen);
void belay__trace_chrome(
    struct belay__trace *trace, const struct belay_observed *seen);
void belay__trace_chrome_begin(struct belay__trace *trace);
void belay__trace_chrome_dropped(struct belay__trace *trace, uint64_t count);
void belay__trace_chrome_end(struct belay__trace *trace);
void belay__trace_lines_begin(struct belay__trace *trace);
void belay__trace_lines_dropped(struct belay__trace *trace, uint64_t count);
void belay__trace_lines_end(struct belay__trace *trace);

/* A record to the buffer; counts it if there is no room. */
void belay__trace_put(struct belay__trace *trace, const char *text, size_t len);

#endif
