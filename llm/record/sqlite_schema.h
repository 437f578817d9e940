/* sqlite_schema.h - the tables of a record in SQLite (private to llm/, cli/).
 */
#ifndef BELAY_LLM_RECORD_SQLITE_SCHEMA_H
#define BELAY_LLM_RECORD_SQLITE_SCHEMA_H

#include <sqlite3.h>

/* In user_version:
 *
 *     1  attempt and blob are tables, with indexes for run, time and model
 *     2  they are views on attempt_row, target, outcome, params and reply
 */
#define BELAY__SQLITE_VERSION 2

/* Both give a code of SQLite's. */

/* 0: there is nothing in it. SQLITE_MISMATCH: it is no record, or of a later
 * version; *ret is what it says of itself.
 */
int belay__sqlite_version(sqlite3 *db, int *ret);
/* Makes the tables of a new file, where version is 0, or brings older ones up
 * to date; all within the caller's transaction, in which the version was read.
 */
int belay__sqlite_upgrade(sqlite3 *db, int version);

#endif
