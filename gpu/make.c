/* make.c - a pool's memory: devices, slots, and all that their release, cancel
 * and recovery will need, so that none of these can fail.
 */
#include "gpu/make.h"

#include <stdlib.h>

#include "gpu/lock.h"

#define OVERTAKES 16
#define CLOSE_LIMIT_NS 5000000000
#define MAX_RESETS 3
#define THREAD_DEPTH 2 /* the next one waits beside the thread */

const char *
belay__gpu_pool_opts_check(const struct belay_gpu_pool_opts *opts)
{
    if (opts->slots > BELAY_GPU_SLOTS_MAX) {
        return "slots is more than 64";
    }
    if (opts->policy > BELAY_GPU_FIRST_FIT) {
        return "policy is none";
    }
    if (opts->max_hold.ns < 0 || opts->drain_limit.ns < 0
        || opts->close_limit.ns < 0) {
        return "a time is negative";
    }
    if (belay__gpu_locks_check(opts) != NULL) {
        return belay__gpu_locks_check(opts);
    }
    return belay__gpu_devices_check(opts->devices);
}

static void
set_options(belay_gpu_pool *pool, const struct belay_gpu_pool_opts *opts)
{
    pool->opts = *opts;
    pool->opts.devices = NULL; /* the caller's texts … */
    if (opts->name == NULL) {
        pool->opts.name = "gpu pool";
    }
    if (opts->overtakes == 0) {
        pool->opts.overtakes = OVERTAKES;
    }
    if (opts->close_limit.ns == 0) {
        pool->opts.close_limit.ns = CLOSE_LIMIT_NS;
    }
    if (opts->max_resets == 0) {
        pool->opts.max_resets = MAX_RESETS;
    }
}

/* What may be leased of a device. */
static uint64_t
capacity_of(const struct belay_gpu_pool_opts *opts,
    const struct belay__gpu_devinfo *info)
{
    const uint64_t headroom =
        opts->headroom_bytes != 0 ? opts->headroom_bytes : info->headroom_bytes;
    uint64_t bytes =
        info->free_bytes < info->bytes ? info->free_bytes : info->bytes;

    bytes = bytes > headroom ? bytes - headroom : 0;
    if (opts->device_bytes != 0 && opts->device_bytes < bytes) {
        bytes = opts->device_bytes;
    }
    return bytes;
}

static uint32_t
slots_of(const struct belay_gpu_pool_opts *opts,
    const struct belay__gpu_devinfo *info)
{
    const uint32_t wanted = opts->slots != 0 ? opts->slots : info->slots;

    if (wanted == 0) {
        return 1;
    }
    return wanted < BELAY_GPU_SLOTS_MAX ? wanted : BELAY_GPU_SLOTS_MAX;
}

static void
fill_device(belay_gpu_pool *pool, uint32_t index,
    const struct belay__gpu_devinfo *info, struct belay__gpu_slot *slots)
{
    struct belay__gpu_device *device = &pool->devices[index];
    const uint32_t count = slots_of(&pool->opts, info);
    const uint64_t all = count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;

    *device = (struct belay__gpu_device){
        .info = *info,
        .index = index,
        .slot_count = count,
        .slots = slots,
        .free_slots = all,
        .alive_slots = all,
        .usable_slots = all,
        .capacity = capacity_of(&pool->opts, info),
    };
    belay__gpu_set_wanted(device, device->capacity);
    for (uint32_t i = 0; i < count; i++) {
        slots[i].pool = pool;
        slots[i].device = device;
        slots[i].index = (uint16_t)(&slots[i] - pool->slots);
        slots[i].bit = (uint8_t)i;
        slots[i].state = BELAY_GPU_SLOT_FREE;
        slots[i].since_ns = pool->opened_ns;
    }
}

static int
make_arrays(belay_gpu_pool *pool, const struct belay__gpu_found *found)
{
    struct belay__memory *memory = pool->runtime->memory;
    struct belay__gpu_slot *next;

    for (uint32_t i = 0; i < found->count; i++) {
        pool->slot_count += slots_of(&pool->opts, &found->infos[i]);
    }
    pool->device_count = found->count;
    pool->slots_free = pool->slot_count;
    pool->devices =
        belay__alloc_zero(memory, found->count * sizeof(*pool->devices));
    pool->slots =
        belay__alloc_zero(memory, pool->slot_count * sizeof(*pool->slots));
    pool->lease_records = belay__alloc_zero(
        memory, pool->slot_count * sizeof(*pool->lease_records));
    if (pool->devices == NULL || pool->slots == NULL
        || pool->lease_records == NULL) {
        return BELAY_ENOMEM;
    }
    next = pool->slots;
    for (uint32_t i = 0; i < found->count; i++) {
        fill_device(pool, i, &found->infos[i], next);
        next += pool->devices[i].slot_count;
    }
    for (uint32_t i = pool->slot_count; i-- > 0;) {
        pool->lease_records[i].next = pool->leases_unused;
        pool->leases_unused = &pool->lease_records[i];
    }
    return 0;
}

/* For each slot its own operation and its timer. */
static int
make_reserves(belay_gpu_pool *pool)
{
    struct belay__gpu_slot *slot;
    int code;

    for (uint32_t i = 0; i < pool->slot_count; i++) {
        slot = &pool->slots[i];
        slot->own = belay__gpu_op_new(pool, BELAY__GPU_OPEN, 0);
        if (slot->own == NULL) {
            return BELAY_ENOMEM;
        }
        code = belay__timer_init(
            pool->runtime, &slot->timer, belay__gpu_slot_timer);
        if (code < 0) {
            return code;
        }
    }
    return 0;
}

static int
make_note(belay_gpu_pool *pool, const struct belay__gpu_found *found)
{
    const size_t len = strlen(found->note);

    if (len == 0) {
        return 0;
    }
    pool->note = belay__copy_text(pool->runtime->memory, found->note, len);
    pool->note_bytes = len + 1;
    return pool->note != NULL ? 0 : BELAY_ENOMEM;
}

/* Takes half-made pools too. Not the bridge. */
void
belay__gpu_pool_free(belay_gpu_pool *pool)
{
    struct belay__memory *memory = pool->runtime->memory;
    struct belay__gpu_slot *slot;

    for (uint32_t i = 0; pool->slots != NULL && i < pool->slot_count; i++) {
        slot = &pool->slots[i];
        belay__gpu_op_free(pool, slot->own);
        belay__timer_fini(pool->runtime, &slot->timer);
        belay__gpu_kernels_free(slot);
        belay__gpu_stages_free(slot);
    }
    belay__gpu_ops_fini(pool);
    if (!pool->threads || !pool->left_behind) {
        belay__gpu_memories_free(pool);
    } /* else they are the thread's that was left behind */
    belay__timer_fini(pool->runtime, &pool->timer);
    belay__life_end(memory, &pool->there);
    belay__gpu_locks_free(pool->locks);
    belay__gpu_ring_close(pool);
    belay__free(memory, pool->lease_records,
        pool->slot_count * sizeof(*pool->lease_records));
    belay__free(memory, pool->slots, pool->slot_count * sizeof(*pool->slots));
    belay__free(
        memory, pool->devices, pool->device_count * sizeof(*pool->devices));
    belay__free(memory, pool->note, pool->note_bytes);
    belay__free(memory, pool, sizeof(*pool));
}

static int
make_parts(belay_gpu_pool *pool, const struct belay__gpu_found *found)
{
    int code = make_arrays(pool, found);

    if (code == 0) {
        code = belay__life_begin(pool->runtime->memory, &pool->there);
    }
    if (code == 0) {
        code = belay__gpu_ring_open(pool, pool->opts.events);
    }
    if (code == 0) {
        code = make_note(pool, found);
    }
    if (code == 0) {
        code = belay__timer_init(
            pool->runtime, &pool->timer, belay__gpu_close_limit);
    }
    /* Last, since it is closed by a callback of the loop. */
    if (code == 0 && (found->driver->flags & BELAY__GPU_INLINE) == 0) {
        pool->threads = true;
    }
    if (code == 0) {
        code = make_reserves(pool);
    }
    if (code == 0 && pool->opts.exclusive) {
        code = belay__gpu_locks_open(pool, &pool->opts);
    }
    if (code == 0 && pool->threads) {
        code = belay__gpu_bridge_open(pool, &pool->bridge);
    }
    return code;
}

int
belay__gpu_pool_make(belay_runtime *runtime,
    const struct belay_gpu_pool_opts *opts, struct belay__gpu_found *found,
    belay_gpu_pool **ret)
{
    belay_gpu_pool *pool = belay__alloc_zero(runtime->memory, sizeof(*pool));
    int code;

    if (pool == NULL) {
        return BELAY_ENOMEM;
    }
    pool->runtime = runtime;
    pool->driver = found->driver;
    pool->driver_state = found->state;
    pool->forks = belay__gpu_forks();
    pool->thread = pthread_self();
    pool->opened_ns = belay__gpu_now(pool);
    set_options(pool, opts);
    pool->depth =
        (found->driver->flags & BELAY__GPU_INLINE) != 0 ? 1 : THREAD_DEPTH;
    code = make_parts(pool, found);
    if (code < 0) {
        belay__gpu_pool_free(pool);
        return code;
    }
    pool->opts.lock_folder = NULL; /* … not needed any more */
    free(found->infos);
    found->infos = NULL;
    found->driver = NULL;
    *ret = pool;
    return 0;
}
