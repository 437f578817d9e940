/* test_runtime.c - on a host's loop and on one's own: S125, S132-S137. */
#include "test/support/program.h"

#include <belay/uv.h>

#include <signal.h>
#include <string.h>

TestSuite(runtime, .fini = check_clean, .timeout = 30);

/* A host's loop with a runtime on it. */
struct host {
    uv_loop_t loop;
    belay_runtime *runtime;
    belay_clock *clock;
    uv_prepare_t own; /* the host's own handle, in some tests */
    bool closed;
    struct belay_result result;
    int ended;
};

static void
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
static void
host_keep(struct host *host)
{
    cr_assert(zero(int, uv_prepare_init(&host->loop, &host->own)));
    cr_assert(zero(int, uv_prepare_start(&host->own, on_prepare)));
}

static void
host_let_go(struct host *host)
{
    uv_close((uv_handle_t *)&host->own, NULL);
}

static void
on_runtime_closed(void *arg)
{
    struct host *host = arg;

    host->closed = true;
    trace("closed");
}

static void
host_close(struct host *host)
{
    belay_runtime_close(host->runtime, on_runtime_closed, host);
    cr_expect(not(host->closed));
    while (!host->closed) {
        (void)uv_run(&host->loop, UV_RUN_DEFAULT);
    }
    cr_expect(zero(int, uv_loop_close(&host->loop)));
    belay_clock_free(host->clock);
}

static void
on_ended(const struct belay_result *result, void *arg)
{
    struct host *host = arg;

    host->ended++;
    trace("ended %s", trace_result(result));
}

struct napper {
    belay_duration nap;
    int times;
};

BELAY_ASYNC(napper)
{
    BELAY_BEGIN;
    trace("first step");
    for (; self->times > 0; self->times--) {
        BELAY_AWAIT(belay_sleep(task, self->nap));
        trace("nap");
    }
    BELAY_END;
}

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
                 &(const struct napper){.times = 0}, on_ended, &host, NULL)));
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
                            on_ended, &host, NULL)));
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
                 on_ended, &host, NULL)));
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
            &(const struct stubborn){.reason = {0}}, on_ended, &host, NULL)));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("enter a");
    belay_runtime_close(host.runtime, on_runtime_closed, &host);
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

    belay_runtime_close(NULL, on_runtime_closed, &host);
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
                            on_ended, &second, NULL)));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("first step; nap; ended ok");
    belay_runtime_close(other, on_runtime_closed, &second);
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
            &(const struct napper){.times = 0}, on_ended, &host, NULL);
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

/* ---- belay_run() ---- */

struct nested_run {
    int unused;
};

BELAY_ASYNC(nested_run)
{
    BELAY_BEGIN;
    cr_expect(eq(int,
        belay_run(&napper, &(const struct napper){.times = 0}, NULL, NULL),
        BELAY_EBUSY));
    BELAY_END;
}

static void
run_in_ended(const struct belay_result *result, void *arg)
{
    (void)result;
    (void)arg;
    trace("%s", belay_code_name(belay_run(
                    &napper, &(const struct napper){.times = 0}, NULL, NULL)));
}

static void
run_in_post(belay_runtime *runtime, void *arg)
{
    (void)runtime;
    run_in_ended(NULL, arg);
}

Test(runtime, s134_a_run_inside_a_run_is_refused)
{
    struct host host;
    belay_portal *portal;

    cr_expect(eq(int, RUN(nested_run, 0), 0));
    host_open(&host, false);
    cr_expect(zero(
        int, belay_runtime_spawn(host.runtime, &nested_run,
                 &(const struct nested_run){0}, run_in_ended, NULL, NULL)));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("EBUSY");
    cr_assert(zero(int, belay_portal_open(host.runtime, &portal)));
    host_keep(&host);
    cr_expect(zero(int, belay_portal_post(portal, run_in_post, NULL)));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    expect_trace("EBUSY; EBUSY");
    host_let_go(&host);
    host_close(&host);
    belay_portal_unref(portal);
    cr_expect(eq(int, RUN(nested_run, 0), 0)); /* outside it works again */
}

struct foreign {
    uv_timer_t timer;
    struct belay_op op;
};

static void
on_foreign_closed(uv_handle_t *handle)
{
    struct foreign *self = handle->data;

    belay_op_done(&self->op, 0, NULL);
}

static void
on_foreign(uv_timer_t *timer)
{
    run_in_ended(NULL, NULL);
    uv_close((uv_handle_t *)timer, on_foreign_closed);
}

static belay_next
start_foreign(belay_task *task, struct foreign *self)
{
    uv_loop_t *loop = belay_runtime_loop(belay_task_runtime(task));

    belay_op_begin_shielded(task, &self->op);
    self->timer.data = self;
    cr_assert(zero(int, uv_timer_init(loop, &self->timer)));
    cr_assert(zero(int, uv_timer_start(&self->timer, on_foreign, 0, 0)));
    return belay_op_wait(&self->op);
}

BELAY_ASYNC(foreign)
{
    BELAY_BEGIN;
    BELAY_AWAIT(start_foreign(task, self));
    BELAY_END;
}

Test(runtime, s134_so_is_one_from_a_foreign_callback_on_the_loop_of_a_run)
{
    cr_expect(eq(int, RUN(foreign, .op = {.state = 0}), 0));
    expect_trace("EBUSY");
}

struct stuck {
    bool in_child;
    bool cleans_up;
    struct belay_event never;
    belay_group *group;
};

struct waits {
    struct belay_event *event;
};

BELAY_ASYNC(waits)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_event_wait(task, self->event));
    BELAY_END;
}

BELAY_ASYNC(stuck)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "a", .exit_waits = 1)) {
        if (self->in_child) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(
                    belay_spawn(self->group, waits, .event = &self->never));
            }
            trace("not reached");
        }
        BELAY_AWAIT(belay_event_wait(task, &self->never));
    }
    BELAY_END;
}

Test(runtime, a_deadlock_is_found_and_everything_unwinds)
{
    cr_expect(eq(int, RUN(stuck, .in_child = false), BELAY_EDEADLK));
    expect_trace("enter a; exit a/cancel");
    trace_clear();
    cr_expect(eq(int, RUN(stuck, .in_child = true), BELAY_EDEADLK));
    expect_trace("enter a; exit a/cancel");
}

struct slow_to_leave {
    struct belay_event never;
};

/* The exit waits until its grace is over; only then is there no hope. */
BELAY_ASYNC(slow_to_leave)
{
    BELAY_BEGIN;
    BELAY_WITH (
        BELAY_ENTER(probe, .name = "a", .exit_sleep = belay_seconds(99))) {
        BELAY_AWAIT(belay_event_wait(task, &self->never));
    }
    BELAY_END;
}

struct waits_in_exit {
    struct belay_event never;
};

static belay_next
enter_nothing(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
exit_waiting(belay_task *task, void *arg)
{
    struct waits_in_exit *self = arg;

    return belay_end_with(task, belay_event_wait(task, &self->never));
}

static const belay_manager waits_in_exit = {
    {"waits in exit", NULL, sizeof(struct waits_in_exit), enter_nothing, 0},
    exit_waiting};

struct stuck_in_exit {
    int unused;
};

BELAY_ASYNC(stuck_in_exit)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(waits_in_exit, .never = {.set = false})) {
        trace("body");
    }
    BELAY_END;
}

Test(runtime, a_deadlock_in_an_exit_ends_with_its_grace)
{
    cr_expect(
        eq(int, RUN(slow_to_leave, .never = {.set = false}), BELAY_EDEADLK));
    expect_trace("enter a; exit a/cancel; cut a");
    trace_clear();
    cr_expect(eq(int, RUN(stuck_in_exit, .unused = 0), BELAY_EDEADLK));
    expect_trace("body");
}

Test(runtime, run_without_memory_or_with_strange_options_runs_nothing)
{
    struct belay_result result = {.code = 77};

    test_alloc_fail_after(0);
    cr_expect(eq(int,
        belay_run(&napper, &(const struct napper){.times = 0},
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &result),
        BELAY_ENOMEM));
    test_alloc_never_fail();
    cr_expect(eq(int,
        belay_run(&napper, &(const struct napper){.times = 0},
            &(const struct belay_runtime_opts){.size = 1}, &result),
        BELAY_EINVAL));
    cr_expect(eq(int, result.code, 77));
    expect_trace("");
}

Test(runtime, the_result_outlives_the_runtime)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(
            &result, waits, .event = &(struct belay_event){.set = false}),
        BELAY_EDEADLK));
    cr_expect(not(result.cancelled));
    belay_error_unref(result.error);
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

/* ---- the portal, on one thread ---- */

static void
note_post(belay_runtime *runtime, void *arg)
{
    (void)runtime;
    trace("post %s", (const char *)arg);
}

Test(runtime, s130_s131_posts_run_in_order_and_are_refused_after_close)
{
    struct host host;
    belay_portal *portal;
    belay_portal *second;
    belay_task *task;

    host_open(&host, false);
    cr_assert(zero(int, belay_portal_open(host.runtime, &portal)));
    cr_assert(zero(int, belay_portal_open(host.runtime, &second)));
    belay_portal_unref(second);
    cr_expect(zero(int, uv_loop_alive(&host.loop))); /* idle all the same */
    cr_expect(zero(
        int, belay_portal_post(portal, note_post, (void *)(uintptr_t) "1")));
    cr_expect(zero(
        int, belay_portal_post(portal, note_post, (void *)(uintptr_t) "2")));
    expect_trace("");
    host_keep(&host);
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    expect_trace("post 1; post 2");
    host_let_go(&host);
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    cr_expect(zero(int,
        belay_runtime_spawn(host.runtime, &napper,
            &(const struct napper){BELAY_FOREVER, 1}, on_ended, &host, &task)));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    cr_expect(eq(int, uv_loop_alive(&host.loop), 1)); /* a post may come */
    cr_expect(zero(int, belay_portal_cancel(portal, belay_task_id(task), "x")));
    cr_expect(zero(int, belay_portal_cancel(portal, 999, "no such task")));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    cr_expect(eq(int, host.ended, 1));
    belay_task_unref(task);
    cr_expect(zero(
        int, belay_portal_post(portal, note_post, (void *)(uintptr_t) "3")));
    trace_clear();
    host_close(&host);
    expect_trace("post 3; closed");
    cr_expect(
        eq(int, belay_portal_post(portal, note_post, NULL), BELAY_ESTATE));
    cr_expect(eq(int, belay_portal_cancel(portal, 1, NULL), BELAY_ESTATE));
    cr_expect(eq(ptr, belay_portal_ref(portal), portal));
    belay_portal_unref(portal);
    belay_portal_unref(portal);
    belay_portal_unref(NULL);
}

struct posting {
    int unused;
};

static void
note_time(belay_runtime *runtime, void *arg)
{
    const belay_task *task = arg;

    (void)runtime;
    trace("post at %d ms", (int)(belay_now(task).ns / 1000000));
}

BELAY_ASYNC(posting)
{
    belay_runtime *runtime = belay_task_runtime(task);
    belay_portal *portal;

    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(10)));
    cr_assert(zero(int, belay_portal_open(runtime, &portal)));
    cr_expect(zero(int, belay_portal_post(portal, note_time, task)));
    belay_portal_unref(portal);
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(10)));
    note_time(runtime, task);
    BELAY_END;
}

Test(runtime, s45_a_virtual_clock_waits_for_posts_that_were_made)
{
    cr_expect(eq(int, RUN(posting, .unused = 0), 0));
    expect_trace("post at 1010 ms; post at 1020 ms");
}

struct late_portal {
    belay_portal *portal;
    int code;
};

static void
open_late(belay_runtime *runtime, void *arg)
{
    struct late_portal *late = arg;

    late->code = belay_portal_open(runtime, &late->portal);
}

Test(runtime, s131_no_portal_is_opened_once_the_last_posts_run)
{
    struct late_portal late = {.code = 0};
    struct host host;
    belay_portal *portal;

    host_open(&host, false);
    cr_assert(zero(int, belay_portal_open(host.runtime, &portal)));
    cr_expect(zero(int, belay_portal_post(portal, open_late, &late)));
    belay_portal_unref(portal);
    host_close(&host);
    cr_expect(eq(int, late.code, BELAY_ESTATE));
    cr_expect(eq(ptr, late.portal, NULL));
}

Test(runtime, a_handle_of_a_task_that_outlives_the_runtime_aborts,
    .signal = SIGABRT)
{
    struct host host;
    belay_task *task;

    host_open(&host, false);
    cr_assert(zero(
        int, belay_runtime_spawn(host.runtime, &napper,
                 &(const struct napper){.times = 0}, on_ended, &host, &task)));
    host_close(&host);
}
