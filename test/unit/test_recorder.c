/* test_recorder.c - what was asked and answered, in a file: L71, L73-L77. */
#include "llm/json/scan.h"
#include "llm/record/hash.h"
#include "llm/record/messages.h"
#include "llm/record/recorder.h"
#include "test/support/program.h"
#include "test/support/texts.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/belay-recorder-XXXXXX";
static char path[64];

static void
set_up(void)
{
    cr_assert(mkdtemp(folder) != NULL);
}

static void
tear_down(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    cr_assert(zero(int, system(command)));
    check_clean();
}

TestSuite(recorder, .init = set_up, .fini = tear_down, .timeout = 120);

static const char *
in_folder(const char *name)
{
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static struct belay_slice
slice(const char *text)
{
    return (struct belay_slice){text, text != NULL ? strlen(text) : 0};
}

/* ---- an attempt, and a block that records some ---- */

struct attempt {
    const char *session;
    const char *turn;
    const char *body;
    const char *reply;
    enum belay__record_status status;
    belay_duration time;
    int *begun; /* NULL, or counts those that could begin */
    struct belay__record_ticket ticket;
};

BELAY_ASYNC(attempt)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay__record_begin(task, belay_recorder_current(task),
        &(struct belay__record_start){.session = self->session,
            .turn = self->turn,
            .number = 1,
            .endpoint = "http://127.0.0.1/v1",
            .provider = "chat",
            .model = slice("m"),
            .body = slice(self->body)},
        &self->ticket));
    if (self->begun != NULL) {
        ++*self->begun;
    }
    BELAY_TRY(belay_sleep(task, self->time));
    {
        const struct belay_llm_usage usage = {
            .in_total = 7, .out_total = 3, .in_cache_read = -1, .requests = 1};
        const struct belay_llm_attempt how = {.number = 1,
            .status = self->status == BELAY__RECORD_OK ? 200 : 500,
            .started = belay_now(task),
            .ended = belay_now(task)};

        belay__record_finish(&self->ticket,
            &(struct belay__record_end){.status = self->status,
                .attempt = &how,
                .now = belay_now(task),
                .model = slice("m-2"),
                .body = slice(self->reply),
                .request_id = slice("req-1"),
                .end = slice("stop"),
                .usage = self->status == BELAY__RECORD_OK ? &usage : NULL,
                .cost = {{75000}, false}});
    }
    cr_expect(self->ticket.recorder == NULL);
    BELAY_END;
}

#define ATTEMPTS_MAX 6

struct session {
    struct belay_recorder_opts opts;
    struct attempt attempts[ATTEMPTS_MAX]; /* those with a body */
    struct belay_recorder_stats *ret;
    bool at_once;
    belay_recorder *recorder;
    belay_group *group;
    int i;
};

/* Where a run writes: trials of a sweep have files of their own, and a new one
 * each time.
 */
static const char *
path_of_run(const char *wanted)
{
    static char trials[2][96];
    static int count;
    char *trial = trials[count++ % 2];
    const char *end = wanted != NULL ? strrchr(wanted, '.') : NULL;

    if (!program_disturbed || wanted == NULL) {
        return wanted;
    }
    (void)snprintf(trial, sizeof(trials[0]), "%s/trial-%ld-%d%s", folder,
        (long)getpid(), count, end != NULL ? end : "");
    return trial;
}

BELAY_ASYNC(session)
{
    BELAY_BEGIN;
    self->opts.path = path_of_run(self->opts.path);
    BELAY_WITH (belay_recorder_open(task, &self->opts, &self->recorder)) {
        cr_expect(eq(ptr, belay_recorder_current(task), self->recorder));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 0;
                 self->i < ATTEMPTS_MAX && self->attempts[self->i].body != NULL;
                 self->i++) {
                if (self->at_once) {
                    BELAY_CHECK(belay_group_spawn(
                        self->group, &attempt, &self->attempts[self->i], NULL));
                } else {
                    BELAY_AWAIT(
                        belay_call(task, &attempt, &self->attempts[self->i]));
                }
            }
        }
        if (self->ret != NULL) {
            belay_recorder_get_stats(self->recorder, self->ret);
        }
    }
    cr_expect(belay_recorder_current(task) == NULL);
    BELAY_END;
}

#define OPTS(...)                                                             \
    {                                                                         \
        .size = sizeof(struct belay_recorder_opts), .path = path, __VA_ARGS__ \
    }
#define CHAT(...)                                 \
    "{\"model\":\"m\",\"seed\":9007199254740993," \
    "\"messages\":[" __VA_ARGS__ "]}"
#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define MODEL(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define REPLY "{\"choices\":[{\"message\":{\"content\":\"hi\"}}]}"

/* ---- what is in a file ---- */

static char *
read_whole(const char *name)
{
    return file_text(in_folder(name));
}

static char *
query(const char *name, const char *sql)
{
    return query_text(in_folder(name), sql);
}

#define expect_query(name, sql, wanted) \
    cr_expect(eq(str, query((name), (sql)), (char *)(wanted)), "%s", (sql))

static mode_t
mode_of(const char *name)
{
    struct stat status;

    cr_assert(zero(int, stat(in_folder(name), &status)));
    return status.st_mode & 0777;
}

/* ---- L73, L74: the rows ---- */

Test(recorder, l73_l74_lines_of_json)
{
    struct belay_recorder_stats now;
    char *text;

    (void)in_folder("a.jsonl");
    cr_expect(zero(int, RUN(session, .opts = OPTS(.max_rows = 0), .ret = &now,
                            .attempts = {{.session = "s",
                                             .turn = "t",
                                             .body = CHAT(USER("one")),
                                             .reply = REPLY},
                                {.body = CHAT(USER("two")),
                                    .reply = "<html>",
                                    .status = BELAY__RECORD_ERROR},
                                {.body = CHAT(USER("three")),
                                    .status = BELAY__RECORD_CANCELLED}})));
    cr_expect(zero(u64, now.lost));
    cr_expect(zero(u64, now.dropped));
    text = read_whole("a.jsonl");
    cr_expect(eq(sz, count_in(text, "\n"), 6));
    cr_expect(eq(sz, count_in(text, "{\"row\":\"start\""), 3));
    cr_expect(eq(sz, count_in(text, "\"status\":\"ok\""), 1));
    cr_expect(
        eq(sz, count_in(text, "\"status\":\"error\",\"http_status\":500"), 1));
    cr_expect(eq(sz, count_in(text, "\"status\":\"cancelled\""), 1));
    cr_expect(eq(sz, count_in(text, "\"body\":" CHAT(USER("one"))), 1),
        "byte for byte");
    cr_expect(eq(sz, count_in(text, "\"body\":\"<html>\""), 1));
    cr_expect(eq(sz, count_in(text, "\"session\":\"s\",\"turn\":\"t\""), 1));
    cr_expect(eq(sz, count_in(text, "\"usage\":{\"in_total\":7,"), 1));
    cr_expect(eq(sz, count_in(text, "\"cost_picodollars\":75000"), 3));
    for (char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        const struct belay_slice line = {text, (size_t)(end - text)};

        cr_expect(zero(int, belay__json_check(line, NULL, NULL)));
    }
    cr_expect(eq(u32, mode_of("a.jsonl"), 0600));
}

Test(recorder, l73_l74_l75_an_sqlite_file)
{
    (void)in_folder("a.db");
    cr_expect(zero(int, RUN(session, .opts = OPTS(.max_rows = 0),
                            .attempts = {{.session = "s",
                                             .turn = "t",
                                             .body = CHAT(USER("one")),
                                             .reply = REPLY},
                                {.body = CHAT(USER("two")),
                                    .status = BELAY__RECORD_TRUNCATED}})));
    expect_query("a.db", "PRAGMA user_version", "1");
    expect_query("a.db", "PRAGMA integrity_check", "ok");
    expect_query("a.db", "SELECT count(*) FROM run", "1");
    expect_query("a.db",
        "SELECT group_concat(status || http_status || model_answered || n ||"
        " provider || end_reason || request_id || cost_picodollars, ' ') FROM"
        " (SELECT * FROM attempt ORDER BY id)",
        "ok200m-21chatstopreq-175000 truncated500m-21chatstopreq-175000");
    expect_query("a.db",
        "SELECT in_total || ' ' || out_total || ' ' ||"
        " coalesce(in_cache_read, 'unknown') FROM attempt WHERE status = 'ok'",
        "7 3 unknown");
    expect_query("a.db", "SELECT params FROM attempt WHERE status = 'ok'",
        "{\"model\":\"m\",\"seed\":9007199254740993}");
    expect_query("a.db",
        "SELECT body FROM message JOIN attempt ON hash = request_tip"
        " WHERE status = 'ok'",
        USER("one"));
    expect_query("a.db",
        "SELECT bytes FROM blob JOIN attempt ON hash = reply_hash", REPLY);
    expect_query("a.db",
        "SELECT turn.session FROM turn JOIN session ON session.id = 's'", "s");
    expect_query("a.db",
        "SELECT count(*) FROM attempt WHERE started_us > 1700000000000000"
        " AND ended_us >= started_us - 1000000",
        "2");
    cr_expect(eq(u32, mode_of("a.db"), 0600));
}

Test(recorder, l75_a_growing_history_is_stored_once)
{
    char body[16384] = "{\"messages\":[";

    (void)in_folder("a.db");
    for (int i = 0; i < 30; i++) {
        size_t len;

        (void)snprintf(body + strlen(body), sizeof(body) - strlen(body),
            "%s{\"role\":\"%s\",\"content\":\"%d\"}", i > 0 ? "," : "",
            i % 2 == 0 ? "user" : "assistant", i);
        len = strlen(body);
        memcpy(body + len, "]}", 3);
        cr_assert(zero(int, RUN(session, .opts = OPTS(.max_rows = 0),
                                .attempts = {{.body = body, .reply = REPLY}})));
        body[len] = '\0';
    }
    expect_query("a.db", "SELECT count(*) FROM message", "30");
    expect_query("a.db", "SELECT count(*) FROM run", "30");
    expect_query("a.db", "SELECT count(*) FROM blob", "1");
    expect_query("a.db",
        "WITH RECURSIVE chain(hash, n) AS (SELECT request_tip, 0 FROM attempt"
        " WHERE id = (SELECT max(id) FROM attempt) UNION ALL SELECT"
        " parent_hash, n + 1 FROM message JOIN chain USING (hash)"
        " WHERE parent_hash IS NOT NULL)"
        " SELECT max(n) || ' ' || count(*) FROM chain",
        "29 30");
    expect_query("a.db", "SELECT body FROM message WHERE parent_hash IS NULL",
        "{\"role\":\"user\",\"content\":\"0\"}");
}

/* ---- L75: bodies taken apart ---- */

static int
trace_message(const struct belay__message *message, void *arg)
{
    (void)arg;
    trace("%.*s %.*s", (int)message->role.len, message->role.data,
        (int)message->body.len, message->body.data);
    return 0;
}

static void
messages_of(const char *body)
{
    trace_clear();
    cr_expect(
        zero(int, belay__messages_each(slice(body), trace_message, NULL)));
}

Test(recorder, l75_messages_of_every_wire_format)
{
    messages_of(CHAT(USER("a") "," MODEL("b")));
    expect_trace("user " USER("a") "; assistant " MODEL("b"));
    messages_of("{\"messages\":[" USER("a") "],\"system\":\"be brief\"}");
    expect_trace("system \"be brief\"; user " USER("a"));
    messages_of("{\"input\":\"a\",\"instructions\":\"i\"}");
    expect_trace("system \"i\"; user \"a\"");
    messages_of("{\"input\":[{\"type\":\"function_call_output\","
                "\"output\":\"x\"}, \"text\"]}");
    expect_trace("function_call_output {\"type\":\"function_call_output\","
                 "\"output\":\"x\"}; user \"text\"");
    messages_of("{\"model\":\"m\"}");
    expect_trace("");
    messages_of("not JSON");
    expect_trace("");
    trace_clear();
}

Test(recorder, l75_a_conversation_is_its_messages_in_their_order)
{
    (void)in_folder("a.db");
    cr_assert(zero(
        int, RUN(session, .opts = OPTS(.max_rows = 0),
                 .attempts = {
                     {.body = "{\"messages\":[" USER("a") "," USER("b") "]}"},
                     {.body = "{\"messages\":[" USER("b") "," USER("a") "]}"},
                     {.body = "{\"temperature\":1,\"messages\":[" USER(
                          "a") "," USER("b") "]}"}})));
    expect_query(
        "a.db", "SELECT count(DISTINCT request_tip) FROM attempt", "2");
    expect_query(
        "a.db", "SELECT count(DISTINCT request_hash) FROM attempt", "3");
    expect_query("a.db", "SELECT count(*) FROM message", "4");
}

/* Known answers: of "abc" from FIPS 180-4; a message's by any SHA-256 of the
 * lengths, in eight bytes, and the parts.
 */
Test(recorder, l75_hashes_are_those_of_the_standard)
{
    struct belay__hasher hasher;
    struct belay__hash hash;
    struct belay__hash again;

    cr_assert(zero(int, belay__hasher_init(&hasher)));
    for (int i = 0; i < 2; i++) {
        cr_assert(zero(int, belay__hash_of(&hasher, slice("abc"), &hash)));
        cr_expect(zero(
            int, memcmp(hash.bytes,
                     "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae"
                     "\x22\x23\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61"
                     "\xf2\x00\x15\xad",
                     32)));
    }
    cr_assert(zero(int,
        belay__hash_message(&hasher, NULL, slice("ab"), slice("c"), &hash)));
    cr_assert(zero(int,
        belay__hash_message(&hasher, NULL, slice("a"), slice("bc"), &again)));
    cr_expect(ne(int, memcmp(&hash, &again, sizeof(hash)), 0));
    belay__hasher_fini(&hasher);
    belay__hasher_fini(&hasher);
}

/* ---- forgetting ---- */

#define LOOKS_MAX 20000 /* of 500 us: a bound, never reached */

/* An attempt that somebody takes out of the file while it runs. */
struct forgotten {
    struct belay_recorder_opts opts;
    struct belay__record_ticket ticket;
    belay_recorder *recorder;
    int i;
};

BELAY_ASYNC(forgotten)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(task, &self->opts, &self->recorder)) {
        BELAY_AWAIT(belay__record_begin(task, self->recorder,
            &(struct belay__record_start){
                .number = 1, .body = slice(CHAT(USER("words")))},
            &self->ticket));
        for (self->i = 0; self->i < LOOKS_MAX; self->i++) {
            if (*query("f.db", "SELECT count(*) FROM attempt") == '1') {
                break;
            }
            (void)usleep(500);
        }
        expect_query(
            "f.db", "DELETE FROM attempt RETURNING status", "in_doubt");
        belay__record_finish(&self->ticket,
            &(struct belay__record_end){.status = BELAY__RECORD_OK,
                .now = belay_now(task),
                .body = slice(REPLY)});
    }
    BELAY_END;
}

Test(recorder, an_attempt_that_is_forgotten_while_it_runs_stays_so)
{
    (void)in_folder("f.db");
    cr_assert(zero(
        int, RUN(forgotten, .opts = OPTS(.batch_time = belay_nanoseconds(1)))));
    expect_query("f.db", "SELECT count(*) FROM attempt", "0");
    expect_query("f.db", "SELECT count(*) FROM blob", "0");
}

/* ---- L76: what is kept of texts ---- */

static size_t
take_out(char *text, size_t len, void *arg)
{
    (void)arg;
    for (size_t i = 0; i + 6 <= len; i++) {
        if (memcmp(text + i, "secret", 6) == 0) {
            memcpy(text + i, "******", 6);
        }
    }
    return len;
}

Test(recorder, l76_texts_hashes_or_nothing)
{
    static const enum belay_record_text kinds[] = {
        BELAY_RECORD_TEXT, BELAY_RECORD_HASHES, BELAY_RECORD_NO_TEXT};
    static const char *const files[] = {
        "t.jsonl", "h.jsonl", "n.jsonl", "t.db", "h.db", "n.db"};

    for (int i = 0; i < 6; i++) {
        const bool kept = i % 3 == 0;

        (void)in_folder(files[i]);
        cr_assert(zero(int,
            RUN(session, .opts = OPTS(.text = kinds[i % 3]),
                .attempts = {{.body = CHAT(USER("words")), .reply = REPLY}})));
        if (i < 3) {
            char *text = read_whole(files[i]);

            cr_expect(eq(sz, count_in(text, "words"), kept ? 1 : 0));
            cr_expect(eq(sz, count_in(text, "body_sha256"), i == 1 ? 2 : 0));
            continue;
        }
        expect_query(files[i],
            "SELECT count(*) FROM message WHERE body IS NOT NULL",
            kept ? "1" : "0");
        expect_query(files[i], "SELECT count(*) FROM blob", kept ? "1" : "0");
        expect_query(files[i],
            "SELECT count(*) FROM attempt WHERE request_hash IS NOT NULL",
            i == 5 ? "0" : "1");
    }
}

Test(recorder, l76_secrets_are_taken_out_before_anything_is_queued)
{
    (void)in_folder("a.jsonl");
    cr_assert(zero(int, RUN(session, .opts = OPTS(.redact = take_out),
                            .attempts = {{.body = CHAT(USER("a secret")),
                                .reply = "{\"x\":\"secret\"}"}})));
    cr_expect(zero(sz, count_in(read_whole("a.jsonl"), "secret")));
    cr_expect(eq(sz, count_in(read_whole("a.jsonl"), "******"), 2));
}

/* ---- L73: full queues ---- */

Test(recorder, l73_a_full_queue_makes_calls_wait)
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

Test(recorder, l73_or_drops_and_counts)
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

Test(recorder, l73_a_row_above_all_bounds_goes_alone)
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

/* ---- L71: nesting ---- */

struct nested {
    const char *outer;
    const char *inner;
    struct attempt attempt;
};

BELAY_ASYNC(nested)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(
        task, BELAY_RECORDER_OPTS(.path = path_of_run(self->outer)), NULL)) {
        BELAY_WITH (belay_recorder_open(task,
            BELAY_RECORDER_OPTS(.path = path_of_run(self->inner)), NULL)) {
            self->attempt.body = "{\"in\":1}";
            BELAY_AWAIT(belay_call(task, &attempt, &self->attempt));
        }
        self->attempt.body = "{\"out\":1}";
        BELAY_AWAIT(belay_call(task, &attempt, &self->attempt));
    }
    self->attempt.body = "{\"none\":1}";
    BELAY_AWAIT(belay_call(task, &attempt, &self->attempt));
    BELAY_END;
}

Test(recorder, l71_the_outer_one_is_current_again)
{
    char outer[64];
    char inner[64];

    memcpy(outer, in_folder("outer.jsonl"), sizeof(outer));
    memcpy(inner, in_folder("inner.db"), sizeof(inner));
    cr_expect(zero(int, RUN(nested, .outer = outer, .inner = inner)));
    cr_expect(eq(sz, count_in(read_whole("outer.jsonl"), "\"out\""), 1));
    cr_expect(zero(sz, count_in(read_whole("outer.jsonl"), "\"in\"")));
    cr_expect(zero(sz, count_in(read_whole("outer.jsonl"), "\"none\"")));
    expect_query("inner.db", "SELECT params FROM attempt", "{\"in\":1}");
}

/* ---- what goes wrong ---- */

Test(recorder, files_that_cannot_be_opened_are_named_with_the_reason)
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

Test(recorder, lines_have_one_recorder_a_database_many)
{
    cr_expect(eq(int, RUN(twice, .path = in_folder("twice.jsonl")), BELAY_EIO));
    program_unswept = true; /* each run of it adds to the file */
    cr_expect(zero(int, RUN(twice, .path = in_folder("twice.db"))));
    expect_query("twice.db", "SELECT count(*) FROM run", "2");
}

Test(recorder, l77_a_disk_that_is_full_fails_no_call_unless_strict)
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

Test(recorder, half_a_line_of_a_crash_is_cut_off)
{
    FILE *file = fopen(in_folder("a.jsonl"), "w");

    cr_assert(file != NULL);
    cr_assert(ge(int, fputs("{\"whole\":1}\n{\"half", file), 0));
    cr_assert(zero(int, fclose(file)));
    cr_assert(zero(int, RUN(session, .opts = OPTS(.max_rows = 0),
                            .attempts = {{.body = "{}"}})));
    cr_expect(zero(int, strncmp(read_whole("a.jsonl"),
                            "{\"whole\":1}\n{\"row\":\"start\"", 25)));
    cr_expect(zero(sz, count_in(read_whole("a.jsonl"), "{\"half")));
}

Test(recorder, l73_every_cancel_and_every_refused_allocation)
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
}

/* ---- ids ---- */

Test(recorder, l74_ids_sort_as_they_were_made)
{
    struct belay__ulid_source source = {0};
    char last[BELAY__ULID_BYTES] = "";
    char next[BELAY__ULID_BYTES];

    for (int i = 0; i < 10000; i++) {
        belay__ulid_make(
            &source, INT64_C(1800000000000) + i / 100 - i % 3, next);
        cr_assert(eq(sz, strlen(next), 26));
        cr_assert(lt(int, strcmp(last, next), 0));
        memcpy(last, next, sizeof(last));
    }
    memset(source.random, 31, sizeof(source.random));
    belay__ulid_make(&source, 0, next);
    cr_expect(lt(int, strcmp(last, next), 0));
    cr_expect(zero(int, strcmp(next + 10, "0000000000000000")));
    belay__ulid_least(INT64_C(1469918176385), next);
    cr_expect(eq(str, next, "01ARYZ6S410000000000000000"));
    source = (struct belay__ulid_source){0};
    belay__ulid_make(&source, INT64_C(1469918176385), next);
    belay__ulid_least(INT64_C(1469918176386), last);
    cr_expect(lt(int, strcmp(next, last), 0));
    next[10] = '\0';
    cr_expect(eq(str, next, "01ARYZ6S41"), "as in the specification");
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

Test(
    recorder, l74_l77_after_a_kill_the_file_is_whole_and_nothing_is_unmentioned)
{
    for (long bytes = 100000; bytes < 2000000; bytes += 400000) {
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
