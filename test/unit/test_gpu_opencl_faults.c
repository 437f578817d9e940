/* test_gpu_opencl_faults.c - the OpenCL driver when something fails: a real
 * device (PoCL), behind a library that fails as it is told. What each code
 * means (G28), and that a slot is usable again (G29).
 */
#include "gpu/kernels.h"
#include "gpu/opencl.h"
#include "test/fake/libopencl/control.h"
#include "test/support/alloc.h"
#include "test/support/gpu_slot.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(gpu_opencl_faults, .fini = check_clean, .timeout = 100);

static char why[BELAY__GPU_NOTE];

/* The same copy that the driver loads. */
static void
script(const char *words)
{
    void *library = dlopen(FAKE_OPENCL, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    void *symbol =
        library != NULL ? dlsym(library, "fake_opencl_script") : NULL;
    fake_opencl_script_fn *function;

    cr_assert(ne(ptr, symbol, NULL));
    memcpy(&function, &symbol, sizeof(symbol));
    function(words);
}

struct bench {
    struct gpu_slot slot;
    struct belay_gpu_kernel kernel;
    struct belay__gpu_buffer done;
    uint64_t rounds;
};

static void
equip(struct bench *bench)
{
    cr_assert(eq(int,
        gpu_slot_build(&bench->slot, &belay__gpu_spin, &bench->kernel), 0));
    cr_assert(eq(int, gpu_slot_alloc(&bench->slot, 8, &bench->done), 0));
}

static void
open_bench(struct bench *bench)
{
    memset(bench, 0, sizeof(*bench));
    setenv("BELAY_OPENCL_LIBRARY", FAKE_OPENCL, 1);
    gpu_slot_open(&bench->slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    equip(bench);
}

static int
run(struct bench *bench)
{
    const struct belay__gpu_arg args[] = {
        GPU_STOP, GPU_SEQUENCE, GPU_U64(10), GPU_BUFFER(&bench->done)};
    const struct belay__gpu_cmd cmds[] = {
        gpu_launch(&bench->kernel, 1, 1, args, 4),
        gpu_read(&bench->done, &bench->rounds, sizeof(bench->rounds)),
    };

    bench->rounds = 0;
    return gpu_slot_run(&bench->slot, cmds, 2);
}

static void
expect_well(struct bench *bench)
{
    cr_expect(eq(int, run(bench), 0), "%s", bench->slot.op.note);
    cr_expect(eq(u64, bench->rounds, 10));
}

static void
close_bench(struct bench *bench)
{
    (void)gpu_slot_release(&bench->slot, &bench->done);
    gpu_slot_close(&bench->slot);
    belay__gpu_opencl.unload(bench->slot.object);
}

Test(gpu_opencl_faults, g28_what_a_code_means)
{
    static const struct {
        int code;
        int status;
    } classes[] = {
        {-2, BELAY_GPU_ELOST},
        {-4, BELAY_GPU_ENOMEM},
        {-5, BELAY_GPU_EOP},
        {-6, BELAY_GPU_ENOMEM},
        {-30, BELAY_GPU_EOP},
        {-33, BELAY_GPU_ELOST},
        {-34, BELAY_GPU_ELOST},
        {-36, BELAY_GPU_ELOST},
        {-54, BELAY_GPU_EOP},
        {-61, BELAY_GPU_ENOMEM},
        {-9999, BELAY_GPU_EOP},
    };
    struct bench bench;
    char words[64];

    open_bench(&bench);
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        (void)snprintf(words, sizeof(words), "clEnqueueNDRangeKernel:1:%d",
            classes[i].code);
        script(words);
        cr_expect(
            eq(int, run(&bench), classes[i].status), "%d", classes[i].code);
        cr_expect(eq(int, bench.slot.op.native, classes[i].code));
        expect_well(&bench);
        (void)snprintf(
            words, sizeof(words), "clWaitForEvents:1:%d", classes[i].code);
        script(words);
        cr_expect(
            eq(int, run(&bench), classes[i].status), "%d", classes[i].code);
        /* The device has let go of the memory all the same (G11). */
        cr_expect(eq(u64, bench.rounds, 10), "%d", classes[i].code);
        expect_well(&bench);
    }
    close_bench(&bench);
}

/* As a device tells it: by the event of the command, with those behind it
 * failing as well, and clWaitForEvents() saying only that one has failed.
 */
Test(gpu_opencl_faults, g28_the_event_that_failed_first_is_named)
{
    struct bench bench;

    open_bench(&bench);
    for (int i = 0; i < 3; i++) {
        script("event:1:-5");
        cr_expect(eq(int, run(&bench), BELAY_GPU_EOP));
        cr_expect(lt(int, bench.slot.op.native, 0));
        cr_expect(
            eq(int, strncmp(bench.slot.op.note, "command 0 of 2: ", 16), 0),
            "%s", bench.slot.op.note);
        expect_well(&bench);
    }
    close_bench(&bench);
}

Test(gpu_opencl_faults, g11_a_batch_that_fails_half_way_runs_no_more)
{
    struct bench bench;

    open_bench(&bench);
    script("clEnqueueReadBuffer:1:-5");
    cr_expect(eq(int, run(&bench), BELAY_GPU_EOP));
    cr_expect(eq(str, bench.slot.op.note,
        "clEnqueueReadBuffer: CL_OUT_OF_RESOURCES (-5)"));
    expect_well(&bench);
    script("clFlush:1:-36");
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    script("clFlush:1:-5 clFinish:1:-5");
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST), "it may still run");
    close_bench(&bench);
}

/* The kernel before the refused command runs, and has to be waited for, also
 * where the refusal says that the device is lost: here clFinish() is asked,
 * and uses up its own failure.
 */
Test(gpu_opencl_faults, g11_a_refusal_is_waited_for_on_a_lost_device_too)
{
    struct belay__gpu_buffer buffer;
    struct bench bench;

    open_bench(&bench);
    script("clEnqueueReadBuffer:1:-36 clFinish:1:-5");
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    cr_expect(eq(int, bench.slot.op.native, -36), "the first is the reason");
    cr_expect(eq(int, gpu_slot_alloc(&bench.slot, 64, &buffer), 0), "%s",
        bench.slot.op.note);
    cr_expect(eq(int, gpu_slot_release(&bench.slot, &buffer), 0));
    close_bench(&bench);
}

/* PoCL's thread may hold an event, and by it the queue, for a moment more. */
Test(gpu_opencl_faults, g11_a_queue_is_released_when_nobody_else_holds_it)
{
    struct bench bench;

    open_bench(&bench);
    cr_expect(eq(int, run(&bench), 0));
    script("held:1:1 held:2:1 held:3:1");
    close_bench(&bench);
}

Test(gpu_opencl_faults, g28_health_that_fails_twice_is_a_lost_context)
{
    struct bench bench;

    open_bench(&bench);
    script("clFinish:1:-5");
    cr_expect(
        eq(int, gpu_slot_health(&bench.slot), 0), "%s", bench.slot.op.note);
    cr_expect(eq(int, bench.slot.op.note[0], 0));
    script("clFinish:1:-5 clFinish:2:-5");
    cr_expect(eq(int, gpu_slot_health(&bench.slot), BELAY_GPU_ELOST));
    cr_expect(eq(int, bench.slot.op.native, -5));
    script("clEnqueueReadBuffer:1:-5 clEnqueueReadBuffer:2:-36");
    cr_expect(eq(int, gpu_slot_health(&bench.slot), BELAY_GPU_ELOST));
    cr_expect(eq(int, gpu_slot_health(&bench.slot), 0));
    close_bench(&bench);
}

Test(gpu_opencl_faults, g29_a_reset_may_fail_and_be_tried_again)
{
    static const char *const failures[] = {"clCreateContext:1:-6",
        "clCreateCommandQueue:1:-6", "clCreateBuffer:1:-4",
        "clCreateBuffer:2:-4"};
    struct bench bench;

    open_bench(&bench);
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        cr_expect(eq(int, gpu_slot_release(&bench.slot, &bench.done), 0));
        script(failures[i]);
        cr_expect(eq(int, gpu_slot_reset(&bench.slot), BELAY_GPU_ELOST), "%s",
            failures[i]);
        cr_expect(eq(int, gpu_slot_health(&bench.slot), BELAY_GPU_ELOST));
        cr_expect(
            eq(int, gpu_slot_reset(&bench.slot), 0), "%s", bench.slot.op.note);
        cr_expect(eq(int, gpu_slot_health(&bench.slot), 0));
        equip(&bench);
        expect_well(&bench);
    }
    close_bench(&bench);
}

Test(gpu_opencl_faults, opening_undoes_its_first_half)
{
    static const struct {
        const char *words;
        int status;
    } failures[] = {{"clCreateContext:1:-5", BELAY_GPU_ELOST},
        {"clCreateContext:1:-6", BELAY_GPU_ENOMEM},
        {"clCreateCommandQueue:1:-6", BELAY_GPU_ENOMEM},
        {"clCreateBuffer:1:-4", BELAY_GPU_ENOMEM},
        {"clCreateBuffer:2:-4", BELAY_GPU_ENOMEM}};
    const struct belay__gpu_place place = {.ordinal = 0};
    struct bench bench;

    open_bench(&bench);
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        uint64_t free_bytes = 1;
        void *state = NULL;

        script(failures[i].words);
        cr_expect(eq(int,
            belay__gpu_opencl.slot_open(
                bench.slot.object, &place, &state, &free_bytes, why),
            failures[i].status));
        cr_expect(eq(ptr, state, NULL));
        cr_expect(eq(u64, free_bytes, 1));
        cr_expect(eq(int, strncmp(why, "clCreate", 8), 0), "%s", why);
    }
    expect_well(&bench);
    close_bench(&bench);
}

Test(gpu_opencl_faults, g20_memory_that_was_only_promised)
{
    struct belay__gpu_buffer buffer;
    struct bench bench;

    open_bench(&bench);
    script("clFinish:1:-4");
    cr_expect(
        eq(int, gpu_slot_alloc(&bench.slot, 64, &buffer), BELAY_GPU_ENOMEM));
    cr_expect(eq(ptr, buffer.native, NULL));
    script("clCreateBuffer:1:-61");
    cr_expect(
        eq(int, gpu_slot_alloc(&bench.slot, 64, &buffer), BELAY_GPU_ENOMEM));
    expect_well(&bench);
    close_bench(&bench);
}
