/* signals.c - SIGINT, SIGTERM and SIGUSR1 while a block runs. */
#include "cli/signals.h"

#include <belay/uv.h>

#include <signal.h>

static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1};

#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

struct signals {
    uv_signal_t handles[NUMBERS];
    struct belay_op closed;
    unsigned open;
    unsigned count; /* of those that want an end */
    belay__signal_fn *fn;
    void *arg;
};

static void
on_signal(uv_signal_t *handle, int number)
{
    struct signals *signals = handle->data;

    if (number != SIGUSR1) {
        signals->count++;
    }
    signals->fn(number, signals->count, signals->arg);
}

static void
on_closed(uv_handle_t *handle)
{
    struct signals *signals = handle->data;

    if (--signals->open == 0) {
        belay_op_done(&signals->closed, 0, NULL);
    }
}

static belay_next
signals_closed(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

/* The handles lie in the frame: it must stay until both are closed. */
static belay_next
signals_exit(belay_task *task, void *self)
{
    struct signals *signals = self;

    belay_op_begin_shielded(task, &signals->closed);
    for (size_t i = 0; i < NUMBERS; i++) {
        uv_close((uv_handle_t *)&signals->handles[i], on_closed);
    }
    return belay_then(task, signals_closed, belay_op_wait(&signals->closed));
}

static belay_next
signals_enter(belay_task *task, void *self)
{
    struct signals *signals = self;
    uv_loop_t *loop = belay_runtime_loop(belay_task_runtime(task));

    for (size_t i = 0; i < NUMBERS; i++) {
        /* Cannot fail but for the loop's own pipe, which it has by now. */
        (void)uv_signal_init(loop, &signals->handles[i]);
        signals->handles[i].data = signals;
        signals->open++;
        uv_unref((uv_handle_t *)&signals->handles[i]);
        (void)uv_signal_start(&signals->handles[i], on_signal, numbers[i]);
    }
    return belay_return(task, NULL);
}

belay_next
belay__signals_open(belay_task *task, belay__signal_fn *fn, void *arg)
{
    static const belay_manager manager = {
        {"signals", __FILE__, sizeof(struct signals), signals_enter, 0},
        signals_exit};

    return belay_enter(
        task, &manager, &(const struct signals){.fn = fn, .arg = arg});
}
