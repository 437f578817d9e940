/* test_run.c - belay_run(), a loop of its own: S133-S137. */
#include "test/support/host.h"

#include <signal.h>

TestSuite(run, .fini = check_clean, .timeout = 30);

struct nested_run {
    int unused;
};

BELAY_ASYNC(nested_run)
{
    struct belay_result result = {.code = 0};

    BELAY_BEGIN;
    cr_expect(eq(int,
        belay_run(&napper, &(const struct napper){.times = 0}, NULL, &result),
        BELAY_EBUSY));
    cr_expect(eq(int, result.code, BELAY_EBUSY));
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

Test(run, s134_a_run_inside_a_run_is_refused)
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

Test(run, s134_so_is_one_from_a_foreign_callback_on_the_loop_of_a_run)
{
    cr_expect(eq(int, RUN(foreign, .op = {.state = 0}), 0));
    expect_trace("EBUSY");
}

static void
run_in_observer(
    belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    (void)runtime;
    if (seen->event == BELAY_OBSERVED_DEADLINE_EXPIRE) {
        run_in_ended(NULL, arg);
    }
}

static void
run_in_closed(void *arg)
{
    run_in_ended(NULL, NULL);
    host_closed(arg);
}

struct expires {
    int unused;
};

BELAY_ASYNC(expires)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, belay_milliseconds(1), NULL)) {
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

/* All that the runtime calls on a host's loop: from its timer, at its end. */
Test(run, s134_so_is_one_from_a_timer_or_a_closed_on_a_hosts_loop)
{
    struct host host;

    host_open(&host, false);
    cr_expect(zero(
        int, belay_observer_attach(host.runtime, run_in_observer, NULL,
                 BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_CANCELS), NULL)));
    cr_expect(zero(int, belay_runtime_spawn(host.runtime, &expires,
                            &(const struct expires){0}, NULL, NULL, NULL)));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("EBUSY");
    belay_runtime_close(host.runtime, run_in_closed, &host);
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("EBUSY; EBUSY; closed");
    cr_expect(zero(int, uv_loop_close(&host.loop)));
}

static void
run_at_spawn(
    belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    (void)runtime;
    if (seen->event == BELAY_OBSERVED_TASK_SPAWN) {
        run_in_ended(NULL, arg);
    }
}

/* Within calls of the host's. */
Test(run, s134_so_is_one_from_an_observer_of_a_spawn_or_a_post_at_the_close)
{
    struct host host;
    belay_portal *portal;

    host_open(&host, false);
    cr_assert(zero(int, belay_portal_open(host.runtime, &portal)));
    cr_expect(zero(
        int, belay_observer_attach(host.runtime, run_at_spawn, NULL,
                 BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_TASKS), NULL)));
    cr_expect(zero(int, belay_runtime_spawn(host.runtime, &napper,
                            &(const struct napper){0}, NULL, NULL, NULL)));
    expect_trace("EBUSY");
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    trace_clear();
    cr_expect(zero(int, belay_portal_post(portal, run_in_post, NULL)));
    belay_runtime_close(host.runtime, host_closed, &host);
    expect_trace("EBUSY");
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("EBUSY; closed");
    cr_expect(zero(int, uv_loop_close(&host.loop)));
    belay_portal_unref(portal);
}

static void
run_in_destroy(void *value)
{
    run_in_ended(NULL, value);
}

static const struct belay_var destroyed = {
    .name = "destroyed", .destroy = run_in_destroy};

static uv_sem_t go;

static int
wait_to_go(void *arg)
{
    (void)arg;
    uv_sem_wait(&go);
    return 0;
}

/* What it posts runs when the call, which holds the runtime, has let go. */
static void
run_in_release(void *portal)
{
    run_in_ended(NULL, NULL);
    cr_expect(zero(int, belay_portal_post(portal, run_in_post, NULL)));
}

struct leaves_call {
    belay_portal *portal;
};

BELAY_ASYNC(leaves_call)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &destroyed, NULL, NULL));
    BELAY_AWAIT(belay_blocking_or_abandon(
        task, wait_to_go, self->portal, run_in_release));
    BELAY_END;
}

/* The release, a variable's destroy, and posts as the runtime shuts. */
Test(run, s134_so_is_one_from_the_end_of_a_call_that_was_abandoned)
{
    struct host host;
    belay_portal *portal;

    host_open(&host, false);
    cr_assert(zero(int, uv_sem_init(&go, 0)));
    cr_assert(zero(int, belay_portal_open(host.runtime, &portal)));
    cr_expect(zero(int,
        belay_runtime_spawn(host.runtime, &leaves_call,
            &(const struct leaves_call){portal}, host_ended, &host, NULL)));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    belay_runtime_close(host.runtime, host_closed, &host);
    while (host.ended == 0) {
        (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    }
    expect_trace("ended cancel");
    uv_sem_post(&go);
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("ended cancel; EBUSY; EBUSY; EBUSY; closed");
    cr_expect(zero(int, uv_loop_close(&host.loop)));
    belay_portal_unref(portal);
    uv_sem_destroy(&go);
}

struct captures {
    belay_context **ret;
};

BELAY_ASYNC(captures)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &destroyed, NULL, NULL));
    BELAY_CHECK(belay_context_capture(task, self->ret));
    BELAY_END;
}

Test(run, s134_so_is_one_from_a_destroy_as_the_host_frees_a_context)
{
    struct host host;
    belay_context *context = NULL;

    host_open(&host, false);
    cr_expect(
        zero(int, belay_runtime_spawn(host.runtime, &captures,
                      &(const struct captures){&context}, NULL, NULL, NULL)));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("");
    belay_context_free(context);
    expect_trace("EBUSY");
    host_close(&host);
}

static void
run_in_own(uv_handle_t *handle)
{
    (void)handle;
    run_in_ended(NULL, NULL);
}

/* Nothing of the runtime's is around it, so it cannot be seen. */
Test(run, s134_one_from_a_callback_of_a_hosts_own_is_not_noticed)
{
    struct host host;

    host_open(&host, false);
    host_keep(&host);
    uv_close((uv_handle_t *)&host.own, run_in_own);
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    expect_trace("first step; OK");
    host_close(&host);
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

Test(run, a_deadlock_is_found_and_everything_unwinds)
{
    program_may_stall = true; /* it is about that */
    cr_expect(eq(int, RUN(stuck, .in_child = false), BELAY_EDEADLK));
    expect_trace("enter a; exit a/cancel");
    trace_clear();
    cr_expect(eq(int, RUN(stuck, .in_child = true), BELAY_EDEADLK));
    expect_trace("enter a; exit a/cancel");
}

/* Of the harness: where assertions do not count, what must hold aborts. */
Test(run, a_program_that_stalls_unasked_fails_its_test, .signal = SIGABRT)
{
    const struct stuck arguments = {.in_child = true};

    program_disturbed = true;
    (void)program_run_once(
        &(const struct program){.function = &stuck, .arguments = &arguments},
        NULL);
}

struct bare_op {
    struct belay_op op;
    bool refuses;
};

static enum belay_abort
abort_bare(struct belay_op *op)
{
    (void)op;
    return BELAY_ABORT_DONE;
}

/* No handle, no request: libuv knows of nothing that will come. */
BELAY_ASYNC(bare_op)
{
    BELAY_BEGIN;
    (void)belay_op_begin(task, &self->op, self->refuses ? NULL : abort_bare);
    BELAY_AWAIT(belay_op_wait(&self->op));
    BELAY_END;
}

Test(run, an_operation_that_nothing_on_the_loop_can_end_is_a_deadlock)
{
    program_may_stall = true; /* it is about that */
    cr_expect(eq(int, RUN(bare_op, .refuses = false), BELAY_EDEADLK));
}

Test(run, one_that_refuses_to_be_aborted_as_well_aborts, .signal = SIGABRT)
{
    program_unswept = program_may_stall = true; /* it is about the abort */
    (void)RUN(bare_op, .refuses = true);
}

/* Waits where no cancel comes in, for what never happens. */
struct unreached {
    struct belay_event *never;
};

BELAY_ASYNC(unreached)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
        BELAY_AWAIT(belay_event_wait(task, self->never));
    }
    BELAY_END;
}

Test(run, s137_a_root_that_no_cancel_reaches_aborts, .signal = SIGABRT)
{
    struct belay_event never = {.set = false};

    program_unswept = program_may_stall = true; /* it is about the abort */
    (void)RUN(unreached, .never = &never);
}

struct leaves_one {
    struct belay_event *never;
};

/* It has ended well; what it leaves is a root task of its own. */
BELAY_ASYNC(leaves_one)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_runtime_spawn(belay_task_runtime(task), &unreached,
        &(const struct unreached){self->never}, NULL, NULL, NULL));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

Test(run, s135_s137_so_does_another_root_that_the_close_does_not_reach,
    .signal = SIGABRT, .timeout = 10)
{
    struct belay_event never = {.set = false};

    program_unswept = program_may_stall = true; /* it is about the abort */
    (void)RUN(leaves_one, .never = &never);
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

Test(run, a_deadlock_in_an_exit_ends_with_its_grace)
{
    program_may_stall = true; /* it is about that */
    cr_expect(
        eq(int, RUN(slow_to_leave, .never = {.set = false}), BELAY_EDEADLK));
    expect_trace("enter a; exit a/cancel; cut a");
    trace_clear();
    cr_expect(eq(int, RUN(stuck_in_exit, .unused = 0), BELAY_EDEADLK));
    expect_trace("body");
}

Test(run, run_without_memory_or_with_strange_options_runs_nothing)
{
    struct belay_result result = {.code = 77, .cancelled = true};

    test_alloc_fail_after(0);
    cr_expect(eq(int,
        belay_run(&napper, &(const struct napper){.times = 0},
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &result),
        BELAY_ENOMEM));
    test_alloc_never_fail();
    cr_expect(eq(int, result.code, BELAY_ENOMEM));
    cr_expect(not(result.cancelled));
    cr_expect(eq(int,
        belay_run(&napper, &(const struct napper){.times = 0},
            &(const struct belay_runtime_opts){.size = 1}, &result),
        BELAY_EINVAL));
    cr_expect(eq(int, result.code, BELAY_EINVAL));
    expect_trace("");
}

Test(run, the_result_outlives_the_runtime)
{
    struct belay_result result;

    program_may_stall = true; /* the result of a deadlock will do */
    cr_expect(eq(int,
        RUN_RESULT(
            &result, waits, .event = &(struct belay_event){.set = false}),
        BELAY_EDEADLK));
    cr_expect(not(result.cancelled));
    belay_error_unref(result.error);
}
