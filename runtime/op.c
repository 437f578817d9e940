/* op.c - the bridge by which callback-style APIs become operations.
 *
 *   idle -> pending -> idle            done, or aborted at once
 *                  \-> aborting -> idle   the hook has said "later"
 */
#include "runtime/internal.h"

enum {
    OP_IDLE,
    OP_PENDING,
    OP_ABORTING,
};

static enum belay_abort
abort_op(belay_task *task)
{
    struct belay_op *op = task->wait.data;
    enum belay_abort answer;

    if (op->abort == NULL) {
        return BELAY_ABORT_REFUSED;
    }
    op->state = OP_ABORTING; /* the hook may call belay_op_done() */
    answer = op->abort(op);
    if (answer == BELAY_ABORT_DONE) {
        BELAY__REQUIRE(op->state == OP_ABORTING,
            "%s: done, and aborted as if it was not", op->name);
        op->state = OP_IDLE;
        task->runtime->pending_ops--;
    } else if (answer == BELAY_ABORT_REFUSED && op->state == OP_ABORTING) {
        op->state = OP_PENDING;
    }
    return answer;
}

const struct belay__wait_kind belay__wait_op = {"operation", abort_op};

static void
op_init(belay_task *task, struct belay_op *op, belay_abort_fn *abort)
{
    /* Its name may be garbage like the rest. */
    BELAY__REQUIRE_OF(task, op->state == OP_IDLE,
        "an operation that is still on, or was never zeroed");
    op->task = task;
    op->abort = abort;
    if (op->name == NULL) {
        op->name = belay__wait_op.name;
    }
}

static void
op_start(belay_task *task, struct belay_op *op)
{
    task->wait.data = op;
    op->state = OP_PENDING;
    task->runtime->pending_ops++;
}

int
belay_op_begin(belay_task *task, struct belay_op *op, belay_abort_fn *abort)
{
    op_init(task, op, abort);
    if (!belay__wait_begin(task, &belay__wait_op)) {
        return BELAY_ECANCELED;
    }
    op_start(task, op);
    return 0;
}

void
belay_op_begin_shielded(belay_task *task, struct belay_op *op)
{
    belay__require_idle(task);
    op_init(task, op, NULL);
    belay__wait_always(task, &belay__wait_op);
    op_start(task, op);
}

belay_next
belay_op_wait(struct belay_op *op)
{
    (void)op;
    return belay__next(BELAY__HOW_WAIT);
}

/* libuv has a code of its own for a lookup that uv_cancel() took. */
static bool
is_cancel(int code)
{
    return code == BELAY_ECANCELED || code == UV_EAI_CANCELED;
}

void
belay_op_done(struct belay_op *op, int code, void *value)
{
    belay_task *task = op->task;
    const bool cancelled =
        __builtin_expect(op->state == OP_ABORTING, 0) && is_cancel(code);

    BELAY__REQUIRE(op->state != OP_IDLE, "%s: done twice",
        op->name != NULL ? op->name : "operation");
    op->state = OP_IDLE;
    task->runtime->pending_ops--;
    belay__wake(task, cancelled ? BELAY_ECANCELED : code, value);
    task->result.cancelled = cancelled;
}

belay_next
belay_op_refuse(belay_task *task, int code)
{
    return belay__done_now(task, code < 0 ? code : BELAY_EINVAL, NULL);
}

bool
belay_op_pending(const struct belay_op *op)
{
    return op->state != OP_IDLE;
}
