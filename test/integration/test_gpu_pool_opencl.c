/* test_gpu_pool_opencl.c - the pool over the OpenCL driver, on a real device:
 * PoCL, whose CPU is divided into two slots.
 */
#include "test/fake/libopencl/control.h"
#include "test/support/gpu_work.h"
#include "test/support/program.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <belay/gpu.h>
#include <belay/gpu_stats.h>

TestSuite(gpu_pool_opencl, .fini = check_clean, .timeout = 200);

#define DEVICES "opencl:type=cpu,parts=2"

/* The driver's own threads and files come and go with its first use: a run
 * that looks for what is left must not be that.
 */
static int
run(const belay_function *function, const void *arguments)
{
    return program_run_plain(function, arguments, NULL);
}

#ifdef FAKE_OPENCL
static void
failing_opencl(const char *words)
{
    void *library = dlopen(FAKE_OPENCL, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    void *symbol =
        library != NULL ? dlsym(library, "fake_opencl_script") : NULL;
    fake_opencl_script_fn *script;

    cr_assert(ne(ptr, symbol, NULL));
    memcpy(&script, &symbol, sizeof(symbol));
    script(words);
}
#endif

struct adders {
    uint32_t tasks;
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
};

BELAY_ASYNC(adders)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = DEVICES), &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (uint32_t i = 0; i < self->tasks; i++) {
                BELAY_CHECK(
                    belay_spawn(self->group, gpu_add, .pool = self->pool));
            }
        }
    }
    BELAY_END;
}

Test(gpu_pool_opencl, many_tasks_on_two_slots)
{
    cr_expect(eq(int, run(&adders, &(const struct adders){.tasks = 40}), 0));
}

/* Two kernels that only a stop ends, on two slots; then the same slots work
 * on. Both must run at once: each is cancelled when both have begun.
 */
struct counters {
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
    bool running[2];
    bool ended[2];
    int codes[2];
    uint64_t counted[2];
};

static bool
both(const bool *flags)
{
    return flags[0] && flags[1];
}

BELAY_ASYNC(counters)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = DEVICES), &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (int i = 0; i < 2; i++) {
                BELAY_CHECK(belay_spawn(self->group, gpu_count,
                    .pool = self->pool, .rounds = UINT64_MAX,
                    .running = &self->running[i], .ended = &self->ended[i],
                    .code = &self->codes[i], .counted = &self->counted[i]));
            }
            while (!both(self->running)) {
                BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
            }
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(20)));
            belay_group_cancel(self->group, "enough");
        }
        trace("%s %s", belay_code_name(self->codes[0]),
            belay_code_name(self->codes[1]));
        BELAY_AWAIT(BELAY_CALL(gpu_add, .pool = self->pool));
        trace("and goes on");
    }
    BELAY_END;
}

Test(gpu_pool_opencl, g15_a_cancel_stops_what_runs_on_each_slot)
{
    cr_expect(
        eq(int, run(&counters, &(const struct counters){.pool = NULL}), 0));
    expect_trace("ECANCELED ECANCELED; and goes on");
}

/* ---- kernels that are wrong ---- */

static const struct belay_gpu_source broken = {
    .size = sizeof(struct belay_gpu_source),
    .entry = "k",
    .opencl = {"__kernel void k(int a) { return b; }", 36},
};

struct builder {
    /* locals */
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
};

BELAY_ASYNC(builder)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = DEVICES), &self->pool)) {
        BELAY_WITH (
            belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
            BELAY_AWAIT(
                belay_gpu_build(task, self->lease, &broken, &self->kernel));
        }
    }
    BELAY_END;
}

Test(gpu_pool_opencl, a_text_that_does_not_compile_is_told_with_the_log)
{
    struct belay_result result;

    cr_expect(eq(int,
        program_run_plain(
            &builder, &(const struct builder){.pool = NULL}, &result),
        BELAY_GPU_EOP));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(ne(ptr, strstr(belay_error_message(result.error), "'b'"), NULL),
        "%s", belay_error_message(result.error));
    belay_error_unref(result.error);
}

#ifdef FAKE_OPENCL
/* ---- G29: a lost slot comes back ---- */

struct loser {
    uint32_t losses;
    /* locals */
    belay_gpu_pool *pool;
    uint32_t i;
};

BELAY_ASYNC(loser)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "opencl:type=cpu"), &self->pool)) {
        for (self->i = 0; self->i < self->losses; self->i++) {
            failing_opencl("clEnqueueNDRangeKernel:1:-36");
            BELAY_TRY(BELAY_CALL(gpu_add, .pool = self->pool));
            trace("%s", trace_result(belay_result(task)));
            /* Waits until a new context has passed its checks. */
            BELAY_TRY(BELAY_CALL(gpu_add, .pool = self->pool));
            trace("%s", trace_result(belay_result(task)));
        }
    }
    BELAY_END;
}

Test(gpu_pool_opencl, g29_a_lost_slot_is_reset_and_goes_on)
{
    setenv("BELAY_OPENCL_LIBRARY", FAKE_OPENCL, 1);
    cr_expect(eq(int, run(&loser, &(const struct loser){.losses = 2}), 0));
    expect_trace("GPU_ELOST; ok; GPU_ELOST; ok");
}
#endif

/* ---- lists ---- */

struct looker {
    /* locals */
    struct belay_gpu_device device;
    uint32_t count;
};

BELAY_ASYNC(looker)
{
    BELAY_BEGIN;
    self->device.size = sizeof(self->device);
    BELAY_AWAIT(belay_gpu_list(
        task, "opencl:type=cpu", &self->device, 1, &self->count, NULL, 0));
    trace("%s %s", self->device.backend, self->count > 0 ? "is there" : "");
    cr_expect(gt(u64, self->device.bytes, 0));
    BELAY_END;
}

Test(gpu_pool_opencl, g45_a_list_is_made_by_another_process)
{
    cr_expect(eq(int, RUN(looker, .count = 0), 0));
    expect_trace("opencl is there");
}
