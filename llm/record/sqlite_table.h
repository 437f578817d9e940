/* sqlite_table.h - rows in memory, as a table that SQLite can read (private to
 * llm/record/).
 */
#ifndef BELAY_LLM_RECORD_SQLITE_TABLE_H
#define BELAY_LLM_RECORD_SQLITE_TABLE_H

#include <sqlite3.h>
#include <stddef.h>

/* Gives the value in a column of a row; nothing given is NULL. Texts and blobs
 * are borrowed until the statement has ended.
 */
typedef void belay__sqlite_cell_fn(
    void *arg, size_t row, int column, sqlite3_context *ret);

struct belay__sqlite_table {
    const char *declaration; /* CREATE TABLE x (...) */
    belay__sqlite_cell_fn *cell;
    void *arg;
    size_t count; /* of rows; may change between statements */
};

/* Makes it known to a connection, which it must outlive. A code of SQLite's. */
int belay__sqlite_table_add(
    sqlite3 *db, const char *name, struct belay__sqlite_table *table);

#endif
