/* request.c - reads a request, as strictly as a real server.
 *
 * One pass over the body, no tree; the format says what its members are, but
 * for those that all have. The words of every content are counted; the last
 * content of a user is what the answer is made from.
 */
#include "llm/json/text.h"
#include "llm/sim/internal.h"

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
take_text(struct belay__json *json, struct belay_slice *ret,
    struct belay__sim_reading *reading)
{
    struct belay__json_value value;

    if (belay__json_type_ahead(json) != BELAY__JSON_STRING
        || !belay__json_take(json, &value)) {
        return false;
    }
    *ret = belay__json_inside(value.raw);
    reading->request->prompt_tokens += count_words(*ret);
    return true;
}

/* One part: its text, or, of a tool's result, its content; the parts of that
 * are texts or images.
 */
static void
read_part(struct belay__json *json, struct belay_slice *ret,
    struct belay__sim_reading *reading, bool inner)
{
    struct belay__json_value key;
    struct belay__json_value type;
    struct belay_slice unused;

    if (!belay__json_enter_object(json)) {
        return;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "text")) {
            (void)take_text(json, ret, reading);
        } else if (belay__json_key_is(&key, "type")
                   && belay__json_take(json, &type)
                   && belay__json_key_is(&type, "tool_result")) {
            reading->request->answered = true;
        } else if (!inner && belay__json_key_is(&key, "content")
                   && !take_text(json, &unused, reading)
                   && belay__json_enter_array(json)) {
            while (belay__json_next_element(json)) {
                read_part(json, &unused, reading, true);
            }
        }
    }
}

void
belay__sim_read_content(struct belay__json *json, struct belay_slice *ret,
    struct belay__sim_reading *reading)
{
    if (take_text(json, ret, reading) || !belay__json_enter_array(json)) {
        return;
    }
    while (belay__json_next_element(json)) {
        read_part(json, ret, reading, false);
    }
}

static void
read_message(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value key;
    struct belay__json_value role = {.type = BELAY__JSON_NONE};
    struct belay__json_value type = {.type = BELAY__JSON_NONE};
    struct belay_slice content = {NULL, 0};

    if (!belay__json_enter_object(json)) {
        reading->wrong = "messages: not an array of objects";
        return;
    }
    reading->request->answered = false;
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "role")) {
            (void)belay__json_take(json, &role);
        } else if (belay__json_key_is(&key, "type")) {
            (void)belay__json_take(json, &type);
        } else if (belay__json_key_is(&key, "content")
                   || belay__json_key_is(&key, "output")) {
            belay__sim_read_content(json, &content, reading);
        }
    }
    if (type.type == BELAY__JSON_STRING
        && belay__json_key_is(&type, "function_call_output")) {
        reading->request->answered = true;
    } else if (role.type == BELAY__JSON_STRING) {
        if (belay__json_key_is(&role, "user")) {
            reading->request->prompt = content;
        } else if (belay__json_key_is(&role, "tool")) {
            reading->request->answered = true;
        }
    } else if (type.type != BELAY__JSON_STRING) {
        reading->wrong = "messages: a message has no role";
    }
}

void
belay__sim_read_messages(
    struct belay__json *json, struct belay__sim_reading *reading)
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

void
belay__sim_read_limit(
    struct belay__json *json, struct belay__sim_reading *reading)
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
    reading->limit = true;
}

bool
belay__sim_read_bool(struct belay__json *json,
    struct belay__sim_reading *reading, const char *wrong)
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
read_model(struct belay__json *json, struct belay__sim_reading *reading)
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
read_tools(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value value;

    if (!belay__json_take(json, &value) || value.type == BELAY__JSON_NULL) {
        return;
    }
    if (value.type != BELAY__JSON_ARRAY) {
        reading->wrong = "tools: not an array";
        return;
    }
    reading->request->tools = value.raw;
}

/* ---- which tool ---- */

static void
take_choice_word(
    const struct belay__json_value *word, struct belay__sim_reading *reading)
{
    struct belay__sim_request *request = reading->request;

    if (word->type != BELAY__JSON_STRING) {
        return;
    }
    if (belay__json_key_is(word, "none")) {
        request->tool_choice = BELAY__SIM_TOOL_NONE;
    } else if (belay__json_key_is(word, "required")
               || belay__json_key_is(word, "any")
               || belay__json_key_is(word, "tool")) {
        request->tool_choice = BELAY__SIM_TOOL_ANY;
    }
}

static void
take_tool_name(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value value;

    if (belay__json_take(json, &value) && value.type == BELAY__JSON_STRING) {
        reading->request->tool_name = belay__json_inside(value.raw);
        reading->request->tool_choice = BELAY__SIM_TOOL_ANY;
    }
}

/* {"name": …} */
static void
take_function(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value key;

    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "name")) {
            take_tool_name(json, reading);
        }
    }
}

/* "auto", "none", "required", or an object that names one. */
static void
read_tool_choice(struct belay__json *json, struct belay__sim_reading *reading)
{
    struct belay__json_value key;
    struct belay__json_value value;

    if (!belay__json_enter_object(json)) {
        if (belay__json_take(json, &value)) {
            take_choice_word(&value, reading);
        }
        return;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "type")
            && belay__json_take(json, &value)) {
            take_choice_word(&value, reading);
        } else if (belay__json_key_is(&key, "name")) {
            take_tool_name(json, reading);
        } else if (belay__json_key_is(&key, "function")
                   && belay__json_enter_object(json)) {
            take_function(json, reading);
        }
    }
}

/* ---- the whole ---- */

/* What the formats of conversations have alike; false: it is another member. */
static bool
read_common(struct belay__json *json, const struct belay__json_value *key,
    struct belay__sim_reading *reading)
{
    if (belay__json_key_is(key, "stream")) {
        reading->request->stream =
            belay__sim_read_bool(json, reading, "stream: not a boolean");
    } else if (belay__json_key_is(key, "tools")) {
        read_tools(json, reading);
    } else if (belay__json_key_is(key, "tool_choice")) {
        read_tool_choice(json, reading);
    } else {
        return false;
    }
    return true;
}

static void
read_member(struct belay__json *json, const struct belay__json_value *key,
    const struct belay__sim_format *format, struct belay__sim_reading *reading)
{
    const bool converses = format->step_fn != NULL;

    if (belay__json_key_is(key, "model")) {
        read_model(json, reading);
    } else if (!converses || !read_common(json, key, reading)) {
        format->member_fn(json, key, reading);
    }
}

const char *
belay__sim_read(const struct belay__sim_format *format, struct belay_slice body,
    struct belay__sim_request *ret)
{
    struct belay__sim_reading reading = {.request = ret};
    struct belay__json_value key;
    struct belay__json json;

    *ret = (struct belay__sim_request){
        .max_tokens = UINT64_MAX, .wrong_at = SIZE_MAX};
    belay__json_open(&json, body);
    if (belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            read_member(&json, &key, format, &reading);
        }
    }
    if (belay__json_finish(&json) < 0) {
        ret->wrong_at = json.error.offset;
        return json.error.reason;
    }
    if (reading.wrong != NULL) {
        return reading.wrong;
    }
    return reading.model ? format->missing_fn(&reading) : "model: missing";
}
