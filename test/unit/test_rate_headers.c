/* test_rate_headers.c - what a server's headers tell of its rates: L63. */
#include "test/support/headers.h"
#include "test/support/rate_scene.h"

TestSuite(rate_headers, .fini = check_clean, .timeout = 60);

struct learning {
    int kind;
    struct belay__rate_limits limits;
    struct belay__rate limiter;
    struct belay__bucket *bucket;
};

/* In whole units. */
static void
expect_bucket(
    const struct belay__bucket *bucket, int64_t per_minute, int64_t level)
{
    cr_expect(eq(i64, bucket->per_minute, per_minute));
    cr_expect(eq(i64, bucket->level, level * S));
}

BELAY_ASYNC(learning)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(
        limiting, .limits = PER_MINUTE(600, 0), .limiter = &self->limiter)) {
        self->bucket = self->limiter.buckets;
        expect_bucket(&self->bucket[BELAY__RATE_REQUESTS], 600, 10);
        belay__rate_learn(
            &self->limiter, HEADERS("x-ratelimit-limit-requests", "300",
                                "x-ratelimit-remaining-requests", "2",
                                "x-ratelimit-limit-tokens", "6000",
                                "x-ratelimit-remaining-tokens", "5999"));
        expect_bucket(&self->bucket[BELAY__RATE_REQUESTS], 300, 2);
        expect_bucket(&self->bucket[BELAY__RATE_TOKENS], 6000, 100);

        belay__rate_learn(
            &self->limiter, HEADERS("x-ratelimit-limit-requests", "100000",
                                "x-ratelimit-remaining-requests", "100000"));
        expect_bucket(&self->bucket[BELAY__RATE_REQUESTS], 600, 2);

        belay__rate_learn(
            &self->limiter, HEADERS("x-ratelimit-limit-requests", "-1",
                                "x-ratelimit-remaining-requests", "0",
                                "x-ratelimit-limit-tokens", "0",
                                "x-ratelimit-remaining-tokens", "0"));
        belay__rate_learn(&self->limiter,
            HEADERS("x-ratelimit-limit-requests", "many",
                "x-ratelimit-remaining-requests", "0",
                "x-ratelimit-limit-tokens", "99999999999999999999",
                "x-ratelimit-remaining-tokens", "-1"));
        expect_bucket(&self->bucket[BELAY__RATE_REQUESTS], 600, 2);
        expect_bucket(&self->bucket[BELAY__RATE_TOKENS], 6000, 100);

        belay__rate_learn(&self->limiter,
            HEADERS("anthropic-ratelimit-input-tokens-limit", "1200",
                "anthropic-ratelimit-input-tokens-remaining", "0",
                "anthropic-ratelimit-output-tokens-limit", "60",
                "anthropic-ratelimit-output-tokens-remaining", "60"));
        expect_bucket(&self->bucket[BELAY__RATE_IN_TOKENS], 1200, 0);
        expect_bucket(&self->bucket[BELAY__RATE_OUT_TOKENS], 60, 1);
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
        belay__rate_learn(&self->limiter,
            HEADERS("anthropic-ratelimit-input-tokens-limit", "1200",
                "anthropic-ratelimit-input-tokens-remaining", "1000"));
        expect_bucket(&self->bucket[BELAY__RATE_IN_TOKENS], 1200, 10);
    }
    BELAY_END;
}

Test(rate_headers, l63_a_limit_sets_the_rate_and_what_remains_only_lowers)
{
    cr_expect(zero(int, RUN(learning, .kind = 0)));
}
