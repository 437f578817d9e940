/* dry_run.h - what a batch would do, without a network (private). Rule: B28. */
#ifndef BELAY_LLM_BATCH_DRY_RUN_H
#define BELAY_LLM_BATCH_DRY_RUN_H

#include "llm/batch/batch.h"
#include "runtime/buffer.h"

#define BELAY__DRY_MODELS 64

/* What lines may use, from the least to the most. */
struct belay__dry_range {
    int64_t low;
    int64_t expected;
    int64_t high;
};

struct belay__dry_model {
    char name[64]; /* fit for a terminal; cut short if need be */
    uint64_t lines;
    uint64_t unlimited; /* lines whose answer nothing limits */
    uint64_t unbounded; /* lines to which the server adds nobody knows what */
    uint64_t unpriced;  /* lines whose model has no price */
    struct belay__dry_range in_tokens;
    struct belay__dry_range out_tokens;
    struct belay__dry_range pico; /* cost, of the lines that have a price */
};

struct belay__dry_run {
    uint64_t lines;
    uint64_t bytes;
    uint64_t faults[BELAY__LINE_ERROR_COUNT];
    uint64_t bad;      /* the sum of these */
    char first[256];   /* what is wrong with the first of them */
    uint64_t no_price; /* with a budget these two are not sent */
    uint64_t no_cap;
    int64_t dearest; /* picodollars, the most that one line may cost */
    struct belay__dry_model models[BELAY__DRY_MODELS]; /* the last: the rest */
    size_t model_count;
};

/* Reads the whole input and adds up what its lines would ask for. Nothing is
 * written, nothing is sent.
 *
 *   ret  zeroed by the caller
 *
 * Errors:  an input that cannot be read; BELAY_ENOMEM.
 * Threads: loop thread. Cancellation point.
 */
belay_next belay__batch_dry_run(belay_task *task,
    const struct belay__batch_opts *opts, struct belay__dry_run *ret);

/* Appends the report for people. Errors: BELAY_ENOMEM. */
int belay__dry_run_text(struct belay__buffer *buffer,
    const struct belay__dry_run *dry, const struct belay__batch_opts *opts);

#endif
