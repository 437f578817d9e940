/* test_llm_doubt.c - what nobody counts, or has no price, counts for the cap at
 * least as much as is known of it: L44, L50, L54-L57.
 */
#include "test/support/account_scene.h"

TestSuite(llm_doubt, .fini = check_clean, .timeout = 120);

#define CALLS 5
#define TEN(text_) text_ text_ text_ text_ text_ text_ text_ text_ text_ text_
#define WORDS TEN(TEN("word word word word ")) /* 400, a token each */
#define WORDS_PICO (400 * INT64_C(4000000))

/* Each answer of it is 0.4 dollars. */
#define LONG_IN(tier_)                                                    \
    CLOSED("200 OK", "",                                                  \
        "{\"service_tier\":\"" tier_ "\",\"usage\":{\"prompt_tokens\":9," \
        "\"completion_tokens\":100000},\"choices\":[{\"index\":0,"        \
        "\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}")
#define DOLLAR (S * 1000)

static const struct fault_route told[] = {FAULT_ON(NULL, LONG_IN("priority"))};
static const struct fault_route uncounted[] = {
    FAULT_ON(NULL, CLOSED("200 OK", "",
                       "{\"choices\":[{\"index\":0,\"message\":{\"content\":"
                       "\"" WORDS "\"},\"finish_reason\":\"stop\"}]}"))};
static const struct fault_route half_counted[] = {
    FAULT_ON(NULL, CLOSED("200 OK", "",
                       "{\"usage\":{\"prompt_tokens\":9},\"choices\":[{"
                       "\"index\":0,\"message\":{\"content\":\"" WORDS
                       "\"},\"finish_reason\":\"stop\"}]}"))};
static const struct fault_route cut[] = {FAULT_ON(NULL,
    FAULT_TEXT(SSE_HEAD "data: {\"choices\":[{\"index\":0,\"delta\":{"
                        "\"content\":\"" WORDS "\"}}]}\n\n"),
    FAULT_DO_CLOSE)};
static const struct fault_route cut_json[] = {FAULT_ON(NULL,
    FAULT_TEXT(HEAD("200 OK",
        "Content-Length: 9999\r\n\r\n") "{\"choices\":[{\"index\":0,"
                                        "\"message\":{\"content\":\"" WORDS),
    FAULT_DO_CLOSE)};

/* So many of the calls were sent, one after the other, and the budget knows
 * of all that their ledger does.
 */
static void
expect_sent(size_t most)
{
    const int64_t counted =
        seen.budget.spent.cost.pico + seen.budget.uncertain.cost.pico;

    cr_expect(eq(sz, seen.ended, CALLS));
    cr_expect(gt(u64, seen.ledger.attempts, 0));
    cr_expect(le(u64, seen.ledger.attempts, most));
    cr_expect(eq(u64, seen.budget.refused, CALLS - seen.ledger.attempts));
    cr_expect(ge(i64, counted, seen.ledger.cost.amount.pico));
    finish();
}

#define TURNS(routes, policy_, limit_, ...)                         \
    PLAY(routes, .count = CALLS, .in_turn = true,                   \
        .max_retries = BELAY_LLM_NO_RETRIES,                        \
        .budget = {.policy = (policy_), .limit = {{limit_}, 0, 0}}, \
        __VA_ARGS__)

/* ---- L50: a tier without a price ---- */

Test(llm_doubt, l50_l54_what_a_tier_without_a_price_costs_at_least_counts)
{
    TURNS(told, BELAY_BUDGET_REFUSE, DOLLAR, .body = BODY);
    expect_sent(3);
    TURNS(told, BELAY_BUDGET_WAIT, DOLLAR, .body = BODY);
    expect_sent(3);
    TURNS(told, BELAY_BUDGET_POST_CHECK, DOLLAR, .body = UNCAPPED);
    expect_sent(3);
}

#define PRIORITY_BODY(cap_) \
    "{\"model\":\"m\",\"service_tier\":\"priority\"" cap_ ",\"messages\":[]}"

Test(llm_doubt, l54_l57_a_tier_without_a_price_is_refused_where_it_is_asked_for)
{
    static const char *const bodies[] = {
        PRIORITY_BODY(",\"max_tokens\":5"), PRIORITY_BODY("")};

    for (size_t i = 0; i < COUNT(bodies); i++) {
        TURNS(told, BELAY_BUDGET_POST_CHECK, DOLLAR, .body = bodies[i]);
        for (size_t k = 0; k < CALLS; k++) {
            cr_expect(eq(int, seen.results[k].code, BELAY_ENOPRICE));
        }
        cr_expect(zero(sz, fault_server_accepted(account_server)));
        finish();
    }
}

Test(llm_doubt, l54_l57_a_model_without_a_price_of_output_is_refused)
{
    TURNS(uncounted, BELAY_BUDGET_POST_CHECK, DOLLAR,
        .body = "{\"model\":\"v\",\"messages\":[]}");
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOPRICE));
    cr_expect(zero(sz, fault_server_accepted(account_server)));
    finish();
}

/* ---- L44, L55: what nobody has counted ---- */

Test(llm_doubt, l44_l55_l57_the_texts_count_where_nothing_was_held)
{
    TURNS(uncounted, BELAY_BUDGET_POST_CHECK, 2 * WORDS_PICO, .body = UNCAPPED);
    expect_sent(3);
    TURNS(half_counted, BELAY_BUDGET_POST_CHECK, 2 * WORDS_PICO,
        .body = UNCAPPED);
    expect_sent(3);
    TURNS(cut, BELAY_BUDGET_POST_CHECK, 2 * WORDS_PICO, .ask = ASK_STREAM,
        .body = UNCAPPED);
    expect_sent(3);
    TURNS(cut_json, BELAY_BUDGET_POST_CHECK, 2 * WORDS_PICO, .body = UNCAPPED);
    expect_sent(3);
}

/* The answers were to have ten tokens at most. */
Test(llm_doubt, l44_l55_l56_the_texts_count_above_what_was_held)
{
    TURNS(uncounted, BELAY_BUDGET_REFUSE, 2 * WORDS_PICO, .body = BODY);
    expect_sent(3);
    TURNS(half_counted, BELAY_BUDGET_WAIT, 2 * WORDS_PICO, .body = BODY);
    expect_sent(3);
    TURNS(cut, BELAY_BUDGET_REFUSE, 2 * WORDS_PICO, .ask = ASK_STREAM,
        .body = STREAM_BODY);
    expect_sent(3);
    TURNS(cut_json, BELAY_BUDGET_REFUSE, 2 * WORDS_PICO, .body = BODY);
    expect_sent(3);
}

Test(llm_doubt, l54_l55_tokens_that_nobody_has_counted_count_too)
{
    PLAY(uncounted, .count = CALLS, .in_turn = true, .body = UNCAPPED,
        .budget = {.policy = BELAY_BUDGET_POST_CHECK, .limit = {{0}, 800, 0}});
    cr_expect(ge(i64, seen.budget.uncertain.tokens, 800));
    expect_sent(3);
}

/* ---- and no more than may have been ---- */

Test(llm_doubt, l55_what_is_no_answer_is_no_output)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("502 Bad", "", "<html>" WORDS "</html>"))};

    PLAY(routes, .max_retries = BELAY_LLM_NO_RETRIES,
        .budget.limit = {{DOLLAR}, 0, 0});
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, most_pico(BODY)));
    cr_expect(zero(i64, seen.ledger.usage.out_total));
    cr_expect(zero(i64, seen.budget.excess.cost.pico));
    finish();
}

Test(llm_doubt, l55_vectors_are_no_output_either)
{
#define NUMBERS TEN(TEN("0.25,")) "1"
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, CLOSED("200 OK", "",
                  "{\"data\":[{\"index\":0,\"embedding\":[" NUMBERS "]}]}"))};

    PLAY(routes, .ask = ASK_EMBED, .budget.limit = {{DOLLAR}, 0, 0});
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(zero(i64, seen.budget.excess.cost.pico));
    cr_expect(zero(i64, seen.ledger.usage.out_total));
    cr_expect(gt(i64, seen.ledger.usage.in_total, 0));
    finish();
}

/* One that honours its cap has used no more than was held for it. */
Test(llm_doubt, l56_a_short_answer_that_nobody_counts_passes_nothing)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("200 OK", "", UNCOUNTED_BODY))};

    PLAY(routes, .budget.limit = {{DOLLAR}, 0, 0});
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, most_pico(BODY)));
    cr_expect(zero(i64, seen.budget.excess.cost.pico));
    cr_expect(eq(u64, seen.ledger.unknown, 1));
    cr_expect(eq(int, (int)seen.usage.state, BELAY_LLM_USAGE_UNKNOWN),
        "L45: to the user it is what the server says");
    finish();
}
