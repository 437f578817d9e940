/* test_batch_stats.c - percentiles from a histogram against sorted values. */
#include "llm/batch/stats.h"
#include "test/support/alloc.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(batch_stats, .fini = check_clean, .timeout = 60);

static struct belay__histogram histogram;

static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int
compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* What the histogram promises: never too low, at most 1/16 too high. */
static void
expect_close(uint64_t got, uint64_t exact, double percent)
{
    cr_expect(ge(u64, got, exact), "p%g", percent);
    cr_expect(le(u64, got - exact, exact / 16), "p%g of %llu", percent,
        (unsigned long long)exact);
}

/* The smallest value that so many percent of all are not above. */
static uint64_t
exact_percentile(const uint64_t *sorted, size_t count, unsigned percent)
{
    const size_t rank = (count * percent + 99) / 100;

    return sorted[rank > 0 ? rank - 1 : 0];
}

static void
check_values(uint64_t *values, size_t count)
{
    memset(&histogram, 0, sizeof(histogram));
    for (size_t i = 0; i < count; i++) {
        belay__histogram_add(&histogram, values[i]);
    }
    qsort(values, count, sizeof(*values), compare);
    for (unsigned percent = 0; percent <= 100; percent++) {
        expect_close(belay__histogram_percentile(&histogram, percent),
            exact_percentile(values, count, percent), percent);
    }
    cr_expect(eq(u64, histogram.max, values[count - 1]));
    cr_expect(eq(u64, histogram.count, count));
}

Test(batch_stats, b27_percentiles_are_close_to_those_of_sorted_values)
{
    static uint64_t values[5000];
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

    /* Magnitudes of all sizes, then a heavy tail, then few distinct ones. */
    for (size_t i = 0; i < COUNT(values); i++) {
        values[i] = next_random(&state) >> (next_random(&state) % 64);
    }
    check_values(values, COUNT(values));
    for (size_t i = 0; i < COUNT(values); i++) {
        values[i] = i % 100 == 0 ? 60000000 + i : 20000 + i;
    }
    check_values(values, COUNT(values));
    for (size_t i = 0; i < COUNT(values); i++) {
        values[i] = next_random(&state) % 7;
    }
    check_values(values, COUNT(values));
}

Test(batch_stats, small_numbers_of_values)
{
    for (size_t count = 1; count <= 40; count++) {
        uint64_t values[40];

        for (size_t i = 0; i < count; i++) {
            values[i] = (i * 7919) % 1009 * 1000;
        }
        check_values(values, count);
    }
}

Test(batch_stats, every_bucket_boundary_is_in_order)
{
    /* One value alone comes back as itself: the top of its bucket is cut to
     * the greatest value that was added.
     */
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int offset = -1; offset <= 1; offset++) {
            const uint64_t value = (UINT64_C(1) << shift) + (uint64_t)offset;

            memset(&histogram, 0, sizeof(histogram));
            belay__histogram_add(&histogram, value);
            cr_expect(
                eq(u64, belay__histogram_percentile(&histogram, 50), value));
            /* A greater one beside it shows the top of the bucket. */
            belay__histogram_add(&histogram, UINT64_MAX);
            expect_close(
                belay__histogram_percentile(&histogram, 50), value, 50);
        }
    }
}

Test(batch_stats, the_greatest_value_has_a_bucket)
{
    memset(&histogram, 0, sizeof(histogram));
    belay__histogram_add(&histogram, UINT64_MAX);
    belay__histogram_add(&histogram, 0);
    cr_expect(
        eq(u64, belay__histogram_percentile(&histogram, 100), UINT64_MAX));
    cr_expect(eq(u64, belay__histogram_percentile(&histogram, 50), 0));
}

Test(batch_stats, an_empty_histogram_gives_zero)
{
    memset(&histogram, 0, sizeof(histogram));
    cr_expect(eq(u64, belay__histogram_percentile(&histogram, 0), 0));
    cr_expect(eq(u64, belay__histogram_percentile(&histogram, 50), 0));
    cr_expect(eq(u64, belay__histogram_percentile(&histogram, 100), 0));
}

Test(batch_stats, b2_b5_every_error_has_the_name_of_the_contract)
{
    static const char *const names[] = {"invalid_json_line",
        "duplicate_custom_id", "url_mismatch", "unsupported_url",
        "stream_not_allowed", "line_too_large", "connection_error", "timeout",
        "stream_truncated", "response_too_large", "invalid_response",
        "batch_cancelled"};

    for (size_t i = 0; i < COUNT(names); i++) {
        size_t found = 0;

        for (int error = 1; error < BELAY__LINE_ERROR_COUNT; error++) {
            found += strcmp(names[i],
                         belay__line_error_code((enum belay__line_error)error))
                     == 0;
        }
        cr_expect(eq(sz, found, 1), "%s", names[i]);
    }
    cr_expect(eq(str, (char *)(uintptr_t)belay__line_error_code(BELAY__LINE_OK),
        (char *)(uintptr_t) "ok"));
}
