/* opencl_main.c - main() of tests that need a real OpenCL device: tells by 77,
 * skipped, that there is none.
 *
 * The look at it is a child's. An OpenCL driver brings threads and handlers of
 * signals with it, and Criterion forks in its own process; where both were in
 * one, it has crashed before its first test, now and then, under ASan.
 */
#include "gpu/opencl.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIPPED 77

static int
look_for_device(void)
{
    struct belay__gpu_devinfo info;
    char why[BELAY__GPU_NOTE] = "";
    void *object = NULL;

    if (belay__gpu_opencl.load("type=cpu", &object, why) < 0
        || belay__gpu_opencl.enumerate(object, &info, 1, why) < 0) {
        (void)printf("SKIP: no OpenCL device of the type cpu: %s\n", why);
        (void)fflush(stdout);
        return SKIPPED;
    }
    return 0;
}

/* 0: there is one; else what to exit with. */
static int
find_device(void)
{
    const pid_t child = fork();
    int status = -1;

    if (child == 0) {
        _exit(look_for_device()); /* the driver's own end is of no interest */
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (child < 0 || !WIFEXITED(status)) {
        (void)fprintf(stderr, "the look for an OpenCL device failed: %d\n",
            child < 0 ? errno : status);
        return 1;
    }
    return WEXITSTATUS(status);
}

int
main(int argc, char **argv)
{
    struct criterion_test_set *tests;
    int status = find_device();

    if (status != 0) {
        return status;
    }
    tests = criterion_initialize();
    if (criterion_handle_args(argc, argv, true)) {
        status = !criterion_run_all_tests(tests);
    }
    criterion_finalize(tests);
    return status;
}
