/* test_secret.c - S2: secrets are found however a server writes them. */
#include "llm/http/transfer.h"
#include "llm/json/scan.h"
#include "llm/printable.h"
#include "llm/secret.h"
#include "runtime/memory.h"
#include "test/support/alloc.h"
#include "test/support/secrets.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(secret, .fini = check_clean, .timeout = 20);

/* ---- the list ---- */

Test(secret, s2_what_is_short_is_no_secret)
{
    struct belay__secrets secrets = {
        .memory = belay__memory_new(&test_allocator)};

    cr_expect(zero(int, belay__secrets_add(&secrets, slice("ollama"))));
    cr_expect(zero(int, belay__secrets_add(&secrets, slice(""))));
    cr_expect(zero(sz, secrets.count));
    cr_expect(zero(int, belay__secrets_add(&secrets, slice("sk-abcde"))));
    cr_expect(zero(int, belay__secrets_add(&secrets, slice("sk-abcdefgh"))));
    cr_assert(eq(sz, secrets.count, 2));
    cr_expect(eq(sz, secrets.items[0].text.len, 8));
    cr_expect(eq(sz, secrets.items[1].text.len, 11));
    belay__secrets_fini(&secrets);
    belay__secrets_fini(&secrets);
    belay__memory_unref(secrets.memory);
}

Test(secret, failed_add_changes_nothing)
{
    struct belay__secrets secrets = {
        .memory = belay__memory_new(&test_allocator)};

    cr_expect(zero(int, belay__secrets_add(&secrets, slice("sk-abcde"))));
    for (size_t k = 0; k < 2; k++) {
        test_alloc_fail_at(k);
        cr_expect(eq(int, belay__secrets_add(&secrets, slice("sk-abcdefgh")),
            BELAY_ENOMEM));
        test_alloc_never_fail();
        cr_expect(eq(sz, secrets.count, 1));
        cr_expect(eq(sz, secrets.items[0].text.len, 8));
    }
    belay__secrets_fini(&secrets);
    belay__memory_unref(secrets.memory);
}

/* ---- finding ---- */

static void
expect_hidden(const char *secret, const char *text, const char *wanted)
{
    const struct belay__secrets *secrets = secret_of(slice(secret));
    char copy[256] = "";
    char shown[256];

    cr_expect(eq(int, belay__secrets_hide(secrets, slice(text), copy),
        strcmp(text, wanted) != 0));
    cr_expect(zero(int, strcmp(copy, wanted)), "%s: %s", text, copy);
    (void)belay__printable(slice(text), secrets, shown, sizeof(shown));
    cr_expect(
        eq(int, strstr(shown, "[key]") != NULL, strcmp(text, wanted) != 0),
        "%s: %s", text, shown);
}

Test(secret, s2_as_it_is_and_as_json_writes_it)
{
    expect_hidden("sk/a+b", "key sk/a+b.", "key ******.");
    expect_hidden("sk/a+b", "key sk\\/a\\u002bb.", "key ************.");
    expect_hidden("sk/a+b", "key sk\\u002Fa\\u002Bb.", "key ****************.");
    expect_hidden("sk/a+b", "\\u0073\\u006b/a+b", "****************");
    expect_hidden("sk/a+b", "sk/a+\\u0062", "***********");
    expect_hidden("sk/a+b", "sk\\/a+bsk\\/a+b", "**************");
    expect_hidden("sk/a+b", "s\\k", "s\\k");
    expect_hidden("sk/a+b", "sk\\/a+", "sk\\/a+");
    expect_hidden("sk/a+b", "sk\\/a\\u002", "sk\\/a\\u002");
    expect_hidden("sk/a+b", "sk\\", "sk\\");
    expect_hidden("sk/a+b", "a\\/b sk", "a\\/b sk");
}

Test(secret, s2_as_json_in_json_writes_it)
{
    expect_hidden("sk/a+b", "{\\\"e\\\":\\\"sk\\\\/a\\\\u002bb\\\"}",
        "{\\\"e\\\":\\\"**************\\\"}");
    expect_hidden("sk/a+b", "sk\\\\\\/a+b", "*********");
}

Test(secret, s2_with_characters_that_have_to_be_escaped)
{
    expect_hidden("a\"b\\c/d", "x a\\\"b\\\\c/d y", "x ********* y");
    expect_hidden("a\"b\\c/d", "x a\"b\\c/d y", "x ******* y");
    expect_hidden("a\"b\\c/d", "a\\u0022b\\u005cc\\/d", "******************");
    expect_hidden("p\xc3\xa9ssword", "p\\u00e9ssword", "*************");
    expect_hidden("p\xc3\xa9ssword", "p\\u00E9sswo", "p\\u00E9sswo");
    expect_hidden("key\xf0\x9f\x8c\x8d"
                  "end",
        "key\\ud83c\\udf0dend", "******************");
    expect_hidden("keykey", "key\\ud83ckey", "key\\ud83ckey");
}

Test(secret, s2_line_ends_are_no_letters)
{
    expect_hidden("nested", "\\nnested", "\\n******");
    expect_hidden("nested", "ste\\\\nested", "ste\\\\******");
    /* With the backslash: what is left must be JSON. */
    expect_hidden("nested", "ste\\nested", "ste*******");
    expect_hidden("/abcdef1", "\"\\/abcdef1\"", "\"*********\"");
    expect_hidden("tea/bun", "\\tea\\/bun", "*********");
}

Test(secret, s2_controls_are_found_as_json_writes_them)
{
    expect_hidden("one\ntwo", "no one\\ntwo.", "no ********.");
    expect_hidden("one\ntwo", "no one\ntwo.", "no *******.");
    expect_hidden("one\ntwo", "no one\\u000atwo.", "no ************.");
    expect_hidden("one\ntwo", "no one\\\\ntwo.", "no *********.");
    expect_hidden("one\ntwo", "no one\\u005cntwo.", "no *************.");
    expect_hidden("one\ntwo", "no one\\\\\\u006etwo.", "no **************.");
    expect_hidden("one\ntwo", "one\\ttwo", "one\\ttwo");
    expect_hidden("one\ntwo", "onentwo", "onentwo");
    expect_hidden("\t\r\n\f\b\v", "\\t\\r\\n\\f\\b\\u000b", "****************");
    expect_hidden("key\n", "no key\\n", "no *****");
}

/* Else what is left of it would be none, or that of a letter behind it. */
Test(secret, s2_escapes_are_hidden_as_a_whole)
{
    expect_hidden("3c0ffee0", "\"\\u003c0ffee0\"", "\"************\"");
    expect_hidden("c0ffee00", "\"\\u003c0ffee00\"", "\"*************\"");
    expect_hidden("003c0ffe", "\"\\u003c0ffe\"", "\"**********\"");
    expect_hidden("u003c0ff", "\"\\u003c0ff\"", "\"*********\"");
    expect_hidden("3c0ffee0", "\"\\\\u003c0ffee0\"", "\"\\\\u00********\"");
    expect_hidden("0ffee001", "\"\\u003c0ffee001\"", "\"\\u003c********\"");
    expect_hidden("3c0ffee0", "u003c0ffee0", "u00********");
    expect_hidden("3c0ffee0", "3c0ffee0", "********");
    expect_hidden("\\word\\", "\"\\word\\\\\"", "\"*******\"");
    expect_hidden("pass\\", "\"pass\\n\"", "\"******\"");
    expect_hidden("pass\\", "\"pass\\\"\"", "\"******\"");
    expect_hidden("pass\\", "\"pass\\u00e91\"", "\"**********1\"");
    expect_hidden("pass\\", "pass\\u0", "******0");
    expect_hidden("pass\\", "pass\\", "*****");
    expect_hidden("pass\\", "pass\\\xc3\xa9", "*****\xc3\xa9");
}

/* ---- where a text ends ---- */

/* The last bytes, which are the beginning of the secret, are these. */
static void
expect_begun(const char *secret, const char *text, const char *wanted)
{
    const size_t len =
        belay__secrets_begun(secret_of(slice(secret)), slice(text));

    cr_expect(zero(int, strcmp(text + strlen(text) - len, wanted)), "%s: %zu",
        text, len);
}

Test(secret, s2_a_text_may_be_cut_within_one)
{
    expect_begun("sk/abc+def", "key sk/abc+de", "sk/abc+de");
    expect_begun("sk/abc+def", "key sk/abc+d", "sk/abc+d");
    expect_begun("sk/abc+def", "key sk/abc+", ""); /* as short as no secret */
    expect_begun("sk/abc+def", "key sk/abc+de.", "");
    expect_begun("sk/abc+def", "key sk/abc+def", ""); /* it is found as such */
    expect_begun("sk/abc+def", "sk\\/abc\\u002bde", "sk\\/abc\\u002bde");
    expect_begun(
        "sk/abc+def", "sk\\/abc\\u002bd\\u00", "sk\\/abc\\u002bd\\u00");
    expect_begun("sk/abc+def", "\\u0073k/abc+de\\", "\\u0073k/abc+de\\");
    expect_begun(
        "sk/abc+def", "sk\\\\/abc\\\\u002bde", "sk\\\\/abc\\\\u002bde");
    expect_begun("abcdabcdabcd", "abcdabcdabcdabcda", "abcdabcda");
    expect_begun("key\xf0\x9f\x8c\x8d"
                 "end",
        "key\\ud83c\\udf0de", "key\\ud83c\\udf0de");
    expect_begun("sk/abc+def", "", "");
}

/* … by whoever quotes it; what is hidden becomes '*'. */
static void
expect_mark(const char *secret, const char *text, const char *wanted)
{
    char shown[64];
    const size_t len = strlen(text);

    cr_assert(lt(sz, len, sizeof(shown)));
    memcpy(shown, text, len + 1);
    (void)belay__secrets_mark_begun(
        secret_of(slice(secret)), slice(text), '*', shown, len);
    cr_expect(zero(int, strcmp(shown, wanted)), "%s: %s", text, shown);
}

Test(secret, s2_a_text_may_quote_what_was_cut_within_one)
{
    expect_mark(
        "sk/abc+def", "no \"sk/abc+de\", he said", "no \"*********\", he said");
    expect_mark("sk/abc+def", "{\"e\":\"no \\\"sk/abc+de\\\" (cut)\"}",
        "{\"e\":\"no \\\"*********\\\" (cut)\"}");
    expect_mark("sk/abc+def", "{\"e\":\"sk/abc+de", "{\"e\":\"*********");
    expect_mark("sk/abc+def", "\"sk/abc+\"", "\"sk/abc+\"");
    /* Some have such a mark in them, or end in a backslash. */
    expect_mark("pa\"ssword12", "{\"e\":\"bad pa\\\"sswor\"}",
        "{\"e\":\"bad *********\"}");
    expect_mark("pa\"ssword12", "bad pa\"sswor", "bad ********");
    expect_mark("abcdefg\\hi", "\"abcdefg\\\\\"", "\"*********\"");
}

/* However much of a text is looked at: there is no more to be seen of it. */
Test(secret, s2_nothing_of_one_is_shown_at_whatever_place)
{
    static const char *const written[] = {"sk/abc+def", "sk\\/abc\\u002bdef",
        "\\u0073\\u006b\\/abc\\u002b\\u0064ef", "sk/abc+defsk/abc+def"};
    const struct belay__secrets *secrets = secret_of(slice("sk/abc+def"));
    char text[8192];
    char shown[512];

    for (size_t i = 0; i < COUNT(written); i++) {
        for (size_t at = 4000; at < 4200; at++) {
            const size_t len = strlen(written[i]);
            size_t end;

            memset(text, '\t', sizeof(text));
            memcpy(text + at, written[i], len);
            memcpy(text + at + len, " end", 4);
            end = belay__printable((struct belay_slice){text, sizeof(text)},
                secrets, shown, sizeof(shown));
            cr_assert(eq(sz, end, strlen(shown)));
            cr_assert(
                shown[strcspn(shown, "s/+\\f")] == '\0', "%zu: %s", at, shown);
        }
    }
}

/* ---- of an address ---- */

static void
expect_url_hidden(const char *address, const char *text, const char *wanted)
{
    struct belay__secrets secrets = {
        .memory = belay__memory_new(&test_allocator)};
    CURLU *url = curl_url();
    char out[128] = "";

    cr_assert(zero(int, curl_url_set(url, CURLUPART_URL, address, 0)));
    cr_assert(zero(int, belay__http_url_secrets(url, &secrets)));
    (void)belay__secrets_hide(&secrets, slice(text), out);
    cr_expect(zero(int, strcmp(out, wanted)), "%s: %s", address, out);
    curl_url_cleanup(url);
    belay__secrets_fini(&secrets);
    belay__memory_unref(secrets.memory);
}

Test(secret, s2_an_address_may_hold_controls)
{
    expect_url_hidden("https://h/v1?sig=b25lLW9uZQ%3D%3D%0A",
        "no b25lLW9uZQ==\\n", "no **************");
    expect_url_hidden("https://h/v1?sig=b25lLW9uZQ%3D%3D%0D%0A",
        "no b25lLW9uZQ==.", "no ************.");
    expect_url_hidden("https://h/v1?token=tab%09key%0a", "no tab\\tkey.",
        "no tab\\tkey."); /* seven letters are no secret */
    expect_url_hidden(
        "https://h/v1?token=tab%09keys%0a", "no tab\\tkeys.", "no *********.");
    expect_url_hidden(
        "https://user:pass%0Aword@h/v1", "no pass\\nword.", "no **********.");
}

Test(secret, s2_a_plus_in_an_address_may_be_a_blank)
{
    expect_url_hidden(
        "https://h/v1?key=one+two+3", "no one two 3.", "no *********.");
    expect_url_hidden(
        "https://h/v1?key=one+two+3", "no one+two+3.", "no *********.");
    expect_url_hidden(
        "https://h/v1?key=one+two%2B3", "no one two+3.", "no *********.");
    expect_url_hidden(
        "https://h/v1?region=one+two+3", "in one two 3.", "in one two 3.");
}

/* ---- several, and long ones ---- */

static void
expect_both_hidden(const char *first, const char *second, const char *text,
    const char *wanted, const char *wanted_shown)
{
    const struct belay__secrets *secrets =
        secrets_of(slice(first), slice(second));
    char copy[256] = "";
    char shown[256];

    cr_expect(belay__secrets_hide(secrets, slice(text), copy));
    cr_expect(zero(int, strcmp(copy, wanted)), "%s: %s", text, copy);
    (void)belay__printable(slice(text), secrets, shown, sizeof(shown));
    cr_expect(zero(int, strcmp(shown, wanted_shown)), "%s: %s", text, shown);
}

Test(secret, s2_of_those_that_overlap_nothing_is_left)
{
    expect_both_hidden("abcd", "cdef", "-abcdef-", "-******-", "-[key]-");
    expect_both_hidden("cdef", "abcd", "-abcdef-", "-******-", "-[key]-");
    expect_both_hidden("bc", "abcd", "-abcd bc-", "-**** **-", "-[key] [key]-");
    expect_both_hidden("abab", "none", "-ababab-", "-******-", "-[key]-");
    expect_both_hidden(
        "abcd", "cdef", "-abcd\\u0065f-", "-***********-", "-[key]-");
    expect_both_hidden("ab/d", "/def", "-ab\\/def-", "-*******-", "-[key]-");
    expect_both_hidden("ab/d", "d/ef", "-ab/d\\/ef-", "-********-", "-[key]-");
    expect_both_hidden("abcd", "efgh", "-abcdefgh-", "-********-", "-[key]-");
}

#define LONG_TEXT ((size_t)1024 * 1024)
#define LONG_SECRET 4000

/* That they end at all, within the suite's time, is what is tested. */
static void
expect_long_hidden(
    const char *unit, char first, char middle, char last, bool wanted)
{
    const size_t unit_len = strlen(unit);
    struct belay__secrets secrets = {
        .memory = belay__memory_new(&test_allocator)};
    char *text = malloc(LONG_TEXT);
    char *out = malloc(LONG_TEXT);
    char secret[LONG_SECRET];
    char shown[64];

    cr_assert(text != NULL && out != NULL);
    for (size_t i = 0; i < LONG_TEXT; i++) {
        text[i] = unit[i % unit_len];
    }
    memset(secret, middle, sizeof(secret));
    secret[0] = first;
    secret[LONG_SECRET - 1] = last;
    cr_assert(zero(int, belay__secrets_add(&secrets,
                            (struct belay_slice){secret, LONG_SECRET})));
    cr_expect(eq(int,
        belay__secrets_hide(
            &secrets, (struct belay_slice){text, LONG_TEXT}, out),
        wanted));
    cr_expect(eq(int, memcmp(text, out, LONG_TEXT) != 0, wanted));
    (void)belay__secrets_begun(&secrets, (struct belay_slice){text, LONG_TEXT});
    (void)belay__printable(
        (struct belay_slice){text, LONG_TEXT}, &secrets, shown, sizeof(shown));
    cr_expect(eq(int, strstr(shown, "[key]") != NULL, wanted));
    free(text);
    free(out);
    belay__secrets_fini(&secrets);
    belay__memory_unref(secrets.memory);
}

Test(secret, s2_no_secret_and_no_text_takes_long)
{
    expect_long_hidden("/", '/', '/', '/', true);
    expect_long_hidden("/", '/', '/', 'x', false);
    expect_long_hidden("\\/", '/', '/', '/', true);
    expect_long_hidden("\\/", '/', '/', 'x', false);
    expect_long_hidden("\\u002f\\/", '/', '/', '/', true);
    expect_long_hidden("\\\\\\/", '/', '/', 'x', false);
    expect_long_hidden("\\", '\\', '\\', '\\', true);
    expect_long_hidden("\\", '\\', '\\', 'x', false);
    /* They begin beside the way that is read on behind them. */
    expect_long_hidden("\\u006e", 'e', 'n', 'n', true);
    expect_long_hidden("\\u006e", 'e', 'n', 'x', false);
    expect_long_hidden("\\\\u006e", 'e', 'n', 'n', true);
    expect_long_hidden("\\u005cu006e", 'e', 'n', 'n', true);
    expect_long_hidden("\\u005c\\u0075006e", 'e', 'n', 'n', true);
}

/* ---- random texts ---- */

static uint32_t state = 1;

static uint32_t
below(uint32_t limit)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % limit;
}

struct text {
    char bytes[512];
    size_t len;
};

static void
put(struct text *text, const char *what)
{
    const size_t len = strlen(what);

    cr_assert(lt(sz, len, sizeof(text->bytes) - text->len));
    memcpy(text->bytes + text->len, what, len + 1);
    text->len += len;
}

/* A character as some writer of JSON may write it. */
static void
put_character(struct text *text, char c)
{
    char room[8] = {c};

    if (c == '"' || c == '\\' || (c == '/' && below(2) == 0)) {
        room[0] = '\\';
        room[1] = c;
    } else if (below(4) == 0) {
        (void)snprintf(room, sizeof(room),
            below(2) == 0 ? "\\u%04x" : "\\u%04X", (unsigned int)c);
    }
    put(text, room);
}

static void
put_characters(struct text *text, const char *characters, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        put_character(text, characters[i]);
    }
}

static void
draw(const char *letters, char *to, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        to[i] = letters[below((uint32_t)strlen(letters))];
    }
}

#define ROUNDS 20000
#define ANY_LETTERS "ab/+\"\\nu0"

Test(secret, s2_no_way_of_writing_one_escapes)
{
    static const char *const others[] = {
        "\\n", "\\\"", "x", "\\\\", "\\/", "\\u0061", "yz"};

    for (int round = 0; round < ROUNDS; round++) {
        char secret[12];
        struct text text = {"", 0};
        size_t from;
        size_t to;
        char out[sizeof(text.bytes)];
        const size_t len = 6 + below(6);

        draw(ANY_LETTERS, secret, len);
        put(&text, "\"");
        for (uint32_t n = below(6); n > 0; n--) {
            put(&text, others[below(COUNT(others))]);
        }
        from = text.len;
        put_characters(&text, secret, len);
        to = text.len;
        put(&text, others[below(2)]);
        put(&text, "\"");
        cr_assert(zero(int, belay__json_check(slice(text.bytes), NULL, NULL)));
        cr_assert(
            belay__secrets_hide(secret_of((struct belay_slice){secret, len}),
                slice(text.bytes), out));
        cr_assert(ge(sz, strspn(out + from, "*"), to - from), "%.*s in %s: %s",
            (int)len, secret, text.bytes, out);
        cr_assert(
            zero(int, belay__json_check(
                          (struct belay_slice){out, text.len}, NULL, NULL)));
    }
}

Test(secret, s2_no_way_of_writing_a_beginning_escapes)
{
    for (int round = 0; round < ROUNDS; round++) {
        char secret[12];
        char others[8];
        struct text text = {"", 0};
        const size_t come = BELAY__SECRET_LEAST + below(4);
        size_t from;
        size_t begun;

        draw(ANY_LETTERS, secret, sizeof(secret));
        draw(ANY_LETTERS, others, sizeof(others));
        put_characters(&text, others, below(sizeof(others) + 1));
        from = text.len;
        put_characters(&text, secret, come);
        put(&text, below(4) == 0 ? "\\" : "");
        begun = belay__secrets_begun(
            secret_of((struct belay_slice){secret, sizeof(secret)}),
            slice(text.bytes));
        cr_assert(ge(sz, begun, text.len - from), "%.*s in %s", (int)come,
            secret, text.bytes);
    }
}

/* All that is covered, and nothing else. */
Test(secret, s2_plain_ones_are_hidden_to_the_letter)
{
    for (int round = 0; round < ROUNDS; round++) {
        char letters[2][8];
        struct belay_slice secret[2];
        char text[33] = "";
        char wanted[33];
        char out[33] = "";

        draw("ab", text, 32);
        memcpy(wanted, text, sizeof(text));
        for (size_t s = 0; s < 2; s++) {
            const size_t len = 3 + below(6);

            draw("ab", letters[s], len);
            secret[s] = (struct belay_slice){letters[s], len};
            for (size_t i = 0; i + len <= 32; i++) {
                if (memcmp(text + i, letters[s], len) == 0) {
                    memset(wanted + i, '*', len);
                }
            }
        }
        (void)belay__secrets_hide(
            secrets_of(secret[0], secret[1]), slice(text), out);
        cr_assert(zero(int, strcmp(out, wanted)), "%s: %s", text, out);
    }
}
