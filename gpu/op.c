/* op.c - operations: from the request to their one end.
 *
 *   queued -> with the driver -> DONE, FAILED
 *         \-> DROPPED, FAILED
 *
 * A slot has its operations in a list, in order; the first few of them are
 * with the driver, or on their way to its thread. The others can be dropped at
 * once, without a look at another thread. An operation ends in one place,
 * finish(), exactly once: a driver that reports an end twice is not heard the
 * second time.
 */
#include "gpu/internal.h"

#include <stdlib.h>

/* ---- memory ---- */

void *
belay__gpu_block_alloc(belay_gpu_pool *pool, size_t size)
{
    return pool->threads ? malloc(size)
                         : belay__alloc(pool->runtime->memory, size);
}

void
belay__gpu_block_free(belay_gpu_pool *pool, void *ptr, size_t size)
{
    if (pool->threads) {
        free(ptr);
    } else {
        belay__free(pool->runtime->memory, ptr, size);
    }
}

/* Most operations are of this size, and are kept for the next one; not where
 * sanitizers are to see each one's borders.
 */
#ifdef BELAY_ARENA_MALLOC
#define SMALL_BYTES ((size_t)1) /* none is */
#else
#define SMALL_BYTES (sizeof(struct belay__gpu_op) + 512)
#endif
#define SMALL_KEPT 256

static struct belay__gpu_op *
op_block(belay_gpu_pool *pool, size_t bytes)
{
    struct belay__gpu_op *op = pool->ops_unused;

    if (bytes != SMALL_BYTES || op == NULL) {
        return belay__gpu_block_alloc(pool, bytes);
    }
    pool->ops_unused = op->next;
    pool->ops_kept--;
    return op;
}

struct belay__gpu_op *
belay__gpu_op_new(belay_gpu_pool *pool, enum belay__gpu_job job, size_t extra)
{
    size_t bytes = sizeof(struct belay__gpu_op) + extra;
    struct belay__gpu_op *op;

    bytes = bytes < SMALL_BYTES ? SMALL_BYTES : bytes;
    if (bytes > UINT32_MAX) {
        return NULL;
    }
    op = op_block(pool, bytes);
    if (op == NULL) {
        return NULL;
    }
    memset(op, 0, offsetof(struct belay__gpu_op, note));
    op->note[0] = '\0';
    op->job = job;
    op->patience_ns = 0;
    op->after = NULL;
    op->before = NULL;
    op->waiter = NULL;
    op->record = NULL;
    op->ret = NULL;
    op->bytes = (uint32_t)bytes;
    op->handed = false;
    op->cancelled = false;
    return op;
}

void
belay__gpu_op_free(belay_gpu_pool *pool, struct belay__gpu_op *op)
{
    if (op == NULL) {
        return;
    }
    free(op->log);
    if (op->bytes == SMALL_BYTES && pool->ops_kept < SMALL_KEPT) {
        op->next = pool->ops_unused;
        pool->ops_unused = op;
        pool->ops_kept++;
        return;
    }
    belay__gpu_block_free(pool, op, op->bytes);
}

/* What was with a driver is kept until another one ends, of which the driver
 * tells anew: so its state can still be read if its end is reported again.
 * What ends while an end is being dealt with does not free it.
 */
static void
bury(belay_gpu_pool *pool, struct belay__gpu_op *op)
{
    if (!op->handed) {
        belay__gpu_op_free(pool, op);
        return;
    }
    op->next = pool->ended;
    pool->ended = op;
}

static void
free_ended(belay_gpu_pool *pool)
{
    struct belay__gpu_op *op;

    while ((op = pool->ended) != NULL) {
        pool->ended = op->next;
        belay__gpu_op_free(pool, op);
    }
}

void
belay__gpu_ops_fini(belay_gpu_pool *pool)
{
    struct belay__gpu_op *op;

    free_ended(pool);
    while ((op = pool->ops_unused) != NULL) {
        pool->ops_unused = op->next;
        belay__gpu_block_free(pool, op, op->bytes);
    }
    pool->ops_kept = 0;
}

/* ---- the list ---- */

static void
append(struct belay__gpu_slot *slot, struct belay__gpu_op *op)
{
    op->after = NULL;
    op->before = slot->ops_last;
    if (slot->ops_last != NULL) {
        slot->ops_last->after = op;
    } else {
        slot->ops = op;
    }
    slot->ops_last = op;
    slot->op_count++;
    if (slot->ops_next == NULL) {
        slot->ops_next = op;
    }
}

static void
unlink_op(struct belay__gpu_slot *slot, struct belay__gpu_op *op)
{
    if (slot->ops_next == op) {
        slot->ops_next = op->after;
    }
    if (op->before != NULL) {
        op->before->after = op->after;
    } else {
        slot->ops = op->after;
    }
    if (op->after != NULL) {
        op->after->before = op->before;
    } else {
        slot->ops_last = op->before;
    }
    slot->op_count--;
    slot->handed -= op->handed;
}

/* ---- the end ---- */

/* "gpu operation on sim 0, slot 1 failed: out of range" */
static belay_error *
error_of(const struct belay__gpu_op *op, int code)
{
    const struct belay__gpu_slot *slot = op->slot;
    belay_gpu_pool *pool = slot->pool;
    const struct belay__error_site site = {
        op->waiter != NULL ? belay_task_name(op->waiter) : NULL, NULL, 0};
    const char *text = op->log != NULL ? op->log : op->note;
    belay_error *error = belay__error_new(pool->runtime->memory, code, &site,
        "%s on %s, device %u, slot %u: %s", belay_code_text(code),
        slot->device->info.name, slot->device->index, slot->bit,
        text[0] != '\0' ? text : "no more is known");

    if (error != NULL && op->native != 0) {
        belay__error_set_foreign(error, pool->driver->name, op->native);
    }
    return error;
}

/* The wait was cancelled, and is over only now (G11). An error of the
 * operation itself is the cause (G14).
 */
static void
wake_cancelled(const struct belay__gpu_op *op, int code)
{
    belay_task *task = op->waiter;
    const struct belay__error_site site = {belay_task_name(task), NULL, 0};
    belay_error *error = NULL;
    belay_error *cause;

    if (code < 0 && code != BELAY_GPU_ECANCELED) {
        cause = error_of(op, code);
        error = belay__error_new(task->runtime->memory, BELAY_ECANCELED, &site,
            "cancelled, and the operation failed");
        if (error != NULL && cause != NULL) {
            belay__error_set_cause(error, cause);
        } else {
            belay_error_unref(cause);
        }
    }
    belay__wake(task, BELAY_ECANCELED, NULL);
    task->result.cancelled = true;
    task->result.error = error;
}

static void
wake(const struct belay__gpu_op *op, int code)
{
    belay_task *task = op->waiter;

    if (op->cancelled) {
        wake_cancelled(op, code);
        return;
    }
    belay__wake(task, code, NULL);
    if (code < 0 && code != BELAY_GPU_ECANCELED) {
        task->result.error = error_of(op, code);
    }
}

/* Its code. */
static int
count_end(struct belay__gpu_slot *slot, const struct belay__gpu_op *op,
    enum belay__gpu_op_state state)
{
    belay_gpu_pool *pool = slot->pool;

    slot->ops_ended++;
    slot->lease_ops++;
    if (state == BELAY__GPU_OP_DROPPED) {
        pool->ops_dropped++;
        return BELAY_GPU_ECANCELED;
    }
    if (state == BELAY__GPU_OP_DONE) {
        pool->ops_done++;
        return 0;
    }
    slot->failures++;
    if (op->status == BELAY_GPU_ELOST) {
        pool->ops_lost++;
    } else {
        pool->ops_failed++;
    }
    return op->status;
}

static void
note_op(
    enum belay_gpu_event_kind kind, const struct belay__gpu_op *op, int code)
{
    const struct belay__gpu_slot *slot = op->slot;
    const struct belay__gpu_lease *lease = slot->lease;

    belay__gpu_note(slot->pool, kind, belay__gpu_now(slot->pool),
        &(const struct belay_gpu_event){
            .lease = lease != NULL ? lease->number : 0,
            .task_id = op->waiter != NULL ? belay_task_id(op->waiter) : 0,
            .detail = (uint64_t)-code,
            .slot = slot->index,
            .priority = lease != NULL ? lease->priority : 0,
        });
}

/* The one end of an operation, which is gone afterwards. What is next for the
 * slot is belay__gpu_op_advance()'s.
 */
static void
finish(struct belay__gpu_op *op, enum belay__gpu_op_state state)
{
    struct belay__gpu_slot *slot = op->slot;
    int code;

    unlink_op(slot, op);
    atomic_store(&op->state, (uint8_t)state);
    if (op == slot->own) {
        belay__gpu_slot_own_ended(slot, op);
        return;
    }
    code = count_end(slot, op, state);
    note_op(BELAY_GPU_EVENT_OP_END, op, code);
    belay__gpu_work_ended(op, code);
    if (op->waiter != NULL) {
        wake(op, code);
    }
    bury(slot->pool, op);
}

/* ---- with the driver ---- */

/* Can it be left out, or does something depend on its being done? */
static bool
is_asked_for(const struct belay__gpu_op *op)
{
    return op->job == BELAY__GPU_RUN || op->job == BELAY__GPU_BUILD
           || op->job == BELAY__GPU_ALLOC;
}

/* Only the first one: a stop word stops all up to a sequence, and those before
 * are others' (G15). The thread sets SUBMITTED before it looks at `drop`, and
 * this looks at them the other way round: one of the two sees the other.
 */
static void
stop_first(const struct belay__gpu_slot *slot)
{
    const struct belay__gpu_op *op = slot->ops;

    if (op == NULL || op->job != BELAY__GPU_RUN || slot->native == NULL
        || !atomic_load(&op->drop)
        || atomic_load(&op->state) != BELAY__GPU_OP_SUBMITTED) {
        return;
    }
    slot->pool->driver->stop(slot->native, op->seq);
}

static void
open_inline(struct belay__gpu_slot *slot, struct belay__gpu_op *op)
{
    belay_gpu_pool *pool = slot->pool;
    const struct belay__gpu_place place = {
        .ordinal = slot->device->info.ordinal,
        .device = slot->device->index,
        .slot = slot->bit,
        .runtime = pool->runtime,
    };

    op->status = pool->driver->slot_open(pool->driver_state, &place,
        &op->u.open.native, &op->u.open.free_bytes, op->note);
    belay__gpu_complete(op);
}

static void
hand_to_thread(struct belay__gpu_slot *slot, struct belay__gpu_op *op)
{
    if (slot->thread == NULL) {
        op->status = belay__gpu_thread_start(slot);
        if (op->status < 0) {
            belay__gpu_complete(op);
            return;
        }
    }
    if (slot->pool->in_flight++ == 0) {
        belay__gpu_bridge_hold(slot->pool->bridge, true);
    }
    belay__gpu_thread_push(slot->thread, op);
}

/* It may end in here. */
static void
hand_over(struct belay__gpu_slot *slot, struct belay__gpu_op *op)
{
    const struct belay__gpu_driver *driver = slot->pool->driver;

    slot->ops_next = op->after;
    slot->handed++;
    op->handed = true;
    op->status = 0;
    op->native = 0;
    op->note[0] = '\0';
    if (slot->lost && is_asked_for(op)) {
        op->status = BELAY_GPU_ELOST;
        belay__gpu_complete(op);
    } else if (slot->pool->threads) {
        hand_to_thread(slot, op);
    } else if (op->job == BELAY__GPU_OPEN) {
        open_inline(slot, op);
    } else {
        atomic_store(&op->state, BELAY__GPU_OP_SUBMITTED);
        driver->start(slot->native, op);
    }
}

/* After a change of the list: hands on what may be handed on, and if nothing
 * is left, the slot is settled. What ends in here comes back here, and is left
 * to the loop that runs.
 */
void
belay__gpu_op_advance(struct belay__gpu_slot *slot)
{
    belay_gpu_pool *pool = slot->pool;

    if (slot->pumping) {
        return;
    }
    belay__gpu_defer(pool);
    slot->pumping = true;
    while (slot->ops_next != NULL && slot->handed < pool->depth) {
        hand_over(slot, slot->ops_next);
    }
    slot->pumping = false;
    stop_first(slot);
    if (slot->ops == NULL) {
        belay__gpu_slot_settled(slot, belay__gpu_now(pool));
    }
    belay__gpu_resume(pool);
}

void
belay__gpu_complete(struct belay__gpu_op *op)
{
    struct belay__gpu_slot *slot = op->slot;
    const uint8_t before = atomic_load(&op->state);
    bool lost;

    if (before != BELAY__GPU_OP_QUEUED && before != BELAY__GPU_OP_SUBMITTED) {
        return; /* said twice (G30) */
    }
    if (slot->pool->completing++ == 0) {
        free_ended(slot->pool);
    }
    lost = op->status == BELAY_GPU_ELOST && !slot->lost && op != slot->own;
    if (op->status == 0) {
        finish(op, BELAY__GPU_OP_DONE);
    } else if (op->status == BELAY_GPU_ECANCELED) {
        finish(op, BELAY__GPU_OP_DROPPED);
    } else {
        finish(op, BELAY__GPU_OP_FAILED);
    }
    if (lost) {
        belay__gpu_device_lost(slot->device);
    }
    belay__gpu_op_advance(slot);
    slot->pool->completing--;
    belay__gpu_changed(slot->pool);
}

void
belay__gpu_op_push(struct belay__gpu_slot *slot, struct belay__gpu_op *op)
{
    op->slot = slot;
    op->seq = ++slot->seq;
    op->priority = slot->lease != NULL ? slot->lease->priority : 0;
    atomic_store(&op->state, BELAY__GPU_OP_QUEUED);
    atomic_store(&op->drop, false);
    op->handed = false;
    append(slot, op);
    if (op != slot->own) {
        note_op(BELAY_GPU_EVENT_OP_BEGIN, op, 0);
    }
    if (slot->state == BELAY_GPU_SLOT_HELD) {
        belay__gpu_slot_set(
            slot, BELAY_GPU_SLOT_RUNNING, belay__gpu_now(slot->pool));
    }
    belay__gpu_op_advance(slot);
}

/* ---- awaiting, and not ---- */

/* What has not begun is dropped. What has begun is asked to stop, and the wait
 * goes on until the device has let go.
 */
static enum belay_abort
abort_op(belay_task *task)
{
    struct belay__gpu_op *op = task->wait.data;
    struct belay__gpu_slot *slot = op->slot;

    op->cancelled = true;
    atomic_store(&op->drop, true);
    if (op->handed) {
        belay__gpu_slot_limit(slot);
        stop_first(slot);
        return BELAY_ABORT_LATER;
    }
    op->waiter = NULL;
    finish(op, BELAY__GPU_OP_DROPPED);
    belay__gpu_op_advance(slot);
    belay__gpu_changed(slot->pool);
    return BELAY_ABORT_DONE;
}

belay_next
belay__gpu_op_await(
    belay_task *task, struct belay__gpu_slot *slot, struct belay__gpu_op *op)
{
    static const struct belay__wait_kind kind = {"gpu operation", abort_op};

    op->slot = slot;
    if (!belay__wait_begin(task, &kind)) {
        belay__gpu_work_ended(op, BELAY_GPU_ECANCELED);
        belay__gpu_op_free(slot->pool, op);
        return belay__next(BELAY__HOW_WAIT);
    }
    task->wait.data = op;
    op->waiter = task;
    belay__gpu_op_push(slot, op);
    return belay__next(BELAY__HOW_WAIT);
}

/* Ends what was asked for and is not with the driver. */
static void
end_queued(
    struct belay__gpu_slot *slot, enum belay__gpu_op_state state, int status)
{
    struct belay__gpu_op *next;

    for (struct belay__gpu_op *op = slot->ops_next; op != NULL; op = next) {
        next = op->after;
        if (is_asked_for(op)) {
            op->status = status;
            finish(op, state);
        }
    }
}

void
belay__gpu_op_drop_all(struct belay__gpu_slot *slot)
{
    end_queued(slot, BELAY__GPU_OP_DROPPED, BELAY_GPU_ECANCELED);
    for (struct belay__gpu_op *op = slot->ops; op != NULL; op = op->after) {
        if (is_asked_for(op)) {
            atomic_store(&op->drop, true);
        }
    }
    stop_first(slot);
}

void
belay__gpu_op_lose_queued(struct belay__gpu_slot *slot)
{
    end_queued(slot, BELAY__GPU_OP_FAILED, BELAY_GPU_ELOST);
}

/* The drain limit is over: cancelled waits end, though their operations have
 * not. All that these still use is the pool's.
 */
void
belay__gpu_op_detach(struct belay__gpu_slot *slot)
{
    belay_task *task;

    for (struct belay__gpu_op *op = slot->ops; op != NULL; op = op->after) {
        task = op->waiter;
        if (task != NULL && op->cancelled) {
            wake_cancelled(op, 0);
            op->waiter = NULL;
        }
    }
}

/* The pool is being left, and these have not ended. What is with a thread is
 * the thread's from now on.
 */
void
belay__gpu_op_abandon_all(struct belay__gpu_slot *slot)
{
    struct belay__gpu_op *op;

    while ((op = slot->ops) != NULL) {
        assert(op->before == NULL);
        unlink_op(slot, op);
        if (op->handed && slot->thread != NULL) {
            slot->pool->in_flight--;
            continue;
        }
        if (op != slot->own) {
            belay__gpu_work_ended(op, BELAY_GPU_ELOST);
            belay__gpu_op_free(slot->pool, op);
        }
    }
}
