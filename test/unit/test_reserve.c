/* test_reserve.c - tokens estimated, and the most that a request may use. */
#include "llm/budget/reserve.h"
#include "test/support/alloc.h"
#include "test/support/slice.h"

#include <belay/belay.h>
#include <belay/uv.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

TestSuite(reserve, .fini = check_clean, .timeout = 20);

/* ---- L52: estimates ---- */

Test(reserve, l52_bytes_count_by_their_class)
{
    cr_expect(zero(i64, belay__estimate_bytes(slice(NULL))));
    cr_expect(
        eq(i64, belay__estimate_bytes(slice("hello world hello world")), 6));
    cr_expect(eq(i64, belay__estimate_bytes(slice("1234567890")), 4));
    cr_expect(
        eq(i64, belay__estimate_bytes(slice("\u4f60\u597d\u4e16\u754c")), 5));
    cr_expect(eq(i64, belay__estimate_bytes(slice("{}[],.:;")), 4));
}

Test(reserve, l52_the_server_corrects_the_estimate)
{
    struct belay__estimator estimator = {0};
    const int64_t wide = belay__estimate_high(&estimator, 1000);

    cr_expect(eq(i64, belay__estimate_mean(&estimator, 1000), 1000));
    cr_expect(gt(i64, wide, 1500));
    for (int i = 0; i < 60; i++) {
        belay__estimate_learn(&estimator, 1000, 1200 + i % 20);
    }
    cr_expect(ge(i64, belay__estimate_mean(&estimator, 1000), 1200));
    cr_expect(le(i64, belay__estimate_mean(&estimator, 1000), 1211));
    cr_expect(ge(i64, belay__estimate_high(&estimator, 1000), 1218));
    cr_expect(le(i64, belay__estimate_high(&estimator, 1000), 1221));
}

Test(reserve, l52_what_was_learned_last_counts)
{
    struct belay__estimator estimator = {0};

    for (int i = 0; i < 1000; i++) {
        belay__estimate_learn(&estimator, 100, 500);
    }
    for (int i = 0; i < BELAY__ESTIMATE_KEPT; i++) {
        belay__estimate_learn(&estimator, 100, 50);
    }
    cr_expect(le(i64, belay__estimate_high(&estimator, 100), 51));
    belay__estimate_learn(&estimator, 0, 5);
    belay__estimate_learn(&estimator, 5, 0);
    cr_expect(le(i64, belay__estimate_mean(&estimator, 100), 51));
    for (int i = 0; i < 5; i++) {
        belay__estimate_learn(&estimator, 1, 1000);
    }
    cr_expect(
        eq(i64, belay__estimate_high(&estimator, INT64_MAX / 2), INT64_MAX));
}

Test(reserve, l44_l52_no_text_is_guessed_at_more_than_its_bytes)
{
    struct belay__estimator estimator = {0};

    cr_expect(eq(i64, belay__estimate_text(NULL, slice("hello world")), 3));
    cr_expect(zero(i64, belay__estimate_text(NULL, slice(NULL))));
    belay__estimate_learn(&estimator, 1, INT64_MAX);
    cr_expect(zero(i64, belay__estimate_text(&estimator, slice(""))));
    cr_expect(eq(i64, belay__estimate_text(&estimator, slice("hello world")),
        belay__estimate_bound(11)));
}

Test(reserve, l65_the_length_of_answers_is_a_moving_mean)
{
    struct belay__estimator estimator = {0};

    belay__estimate_learn_output(&estimator, 0);
    belay__estimate_learn_output(&estimator, -1);
    cr_expect(zero(i64, estimator.out_tokens));
    belay__estimate_learn_output(&estimator, 800);
    cr_expect(eq(i64, estimator.out_tokens, 800));
    belay__estimate_learn_output(&estimator, 1600);
    cr_expect(eq(i64, estimator.out_tokens, 900));
    belay__estimate_learn_output(&estimator, INT64_MAX);
    belay__estimate_learn_output(&estimator, INT64_MAX);
    cr_expect(gt(i64, estimator.out_tokens, 900));
}

Test(reserve, l52_no_text_has_more_tokens_than_bytes)
{
    cr_expect(ge(i64, belay__estimate_bound(0), 1));
    cr_expect(ge(i64, belay__estimate_bound(1000), 1000));
    cr_expect(eq(i64, belay__estimate_bound(SIZE_MAX), INT64_MAX));
}

/* ---- L54: what a body says ---- */

static struct belay__request_size
measure(const char *body)
{
    struct belay__request_size size;

    belay__request_measure(slice(body), &size);
    return size;
}

Test(reserve, l54_the_body_says_what_limits_the_output)
{
    cr_expect(eq(i64, measure("{\"max_tokens\": 5}").output_cap, 5));
    cr_expect(eq(i64, measure("{\"max_completion_tokens\": 6}").output_cap, 6));
    cr_expect(eq(i64, measure("{\"max_output_tokens\": 7e0}").output_cap, 7));
    cr_expect(eq(i64,
        measure("{\"max_tokens\": 5, \"max_completion_tokens\": 3}").output_cap,
        5));
    cr_expect(eq(i64, measure("{\"max_tokens\": null}").output_cap, -1));
    cr_expect(eq(i64, measure("{\"max_tokens\": -5}").output_cap, -1));
    cr_expect(eq(i64, measure("{\"Max_Tokens\": 5}").output_cap, -1));
    cr_expect(eq(i64, measure("{\"x\": {\"max_tokens\": 5}}").output_cap, -1));
    cr_expect(eq(i64, measure("[]").output_cap, -1));
    cr_expect(eq(i64, measure("{\"n\": 3}").answers, 3));
    cr_expect(eq(i64, measure("{\"n\": 0}").answers, 1));
    cr_expect(eq(i64, measure("{}").answers, 1));
    cr_expect(eq(sz, measure("{\"n\": 3}").body_bytes, 8));
}

Test(reserve, l56_the_body_says_that_the_server_adds_to_it)
{
    cr_expect(measure("{\"previous_response_id\": \"r\"}").adds_input);
    cr_expect(measure("{\"conversation\": {\"id\": \"c\"}}").adds_input);
    cr_expect(measure("{\"conversation\": \"c\"}").adds_input);
    cr_expect(measure("{\"prompt\": {\"id\": \"p\"}}").adds_input);
    cr_expect(not(measure("{\"prompt\": \"once upon\"}").adds_input));
    cr_expect(not(measure("{\"previous_response_id\": null}").adds_input));
    cr_expect(not(measure("{\"conversation\": null}").adds_input));
    cr_expect(not(measure("{}").adds_input));
    cr_expect(measure("{\"web_search_options\": {}}").adds_input);
    cr_expect(not(measure("{\"web_search_options\": null}").adds_input));
    cr_expect(measure("{\"mcp_servers\": [{}]}").adds_input);
    cr_expect(not(measure("{\"mcp_servers\": [ ]}").adds_input));
    cr_expect(not(measure("{\"mcp_servers\": null}").adds_input));
    cr_expect(measure("{\"input\": [{\"role\": \"user\"}, {\"type\": "
                      "\"item_reference\", \"id\": \"i\"}]}")
                  .adds_input);
    cr_expect(
        measure("{\"input\": [{\"id\": \"i\", \"type\": null}]}").adds_input);
    cr_expect(
        not(measure("{\"input\": [\"item_reference\", [1], 2]}").adds_input));
    cr_expect(not(measure("{\"input\": [{\"id\": \"i\", \"role\": \"user\"}, "
                          "{\"type\": \"reasoning\", \"id\": \"r\"}, {}]}")
                      .adds_input));
    /* The server's own, or the caller's: it depends. */
    cr_expect(measure("{\"tools\": [{\"type\": \"shell\"}]}").adds_input);
    cr_expect(measure("{\"tools\": [{\"type\": \"function\"}, {\"x\": {}, "
                      "\"type\": \"web_search\"}]}")
                  .adds_input);
    cr_expect(not(measure("{\"tools\": [{\"type\": \"function\"}, {\"type\": "
                          "\"custom\"}, {\"name\": \"f\"}, 1, null]}")
                      .adds_input));
}

Test(reserve, l52_l56_a_server_tells_its_model_of_tools)
{
    static const struct belay__request_size size = {.body_bytes = 1000};
    static const char *const known[] = {
        "{\"tools\": [{\"type\": \"bash_20250124\", \"name\": \"bash\"}]}",
        "{\"tools\": [{\"type\": \"computer_20250124\"}]}",
        "{\"tools\": [{\"type\": \"text_editor_20250728\"}]}",
        "{\"tools\": [{\"type\": \"local_shell\"}]}",
    };
    const int64_t bare = belay__request_bound(&size);
    struct belay__request_size tools =
        measure("{\"tools\": [{\"name\": \"f\"}], \"n\": 2}");

    cr_expect(eq(u32, tools.prompts, 1));
    cr_expect(eq(i64, tools.answers, 2));
    cr_expect(eq(u32, measure("{\"functions\": [{}, {}]}").prompts, 1));
    cr_expect(zero(u32, measure("{\"tools\": []}").prompts));
    cr_expect(zero(u32, measure("{\"tools\": null}").prompts));
    /* Of these the server knows what they are; the caller runs them. */
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const struct belay__request_size built_in = measure(known[i]);

        cr_expect(eq(u32, built_in.prompts, 2), "%s", known[i]);
        cr_expect(not(built_in.adds_input), "%s", known[i]);
    }
    tools.body_bytes = 1000;
    cr_expect(ge(i64, belay__request_bound(&tools), bare + 530));
    tools.body_bytes = SIZE_MAX;
    cr_expect(eq(i64, belay__request_bound(&tools), INT64_MAX));
}

/* ---- L54, L56: the most ---- */

static const char file[] =
    "{\"m\": {\"input_cost_per_token\": 1e-06, \"output_cost_per_token\": "
    "4e-06,"
    "  \"cache_creation_input_token_cost\": 1.25e-06,"
    "  \"cache_creation_input_token_cost_above_1hr\": 2e-06,"
    "  \"input_cost_per_token_flex\": 5e-07, \"output_cost_per_token_flex\": "
    "2e-06,"
    "  \"max_output_tokens\": 1000},"
    " \"uncapped\": {\"input_cost_per_token\": 1e-06,"
    "  \"output_cost_per_token\": 4e-06, \"input_cost_per_request\": 0.5},"
    " \"large\": {\"input_cost_per_token\": 1e-06,"
    "  \"input_cost_per_token_above_128k_tokens\": 3e-06,"
    "  \"output_cost_per_token\": 1e-06,"
    "  \"output_cost_per_token_above_128k_tokens\": 5e-06},"
    " \"half\": {\"input_cost_per_token\": 1e-06},"
    " \"tiers\": {\"input_cost_per_token\": 2e-06,"
    "  \"output_cost_per_token\": 4e-06,"
    "  \"input_cost_per_token_flex\": 1e-06,"
    "  \"output_cost_per_token_flex\": 2e-06,"
    "  \"input_cost_per_token_priority\": 3e-06,"
    "  \"output_cost_per_token_priority\": 7e-06},"
    " \"window\": {\"max_input_tokens\": 5000, \"max_output_tokens\": 10,"
    "  \"input_cost_per_token\": 1e-06, \"output_cost_per_token\": 1e-06}}";

struct outcome {
    int code;
    struct belay_amount most;
};

/* The most that a body of so many bytes may use. */
static struct outcome
most(const char *model, struct belay__reserve_rules rules,
    struct belay__request_size size)
{
    struct outcome outcome = {.code = 7};
    struct belay_price_model found;
    belay_runtime *runtime;
    belay_prices *prices;
    uv_loop_t loop;

    cr_assert(zero(int, uv_loop_init(&loop)));
    cr_assert(zero(
        int, belay_runtime_attach(&loop,
                 BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &runtime)));
    cr_assert(zero(int, belay_prices_new(runtime, slice(file), &prices, NULL)));
    rules.prices = prices;
    if (model != NULL) {
        cr_assert(
            zero(int, belay_prices_find(prices, NULL, slice(model), &found)));
        rules.model = &found;
    }
    outcome.code = belay__reserve_most(&rules, &size, &outcome.most);
    belay_prices_unref(prices);
    belay_runtime_close(runtime, NULL, NULL);
    while (uv_run(&loop, UV_RUN_DEFAULT) != 0) {
    }
    cr_assert(zero(int, uv_loop_close(&loop)));
    return outcome;
}

/* A body of so many bytes; `cap` -1: it does not limit its answers. */
#define SIZE(bytes, cap, n)                              \
    ((struct belay__request_size){.body_bytes = (bytes), \
        .by_bytes = 200,                                 \
        .output_cap = (cap),                             \
        .answers = (n)})
#define STRICT ((struct belay__reserve_rules){0})
#define RULES(...) ((struct belay__reserve_rules){__VA_ARGS__})

static void
expect_most(struct outcome got, int64_t pico, int64_t tokens)
{
    cr_expect(zero(int, got.code));
    cr_expect(eq(i64, got.most.cost.pico, pico));
    cr_expect(eq(i64, got.most.tokens, tokens));
    cr_expect(eq(i64, got.most.requests, 1));
}

Test(reserve, l54_input_at_its_dearest_and_all_answers_in_full)
{
    const int64_t in = belay__estimate_bound(936);
    struct belay__request_size no_output = SIZE(936, -1, 1);

    no_output.no_output = true;

    cr_assert(eq(i64, in, 1000));
    expect_most(most("m", STRICT, SIZE(936, 10, 3)),
        1000 * INT64_C(2000000) + 30 * INT64_C(4000000), 1030);
    expect_most(most("m", STRICT, SIZE(936, -1, 1)),
        1000 * INT64_C(2000000) + 1000 * INT64_C(4000000), 2000);
    expect_most(
        most("uncapped", RULES(.default_output_cap = 50), SIZE(936, -1, 1)),
        INT64_C(500000000000) + 1000 * INT64_C(1000000) + 50 * INT64_C(4000000),
        1050);
    expect_most(most("half", STRICT, no_output), 1000 * INT64_C(1000000), 1000);
}

Test(reserve, l54_above_a_threshold_the_dearer_price_counts)
{
    expect_most(most("large", STRICT, SIZE(127936, 1, 1)),
        128000 * INT64_C(1000000) + 1000000, 128001);
    expect_most(most("large", STRICT, SIZE(127937, 1, 1)),
        128001 * INT64_C(3000000) + 5000000, 128002);
}

#define ASKED(tier_) measure("{\"service_tier\":" tier_ "}").tier

/* What a request for 1000 tokens and 10 back may cost at most. */
static int64_t
most_in_tier(struct belay__tier tier, enum belay__reserve_mode mode)
{
    const struct outcome got =
        most("tiers", RULES(.tier = tier, .mode = mode), SIZE(936, 10, 1));

    cr_expect(zero(int, got.code));
    return got.most.cost.pico;
}

Test(reserve, l56_a_server_may_charge_for_another_tier_than_was_asked_for)
{
    const int64_t usual = 1000 * INT64_C(2000000) + 10 * INT64_C(4000000);
    const int64_t priority = 1000 * INT64_C(3000000) + 10 * INT64_C(7000000);

    cr_expect(
        eq(i64, most_in_tier(ASKED("\"flex\""), BELAY__RESERVE_STRICT), usual));
    cr_expect(eq(
        i64, most_in_tier(ASKED("\"default\""), BELAY__RESERVE_STRICT), usual));
    cr_expect(eq(i64,
        most_in_tier(ASKED("\"priority\""), BELAY__RESERVE_STRICT), priority));
    cr_expect(
        eq(i64, most_in_tier(ASKED("null"), BELAY__RESERVE_STRICT), priority));
    cr_expect(eq(
        i64, most_in_tier(ASKED("\"auto\""), BELAY__RESERVE_STRICT), priority));
    /* Expected is what it mostly is. */
    cr_expect(
        lt(i64, most_in_tier(ASKED("null"), BELAY__RESERVE_EXPECTED), usual));
    cr_expect(eq(i64, most_in_tier(ASKED("\"flex\""), BELAY__RESERVE_EXPECTED),
        most_in_tier(ASKED("\"default\""), BELAY__RESERVE_EXPECTED)));
}

Test(reserve, l54_l96_a_tier_is_known_however_it_is_written)
{
    static const char every_letter[] =
        "{\"service_tier\":\"\\u0070\\u0072\\u0069\\u006f\\u0072\\u0069"
        "\\u0074\\u0079\"}";

    cr_expect(eq(int, measure(every_letter).tier.is, BELAY__TIER_PRIORITY));
    cr_expect(eq(int, ASKED("\"\\u0066lex\"").is, BELAY__TIER_FLEX));
    cr_expect(eq(int, ASKED("\"batc\\u0068\"").is, BELAY__TIER_BATCHES));
    cr_expect(not(ASKED("\"aut\\u006f\"").named));
    cr_expect(not(ASKED("\"\"").named));
    cr_expect(not(measure("{}").tier.named));
    cr_expect(ASKED("\"default\"").named);
    cr_expect(ASKED("\"priority, or else one that no server knows, or it all\"")
                  .named);
}

Test(reserve, l54_without_a_cap_or_a_price_it_says_so)
{
    struct outcome got = most("uncapped", STRICT, SIZE(936, -1, 1));

    cr_expect(eq(int, got.code, BELAY_ENOCAP));
    cr_expect(eq(i64, got.most.tokens, 1000));
    got = most("half", STRICT, SIZE(936, 1, 1));
    cr_expect(eq(int, got.code, BELAY_ENOPRICE));
    cr_expect(eq(i64, got.most.tokens, 1001));
    got = most(NULL, STRICT, SIZE(936, 1, 1));
    cr_expect(eq(int, got.code, BELAY_ENOPRICE));
    got = most("m", RULES(.tier = ASKED("\"priority\"")), SIZE(936, 1, 1));
    cr_expect(eq(int, got.code, BELAY_ENOPRICE),
        "the usual price is no upper bound for it");
}

Test(reserve, l54_l57_what_nothing_need_limit_must_have_a_price)
{
    struct belay__request_size kept = SIZE(936, -1, 1);

    expect_most(most("uncapped", RULES(.uncapped = true), SIZE(936, -1, 1)),
        INT64_C(500000000000) + 1000 * INT64_C(1000000), 1000);
    cr_expect(
        eq(int, most("half", RULES(.uncapped = true), SIZE(936, -1, 1)).code,
            BELAY_ENOPRICE));
    cr_expect(eq(int,
        most("uncapped", RULES(.uncapped = true, .tier = ASKED("\"priority\"")),
            SIZE(936, -1, 1))
            .code,
        BELAY_ENOPRICE));
    kept.adds_input = true;
    expect_most(most("large", RULES(.uncapped = true), kept), 0, 0);
    cr_expect(eq(
        int, most(NULL, RULES(.uncapped = true), kept).code, BELAY_ENOPRICE));
}

Test(reserve, l56_what_the_server_adds_is_bounded_by_what_the_model_reads)
{
    struct belay__request_size size = SIZE(936, 10, 1);
    struct outcome got;

    size.adds_input = true;
    expect_most(most("window", STRICT, size), 5010 * INT64_C(1000000), 5010);
    size.body_bytes = 9936; /* the file may know less than the server */
    got = most("window", STRICT, size);
    cr_expect(zero(int, got.code));
    cr_expect(eq(i64, got.most.tokens, 10010));
    got = most("m", STRICT, size);
    cr_expect(eq(int, got.code, BELAY_ENOCAP));
    got = most("m", RULES(.mode = BELAY__RESERVE_EXPECTED), size);
    cr_expect(zero(int, got.code), "that may be passed anyway");
}

Test(reserve, l56_expected_holds_less_than_strict_and_never_more)
{
    struct belay__estimator estimator = {0};
    struct outcome got;

    got = most("m", RULES(.mode = BELAY__RESERVE_EXPECTED), SIZE(936, 1, 1));
    cr_expect(zero(int, got.code));
    cr_expect(gt(i64, got.most.tokens, 200));
    cr_expect(lt(i64, got.most.tokens, 400));
    for (int i = 0; i < 64; i++) {
        belay__estimate_learn(&estimator, 10, 1000);
    }
    got = most("m",
        RULES(.mode = BELAY__RESERVE_EXPECTED, .estimator = &estimator),
        SIZE(936, 1, 1));
    cr_expect(eq(i64, got.most.tokens, 1001));
}

Test(reserve, l54_numbers_beyond_all_bounds_stay_the_largest)
{
    struct outcome got = most("m", STRICT, SIZE(10, INT64_MAX, INT64_MAX));

    cr_expect(zero(int, got.code));
    cr_expect(eq(i64, got.most.cost.pico, INT64_MAX));
    cr_expect(eq(i64, got.most.tokens, INT64_MAX));
}
