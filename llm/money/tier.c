/* tier.c - the service tiers that prices tell apart.
 *
 * A word is understood where it is read, and its text kept nowhere: who holds
 * room for a tier and who charges for it cannot take it for two.
 */
#include "llm/money/tier.h"

#include "llm/json/text.h"

#include <string.h>

#define WORD_MAX 48 /* "priority", if all of it is escaped */

static bool
is_word(struct belay_slice text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

enum belay__price_tier
belay__price_tier_of(struct belay_slice word)
{
    static const struct {
        const char *text;
        enum belay__price_tier tier;
    } words[] = {
        {"flex", BELAY__TIER_FLEX},
        {"priority", BELAY__TIER_PRIORITY},
        {"batch", BELAY__TIER_BATCHES},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (is_word(word, words[i].text)) {
            return words[i].tier;
        }
    }
    return BELAY__TIER_USUAL;
}

struct belay__tier
belay__tier_read(const struct belay__json_value *word)
{
    struct belay__tier tier = {BELAY__TIER_USUAL, false};
    char text[WORD_MAX];
    struct belay_slice plain = {text, 0};

    if (word->type != BELAY__JSON_STRING) {
        return tier;
    }
    if (belay__json_inside(word->raw).len > sizeof(text)) {
        tier.named = true; /* none of ours is that long */
        return tier;
    }
    plain.len = belay__json_decode(word->raw, text);
    tier.is = belay__price_tier_of(plain);
    tier.named = plain.len > 0 && !is_word(plain, "auto");
    return tier;
}
