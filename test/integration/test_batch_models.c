/* test_batch_models.c - several models in one batch: none holds up another. */
#include "test/support/batch_scene.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(batch_models, .init = batch_set_up, .fini = batch_tear_down,
    .timeout = 120);

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
    char name[16];

    for (int i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "name-%d", i);
        give_line(file, name);
    }
}

static FILE *
open_input(void)
{
    FILE *file = fopen(input_path, "w");

    cr_assert(ne(ptr, file, NULL));
    return file;
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

Test(batch_models, b25_models_that_are_done_keep_no_places)
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
Test(batch_models, b25_half_of_the_places_are_kept_for_nobody)
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
