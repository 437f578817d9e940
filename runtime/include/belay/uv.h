/* uv.h - Belay among your own libuv code.
 *
 * The one public header that shows types of libuv. It attaches a runtime to a
 * loop and has the bridge by which any callback-style API becomes an
 * operation that a task can await:
 *
 *     belay_next connect_start(belay_task *task, struct connect *self)
 *     {
 *         int code;
 *
 *         if (belay_op_begin(task, &self->op, connect_abort) < 0) {
 *             return belay_op_wait(&self->op);
 *         }
 *         code = uv_tcp_connect(&self->request, ..., on_connect);
 *         if (code < 0) {
 *             belay_op_done(&self->op, code, NULL);
 *         }
 *         return belay_op_wait(&self->op);
 *     }
 *
 * and on_connect() calls belay_op_done(). The memory of the operation must
 * live until it is done; a frame does (contract S128).
 */
#ifndef BELAY_UV_H
#define BELAY_UV_H

#include <uv.h>

#include <belay/runtime.h>

BELAY_BEGIN_DECLS

/**
 * belay_runtime_attach - a runtime on the host's loop
 *
 *   loop  not NULL; must outlive the runtime; the host runs it
 *   opts  NULL for all defaults; copied
 *   ret   receives the runtime; untouched on failure
 *
 * An idle runtime does not keep uv_run() alive.
 *
 * Owner:   the caller closes it with belay_runtime_close().
 * Errors:  BELAY_EINVAL  opts->size is one this library does not know
 *          BELAY_ENOMEM  nothing has changed
 *          other codes of libuv for handles that cannot be made.
 * Threads: the loop's thread.
 * Since:   0.1. Source: api.md, embedding; contract S132, S133.
 */
BELAY_API int belay_runtime_attach(uv_loop_t *loop,
    const struct belay_runtime_opts *opts, belay_runtime **ret);

/**
 * belay_runtime_loop - the loop that a runtime is on
 *
 *   runtime  not NULL
 *
 * Owner:   the loop is the host's, or the runtime's own.
 * Errors:  none; never NULL.
 * Threads: loop thread.
 * Since:   0.1. Source: api.md, embedding.
 */
BELAY_API uv_loop_t *belay_runtime_loop(belay_runtime *runtime);

/* What an abort hook has achieved. */
enum belay_abort {
    BELAY_ABORT_DONE,    /* it has not happened and will not: go on, cancelled;
                            belay_op_done() must not be called any more */
    BELAY_ABORT_LATER,   /* belay_op_done() will come, as soon as may be, or has
                            come inside the hook; with BELAY_ECANCELED, or
                            with the UV_EAI_CANCELED of a lookup, it counts as
                            cancelled */
    BELAY_ABORT_REFUSED, /* it cannot be stopped: wait for belay_op_done() */
};

struct belay_op;

/* Called by the trampoline, never inside belay_task_cancel(), at most once a
 * wait.
 */
typedef enum belay_abort belay_abort_fn(struct belay_op *op);

/* One wait for something outside the runtime. In the caller's memory. */
struct belay_op {
    belay_task *task;      /* private */
    belay_abort_fn *abort; /* private */
    uint32_t state;        /* private */
    const char *name;      /* yours: what is awaited, for people; static text;
                              NULL becomes "operation" */
    void *data;            /* yours; nothing here touches it */
};

/**
 * belay_op_begin - start a wait, unless the task is already cancelled
 *
 *   op     the caller's memory, zeroed or used before; must live until done
 *   abort  what stops it; NULL means that it always refuses
 *
 * What will end the wait has to keep the loop alive until then: a request, a
 * handle that is active and not taken out by uv_unref(), or for another thread
 * a portal. Else belay_run() takes the wait for one that nothing could end
 * (BELAY_EDEADLK), and a host's uv_run() returns.
 *
 * Owner:   op stays the caller's.
 * Errors:  BELAY_ECANCELED  the task is cancelled: start nothing, return
 *                           belay_op_wait(op), which delivers the cancel
 * Threads: loop thread, inside a step.
 * Since:   0.1. Source: contract S12, S127.
 */
BELAY_API int belay_op_begin(
    belay_task *task, struct belay_op *op, belay_abort_fn *abort);

/**
 * belay_op_begin_shielded - start a wait that nothing cuts short
 *
 *   op  the caller's memory, zeroed or used before; must live until done
 *
 * For what has to be waited for also when an exit's grace is over: the close
 * callback of a handle that lies in the frame.
 *
 * Owner:   op stays the caller's.
 * Errors:  none.
 * Threads: loop thread, inside a step.
 * Since:   0.1. Source: contract S128.
 */
BELAY_API void belay_op_begin_shielded(belay_task *task, struct belay_op *op);

/**
 * belay_op_wait - the token of a wait that was begun
 *
 *   op  as given to belay_op_begin()
 *
 * Owner:   op stays the caller's.
 * Errors:  what belay_op_done() is given; BELAY_ECANCELED, flagged, when
 *          cancelled.
 * Threads: loop thread, in the step that called belay_op_begin(), which is
 *          the cancellation point.
 * Since:   0.1. Source: contract S126.
 */
BELAY_API BELAY_TOKEN belay_op_wait(struct belay_op *op);

/**
 * belay_op_done - the wait is over
 *
 *   op     begun, and not yet done
 *   code   0, or negative
 *   value  for belay_result(); NULL if there is none
 *
 * Only queues the task; no step runs inside the call. Legal between
 * belay_op_begin() and belay_op_wait() too. What counts as cancelled, see
 * BELAY_ABORT_LATER, is delivered as BELAY_ECANCELED, flagged.
 *
 * Owner:   op may be used anew or freed from the task's next step on.
 * Errors:  none. A second call for one wait aborts.
 * Threads: loop thread; for callbacks of libuv.
 * Since:   0.1. Source: contract S126, S127.
 */
BELAY_API void belay_op_done(struct belay_op *op, int code, void *value);

/**
 * belay_op_refuse - the token of an operation that was not even begun
 *
 *   code  negative; anything else is taken as BELAY_EINVAL
 *
 * For a function that returns a token and sees at once that it cannot be: a
 * handle that is closed, somebody else who reads already. May stand for the
 * token of an enter operation too: the block is then not entered.
 *
 * Owner:   nothing changes hands.
 * Errors:  the code; BELAY_ECANCELED, flagged, when cancelled: that comes
 *          first, as it would have if the operation had been begun.
 * Threads: loop thread, inside a step. Cancellation point.
 * Since:   0.1. Source: contract S1, S13, S94.
 */
BELAY_API BELAY_TOKEN belay_op_refuse(belay_task *task, int code);

/**
 * belay_op_pending - is the wait still on?
 *
 *   op  not NULL, zeroed or used before
 *
 * Owner:   op stays the caller's.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract S10.
 */
BELAY_API bool belay_op_pending(const struct belay_op *op);

BELAY_END_DECLS

#endif
