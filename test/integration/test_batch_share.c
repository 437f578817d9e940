/* test_batch_share.c - several models in one batch: none holds up another. */
#include "llm/batch/models.h"
#include "test/support/alloc.h"
#include "test/support/batch_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(
    batch_share, .init = batch_set_up, .fini = batch_tear_down, .timeout = 120);

static int lines_given;

static void
give_line(FILE *file, const char *model)
{
    (void)fprintf(file,
        "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
        "\"/v1/%s/score\",\"body\":{\"model\":\"%s\"}}\n",
        lines_given++, model, model);
}

static void
give_lines(FILE *file, int count, const char *model)
{
    while (count-- > 0) {
        give_line(file, model);
    }
}

/* As many models as lines. */
static void
give_names(FILE *file, int count)
{
    char name[32];

    for (int i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "name-%d", i);
        give_line(file, name);
    }
}

/* ---- places ---- */

static uint64_t wanted_in_flight;
static FILE *input_end; /* of a pipe, to be closed then */

static void
open_when_enough_are_in_flight(int round, bool *done)
{
    (void)round;
    if (result.stats.ok >= 70 && result.stats.in_flight >= wanted_in_flight) {
        fault_server_open_gate(server);
        if (input_end != NULL) {
            (void)fclose(input_end);
        }
        *done = true;
    }
}

static const struct fault_route busy_model[] = {
    FAULT_ON("/v1/busy/score", FAULT_DO_GATE(1), OK_REPLY),
    FAULT_ON(NULL, OK_REPLY)};

Test(batch_share, b25_models_that_are_done_keep_no_places)
{
    FILE *file = open_input();

    serve(busy_model, COUNT(busy_model));
    opts.concurrency = 64;
    opts.start = 64;
    give_names(file, 70);
    give_lines(file, 1500, "busy");
    cr_assert(eq(int, fclose(file), 0));
    wanted_in_flight = 64;
    cr_expect(eq(int, run_beside(open_when_enough_are_in_flight), 0));
    cr_expect(eq(u64, result.stats.ok, 1570));
    expect_each_once(1570);
}

/* More may come of each of them, soon. */
Test(batch_share, b25_half_of_the_places_are_kept_for_nobody)
{
    const int saved = dup(STDIN_FILENO);
    FILE *file;
    int ends[2];

    serve(busy_model, COUNT(busy_model));
    cr_assert(eq(int, pipe(ends), 0));
    cr_assert(eq(int, dup2(ends[0], STDIN_FILENO), STDIN_FILENO));
    file = fdopen(ends[1], "w");
    opts.input_path = "-";
    opts.concurrency = 64;
    opts.start = 64;
    give_names(file, 70);
    give_lines(file, 100, "busy");
    cr_assert(eq(int, fflush(file), 0));
    wanted_in_flight = 32;
    input_end = file;
    cr_expect(eq(int, run_beside(open_when_enough_are_in_flight), 0));
    cr_assert(eq(int, dup2(saved, STDIN_FILENO), STDIN_FILENO));
    (void)close(saved);
    (void)close(ends[0]);
    cr_expect(eq(u64, result.stats.ok, 170));
    expect_each_once(170);
}

/* ---- lines that wait ---- */

static uint64_t wanted_ok;

static void
open_when_enough_are_done(int round, bool *done)
{
    (void)round;
    if (result.stats.ok == wanted_ok) {
        fault_server_open_gate(server);
        *done = true;
    }
}

static const struct fault_route slow_model[] = {
    FAULT_ON("/v1/slow/score", FAULT_DO_GATE(1), OK_REPLY),
    FAULT_ON(NULL, OK_REPLY)};

/* Each model has its share of the bytes that may wait. */
Test(batch_share, b25_long_lines_of_a_slow_model_hold_up_no_other)
{
    const size_t len = (size_t)5 << 20;
    char *big = calloc(1, len + 1);
    FILE *file = open_input();

    serve(slow_model, COUNT(slow_model));
    memset(big, 'x', len);
    give_line(file, "fast");
    for (int i = 0; i < 10; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/slow/score\",\"body\":{\"model\":\"slow\",\"a\":\"%s\"}}\n",
            lines_given++, big);
    }
    give_lines(file, 20, "fast");
    cr_assert(eq(int, fclose(file), 0));
    free(big);
    wanted_ok = 21;
    cr_expect(eq(int, run_beside(open_when_enough_are_done), 0));
    cr_expect(eq(u64, result.stats.ok, 31));
    expect_each_once(31);
}

#define REFUSED(name_)              \
    FAULT_ON("/v1/" name_ "/score", \
        REPLY("429 Too Many Requests", "Retry-After: 100\r\n", "{}"))
#define REFUSED_8(name_)                                            \
    REFUSED(name_), REFUSED(name_), REFUSED(name_), REFUSED(name_), \
        REFUSED(name_), REFUSED(name_), REFUSED(name_), REFUSED(name_)
#define REFUSES_AT_FIRST(name_) \
    REFUSED_8(name_), FAULT_ON("/v1/" name_ "/score", OK_REPLY)

/* Of five models four refuse what they are asked at once, and are left alone
 * for some time: all lines of the fifth are done by then.
 */
Test(batch_share, b25_models_that_refuse_hold_up_no_other)
{
    static const struct fault_route routes[] = {REFUSES_AT_FIRST("0"),
        REFUSES_AT_FIRST("1"), REFUSES_AT_FIRST("2"), REFUSES_AT_FIRST("3"),
        FAULT_ON("/v1/4/score", OK_REPLY)};
    FILE *file = open_input();
    const char *at;
    bool others = false;

    serve(routes, COUNT(routes));
    opts.concurrency = 64;
    for (int i = 0; i < 1000; i++) {
        give_line(file, ((const char *[]){"0", "1", "2", "3", "4"})[i % 5]);
    }
    cr_assert(eq(int, fclose(file), 0));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 1000));
    expect_each_once(1000);
    at = output;
    while ((at = strstr(at, "\"custom_id\":\"")) != NULL) {
        const long id = strtol(at += strlen("\"custom_id\":\""), NULL, 10);

        cr_expect(id % 5 != 4 || !others, "%ld", id);
        others |= id % 5 != 4;
    }
}

/* … in a file in which one model comes after the other. */
Test(batch_share, b25_a_model_behind_all_lines_of_a_slow_one_is_found)
{
    FILE *file = open_input();

    serve(slow_model, COUNT(slow_model));
    opts.concurrency = 64;
    give_lines(file, 1000, "slow");
    give_lines(file, 50, "fast");
    cr_assert(eq(int, fclose(file), 0));
    wanted_ok = 50;
    cr_expect(eq(int, run_beside(open_when_enough_are_done), 0));
    cr_expect(eq(u64, result.stats.ok, 1050));
    expect_each_once(1050);
}

Test(batch_share, b25_a_model_behind_all_lines_of_one_that_refuses_is_found)
{
    static const struct fault_route routes[] = {
        REFUSES_AT_FIRST("0"), FAULT_ON("/v1/4/score", OK_REPLY)};
    FILE *file = open_input();

    serve(routes, COUNT(routes));
    opts.concurrency = 64;
    give_lines(file, 1000, "0");
    give_lines(file, 500, "4");
    cr_assert(eq(int, fclose(file), 0));
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 1500));
    expect_each_once(1500);
    cr_expect(lt(ptr, strstr(output, "\"custom_id\":\"1499\""),
        strstr(output, "\"custom_id\":\"1\"")));
}

/* ---- how far the reader goes ---- */

static uint64_t lines_expected;
static int rounds_without_more;

static void
interrupt_when_no_more_is_read(int round, bool *done)
{
    static uint64_t last;

    (void)round;
    cr_expect(le(u64, result.stats.lines, lines_expected));
    cr_expect(lt(sz, test_alloc_live_bytes(), (size_t)8 << 20));
    rounds_without_more =
        result.stats.lines == last ? rounds_without_more + 1 : 0;
    last = result.stats.lines;
    if (last > lines_expected - 16 && rounds_without_more > 100) {
        belay__batch_interrupt(running);
        fault_server_open_gate(server);
        *done = true;
    }
}

static const struct fault_route all_slow[] = {
    FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};

/* All workers are busy: no other line could be sent anyway. */
Test(batch_share, b20_busy_workers_need_no_look_ahead)
{
    FILE *file = open_input();

    serve(all_slow, COUNT(all_slow));
    opts.concurrency = 64;
    opts.start = 64;
    for (int i = 0; i < 3000; i++) {
        give_line(file, ((const char *[]){"0", "1", "2"})[i % 3]);
    }
    cr_assert(eq(int, fclose(file), 0));
    lines_expected = 3 * 64;
    cr_expect(eq(int, run_beside(interrupt_when_no_more_is_read), 0));
    cr_expect(eq(u64, result.stats.ok, 64));
}

/* 56 of 64 workers have nothing to do, and there is nothing for them. */
Test(batch_share, b20_b25_the_look_ahead_for_another_model_has_an_end)
{
    FILE *file = open_input();

    serve(all_slow, COUNT(all_slow));
    opts.concurrency = 64;
    give_lines(file, 40000, "slow");
    give_lines(file, 100, "fast");
    cr_assert(eq(int, fclose(file), 0));
    lines_expected = BELAY__PUT_OFF_MAX + 2 * 64 + 8;
    cr_expect(eq(int, run_beside(interrupt_when_no_more_is_read), 0));
    cr_expect(eq(u64, result.stats.ok, 8));
    cr_expect(eq(u64, result.stats.dropped, lines_expected - 8));
}
