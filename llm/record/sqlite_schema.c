/* sqlite_schema.c - the tables of a record in SQLite, and those it had before.
 *
 * What people ask for are `attempt` and `blob`, with the columns that their
 * tables had in version 1; now they are views. An attempt's key is the
 * microsecond in which it started, so that attempts stand in the order of
 * time, and what is the same for thousands of them (whom they asked, with which
 * parameters, how they ended) is in small tables that they point to: an attempt
 * costs its row, two entries at the ends of indexes, and its answer.
 */
#include "llm/record/sqlite_schema.h"

#include <stdbool.h>
#include <stddef.h>

/* Rows of target, outcome and params may stand there twice: each recorder knows
 * only those that it has made itself. Views join to the left, so that no query
 * has to begin with them.
 */
#define NEW_TABLES                                                            \
    "CREATE TABLE target (id INTEGER PRIMARY KEY, run TEXT NOT NULL,"         \
    " endpoint TEXT, provider TEXT, model TEXT);"                             \
    "CREATE TABLE params (id INTEGER PRIMARY KEY, params TEXT);"              \
    "CREATE TABLE outcome (id INTEGER PRIMARY KEY, status TEXT NOT NULL,"     \
    " http_status INTEGER, code TEXT, billed INTEGER, cost_at_least INTEGER," \
    " model_answered TEXT, end_reason TEXT);"                                 \
    "CREATE TABLE attempt_row (started_us INTEGER PRIMARY KEY,"               \
    " id TEXT NOT NULL UNIQUE, target INTEGER NOT NULL,"                      \
    " outcome INTEGER NOT NULL, params INTEGER, turn TEXT, session TEXT,"     \
    " n INTEGER NOT NULL, request_hash BLOB, request_tip BLOB,"               \
    " reply_hash BLOB, request_id TEXT, message TEXT, first_byte_us INTEGER," \
    " ended_us INTEGER, in_total INTEGER, in_cache_read INTEGER,"             \
    " in_cache_write_5m INTEGER, in_cache_write_1h INTEGER,"                  \
    " in_audio INTEGER, out_total INTEGER, out_reasoning INTEGER,"            \
    " out_audio INTEGER, cost_picodollars INTEGER);"                          \
    "CREATE TABLE reply (attempt INTEGER PRIMARY KEY, bytes BLOB);"           \
    "CREATE INDEX target_run ON target (run);"                                \
    "CREATE INDEX target_model ON target (model);"                            \
    "CREATE INDEX attempt_target ON attempt_row (target);"                    \
    "CREATE INDEX attempt_session ON attempt_row (session)"                   \
    " WHERE session IS NOT NULL;"                                             \
    "CREATE INDEX turn_session ON turn (session) WHERE session IS NOT NULL;"  \
    "CREATE VIEW attempt AS SELECT a.id, t.run, a.turn, a.session, a.n,"      \
    " t.endpoint, t.provider, t.model, o.model_answered, p.params,"           \
    " a.request_hash, a.request_tip, a.reply_hash, o.status, o.http_status,"  \
    " o.code, a.message, a.request_id, o.billed, a.started_us,"               \
    " a.first_byte_us, a.ended_us, o.end_reason, a.in_total,"                 \
    " a.in_cache_read, a.in_cache_write_5m, a.in_cache_write_1h, a.in_audio," \
    " a.out_total, a.out_reasoning, a.out_audio, a.cost_picodollars,"         \
    " o.cost_at_least FROM attempt_row a LEFT JOIN target t ON t.id = "       \
    "a.target"                                                                \
    " LEFT JOIN outcome o ON o.id = a.outcome"                                \
    " LEFT JOIN params p ON p.id = a.params;"                                 \
    "CREATE VIEW blob AS SELECT a.reply_hash AS hash, r.bytes FROM reply r"   \
    " JOIN attempt_row a ON a.started_us = r.attempt;"

static const char schema[] =
    "CREATE TABLE run (id TEXT PRIMARY KEY, started_us INTEGER NOT NULL,"
    " pid INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE session (id TEXT PRIMARY KEY, run TEXT NOT NULL,"
    " started_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE turn (id TEXT PRIMARY KEY, session TEXT, parent_turn TEXT,"
    " run TEXT NOT NULL, started_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE message (hash BLOB PRIMARY KEY, parent_hash BLOB,"
    " role TEXT, body TEXT);"
    "CREATE TABLE tool_call (turn TEXT NOT NULL, call_id TEXT NOT NULL,"
    " name TEXT, args TEXT, result TEXT, is_error INTEGER, ms INTEGER,"
    " PRIMARY KEY (turn, call_id)) WITHOUT ROWID;" NEW_TABLES;

/* Attempts that started in the same microsecond get one after the other: with
 * n its place, key - n never falls.
 */
static const char from_before[] =
    "PRAGMA legacy_alter_table = ON;" /* views of others keep their names */
    "ALTER TABLE attempt RENAME TO old_attempt;"
    "ALTER TABLE blob RENAME TO old_blob;"
    "DROP INDEX attempt_run; DROP INDEX attempt_started;"
    "DROP INDEX attempt_model; DROP INDEX attempt_session;"
    "DROP INDEX turn_session;" NEW_TABLES;

static const char rows_from_before[] =
    "INSERT INTO target (run, endpoint, provider, model)"
    " SELECT DISTINCT run, endpoint, provider, model FROM old_attempt;"
    "INSERT INTO params (params)"
    " SELECT DISTINCT params FROM old_attempt WHERE params IS NOT NULL;"
    "INSERT INTO outcome (status, http_status, code, billed, cost_at_least,"
    " model_answered, end_reason) SELECT DISTINCT status, http_status, code,"
    " billed, cost_at_least, model_answered, end_reason FROM old_attempt;"
    "CREATE INDEX old_target ON target (run, endpoint, provider, model);"
    "CREATE INDEX old_params ON params (params);"
    "CREATE INDEX old_outcome ON outcome (model_answered, end_reason, status,"
    " http_status, code, billed, cost_at_least);"
    "CREATE TABLE old_key (id TEXT PRIMARY KEY, key INTEGER) WITHOUT ROWID;"
    "INSERT INTO old_key"
    " SELECT id, max(started_us - place) OVER (ORDER BY place) + place FROM"
    " (SELECT id, started_us, row_number() OVER (ORDER BY started_us, id)"
    "  AS place FROM old_attempt);"
    "INSERT INTO attempt_row"
    " SELECT k.key, a.id, t.id, o.id, p.id, a.turn, a.session, a.n, "
    "a.request_hash,"
    " a.request_tip, a.reply_hash, a.request_id, a.message, a.first_byte_us,"
    " a.ended_us, a.in_total, a.in_cache_read, a.in_cache_write_5m,"
    " a.in_cache_write_1h, a.in_audio, a.out_total, a.out_reasoning,"
    " a.out_audio, a.cost_picodollars"
    " FROM old_key k CROSS JOIN old_attempt a ON a.id = k.id"
    " CROSS JOIN target t ON t.run = a.run AND t.endpoint IS a.endpoint"
    "  AND t.provider IS a.provider AND t.model IS a.model"
    " CROSS JOIN outcome o ON o.model_answered IS a.model_answered"
    "  AND o.end_reason IS a.end_reason AND o.status = a.status"
    "  AND o.http_status IS a.http_status AND o.code IS a.code"
    "  AND o.billed IS a.billed AND o.cost_at_least IS a.cost_at_least"
    " LEFT JOIN params p ON p.params = a.params;"
    "DROP INDEX old_target; DROP INDEX old_params; DROP INDEX old_outcome;"
    "INSERT INTO reply SELECT a.started_us, b.bytes FROM attempt_row a"
    " JOIN old_blob b ON b.hash = a.reply_hash;"
    "DROP TABLE old_key; DROP TABLE old_attempt; DROP TABLE old_blob;"
    "PRAGMA legacy_alter_table = OFF;";

#define TEXT_OF(number) #number
#define SET_VERSION(number) "PRAGMA user_version = " TEXT_OF(number)

static int
execute(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* Others count the versions of their tables, too. */
static bool
is_ours(int version, int tables, int of_ours)
{
    enum { ALWAYS_THERE = 4 };

    return version == 0 ? tables == 0
                        : version > 0 && version <= BELAY__SQLITE_VERSION
                              && of_ours == ALWAYS_THERE;
}

int
belay__sqlite_version(sqlite3 *db, int *ret)
{
    static const char question[] =
        "SELECT user_version, (SELECT count(*) FROM sqlite_schema),"
        " (SELECT count(*) FROM sqlite_schema WHERE type = 'table'"
        "  AND name IN ('run', 'session', 'turn', 'message'))"
        " FROM pragma_user_version";
    sqlite3_stmt *query = NULL;
    int status = sqlite3_prepare_v2(db, question, -1, &query, NULL);

    if (status == SQLITE_OK) {
        status = sqlite3_step(query);
    }
    if (status == SQLITE_ROW) {
        *ret = sqlite3_column_int(query, 0);
        status = is_ours(*ret, sqlite3_column_int(query, 1),
                     sqlite3_column_int(query, 2))
                     ? SQLITE_OK
                     : SQLITE_MISMATCH;
    }
    (void)sqlite3_finalize(query);
    return status;
}

int
belay__sqlite_upgrade(sqlite3 *db, int version)
{
    int status = SQLITE_OK;

    if (version == BELAY__SQLITE_VERSION) {
        return SQLITE_OK;
    }
    if (version == 0) {
        status = execute(db, schema);
    } else {
        status = execute(db, from_before);
        if (status == SQLITE_OK) {
            status = execute(db, rows_from_before);
        }
    }
    return status == SQLITE_OK ? execute(db, SET_VERSION(BELAY__SQLITE_VERSION))
                               : status;
}
