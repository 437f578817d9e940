/* test_batch_leave.c - the lines that a batch leaves when it stops: in no file,
 * or, where that is wanted, with an error line each.
 */
#include "test/support/batch_scene.h"
#include "test/support/texts.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(
    batch_leave, .init = batch_set_up, .fini = batch_tear_down, .timeout = 120);

#define BUSY REPLY("503 Busy", "", "{}")

static const struct fault_route three_then_busy[] = {FAULT_ON(NULL, OK_REPLY),
    FAULT_ON(NULL, OK_REPLY), FAULT_ON(NULL, OK_REPLY), FAULT_ON(NULL, BUSY)};

/* How many error lines have this code, and no response. */
static size_t
count_code(const char *code)
{
    char wanted[96];
    size_t count = 0;

    (void)snprintf(wanted, sizeof(wanted),
        "\"response\":null,\"error\":{\"code\":\"%s\",\"message\":\"", code);
    for (const char *at = errors; (at = strstr(at, wanted)) != NULL; at++) {
        count++;
    }
    return count;
}

/* All lines are in a file, once, and so many were left with this code. */
static void
expect_left(size_t lines, size_t left, const char *code)
{
    expect_each_once(lines);
    cr_expect(eq(sz, count_code(code), left), "%s", errors);
    cr_expect(eq(u64, result.stats.lines, lines));
    cr_expect(eq(u64, result.stats.dropped, 0));
    cr_expect(eq(u64, result.stats.in_flight, 0));
    cr_expect(eq(u64, result.stats.retrying, 0));
}

/* ---- the time for the batch ---- */

/* Lines that wait for another attempt, that are ready, and that were not read:
 * 4 in flight and 8 waiting are fewer than 100.
 */
Test(batch_leave, b5_what_has_no_answer_in_time_has_expired)
{
    serve(three_then_busy, COUNT(three_then_busy));
    opts.expire = belay_seconds(100);
    give_numbered(100);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_EXPIRED));
    cr_expect(eq(u64, result.stats.ok, 3));
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_EXPIRED], 97));
    expect_left(100, 97, "batch_expired");

    cr_expect(eq(int, run_it(), 0), "they count as done …");
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(u64, result.stats.sent, 0));
    cr_expect(eq(u64, result.stats.resumed_failed, 97));

    fault_server_stop(server);
    serve(always_ok, 1);
    opts.retry_failed = true;
    cr_expect(eq(int, run_it(), 0), "… until they are asked for");
    cr_expect(eq(u64, result.stats.ok, 97));
    expect_each_once(100);
}

Test(batch_leave, b5_a_batch_that_is_done_in_time_does_not_expire)
{
    serve(always_ok, 1);
    opts.expire = belay_seconds(100);
    give_numbered(20);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(u64, result.stats.ok, 20));
}

/* In real time, since the server keeps the clock waiting. The first line hangs
 * and all others wait behind it for their place in the file: it is cut off
 * once draining took too long, and the reader goes on.
 */
Test(batch_leave, b5_b9_a_line_that_hangs_does_not_keep_others_from_expiring)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", FAULT_DO_HANG), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.window = 5;
    opts.expire = belay_milliseconds(50);
    opts.drain_timeout = belay_milliseconds(50);
    give_numbered(40);
    cr_expect(eq(int, run_in_real_time(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_EXPIRED));
    cr_expect(eq(u64, result.stats.ok, 4));
    expect_left(40, 36, "batch_expired");
    cr_expect(ne(str, line_of(errors, "0"), (char[]){""}));
}

/* ---- --emit-skipped ---- */

Test(batch_leave, b8_without_being_asked_what_was_not_tried_is_in_no_file)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/2/score", REPLY("401 Who", "", "{}")),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    give_numbered(30);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(sz, expect_whole(output), 2));
    cr_expect(eq(sz, expect_whole(errors), 1));
}

Test(batch_leave, b8_skipped_lines_of_a_refused_key)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/2/score", REPLY("401 Who", "", "{}")),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.emit_skipped = true;
    give_numbered(30);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED));
    cr_expect(eq(u64, result.stats.ok, 2));
    expect_left(30, 27, "skipped");
    cr_expect(
        ne(ptr, strstr(errors, "not sent: the server had refused"), NULL));
}

Test(batch_leave, b8_skipped_lines_of_a_server_that_answers_nobody)
{
    serve(three_then_busy, COUNT(three_then_busy));
    opts.patience = belay_seconds(100);
    opts.emit_skipped = true;
    opts.seed = 1; /* of waits at whose end none is in flight */
    give_numbered(50);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_CONGESTED));
    expect_left(50, 47, "skipped");
}

static void
interrupt_when_all_wait(int round, bool *done)
{
    (void)round;
    if (fault_server_requests(server, NULL) == 3) {
        belay__batch_interrupt(running);
        fault_server_open_gate(server);
        *done = true;
    }
}

/* Two models take turns, so that lines are put off; in flight ends well. */
Test(batch_leave, b8_b25_b29_skipped_lines_of_an_interrupt)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};
    char text[16384];
    size_t len = 0;

    for (int i = 0; i < 60; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/%d/score\",\"body\":{\"model\":\"%s\"}}\n",
            i, i, i % 6 != 0 ? "often" : "seldom");
    }
    serve(routes, COUNT(routes));
    opts.concurrency = 3;
    opts.emit_skipped = true;
    give(text);
    cr_expect(eq(int, run_beside(interrupt_when_all_wait), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_INTERRUPTED));
    cr_expect(eq(u64, result.stats.ok, 3));
    expect_left(60, 57, "skipped");
}

/* The second signal: what is in flight has no answer, and a line says so. What
 * was not read by then is in no file.
 */
static void
stop_then_cancel(int round, bool *done)
{
    (void)round;
    if (fault_server_requests(server, NULL) == 3) {
        belay__batch_interrupt(running);
        (void)belay_task_cancel(running_task, "at once");
        *done = true;
    }
}

Test(batch_leave, b8_b29_a_cancel_while_lines_are_left)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_HANG)};

    serve(routes, COUNT(routes));
    opts.concurrency = 3;
    opts.emit_skipped = true;
    give_numbered(60);
    (void)run_beside(stop_then_cancel);
    cr_expect(eq(sz, expect_whole(output), 0));
    cr_expect(eq(sz, expect_whole(errors), result.stats.failed));
    cr_expect(eq(sz, count_code("batch_cancelled"), 3));
    cr_expect(eq(
        u64, result.stats.lines, result.stats.failed + result.stats.dropped));
    cr_expect(eq(u64, result.stats.in_flight, 0));
}

/* ---- faults ---- */

Test(batch_leave, b8_b19_a_full_disk_ends_the_leaving)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("401 Who", "", "{}"))};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.emit_skipped = true;
    give_numbered(1000);
    limit_file_size(2000);
    cr_expect(eq(int, run_it(), 0));
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(int, (int)result.stop, BELAY__BATCH_NO_OUTPUT));
    cr_expect(eq(sz, expect_whole(errors), result.stats.failed));
    cr_expect(lt(u64, result.stats.failed, 20));
    cr_expect(gt(u64, result.stats.failed, 5));

    fault_server_stop(server);
    serve(always_ok, 1);
    opts.emit_skipped = false;
    cr_expect(eq(int, run_it(), 0), "the next run has the others");
    expect_each_once(1000);
}

static const struct fault_route sweep_routes[] = {
    FAULT_ON("/v1/3/score", REPLY("401 Who", "", "{}")),
    FAULT_ON("/v1/2/score", FAULT_DO_CLOSE), FAULT_ON(NULL, OK_REPLY)};

static void
check_files(const struct belay_result *ended, bool disturbed)
{
    size_t lines;

    output = test_file_read("out");
    errors = test_file_read("err");
    lines = expect_whole(output) + expect_whole(errors);
    cr_expect(eq(u64, result.stats.in_flight, 0));
    cr_expect(eq(u64, result.stats.retrying, 0));
    cr_expect(eq(u64, lines, result.stats.ok + result.stats.failed));
    cr_expect(eq(u64, result.stats.lines, lines + result.stats.dropped));
    if (!disturbed) {
        cr_expect(eq(int, ended->code, 0));
        cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED));
        expect_left(30, result.stats.errors[BELAY__LINE_SKIPPED], "skipped");
        cr_expect(gt(u64, result.stats.errors[BELAY__LINE_SKIPPED], 20));
    }
    result = (struct belay__batch_result){0};
    remove_outputs();
}

static void
sweep_leaving(size_t (*sweep_fn)(const struct program *program))
{
    opts.concurrency = 2;
    opts.window = 6;
    opts.emit_skipped = true;
    give_numbered(30);
    sweep_batch(sweep_fn, sweep_routes, COUNT(sweep_routes), check_files);
}

Test(batch_leave, b8_b9_every_cancel)
{
    sweep_leaving(sweep_cancels);
}

Test(batch_leave, b8_b9_every_refused_allocation)
{
    sweep_leaving(sweep_allocs);
}
