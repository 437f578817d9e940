/* opencl_main.c - main() of tests that need a real OpenCL device: tells by 77,
 * skipped, that there is none.
 */
#include "gpu/opencl.h"

#include <criterion/criterion.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    struct criterion_test_set *tests = criterion_initialize();
    struct belay__gpu_devinfo info;
    char why[BELAY__GPU_NOTE] = "";
    void *object = NULL;
    int status = 0;

    if (belay__gpu_opencl.load("type=cpu", &object, why) < 0
        || belay__gpu_opencl.enumerate(object, &info, 1, why) < 0) {
        (void)printf("SKIP: no OpenCL device of the type cpu: %s\n", why);
        status = 77;
    }
    belay__gpu_opencl.unload(object);
    if (status == 0 && criterion_handle_args(argc, argv, true)) {
        status = !criterion_run_all_tests(tests);
    }
    criterion_finalize(tests);
    return status;
}
