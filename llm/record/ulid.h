/* ulid.h - ids that sort by time (private). */
#ifndef BELAY_LLM_RECORD_ULID_H
#define BELAY_LLM_RECORD_ULID_H

#include <stdint.h>

#define BELAY__ULID_BYTES 27 /* 26 characters and a NUL */

/* The last id that was made; {0} at the start. */
struct belay__ulid_source {
    int64_t ms;
    uint8_t random[16]; /* five bits each */
};

/* A ULID of this moment: 48 bits of milliseconds since 1970, 80 random ones,
 * in Crockford's base 32. Those of one source sort in the order in which they
 * were made, also within a millisecond and when the clock is set back.
 */
void belay__ulid_make(struct belay__ulid_source *source, int64_t unix_ms,
    char out[BELAY__ULID_BYTES]);

/* The least id of a moment. */
void belay__ulid_least(int64_t unix_ms, char out[BELAY__ULID_BYTES]);

#endif
