/* test_json_scan.c - the scanner says where a text goes wrong, and shows the
 * same to who walks and who skips: L91, L93-L96.
 */
#include "llm/json/scan.h"
#include "llm/json/text.h"
#include "test/support/json_oracle.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

TestSuite(json_scan, .timeout = 60);

static const struct {
    const char *text;
    size_t offset;
    const char *reason;
} invalid[] = {
    {"", 0, "the text ends too early"},
    {"  ", 2, "the text ends too early"},
    {"[", 1, "the text ends too early"},
    {"[1", 2, "the text ends too early"},
    {"[1,", 3, "the text ends too early"},
    {"{", 1, "the text ends too early"},
    {"{\"a\"", 4, "the text ends too early"},
    {"{\"a\" ", 5, "the text ends too early"},
    {"{\"a\":", 5, "the text ends too early"},
    {"{\"a\": ", 6, "the text ends too early"},
    {"{\"a\":1", 6, "the text ends too early"},
    {"{\"a\":1,", 7, "the text ends too early"},
    {"\"", 1, "the text ends too early"},
    {"\"abc", 4, "the text ends too early"},
    {"\"abcdefghijklmnopqrstuvwxyz", 27, "the text ends too early"},
    {"\"\\", 2, "the text ends too early"},
    {"-", 1, "the text ends too early"},
    {"1.", 2, "the text ends too early"},
    {"1e", 2, "the text ends too early"},
    {"1e+", 3, "the text ends too early"},
    {"[1 2]", 3, "expected ',' or ']'"},
    {"[1}", 2, "expected ',' or ']'"},
    {"[1:2]", 2, "expected ',' or ']'"},
    {"[\"a\"\"b\"]", 4, "expected ',' or ']'"},
    {"{\"a\":1 \"b\":2}", 7, "expected ',' or '}'"},
    {"{\"a\":1]", 6, "expected ',' or '}'"},
    {"{\"a\" 1}", 5, "expected ':'"},
    {"{\"a\",1}", 4, "expected ':'"},
    {"{\"a\"}", 4, "expected ':'"},
    {"{a:1}", 1, "expected a key in quotes"},
    {"{1:1}", 1, "expected a key in quotes"},
    {"{'a':1}", 1, "expected a key in quotes"},
    {"{\"a\":1,}", 7, "expected a key in quotes"},
    {"{,}", 1, "expected a key in quotes"},
    {"[,1]", 1, "expected a value"},
    {"[1,]", 3, "expected a value"},
    {"[1,,2]", 3, "expected a value"},
    {"{\"a\":}", 5, "expected a value"},
    {"{\"a\"::1}", 5, "expected a value"},
    {"tru", 0, "expected a value"},
    {"nul ", 0, "expected a value"},
    {"True", 0, "expected a value"},
    {"NaN", 0, "expected a value"},
    {"Infinity", 0, "expected a value"},
    {"+1", 0, "expected a value"},
    {".5", 0, "expected a value"},
    {"'a'", 0, "expected a value"},
    {"]", 0, "expected a value"},
    {"/* no */ 1", 0, "expected a value"},
    {"\xef\xbb\xbf{}", 0, "expected a value"},
    {"\f1", 0, "expected a value"},
    {"[1\v]", 2, "expected ',' or ']'"},
    {"01", 0, "a number begins with 0"},
    {"[-012]", 2, "a number begins with 0"},
    {"-a", 1, "expected a digit"},
    {"--1", 1, "expected a digit"},
    {"1.e5", 2, "expected a digit"},
    {"1ex", 2, "expected a digit"},
    {"1e++1", 3, "expected a digit"},
    {"0x10", 1, "something follows the value"},
    {"1.5.5", 3, "something follows the value"},
    {"\"a\nb\"", 2, "control character in a string"},
    {"\"\x1f\"", 1, "control character in a string"},
    {"\"0123456789abcdef\t\"", 17, "control character in a string"},
    {"\"\\x41\"", 1, "no such escape in a string"},
    {"\"\\'\"", 1, "no such escape in a string"},
    {"\"\\U0041\"", 1, "no such escape in a string"},
    {"\"\\u12\"", 1, "expected four hexadecimal digits after \\u"},
    {"\"\\u12g4\"", 1, "expected four hexadecimal digits after \\u"},
    {"\"\\u", 1, "expected four hexadecimal digits after \\u"},
    {"[1]]", 3, "something follows the value"},
    {"{} {}", 3, "something follows the value"},
    {"nullx", 4, "something follows the value"},
};

Test(json_scan, invalid_texts_are_refused_with_place_and_reason)
{
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        struct belay_slice text = slice(invalid[i].text);
        struct belay__json_error error = {0};

        cr_expect(not(json_oracle_valid(text)), "%s", invalid[i].text);
        cr_expect(eq(int, belay__json_check(text, NULL, &error), BELAY_EJSON),
            "%s", invalid[i].text);
        cr_expect(eq(sz, error.offset, invalid[i].offset), "%s: %s",
            invalid[i].text, error.reason);
        cr_assert(error.reason != NULL, "%s", invalid[i].text);
        cr_expect(zero(strcmp(error.reason, invalid[i].reason)), "%s: %s",
            invalid[i].text, error.reason);
    }
}

Test(json_scan, a_nul_byte_is_refused_everywhere)
{
    static const char texts[][8] = {"[1\0,2]", "\"a\0b\"", "\0null", "null\0"};
    static const size_t lens[] = {6, 5, 5, 5};

    for (size_t i = 0; i < 4; i++) {
        struct belay_slice text = {texts[i], lens[i]};

        cr_expect(eq(int, belay__json_check(text, NULL, NULL), BELAY_EJSON),
            "%zu", i);
    }
}

Test(json_scan, no_text_at_all_is_refused)
{
    struct belay__json_error error;

    cr_expect(
        eq(int, belay__json_check((struct belay_slice){NULL, 0}, NULL, &error),
            BELAY_EJSON));
    cr_expect(zero(sz, error.offset));
}

Test(json_scan, l94_trailing_text_is_refused)
{
    cr_expect(eq(
        int, belay__json_check(slice("{}garbage"), NULL, NULL), BELAY_EJSON));
    cr_expect(
        eq(int, belay__json_check(slice("1 2"), NULL, NULL), BELAY_EJSON));
}

Test(json_scan, l94_invalid_utf8_is_refused_with_its_offset)
{
    static const char *const bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf",
        "\xc3", "\xc3\x28", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe2\x82",
        "\xe2\x28\xa1", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf", "\xf0\x9f\x8c", "\xf4\x90\x80\x80", "\xf5\x80",
        "\xf8\x88\x80\x80\x80", "\xfe", "\xff"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t before = 0; before < 20; before++) {
            char text[64];
            struct belay__json_error error = {0};
            int len = snprintf(text, sizeof(text), "\"%.*s%s\"", (int)before,
                "abcdefghijklmnopqrstuvwxyz", bad[i]);

            cr_expect(eq(int,
                belay__json_check(
                    (struct belay_slice){text, (size_t)len}, NULL, &error),
                BELAY_EJSON));
            cr_expect(eq(sz, error.offset, before + 1), "%zu", i);
            cr_expect(zero(strcmp(error.reason, "not UTF-8")), "%zu", i);
        }
    }
}

Test(json_scan, l91_lone_surrogates_are_accepted_and_reported)
{
    static const char *const lone[] = {"[\"\\ud83c\"]", "[\"\\udf0d\"]",
        "[\"\\udf0d\\ud83c\"]", "[\"\\ud83cx\\udf0d\"]", "[\"\\ud83c\\n\"]",
        "[\"\\uD800\\u0041\"]"};
    struct belay__json json;
    struct belay__json_value value;

    for (size_t i = 0; i < sizeof(lone) / sizeof(lone[0]); i++) {
        belay__json_open(&json, slice(lone[i]));
        cr_expect(belay__json_take(&json, &value));
        cr_expect(value.lone_surrogate, "%s", lone[i]);
        cr_expect(zero(int, belay__json_finish(&json)));
        cr_expect(ne(sz, json.lone_surrogates, 0), "%s", lone[i]);
    }
    belay__json_open(&json, slice("[\"\\ud83c\\udf0d\"]"));
    cr_expect(belay__json_take(&json, &value));
    cr_expect(not(value.lone_surrogate));
    cr_expect(zero(sz, json.lone_surrogates));
}

static int
check_nested(size_t depth, char opener, char closer, size_t *ret_offset)
{
    char text[1024];
    size_t len = 0;
    struct belay__json_error error = {0};
    int code;

    for (size_t i = 0; i < depth; i++) {
        if (opener == '{' && i > 0) {
            memcpy(text + len, "\"a\":", 4);
            len += 4;
        }
        text[len++] = opener;
    }
    for (size_t i = 0; i < depth; i++) {
        text[len++] = closer;
    }
    code = belay__json_check((struct belay_slice){text, len}, NULL, &error);
    *ret_offset = error.offset;
    return code;
}

Test(json_scan, l95_nesting_stops_at_128)
{
    size_t offset;

    cr_expect(zero(int, check_nested(128, '[', ']', &offset)));
    cr_expect(zero(int, check_nested(128, '{', '}', &offset)));
    cr_expect(eq(int, check_nested(129, '[', ']', &offset), BELAY_EJSON));
    cr_expect(eq(sz, offset, 128));
    cr_expect(eq(int, check_nested(129, '{', '}', &offset), BELAY_EJSON));
    cr_expect(eq(sz, offset, 128 * 5));
}

Test(json_scan, l95_entering_counts_as_nesting)
{
    char text[300];
    struct belay__json json;
    size_t entered = 0;

    memset(text, '[', 150);
    memset(text + 150, ']', 150);
    belay__json_open(&json, (struct belay_slice){text, 300});
    while (belay__json_enter_array(&json)) {
        entered++;
        cr_expect(belay__json_next_element(&json) || entered == 150);
    }
    cr_expect(eq(sz, entered, 128));
    cr_expect(eq(int, belay__json_finish(&json), BELAY_EJSON));
}

Test(json_scan, l96_keys_are_compared_exactly_and_unescaped)
{
    struct belay__json json;
    struct belay__json_value key;
    int hits = 0;

    belay__json_open(&json,
        slice("{\"Usage\":1,\"usage\":2,\"\\u0075sage\":3,\"usage \":4,"
              "\"u\\u0053age\":5,\"\\u0075\\u0073\\u0061\\u0067\\u0065\":6}"));
    cr_assert(belay__json_enter_object(&json));
    while (belay__json_next_member(&json, &key)) {
        struct belay__json_value value;
        bool wanted = belay__json_key_is(&key, "usage");

        cr_assert(belay__json_take(&json, &value));
        cr_expect(eq(int, wanted, strchr("236", *value.raw.data) != NULL));
        hits += wanted;
    }
    cr_expect(zero(int, belay__json_finish(&json)));
    cr_expect(eq(int, hits, 3));
}

Test(json_scan, l93_slices_are_the_bytes_of_the_text)
{
    static const char text[] =
        "{ \"n\" : 9007199254740993 , \"e\" : 1e400 , \"f\" : 1.0 ,"
        " \"o\" : { \"b\" : [ 1 , 2 ] } , \"s\" : \"\\u0041\" }";
    static const char *const raw[] = {"9007199254740993", "1e400", "1.0",
        "{ \"b\" : [ 1 , 2 ] }", "\"\\u0041\""};
    static const enum belay__json_type types[] = {BELAY__JSON_NUMBER,
        BELAY__JSON_NUMBER, BELAY__JSON_NUMBER, BELAY__JSON_OBJECT,
        BELAY__JSON_STRING};
    struct belay__json json;
    struct belay__json_value key;
    struct belay__json_value value;
    size_t i = 0;

    belay__json_open(&json, slice(text));
    cr_assert(belay__json_enter_object(&json));
    while (belay__json_next_member(&json, &key)) {
        cr_assert(lt(sz, i, 5));
        cr_expect(eq(int, (int)belay__json_type_ahead(&json), (int)types[i]));
        cr_assert(belay__json_take(&json, &value));
        cr_expect(eq(int, (int)value.type, (int)types[i]));
        cr_expect(eq(sz, value.raw.len, strlen(raw[i])));
        cr_expect(zero(memcmp(value.raw.data, raw[i], value.raw.len)));
        cr_expect(eq(int, value.escaped, i == 4));
        i++;
    }
    cr_expect(eq(sz, i, 5));
    cr_expect(zero(int, belay__json_finish(&json)));
}

Test(json_scan, of_a_key_twice_both_are_shown)
{
    struct belay__json json;
    struct belay__json_value key;
    int seen = 0;

    belay__json_open(&json, slice("{\"a\":1,\"a\":2}"));
    cr_assert(belay__json_enter_object(&json));
    while (belay__json_next_member(&json, &key)) {
        seen += belay__json_key_is(&key, "a");
    }
    cr_expect(eq(int, seen, 2));
}

Test(json_scan, what_is_not_taken_is_skipped_and_checked)
{
    struct belay__json json;
    struct belay__json_value key;

    belay__json_open(&json, slice("{\"a\":[1,{\"b\":tru}],\"c\":2}"));
    cr_assert(belay__json_enter_object(&json));
    cr_expect(belay__json_next_member(&json, &key));
    cr_expect(not(belay__json_next_member(&json, &key)));
    cr_expect(not(belay__json_next_member(&json, &key)));
    cr_expect(eq(int, belay__json_finish(&json), BELAY_EJSON));
    cr_expect(eq(sz, json.error.offset, 13));
    cr_expect(eq(int, belay__json_finish(&json), BELAY_EJSON));
}

Test(json_scan, leave_goes_behind_the_container)
{
    struct belay__json json;
    struct belay__json_value value;

    belay__json_open(&json, slice("[[1,[2],{\"a\":3}],[],4]"));
    cr_assert(belay__json_enter_array(&json));
    cr_assert(belay__json_next_element(&json));
    cr_assert(belay__json_enter_array(&json));
    cr_assert(belay__json_next_element(&json));
    belay__json_leave(&json);
    cr_assert(belay__json_next_element(&json));
    cr_assert(belay__json_enter_array(&json));
    belay__json_leave(&json);
    cr_assert(belay__json_next_element(&json));
    cr_assert(belay__json_take(&json, &value));
    cr_expect(eq(int, *value.raw.data, '4'));
    cr_expect(not(belay__json_take(&json, &value)));
    cr_expect(not(belay__json_next_element(&json)));
    cr_expect(zero(int, belay__json_finish(&json)));
}

Test(json_scan, entering_another_type_changes_nothing)
{
    struct belay__json json;
    struct belay__json_value value = {0};

    belay__json_open(&json, slice("\"{}\""));
    cr_expect(not(belay__json_enter_object(&json)));
    cr_expect(not(belay__json_enter_array(&json)));
    cr_expect(belay__json_take(&json, &value));
    cr_expect(eq(sz, value.raw.len, 4));
    cr_expect(zero(int, belay__json_finish(&json)));
}

Test(json_scan, finish_in_the_middle_checks_the_rest)
{
    struct belay__json json;
    struct belay__json_value key;

    belay__json_open(&json, slice("{\"a\":[[{}]],\"b\":2} "));
    cr_assert(belay__json_enter_object(&json));
    cr_assert(belay__json_next_member(&json, &key));
    cr_assert(belay__json_enter_array(&json));
    cr_assert(belay__json_next_element(&json));
    cr_expect(zero(int, belay__json_finish(&json)));

    belay__json_open(&json, slice("{\"a\":[[{}]],\"b\":2]"));
    cr_assert(belay__json_enter_object(&json));
    cr_assert(belay__json_next_member(&json, &key));
    cr_assert(belay__json_enter_array(&json));
    cr_expect(eq(int, belay__json_finish(&json), BELAY_EJSON));
    cr_expect(eq(sz, json.error.offset, 17));
}

Test(json_scan, check_tells_the_type)
{
    enum belay__json_type type = BELAY__JSON_NONE;

    cr_expect(zero(int, belay__json_check(slice(" {} "), &type, NULL)));
    cr_expect(eq(int, (int)type, (int)BELAY__JSON_OBJECT));
    cr_expect(
        eq(int, belay__json_check(slice("nope"), &type, NULL), BELAY_EJSON));
    cr_expect(eq(int, (int)type, (int)BELAY__JSON_OBJECT));
}
