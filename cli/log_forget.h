/* log_forget.h - what `belay log` takes out of a record (private).
 *
 * An attempt is as old as its id says. Of a file that is also written to,
 * SQLite keeps the writers apart; lines are refused while a recorder has them.
 */
#ifndef BELAY_CLI_LOG_FORGET_H
#define BELAY_CLI_LOG_FORGET_H

#include "cli/log.h"
#include "llm/record/ulid.h"

struct belay__log_forget {
    char before[BELAY__ULID_BYTES]; /* attempts whose ids are smaller … */
    bool texts_only; /* … lose what was said, and else go altogether */
    uint64_t count;  /* out: so many were affected */
    bool pending; /* out: SQLite's log, which others use, still has the texts */
};

/* Codes as of belay__log_read(). */
int belay__log_forget_old(
    struct belay__log *log, const char *path, struct belay__log_forget *forget);

/* ---- between the files ---- */

int belay__log_forget_sqlite(
    struct belay__log *log, const char *path, struct belay__log_forget *forget);
int belay__log_forget_jsonl(
    struct belay__log *log, const char *path, struct belay__log_forget *forget);

#endif
