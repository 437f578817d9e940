/* ulid.c - ids that sort by time. */
#include "llm/record/ulid.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#define DIGIT_MAX 31

/* Without the kernel's random numbers the clock has to do: an id that is
 * guessed harms nobody.
 */
static void
fill_random(uint8_t *out, size_t len)
{
    struct timespec now;

    if (getrandom(out, len, GRND_NONBLOCK) == (ssize_t)len) {
        return;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    memset(out, 0, len);
    memcpy(out, &now.tv_nsec,
        sizeof(now.tv_nsec) < len ? sizeof(now.tv_nsec) : len);
}

/* The next number up; after the last one the next millisecond. */
static void
count_up(struct belay__ulid_source *source)
{
    int i = (int)sizeof(source->random) - 1;

    while (i >= 0 && source->random[i] == DIGIT_MAX) {
        source->random[i--] = 0;
    }
    if (i >= 0) {
        source->random[i]++;
    } else {
        source->ms++;
    }
}

/* 48 bits of time and 16 digits of five bits each. */
static void
write_id(int64_t ms, const uint8_t random[16], char out[BELAY__ULID_BYTES])
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    for (int i = 0; i < 10; i++) {
        out[i] = digits[((uint64_t)ms >> (45 - 5 * i)) & DIGIT_MAX];
    }
    for (int i = 0; i < 16; i++) {
        out[10 + i] = digits[random[i]];
    }
    out[26] = '\0';
}

void
belay__ulid_least(int64_t unix_ms, char out[BELAY__ULID_BYTES])
{
    static const uint8_t none[16];

    write_id(unix_ms, none, out);
}

void
belay__ulid_make(struct belay__ulid_source *source, int64_t unix_ms,
    char out[BELAY__ULID_BYTES])
{
    if (unix_ms > source->ms) {
        source->ms = unix_ms;
        fill_random(source->random, sizeof(source->random));
        for (size_t i = 0; i < sizeof(source->random); i++) {
            source->random[i] &= DIGIT_MAX;
        }
    } else {
        count_up(source);
    }
    write_id(source->ms, source->random, out);
}
