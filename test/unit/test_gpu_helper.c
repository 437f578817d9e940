/* test_gpu_helper.c - looking for devices in another process (G44, G45). */
#include "gpu/helper.h"
#include "test/support/alloc.h"
#include "test/support/fake_cuda.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(gpu_helper, .fini = check_clean, .timeout = 60);

enum { PATIENT_MS = 60000 };

static struct belay__gpu_devinfo info[2];
static char why[BELAY__GPU_NOTE];

static int
ask(const char *kind, const char *settings, int timeout_ms)
{
    memset(info, 0, sizeof(info));
    memset(why, 0, sizeof(why));
    return belay__gpu_helper_ask(kind, settings, timeout_ms, info, 2, why);
}

/* No child is left over. */
static void
expect_no_child(void)
{
    cr_expect(eq(int, waitpid(-1, NULL, WNOHANG), -1));
}

/* ---- the report ---- */

#define HEAD "belay-gpu-probe\t0.1.0\n"
#define DEVICE "device\t3\t80\t40\t5\t132\t2\tGPU-x\tA name\n"

static int
read_report(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    int code;

    cr_assert(ne(ptr, copy, NULL));
    memcpy(copy, text, len);
    code = belay__gpu_helper_read(copy, len, info, 2, why);
    free(copy);
    return code;
}

static int
read_text(const char *text)
{
    return read_report(text, strlen(text));
}

Test(gpu_helper, a_report_is_read)
{
    cr_assert(eq(int, read_text(HEAD DEVICE "end\t0\t\n"), 1));
    cr_expect(eq(u32, info[0].ordinal, 3));
    cr_expect(eq(u64, info[0].bytes, 80));
    cr_expect(eq(u64, info[0].free_bytes, 40));
    cr_expect(eq(u64, info[0].headroom_bytes, 5));
    cr_expect(eq(u32, info[0].units, 132));
    cr_expect(eq(u32, info[0].slots, 2));
    cr_expect(eq(str, info[0].uid, "GPU-x"));
    cr_expect(eq(str, info[0].name, "A name"));
    cr_expect(
        eq(int, read_text(HEAD "end\t-38\tno device (100)\n"), BELAY_ENOSYS));
    cr_expect(eq(str, why, "no device (100)"));
    cr_expect(eq(int, read_text(HEAD DEVICE DEVICE DEVICE "end\t0\t\n"), 3));
}

Test(gpu_helper, gauges_are_of_the_device_before_them)
{
    cr_assert(eq(int,
        read_text(HEAD DEVICE DEVICE "gauges\t77\t100\t-1\t300000\n"
                                     "end\t0\t\n"),
        2));
    cr_expect(not(info[0].gauged));
    cr_expect(info[1].gauged);
    cr_expect(eq(str, info[1].name, "A name"));
    cr_expect(eq(i64, info[1].gauges.used_bytes, 77));
    cr_expect(eq(i32, info[1].gauges.busy_percent, 100));
    cr_expect(eq(i32, info[1].gauges.celsius, -1));
    cr_expect(eq(i32, info[1].gauges.milliwatts, 300000));
}

Test(gpu_helper, a_report_that_is_not_whole_is_none)
{
    static const char text[] = HEAD DEVICE "gauges\t1\t2\t3\t4\nend\t0\t\n";

    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        cr_expect(eq(int, read_report(text, len), BELAY_EPROTO), "%zu", len);
    }
}

Test(gpu_helper, what_is_not_a_report)
{
    static const char *const wrong[] = {
        "belay-gpu-probe\t9.9.9\nend\t0\t\n", /* of another version */
        HEAD "end\t0\t\nmore\n",
        HEAD "end\t1\t\n",
        HEAD "end\t-0\t\n",
        HEAD "end\t-999999\tx\n",
        HEAD "end\t-99999999999999999999\tx\n",
        HEAD "end\t\tx\n",
        HEAD "end\t0\n",
        HEAD "end\t0\t\t\n",
        HEAD "device\nend\t0\t\n",
        HEAD "gauges\t1\t2\t3\t4\nend\t0\t\n", /* of no device */
        HEAD DEVICE "gauges\t1\t2\t3\nend\t0\t\n",
        HEAD DEVICE "gauges\t1\t2\t3\t4\t5\nend\t0\t\n",
        HEAD DEVICE "gauges\t-2\t2\t3\t4\nend\t0\t\n",
        HEAD DEVICE "gauges\t1\t2147483648\t3\t4\nend\t0\t\n",
        HEAD DEVICE "gauges\t9223372036854775808\t2\t3\t4\nend\t0\t\n",
        HEAD "device\t3\t80\t40\t5\t132\t2\tu\nend\t0\t\n",
        HEAD "device\t3\t80\t40\t5\t132\t2\tu\tn\tmore\nend\t0\t\n",
        HEAD "device\t-3\t80\t40\t5\t132\t2\tu\tn\nend\t0\t\n",
        HEAD "device\t4294967296\t8\t4\t5\t1\t2\tu\tn\nend\t0\t\n",
        HEAD "device\t3\t18446744073709551616\t4\t5\t1\t2\tu\tn\nend\t0\t\n",
        HEAD "device\t3\t80\t40\t5\t132\t2\t"
             "0123456789012345678901234567890123456789012345678901234567890123"
             "\tn\nend\t0\t\n",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_expect(eq(int, read_text(wrong[i]), BELAY_EPROTO), "%s", wrong[i]);
    }
    cr_expect(eq(int,
        read_report(
            HEAD "end\t-38\tx\0y\n", sizeof(HEAD "end\t-38\tx\0y\n") - 1),
        BELAY_EPROTO));
}

/* ---- G45: a program that looks, and dies or hangs of it ---- */

Test(gpu_helper, g45_what_it_reports_is_taken)
{
    fake_probe_use("whole");
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), 1), "%s", why);
    cr_expect(eq(str, info[0].name, "The first"));
    expect_no_child();
}

Test(gpu_helper, g45_one_that_aborts)
{
    fake_probe_use("abort");
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "signal 6"), NULL), "%s", why);
    expect_no_child();
}

Test(gpu_helper, g45_one_that_hangs)
{
    fake_probe_use("hang");
    cr_expect(eq(int, ask("cuda", "", 100), BELAY_ENOSYS));
    cr_expect(eq(str, why, "looking for devices has not ended within 100 ms"));
    expect_no_child();
}

Test(gpu_helper, g45_one_that_hangs_after_its_report)
{
    fake_probe_use("hang-at-exit");
    cr_expect(eq(int, ask("cuda", "", 300), 1), "%s", why);
    expect_no_child();
}

Test(gpu_helper, g45_one_that_says_half)
{
    fake_probe_use("half");
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "exit code 0"), NULL), "%s", why);
    expect_no_child();
}

Test(gpu_helper, g45_one_that_makes_noise)
{
    fake_probe_use("noise");
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "without end"), NULL), "%s", why);
    expect_no_child();
}

Test(gpu_helper, g45_one_that_refuses)
{
    fake_probe_use("exit-7");
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "exit code 7"), NULL), "%s", why);
    expect_no_child();
}

Test(gpu_helper, g45_one_that_is_not_there)
{
    setenv("BELAY_GPU_PROBE", "/nowhere/belay-gpu-probe", 1);
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "is not there: /nowhere/"), NULL), "%s", why);
    /* It may be run, but cannot. */
    setenv("BELAY_GPU_PROBE", "/", 1);
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), BELAY_ENOSYS));
    cr_expect(ne(int, why[0], 0));
    expect_no_child();
}

/* On the threads that ask, signals are blocked, and the host has files open:
 * the program inherits neither.
 */
Test(gpu_helper, g38_it_inherits_no_signals_and_no_files)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    cr_assert(ge(int, dup(0), 0)); /* without close-on-exec */
    fake_probe_use("descriptors");
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), 1), "%s", why);
    pthread_sigmask(SIG_UNBLOCK, &all, NULL);
    expect_no_child();
}

/* ---- the real program ---- */

Test(gpu_helper, g44_cuda_is_found_where_libraries_are)
{
    fake_cuda_offer("devices=3 mem=80G");
    cr_assert(eq(int, ask("cuda", "", PATIENT_MS), 3), "%s", why);
    cr_expect(eq(str, info[1].name, "Fake 1"));
    cr_expect(eq(str, info[1].uid, "GPU-fafafafa-fafa-fafa-fafa-fafafafafa01"));
    cr_expect(eq(u64, info[1].bytes, 80ull << 30));
    cr_expect(eq(u64, info[1].free_bytes, UINT64_MAX));
    cr_expect(eq(u32, info[1].units, 4));
    expect_no_child();
}

Test(gpu_helper, g44_every_reason_comes_through)
{
    static const struct {
        const char *script;
        const char *why;
    } cases[] = {
        {"init=34", "a stub to link with, not a driver (34)"},
        {"init=36", "the driver is too old (36)"},
        {"init=100", "no device (100)"},
        {"init=803", "library and kernel module are of different versions "
                     "(803)"},
        {"init=804", "the compatibility library does not work on this device "
                     "(804)"},
        {"mode=2", "device 0: its compute mode is \"prohibited\""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake_cuda_offer(cases[i].script);
        cr_expect(eq(int, ask("cuda", "", PATIENT_MS), BELAY_ENOSYS));
        cr_expect(eq(int, strcmp(why, cases[i].why), 0), "%s", why);
    }
    expect_no_child();
}

Test(gpu_helper, g44_no_library)
{
    setenv("BELAY_CUDA_LIBRARY", "/nowhere/libcuda.so.1", 1);
    cr_expect(eq(int, ask("cuda", "", PATIENT_MS), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "/nowhere/libcuda.so.1"), NULL), "%s", why);
    setenv("BELAY_OPENCL_LIBRARY", "/nowhere/libOpenCL.so.1", 1);
    cr_expect(eq(int, ask("opencl", "", PATIENT_MS), BELAY_ENOSYS));
    cr_expect(ne(ptr, strstr(why, "/nowhere/libOpenCL.so.1"), NULL), "%s", why);
    expect_no_child();
}

Test(gpu_helper, settings_reach_the_driver)
{
    cr_expect(eq(int, ask("opencl", "type=none", PATIENT_MS), BELAY_EINVAL));
    cr_expect(ne(ptr, strstr(why, "\"type=none\""), NULL), "%s", why);
    expect_no_child();
}

/* PoCL ends the process that has no home; ours gives it a place. */
Test(gpu_helper, g45_opencl_without_a_home)
{
    unsetenv("HOME");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("POCL_CACHE_DIR");
    if (ask("opencl", "type=cpu", PATIENT_MS) < 0) {
        cr_expect(eq(ptr, strstr(why, "signal"), NULL), "%s", why);
    }
    expect_no_child();
}
