/* rate.h - how fast a server may be asked (private).
 *
 * One limiter stands for what a provider counts together: one base URL, one
 * key, one group of models. It holds buckets of requests and tokens that fill
 * steadily; an attempt takes from all of them or waits, first come first
 * served. Nothing is polled: one timer stands at the moment at which the first
 * in the queue can go. Rules: L60-L65.
 */
#ifndef BELAY_LLM_BUDGET_RATE_H
#define BELAY_LLM_BUDGET_RATE_H

#include <belay/sync.h>

#include "llm/retry.h"
#include "runtime/scope.h"

/* What is counted. Providers limit tokens together, or each way by itself. */
enum belay__rate_kind {
    BELAY__RATE_REQUESTS,
    BELAY__RATE_TOKENS,
    BELAY__RATE_IN_TOKENS,
    BELAY__RATE_OUT_TOKENS,
    BELAY__RATE_KINDS,
};

struct belay__rate_limits {
    int64_t per_minute[BELAY__RATE_KINDS]; /* 0: unlimited until learned */
    belay_duration burst; /* what a full bucket holds; 0: one second's worth */
    belay_duration ramp;  /* from a tenth of the rate to all of it; 0: none */
};

/* Amounts in a bucket are billionths: filling is exact in nanoseconds. */
struct belay__bucket {
    int64_t per_minute; /* 0: unlimited */
    int64_t configured; /* what per_minute may not rise above; 0: anything */
    int64_t capacity;
    int64_t level; /* below 0: what was taken ahead, or charged afterwards */
    int64_t filled_ns;
};

struct belay__rate {
    belay_runtime *runtime;
    struct belay__timer timer;
    struct belay__bucket buckets[BELAY__RATE_KINDS];
    struct belay_waiters waiters;
    int64_t burst_ns;
    int64_t ramp_ns;
    int64_t opened_ns;
    int64_t paused_ns; /* if paused: until then nobody goes */
    bool paused;
    bool probing; /* after a pause one goes first; the rest when it is back */
    bool closed;
};

/* What an attempt takes, and has taken. The caller's; {0} has taken nothing.
 * It must stay where it is while it waits.
 */
struct belay__rate_use {
    struct belay__rate *limiter; /* NULL: nothing is taken */
    struct belay__rate *awaited; /* while its task waits for it */
    int64_t count[BELAY__RATE_KINDS];
    bool charged[BELAY__RATE_KINDS]; /* the bucket was known at the time */
    bool probe;
};

/* Errors: BELAY_ENOMEM. The memory is the caller's and must stay in place. */
int belay__rate_init(struct belay__rate *limiter, belay_runtime *runtime,
    const struct belay__rate_limits *limits);
/* Those who wait, and who come from now on, get BELAY_ECLOSED. */
void belay__rate_close(struct belay__rate *limiter);
/* Nothing is taken any more. {0} is fine. */
void belay__rate_fini(struct belay__rate *limiter);

/* How many tokens of this kind go in a minute; INT64_MAX: any number. */
int64_t belay__rate_minute(
    const struct belay__rate *limiter, enum belay__rate_kind kind);

/* Is any bucket but that of requests limited? */
bool belay__rate_counts_tokens(const struct belay__rate *limiter);

/* An await: takes use->count, as soon as there is enough and those before it
 * have gone. Cancellation point. On failure nothing is taken. Errors:
 * BELAY_ECLOSED.
 */
belay_next belay__rate_take(
    belay_task *task, struct belay__rate *limiter, struct belay__rate_use *use);

/* The same without waiting; false: it has to wait, or is closed. */
bool belay__rate_take_now(
    struct belay__rate *limiter, struct belay__rate_use *use);

/* How an attempt ended, for the buckets. */
enum belay__rate_end {
    BELAY__RATE_COUNTED,  /* `used` is what it really was */
    BELAY__RATE_UNKNOWN,  /* nobody knows: what was taken stays taken */
    BELAY__RATE_REJECTED, /* the server did not count it: tokens come back */
    BELAY__RATE_UNSENT,   /* the server has never heard of it: all comes back */
};

/* The attempt is over; `use` has then taken nothing. `used` counts only for
 * COUNTED, and a negative number in it is not known. What was used beyond what
 * was taken is charged (L65), but no bucket falls by that below what it fills
 * with in a minute, or below what the attempt has taken if that is more: a
 * server that counts wrongly does not stop its client for longer. Runs no step
 * itself.
 */
void belay__rate_settle(struct belay__rate_use *use, enum belay__rate_end end,
    const int64_t used[BELAY__RATE_KINDS]);

/* The server has begun to answer it: no need for others to wait for its end. */
void belay__rate_passed(struct belay__rate_use *use);

/* Nobody goes for so long; then one, and after it has come back the others
 * (L64); one that has come back UNSENT or UNKNOWN is followed by one more. Of
 * several pauses the longest counts. To be called before the attempt that
 * brought it is settled.
 */
void belay__rate_pause(struct belay__rate *limiter, int64_t span_ns);

/* What an answer's headers tell of the server's own buckets: a limit sets the
 * rate, what remains only lowers the level (L63).
 */
void belay__rate_learn(
    struct belay__rate *limiter, const struct belay__llm_headers *headers);

#endif
