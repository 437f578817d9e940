/* blocking.c - blocking calls on libuv's thread pool.
 *
 * The request lies in the frame of the call, which stays until the request's
 * callback has run: an abort answers "later" or "refused", never "done". A
 * call that may be abandoned has its request on the heap instead, and the
 * runtime is held open until that one's callback has run.
 */
#include <belay/blocking.h>

#include "runtime/internal.h"

/* The snapshot that the function on this thread sees. */
static _Thread_local const struct belay__binding *visible;

static int
run_on_thread(
    belay_blocking_fn *fn, void *arg, const struct belay__binding *context)
{
    int code;

    visible = context;
    code = fn(arg);
    visible = NULL;
    return code > 0 ? BELAY_EINVAL : code;
}

void *
belay_blocking_var(const struct belay_var *var)
{
    return belay__context_find(visible, var);
}

static belay_next
pass(belay_task *task, void *self)
{
    (void)self;
    return belay_pass(task);
}

/* ---- the task waits for the end in any case ---- */

struct blocking {
    uv_work_t work;
    struct belay_op op;
    belay_blocking_fn *fn;
    void *arg;
    const struct belay__binding *context; /* the waiting task keeps it */
    int code;
};

static void
on_work(uv_work_t *work)
{
    struct blocking *call = BELAY__CONTAINER(work, struct blocking, work);

    call->code = run_on_thread(call->fn, call->arg, call->context);
}

static void
on_worked(uv_work_t *work, int status)
{
    struct blocking *call = BELAY__CONTAINER(work, struct blocking, work);

    belay_op_done(&call->op, status < 0 ? status : call->code, NULL);
}

static enum belay_abort
abort_work(struct belay_op *op)
{
    struct blocking *call = BELAY__CONTAINER(op, struct blocking, op);

    if (uv_cancel((uv_req_t *)&call->work) < 0) {
        return BELAY_ABORT_REFUSED; /* it runs */
    }
    return BELAY_ABORT_LATER; /* the callback still comes */
}

static belay_next
blocking_start(belay_task *task, void *self)
{
    struct blocking *call = self;
    int code;

    if (belay_op_begin(task, &call->op, abort_work) == 0) {
        call->op.name = "blocking call";
        call->context = task->context;
        code =
            uv_queue_work(task->runtime->loop, &call->work, on_work, on_worked);
        if (code < 0) {
            belay_op_done(&call->op, code, NULL);
        }
    }
    return belay_then(task, pass, belay_op_wait(&call->op));
}

belay_next
belay_blocking(belay_task *task, belay_blocking_fn *fn, void *arg)
{
    static const belay_function function = {
        "blocking call", __FILE__, sizeof(struct blocking), blocking_start, 0};

    return belay_call(
        task, &function, &(const struct blocking){.fn = fn, .arg = arg});
}

/* ---- the task may go on before the end ---- */

struct request;

struct waiter {
    struct belay_op op;
    struct request *request;
    belay_blocking_fn *fn;
    void *arg;
    void (*release)(void *arg);
};

struct request {
    uv_work_t work;
    belay_runtime *runtime;
    struct waiter *waiter; /* NULL: abandoned */
    belay_blocking_fn *fn;
    void *arg;
    void (*release)(void *arg);
    struct belay__binding *context;
    int code;
};

static void
on_request(uv_work_t *work)
{
    struct request *request = BELAY__CONTAINER(work, struct request, work);

    request->code = run_on_thread(request->fn, request->arg, request->context);
}

static void
release_arg(void (*release)(void *arg), void *arg)
{
    if (release != NULL) {
        release(arg);
    }
}

static void
on_requested(uv_work_t *work, int status)
{
    struct request *request = BELAY__CONTAINER(work, struct request, work);
    belay_runtime *runtime = request->runtime;
    const int code = status < 0 ? status : request->code;
    const bool was_inside = belay__inside_run;

    belay__inside_run = true; /* release, destroy, posts: what it calls */
    release_arg(request->release, request->arg);
    if (request->waiter != NULL) {
        belay_op_done(&request->waiter->op, code, NULL);
    }
    belay__context_unref(runtime, request->context);
    belay__free(runtime->memory, request, sizeof(*request));
    belay__runtime_drop(runtime);
    belay__inside_run = was_inside;
}

static enum belay_abort
abandon(struct belay_op *op)
{
    struct waiter *waiter = BELAY__CONTAINER(op, struct waiter, op);

    /* Saves the work if it has not begun; the callback comes either way. */
    (void)uv_cancel((uv_req_t *)&waiter->request->work);
    waiter->request->waiter = NULL;
    return BELAY_ABORT_DONE;
}

static int
request_start(belay_task *task, struct waiter *waiter)
{
    belay_runtime *runtime = task->runtime;
    struct request *request = belay__alloc(runtime->memory, sizeof(*request));
    int code;

    if (request == NULL) {
        return BELAY_ENOMEM;
    }
    *request = (struct request){
        .runtime = runtime,
        .waiter = waiter,
        .fn = waiter->fn,
        .arg = waiter->arg,
        .release = waiter->release,
        .context = belay__context_ref(task->context),
    };
    code =
        uv_queue_work(runtime->loop, &request->work, on_request, on_requested);
    if (code < 0) {
        belay__context_unref(runtime, request->context);
        belay__free(runtime->memory, request, sizeof(*request));
        return code;
    }
    waiter->request = request;
    belay__runtime_hold(runtime);
    return 0;
}

static belay_next
waiter_start(belay_task *task, void *self)
{
    struct waiter *waiter = self;
    int code = belay_op_begin(task, &waiter->op, abandon);

    if (code == 0) {
        waiter->op.name = "blocking call";
        code = request_start(task, waiter);
        if (code < 0) {
            belay_op_done(&waiter->op, code, NULL);
        }
    }
    if (code < 0) {
        release_arg(waiter->release, waiter->arg);
    }
    return belay_then(task, pass, belay_op_wait(&waiter->op));
}

belay_next
belay_blocking_or_abandon(belay_task *task, belay_blocking_fn *fn, void *arg,
    void (*release)(void *arg))
{
    static const belay_function function = {
        "blocking call", __FILE__, sizeof(struct waiter), waiter_start, 0};
    const belay_next next = belay_call(task, &function,
        &(const struct waiter){.fn = fn, .arg = arg, .release = release});

    if (next.how != BELAY__HOW_CALL) {
        release_arg(release, arg);
    }
    return next;
}
