/* test_batch_flow.c - order, bounds, and where lines come from. */
#include "test/support/batch_scene.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(
    batch_flow, .init = batch_set_up, .fini = batch_tear_down, .timeout = 120);

/* ---- order and flow ---- */

Test(batch_flow, b8_each_line_is_tried_once_and_is_in_one_file)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/3/score", REPLY("400 Bad", "", "{}")),
        FAULT_ON("/v1/5/score", REPLY("500 Oh", "", "{}")),
        FAULT_ON("/v1/5/score", OK_REPLY),
        FAULT_ON("/v1/7/score", FAULT_DO_CLOSE), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 7;
    give_numbered(300);
    cr_expect(eq(int, run_it(), 0));
    expect_each_once(300);
    cr_expect(eq(u64, result.stats.ok, 298));
    cr_expect(eq(u64, result.stats.failed, 2));
    cr_expect(eq(u64, result.stats.sent, 300));
    cr_expect(eq(u64, result.stats.dropped, 0));
    /* One more for line 5, five more for line 7, which never succeeds. */
    cr_expect(eq(sz, fault_server_requests(server, NULL), 306));
    cr_expect(eq(u64, result.stats.retries, 6));
}

static struct fault_route *
shuffled_routes(size_t count, char (*paths)[32])
{
    struct fault_route *routes = calloc(count, sizeof(*routes));

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(paths[i], sizeof(paths[i]), "/v1/%zu/score", i);
        routes[i] = (struct fault_route)FAULT_ON(
            paths[i], FAULT_DO_SLEEP((uint32_t)(i * 7 % 13)), OK_REPLY);
    }
    return routes;
}

Test(batch_flow, b9_order_of_the_input_under_shuffled_latencies)
{
    static char paths[60][32];
    struct fault_route *routes = shuffled_routes(60, paths);
    char *at;

    serve(routes, 60);
    opts.concurrency = 16;
    for (size_t window = 1; window <= 64; window *= 4) {
        opts.window = window;
        opts.overwrite = true;
        give_numbered(60);
        cr_expect(eq(int, run_it(), 0));
        cr_expect(eq(u64, result.stats.ok, 60));
        at = output;
        for (size_t i = 0; i < 60; i++) {
            char wanted[64];

            (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%zu\"", i);
            at = strstr(at, wanted);
            cr_assert(ne(ptr, at, NULL), "window %zu, line %zu", window, i);
        }
    }
    fault_server_stop(server);
    server = NULL;
    free(routes);
}

static size_t seen;

/* The first line hangs: so many others may be let in, and no more. */
static void
look_at_window(int round, bool *done)
{
    const size_t requests = fault_server_requests(server, NULL);

    cr_expect(le(sz, requests, 5));
    cr_expect(le(u64, result.stats.lines, 5));
    seen = requests == 5 ? seen + 1 : 0;
    if (seen > 100) {
        fault_server_open_gate(server);
        *done = true;
    }
    (void)round;
}

Test(batch_flow, b9_b20_a_full_window_stops_admission)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/0/score", FAULT_DO_GATE(1), OK_REPLY),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 16;
    opts.window = 5;
    give_numbered(40);
    cr_expect(eq(int, run_beside(look_at_window), 0));
    cr_expect(eq(u64, result.stats.ok, 40));
    expect_each_once(40);
}

/* Nothing answers: the reader stops with two lines a worker waiting. */
static void
look_at_reader(int round, bool *done)
{
    cr_expect(le(u64, result.stats.lines, 3 * 4));
    cr_expect(le(u64, result.stats.in_flight, 4));
    seen = result.stats.lines == 3 * 4 ? seen + 1 : 0;
    if (seen > 100) {
        fault_server_open_gate(server);
        *done = true;
    }
    (void)round;
}

Test(batch_flow, b20_the_reader_stops_when_enough_lines_wait)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 4;
    give_numbered(200);
    cr_expect(eq(int, run_beside(look_at_reader), 0));
    cr_expect(eq(u64, result.stats.ok, 200));
    expect_each_once(200);
}

/* Long lines count by their bytes too: eight of 5 MiB are not held at once. */
static void
look_at_bytes(int round, bool *done)
{
    cr_expect(lt(sz, test_alloc_live_bytes(), (size_t)64 << 20));
    seen = fault_server_requests(server, NULL) == 2 ? seen + 1 : 0;
    if (seen > 50) {
        fault_server_open_gate(server);
        *done = true;
    }
    (void)round;
}

Test(batch_flow, b20_b21_waiting_lines_are_bounded_in_bytes)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};
    FILE *file = open_input();
    char *big = malloc((size_t)5 << 20);

    memset(big, 'x', (size_t)5 << 20);
    for (int i = 0; i < 12; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":\"" CHAT
            "\",\"body\":{\"a\":\"%.*s\"}}\n",
            i, 5 << 20, big);
    }
    cr_assert(eq(int, fclose(file), 0));
    free(big);
    serve(routes, COUNT(routes));
    opts.concurrency = 2;
    cr_expect(eq(int, run_beside(look_at_bytes), 0));
    cr_expect(eq(u64, result.stats.ok, 12));
    expect_each_once(12);
}

/* Somebody pipes lines in, a hundred thousand of them, none of them any good,
 * so that only the reader and the writer work.
 */
static void *
pour(void *arg)
{
    FILE *file = fdopen(*(int *)arg, "w");

    for (int i = 0; i < 100000; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"request-%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/files\",\"body\":{\"messages\":\"some text or other\"}}\n",
            i);
    }
    (void)fclose(file);
    return NULL;
}

struct watch_memory {
    size_t *ret_peak;
};

BELAY_ASYNC(watch_memory)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    BELAY_BEGIN;
    BELAY_AWAIT(belay__batch_run(task, &opts, &result));
    cr_assert(
        eq(int, belay_runtime_get_stats(belay_task_runtime(task), &stats), 0));
    *self->ret_peak = stats.memory_peak_bytes;
    BELAY_END;
}

Test(batch_flow, b20_b21_memory_does_not_grow_with_the_input)
{
    const int saved = dup(STDIN_FILENO);
    struct belay_result ended = {0};
    pthread_t thread;
    size_t peak = 0;
    int ends[2];

    serve(always_ok, 1);
    cr_assert(eq(int, pipe(ends), 0));
    cr_assert(eq(int, dup2(ends[0], STDIN_FILENO), STDIN_FILENO));
    cr_assert(eq(int, pthread_create(&thread, NULL, pour, &ends[1]), 0));
    opts.input_path = "-";
    cr_expect(eq(int,
        program_run(&(const struct program){.function = &watch_memory,
                        .arguments = &(const struct watch_memory){&peak}},
            &ended),
        0));
    belay_error_unref(ended.error);
    errors = test_file_read("err"); /* too much for more than counting */
    cr_assert(eq(int, pthread_join(thread, NULL), 0));
    cr_assert(eq(int, dup2(saved, STDIN_FILENO), STDIN_FILENO));
    (void)close(saved);
    (void)close(ends[0]);
    cr_expect(eq(u64, result.stats.failed, 100000));
    cr_expect(eq(sz, count_lines(errors), 100000));
    cr_expect(lt(sz, peak, (size_t)1 << 20), "%zu", peak);
}

/* Standard input stays as it was: it is shared with whoever started us. */
Test(batch_flow, standard_input_is_left_blocking)
{
    const int saved = dup(STDIN_FILENO);
    int ends[2];

    serve(always_ok, 1);
    cr_assert(eq(int, pipe(ends), 0));
    cr_assert(eq(int, dup2(ends[0], STDIN_FILENO), STDIN_FILENO));
    (void)close(ends[1]);
    opts.input_path = "-";
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(int, fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0));
    cr_assert(eq(int, dup2(saved, STDIN_FILENO), STDIN_FILENO));
    (void)close(saved);
    (void)close(ends[0]);
}

static void *
pour_into_fifo(void *arg)
{
    FILE *file = open_input();

    (void)arg;
    (void)fputs(REQUEST("a", CHAT, "{}"), file);
    (void)fclose(file);
    return NULL;
}

static void
cancel_later(int round, bool *done)
{
    if (round == 20) {
        (void)belay_task_cancel(running_task, "nobody writes");
        *done = true;
    }
}

/* A FIFO that nobody has opened yet must not stall the loop. */
Test(batch_flow, a_fifo_is_read_when_somebody_writes)
{
    pthread_t thread;

    serve(always_ok, 1);
    cr_assert(eq(int, mkfifo(input_path, 0600), 0));
    (void)run_beside(cancel_later);
    expect_text(output, "");
    opts.running = NULL;
    opts.overwrite = true;
    cr_assert(eq(int, pthread_create(&thread, NULL, pour_into_fifo, NULL), 0));
    cr_expect(eq(int, run_it(), 0));
    cr_assert(eq(int, pthread_join(thread, NULL), 0));
    cr_expect(eq(u64, result.stats.ok, 1));
}

/* ---- progress ---- */

static size_t reports;
static struct belay__batch_stats last_report;

static void
note_progress(const struct belay__batch_stats *stats, int64_t now_ns, void *arg)
{
    cr_expect(eq(ptr, arg, &reports));
    cr_expect(ge(i64, now_ns, stats->started_ns));
    reports++;
    last_report = *stats;
}

Test(batch_flow, b30_progress_is_told_at_the_start_and_at_the_end)
{
    serve(always_ok, 1);
    opts.progress = note_progress;
    opts.arg = &reports;
    give_numbered(10);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(ge(sz, reports, 2));
    cr_expect(eq(u64, last_report.ok, 10));
    cr_expect(eq(u64, last_report.in_flight, 0));
    cr_expect(gt(i64, last_report.ended_ns, 0));
    cr_expect(eq(u64, last_report.input_bytes, last_report.input_size));
}
