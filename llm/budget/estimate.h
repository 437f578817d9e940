/* estimate.h - how many tokens a text may be (private).
 *
 * Nobody but the server knows. What is said here is an estimate from the
 * classes of the text's bytes, corrected by how the server counted before, or
 * an upper bound; never a count. Rules: L52, L54, L56.
 */
#ifndef BELAY_LLM_BUDGET_ESTIMATE_H
#define BELAY_LLM_BUDGET_ESTIMATE_H

#include <belay/base.h>

#define BELAY__ESTIMATE_KEPT 64 /* ratios that a correction is made of */

/* What one model's server has taught; {0} is one that has said nothing. */
struct belay__estimator {
    float ratios[BELAY__ESTIMATE_KEPT]; /* counted / by bytes; a ring */
    uint32_t learned;                   /* ever */
    int64_t out_tokens; /* of an answer, a moving mean; 0: none was counted */
};

/* By the bytes alone, uncorrected. */
int64_t belay__estimate_bytes(struct belay_slice text);

/* Corrected to the mean of what was learned. */
int64_t belay__estimate_mean(
    const struct belay__estimator *estimator, int64_t by_bytes);

/* A text's, corrected as above (NULL: not at all), but no more than it can be;
 * at least 1 for what is not empty.
 */
int64_t belay__estimate_text(
    const struct belay__estimator *estimator, struct belay_slice text);

/* Corrected to the 95th percentile of it; while little was learned, with a
 * wide margin.
 */
int64_t belay__estimate_high(
    const struct belay__estimator *estimator, int64_t by_bytes);

/* The server has counted what was estimated. */
void belay__estimate_learn(
    struct belay__estimator *estimator, int64_t by_bytes, int64_t counted);

/* So many tokens were in an answer. */
void belay__estimate_learn_output(
    struct belay__estimator *estimator, int64_t counted);

/* No tokeniser that works on bytes makes more tokens of a text, or of a request
 * without tools, than this: a token is a byte at least, and what frames a
 * message in tokens does so in more bytes of JSON.
 */
int64_t belay__estimate_bound(size_t body_bytes);

#endif
