/* json_oracle.c - other opinions on a JSON text.
 *
 * The validator goes byte by byte and recursively: slow, but each rule of
 * the grammar is one line.
 */
#include "test/support/json_oracle.h"

#include "llm/json/scan.h"
#include "llm/json/text.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct naive {
    const unsigned char *at;
    const unsigned char *end;
    int depth;
};

static int
peek(const struct naive *in)
{
    return in->at < in->end ? *in->at : -1;
}

static bool
accept(struct naive *in, int c)
{
    if (peek(in) != c) {
        return false;
    }
    in->at++;
    return true;
}

static bool
within(struct naive *in, int low, int high)
{
    if (peek(in) < low || peek(in) > high) {
        return false;
    }
    in->at++;
    return true;
}

static void
naive_blanks(struct naive *in)
{
    while (accept(in, ' ') || accept(in, '\t') || accept(in, '\n')
           || accept(in, '\r')) {
    }
}

static bool
naive_digits(struct naive *in)
{
    if (!within(in, '0', '9')) {
        return false;
    }
    while (within(in, '0', '9')) {
    }
    return true;
}

static bool
naive_number(struct naive *in)
{
    (void)accept(in, '-');
    if (!accept(in, '0') && !naive_digits(in)) {
        return false;
    }
    if (accept(in, '.') && !naive_digits(in)) {
        return false;
    }
    if (accept(in, 'e') || accept(in, 'E')) {
        if (!accept(in, '+')) {
            (void)accept(in, '-');
        }
        return naive_digits(in);
    }
    return true;
}

static bool
naive_hex(struct naive *in)
{
    return within(in, '0', '9') || within(in, 'a', 'f') || within(in, 'A', 'F');
}

static bool
naive_escape(struct naive *in)
{
    int c = peek(in);

    in->at++;
    if (c == 'u') {
        return naive_hex(in) && naive_hex(in) && naive_hex(in) && naive_hex(in);
    }
    return c > 0 && strchr("\"\\/bfnrt", c) != NULL;
}

static bool
tails(struct naive *in, int count)
{
    while (count-- > 0) {
        if (!within(in, 0x80, 0xbf)) {
            return false;
        }
    }
    return true;
}

/* The table of well-formed sequences in RFC 3629, line by line. */
static bool
naive_character(struct naive *in)
{
    if (within(in, 0x20, 0x7f)) {
        return true;
    }
    if (within(in, 0xc2, 0xdf)) {
        return tails(in, 1);
    }
    if (accept(in, 0xe0)) {
        return within(in, 0xa0, 0xbf) && tails(in, 1);
    }
    if (accept(in, 0xed)) {
        return within(in, 0x80, 0x9f) && tails(in, 1);
    }
    if (within(in, 0xe1, 0xef)) {
        return tails(in, 2);
    }
    if (accept(in, 0xf0)) {
        return within(in, 0x90, 0xbf) && tails(in, 2);
    }
    if (within(in, 0xf1, 0xf3)) {
        return tails(in, 3);
    }
    return accept(in, 0xf4) && within(in, 0x80, 0x8f) && tails(in, 2);
}

static bool
naive_string(struct naive *in)
{
    if (!accept(in, '"')) {
        return false;
    }
    while (!accept(in, '"')) {
        if (in->at == in->end) {
            return false;
        }
        if (!(accept(in, '\\') ? naive_escape(in) : naive_character(in))) {
            return false;
        }
    }
    return true;
}

static bool naive_value(struct naive *in);

static bool
naive_member(struct naive *in, bool keyed)
{
    if (keyed) {
        naive_blanks(in);
        if (!naive_string(in)) {
            return false;
        }
        naive_blanks(in);
        if (!accept(in, ':')) {
            return false;
        }
    }
    return naive_value(in);
}

static bool
naive_container(struct naive *in, int closer)
{
    if (++in->depth > BELAY__JSON_DEPTH_MAX) {
        return false;
    }
    naive_blanks(in);
    if (!accept(in, closer)) {
        do {
            if (!naive_member(in, closer == '}')) {
                return false;
            }
        } while (accept(in, ','));
        if (!accept(in, closer)) {
            return false;
        }
    }
    in->depth--;
    return true;
}

static bool
naive_word(struct naive *in, const char *word)
{
    while (*word != '\0' && accept(in, *word)) {
        word++;
    }
    return *word == '\0';
}

static bool
naive_value(struct naive *in)
{
    bool good;

    naive_blanks(in);
    if (peek(in) == '"') {
        good = naive_string(in);
    } else if (accept(in, '{')) {
        good = naive_container(in, '}');
    } else if (accept(in, '[')) {
        good = naive_container(in, ']');
    } else if (peek(in) == 't') {
        good = naive_word(in, "true");
    } else if (peek(in) == 'f') {
        good = naive_word(in, "false");
    } else if (peek(in) == 'n') {
        good = naive_word(in, "null");
    } else {
        good = naive_number(in);
    }
    naive_blanks(in);
    return good;
}

bool
json_oracle_valid(struct belay_slice text)
{
    const unsigned char *begin = (const unsigned char *)text.data;
    struct naive in = {begin, begin + text.len, 0};

    return naive_value(&in) && in.at == in.end;
}

/* What cJSON made of a string is cut at the first NUL. */
static bool
same_text(struct belay_slice raw, const char *theirs)
{
    char *ours = malloc(raw.len + 1);
    size_t len;
    bool same;

    if (ours == NULL) {
        abort();
    }
    len = belay__json_decode(raw, ours);
    if (len > raw.len - 2) {
        abort();
    }
    ours[len] = '\0';
    same = strcmp(ours, theirs) == 0;
    free(ours);
    return same;
}

static const char *
compare_number(struct belay_slice raw, double theirs)
{
    const double exact = 9007199254740992.0;
    int64_t ours;
    int code = belay__json_integer(raw, &ours);

    if (code == 0 && fabs(theirs) <= exact && (double)ours != theirs) {
        return "an integer differs";
    }
    if (code == BELAY_ETOOLARGE && fabs(theirs) < 9.2e18) {
        return "an integer is not as large as that";
    }
    if (code == BELAY_EINVAL && fabs(theirs) < 1e6 && fabs(theirs) > 1e-3
        && raw.len < 10 && (double)(int64_t)theirs == theirs) {
        return "an integer is not recognised";
    }
    return NULL;
}

static const char *
compare_scalar(const struct belay__json_value *ours, const cJSON *theirs)
{
    switch (ours->type) {
    case BELAY__JSON_NULL:
        return cJSON_IsNull(theirs) ? NULL : "not null";
    case BELAY__JSON_FALSE:
        return cJSON_IsFalse(theirs) ? NULL : "not false";
    case BELAY__JSON_TRUE:
        return cJSON_IsTrue(theirs) ? NULL : "not true";
    case BELAY__JSON_NUMBER:
        return cJSON_IsNumber(theirs)
                   ? compare_number(ours->raw, theirs->valuedouble)
                   : "not a number";
    case BELAY__JSON_STRING:
        return cJSON_IsString(theirs)
                       && same_text(ours->raw, theirs->valuestring)
                   ? NULL
                   : "not the same string";
    case BELAY__JSON_NONE:
    case BELAY__JSON_ARRAY:
    case BELAY__JSON_OBJECT:
    default:
        return "not a scalar";
    }
}

static const char *compare_value(struct belay__json *json, const cJSON *theirs);

static const char *
compare_members(struct belay__json *json, const cJSON *theirs, bool keyed)
{
    const cJSON *child = theirs->child;
    struct belay__json_value key;

    while (keyed ? belay__json_next_member(json, &key)
                 : belay__json_next_element(json)) {
        const char *verdict;

        if (child == NULL) {
            return "more members than in cJSON";
        }
        if (keyed
            && (!same_text(key.raw, child->string)
                || (strlen(child->string) == key.raw.len - 2
                    && !belay__json_equals(
                        &key, child->string, strlen(child->string))))) {
            return "a key differs";
        }
        verdict = compare_value(json, child);
        if (verdict != NULL) {
            return verdict;
        }
        child = child->next;
    }
    return child == NULL ? NULL : "fewer members than in cJSON";
}

static const char *
compare_value(struct belay__json *json, const cJSON *theirs)
{
    struct belay__json_value value;

    if (belay__json_enter_object(json)) {
        return cJSON_IsObject(theirs) ? compare_members(json, theirs, true)
                                      : "not an object";
    }
    if (belay__json_enter_array(json)) {
        return cJSON_IsArray(theirs) ? compare_members(json, theirs, false)
                                     : "not an array";
    }
    return belay__json_take(json, &value) ? compare_scalar(&value, theirs)
                                          : "valid, but not when walked";
}

static bool
long_digits(struct belay_slice text)
{
    size_t run = 0;

    for (size_t i = 0; i < text.len; i++) {
        bool digit = strchr("0123456789+-.eE", text.data[i]) != NULL;

        run = digit ? run + 1 : 0;
        if (run > 62) {
            return true;
        }
    }
    return false;
}

static const char *
compare_with_cjson(struct belay_slice text, size_t lone_surrogates)
{
    cJSON *theirs = cJSON_ParseWithLength(text.data, text.len);
    struct belay__json json;
    const char *verdict;

    if (theirs == NULL) {
        return lone_surrogates > 0 || long_digits(text) ? NULL
                                                        : "cJSON refuses it";
    }
    belay__json_open(&json, text);
    verdict = compare_value(&json, theirs);
    if (verdict == NULL && belay__json_finish(&json) != 0) {
        verdict = "valid, but not when walked";
    }
    cJSON_Delete(theirs);
    return verdict;
}

const char *
json_oracle_compare(struct belay_slice text)
{
    bool valid = json_oracle_valid(text);
    struct belay__json json;
    int code;

    belay__json_open(&json, text);
    code = belay__json_finish(&json);
    if ((code == 0) != valid) {
        return valid ? "valid text is refused" : "invalid text is accepted";
    }
    if (code != 0) {
        return json.error.offset <= text.len ? NULL : "offset is outside";
    }
    return compare_with_cjson(text, json.lone_surrogates);
}
