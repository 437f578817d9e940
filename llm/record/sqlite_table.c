/* sqlite_table.c - rows in memory, as a table that SQLite can read.
 *
 * `INSERT INTO t SELECT ... FROM ours` writes many rows with one statement: a
 * statement for each row began, opened its tables, looked for its place in them
 * and ended again, which took longer than to write the row. Its values are
 * borrowed, never copied. Only the connection that made the table sees it.
 */
#include "llm/record/sqlite_table.h"

#include <string.h>

struct table {
    sqlite3_vtab base;
    const struct belay__sqlite_table *rows;
};

struct cursor {
    sqlite3_vtab_cursor base;
    size_t at;
};

static const struct belay__sqlite_table *
rows_of(sqlite3_vtab_cursor *cursor)
{
    return ((struct table *)(void *)cursor->pVtab)->rows;
}

static struct cursor *
of(sqlite3_vtab_cursor *cursor)
{
    return (struct cursor *)(void *)cursor;
}

static int
table_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
    sqlite3_vtab **ret, char **ret_error)
{
    const struct belay__sqlite_table *rows = arg;
    struct table *table;
    int status = sqlite3_declare_vtab(db, rows->declaration);

    (void)argc;
    (void)argv;
    (void)ret_error;
    if (status == SQLITE_OK) { /* no trigger or view of a file may ask it */
        status = sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    }
    if (status != SQLITE_OK) {
        return status;
    }
    table = sqlite3_malloc(sizeof(*table));
    if (table == NULL) {
        return SQLITE_NOMEM;
    }
    *table = (struct table){.rows = rows};
    *ret = &table->base;
    return SQLITE_OK;
}

static int
table_disconnect(sqlite3_vtab *table)
{
    sqlite3_free(table);
    return SQLITE_OK;
}

/* There is one way through it, from the first row to the last. */
static int
table_plan(sqlite3_vtab *table, sqlite3_index_info *info)
{
    (void)table;
    (void)info;
    return SQLITE_OK;
}

static int
cursor_open(sqlite3_vtab *table, sqlite3_vtab_cursor **ret)
{
    struct cursor *cursor = sqlite3_malloc(sizeof(*cursor));

    (void)table;
    if (cursor == NULL) {
        return SQLITE_NOMEM;
    }
    *cursor = (struct cursor){.at = 0};
    *ret = &cursor->base;
    return SQLITE_OK;
}

static int
cursor_close(sqlite3_vtab_cursor *cursor)
{
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static int
cursor_begin(sqlite3_vtab_cursor *cursor, int plan, const char *name, int argc,
    sqlite3_value **argv)
{
    (void)plan;
    (void)name;
    (void)argc;
    (void)argv;
    of(cursor)->at = 0;
    return SQLITE_OK;
}

static int
cursor_next(sqlite3_vtab_cursor *cursor)
{
    of(cursor)->at++;
    return SQLITE_OK;
}

static int
cursor_at_end(sqlite3_vtab_cursor *cursor)
{
    return of(cursor)->at >= rows_of(cursor)->count;
}

static int
cursor_column(sqlite3_vtab_cursor *cursor, sqlite3_context *ret, int column)
{
    const struct belay__sqlite_table *rows = rows_of(cursor);

    rows->cell(rows->arg, of(cursor)->at, column, ret);
    return SQLITE_OK;
}

static int
cursor_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64)of(cursor)->at;
    return SQLITE_OK;
}

int
belay__sqlite_table_add(
    sqlite3 *db, const char *name, struct belay__sqlite_table *table)
{
    /* Without xCreate it is there by its name, and in no schema. */
    static const sqlite3_module module = {
        .xConnect = table_connect,
        .xBestIndex = table_plan,
        .xDisconnect = table_disconnect,
        .xOpen = cursor_open,
        .xClose = cursor_close,
        .xFilter = cursor_begin,
        .xNext = cursor_next,
        .xEof = cursor_at_end,
        .xColumn = cursor_column,
        .xRowid = cursor_rowid,
    };

    return sqlite3_create_module(db, name, &module, table);
}
