/* test_sink_others.c - a file that others have, too: L73, L77, S9. */
#include "test/support/sink_scene.h"
#include "test/support/slice.h"

#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(
    sink_others, .init = sink_set_up, .fini = test_files_fini, .timeout = 60);

static int
open_sink(struct belay__sink **ret)
{
    static char run[8];
    static int runs;

    (void)snprintf(run, sizeof(run), "%d", runs++);
    return sink_open(run, ret);
}

static void
write_start(struct belay__sink *sink, int number)
{
    struct belay__row row = {.kind = BELAY__ROW_START, .started_us = number};

    (void)snprintf(row.attempt, sizeof(row.attempt), "%026d", number);
    row.texts[BELAY__TEXT_BODY] = slice("{}");
    cr_assert(zero(int, belay__sink_sqlite->begin(sink, why)), "%s", why);
    cr_assert(zero(int, belay__sink_sqlite->write(sink, &row, why)));
    cr_assert(zero(int, belay__sink_sqlite->commit(sink, why)), "%s", why);
}

static char
count_attempts(void)
{
    sqlite3_stmt *query;
    sqlite3 *db;
    char count = 0;

    if (sqlite3_open(sink_path, &db) == SQLITE_OK
        && sqlite3_prepare_v2(
               db, "SELECT count(*) FROM attempt", -1, &query, NULL)
               == SQLITE_OK) {
        count = sqlite3_step(query) == SQLITE_ROW
                    ? (char)sqlite3_column_int(query, 0)
                    : 0;
        (void)sqlite3_finalize(query);
    }
    (void)sqlite3_close(db);
    return count;
}

/* A process that counts the attempts, and closes the file again, whenever a
 * byte comes: it has nothing of SQLite's from this one.
 */
static pid_t
reader_start(int *ret)
{
    int ask[2];
    int answer[2];
    char byte;
    pid_t pid;

    cr_assert(zero(int, pipe(ask)));
    cr_assert(zero(int, pipe(answer)));
    pid = fork();
    cr_assert(ge(int, pid, 0));
    if (pid == 0) {
        (void)close(ask[1]);
        while (read(ask[0], &byte, 1) == 1) {
            byte = count_attempts();
            (void)!write(answer[1], &byte, 1);
        }
        _exit(0);
    }
    (void)close(ask[0]);
    (void)close(answer[1]);
    ret[0] = answer[0];
    ret[1] = ask[1];
    return pid;
}

static int
seen_by(const int *reader)
{
    char count;

    cr_assert(eq(int, (int)write(reader[1], "", 1), 1));
    cr_assert(eq(int, (int)read(reader[0], &count, 1), 1));
    return count;
}

/* A descriptor of the file that is closed anywhere in a process gives up all of
 * its locks; then the next who goes takes itself for the last.
 */
Test(sink_others, l77_a_second_recorder_in_the_process_costs_no_row)
{
    struct belay__sink *first;
    struct belay__sink *second;
    int reader[2];
    const pid_t pid = reader_start(reader);

    cr_assert(zero(int, open_sink(&first)), "%s", why);
    write_start(first, 1);
    cr_assert(zero(int, open_sink(&second)), "%s", why);
    cr_expect(eq(int, seen_by(reader), 1));
    write_start(first, 2);
    write_start(second, 3);
    cr_expect(eq(int, seen_by(reader), 3));
    belay__sink_sqlite->close(second);
    write_start(first, 4);
    cr_expect(eq(int, seen_by(reader), 4));
    belay__sink_sqlite->close(first);
    (void)close(reader[0]);
    (void)close(reader[1]);
    cr_assert(eq(int, waitpid(pid, NULL, 0), pid));
    expect("PRAGMA integrity_check", "ok");
    expect("SELECT count(*) FROM attempt", "4");
}

Test(sink_others, l73_a_database_of_others_is_left_as_it_is)
{
    static const char *const versions[] = {"0", "1", "2"};
    struct belay__sink *sink;

    execute("CREATE TABLE message (a)");
    for (int i = 0; i < 3; i++) {
        char set[40];

        (void)snprintf(
            set, sizeof(set), "PRAGMA user_version = %s", versions[i]);
        execute(set);
        cr_expect(eq(int, open_sink(&sink), BELAY_EIO), "%s", versions[i]);
        cr_expect_str_eq(why, "a database of others");
        cr_expect(zero(int,
            strcmp(query_text(sink_path, "PRAGMA user_version"), versions[i])));
        expect("PRAGMA journal_mode", "delete");
        expect("SELECT count(*) FROM sqlite_schema", "1");
    }
}

static mode_t
mode_now(void)
{
    struct stat status;

    cr_assert(zero(int, stat(sink_path, &status)));
    return status.st_mode & 0777;
}

Test(sink_others, s9_a_file_is_nobody_elses_unless_its_owner_wants_it)
{
    struct belay__sink *sink;
    FILE *file = fopen(sink_path, "w"); /* as the umask says */

    cr_assert(file != NULL);
    cr_assert(zero(int, fclose(file)));
    cr_assert(zero(int, chmod(sink_path, 0644)));
    cr_assert(zero(int, open_sink(&sink)), "%s", why);
    belay__sink_sqlite->close(sink);
    cr_expect(eq(uint, mode_now(), 0600));
    cr_assert(zero(int, chmod(sink_path, 0640)));
    cr_assert(zero(int, open_sink(&sink)), "%s", why);
    belay__sink_sqlite->close(sink);
    cr_expect(eq(uint, mode_now(), 0640));
    cr_assert(zero(int, unlink(sink_path)));
    cr_assert(zero(int, open_sink(&sink)), "%s", why);
    belay__sink_sqlite->close(sink);
    cr_expect(eq(uint, mode_now(), 0600));
    expect("PRAGMA page_size", "16384");
}

Test(sink_others, a_link_that_leads_nowhere_yet)
{
    struct belay__sink *sink;

    cr_assert(zero(int, symlink(test_file("real.db"), sink_path)));
    cr_assert(zero(int, open_sink(&sink)), "%s", why);
    write_start(sink, 1);
    belay__sink_sqlite->close(sink);
    expect("SELECT count(*) FROM attempt", "1");
    cr_expect(eq(uint, mode_now(), 0600));
}

/* As if the end of a transaction had failed, and its rollback. */
Test(sink_others, l77_a_transaction_that_could_not_end_is_none_of_the_next)
{
    struct belay__sink *sink;

    cr_assert(zero(int, open_sink(&sink)), "%s", why);
    cr_assert(zero(int, belay__sink_sqlite->begin(sink, why)), "%s", why);
    write_start(sink, 1);
    belay__sink_sqlite->close(sink);
    expect("SELECT count(*) FROM attempt", "1");
}
