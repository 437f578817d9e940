/* test_llm_rates.c - how fast calls go: L60-L65. */
#include "test/support/account_scene.h"

TestSuite(llm_rates, .fini = check_clean, .timeout = 120);

Test(llm_rates, l60_l61_calls_go_at_the_rate)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .count = 4, .opts.rates = {.requests = 60}, .no_budget = true);
    cr_expect(zero(i64, seen.results[0].at_ns));
    cr_expect(eq(i64, seen.results[1].at_ns, 1 * S));
    cr_expect(eq(i64, seen.results[2].at_ns, 2 * S));
    cr_expect(eq(i64, seen.results[3].at_ns, 3 * S));
    finish();
    PLAY(routes, .count = 4, .opts.rates = {.requests = 60},
        .opts.unlimited = true, .no_budget = true);
    cr_expect(zero(i64, seen.results[3].at_ns));
    finish();
}

Test(llm_rates, l65_tokens_are_charged_as_the_server_counts_them)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    /* 60 tokens at once, then one a second; each call has used 11. */
    PLAY(routes, .in_turn = true, .count = 10, .no_budget = true,
        .opts.rates = {.tokens = 60, .burst = belay_seconds(60)});
    cr_expect(zero(i64, seen.results[0].at_ns));
    cr_expect(gt(i64, seen.results[9].at_ns, 40 * S));
    cr_expect(lt(i64, seen.results[9].at_ns, 100 * S));
    finish();
}

#define COUNTED(in_, out_)                                              \
    CLOSED("200 OK", "",                                                \
        "{\"choices\":[{\"message\":{\"content\":\"hi\"}}],\"usage\":{" \
        "\"prompt_tokens\":" in_ ",\"completion_tokens\":" out_ "}}")
#define ABSURD "1000000000000000"

/* One goes wrong, and the end of the next one, which takes what was learned of
 * it, nobody knows: it stays taken.
 */
static void
expect_minutes(const struct fault_route *routes, const char *body)
{
    cr_assert(zero(int, run_play(routes, 3,
                            (struct play){.in_turn = true,
                                .count = 4,
                                .no_budget = true,
                                .body = body,
                                .max_retries = BELAY_LLM_NO_RETRIES,
                                .opts.rates = {.tokens = 600}})));
    cr_expect(eq(int, seen.results[1].code, BELAY_ERESET));
    cr_expect(zero(int, seen.results[3].code), "%s", seen.results[3].message);
    cr_expect(le(i64, seen.results[3].at_ns, 180 * S));
    finish();
}

Test(llm_rates, l62_l65_a_count_that_cannot_be_true_costs_minutes_and_no_weeks)
{
    static const struct fault_route in[] = {
        FAULT_ON(NULL, COUNTED(ABSURD, "2")), FAULT_ON(NULL, FAULT_DO_RESET),
        FAULT_ON(NULL, COUNTED("9", "2"))};
    static const struct fault_route out[] = {
        FAULT_ON(NULL, COUNTED("9", ABSURD)), FAULT_ON(NULL, FAULT_DO_RESET),
        FAULT_ON(NULL, COUNTED("9", "2"))};

    expect_minutes(in, UNCAPPED);
    expect_minutes(out, UNCAPPED);
    expect_minutes(in, BODY);
    expect_minutes(out, BODY);
}

#define WORDS                                                             \
    "one two three four five six seven eight nine ten eleven twelve one " \
    "two three four five six seven eight nine ten eleven twelve "

/* It is learned from, and multiplied by two texts of the answer. */
Test(llm_rates, l44_a_guess_is_no_more_than_the_texts_may_be)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL,
            FAULT_TEXT(SSE_HEAD DELTA STOP
                "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":"
                "9000000000000000000,\"completion_tokens\":2}}\n\n" DONE),
            FAULT_DO_CLOSE),
        FAULT_ON(NULL,
            FAULT_TEXT(SSE_HEAD
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                "\"" WORDS WORDS "\",\"reasoning_content\":\"" WORDS WORDS
                "\"}}]}\n\n"),
            FAULT_DO_CLOSE)};

    PLAY(routes, .in_turn = true, .count = 2, .no_budget = true,
        .ask = ASK_STREAM, .body = STREAM_BODY,
        .max_retries = BELAY_LLM_NO_RETRIES, .opts.rates = {.tokens = 60000});
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(int, seen.results[1].code, BELAY_ETRUNCATED));
    cr_expect(gt(i64, seen.usage.out_total, 0));
    cr_expect(le(i64, seen.usage.out_total, 700));
    cr_expect(gt(i64, seen.usage.in_total, 0));
    cr_expect(le(i64, seen.usage.in_total, 200));
    finish();
}

Test(llm_rates, l63_a_server_tells_its_rate)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("200 OK",
                           "X-RateLimit-Limit-Requests: 60\r\n"
                           "x-ratelimit-remaining-requests: 0\r\n",
                           HI_BODY))};

    PLAY(routes, .in_turn = true, .count = 3, .no_budget = true);
    cr_expect(zero(i64, seen.results[0].at_ns));
    cr_expect(eq(i64, seen.results[1].at_ns, 1 * S));
    cr_expect(eq(i64, seen.results[2].at_ns, 2 * S));
    finish();
}

Test(llm_rates, l64_a_server_that_asks_for_time_gets_it_from_all)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("429 Slow", "Retry-After: 7\r\n", "{}")),
        FAULT_ON(NULL, OK)};
    static const struct fault_route failing[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};

    PLAY(routes, .in_turn = true, .count = 2, .no_budget = true,
        .max_retries = BELAY_LLM_NO_RETRIES);
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(zero(int, seen.results[1].code));
    cr_expect(ge(i64, seen.results[1].at_ns, 7 * S));
    cr_expect(le(i64, seen.results[1].at_ns, 8 * S));
    finish();
    PLAY(failing, .in_turn = true, .count = 2, .no_budget = true,
        .max_retries = BELAY_LLM_NO_RETRIES);
    cr_expect(zero(i64, seen.results[1].at_ns), "it asked for nothing");
    finish();
}

/* The answer to the one that goes first is long in coming. */
static void
let_go_on(struct play *of)
{
    (void)of;
    fault_server_open_gate(account_server);
}

Test(llm_rates, l64_the_others_follow_when_the_first_is_being_answered)
{
#define SLOW CLOSED("429 Slow", "Retry-After: 7\r\n", "{}")
    static const struct fault_route routes[] = {FAULT_ON(NULL, SLOW),
        FAULT_ON(NULL, SLOW),
        FAULT_ON(NULL, FAULT_TEXT(HEAD("200 OK", "\r\n")), FAULT_DO_GATE(3),
            FAULT_TEXT(HI_BODY), FAULT_DO_CLOSE),
        FAULT_ON(NULL, OK)};

    /* Two are told to wait; of the other two the first one hangs in its
     * answer until the second one is done.
     */
    PLAY(routes, .count = 4, .max_retries = BELAY_LLM_NO_RETRIES,
        .no_budget = true, .on_end = let_go_on,
        .opts.rates = {.requests = 60, .burst = belay_seconds(2)});
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(eq(int, seen.results[1].code, BELAY_EHTTP));
    cr_expect(zero(int, seen.results[2].code), "%s", seen.results[2].message);
    cr_expect(zero(int, seen.results[3].code), "%s", seen.results[3].message);
    cr_expect(le(i64, seen.results[3].at_ns, 8 * S));
    finish();
}

static struct belay_slice
one_group(struct belay_slice model, void *arg)
{
    (void)model;
    (void)arg;
    return (struct belay_slice){"all", 3};
}

Test(llm_rates, l60_models_have_rates_of_their_own_or_share_them)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("429 Slow", "Retry-After: 7\r\n", "{}"))};

    PLAY(routes, .max_retries = BELAY_LLM_NO_RETRIES, .no_budget = true,
        .count = 2, .in_turn = true, .other_body = "{\"model\":\"n\"}");
    cr_expect(zero(i64, seen.results[1].at_ns), "another model");
    finish();
    PLAY(routes, .max_retries = BELAY_LLM_NO_RETRIES, .no_budget = true,
        .count = 2, .in_turn = true, .other_body = "{\"model\":\"n\"}",
        .opts.rate_group = one_group);
    cr_expect(ge(i64, seen.results[1].at_ns, 7 * S));
    finish();
}
