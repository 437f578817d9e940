/* test_batch_job.c - a batch as a scope in a program of one's own.
 *
 * What a batch does is tested in test_batch_flow.c and its neighbours; here,
 * what its block does.
 */
#include "test/support/batch_scene.h"
#include "test/support/given_scene.h"

#include <belay/batch.h>

#include <stdio.h>

#define LINES 6

static void
set_up(void)
{
    batch_set_up();
    give_numbered(LINES);
}

TestSuite(batch_job, .init = set_up, .fini = batch_tear_down, .timeout = 120);

/* ---- a program with such a block ---- */

struct hosted {
    const char *input;
    uint32_t stop_after; /* lines; 0: never */
    bool fails;          /* the block does */
    bool anew;
    /* what came of it */
    struct belay_batch_report *ret;
    size_t *lines; /* that went well, as on_line was told */
    size_t *looks; /* of on_progress */
    int *wait_code;
    belay_batch *batch;
};

static void
on_line(const struct belay_batch_line *line, void *arg)
{
    struct hosted *host = arg;

    cr_expect(ge(u64, line->number, 1));
    cr_expect(le(u64, line->number, LINES));
    cr_expect(eq(sz, line->custom_id.len, 3), "a digit in quotes");
    cr_expect(eq(int, line->text.data[0], '{'));
    *host->lines += line->ok;
    if (*host->lines == host->stop_after) {
        belay_batch_stop(host->batch);
    }
}

static void
on_progress(const struct belay_batch_report *stands, void *arg)
{
    const struct hosted *host = arg;

    cr_expect(le(u64, stands->ok, LINES));
    ++*host->looks;
}

BELAY_ASYNC(hosted)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_batch_open(task,
        BELAY_BATCH_OPTS(.input_path = self->input, .output_path = output_path,
            .base_url = base_url, .concurrency = 2, .max_retries = -1,
            .overwrite = self->anew, .on_line = on_line,
            .on_progress = on_progress, .arg = self),
        &self->batch)) {
        if (self->fails) {
            BELAY_FAIL(BELAY_EIO, "the host has something else to do");
        }
        BELAY_TRY(belay_batch_wait(task, self->batch));
        *self->wait_code = belay_result(task)->code;
        belay_batch_get_report(self->batch, self->ret);
        if (belay_result(task)->cancelled) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}

static struct belay_batch_report report;
static size_t lines;
static size_t looks;
static int wait_code;

static int
run_hosted(struct hosted arguments)
{
    arguments.input = arguments.input != NULL ? arguments.input : input_path;
    arguments.ret = &report;
    arguments.lines = &lines;
    arguments.looks = &looks;
    arguments.wait_code = &wait_code;
    lines = 0;
    looks = 0;
    return program_run_plain(&hosted, &arguments, NULL);
}

Test(batch_job, b12_b27_lines_and_report_are_the_hosts)
{
    serve(always_ok, 1);
    cr_expect(zero(int, run_hosted((struct hosted){.fails = false})));
    cr_expect(zero(int, wait_code));
    cr_expect(eq(int, report.state, BELAY_BATCH_DONE));
    cr_expect(eq(u64, report.lines, LINES));
    cr_expect(eq(u64, report.ok, LINES));
    cr_expect(zero(u64, report.failed + report.done_before));
    cr_expect(eq(sz, lines, LINES));
    cr_expect(ge(sz, looks, 2), "at the start and at the end");
    cr_expect(zero(int, run_hosted((struct hosted){.fails = false})));
    cr_expect(zero(u64, report.ok));
    cr_expect(eq(u64, report.done_before, LINES));
    cr_expect(zero(sz, lines));
    cr_expect(eq(sz, fault_server_requests(server, NULL), LINES));
}

Test(batch_job, b29_a_callback_may_stop_it)
{
    serve(always_ok, 1);
    cr_expect(zero(int, run_hosted((struct hosted){.stop_after = 1})));
    cr_expect(zero(int, wait_code));
    cr_expect(eq(int, report.state, BELAY_BATCH_STOPPED));
    cr_expect(ge(u64, report.ok, 1));
    cr_expect(lt(u64, report.ok, LINES));
    cr_expect(zero(u64, report.failed));
    cr_expect(zero(int, run_hosted((struct hosted){.fails = false})));
    cr_expect(eq(u64, report.ok + report.done_before, LINES));
}

Test(batch_job, a_block_that_fails_cancels_it_and_the_next_run_goes_on)
{
    serve(always_ok, 1);
    cr_expect(eq(int, run_hosted((struct hosted){.fails = true}), BELAY_EIO));
    cr_expect(zero(int, run_hosted((struct hosted){.fails = false})));
    cr_expect(eq(int, report.state, BELAY_BATCH_DONE));
    cr_expect(eq(u64, report.ok + report.done_before, LINES));
}

Test(batch_job, b31_what_keeps_it_from_beginning_is_told_by_the_wait)
{
    serve(always_ok, 1);
    cr_expect(zero(int, run_hosted((struct hosted){.input = "/nowhere/in"})));
    cr_expect(eq(int, wait_code, BELAY_ENOENT), "%d", wait_code);
    cr_expect(eq(int, report.state, BELAY_BATCH_FAILED));
    cr_expect(eq(int, report.code, BELAY_ENOENT));
}

struct refused {
    const struct belay_batch_opts *opts;
    belay_batch *batch;
};

BELAY_ASYNC(refused)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_batch_open(task, self->opts, &self->batch)) {
        cr_expect(false, "it must not be entered");
    }
    BELAY_END;
}

Test(batch_job, options_that_say_too_little_are_refused)
{
    const struct belay_batch_opts wrong[] = {
        *BELAY_BATCH_OPTS(.output_path = "o", .base_url = "http://127.0.0.1"),
        *BELAY_BATCH_OPTS(.input_path = "i", .base_url = "http://127.0.0.1"),
        *BELAY_BATCH_OPTS(.input_path = "i", .output_path = "o"),
        *BELAY_BATCH_OPTS(.input_path = "i", .output_path = "o",
            .base_url = "u", .overwrite = true, .retry_failed = true),
        {.size = 1, .input_path = "i", .output_path = "o", .base_url = "u"}};

    for (size_t i = 0; i < COUNT(wrong); i++) {
        cr_expect(
            eq(int, RUN(refused, .opts = &wrong[i]), BELAY_EINVAL), "%zu", i);
    }
}

/* ---- what a job is given ---- */

static belay_next
open_given(belay_task *task, struct given *self)
{
    return belay_batch_open(task,
        BELAY_BATCH_OPTS(.input_path = "/nowhere/in",
            .output_path = output_path, .base_url = "http://127.0.0.1:1/v1",
            .prices = self->prices),
        &self->batch);
}

Test(batch_job, prices_are_there_when_it_is_entered)
{
    cr_expect(zero(int, RUN(given, .open = open_given, .with_prices = true)));
    cr_expect(eq(int,
        RUN(given, .open = open_given, .with_prices = true, .drop = true),
        BELAY_ECLOSED));
}

/* ---- sweeps ---- */

static void
begin_anew(const struct belay_result *ended, bool disturbed)
{
    if (!disturbed) {
        cr_expect(zero(int, ended->code));
        cr_expect(eq(u64, report.ok, LINES));
    }
    lines = 0;
    remove_outputs();
}

/* Cancelled at every wait, and without memory at every place. */
Test(batch_job, b10_sweep_of_the_block)
{
    char url[64];
    const int pid = fault_server_start_apart(always_ok, 1, url, sizeof(url));
    const struct hosted arguments = {.input = input_path,
        .anew = true,
        .ret = &report,
        .lines = &lines,
        .looks = &looks,
        .wait_code = &wait_code};
    const struct program program = {
        .function = &hosted, .arguments = &arguments, .check = begin_anew};

    (void)snprintf(base_url, sizeof(base_url), "%s/v1", url);
    cr_expect(gt(sz, sweep_cancels(&program), 10));
    cr_expect(gt(sz, sweep_allocs(&program), 10));
    fault_server_stop_apart(pid);
}
