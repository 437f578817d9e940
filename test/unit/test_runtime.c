/* test_runtime.c - on a host's loop: S45, S125, S132-S137. */
#include "test/support/host.h"

#include <signal.h>

TestSuite(runtime, .fini = check_clean, .timeout = 30);

Test(runtime, s132_an_idle_runtime_does_not_keep_the_loop_alive)
{
    struct host host;

    host_open(&host, false);
    cr_expect(zero(int, uv_run(&host.loop, UV_RUN_DEFAULT)));
    cr_expect(zero(int, uv_loop_alive(&host.loop)));
    host_close(&host);
}

Test(runtime, s61_a_spawn_runs_nothing_inside_the_call)
{
    struct host host;

    host_open(&host, false);
    cr_expect(zero(
        int, belay_runtime_spawn(host.runtime, &napper,
                 &(const struct napper){.times = 0}, host_ended, &host, NULL)));
    expect_trace("");
    cr_expect(zero(int, uv_run(&host.loop, UV_RUN_DEFAULT)));
    expect_trace("first step; ended ok");
    cr_expect(eq(int, host.ended, 1));
    host_close(&host);
}

Test(runtime, s133_while_work_is_ready_the_backend_does_not_wait)
{
    struct host host;

    host_open(&host, true);
    cr_expect(eq(int, uv_backend_timeout(&host.loop), 0)); /* nothing alive */
    cr_expect(zero(int, belay_runtime_spawn(host.runtime, &napper,
                            &(const struct napper){belay_seconds(1), 1},
                            host_ended, &host, NULL)));
    cr_expect(eq(int, uv_loop_alive(&host.loop), 1));
    cr_expect(zero(int, uv_backend_timeout(&host.loop)));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    expect_trace("first step");
    /* A virtual clock that nobody moves: nothing is ready, nothing is due. */
    cr_expect(zero(int, uv_loop_alive(&host.loop)));
    belay_clock_advance(host.clock, belay_milliseconds(999));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    expect_trace("first step");
    belay_clock_advance(host.clock, belay_milliseconds(1));
    cr_expect(eq(int, uv_loop_alive(&host.loop), 1));
    cr_expect(zero(int, uv_backend_timeout(&host.loop)));
    expect_trace("first step"); /* not inside the call */
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("first step; nap; ended ok");
    host_close(&host);
}

Test(runtime, s41_the_timer_is_never_early_and_at_most_a_millisecond_late)
{
    struct host host;
    uint64_t before_ns;
    uint64_t after_ns;
    uint64_t fires_ns;
    const uint64_t span_ns = 100000000500;

    host_open(&host, false);
    cr_expect(zero(
        int, belay_runtime_spawn(host.runtime, &napper,
                 &(const struct napper){belay_nanoseconds((int64_t)span_ns), 1},
                 host_ended, &host, NULL)));
    before_ns = uv_hrtime();
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    after_ns = uv_hrtime();
    expect_trace("first step");
    fires_ns = (uv_now(&host.loop) + (uint64_t)uv_backend_timeout(&host.loop))
               * 1000000;
    cr_expect(ge(u64, fires_ns, before_ns + span_ns));
    cr_expect(le(u64, fires_ns, after_ns + span_ns + 1000000));
    host_close(&host);
    expect_trace("first step; ended cancel; closed");
}

struct stubborn {
    struct belay_cancel_reason reason;
};

BELAY_ASYNC(stubborn)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "a", .exit_waits = 1)) {
        BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
        cr_expect(belay_cancel_pending(task, &self->reason));
        cr_expect(eq(int, (int)self->reason.source, BELAY_CANCEL_SHUTDOWN));
        cr_expect_str_eq(self->reason.task_name, "");
        return belay_pass(task);
    }
    BELAY_END;
}

Test(runtime, s137_close_cancels_the_tasks_and_waits_for_their_exits)
{
    struct host host;

    host_open(&host, false);
    cr_expect(zero(int,
        belay_runtime_spawn(host.runtime, &stubborn,
            &(const struct stubborn){.reason = {0}}, host_ended, &host, NULL)));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("enter a");
    belay_runtime_close(host.runtime, host_closed, &host);
    cr_expect(eq(int,
        belay_runtime_spawn(host.runtime, &napper,
            &(const struct napper){.times = 0}, NULL, NULL, NULL),
        BELAY_ESTATE));
    expect_trace("enter a");
    while (!host.closed) {
        (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    }
    expect_trace("enter a; exit a/cancel; ended cancel; closed");
    cr_expect(zero(int, uv_loop_close(&host.loop)));
}

Test(runtime, closing_none_is_closed_at_once)
{
    struct host host = {.closed = false};

    belay_runtime_close(NULL, host_closed, &host);
    cr_expect(host.closed);
    belay_runtime_close(NULL, NULL, NULL);
}

Test(runtime, closing_twice_aborts, .signal = SIGABRT)
{
    struct host host;

    host_open(&host, false);
    belay_runtime_close(host.runtime, NULL, NULL);
    belay_runtime_close(host.runtime, NULL, NULL);
}

Test(runtime, several_runtimes_share_a_loop)
{
    struct host host;
    belay_runtime *other;
    struct host second = {.closed = false};

    host_open(&host, false);
    cr_assert(zero(
        int, belay_runtime_attach(&host.loop,
                 BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &other)));
    cr_expect(zero(int, belay_runtime_spawn(other, &napper,
                            &(const struct napper){belay_milliseconds(1), 1},
                            host_ended, &second, NULL)));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("first step; nap; ended ok");
    belay_runtime_close(other, host_closed, &second);
    host_close(&host);
    cr_expect(second.closed);
}

Test(runtime, s136_attaching_without_memory_changes_nothing)
{
    uv_loop_t loop;
    belay_runtime *runtime = NULL;
    int code = BELAY_ENOMEM;
    size_t k;

    cr_assert(zero(int, uv_loop_init(&loop)));
    for (k = 0; code == BELAY_ENOMEM; k++) {
        test_alloc_fail_at(k);
        code = belay_runtime_attach(
            &loop, BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &runtime);
        test_alloc_never_fail();
        if (code < 0) {
            cr_expect(eq(int, code, BELAY_ENOMEM));
            cr_expect(zero(ptr, runtime));
            cr_expect(zero(sz, test_alloc_live_blocks()));
        }
    }
    cr_expect(gt(sz, k, 2));
    cr_expect(zero(int, code));
    belay_runtime_close(runtime, NULL, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    cr_expect(zero(int, uv_loop_close(&loop)));
    cr_expect(eq(int,
        belay_runtime_attach(
            &loop, &(const struct belay_runtime_opts){.size = 3}, &runtime),
        BELAY_EINVAL));
}

Test(runtime, s136_a_spawn_without_memory_leaves_nothing)
{
    struct host host;
    int code = BELAY_ENOMEM;
    size_t blocks;
    size_t k;

    host_open(&host, false);
    blocks = test_alloc_live_blocks();
    for (k = 0; code == BELAY_ENOMEM; k++) {
        test_alloc_fail_at(k);
        code = belay_runtime_spawn(host.runtime, &napper,
            &(const struct napper){.times = 0}, host_ended, &host, NULL);
        test_alloc_never_fail();
        if (code < 0) {
            cr_expect(eq(int, code, BELAY_ENOMEM));
            cr_expect(eq(sz, test_alloc_live_blocks(), blocks));
            (void)uv_run(&host.loop, UV_RUN_NOWAIT);
            expect_trace("");
        }
    }
    cr_expect(gt(sz, k, 2));
    cr_expect(zero(int, code));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("first step; ended ok");
    host_close(&host);
}

/* ---- the clock ---- */

Test(runtime, s45_a_virtual_clock_moves_only_forward)
{
    belay_clock *clock = belay_clock_new(false);

    belay_clock_advance(clock, belay_seconds(-1));
    belay_clock_advance(clock, BELAY_FOREVER);
    belay_clock_advance(clock, BELAY_FOREVER);
    belay_clock_free(clock);
    belay_clock_free(NULL);
}

Test(runtime, s45_a_day_passes_in_no_time)
{
    cr_expect(eq(int, RUN(napper, .nap = belay_seconds(86400), .times = 2), 0));
    expect_trace("first step; nap; nap");
}

Test(runtime, a_handle_of_a_task_that_outlives_the_runtime_aborts,
    .signal = SIGABRT)
{
    struct host host;
    belay_task *task;

    host_open(&host, false);
    cr_assert(zero(int,
        belay_runtime_spawn(host.runtime, &napper,
            &(const struct napper){.times = 0}, host_ended, &host, &task)));
    host_close(&host);
}
