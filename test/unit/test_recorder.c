/* test_recorder.c - what was asked and answered, in a file: L71, L73-L76. */
#include "llm/json/scan.h"
#include "test/support/record_scene.h"
#include "test/support/secrets.h"

#include <string.h>
#include <unistd.h>

TestSuite(
    recorder, .init = test_files_open, .fini = test_files_fini, .timeout = 120);

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
    expect_query("a.db", "PRAGMA user_version", "2");
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
    expect_query("a.db", "SELECT count(DISTINCT hash) FROM blob", "1");
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

Test(recorder, l75_a_body_that_is_no_json_is_kept_as_it_stands)
{
    (void)in_folder("a.db");
    cr_assert(zero(int, RUN(session, .opts = OPTS(.max_rows = 0),
                            .attempts = {{.body = "no JSON"}})));
    expect_query(
        "a.db", "SELECT role || ' ' || body FROM message", "user no JSON");
    expect_query("a.db",
        "SELECT count(*) FROM attempt JOIN message ON hash = request_tip", "1");
}

/* ---- forgetting ---- */

#define LOOKS_MAX 20000 /* of 500 us: a bound, only reached in trials */

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
        for (; self->i < (program_disturbed ? 100 : LOOKS_MAX); self->i++) {
            if (*query("f.db", "SELECT count(*) FROM attempt") == '1') {
                break;
            }
            (void)usleep(500);
        }
        expect_query("f.db", "SELECT status FROM attempt", "in_doubt");
        expect_query("f.db", "DELETE FROM attempt_row", "");
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
        cr_assert(zero(int, RUN(session, .opts = OPTS(.text = kinds[i % 3]),
                                .attempts = {{.body = CHAT(USER("words")),
                                    .reply = REPLY,
                                    .message = "you said words"}})));
        if (i < 3) {
            char *text = read_whole(files[i]);

            cr_expect(eq(sz, count_in(text, "words"), kept ? 2 : 0));
            cr_expect(eq(sz, count_in(text, "body_sha256"), i == 1 ? 2 : 0));
            continue;
        }
        expect_query(
            files[i], "SELECT count(message) FROM attempt", kept ? "1" : "0");
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

Test(recorder, l76_s2_what_a_secret_breaks_is_no_json_any_more)
{
    const char *text;

    (void)in_folder("a.jsonl");
    cr_assert(zero(int, RUN(session, .opts = OPTS(.max_rows = 0),
                            .attempts = {{.body = "{\"n\":20250101}",
                                .reply = "{\"t\":\"20250\\u003101\"}",
                                .secrets = secret_of(slice("20250101")),
                                .checked = true}})));
    text = read_whole("a.jsonl");
    cr_expect(eq(sz, count_in(text, "\"body\":\"{\\\"n\\\":********}\""), 1),
        "%s", text);
    cr_expect(eq(sz, count_in(text, "\"body\":{\"t\":\"*************\"}"), 1),
        "%s", text);
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
    const char *outer = in_folder("outer.jsonl");
    const char *inner = in_folder("inner.db");

    cr_expect(zero(int, RUN(nested, .outer = outer, .inner = inner)));
    cr_expect(eq(sz, count_in(read_whole("outer.jsonl"), "\"out\""), 1));
    cr_expect(zero(sz, count_in(read_whole("outer.jsonl"), "\"in\"")));
    cr_expect(zero(sz, count_in(read_whole("outer.jsonl"), "\"none\"")));
    expect_query("inner.db", "SELECT params FROM attempt", "{\"in\":1}");
}
