/* price.h - money to the picodollar, and what tokens cost.
 *
 * Prices come from a file of the user's in the shape that litellm uses: an
 * object keyed by model, whose numbers are US dollars a token. A cost is
 * exact, or says that it is only a lower bound; a model that nobody has
 * priced costs an unknown amount, never nothing. Rules: L45, L46, L49-L52.
 */
#ifndef BELAY_PRICE_H
#define BELAY_PRICE_H

#include <belay/llm.h>

BELAY_BEGIN_DECLS

/* An amount in picodollars, 1e-12 US dollars: up to 9.2 million dollars. */
typedef struct belay_money {
    int64_t pico;
} belay_money;

#define BELAY_MONEY_TEXT_BYTES 32 /* room for any amount as text */

/**
 * belay_money_parse - an amount from decimal text, as in "12.50" or "7.5e-08"
 *
 *   text  a number as in JSON; digits on one side of the point are enough
 *   ret   receives the amount; untouched on failure
 *
 * Exact down to a picodollar; beyond that it is rounded to the nearest one,
 * but an amount that is not zero never becomes zero.
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_EINVAL     not a number
 *          BELAY_ETOOLARGE  beyond what belay_money holds
 * Threads: any.
 * Since:   0.1. Source: contract L51.
 */
BELAY_API int belay_money_parse(struct belay_slice text, belay_money *ret);

/**
 * belay_money_format - an amount as exact decimal text, as in "0.000000075"
 *
 *   money  any
 *   out    at least BELAY_MONEY_TEXT_BYTES; receives NUL-terminated text with
 *          no fewer than two decimals
 *
 * Owner:   nothing changes hands.
 * Errors:  none. Returns the length without the NUL.
 * Threads: any.
 * Since:   0.1. Source: contract L51.
 */
BELAY_API size_t belay_money_format(belay_money money, char *out);

/* a + b; what does not fit becomes the largest or the smallest amount. */
static inline belay_money
belay_money_sum(belay_money a, belay_money b)
{
    belay_money sum;

    if (__builtin_add_overflow(a.pico, b.pico, &sum.pico)) {
        sum.pico = a.pico < 0 ? INT64_MIN : INT64_MAX;
    }
    return sum;
}

/* What something has cost. */
struct belay_cost {
    belay_money amount;
    bool at_least; /* there is a part whose price or count is not known */
};

typedef struct belay_prices belay_prices; /* opaque; counted */

/* Where a price file is wrong, and why. */
struct belay_prices_problem {
    size_t offset;      /* of the byte */
    const char *reason; /* static text; NULL: no problem */
};

/**
 * belay_prices_new - read a price file
 *
 *   runtime      for its memory; not NULL
 *   json         the bytes of the file; may go away after the call
 *   ret          receives the prices; untouched on failure
 *   ret_problem  NULL, or receives what is wrong with the file
 *
 * Read are, with the endings _above_1hr (how long the cache lives),
 * _above_<n>k_tokens, _batches, _flex and _priority: input_cost_per_token,
 * output_cost_per_token, output_cost_per_reasoning_token,
 * cache_read_input_token_cost, cache_creation_input_token_cost,
 * input_cost_per_request, input_ and output_cost_per_audio_token; and
 * litellm_provider, mode, max_input_tokens, max_output_tokens. Everything else
 * is skipped, as are the entries sample_spec and fallback_generalizations, and
 * those that are not objects. Of a model that stands there twice the last entry
 * counts.
 *
 * Owner:   the caller has a reference, for belay_prices_unref().
 * Errors:  BELAY_EJSON      not JSON, or not an object
 *          BELAY_EINVAL     a price that is not a number, or is negative
 *          BELAY_ETOOLARGE  a price beyond what belay_money holds
 *          BELAY_ENOMEM     no memory
 *          In each case nothing has changed.
 * Threads: loop thread. Takes some milliseconds for a file of some thousand
 *          models; belay_blocking() may read the bytes.
 * Since:   0.1. Source: contract L49; litellm's price file.
 */
BELAY_API int belay_prices_new(belay_runtime *runtime, struct belay_slice json,
    belay_prices **ret, struct belay_prices_problem *ret_problem);

/**
 * belay_prices_open - prices that are there for a block: a manager
 *
 *   json  the bytes of the file; must live until the block is entered
 *   ret   receives the prices, which are also what the enter gives; may be
 *         NULL; untouched on failure
 *
 * Owner:   the block has a reference, and gives it back when it is left; who
 *          needs them longer takes one of their own.
 * Errors:  those of belay_prices_new(), with the byte and the reason in words;
 *          the block is not entered.
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract L49.
 */
BELAY_API BELAY_TOKEN belay_prices_open(
    belay_task *task, struct belay_slice json, belay_prices **ret);

/**
 * belay_prices_ref - one more reference
 *
 *   prices  NULL is legal
 *
 * Owner:   each reference is for one belay_prices_unref(). Returns prices.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: style.md 2.2.
 */
BELAY_API belay_prices *belay_prices_ref(belay_prices *prices);

/**
 * belay_prices_unref - give a reference back; the last one frees
 *
 *   prices  NULL is legal
 *
 * Owner:   the reference is gone.
 * Errors:  none.
 * Threads: loop thread; also after the runtime's end.
 * Since:   0.1. Source: style.md 2.2.
 */
BELAY_API void belay_prices_unref(belay_prices *prices);

/**
 * belay_prices_alias - let another name stand for a model of the file
 *
 *   prices  not NULL
 *   name    as servers are asked for it, as in "my-deployment"
 *   model   a name in the file
 *
 * A name that is a model of the file stays that model.
 *
 * Owner:   the texts are copied.
 * Errors:  BELAY_ENOENT  there is no such model
 *          BELAY_ENOMEM  no memory
 *          In each case nothing has changed.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L49.
 */
BELAY_API int belay_prices_alias(
    belay_prices *prices, const char *name, const char *model);

/* What the file says of a model beside prices; texts live as the prices do. */
struct belay_price_model {
    struct belay_slice name;
    struct belay_slice provider; /* {NULL, 0}: not said */
    struct belay_slice mode;     /* "chat", "embedding" …, or {NULL, 0} */
    int64_t max_input_tokens;    /* -1: not said */
    int64_t max_output_tokens;   /* -1: not said */
    size_t index;                /* for the library */
};

/**
 * belay_prices_find - the entry of a model
 *
 *   prices    NULL is legal: nothing is found
 *   provider  NULL, or as in "azure"
 *   model     as the server was asked for it, or as it answered
 *   ret       receives the entry; untouched on failure
 *
 * Tried are, in this order, the name itself, "provider/name", and the names
 * given with belay_prices_alias(). Nothing is guessed from parts of a name.
 *
 * Owner:   what *ret points to lives as long as the prices.
 * Errors:  BELAY_ENOENT  nothing is found
 * Threads: loop thread.
 * Since:   0.1. Source: contract L49.
 */
BELAY_API int belay_prices_find(const belay_prices *prices,
    const char *provider, struct belay_slice model,
    struct belay_price_model *ret);

/**
 * belay_prices_cost - what tokens have cost
 *
 *   prices        NULL is legal: an unknown amount
 *   model         from belay_prices_find(); NULL: an unknown amount
 *   service_tier  of the reply: "flex", "priority", "batch"; else the usual
 *                 price. {NULL, 0} is legal
 *   usage         not NULL; counts of -1 are unknown
 *
 * Prices for large requests apply to the whole request once its input is above
 * the threshold. A cache read, a cache write, audio or reasoning without a
 * price of its own costs what input or output does. "priority" without prices
 * of its own costs at least the usual.
 *
 * Owner:   nothing changes hands.
 * Errors:  none; what is not known makes the result a lower bound.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L50, L52.
 */
BELAY_API struct belay_cost belay_prices_cost(const belay_prices *prices,
    const struct belay_price_model *model, struct belay_slice service_tier,
    const struct belay_llm_usage *usage);

/* What attempts, repairs and turns add up to (L46). */
struct belay_ledger {
    uint64_t attempts;
    uint64_t unknown; /* of them: the server did not tell all of the usage,
                         which is estimated, or counts as nothing */
    struct belay_llm_usage usage; /* .raw is not used; counts are at least 0 */
    struct belay_cost cost;
};

/**
 * belay_ledger_add - enter one attempt
 *
 *   ledger  not NULL; {0} is an empty one
 *   usage   NULL: the server told none. What is not BELAY_LLM_USAGE_EXACT is
 *           added, and counted as unknown
 *   cost    of the attempt
 *
 * Owner:   nothing is kept.
 * Errors:  none; sums that do not fit stay at the largest number.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L46.
 */
BELAY_API void belay_ledger_add(struct belay_ledger *ledger,
    const struct belay_llm_usage *usage, struct belay_cost cost);

/**
 * belay_ledger_merge - add another ledger's sums
 *
 *   ledger  not NULL
 *   other   not NULL; stays as it is
 *
 * Owner:   nothing is kept.
 * Errors:  as belay_ledger_add().
 * Threads: loop thread.
 * Since:   0.1. Source: contract L46.
 */
BELAY_API void belay_ledger_merge(
    struct belay_ledger *ledger, const struct belay_ledger *other);

BELAY_END_DECLS

#endif
