/* test_gpu_pool_cuda_lost.c - the pool over the CUDA driver when a device, or a
 * kernel on it, does not come back: the fake library fails as it is told.
 */
#include "test/support/fake_cuda.h"
#include "test/support/gpu_locks.h"
#include "test/support/gpu_work.h"

#include <sched.h>

#include "gpu/kernels.h"

TestSuite(gpu_pool_cuda_lost, .fini = fake_cuda_fini, .timeout = 60);

/* ---- what does not end ---- */

/* On the real clock: while something runs outside, the virtual one waits. */
static int
run_for_real(const belay_function *function, const void *arguments)
{
    return program_run_plain(function, arguments, NULL);
}

/* Asks for a kernel that hangs, and gives up waiting for it. */
struct hanging {
    belay_gpu_pool *pool;
    /* locals */
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_gpu_buffer done;
};

static belay_next
hang(belay_task *task, struct hanging *self)
{
    const struct belay_gpu_arg args[] = {belay_gpu_arg_stop(),
        belay_gpu_arg_sequence(), belay_gpu_arg_u64(1),
        belay_gpu_arg_buffer(self->done)};
    const struct belay_gpu_cmd cmds[] = {
        BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, args, 4),
    };

    return belay_gpu_run(task, self->lease, cmds, 1);
}

BELAY_ASYNC(hanging)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool,
        BELAY_GPU_LEASE_OPTS(.bytes = 1 << 20), &self->lease)) {
        BELAY_AWAIT(belay_gpu_build(
            task, self->lease, &belay__gpu_spin, &self->kernel));
        BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 8, &self->done));
        BELAY_WITH (belay_timeout(task, belay_milliseconds(20))) {
            BELAY_AWAIT(hang(task, self));
        }
    }
    BELAY_END;
}

struct stuck {
    bool late; /* it ends while the pool is still open */
    uint32_t slots;
    /* locals */
    belay_gpu_pool *pool;
    struct belay_gpu_device device;
};

BELAY_ASYNC(stuck)
{
    BELAY_BEGIN;
    self->device.size = sizeof(self->device);
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = self->slots,
            .drain_limit = belay_milliseconds(50),
            .close_limit = belay_milliseconds(50)),
        &self->pool)) {
        BELAY_TRY(BELAY_CALL(hanging, .pool = self->pool));
        trace("lease: %s", trace_result(belay_result(task)));
        BELAY_CHECK(belay_gpu_pool_device(self->pool, 0, &self->device));
        trace("%u lost", self->device.slots_lost);
        if (self->late) {
            fake_cuda_open();
            while (self->device.slots_lost > 0) {
                BELAY_AWAIT(belay_sleep(task, belay_milliseconds(5)));
                BELAY_CHECK(
                    belay_gpu_pool_device(self->pool, 0, &self->device));
            }
            BELAY_AWAIT(BELAY_CALL(hanging, .pool = self->pool));
            trace("and works again");
        }
    }
    BELAY_END;
}

Test(gpu_pool_cuda_lost, g13_a_slot_that_does_not_drain_comes_back_when_it_has)
{
    fake_cuda_use("hang=1");
    cr_expect(eq(int,
        run_for_real(&stuck, &(const struct stuck){.late = true, .slots = 1}),
        0));
    expect_trace("lease: GPU_ESTUCK; 1 lost; and works again");
}

/* The thread is in a call that does not return: the pool says so, leaves it
 * behind, and ends. What it holds on the device stays there, by intent.
 */
Test(gpu_pool_cuda_lost, g31_a_thread_that_hangs_is_left_behind)
{
    fake_cuda_use("hang=1");
    cr_expect(eq(int, run_for_real(&stuck, &(const struct stuck){.slots = 1}),
        BELAY_GPU_ESTUCK));
    cr_expect(eq(i64, fake_cuda_value("running"), 1));
    cr_expect(eq(i64, fake_cuda_value("marks"), 0));
    /* It comes back long after the pool has gone, and finds its way out. */
    fake_cuda_open();
    while (fake_cuda_value("running") > 0) {
        sched_yield();
    }
    fake_cuda_forget();
}

/* ---- a device that is lost ---- */

/* Adders until the device has had enough; what became of each is counted. */
struct lossy {
    uint32_t tasks;
    uint32_t slots;
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
    int done;
    int lost;
    int other;
};

struct one {
    belay_gpu_pool *pool;
    struct lossy *counts;
};

BELAY_ASYNC(one)
{
    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(gpu_add, .pool = self->pool));
    switch (belay_result(task)->code) {
    case 0:
        self->counts->done++;
        break;
    case BELAY_GPU_ELOST:
        self->counts->lost++;
        break;
    default:
        self->counts->other++;
        break;
    }
    BELAY_END;
}

BELAY_ASYNC(lossy)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = self->slots),
        &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (uint32_t i = 0; i < self->tasks; i++) {
                BELAY_CHECK(belay_spawn(
                    self->group, one, .pool = self->pool, .counts = self));
            }
        }
        trace("%s", self->done + self->lost == (int)self->tasks ? "all told"
                                                                : "some not");
        trace("other %d", self->other);
        /* Whoever was not on that device has not noticed. */
        self->lost = self->lost > (int)self->slots ? 1000 : self->lost;
        trace("lost %s", self->lost == 0      ? "none"
                         : self->lost == 1000 ? "too many"
                                              : "few");
        BELAY_TRY(BELAY_CALL(gpu_add, .pool = self->pool));
        trace("then %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(gpu_pool_cuda_lost, g27_the_other_device_goes_on)
{
    fake_cuda_use("devices=2 fault=10:700");
    cr_expect(eq(int, RUN(lossy, .tasks = 40, .slots = 2), 0));
    expect_trace("all told; other 0; lost few; then ok");
}

Test(gpu_pool_cuda_lost, g29_a_lost_cuda_device_stays_lost)
{
    fake_cuda_use("devices=1 fault=1:700 reset=1");
    cr_expect(eq(int, RUN(lossy, .tasks = 1, .slots = 1), 0));
    expect_trace("all told; other 0; lost few; then GPU_ELOST");
    cr_expect(eq(i64, fake_cuda_value("cuDevicePrimaryCtxReset_v2"), 0));
}

/* Another process has a slot of the lost device. Nobody waits for its lock only
 * to learn that the driver cannot reset.
 */
struct shut_out {
    /* locals */
    belay_gpu_pool *theirs;
    belay_gpu_lease their_lease;
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
};

BELAY_ASYNC(shut_out)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = 2, .exclusive = true,
            .lock_folder = test_folder),
        &self->theirs)) {
        BELAY_AWAIT(
            belay_gpu_acquire(task, self->theirs, NULL, &self->their_lease));
        BELAY_WITH (belay_gpu_pool_open(task,
            BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = 2,
                .exclusive = true, .lock_folder = test_folder),
            &self->pool)) {
            BELAY_TRY(BELAY_CALL(gpu_add, .pool = self->pool));
            trace("%s", trace_result(belay_result(task)));
            BELAY_TRY(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
            trace("%s", trace_result(belay_result(task)));
        }
        BELAY_CHECK(belay_gpu_release(self->their_lease));
    }
    BELAY_END;
}

Test(gpu_pool_cuda_lost, g27_of_a_lost_device_no_lock_is_waited_for)
{
    lock_folder_make();
    fake_cuda_use("devices=1 fault=1:700");
    cr_expect(eq(int, RUN(shut_out, .pool = NULL), 0));
    expect_trace("GPU_ELOST; GPU_ELOST");
    test_files_fini();
}

/* Every operation ends once, on the device that is lost as well (G30). */
Test(gpu_pool_cuda_lost, g30_a_fault_leaves_nobody_waiting)
{
    for (int at = 1; at <= 12; at++) {
        char script[32];

        (void)snprintf(script, sizeof(script), "fault=%d:719", at);
        if (at == 1) {
            fake_cuda_use(script);
        } else {
            fake_cuda_script(script);
        }
        trace_clear();
        cr_expect(eq(int, RUN(lossy, .tasks = 12, .slots = 3), 0));
        cr_expect(ne(ptr, strstr(trace_text(), "all told; other 0"), NULL),
            "%d: %s", at, trace_text());
        fake_cuda_repair();
    }
}
