/* test_recorder_faults.c - full queues, files that cannot be written, kills:
 * L73, L74, L77.
 */
#include "test/support/record_scene.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(recorder_faults, .init = test_files_open, .fini = test_files_fini,
    .timeout = 120);

/* ---- L73: full queues ---- */

Test(recorder_faults, l73_a_full_queue_makes_calls_wait)
{
    struct belay_recorder_stats now;

    (void)in_folder("a.jsonl");
    cr_assert(zero(int,
        RUN(session, .at_once = true, .ret = &now,
            .opts = OPTS(.max_rows = 2, .batch_time = belay_milliseconds(1)),
            .attempts = {{.body = "{}"}, {.body = "{}"}, {.body = "{}"},
                {.body = "{}"}, {.body = "{}"}})));
    cr_expect(zero(u64, now.dropped));
    cr_expect(eq(sz, count_in(read_whole("a.jsonl"), "\"row\":\"start\""), 5));
    cr_expect(eq(sz, count_in(read_whole("a.jsonl"), "\"row\":\"end\""), 5));
}

Test(recorder_faults, l73_or_drops_and_counts)
{
    struct belay_recorder_stats now;

    (void)in_folder("a.jsonl");
    cr_assert(zero(
        int, RUN(session, .at_once = true, .ret = &now,
                 .opts = OPTS(.max_rows = 2, .full = BELAY_RECORD_DROP),
                 .attempts = {{.body = "{}", .time = belay_milliseconds(1)},
                     {.body = "{}"}, {.body = "{}"}})));
    cr_expect(eq(u64, now.dropped, 2));
    cr_expect(eq(sz, count_in(read_whole("a.jsonl"), "\"row\":\"start\""), 1));
}

Test(recorder_faults, l73_a_row_above_all_bounds_goes_alone)
{
    static char body[100000];

    memset(body, ' ', sizeof(body) - 1);
    body[0] = '"';
    body[sizeof(body) - 2] = '"';
    (void)in_folder("a.jsonl");
    cr_assert(zero(int,
        RUN(session, .at_once = true,
            .opts =
                OPTS(.max_bytes = 1000, .batch_time = belay_milliseconds(1)),
            .attempts = {{.body = body}, {.body = body}, {.body = "{}"}})));
    cr_expect(eq(sz, count_in(read_whole("a.jsonl"), "\"row\":\"end\""), 3));
}

/* ---- files and disks ---- */

Test(recorder_faults, files_that_cannot_be_opened_are_named_with_the_reason)
{
    static const char *const names[] = {
        "no/such.jsonl", "no/such.db", "text.db", "later.db"};
    static const char *const reasons[] = {
        "No such file", "No such file", "not a database", "schema 99"};
    struct belay_result result;
    FILE *file = fopen(in_folder("text.db"), "w");

    cr_assert(file != NULL);
    for (int i = 0; i < 200; i++) {
        (void)fputs("this is not a database, it is a text\n", file);
    }
    cr_assert(zero(int, fclose(file)));
    (void)query("later.db", "CREATE TABLE x (y)");
    (void)query("later.db", "PRAGMA user_version = 99");
    for (int i = 0; i < 4; i++) {
        (void)in_folder(names[i]);
        cr_expect(
            eq(int, RUN_RESULT(&result, session, .opts = OPTS(.max_rows = 0)),
                BELAY_EIO),
            "%s", names[i]);
        cr_assert(result.error != NULL);
        cr_expect(strstr(belay_error_message(result.error), reasons[i]) != NULL,
            "%s", belay_error_message(result.error));
        cr_expect(strstr(belay_error_message(result.error), names[i]) != NULL);
        belay_error_unref(result.error);
    }
    cr_expect(eq(int,
        RUN(session, .opts = {.size = sizeof(struct belay_recorder_opts)}),
        BELAY_EINVAL));
}

struct twice {
    const char *path;
};

BELAY_ASYNC(twice)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(
        task, BELAY_RECORDER_OPTS(.path = self->path), NULL)) {
        BELAY_WITH (belay_recorder_open(
            task, BELAY_RECORDER_OPTS(.path = self->path), NULL)) {
        }
    }
    BELAY_END;
}

Test(recorder_faults, lines_have_one_recorder_a_database_many)
{
    cr_expect(eq(int, RUN(twice, .path = in_folder("twice.jsonl")), BELAY_EIO));
    program_unswept = true; /* each run of it adds to the file */
    cr_expect(zero(int, RUN(twice, .path = in_folder("twice.db"))));
    expect_query("twice.db", "SELECT count(*) FROM run", "2");
}

Test(recorder_faults, l77_a_disk_that_is_full_fails_no_call_unless_strict)
{
    struct belay_recorder_stats now;
    struct belay_result result;

    program_other_code = BELAY_EIO; /* of rows for which there is no memory */
    cr_assert(zero(int, symlink("/dev/full", in_folder("full.jsonl"))));
    cr_expect(zero(
        int, RUN(session, .opts = OPTS(.batch_time = belay_nanoseconds(1)),
                 .ret = &now, .attempts = {{.body = "{}"}, {.body = "{}"}})));
    cr_expect(eq(int,
        RUN_RESULT(&result, session, .opts = OPTS(.strict = true),
            .attempts = {{.body = "{}"}}),
        BELAY_EIO));
    cr_expect(
        strstr(belay_error_message(result.error), "No space left") != NULL);
    belay_error_unref(result.error);
}

/* An attempt that is recorded, in two commits, with a query between them. */
struct parted {
    const char *name;
    const char *between;
    struct belay_recorder_stats *ret;
    belay_recorder *recorder;
    struct belay__record_ticket ticket;
};

BELAY_ASYNC(parted)
{
    static const struct belay__record_start start = {
        .number = 1, .endpoint = "e", .provider = "p", .body = {"{}", 2}};
    static const struct belay__record_end end = {
        .status = BELAY__RECORD_OK, .body = {"{}", 2}};

    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(task,
        BELAY_RECORDER_OPTS(.path = in_folder(self->name),
            .batch_time = belay_nanoseconds(1)),
        &self->recorder)) {
        (void)belay__recorder_ref(self->recorder);
        BELAY_AWAIT(
            belay__record_begin(task, self->recorder, &start, &self->ticket));
        do {
            BELAY_AWAIT(belay_checkpoint(task));
            belay_recorder_get_stats(self->recorder, self->ret);
        } while (self->ret->written + self->ret->lost == 0);
        (void)query(self->name, self->between);
        belay__record_finish(&self->ticket, &end);
    }
    belay_recorder_get_stats(self->recorder, self->ret);
    belay__recorder_unref(self->recorder);
    BELAY_END;
}

static void
expect_counts(const char *name, const char *before, const char *between,
    uint64_t written, uint64_t lost)
{
    struct belay_recorder_stats now = {.written = 0};

    (void)in_folder(name);
    cr_assert(zero(int, RUN(session, .opts = OPTS(.max_rows = 0))));
    (void)query(name, before);
    cr_assert(
        zero(int, RUN(parted, .name = name, .between = between, .ret = &now)));
    cr_expect(eq(u64, now.written, written), "%s", between);
    cr_expect(eq(u64, now.lost, lost), "%s", between);
}

Test(recorder_faults, l73_what_counts_as_written_is_in_the_file)
{
    program_unswept = true; /* the query between is for one run */
    expect_counts("a.db", "SELECT 1", "SELECT 1", 2, 0);
    expect_query("a.db", "SELECT count(*) FROM attempt", "1");
    expect_counts("b.db",
        "CREATE TRIGGER full BEFORE INSERT ON attempt_row BEGIN"
        " SELECT RAISE(ABORT, 'full'); END",
        "DROP TRIGGER full", 0, 2);
    expect_query("b.db", "SELECT count(*) FROM attempt", "0");
    /* What is forgotten on purpose is not lost. */
    expect_counts("c.db", "SELECT 1", "DELETE FROM attempt_row", 1, 0);
}

/* What is in a file before a recorder writes to it. */
static void
write_before(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "w");

    cr_assert(file != NULL);
    cr_assert(ge(int, fputs(text, file), 0));
    cr_assert(zero(int, fclose(file)));
}

static void
expect_behind(const char *before, const char *wanted)
{
    write_before("a.jsonl", before);
    cr_assert(zero(int, RUN(session, .opts = OPTS(.max_rows = 0),
                            .attempts = {{.body = "{}"}})));
    cr_expect(zero(int, strncmp(read_whole("a.jsonl"), wanted, strlen(wanted))),
        "%s", wanted);
}

Test(recorder_faults, half_a_line_of_a_crash_is_cut_off)
{
    expect_behind("{\"row\":1}\n{\"half", "{\"row\":1}\n{\"row\":\"start\"");
    cr_expect(zero(sz, count_in(read_whole("a.jsonl"), "{\"half")));
}

Test(recorder_faults, a_line_that_only_lacks_its_end_is_none)
{
    expect_behind("{\"row\":1}\n{\"not\":\"half\"}",
        "{\"row\":1}\n{\"not\":\"half\"}\n{\"row\":\"start\"");
    expect_behind("{\"row\":2}", "{\"row\":2}\n{\"row\":\"start\"");
}

Test(recorder_faults, l73_a_text_of_others_is_left_as_it_is)
{
    static const char *const texts[] = {
        "my only copy", "{\n  \"keep\": 1\n}", "[]", "{}"};

    for (int i = 0; i < 4; i++) {
        write_before("a.jsonl", texts[i]);
        cr_expect(eq(int,
            RUN(session, .opts = OPTS(.max_rows = 0),
                .attempts = {{.body = "{}"}}),
            BELAY_EIO));
        cr_expect_str_eq(read_whole("a.jsonl"), texts[i]);
    }
}

Test(recorder_faults, l73_every_cancel_and_every_refused_allocation)
{
    struct session arguments = {.at_once = true,
        .opts = OPTS(.max_rows = 2, .batch_time = belay_nanoseconds(1)),
        .attempts = {{.session = "s",
                         .turn = "t",
                         .body = CHAT(USER("one")),
                         .reply = REPLY},
            {.body = CHAT(USER("two"))}, {.body = CHAT(USER("three"))}}};
    struct program program = {.function = &session, .arguments = &arguments};

    (void)in_folder("a.jsonl");
    sweep(&program);
    (void)in_folder("a.db");
    sweep(&program);
}

/* ---- L77: kill -9 ---- */

struct many {
    const char *path;
    int count;
    struct attempt attempt;
    char body[128];
    int i;
};

BELAY_ASYNC(many)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(task,
        BELAY_RECORDER_OPTS(.path = self->path,
            .batch_time = belay_nanoseconds(1)),
        NULL)) {
        for (self->i = 0; self->i < self->count; self->i++) {
            (void)snprintf(
                self->body, sizeof(self->body), CHAT(USER("%d")), self->i);
            self->attempt.body = self->body;
            self->attempt.reply = REPLY;
            BELAY_AWAIT(belay_call(task, &attempt, &self->attempt));
        }
    }
    BELAY_END;
}

static void
kill_after(const char *name, long bytes)
{
    const pid_t pid = fork();
    struct stat status;
    char wal[80];

    cr_assert(ge(int, pid, 0));
    if (pid == 0) {
        struct many arguments = {.path = in_folder(name), .count = 10000};

        (void)belay_run(&many, &arguments, NULL, NULL);
        _exit(0);
    }
    (void)snprintf(wal, sizeof(wal), "%s-wal", in_folder(name));
    for (int i = 0; i < 20000; i++) {
        if (stat(wal, &status) == 0 && status.st_size > bytes) {
            break;
        }
        (void)usleep(500);
    }
    cr_assert(zero(int, kill(pid, SIGKILL)));
    cr_assert(eq(int, waitpid(pid, NULL, 0), pid));
}

Test(recorder_faults,
    l74_l77_after_a_kill_the_file_is_whole_and_nothing_is_unmentioned)
{
    /* Making the tables takes some 210,000. */
    for (long bytes = 400000; bytes < 2100000; bytes += 400000) {
        kill_after("k.db", bytes);
        expect_query("k.db", "PRAGMA integrity_check", "ok");
        expect_query("k.db",
            "SELECT count(*) FROM attempt LEFT JOIN message"
            " ON hash = request_tip WHERE hash IS NULL",
            "0");
        expect_query("k.db",
            "SELECT count(*) FROM attempt LEFT JOIN blob ON hash = reply_hash"
            " WHERE status = 'ok' AND hash IS NULL",
            "0");
        expect_query("k.db",
            "SELECT count(*) FROM attempt WHERE status NOT IN"
            " ('ok', 'in_doubt')",
            "0");
    }
    expect_query("k.db", "SELECT count(*) > 100 FROM attempt", "1");
}
