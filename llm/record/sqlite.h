/* sqlite.h - an SQLite file being written (private to llm/record/).
 *
 *     sink_sqlite.c   the file: its schema, its transactions
 *     sqlite_rows.c   what a row of ours becomes in its tables
 *
 * All on the writer's thread.
 */
#ifndef BELAY_LLM_RECORD_SQLITE_H
#define BELAY_LLM_RECORD_SQLITE_H

#include "llm/record/recent.h"
#include "llm/record/sink.h"
#include "runtime/buffer.h"

#include <sqlite3.h>

enum {
    BELAY__DATA_VERSION,
    BELAY__ADD_SESSION,
    BELAY__ADD_TURN,
    BELAY__ADD_MESSAGE,
    BELAY__ADD_BLOB,
    BELAY__ADD_ATTEMPT,
    BELAY__END_ATTEMPT,
    BELAY__STATEMENTS,
};

/* An attempt that starts in the transaction which is open. */
struct belay__sqlite_start {
    const struct belay__row *start;
    const struct belay__row *end; /* NULL: it has not ended in it */
};

/* Invariants: starts are in the order of their ids, and none of them is in the
 * file yet; recent has only messages that are in it, or in the transaction.
 */
struct belay__sqlite {
    struct belay__sink sink;
    struct belay__memory *memory; /* the thread's own */
    struct belay__sink_opts opts;
    sqlite3 *db;
    sqlite3_stmt *prepared[BELAY__STATEMENTS];
    int64_t data_version; /* of the file, at the last look */
    struct belay__hasher hasher;
    struct belay__recent recent;
    struct belay__buffer params;
    struct belay__sqlite_start *starts;
    size_t start_count;
    size_t start_room;
};

/* The SQL of a statement. */
const char *belay__sqlite_statement(int which);
/* BELAY_EIO, with SQLite's words in `why`. */
int belay__sqlite_failed(const struct belay__sqlite *sqlite, char *why);

/* Takes a row into the transaction. The row stays where it is until that has
 * ended: attempts go into the file all together, at the flush.
 */
int belay__sqlite_write(
    struct belay__sqlite *sqlite, const struct belay__row *row, char *why);
int belay__sqlite_flush(struct belay__sqlite *sqlite, char *why);

#endif
