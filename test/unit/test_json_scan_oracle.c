/* test_json_scan_oracle.c - the scanner accepts RFC 8259 and nothing else, as a
 * plain grammar and cJSON do: L97.
 */
#include "llm/json/scan.h"
#include "test/support/json_oracle.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

TestSuite(json_scan_oracle, .timeout = 60);

static const char *const valid[] = {
    "null",
    "true",
    "false",
    " \t\r\n null \t\r\n ",
    "0",
    "-0",
    "-0.0e-0",
    "1e+5",
    "1E400",
    "123456789012345678901234567890.5",
    "\"\"",
    "\"a\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0000\\uABCD\\uabcd\"",
    "\"\\ud83c\\udf0d\"",
    "\"\x7f\"",
    "\"gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x8c\x8d\"",
    "\"\xe2\x80\xa8\xef\xbf\xbf\xf4\x8f\xbf\xbf\"",
    "[]",
    "[ ]",
    "{}",
    "{ }",
    "[[],{}]",
    "[1,2,3]",
    "[ 1 , 2 , 3 ]",
    "{\"a\":1}",
    "{\"\":0}",
    "{ \"a\" : 1 , \"b\" : [ true , { \"c\" : null } ] }",
    "{\"a\":1,\"a\":2}",
    "{\n        \"indented\":\n                \"deeply\"\n}",
    "\"a string that is longer than sixteen bytes, with a \\n in it\"",
};

Test(json_scan_oracle, valid_texts_are_accepted)
{
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        const char *verdict = json_oracle_compare(
            (struct belay_slice){valid[i], strlen(valid[i])});

        cr_expect(eq(int,
                      belay__json_check(
                          (struct belay_slice){valid[i], strlen(valid[i])},
                          NULL, NULL),
                      0),
            "%s", valid[i]);
        cr_expect(verdict == NULL, "%s: %s", valid[i], verdict);
    }
}

/* In a block of exactly its length, so that reading further is found. */
static const char *
compare_exactly(const char *text, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    const char *verdict;

    memcpy(copy, text, len);
    verdict = json_oracle_compare((struct belay_slice){copy, len});
    free(copy);
    return verdict;
}

Test(json_scan_oracle, every_prefix_is_judged_as_by_the_grammar)
{
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        for (size_t len = 0; len <= strlen(valid[i]); len++) {
            const char *verdict = compare_exactly(valid[i], len);

            cr_expect(verdict == NULL, "%.*s: %s", (int)len, valid[i], verdict);
        }
    }
}

Test(json_scan_oracle, a_special_byte_is_found_at_every_place)
{
    static const unsigned char specials[] = {0x00, 0x1f, '"', '\\', 0x80, 0xff};

    for (size_t len = 0; len < 50; len++) {
        for (size_t at = 0; at < len; at++) {
            for (size_t i = 0; i < sizeof(specials); i++) {
                char text[64];
                const char *verdict;

                memset(text, 'x', sizeof(text));
                text[0] = '"';
                text[1 + at] = (char)specials[i];
                text[1 + len] = '"';
                verdict = compare_exactly(text, len + 2);
                cr_expect(verdict == NULL, "%zu %zu %02x: %s", len, at,
                    specials[i], verdict);
            }
        }
    }
}

/* Random texts: written by a small grammar, then now and then damaged. */
struct maker {
    uint64_t state;
    size_t len;
    char text[4096];
};

static uint64_t
pick(struct maker *maker, uint64_t below)
{
    maker->state ^= maker->state << 13;
    maker->state ^= maker->state >> 7;
    maker->state ^= maker->state << 17;
    return (maker->state >> 11) % below;
}

static void
add(struct maker *maker, const char *text)
{
    size_t len = strlen(text);

    if (maker->len + len <= sizeof(maker->text)) {
        memcpy(maker->text + maker->len, text, len);
        maker->len += len;
    }
}

static const char *
any(struct maker *maker, const char *const *from, size_t count)
{
    return from[pick(maker, count)];
}

#define ANY(maker, ...)                                       \
    add(maker, any(maker, (const char *const[]){__VA_ARGS__}, \
                   sizeof((const char *const[]){__VA_ARGS__}) \
                       / sizeof(const char *)))

static void
make_blanks(struct maker *maker)
{
    if (pick(maker, 4) == 0) {
        ANY(maker, " ", "\n", "\r\n", "\t", "\n          ", "  ");
    }
}

static void
make_string(struct maker *maker)
{
    add(maker, "\"");
    for (uint64_t n = pick(maker, 6); n > 0; n--) {
        ANY(maker, "a", "plain text of some length, ", "\\n", "\\u0041",
            "\\ud83c\\udf0d", "\\ud83c", "\\udf0d", "\xc3\xa9", "\xe2\x82\xac",
            "\xf0\x9f\x8c\x8d", "\\\\", "\\\"", "/", "\\/", "\x7f", "{", "]",
            "\\u00e9");
    }
    add(maker, "\"");
}

static void
make_number(struct maker *maker)
{
    ANY(maker, "-", "", "");
    ANY(maker, "0", "1", "12", "1000", "123456789", "9007199254740993",
        "9223372036854775807", "9223372036854775808", "99999999999999999999");
    ANY(maker, "", "", ".0", ".5", ".125000", ".00");
    ANY(maker, "", "", "", "e0", "e1", "E+3", "e-1", "e-3", "e400", "e-400");
}

static void
make_value(struct maker *maker, int depth)
{
    uint64_t kind = pick(maker, depth > 5 ? 6 : 10);

    make_blanks(maker);
    if (kind < 3) {
        ANY(maker, "null", "true", "false");
    } else if (kind < 5) {
        make_string(maker);
    } else if (kind < 7) {
        make_number(maker);
    } else {
        bool keyed = kind == 9;

        add(maker, keyed ? "{" : "[");
        for (uint64_t n = pick(maker, 5); n > 0; n--) {
            make_blanks(maker);
            if (keyed) {
                make_string(maker);
                make_blanks(maker);
                add(maker, ":");
            }
            make_value(maker, depth + 1);
            add(maker, n > 1 ? "," : "");
        }
        make_blanks(maker);
        add(maker, keyed ? "}" : "]");
    }
    make_blanks(maker);
}

static void
damage(struct maker *maker)
{
    static const char bytes[] = "\"\\{}[],:0123456789eE+-. \n\xff\x80utfn\x1f";

    for (uint64_t n = 1 + pick(maker, 2); n > 0 && maker->len > 0; n--) {
        size_t at = pick(maker, maker->len);

        if (pick(maker, 3) == 0) {
            maker->len--;
            memmove(maker->text + at, maker->text + at + 1, maker->len - at);
        } else {
            maker->text[at] = bytes[pick(maker, sizeof(bytes))];
        }
    }
}

Test(json_scan_oracle, l97_random_texts_agree_with_the_grammar_and_cjson)
{
    struct maker maker = {.state = 0x9e3779b97f4a7c15};
    size_t good = 0;

    for (int round = 0; round < 40000; round++) {
        const char *verdict;

        maker.len = 0;
        make_value(&maker, 0);
        if (round % 2 == 0) {
            damage(&maker);
        }
        verdict = compare_exactly(maker.text, maker.len);
        cr_assert(
            verdict == NULL, "%.*s: %s", (int)maker.len, maker.text, verdict);
        good += belay__json_check(
                    (struct belay_slice){maker.text, maker.len}, NULL, NULL)
                == 0;
    }
    cr_expect(gt(sz, good, 20000), "the grammar makes valid texts");
    cr_expect(lt(sz, good, 39000), "and the damage shows");
}
