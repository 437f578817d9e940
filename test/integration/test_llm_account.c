/* test_llm_account.c - calls, their budgets and what they cost: L2, L34, L44,
 * L46, L50, L53-L59.
 */
#include "test/support/account_scene.h"

#include <string.h>
#include <unistd.h>

TestSuite(llm_account, .fini = check_clean, .timeout = 120);

/* ---- L53-L58: the budget ---- */

Test(llm_account, l55_what_the_server_counts_is_spent)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .budget.limit = {{most_pico(BODY)}, 0, 0});
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    cr_expect(eq(i64, seen.budget.spent.tokens, 11));
    cr_expect(eq(i64, seen.budget.spent.requests, 1));
    cr_expect(zero(i64, seen.budget.uncertain.cost.pico));
    finish();
}

Test(llm_account, l58_a_refused_call_fails_at_once_and_makes_no_connection)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .budget.limit = {{most_pico(BODY) - 1}, 0, 0},
        .budget.name = "small");
    cr_expect(eq(int, seen.results[0].code, BELAY_EBUDGET));
    cr_expect(ne(ptr, strstr(seen.results[0].message, "\"small\""), NULL));
    cr_expect(zero(i64, seen.results[0].at_ns));
    cr_expect(zero(sz, fault_server_accepted(account_server)));
    cr_expect(zero(sz, seen.attempt_count));
    cr_expect(eq(u64, seen.budget.refused, 1));
    finish();
}

Test(llm_account, l54_without_a_cap_or_a_price_a_budget_lets_nothing_through)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .body = UNCAPPED, .budget.limit = {{S}, 0, 0});
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOCAP));
    cr_expect(ne(ptr, strstr(seen.results[0].message, "'m'"), NULL));
    cr_expect(zero(sz, fault_server_accepted(account_server)));
    finish();
    PLAY(routes, .body = UNCAPPED, .budget.limit = {{0}, 1000, 0});
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOCAP));
    finish();
    PLAY(routes, .budget.limit = {{S}, 0, 0}, .no_prices = true);
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOPRICE));
    cr_expect(zero(sz, fault_server_accepted(account_server)));
    finish();
    /* Configured, it is held; and where only requests are limited, nobody
     * asks.
     */
    PLAY(routes, .body = UNCAPPED, .budget.limit = {{S}, 0, 0},
        .opts.output_cap = 100);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    finish();
    PLAY(routes, .body = UNCAPPED, .budget.limit = {{0}, 0, 1},
        .no_prices = true);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.tokens, 11));
    finish();
}

#define NAME_OF_33 "a23456789012345678901234567890aaa"
#define NAME_OF_99 NAME_OF_33 NAME_OF_33 NAME_OF_33

Test(llm_account, l54_s2_a_refusal_shows_the_name_fit_for_a_terminal)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .ask = ASK_SEND, .budget.limit = {{S}, 0, 0},
        .body = "{\"model\":\"\\u001b[2Jone\\ntwo\",\"max_tokens\":1}");
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOPRICE));
    cr_expect(eq(ptr, strchr(seen.results[0].message, '\033'), NULL));
    cr_expect(ne(ptr, strstr(seen.results[0].message, "[2Jone two'"), NULL),
        "%s", seen.results[0].message);
    finish();
    /* Cut between characters. */
    PLAY(routes, .ask = ASK_SEND, .budget.limit = {{S}, 0, 0},
        .body = "{\"model\":\"" NAME_OF_99
                "\u00fc\u00fc\u00fc\",\"max_tokens\":1}");
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOPRICE));
    cr_expect(ne(ptr, strstr(seen.results[0].message, "a...'"), NULL), "%s",
        seen.results[0].message);
    finish();
}

Test(llm_account, l55_what_was_refused_is_given_back_and_what_broke_is_in_doubt)
{
    static const struct fault_route refused[] = {
        FAULT_ON(NULL, CLOSED("400 Bad", "", "{}"))};
    static const struct fault_route broken[] = {FAULT_ON(NULL, FAULT_DO_RESET)};
    static const struct fault_route uncounted[] = {
        FAULT_ON(NULL, CLOSED("200 OK", "", UNCOUNTED_BODY))};
    const struct belay_budget_opts budget = {.limit = {{S * 1000}, 0, 0}};

    PLAY(refused, .budget = budget);
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(zero(i64, seen.budget.spent.cost.pico));
    cr_expect(zero(i64, seen.budget.uncertain.cost.pico));
    cr_expect(zero(i64, seen.budget.spent.requests));
    finish();
    PLAY(broken, .budget = budget, .max_retries = 1);
    cr_expect(eq(int, seen.results[0].code, BELAY_ERESET));
    cr_expect(zero(i64, seen.budget.spent.cost.pico));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, 2 * most_pico(BODY)));
    cr_expect(eq(i64, seen.budget.uncertain.requests, 2));
    finish();
    PLAY(uncounted, .budget = budget);
    cr_expect(zero(int, seen.results[0].code));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, most_pico(BODY)));
    finish();
}

/* Each call has a budget of its own, within that of its client. */
Test(llm_account, l53_a_budget_within_that_of_the_client_counts_too)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};

    PLAY(routes, .in_turn = true, .count = 2, .of_client = true,
        .budget.limit = {{0}, 0, 9}, .inner = {{0}, 0, 1});
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(zero(int, seen.results[1].code), "%s", seen.results[1].message);
    cr_expect(eq(i64, seen.budget.spent.requests, 2), "in the outer one");
    finish();
    PLAY(routes, .in_turn = true, .count = 1, .of_client = true,
        .body = UNCAPPED, .budget.limit = {{0}, 0, 9}, .inner = {{0}, 500, 1});
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOCAP), "%s",
        seen.results[0].message);
    cr_expect(zero(sz, fault_server_requests(account_server, NULL)));
    finish();
}

#define AT_ONCE 500
#define FIT 37

/* All that were let through wait for their answers until the last of the
 * others was refused.
 */
static void
open_gate(struct play *of)
{
    (void)of;
    if (seen.ended == AT_ONCE - FIT) {
        fault_server_open_gate(account_server);
    }
}

Test(llm_account, l56_five_hundred_calls_at_once_never_pass_the_cap)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK)};
    const int64_t cap = most_pico(BODY) * FIT + most_pico(BODY) / 2;
    size_t good = 0;

    /* Its gate opens when all others have ended, which in a trial may never be.
     */
    program_unswept = true;
    PLAY(routes, .count = AT_ONCE, .budget.limit = {{cap}, 0, 0},
        .on_end = open_gate);
    for (size_t i = 0; i < AT_ONCE; i++) {
        good += seen.results[i].code == 0;
        cr_expect(
            seen.results[i].code == 0 || seen.results[i].code == BELAY_EBUDGET);
    }
    cr_expect(eq(sz, good, FIT));
    cr_expect(eq(sz, fault_server_requests(account_server, NULL), FIT));
    cr_expect(eq(u64, seen.budget.refused, AT_ONCE - FIT));
    cr_expect(eq(i64, seen.budget.spent.cost.pico, FIT * HI_PICO));
    finish();
}

Test(llm_account, l58_calls_may_wait_for_what_others_give_back)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .count = 20,
        .budget = {.limit = {{most_pico(BODY) + 19 * HI_PICO}, 0, 0},
            .policy = BELAY_BUDGET_WAIT});
    for (size_t i = 0; i < 20; i++) {
        cr_expect(zero(int, seen.results[i].code));
    }
    cr_expect(eq(i64, seen.budget.spent.cost.pico, 20 * HI_PICO));
    finish();
}

Test(llm_account, l34_a_call_that_waits_for_a_retry_holds_nothing)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};

    PLAY(routes, .budget.limit = {{most_pico(BODY)}, 0, 0});
    cr_assert(eq(sz, seen.attempt_count, 2));
    cr_expect(seen.attempts[0].will_retry);
    cr_expect(zero(i64, seen.at_attempt[0].held.cost.pico));
    cr_expect(zero(i64, seen.at_attempt[0].held.requests));
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    finish();
}

/* While one sleeps, another one uses the room. */
Test(llm_account, l34_others_go_while_a_call_waits_for_a_retry)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};

    PLAY(routes, .count = 2,
        .budget = {.limit = {{0}, 0, 2}, .policy = BELAY_BUDGET_WAIT},
        .opts.rates = {.requests = 600});
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(zero(int, seen.results[1].code), "%s", seen.results[1].message);
    cr_expect(lt(i64, seen.results[1].at_ns, seen.results[0].at_ns));
    cr_expect(eq(i64, seen.budget.spent.requests, 2));
    finish();
}

/* ---- streams ---- */

static const struct belay_budget_opts plenty = {.limit = {{S * 1000}, 0, 0}};

Test(llm_account, l55_a_stream_is_settled_at_its_end)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};

    PLAY(routes, .ask = ASK_STREAM, .body = STREAM_BODY, .budget = plenty);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    cr_expect(zero(i64, seen.budget.uncertain.cost.pico));
    cr_expect(eq(sz, seen.attempt_count, 1));
    finish();
}

Test(llm_account, l44_l55_a_stream_that_is_cut_or_left_is_in_doubt)
{
    static const struct fault_route cut[] = {
        FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD DELTA), FAULT_DO_CLOSE)};
    static const struct fault_route hung[] = {
        FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD DELTA), FAULT_DO_HANG)};
    const int64_t most = most_pico(STREAM_BODY);

    PLAY(cut, .ask = ASK_STREAM, .body = STREAM_BODY, .budget = plenty);
    cr_expect(eq(int, seen.results[0].code, BELAY_ETRUNCATED));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, most));
    cr_expect(eq(int, (int)seen.usage.state, BELAY_LLM_USAGE_PARTIAL));
    cr_expect(gt(i64, seen.usage.in_total, 0));
    cr_expect(gt(i64, seen.usage.out_total, 0));
    cr_expect(gt(i64, seen.ledger.usage.out_total, 0));
    finish();
    PLAY(hung, .ask = ASK_STREAM_LEFT, .body = STREAM_BODY, .budget = plenty);
    cr_expect(zero(int, seen.results[0].code));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, most));
    cr_expect(eq(int, (int)seen.usage.state, BELAY_LLM_USAGE_PARTIAL));
    cr_expect(eq(sz, seen.attempt_count, 1), "L29: it has its record");
    cr_expect(eq(int, seen.attempts[0].code, BELAY_ECANCELED));
    finish();
}

Test(llm_account, l44_l55_a_stream_that_is_drained_is_spent)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD DELTA), FAULT_DO_SLEEP(5),
            FAULT_TEXT(STOP USAGE DONE), FAULT_DO_CLOSE)};

    PLAY(routes, .ask = ASK_STREAM_LEFT, .body = STREAM_BODY, .budget = plenty,
        .drain = belay_seconds(5));
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    cr_expect(zero(i64, seen.budget.uncertain.cost.pico));
    finish();
}

/* ---- L46, L50: books and prices ---- */

Test(llm_account, l46_a_ledger_has_every_attempt_however_a_call_ends)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_RESET),
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};
    static const struct fault_route broken[] = {FAULT_ON(NULL, FAULT_DO_RESET)};

    PLAY(routes, .no_budget = true);
    cr_expect(zero(int, seen.results[0].code));
    cr_expect(eq(u64, seen.ledger.attempts, 3));
    cr_expect(eq(u64, seen.ledger.unknown, 1), "what it used nobody told");
    cr_expect(seen.ledger.cost.at_least, "L52");
    cr_expect(gt(i64, seen.ledger.usage.in_total, 9), "what broke is there");
    cr_expect(gt(i64, seen.ledger.cost.amount.pico, HI_PICO));
    finish();
    PLAY(broken, .no_budget = true, .max_retries = 1);
    cr_expect(eq(int, seen.results[0].code, BELAY_ERESET));
    cr_expect(eq(u64, seen.ledger.attempts, 2));
    cr_expect(gt(i64, seen.ledger.usage.in_total, 0));
    finish();
}

Test(llm_account, l50_the_service_tier_of_the_answer_sets_the_price)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, CLOSED("200 OK", "",
                  "{\"service_tier\":\"flex\",\"choices\":[{\"message\":"
                  "{\"content\":\"hi\"}}],\"usage\":{\"prompt_tokens\":9,"
                  "\"completion_tokens\":2}}"))};
    static const struct fault_route escaped[] = {FAULT_ON(NULL,
        FAULT_TEXT(SSE_HEAD
            "data: {\"service_tier\":\"fle\\u0078\",\"choices\":[]}\n\n" DELTA
                STOP USAGE DONE),
        FAULT_DO_CLOSE)};

    PLAY(routes, .budget = plenty);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO / 2));
    cr_expect(eq(i64, seen.ledger.cost.amount.pico, HI_PICO / 2));
    finish();
    PLAY(escaped, .budget = plenty, .ask = ASK_STREAM, .body = STREAM_BODY);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO / 2));
    finish();
}

/* A server that knows no tiers charges as usual, whatever was asked for. */
Test(llm_account, l50_l56_a_cheaper_tier_counts_where_the_answer_tells_it)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .budget = plenty,
        .body = "{\"model\":\"m\",\"service_tier\":\"flex\","
                "\"max_completion_tokens\":10}");
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    finish();
    PLAY(routes, .budget = plenty,
        .body = "{\"model\":\"p\",\"service_tier\":\"priority\","
                "\"max_completion_tokens\":10}");
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO * 2));
    finish();
}

/* "p" and "priority", as JSON may write them too. */
#define ESCAPED_BODY                          \
    "{\"model\":\"\\u0070\",\"messages\":[]," \
    "\"service_tier\":\"pr\\u0069ority\",\"max_tokens\":10}"

Test(llm_account, l49_a_model_is_known_however_its_name_is_written)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};
    static const struct fault_route answers[] = {FAULT_ON(
        NULL, CLOSED("200 OK", "",
                  "{\"model\":\"\\u006d\",\"choices\":[{\"message\":"
                  "{\"content\":\"hi\"}}],\"usage\":{\"prompt_tokens\":9,"
                  "\"completion_tokens\":2}}"))};
    static const struct fault_route streams[] = {FAULT_ON(NULL,
        FAULT_TEXT(SSE_HEAD
            "data: {\"model\":\"\\u006d\",\"choices\":[]}\n\n" DELTA STOP USAGE
                DONE),
        FAULT_DO_CLOSE)};

    PLAY(routes, .body = ESCAPED_BODY, .budget = plenty, .ask = ASK_SEND);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO * 2));
    cr_expect(not(seen.ledger.cost.at_least));
    finish();
    PLAY(answers, .body = "{\"model\":\"x\"}", .no_budget = true);
    cr_expect(not(seen.ledger.cost.at_least));
    cr_expect(eq(i64, seen.ledger.cost.amount.pico, HI_PICO));
    finish();
    PLAY(streams, .body = "{\"model\":\"x\",\"stream\":true}",
        .ask = ASK_STREAM, .no_budget = true);
    cr_expect(not(seen.ledger.cost.at_least));
    cr_expect(eq(i64, seen.ledger.cost.amount.pico, HI_PICO));
    finish();
}

/* Whose model need not be read off the body has a tier there all the same. */
Test(llm_account, l46_l50_a_tier_is_charged_for_without_a_budget_too)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};

    PLAY(routes, .ask = ASK_STREAM, .no_budget = true, .model = "p",
        .extra = "{\"service_tier\":\"priority\"}");
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.ledger.cost.amount.pico, HI_PICO * 2));
    finish();
}

/* The body is written again, and what was read off it is read again. */
Test(llm_account, l2_l50_a_stream_asked_for_again_is_charged_as_it_is_sent)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("400 Bad", "",
                           "{\"error\":{\"message\":\"stream_options\"}}")),
        FAULT_ON(
            NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};

    PLAY(routes, .ask = ASK_STREAM, .no_budget = true,
        .extra = "{\"model\":\"p\",\"service_tier\":\"priority\",\"user\":\""
                 "somebody with a name that is longer than the option\"}");
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(u64, seen.ledger.attempts, 2));
    cr_expect(eq(i64, seen.ledger.cost.amount.pico, HI_PICO * 2));
    finish();
}

Test(llm_account, l54_embeddings_have_no_output)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("200 OK", "",
                           "{\"data\":[{\"index\":0,\"embedding\":[1.0]}],"
                           "\"usage\":{\"prompt_tokens\":5}}"))};

    PLAY(routes, .ask = ASK_EMBED, .budget = plenty);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, 5 * INT64_C(1000000)));
    finish();
    PLAY(routes, .ask = ASK_SEND, .path = "/embeddings",
        .body = "{\"model\":\"v\",\"input\":\"hi\"}", .budget = plenty);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, 5 * INT64_C(1000000)));
    finish();
}

/* ---- leaving ---- */

/* A client whose calls, of an outer block, all wait for something of ours. */
Test(llm_account, leaving_ends_calls_that_wait_for_a_budget_or_a_rate)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};
    static const struct fault_route slow[] = {
        FAULT_ON(NULL, CLOSED("429 Slow", "Retry-After: 60\r\n", "{}"))};

    PLAY(routes, .count = 3, .opts.rates = {.requests = 1},
        .leave = belay_seconds(1), .no_budget = true);
    cr_expect(zero(int, seen.results[0].code));
    cr_expect(eq(int, seen.results[1].code, BELAY_ECLOSED));
    cr_expect(eq(int, seen.results[2].code, BELAY_ECLOSED));
    cr_expect(eq(sz, seen.ended, 3));
    finish();
    /* The first one holds the only room while it waits for its rate. */
    PLAY(slow, .count = 3, .leave = belay_seconds(1),
        .opts.rates = {.requests = 1}, .max_retries = BELAY_LLM_NO_RETRIES,
        .budget = {.limit = {{0}, 0, 1}, .policy = BELAY_BUDGET_WAIT});
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(eq(int, seen.results[1].code, BELAY_ECLOSED));
    cr_expect(eq(int, seen.results[2].code, BELAY_ECLOSED));
    cr_expect(eq(sz, seen.ended, 3));
    finish();
}

/* ---- every cancel, every refused allocation ---- */

static void
sweep_play(const struct fault_route *routes, struct play arguments)
{
    char url[128];
    const int pid = fault_server_start_apart(routes, 1, url, sizeof(url));
    const struct program program = {
        .function = &playing, .arguments = &arguments};

    make_record(".jsonl");
    arguments.base_url = url;
    arguments.record = record_path;
    arguments.count = 2;
    arguments.budget.limit.cost.pico = most_pico(BODY) * 3 / 2;
    arguments.budget.policy = BELAY_BUDGET_WAIT;
    arguments.opts.rates.requests = 60;
    sweep(&program);
    fault_server_stop_apart(pid);
    cr_assert(zero(int, unlink(record_path)));
}

Test(llm_account, l59_sweep_of_calls)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    sweep_play(routes, (struct play){.ask = ASK_COMPLETE});
}

Test(llm_account, l59_sweep_of_calls_with_retries)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, BUSY)};

    sweep_play(routes, (struct play){.ask = ASK_COMPLETE});
}

Test(llm_account, l59_sweep_of_calls_that_break)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_RESET)};

    sweep_play(routes, (struct play){.ask = ASK_SEND, .max_retries = 1});
}

Test(llm_account, l59_sweep_of_streams)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};

    sweep_play(routes, (struct play){.ask = ASK_STREAM, .body = STREAM_BODY});
    sweep_play(
        routes, (struct play){.ask = ASK_STREAM_LEFT, .body = STREAM_BODY});
}

Test(llm_account, l59_sweep_of_a_client_that_is_left)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    sweep_play(routes, (struct play){.leave = belay_milliseconds(1500)});
}
