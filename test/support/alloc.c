/* alloc.c - the allocator of the tests.
 *
 * Each block has a header in front with its size and a mark; the mark is
 * inverted when the block is freed, so that a second free is recognised
 * where no sanitizer watches.
 */
#include "test/support/alloc.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK UINT64_C(0xb1a7c0de5afe0123)

struct header {
    alignas(max_align_t) uint64_t mark;
    size_t size;
};

static struct {
    size_t live_blocks;
    size_t live_bytes;
    size_t calls;
    size_t failures;
    size_t first_bad; /* number of the first call that fails */
    size_t last_bad;  /* and of the last */
} state = {.first_bad = SIZE_MAX, .last_bad = 0};

static void
complain(const char *what, size_t have, size_t told)
{
    (void)fprintf(
        stderr, "test allocator: %s (%zu, told %zu)\n", what, have, told);
    abort();
}

static void
release(void *ptr, size_t old_size)
{
    struct header *header = (struct header *)ptr - 1;

    if (header->mark != MARK) {
        complain("freed a block that is not live", 0, old_size);
    }
    if (header->size != old_size) {
        complain("freed with a wrong size", header->size, old_size);
    }
    header->mark = ~MARK;
    state.live_blocks--;
    state.live_bytes -= old_size;
    free(header);
}

static void *
obtain(size_t size)
{
    struct header *header = NULL;

    if (size <= SIZE_MAX - sizeof(*header)) {
        header = malloc(sizeof(*header) + size);
    }
    if (header == NULL) {
        return NULL;
    }
    header->mark = MARK;
    header->size = size;
    memset(header + 1, 0xa5, size); /* nobody may count on zeroes */
    state.live_blocks++;
    state.live_bytes += size;
    return header + 1;
}

static void *
test_realloc(void *ptr, size_t old_size, size_t new_size, void *arg)
{
    size_t call;
    void *grown;

    (void)arg;
    if (new_size == 0) {
        if (ptr != NULL) {
            release(ptr, old_size);
        }
        return NULL;
    }
    call = state.calls++;
    if (call >= state.first_bad && call <= state.last_bad) {
        state.failures++;
        return NULL;
    }
    grown = obtain(new_size);
    if (grown != NULL && ptr != NULL) {
        memcpy(grown, ptr, old_size < new_size ? old_size : new_size);
        release(ptr, old_size);
    }
    return grown;
}

const struct belay_allocator test_allocator = {test_realloc, NULL};

static void
fail_between(size_t first, size_t last)
{
    state.calls = 0;
    state.failures = 0;
    state.first_bad = first;
    state.last_bad = last;
}

void
test_alloc_fail_at(size_t n)
{
    fail_between(n, n);
}

void
test_alloc_fail_after(size_t n)
{
    fail_between(n, SIZE_MAX);
}

void
test_alloc_never_fail(void)
{
    fail_between(SIZE_MAX, 0);
}

bool
test_alloc_may_fail(void)
{
    return state.first_bad <= state.last_bad;
}

size_t
test_alloc_failures(void)
{
    return state.failures;
}

size_t
test_alloc_calls(void)
{
    return state.calls;
}

size_t
test_alloc_live_blocks(void)
{
    return state.live_blocks;
}

size_t
test_alloc_live_bytes(void)
{
    return state.live_bytes;
}

void
check_clean(void)
{
    if (state.live_blocks != 0) {
        complain("blocks still allocated", state.live_blocks, 0);
    }
}
