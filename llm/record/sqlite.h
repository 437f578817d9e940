/* sqlite.h - an SQLite file being written (private to llm/record/).
 *
 *     sink_sqlite.c     the file: its opening, its transactions
 *     sqlite_schema.c   its tables, and those of versions before
 *     sqlite_take.c     rows of ours taken apart, a group at a time
 *     sqlite_names.c    what many attempts have in common, by a number
 *     sqlite_rows.c     groups, as what they become in the tables
 *     sqlite_table.c    a group as a table that SQLite reads
 *
 * All on the writer's thread.
 */
#ifndef BELAY_LLM_RECORD_SQLITE_H
#define BELAY_LLM_RECORD_SQLITE_H

#include "llm/record/recent.h"
#include "llm/record/seen.h"
#include "llm/record/sink.h"
#include "llm/record/sqlite_table.h"
#include "runtime/buffer.h"

#include <sqlite3.h>

/* So many attempts are taken apart, and then written: what they say stays in
 * the processor's cache meanwhile.
 */
#define BELAY__SQLITE_GROUP 128

enum {
    BELAY__BEGIN,
    BELAY__COMMIT,
    BELAY__ROLLBACK,
    BELAY__DATA_VERSION,
    BELAY__KEYS_TAKEN,
    BELAY__ADD_TARGET,
    BELAY__ADD_OUTCOME,
    BELAY__ADD_PARAMS,
    BELAY__ADD_SESSIONS,
    BELAY__ADD_TURNS,
    BELAY__ADD_MESSAGES,
    BELAY__ADD_ATTEMPTS,
    BELAY__ADD_REPLIES,
    BELAY__END_ATTEMPTS,
    BELAY__END_REPLIES,
    BELAY__STATEMENTS,
};

/* What an open transaction writes of an attempt. */
struct belay__sqlite_pair {
    const struct belay__row *start; /* NULL: it is in the file already */
    const struct belay__row *end;   /* NULL: it has not ended */
};

/* An attempt of the group, taken apart. */
struct belay__sqlite_call {
    const struct belay__row *start; /* as in the pair */
    const struct belay__row *end;
    int64_t key; /* when it started; no other attempt has it */
    int64_t target;
    int64_t params; /* 0: none */
    int64_t outcome;
    struct belay__hash request;
    struct belay__hash tip; /* the last of its messages, if there are any */
    struct belay__hash reply;
    bool any; /* messages */
};

/* A message that may be new. */
struct belay__sqlite_message {
    struct belay__hash hash;
    struct belay__hash parent;
    bool has_parent;
    struct belay_slice role; /* both lie in a row, or are words of ours */
    struct belay_slice body;
};

/* All keys from `first` to before `last` were taken, at least once. */
struct belay__key_run {
    int64_t first;
    int64_t last;
};

/* Invariants: starts are in the order of their ids, and none of them is in the
 * file yet; recent, seen and names have only what is in the file, or in the
 * transaction.
 */
struct belay__sqlite {
    struct belay__sink sink;
    struct belay__memory *memory; /* the thread's own */
    struct belay__sink_opts opts;
    sqlite3 *db;
    sqlite3_stmt *prepared[BELAY__STATEMENTS];
    int64_t data_version; /* of the file, at the last look */
    struct belay__key_run full;
    bool opening;   /* until the file is ready to be written to */
    int last_waits; /* for others, since there is haste */
    struct belay__hasher hasher;
    struct belay__recent recent; /* messages, with their texts */
    struct belay__seen seen;     /* hashes of messages */
    struct belay__recent names;  /* numbers of targets, outcomes, parameters */
    struct belay__buffer name;
    struct belay__buffer params;

    /* Of this transaction: */
    struct belay__sqlite_pair *starts;
    size_t start_count;
    size_t start_room;
    struct belay__sqlite_pair *ends;
    size_t end_count;
    size_t end_room;

    /* Of the group: */
    struct belay__sqlite_call calls[BELAY__SQLITE_GROUP];
    struct belay__sqlite_message *messages;
    size_t message_room;
    bool any_session;
    bool any_turn;
    bool any_reply;
    struct belay__sqlite_table call_table;
    struct belay__sqlite_table message_table;
};

/* BELAY_EIO, with SQLite's words in `why`. */
int belay__sqlite_failed(const struct belay__sqlite *sqlite, char *why);
/* The code; of one that is not 0 `why` says that there is no memory. */
int belay__sqlite_no_memory(int code, char *why);
/* Nothing is taken for known any more. */
void belay__sqlite_forget(struct belay__sqlite *sqlite);

/* ---- sqlite_names.c ---- */

/* The number of a row with these contents, made if need be. */
int belay__sqlite_target(struct belay__sqlite *sqlite,
    const struct belay__row *start, int64_t *ret, char *why);
int belay__sqlite_params(struct belay__sqlite *sqlite,
    struct belay_slice params, int64_t *ret, char *why);
/* end may be NULL: in doubt. */
int belay__sqlite_outcome(struct belay__sqlite *sqlite,
    const struct belay__row *end, int64_t *ret, char *why);

/* ---- sqlite_take.c ---- */

/* Takes pairs apart, at most a group: call_table and message_table have them
 * afterwards, and what they have in common is in the file.
 */
int belay__sqlite_take(struct belay__sqlite *sqlite,
    const struct belay__sqlite_pair *pairs, size_t count, char *why);

/* ---- sqlite_rows.c ---- */

/* The SQL of a statement. */
const char *belay__sqlite_statement(int which);
/* Runs one that gives no rows. */
int belay__sqlite_run(struct belay__sqlite *sqlite, int which, char *why);
/* Makes the tables of a group known. A code of SQLite's. */
int belay__sqlite_add_tables(struct belay__sqlite *sqlite);

/* Takes a row into the transaction. The row stays where it is until that has
 * ended: all go into the file together, at the flush.
 */
int belay__sqlite_write(
    struct belay__sqlite *sqlite, const struct belay__row *row, char *why);
int belay__sqlite_flush(struct belay__sqlite *sqlite, char *why);

#endif
