/* log_sqlite.c - a record in SQLite, opened for reading only. */
#include "cli/log.h"

#if BELAY_CLI_SQLITE
#include "llm/record/sqlite_schema.h"

#include <sqlite3.h>

#include <string.h>

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
    "  FROM message m JOIN chain ON m.hash = chain.parent)"
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

static int
open_file(struct belay__log *log, const char *path, sqlite3 **ret)
{
    if (sqlite3_open_v2(
            path, ret, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL)
        != SQLITE_OK) {
        return failed(log, *ret);
    }
    (void)sqlite3_busy_timeout(*ret, BUSY_MS);
    return 0;
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

    if (belay__sqlite_version(db, &version) != SQLITE_OK) {
        return failed(log, db);
    }
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
