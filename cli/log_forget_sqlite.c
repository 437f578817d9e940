/* log_forget_sqlite.c - takes attempts, or what was said in them, out of a
 * record in SQLite.
 *
 * One transaction: attempts first, then whatever no attempt that is left leads
 * to. Bytes that are freed are overwritten; those in the log of the database
 * go when it is copied and cut.
 */
#include "cli/log_forget.h"

#if BELAY_CLI_SQLITE
#include "llm/record/sqlite_schema.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>

#define BUSY_MS 5000

/* The messages of the attempts from ?1 on, each up to the first. */
#define KEPT_MESSAGES                                                   \
    "(WITH RECURSIVE kept (hash) AS ("                                  \
    " SELECT request_tip FROM attempt_row"                              \
    "  WHERE id >= ?1 AND request_tip IS NOT NULL"                      \
    " UNION SELECT m.parent_hash FROM message m JOIN kept USING (hash)" \
    "  WHERE m.parent_hash IS NOT NULL) SELECT hash FROM kept)"
#define KEPT(column)                                                 \
    "(SELECT " column " FROM attempt_row WHERE id >= ?1 AND " column \
    " IS NOT NULL)"
#define KEPT_RUNS "(SELECT run FROM target)"

static const char *const all[] = {
    "DELETE FROM attempt_row WHERE id < ?1",
    "DELETE FROM message WHERE hash NOT IN " KEPT_MESSAGES,
    "DELETE FROM reply WHERE attempt NOT IN " KEPT("started_us"),
    "DELETE FROM params WHERE id NOT IN " KEPT("params"),
    "DELETE FROM outcome WHERE id NOT IN " KEPT("outcome"),
    "DELETE FROM turn WHERE id NOT IN " KEPT("turn"),
    "DELETE FROM tool_call WHERE turn NOT IN " KEPT("turn"),
    "DELETE FROM session WHERE id NOT IN " KEPT("session"),
    "DELETE FROM target WHERE id NOT IN " KEPT("target"),
    /* A recorder that is open may have none that is left, or none yet. */
    "DELETE FROM run WHERE id < ?1 AND id NOT IN " KEPT_RUNS
    " AND NOT is_alive(pid)",
};

/* As if hashes only had been recorded. */
static const char *const texts[] = {
    "UPDATE attempt_row SET params = NULL, message = NULL WHERE id < ?1"
    " AND (params IS NOT NULL OR message IS NOT NULL"
    "  OR started_us IN (SELECT attempt FROM reply))",
    "UPDATE message SET body = NULL"
    " WHERE body IS NOT NULL AND hash NOT IN " KEPT_MESSAGES,
    "DELETE FROM reply WHERE attempt NOT IN " KEPT("started_us"),
    "DELETE FROM params WHERE id NOT IN " KEPT("params"),
    "UPDATE tool_call SET args = NULL, result = NULL"
    " WHERE turn NOT IN " KEPT("turn"),
};

/* In SQL: is there a process of that number here? */
static void
is_alive(sqlite3_context *context, int count, sqlite3_value **arguments)
{
    const pid_t pid = (pid_t)sqlite3_value_int64(arguments[0]);

    (void)count;
    sqlite3_result_int(
        context, pid > 0 && (kill(pid, 0) == 0 || errno == EPERM));
}

static int
failed(struct belay__log *log, sqlite3 *db)
{
    return belay__log_fail(
        log, "%s", db != NULL ? sqlite3_errmsg(db) : "out of memory");
}

/* A record of an older version gets the tables of this one first. */
static int
upgrade(struct belay__log *log, sqlite3 *db)
{
    int version = 0;
    int status = belay__sqlite_version(db, &version);

    if (status == SQLITE_MISMATCH && version > BELAY__SQLITE_VERSION) {
        return belay__log_fail(
            log, "made by another version (schema %d)", version);
    }
    if (status == SQLITE_MISMATCH || (status == SQLITE_OK && version == 0)) {
        return belay__log_fail(log, "not a record");
    }
    if (status == SQLITE_OK) {
        status = belay__sqlite_upgrade(db, version);
    }
    return status == SQLITE_OK ? 0 : failed(log, db);
}

static int
execute(struct belay__log *log, sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : failed(log, db);
}

static int
execute_before(
    struct belay__log *log, sqlite3 *db, const char *sql, const char *before)
{
    sqlite3_stmt *statement = NULL;
    int code = 0;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK
        || sqlite3_bind_text(statement, 1, before, -1, SQLITE_STATIC)
               != SQLITE_OK
        || sqlite3_step(statement) != SQLITE_DONE) {
        code = failed(log, db);
    }
    (void)sqlite3_finalize(statement);
    return code;
}

static int
change(struct belay__log *log, sqlite3 *db, struct belay__log_forget *forget)
{
    const char *const *statements = forget->texts_only ? texts : all;
    const size_t count = forget->texts_only ? sizeof(texts) / sizeof(texts[0])
                                            : sizeof(all) / sizeof(all[0]);
    int code = upgrade(log, db);

    for (size_t i = 0; i < count && code == 0; i++) {
        code = execute_before(log, db, statements[i], forget->before);
        if (i == 0) {
            forget->count = (uint64_t)sqlite3_changes(db);
        }
    }
    return code;
}

/* What was overwritten is in the log only, until that is copied over the old
 * pages and cut. Somebody who reads just now holds that up.
 */
static int
cut_log(struct belay__log *log, sqlite3 *db, bool *ret_pending)
{
    sqlite3_stmt *statement = NULL;
    int code = 0;

    if (sqlite3_prepare_v2(
            db, "PRAGMA wal_checkpoint(TRUNCATE)", -1, &statement, NULL)
            != SQLITE_OK
        || sqlite3_step(statement) != SQLITE_ROW) {
        code = failed(log, db);
    } else {
        *ret_pending = sqlite3_column_int(statement, 0) != 0;
    }
    (void)sqlite3_finalize(statement);
    return code;
}

static int
forget_in(struct belay__log *log, sqlite3 *db, struct belay__log_forget *forget)
{
    int code = execute(log, db,
        "PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;"
        " PRAGMA trusted_schema = OFF; BEGIN IMMEDIATE");

    if (code < 0) {
        return code;
    }
    code = change(log, db, forget);
    if (code == 0) {
        code = execute(log, db, "COMMIT");
    }
    if (code < 0) {
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return code;
    }
    return cut_log(log, db, &forget->pending);
}

int
belay__log_forget_sqlite(
    struct belay__log *log, const char *path, struct belay__log_forget *forget)
{
    sqlite3 *db = NULL;
    int code = 0;

    if (sqlite3_open_v2(
            path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL)
            != SQLITE_OK
        || sqlite3_create_function(
               db, "is_alive", 1, SQLITE_UTF8, NULL, is_alive, NULL, NULL)
               != SQLITE_OK) {
        code = failed(log, db);
    } else {
        (void)sqlite3_busy_timeout(db, BUSY_MS);
        code = forget_in(log, db, forget);
    }
    (void)sqlite3_close(db);
    return code;
}

#else

int
belay__log_forget_sqlite(
    struct belay__log *log, const char *path, struct belay__log_forget *forget)
{
    (void)path;
    (void)forget;
    return belay__log_fail(log, "SQLite was left out of this build");
}

#endif
