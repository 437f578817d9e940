/* slot.c - one slot: taken, drained, in quarantine, and back in service.
 *
 * A slot is granted again when it is FREE, and it becomes FREE in one place,
 * set_free(), after its last operation has ended and its lease's memory has
 * been given back. What may go wrong on the way is a state of its own, and none
 * of them has a way to FREE that does not pass the health operations.
 */
#include "gpu/lock.h"

#define BACKOFF_NS 1000000000      /* before the first reset; doubles … */
#define BACKOFF_DOUBLINGS 6        /* … so often … */
#define BACKOFF_MAX_NS 60000000000 /* … but to no more than this */
#define HEALTHY_ENOUGH 3

static uint64_t
bit_of(const struct belay__gpu_slot *slot)
{
    return UINT64_C(1) << slot->bit;
}

static enum belay_gpu_slot_state
account_of(uint8_t state)
{
    return state < BELAY_GPU_SLOT_QUARANTINED ? (enum belay_gpu_slot_state)state
                                              : BELAY_GPU_SLOT_QUARANTINED;
}

static void
set_quietly(
    struct belay__gpu_slot *slot, enum belay_gpu_slot_state state, int64_t now)
{
    slot->spent_ns[account_of(slot->state)] += now - slot->since_ns;
    slot->since_ns = now;
    slot->state = (uint8_t)state;
}

void
belay__gpu_slot_set(
    struct belay__gpu_slot *slot, enum belay_gpu_slot_state state, int64_t now)
{
    const struct belay__gpu_lease *lease = slot->lease;

    if (slot->state == (uint8_t)state) {
        return;
    }
    /* A caller may have read the clock before it made the slot do something:
     * of what a slot has spent nothing is ever taken back.
     */
    now = now > slot->since_ns ? now : slot->since_ns;
    set_quietly(slot, state, now);
    belay__gpu_note(slot->pool, BELAY_GPU_EVENT_SLOT, now,
        &(const struct belay_gpu_event){
            .lease = lease != NULL ? lease->number : 0,
            .detail = (uint64_t)state,
            .slot = slot->index,
            .priority = lease != NULL ? lease->priority : 0,
        });
}

void
belay__gpu_slot_take(struct belay__gpu_slot *slot, uint64_t bytes, int64_t now)
{
    struct belay__gpu_device *device = slot->device;

    assert(slot->state == BELAY_GPU_SLOT_FREE && slot->ops == NULL);
    assert(bytes <= device->capacity - device->leased);
    device->free_slots &= ~bit_of(slot);
    device->leased += bytes;
    slot->pool->slots_free--;
    slot->bytes = bytes;
    slot->lease_ops = 0;
    slot->generation++;
    slot->leases++;
    set_quietly(slot, BELAY_GPU_SLOT_HELD, now); /* the grant's event tells */
}

/* ---- out of service, and back ---- */

static void
own_push(struct belay__gpu_slot *slot, enum belay__gpu_job job)
{
    assert(!slot->own_busy);
    slot->own->job = job;
    slot->own->patience_ns =
        job == BELAY__GPU_OPEN ? belay__gpu_lock_patience_ns(slot) : 0;
    slot->own_busy = true;
    belay__gpu_op_push(slot, slot->own);
}

/* The one place where a slot becomes FREE. */
static void
set_free(struct belay__gpu_slot *slot, int64_t now)
{
    slot->device->free_slots |= bit_of(slot);
    slot->pool->slots_free++;
    belay__gpu_slot_set(slot, BELAY_GPU_SLOT_FREE, now);
}

/* Into service. */
static void
serve(struct belay__gpu_slot *slot, int64_t now)
{
    assert(slot->ops == NULL && slot->lease == NULL && slot->bytes == 0);
    slot->device->usable_slots |= bit_of(slot);
    slot->lost = false;
    if (slot->pool->locks == NULL || belay__gpu_lock_keep(slot, now)) {
        set_free(slot, now);
    } else {
        belay__gpu_lock_is_foreign(slot);
        belay__gpu_slot_set(slot, BELAY_GPU_SLOT_FOREIGN, now);
    }
}

void
belay__gpu_slot_is_foreign(struct belay__gpu_slot *slot, int64_t now)
{
    slot->device->free_slots &= ~bit_of(slot);
    slot->pool->slots_free--;
    belay__gpu_lock_is_foreign(slot);
    belay__gpu_slot_set(slot, BELAY_GPU_SLOT_FOREIGN, now);
}

static void
die(struct belay__gpu_slot *slot, int64_t now)
{
    belay__gpu_lock_after_reset(slot);
    belay__gpu_slot_set(slot, BELAY_GPU_SLOT_DEAD, now);
    slot->device->alive_slots &= ~bit_of(slot);
    belay__gpu_refuse_unsatisfiable(slot->pool);
}

/* It has failed, and nothing is left on it: try again after a while. */
static void
recover(struct belay__gpu_slot *slot, int64_t now)
{
    const uint32_t doublings =
        slot->resets < BACKOFF_DOUBLINGS ? slot->resets : BACKOFF_DOUBLINGS;
    const int64_t backoff = (int64_t)BACKOFF_NS << doublings;

    if (slot->resets >= slot->pool->opts.max_resets) {
        die(slot, now);
        return;
    }
    belay__gpu_lock_after_reset(slot);
    belay__gpu_slot_set(slot, BELAY_GPU_SLOT_QUARANTINED, now);
    if (!slot->pool->shutting) {
        belay__timer_start(slot->pool->runtime, &slot->timer,
            now + (backoff < BACKOFF_MAX_NS ? backoff : BACKOFF_MAX_NS));
    }
}

static void
on_probation(struct belay__gpu_slot *slot, int64_t now)
{
    slot->healthy = 0;
    belay__gpu_slot_set(slot, BELAY_GPU_SLOT_PROBATION, now);
    if (!slot->pool->shutting) {
        own_push(slot, BELAY__GPU_HEALTH);
    }
}

/* From service into quarantine; what it was doing ends, its holder is not
 * killed.
 */
static void
slot_lost(struct belay__gpu_slot *slot, int64_t now)
{
    struct belay__gpu_device *device = slot->device;

    if (slot->lost || slot->state == BELAY_GPU_SLOT_DEAD) {
        return;
    }
    slot->lost = true;
    device->usable_slots &= ~bit_of(slot);
    if ((device->free_slots & bit_of(slot)) != 0) {
        device->free_slots &= ~bit_of(slot);
        slot->pool->slots_free--;
        belay__gpu_lock_taken_out(slot);
    }
    if (slot->state == BELAY_GPU_SLOT_FOREIGN) {
        belay__gpu_lock_was_foreign(slot);
    }
    if (slot->state == BELAY_GPU_SLOT_PROBATION
        || slot->state == BELAY_GPU_SLOT_STUCK) {
        return; /* its own operation will tell; a stuck one is out already */
    }
    belay__gpu_op_lose_queued(slot);
    belay__gpu_slot_set(slot, BELAY_GPU_SLOT_QUARANTINED, now);
    if (slot->lease == NULL && slot->ops == NULL) {
        recover(slot, now);
    }
}

void
belay__gpu_device_lost(struct belay__gpu_device *device)
{
    belay_gpu_pool *pool = device->slots[0].pool;
    const int64_t now = belay__gpu_now(pool);

    for (uint32_t i = 0; i < device->slot_count; i++) {
        slot_lost(&device->slots[i], now);
    }
    if ((pool->reserved_devices >> device->index & 1) != 0) {
        belay__gpu_unreserve(pool); /* it is made anew when it is due again */
    }
}

/* ---- the end of a lease ---- */

/* The lease's bytes are the device's again. */
static void
give_bytes_back(struct belay__gpu_slot *slot)
{
    struct belay__gpu_device *device = slot->device;

    assert(device->leased >= slot->bytes);
    device->leased -= slot->bytes;
    slot->bytes = 0;
    slot->used = 0;
    if (device->capacity > device->wanted) {
        device->capacity =
            device->leased > device->wanted ? device->leased : device->wanted;
    }
    belay__gpu_stages_free(slot);
}

/* All that the lease had asked of the slot has ended. */
static void
drained(struct belay__gpu_slot *slot, int64_t now)
{
    belay__timer_stop(slot->pool->runtime, &slot->timer);
    give_bytes_back(slot);
    slot->generation++;
    belay__gpu_member_left(slot, false);
    if (slot->lost) {
        recover(slot, now);
    } else {
        serve(slot, now);
    }
}

void
belay__gpu_slot_limit(struct belay__gpu_slot *slot)
{
    const belay_duration limit = slot->pool->opts.drain_limit;

    if (limit.ns > 0 && slot->timer.deadline.index == 0 && !slot->overdue) {
        belay__timer_start(slot->pool->runtime, &slot->timer,
            belay__due(slot->pool->runtime, limit));
    }
}

/* The drain has taken too long: the lease is over, its work is the pool's. */
static void
give_up(struct belay__gpu_slot *slot, int64_t now)
{
    slot->device->usable_slots &= ~bit_of(slot);
    belay__gpu_slot_set(slot, BELAY_GPU_SLOT_STUCK, now);
    slot->generation++;
    slot->overdue = false;
    belay__gpu_member_left(slot, true);
}

void
belay__gpu_slot_drain(struct belay__gpu_slot *slot, int64_t now)
{
    const struct belay__gpu_lease *lease = slot->lease;

    if (slot->ops == NULL && slot->memories == NULL) {
        drained(slot, now); /* as most leases that were only held */
        return;
    }
    slot->pumping = true; /* first all of it, then the driver */
    belay__gpu_op_drop_all(slot);
    belay__gpu_memory_release_all(slot);
    slot->pumping = false;
    belay__gpu_op_advance(slot);
    if (slot->lease != lease) {
        return; /* that was all: settled */
    }
    if (!slot->lost) {
        belay__gpu_slot_set(slot, BELAY_GPU_SLOT_DRAINING, now);
    }
    if (slot->overdue) {
        give_up(slot, now);
    } else {
        belay__gpu_slot_limit(slot);
    }
}

void
belay__gpu_slot_settled(struct belay__gpu_slot *slot, int64_t now)
{
    if (slot->state == BELAY_GPU_SLOT_STUCK) { /* the late end */
        give_bytes_back(slot);
        if (slot->lost) {
            recover(slot, now);
        } else {
            on_probation(slot, now);
        }
    } else if (slot->lease != NULL && slot->lease->ending) {
        drained(slot, now);
    } else if (slot->lease != NULL) {
        slot->overdue = false;
        belay__timer_stop(slot->pool->runtime, &slot->timer);
        if (slot->state == BELAY_GPU_SLOT_RUNNING) {
            belay__gpu_slot_set(slot, BELAY_GPU_SLOT_HELD, now);
        }
    }
}

/* Another process may be at work on it; then this is tried again, and done as
 * soon as the lock is ours if somebody waits here.
 */
static void
reset(struct belay__gpu_slot *slot, int64_t now)
{
    const bool is_ours = belay__gpu_lock_for_reset(slot, now);

    belay__gpu_locks_settle(slot->pool);
    if (!is_ours) {
        belay__timer_start(slot->pool->runtime, &slot->timer, now + BACKOFF_NS);
        return;
    }
    slot->resets++;
    slot->resets_ever++;
    own_push(slot, slot->native != NULL ? BELAY__GPU_RESET : BELAY__GPU_OPEN);
}

void
belay__gpu_slot_is_ours(struct belay__gpu_slot *slot, int64_t now)
{
    if (slot->state == BELAY_GPU_SLOT_FOREIGN) {
        set_free(slot, now);
    } else { /* not in here: a reset may lead to anything */
        belay__timer_start(slot->pool->runtime, &slot->timer, now);
    }
}

void
belay__gpu_slot_timer(struct belay__timer *timer)
{
    struct belay__gpu_slot *slot =
        BELAY__CONTAINER(timer, struct belay__gpu_slot, timer);

    if (slot->lease != NULL && !slot->lease->ending) {
        slot->overdue = true;
        belay__gpu_op_detach(slot);
    } else if (slot->lease != NULL) {
        give_up(slot, belay__gpu_now(slot->pool));
        belay__gpu_changed(slot->pool);
    } else {
        reset(slot, belay__gpu_now(slot->pool));
    }
}

/* ---- the pool's own operations ---- */

/* What is free with the context made may be less than was thought. Of a device
 * that processes share it tells nothing: what others have now, and what is not
 * taken back yet of one that was killed, will be free.
 */
static void
shrink(struct belay__gpu_device *device, uint64_t free_bytes)
{
    const belay_gpu_pool *pool = device->slots[0].pool;
    const uint64_t headroom = pool->opts.headroom_bytes;
    const uint64_t rest = free_bytes > headroom ? free_bytes - headroom : 0;

    if (free_bytes == UINT64_MAX || rest >= device->wanted
        || pool->locks != NULL) {
        return;
    }
    belay__gpu_set_wanted(device, rest);
    device->capacity = device->leased > rest ? device->leased : rest;
}

static void
opened(struct belay__gpu_slot *slot, const struct belay__gpu_op *op)
{
    uint64_t others = 0;

    if (op->status < 0) {
        return;
    }
    slot->native = op->u.open.native;
    /* Slots that were opened before, and have memory by now, know better. */
    for (uint32_t i = 0; i < slot->device->slot_count; i++) {
        others += slot->device->slots[i].native != NULL;
    }
    if (others == 1) {
        shrink(slot->device, op->u.open.free_bytes);
        belay__gpu_refuse_unsatisfiable(slot->pool);
    }
}

static void
note_reset(struct belay__gpu_slot *slot, int code, int64_t now)
{
    belay__gpu_note(slot->pool, BELAY_GPU_EVENT_RESET, now,
        &(const struct belay_gpu_event){
            .detail = (uint64_t)-code,
            .slot = slot->index,
        });
}

/* Its driver cannot reset: no need to wait for another process to ask again. */
static void
die_unasked(struct belay__gpu_device *device, int64_t now)
{
    struct belay__gpu_slot *slot;

    for (uint32_t i = 0; i < device->slot_count; i++) {
        slot = &device->slots[i];
        if (slot->state == BELAY_GPU_SLOT_QUARANTINED
            && belay__gpu_lock_is_sought(slot)) {
            belay__timer_stop(slot->pool->runtime, &slot->timer);
            die(slot, now);
        }
    }
}

/* In quarantine or on probation: one step on, or back to the start. */
static void
recovering(
    struct belay__gpu_slot *slot, const struct belay__gpu_op *op, int64_t now)
{
    if (op->job != BELAY__GPU_HEALTH) {
        note_reset(slot, op->status, now);
        if (op->status == BELAY_GPU_ENOTSUP) {
            die(slot, now);
            die_unasked(slot->device, now);
            return;
        }
        if (op->job == BELAY__GPU_RESET) {
            belay__gpu_kernels_forget(slot);
        }
    }
    if (op->status < 0) {
        slot->lost = true;
        recover(slot, now);
    } else if (op->job != BELAY__GPU_HEALTH) {
        on_probation(slot, now);
    } else if (++slot->healthy < HEALTHY_ENOUGH) {
        own_push(slot, BELAY__GPU_HEALTH);
    } else {
        slot->resets = 0;
        serve(slot, now);
    }
}

void
belay__gpu_slot_own_ended(
    struct belay__gpu_slot *slot, const struct belay__gpu_op *op)
{
    const int64_t now = belay__gpu_now(slot->pool);

    slot->own_busy = false;
    if (op->job == BELAY__GPU_OPEN) {
        opened(slot, op);
    }
    if (op->job == BELAY__GPU_CLOSE) {
        belay__gpu_thread_join(slot->thread);
        slot->thread = NULL;
        slot->native = NULL;
        slot->shut = true;
        return;
    }
    if (slot->pool->shutting) {
        return;
    }
    if (slot->lease == NULL && slot->state != BELAY_GPU_SLOT_STUCK) {
        recovering(slot, op, now);
    } else if (op->status < 0) {
        slot_lost(slot, now); /* opening it for its first lease has failed */
    }
}

void
belay__gpu_slot_open(struct belay__gpu_slot *slot)
{
    own_push(slot, BELAY__GPU_OPEN);
}

/* ---- when the pool is left ---- */

bool
belay__gpu_slots_shut(belay_gpu_pool *pool)
{
    struct belay__gpu_slot *slot;
    bool all = true;

    for (uint32_t i = 0; i < pool->slot_count; i++) {
        slot = &pool->slots[i];
        belay__timer_stop(pool->runtime, &slot->timer);
        if (slot->shut || slot->ops != NULL) {
            all &= slot->shut;
        } else if (slot->thread != NULL) {
            all = false;
            own_push(slot, BELAY__GPU_CLOSE);
        } else {
            if (slot->native != NULL) {
                pool->driver->slot_close(slot->native, false);
                slot->native = NULL;
            }
            slot->shut = true;
        }
    }
    return all;
}

void
belay__gpu_slots_abandon(belay_gpu_pool *pool)
{
    struct belay__gpu_slot *slot;

    for (uint32_t i = 0; i < pool->slot_count; i++) {
        slot = &pool->slots[i];
        if (slot->shut) {
            continue;
        }
        belay__gpu_op_abandon_all(slot);
        belay__gpu_lock_leave(slot);
        if (slot->thread != NULL) {
            belay__gpu_thread_abandon(slot->thread);
            slot->thread = NULL;
            slot->own = NULL; /* it may be with the thread */
            slot->kernels = NULL;
            slot->stages = NULL;
        } else if (slot->native != NULL) {
            pool->driver->slot_close(slot->native, true);
        }
        slot->native = NULL;
        slot->shut = true;
        pool->left_behind = true;
    }
}

/* ---- what a change leads to ---- */

void
belay__gpu_defer(belay_gpu_pool *pool)
{
    pool->deferring++;
}

void
belay__gpu_resume(belay_gpu_pool *pool)
{
    if (--pool->deferring == 0 && pool->has_changed) {
        belay__gpu_changed(pool);
    }
}

void
belay__gpu_changed(belay_gpu_pool *pool)
{
    pool->has_changed = true;
    if (pool->deferring > 0) {
        return;
    }
    pool->has_changed = false;
    belay__gpu_dispatch(pool);
    belay__gpu_locks_settle(pool);
    if (pool->life != BELAY__GPU_OPENED && pool->leases == 0
        && pool->waiting == 0) {
        belay__gpu_pool_idle(pool);
    }
    if (pool->settled != NULL) {
        pool->settled(pool, pool->settled_arg);
    }
}
