/* test_gpu_opencl.c - the OpenCL driver on a real device (PoCL). */
#include "gpu/kernels.h"
#include "gpu/opencl.h"
#include "test/support/alloc.h"
#include "test/support/gpu_slot.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(gpu_opencl, .fini = check_clean, .timeout = 100);

static char why[BELAY__GPU_NOTE];

static int
load(const char *settings, void **ret)
{
    memset(why, 0, sizeof(why));
    return belay__gpu_opencl.load(settings, ret, why);
}

/* ---- G44 ---- */

Test(gpu_opencl, g44_no_library)
{
    void *object = NULL;

    setenv("BELAY_OPENCL_LIBRARY", "/nowhere/libOpenCL.so.1", 1);
    cr_expect(eq(int, load("", &object), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "/nowhere/libOpenCL.so.1"), NULL), "%s", why);
    cr_expect(eq(ptr, object, NULL));
}

Test(gpu_opencl, g44_a_loader_without_drivers)
{
    void *object = NULL;

    setenv("OCL_ICD_VENDORS", "/nowhere/", 1);
    cr_expect(eq(int, load("", &object), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "no driver (-1001)"), NULL), "%s", why);
}

/* The machine of the tests has a CPU only; nothing else is promised here. */
Test(gpu_opencl, g44_a_type_that_is_not_there)
{
    struct belay__gpu_devinfo info;
    void *object = NULL;
    int count;

    cr_assert(eq(int, load("type=gpu", &object), 0), "%s", why);
    count = belay__gpu_opencl.enumerate(object, &info, 1, why);
    if (count < 0) {
        cr_expect(eq(int, count, BELAY_ENOSYS));
        cr_expect(eq(str, why, "no device of the type gpu"));
    }
    belay__gpu_opencl.unload(object);
}

Test(gpu_opencl, settings_are_checked)
{
    static const char *const wrong[] = {"type", "type=", "type=gpus", "parts=0",
        "parts=65", "parts=", "parts=2x", "part=2", "type=cpu,,parts=2",
        "parts=99999999999999999999", "=", ","};
    void *object = NULL;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_expect(
            eq(int, load(wrong[i], &object), BELAY_EINVAL), "%s", wrong[i]);
        cr_expect(ne(ptr, strstr(why, "is none of type=gpu"), NULL), "%s", why);
    }
    cr_expect(eq(ptr, object, NULL));
}

/* ---- G45 ---- */

/* Where PoCL finds no folder for its cache it ends the process. */
Test(gpu_opencl, g45_without_a_home_there_is_a_cache)
{
    struct stat status;
    void *object = NULL;

    unsetenv("HOME");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("POCL_CACHE_DIR");
    cr_assert(eq(int, load("", &object), 0), "%s", why);
    belay__gpu_opencl.unload(object);
    cr_assert(ne(ptr, getenv("POCL_CACHE_DIR"), NULL));
    cr_assert(eq(int, lstat(getenv("POCL_CACHE_DIR"), &status), 0));
    cr_expect(eq(int, status.st_mode & 0777, 0700));
}

Test(gpu_opencl, g45_what_is_said_about_the_cache_is_left_alone)
{
    void *object = NULL;

    unsetenv("HOME");
    setenv("POCL_CACHE_DIR", "/tmp", 1);
    cr_assert(eq(int, load("", &object), 0), "%s", why);
    belay__gpu_opencl.unload(object);
    cr_expect(eq(str, getenv("POCL_CACHE_DIR"), "/tmp"));
}

/* ---- devices ---- */

Test(gpu_opencl, devices_are_described)
{
    struct belay__gpu_devinfo info;
    void *object;

    cr_assert(eq(int, load("type=cpu", &object), 0), "%s", why);
    cr_assert(ge(int, belay__gpu_opencl.enumerate(object, &info, 1, why), 1));
    cr_expect(ne(int, info.name[0], '\0'));
    cr_expect(ne(int, info.uid[0], '\0'));
    cr_expect(gt(u64, info.bytes, 1u << 20));
    cr_expect(gt(u32, info.units, 0));
    cr_expect(eq(u32, info.slots, 0));
    cr_expect(eq(u64, info.free_bytes, UINT64_MAX));
    belay__gpu_opencl.unload(object);
}

/* ---- work ---- */

Test(gpu_opencl, kernels_give_what_the_cpu_gives)
{
    struct gpu_slot slot;

    gpu_slot_open(&slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    gpu_slot_check_kernels(&slot);
    gpu_slot_close(&slot);
    belay__gpu_opencl.unload(slot.object);
}

Test(gpu_opencl, polling_first_gives_the_same)
{
    struct belay__gpu_place place = {.spin_us = 1000000};
    struct gpu_slot slot;

    gpu_slot_open(&slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    gpu_slot_close(&slot);
    cr_assert(eq(int,
        belay__gpu_opencl.slot_open(
            slot.object, &place, &slot.state, &slot.free_bytes, why),
        0));
    gpu_slot_check_kernels(&slot);
    gpu_slot_close(&slot);
    belay__gpu_opencl.unload(slot.object);
}

Test(gpu_opencl, transfers_have_offsets)
{
    struct belay__gpu_buffer buffer;
    struct belay__gpu_cmd cmds[3];
    struct gpu_slot slot;
    char got[8];

    gpu_slot_open(&slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    cr_assert(eq(int, gpu_slot_alloc(&slot, 8, &buffer), 0));
    cmds[0] = gpu_fill(&buffer, '.', 8);
    cmds[1] = gpu_write(&buffer, "ab", 2);
    cmds[1].u.transfer.offset = 3;
    cmds[2] = gpu_read(&buffer, got, 5);
    cmds[2].u.transfer.offset = 2;
    cr_assert(eq(int, gpu_slot_run(&slot, cmds, 3), 0), "%s", slot.op.note);
    cr_expect(eq(int, memcmp(got, ".ab..", 5), 0));
    cr_expect(eq(int, gpu_slot_release(&slot, &buffer), 0));
    cr_expect(eq(int, gpu_slot_release(&slot, &buffer), 0), "twice");
    gpu_slot_close(&slot);
    belay__gpu_opencl.unload(slot.object);
}

/* Two threads, two parts of the CPU, at once. */
static void *
work_on_a_part(void *arg)
{
    struct gpu_slot *slot = arg;

    for (int i = 0; i < 5; i++) {
        cr_expect(eq(int, gpu_slot_health(slot), 0), "%s", slot->op.note);
    }
    return NULL;
}

Test(gpu_opencl, parts_of_a_cpu_are_slots)
{
    struct belay__gpu_devinfo info;
    struct gpu_slot slots[2];
    pthread_t threads[2];

    gpu_slot_open(&slots[0], &belay__gpu_opencl, "type=cpu,parts=2", 0, 0);
    gpu_slot_open_beside(&slots[1], &slots[0], 0, 1);
    cr_assert(ge(
        int, belay__gpu_opencl.enumerate(slots[0].object, &info, 1, why), 1));
    cr_expect(eq(u32, info.slots, info.units < 2 ? 0 : 2));
    for (int i = 0; i < 2; i++) {
        cr_assert(eq(int,
            pthread_create(&threads[i], NULL, work_on_a_part, &slots[i]), 0));
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    gpu_slot_check_kernels(&slots[1]);
    gpu_slot_check_kernels(&slots[0]);
    gpu_slot_close(&slots[1]);
    gpu_slot_close(&slots[0]);
    belay__gpu_opencl.unload(slots[0].object);
}

/* ---- kernels that are wrong ---- */

static const struct belay_gpu_source broken = {
    .entry = "k", .opencl = {"__kernel void k(int a) { return b; }", 36}};
static const struct belay_gpu_source nameless = {
    .entry = "other", .opencl = {"__kernel void k(int a) { }", 26}};

Test(gpu_opencl, a_text_that_does_not_compile_has_a_log)
{
    struct belay_gpu_kernel kernel;
    struct gpu_slot slot;

    gpu_slot_open(&slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    cr_expect(eq(int, gpu_slot_build(&slot, &broken, &kernel), BELAY_GPU_EOP));
    cr_expect(lt(int, slot.op.native, 0));
    cr_assert(ne(ptr, slot.op.log, NULL));
    cr_expect(ne(ptr, strstr(slot.op.log, "'b'"), NULL), "%s", slot.op.log);
    cr_expect(eq(ptr, kernel.native, NULL));
    cr_expect(
        eq(int, gpu_slot_build(&slot, &nameless, &kernel), BELAY_GPU_EOP));
    cr_expect(eq(int, slot.op.native, CL_INVALID_KERNEL_NAME));
    gpu_slot_check_kernels(&slot);
    gpu_slot_close(&slot);
    belay__gpu_opencl.unload(slot.object);
}

Test(gpu_opencl, g43_wrong_arguments_are_told)
{
    struct belay_gpu_kernel kernel;
    struct belay__gpu_buffer done;
    struct gpu_slot slot;

    gpu_slot_open(&slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    cr_assert(eq(int, gpu_slot_build(&slot, &belay__gpu_spin, &kernel), 0));
    cr_assert(eq(int, gpu_slot_alloc(&slot, 8, &done), 0));
    {
        struct belay__gpu_arg args[] = {
            GPU_STOP, GPU_SEQUENCE, GPU_U32(10), GPU_BUFFER(&done)};
        struct belay__gpu_cmd cmd = gpu_launch(&kernel, 1, 1, args, 4);

        cr_expect(eq(int, gpu_slot_run(&slot, &cmd, 1), BELAY_GPU_EOP));
        cr_expect(eq(str, slot.op.note,
            "argument 2 of the kernel: CL_INVALID_ARG_SIZE (-51)"));
        cmd.u.launch.arg_count = 3;
        cr_expect(eq(int, gpu_slot_run(&slot, &cmd, 1), BELAY_GPU_EOP));
        cr_expect(eq(str, slot.op.note, "the kernel takes 4 arguments, not 3"));
        args[2].bytes = 8;
        cmd.u.launch.arg_count = 4;
        cmd.u.launch.shared_bytes = 1;
        cr_expect(eq(int, gpu_slot_run(&slot, &cmd, 1), BELAY_GPU_EOP));
        cmd.u.launch.shared_bytes = 0;
        cmd.u.launch.block[0] = 1u << 30;
        cr_expect(eq(int, gpu_slot_run(&slot, &cmd, 1), BELAY_GPU_EOP));
        cr_expect(
            ne(ptr, strstr(slot.op.note, "clEnqueueNDRangeKernel: "), NULL),
            "%s", slot.op.note);
        cmd.u.launch.block[0] = 1;
        cr_expect(eq(int, gpu_slot_run(&slot, &cmd, 1), 0), "%s", slot.op.note);
    }
    cr_expect(eq(int, gpu_slot_release(&slot, &done), 0));
    gpu_slot_close(&slot);
    belay__gpu_opencl.unload(slot.object);
}

Test(gpu_opencl, g20_more_memory_than_there_is)
{
    struct belay__gpu_buffer buffer;
    struct gpu_slot slot;

    gpu_slot_open(&slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    cr_expect(
        eq(int, gpu_slot_alloc(&slot, 1ull << 50, &buffer), BELAY_GPU_ENOMEM),
        "%s", slot.op.note);
    cr_expect(eq(ptr, buffer.native, NULL));
    gpu_slot_check_kernels(&slot);
    gpu_slot_close(&slot);
    belay__gpu_opencl.unload(slot.object);
}

/* ---- G11, G15: the stop word ---- */

struct spinner {
    struct gpu_slot slot;
    struct belay__gpu_buffer done;
    struct belay_gpu_kernel kernel;
    bool about_to_run; /* atomic */
};

static uint64_t
run_spin(struct spinner *spinner, uint64_t sequence, uint64_t rounds)
{
    const struct belay__gpu_arg args[] = {
        GPU_STOP, GPU_SEQUENCE, GPU_U64(rounds), GPU_BUFFER(&spinner->done)};
    uint64_t done = UINT64_MAX;
    const struct belay__gpu_cmd cmds[] = {
        gpu_launch(&spinner->kernel, 1, 1, args, 4),
        gpu_read(&spinner->done, &done, sizeof(done)),
    };

    spinner->slot.seq = sequence - 1; /* the next op has this one */
    __atomic_store_n(&spinner->about_to_run, true, __ATOMIC_RELEASE);
    cr_assert(eq(int, gpu_slot_run(&spinner->slot, cmds, 2), 0), "%s",
        spinner->slot.op.note);
    return done;
}

static void *
stop_soon(void *arg)
{
    struct spinner *spinner = arg;

    while (!__atomic_load_n(&spinner->about_to_run, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
    belay__gpu_opencl.stop(spinner->slot.state, 3);
    return NULL;
}

/* Without the stop the first would take centuries. */
Test(gpu_opencl, g15_a_stop_ends_what_runs_and_not_what_follows)
{
    struct spinner spinner = {.about_to_run = false};
    pthread_t thread;

    gpu_slot_open(&spinner.slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    cr_assert(eq(int,
        gpu_slot_build(&spinner.slot, &belay__gpu_spin, &spinner.kernel), 0));
    cr_assert(eq(int, gpu_slot_alloc(&spinner.slot, 8, &spinner.done), 0));
    cr_assert(eq(int, pthread_create(&thread, NULL, stop_soon, &spinner), 0));
    cr_expect(lt(u64, run_spin(&spinner, 3, UINT64_MAX), UINT64_MAX));
    pthread_join(thread, NULL);
    cr_expect(eq(u64, run_spin(&spinner, 4, 1000), 1000));
    belay__gpu_opencl.stop(spinner.slot.state, 2);
    cr_expect(eq(u64, run_spin(&spinner, 3, 1000), 0), "a stop was taken back");
    cr_expect(eq(int, gpu_slot_release(&spinner.slot, &spinner.done), 0));
    gpu_slot_close(&spinner.slot);
    belay__gpu_opencl.unload(spinner.slot.object);
}

/* ---- G29 ---- */

Test(gpu_opencl, g29_a_reset_makes_the_slot_as_new)
{
    struct belay__gpu_buffer lost;
    struct belay_gpu_kernel kernel;
    struct gpu_slot slot;

    gpu_slot_open(&slot, &belay__gpu_opencl, "type=cpu", 0, 0);
    cr_assert(eq(int, gpu_slot_alloc(&slot, 8, &lost), 0));
    cr_assert(eq(int, gpu_slot_build(&slot, &belay__gpu_spin, &kernel), 0));
    for (int i = 0; i < 3; i++) {
        cr_expect(eq(int, gpu_slot_reset(&slot), 0), "%s", slot.op.note);
        cr_expect(eq(int, gpu_slot_health(&slot), 0), "%s", slot.op.note);
    }
    /* Its memory has gone; its record may be given back, or left. */
    cr_expect(eq(int, gpu_slot_release(&slot, &lost), 0));
    cr_assert(eq(int, gpu_slot_alloc(&slot, 8, &lost), 0));
    gpu_slot_check_kernels(&slot);
    gpu_slot_close(&slot);
    belay__gpu_opencl.unload(slot.object);
}
