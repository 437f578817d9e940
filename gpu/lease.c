/* lease.c - leases: asked for, waited for, held, ended.
 *
 * A lease that a block ends lies with its request in the block's frame only
 * while it is waited for; from the grant on it is a record of the pool. So the
 * end of a lease needs nothing of the task, and a handle nothing of either.
 */
#include <belay/gpu.h>

#include <belay/timeout.h>

#include "gpu/lock.h"

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
        if (scope->task != NULL && *holder_count(counts, scope->task) > 0
            && holds_above(pool, scope->task, scope->depth)) {
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

/* ---- asking ---- */

void
belay__gpu_count_refusal(
    belay_gpu_pool *pool, const struct belay__gpu_request *request, int code)
{
    pool->classes[request->priority].stats.refused++;
    belay__gpu_note(pool, BELAY_GPU_EVENT_NO_GRANT, belay__gpu_now(pool),
        &(const struct belay_gpu_event){
            .lease = request->number,
            .task_id = belay_task_id(request->task),
            .detail = (uint64_t)-code,
            .slot = BELAY_GPU_NO_SLOT,
            .priority = request->priority,
        });
}

/* NULL: the options will do; else what is wrong with them. */
static const char *
check_opts(const struct belay_gpu_lease_opts *opts)
{
    if (opts->priority >= BELAY_GPU_PRIORITIES) {
        return "priority is more than 7";
    }
    if (opts->devices > BELAY_GPU_DEVICES_MAX) {
        return "devices is more than 64";
    }
    if (opts->max_hold.ns < 0) {
        return "max_hold is negative";
    }
    return NULL;
}

static const struct belay_gpu_lease_opts *
opts_or_defaults(const struct belay_gpu_lease_opts *opts)
{
    static const struct belay_gpu_lease_opts defaults = {
        .size = sizeof(defaults)};

    return opts != NULL ? opts : &defaults;
}

static struct belay__gpu_request
request_of(const struct belay_gpu_lease_opts *opts, belay_gpu_pool *pool,
    const char *file, int line, belay_gpu_lease *ret)
{
    const uint32_t devices = opts->devices != 0 ? opts->devices : 1;

    return (struct belay__gpu_request){
        .pool = pool,
        .ret = ret,
        .file = file,
        .line = line,
        .bytes = opts->bytes,
        .devices = (uint8_t)devices,
        .priority = (uint8_t)opts->priority,
        .bucket = belay__gpu_bucket_of(opts->bytes, devices),
        .nested = opts->nested,
        .no_wait = opts->no_wait,
    };
}

/* 0: it is granted. BELAY_GPU_EAGAIN: it is not, and may wait. Else it is
 * refused. A refusal has changed nothing but its counter.
 */
static int
ask(belay_task *task, struct belay__gpu_request *request)
{
    belay_gpu_pool *pool = request->pool;
    int code = BELAY_GPU_ECLOSED;

    request->task = task;
    request->depth = task->scope->depth;
    request->number = pool->numbers + 1;
    if (pool->life == BELAY__GPU_OPENED) {
        code = 0;
        if (!request->nested && !request->no_wait
            && belay__gpu_holds(pool, task)) {
            code = BELAY_GPU_EDEADLK;
        }
    }
    if (code == 0 && belay__gpu_admit(pool, request)) {
        pool->numbers++;
        return 0;
    }
    if (code == 0) {
        code = belay__gpu_satisfiable(pool, request->bytes, request->devices);
    }
    if (code == 0 && request->no_wait) {
        pool->tries_failed++;
        belay__gpu_note(pool, BELAY_GPU_EVENT_TRY_FAILED, belay__gpu_now(pool),
            &(const struct belay_gpu_event){
                .task_id = belay_task_id(task),
                .slot = BELAY_GPU_NO_SLOT,
                .priority = request->priority,
            });
        return BELAY_GPU_EAGAIN;
    }
    if (code == 0 && belay__gpu_holds(pool, task)) {
        code = BELAY_GPU_EDEADLK;
    }
    pool->numbers++;
    belay__gpu_note_request(pool, request, belay__gpu_now(pool));
    if (code < 0) {
        belay__gpu_count_refusal(pool, request, code);
        return code;
    }
    return BELAY_GPU_EAGAIN;
}

/* Unlinked at once; those behind it may be granted what it was in the way of
 * (G9).
 */
static enum belay_abort
abort_request(belay_task *task)
{
    struct belay__gpu_request *request = task->wait.data;
    belay_gpu_pool *pool = request->pool;
    struct belay_gpu_priority_stats *stats =
        &pool->classes[request->priority].stats;
    struct belay_cancel_reason reason = {.source = BELAY_CANCEL_NONE};
    int code = BELAY_ECANCELED;

    (void)belay_cancel_pending(task, &reason);
    if (reason.source == BELAY_CANCEL_DEADLINE) {
        code = BELAY_ETIMEDOUT;
        stats->timed_out++;
    } else {
        stats->cancelled++;
    }
    belay__gpu_withdraw(pool, request);
    belay__gpu_note(pool, BELAY_GPU_EVENT_NO_GRANT, belay__gpu_now(pool),
        &(const struct belay_gpu_event){
            .lease = request->number,
            .task_id = belay_task_id(task),
            .detail = (uint64_t)-code,
            .slot = BELAY_GPU_NO_SLOT,
            .priority = request->priority,
        });
    belay__gpu_changed(pool);
    return BELAY_ABORT_DONE;
}

static void
wait_for(struct belay__gpu_request *request)
{
    belay_gpu_pool *pool = request->pool;

    request->asked_ns = belay__gpu_now(pool);
    request->task->wait.data = request;
    belay__gpu_queue_push(pool, request);
    belay__gpu_note(pool, BELAY_GPU_EVENT_WAIT, request->asked_ns,
        &(const struct belay_gpu_event){
            .lease = request->number,
            .task_id = belay_task_id(request->task),
            .slot = BELAY_GPU_NO_SLOT,
            .priority = request->priority,
        });
    belay__gpu_locks_settle(pool); /* it may be another process's turn to end */
}

/* The first step of both ways to acquire: ends with the answer. */
static belay_next
acquire(belay_task *task, struct belay__gpu_request *request)
{
    static const struct belay__wait_kind kind = {"gpu lease", abort_request};
    int code = belay__gpu_check_caller(request->pool);

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    if (!belay__wait_begin(task, &kind)) {
        return belay_end_with(task, belay__next(BELAY__HOW_WAIT));
    }
    code = ask(task, request);
    if (code == BELAY_GPU_EAGAIN && !request->no_wait) {
        wait_for(request);
    } else {
        belay__wake(task, code, NULL);
    }
    return belay_end_with(task, belay__next(BELAY__HOW_WAIT));
}

/* ---- with a block ---- */

struct lease_scope {
    struct belay__gpu_request request;
};

static belay_next
lease_enter(belay_task *task, void *self)
{
    struct lease_scope *scope = self;

    return acquire(task, &scope->request);
}

static belay_next
lease_over_with(belay_task *task, int code)
{
    if (code < 0) {
        return belay_fail(task, code,
            "the work of the gpu lease has not ended within the drain limit");
    }
    return belay_return(task, NULL);
}

static belay_next
lease_drained(belay_task *task, void *self)
{
    (void)self;
    return lease_over_with(task, belay_result(task)->code);
}

static belay_next
lease_exit(belay_task *task, void *self)
{
    static const struct belay__wait_kind kind = {
        "gpu lease's end", belay__abort_never};
    struct lease_scope *scope = self;
    belay_gpu_pool *pool = scope->request.pool;
    const int code = belay__gpu_lease_end(scope->request.lease, task);

    belay__gpu_changed(pool);
    if (code != BELAY_EAGAIN) {
        return lease_over_with(task, code);
    }
    belay__wait_always(task, &kind);
    return belay_then(task, lease_drained, belay__next(BELAY__HOW_WAIT));
}

static const belay_manager plain_lease = {
    {"gpu lease", __FILE__, sizeof(struct lease_scope), lease_enter, 0},
    lease_exit};

/* With a max_hold there is a cancel scope inside of the lease, and it is left
 * before the lease is: the block is cancelled, the lease drains as ever.
 */
struct limited_lease {
    struct belay__gpu_request request;
    belay_duration max_hold;
    struct belay_cancel_status status;
};

BELAY_MANAGER(limited_lease)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_enter(task, &plain_lease, &self->request)) {
        BELAY_WITH (belay_cancel_scope_open(task,
            BELAY_CANCEL_SCOPE_OPTS(.name = "gpu max_hold",
                .timeout = self->max_hold, .status = &self->status),
            NULL)) {
            BELAY_YIELD(NULL);
        }
        if (self->status.caught && self->status.expired) {
            BELAY_FAIL(BELAY_GPU_EHOLD, "the gpu lease was held for %lld ms",
                (long long)(self->max_hold.ns / 1000000));
        }
    }
    BELAY_END;
}

belay_next
belay_gpu_lease_open_at(belay_task *task, const char *file, int line,
    belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret)
{
    struct limited_lease lease;
    const char *wrong;

    opts = opts_or_defaults(opts);
    if (opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (pool == NULL || ret == NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s is NULL",
            pool == NULL ? "pool" : "ret");
    }
    wrong = check_opts(opts);
    if (wrong != NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s", wrong);
    }
    lease.request = request_of(opts, pool, file, line, ret);
    lease.request.block = true;
    lease.max_hold =
        opts->max_hold.ns > 0 ? opts->max_hold : pool->opts.max_hold;
    if (lease.max_hold.ns <= 0) {
        return belay_enter(task, &plain_lease, &lease.request);
    }
    lease.status = (struct belay_cancel_status){.caught = false};
    return belay_enter(task, &limited_lease, &lease);
}

/* ---- without one ---- */

static belay_next
acquire_step(belay_task *task, void *self)
{
    return acquire(task, self);
}

belay_next
belay_gpu_acquire_at(belay_task *task, const char *file, int line,
    belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret)
{
    static const belay_function function = {"gpu acquire", __FILE__,
        sizeof(struct belay__gpu_request), acquire_step, 0};
    struct belay__gpu_request request;
    const char *wrong;

    opts = opts_or_defaults(opts);
    if (opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (pool == NULL || ret == NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s is NULL",
            pool == NULL ? "pool" : "ret");
    }
    wrong = check_opts(opts);
    if (wrong == NULL && opts->max_hold.ns > 0) {
        wrong = "max_hold is for leases with a block";
    }
    if (wrong != NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s", wrong);
    }
    request = request_of(opts, pool, file, line, ret);
    return belay_call(task, &function, &request);
}

int
belay_gpu_try_acquire_at(belay_task *task, const char *file, int line,
    belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret)
{
    struct belay__gpu_request request;
    int code;

    opts = opts_or_defaults(opts);
    if (opts->size != sizeof(*opts)) {
        return BELAY_EINVAL;
    }
    if (pool == NULL || ret == NULL || check_opts(opts) != NULL
        || opts->max_hold.ns > 0) {
        return BELAY_GPU_EINVAL;
    }
    code = belay__gpu_check_caller(pool);
    if (code < 0) {
        return code;
    }
    request = request_of(opts, pool, file, line, ret);
    request.no_wait = true;
    return ask(task, &request);
}

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
