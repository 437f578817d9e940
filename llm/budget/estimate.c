/* estimate.c - tokens from bytes, corrected by experience. */
#include "llm/budget/estimate.h"

#include <stdlib.h>
#include <string.h>

/* Tokens a thousand bytes, roughly as the byte-pair vocabularies of today have
 * them; what is wrong with them the correction takes out.
 */
#define WORD_RATE 235   /* ASCII letters and blanks: 4.3 bytes a token */
#define DIGIT_RATE 400  /* up to three digits a token */
#define MARK_RATE 500   /* punctuation of ASCII */
#define WIDE_RATE 400   /* characters of three or four bytes, as CJK's */
#define ACCENT_RATE 450 /* of two bytes, as Greek's */

#define BOUND_EXTRA 64    /* what frames the whole prompt */
#define LEARNED_ENOUGH 20 /* for a 95th percentile */
#define MARGIN_UNLEARNED 1.6
#define MEAN_OF 8 /* answers that the moving mean is made of, about */

/* A byte's rate, by its class; what follows a leading byte is counted with it.
 */
#define ALL(r) r, r, r, r, r, r, r, r, r, r, r, r, r, r, r, r
#define W WORD_RATE
#define D DIGIT_RATE
#define M MARK_RATE

static const uint16_t rates[256] = {
    ALL(M), ALL(M),                                 /* controls */
    W, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, /* blank to slash */
    D, D, D, D, D, D, D, D, D, D, M, M, M, M, M, M, /* digits */
    M, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* @, A to O */
    W, W, W, W, W, W, W, W, W, W, W, M, M, M, M, M, /* P to Z */
    M, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* `, a to o */
    W, W, W, W, W, W, W, W, W, W, W, M, M, M, M, M, /* p to z */
    ALL(0), ALL(0), ALL(0), ALL(0),                 /* what follows */
    ALL(2 * ACCENT_RATE), ALL(2 * ACCENT_RATE),     /* two bytes */
    ALL(3 * WIDE_RATE), ALL(3 * WIDE_RATE),         /* three and four */
};

int64_t
belay__estimate_bytes(struct belay_slice text)
{
    int64_t thousandths = 0;

    for (size_t i = 0; i < text.len; i++) {
        thousandths += rates[(unsigned char)text.data[i]];
    }
    return (thousandths + 999) / 1000;
}

static uint32_t
kept(const struct belay__estimator *estimator)
{
    return estimator->learned < BELAY__ESTIMATE_KEPT ? estimator->learned
                                                     : BELAY__ESTIMATE_KEPT;
}

/* Rounded up: an estimate is used to hold enough. */
static int64_t
scaled(int64_t count, double by)
{
    const double product = (double)count * by;

    return product < 9e18 ? (int64_t)product + 1 : INT64_MAX;
}

int64_t
belay__estimate_mean(const struct belay__estimator *estimator, int64_t by_bytes)
{
    const uint32_t count = kept(estimator);
    double sum = 0;

    if (count == 0) {
        return by_bytes;
    }
    for (uint32_t i = 0; i < count; i++) {
        sum += (double)estimator->ratios[i];
    }
    return scaled(by_bytes, sum / count);
}

int64_t
belay__estimate_text(
    const struct belay__estimator *estimator, struct belay_slice text)
{
    static const struct belay__estimator unlearned;
    const int64_t by_bytes = belay__estimate_bytes(text);
    const int64_t bound = belay__estimate_bound(text.len);
    const int64_t mean = belay__estimate_mean(
        estimator != NULL ? estimator : &unlearned, by_bytes);

    if (by_bytes == 0) {
        return 0;
    }
    return mean < bound ? mean : bound;
}

static int
compare(const void *a, const void *b)
{
    const float x = *(const float *)a;
    const float y = *(const float *)b;

    return (x > y) - (x < y);
}

int64_t
belay__estimate_high(const struct belay__estimator *estimator, int64_t by_bytes)
{
    const uint32_t count = kept(estimator);
    float sorted[BELAY__ESTIMATE_KEPT];
    double high;

    if (count == 0) {
        return scaled(by_bytes, MARGIN_UNLEARNED);
    }
    memcpy(sorted, estimator->ratios, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), compare);
    high = (double)sorted[count - 1 - count / 20];
    return scaled(
        by_bytes, count < LEARNED_ENOUGH ? high * MARGIN_UNLEARNED : high);
}

void
belay__estimate_learn(
    struct belay__estimator *estimator, int64_t by_bytes, int64_t counted)
{
    if (by_bytes <= 0 || counted <= 0) {
        return;
    }
    estimator->ratios[estimator->learned % BELAY__ESTIMATE_KEPT] =
        (float)((double)counted / (double)by_bytes);
    estimator->learned++;
    if (estimator->learned == 2 * BELAY__ESTIMATE_KEPT) {
        estimator->learned = BELAY__ESTIMATE_KEPT; /* it never wraps */
    }
}

void
belay__estimate_learn_output(
    struct belay__estimator *estimator, int64_t counted)
{
    const int64_t mean = estimator->out_tokens;

    if (counted > 0) {
        estimator->out_tokens =
            mean > 0 ? mean - mean / MEAN_OF + counted / MEAN_OF : counted;
    }
}

int64_t
belay__estimate_bound(size_t body_bytes)
{
    return body_bytes < INT64_MAX - BOUND_EXTRA
               ? (int64_t)body_bytes + BOUND_EXTRA
               : INT64_MAX;
}
