/* limit.h - how many requests a model gets at once (private).
 *
 * Additive increase, multiplicative decrease. Doubles per window until the
 * server is congested for the first time. A cut takes it to 0.7 of what it
 * was; then it comes back half of the way a window, stays just below where it
 * was cut for some windows, and only then tries a little more. A window is as
 * many answers as the limit was at its start. Decisions only: no clock, no
 * I/O, no memory. Rule: B24.
 */
#ifndef BELAY_LLM_BATCH_LIMIT_H
#define BELAY_LLM_BATCH_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define BELAY__LIMIT_START 8

struct belay__limit {
    uint32_t limit; /* now; at least 1 */
    uint32_t most;  /* it is never above */
    uint32_t in_use;
    uint32_t window;  /* answers until it ends */
    uint32_t ceiling; /* where it was cut last; 0: never */
    uint32_t calm;    /* windows since it came back to there */
    uint32_t busy;    /* answers of a server that is, in this window */
    uint64_t cuts;
    bool used_up;   /* within the window there was no room left */
    bool congested; /* … the server was */
    bool answered;  /* since the last cut, by a request begun after it */
};

void belay__limit_init(
    struct belay__limit *limit, uint32_t start, uint32_t most);

static inline bool
belay__limit_has_room(const struct belay__limit *limit)
{
    return limit->in_use < limit->limit;
}

/* A request begins; there is room. The result is for its end. */
uint64_t belay__limit_begin(struct belay__limit *limit);

/* A request has ended … */
enum belay__limit_end {
    BELAY__LIMIT_ANSWERED,  /* whatever the answer */
    BELAY__LIMIT_CONGESTED, /* the server takes no more */
    BELAY__LIMIT_BUSY,      /* it says so, or just fails now and then: counts
                               if it is a tenth of a window, or two in one */
    BELAY__LIMIT_UNKNOWN,   /* it says nothing about that: given up, reset */
};
void belay__limit_end(
    struct belay__limit *limit, uint64_t begun, enum belay__limit_end end);

#endif
