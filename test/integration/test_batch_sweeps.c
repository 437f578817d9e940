/* test_batch_sweeps.c - a batch that is cancelled, or refused an allocation, at
 * any place.
 */
#include "test/support/batch_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(batch_sweeps, .init = batch_set_up, .fini = batch_tear_down,
    .timeout = 120);

static const struct fault_route sweep_routes[] = {
    FAULT_ON("/v1/3/score", REPLY("400 Bad", "", "{}")),
    FAULT_ON("/v1/5/score", FAULT_DO_CLOSE),
    FAULT_ON("/v1/6/score", REPLY("200 OK", "", "<html>")),
    FAULT_ON(NULL, OK_REPLY)};

/* How many lines the journal says were sent and have no end. */
static size_t
in_doubt(void)
{
    char *journal = test_file_read("out.state");
    size_t count = 0;

    for (int line = 1; line <= 10; line++) {
        char kind = ' '; /* of the last record about the line */

        for (char *at = strchr(journal, '\n'); at != NULL && at[1] != '\0';
             at = strchr(at + 1, '\n')) {
            if (strtol(at + 2, NULL, 10) == line) {
                kind = at[1];
            }
        }
        count += kind == 's' || kind == 'a';
    }
    return count;
}

/* However a run has ended: whole lines, none twice, and the counts agree. What
 * was not sent is not in doubt, although the journal may have announced it.
 */
static void
check_files(const struct belay_result *ended, bool disturbed)
{
    size_t lines;

    output = test_file_read("out");
    errors = test_file_read("err");
    lines = expect_whole(output) + expect_whole(errors);
    for (int i = 0; i < 10; i++) {
        char wanted[64];
        char *first;

        (void)snprintf(wanted, sizeof(wanted), "\"custom_id\":\"%d\"", i);
        first = strstr(output, wanted);
        if (first != NULL) {
            cr_expect(eq(ptr, strstr(first + 1, wanted), NULL));
            cr_expect(eq(ptr, strstr(errors, wanted), NULL));
        } else if ((first = strstr(errors, wanted)) != NULL) {
            cr_expect(eq(ptr, strstr(first + 1, wanted), NULL));
        }
    }
    cr_expect(eq(u64, result.stats.in_flight, 0));
    cr_expect(eq(u64, result.stats.retrying, 0));
    cr_expect(eq(u64, lines, result.stats.ok + result.stats.failed));
    cr_expect(eq(u64, result.stats.lines, lines + result.stats.dropped));
    cr_expect(le(u64, in_doubt() + lines, result.stats.sent));
    if (!disturbed) {
        cr_expect(eq(int, ended->code, 0));
        cr_expect(eq(sz, lines, 10));
        cr_expect(eq(u64, result.stats.ok, 7));
    }
    result = (struct belay__batch_result){0};
    /* The next run begins with nothing, also if it fails before it begins. */
    remove_outputs();
}

static void
sweep_ten(size_t (*sweep_fn)(const struct program *program))
{
    opts.concurrency = 3;
    opts.max_retries = 1;
    give_numbered(10);
    sweep_batch(sweep_fn, sweep_routes, COUNT(sweep_routes), check_files);
}

Test(batch_sweeps, b8_b10_every_cancel_leaves_whole_lines_and_nothing_open)
{
    sweep_ten(sweep_cancels);
}

/* Of two models one has most of the lines: they are put off, and read again. */
static void
sweep_two_models(size_t (*sweep_fn)(const struct program *program))
{
    char text[2048] = "";
    size_t len = 0;

    for (int i = 0; i < 10; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":"
            "\"/v1/%d/score\",\"body\":{\"model\":\"%s\"}}\n",
            i, i, i % 5 == 0 ? "seldom" : "often");
    }
    give(text);
    opts.concurrency = 2;
    opts.max_retries = 1;
    sweep_batch(sweep_fn, sweep_routes, COUNT(sweep_routes), check_files);
}

Test(batch_sweeps, b8_b25_every_cancel_while_lines_are_put_off)
{
    sweep_two_models(sweep_cancels);
}

Test(batch_sweeps, b8_b25_every_refused_allocation_while_lines_are_put_off)
{
    sweep_two_models(sweep_allocs);
}

Test(batch_sweeps, b2_b8_b9_every_cancel_in_input_order_checked_first)
{
    opts.window = 4;
    opts.strict = true;
    sweep_ten(sweep_cancels);
}

Test(batch_sweeps, b8_b10_every_refused_allocation_leaves_whole_lines)
{
    sweep_ten(sweep_allocs);
}

Test(batch_sweeps,
    b2_b8_b9_every_refused_allocation_in_input_order_checked_first)
{
    opts.window = 4;
    opts.strict = true;
    opts.sync = BELAY__BATCH_SYNC_LINE;
    sweep_ten(sweep_allocs);
}
