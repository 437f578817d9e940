/* process.c - a child process as a scope.
 *
 *   starting -> running -> ended -> closed
 *           \-> closed              (it could not be started)
 *
 * All handles lie in the manager's frame, so neither a failed enter nor an
 * exit goes on before each of them has had its close callback; both waits are
 * shielded. The time until a signal is real time, whatever the runtime's clock
 * says: the child knows no other.
 */
#include <belay/process.h>

#include "runtime/internal.h"
#include "runtime/stream.h"

#include <signal.h>

#define GRACE_NS 5000000000
#define NS_PER_MS 1000000
#define STREAMS 3

struct belay_process {
    belay_process **ret;
    struct belay_process_opts opts;
    belay_runtime *runtime;
    uv_process_t process;
    struct belay_stream streams[STREAMS]; /* input, output, error */
    uv_timer_t timer;                     /* until the next signal */
    struct belay_waiters waiters;
    struct belay_op closing; /* the block waits for the last handle */
    struct belay_process_status status;
    uint32_t handles; /* open ones */
    int failure;      /* why it could not be started */
    bool spawned;     /* the process handle is open */
    bool running;
    bool asked; /* SIGTERM was sent */
};

/* ---- closing ---- */

static void
handle_gone(belay_process *process)
{
    if (--process->handles == 0) {
        belay_op_done(&process->closing, 0, NULL);
    }
}

static void
on_stream_closed(struct belay_stream *stream)
{
    handle_gone(stream->owner);
}

static void
on_handle_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

/* With `closing` begun: it is done when the last handle is gone. */
static void
close_all(belay_process *process)
{
    for (int i = 0; i < STREAMS; i++) {
        belay_stream_close(&process->streams[i]);
    }
    if (process->spawned) {
        uv_close((uv_handle_t *)&process->process, on_handle_closed);
    }
    uv_close((uv_handle_t *)&process->timer, on_handle_closed);
}

/* ---- ending it ---- */

static void on_timer(uv_timer_t *timer);

/* Never early: rounded up, and counted from now, not from the loop's idea of
 * it.
 */
static void
signal_after(belay_process *process, int64_t span_ns)
{
    const uint64_t loop_ms = uv_now(process->runtime->loop);
    const uint64_t due_ms =
        (uv_hrtime() + (uint64_t)span_ns + NS_PER_MS - 1) / NS_PER_MS;

    if (span_ns != INT64_MAX) {
        (void)uv_timer_start(&process->timer, on_timer,
            due_ms > loop_ms ? due_ms - loop_ms : 0, 0);
    }
}

/* A kill fails if the child has ended (ESRCH), or has become somebody else's,
 * as `sudo` does (EPERM): then nothing but its own end is left to wait for.
 */
static void
ask_to_end(belay_process *process, bool at_once)
{
    int64_t grace_ns = process->opts.grace.ns;

    if (grace_ns == 0) {
        grace_ns = GRACE_NS;
    }
    process->asked = true;
    (void)uv_process_kill(&process->process, SIGTERM);
    if (grace_ns < 0 || at_once) {
        (void)uv_process_kill(&process->process, SIGKILL);
        return;
    }
    signal_after(process, grace_ns);
}

static void
on_timer(uv_timer_t *timer)
{
    belay_process *process = timer->data;

    if (process->asked) {
        (void)uv_process_kill(&process->process, SIGKILL);
    } else {
        ask_to_end(process, false);
    }
}

static void
wake_waiters(belay_process *process)
{
    struct belay_process_status *status;
    belay_task *task;

    while ((task = belay__waiters_first(&process->waiters)) != NULL) {
        status = task->wait.data;
        if (status != NULL) {
            *status = process->status;
        }
        process->runtime->pending_ops--;
        belay__wake(task, 0, NULL);
    }
}

static void
on_exit(uv_process_t *handle, int64_t exit_code, int signal)
{
    belay_process *process = handle->data;

    process->running = false;
    process->status = (struct belay_process_status){exit_code, signal};
    (void)uv_timer_stop(&process->timer);
    wake_waiters(process);
    if (belay_op_pending(&process->closing)) {
        close_all(process); /* the block was waiting for this */
    }
}

static belay_next
process_left(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

/* The grace of the exit is over. The child has no more time, but its end and
 * that of the handles are waited for all the same.
 */
static enum belay_abort
hurry(struct belay_op *closing)
{
    belay_process *process = BELAY__CONTAINER(closing, belay_process, closing);

    if (process->running) {
        (void)uv_timer_stop(&process->timer);
        ask_to_end(process, true);
    }
    return BELAY_ABORT_REFUSED;
}

static belay_next
process_exit(belay_task *task, void *self)
{
    belay_process *process = self;

    belay_stream_close(&process->streams[0]);
    belay_op_begin_shielded(task, &process->closing);
    process->closing.abort = hurry;
    process->closing.name = "process exit";
    if (!process->running) {
        close_all(process);
    } else if (process->opts.patience.ns > 0) {
        signal_after(process, process->opts.patience.ns);
    } else {
        ask_to_end(process, false);
    }
    return belay_then(task, process_left, belay_op_wait(&process->closing));
}

/* ---- starting ---- */

static int
open_stream(belay_process *process, int index, uv_stdio_container_t *ret)
{
    const enum belay_process_stdio wanted[STREAMS] = {
        process->opts.input, process->opts.output, process->opts.error};
    struct belay_stream *stream = &process->streams[index];
    int code;

    switch (wanted[index]) {
    case BELAY_PROCESS_NULL:
        ret->flags = UV_IGNORE; /* for the first three that is /dev/null */
        return 0;
    case BELAY_PROCESS_INHERIT:
        ret->flags = UV_INHERIT_FD;
        ret->data.fd = index;
        return 0;
    case BELAY_PROCESS_PIPE:
        break;
    }
    code = belay__stream_init(
        process->runtime->loop, stream, on_stream_closed, process);
    if (code < 0) {
        return code;
    }
    process->handles++;
    ret->flags = index == 0 ? UV_CREATE_PIPE | UV_READABLE_PIPE
                            : UV_CREATE_PIPE | UV_WRITABLE_PIPE;
    ret->data.stream = (uv_stream_t *)&stream->pipe;
    return 0;
}

/* If it fails, some handles are open: the timer's in any case. */
static int
start(belay_process *process)
{
    uv_stdio_container_t stdio[STREAMS];
    const uv_process_options_t options = {
        .exit_cb = on_exit,
        .file = process->opts.args[0],
        .args = belay__without_const((const void *)process->opts.args),
        .env = belay__without_const((const void *)process->opts.env),
        .cwd = process->opts.cwd,
        .stdio_count = STREAMS,
        .stdio = stdio,
    };
    int code;

    (void)uv_timer_init(process->runtime->loop, &process->timer);
    process->timer.data = process;
    process->handles++;
    for (int i = 0; i < STREAMS; i++) {
        code = open_stream(process, i, &stdio[i]);
        if (code < 0) {
            return code;
        }
    }
    code = uv_spawn(process->runtime->loop, &process->process, &options);
    process->process.data = process;
    process->handles++; /* libuv wants it closed after a failure too */
    process->spawned = true;
    process->running = code == 0;
    return code;
}

static belay_next
process_failed(belay_task *task, void *self)
{
    belay_process *process = self;

    return belay_fail(task, process->failure, "cannot run '%s': %s",
        process->opts.args[0], belay_code_text(process->failure));
}

static belay_next
process_start(belay_task *task, void *self)
{
    belay_process *process = self;

    if (belay_result(task)->code < 0) {
        return belay_pass(task);
    }
    process->runtime = task->runtime;
    process->failure = start(process);
    if (process->failure < 0) {
        belay_op_begin_shielded(task, &process->closing);
        close_all(process);
        return belay_then(
            task, process_failed, belay_op_wait(&process->closing));
    }
    if (process->ret != NULL) {
        *process->ret = process;
    }
    return belay_return(task, process);
}

static belay_next
process_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_then(task, process_start, belay__done_now(task, 0, NULL));
}

static bool
is_stdio(enum belay_process_stdio wanted)
{
    return (unsigned)wanted <= BELAY_PROCESS_PIPE;
}

static int
check_opts(const struct belay_process_opts *opts)
{
    const bool good = opts->size == sizeof(*opts) && opts->args != NULL
                      && opts->args[0] != NULL && is_stdio(opts->input)
                      && is_stdio(opts->output) && is_stdio(opts->error);

    return good ? 0 : BELAY_EINVAL;
}

belay_next
belay_process_open(belay_task *task, const struct belay_process_opts *opts,
    belay_process **ret)
{
    static const belay_manager manager = {
        {"process", __FILE__, sizeof(belay_process), process_enter, 0},
        process_exit};

    if (check_opts(opts) < 0) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    return belay_enter(
        task, &manager, &(const belay_process){.ret = ret, .opts = *opts});
}

/* ---- while it runs ---- */

/* It counts as an operation outside: a virtual clock does not jump. */
static enum belay_abort
abort_wait(belay_task *task)
{
    task->runtime->pending_ops--;
    return belay__abort_waiter(task);
}

belay_next
belay_process_wait(belay_task *task, belay_process *process,
    struct belay_process_status *ret_status)
{
    static const struct belay__wait_kind wait = {"process end", abort_wait};
    belay_next next = belay__next(BELAY__HOW_WAIT);

    if (!process->running) {
        next = belay__done_now(task, 0, NULL);
        if (belay_result(task)->code == 0 && ret_status != NULL) {
            *ret_status = process->status;
        }
    } else if (belay__wait_begin(task, &wait)) {
        task->wait.data = ret_status;
        belay__waiters_push(&process->waiters, task);
        task->runtime->pending_ops++;
    }
    return next;
}

int
belay_process_kill(belay_process *process, int signal)
{
    return process->running ? uv_process_kill(&process->process, signal)
                            : BELAY_ESTATE;
}

int
belay_process_id(const belay_process *process)
{
    return uv_process_get_pid(&process->process);
}

static belay_stream *
stream_at(belay_process *process, int index, enum belay_process_stdio wanted)
{
    return wanted == BELAY_PROCESS_PIPE ? &process->streams[index] : NULL;
}

belay_stream *
belay_process_input(belay_process *process)
{
    return stream_at(process, 0, process->opts.input);
}

belay_stream *
belay_process_output(belay_process *process)
{
    return stream_at(process, 1, process->opts.output);
}

belay_stream *
belay_process_error(belay_process *process)
{
    return stream_at(process, 2, process->opts.error);
}
