/* test_gpu_lock.c - slots that one process at a time has: G39.
 *
 * test/support/gpu_locks.h tells how another process is played. Waiting for it
 * is test_gpu_lock_wait.c's, the files are test_gpu_lock_files.c's, and real
 * processes test/stress/gpu_locks.c's.
 */
#include <unistd.h>

#include "gpu/internal.h"
#include "test/support/gpu_locks.h"

TestSuite(
    gpu_lock, .init = lock_folder_make, .fini = test_files_fini, .timeout = 60);

/* ---- granted, or not ---- */

static void
nothing_is_locked(belay_gpu_pool *pool)
{
    (void)pool;
    for (int i = 0; i < 2; i++) {
        cr_expect(not(is_locked(0, i, "lock")), "%d", i);
        cr_expect(not(is_locked(0, i, "want")), "%d", i);
    }
}

Test(gpu_lock, g39_a_lease_holds_the_lock_and_gives_it_back)
{
    const struct gpu_job jobs[] = {
        {.name = "a", .inside = &look_at_lock},
        {.name = "b", .at_ms = 5, .inside = &look_at_lock},
    };

    cr_expect(eq(
        int, CROWD(jobs, EXCLUSIVE(LOCK_SIM), .after = nothing_is_locked), 0));
    expect_trace("a+0; locked; a-; b+0; locked; b-");
}

Test(gpu_lock, g39_a_slot_that_another_process_has_is_not_granted)
{
    const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 2},
        {.name = "b", .no_wait = true},
        {.name = "c", .hold_ms = 1},
    };
    const int fd = lock_foreign(0, 0);

    cr_expect(
        eq(int, CROWD(jobs, EXCLUSIVE("sim:seed=7,devices=1,slots=2")), 0));
    expect_trace("a+1; b!GPU_EAGAIN; a-; c+1; c-");
    (void)close(fd);
}

Test(gpu_lock, g39_without_exclusive_nobody_looks)
{
    const struct gpu_job jobs[] = {{.name = "a"}};
    const int fd = lock_foreign(0, 0);

    cr_expect(eq(int,
        CROWD(jobs, .opts = {.devices = LOCK_SIM, .lock_folder = test_folder}),
        0));
    expect_trace("a+0; a-");
    (void)close(fd);
}

Test(gpu_lock, g39_interrupted_calls_are_made_again)
{
    const struct gpu_job jobs[] = {{.name = "a", .inside = &look_at_lock}};

    lock_interruptions = 20;
    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(LOCK_SIM)), 0));
    cr_expect(eq(int, lock_interruptions, 0));
    expect_trace("a+0; locked; a-");
}

/* Without an end of interruptions the slot counts as another's; nobody hangs.
 */
Test(gpu_lock, g39_a_lock_that_cannot_be_had_is_a_strangers)
{
    const struct gpu_job jobs[] = {{.name = "a", .no_wait = true}};

    lock_interruptions = 10000;
    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(LOCK_SIM)), 0));
    expect_trace("a!GPU_EAGAIN");
}

/* Elsewhere a task's run has one time (g34); but of a slot that two processes
 * have in turn, what they tell must not overlap.
 */
struct own_times {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    int64_t release_ns;
};

BELAY_ASYNC(own_times)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = LOCK_SIM, .exclusive = true,
            .lock_folder = test_folder),
        &self->pool)) {
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        self->release_ns = belay_now(task).ns;
        BELAY_CHECK(belay_gpu_release(self->lease));
        cr_expect(ge(i64, self->pool->slots[0].since_ns, self->release_ns));
        self->release_ns = belay_now(task).ns;
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        cr_expect(ge(i64, self->pool->slots[0].since_ns, self->release_ns));
    }
    BELAY_END;
}

Test(gpu_lock, g39_each_grant_and_release_has_a_time_of_its_own)
{
    trace_clear();
    cr_expect(zero(int, RUN_PLAIN(own_times, .pool = NULL)));
}

/* Two devices or none: what can be locked is not kept while the gang waits for
 * the other.
 */
struct pair {
    belay_gpu_pool *pool;
    /* locals */
    belay_gpu_lease lease;
};

BELAY_ASYNC(pair)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(
        task, self->pool, BELAY_GPU_LEASE_OPTS(.devices = 2), &self->lease)) {
        trace("both");
        trace(is_locked(0, 0, "lock") && is_locked(1, 0, "lock") ? "locked"
                                                                 : "not");
    }
    BELAY_END;
}

struct gang {
    belay_gpu_pool *pool;
    belay_group *group;
    int fd;
};

BELAY_ASYNC(gang)
{
    BELAY_BEGIN;
    BELAY_WITH (lock_file_closing(task, &self->fd)) {
        self->fd = lock_foreign(1, 0);
        BELAY_WITH (belay_gpu_pool_open(task,
            BELAY_GPU_POOL_OPTS(.devices = "sim:seed=7,devices=2,slots=1",
                .exclusive = true, .lock_folder = test_folder),
            &self->pool)) {
            gpu_oracle_watch(self->pool, false);
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_spawn(self->group, pair, .pool = self->pool));
                BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
                trace(is_locked(0, 0, "lock") ? "kept" : "not kept");
                lock_file_close(&self->fd);
            }
        }
    }
    BELAY_END;
}

Test(gpu_lock, g22_a_gang_keeps_no_lock_while_it_waits)
{
    cr_expect(eq(int, RUN(gang, .fd = -1), 0));
    expect_trace("not kept; both; locked");
}

/* ---- out of service ---- */

/* Loses its device in a lease on slot 0, while a stranger has slot 1; then it
 * wants both.
 */
struct loser {
    const char *devices;
    uint32_t max_resets;
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
    belay_gpu_lease lease;
    int fd;
};

static void
trace_resets(belay_gpu_pool *pool)
{
    struct belay_gpu_slot_stats stats[] = {
        {.size = sizeof(stats[0])}, {.size = sizeof(stats[0])}};

    for (uint32_t i = 0; i < 2; i++) {
        cr_assert(zero(int, belay_gpu_pool_slot(pool, i, &stats[i])));
    }
    trace("%u and %u resets", (unsigned)stats[0].resets,
        (unsigned)stats[1].resets);
}

struct lose {
    belay_gpu_lease lease;
    /* locals */
    belay_gpu_kernel *kernel;
};

BELAY_ASYNC(lose)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_gpu_build(
        task, self->lease, BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
    BELAY_TRY(belay_gpu_run_one(
        task, self->lease, BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
    trace("%s", trace_result(belay_result(task)));
    BELAY_CHECK(belay_gpu_release(self->lease));
    BELAY_END;
}

BELAY_ASYNC(loser)
{
    BELAY_BEGIN;
    self->fd = -1;
    BELAY_WITH (lock_file_closing(task, &self->fd)) {
        self->fd = lock_foreign(0, 1);
        BELAY_WITH (belay_gpu_pool_open(task,
            BELAY_GPU_POOL_OPTS(.devices = self->devices, .exclusive = true,
                .lock_folder = test_folder, .max_resets = self->max_resets),
            &self->pool)) {
            gpu_oracle_watch(self->pool, false);
            BELAY_AWAIT(
                belay_gpu_acquire(task, self->pool, NULL, &self->lease));
            BELAY_AWAIT(BELAY_CALL(lose, .lease = self->lease));
            BELAY_AWAIT(belay_sleep(task, belay_seconds(10)));
            trace_resets(self->pool);
            BELAY_AWAIT(
                belay_gpu_acquire(task, self->pool, NULL, &self->lease));
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(
                    belay_spawn(self->group, gpu_waiter, .pool = self->pool));
                BELAY_AWAIT(belay_sleep(task, belay_milliseconds(600)));
                trace(is_locked(0, 1, "want") ? "waits" : "does not wait");
                lock_file_close(&self->fd);
                /* Long before it would be tried again with nobody waiting. */
                BELAY_AWAIT(belay_sleep(task, belay_milliseconds(250)));
                trace("release");
                BELAY_CHECK(belay_gpu_release(self->lease));
            }
            trace_resets(self->pool);
        }
    }
    BELAY_END;
}

/* A reset is work on a device: it would break what the stranger does there. */
Test(gpu_lock, g39_a_slot_that_another_process_has_is_not_reset)
{
    cr_expect(eq(int,
        RUN(loser, .devices = "sim:seed=7,devices=1,slots=2,fault=sticky@0:1"),
        0));
    expect_trace("GPU_ELOST; 1 and 0 resets; waits; waiter; release; "
                 "1 and 1 resets");
}

/* A slot on which no lease has left anything is locked for its resets alone;
 * the other one's lock stays, since nobody knows what still runs there.
 */
struct given_up {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    int i;
};

BELAY_ASYNC(given_up)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices =
                                "sim:seed=7,devices=1,slots=2,fault=lost@0:1",
            .exclusive = true, .lock_folder = test_folder, .max_resets = 2),
        &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        BELAY_AWAIT(BELAY_CALL(lose, .lease = self->lease));
        for (self->i = 0; self->i < 2; self->i++) {
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
            trace(is_locked(0, 0, "lock") ? "locked" : "free");
            trace(is_locked(0, 1, "lock") ? "locked" : "free");
            BELAY_AWAIT(belay_sleep(task, belay_seconds(5)));
        }
        trace_resets(self->pool);
    }
    BELAY_END;
}

Test(gpu_lock, g39_a_slot_without_work_is_locked_for_its_resets_alone)
{
    cr_expect(eq(int, RUN(given_up, .i = 0), 0));
    expect_trace("GPU_ELOST; locked; free; locked; free; 2 and 2 resets");
}

static void
forget_trace(const struct belay_result *result, bool disturbed)
{
    (void)result;
    (void)disturbed;
    trace_clear();
}

Test(gpu_lock, g39_a_sweep_of_losses_leaves_no_lock)
{
    const struct given_up arguments = {.i = 0};
    const struct program program = {
        .function = &given_up, .arguments = &arguments, .check = forget_trace};

    sweep(&program);
    nothing_is_locked(NULL);
}

/* ---- whatever happens in between ---- */

Test(gpu_lock, g40_a_sweep_leaves_no_lock)
{
    const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 2},
        {.name = "b", .timeout_ms = 100},
        {.name = "c", .devices = 2, .timeout_ms = 100},
    };
    const struct gpu_crowd crowd = {
        .jobs = jobs, .count = 3, EXCLUSIVE("sim:seed=7,devices=2,slots=1")};
    const int fd = lock_foreign(1, 0);

    gpu_crowd_sweep(&crowd);
    (void)close(fd);
    gpu_crowd_sweep(&crowd);
    nothing_is_locked(NULL);
}
