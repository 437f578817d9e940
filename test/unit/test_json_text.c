/* test_json_text.c - what strings and numbers mean, and UTF-8 itself. */
#include "llm/json/text.h"
#include "llm/json/utf8.h"
#include "test/support/alloc.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

TestSuite(json_text, .fini = check_clean, .timeout = 60);

/* Decodes a string that the scanner accepts into exactly the room promised. */
static bool
decodes_to(const char *string, const char *expected, size_t len)
{
    struct belay_slice raw = slice(string);
    char *out = malloc(raw.len - 1); /* one more: malloc(0) may be NULL */
    size_t got;
    bool same;

    cr_assert(zero(int, belay__json_check(raw, NULL, NULL)), "%s", string);
    got = belay__json_decode(raw, out);
    same = got <= raw.len - 2 && got == len && memcmp(out, expected, len) == 0;
    free(out);
    return same;
}

Test(json_text, escapes_become_what_they_stand_for)
{
    cr_expect(decodes_to("\"\"", "", 0));
    cr_expect(decodes_to("\"plain\"", "plain", 5));
    cr_expect(
        decodes_to("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8));
    cr_expect(decodes_to("\"a\\u0041b\\u00e9c\\u20ac\"",
        "aAb\xc3\xa9"
        "c\xe2\x82\xac",
        9));
    cr_expect(decodes_to("\"\\ud83c\\udf0d\"", "\xf0\x9f\x8c\x8d", 4));
    cr_expect(decodes_to("\"\\uD800\\uDC00\"", "\xf0\x90\x80\x80", 4));
    cr_expect(decodes_to("\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf", 4));
    cr_expect(decodes_to("\"\xf0\x9f\x8c\x8d\"", "\xf0\x9f\x8c\x8d", 4));
}

Test(json_text, l92_nul_is_kept)
{
    cr_expect(decodes_to("\"a\\u0000b\"", "a\0b", 3));
    cr_expect(decodes_to("\"\\u0000\"", "\0", 1));
}

Test(json_text, l91_half_characters_become_the_replacement)
{
    cr_expect(decodes_to("\"\\ud83c\"", "\xef\xbf\xbd", 3));
    cr_expect(decodes_to("\"\\udf0d\"", "\xef\xbf\xbd", 3));
    cr_expect(decodes_to("\"\\ud83cx\"", "\xef\xbf\xbdx", 4));
    cr_expect(decodes_to("\"\\ud83c\\n\"", "\xef\xbf\xbd\n", 4));
    cr_expect(decodes_to(
        "\"\\ud83c\\ud83c\\udf0d\"", "\xef\xbf\xbd\xf0\x9f\x8c\x8d", 7));
    cr_expect(decodes_to("\"\\udf0d\\ud83c\"", "\xef\xbf\xbd\xef\xbf\xbd", 6));
}

/* Joins the parts of a stream as a reader of deltas would. */
static bool
joins_to(const char *const *parts, const char *expected)
{
    char text[64];
    size_t len = 0;
    uint32_t high = 0;

    for (; *parts != NULL; parts++) {
        struct belay_slice raw = slice(*parts);
        char *out = malloc(raw.len + 1);
        size_t got = belay__json_decode_part(raw, &high, out);

        memcpy(text + len, out, got);
        len += got;
        free(out);
    }
    if (high != 0) {
        memcpy(text + len, BELAY__UTF8_REPLACEMENT, 3);
        len += 3;
    }
    return len == strlen(expected) && memcmp(text, expected, len) == 0;
}

#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})

Test(json_text, l27_halves_in_two_strings_join)
{
    cr_expect(
        joins_to(PARTS("\"\\ud83c\"", "\"\\udf0d\""), "\xf0\x9f\x8c\x8d"));
    cr_expect(joins_to(PARTS("\"a\\ud83c\"", "\"\"", "\"\\udf0db\""),
        "a\xf0\x9f\x8c\x8d"
        "b"));
    cr_expect(joins_to(PARTS("\"\\ud83c\"", "\"b\""), "\xef\xbf\xbd"
                                                      "b"));
    cr_expect(joins_to(PARTS("\"\\ud83c\"", "\"\\ud83c\"", "\"\\udf0d\""),
        "\xef\xbf\xbd\xf0\x9f\x8c\x8d"));
    cr_expect(joins_to(PARTS("\"a\"", "\"\\ud83c\""), "a\xef\xbf\xbd"));
    cr_expect(joins_to(
        PARTS("\"\\udf0d\"", "\"\\ud83c\""), "\xef\xbf\xbd\xef\xbf\xbd"));
}

Test(json_text, append_decoded_changes_nothing_when_it_fails)
{
    struct belay__memory *memory = belay__memory_new(&test_allocator);
    struct belay__buffer buffer;

    belay__buffer_init(&buffer, memory, 8);
    cr_expect(
        zero(int, belay__json_append_decoded(&buffer, slice("\"ab\\n\""))));
    cr_expect(zero(int, belay__json_append_decoded(&buffer, slice("\"\""))));
    cr_expect(eq(sz, buffer.len, 3));
    cr_expect(zero(memcmp(buffer.data, "ab\n", 3)));
    cr_expect(eq(int, belay__json_append_decoded(&buffer, slice("\"123456\"")),
        BELAY_ETOOLARGE));
    cr_expect(eq(sz, buffer.len, 3));
    belay__buffer_fini(&buffer);
    test_alloc_fail_at(0);
    cr_expect(eq(int, belay__json_append_decoded(&buffer, slice("\"1\"")),
        BELAY_ENOMEM));
    cr_expect(zero(sz, buffer.len));
    belay__memory_unref(memory);
}

static bool
equals(const char *string, const char *text, size_t len)
{
    struct belay__json json;
    struct belay__json_value value;

    belay__json_open(&json, slice(string));
    cr_assert(belay__json_take(&json, &value), "%s", string);
    cr_expect(eq(int, belay__json_key_equals(&value, text, len),
                  belay__json_equals(&value, text, len)),
        "%s", string);
    return belay__json_equals(&value, text, len);
}

Test(json_text, l96_equality_is_of_the_decoded_bytes)
{
    cr_expect(equals("\"usage\"", "usage", 5));
    cr_expect(equals("\"\\u0075sage\"", "usage", 5));
    cr_expect(equals("\"usag\\u0065\"", "usage", 5));
    cr_expect(not(equals("\"usage\"", "usag", 4)));
    cr_expect(not(equals("\"usag\"", "usage", 5)));
    cr_expect(not(equals("\"Usage\"", "usage", 5)));
    cr_expect(not(equals("\"usag\\u0045\"", "usage", 5)));
    cr_expect(equals("\"\"", "", 0));
    cr_expect(equals("\"a\\u0000\"", "a\0", 2));
    cr_expect(not(equals("\"a\\u0000\"", "a", 1)));
    cr_expect(equals("\"\\ud83c\\udf0d\"", "\xf0\x9f\x8c\x8d", 4));
    cr_expect(equals("\"\\ud83c\"", "\xef\xbf\xbd", 3));
    cr_expect(not(equals("\"\\ud83c\"", "", 0)));
}

static const struct {
    const char *text;
    int code;
    int64_t value;
} integers[] = {
    {"0", 0, 0},
    {"-0", 0, 0},
    {"0.000", 0, 0},
    {"0e99999999999999999999", 0, 0},
    {"-0.0e-99999999999999999999", 0, 0},
    {"7", 0, 7},
    {"-7", 0, -7},
    {"9007199254740993", 0, INT64_C(9007199254740993)},
    {"9223372036854775807", 0, INT64_MAX},
    {"-9223372036854775808", 0, INT64_MIN},
    {"9223372036854775808", BELAY_ETOOLARGE, 0},
    {"-9223372036854775809", BELAY_ETOOLARGE, 0},
    {"922337203685477580.7e1", 0, INT64_MAX},
    {"92233720368547758070e-1", 0, INT64_MAX},
    {"99999999999999999999999", BELAY_ETOOLARGE, 0},
    {"1.0", 0, 1},
    {"1.000000000000000000000000000000", 0, 1},
    {"1e3", 0, 1000},
    {"1E+3", 0, 1000},
    {"1.5e1", 0, 15},
    {"1.50e1", 0, 15},
    {"150e-1", 0, 15},
    {"1500e-2", 0, 15},
    {"1000000000000000000000000e-24", 0, 1},
    {"0.00000000000000000000000001e26", 0, 1},
    {"1e18", 0, INT64_C(1000000000000000000)},
    {"1e19", BELAY_ETOOLARGE, 0},
    {"1e400", BELAY_ETOOLARGE, 0},
    {"1e99999999999999999999999999", BELAY_ETOOLARGE, 0},
    {"1.5", BELAY_EINVAL, 0},
    {"15e-1", BELAY_EINVAL, 0},
    {"1.55e1", BELAY_EINVAL, 0},
    {"100e-3", BELAY_EINVAL, 0},
    {"1e-400", BELAY_EINVAL, 0},
    {"1e-99999999999999999999999999", BELAY_EINVAL, 0},
    {"0.1", BELAY_EINVAL, 0},
    {"99999999999999999999999.5", BELAY_EINVAL, 0},
};

Test(json_text, l93_integers_are_exact_however_they_are_written)
{
    for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++) {
        struct belay_slice raw = slice(integers[i].text);
        int64_t value = 4711;

        cr_assert(zero(int, belay__json_check(raw, NULL, NULL)));
        cr_expect(eq(int, belay__json_integer(raw, &value), integers[i].code),
            "%s", integers[i].text);
        cr_expect(
            eq(i64, value, integers[i].code == 0 ? integers[i].value : 4711),
            "%s", integers[i].text);
    }
}

Test(json_text, utf8_every_code_point_there_and_back)
{
    char text[4];

    for (uint32_t point = 0; point <= 0x10ffff; point++) {
        size_t len;

        if (point == 0xd800) {
            point = 0xe000;
        }
        len = belay__utf8_encode(point, text);
        cr_assert(eq(int, belay__utf8_length(text, text + len), (int)len), "%x",
            point);
        for (size_t cut = 1; cut < len; cut++) {
            cr_assert(eq(int, belay__utf8_length(text, text + cut), -(int)cut));
        }
    }
}

Test(json_text, utf8_exactly_the_code_points_are_accepted)
{
    size_t accepted = 0;

    for (uint32_t bytes = 0x80; bytes <= 0xffffff; bytes++) {
        const char text[4] = {(char)(bytes & 0xff), (char)(bytes >> 8 & 0xff),
            (char)(bytes >> 16), (char)0x80};

        accepted += belay__utf8_length(text, text + 3) == 3;
    }
    /* U+0800 to U+FFFF without the surrogates */
    cr_expect(eq(sz, accepted, 0x10000 - 0x800 - 0x800));
}

Test(json_text, utf8_what_is_wrong_is_as_long_as_it_could_have_been)
{
    static const struct {
        const char *text;
        int len;
    } cases[] = {{"\x80", -1}, {"\xc0\x80", -1}, {"\xc3", -1}, {"\xc3(", -1},
        {"\xe2\x82", -2}, {"\xe2\x82(", -2}, {"\xe0\x80\x80", -1},
        {"\xed\xa0\x80", -1}, {"\xf0\x9f\x8c", -3}, {"\xf0\x9f\x8c(", -3},
        {"\xf4\x90\x80\x80", -1}, {"\xf5\x80\x80\x80", -1}, {"\xff", -1}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *end = cases[i].text + strlen(cases[i].text);

        cr_expect(
            eq(int, belay__utf8_length(cases[i].text, end), cases[i].len));
    }
}
