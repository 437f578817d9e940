/* stats.c - snapshots of a pool; nothing here changes or allocates anything. */
#include <belay/gpu_stats.h>

#include "gpu/internal.h"

static void
copy_text(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from);
}

int
belay_gpu_pool_device(
    const belay_gpu_pool *pool, uint32_t index, struct belay_gpu_device *ret)
{
    const struct belay__gpu_device *device;

    if (ret->size != sizeof(*ret)) {
        return BELAY_EINVAL;
    }
    if (index >= pool->device_count) {
        return BELAY_ENOENT;
    }
    device = &pool->devices[index];
    *ret = (struct belay_gpu_device){
        .size = sizeof(*ret),
        .bytes = device->info.bytes,
        .lease_bytes = device->wanted,
        .leased_bytes = device->leased,
        .units = device->info.units,
        .slots = device->slot_count,
        .slots_free = (uint32_t)__builtin_popcountll(device->free_slots),
        .slots_lost = device->slot_count
                      - (uint32_t)__builtin_popcountll(device->usable_slots),
        .gauges = BELAY_GPU_GAUGES_UNKNOWN,
    };
    copy_text(ret->backend, sizeof(ret->backend), pool->driver->name);
    copy_text(ret->name, sizeof(ret->name), device->info.name);
    copy_text(ret->uid, sizeof(ret->uid), device->info.uid);
    return 0;
}

const char *
belay_gpu_pool_note(const belay_gpu_pool *pool)
{
    return pool->note != NULL ? pool->note : "";
}

static void
lease_stats(
    const struct belay__gpu_slot *slot, struct belay_gpu_slot_stats *ret)
{
    const struct belay__gpu_lease *lease = slot->lease;

    ret->task_name = "";
    if (lease == NULL) {
        return;
    }
    ret->priority = lease->priority;
    ret->lease = lease->number;
    ret->held_since.ns = lease->held_ns;
    ret->lease_ops = slot->lease_ops;
    if (lease->task != NULL) {
        ret->task_id = belay_task_id(lease->task);
        ret->task_name = belay_task_name(lease->task);
    }
}

int
belay_gpu_pool_slot(const belay_gpu_pool *pool, uint32_t index,
    struct belay_gpu_slot_stats *ret)
{
    const struct belay__gpu_slot *slot;
    uint32_t now_in;

    if (ret->size != sizeof(*ret)) {
        return BELAY_EINVAL;
    }
    if (index >= pool->slot_count) {
        return BELAY_ENOENT;
    }
    slot = &pool->slots[index];
    *ret = (struct belay_gpu_slot_stats){
        .size = sizeof(*ret),
        .state = (enum belay_gpu_slot_state)slot->state,
        .device = slot->device->index,
        .index = slot->bit,
        .queued = slot->op_count - slot->own_busy,
        .since.ns = slot->since_ns,
        .leased_bytes = slot->bytes,
        .used_bytes = slot->used,
        .leases = slot->leases,
        .ops = slot->ops_ended,
        .failures = slot->failures,
        .resets = slot->resets_ever,
    };
    lease_stats(slot, ret);
    for (uint32_t i = 0; i < BELAY_GPU_SLOT_TIMES; i++) {
        ret->spent[i].ns = slot->spent_ns[i];
    }
    now_in = slot->state < BELAY_GPU_SLOT_QUARANTINED
                 ? slot->state
                 : (uint32_t)BELAY_GPU_SLOT_QUARANTINED;
    ret->spent[now_in].ns += belay__gpu_now(pool) - slot->since_ns;
    return 0;
}

static void
priority_stats(const belay_gpu_pool *pool, uint32_t priority, int64_t now,
    struct belay_gpu_priority_stats *ret)
{
    const struct belay__gpu_class *class = &pool->classes[priority];

    *ret = class->stats;
    ret->waiting = class->waiting;
    ret->requests = ret->immediate + ret->waited + ret->cancelled
                    + ret->timed_out + ret->refused + ret->waiting;
    if (pool->reserved != NULL && pool->reserved->priority == priority) {
        ret->reserved_time.ns += now - pool->reserved_since_ns;
    }
}

int
belay_gpu_pool_get_stats(
    const belay_gpu_pool *pool, struct belay_gpu_pool_stats *ret)
{
    const int64_t now = belay__gpu_now(pool);

    if (ret->size != sizeof(*ret)) {
        return BELAY_EINVAL;
    }
    ret->name = pool->opts.name;
    ret->backend = pool->driver->name;
    ret->devices = pool->device_count;
    ret->slots = pool->slot_count;
    ret->slots_free = pool->slots_free;
    ret->slots_lost = pool->slot_count;
    for (uint32_t i = 0; i < pool->device_count; i++) {
        ret->slots_lost -=
            (uint32_t)__builtin_popcountll(pool->devices[i].usable_slots);
    }
    ret->leases = pool->leases;
    ret->waiting = pool->waiting;
    ret->grants = pool->grants;
    ret->leaked = pool->leaked;
    ret->tries_failed = pool->tries_failed;
    ret->ops_done = pool->ops_done;
    ret->ops_failed = pool->ops_failed;
    ret->ops_dropped = pool->ops_dropped;
    ret->ops_lost = pool->ops_lost;
    ret->events = pool->ring_count;
    ret->opened.ns = pool->opened_ns;
    ret->now.ns = now;
    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        priority_stats(pool, i, now, &ret->priorities[i]);
    }
    return 0;
}

belay_duration
belay_gpu_wait_quantile(
    const struct belay_gpu_priority_stats *stats, double share)
{
    const double wanted = share * (double)stats->waited;
    uint64_t below = 0;
    uint32_t bucket = 0;

    if (stats->waited == 0) {
        return belay_nanoseconds(0);
    }
    for (; bucket < BELAY_GPU_WAIT_BUCKETS - 1; bucket++) {
        below += stats->wait_buckets[bucket];
        if (below > 0 && (double)below >= wanted) {
            break;
        }
    }
    return belay_nanoseconds((INT64_C(1) << bucket) - 1);
}

const char *
belay_gpu_leak_site(const belay_gpu_pool *pool, uint32_t index, int *ret_line)
{
    const uint64_t kept = pool->leaked < BELAY__GPU_LEAKS_KEPT
                              ? pool->leaked
                              : BELAY__GPU_LEAKS_KEPT;
    const struct belay__gpu_leak *leak;

    if (index >= kept) {
        return NULL;
    }
    leak = &pool->leaks[(pool->leaked - kept + index) % BELAY__GPU_LEAKS_KEPT];
    *ret_line = leak->line;
    return leak->file != NULL ? leak->file : "";
}
