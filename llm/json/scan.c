/* scan.c - reading JSON once, without a tree.
 *
 * One path reads everything: begin_value() passes a scalar or opens a
 * container, step() finds the next value in it. Walking calls them one at a
 * time, skipping in a loop, so both accept the same language. Functions that
 * pass something take the place where it begins and give the place behind
 * it, or NULL after an error; places stay in registers, which is half of the
 * speed. An error closes all containers, which ends every loop.
 */
#include "llm/json/scan.h"

#include "llm/json/plain.h"
#include "llm/json/token.h"

#include <assert.h>
#include <string.h>

/* Kept out of line, so that the common path needs few registers. */
#define SELDOM __attribute__((noinline))

static inline const char *
blanks(const char *at, const char *end)
{
    if (at < end && (unsigned char)*at > ' ') {
        return at;
    }
    return belay__json_pass_blanks(at, end);
}

static inline bool
is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* `at` stands behind the opening quote. */
static inline const char *
string(struct belay__json *json, const char *at)
{
    at = belay__json_plain_end(at, json->end);
    if (at < json->end && *at == '"') {
        return at + 1;
    }
    return belay__json_pass_string(json, at);
}

static const char *
word(struct belay__json *json, const char *at, const char *expected, size_t len)
{
    if ((size_t)(json->end - at) < len || memcmp(at, expected, len) != 0) {
        return belay__json_fail(json, at, "expected a value");
    }
    return at + len;
}

static const char *
open_container(struct belay__json *json, const char *at, char closer)
{
    if (json->depth == BELAY__JSON_DEPTH_MAX) {
        return belay__json_fail(json, at, "nested too deeply");
    }
    json->closers[json->depth++] = closer;
    json->fresh = true;
    return at + 1;
}

/* Passes a scalar, or opens a container. */
static const char *
begin_value(struct belay__json *json, const char *at)
{
    switch (*at) {
    case '"':
        return string(json, at + 1);
    case '{':
        return open_container(json, at, '}');
    case '[':
        return open_container(json, at, ']');
    case 't':
        return word(json, at, "true", 4);
    case 'f':
        return word(json, at, "false", 5);
    case 'n':
        return word(json, at, "null", 4);
    default:
        if (is_digit(*at) || *at == '-') {
            return belay__json_pass_number(json, at);
        }
        return belay__json_fail(json, at, "expected a value");
    }
}

/* What the counters said before something was passed. */
struct mark {
    size_t escapes;
    size_t lone_surrogates;
};

static struct mark
mark(const struct belay__json *json)
{
    return (struct mark){json->escapes, json->lone_surrogates};
}

/* The value from `at` up to stop, which was passed since the mark. */
static struct belay__json_value
value_since(const struct belay__json *json, struct mark mark, const char *at,
    const char *stop, enum belay__json_type type)
{
    return (struct belay__json_value){
        .raw = {at, (size_t)(stop - at)},
        .type = type,
        .escaped = json->escapes != mark.escapes,
        .lone_surrogate = json->lone_surrogates != mark.lone_surrogates,
    };
}

/* A key that is not plain from `special` on. */
SELDOM static const char *
odd_key(struct belay__json *json, const char *at, const char *special,
    struct belay__json_value *ret)
{
    struct mark before = mark(json);
    const char *stop = belay__json_pass_string(json, special);

    if (stop != NULL) {
        *ret = value_since(json, before, at, stop, BELAY__JSON_STRING);
    }
    return stop;
}

SELDOM static const char *
late_colon(struct belay__json *json, const char *at)
{
    at = blanks(at, json->end);
    if (at == json->end) {
        return belay__json_fail_end(json);
    }
    return *at == ':' ? at + 1 : belay__json_fail(json, at, "expected ':'");
}

/* Passes a key and its colon; *ret may be written on an error. */
static inline const char *
key(struct belay__json *json, const char *at, struct belay__json_value *ret)
{
    const char *end = json->end;
    const char *stop;

    if (*at != '"') {
        return belay__json_fail(json, at, "expected a key in quotes");
    }
    stop = belay__json_plain_end(at + 1, end);
    if (stop < end && *stop == '"') {
        stop++;
        ret->raw = (struct belay_slice){at, (size_t)(stop - at)};
        ret->type = BELAY__JSON_STRING;
        ret->escaped = false;
        ret->lone_surrogate = false;
    } else {
        stop = odd_key(json, at, stop, ret);
    }
    if (stop != NULL && stop < end && *stop == ':') {
        stop++;
    } else if (stop != NULL) {
        stop = late_colon(json, stop);
    }
    return stop;
}

static const char *
close_container(struct belay__json *json, const char *at)
{
    json->fresh = false;
    json->depth--;
    json->at = at + 1;
    return NULL;
}

/* From behind a value, or from the start of a container, to the next value
 * in it. NULL when the container has ended, json->at is then behind it; and
 * after an error.
 */
static const char *
step(struct belay__json *json, const char *at, struct belay__json_value *ret)
{
    const char *end = json->end;
    const char closer = json->closers[json->depth - 1];

    at = blanks(at, end);
    if (at < end && *at == closer) {
        return close_container(json, at);
    }
    if (at < end && !json->fresh) {
        if (*at != ',') {
            return belay__json_fail(json, at,
                closer == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        }
        at = blanks(at + 1, end);
    }
    json->fresh = false;
    if (at < end && closer == '}') {
        at = key(json, at, ret);
        if (at == NULL) {
            return NULL;
        }
        at += at < end && *at == ' '; /* so common that it pays */
        at = blanks(at, end);
    }
    return at < end ? at : belay__json_fail_end(json);
}

/* Passes the rest of the containers above `depth`; NULL after an error. */
static const char *
pass_rest(struct belay__json *json, const char *at, size_t depth)
{
    struct belay__json_value unused;

    while (json->depth > depth) {
        at = step(json, at, &unused);
        at = at != NULL ? begin_value(json, at) : json->at;
    }
    return json->error.reason == NULL ? at : NULL;
}

/* Passes the value at json->at. */
static bool
skip_value(struct belay__json *json)
{
    size_t depth = json->depth;
    const char *at = begin_value(json, json->at);

    json->ahead = false;
    if (json->depth > depth) {
        at = pass_rest(json, at, depth);
    }
    if (at == NULL) {
        return false;
    }
    json->at = at;
    return true;
}

void
belay__json_open(struct belay__json *json, struct belay_slice text)
{
    json->begin = text.data != NULL ? text.data : "";
    json->end = json->begin + text.len;
    json->at = blanks(json->begin, json->end);
    json->error = (struct belay__json_error){0};
    json->lone_surrogates = 0;
    json->escapes = 0;
    json->fresh = false;
    json->depth = 0;
    json->ahead = true;
    if (json->at == json->end) {
        (void)belay__json_fail_end(json);
    }
}

enum belay__json_type
belay__json_type_ahead(const struct belay__json *json)
{
    if (!json->ahead) {
        return BELAY__JSON_NONE;
    }
    switch (*json->at) {
    case '"':
        return BELAY__JSON_STRING;
    case '{':
        return BELAY__JSON_OBJECT;
    case '[':
        return BELAY__JSON_ARRAY;
    case 't':
        return BELAY__JSON_TRUE;
    case 'f':
        return BELAY__JSON_FALSE;
    case 'n':
        return BELAY__JSON_NULL;
    default:
        return *json->at == '-' || is_digit(*json->at) ? BELAY__JSON_NUMBER
                                                       : BELAY__JSON_NONE;
    }
}

static bool
enter(struct belay__json *json, char opener, char closer)
{
    const char *at = json->at;

    if (!json->ahead || *at != opener) {
        return false;
    }
    json->ahead = false;
    at = open_container(json, at, closer);
    if (at == NULL) {
        return false;
    }
    json->at = at;
    return true;
}

bool
belay__json_enter_object(struct belay__json *json)
{
    return enter(json, '{', '}');
}

bool
belay__json_enter_array(struct belay__json *json)
{
    return enter(json, '[', ']');
}

static bool
next(struct belay__json *json, struct belay__json_value *ret)
{
    const char *at;

    if ((json->ahead && !skip_value(json)) || json->depth == 0) {
        return false;
    }
    at = step(json, json->at, ret);
    if (at == NULL) {
        return false;
    }
    json->at = at;
    json->ahead = true;
    return true;
}

bool
belay__json_next_member(
    struct belay__json *json, struct belay__json_value *ret_key)
{
    assert(json->depth == 0 || json->closers[json->depth - 1] == '}');
    return next(json, ret_key);
}

bool
belay__json_next_element(struct belay__json *json)
{
    struct belay__json_value unused;

    assert(json->depth == 0 || json->closers[json->depth - 1] == ']');
    return next(json, &unused);
}

bool
belay__json_take(struct belay__json *json, struct belay__json_value *ret)
{
    const char *start = json->at;
    struct mark before = mark(json);
    enum belay__json_type type = belay__json_type_ahead(json);

    if (!json->ahead || !skip_value(json)) {
        return false;
    }
    *ret = value_since(json, before, start, json->at, type);
    return true;
}

void
belay__json_leave(struct belay__json *json)
{
    struct belay__json_value unused;

    while (next(json, &unused)) {
    }
}

int
belay__json_finish(struct belay__json *json)
{
    if (json->ahead) {
        (void)skip_value(json);
    }
    while (json->depth > 0) {
        belay__json_leave(json);
    }
    json->at = blanks(json->at, json->end);
    if (json->at < json->end) {
        (void)belay__json_fail(json, json->at, "something follows the value");
    }
    return json->error.reason != NULL ? BELAY_EJSON : 0;
}

int
belay__json_check(struct belay_slice text, enum belay__json_type *ret_type,
    struct belay__json_error *ret_error)
{
    struct belay__json json;
    enum belay__json_type type;

    belay__json_open(&json, text);
    type = belay__json_type_ahead(&json);
    if (belay__json_finish(&json) != 0) {
        if (ret_error != NULL) {
            *ret_error = json.error;
        }
        return BELAY_EJSON;
    }
    if (ret_type != NULL) {
        *ret_type = type;
    }
    return 0;
}
