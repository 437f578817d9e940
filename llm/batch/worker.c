/* worker.c - the tasks that send lines, one at a time each. */
#include "llm/batch/file.h"
#include "llm/batch/pipeline.h"
#include "llm/json/scan.h"
#include "runtime/internal.h"

#include <belay/timeout.h>

#define SYNC_LINES 64

static void
free_item(struct belay__batch *batch, struct belay__item *item)
{
    belay__item_list_remove(&batch->active, item);
    belay__free(batch->memory, item, item->bytes);
}

/* The next line to send, now active; NULL if there is none and none will come.
 */
static struct belay__item *
next_item(struct belay__batch *batch)
{
    struct belay__item *item = batch->ready.first;

    if (item == NULL) {
        return NULL;
    }
    belay__item_list_remove(&batch->ready, item);
    batch->ready_bytes -= item->bytes;
    belay__item_list_push(&batch->active, item);
    belay_semaphore_release(&batch->room);
    belay_event_set(&batch->moved);
    return item;
}

/* The line was not tried: it is in no file. */
static void
drop_item(struct belay__batch_worker *worker)
{
    struct belay__batch *batch = worker->batch;

    (void)belay__batch_writer_skip(&batch->writer, worker->item->ref.sequence);
    if (!worker->charged) {
        belay__batch_state_unsent(&batch->state, worker->item->ref.number);
    }
    batch->stats->dropped++;
    free_item(batch, worker->item);
    worker->item = NULL;
}

/* ---- lines between two attempts ---- */

static void
end_retrying(struct belay__batch_worker *worker)
{
    struct belay__batch *batch = worker->batch;

    if (!worker->retrying) {
        return;
    }
    if (worker->prev != NULL) {
        worker->prev->next = worker->next;
    } else {
        batch->retrying = worker->next;
    }
    if (worker->next != NULL) {
        worker->next->prev = worker->prev;
    }
    worker->retrying = false;
    batch->stats->retrying--;
}

static void
begin_retrying(struct belay__batch_worker *worker, belay_duration delay)
{
    struct belay__batch *batch = worker->batch;

    worker->wakes_ns = belay__clock_now(batch->runtime) + delay.ns;
    worker->prev = NULL;
    worker->next = batch->retrying;
    if (worker->next != NULL) {
        worker->next->prev = worker;
    }
    batch->retrying = worker;
    worker->retrying = true;
    batch->stats->retrying++;
    batch->stats->retries++;
    if (batch->stopping) {
        belay_event_set(&batch->drop_due);
    }
}

void
belay__batch_drop_sleepers(struct belay__batch *batch)
{
    const int64_t now = belay__clock_now(batch->runtime);
    struct belay__batch_worker *worker = batch->retrying;

    for (; worker != NULL; worker = worker->next) {
        if (now < worker->wakes_ns) {
            belay_cancel_scope_cancel(
                worker->scope, "the batch starts no more attempts");
        }
    }
}

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct belay__batch_worker *worker = arg;

    worker->batch->stats->sent_bytes += attempt->sent_bytes;
    worker->charged |= attempt->billed != BELAY_LLM_BILLED_NO;
    end_retrying(worker);
    if (attempt->will_retry) {
        begin_retrying(worker, attempt->delay);
    }
}

/* ---- sending ---- */

/* One call with the line's own deadline. Ends without a reply and without a
 * failure if it was given up.
 */
struct send_line {
    struct belay__batch_worker *worker;
};

BELAY_ASYNC(send_line)
{
    struct belay__batch_worker *worker = self->worker;
    struct belay__batch *batch = worker->batch;

    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.name = "line", .deadline = worker->deadline,
            .fail_on_timeout = true),
        &worker->scope)) {
        BELAY_TRY(belay_llm_send(task, batch->client,
            BELAY_LLM_REQUEST(.path = worker->item->path,
                .body = worker->item->body, .on_attempt = on_attempt,
                .arg = worker),
            &worker->reply));
        end_retrying(worker); /* before the scope goes */
        if (belay_result(task)->code < 0) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}

static void
count_usage(struct belay__batch_stats *stats, belay_llm_reply *reply)
{
    const struct belay_llm_usage *usage = belay_llm_reply_usage(reply);

    if (usage->in_total < 0 && usage->out_total < 0) {
        stats->without_usage++;
        return;
    }
    stats->tokens_in += usage->in_total > 0 ? (uint64_t)usage->in_total : 0;
    stats->tokens_out += usage->out_total > 0 ? (uint64_t)usage->out_total : 0;
    stats->tokens_cached +=
        usage->in_cache_read > 0 ? (uint64_t)usage->in_cache_read : 0;
    stats->tokens_reasoning +=
        usage->out_reasoning > 0 ? (uint64_t)usage->out_reasoning : 0;
}

static bool
is_success(int status)
{
    return status >= 200 && status < 300;
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
        count_usage(batch->stats, reply);
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

/* What the send has brought. False: it is to be repeated. */
static bool
take_result(
    struct belay__batch_worker *worker, const struct belay_result *result)
{
    struct belay__batch *batch = worker->batch;
    bool json;

    if (result->code < 0) {
        take_failure(worker, result);
        return true;
    }
    json =
        belay__json_check(belay_llm_reply_body(worker->reply), NULL, NULL) == 0;
    if (!json && is_success(belay_llm_reply_status(worker->reply))
        && !worker->repeated && batch->opts.max_retries > 0) {
        worker->repeated = true;
        batch->stats->retries++;
        return false;
    }
    take_reply(worker, json);
    return true;
}

/* In order, the line may still be early: then only the file will tell. */
static void
note_done(struct belay__batch_worker *worker, uint64_t lines_before)
{
    struct belay__batch *batch = worker->batch;

    if (batch->writer.window == 0 && batch->writer.lines > lines_before) {
        belay__batch_state_done(&batch->state, worker->item->ref.number,
            &(const struct belay__batch_bill){0});
    }
}

static void
end_item(struct belay__batch_worker *worker)
{
    struct belay__batch *batch = worker->batch;
    const int64_t now = belay__clock_now(batch->runtime);

    belay__histogram_add(
        &batch->stats->latency_us, (uint64_t)(now - worker->started_ns) / 1000);
    free_item(batch, worker->item);
    worker->item = NULL;
    belay_event_set(&batch->moved);
    if (batch->writer.lines - batch->synced_lines >= SYNC_LINES) {
        belay_event_set(&batch->sync_due);
    }
}

static void
begin_item(struct belay__batch_worker *worker)
{
    struct belay__batch *batch = worker->batch;

    worker->started_ns = belay__clock_now(batch->runtime);
    if (__builtin_add_overflow(
            worker->started_ns, batch->opts.timeout.ns, &worker->deadline.ns)) {
        worker->deadline.ns = INT64_MAX;
    }
    worker->repeated = false;
    worker->retrying = false;
    worker->charged =
        belay__line_set_has(&batch->state.in_doubt, worker->item->ref.number);
    batch->stats->in_flight++;
    batch->stats->sent++;
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

/* Sends one line until it has a result. Cancelled, it leaves the item in the
 * active list, for the batch's exit.
 */
struct work {
    struct belay__batch_worker *worker;
};

BELAY_ASYNC(work)
{
    struct belay__batch_worker *worker = self->worker;
    uint64_t lines = 0;
    bool done = false;

    BELAY_BEGIN;
    begin_item(worker);
    do {
        BELAY_TRY(BELAY_CALL(send_line, .worker = worker));
        if (belay_result(task)->cancelled) {
            worker->batch->stats->in_flight--;
            return belay_pass(task);
        }
        if (belay_result(task)->code == 0 && worker->reply == NULL) {
            worker->batch->stats->in_flight--;
            drop_item(worker);
            BELAY_RETURN(NULL);
        }
        lines = worker->batch->writer.lines;
        done = take_result(worker, belay_result(task));
        note_done(worker, lines);
        free_reply(worker);
    } while (!done);
    worker->batch->stats->in_flight--;
    end_item(worker);
    while (worker->batch->opts.sync == BELAY__BATCH_SYNC_LINE
           && (worker->sync_fd =
                      belay__batch_writer_take_dirty(&worker->batch->writer))
                  >= 0) {
        BELAY_AWAIT(belay__file_sync(task, worker->sync_fd));
    }
    BELAY_END;
}

/* In the journal first: a line that is sent is never forgotten. */
static bool
note_sent(struct belay__batch_worker *worker)
{
    struct belay__batch *batch = worker->batch;
    const int code =
        belay__batch_state_sent(&batch->state, worker->item->ref.number, 0, 0);

    if (code < 0) {
        belay__batch_stop(batch,
            code == BELAY_ENOMEM ? BELAY__BATCH_NO_MEMORY
                                 : BELAY__BATCH_NO_OUTPUT,
            code, batch->opts.output_path);
    }
    return code == 0;
}

static belay_next worker_next(belay_task *task, void *self);

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
        drop_item(worker); /* there was no room even to begin it */
    } else if (result->code < 0) {
        belay__batch_stop(worker->batch, BELAY__BATCH_NO_OUTPUT, result->code,
            worker->batch->opts.output_path);
    }
    return belay_then(task, worker_next,
        belay_semaphore_acquire(task, &worker->batch->ready_items));
}

static belay_next
worker_next(belay_task *task, void *self)
{
    struct belay__batch_worker *worker = self;

    if (belay_result(task)->code < 0) {
        return belay_pass(task);
    }
    worker->item = next_item(worker->batch);
    if (worker->item == NULL) {
        return belay_return(task, NULL);
    }
    if (worker->batch->stopping || !note_sent(worker)) {
        worker->charged = true; /* nothing is to be taken back */
        drop_item(worker);
        return worker_worked(task, self);
    }
    return belay_then(task, worker_worked, BELAY_CALL(work, .worker = worker));
}

static belay_next
worker_start(belay_task *task, void *self)
{
    struct belay__batch_worker *worker = self;

    return belay_then(task, worker_next,
        belay_semaphore_acquire(task, &worker->batch->ready_items));
}

const belay_function belay__batch_worker = {"batch worker", __FILE__,
    sizeof(struct belay__batch_worker), worker_start, 0};
