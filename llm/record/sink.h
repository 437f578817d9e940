/* sink.h - where rows go (private to llm/record/).
 *
 * All functions run on the writer's thread. Rows of one commit are in the file
 * all or, after a failure or a crash, not at all (SQLite) or up to a whole
 * line (JSONL).
 */
#ifndef BELAY_LLM_RECORD_SINK_H
#define BELAY_LLM_RECORD_SINK_H

#include <stdatomic.h>

#include "llm/record/row.h"

#define BELAY__SINK_WHY_BYTES 160
/* A line that begins so is not there: `belay log --forget`, which moves lines
 * within the file, was interrupted.
 */
#define BELAY__RECORD_MARK '\x18'

/* What those who wait for the writer ask of it. */
enum belay__sink_haste {
    BELAY__SINK_STEADY,
    BELAY__SINK_LAST,  /* what has come is all; an open is given up */
    BELAY__SINK_HURRY, /* … and nothing is waited for any more */
};

struct belay__sink_opts {
    const char *path;
    const char *run;
    enum belay_record_text text;
    const atomic_int *haste; /* a belay__sink_haste; it only grows */
};

/* The first member of every sink. */
struct belay__sink {
    const struct belay__sink_kind *kind;
    /* Rows of the last commit that are not in the file all the same: ends of
     * attempts that it does not have.
     */
    uint32_t homeless;
};

/* Codes are 0 or BELAY_EIO, with `why` in words, or BELAY_ENOMEM. */
struct belay__sink_kind {
    int (*open)(const struct belay__sink_opts *opts, struct belay__sink **ret,
        char *why);
    int (*begin)(struct belay__sink *sink, char *why);
    int (*write)(
        struct belay__sink *sink, const struct belay__row *row, char *why);
    int (*commit)(struct belay__sink *sink, char *why);
    void (*rollback)(struct belay__sink *sink); /* after a failed write */
    void (*close)(struct belay__sink *sink);
};

extern const struct belay__sink_kind belay__sink_jsonl;
extern const struct belay__sink_kind *const belay__sink_sqlite; /* or NULL */

/* The name of a status, as "ok". */
const char *belay__record_status_name(enum belay__record_status status);

#endif
