/* money.c - what lines may cost, and have cost.
 *
 * Room for the worst case is held before a line is sent, in the same step in
 * which it is chosen, and settled with what its server has counted; so the cap
 * holds however many are under way (L54, B26). Without a budget the same
 * amounts are only added up.
 */
#include "llm/batch/pipeline.h"
#include "llm/budget/budget.h"
#include "llm/money/prices.h"
#include "llm/provider/usage.h"
#include "llm/used.h"

void
belay__batch_weigh(struct belay__item *item)
{
    if (!item->estimated) {
        item->size.by_bytes = belay__estimate_bytes(item->body);
        item->estimated = true;
    }
}

int
belay__batch_reserve(struct belay__batch *batch, struct belay__item *item)
{
    const struct belay__reserve_rules rules = {
        .prices = batch->opts.prices,
        .model = item->priced ? &item->price : NULL,
        .estimator = item->model->is_rest ? NULL : &item->model->estimator,
        .mode = batch->opts.reserve_expected ? BELAY__RESERVE_EXPECTED
                                             : BELAY__RESERVE_STRICT,
        .tier = item->size.tier,
        .default_output_cap = batch->opts.default_output_cap,
    };
    struct belay_amount most = {.requests = 0};
    int code;

    if (batch->opts.reserve_expected) {
        belay__batch_weigh(item);
    }
    code = belay__reserve_most(&rules, &item->size, &most);
    item->bill.reserved = most.cost.pico;
    item->bill.most = most.tokens;
    if (batch->budget == NULL) {
        return 0;
    }
    if (code == BELAY_ENOCAP
        || (code < 0 && batch->opts.budget.cost.pico > 0)) {
        return code;
    }
    return belay_budget_try(batch->budget, &most, &item->reservation);
}

void
belay__batch_release(struct belay__batch *batch, struct belay__item *item)
{
    belay_budget_settle(&item->reservation, NULL);
    item->bill = (struct belay__batch_bill){0};
    batch->short_of_money = false;
}

static int64_t
larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A call that fails leaves no reply, but what came of its answer was counted.
 */
static void
count(const struct belay__item *item, belay_llm_reply *reply,
    struct belay_llm_usage *ret)
{
    const struct belay__estimator *estimator = &item->model->estimator;

    if (reply != NULL) {
        belay__used_count(estimator, item->body, &item->size, reply, ret);
        return;
    }
    *ret = belay__usage_unknown;
    ret->in_total = belay__estimate_text(estimator, item->body);
    ret->out_total = item->size.no_output ? 0 : item->broken;
    ret->state = BELAY_LLM_USAGE_PARTIAL;
}

struct belay__batch_bill
belay__batch_settle(struct belay__batch *batch, struct belay__item *item,
    enum belay_llm_billed billed, belay_llm_reply *reply)
{
    static const belay_llm_reply none; /* which tells no tier */
    struct belay__model_stats *stats = &item->model->stats;
    struct belay__batch_bill bill = item->bill;
    struct belay_llm_usage usage;
    struct belay_amount used;
    struct belay_cost cost;
    bool exact;

    item->bill = (struct belay__batch_bill){0};
    batch->short_of_money = false;
    if (billed == BELAY_LLM_BILLED_NO) {
        belay_budget_settle(&item->reservation, NULL);
        return bill;
    }
    bill.charge = BELAY__BATCH_CHARGED;
    count(item, reply, &usage);
    cost = belay__used_cost(batch->opts.prices, NULL,
        item->priced ? &item->price : NULL, &item->size,
        reply != NULL ? reply : &none, &usage);
    exact = belay__used_is_exact(&usage, &item->size);
    cost.at_least |= !exact;
    used = belay__used_amount(&usage, cost);
    /* A cap on tokens alone knows what is spent although the price does not. */
    if (exact && !(cost.at_least && batch->opts.budget.cost.pico > 0)) {
        bill.spent = used.cost.pico;
        bill.tokens = used.tokens;
        belay_budget_settle(&item->reservation, &used);
    } else {
        bill.uncertain = larger(bill.reserved, used.cost.pico);
        bill.tokens = larger(bill.most, used.tokens);
        belay__budget_doubt(&item->reservation, &used);
    }
    if (exact) {
        belay__used_learn(
            &item->model->estimator, &item->model->rate, &item->size, &usage);
    }
    if (cost.at_least && bill.uncertain == 0) { /* else that has the rest */
        bill.charge = BELAY__BATCH_UNPRICED;
        stats->unpriced++;
        batch->stats->unpriced++;
    }
    belay__stats_add_money(&stats->spent, bill.spent);
    belay__stats_add_money(&stats->uncertain, bill.uncertain);
    belay__stats_add_money(&batch->stats->spent, bill.spent);
    belay__stats_add_money(&batch->stats->uncertain, bill.uncertain);
    return bill;
}
