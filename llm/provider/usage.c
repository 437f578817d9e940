/* usage.c - token counts, in one form for all servers.
 *
 * The shapes differ in names, so one table reads them all; and in one rule:
 * OpenAI's input counts include what came from a cache, Anthropic's do not.
 * A number that is negative, not whole or too large counts as not told. Some
 * gateways write both names of a count, and zero under the one that is not
 * theirs: of the output and the cache the larger one is taken, of the input
 * OpenAI's unless that is zero.
 */
#include "llm/provider/usage.h"

#include "llm/json/text.h"

const struct belay_llm_usage belay__usage_unknown = {
    .in_total = -1,
    .in_cache_read = -1,
    .in_cache_write_5m = -1,
    .in_cache_write_1h = -1,
    .in_audio = -1,
    .out_total = -1,
    .out_reasoning = -1,
    .out_audio = -1,
};

static void
take_count(struct belay__json *json, int64_t *count)
{
    struct belay__json_value value;
    int64_t number;

    if (belay__json_take(json, &value) && value.type == BELAY__JSON_NUMBER
        && belay__json_integer(value.raw, &number) == 0 && number > *count) {
        *count = number;
    }
}

/* Where the member of a details object goes; NULL: nowhere. */
static int64_t *
input_detail(struct belay_llm_usage *usage, const struct belay__json_value *key)
{
    if (belay__json_key_is(key, "cached_tokens")) {
        return &usage->in_cache_read;
    }
    if (belay__json_key_is(key, "cache_write_tokens")
        || belay__json_key_is(key, "ephemeral_5m_input_tokens")) {
        return &usage->in_cache_write_5m;
    }
    if (belay__json_key_is(key, "ephemeral_1h_input_tokens")) {
        return &usage->in_cache_write_1h;
    }
    return belay__json_key_is(key, "audio_tokens") ? &usage->in_audio : NULL;
}

static int64_t *
output_detail(
    struct belay_llm_usage *usage, const struct belay__json_value *key)
{
    if (belay__json_key_is(key, "reasoning_tokens")) {
        return &usage->out_reasoning;
    }
    return belay__json_key_is(key, "audio_tokens") ? &usage->out_audio : NULL;
}

typedef int64_t *detail_fn(
    struct belay_llm_usage *usage, const struct belay__json_value *key);

/* An object of details; null in its place is normal. */
static void
take_details(
    struct belay__json *json, struct belay_llm_usage *usage, detail_fn *detail)
{
    struct belay__json_value key;
    int64_t *count;

    if (!belay__json_enter_object(json)) {
        return;
    }
    while (belay__json_next_member(json, &key)) {
        count = detail(usage, &key);
        if (count != NULL) {
            take_count(json, count);
        }
    }
}

static int64_t *
count_of(
    struct belay__usage_counts *counts, const struct belay__json_value *key)
{
    if (belay__json_key_is(key, "prompt_tokens")) {
        return &counts->prompt;
    }
    if (belay__json_key_is(key, "input_tokens")) {
        return &counts->input;
    }
    if (belay__json_key_is(key, "completion_tokens")
        || belay__json_key_is(key, "output_tokens")) {
        return &counts->usage.out_total;
    }
    if (belay__json_key_is(key, "total_tokens")) {
        return &counts->total;
    }
    if (belay__json_key_is(key, "cache_read_input_tokens")) {
        return &counts->apart_read;
    }
    return belay__json_key_is(key, "cache_creation_input_tokens")
               ? &counts->apart_write
               : NULL;
}

static void
take_member(struct belay__json *json, struct belay__usage_counts *counts,
    const struct belay__json_value *key)
{
    int64_t *count = count_of(counts, key);

    if (count != NULL) {
        take_count(json, count);
    } else if (belay__json_key_is(key, "prompt_tokens_details")
               || belay__json_key_is(key, "input_tokens_details")
               || belay__json_key_is(key, "cache_creation")) {
        take_details(json, &counts->usage, input_detail);
    } else if (belay__json_key_is(key, "completion_tokens_details")
               || belay__json_key_is(key, "output_tokens_details")) {
        take_details(json, &counts->usage, output_detail);
    }
}

static int64_t
sum(int64_t a, int64_t b)
{
    int64_t total;

    if (a < 0 || b < 0) {
        return a < 0 ? b : a;
    }
    return __builtin_add_overflow(a, b, &total) ? INT64_MAX : total;
}

void
belay__usage_begin(struct belay__usage_counts *counts)
{
    *counts = (struct belay__usage_counts){.usage = belay__usage_unknown,
        .total = -1,
        .prompt = -1,
        .input = -1,
        .apart_read = -1,
        .apart_write = -1};
}

static void
replace(int64_t *count, int64_t later)
{
    *count = later >= 0 ? later : *count;
}

static bool
differs(int64_t count, int64_t later)
{
    return later >= 0 && later != count;
}

static void
replace_all(
    struct belay__usage_counts *counts, const struct belay__usage_counts *later)
{
    struct belay_llm_usage *usage = &counts->usage;

    if (differs(counts->prompt, later->prompt)
        || differs(counts->input, later->input)
        || differs(usage->out_total, later->usage.out_total)) {
        counts->total = -1; /* what it was the sum of has changed */
    }
    replace(&usage->in_cache_read, later->usage.in_cache_read);
    replace(&usage->in_cache_write_5m, later->usage.in_cache_write_5m);
    replace(&usage->in_cache_write_1h, later->usage.in_cache_write_1h);
    replace(&usage->in_audio, later->usage.in_audio);
    replace(&usage->out_total, later->usage.out_total);
    replace(&usage->out_reasoning, later->usage.out_reasoning);
    replace(&usage->out_audio, later->usage.out_audio);
    replace(&counts->total, later->total);
    replace(&counts->prompt, later->prompt);
    replace(&counts->input, later->input);
    replace(&counts->apart_read, later->apart_read);
    replace(&counts->apart_write, later->apart_write);
}

void
belay__usage_read(struct belay__usage_counts *counts, struct belay_slice raw)
{
    struct belay__usage_counts read;
    struct belay__json_value key;
    struct belay__json json;

    belay__json_open(&json, raw);
    if (!belay__json_enter_object(&json)) {
        return;
    }
    belay__usage_begin(&read);
    while (belay__json_next_member(&json, &key)) {
        take_member(&json, &read, &key);
    }
    replace_all(counts, &read);
    counts->told = true;
    counts->begun = counts->begun && read.usage.out_total < 0;
}

/* What came in, in all. */
static int64_t
all_input(const struct belay__usage_counts *counts)
{
    const int64_t apart = sum(counts->apart_read, counts->apart_write);

    if (counts->prompt > 0 || (counts->prompt == 0 && counts->input < 0)) {
        return counts->prompt;
    }
    return sum(counts->input, apart);
}

/* What a breakdown by lifetime does not have, or all of it if there is none, is
 * for the short one.
 */
static void
settle_writes(
    const struct belay__usage_counts *counts, struct belay_llm_usage *ret)
{
    const int64_t told = sum(ret->in_cache_write_5m, ret->in_cache_write_1h);

    if (told < 0) {
        ret->in_cache_write_5m = counts->apart_write;
    } else if (counts->apart_write > told) {
        ret->in_cache_write_5m =
            sum(ret->in_cache_write_5m, counts->apart_write - told);
    }
}

/* What is in the total only. Embeddings have no output, and say so in no other
 * way. Some servers leave reasoning out of the output that they count, but not
 * out of the total, by which they charge. A gateway may leave out of the input
 * what it tells of the cache apart.
 */
static void
settle_total(
    const struct belay__usage_counts *counts, struct belay_llm_usage *ret)
{
    int64_t rest;
    int64_t more;

    if (ret->in_total < 0 || counts->total < ret->in_total) {
        return;
    }
    rest = counts->total - ret->in_total;
    if (rest <= ret->out_total) {
        return;
    }
    more = rest - ret->out_total;
    if (ret->out_total >= 0
        && (more == counts->apart_read || more == counts->apart_write
            || more == sum(counts->apart_read, counts->apart_write))) {
        ret->in_total += more;
    } else {
        ret->out_total = rest;
    }
}

void
belay__usage_settle(
    const struct belay__usage_counts *counts, struct belay_llm_usage *ret)
{
    *ret = counts->usage;
    if (!counts->told) {
        return;
    }
    ret->requests = 1;
    ret->state =
        counts->begun ? BELAY_LLM_USAGE_ESTIMATED : BELAY_LLM_USAGE_EXACT;
    ret->in_total = all_input(counts);
    if (counts->apart_read > ret->in_cache_read) {
        ret->in_cache_read = counts->apart_read;
    }
    settle_writes(counts, ret);
    settle_total(counts, ret);
}

void
belay__usage_parse(struct belay_slice raw, struct belay_llm_usage *ret)
{
    struct belay__usage_counts counts;

    belay__usage_begin(&counts);
    belay__usage_read(&counts, raw);
    belay__usage_settle(&counts, ret);
    if (counts.told) {
        ret->raw = raw;
    }
}
