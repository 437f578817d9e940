/* price_key.c - what the keys of a price file mean.
 *
 * A key is a base and endings: cache_creation_input_token_cost + _above_1hr +
 * _above_200k_tokens + _batches. The endings come in any order.
 */
#include "llm/money/prices.h"

#include <string.h>

struct base {
    const char *text;
    enum belay__price_kind kind;
};

static const struct base bases[] = {
    {"input_cost_per_token", BELAY__PRICE_IN},
    {"output_cost_per_token", BELAY__PRICE_OUT},
    {"output_cost_per_reasoning_token", BELAY__PRICE_REASONING},
    {"cache_read_input_token_cost", BELAY__PRICE_CACHE_READ},
    {"cache_creation_input_token_cost", BELAY__PRICE_CACHE_WRITE_5M},
    {"input_cost_per_audio_token", BELAY__PRICE_IN_AUDIO},
    {"output_cost_per_audio_token", BELAY__PRICE_OUT_AUDIO},
    {"input_cost_per_request", BELAY__PRICE_REQUEST},
};

/* Takes a prefix off; false, and nothing has changed, if it is not there. */
static bool
take(struct belay_slice *rest, const char *prefix)
{
    const size_t len = strlen(prefix);

    if (rest->len < len || memcmp(rest->data, prefix, len) != 0) {
        return false;
    }
    rest->data += len;
    rest->len -= len;
    return true;
}

static bool
take_thousands(struct belay_slice *rest, uint16_t *ret)
{
    struct belay_slice at = *rest;
    uint32_t number = 0;

    while (at.len > 0 && at.data[0] >= '0' && at.data[0] <= '9') {
        number = number * 10 + (uint32_t)(at.data[0] - '0');
        if (number > UINT16_MAX) {
            return false;
        }
        at.data++;
        at.len--;
    }
    if (number == 0 || !take(&at, "k_tokens")) {
        return false;
    }
    *ret = (uint16_t)number;
    *rest = at;
    return true;
}

static bool
take_ending(struct belay_slice *rest, struct belay__price *price)
{
    if (take(rest, "_batches")) {
        price->tier = BELAY__TIER_BATCHES;
    } else if (take(rest, "_flex")) {
        price->tier = BELAY__TIER_FLEX;
    } else if (take(rest, "_priority")) {
        price->tier = BELAY__TIER_PRIORITY;
    } else if (price->kind == BELAY__PRICE_CACHE_WRITE_5M
               && take(rest, "_above_1hr")) {
        price->kind = BELAY__PRICE_CACHE_WRITE_1H;
    } else {
        return take(rest, "_above_") && take_thousands(rest, &price->above_k);
    }
    return true;
}

bool
belay__price_key(struct belay_slice key, struct belay__price *ret)
{
    struct belay__price price = {0};
    size_t i = 0;

    while (i < sizeof(bases) / sizeof(bases[0]) && !take(&key, bases[i].text)) {
        i++;
    }
    if (i == sizeof(bases) / sizeof(bases[0])) {
        return false;
    }
    price.kind = (uint8_t)bases[i].kind;
    while (key.len > 0) {
        if (!take_ending(&key, &price)) {
            return false;
        }
    }
    *ret = price;
    return true;
}
