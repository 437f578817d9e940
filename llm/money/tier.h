/* tier.h - the service tiers that prices tell apart (private to llm/). */
#ifndef BELAY_LLM_MONEY_TIER_H
#define BELAY_LLM_MONEY_TIER_H

#include "llm/json/scan.h"

enum belay__price_tier {
    BELAY__TIER_USUAL,
    BELAY__TIER_BATCHES,
    BELAY__TIER_FLEX,
    BELAY__TIER_PRIORITY,
};

/* What a request asks for, or an answer tells. */
struct belay__tier {
    enum belay__price_tier is;
    bool named; /* else it is the usual one: nothing is said, or "auto", which
                   leaves the choice to the server */
};

/* Of a service_tier in JSON, however it is written there (L96). */
struct belay__tier belay__tier_read(const struct belay__json_value *word);

/* Which prices a reply of this service tier has. */
enum belay__price_tier belay__price_tier_of(struct belay_slice word);

#endif
