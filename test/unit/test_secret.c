/* test_secret.c - S2: secrets are found however a server writes them. */
#include "llm/json/scan.h"
#include "llm/printable.h"
#include "llm/secret.h"
#include "runtime/memory.h"
#include "test/support/alloc.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(secret, .fini = check_clean, .timeout = 20);

/* ---- the list ---- */

Test(secret, s2_what_is_short_is_no_secret_and_the_longest_comes_first)
{
    struct belay__secrets secrets = {
        .memory = belay__memory_new(&test_allocator)};

    cr_expect(zero(int, belay__secrets_add(&secrets, slice("ollama"))));
    cr_expect(zero(int, belay__secrets_add(&secrets, slice(""))));
    cr_expect(zero(sz, secrets.count));
    cr_expect(zero(int, belay__secrets_add(&secrets, slice("sk-abcde"))));
    cr_expect(zero(int, belay__secrets_add(&secrets, slice("sk-abcdefgh"))));
    cr_expect(zero(int, belay__secrets_add(&secrets, slice("sk-abcdef"))));
    cr_assert(eq(sz, secrets.count, 3));
    cr_expect(eq(sz, secrets.items[0].len, 11));
    cr_expect(eq(sz, secrets.items[1].len, 9));
    cr_expect(eq(sz, secrets.items[2].len, 8));
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
        cr_expect(eq(sz, secrets.items[0].len, 8));
    }
    belay__secrets_fini(&secrets);
    belay__memory_unref(secrets.memory);
}

/* ---- finding ---- */

static void
expect_hidden(const char *secret, const char *text, const char *wanted)
{
    struct belay_slice item = slice(secret);
    const struct belay__secrets secrets = {NULL, &item, 1};
    char copy[256];
    char shown[256];

    (void)snprintf(copy, sizeof(copy), "%s", text);
    cr_expect(eq(int, belay__secrets_hide(&secrets, copy, strlen(copy)),
        strcmp(text, wanted) != 0));
    cr_expect(zero(strcmp(copy, wanted)), "%s: %s", text, copy);
    (void)belay__printable(slice(text), &secrets, shown, sizeof(shown));
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
    expect_hidden("p\xc3\xa9ssword", "p\\u00E9sswor", "p\\u00E9sswor");
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
    expect_hidden("tea/bun", "\\tea\\/bun", "\\********");
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

Test(secret, s2_no_way_of_writing_one_escapes)
{
    static const char letters[] = "ab/+\"\\nu0";
    static const char *const others[] = {
        "\\n", "\\\"", "x", "\\\\", "\\/", "\\u0061", "yz"};

    for (int round = 0; round < 20000; round++) {
        char secret[12];
        struct text text = {"", 0};
        size_t from;
        size_t to;
        struct belay_slice item = {secret, 6 + below(6)};
        const struct belay__secrets secrets = {NULL, &item, 1};

        for (size_t i = 0; i < item.len; i++) {
            secret[i] = letters[below(sizeof(letters) - 1)];
        }
        /* What is escaped at an end holds a piece that matches as it is. */
        secret[0] = 'a';
        secret[item.len - 1] = 'b';
        put(&text, "\"");
        for (uint32_t n = below(6); n > 0; n--) {
            put(&text, others[below(COUNT(others))]);
        }
        from = text.len;
        for (size_t i = 0; i < item.len; i++) {
            put_character(&text, secret[i]);
        }
        to = text.len;
        put(&text, others[below(2)]);
        put(&text, "\"");
        cr_assert(zero(int, belay__json_check(slice(text.bytes), NULL, NULL)));
        cr_assert(belay__secrets_hide(&secrets, text.bytes, text.len));
        cr_assert(eq(sz, strspn(text.bytes + from, "*"), to - from),
            "%.*s in %s", (int)item.len, secret, text.bytes);
    }
}
