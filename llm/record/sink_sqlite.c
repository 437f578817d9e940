/* sink_sqlite.c - rows in an SQLite file.
 *
 * One connection for the life of the recorder, one transaction a commit. A
 * conversation's messages are stored once each, under the hash of themselves
 * and all before them; what an attempt says of its messages is in the same
 * transaction, so no attempt is there without them (L75, L77).
 */
#include "llm/record/sink.h"

#include "llm/json/text.h"
#include "llm/json/write.h"
#include "llm/record/messages.h"

#include <sqlite3.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION 1 /* of the schema, in user_version */
#define BUSY_MS 5000
#define PARAMS_MAX ((size_t)64 * 1024 * 1024)

static const char schema[] =
    "CREATE TABLE run (id TEXT PRIMARY KEY, started_us INTEGER NOT NULL,"
    " pid INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE session (id TEXT PRIMARY KEY, run TEXT NOT NULL,"
    " started_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE turn (id TEXT PRIMARY KEY, session TEXT, parent_turn TEXT,"
    " run TEXT NOT NULL, started_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE message (hash BLOB PRIMARY KEY, parent_hash BLOB,"
    " role TEXT, body TEXT) WITHOUT ROWID;"
    "CREATE TABLE blob (hash BLOB PRIMARY KEY, bytes BLOB) WITHOUT ROWID;"
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
    "CREATE INDEX attempt_session ON attempt (session);"
    "CREATE INDEX turn_session ON turn (session);"
    "PRAGMA user_version = 1;";

enum {
    ADD_SESSION,
    ADD_TURN,
    ADD_MESSAGE,
    ADD_BLOB,
    START,
    END,
    STATEMENTS,
};

static const char *const statements[STATEMENTS] = {
    [ADD_SESSION] = "INSERT OR IGNORE INTO session VALUES (?1, ?2, ?3)",
    [ADD_TURN] = "INSERT OR IGNORE INTO turn VALUES (?1, ?2, ?3, ?4, ?5)",
    [ADD_MESSAGE] = "INSERT OR IGNORE INTO message VALUES (?1, ?2, ?3, ?4)",
    [ADD_BLOB] = "INSERT OR IGNORE INTO blob VALUES (?1, ?2)",
    [START] = "INSERT INTO attempt (id, run, turn, session, n, endpoint,"
              " provider, model, params, request_hash, request_tip, status,"
              " started_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,"
              " ?11, 'in_doubt', ?12)",
    [END] = "UPDATE attempt SET status = ?2, http_status = ?3, code = ?4,"
            " model_answered = ?5, request_id = ?6, message = ?7,"
            " end_reason = ?8, first_byte_us = ?9, ended_us = ?10,"
            " in_total = ?11, in_cache_read = ?12, in_cache_write_5m = ?13,"
            " in_cache_write_1h = ?14, in_audio = ?15, out_total = ?16,"
            " out_reasoning = ?17, out_audio = ?18, cost_picodollars = ?19,"
            " cost_at_least = ?20, reply_hash = ?21, billed = ?22"
            " WHERE id = ?1",
};

struct sqlite {
    struct belay__sink sink;
    struct belay__memory *memory; /* the thread's own */
    struct belay__buffer params;
    struct belay__sink_opts opts;
    sqlite3 *db;
    sqlite3_stmt *prepared[STATEMENTS];
};

static struct sqlite *
of(struct belay__sink *sink)
{
    return (struct sqlite *)(void *)sink;
}

static int
failed(const struct sqlite *sqlite, char *why)
{
    (void)snprintf(why, BELAY__SINK_WHY_BYTES, "%s",
        sqlite->db != NULL ? sqlite3_errmsg(sqlite->db) : "out of memory");
    return BELAY_EIO;
}

static int
execute(struct sqlite *sqlite, const char *sql, char *why)
{
    return sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : failed(sqlite, why);
}

/* ---- opening ---- */

static int
read_version(struct sqlite *sqlite, int *ret, char *why)
{
    sqlite3_stmt *query = NULL;
    int code = 0;

    if (sqlite3_prepare_v2(sqlite->db, "PRAGMA user_version", -1, &query, NULL)
            != SQLITE_OK
        || sqlite3_step(query) != SQLITE_ROW) {
        code = failed(sqlite, why);
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
upgrade(struct sqlite *sqlite, char *why)
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
prepare_all(struct sqlite *sqlite, char *why)
{
    for (int i = 0; i < STATEMENTS; i++) {
        if (sqlite3_prepare_v3(sqlite->db, statements[i], -1,
                SQLITE_PREPARE_PERSISTENT, &sqlite->prepared[i], NULL)
            != SQLITE_OK) {
            return failed(sqlite, why);
        }
    }
    return 0;
}

static int
add_run(struct sqlite *sqlite, char *why)
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
    struct sqlite *sqlite = of(sink);

    for (int i = 0; i < STATEMENTS; i++) {
        (void)sqlite3_finalize(sqlite->prepared[i]);
    }
    (void)sqlite3_close(sqlite->db);
    belay__buffer_fini(&sqlite->params);
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
sqlite_set_up(struct sqlite *sqlite, char *why)
{
    int code = make_private(sqlite->opts.path, why);

    if (code < 0) {
        return code;
    }
    if (sqlite3_open_v2(sqlite->opts.path, &sqlite->db,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL)
        != SQLITE_OK) {
        return failed(sqlite, why);
    }
    (void)sqlite3_busy_timeout(sqlite->db, BUSY_MS);
    code = execute(
        sqlite, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", why);
    if (code == 0) {
        code = upgrade(sqlite, why);
    }
    if (code == 0) {
        code = prepare_all(sqlite, why);
    }
    return code == 0 ? add_run(sqlite, why) : code;
}

static int
sqlite_open(
    const struct belay__sink_opts *opts, struct belay__sink **ret, char *why)
{
    struct sqlite *sqlite = calloc(1, sizeof(*sqlite));
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
    code = sqlite_set_up(sqlite, why);
    if (code < 0) {
        sqlite_close(&sqlite->sink);
        return code;
    }
    *ret = &sqlite->sink;
    return 0;
}

/* ---- binding ---- */

/* Texts are borrowed: rows live longer than the step that follows. */
static int
bind_text(struct sqlite *sqlite, int which, int at, struct belay_slice text)
{
    sqlite3_stmt *statement = sqlite->prepared[which];

    return text.len == 0 ? sqlite3_bind_null(statement, at)
                         : sqlite3_bind_text64(statement, at, text.data,
                             text.len, SQLITE_STATIC, SQLITE_UTF8);
}

static int
bind_string(struct sqlite *sqlite, int which, int at, const char *text)
{
    return bind_text(
        sqlite, which, at, (struct belay_slice){text, strlen(text)});
}

static int
bind_hash(
    struct sqlite *sqlite, int which, int at, const struct belay__hash *hash)
{
    sqlite3_stmt *statement = sqlite->prepared[which];

    return hash == NULL ? sqlite3_bind_null(statement, at)
                        : sqlite3_bind_blob(statement, at, hash->bytes,
                            sizeof(hash->bytes), SQLITE_STATIC);
}

/* A count that is not known is NULL. */
static int
bind_count(struct sqlite *sqlite, int which, int at, int64_t count)
{
    sqlite3_stmt *statement = sqlite->prepared[which];

    return count < 0 ? sqlite3_bind_null(statement, at)
                     : sqlite3_bind_int64(statement, at, count);
}

static int
run_statement(struct sqlite *sqlite, int which, char *why)
{
    sqlite3_stmt *statement = sqlite->prepared[which];
    const int code =
        sqlite3_step(statement) == SQLITE_DONE ? 0 : failed(sqlite, why);

    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return code;
}

/* ---- messages ---- */

struct adding {
    struct sqlite *sqlite;
    char *why;
};

static int
add_message(const struct belay__message *message, void *arg)
{
    const struct adding *adding = arg;
    struct sqlite *sqlite = adding->sqlite;
    const bool text = sqlite->opts.text == BELAY_RECORD_TEXT;

    (void)bind_hash(sqlite, ADD_MESSAGE, 1, &message->hash);
    (void)bind_hash(sqlite, ADD_MESSAGE, 2, message->parent);
    (void)bind_text(sqlite, ADD_MESSAGE, 3, message->role);
    (void)bind_text(sqlite, ADD_MESSAGE, 4,
        text ? message->body : (struct belay_slice){NULL, 0});
    return run_statement(sqlite, ADD_MESSAGE, adding->why);
}

/* The body without its conversation: the parameters, each byte for byte. */
static struct belay_slice
params_of(struct sqlite *sqlite, struct belay_slice body)
{
    struct belay__json_writer writer;
    struct belay__json_value value;
    struct belay__json_value key;
    struct belay__json json;
    bool first = true;

    belay__buffer_clear(&sqlite->params);
    belay__json_open(&json, body);
    if (!belay__json_enter_object(&json)) {
        return (struct belay_slice){NULL, 0};
    }
    belay__json_begin(&writer, &sqlite->params);
    belay__json_open_object(&writer);
    while (belay__json_next_member(&json, &key)) {
        if (!belay__messages_is_key(belay__json_inside(key.raw))
            && belay__json_take(&json, &value)) {
            belay__json_raw_key(&writer, key.raw);
            belay__json_raw(&writer, value.raw);
            first = false;
        }
    }
    belay__json_close_object(&writer);
    if (belay__json_end(&writer) < 0 || first
        || belay__json_finish(&json) < 0) {
        return (struct belay_slice){NULL, 0};
    }
    return belay__buffer_slice(&sqlite->params);
}

/* ---- rows ---- */

static int
add_owners(struct sqlite *sqlite, const struct belay__row *row, char *why)
{
    int code = 0;

    if (row->texts[BELAY__TEXT_SESSION].len > 0) {
        (void)bind_text(
            sqlite, ADD_SESSION, 1, row->texts[BELAY__TEXT_SESSION]);
        (void)bind_string(sqlite, ADD_SESSION, 2, sqlite->opts.run);
        (void)bind_count(sqlite, ADD_SESSION, 3, row->started_us);
        code = run_statement(sqlite, ADD_SESSION, why);
    }
    if (code == 0 && row->texts[BELAY__TEXT_TURN].len > 0) {
        (void)bind_text(sqlite, ADD_TURN, 1, row->texts[BELAY__TEXT_TURN]);
        (void)bind_text(sqlite, ADD_TURN, 2, row->texts[BELAY__TEXT_SESSION]);
        (void)bind_text(
            sqlite, ADD_TURN, 3, row->texts[BELAY__TEXT_PARENT_TURN]);
        (void)bind_string(sqlite, ADD_TURN, 4, sqlite->opts.run);
        (void)bind_count(sqlite, ADD_TURN, 5, row->started_us);
        code = run_statement(sqlite, ADD_TURN, why);
    }
    return code;
}

/* Of what it asks for, not of its bytes: the conversation is hashed already. A
 * body that is no object, which has no parts, counts as it is.
 */
static void
hash_request(struct belay_slice body, struct belay_slice params,
    const struct belay__hash *tip, struct belay__hash *ret)
{
    const struct belay_slice conversation = {
        (const char *)tip->bytes, sizeof(tip->bytes)};

    belay__message_hash(NULL, conversation,
        params.len > 0 || body.len == 0 ? params : body, ret);
}

static int
write_start(struct sqlite *sqlite, const struct belay__row *row, char *why)
{
    const struct belay_slice body = row->texts[BELAY__TEXT_BODY];
    struct adding adding = {sqlite, why};
    struct belay__hash request = {{0}};
    struct belay__hash tip = {{0}};
    struct belay_slice params = {NULL, 0};
    bool any = false;
    int code = add_owners(sqlite, row, why);

    if (code == 0 && body.len > 0) {
        code = belay__messages_each(body, add_message, &adding, &tip, &any);
        params = params_of(sqlite, body);
        hash_request(body, params, &tip, &request);
    }
    if (code < 0) {
        return code;
    }
    (void)bind_string(sqlite, START, 1, row->attempt);
    (void)bind_string(sqlite, START, 2, sqlite->opts.run);
    (void)bind_text(sqlite, START, 3, row->texts[BELAY__TEXT_TURN]);
    (void)bind_text(sqlite, START, 4, row->texts[BELAY__TEXT_SESSION]);
    (void)bind_count(sqlite, START, 5, row->number);
    (void)bind_text(sqlite, START, 6, row->texts[BELAY__TEXT_ENDPOINT]);
    (void)bind_text(sqlite, START, 7, row->texts[BELAY__TEXT_PROVIDER]);
    (void)bind_text(sqlite, START, 8, row->texts[BELAY__TEXT_MODEL]);
    if (sqlite->opts.text == BELAY_RECORD_TEXT) {
        (void)bind_text(sqlite, START, 9, params);
    }
    (void)bind_hash(sqlite, START, 10, body.len > 0 ? &request : NULL);
    (void)bind_hash(sqlite, START, 11, any ? &tip : NULL);
    (void)bind_count(sqlite, START, 12, row->started_us);
    return run_statement(sqlite, START, why);
}

static int
add_reply(struct sqlite *sqlite, struct belay_slice body,
    struct belay__hash *hash, char *why)
{
    belay__hash_of(body, hash);
    if (sqlite->opts.text != BELAY_RECORD_TEXT) {
        return 0;
    }
    (void)bind_hash(sqlite, ADD_BLOB, 1, hash);
    (void)sqlite3_bind_blob64(
        sqlite->prepared[ADD_BLOB], 2, body.data, body.len, SQLITE_STATIC);
    return run_statement(sqlite, ADD_BLOB, why);
}

static void
bind_usage(struct sqlite *sqlite, const struct belay_llm_usage *usage)
{
    (void)bind_count(sqlite, END, 11, usage->in_total);
    (void)bind_count(sqlite, END, 12, usage->in_cache_read);
    (void)bind_count(sqlite, END, 13, usage->in_cache_write_5m);
    (void)bind_count(sqlite, END, 14, usage->in_cache_write_1h);
    (void)bind_count(sqlite, END, 15, usage->in_audio);
    (void)bind_count(sqlite, END, 16, usage->out_total);
    (void)bind_count(sqlite, END, 17, usage->out_reasoning);
    (void)bind_count(sqlite, END, 18, usage->out_audio);
}

static int
write_end(struct sqlite *sqlite, const struct belay__row *row, char *why)
{
    const struct belay_slice body = row->texts[BELAY__TEXT_BODY];
    struct belay__hash reply = {{0}};
    int code = 0;

    if (body.len > 0) {
        code = add_reply(sqlite, body, &reply, why);
    }
    if (code < 0) {
        return code;
    }
    (void)bind_string(sqlite, END, 1, row->attempt);
    (void)bind_string(sqlite, END, 2, belay__record_status_name(row->status));
    (void)bind_count(
        sqlite, END, 3, row->http_status > 0 ? row->http_status : -1);
    if (row->code < 0) {
        (void)bind_string(sqlite, END, 4, belay_code_name(row->code));
    }
    (void)bind_text(sqlite, END, 5, row->texts[BELAY__TEXT_MODEL]);
    (void)bind_text(sqlite, END, 6, row->texts[BELAY__TEXT_REQUEST_ID]);
    (void)bind_text(sqlite, END, 7, row->texts[BELAY__TEXT_MESSAGE]);
    (void)bind_text(sqlite, END, 8, row->texts[BELAY__TEXT_END]);
    (void)bind_count(
        sqlite, END, 9, row->first_byte_us > 0 ? row->first_byte_us : -1);
    (void)bind_count(sqlite, END, 10, row->ended_us);
    bind_usage(sqlite, &row->usage);
    (void)bind_count(sqlite, END, 19, row->cost.amount.pico);
    (void)bind_count(sqlite, END, 20, row->cost.at_least);
    (void)bind_hash(sqlite, END, 21, body.len > 0 ? &reply : NULL);
    (void)bind_count(sqlite, END, 22, (int64_t)row->billed);
    return run_statement(sqlite, END, why);
}

static int
sqlite_write(struct belay__sink *sink, const struct belay__row *row, char *why)
{
    return row->kind == BELAY__ROW_START ? write_start(of(sink), row, why)
                                         : write_end(of(sink), row, why);
}

/* ---- commits ---- */

static int
sqlite_begin(struct belay__sink *sink, char *why)
{
    return execute(of(sink), "BEGIN IMMEDIATE", why);
}

static int
sqlite_commit(struct belay__sink *sink, char *why)
{
    return execute(of(sink), "COMMIT", why);
}

static void
sqlite_rollback(struct belay__sink *sink)
{
    (void)sqlite3_exec(of(sink)->db, "ROLLBACK", NULL, NULL, NULL);
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
