/* sqlite_rows.c - rows as what they become in the tables.
 *
 * An attempt that starts and ends within one transaction is written once; only
 * one that ends in a later transaction is written twice. To a reader, and
 * after a crash, that is the same.
 */
#include "llm/record/sqlite.h"

#include "llm/json/text.h"
#include "llm/json/write.h"
#include "llm/record/messages.h"

#include <string.h>

#define ID_LEN (BELAY__ULID_BYTES - 1)

/* Parameters of both statements for an attempt. */
enum {
    ID = 1,
    RUN,
    TURN,
    SESSION,
    NUMBER,
    ENDPOINT,
    PROVIDER,
    MODEL,
    PARAMS,
    REQUEST_HASH,
    REQUEST_TIP,
    STARTED_US,
    STATUS,
    HTTP_STATUS,
    CODE,
    MODEL_ANSWERED,
    REQUEST_ID,
    MESSAGE,
    END_REASON,
    FIRST_BYTE_US,
    ENDED_US,
    IN_TOTAL,
    IN_CACHE_READ,
    IN_CACHE_WRITE_5M,
    IN_CACHE_WRITE_1H,
    IN_AUDIO,
    OUT_TOTAL,
    OUT_REASONING,
    OUT_AUDIO,
    COST_PICODOLLARS,
    COST_AT_LEAST,
    REPLY_HASH,
    BILLED,
};

const char *
belay__sqlite_statement(int which)
{
    static const char *const statements[BELAY__STATEMENTS] = {
        [BELAY__DATA_VERSION] = "PRAGMA data_version",
        [BELAY__ADD_SESSION] =
            "INSERT OR IGNORE INTO session VALUES (?1, ?2, ?3)",
        [BELAY__ADD_TURN] =
            "INSERT OR IGNORE INTO turn VALUES (?1, ?2, ?3, ?4, ?5)",
        [BELAY__ADD_MESSAGE] =
            /* One without its text is of a recorder that keeps hashes only, or
             * it was forgotten. */
        "INSERT INTO message VALUES (?1, ?2, ?3, ?4) ON CONFLICT (hash)"
        " DO UPDATE SET body = excluded.body"
        " WHERE body IS NULL AND excluded.body IS NOT NULL",
        [BELAY__ADD_BLOB] = "INSERT OR IGNORE INTO blob VALUES (?1, ?2)",
        [BELAY__ADD_ATTEMPT] =
            "INSERT INTO attempt (id, run, turn, session, n, endpoint,"
            " provider, model, params, request_hash, request_tip, started_us,"
            " status, http_status, code, model_answered, request_id, message,"
            " end_reason, first_byte_us, ended_us, in_total, in_cache_read,"
            " in_cache_write_5m, in_cache_write_1h, in_audio, out_total,"
            " out_reasoning, out_audio, cost_picodollars, cost_at_least,"
            " reply_hash, billed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
            " ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,"
            " ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)",
        [BELAY__END_ATTEMPT] =
            "UPDATE attempt SET status = ?13, http_status = ?14, code = ?15,"
            " model_answered = ?16, request_id = ?17, message = ?18,"
            " end_reason = ?19, first_byte_us = ?20, ended_us = ?21,"
            " in_total = ?22, in_cache_read = ?23, in_cache_write_5m = ?24,"
            " in_cache_write_1h = ?25, in_audio = ?26, out_total = ?27,"
            " out_reasoning = ?28, out_audio = ?29, cost_picodollars = ?30,"
            " cost_at_least = ?31, reply_hash = ?32, billed = ?33"
            " WHERE id = ?1",
    };

    return statements[which];
}

/* ---- binding ---- */

/* Texts are borrowed: rows live longer than the step that follows. */
static void
bind_text(sqlite3_stmt *statement, int at, struct belay_slice text)
{
    if (text.len > 0) {
        (void)sqlite3_bind_text64(
            statement, at, text.data, text.len, SQLITE_STATIC, SQLITE_UTF8);
    }
}

static void
bind_string(sqlite3_stmt *statement, int at, const char *text)
{
    bind_text(statement, at, (struct belay_slice){text, strlen(text)});
}

static void
bind_hash(sqlite3_stmt *statement, int at, const struct belay__hash *hash)
{
    if (hash != NULL) {
        (void)sqlite3_bind_blob(
            statement, at, hash->bytes, sizeof(hash->bytes), SQLITE_STATIC);
    }
}

/* A count that is not known is NULL, as what is not bound. */
static void
bind_count(sqlite3_stmt *statement, int at, int64_t count)
{
    if (count >= 0) {
        (void)sqlite3_bind_int64(statement, at, count);
    }
}

static int
run_statement(
    const struct belay__sqlite *sqlite, sqlite3_stmt *statement, char *why)
{
    const int code = sqlite3_step(statement) == SQLITE_DONE
                         ? 0
                         : belay__sqlite_failed(sqlite, why);

    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return code;
}

static int
no_memory(int code, char *why)
{
    if (code < 0) {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES, "out of memory");
    }
    return code;
}

/* ---- messages ---- */

/* A conversation, as far as it has been stored. */
struct chain {
    struct belay__sqlite *sqlite;
    char *why;
    struct belay__hash tip; /* of the last message */
    bool any;
};

static int
store_message(struct chain *chain, const struct belay__recent_key *key,
    struct belay__hash *ret)
{
    struct belay__sqlite *sqlite = chain->sqlite;
    sqlite3_stmt *statement = sqlite->prepared[BELAY__ADD_MESSAGE];
    struct belay__hash hash;
    int code = belay__hash_message(
        &sqlite->hasher, key->parent, key->role, key->body, &hash);

    if (code < 0) {
        return no_memory(code, chain->why);
    }
    bind_hash(statement, 1, &hash);
    bind_hash(statement, 2, key->parent);
    bind_text(statement, 3, key->role);
    if (sqlite->opts.text == BELAY_RECORD_TEXT) {
        bind_text(statement, 4, key->body);
    }
    code = run_statement(sqlite, statement, chain->why);
    if (code == 0) {
        belay__recent_add(&sqlite->recent, key, &hash);
        *ret = hash;
    }
    return code;
}

static int
add_message(const struct belay__message *message, void *arg)
{
    struct chain *chain = arg;
    const struct belay__recent_key key = {
        chain->any ? &chain->tip : NULL, message->role, message->body};
    struct belay__hash hash;
    int code = 0;

    if (!belay__recent_find(&chain->sqlite->recent, &key, &hash)) {
        code = store_message(chain, &key, &hash);
    }
    if (code == 0) {
        chain->tip = hash;
        chain->any = true;
    }
    return code;
}

/* The body without its conversation: the parameters, each byte for byte. */
static struct belay_slice
params_of(struct belay__sqlite *sqlite, struct belay_slice body)
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

/* ---- the two halves of an attempt ---- */

/* What the first half points to until its statement has run. */
struct request {
    struct belay_slice params;
    struct belay__hash hash;
    struct belay__hash tip;
    bool any; /* it has a conversation */
};

/* A request's hash is of what it asks for, not of its bytes: the conversation
 * is hashed already. A body that is no object, which has no parts, counts as
 * it is.
 */
static int
store_request(struct belay__sqlite *sqlite, struct belay_slice body,
    struct request *ret, char *why)
{
    struct chain chain = {.sqlite = sqlite, .why = why};
    const struct belay_slice tip = {
        (const char *)chain.tip.bytes, sizeof(chain.tip.bytes)};
    int code;

    if (body.len == 0) {
        return 0;
    }
    code = belay__messages_each(body, add_message, &chain);
    if (code < 0) {
        return code;
    }
    ret->params = params_of(sqlite, body);
    ret->tip = chain.tip;
    ret->any = chain.any;
    code = belay__hash_message(&sqlite->hasher, NULL, tip,
        ret->params.len > 0 ? ret->params : body, &ret->hash);
    return no_memory(code, why);
}

static void
bind_start(const struct belay__sqlite *sqlite, sqlite3_stmt *statement,
    const struct belay__row *row, const struct request *request)
{
    const bool has_body = row->texts[BELAY__TEXT_BODY].len > 0;

    bind_string(statement, ID, row->attempt);
    bind_string(statement, RUN, sqlite->opts.run);
    bind_text(statement, TURN, row->texts[BELAY__TEXT_TURN]);
    bind_text(statement, SESSION, row->texts[BELAY__TEXT_SESSION]);
    bind_count(statement, NUMBER, row->number);
    bind_text(statement, ENDPOINT, row->texts[BELAY__TEXT_ENDPOINT]);
    bind_text(statement, PROVIDER, row->texts[BELAY__TEXT_PROVIDER]);
    bind_text(statement, MODEL, row->texts[BELAY__TEXT_MODEL]);
    if (sqlite->opts.text == BELAY_RECORD_TEXT) {
        bind_text(statement, PARAMS, request->params);
    }
    bind_hash(statement, REQUEST_HASH, has_body ? &request->hash : NULL);
    bind_hash(statement, REQUEST_TIP, request->any ? &request->tip : NULL);
    bind_count(statement, STARTED_US, row->started_us);
}

static int
hash_reply(struct belay__sqlite *sqlite, struct belay_slice body,
    struct belay__hash *ret, char *why)
{
    return body.len > 0
               ? no_memory(belay__hash_of(&sqlite->hasher, body, ret), why)
               : 0;
}

static int
store_reply(struct belay__sqlite *sqlite, struct belay_slice body,
    const struct belay__hash *hash, char *why)
{
    sqlite3_stmt *statement = sqlite->prepared[BELAY__ADD_BLOB];

    if (body.len == 0 || sqlite->opts.text != BELAY_RECORD_TEXT) {
        return 0;
    }
    bind_hash(statement, 1, hash);
    (void)sqlite3_bind_blob64(statement, 2, body.data, body.len, SQLITE_STATIC);
    return run_statement(sqlite, statement, why);
}

static void
bind_usage(sqlite3_stmt *statement, const struct belay_llm_usage *usage)
{
    bind_count(statement, IN_TOTAL, usage->in_total);
    bind_count(statement, IN_CACHE_READ, usage->in_cache_read);
    bind_count(statement, IN_CACHE_WRITE_5M, usage->in_cache_write_5m);
    bind_count(statement, IN_CACHE_WRITE_1H, usage->in_cache_write_1h);
    bind_count(statement, IN_AUDIO, usage->in_audio);
    bind_count(statement, OUT_TOTAL, usage->out_total);
    bind_count(statement, OUT_REASONING, usage->out_reasoning);
    bind_count(statement, OUT_AUDIO, usage->out_audio);
}

static void
bind_end(sqlite3_stmt *statement, const struct belay__row *row,
    const struct belay__hash *reply)
{
    const bool has_body = row->texts[BELAY__TEXT_BODY].len > 0;

    bind_string(statement, STATUS, belay__record_status_name(row->status));
    bind_count(
        statement, HTTP_STATUS, row->http_status > 0 ? row->http_status : -1);
    if (row->code < 0) {
        bind_string(statement, CODE, belay_code_name(row->code));
    }
    bind_text(statement, MODEL_ANSWERED, row->texts[BELAY__TEXT_MODEL]);
    bind_text(statement, REQUEST_ID, row->texts[BELAY__TEXT_REQUEST_ID]);
    bind_text(statement, MESSAGE, row->texts[BELAY__TEXT_MESSAGE]);
    bind_text(statement, END_REASON, row->texts[BELAY__TEXT_END]);
    bind_count(statement, FIRST_BYTE_US,
        row->first_byte_us > 0 ? row->first_byte_us : -1);
    bind_count(statement, ENDED_US, row->ended_us);
    bind_usage(statement, &row->usage);
    bind_count(statement, COST_PICODOLLARS, row->cost.amount.pico);
    bind_count(statement, COST_AT_LEAST, row->cost.at_least);
    bind_hash(statement, REPLY_HASH, has_body ? reply : NULL);
    bind_count(statement, BILLED, (int64_t)row->billed);
}

/* ---- rows ---- */

static int
add_owners(
    struct belay__sqlite *sqlite, const struct belay__row *row, char *why)
{
    sqlite3_stmt *statement;
    int code = 0;

    if (row->texts[BELAY__TEXT_SESSION].len > 0) {
        statement = sqlite->prepared[BELAY__ADD_SESSION];
        bind_text(statement, 1, row->texts[BELAY__TEXT_SESSION]);
        bind_string(statement, 2, sqlite->opts.run);
        bind_count(statement, 3, row->started_us);
        code = run_statement(sqlite, statement, why);
    }
    if (code == 0 && row->texts[BELAY__TEXT_TURN].len > 0) {
        statement = sqlite->prepared[BELAY__ADD_TURN];
        bind_text(statement, 1, row->texts[BELAY__TEXT_TURN]);
        bind_text(statement, 2, row->texts[BELAY__TEXT_SESSION]);
        bind_text(statement, 3, row->texts[BELAY__TEXT_PARENT_TURN]);
        bind_string(statement, 4, sqlite->opts.run);
        bind_count(statement, 5, row->started_us);
        code = run_statement(sqlite, statement, why);
    }
    return code;
}

/* An attempt that starts, and ends or does not, in this transaction. */
static int
add_attempt(struct belay__sqlite *sqlite, const struct belay__row *start,
    const struct belay__row *end, char *why)
{
    sqlite3_stmt *statement = sqlite->prepared[BELAY__ADD_ATTEMPT];
    struct request request = {{NULL, 0}, {{0}}, {{0}}, false};
    struct belay__hash reply;
    int code = add_owners(sqlite, start, why);

    if (code == 0) {
        code = store_request(
            sqlite, start->texts[BELAY__TEXT_BODY], &request, why);
    }
    if (code == 0 && end != NULL) {
        code = hash_reply(sqlite, end->texts[BELAY__TEXT_BODY], &reply, why);
    }
    if (code < 0) {
        return code;
    }
    bind_start(sqlite, statement, start, &request);
    if (end != NULL) {
        bind_end(statement, end, &reply);
    } else {
        bind_string(statement, STATUS, "in_doubt");
    }
    code = run_statement(sqlite, statement, why);
    return code == 0 && end != NULL
               ? store_reply(sqlite, end->texts[BELAY__TEXT_BODY], &reply, why)
               : code;
}

/* An attempt that was forgotten while it ran stays so, and its answer with it:
 * no row leads to it any more.
 */
static int
end_attempt(
    struct belay__sqlite *sqlite, const struct belay__row *end, char *why)
{
    const struct belay_slice body = end->texts[BELAY__TEXT_BODY];
    sqlite3_stmt *statement = sqlite->prepared[BELAY__END_ATTEMPT];
    struct belay__hash reply;
    int code = hash_reply(sqlite, body, &reply, why);

    if (code < 0) {
        return code;
    }
    bind_string(statement, ID, end->attempt);
    bind_end(statement, end, &reply);
    code = run_statement(sqlite, statement, why);
    return code == 0 && sqlite3_changes(sqlite->db) > 0
               ? store_reply(sqlite, body, &reply, why)
               : code;
}

/* The attempt of this transaction with that id, or NULL. Ids sort as they were
 * made, and so do the starts.
 */
static struct belay__sqlite_start *
find_start(struct belay__sqlite *sqlite, const char *id)
{
    size_t low = 0;
    size_t high = sqlite->start_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order =
            memcmp(sqlite->starts[middle].start->attempt, id, ID_LEN);

        if (order == 0) {
            return &sqlite->starts[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static int
push_start(struct belay__sqlite *sqlite, const struct belay__row *row)
{
    const size_t size = sizeof(*sqlite->starts);
    const size_t room = sqlite->start_room > 0 ? sqlite->start_room * 2 : 128;
    struct belay__sqlite_start *starts = sqlite->starts;

    if (sqlite->start_count == sqlite->start_room) {
        starts = belay__realloc(
            sqlite->memory, starts, sqlite->start_room * size, room * size);
        if (starts == NULL) {
            return BELAY_ENOMEM;
        }
        sqlite->starts = starts;
        sqlite->start_room = room;
    }
    starts[sqlite->start_count++] = (struct belay__sqlite_start){row, NULL};
    return 0;
}

int
belay__sqlite_write(
    struct belay__sqlite *sqlite, const struct belay__row *row, char *why)
{
    struct belay__sqlite_start *start;

    if (row->kind == BELAY__ROW_START) {
        return no_memory(push_start(sqlite, row), why);
    }
    start = find_start(sqlite, row->attempt);
    if (start == NULL) {
        return end_attempt(sqlite, row, why);
    }
    start->end = row;
    return 0;
}

int
belay__sqlite_flush(struct belay__sqlite *sqlite, char *why)
{
    int code = 0;

    for (size_t i = 0; i < sqlite->start_count && code == 0; i++) {
        code = add_attempt(
            sqlite, sqlite->starts[i].start, sqlite->starts[i].end, why);
    }
    sqlite->start_count = 0;
    return code;
}
