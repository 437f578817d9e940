/* cost.c - what tokens cost, and sums of it.
 *
 * Where a price is not known exactly, the dearer of what it may be is taken,
 * so that a cap on money holds; where it is not known at all, the result says
 * that it is a lower bound.
 */
#include "llm/money/prices.h"

__extension__ typedef __int128 wide;

/* ---- prices ---- */

/* The one with the highest threshold that the request is above, or NULL. Of
 * two alike the last one counts.
 */
static const struct belay__price *
highest(const belay_prices *prices, const struct belay__model *model,
    enum belay__price_kind kind, enum belay__price_tier tier, int64_t in_tokens)
{
    const struct belay__price *price = belay__prices_of(prices, model);
    const struct belay__price *best = NULL;

    for (size_t i = 0; i < model->price_count; i++, price++) {
        if (price->kind == (uint8_t)kind && price->tier == (uint8_t)tier
            && (price->above_k == 0
                || in_tokens > (int64_t)price->above_k * 1000)
            && (best == NULL || price->above_k >= best->above_k)) {
            best = price;
        }
    }
    return best;
}

/* What stands in for a price that the file does not have. */
static bool
fall_back(enum belay__price_kind *kind)
{
    switch (*kind) {
    case BELAY__PRICE_CACHE_WRITE_1H:
        *kind = BELAY__PRICE_CACHE_WRITE_5M;
        return true;
    case BELAY__PRICE_CACHE_READ:
    case BELAY__PRICE_CACHE_WRITE_5M:
    case BELAY__PRICE_IN_AUDIO:
        *kind = BELAY__PRICE_IN;
        return true;
    case BELAY__PRICE_REASONING:
    case BELAY__PRICE_OUT_AUDIO:
        *kind = BELAY__PRICE_OUT;
        return true;
    case BELAY__PRICE_IN:
    case BELAY__PRICE_OUT:
    case BELAY__PRICE_REQUEST:
        break;
    }
    return false;
}

bool
belay__price_find(const belay_prices *prices, const struct belay__model *model,
    enum belay__price_kind kind, enum belay__price_tier tier, int64_t in_tokens,
    int64_t *ret_pico, bool *ret_at_least)
{
    const struct belay__price *usual;
    const struct belay__price *own;

    do {
        usual = highest(prices, model, kind, BELAY__TIER_USUAL, in_tokens);
        own = highest(prices, model, kind, tier, in_tokens);
    } while (own == NULL && usual == NULL && fall_back(&kind));
    if (own == NULL && usual == NULL) {
        return false;
    }
    if (own == NULL) {
        *ret_pico = usual->pico;
        *ret_at_least |= tier == BELAY__TIER_PRIORITY;
        return true;
    }
    *ret_pico = own->pico;
    if (usual != NULL && usual->above_k > own->above_k
        && usual->pico > own->pico) {
        *ret_pico = usual->pico; /* of the tier's own large requests nothing
                                    is said */
    }
    return true;
}

/* ---- costs ---- */

struct bill {
    const belay_prices *prices;
    const struct belay__model *model;
    enum belay__price_tier tier;
    int64_t in_tokens;
    wide pico;
    bool at_least;
};

static void
charge(struct bill *bill, enum belay__price_kind kind, int64_t count)
{
    int64_t pico;

    if (count <= 0) {
        return;
    }
    if (!belay__price_find(bill->prices, bill->model, kind, bill->tier,
            bill->in_tokens, &pico, &bill->at_least)) {
        bill->at_least |= kind != BELAY__PRICE_REQUEST;
        return;
    }
    bill->pico += (wide)pico * count;
}

static int64_t
known(int64_t count)
{
    return count > 0 ? count : 0;
}

/* Takes what is charged by itself out of a total, which never gets negative;
 * gives what there was to take.
 */
static int64_t
take_part(int64_t *total, int64_t count)
{
    const int64_t part = known(count) < *total ? known(count) : *total;

    *total -= part;
    return part;
}

static void
charge_input(struct bill *bill, const struct belay_llm_usage *usage)
{
    int64_t rest = bill->in_tokens;

    charge(
        bill, BELAY__PRICE_CACHE_READ, take_part(&rest, usage->in_cache_read));
    charge(bill, BELAY__PRICE_CACHE_WRITE_5M,
        take_part(&rest, usage->in_cache_write_5m));
    charge(bill, BELAY__PRICE_CACHE_WRITE_1H,
        take_part(&rest, usage->in_cache_write_1h));
    charge(bill, BELAY__PRICE_IN_AUDIO, take_part(&rest, usage->in_audio));
    charge(bill, BELAY__PRICE_IN, rest);
}

static void
charge_output(struct bill *bill, const struct belay_llm_usage *usage)
{
    int64_t rest = known(usage->out_total);

    charge(
        bill, BELAY__PRICE_REASONING, take_part(&rest, usage->out_reasoning));
    charge(bill, BELAY__PRICE_OUT_AUDIO, take_part(&rest, usage->out_audio));
    charge(bill, BELAY__PRICE_OUT, rest);
}

struct belay_cost
belay__prices_cost(const belay_prices *prices,
    const struct belay_price_model *model, enum belay__price_tier tier,
    const struct belay_llm_usage *usage)
{
    struct bill bill = {
        .prices = prices,
        .tier = tier,
        .in_tokens = known(usage->in_total),
        .at_least = usage->in_total < 0 || usage->out_total < 0,
    };

    if (prices == NULL || model == NULL) {
        return (struct belay_cost){{0}, true};
    }
    bill.model = belay__prices_model(prices, model->index);
    charge_input(&bill, usage);
    charge_output(&bill, usage);
    charge(&bill, BELAY__PRICE_REQUEST, 1);
    if (bill.pico > INT64_MAX) {
        return (struct belay_cost){{INT64_MAX}, true};
    }
    return (struct belay_cost){{(int64_t)bill.pico}, bill.at_least};
}

struct belay_cost
belay_prices_cost(const belay_prices *prices,
    const struct belay_price_model *model, struct belay_slice service_tier,
    const struct belay_llm_usage *usage)
{
    return belay__prices_cost(
        prices, model, belay__price_tier_of(service_tier), usage);
}

/* ---- sums ---- */

static void
add_count(int64_t *sum, int64_t count)
{
    if (__builtin_add_overflow(*sum, known(count), sum)) {
        *sum = INT64_MAX;
    }
}

static void
add_usage(struct belay_llm_usage *sum, const struct belay_llm_usage *usage)
{
    add_count(&sum->in_total, usage->in_total);
    add_count(&sum->in_cache_read, usage->in_cache_read);
    add_count(&sum->in_cache_write_5m, usage->in_cache_write_5m);
    add_count(&sum->in_cache_write_1h, usage->in_cache_write_1h);
    add_count(&sum->in_audio, usage->in_audio);
    add_count(&sum->out_total, usage->out_total);
    add_count(&sum->out_reasoning, usage->out_reasoning);
    add_count(&sum->out_audio, usage->out_audio);
    add_count(&sum->requests, usage->requests);
}

static void
add_cost(struct belay_cost *sum, struct belay_cost cost)
{
    sum->amount = belay_money_sum(sum->amount, cost.amount);
    sum->at_least |= cost.at_least;
}

void
belay_ledger_add(struct belay_ledger *ledger,
    const struct belay_llm_usage *usage, struct belay_cost cost)
{
    ledger->attempts++;
    if (usage == NULL || usage->state != BELAY_LLM_USAGE_EXACT) {
        ledger->unknown++;
    }
    if (usage != NULL) {
        add_usage(&ledger->usage, usage);
    }
    add_cost(&ledger->cost, cost);
}

void
belay_ledger_merge(
    struct belay_ledger *ledger, const struct belay_ledger *other)
{
    ledger->attempts += other->attempts;
    ledger->unknown += other->unknown;
    add_usage(&ledger->usage, &other->usage);
    add_cost(&ledger->cost, other->cost);
}
