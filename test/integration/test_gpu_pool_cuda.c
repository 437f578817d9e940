/* test_gpu_pool_cuda.c - the pool over the CUDA driver, on the fake library:
 * real slot threads. Devices that fail are test_gpu_pool_cuda_lost.c's.
 */
#define _GNU_SOURCE /* gettid() */
#include "test/support/fake_cuda.h"
#include "test/support/gpu_locks.h"
#include "test/support/gpu_work.h"

#include <stdlib.h>
#include <unistd.h>

#include <belay/gpu_stats.h>

#include "gpu/kernels.h"

TestSuite(gpu_pool_cuda, .fini = fake_cuda_fini, .timeout = 60);

/* ---- work ---- */

struct adders {
    uint32_t tasks;
    uint32_t slots;
    const char *devices; /* default "cuda" */
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
};

BELAY_ASYNC(adders)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices =
                                self->devices != NULL ? self->devices : "cuda",
            .slots = self->slots),
        &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (uint32_t i = 0; i < self->tasks; i++) {
                BELAY_CHECK(
                    belay_spawn(self->group, gpu_add, .pool = self->pool));
            }
        }
    }
    BELAY_END;
}

Test(gpu_pool_cuda, many_tasks_on_few_slots)
{
    fake_cuda_use("devices=2");
    cr_expect(eq(int, RUN(adders, .tasks = 50, .slots = 2), 0));
    cr_expect(eq(int, (int)fake_cuda_value("kernels"), 50));
    /* One kernel a slot is built, however many tasks ask for it. */
    cr_expect(le(int, (int)fake_cuda_value("cuModuleLoadDataEx"), 4));
}

Test(gpu_pool_cuda, g33_an_unused_pool_makes_no_context)
{
    fake_cuda_use("devices=2");
    cr_expect(eq(int, RUN(adders, .tasks = 0, .slots = 2), 0));
    cr_expect(eq(int, (int)fake_cuda_value("cuDevicePrimaryCtxRetain"), 0));
}

/* Even with a kernel that takes half a second to build, the loop's thread has
 * made no call that could have taken it.
 */
Test(gpu_pool_cuda, g37_the_loop_makes_no_driver_call)
{
    fake_cuda_use("devices=2 jit_ms=500");
    cr_expect(eq(int, RUN(adders, .tasks = 8, .slots = 1), 0));
    cr_expect(eq(i64, fake_cuda_calls_by(gettid()), 0));
    cr_expect(gt(i64, fake_cuda_value("cuModuleLoadDataEx"), 0));
}

/* Cancelled at each of its waits, and with each allocation refused: nothing
 * is left on the device, and nothing that a caller must not do was done.
 */
static void
balance(const struct belay_result *result, bool disturbed)
{
    if (!disturbed) {
        cr_expect(eq(int, result->code, 0));
    }
    fake_cuda_check_clean();
}

Test(gpu_pool_cuda, g21_a_sweep_leaves_nothing)
{
    const struct program program = {.function = &adders,
        .arguments = &(const struct adders){.tasks = 2, .slots = 1},
        .check = balance};

    fake_cuda_use("devices=1");
    sweep(&program);
    cr_expect(eq(i64, fake_cuda_calls_by(gettid()), 0));
}

/* ---- priorities ---- */

struct urgent {
    belay_gpu_pool *pool;
    uint32_t i;
};

BELAY_ASYNC(urgent)
{
    static const uint32_t priorities[] = {0, 3, 7, 5, 0};

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = 1), &self->pool)) {
        for (self->i = 0; self->i < 5; self->i++) {
            BELAY_AWAIT(BELAY_CALL(
                gpu_add, .pool = self->pool, .priority = priorities[self->i]));
            trace("%u at %d", priorities[self->i],
                (int)fake_cuda_value("launch_priority"));
        }
        trace("%d streams", (int)fake_cuda_value("streams"));
    }
    BELAY_END;
}

/* The device has six levels of priority, and the last three share one. */
Test(gpu_pool_cuda, g4_a_lease_runs_on_a_stream_of_its_priority)
{
    fake_cuda_use("");
    cr_expect(eq(int, RUN(urgent, .i = 0), 0));
    expect_trace("0 at 0; 3 at -3; 7 at -5; 5 at -5; 0 at 0; 4 streams");
    /* Where there is no memory for a stream, the first one does. */
    fake_cuda_script("call=cuStreamCreateWithPriority:3:2");
    trace_clear();
    cr_expect(eq(int, RUN(urgent, .i = 0), 0));
    expect_trace("0 at 0; 3 at 0; 7 at -5; 5 at -5; 0 at 0; 3 streams");
}

/* ---- cancelling what runs ---- */

struct canceller {
    uint64_t rounds;
    belay_duration drain_limit;
    belay_duration close_limit;
    bool reach; /* cancels when the kernel runs, not before */
    bool open;  /* lets it end then */
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
    belay_task *child;
    bool running;
    bool ended;
    int code;
    uint64_t counted;
    int turns;
};

BELAY_ASYNC(canceller)
{
    BELAY_BEGIN;
    self->counted = 77;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .drain_limit = self->drain_limit,
            .close_limit = self->close_limit),
        &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &gpu_count,
                &(const struct gpu_count){.pool = self->pool,
                    .rounds = self->rounds,
                    .running = &self->running,
                    .ended = &self->ended,
                    .code = &self->code,
                    .counted = &self->counted},
                BELAY_SPAWN_OPTS(.task = &self->child)));
            while (!self->running
                   || (self->reach && fake_cuda_value("running") == 0)) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
            (void)belay_task_cancel(self->child, "test");
            belay_task_unref(self->child);
            for (self->turns = 0; self->turns < 100; self->turns++) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
            if (self->open) {
                trace(self->ended ? "ended" : "waits");
                fake_cuda_open();
            }
        }
        trace("%s, counted %llu", belay_code_name(self->code),
            (unsigned long long)self->counted);
    }
    BELAY_END;
}

/* The kernel does not look at the stop word: it hangs before that. The await
 * goes on until the device has written what it had to.
 */
Test(gpu_pool_cuda, g11_a_cancelled_await_ends_when_the_device_has_let_go)
{
    fake_cuda_use("hang=1");
    cr_expect(
        eq(int, RUN(canceller, .rounds = 5, .reach = true, .open = true), 0));
    /* Stopped before its first round, but the read behind it was done. */
    expect_trace("waits; ECANCELED, counted 0");
}

/* Without the stop word it would count for centuries. */
Test(gpu_pool_cuda, g15_a_cancel_stops_a_kernel_that_looks)
{
    fake_cuda_use("");
    cr_expect(eq(int, RUN(canceller, .rounds = UINT64_MAX, .reach = true), 0));
    cr_expect(eq(int, (int)fake_cuda_value("kernels"), 1));
}

/* ---- G42: the memory of a process that was killed ---- */

struct heir {
    bool exclusive;
    /* locals */
    belay_gpu_pool *pool;
};

BELAY_ASYNC(heir)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .exclusive = self->exclusive,
            .lock_folder = test_folder),
        &self->pool)) {
        BELAY_AWAIT(BELAY_CALL(gpu_add, .pool = self->pool));
    }
    BELAY_END;
}

/* Its driver gives the memory back a while after the lock: 238 ms on an H200
 * at most. So who has just got the lock tries again.
 */
Test(gpu_pool_cuda, g42_memory_may_come_a_while_after_the_lock)
{
    int64_t before;

    lock_folder_make();
    fake_cuda_use("devices=1");
    /* The first allocation is the slot's own; the next test has that. */
    fake_cuda_script("call=cuMemAllocAsync:2:2 call=cuMemAllocAsync:3:2 "
                     "call=cuMemAllocAsync:4:2");
    cr_expect(eq(int, RUN(heir, .exclusive = true), 0));
    before = fake_cuda_value("cuMemAllocAsync");
    cr_expect(eq(i64, before, 7), "three refused, four made");
    fake_cuda_script("call=cuMemAllocAsync:2:2");
    cr_expect(eq(int, RUN(heir, .exclusive = false), BELAY_GPU_ENOMEM));
    test_files_fini();
}

/* The slot's own first allocation, and its context, may come too early as
 * well. Without patience the slot is lost.
 */
Test(gpu_pool_cuda, g42_also_a_slot_is_opened_with_patience)
{
    lock_folder_make();
    fake_cuda_use("devices=1");
    fake_cuda_script(
        "call=cuMemAllocAsync:1:2 call=cuDevicePrimaryCtxRetain:2:2 "
        "call=cuMemHostAlloc:2:2");
    cr_expect(eq(int, RUN(heir, .exclusive = true), 0));
    cr_expect(eq(i64, fake_cuda_value("cuDevicePrimaryCtxRetain"), 4));
    cr_expect(eq(i64, fake_cuda_value("cuMemAllocAsync"), 5));
    fake_cuda_script("call=cuMemAllocAsync:1:2");
    cr_expect(eq(int, RUN(heir, .exclusive = false), BELAY_GPU_ELOST));
    test_files_fini();
}

/* What others have when the slot is opened is no measure of what there will
 * be: one that was killed leaves it a moment later.
 */
struct crowded {
    bool exclusive;
    /* locals */
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
};

BELAY_ASYNC(crowded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .exclusive = self->exclusive,
            .lock_folder = test_folder),
        &self->pool)) {
        BELAY_AWAIT(BELAY_CALL(gpu_add, .pool = self->pool));
        fake_cuda_script("others=0");
        BELAY_WITH (belay_gpu_lease_open(task, self->pool,
            BELAY_GPU_LEASE_OPTS(.bytes = 128 << 20), &self->lease)) {
            BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 64, &self->buffer));
        }
    }
    BELAY_END;
}

Test(gpu_pool_cuda, g42_what_others_have_at_first_does_not_shrink_the_pool)
{
    lock_folder_make();
    fake_cuda_use("devices=1 mem=256M others=200M");
    cr_expect(eq(int, RUN(crowded, .exclusive = true), 0));
    fake_cuda_script("others=200M");
    cr_expect(eq(int, RUN(crowded, .exclusive = false), BELAY_GPU_EUNSAT));
    test_files_fini();
}

/* There is no memory, and patience has an end; a cancel is an earlier one. */
struct cut_short {
    /* locals */
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
    struct belay_cancel_status status;
};

BELAY_ASYNC(cut_short)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .exclusive = true,
            .lock_folder = test_folder),
        &self->pool)) {
        BELAY_WITH (
            belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
            BELAY_WITH (
                belay_move_on(task, belay_milliseconds(50), &self->status)) {
                BELAY_AWAIT(
                    belay_gpu_alloc(task, self->lease, 64, &self->buffer));
            }
            trace(self->status.caught ? "cut short" : "not");
            BELAY_TRY(belay_gpu_alloc(task, self->lease, 64, &self->buffer));
            trace("%s", trace_result(belay_result(task)));
        }
    }
    BELAY_END;
}

Test(gpu_pool_cuda, g42_patience_has_an_end)
{
    lock_folder_make();
    fake_cuda_use("devices=1 oom_after=1"); /* that one is the slot's own */
    cr_expect(eq(int, RUN_PLAIN(cut_short, .pool = NULL), 0));
    expect_trace("cut short; GPU_ENOMEM");
    test_files_fini();
}

/* ---- G44, G45: "auto" and lists ---- */

struct looker {
    bool list;
    /* locals */
    struct belay_gpu_device devices[4];
    uint32_t count;
    char note[512];
    belay_gpu_pool *pool;
};

BELAY_ASYNC(looker)
{
    BELAY_BEGIN;
    for (size_t i = 0; i < 4; i++) {
        self->devices[i].size = sizeof(self->devices[i]);
    }
    if (self->list) {
        BELAY_AWAIT(belay_gpu_list(task, "cuda", self->devices, 4, &self->count,
            self->note, sizeof(self->note)));
        trace("%u, %s, %s", self->count, self->devices[0].name, self->note);
    } else {
        BELAY_WITH (belay_gpu_pool_open(
            task, BELAY_GPU_POOL_OPTS(.devices = NULL), &self->pool)) {
            BELAY_CHECK(
                belay_gpu_pool_device(self->pool, 0, &self->devices[0]));
            trace("%s", self->devices[0].backend);
            trace("%s", belay_gpu_pool_note(self->pool));
        }
    }
    BELAY_END;
}

Test(gpu_pool_cuda, g45_a_list_loads_nothing_here)
{
    fake_cuda_use("devices=3");
    cr_expect(eq(int, RUN(looker, .list = true), 0));
    expect_trace("3, Fake 0, ");
    cr_expect(eq(i64, fake_cuda_value("cuInit"), 0));
}

/* ---- what NVIDIA's management library tells ---- */

struct gauges {
    uint32_t i;
    /* locals */
    struct belay_gpu_device devices[2];
    uint32_t count;
    belay_gpu_pool *pool;
};

BELAY_ASYNC(gauges)
{
    BELAY_BEGIN;
    self->devices[0].size = sizeof(self->devices[0]);
    self->devices[1].size = sizeof(self->devices[1]);
    BELAY_AWAIT(
        belay_gpu_list(task, "cuda", self->devices, 2, &self->count, NULL, 0));
    for (self->i = 0; self->i < self->count; self->i++) {
        trace("%lld bytes, %d%%, %d C, %d mW",
            (long long)self->devices[self->i].gauges.used_bytes,
            self->devices[self->i].gauges.busy_percent,
            self->devices[self->i].gauges.celsius,
            self->devices[self->i].gauges.milliwatts);
    }
    BELAY_END;
}

/* By UUID, since the two count devices in orders of their own. What one of its
 * functions does not know is not known, and no more; a device that cannot be
 * found there, or a library that is not, are the same.
 */
Test(gpu_pool_cuda, g20_a_list_has_what_the_management_library_tells)
{
    fake_cuda_use("devices=2");
    fake_nvml_use("");
    cr_expect(eq(int, RUN(gauges, .i = 0), 0));
    expect_trace("1048576 bytes, 40%, 60 C, 300000 mW; "
                 "1048577 bytes, 41%, 61 C, 300001 mW");
    trace_clear();
    fake_cuda_use("devices=1");
    fake_nvml_use("up");
    cr_expect(eq(int, RUN(gauges, .i = 0), 0));
    expect_trace("1048576 bytes, -1%, 60 C, -1 mW");
    for (int i = 0; i < 3; i++) {
        trace_clear();
        fake_cuda_use("devices=1"); /* without the library */
        if (i > 0) {
            fake_nvml_use(i == 1 ? "i" : "h");
        }
        cr_expect(eq(int, RUN(gauges, .i = 0), 0));
        expect_trace("-1 bytes, -1%, -1 C, -1 mW");
    }
}

Test(gpu_pool_cuda, g44_a_list_tells_why_there_is_nothing)
{
    fake_cuda_use("init=803");
    cr_expect(eq(int, RUN(looker, .list = true), 0));
    expect_trace("0, , cuda: library and kernel module are of different "
                 "versions (803)");
}

Test(gpu_pool_cuda, g44_auto_takes_cuda_where_it_is)
{
    fake_cuda_use("devices=3");
    cr_expect(eq(int, RUN(looker, .list = false), 0));
    expect_trace("cuda; ");
    cr_expect(eq(i64, fake_cuda_value("cuInit"), 1));
}

/* The library would have ended this process; it has ended another. */
Test(gpu_pool_cuda, g45_auto_survives_a_library_that_does_not)
{
    fake_cuda_use("devices=3");
    fake_probe_use("abort");
    cr_expect(eq(int, RUN(looker, .list = false), 0));
    cr_expect(eq(int, strncmp(trace_text(), "sim; cuda: looking", 18), 0), "%s",
        trace_text());
    cr_expect(ne(ptr, strstr(trace_text(), "opencl: looking"), NULL), "%s",
        trace_text());
    cr_expect(ne(ptr, strstr(trace_text(), "signal 6"), NULL));
    cr_expect(eq(i64, fake_cuda_value("cuInit"), 0));
}
