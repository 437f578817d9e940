/* texts.c - what was written, how much may be, and what stands in it. */
#include "test/support/texts.h"

#include "test/support/program.h"

#include <sqlite3.h>

#include <stdio.h>
#include <string.h>

char *
file_text(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t len;

    cr_assert(file != NULL);
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    cr_assert(zero(int, fclose(file)));
    return text;
}

size_t
count_in(const char *text, const char *part)
{
    size_t count = 0;

    while ((text = strstr(text, part)) != NULL) {
        text += strlen(part);
        count++;
    }
    return count;
}

char *
query_text(const char *path, const char *sql)
{
    static char text[4096];
    sqlite3_stmt *statement;
    sqlite3 *db;

    text[0] = '\0';
    cr_assert(eq(int, sqlite3_open(path, &db), SQLITE_OK));
    cr_assert(
        eq(int, sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK),
        "%s: %s", sql, sqlite3_errmsg(db));
    if (sqlite3_step(statement) == SQLITE_ROW
        && sqlite3_column_text(statement, 0) != NULL) {
        (void)snprintf(text, sizeof(text), "%s",
            (const char *)sqlite3_column_text(statement, 0));
    }
    (void)sqlite3_finalize(statement);
    cr_assert(eq(int, sqlite3_close(db), SQLITE_OK));
    return text;
}

void
limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    cr_assert(zero(int, getrlimit(RLIMIT_FSIZE, &limit)));
    limit.rlim_cur = bytes;
    cr_assert(zero(int, setrlimit(RLIMIT_FSIZE, &limit)));
}
