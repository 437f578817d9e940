/* sqlite_log.h - the log of a database, written in large pieces (private to
 * llm/record/).
 */
#ifndef BELAY_LLM_RECORD_SQLITE_LOG_H
#define BELAY_LLM_RECORD_SQLITE_LOG_H

#include "runtime/memory.h"

#include <sqlite3.h>

/* A file system for SQLite that is the usual one but for logs. It serves one
 * connection, which has to be closed before it.
 */
struct belay__sqlite_log {
    sqlite3_vfs vfs; /* the first member: SQLite knows it by that */
    sqlite3_vfs *usual;
    struct belay__memory *memory;
    char name[32];
    char *piece; /* NULL: it is not registered */
};

/* Registers it; vfs.zName is the name to open with. Errors: BELAY_ENOMEM. */
int belay__sqlite_log_init(
    struct belay__sqlite_log *log, struct belay__memory *memory);
void belay__sqlite_log_fini(struct belay__sqlite_log *log); /* {0} is fine */

#endif
