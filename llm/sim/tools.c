/* tools.c - a call of a tool that a request offers, made up by lot.
 *
 * The arguments fit the schema as far as a simple server must: every property
 * is there, with a value of its type.
 */
#include "llm/json/text.h"
#include "llm/json/utf8.h"
#include "llm/sim/internal.h"

#define PIECE_BYTES 12 /* of arguments, in a stream */
#define DEPTH_MAX 4    /* of objects in objects */

/* ---- which tool ---- */

struct tool {
    struct belay_slice name;
    struct belay_slice schema;
};

/* A tool in any of three forms: with a function inside, flat, Anthropic's. */
static void
read_tool(struct belay__json *json, struct tool *tool)
{
    struct belay__json_value key;
    struct belay__json_value value;

    if (!belay__json_enter_object(json)) {
        return;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "function")) {
            read_tool(json, tool);
        } else if (belay__json_key_is(&key, "name")
                   && belay__json_take(json, &value)
                   && value.type == BELAY__JSON_STRING) {
            tool->name = belay__json_inside(value.raw);
        } else if ((belay__json_key_is(&key, "parameters")
                       || belay__json_key_is(&key, "input_schema"))
                   && belay__json_take(json, &value)
                   && value.type == BELAY__JSON_OBJECT) {
            tool->schema = value.raw;
        }
    }
}

static bool
is_wanted(const struct belay__sim_request *request, const struct tool *tool)
{
    const struct belay_slice name = request->tool_name;

    return tool->name.len > 0
           && (name.len == 0
               || (name.len == tool->name.len
                   && memcmp(name.data, tool->name.data, name.len) == 0));
}

/* The n-th of those that may be called, and how many they are. */
static size_t
nth_tool(const struct belay__sim_request *request, size_t n, struct tool *ret)
{
    struct belay__json json;
    size_t count = 0;

    belay__json_open(&json, request->tools);
    if (!belay__json_enter_array(&json)) {
        return 0;
    }
    while (belay__json_next_element(&json)) {
        struct tool tool = {.schema = {NULL, 0}};

        read_tool(&json, &tool);
        if (is_wanted(request, &tool) && count++ == n) {
            *ret = tool;
        }
    }
    return count;
}

/* ---- arguments ---- */

struct making {
    struct belay__json_writer json;
    struct belay__sim_dice *dice;
    struct belay__sim_words *words;
};

static void make_value(
    struct making *making, struct belay_slice text, int depth);

static void
make_word(struct making *making)
{
    char word[BELAY__SIM_WORD_MAX + 1];
    size_t len;

    making->words->begun = false; /* no blank before it */
    len = belay__sim_next_word(making->words, word);
    belay__json_string(&making->json, (struct belay_slice){word, len});
}

static void
make_object(struct making *making, struct belay_slice properties, int depth)
{
    struct belay__json_value key;
    struct belay__json_value value;
    struct belay__json json;

    belay__json_open_object(&making->json);
    belay__json_open(&json, properties);
    if (properties.len > 0 && belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            if (belay__json_take(&json, &value)) {
                belay__json_raw_key(&making->json, key.raw);
                make_value(making, value.raw, depth + 1);
            }
        }
    }
    belay__json_close_object(&making->json);
}

/* One of an enum's values; false if it has none. */
static bool
make_choice(struct making *making, struct belay_slice values)
{
    struct belay__json_value value;
    struct belay__json json;
    uint64_t count = 0;
    uint64_t wanted;

    belay__json_open(&json, values);
    if (!belay__json_enter_array(&json)) {
        return false;
    }
    while (belay__json_next_element(&json)) {
        count++;
    }
    if (count == 0) {
        return false;
    }
    wanted = belay__sim_roll(making->dice) % count;
    belay__json_open(&json, values);
    (void)belay__json_enter_array(&json);
    for (uint64_t i = 0; belay__json_next_element(&json); i++) {
        if (i == wanted && belay__json_take(&json, &value)) {
            belay__json_raw(&making->json, value.raw);
        }
    }
    return true;
}

struct schema {
    struct belay__json_value type;
    struct belay_slice values;
    struct belay_slice properties;
    struct belay_slice items;
};

static void
read_schema(struct belay_slice text, struct schema *ret)
{
    struct belay__json_value key;
    struct belay__json_value value;
    struct belay__json json;

    belay__json_open(&json, text);
    if (!belay__json_enter_object(&json)) {
        return;
    }
    while (belay__json_next_member(&json, &key)) {
        if (!belay__json_take(&json, &value)) {
            return;
        }
        if (belay__json_key_is(&key, "type")
            && value.type == BELAY__JSON_STRING) {
            ret->type = value;
        } else if (belay__json_key_is(&key, "enum")) {
            ret->values = value.raw;
        } else if (belay__json_key_is(&key, "properties")) {
            ret->properties = value.raw;
        } else if (belay__json_key_is(&key, "items")) {
            ret->items = value.raw;
        }
    }
}

static bool
is_type(const struct schema *schema, const char *name)
{
    return schema->type.type == BELAY__JSON_STRING
           && belay__json_key_equals(&schema->type, name, strlen(name));
}

static void
make_value(struct making *making, struct belay_slice text, int depth)
{
    struct schema schema = {.type = {.type = BELAY__JSON_NONE}};
    const uint64_t number = belay__sim_roll(making->dice) % 100;

    read_schema(text, &schema);
    if (schema.values.len > 0 && make_choice(making, schema.values)) {
        return;
    }
    if (is_type(&schema, "integer") || is_type(&schema, "number")) {
        belay__json_int(&making->json, (int64_t)number);
    } else if (is_type(&schema, "boolean")) {
        belay__json_bool(&making->json, number % 2 == 1);
    } else if (is_type(&schema, "null")) {
        belay__json_null(&making->json);
    } else if (is_type(&schema, "array")) {
        belay__json_open_array(&making->json);
        if (schema.items.len > 0 && depth < DEPTH_MAX) {
            make_value(making, schema.items, depth + 1);
        }
        belay__json_close_array(&making->json);
    } else if (depth == 0 || is_type(&schema, "object")
               || schema.properties.len > 0) {
        make_object(making,
            depth < DEPTH_MAX ? schema.properties
                              : (struct belay_slice){NULL, 0},
            depth);
    } else {
        make_word(making);
    }
}

bool
belay__sim_make_call(const struct belay__sim_request *request,
    struct belay__sim_dice *dice, struct belay__sim_words *words,
    struct belay__buffer *buffer, struct belay__sim_tool_call *ret)
{
    struct making making = {.dice = dice, .words = words};
    struct tool tool = {.schema = {NULL, 0}};
    const size_t count = nth_tool(request, SIZE_MAX, &tool);

    if (count == 0) {
        return false;
    }
    (void)nth_tool(request, (size_t)(belay__sim_roll(dice) % count), &tool);
    belay__buffer_clear(buffer);
    belay__json_begin(&making.json, buffer);
    make_value(&making, tool.schema, 0);
    if (belay__json_end(&making.json) < 0) {
        return false;
    }
    *ret = (struct belay__sim_tool_call){
        .name = tool.name, .arguments = belay__buffer_slice(buffer)};
    return true;
}

/* ---- in pieces ---- */

/* The first place from `at` on where a character begins. */
static size_t
boundary(struct belay_slice text, uint64_t at)
{
    size_t place = at < text.len ? (size_t)at : text.len;

    while (
        place < text.len && ((unsigned char)text.data[place] & 0xc0) == 0x80) {
        place++;
    }
    return place;
}

struct belay_slice
belay__sim_arguments_piece(struct belay_slice arguments, uint64_t n)
{
    const size_t begin = boundary(arguments, n * PIECE_BYTES);
    const size_t end = boundary(arguments, (n + 1) * PIECE_BYTES);

    return (struct belay_slice){arguments.data + begin, end - begin};
}

uint64_t
belay__sim_arguments_pieces(struct belay_slice arguments)
{
    return (arguments.len + PIECE_BYTES - 1) / PIECE_BYTES;
}
