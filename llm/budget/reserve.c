/* reserve.c - the most that a request may use. */
#include "llm/budget/reserve.h"

#include "llm/json/text.h"
#include "llm/money/prices.h"

#include <string.h>

/* What a server tells its model of how to call tools, and of a tool that it
 * knows; the longest that Anthropic has named are 530 and 735.
 */
#define PROMPT_TOKENS 1024

__extension__ typedef __int128 wide;

/* ---- reading a body ---- */

static void
take_count(struct belay__json *json, int64_t *ret)
{
    struct belay__json_value value;
    int64_t number;

    if (belay__json_take(json, &value) && value.type == BELAY__JSON_NUMBER
        && belay__json_integer(value.raw, &number) == 0 && number > 0) {
        *ret = number;
    }
}

static void
take_word(struct belay__json *json, struct belay_slice *ret)
{
    struct belay__json_value value;

    if (belay__json_take(json, &value) && value.type == BELAY__JSON_STRING) {
        *ret = belay__json_inside(value.raw);
    }
}

static void
take_tier(struct belay__json *json, struct belay__tier *ret)
{
    struct belay__json_value value;

    if (belay__json_take(json, &value)) {
        *ret = belay__tier_read(&value);
    }
}

/* An id, or an object with one. In other formats a prompt is the text itself.
 */
static bool
take_kept(struct belay__json *json, bool text)
{
    struct belay__json_value value;

    return belay__json_take(json, &value)
           && (value.type == BELAY__JSON_OBJECT
               || (text && value.type == BELAY__JSON_STRING
                   && belay__json_inside(value.raw).len > 0));
}

/* What the next element says that it is; of type NONE if it does not. */
static struct belay__json_value
take_type(struct belay__json *json)
{
    struct belay__json_value type = {.type = BELAY__JSON_NONE};
    struct belay__json_value key;

    if (!belay__json_enter_object(json)) {
        return type;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "type")) {
            (void)belay__json_take(json, &type);
        }
    }
    return type;
}

/* Tools that the caller runs, but whose description the server has: of these
 * types, with a date behind it or not.
 */
static bool
is_known_tool(const struct belay__json_value *type)
{
    static const char *const names[] = {"bash", "text_editor", "computer",
        "memory", "local_shell", "apply_patch"};
    const struct belay_slice text = belay__json_inside(type->raw);

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const size_t len = strlen(names[i]);

        if (text.len >= len && memcmp(text.data, names[i], len) == 0
            && (text.len == len || text.data[len] == '_')) {
            return true;
        }
    }
    return false;
}

/* What says nothing else is the caller's too, and told of in the request; all
 * other tools are the server's.
 */
static void
take_tools(struct belay__json *json, struct belay__request_size *ret)
{
    struct belay__json_value type;

    if (!belay__json_enter_array(json)) {
        return;
    }
    while (belay__json_next_element(json)) {
        type = take_type(json);
        ret->prompts += ret->prompts == 0;
        if (type.type != BELAY__JSON_STRING
            || belay__json_key_is(&type, "function")
            || belay__json_key_is(&type, "custom")) {
            continue;
        }
        if (is_known_tool(&type)) {
            ret->prompts++;
        } else {
            ret->adds_input = true;
        }
    }
}

/* What an item of Responses has but its id stands elsewhere, if it says so or
 * says nothing else.
 */
static bool
is_reference(struct belay__json *json)
{
    struct belay__json_value type = {.type = BELAY__JSON_NONE};
    struct belay__json_value key;
    bool has_id = false;
    bool has_more = false;

    if (!belay__json_enter_object(json)) {
        return false;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "type")) {
            (void)belay__json_take(json, &type);
        } else if (belay__json_key_is(&key, "id")) {
            has_id = true;
        } else {
            has_more = true;
        }
    }
    return belay__json_key_is(&type, "item_reference")
           || (type.type != BELAY__JSON_STRING && has_id && !has_more);
}

static bool
take_references(struct belay__json *json)
{
    bool found = false;

    if (!belay__json_enter_array(json)) {
        return false;
    }
    while (belay__json_next_element(json)) {
        found |= is_reference(json);
    }
    return found;
}

static bool
take_elements(struct belay__json *json)
{
    bool found = false;

    if (!belay__json_enter_array(json)) {
        return false;
    }
    while (belay__json_next_element(json)) {
        found = true;
    }
    return found;
}

static bool
is_output_cap(const struct belay__json_value *key)
{
    return belay__json_key_is(key, "max_completion_tokens")
           || belay__json_key_is(key, "max_tokens")
           || belay__json_key_is(key, "max_output_tokens");
}

void
belay__request_measure(struct belay_slice body, struct belay__request_size *ret)
{
    struct belay__json_value key;
    struct belay__json json;
    int64_t cap;

    *ret = (struct belay__request_size){
        .body_bytes = body.len,
        .output_cap = -1,
        .answers = 1,
    };
    belay__json_open(&json, body);
    if (!belay__json_enter_object(&json)) {
        return;
    }
    while (belay__json_next_member(&json, &key)) {
        if (is_output_cap(&key)) {
            /* Servers know one of the names; it may be any that stands here. */
            cap = -1;
            take_count(&json, &cap);
            ret->output_cap = cap > ret->output_cap ? cap : ret->output_cap;
        } else if (belay__json_key_is(&key, "n")
                   || belay__json_key_is(&key, "best_of")) {
            cap = 1;
            take_count(&json, &cap);
            ret->answers = cap > ret->answers ? cap : ret->answers;
        } else if (belay__json_key_is(&key, "model")) {
            take_word(&json, &ret->model);
        } else if (belay__json_key_is(&key, "service_tier")) {
            take_tier(&json, &ret->tier);
        } else if (belay__json_key_is(&key, "previous_response_id")
                   || belay__json_key_is(&key, "conversation")) {
            ret->adds_input |= take_kept(&json, true);
        } else if (belay__json_key_is(&key, "prompt")
                   || belay__json_key_is(&key, "web_search_options")) {
            ret->adds_input |= take_kept(&json, false);
        } else if (belay__json_key_is(&key, "tools")
                   || belay__json_key_is(&key, "functions")) {
            take_tools(&json, ret);
        } else if (belay__json_key_is(&key, "input")) {
            ret->adds_input |= take_references(&json);
        } else if (belay__json_key_is(&key, "mcp_servers")) {
            ret->adds_input |= take_elements(&json);
        }
    }
}

/* ---- the most ---- */

static int64_t
clamp(wide number)
{
    return number > INT64_MAX ? INT64_MAX : (int64_t)number;
}

int64_t
belay__request_bound(const struct belay__request_size *size)
{
    return clamp((wide)belay__estimate_bound(size->body_bytes)
                 + (wide)size->prompts * PROMPT_TOKENS);
}

/* -1: nothing limits it. */
static int64_t
input_high(const struct belay__reserve_rules *rules,
    const struct belay__request_size *size)
{
    static const struct belay__estimator unlearned;
    int64_t estimate;
    int64_t window = rules->model != NULL ? rules->model->max_input_tokens : -1;
    int64_t bound = belay__request_bound(size);

    if (rules->mode == BELAY__RESERVE_STRICT && size->adds_input) {
        return window < 0 || window > bound ? window : bound;
    }
    if (rules->mode == BELAY__RESERVE_STRICT) {
        return bound;
    }
    estimate = belay__estimate_high(
        rules->estimator != NULL ? rules->estimator : &unlearned,
        size->by_bytes);
    return estimate < bound ? estimate : bound;
}

/* Of all answers together; -1: nothing limits it. */
static int64_t
output_high(const struct belay__reserve_rules *rules,
    const struct belay__request_size *size)
{
    int64_t cap = size->output_cap;

    if (size->no_output) {
        return 0;
    }
    if (cap < 0 && rules->model != NULL) {
        cap = rules->model->max_output_tokens;
    }
    if (cap < 0 && rules->default_output_cap > 0) {
        cap = rules->default_output_cap;
    }
    return cap < 0 ? -1 : clamp((wide)cap * size->answers);
}

/* May the server serve, and charge for, a request with priority that did not
 * ask for that? Where the choice is left to it, its settings may say so.
 */
static bool
may_get_priority(const struct belay__reserve_rules *rules)
{
    return rules->mode == BELAY__RESERVE_STRICT && !rules->tier.named;
}

/* The dearest that one of a kind can be; 0 if there is no price. False: it
 * may be more than is known. A server may count less than what is reserved
 * for, and then charge the small request's price; and a tier that has no room
 * is answered from, and charged as, the usual one.
 */
static bool
find_dearest(const struct belay__reserve_rules *rules,
    enum belay__price_kind kind, int64_t in_tokens, int64_t *ret)
{
    const struct belay__model *model =
        belay__prices_model(rules->prices, rules->model->index);
    const int64_t sizes[] = {in_tokens, 0};
    enum belay__price_tier tiers[3] = {rules->tier.is};
    size_t count = 1;
    bool known = true;

    if (rules->tier.is != BELAY__TIER_USUAL) {
        tiers[count++] = BELAY__TIER_USUAL;
    }
    if (may_get_priority(rules)) {
        tiers[count++] = BELAY__TIER_PRIORITY;
    }
    *ret = 0;
    for (size_t i = 0; i < 2 * count; i++) {
        bool at_least = false;
        int64_t pico = 0;
        const bool found = belay__price_find(rules->prices, model, kind,
            tiers[i / 2], sizes[i % 2], &pico, &at_least);

        if (i < 2) { /* what was asked for must have a price */
            known &= !at_least && (found || i == 1);
        }
        *ret = pico > *ret ? pico : *ret;
    }
    return known;
}

static int64_t
or_none(int64_t count)
{
    return count > 0 ? count : 0;
}

/* Adds the dearest that `count` tokens can be, whichever of the kinds they
 * are. Below zero nothing limits how many: their price is looked for alone.
 */
static bool
add_dearest(const struct belay__reserve_rules *rules,
    const enum belay__price_kind *kinds, size_t kind_count, int64_t in_tokens,
    int64_t count, wide *sum)
{
    int64_t dearest = 0;
    bool known = true;
    int64_t pico;

    for (size_t i = 0; count != 0 && i < kind_count; i++) {
        known &= find_dearest(rules, kinds[i], in_tokens, &pico);
        dearest = pico > dearest ? pico : dearest;
    }
    *sum += (wide)dearest * or_none(count);
    return known;
}

/* Below zero nothing limits the count. False: there is a price that is not
 * known.
 */
static bool
cost_high(const struct belay__reserve_rules *rules, int64_t in_high,
    int64_t out_high, int64_t *ret)
{
    const int64_t in_tokens = or_none(in_high);
    static const enum belay__price_kind in_kinds[] = {BELAY__PRICE_IN,
        BELAY__PRICE_CACHE_READ, BELAY__PRICE_CACHE_WRITE_5M,
        BELAY__PRICE_CACHE_WRITE_1H, BELAY__PRICE_IN_AUDIO};
    static const enum belay__price_kind out_kinds[] = {
        BELAY__PRICE_OUT, BELAY__PRICE_REASONING, BELAY__PRICE_OUT_AUDIO};
    wide sum = 0;
    int64_t pico;

    if (rules->prices == NULL || rules->model == NULL
        || !add_dearest(rules, in_kinds, sizeof(in_kinds) / sizeof(in_kinds[0]),
            in_tokens, in_high, &sum)
        || !add_dearest(rules, out_kinds,
            sizeof(out_kinds) / sizeof(out_kinds[0]), in_tokens, out_high,
            &sum)) {
        return false;
    }
    (void)find_dearest(rules, BELAY__PRICE_REQUEST, in_tokens, &pico);
    sum += pico;
    *ret = clamp(sum);
    return true;
}

int
belay__reserve_most(const struct belay__reserve_rules *rules,
    const struct belay__request_size *size, struct belay_amount *ret)
{
    const int64_t in_high = input_high(rules, size);
    const int64_t out_high = output_high(rules, size);
    int64_t pico = 0;
    const bool priced = cost_high(rules, in_high, out_high, &pico);

    *ret = (struct belay_amount){
        .cost = {priced ? pico : 0},
        .tokens = clamp((wide)or_none(in_high) + or_none(out_high)),
        .requests = 1,
    };
    if (!rules->uncapped && (in_high < 0 || out_high < 0)) {
        return BELAY_ENOCAP;
    }
    return priced ? 0 : BELAY_ENOPRICE;
}
