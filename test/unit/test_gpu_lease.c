/* test_gpu_lease.c - leases that are there: left behind, in each other's way,
 * over, and in a pool that closes: G18, G24, G26, G32.
 */
#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

TestSuite(
    gpu_lease, .init = gpu_may_be_lost, .fini = check_clean, .timeout = 60);

#define ONE_SLOT .opts = {.devices = "sim:mem=1G"}

/* ---- left behind ---- */

struct forget {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
};

BELAY_ASYNC(forget)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_gpu_try_acquire(task, self->pool, NULL, &self->lease));
    trace("%d", __LINE__ - 1);
    BELAY_END;
}

struct leak {
    belay_gpu_pool *pool;
    belay_group *group;
    uint64_t leaked;
};

BELAY_ASYNC(leak)
{
    const char *file;
    int line = 0;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, forget, .pool = self->pool));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_CHECK(
                belay_spawn(self->group, gpu_waiter, .pool = self->pool));
        }
        BELAY_AWAIT(belay_gpu_pool_close(task, self->pool, &self->leaked));
        file = belay_gpu_leak_site(self->pool, 0, &line);
        cr_assert(ne(ptr, (void *)(uintptr_t)file, NULL));
        cr_expect(ne(ptr, strstr(file, "test_gpu_lease.c"), NULL));
        trace("%d %d", (int)self->leaked, line);
        cr_expect(eq(ptr,
            (void *)(uintptr_t)belay_gpu_leak_site(self->pool, 1, &line),
            NULL));
    }
    BELAY_END;
}

Test(gpu_lease, g18_a_lease_that_is_left_behind_is_taken_back_and_named)
{
    char wanted[64];
    int line;

    cr_expect(zero(int, RUN(leak, .pool = NULL)));
    cr_assert(eq(int, sscanf(trace_text(), "%d", &line), 1));
    (void)snprintf(wanted, sizeof(wanted), "%d; waiter; 1 %d", line, line);
    expect_trace(wanted);
}

/* ---- deadlocks ---- */

/* A task that holds a lease, and another wish at the depth that is asked for:
 * in the block itself, in a called function, in a child.
 */
struct wish {
    belay_gpu_pool *pool;
    bool nested;
    belay_gpu_lease lease;
};

BELAY_ASYNC(wish)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool,
        BELAY_GPU_LEASE_OPTS(.nested = self->nested), &self->lease)) {
        trace("inner");
    }
    BELAY_END;
}

struct nested {
    bool allow;
    bool in_child;
    bool beside; /* the child's group is around the lease */
    uint32_t slots;
    belay_gpu_pool *pool;
    belay_gpu_lease outer;
    belay_group *group;
};

static belay_next
nested_body(belay_task *task, struct nested *self, belay_group *around)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->outer)) {
        if (self->beside) {
            BELAY_CHECK(belay_spawn(around, wish, .pool = self->pool));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
        } else if (self->in_child) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_spawn(self->group, wish, .pool = self->pool,
                    .nested = self->allow));
            }
        } else {
            BELAY_AWAIT(
                BELAY_CALL(wish, .pool = self->pool, .nested = self->allow));
        }
        trace("outer");
    }
    BELAY_END;
}

static belay_next
holder_step(belay_task *task, void *arg)
{
    struct nested *self = arg;

    return nested_body(task, self, self->group);
}

BELAY_ASYNC(nested)
{
    static const belay_function holder = {
        "holder", NULL, sizeof(struct nested), holder_step, 0};

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim", .slots = self->slots),
        &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_AWAIT(belay_call(task, &holder, self));
        }
    }
    BELAY_END;
}

static int
first_failure(const struct belay_result *result)
{
    const belay_error *error = result->error;
    const belay_error *child;

    while (error != NULL && (child = belay_error_child(error, 0)) != NULL) {
        error = child;
    }
    return error != NULL ? belay_error_code(error) : result->code;
}

static int
nested_code(const struct nested *arguments)
{
    const struct program program = {
        .function = &nested, .arguments = arguments};
    struct belay_result result;
    int code;

    trace_clear();
    (void)program_run(&program, &result);
    code = first_failure(&result);
    belay_error_unref(result.error);
    return code;
}

Test(gpu_lease, g24_to_wait_for_a_lease_of_ones_own_is_refused)
{
    cr_expect(eq(int, nested_code(&(const struct nested){.slots = 1}),
        BELAY_GPU_EDEADLK));
    cr_expect(
        eq(int, nested_code(&(const struct nested){.slots = 1, .allow = true}),
            BELAY_GPU_EDEADLK));
    cr_expect(eq(int,
        nested_code(&(const struct nested){.slots = 1, .in_child = true}),
        BELAY_GPU_EDEADLK));
    expect_trace("");
}

Test(gpu_lease, g24_what_is_free_now_may_be_had_by_option)
{
    cr_expect(eq(int, nested_code(&(const struct nested){.slots = 2}),
        BELAY_GPU_EDEADLK));
    cr_expect(zero(
        int, nested_code(&(const struct nested){.slots = 2, .allow = true})));
    expect_trace("inner; outer");
    cr_expect(zero(int, nested_code(&(const struct nested){
                            .slots = 2, .allow = true, .in_child = true})));
    expect_trace("inner; outer");
}

Test(gpu_lease, g24_a_child_of_a_group_around_the_lease_may_wait)
{
    cr_expect(zero(
        int, nested_code(&(const struct nested){.slots = 1, .beside = true})));
    expect_trace("outer; inner");
}

/* ---- handles ---- */

struct stale {
    belay_gpu_pool *pool;
    belay_gpu_lease old;
    belay_gpu_lease now;
    belay_gpu_buffer buffer;
    belay_gpu_buffer other;
    belay_gpu_kernel *kernel;
    char host[16];
};

BELAY_ASYNC(stale)
{
    struct belay_gpu_slot_stats stats = {.size = sizeof(stats)};
    void *staged;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->old)) {
            BELAY_AWAIT(belay_gpu_alloc(task, self->old, 16, &self->buffer));
        }
        BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->now)) {
            BELAY_AWAIT(belay_gpu_alloc(task, self->now, 16, &self->other));
            BELAY_TRY(belay_gpu_alloc(task, self->old, 16, &self->buffer));
            cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ESTALE));
            BELAY_TRY(belay_gpu_run_one(
                task, self->old, BELAY_GPU_CMD_FILL(self->other, 0, 1, 16)));
            cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ESTALE));
            BELAY_TRY(belay_gpu_run_one(
                task, self->now, BELAY_GPU_CMD_FILL(self->buffer, 0, 1, 16)));
            cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ESTALE));
            BELAY_TRY(belay_gpu_build(task, self->old,
                BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
            cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ESTALE));
            cr_expect(eq(int, belay_gpu_free(self->buffer), BELAY_GPU_ESTALE));
            cr_expect(eq(
                int, belay_gpu_stage(self->old, 1, &staged), BELAY_GPU_ESTALE));
            cr_expect(eq(int, belay_gpu_release(self->old), BELAY_GPU_ESTALE));
            cr_expect(eq(int, belay_gpu_release(self->now), BELAY_GPU_EINVAL));
            /* Nothing of all that has reached the holder. */
            BELAY_CHECK(belay_gpu_pool_slot(self->pool, 0, &stats));
            cr_expect(eq(u64, stats.lease_ops, 1));
            cr_expect(eq(u64, stats.used_bytes, 16));
        }
    }
    BELAY_END;
}

Test(gpu_lease, g26_a_handle_that_is_over_reaches_nobody)
{
    cr_expect(zero(int, RUN(stale, .pool = NULL)));
}

/* ---- closing ---- */

Test(gpu_lease, g32_a_close_refuses_who_waits_and_waits_for_who_holds)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20},
        {.name = "a", .at_ms = 1, .hold_ms = 1},
        {.name = "b", .at_ms = 2, .hold_ms = 1},
        {.name = "late", .at_ms = 15, .hold_ms = 1},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT, .close_ms = 10)));
    expect_trace("h+0; a!GPU_ECLOSED; b!GPU_ECLOSED; late!GPU_ECLOSED; h-; "
                 "closed");
}

Test(gpu_lease, g32_a_drain_serves_who_waits)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20},
        {.name = "a", .at_ms = 1, .hold_ms = 1},
        {.name = "late", .at_ms = 15, .hold_ms = 1},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT, .close_ms = 10, .drain = true)));
    expect_trace("h+0; late!GPU_ECLOSED; h-; a+0; a-; drained");
}

struct close_inside {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_group *group;
    belay_task *second;
    struct belay_cancel_status status;
};

struct closer {
    belay_gpu_pool *pool;
};

BELAY_ASYNC(closer)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_gpu_pool_close(task, self->pool, NULL));
    trace("closer %s", trace_result(belay_result(task)));
    return belay_pass(task);
    BELAY_END;
}

BELAY_ASYNC(close_inside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (dropping(task, &self->second)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_WITH (belay_gpu_lease_open(
                    task, self->pool, NULL, &self->lease)) {
                    BELAY_TRY(belay_gpu_pool_close(task, self->pool, NULL));
                    trace("holder %s", trace_result(belay_result(task)));
                    cr_expect(eq(u8, self->pool->life, BELAY__GPU_OPENED));
                    BELAY_CHECK(
                        belay_spawn(self->group, closer, .pool = self->pool));
                    BELAY_CHECK(belay_group_spawn(self->group, &closer,
                        &(const struct closer){self->pool},
                        BELAY_SPAWN_OPTS(.task = &self->second)));
                    BELAY_AWAIT(belay_checkpoint(task));
                    BELAY_AWAIT(belay_checkpoint(task));
                    (void)belay_task_cancel(self->second, NULL);
                    BELAY_AWAIT(belay_checkpoint(task));
                    BELAY_AWAIT(belay_checkpoint(task));
                    trace("leaving");
                }
            }
        }
        BELAY_AWAIT(belay_gpu_pool_close(task, self->pool, NULL));
    }
    BELAY_END;
}

Test(gpu_lease, g32_a_holder_cannot_close_and_closers_can_be_cancelled)
{
    cr_expect(zero(int, RUN(close_inside, .pool = NULL)));
    expect_trace("holder GPU_EDEADLK; closer cancel; leaving; closer ok");
}
