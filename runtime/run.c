/* run.c - a runtime on a loop of its own, from begin to end. */
#include <belay/runtime.h>

#include "runtime/internal.h"

struct run {
    uv_loop_t loop;
    struct belay_result result;
    bool done;
    bool closed;
};

static void
run_ended(const struct belay_result *result, void *arg)
{
    struct run *run = arg;

    run->result = belay__result_copy(result);
    run->done = true;
    uv_stop(&run->loop);
}

static void
run_closed(void *arg)
{
    struct run *run = arg;

    run->closed = true;
}

/* The loop has come back with nothing alive on it; a cancel could not help, or
 * has not. To run it again would be to spin.
 */
static void
require_hope(bool hope)
{
    if (!hope) {
        belay__broken("belay_run", "a task waits for nothing and cannot be "
                                   "cancelled; see belay_runtime_dump()");
    }
}

/* Runs until the root has ended. If nothing can happen any more and it has
 * not, everything waits for nothing: cancel it, once.
 */
static void
run_root(struct run *run, belay_runtime *runtime)
{
    bool stuck = false;

    while (!run->done) {
        if (uv_run(&run->loop, UV_RUN_DEFAULT) != 0 || run->done) {
            continue;
        }
        require_hope(!stuck);
        stuck = true;
        belay__scope_cancel(runtime, &runtime->root.scope,
            BELAY_CANCEL_SHUTDOWN,
            "every task waits for nothing that could still happen", NULL);
    }
    if (stuck && run->result.cancelled) {
        belay__result_clear(&run->result);
        run->result.code = BELAY_EDEADLK;
    }
}

/* Hands the result over; gives its code. */
static int
run_result(struct belay_result result, struct belay_result *ret)
{
    const int code = result.code;

    if (ret != NULL) {
        *ret = result;
    } else {
        belay__result_clear(&result);
    }
    return code;
}

int
belay_run(const belay_function *function, const void *arguments,
    const struct belay_runtime_opts *opts, struct belay_result *ret)
{
    struct run run = {.done = false};
    belay_runtime *runtime = NULL;
    int code;

    run.result.code = belay__inside_run ? BELAY_EBUSY : uv_loop_init(&run.loop);
    if (run.result.code < 0) {
        return run_result(run.result, ret);
    }
    belay__inside_run = true;
    code = belay_runtime_attach(&run.loop, opts, &runtime);
    if (code == 0) {
        belay__trace_from_environment(runtime);
        code = belay_runtime_spawn(
            runtime, function, arguments, run_ended, &run, NULL);
    }
    if (code == 0) {
        run_root(&run, runtime);
    } else {
        run.result.code = code;
    }
    belay_runtime_close(runtime, run_closed, &run);
    while (!run.closed) {
        require_hope(uv_run(&run.loop, UV_RUN_DEFAULT) != 0 || run.closed);
    }
    BELAY__REQUIRE(uv_loop_close(&run.loop) == 0,
        "handles of libuv are still open on the loop");
    belay__inside_run = false;
    return run_result(run.result, ret);
}
