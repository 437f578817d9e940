/* test_batch_ids.c - every id is found again, in less than 12 bytes. */
#include "llm/batch/ids.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

static struct belay__ids ids;

static const uint8_t seed[16] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void
set_up(void)
{
    open_memory();
    cr_assert(zero(int, belay__ids_init(&ids, memory, seed)));
}

static void
tear_down(void)
{
    belay__ids_fini(&ids);
    close_memory();
}

TestSuite(batch_ids, .init = set_up, .fini = tear_down, .timeout = 120);

static int
add(int number)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "request-%d", number);

    return belay__ids_add(&ids, (struct belay_slice){text, (size_t)len});
}

/* The vectors that come with the reference implementation. */
Test(batch_ids, fingerprints_are_siphash_2_4)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } vectors[] = {{0, UINT64_C(0x726fdb47dd0e0e31)},
        {1, UINT64_C(0x74f839c593dc67fd)}, {7, UINT64_C(0xab0200f58b01d137)},
        {8, UINT64_C(0x93f5f5799a932462)}, {15, UINT64_C(0xa129ca6149be45e5)},
        {16, UINT64_C(0x3f2acc7f57c29bdb)}, {63, UINT64_C(0x958a324ceb064572)}};
    char text[64];

    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)i;
    }
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct belay_slice id = {text, vectors[i].len};

        cr_expect(eq(u64, belay__ids_hash(&ids, id), vectors[i].hash), "%zu",
            vectors[i].len);
    }
}

Test(batch_ids, an_id_is_new_once)
{
    cr_expect(eq(int, add(1), 1));
    cr_expect(zero(int, add(1)));
    cr_expect(eq(int, add(2), 1));
    cr_expect(zero(int, add(1)));
    cr_expect(zero(int, add(2)));
    cr_expect(eq(sz, ids.count, 2));
    cr_expect(eq(int, belay__ids_add(&ids, (struct belay_slice){NULL, 0}), 1));
    cr_expect(zero(int, belay__ids_add(&ids, (struct belay_slice){"", 0})));
    cr_expect(eq(int, belay__ids_add(&ids, (struct belay_slice){"\0", 1}), 1));
}

Test(batch_ids, a_random_key_is_another_one)
{
    struct belay__ids others[2];
    struct belay_slice id = {"id", 2};

    cr_assert(zero(int, belay__ids_init(&others[0], memory, NULL)));
    cr_assert(zero(int, belay__ids_init(&others[1], memory, NULL)));
    cr_expect(ne(
        u64, belay__ids_hash(&others[0], id), belay__ids_hash(&others[1], id)));
    belay__ids_fini(&others[0]);
    belay__ids_fini(&others[1]);
    belay__ids_fini(&(struct belay__ids){0});
    belay__ids_fini(NULL);
}

Test(batch_ids, all_are_found_at_every_size)
{
    for (int count = 0; count < 20000; count++) {
        cr_assert(eq(int, add(count), 1), "%d", count);
        if (count % 997 == 0) {
            for (int i = 0; i <= count; i++) {
                cr_assert(zero(int, add(i)), "%d of %d", i, count);
            }
        }
    }
    cr_expect(eq(sz, ids.count, 20000));
}

/* Sorted, without zeroes between home and place: what find() stands on. */
static void
check_shard(const struct belay__ids_shard *shard)
{
    uint64_t last = 0;
    size_t count = 0;

    for (size_t i = 0; i < shard->homes + 32; i++) {
        if (shard->slots[i] != 0) {
            cr_assert(gt(u64, shard->slots[i], last));
            last = shard->slots[i];
            count++;
        }
    }
    cr_expect(eq(sz, count, shard->count));
}

Test(batch_ids, b21_at_most_12_bytes_for_an_id)
{
    size_t peak_before;

    for (int count = 1; count <= 400000; count++) {
        cr_assert(ge(int, add(count), 0));
        if (count >= 50000 && count % 1000 == 0) {
            cr_assert(le(sz, belay__ids_bytes(&ids), (size_t)count * 21 / 2),
                "%d", count);
        }
    }
    cr_expect(eq(sz, ids.count, 400000));
    peak_before = memory->peak_bytes;
    cr_expect(le(sz, peak_before, (size_t)400000 * 12));
    cr_expect(eq(sz, belay__ids_bytes(&ids), memory->live_bytes));
    for (size_t i = 0; i < BELAY__IDS_SHARDS; i++) {
        check_shard(&ids.shards[i]);
    }
    for (int count = 1; count <= 400000; count++) {
        cr_assert(zero(int, add(count)));
    }
    cr_expect(eq(sz, memory->peak_bytes, peak_before));
}

/* Ids whose fingerprints all belong to the last slots of the last shard. */
Test(batch_ids, ids_that_crowd_at_the_end_are_kept)
{
    struct belay_slice found[100];
    char texts[100][32];
    size_t count = 0;

    for (int i = 0; count < 100; i++) {
        int len = snprintf(texts[count], sizeof(texts[count]), "%d", i);

        found[count] = (struct belay_slice){texts[count], (size_t)len};
        count += belay__ids_hash(&ids, found[count]) >> 52 == 0xfff;
    }
    for (size_t i = 0; i < count; i++) {
        cr_assert(eq(int, belay__ids_add(&ids, found[i]), 1));
        for (size_t j = 0; j <= i; j++) {
            cr_assert(zero(int, belay__ids_add(&ids, found[j])));
        }
    }
    check_shard(&ids.shards[BELAY__IDS_SHARDS - 1]);
}

Test(batch_ids, out_of_memory_the_set_is_as_before)
{
    int next = 0;
    size_t failures = 0;

    while (next < 5000) {
        int code;

        test_alloc_fail_at(0);
        code = add(next);
        if (code == BELAY_ENOMEM) {
            failures++;
            cr_assert(eq(sz, ids.count, (size_t)next));
            for (int i = 0; i < next; i += 37) {
                cr_assert(zero(int, add(i)));
            }
            test_alloc_never_fail();
            code = add(next);
        }
        cr_assert(eq(int, code, 1));
        next++;
    }
    cr_expect(gt(sz, failures, 100));
}
