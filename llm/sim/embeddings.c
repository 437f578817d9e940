/* embeddings.c - the format of OpenAI's Embeddings.
 *
 * A vector follows from the bytes of its input alone: of length one, each
 * number by lot. Equal inputs have equal vectors; near ones have nothing in
 * common.
 */
#include "llm/base64.h"
#include "llm/json/text.h"
#include "llm/sim/internal.h"

#include <math.h>
#include <stdio.h>

#define DIMENSIONS 64
#define DIMENSIONS_MAX 4096
#define INPUTS_MAX 2048

/* ---- requests ---- */

/* A text, or an array of tokens: either is one input. */
static void
count_input(
    const struct belay__json_value *value, struct belay__sim_reading *reading)
{
    uint64_t words = 1;

    if (value->type == BELAY__JSON_STRING && value->raw.len > 2) {
        for (size_t i = 1; i < value->raw.len; i++) {
            words += value->raw.data[i] == ' ';
        }
    } else if (value->type == BELAY__JSON_ARRAY) {
        for (size_t i = 1; i < value->raw.len; i++) {
            words += value->raw.data[i] == ',';
        }
    } else {
        reading->wrong = "input: empty, or neither texts nor tokens";
    }
    reading->request->inputs++;
    reading->request->prompt_tokens += words;
}

static void
read_array(
    const struct belay__json_value *value, struct belay__sim_reading *reading)
{
    struct belay__json_value element;
    struct belay__json json;

    belay__json_open(&json, value->raw);
    (void)belay__json_enter_array(&json);
    while (belay__json_next_element(&json)) {
        if (!belay__json_take(&json, &element)) {
            return;
        }
        if (element.type == BELAY__JSON_NUMBER) {
            if (reading->request->inputs == 0) {
                count_input(value, reading); /* all of it is one input */
            }
            return;
        }
        count_input(&element, reading);
    }
}

static void
read_input(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value value;

    if (!belay__json_take(json, &value)) {
        return;
    }
    reading->request->input = value.raw;
    reading->request->inputs = 0;
    if (value.type == BELAY__JSON_ARRAY) {
        read_array(&value, reading);
    } else {
        count_input(&value, reading);
    }
    reading->messages = reading->request->inputs > 0;
    if (reading->request->inputs > INPUTS_MAX) {
        reading->wrong = "input: more than 2048";
    }
}

static void
read_dimensions(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value value;
    int64_t count;

    if (!belay__json_take(json, &value) || value.type == BELAY__JSON_NULL) {
        return;
    }
    if (value.type != BELAY__JSON_NUMBER
        || belay__json_integer(value.raw, &count) < 0 || count < 1
        || count > DIMENSIONS_MAX) {
        reading->wrong = "dimensions: not from 1 to 4096";
        return;
    }
    reading->request->dimensions = (uint32_t)count;
}

static void
read_encoding(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value value;

    if (!belay__json_take(json, &value) || value.type == BELAY__JSON_NULL) {
        return;
    }
    if (value.type == BELAY__JSON_STRING
        && belay__json_key_is(&value, "base64")) {
        reading->request->base64 = true;
    } else if (value.type != BELAY__JSON_STRING
               || !belay__json_key_is(&value, "float")) {
        reading->wrong = "encoding_format: neither float nor base64";
    }
}

static void
read_member(struct belay__json *json, const struct belay__json_value *key,
    struct belay__sim_reading *reading)
{
    if (belay__json_key_is(key, "input")) {
        read_input(json, reading);
    } else if (belay__json_key_is(key, "dimensions")) {
        read_dimensions(json, reading);
    } else if (belay__json_key_is(key, "encoding_format")) {
        read_encoding(json, reading);
    }
}

static const char *
missing(const struct belay__sim_reading *reading)
{
    return reading->messages ? NULL : "input: missing or empty";
}

/* ---- answers ---- */

/* The numbers of a vector, in two passes: the first for its length. */
static double
draw(struct belay__sim_dice *dice)
{
    return 2 * belay__sim_draw(dice) - 1;
}

static double
scale_of(struct belay__sim_dice dice, uint32_t dimensions)
{
    double sum = 0;

    for (uint32_t i = 0; i < dimensions; i++) {
        const double number = draw(&dice);

        sum += number * number;
    }
    return sum > 0 ? 1 / sqrt(sum) : 0;
}

static void
put_floats(struct belay__json_writer *json, struct belay__sim_dice dice,
    double scale, uint32_t dimensions)
{
    char text[32];
    int len;

    belay__json_open_array(json);
    for (uint32_t i = 0; i < dimensions; i++) {
        len = snprintf(
            text, sizeof(text), "%.9g", (double)(float)(draw(&dice) * scale));
        belay__json_raw(json, (struct belay_slice){text, (size_t)len});
    }
    belay__json_close_array(json);
}

static void
put_little_endian(unsigned char *to, float number)
{
    uint32_t bits;

    memcpy(&bits, &number, sizeof(bits));
    for (int i = 0; i < 4; i++) {
        to[i] = (unsigned char)(bits >> (8 * i));
    }
}

static void
put_base64(struct belay__json_writer *json, struct belay__sim_dice dice,
    double scale, uint32_t dimensions)
{
    static const struct belay_slice quote = {"\"", 1};
    unsigned char bytes[4 * DIMENSIONS_MAX];

    for (uint32_t i = 0; i < dimensions; i++) {
        put_little_endian(bytes + (size_t)4 * i, (float)(draw(&dice) * scale));
    }
    belay__json_raw(json, quote);
    if (json->code == 0) {
        json->code = belay__base64_append(json->buffer,
            (struct belay_slice){(const char *)bytes, (size_t)4 * dimensions});
    }
    if (json->code == 0) {
        json->code = belay__buffer_append(json->buffer, "\"", 1);
    }
}

static void
put_vector(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, struct belay_slice input,
    uint64_t index)
{
    const struct belay__sim_request *request = &exchange->request;
    const struct belay__sim_dice dice = {
        exchange->sim->opts.seed ^ belay__sim_hash(input)};
    const uint32_t dimensions =
        request->dimensions > 0 ? request->dimensions : DIMENSIONS;
    const double scale = scale_of(dice, dimensions);

    belay__json_open_object(json);
    belay__sim_put_string(json, "object", "embedding");
    belay__sim_put_int(json, "index", index);
    belay__json_key(json, "embedding");
    if (request->base64) {
        put_base64(json, dice, scale, dimensions);
    } else {
        put_floats(json, dice, scale, dimensions);
    }
    belay__json_close_object(json);
}

static void
put_vectors(struct belay__json_writer *writer,
    const struct belay__sim_exchange *exchange)
{
    const struct belay__sim_request *request = &exchange->request;
    struct belay__json_value element;
    struct belay__json json;

    belay__json_open(&json, request->input);
    if (request->inputs == 1 && !belay__json_enter_array(&json)) {
        put_vector(writer, exchange, request->input, 0);
        return;
    }
    if (request->inputs > 1) {
        (void)belay__json_enter_array(&json);
    }
    for (uint64_t i = 0; i < request->inputs && belay__json_next_element(&json);
         i++) {
        if (belay__json_take(&json, &element)) {
            put_vector(writer, exchange,
                element.type == BELAY__JSON_NUMBER ? request->input
                                                   : element.raw,
                i);
        }
    }
}

static void
write_answer(
    struct belay__json_writer *json, struct belay__sim_exchange *exchange)
{
    const struct belay_slice given = belay__sim_given_usage(exchange);
    const uint64_t in = exchange->entry.prompt_tokens;

    belay__json_open_object(json);
    belay__sim_put_string(json, "object", "list");
    belay__json_key(json, "data");
    belay__json_open_array(json);
    put_vectors(json, exchange);
    belay__json_close_array(json);
    belay__json_key(json, "model");
    belay__json_raw(json, exchange->request.model);
    if (!belay__sim_has(exchange->fate.faults, BELAY__FAULT_NO_USAGE)) {
        belay__json_key(json, "usage");
        if (given.len > 0) {
            belay__json_raw_line(json, given);
        } else {
            belay__json_open_object(json);
            belay__sim_put_int(json, "prompt_tokens", in);
            belay__sim_put_int(json, "total_tokens", in);
            belay__json_close_object(json);
        }
    }
    belay__json_close_object(json);
}

const struct belay__sim_format belay__sim_embeddings_format = {
    .name = "embeddings",
    .number = 3,
    .path = "/v1/embeddings",
    .request_id = "x-request-id",
    .member_fn = read_member,
    .missing_fn = missing,
    .write_fn = write_answer,
    .error_fn = belay__sim_put_openai_error,
};
