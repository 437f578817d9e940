/* prices.c - a price file, read once, and names looked up in it.
 *
 * While the file is read texts are offsets, because their buffer moves; the
 * tables of names are made when it is whole and no longer does.
 */
#include "llm/money/prices.h"

#include "llm/json/text.h"
#include "runtime/internal.h"

#include <string.h>

#define TEXTS_MAX ((size_t)256 * 1024 * 1024)

struct reader {
    belay_prices *prices;
    struct belay__json json;
    int code;
    struct belay_prices_problem problem;
};

/* ---- reading ---- */

static void
fail(struct reader *reader, int code, size_t offset, const char *reason)
{
    if (reader->code == 0) {
        reader->code = code;
        reader->problem = (struct belay_prices_problem){offset, reason};
    }
}

static void
fail_short(struct reader *reader, int code)
{
    fail(reader, code, belay__json_offset(&reader->json),
        code == BELAY_ENOMEM ? "out of memory" : "the file is too large");
}

/* A string, decoded, at the end of the texts. */
static struct belay__text_span
keep_text(struct reader *reader, struct belay_slice string)
{
    struct belay__buffer *texts = &reader->prices->texts;
    const size_t at = texts->len;
    int code = belay__json_append_decoded(texts, string);

    if (code < 0) {
        fail_short(reader, code);
    }
    return (struct belay__text_span){at, texts->len - at};
}

static void
read_text(struct reader *reader, struct belay__text_span *ret)
{
    struct belay__json_value value;

    if (belay__json_take(&reader->json, &value)
        && value.type == BELAY__JSON_STRING) {
        *ret = keep_text(reader, value.raw);
    }
}

static void
read_count(struct reader *reader, int64_t *ret)
{
    struct belay__json_value value;
    int64_t number;

    if (belay__json_take(&reader->json, &value)
        && value.type == BELAY__JSON_NUMBER
        && belay__json_integer(value.raw, &number) == 0 && number >= 0) {
        *ret = number;
    }
}

static void
read_price(struct reader *reader, struct belay__price price)
{
    const size_t offset = belay__json_offset(&reader->json);
    struct belay__json_value value;
    belay_money money;
    int code;

    if (!belay__json_take(&reader->json, &value)
        || value.type == BELAY__JSON_NULL) {
        return;
    }
    if (value.type != BELAY__JSON_NUMBER) {
        fail(reader, BELAY_EINVAL, offset, "a price that is not a number");
        return;
    }
    if (belay_money_parse(value.raw, &money) < 0) {
        fail(reader, BELAY_ETOOLARGE, offset, "a price that is too high");
        return;
    }
    if (money.pico < 0) {
        fail(reader, BELAY_EINVAL, offset, "a price below zero");
        return;
    }
    price.pico = money.pico;
    code = belay__buffer_append(
        &reader->prices->prices, (const char *)&price, sizeof(price));
    if (code < 0) {
        fail_short(reader, code);
    }
}

static void
read_field(struct reader *reader, struct belay__model *model,
    const struct belay__json_value *key)
{
    struct belay__price price;

    if (belay__json_key_is(key, "litellm_provider")) {
        read_text(reader, &model->provider);
    } else if (belay__json_key_is(key, "mode")) {
        read_text(reader, &model->mode);
    } else if (belay__json_key_is(key, "max_input_tokens")) {
        read_count(reader, &model->max_input_tokens);
    } else if (belay__json_key_is(key, "max_output_tokens")) {
        read_count(reader, &model->max_output_tokens);
    } else if (belay__price_key(belay__json_inside(key->raw), &price)) {
        read_price(reader, price);
    }
}

static size_t
prices_read(const struct reader *reader)
{
    return reader->prices->prices.len / sizeof(struct belay__price);
}

static void
read_model(struct reader *reader, const struct belay__json_value *name)
{
    struct belay__model model = {
        .max_input_tokens = -1,
        .max_output_tokens = -1,
        .first_price = prices_read(reader),
    };
    struct belay__json_value key;
    int code;

    if (!belay__json_enter_object(&reader->json)) {
        return; /* no model: skipped */
    }
    model.name = keep_text(reader, name->raw);
    while (reader->code == 0 && belay__json_next_member(&reader->json, &key)) {
        read_field(reader, &model, &key);
    }
    model.price_count = prices_read(reader) - model.first_price;
    code = belay__buffer_append(
        &reader->prices->models, (const char *)&model, sizeof(model));
    if (code < 0) {
        fail_short(reader, code);
    }
}

static void
read_file(struct reader *reader, struct belay_slice json)
{
    struct belay__json_value name;

    belay__json_open(&reader->json, json);
    if (!belay__json_enter_object(&reader->json)) {
        (void)belay__json_finish(&reader->json);
        fail(reader, BELAY_EJSON, reader->json.error.offset,
            reader->json.error.reason != NULL ? reader->json.error.reason
                                              : "expected an object");
        return;
    }
    while (reader->code == 0 && belay__json_next_member(&reader->json, &name)) {
        if (!belay__json_key_is(&name, "sample_spec")
            && !belay__json_key_is(&name, "fallback_generalizations")) {
            read_model(reader, &name);
        }
    }
    if (reader->code == 0 && belay__json_finish(&reader->json) < 0) {
        fail(reader, BELAY_EJSON, reader->json.error.offset,
            reader->json.error.reason);
    }
}

/* ---- texts and names ---- */

static struct belay_slice
text_of(const belay_prices *prices, struct belay__text_span span)
{
    if (span.len == 0) {
        return (struct belay_slice){NULL, 0};
    }
    return (struct belay_slice){prices->texts.data + span.at, span.len};
}

static int
index_names(belay_prices *prices)
{
    const size_t count = prices->models.len / sizeof(struct belay__model);
    struct belay_slice name;

    for (size_t i = 0; i < count; i++) {
        name = text_of(prices, belay__prices_model(prices, i)->name);
        if (name.len > 0
            && belay__names_set(&prices->names, name, (uint32_t)i) < 0) {
            return BELAY_ENOMEM;
        }
    }
    return 0;
}

static struct belay_prices *
prices_empty(struct belay__memory *memory)
{
    belay_prices *prices = belay__alloc(memory, sizeof(*prices));

    if (prices == NULL) {
        return NULL;
    }
    *prices = (struct belay_prices){
        .memory = belay__memory_ref(memory),
        .refs = 1,
    };
    belay__buffer_init(&prices->texts, memory, TEXTS_MAX);
    belay__buffer_init(&prices->models, memory, TEXTS_MAX);
    belay__buffer_init(&prices->prices, memory, TEXTS_MAX);
    belay__names_init(&prices->names, memory);
    belay__names_init(&prices->aliases, memory);
    return prices;
}

int
belay_prices_new(belay_runtime *runtime, struct belay_slice json,
    belay_prices **ret, struct belay_prices_problem *ret_problem)
{
    struct reader reader = {.prices = prices_empty(runtime->memory)};

    if (reader.prices == NULL) {
        reader.code = BELAY_ENOMEM;
        reader.problem.reason = "out of memory";
    } else {
        read_file(&reader, json);
        if (reader.code == 0
            && (index_names(reader.prices) < 0
                || belay__life_begin(runtime->memory, &reader.prices->life)
                       < 0)) {
            fail_short(&reader, BELAY_ENOMEM);
        }
    }
    if (ret_problem != NULL) {
        *ret_problem = reader.problem;
    }
    if (reader.code < 0) {
        belay_prices_unref(reader.prices);
        return reader.code;
    }
    *ret = reader.prices;
    return 0;
}

belay_prices *
belay_prices_ref(belay_prices *prices)
{
    if (prices != NULL) {
        prices->refs++;
    }
    return prices;
}

void
belay_prices_unref(belay_prices *prices)
{
    struct belay__memory *memory;

    if (prices == NULL || --prices->refs > 0) {
        return;
    }
    memory = prices->memory;
    belay__life_end(memory, &prices->life);
    for (size_t i = 0; i < prices->aliases.room; i++) {
        const struct belay_slice text = prices->aliases.slots[i].text;

        if (text.data != NULL) {
            belay__free(memory, belay__without_const(text.data), text.len + 1);
        }
    }
    belay__names_fini(&prices->aliases);
    belay__names_fini(&prices->names);
    belay__buffer_fini(&prices->prices);
    belay__buffer_fini(&prices->models);
    belay__buffer_fini(&prices->texts);
    belay__free(memory, prices, sizeof(*prices));
    belay__memory_unref(memory);
}

/* ---- looking up ---- */

int
belay_prices_alias(belay_prices *prices, const char *name, const char *model)
{
    const struct belay_slice wanted = {name, strlen(name)};
    const struct belay_slice target = {model, strlen(model)};
    uint32_t index;
    char *text;
    int code;

    if (wanted.len == 0
        || belay__names_get(&prices->names, target, &index) < 0) {
        return BELAY_ENOENT;
    }
    if (belay__names_replace(&prices->aliases, wanted, index) == 0) {
        return 0;
    }
    text = belay__copy_text(prices->memory, name, wanted.len);
    if (text == NULL) {
        return BELAY_ENOMEM;
    }
    code = belay__names_set(
        &prices->aliases, (struct belay_slice){text, wanted.len}, index);
    if (code < 0) {
        belay__free(prices->memory, text, wanted.len + 1);
    }
    return code;
}

/* Names longer than any in use are not looked for. */
static int
find_of_provider(const belay_prices *prices, const char *provider,
    struct belay_slice model, uint32_t *ret)
{
    char name[256];
    const size_t len = strlen(provider);

    if (len + 1 + model.len > sizeof(name) || model.len == 0) {
        return BELAY_ENOENT;
    }
    memcpy(name, provider, len + 1);
    name[len] = '/'; /* in place of the NUL */
    memcpy(name + len + 1, model.data, model.len);
    return belay__names_get(
        &prices->names, (struct belay_slice){name, len + 1 + model.len}, ret);
}

int
belay_prices_find(const belay_prices *prices, const char *provider,
    struct belay_slice model, struct belay_price_model *ret)
{
    const struct belay__model *found;
    uint32_t index;

    if (prices == NULL
        || (belay__names_get(&prices->names, model, &index) < 0
            && (provider == NULL
                || find_of_provider(prices, provider, model, &index) < 0)
            && belay__names_get(&prices->aliases, model, &index) < 0)) {
        return BELAY_ENOENT;
    }
    found = belay__prices_model(prices, index);
    *ret = (struct belay_price_model){
        .name = text_of(prices, found->name),
        .provider = text_of(prices, found->provider),
        .mode = text_of(prices, found->mode),
        .max_input_tokens = found->max_input_tokens,
        .max_output_tokens = found->max_output_tokens,
        .index = index,
    };
    return 0;
}
