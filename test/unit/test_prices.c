/* test_prices.c - price files: what is read, what is found, what it costs. */
#include <belay/belay.h>
#include <belay/price.h>
#include <belay/uv.h>

#include "test/support/alloc.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static uv_loop_t loop;
static belay_runtime *runtime;
static belay_prices *prices;

static void
set_up(void)
{
    cr_assert(zero(int, uv_loop_init(&loop)));
    cr_assert(zero(
        int, belay_runtime_attach(&loop,
                 BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &runtime)));
}

static void
on_closed(void *arg)
{
    *(bool *)arg = true;
}

static void
tear_down(void)
{
    bool closed = false;

    belay_prices_unref(prices);
    belay_runtime_close(runtime, on_closed, &closed);
    while (!closed) {
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    }
    (void)uv_loop_close(&loop);
    check_clean();
}

TestSuite(prices, .init = set_up, .fini = tear_down, .timeout = 20);

static void
read_file(const char *json)
{
    struct belay_prices_problem problem = {7, "untouched"};

    cr_assert(
        zero(int, belay_prices_new(runtime, slice(json), &prices, &problem)));
    cr_expect(problem.reason == NULL);
}

/* The refusal of a file, with its place. */
static void
expect_refused(const char *json, int code, size_t offset, const char *reason)
{
    struct belay_prices_problem problem;

    cr_expect(eq(int, belay_prices_new(runtime, slice(json), &prices, &problem),
                  code),
        "%s", json);
    cr_expect(eq(ptr, prices, NULL));
    cr_expect(eq(sz, problem.offset, offset), "%s", json);
    cr_expect(zero(int, strcmp(problem.reason, reason)), "%s: %s", json,
        problem.reason);
}

static struct belay_price_model
find(const char *provider, const char *model)
{
    struct belay_price_model found = {.name = {NULL, 0}};

    cr_assert(
        zero(int, belay_prices_find(prices, provider, slice(model), &found)));
    return found;
}

static bool
finds(const char *provider, const char *model)
{
    struct belay_price_model found;

    return belay_prices_find(prices, provider, slice(model), &found) == 0;
}

static bool
is_text(struct belay_slice text, const char *wanted)
{
    return text.len == strlen(wanted)
           && memcmp(text.data, wanted, text.len) == 0;
}

/* A cost in picodollars, which must be exact. */
static int64_t
cost(const char *model, const char *tier, struct belay_llm_usage usage)
{
    const struct belay_price_model found = find(NULL, model);
    const struct belay_cost sum =
        belay_prices_cost(prices, &found, slice(tier), &usage);

    cr_expect(not(sum.at_least));
    return sum.amount.pico;
}

/* … that must be a lower bound. */
static int64_t
cost_at_least(const char *model, const char *tier, struct belay_llm_usage usage)
{
    const struct belay_price_model found = find(NULL, model);
    const struct belay_cost sum =
        belay_prices_cost(prices, &found, slice(tier), &usage);

    cr_expect(sum.at_least);
    return sum.amount.pico;
}

#define USAGE(...) ((struct belay_llm_usage){.requests = 1, __VA_ARGS__})

/* ---- L49: the file, and names ---- */

static const char file[] =
    "{\"sample_spec\": {\"input_cost_per_token\": \"a text\"},"
    " \"fallback_generalizations\": [1, 2],"
    " \"gpt-a\": {\"litellm_provider\": \"openai\", \"mode\": \"chat\","
    "   \"max_input_tokens\": 128000, \"max_output_tokens\": 16384,"
    "   \"max_tokens\": \"LEGACY\", \"supports_vision\": true,"
    "   \"input_cost_per_token\": 2.5e-06,"
    "   \"output_cost_per_token\": 1e-05,"
    "   \"cache_read_input_token_cost\": 1.25e-06,"
    "   \"input_cost_per_token_batches\": 1.25e-06,"
    "   \"output_cost_per_token_batches\": 5e-06,"
    "   \"input_cost_per_token_priority\": 4.25e-06,"
    "   \"search_context_cost_per_query\": {\"low\": 0.03}},"
    " \"claude-b\": {\"litellm_provider\": \"anthropic\","
    "   \"input_cost_per_token\": 3e-06, \"output_cost_per_token\": 1.5e-05,"
    "   \"cache_creation_input_token_cost\": 3.75e-06,"
    "   \"cache_creation_input_token_cost_above_1hr\": 6e-06,"
    "   \"cache_read_input_token_cost\": 3e-07,"
    "   \"input_cost_per_token_above_200k_tokens\": 6e-06,"
    "   \"output_cost_per_token_above_200k_tokens\": 2.25e-05,"
    "   \"cache_creation_input_token_cost_above_1hr_above_200k_tokens\":"
    "     1.2e-05},"
    " \"azure/gpt-a\": {\"input_cost_per_token\": 3e-06,"
    "   \"output_cost_per_token\": 1.1e-05},"
    " \"think\": {\"input_cost_per_token\": 1e-06,"
    "   \"output_cost_per_token\": 2e-06,"
    "   \"output_cost_per_reasoning_token\": 3e-06,"
    "   \"input_cost_per_request\": 0.001,"
    "   \"input_cost_per_audio_token\": 1e-05},"
    " \"embed\": {\"mode\": \"embedding\", \"input_cost_per_token\": 2e-08},"
    " \"tiers\": {\"input_cost_per_token\": 1e-06,"
    "   \"input_cost_per_token_above_128k_tokens\": 2e-06,"
    "   \"input_cost_per_token_above_256k_tokens\": 4e-06,"
    "   \"input_cost_per_token_above_272k_tokens\": 5e-06,"
    "   \"input_cost_per_token_above_512k_tokens\": 8e-06,"
    "   \"input_cost_per_token_flex\": 5e-07,"
    "   \"input_cost_per_token_above_128k_tokens_flex\": 1e-06},"
    " \"picture\": {\"output_cost_per_image\": 0.04},"
    " \"w\\u0065ird \\\"name\\\"\": {\"input_cost_per_token\": null,"
    "   \"max_output_tokens\": -5}}";

Test(prices, l49_what_a_file_says_of_a_model)
{
    struct belay_price_model model;

    read_file(file);
    model = find(NULL, "gpt-a");
    cr_expect(is_text(model.name, "gpt-a"));
    cr_expect(is_text(model.provider, "openai"));
    cr_expect(is_text(model.mode, "chat"));
    cr_expect(eq(i64, model.max_input_tokens, 128000));
    cr_expect(eq(i64, model.max_output_tokens, 16384));
    model = find(NULL, "weird \"name\"");
    cr_expect(model.provider.data == NULL);
    cr_expect(eq(i64, model.max_output_tokens, -1));
}

Test(prices, l49_names_are_found_whole_or_not_at_all)
{
    read_file(file);
    cr_expect(is_text(find("azure", "gpt-a").name, "gpt-a"),
        "the name itself comes first");
    cr_expect(is_text(find(NULL, "azure/gpt-a").name, "azure/gpt-a"));
    cr_expect(not(finds(NULL, "gpt-a-2026-01-01")));
    cr_expect(not(finds(NULL, "gpt")));
    cr_expect(not(finds(NULL, "GPT-A")));
    cr_expect(not(finds(NULL, "")));
    cr_expect(not(finds("azure", "claude-b-x")));
    cr_expect(not(finds(NULL, "sample_spec")));
    cr_expect(not(finds(NULL, "fallback_generalizations")));
}

Test(prices, l49_a_provider_goes_in_front)
{
    read_file("{\"azure/only\": {\"input_cost_per_token\": 1e-06}}");
    cr_expect(not(finds(NULL, "only")));
    cr_expect(is_text(find("azure", "only").name, "azure/only"));
    cr_expect(not(finds("openai", "only")));
}

Test(prices, l49_aliases_stand_for_models_of_the_file)
{
    read_file(file);
    cr_expect(zero(int, belay_prices_alias(prices, "mine", "claude-b")));
    cr_expect(is_text(find(NULL, "mine").name, "claude-b"));
    cr_expect(zero(int, belay_prices_alias(prices, "mine", "gpt-a")));
    cr_expect(is_text(find(NULL, "mine").name, "gpt-a"));
    cr_expect(zero(int, belay_prices_alias(prices, "think", "gpt-a")));
    cr_expect(is_text(find(NULL, "think").name, "think"),
        "a model of the file stays what it is");
    cr_expect(
        eq(int, belay_prices_alias(prices, "other", "mine"), BELAY_ENOENT));
    cr_expect(eq(int, belay_prices_alias(prices, "", "gpt-a"), BELAY_ENOENT));
}

Test(prices, l49_of_two_entries_the_last_one_counts)
{
    read_file("{\"m\": {\"input_cost_per_token\": 1e-06, "
              "\"input_cost_per_token\": 3e-06},"
              " \"n\": {\"input_cost_per_token\": 1e-06},"
              " \"n\": {\"input_cost_per_token\": 2e-06}}");
    cr_expect(eq(i64, cost("m", NULL, USAGE(.in_total = 1)), 3000000));
    cr_expect(eq(i64, cost("n", NULL, USAGE(.in_total = 1)), 2000000));
}

Test(prices, l49_thousands_of_models)
{
    static char json[200000];
    size_t len = 1;

    json[0] = '{';
    for (int i = 0; i < 3000; i++) {
        len += (size_t)snprintf(json + len, sizeof(json) - len,
            "%s\"m%d\": {\"input_cost_per_token\": %de-9}", i > 0 ? "," : "", i,
            i);
    }
    json[len++] = '}';
    read_file(json);
    for (int i = 0; i < 3000; i++) {
        char name[16];

        snprintf(name, sizeof(name), "m%d", i);
        cr_assert(
            eq(i64, cost(name, NULL, USAGE(.in_total = 1)), (int64_t)i * 1000));
    }
    cr_expect(not(finds(NULL, "m3000")));
}

Test(prices, l49_files_that_are_wrong_are_refused_with_the_place)
{
    expect_refused("", BELAY_EJSON, 0, "the text ends too early");
    expect_refused("[]", BELAY_EJSON, 0, "expected an object");
    expect_refused("{\"a\": {}", BELAY_EJSON, 8, "the text ends too early");
    expect_refused("{\"a\": {\"input_cost_per_token\": \"1e-6\"}}",
        BELAY_EINVAL, 31, "a price that is not a number");
    expect_refused("{\"a\": {\"output_cost_per_token_flex\": -1e-9}}",
        BELAY_EINVAL, 37, "a price below zero");
    expect_refused("{\"a\": {\"input_cost_per_token\": 1e9}, \"b\": {}}",
        BELAY_ETOOLARGE, 31, "a price that is too high");
}

Test(prices, l49_every_allocation_may_fail)
{
    struct belay_prices_problem problem;
    int code;

    for (size_t k = 0; k < 1000; k++) {
        test_alloc_fail_at(k);
        code = belay_prices_new(runtime, slice(file), &prices, &problem);
        if (code == 0) {
            code = belay_prices_alias(prices, "mine", "gpt-a");
            if (code < 0) {
                cr_expect(not(finds(NULL, "mine")));
            }
            belay_prices_unref(prices);
            prices = NULL;
        } else {
            cr_expect(zero(int, strcmp(problem.reason, "out of memory")));
        }
        if (test_alloc_failures() == 0) {
            test_alloc_never_fail();
            cr_expect(zero(int, code));
            return;
        }
        cr_expect(eq(int, code, BELAY_ENOMEM));
    }
    cr_expect(false, "it never ends");
}

/* ---- L50, L52: costs ---- */

Test(prices, l50_cached_input_is_charged_by_itself)
{
    read_file(file);
    cr_expect(eq(i64,
        cost("gpt-a", NULL,
            USAGE(.in_total = 1000, .in_cache_read = 400, .out_total = 10)),
        INT64_C(600) * 2500000 + 400 * 1250000 + 10 * 10000000));
    cr_expect(eq(i64,
        cost("claude-b", NULL,
            USAGE(.in_total = 1000, .in_cache_read = 300,
                .in_cache_write_5m = 200, .in_cache_write_1h = 100,
                .out_total = 1)),
        INT64_C(400) * 3000000 + 300 * 300000 + 200 * 3750000 + 100 * 6000000
            + 15000000));
}

Test(prices, l50_reasoning_audio_and_requests_have_their_price)
{
    read_file(file);
    cr_expect(eq(i64,
        cost("think", NULL,
            USAGE(.in_total = 10, .in_audio = 4, .out_total = 100,
                .out_reasoning = 60)),
        1000000000 + 6 * 1000000 + 4 * 10000000 + 40 * 2000000 + 60 * 3000000));
}

Test(prices, l50_without_a_price_of_its_own_a_part_costs_the_whole)
{
    read_file(file);
    cr_expect(eq(i64,
        cost("azure/gpt-a", NULL,
            USAGE(.in_total = 10, .in_cache_read = 5, .in_cache_write_1h = 3,
                .out_total = 7, .out_reasoning = 7)),
        10 * 3000000 + 7 * 11000000));
    cr_expect(eq(i64,
        cost("gpt-a", NULL, USAGE(.in_total = 10, .in_cache_write_1h = 10)),
        10 * 2500000));
}

Test(prices, l50_above_a_threshold_the_whole_request_costs_more)
{
    read_file(file);
    cr_expect(eq(i64,
        cost("claude-b", NULL, USAGE(.in_total = 200000, .out_total = 1)),
        INT64_C(200000) * 3000000 + 15000000));
    cr_expect(eq(i64,
        cost("claude-b", NULL,
            USAGE(.in_total = 200001, .in_cache_write_1h = 1,
                .in_cache_read = 10, .out_total = 1)),
        INT64_C(199990) * 6000000 + 12000000 + 10 * 300000 + 22500000));
    cr_expect(eq(i64, cost("tiers", NULL, USAGE(.in_total = 256000)),
        INT64_C(256000) * 2000000));
    cr_expect(eq(i64, cost("tiers", NULL, USAGE(.in_total = 256001)),
        INT64_C(256001) * 4000000));
    cr_expect(eq(i64, cost("tiers", NULL, USAGE(.in_total = 272001)),
        INT64_C(272001) * 5000000));
    cr_expect(eq(i64, cost("tiers", NULL, USAGE(.in_total = 600000)),
        INT64_C(600000) * 8000000));
}

Test(prices, l50_the_service_tier_picks_the_price)
{
    const struct belay_llm_usage usage = USAGE(.in_total = 10, .out_total = 1);

    read_file(file);
    cr_expect(
        eq(i64, cost("gpt-a", "default", usage), 10 * 2500000 + 10000000));
    cr_expect(eq(i64, cost("gpt-a", "batch", usage), 10 * 1250000 + 5000000));
    cr_expect(eq(i64, cost("gpt-a", "flex", usage), 10 * 2500000 + 10000000),
        "what has no price of its own has the usual one");
    cr_expect(eq(i64, cost_at_least("gpt-a", "priority", usage),
        10 * 4250000 + 10000000));
    cr_expect(
        eq(i64, cost("tiers", "flex", USAGE(.in_total = 1000)), 1000 * 500000));
    cr_expect(eq(i64, cost("tiers", "flex", USAGE(.in_total = 128001)),
        INT64_C(128001) * 1000000));
    cr_expect(eq(i64, cost("tiers", "flex", USAGE(.in_total = 300000)),
                  INT64_C(300000) * 5000000),
        "above a threshold that flex does not know the dearer one counts");
}

Test(prices, l52_what_is_not_known_makes_a_lower_bound)
{
    struct belay_llm_usage usage = USAGE(.in_total = 10, .out_total = 5);
    struct belay_cost sum;

    read_file(file);
    cr_expect(eq(i64, cost_at_least("picture", NULL, usage), 0));
    cr_expect(eq(i64, cost("embed", NULL, USAGE(.in_total = 10)), 200000));
    cr_expect(eq(i64, cost_at_least("embed", NULL, usage), 200000));
    cr_expect(eq(i64,
        cost_at_least("gpt-a", NULL, USAGE(.in_total = 10, .out_total = -1)),
        10 * 2500000));
    sum = belay_prices_cost(NULL, NULL, slice(NULL), &usage);
    cr_expect(sum.at_least && sum.amount.pico == 0);
    sum = belay_prices_cost(prices, NULL, slice(NULL), &usage);
    cr_expect(sum.at_least && sum.amount.pico == 0);
}

Test(prices, l51_costs_beyond_all_money_are_lower_bounds)
{
    read_file(file);
    cr_expect(eq(i64,
        cost_at_least("gpt-a", NULL, USAGE(.in_total = INT64_MAX)), INT64_MAX));
}

Test(prices, l50_parts_never_exceed_the_whole)
{
    read_file(file);
    cr_expect(eq(i64,
        cost("gpt-a", NULL,
            USAGE(.in_total = 10, .in_cache_read = 50, .in_audio = 3,
                .out_total = 2, .out_reasoning = 9)),
        10 * 1250000 + 2 * 10000000));
}

/* ---- L46: sums ---- */

Test(prices, l46_a_ledger_sums_over_attempts)
{
    struct belay_ledger ledger = {0};
    struct belay_ledger other = {0};
    struct belay_llm_usage usage = USAGE(.in_total = 10, .in_cache_read = -1,
        .out_total = 5, .out_reasoning = 2, .state = BELAY_LLM_USAGE_EXACT);

    belay_ledger_add(&ledger, &usage, (struct belay_cost){{100}, false});
    belay_ledger_add(&ledger, &usage, (struct belay_cost){{50}, false});
    cr_expect(eq(u64, ledger.attempts, 2));
    cr_expect(eq(u64, ledger.unknown, 0));
    cr_expect(eq(i64, ledger.usage.in_total, 20));
    cr_expect(eq(i64, ledger.usage.in_cache_read, 0));
    cr_expect(eq(i64, ledger.usage.out_reasoning, 4));
    cr_expect(eq(i64, ledger.cost.amount.pico, 150));
    cr_expect(not(ledger.cost.at_least));

    belay_ledger_add(&other, NULL, (struct belay_cost){{0}, true});
    belay_ledger_merge(&ledger, &other);
    cr_expect(eq(u64, ledger.attempts, 3));
    cr_expect(eq(u64, ledger.unknown, 1));
    cr_expect(ledger.cost.at_least);
    cr_expect(eq(i64, ledger.cost.amount.pico, 150));

    usage.state = BELAY_LLM_USAGE_PARTIAL;
    belay_ledger_add(&ledger, &usage, (struct belay_cost){{50}, true});
    cr_expect(eq(u64, ledger.unknown, 2), "L52: it is an estimate");
    cr_expect(eq(i64, ledger.usage.in_total, 30));

    other.usage.in_total = INT64_MAX;
    belay_ledger_merge(&ledger, &other);
    cr_expect(eq(i64, ledger.usage.in_total, INT64_MAX));
}
