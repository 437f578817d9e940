/* test_gpu_cuda.c - the CUDA driver on the fake library: finding it, its
 * devices, and work that succeeds.
 */
#include "gpu/cuda.h"
#include "gpu/kernels.h"
#include "test/support/alloc.h"
#include "test/support/fake_cuda.h"
#include "test/support/gpu_slot.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(gpu_cuda, .fini = fake_cuda_fini, .timeout = 30);

static char why[BELAY__GPU_NOTE];

/* ---- G44: that it is not there is a reason, not an error ---- */

static int
load(const char *settings)
{
    void *object = NULL;
    int code;

    memset(why, 0, sizeof(why));
    code = belay__gpu_cuda.load(settings, &object, why);
    cr_expect(eq(int, code == 0, object != NULL));
    belay__gpu_cuda.unload(object);
    return code;
}

static void
expect_absent(const char *script, const char *reason)
{
    fake_cuda_use(script);
    cr_expect(eq(int, load(""), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, reason), NULL), "%s", why);
}

Test(gpu_cuda, g44_no_library)
{
    setenv("BELAY_CUDA_LIBRARY", "/nowhere/libcuda.so.1", 1);
    cr_expect(eq(int, load(""), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "/nowhere/libcuda.so.1"), NULL), "%s", why);
}

Test(gpu_cuda, g44_a_file_that_is_no_library)
{
    setenv("BELAY_CUDA_LIBRARY", "/dev/null", 1);
    cr_expect(eq(int, load(""), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "/dev/null"), NULL), "%s", why);
}

Test(gpu_cuda, g44_a_missing_symbol_is_named)
{
    fake_cuda_use_old();
    cr_expect(eq(int, load(""), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "cuEventSynchronize"), NULL), "%s", why);
    cr_expect(eq(int, fake_cuda_value("cuInit"), 0), "used half of a driver");
}

Test(gpu_cuda, g44_a_stub_library)
{
    expect_absent("init=34", "a stub to link with, not a driver (34)");
}

Test(gpu_cuda, g44_a_driver_that_is_too_old)
{
    expect_absent("init=36", "the driver is too old (36)");
}

Test(gpu_cuda, g44_library_and_kernel_module_differ)
{
    expect_absent("init=803", "of different versions (803)");
}

Test(gpu_cuda, g44_a_compatibility_library_on_the_wrong_device)
{
    expect_absent("init=804", "does not work on this device (804)");
}

Test(gpu_cuda, g44_no_device)
{
    expect_absent("init=100", "no device (100)");
}

Test(gpu_cuda, g44_any_other_code_is_told_by_name)
{
    expect_absent("init=999", "cuInit: CUDA_ERROR_UNKNOWN (999)");
}

Test(gpu_cuda, g44_a_code_that_the_driver_does_not_know_itself)
{
    expect_absent("init=12345", "cuInit: unknown code (12345)");
}

Test(gpu_cuda, g44_all_devices_prohibited)
{
    struct belay__gpu_devinfo info;
    void *object;

    fake_cuda_use("devices=2 mode=2");
    cr_assert(eq(int, belay__gpu_cuda.load("", &object, why), 0));
    cr_expect(eq(
        int, belay__gpu_cuda.enumerate(object, &info, 1, why), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "prohibited"), NULL), "%s", why);
    belay__gpu_cuda.unload(object);
}

Test(gpu_cuda, settings_are_refused)
{
    fake_cuda_use("");
    cr_expect(eq(int, load("slots=2"), BELAY_EINVAL));
}

/* ---- devices ---- */

Test(gpu_cuda, devices_are_described_without_a_context)
{
    struct belay__gpu_devinfo info[3];
    void *object;

    fake_cuda_use("devices=3 mem=8G");
    cr_assert(eq(int, belay__gpu_cuda.load("", &object, why), 0), "%s", why);
    cr_assert(eq(int, belay__gpu_cuda.enumerate(object, info, 2, why), 3));
    cr_expect(eq(str, info[1].name, "Fake 1"));
    cr_expect(eq(str, info[1].uid, "GPU-fafafafa-fafa-fafa-fafa-fafafafafa01"));
    cr_expect(eq(u64, info[1].bytes, 8ull << 30));
    cr_expect(eq(u64, info[1].free_bytes, UINT64_MAX));
    cr_expect(eq(u64, info[1].headroom_bytes, 576u << 20));
    cr_expect(eq(u32, info[1].units, 4));
    cr_expect(eq(u32, info[1].ordinal, 1));
    cr_expect(eq(int, fake_cuda_value("cuDevicePrimaryCtxRetain"), 0));
    belay__gpu_cuda.unload(object);
}

Test(gpu_cuda, a_small_device_keeps_most_of_its_memory)
{
    struct belay__gpu_devinfo info;
    void *object;

    fake_cuda_use("mem=1G");
    cr_assert(eq(int, belay__gpu_cuda.load("", &object, why), 0), "%s", why);
    cr_assert(eq(int, belay__gpu_cuda.enumerate(object, &info, 1, why), 1));
    cr_expect(eq(u64, info.headroom_bytes, 128u << 20));
    belay__gpu_cuda.unload(object);
}

/* ---- work ---- */

Test(gpu_cuda, kernels_give_what_the_cpu_gives)
{
    struct gpu_slot slot;

    fake_cuda_use("");
    gpu_slot_open(&slot, &belay__gpu_cuda, "", 0, 0);
    gpu_slot_check_kernels(&slot);
    gpu_slot_close(&slot);
    belay__gpu_cuda.unload(slot.object);
}

Test(gpu_cuda, transfers_have_offsets)
{
    struct belay__gpu_buffer buffer;
    struct belay__gpu_cmd cmds[3];
    struct gpu_slot slot;
    char got[8];

    fake_cuda_use("");
    gpu_slot_open(&slot, &belay__gpu_cuda, "", 0, 0);
    cr_assert(eq(int, gpu_slot_alloc(&slot, 8, &buffer), 0));
    cmds[0] = gpu_fill(&buffer, '.', 8);
    cmds[1] = gpu_write(&buffer, "ab", 2);
    cmds[1].u.transfer.offset = 3;
    cmds[2] = gpu_read(&buffer, got, 5);
    cmds[2].u.transfer.offset = 2;
    cr_assert(eq(int, gpu_slot_run(&slot, cmds, 3), 0));
    cr_expect(eq(int, memcmp(got, ".ab..", 5), 0));
    cr_expect(eq(int, gpu_slot_release(&slot, &buffer), 0));
    gpu_slot_close(&slot);
    belay__gpu_cuda.unload(slot.object);
}

Test(gpu_cuda, polling_first_gives_the_same)
{
    struct gpu_slot slot;
    struct belay__gpu_place place = {.spin_us = 1000000};

    fake_cuda_use("");
    gpu_slot_open(&slot, &belay__gpu_cuda, "", 0, 0);
    gpu_slot_close(&slot);
    cr_assert(eq(int,
        belay__gpu_cuda.slot_open(
            slot.object, &place, &slot.state, &slot.free_bytes, why),
        0));
    gpu_slot_check_kernels(&slot);
    cr_expect(gt(int, fake_cuda_value("cuEventQuery"), 0));
    gpu_slot_close(&slot);
    belay__gpu_cuda.unload(slot.object);
}

Test(gpu_cuda, two_ops_may_be_under_way)
{
    const struct belay__gpu_arg args[] = {
        GPU_STOP, GPU_SEQUENCE, GPU_U64(1), GPU_BUFFER(NULL)};
    struct belay__gpu_buffer buffers[2];
    struct belay__gpu_arg own[2][4];
    struct belay__gpu_cmd cmds[2];
    struct belay__gpu_op ops[2];
    struct belay_gpu_kernel kernel;
    struct gpu_slot slot;

    fake_cuda_use("hang=1");
    gpu_slot_open(&slot, &belay__gpu_cuda, "", 0, 0);
    cr_assert(eq(int, gpu_slot_build(&slot, &belay__gpu_spin, &kernel), 0));
    memset(ops, 0, sizeof(ops));
    for (int i = 0; i < 2; i++) {
        cr_assert(eq(int, gpu_slot_alloc(&slot, 8, &buffers[i]), 0));
        memcpy(own[i], args, sizeof(args));
        own[i][3].buffer = &buffers[i];
        cmds[i] = gpu_launch(&kernel, 1, 1, own[i], 4);
        ops[i].seq = 100u + (uint64_t)i;
        ops[i].u.run.cmds = &cmds[i];
        ops[i].u.run.count = 1;
        cr_assert(eq(int, belay__gpu_cuda.submit(slot.state, &ops[i]), 0));
    }
    cr_expect(eq(int, fake_cuda_value("kernels"), 0));
    fake_cuda_open();
    cr_expect(eq(int, belay__gpu_cuda.wait(slot.state, &ops[0]), 0));
    cr_expect(eq(int, belay__gpu_cuda.wait(slot.state, &ops[1]), 0));
    cr_expect(eq(int, fake_cuda_value("kernels"), 2));
    for (int i = 0; i < 2; i++) {
        cr_expect(eq(int, gpu_slot_release(&slot, &buffers[i]), 0));
    }
    gpu_slot_close(&slot);
    belay__gpu_cuda.unload(slot.object);
}

static void *
memory_beside(void *arg)
{
    struct belay__gpu_buffer buffer;
    struct gpu_slot beside;
    int64_t before;

    gpu_slot_open_beside(&beside, arg, 0, 1);
    cr_expect(eq(int, gpu_slot_alloc(&beside, 1 << 20, &buffer), 0));
    before = fake_cuda_value("device_bytes");
    cr_expect(eq(int, gpu_slot_release(&beside, &buffer), 0));
    cr_expect(
        eq(i64, fake_cuda_value("device_bytes"), before - (1 << 20)), "now");
    cr_expect(eq(i64, fake_cuda_value("running"), 1), "still");
    fake_cuda_open(); /* closing a slot does wait for it */
    gpu_slot_close(&beside);
    return NULL;
}

/* cuMemFree() would wait for the neighbour's kernel, and keep others out. */
Test(gpu_cuda, g12_memory_comes_and_goes_beside_a_neighbours_kernel)
{
    struct belay__gpu_buffer done;
    const struct belay__gpu_arg args[] = {
        GPU_STOP, GPU_SEQUENCE, GPU_U64(1), GPU_BUFFER(&done)};
    struct belay_gpu_kernel kernel;
    struct belay__gpu_cmd cmd;
    struct belay__gpu_op op = {.seq = 100, .u.run = {.cmds = &cmd, .count = 1}};
    struct gpu_slot slot;
    pthread_t thread;

    fake_cuda_use("hang=1");
    gpu_slot_open(&slot, &belay__gpu_cuda, "", 0, 0);
    cr_assert(eq(int, gpu_slot_build(&slot, &belay__gpu_spin, &kernel), 0));
    cr_assert(eq(int, gpu_slot_alloc(&slot, 8, &done), 0));
    cmd = gpu_launch(&kernel, 1, 1, args, 4);
    cr_assert(eq(int, belay__gpu_cuda.submit(slot.state, &op), 0));
    while (fake_cuda_value("running") == 0) {
        sched_yield();
    }
    cr_assert(eq(int, pthread_create(&thread, NULL, memory_beside, &slot), 0));
    pthread_join(thread, NULL);
    cr_expect(eq(int, belay__gpu_cuda.wait(slot.state, &op), 0));
    cr_expect(eq(int, gpu_slot_release(&slot, &done), 0));
    gpu_slot_close(&slot);
    belay__gpu_cuda.unload(slot.object);
}

Test(gpu_cuda, a_device_without_memory_in_the_order_of_streams)
{
    struct gpu_slot slot;

    fake_cuda_use("pools=0");
    gpu_slot_open(&slot, &belay__gpu_cuda, "", 0, 0);
    gpu_slot_check_kernels(&slot);
    cr_expect(eq(i64, fake_cuda_value("cuMemAllocAsync"), 0));
    cr_expect(gt(i64, fake_cuda_value("cuMemFree_v2"), 0));
    cr_expect(eq(i64, fake_cuda_value("streams"), 1));
    gpu_slot_close(&slot);
    belay__gpu_cuda.unload(slot.object);
}

/* Each slot has a thread of its own, on which its context is current. */
static void *
second_slot(void *arg)
{
    struct gpu_slot second;

    gpu_slot_open_beside(&second, arg, 1, 1);
    cr_expect(eq(int, fake_cuda_value("streams"), 4), "memory has its own");
    cr_expect(eq(int, fake_cuda_value("contexts"), 2));
    gpu_slot_check_kernels(&second);
    gpu_slot_close(&second);
    return NULL;
}

Test(gpu_cuda, slots_of_one_device_share_its_context)
{
    struct gpu_slot first;
    pthread_t thread;

    fake_cuda_use("devices=2");
    gpu_slot_open(&first, &belay__gpu_cuda, "", 1, 0);
    cr_assert(eq(int, pthread_create(&thread, NULL, second_slot, &first), 0));
    pthread_join(thread, NULL);
    cr_expect(eq(int, gpu_slot_health(&first), 0), "%s", first.op.note);
    gpu_slot_close(&first);
    belay__gpu_cuda.unload(first.object);
}

Test(gpu_cuda, the_free_memory_is_told_with_the_context_made)
{
    struct gpu_slot slot;

    fake_cuda_use("mem=256M");
    gpu_slot_open(&slot, &belay__gpu_cuda, "", 0, 0);
    cr_expect(lt(u64, slot.free_bytes, 256u << 20));
    cr_expect(gt(u64, slot.free_bytes, 128u << 20));
    gpu_slot_close(&slot);
    belay__gpu_cuda.unload(slot.object);
}

/* ---- G15: a stop is for ops up to a number ---- */

struct spinner {
    struct gpu_slot slot;
    struct belay__gpu_buffer done;
    struct belay_gpu_kernel kernel;
};

static void
open_spinner(struct spinner *spinner)
{
    fake_cuda_use("");
    gpu_slot_open(&spinner->slot, &belay__gpu_cuda, "", 0, 0);
    cr_assert(eq(int,
        gpu_slot_build(&spinner->slot, &belay__gpu_spin, &spinner->kernel), 0));
    cr_assert(eq(int, gpu_slot_alloc(&spinner->slot, 8, &spinner->done), 0));
}

static uint64_t
spin(struct spinner *spinner, uint64_t sequence, uint64_t rounds)
{
    const struct belay__gpu_arg args[] = {
        GPU_STOP, GPU_SEQUENCE, GPU_U64(rounds), GPU_BUFFER(&spinner->done)};
    uint64_t done = UINT64_MAX;
    const struct belay__gpu_cmd cmds[] = {
        gpu_launch(&spinner->kernel, 1, 1, args, 4),
        gpu_read(&spinner->done, &done, sizeof(done)),
    };

    spinner->slot.seq = sequence - 1; /* the next op has this one */
    cr_assert(eq(int, gpu_slot_run(&spinner->slot, cmds, 2), 0), "%s",
        spinner->slot.op.note);
    return done;
}

static void
close_spinner(struct spinner *spinner)
{
    cr_expect(eq(int, gpu_slot_release(&spinner->slot, &spinner->done), 0));
    gpu_slot_close(&spinner->slot);
    belay__gpu_cuda.unload(spinner->slot.object);
}

Test(gpu_cuda, g15_a_stop_does_not_reach_the_next_op)
{
    struct spinner spinner;

    open_spinner(&spinner);
    belay__gpu_cuda.stop(spinner.slot.state, 7);
    cr_expect(eq(u64, spin(&spinner, 7, 1000), 0));
    cr_expect(eq(u64, spin(&spinner, 8, 1000), 1000));
    close_spinner(&spinner);
}

Test(gpu_cuda, g15_a_stop_is_never_taken_back)
{
    struct spinner spinner;

    open_spinner(&spinner);
    belay__gpu_cuda.stop(spinner.slot.state, 7);
    belay__gpu_cuda.stop(spinner.slot.state, 5);
    cr_expect(eq(u64, spin(&spinner, 7, 1000), 0));
    close_spinner(&spinner);
}

static void *
stop_when_it_runs(void *arg)
{
    struct spinner *spinner = arg;

    while (fake_cuda_value("running") == 0) {
        sched_yield();
    }
    belay__gpu_cuda.stop(spinner->slot.state, 3);
    return NULL;
}

/* Without the stop this would take centuries. */
Test(gpu_cuda, g15_a_running_kernel_sees_the_stop)
{
    struct spinner spinner;
    pthread_t thread;

    open_spinner(&spinner);
    cr_assert(
        eq(int, pthread_create(&thread, NULL, stop_when_it_runs, &spinner), 0));
    cr_expect(lt(u64, spin(&spinner, 3, UINT64_MAX), UINT64_MAX));
    pthread_join(thread, NULL);
    close_spinner(&spinner);
}

/* ---- G38 ---- */

Test(gpu_cuda, g38_a_forked_child_is_told_so)
{
    struct gpu_slot slot;
    int status = -1;
    pid_t child;

    fake_cuda_use("");
    gpu_slot_open(&slot, &belay__gpu_cuda, "", 0, 0);
    child = fork();
    cr_assert(ne(int, child, -1));
    if (child == 0) {
        bool refused = gpu_slot_health(&slot) < 0 && load("") == BELAY_ENOSYS
                       && strstr(why, "CUDA_ERROR_NOT_INITIALIZED (3)") != NULL;

        _exit(refused ? 0 : 1);
    }
    cr_assert(eq(int, waitpid(child, &status, 0), child));
    cr_expect(eq(int, status, 0));
    gpu_slot_close(&slot);
    belay__gpu_cuda.unload(slot.object);
}
