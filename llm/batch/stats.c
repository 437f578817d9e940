/* stats.c - the histogram and the names of errors. */
#include "llm/batch/stats.h"

#define SUB_BITS 4 /* sixteen buckets to a power of two */
#define SUB_COUNT (1U << SUB_BITS)

/* Values below SUB_COUNT have a bucket each; above, the exponent and the
 * SUB_BITS bits behind the leading one choose it.
 */
static uint32_t
bucket_of(uint64_t value)
{
    uint32_t exponent;

    if (value < SUB_COUNT) {
        return (uint32_t)value;
    }
    exponent = 63U - (uint32_t)__builtin_clzll(value);
    return (exponent - SUB_BITS + 1) * SUB_COUNT
           + (uint32_t)((value >> (exponent - SUB_BITS)) & (SUB_COUNT - 1));
}

uint64_t
belay__histogram_upper(uint32_t bucket)
{
    const uint32_t shift = bucket / SUB_COUNT;
    const uint64_t low = bucket % SUB_COUNT;

    if (shift == 0) {
        return low;
    }
    return ((SUB_COUNT + low + 1) << (shift - 1)) - 1;
}

_Static_assert((64 - SUB_BITS + 1) * SUB_COUNT <= BELAY__HISTOGRAM_BUCKETS,
    "every value has a bucket");

void
belay__histogram_add(struct belay__histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->buckets[bucket_of(value)]++;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

uint64_t
belay__histogram_percentile(
    const struct belay__histogram *histogram, double percent)
{
    const double wanted = (double)histogram->count * percent / 100.0;
    uint64_t seen = 0;
    uint64_t top;

    for (uint32_t i = 0; i < BELAY__HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            top = belay__histogram_upper(i);
            return top < histogram->max ? top : histogram->max;
        }
    }
    return histogram->max;
}

const char *
belay__line_error_code(enum belay__line_error error)
{
    switch (error) {
    case BELAY__LINE_OK:
        return "ok";
#define CASE(name, text)     \
    case BELAY__LINE_##name: \
        return text;
        BELAY__LINE_ERROR_MAP(CASE)
#undef CASE
    case BELAY__LINE_ERROR_COUNT:
        break;
    }
    return "unknown";
}
