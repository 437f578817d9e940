/* outcome.c - what the end of an attempt means: for its model, for its line.
 *
 * A server that takes no more (429, 503, 529, or no connection to one that
 * was there) is asked less, or not at all for some time. A line that was
 * refused while nobody was answered has not failed: it waits, and that does
 * not count as a retry. That ends when `patience` has passed since the first
 * refusal and nobody was answered in between: the batch stops and can go on
 * later, or, where other models are answered, the lines of this one fail. Where
 * no connection was ever made it stops as soon as one line has had its retries.
 */
#include "llm/batch/pipeline.h"
#include "llm/retry.h"
#include "runtime/internal.h"

#include <time.h>

#define CONGESTED_RETRIES 4 /* times as many as other retries */

struct end {
    struct belay__batch *batch;
    struct belay__item *item;
    struct belay__batch_model *model;
    const struct belay_llm_attempt *attempt;
    const belay_llm_reply *reply;
    int64_t now;
    bool congested;
    bool asked; /* the server says when to come back */
    int64_t asked_ns;
};

static struct belay_slice
get_header(const void *arg, const char *name)
{
    return belay_llm_reply_header(arg, name);
}

static bool
is_congestion(const struct belay_llm_attempt *attempt)
{
    return (attempt->status == 429 && !attempt->quota) || attempt->status == 503
           || attempt->status == 529 || attempt->code == BELAY_ECONNECT;
}

/* When a model that was refused has tried our patience for too long. */
static int64_t
out_of_patience_ns(const struct end *end)
{
    int64_t at;

    return __builtin_add_overflow(
               end->model->refused_ns, end->batch->opts.patience.ns, &at)
               ? INT64_MAX - 1
               : at;
}

/* ---- the model ---- */

/* However long the server wants to be left alone, the end of patience is not
 * slept through: then it is asked, and a refusal is the last.
 */
static void
pause_model(struct end *end, int64_t span_ns)
{
    struct belay__batch_model *model = end->model;
    const int64_t last = out_of_patience_ns(end);
    int64_t until;

    if (model->given_up) {
        return;
    }
    if (__builtin_add_overflow(end->now, span_ns, &until) || until > last) {
        until = last;
    }
    model->paused_ns = until > model->paused_ns ? until : model->paused_ns;
}

static void
take_congestion(struct end *end)
{
    struct belay__batch_model *model = end->model;
    const bool alone =
        end->item->begun >= model->limit.cuts && !model->limit.answered;

    belay__limit_end(&model->limit, end->item->begun,
        end->attempt->status == 503 || end->attempt->status == 529
            ? BELAY__LIMIT_BUSY
            : BELAY__LIMIT_CONGESTED);
    end->batch->stats->congested++;
    model->stats.congested++;
    if (model->refused_ns == 0) {
        model->refused_ns = end->now;
    }
    if (end->asked) {
        pause_model(end, end->asked_ns);
    } else if (end->item->probe
               || (alone && end->batch->reached
                   && model->paused_ns <= end->now)) {
        pause_model(end, belay__llm_backoff(&end->batch->policy,
                             model->pauses++, &end->batch->random));
    }
}

static void
take_answer(struct end *end)
{
    struct belay__batch_model *model = end->model;

    belay__limit_end(&model->limit, end->item->begun, BELAY__LIMIT_ANSWERED);
    model->answers++;
    model->refused_ns = 0;
    model->pauses = 0;
    model->given_up = false;
    if (end->item->probe) {
        model->paused_ns = 0;
    }
}

static void
tell_model(struct end *end)
{
    struct belay__batch_model *model = end->model;
    const struct belay__llm_headers headers = {get_header, end->reply};

    if (end->item->probe) {
        model->probing = false;
    }
    end->batch->reached |= end->reply != NULL || end->attempt->sent_bytes > 0;
    if (end->reply != NULL) {
        belay__rate_learn(&model->rate, &headers);
        end->asked = belay__llm_asked_delay(end->attempt->status, &headers,
            (int64_t)time(NULL), &end->asked_ns);
        if (end->asked) {
            end->asked_ns =
                belay__llm_scatter(end->asked_ns, &end->batch->random);
        }
    }
    if (end->congested) {
        take_congestion(end);
    } else if (end->reply != NULL) {
        take_answer(end);
    } else {
        belay__limit_end(&model->limit, end->item->begun, BELAY__LIMIT_UNKNOWN);
    }
}

/* ---- the line ---- */

/* No connection, and there never was one. */
static bool
is_nowhere(const struct end *end)
{
    return end->attempt->code == BELAY_ECONNECT && !end->batch->reached;
}

/* The line may yet be one of many: others are under way, who knows how far. */
static bool
is_alone(const struct end *end)
{
    return end->batch->active.count <= 1;
}

/* A server that was never there is not waited for. */
static bool
is_waited_for(const struct end *end)
{
    return end->congested && !is_nowhere(end);
}

/* Was it refused as everybody was, since it was first sent? Otherwise it may be
 * the line.
 */
static bool
is_everybodys(const struct end *end)
{
    return is_waited_for(end) && end->item->answers == end->model->answers;
}

/* Takes one of the retries that the line has. */
static bool
take_retry(const struct end *end)
{
    struct belay__item *item = end->item;
    const uint32_t most = (uint32_t)end->batch->opts.max_retries;

    if (is_everybodys(end)) {
        return true;
    }
    if (end->congested && end->attempt->code != BELAY_ECONNECT) {
        return item->congested++ < CONGESTED_RETRIES * most;
    }
    return item->retries++ < most;
}

static int64_t
delay_of(const struct end *end)
{
    const struct belay__item *item = end->item;
    const uint32_t n = end->congested && item->congested > 0
                           ? item->congested - 1
                       : item->retries > 0 ? item->retries - 1
                                           : 0;

    if (end->congested && end->model->paused_ns > end->now) {
        return 0; /* its turn comes when the pause is over */
    }
    if (end->asked) {
        return end->asked_ns;
    }
    return belay__llm_backoff(&end->batch->policy, n, &end->batch->random);
}

/* Sends the line again, later, if there is time for that. */
static enum belay__outcome
try_again(struct end *end)
{
    struct belay__batch *batch = end->batch;
    struct belay__item *item = end->item;
    const int64_t delay = delay_of(end);
    int64_t due;

    if (__builtin_add_overflow(end->now, delay, &due)) {
        due = INT64_MAX;
    }
    if (end->congested && due < end->model->paused_ns) {
        due = end->model->paused_ns;
    }
    if (due >= item->deadline.ns
        || (!end->congested && delay > batch->policy.after_cap_ns)) {
        return BELAY__OUTCOME_FINAL;
    }
    if (batch->stopping) {
        return BELAY__OUTCOME_DROP;
    }
    batch->stats->retries++;
    belay__item_list_remove(&batch->active, item);
    if (delay > 0) {
        belay__schedule_sleep(batch, item, delay);
    } else {
        belay__schedule_first(batch, item);
    }
    return BELAY__OUTCOME_AGAIN;
}

/* Nobody was answered for so long, whatever was before the first refusal. */
static bool
is_out_of_patience(const struct end *end)
{
    return is_waited_for(end) && end->now >= out_of_patience_ns(end);
}

/* Was the last word of some other model an answer? */
static bool
is_another_alive(const struct end *end)
{
    const struct belay__batch_model *model = end->batch->models.first;

    while (
        model != NULL
        && (model == end->model || model->answers == 0 || model->pauses > 0)) {
        model = model->next;
    }
    return model != NULL;
}

/* The lines of this model fail, or the batch stops. True: they fail. */
static bool
give_up(struct end *end)
{
    if (is_another_alive(end)) {
        end->model->given_up = true;
        end->model->paused_ns = 0;
        return true;
    }
    belay__batch_stop(
        end->batch, BELAY__BATCH_CONGESTED, end->attempt->status, NULL);
    return false;
}

/* A wrong address would cost all lines one by one. The batch stops instead, and
 * this one counts as not tried: nobody has had it.
 */
static enum belay__outcome
stop_nowhere(struct end *end)
{
    if (!is_alone(end)) {
        return try_again(end);
    }
    belay__batch_stop(
        end->batch, BELAY__BATCH_CONGESTED, end->attempt->code, NULL);
    return BELAY__OUTCOME_DROP;
}

static enum belay__outcome
outcome_of(struct end *end, bool json)
{
    const struct belay_llm_attempt *attempt = end->attempt;
    struct belay__item *item = end->item;
    const bool nonsense = end->reply != NULL && !json && attempt->status >= 200
                          && attempt->status < 300 && !item->repeated;
    const bool failed = is_out_of_patience(end) && give_up(end);

    if (!failed && end->batch->opts.max_retries >= 0 && nonsense) {
        item->repeated = true;
        return try_again(end);
    }
    if (!failed && end->batch->opts.max_retries >= 0 && attempt->retryable
        && take_retry(end)) {
        return try_again(end);
    }
    return is_nowhere(end) ? stop_nowhere(end) : BELAY__OUTCOME_FINAL;
}

/* Nothing of the model is left that could be answered: when it is asked again,
 * after however long, patience begins anew.
 */
static void
forget_refusals(struct belay__batch_model *model)
{
    if (model->limit.in_use == 0 && model->asleep == 0
        && model->ready.count == 0) {
        model->refused_ns = 0;
        model->pauses = 0;
    }
}

enum belay__outcome
belay__batch_judge(struct belay__batch *batch, struct belay__item *item,
    const struct belay_llm_attempt *attempt, const belay_llm_reply *reply,
    bool json)
{
    struct end end = {
        .batch = batch,
        .item = item,
        .model = item->model,
        .attempt = attempt,
        .reply = reply,
        .now = belay__clock_now(batch->runtime),
        .congested = is_congestion(attempt),
    };
    enum belay__outcome outcome;

    tell_model(&end);
    item->probe = false;
    outcome = outcome_of(&end, json);
    if (outcome == BELAY__OUTCOME_FINAL) {
        forget_refusals(end.model);
    }
    return outcome;
}
