/* sink_sqlite.c - rows in an SQLite file.
 *
 * One connection for the life of the recorder, one transaction a commit. A
 * conversation's messages are stored once each, under the hash of themselves
 * and all before them; what an attempt says of its messages is in the same
 * transaction, so no attempt is there without them (L75, L77).
 *
 * Rows of texts stand in the order in which they came, beside an index by
 * hash: kept in the order of their hashes, each would dirty a page of its own.
 */
#include "llm/record/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION 1            /* of the schema, in user_version */
#define BUSY_MS 5000         /* for others, at the open */
#define COMMIT_BUSY_MS 60000 /* … then `belay log --forget` may take long */
#define PARAMS_MAX ((size_t)64 * 1024 * 1024)

/* Large pages take few system calls. The cache, in KiB, holds a transaction, so
 * that none of it is written before its commit; the log is copied into the file
 * every 2,000 pages, since most pages of indexes change with each commit.
 */
static const char settings[] = "PRAGMA page_size = 8192;"
                               "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = NORMAL;"
                               "PRAGMA cache_size = -16384;"
                               "PRAGMA wal_autocheckpoint = 2000;";

static const char schema[] =
    "CREATE TABLE run (id TEXT PRIMARY KEY, started_us INTEGER NOT NULL,"
    " pid INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE session (id TEXT PRIMARY KEY, run TEXT NOT NULL,"
    " started_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE turn (id TEXT PRIMARY KEY, session TEXT, parent_turn TEXT,"
    " run TEXT NOT NULL, started_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE message (hash BLOB PRIMARY KEY, parent_hash BLOB,"
    " role TEXT, body TEXT);"
    "CREATE TABLE blob (hash BLOB PRIMARY KEY, bytes BLOB);"
    "CREATE TABLE attempt (id TEXT PRIMARY KEY, run TEXT NOT NULL, turn TEXT,"
    " session TEXT, n INTEGER NOT NULL, endpoint TEXT, provider TEXT,"
    " model TEXT, model_answered TEXT, params TEXT, request_hash BLOB,"
    " request_tip BLOB, reply_hash BLOB, status TEXT NOT NULL,"
    " http_status INTEGER, code TEXT, message TEXT, request_id TEXT,"
    " billed INTEGER, started_us INTEGER NOT NULL, first_byte_us INTEGER,"
    " ended_us INTEGER, end_reason TEXT, in_total INTEGER,"
    " in_cache_read INTEGER, in_cache_write_5m INTEGER,"
    " in_cache_write_1h INTEGER, in_audio INTEGER, out_total INTEGER,"
    " out_reasoning INTEGER, out_audio INTEGER, cost_picodollars INTEGER,"
    " cost_at_least INTEGER) WITHOUT ROWID;"
    "CREATE TABLE tool_call (turn TEXT NOT NULL, call_id TEXT NOT NULL,"
    " name TEXT, args TEXT, result TEXT, is_error INTEGER, ms INTEGER,"
    " PRIMARY KEY (turn, call_id)) WITHOUT ROWID;"
    "CREATE INDEX attempt_run ON attempt (run);"
    "CREATE INDEX attempt_started ON attempt (started_us);"
    "CREATE INDEX attempt_model ON attempt (model);"
    "CREATE INDEX attempt_session ON attempt (session)"
    " WHERE session IS NOT NULL;"
    "CREATE INDEX turn_session ON turn (session);"
    "PRAGMA user_version = 1;";

static struct belay__sqlite *
of(struct belay__sink *sink)
{
    return (struct belay__sqlite *)(void *)sink;
}

int
belay__sqlite_failed(const struct belay__sqlite *sqlite, char *why)
{
    (void)snprintf(why, BELAY__SINK_WHY_BYTES, "%s",
        sqlite->db != NULL ? sqlite3_errmsg(sqlite->db) : "out of memory");
    return BELAY_EIO;
}

static int
execute(struct belay__sqlite *sqlite, const char *sql, char *why)
{
    return sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : belay__sqlite_failed(sqlite, why);
}

/* ---- opening ---- */

static int
read_version(struct belay__sqlite *sqlite, int *ret, char *why)
{
    sqlite3_stmt *query = NULL;
    int code = 0;

    if (sqlite3_prepare_v2(sqlite->db, "PRAGMA user_version", -1, &query, NULL)
            != SQLITE_OK
        || sqlite3_step(query) != SQLITE_ROW) {
        code = belay__sqlite_failed(sqlite, why);
    } else {
        *ret = sqlite3_column_int(query, 0);
    }
    (void)sqlite3_finalize(query);
    return code;
}

/* Makes the tables of a new file; refuses one that a later version has made.
 * In a transaction, since another process may do the same now.
 */
static int
upgrade(struct belay__sqlite *sqlite, char *why)
{
    int version = 0;
    int code = execute(sqlite, "BEGIN IMMEDIATE", why);

    if (code == 0) {
        code = read_version(sqlite, &version, why);
    }
    if (code == 0 && version == 0) {
        code = execute(sqlite, schema, why);
    } else if (code == 0 && version != VERSION) {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES,
            "made by another version (schema %d, this one knows %d)", version,
            VERSION);
        code = BELAY_EIO;
    }
    if (code == 0) {
        return execute(sqlite, "COMMIT", why);
    }
    (void)sqlite3_exec(sqlite->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static int
prepare_all(struct belay__sqlite *sqlite, char *why)
{
    for (int i = 0; i < BELAY__STATEMENTS; i++) {
        if (sqlite3_prepare_v3(sqlite->db, belay__sqlite_statement(i), -1,
                SQLITE_PREPARE_PERSISTENT, &sqlite->prepared[i], NULL)
            != SQLITE_OK) {
            return belay__sqlite_failed(sqlite, why);
        }
    }
    return 0;
}

static int
add_run(struct belay__sqlite *sqlite, char *why)
{
    char sql[160];

    (void)snprintf(sql, sizeof(sql),
        "INSERT INTO run VALUES ('%s',"
        " CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER), %ld)",
        sqlite->opts.run, (long)getpid());
    return execute(sqlite, sql, why);
}

static void
sqlite_close(struct belay__sink *sink)
{
    struct belay__sqlite *sqlite = of(sink);

    for (int i = 0; i < BELAY__STATEMENTS; i++) {
        (void)sqlite3_finalize(sqlite->prepared[i]);
    }
    (void)sqlite3_close(sqlite->db);
    belay__free(sqlite->memory, sqlite->starts,
        sqlite->start_room * sizeof(*sqlite->starts));
    belay__recent_clear(&sqlite->recent);
    belay__buffer_fini(&sqlite->params);
    belay__hasher_fini(&sqlite->hasher);
    belay__memory_unref(sqlite->memory);
    free(sqlite);
}

/* SQLite makes its files as the umask says; these are nobody else's. */
static int
make_private(const char *path, char *why)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0) {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES, "cannot be opened: %s",
            strerror(errno));
        return BELAY_EIO;
    }
    (void)close(fd);
    return 0;
}

static int
sqlite_set_up(struct belay__sqlite *sqlite, char *why)
{
    int code = make_private(sqlite->opts.path, why);

    if (code < 0) {
        return code;
    }
    if (sqlite3_open_v2(sqlite->opts.path, &sqlite->db,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL)
        != SQLITE_OK) {
        return belay__sqlite_failed(sqlite, why);
    }
    (void)sqlite3_busy_timeout(sqlite->db, BUSY_MS);
    code = execute(sqlite, settings, why);
    if (code == 0) {
        code = upgrade(sqlite, why);
    }
    if (code == 0) {
        code = prepare_all(sqlite, why);
    }
    if (code == 0) {
        code = add_run(sqlite, why);
    }
    (void)sqlite3_busy_timeout(sqlite->db, COMMIT_BUSY_MS);
    return code;
}

static int
sqlite_open(
    const struct belay__sink_opts *opts, struct belay__sink **ret, char *why)
{
    struct belay__sqlite *sqlite = calloc(1, sizeof(*sqlite));
    int code;

    if (sqlite == NULL) {
        return BELAY_ENOMEM;
    }
    sqlite->memory = belay__memory_new(NULL);
    if (sqlite->memory == NULL) {
        free(sqlite);
        return BELAY_ENOMEM;
    }
    sqlite->sink.kind = belay__sink_sqlite;
    sqlite->opts = *opts;
    belay__buffer_init(&sqlite->params, sqlite->memory, PARAMS_MAX);
    belay__recent_init(&sqlite->recent, sqlite->memory);
    code = belay__hasher_init(&sqlite->hasher);
    if (code == 0) {
        code = sqlite_set_up(sqlite, why);
    }
    if (code < 0) {
        sqlite_close(&sqlite->sink);
        return code;
    }
    *ret = &sqlite->sink;
    return 0;
}

/* ---- commits ---- */

static void
sqlite_rollback(struct belay__sink *sink)
{
    struct belay__sqlite *sqlite = of(sink);

    sqlite->start_count = 0;
    belay__recent_clear(&sqlite->recent);
    (void)sqlite3_exec(sqlite->db, "ROLLBACK", NULL, NULL, NULL);
}

/* Somebody else has written; messages may be gone (belay log --forget). */
static int
look_at_version(struct belay__sqlite *sqlite, char *why)
{
    sqlite3_stmt *query = sqlite->prepared[BELAY__DATA_VERSION];
    int64_t version;

    if (sqlite3_step(query) != SQLITE_ROW) {
        return belay__sqlite_failed(sqlite, why);
    }
    version = sqlite3_column_int64(query, 0);
    (void)sqlite3_reset(query);
    if (version != sqlite->data_version) {
        belay__recent_clear(&sqlite->recent);
        sqlite->data_version = version;
    }
    return 0;
}

static int
sqlite_begin(struct belay__sink *sink, char *why)
{
    const int code = execute(of(sink), "BEGIN IMMEDIATE", why);

    if (code == 0 && look_at_version(of(sink), why) < 0) {
        sqlite_rollback(sink);
        return BELAY_EIO;
    }
    return code;
}

static int
sqlite_write(struct belay__sink *sink, const struct belay__row *row, char *why)
{
    return belay__sqlite_write(of(sink), row, why);
}

static int
sqlite_commit(struct belay__sink *sink, char *why)
{
    const int code = belay__sqlite_flush(of(sink), why);

    return code == 0 ? execute(of(sink), "COMMIT", why) : code;
}

static const struct belay__sink_kind kind = {
    .open = sqlite_open,
    .begin = sqlite_begin,
    .write = sqlite_write,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .close = sqlite_close,
};
const struct belay__sink_kind *const belay__sink_sqlite = &kind;
