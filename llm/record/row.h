/* row.h - what the loop hands to the writer (private to llm/record/).
 *
 * A row is the struct and, behind it, copies of its texts. It is made and freed
 * on the loop thread and belongs to the writer in between.
 */
#ifndef BELAY_LLM_RECORD_ROW_H
#define BELAY_LLM_RECORD_ROW_H

#include "llm/record/recorder.h"

enum belay__row_kind {
    BELAY__ROW_START,
    BELAY__ROW_END,
};

enum {
    BELAY__TEXT_SESSION,
    BELAY__TEXT_TURN,
    BELAY__TEXT_PARENT_TURN,
    BELAY__TEXT_ENDPOINT,
    BELAY__TEXT_PROVIDER,
    BELAY__TEXT_MODEL, /* asked for, or that answered */
    BELAY__TEXT_BODY,  /* the request's, or the answer's */
    BELAY__TEXT_REQUEST_ID,
    BELAY__TEXT_MESSAGE, /* of an error */
    BELAY__TEXT_END,     /* why the answer ends */
    BELAY__TEXT_COUNT,
};

struct belay__row_block;

struct belay__row {
    struct belay__row *next;
    struct belay__row_block *block; /* that it lies in */
    size_t bytes;                   /* with its texts */
    bool checked;                   /* the body is JSON */
    enum belay__row_kind kind;
    char attempt[BELAY__ULID_BYTES];
    struct belay_slice texts[BELAY__TEXT_COUNT];
    uint32_t number;
    int64_t started_us; /* since 1970, UTC */
    int64_t first_byte_us;
    int64_t ended_us;
    enum belay__record_status status;
    int http_status;
    int code;
    enum belay_llm_billed billed;
    struct belay_llm_usage usage;
    struct belay_cost cost;
};

#endif
