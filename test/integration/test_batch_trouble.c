/* test_batch_trouble.c - a batch whose server breaks, hangs or has enough. */
#include "llm/batch/pipeline.h"
#include "test/support/batch_scene.h"

#include <stdio.h>
#include <string.h>

TestSuite(batch_trouble, .init = batch_set_up, .fini = batch_tear_down,
    .timeout = 120);

/* ---- no answer ---- */

Test(batch_trouble, b5_no_answer_is_told_by_its_code)
{
    static const struct fault_route routes[] = {ON("close", FAULT_DO_CLOSE),
        ON("reset", FAULT_DO_RESET),
        ON("cut",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
                       "{\"half\":"),
            FAULT_DO_CLOSE),
        ON("html", REPLY("200 OK", "", "<html>hello</html>")),
        ON("nothing", FAULT_TEXT("HTTP/1.1 204 No\r\n\r\n")),
        ON("garbage", FAULT_TEXT("SSH-2.0-OpenSSH_9\r\n"), FAULT_DO_CLOSE),
        ON("big",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: "
                       "1073741824\r\n\r\n"),
            FAULT_DO_FILL(1073741824)),
        ON("endless", FAULT_TEXT("HTTP/1.1 200 OK\r\n\r\n"),
            FAULT_DO_FILL(1073741824)),
        ON("bomb",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                       "Connection: close\r\n\r\n"),
            FAULT_DO_GZIP(1073741824), FAULT_DO_CLOSE),
        ON("ok", OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.max_retries = 1;
    opts.max_reply_bytes = (size_t)1 << 20;
    give(REQUEST("close", SCORE("close"), "{}") REQUEST("reset", SCORE("reset"),
        "{}") REQUEST("cut", SCORE("cut"), "{}") REQUEST("html", SCORE("html"),
        "{}") REQUEST("nothing", SCORE("nothing"), "{}") REQUEST("garbage",
        SCORE("garbage"), "{}") REQUEST("big", SCORE("big"), "{}")
            REQUEST("endless", SCORE("endless"), "{}") REQUEST(
                "bomb", SCORE("bomb"), "{}") REQUEST("ok", SCORE("ok"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    expect_code("close", "connection_error");
    expect_code("reset", "connection_error");
    expect_code("cut", "stream_truncated");
    expect_code("html", "invalid_response");
    expect_code("nothing", "invalid_response");
    expect_code("garbage", "invalid_response");
    expect_code("big", "response_too_large");
    expect_code("endless", "response_too_large");
    expect_code("bomb", "response_too_large");
    expect_text(output, OK_LINE("ok", "10"));
    /* A reply without sense is asked for once more, one too large is not. */
    cr_expect(eq(sz, fault_server_requests(server, SCORE("html")), 2));
    cr_expect(eq(sz, fault_server_requests(server, SCORE("cut")), 2));
    cr_expect(eq(sz, fault_server_requests(server, SCORE("big")), 1));
    cr_expect(eq(sz, expect_whole(errors), 9));
}

Test(batch_trouble, b5_a_reply_without_sense_may_have_some_the_second_time)
{
    static const struct fault_route routes[] = {
        ON("a", REPLY("200 OK", "", "{\"half\":")), ON("a", OK_REPLY)};

    serve(routes, COUNT(routes));
    give(REQUEST("a", SCORE("a"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    expect_text(output, OK_LINE("a", "1"));
    cr_expect(eq(u64, result.stats.retries, 1));
    cr_expect(eq(u64, result.stats.sent, 1));
}

Test(batch_trouble, b5_without_retries_nothing_is_asked_twice)
{
    static const struct fault_route routes[] = {
        ON("html", REPLY("200 OK", "", "<html>")),
        ON("503", REPLY("503 Busy", "", "{}")), ON("close", FAULT_DO_CLOSE)};

    serve(routes, COUNT(routes));
    opts.max_retries = -1;
    give(REQUEST("html", SCORE("html"), "{}") REQUEST("503", SCORE("503"), "{}")
            REQUEST("close", SCORE("close"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 3));
    cr_expect(eq(sz, expect_whole(errors), 3));
}

/* In real time: a virtual clock stands while the server keeps us waiting. */
Test(batch_trouble, b5_timeout_covers_the_line_with_its_retries)
{
    static const struct fault_route routes[] = {ON("hang", FAULT_DO_HANG),
        ON("half", FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
            FAULT_DO_HANG),
        ON("drip",
            FAULT_PIECES("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n"
                         "X: 0123456789012345678901234567890123456789"
                         "0123456789012345678901234567890123456789",
                1, 5),
            FAULT_DO_HANG),
        ON("ok", OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.timeout = belay_milliseconds(60);
    give(REQUEST("hang", SCORE("hang"), "{}") REQUEST(
        "half", SCORE("half"), "{}") REQUEST("drip", SCORE("drip"), "{}"));
    cr_expect(eq(int, run_in_real_time(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    expect_code("hang", "timeout");
    expect_code("half", "timeout");
    expect_code("drip", "timeout");
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_TIMEOUT], 3));
    cr_expect(eq(u64, result.stats.in_flight, 0));
    cr_expect(eq(u64, result.stats.retrying, 0));
}

/* A wait that would outlive the line's time is not begun: the answer that
 * there is goes into the file.
 */
Test(batch_trouble, b5_timeout_ends_a_wait_for_another_attempt_before_it_begins)
{
    static const struct fault_route routes[] = {
        ON("a", REPLY("503 Busy", "Retry-After: 100\r\n", "{\"e\":1}"))};

    serve(routes, COUNT(routes));
    opts.timeout = belay_seconds(50);
    give(REQUEST("a", SCORE("a"), "{}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(ne(ptr, strstr(errors, "\"status_code\":503"), NULL));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 1));
}

static int
run_without_a_server(void)
{
    serve(always_ok, 1);
    fault_server_stop(server); /* its port is closed now */
    server = NULL;
    return run_it();
}

/* A wrong address costs no line: once one has had its retries the batch stops,
 * and the next run has them all.
 */
Test(batch_trouble, b5_b24_a_server_that_is_not_there)
{
    opts.max_retries = 2;
    give(REQUEST("a", CHAT, "{}") REQUEST("b", CHAT, "{}"));
    cr_expect(eq(int, run_without_a_server(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_CONGESTED));
    cr_expect(eq(int, result.stop_code, BELAY_ECONNECT));
    cr_expect(eq(str, output, (char *)""));
    cr_expect(eq(str, errors, (char *)""));
    cr_expect(eq(u64, result.stats.dropped, 2));
    cr_expect(eq(u64, result.stats.cut, 0));
    serve(always_ok, 1);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(u64, result.stats.ok, 2));
    cr_expect(eq(u64, result.stats.in_doubt, 0));
}

Test(batch_trouble, b5_b24_a_server_that_is_not_there_and_no_retries)
{
    opts.max_retries = -1;
    give(REQUEST("a", CHAT, "{}") REQUEST("b", CHAT, "{}"));
    cr_expect(eq(int, run_without_a_server(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_CONGESTED));
    cr_expect(eq(u64, result.stats.failed, 0));
}

/* So many lines fail at once that all there are wait for another attempt. */
Test(batch_trouble, b20_b22_all_lines_there_are_may_be_asleep)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(FAULT_EMPTY_500))};

    serve(routes, COUNT(routes));
    opts.concurrency = 64;
    opts.start = 64;
    give_numbered(2000);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.failed, 2000));
    expect_each_once(2000);
}

Test(batch_trouble, b20_b22_all_lines_may_be_asleep_without_a_server)
{
    opts.concurrency = 64;
    opts.start = 64;
    give_numbered(2000);
    cr_expect(eq(int, run_without_a_server(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_CONGESTED));
    cr_expect(eq(u64, result.stats.failed, 0));
}

Test(batch_trouble, b5_b8_a_server_that_dies_and_comes_back_costs_no_line)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK_REPLY),
        FAULT_ON(NULL, OK_REPLY), FAULT_ON(NULL, OK_REPLY),
        FAULT_ON(NULL, FAULT_DO_RESET), FAULT_ON(NULL, FAULT_DO_CLOSE),
        FAULT_ON(NULL, FAULT_DO_RESET), FAULT_ON(NULL, FAULT_DO_CLOSE),
        FAULT_ON(NULL, REPLY("502 Gone", "", "")),
        FAULT_ON(NULL, REPLY("503 Back soon", "Retry-After: 1\r\n", "")),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    give_numbered(40);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 40));
    cr_expect(eq(u64, result.stats.retries, 6));
    expect_each_once(40);
}

/* ---- a server that is congested ---- */

#define TIMES_4(...) __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__
#define REFUSED_4 \
    TIMES_4(FAULT_ON(NULL, REPLY("429 Too Many Requests", "", "{}")))

static double
elapsed_s(void)
{
    return (double)(result.stats.ended_ns - result.stats.started_ns) / 1e9;
}

/* covers: B22, B24 */
Test(batch_trouble, b24_a_server_that_answers_429_for_a_minute_fails_no_line)
{
    static const struct fault_route routes[] = {REFUSED_4, REFUSED_4, REFUSED_4,
        REFUSED_4, REFUSED_4, FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 8;
    opts.max_retries = 1;
    give_numbered(50);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 50));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(eq(u64, result.stats.congested, 20));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 70));
    cr_expect(gt(dbl, elapsed_s(), 60), "%g", elapsed_s());
    expect_each_once(50);
}

/* All that were under way are refused; then nobody is sent until the server
 * wants it, and one goes ahead.
 */
Test(batch_trouble,
    b24_a_server_that_says_when_to_come_back_is_left_alone_until_then)
{
    static const struct fault_route routes[] = {
        TIMES_4(FAULT_ON(
            NULL, REPLY("429 Too Many Requests", "Retry-After: 60\r\n", "{}"))),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.start = 4;
    give_numbered(40);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 40));
    cr_expect(le(sz, fault_server_requests(server, NULL), 44));
    cr_expect(gt(dbl, elapsed_s(), 60), "%g", elapsed_s());
    cr_expect(lt(dbl, elapsed_s(), 140), "%g", elapsed_s());
}

/* Nothing was tried to its end: the next run sends it. */
Test(batch_trouble, b24_b31_patience_has_an_end)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, OK_REPLY), FAULT_ON(NULL, REPLY("503 Busy", "", "{}"))};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.patience = belay_seconds(600);
    give_numbered(40);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_CONGESTED));
    cr_expect(eq(int, result.stop_code, 503));
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 1));
    cr_expect(ge(dbl, elapsed_s(), 600));
    cr_expect(lt(sz, fault_server_requests(server, NULL), 60));
}

/* Of two models one is asked nothing for longer than that, the window being one
 * line, and then refuses once: it has not tried anybody's patience yet.
 */
Test(batch_trouble, b24_patience_begins_with_a_refusal)
{
    static const struct fault_route routes[] = {
        ON("a1", OK_REPLY),
        ON("b", REPLY("500 Oh", "Retry-After: 500\r\n", "{}")),
        ON("b", REPLY("500 Oh", "Retry-After: 500\r\n", "{}")),
        ON("b", OK_REPLY),
        ON("a2", REPLY("429 Too Many Requests", "", "{}")),
        ON("a2", OK_REPLY),
    };

    serve(routes, COUNT(routes));
    opts.window = 1;
    opts.patience = belay_seconds(600);
    give(REQUEST("a1", SCORE("a1"), "{\"model\":\"a\"}")
            REQUEST("b", SCORE("b"), "{\"model\":\"b\"}")
                REQUEST("a2", SCORE("a2"), "{\"model\":\"a\"}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 3));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(gt(dbl, elapsed_s(), 1000), "%g", elapsed_s());
    cr_expect(eq(sz, fault_server_requests(server, "/v1/a2/score"), 2));
}

/* A refusal that was its line's last word is not counted from an hour later:
 * who was asked nothing meanwhile has refused nothing.
 */
Test(batch_trouble, b24_patience_is_forgotten_with_the_last_line)
{
#define SLOW(name) \
    ON(name, REPLY("500 Oh", "Retry-After: 40\r\n", "{}")), ON(name, OK_REPLY)
#define LINE(name) REQUEST(name, SCORE(name), "{\"model\":\"b\"}")
    static const struct fault_route routes[] = {
        ON("a1", REPLY("429 No", "Retry-After: 100\r\n", "{}")),
        SLOW("0"),
        SLOW("1"),
        SLOW("2"),
        SLOW("3"),
        SLOW("4"),
        SLOW("5"),
        SLOW("6"),
        SLOW("7"),
        ON("a2", REPLY("429 No", "", "{}")),
        ON("a2", OK_REPLY),
    };

    serve(routes, COUNT(routes));
    opts.window = 1;
    opts.patience = belay_seconds(300);
    opts.timeout = belay_seconds(50);
    give(REQUEST("a1", SCORE("a1"), "{\"model\":\"a\"}") LINE("0") LINE("1")
            LINE("2") LINE("3") LINE("4") LINE("5") LINE("6") LINE("7")
                REQUEST("a2", SCORE("a2"), "{\"model\":\"a\"}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(gt(dbl, elapsed_s(), 300), "%g", elapsed_s());
    cr_expect(eq(u64, result.stats.ok, 9));
    cr_expect(eq(u64, result.stats.failed, 1));
    cr_expect(eq(sz, fault_server_requests(server, "/v1/a2/score"), 2));
#undef SLOW
#undef LINE
}

/* Without a seed no two runs come back at the same moments. */
static uint64_t random_state;

static void
note_random(int round, bool *done)
{
    (void)round;
    if (running != NULL) {
        random_state = running->random;
        *done = true;
    }
}

Test(batch_trouble, b24_the_jitter_is_random_without_a_seed)
{
    uint64_t first;

    serve(always_ok, 1);
    give_numbered(1);
    opts.seed = 0;
    opts.overwrite = true;
    cr_expect(eq(int, run_beside(note_random), 0));
    first = random_state;
    cr_expect(eq(int, run_beside(note_random), 0));
    cr_expect(ne(u64, random_state, first));
    opts.seed = 4711;
    cr_expect(eq(int, run_beside(note_random), 0));
    cr_expect(eq(u64, random_state, 4711));
}

#define REFUSED_FOR(span_) \
    REPLY("429 Too Many Requests", "Retry-After: " span_ "\r\n", "{}")

/* A server that names a time behind the end of patience is asked once more
 * there. The other line of the two is answered before that refusal, or behind it,
 * and then patience begins with the next.
 */
Test(batch_trouble, b24_b31_a_long_retry_after_does_not_outlive_patience)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", REFUSED_FOR("86400")),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 2;
    opts.patience = belay_seconds(600);
    give_numbered(2);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_CONGESTED));
    cr_expect(eq(int, result.stop_code, 429));
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(ge(dbl, elapsed_s(), 600), "%g", elapsed_s());
    cr_expect(lt(dbl, elapsed_s(), 1300), "%g", elapsed_s());
    cr_expect(le(sz, fault_server_requests(server, "/v1/0/score"), 3));
}

/* Some gateways give the moment as seconds since 1970. */
Test(batch_trouble, b24_a_retry_after_of_fifty_years_costs_no_line)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REFUSED_FOR("1795775322")), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    give_numbered(3);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 3));
    cr_expect(ge(dbl, elapsed_s(), 3600), "%g", elapsed_s());
    cr_expect(lt(dbl, elapsed_s(), 3700), "%g", elapsed_s());
}

Test(batch_trouble, b24_b31_patience_ends_also_without_retries)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REFUSED_FOR("86400"))};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.max_retries = -1;
    opts.patience = belay_seconds(600);
    give_numbered(40);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_CONGESTED));
    cr_expect(eq(u64, result.stats.failed, 2));
    cr_expect(lt(dbl, elapsed_s(), 700), "%g", elapsed_s());
}

/* Where another model is answered, the lines of this one fail. */
Test(batch_trouble, b24_b25_patience_with_one_model_of_two)
{
    static const struct fault_route routes[] = {
        ON("a", REFUSED_FOR("86400")), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.patience = belay_seconds(600);
    give(REQUEST("a1", SCORE("a"), "{\"model\":\"a\"}") REQUEST("b", SCORE("b"),
        "{\"model\":\"b\"}") REQUEST("a2", SCORE("a"), "{\"model\":\"a\"}"));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(u64, result.stats.failed, 2));
    cr_expect(ge(dbl, elapsed_s(), 600), "%g", elapsed_s());
    cr_expect(lt(dbl, elapsed_s(), 700), "%g", elapsed_s());
}

/* What is told while nothing can be sent: until when. */
static int64_t told_due_ns;

static void
note_due(const struct belay__batch_stats *stats, int64_t now_ns, void *arg)
{
    (void)arg;
    if (stats->in_flight == 0 && stats->due_ns > now_ns) {
        told_due_ns = stats->due_ns - stats->started_ns;
    }
}

Test(batch_trouble, b24_b30_a_pause_is_told)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REFUSED_FOR("86400")), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.patience = belay_seconds(600);
    opts.progress = note_due;
    give_numbered(2);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 2));
    cr_expect(ge(i64, told_due_ns, (int64_t)600 * 1000000000));
    cr_expect(lt(i64, told_due_ns, (int64_t)700 * 1000000000));
    cr_expect(eq(i64, result.stats.due_ns, 0));
}

/* A line that is refused while others are answered has retries like any. */
Test(batch_trouble, b24_a_line_that_is_always_refused_fails)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/7/score", REPLY("503 Busy", "", "{\"e\":7}")),
        FAULT_ON(NULL, FAULT_DO_SLEEP(1), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.max_retries = 1;
    give_numbered(400);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 399));
    cr_expect(eq(u64, result.stats.failed, 1));
    expect_each_once(400);
}

/* Of two models one hangs: all lines of the other come through, although the
 * lines take turns and few of them may wait.
 */
#define TURNS 300

static void
give_two_models(void)
{
    FILE *file = open_input();

    for (int i = 0; i < 2 * TURNS; i++) {
        const char *model = i % 2 == 0 ? "slow" : "fast";

        (void)fprintf(file,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/%s/score\",\"body\":{\"model\":\"%s\",\"n\":%d}}\n",
            i, model, model, i);
    }
    cr_assert(eq(int, fclose(file), 0));
}

static void
open_when_the_fast_are_done(int round, bool *done)
{
    (void)round;
    if (result.stats.ok == TURNS) {
        fault_server_open_gate(server);
        *done = true;
    }
}

Test(batch_trouble, b25_a_model_that_is_slow_holds_up_no_other)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/slow/score", FAULT_DO_GATE(1), OK_REPLY),
        FAULT_ON("/v1/fast/score", OK_REPLY)};

    serve(routes, COUNT(routes));
    give_two_models();
    cr_expect(eq(int, run_beside(open_when_the_fast_are_done), 0));
    cr_expect(eq(u64, result.stats.ok, 2 * TURNS));
    cr_expect(eq(u64, result.stats.lines, 2 * TURNS));
    expect_each_once(2 * TURNS);
}

Test(batch_trouble, b25_a_model_that_refuses_holds_up_no_other)
{
    static const struct fault_route routes[] = {
        TIMES_4(FAULT_ON(
            "/v1/slow/score", REPLY("429 Slow", "Retry-After: 100\r\n", "{}"))),
        FAULT_ON("/v1/slow/score", OK_REPLY),
        FAULT_ON("/v1/fast/score", OK_REPLY)};

    serve(routes, COUNT(routes));
    give_two_models();
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 2 * TURNS));
    expect_each_once(2 * TURNS);
}

Test(batch_trouble, b9_b25_lines_that_were_put_off_keep_their_place)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/slow/score", FAULT_DO_SLEEP(2), OK_REPLY),
        FAULT_ON("/v1/fast/score", OK_REPLY)};
    char *at;

    serve(routes, COUNT(routes));
    opts.window = 200;
    give_two_models();
    cr_expect(eq(int, run_it(), 0));
    at = output;
    for (int i = 0; i < 2 * TURNS; i++) {
        char wanted[64];

        (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%d\"", i);
        at = strstr(at, wanted);
        cr_assert(ne(ptr, at, NULL), "line %d", i);
    }
}
