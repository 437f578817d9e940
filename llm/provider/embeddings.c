/* embeddings.c - the Embeddings format.
 *
 * Vectors come as base64 of little-endian floats, or as arrays of numbers.
 * Each is read twice: for its length, when the block for all of them is made,
 * and for its values.
 */
#include "llm/provider/embeddings.h"

#include "llm/base64.h"
#include "llm/json/text.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#define DIMENSIONS_MAX ((size_t)1 << 20)
#define NUMBER_MAX 64

/* ---- requests ---- */

const char *
belay__embed_check(const struct belay_llm_embed *embed)
{
    if (embed->input_count == 0) {
        return "there is no input";
    }
    if (embed->dimensions < 0) {
        return "dimensions is negative";
    }
    return belay__request_check_basis(embed->model, embed->extra);
}

int
belay__embed_build(
    const struct belay_llm_embed *embed, struct belay__buffer *buffer)
{
    const struct belay_llm_chat chat = {.model = embed->model};
    struct belay__request_writer request = {.key_count = 0};
    struct belay__json_writer *json = &request.json;

    belay__json_begin(json, buffer);
    belay__json_open_object(json);
    belay__request_model(&request, &chat);
    belay__request_key(&request, "input");
    belay__json_open_array(json);
    for (size_t i = 0; i < embed->input_count; i++) {
        belay__json_string(json, embed->inputs[i]);
    }
    belay__json_close_array(json);
    belay__request_key(&request, "encoding_format");
    belay__json_text(json, embed->as_numbers ? "float" : "base64");
    if (embed->dimensions > 0) {
        belay__request_key(&request, "dimensions");
        belay__json_int(json, embed->dimensions);
    }
    belay__request_add_extra(&request, embed->extra);
    belay__json_close_object(json);
    return belay__json_end(json);
}

/* ---- numbers ---- */

/* strtof asks the locale for the decimal point, JSON does not. */
static bool
read_number(struct belay_slice raw, float *ret)
{
    char text[NUMBER_MAX];
    char *point;
    char *end;

    if (raw.len >= sizeof(text)) {
        return false; /* no float needs that many digits */
    }
    memcpy(text, raw.data, raw.len);
    text[raw.len] = '\0';
    *ret = strtof(text, &end);
    if (*end != '\0') {
        point = strchr(text, '.');
        if (point == NULL) {
            return false;
        }
        *point = ',';
        *ret = strtof(text, &end);
    }
    return *end == '\0' && *ret >= -FLT_MAX && *ret <= FLT_MAX;
}

static float
little_endian(const unsigned char *bytes)
{
    const uint32_t bits = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8
                          | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* ---- vectors ---- */

static size_t
count_numbers(struct belay_slice array)
{
    struct belay__json json;
    size_t count = 0;

    belay__json_open(&json, array);
    if (belay__json_enter_array(&json)) {
        while (belay__json_next_element(&json)) {
            count++;
        }
    }
    return count;
}

/* The length of a vector; 0 if it is none. */
static size_t
length_of(const struct belay__json_value *embedding)
{
    struct belay_slice text = embedding->raw;
    size_t bytes;

    if (embedding->type == BELAY__JSON_ARRAY) {
        return count_numbers(text);
    }
    if (embedding->type != BELAY__JSON_STRING || embedding->escaped) {
        return 0;
    }
    text = belay__json_inside(text);
    while (text.len > 0 && text.data[text.len - 1] == '=') {
        text.len--;
    }
    bytes = text.len / 4 * 3 + (text.len % 4 > 1 ? text.len % 4 - 1 : 0);
    return bytes % sizeof(float) == 0 ? bytes / sizeof(float) : 0;
}

static bool
read_array(struct belay_slice array, float *values)
{
    struct belay__json json;
    struct belay__json_value number;

    belay__json_open(&json, array);
    if (!belay__json_enter_array(&json)) {
        return false;
    }
    while (belay__json_next_element(&json)) {
        if (!belay__json_take(&json, &number)
            || number.type != BELAY__JSON_NUMBER
            || !read_number(number.raw, values++)) {
            return false;
        }
    }
    return true;
}

/* The bytes are decoded into the place of the values, which are not wider. */
static bool
read_base64(struct belay_slice string, float *values, size_t len)
{
    unsigned char *bytes = (unsigned char *)values;
    size_t got;

    if (!belay__base64_decode(belay__json_inside(string), bytes, &got)
        || got != len * sizeof(float)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        values[i] = little_endian(bytes + i * sizeof(float));
    }
    return true;
}

static int
make_room(struct belay__memory *memory, struct belay__vectors *vectors,
    size_t dimensions)
{
    size_t count;

    if (dimensions == 0 || dimensions > DIMENSIONS_MAX
        || __builtin_mul_overflow(vectors->count, dimensions, &count)
        || count > SIZE_MAX / sizeof(float)) {
        return BELAY_EREPLY;
    }
    vectors->values = belay__alloc(memory, count * sizeof(float));
    if (vectors->values == NULL) {
        return BELAY_ENOMEM;
    }
    vectors->dimensions = dimensions;
    return 0;
}

static int
read_one(struct belay__memory *memory, struct belay__vectors *vectors,
    bool *seen, int64_t position, struct belay_slice item)
{
    static const char *const names[] = {"index", "embedding"};
    struct belay__json_value values[2];
    size_t index;
    float *to;
    int code = 0;

    belay__provider_members(item, names, 2, values);
    index = (size_t)belay__provider_index(&values[0], position);
    if (index >= vectors->count || seen[index]) {
        return BELAY_EREPLY;
    }
    seen[index] = true;
    if (vectors->values == NULL) {
        code = make_room(memory, vectors, length_of(&values[1]));
    }
    if (code < 0) {
        return code;
    }
    if (length_of(&values[1]) != vectors->dimensions) {
        return BELAY_EREPLY;
    }
    to = vectors->values + index * vectors->dimensions;
    return (values[1].type == BELAY__JSON_ARRAY
                   ? read_array(values[1].raw, to)
                   : read_base64(values[1].raw, to, vectors->dimensions))
               ? 0
               : BELAY_EREPLY;
}

static int
read_all(struct belay__memory *memory, struct belay__vectors *vectors,
    bool *seen, struct belay_slice data)
{
    struct belay__json json;
    struct belay__json_value item;
    size_t count = 0;
    int code = 0;

    belay__json_open(&json, data);
    if (!belay__json_enter_array(&json)) {
        return BELAY_EREPLY;
    }
    while (code == 0 && belay__json_next_element(&json)
           && belay__json_take(&json, &item)) {
        code = read_one(memory, vectors, seen, (int64_t)count++, item.raw);
    }
    return code == 0 && count != vectors->count ? BELAY_EREPLY : code;
}

int
belay__vectors_read(struct belay__memory *memory, struct belay_slice body,
    size_t count, struct belay__vectors *ret)
{
    static const char *const names[] = {"data"};
    struct belay__vectors vectors = {.count = count};
    struct belay__json_value data;
    bool *seen = belay__alloc_zero(memory, count);
    int code;

    if (seen == NULL) {
        return BELAY_ENOMEM;
    }
    belay__provider_members(body, names, 1, &data);
    code = read_all(memory, &vectors, seen, data.raw);
    belay__free(memory, seen, count);
    if (code < 0) {
        belay__vectors_fini(memory, &vectors);
        return code;
    }
    *ret = vectors;
    return 0;
}

void
belay__vectors_fini(
    struct belay__memory *memory, struct belay__vectors *vectors)
{
    if (vectors->values != NULL) {
        belay__free(memory, vectors->values,
            vectors->count * vectors->dimensions * sizeof(float));
    }
    *vectors = (struct belay__vectors){.values = NULL};
}

/* ---- the format ---- */

/* Of an answer whose vectors nobody asks for: the usage, and its form. */
static void
read_answer(struct belay__answer *answer, struct belay_slice body)
{
    static const char *const names[] = {"data", "usage", "model", "error"};
    struct belay__json_value values[4];

    belay__provider_members(body, names, 4, values);
    belay__answer_model(answer, &values[2]);
    belay__answer_usage(answer, values[1].raw);
    if (values[3].type == BELAY__JSON_OBJECT
        || values[3].type == BELAY__JSON_STRING) {
        belay__answer_error(answer, body);
    } else if (values[0].type != BELAY__JSON_ARRAY && answer->code == 0) {
        answer->code = BELAY_EREPLY;
    }
    answer->finished = true;
}

const struct belay__provider belay__embeddings_provider = {
    .name = "embeddings",
    .path = "/embeddings",
    .auth = BELAY__AUTH_BEARER,
    .request_id = "x-request-id",
    .read_fn = read_answer,
};
