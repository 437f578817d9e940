/* test_gpu_work.c - work on a lease, to its end: G11-G15, G25, G30, G43. */
#include "test/support/gpu_bench.h"

#include <string.h>

TestSuite(
    gpu_work, .init = gpu_may_be_lost, .fini = check_clean, .timeout = 60);

/* A child that runs one kernel for the bench, and tells how it ended. */
struct launch {
    struct bench *b;
    const char *name;
    uint32_t arg_count;
};

BELAY_ASYNC(launch)
{
    char text[512];

    BELAY_BEGIN;
    BELAY_TRY(belay_gpu_run_one(task, self->b->lease,
        BELAY_GPU_CMD_LAUNCH(
            self->b->kernel, 1, 1, self->b->args, self->arg_count)));
    (void)belay_result_format(belay_result(task), text, sizeof(text));
    trace("%s %s at %lld%s", self->name, trace_result(belay_result(task)),
        (long long)((belay_now(task).ns - self->b->pool->opened_ns) / 1000000),
        strstr(text, "simulated") != NULL ? " of a fault" : "");
    return belay_pass(task);
    BELAY_END;
}

/* A kernel that takes its time and does nothing. */
static belay_next
build_empty(belay_task *task, struct bench *b)
{
    return belay_gpu_build(
        task, b->lease, BELAY_GPU_SOURCE(.entry = "k"), &b->kernel);
}

static void
set_all(const struct belay_gpu_sim_call *call)
{
    memset(call->args[0].data, 0x11, (size_t)call->args[0].bytes);
}

/* ---- cancels ---- */

/* The kernel writes at its very end; when the await is over, it has. */
BODY(write_late)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 64, &b->buffer));
    BELAY_AWAIT(belay_gpu_build(task, b->lease,
        BELAY_GPU_SOURCE(.entry = "late", .sim = set_all), &b->kernel));
    b->args[0] = belay_gpu_arg_buffer(b->buffer);
    BELAY_WITH (dropping(task, &b->child)) {
        BELAY_WITH (belay_group_open(task, NULL, &b->group)) {
            BELAY_CHECK(belay_group_spawn(b->group, &launch,
                &(const struct launch){b, "first", 1},
                BELAY_SPAWN_OPTS(.task = &b->child)));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(10)));
            (void)belay_task_cancel(b->child, "by the test");
            BELAY_AWAIT(belay_task_join(task, b->child));
        }
    }
    BELAY_AWAIT(belay_gpu_run_one(
        task, b->lease, BELAY_GPU_CMD_FILL(b->buffer, 0, 0x77, 64)));
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
    BELAY_AWAIT(belay_gpu_run_one(
        task, b->lease, BELAY_GPU_CMD_READ(b->buffer, 0, b->host, 64)));
    for (int i = 0; i < 64; i++) {
        cr_expect(eq(u8, b->host[i], 0x77));
    }
    BELAY_END;
}

Test(gpu_work, g11_an_await_ends_when_the_device_has_let_go)
{
    /* Deaf to the stop word: it takes its whole time. */
    cr_expect(zero(int,
        RUN_BODY(write_late, "sim:launch=100ms,fault=deaf@0:1", .pool = NULL)));
    expect_trace("first cancel at 100; free 1");
    trace_clear();
    /* Else it ends at the stop. */
    cr_expect(
        zero(int, RUN_BODY(write_late, "sim:launch=100ms", .pool = NULL)));
    expect_trace("first cancel at 10; free 1");
}

/* Two children share the lease; the second is cancelled while it is queued. */
BODY(two_children)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(build_empty(task, b));
    BELAY_WITH (dropping(task, &b->child)) {
        BELAY_WITH (belay_group_open(task, NULL, &b->group)) {
            BELAY_CHECK(belay_spawn(b->group, launch, .b = b, .name = "one"));
            BELAY_CHECK(belay_group_spawn(b->group, &launch,
                &(const struct launch){b, "two", 0},
                BELAY_SPAWN_OPTS(.task = &b->child)));
            BELAY_CHECK(belay_spawn(b->group, launch, .b = b, .name = "three"));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(10)));
            (void)belay_task_cancel(b->child, "by the test");
        }
    }
    cr_expect(eq(u64, b->pool->ops_dropped, 1));
    BELAY_END;
}

Test(gpu_work, g11_what_has_not_begun_is_dropped_at_once)
{
    cr_expect(
        zero(int, RUN_BODY(two_children, "sim:launch=100ms", .pool = NULL)));
    expect_trace("two cancel at 10; one ok at 100; three ok at 200; free 1");
}

/* Nobody is cancelled: the order of ends is that of the submits. */
BODY(in_order)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(build_empty(task, b));
    BELAY_WITH (belay_group_open(task, NULL, &b->group)) {
        BELAY_CHECK(belay_spawn(b->group, launch, .b = b, .name = "one"));
        BELAY_CHECK(belay_spawn(b->group, launch, .b = b, .name = "two"));
    }
    BELAY_END;
}

Test(gpu_work, g25_operations_of_a_slot_run_in_the_order_of_the_submits)
{
    cr_expect(zero(
        int, RUN_BODY(in_order, "sim:launch=10ms,noise=tail:0.5:100,seed=3",
                 .pool = NULL)));
    cr_expect(eq(int, strncmp(trace_text(), "one ok", 6), 0));
}

/* A stop for the n-th reaches the device while n + 1 is there. */
BODY(stop_late)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 64, &b->buffer));
    BELAY_AWAIT(belay_gpu_build(task, b->lease,
        BELAY_GPU_SOURCE(.entry = "k", .sim = set_all), &b->kernel));
    b->args[0] = belay_gpu_arg_buffer(b->buffer);
    BELAY_AWAIT(belay_gpu_run_one(
        task, b->lease, BELAY_GPU_CMD_LAUNCH(b->kernel, 1, 1, b->args, 1)));
    BELAY_AWAIT(belay_gpu_run_one(
        task, b->lease, BELAY_GPU_CMD_FILL(b->buffer, 0, 0, 64)));
    BELAY_WITH (belay_group_open(task, NULL, &b->group)) {
        BELAY_CHECK(belay_spawn(
            b->group, launch, .b = b, .name = "next", .arg_count = 1));
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
        if (b->lease.slot->ops != NULL) { /* else it has ended, in a trial */
            b->pool->driver->stop(
                b->lease.slot->native, b->lease.slot->ops->seq - 1);
        }
    }
    BELAY_AWAIT(belay_gpu_run_one(
        task, b->lease, BELAY_GPU_CMD_READ(b->buffer, 0, b->host, 64)));
    cr_expect(eq(u8, b->host[63], 0x11));
    BELAY_END;
}

Test(gpu_work, g15_a_late_stop_does_not_reach_the_next_one)
{
    cr_expect(zero(int, RUN_BODY(stop_late, "sim:launch=10ms", .pool = NULL)));
    expect_trace("next ok at 30; free 1");
}

/* Failing and cancelled, in both orders; and cancelled twice. */
BODY(fail_and_cancel)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(build_empty(task, b));
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &b->group)) {
        BELAY_WITH (dropping(task, &b->child)) {
            BELAY_CHECK(belay_group_spawn(b->group, &launch,
                &(const struct launch){b, "one", 0},
                BELAY_SPAWN_OPTS(.task = &b->child)));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(10)));
            (void)belay_task_cancel(b->child, "by the test");
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(10)));
            (void)belay_task_cancel(b->child, "once more");
            BELAY_AWAIT(belay_task_join(task, b->child));
        }
        BELAY_WITH (dropping(task, &b->child)) {
            BELAY_CHECK(belay_group_spawn(b->group, &launch,
                &(const struct launch){b, "two", 0},
                BELAY_SPAWN_OPTS(.task = &b->child)));
            BELAY_AWAIT(belay_task_join(task, b->child));
            (void)belay_task_cancel(b->child, "too late");
        }
    }
    BELAY_END;
}

Test(gpu_work, g14_a_cancelled_operation_keeps_its_error_as_the_cause)
{
    cr_expect(zero(
        int, RUN_BODY(fail_and_cancel,
                 "sim:launch=100ms,fault=op@0:1,fault=op@0:2,fault=deaf@0:1",
                 .pool = NULL)));
    expect_trace("one cancel at 100 of a fault; two GPU_EOP at 200 of a fault; "
                 "free 1");
}

/* ---- work that does not end ---- */

BODY(hang)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 64, &b->buffer));
    BELAY_CHECK(belay_gpu_stage(b->lease, 64, &b->staged));
    BELAY_TRY(belay_gpu_run_one(
        task, b->lease, BELAY_GPU_CMD_READ(b->buffer, 0, b->host, 64)));
    trace("raw %s", trace_result(belay_result(task)));
    BELAY_WITH (belay_timeout(task, belay_milliseconds(10))) {
        BELAY_AWAIT(belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_READ(b->buffer, 0, b->staged, 64)));
    }
    BELAY_END;
}

struct stuck {
    const char *devices;
    struct bench bench;
    int64_t start;
};

static void
trace_slot(const belay_task *task, const struct stuck *self)
{
    static const char *const names[] = {"free", "held", "running", "draining",
        "quarantined", "probation", "stuck", "dead"};

    trace("%s at %lld", names[self->bench.pool->slots[0].state],
        (long long)((belay_now(task).ns - self->bench.pool->opened_ns)
                    / 1000000));
}

BELAY_ASYNC(stuck)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = self->devices,
            .drain_limit = belay_milliseconds(50)),
        &self->bench.pool)) {
        gpu_oracle_watch(self->bench.pool, false);
        BELAY_TRY(BELAY_CALL(in_lease, .b = &self->bench, .body = &hang));
        trace("lease %s", trace_result(belay_result(task)));
        trace_slot(task, self);
        BELAY_WITH (belay_move_on(task, belay_milliseconds(10), NULL)) {
            BELAY_AWAIT(belay_gpu_acquire(
                task, self->bench.pool, NULL, &self->bench.lease));
            trace("granted");
        }
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1000)));
        trace_slot(task, self);
    }
    BELAY_END;
}

Test(gpu_work, g13_a_late_end_leads_to_probation_and_back)
{
    cr_expect(zero(
        int, RUN(stuck, .devices = "sim:launch=1ms,fault=hang@0:1:500ms")));
    expect_trace("raw GPU_EINVAL; lease GPU_ESTUCK; stuck at 60; free at 1070");
}

Test(gpu_work, g13_a_slot_that_never_ends_is_never_granted)
{
    /* The pool, too, is left without it. */
    cr_expect(
        eq(int, RUN(stuck, .devices = "sim:fault=hang@0:1"), BELAY_GPU_ESTUCK));
    expect_trace(
        "raw GPU_EINVAL; lease GPU_ESTUCK; stuck at 60; stuck at 1070");
}

/* ---- one end each ---- */

BODY(odd_drivers)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(build_empty(task, b));
    BELAY_WITH (belay_group_open(task, NULL, &b->group)) {
        for (int i = 0; i < 6; i++) {
            BELAY_CHECK(belay_spawn(b->group, launch, .b = b, .name = "k"));
        }
    }
    cr_expect(eq(u64, b->pool->ops_done, 7)); /* and the build */
    BELAY_END;
}

Test(gpu_work, g30_told_twice_told_at_once_each_ends_once)
{
    cr_expect(zero(int, RUN_BODY(odd_drivers,
                            "sim:launch=1ms,fault=twice@0:1,fault=at_once@0:2,"
                            "fault=twice@0:3,fault=at_once@0:4,fault=twice@0:4,"
                            "fault=at_once@0:5,fault=at_once@0:6",
                            .pool = NULL)));
    expect_trace("k ok at 1; k ok at 1; k ok at 2; k ok at 2; k ok at 2; "
                 "k ok at 2; free 1");
}

/* ---- bad arguments ---- */

#define EXPECT_REFUSED(code_, text_, op)                                  \
    do {                                                                  \
        BELAY_TRY(op);                                                    \
        cr_expect(eq(int, belay_result(task)->code, (code_)), "%s", #op); \
        cr_expect(                                                        \
            belay_result(task)->error != NULL                             \
                && strstr(belay_error_message(belay_result(task)->error), \
                       (text_))                                           \
                       != NULL,                                           \
            "%s: %s", #op,                                                \
            belay_result(task)->error != NULL                             \
                ? belay_error_message(belay_result(task)->error)          \
                : "no message");                                          \
    } while (0)

BODY(bad)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 64, &b->buffer));
    BELAY_AWAIT(build_empty(task, b));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "lease",
        belay_gpu_alloc(task, (belay_gpu_lease){NULL, 0}, 1, &b->other));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "bytes",
        belay_gpu_alloc(task, b->lease, 0, &b->other));
    EXPECT_REFUSED(
        BELAY_GPU_EINVAL, "ret", belay_gpu_alloc(task, b->lease, 1, NULL));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "entry",
        belay_gpu_build(
            task, b->lease, BELAY_GPU_SOURCE(.entry = ""), &b->kernel));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "source",
        belay_gpu_build(task, b->lease, NULL, &b->kernel));
    EXPECT_REFUSED(
        BELAY_GPU_EINVAL, "cmds", belay_gpu_run(task, b->lease, NULL, 1));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "count",
        belay_gpu_run(task, b->lease, &(const struct belay_gpu_cmd){0}, 0));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "kind",
        belay_gpu_run(task, b->lease, &(const struct belay_gpu_cmd){0}, 1));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "buffer is {0}",
        belay_gpu_run_one(task, b->lease,
            BELAY_GPU_CMD_FILL(((belay_gpu_buffer){NULL, 0}), 0, 1, 1)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "bytes are 0",
        belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_FILL(b->buffer, 0, 1, 0)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "range",
        belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_FILL(b->buffer, 1, 1, 64)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "range",
        belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_FILL(b->buffer, UINT64_MAX, 1, 2)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "host",
        belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_READ(b->buffer, 0, NULL, 64)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "overflows",
        belay_gpu_run_one(task, b->lease,
            BELAY_GPU_CMD_READ(b->buffer, 0, (void *)(UINTPTR_MAX - 8), 64)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "kernel is NULL",
        belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_LAUNCH(NULL, 1, 1, NULL, 0)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "arguments are NULL",
        belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_LAUNCH(b->kernel, 1, 1, NULL, 1)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "64 arguments",
        belay_gpu_run_one(task, b->lease,
            BELAY_GPU_CMD_LAUNCH(b->kernel, 1, 1, b->args, 65)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "no kind",
        belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_LAUNCH(b->kernel, 1, 1, b->args, 1)));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "grid",
        belay_gpu_run(task, b->lease,
            &(const struct belay_gpu_cmd){.kind = BELAY_GPU_LAUNCH,
                .launch = {.kernel = b->kernel, .block = {1}}},
            1));
    EXPECT_REFUSED(BELAY_GPU_EINVAL, "block",
        belay_gpu_run(task, b->lease,
            &(const struct belay_gpu_cmd){.kind = BELAY_GPU_LAUNCH,
                .launch = {.kernel = b->kernel, .grid = {1}}},
            1));
    cr_expect(
        eq(int, belay_gpu_free((belay_gpu_buffer){NULL, 0}), BELAY_GPU_EINVAL));
    cr_expect(
        eq(int, belay_gpu_stage(b->lease, 0, &b->staged), BELAY_GPU_EINVAL));
    cr_expect(eq(u64, b->lease.slot->lease_ops, 2)); /* alloc and build */
    cr_expect(eq(u64, b->lease.slot->used, 64));
    BELAY_END;
}

Test(gpu_work, g43_bad_arguments_are_named_and_change_nothing)
{
    cr_expect(zero(int, RUN_BODY(bad, "sim", .pool = NULL)));
    expect_trace("free 1");
}

/* ---- the sweeps ---- */

BODY(everything)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_AWAIT(belay_gpu_build(task, b->lease,
        BELAY_GPU_SOURCE(.entry = "k", .sim = set_all), &b->kernel));
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 64, &b->buffer));
    BELAY_CHECK(belay_gpu_stage(b->lease, 64, &b->staged));
    b->args[0] = belay_gpu_arg_buffer(b->buffer);
    BELAY_WITH (belay_group_open(task, NULL, &b->group)) {
        BELAY_CHECK(belay_spawn(
            b->group, launch, .b = b, .name = "one", .arg_count = 1));
        BELAY_CHECK(belay_spawn(
            b->group, launch, .b = b, .name = "two", .arg_count = 1));
    }
    BELAY_AWAIT(belay_gpu_run_one(
        task, b->lease, BELAY_GPU_CMD_READ(b->buffer, 0, b->staged, 64)));
    BELAY_CHECK(belay_gpu_free(b->buffer));
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 64, &b->other));
    BELAY_END;
}

static void
forget_trace(const struct belay_result *result, bool disturbed)
{
    cr_assert(disturbed || result->code == 0);
    trace_clear();
}

Test(gpu_work, work_may_be_cancelled_and_starved_anywhere, .timeout = 120)
{
    const struct bench arguments = {
        .devices = "sim:launch=1ms,jit=5ms,slots=2",
        .body = &everything,
        .opts = {.scrub = true, .drain_limit = {1000000000}},
    };

    sweep(&(const struct program){
        .function = &bench, .arguments = &arguments, .check = forget_trace});
}
