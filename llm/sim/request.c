/* request.c - reads a chat request, as strictly as a real server.
 *
 * One pass over the body, no tree. The words of every content are counted;
 * the last content of a user is what the answer is made from.
 */
#include "llm/sim/internal.h"

#include "llm/json/scan.h"
#include "llm/json/text.h"

/* What the pass has found, beside the request. */
struct reading {
    struct belay__sim_request *request;
    const char *wrong; /* what is not as it should be, or NULL */
    bool messages;
    bool model;
};

static uint64_t
count_words(struct belay_slice text)
{
    uint64_t words = 0;
    bool blank = true;

    for (size_t i = 0; i < text.len; i++) {
        const bool was_blank = blank;

        blank = text.data[i] == ' ';
        words += was_blank && !blank;
    }
    return words;
}

/* A content that is a string; a `\n` in it counts as a part of its word. */
static bool
take_text(struct belay__json *json, struct belay_slice *ret, uint64_t *words)
{
    struct belay__json_value value;

    if (belay__json_type_ahead(json) != BELAY__JSON_STRING
        || !belay__json_take(json, &value)) {
        return false;
    }
    *ret = belay__json_inside(value.raw);
    *words += count_words(*ret);
    return true;
}

/* A content that is a string or an array of parts; of those, the texts. */
static void
read_content(struct belay__json *json, struct belay_slice *ret, uint64_t *words)
{
    struct belay__json_value key;

    if (take_text(json, ret, words) || !belay__json_enter_array(json)) {
        return;
    }
    while (belay__json_next_element(json)) {
        if (!belay__json_enter_object(json)) {
            continue;
        }
        while (belay__json_next_member(json, &key)) {
            if (belay__json_key_is(&key, "text")) {
                (void)take_text(json, ret, words);
            }
        }
    }
}

static void
read_message(struct belay__json *json, struct reading *reading)
{
    struct belay__json_value key;
    struct belay__json_value role = {.type = BELAY__JSON_NONE};
    struct belay_slice content = {NULL, 0};

    if (!belay__json_enter_object(json)) {
        reading->wrong = "messages: not an array of objects";
        return;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "role")) {
            (void)belay__json_take(json, &role);
        } else if (belay__json_key_is(&key, "content")) {
            read_content(json, &content, &reading->request->prompt_tokens);
        }
    }
    if (role.type != BELAY__JSON_STRING) {
        reading->wrong = "messages: a message has no role";
    } else if (belay__json_key_is(&role, "user")) {
        reading->request->prompt = content;
    }
}

static void
read_messages(struct belay__json *json, struct reading *reading)
{
    if (!belay__json_enter_array(json)) {
        reading->wrong = "messages: not an array";
        return;
    }
    while (belay__json_next_element(json)) {
        reading->messages = true;
        read_message(json, reading);
    }
}

static void
read_limit(struct belay__json *json, struct reading *reading)
{
    struct belay__json_value value;
    int64_t limit;

    if (!belay__json_take(json, &value) || value.type == BELAY__JSON_NULL) {
        return;
    }
    if (value.type != BELAY__JSON_NUMBER
        || belay__json_integer(value.raw, &limit) < 0 || limit < 1) {
        reading->wrong = "max_tokens: not a positive whole number";
        return;
    }
    reading->request->max_tokens = (uint64_t)limit;
}

static bool
take_bool(struct belay__json *json, struct reading *reading, const char *wrong)
{
    struct belay__json_value value;

    if (!belay__json_take(json, &value)) {
        return false;
    }
    if (value.type != BELAY__JSON_TRUE && value.type != BELAY__JSON_FALSE
        && value.type != BELAY__JSON_NULL) {
        reading->wrong = wrong;
    }
    return value.type == BELAY__JSON_TRUE;
}

static void
read_stream_options(struct belay__json *json, struct reading *reading)
{
    struct belay__json_value key;

    if (!belay__json_enter_object(json)) {
        return;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "include_usage")) {
            reading->request->include_usage = take_bool(
                json, reading, "stream_options: include_usage is no boolean");
        }
    }
}

static void
read_model(struct belay__json *json, struct reading *reading)
{
    struct belay__json_value value;

    if (!belay__json_take(json, &value)) {
        return;
    }
    if (value.type != BELAY__JSON_STRING) {
        reading->wrong = "model: not a string";
        return;
    }
    reading->model = true;
    reading->request->model = value.raw;
}

static void
read_choices(struct belay__json *json, struct reading *reading)
{
    struct belay__json_value value;
    int64_t n;

    if (belay__json_take(json, &value) && value.type != BELAY__JSON_NULL
        && (value.type != BELAY__JSON_NUMBER
            || belay__json_integer(value.raw, &n) < 0 || n != 1)) {
        reading->wrong = "n: the simulator gives one choice only";
    }
}

static void
read_member(struct belay__json *json, const struct belay__json_value *key,
    struct reading *reading)
{
    if (belay__json_key_is(key, "messages")) {
        read_messages(json, reading);
    } else if (belay__json_key_is(key, "model")) {
        read_model(json, reading);
    } else if (belay__json_key_is(key, "stream")) {
        reading->request->stream =
            take_bool(json, reading, "stream: not a boolean");
    } else if (belay__json_key_is(key, "stream_options")) {
        read_stream_options(json, reading);
    } else if (belay__json_key_is(key, "max_tokens")
               || belay__json_key_is(key, "max_completion_tokens")) {
        read_limit(json, reading);
    } else if (belay__json_key_is(key, "n")) {
        read_choices(json, reading);
    }
}

static const char *
missing(const struct reading *reading)
{
    if (!reading->model) {
        return "model: missing";
    }
    return reading->messages ? NULL : "messages: missing or empty";
}

const char *
belay__sim_read(struct belay_slice body, struct belay__sim_request *ret)
{
    struct reading reading = {.request = ret};
    struct belay__json_value key;
    struct belay__json json;

    *ret = (struct belay__sim_request){
        .max_tokens = UINT64_MAX, .wrong_at = SIZE_MAX};
    belay__json_open(&json, body);
    if (belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            read_member(&json, &key, &reading);
        }
    }
    if (belay__json_finish(&json) < 0) {
        ret->wrong_at = json.error.offset;
        return json.error.reason;
    }
    return reading.wrong != NULL ? reading.wrong : missing(&reading);
}
