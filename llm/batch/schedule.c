/* schedule.c - which line is sent next, and when.
 *
 * A worker that has nothing to do waits; each change that may let a line go
 * calls belay__schedule(), which gives lines to such workers. Nothing is
 * polled: one alarm stands at the moment at which the first sleeper wakes or
 * the first pause ends. A line that is between two attempts holds no worker
 * and nothing of a limit, so others pass it (B22, L34).
 */
#include "llm/batch/pipeline.h"

#include "runtime/internal.h"

#define NO_TIME INT64_MAX
#define ITEMS 16        /* a place of concurrency: there are no more of them */
#define ALL_BYTES 4     /* of what waits, times what one model alone may have */
#define RECENT_LINES 16 /* a place of concurrency: a model was seen in them */

/* ---- what may go ---- */

static bool
may_go(const struct belay__batch_model *model, int64_t now)
{
    if (model->ready.first == NULL || model->rate_busy
        || !belay__limit_has_room(&model->limit)) {
        return false;
    }
    return model->paused_ns == 0
           || (now >= model->paused_ns && !model->probing);
}

/* Has the model lines, or is it likely to have some soon? */
static bool
may_have_lines(
    const struct belay__batch *batch, const struct belay__batch_model *model)
{
    const uint64_t recent = RECENT_LINES * (uint64_t)batch->opts.concurrency;

    return model->ready.count > 0 || model->put_off != NULL
           || (!batch->all_seen && batch->stats->lines - model->seen <= recent);
}

/* Places that are a model's own as long as it may have lines: half of them all,
 * evenly. Nobody else gets these, so that however long a model's lines take,
 * a line of another is not kept waiting for one of them to end (B25).
 */
static uint32_t
own_places(const struct belay__batch *batch)
{
    const struct belay__batch_model *model = batch->models.first;
    uint32_t count = 0;
    uint32_t share;

    for (; model != NULL; model = model->next) {
        count += may_have_lines(batch, model);
    }
    share = count > 0 ? batch->opts.concurrency / (2 * count) : 0;
    return share > 1 ? share : 1;
}

/* Of the model's own places those that are free. */
static uint32_t
kept_for(const struct belay__batch *batch,
    const struct belay__batch_model *model, uint32_t own)
{
    return model->limit.in_use < own && may_have_lines(batch, model)
               ? own - model->limit.in_use
               : 0;
}

/* Would enough places be left for others? With many models each has one of its
 * own, and no more than half of them all are kept.
 */
static bool
leaves_enough(const struct belay__batch *batch, uint64_t kept_for_others)
{
    const uint64_t half = batch->opts.concurrency / 2;

    return batch->idle > (kept_for_others < half ? kept_for_others : half);
}

/* Of those that may go the one with the fewest under way. */
static struct belay__batch_model *
pick(const struct belay__batch *batch, int64_t now)
{
    struct belay__batch_model *model = batch->models.first;
    struct belay__batch_model *best = NULL;
    const uint32_t own = own_places(batch);
    uint64_t kept = 0;

    for (; model != NULL; model = model->next) {
        kept += kept_for(batch, model, own);
    }
    for (model = batch->models.first; model != NULL; model = model->next) {
        if (may_go(model, now)
            && (model->limit.in_use < own
                || leaves_enough(batch, kept - kept_for(batch, model, own)))
            && (best == NULL || model->limit.in_use < best->limit.in_use)) {
            best = model;
        }
    }
    return best;
}

/* ---- the alarm ---- */

static int64_t
next_due(const struct belay__batch *batch)
{
    const struct belay__item *sleeper = belay__sleepers_first(&batch->sleepers);
    const struct belay__batch_model *model = batch->models.first;
    int64_t due = sleeper != NULL ? sleeper->wakes_ns : NO_TIME;

    /* A pause that was over at the last look is not what holds its model up. */
    for (; model != NULL; model = model->next) {
        if (model->paused_ns > batch->scheduled_ns && !model->probing
            && model->ready.first != NULL && model->paused_ns < due) {
            due = model->paused_ns;
        }
    }
    return due;
}

static void
set_alarm(struct belay__batch *batch)
{
    const int64_t due = batch->stopping ? NO_TIME : next_due(batch);

    batch->stats->due_ns = due != NO_TIME ? due : 0;
    if (due < batch->alarm_ns) {
        belay_event_set(&batch->alarm_due);
    }
}

static void
wake_sleepers(struct belay__batch *batch, int64_t now)
{
    struct belay__item *item;

    while ((item = belay__sleepers_first(&batch->sleepers)) != NULL
           && item->wakes_ns <= now) {
        (void)belay__sleepers_take(&batch->sleepers);
        batch->stats->retrying--;
        item->model->asleep--;
        belay__item_list_push_first(&item->model->ready, item);
        batch->models.ready++;
    }
}

struct alarm_clock {
    struct belay__batch *batch;
};

BELAY_ASYNC(alarm_clock)
{
    struct belay__batch *batch = self->batch;

    BELAY_BEGIN;
    for (;;) {
        batch->alarm_ns = next_due(batch);
        BELAY_WITH (belay_cancel_scope_open(task,
            BELAY_CANCEL_SCOPE_OPTS(.name = "alarm",
                .deadline = {batch->alarm_ns}),
            NULL)) {
            BELAY_AWAIT(belay_event_wait(task, &batch->alarm_due));
        }
        belay_event_clear(&batch->alarm_due);
        belay__schedule(batch);
    }
    BELAY_END;
}

int
belay__schedule_start_alarm(struct belay__batch *batch)
{
    return belay_spawn(batch->helpers, alarm_clock, .batch = batch);
}

/* ---- lists ---- */

static void
count_bytes(struct belay__batch *batch, struct belay__item *item)
{
    batch->waiting_bytes += item->bytes;
    item->model->waiting_bytes += item->bytes;
}

static void
uncount_bytes(struct belay__batch *batch, struct belay__item *item)
{
    batch->waiting_bytes -= item->bytes;
    item->model->waiting_bytes -= item->bytes;
}

static void
put_ready(struct belay__batch *batch, struct belay__item *item)
{
    batch->models.ready++;
    count_bytes(batch, item);
}

static void
take_ready(struct belay__batch *batch, struct belay__item *item)
{
    belay__item_list_remove(&item->model->ready, item);
    batch->models.ready--;
    uncount_bytes(batch, item);
}

void
belay__schedule_first(struct belay__batch *batch, struct belay__item *item)
{
    belay__item_list_push_first(&item->model->ready, item);
    put_ready(batch, item);
}

void
belay__schedule_last(struct belay__batch *batch, struct belay__item *item)
{
    belay__item_list_push(&item->model->ready, item);
    put_ready(batch, item);
}

void
belay__schedule_sleep(
    struct belay__batch *batch, struct belay__item *item, int64_t span_ns)
{
    const int64_t now = belay__clock_now(batch->runtime);

    if (__builtin_add_overflow(now, span_ns, &item->wakes_ns)) {
        item->wakes_ns = NO_TIME - 1;
    }
    if (!belay__sleepers_add(&batch->sleepers, item)) {
        assert(false); /* there is room for every item */
        belay__schedule_first(batch, item);
        return;
    }
    count_bytes(batch, item);
    item->model->asleep++;
    batch->stats->retrying++;
}

void
belay__schedule_free(struct belay__batch *batch, struct belay__item_list *list,
    struct belay__item *item)
{
    belay__item_list_remove(list, item);
    belay_budget_doubt(&item->reservation);
    belay__free(batch->memory, item, item->bytes);
}

size_t
belay__schedule_items_max(const struct belay__batch *batch)
{
    return ITEMS * (size_t)batch->opts.concurrency;
}

static size_t
items(const struct belay__batch *batch)
{
    return batch->models.ready + batch->sleepers.count + batch->assigned.count
           + batch->active.count;
}

/* Between how many models is what may wait divided? Where a line cannot be put
 * off it is not: the next is of whatever model it is.
 */
static size_t
parts(const struct belay__batch *batch)
{
    const struct belay__batch_model *model = batch->models.first;
    size_t count = 0;

    if (!batch->rereadable) {
        return 1;
    }
    for (; model != NULL; model = model->next) {
        count += model->asleep > 0 || model->limit.in_use > 0
                 || may_have_lines(batch, model);
    }
    return count > 0 ? count : 1;
}

static size_t
ready_share(const struct belay__batch *batch, size_t of_parts)
{
    const size_t share = 2 * (size_t)batch->opts.concurrency / of_parts;

    return share > 2 ? share : 2;
}

bool
belay__schedule_is_short(
    const struct belay__batch *batch, const struct belay__batch_model *model)
{
    return model->ready.count <= ready_share(batch, parts(batch)) / 2;
}

static bool
has_bytes(size_t held, size_t more, size_t most)
{
    return held == 0 || held + more <= most;
}

/* A model that waits holds lines that were under way too: however many such
 * models there are, all together is bounded.
 */
bool
belay__schedule_has_room(const struct belay__batch *batch,
    const struct belay__batch_model *model, size_t bytes)
{
    const size_t divisor = parts(batch);
    const size_t ready = ready_share(batch, divisor);

    if (items(batch) >= belay__schedule_items_max(batch)
        || !has_bytes(batch->waiting_bytes, bytes,
            ALL_BYTES * BELAY__BATCH_READY_BYTES)) {
        return false;
    }
    if (!batch->rereadable) {
        return batch->models.ready < ready && batch->sleepers.count < 2 * ready
               && has_bytes(
                   batch->waiting_bytes, bytes, BELAY__BATCH_READY_BYTES);
    }
    return model->ready.count < ready && model->asleep < 2 * ready
           && has_bytes(
               model->waiting_bytes, bytes, BELAY__BATCH_READY_BYTES / divisor);
}

/* ---- giving ---- */

static void
give(struct belay__batch *batch, struct belay__batch_model *model)
{
    struct belay__item *item = model->ready.first;

    take_ready(batch, item);
    belay__item_list_push(&batch->assigned, item);
    item->begun = belay__limit_begin(&model->limit);
    item->probe = model->paused_ns != 0;
    model->probing |= item->probe;
    batch->idle--;
    belay_semaphore_release(&batch->work);
    belay_event_set(&batch->moved);
}

/* A line that nobody could say the price of is not sent. */
static void
refuse(struct belay__batch *batch, struct belay__item *item, int code)
{
    take_ready(batch, item);
    belay__item_list_push(&batch->assigned, item);
    if (code == BELAY_ENOCAP) {
        belay__batch_write_error(batch, &item->ref, BELAY__LINE_NO_OUTPUT_CAP,
            item->size.adds_input
                ? "nothing limits how long the answer may be, or what the "
                  "server adds to the request, and there is a budget"
                : "nothing limits how long the answer may be, and there is a "
                  "budget");
    } else {
        belay__batch_write_error(batch, &item->ref, BELAY__LINE_NO_PRICE,
            "the model has no price, and there is a budget");
    }
    belay__schedule_free(batch, &batch->assigned, item);
    belay_event_set(&batch->moved);
}

/* The first of the model gets its money, or is in the way of nobody. False:
 * there is none now.
 */
static bool
pay(struct belay__batch *batch, struct belay__batch_model *model)
{
    struct belay__item *item = model->ready.first;
    const int code = belay__batch_reserve(batch, item);

    switch (code) {
    case 0:
        give(batch, model);
        return true;
    case BELAY_EAGAIN:
        batch->short_of_money = true;
        return false;
    case BELAY_ENOCAP:
    case BELAY_ENOPRICE:
        refuse(batch, item, code);
        return true;
    case BELAY_EBUDGET:
        belay__batch_stop(batch, BELAY__BATCH_BUDGET, 0, NULL);
        return false;
    default:
        belay__batch_stop(batch, BELAY__BATCH_NO_MEMORY, code, NULL);
        return false;
    }
}

/* Everything that was let in has an end: the workers go home. */
static void
end_if_done(struct belay__batch *batch)
{
    if (batch->done || batch->reader != NULL || batch->models.ready > 0
        || batch->sleepers.count > 0 || batch->assigned.count > 0
        || batch->active.count > 0) {
        return;
    }
    batch->done = true;
    for (uint32_t i = 0; i < batch->opts.concurrency; i++) {
        belay_semaphore_release(&batch->work);
    }
}

void
belay__schedule(struct belay__batch *batch)
{
    const int64_t now = belay__clock_now(batch->runtime);
    struct belay__batch_model *model;

    batch->scheduled_ns = now;
    if (!batch->stopping) {
        wake_sleepers(batch, now);
    }
    while (!batch->stopping && batch->idle > 0 && !batch->short_of_money
           && (model = pick(batch, now)) != NULL) {
        if (!pay(batch, model)) {
            break;
        }
    }
    set_alarm(batch);
    end_if_done(batch);
}

belay_next
belay__schedule_wait(belay_task *task, struct belay__batch *batch)
{
    batch->idle++;
    belay__schedule(batch);
    if (batch->idle > 0) {
        belay_event_set(&batch->moved); /* the reader may look further ahead */
    }
    return belay_semaphore_acquire(task, &batch->work);
}

struct belay__item *
belay__schedule_next(struct belay__batch *batch)
{
    struct belay__item *item = batch->assigned.first;

    if (item != NULL) {
        belay__item_list_remove(&batch->assigned, item);
        belay__item_list_push(&batch->active, item);
    }
    return item;
}

/* ---- the end ---- */

/* It was not tried, or not to the end. */
static void
drop(struct belay__batch *batch, struct belay__item *item)
{
    belay__batch_leave(batch, &item->ref);
    if (item->attempts > 0 && !item->charged) {
        belay__batch_state_unsent(&batch->state, item->ref.number);
    }
    belay__free(batch->memory, item, item->bytes);
}

void
belay__schedule_close(struct belay__batch *batch)
{
    struct belay__item *item;

    belay__schedule_drop(batch);
    batch->stats->dropped +=
        belay__models_forget_put_off(&batch->models, batch->memory);
    while ((item = batch->assigned.first) != NULL) {
        if (item->attempts > 0 && !item->charged) {
            belay__batch_state_unsent(&batch->state, item->ref.number);
        }
        belay__batch_leave(batch, &item->ref);
        belay__schedule_free(batch, &batch->assigned, item);
    }
}

void
belay__schedule_drop(struct belay__batch *batch)
{
    struct belay__batch_model *model = batch->models.first;
    struct belay__item *item;

    for (; model != NULL; model = model->next) {
        while ((item = model->ready.first) != NULL) {
            take_ready(batch, item);
            drop(batch, item);
        }
    }
    while (batch->sleepers.count > 0) {
        item = belay__sleepers_take(&batch->sleepers);
        batch->stats->retrying--;
        item->model->asleep--;
        uncount_bytes(batch, item);
        drop(batch, item);
    }
    if (batch->leaving == BELAY__LINE_OK) { /* else the reader leaves them */
        batch->stats->dropped +=
            belay__models_forget_put_off(&batch->models, batch->memory);
    }
    belay_event_set(&batch->moved);
}
