/* log_sqlite.c - a record in SQLite, opened for reading only. */
#include "cli/log.h"

#if BELAY_CLI_SQLITE
#include "llm/record/sqlite_schema.h"

#include <sqlite3.h>

#include <string.h>
#include <unistd.h>

#define BUSY_MS 5000

static const char attempts[] =
    "SELECT id, run, session, turn, endpoint, provider, model,"
    " model_answered, status, code, message, request_id, end_reason, n,"
    " http_status, started_us, ended_us, cost_picodollars, cost_at_least,"
    " in_total, in_cache_read, in_cache_write_5m, in_cache_write_1h, in_audio,"
    " out_total, out_reasoning, out_audio FROM attempt"
    " WHERE (?1 IS NULL OR substr(session, 1, length(?1)) = ?1)"
    " AND (?2 IS NULL OR substr(id, 1, length(?2)) = ?2"
    "  OR substr(turn, 1, length(?2)) = ?2)"
    " ORDER BY started_us DESC, id DESC LIMIT ?3";

static const char messages[] =
    "WITH RECURSIVE chain (parent, role, body, depth) AS ("
    " SELECT parent_hash, role, body, 0 FROM message"
    "  WHERE hash = (SELECT request_tip FROM attempt WHERE id = ?1)"
    " UNION ALL"
    " SELECT m.parent_hash, m.role, m.body, depth + 1"
    "  FROM message m JOIN chain ON m.hash = chain.parent"
    "  WHERE depth < 1000000)" /* in a damaged file it may be a ring */
    " SELECT role, body FROM chain ORDER BY depth DESC";

/* Until version 1 answers had no other key than their hash. */
static const char answer_by_hash[] =
    "SELECT bytes FROM blob"
    " WHERE hash = (SELECT reply_hash FROM attempt WHERE id = ?1)";
static const char answer[] =
    "SELECT bytes FROM reply"
    " WHERE attempt = (SELECT started_us FROM attempt_row WHERE id = ?1)";

static int
failed(struct belay__log *log, sqlite3 *db)
{
    return belay__log_fail(
        log, "%s", db != NULL ? sqlite3_errmsg(db) : "out of memory");
}

/* A record, or none that this program can read. */
static int
look_at_file(struct belay__log *log, sqlite3 *db)
{
    int version = 0;
    const int status = belay__sqlite_version(db, &version);

    if (status == SQLITE_OK) {
        return 0;
    }
    if (status != SQLITE_MISMATCH) {
        return failed(log, db);
    }
    return version > BELAY__SQLITE_VERSION
               ? belay__log_fail(
                   log, "made by another version (schema %d)", version)
               : belay__log_fail(log, "not a record");
}

/* The name of a file that nobody writes to, in which SQLite then wants to write
 * nothing itself, be it only a lock; NULL without memory. For sqlite3_free().
 */
static char *
immutable_name(const char *path)
{
    sqlite3_str *name = sqlite3_str_new(NULL);

    sqlite3_str_appendall(name, "file:");
    for (const char *at = path; *at != '\0'; at++) {
        if (strchr("%?#", *at) != NULL) {
            sqlite3_str_appendf(name, "%%%02X", *at);
        } else {
            sqlite3_str_appendchar(name, 1, *at);
        }
    }
    sqlite3_str_appendall(name, "?immutable=1");
    return sqlite3_str_finish(name);
}

static bool
has_log(const char *path)
{
    char *name = sqlite3_mprintf("%s-wal", path);
    const bool has = name == NULL || access(name, F_OK) == 0;

    sqlite3_free(name);
    return has;
}

static int
open_named(const char *name, int flags, sqlite3 **ret)
{
    const int status = sqlite3_open_v2(
        name, ret, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | flags, NULL);

    (void)sqlite3_busy_timeout(*ret, BUSY_MS);
    return status;
}

/* Where one may not write, SQLite cannot even make the files in which readers
 * and writers meet. A record without a log has no writer.
 */
static void
open_immutable(const char *path, sqlite3 **db)
{
    char *name = immutable_name(path);

    if (name != NULL) {
        (void)sqlite3_close(*db);
        (void)open_named(name, SQLITE_OPEN_URI, db);
        sqlite3_free(name);
    }
}

static int
open_file(struct belay__log *log, const char *path, sqlite3 **ret)
{
    int version = 0;
    int status = open_named(path, 0, ret);

    if (status == SQLITE_OK) {
        status = belay__sqlite_version(*ret, &version);
    }
    if ((status == SQLITE_READONLY || status == SQLITE_CANTOPEN)
        && !has_log(path)) {
        open_immutable(path, ret);
    }
    return *ret != NULL ? look_at_file(log, *ret) : failed(log, *ret);
}

static int
prepare(
    struct belay__log *log, sqlite3 *db, const char *sql, sqlite3_stmt **ret)
{
    return sqlite3_prepare_v2(db, sql, -1, ret, NULL) == SQLITE_OK
               ? 0
               : failed(log, db);
}

static struct belay_slice
text_of(sqlite3_stmt *query, int column)
{
    /* The pointer first: it may convert, and change the length. */
    const char *text = (const char *)sqlite3_column_text(query, column);

    return (struct belay_slice){
        text, (size_t)sqlite3_column_bytes(query, column)};
}

static int64_t
number_of(sqlite3_stmt *query, int column)
{
    return sqlite3_column_type(query, column) == SQLITE_NULL
               ? -1
               : sqlite3_column_int64(query, column);
}

static int
add_row(struct belay__log *log, sqlite3_stmt *query)
{
    struct belay__log_row *row = NULL;
    int code = belay__log_row(log, text_of(query, 0), &row);
    struct belay_slice *texts[13];

    if (code < 0) {
        return code;
    }
    texts[1] = &row->run;
    texts[2] = &row->session;
    texts[3] = &row->turn;
    texts[4] = &row->endpoint;
    texts[5] = &row->provider;
    texts[6] = &row->model;
    texts[7] = &row->answered;
    texts[8] = &row->status;
    texts[9] = &row->code;
    texts[10] = &row->message;
    texts[11] = &row->request_id;
    texts[12] = &row->end;
    for (int i = 1; i < 13 && code == 0; i++) {
        code = belay__log_keep(log, text_of(query, i), texts[i]);
    }
    row->number = number_of(query, 13);
    row->http_status = number_of(query, 14);
    row->started_us = number_of(query, 15);
    row->ended_us = number_of(query, 16);
    row->cost_pico = number_of(query, 17);
    row->cost_at_least = sqlite3_column_int(query, 18) != 0;
    for (int i = 0; i < BELAY__LOG_COUNTS; i++) {
        row->counts[i] = number_of(query, 19 + i);
    }
    return code;
}

static void
bind_start(sqlite3_stmt *query, int at, const char *text)
{
    if (text != NULL) {
        (void)sqlite3_bind_text(query, at, text, -1, SQLITE_STATIC);
    }
}

static int
read_rows(
    struct belay__log *log, sqlite3 *db, const struct belay__log_filter *filter)
{
    sqlite3_stmt *query = NULL;
    int code = prepare(log, db, attempts, &query);
    int step;

    if (code < 0) {
        return code;
    }
    bind_start(query, 1, filter->session);
    bind_start(query, 2, filter->id);
    (void)sqlite3_bind_int64(
        query, 3, filter->last > 0 ? (int64_t)filter->last : -1);
    while ((step = sqlite3_step(query)) == SQLITE_ROW && code == 0) {
        code = add_row(log, query);
    }
    if (code == 0 && step != SQLITE_DONE) {
        code = failed(log, db);
    }
    (void)sqlite3_finalize(query);
    return code;
}

int
belay__log_read_sqlite(struct belay__log *log, const char *path,
    const struct belay__log_filter *filter)
{
    sqlite3 *db = NULL;
    int code = open_file(log, path, &db);

    if (code == 0) {
        code = read_rows(log, db, filter);
    }
    (void)sqlite3_close(db);
    return code;
}

/* ---- what was said ---- */

static int
each_message(struct belay__log *log, sqlite3 *db, struct belay_slice attempt,
    const struct belay__log_said *said)
{
    sqlite3_stmt *query = NULL;
    int code = prepare(log, db, messages, &query);
    int step;

    if (code < 0) {
        return code;
    }
    (void)sqlite3_bind_text64(
        query, 1, attempt.data, attempt.len, SQLITE_STATIC, SQLITE_UTF8);
    while (code == 0 && (step = sqlite3_step(query)) == SQLITE_ROW) {
        code =
            said->message_fn(text_of(query, 0), text_of(query, 1), said->arg);
    }
    if (code == 0 && step != SQLITE_DONE) {
        code = failed(log, db);
    }
    (void)sqlite3_finalize(query);
    return code;
}

static int
the_answer(struct belay__log *log, sqlite3 *db, struct belay_slice attempt,
    const struct belay__log_said *said)
{
    sqlite3_stmt *query = NULL;
    int version = 0;
    int step;
    int code;

    (void)belay__sqlite_version(db, &version); /* it was looked at */
    code = prepare(log, db, version > 1 ? answer : answer_by_hash, &query);
    if (code < 0) {
        return code;
    }
    (void)sqlite3_bind_text64(
        query, 1, attempt.data, attempt.len, SQLITE_STATIC, SQLITE_UTF8);
    step = sqlite3_step(query);
    if (step == SQLITE_ROW) {
        const char *bytes = sqlite3_column_blob(query, 0);

        code = said->answer_fn(
            (struct belay_slice){bytes, (size_t)sqlite3_column_bytes(query, 0)},
            said->arg);
    } else if (step == SQLITE_DONE) {
        code = said->answer_fn((struct belay_slice){NULL, 0}, said->arg);
    } else {
        code = failed(log, db);
    }
    (void)sqlite3_finalize(query);
    return code;
}

int
belay__log_said_sqlite(struct belay__log *log, const char *path,
    struct belay_slice attempt, const struct belay__log_said *said)
{
    sqlite3 *db = NULL;
    int code = open_file(log, path, &db);

    if (code == 0) {
        code = each_message(log, db, attempt, said);
    }
    if (code == 0) {
        code = the_answer(log, db, attempt, said);
    }
    (void)sqlite3_close(db);
    return code;
}

#else

int
belay__log_read_sqlite(struct belay__log *log, const char *path,
    const struct belay__log_filter *filter)
{
    (void)path;
    (void)filter;
    return belay__log_fail(log, "SQLite was left out of this build");
}

int
belay__log_said_sqlite(struct belay__log *log, const char *path,
    struct belay_slice attempt, const struct belay__log_said *said)
{
    (void)path;
    (void)attempt;
    (void)said;
    return belay__log_fail(log, "SQLite was left out of this build");
}

#endif
