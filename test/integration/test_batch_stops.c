/* test_batch_stops.c - what ends a batch before its end: refusals, signals,
 * files.
 */
#include "test/support/batch_scene.h"
#include "test/support/texts.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILLER                                                             \
    "01234567890123456789012345678901234567890123456789012345678901234567" \
    "01234567890123456789012345678901"

TestSuite(
    batch_stops, .init = batch_set_up, .fini = batch_tear_down, .timeout = 120);

/* ---- stops ---- */

static void
expect_refused(const char *name, int status)
{
    static const char first[] = REQUEST("first", "/v1/%s/score", "{}");
    char text[4096];
    size_t len;

    len = (size_t)snprintf(text, sizeof(text), first, name);
    for (int i = 0; i < 20; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/chat/completions\",\"body\":{}}\n",
            i);
    }
    give(text);
    opts.concurrency = 1;
    opts.overwrite = true;
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED), "%s", name);
    cr_expect(eq(int, result.stop_code, status));
    cr_expect(eq(sz, count_lines(errors), 1));
    expect_text(output, "");
    cr_expect(ne(str, line_of(errors, "first"), (char[]){""}));
    cr_expect(eq(u64, result.stats.sent, 1));
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 1));
}

Test(batch_stops, b23_a_refused_key_or_account_stops_admission)
{
    static const struct fault_route routes[] = {
        ON("401", REPLY("401 Who", "", "{\"error\":{}}")),
        ON("403", REPLY("403 No", "", "")),
        ON("quota",
            REPLY("429 Quota", "",
                "{\"error\":{\"message\":\"x\",\"type\":\"insufficient_quota\","
                "\"code\":\"insufficient_quota\"}}")),
        ON("billing",
            REPLY("400 Bill", "",
                "{\"type\":\"error\",\"error\":{\"type\":\"billing_error\"}}")),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    expect_refused("401", 401);
    expect_refused("403", 403);
    expect_refused("quota", 429);
    expect_refused("billing", 400);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 4));
}

/* What is in flight when the key is refused still ends well. */
Test(batch_stops, b23_lines_in_flight_are_drained)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", REPLY("401 Who", "", "{}")),
        FAULT_ON(NULL, FAULT_DO_SLEEP(30), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 3;
    give_numbered(50);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED));
    cr_expect(eq(sz, expect_whole(errors), 1));
    cr_expect(eq(sz, expect_whole(output), result.stats.ok));
    cr_expect(eq(u64, result.stats.sent, result.stats.ok + 1));
    cr_expect(le(u64, result.stats.sent, 5));
    cr_expect(eq(u64, result.stats.lines,
        result.stats.ok + result.stats.failed + result.stats.dropped));
}

static void
interrupt_when_all_wait(int round, bool *done)
{
    (void)round;
    /* Three hang at the gate, one has failed and waits for its next attempt. */
    if (fault_server_requests(server, NULL) == 4
        && result.stats.retrying == 1) {
        belay__batch_interrupt(running);
        belay__batch_interrupt(running);
        fault_server_open_gate(server);
        *done = true;
    }
}

Test(batch_stops, b8_b29_an_interrupt_drains_and_drops_what_sleeps)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/1/score", REPLY("500 Oh", "Retry-After: 500\r\n", "{}")),
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 3;
    give_numbered(100);
    cr_expect(eq(int, run_beside(interrupt_when_all_wait), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_INTERRUPTED));
    cr_expect(eq(u64, result.stats.ok, 3));
    cr_expect(eq(sz, expect_whole(output), 3));
    expect_text(errors, "");
    cr_expect(ne(str, line_of(output, "0"), (char[]){""}));
    cr_expect(ne(str, line_of(output, "2"), (char[]){""}));
    cr_expect(ne(str, line_of(output, "3"), (char[]){""}));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 4));
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 3));
    cr_expect(eq(u64, result.stats.retrying, 0));
    cr_expect(eq(ptr, running, NULL));
}

static void
cancel_when_all_hang(int round, bool *done)
{
    (void)round;
    if (fault_server_requests(server, NULL) == 4) {
        (void)belay_task_cancel(running_task, "enough");
        *done = true;
    }
}

static const struct fault_route all_but_one_hang[] = {
    FAULT_ON("/v1/2/score", OK_REPLY), FAULT_ON(NULL, FAULT_DO_HANG)};

/* Lines that were tried and have no answer when all is cancelled, where no
 * later run can go on with them: the output is no file.
 */
Test(batch_stops, b5_b8_b29_a_cancel_writes_a_line_for_each_that_was_tried)
{
    serve(all_but_one_hang, COUNT(all_but_one_hang));
    opts.output_path = "/dev/null";
    opts.concurrency = 3;
    give_numbered(10);
    (void)run_beside(cancel_when_all_hang);
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(sz, expect_whole(errors), 3));
    expect_code("0", "batch_cancelled");
    expect_code("1", "batch_cancelled");
    expect_code("3", "batch_cancelled");
    cr_expect(eq(u64, result.stats.errors[BELAY__LINE_CANCELLED], 3));
    cr_expect(eq(u64, result.stats.in_flight, 0));
}

/* Where one can, they are in doubt, and what has a reply is in the file. */
Test(
    batch_stops, b8_b9_b16_b29_a_cancel_loses_no_reply_and_the_next_run_goes_on)
{
    static const struct fault_route fine[] = {FAULT_ON(NULL, OK_REPLY)};

    serve(all_but_one_hang, COUNT(all_but_one_hang));
    opts.concurrency = 3;
    give_numbered(10);
    (void)run_beside(cancel_when_all_hang);
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(sz, expect_whole(output), 1));
    cr_expect(ne(str, line_of(output, "2"), (char[]){""}));
    expect_text(errors, "");
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 1));

    fault_server_stop(server);
    opts.running = NULL;
    serve(fine, 1);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.resumed, 1));
    cr_expect(eq(u64, result.stats.in_doubt, 3));
    cr_expect(eq(u64, result.stats.ok, 9));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 9));
    expect_each_once(10);
}

/* In input order what is behind a line that was not tried is sent again: the
 * next run could only put that line behind it.
 */
static void
expect_first_in_order(size_t count)
{
    char *at = output;
    char wanted[64];

    cr_expect(eq(sz, expect_whole(output), count));
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%zu\"", i);
        at = strstr(at, wanted);
        cr_assert(ne(ptr, at, NULL), "%zu", i);
    }
}

static void
interrupt_when_one_sleeps(int round, bool *done)
{
    (void)round;
    if (result.stats.ok == 4 + 7) { /* all that there is a place for */
        belay__batch_interrupt(running);
        *done = true;
    }
}

Test(batch_stops, b9_b29_in_input_order_nothing_is_written_past_a_dropped_line)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/4/score", REPLY("500 Oh", "Retry-After: 500\r\n", "{}")),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 3;
    opts.window = 8;
    give_numbered(30);
    cr_expect(eq(int, run_beside(interrupt_when_one_sleeps), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_INTERRUPTED));
    expect_first_in_order(4);
    cr_expect(eq(u64, result.stats.ok, 4));
    cr_expect(eq(u64, result.stats.cut, 7));
    cr_expect(eq(u64, result.stats.dropped, result.stats.lines - 4));
    cr_expect(eq(u64, result.stats.statuses[200], 4));
    cr_expect(eq(u64, result.stats.models[0].stats.ok, 4));
    cr_expect(eq(u64, result.stats.models[0].stats.failed, 0));

    fault_server_stop(server);
    opts.running = NULL;
    serve(always_ok, 1);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.resumed, 4));
    cr_expect(ge(u64, result.stats.in_doubt, 7));
    expect_first_in_order(30);
}

Test(batch_stops, b9_b29_in_input_order_nothing_is_written_past_a_line_cut_off)
{
    serve(all_but_one_hang, COUNT(all_but_one_hang));
    opts.concurrency = 3;
    opts.window = 20; /* line 2 has its reply, but waits for 0 and 1 */
    give_numbered(10);
    (void)run_beside(cancel_when_all_hang);
    expect_first_in_order(0);
    cr_expect(eq(u64, result.stats.ok, 0));
    cr_expect(eq(u64, result.stats.cut, 4));

    fault_server_stop(server);
    opts.running = NULL;
    serve(always_ok, 1);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.in_doubt, 4));
    expect_first_in_order(10);
}

static void
look_at_journal(int round, bool *done)
{
    static const char *const records[] = {
        "\ns 1 ", "\ns 2 ", "\ns 3 ", "\ns 4 "};
    char *journal;

    cancel_when_all_hang(round, done);
    if (*done) {
        journal = test_file_read("out.state");
        for (size_t i = 0; i < COUNT(records); i++) {
            cr_expect(ne(ptr, strstr(journal, records[i]), NULL), "%zu", i);
        }
    }
}

/* Many workers share one write, which is still before the first request. */
Test(batch_stops, b15_the_journal_knows_of_a_line_before_the_server_does)
{
    serve(all_but_one_hang, COUNT(all_but_one_hang));
    opts.concurrency = 3;
    give_numbered(10);
    (void)run_beside(look_at_journal);
    cr_expect(eq(u64, result.stats.ok, 1));
}

/* In real time, since the server keeps the clock waiting. */
Test(batch_stops, b29_draining_has_its_time)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", REPLY("401 Who", "", "{}")),
        FAULT_ON(NULL, FAULT_DO_HANG)};

    serve(routes, COUNT(routes));
    opts.output_path = "/dev/null";
    opts.concurrency = 3;
    opts.drain_timeout = belay_milliseconds(50);
    give_numbered(10);
    cr_expect(eq(int, run_in_real_time(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED));
    cr_expect(ne(ptr, strstr(line_of(errors, "0"), "401"), NULL));
    cr_expect(gt(u64, result.stats.errors[BELAY__LINE_CANCELLED], 0));
    cr_expect(eq(u64, result.stats.sent,
        1 + result.stats.errors[BELAY__LINE_CANCELLED]));
    cr_expect(eq(u64, result.stats.in_flight, 0));
}

/* ---- files ---- */

Test(batch_stops, b31_input_that_cannot_be_opened)
{
    serve(always_ok, 1);
    cr_expect(eq(int, run_it(), BELAY_ENOENT));
    cr_expect(ne(ptr, strstr(message, input_path), NULL), "%s", message);
    cr_expect(eq(int, access(output_path, F_OK), -1), "nothing was made");

    opts.input_path = test_folder;
    cr_expect(eq(int, run_it(), -EISDIR));
    cr_expect(ne(ptr, strstr(message, test_folder), NULL), "%s", message);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 0));
}

/* The first page of /proc/self/mem cannot be read. */
Test(batch_stops, b31_input_that_cannot_be_read_stops_the_batch)
{
    serve(always_ok, 1);
    opts.input_path = "/proc/self/mem";
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_NO_INPUT));
    cr_expect(eq(int, result.stop_code, BELAY_EIO));
    expect_text((char *)(uintptr_t)result.stop_path, "/proc/self/mem");
}

Test(batch_stops, b31_output_that_cannot_be_opened)
{
    const char *missing = test_file("no/out");

    serve(always_ok, 1);
    give(REQUEST("a", CHAT, "{}"));
    opts.output_path = missing;
    cr_expect(eq(int, run_it(), BELAY_ENOENT));
    cr_expect(ne(ptr, strstr(message, missing), NULL), "%s", message);
    opts.output_path = output_path;
    opts.errors_path = missing;
    cr_expect(eq(int, run_it(), BELAY_ENOENT));
    opts.errors_path = errors_path;
    test_file_write("out", "old\n");
    cr_expect(eq(int, run_it(), BELAY_EBUSY));
    expect_text(output, "old\n");
    cr_expect(eq(sz, fault_server_requests(server, NULL), 0));
}

/* Neither output may be the input, by whatever name. */
Test(batch_stops, the_input_is_never_written_to)
{
    static const char text[] = REQUEST("a", CHAT, "{}");
    const char *other = test_file("./in");

    serve(always_ok, 1);
    give(text);
    opts.overwrite = true;
    opts.output_path = other;
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
    cr_expect(ne(ptr, strstr(message, "is the input"), NULL), "%s", message);
    opts.output_path = output_path;
    opts.errors_path = other;
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
    expect_text(test_file_read("in"), text);
}

Test(batch_stops, options_of_the_client_are_refused_before_anything_is_sent)
{
    give(REQUEST("a", CHAT, "{}"));
    (void)snprintf(base_url, sizeof(base_url), "http://example.com/v1");
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
    cr_expect(ne(sz, strlen(message), 0));
    (void)snprintf(base_url, sizeof(base_url), "nonsense");
    opts.overwrite = true;
    cr_expect(eq(int, run_it(), BELAY_EINVAL));
}

/* The disk is full after so many bytes, for many sizes of disk. */
Test(batch_stops, b10_b19_a_full_disk_stops_the_batch_and_tears_no_line)
{
    serve(always_ok, 1);
    opts.overwrite = true;
    give_numbered(30);
    limit_file_size(100); /* not even the state has room */
    cr_expect(eq(int, run_it(), -EFBIG));
    for (rlim_t size = 400; size < 2000; size += 93) {
        opts.window = size % 2 == 0 ? 0 : 8;
        limit_file_size(RLIM_INFINITY);
        give_numbered(30);
        limit_file_size(size);
        cr_expect(eq(int, run_it(), 0));
        limit_file_size(RLIM_INFINITY);
        cr_expect(eq(int, result.stop, BELAY__BATCH_NO_OUTPUT));
        cr_expect(eq(int, result.stop_code, -EFBIG));
        expect_text((char *)(uintptr_t)result.stop_path, output_path);
        cr_expect(eq(sz, expect_whole(output), result.stats.ok));
        cr_expect(le(sz, strlen(output), size));
        cr_expect(lt(u64, result.stats.sent, 30));
        cr_expect(eq(u64, result.stats.lines,
            result.stats.ok + result.stats.failed + result.stats.dropped));
    }
}

Test(batch_stops, b10_b19_a_full_disk_for_the_error_file)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("400 Bad", "", "{}"))};

    serve(routes, 1);
    give_numbered(30);
    limit_file_size(300);
    cr_expect(eq(int, run_it(), 0));
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(int, result.stop, BELAY__BATCH_NO_OUTPUT));
    expect_text((char *)(uintptr_t)result.stop_path, errors_path);
    cr_expect(eq(sz, expect_whole(errors), result.stats.failed));
}

/* One reply finds no room; those behind it wait at the gate, and are kept until
 * somebody has made room.
 */
static void
make_room_for_the_rest(int round, bool *done)
{
    (void)round;
    if (fault_server_requests(server, NULL) == 4
        && result.stop == BELAY__BATCH_NO_OUTPUT) {
        limit_file_size(RLIM_INFINITY);
        fault_server_open_gate(server);
        *done = true;
    }
}

Test(batch_stops, b19_what_is_in_flight_when_the_disk_is_full_is_kept)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score",
            REPLY("200 OK", "",
                "{\"t\":\"" FILLER FILLER FILLER FILLER FILLER "\"}")),
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.start = 4;
    give_numbered(20);
    limit_file_size(400); /* the state has room, and a short reply */
    cr_expect(eq(int, run_beside(make_room_for_the_rest), 0));
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(int, result.stop, BELAY__BATCH_NO_OUTPUT));
    cr_expect(eq(int, result.stop_code, -EFBIG));
    cr_expect(eq(u64, result.stats.sent, 4));
    cr_expect(eq(u64, result.stats.ok, 4));
    cr_expect(eq(sz, expect_whole(output), 4));
    cr_expect(eq(u64, result.stats.cut, 0));

    opts.running = NULL;
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.resumed, 4));
    cr_expect(eq(u64, result.stats.in_doubt, 0));
    expect_each_once(20);
}

static void
wait_for_the_stop(int round, bool *done)
{
    (void)round;
    if (fault_server_requests(server, NULL) == 4
        && result.stop == BELAY__BATCH_NO_OUTPUT) {
        fault_server_open_gate(server);
        *done = true;
    }
}

/* The error file's disk is full; the output has one of its own. */
Test(batch_stops, b19_a_full_disk_for_the_error_file_stops_no_reply)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", REPLY("400 Bad", "", "{}")),
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.errors_path = "/dev/full";
    opts.start = 4;
    give_numbered(20);
    cr_expect(eq(int, run_beside(wait_for_the_stop), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_NO_OUTPUT));
    expect_text((char *)(uintptr_t)result.stop_path, "/dev/full");
    cr_expect(eq(u64, result.stats.ok, 3));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(eq(u64, result.stats.cut, 1));
    cr_expect(eq(u64, result.stats.statuses[400], 0));
    cr_expect(eq(sz, expect_whole(output), 3));
    cr_expect(eq(u64, result.stats.lines, 3 + result.stats.dropped));
}

Test(batch_stops, b10_b19_a_device_that_takes_nothing)
{
    serve(always_ok, 1);
    give_numbered(30);
    opts.output_path = "/dev/full";
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_NO_OUTPUT));
    cr_expect(eq(int, result.stop_code, -ENOSPC));
    cr_expect(eq(u64, result.stats.ok, 0));
    cr_expect(lt(u64, result.stats.sent, 30));
}

Test(batch_stops, b10_every_policy_of_syncing_writes_all_lines)
{
    serve(always_ok, 1);
    opts.overwrite = true;
    for (int sync = 0; sync < 3; sync++) {
        opts.sync = (enum belay__batch_sync_policy)sync;
        give_numbered(150);
        cr_expect(eq(int, run_it(), 0));
        cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
        cr_expect(eq(u64, result.stats.ok, 150));
        expect_each_once(150);
    }
}
