/* queue.c - who waits, in which order, and whose turn it is.
 *
 * Priorities share by stride scheduling: each grant adds to the priority's
 * pass what is inverse to its weight, and the least pass is next. A priority
 * that was empty starts at the present pass, so that it has saved nothing up.
 * Within a priority requests lie in buckets by shape, each first come, first
 * served. Entering and leaving are O(1).
 */
#include "gpu/internal.h"

#define BUCKET_SHARE 0
#define BUCKET_SIZES 1  /* .. 64, by the bytes' highest bit */
#define BUCKET_GANGS 63 /* plus 2 .. 64 devices */

_Static_assert(BUCKET_GANGS + BELAY_GPU_DEVICES_MAX < BELAY__GPU_BUCKETS,
    "a bucket for every shape");

uint8_t
belay__gpu_bucket_of(uint64_t bytes, uint32_t devices)
{
    if (devices > 1) {
        return (uint8_t)(BUCKET_GANGS + devices);
    }
    if (bytes == 0) {
        return BUCKET_SHARE;
    }
    return (uint8_t)(BUCKET_SIZES + 63 - __builtin_clzll(bytes));
}

static uint64_t
stride_of(uint32_t priority)
{
    return UINT64_C(1) << (BELAY_GPU_PRIORITIES - 1 - priority);
}

void
belay__gpu_queue_push(belay_gpu_pool *pool, struct belay__gpu_request *request)
{
    struct belay__gpu_class *class = &pool->classes[request->priority];
    struct belay__gpu_bucket *bucket = &class->buckets[request->bucket];

    if (class->waiting++ == 0) {
        pool->waiting_classes |= UINT32_C(1) << request->priority;
        if (class->pass < pool->pass) {
            class->pass = pool->pass;
        }
    }
    pool->waiting++;
    request->next = NULL;
    request->prev = bucket->last;
    if (bucket->last != NULL) {
        bucket->last->next = request;
    } else {
        bucket->first = request;
        class->filled[request->bucket / 64] |= UINT64_C(1)
                                               << request->bucket % 64;
    }
    bucket->last = request;
    request->waiting = true;
}

void
belay__gpu_queue_remove(
    belay_gpu_pool *pool, struct belay__gpu_request *request)
{
    struct belay__gpu_class *class = &pool->classes[request->priority];
    struct belay__gpu_bucket *bucket = &class->buckets[request->bucket];

    assert(request->waiting);
    if (request->prev != NULL) {
        request->prev->next = request->next;
    } else {
        bucket->first = request->next;
    }
    if (request->next != NULL) {
        request->next->prev = request->prev;
    } else {
        bucket->last = request->prev;
    }
    if (bucket->first == NULL) {
        class->filled[request->bucket / 64] &=
            ~(UINT64_C(1) << request->bucket % 64);
    }
    if (--class->waiting == 0) {
        pool->waiting_classes &= ~(UINT32_C(1) << request->priority);
    }
    pool->waiting--;
    request->waiting = false;
}

struct belay__gpu_request *
belay__gpu_queue_oldest(const struct belay__gpu_class *class)
{
    struct belay__gpu_request *oldest = NULL;
    struct belay__gpu_request *head;

    for (uint32_t word = 0; word < 3; word++) {
        for (uint64_t bits = class->filled[word]; bits != 0; bits &= bits - 1) {
            head = class->buckets[word * 64 + (uint32_t)__builtin_ctzll(bits)]
                       .first;
            if (oldest == NULL || head->number < oldest->number) {
                oldest = head;
            }
        }
    }
    return oldest;
}

struct belay__gpu_request *
belay__gpu_queue_first(const belay_gpu_pool *pool)
{
    struct belay__gpu_request *first = NULL;
    struct belay__gpu_request *oldest;

    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        oldest = belay__gpu_queue_oldest(&pool->classes[i]);
        if (oldest != NULL
            && (first == NULL || oldest->number < first->number)) {
            first = oldest;
        }
    }
    return first;
}

void
belay__gpu_queue_charge(belay_gpu_pool *pool, uint32_t priority)
{
    struct belay__gpu_class *class = &pool->classes[priority];

    if (class->pass < pool->pass) {
        class->pass = pool->pass;
    } else {
        pool->pass = class->pass;
    }
    class->pass += stride_of(priority);
}

/* Is priority a served before b? */
static bool
goes_before(const belay_gpu_pool *pool, uint32_t a, uint32_t b)
{
    if (!pool->opts.strict && pool->classes[a].pass != pool->classes[b].pass) {
        return pool->classes[a].pass < pool->classes[b].pass;
    }
    return a > b;
}

uint32_t
belay__gpu_queue_order(
    const belay_gpu_pool *pool, uint8_t ret[BELAY_GPU_PRIORITIES])
{
    uint32_t count = 0;
    uint32_t at;
    uint32_t i;

    for (uint32_t bits = pool->waiting_classes; bits != 0; bits &= bits - 1) {
        i = (uint32_t)__builtin_ctz(bits);
        for (at = count++; at > 0 && goes_before(pool, i, ret[at - 1]); at--) {
            ret[at] = ret[at - 1];
        }
        ret[at] = (uint8_t)i;
    }
    return count;
}
