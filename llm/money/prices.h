/* prices.h - what a price file holds (private to llm/). */
#ifndef BELAY_LLM_MONEY_PRICES_H
#define BELAY_LLM_MONEY_PRICES_H

#include <belay/price.h>

#include "llm/money/names.h"
#include "llm/money/tier.h"
#include "runtime/buffer.h"
#include "runtime/life.h"

/* What a price is for. */
enum belay__price_kind {
    BELAY__PRICE_IN,
    BELAY__PRICE_CACHE_READ,
    BELAY__PRICE_CACHE_WRITE_5M,
    BELAY__PRICE_CACHE_WRITE_1H,
    BELAY__PRICE_IN_AUDIO,
    BELAY__PRICE_OUT,
    BELAY__PRICE_REASONING,
    BELAY__PRICE_OUT_AUDIO,
    BELAY__PRICE_REQUEST, /* a price each, not a token's */
};

struct belay__price {
    int64_t pico;
    uint16_t above_k; /* thousands of input tokens; 0: always */
    uint8_t kind;
    uint8_t tier;
};

/* A text inside belay_prices.texts, which moves while the file is read. */
struct belay__text_span {
    size_t at;
    size_t len;
};

struct belay__model {
    struct belay__text_span name;
    struct belay__text_span provider;
    struct belay__text_span mode;
    int64_t max_input_tokens;
    int64_t max_output_tokens;
    size_t first_price; /* in belay_prices.prices */
    size_t price_count;
};

struct belay_prices {
    struct belay__memory *memory;
    uint32_t refs;
    struct belay__life life; /* as long as there are references */
    struct belay__buffer texts;
    struct belay__buffer models; /* of struct belay__model */
    struct belay__buffer prices; /* of struct belay__price */
    struct belay__names names;   /* → models */
    struct belay__names aliases; /* → models; each text is allocated */
};

/* What the number under this key is the price of; false: of nothing here. */
bool belay__price_key(struct belay_slice key, struct belay__price *ret);

static inline const struct belay__model *
belay__prices_model(const belay_prices *prices, size_t index)
{
    return (const struct belay__model *)(const void *)prices->models.data
           + index;
}

static inline const struct belay__price *
belay__prices_of(const belay_prices *prices, const struct belay__model *model)
{
    return (const struct belay__price *)(const void *)prices->prices.data
           + model->first_price;
}

/* The price of one token (or request) of this kind in a request with so much
 * input; falls back from special kinds to plain input and output. False: the
 * file has none. *ret_at_least is set if the true price may be higher, else
 * untouched.
 */
bool belay__price_find(const belay_prices *prices,
    const struct belay__model *model, enum belay__price_kind kind,
    enum belay__price_tier tier, int64_t in_tokens, int64_t *ret_pico,
    bool *ret_at_least);

/* belay_prices_cost() of a tier that has been read. */
struct belay_cost belay__prices_cost(const belay_prices *prices,
    const struct belay_price_model *model, enum belay__price_tier tier,
    const struct belay_llm_usage *usage);

#endif
