/* test_batch_doubt.c - of lines that nobody counts, or that have no price, at
 * least what is known counts for the cap: L50, L54, L55, B26.
 */
#include "test/support/batch_scene.h"

TestSuite(
    batch_doubt, .init = batch_set_up, .fini = batch_tear_down, .timeout = 120);

#define MICRO INT64_C(1000000)
#define LINES 100
#define TEN(text_) text_ text_ text_ text_ text_ text_ text_ text_ text_ text_
#define WORDS TEN(TEN("word word word word ")) /* 400, a token each */

static const char price_file[] =
    "{\"m\":{\"input_cost_per_token\":1e-06,\"output_cost_per_token\":1e-06},"
    "\"v\":{\"input_cost_per_token\":1e-06}}";

static void
run_with_prices(void)
{
    cr_expect(zero(int, run_with_prices_of(price_file)));
}

static void
give_lines(const char *url, const char *body)
{
    FILE *file = open_input();

    for (size_t i = 0; i < LINES; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"%zu\",\"method\":\"POST\",\"url\":\"%s\","
            "\"body\":%s}\n",
            i, url, body);
    }
    cr_assert(eq(int, fclose(file), 0));
}

/* One line after the other, until the cap is reached; the next run, which reads
 * the journal, knows it too.
 */
static void
expect_sent(const struct fault_route *routes, int64_t cap, uint64_t most)
{
    serve(routes, 1);
    opts.concurrency = 1;
    opts.default_output_cap = 10;
    opts.max_retries = -1;
    opts.budget.cost.pico = cap;
    give_lines(CHAT, "{\"model\":\"m\",\"messages\":[]}");
    run_with_prices();
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(gt(u64, result.stats.sent, 0));
    cr_expect(le(u64, result.stats.sent, most));
    cr_expect(ge(i64, result.stats.uncertain, cap - 1000 * MICRO));
    run_with_prices();
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(zero(u64, result.stats.sent));
}

Test(batch_doubt, l50_b26_what_a_tier_without_a_price_costs_at_least_counts)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL,
        REPLY("200 OK", "",
            "{\"service_tier\":\"priority\",\"usage\":{\"prompt_tokens\":9,"
            "\"completion_tokens\":100000},\"choices\":[]}"))};

    expect_sent(routes, 1000000 * MICRO, 10);
}

Test(batch_doubt, l55_b26_what_nobody_has_counted_counts_by_its_texts)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, REPLY("200 OK", "",
                  "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"" WORDS
                  "\"},\"finish_reason\":\"stop\"}]}"))};

    expect_sent(routes, 4000 * MICRO, 10);
}

Test(batch_doubt, l55_b26_a_count_of_the_input_alone_is_no_count_of_all)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, REPLY("200 OK", "",
                  "{\"usage\":{\"prompt_tokens\":9},\"choices\":[{\"index\":0,"
                  "\"message\":{\"content\":\"" WORDS
                  "\"},\"finish_reason\":\"stop\"}]}"))};

    expect_sent(routes, 4000 * MICRO, 10);
}

Test(batch_doubt, l44_l55_b26_what_broke_off_counts_by_what_has_come)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL,
        FAULT_TEXT(HEAD(
            "200 OK", "Content-Length: 9999\r\n\r\n") "{\"choices\":[{"
                                                      "\"index\":0,\"message\":"
                                                      "{\"content\":\"" WORDS),
        FAULT_DO_CLOSE)};

    expect_sent(routes, 4000 * MICRO, 10);
}

/* Of a server that goes wrong once, and then not at all, and then well. */
Test(
    batch_doubt, l62_l65_a_count_that_cannot_be_true_costs_minutes_and_no_weeks)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL,
            REPLY("200 OK", "",
                "{\"choices\":[],\"usage\":{\"prompt_tokens\":"
                "1000000000000000,\"completion_tokens\":1000000000000000}}")),
        FAULT_ON(NULL, FAULT_DO_CLOSE), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.tokens_per_minute = 6000;
    give_lines(CHAT, "{\"model\":\"m\",\"messages\":[]}");
    cr_expect(zero(int, run_it()));
    cr_expect(eq(u64, result.stats.ok, LINES));
    cr_expect(lt(i64, result.stats.ended_ns - result.stats.started_ns,
        INT64_C(60) * 60 * 1000000000));
}

Test(batch_doubt, l55_b26_vectors_are_no_output)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, REPLY("200 OK", "",
                  "{\"data\":[{\"embedding\":[" TEN(TEN("0.25,")) "1]}]}"))};

    serve(routes, 1);
    opts.budget.cost.pico = 1000000 * MICRO;
    give_lines("/v1/embeddings", "{\"model\":\"v\",\"input\":\"hi\"}");
    run_with_prices();
    cr_expect(eq(u64, result.stats.ok, LINES));
    cr_expect(zero(i64, result.stats.spent));
    cr_expect(gt(i64, result.stats.uncertain, 0));
    cr_expect(lt(i64, result.stats.uncertain, LINES * 100 * MICRO));
}
