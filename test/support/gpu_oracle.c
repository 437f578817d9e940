/* gpu_oracle.c - the invariants of a pool; gpu_model.c has the model. */
#include "test/support/gpu_oracle.h"

#include <stdio.h>
#include <stdlib.h>

#include "gpu/lock.h"
#include "test/support/gpu_model.h"

#define EVENTS_SHOWN 50

char gpu_oracle_hint[160];

static uint64_t looks;
static struct gpu_model model; /* one pool at a time */
static bool with_model;

void
gpu_oracle_fail(
    const belay_gpu_pool *pool, const char *what, uint64_t a, uint64_t b)
{
    const uint64_t count = pool->ring_count;
    uint64_t at = count > EVENTS_SHOWN ? count - EVENTS_SHOWN : 0;
    const struct belay_gpu_event *event;

    (void)fprintf(stderr, "gpu oracle: %s (%llu, %llu) %s\n", what,
        (unsigned long long)a, (unsigned long long)b, gpu_oracle_hint);
    for (; at < count; at++) {
        event = &pool->ring[at & pool->ring_mask];
        (void)fprintf(stderr,
            "%6llu: t %lld kind %u lease %llu slot %u prio %u detail %llu\n",
            (unsigned long long)at, (long long)event->time.ns, event->kind,
            (unsigned long long)event->lease, event->slot, event->priority,
            (unsigned long long)event->detail);
    }
    abort();
}

#define HOLDS(condition, a, b)                                               \
    do {                                                                     \
        if (!(condition)) {                                                  \
            gpu_oracle_fail(pool, #condition, (uint64_t)(a), (uint64_t)(b)); \
        }                                                                    \
    } while (0)

static bool
is_in_service(const struct belay__gpu_slot *slot)
{
    return slot->state <= BELAY_GPU_SLOT_DRAINING
           || slot->state == BELAY_GPU_SLOT_FOREIGN;
}

static void
check_times(const belay_gpu_pool *pool, const struct belay__gpu_slot *slot)
{
    struct belay_gpu_slot_stats stats = {.size = sizeof(stats)};
    const int64_t before = belay__gpu_now(pool) - pool->opened_ns;
    int64_t sum = 0;

    HOLDS(belay_gpu_pool_slot(pool, slot->index, &stats) == 0, slot->index, 0);
    for (int i = 0; i < BELAY_GPU_SLOT_TIMES; i++) {
        HOLDS(stats.spent[i].ns >= 0, slot->index, i);
        sum += stats.spent[i].ns;
    }
    /* The same, if the clock is a virtual one. */
    HOLDS(before <= sum && sum <= belay__gpu_now(pool) - pool->opened_ns, sum,
        slot->index);
}

static void
check_ops(const belay_gpu_pool *pool, const struct belay__gpu_slot *slot)
{
    uint32_t count = 0;
    uint32_t handed = 0;
    uint64_t seq = 0;

    for (const struct belay__gpu_op *op = slot->ops; op != NULL;
         op = op->after) {
        HOLDS(op->slot == slot, slot->index, op->seq);
        HOLDS(op->seq > seq, op->seq, seq);
        HOLDS(op->state <= BELAY__GPU_OP_SUBMITTED, op->state, op->seq);
        HOLDS(!op->handed || handed == count, op->seq, slot->index);
        seq = op->seq;
        count++;
        handed += op->handed;
    }
    HOLDS(count == slot->op_count, count, slot->op_count);
    HOLDS(handed == slot->handed && handed <= pool->depth, handed, slot->index);
}

static void
check_slot(const belay_gpu_pool *pool, const struct belay__gpu_slot *slot)
{
    const struct belay__gpu_device *device = slot->device;
    const bool is_free = (device->free_slots >> slot->bit & 1) != 0;
    const bool usable = (device->usable_slots >> slot->bit & 1) != 0;
    uint64_t used = 0;

    HOLDS(is_free == (slot->state == BELAY_GPU_SLOT_FREE), slot->index,
        slot->state);
    HOLDS(usable == is_in_service(slot), slot->index, slot->state);
    HOLDS(!is_free
              || (slot->lease == NULL && slot->ops == NULL && slot->bytes == 0
                  && slot->memories == NULL && slot->stages == NULL),
        slot->index, slot->bytes);
    HOLDS((slot->lease != NULL)
              || (slot->state != BELAY_GPU_SLOT_HELD
                  && slot->state != BELAY_GPU_SLOT_RUNNING
                  && slot->state != BELAY_GPU_SLOT_DRAINING),
        slot->index, slot->state);
    HOLDS(slot->state != BELAY_GPU_SLOT_DRAINING || slot->lease->ending,
        slot->index, 0);
    for (const struct belay__gpu_memory *memory = slot->memories;
         memory != NULL; memory = memory->next) {
        HOLDS(memory->slot == slot, slot->index, memory->buffer.bytes);
        used += memory->buffer.bytes;
    }
    /* What is being allocated counts already. */
    HOLDS(used <= slot->used && slot->used <= slot->bytes, used, slot->used);
    check_ops(pool, slot);
    check_times(pool, slot);
}

static void
check_devices(const belay_gpu_pool *pool)
{
    const struct belay__gpu_device *device;
    uint32_t free_slots = 0;
    uint64_t bytes;

    for (uint32_t i = 0; i < pool->device_count; i++) {
        device = &pool->devices[i];
        bytes = 0;
        for (uint32_t s = 0; s < device->slot_count; s++) {
            check_slot(pool, &device->slots[s]);
            bytes += device->slots[s].bytes;
        }
        HOLDS(bytes == device->leased, bytes, device->leased);
        HOLDS(device->leased <= device->capacity, device->leased, i);
        HOLDS((device->usable_slots & ~device->alive_slots) == 0, i, 0);
        free_slots += (uint32_t)__builtin_popcountll(device->free_slots);
    }
    HOLDS(free_slots == pool->slots_free, free_slots, pool->slots_free);
}

static void
check_leases(const belay_gpu_pool *pool)
{
    uint64_t leases = 0;
    uint64_t members = 0;
    uint64_t unused = 0;
    const struct belay__gpu_lease *lease;

    for (uint32_t i = 0; i < pool->slot_count; i++) {
        lease = pool->slots[i].lease;
        HOLDS(lease == NULL || lease->ending || lease->task != NULL, i, 0);
    }
    for (lease = pool->leases_unused; lease != NULL; lease = lease->next) {
        unused++;
    }
    for (uint32_t i = 0; i < pool->slot_count; i++) {
        lease = &pool->lease_records[i];
        for (uint32_t s = 0; s < pool->slot_count; s++) {
            members += pool->slots[s].lease == lease;
        }
        HOLDS(members == 0 || members == lease->members_left, members, i);
        leases += members > 0;
        members = 0;
    }
    HOLDS(leases == pool->leases, leases, pool->leases);
    HOLDS(unused + leases == pool->slot_count, unused, leases);
}

static void
check_queue(const belay_gpu_pool *pool)
{
    const struct belay__gpu_class *class;
    const struct belay__gpu_request *before;
    uint64_t all = 0;
    uint64_t count;

    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        class = &pool->classes[i];
        count = 0;
        for (uint32_t b = 0; b < BELAY__GPU_BUCKETS; b++) {
            HOLDS((class->filled[b / 64] >> b % 64 & 1)
                      == (class->buckets[b].first != NULL),
                i, b);
            before = NULL;
            for (const struct belay__gpu_request *at = class->buckets[b].first;
                 at != NULL; at = at->next) {
                HOLDS(at->prev == before, at->number, b);
                HOLDS(before == NULL || before->number < at->number, at->number,
                    b);
                HOLDS(at->waiting && at->priority == i && at->bucket == b,
                    at->number, b);
                before = at;
                count++;
            }
            HOLDS(class->buckets[b].last == before, i, b);
        }
        HOLDS(count == class->waiting, count, class->waiting);
        all += count;
    }
    HOLDS(all == pool->waiting, all, pool->waiting);
    HOLDS(pool->reserved == NULL || pool->reserved->waiting, 0, 0);
    HOLDS((pool->reserved != NULL) == (pool->reserved_devices != 0), 0,
        pool->reserved_devices);
}

/* G39: who has a lease has the lock, and so has any work; nobody else has one
 * when all is settled, but a slot that is out of service.
 */
static void
check_locks(const belay_gpu_pool *pool)
{
    const struct belay__gpu_locks *locks = pool->locks;
    const struct belay__gpu_slot *slot;
    uint32_t foreign = 0;
    bool held;

    if (locks == NULL) {
        return;
    }
    for (uint32_t i = 0; i < pool->slot_count; i++) {
        slot = &pool->slots[i];
        held = locks->slots[i].held;
        HOLDS(slot->lease == NULL || held, i, slot->state);
        HOLDS(!held
                  || (slot->state != BELAY_GPU_SLOT_FREE
                      && slot->state != BELAY_GPU_SLOT_FOREIGN),
            i, slot->state);
        HOLDS(!held || !locks->slots[i].foreign, i, slot->state);
        HOLDS(slot->state != BELAY_GPU_SLOT_FOREIGN || locks->slots[i].foreign,
            i, 0);
        HOLDS(!locks->slots[i].foreign || slot->state == BELAY_GPU_SLOT_FOREIGN
                  || slot->state == BELAY_GPU_SLOT_QUARANTINED,
            i, slot->state);
        /* The pool's own work is on a device too. */
        HOLDS(slot->ops == NULL || held, i, slot->state);
        HOLDS(!locks->slots[i].wanted
                  || (locks->slots[i].foreign && pool->waiting > 0),
            i, slot->state);
        foreign += locks->slots[i].foreign;
    }
    HOLDS(foreign == locks->foreign, foreign, locks->foreign);
    HOLDS(locks->watching == (foreign > 0 && pool->waiting > 0), foreign,
        pool->waiting);
    HOLDS(locks->idle == 0, locks->idle, 0);
}

/* G23: with all slots idle nobody waits who could be served. */
static void
check_liveness(const belay_gpu_pool *pool)
{
    const struct belay__gpu_request *first = belay__gpu_queue_first(pool);

    HOLDS(first == NULL || pool->slots_free < pool->slot_count, first->number,
        pool->waiting);
}

static void
look(belay_gpu_pool *pool, void *arg)
{
    (void)arg;
    looks++;
    check_devices(pool);
    check_leases(pool);
    check_queue(pool);
    check_locks(pool);
    check_liveness(pool);
    if (with_model) {
        gpu_model_follow(&model, pool);
    }
}

void
gpu_oracle_watch(belay_gpu_pool *pool, bool wanted)
{
    with_model = wanted;
    if (with_model) {
        gpu_model_init(&model, pool);
    }
    pool->settled = look;
    look(pool, NULL);
}

uint64_t
gpu_oracle_looks(void)
{
    return looks;
}

uint64_t
gpu_oracle_grants(void)
{
    return model.grants;
}
