/* sqlite_names.c - what many attempts have in common, by a number.
 *
 * Whom they asked, with which parameters (among them all tools), how they
 * ended: few different ones come again and again. Each is written once and has
 * a number from then on, as long as this recorder knows it; one that was
 * forgotten here is written once more.
 */
#include "llm/record/sqlite.h"

#include <string.h>

static int
append(struct belay__buffer *name, const void *data, size_t len)
{
    return belay__buffer_append(name, data, len);
}

/* With its length before it, so that no two texts run together. */
static int
append_text(struct belay__buffer *name, struct belay_slice text)
{
    const int code = append(name, &text.len, sizeof(text.len));

    return code == 0 ? append(name, text.data, text.len) : code;
}

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

static int
run(struct belay__sqlite *sqlite, sqlite3_stmt *statement, int64_t *ret,
    char *why)
{
    const int code = sqlite3_step(statement) == SQLITE_DONE
                         ? 0
                         : belay__sqlite_failed(sqlite, why);

    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    if (code == 0) {
        *ret = sqlite3_last_insert_rowid(sqlite->db);
    }
    return code;
}

static bool
find(struct belay__sqlite *sqlite, const struct belay__recent_key *key,
    int64_t *ret)
{
    struct belay__hash number;

    if (!belay__recent_find(&sqlite->names, key, &number)) {
        return false;
    }
    memcpy(ret, number.bytes, sizeof(*ret));
    return true;
}

static void
keep(struct belay__sqlite *sqlite, const struct belay__recent_key *key,
    int64_t id)
{
    struct belay__hash number = {{0}};

    memcpy(number.bytes, &id, sizeof(id));
    belay__recent_add(&sqlite->names, key, &number);
}

/* ---- whom ---- */

int
belay__sqlite_target(struct belay__sqlite *sqlite,
    const struct belay__row *start, int64_t *ret, char *why)
{
    static const int texts[] = {
        BELAY__TEXT_ENDPOINT, BELAY__TEXT_PROVIDER, BELAY__TEXT_MODEL};
    sqlite3_stmt *statement = sqlite->prepared[BELAY__ADD_TARGET];
    struct belay__recent_key key = {.role = {"target", 6}};
    bool named;
    int code = 0;

    belay__buffer_clear(&sqlite->name);
    for (int i = 0; i < 3 && code == 0; i++) {
        code = append_text(&sqlite->name, start->texts[texts[i]]);
    }
    key.body = belay__buffer_slice(&sqlite->name);
    named = code == 0; /* one that is too long is not shared */
    if (named && find(sqlite, &key, ret)) {
        return 0;
    }
    bind_string(statement, 1, sqlite->opts.run);
    for (int i = 0; i < 3; i++) {
        bind_text(statement, i + 2, start->texts[texts[i]]);
    }
    code = run(sqlite, statement, ret, why);
    if (code == 0 && named) {
        keep(sqlite, &key, *ret);
    }
    return code;
}

/* ---- with which parameters ---- */

int
belay__sqlite_params(struct belay__sqlite *sqlite, struct belay_slice params,
    int64_t *ret, char *why)
{
    sqlite3_stmt *statement = sqlite->prepared[BELAY__ADD_PARAMS];
    const struct belay__recent_key key = {
        .role = {"params", 6}, .body = params};
    int code;

    if (find(sqlite, &key, ret)) {
        return 0;
    }
    bind_text(statement, 1, params);
    code = run(sqlite, statement, ret, why);
    if (code == 0) {
        keep(sqlite, &key, *ret);
    }
    return code;
}

/* ---- how it ended ---- */

static int
name_outcome(struct belay__buffer *name, const struct belay__row *end)
{
    const int numbers[] = {(int)end->status, end->http_status, end->code,
        (int)end->billed, (int)end->cost.at_least};
    int code = append(name, numbers, sizeof(numbers));

    if (code == 0) {
        code = append_text(name, end->texts[BELAY__TEXT_MODEL]);
    }
    return code == 0 ? append_text(name, end->texts[BELAY__TEXT_END]) : code;
}

static void
bind_outcome(sqlite3_stmt *statement, const struct belay__row *end)
{
    bind_string(statement, 1, belay__record_status_name(end->status));
    if (end->http_status > 0) {
        (void)sqlite3_bind_int(statement, 2, end->http_status);
    }
    if (end->code < 0) {
        bind_string(statement, 3, belay_code_name(end->code));
    }
    (void)sqlite3_bind_int(statement, 4, (int)end->billed);
    (void)sqlite3_bind_int(statement, 5, (int)end->cost.at_least);
    bind_text(statement, 6, end->texts[BELAY__TEXT_MODEL]);
    bind_text(statement, 7, end->texts[BELAY__TEXT_END]);
}

int
belay__sqlite_outcome(struct belay__sqlite *sqlite,
    const struct belay__row *end, int64_t *ret, char *why)
{
    sqlite3_stmt *statement = sqlite->prepared[BELAY__ADD_OUTCOME];
    struct belay__recent_key key = {.role = {"outcome", 7}};
    bool named;
    int code = 0;

    belay__buffer_clear(&sqlite->name);
    if (end != NULL) {
        code = name_outcome(&sqlite->name, end);
    }
    key.body = belay__buffer_slice(&sqlite->name);
    named = code == 0; /* one that is too long is not shared */
    if (named && find(sqlite, &key, ret)) {
        return 0;
    }
    if (end != NULL) {
        bind_outcome(statement, end);
    } else {
        bind_string(statement, 1, "in_doubt");
    }
    code = run(sqlite, statement, ret, why);
    if (code == 0 && named) {
        keep(sqlite, &key, *ret);
    }
    return code;
}
