/* test_llm_used.c - what an attempt has used: L54, L55, L65. What it costs is
 * in test_llm_account.c and test_batch_money.c.
 */
#include "llm/used.h"
#include "test/support/program.h"

TestSuite(llm_used, .fini = check_clean, .timeout = 60);

#define UNIT INT64_C(1000000000) /* of what is in a bucket */
#define USAGE(...) \
    ((struct belay_llm_usage){.state = BELAY_LLM_USAGE_EXACT, __VA_ARGS__})

Test(llm_used, l54_a_sum_that_no_number_holds_is_the_largest)
{
    cr_expect(
        eq(i64, belay__used_tokens(&USAGE(.in_total = 3, .out_total = 2)), 5));
    cr_expect(
        eq(i64, belay__used_tokens(&USAGE(.in_total = 3, .out_total = -1)), 3));
    cr_expect(eq(
        i64, belay__used_tokens(&USAGE(.in_total = -1, .out_total = -1)), 0));
    cr_expect(eq(i64,
        belay__used_tokens(&USAGE(.in_total = INT64_MAX, .out_total = 1)),
        INT64_MAX));
    cr_expect(eq(i64,
        belay__used_tokens(
            &USAGE(.in_total = INT64_MAX, .out_total = INT64_MAX)),
        INT64_MAX));
}

Test(llm_used, l55_what_has_no_output_is_counted_without_one)
{
    const struct belay__request_size chat = {.no_output = false};
    const struct belay__request_size vectors = {.no_output = true};
    const struct belay_llm_usage guess = {.state = BELAY_LLM_USAGE_PARTIAL};

    cr_expect(belay__used_is_exact(&USAGE(.out_total = 0), &chat));
    cr_expect(not(belay__used_is_exact(&USAGE(.out_total = -1), &chat)));
    cr_expect(belay__used_is_exact(&USAGE(.out_total = -1), &vectors));
    cr_expect(not(belay__used_is_exact(
        &USAGE(.in_total = -1, .out_total = 0), &vectors)));
    cr_expect(not(belay__used_is_exact(&guess, &chat)));
}

/* ---- L65: the rates ---- */

struct settling {
    struct belay_llm_attempt attempt;
    struct belay__request_size size;
    const struct belay_llm_usage *usage;
    int64_t left[BELAY__RATE_KINDS]; /* of a thousand of each, 1, 100, 50 and
                                        50 were taken */
    struct belay__rate limiter;
    struct belay__rate_use use;
};

BELAY_ASYNC(settling)
{
    const struct belay__rate_limits limits = {
        .per_minute = {1000, 1000, 1000, 1000}, .burst = belay_seconds(60)};

    BELAY_BEGIN;
    BELAY_CHECK(
        belay__rate_init(&self->limiter, belay_task_runtime(task), &limits));
    self->use = (struct belay__rate_use){.count = {1, 100, 50, 50}};
    cr_expect(belay__rate_take_now(&self->limiter, &self->use));
    belay__used_settle_rate(
        &self->use, &self->attempt, &self->size, self->usage);
    for (int i = 0; i < BELAY__RATE_KINDS; i++) {
        cr_expect(eq(i64, self->limiter.buckets[i].level / UNIT, self->left[i]),
            "of kind %d", i);
    }
    belay__rate_close(&self->limiter);
    belay__rate_fini(&self->limiter);
    BELAY_END;
}

Test(llm_used, l65_what_was_not_used_goes_back_to_the_rates)
{
    static const struct belay_llm_attempt good = {
        .status = 200, .billed = BELAY_LLM_BILLED_YES};
    static const struct belay_llm_attempt busy = {
        .status = 429, .billed = BELAY_LLM_BILLED_NO};
    static const struct belay_llm_attempt unsent = {
        .billed = BELAY_LLM_BILLED_NO};
    static const struct belay_llm_attempt broken = {
        .billed = BELAY_LLM_BILLED_UNKNOWN};
    const struct belay_llm_usage cached =
        USAGE(.in_total = 50, .in_cache_read = 40, .out_total = 20);
    const struct belay_llm_usage vectors =
        USAGE(.in_total = 30, .out_total = -1);

    cr_expect(zero(int, RUN(settling, .attempt = good, .usage = &cached,
                            .left = {999, 930, 990, 980})));
    cr_expect(
        zero(int, RUN(settling, .attempt = good, .usage = &vectors,
                      .size.no_output = true, .left = {999, 970, 970, 950})));
    cr_expect(zero(int, RUN(settling, .attempt = good, .usage = &vectors,
                            .left = {999, 900, 950, 950})));
    cr_expect(zero(
        int, RUN(settling, .attempt = busy, .left = {999, 1000, 1000, 1000})));
    cr_expect(zero(int,
        RUN(settling, .attempt = unsent, .left = {1000, 1000, 1000, 1000})));
    cr_expect(zero(
        int, RUN(settling, .attempt = broken, .left = {999, 900, 950, 950})));
}
