/* worker.c - the tasks that send lines, one attempt at a time each. */
#include "llm/batch/pipeline.h"
#include "llm/json/scan.h"
#include "llm/used.h"
#include "runtime/internal.h"

#include <belay/timeout.h>

#define SYNC_LINES 64
#define OUTPUT_GUESS 256 /* tokens, while a model has answered nothing */

/* ---- before ---- */

/* An attempt that will not be made: the item keeps its place with the model,
 * or leaves the batch.
 */
static void
give_back(struct belay__batch_worker *worker)
{
    struct belay__batch *batch = worker->batch;
    struct belay__item *item = worker->item;

    belay__batch_release(batch, item);
    belay__limit_end(&item->model->limit, item->begun, BELAY__LIMIT_UNKNOWN);
    if (item->probe) {
        item->model->probing = false;
    }
}

/* The line is not tried, or not to the end. */
static void
drop_item(struct belay__batch_worker *worker)
{
    struct belay__batch *batch = worker->batch;

    belay__batch_leave(batch, &worker->item->ref);
    if (worker->item->attempts > 0 && !worker->item->charged) {
        belay__batch_state_unsent(&batch->state, worker->item->ref.number);
    }
    belay__schedule_free(batch, &batch->active, worker->item);
    worker->item = NULL;
    belay_event_set(&batch->moved);
}

static bool
has_noted(struct belay__batch *batch, int code)
{
    if (code < 0) {
        belay__batch_stop(batch,
            code == BELAY_ENOMEM ? BELAY__BATCH_NO_MEMORY
                                 : BELAY__BATCH_NO_OUTPUT,
            code, batch->opts.output_path);
    }
    return code == 0;
}

/* For the journal: a line that is sent is never forgotten. */
static bool
note_sent(struct belay__batch_worker *worker, uint64_t *ret_mark)
{
    struct belay__batch *batch = worker->batch;
    const struct belay__item *item = worker->item;

    return has_noted(
        batch, belay__batch_state_sent(&batch->state, item->ref.number,
                   item->attempts, &item->bill, ret_mark));
}

/* Now it is in the file, by whichever worker came first. */
static bool
commit_note(struct belay__batch *batch, uint64_t mark)
{
    return has_noted(batch, belay__batch_state_commit(&batch->state, mark));
}

/* The line is not sent, although that may have been noted. */
static void
stay(struct belay__batch_worker *worker, bool noted)
{
    struct belay__batch *batch = worker->batch;
    struct belay__item *item = worker->item;
    const struct belay__batch_bill bill = {
        .reserved = item->bill.reserved, .most = item->bill.most};

    if (noted && batch->state.lost == 0) {
        /* A note that may be lost is not taken back: what it reserved would
         * be taken from others. */
        belay__batch_state_attempt(&batch->state, item->ref.number, &bill);
    }
    if (noted && item->attempts == 0 && !item->charged) {
        belay__batch_state_unsent(&batch->state, item->ref.number);
    }
    belay__rate_settle(&worker->use, BELAY__RATE_REJECTED, NULL);
    give_back(worker);
    drop_item(worker);
}

static void
begin_attempt(struct belay__batch_worker *worker)
{
    struct belay__batch *batch = worker->batch;
    struct belay__item *item = worker->item;

    if (item->attempts++ == 0) {
        item->first_ns = belay__clock_now(batch->runtime);
        if (__builtin_add_overflow(
                item->first_ns, batch->opts.timeout.ns, &item->deadline.ns)) {
            item->deadline.ns = INT64_MAX;
        }
        item->answers = item->model->answers;
        item->ref.model = &item->model->stats;
        batch->stats->sent++;
    }
    item->broken = 0;
    worker->attempt = (struct belay_llm_attempt){.number = 0};
    batch->stats->in_flight++;
}

/* ---- the model's rate ---- */

static bool
has_rate(const struct belay__rate *rate)
{
    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        if (rate->buckets[i].per_minute > 0) {
            return true;
        }
    }
    return false;
}

/* What the attempt is expected to take; its end tells what it was. */
static struct belay__rate_use
expected_use(struct belay__item *item)
{
    const struct belay__batch_model *model = item->model;
    const int64_t out = model->estimator.out_tokens;

    belay__batch_weigh(item);
    return belay__used_expect(&model->rate, &model->estimator, &item->size,
        out > 0 ? out : OUTPUT_GUESS);
}

static void
settle_rate(struct belay__batch_worker *worker)
{
    const struct belay_llm_attempt *attempt = &worker->attempt;
    const struct belay_llm_usage *usage =
        attempt->billed == BELAY_LLM_BILLED_YES && worker->reply != NULL
            ? belay_llm_reply_usage(worker->reply)
            : NULL;

    belay__used_settle_rate(&worker->use, attempt, &worker->item->size, usage);
}

/* ---- sending ---- */

static bool
is_success(int status)
{
    return status >= 200 && status < 300;
}

/* Of an answer that broke off, and that nobody gets. */
static int64_t
what_came(
    const struct belay__item *item, const struct belay_llm_attempt *attempt)
{
    const belay_llm_reply *reply = belay__llm_reply_of(attempt);

    return is_success(belay_llm_reply_status(reply))
               ? belay__used_output(&item->model->estimator, reply)
               : 0;
}

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct belay__batch_worker *worker = arg;

    worker->attempt = *attempt;
    worker->item->broken =
        attempt->status == 0 ? what_came(worker->item, attempt) : 0;
    worker->batch->stats->sent_bytes += attempt->sent_bytes;
}

/* One attempt, within the line's own deadline. */
struct send_line {
    struct belay__batch_worker *worker;
};

BELAY_ASYNC(send_line)
{
    struct belay__batch_worker *worker = self->worker;

    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.name = "line",
            .deadline = worker->item->deadline, .fail_on_timeout = true),
        NULL)) {
        BELAY_AWAIT(belay_llm_send(task, worker->batch->client,
            BELAY_LLM_REQUEST(.path = worker->item->path,
                .body = worker->item->body, .max_retries = BELAY_LLM_NO_RETRIES,
                .on_attempt = on_attempt, .arg = worker),
            &worker->reply));
    }
    BELAY_END;
}

/* ---- after ---- */

static void
add_tokens(uint64_t *sum, int64_t told)
{
    belay__stats_add_tokens(sum, told > 0 ? (uint64_t)told : 0);
}

static void
count_usage(struct belay__batch_worker *worker)
{
    struct belay__batch_stats *stats = worker->batch->stats;
    struct belay__model_stats *model = &worker->item->model->stats;
    const struct belay_llm_usage *usage = belay_llm_reply_usage(worker->reply);

    if (usage->in_total < 0 && usage->out_total < 0) {
        stats->without_usage++;
        return;
    }
    add_tokens(&stats->tokens_in, usage->in_total);
    add_tokens(&stats->tokens_out, usage->out_total);
    add_tokens(&model->tokens_in, usage->in_total);
    add_tokens(&model->tokens_out, usage->out_total);
    add_tokens(&stats->tokens_cached, usage->in_cache_read);
    add_tokens(&stats->tokens_reasoning, usage->out_reasoning);
}

/* The key or the account does not work: no other line will fare better. */
static bool
is_refusal(const belay_llm_reply *reply)
{
    const int status = belay_llm_reply_status(reply);

    return status == 401 || status == 403
           || belay_llm_reply_attempt(reply)->quota;
}

static void
take_reply(struct belay__batch_worker *worker, bool json)
{
    struct belay__batch *batch = worker->batch;
    belay_llm_reply *reply = worker->reply;

    if (is_success(belay_llm_reply_status(reply)) && !json) {
        belay__batch_write_error(batch, &worker->item->ref,
            BELAY__LINE_INVALID_REPLY, "the reply is not valid JSON");
        return;
    }
    if (is_success(belay_llm_reply_status(reply))) {
        count_usage(worker);
    } else if (is_refusal(reply)) {
        belay__batch_stop(
            batch, BELAY__BATCH_REFUSED, belay_llm_reply_status(reply), NULL);
    }
    belay__batch_write_reply(batch, &worker->item->ref, reply, json);
}

static enum belay__line_error
error_of(int code)
{
    switch (code) {
    case BELAY_ETIMEDOUT:
        return BELAY__LINE_TIMEOUT;
    case BELAY_ETRUNCATED:
        return BELAY__LINE_TRUNCATED;
    case BELAY_ETOOLARGE:
        return BELAY__LINE_REPLY_TOO_LARGE;
    case BELAY_EREPLY:
        return BELAY__LINE_INVALID_REPLY;
    case BELAY_ENOMEM:
        return BELAY__LINE_NO_MEMORY;
    default:
        return BELAY__LINE_CONNECTION;
    }
}

static void
take_failure(
    struct belay__batch_worker *worker, const struct belay_result *result)
{
    const char *message = belay_code_text(result->code);

    if (result->error != NULL) {
        message = belay_error_message(result->error);
    }
    belay__batch_write_error(
        worker->batch, &worker->item->ref, error_of(result->code), message);
}

static void
write_result(struct belay__batch_worker *worker,
    const struct belay_result *result, bool json)
{
    struct belay__batch *batch = worker->batch;
    struct belay__item *item = worker->item;
    const int64_t now = belay__clock_now(batch->runtime);

    if (result->code < 0) {
        take_failure(worker, result);
    } else {
        take_reply(worker, json);
    }
    belay__histogram_add(
        &batch->stats->latency_us, (uint64_t)(now - item->first_ns) / 1000);
}

/* What was read as a completion was checked for that. */
static bool
is_json(belay_llm_reply *reply)
{
    return (is_success(belay_llm_reply_status(reply))
               && belay_llm_reply_parse(reply) == 0)
           || belay__json_check(belay_llm_reply_body(reply), NULL, NULL) == 0;
}

/* The answer, or that there is none, has been told to whoever wants to know:
 * now the line has its result, or is tried again.
 */
static void
end_attempt(
    struct belay__batch_worker *worker, const struct belay_result *result)
{
    struct belay__batch *batch = worker->batch;
    struct belay__item *item = worker->item;
    struct belay__batch_bill bill;
    enum belay__outcome outcome;
    bool json;

    if (worker->attempt.number == 0) { /* it ended before it was told */
        worker->attempt.code = result->code;
        worker->attempt.billed = result->code == BELAY_EINVAL
                                     ? BELAY_LLM_BILLED_NO
                                     : BELAY_LLM_BILLED_UNKNOWN;
    }
    json = worker->reply != NULL && is_json(worker->reply);
    item->charged |= worker->attempt.billed != BELAY_LLM_BILLED_NO;
    settle_rate(worker);
    bill =
        belay__batch_settle(batch, item, worker->attempt.billed, worker->reply);
    outcome =
        belay__batch_judge(batch, item, &worker->attempt, worker->reply, json);
    if (outcome == BELAY__OUTCOME_FINAL) {
        write_result(worker, result, json);
        belay__batch_state_done(&batch->state, item->ref.number, &bill);
        belay__schedule_free(batch, &batch->active, item);
        belay_event_set(&batch->moved);
    } else {
        bill.uncertain += bill.spent; /* for nothing that we have */
        bill.spent = 0;
        belay__batch_state_attempt(&batch->state, item->ref.number, &bill);
    }
    if (outcome == BELAY__OUTCOME_AGAIN && !item->charged) {
        /* Whatever happens while it waits, it is not in doubt. */
        belay__batch_state_unsent(&batch->state, item->ref.number);
        (void)belay__batch_state_flush(&batch->state);
    }
    if (outcome == BELAY__OUTCOME_DROP) {
        drop_item(worker);
    }
    worker->item = NULL;
    if (batch->writer.lines - batch->synced_lines >= SYNC_LINES) {
        belay_event_set(&batch->sync_due);
    }
}

static void
free_reply(struct belay__batch_worker *worker)
{
    if (worker->reply != NULL) {
        worker->batch->stats->received_bytes +=
            belay_llm_reply_body(worker->reply).len;
    }
    belay_llm_reply_free(worker->reply);
    worker->reply = NULL;
}

/* Makes one attempt. Cancelled, it leaves the item in the active list, for the
 * batch's exit.
 */
struct work {
    struct belay__batch_worker *worker;
    bool noted;    /* the journal says, or will say, that the line is sent */
    uint64_t mark; /* of that */
};

BELAY_ASYNC(work)
{
    struct belay__batch_worker *worker = self->worker;
    struct belay__batch *batch = worker->batch;

    BELAY_BEGIN;
    if (has_rate(&worker->item->model->rate)) {
        worker->use = expected_use(worker->item);
        worker->item->model->rate_busy = true;
        BELAY_TRY(
            belay__rate_take(task, &worker->item->model->rate, &worker->use));
        worker->item->model->rate_busy = false;
        if (belay_result(task)->cancelled) {
            stay(worker, false);
            return belay_pass(task);
        }
    }
    self->noted = !batch->stopping && note_sent(worker, &self->mark);
    /* Others that are about to send note that meanwhile: one write for all. */
    BELAY_TRY(belay_checkpoint(task));
    if (belay_result(task)->cancelled || batch->stopping || !self->noted
        || !commit_note(batch, self->mark)) {
        stay(worker, self->noted);
        return belay_pass(task);
    }
    begin_attempt(worker);
    belay__schedule(batch); /* another may wait for the rate now */
    BELAY_TRY(BELAY_CALL(send_line, .worker = worker));
    batch->stats->in_flight--;
    if (belay_result(task)->cancelled) {
        belay__rate_settle(&worker->use, BELAY__RATE_UNKNOWN, NULL);
        return belay_pass(task);
    }
    end_attempt(worker, belay_result(task));
    free_reply(worker);
    if (batch->opts.sync == BELAY__BATCH_SYNC_LINE) {
        BELAY_AWAIT(belay__batch_sync(task, batch));
    }
    BELAY_END;
}

static belay_next worker_next(belay_task *task, void *self);

static belay_next
worker_wait(belay_task *task, struct belay__batch_worker *worker)
{
    return belay_then(
        task, worker_next, belay__schedule_wait(task, worker->batch));
}

static belay_next
worker_worked(belay_task *task, void *self)
{
    const struct belay_result *result = belay_result(task);
    struct belay__batch_worker *worker = self;

    if (result->cancelled) {
        return belay_pass(task);
    }
    if (result->code < 0 && worker->item != NULL) {
        belay__batch_stop(
            worker->batch, BELAY__BATCH_NO_MEMORY, result->code, NULL);
        give_back(worker);
        drop_item(worker); /* there was no room even to begin it */
    } else if (result->code < 0) {
        belay__batch_stop(worker->batch, BELAY__BATCH_NO_OUTPUT, result->code,
            worker->batch->opts.output_path);
    }
    return worker_wait(task, worker);
}

static belay_next
worker_next(belay_task *task, void *self)
{
    struct belay__batch_worker *worker = self;

    if (belay_result(task)->code < 0) {
        return belay_pass(task);
    }
    worker->item = belay__schedule_next(worker->batch);
    if (worker->item == NULL) {
        return belay_return(task, NULL);
    }
    return belay_then(task, worker_worked, BELAY_CALL(work, .worker = worker));
}

static belay_next
worker_start(belay_task *task, void *self)
{
    return worker_wait(task, self);
}

const belay_function belay__batch_worker = {"batch worker", __FILE__,
    sizeof(struct belay__batch_worker), worker_start, 0};
