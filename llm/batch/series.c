/* series.c - how a batch went over time, in a fixed space. */
#include "llm/batch/series.h"

int64_t
belay__series_interval(const struct belay__series *series)
{
    return series->interval_ns > 0 ? series->interval_ns : BELAY__SERIES_NS;
}

/* The first stays, so that the k-th is still the one of k intervals. */
static void
thin_out(struct belay__series *series)
{
    series->count /= 2;
    for (size_t i = 0; i < series->count; i++) {
        series->samples[i] = series->samples[2 * i];
    }
    series->interval_ns = 2 * belay__series_interval(series);
}

void
belay__series_add(
    struct belay__series *series, const struct belay__sample *sample)
{
    if (series->count == BELAY__SERIES_SAMPLES) {
        thin_out(series);
    }
    series->samples[series->count++] = *sample;
}
