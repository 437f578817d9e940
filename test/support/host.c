/* host.c - a host's loop with a runtime on it. */
#include "test/support/host.h"

void
host_open(struct host *host, bool virtual_clock)
{
    *host = (struct host){.closed = false};
    cr_assert(zero(int, uv_loop_init(&host->loop)));
    host->clock = virtual_clock ? belay_clock_new(false) : NULL;
    cr_assert(zero(int, belay_runtime_attach(&host->loop,
                            BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
                                .clock = host->clock),
                            &host->runtime)));
    cr_expect(eq(ptr, belay_runtime_loop(host->runtime), &host->loop));
}

static void
on_prepare(uv_prepare_t *prepare)
{
    (void)prepare;
}

/* A host that has something of its own to live for. */
void
host_keep(struct host *host)
{
    cr_assert(zero(int, uv_prepare_init(&host->loop, &host->own)));
    cr_assert(zero(int, uv_prepare_start(&host->own, on_prepare)));
}

void
host_let_go(struct host *host)
{
    uv_close((uv_handle_t *)&host->own, NULL);
}

void
host_closed(void *arg)
{
    struct host *host = arg;

    host->closed = true;
    trace("closed");
}

void
host_close(struct host *host)
{
    belay_runtime_close(host->runtime, host_closed, host);
    cr_expect(not(host->closed));
    while (!host->closed) {
        (void)uv_run(&host->loop, UV_RUN_DEFAULT);
    }
    cr_expect(zero(int, uv_loop_close(&host->loop)));
    belay_clock_free(host->clock);
}

void
host_ended(const struct belay_result *result, void *arg)
{
    struct host *host = arg;

    host->ended++;
    trace("ended %s", trace_result(result));
}

static belay_next
napper_step(belay_task *task, void *arg)
{
    struct napper *self = arg;

    BELAY_BEGIN;
    trace("first step");
    for (; self->times > 0; self->times--) {
        BELAY_AWAIT(belay_sleep(task, self->nap));
        trace("nap");
    }
    BELAY_END;
}

const belay_function napper = {
    "napper", __FILE__, sizeof(struct napper), napper_step, 0};
