/* slot_thread.c - one thread a slot, which makes all calls of the driver.
 *
 *   loop:    queue of the thread  ->  (mutex, condition)
 *   thread:  the call, which blocks  ->  list of the ended (atomic)  ->  async
 *   loop:    takes the whole list, ends each operation
 *
 * The list is the truth, the wake-up a hint: it is sent only when the list was
 * empty, so that ten thousand ends come in a few wake-ups (G36). A thread that
 * hangs in its driver is left behind when the pool is left; what it has
 * belongs to it from then on, and the bridge lives as long as anybody has it.
 */
#include "gpu/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define RETRY_PAUSE_NS 10000000

struct belay__gpu_bridge {
    uv_async_t async;
    uv_mutex_t mutex;
    bool closed;                           /* by mutex: no wake-up any more */
    _Atomic(struct belay__gpu_op *) ended; /* newest first */
    _Atomic uint32_t refs;
    belay_gpu_pool *pool; /* the loop's */
    void (*closed_fn)(void *arg);
    void *closed_arg;
};

struct belay__gpu_thread {
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t cond;
    struct belay__gpu_op *first; /* by mutex */
    struct belay__gpu_op *last;
    bool abandoned; /* by mutex */
    struct belay__gpu_bridge *bridge;
    const struct belay__gpu_driver *driver;
    void *driver_state;
    struct belay__gpu_place place;
    void *native; /* the thread's */
};

/* ---- the bridge ---- */

static void
bridge_unref(struct belay__gpu_bridge *bridge)
{
    if (atomic_fetch_sub(&bridge->refs, 1) > 1) {
        return;
    }
    uv_mutex_destroy(&bridge->mutex);
    free(bridge);
}

static void
wake_loop(struct belay__gpu_bridge *bridge)
{
    uv_mutex_lock(&bridge->mutex);
    if (!bridge->closed) {
        (void)uv_async_send(&bridge->async);
    }
    uv_mutex_unlock(&bridge->mutex);
}

static void
push_ended(struct belay__gpu_bridge *bridge, struct belay__gpu_op *op)
{
    struct belay__gpu_op *newest =
        atomic_load_explicit(&bridge->ended, memory_order_relaxed);

    do {
        op->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&bridge->ended, &newest, op,
        memory_order_release, memory_order_relaxed));
    if (newest == NULL) {
        wake_loop(bridge);
    }
}

/* All that has ended, oldest first. */
static struct belay__gpu_op *
take_ended(struct belay__gpu_bridge *bridge)
{
    struct belay__gpu_op *op =
        atomic_exchange_explicit(&bridge->ended, NULL, memory_order_acquire);
    struct belay__gpu_op *oldest = NULL;
    struct belay__gpu_op *next;

    for (; op != NULL; op = next) {
        next = op->next;
        op->next = oldest;
        oldest = op;
    }
    return oldest;
}

static void
on_ended(uv_async_t *async)
{
    struct belay__gpu_bridge *bridge = async->data;
    belay_gpu_pool *pool = bridge->pool;
    struct belay__gpu_op *op = take_ended(bridge);
    struct belay__gpu_op *next;

    for (; op != NULL; op = next) {
        next = op->next; /* the op is gone afterwards */
        pool->in_flight--;
        belay__gpu_complete(op);
    }
    if (pool->in_flight == 0) {
        belay__gpu_bridge_hold(bridge, false);
    }
}

int
belay__gpu_bridge_open(belay_gpu_pool *pool, struct belay__gpu_bridge **ret)
{
    struct belay__gpu_bridge *bridge = calloc(1, sizeof(*bridge));
    int code;

    if (bridge == NULL) {
        return BELAY_ENOMEM;
    }
    code = uv_mutex_init(&bridge->mutex);
    if (code < 0) {
        free(bridge);
        return code;
    }
    code = uv_async_init(
        belay_runtime_loop(pool->runtime), &bridge->async, on_ended);
    if (code < 0) {
        uv_mutex_destroy(&bridge->mutex);
        free(bridge);
        return code;
    }
    uv_unref((uv_handle_t *)&bridge->async);
    bridge->async.data = bridge;
    bridge->pool = pool;
    atomic_init(&bridge->refs, 1);
    *ret = bridge;
    return 0;
}

static void
on_closed(uv_handle_t *handle)
{
    struct belay__gpu_bridge *bridge = handle->data;
    void (*closed_fn)(void *arg) = bridge->closed_fn;
    void *closed_arg = bridge->closed_arg;

    bridge_unref(bridge);
    closed_fn(closed_arg);
}

void
belay__gpu_bridge_close(
    struct belay__gpu_bridge *bridge, void (*closed)(void *arg), void *arg)
{
    uv_mutex_lock(&bridge->mutex);
    bridge->closed = true;
    uv_mutex_unlock(&bridge->mutex);
    bridge->closed_fn = closed;
    bridge->closed_arg = arg;
    bridge->pool = NULL;
    uv_close((uv_handle_t *)&bridge->async, on_closed);
}

void
belay__gpu_bridge_hold(struct belay__gpu_bridge *bridge, bool hold)
{
    uv_handle_t *handle = (uv_handle_t *)&bridge->async;

    if (hold == (uv_has_ref(handle) != 0)) {
        return;
    }
    if (hold) {
        uv_ref(handle);
        belay__outside_begin(bridge->pool->runtime);
    } else {
        uv_unref(handle);
        belay__outside_end(bridge->pool->runtime);
    }
}

/* ---- the thread ---- */

static void
thread_free(struct belay__gpu_thread *thread)
{
    bridge_unref(thread->bridge);
    uv_cond_destroy(&thread->cond);
    uv_mutex_destroy(&thread->mutex);
    free(thread);
}

/* The next one; NULL: it is on its own, and has nothing to do. */
static struct belay__gpu_op *
take(struct belay__gpu_thread *thread)
{
    struct belay__gpu_op *op;

    uv_mutex_lock(&thread->mutex);
    while (thread->first == NULL && !thread->abandoned) {
        uv_cond_wait(&thread->cond, &thread->mutex);
    }
    op = thread->first;
    if (op != NULL) {
        thread->first = op->next;
        if (thread->first == NULL) {
            thread->last = NULL;
        }
    }
    uv_mutex_unlock(&thread->mutex);
    return op;
}

/* SUBMITTED is said before `drop` is looked at; op.c tells why. */
static int
run_cmds(struct belay__gpu_thread *thread, struct belay__gpu_op *op)
{
    int status;

    atomic_store(&op->state, BELAY__GPU_OP_SUBMITTED);
    if (atomic_load(&op->drop)) {
        return BELAY_GPU_ECANCELED;
    }
    status = thread->driver->submit(thread->native, op);
    return status == 0 ? thread->driver->wait(thread->native, op) : status;
}

static int
open_slot(struct belay__gpu_thread *thread, struct belay__gpu_op *op)
{
    return thread->driver->slot_open(thread->driver_state, &thread->place,
        &op->u.open.native, &op->u.open.free_bytes, op->note);
}

static int
allocate(struct belay__gpu_thread *thread, struct belay__gpu_op *op)
{
    return thread->driver->alloc(thread->native, op);
}

/* A process that had the device before us, and is dead, may hold its memory a
 * while longer: then there is patience. A cancel ends it, but that of an OPEN:
 * nobody has asked for it, and without it the slot is lost.
 */
static int
try_for_a_while(struct belay__gpu_thread *thread, struct belay__gpu_op *op,
    int (*attempt)(struct belay__gpu_thread *thread, struct belay__gpu_op *op))
{
    const struct timespec pause = {0, RETRY_PAUSE_NS};
    const uint64_t end = uv_hrtime() + op->patience_ns;
    int status = attempt(thread, op);

    while (status == BELAY_GPU_ENOMEM && uv_hrtime() < end
           && !atomic_load(&op->drop)) {
        (void)nanosleep(&pause, NULL);
        status = attempt(thread, op);
    }
    if (status == 0) {
        op->native = 0; /* of the tries before */
        op->note[0] = '\0';
    }
    return status;
}

static int
perform(struct belay__gpu_thread *thread, struct belay__gpu_op *op)
{
    const struct belay__gpu_driver *driver = thread->driver;
    void *native = thread->native;

    if (native == NULL && op->job != BELAY__GPU_OPEN
        && op->job != BELAY__GPU_CLOSE) {
        return BELAY_GPU_ELOST; /* it could not be opened */
    }
    switch (op->job) {
    case BELAY__GPU_RUN:
    case BELAY__GPU_SCRUB:
        return run_cmds(thread, op);
    case BELAY__GPU_BUILD:
        return op->u.kernel->native == NULL ? driver->build(native, op) : 0;
    case BELAY__GPU_ALLOC:
        return try_for_a_while(thread, op, allocate);
    case BELAY__GPU_RELEASE:
        return driver->release(native, op);
    case BELAY__GPU_OPEN:
        return try_for_a_while(thread, op, open_slot);
    case BELAY__GPU_HEALTH:
        return driver->health(native, op);
    case BELAY__GPU_RESET:
        return driver->reset(native, op);
    case BELAY__GPU_CLOSE:
        thread->native = NULL; /* should it hang in there */
        if (native != NULL) {
            driver->slot_close(native, false);
        }
        return 0;
    }
    return BELAY_GPU_ENOTSUP;
}

/* It was left behind while it was in the driver: it cleans up alone. */
static void
end_alone(struct belay__gpu_thread *thread, struct belay__gpu_op *op)
{
    struct belay__gpu_op *next;

    for (; op != NULL; op = next) {
        next = op->next;
        free(op->log);
        free(op);
    }
    if (thread->native != NULL) {
        thread->driver->slot_close(thread->native, true);
    }
    thread_free(thread);
}

static void
thread_main(void *arg)
{
    struct belay__gpu_thread *thread = arg;
    struct belay__gpu_op *op;
    enum belay__gpu_job job;
    bool abandoned;

    while ((op = take(thread)) != NULL) {
        job = op->job;
        op->status = perform(thread, op);
        if (job == BELAY__GPU_OPEN && op->status == 0) {
            thread->native = op->u.open.native;
        }
        uv_mutex_lock(&thread->mutex);
        abandoned = thread->abandoned;
        op->next = abandoned ? thread->first : NULL;
        if (!abandoned) {
            push_ended(thread->bridge, op);
        }
        uv_mutex_unlock(&thread->mutex);
        if (abandoned) {
            end_alone(thread, op);
            return;
        }
        if (job == BELAY__GPU_CLOSE) {
            return; /* the loop joins, and frees */
        }
    }
    end_alone(thread, NULL);
}

/* Signals are for the loop's thread; a mask is inherited, by the driver's own
 * threads too (G38).
 */
static int
start_without_signals(struct belay__gpu_thread *thread)
{
    sigset_t all;
    sigset_t before;
    int code;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    code = uv_thread_create(&thread->thread, thread_main, thread);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

int
belay__gpu_thread_start(struct belay__gpu_slot *slot)
{
    belay_gpu_pool *pool = slot->pool;
    struct belay__gpu_thread *thread = calloc(1, sizeof(*thread));
    int code;

    if (thread == NULL) {
        return BELAY_ENOMEM;
    }
    thread->bridge = pool->bridge;
    thread->driver = pool->driver;
    thread->driver_state = pool->driver_state;
    thread->place = (struct belay__gpu_place){
        .ordinal = slot->device->info.ordinal,
        .device = slot->device->index,
        .slot = slot->bit,
        .spin_us = pool->opts.spin_us,
    };
    code = uv_mutex_init(&thread->mutex);
    if (code < 0) {
        free(thread);
        return code;
    }
    code = uv_cond_init(&thread->cond);
    if (code < 0) {
        uv_mutex_destroy(&thread->mutex);
        free(thread);
        return code;
    }
    atomic_fetch_add(&pool->bridge->refs, 1);
    code = start_without_signals(thread);
    if (code < 0) {
        thread_free(thread);
        return code;
    }
    slot->thread = thread;
    return 0;
}

void
belay__gpu_thread_push(
    struct belay__gpu_thread *thread, struct belay__gpu_op *op)
{
    op->next = NULL;
    uv_mutex_lock(&thread->mutex);
    if (thread->last != NULL) {
        thread->last->next = op;
    } else {
        thread->first = op;
    }
    thread->last = op;
    uv_cond_signal(&thread->cond);
    uv_mutex_unlock(&thread->mutex);
}

void
belay__gpu_thread_join(struct belay__gpu_thread *thread)
{
    (void)uv_thread_join(&thread->thread);
    thread_free(thread);
}

void
belay__gpu_thread_abandon(struct belay__gpu_thread *thread)
{
    (void)pthread_detach(thread->thread);
    uv_mutex_lock(&thread->mutex);
    thread->abandoned = true;
    uv_cond_signal(&thread->cond);
    uv_mutex_unlock(&thread->mutex);
}

/* ---- the probe thread ---- */

static void
on_probe(uv_work_t *work)
{
    struct belay__gpu_probe *probe =
        BELAY__CONTAINER(work, struct belay__gpu_probe, work);
    sigset_t all;
    sigset_t before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    probe->fn(probe->arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void
on_probed(uv_work_t *work, int status)
{
    struct belay__gpu_probe *probe =
        BELAY__CONTAINER(work, struct belay__gpu_probe, work);

    belay_op_done(&probe->op, status, NULL);
}

belay_next
belay__gpu_probe_run(belay_task *task, struct belay__gpu_probe *probe,
    void (*fn)(void *arg), void *arg)
{
    int code;

    probe->fn = fn;
    probe->arg = arg;
    belay_op_begin_shielded(task, &probe->op);
    probe->op.name = "gpu driver";
    code = uv_queue_work(belay_runtime_loop(belay_task_runtime(task)),
        &probe->work, on_probe, on_probed);
    if (code < 0) {
        belay_op_done(&probe->op, code, NULL);
    }
    return belay_op_wait(&probe->op);
}
