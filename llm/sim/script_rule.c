/* script_rule.c - reads what a rule of a script says. */
#include "llm/json/text.h"
#include "llm/sim/internal.h"
#include "llm/sim/script_parse.h"

#include <stdlib.h>

/* ---- values ---- */

/* Each takes the value before the cursor; false after an error. */

static bool
take(struct belay__script_parsing *parsing, const char *name,
    enum belay__json_type type, const char *what, struct belay__json_value *ret)
{
    if (belay__json_type_ahead(&parsing->json) != type) {
        return belay__script_fail_text(parsing, name, what);
    }
    return belay__json_take(&parsing->json, ret);
}

static bool
take_inside(struct belay__script_parsing *parsing, const char *name,
    struct belay_slice *ret)
{
    struct belay__json_value value = {.raw = {"\"\"", 2}};

    if (!take(parsing, name, BELAY__JSON_STRING, "not a string", &value)) {
        return false;
    }
    *ret = belay__json_inside(value.raw);
    return true;
}

/* Decoded, with a NUL behind it. */
static bool
take_decoded(struct belay__script_parsing *parsing, const char *name,
    struct belay_slice *ret)
{
    struct belay__json_value value = {.type = BELAY__JSON_NONE};
    char *text;

    if (!take(parsing, name, BELAY__JSON_STRING, "not a string", &value)) {
        return false;
    }
    text = belay__script_keep(parsing->script, value.raw.len);
    if (text == NULL) {
        return belay__script_no_memory(parsing);
    }
    *ret = (struct belay_slice){text, belay__json_decode(value.raw, text)};
    return true;
}

static bool
take_whole(struct belay__script_parsing *parsing, const char *name,
    int64_t least, int64_t most, int64_t *ret)
{
    struct belay__json_value value = {.type = BELAY__JSON_NONE};
    int64_t number = 0;

    if (!take(parsing, name, BELAY__JSON_NUMBER, "not a number", &value)) {
        return false;
    }
    if (belay__json_integer(value.raw, &number) < 0 || number < least
        || number > most) {
        return belay__script_fail_text(
            parsing, name, "not a whole number in its range");
    }
    *ret = number;
    return true;
}

static bool
take_number(struct belay__script_parsing *parsing, const char *name,
    double most, double *ret)
{
    struct belay__json_value value = {.raw = {"", 0}};
    char text[64];
    double number = 0;

    if (!take(parsing, name, BELAY__JSON_NUMBER, "not a number", &value)) {
        return false;
    }
    if (value.raw.len >= sizeof(text)) {
        return belay__script_fail_text(parsing, name, "too long a number");
    }
    memcpy(text, value.raw.data, value.raw.len);
    text[value.raw.len] = '\0';
    number = strtod(text, NULL);
    if (!(number >= 0 && number <= most)) {
        return belay__script_fail_text(parsing, name, "out of its range");
    }
    *ret = number;
    return true;
}

/* ---- match ---- */

static bool
read_condition(struct belay__script_parsing *parsing,
    const struct belay__json_value *key, struct belay__sim_rule *rule)
{
    struct belay__json_value value = {.type = BELAY__JSON_NONE};
    int64_t number = 0;

    if (belay__json_key_is(key, "model")) {
        rule->has_model = true;
        return take_inside(parsing, "model", &rule->model);
    }
    if (belay__json_key_is(key, "path")) {
        rule->has_path = true;
        return take_decoded(parsing, "path", &rule->path);
    }
    if (belay__json_key_is(key, "prompt")) {
        rule->has_prompt = true;
        return take_inside(parsing, "prompt", &rule->prompt);
    }
    if (belay__json_key_is(key, "nth")) {
        if (!take_whole(parsing, "nth", 1, INT64_MAX, &number)) {
            return false;
        }
        rule->nth = (uint64_t)number;
        return true;
    }
    if (belay__json_key_is(key, "attempt")) {
        return take_whole(parsing, "attempt", 0, INT64_MAX, &rule->attempt);
    }
    if (belay__json_key_is(key, "stream")) {
        if (!belay__json_take(&parsing->json, &value)) {
            return false;
        }
        if (value.type != BELAY__JSON_TRUE && value.type != BELAY__JSON_FALSE) {
            return belay__script_fail_text(
                parsing, "stream", "neither true nor false");
        }
        rule->stream = value.type == BELAY__JSON_TRUE;
        return true;
    }
    return belay__script_fail(parsing, BELAY_EINVAL, "not a condition of match",
        belay__json_inside(key->raw));
}

static bool
read_match(struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    struct belay__json_value key;

    if (!belay__json_enter_object(&parsing->json)) {
        return belay__script_fail_text(parsing, "match", "not an object");
    }
    while (belay__json_next_member(&parsing->json, &key)) {
        if (!read_condition(parsing, &key, rule)) {
            return false;
        }
    }
    return true;
}

/* ---- what is answered ---- */

/* How many pieces a text has: a piece is a word and the blanks before it. */
static size_t
cut_text(struct belay_slice text, struct belay_slice *ret)
{
    size_t count = 0;
    size_t begin = 0;

    for (size_t i = 1; i <= text.len; i++) {
        if (i == text.len || (text.data[i] == ' ' && text.data[i - 1] != ' ')) {
            if (ret != NULL) {
                ret[count] = (struct belay_slice){text.data + begin, i - begin};
            }
            count++;
            begin = i;
        }
    }
    return count;
}

static bool
read_one_text(
    struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    struct belay_slice text = {"", 0};

    if (!take_inside(parsing, "text", &text)) {
        return false;
    }
    rule->piece_count = cut_text(text, NULL);
    rule->pieces = belay__script_keep(
        parsing->script, (rule->piece_count + 1) * sizeof(*rule->pieces));
    if (rule->pieces == NULL) {
        return belay__script_no_memory(parsing);
    }
    (void)cut_text(text, rule->pieces);
    return true;
}

/* Elements of the array before the cursor; the cursor stays where it is. */
static size_t
count_elements(const struct belay__script_parsing *parsing)
{
    struct belay__json json = parsing->json;
    size_t count = 0;

    if (belay__json_enter_array(&json)) {
        while (belay__json_next_element(&json)) {
            count++;
        }
    }
    return count;
}

/* A text, or its pieces as they are to be streamed. */
static bool
read_text(struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    const size_t count = count_elements(parsing);

    rule->has_text = true;
    if (!belay__json_enter_array(&parsing->json)) {
        return read_one_text(parsing, rule);
    }
    rule->piece_count = 0; /* a member that comes twice counts once */
    rule->pieces = belay__script_keep(
        parsing->script, (count + 1) * sizeof(*rule->pieces));
    if (rule->pieces == NULL) {
        return belay__script_no_memory(parsing);
    }
    while (belay__json_next_element(&parsing->json)) {
        if (!take_inside(parsing, "text", &rule->pieces[rule->piece_count])) {
            return false;
        }
        rule->piece_count++;
    }
    return true;
}

static bool
read_call(
    struct belay__script_parsing *parsing, struct belay__sim_tool_call *call)
{
    struct belay__json_value key;
    struct belay__json_value value = {.type = BELAY__JSON_NONE};

    *call = (struct belay__sim_tool_call){.arguments = {"{}", 2}};
    if (!belay__json_enter_object(&parsing->json)) {
        return belay__script_fail_text(
            parsing, "tool_calls", "not an array of objects");
    }
    while (belay__json_next_member(&parsing->json, &key)) {
        bool good = false;

        if (belay__json_key_is(&key, "name")) {
            good = take_inside(parsing, "name", &call->name);
        } else if (belay__json_key_is(&key, "id")) {
            good = take_inside(parsing, "id", &call->id);
        } else if (belay__json_key_is(&key, "arguments")) {
            good = take(parsing, "arguments", BELAY__JSON_OBJECT,
                "not an object", &value);
            call->arguments = good ? value.raw : call->arguments;
        } else {
            good = belay__script_fail(parsing, BELAY_EINVAL,
                "not a member of a call", belay__json_inside(key.raw));
        }
        if (!good) {
            return false;
        }
    }
    return call->name.len > 0
           || belay__script_fail_text(
               parsing, "tool_calls", "a call without a name");
}

static bool
read_calls(struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    const size_t count = count_elements(parsing);

    rule->has_calls = true;
    rule->call_count = 0;
    rule->calls =
        belay__script_keep(parsing->script, (count + 1) * sizeof(*rule->calls));
    if (rule->calls == NULL) {
        return belay__script_no_memory(parsing);
    }
    if (!belay__json_enter_array(&parsing->json)) {
        return belay__script_fail_text(parsing, "tool_calls", "not an array");
    }
    while (belay__json_next_element(&parsing->json)) {
        if (!read_call(parsing, &rule->calls[rule->call_count])) {
            return false;
        }
        rule->call_count++;
    }
    return true;
}

/* A string's bytes, or any other JSON as it stands. */
static bool
read_body(struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    struct belay__json_value value = {.type = BELAY__JSON_NONE};

    rule->has_body = true;
    if (belay__json_type_ahead(&parsing->json) == BELAY__JSON_STRING) {
        return take_decoded(parsing, "body", &rule->body);
    }
    if (!belay__json_take(&parsing->json, &value)) {
        return false;
    }
    rule->body = value.raw;
    return true;
}

static bool
read_error(struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    struct belay_slice message = {NULL, 0};
    struct belay__json_value key;

    if (!belay__json_enter_object(&parsing->json)) {
        return belay__script_fail_text(parsing, "error", "not an object");
    }
    while (belay__json_next_member(&parsing->json, &key)) {
        bool good;

        if (belay__json_key_is(&key, "type")) {
            good = take_inside(parsing, "type", &rule->error_type);
        } else if (belay__json_key_is(&key, "code")) {
            good = take_inside(parsing, "code", &rule->error_code);
        } else if (belay__json_key_is(&key, "message")) {
            good = take_decoded(parsing, "message", &message);
            rule->error_message = good ? message.data : NULL;
        } else {
            good = belay__script_fail(parsing, BELAY_EINVAL,
                "not a member of an error", belay__json_inside(key.raw));
        }
        if (!good) {
            return false;
        }
    }
    return true;
}

static bool
is_header_text(struct belay_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool
read_headers(
    struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    struct belay__json json = parsing->json;
    struct belay__json_value key;
    size_t count = 0;

    if (!belay__json_enter_object(&json)) {
        return belay__script_fail_text(parsing, "headers", "not an object");
    }
    while (belay__json_next_member(&json, &key)) {
        count++;
    }
    rule->header_count = 0;
    rule->headers = belay__script_keep(
        parsing->script, (count + 1) * sizeof(*rule->headers));
    if (rule->headers == NULL) {
        return belay__script_no_memory(parsing);
    }
    (void)belay__json_enter_object(&parsing->json);
    while (belay__json_next_member(&parsing->json, &key)) {
        struct belay__sim_header *header = &rule->headers[rule->header_count];
        char *name = belay__script_keep(parsing->script, key.raw.len);
        struct belay_slice value = {NULL, 0};

        if (name == NULL) {
            return belay__script_no_memory(parsing);
        }
        (void)belay__json_decode(key.raw, name);
        if (!take_decoded(parsing, "headers", &value)) {
            return false;
        }
        if (!is_header_text(value)
            || !is_header_text((struct belay_slice){name, strlen(name)})) {
            return belay__script_fail_text(
                parsing, "headers", "a control character");
        }
        header->name = name;
        header->value = value.data;
        rule->header_count++;
    }
    return true;
}

static bool
add_faults(struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    belay__sim_faults faults = 0;
    struct belay_slice names = {NULL, 0};

    if (!take_inside(parsing, "fault", &names)) {
        return false;
    }
    if (!belay__sim_faults_parse(names, &faults)) {
        return belay__script_fail(
            parsing, BELAY_EINVAL, "no such fault", names);
    }
    rule->faults |= faults;
    return true;
}

/* A name, or an array of them. */
static bool
read_faults(struct belay__script_parsing *parsing, struct belay__sim_rule *rule)
{
    rule->has_fault = true;
    if (!belay__json_enter_array(&parsing->json)) {
        return add_faults(parsing, rule);
    }
    while (belay__json_next_element(&parsing->json)) {
        if (!add_faults(parsing, rule)) {
            return false;
        }
    }
    return true;
}

/* ---- rules ---- */

static bool
read_count(struct belay__script_parsing *parsing, const char *name,
    int64_t least, int64_t most, int64_t *ret)
{
    return take_whole(parsing, name, least, most, ret);
}

static bool
read_plain_member(struct belay__script_parsing *parsing,
    const struct belay__json_value *key, struct belay__sim_rule *rule)
{
    struct belay__json_value value = {.type = BELAY__JSON_NONE};
    double number = 0;
    int64_t count = 0;

    if (belay__json_key_is(key, "times")) {
        if (!read_count(parsing, "times", 1, INT64_MAX, &count)) {
            return false;
        }
        rule->times = (uint64_t)count;
        return true;
    }
    if (belay__json_key_is(key, "status")) {
        if (!read_count(parsing, "status", 200, 599, &count)) {
            return false;
        }
        rule->status = (int)count;
        return true;
    }
    if (belay__json_key_is(key, "delay_ms")) {
        if (!take_number(parsing, "delay_ms", 86400e3, &number)) {
            return false;
        }
        rule->delay_ns = (int64_t)(number * 1e6);
        return true;
    }
    if (belay__json_key_is(key, "at")) {
        return take_number(parsing, "at", 1, &rule->where);
    }
    if (belay__json_key_is(key, "usage")) {
        if (!take(parsing, "usage", BELAY__JSON_OBJECT, "not an object",
                &value)) {
            return false;
        }
        rule->usage = value.raw;
        return true;
    }
    if (belay__json_key_is(key, "end")) {
        return take_inside(parsing, "end", &rule->end);
    }
    return belay__script_fail(parsing, BELAY_EINVAL, "not a member of a rule",
        belay__json_inside(key->raw));
}

bool
belay__script_read_member(struct belay__script_parsing *parsing,
    const struct belay__json_value *key, struct belay__sim_rule *rule)
{
    if (belay__json_key_is(key, "match")) {
        return read_match(parsing, rule);
    }
    if (belay__json_key_is(key, "text")) {
        return read_text(parsing, rule);
    }
    if (belay__json_key_is(key, "tool_calls")) {
        return read_calls(parsing, rule);
    }
    if (belay__json_key_is(key, "fault")) {
        return read_faults(parsing, rule);
    }
    if (belay__json_key_is(key, "error")) {
        return read_error(parsing, rule);
    }
    if (belay__json_key_is(key, "headers")) {
        return read_headers(parsing, rule);
    }
    if (belay__json_key_is(key, "body")) {
        return read_body(parsing, rule);
    }
    return read_plain_member(parsing, key, rule);
}
