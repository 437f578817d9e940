/* sample.c - what a running batch looks like, now and over time. */
#include "llm/batch/pipeline.h"
#include "llm/printable.h"

#include <string.h>

static void
add_model(struct belay__named_stats *sum, const struct belay__model_stats *more)
{
    sum->stats.ok += more->ok;
    sum->stats.failed += more->failed;
    sum->stats.congested += more->congested;
    belay__stats_add_tokens(&sum->stats.tokens_in, more->tokens_in);
    belay__stats_add_tokens(&sum->stats.tokens_out, more->tokens_out);
    sum->stats.unpriced += more->unpriced;
    belay__stats_add_money(&sum->stats.spent, more->spent);
    belay__stats_add_money(&sum->stats.uncertain, more->uncertain);
}

/* How many may be in flight, and what each model has done. */
void
belay__batch_look_at_models(struct belay__batch *batch)
{
    const struct belay__batch_model *model = batch->models.first;
    struct belay__batch_stats *stats = batch->stats;
    uint64_t limit = 0;
    const bool is_rest = batch->models.count > BELAY__STATS_MODELS;
    size_t i = 0;

    memset(stats->models, 0, sizeof(stats->models));
    for (; model != NULL; model = model->next) {
        struct belay__named_stats *named = &stats->models[i];

        if (batch->reader != NULL || model->ready.count > 0
            || model->limit.in_use > 0) {
            limit += model->limit.limit;
        }
        (void)belay__printable(
            is_rest && i + 1 == BELAY__STATS_MODELS ? BELAY__REST : model->name,
            NULL, named->name, sizeof(named->name));
        add_model(named, &model->stats);
        i += i + 1 < BELAY__STATS_MODELS;
    }
    stats->model_count = batch->models.count < BELAY__STATS_MODELS
                             ? batch->models.count
                             : BELAY__STATS_MODELS;
    stats->limit = limit < batch->opts.concurrency ? (uint32_t)limit
                                                   : batch->opts.concurrency;
}

static void
take_sample(struct belay__batch *batch)
{
    const struct belay__batch_stats *stats = batch->stats;

    belay__batch_look_at_models(batch);
    belay__series_add(&batch->stats->series,
        &(const struct belay__sample){
            .done = stats->ok + stats->failed,
            .congested = stats->congested,
            .tokens = stats->tokens_in + stats->tokens_out,
            .in_flight = stats->in_flight,
            .limit = stats->limit,
        });
}

struct sampler {
    struct belay__batch *batch;
};

BELAY_ASYNC(sampler)
{
    struct belay__batch *batch = self->batch;

    BELAY_BEGIN;
    for (;;) {
        take_sample(batch);
        BELAY_AWAIT(belay_sleep(task,
            belay_nanoseconds(belay__series_interval(&batch->stats->series))));
    }
    BELAY_END;
}

int
belay__batch_start_sampler(struct belay__batch *batch)
{
    return belay_spawn(batch->helpers, sampler, .batch = batch);
}
