/* token.c - strings, numbers and blanks of a JSON text, the slow halves.
 *
 * What is met at nearly every token (a plain string, no blank at all) is
 * decided in scan.c; here is what remains. Kept in a file of its own, so
 * that the compiler cannot fold it into the fast paths.
 */
#include "llm/json/token.h"

#include "llm/json/plain.h"
#include "llm/json/text.h"
#include "llm/json/utf8.h"

const char *
belay__json_fail(struct belay__json *json, const char *at, const char *reason)
{
    if (json->error.reason == NULL) {
        json->error.reason = reason;
        json->error.offset = (size_t)(at - json->begin);
    }
    json->at = json->end;
    json->ahead = false;
    json->depth = 0;
    return NULL;
}

const char *
belay__json_fail_end(struct belay__json *json)
{
    return belay__json_fail(json, json->end, "the text ends too early");
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Passes spaces, eight at a time where there are many. */
static inline const char *
pass_spaces(const char *at, const char *end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t others = belay__json_load(at) ^ UINT64_C(0x2020202020202020);

        if (others != 0) {
            return at + ((unsigned)__builtin_ctzll(others) >> 3);
        }
    }
    while (at < end && *at == ' ') {
        at++;
    }
    return at;
}

const char *
belay__json_pass_blanks(const char *at, const char *end)
{
    while (at < end && is_blank(*at)) {
        at = pass_spaces(at + 1, end);
    }
    return at;
}

static bool
is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* At least one digit must stand at `at`. */
static inline const char *
digits(struct belay__json *json, const char *at)
{
    const char *start = at;

    while (at < json->end && is_digit(*at)) {
        at++;
    }
    if (at > start) {
        return at;
    }
    return at == json->end ? belay__json_fail_end(json)
                           : belay__json_fail(json, at, "expected a digit");
}

/* The parts of a number behind its integer. */
static const char *
fraction(struct belay__json *json, const char *at)
{
    if (*at == '.') {
        at = digits(json, at + 1);
    }
    if (at != NULL && at < json->end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < json->end && (*at == '+' || *at == '-');
        at = digits(json, at);
    }
    return at;
}

const char *
belay__json_pass_number(struct belay__json *json, const char *at)
{
    const char *start;

    at += *at == '-';
    start = at;
    at = digits(json, at);
    if (at == NULL) {
        return NULL;
    }
    if (*start == '0' && at - start > 1) {
        return belay__json_fail(json, start, "a number begins with 0");
    }
    return at < json->end ? fraction(json, at) : at;
}

/* The unit of the \uXXXX at `at`, or -1. */
static int32_t
unicode_unit(const char *at, const char *end)
{
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') {
        return -1;
    }
    return belay__json_hex4(at + 2);
}

/* \uXXXX, or two of them if they form one character. */
static const char *
unicode_escape(struct belay__json *json, const char *at)
{
    int32_t unit = unicode_unit(at, json->end);

    if (unit < 0) {
        return belay__json_fail(
            json, at, "expected four hexadecimal digits after \\u");
    }
    at += 6;
    if (belay__json_is_high(unit)
        && belay__json_is_low(unicode_unit(at, json->end))) {
        return at + 6;
    }
    if (belay__json_is_high(unit) || belay__json_is_low(unit)) {
        json->lone_surrogates++;
    }
    return at;
}

static const char *
escape(struct belay__json *json, const char *at)
{
    json->escapes++;
    if (json->end - at < 2) {
        return belay__json_fail_end(json);
    }
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return at + 2;
    case 'u':
        return unicode_escape(json, at);
    default:
        return belay__json_fail(json, at, "no such escape in a string");
    }
}

/* A run of characters beyond ASCII. */
static const char *
beyond_ascii(struct belay__json *json, const char *at)
{
    while (at < json->end && (unsigned char)*at >= 0x80) {
        int len = belay__utf8_length(at, json->end);

        if (len < 0) {
            return belay__json_fail(json, at, "not UTF-8");
        }
        at += len;
    }
    return at;
}

/* What stands in a string and is neither plain nor its end. */
static const char *
special(struct belay__json *json, const char *at)
{
    if (at == json->end) {
        return belay__json_fail_end(json);
    }
    if (*at == '\\') {
        return escape(json, at);
    }
    if ((unsigned char)*at >= 0x80) {
        return beyond_ascii(json, at);
    }
    return belay__json_fail(json, at, "control character in a string");
}

const char *
belay__json_pass_string(struct belay__json *json, const char *at)
{
    do {
        at = special(json, at);
        if (at == NULL) {
            return NULL;
        }
        at = belay__json_plain_end(at, json->end);
    } while (at == json->end || *at != '"');
    return at + 1;
}
