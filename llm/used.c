/* used.c - what an attempt has used, as its reply tells it.
 *
 * Exact is only what the server itself has counted; of all else its callers
 * spend nothing, but leave all that was held in doubt, or what is known if that
 * is more (L55): the guesses here are for that. Where no tier is told, a dearer
 * one that was asked for counts: no cap may be passed because a server is
 * silent.
 */
#include "llm/used.h"

#include "llm/money/prices.h"
#include "llm/provider/usage.h"

int64_t
belay__used_tokens(const struct belay_llm_usage *usage)
{
    const int64_t in = usage->in_total > 0 ? usage->in_total : 0;
    const int64_t out = usage->out_total > 0 ? usage->out_total : 0;

    return out < INT64_MAX - in ? in + out : INT64_MAX;
}

bool
belay__used_is_exact(
    const struct belay_llm_usage *usage, const struct belay__request_size *size)
{
    return usage->state == BELAY_LLM_USAGE_EXACT && usage->in_total >= 0
           && (usage->out_total >= 0 || size->no_output);
}

/* ---- guesses ---- */

static int64_t
output_of(const struct belay__estimator *estimator,
    const struct belay__choice *choice)
{
    int64_t sum = 0; /* no more than the bytes of texts that are in memory */

    for (size_t k = 0; k < BELAY__STRETCHES; k++) {
        sum += belay__estimate_text(estimator,
            belay__stretch_slice(choice, (enum belay__stretch_kind)k));
    }
    for (size_t k = 0; k < choice->tool_count; k++) {
        sum += belay__estimate_text(
            estimator, belay__llm_text_slice(choice->tools[k].arguments.text));
    }
    return sum;
}

/* What was not read into choices, as a broken one, is all taken for text. */
int64_t
belay__used_output(
    const struct belay__estimator *estimator, const belay_llm_reply *reply)
{
    const struct belay__answer *answer = &reply->answer;
    int64_t sum = 0;

    for (size_t i = 0; i < answer->choice_count; i++) {
        sum += output_of(estimator, &answer->choices[i]);
    }
    return answer->live || sum > 0
               ? sum
               : belay__estimate_text(estimator, belay_llm_reply_body(reply));
}

void
belay__used_count(const struct belay__estimator *estimator,
    struct belay_slice body, const struct belay__request_size *size,
    belay_llm_reply *reply, struct belay_llm_usage *ret)
{
    const bool complete = reply->attempt.status / 100 == 2;

    *ret = reply->answer.live || complete ? *belay_llm_reply_usage(reply)
                                          : belay__usage_unknown;
    if (belay__used_is_exact(ret, size)
        || (reply->answer.live && ret->state != BELAY_LLM_USAGE_UNKNOWN)) {
        return;
    }
    if (ret->in_total < 0) {
        ret->in_total = belay__estimate_text(estimator, body);
    }
    if (ret->out_total < 0) {
        ret->out_total = size->no_output || reply->http.status / 100 != 2
                             ? 0
                             : belay__used_output(estimator, reply);
    }
    ret->requests = 1;
    ret->state = complete ? BELAY_LLM_USAGE_ESTIMATED : BELAY_LLM_USAGE_PARTIAL;
}

struct belay_amount
belay__used_amount(const struct belay_llm_usage *usage, struct belay_cost cost)
{
    return (struct belay_amount){.cost = cost.amount,
        .tokens = belay__used_tokens(usage),
        .requests = 1};
}

/* ---- money ---- */

/* What was asked for counts only if it is dearer: a server need not grant a
 * cheaper tier, and one that knows of none does not tell.
 */
static enum belay__price_tier
tier_of(const struct belay__request_size *size, const belay_llm_reply *reply)
{
    if (reply->answer.tier.named) {
        return reply->answer.tier.is;
    }
    return size->tier.is == BELAY__TIER_PRIORITY ? BELAY__TIER_PRIORITY
                                                 : BELAY__TIER_USUAL;
}

struct belay_cost
belay__used_cost(const belay_prices *prices, const char *provider,
    const struct belay_price_model *asked,
    const struct belay__request_size *size, const belay_llm_reply *reply,
    const struct belay_llm_usage *usage)
{
    struct belay_llm_usage all = *usage;
    struct belay_price_model answered;

    if (asked == NULL
        && belay_prices_find(
               prices, provider, reply->answer.model.span, &answered)
               == 0) {
        asked = &answered;
    }
    if (size->no_output && all.out_total < 0) {
        all.out_total = 0;
    }
    return belay__prices_cost(prices, asked, tier_of(size, reply), &all);
}

/* ---- the rates ---- */

static int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A token a byte, or what a server that adds to a request lets through. */
static int64_t
most_input(
    const struct belay__rate *rate, const struct belay__request_size *size)
{
    const int64_t bound = belay__request_bound(size);
    const int64_t minute = rate != NULL
                               ? belay__rate_minute(rate, BELAY__RATE_IN_TOKENS)
                               : INT64_MAX;

    return minute < INT64_MAX && minute > bound ? minute : bound;
}

/* What the request allows, else what a server lets through. */
static int64_t
most_output(
    const struct belay__rate *rate, const struct belay__request_size *size)
{
    int64_t most;

    if (size->no_output) {
        return 0;
    }
    if (size->output_cap >= 0) {
        return __builtin_mul_overflow(size->output_cap, size->answers, &most)
                   ? INT64_MAX
                   : most;
    }
    return rate != NULL ? belay__rate_minute(rate, BELAY__RATE_OUT_TOKENS)
                        : INT64_MAX;
}

struct belay__rate_use
belay__used_expect(const struct belay__rate *rate,
    const struct belay__estimator *estimator,
    const struct belay__request_size *size, int64_t out)
{
    const int64_t mean = belay__estimate_mean(estimator, size->by_bytes);
    const int64_t in = least(mean, most_input(rate, size));
    const int64_t out_tokens = least(out, most_output(rate, size));

    return (struct belay__rate_use){
        .count = {
            [BELAY__RATE_REQUESTS] = 1,
            [BELAY__RATE_IN_TOKENS] = in,
            [BELAY__RATE_OUT_TOKENS] = out_tokens,
            [BELAY__RATE_TOKENS] =
                out_tokens < INT64_MAX - in ? in + out_tokens : INT64_MAX,
        }};
}

void
belay__used_learn(struct belay__estimator *estimator,
    const struct belay__rate *rate, const struct belay__request_size *size,
    const struct belay_llm_usage *usage)
{
    belay__estimate_learn(estimator, size->by_bytes,
        least(usage->in_total, most_input(rate, size)));
    belay__estimate_learn_output(
        estimator, least(usage->out_total, most_output(rate, size)));
}

void
belay__used_settle_rate(struct belay__rate_use *use,
    const struct belay_llm_attempt *attempt,
    const struct belay__request_size *size, const struct belay_llm_usage *usage)
{
    int64_t used[BELAY__RATE_KINDS] = {1, -1, -1, -1};
    enum belay__rate_end end = BELAY__RATE_UNKNOWN;

    if (attempt->status == 0 && attempt->billed == BELAY_LLM_BILLED_NO) {
        end = BELAY__RATE_UNSENT;
    } else if (attempt->billed == BELAY_LLM_BILLED_NO) {
        end = BELAY__RATE_REJECTED;
    } else if (usage != NULL && belay__used_is_exact(usage, size)) {
        end = BELAY__RATE_COUNTED;
        used[BELAY__RATE_TOKENS] = belay__used_tokens(usage);
        used[BELAY__RATE_IN_TOKENS] =
            usage->in_cache_read > 0 ? usage->in_total - usage->in_cache_read
                                     : usage->in_total;
        used[BELAY__RATE_OUT_TOKENS] = usage->out_total;
    }
    belay__rate_settle(use, end, used);
}
