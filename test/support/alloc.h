/* alloc.h - the allocator of the tests: counts, fails on request, mistrusts.
 *
 * Every block remembers the size it was asked with; a wrong old_size, a block
 * freed twice or one that is not ours aborts. A realloc always moves, so that
 * a stale pointer is found by the sanitizers. One allocator per process is
 * enough, because Criterion runs each test in a process of its own.
 *
 *     TestSuite(held, .fini = check_clean, .timeout = 5);
 *
 *     for (size_t k = 0;; k++) {
 *         test_alloc_fail_at(k);
 *         ...  do it with test_allocator, expect BELAY_ENOMEM or success ...
 *         if (test_alloc_failures() == 0) {
 *             break;   the k-th allocation does not exist: all were tried
 *         }
 *     }
 */
#ifndef BELAY_TEST_SUPPORT_ALLOC_H
#define BELAY_TEST_SUPPORT_ALLOC_H

#include <belay/base.h>

extern const struct belay_allocator test_allocator;

/* From now on the n-th allocation (0: the next) fails, the others succeed.
 * A growing or shrinking realloc counts as an allocation, a free does not.
 */
void test_alloc_fail_at(size_t n);

/* From now on the n-th allocation (0: the next) and all later ones fail. */
void test_alloc_fail_after(size_t n);

/* From now on nothing fails. */
void test_alloc_never_fail(void);

/* Is one to fail that was not tried yet, or has one failed? */
bool test_alloc_may_fail(void);

/* Allocations refused, and allocations tried, since the last of the above. */
size_t test_alloc_failures(void);
size_t test_alloc_calls(void);

/* Blocks and bytes that are allocated now. */
size_t test_alloc_live_blocks(void);
size_t test_alloc_live_bytes(void);

/* For .fini of every suite: aborts if the test left anything allocated.
 * (A failed assertion there would pass unnoticed, an abort does not.)
 */
void check_clean(void);

#endif
