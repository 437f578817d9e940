/* test_support_alloc.c - the checker itself: it must fail when it should. */
#include "runtime/memory.h"
#include "test/support/alloc.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <string.h>

TestSuite(support_alloc, .fini = check_clean, .timeout = 5);

static void *
get(size_t size)
{
    return test_allocator.realloc_fn(NULL, 0, size, NULL);
}

static void
put(void *ptr, size_t size)
{
    (void)test_allocator.realloc_fn(ptr, size, 0, NULL);
}

Test(support_alloc, leak_aborts, .signal = SIGABRT)
{
    void *volatile leaked = get(1);

    cr_expect(ne(ptr, leaked, NULL));
    check_clean();
}

Test(support_alloc, nothing_live_is_clean)
{
    put(get(8), 8);
    cr_expect(zero(sz, test_alloc_live_blocks()));
    cr_expect(zero(sz, test_alloc_live_bytes()));
    check_clean();
}

Test(support_alloc, wrong_size_aborts, .signal = SIGABRT)
{
    put(get(8), 9);
}

Test(support_alloc, realloc_moves_and_keeps_the_bytes)
{
    char *block = get(3);
    char *grown;

    memcpy(block, "abc", 3);
    grown = test_allocator.realloc_fn(block, 3, 5, NULL);
    cr_expect(zero(memcmp(grown, "abc", 3)));
    cr_expect(eq(sz, test_alloc_live_blocks(), 1));
    cr_expect(eq(sz, test_alloc_live_bytes(), 5));
    put(grown, 5);
}

Test(support_alloc, fails_once_at_the_given_call)
{
    void *blocks[3];

    test_alloc_fail_at(1);
    for (size_t i = 0; i < 3; i++) {
        blocks[i] = get(4);
    }
    cr_expect(ne(ptr, blocks[0], NULL));
    cr_expect(eq(ptr, blocks[1], NULL));
    cr_expect(ne(ptr, blocks[2], NULL));
    cr_expect(eq(sz, test_alloc_failures(), 1));
    cr_expect(eq(sz, test_alloc_calls(), 3));
    put(blocks[0], 4);
    put(blocks[2], 4);
}

Test(support_alloc, fails_from_the_given_call_on)
{
    void *block;

    test_alloc_fail_after(1);
    block = get(4);
    cr_expect(ne(ptr, block, NULL));
    cr_expect(eq(ptr, get(4), NULL));
    cr_expect(eq(ptr, test_allocator.realloc_fn(block, 4, 8, NULL), NULL));
    cr_expect(eq(sz, test_alloc_failures(), 2));
    put(block, 4);
}

Test(support_alloc, memory_on_it_counts_the_same)
{
    struct belay__memory *memory = belay__memory_new(&test_allocator);
    void *block = belay__alloc(memory, 10);

    cr_expect(eq(sz, memory->live_blocks, 1));
    cr_expect(eq(sz, test_alloc_live_blocks(), 2));
    belay__free(memory, block, 10);
    belay__memory_unref(memory);
}
