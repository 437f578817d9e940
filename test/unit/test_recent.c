/* test_recent.c - messages that were stored lately. */
#include "llm/record/recent.h"
#include "test/support/program.h"
#include "test/support/slice.h"

#include <stdlib.h>
#include <string.h>

static struct belay__memory *memory;
static struct belay__recent *recent;

static void
set_up(void)
{
    memory = belay__memory_new(NULL);
    recent = calloc(1, sizeof(*recent));
    cr_assert(memory != NULL && recent != NULL);
    belay__recent_init(recent, memory);
}

static void
tear_down(void)
{
    belay__recent_clear(recent);
    cr_assert(zero(sz, memory->live_blocks));
    belay__memory_unref(memory);
    free(recent);
    check_clean();
}

TestSuite(recent, .init = set_up, .fini = tear_down, .timeout = 60);

static struct belay__hash
hash_of_number(uint32_t number)
{
    struct belay__hash hash = {{0}};

    memcpy(hash.bytes, &number, sizeof(number));
    return hash;
}

static struct belay__recent_key
key_of(const struct belay__hash *parent, const char *role, const char *body)
{
    return (struct belay__recent_key){parent, slice(role), slice(body)};
}

static void
add(const struct belay__hash *parent, const char *role, const char *body,
    uint32_t number)
{
    const struct belay__recent_key key = key_of(parent, role, body);
    const struct belay__hash hash = hash_of_number(number);

    belay__recent_add(recent, &key, &hash);
}

/* The number that was kept with it, or -1. */
static int64_t
find(const struct belay__hash *parent, const char *role, const char *body)
{
    const struct belay__recent_key key = key_of(parent, role, body);
    struct belay__hash hash;
    uint32_t number;

    if (!belay__recent_find(recent, &key, &hash)) {
        return -1;
    }
    memcpy(&number, hash.bytes, sizeof(number));
    return number;
}

Test(recent, every_part_of_a_message_counts)
{
    const struct belay__hash one = hash_of_number(1);
    const struct belay__hash two = hash_of_number(2);

    add(NULL, "user", "hello", 10);
    add(&one, "user", "hello", 11);
    add(&two, "user", "hello", 12);
    add(NULL, "system", "hello", 13);
    add(NULL, "user", "hello!", 14);
    add(NULL, "use", "rhello", 15);
    add(NULL, NULL, NULL, 16);
    cr_expect(eq(i64, find(NULL, "user", "hello"), 10));
    cr_expect(eq(i64, find(&one, "user", "hello"), 11));
    cr_expect(eq(i64, find(&two, "user", "hello"), 12));
    cr_expect(eq(i64, find(NULL, "system", "hello"), 13));
    cr_expect(eq(i64, find(NULL, "user", "hello!"), 14));
    cr_expect(eq(i64, find(NULL, "use", "rhello"), 15));
    cr_expect(eq(i64, find(NULL, NULL, NULL), 16));
    cr_expect(eq(i64, find(&one, "system", "hello"), -1));
    cr_expect(eq(i64, find(NULL, "user", "hellp"), -1));
}

Test(recent, the_bytes_are_copied)
{
    char body[] = "hello";

    add(NULL, "user", body, 1);
    memset(body, 'x', 5);
    cr_expect(eq(i64, find(NULL, "user", "hello"), 1));
    cr_expect(eq(i64, find(NULL, "user", body), -1));
}

Test(recent, what_was_not_asked_for_longest_goes_first)
{
    char body[32];

    for (uint32_t i = 0; i < BELAY__RECENT_ENTRIES; i++) {
        (void)snprintf(body, sizeof(body), "%u", i);
        add(NULL, "user", body, i);
    }
    cr_expect(eq(i64, find(NULL, "user", "0"), 0));
    add(NULL, "user", "one more", 1);
    cr_expect(eq(sz, recent->count, BELAY__RECENT_ENTRIES));
    cr_expect(eq(i64, find(NULL, "user", "0"), 0), "it was asked for");
    cr_expect(eq(i64, find(NULL, "user", "1"), -1));
    cr_expect(eq(i64, find(NULL, "user", "2"), 2));
}

Test(recent, its_bytes_are_bounded)
{
    static char body[BELAY__RECENT_BYTES / 32 + 1];
    const size_t len = sizeof(body) - 1;

    for (int i = 0; i < 64; i++) {
        memset(body, 'a' + i % 26, len);
        (void)snprintf(body, len, "%d", i);
        body[strlen(body)] = 'z';
        body[len] = '\0';
        add(NULL, "user", body, (uint32_t)i);
        cr_expect(le(sz, recent->bytes, BELAY__RECENT_BYTES));
    }
    cr_expect(eq(i64, find(NULL, "user", body), 63));
    cr_expect(lt(sz, recent->count, 32));
}

Test(recent, what_is_too_large_is_not_kept)
{
    const size_t len = BELAY__RECENT_BYTES;
    char *body = malloc(len + 1);

    cr_assert(body != NULL);
    memset(body, 'a', len);
    body[len] = '\0';
    add(NULL, "user", "small", 1);
    add(NULL, "user", body, 2);
    cr_expect(eq(i64, find(NULL, "user", body), -1));
    cr_expect(eq(i64, find(NULL, "user", "small"), 1));
    free(body);
}

Test(recent, it_can_be_used_again_once_cleared)
{
    add(NULL, "user", "hello", 1);
    belay__recent_clear(recent);
    cr_expect(eq(i64, find(NULL, "user", "hello"), -1));
    cr_expect(zero(sz, recent->bytes));
    add(NULL, "user", "hello", 2);
    cr_expect(eq(i64, find(NULL, "user", "hello"), 2));
}
