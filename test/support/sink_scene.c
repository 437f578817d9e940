/* sink_scene.c - a folder with an SQLite file, its writer and what it holds. */
#include "test/support/sink_scene.h"

#include <sqlite3.h>

const char *sink_path;
atomic_int sink_haste = BELAY__SINK_STEADY;
char why[BELAY__SINK_WHY_BYTES];

void
sink_set_up(void)
{
    test_files_open();
    sink_path = test_file("a.db");
}

int
sink_open(const char *run, struct belay__sink **ret)
{
    const struct belay__sink_opts opts = {
        sink_path, run, BELAY_RECORD_TEXT, &sink_haste};

    return belay__sink_sqlite->open(&opts, ret, why);
}

void
execute(const char *sql)
{
    char *error = NULL;
    sqlite3 *db;

    cr_assert(eq(int, sqlite3_open(sink_path, &db), SQLITE_OK));
    cr_assert(eq(int, sqlite3_exec(db, sql, NULL, NULL, &error), SQLITE_OK),
        "%s", error);
    cr_assert(eq(int, sqlite3_close(db), SQLITE_OK));
}
