/* pool.c - a pool from its opening to its end.
 *
 *   find devices (on a thread) -> make -> OPENED -> DRAINS -> CLOSED
 *        -> no lease, nobody waits -> slots shut -> bridge closed -> freed
 *
 * The pool is a scope; leaving it waits for its leases whatever happens, since
 * they use its memory. Only threads that hang in a driver are not waited for
 * longer than close_limit.
 */
#include <belay/gpu.h>

#include "gpu/lock.h"
#include "gpu/make.h"

#include <pthread.h>
#include <stdlib.h>

/* ---- who may call ---- */

static unsigned forks; /* that this process has come out of */

static void
forked(void)
{
    forks++;
}

static void
watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, forked);
}

unsigned
belay__gpu_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, watch_forks);
    return forks;
}

int
belay__gpu_check_caller(const belay_gpu_pool *pool)
{
    if (pthread_equal(pthread_self(), pool->thread) == 0) {
        return BELAY_GPU_EWRONGTHREAD;
    }
    return pool->forks == forks ? 0 : BELAY_GPU_EFORK;
}

belay_next
belay__gpu_refuse(belay_task *task, int code, const char *format, ...)
{
    const struct belay__error_site site = {belay_task_name(task), NULL, 0};
    belay_error *error;
    va_list args;

    belay__require_idle(task);
    va_start(args, format);
    error = belay__error_new_va(
        belay_task_runtime(task)->memory, code, &site, format, args);
    va_end(args);
    belay__result_set(task, code, NULL, error);
    return belay__next(BELAY__HOW_WAIT);
}

/* ---- closing ---- */

struct close_call {
    belay_gpu_pool *pool;
    struct belay__life there; /* the pool's, until the first step */
    uint64_t *ret_leaked;
    uint64_t leaked;
    enum belay__gpu_life life;
};

/* It is over; by its next step the pool may be gone. */
static void
note_leaks(struct close_call *call)
{
    call->leaked = call->pool->leaked;
}

/* What a close waits for, or the shutting of the slots, has come about. */
void
belay__gpu_pool_idle(belay_gpu_pool *pool)
{
    belay_task *task;

    if (pool->shutting && !belay__gpu_slots_shut(pool)) {
        return;
    }
    while ((task = belay__waiters_first(&pool->closers)) != NULL) {
        if (task->wait.data != NULL) {
            note_leaks(task->wait.data);
        }
        belay__wake(task, 0, NULL);
    }
}

static bool
is_over(const belay_gpu_pool *pool)
{
    return pool->leases == 0 && pool->waiting == 0;
}

static void
begin_close(belay_gpu_pool *pool, enum belay__gpu_life life)
{
    if (pool->life >= (uint8_t)life) {
        return;
    }
    pool->life = (uint8_t)life;
    belay__gpu_note(pool, BELAY_GPU_EVENT_CLOSE, belay__gpu_now(pool),
        &(const struct belay_gpu_event){
            .detail = life == BELAY__GPU_DRAINS,
            .slot = BELAY_GPU_NO_SLOT,
        });
    if (life == BELAY__GPU_CLOSED) {
        belay__gpu_refuse_all(pool, BELAY_GPU_ECLOSED);
    }
    belay__gpu_changed(pool);
}

static belay_next
close_done(belay_task *task, void *self)
{
    const struct close_call *call = self;

    if (belay_result(task)->code == 0 && call->ret_leaked != NULL) {
        *call->ret_leaked = call->leaked;
    }
    return belay_pass(task);
}

static belay_next
close_step(belay_task *task, void *self)
{
    static const struct belay__wait_kind kind = {
        "gpu pool's close", belay__abort_waiter};
    struct close_call *call = self;
    belay_gpu_pool *pool = call->pool;

    if (!belay__is_there(task, call->there)) {
        return belay_fail(task, BELAY_GPU_ECLOSED, "the gpu pool was left");
    }
    if (belay__gpu_holds(pool, task)) {
        return belay_fail(task, BELAY_GPU_EDEADLK, NULL);
    }
    begin_close(pool, call->life);
    if (belay__wait_begin(task, &kind)) {
        if (is_over(pool)) {
            note_leaks(call);
            belay__wake(task, 0, NULL);
        } else {
            task->wait.data = call;
            belay__waiters_push(&pool->closers, task);
        }
    }
    return belay_then(task, close_done, belay__next(BELAY__HOW_WAIT));
}

static belay_next
call_close(belay_task *task, belay_gpu_pool *pool, uint64_t *ret_leaked,
    enum belay__gpu_life life)
{
    static const belay_function function = {
        "gpu pool close", __FILE__, sizeof(struct close_call), close_step, 0};
    int code;

    if (pool == NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "pool is NULL");
    }
    code = belay__gpu_check_caller(pool);
    if (code < 0) {
        return belay__refuse(task, code);
    }
    return belay_call(task, &function,
        &(const struct close_call){pool, pool->there, ret_leaked, 0, life});
}

belay_next
belay_gpu_pool_close(
    belay_task *task, belay_gpu_pool *pool, uint64_t *ret_leaked)
{
    return call_close(task, pool, ret_leaked, BELAY__GPU_CLOSED);
}

belay_next
belay_gpu_pool_drain(belay_task *task, belay_gpu_pool *pool)
{
    return call_close(task, pool, NULL, BELAY__GPU_DRAINS);
}

/* ---- opening ---- */

struct pool_scope {
    struct belay_gpu_pool_opts opts;
    belay_gpu_pool **ret;
    belay_gpu_pool *pool;
    struct belay__gpu_found *found;
    struct belay__gpu_probe probe;
    struct belay_op closing; /* of the locks, then of the bridge */
    int code;
};

static belay_next pool_found(belay_task *task, void *self);
static belay_next pool_failed(belay_task *task, void *self);

static void
found_free(belay_task *task, struct pool_scope *scope)
{
    belay__free(
        belay_task_runtime(task)->memory, scope->found, sizeof(*scope->found));
    scope->found = NULL;
}

static belay_next
pool_enter(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    const char *wrong = belay__gpu_pool_opts_check(&scope->opts);

    if (wrong != NULL) {
        return belay_fail(task, BELAY_EINVAL, "gpu pool: %s", wrong);
    }
    scope->found = belay__alloc_zero(
        belay_task_runtime(task)->memory, sizeof(*scope->found));
    if (scope->found == NULL) {
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    scope->found->devices = scope->opts.devices;
    if (!belay__gpu_devices_may_be(scope->opts.devices, false)) {
        return belay_then(task, pool_found, belay_checkpoint(task));
    }
    return belay_then(task, pool_found,
        belay__gpu_probe_run(
            task, &scope->probe, belay__gpu_find, scope->found));
}

/* Nothing may be kept: a driver is unloaded where it was loaded. */
static belay_next
pool_undo(belay_task *task, struct pool_scope *scope, int code)
{
    scope->code = code;
    if (scope->found->driver != NULL
        && (scope->found->driver->flags & BELAY__GPU_INLINE) == 0) {
        return belay_then(task, pool_failed,
            belay__gpu_probe_run(
                task, &scope->probe, belay__gpu_found_drop, scope->found));
    }
    belay__gpu_found_drop(scope->found);
    return pool_failed(task, scope);
}

static belay_next
pool_failed(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    belay_next next;

    if (scope->code == BELAY_ECANCELED) {
        found_free(task, scope);
        belay__result_cancelled(task);
        return belay__next(BELAY__HOW_END);
    }
    if (scope->found->note[0] != '\0') {
        next =
            belay_fail(task, scope->code, "gpu pool: %s", scope->found->note);
    } else {
        next = belay_fail(task, scope->code, NULL);
    }
    found_free(task, scope);
    return next;
}

static belay_next
pool_found(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    struct belay__gpu_found *found = scope->found;
    int code = belay_result(task)->code;

    if (code == 0 && found->driver == NULL) {
        found->inline_only = true;
        belay__gpu_find(found);
        code = found->driver != NULL ? 0 : found->code;
    }
    if (code == 0 && belay_cancel_pending(task, NULL)) {
        code = BELAY_ECANCELED;
    }
    if (code == 0 && scope->opts.exclusive) {
        code = belay__gpu_locks_filter(&scope->opts, found);
    }
    if (code == 0) {
        code = belay__gpu_pool_make(
            belay_task_runtime(task), &scope->opts, found, &scope->pool);
    }
    if (code < 0) {
        return pool_undo(task, scope, code);
    }
    found_free(task, scope);
    *scope->ret = scope->pool;
    return belay_return(task, scope->pool);
}

/* ---- leaving ---- */

static const struct belay__wait_kind leave_wait = {
    "gpu pool's leases", belay__abort_never};
static const struct belay__wait_kind shut_wait = {
    "gpu pool's slots", belay__abort_never};

static belay_next pool_over(belay_task *task, void *self);
static belay_next pool_shut(belay_task *task, void *self);
static belay_next pool_alone(belay_task *task, void *self);
static belay_next pool_unload(belay_task *task, void *self);
static belay_next pool_free(belay_task *task, void *self);

static belay_next
pool_exit(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    belay_gpu_pool *pool = scope->pool;

    begin_close(pool, BELAY__GPU_CLOSED);
    belay__gpu_leases_take_back(pool, task); /* it would wait for itself */
    if (is_over(pool)) {
        return pool_over(task, self);
    }
    belay__wait_always(task, &leave_wait);
    task->wait.data = NULL;
    belay__waiters_push(&pool->closers, task);
    return belay_then(task, pool_over, belay__next(BELAY__HOW_WAIT));
}

void
belay__gpu_close_limit(struct belay__timer *timer)
{
    belay_gpu_pool *pool = BELAY__CONTAINER(timer, belay_gpu_pool, timer);

    belay__gpu_slots_abandon(pool);
    belay__gpu_pool_idle(pool);
}

static belay_next
pool_over(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    belay_gpu_pool *pool = scope->pool;

    pool->shutting = true;
    if (belay__gpu_slots_shut(pool)) {
        return pool_shut(task, self);
    }
    belay__timer_start(pool->runtime, &pool->timer,
        belay__due(pool->runtime, pool->opts.close_limit));
    belay__wait_always(task, &shut_wait);
    task->wait.data = NULL;
    belay__waiters_push(&pool->closers, task);
    return belay_then(task, pool_shut, belay__next(BELAY__HOW_WAIT));
}

static void
handle_closed(void *arg)
{
    struct pool_scope *scope = arg;

    belay_op_done(&scope->closing, 0, NULL);
}

static belay_next
pool_shut(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    belay_gpu_pool *pool = scope->pool;

    belay__timer_stop(pool->runtime, &pool->timer);
    if (pool->locks == NULL) {
        return pool_alone(task, self);
    }
    belay_op_begin_shielded(task, &scope->closing);
    scope->closing.name = "gpu locks";
    belay__gpu_locks_close(pool->locks, handle_closed, scope);
    return belay_then(task, pool_alone, belay_op_wait(&scope->closing));
}

/* Nothing is awaited of other processes any more. */
static belay_next
pool_alone(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    belay_gpu_pool *pool = scope->pool;

    if (!pool->threads) {
        return pool_unload(task, self);
    }
    belay__gpu_bridge_hold(pool->bridge, false);
    belay_op_begin_shielded(task, &scope->closing);
    scope->closing.name = "gpu bridge";
    belay__gpu_bridge_close(pool->bridge, handle_closed, scope);
    return belay_then(task, pool_unload, belay_op_wait(&scope->closing));
}

static void
unload(void *arg)
{
    belay_gpu_pool *pool = arg;

    pool->driver->unload(pool->driver_state);
}

static belay_next
pool_unload(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    belay_gpu_pool *pool = scope->pool;

    if (!pool->threads) {
        unload(pool);
        return pool_free(task, self);
    }
    if (pool->left_behind) { /* a thread is in it: its state stays */
        return pool_free(task, self);
    }
    return belay_then(task, pool_free,
        belay__gpu_probe_run(task, &scope->probe, unload, pool));
}

static belay_next
pool_free(belay_task *task, void *self)
{
    struct pool_scope *scope = self;
    const bool left_behind = scope->pool->left_behind;

    belay__gpu_pool_free(scope->pool);
    if (left_behind) {
        return belay_fail(task, BELAY_GPU_ESTUCK,
            "gpu pool: work that does not end was left behind");
    }
    return belay_return(task, NULL);
}

belay_next
belay_gpu_pool_open(belay_task *task, const struct belay_gpu_pool_opts *opts,
    belay_gpu_pool **ret)
{
    static const belay_manager manager = {
        {"gpu pool", __FILE__, sizeof(struct pool_scope), pool_enter, 0},
        pool_exit};
    struct pool_scope scope = {.ret = ret};

    if (opts != NULL && opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (opts != NULL) {
        scope.opts = *opts;
    }
    return belay_enter(task, &manager, &scope);
}
