/* test_sink_sqlite.c - rows in an SQLite file, commit by commit: L74, L75.
 *
 * The sink is called as the writer's thread calls it, so that a test says what
 * is in one transaction and what in the next.
 */
#include "test/support/sink_scene.h"
#include "test/support/slice.h"

#include <stdlib.h>
#include <string.h>

#define BODY "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}"
#define REPLY "{\"choices\":[]}"

static struct belay__sink *sink;

static void
open_sink(void)
{
    cr_assert(zero(int, sink_open("run", &sink)), "%s", why);
}

static void
close_sink(void)
{
    belay__sink_sqlite->close(sink);
}

static void
set_up(void)
{
    sink_set_up();
    open_sink();
}

static void
tear_down(void)
{
    close_sink();
    test_files_fini();
}

TestSuite(sink_sqlite, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- rows by hand ---- */

#define ROWS_MAX 16

static struct belay__row rows[ROWS_MAX];
static int row_count;

static struct belay__row *
row_new(enum belay__row_kind kind, const char *id)
{
    struct belay__row *row = &rows[row_count++];

    cr_assert(le(int, row_count, ROWS_MAX));
    *row = (struct belay__row){.kind = kind};
    (void)snprintf(
        row->attempt, sizeof(row->attempt), "%026ld", strtol(id, NULL, 10));
    return row;
}

static const struct belay__row *
start(const char *id)
{
    struct belay__row *row = row_new(BELAY__ROW_START, id);

    row->number = 2;
    row->started_us = 1700000000000000;
    row->texts[BELAY__TEXT_SESSION] = slice("session");
    row->texts[BELAY__TEXT_TURN] = slice("turn");
    row->texts[BELAY__TEXT_ENDPOINT] = slice("http://127.0.0.1/v1");
    row->texts[BELAY__TEXT_PROVIDER] = slice("chat");
    row->texts[BELAY__TEXT_MODEL] = slice("m");
    row->texts[BELAY__TEXT_BODY] = slice(BODY);
    return row;
}

static const struct belay__row *
end(const char *id)
{
    struct belay__row *row = row_new(BELAY__ROW_END, id);

    row->status = BELAY__RECORD_OK;
    row->http_status = 200;
    row->first_byte_us = 1700000000000001;
    row->ended_us = 1700000000000002;
    row->cost = (struct belay_cost){{75000}, true};
    row->billed = BELAY_LLM_BILLED_YES;
    row->usage =
        (struct belay_llm_usage){1, 2, 3, 4, 5, 6, 7, 8, .requests = 1};
    row->texts[BELAY__TEXT_MODEL] = slice("m-2");
    row->texts[BELAY__TEXT_BODY] = slice(REPLY);
    row->texts[BELAY__TEXT_REQUEST_ID] = slice("req-1");
    row->texts[BELAY__TEXT_END] = slice("stop");
    return row;
}

static void
begin(void)
{
    cr_assert(zero(int, belay__sink_sqlite->begin(sink, why)), "%s", why);
}

static void
put(const struct belay__row *row)
{
    cr_assert(zero(int, belay__sink_sqlite->write(sink, row, why)), "%s", why);
}

static void
commit(void)
{
    cr_assert(zero(int, belay__sink_sqlite->commit(sink, why)), "%s", why);
}

/* All of an attempt but its id. */
static const char everything[] =
    "SELECT group_concat(quote(run) || quote(turn) || quote(session) || n ||"
    " quote(endpoint) || quote(provider) || quote(model) ||"
    " quote(model_answered) || quote(params) || quote(request_hash) ||"
    " quote(request_tip) || quote(reply_hash) || quote(status) ||"
    " quote(http_status) || quote(code) || quote(message) ||"
    " quote(request_id) || quote(billed) || quote(started_us) ||"
    " quote(first_byte_us) || quote(ended_us) || quote(end_reason) ||"
    " quote(in_total) || quote(in_cache_read) || quote(in_cache_write_5m) ||"
    " quote(in_cache_write_1h) || quote(in_audio) || quote(out_total) ||"
    " quote(out_reasoning) || quote(out_audio) || quote(cost_picodollars) ||"
    " quote(cost_at_least)) FROM attempt";

/* ---- the tests ---- */

Test(sink_sqlite, l74_an_attempt_is_the_same_after_one_commit_and_after_two)
{
    char *once;

    begin();
    put(start("1"));
    put(end("1"));
    commit();
    once = strdup(query_text(sink_path, everything));
    cr_expect(eq(sz, count_in(once, "req-1"), 1));
    cr_expect(eq(sz, count_in(once, "'ok'"), 1));
    close_sink();

    sink_path = test_file("b.db");
    open_sink();
    begin();
    put(start("1"));
    commit();
    expect("SELECT status || quote(ended_us) || quote(reply_hash) FROM attempt",
        "in_doubtNULLNULL");
    begin();
    put(end("1"));
    commit();
    cr_expect(eq(str, query_text(sink_path, everything), once));
    free(once);
}

Test(sink_sqlite, l74_each_end_finds_its_start)
{
    begin();
    put(start("1"));
    commit();
    begin();
    put(start("2"));
    put(start("3"));
    put(end("1"));
    put(start("4"));
    put(end("4"));
    put(end("2"));
    commit();
    expect("SELECT group_concat(id || status, ' ') FROM (SELECT"
           " ltrim(id, '0') AS id, status FROM attempt ORDER BY id)",
        "1ok 2ok 3in_doubt 4ok");
}

Test(sink_sqlite, nothing_of_a_transaction_that_fails_is_taken_for_stored)
{
    begin();
    put(start("1"));
    put(start("1")); /* an id that is there already */
    cr_assert(eq(int, belay__sink_sqlite->commit(sink, why), BELAY_EIO));
    belay__sink_sqlite->rollback(sink);
    expect("SELECT count(*) FROM attempt", "0");
    begin();
    put(start("2"));
    put(end("2"));
    commit();
    expect(
        "SELECT count(*) FROM attempt JOIN message ON hash = request_tip", "1");
}

Test(sink_sqlite, l75_what_another_has_taken_out_is_stored_again)
{
    begin();
    put(start("1"));
    commit();
    expect("DELETE FROM attempt_row", "");
    expect("DELETE FROM message", "");
    expect("DELETE FROM target", "");
    expect("DELETE FROM outcome", "");
    expect("DELETE FROM params", "");
    begin();
    put(start("2"));
    commit();
    expect(
        "SELECT count(*) FROM attempt JOIN message ON hash = request_tip", "1");
    expect("SELECT model || status || params FROM attempt",
        "min_doubt{\"model\":\"m\"}");
}

Test(sink_sqlite, l75_a_message_that_is_known_is_not_written_again)
{
    begin();
    put(start("1"));
    commit();
    begin();
    put(start("2"));
    put(start("3"));
    commit();
    expect("SELECT count(*) FROM message", "1");
    expect("SELECT count(DISTINCT request_tip) || count(*) FROM attempt", "13");
}

Test(sink_sqlite, l75_what_attempts_have_in_common_is_written_once)
{
    begin();
    put(start("1"));
    put(end("1"));
    put(start("2"));
    put(end("2"));
    commit();
    begin();
    put(start("3"));
    put(end("3"));
    commit();
    expect("SELECT count(*) FROM target", "1");
    expect("SELECT count(*) FROM outcome", "1");
    expect("SELECT count(*) FROM params", "1");
    expect("SELECT count(*) || count(DISTINCT bytes) FROM blob", "31");
}

Test(sink_sqlite, l74_attempts_of_the_same_microsecond_are_all_there)
{
    begin();
    put(start("1"));
    put(start("2"));
    put(end("2"));
    commit();
    begin();
    put(start("3"));
    put(end("3"));
    commit();
    expect("SELECT group_concat(ltrim(id, '0') || '+' ||"
           " (started_us - 1700000000000000) || status, ' ') FROM attempt",
        "1+0in_doubt 2+1ok 3+2ok");
    expect("SELECT count(*) FROM blob WHERE bytes = '" REPLY "'", "0");
    expect("SELECT count(*) FROM blob WHERE bytes = CAST('" REPLY "' AS BLOB)",
        "2");
}

/* ---- more than a group ---- */

#define MANY 300 /* is no multiple of a group */

static struct belay__row many[2 * MANY];
static char bodies[MANY][512];

/* Each with a message of its own and one that all have. */
static void
make_many(void)
{
    for (int i = 0; i < MANY; i++) {
        char id[8];

        (void)snprintf(id, sizeof(id), "%d", i + 1);
        (void)snprintf(bodies[i], sizeof(bodies[i]),
            "{\"messages\":[{\"role\":\"system\"},{\"role\":\"user\","
            "\"content\":\"%d\"}],\"seed\":%d}",
            i, i % 3);
        row_count = 0;
        many[i] = *start(id);
        many[i].started_us += i;
        many[i].texts[BELAY__TEXT_BODY] = slice(bodies[i]);
        many[MANY + i] = *end(id);
        many[MANY + i].usage.in_total = i;
    }
}

static void
put_many(int first, int past)
{
    begin();
    for (int i = first; i < past; i++) {
        put(&many[i]);
    }
    commit();
}

static void
expect_many(void)
{
    expect("SELECT count(*) FROM attempt WHERE status = 'ok'", "300");
    expect("SELECT count(*) FROM attempt a JOIN message m"
           " ON m.hash = a.request_tip WHERE json_extract(body, '$.content')"
           " = CAST(ltrim(id, '0') - 1 AS TEXT)",
        "300");
    expect("SELECT count(*) FROM attempt WHERE in_total = ltrim(id, '0') - 1"
           " AND json_extract(params, '$.seed') = in_total % 3",
        "300");
    expect("SELECT count(*) FROM message", "301");
    expect("SELECT count(*) FROM params", "3");
    expect("SELECT count(*) FROM blob", "300");
    expect("PRAGMA integrity_check", "ok");
}

/* A clock that stands still: thousands of attempts have one time. */
Test(sink_sqlite, l74_a_clock_that_stands_still_costs_no_search_each)
{
    char id[8];

    for (int group = 0; group < 20; group++) {
        begin();
        for (int i = 0; i < 200; i++) {
            (void)snprintf(id, sizeof(id), "%d", 1 + group * 200 + i);
            row_count = 0;
            many[i] = *start(id);
            put(&many[i]);
        }
        commit();
    }
    expect("SELECT count(DISTINCT started_us) || ' ' ||"
           " (max(started_us) - min(started_us)) FROM attempt",
        "4000 3999");
}

Test(sink_sqlite, l74_a_name_that_is_too_long_to_keep_is_written_all_the_same)
{
    const size_t len = (size_t)17 * 1024 * 1024;
    char *name = malloc(len);

    cr_assert(name != NULL);
    memset(name, 'm', len);
    make_many();
    many[MANY].texts[BELAY__TEXT_MODEL] = (struct belay_slice){name, len};
    begin();
    for (int i = 0; i < 3; i++) {
        put(&many[i]);
        put(&many[MANY + i]);
    }
    commit();
    free(name);
    expect("SELECT group_concat(length(model_answered)) FROM attempt"
           " WHERE status = 'ok'",
        "17825792,3,3");
}

/* A file from elsewhere may hold what would look at our memory. */
Test(sink_sqlite, s9_a_trigger_in_the_file_reads_no_memory_of_the_writer)
{
    make_many();
    put_many(0, 1);
    execute("CREATE TABLE leak (x);"
            "CREATE TRIGGER t AFTER INSERT ON outcome BEGIN"
            " INSERT INTO leak SELECT reply FROM belay_call; END");
    begin();
    put(&many[1]);
    put(&many[MANY + 1]);
    cr_expect(eq(int, belay__sink_sqlite->commit(sink, why), BELAY_EIO));
    belay__sink_sqlite->rollback(sink);
    expect("SELECT count(*) FROM leak", "0");
}

Test(sink_sqlite, l73_a_transaction_of_several_groups)
{
    make_many();
    put_many(0, 2 * MANY);
    expect_many();
}

Test(sink_sqlite, l73_ends_of_several_groups_come_later)
{
    make_many();
    put_many(0, MANY);
    expect("SELECT count(*) FROM attempt WHERE status = 'in_doubt'", "300");
    put_many(MANY, 2 * MANY);
    expect_many();
}

Test(sink_sqlite, l75_a_conversation_longer_than_a_group)
{
    static char body[32768] = "{\"messages\":[";
    struct belay__row row = *start("1");
    size_t len = strlen(body);

    for (int i = 0; i < 700; i++) {
        len += (size_t)snprintf(body + len, sizeof(body) - len,
            "%s{\"role\":\"user\",\"n\":%d}", i > 0 ? "," : "", i);
    }
    (void)snprintf(body + len, sizeof(body) - len, "]}");
    row.texts[BELAY__TEXT_BODY] = slice(body);
    begin();
    put(&row);
    commit();
    expect("SELECT count(*) FROM message", "700");
    expect("WITH RECURSIVE chain (hash, n) AS (SELECT request_tip, 1 FROM"
           " attempt UNION ALL SELECT parent_hash, n + 1 FROM message JOIN"
           " chain USING (hash) WHERE parent_hash IS NOT NULL)"
           " SELECT max(n) FROM chain",
        "700");
}

/* ---- what is on the disk ---- */

/* The file as somebody finds it if all processes are killed now. */
static char *
query_copy(const char *sql)
{
    const char *copy = test_file("copy.db");
    char command[512];

    (void)snprintf(command, sizeof(command),
        "rm -f %s* && cp %s %s && cp %s-wal %s-wal", copy, sink_path, copy,
        sink_path, copy);
    cr_assert(zero(int, system(command)));
    return query_text(copy, sql);
}

static void
expect_copied(int count)
{
    const char *text = query_copy("SELECT count(*) FROM attempt");

    cr_expect(eq(int, (int)strtol(text, NULL, 10), count));
}

/* The first answers are as many bytes as do not fit into SQLite's cache, so that
 * pages are in its log before the commit; a second group changes some of those
 * once more.
 */
static void
put_large(int first, int past)
{
    static char reply[1000000];

    memset(reply, 'x', sizeof(reply));
    make_many();
    begin();
    for (int i = first; i < past; i++) {
        put(&many[i]);
        if (i - first < 20) {
            many[MANY + i].texts[BELAY__TEXT_BODY] =
                (struct belay_slice){reply, sizeof(reply)};
        }
        put(&many[MANY + i]);
    }
}

Test(sink_sqlite, l77_a_commit_is_in_the_files_at_once)
{
    make_many();
    for (int i = 0; i < 5; i++) {
        put_many(i, i + 1);
        expect_copied(i + 1);
    }
    put_large(5, 150);
    commit();
    expect_copied(150);
    cr_expect(eq(str, query_copy("PRAGMA integrity_check"), "ok"));
    put_many(150, 151);
    expect_copied(151);
}

Test(sink_sqlite, l77_a_disk_that_is_full_loses_the_commit_and_no_other)
{
    int lost = 0;

    (void)signal(SIGXFSZ, SIG_IGN);
    make_many();
    put_many(0, 1);
    for (rlim_t bytes = 65536; bytes < 4000000; bytes += 500000) {
        int code;

        put_large(1, 5);
        limit_file_size(bytes);
        code = belay__sink_sqlite->commit(sink, why);
        limit_file_size(RLIM_INFINITY);
        cr_assert(eq(int, code, BELAY_EIO));
        belay__sink_sqlite->rollback(sink);
        lost++;
        expect_copied(lost);
        make_many();
        put_many(lost, lost + 1);
        expect("PRAGMA integrity_check", "ok");
    }
    put_large(lost + 1, lost + 5);
    commit();
    expect_copied(lost + 5);
    cr_expect(eq(str, query_copy("PRAGMA integrity_check"), "ok"));
}
