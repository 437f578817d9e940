/* run.c - a batch as a scope: what it opens, its tasks, its end. */
#include "llm/batch/batch.h"

#include "llm/batch/file.h"
#include "llm/batch/pipeline.h"
#include "llm/batch/strict.h"
#include "llm/client.h"

#include <belay/timeout.h>
#include <belay/uv.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/internal.h"

#define CONCURRENCY 64
#define MAX_RETRIES 5
#define PROGRESS_INTERVAL_MS 250
#define DRAIN_S 120
#define PATIENCE_S 3600

/* Lines that were tried and have no answer when the workers are cancelled: what
 * they held may have been charged. Where there is a journal they are in doubt,
 * and the next run goes on with them, unless every line is to be in a file.
 */
static void
end_active(struct belay__batch *batch)
{
    struct belay__item *item;

    while ((item = batch->active.first) != NULL) {
        (void)belay__batch_settle(batch, item, BELAY_LLM_BILLED_UNKNOWN, NULL);
        if (batch->leaving == BELAY__LINE_EXPIRED) {
            belay__batch_leave(batch, &item->ref);
        } else if (batch->state.fd >= 0 && batch->leaving == BELAY__LINE_OK) {
            batch->stats->cut++;
            batch->stats->dropped++;
        } else {
            belay__batch_write_error(batch, &item->ref, BELAY__LINE_CANCELLED,
                "the batch was cancelled before there was an answer");
        }
        belay__schedule_free(batch, &batch->active, item);
    }
    belay_event_set(&batch->moved);
}

/* ---- opening and closing ---- */

static void
set_defaults(struct belay__batch_opts *opts)
{
    if (opts->concurrency == 0) {
        opts->concurrency = CONCURRENCY;
    }
    if (opts->max_retries == 0) {
        opts->max_retries = MAX_RETRIES;
    }
    if (opts->max_line_bytes == 0) {
        opts->max_line_bytes = (size_t)64 << 20;
    }
    if (opts->max_reply_bytes == 0) {
        opts->max_reply_bytes = (size_t)64 << 20;
    }
    if (opts->timeout.ns == 0) {
        opts->timeout = BELAY_FOREVER;
    }
    if (opts->patience.ns == 0) {
        opts->patience = belay_seconds(PATIENCE_S);
    }
    if (opts->drain_timeout.ns == 0) {
        opts->drain_timeout = belay_seconds(DRAIN_S);
    }
    if (opts->progress_interval.ns == 0) {
        opts->progress_interval = belay_milliseconds(PROGRESS_INTERVAL_MS);
    }
}

static int
open_input(struct belay__batch *batch)
{
    const char *path = batch->opts.input_path;
    struct stat info;

    if (strcmp(path, "-") == 0) {
        batch->input_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    } else {
        /* A FIFO is opened without waiting for whoever writes to it. */
        batch->input_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    }
    if (batch->input_fd < 0 || fstat(batch->input_fd, &info) < 0) {
        return -errno;
    }
    if (S_ISDIR(info.st_mode)) {
        return -EISDIR;
    }
    if (S_ISREG(info.st_mode)) {
        batch->stats->input_size = (uint64_t)info.st_size;
        batch->rereadable = strcmp(path, "-") != 0;
    }
    batch->input_flags = fcntl(batch->input_fd, F_GETFL);
    return 0;
}

/* Would writing to this path destroy the input? */
static bool
is_input(const struct belay__batch *batch, const char *path)
{
    struct stat input;
    struct stat other;

    return path != NULL && strcmp(path, "-") != 0
           && fstat(batch->input_fd, &input) == 0 && stat(path, &other) == 0
           && S_ISREG(input.st_mode) && input.st_dev == other.st_dev
           && input.st_ino == other.st_ino;
}

static void
batch_close(struct belay__batch *batch)
{
    belay__models_fini(&batch->models, batch->memory);
    belay__sleepers_fini(&batch->sleepers, batch->memory);
    belay_budget_unref(batch->budget);
    belay__batch_writer_close(&batch->writer);
    belay__batch_state_close(&batch->state);
    belay__buffer_fini(&batch->out);
    belay__buffer_fini(&batch->body);
    belay__buffer_fini(&batch->again);
    belay__buffer_fini(&batch->scratch);
    belay__ids_fini(&batch->ids);
    belay__lines_fini(&batch->lines);
    belay__free(batch->memory, batch->chunk, BELAY__BATCH_CHUNK_BYTES);
    if (batch->input_fd >= 0) {
        /* Polling has made it non-blocking, also for whom it is shared with. */
        (void)fcntl(batch->input_fd, F_SETFL, batch->input_flags);
        (void)close(batch->input_fd);
    }
    if (batch->opts.running != NULL) {
        *batch->opts.running = NULL;
    }
}

static int
open_buffers(struct belay__batch *batch)
{
    const struct belay__batch_opts *opts = &batch->opts;

    belay__lines_init(&batch->lines, batch->memory, opts->max_line_bytes);
    belay__buffer_init(&batch->out, batch->memory,
        6 * opts->max_reply_bytes + opts->max_line_bytes
            + BELAY__BATCH_LINE_ROOM);
    belay__buffer_init(&batch->body, batch->memory,
        opts->max_line_bytes + BELAY__BATCH_LINE_ROOM);
    belay__buffer_init(&batch->scratch, batch->memory,
        opts->max_line_bytes + BELAY__BATCH_LINE_ROOM);
    belay__buffer_init(&batch->again, batch->memory,
        opts->max_line_bytes + BELAY__BATCH_CHUNK_BYTES);
    batch->chunk = belay__alloc(batch->memory, BELAY__BATCH_CHUNK_BYTES);
    if (batch->chunk == NULL
        || belay__sleepers_init(&batch->sleepers, batch->memory,
               belay__schedule_items_max(batch))
               < 0) {
        return BELAY_ENOMEM;
    }
    return belay__ids_init(&batch->ids, batch->memory, NULL);
}

static belay_next
open_failed(belay_task *task, struct belay__batch *batch, int code,
    const char *path, const char *why)
{
    batch_close(batch);
    if (why[0] != '\0') {
        return belay_fail(task, code, "%s", why);
    }
    if (path == NULL) {
        return belay_fail(task, code, NULL);
    }
    if (code == BELAY_EBUSY) {
        return belay_fail(task, code,
            "'%s' is there and not empty; --overwrite empties it", path);
    }
    if (code == BELAY_EINVAL) {
        return belay_fail(
            task, code, "'%s' is the input or the other output too", path);
    }
    return belay_fail(
        task, code, "cannot open '%s': %s", path, belay_code_text(code));
}

/* Is there a file at path, or nothing yet? */
static bool
is_file(const char *path)
{
    struct stat info;

    if (strcmp(path, "-") == 0) {
        return false;
    }
    return stat(path, &info) < 0 ? errno == ENOENT : S_ISREG(info.st_mode);
}

/* A file in and files out: what was done can be found again. */
static bool
is_resumable(const struct belay__batch *batch)
{
    const struct belay__batch_opts *opts = &batch->opts;
    struct stat info;

    return fstat(batch->input_fd, &info) == 0 && S_ISREG(info.st_mode)
           && strcmp(opts->input_path, "-") != 0 && is_file(opts->output_path)
           && (opts->errors_path == NULL || is_file(opts->errors_path));
}

static int
open_state(struct belay__batch *batch, bool resumable, char *why)
{
    const struct belay__batch_opts *opts = &batch->opts;

    if (!resumable) {
        return belay__batch_state_none(&batch->state, batch->memory);
    }
    return belay__batch_state_open(&batch->state, batch->memory,
        &(const struct belay__batch_state_opts){
            .output_path = opts->output_path,
            .errors_path = opts->errors_path,
            .bare_url = opts->bare_url,
            .model = opts->model,
            .simulated = opts->simulated,
            .input_fd = batch->input_fd,
            .input_size = batch->stats->input_size,
            .overwrite = opts->overwrite,
            .force = opts->force,
            .retry_failed = opts->retry_failed,
            .needs_counts =
                opts->budget.tokens > 0 || opts->budget.requests > 0,
        },
        why);
}

/* Of the jitter: many runs at one server must not come back all at once. */
static int
set_random(struct belay__batch *batch)
{
    batch->random = batch->opts.seed;
    return batch->random != 0 ? 0
                              : uv_random(NULL, NULL, &batch->random,
                                  sizeof(batch->random), 0, NULL);
}

/* The input, then the outputs. *ret_path names the one that failed; NULL, and
 * a sentence in `why`, if it was the state.
 */
static int
open_files(struct belay__batch *batch, const char **ret_path, char *why)
{
    const struct belay__batch_opts *opts = &batch->opts;
    struct belay__batch_writer_opts writer = {
        .output_path = opts->output_path,
        .errors_path = opts->errors_path,
        .window = opts->window,
        .overwrite = opts->overwrite,
    };
    int code;

    *ret_path = opts->input_path;
    code = open_input(batch);
    if (code < 0) {
        return code;
    }
    *ret_path = opts->output_path;
    if (is_input(batch, opts->output_path)) {
        return BELAY_EINVAL;
    }
    *ret_path = opts->errors_path;
    if (is_input(batch, opts->errors_path)) {
        return BELAY_EINVAL;
    }
    writer.append = is_resumable(batch);
    code = belay__batch_writer_check(&writer, ret_path);
    if (code < 0) {
        return code; /* before a state is made */
    }
    *ret_path = NULL;
    code = open_state(batch, writer.append, why);
    if (code < 0) {
        return code;
    }
    code = belay__batch_writer_open(
        &batch->writer, batch->memory, &writer, ret_path);
    return code < 0 ? code : belay__batch_state_begin(&batch->state, why);
}

static belay_next
batch_enter(belay_task *task, void *self)
{
    struct belay__batch *batch = self;
    char why[BELAY__BATCH_WHY] = "";
    const char *path = NULL;
    int code;

    batch->runtime = belay_task_runtime(task);
    batch->memory = batch->runtime->memory;
    batch->stats = &batch->result->stats;
    batch->input_fd = -1;
    batch->state.fd = -1;
    batch->writer = (struct belay__batch_writer){
        .memory = batch->memory, .output = {.fd = -1}, .errors = {.fd = -1}};
    code = open_buffers(batch);
    if (code == 0) {
        code = set_random(batch);
    }
    if (code == 0) {
        code = open_files(batch, &path, why);
    }
    if (code < 0) {
        return open_failed(task, batch, code, path, why);
    }
    belay_semaphore_init(&batch->work, 0);
    batch->alarm_ns = INT64_MAX;
    batch->policy = belay__llm_policy_of(BELAY_LLM_BATCH, belay_nanoseconds(0),
        belay_nanoseconds(0), belay_nanoseconds(0));
    batch->stats->priced = batch->opts.prices != NULL;
    batch->stats->cap = batch->opts.budget.cost.pico;
    batch->stats->spent_before = batch->state.spent;
    batch->stats->uncertain_before = batch->state.uncertain;
    batch->stats->unpriced_before = (uint64_t)batch->state.unpriced;
    memcpy(batch->result->job, batch->state.job, sizeof(batch->result->job));
    batch->stats->resumed = batch->state.done.count;
    batch->stats->resumed_failed = batch->state.failed;
    batch->stats->again = batch->state.again;
    batch->stats->started_ns = belay_now(task).ns;
    if (batch->opts.running != NULL) {
        *batch->opts.running = batch;
    }
    return belay_return(task, batch);
}

static belay_next
batch_exit(belay_task *task, void *self)
{
    struct belay__batch *batch = self;

    belay__schedule_close(batch);
    end_active(batch);
    belay__batch_end_writing(batch);
    if (batch->opts.sync != BELAY__BATCH_SYNC_NEVER) {
        belay__batch_sync_rest(batch);
    }
    belay__batch_look_at_models(batch);
    batch_close(batch);
    batch->stats->ended_ns = belay_now(task).ns;
    if (batch->opts.progress != NULL) {
        batch->opts.progress(
            batch->stats, batch->stats->ended_ns, batch->opts.arg);
    }
    return belay_return(task, NULL);
}

static const belay_manager batch_manager = {
    {"batch", __FILE__, sizeof(struct belay__batch), batch_enter, 0},
    batch_exit};

/* ---- stopping ---- */

/* What becomes of lines that are not tried any more. */
static enum belay__line_error
leaving_as(const struct belay__batch *batch, enum belay__batch_stop why)
{
    switch (why) {
    case BELAY__BATCH_EXPIRED:
        return BELAY__LINE_EXPIRED;
    case BELAY__BATCH_INTERRUPTED:
    case BELAY__BATCH_REFUSED:
    case BELAY__BATCH_CONGESTED:
    case BELAY__BATCH_BUDGET:
        return batch->opts.emit_skipped ? BELAY__LINE_SKIPPED : BELAY__LINE_OK;
    case BELAY__BATCH_DONE:
    case BELAY__BATCH_NO_INPUT:
    case BELAY__BATCH_NO_OUTPUT:
    case BELAY__BATCH_NO_MEMORY:
        break; /* there is no more to read, or nowhere to write */
    }
    return BELAY__LINE_OK;
}

/* Is there no more to read, or nowhere to write? */
static bool
is_broken(enum belay__batch_stop why)
{
    return why == BELAY__BATCH_NO_INPUT || why == BELAY__BATCH_NO_OUTPUT
           || why == BELAY__BATCH_NO_MEMORY;
}

/* The first reason counts, but lines may still be left to the files after it:
 * what makes that impossible is told in its place.
 */
void
belay__batch_stop(struct belay__batch *batch, enum belay__batch_stop why,
    int code, const char *path)
{
    if (batch->stopping
        && (!is_broken(why) || is_broken(batch->result->stop))) {
        return;
    }
    batch->stopping = true;
    batch->result->stop = why;
    batch->result->stop_code = code;
    batch->result->stop_path = path;
    batch->leaving = leaving_as(batch, why);
    belay_event_set(&batch->stopped);
    belay__schedule_drop(batch);
    belay__models_close(&batch->models);
    if (batch->reader != NULL && batch->leaving == BELAY__LINE_OK) {
        (void)belay_task_cancel(batch->reader, "the batch takes no more lines");
    }
    belay__schedule(batch); /* there may be nothing left to do */
}

void
belay__batch_interrupt(struct belay__batch *batch)
{
    belay__batch_stop(batch, BELAY__BATCH_INTERRUPTED, 0, NULL);
}

/* ---- the budget ---- */

static bool
is_capped(const struct belay_amount *budget)
{
    return budget->cost.pico > 0 || budget->tokens > 0 || budget->requests > 0;
}

static belay_next
open_budget(belay_task *task, struct belay__batch *batch)
{
    return belay_budget_open(task,
        BELAY_BUDGET_OPTS(.name = "batch", .limit = batch->opts.budget),
        &batch->budget);
}

/* What earlier runs have used counts (B26). */
static void
charge_past(struct belay__batch *batch)
{
    belay_budget_ref(batch->budget); /* beyond the block's */
    belay_budget_charge(batch->budget,
        &(const struct belay_amount){.cost = {batch->state.spent},
            .tokens = batch->state.tokens,
            .requests = batch->state.requests},
        &(const struct belay_amount){.cost = {batch->state.uncertain}});
}

/* ---- the whole ---- */

struct run_call {
    struct belay__batch_opts opts;
    struct belay__batch_result *ret;
    struct belay__batch *batch;
};

static belay_next
open_client(belay_task *task, struct belay__batch *batch)
{
    const struct belay__batch_opts *opts = &batch->opts;

    return belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = opts->base_url,
            .api_key = opts->api_key, .profile = BELAY_LLM_BATCH,
            .max_retries = BELAY_LLM_NO_RETRIES, .unlimited = true,
            .seed = opts->seed, .max_reply_bytes = opts->max_reply_bytes,
            .ca_file = opts->ca_file, .proxy_from_env = opts->proxy_from_env,
            .allow_plain_http = opts->allow_plain_http,
            .insecure = opts->insecure),
        &batch->client);
}

static int
start_reader(struct belay__batch *batch)
{
    return belay_group_spawn(batch->readers, &belay__batch_reader,
        &(const struct belay__batch_reader){batch},
        BELAY_SPAWN_OPTS(.task = &batch->reader));
}

static int
start_workers(struct belay__batch *batch)
{
    const struct belay__batch_worker worker = {.batch = batch};
    int code = 0;

    for (uint32_t i = 0; i < batch->opts.concurrency && code == 0; i++) {
        code = belay_group_spawn(
            batch->workers, &belay__batch_worker, &worker, NULL);
    }
    return code;
}

/* The workers outlive the reader, unless they took too long when the batch
 * stopped: the reader may then still have lines to leave.
 */
struct run_pipeline {
    struct belay__batch *batch;
};

BELAY_ASYNC(run_pipeline)
{
    struct belay__batch *batch = self->batch;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.name = "batch reader"), &batch->readers)) {
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.name = "batch"), &batch->workers)) {
            BELAY_CHECK(start_reader(batch));
            BELAY_CHECK(start_workers(batch));
        }
        end_active(batch);
    }
    BELAY_END;
}

/* Everything between the files and the budget. */
struct run_tasks {
    struct belay__batch *batch;
};

BELAY_ASYNC(run_tasks)
{
    struct belay__batch *batch = self->batch;

    BELAY_BEGIN;
    BELAY_WITH (open_client(task, batch)) {
        batch->client->uncounted = batch->budget != NULL;
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.name = "batch helpers"), &batch->helpers)) {
            BELAY_CHECK(belay__batch_start_helpers(batch));
            BELAY_CHECK(belay__batch_start_sampler(batch));
            BELAY_CHECK(belay__schedule_start_alarm(batch));
            BELAY_AWAIT(BELAY_CALL(run_pipeline, .batch = batch));
            belay_group_cancel(batch->helpers, "the batch is done");
        }
    }
    BELAY_END;
}

BELAY_ASYNC(run_call)
{
    BELAY_BEGIN;
    if (self->opts.strict) {
        BELAY_AWAIT(belay__batch_check(task, &self->opts));
    }
    BELAY_WITH (belay_enter(task, &batch_manager,
        &(const struct belay__batch){
            .opts = self->opts, .result = self->ret})) {
        self->batch = belay_result(task)->value;
        if (is_capped(&self->opts.budget)) {
            BELAY_WITH (open_budget(task, self->batch)) {
                charge_past(self->batch);
                BELAY_AWAIT(BELAY_CALL(run_tasks, .batch = self->batch));
            }
        } else {
            BELAY_AWAIT(BELAY_CALL(run_tasks, .batch = self->batch));
        }
        if (self->batch->opts.sync != BELAY__BATCH_SYNC_NEVER) {
            BELAY_AWAIT(belay__batch_sync(task, self->batch));
        }
    }
    BELAY_END;
}

belay_next
belay__batch_run(belay_task *task, const struct belay__batch_opts *opts,
    struct belay__batch_result *ret)
{
    struct run_call call = {.opts = *opts, .ret = ret};

    set_defaults(&call.opts);
    return belay_call(task, &run_call, &call);
}
