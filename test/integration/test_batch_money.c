/* test_batch_money.c - a batch with a budget. */
#include "test/support/batch_scene.h"

#include "llm/batch/models.h"
#include "llm/budget/estimate.h"
#include "test/support/alloc.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(
    batch_money, .init = batch_set_up, .fini = batch_tear_down, .timeout = 120);

static const char price_file[] =
    "{\"m\":{\"input_cost_per_token\":1e-06,"
    "\"output_cost_per_token\":1e-06},"
    "\"dear\":{\"input_cost_per_token\":1e-03,"
    "\"output_cost_per_token\":1e-03},"
    "\"tiers\":{\"input_cost_per_token\":1e-06,"
    "\"output_cost_per_token\":1e-06,"
    "\"input_cost_per_token_flex\":5e-07,"
    "\"output_cost_per_token_flex\":5e-07,"
    "\"input_cost_per_token_priority\":1e-05,"
    "\"output_cost_per_token_priority\":1e-05},"
    "\"vectors\":{\"input_cost_per_token\":1e-06}}";

static int
run_with_prices(void)
{
    return run_with_prices_of(price_file);
}

#define BODY "{\"model\":\"m\",\"max_tokens\":2}"
#define MICRO INT64_C(1000000)

/* What a line holds: a token for each byte, and the two of the answer. */
static int64_t
most_of_a_line(void)
{
    return ((int64_t)belay__estimate_bound(sizeof(BODY) - 1) + 2) * MICRO;
}

static void
give_chat(size_t count, const char *body)
{
    FILE *file = open_input();

    for (size_t i = 0; i < count; i++) {
        (void)fprintf(file,
            "{\"custom_id\":\"%zu\",\"method\":\"POST\",\"url\":\"" CHAT
            "\",\"body\":%s}\n",
            i, body);
    }
    cr_assert(eq(int, fclose(file), 0));
}

/* The cap is for 37 and a half lines: no 38th is sent while these are held,
 * more are when they turn out to be cheaper, and in the end the cap stands.
 */
static size_t held_requests;

static void *
open_when_held(void *arg)
{
    (void)arg;
    for (int i = 0; i < WAIT_ROUNDS && held_requests < 37; i++) {
        held_requests = fault_server_requests(server, NULL);
        (void)usleep(100);
    }
    (void)usleep(50000); /* room for a fault to show itself */
    held_requests = fault_server_requests(server, NULL);
    fault_server_open_gate(server);
    return NULL;
}

Test(batch_money, b26_the_cap_is_never_passed_and_a_higher_one_goes_on)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK_REPLY)};
    pthread_t thread;
    uint64_t first;
    int64_t spent;

    serve(routes, COUNT(routes));
    opts.concurrency = 500;
    opts.start = 500;
    opts.budget.cost.pico = most_of_a_line() * 75 / 2;
    give_chat(1000, BODY);
    cr_assert(eq(int, pthread_create(&thread, NULL, open_when_held, NULL), 0));
    cr_expect(eq(int, run_with_prices(), 0));
    (void)pthread_join(thread, NULL);
    cr_expect(eq(sz, held_requests, 37));
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(eq(u64, result.stats.failed, 0));
    cr_expect(
        eq(i64, result.stats.spent, (int64_t)result.stats.ok * 5 * MICRO));
    cr_expect(le(i64, result.stats.spent, opts.budget.cost.pico));
    cr_expect(
        gt(i64, result.stats.spent + most_of_a_line(), opts.budget.cost.pico));
    first = result.stats.ok;
    spent = result.stats.spent;

    cr_expect(eq(int, run_with_prices(), 0), "the same cap: nothing is sent");
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(eq(u64, result.stats.ok, 0));
    cr_expect(eq(i64, result.stats.spent_before, spent));

    opts.budget.cost.pico *= 100;
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_DONE));
    cr_expect(eq(u64, result.stats.ok, 1000 - first));
    cr_expect(eq(
        i64, result.stats.spent_before + result.stats.spent, 1000 * 5 * MICRO));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 1000));
    expect_each_once(1000);
}

/* Keeps the header of the state and so many records of its journal. */
static void
cut_journal(size_t records)
{
    char *state = test_file_read("out.state");
    char *end = state;

    for (size_t i = 0; i <= records; i++) {
        end += strcspn(end, "\n");
        cr_assert(eq(chr, *end, '\n'), "%s", state);
        end++;
    }
    *end = '\0';
    test_file_write("out.state", state);
}

/* The output is on the disk, and the end of the journal is not. */
Test(batch_money, b16_b26_what_a_loss_of_power_takes_from_the_journal_counts)
{
    size_t before;

    serve(always_ok, 1);
    opts.concurrency = 4;
    opts.budget.cost.pico = most_of_a_line() * 4;
    give_chat(100, BODY);
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    before = fault_server_requests(server, NULL);
    cr_expect(gt(sz, before, 20));
    for (size_t records = 3; records > 0; records--) {
        cut_journal(records);
        cr_expect(eq(int, run_with_prices(), 0));
        cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
        cr_expect(eq(u64, result.stats.ok, 0), "%zu", records);
        cr_expect(
            ge(i64, result.stats.spent_before + result.stats.uncertain_before,
                (int64_t)before * 5 * MICRO));
    }
    cr_expect(eq(sz, fault_server_requests(server, NULL), before));
    cut_journal(0); /* not even what a line may cost */
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.unpriced_before, before));
}

/* ---- caps on requests and tokens, over all runs ---- */

static void
run_until_stopped(int runs)
{
    for (int i = 0; i < runs; i++) {
        cr_expect(eq(int, run_it(), 0));
        cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    }
}

Test(batch_money, b26_a_cap_on_requests_holds_over_all_runs)
{
    serve(always_ok, 1);
    opts.budget.requests = 100;
    give_chat(300, BODY);
    run_until_stopped(3);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 100));
    opts.budget.requests = 150;
    run_until_stopped(2);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 150));
    opts.budget.requests = 0;
    cr_expect(eq(int, run_it(), 0));
    expect_each_once(300);
}

Test(batch_money, b26_a_cap_on_tokens_holds_over_all_runs)
{
    const int64_t most = most_of_a_line() / MICRO;

    serve(always_ok, 1); /* five tokens each */
    opts.concurrency = 1;
    opts.budget.tokens = 4 * 5 + most;
    give_chat(30, BODY);
    run_until_stopped(3);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 5));
}

/* Nobody has ever counted so many; a sum of such does not become a small one.
 */
#define HUGE_COUNT "9223372036854775807"
#define HUGE_BODY                                               \
    "{\"usage\":{\"prompt_tokens\":" HUGE_COUNT                 \
    ",\"completion_tokens\":" HUGE_COUNT                        \
    ",\"prompt_tokens_details\":{\"cached_tokens\":" HUGE_COUNT \
    "},\"completion_tokens_details\":{\"reasoning_tokens\":" HUGE_COUNT "}}}"

Test(batch_money, l54_l56_b26_a_count_beyond_all_sums_does_not_lift_the_cap)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("200 OK", "", HUGE_BODY)),
        FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.budget.tokens = 500;
    give_chat(30, BODY);
    run_until_stopped(2);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 1));
}

Test(batch_money, b27_counts_beyond_all_sums_stay_the_largest)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("200 OK", "", HUGE_BODY))};
    const struct belay__model_stats *model = &result.stats.models[0].stats;

    serve(routes, COUNT(routes));
    opts.requests_per_minute = 600;
    give_chat(5, BODY);
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(u64, result.stats.ok, 5));
    cr_expect(eq(u64, result.stats.tokens_in, INT64_MAX));
    cr_expect(eq(u64, result.stats.tokens_cached, INT64_MAX));
    cr_expect(eq(u64, result.stats.tokens_out, INT64_MAX));
    cr_expect(eq(u64, result.stats.tokens_reasoning, INT64_MAX));
    cr_expect(eq(u64, model->tokens_in, INT64_MAX));
    cr_expect(eq(u64, model->tokens_out, INT64_MAX));
}

/* Neither what the server had no room for, nor the third that was answered,
 * counts as anything else in the next run.
 */
Test(batch_money, b26_only_attempts_that_count_are_remembered)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("429 Too Many Requests", "", "{}")),
        FAULT_ON(NULL, FAULT_DO_CLOSE),
        FAULT_ON(NULL, OK_REPLY),
    };

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.budget.requests = 2;
    give_chat(30, BODY);
    run_until_stopped(2);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 3));
    opts.budget.requests = 3;
    run_until_stopped(1);
    cr_expect(eq(sz, fault_server_requests(server, NULL), 4));
}

Test(batch_money, b26_what_a_run_without_prices_has_cost_is_not_known)
{
    serve(always_ok, 1);
    opts.budget.requests = 3;
    give_chat(6, BODY);
    run_until_stopped(1);
    opts.budget = (struct belay_amount){.cost = {INT64_C(1000000000000)}};
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(i64, result.stats.spent_before, 0));
    cr_expect(eq(u64, result.stats.unpriced_before, 3));
    cr_expect(eq(u64, result.stats.unpriced, 0));
}

/* A state of a belay that has not counted them: "d 1" says nothing of tokens.
 */
Test(batch_money, b26_an_older_state_is_refused_for_a_cap_that_it_cannot_tell)
{
    char *state;
    char *at;

    serve(always_ok, 1);
    give_chat(3, BODY);
    cr_expect(eq(int, run_it(), 0));
    state = test_file_read("out.state");
    at = strstr(state, "_state\":2");
    cr_assert(ne(ptr, at, NULL), "%s", state);
    at[8] = '1';
    test_file_write("out.state", state);
    opts.budget.requests = 100;
    cr_expect(eq(int, run_it(), BELAY_ESTATE));
    cr_expect(ne(ptr, strstr(message, "older belay"), NULL), "%s", message);
    opts.budget = (struct belay_amount){.cost = {INT64_C(1000000000000)}};
    cr_expect(eq(int, run_with_prices(), 0));
    opts.budget.cost.pico = 0;
    cr_expect(eq(int, run_it(), 0));
}

/* What may have been charged counts for the cap, in this run and the next. */
Test(batch_money, b16_b26_an_attempt_without_an_answer_is_uncertain)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_CLOSE), FAULT_ON(NULL, OK_REPLY)};

    serve(routes, COUNT(routes));
    opts.concurrency = 1;
    opts.budget.cost.pico = most_of_a_line() * 2;
    give_chat(40, BODY);
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(eq(i64, result.stats.uncertain, most_of_a_line()));
    cr_expect(le(i64, result.stats.spent + result.stats.uncertain,
        opts.budget.cost.pico));
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, 0));
    cr_expect(eq(i64, result.stats.uncertain_before, most_of_a_line()));
}

/* The same of what is cut off, when draining takes too long. */
Test(batch_money, b16_b26_b29_a_line_that_is_cut_off_is_uncertain)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("401 Who", "", "{}")),
        FAULT_ON(NULL, FAULT_DO_HANG)};
    int64_t uncertain;

    serve(routes, COUNT(routes));
    opts.concurrency = 3;
    opts.drain_timeout = belay_milliseconds(50);
    give_chat(10, BODY);
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_REFUSED));
    cr_expect(gt(u64, result.stats.cut, 0));
    cr_expect(eq(u64, result.stats.sent, result.stats.cut + 1));
    uncertain = (int64_t)result.stats.cut * most_of_a_line();
    cr_expect(eq(i64, result.stats.uncertain, uncertain));
    cr_expect(eq(i64, result.stats.models[0].stats.uncertain, uncertain));

    fault_server_stop(server);
    serve(always_ok, 1);
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(i64, result.stats.uncertain_before, uncertain));
}

Test(batch_money, b26_a_line_that_nobody_can_say_the_most_of_is_not_sent)
{
    serve(always_ok, 1);
    opts.budget.cost.pico = INT64_C(1000000000000);
    give(REQUEST("a", CHAT, "{\"model\":\"m\"}") REQUEST("b", CHAT,
        "{\"model\":\"x\",\"max_tokens\":1}") REQUEST("c", CHAT, BODY));
    cr_expect(eq(int, run_with_prices(), 0));
    expect_code("a", "no_output_cap");
    expect_code("b", "no_price");
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(sz, fault_server_requests(server, NULL), 1));
    opts.default_output_cap = 10;
    opts.retry_failed = true;
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(u64, result.stats.again, 2));
    expect_code("b", "no_price");
}

/* ---- what an answer is charged by ---- */

#define TIERED_BODY(tier_) \
    "{\"model\":\"tiers\",\"max_tokens\":2,\"service_tier\":" tier_ "}"
#define TOLD_BODY                                                    \
    "{\"service_tier\":\"priority\",\"usage\":{\"prompt_tokens\":3," \
    "\"completion_tokens\":2}}"
#define TOLD_MESSAGE                                                  \
    "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":" \
    "\"hi\"}],\"usage\":{\"service_tier\":\"priority\","              \
    "\"input_tokens\":3,\"output_tokens\":2}}"

/* Whoever asked for what, and wherever a format tells it. */
Test(batch_money, l50_b26_the_service_tier_of_the_answer_sets_the_price)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/messages", REPLY("200 OK", "", TOLD_MESSAGE)),
        FAULT_ON(CHAT, REPLY("200 OK", "", TOLD_BODY))};

    serve(routes, COUNT(routes));
    give(REQUEST("a", CHAT, "{\"model\":\"tiers\",\"max_tokens\":2}")
            REQUEST("b", CHAT, TIERED_BODY("\"auto\""))
                REQUEST("c", CHAT, TIERED_BODY("\"flex\""))
                    REQUEST("d", CHAT, TIERED_BODY("\"priority\""))
                        REQUEST("e", "/v1/messages", TIERED_BODY("\"auto\"")));
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, 5));
    cr_expect(eq(i64, result.stats.spent, INT64_C(5) * 5 * 10 * MICRO));
}

/* A server that knows no tiers charges as usual, whatever was asked for. */
Test(batch_money, l50_l56_b26_a_cheaper_tier_counts_where_the_answer_tells_it)
{
    serve(always_ok, 1);
    give(REQUEST("a", CHAT, TIERED_BODY("\"flex\""))
            REQUEST("b", CHAT, TIERED_BODY("\"auto\""))
                REQUEST("c", CHAT, TIERED_BODY("\"priority\"")));
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, 3));
    cr_expect(eq(i64, result.stats.spent, (5 + 5 + 50) * MICRO));
}

/* JSON has many ways to write a word. */
Test(batch_money, l50_l54_b26_a_tier_counts_however_it_is_written)
{
    static const char *const bodies[] = {
        TIERED_BODY("\"p\\u0072iority\""), TIERED_BODY("\"aut\\u006f\"")};

    serve(always_ok, 1);
    for (size_t i = 0; i < COUNT(bodies); i++) {
        const int64_t tokens = belay__estimate_bound(strlen(bodies[i])) + 2;

        opts.overwrite = true;
        opts.budget.cost.pico = tokens * 10 * MICRO - 1;
        give_chat(1, bodies[i]);
        cr_expect(eq(int, run_with_prices(), 0));
        cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET), "%zu", i);
        cr_expect(zero(u64, result.stats.sent), "%zu", i);
    }
    opts.budget.cost.pico = 0;
    give_chat(1, bodies[0]);
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(i64, result.stats.spent, 50 * MICRO));
}

Test(batch_money, l49_l50_b26_an_answer_s_tier_and_a_model_count_so_too)
{
    static const struct fault_route told[] = {
        FAULT_ON(NULL, REPLY("200 OK", "",
                           "{\"service_tier\":\"p\\u0072iority\",\"usage\":{"
                           "\"prompt_tokens\":3,\"completion_tokens\":2}}"))};

    serve(told, 1);
    give_chat(1, "{\"model\":\"\\u0074iers\",\"max_tokens\":2}");
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(i64, result.stats.spent, 50 * MICRO));
    cr_expect(zero(u64, result.stats.unpriced));
}

/* What was asked for is what room was held for; where nobody knows its price,
 * as of an alias, that of the model which has answered is better than none.
 */
Test(batch_money, l50_l52_b27_the_price_of_who_answers_is_the_second_choice)
{
    static const struct fault_route told[] = {
        FAULT_ON(NULL, REPLY("200 OK", "",
                           "{\"model\":\"m\",\"usage\":{"
                           "\"prompt_tokens\":3,\"completion_tokens\":2}}"))};

    serve(told, 1);
    give(REQUEST("a", CHAT, "{\"model\":\"latest\",\"max_tokens\":2}")
            REQUEST("b", CHAT, "{\"model\":\"dear\",\"max_tokens\":2}"));
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(i64, result.stats.spent, (5 + 5000) * MICRO));
    cr_expect(zero(u64, result.stats.unpriced));
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(i64, result.stats.spent_before, (5 + 5000) * MICRO));
    cr_expect(zero(u64, result.stats.unpriced_before));
}

/* Many servers tell no total either. */
Test(batch_money, l55_b26_what_has_no_output_is_counted_whole)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, REPLY("200 OK", "",
                           "{\"data\":[],\"usage\":{"
                           "\"prompt_tokens\":5}}"))};

    serve(routes, COUNT(routes));
    opts.budget.cost.pico = 1000 * MICRO;
    give(REQUEST(
        "a", "/v1/embeddings", "{\"model\":\"vectors\",\"input\":\"hi\"}"));
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, 1));
    cr_expect(eq(i64, result.stats.spent, 5 * MICRO));
    cr_expect(zero(i64, result.stats.uncertain));
    cr_expect(zero(u64, result.stats.unpriced));
}

/* ---- more models than are told apart ---- */

/* Lines of so many models that have no price, then those of the names. */
static void
give_models(int count, const char *const *names)
{
    FILE *file = open_input();
    char name[32];

    for (int i = 0; i < count || *names != NULL; i++) {
        (void)snprintf(name, sizeof(name), "name-%d", i);
        (void)fprintf(file,
            "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":\"" CHAT
            "\",\"body\":{\"model\":\"%s\",\"max_tokens\":2}}\n",
            i, i < count ? name : *names++);
    }
    cr_assert(eq(int, fclose(file), 0));
}

Test(batch_money, b26_each_of_very_many_models_has_its_own_price)
{
    serve(always_ok, 1);
    give_models(BELAY__MODELS_MAX - 1, (const char *[]){"m", "dear", NULL});
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, BELAY__MODELS_MAX + 1));
    cr_expect(eq(u64, result.stats.unpriced, BELAY__MODELS_MAX - 1));
    cr_expect(eq(i64, result.stats.spent, 5 * MICRO + 5 * 1000 * MICRO));
}

Test(batch_money, b26_none_of_very_many_models_is_sent_without_a_price)
{
    serve(always_ok, 1);
    opts.budget.cost.pico = 1000 * most_of_a_line();
    give_models(
        BELAY__MODELS_MAX - 1, (const char *[]){"m", "unknown", "m", NULL});
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(u64, result.stats.ok, 2));
    cr_expect(
        eq(u64, result.stats.errors[BELAY__LINE_NO_PRICE], BELAY__MODELS_MAX));
}

Test(batch_money, b26_a_dear_one_of_very_many_models_does_not_pass_the_cap)
{
    serve(always_ok, 1);
    opts.budget.cost.pico = 10 * most_of_a_line();
    give_models(BELAY__MODELS_MAX - 1, (const char *[]){"m", "dear", NULL});
    cr_expect(eq(int, run_with_prices(), 0));
    cr_expect(eq(int, result.stop, BELAY__BATCH_BUDGET));
    cr_expect(eq(u64, result.stats.ok + result.stats.dropped, 2));
    cr_expect(le(i64, result.stats.spent, 5 * MICRO));
}

Test(batch_money, b27_the_rest_of_many_models_is_called_that)
{
    serve(always_ok, 1);
    give_models(BELAY__STATS_MODELS + 5, (const char *[]){NULL});
    cr_expect(eq(int, run_it(), 0));
    cr_expect(eq(sz, result.stats.model_count, BELAY__STATS_MODELS));
    expect_text(result.stats.models[BELAY__STATS_MODELS - 2].name, "name-30");
    expect_text(result.stats.models[BELAY__STATS_MODELS - 1].name, "(others)");
    cr_expect(
        eq(u64, result.stats.models[BELAY__STATS_MODELS - 1].stats.ok, 6));
    remove_outputs();
    give_models(BELAY__STATS_MODELS, (const char *[]){NULL});
    cr_expect(eq(int, run_it(), 0));
    expect_text(result.stats.models[BELAY__STATS_MODELS - 1].name, "name-31");
}
