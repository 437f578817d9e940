/* series.h - how a batch went over time, in a fixed space (private).
 *
 * A sample is taken every interval. When there is no room for another, every
 * second one goes and the interval doubles, so that a minute and a week both
 * have between half of the samples and all of them. Sums, not rates, are kept:
 * what is between two samples is exact however far they are apart.
 */
#ifndef BELAY_LLM_BATCH_SERIES_H
#define BELAY_LLM_BATCH_SERIES_H

#include <stddef.h>
#include <stdint.h>

#define BELAY__SERIES_SAMPLES 240 /* even */
#define BELAY__SERIES_NS INT64_C(250000000)

struct belay__sample {
    uint64_t done;      /* results so far */
    uint64_t congested; /* refused attempts so far */
    uint64_t tokens;    /* so far, in and out */
    uint32_t in_flight; /* now */
    uint32_t limit;     /* now */
};

struct belay__series {
    int64_t interval_ns; /* {0}: as it begins, BELAY__SERIES_NS */
    size_t count;
    struct belay__sample samples[BELAY__SERIES_SAMPLES];
};

/* The time from one sample to the next. */
int64_t belay__series_interval(const struct belay__series *series);

/* Takes one; the first is for the start. */
void belay__series_add(
    struct belay__series *series, const struct belay__sample *sample);

#endif
