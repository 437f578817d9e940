/* place.c - where a request fits.
 *
 * Deterministic (G7): of the devices that have a free slot and the bytes, the
 * one with the fewest free bytes; then the one with the slot that the priority
 * had last; then the first. On it that slot, or the first free one.
 */
#include "gpu/internal.h"

static uint64_t
free_bytes(const struct belay__gpu_device *device)
{
    return device->capacity - device->leased;
}

static bool
is_kept(const belay_gpu_pool *pool, const struct belay__gpu_device *device,
    const struct belay__gpu_request *request)
{
    return pool->reserved != NULL && pool->reserved != request
           && (pool->reserved_devices >> device->index & 1) != 0;
}

static bool
fits(const belay_gpu_pool *pool, const struct belay__gpu_device *device,
    const struct belay__gpu_request *request)
{
    return device->free_slots != 0 && !is_kept(pool, device, request)
           && belay__gpu_need(device, request->bytes) <= free_bytes(device);
}

/* The slot that the priority had last, if that is free and here. */
static struct belay__gpu_slot *
familiar(const belay_gpu_pool *pool, const struct belay__gpu_device *device,
    uint32_t priority)
{
    struct belay__gpu_slot *last = pool->classes[priority].last;

    if (last == NULL || last->device != device
        || (device->free_slots >> last->bit & 1) == 0) {
        return NULL;
    }
    return last;
}

/* Is device a, which fits as b does, the better place? a comes after b. */
static bool
is_better(const belay_gpu_pool *pool, const struct belay__gpu_device *a,
    const struct belay__gpu_device *b, uint32_t priority)
{
    if (free_bytes(a) != free_bytes(b)) {
        return free_bytes(a) < free_bytes(b);
    }
    return familiar(pool, a, priority) != NULL;
}

static struct belay__gpu_slot *
slot_on(const belay_gpu_pool *pool, const struct belay__gpu_device *device,
    uint32_t priority)
{
    struct belay__gpu_slot *last = familiar(pool, device, priority);

    return last != NULL ? last
                        : &device->slots[__builtin_ctzll(device->free_slots)];
}

static bool
place_one(const belay_gpu_pool *pool, const struct belay__gpu_request *request,
    struct belay__gpu_slot **ret)
{
    const struct belay__gpu_device *best = NULL;
    const struct belay__gpu_device *device;

    for (uint32_t i = 0; i < pool->device_count; i++) {
        device = &pool->devices[i];
        if (fits(pool, device, request)
            && (best == NULL
                || is_better(pool, device, best, request->priority))) {
            best = device;
        }
    }
    if (best == NULL) {
        return false;
    }
    *ret = slot_on(pool, best, request->priority);
    return true;
}

/* Apart from the common case, which does not pay for this one's array. */
static __attribute__((noinline)) bool
place_gang(const belay_gpu_pool *pool, const struct belay__gpu_request *request,
    struct belay__gpu_slot **ret)
{
    const struct belay__gpu_device *chosen[BELAY_GPU_DEVICES_MAX];
    const struct belay__gpu_device *device;
    uint32_t count = 0;
    uint32_t at;

    for (uint32_t i = 0; i < pool->device_count; i++) {
        device = &pool->devices[i];
        if (!fits(pool, device, request)) {
            continue;
        }
        for (at = count++;
             at > 0
             && is_better(pool, device, chosen[at - 1], request->priority);
             at--) {
            chosen[at] = chosen[at - 1];
        }
        chosen[at] = device;
    }
    if (count < request->devices) {
        return false;
    }
    for (uint32_t i = 0; i < request->devices; i++) {
        ret[i] = slot_on(pool, chosen[i], request->priority);
    }
    return true;
}

bool
belay__gpu_place(const belay_gpu_pool *pool,
    const struct belay__gpu_request *request, struct belay__gpu_slot **ret)
{
    if (pool->slots_free < request->devices) {
        return false;
    }
    return request->devices == 1 ? place_one(pool, request, ret)
                                 : place_gang(pool, request, ret);
}

int
belay__gpu_satisfiable(
    const belay_gpu_pool *pool, uint64_t bytes, uint32_t devices)
{
    const struct belay__gpu_device *device;
    uint32_t alive = 0;
    uint32_t ever = 0;

    for (uint32_t i = 0; i < pool->device_count; i++) {
        device = &pool->devices[i];
        if (belay__gpu_need(device, bytes) <= device->wanted) {
            ever++;
            alive += device->alive_slots != 0;
        }
    }
    if (alive >= devices) {
        return 0;
    }
    return ever >= devices ? BELAY_GPU_ELOST : BELAY_GPU_EUNSAT;
}

/* Most free first: the one that will be ready soonest, as far as one can
 * tell without knowing how long leases take.
 */
static bool
is_freer(const struct belay__gpu_device *a, const struct belay__gpu_device *b)
{
    const int free_a = __builtin_popcountll(a->free_slots);
    const int free_b = __builtin_popcountll(b->free_slots);

    if (free_bytes(a) != free_bytes(b)) {
        return free_bytes(a) > free_bytes(b);
    }
    return free_a > free_b;
}

uint64_t
belay__gpu_reservation(
    const belay_gpu_pool *pool, const struct belay__gpu_request *request)
{
    const struct belay__gpu_device *chosen[BELAY_GPU_DEVICES_MAX];
    const struct belay__gpu_device *device;
    uint64_t bits = 0;
    uint32_t count = 0;
    uint32_t at;

    for (uint32_t i = 0; i < pool->device_count; i++) {
        device = &pool->devices[i];
        if (device->usable_slots == 0
            || belay__gpu_need(device, request->bytes) > device->wanted) {
            continue;
        }
        for (at = count++; at > 0 && is_freer(device, chosen[at - 1]); at--) {
            chosen[at] = chosen[at - 1];
        }
        chosen[at] = device;
    }
    if (count < request->devices) {
        return 0;
    }
    for (uint32_t i = 0; i < request->devices; i++) {
        bits |= UINT64_C(1) << chosen[i]->index;
    }
    return bits;
}
