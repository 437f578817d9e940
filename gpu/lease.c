/* lease.c - leases: from the grant to the end.
 *
 * A lease is a record of the pool, not of the task's frame. So the end of a
 * lease needs nothing of the task, and a handle nothing of either. acquire.c
 * has what comes before the grant.
 */
#include <belay/gpu.h>

#include "gpu/internal.h"

/* ---- who holds ---- */

/* A count for each hash of a holding task: most tasks hold nothing, and that
 * is seen without a look at the slots.
 */
static uint32_t *
holder_count(belay_gpu_pool *pool, const belay_task *task)
{
    const uint64_t hash = (uintptr_t)task * UINT64_C(0x9e3779b97f4a7c15);

    return &pool->holders[hash >> 56];
}

static bool
holds_above(const belay_gpu_pool *pool, const belay_task *task, int32_t depth)
{
    const struct belay__gpu_lease *lease;

    for (uint32_t i = 0; i < pool->slot_count; i++) {
        lease = pool->slots[i].lease;
        if (lease != NULL && lease->task == task && lease->depth < depth
            && (lease->block || depth == INT32_MAX)) {
            return true;
        }
    }
    return false;
}

/* Up the tree of cancel scopes: a scope on another task's stack is inside of
 * that task's lease if it is deeper than the lease. One without a block may be
 * released by that task while this one waits.
 */
bool
belay__gpu_holds(const belay_gpu_pool *pool, const belay_task *task)
{
    /* Only read: the same look-up as for writing. */
    belay_gpu_pool *counts = belay__without_const(pool);

    if (pool->leases == 0) {
        return false;
    }
    if (*holder_count(counts, task) > 0 && holds_above(pool, task, INT32_MAX)) {
        return true;
    }
    for (const struct belay__scope *scope = task->base.parent; scope != NULL;
         scope = scope->parent) {
        const belay_task *holder = belay__scope_task(scope);

        if (holder != NULL && *holder_count(counts, holder) > 0
            && holds_above(pool, holder, scope->depth)) {
            return true;
        }
    }
    return false;
}

/* ---- begin and end ---- */

static void
take_back(struct belay__gpu_lease *lease)
{
    belay_gpu_pool *pool = lease->first->pool;

    pool->leaks[pool->leaked++ % BELAY__GPU_LEAKS_KEPT] =
        (struct belay__gpu_leak){lease->file, lease->line};
    belay__gpu_note(pool, BELAY_GPU_EVENT_LEAK, belay__gpu_now(pool),
        &(const struct belay_gpu_event){
            .lease = lease->number,
            .task_id = belay_task_id(lease->task),
            .detail = (uint64_t)lease->line,
            .slot = lease->first->index,
            .priority = lease->priority,
        });
    (void)belay__gpu_lease_end(lease, NULL);
    belay__gpu_changed(pool);
}

static void
holder_ended(struct belay__end_watch *watch)
{
    take_back(BELAY__CONTAINER(watch, struct belay__gpu_lease, watch));
}

void
belay__gpu_leases_take_back(belay_gpu_pool *pool, const belay_task *task)
{
    struct belay__gpu_lease *lease;

    for (uint32_t i = 0; i < pool->slot_count; i++) {
        lease = pool->slots[i].lease;
        if (lease != NULL && lease->task == task && !lease->block
            && !lease->ending) {
            take_back(lease);
        }
    }
}

void
belay__gpu_lease_begin(belay_gpu_pool *pool, struct belay__gpu_request *request,
    struct belay__gpu_slot **slots, int64_t now)
{
    struct belay__gpu_lease *lease = pool->leases_unused;

    /* One by one: as a whole it is cleared by an instruction that is slow. */
    pool->leases_unused = lease->next;
    lease->next = NULL;
    lease->first = slots[0];
    lease->task = request->task;
    lease->drainer = NULL;
    lease->watch = (struct belay__end_watch){.fn = NULL};
    lease->file = request->file;
    lease->line = request->line;
    lease->depth = request->depth;
    lease->number = request->number;
    lease->held_ns = now;
    lease->members_left = request->devices;
    lease->priority = request->priority;
    lease->block = request->block;
    lease->ending = false;
    lease->stuck = false;
    for (uint32_t i = 0; i < request->devices; i++) {
        slots[i]->lease = lease;
        slots[i]->member = i + 1 < request->devices ? slots[i + 1] : NULL;
    }
    if (!request->block) {
        belay__task_watch(request->task, &lease->watch, holder_ended);
    }
    ++*holder_count(pool, request->task);
    pool->leases++;
    request->lease = lease;
    *request->ret = (belay_gpu_lease){slots[0], slots[0]->generation};
}

static void
lease_over(belay_gpu_pool *pool, struct belay__gpu_lease *lease)
{
    belay_task *drainer = lease->drainer;
    const int code = lease->stuck ? BELAY_GPU_ESTUCK : 0;

    lease->next = pool->leases_unused;
    pool->leases_unused = lease;
    pool->leases--;
    if (drainer != NULL) {
        belay__wake(drainer, code, NULL);
    }
}

void
belay__gpu_member_left(struct belay__gpu_slot *slot, bool stuck)
{
    struct belay__gpu_lease *lease = slot->lease;

    slot->lease = NULL;
    slot->member = NULL;
    lease->stuck |= stuck;
    if (--lease->members_left == 0) {
        lease_over(slot->pool, lease);
    }
}

int
belay__gpu_lease_end(struct belay__gpu_lease *lease, belay_task *drainer)
{
    struct belay__gpu_slot *slot = lease->first;
    belay_gpu_pool *pool = slot->pool;
    const int64_t now = belay__gpu_now(pool);
    const uint64_t leases = pool->leases;
    struct belay__gpu_slot *next;

    belay__gpu_defer(pool); /* no new lease before this one is looked at */
    lease->ending = true;
    belay__task_unwatch(&lease->watch);
    --*holder_count(pool, lease->task);
    lease->task = NULL;
    for (; slot != NULL; slot = next) {
        next = slot->member; /* the slot may be another's afterwards */
        belay__gpu_slot_drain(slot, now);
    }
    pool->deferring--;           /* the caller says that there was a change */
    if (pool->leases < leases) { /* the record is not another's yet */
        return lease->stuck ? BELAY_GPU_ESTUCK : 0;
    }
    lease->drainer = drainer;
    return BELAY_EAGAIN;
}

/* ---- handles ---- */

int
belay__gpu_lease_slot(belay_gpu_lease lease, struct belay__gpu_slot **ret)
{
    int code;

    if (lease.slot == NULL) {
        return BELAY_GPU_EINVAL;
    }
    code = belay__gpu_check_caller(lease.slot->pool);
    if (code < 0) {
        return code;
    }
    if (lease.slot->generation != lease.generation
        || lease.slot->lease == NULL) {
        return BELAY_GPU_ESTALE;
    }
    *ret = lease.slot;
    return 0;
}

int
belay_gpu_release(belay_gpu_lease lease)
{
    struct belay__gpu_slot *slot;
    belay_gpu_pool *pool;
    int code = belay__gpu_lease_slot(lease, &slot);

    if (code < 0) {
        return code;
    }
    if (slot->lease->ending) {
        return BELAY_GPU_ESTALE;
    }
    if (slot->lease->block || slot->lease->first != slot) {
        return BELAY_GPU_EINVAL;
    }
    pool = slot->pool;
    (void)belay__gpu_lease_end(slot->lease, NULL);
    belay__gpu_changed(pool);
    return 0;
}

int
belay_gpu_lease_member(
    belay_gpu_lease lease, uint32_t index, belay_gpu_lease *ret)
{
    struct belay__gpu_slot *slot;
    int code = belay__gpu_lease_slot(lease, &slot);

    if (code < 0) {
        return code;
    }
    if (ret == NULL || slot->lease->first != slot) {
        return BELAY_GPU_EINVAL;
    }
    while (index > 0 && slot != NULL) {
        slot = slot->member;
        index--;
    }
    if (slot == NULL) {
        return BELAY_GPU_EINVAL;
    }
    *ret = (belay_gpu_lease){slot, slot->generation};
    return 0;
}
