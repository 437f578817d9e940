/* ring.c - the last events of a pool, for its views.
 *
 * Written without a branch and without memory; a reader that comes too late is
 * told how many it has missed.
 */
#include "gpu/internal.h"

#define EVENTS_DEFAULT 4096
#define EVENTS_MAX (UINT32_C(1) << 24)

int
belay__gpu_ring_open(belay_gpu_pool *pool, uint32_t wanted)
{
    uint64_t size = 1;

    wanted = wanted != 0 ? wanted : EVENTS_DEFAULT;
    wanted = wanted < EVENTS_MAX ? wanted : EVENTS_MAX;
    while (size < wanted) {
        size *= 2;
    }
    pool->ring =
        belay__alloc(pool->runtime->memory, size * sizeof(*pool->ring));
    if (pool->ring == NULL) {
        return BELAY_ENOMEM;
    }
    pool->ring_mask = size - 1;
    return 0;
}

void
belay__gpu_ring_close(belay_gpu_pool *pool)
{
    if (pool->ring != NULL) {
        belay__free(pool->runtime->memory, pool->ring,
            (pool->ring_mask + 1) * sizeof(*pool->ring));
        pool->ring = NULL;
    }
}

size_t
belay_gpu_events(const belay_gpu_pool *pool, uint64_t *cursor,
    struct belay_gpu_event *ret, size_t room, uint64_t *ret_lost)
{
    const uint64_t size = pool->ring_mask + 1;
    const uint64_t oldest =
        pool->ring_count > size ? pool->ring_count - size : 0;
    uint64_t lost = 0;
    size_t count = 0;

    if (*cursor < oldest) {
        lost = oldest - *cursor;
        *cursor = oldest;
    }
    for (; count < room && *cursor < pool->ring_count; count++) {
        ret[count] = pool->ring[(*cursor)++ & pool->ring_mask];
    }
    if (ret_lost != NULL) {
        *ret_lost = lost;
    }
    return count;
}
