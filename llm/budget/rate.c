/* rate.c - token buckets with one queue and one timer.
 *
 * Invariants: level <= capacity; the queue is empty or its first cannot go
 * now; in the second case the timer is armed, unless a probe's end will come
 * back here. Only dispatch() lets anyone go.
 */
#include "llm/budget/rate.h"

#include "runtime/internal.h"

#define UNIT INT64_C(1000000000)
#define COUNT_MAX INT64_C(4000000000) /* of tokens in a bucket or a request */
#define NS_PER_MINUTE INT64_C(60000000000)
#define RAMP_START 10 /* percent */
/* On the ramp it gets faster than a wait was computed for: looked at again. */
#define RAMP_LOOKS 32

__extension__ typedef __int128 wide;

/* ---- one bucket ---- */

static int64_t
bounded(int64_t count)
{
    return count < 0 ? 0 : count > COUNT_MAX ? COUNT_MAX : count;
}

static void
set_rate(const struct belay__rate *limiter, struct belay__bucket *bucket,
    int64_t per_minute)
{
    const wide capacity =
        (wide)per_minute * UNIT * limiter->burst_ns / NS_PER_MINUTE;

    bucket->per_minute = per_minute;
    bucket->capacity =
        capacity > COUNT_MAX * UNIT ? COUNT_MAX * UNIT : (int64_t)capacity;
    if (bucket->capacity < UNIT) {
        bucket->capacity = UNIT; /* of a slow one: a request at a time */
    }
    if (bucket->level > bucket->capacity) {
        bucket->level = bucket->capacity;
    }
}

/* Billionths a minute now, while the ramp is climbed less than the rate. */
static wide
speed(const struct belay__rate *limiter, const struct belay__bucket *bucket,
    int64_t now_ns)
{
    const wide full = (wide)bucket->per_minute * UNIT;
    const int64_t climbed = now_ns - limiter->opened_ns;

    if (climbed >= limiter->ramp_ns) {
        return full;
    }
    return full * RAMP_START / 100
           + full * (100 - RAMP_START) / 100 * climbed / limiter->ramp_ns;
}

static void
fill(const struct belay__rate *limiter, struct belay__bucket *bucket,
    int64_t now_ns)
{
    const wide more = speed(limiter, bucket, bucket->filled_ns)
                      * (now_ns - bucket->filled_ns) / NS_PER_MINUTE;

    if (more >= bucket->capacity - (wide)bucket->level) {
        bucket->level = bucket->capacity;
    } else {
        bucket->level += (int64_t)more;
    }
    bucket->filled_ns = now_ns;
}

/* What must be there to go: one that wants more than the bucket holds goes
 * when it is full, and leaves it below zero (L62).
 */
static int64_t
needed(const struct belay__bucket *bucket, int64_t count)
{
    const int64_t wanted = count * UNIT;

    return wanted < bucket->capacity ? wanted : bucket->capacity;
}

/* How long until there is enough; 0: there is. */
static int64_t
wait_ns(const struct belay__rate *limiter, const struct belay__bucket *bucket,
    int64_t count, int64_t now_ns)
{
    const wide missing = (wide)needed(bucket, count) - bucket->level;
    wide per_minute;
    wide ns;

    if (bucket->per_minute == 0 || count == 0 || missing <= 0) {
        return 0;
    }
    per_minute = speed(limiter, bucket, now_ns);
    ns = (missing * NS_PER_MINUTE + per_minute - 1) / per_minute;
    return ns < INT64_MAX ? (int64_t)ns : INT64_MAX;
}

/* Gives back, or takes more; the level does not fall below `lowest` by that. */
static void
correct(struct belay__bucket *bucket, int64_t back, int64_t lowest)
{
    const wide level = (wide)bucket->level + (wide)back * UNIT;

    if (level > bucket->capacity) {
        bucket->level = bucket->capacity;
    } else if (back >= 0 || level >= lowest) {
        bucket->level = (int64_t)level;
    } else if (bucket->level > lowest) {
        bucket->level = lowest;
    }
}

/* ---- the queue ---- */

static enum belay_abort abort_wait(belay_task *task);
static const struct belay__wait_kind limit_wait = {"rate limit", abort_wait};

/* When an attempt can go; now or earlier: it can now. */
static int64_t
due_of(const struct belay__rate *limiter, const struct belay__rate_use *use,
    int64_t now_ns)
{
    int64_t longest = 0;

    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        const int64_t ns =
            wait_ns(limiter, &limiter->buckets[i], use->count[i], now_ns);

        longest = ns > longest ? ns : longest;
    }
    return longest < INT64_MAX - now_ns ? now_ns + longest : INT64_MAX;
}

static void
let_go(struct belay__rate *limiter, struct belay__rate_use *use)
{
    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        use->charged[i] = limiter->buckets[i].per_minute > 0;
        if (use->charged[i]) {
            correct(&limiter->buckets[i], -use->count[i], -COUNT_MAX * UNIT);
        }
    }
    use->limiter = limiter;
    use->probe = limiter->paused;
    limiter->probing = limiter->paused;
    limiter->paused = false;
}

/* When the one whose turn it is can go; INT64_MAX: somebody else will tell. */
static int64_t
due_at(struct belay__rate *limiter, const struct belay__rate_use *use,
    int64_t now_ns)
{
    int64_t due_ns;

    if (limiter->probing) {
        return INT64_MAX;
    }
    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        fill(limiter, &limiter->buckets[i], now_ns);
    }
    due_ns = due_of(limiter, use, now_ns);
    if (now_ns - limiter->opened_ns < limiter->ramp_ns
        && due_ns > now_ns + limiter->ramp_ns / RAMP_LOOKS) {
        due_ns = now_ns + limiter->ramp_ns / RAMP_LOOKS + 1;
    }
    return limiter->paused && due_ns < limiter->paused_ns ? limiter->paused_ns
                                                          : due_ns;
}

static void
dispatch(struct belay__rate *limiter)
{
    const int64_t now_ns = belay__clock_now(limiter->runtime);
    int64_t due_ns = INT64_MAX;
    belay_task *first;

    while ((first = belay__waiters_first(&limiter->waiters)) != NULL) {
        due_ns = due_at(limiter, first->wait.data, now_ns);
        if (due_ns > now_ns) {
            break;
        }
        let_go(limiter, first->wait.data);
        belay__wake(first, 0, NULL);
    }
    if (first == NULL || due_ns == INT64_MAX) {
        belay__timer_stop(limiter->runtime, &limiter->timer);
    } else {
        belay__timer_start(limiter->runtime, &limiter->timer, due_ns);
    }
}

static void
on_timer(struct belay__timer *timer)
{
    dispatch(BELAY__CONTAINER(timer, struct belay__rate, timer));
}

/* The first may have held up those behind it. */
static enum belay_abort
abort_wait(belay_task *task)
{
    const struct belay__rate_use *use = task->wait.data;

    belay__waiters_remove(task);
    dispatch(use->awaited);
    return BELAY_ABORT_DONE;
}

int64_t
belay__rate_minute(
    const struct belay__rate *limiter, enum belay__rate_kind kind)
{
    const int64_t own = limiter->buckets[kind].per_minute;
    const int64_t both = limiter->buckets[BELAY__RATE_TOKENS].per_minute;

    if (own == 0 || both == 0) {
        return own + both > 0 ? own + both : INT64_MAX;
    }
    return own < both ? own : both;
}

bool
belay__rate_counts_tokens(const struct belay__rate *limiter)
{
    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        if (i != BELAY__RATE_REQUESTS && limiter->buckets[i].per_minute > 0) {
            return true;
        }
    }
    return false;
}

bool
belay__rate_take_now(struct belay__rate *limiter, struct belay__rate_use *use)
{
    const int64_t now_ns = belay__clock_now(limiter->runtime);

    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        use->count[i] = bounded(use->count[i]);
    }
    if (limiter->closed || belay__waiters_first(&limiter->waiters) != NULL
        || due_at(limiter, use, now_ns) > now_ns) {
        return false;
    }
    let_go(limiter, use);
    return true;
}

belay_next
belay__rate_take(
    belay_task *task, struct belay__rate *limiter, struct belay__rate_use *use)
{
    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        use->count[i] = bounded(use->count[i]);
    }
    if (!belay__wait_begin(task, &limit_wait)) {
        return belay__next(BELAY__HOW_WAIT);
    }
    if (limiter->closed) {
        belay__wake(task, BELAY_ECLOSED, NULL);
        return belay__next(BELAY__HOW_WAIT);
    }
    use->awaited = limiter;
    task->wait.data = use;
    belay__waiters_push(&limiter->waiters, task);
    if (belay__waiters_first(&limiter->waiters) == task) {
        dispatch(limiter);
    }
    return belay__next(BELAY__HOW_WAIT);
}

/* ---- what comes back ---- */

/* What a bucket gets back, or less than nothing. */
static int64_t
back_of(enum belay__rate_kind kind, enum belay__rate_end end, int64_t taken,
    int64_t used)
{
    if (end == BELAY__RATE_UNSENT) {
        return taken;
    }
    if (end == BELAY__RATE_REJECTED) {
        return kind == BELAY__RATE_REQUESTS ? 0 : taken;
    }
    return end == BELAY__RATE_COUNTED && used >= 0 ? taken - bounded(used) : 0;
}

/* Below that nobody's use is charged: a count that cannot be true would stop
 * everybody for days.
 */
static int64_t
lowest_of(const struct belay__bucket *bucket, int64_t taken)
{
    const int64_t minute = bounded(bucket->per_minute);

    return -(taken > minute ? taken : minute) * UNIT;
}

void
belay__rate_settle(struct belay__rate_use *use, enum belay__rate_end end,
    const int64_t used[BELAY__RATE_KINDS])
{
    struct belay__rate *limiter = use->limiter;
    int64_t now_ns;

    if (limiter == NULL) {
        return;
    }
    now_ns = belay__clock_now(limiter->runtime);
    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        struct belay__bucket *bucket = &limiter->buckets[i];

        if (use->charged[i]) {
            fill(limiter, bucket, now_ns);
            correct(bucket,
                back_of((enum belay__rate_kind)i, end, use->count[i],
                    end == BELAY__RATE_COUNTED ? used[i] : -1),
                lowest_of(bucket, use->count[i]));
        }
    }
    if (use->probe) {
        limiter->probing = false;
    }
    if (use->probe && !limiter->paused
        && (end == BELAY__RATE_UNSENT || end == BELAY__RATE_UNKNOWN)) {
        /* It has learned nothing: cancelled, or without an answer. The next
         * one goes first in its place. */
        limiter->paused = true;
        limiter->paused_ns = now_ns;
    }
    *use = (struct belay__rate_use){.limiter = NULL};
    dispatch(limiter);
}

void
belay__rate_passed(struct belay__rate_use *use)
{
    if (use->probe) {
        use->probe = false;
        use->limiter->probing = false;
        dispatch(use->limiter);
    }
}

void
belay__rate_pause(struct belay__rate *limiter, int64_t span_ns)
{
    const int64_t now_ns = belay__clock_now(limiter->runtime);
    int64_t until_ns;

    if (__builtin_add_overflow(now_ns, span_ns, &until_ns)) {
        until_ns = INT64_MAX - 1;
    }
    if (!limiter->paused || until_ns > limiter->paused_ns) {
        limiter->paused_ns = until_ns;
    }
    limiter->paused = true;
    dispatch(limiter);
}

/* ---- what a server tells ---- */

/* A count from a header; -1 if it is none. */
static int64_t
read_count(const struct belay__llm_headers *headers, const char *name)
{
    const struct belay_slice text = headers->get_fn(headers->arg, name);
    int64_t count = 0;

    if (text.len == 0 || text.len > 18) {
        return -1;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }
        count = count * 10 + (text.data[i] - '0');
    }
    return count;
}

static void
learn_bucket(struct belay__rate *limiter, struct belay__bucket *bucket,
    int64_t limit, int64_t remaining, int64_t now_ns)
{
    if (limit > 0) {
        limit = bounded(limit);
        if (bucket->configured > 0 && limit > bucket->configured) {
            limit = bucket->configured;
        }
        if (bucket->per_minute == 0) {
            set_rate(limiter, bucket, limit);
            bucket->level = bucket->capacity;
            bucket->filled_ns = now_ns;
        } else if (limit != bucket->per_minute) {
            fill(limiter, bucket, now_ns);
            set_rate(limiter, bucket, limit);
        }
    }
    if (remaining < 0 || bucket->per_minute == 0) {
        return;
    }
    fill(limiter, bucket, now_ns);
    if (bounded(remaining) * UNIT < bucket->level) {
        bucket->level = bounded(remaining) * UNIT;
    }
}

void
belay__rate_learn(
    struct belay__rate *limiter, const struct belay__llm_headers *headers)
{
    static const struct {
        enum belay__rate_kind kind;
        const char *limit;
        const char *remaining;
    } families[] = {
        {BELAY__RATE_REQUESTS, "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests"},
        {BELAY__RATE_TOKENS, "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens"},
        {BELAY__RATE_REQUESTS, "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining"},
        {BELAY__RATE_IN_TOKENS, "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining"},
        {BELAY__RATE_OUT_TOKENS, "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining"},
    };
    const int64_t now_ns = belay__clock_now(limiter->runtime);

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        const int64_t limit = read_count(headers, families[i].limit);

        /* 0 of 0, or -1 of -1, are words for "not told". */
        if (limit > 0) {
            learn_bucket(limiter, &limiter->buckets[families[i].kind], limit,
                read_count(headers, families[i].remaining), now_ns);
        }
    }
    dispatch(limiter);
}

/* ---- its life ---- */

int
belay__rate_init(struct belay__rate *limiter, belay_runtime *runtime,
    const struct belay__rate_limits *limits)
{
    const int64_t now_ns = belay__clock_now(runtime);

    *limiter = (struct belay__rate){
        .runtime = runtime,
        .burst_ns =
            limits->burst.ns > 0 ? limits->burst.ns : NS_PER_MINUTE / 60,
        .ramp_ns = limits->ramp.ns > 0 ? limits->ramp.ns : 0,
        .opened_ns = now_ns,
    };
    if (belay__timer_init(runtime, &limiter->timer, on_timer) < 0) {
        return BELAY_ENOMEM;
    }
    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        struct belay__bucket *bucket = &limiter->buckets[i];

        bucket->filled_ns = now_ns;
        bucket->configured = bounded(limits->per_minute[i]);
        if (bucket->configured > 0) {
            set_rate(limiter, bucket, bucket->configured);
            bucket->level = bucket->capacity;
        }
    }
    return 0;
}

void
belay__rate_close(struct belay__rate *limiter)
{
    belay_task *first;

    limiter->closed = true;
    while ((first = belay__waiters_first(&limiter->waiters)) != NULL) {
        belay__wake(first, BELAY_ECLOSED, NULL);
    }
    belay__timer_stop(limiter->runtime, &limiter->timer);
}

void
belay__rate_fini(struct belay__rate *limiter)
{
    if (limiter->runtime == NULL) {
        return;
    }
    assert(belay__waiters_first(&limiter->waiters) == NULL);
    belay__timer_fini(limiter->runtime, &limiter->timer);
    *limiter = (struct belay__rate){.runtime = NULL};
}
