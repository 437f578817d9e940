/* acquire.c - leases: asked for, waited for, refused; with a block and without.
 *
 * A request lies in the frame of the task that waits, and is done with when it
 * is granted or refused; then the lease, if there is one, is lease.c's.
 */
#include <belay/gpu.h>

#include <belay/timeout.h>

#include "gpu/lock.h"

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

static const struct belay_gpu_lease_opts *
opts_or_defaults(const struct belay_gpu_lease_opts *opts)
{
    static const struct belay_gpu_lease_opts defaults = {
        .size = sizeof(defaults)};

    return opts != NULL ? opts : &defaults;
}

/* NULL: the call will do; else what is wrong with it. */
static const char *
check(const struct belay_gpu_lease_opts *opts, const belay_gpu_pool *pool,
    const belay_gpu_lease *ret, bool block)
{
    if (opts->size != sizeof(*opts)) {
        return "size is not known";
    }
    if (pool == NULL || ret == NULL) {
        return pool == NULL ? "pool is NULL" : "ret is NULL";
    }
    if (opts->priority >= BELAY_GPU_PRIORITIES) {
        return "priority is more than 7";
    }
    if (opts->devices > BELAY_GPU_DEVICES_MAX) {
        return "devices is more than 64";
    }
    if (opts->max_hold.ns < 0) {
        return "max_hold is negative";
    }
    if (opts->max_hold.ns > 0 && !block) {
        return "max_hold is for leases with a block";
    }
    return NULL;
}

/* Of a call that will not do: options of another library are no GPU's error. */
static int
code_of(const struct belay_gpu_lease_opts *opts)
{
    return opts->size != sizeof(*opts) ? BELAY_EINVAL : BELAY_GPU_EINVAL;
}

static belay_next
refuse(belay_task *task, const struct belay_gpu_lease_opts *opts,
    const char *wrong)
{
    return belay__gpu_refuse(task, code_of(opts), "%s", wrong);
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
        .life = pool->there,
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
    if (code == 0 && request->nested && belay__gpu_holds(pool, task)) {
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
    int code;

    if (!belay__is_there(task, request->life)) {
        return belay_fail(task, BELAY_GPU_ECLOSED, "the gpu pool was left");
    }
    request->asked_ns = 0;
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

_Static_assert(BELAY_ENTER_BYTES(struct lease_scope) <= BELAY_GPU_LEASE_BYTES,
    "what the header tells");

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
    int code;

    opts = opts_or_defaults(opts);
    wrong = check(opts, pool, ret, true);
    if (wrong != NULL) {
        return refuse(task, opts, wrong);
    }
    code = belay__gpu_check_caller(pool);
    if (code < 0) {
        return belay__refuse(task, code);
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
    int code;

    opts = opts_or_defaults(opts);
    wrong = check(opts, pool, ret, false);
    if (wrong != NULL) {
        return refuse(task, opts, wrong);
    }
    code = belay__gpu_check_caller(pool);
    if (code < 0) {
        return belay__refuse(task, code);
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
    if (check(opts, pool, ret, false) != NULL) {
        return code_of(opts);
    }
    code = belay__gpu_check_caller(pool);
    if (code < 0) {
        return code;
    }
    request = request_of(opts, pool, file, line, ret);
    request.no_wait = true;
    request.asked_ns = 0;
    return ask(task, &request);
}
