/* request.h - what one line of a batch asks for (private).
 *
 * Three kinds of line are read (B1):
 *
 *     {"custom_id": id, "method": "POST", "url": path, "body": {...}}
 *     {"custom_id": id, "params": {...}}           to /v1/messages
 *     {...}                                        the body itself
 *
 * A bad line is no error of the program: it gives a request with a fault and
 * a sentence, which becomes a line of the error file (B2). The body is never
 * changed or printed anew: it is a slice of the line (B3, L93).
 */
#ifndef BELAY_LLM_BATCH_REQUEST_H
#define BELAY_LLM_BATCH_REQUEST_H

#include "llm/batch/lines.h"
#include "llm/batch/stats.h"
#include "runtime/buffer.h"

/* Why a line is not sent; the names are what the error file says. */
#define BELAY__BATCH_FAULT_MAP(X)          \
    X(NONE, "none")                        \
    X(INVALID_LINE, "invalid_json_line")   \
    X(DUPLICATE_ID, "duplicate_custom_id") \
    X(URL_MISMATCH, "url_mismatch")        \
    X(UNSUPPORTED_URL, "unsupported_url")  \
    X(LINE_TOO_LARGE, "line_too_large")    \
    X(STREAM, "stream_not_allowed")

enum belay__batch_fault {
#define BELAY__ENUM(name, text) BELAY__BATCH_##name,
    BELAY__BATCH_FAULT_MAP(BELAY__ENUM)
#undef BELAY__ENUM
};

/* What is asked of every line of a batch. */
struct belay__batch_rules {
    struct belay_slice url; /* each line goes there; empty: where it says */
    bool bare; /* a line is a body; its id is its number, url must be set */
};

#define BELAY__BATCH_MESSAGE 192

/* Slices point into the line, or into the scratch buffer where a text had
 * escapes; they live as long as both. Empty: the line does not have it.
 */
struct belay__batch_request {
    uint64_t line;
    enum belay__batch_fault fault;
    char message[BELAY__BATCH_MESSAGE]; /* a sentence about the fault, or "" */
    struct belay_slice custom_id;
    struct belay_slice custom_id_raw; /* with quotes, as it stands */
    struct belay_slice url;
    struct belay_slice body; /* byte for byte; an object if there is no fault */
    struct belay_slice model; /* top level of the body; empty if no string */
    bool stream;              /* the body has "stream": true */
};

/* Reads a line. custom_id is given whenever it could be read, also of a bad
 * line; the rest is good only without a fault. scratch is borrowed and
 * cleared first. Errors: BELAY_ENOMEM, BELAY_ETOOLARGE from scratch (it needs
 * less than the line's length), *ret is untouched.
 */
int belay__batch_read(const struct belay__line *line,
    const struct belay__batch_rules *rules, struct belay__buffer *scratch,
    struct belay__batch_request *ret);

/* Marks a good request whose custom_id was used before. */
void belay__batch_mark_duplicate(struct belay__batch_request *request);

/* The name of a fault in the error file, as in "invalid_json_line". */
const char *belay__batch_fault_name(enum belay__batch_fault fault);

/* The code of such a line in the reports. */
enum belay__line_error belay__batch_error_of(enum belay__batch_fault fault);

/* Does this URL answer without tokens, as embeddings do? */
bool belay__batch_is_without_output(struct belay_slice url);

/* Appends the body of a request to another model: the value of every
 * top-level "model" is replaced, or one is put first if there is none; every
 * other byte is as it was. Errors: BELAY_EJSON body is not an object,
 * BELAY_ENOMEM, BELAY_ETOOLARGE; the buffer is unchanged.
 */
int belay__batch_write_body(struct belay__buffer *buffer,
    struct belay_slice body, struct belay_slice model);

#endif
