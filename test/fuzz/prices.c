/* prices.c - any bytes as a price file.
 *
 * What is refused is refused with a reason and a place in the file. What is
 * taken can be asked for any model and any counts: no cost is negative, and
 * more tokens never cost less.
 */
#include "llm/json/scan.h"
#include "llm/json/text.h"
#include "test/fuzz/insist.h"

#include <belay/price.h>
#include <belay/uv.h>

#include <string.h>
#include <uv.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static belay_runtime *
runtime(void)
{
    static belay_runtime *only;
    static uv_loop_t loop;

    if (only == NULL) {
        insist(uv_loop_init(&loop) == 0
                   && belay_runtime_attach(&loop, NULL, &only) == 0,
            "no runtime");
    }
    return only;
}

static int64_t
cost(const belay_prices *prices, const struct belay_price_model *model,
    const char *tier, int64_t tokens)
{
    const struct belay_llm_usage usage = {
        .in_total = tokens,
        .in_cache_read = tokens / 3,
        .in_cache_write_5m = tokens / 5,
        .in_cache_write_1h = -1,
        .in_audio = -1,
        .out_total = tokens,
        .out_reasoning = tokens / 2,
        .out_audio = -1,
        .requests = 1,
    };
    const struct belay_cost found = belay_prices_cost(
        prices, model, (struct belay_slice){tier, strlen(tier)}, &usage);

    insist(found.amount.pico >= 0, "a negative cost");
    return found.amount.pico;
}

static void
ask(const belay_prices *prices, struct belay_slice name)
{
    static const char *const tiers[] = {"", "flex", "batch", "priority"};
    struct belay_price_model model;

    if (belay_prices_find(prices, "p", name, &model) < 0) {
        return;
    }
    insist(model.max_input_tokens >= -1 && model.max_output_tokens >= -1,
        "a limit below nothing");
    for (size_t i = 0; i < sizeof(tiers) / sizeof(tiers[0]); i++) {
        insist(cost(prices, &model, tiers[i], 0)
                   <= cost(prices, &model, tiers[i], 60),
            "more tokens cost less");
        (void)cost(prices, &model, tiers[i], INT64_MAX);
        (void)cost(prices, &model, tiers[i], 130000);
    }
}

/* The models of the file, by their names as they stand there. */
static void
ask_for_all(const belay_prices *prices, struct belay_slice file)
{
    struct belay__json_value key;
    struct belay__json json;

    belay__json_open(&json, file);
    if (!belay__json_enter_object(&json)) {
        return;
    }
    while (belay__json_next_member(&json, &key)) {
        ask(prices, belay__json_inside(key.raw));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct belay_slice file = {(const char *)data, size};
    struct belay_prices_problem problem = {SIZE_MAX, NULL};
    belay_prices *prices = NULL;
    int code = belay_prices_new(runtime(), file, &prices, &problem);

    if (code < 0) {
        insist(
            prices == NULL && problem.reason != NULL && problem.offset <= size,
            "a refusal without a reason");
        return 0;
    }
    ask(prices, (struct belay_slice){"m", 1});
    ask_for_all(prices, file);
    if (belay_prices_alias(prices, "alias", "m") == 0) {
        ask(prices, (struct belay_slice){"alias", 5});
    }
    belay_prices_unref(prices);
    return 0;
}
