/* sqlite_take.c - rows of ours, taken apart into what tables hold.
 *
 * A message's hash is of itself and all before it; one that is known to be in
 * the file is not handed to SQLite again (L75).
 */
#include "llm/record/messages.h"
#include "llm/record/sqlite.h"

#include <string.h>

/* ---- messages ---- */

/* A conversation, as far as it has been taken. */
struct chain {
    struct belay__sqlite *sqlite;
    struct belay__hash tip; /* of the last message */
    bool any;
};

static int
push_message(struct belay__sqlite *sqlite, const struct belay__recent_key *key,
    const struct belay__hash *hash)
{
    const size_t size = sizeof(*sqlite->messages);
    const size_t old_room = sqlite->message_room;
    const size_t room = old_room > 0 ? old_room * 2 : BELAY__SQLITE_GROUP;
    struct belay__sqlite_message *messages = sqlite->messages;
    struct belay__sqlite_message *message;

    if (sqlite->message_table.count == old_room) {
        messages = belay__realloc(
            sqlite->memory, messages, old_room * size, room * size);
        if (messages == NULL) {
            return BELAY_ENOMEM;
        }
        sqlite->messages = messages;
        sqlite->message_room = room;
    }
    message = &messages[sqlite->message_table.count++];
    message->hash = *hash;
    message->has_parent = key->parent != NULL;
    if (message->has_parent) {
        message->parent = *key->parent;
    }
    message->role = key->role;
    message->body = key->body;
    return 0;
}

static int
add_message(const struct belay__message *message, void *arg)
{
    struct chain *chain = arg;
    struct belay__sqlite *sqlite = chain->sqlite;
    const struct belay__recent_key key = {
        chain->any ? &chain->tip : NULL, message->role, message->body};
    struct belay__hash hash;
    int code = 0;

    if (!belay__recent_find(&sqlite->recent, &key, &hash)) {
        code = belay__hash_message(
            &sqlite->hasher, key.parent, key.role, key.body, &hash);
        if (code == 0 && belay__seen_before(&sqlite->seen, &hash)) {
            belay__recent_add(&sqlite->recent, &key, &hash);
        } else if (code == 0) {
            code = push_message(sqlite, &key, &hash);
        }
    }
    if (code == 0) {
        chain->tip = hash;
        chain->any = true;
    }
    return code;
}

/* ---- the two halves of an attempt ---- */

/* A request's hash is of what it asks for, not of its bytes: the conversation
 * is hashed already. A body that is no object, which has no parts, counts as
 * it is.
 */
static int
take_request(
    struct belay__sqlite *sqlite, struct belay__sqlite_call *call, char *why)
{
    const struct belay_slice body = call->start->texts[BELAY__TEXT_BODY];
    struct chain chain = {.sqlite = sqlite};
    const struct belay_slice tip = {
        (const char *)chain.tip.bytes, sizeof(chain.tip.bytes)};
    struct belay_slice params;
    int code;

    call->any = false;
    call->params = 0;
    if (body.len == 0) {
        return 0;
    }
    code = belay__messages_part(body, add_message, &chain, &sqlite->params);
    if (code < 0) {
        return belay__sqlite_no_memory(code, why);
    }
    params = belay__buffer_slice(&sqlite->params);
    call->tip = chain.tip;
    call->any = chain.any;
    code = belay__hash_message(&sqlite->hasher, NULL, tip,
        params.len > 0 ? params : body, &call->request);
    if (code == 0 && params.len > 0 && sqlite->opts.text == BELAY_RECORD_TEXT) {
        return belay__sqlite_params(sqlite, params, &call->params, why);
    }
    return belay__sqlite_no_memory(code, why);
}

static int
take_start(
    struct belay__sqlite *sqlite, struct belay__sqlite_call *call, char *why)
{
    const struct belay__row *start = call->start;
    const int code = belay__sqlite_target(sqlite, start, &call->target, why);

    sqlite->any_session |= start->texts[BELAY__TEXT_SESSION].len > 0;
    sqlite->any_turn |= start->texts[BELAY__TEXT_TURN].len > 0;
    return code == 0 ? take_request(sqlite, call, why) : code;
}

static int
take_reply(
    struct belay__sqlite *sqlite, struct belay__sqlite_call *call, char *why)
{
    const struct belay_slice body = call->end->texts[BELAY__TEXT_BODY];

    if (body.len == 0) {
        return 0;
    }
    sqlite->any_reply = true;
    return belay__sqlite_no_memory(
        belay__hash_of(&sqlite->hasher, body, &call->reply), why);
}

static int
take_call(
    struct belay__sqlite *sqlite, struct belay__sqlite_call *call, char *why)
{
    int code = belay__sqlite_outcome(sqlite, call->end, &call->outcome, why);

    if (code == 0 && call->start != NULL) {
        code = take_start(sqlite, call, why);
    }
    if (code == 0 && call->end != NULL) {
        code = take_reply(sqlite, call, why);
    }
    return code;
}

/* ---- keys ---- */

/* Is there an attempt in the file with such a key? */
static int
are_taken(struct belay__sqlite *sqlite, int64_t first, int64_t last, bool *ret,
    char *why)
{
    sqlite3_stmt *query = sqlite->prepared[BELAY__KEYS_TAKEN];
    int code = 0;
    int step;

    (void)sqlite3_bind_int64(query, 1, first);
    (void)sqlite3_bind_int64(query, 2, last);
    step = sqlite3_step(query);
    *ret = step == SQLITE_ROW;
    if (step != SQLITE_ROW && step != SQLITE_DONE) {
        code = belay__sqlite_failed(sqlite, why);
    }
    (void)sqlite3_reset(query);
    return code;
}

static bool
is_used(const struct belay__sqlite_call *calls, size_t count, int64_t key)
{
    for (size_t i = 0; i < count; i++) {
        if (calls[i].key == key) {
            return true;
        }
    }
    return false;
}

/* The first key from here on that nobody has. A clock that stands still has
 * many attempts in a row: where such a row ends is remembered.
 */
static int
look_for_key(struct belay__sqlite *sqlite, size_t i, char *why)
{
    struct belay__key_run *full = &sqlite->full;
    int64_t *key = &sqlite->calls[i].key;
    const int64_t from = *key;
    bool taken = true;
    int code;

    if (from >= full->first && from < full->last) {
        *key = full->last;
    }
    for (;; ++*key) {
        code = are_taken(sqlite, *key, *key, &taken, why);
        if (code < 0 || (!taken && !is_used(sqlite->calls, i, *key))) {
            break;
        }
    }
    if (*key > full->last || from < full->first) {
        full->first =
            from >= full->first && from <= full->last ? full->first : from;
        full->last = *key;
    }
    return code;
}

/* Other recorders write attempts of the same time, or the clock was set back.
 */
static int
look_for_keys(struct belay__sqlite *sqlite, size_t count, char *why)
{
    int code = 0;

    for (size_t i = 0; i < count && code == 0; i++) {
        code = look_for_key(sqlite, i, why);
    }
    return code;
}

/* An attempt that starts in the same microsecond as one before it has the next
 * one for itself.
 */
static int
choose_keys(struct belay__sqlite *sqlite, size_t count, char *why)
{
    struct belay__sqlite_call *calls = sqlite->calls;
    bool taken = false;
    int code = 0;

    for (size_t i = 0; i < count; i++) {
        calls[i].key = calls[i].start->started_us;
        taken |= i > 0 && calls[i].key <= calls[i - 1].key;
    }
    if (!taken) {
        code =
            are_taken(sqlite, calls[0].key, calls[count - 1].key, &taken, why);
    }
    return code == 0 && taken ? look_for_keys(sqlite, count, why) : code;
}

/* ---- a group ---- */

int
belay__sqlite_take(struct belay__sqlite *sqlite,
    const struct belay__sqlite_pair *pairs, size_t count, char *why)
{
    int code = 0;

    sqlite->message_table.count = 0;
    sqlite->any_session = false;
    sqlite->any_turn = false;
    sqlite->any_reply = false;
    sqlite->call_table.count = 0; /* nobody may read it yet */
    for (size_t i = 0; i < count && code == 0; i++) {
        sqlite->calls[i].start = pairs[i].start;
        sqlite->calls[i].end = pairs[i].end;
        code = take_call(sqlite, &sqlite->calls[i], why);
    }
    if (code == 0 && pairs[0].start != NULL) {
        code = choose_keys(sqlite, count, why);
    }
    if (code == 0) {
        sqlite->call_table.count = count;
    }
    return code;
}
