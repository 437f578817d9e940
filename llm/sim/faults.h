/* faults.h - what can go wrong with an answer, by name (private to llm/sim and
 * the command).
 *
 * A fault is a bit in a set. Some take the place of an answer, some break it
 * off, some only change how it is written; of those that exclude each other
 * the first in the list counts.
 */
#ifndef BELAY_LLM_SIM_FAULTS_H
#define BELAY_LLM_SIM_FAULTS_H

#include <belay/base.h>

/* X(NAME, name, status, text): text is shown by `belay sim --help`. */
#define BELAY__SIM_FAULT_MAP(X)                                          \
    X(STALL_HEAD, "stall-head", 0, "nothing comes, not even the head")   \
    X(S400, "400", 400, NULL)                                            \
    X(S401, "401", 401, NULL)                                            \
    X(S403, "403", 403, NULL)                                            \
    X(S404, "404", 404, NULL)                                            \
    X(S408, "408", 408, NULL)                                            \
    X(S409, "409", 409, NULL)                                            \
    X(S413, "413", 413, NULL)                                            \
    X(S422, "422", 422, NULL)                                            \
    X(S425, "425", 425, NULL)                                            \
    X(S429, "429", 429, NULL)                                            \
    X(QUOTA, "quota", 429, "429 (Messages: 402): the account is empty")  \
    X(S500, "500", 500, NULL)                                            \
    X(S501, "501", 501, NULL)                                            \
    X(S502, "502", 502, NULL)                                            \
    X(S503, "503", 503, NULL)                                            \
    X(S504, "504", 504, NULL)                                            \
    X(S529, "529", 529, NULL)                                            \
    X(REDIRECT, "redirect", 0, "307 to another path of this server")     \
    X(HTML, "html", 0, "200 with a page of HTML")                        \
    X(EMPTY, "empty", 0, "200 without a body")                           \
    X(BAD_JSON, "bad-json", 0, "an answer or event that is half a JSON") \
    X(NOT_STREAM, "not-stream", 0, "one JSON where a stream was wanted") \
    X(ERROR_EVENT, "error-event", 0, "an error within the stream")       \
    X(CUT, "cut", 0, "the connection is closed between two events")      \
    X(CUT_EVENT, "cut-event", 0, "… within an event")                    \
    X(RESET, "reset", 0, "… by a TCP reset")                             \
    X(STALL, "stall", 0, "nothing comes after a part of the answer")     \
    X(DRIP, "drip", 0, "one event without end, byte by byte")            \
    X(LONG_EVENT, "long-event", 0, "an event of 5 MiB first")            \
    X(NO_END, "no-end", 0, "a stream that ends without its last events") \
    X(NO_DONE, "no-done", 0, "… without [DONE], message_stop")           \
    X(NO_USAGE, "no-usage", 0, "no token counts")                        \
    X(WRONG_TYPE, "wrong-type", 0, "Content-Type: text/plain")           \
    X(GZIP, "gzip", 0, "the body is compressed, asked for or not")       \
    X(SPLIT, "split", 0, "every byte of the body in a write of its own") \
    X(BOM, "bom", 0, "a stream begins with a byte order mark")           \
    X(CRLF, "crlf", 0, "a stream's lines end with CR and LF")            \
    X(CR, "cr", 0, "… with CR alone")                                    \
    X(NO_BLANK, "no-blank", 0, "`data:` without a blank behind it")      \
    X(LINES, "lines", 0, "events in several lines of data")              \
    X(COMMENTS, "comments", 0, "a comment before each event")            \
    X(PINGS, "pings", 0, "events without data, and of unknown kinds")    \
    X(NO_NEWLINE, "no-newline", 0, "a stream without its last newlines") \
    X(RETRY_YES, "should-retry", 0, "errors have x-should-retry: true")  \
    X(RETRY_NO, "should-not-retry", 0, "… false")

enum belay__sim_fault {
#define BELAY__SIM_FAULT_ENUM(name, word, status, text) BELAY__FAULT_##name,
    BELAY__SIM_FAULT_MAP(BELAY__SIM_FAULT_ENUM)
#undef BELAY__SIM_FAULT_ENUM
        BELAY__SIM_FAULTS,
};

typedef uint64_t belay__sim_faults; /* a set */

static inline belay__sim_faults
belay__sim_fault_bit(enum belay__sim_fault fault)
{
    return UINT64_C(1) << fault;
}

static inline bool
belay__sim_has(belay__sim_faults set, enum belay__sim_fault fault)
{
    return (set & belay__sim_fault_bit(fault)) != 0;
}

const char *belay__sim_fault_name(enum belay__sim_fault fault);
const char *belay__sim_fault_text(enum belay__sim_fault fault); /* or NULL */
int belay__sim_fault_status(enum belay__sim_fault fault);       /* or 0 */

/* The fault of that name; false if there is none. */
bool belay__sim_fault_find(struct belay_slice name, enum belay__sim_fault *ret);

/* Names with commas between them, and blanks if one likes. False, and *ret is
 * untouched, if one is unknown.
 */
bool belay__sim_faults_parse(struct belay_slice names, belay__sim_faults *ret);

/* "NAME=P,NAME=P": sets chances, by fault, from 0 to 1. Without =P it is 1.
 * False if that makes no sense; some may be set then.
 */
bool belay__sim_chances_parse(
    const char *text, double chances[BELAY__SIM_FAULTS]);

/* How long a refused client shall wait, and how it is told. */
enum belay__sim_retry_form {
    BELAY__SIM_RETRY_SECONDS, /* retry-after: 1.5 */
    BELAY__SIM_RETRY_MS,      /* retry-after-ms: 1500 */
    BELAY__SIM_RETRY_DATE,    /* an HTTP date of today's form */
    BELAY__SIM_RETRY_RFC850,  /* of an older one */
    BELAY__SIM_RETRY_ASCTIME, /* of the oldest */
    BELAY__SIM_RETRY_PAST,    /* a date that is over */
    BELAY__SIM_RETRY_ZERO,
    BELAY__SIM_RETRY_NEGATIVE,
    BELAY__SIM_RETRY_GARBAGE,
    BELAY__SIM_RETRY_MIXED, /* one of these, by lot */
};
#define BELAY__SIM_RETRY_FORMS 10

const char *belay__sim_retry_form_name(enum belay__sim_retry_form form);
bool belay__sim_retry_form_find(
    const char *name, enum belay__sim_retry_form *ret);

#define BELAY__SIM_RETRY_BYTES 64

/* Writes the header's name and value. MIXED is not for here. unix_s: now. */
const char *belay__sim_retry_write(enum belay__sim_retry_form form,
    belay_duration wait, int64_t unix_s, char ret[BELAY__SIM_RETRY_BYTES]);

#endif
