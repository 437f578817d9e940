/* test_runtime.c - on a host's loop: S45, S125, S132-S137. */
#include "test/support/host.h"

#include "runtime/internal.h"

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

/* ---- S38, S132: libuv's timer, once deadlines go or come later ---- */

struct site {
    struct host host;
    struct belay_event first; /* ends the wait with a deadline */
    struct belay_event second;
    belay_cancel_scope *scope;
};

struct waits_twice {
    struct site *site;
    belay_duration span;
};

/* With a deadline, then without one. */
BELAY_ASYNC(waits_twice)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping(task, BELAY_CANCEL_SCOPE_OPTS(.timeout = self->span),
        &self->site->scope)) {
        BELAY_AWAIT(belay_event_wait(task, &self->site->first));
    }
    BELAY_AWAIT(belay_event_wait(task, &self->site->second));
    BELAY_END;
}

/* Runs what is ready; whether the loop would go on is looked at afterwards. */
static void
run_ready(struct host *host)
{
    (void)uv_run(&host->loop, UV_RUN_NOWAIT);
    (void)uv_run(&host->loop, UV_RUN_NOWAIT);
}

/* The task waits in a scope that has an hour; nothing else is there. */
static void
open_site(struct site *site)
{
    *site = (struct site){.scope = NULL};
    host_open(&site->host, false);
    cr_assert(zero(int, belay_runtime_spawn(site->host.runtime, &waits_twice,
                            &(const struct waits_twice){
                                .site = site, .span = belay_seconds(3600)},
                            host_ended, &site->host, NULL)));
    run_ready(&site->host);
    cr_assert(ne(ptr, site->scope, NULL));
    cr_expect(eq(int, uv_loop_alive(&site->host.loop), 1));
}

static void
move_to_never(struct site *site)
{
    cr_expect(zero(int,
        belay_cancel_scope_move(site->scope, (belay_time){.ns = INT64_MAX})));
}

Test(runtime, s132_a_deadline_that_is_left_does_not_keep_the_loop_alive)
{
    struct site site;

    open_site(&site);
    belay_event_set(&site.first);
    run_ready(&site.host);
    cr_expect(zero(int, uv_loop_alive(&site.host.loop)));
    host_close(&site.host);
}

Test(runtime, s38_s132_a_deadline_moved_to_never_leaves_no_timer)
{
    struct site site;

    open_site(&site);
    move_to_never(&site);
    cr_expect(zero(int, uv_loop_alive(&site.host.loop)));
    host_close(&site.host);
}

static void
on_own_closed(uv_handle_t *handle)
{
    move_to_never(handle->data);
}

/* Behind it nothing of the runtime runs any more before libuv looks. */
Test(runtime, s38_s132_so_it_is_in_a_close_callback_of_the_hosts)
{
    struct site site;

    open_site(&site);
    host_keep(&site.host);
    site.host.own.data = &site;
    uv_close((uv_handle_t *)&site.host.own, on_own_closed);
    (void)uv_run(&site.host.loop, UV_RUN_NOWAIT);
    cr_expect(zero(int, uv_loop_alive(&site.host.loop)));
    host_close(&site.host);
}

static int
wait_hours(struct site *site)
{
    return uv_backend_timeout(&site->host.loop) / (3600 * 1000);
}

Test(runtime, s38_a_deadline_moved_later_sets_the_timer_later)
{
    struct site site;
    struct site other = {.scope = NULL};
    int64_t hour;

    open_site(&site);
    hour = belay__deadline_next(site.host.runtime);
    cr_assert(zero(int, belay_runtime_spawn(site.host.runtime, &waits_twice,
                            &(const struct waits_twice){
                                .site = &other, .span = belay_seconds(36000)},
                            NULL, NULL, NULL)));
    run_ready(&site.host);
    cr_expect(le(int, wait_hours(&site), 1));
    cr_expect(zero(int, belay_cancel_scope_move(site.scope,
                            (belay_time){hour + belay_seconds(72000).ns})));
    cr_expect(ge(int, wait_hours(&site), 8)); /* now the other one is first */
    cr_expect(le(int, wait_hours(&site), 10));
    move_to_never(&other);
    cr_expect(ge(int, wait_hours(&site), 19));
    cr_expect(eq(int, uv_loop_alive(&site.host.loop), 1));
    host_close(&site.host);
}

static void
not_due(struct belay__timer *timer)
{
    (void)timer;
    trace("due");
}

Test(runtime, s132_a_timer_of_the_library_that_is_stopped_keeps_nothing_alive)
{
    struct host host;
    struct belay__timer timer;

    host_open(&host, false);
    cr_assert(zero(int, belay__timer_init(host.runtime, &timer, not_due)));
    for (int i = 0; i < 2; i++) {
        belay__timer_start(host.runtime, &timer,
            belay__due(host.runtime, belay_seconds(3600)));
        cr_expect(eq(int, uv_loop_alive(&host.loop), 1));
        if (i == 0) {
            belay__timer_stop(host.runtime, &timer);
        } else {
            belay__timer_fini(host.runtime, &timer);
        }
        cr_expect(zero(int, uv_loop_alive(&host.loop)));
    }
    host_close(&host);
    expect_trace("closed");
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
