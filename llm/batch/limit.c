/* limit.c - how many requests a model gets at once.
 *
 * A server that refuses refuses many at once, since all of them were under way
 * when it began. So only a request that was begun after the last cut can cause
 * the next (B24), and only if another such request was answered in between:
 * a server that answers nobody is not one that is asked a bit too often, and
 * what the limit has learned is still worth something when it comes back.
 */
#include "llm/batch/limit.h"

#include <assert.h>

#define CALM_WINDOWS 8 /* just below the ceiling, before it is tried again */
#define BUSY_SHARE 10  /* one of so many is more than a server's mishap */
#define STEP_WINDOWS 4 /* above it, steps grow by one in so many windows */

void
belay__limit_init(struct belay__limit *limit, uint32_t start, uint32_t most)
{
    start = start > 0 ? start : BELAY__LIMIT_START;
    *limit = (struct belay__limit){
        .limit = start < most ? start : most,
        .most = most,
        .answered = true,
    };
    limit->window = limit->limit;
}

uint64_t
belay__limit_begin(struct belay__limit *limit)
{
    assert(belay__limit_has_room(limit));
    limit->in_use++;
    limit->used_up |= limit->in_use == limit->limit;
    return limit->cuts;
}

static void
begin_window(struct belay__limit *limit)
{
    limit->window = limit->limit;
    limit->used_up = limit->in_use >= limit->limit;
    limit->congested = false;
    limit->busy = 0;
}

static void
cut(struct belay__limit *limit)
{
    const uint32_t less = (uint32_t)((uint64_t)limit->limit * 7 / 10);

    limit->ceiling = limit->limit;
    limit->limit = less > 1 ? less : 1;
    limit->calm = 0;
    limit->cuts++;
    limit->answered = false;
    begin_window(limit);
}

/* How much more after a window in which all was used and none refused. */
static uint32_t
step(struct belay__limit *limit)
{
    const uint32_t below = limit->ceiling - 1; /* the most that has worked */

    if (limit->ceiling == 0) {
        return limit->limit;
    }
    if (limit->limit < below) {
        return (below - limit->limit + 1) / 2;
    }
    limit->calm++;
    return limit->calm <= CALM_WINDOWS
               ? 0
               : 1 + (limit->calm - CALM_WINDOWS - 1) / STEP_WINDOWS;
}

static void
end_window(struct belay__limit *limit)
{
    uint64_t grown = limit->limit;

    if (limit->used_up && !limit->congested && limit->limit < limit->most) {
        grown += step(limit);
    }
    limit->limit = grown < limit->most ? (uint32_t)grown : limit->most;
    begin_window(limit);
}

void
belay__limit_end(
    struct belay__limit *limit, uint64_t begun, enum belay__limit_end end)
{
    assert(limit->in_use > 0);
    limit->in_use--;
    if (end == BELAY__LIMIT_UNKNOWN || begun < limit->cuts) {
        return;
    }
    if (end == BELAY__LIMIT_BUSY) {
        limit->busy++;
        if (limit->busy < 2 && limit->busy * BUSY_SHARE < limit->limit) {
            return;
        }
        end = BELAY__LIMIT_CONGESTED;
    }
    if (end == BELAY__LIMIT_CONGESTED) {
        limit->congested = true;
        if (limit->answered) {
            cut(limit);
        }
        return;
    }
    limit->answered = true;
    if (--limit->window == 0) {
        end_window(limit);
    }
}
