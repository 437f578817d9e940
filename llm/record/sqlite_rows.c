/* sqlite_rows.c - rows as what they become in the tables.
 *
 * A transaction's attempts are written a group at a time, one statement for
 * each table. An attempt that starts and ends within one transaction is written
 * once; only one that ends in a later transaction is written twice. To a
 * reader, and after a crash, that is the same.
 */
#include "llm/record/sqlite.h"

#include <string.h>

#define ID_LEN (BELAY__ULID_BYTES - 1)
#define MESSAGES_KEPT 4096
#define PARAMS_KEPT ((size_t)1024 * 1024)

/* ---- statements ---- */

/* A group's attempts, as SQLite sees them; the last five are for other tables.
 */
#define ATTEMPT_COLUMNS                                                     \
    "started_us, id, target, outcome, params, turn, session, n,"            \
    " request_hash, request_tip, reply_hash, request_id, message,"          \
    " first_byte_us, ended_us, in_total, in_cache_read, in_cache_write_5m," \
    " in_cache_write_1h, in_audio, out_total, out_reasoning, out_audio,"    \
    " cost_picodollars"

static const char call_columns[] =
    "CREATE TABLE x (" ATTEMPT_COLUMNS ", run, parent_turn, reply)";

/* In that order. */
enum {
    STARTED_US,
    ID,
    TARGET,
    OUTCOME,
    PARAMS,
    TURN,
    SESSION,
    NUMBER,
    REQUEST_HASH,
    REQUEST_TIP,
    REPLY_HASH,
    REQUEST_ID,
    MESSAGE,
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
    RUN,
    PARENT_TURN,
    REPLY,
};

static const char message_columns[] =
    "CREATE TABLE x (hash, parent_hash, role, body)";

const char *
belay__sqlite_statement(int which)
{
    static const char *const statements[BELAY__STATEMENTS] = {
        [BELAY__BEGIN] = "BEGIN IMMEDIATE",
        [BELAY__COMMIT] = "COMMIT",
        [BELAY__ROLLBACK] = "ROLLBACK",
        [BELAY__DATA_VERSION] = "PRAGMA data_version",
        [BELAY__KEYS_TAKEN] = "SELECT 1 FROM attempt_row"
                              " WHERE started_us BETWEEN ?1 AND ?2 LIMIT 1",
        [BELAY__ADD_TARGET] =
            "INSERT INTO target (run, endpoint, provider, model)"
            " VALUES (?1, ?2, ?3, ?4)",
        [BELAY__ADD_OUTCOME] =
            "INSERT INTO outcome (status, http_status, code, billed,"
            " cost_at_least, model_answered, end_reason)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        [BELAY__ADD_PARAMS] = "INSERT INTO params (params) VALUES (?1)",
        [BELAY__ADD_SESSIONS] =
            "INSERT OR IGNORE INTO session SELECT session, run, started_us"
            " FROM belay_call WHERE session IS NOT NULL",
        [BELAY__ADD_TURNS] =
            "INSERT OR IGNORE INTO turn SELECT turn, session, parent_turn, run,"
            " started_us FROM belay_call WHERE turn IS NOT NULL",
        [BELAY__ADD_MESSAGES] =
            /* One without its text is of a recorder that keeps hashes only, or
             * it was forgotten. */
        "INSERT OR ROLLBACK INTO message SELECT hash, parent_hash, role, body"
        " FROM belay_message WHERE true ON CONFLICT (hash)"
        " DO UPDATE SET body = excluded.body"
        " WHERE body IS NULL AND excluded.body IS NOT NULL",
        [BELAY__ADD_ATTEMPTS] =
            "INSERT OR ROLLBACK INTO attempt_row SELECT " ATTEMPT_COLUMNS
            " FROM belay_call",
        [BELAY__ADD_REPLIES] = "INSERT OR ROLLBACK INTO reply SELECT "
                               "started_us, reply FROM belay_call"
                               " WHERE reply IS NOT NULL",
        [BELAY__END_ATTEMPTS] =
            "UPDATE OR ROLLBACK attempt_row SET outcome = c.outcome,"
            " reply_hash = c.reply_hash, request_id = c.request_id,"
            " message = c.message, first_byte_us = c.first_byte_us,"
            " ended_us = c.ended_us, in_total = c.in_total,"
            " in_cache_read = c.in_cache_read,"
            " in_cache_write_5m = c.in_cache_write_5m,"
            " in_cache_write_1h = c.in_cache_write_1h, in_audio = c.in_audio,"
            " out_total = c.out_total, out_reasoning = c.out_reasoning,"
            " out_audio = c.out_audio, cost_picodollars = c.cost_picodollars"
            " FROM belay_call c WHERE attempt_row.id = c.id",
        /* An attempt that was forgotten while it ran stays so, and its answer
         * with it: no row leads to it any more. */
        [BELAY__END_REPLIES] =
            "INSERT OR REPLACE INTO reply SELECT a.started_us, c.reply"
            " FROM belay_call c CROSS JOIN attempt_row a ON a.id = c.id"
            " WHERE c.reply IS NOT NULL",
    };

    return statements[which];
}

int
belay__sqlite_run(struct belay__sqlite *sqlite, int which, char *why)
{
    sqlite3_stmt *statement = sqlite->prepared[which];
    const int code = sqlite3_step(statement) == SQLITE_DONE
                         ? 0
                         : belay__sqlite_failed(sqlite, why);

    (void)sqlite3_reset(statement);
    return code;
}

int
belay__sqlite_no_memory(int code, char *why)
{
    if (code < 0) {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES, "out of memory");
    }
    return code;
}

/* ---- cells ---- */

/* Texts are borrowed: rows live longer than the statement. */
static void
give_text(sqlite3_context *ret, struct belay_slice text)
{
    if (text.len > 0) {
        sqlite3_result_text64(
            ret, text.data, text.len, SQLITE_STATIC, SQLITE_UTF8);
    }
}

static void
give_hash(sqlite3_context *ret, const struct belay__hash *hash)
{
    sqlite3_result_blob(ret, hash->bytes, sizeof(hash->bytes), SQLITE_STATIC);
}

/* A count that is not known is NULL, as what is not given. */
static void
give_count(sqlite3_context *ret, int64_t count)
{
    if (count >= 0) {
        sqlite3_result_int64(ret, count);
    }
}

static void
give_start(const struct belay__sqlite *sqlite,
    const struct belay__sqlite_call *call, int column, sqlite3_context *ret)
{
    const struct belay__row *start = call->start;

    switch (column) {
    case TURN:
        give_text(ret, start->texts[BELAY__TEXT_TURN]);
        break;
    case SESSION:
        give_text(ret, start->texts[BELAY__TEXT_SESSION]);
        break;
    case PARENT_TURN:
        give_text(ret, start->texts[BELAY__TEXT_PARENT_TURN]);
        break;
    case RUN:
        give_text(ret,
            (struct belay_slice){sqlite->opts.run, strlen(sqlite->opts.run)});
        break;
    case NUMBER:
        sqlite3_result_int64(ret, start->number);
        break;
    case PARAMS:
        give_count(ret, call->params > 0 ? call->params : -1);
        break;
    case REQUEST_HASH:
        if (start->texts[BELAY__TEXT_BODY].len > 0) {
            give_hash(ret, &call->request);
        }
        break;
    case REQUEST_TIP:
        if (call->any) {
            give_hash(ret, &call->tip);
        }
        break;
    default:
        break;
    }
}

static void
give_usage(
    const struct belay_llm_usage *usage, int column, sqlite3_context *ret)
{
    const int64_t counts[] = {usage->in_total, usage->in_cache_read,
        usage->in_cache_write_5m, usage->in_cache_write_1h, usage->in_audio,
        usage->out_total, usage->out_reasoning, usage->out_audio};

    give_count(ret, counts[column - IN_TOTAL]);
}

static void
give_reply(const struct belay__sqlite *sqlite,
    const struct belay__sqlite_call *call, int column, sqlite3_context *ret)
{
    const struct belay_slice body = call->end->texts[BELAY__TEXT_BODY];

    if (body.len == 0) {
        return;
    }
    if (column == REPLY_HASH) {
        give_hash(ret, &call->reply);
    } else if (sqlite->opts.text == BELAY_RECORD_TEXT) {
        sqlite3_result_blob64(ret, body.data, body.len, SQLITE_STATIC);
    }
}

static void
give_end(const struct belay__sqlite *sqlite,
    const struct belay__sqlite_call *call, int column, sqlite3_context *ret)
{
    const struct belay__row *end = call->end;

    switch (column) {
    case REPLY_HASH:
    case REPLY:
        give_reply(sqlite, call, column, ret);
        break;
    case REQUEST_ID:
        give_text(ret, end->texts[BELAY__TEXT_REQUEST_ID]);
        break;
    case MESSAGE:
        give_text(ret, end->texts[BELAY__TEXT_MESSAGE]);
        break;
    case FIRST_BYTE_US:
        give_count(ret, end->first_byte_us > 0 ? end->first_byte_us : -1);
        break;
    case ENDED_US:
        give_count(ret, end->ended_us);
        break;
    case COST_PICODOLLARS:
        give_count(ret, end->cost.amount.pico);
        break;
    default:
        give_usage(&end->usage, column, ret);
        break;
    }
}

static bool
is_of_end(int column)
{
    return (column >= REPLY_HASH && column <= COST_PICODOLLARS)
           || column == REPLY;
}

static void
call_cell(void *arg, size_t row, int column, sqlite3_context *ret)
{
    const struct belay__sqlite *sqlite = arg;
    const struct belay__sqlite_call *call = &sqlite->calls[row];

    if (column == STARTED_US) {
        sqlite3_result_int64(ret, call->key);
    } else if (column == ID) {
        sqlite3_result_text(ret,
            call->start != NULL ? call->start->attempt : call->end->attempt,
            ID_LEN, SQLITE_STATIC);
    } else if (column == TARGET) {
        sqlite3_result_int64(ret, call->target);
    } else if (column == OUTCOME) {
        sqlite3_result_int64(ret, call->outcome);
    } else if (!is_of_end(column)) {
        give_start(sqlite, call, column, ret);
    } else if (call->end != NULL) {
        give_end(sqlite, call, column, ret);
    }
}

static void
message_cell(void *arg, size_t row, int column, sqlite3_context *ret)
{
    const struct belay__sqlite *sqlite = arg;
    const struct belay__sqlite_message *message = &sqlite->messages[row];

    switch (column) {
    case 0:
        give_hash(ret, &message->hash);
        break;
    case 1:
        if (message->has_parent) {
            give_hash(ret, &message->parent);
        }
        break;
    case 2:
        give_text(ret, message->role);
        break;
    default:
        if (sqlite->opts.text == BELAY_RECORD_TEXT) {
            give_text(ret, message->body);
        }
        break;
    }
}

int
belay__sqlite_add_tables(struct belay__sqlite *sqlite)
{
    int status;

    sqlite->call_table = (struct belay__sqlite_table){
        .declaration = call_columns, .cell = call_cell, .arg = sqlite};
    sqlite->message_table = (struct belay__sqlite_table){
        .declaration = message_columns, .cell = message_cell, .arg = sqlite};
    status =
        belay__sqlite_table_add(sqlite->db, "belay_call", &sqlite->call_table);
    return status == SQLITE_OK ? belay__sqlite_table_add(
               sqlite->db, "belay_message", &sqlite->message_table)
                               : status;
}

/* ---- groups ---- */

static int
write_starts(struct belay__sqlite *sqlite, char *why)
{
    const bool wanted[BELAY__STATEMENTS] = {
        [BELAY__ADD_SESSIONS] = sqlite->any_session,
        [BELAY__ADD_TURNS] = sqlite->any_turn,
        [BELAY__ADD_MESSAGES] = sqlite->message_table.count > 0,
        [BELAY__ADD_ATTEMPTS] = true,
        [BELAY__ADD_REPLIES] = sqlite->any_reply,
    };
    int code = 0;

    for (int i = BELAY__ADD_SESSIONS; i <= BELAY__ADD_REPLIES && code == 0;
         i++) {
        code = wanted[i] ? belay__sqlite_run(sqlite, i, why) : 0;
    }
    return code;
}

static int
write_ends(struct belay__sqlite *sqlite, char *why)
{
    const int code = belay__sqlite_run(sqlite, BELAY__END_ATTEMPTS, why);

    if (code == 0) {
        sqlite->sink.homeless += (uint32_t)sqlite->call_table.count
                                 - (uint32_t)sqlite3_changes(sqlite->db);
    }
    return code == 0 && sqlite->any_reply
               ? belay__sqlite_run(sqlite, BELAY__END_REPLIES, why)
               : code;
}

static int
write_group(struct belay__sqlite *sqlite,
    const struct belay__sqlite_pair *pairs, size_t count, char *why)
{
    const int code = belay__sqlite_take(sqlite, pairs, count, why);

    if (code < 0) {
        return code;
    }
    return pairs[0].start != NULL ? write_starts(sqlite, why)
                                  : write_ends(sqlite, why);
}

static int
write_all(struct belay__sqlite *sqlite, const struct belay__sqlite_pair *pairs,
    size_t count, char *why)
{
    size_t done = 0;
    int code = 0;

    while (done < count && code == 0) {
        const size_t some = count - done < BELAY__SQLITE_GROUP
                                ? count - done
                                : BELAY__SQLITE_GROUP;

        code = write_group(sqlite, pairs + done, some, why);
        done += some;
    }
    return code;
}

/* ---- rows ---- */

/* The attempt of this transaction with that id, or NULL. Ids sort as they were
 * made, and so do the starts.
 */
static struct belay__sqlite_pair *
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
push(struct belay__sqlite *sqlite, struct belay__sqlite_pair **pairs,
    size_t *count, size_t *room, struct belay__sqlite_pair pair)
{
    const size_t size = sizeof(**pairs);
    const size_t more = *room > 0 ? *room * 2 : BELAY__SQLITE_GROUP;
    struct belay__sqlite_pair *moved = *pairs;

    if (*count == *room) {
        moved =
            belay__realloc(sqlite->memory, moved, *room * size, more * size);
        if (moved == NULL) {
            return BELAY_ENOMEM;
        }
        *pairs = moved;
        *room = more;
    }
    moved[(*count)++] = pair;
    return 0;
}

int
belay__sqlite_write(
    struct belay__sqlite *sqlite, const struct belay__row *row, char *why)
{
    struct belay__sqlite_pair *start;
    int code;

    if (row->kind == BELAY__ROW_START) {
        code = push(sqlite, &sqlite->starts, &sqlite->start_count,
            &sqlite->start_room, (struct belay__sqlite_pair){row, NULL});
        return belay__sqlite_no_memory(code, why);
    }
    start = find_start(sqlite, row->attempt);
    if (start != NULL) {
        start->end = row;
        return 0;
    }
    code = push(sqlite, &sqlite->ends, &sqlite->end_count, &sqlite->end_room,
        (struct belay__sqlite_pair){NULL, row});
    return belay__sqlite_no_memory(code, why);
}

/* What one long conversation has taken is not kept for all that follow. */
static void
give_room_back(struct belay__sqlite *sqlite)
{
    if (sqlite->message_room > MESSAGES_KEPT) {
        belay__free(sqlite->memory, sqlite->messages,
            sqlite->message_room * sizeof(*sqlite->messages));
        sqlite->messages = NULL;
        sqlite->message_room = 0;
    }
    if (sqlite->params.room > PARAMS_KEPT) {
        belay__buffer_fini(&sqlite->params);
    }
}

int
belay__sqlite_flush(struct belay__sqlite *sqlite, char *why)
{
    int code = write_all(sqlite, sqlite->starts, sqlite->start_count, why);

    if (code == 0) {
        code = write_all(sqlite, sqlite->ends, sqlite->end_count, why);
    }
    sqlite->start_count = 0;
    sqlite->end_count = 0;
    give_room_back(sqlite);
    return code;
}
