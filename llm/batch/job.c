/* job.c - a batch as a scope of a host's.
 *
 * A generator manager whose inner block is a group of one task, the batch. How
 * it has ended is kept beside the task, so that a batch that cannot begin is
 * told to whoever waits for it and not to the block.
 */
#include <belay/batch.h>

#include <belay/async.h>
#include <belay/group.h>
#include <belay/managers.h>
#include <belay/sync.h>

#include "llm/batch/batch.h"
#include "llm/money/prices.h"
#include "runtime/internal.h"

struct belay_batch {
    struct belay__memory *memory;
    uint32_t refs; /* of its block and of those who wait */
    struct belay_batch_opts opts;
    struct belay__batch_opts job;
    struct belay__batch_result result;
    struct belay__batch *running;
    belay_group *group;
    struct belay_event ended;
    int code; /* of what has kept it from beginning */
    belay_error *error;
};

/* ---- callbacks ---- */

static void
on_line(const struct belay__batch_written *line, void *arg)
{
    const belay_batch *batch = arg;

    batch->opts.on_line(
        &(const struct belay_batch_line){
            .number = line->number,
            .custom_id = line->custom_id,
            .ok = line->ok,
            .text = line->text,
        },
        batch->opts.arg);
}

static void
on_progress(const struct belay__batch_stats *stats, int64_t now_ns, void *arg)
{
    const belay_batch *batch = arg;
    struct belay_batch_report report;

    (void)stats;
    (void)now_ns;
    belay_batch_get_report(batch, &report);
    batch->opts.on_progress(&report, batch->opts.arg);
}

/* ---- the report ---- */

static enum belay_batch_state
state_of(const belay_batch *batch)
{
    if (batch->result.stats.ended_ns == 0) {
        return batch->ended.set ? BELAY_BATCH_FAILED : BELAY_BATCH_RUNNING;
    }
    switch (batch->result.stop) {
    case BELAY__BATCH_DONE:
        return BELAY_BATCH_DONE;
    case BELAY__BATCH_INTERRUPTED:
        return BELAY_BATCH_STOPPED;
    case BELAY__BATCH_REFUSED:
        return BELAY_BATCH_REFUSED;
    case BELAY__BATCH_CONGESTED:
        return BELAY_BATCH_CONGESTED;
    case BELAY__BATCH_BUDGET:
        return BELAY_BATCH_NO_BUDGET;
    case BELAY__BATCH_EXPIRED:
        return BELAY_BATCH_EXPIRED;
    case BELAY__BATCH_NO_INPUT:
    case BELAY__BATCH_NO_OUTPUT:
    case BELAY__BATCH_NO_MEMORY:
        break;
    }
    return BELAY_BATCH_FAILED;
}

void
belay_batch_get_report(const belay_batch *batch, struct belay_batch_report *ret)
{
    const struct belay__batch_stats *stats = &batch->result.stats;

    *ret = (struct belay_batch_report){
        .state = state_of(batch),
        .lines = stats->lines,
        .ok = stats->ok,
        .failed = stats->failed,
        .done_before = stats->resumed,
        .failed_before = stats->resumed_failed,
        .not_tried = stats->dropped - stats->cut,
        .in_doubt = stats->in_doubt,
        .retries = stats->retries,
        .in_flight = stats->in_flight,
        .tokens_in = stats->tokens_in,
        .tokens_out = stats->tokens_out,
        .spent = belay_money_sum(
            (belay_money){stats->spent}, (belay_money){stats->spent_before}),
        .uncertain = belay_money_sum((belay_money){stats->uncertain},
            (belay_money){stats->uncertain_before}),
    };
    if (ret->state == BELAY_BATCH_FAILED) {
        ret->code = batch->code < 0 ? batch->code : batch->result.stop_code;
    }
}

void
belay_batch_stop(belay_batch *batch)
{
    if (batch->running != NULL) {
        belay__batch_interrupt(batch->running);
    } else if (!batch->ended.set) {
        belay_group_cancel(batch->group, "stopped before it had begun");
    }
}

/* ---- waiting ---- */

static void
batch_unref(belay_batch *batch)
{
    if (batch == NULL || --batch->refs > 0) {
        return;
    }
    belay_error_unref(batch->error);
    belay_prices_unref(batch->opts.prices);
    belay__free(batch->memory, batch, sizeof(*batch));
}

struct wait_call {
    belay_batch *batch; /* a reference */
};

static belay_next
tell_end(belay_task *task, const belay_batch *batch)
{
    if (belay_result(task)->code < 0) {
        return belay_pass(task); /* of the wait */
    }
    return batch->error != NULL
               ? belay_fail_with(task, belay_error_ref(batch->error))
           : batch->code < 0 ? belay_fail(task, batch->code, NULL)
                             : belay_return(task, NULL);
}

BELAY_ASYNC(wait_call)
{
    belay_next next;

    BELAY_BEGIN;
    BELAY_TRY(belay_event_wait(task, &self->batch->ended));
    next = tell_end(task, self->batch);
    batch_unref(self->batch);
    return next;
    BELAY_END;
}

belay_next
belay_batch_wait(belay_task *task, belay_batch *batch)
{
    const belay_next next = BELAY_CALL(wait_call, .batch = batch);

    if (next.how == BELAY__HOW_CALL) {
        batch->refs++; /* its first step may be a turn away */
    }
    return next;
}

/* ---- the scope ---- */

struct job {
    belay_batch *batch;
};

BELAY_ASYNC(job)
{
    belay_batch *batch = self->batch;

    BELAY_BEGIN;
    BELAY_TRY(belay__batch_run(task, &batch->job, &batch->result));
    batch->code = belay_result(task)->code;
    batch->error = belay_error_ref(belay_result(task)->error);
    belay_event_set(&batch->ended);
    if (belay_result(task)->cancelled) {
        return belay_pass(task);
    }
    BELAY_END;
}

struct batch_scope {
    belay_batch *batch;
    struct belay_batch_opts opts;
    /* Of those in opts; {0, 0} if they are another runtime's, whose lives are
     * not known here.
     */
    struct belay__life prices;
    belay_batch **ret;
};

static struct belay__batch_opts
job_of(belay_batch *batch)
{
    const struct belay_batch_opts *opts = &batch->opts;

    return (struct belay__batch_opts){
        .input_path = opts->input_path,
        .output_path = opts->output_path,
        .errors_path = opts->errors_path,
        .base_url = opts->base_url,
        .api_key = opts->api_key,
        .model = opts->model,
        .concurrency = opts->concurrency,
        .start = opts->start,
        .max_retries = opts->max_retries,
        .timeout = opts->timeout,
        .drain_timeout = opts->drain_timeout,
        .expire = opts->expire,
        .patience = opts->patience,
        .budget = opts->budget,
        .prices = opts->prices,
        .default_output_cap = opts->output_cap,
        .requests_per_minute = opts->requests_per_minute,
        .tokens_per_minute = opts->tokens_per_minute,
        .in_doubt = (enum belay__batch_doubt)opts->in_doubt,
        .overwrite = opts->overwrite,
        .retry_failed = opts->retry_failed,
        .emit_skipped = opts->emit_skipped,
        .allow_plain_http = opts->allow_plain_http,
        .written = opts->on_line != NULL ? on_line : NULL,
        .progress = opts->on_progress != NULL ? on_progress : NULL,
        .progress_interval = opts->progress_interval,
        .arg = batch,
        .running = &batch->running,
    };
}

static belay_batch *
batch_new(struct belay__memory *memory, const struct belay_batch_opts *opts)
{
    belay_batch *batch = belay__alloc_zero(memory, sizeof(*batch));

    if (batch != NULL) {
        batch->memory = memory;
        batch->refs = 1;
        batch->opts = *opts;
        (void)belay_prices_ref(opts->prices);
        batch->job = job_of(batch);
    }
    return batch;
}

static void
scope_free(void *arg)
{
    const struct batch_scope *scope = arg;

    batch_unref(scope->batch);
}

static belay_next
scope_after(belay_task *task, void *self)
{
    (void)self;
    return belay_pass(task);
}

static belay_next
scope_left(belay_task *task, void *self)
{
    struct batch_scope *scope = self;

    if (belay_result(task)->code < 0) {
        belay_group_cancel(scope->batch->group, "its block has failed");
    }
    return belay_return(task, NULL);
}

static belay_next
scope_opened(belay_task *task, void *self)
{
    struct batch_scope *scope = self;
    const int code =
        belay_spawn(scope->batch->group, job, .batch = scope->batch);

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    *scope->ret = scope->batch;
    return belay_then(task, scope_left, belay_yield(task, scope->batch));
}

/* The batch is freed however this frame ends. */
static belay_next
scope_deferred(belay_task *task, void *self)
{
    struct batch_scope *scope = self;

    if (scope->prices.place != 0 && !belay__is_there(task, scope->prices)) {
        return belay_fail(
            task, BELAY_ECLOSED, "batch cannot begin: the prices are gone");
    }
    scope->batch = batch_new(belay_task_runtime(task)->memory, &scope->opts);
    if (scope->batch == NULL) {
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    return belay_with(task,
        belay_group_open(
            task, BELAY_GROUP_OPTS(.name = "batch job"), &scope->batch->group),
        scope_opened, scope_after);
}

static const char *
check_opts(const struct belay_batch_opts *opts)
{
    if (opts->input_path == NULL || opts->output_path == NULL) {
        return "no input or no output is given";
    }
    if (opts->overwrite && opts->retry_failed) {
        return "overwrite and retry_failed exclude each other";
    }
    return opts->base_url == NULL ? "no base_url is given" : NULL;
}

static belay_next
scope_enter(belay_task *task, void *self)
{
    struct batch_scope *scope = self;
    const char *why = check_opts(&scope->opts);

    if (why != NULL) {
        return belay_fail(task, BELAY_EINVAL, "batch cannot begin: %s", why);
    }
    return belay_with(task, belay_defer(task, scope_free, scope),
        scope_deferred, scope_after);
}

belay_next
belay_batch_open(
    belay_task *task, const struct belay_batch_opts *opts, belay_batch **ret)
{
    static const belay_manager manager = {
        {"batch job", __FILE__, sizeof(struct batch_scope), scope_enter, 0},
        NULL};
    struct batch_scope scope = {.ret = ret};

    if (opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    scope.opts = *opts;
    if (opts->prices != NULL && opts->prices->memory == task->runtime->memory) {
        scope.prices = opts->prices->life;
    }
    return belay_enter(task, &manager, &scope);
}
