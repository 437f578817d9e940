/* test_llm_used.c - what an attempt has used: L54, L55, L65. What it costs is
 * in test_llm_account.c and test_batch_money.c.
 */
#include "llm/used.h"
#include "test/support/memory.h"
#include "test/support/program.h"
#include "test/support/slice.h"

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

/* ---- L62, L65: what is expected of the next ones ---- */

struct expecting {
    struct belay__request_size size;
    int64_t minute; /* of tokens; 0: they are not limited */
    const struct belay_llm_usage *usage;
    int64_t in; /* at most */
    int64_t out;
    struct belay__rate rate;
    struct belay__estimator estimator;
};

BELAY_ASYNC(expecting)
{
    const struct belay__rate_limits limits = {
        .per_minute = {[BELAY__RATE_TOKENS] = self->minute}};
    struct belay__rate_use use;

    BELAY_BEGIN;
    BELAY_CHECK(
        belay__rate_init(&self->rate, belay_task_runtime(task), &limits));
    belay__used_learn(&self->estimator, &self->rate, &self->size, self->usage);
    self->size.body_bytes *= 2; /* a larger one takes more only by its bytes */
    self->size.by_bytes *= 2;
    use = belay__used_expect(
        &self->rate, &self->estimator, &self->size, self->estimator.out_tokens);
    cr_expect(eq(i64, use.count[BELAY__RATE_REQUESTS], 1));
    cr_expect(le(i64, use.count[BELAY__RATE_IN_TOKENS], self->in));
    cr_expect(ge(i64, use.count[BELAY__RATE_IN_TOKENS], self->in * 9 / 10));
    cr_expect(eq(i64, use.count[BELAY__RATE_OUT_TOKENS], self->out));
    cr_expect(eq(i64, use.count[BELAY__RATE_TOKENS],
        use.count[BELAY__RATE_IN_TOKENS] + self->out));
    belay__rate_close(&self->rate);
    belay__rate_fini(&self->rate);
    BELAY_END;
}

/* Of 400 bytes. */
static struct belay__request_size
sized(int64_t cap, int64_t answers)
{
    return (struct belay__request_size){.body_bytes = 400,
        .by_bytes = 100,
        .output_cap = cap,
        .answers = answers,
        .no_output = answers == 0};
}

/* 864 is a token for each byte of the larger body, and those of its frame. */
Test(llm_used, l62_l65_nothing_that_was_learned_takes_more_than_a_minute_has)
{
    const struct belay_llm_usage absurd =
        USAGE(.in_total = INT64_MAX, .out_total = INT64_MAX);

    cr_expect(zero(int, RUN(expecting, .size = sized(-1, 1), .usage = &absurd,
                            .minute = 600, .in = 864, .out = 600)));
    cr_expect(zero(int, RUN(expecting, .size = sized(-1, 1), .usage = &absurd,
                            .minute = 5000, .in = 5000, .out = 5000)));
    cr_expect(zero(int, RUN(expecting, .size = sized(7, 3), .usage = &absurd,
                            .minute = 600, .in = 864, .out = 21)));
    cr_expect(zero(int, RUN(expecting, .size = sized(-1, 0), .usage = &absurd,
                            .minute = 600, .in = 864)));
}

/* What a server adds to a request is true, and is in no bytes of it. */
Test(llm_used, l65_what_can_be_true_is_learned)
{
    const struct belay_llm_usage usual =
        USAGE(.in_total = 120, .out_total = 300);
    const struct belay_llm_usage kept =
        USAGE(.in_total = 2000, .out_total = 300);

    cr_expect(zero(int, RUN(expecting, .size = sized(-1, 1), .usage = &usual,
                            .minute = 60000, .in = 241, .out = 300)));
    cr_expect(zero(int, RUN(expecting, .size = sized(-1, 1), .usage = &kept,
                            .minute = 60000, .in = 4001, .out = 300)));
    cr_expect(zero(int, RUN(expecting, .size = sized(-1, 1), .usage = &kept,
                            .in = 864, .out = 300)),
        "where nothing counts them");
}

/* ---- L50, L55: without memory ---- */

#define CALL "{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}"

/* Where servers write the counts, and the tier: behind what takes memory. */
static const struct {
    enum belay_llm_format format;
    const char *body;
} told_last[] = {
    {BELAY_LLM_FORMAT_CHAT,
        "{\"model\":\"\\u006d\",\"choices\":[{\"index\":0,\"message\":{"
        "\"content\":\"hello\",\"tool_calls\":[" CALL "]},"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,"
        "\"completion_tokens\":2},\"service_tier\":\"priority\"}"},
    {BELAY_LLM_FORMAT_RESPONSES,
        "{\"model\":\"\\u006d\",\"status\":\"completed\",\"output\":[{"
        "\"type\":\"message\",\"content\":[{\"type\":\"output_text\","
        "\"text\":\"hello\"}]}],\"usage\":{\"input_tokens\":9,"
        "\"output_tokens\":2},\"service_tier\":\"priority\"}"},
    {BELAY_LLM_FORMAT_MESSAGES,
        "{\"type\":\"message\",\"model\":\"\\u006d\",\"content\":[{"
        "\"type\":\"text\",\"text\":\"hello\"}],\"stop_reason\":"
        "\"end_turn\",\"usage\":{\"input_tokens\":9,\"output_tokens\":2,"
        "\"service_tier\":\"priority\"}}"},
};

static belay_llm_reply *
answered(enum belay_llm_format format, const char *body)
{
    belay_llm_reply *reply = belay__llm_reply_new(memory);

    cr_assert(reply != NULL);
    reply->provider = belay__provider_of(format);
    reply->attempt.status = 200;
    reply->http.status = 200;
    belay__buffer_init(&reply->http.body, memory, SIZE_MAX);
    cr_assert(
        zero(int, belay__buffer_append(&reply->http.body, body, strlen(body))));
    return reply;
}

Test(llm_used, l50_l55_tier_and_counts_of_an_answer_need_no_memory,
    .init = open_memory, .fini = close_memory)
{
    const struct belay__request_size size = {.answers = 1};
    struct belay_llm_usage usage;
    size_t failures = 1;

    for (size_t i = 0; i < sizeof(told_last) / sizeof(told_last[0]); i++) {
        failures = 1;
        for (size_t n = 0; failures > 0; n++) {
            belay_llm_reply *reply =
                answered(told_last[i].format, told_last[i].body);

            test_alloc_fail_after(n);
            belay__used_count(NULL, slice("{}"), &size, reply, &usage);
            failures = test_alloc_failures();
            test_alloc_never_fail();
            cr_expect(eq(int, (int)usage.state, BELAY_LLM_USAGE_EXACT),
                "%zu, allocation %zu", i, n);
            cr_expect(eq(i64, usage.in_total, 9));
            cr_expect(eq(i64, usage.out_total, 2));
            cr_expect(eq(int, reply->answer.tier.is, BELAY__TIER_PRIORITY),
                "%zu, allocation %zu", i, n);
            belay_llm_reply_free(reply);
        }
    }
}
