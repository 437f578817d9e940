/* test_gpu_cuda_faults.c - the CUDA driver when something fails: what each
 * code means (G28), and that nothing is left behind.
 */
#define _GNU_SOURCE /* gettid() */
#include "gpu/cuda.h"
#include "gpu/kernels.h"
#include "test/support/alloc.h"
#include "test/support/fake_cuda.h"
#include "test/support/gpu_slot.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(gpu_cuda_faults, .fini = fake_cuda_fini, .timeout = 30);

struct bench {
    struct gpu_slot slot;
    struct belay_gpu_kernel kernel;
    struct belay__gpu_buffer done;
    uint64_t rounds;
};

static void
open_bench(struct bench *bench, const char *script)
{
    memset(bench, 0, sizeof(*bench));
    fake_cuda_use(script);
    gpu_slot_open(&bench->slot, &belay__gpu_cuda, "", 0, 0);
    cr_assert(eq(int,
        gpu_slot_build(&bench->slot, &belay__gpu_spin, &bench->kernel), 0));
    cr_assert(eq(int, gpu_slot_alloc(&bench->slot, 8, &bench->done), 0));
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
close_bench(struct bench *bench)
{
    (void)gpu_slot_release(&bench->slot, &bench->done);
    gpu_slot_close(&bench->slot);
    belay__gpu_cuda.unload(bench->slot.object);
}

/* ---- G28: what a code means ---- */

static const struct {
    CUresult code;
    int status;
} classes[] = {
    {1, BELAY_GPU_EOP},
    {701, BELAY_GPU_EOP},
    {720, BELAY_GPU_EOP},
    {2, BELAY_GPU_ENOMEM},
    {200, BELAY_GPU_EOP},
    {209, BELAY_GPU_EOP},
    {218, BELAY_GPU_EOP},
    {222, BELAY_GPU_EOP},
    {214, BELAY_GPU_ELOST},
    {220, BELAY_GPU_ELOST},
    {226, BELAY_GPU_ELOST},
    {700, BELAY_GPU_ELOST},
    {702, BELAY_GPU_ELOST},
    {710, BELAY_GPU_ELOST},
    {714, BELAY_GPU_ELOST},
    {715, BELAY_GPU_ELOST},
    {716, BELAY_GPU_ELOST},
    {717, BELAY_GPU_ELOST},
    {718, BELAY_GPU_ELOST},
    {719, BELAY_GPU_ELOST},
    {721, BELAY_GPU_ELOST},
    {805, BELAY_GPU_ELOST},
    {806, BELAY_GPU_ELOST},
    {807, BELAY_GPU_ELOST},
    {808, BELAY_GPU_ELOST},
    {809, BELAY_GPU_ELOST},
    {810, BELAY_GPU_ELOST},
    {911, BELAY_GPU_ELOST},
    {999, BELAY_GPU_ELOST},
    /* Unknown, and the stream is well. */
    {400, BELAY_GPU_EOP},
    {12345, BELAY_GPU_EOP},
};
enum { CLASSES = sizeof(classes) / sizeof(classes[0]) };

Test(gpu_cuda_faults, g28_a_launch_that_is_refused)
{
    struct bench bench;
    char script[64];

    open_bench(&bench, "");
    for (size_t i = 0; i < CLASSES; i++) {
        (void)snprintf(script, sizeof(script), "call=cuLaunchKernel:1:%u",
            classes[i].code);
        fake_cuda_script(script);
        cr_expect(
            eq(int, run(&bench), classes[i].status), "%u", classes[i].code);
        cr_expect(eq(int, bench.slot.op.native, (int)classes[i].code));
        cr_expect(
            ne(ptr, strstr(bench.slot.op.note, "cuLaunchKernel: "), NULL));
        /* The fake's fault was of the call only: the next one is well. */
        cr_expect(eq(int, run(&bench), 0), "%s", bench.slot.op.note);
        cr_expect(eq(u64, bench.rounds, 10));
    }
    close_bench(&bench);
}

Test(gpu_cuda_faults, g28_an_end_that_reports_a_failure)
{
    struct bench bench;
    char script[64];

    open_bench(&bench, "");
    for (size_t i = 0; i < CLASSES; i++) {
        (void)snprintf(script, sizeof(script), "call=cuEventSynchronize:1:%u",
            classes[i].code);
        fake_cuda_script(script);
        cr_expect(
            eq(int, run(&bench), classes[i].status), "%u", classes[i].code);
        cr_expect(eq(int, bench.slot.op.native, (int)classes[i].code));
        if (classes[i].status != BELAY_GPU_ELOST) {
            /* The device has let go of the memory all the same. */
            cr_expect(eq(u64, bench.rounds, 10), "%u", classes[i].code);
        }
        cr_expect(eq(int, run(&bench), 0), "%s", bench.slot.op.note);
    }
    close_bench(&bench);
}

Test(gpu_cuda_faults, g28_an_unknown_code_that_comes_again_is_the_devices)
{
    struct bench bench;

    open_bench(&bench, "");
    fake_cuda_script("call=cuLaunchKernel:1:12345 call=cuStreamQuery:1:12345");
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    cr_expect(eq(int, bench.slot.op.native, 12345));
    close_bench(&bench);
}

/* A real fault: of the kernel, seen at its end, and at every call after. */
Test(gpu_cuda_faults, g28_a_fault_stays)
{
    struct belay_gpu_kernel kernel;
    struct belay__gpu_buffer buffer;
    struct bench bench;

    open_bench(&bench, "fault=2:700");
    cr_expect(eq(int, run(&bench), 0), "%s", bench.slot.op.note);
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    cr_expect(eq(int, bench.slot.op.native, 700));
    cr_expect(
        ne(ptr,
            strstr(bench.slot.op.note, ": CUDA_ERROR_ILLEGAL_ADDRESS (700): "),
            NULL),
        "%s", bench.slot.op.note);
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    cr_expect(
        eq(int, gpu_slot_alloc(&bench.slot, 8, &buffer), BELAY_GPU_ELOST));
    cr_expect(eq(int, gpu_slot_build(&bench.slot, &belay__gpu_saxpy, &kernel),
        BELAY_GPU_ELOST));
    cr_expect(eq(int, gpu_slot_health(&bench.slot), BELAY_GPU_ELOST));
    close_bench(&bench);
}

static void *
slot_beside(void *arg)
{
    struct bench *bench = arg;
    struct gpu_slot beside;

    gpu_slot_open_beside(&beside, &bench->slot, 0, 1);
    fake_cuda_open();
    while (gpu_slot_health(&beside) == 0) {
        sched_yield();
    }
    cr_expect(eq(int, beside.op.native, 719));
    gpu_slot_close(&beside);
    return NULL;
}

Test(gpu_cuda_faults, g28_a_fault_is_one_of_all_slots_of_the_device)
{
    struct bench bench;
    pthread_t thread;

    open_bench(&bench, "hang=1 fault=1:719");
    cr_assert(eq(int, pthread_create(&thread, NULL, slot_beside, &bench), 0));
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    pthread_join(thread, NULL);
    close_bench(&bench);
}

/* Its kernel hangs when the device breaks under another slot. */
static void *
hang_beside(void *arg)
{
    struct bench *bench = arg;
    struct bench beside = {.rounds = 0};

    gpu_slot_open_beside(&beside.slot, &bench->slot, 0, 1);
    cr_expect(eq(int,
        gpu_slot_build(&beside.slot, &belay__gpu_spin, &beside.kernel), 0));
    cr_expect(eq(int, gpu_slot_alloc(&beside.slot, 8, &beside.done), 0));
    cr_expect(eq(int, run(&beside), BELAY_GPU_ELOST));
    cr_expect(eq(i64, fake_cuda_value("running"), 1), "and nobody can tell");
    cr_expect(eq(int, gpu_slot_release(&beside.slot, &beside.done), 0));
    cr_expect(eq(i64, fake_cuda_value("marks"), 0), "freed under the kernel");
    gpu_slot_close(&beside.slot);
    cr_expect(eq(i64, fake_cuda_value("running"), 1));
    cr_expect(eq(i64, fake_cuda_value("marks"), 0));
    return NULL;
}

/* The driver tells every slot of the fault at once, and says no word of what
 * still runs. So what a kernel may use is not freed, but left in the context,
 * and goes when the last slot lets go of that.
 */
Test(gpu_cuda_faults, g12_what_a_lost_device_may_still_use_is_not_freed)
{
    struct bench bench;
    pthread_t thread;

    open_bench(&bench, "hang=1 fault=2:700");
    cr_assert(eq(int, pthread_create(&thread, NULL, hang_beside, &bench), 0));
    while (fake_cuda_value("running") == 0) {
        sched_yield();
    }
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    pthread_join(thread, NULL);
    cr_expect(gt(i64, fake_cuda_value("device_bytes"), 0));
    close_bench(&bench); /* and nothing is left, says fake_cuda_fini() */
}

/* ---- G29 ---- */

Test(gpu_cuda_faults, g29_a_lost_device_is_not_reset)
{
    struct bench bench;

    open_bench(&bench, "fault=1:700 reset=1");
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    cr_expect(eq(int, gpu_slot_reset(&bench.slot), BELAY_GPU_ENOTSUP));
    cr_expect(eq(int, fake_cuda_value("cuDevicePrimaryCtxReset_v2"), 0));
    close_bench(&bench);
}

Test(gpu_cuda_faults, g29_the_health_check_looks_at_the_answer)
{
    struct bench bench;

    open_bench(&bench, "");
    for (int i = 0; i < 300; i++) {
        cr_expect(eq(int, gpu_slot_health(&bench.slot), 0));
    }
    cr_expect(eq(int, fake_cuda_value("cuMemsetD8Async"), 300));
    close_bench(&bench);
}

/* ---- memory ---- */

Test(gpu_cuda_faults, g20_no_memory_is_told_from_other_failures)
{
    struct belay__gpu_buffer buffer;
    struct bench bench;

    open_bench(&bench, "mem=64M");
    cr_expect(eq(
        int, gpu_slot_alloc(&bench.slot, 64 << 20, &buffer), BELAY_GPU_ENOMEM));
    cr_expect(eq(int, bench.slot.op.native, 2));
    cr_expect(eq(ptr, buffer.native, NULL));
    cr_assert(eq(int, gpu_slot_alloc(&bench.slot, 32 << 20, &buffer), 0));
    cr_expect(eq(int, gpu_slot_release(&bench.slot, &buffer), 0));
    cr_expect(eq(ptr, buffer.native, NULL));
    cr_expect(eq(int, gpu_slot_release(&bench.slot, &buffer), 0), "twice");
    close_bench(&bench);
}

/* ---- a batch that fails half-way ---- */

Test(gpu_cuda_faults, g11_nothing_of_a_refused_batch_still_runs)
{
    struct bench bench;
    uint64_t value = 42;
    uint64_t got = 0;
    struct belay__gpu_cmd cmds[3];

    open_bench(&bench, "latency_us=2000");
    {
        const struct belay__gpu_arg args[] = {
            GPU_STOP, GPU_SEQUENCE, GPU_U64(10), GPU_BUFFER(&bench.done)};

        cmds[0] = gpu_launch(&bench.kernel, 1, 1, args, 4);
        cmds[1] = gpu_read(&bench.done, &got, sizeof(got));
        cmds[2] = gpu_write(&bench.done, &value, sizeof(value));
        fake_cuda_script("call=cuMemcpyHtoDAsync_v2:1:1");
        cr_expect(eq(int, gpu_slot_run(&bench.slot, cmds, 3), BELAY_GPU_EOP));
    }
    cr_expect(eq(int, fake_cuda_value("kernels"), 1));
    cr_expect(eq(u64, got, 10), "the read was still under way");
    close_bench(&bench);
}

Test(gpu_cuda_faults, a_fault_during_that_is_the_devices)
{
    struct bench bench;

    open_bench(&bench, "fault=1:716 latency_us=2000");
    fake_cuda_script("call=cuMemcpyDtoHAsync_v2:1:1");
    cr_expect(eq(int, run(&bench), BELAY_GPU_ELOST));
    cr_expect(eq(int, bench.slot.op.native, 716));
    close_bench(&bench);
}

/* ---- kernels ---- */

static const struct belay_gpu_source broken = {
    .entry = "k", .ptx = {"nonsense", 8}};
static const struct belay_gpu_source nameless = {
    .entry = "k", .ptx = {".version 6.0 .target sm_50", 26}};

Test(gpu_cuda_faults, a_text_that_does_not_assemble_has_a_log)
{
    struct belay_gpu_kernel kernel;
    struct bench bench;

    open_bench(&bench, "");
    cr_expect(
        eq(int, gpu_slot_build(&bench.slot, &broken, &kernel), BELAY_GPU_EOP));
    cr_expect(eq(int, bench.slot.op.native, CUDA_ERROR_INVALID_PTX));
    cr_assert(ne(ptr, bench.slot.op.log, NULL));
    cr_expect(ne(ptr, strstr(bench.slot.op.log, ".version"), NULL));
    cr_expect(eq(
        int, gpu_slot_build(&bench.slot, &nameless, &kernel), BELAY_GPU_EOP));
    cr_expect(eq(int, bench.slot.op.native, CUDA_ERROR_NOT_FOUND));
    cr_expect(eq(ptr, bench.slot.op.log, NULL));
    cr_expect(eq(int, run(&bench), 0));
    close_bench(&bench);
}

Test(gpu_cuda_faults, g43_wrong_arguments_never_reach_the_driver)
{
    struct bench bench;
    int64_t before;

    open_bench(&bench, "");
    before = fake_cuda_value("cuLaunchKernel");
    {
        const struct belay__gpu_arg args[] = {
            GPU_STOP, GPU_SEQUENCE, GPU_U32(10), GPU_BUFFER(&bench.done)};
        struct belay__gpu_cmd cmd = gpu_launch(&bench.kernel, 1, 1, args, 4);

        cr_expect(eq(int, gpu_slot_run(&bench.slot, &cmd, 1), BELAY_GPU_EOP));
        cr_expect(eq(str, bench.slot.op.note,
            "argument 2 of the kernel has 8 bytes, not 4"));
        cmd.u.launch.arg_count = 3;
        cr_expect(eq(int, gpu_slot_run(&bench.slot, &cmd, 1), BELAY_GPU_EOP));
        cr_expect(
            eq(str, bench.slot.op.note, "the kernel takes 4 arguments, not 3"));
    }
    cr_expect(eq(int, fake_cuda_value("cuLaunchKernel"), before));
    close_bench(&bench);
}

/* ---- every call that opening makes fails in turn ---- */

Test(gpu_cuda_faults, opening_undoes_its_first_half)
{
    static const char *const calls[] = {"cuDeviceGet",
        "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent",
        "cuCtxGetStreamPriorityRange", "cuStreamCreateWithPriority",
        "cuEventCreate", "cuMemHostAlloc", "cuMemHostGetDevicePointer_v2",
        "cuDeviceGetAttribute", "cuMemAllocAsync", "cuStreamSynchronize",
        "cuMemGetInfo_v2"};
    const struct belay__gpu_place place = {0};
    char why[BELAY__GPU_NOTE];
    void *object;

    fake_cuda_use("");
    cr_assert(eq(int, belay__gpu_cuda.load("", &object, why), 0));
    for (size_t i = 0; i < 2 * sizeof(calls) / sizeof(calls[0]); i++) {
        uint64_t free_bytes = 1;
        void *state = NULL;
        char script[64];
        char expected[64];

        (void)snprintf(script, sizeof(script), "call=%s:1:%d", calls[i / 2],
            i % 2 == 0 ? 2 : 999);
        (void)snprintf(expected, sizeof(expected),
            "%.*s: ", (int)strcspn(calls[i / 2], "_"), calls[i / 2]);
        fake_cuda_script(script);
        cr_expect(eq(int,
            belay__gpu_cuda.slot_open(object, &place, &state, &free_bytes, why),
            i % 2 == 0 ? BELAY_GPU_ENOMEM : BELAY_GPU_ELOST));
        cr_expect(eq(ptr, state, NULL));
        cr_expect(eq(u64, free_bytes, 1));
        cr_expect(
            eq(int, strncmp(why, expected, strlen(expected)), 0), "%s", why);
        fake_cuda_check_clean();
    }
    belay__gpu_cuda.unload(object);
}

Test(gpu_cuda_faults, g21_closing_frees_what_was_not_released)
{
    struct belay__gpu_buffer buffers[3];
    struct bench bench;

    open_bench(&bench, "");
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, gpu_slot_alloc(&bench.slot, 64, &buffers[i]), 0));
    }
    cr_expect(eq(int, gpu_slot_release(&bench.slot, &buffers[1]), 0));
    gpu_slot_close(&bench.slot);
    cr_expect(eq(int, fake_cuda_value("device_bytes"), 0));
    belay__gpu_cuda.unload(bench.slot.object);
}

/* ---- G31: a slot that is left behind ---- */

Test(gpu_cuda_faults, g31_an_abandoned_slot_calls_no_driver)
{
    struct bench bench;
    int64_t before;

    open_bench(&bench, "");
    before = fake_cuda_calls_by(gettid());
    belay__gpu_cuda.slot_close(bench.slot.state, true);
    cr_expect(eq(i64, fake_cuda_calls_by(gettid()), before));
    belay__gpu_cuda.unload(bench.slot.object);
    _Exit(0); /* what is left on the device is meant to be */
}

/* ---- memory that cannot be given back ---- */

Test(gpu_cuda_faults, g21_what_is_refused_back_is_given_back_at_the_end)
{
    struct bench bench;

    open_bench(&bench, "");
    fake_cuda_script("call=cuMemFreeAsync:1:2");
    cr_expect(
        eq(int, gpu_slot_release(&bench.slot, &bench.done), BELAY_GPU_ENOMEM));
    cr_expect(gt(i64, fake_cuda_value("device_bytes"), 256));
    close_bench(&bench); /* and nothing is left, says fake_cuda_fini() */
}

Test(gpu_cuda_faults, g21_a_wait_that_fails_gives_nothing_back_twice)
{
    struct bench bench;

    open_bench(&bench, "");
    fake_cuda_script("call=cuStreamSynchronize:1:2");
    cr_expect(
        eq(int, gpu_slot_release(&bench.slot, &bench.done), BELAY_GPU_ENOMEM));
    close_bench(&bench);
    cr_expect(eq(i64, fake_cuda_value("marks"), 0));
}
