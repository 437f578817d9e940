/* test_sink_upgrade.c - files with the tables of an older version: L73. */
#include "test/support/sink_scene.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char version_1[] =
    "CREATE TABLE run (id TEXT PRIMARY KEY, started_us INTEGER NOT "
    "NULL, pid INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE session (id TEXT PRIMARY KEY, run TEXT NOT NULL, "
    "started_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE turn (id TEXT PRIMARY KEY, session TEXT, parent_turn "
    "TEXT, run TEXT NOT NULL, started_us INTEGER NOT NULL) WITHOUT "
    "ROWID;"
    "CREATE TABLE message (hash BLOB PRIMARY KEY, parent_hash BLOB, "
    "role TEXT, body TEXT);"
    "CREATE TABLE blob (hash BLOB PRIMARY KEY, bytes BLOB);"
    "CREATE TABLE attempt (id TEXT PRIMARY KEY, run TEXT NOT NULL, turn "
    "TEXT, session TEXT, n INTEGER NOT NULL, endpoint TEXT, provider "
    "TEXT, model TEXT, model_answered TEXT, params TEXT, request_hash "
    "BLOB, request_tip BLOB, reply_hash BLOB, status TEXT NOT NULL, "
    "http_status INTEGER, code TEXT, message TEXT, request_id TEXT, "
    "billed INTEGER, started_us INTEGER NOT NULL, first_byte_us "
    "INTEGER, ended_us INTEGER, end_reason TEXT, in_total INTEGER, "
    "in_cache_read INTEGER, in_cache_write_5m INTEGER, "
    "in_cache_write_1h INTEGER, in_audio INTEGER, out_total INTEGER, "
    "out_reasoning INTEGER, out_audio INTEGER, cost_picodollars "
    "INTEGER, cost_at_least INTEGER) WITHOUT ROWID;"
    "CREATE TABLE tool_call (turn TEXT NOT NULL, call_id TEXT NOT NULL, "
    "name TEXT, args TEXT, result TEXT, is_error INTEGER, ms INTEGER, "
    "PRIMARY KEY (turn, call_id)) WITHOUT ROWID;"
    "CREATE INDEX attempt_run ON attempt (run);"
    "CREATE INDEX attempt_started ON attempt (started_us);"
    "CREATE INDEX attempt_model ON attempt (model);"
    "CREATE INDEX attempt_session ON attempt (session) WHERE session IS "
    "NOT NULL;"
    "CREATE INDEX turn_session ON turn (session);"
    "PRAGMA user_version = 1;";

/* Attempts in twos: whole ones of the same second and the same answer, and ones
 * of which next to nothing is known. */
static const char content[] =
    "INSERT INTO run VALUES ('run', 1, 1);"
    "INSERT INTO session VALUES ('session', 'run', 1);"
    "INSERT INTO turn VALUES ('turn', 'session', NULL, 'run', 1);"
    "INSERT INTO message VALUES (x'01', NULL, 'user', '{}');"
    "INSERT INTO blob VALUES (x'03', 'an answer');"
    "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n"
    " WHERE n < 1000) INSERT INTO attempt SELECT printf('%026d', n),"
    " 'run', 'turn', 'session', 1, 'http://127.0.0.1', 'chat', 'm' || (n % 3),"
    " 'answered', '{\"seed\":' || (n % 5) || '}', x'02', x'01', x'03', 'ok', "
    "200,"
    " 'ETIMEDOUT', 'words', 'req' || n, 1, 1700000000000000 + n / 4 * 100,"
    " 1700000000000002, 1700000000000003, 'stop', 1, 2, 3, 4, 5, 6, 7, 8, 9, 1"
    " FROM n;"
    "WITH RECURSIVE n (n) AS (SELECT 1001 UNION ALL SELECT n + 1 FROM n"
    " WHERE n < 2000) INSERT INTO attempt (id, run, n, status, started_us)"
    " SELECT printf('%026d', n), 'run', 2, 'in_doubt', 1700000000000000 + n"
    " FROM n;";

/* All of an attempt but when it started. */
static const char everything[] =
    "SELECT sum(length(x)) || hex(max(x)) || hex(min(x)) FROM (SELECT"
    " quote(id) || quote(run) || quote(turn) || quote(session) || n ||"
    " quote(endpoint) || quote(provider) || quote(model) ||"
    " quote(model_answered) || quote(params) || quote(request_hash) ||"
    " quote(request_tip) || quote(reply_hash) || quote(status) ||"
    " quote(http_status) || quote(code) || quote(message) ||"
    " quote(request_id) || quote(billed) || quote(first_byte_us) ||"
    " quote(ended_us) || quote(end_reason) || quote(in_total) ||"
    " quote(in_cache_read) || quote(in_cache_write_5m) ||"
    " quote(in_cache_write_1h) || quote(in_audio) || quote(out_total) ||"
    " quote(out_reasoning) || quote(out_audio) || quote(cost_picodollars) ||"
    " quote(cost_at_least) AS x FROM attempt)";

static void
set_up(void)
{
    sink_set_up();
    execute("PRAGMA journal_mode = WAL");
    execute(version_1);
    execute(content);
}

TestSuite(sink_upgrade, .init = set_up, .fini = test_files_fini, .timeout = 60);

static int
open_and_close(const char *run)
{
    struct belay__sink *sink;
    const int code = sink_open(run, &sink);

    if (code == 0) {
        belay__sink_sqlite->close(sink);
    }
    return code;
}

/* What it holds, whatever its tables. */
static void
expect_whole(const char *before)
{
    expect("PRAGMA integrity_check", "ok");
    cr_expect(zero(int, strcmp(query_text(sink_path, everything), before)));
    expect("SELECT count(*) FROM attempt WHERE reply_hash IN"
           " (SELECT hash FROM blob WHERE bytes = 'an answer')",
        "1000");
    expect(
        "SELECT count(*) FROM turn JOIN session ON session.id = session", "1");
    expect("SELECT body FROM message", "{}");
}

Test(sink_upgrade, l73_a_file_of_version_1_is_brought_up_to_date)
{
    char *before = strdup(query_text(sink_path, everything));

    expect_whole(before);
    cr_assert(zero(int, open_and_close("new")));
    expect("PRAGMA user_version", "2");
    expect_whole(before);
    /* Four each had the same time: now each has one of its own. */
    expect("SELECT group_concat(started_us - 1700000000000000)"
           " FROM (SELECT * FROM attempt ORDER BY started_us LIMIT 9)",
        "0,1,2,100,101,102,103,200,201");
    expect("SELECT count(DISTINCT started_us) FROM attempt", "2000");
    expect("SELECT count(*) FROM target", "4");
    expect("SELECT count(*) FROM params", "5");
    expect("SELECT count(*) FROM outcome", "2");
    expect("SELECT group_concat(name) FROM sqlite_schema"
           " WHERE name LIKE '%old%'",
        "");
    cr_assert(zero(int, open_and_close("newer")));
    expect_whole(before);
    free(before);
}

/* What is deleted on the way does not stay in the free pages. */
static bool
file_holds(const char *text)
{
    char command[256];

    (void)snprintf(command, sizeof(command), "grep -qa '%s' %s %s-wal", text,
        sink_path, sink_path);
    return system(command) == 0;
}

Test(sink_upgrade, l73_views_of_others_stay_and_nothing_is_left_behind)
{
    execute("CREATE VIEW mine AS SELECT id, model FROM attempt");
    cr_assert(zero(int, open_and_close("new")));
    expect("SELECT count(*) FROM mine", "2000");
    execute("DELETE FROM reply; DELETE FROM attempt_row; DELETE FROM params;"
            "DELETE FROM message; PRAGMA wal_checkpoint(TRUNCATE)");
    cr_expect(not(file_holds("an answer")));
}

/* A write behind so many bytes of a file kills. */
static int
killed_behind(rlim_t bytes)
{
    const pid_t pid = fork();
    int status = 0;

    cr_assert(ge(int, pid, 0));
    if (pid == 0) {
        (void)signal(SIGXFSZ, SIG_DFL);
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        limit_file_size(bytes);
        _exit(open_and_close("new") == 0 ? 0 : 1);
    }
    cr_assert(eq(int, waitpid(pid, &status, 0), pid));
    return status;
}

Test(sink_upgrade, l77_killed_on_the_way_it_is_what_it_was)
{
    char *before = strdup(query_text(sink_path, everything));
    int kills = 0;
    int status = 1;

    for (rlim_t bytes = 64 * 1024; status != 0; bytes += 64 * 1024) {
        status = killed_behind(bytes);
        kills += WIFSIGNALED(status) ? 1 : 0;
        expect("PRAGMA user_version", status == 0 ? "2" : "1");
        expect_whole(before);
    }
    cr_expect(ge(int, kills, 5));
    free(before);
}

Test(sink_upgrade, l73_given_up_on_the_way_it_is_what_it_was)
{
    char *before = strdup(query_text(sink_path, everything));

    atomic_store(&sink_haste, BELAY__SINK_LAST);
    cr_expect(eq(int, open_and_close("new"), BELAY_EIO));
    expect("PRAGMA user_version", "1");
    expect_whole(before);
    atomic_store(&sink_haste, BELAY__SINK_STEADY);
    cr_expect(zero(int, open_and_close("new")));
    expect("PRAGMA user_version", "2");
    expect_whole(before);
    free(before);
}
